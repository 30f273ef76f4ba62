package slackchat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slack-go/slack"

	"github.com/tigeraccess/tac/grants/world"
)

// ErrForged says that a delivery does not bear Slack's signature.
var ErrForged = errors.New("the request is not signed by slack")

// ErrStale says that a delivery's timestamp is too far from now: it may be a
// replay of one that somebody recorded.
var ErrStale = errors.New("the request was signed over five minutes from now")

// freshness is how far a signature's time may be from ours, either way.
const freshness = 300 * time.Second

// Verifier proves that deliveries come from Slack. Use NewVerifier; the zero
// value refuses everything.
type Verifier struct {
	// Secret is the app's signing secret.
	Secret world.Secret
	// Now returns the wall time. The library beneath reads the wall clock
	// itself, so a moved clock can only make this stricter.
	Now func() time.Time
}

// NewVerifier returns a verifier. An empty secret is refused: anybody can
// sign with it (GHSA-gxhx-2686-5h9g).
func NewVerifier(secret world.Secret, now func() time.Time) (*Verifier, error) {
	if secret.Empty() {
		return nil, errors.New("slack: the signing secret is empty; it is under Basic Information of the app")
	}
	if now == nil {
		return nil, errors.New("slack: a verifier needs a clock")
	}
	return &Verifier{Secret: secret, Now: now}, nil
}

// Verify returns nil where body, byte for byte as it was received, bears a
// fresh signature; else an error that matches ErrForged or ErrStale. It
// compares in constant time. A repetition within five minutes passes: what
// follows must be idempotent.
func (v *Verifier) Verify(header http.Header, body []byte) error {
	if v == nil || v.Secret.Empty() || v.Now == nil {
		return fmt.Errorf("%w: no signing secret is set", ErrForged)
	}
	stamp, err := strconv.ParseInt(header.Get("X-Slack-Request-Timestamp"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: it has no timestamp", ErrForged)
	}
	now, most := v.Now().Unix(), int64(freshness/time.Second)
	if stamp < now-most || stamp > now+most {
		return ErrStale
	}
	check, err := slack.NewSecretsVerifier(header, v.Secret.Reveal())
	if errors.Is(err, slack.ErrExpiredTimestamp) {
		return ErrStale
	}
	if err != nil {
		return fmt.Errorf("%w: its signature cannot be read", ErrForged)
	}
	if _, err := check.Write(body); err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	if check.Ensure() != nil {
		return ErrForged
	}
	return nil
}

// Slash is a slash command as Slack delivers it.
type Slash struct {
	TeamID, UserID string // who typed it
	ChannelID      string
	TriggerID      string // the idempotency key: each typing has its own
	Command        string // "/tac"
	Text           string // as typed
	// ResponseURL is kept where it is one of Slack's own, else empty. We
	// answer by message, and call no address that a request names.
	ResponseURL string
}

// Slack escapes these three characters, and no others, in what people type.
var unescape = strings.NewReplacer("&amp;", "&", "&lt;", "<", "&gt;", ">")

// ParseSlash reads the body of a verified delivery of a slash command.
func ParseSlash(body []byte) (Slash, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Slash{}, errors.New("slash command: the body is not a form")
	}
	s := Slash{
		TeamID: form.Get("team_id"), UserID: form.Get("user_id"), ChannelID: form.Get("channel_id"),
		TriggerID: form.Get("trigger_id"), Command: form.Get("command"), Text: unescape.Replace(form.Get("text")),
	}
	for _, field := range []string{"team_id", "user_id", "trigger_id", "command"} {
		if form.Get(field) == "" {
			return Slash{}, fmt.Errorf("slash command: %s is missing", field)
		}
	}
	if u := form.Get("response_url"); strings.HasPrefix(u, "https://hooks.slack.com/") {
		s.ResponseURL = u
	}
	return s, nil
}

// Interaction is the press of a button, or a form that was sent, as Slack
// delivers it. It proves who did so, and nothing else.
type Interaction struct {
	// TeamID is the workspace of the person, which in a shared channel can
	// be another one than the app's.
	TeamID, UserID  string
	ActionID, Value string // of a form those that it was opened with
	ChannelID       string // empty for what is outside of channels, as on App Home
	MessageTS       string // likewise
	TriggerID       string // the idempotency key: each press has its own
	Submitted       bool   // it is a form
	Text            string // what was written into the form
}

// payload is what Slack sends of an interaction.
type payload struct {
	Type string `json:"type"`
	Team struct {
		ID string `json:"id"`
	} `json:"team"`
	User struct {
		ID     string `json:"id"`
		TeamID string `json:"team_id"`
	} `json:"user"`
	TriggerID string `json:"trigger_id"`
	Channel   struct {
		ID string `json:"id"`
	} `json:"channel"`
	Container struct {
		ChannelID string `json:"channel_id"`
		MessageTS string `json:"message_ts"`
	} `json:"container"`
	Actions []struct {
		ActionID string `json:"action_id"`
		Value    string `json:"value"`
	} `json:"actions"`
	View submission `json:"view"`
}

// ParseInteraction reads the body of a verified delivery of a button press or
// of a form of ours. Other interactions are errors.
func ParseInteraction(body []byte) (Interaction, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Interaction{}, errors.New("interaction: the body is not a form")
	}
	var p payload
	if err := json.Unmarshal([]byte(form.Get("payload")), &p); err != nil {
		return Interaction{}, errors.New("interaction: the payload is not JSON of the known form")
	}
	i := Interaction{
		TeamID: first(p.User.TeamID, p.Team.ID), UserID: p.User.ID, TriggerID: p.TriggerID,
		ChannelID: first(p.Channel.ID, p.Container.ChannelID), MessageTS: p.Container.MessageTS,
	}
	switch p.Type {
	case "block_actions":
		if len(p.Actions) == 1 {
			i.ActionID, i.Value = p.Actions[0].ActionID, p.Actions[0].Value
		}
	case "view_submission":
		i.ActionID, i.Value, i.Submitted = p.View.CallbackID, p.View.PrivateMetadata, true
		i.Text = p.View.State.Values[fieldBlock][fieldAction].Value
	default:
		return Interaction{}, fmt.Errorf("interaction: %.40q is of a kind that nothing here asks for", p.Type)
	}
	if i.ActionID == "" || i.UserID == "" {
		return Interaction{}, errors.New("interaction: it does not name one person and one button")
	}
	if i.TeamID == "" {
		return Interaction{}, errors.New("interaction: it names no workspace")
	}
	return i, nil
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
