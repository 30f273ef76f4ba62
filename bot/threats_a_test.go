package bot_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// These are the attacks of threats.md, section A: what happens to a pull
// request between the moment it is judged and the moment it counts. The first
// page holds what the tests of A and B share.

// hand is a grant that somebody wrote with git, on a branch of their own.
type hand struct {
	grants.Grant
	branch string
	head   string
	pull   int
}

// newHand is a grant as login would write it, for the production database.
func (tn *town) newHand(login string, d time.Duration) grants.Grant {
	const letters = "0123456789abcdefghjkmnpqrstvwxyz"
	key := make([]byte, 10)
	for i := range key {
		key[i] = letters[rand.IntN(len(letters))]
	}
	now := tn.Clock.Now()
	return grants.Grant{
		ID: grants.ID(now.Format("20060102") + "-" + string(key)), Resource: "postgres-prod", Requester: person(login),
		Duration: d, Reason: "a good reason", RequestedAt: now.Truncate(time.Second), Via: grants.ViaGit,
	}
}

// writes has login push the grant and open a pull request with it.
func (tn *town) writes(login string, g grants.Grant) hand {
	tn.t.Helper()
	h := hand{Grant: g, branch: "for-" + string(g.ID)}
	var err error
	h.head, err = tn.push(github.Push{Login: login, Branch: h.branch, Files: map[string]string{g.Path(): string(g.Encode())}, Message: "please"})
	tn.must(err)
	h.pull, err = tn.GitHub.OpenPull(demo.Repository, login, h.branch, "main", "please", "")
	tn.must(err)
	return h
}

// review submits a review of what is the pull request's head now.
func (tn *town) review(pull int, login, event string) int64 {
	tn.t.Helper()
	id, err := tn.GitHub.Review(demo.Repository, pull, login, event, "")
	tn.must(err)
	return id
}

// waiting makes a request of bob's that dana or eve must approve.
func (tn *town) waiting(r *demo.Replica) (id grants.ID, pull int) {
	tn.t.Helper()
	tn.must(tn.sync(r))
	id = tn.ask(r, "bob", "postgres-prod", 2*time.Hour)
	tn.must(tn.sync(r))
	return id, tn.phase(r, id, grants.PhaseRequested).PullRequest
}

// merged reports whether the grant's file ever came to main.
func (tn *town) merged(id grants.ID) bool {
	tn.t.Helper()
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	for i, c := range commits[:len(commits)-1] {
		before, err := tn.GitHub.Files(demo.Repository, commits[i+1].SHA)
		tn.must(err)
		after, err := tn.GitHub.Files(demo.Repository, c.SHA)
		tn.must(err)
		for path := range after {
			if _, had := before[path]; !had && strings.HasSuffix(path, "/"+string(id)+".yaml") {
				return true
			}
		}
	}
	return false
}

// unclaimable fails the test unless login gets nothing for the grant.
func (tn *town) unclaimable(r *demo.Replica, id grants.ID, login string) {
	tn.t.Helper()
	if c, _, err := r.Bot.Claim(tn.t.Context(), person(login), id, bot.ClaimAsk{Key: "a claim key of one's own"}); err == nil {
		tn.t.Errorf("%s was given %+v", login, c)
	}
	tn.nothingIssued()
}

// unmerged fails the test unless the grant, once all has settled, never came
// to main and gives nothing.
func (tn *town) unmerged(r *demo.Replica, id grants.ID, login string) {
	tn.t.Helper()
	tn.settle(r)
	if tn.merged(id) {
		tn.t.Error("it was merged")
	}
	tn.unclaimable(r, id, login)
}

// refused fails the test unless the gate said no and left nothing behind: no
// credential, no file, and a record that keeps the id from ever coming back.
func (tn *town) refused(r *demo.Replica, id grants.ID, login string) {
	tn.t.Helper()
	tn.settle(r)
	record, err := r.Bot.Vault.Record(tn.t.Context(), id)
	tn.must(err)
	if record == nil || record.State != grants.Revoked || record.Outcome != grants.OutcomeRefused {
		tn.t.Errorf("the record is no tombstone: %+v", record)
	}
	if tn.onMain(id) {
		tn.t.Error("the file is still on main")
	}
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	if !slices.ContainsFunc(commits, func(c github.Commit) bool {
		return strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\nTac-Ended: refused\n")
	}) {
		tn.t.Error("no commit says that it was refused")
	}
	tn.mu.Lock()
	alerts := len(tn.alerts)
	tn.mu.Unlock()
	if alerts == 0 {
		tn.t.Error("nobody was alerted")
	}
	tn.unclaimable(r, id, login)
}

// before orders do to be called right before the bot's next call of GitHub
// that method and path describe.
func (tn *town) before(method, path string, do func()) {
	tn.GitHub.Order(sandbox.Fault{Method: method, Path: path, When: sandbox.Pass, Do: func(*http.Request) { do() }})
}

// beforeTheMerge is the narrowest gap there is: all has been read and judged,
// and the call that merges is on its way.
func (tn *town) beforeTheMerge(do func()) { tn.before(http.MethodPut, "/merge", do) }

// asked counts the calls of GitHub whose path ends so.
func (tn *town) asked(method, ending string) (n int) {
	for _, c := range tn.GitHub.Calls() {
		if c.Method == method && strings.HasSuffix(c.Path, ending) {
			n++
		}
	}
	return n
}

// moment is a sweep in which something is merged, and what disturbs it.
type moment struct {
	files map[string]string // of the grants repository
	// stage brings a town to just before the sweep.
	stage func(tn *town) (r *demo.Replica, id grants.ID)
	// disturb happens right before one of the sweep's calls of GitHub.
	disturb func(tn *town, id grants.ID)
	// check looks at what came of it. tooLate: the disturbance came after
	// the call that merges.
	check func(tn *town, r *demo.Replica, id grants.ID, tooLate bool)
}

// atEveryCall plays the sweep once undisturbed to learn its calls, and then
// once for each of them with the disturbance right before it.
func atEveryCall(t *testing.T, m moment) {
	t.Helper()
	tn := newTown(t, m.files)
	r, _ := m.stage(tn)
	tn.GitHub.ResetCalls()
	tn.must(tn.sync(r))
	calls := tn.GitHub.Calls()
	merge := slices.IndexFunc(calls, func(c sandbox.Call) bool {
		return c.Method == http.MethodPut && strings.HasSuffix(c.Path, "/merge") && c.Status == http.StatusOK
	})
	if merge < 0 {
		t.Fatalf("undisturbed, nothing is merged: %v", calls)
	}
	for i, call := range calls {
		t.Run(fmt.Sprintf("before call %d", i), func(t *testing.T) {
			t.Parallel()
			t.Log(call)
			tn := newTown(t, m.files)
			r, id := m.stage(tn)
			tn.GitHub.Order(sandbox.Fault{Skip: i, When: sandbox.Pass, Do: func(*http.Request) { m.disturb(tn, id) }})
			_ = tn.sync(r) // what it reports is part of the disturbance
			m.check(tn, r, id, i > merge)
		})
	}
}

func TestA1_PushAfterApprovalMergesNothing(t *testing.T) {
	t.Parallel()
	var wrote sync.Map // by town: what bob wrote
	atEveryCall(t, moment{
		stage: func(tn *town) (*demo.Replica, grants.ID) {
			r := tn.replica("one")
			tn.must(tn.sync(r))
			h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
			tn.must(tn.sync(r))
			tn.phase(r, h.ID, grants.PhaseRequested)
			tn.review(h.pull, "dana", "APPROVE")
			wrote.Store(tn, h)
			return r, h.ID
		},
		disturb: func(tn *town, _ grants.ID) {
			v, _ := wrote.Load(tn)
			h := v.(hand)
			h.Duration = 8 * time.Hour
			_, err := tn.push(github.Push{Login: "bob", Branch: h.branch, Files: map[string]string{h.Path(): string(h.Encode())}, Message: "longer"})
			tn.must(err)
		},
		check: func(tn *town, r *demo.Replica, id grants.ID, tooLate bool) {
			if !tooLate {
				tn.unmerged(r, id, "bob")
				tn.phase(r, id, grants.PhaseRequested) // the new head waits for a review of its own
				return
			}
			tn.settle(r)
			tn.phase(r, id, grants.PhaseApproved)
			v, _ := wrote.Load(tn)
			h := v.(hand)
			files, err := tn.GitHub.Files(demo.Repository, "main")
			tn.must(err)
			if files[h.Path()] != string(h.Encode()) {
				tn.t.Errorf("what is on main is not what dana approved:\n%s", files[h.Path()])
			}
		},
	})
}

// The bot's own branches are kept from everybody by a rule of GitHub's. This
// is what protects where that rule is missing: the signature, and the head
// that is merged and no other.
func TestA1_PushToTheBotsBranchMergesNothing(t *testing.T) {
	t.Parallel()
	atEveryCall(t, moment{
		stage: func(tn *town) (*demo.Replica, grants.ID) {
			r := tn.replica("one")
			tn.must(tn.sync(r))
			tn.must(tn.GitHub.Unprotect(demo.Repository))
			return r, tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		},
		disturb: func(tn *town, id grants.ID) {
			g := tn.newHand("alice", 4*time.Hour) // alice could have had it, had she asked
			g.ID, g.Via, g.Attestation = id, grants.ViaCLI, "vault:v1:"+strings.Repeat("A", 86)+"=="
			_, err := tn.GitHub.Files(demo.Repository, g.Branch())
			// In the place of the bot's commit, where there is one already.
			_, err = tn.push(github.Push{Login: "bob", Branch: g.Branch(), Amend: err == nil, Message: "longer", Files: map[string]string{g.Path(): string(g.Encode())}})
			tn.must(err)
		},
		check: func(tn *town, r *demo.Replica, id grants.ID, tooLate bool) {
			if !tooLate {
				tn.unmerged(r, id, "alice")
				return
			}
			tn.settle(r)
			tn.phase(r, id, grants.PhaseApproved)
			files, err := tn.GitHub.Files(demo.Repository, "main")
			tn.must(err)
			if text := files[grants.Path("postgres-prod", id)]; !strings.Contains(text, "duration: 2h\n") {
				tn.t.Errorf("what is on main is not what alice asked for:\n%s", text)
			}
		},
	})
}

func TestA2_AnApprovalComesNotBackWithItsCommit(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
	tn.review(h.pull, "dana", "APPROVE")
	_, err := tn.push(github.Push{Login: "bob", Branch: h.branch, Message: "again", Files: map[string]string{}})
	tn.must(err)
	tn.must(tn.sync(r))
	denial := tn.review(h.pull, "dana", "REQUEST_CHANGES")
	tn.must(tn.GitHub.MoveBranch(demo.Repository, "bob", h.branch, h.head))
	tn.unmerged(r, h.ID, "bob")

	// Taking the denial away, as anybody may who can write, brings nothing back.
	tn.must(tn.GitHub.Dismiss(demo.Repository, h.pull, denial, "bob", "she means well"))
	tn.unmerged(r, h.ID, "bob")
	tn.review(h.pull, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, h.ID, grants.PhaseApproved)
}

func TestA3_TheSameFilesInAnotherCommitAreNotApproved(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
	tn.review(h.pull, "dana", "APPROVE")
	amended, err := tn.push(github.Push{Login: "bob", Branch: h.branch, Message: "please, please", Amend: true})
	tn.must(err)
	if amended == h.head {
		t.Fatal("the commit is the same")
	}
	tn.unmerged(r, h.ID, "bob")
	tn.phase(r, h.ID, grants.PhaseRequested)
}

// strictPolicy lets nobody in without a review.
const strictPolicy = `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  approval: {required_approvers: 1, approver_roles: [team-lead]}
`

// forbiddingPolicy lets nobody in but the DBA team.
const forbiddingPolicy = `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  request: {roles: [dba-team]}
  approval: {required_approvers: 1, approver_roles: [team-lead]}
`

func TestA4_PolicyThatChangesBeforeTheMergeCounts(t *testing.T) {
	t.Parallel()
	stage := func(tn *town) (*demo.Replica, grants.ID) {
		r := tn.replica("one")
		tn.must(tn.sync(r))
		return r, tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	}
	change := func(tn *town, policy string) {
		_, err := tn.GitHub.Seed(demo.Repository, "main", map[string]string{"policies/production-database.yaml": policy}, "eve", "stricter")
		tn.must(err)
	}
	atEveryCall(t, moment{
		stage:   stage,
		disturb: func(tn *town, _ grants.ID) { change(tn, strictPolicy) },
		check: func(tn *town, r *demo.Replica, id grants.ID, tooLate bool) {
			tn.settle(r)
			switch {
			case tooLate:
				tn.phase(r, id, grants.PhaseApproved) // by the policy that it was merged onto
			case tn.merged(id):
				tn.refused(r, id, "alice")
			default:
				tn.unclaimable(r, id, "alice")
			}
		},
	})
	for name, policy := range map[string]string{"asks for a review": strictPolicy, "denies": forbiddingPolicy} {
		t.Run("right before the merge it "+name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, nil)
			r, id := stage(tn)
			tn.beforeTheMerge(func() { change(tn, policy) })
			_ = tn.sync(r)
			if !tn.merged(id) {
				t.Fatal("nothing was merged")
			}
			tn.refused(r, id, "alice")
		})
	}
}

// TestA5_ConcurrentMergesAreEachConsentedOnce has a second replica do all it
// can right before each call that the first one makes.
func TestA5_ConcurrentMergesAreEachConsentedOnce(t *testing.T) {
	t.Parallel()
	stage := func(tn *town) (one, two *demo.Replica, ids []grants.ID) {
		one, two = tn.replica("one"), tn.replica("two")
		tn.must(tn.sync(one))
		tn.must(tn.sync(two))
		return one, two, []grants.ID{tn.ask(one, "alice", "postgres-prod", 2*time.Hour), tn.ask(two, "carol", "postgres-prod", 3*time.Hour)}
	}
	check := func(tn *town, ids []grants.ID, written map[string]int, replicas ...*demo.Replica) {
		for _, r := range replicas {
			tn.settle(r)
		}
		commits, err := tn.GitHub.Commits(demo.Repository, "main")
		tn.must(err)
		for _, id := range ids {
			n := 0
			for _, c := range commits {
				if strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\n") {
					n++
				}
			}
			if n != 1 || written[string(id)] != 1 {
				tn.t.Errorf("%s: merged %d times and consented %d times, want once each", id, n, written[string(id)])
			}
			views := map[string]bool{}
			for _, r := range replicas {
				v, err := json.Marshal(tn.phase(r, id, grants.PhaseApproved))
				tn.must(err)
				views[string(v)] = true
			}
			if len(views) != 1 {
				tn.t.Errorf("the replicas disagree about %s: %v", id, slices.Collect(maps.Keys(views)))
			}
		}
		tn.mu.Lock()
		defer tn.mu.Unlock()
		if len(tn.alerts) > 0 {
			tn.t.Errorf("somebody was woken for nothing: %q", tn.alerts)
		}
	}
	consents := func(tn *town) map[string]int {
		written := map[string]int{}
		count := tn.Steps
		tn.Steps = func(replica string, id grants.ID, step grants.Step, err error) {
			count(replica, id, step, err)
			tn.mu.Lock()
			defer tn.mu.Unlock()
			if step.Kind == grants.Consent && err == nil {
				written[string(id)]++
			}
		}
		return written
	}

	tn := newTown(t, nil)
	one, _, _ := stage(tn)
	tn.GitHub.ResetCalls()
	tn.Vault.ResetCalls()
	tn.must(tn.sync(one))
	// Of GitHub every call, of Vault those on which replicas meet: the
	// high-water mark and the records.
	for path, calls := range map[string][]sandbox.Call{"": tn.GitHub.Calls(), "/data/hwm": tn.Vault.Calls(), "/data/grants/": tn.Vault.Calls()} {
		calls = slices.DeleteFunc(calls, func(c sandbox.Call) bool { return !strings.Contains(c.Path, path) })
		for i := range calls {
			t.Run(fmt.Sprintf("call %d of %q", i, path), func(t *testing.T) {
				t.Parallel()
				tn := newTown(t, nil)
				written := consents(tn)
				one, two, ids := stage(tn)
				wire := &tn.Vault.Wire
				if path == "" {
					wire = &tn.GitHub.Wire
				}
				wire.Order(sandbox.Fault{Path: path, Skip: i, When: sandbox.Pass, Do: func(*http.Request) { _ = tn.sync(two) }})
				_ = tn.sync(one)
				check(tn, ids, written, one, two)
			})
		}
	}
	t.Run("side by side", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		written := consents(tn)
		one, two, ids := stage(tn)
		var both sync.WaitGroup
		for _, r := range []*demo.Replica{one, two} {
			both.Go(func() { _ = tn.sync(r) })
		}
		both.Wait()
		check(tn, ids, written, one, two)
	})
}

// TestA5_AnOlderLookAtMainDeniesNothing has one replica judge what another
// proposed on top of a merge that the first has not seen yet.
func TestA5_AnOlderLookAtMainDeniesNothing(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	one, two := tn.replica("one"), tn.replica("two")
	tn.must(tn.sync(one))
	tn.must(tn.sync(two))
	tn.Clock.Advance(time.Second)
	first := tn.ask(one, "alice", "postgres-prod", 2*time.Hour)
	_, err := one.Bot.Reconcile(t.Context(), first)
	tn.must(err)
	tn.phase(one, first, grants.PhaseApproved)
	second := tn.ask(one, "bob", "postgres-prod", 2*time.Hour)
	_, err = one.Bot.Reconcile(t.Context(), second)
	tn.must(err)
	for _, id := range []grants.ID{second, first} {
		_, err = two.Bot.Reconcile(t.Context(), id)
		tn.must(err)
	}
	tn.phase(two, first, grants.PhaseApproved)
	tn.phase(two, second, grants.PhaseRequested)
}
