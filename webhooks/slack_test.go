package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
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
	forms   []Form
	formErr error
}

func (f *fakeSlack) AskWhy(_ context.Context, trigger string, form Form) error {
	form.Hint = trigger // where it was opened matters more than this text
	f.forms = append(f.forms, form)
	return f.formErr
}

func (f *fakeSlack) Objection(text string) []byte { return []byte(`{"objection":"` + text + `"}`) }

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
		c.Reason, c.BreakGlass = strings.CutSuffix(rest, " --break-glass")
	case "show", "drop", "revoke", "extend":
		c.ID, c.Reason = anID, rest
		if name == "extend" {
			c.Duration = time.Hour
		}
	case "list", "help", "link":
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
	others.Requester, others.RequesterID, others.MayAnswer = "bob", 1002, true
	unrelated := others
	unrelated.MayAnswer, unrelated.Resource = false, "redis-prod"
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
		}, []string{"Yours:\n20261122-k3v9q2m4tz  postgres-prod  2h  active until 2026-11-22 18:00 UTC\nWaiting for your answer:\n20261122-k3v9q2m4tz  postgres-prod for @bob, 2h"}},
		{"an empty list", "list", func(h *harness) { h.bot.views = []bot.View{unrelated} }, []string{"You hold nothing"}},
		{"one grant", "show x", nil, []string{"postgres-prod for @alice, 2h: active until", "Reason: Deploy hotfix", "tac access get"}},
		{"one that waits for an answer", "show x", func(h *harness) { h.bot.view = others }, []string{"tac access approve 20261122-k3v9q2m4tz, or tac access deny"}},
		{"one that was extended", "show x", func(h *harness) { h.bot.view.Extensions = []grants.ID{anotherID} }, []string{"Extended by: 20261122-e3v9q2m4tz"}},
		{"one that extends", "show x", func(h *harness) { h.bot.view.Extends = anotherID }, []string{"Extends: 20261122-e3v9q2m4tz"}},
		{"a broken glass", "show x", func(h *harness) { h.bot.view.BreakGlass = true }, []string{"The glass was broken"}},
		{"breaking it", "request x --break-glass", nil, []string{"you broke the glass", "The alarm goes out now"}},
		{"an extension", "extend x", nil, []string{"Noted as 20261122-e3v9q2m4tz, which extends 20261122-k3v9q2m4tz. Policy allows it"}},
		{"an extension that waits", "extend x", func(h *harness) { h.bot.decision = review }, []string{"1 approval from @dana or @eve; until then 20261122-k3v9q2m4tz ends when it would have"}},
		{"a link", "link", nil, []string{"tac link canary-code", "good until 2026-11-22 16:10 UTC.", "never type one that somebody gave you"}},
		{"a drop", "drop x", func(h *harness) { h.bot.view.Phase = grants.PhaseEnded }, []string{"is ended"}},
		{"a request taken back", "drop x", func(h *harness) { h.bot.view.Phase = grants.PhaseWithdrawn }, []string{"taken back"}},
		{"a revocation", "revoke left", func(h *harness) { h.bot.view.Phase = grants.PhaseClosed }, []string{"nothing of it is alive"}},
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

func TestAnExtensionFromSlackIsAskedForByWhoTyped(t *testing.T) {
	h := newHarness(t)
	h.typed(t, "trigger-1", "extend x")
	want := bot.ExtendAsk{Duration: time.Hour, Via: grants.ViaSlack, Key: "slack:T01ACME:trigger-1", Channel: "C1"}
	if len(h.bot.extends) != 1 || h.bot.extends[0] != want || h.bot.calls[0] != "extend 20261122-k3v9q2m4tz by alice" {
		t.Errorf("asked %+v, %v\nwanted %+v", h.bot.extends, h.bot.calls, want)
	}
}

// A link is for accounts that nobody vouches for yet, of our workspace alone.
func TestALinkCodeIsForWhoTyped(t *testing.T) {
	h := newHarness(t)
	h.do(h.slackRequest("commands", "signed", Slash{TeamID: ourTeam, UserID: "U09STRANGER", TriggerID: "1", Text: "link"}))
	if want := []string{"link code for T01ACME U09STRANGER"}; !slices.Equal(h.bot.calls, want) {
		t.Errorf("did %v, wanted %v", h.bot.calls, want)
	}
	w := h.do(h.slackRequest("commands", "signed", Slash{TeamID: "T99OTHER", UserID: "U09STRANGER", TriggerID: "2", Text: "link"}))
	if said := read[map[string]string](t, w)["text"]; len(h.bot.calls) != 1 || strings.Contains(said, "canary-code") {
		t.Errorf("another workspace is told %q, after %v", said, h.bot.calls)
	}
	if strings.Contains(h.log.String(), "canary-code") {
		t.Errorf("the code is in the log:\n%s", h.log)
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
