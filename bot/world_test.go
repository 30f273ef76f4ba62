package bot_test

import (
	"crypto/rand"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// town is a world whose clock stands still, with replicas that do nothing by
// themselves: each Sync is one sweep, so every test is a sequence of moments.
type town struct {
	*demo.World
	t *testing.T

	mu     sync.Mutex
	steps  []grants.Kind
	alerts []string
}

func newTown(t *testing.T, files map[string]string) *town {
	t.Helper()
	w, err := demo.NewWorld(t.Context(), demo.Setting{
		Clock: sandbox.NewStillClock(demo.Start), Files: files, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	tn := &town{World: w, t: t}
	w.Steps = func(_ string, _ grants.ID, step grants.Step, _ error) {
		tn.mu.Lock()
		defer tn.mu.Unlock()
		tn.steps = append(tn.steps, step.Kind)
	}
	w.Alerts = func(_ string, _ grants.ID, why string) {
		tn.mu.Lock()
		defer tn.mu.Unlock()
		tn.alerts = append(tn.alerts, why)
	}
	return tn
}

// replica starts tac under a name; it does nothing until it is told to.
func (tn *town) replica(name string, change ...func(*server.Config, *server.Options)) *demo.Replica {
	tn.t.Helper()
	r, err := tn.NewReplica(name, change...)
	if err != nil {
		tn.t.Fatal(err)
	}
	tn.t.Cleanup(func() { _ = r.Abandon() })
	return r
}

// person is somebody by login, as tac knows them.
func person(login string) grants.Principal {
	ids := map[string]int64{"alice": 1001, "bob": 1002, "carol": 1003, "dana": 1004, "eve": 1005, "mallory": 1666}
	return grants.Principal{GitHub: login, ID: ids[login]}
}

// ask makes a request that policy does not deny, and returns its id.
func (tn *town) ask(r *demo.Replica, login, resource string, d time.Duration) grants.ID {
	tn.t.Helper()
	a, err := r.Bot.Request(tn.t.Context(), bot.Ask{
		Requester: person(login), Resource: resource, Duration: d, Reason: "a good reason", Via: grants.ViaCLI, Key: rand.Text(),
	})
	if err != nil {
		tn.t.Fatal(err)
	}
	if a.Decision.Outcome == policies.Deny {
		tn.t.Fatalf("denied: %s", a.Decision.Nearest)
	}
	return a.ID
}

// sync is one sweep; troubles it reports are part of many tests.
func (tn *town) sync(r *demo.Replica) error {
	tn.t.Helper()
	return r.Bot.Sync(tn.t.Context())
}

// settle sweeps, a minute apart, until nothing is done any more.
func (tn *town) settle(r *demo.Replica) {
	tn.t.Helper()
	for range 12 {
		before := tn.did()
		err := tn.sync(r)
		if err == nil && tn.did() == before {
			return
		}
		tn.Clock.Advance(time.Minute)
	}
	tn.t.Fatal("the world does not settle")
}

func (tn *town) did() int {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	return len(tn.steps)
}

// stepped reports how often a step was done by any replica.
func (tn *town) stepped(kind grants.Kind) int {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	n := 0
	for _, k := range tn.steps {
		if k == kind {
			n++
		}
	}
	return n
}

// alerted reports whether an alert contains words.
func (tn *town) alerted(words string) bool {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	for _, a := range tn.alerts {
		if strings.Contains(a, words) {
			return true
		}
	}
	return false
}

// see returns a grant as the bot sees it now.
func (tn *town) see(r *demo.Replica, id grants.ID) bot.View {
	tn.t.Helper()
	v, err := r.Bot.Look(tn.t.Context(), id)
	if err != nil {
		tn.t.Fatal(err)
	}
	return v
}

// phase fails the test unless the grant is in the phase.
func (tn *town) phase(r *demo.Replica, id grants.ID, want grants.Phase) bot.View {
	tn.t.Helper()
	v := tn.see(r, id)
	if v.Phase != want {
		tn.t.Fatalf("the grant is %s (%s); want %s", v.Phase, v.Why, want)
	}
	return v
}

// onMain returns the grant files on main, and whether id's is among them.
func (tn *town) onMain(id grants.ID) bool {
	tn.t.Helper()
	files, err := tn.GitHub.Files(demo.Repository, "main")
	if err != nil {
		tn.t.Fatal(err)
	}
	for path := range files {
		if strings.HasSuffix(path, "/"+string(id)+".yaml") {
			return true
		}
	}
	return false
}

// push pushes as somebody, by the rules that a git push meets.
func (tn *town) push(p github.Push) (string, error) {
	p.Repo = demo.Repository
	return tn.GitHub.Push(p)
}

// nothingIssued fails the test if Vault ever issued anything.
func (tn *town) nothingIssued() {
	tn.t.Helper()
	for _, e := range tn.Vault.Events() {
		if e.Kind == "lease-created" || e.Kind == "certificate-signed" {
			tn.t.Fatalf("issued: %+v", e)
		}
	}
	if users := tn.Postgres.Users(); len(users) > 0 {
		tn.t.Fatalf("database users: %v", users)
	}
}

// must fails the test on an error.
func (tn *town) must(err error) {
	tn.t.Helper()
	if err != nil {
		tn.t.Fatal(err)
	}
}

func TestAnAskedGrantLivesAndEndsBySweepsAlone(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseApproved)
	if !tn.onMain(id) {
		t.Error("the file is not on main")
	}
	_, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.must(err)
	tn.phase(r, id, grants.PhaseActive)
	if n := len(tn.Postgres.Users()); n != 1 {
		t.Errorf("%d database users, want 1", n)
	}
	tn.Clock.Advance(2 * time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseClosed)
	if tn.onMain(id) || len(tn.Postgres.Users()) > 0 {
		t.Error("something is left")
	}
}
