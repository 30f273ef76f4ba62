// Package github is a GitHub that runs inside a test or the demo: the REST
// API, git over smart HTTP, the OAuth device flow, Apps, teams, check runs,
// branch rules and webhooks, over real sockets. Real clients (git, go-git,
// go-github, ghinstallation) talk to it and cannot tell, so what they do in
// a test is what they do in production.
//
// # What it promises
//
// All state is behind one mutex, so every call is atomic: two pushes that
// name the same old hash have one winner, a merge that names a head SHA is a
// compare-and-swap, and a webhook tells of a state that was really there.
// Humans act through the very same rules as HTTP clients do (see actions.go).
//
// Policy time (created_at, merged_at, commit times, device codes) comes from
// the sandbox clock. Credentials (App JWTs, installation and user tokens) and
// X-RateLimit-Reset are judged by the wall clock, because the client
// libraries judge them so.
//
// # What it leaves out
//
// GraphQL, issues beyond create and comment, merge methods other than squash,
// commit signatures (commits GitHub would have signed are reported as
// verified, but their objects carry no signature), shallow and partial
// clones, and team discussion of any kind.
package github

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// Server is one GitHub. Create it with New; its methods are safe for
// concurrent use. Faults and the record of calls come from the embedded Wire.
type Server struct {
	sandbox.Wire

	clock  *sandbox.Clock
	http   *http.Server
	url    string
	mux    *http.ServeMux
	hooks  *hookQueue
	record *recorder     // nil where nothing is recorded
	done   chan struct{} // closed when the HTTP server has stopped serving

	mu       sync.Mutex // guards everything below, and all that hangs on it
	live     *world
	users    map[string]*User // by lower-case login; people, organisations and bots
	apps     map[int64]*App
	installs map[int64]*Installation
	tokens   map[string]*token
	devices  map[string]*device     // by device code
	codes    map[string]*signInCode // by code of the web sign-in
	lags     []*lag
	limits   limits
	lastID   int64
	polling  time.Duration // the least time between two polls of a device code
	life     time.Duration // of an installation token
	long     bool          // whether installation tokens are of the new, long form
}

// world is the state that a lagging replica may see late. Everything else
// (accounts, Apps, tokens) is always current.
type world struct {
	repos map[string]*Repo // by lower-case owner/name
	orgs  map[string]*Org  // by lower-case login
}

// New starts a server on a free port of the loopback interface. Its time is
// that of clock. Close ends it.
func New(clock *sandbox.Clock) (*Server, error) {
	record, err := recording()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the sandbox forge: %w", err)
	}
	s := &Server{
		clock:    clock,
		url:      "http://" + listener.Addr().String(),
		done:     make(chan struct{}),
		record:   record,
		live:     &world{repos: map[string]*Repo{}, orgs: map[string]*Org{}},
		users:    map[string]*User{},
		apps:     map[int64]*App{},
		installs: map[int64]*Installation{},
		tokens:   map[string]*token{},
		devices:  map[string]*device{},
		codes:    map[string]*signInCode{},
		lastID:   100_000,
		polling:  5 * time.Second,
		life:     time.Hour,
	}
	s.mux = s.routes()
	s.hooks = newHookQueue(clock, func(d Delivery) { record.webhook(s.url, d.Event, d.Body) })
	s.http = &http.Server{
		Handler:           record.outside(s.url, s.Handler(clock, record.inside(http.HandlerFunc(s.serve)))),
		ReadHeaderTimeout: 10 * time.Second,
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(listener) // always returns ErrServerClosed, after Close
	}()
	return s, nil
}

// Close cuts every connection, stops the webhook deliveries and waits until
// both have ended. Deliveries that still wait are lost, as they are when the
// real thing goes down.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.done
	s.hooks.close()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("close the sandbox forge: %w", err)
	}
	return s.record.failed()
}

// URL is the address of the server, without a slash at the end. The REST API
// is at URL()+"/", git at URL()+"/owner/name.git".
func (s *Server) URL() string { return s.url }

// CloneURL is the address git uses for repo ("owner/name").
func (s *Server) CloneURL(repo string) string { return s.url + "/" + repo + ".git" }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-GitHub-Request-Id", randomHex(16))
	if g, ok := parseGitPath(r); ok {
		s.serveGit(w, r, g)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// now is the sandbox time in the precision that GitHub shows: whole seconds.
func (s *Server) now() time.Time { return s.clock.Now().Truncate(time.Second) }

// nextID returns a number no other object of this server has.
func (s *Server) nextID() int64 {
	s.lastID++
	return s.lastID
}

// Drain waits until no webhook is left to deliver: all have arrived or failed.
// Deliveries that are held back do not count. It returns the context's error
// where that ends first.
func (s *Server) Drain(ctx context.Context) error { return s.hooks.drain(ctx) }

// Counts tells how many calls of each kind the server has seen since the last
// ResetCalls. A budget of API calls is a promise of the product, so tests
// measure it; the kinds are apart because GitHub meters them apart or because
// one of them is cached.
type Counts struct {
	REST   int // API calls that are none of the kinds below
	Tokens int // installation tokens made
	Teams  int // reads of teams, memberships and organisation members
	Git    int // requests of the git transport
	OAuth  int // device flow, sign-in, token checks
}

// Counts classifies the record of calls.
func (s *Server) Counts() Counts {
	var n Counts
	for _, c := range s.Calls() {
		switch kindOf(c) {
		case "git":
			n.Git++
		case "oauth":
			n.OAuth++
		case "token":
			n.Tokens++
		case "team":
			n.Teams++
		default:
			n.REST++
		}
	}
	return n
}

// RESTCalls returns the recorded calls of the REST API, token and team calls
// included, without those of git and OAuth.
func (s *Server) RESTCalls() []sandbox.Call {
	var rest []sandbox.Call
	for _, c := range s.Calls() {
		if k := kindOf(c); k != "git" && k != "oauth" {
			rest = append(rest, c)
		}
	}
	return rest
}

func kindOf(c sandbox.Call) string {
	path := c.Path
	switch {
	case strings.HasSuffix(path, "/info/refs"), strings.HasSuffix(path, "/git-upload-pack"), strings.HasSuffix(path, "/git-receive-pack"):
		return "git"
	case strings.HasPrefix(path, "/login/"), strings.HasPrefix(path, "/applications/"):
		return "oauth"
	case strings.HasSuffix(path, "/access_tokens"):
		return "token"
	case strings.HasPrefix(path, "/orgs/") && (strings.Contains(path, "/teams") || strings.Contains(path, "/members")):
		return "team"
	}
	return "rest"
}
