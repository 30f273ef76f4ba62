package githubpr

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	fake "github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// The shape that the bot asks for. It is repeated here because an adapter may
// not import the bot; what they share is compiled together in cmd/tac.
var _ interface {
	Bot(ctx context.Context) (int64, error)
	OpenPulls(ctx context.Context) ([]world.Pull, error)
	Pull(ctx context.Context, number int) (world.Pull, error)
	Reviews(ctx context.Context, number int) ([]policies.Review, error)
	Committers(ctx context.Context, number int) ([]int64, error)
	Open(ctx context.Context, p world.NewPull) (world.Pull, error)
	Describe(ctx context.Context, number int, body string) error
	Check(ctx context.Context, id int64, c world.Check) (int64, error)
	Passed(ctx context.Context, head string) (bool, error)
	AskReview(ctx context.Context, number int, logins []string) error
	Review(ctx context.Context, token world.Secret, r world.NewReview) (id int64, err error)
	Suggestions(ctx context.Context, number int) ([]world.Suggestion, error)
	OpenIssue(ctx context.Context, i world.NewIssue) (world.Issue, error)
	Issue(ctx context.Context, number int) (world.Issue, error)
	Merge(ctx context.Context, number int, head, subject, message string) (commit string, err error)
	Close(ctx context.Context, number int, comment string) error
	Team(ctx context.Context, ref policies.TeamRef) (policies.Team, error)
	Members(ctx context.Context) (members map[int64]bool, ok bool, err error)
	Skew() (ahead time.Duration, known bool)
} = (*Client)(nil)

const repo = "acme/grants"

var noon = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

// forge is an organisation with a grants repository on a GitHub of our own.
type forge struct {
	*fake.Server
	t     *testing.T
	clock *sandbox.Clock
	app   *fake.App
	on    *fake.Installation
}

var people = map[string]int64{"alice": 1001, "bob": 1002, "carol": 1003, "dana": 1004, "mallory": 6666}

func newForge(t *testing.T) *forge {
	t.Helper()
	clock := sandbox.NewStillClock(noon)
	server, err := fake.New(clock)
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	f := &forge{Server: server, t: t, clock: clock}
	for login, id := range people {
		server.AddUser(login, id)
	}
	server.AddOrg("acme")
	must(t, server.AddMember("acme", "alice", "bob", "carol", "dana"))
	_, err = server.AddRepo("acme", "grants", "main")
	must(t, err)
	must(t, server.Grant(repo, "write", "alice", "bob", "carol"))
	_, err = server.Seed(repo, "main", map[string]string{"README.md": "grants\n"}, "dana", "begin")
	must(t, err)
	f.app, err = server.AddApp("tac", 4711)
	must(t, err)
	f.on, err = server.Install(f.app, "acme", 77)
	must(t, err)
	return f
}

func (f *forge) config() Config {
	return Config{
		APIURL: f.URL(), Owner: "acme", Repo: "grants", Branch: "main",
		AppID: f.app.ID, InstallationID: f.on.ID, PrivateKey: world.NewSecret(string(f.app.PrivateKeyPEM)),
		ClientID: f.app.ClientID, ClientSecret: world.NewSecret(f.app.ClientSecret), Now: f.clock.Now,
	}
}

// client is a fresh one: go-github remembers limits by the real clock.
func (f *forge) client() *Client {
	f.t.Helper()
	c, err := New(f.config())
	must(f.t, err)
	return c
}

// push makes a branch with one file and returns its head.
func (f *forge) push(branch string) string {
	f.t.Helper()
	sha, err := f.Push(fake.Push{Repo: repo, Login: "alice", Branch: branch, Message: "ask", Files: map[string]string{branch + ".yaml": branch}})
	must(f.t, err)
	return sha
}

// pull pushes a branch and opens a pull request of it as alice.
func (f *forge) pull(branch string) (number int, head string) {
	f.t.Helper()
	head = f.push(branch)
	number, err := f.OpenPull(repo, "alice", branch, "main", "access for "+branch, "")
	must(f.t, err)
	return number, head
}

func (f *forge) count(method, path string) (n int) {
	for _, c := range f.Calls() {
		if c.Method == method && strings.Contains(c.Path, path) {
			n++
		}
	}
	return n
}

// stub is a GitHub that answers what it is told to, for shapes that the
// sandbox cannot take on. Keys are "METHOD /path"; a string is sent as it is.
func stub(t *testing.T, answers map[string]any) *Client {
	t.Helper()
	f := newForge(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.Method+" "+r.URL.Path]
		switch {
		case strings.HasSuffix(r.URL.Path, "/access_tokens"):
			answer = map[string]any{"token": "ghs_stub", "expires_at": time.Now().Add(time.Hour)}
		case strings.HasPrefix(r.URL.Path, "/app/installations/"):
			answer = map[string]any{"account": map[string]any{"login": "acme"}, "target_type": "Organization"}
		case !ok:
			http.Error(w, `{"message":"Not Found"}`, http.StatusNotFound)
			return
		}
		if text, ok := answer.(string); ok {
			fmt.Fprint(w, text)
			return
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	cfg := f.config()
	cfg.APIURL = server.URL
	c, err := New(cfg)
	must(t, err)
	return c
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func person(login string) grants.Principal {
	return grants.Principal{GitHub: login, ID: people[login]}
}
