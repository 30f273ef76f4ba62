package slack_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/slack-go/slack/slackevents"
	sandboxslack "github.com/tigeraccess/tac/bot/sandbox/slack"
)

// app is what an app's edge does, with slack-go alone: verify, parse, answer.
type app struct {
	*httptest.Server
	mu           sync.Mutex
	commands     []slack.SlashCommand
	interactions []slack.InteractionCallback
	events       []slackevents.EventsAPIEvent
	answer       string // to commands and submissions, as JSON; empty: a bare 200
}

func newApp(t *testing.T, w workspace) *app {
	t.Helper()
	a := &app{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		verifier, verr := slack.NewSecretsVerifier(r.Header, w.SigningSecret())
		if err != nil || verr != nil {
			http.Error(rw, "unsigned", http.StatusUnauthorized)
			return
		}
		_, _ = verifier.Write(body)
		if verifier.Ensure() != nil {
			http.Error(rw, "forged", http.StatusUnauthorized)
			return
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if err := a.take(r, body); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.answer != "" {
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, a.answer)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *app) take(r *http.Request, body []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/commands":
		c, err := slack.SlashCommandParse(r)
		a.commands = append(a.commands, c)
		return err
	case "/events":
		e, err := slackevents.ParseEvent(json.RawMessage(body), slackevents.OptionNoVerifyToken())
		a.events = append(a.events, e)
		return err
	}
	i, err := slack.InteractionCallbackParse(r)
	a.interactions = append(a.interactions, i)
	return err
}

func (a *app) say(answer string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = answer
}

func TestCommandIsSignedAndARedeliveryIsTheSame(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	app.say(`{"response_type":"ephemeral","text":"Working on it, <@U01ALICE>"}`)
	a, err := w.Command(app.URL+"/commands", alice, "ops", "/tac", `request postgres-prod 2h "Deploy & fix"`)
	must(t, err)
	if a.Status != 200 || a.Message == nil || w.Render(*a.Message) != "Working on it, @alice" {
		t.Fatalf("answer %d %s", a.Status, a.Body)
	}
	again, err := w.Redeliver(a)
	must(t, err)
	if again.Status != 200 || len(app.commands) != 2 || app.commands[0] != app.commands[1] {
		t.Fatalf("redelivered %d: %+v", again.Status, app.commands)
	}
	want := slack.SlashCommand{
		Token: "legacy-verification-token", TeamID: "T0TAC0000", TeamDomain: "acme", ChannelID: ops, ChannelName: "ops",
		UserID: alice, UserName: "alice", Command: "/tac", Text: `request postgres-prod 2h "Deploy & fix"`,
		ResponseURL: a.ResponseURL, TriggerID: a.TriggerID, APIAppID: "A0TAC0000",
	}
	if got := app.commands[0]; got != want {
		t.Errorf("the app read %+v, want %+v", got, want)
	}
	if n := len(w.Ephemerals(alice)); n != 2 || len(w.Messages(ops)) != 0 {
		t.Errorf("%d answers shown to alice, channel %+v", n, w.Messages(ops))
	}
	if _, err := w.Command(app.URL+"/commands", "U0NOBODY", ops, "/tac", ""); err == nil {
		t.Error("a stranger's command was sent")
	}
}

func TestForgedAndStaleDeliveriesAreToldApart(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	a, err := w.Command(app.URL+"/commands", alice, ops, "/tac", "list")
	must(t, err)
	stale, forged, unsigned := a.Delivery, a.Delivery, a.Delivery
	stale.SignedAt = time.Now().Add(-6 * time.Minute)
	forged.Header = http.Header{"X-Slack-Signature": {"v0=" + strings.Repeat("0", 64)}}
	unsigned.Header = http.Header{"X-Slack-Signature": {}}
	for name, d := range map[string]sandboxslack.Delivery{"stale": stale, "forged": forged, "unsigned": unsigned} {
		got, err := w.Deliver(d)
		must(t, err)
		if got.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, got.Status)
		}
	}
	replay, err := w.Deliver(a.Delivery)
	must(t, err)
	if replay.Status != http.StatusOK {
		t.Errorf("as it was: %d", replay.Status)
	}
}

func TestSlowAppIsAFailureAsInSlack(t *testing.T) {
	w := newWorkspace(t)
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer slow.Close()
	defer close(release)
	w.Patience = 20 * time.Millisecond
	if a, err := w.Command(slow.URL, alice, ops, "/tac", ""); err == nil {
		t.Errorf("an app that never answers answered %+v", a)
	}
}

func TestPressSendsWhatSlackSendsAndOnlyFromTheScreen(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	dm, ts, err := w.api.PostMessage(alice, slack.MsgOptionBlocks(section("ends soon"), button("extend", "g1", "Extend")))
	must(t, err)
	a, err := w.Press(app.URL+"/interactions", alice, ts, "extend", "g1")
	must(t, err)
	got := app.interactions[0]
	action := got.ActionCallback.BlockActions[0]
	if got.Type != slack.InteractionTypeBlockActions || got.User.ID != alice || got.Team.ID != "T0TAC0000" || got.Channel.ID != dm ||
		got.Container.MessageTs != ts || got.Message.Timestamp != ts || got.TriggerID != a.TriggerID ||
		got.ResponseURL != a.ResponseURL || action.ActionID != "extend" || action.Value != "g1" || action.BlockID == "" || action.Text.Text != "Extend" {
		t.Errorf("the app read %+v", got)
	}
	for name, press := range map[string][3]string{
		"another's direct message": {bob, ts, "extend"},
		"no such button":           {alice, ts, "revoke"},
		"no such message":          {alice, "1.000001", "extend"},
	} {
		if _, err := w.Press(app.URL+"/interactions", press[0], press[1], press[2], ""); err == nil {
			t.Errorf("%s: pressed", name)
		}
	}
	_, _, _, err = w.api.UpdateMessage(dm, ts, slack.MsgOptionText("ended", false))
	must(t, err)
	if _, err := w.Press(app.URL+"/interactions", alice, ts, "extend", ""); err != nil {
		t.Errorf("a button of a screen that lags behind: %v", err)
	}
	if status, _ := postJSON(t, a.ResponseURL, `{"replace_original":true,"text":"extended"}`); status != 200 {
		t.Errorf("replace_original: %d", status)
	}
	if m := w.DMs(alice); len(m) != 1 || m[0].Text != "extended" || len(m[0].Edits) != 2 {
		t.Errorf("after replace_original: %+v", m)
	}
	if status, _ := postJSON(t, a.ResponseURL, `{"delete_original":true}`); status != 200 || len(w.DMs(alice)) != 0 {
		t.Errorf("delete_original: %d, %+v", status, w.DMs(alice))
	}
}

func TestTriggerOpensOneFormWithinThreeSeconds(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	trigger := func() string {
		t.Helper()
		a, err := w.Command(app.URL+"/commands", alice, alice, "/tac", "")
		must(t, err)
		return a.TriggerID
	}
	inTime, late := trigger(), trigger()
	w.clock.Advance(3 * time.Second)
	opened, err := w.api.OpenView(inTime, modal())
	must(t, err)
	if _, err := w.api.OpenView(inTime, modal()); err == nil || err.Error() != "exchanged_trigger_id" {
		t.Errorf("second use: %v", err)
	}
	w.clock.Advance(time.Millisecond)
	if _, err := w.api.OpenView(late, modal()); err == nil || err.Error() != "expired_trigger_id" {
		t.Errorf("after three seconds: %v", err)
	}
	views := w.Views()
	if len(views) != 1 || views[0].ID != opened.ID || views[0].UserID != alice || w.RenderView(views[0]) != "Ask for access\nReason: [...]\n[Ask]" {
		t.Fatalf("open forms: %+v", views)
	}
	noSubmit := modal()
	noSubmit.Submit = nil
	if _, err := w.api.OpenView(trigger(), noSubmit); err == nil || err.Error() != "invalid_arguments" {
		t.Errorf("a form with an input and no submit: %v", err)
	}
}

func TestFormIsSubmittedAndClosesUnlessRefused(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	a, err := w.Command(app.URL+"/commands", alice, ops, "/tac", "")
	must(t, err)
	opened, err := w.api.OpenView(a.TriggerID, modal())
	must(t, err)
	state := map[string]map[string]any{"why": {"reason": map[string]any{"type": "plain_text_input", "value": "INC-789"}}}
	app.say(`{"response_action":"errors","errors":{"why":"too short"}}`)
	_, err = w.SubmitView(app.URL+"/interactions", alice, opened.ID, state)
	must(t, err)
	if len(w.Views()) != 1 {
		t.Fatal("a refused form was closed")
	}
	if _, err := w.SubmitView(app.URL+"/interactions", bob, opened.ID, state); err == nil {
		t.Error("a form was submitted by one who does not have it")
	}
	app.say("")
	_, err = w.SubmitView(app.URL+"/interactions", alice, opened.ID, state)
	must(t, err)
	got := app.interactions[1]
	if got.Type != slack.InteractionTypeViewSubmission || got.View.CallbackID != "ask" || got.View.PrivateMetadata != "k1" ||
		got.View.State.Values["why"]["reason"].Value != "INC-789" || len(w.Views()) != 0 {
		t.Errorf("the app read %+v; open forms %+v", got.View, w.Views())
	}
}

func TestHomeIsPublishedRenderedAndPressed(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	_, err := w.OpenHome(app.URL+"/events", alice)
	must(t, err)
	event, ok := app.events[0].InnerEvent.Data.(*slackevents.AppHomeOpenedEvent)
	if !ok || event.User != alice || event.Tab != "home" {
		t.Fatalf("the app read %+v", app.events[0])
	}
	home := slack.HomeTabViewRequest{Type: slack.VTHomeTab, Blocks: slack.Blocks{BlockSet: []slack.Block{section("postgres-prod"), button("drop", "g1", "Drop")}}}
	first, err := w.api.PublishViewContext(t.Context(), slack.PublishViewContextRequest{UserID: alice, View: home})
	must(t, err)
	_, err = w.api.PublishViewContext(t.Context(), slack.PublishViewContextRequest{UserID: alice, View: home})
	must(t, err)
	if _, err := w.api.PublishViewContext(t.Context(), slack.PublishViewContextRequest{UserID: alice, View: home, Hash: &first.Hash}); err == nil || err.Error() != "hash_conflict" {
		t.Errorf("publish over another's update: %v", err)
	}
	shown, ok := w.Home(alice)
	if !ok || w.RenderView(shown) != "postgres-prod\n[Drop]" || shown.ID != first.ID {
		t.Errorf("home %+v", shown)
	}
	_, err = w.Press(app.URL+"/interactions", alice, shown.ID, "drop", "")
	must(t, err)
	got := app.interactions[0]
	if got.Container.Type != "view" || got.View.ID != shown.ID || !reflect.DeepEqual(got.ActionCallback.BlockActions[0].Value, "g1") {
		t.Errorf("the app read %+v", got)
	}
}
