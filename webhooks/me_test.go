package webhooks

import (
	"context"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// fakePersonal is the part of fakeBot that is about people's own tokens.
type fakePersonal struct {
	personalErr error
	did         []string
	kept        world.UserToken
	cut         bool // the context of a call had ended
}

func (f *fakePersonal) does(ctx context.Context, what string, who grants.Principal) error {
	f.did = append(f.did, what+" by "+who.GitHub)
	f.cut = ctx.Err() != nil
	return f.personalErr
}

func (f *fakePersonal) EndLogin(ctx context.Context, who grants.Principal, token world.Secret) error {
	return f.does(ctx, "end "+token.Reveal(), who)
}

func (f *fakePersonal) KeepToken(ctx context.Context, who grants.Principal, t world.UserToken) error {
	f.kept = t
	return f.does(ctx, "keep", who)
}

func (f *fakePersonal) ForgetToken(ctx context.Context, who grants.Principal) (bool, error) {
	return true, f.does(ctx, "forget", who)
}

func (f *fakePersonal) CheckLink(ctx context.Context, who grants.Principal, code string) (bot.LinkAnswer, error) {
	return bot.LinkAnswer{Team: ourTeam, User: "U01ALICE", Person: who, Line: "slack: U01ALICE"}, f.does(ctx, "check "+code, who)
}

func (f *fakePersonal) Link(ctx context.Context, who grants.Principal, code string) (bot.LinkAnswer, error) {
	a := bot.LinkAnswer{Team: ourTeam, User: "U01ALICE", Person: who, Line: "slack: U01ALICE", Issue: "https://github.com/acme/grants/issues/9"}
	return a, f.does(ctx, "link "+code, who)
}

func TestWhatPeopleDoAboutThemselves(t *testing.T) {
	for _, tc := range []struct {
		claim, method, path, body string
		status                    int
		want                      string // in the answer
		did                       string
	}{
		{"logout revokes the token of this very call", "DELETE", "login", "", 200, `{"revoked":true}`, "end " + aliceToken + " by alice"},
		{"and takes no other one", "DELETE", "login", `{"token":"ghu_canary-other"}`, 400, `"invalid"`, ""},
		{"a token is kept", "PUT", "token", `{"access_token":"ghu_canary-left","refresh_token":"ghr_canary-left","access_until":"2026-11-22T22:00:00Z"}`, 200, `{"kept":true}`, "keep by alice"},
		{"but not for somebody else", "PUT", "token", `{"access_token":"ghu_canary-left","person":1666}`, 400, `"invalid"`, ""},
		{"nor without one", "PUT", "token", `{"refresh_token":"ghr_canary-left"}`, 400, "access_token is missing", ""},
		{"mixed up fields are not repeated", "PUT", "token", `{"access_token":"ghu_canary-left","access_until":"ghr_canary-left"}`, 400, "access_until is not a time", ""},
		{"nor are other types", "PUT", "token", `{"access_token":["ghu_canary-left"]}`, 400, "has to be a text", ""},
		{"it is forgotten", "DELETE", "token", "{}", 200, `{"was_kept":true}`, "forget by alice"},
		{"a code is only shown", "POST", "link", `{"code":"abc"}`, 200, `"slack_team":"` + ourTeam + `","slack_user":"U01ALICE","line":"slack: U01ALICE","issue":""`, "check abc by alice"},
		{"until it is confirmed", "POST", "link", `{"code":"abc","confirm":true}`, 200, `"issue":"https://github.com/acme/grants/issues/9"`, "link abc by alice"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			w := h.call(tc.method, "/api/v1/me/"+tc.path, tc.body)
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
				t.Errorf("answers %d %s", w.Code, w.Body)
			}
			if got := strings.Join(h.bot.did, ", "); got != tc.did {
				t.Errorf("the bot was asked to %q, want %q", got, tc.did)
			}
			if seen := w.Body.String() + h.log.String(); strings.Contains(seen, "canary") {
				t.Errorf("a token was repeated: %s", seen)
			}
		})
	}
}

func TestWhatIsLeftIsThePersonsOfTheCall(t *testing.T) {
	h := newHarness(t)
	h.call("PUT", "/api/v1/me/token", `{"access_token":"ghu_a","access_until":"2026-11-22T22:00:00+02:00","refresh_token":"ghr_b"}`)
	got := h.bot.kept
	if got.Access.Reveal() != "ghu_a" || got.Refresh.Reveal() != "ghr_b" {
		t.Error("the tokens did not arrive")
	}
	want := world.UserToken{Person: alice, Access: got.Access, Refresh: got.Refresh, AccessUntil: time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("kept %+v, want %+v", got, want)
	}
}

func TestWhatPeopleDoAboutThemselvesIsProvedAndDoneToItsEnd(t *testing.T) {
	for _, call := range [][2]string{{"DELETE", "login"}, {"PUT", "token"}, {"DELETE", "token"}, {"POST", "link"}} {
		h := newHarness(t)
		body := map[string]string{"PUT": `{"access_token":"ghu_a"}`, "POST": `{"code":"abc"}`}[call[0]]
		r := httptest.NewRequest(call[0], "/api/v1/me/"+call[1], strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer ghp_of_somebody")
		if w := h.do(r); w.Code != 401 || len(h.bot.did) != 0 {
			t.Errorf("%v without a proof answers %d, did %v", call, w.Code, h.bot.did)
		}
		// An older proof gives nothing: none of this ends access.
		h.identity.err, h.identity.recent = context.DeadlineExceeded, true
		if w := h.call(call[0], "/api/v1/me/"+call[1], body); w.Code != 503 || len(h.bot.did) != 0 {
			t.Errorf("%v while GitHub is down answers %d, did %v", call, w.Code, h.bot.did)
		}
		h.identity.err = nil
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		r = httptest.NewRequestWithContext(gone, call[0], "/api/v1/me/"+call[1], strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+aliceToken)
		h.do(r)
		if len(h.bot.did) != 1 || h.bot.cut {
			t.Errorf("%v whose caller went away did %v, cut off: %v", call, h.bot.did, h.bot.cut)
		}
		h.bot.personalErr = &bot.Error{Code: bot.CodeDenied, Message: "not you"}
		if w := h.call(call[0], "/api/v1/me/"+call[1], body); w.Code != 403 || !strings.Contains(w.Body.String(), "not you") {
			t.Errorf("%v that is refused answers %d %s", call, w.Code, w.Body)
		}
	}
}
