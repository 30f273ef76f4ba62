package bot_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// longer lets whoever is on call have two hours at once, and an hour more
// twice; four hours are the most for anybody.
var longer = map[string]string{"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve:
    conditions:
      - {role: [on-call, developer], max_duration: 3h}
  approval: {approver_roles: [team-lead, security]}
  max_duration: 4h
  extensions: {max: 2, each: 1h}
`}

// asksForMore asks for an extension, which policy does not deny.
func (tn *town) asksForMore(r *demo.Replica, login string, id grants.ID, d time.Duration) grants.ID {
	tn.t.Helper()
	a, err := r.Bot.Extend(tn.t.Context(), person(login), id, bot.ExtendAsk{Duration: d, Via: grants.ViaCLI, Key: rand.Text()})
	tn.must(err)
	return a.ID
}

// TestAnExtensionMovesTheEndOfALiveCredential: the same database user, the
// same lease, an hour more; and both are over together.
func TestAnExtensionMovesTheEndOfALiveCredential(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	before := tn.recorded(r, id)
	tn.Clock.Advance(90 * time.Minute)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	after := tn.recorded(r, id)
	if after.LeaseID != before.LeaseID || after.Username != before.Username || after.Gen != before.Gen {
		t.Errorf("another credential: %s (%d) after %s (%d)", after.LeaseID, after.Gen, before.LeaseID, before.Gen)
	}
	if want := before.EndsAt.Add(time.Hour); !after.EndsAt.Equal(want) || after.LeaseExpires.Sub(want).Abs() > time.Minute {
		t.Errorf("ends at %s, its lease at %s; want %s", after.EndsAt, after.LeaseExpires, want)
	}
	v := tn.phase(r, more, grants.PhaseActive)
	if v.Extends != id || !v.EndsAt.Equal(after.EndsAt) {
		t.Errorf("the extension: %+v", v)
	}
	if v := tn.phase(r, id, grants.PhaseActive); len(v.Extensions) != 1 || v.Extensions[0] != more {
		t.Errorf("the grant: %+v", v)
	}
	_, _, err := r.Bot.Claim(t.Context(), person("alice"), more, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.refusal(err, "tac access get "+string(id))

	tn.Clock.Advance(before.EndsAt.Sub(tn.Clock.Now()) + time.Minute) // past the first end
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseActive)
	if n := len(tn.Postgres.Users()); n != 1 {
		t.Errorf("%d database users", n)
	}
	tn.Clock.Advance(time.Hour)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseClosed)
	tn.phase(r, more, grants.PhaseClosed)
	if tn.onMain(id) || tn.onMain(more) || len(tn.Postgres.Users()) > 0 {
		t.Error("something is left")
	}
}

// TestAnExtensionIsJudgedOnTheWhole: two hours and one are three.
func TestAnExtensionIsJudgedOnTheWhole(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	one := tn.asksForMore(r, "alice", id, time.Hour) // 3h: at once
	tn.settle(r)
	tn.phase(r, one, grants.PhaseActive)
	two := tn.asksForMore(r, "alice", one, time.Hour) // of the extension means of the grant: 4h, for review
	tn.settle(r)
	v := tn.phase(r, two, grants.PhaseRequested)
	if v.Extends != id {
		t.Errorf("it extends %s", v.Extends)
	}
	tn.review(v.PullRequest, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, two, grants.PhaseActive)
	_, err := r.Bot.Extend(t.Context(), person("alice"), id, bot.ExtendAsk{Duration: time.Hour, Via: grants.ViaCLI, Key: "third"})
	var refused *bot.Error
	if !errors.As(err, &refused) || refused.Code != bot.CodeDenied {
		t.Errorf("a third one: %v", err)
	}
	if got := tn.recorded(r, id); !got.EndsAt.Equal(got.StartsAt.Add(4 * time.Hour)) {
		t.Errorf("from %s to %s", got.StartsAt, got.EndsAt)
	}
}

func TestNobodyExtendsWhatIsNotTheirsOrNotAlive(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	more := func(login string, id grants.ID) error {
		_, err := r.Bot.Extend(t.Context(), person(login), id, bot.ExtendAsk{Duration: time.Hour, Via: grants.ViaCLI, Key: rand.Text()})
		return err
	}
	tn.refusal(more("bob", id), "no such grant of yours")
	tn.refusal(more("alice", "20261122-zzzzzzzzzz"), "no such grant of yours")
	waiting := tn.ask(r, "alice", "postgres-prod", 4*time.Hour)
	tn.must(tn.sync(r))
	tn.refusal(more("alice", waiting), "still a request")
	if _, err := r.Bot.Drop(t.Context(), person("alice"), id); err != nil {
		t.Fatal(err)
	}
	if err := more("alice", id); err == nil {
		t.Error("what is over was extended")
	}
}

// TestA5_TwoExtensionsAtOnceAreNeverBothTheLast: each was allowed by itself;
// the gate counts what was merged before.
func TestA5_TwoExtensionsAtOnceAreNeverBothTheLast(t *testing.T) {
	t.Parallel()
	once := map[string]string{"policies/production-database.yaml": strings.Replace(longer["policies/production-database.yaml"], "max: 2", "max: 1", 1)}
	tn := newTown(t, once)
	r := tn.replica("one")
	id := tn.active(r, "alice", time.Hour)
	one := tn.asksForMore(r, "alice", id, time.Hour)
	two := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	got := tn.recorded(r, id)
	if len(got.Extensions) != 1 || !got.EndsAt.Equal(got.StartsAt.Add(2*time.Hour)) {
		t.Errorf("%v: from %s to %s; %s, %s", got.Extensions, got.StartsAt, got.EndsAt, tn.see(r, one).Phase, tn.see(r, two).Phase)
	}
}

// TestAnExtensionThatIsTakenBackShortensTheCredential: by its file, by drop,
// or by revoke; the first grant goes on until its own end.
func TestAnExtensionThatIsTakenBackShortensTheCredential(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(tn *town, r *demo.Replica, more grants.ID){
		"dropped": func(tn *town, r *demo.Replica, more grants.ID) {
			_, err := r.Bot.Drop(tn.t.Context(), person("alice"), more)
			tn.must(err)
		},
		"revoked": func(tn *town, r *demo.Replica, more grants.ID) {
			_, err := r.Bot.Revoke(tn.t.Context(), person("eve"), more, "enough")
			tn.must(err)
		},
		"its file deleted": func(tn *town, _ *demo.Replica, more grants.ID) {
			path, _ := tn.file(more)
			tn.byHand(nil, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, longer)
			r := tn.replica("one")
			id := tn.active(r, "alice", 2*time.Hour)
			first := tn.recorded(r, id).EndsAt
			more := tn.asksForMore(r, "alice", id, time.Hour)
			tn.settle(r)
			back(tn, r, more)
			tn.settle(r)
			got := tn.recorded(r, id)
			if !got.EndsAt.Equal(first) || got.LeaseExpires.Sub(first) > time.Minute {
				t.Errorf("ends at %s, its lease at %s; want %s", got.EndsAt, got.LeaseExpires, first)
			}
			tn.phase(r, more, grants.PhaseClosed)
			tn.phase(r, id, grants.PhaseActive)
			tn.Clock.Advance(first.Sub(tn.Clock.Now()))
			tn.settle(r)
			tn.phase(r, id, grants.PhaseClosed)
		})
	}
}

// TestNothingOfAnExtensionOutlivesWhatItExtends: its file goes only after the
// credential is proved dead.
func TestNothingOfAnExtensionOutlivesWhatItExtends(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.Postgres.SetDown(true)
	_, err := r.Bot.Drop(t.Context(), person("alice"), id)
	tn.must(err)
	for range 5 {
		_ = tn.sync(r)
		tn.Clock.Advance(time.Minute)
	}
	if !tn.onMain(id) || !tn.onMain(more) {
		t.Error("a file was removed while the database could still let somebody in")
	}
	tn.phase(r, more, grants.PhaseEnded)
	tn.Postgres.SetDown(false)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseClosed)
	tn.phase(r, more, grants.PhaseClosed)
}

// TestATokenThatCannotLiveSoLongMeansANewCredentialBeforeTheOldOneGoes: the
// policy allowed no extensions when the first one was issued.
func TestATokenThatCannotLiveSoLongMeansANewCredentialBeforeTheOldOneGoes(t *testing.T) {
	t.Parallel()
	none := map[string]string{"policies/production-database.yaml": strings.Replace(longer["policies/production-database.yaml"], "  extensions: {max: 2, each: 1h}\n", "", 1)}
	tn := newTown(t, none)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	first := tn.recorded(r, id)
	tn.byHand(longer)
	tn.Clock.Advance(time.Minute)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.phase(r, more, grants.PhaseApproved)
	_, _, err := r.Bot.Claim(t.Context(), person("alice"), more, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.must(err)
	if n := len(tn.Postgres.Users()); n != 2 {
		t.Fatalf("%d database users; the new one comes before the old one goes", n)
	}
	tn.Clock.Advance(first.EndsAt.Sub(tn.Clock.Now()))
	tn.settle(r)
	tn.phase(r, id, grants.PhaseClosed)
	tn.phase(r, more, grants.PhaseActive)
	if n := len(tn.Postgres.Users()); n != 1 {
		t.Errorf("%d database users", n)
	}
	if got := tn.recorded(r, more); !got.EndsAt.Equal(first.EndsAt.Add(time.Hour)) {
		t.Errorf("ends at %s", got.EndsAt)
	}
}

// TestTwoGrantsOfOnePersonNeverCutEachOther: each has its own credential and
// its own end.
func TestTwoGrantsOfOnePersonNeverCutEachOther(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	short := tn.active(r, "alice", time.Hour)
	long := tn.active(r, "alice", 2*time.Hour)
	if tn.recorded(r, short).Username == tn.recorded(r, long).Username {
		t.Fatal("both have one database user")
	}
	tn.Clock.Advance(time.Hour)
	tn.settle(r)
	tn.phase(r, short, grants.PhaseClosed)
	tn.phase(r, long, grants.PhaseActive)
	users := tn.Postgres.Users()
	if len(users) != 1 || users[0] != tn.recorded(r, long).Username {
		t.Errorf("database users: %v", users)
	}
}

// TestARenewalNobodyHeardOfIsUndoneBeforeTheExtensionIsOver: Vault made the
// lease longer, its answers were lost, and then the extension was given back.
func TestARenewalNobodyHeardOfIsUndoneBeforeTheExtensionIsOver(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	first := tn.recorded(r, id).EndsAt
	tn.Vault.Order(sandbox.Fault{Path: "/sys/leases/renew", When: sandbox.LostReply, Times: -1})
	more := tn.asksForMore(r, "alice", id, time.Hour)
	for range 3 {
		_ = tn.sync(r)
	}
	tn.Vault.ClearFaults()
	if got := tn.recorded(r, id); got.LeaseExpires.After(first.Add(time.Minute)) {
		t.Fatalf("the record knows of the lease until %s: nothing was lost", got.LeaseExpires)
	}
	_, err := r.Bot.Drop(t.Context(), person("alice"), more)
	tn.must(err)
	for range 4 {
		_ = tn.sync(r)
	}
	admin, err := tn.VaultAdmin()
	tn.must(err)
	lease, err := admin.Sys().Lookup(tn.recorded(r, id).LeaseID)
	tn.must(err)
	ends, err := time.Parse(time.RFC3339, fmt.Sprint(lease.Data["expire_time"]))
	tn.must(err)
	if !tn.onMain(more) && ends.Sub(first) > time.Minute {
		t.Errorf("the file of the extension is gone, and the lease lives until %s", ends)
	}
	tn.settle(r)
	tn.phase(r, more, grants.PhaseClosed)
}

// TestAnExtensionInTheLastMinuteIsAGrantOfItsOwn, since no lease is renewed
// then: there is a second credential, and nobody is cut off.
func TestAnExtensionInTheLastMinuteIsAGrantOfItsOwn(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", time.Hour)
	first := tn.recorded(r, id).EndsAt
	tn.Clock.Advance(first.Sub(tn.Clock.Now()) - 40*time.Second)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.must(tn.sync(r))
	tn.takes(r, more, "alice")
	for range 4 {
		if len(tn.Postgres.Users()) == 0 {
			t.Errorf("%s: nobody can log in", tn.Clock.Now())
		}
		tn.Clock.Advance(20 * time.Second)
		_ = tn.sync(r)
	}
	tn.phase(r, id, grants.PhaseClosed)
	tn.phase(r, more, grants.PhaseActive)
}

// TestTheFileOfAnExtensionStaysWhileACertificateOfItLives past the first end.
func TestTheFileOfAnExtensionStaysWhileACertificateOfItLives(t *testing.T) {
	t.Parallel()
	tn := newTown(t, map[string]string{"policies/bastion.yaml": strings.NewReplacer("production-database", "bastion", "postgres-prod", "bastion").Replace(longer["policies/production-database.yaml"])})
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id := tn.ask(r, "alice", "bastion", time.Hour)
	tn.settle(r)
	first := tn.recorded(r, id).EndsAt
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.Clock.Advance(first.Sub(tn.Clock.Now()) - 5*time.Minute)
	_, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{
		Key: "a claim key of one's own", PublicKey: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBqEBrSTYvYnLaX1ANGiFUvpbGJ5RrCKBVsUN7JI3Q2g",
	})
	tn.must(err)
	last := tn.recorded(r, id).NotAfter
	if !last.After(first) {
		t.Fatalf("the certificate ends at %s, before %s", last, first)
	}
	_, err = r.Bot.Drop(t.Context(), person("alice"), more)
	tn.must(err)
	for tn.Clock.Now().Before(last) {
		_ = tn.sync(r)
		if !tn.onMain(more) {
			t.Fatalf("%s: the file is gone, and a certificate is valid until %s", tn.Clock.Now(), last)
		}
		tn.Clock.Advance(time.Minute)
	}
	tn.settle(r)
	tn.phase(r, more, grants.PhaseClosed)
}
