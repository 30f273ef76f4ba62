package slackchat

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sandboxslack "github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/grants/world"
)

// pressed posts a message with a button, has alice press it, and returns the
// trigger id of the press.
func pressed(t *testing.T, server *sandboxslack.Server, c *Client, target string) string {
	t.Helper()
	ts := post(t, c, channel, world.Notice{Title: "asks", Buttons: []world.Button{{Action: "deny", Value: "v", Label: "Deny"}}}, false)
	answer, err := server.Press(target, alice, ts, "deny", "v")
	if err != nil {
		t.Fatal(err)
	}
	return answer.TriggerID
}

// app is the address that Slack delivers to; it keeps what it got last.
func app(t *testing.T, answer []byte) (url string, last *[]byte) {
	t.Helper()
	last = new([]byte)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*last = body
		w.Header().Set("Content-Type", "application/json")
		if _, err := w.Write(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, last
}

func TestAFormAsksOnePersonAndComesBackWithTheirAnswer(t *testing.T) {
	server, c := workspace(t)
	url, last := app(t, nil)
	f := Form{
		Action: "deny", Value: key + ":head", Title: "Deny this request that is long", Lines: []string{"for <!channel>", "Reason: *x*"},
		Label: "Why?", Hint: "One line.", Submit: "Deny",
	}
	if err := c.OpenForm(t.Context(), pressed(t, server, c, url), f); err != nil {
		t.Fatal(err)
	}
	views := server.Views()
	if len(views) != 1 || views[0].UserID != alice || views[0].Title != "Deny this request that…" || views[0].Submit != "Deny" {
		t.Fatalf("on the screens are %+v", views)
	}
	shown, err := json.Marshal(views[0].Blocks)
	if err != nil || !strings.Contains(string(shown), `for \u003c!channel\u003e`) || strings.Contains(string(shown), "mrkdwn") {
		t.Errorf("the form shows %s (%v)", shown, err)
	}
	state := map[string]map[string]any{fieldBlock: {fieldAction: map[string]any{"type": "plain_text_input", "value": "use the replica"}}}
	if _, err := server.SubmitView(url, alice, views[0].ID, state); err != nil {
		t.Fatal(err)
	}
	got, err := ParseInteraction(*last)
	got.TriggerID = ""
	want := Interaction{TeamID: sandboxslack.TeamID, UserID: alice, ActionID: "deny", Value: key + ":head", Submitted: true, Text: "use the replica"}
	if err != nil || got != want {
		t.Errorf("it comes back as %+v, %v\nwant %+v", got, err, want)
	}
	if open := server.Views(); len(open) != 0 {
		t.Errorf("still open: %+v", open)
	}
}

func TestAnObjectionLeavesTheFormOpen(t *testing.T) {
	server, c := workspace(t)
	url, _ := app(t, Objection("say <why>"))
	if err := c.OpenForm(t.Context(), pressed(t, server, c, url), Form{Action: "deny", Title: "Deny", Label: "Why?", Submit: "Deny"}); err != nil {
		t.Fatal(err)
	}
	answer, err := server.SubmitView(url, alice, server.Views()[0].ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		Action string            `json:"response_action"`
		Errors map[string]string `json:"errors"`
	}
	if err := json.Unmarshal(answer.Body, &said); err != nil || said.Action != "errors" || said.Errors[fieldBlock] != "say <why>" {
		t.Errorf("said %s (%v)", answer.Body, err)
	}
	if len(server.Views()) != 1 {
		t.Error("the form was closed")
	}
}

func TestAFormThatCannotBeOpenedIsAnError(t *testing.T) {
	server, c := workspace(t)
	url, _ := app(t, nil)
	trigger := pressed(t, server, c, url)
	f := Form{Action: "deny", Title: "Deny", Label: "Why?", Submit: "Deny"}
	for claim, try := range map[string]func() error{
		"no trigger": func() error { return c.OpenForm(t.Context(), "1.x", f) },
		"no action":  func() error { return c.OpenForm(t.Context(), trigger, Form{Title: "x"}) },
		"a trigger that was used": func() error {
			if err := c.OpenForm(t.Context(), trigger, f); err != nil {
				t.Fatal(err)
			}
			return c.OpenForm(t.Context(), trigger, f)
		},
	} {
		if err := try(); err == nil {
			t.Errorf("%s: no error", claim)
		}
	}
}
