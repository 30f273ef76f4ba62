package bot_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// What is in this file are ways to keep access from ending, or to end somebody
// else's: each was once possible.

// trouble is a repository that can be made to misbehave.
type trouble struct {
	bot.Repository
	hang, panics atomic.Bool
}

func (s *trouble) Fetch(ctx context.Context) (string, error) {
	if s.hang.Load() {
		<-ctx.Done()
		return "", errors.New("no answer")
	}
	return s.Repository.Fetch(ctx)
}

func (s *trouble) Proposal(ctx context.Context, pull int, head string) (world.Proposal, error) {
	if s.panics.Load() {
		panic("a bug in a library, met by hostile input")
	}
	return s.Repository.Proposal(ctx, pull, head)
}

func troubled(r *demo.Replica) *trouble {
	s := &trouble{Repository: r.Bot.Repository}
	r.Bot.Repository = s
	return s
}

func (tn *town) active(r *demo.Replica, login string, d time.Duration) grants.ID {
	tn.t.Helper()
	id := tn.ask(r, login, "postgres-prod", d)
	tn.settle(r)
	tn.takes(r, id, login)
	tn.phase(r, id, grants.PhaseActive)
	return id
}

func (tn *town) recorded(r *demo.Replica, id grants.ID) *grants.Record {
	tn.t.Helper()
	record, err := r.Bot.Vault.Record(tn.t.Context(), id)
	tn.must(err)
	return record
}

func TestAPullRequestThatSwapsItsIdEndsNobodysGrant(t *testing.T) {
	tn, r := started(t)
	carols := tn.active(r, "carol", 2*time.Hour)
	g := tn.newHand("alice", time.Hour)
	g.Resource = "bastion"
	put := func(g grants.Grant, gone ...string) {
		_, err := tn.push(github.Push{Login: "alice", Branch: "mine", Files: map[string]string{g.Path(): string(g.Encode())}, Delete: gone, Message: "mine"})
		tn.must(err)
	}
	put(g)
	pull, err := tn.GitHub.OpenPull(demo.Repository, "alice", "mine", "main", "mine", "")
	tn.must(err)
	tn.must(tn.GitHub.SetDraft(demo.Repository, pull, "alice", true))
	tn.settle(r)
	stolen := g
	stolen.ID = carols
	put(stolen, g.Path())
	tn.settle(r)
	tn.must(tn.GitHub.SetDraft(demo.Repository, pull, "alice", false))
	if !tn.told(pull).open {
		tn.must(tn.GitHub.ReopenPull(demo.Repository, pull, "alice"))
	}
	tn.settle(r)
	tn.phase(r, carols, grants.PhaseActive)
	if tn.told(pull).open || tn.mainFile(stolen.Path()) != "" {
		t.Error("the pull request was not turned away")
	}
}

func TestNoFloodOfClaimsDelaysARevocation(t *testing.T) {
	tn, r := started(t)
	id := tn.active(r, "alice", time.Hour)
	tn.Vault.Order(sandbox.Fault{Times: -1, When: sandbox.Pass, Do: func(*http.Request) { time.Sleep(5 * time.Millisecond) }})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var claims atomic.Int64
	for i := range 50 {
		go func() {
			for ctx.Err() == nil {
				_, _, _ = r.Bot.Claim(ctx, person("alice"), id, bot.ClaimAsk{Key: fmt.Sprintf("a claim key of one's own %d", i), Replace: true})
				claims.Add(1)
			}
		}()
	}
	tn.until("claims come in", func() bool { return claims.Load() > 0 })
	_, err := r.Bot.Revoke(ctx, person("eve"), id, "the laptop was stolen")
	tn.must(err)
	stop()
	if rec := tn.recorded(r, id); rec.Outcome != grants.OutcomeRevoked || rec.EndedBy != "eve" {
		t.Errorf("the record is %s by %q", rec.State, rec.EndedBy)
	}
}

func TestAGitHubThatHangsHoldsUpNoEnd(t *testing.T) {
	tn, r := started(t)
	dropped, expired := tn.active(r, "alice", 2*time.Hour), tn.active(r, "carol", time.Hour)
	troubled(r).hang.Store(true)
	tn.GitHub.Order(sandbox.Fault{Times: -1, When: sandbox.Before})
	tn.Clock.Advance(time.Hour)
	// Whoever waits for GitHub waits until its context ends; the end itself
	// must have been written long before.
	patience := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	_, err := r.Bot.Reconcile(patience(), expired)
	if rec := tn.recorded(r, expired); rec.State != grants.Revoked {
		t.Errorf("expiry: the record is %s (%v)", rec.State, err)
	}
	v, err := r.Bot.Drop(patience(), person("alice"), dropped)
	tn.must(err)
	if rec := tn.recorded(r, dropped); rec.Outcome != grants.OutcomeDropped || v.Phase != grants.PhaseEnded {
		t.Errorf("drop: the record is %s, the answer says %s", rec.State, v.Phase)
	}
}

func TestWithGitHubDownOwnersRevokeAndChatKnowsPeople(t *testing.T) {
	tn, r := started(t)
	id := tn.active(r, "alice", time.Hour)
	tn.GitHub.Order(sandbox.Fault{Times: -1, When: sandbox.Before})
	tn.Clock.Advance(10 * time.Minute)
	if p, err := r.Bot.PersonOfChat(t.Context(), "U05EVE"); err != nil || !p.Same(person("eve")) {
		t.Errorf("chat: %v, %v", p, err)
	}
	if _, err := r.Bot.Revoke(t.Context(), person("bob"), id, "I am not an owner"); err == nil {
		t.Error("a stranger revokes")
	}
	_, err := r.Bot.Revoke(t.Context(), person("eve"), id, "the laptop was stolen")
	tn.must(err)
	if rec := tn.recorded(r, id); rec.State != grants.Revoked || len(tn.Postgres.Users()) != 0 {
		t.Errorf("the record is %s, users: %v", rec.State, tn.Postgres.Users())
	}
}

func TestWhatIsTakenBackWhileAnotherReplicaMergesGivesNothing(t *testing.T) {
	tn := newTown(t, nil)
	noSlack := func(c *server.Config, _ *server.Options) { c.Slack = nil }
	one, two := tn.replica("one", noSlack), tn.replica("two", noSlack)
	tn.must(tn.sync(one))
	id, pull := tn.waiting(one)
	tn.must(tn.sync(two))
	tn.review(pull, "dana", "APPROVE")
	tn.beforeTheMerge(func() {
		_, err := one.Bot.Revoke(context.WithoutCancel(t.Context()), person("eve"), id, "not tonight")
		tn.must(err)
	})
	_ = tn.sync(two)
	tn.settle(two)
	tn.settle(one)
	v := tn.see(one, id)
	if v.Phase != grants.PhaseWithdrawn && v.Phase != grants.PhaseClosed {
		t.Errorf("the grant is %s", v.Phase)
	}
	tn.unclaimable(two, id, "bob")
	tn.nothingIssued()
}

func TestAPanicOverOnePullRequestEndsOneLookAndNoProcess(t *testing.T) {
	tn, r := started(t)
	id := tn.active(r, "alice", time.Hour)
	s := troubled(r)
	tn.writes("bob", tn.newHand("bob", 2*time.Hour))
	s.panics.Store(true)
	tn.Clock.Advance(time.Hour)
	err := tn.sync(r)
	if err == nil || !strings.Contains(err.Error(), "panic: a bug in a library") {
		t.Errorf("the sweep says %v", err)
	}
	if rec := tn.recorded(r, id); rec.State != grants.Revoked {
		t.Errorf("the other grant did not end: %s", rec.State)
	}
	if !tn.alerted("panic") {
		t.Error("nobody was alerted")
	}
}

func TestWaitingPullRequestsCostASweepNextToNothing(t *testing.T) {
	tn, r := started(t)
	for range 5 {
		tn.ask(r, "bob", "postgres-prod", 2*time.Hour)
	}
	tn.writes("bob", tn.newHand("bob", 2*time.Hour))
	tn.settle(r)
	tn.Clock.Advance(time.Minute)
	tn.GitHub.ResetCalls()
	tn.must(tn.sync(r))
	counted := 0
	for _, c := range tn.GitHub.RESTCalls() {
		if c.Status != http.StatusNotModified { // GitHub does not count these
			counted++
			t.Log(c)
		}
	}
	if counted > 0 {
		t.Errorf("a sweep in which nothing happened cost %d counted calls", counted)
	}
}

func TestNobodyLearnsOfAGrantByTryingToRevokeIt(t *testing.T) {
	tn, r := started(t)
	id := tn.active(r, "alice", time.Hour)
	_, err := r.Bot.Revoke(t.Context(), person("bob"), id, "curious")
	var refusal *bot.Error
	if !errors.As(err, &refusal) || refusal.Code != bot.CodeNotFound || strings.Contains(refusal.Message, "postgres-prod") {
		t.Errorf("%v", err)
	}
}

func TestTheSameKeyForAnotherWishIsAConflict(t *testing.T) {
	tn, r := started(t)
	ask := bot.Ask{Requester: person("alice"), Resource: "postgres-prod", Duration: time.Hour, Reason: "a good reason", Via: grants.ViaCLI, Key: "one key"}
	first, err := r.Bot.Request(t.Context(), ask)
	tn.must(err)
	again, err := r.Bot.Request(t.Context(), ask)
	tn.must(err)
	if again.ID != first.ID || !again.Existing {
		t.Errorf("the same wish is %+v", again)
	}
	for what, change := range map[string]func(*bot.Ask){
		"duration": func(a *bot.Ask) { a.Duration = 2 * time.Hour },
		"reason":   func(a *bot.Ask) { a.Reason = "another reason" },
		"ticket":   func(a *bot.Ask) { a.Ticket = "INC-1" },
		"start":    func(a *bot.Ask) { a.Start = tn.Clock.Now().Add(time.Hour) },
	} {
		other := ask
		change(&other)
		var refusal *bot.Error
		if _, err := r.Bot.Request(t.Context(), other); !errors.As(err, &refusal) || refusal.Code != bot.CodeConflict {
			t.Errorf("another %s: %v", what, err)
		}
	}
}

// A restriction must not vanish because its file ends in .yml.
func TestARestrictionInAYMLFileCounts(t *testing.T) {
	const closed = `kind: AccessPolicy
metadata: {name: closed}
spec:
  resource: postgres-prod
  request: {roles: [security]}
  approval: {required_approvers: 1, approver_roles: [security]}
`
	tn := newTown(t, map[string]string{"policies/closed.yml": closed})
	r := tn.replica("one")
	tn.must(tn.sync(r))
	_, err := r.Bot.Request(t.Context(), bot.Ask{
		Requester: person("alice"), Resource: "postgres-prod", Duration: time.Hour, Reason: "a good reason", Via: grants.ViaCLI, Key: "a key of one's own",
	})
	if err == nil || !strings.Contains(err.Error(), "only security may ask") {
		t.Errorf("as if policies/closed.yml were not there: %v", err)
	}
}

// What somebody should be woken for is in the log, where an operator looks,
// and not only told to whoever the tests put there.
func TestAnAlertReachesTheLog(t *testing.T) {
	tn := newTown(t, nil)
	var log bytes.Buffer
	r := tn.replica("one", func(_ *server.Config, o *server.Options) {
		o.Log, o.Alert = slog.New(slog.NewTextHandler(&log, nil)), nil
	})
	tn.must(tn.sync(r))
	g := grants.Grant{
		ID: "20261124-0000000001", Resource: "postgres-prod", Requester: person("eve"), Duration: 4 * time.Hour,
		Reason: "a good reason", RequestedAt: demo.Start, Via: grants.ViaGit,
	}
	tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
	_, err := tn.push(github.Push{Login: "eve", Branch: "main", Files: map[string]string{g.Path(): string(g.Encode())}, Message: "mine"})
	tn.must(err)
	tn.settle(r)
	if said := log.String(); !strings.Contains(said, "msg=alert") || !strings.Contains(said, "nobody but tac merges grants") {
		t.Errorf("the log has no alert about a grant that was pushed to main:\n%s", said)
	}
}

// TestWhoLeavesLosesWhatTheyHoldAtTheNextSweep: no answer about members that
// is a moment old keeps it, and a sweep comes every minute.
func TestWhoLeavesLosesWhatTheyHoldAtTheNextSweep(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(tn *town){
		"the organisation": func(tn *town) { tn.must(tn.GitHub.RemoveMember("acme", "alice")) },
		"the people": func(tn *town) {
			people := tn.mainFile("policies/people.yaml")
			at := strings.Index(people, "    - {github: alice")
			end := at + strings.Index(people[at:], "\n") + 1
			tn.byHand(map[string]string{"policies/people.yaml": people[:at] + people[end:], "policies/roles.yaml": strings.ReplaceAll(tn.mainFile("policies/roles.yaml"), "alice, ", "")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, nil)
			r := tn.replica("one")
			id := tn.active(r, "alice", 2*time.Hour)
			tn.must(tn.sync(r))
			tn.Clock.Advance(10 * time.Second)
			leave(tn)
			tn.Clock.Advance(10 * time.Second)
			_ = tn.sync(r)
			if users := tn.Postgres.Users(); len(users) > 0 {
				t.Errorf("%s is %s, and %v live", id, tn.see(r, id).Phase, users)
			}
		})
	}
}
