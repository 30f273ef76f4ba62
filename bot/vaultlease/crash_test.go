package vaultlease_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// player does what the reconciler does with one grant: it asks Next, does the
// step, and looks again. An error costs ten seconds and the rest of the step.
type player struct {
	s         *scene
	r         replica
	wanted    bool // somebody claims until something is delivered
	delivered []*world.Credential
}

const mostRounds = 400

// play goes on until the clock has reached until and Next only waits.
func (p *player) play(until time.Time) {
	p.s.t.Helper()
	var last error
	for range mostRounds {
		wait, err := p.step()
		if err != nil {
			last = err
			p.s.clock.Advance(10 * time.Second)
			continue
		}
		if wait == nil {
			continue
		}
		now := p.s.clock.Now()
		if !now.Before(until) {
			return
		}
		next := until
		if wait.After(now) && wait.Before(until) {
			next = *wait
		}
		p.s.clock.Advance(next.Sub(now))
	}
	p.s.t.Fatalf("no rest after %d rounds; last error: %v; record %+v", mostRounds, last, p.s.record(p.r))
}

// step does one step. It returns a time where there is nothing to do before.
func (p *player) step() (*time.Time, error) {
	ctx := p.s.t.Context()
	rec, err := p.r.Record(ctx, grantID)
	if err != nil {
		return nil, err
	}
	now := p.s.clock.Now()
	o := grants.Observed{
		Clocks: grants.Clocks{Earliest: now, Latest: now}, Record: rec,
		File: grants.FileSame, Holder: grants.Verdict{Ruling: grants.Yes},
	}
	if p.wanted {
		o.Claim = &grants.Claim{Holder: "holder-1", Verdict: grants.Verdict{Ruling: grants.Yes}}
	}
	if rec.State == grants.Issued {
		taken, err := p.r.Taken(ctx, rec)
		if err != nil {
			return nil, err
		}
		o.Taken = grants.No
		if taken {
			o.Taken = grants.Yes
		}
	}
	_, step := grants.Next(o)
	switch step.Kind {
	case grants.Wait, grants.Remove, grants.Rest:
		return &step.Until, nil
	case grants.Issue:
		return nil, p.issue(rec)
	case grants.Renew:
		return nil, p.r.Renew(ctx, rec, now)
	case grants.ConfirmTake:
		rec.State = grants.Delivered
	case grants.Retire:
		return nil, p.end(rec, true, grants.Retired)
	case grants.Warn:
		rec.Warned = true
	case grants.End:
		rec.State, rec.Retiring = grants.Revoking, false
	case grants.Revoke:
		return nil, p.end(rec, false, grants.Revoked)
	default:
		p.s.t.Fatalf("step %s is none of this test", step.Kind)
	}
	return nil, p.r.PutRecord(ctx, rec)
}

func (p *player) issue(rec *grants.Record) error {
	credential, err := p.r.Issue(p.s.t.Context(), rec, p.s.claim())
	if err != nil {
		return err
	}
	opened, err := p.r.Unwrap(p.s.t.Context(), credential.Wrapped) // by the claimant
	if err != nil {
		return err
	}
	p.delivered, p.wanted = append(p.delivered, opened), false
	rec.State = grants.Delivered
	return p.r.PutRecord(p.s.t.Context(), rec)
}

// end is R1 to R6.
func (p *player) end(rec *grants.Record, retiring bool, to grants.State) error {
	if rec.State != grants.Revoking {
		rec.State, rec.Retiring = grants.Revoking, retiring
		if err := p.r.PutRecord(p.s.t.Context(), rec); err != nil {
			return err
		}
	}
	if err := p.r.Kill(p.s.t.Context(), rec, p.s.clock.Now()); err != nil {
		return err
	}
	rec.State, rec.Retiring = to, false
	return p.r.PutRecord(p.s.t.Context(), rec)
}

// point is one call of a life, at which something happens to its replica.
type point struct {
	name   string
	method string
	path   string
	skip   int
}

var issuePoints = []point{
	{"login", "PUT", "auth/approle/login", 0},
	{"health", "GET", "sys/health", 0},
	{"mint", "PUT", "auth/token/create/tac", 0},
	{"reserve", "PUT", "data/grants/", 0},
	{"issue", "GET", "database/creds/", 0},
	{"wrap", "PUT", "sys/wrapping/wrap", 0},
	{"record", "PUT", "data/grants/", 1},
	{"renew", "PUT", "sys/leases/renew", 0},
	{"read the renewal back", "PUT", "sys/leases/lookup", 0},
	{"record the renewal", "PUT", "data/grants/", 2},
	{"record the delivery", "PUT", "data/grants/", 3},
}

var killPoints = []point{
	{"R1 fence", "PUT", "data/grants/", 0},
	{"R2 look up the token", "PUT", "auth/token/lookup-accessor", 0},
	{"R2 look up the wrapping token", "PUT", "auth/token/lookup-accessor", 1},
	{"R3 revoke the token", "PUT", "auth/token/revoke-accessor", 0},
	{"R3 revoke the wrapping token", "PUT", "auth/token/revoke-accessor", 1},
	{"R4 revoke the lease", "PUT", "sys/leases/revoke", 0},
	{"R5 cluster", "GET", "sys/health", 0},
	{"R5 the token is gone", "PUT", "auth/token/lookup-accessor", 2},
	{"R5 the lease is gone", "PUT", "sys/leases/lookup", 0},
	{"R6 proved", "PUT", "data/grants/", 1},
}

// crash is what happens at a point.
type crash struct {
	fault  sandbox.Fault
	dies   bool
	struck atomic.Bool
}

// order has it happen to what r does next.
func (c *crash) order(s *scene, r replica) {
	c.fault.Do = func(*http.Request) {
		c.struck.Store(true)
		if c.dies {
			r.wire.kill()
		}
	}
	s.vault.Order(c.fault)
}

// eachCrash runs a test for every point, before the call and with its answer
// lost, for a replica that goes on and for one that is never heard of again.
func eachCrash(t *testing.T, points []point, run func(t *testing.T, crash *crash)) {
	for _, p := range points {
		for when, word := range map[sandbox.When]string{sandbox.Before: "never sent", sandbox.LostReply: "answer lost"} {
			for _, dies := range []bool{false, true} {
				fate := "goes on"
				if dies {
					fate = "dies"
				}
				t.Run(fmt.Sprintf("%s %s and the replica %s", p.name, word, fate), func(t *testing.T) {
					t.Parallel()
					run(t, &crash{fault: sandbox.Fault{Method: p.method, Path: p.path, Skip: p.skip, When: when}, dies: dies})
				})
			}
		}
	}
}

// TestACrashAnywhereInAnIssueEndsInOneCredential: whatever call of the first
// attempt is hit, the claimant gets one credential, it works, nothing else
// does, and in the end nothing is left.
func TestACrashAnywhereInAnIssueEndsInOneCredential(t *testing.T) {
	eachCrash(t, issuePoints, func(t *testing.T, crash *crash) {
		s := newScene(t)
		a, b := s.replica("a"), s.replica("b")
		rec := s.consent(b, database)
		end := rec.EndsAt
		crash.order(s, a)
		first := &player{s: s, r: a, wanted: true}
		_, _ = first.step()
		if !crash.struck.Load() {
			t.Fatal("the call was never made")
		}

		second := first // the same replica looks again
		if crash.dies {
			// Nothing that a dead replica held in memory reached anybody.
			second = &player{s: s, r: b, wanted: true}
		}
		// Ten minutes on, all that was lost on the way has ended.
		second.play(start.Add(10 * time.Minute))
		s.checkOneCredential(second, first)
		second.play(end.Add(time.Minute))
		s.checkNothingLeft(b)
	})
}

func (s *scene) checkOneCredential(p, dead *player) {
	s.t.Helper()
	if len(p.delivered) == 0 {
		if p != dead && len(dead.delivered) > 0 {
			return // delivered in the last moment before the death
		}
		s.t.Fatal("nothing was delivered")
	}
	last := p.delivered[len(p.delivered)-1]
	s.users(1)
	conn, err := s.logIn(last.Username, last.Password.Reveal())
	s.must(err)
	s.must(conn.Ping(s.t.Context()))
}

// checkNothingLeft checks the end of a life, and its whole history as Vault
// tells it.
func (s *scene) checkNothingLeft(r replica) {
	s.t.Helper()
	if rec := s.record(r); rec.State != grants.Revoked {
		s.t.Errorf("the record ends %s", rec.State)
	}
	s.users(0)
	if leases := s.vault.Leases(); len(leases) != 0 {
		s.t.Errorf("leases are left: %+v", leases)
	}
	s.checkHistory()
}

// checkHistory: no lease without its token's accessor on record before (I4),
// and no two recorded credentials alive at one time (I3).
func (s *scene) checkHistory() {
	s.t.Helper()
	recorded, alive, known := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range s.vault.Events() {
		switch e.Kind {
		case vault.KVWritten:
			if accessor, ok := e.Data["accessor"].(string); ok {
				recorded[accessor] = true
			}
			if lease, ok := e.Data["lease_id"].(string); ok {
				known[lease] = true
			}
		case vault.LeaseCreated:
			if !recorded[e.Accessor] {
				s.t.Errorf("a lease came about whose token nobody had recorded: %+v", e)
			}
			alive[e.LeaseID] = true
		case vault.LeaseRevoked:
			delete(alive, e.LeaseID)
		}
		both := 0
		for lease := range alive {
			if known[lease] {
				both++
			}
		}
		if both > 1 {
			s.t.Errorf("%d recorded credentials are alive at %s", both, e.At)
		}
	}
}

// TestACrashAnywhereInAKillIsFinishedByWhoComesNext: the grant ends REVOKED,
// and never says so before the user is gone.
func TestACrashAnywhereInAKillIsFinishedByWhoComesNext(t *testing.T) {
	eachCrash(t, killPoints, func(t *testing.T, crash *crash) {
		s := newScene(t)
		a, b := s.replica("a"), s.replica("b")
		s.live(a)
		rec := s.record(b) // b is logged in too: the fault is for the kill alone
		crash.order(s, a)
		s.clock.Advance(time.Minute) // the wrapping token lives
		first := &player{s: s, r: a}
		err := first.end(rec, false, grants.Revoked)
		if !crash.struck.Load() {
			t.Fatal("the call was never made")
		}
		if err == nil && len(s.pg.Users()) != 0 {
			t.Error("proved dead with a user left")
		}
		second := first
		if crash.dies {
			second = &player{s: s, r: b}
		}
		second.play(rec.EndsAt.Add(time.Minute))
		s.checkNothingLeft(b)
	})
}

// TestRetirementWaitsForWhatMayStillBeUnderWay is finding 5: a creds call that
// is in flight when its token is revoked leaves a lease that nobody knows of.
func TestRetirementWaitsForWhatMayStillBeUnderWay(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	s.consent(b, database)
	entered, release := make(chan struct{}), make(chan struct{})
	s.pg.created = func() {
		close(entered)
		<-release
	}
	failed := make(chan error, 1)
	go func() {
		rec, err := a.Record(t.Context(), grantID)
		if err == nil {
			_, err = a.Issue(t.Context(), rec, s.claim())
		}
		failed <- err
	}()
	<-entered
	s.pg.created = nil

	// Before the time nothing is retired, and nobody else may issue.
	p := &player{s: s, r: b, wanted: true}
	wait, err := p.step()
	if err != nil || wait == nil || !wait.Equal(start.Add(grants.RetireAfter)) {
		t.Fatalf("next look at %v, %v", wait, err)
	}

	// Somebody ends the grant now: that must not wait, so the race is on.
	rec := s.record(b)
	s.revoking(b, rec)
	s.must(b.Kill(t.Context(), rec, s.clock.Now()))
	close(release)
	if err := <-failed; !errors.Is(err, world.ErrLost) {
		t.Fatalf("the fenced replica got %v", err)
	}
	// The replica knew the stray and had it ended; had it died, default_ttl does.
	s.users(0)
}

func TestAStrayOfTheRaceDiesWithinTheDefaultTTL(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	s.consent(b, database)
	s.pg.created = func() {
		s.pg.created = nil
		rec := s.record(b)
		s.revoking(b, rec)
		s.must(b.Kill(t.Context(), rec, s.clock.Now()))
		a.wire.kill()
	}
	if _, err := a.Issue(t.Context(), s.record(a), s.claim()); err == nil {
		t.Fatal("it was issued")
	}
	s.eventually("the stray lease", func() bool { return len(s.vault.Leases()) == 1 })
	s.users(1)
	s.clock.Advance(grants.StrayLife)
	s.users(0)
	s.checkHistory()
}

func TestAUserThatVaultForgotCannotLogInAfterTheDefaultTTL(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	s.consent(b, database)
	s.pg.created = s.vault.Kill // between CREATE ROLE and the lease's write
	_, err := a.Issue(t.Context(), s.record(a), s.claim())
	wants(t, err, world.ErrAmbiguous)
	s.vault.Unseal()
	s.pg.created = nil
	if len(s.vault.Leases()) != 0 || len(s.pg.Users()) != 1 {
		t.Fatalf("leases %v, users %v", s.vault.Leases(), s.pg.Users())
	}
	forgotten := s.pg.Users()[0]
	p := &player{s: s, r: b, wanted: true}
	p.play(start.Add(10 * time.Minute))
	if until, ok := s.pg.ValidUntil(forgotten); !ok || until.After(start.Add(grants.StrayLife)) {
		t.Errorf("the forgotten login ends at %s", until)
	}
	if len(p.delivered) != 1 || s.record(b).Gen != 2 {
		t.Errorf("%d credentials, generation %d", len(p.delivered), s.record(b).Gen)
	}
}

func TestALeaseThatItsTokenDoesNotFindIsEnded(t *testing.T) {
	for name, recorded := range map[string]bool{"known by the record": true, "known to nobody": false} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a, b := s.replica("a"), s.replica("b")
			s.consent(b, database)
			if !recorded {
				s.vault.Order(sandbox.Fault{Path: "database/creds/", When: sandbox.LostReply})
			}
			_, err := a.Issue(t.Context(), s.record(a), s.claim())
			if (err == nil) != recorded {
				t.Fatal(err)
			}
			if !s.vault.ForgetTokenIndex(s.vault.Leases()[0].ID) {
				t.Fatal("there was no index")
			}
			rec := s.record(b)
			s.revoking(b, rec)
			s.must(b.Kill(t.Context(), rec, s.clock.Now()))
			if !recorded {
				s.clock.Advance(defaultTTL)
			}
			s.users(0)
		})
	}
}

func TestWithEveryReplicaDeadVaultEndsTheCredential(t *testing.T) {
	s := newScene(t)
	rec, _ := s.live(s.replica("a"))
	s.clock.Advance(rec.EndsAt.Sub(start))
	s.users(0)
}

func TestWithVaultDeadTooTheDatabaseRefusesTheLogin(t *testing.T) {
	s := newScene(t)
	rec, credential := s.live(s.replica("a"))
	s.vault.Kill()
	s.clock.Advance(rec.EndsAt.Sub(start) + 6*time.Second)
	if _, err := s.logIn(credential.Username, credential.Password.Reveal()); err == nil {
		t.Error("the login was let in after the end")
	}
	s.vault.Unseal()
	s.users(0)
}
