package bot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// GitHub's limits cannot be bought (500 pieces of content an hour), so what
// one grant costs is a promise.
func TestAnAutoApprovedLifeCostsFiveCallsOfGitHub(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	_, err := r.Bot.Forge.Bot(t.Context()) // asked once in the life of a process
	tn.must(err)
	tn.GitHub.ResetCalls()

	id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	_, err = r.Bot.Reconcile(t.Context(), id)
	tn.must(err)
	tn.phase(r, id, grants.PhaseApproved)
	_, _, err = r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.must(err)
	before := tn.GitHub.Counts()
	tn.Clock.Advance(2 * time.Hour)
	_, err = r.Bot.Reconcile(t.Context(), id)
	tn.must(err)
	tn.must(r.Bot.Flush(t.Context()))
	tn.phase(r, id, grants.PhaseClosed)

	n := tn.GitHub.Counts()
	t.Logf("one auto-approved life: %d REST calls, %d installation tokens, %d lists of teams and members, %d git requests", n.REST, n.Tokens, n.Teams, n.Git)
	if n.REST > 5 {
		for _, c := range tn.GitHub.RESTCalls() {
			t.Log(c)
		}
		t.Errorf("%d REST calls, want at most 5", n.REST)
	}
	if n.REST != before.REST {
		t.Errorf("the end cost %d REST calls, want none: removals are one push", n.REST-before.REST)
	}
}

func TestAllRemovalsTogetherAreOneCommitAndNoCall(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one", limited(bot.Limits{OpenPerPerson: 7}))
	tn.must(tn.sync(r))
	var ids []grants.ID
	for range 7 {
		ids = append(ids, tn.ask(r, "alice", "postgres-prod", time.Hour))
	}
	tn.must(tn.sync(r))
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	tn.GitHub.ResetCalls()
	tn.Clock.Advance(time.Hour)
	for _, id := range ids {
		_, err := r.Bot.Reconcile(t.Context(), id)
		tn.must(err)
	}
	tn.must(r.Bot.Flush(t.Context()))
	after, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	if len(after) != len(commits)+1 {
		t.Errorf("%d commits, want 1", len(after)-len(commits))
	}
	for _, id := range ids {
		tn.phase(r, id, grants.PhaseClosed)
		if !strings.Contains(after[0].Message, "Tac-Grant: "+string(id)+"\nTac-Ended: expired\n") {
			t.Errorf("the commit does not tell of %s", id)
		}
	}
	if n := tn.GitHub.Counts(); n.REST != 0 {
		t.Errorf("%d REST calls, want 0", n.REST)
	}
}
