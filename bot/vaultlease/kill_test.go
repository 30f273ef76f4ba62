package vaultlease_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// mint makes a token that is not the grant's, and returns its accessor.
func (s *scene) mint(path string, body values) string {
	s.t.Helper()
	secret, err := s.admin.Logical().WriteWithContext(s.t.Context(), path, body)
	s.must(err)
	return secret.Auth.Accessor
}

func (s *scene) alive(accessor string) bool {
	for _, token := range s.vault.Tokens() {
		if token.Accessor == accessor {
			return true
		}
	}
	return false
}

// TestF2_ATamperedRecordIsRefusedAndNothingIsTouched: revoke-accessor and
// leases/revoke reach everything in Vault, so whoever could write a record
// could have the bot end other people's access.
func TestF2_ATamperedRecordIsRefusedAndNothingIsTouched(t *testing.T) {
	for name, tamper := range map[string]func(s *scene, rec *grants.Record) (victim string){
		"an accessor of another grant": func(s *scene, rec *grants.Record) string {
			rec.Accessor = s.mint("auth/token/create/tac", values{"policies": "tac-orders-ro", "meta": values{"grant": "20261122-0000000000"}})
			return rec.Accessor
		},
		"an accessor of an operator who wrote our grant into the metadata": func(s *scene, rec *grants.Record) string {
			rec.Accessor = s.mint("auth/token/create", values{"policies": "default", "meta": values{"grant": string(grantID)}})
			return rec.Accessor
		},
		"a wrap accessor of an ordinary token": func(s *scene, rec *grants.Record) string {
			rec.WrapAccessor = s.mint("auth/token/create", values{"policies": "default"})
			return rec.WrapAccessor
		},
		"a lease of another path": func(_ *scene, rec *grants.Record) string {
			own := rec.Accessor
			rec.LeaseID = strings.Replace(rec.LeaseID, "orders-ro", "payments", 1)
			return own
		},
		"a lease that is a whole path": func(_ *scene, rec *grants.Record) string {
			own := rec.Accessor
			rec.LeaseID = "database/creds/orders-ro/"
			return own
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec, _ := s.live(a)
			victim := tamper(s, rec)
			rec.State = grants.Revoking
			s.vault.ResetCalls()
			err := a.Kill(t.Context(), rec, s.clock.Now())
			if err == nil || errors.Is(err, world.ErrStillAlive) || !strings.Contains(err.Error(), "somebody changed the record") {
				t.Errorf("got %v", err)
			}
			for _, c := range s.vault.Calls() {
				if strings.Contains(c.Path, "revoke") {
					t.Errorf("something was revoked: %s", c)
				}
			}
			if !s.alive(victim) || len(s.pg.Users()) != 1 {
				t.Error("the victim is gone")
			}
		})
	}
}

func TestDeathIsNeverInferredFromAnyOtherRefusal(t *testing.T) {
	html := http.Header{"Content-Type": {"text/html"}}
	for name, fault := range map[string]sandbox.Fault{
		"403 on the token":           {Path: "lookup-accessor", Status: 403, Body: `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`},
		"bad token":                  {Path: "lookup-accessor", Status: 403, Body: `{"errors":["bad token"]}`},
		"403 that says invalid":      {Path: "lookup-accessor", Status: 403, Body: `{"errors":["invalid accessor"]}`},
		"400 of another kind":        {Path: "lookup-accessor", Status: 400, Body: `{"errors":["missing accessor"]}`},
		"400 of a proxy":             {Path: "lookup-accessor", Status: 400, Body: `invalid accessor`, Header: html},
		"404 on the token":           {Path: "lookup-accessor", Status: 404, Body: `{"errors":[]}`},
		"sealed":                     {Path: "lookup-accessor", Status: 503, Body: `{"errors":["Vault is sealed"]}`},
		"redirect":                   {Path: "lookup-accessor", Status: 307, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}},
		"an empty 200":               {Path: "lookup-accessor", Status: 200, Body: `{}`},
		"403 on the lease":           {Path: "leases/lookup", Status: 403, Body: `{"errors":["permission denied"]}`},
		"400 of another lease error": {Path: "leases/lookup", Status: 400, Body: `{"errors":["lease_id must be specified"]}`},
		"another cluster":            {Path: "sys/health", Status: 200, Body: `{"initialized":true,"cluster_id":"other","server_time_utc":1795356000}`},
		"no cluster":                 {Path: "sys/health", Status: 200, Body: `{"initialized":true,"server_time_utc":1795356000}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec, _ := s.live(a)
			s.revoking(a, rec)
			fault.When, fault.Times = sandbox.Answer, -1
			s.vault.Order(fault)
			if err := a.Kill(t.Context(), rec, s.clock.Now()); err == nil {
				t.Fatal("death was inferred")
			}
			s.vault.ClearFaults()
			s.must(a.Kill(t.Context(), rec, s.clock.Now()))
			s.users(0)
		})
	}
}

// TestARefusedLookupDoesNotKeepTheLeaseAlive: what is known to be the grant's
// is ended even where the proof has to wait.
func TestARefusedLookupDoesNotKeepTheLeaseAlive(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec, _ := s.live(a)
	s.revoking(a, rec)
	s.vault.Order(sandbox.Fault{Path: "lookup-accessor", When: sandbox.Answer, Times: -1, Status: 403, Body: `{"errors":["permission denied"]}`})
	if err := a.Kill(t.Context(), rec, s.clock.Now()); err == nil {
		t.Fatal("death was inferred")
	}
	if users := s.pg.Users(); len(users) != 0 {
		t.Errorf("users %v", users)
	}
}

func TestWithTheDatabaseDownKillSaysStillAliveUntilItReturns(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec, credential := s.live(a)
	s.pg.SetDown(true)
	s.revoking(a, rec)
	// Past the queue's six attempts, after which Vault itself gives up.
	for range 20 {
		err := a.Kill(t.Context(), rec, s.clock.Now())
		wants(t, err, world.ErrStillAlive)
		if !strings.Contains(err.Error(), "failed to revoke entry") {
			t.Fatalf("vault's own sentence is missing: %v", err)
		}
		s.clock.Advance(time.Minute)
	}
	if s.alive(rec.Accessor) {
		t.Error("the token waits for the database")
	}
	s.pg.SetDown(false)
	s.must(a.Kill(t.Context(), rec, s.clock.Now()))
	if slices.Contains(s.pg.Users(), credential.Username) {
		t.Error("proved dead with the user there")
	}
}

func TestKillOfWhatNeverLivedAsksNothing(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec := s.consent(a, database)
	if err := a.Kill(t.Context(), rec, s.clock.Now()); err == nil {
		t.Error("a record that is not REVOKING was killed")
	}
	s.revoking(a, rec)
	s.vault.ResetCalls()
	s.must(a.Kill(t.Context(), rec, s.clock.Now()))
	if calls := s.vault.Calls(); len(calls) != 0 {
		t.Errorf("vault was asked: %v", calls)
	}
}

func TestNotTakenAndNotKnownAreDifferent(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec, _ := s.live(a)
	s.vault.Order(sandbox.Fault{Path: "lookup-accessor", When: sandbox.Answer, Status: 403, Body: `{"errors":["permission denied"]}`})
	if _, err := a.Taken(t.Context(), rec); err == nil {
		t.Error("a refusal was taken for an answer")
	}
	if taken, err := a.Taken(t.Context(), rec); taken || err != nil {
		t.Errorf("got %v, %v", taken, err)
	}
}

// TestADatabaseThatHangsDoesNotKeepTheTokenAlive: the token goes first, since
// behind a synchronous revocation it would hang as well.
func TestADatabaseThatHangsDoesNotKeepTheTokenAlive(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec, _ := s.live(a)
	release := make(chan struct{})
	s.pg.Delay(func(target.Statement, string) { <-release })
	s.revoking(a, rec)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := a.Kill(ctx, rec, s.clock.Now()); err == nil {
		t.Error("proved dead with a database that hangs")
	}
	if s.alive(rec.Accessor) || s.alive(rec.WrapAccessor) {
		t.Error("a token waits for the database")
	}
	s.pg.Delay(nil)
	close(release)
	s.must(a.Kill(t.Context(), rec, s.clock.Now()))
	s.users(0)
}
