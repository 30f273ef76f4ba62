package webhooks

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
)

func TestButtonsActForWhoPressedThem(t *testing.T) {
	for _, tc := range []struct {
		claim, user, action, value string
		err                        error
		call, told                 string
	}{
		{"an extension", "U01ALICE", "extend", string(anID), nil, "show 20261122-k3v9q2m4tz by alice; extend 20261122-k3v9q2m4tz by alice", "U01ALICE: Noted as 20261122-e3v9q2m4tz, which extends"},
		{"an approval", "U01ALICE", "approve", string(anID) + ":" + aHead, nil, "approve 20261122-k3v9q2m4tz by alice", "U01ALICE: Your approval stands on GitHub: postgres-prod for @alice, 2h. It is ended"},
		{"an approval of another person", "U02MALLORY", "approve", string(anID) + ":" + aHead, &bot.Error{Code: bot.CodeDenied, Message: "your approval would not count here"},
			"approve 20261122-k3v9q2m4tz by mallory", "U02MALLORY: your approval would not count here"},
		{"an approval of nothing in particular", "U01ALICE", "approve", string(anID), nil, "", "U01ALICE: That button does not say what you were shown"},
		{"an approval of a part of a commit", "U01ALICE", "approve", string(anID) + ":" + aHead[:7], nil, "", "U01ALICE: That button does not say what you were shown"},
		{"a denial of nothing in particular", "U01ALICE", "deny", string(anID), nil, "", "U01ALICE: That button does not say what you were shown"},
		{"a denial when all is over", "U01ALICE", "deny", string(anID) + ":" + aHead, nil, "show 20261122-k3v9q2m4tz by alice", "U01ALICE: 20261122-k3v9q2m4tz is ended, so there is nothing to deny"},
		{"an approval by a stranger", "U09STRANGER", "approve", string(anID) + ":" + aHead, nil, "", "U09STRANGER: your Slack account is not linked"},
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

// press has alice press a button, or send a form.
func (h *harness) press(p Press) *httptest.ResponseRecorder {
	p.TeamID, p.UserID = ourTeam, "U01ALICE"
	return h.do(h.slackRequest("interactions", "signed", p))
}

// The review is submitted with the token that the person left with tac, never
// with one that came with a press (threats.md E14).
func TestAnApprovalFromSlackIsPinnedToWhatWasShown(t *testing.T) {
	h := newHarness(t)
	h.press(Press{ActionID: actionApprove, Value: string(anID) + ":" + aHead})
	if want := []bot.AnswerAsk{{Head: aHead, From: bot.FromSlack}}; !slices.Equal(h.bot.answers, want) {
		t.Errorf("answered %+v, wanted %+v", h.bot.answers, want)
	}
}

func TestADenialFromSlackSaysWhy(t *testing.T) {
	value := string(anID) + ":" + aHead
	h := newHarness(t)
	h.bot.view = aView(grants.PhaseRequested)
	w := h.press(Press{ActionID: actionDeny, Value: value, TriggerID: "9.1"})
	want := Form{
		Action: actionDeny, Value: value, Title: "Deny this request", Lines: []string{"postgres-prod for @alice, 2h", "Reason: Deploy hotfix"},
		Label: "Why?", Hint: "9.1", Submit: "Deny",
	}
	if len(h.slack.forms) != 1 || !equalForms(h.slack.forms[0], want) || len(h.bot.answers) != 0 || len(h.slack.told) != 0 || w.Code != 200 {
		t.Fatalf("asked %+v, answered %v, told %v", h.slack.forms, h.bot.answers, h.slack.told)
	}
	for _, text := range []string{"", " ", strings.Repeat("x", 501), "safe\u202eevil"} {
		w = h.press(Press{ActionID: actionDeny, Value: value, Submitted: true, Text: text})
		if !strings.Contains(w.Body.String(), "objection") || len(h.bot.answers) != 0 || len(h.slack.told) != 0 {
			t.Errorf("the reason %.10q answers %s, answered %v, told %v", text, w.Body, h.bot.answers, h.slack.told)
		}
	}
	w = h.press(Press{ActionID: actionDeny, Value: value, Submitted: true, Text: " use the  replica "})
	if want := []bot.AnswerAsk{{Head: aHead, Reason: "use the replica", From: bot.FromSlack}}; !slices.Equal(h.bot.answers, want) || w.Body.Len() != 0 {
		t.Errorf("answered %+v, wanted %+v; the form gets %q", h.bot.answers, want, w.Body)
	}
	if got := strings.Join(h.slack.told, ""); got != "U01ALICE: Your denial stands on GitHub: postgres-prod for @alice, 2h. Only a new approval of yours lifts it." {
		t.Errorf("told %q", got)
	}
}

func equalForms(a, b Form) bool {
	same := slices.Equal(a.Lines, b.Lines)
	a.Lines, b.Lines = nil, nil
	return same && a.Action == b.Action && a.Value == b.Value && a.Title == b.Title && a.Label == b.Label && a.Hint == b.Hint && a.Submit == b.Submit
}

func TestARefusedDenialIsSaidInTheFormThatStaysOpen(t *testing.T) {
	h := newHarness(t)
	h.bot.err = &bot.Error{Code: bot.CodeConflict, Message: "the request has changed"}
	w := h.press(Press{ActionID: actionDeny, Value: string(anID) + ":" + aHead, Submitted: true, Text: "use the replica"})
	if w.Code != 200 || w.Body.String() != `{"objection":"the request has changed"}` || len(h.slack.told) != 0 {
		t.Errorf("answers %d %s, told %v", w.Code, w.Body, h.slack.told)
	}
}

func TestAFormThatSlackDoesNotOpenIsNoDeadEnd(t *testing.T) {
	h := newHarness(t)
	h.bot.view, h.slack.formErr = aView(grants.PhaseRequested), errors.New("expired_trigger_id")
	h.press(Press{ActionID: actionDeny, Value: string(anID) + ":" + aHead})
	if got := strings.Join(h.slack.told, ""); !strings.Contains(got, "tac access deny 20261122-k3v9q2m4tz --reason") {
		t.Errorf("told %q", got)
	}
	if !strings.Contains(h.log.String(), "expired_trigger_id") {
		t.Error("why is not in the log")
	}
}

// Until the end has moved, pressing again is the same wish; after that, it is
// another one.
func TestPressingExtendTwiceExtendsOnce(t *testing.T) {
	h := newHarness(t)
	keys := map[string]bool{}
	press := func() { h.press(Press{ActionID: actionExtend, Value: string(anID), ChannelID: "D1"}) }
	press()
	press()
	later := h.bot.view.EndsAt.Add(time.Hour)
	h.bot.view.EndsAt = &later
	press()
	for _, ask := range h.bot.extends {
		keys[ask.Key] = true
		if ask.Duration != 0 || ask.Via != grants.ViaSlack || ask.Channel != "D1" {
			t.Errorf("asked %+v", ask)
		}
	}
	if len(h.bot.extends) != 3 || len(keys) != 2 {
		t.Errorf("the keys are %v", keys)
	}
}

// A review that GitHub takes its time over is not cut off half way: Slack is
// answered in time, and the person is told what came of it.
func TestASlowPressIsAnsweredInTimeAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		w := httptest.NewRecorder()
		start := time.Now()
		var answered time.Duration
		h.bot.onAnswer = func(ctx context.Context) {
			time.Sleep(4 * time.Second)
			synctest.Wait()
			if answered = time.Since(start); !w.Flushed || ctx.Err() != nil {
				t.Errorf("after %s: answered %v, cut off: %v", answered, w.Flushed, ctx.Err())
			}
		}
		r := h.slackRequest("interactions", "signed", Press{TeamID: ourTeam, UserID: "U01ALICE", ActionID: actionApprove, Value: string(anID) + ":" + aHead})
		h.ServeHTTP(w, r)
		if w.Code != 200 || w.Body.Len() != 0 || len(h.slack.told) != 1 || !strings.Contains(h.slack.told[0], "Your approval stands") {
			t.Errorf("answers %d %q, told %v", w.Code, w.Body, h.slack.told)
		}
	})
}
