package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

const (
	anID       = grants.ID("20261122-k3v9q2m4tz")
	anotherID  = grants.ID("20261122-e3v9q2m4tz")
	aHead      = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	secretText = "canary-webhook-secret"
	aliceToken = "ghu_canary-alice"
	botUser    = int64(4242)
	repository = "acme/grants"
	ourTeam    = "T01ACME"
)

var (
	alice = grants.Principal{GitHub: "alice", ID: 1001}

	errNotOurs = errors.New("not our token")
)

// fakeBot answers as it is told and remembers what it was asked. Requests are
// kept by key, as the bot keeps them in Vault.
type fakeBot struct {
	fakePersonal // me_test.go

	err        error // of every call
	decision   policies.Decision
	view       bot.View
	views      []bot.View
	credential *world.Credential

	asks     []bot.Ask
	claims   []bot.ClaimAsk
	answers  []bot.AnswerAsk
	extends  []bot.ExtendAsk
	onAnswer func(context.Context)
	calls    []string
	pulls    []int
	mains    int
	alls     int
	stored   map[string]bool
	wait     bool // until the caller gives up
	claimCtx func(context.Context)
}

func (f *fakeBot) Request(ctx context.Context, a bot.Ask) (bot.Answer, error) {
	f.asks = append(f.asks, a)
	if f.wait {
		<-ctx.Done()
		return bot.Answer{}, &bot.Error{Code: bot.CodeUnavailable, Message: "Vault does not answer", Cause: ctx.Err()}
	}
	if f.err != nil {
		return bot.Answer{}, f.err
	}
	if a.DryRun {
		return bot.Answer{Decision: f.decision}, nil
	}
	if f.stored[a.Key] {
		return bot.Answer{ID: anID, Existing: true}, nil
	}
	if f.stored == nil {
		f.stored = map[string]bool{}
	}
	f.stored[a.Key] = true
	return bot.Answer{ID: anID, Decision: f.decision}, nil
}

func (f *fakeBot) Claim(ctx context.Context, who grants.Principal, id grants.ID, a bot.ClaimAsk) (*world.Credential, bot.View, error) {
	f.claims = append(f.claims, a)
	f.note("claim", who, id)
	if f.claimCtx != nil {
		f.claimCtx(ctx)
	}
	return f.credential, f.view, f.err
}

func (f *fakeBot) note(what string, who grants.Principal, id grants.ID) {
	f.calls = append(f.calls, what+" "+string(id)+" by "+who.GitHub)
}

func (f *fakeBot) Drop(_ context.Context, who grants.Principal, id grants.ID) (bot.View, error) {
	f.note("drop", who, id)
	return f.view, f.err
}

func (f *fakeBot) Revoke(_ context.Context, who grants.Principal, id grants.ID, reason string) (bot.View, error) {
	f.note("revoke for "+reason, who, id)
	return f.view, f.err
}

func (f *fakeBot) Approve(ctx context.Context, who grants.Principal, id grants.ID, a bot.AnswerAsk) (bot.View, error) {
	f.answers = append(f.answers, a)
	f.note("approve", who, id)
	if f.onAnswer != nil {
		f.onAnswer(ctx)
	}
	return f.view, f.err
}

func (f *fakeBot) Deny(_ context.Context, who grants.Principal, id grants.ID, a bot.AnswerAsk) (bot.View, error) {
	f.answers = append(f.answers, a)
	f.note("deny", who, id)
	return f.view, f.err
}

func (f *fakeBot) Extend(_ context.Context, who grants.Principal, id grants.ID, a bot.ExtendAsk) (bot.Answer, error) {
	f.extends = append(f.extends, a)
	f.note("extend", who, id)
	if f.err != nil {
		return bot.Answer{}, f.err
	}
	return bot.Answer{ID: anotherID, Decision: f.decision}, nil
}

func (f *fakeBot) LinkCode(_ context.Context, team, user string) (string, time.Time, error) {
	f.calls = append(f.calls, "link code for "+team+" "+user)
	return "canary-code", time.Date(2026, 11, 22, 16, 10, 0, 0, time.UTC), f.err
}

func (f *fakeBot) List(context.Context, grants.Principal) ([]bot.View, error) { return f.views, f.err }

func (f *fakeBot) Show(_ context.Context, who grants.Principal, id grants.ID) (bot.View, error) {
	f.note("show", who, id)
	return f.view, f.err
}

func (f *fakeBot) Explain(_ context.Context, who grants.Principal, id grants.ID) (bot.Explanation, error) {
	f.note("explain", who, id)
	return bot.Explanation{Grant: f.view, Decision: &f.decision}, f.err
}

func (f *fakeBot) PersonOfChat(_ context.Context, user string) (grants.Principal, error) {
	switch user {
	case "U01ALICE":
		return alice, nil
	case "U02MALLORY":
		return grants.Principal{GitHub: "mallory", ID: 1099}, nil
	}
	return grants.Principal{}, &bot.Error{Code: bot.CodeDenied, Message: "your Slack account is not linked to anybody"}
}

func (f *fakeBot) WakePull(number int) { f.pulls = append(f.pulls, number) }
func (f *fakeBot) WakeMain()           { f.mains++ }
func (f *fakeBot) WakeAll()            { f.alls++ }

// fakeIdentity knows one token.
type fakeIdentity struct {
	err    error
	recent bool // alice was proved a while ago
}

func (f *fakeIdentity) Recent(token world.Secret) (grants.Principal, bool) {
	return alice, f.recent && token.Reveal() == aliceToken
}

func (f *fakeIdentity) User(_ context.Context, token world.Secret) (grants.Principal, error) {
	switch {
	case f.err != nil:
		return grants.Principal{}, f.err
	case token.Reveal() == aliceToken:
		return alice, nil
	case token.Reveal() == "ghu_nobody":
		return grants.Principal{}, nil
	}
	return grants.Principal{}, errNotOurs
}

// harness is an edge with everything around it faked.
type harness struct {
	http.Handler
	bot      *fakeBot
	identity *fakeIdentity
	slack    *fakeSlack
	metrics  *prometheus.Registry
	log      *bytes.Buffer
	ready    error
	held     error
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	h := &harness{
		bot:      &fakeBot{decision: policies.Decision{Outcome: policies.Allow, Rule: "production-database/auto_approve[0]"}, view: aView(grants.PhaseActive)},
		identity: &fakeIdentity{}, slack: &fakeSlack{}, metrics: prometheus.NewRegistry(), log: &bytes.Buffer{},
	}
	handler, err := New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	h.Handler = handler
	return h
}

func (h *harness) config() Config {
	return Config{
		Bot: h.bot, Identity: h.identity, IsRefused: func(err error) bool { return errors.Is(err, errNotOurs) },
		WebhookSecret: world.NewSecret(secretText), Repository: repository, Branch: "main",
		BotID: func() int64 { return botUser }, Slack: h.slack,
		ClientID: "Iv1.abc", GitHubURL: "https://github.com",
		Ready: func() error { return h.ready }, Held: func() error { return h.held }, Metrics: h.metrics,
		Log: slog.New(slog.NewJSONHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

func aView(phase grants.Phase) bot.View {
	until := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	return bot.View{
		ID: anID, Phase: phase, Resource: "postgres-prod", Requester: "alice", RequesterID: alice.ID,
		Duration: "2h", Reason: "Deploy hotfix", Approvers: []string{}, EndsAt: &until,
	}
}

func (h *harness) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// call is a call of the API by alice.
func (h *harness) call(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+aliceToken)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return h.do(r)
}

// read decodes an answer.
func read[T any](t *testing.T, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("the answer %d %q is not JSON: %v", w.Code, w.Body, err)
	}
	return v
}

func TestNewNamesAllThatIsMissing(t *testing.T) {
	_, err := New(Config{})
	if err == nil {
		t.Fatal("an empty configuration was accepted")
	}
	for _, what := range []string{
		"the bot is", "identity", "IsRefused", "webhook secret", "repository", "branch", "BotID",
		"client id", "GitHub's address", "readiness", "metrics", "log",
	} {
		if !strings.Contains(err.Error(), what) {
			t.Errorf("%q is not named in: %v", what, err)
		}
	}
}

func TestNewRefusesSecretsAnybodyCanSignWith(t *testing.T) {
	for _, secret := range []string{"", " ", "\n"} {
		h := &harness{bot: &fakeBot{}, identity: &fakeIdentity{}, slack: &fakeSlack{}, metrics: prometheus.NewRegistry(), log: &bytes.Buffer{}}
		c := h.config()
		c.WebhookSecret = world.NewSecret(secret)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), "webhook secret") {
			t.Errorf("the secret %q: %v", secret, err)
		}
	}
}

func TestNewRefusesMetricsThatAreTaken(t *testing.T) {
	h := newHarness(t)
	if _, err := New(h.config()); err == nil {
		t.Error("two edges count into the same metrics")
	}
}

func TestSlackMayBeLeftOut(t *testing.T) {
	h := newHarness(t)
	c := h.config()
	c.Slack, c.Metrics = nil, prometheus.NewRegistry()
	handler, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest("POST", "/webhooks/slack/commands", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("without Slack its address answers %d", w.Code)
	}
}

func TestReadyzSaysWhyNotYet(t *testing.T) {
	h := newHarness(t)
	h.ready = errors.New("the first sweep is under way")
	if w := h.do(httptest.NewRequest("GET", "/readyz", nil)); w.Code != 503 || !strings.Contains(w.Body.String(), "first sweep") {
		t.Errorf("not ready: %d %q", w.Code, w.Body)
	}
	if w := h.do(httptest.NewRequest("GET", "/healthz", nil)); w.Code != 200 {
		t.Errorf("not ready is not dead, but healthz answers %d", w.Code)
	}
	h.ready = nil
	if w := h.do(httptest.NewRequest("GET", "/readyz", nil)); w.Code != 200 {
		t.Errorf("ready: %d %q", w.Code, w.Body)
	}
	// Ends come through the same door, so a hold does not close it.
	h.held = errors.New("the set-up is wrong")
	if w := h.do(httptest.NewRequest("GET", "/readyz", nil)); w.Code != 200 || w.Body.String() != "ready\nheld: the set-up is wrong\n" {
		t.Errorf("held: %d %q", w.Code, w.Body)
	}
	if w := h.do(httptest.NewRequest("GET", "/metrics", nil)); !strings.Contains(w.Body.String(), "tac_access_held 1\n") {
		t.Errorf("metrics: %q", w.Body)
	}
}

func TestEveryAnswerIsKeptFromCachesAndFrames(t *testing.T) {
	h := newHarness(t)
	ids := map[string]bool{}
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "/", nil),
		httptest.NewRequest("GET", "/nowhere", nil),
		httptest.NewRequest("GET", "/api/v1/requests", nil), // another method
		httptest.NewRequest("GET", "/api/v1/grants", nil),   // no token
		httptest.NewRequest("POST", "/webhooks/github", nil),
	} {
		r.Header.Set("X-Request-Id", "imitated")
		got := h.do(r).Header()
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer",
		} {
			if got.Get(name) != want {
				t.Errorf("%s %s: %s is %q", r.Method, r.URL, name, got.Get(name))
			}
		}
		id := got.Get("X-Request-Id")
		if len(id) != 16 || ids[id] {
			t.Errorf("%s %s: the request id is %q", r.Method, r.URL, id)
		}
		ids[id] = true
	}
}

func TestAddressesThatAreNotThereAreRefusedInJSON(t *testing.T) {
	h := newHarness(t)
	for _, tc := range []struct {
		method, path string
		status       int
		code         bot.Code
	}{
		{"GET", "/nowhere", 404, bot.CodeNotFound},
		{"GET", "/api/v1/grants/", 404, bot.CodeNotFound}, // no redirect that drops the token
		{"POST", "/api/v1/grants/20261122-k3v9q2m4tz/delete", 404, bot.CodeNotFound},
		{"DELETE", "/api/v1/grants", 405, codeMethod},
		{"GET", "/webhooks/github", 405, codeMethod},
	} {
		w := h.call(tc.method, tc.path, "")
		if got := read[problem](t, w); w.Code != tc.status || got.Code != tc.code || got.Message == "" {
			t.Errorf("%s %s answers %d %+v", tc.method, tc.path, w.Code, got)
		}
	}
}

func TestPanicsAreAnsweredAndLoggedUnderTheRequest(t *testing.T) {
	h := newHarness(t)
	h.bot.claimCtx = func(context.Context) { panic("out of order") }
	w := h.call("POST", "/api/v1/grants/"+string(anID)+"/claim", `{"key":"0123456789abcdef"}`)
	got := read[problem](t, w)
	if w.Code != 500 || got.Code != codeInternal || strings.Contains(got.Message, "out of order") {
		t.Errorf("a panic answers %d %+v", w.Code, got)
	}
	id := w.Header().Get("X-Request-Id")
	if !strings.Contains(got.Message, id) || !strings.Contains(h.log.String(), id) || !strings.Contains(h.log.String(), "out of order") {
		t.Errorf("the log has nothing of request %s:\n%s", id, h.log)
	}
}

func TestMetricsCountByRouteAndNotByPath(t *testing.T) {
	h := newHarness(t)
	h.call("GET", "/api/v1/grants/"+string(anID), "")
	h.do(httptest.NewRequest("GET", "/made-up-"+strings.Repeat("x", 30), nil))
	h.do(httptest.NewRequest("MADEUP", "/", nil))
	h.do(delivery("pull_request", "1", pullEvent("opened", 7, 1)))
	body := h.do(httptest.NewRequest("GET", "/metrics", nil)).Body.String()
	for _, want := range []string{
		`tac_http_requests_total{route="GET /api/v1/grants/:id",status="200"} 1`,
		`tac_http_requests_total{route="unmatched",status="404"} 1`,
		`tac_http_requests_total{route="unmatched",status="405"} 1`,
		`tac_webhook_events_total{kind="pull_request",result="woke",source="github"} 1`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in\n%s", want, body)
		}
	}
	if strings.Contains(body, "made-up") || strings.Contains(body, "MADEUP") || strings.Contains(body, string(anID)) {
		t.Errorf("a stranger's text became a label:\n%s", body)
	}
}

func TestNoSecretReachesLogsOrOtherAnswers(t *testing.T) {
	h := newHarness(t)
	h.bot.credential = &world.Credential{
		Engine: "database", Username: "v-alice", Password: world.NewSecret("canary-password"),
		Fields: map[string]world.Secret{"dsn": world.NewSecret("canary-field")}, Wrapped: world.NewSecret("canary-wrapped"),
	}
	claim := "/api/v1/grants/" + string(anID) + "/claim"
	granted := h.call("POST", claim, `{"key":"canary-claim-key"}`)
	if !strings.Contains(granted.Body.String(), "canary-password") {
		t.Fatalf("the claimant did not get the password: %s", granted.Body)
	}
	var others []*httptest.ResponseRecorder
	send := func(w *httptest.ResponseRecorder) { others = append(others, w) }
	send(h.call("POST", claim, `{"key":"canary-claim-key","nope":"canary-value"}`))
	send(h.call("POST", claim, `{"key":"canary-claim-key"`))
	send(h.call("GET", "/api/v1/whoami", "", "Authorization", "Bearer ghp_canary-other"))
	send(h.call("GET", "/api/v1/whoami", "", "Authorization", "Basic canary-basic"))
	send(h.do(delivery("push", "1", pushEvent("main"))))
	send(h.slackSend("commands", "signed", "canary-slack-body", "list"))
	send(h.slackSend("commands", "forged", "canary-slack-body", "list"))
	send(h.call("POST", "/api/v1/grants/"+string(anID)+"/approve", `{"head":"`+aHead+`"}`))
	send(h.call("POST", "/api/v1/grants/"+string(anID)+"/deny", `{"head":"canary-head","reason":"x"}`))
	h.identity.err = errors.New("get user: 502")
	send(h.call("GET", "/api/v1/whoami", ""))
	h.identity.err = nil
	h.bot.err = &bot.Error{Code: bot.CodeUnavailable, Message: "Vault does not answer", Cause: errors.New("503 sealed")}
	send(h.call("POST", claim, `{"key":"canary-claim-key"}`))

	if strings.Contains(granted.Body.String(), "canary-wrapped") || strings.Contains(granted.Body.String(), "canary-claim") {
		t.Errorf("the claim's answer holds more than the credential: %s", granted.Body)
	}
	for _, w := range others {
		if strings.Contains(w.Body.String(), "canary") {
			t.Errorf("a secret is in the answer %s", w.Body)
		}
	}
	if strings.Contains(h.log.String(), "canary") {
		t.Errorf("a secret is in the log:\n%s", h.log)
	}
	if !strings.Contains(h.log.String(), "503 sealed") {
		t.Error("the cause of a refusal is not in the log")
	}
}
