package vault

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// EventKind names what happened.
type EventKind string

// The kinds of events.
const (
	TokenCreated     EventKind = "token-created"
	TokenRevoked     EventKind = "token-revoked" // Reason says whether it was revoked, expired or used up
	LeaseCreated     EventKind = "lease-created"
	LeaseRenewed     EventKind = "lease-renewed"
	LeaseQueued      EventKind = "lease-queued" // its end has begun: the database has not heard of it yet
	LeaseRevoked     EventKind = "lease-revoked"
	LeaseIrrevocable EventKind = "lease-irrevocable"
	KVWritten        EventKind = "kv-written"
	KVDeleted        EventKind = "kv-deleted"
	Wrapped          EventKind = "wrapped"
	Unwrapped        EventKind = "unwrapped"
	Signed           EventKind = "certificate-signed"
)

// Event is one thing that happened, in the order in which it took effect. It
// carries no secret: no token, no password, no wrapping token. KV data is as
// it was written, since checks of tac's records need it.
type Event struct {
	Order    int       // 1, 2, 3 ... over the life of the server
	At       time.Time // sandbox time
	Kind     EventKind
	Accessor string // of the token concerned, or that the lease hangs on
	Path     string // API path: kv path with its mount, creds path, creation path
	LeaseID  string
	User     string    // database user
	Ends     time.Time // end of the token, lease or certificate as of this event
	Version  int       // of a KV record
	Data     map[string]any
	Meta     map[string]string // of the token
	Reason   string
}

func (s *Server) emit(e Event) {
	s.order++
	e.Order, e.At = s.order, s.clock.Now()
	s.events = append(s.events, e)
}

// Events returns a copy of all events, oldest first.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.events)
	for i := range out {
		out[i].Data = cloneData(out[i].Data)
		out[i].Meta = maps.Clone(out[i].Meta)
	}
	return out
}

// Lease is a snapshot of a lease that Vault still knows.
type Lease struct {
	ID          string
	Accessor    string // of the token it was issued to, which may be gone
	User        string
	IssuedAt    time.Time
	ExpiresAt   time.Time
	Queued      bool // its end has begun, the database has not confirmed it
	Attempts    int  // failed revocations from the queue
	Irrevocable bool
	LastError   string
}

// Leases returns the leases that Vault still knows, by id.
func (s *Server) Leases() []Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Lease
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		l := s.leases[id]
		out = append(out, Lease{
			ID: l.id, Accessor: l.accessor, User: l.user, IssuedAt: l.issued, ExpiresAt: l.expire,
			Queued: l.queued, Attempts: l.attempts, Irrevocable: l.irrevocable, LastError: l.lastError,
		})
	}
	return out
}

// ForgetTokenIndex removes a lease from its token's index and returns whether
// it was there. This is what a Vault that dies between writing the lease and
// writing the index leaves behind: a lease that ending the token does not find.
func (s *Server) ForgetTokenIndex(leaseID string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.leases[leaseID]
	if l == nil || !l.token.leases[l] {
		return false
	}
	delete(l.token.leases, l)
	return true
}

// Token is a snapshot of a live token, without its secret.
type Token struct {
	Accessor    string
	Path        string // where it was created
	DisplayName string
	Policies    []string
	Meta        map[string]string
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero for one without end
	Renewable   bool
	Orphan      bool
	Wrapping    bool // it holds a wrapped answer
}

// Tokens returns the live tokens, by accessor; wrapping tokens are among them.
func (s *Server) Tokens() []Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Token
	for _, a := range slices.Sorted(maps.Keys(s.accessors)) {
		t := s.accessors[a]
		out = append(out, Token{
			Accessor: a, Path: t.path, DisplayName: t.displayName, Policies: slices.Clone(t.policies),
			Meta: maps.Clone(t.meta), CreatedAt: t.created, ExpiresAt: t.expire,
			Renewable: t.renewable, Orphan: t.orphan, Wrapping: t.wrapped != nil,
		})
	}
	return out
}

// Record is a snapshot of the current version of a KV v2 secret.
type Record struct {
	Path    string // below the mount's data/
	Version int
	Deleted bool
	Data    map[string]any // numbers are json.Number
}

// Records returns the current versions of all secrets of a KV v2 mount, by
// path; nil where there is no such mount.
func (s *Server) Records(mountPath string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mounts[strings.Trim(mountPath, "/")+"/"]
	if m == nil || m.kv == nil {
		return nil
	}
	var out []Record
	for _, p := range slices.Sorted(maps.Keys(m.kv.secrets)) {
		sec := m.kv.secrets[p]
		r := Record{Path: p, Version: sec.current, Deleted: true}
		if v := sec.versions[sec.current]; v != nil && v.readable() {
			r.Deleted, r.Data = false, cloneData(v.data)
		}
		out = append(out, r)
	}
	return out
}

func cloneData(m map[string]any) map[string]any {
	if m == nil {
		return nil
	}
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = cloneValue(v)
	}
	return out
}

func cloneValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return cloneData(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = cloneValue(v[i])
		}
		return out
	default:
		return v
	}
}
