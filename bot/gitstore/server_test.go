package gitstore_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/grants/world"
)

// repository is bot.Repository, which this package must not import.
type repository interface {
	Fetch(ctx context.Context) (tip string, err error)
	Tree(ctx context.Context, commit, dir string) (map[string]world.Entry, error)
	Blob(ctx context.Context, hash string) ([]byte, error)
	History(ctx context.Context, from, to string) ([]world.Commit, error)
	Proposal(ctx context.Context, pull int, head string) (world.Proposal, error)
	Propose(ctx context.Context, p world.NewBranch) (head string, err error)
	Amend(ctx context.Context, a world.Amendment) (head string, err error)
	Remove(ctx context.Context, tip string, paths []string, message string, at time.Time) (commit string, err error)
}

var _ repository = (*gitstore.Store)(nil)

// server is a bare repository behind git's own HTTP server.
type server struct {
	t    *testing.T
	dir  string // the bare repository
	home string
	http *httptest.Server

	mu       sync.Mutex
	requests []string
	before   func(w http.ResponseWriter, r *http.Request) (served bool)
	lose     func(r *http.Request) bool // do the work, then do not answer
	instead  int                        // status in place of a lost answer; 0 cuts the connection
	old      bool                       // speak protocol version 0 only
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, home: t.TempDir()}
	s.dir = filepath.Join(s.home, "acme", "access.git")
	s.run("", "git", "init", "--quiet", "--bare", "--initial-branch=main", s.dir)
	s.git("config", "http.receivepack", "true")
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Path: path, Args: []string{"http-backend"}, Stderr: os.Stderr,
		Env: append(s.env(), "GIT_PROJECT_ROOT="+s.home, "GIT_HTTP_EXPORT_ALL=1"),
	}
	s.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path[strings.LastIndexByte(r.URL.Path, '/'):])
		before, lose, instead, old := s.before, s.lose, s.instead, s.old
		s.mu.Unlock()
		if before != nil && before(w, r) {
			return
		}
		if old {
			r.Header.Del("Git-Protocol")
		}
		if lose != nil && lose(r) {
			backend.ServeHTTP(httptest.NewRecorder(), r)
			if instead == 0 {
				panic(http.ErrAbortHandler)
			}
			w.WriteHeader(instead)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.http.Close)
	return s
}

func (s *server) env() []string {
	return []string{
		"HOME=" + s.home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@acme.test", "GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@acme.test",
	}
}

func (s *server) run(stdin, name string, args ...string) string {
	s.t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), s.env()...)
	c.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimRight(string(out), "\n")
}

func (s *server) git(args ...string) string {
	s.t.Helper()
	return s.run("", "git", append([]string{"-C", s.dir}, args...)...)
}

// load runs a stream of git fast-import.
func (s *server) load(stream string) {
	s.t.Helper()
	s.run(stream, "git", "-C", s.dir, "fast-import", "--quiet", "--force")
}

// commit adds a commit with one change on top of a branch. The change is a
// line of fast-import: "M 100644 inline path" (content follows) or "D path".
func (s *server) commit(ref, content string, changes ...string) string {
	s.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "commit %s\ncommitter Ada <ada@acme.test> 1790000000 +0100\ndata 4\ntest\n", ref)
	if s.exists(ref) {
		fmt.Fprintf(&b, "from %s^0\n", ref)
	}
	for _, c := range changes {
		fmt.Fprintln(&b, c)
		if strings.Contains(c, " inline ") {
			fmt.Fprintf(&b, "data %d\n%s\n", len(content), content)
		}
	}
	s.load(b.String())
	return s.git("rev-parse", ref)
}

func (s *server) exists(ref string) bool {
	s.t.Helper()
	return s.git("for-each-ref", ref) != ""
}

func (s *server) url() string { return s.http.URL + "/acme/access.git" }

func (s *server) store(edit ...func(*gitstore.Config)) *gitstore.Store {
	s.t.Helper()
	c := gitstore.Config{URL: s.url(), Branch: "main", AuthorName: "tac[bot]", AuthorEmail: "tac@acme.test"}
	for _, e := range edit {
		e(&c)
	}
	store, err := gitstore.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

// fetched returns a store and the tip that it has fetched.
func (s *server) fetched() (*gitstore.Store, string) {
	s.t.Helper()
	store := s.store()
	return store, must(s.t)(store.Fetch(s.t.Context()))
}

func (s *server) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// seen returns the requests since the last call of it.
func (s *server) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests
	s.requests = nil
	return list
}

func (s *server) fsck() {
	s.t.Helper()
	s.git("fsck", "--strict", "--full")
}

func must(t *testing.T) func(string, error) string {
	t.Helper()
	return func(s string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}
