package github_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	api "github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
)

const repo = "acme/grants"

// world is a server with an organisation, three people, the bot's App and a
// repository that has one commit.
type world struct {
	*github.Server
	t     *testing.T
	clock *sandbox.Clock
	app   *github.App
}

func newWorld(t *testing.T) *world {
	t.Helper()
	clock := sandbox.NewStillClock(time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC))
	s, err := github.New(clock)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	w := &world{Server: s, t: t, clock: clock}
	s.AddOrg("acme")
	s.AddUser("alice", 1001)
	s.AddUser("bob", 1002)
	s.AddUser("mallory", 1003)
	must(t, s.AddMember("acme", "alice", "bob"))
	w.app, err = s.AddApp("tac", 77)
	must(t, err)
	w.app.Permissions["issues"] = "write" // which the product does without
	_, err = s.Install(w.app, "acme", 7001)
	must(t, err)
	_, err = s.AddRepo("acme", "grants", "main")
	must(t, err)
	must(t, s.Grant(repo, "write", "alice", "bob"))
	_, err = s.Seed(repo, "main", map[string]string{"README.md": "hello\n", "policies/a.yaml": "a: 1\n"}, "alice", "start")
	must(t, err)
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// transport is the App's, as the product builds it.
func (w *world) transport() *ghinstallation.Transport {
	w.t.Helper()
	itr, err := ghinstallation.New(http.DefaultTransport, w.app.ID, 7001, w.app.PrivateKeyPEM)
	must(w.t, err)
	itr.BaseURL = w.URL()
	itr.InstallationTokenOptions = &api.InstallationTokenOptions{} // without it ghinstallation sends null, which GitHub does not describe
	return itr
}

// bot is a fresh client of the App: go-github remembers rate limits.
func (w *world) bot() *api.Client { return w.client(&http.Client{Transport: w.transport()}) }

// as is a client of a person with a personal access token.
func (w *world) as(login string) *api.Client {
	token := get[string](w.t)(w.PAT(login))
	return w.client(nil).WithAuthToken(token)
}

func (w *world) client(h *http.Client) *api.Client {
	c := api.NewClient(h)
	base, err := c.BaseURL.Parse(w.URL() + "/")
	must(w.t, err)
	c.BaseURL = base
	return c
}

func (w *world) installationToken() string {
	w.t.Helper()
	return get[string](w.t)(w.transport().Token(context.Background()))
}

// git runs the real git in dir and returns its output and whether it worked.
func git(t *testing.T, dir string, args ...string) (string, bool) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=alice", "GIT_AUTHOR_EMAIL=alice@acme.test",
		"GIT_COMMITTER_NAME=alice", "GIT_COMMITTER_EMAIL=alice@acme.test",
	)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

func mustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, ok := git(t, dir, args...)
	if !ok {
		t.Fatalf("git %s: %s", strings.Join(args, " "), out)
	}
	return strings.TrimSpace(out)
}

func refuseGit(t *testing.T, why, dir string, args ...string) {
	t.Helper()
	out, ok := git(t, dir, args...)
	if ok || !strings.Contains(out, why) {
		t.Fatalf("git %s: worked %v, want a refusal with %q:\n%s", strings.Join(args, " "), ok, why, out)
	}
}

// clone clones as user with the secret (none for anonymous).
func (w *world) clone(user, secret string) string {
	w.t.Helper()
	dir := filepath.Join(w.t.TempDir(), "clone")
	mustGit(w.t, filepath.Dir(dir), "clone", "-q", w.cloneURL(user, secret), dir)
	return dir
}

func (w *world) cloneURL(user, secret string) string {
	u := w.CloneURL(repo)
	if secret != "" {
		u = strings.Replace(u, "http://", "http://"+user+":"+secret+"@", 1)
	}
	return u
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), 0o644))
}

// commit writes a file and commits it.
func commit(t *testing.T, dir, name, content string) string {
	t.Helper()
	write(t, dir, name, content)
	mustGit(t, dir, "add", "-A")
	mustGit(t, dir, "commit", "-q", "-m", "add "+name)
	return mustGit(t, dir, "rev-parse", "HEAD")
}
