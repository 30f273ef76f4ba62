package vault

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// Six attempts at 0, 20, 40, 80, 160 and 320 s after one another:
	// measured 592 s on the real one, which adds jitter.
	maxRevokeAttempts    = 6
	revokeRetryBase      = 10 * time.Second
	irrevocableRetry     = 24 * time.Hour
	statusIrrevocable    = "irrevocable"
	expirationAllowance  = 5 * time.Second // VALID UNTIL is this much after the lease
	errLeaseNotFound     = "lease not found"
	errLeaseExpired      = "lease expired"
	errLeaseIrrevocable  = "lease is expired and has failed previous revocation attempts"
	errLeaseNotRenewable = "lease is not renewable"
)

// lease is a database credential that Vault answers for.
type lease struct {
	id       string
	token    *token // may have ended
	accessor string
	role     *dbRole
	config   *dbConfig
	user     string

	issued  time.Time
	expire  time.Time
	renewed time.Time

	queued      bool
	nextTry     time.Time
	attempts    int
	irrevocable bool
	lastError   string

	// lock is held by whoever revokes, for as long as the database takes. It
	// is never waited for with the server's mutex held.
	lock sync.Mutex
}

// enqueue begins the end of a lease: it counts as expired at once, and the
// database hears of it when its queue comes round.
func (s *Server) enqueue(l *lease) {
	now := s.clock.Now()
	if l.expire.After(now) {
		l.expire = now
	}
	l.queued, l.nextTry = true, now
	s.dueBy(now)
	s.emit(Event{Kind: LeaseQueued, Accessor: l.accessor, LeaseID: l.id, User: l.user, Ends: l.expire})
}

// drainDue starts a worker for every database that has something to do and
// none yet.
func (s *Server) drainDue(now time.Time) {
	if s.sealed {
		return
	}
	for _, l := range s.leases {
		if c := l.config; l.queued && !l.nextTry.After(now) && c.draining == nil {
			done := make(chan struct{})
			c.draining = done
			go s.drain(c, done)
		}
	}
}

func (s *Server) drain(c *dbConfig, done chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(done)
	defer func() { c.draining = nil }()
	for {
		batch := s.dueOf(c)
		if len(batch) == 0 {
			return
		}
		for _, l := range batch {
			if s.sealed {
				return
			}
			err := s.revokeNow(l)
			if s.sealed {
				return // the outcome was not written; the next life tries again
			}
			s.noteAttempt(l, err)
		}
	}
}

func (s *Server) dueOf(c *dbConfig) []*lease {
	var batch []*lease
	now := s.clock.Now()
	for _, l := range s.leases {
		if l.config == c && l.queued && !l.nextTry.After(now) {
			batch = append(batch, l)
		}
	}
	slices.SortFunc(batch, func(a, b *lease) int { return a.expire.Compare(b.expire) })
	return batch
}

func (s *Server) noteAttempt(l *lease, err error) {
	if err == nil || s.leases[l.id] != l {
		return
	}
	now := s.clock.Now()
	l.lastError = err.Error()
	l.attempts++
	switch {
	case l.irrevocable:
		l.nextTry = now.Add(irrevocableRetry)
	case l.attempts >= maxRevokeAttempts:
		l.irrevocable = true
		l.nextTry = now.Add(irrevocableRetry)
		s.emit(Event{Kind: LeaseIrrevocable, Accessor: l.accessor, LeaseID: l.id, User: l.user, Reason: l.lastError})
	default:
		l.nextTry = now.Add(revokeRetryBase << l.attempts)
	}
	s.dueBy(l.nextTry)
}

// revokeNow drops the user and then the lease. The error is the database's,
// or errKilled. A lease that somebody else has ended meanwhile is no error.
func (s *Server) revokeNow(l *lease) error {
	err := s.outside(l.lock.Lock)
	defer l.lock.Unlock()
	if err != nil || s.leases[l.id] != l {
		return err
	}
	db := s.databaseOf(l.config)
	var dbErr error
	if err := s.outside(func() { dbErr = l.config.drop(db, l.user) }); err != nil {
		return err
	}
	if dbErr != nil || s.leases[l.id] != l {
		return dbErr
	}
	delete(s.leases, l.id)
	delete(l.token.leases, l)
	s.emit(Event{Kind: LeaseRevoked, Accessor: l.accessor, LeaseID: l.id, User: l.user, Ends: l.expire})
	return nil
}

func leaseID(in *fields) (string, error) {
	id := in.text("lease_id")
	if in.err == nil && id == "" {
		return "", badRequest("lease_id must be specified")
	}
	return id, in.err
}

func (s *Server) lookupLease(r *request) (*response, error) {
	id, err := leaseID(r.in)
	if err != nil {
		return nil, err
	}
	l := s.leases[id]
	if l == nil {
		return nil, badRequest("invalid lease")
	}
	now := s.clock.Now()
	d := map[string]any{
		"id": l.id, "issue_time": stamp(l.issued), "expire_time": stamp(l.expire), "last_renewal": nil,
		"renewable": l.expire.After(now), "ttl": seconds(l.expire.Sub(now)),
	}
	if !l.renewed.IsZero() {
		d["last_renewal"] = stamp(l.renewed)
	}
	return &response{data: d}, nil
}

// renewLease moves the end of a lease and the user's VALID UNTIL with it. It
// is bounded by the role's max_ttl, with a warning, and not by the token's own
// end.
func (s *Server) renewLease(r *request) (*response, error) {
	id, err := leaseID(r.in)
	increment := r.in.duration("increment")
	if err != nil || r.in.err != nil {
		return nil, firstError(err, r.in.err)
	}
	l, now := s.leases[id], s.clock.Now()
	switch {
	case l == nil:
		return nil, badRequest(errLeaseNotFound)
	case l.irrevocable:
		return nil, badRequest(errLeaseIrrevocable)
	case l.queued || !l.expire.After(now):
		return nil, badRequest(errLeaseExpired)
	}
	ttl, warnings, err := clampTTL(now, increment, l.role.bounds(l.issued))
	if err != nil {
		return nil, badRequest("failed to renew entry: %s", err)
	}
	db := s.databaseOf(l.config)
	var dbErr error
	if err := s.outside(func() { dbErr = l.config.extend(db, l.user, now.Add(ttl+expirationAllowance)) }); err != nil {
		return nil, err
	}
	switch {
	case dbErr != nil:
		return nil, badRequest("failed to renew entry: resp: (*logical.Response)(nil) err: 1 error occurred:\n\t* %s\n\n", dbErr)
	case s.leases[id] != l:
		return nil, badRequest(errLeaseNotFound)
	case l.queued:
		return nil, badRequest(errLeaseExpired)
	}
	l.expire, l.renewed = now.Add(ttl), now
	s.dueBy(l.expire)
	s.emit(Event{Kind: LeaseRenewed, Accessor: l.accessor, LeaseID: l.id, User: l.user, Ends: l.expire})
	return &response{leaseID: l.id, leaseTTL: ttl, renew: true, warnings: warnings}, nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// revokeLease: with sync, or without a word about it, the database's refusal is
// a 400 and leaves everything as it was; with sync=false the work is queued
// and the answer is 202 at once.
func (s *Server) revokeLease(r *request) (*response, error) {
	id, err := leaseID(r.in)
	sync := r.in.flag("sync", true)
	if err != nil || r.in.err != nil {
		return nil, firstError(err, r.in.err)
	}
	l := s.leases[id]
	if !sync {
		if l != nil {
			if err := s.outside(l.lock.Lock); err != nil {
				l.lock.Unlock()
				return nil, err
			}
			l.lock.Unlock()
			if s.leases[id] == l && !l.queued {
				s.enqueue(l)
				s.drainDue(s.clock.Now())
			}
		}
		return &response{status: 202}, nil
	}
	if l == nil {
		return nil, nil
	}
	epoch := s.epoch
	if err := s.revokeNow(l); err != nil {
		if s.epoch != epoch {
			return nil, errKilled
		}
		return nil, badRequest("failed to revoke entry: resp: (*logical.Response)(nil) err: %s", err)
	}
	return nil, nil
}

// longestGivenUp is how much Vault keeps of why it gave a lease up, in bytes.
const longestGivenUp = 240

func (l *lease) givenUpFor() string {
	text := "out of retries: failed to revoke entry: resp: (*logical.Response)(nil) err: " + l.lastError
	return text[:min(len(text), longestGivenUp)]
}

func (s *Server) listLeases(r *request) (*response, error) {
	return listing(childrenOf(maps.Keys(s.leases), r.vars["prefix"]))
}

func (s *Server) irrevocables(r *request) ([]*lease, error) {
	if kind := r.in.text("type"); kind != statusIrrevocable {
		return nil, notFound()
	}
	var out []*lease
	for _, id := range slices.Sorted(maps.Keys(s.leases)) {
		if s.leases[id].irrevocable {
			out = append(out, s.leases[id])
		}
	}
	return out, nil
}

func (s *Server) countLeases(r *request) (*response, error) {
	found, err := s.irrevocables(r)
	if err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for _, l := range found {
		counts[l.config.mount.accessor]++
	}
	return &response{data: map[string]any{"lease_count": len(found), "counts": counts}}, nil
}

func (s *Server) listLeasesByType(r *request) (*response, error) {
	found, err := s.irrevocables(r)
	if err != nil {
		return nil, err
	}
	list := []any{}
	for _, l := range found {
		list = append(list, map[string]any{"lease_id": l.id, "mount_id": l.config.mount.accessor, "error": l.givenUpFor()})
	}
	return &response{data: map[string]any{"lease_count": len(found), "leases": list}}, nil
}
