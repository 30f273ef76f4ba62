package server_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// town is the demo's world with a clock that stands still.
type town struct {
	*demo.World
	t *testing.T

	mu     sync.Mutex
	alerts []string
}

func newTown(t *testing.T) *town {
	t.Helper()
	w, err := demo.NewWorld(t.Context(), demo.Setting{Clock: sandbox.NewStillClock(demo.Start), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	tn := &town{World: w, t: t}
	w.Alerts = func(_ string, _ grants.ID, why string) {
		tn.mu.Lock()
		defer tn.mu.Unlock()
		tn.alerts = append(tn.alerts, why)
	}
	return tn
}

func (tn *town) must(err error) {
	tn.t.Helper()
	if err != nil {
		tn.t.Fatal(err)
	}
}

// replica is one that looks at the set-up, or one that does not.
func (tn *town) replica(name string, checked bool) *demo.Replica {
	tn.t.Helper()
	r, err := tn.NewReplica(name, func(_ *server.Config, o *server.Options) { o.Unchecked = !checked })
	tn.must(err)
	tn.t.Cleanup(func() { _ = r.Abandon() })
	return r
}

// vault writes to Vault as its administrator.
func (tn *town) vault(path string, data map[string]any) {
	tn.t.Helper()
	admin, err := tn.VaultAdmin()
	tn.must(err)
	_, err = admin.Logical().WriteWithContext(tn.t.Context(), path, data)
	tn.must(err)
}

// push puts a file on the default branch, or with no text takes it away, and
// lets the bot's last look at the branch grow old.
func (tn *town) push(path, text string) {
	tn.t.Helper()
	tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
	p := github.Push{Repo: demo.Repository, Login: "eve", Branch: "main", Files: map[string]string{path: text}, Message: "policies"}
	if text == "" {
		p.Files, p.Delete = nil, []string{path}
	}
	_, err := tn.GitHub.Push(p)
	tn.must(err)
	tn.Clock.Advance(3 * time.Second)
}

var alice = grants.Principal{GitHub: "alice", ID: 1001}

func (tn *town) ask(r *demo.Replica, resource string) (grants.ID, error) {
	a, err := r.Bot.Request(tn.t.Context(), bot.Ask{Requester: alice, Resource: resource, Duration: time.Hour, Reason: "a good reason", Via: grants.ViaCLI, Key: rand.Text()})
	return a.ID, err
}

func (tn *town) claim(r *demo.Replica, id grants.ID) error {
	_, _, err := r.Bot.Claim(tn.t.Context(), alice, id, bot.ClaimAsk{Key: "a claim key of one's own"})
	return err
}

// approved has a replica that does not check take a request to the point
// where it can be claimed.
func (tn *town) approved(r *demo.Replica) grants.ID {
	tn.t.Helper()
	id, err := tn.ask(r, "postgres-prod")
	tn.must(err)
	for range 3 {
		tn.must(r.Bot.Sync(tn.t.Context()))
	}
	if v, err := r.Bot.Look(tn.t.Context(), id); err != nil || v.Phase != grants.PhaseApproved {
		tn.t.Fatalf("the grant is %s, %v", v.Phase, err)
	}
	return id
}

func isHeld(err error) bool {
	var refusal *bot.Error
	return errors.As(err, &refusal) && refusal.Code == bot.CodeHeld
}

const role = "database/roles/postgres-prod"

// wrong are the set-ups that the bot must not work with.
var wrong = map[string]struct {
	spoil func(tn *town)
	says  string
	mend  string
}{
	"a default_ttl of an hour": {func(tn *town) { tn.vault(role, map[string]any{"default_ttl": "1h"}) },
		"default_ttl is 1h0m0s", "vault write database/roles/postgres-prod default_ttl=300s"},
	"a role without VALID UNTIL": {func(tn *town) {
		tn.vault(role, map[string]any{"creation_statements": []string{`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}';`}})
	}, "VALID UNTIL", "creation_statements='CREATE ROLE"},
	"revocation that leaves sessions open": {func(tn *town) {
		tn.vault(role, map[string]any{"revocation_statements": []string{`DROP ROLE "{{name}}";`}})
	}, "leave open sessions open", "revocation_statements='DO $$"},
	"a token role without orphans": {func(tn *town) { tn.vault("auth/token/roles/tac", map[string]any{"orphan": false}) },
		"orphan is not set", "vault write auth/token/roles/tac orphan=true"},
	"roles that the bot may not read": {func(tn *town) {
		calls, _, _ := strings.Cut(vaultlease.Plan{}.BotPolicy(), "# what `tac doctor`")
		tn.vault("sys/policies/acl/bot-tac", map[string]any{"policy": calls})
	}, "may not read the role", "tac vault setup"},
	"a branch without rules": {func(tn *town) { tn.must(tn.GitHub.Unprotect(demo.Repository)) },
		"main may be force-pushed", "gh api -X POST repos/acme/access/rulesets"},
}

func TestAWrongSetUpDoesNotStart(t *testing.T) {
	t.Parallel()
	for name, c := range wrong {
		t.Run(name, func(t *testing.T) {
			tn := newTown(t)
			c.spoil(tn)
			var refused *server.WrongSetUp
			if err := tn.replica("one", true).Server.Run(t.Context()); !errors.As(err, &refused) {
				t.Fatalf("the server ended with %v", err)
			}
			for _, f := range refused.Findings {
				if strings.Contains(f.Message, c.says) && strings.Contains(f.Mend, c.mend) {
					return
				}
			}
			t.Errorf("the findings are %+v", refused.Findings)
		})
	}
}

func TestNothingIsGivenBeforeTheSetUpWasSeen(t *testing.T) {
	t.Parallel()
	tn := newTown(t)
	r := tn.replica("one", true)
	if _, err := tn.ask(r, "postgres-prod"); !isHeld(err) {
		t.Errorf("before the check: %v", err)
	}
	for what, silence := range map[string]func(sandbox.Fault){"Vault": tn.Vault.Order, "GitHub": tn.GitHub.Order} {
		silence(sandbox.Fault{When: sandbox.Before, Times: -1})
		if err := r.Check(t.Context()); err != nil {
			t.Errorf("%s that does not answer is a wrong set-up: %v", what, err)
		}
		if _, err := tn.ask(r, "postgres-prod"); err == nil {
			t.Errorf("%s was never seen, and access was given", what)
		}
		tn.Vault.ClearFaults()
		tn.GitHub.ClearFaults()
	}
	tn.must(r.Check(t.Context()))
	if _, err := tn.ask(r, "postgres-prod"); err != nil {
		t.Errorf("after the check: %v", err)
	}
	tn.Vault.Seal()
	tn.must(r.Check(t.Context()))
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if len(tn.alerts) > 0 {
		t.Errorf("a Vault that was seen, and is sealed, woke somebody: %q", tn.alerts)
	}
}

// TestALiveGrantIsEndedAndNothingIssued: whatever is wrong, what is alive has
// to end, so the server stays for that and for nothing else.
func TestALiveGrantIsEndedAndNothingIssued(t *testing.T) {
	t.Parallel()
	for name, c := range wrong {
		t.Run(name, func(t *testing.T) {
			tn := newTown(t)
			old := tn.replica("old", false)
			living, waiting := tn.approved(old), tn.approved(old)
			tn.must(tn.claim(old, living))
			c.spoil(tn)

			r := tn.replica("one", true)
			ctx, stop := context.WithCancel(t.Context())
			tn.World.Run(ctx, r)
			defer func() { stop(); tn.Stop(r) }()
			tn.until("somebody is woken", func() bool { return tn.alerted(c.says) && tn.alerted(c.mend) })
			if _, err := tn.ask(r, "postgres-prod"); !isHeld(err) {
				t.Errorf("a request: %v", err)
			}
			if err := tn.claim(r, waiting); !isHeld(err) {
				t.Errorf("a claim: %v", err)
			}
			if status, body := get(t, r.URL()+"/readyz"); status != http.StatusOK || !strings.Contains(body, "its set-up is wrong") {
				t.Errorf("readyz: %d %s", status, body)
			}
			if _, body := get(t, r.URL()+"/metrics"); !strings.Contains(body, "tac_access_held 1") {
				t.Error("no metric says that access is held back")
			}
			tn.Clock.Advance(61 * time.Minute)
			tn.until("the grant has ended", func() bool {
				v, err := r.Bot.Look(t.Context(), living)
				return err == nil && v.Phase == grants.PhaseClosed
			})
			if users := tn.Postgres.Users(); len(users) > 0 {
				t.Errorf("the database still has %v", users)
			}
			issued := 0
			for _, e := range tn.Vault.Events() {
				if e.Kind == "lease-created" {
					issued++
				}
			}
			if issued != 1 {
				t.Errorf("%d credentials were issued, want that of before", issued)
			}
		})
	}
}

// TestALoginThatFailsForAMomentEndsNoServer: a new replica, while something is
// alive, and Vault does not answer on the path of the login alone.
func TestALoginThatFailsForAMomentEndsNoServer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]sandbox.Fault{
		"an error of Vault's": {When: sandbox.Answer, Status: 500, Body: `{"errors":["internal error"]}`},
		"a lost answer":       {When: sandbox.LostReply},
	} {
		t.Run(name, func(t *testing.T) {
			tn := newTown(t)
			old := tn.replica("old", false)
			id := tn.approved(old)
			tn.must(tn.claim(old, id))
			r := tn.replica("one", true)
			fault.Path, fault.Times = "auth/approle/login", -1
			tn.Vault.Order(fault)
			tn.must(tn.GitHub.Unprotect(demo.Repository)) // wrong, and so the question is what is alive
			if err := r.Check(t.Context()); err != nil {
				t.Errorf("the server ends: %v", err)
			}
			if _, err := tn.ask(r, "postgres-prod"); err == nil {
				t.Error("something new is given")
			}
		})
	}
	// An identity that Vault refuses ends nothing by staying.
	tn := newTown(t)
	old := tn.replica("old", false)
	tn.must(tn.claim(old, tn.approved(old)))
	r := tn.replica("one", true)
	tn.Vault.Order(sandbox.Fault{Path: "auth/approle/login", When: sandbox.Answer, Status: 400, Body: `{"errors":["invalid role or secret ID"]}`, Times: -1})
	var refused *server.WrongSetUp
	if err := r.Check(t.Context()); !errors.As(err, &refused) {
		t.Errorf("it goes on without being let in: %v", err)
	}
}

func TestWhatTurnsWrongLaterHoldsItsResourceUntilMended(t *testing.T) {
	t.Parallel()
	tn := newTown(t)
	r := tn.replica("one", true)
	tn.must(r.Check(t.Context()))
	tn.vault(role, map[string]any{"default_ttl": "1h"})
	tn.must(r.Check(t.Context()))
	tn.must(r.Check(t.Context()))
	if _, err := tn.ask(r, "postgres-prod"); !isHeld(err) {
		t.Errorf("on the wrong role: %v", err)
	}
	if _, err := tn.ask(r, "bastion"); err != nil {
		t.Errorf("on another resource: %v", err)
	}
	tn.vault("auth/token/roles/tac", map[string]any{"orphan": false})
	tn.must(r.Check(t.Context()))
	if _, err := tn.ask(r, "bastion"); !isHeld(err) {
		t.Errorf("with a wrong token role: %v", err)
	}
	tn.vault("auth/token/roles/tac", map[string]any{"orphan": true})
	tn.vault(role, map[string]any{"default_ttl": "300s"})
	tn.must(r.Check(t.Context()))
	if _, err := tn.ask(r, "postgres-prod"); err != nil {
		t.Errorf("mended: %v", err)
	}
	tn.mu.Lock()
	defer tn.mu.Unlock()
	told := 0
	for _, why := range tn.alerts {
		if strings.Contains(why, "default_ttl") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("somebody was woken %d times for one thing: %q", told, tn.alerts)
	}
}

// TestAReplicaIsReadyWhateverTheFirstLookSays: what ends access goes through
// it, and a load balancer sends nothing to whom is not ready.
func TestAReplicaIsReadyWhateverTheFirstLookSays(t *testing.T) {
	t.Parallel()
	tn := newTown(t)
	r := tn.replica("one", true)
	tn.Vault.Seal()
	ctx, stop := context.WithCancel(t.Context())
	tn.World.Run(ctx, r)
	defer func() { stop(); tn.Stop(r) }()
	if status, body := get(t, r.URL()+"/readyz"); status == http.StatusServiceUnavailable && !strings.Contains(body, "is starting") {
		t.Errorf("at first: %s", body)
	}
	tn.until("it is ready", func() bool { status, _ := get(t, r.URL()+"/readyz"); return status == http.StatusOK })
	if _, body := get(t, r.URL()+"/readyz"); !strings.Contains(body, "has not seen yet") {
		t.Errorf("readyz: %s", body)
	}
	tn.Vault.Unseal()
	tn.until("nothing is held", func() bool { _, body := get(t, r.URL()+"/readyz"); return body == "ready\n" })
	if _, body := get(t, r.URL()+"/metrics"); !strings.Contains(body, "tac_access_held 0") {
		t.Error("the metric still says that access is held back")
	}
}

// TestPoliciesThatDoNotLoadFreeNothing: which roles there are is then unknown.
func TestPoliciesThatDoNotLoadFreeNothing(t *testing.T) {
	t.Parallel()
	const broken = "policies/broken.yaml"
	t.Run("at the start", func(t *testing.T) {
		tn := newTown(t)
		tn.push(broken, "kind: Nonsense\n")
		tn.vault(role, map[string]any{"default_ttl": "1h"})
		r := tn.replica("one", true)
		tn.must(r.Check(t.Context()))
		tn.push(broken, "")
		if _, err := tn.ask(r, "postgres-prod"); !isHeld(err) {
			t.Errorf("nothing was looked at, and access is given: %v", err)
		}
	})
	t.Run("after something else was wrong", func(t *testing.T) {
		tn := newTown(t)
		r := tn.replica("one", true)
		tn.must(r.Check(t.Context()))
		tn.vault(role, map[string]any{"default_ttl": "1h"})
		tn.must(r.Check(t.Context()))
		tn.push(broken, "kind: Nonsense\n")
		tn.must(r.Check(t.Context()))
		tn.push(broken, "")
		if _, err := tn.ask(r, "postgres-prod"); !isHeld(err) {
			t.Errorf("the role is wrong still, and access is given: %v", err)
		}
	})
}

const changed = `kind: Resource
metadata: {name: bastion}
spec:
  description: the way into the production network
  owners: [platform]
  vault: {engine: ssh, path: ssh/sign/bastion, policy: tac-bastion, principals: [deploy], slice: 5m}
---
kind: Resource
metadata: {name: postgres-prod}
spec:
  description: payments primary, read-write
  owners: [payments]
  vault: {engine: database, path: database/creds/other, policy: tac-other}
`

// TestWhatNoLookHasSeenIsHeld: a resource that is new or was changed may be
// wrong in every way. A grant that was decided before keeps its target.
func TestWhatNoLookHasSeenIsHeld(t *testing.T) {
	t.Parallel()
	tn := newTown(t)
	old := tn.approved(tn.replica("old", false))
	r := tn.replica("one", true)
	tn.must(r.Check(t.Context()))
	tn.push("policies/resources.yaml", changed)
	for range 2 {
		if _, err := tn.ask(r, "postgres-prod"); !isHeld(err) {
			t.Errorf("a changed resource that was not looked at, or is not in Vault: %v", err)
		}
		tn.must(r.Check(t.Context()))
	}
	if err := tn.claim(r, old); !isHeld(err) {
		t.Errorf("a target that the policies no longer name: %v", err)
	}
	tn.must(r.Check(t.Context()))
	tn.must(tn.claim(r, old))
}

// TestAResourceThatIsWaitedForIsLookedAtSoon: nobody waits for the next look
// of every ten minutes.
func TestAResourceThatIsWaitedForIsLookedAtSoon(t *testing.T) {
	t.Parallel()
	tn := newTown(t)
	r := tn.replica("one", true)
	ctx, stop := context.WithCancel(t.Context())
	tn.World.Run(ctx, r)
	defer func() { stop(); tn.Stop(r) }()
	tn.until("access is given", func() bool { _, err := tn.ask(r, "postgres-prod"); return err == nil })
	tn.push("policies/resources.yaml", changed)
	tn.until("the change was looked at", func() bool {
		_, err := tn.ask(r, "postgres-prod")
		return isHeld(err) && tn.alerted("database/roles/other")
	})
}

func TestTheDemosWorldIsSetUpRight(t *testing.T) {
	t.Parallel()
	tn := newTown(t)
	r := tn.replica("one", true)
	token, err := tn.GitHub.PAT("eve")
	tn.must(err)
	for _, admin := range []string{"", token} {
		for _, f := range r.Examine(t.Context(), world.NewSecret(admin)) {
			if f.Status == world.Problem && f.Check != "webhook" || f.Outage || admin != "" && f.Status == world.Unseen {
				t.Errorf("%+v", f)
			}
		}
	}
}

func (tn *town) alerted(words string) bool {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	for _, why := range tn.alerts {
		if strings.Contains(why, words) {
			return true
		}
	}
	return false
}

func (tn *town) until(what string, holds func() bool) {
	tn.t.Helper()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	tn.t.Fatalf("waited in vain until %s", what)
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
