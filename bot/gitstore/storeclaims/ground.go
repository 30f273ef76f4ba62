// Package storeclaims says what bot/gitstore promises, as tests that run
// against any server of git's smart HTTP protocol:
//
//   - ground.go: the server that a test is run against, and the real git
//     command, which is the other party in every claim and checks what we push;
//   - claims.go: the claims.
//
// The sandbox's GitHub and git's own http-backend are judged by the same
// bodies.
package storeclaims

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/grants/world"
)

// Repo is an empty repository, whose default branch is main, on a server.
type Repo struct {
	// URL is its address, without credentials; Token may read and write it.
	// An empty Token is for a server that asks for none.
	URL, Token string
	// Dir is the bare repository on this machine; empty where there is none.
	Dir string
	// Pull makes head what refs/pull/N/head says, for the branch's pull
	// request, and returns N.
	Pull func(t *testing.T, branch string) int
}

// Run shows every claim on repositories that make returns, each as a test of
// its own, and returns how many were shown to hold there. After each, git
// itself checks all that is in the repository.
func Run(t *testing.T, make func(t *testing.T) Repo) (shown int) {
	t.Helper()
	for _, c := range claims {
		t.Run(c.says, func(t *testing.T) {
			s := newScene(t, make(t))
			c.show(s)
			s.fsck()
			if !t.Failed() {
				shown++
			}
		})
	}
	return shown
}

// Git runs the real git in dir, as Ada and with no configuration of the
// machine's, and returns what it prints.
func Git(t *testing.T, dir string, args ...string) (out string, ok bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@acme.test", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@acme.test",
	)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	return strings.TrimRight(said.String(), "\n"), err == nil
}

// MustGit runs the real git for something that has to work.
func MustGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, ok := Git(t, dir, args...)
	if !ok {
		t.Fatalf("git %s:\n%s", strings.Join(args, " "), out)
	}
	return out
}

// Write writes a file of a work tree.
func Write(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Address returns the repository's address as the git command wants it.
func (r Repo) Address(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	if r.Token != "" {
		u.User = url.UserPassword("x-access-token", r.Token)
	}
	return u.String()
}

// scene is a repository with a first commit, and a clone of it.
type scene struct {
	*testing.T
	Repo
	clone string
	first string // the first commit
}

func newScene(t *testing.T, r Repo) *scene {
	t.Helper()
	s := &scene{T: t, Repo: r, clone: filepath.Join(t.TempDir(), "clone")}
	MustGit(t, filepath.Dir(s.clone), "clone", "-q", r.Address(t), s.clone)
	s.git("checkout", "-q", "-b", "main")
	s.first = s.commit("first", map[string]string{
		"grants/db/1.yaml": "one\n", "grants/db/2.yaml": "two\n", "grants/db-x/3.yaml": "three\n", "grants/db.y": "four\n", "policies/p.yaml": "policy\n",
	})
	s.git("push", "-q", "origin", "main")
	return s
}

func (s *scene) git(args ...string) string {
	s.Helper()
	return MustGit(s.T, s.clone, args...)
}

// commit writes files in the clone and commits them.
func (s *scene) commit(message string, files map[string]string) string {
	s.Helper()
	for name, content := range files {
		Write(s.T, s.clone, name, content)
	}
	s.git("add", "-A")
	s.git("commit", "-q", "-m", message)
	return s.git("rev-parse", "HEAD")
}

// tip is what a branch is on the server; empty where there is none.
func (s *scene) tip(branch string) string {
	s.Helper()
	hash, _, _ := strings.Cut(s.git("ls-remote", "origin", "refs/heads/"+branch), "\t")
	return hash
}

// store is a replica of tac that has fetched.
func (s *scene) store() (store *gitstore.Store, tip string) {
	s.Helper()
	c := gitstore.Config{URL: s.URL, Branch: "main", AuthorName: "tac[bot]", AuthorEmail: "tac@acme.test"}
	if s.Token != "" {
		c.Token = func(context.Context) (world.Secret, error) { return world.NewSecret(s.Token), nil }
	}
	store, err := gitstore.New(c)
	if err != nil {
		s.Fatal(err)
	}
	tip, err = store.Fetch(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return store, tip
}

// fsck has git check, at its strictest, all that the server has.
func (s *scene) fsck() {
	s.Helper()
	mirror := filepath.Join(s.TempDir(), "mirror")
	MustGit(s.T, s.clone, "-c", "fetch.fsckObjects=true", "clone", "-q", "--mirror", s.Address(s.T), mirror)
	checked := []string{mirror}
	if s.Dir != "" {
		checked = append(checked, s.Dir)
	}
	for _, dir := range checked {
		if said := MustGit(s.T, dir, "fsck", "--strict", "--full", "--no-dangling"); said != "" {
			s.Errorf("git fsck: %s", said)
		}
	}
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// wish is a proposal on base.
func wish(base string) world.NewBranch {
	const id = "20261122-k3v9q2m4tz"
	return world.NewBranch{
		Name: "grant/" + id, Base: base, Path: "grants/db/" + id + ".yaml", Content: []byte("kind: AccessGrant\n"),
		Message: "grant: ada asks for db\n\nTac-Grant: " + id + "\n", At: noon,
	}
}
