package bot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// These are the attacks of threats.md, section D: on time. The sandbox starts
// on Tuesday, 24 November 2026, at 14:00 UTC, three in the afternoon in
// Berlin; alice is on call until Monday at nine there, carol after her.

func TestD1_AStartIsNeverBeforeTheMergeAndIsJudgedAgain(t *testing.T) {
	at := demo.Start
	t.Run("a start that is over is refused", func(t *testing.T) {
		tn, r := started(t)
		ask := bot.Ask{Requester: person("alice"), Resource: "postgres-prod", Duration: time.Hour, Reason: "x", Via: grants.ViaCLI, Key: "k", Start: at.Add(-time.Hour)}
		_, err := r.Bot.Request(t.Context(), ask)
		var refusal *bot.Error
		if !errors.As(err, &refusal) || refusal.Code != bot.CodeInvalid || !strings.Contains(refusal.Message, "is in the past; leave it out") {
			t.Errorf("%v", err)
		}
		g := tn.newHand("alice", time.Hour)
		g.Start = at.Add(-time.Hour)
		tn.refusesPull(r, tn.writes("alice", g).pull, "is before the request itself")
	})
	t.Run("a start that passes while people decide is the merge", func(t *testing.T) {
		tn, r := started(t)
		g := tn.newHand("bob", 2*time.Hour)
		g.Start = at.Add(10 * time.Minute)
		h := tn.writes("bob", g)
		tn.settle(r)
		tn.Clock.Advance(time.Hour)
		tn.review(h.pull, "dana", "APPROVE")
		merged := tn.Clock.Now()
		tn.must(tn.sync(r))
		v := tn.phase(r, g.ID, grants.PhaseApproved)
		if !v.StartsAt.Equal(merged) || !v.EndsAt.Equal(merged.Add(2*time.Hour)) {
			t.Errorf("from %s to %s, merged at %s", v.StartsAt, v.EndsAt, merged)
		}
		tn.takes(r, g.ID, "bob")
	})
	scheduled := func(t *testing.T, ahead time.Duration) (tn *town, r *demo.Replica, g grants.Grant) {
		tn, r = started(t)
		g = tn.newHand("alice", 2*time.Hour)
		g.Start = at.Add(ahead)
		tn.writes("alice", g)
		tn.settle(r)
		v := tn.phase(r, g.ID, grants.PhaseScheduled)
		if !v.StartsAt.Equal(g.Start) || !v.EndsAt.Equal(g.Start.Add(2*time.Hour)) {
			t.Errorf("from %s to %s", v.StartsAt, v.EndsAt)
		}
		return tn, r, g
	}
	t.Run("a start ahead is waited for", func(t *testing.T) {
		tn, r, g := scheduled(t, 24*time.Hour)
		if said := tn.mayNotClaim(r, g.ID); !strings.Contains(said, "starts at 2026-11-25T14:00:00Z") {
			t.Error(said)
		}
		tn.Clock.Advance(g.Start.Sub(tn.Clock.Now()) - time.Second)
		tn.must(tn.sync(r))
		tn.unclaimable(r, g.ID, "alice")
		tn.Clock.Advance(time.Second)
		tn.must(tn.sync(r))
		tn.phase(r, g.ID, grants.PhaseApproved)
		tn.takes(r, g.ID, "alice")
		tn.Clock.Advance(2 * time.Hour)
		tn.must(tn.sync(r))
		tn.phase(r, g.ID, grants.PhaseClosed)
	})
	t.Run("who was on call when asking must be when it starts", func(t *testing.T) {
		tn, r, g := scheduled(t, 7*24*time.Hour)
		tn.Clock.Advance(g.Start.Sub(tn.Clock.Now()))
		tn.unclaimable(r, g.ID, "alice") // a claim is no way around it
		tn.settle(r)
		v := tn.phase(r, g.ID, grants.PhaseClosed)
		if v.Outcome != grants.OutcomeRefused || !strings.Contains(v.Why, "at its start policy no longer agreed") || tn.onMain(g.ID) {
			t.Errorf("%+v", v)
		}
		tn.unclaimable(r, g.ID, "alice")
	})
	t.Run("what was in hours when judged must be at the merge", func(t *testing.T) {
		tn, r := started(t)
		tn.Clock.Advance(time.Hour + 59*time.Minute + 50*time.Second) // 16:59:50 in Berlin
		tn.must(tn.sync(r))
		a, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("bob"), Resource: "postgres-prod", Duration: time.Hour, Reason: "x", Ticket: "INC-1", Via: grants.ViaCLI, Key: "k"})
		tn.must(err)
		if a.Decision.Outcome != policies.Allow {
			t.Fatalf("%+v", a.Decision)
		}
		tn.beforeTheMerge(func() { tn.Clock.Advance(10 * time.Second) })
		_ = tn.sync(r)
		tn.refused(r, a.ID, "bob")
	})
}

func TestD2_LengthsThatCannotBeAreRefusedAndNothingIsWritten(t *testing.T) {
	tn, r := started(t)
	for d, words := range map[time.Duration]string{
		0: "too short", -time.Hour: "too short", 59 * time.Second: "too short", 90*time.Minute + time.Millisecond: "not in whole seconds",
		7*24*time.Hour + time.Second: "too long", 99999 * time.Hour: "too long", 1<<63 - 1: "too long", -1 << 63: "too short",
		8*time.Hour + time.Second: "8h",
	} {
		_, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("alice"), Resource: "postgres-prod", Duration: d, Reason: "x", Via: grants.ViaCLI, Key: fmt.Sprint(d)})
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v, want %q", d, err, words)
		}
	}
	for _, text := range []string{"213504d", "99999h", "1e9h", "P1000Y", "-2h", "0"} { // the first is more nanoseconds than fit
		g := tn.newHand("alice", time.Hour)
		pull := tn.proposes("alice", map[string]string{g.Path(): strings.Replace(string(g.Encode()), "duration: 1h", "duration: "+text, 1)})
		tn.refusesPull(r, pull, ":6:13: spec.duration: ")
	}
	for _, record := range tn.Vault.Records("tac") {
		if record.Path != "hwm" {
			t.Errorf("%s was written", record.Path)
		}
	}
}

// Policy times are wall time of their zone, also on the days on which clocks
// are changed: asked every ten minutes of these days, policy agrees exactly
// when the clock on the wall says so.
func TestD3_HoursAreThoseOnTheWall(t *testing.T) {
	people := "kind: People\nmetadata: {name: all}\nspec: {people: [{github: bob, id: 1002}, {github: dana, id: 1004}]}\n"
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Auckland", "Africa/Casablanca", "Asia/Kolkata", "UTC"} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		set, findings := policies.Load([]policies.File{{Path: "policies/all.yaml", Data: []byte(people + `---
kind: Role
metadata: {name: developer}
spec: {members: [bob, dana]}
---
kind: Calendar
metadata: {name: default}
spec: {timezone: ` + zone + `, days: [mon, tue, wed, thu, fri, sat, sun], hours: "02:30-09:00"}
---
kind: Resource
metadata: {name: db}
spec: {owners: [developer], vault: {engine: database, path: database/creds/db, policy: tac-db}}
---
kind: AccessPolicy
metadata: {name: db}
spec:
  resource: db
  auto_approve: {conditions: [{role: [developer], business_hours_only: true}]}
  approval: {required_approvers: 1, approver_roles: [developer]}
`)}}, time.LoadLocation)
		if set.Err() != nil {
			t.Fatal(findings)
		}
		for day := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() == 2026; {
			_, change := day.In(location).ZoneBounds()
			if change.IsZero() {
				change = day.AddDate(0, 6, 0) // no changes here: any day will do
			}
			for at := change.Add(-24 * time.Hour); at.Before(change.Add(24 * time.Hour)); at = at.Add(10 * time.Minute) {
				d := set.Evaluate(policies.Request{Requester: person("bob"), Resource: "db", Duration: time.Hour, Reason: "x"}, policies.Facts{At: at})
				wall := at.In(location)
				minutes := wall.Hour()*60 + wall.Minute()
				if open := minutes >= 150 && minutes < 540; open != (d.Outcome == policies.Allow) {
					t.Errorf("at %s: %s", wall, d.Outcome)
				}
			}
			day = change.Add(time.Second)
		}
	}
	for _, start := range []string{"2026-03-29T02:30:00", "2026-11-22T18:00:00+01:00", "2026-11-22T18:00:00z", "2026-11-22 18:00:00Z", "2016-12-31T23:59:60Z"} {
		if at, err := grants.ParseTime(start); err == nil {
			t.Errorf("%s was read as %s", start, at)
		}
	}
}

// skewed is a replica whose clock is wrong by d.
func (tn *town) skewed(name string, d time.Duration) *demo.Replica {
	return tn.replica(name, func(_ *server.Config, o *server.Options) {
		o.Now = func() time.Time { return tn.Clock.Now().Add(d) }
	})
}

func TestD4_AClockThatIsWrongGivesNothingAndEndsInTime(t *testing.T) {
	for _, skew := range []time.Duration{10 * time.Minute, -10 * time.Minute, 40 * time.Second, -40 * time.Second} {
		t.Run(fmt.Sprintf("%s: nothing is issued", skew), func(t *testing.T) {
			tn, r := started(t)
			id := tn.ask(r, "alice", "postgres-prod", time.Hour)
			tn.settle(r)
			wrong := tn.skewed("wrong", skew)
			_ = tn.sync(wrong)
			if said := tn.mayNotClaim(wrong, id); !strings.Contains(said, "apart; nothing is issued until they agree") && !strings.Contains(said, "starts at") {
				t.Errorf("the claim is told %q", said)
			}
			tn.nothingIssued()
			tn.takes(r, id, "alice") // the others go on
		})
		t.Run(fmt.Sprintf("%s: ends are in time", skew), func(t *testing.T) {
			tn, r := started(t)
			id := tn.ask(r, "alice", "postgres-prod", time.Hour)
			tn.settle(r)
			tn.takes(r, id, "alice")
			ends := *tn.see(r, id).EndsAt
			wrong := tn.skewed("wrong", skew)
			tn.Clock.Advance(ends.Sub(tn.Clock.Now()) - 11*time.Minute)
			_ = tn.sync(wrong)
			tn.phase(r, id, grants.PhaseActive) // at most as much too early as the clock is wrong
			tn.Clock.Advance(11 * time.Minute)
			_ = tn.sync(wrong)
			tn.phase(r, id, grants.PhaseClosed)
			tn.issuedAndDead(1)
		})
		t.Run(fmt.Sprintf("%s: starts are not early", skew), func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			g.Start = demo.Start.Add(time.Hour)
			tn.writes("alice", g)
			tn.settle(r)
			wrong := tn.skewed("wrong", skew)
			tn.Clock.Advance(g.Start.Sub(tn.Clock.Now()) - 30*time.Second)
			_ = tn.sync(wrong)
			tn.phase(wrong, g.ID, grants.PhaseScheduled)
			tn.unclaimable(wrong, g.ID, "alice")
		})
	}
	t.Run("20s: clocks are never quite alike", func(t *testing.T) {
		tn, r := started(t)
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		tn.settle(r)
		tn.takes(tn.skewed("nearly", 20*time.Second), id, "alice")
	})
}

func TestD5_AClockThatStepsBackGivesNoTime(t *testing.T) {
	t.Run("to a live grant", func(t *testing.T) {
		tn, r := started(t)
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		tn.settle(r)
		tn.takes(r, id, "alice")
		ends := *tn.see(r, id).EndsAt
		tn.Clock.Advance(30 * time.Minute)
		tn.must(tn.sync(r))
		tn.Clock.Advance(-2 * time.Hour)
		_ = tn.sync(r)
		if v := tn.phase(r, id, grants.PhaseActive); !v.EndsAt.Equal(ends) {
			t.Errorf("it ends at %s, want %s", v.EndsAt, ends)
		}
		tn.Clock.Advance(ends.Sub(tn.Clock.Now()))
		tn.settle(r)
		tn.phase(r, id, grants.PhaseClosed)
		tn.issuedAndDead(1)
	})
	t.Run("to one that has ended", func(t *testing.T) {
		tn, r := started(t)
		id, _, _ := tn.ended(r)
		tn.Clock.Advance(-2 * time.Hour)
		_ = tn.sync(tn.replica("fresh"))
		tn.phase(r, id, grants.PhaseClosed)
		tn.mayNotClaim(r, id)
		tn.issuedAndDead(1)
	})
	t.Run("and holds up no removal", func(t *testing.T) {
		tn, _ := started(t)
		r := tn.replica("slow", func(c *server.Config, _ *server.Options) { c.RemoveEvery = 5 * time.Minute })
		first, second := tn.ask(r, "alice", "postgres-prod", time.Hour), tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		tn.settle(r)
		_, err := r.Bot.Drop(t.Context(), person("alice"), first)
		tn.must(err)
		tn.settle(r)
		tn.Clock.Advance(-3 * time.Hour)
		_, err = r.Bot.Drop(t.Context(), person("alice"), second)
		tn.must(err)
		for range 6 {
			_ = tn.sync(r)
			tn.Clock.Advance(time.Minute)
		}
		if tn.onMain(first) || tn.onMain(second) {
			t.Error("the file waits for the clock to be where it was")
		}
	})
	t.Run("and holds up no sweep", func(t *testing.T) {
		tn, _ := started(t)
		r := tn.replica("running")
		tn.GitHub.ResetCalls()
		ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- r.Server.Run(ctx) }()
		swept := func() bool { return tn.asked(http.MethodGet, "/pulls") > 0 }
		tn.until("it has looked at everything", swept)
		tn.Clock.Advance(-3 * time.Hour)
		time.Sleep(300 * time.Millisecond) // one look at the clock, in which the step is seen
		tn.GitHub.ResetCalls()
		tn.Clock.Advance(61 * time.Second)
		tn.until("it looks at everything again, three hours before the clock is where it was", swept)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// maxTTL changes how long Vault lets a lease of the database live.
func (tn *town) maxTTL(d time.Duration) {
	tn.t.Helper()
	admin, err := tn.VaultAdmin()
	tn.must(err)
	role, err := admin.Logical().ReadWithContext(tn.t.Context(), "database/roles/postgres-prod")
	tn.must(err)
	role.Data["max_ttl"] = d.String()
	role.Data["default_ttl"] = "300s"
	_, err = admin.Logical().WriteWithContext(tn.t.Context(), "database/roles/postgres-prod", role.Data)
	tn.must(err)
}

func TestD6_WhereVaultCapsTheTrueEndIsShown(t *testing.T) {
	tn, r := started(t)
	tn.maxTTL(30 * time.Minute)
	found := r.Examine(t.Context(), world.Secret{})
	if !slices.ContainsFunc(found, func(f world.Finding) bool { return strings.Contains(f.Message, "max_ttl is 30m0s: grants may last 8h") }) {
		t.Errorf("the check of the set-up says\n%+v", found)
	}
	id := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.settle(r)
	taken := tn.Clock.Now()
	credential, v, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.must(err)
	capped := taken.Add(30 * time.Minute)
	for what, ends := range map[string]time.Time{"the claim": *v.EndsAt, "the credential": credential.Until, "the grant": *tn.see(r, id).EndsAt} {
		if ends.Sub(capped).Abs() > time.Second {
			t.Errorf("%s is said to end at %s, want %s", what, ends, capped)
		}
	}
	if until, _ := tn.Postgres.ValidUntil(credential.Username); until.After(capped.Add(6 * time.Second)) { // Vault's own grace
		t.Errorf("the login is good until %s", until)
	}
	tn.Clock.Advance(31 * time.Minute)
	tn.must(tn.sync(r))
	tn.issuedAndDead(1)
	// The grant itself goes on: what is left of it can be claimed again.
	tn.takes(r, id, "alice")
	if left := tn.see(r, id).EndsAt.Sub(tn.Clock.Now()); left > 29*time.Minute || left < 20*time.Minute {
		t.Errorf("%s are left", left)
	}
	tn.Clock.Advance(30 * time.Minute)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseClosed)
	tn.issuedAndDead(2)
}

// nonRenewable stands before Vault and says of every lease of the database
// that it cannot be renewed, as some engines do.
func (tn *town) nonRenewable() func(*server.Config, *server.Options) {
	tn.t.Helper()
	at, err := url.Parse(tn.Vault.URL())
	tn.must(err)
	proxy := httputil.NewSingleHostReverseProxy(at)
	proxy.ModifyResponse = func(r *http.Response) error {
		if !strings.Contains(r.Request.URL.Path, "/creds/") {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		body = bytes.Replace(body, []byte(`"renewable":true`), []byte(`"renewable":false`), 1)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
		return nil
	}
	front := httptest.NewServer(proxy)
	tn.t.Cleanup(front.Close)
	return func(c *server.Config, _ *server.Options) { c.Vault.Address = front.URL }
}

func TestD7_ALeaseThatCannotBeRenewedNeverOutlivesTheGrant(t *testing.T) {
	t.Run("shorter than the grant: its end is the end", func(t *testing.T) {
		tn, _ := started(t)
		r := tn.replica("other", tn.nonRenewable())
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		tn.settle(r)
		tn.Vault.Order(sandbox.Fault{Path: "sys/leases/renew", When: sandbox.Answer, Status: 400, Times: -1, Body: `{"errors":["lease is not renewable"]}`})
		taken := tn.Clock.Now()
		credential, v, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own"})
		tn.must(err)
		if want := taken.Add(300 * time.Second); credential.Until.Sub(want).Abs() > time.Second || v.EndsAt.Sub(want).Abs() > time.Second {
			t.Errorf("it is said to end at %s and %s, want %s", credential.Until, v.EndsAt, want)
		}
		tn.settle(r)
		for _, c := range tn.Vault.Calls() {
			if strings.Contains(c.Path, "leases/renew") {
				t.Error("it was renewed all the same")
			}
		}
		tn.Clock.Advance(6 * time.Minute)
		tn.settle(r)
		tn.issuedAndDead(1)
	})
	t.Run("longer than the grant: nobody gets it", func(t *testing.T) {
		tn, _ := started(t)
		r := tn.replica("other", tn.nonRenewable())
		id := tn.ask(r, "alice", "postgres-prod", 2*time.Minute)
		tn.settle(r)
		tn.mayNotClaim(r, id)
		tn.Clock.Advance(3 * time.Minute)
		tn.settle(r)
		tn.phase(r, id, grants.PhaseClosed)
		tn.issuedAndDead(1)
	})
}
