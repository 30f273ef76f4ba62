package webhooks

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// The review is submitted as whoever calls, so their own token goes on, and
// the commit is the one that they name (threats.md E14).
func TestAnAnswerIsGivenWithTheCallersOwnToken(t *testing.T) {
	for _, tc := range []struct {
		verb, body, call string
		want             bot.AnswerAsk
	}{
		{"approve", `{"head":"` + aHead + `"}`, "approve 20261122-k3v9q2m4tz by alice", bot.AnswerAsk{Head: aHead}},
		{"approve", `{"head":"` + aHead + `","duration":"1h","reason":" an hour will do "}`, "approve 20261122-k3v9q2m4tz by alice",
			bot.AnswerAsk{Head: aHead, Duration: time.Hour, Reason: "an hour will do"}},
		{"deny", `{"head":"` + aHead + `","reason":"use the replica"}`, "deny 20261122-k3v9q2m4tz by alice", bot.AnswerAsk{Head: aHead, Reason: "use the replica"}},
	} {
		h := newHarness(t)
		w := h.call("POST", "/api/v1/grants/"+string(anID)+"/"+tc.verb, tc.body)
		if w.Code != 200 || len(h.bot.answers) != 1 || !slices.Equal(h.bot.calls, []string{tc.call}) {
			t.Fatalf("%s answers %d %s, having done %v", tc.verb, w.Code, w.Body, h.bot.calls)
		}
		got := h.bot.answers[0]
		if got.Token.Reveal() != aliceToken {
			t.Errorf("%s has another token", tc.verb)
		}
		tc.want.Token, tc.want.From = got.Token, bot.FromCLI
		if got != tc.want {
			t.Errorf("answered %+v, wanted %+v", got, tc.want)
		}
	}
}

func TestAnswersAreReadStrictly(t *testing.T) {
	const head = `"head":"` + aHead + `"`
	for _, tc := range []struct{ claim, verb, body, want string }{
		{"no commit", "approve", `{}`, "name the commit that you looked at"},
		{"an abbreviated one, which another can be made to have", "approve", `{"head":"4b825dc"}`, "by all its 40 characters"},
		{"one in other letters", "approve", `{"head":"` + strings.ToUpper(aHead) + `"}`, "by all its 40 characters"},
		{"a token in the body", "approve", `{` + head + `,"token":"x"}`, `there is no field "token" here`},
		{"a length that is none", "approve", `{` + head + `,"duration":"soon"}`, `duration: "soon" is not a duration`},
		{"a negative length", "approve", `{` + head + `,"duration":"-1h"}`, `duration: "-1h" is not a duration`},
		{"a reason of several lines", "approve", `{` + head + `,"reason":"a\nb"}`, "reason"},
		{"a denial without a reason", "deny", `{` + head + `}`, "say why"},
		{"a denial with an empty one", "deny", `{` + head + `,"reason":"  "}`, "say why"},
		{"a denial with a length", "deny", `{` + head + `,"reason":"x","duration":"1h"}`, `there is no field "duration" here`},
		{"an extension without a key", "extend", `{"duration":"1h"}`, "Idempotency-Key"},
		{"an extension of no length", "extend", `{"duration":"0h"}`, "no time at all"},
		{"an extension of something else", "extend", `{"resource":"redis-prod"}`, `there is no field "resource" here`},
		{"an extension with a reason of several lines", "extend", `{"reason":"a\nb"}`, "reason"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			w := h.call("POST", "/api/v1/grants/"+string(anID)+"/"+tc.verb, tc.body)
			got := read[problem](t, w)
			if w.Code != 400 || got.Code != bot.CodeInvalid || !strings.Contains(got.Message, tc.want) {
				t.Errorf("answers %d %+v, wanted %q", w.Code, got, tc.want)
			}
			if len(h.bot.calls) > 0 {
				t.Errorf("the bot was asked: %v", h.bot.calls)
			}
		})
	}
}

func TestAnAnswerGoesOnWhenTheClientGoesAway(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.bot.onAnswer = func(inner context.Context) {
		cancel()
		if _, bounded := inner.Deadline(); inner.Err() != nil || !bounded {
			t.Errorf("the review is cut off half way (%v), or may go on for ever", inner.Err())
		}
	}
	r := httptest.NewRequest("POST", "/api/v1/grants/"+string(anID)+"/approve", strings.NewReader(`{"head":"`+aHead+`"}`)).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+aliceToken)
	h.do(r)
	if len(h.bot.answers) != 1 {
		t.Error("the answer was not given")
	}
}

func TestAnExtensionIsAskedForAsARequestIs(t *testing.T) {
	h := newHarness(t)
	path := "/api/v1/grants/" + string(anID) + "/extend"
	w := h.call("POST", path, `{"duration":"1h","reason":"not done","ticket":"INC-790"}`, "Idempotency-Key", "k1")
	want := bot.ExtendAsk{Duration: time.Hour, Reason: "not done", Ticket: "INC-790", Key: "k1", Via: grants.ViaCLI}
	got := read[map[string]any](t, w)
	if w.Code != 202 || got["id"] != string(anotherID) || w.Header().Get("Location") != "/api/v1/grants/"+string(anotherID) || h.bot.extends[0] != want {
		t.Errorf("answers %d %v; asked %+v, wanted %+v", w.Code, got, h.bot.extends, want)
	}
	w = h.call("POST", path, `{"dry_run":true}`)
	if w.Code != 200 || h.bot.extends[1] != (bot.ExtendAsk{DryRun: true, Via: grants.ViaCLI}) {
		t.Errorf("a dry run answers %d, asked %+v", w.Code, h.bot.extends[1])
	}
	d := policies.Decision{Outcome: policies.Deny, Rule: "production-database/extensions", Nearest: "a grant is extended twice at most"}
	h.bot.err = &bot.Error{Code: bot.CodeDenied, Message: d.Nearest, Decision: &d}
	w = h.call("POST", path, `{"duration":"1h"}`, "Idempotency-Key", "k2")
	if got := read[map[string]any](t, w); w.Code != 403 || got["message"] != d.Nearest {
		t.Errorf("a denial answers %d %v", w.Code, got)
	}
}

func TestTheGlassIsBrokenOnlyByWord(t *testing.T) {
	h := newHarness(t)
	h.call("POST", "/api/v1/requests", anAsk, "Idempotency-Key", "k1")
	h.call("POST", "/api/v1/requests", strings.Replace(anAsk, "{", `{"break_glass":true,`, 1), "Idempotency-Key", "k2")
	if len(h.bot.asks) != 2 || h.bot.asks[0].BreakGlass || !h.bot.asks[1].BreakGlass {
		t.Errorf("asked %+v", h.bot.asks)
	}
}
