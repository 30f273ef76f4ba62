package vaultlease_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

func TestAWholeLifeIsIssuedRenewedTakenAndProvedDead(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	rec := s.consent(a, database)
	s.vault.ResetCalls()
	credential, err := a.Issue(ctx, rec, s.claim())
	s.must(err)

	var calls []string
	for _, c := range s.vault.Calls() {
		calls = append(calls, c.Method+" "+strings.TrimPrefix(c.Path, "/v1/"))
	}
	want := []string{
		"GET sys/health", "PUT auth/token/create/tac", "PUT tac/data/grants/" + string(grantID), "GET database/creds/orders-ro",
		"PUT sys/wrapping/wrap", "PUT tac/data/grants/" + string(grantID), "PUT sys/leases/renew", "PUT sys/leases/lookup",
		"PUT tac/data/grants/" + string(grantID),
	}
	if !slices.Equal(calls, want) {
		t.Fatalf("calls:\n got %q\nwant %q", calls, want)
	}
	stored := s.record(a)
	if stored.State != grants.Issued || stored.Version != rec.Version || stored.Gen != 1 || stored.LeaseCapped ||
		!stored.LeaseExpires.Equal(rec.EndsAt) || !stored.TokenExpires.Equal(rec.TokenUntil) ||
		stored.Username != credential.Username || stored.Holder != "holder-1" || stored.Cluster != s.vault.ClusterID() ||
		!credential.Until.Equal(rec.EndsAt) || !credential.WrappedUntil.Equal(start.Add(5*time.Minute)) {
		t.Errorf("record %+v, credential until %s", stored, credential.Until)
	}
	if until, _ := s.pg.ValidUntil(credential.Username); !until.Equal(rec.EndsAt.Add(5 * time.Second)) {
		t.Errorf("the database ends the login at %s", until)
	}
	_, err = s.logIn(credential.Username, credential.Password.Reveal())
	s.must(err)

	if taken, err := a.Taken(ctx, rec); taken || err != nil {
		t.Errorf("taken before it was opened: %v, %v", taken, err)
	}
	opened, err := a.Unwrap(ctx, credential.Wrapped)
	s.must(err)
	if opened.Username != credential.Username || opened.Password.Reveal() != credential.Password.Reveal() {
		t.Error("the wrapped credential is another one")
	}
	if _, err := a.Unwrap(ctx, credential.Wrapped); err == nil {
		t.Error("the wrapping token opened twice")
	}
	if taken, err := a.Taken(ctx, rec); !taken || err != nil {
		t.Errorf("taken after it was opened: %v, %v", taken, err)
	}
	s.clock.Advance(5 * time.Minute)
	if taken, err := a.Taken(ctx, rec); taken || err != nil {
		t.Errorf("taken with no proof left: %v, %v", taken, err)
	}

	// The grant is extended by an hour, then ended.
	rec.EndsAt = rec.EndsAt.Add(time.Hour)
	s.must(a.Renew(ctx, rec, s.clock.Now()))
	if !rec.LeaseExpires.Equal(rec.EndsAt) || rec.LeaseCapped {
		t.Errorf("renewed to %s (capped %v), want %s", rec.LeaseExpires, rec.LeaseCapped, rec.EndsAt)
	}
	s.revoking(a, rec)
	s.must(a.Kill(ctx, rec, s.clock.Now()))
	s.must(a.Kill(ctx, rec, s.clock.Now()))
	if _, err := s.logIn(credential.Username, credential.Password.Reveal()); err == nil || len(s.pg.Users()) != 0 || s.pg.Sessions() != 0 {
		t.Errorf("proved dead, and yet: users %v, %d sessions, login %v", s.pg.Users(), s.pg.Sessions(), err)
	}
}

func TestTheGrantsTokenIsExactlyWhatWasAskedFor(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	s.live(a)
	for _, token := range s.vault.Tokens() {
		if token.Path != "auth/token/create/tac" {
			continue
		}
		want := map[string]string{"grant": string(grantID), "gen": "1", "requester_id": "1001", "pull": "7", "commit": "c0ffee"}
		for k, v := range want {
			if token.Meta[k] != v {
				t.Errorf("meta %s is %q, want %q", k, token.Meta[k], v)
			}
		}
		if !token.Orphan || token.Renewable || !slices.Equal(token.Policies, []string{"tac-orders-ro"}) || !token.ExpiresAt.Equal(start.Add(3*time.Hour)) {
			t.Errorf("the token is %+v", token)
		}
		return
	}
	t.Fatal("there is no such token")
}

func TestATokenThatIsNotAsAskedForIsRevokedAndNothingIsReserved(t *testing.T) {
	for name, spoil := range map[string]func(s *scene, rec *grants.Record){
		"a policy that does not exist": func(_ *scene, rec *grants.Record) { rec.Target.Policy = "tac-missing" },
		"a role whose tokens are no orphans": func(s *scene, _ *grants.Record) {
			s.write("auth/token/roles/tac", values{"orphan": false, "renewable": false, "token_no_default_policy": true, "allowed_policies_glob": "tac-*"})
		},
		"a role whose tokens count uses": func(s *scene, _ *grants.Record) {
			s.write("auth/token/roles/tac", values{"orphan": true, "renewable": false, "token_no_default_policy": true, "allowed_policies_glob": "tac-*", "token_num_uses": 5})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec := s.consent(a, database)
			spoil(s, rec)
			before := *rec
			if _, err := a.Issue(t.Context(), rec, s.claim()); err == nil {
				t.Fatal("it was accepted")
			}
			if rec.Version != before.Version || rec.State != grants.Approved || s.record(a).State != grants.Approved {
				t.Errorf("the record moved: %+v", rec)
			}
			for _, token := range s.vault.Tokens() {
				if token.Path == "auth/token/create/tac" {
					t.Errorf("a token is left: %+v", token)
				}
			}
		})
	}
}

func TestNothingIsIssuedWithoutTimeOrTrust(t *testing.T) {
	for name, spoil := range map[string]func(s *scene, rec *grants.Record){
		"less than a minute left":      func(s *scene, rec *grants.Record) { rec.EndsAt = s.clock.Now().Add(59 * time.Second) },
		"a live record without slices": func(_ *scene, rec *grants.Record) { rec.State = grants.Delivered },
		"a record that is ending":      func(_ *scene, rec *grants.Record) { rec.State = grants.Revoking },
		"a path that climbs":           func(_ *scene, rec *grants.Record) { rec.Target.Path = "database/creds/../../sys/raw" },
		"ssh without principals": func(_ *scene, rec *grants.Record) {
			rec.Target = bastion
			rec.Target.Principals = nil
		},
		"clocks that differ": func(s *scene, _ *grants.Record) {
			s.vault.Order(sandbox.Fault{Path: "sys/health", When: sandbox.Answer, Status: 200,
				Body: `{"initialized":true,"sealed":false,"cluster_id":"x","server_time_utc":1795356031}`})
		},
		"a sealed vault": func(s *scene, _ *grants.Record) { s.vault.Seal() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec := s.consent(a, database)
			spoil(s, rec)
			s.vault.ResetCalls()
			if _, err := a.Issue(t.Context(), rec, s.claim()); err == nil {
				t.Fatal("it was issued")
			}
			for _, c := range s.vault.Calls() {
				if c.Method != http.MethodGet {
					t.Errorf("vault was asked: %s", c)
				}
			}
		})
	}
}

func TestTwoReplicasRacingAnIssueHaveOneWinner(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	s.consent(a, database)
	for range 5 {
		type result struct {
			rec        *grants.Record
			credential *world.Credential
			err        error
		}
		results := make(chan result, 2)
		for r, rec := range map[replica]*grants.Record{a: s.record(a), b: s.record(b)} {
			go func() {
				credential, err := r.Issue(t.Context(), rec, s.claim())
				results <- result{rec, credential, err}
			}()
		}
		first, second := <-results, <-results
		if first.err != nil {
			first, second = second, first
		}
		s.must(first.err)
		wants(t, second.err, world.ErrLost)
		if second.credential != nil {
			t.Fatal("the loser has a credential")
		}
		var own int
		for _, token := range s.vault.Tokens() {
			if token.Path == "auth/token/create/tac" {
				own++
			}
		}
		if own != 1 || len(s.pg.Users()) != 1 {
			t.Fatalf("%d tokens, users %v", own, s.pg.Users())
		}
		rec := first.rec
		rec.Retiring = true
		s.revoking(a, rec)
		s.must(a.Kill(t.Context(), rec, s.clock.Now()))
		rec.State = grants.Retired
		s.must(a.PutRecord(t.Context(), rec))
	}
}

func TestAnIssueThatWasRetiredMeanwhileGoesToNobody(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	rec := s.consent(a, database)
	s.vault.Order(sandbox.Fault{Path: "sys/wrapping/wrap", When: sandbox.Pass, Do: func(*http.Request) {
		s.revoking(b, s.record(b))
	}})
	credential, err := a.Issue(t.Context(), rec, s.claim())
	wants(t, err, world.ErrLost)
	if credential != nil {
		t.Fatal("the fenced replica has a credential")
	}
	s.must(b.Kill(t.Context(), s.record(b), s.clock.Now()))
	s.users(0)
}

func TestARenewalThatVaultClampsIsRecordedAsItIs(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(s *scene, rec *grants.Record)
		want  time.Duration // life of the lease
	}{
		"by the role's max_ttl":        {func(s *scene, _ *grants.Record) { s.role(defaultTTL, time.Hour) }, time.Hour},
		"by the token role's max":      {func(s *scene, rec *grants.Record) { s.clampTokens() }, 90 * time.Minute},
		"not by a grant that is short": {func(_ *scene, rec *grants.Record) { rec.EndsAt = start.Add(2 * time.Minute) }, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec := s.consent(a, database)
			tt.spoil(s, rec)
			credential, err := a.Issue(t.Context(), rec, s.claim())
			s.must(err)
			end := start.Add(tt.want)
			if !rec.LeaseExpires.Equal(end) || rec.LeaseCapped != end.Before(rec.EndsAt) || !credential.Until.Equal(end) {
				t.Errorf("lease ends %s (capped %v), credential %s; want %s", rec.LeaseExpires, rec.LeaseCapped, credential.Until, end)
			}
			s.clock.Advance(tt.want)
			s.users(0)
		})
	}
}

func (s *scene) clampTokens() {
	s.write("auth/token/roles/tac", values{
		"orphan": true, "renewable": false, "token_type": "service", "token_no_default_policy": true,
		"allowed_policies_glob": "tac-*", "token_explicit_max_ttl": "90m",
	})
}

func TestALeaseInItsLastMinuteIsNotRenewed(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec, _ := s.live(a)
	s.clock.Advance(2*time.Hour - 59*time.Second)
	rec.EndsAt = rec.EndsAt.Add(time.Hour)
	s.vault.ResetCalls()
	if err := a.Renew(t.Context(), rec, s.clock.Now()); err == nil {
		t.Fatal("it was renewed")
	}
	if calls := s.vault.Calls(); len(calls) != 0 {
		t.Errorf("vault was asked: %v", calls)
	}
}

// TestARenewalThatComesLateLeavesTheLeaseAsTheGrantIsNow: an extension was
// taken back, and its lease with it, while a slow replica still gave it.
func TestARenewalThatComesLateLeavesTheLeaseAsTheGrantIsNow(t *testing.T) {
	s := newScene(t)
	a, b := s.replica("a"), s.replica("b")
	slow, _ := s.live(a)
	end := slow.EndsAt
	slow.Extend("20261122-0000000001", time.Hour)
	s.must(a.PutRecord(t.Context(), slow))
	s.vault.Order(sandbox.Fault{Path: "sys/leases/renew", When: sandbox.Pass, Do: func(*http.Request) {
		r := s.record(b)
		r.Shorten("20261122-0000000001")
		s.must(b.PutRecord(t.Context(), r))
	}})
	wants(t, a.Renew(t.Context(), slow, s.clock.Now()), world.ErrLost)
	r := s.record(b)
	lease, err := s.admin.Sys().Lookup(r.LeaseID)
	s.must(err)
	if got := lease.Data["expire_time"]; got != end.Format(time.RFC3339) || !r.LeaseExpires.Equal(end) {
		t.Errorf("the grant ends %s, its lease %v and by the record %s", end, got, r.LeaseExpires)
	}
}

func TestAnIssueAsksForCredsOnceWhateverBecomesOfTheConnection(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec := s.consent(a, database) // leaves a connection that could be used again
	s.vault.Order(sandbox.Fault{Path: "database/creds/", When: sandbox.LostReply})
	s.vault.ResetCalls()
	_, err := a.Issue(t.Context(), rec, s.claim())
	wants(t, err, world.ErrAmbiguous)
	var asked int
	for _, c := range s.vault.Calls() {
		if strings.Contains(c.Path, "database/creds/") {
			asked++
		}
	}
	if asked != 1 || len(s.pg.Users()) != 1 {
		t.Errorf("asked %d times, users %v", asked, s.pg.Users())
	}
}

func TestAnAnswerThatCannotBeRightIssuesNothing(t *testing.T) {
	const credential = `"data":{"username":"v-x","password":"p"}`
	for name, fault := range map[string]sandbox.Fault{
		"a token that outlives what was asked": {Path: "token/create", Body: `{"auth":{"client_token":"t","accessor":"a","policies":["tac-orders-ro"],"orphan":true,"token_type":"service","lease_duration":10801,"metadata":{"grant":"` + string(grantID) + `"}}}`},
		"a token without an accessor":          {Path: "token/create", Body: `{"auth":{"client_token":"t","policies":["tac-orders-ro"],"orphan":true,"token_type":"service","lease_duration":60,"metadata":{"grant":"` + string(grantID) + `"}}}`},
		"a token for another grant":            {Path: "token/create", Body: `{"auth":{"client_token":"t","accessor":"a","policies":["tac-orders-ro"],"orphan":true,"token_type":"service","lease_duration":60,"metadata":{"grant":"20261122-0000000000"}}}`},
		"a token with a policy more":           {Path: "token/create", Body: `{"auth":{"client_token":"t","accessor":"a","policies":["default","tac-orders-ro"],"orphan":true,"token_type":"service","lease_duration":60,"metadata":{"grant":"` + string(grantID) + `"}}}`},
		"a credential without a lease":         {Path: "database/creds", Body: `{"lease_id":"","lease_duration":300,` + credential + `}`},
		"a lease of another path":              {Path: "database/creds", Body: `{"lease_id":"database/creds/root/x","lease_duration":300,` + credential + `}`},
		"a fixed lease beyond the grant":       {Path: "database/creds", Body: `{"lease_id":"database/creds/orders-ro/x","lease_duration":9000,"renewable":false,` + credential + `}`},
		"no password":                          {Path: "database/creds", Body: `{"lease_id":"database/creds/orders-ro/x","lease_duration":300,"data":{"username":"v-x"}}`},
		"nothing wrapped":                      {Path: "sys/wrapping/wrap", Body: `{"data":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec := s.consent(a, database)
			fault.When, fault.Status = sandbox.AnswerAfter, 200
			s.vault.Order(fault)
			if credential, err := a.Issue(t.Context(), rec, s.claim()); err == nil || credential != nil {
				t.Fatalf("got %+v", credential)
			}
			want := grants.Reserved // from here on recovery ends what may have come about
			if fault.Path == "token/create" {
				want = grants.Approved
			}
			if state := s.record(a).State; state != want {
				t.Errorf("the record is %s, want %s", state, want)
			}
			p := &player{s: s, r: a}
			p.play(rec.EndsAt.Add(time.Minute))
			s.users(0)
		})
	}
}

func TestALeaseThatBecameImmortalIsNotRecordedAsRenewed(t *testing.T) {
	for name, body := range map[string]string{
		"without an end":  `{"data":{"expire_time":null,"ttl":10799}}`,
		"far too long":    `{"data":{"expire_time":"2030-01-01T00:00:00Z","ttl":99999999}}`,
		"already expired": `{"data":{"expire_time":"2026-11-22T13:00:00Z","ttl":-5}}`,
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a := s.replica("a")
			rec, _ := s.live(a)
			before := *rec
			rec.EndsAt = rec.EndsAt.Add(time.Hour)
			s.vault.Order(sandbox.Fault{Path: "sys/leases/lookup", When: sandbox.Answer, Status: 200, Body: body})
			if err := a.Renew(t.Context(), rec, s.clock.Now()); err == nil || rec.Version != before.Version {
				t.Errorf("got %v, version %d", err, rec.Version)
			}
		})
	}
}

// TestAReplicaThatSleptAfterItsReservationAsksForNothing: the retirement waits
// two minutes for what is under way; a call that starts later would escape it.
func TestAReplicaThatSleptAfterItsReservationAsksForNothing(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec := s.consent(a, database)
	s.vault.Order(sandbox.Fault{Method: "PUT", Path: "tac/data/", When: sandbox.Pass, Do: func(*http.Request) { s.clock.Advance(5 * time.Minute) }})
	if _, err := a.Issue(t.Context(), rec, s.claim()); err == nil {
		t.Error("it was issued")
	}
	if s.count("database/creds") != 0 || s.record(a).State != grants.Reserved {
		t.Errorf("the record is %s, calls %v", s.record(a).State, s.vault.Calls())
	}
}
