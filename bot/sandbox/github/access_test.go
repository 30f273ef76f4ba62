package github_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	api "github.com/google/go-github/v60/github"
	"golang.org/x/oauth2"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// botOf is a client of the world's App by one of its installations.
func (w *world) botOf(installation int64) *api.Client {
	w.t.Helper()
	itr, err := ghinstallation.New(http.DefaultTransport, w.app.ID, installation, w.app.PrivateKeyPEM)
	must(w.t, err)
	itr.BaseURL = w.URL()
	itr.InstallationTokenOptions = &api.InstallationTokenOptions{}
	return w.client(&http.Client{Transport: itr})
}

func TestInstallationTokens(t *testing.T) {
	w := newWorld(t)
	_, err := w.AddRepo("acme", "other", "main")
	must(t, err)
	narrow := func(o api.InstallationTokenOptions) *api.Client {
		itr := w.transport()
		itr.InstallationTokenOptions = &o
		return w.client(&http.Client{Transport: itr})
	}
	read := func(c *api.Client, name string) error {
		_, _, err := c.Repositories.Get(ctx, "acme", name)
		return err
	}
	must(t, read(w.bot(), "other"))
	one := narrow(api.InstallationTokenOptions{Repositories: []string{"grants"}, Permissions: &api.InstallationPermissions{Contents: api.String("read")}})
	must(t, read(one, "grants"))
	status(t, read(one, "other"), 404, "Not Found")
	_, _, err = one.Git.CreateRef(ctx, "acme", "grants", &api.Reference{Ref: api.String("refs/heads/x"), Object: &api.GitObject{SHA: api.String("x")}})
	status(t, err, 403, "Resource not accessible by integration")
	if err := read(narrow(api.InstallationTokenOptions{Repositories: []string{"none"}}), "grants"); err == nil {
		t.Error("a token for a repository that does not exist was made")
	}
	if err := read(narrow(api.InstallationTokenOptions{Permissions: &api.InstallationPermissions{Administration: api.String("write")}}), "grants"); err == nil {
		t.Error("a token with a permission the App has not was made")
	}

	forger := *w.app
	stranger, err := w.AddApp("stranger", 88)
	must(t, err)
	forger.PrivateKeyPEM = stranger.PrivateKeyPEM
	if err := read((&world{Server: w.Server, t: t, app: &forger}).botOf(7001), "grants"); err == nil {
		t.Error("a token was made for another key")
	}
	if err := read((&world{Server: w.Server, t: t, app: stranger}).botOf(7001), "grants"); err == nil {
		t.Error("a token was made for another App")
	}

	w.UseLongTokens(true)
	bot := w.bot()
	must(t, read(bot, "grants"))
	w.ExpireTokens()
	status(t, read(bot, "grants"), 401, "Bad credentials")
	status(t, read(w.client(nil), "grants"), 404, "Not Found")

	itr, err := ghinstallation.NewAppsTransport(http.DefaultTransport, w.app.ID, w.app.PrivateKeyPEM)
	must(t, err)
	i, _, err := w.client(&http.Client{Transport: itr}).Apps.FindRepositoryInstallation(ctx, "acme", "grants")
	must(t, err)
	if i.GetID() != 7001 || i.GetAccount().GetLogin() != "acme" {
		t.Errorf("installation is %v", i)
	}
}

func TestTeamFacts(t *testing.T) {
	w := newWorld(t)
	w.AddUser("carol", 1004)
	w.AddUser("dave", 1005)
	_, err := w.AddTeam("acme", "db", 501, "alice")
	must(t, err)
	_, err = w.AddTeam("acme", "db-oncall", 502, "bob")
	must(t, err)
	must(t, w.SetParentTeam("acme", "db-oncall", "db"))
	must(t, w.InviteToTeam("acme", "db", "dave"))

	teams := w.bot().Teams
	members := func(slug string) (logins string) {
		list, _, err := teams.ListTeamMembersBySlug(ctx, "acme", slug, nil)
		must(t, err)
		for _, u := range list {
			logins += u.GetLogin() + " "
		}
		return logins
	}
	if got := members("db"); got != "alice bob " {
		t.Errorf("members with those of child teams are %s", got)
	}
	children, _, err := teams.ListChildTeamsByParentSlug(ctx, "acme", "db", nil)
	must(t, err)
	if len(children) != 1 || children[0].GetID() != 502 || children[0].GetParent().GetID() != 501 {
		t.Errorf("child teams are %v", children)
	}
	state := func(login string) string {
		m, _, err := teams.GetTeamMembershipBySlug(ctx, "acme", "db", login)
		if err != nil {
			status(t, err, 404, "")
			return "none"
		}
		return m.GetState()
	}
	for login, want := range map[string]string{"alice": "active", "bob": "active", "dave": "pending", "carol": "none"} {
		if got := state(login); got != want {
			t.Errorf("%s is %s, want %s", login, got, want)
		}
	}
	must(t, w.RemoveMember("acme", "alice"))
	if got := members("db"); got != "bob " || state("alice") != "none" {
		t.Errorf("members are %s after alice has left", got)
	}
	in, _, err := w.bot().Organizations.IsMember(ctx, "acme", "alice")
	must(t, err)
	if in {
		t.Error("alice is still in the organisation")
	}
	_, err = w.AddTeam("acme", "db", 999)
	must(t, err)
	team, _, err := teams.GetTeamBySlug(ctx, "acme", "db")
	must(t, err)
	if team.GetID() != 999 {
		t.Errorf("the slug taken over has id %d", team.GetID())
	}
	_, _, err = w.as("mallory").Teams.GetTeamBySlug(ctx, "acme", "db")
	status(t, err, 404, "Not Found")
}

// oauth posts a form to an OAuth endpoint and returns the JSON answer.
func (w *world) oauth(path string, form url.Values) map[string]any {
	w.t.Helper()
	r, err := http.NewRequest(http.MethodPost, w.URL()+path, strings.NewReader(form.Encode()))
	must(w.t, err)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(r)
	must(w.t, err)
	defer func() { _ = res.Body.Close() }()
	var out map[string]any
	must(w.t, json.NewDecoder(res.Body).Decode(&out))
	return out
}

func TestDeviceFlow(t *testing.T) {
	w := newWorld(t)
	w.SetPolling(0)
	start := func() (device, user string) {
		out := w.oauth("/login/device/code", url.Values{"client_id": {w.app.ClientID}})
		return out["device_code"].(string), out["user_code"].(string)
	}
	poll := func(device string) map[string]any {
		return w.oauth("/login/oauth/access_token", url.Values{
			"client_id": {w.app.ClientID}, "device_code": {device}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
		})
	}
	wants := func(out map[string]any, code string) {
		t.Helper()
		if out["error"] != code {
			t.Errorf("answered %v, want %s", out, code)
		}
	}
	device, code := start()
	wants(poll(device), "authorization_pending")
	must(t, w.AuthorizeDevice(strings.ToLower(code), "alice"))
	first := poll(device)
	token, _ := first["access_token"].(string)
	if !strings.HasPrefix(token, "ghu_") {
		t.Fatalf("answered %v", first)
	}
	wants(poll(device), "incorrect_device_code")
	me, _, err := w.client(nil).WithAuthToken(token).Users.Get(ctx, "")
	must(t, err)
	if me.GetID() != 1001 {
		t.Errorf("the token is %v", me)
	}

	second := w.oauth("/login/oauth/access_token", url.Values{
		"client_id": {w.app.ClientID}, "grant_type": {"refresh_token"}, "refresh_token": {first["refresh_token"].(string)},
	})
	if second["access_token"] == token || second["error"] != nil {
		t.Errorf("refreshed to %v", second)
	}
	_, _, err = w.client(nil).WithAuthToken(token).Users.Get(ctx, "")
	status(t, err, 401, "Bad credentials")

	w.SetPolling(time.Second)
	config := w.oauthConfig()
	auth, err := config.DeviceAuth(ctx)
	must(t, err)
	must(t, w.AuthorizeDevice(auth.UserCode, "bob"))
	third, err := config.DeviceAccessToken(ctx, auth)
	must(t, err)
	if me, _, err := w.client(nil).WithAuthToken(third.AccessToken).Users.Get(ctx, ""); err != nil || me.GetLogin() != "bob" {
		t.Errorf("by golang.org/x/oauth2 the token is of %v, %v", me, err)
	}

	w.SetPolling(0)
	device, code = start()
	must(t, w.DenyDevice(code))
	wants(poll(device), "access_denied")
	w.SetPolling(time.Hour)
	device, _ = start()
	wants(poll(device), "authorization_pending")
	wants(poll(device), "slow_down")
	w.clock.Advance(15 * time.Minute)
	wants(poll(device), "expired_token")
}

func (w *world) oauthConfig() *oauth2.Config {
	return &oauth2.Config{
		ClientID: w.app.ClientID, ClientSecret: w.app.ClientSecret, RedirectURL: "http://127.0.0.1:1/callback",
		Endpoint: oauth2.Endpoint{
			AuthURL: w.URL() + "/login/oauth/authorize", TokenURL: w.URL() + "/login/oauth/access_token",
			DeviceAuthURL: w.URL() + "/login/device/code", AuthStyle: oauth2.AuthStyleInParams,
		},
	}
}

func TestWebSignIn(t *testing.T) {
	w := newWorld(t)
	config := w.oauthConfig()
	verifier := oauth2.GenerateVerifier()
	signIn := func(choice string) url.Values {
		t.Helper()
		page := config.AuthCodeURL("state-1", oauth2.S256ChallengeOption(verifier))
		browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := browser.PostForm(page, url.Values{"login": {"alice"}, "choice": {choice}})
		must(t, err)
		must(t, res.Body.Close())
		back, err := res.Location()
		must(t, err)
		return back.Query()
	}
	back := signIn("allow")
	if back.Get("state") != "state-1" {
		t.Errorf("came back with %v", back)
	}
	token, err := config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
	must(t, err)
	me, _, err := w.client(nil).WithAuthToken(token.AccessToken).Users.Get(ctx, "")
	must(t, err)
	if me.GetLogin() != "alice" {
		t.Errorf("signed in as %v", me)
	}
	if _, err := config.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code was redeemed twice")
	}
	if _, err := config.Exchange(ctx, signIn("allow").Get("code"), oauth2.VerifierOption("another")); err == nil {
		t.Error("a code was redeemed with another verifier")
	}
	if back := signIn("deny"); back.Get("error") != "access_denied" {
		t.Errorf("after Cancel came back with %v", back)
	}
}

func TestOnlyUserTokensOfTheAppAreProved(t *testing.T) {
	w := newWorld(t)
	other, err := w.AddApp("other", 88)
	must(t, err)
	check := func(token string) (*api.Authorization, error) {
		basic := &api.BasicAuthTransport{Username: w.app.ClientID, Password: w.app.ClientSecret}
		a, _, err := w.client(basic.Client()).Authorizations.Check(ctx, w.app.ClientID, token)
		return a, err
	}
	mine := get[string](t)(w.UserToken("alice", w.app))
	a, err := check(mine)
	must(t, err)
	if a.GetUser().GetID() != 1001 || a.GetApp().GetClientID() != w.app.ClientID {
		t.Errorf("proved %v", a)
	}
	for name, token := range map[string]string{
		"a personal access token": get[string](t)(w.PAT("alice")),
		"another App's token":     get[string](t)(w.UserToken("alice", other)),
		"an installation token":   w.installationToken(),
		"garbage":                 "ghu_garbage",
	} {
		if _, err := check(token); err == nil {
			t.Errorf("%s was proved", name)
		}
	}
	basic := &api.BasicAuthTransport{Username: w.app.ClientID, Password: "wrong"}
	_, _, err = w.client(basic.Client()).Authorizations.Check(ctx, w.app.ClientID, mine)
	status(t, err, 404, "Not Found")
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	n := w.open("g1").GetNumber()
	w.LimitContent(2)
	say := func() error {
		_, _, err := w.bot().Issues.CreateComment(ctx, "acme", "grants", n, &api.IssueComment{Body: api.String("x")})
		return err
	}
	must(t, say())
	must(t, say())
	var abuse *api.AbuseRateLimitError
	if err := say(); !errors.As(err, &abuse) || *abuse.RetryAfter != time.Minute {
		t.Errorf("over the limit: %v", err)
	}
	w.clock.Advance(time.Minute)
	must(t, say())
}

func TestAnUnchangedAnswerIsNotModified(t *testing.T) {
	w := newWorld(t)
	token := get[string](t)(w.PAT("alice"))
	ask := func(tag string) (int, string) {
		r, err := http.NewRequest(http.MethodGet, w.URL()+"/repos/acme/grants/branches/main", nil)
		must(t, err)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("If-None-Match", tag)
		res, err := http.DefaultClient.Do(r)
		must(t, err)
		must(t, res.Body.Close())
		if res.Header.Get("X-GitHub-Request-Id") == "" || res.Header.Get("X-RateLimit-Remaining") == "" ||
			res.Header.Get("Date") != w.clock.Now().Format(http.TimeFormat) {
			t.Errorf("headers are %v", res.Header)
		}
		return res.StatusCode, res.Header.Get("ETag")
	}
	code, tag := ask("")
	if again, _ := ask(tag); code != 200 || again != 304 {
		t.Errorf("answered %d, then %d", code, again)
	}
	_, err := w.Push(github.Push{Repo: repo, Login: "alice", Branch: "main", Files: map[string]string{"x": "1"}, Message: "x"})
	must(t, err)
	if code, _ := ask(tag); code != 200 {
		t.Errorf("after a push: %d", code)
	}
}

func TestCallsAreCountedByKind(t *testing.T) {
	w := newWorld(t)
	_, err := w.AddTeam("acme", "db", 501, "alice")
	must(t, err)
	w.ResetCalls()
	bot := w.bot()
	_, _, err = bot.Teams.ListTeamMembersBySlug(ctx, "acme", "db", nil)
	must(t, err)
	_, _, err = bot.Repositories.Get(ctx, "acme", "grants")
	must(t, err)
	w.clone("alice", get[string](t)(w.PAT("alice")))
	w.oauth("/login/device/code", url.Values{"client_id": {w.app.ClientID}})
	got := w.Counts()
	if got.Git < 2 {
		t.Errorf("the clone was %d calls", got.Git)
	}
	got.Git = 0
	if want := (github.Counts{REST: 1, Tokens: 1, Teams: 1, OAuth: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	if rest := w.RESTCalls(); len(rest) != 3 {
		t.Errorf("calls are %v", rest)
	}
}

func TestALaggingReplicaAnswersFromBefore(t *testing.T) {
	w := newWorld(t)
	n := w.open("g1").GetNumber()
	w.Lag("/reviews", 2)
	_, err := w.Review(repo, n, "alice", "APPROVE", "")
	must(t, err)
	var seen []int
	for range 3 {
		seen = append(seen, len(w.reviews(n)))
	}
	if seen[0] != 0 || seen[1] != 0 || seen[2] != 1 {
		t.Errorf("saw %v reviews", seen)
	}

	// What was made after the replica stopped is not there yet.
	w.LagFor("/pulls/", 30*time.Second)
	next := w.open("g2").GetNumber()
	_, _, err = w.bot().PullRequests.Get(ctx, "acme", "grants", next)
	status(t, err, 404, "Not Found")
	w.clock.Advance(30 * time.Second)
	_, _, err = w.bot().PullRequests.Get(ctx, "acme", "grants", next)
	must(t, err)
}

func TestRefsByREST(t *testing.T) {
	w := newWorld(t)
	must(t, w.Protect(repo, w.app))
	log := get[[]github.Commit](t)(w.Commits(repo, "main"))
	ref := func(name, sha string) *api.Reference {
		return &api.Reference{Ref: api.String(name), Object: &api.GitObject{SHA: api.String(sha)}}
	}
	bot, alice := w.bot().Git, w.as("alice").Git
	_, _, err := bot.CreateRef(ctx, "acme", "grants", ref("refs/heads/grant/g1", log[0].SHA))
	must(t, err)
	_, _, err = bot.CreateRef(ctx, "acme", "grants", ref("refs/heads/grant/g1", log[0].SHA))
	status(t, err, 422, "already exists")
	_, err = alice.DeleteRef(ctx, "acme", "grants", "heads/grant/g1")
	status(t, err, 422, "rule violations")
	sha := get[string](t)(w.Push(github.Push{Repo: repo, Login: "alice", Branch: "f", Files: map[string]string{"x": "1"}, Message: "x"}))
	_, _, err = alice.UpdateRef(ctx, "acme", "grants", ref("refs/heads/main", sha), false)
	status(t, err, 422, "pull request")
	_, _, err = alice.UpdateRef(ctx, "acme", "grants", ref("refs/heads/f", log[0].SHA), false)
	status(t, err, 422, "not a fast forward")
	_, err = bot.DeleteRef(ctx, "acme", "grants", "heads/grant/g1")
	must(t, err)
	_, _, err = bot.GetRef(ctx, "acme", "grants", "heads/grant/g1")
	status(t, err, 404, "Not Found")
	file, _, _, err := w.bot().Repositories.GetContents(ctx, "acme", "grants", "policies/a.yaml", nil)
	must(t, err)
	if text := get[string](t)(file.GetContent()); text != "a: 1\n" {
		t.Errorf("content is %q", text)
	}
	c, _, err := w.bot().Repositories.GetCommit(ctx, "acme", "grants", log[0].SHA, nil)
	must(t, err)
	if c.GetAuthor().GetID() != 1001 || len(c.Files) != 2 {
		t.Errorf("commit is %v", c)
	}
}

func TestFaultsStrikeOrRunAfterTheWork(t *testing.T) {
	w := newWorld(t)
	pr := w.open("g1")
	w.Order(sandbox.Fault{Path: "/merge", When: sandbox.AnswerAfter, Status: 502})
	_, err := w.merge(pr.GetNumber(), "")
	status(t, err, 502, "")
	pr, _, err = w.bot().PullRequests.Get(ctx, "acme", "grants", pr.GetNumber())
	must(t, err)
	if !pr.GetMerged() {
		t.Error("the merge behind the lost answer was not done")
	}
}
