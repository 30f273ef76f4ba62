package bot_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// A whole life makes some seventy calls to GitHub, git and Vault. For each of
// them, one life is played in which that call never arrives, and one in which
// it is done but its answer is lost; the replica that made it is never heard
// of again, and another one goes on. Every life must still be one pull
// request, one merge and one removal, and leave nothing behind.
func TestEveryCrashPointOfALifeIsSurvived(t *testing.T) {
	calm := newTown(t, nil)
	calm.crashedLife(func() bool { return false })
	github, vault := calm.GitHub.Calls(), calm.Vault.Calls()
	if len(github) < 15 || len(vault) < 20 {
		t.Fatalf("an undisturbed life made %d and %d calls: that cannot be all", len(github), len(vault))
	}
	played := 0
	for n, c := range github {
		played += playCrash(t, "github", n, c)
	}
	for n, c := range vault {
		played += playCrash(t, "vault", n, c)
	}
	t.Logf("%d crash points in %d calls to GitHub and git and %d to Vault", played, len(github), len(vault))
}

// playCrash plays the lives of one call. For a read it is all the same
// whether it never arrived or its answer was lost; the one read that makes
// something is that of a credential.
func playCrash(t *testing.T, where string, n int, c sandbox.Call) int {
	if n%everyNthCrash != 0 {
		return 0
	}
	name := fmt.Sprintf("%s call %d %s %s", where, n, c.Method, c.Path)
	playOneCrash(t, name+" reply lost", where, n, sandbox.LostReply)
	if c.Method == http.MethodGet && !strings.Contains(c.Path, "/creds/") {
		return 1
	}
	playOneCrash(t, name+" never arrived", where, n, sandbox.Before)
	return 2
}

func playOneCrash(t *testing.T, name, where string, n int, when sandbox.When) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		var struck atomic.Bool
		fault := sandbox.Fault{Skip: n, When: when, Do: func(*http.Request) { struck.Store(true) }}
		if where == "github" {
			tn.GitHub.Order(fault)
		} else {
			tn.Vault.Order(fault)
		}
		tn.crashedLife(struck.Load)
	})
}

// crashedLife plays a life; as soon as a call was lost the first replica is
// gone and the second goes on.
func (tn *town) crashedLife(lost func() bool) {
	tn.t.Helper()
	first, second := tn.replica("first"), tn.replica("second")
	now := func() *demo.Replica {
		if lost() {
			return second
		}
		return first
	}
	key := rand.Text()
	id := tn.askUntilHeard(now, key)
	tn.sweepUntil(now, "it is approved", func() bool { return tn.at(now(), id) == grants.PhaseApproved })
	tn.claimUntilHeld(now, id)
	if users := tn.Postgres.Users(); len(users) != 1 {
		tn.t.Errorf("%d database users while the grant is active, want 1", len(users))
	}
	tn.Clock.Advance(2 * time.Hour)
	tn.sweepUntil(now, "it is closed", func() bool { return tn.at(now(), id) == grants.PhaseClosed })
	tn.nothingLeft(id)
}

func (tn *town) at(r *demo.Replica, id grants.ID) grants.Phase {
	v, err := r.Bot.Look(tn.t.Context(), id)
	if err != nil {
		return grants.PhaseNone
	}
	return v.Phase
}

func (tn *town) askUntilHeard(now func() *demo.Replica, key string) grants.ID {
	tn.t.Helper()
	for range 5 {
		a, err := now().Bot.Request(tn.t.Context(), bot.Ask{
			Requester: person("alice"), Resource: "postgres-prod", Duration: 2 * time.Hour, Reason: "a good reason", Via: grants.ViaCLI, Key: key,
		})
		if err == nil {
			return a.ID
		}
		tn.Clock.Advance(10 * time.Second)
	}
	tn.t.Fatal("the request is never heard")
	return ""
}

func (tn *town) sweepUntil(now func() *demo.Replica, what string, holds func() bool) {
	tn.t.Helper()
	var last error
	for range 10 {
		last = tn.sync(now())
		if holds() {
			return
		}
		tn.Clock.Advance(30 * time.Second)
	}
	tn.t.Fatalf("not reached in ten sweeps: %s; the last one said: %v", what, last)
}

func (tn *town) claimUntilHeld(now func() *demo.Replica, id grants.ID) {
	tn.t.Helper()
	var last error
	for range 12 {
		_, _, last = now().Bot.Claim(tn.t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own"})
		if last == nil {
			return
		}
		tn.Clock.Advance(30 * time.Second)
		_ = tn.sync(now()) // a sweep in between may fail like any other call
	}
	tn.t.Fatalf("the credential is never held: %v", last)
}

// nothingLeft looks everywhere but into our own records.
func (tn *town) nothingLeft(id grants.ID) {
	tn.t.Helper()
	tn.Clock.Advance(grants.StrayLife) // what nobody recorded dies within this
	if users := tn.Postgres.Users(); len(users) != 0 {
		tn.t.Errorf("database users are left: %v", users)
	}
	if leases := tn.Vault.Leases(); len(leases) != 0 {
		tn.t.Errorf("leases are left: %v", leases)
	}
	if tn.onMain(id) {
		tn.t.Error("the file is left on main")
	}
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	merged, removed := 0, 0
	for _, c := range commits {
		if strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\nTac-Requester") {
			merged++
		}
		if strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\nTac-Ended: expired") {
			removed++
		}
	}
	if merged != 1 || removed != 1 {
		tn.t.Errorf("%d merges and %d removals, want one of each", merged, removed)
	}
	recorded := map[string]bool{}
	for _, e := range tn.Vault.Events() {
		if e.Kind == "kv-written" {
			if accessor, ok := e.Data["accessor"].(string); ok {
				recorded[accessor] = true
			}
		}
		if e.Kind == "lease-created" && !recorded[e.Accessor] {
			tn.t.Error("a lease existed before its accessor was recorded (invariant I4)")
		}
	}
}
