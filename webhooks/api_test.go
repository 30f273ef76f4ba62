package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

func TestEveryPersonalCallProvesItsToken(t *testing.T) {
	calls := []struct{ method, path string }{
		{"GET", "/api/v1/whoami"}, {"POST", "/api/v1/requests"}, {"GET", "/api/v1/grants"},
		{"GET", "/api/v1/grants/20261122-k3v9q2m4tz"}, {"GET", "/api/v1/grants/20261122-k3v9q2m4tz/explanation"},
		{"POST", "/api/v1/grants/20261122-k3v9q2m4tz/claim"}, {"POST", "/api/v1/grants/20261122-k3v9q2m4tz/drop"},
		{"POST", "/api/v1/grants/20261122-k3v9q2m4tz/revoke"}, {"POST", "/api/v1/grants/20261122-k3v9q2m4tz/approve"},
		{"POST", "/api/v1/grants/20261122-k3v9q2m4tz/deny"}, {"POST", "/api/v1/grants/20261122-k3v9q2m4tz/extend"},
	}
	for _, tc := range []struct {
		claim  string
		header []string
		status int
		code   bot.Code
		want   string
	}{
		{"no token", nil, 401, codeUnauthenticated, "tac login"},
		{"an empty one", []string{"Bearer "}, 401, codeUnauthenticated, "tac login"},
		{"another scheme", []string{"token " + aliceToken}, 401, codeUnauthenticated, "tac login"},
		{"another kind of token", []string{"Bearer ghp_personal"}, 401, codeUnauthenticated, "tac login"},
		{"two tokens", []string{"Bearer " + aliceToken, "Bearer " + aliceToken}, 401, codeUnauthenticated, "tac login"},
		{"two in one", []string{"Bearer " + aliceToken + " x"}, 401, codeUnauthenticated, "tac login"},
		{"a token of nobody", []string{"Bearer ghu_nobody"}, 500, codeInternal, "our side"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			for _, call := range calls {
				h := newHarness(t)
				r := httptest.NewRequest(call.method, call.path, strings.NewReader(`{}`))
				for _, v := range tc.header {
					r.Header.Add("Authorization", v)
				}
				w := h.do(r)
				got := read[problem](t, w)
				if w.Code != tc.status || got.Code != tc.code || !strings.Contains(got.Message, tc.want) {
					t.Errorf("%s %s answers %d %+v", call.method, call.path, w.Code, got)
				}
				if (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
					t.Errorf("%s %s: WWW-Authenticate is %q", call.method, call.path, w.Header().Get("WWW-Authenticate"))
				}
				if len(h.bot.asks)+len(h.bot.calls) > 0 {
					t.Errorf("%s %s: the bot was asked", call.method, call.path)
				}
			}
		})
	}
}

func TestATokenThatCannotBeProvedNowIsNotTheCallersFault(t *testing.T) {
	h := newHarness(t)
	h.identity.err = errors.New("check token: 502 bad gateway")
	w := h.call("GET", "/api/v1/whoami", "")
	if got := read[problem](t, w); w.Code != 503 || got.Code != bot.CodeUnavailable || strings.Contains(got.Message, "502") {
		t.Errorf("answers %d %+v", w.Code, got)
	}
}

func TestWhileGitHubDoesNotAnswerAnOlderProofEndsAccessAndGivesNone(t *testing.T) {
	const grant = "/api/v1/grants/20261122-k3v9q2m4tz/"
	h := newHarness(t)
	h.identity.err = errors.New("check token: 502 bad gateway")
	h.identity.recent = true
	for path, want := range map[string]int{"drop": 200, "revoke": 200, "claim": 503, "extend": 503, "approve": 503} {
		body := map[string]string{"drop": "{}", "revoke": `{"reason":"stolen"}`, "claim": `{"key":"0123456789abcdef"}`}[path]
		if w := h.call("POST", grant+path, body); w.Code != want {
			t.Errorf("%s answers %d: %s", path, w.Code, w.Body)
		}
	}
	h.identity.err = errNotOurs // a refusal is an answer: no older proof outlives it
	if w := h.call("POST", grant+"drop", "{}"); w.Code != 401 {
		t.Errorf("a refused token answers %d", w.Code)
	}
}

func TestWhoamiAndLogin(t *testing.T) {
	h := newHarness(t)
	if got := strings.TrimSpace(h.call("GET", "/api/v1/whoami", "").Body.String()); got != `{"github":"alice","id":1001}` {
		t.Errorf("whoami answers %s", got)
	}
	w := h.do(httptest.NewRequest("GET", "/api/v1/login", nil))
	if got := strings.TrimSpace(w.Body.String()); got != `{"client_id":"Iv1.abc","github_url":"https://github.com"}` {
		t.Errorf("login answers %s", got)
	}
}

const anAsk = `{"resource":"postgres-prod","duration":"2h","reason":"Deploy hotfix","ticket":"INC-789","start":"2026-11-22T19:00:00+01:00"}`

func TestARequestIsAskedForByWhoseTokenItIs(t *testing.T) {
	h := newHarness(t)
	w := h.call("POST", "/api/v1/requests", anAsk, "Idempotency-Key", "k1")
	want := bot.Ask{
		Requester: alice, Resource: "postgres-prod", Duration: 2 * time.Hour, Reason: "Deploy hotfix", Ticket: "INC-789",
		Start: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC), Via: grants.ViaCLI, Key: "k1",
	}
	if len(h.bot.asks) != 1 || h.bot.asks[0] != want {
		t.Errorf("asked %+v\nwanted %+v", h.bot.asks, want)
	}
	got := read[map[string]any](t, w)
	decision, _ := got["decision"].(map[string]any)
	if w.Code != 202 || got["id"] != string(anID) || got["existing"] != false || decision["decision"] != "allow" ||
		w.Header().Get("Location") != "/api/v1/grants/"+string(anID) {
		t.Errorf("answers %d %v, Location %q", w.Code, got, w.Header().Get("Location"))
	}
}

func TestTheSameKeyIsTheSameRequest(t *testing.T) {
	h := newHarness(t)
	h.call("POST", "/api/v1/requests", anAsk, "Idempotency-Key", "k1")
	w := h.call("POST", "/api/v1/requests", anAsk, "Idempotency-Key", "k1")
	// The bot does not judge again; its zero decision denies and must not
	// be shown as if it were one.
	if got := strings.TrimSpace(w.Body.String()); w.Code != 202 || got != `{"id":"20261122-k3v9q2m4tz","existing":true}` {
		t.Errorf("the repetition answers %d %s", w.Code, got)
	}
}

func TestADryRunNeedsNoKeyAndIsNotAccepted(t *testing.T) {
	h := newHarness(t)
	h.bot.decision.Outcome = policies.NeedsReview
	w := h.call("POST", "/api/v1/requests", `{"resource":"postgres-prod","duration":"2h","dry_run":true}`)
	got := read[map[string]any](t, w)
	decision, _ := got["decision"].(map[string]any)
	if _, has := got["id"]; w.Code != 200 || has || decision["decision"] != "review" || !h.bot.asks[0].DryRun {
		t.Errorf("answers %d %v", w.Code, got)
	}
}

func TestADenialTellsTheDecisionAndTheSentence(t *testing.T) {
	h := newHarness(t)
	d := policies.Decision{Outcome: policies.Deny, Rule: "production-database/max_duration", Nearest: "ask for 8h at most"}
	h.bot.err = &bot.Error{Code: bot.CodeDenied, Message: d.Nearest, Decision: &d}
	w := h.call("POST", "/api/v1/requests", anAsk, "Idempotency-Key", "k1")
	got := read[map[string]any](t, w)
	decision, _ := got["decision"].(map[string]any)
	if w.Code != 403 || got["code"] != "denied" || got["message"] != "ask for 8h at most" || decision["rule"] != d.Rule || decision["decision"] != "deny" {
		t.Errorf("answers %d %v", w.Code, got)
	}
}

func TestBodiesAreReadStrictly(t *testing.T) {
	const key = `"key":"0123456789abcdef"`
	claim := "/api/v1/grants/" + string(anID) + "/claim"
	for _, tc := range []struct{ claim, path, body, want string }{
		{"a field with a slip", "/api/v1/requests", `{"resource":"a","reson":"x"}`, `there is no field "reson" here; did you mean reason?`},
		{"a field in other letters", "/api/v1/requests", `{"Resource":"a"}`, `there is no field "Resource" here`},
		{"a requester", "/api/v1/requests", `{"requester":"bob"}`, `there is no field "requester" here`},
		{"a field twice", "/api/v1/requests", `{"resource":"a","resource":"b"}`, `the body says resource twice`},
		{"a number for a text", "/api/v1/requests", `{"duration":7200}`, `duration has to be a text, not number`},
		{"a text for a truth", "/api/v1/requests", `{"dry_run":"yes"}`, `dry_run has to be true or false, not string`},
		{"a list", "/api/v1/requests", `[]`, `has to be a JSON object`},
		{"half an object", "/api/v1/requests", `{"resource":"a"`, `not well-formed JSON`},
		{"a value that breaks off", "/api/v1/requests", `{"resource":"a`, `not well-formed JSON`},
		{"no JSON", "/api/v1/requests", `resource=a`, `not well-formed JSON`},
		{"two objects", "/api/v1/requests", `{} {}`, `something follows`},
		{"no duration", "/api/v1/requests", `{"resource":"a"}`, `duration: "" is not a duration`},
		{"a duration without a unit", "/api/v1/requests", `{"resource":"a","duration":"30"}`, `add a unit: 30m or 30h`},
		{"a start in words", "/api/v1/requests", `{"resource":"a","duration":"1h","start":"tomorrow"}`, `start: "tomorrow" is not a time; write 2026-11-22T18:00:00Z`},
		{"no idempotency key", "/api/v1/requests", `{"resource":"a","duration":"1h"}`, `Idempotency-Key`},
		{"a claim with more", claim, `{` + key + `,"force":true}`, `there is no field "force" here; there are csr, key, public_key, replace`},
		{"a drop that says something", strings.Replace(claim, "claim", "drop", 1), `{"reason":"x"}`, `the body is to be empty`},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			w := h.call("POST", tc.path, tc.body)
			got := read[problem](t, w)
			if w.Code != 400 || got.Code != bot.CodeInvalid || !strings.Contains(got.Message, tc.want) {
				t.Errorf("answers %d %+v, wanted %q", w.Code, got, tc.want)
			}
			if len(h.bot.asks)+len(h.bot.calls) > 0 {
				t.Error("the bot was asked")
			}
		})
	}
}

func TestBodiesThatAreTooLargeAreRefused(t *testing.T) {
	for _, body := range []string{
		`{"reason":"` + strings.Repeat("x", mostAsk) + `"}`,
		`{}` + strings.Repeat(" ", mostAsk),
		strings.Repeat(" ", mostAsk+1) + `{}`,
	} {
		w := newHarness(t).call("POST", "/api/v1/requests", body, "Idempotency-Key", "k")
		if got := read[problem](t, w); w.Code != 413 || got.Code != codeTooLarge {
			t.Errorf("answers %d %+v", w.Code, got)
		}
	}
}

func TestIdempotencyKeysAreOneWord(t *testing.T) {
	for _, key := range []string{"", "a b", "ä", strings.Repeat("k", 201)} {
		h := newHarness(t)
		if w := h.call("POST", "/api/v1/requests", anAsk, "Idempotency-Key", key); w.Code != 400 || len(h.bot.asks) > 0 {
			t.Errorf("the key %.20q answers %d", key, w.Code)
		}
	}
}

func TestEachKindOfErrorHasItsStatus(t *testing.T) {
	cause := errors.New("canary-cause")
	for _, tc := range []struct {
		claim  string
		err    error
		status int
		code   bot.Code
	}{
		{"invalid", &bot.Error{Code: bot.CodeInvalid, Message: "a sentence", Cause: cause}, 400, bot.CodeInvalid},
		{"denied", &bot.Error{Code: bot.CodeDenied, Message: "a sentence", Cause: cause}, 403, bot.CodeDenied},
		{"not found", &bot.Error{Code: bot.CodeNotFound, Message: "a sentence", Cause: cause}, 404, bot.CodeNotFound},
		{"conflict", &bot.Error{Code: bot.CodeConflict, Message: "a sentence", Cause: cause}, 409, bot.CodeConflict},
		{"unavailable", &bot.Error{Code: bot.CodeUnavailable, Message: "a sentence", Cause: cause}, 503, bot.CodeUnavailable},
		{"one too many", &bot.Error{Code: bot.CodeLimited, Message: "a sentence", Cause: cause}, 429, bot.CodeLimited},
		{"a refusal that was wrapped", fmt.Errorf("drop: %w", &bot.Error{Code: bot.CodeConflict, Message: "a sentence", Cause: cause}), 409, bot.CodeConflict},
		{"a code that nobody knows", &bot.Error{Code: "teapot", Message: "not a sentence", Cause: cause}, 500, codeInternal},
		{"no code", &bot.Error{Message: "not a sentence", Cause: cause}, 500, codeInternal},
		{"any other error", fmt.Errorf("not a sentence: %w", cause), 500, codeInternal},
		{"a lost write", fmt.Errorf("not a sentence: %w: %w", world.ErrLost, cause), 500, codeInternal},
		{"a call that was given up", fmt.Errorf("not a sentence: %w: %w", context.DeadlineExceeded, cause), 500, codeInternal},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			h.bot.err = tc.err
			w := h.call("POST", "/api/v1/grants/"+string(anID)+"/drop", "")
			got := read[problem](t, w)
			if w.Code != tc.status || got.Code != tc.code {
				t.Errorf("answers %d %+v", w.Code, got)
			}
			if (tc.status < 500 || tc.status == 503) != (got.Message == "a sentence") {
				t.Errorf("says %q", got.Message)
			}
			if strings.Contains(w.Body.String(), "canary") || strings.Contains(w.Body.String(), "not a sentence") {
				t.Errorf("the cause is shown: %s", w.Body)
			}
			if !strings.Contains(h.log.String(), "canary-cause") {
				t.Errorf("the cause is not logged:\n%s", h.log)
			}
		})
	}
}

func TestListsLeaveOutWhatIsOver(t *testing.T) {
	redis := aView(grants.PhaseRequested)
	redis.Resource = "redis-prod"
	views := []bot.View{aView(grants.PhaseActive), aView(grants.PhaseEnded), aView(grants.PhaseClosed), aView(grants.PhaseWithdrawn), aView(grants.PhaseLapsed), aView(grants.PhaseDenied), redis}
	for query, want := range map[string][]grants.Phase{
		"":                              {"active", "ended", "requested"},
		"?state=open":                   {"active", "ended", "requested"},
		"?state=all":                    {"active", "ended", "closed", "withdrawn", "lapsed", "denied", "requested"},
		"?resource=redis-prod":          {"requested"},
		"?state=all&resource=elsewhere": {},
	} {
		h := newHarness(t)
		h.bot.views = views
		w := h.call("GET", "/api/v1/grants"+query, "")
		got := read[struct{ Grants []bot.View }](t, w)
		phases := []grants.Phase{}
		for _, v := range got.Grants {
			phases = append(phases, v.Phase)
		}
		if w.Code != 200 || !reflect.DeepEqual(phases, want) || !strings.Contains(w.Body.String(), `"grants":[`) {
			t.Errorf("%q answers %d %v, wanted %v", query, w.Code, phases, want)
		}
	}
	if w := newHarness(t).call("GET", "/api/v1/grants?state=closed", ""); w.Code != 400 {
		t.Errorf("a state that nobody knows answers %d", w.Code)
	}
}

func TestGrantsAreNamedByID(t *testing.T) {
	for _, id := range []string{"42", "20261122-K3V9Q2M4TZ", "..%2f..%2fx", "20261399-k3v9q2m4tz"} {
		h := newHarness(t)
		w := h.call("GET", "/api/v1/grants/"+id, "")
		if w.Code != 400 && w.Code != 404 || len(h.bot.calls) > 0 {
			t.Errorf("%s answers %d", id, w.Code)
		}
	}
}

func TestWhatIsDoneToAGrantIsDoneByWhoseTokenItIs(t *testing.T) {
	for _, tc := range []struct{ method, path, body, want string }{
		{"GET", "", "", "show 20261122-k3v9q2m4tz by alice"},
		{"GET", "/explanation", "", "explain 20261122-k3v9q2m4tz by alice"},
		{"POST", "/drop", "", "drop 20261122-k3v9q2m4tz by alice"},
		{"POST", "/drop", "{}", "drop 20261122-k3v9q2m4tz by alice"},
		{"POST", "/revoke", `{"reason":"left the team"}`, "revoke for left the team 20261122-k3v9q2m4tz by alice"},
	} {
		h := newHarness(t)
		w := h.call(tc.method, "/api/v1/grants/"+string(anID)+tc.path, tc.body)
		if got := strings.Join(h.bot.calls, "; "); w.Code != 200 || got != tc.want || !strings.Contains(w.Body.String(), `"phase":"active"`) {
			t.Errorf("%s %s answers %d, having done %q: %s", tc.method, tc.path, w.Code, got, w.Body)
		}
	}
}

func TestAClaimAnswersWithTheCredentialAndIsNotKept(t *testing.T) {
	h := newHarness(t)
	h.bot.credential = &world.Credential{
		Engine: "database", Username: "v-alice", Password: world.NewSecret("p w"), SignedKey: "ssh-cert",
		Fields: map[string]world.Secret{"host": world.NewSecret("db.internal")}, Until: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC),
	}
	w := h.call("POST", "/api/v1/grants/"+string(anID)+"/claim", `{"key":"0123456789abcdef","replace":true,"public_key":"ssh-ed25519 AAAA","csr":"PEM"}`)
	got := read[struct {
		Grant      bot.View
		Credential map[string]any
	}](t, w)
	want := map[string]any{
		"engine": "database", "username": "v-alice", "password": "p w", "signed_key": "ssh-cert",
		"fields": map[string]any{"host": "db.internal"}, "until": "2026-11-22T18:00:00Z",
	}
	if w.Code != 200 || got.Grant.ID != anID || !reflect.DeepEqual(got.Credential, want) {
		t.Errorf("answers %d %s", w.Code, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control is %q", w.Header().Get("Cache-Control"))
	}
	if want := (bot.ClaimAsk{Key: "0123456789abcdef", Replace: true, PublicKey: "ssh-ed25519 AAAA", CSR: "PEM"}); h.bot.claims[0] != want {
		t.Errorf("claimed %+v", h.bot.claims[0])
	}
}

func TestAClaimWithoutACredentialIsAnError(t *testing.T) {
	h := newHarness(t)
	w := h.call("POST", "/api/v1/grants/"+string(anID)+"/claim", `{"key":"0123456789abcdef"}`)
	if got := read[problem](t, w); w.Code != 500 || got.Code != codeInternal {
		t.Errorf("answers %d %+v", w.Code, got)
	}
}

func TestAClaimGoesOnWhenTheClientGoesAway(t *testing.T) {
	h := newHarness(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.bot.credential = &world.Credential{Engine: "database"}
	h.bot.claimCtx = func(inner context.Context) {
		cancel()
		if inner.Err() != nil {
			t.Error("issuing was cut off half way")
		}
		if _, bounded := inner.Deadline(); !bounded {
			t.Error("issuing may go on for ever")
		}
	}
	r := httptest.NewRequest("POST", "/api/v1/grants/"+string(anID)+"/claim", strings.NewReader(`{"key":"0123456789abcdef"}`)).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+aliceToken)
	h.do(r)
	if len(h.bot.claims) != 1 {
		t.Error("the claim was not made")
	}
}
