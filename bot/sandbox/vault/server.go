// Package vault is a HashiCorp Vault for tests and for `tac demo`: one
// process, a real socket, the real HTTP API, no disk. It speaks what tac uses
// (tokens, AppRole, policies, KV v2, database, ssh, pki, transit, response
// wrapping, leases), answers with the texts and statuses that were measured
// on Vault 1.21.0, and models what bites there:
//
//   - ending a token only queues its leases; a failing database is retried six
//     times with growing pauses, then the lease is irrevocable;
//   - a creds call in flight when its token ends still answers 200 and leaves
//     a lease that outlives the token;
//   - a synchronous revocation reports the database's failure as 400, queues
//     nothing, and holds the lease's lock for as long as the database hangs;
//   - TTLs are clamped with a warning, wrapping TTLs are refused with 403;
//   - a lease may be renewed past its token's own end, but not past max_ttl.
//
// All state lives under one mutex. Handlers run with it held and give it up,
// by way of outside, for the time of a database call only: exactly there
// Vault's own races live. Sandbox time comes from the clock given to New;
// whatever has come to its end is ended when the clock is moved, before each
// request, and by a small wall-clock ticker, so that a running clock ends
// things too.
package vault

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// Version is what sys/health reports; the behaviour was measured on it.
const Version = "1.21.0"

const (
	systemDefaultTTL = 768 * time.Hour // Vault's own default and maximum
	systemMaxTTL     = 768 * time.Hour
	tickEvery        = 100 * time.Millisecond // wall time
	settleWait       = 2 * time.Second        // wall time; see settleAndWait
)

// errKilled says that Kill struck while a handler was outside the mutex: the
// process it ran in no longer exists, so it must neither write nor answer.
var errKilled = errors.New("vault was killed")

// Server is one Vault node. Use New.
type Server struct {
	sandbox.Wire

	clock     *sandbox.Clock
	listener  net.Listener
	http      *http.Server
	rootToken string
	clusterID string
	routes    map[string][]route // see allRoutes; never changed

	stop    chan struct{}
	stopped sync.WaitGroup

	// gate is held for reading by every request and for writing by Seal,
	// which therefore waits for requests in flight, as the real one does.
	gate sync.RWMutex

	mu      sync.Mutex
	sealed  bool
	standby bool
	leader  *url.URL
	health  int // where not 0, what sys/health answers
	slowKV  int // see SlowMounts
	// forwards: see AllowForwarding.
	forwards bool
	// uninitialised servers answer like sealed ones, and tell what they are.
	uninitialised bool
	epoch         int // counts Kill; see outside
	nextDue       time.Time
	order         int
	events        []Event
	policies      map[string]*policy
	tokens        map[string]*token // by id
	accessors     map[string]*token
	roles         map[string]*tokenRole
	mounts        map[string]*mount // by path with its slash: "tac/", "auth/approle/"
	leases        map[string]*lease
	databases     map[string]Database // by mount path + config name; see AttachDatabase
}

// New starts a Vault on a free port of 127.0.0.1: initialised, unsealed,
// active, with a root token and nothing mounted but tokens and sys.
func New(clock *sandbox.Clock) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for sandbox vault: %w", err)
	}
	s := &Server{
		clock: clock, listener: l,
		rootToken: "hvs." + randomText(24), clusterID: newUUID(), routes: allRoutes(),
		stop:     make(chan struct{}),
		policies: map[string]*policy{}, tokens: map[string]*token{},
		accessors: map[string]*token{}, roles: map[string]*tokenRole{},
		mounts: map[string]*mount{}, leases: map[string]*lease{},
		databases: map[string]Database{},
	}
	if s.policies["default"], err = parsePolicy("default", defaultPolicy); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.addToken(&token{
		id: s.rootToken, policies: []string{"root"}, path: rootPath,
		displayName: "root", orphan: true, kind: "service", created: clock.Now(),
	})
	s.http = &http.Server{Handler: s.Handler(clock, http.HandlerFunc(s.serve)), ReadHeaderTimeout: 10 * time.Second}
	clock.OnMoved(s.settleAndWait)
	s.stopped.Add(2)
	go func() {
		defer s.stopped.Done()
		_ = s.http.Serve(l) // ends with Close, which is not an error here
	}()
	go s.tick()
	return s, nil
}

// Close ends the server and its ticker. A revocation that hangs in its
// database is left behind: there is no way to call it back.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.stop:
		s.mu.Unlock()
		return
	default:
	}
	close(s.stop)
	s.sealed = true // a clock that still moves must not make a closed server work
	s.mu.Unlock()
	_ = s.http.Close() // closing listeners and connections of our own process
	s.stopped.Wait()
}

// URL is the address for VAULT_ADDR, without a trailing slash.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// RootToken is a token without limits or end.
func (s *Server) RootToken() string { return s.rootToken }

// ClusterID is what sys/health reports as cluster_id.
func (s *Server) ClusterID() string { return s.clusterID }

// Seal waits for the requests in flight, then stops all work: every call but
// health and seal-status answers 503, and nothing is ended until Unseal.
func (s *Server) Seal() {
	s.gate.Lock()
	defer s.gate.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
}

// Kill is kill -9: like Seal, but requests in flight are cut off where they
// are, without an answer. A creds call that has created its database user but
// not yet written its lease leaves the user behind, unknown to Vault. Unseal
// is the restart.
func (s *Server) Kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sealed = true
	s.epoch++
}

// Unseal goes back to work and at once ends what came to its end meanwhile.
func (s *Server) Unseal() {
	s.mu.Lock()
	s.sealed = false
	s.nextDue = time.Time{}
	s.mu.Unlock()
	s.settleAndWait()
}

// SetUninitialised makes this a server on which nobody has called sys/init
// (health 501), or one that somebody has.
func (s *Server) SetUninitialised(uninitialised bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.uninitialised = uninitialised
}

// AllowForwarding sets allow_forwarding_via_header, without which every call
// that asks for the active node is refused. Only Vault Enterprise has it.
func (s *Server) AllowForwarding(allow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forwards = allow
}

// SlowMounts makes every KV mount that is enabled from now on refuse its first
// n calls, as one that is still getting ready does.
func (s *Server) SlowMounts(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowKV = n
}

// SetStandby makes this node a standby (health 429) or active again. A
// standby hands every call to the leader where SetLeader named one, or answers
// 307 with its address where the caller forbids that; without a leader it
// answers 500.
func (s *Server) SetStandby(standby bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standby = standby
}

// SetLeader names the base URL of the active node, for a standby.
func (s *Server) SetLeader(address string) error {
	leader, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("set leader of sandbox vault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = leader
	return nil
}

// SetHealth makes sys/health alone answer this status (472 a disaster recovery
// secondary, 473 a performance standby, 501 not initialised), with the body
// that goes with it; 0 goes back to the truth.
func (s *Server) SetHealth(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health = status
}

// outside gives up the mutex for the time of f. It returns errKilled where
// Kill struck meanwhile: the caller must then stop without touching anything.
func (s *Server) outside(f func()) error {
	epoch := s.epoch
	func() {
		s.mu.Unlock()
		defer s.mu.Lock()
		f()
	}()
	if s.epoch != epoch {
		return errKilled
	}
	return nil
}

func (s *Server) tick() {
	defer s.stopped.Done()
	t := time.NewTicker(tickEvery)
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.mu.Lock()
			s.settle()
			s.mu.Unlock()
		}
	}
}

// settleAndWait ends what is due and waits until the databases have heard of
// it, so that a test that moves the clock sees the users gone. A database
// that hangs must not hang the clock: the wait is bounded, in wall time.
func (s *Server) settleAndWait() {
	s.mu.Lock()
	s.settle()
	var running []<-chan struct{}
	for _, m := range s.mounts {
		for _, c := range m.configs {
			if c.draining != nil {
				running = append(running, c.draining)
			}
		}
	}
	s.mu.Unlock()
	limit := time.NewTimer(settleWait)
	defer limit.Stop()
	for _, done := range running {
		select {
		case <-done:
		case <-limit.C:
			return
		case <-s.stop:
			return
		}
	}
}

// dueBy notes that something ends or is retried at t, so that settle looks
// again then and not at every call.
func (s *Server) dueBy(t time.Time) {
	if !t.IsZero() && t.Before(s.nextDue) {
		s.nextDue = t
	}
}

// settle ends tokens and leases whose time is over and starts the queue.
func (s *Server) settle() {
	now := s.clock.Now()
	if s.sealed || now.Before(s.nextDue) {
		return
	}
	s.nextDue = now.Add(time.Hour)
	for _, t := range s.tokens {
		if t.endedAt(now) {
			s.endToken(t, "expired")
			continue
		}
		s.dueBy(t.expire)
	}
	for _, l := range s.leases {
		if !l.queued && !l.expire.After(now) {
			s.enqueue(l)
		}
		if l.queued {
			s.dueBy(l.nextTry)
		} else {
			s.dueBy(l.expire)
		}
	}
	s.drainDue(now)
}

// mount is one secrets engine or auth method. Only the fields of its kind are
// used.
type mount struct {
	path       string // with the trailing slash
	uuid       string
	kind       string // kv, database, ssh, pki, transit, approle
	accessor   string
	defaultTTL time.Duration
	maxTTL     time.Duration

	kv       *kvStore
	configs  map[string]*dbConfig
	dbRoles  map[string]*dbRole
	ssh      *sshEngine
	pki      *pkiEngine
	transit  map[string]*transitKey
	appRoles map[string]*appRole
}

// randomText returns n characters of [0-9A-Za-z], unguessable.
func randomText(n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails: crypto/rand ends the process instead
	for i, b := range raw {
		raw[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(raw)
}

func newUUID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails, see randomText
	h := hex.EncodeToString(raw[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
