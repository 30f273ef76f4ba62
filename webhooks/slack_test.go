package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// fakeSlack takes bodies of JSON, and the signature "signed".
type fakeSlack struct {
	parsed  int
	team    string // of the workspace; empty: ours
	teamErr error
	told    []string // user: text
	onTell  func()
}

func (f *fakeSlack) Verify(header http.Header, _ []byte) error {
	if header.Get("X-Slack-Signature") != "signed" {
		return errors.New("the request is not signed by slack")
	}
	return nil
}

func (f *fakeSlack) Team(context.Context) (string, error) {
	if f.team != "" || f.teamErr != nil {
		return f.team, f.teamErr
	}
	return ourTeam, nil
}

func (f *fakeSlack) ParseSlash(body []byte) (s Slash, err error) {
	f.parsed++
	return s, json.Unmarshal(body, &s)
}

func (f *fakeSlack) ParsePress(body []byte) (p Press, err error) {
	f.parsed++
	return p, json.Unmarshal(body, &p)
}

func (f *fakeSlack) ParseCommand(text string) (Command, error) {
	name, rest, _ := strings.Cut(text, " ")
	c := Command{Name: name}
	switch name {
	case "request":
		c.Resource, c.Duration, c.Reason, c.Ticket = "postgres-prod", 2*time.Hour, rest, "INC-789"
	case "show", "drop", "revoke", "extend":
		c.ID, c.Reason = anID, rest
	case "list", "help":
	default:
		return c, errors.New(`there is no such command; did you mean list? Example: /tac list`)
	}
	return c, nil
}

func (f *fakeSlack) Help() string { return "/tac request RESOURCE DURATION" }

func (f *fakeSlack) Ephemeral(text string) []byte {
	body, _ := json.Marshal(map[string]string{"text": text}) // a text always encodes
	return body
}

func (f *fakeSlack) Direct(_ context.Context, user string, n world.Notice) error {
	if f.onTell != nil {
		f.onTell()
	}
	f.told = append(f.told, user+": "+strings.Join(n.Lines, "\n"))
	return nil
}

func (h *harness) slackRequest(address, signature string, body any) *http.Request {
	encoded, _ := json.Marshal(body) // plain values always encode
	r := httptest.NewRequest("POST", "/webhooks/slack/"+address, strings.NewReader(string(encoded)))
	r.Header.Set("X-Slack-Signature", signature)
	return r
}

func (h *harness) slackSend(address, signature, trigger, text string) *httptest.ResponseRecorder {
	return h.do(h.slackRequest(address, signature, Slash{
		TeamID: ourTeam, UserID: "U01ALICE", ChannelID: "C1", TriggerID: trigger, Command: "/tac", Text: text,
	}))
}

// typed returns what alice is told in answer to text.
func (h *harness) typed(t *testing.T, trigger, text string) string {
	t.Helper()
	w := h.slackSend("commands", "signed", trigger, text)
	if w.Code != 200 {
		t.Fatalf("%q answers %d %s", text, w.Code, w.Body)
	}
	return read[map[string]string](t, w)["text"]
}

func TestNothingIsReadOfWhatSlackDidNotSign(t *testing.T) {
	for _, address := range []string{"commands", "interactions", "events"} {
		h := newHarness(t)
		w := h.slackSend(address, "forged", "1", "request now")
		if w.Code != 401 || h.slack.parsed != 0 || len(h.bot.asks) != 0 {
			t.Errorf("%s answers %d, having parsed %d and asked %d times", address, w.Code, h.slack.parsed, len(h.bot.asks))
		}
		r := h.slackRequest(address, "signed", strings.Repeat("x", mostEvent))
		if w := h.do(r); w.Code != 413 || h.slack.parsed != 0 {
			t.Errorf("%s answers %d to a body that is too large", address, w.Code)
		}
	}
}

func TestARequestFromSlackIsAskedForByWhoTyped(t *testing.T) {
	h := newHarness(t)
	said := h.typed(t, "trigger-1", "request Deploy hotfix")
	want := bot.Ask{
		Requester: alice, Resource: "postgres-prod", Duration: 2 * time.Hour, Reason: "Deploy hotfix", Ticket: "INC-789",
		Via: grants.ViaSlack, Key: "slack:T01ACME:trigger-1", Channel: "C1",
	}
	if len(h.bot.asks) != 1 || h.bot.asks[0] != want {
		t.Errorf("asked %+v\nwanted %+v", h.bot.asks, want)
	}
	if !strings.Contains(said, string(anID)) || !strings.Contains(said, "without a review") {
		t.Errorf("said %q", said)
	}
	if said := h.typed(t, "trigger-1", "request Deploy hotfix"); !strings.Contains(said, "known already") {
		t.Errorf("a redelivery is told %q", said)
	}
}

func TestWhatSlackSays(t *testing.T) {
	over, others := aView(grants.PhaseClosed), aView(grants.PhaseRequested)
	others.Requester, others.RequesterID, others.WaitingFor = "bob", 1002, []string{"alice"}
	unrelated := others
	unrelated.WaitingFor, unrelated.Resource = []string{"dana"}, "redis-prod"
	review := policies.Decision{Outcome: policies.NeedsReview, Needs: []policies.ApprovalNeed{{
		Required: 1, Roles: []string{"team-lead"},
		People: []policies.Person{{Principal: grants.Principal{GitHub: "dana", ID: 4}}, {Principal: grants.Principal{GitHub: "eve", ID: 5}}},
	}}}
	for _, tc := range []struct {
		claim, text string
		prepare     func(*harness)
		want        []string
	}{
		{"help", "help", nil, []string{"/tac request RESOURCE"}},
		{"a command that nobody knows", "lst", nil, []string{"did you mean list?"}},
		{"a request that waits", "request x", func(h *harness) { h.bot.decision = review }, []string{"1 approval from @dana or @eve"}},
		{"a refusal, as it is", "request x", func(h *harness) {
			h.bot.err = &bot.Error{Code: bot.CodeDenied, Message: "2h is over the 1h that developers get: ask for 1h"}
		}, []string{"2h is over the 1h that developers get: ask for 1h"}},
		{"a list of what is held and what waits", "list", func(h *harness) {
			h.bot.views = []bot.View{aView(grants.PhaseActive), over, others, unrelated}
		}, []string{"Yours:\n20261122-k3v9q2m4tz  postgres-prod  active until 2026-11-22 18:00 UTC\nWaiting for your review:\n20261122-k3v9q2m4tz  postgres-prod for @bob, 2h"}},
		{"an empty list", "list", func(h *harness) { h.bot.views = []bot.View{unrelated} }, []string{"You hold nothing"}},
		{"one grant", "show x", nil, []string{"postgres-prod for @alice, 2h: active until", "Reason: Deploy hotfix", "tac access get"}},
		{"a drop", "drop x", func(h *harness) { h.bot.view.Phase = grants.PhaseEnded }, []string{"is ended"}},
		{"a request taken back", "drop x", func(h *harness) { h.bot.view.Phase = grants.PhaseWithdrawn }, []string{"taken back"}},
		{"a revocation", "revoke left", func(h *harness) { h.bot.view.Phase = grants.PhaseClosed }, []string{"nothing of it is alive"}},
		{"what does not work from Slack", "extend 1h", nil, []string{"ask for it anew"}},
		{"another workspace", "list", func(h *harness) { h.slack.team = "T99OTHER" }, []string{"own Slack workspace only"}},
		{"a workspace that is not known", "list", func(h *harness) { h.slack.teamErr = errors.New("timeout") }, []string{"Slack does not say"}},
		{"our own fault", "list", func(h *harness) { h.bot.err = errors.New("nil map in view.go") }, []string{"went wrong on our side"}},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			if tc.prepare != nil {
				tc.prepare(h)
			}
			said := h.typed(t, "1", tc.text)
			for _, want := range tc.want {
				if !strings.Contains(said, want) {
					t.Errorf("said %q\nwithout %q", said, want)
				}
			}
			if strings.Contains(said, "nil map") || strings.Contains(said, "redis-prod") {
				t.Errorf("said too much: %q", said)
			}
		})
	}
}

func TestStrangersInSlackAreRefusedBeforeAnythingIsAsked(t *testing.T) {
	h := newHarness(t)
	w := h.do(h.slackRequest("commands", "signed", Slash{TeamID: ourTeam, UserID: "U09STRANGER", TriggerID: "1", Text: "request x"}))
	if said := read[map[string]string](t, w)["text"]; !strings.Contains(said, "not linked") || len(h.bot.asks) != 0 {
		t.Errorf("a stranger is told %q, having asked %d times", said, len(h.bot.asks))
	}
}

func TestWhatIsNotDurableInTimeIsNotAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		h.bot.wait = true
		start := time.Now()
		said := h.typed(t, "1", "request x")
		if took := time.Since(start); took >= 3*time.Second {
			t.Errorf("the answer took %s; Slack gives up after 3s", took)
		}
		if said != tooSlowText {
			t.Errorf("said %q", said)
		}
	})
}

func TestButtonsActForWhoPressedThem(t *testing.T) {
	for _, tc := range []struct {
		claim, user, action, value string
		err                        error
		call, told                 string
	}{
		{"the holder", "U01ALICE", "drop", string(anID), nil, "drop 20261122-k3v9q2m4tz by alice", "U01ALICE: 20261122-k3v9q2m4tz is ended"},
		{"another person", "U02MALLORY", "drop", string(anID), &bot.Error{Code: bot.CodeNotFound, Message: "there is no such grant of yours"},
			"drop 20261122-k3v9q2m4tz by mallory", "U02MALLORY: there is no such grant of yours"},
		{"a stranger", "U09STRANGER", "drop", string(anID), nil, "", "U09STRANGER: your Slack account is not linked"},
		{"a value that is no id", "U01ALICE", "drop", "../x", nil, "", "U01ALICE: \"../x\" is not a grant id"},
		{"taking the credential", "U01ALICE", "get", string(anID), nil, "", "U01ALICE: To take the credential run: tac access get 20261122-k3v9q2m4tz"},
		{"the link to the pull request", "U01ALICE", "tac_open", "", nil, "", ""},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			h.bot.view.Phase, h.bot.err = grants.PhaseEnded, tc.err
			w := h.do(h.slackRequest("interactions", "signed", Press{TeamID: ourTeam, UserID: tc.user, ActionID: tc.action, Value: tc.value}))
			if w.Code != 200 || w.Body.Len() != 0 {
				t.Errorf("answers %d %q", w.Code, w.Body)
			}
			if got := strings.Join(h.bot.calls, "; "); got != tc.call {
				t.Errorf("did %q, wanted %q", got, tc.call)
			}
			if got := strings.Join(h.slack.told, "; "); !strings.HasPrefix(got, tc.told) || tc.told == "" && got != "" {
				t.Errorf("told %q, wanted %q", got, tc.told)
			}
		})
	}
}

// The message waits here until the answer is in Slack's hands.
func TestAPressIsAcknowledgedBeforeAnybodyIsTold(t *testing.T) {
	h := newHarness(t)
	acknowledged, told := make(chan struct{}), make(chan struct{})
	h.slack.onTell = func() { <-acknowledged; close(told) }
	server := httptest.NewServer(h)
	defer server.Close()
	let := sync.OnceFunc(func() { close(acknowledged) })
	defer let() // or the server would wait for the handler for ever
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r := h.slackRequest("interactions", "signed", Press{TeamID: ourTeam, UserID: "U01ALICE", ActionID: "drop", Value: string(anID)})
	r, err := http.NewRequestWithContext(ctx, "POST", server.URL+r.URL.Path, r.Body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Slack-Signature", "signed")
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 200 || len(body) != 0 {
		t.Errorf("answers %d %q, %v", answer.StatusCode, body, err)
	}
	if err := answer.Body.Close(); err != nil {
		t.Error(err)
	}
	let()
	<-told
}

func TestPressesFromOtherWorkspacesDoNothing(t *testing.T) {
	h := newHarness(t)
	h.do(h.slackRequest("interactions", "signed", Press{TeamID: "T99OTHER", UserID: "U01ALICE", ActionID: "drop", Value: string(anID)}))
	if len(h.bot.calls) != 0 {
		t.Errorf("did %v", h.bot.calls)
	}
}

func TestEventsProveTheAddressAndNothingElse(t *testing.T) {
	h := newHarness(t)
	w := h.do(h.slackRequest("events", "signed", map[string]string{"type": "url_verification", "challenge": "abc"}))
	if got := read[map[string]string](t, w); w.Code != 200 || got["challenge"] != "abc" {
		t.Errorf("the challenge answers %d %v", w.Code, got)
	}
	if w := h.do(h.slackRequest("events", "signed", map[string]string{"type": "event_callback"})); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("an event answers %d %q", w.Code, w.Body)
	}
}
