// Package chatclaims says what tac relies on in Slack, as tests that run
// against any workspace that speaks Slack's Web API:
//
//   - ground.go: the workspace that a test is run against, and how a claim looks
//     at it: by the Web API alone, without the library that the adapter uses;
//   - claims.go: what the adapter promises, played through it;
//   - api.go: what the workspace itself has to answer, call by call, as Slack
//     documents it.
//
// The sandbox's workspace and an independent emulator are judged by the same
// bodies. Where the two differ Slack's documentation decides: the sandbox is
// mended, and what the emulator does instead is told in its Differs, and checked.
package chatclaims

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/grants/world"
)

// Scopes are those that slackchat.Config documents to be enough.
var Scopes = []string{"chat:write", "im:write", "channels:history", "groups:history", "im:history"}

// Ground is a workspace.
type Ground struct {
	// API is the base of the Web API, with a slash at its end.
	API string
	// Self is who the bot is there.
	Self slackchat.Identity
	// Place returns a channel and a person that no other claim uses, both by
	// id. The bot is in the channel.
	Place func(t *testing.T) (channel, person string)

	// Tokens. Token is the bot's, with Scopes and no others; Narrow is the
	// bot's too, but lacks channels:history; Observer is the bot's with all
	// scopes. Person is somebody else's, with chat:write. Nobody's belongs to
	// no account.
	Token, Narrow, Observer, Person, Nobody string

	// Differs are calls of api.go to which this workspace gives another
	// answer than Slack documents.
	Differs map[string]Difference
}

// Difference is a wrong answer.
type Difference struct {
	Answer string // what comes instead: an error code, or "ok" and what is wrong with it
	Why    string // how we know that it is wrong
}

// Run shows every claim on g, each as a test of its own, and returns how many
// were shown to hold there.
func Run(t *testing.T, g Ground) (shown int) {
	t.Helper()
	for _, c := range claims {
		t.Run(c.says, func(t *testing.T) {
			c.show(t, newScene(t, g))
			if !t.Failed() {
				shown++
			}
		})
	}
	used := map[string]bool{}
	for _, c := range calls {
		_, differs := g.Differs[c.says]
		used[c.says] = differs
		t.Run(c.says, func(t *testing.T) {
			c.check(t, newScene(t, g))
			if !t.Failed() && !differs {
				shown++
			}
		})
	}
	for says := range g.Differs {
		if !used[says] {
			t.Errorf("no call is named %q: take the difference out", says)
		}
	}
	return shown
}

// scene is what one claim plays on.
type scene struct {
	Ground
	channel, person string
}

func newScene(t *testing.T, g Ground) *scene {
	t.Helper()
	s := &scene{Ground: g}
	s.channel, s.person = g.Place(t)
	return s
}

// client is the adapter under test, with whatever transport it is to have.
func (s *scene) client(t *testing.T, token string, over http.RoundTripper) *slackchat.Client {
	t.Helper()
	if over == nil {
		over = http.DefaultTransport
	}
	c, err := slackchat.New(slackchat.Config{APIURL: s.API, BotToken: world.NewSecret(token), HTTP: &http.Client{Transport: over}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answer is what the Web API answers, as far as claims look at it.
type answer struct {
	OK       bool      `json:"ok"`
	Error    string    `json:"error"`
	Needed   string    `json:"needed"`
	Warning  string    `json:"warning"`
	TS       string    `json:"ts"`
	Text     string    `json:"text"`
	UserID   string    `json:"user_id"`
	Message  message   `json:"message"`
	Messages []message `json:"messages"`
	HasMore  bool      `json:"has_more"`
	NoOp     bool      `json:"no_op"`
	Channel  any       `json:"channel"` // an id, or an object that has one
	Metadata struct {
		Cursor string `json:"next_cursor"`
	} `json:"response_metadata"`
}

// message is one message as others see it.
type message struct {
	User     string `json:"user"`
	Text     string `json:"text"`
	TS       string `json:"ts"`
	Blocks   []any  `json:"blocks"`
	Metadata struct {
		Type    string            `json:"event_type"`
		Payload map[string]string `json:"event_payload"`
	} `json:"metadata"`
}

// word is the error code of an answer, or "ok".
func (a answer) word() string {
	if a.OK {
		return "ok"
	}
	return a.Error
}

func (a answer) channelID() string {
	switch c := a.Channel.(type) {
	case string:
		return c
	case map[string]any:
		id, _ := c["id"].(string)
		return id
	}
	return ""
}

// call calls the Web API by hand.
func (s *scene) call(t *testing.T, token, method string, form url.Values) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.API+method, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // it has been read or has failed by then
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s answers %s: %v", method, body, err)
	}
	return a
}

// did calls the Web API for something that has to work.
func (s *scene) did(t *testing.T, token, method string, form url.Values) answer {
	t.Helper()
	a := s.call(t, token, method, form)
	if !a.OK {
		t.Fatalf("%s: %s", method, a.Error)
	}
	return a
}

// direct is the id of the bot's direct messages with the person.
func (s *scene) direct(t *testing.T) string {
	t.Helper()
	return s.did(t, s.Observer, "conversations.open", url.Values{"users": {s.person}}).channelID()
}

// said returns the messages of a conversation, oldest first.
func (s *scene) said(t *testing.T, room string) []message {
	t.Helper()
	var all []message
	for form := (url.Values{"channel": {room}, "limit": {"200"}, "include_all_metadata": {"true"}}); ; {
		a := s.did(t, s.Observer, "conversations.history", form)
		all = append(all, a.Messages...)
		if a.Metadata.Cursor == "" {
			slices.Reverse(all)
			return all
		}
		form.Set("cursor", a.Metadata.Cursor)
	}
}

// text is a text of blocks: of which kind, and what it says.
type text struct{ kind, says string }

// texts returns every text of the blocks, in their order: text objects,
// fields, elements and their labels, and rich text.
func (m message) texts() []text {
	var found []text
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				visit(one)
			}
		case map[string]any:
			kind, _ := v["type"].(string)
			if says, ok := v["text"].(string); ok {
				found = append(found, text{kind, says})
			}
			for _, part := range []string{"text", "fields", "elements"} {
				visit(v[part])
			}
		}
	}
	visit(m.Blocks)
	return found
}

// buttons returns the buttons of the blocks as action, value and address.
func (m message) buttons() [][3]string {
	var found [][3]string
	for _, b := range m.Blocks {
		block, _ := b.(map[string]any)
		elements, _ := block["elements"].([]any)
		for _, e := range elements {
			if element, _ := e.(map[string]any); element["type"] == "button" {
				action, _ := element["action_id"].(string)
				value, _ := element["value"].(string)
				address, _ := element["url"].(string)
				found = append(found, [3]string{action, value, address})
			}
		}
	}
	return found
}

// losing does a call and drops its answer, once.
type losing struct {
	method string
	done   bool
}

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil || l.done || !strings.HasSuffix(r.URL.Path, l.method) {
		return resp, err
	}
	l.done = true
	_ = resp.Body.Close() // it is lost anyhow
	return nil, io.ErrUnexpectedEOF
}

// smallPages asks for fewer messages than the client does, as Slack may
// answer fewer.
type smallPages struct{ pages int }

func (p *smallPages) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "conversations.history") {
		p.pages++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		form.Set("limit", "7")
		r = r.Clone(r.Context())
		small := []byte(form.Encode())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(small)), int64(len(small))
	}
	return http.DefaultTransport.RoundTrip(r)
}
