package bot_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// rationed lets whoever is on call have one grant of postgres-prod at a time
// without review, and everybody two a day.
const rationed = `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve:
    conditions:
      - role: [on-call]
        at_most: {live_per_person: 1, daily_per_resource: 2}
  approval: {approver_roles: [team-lead, security]}
`

func rationedTown(t *testing.T) (*town, *demo.Replica) {
	t.Helper()
	tn := newTown(t, map[string]string{"policies/production-database.yaml": rationed})
	r := tn.replica("one")
	tn.must(tn.sync(r))
	return tn, r
}

func (tn *town) observed(r *demo.Replica, id grants.ID, condition string) string {
	tn.t.Helper()
	e, err := r.Bot.Explain(tn.t.Context(), person("eve"), id)
	tn.must(err)
	for _, reason := range e.Decision.Reasons {
		if reason.Condition == condition {
			return reason.Holds.String() + ": " + reason.Observed
		}
	}
	return "not looked at"
}

func TestWhatWasGivenWithoutReviewCountsUntilItEnds(t *testing.T) {
	tn, r := rationedTown(t)
	first := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, first, grants.PhaseApproved)
	line := trailerOf(tn.mergeOf(first).Message, "Tac-Facts")
	facts, err := policies.ParseFacts(line)
	if err != nil || len(facts.Uses.Grants) != 0 || facts.Uses.ReadAt.IsZero() {
		t.Errorf("the merge names the facts %s, %v", line, err)
	}

	second := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, second, grants.PhaseRequested)
	if got := tn.observed(r, second, "at_most.live_per_person"); got != "no: 1 live of alice" {
		t.Errorf("the second request: %s", got)
	}

	// Given back, it counts no longer, and the request that waited goes through.
	_, err = r.Bot.Drop(t.Context(), person("alice"), first)
	tn.must(err)
	tn.settle(r)
	tn.phase(r, second, grants.PhaseApproved)
	facts, err = policies.ParseFacts(trailerOf(tn.mergeOf(second).Message, "Tac-Facts"))
	if err != nil || len(facts.Uses.Grants) != 1 || facts.Uses.Grants[0].Grant != first || facts.Uses.Grants[0].Until.After(facts.At) {
		t.Errorf("the second merge names %+v, %v", facts.Uses, err)
	}

	// Two were given today: ended or not, the third waits for people.
	_, err = r.Bot.Drop(t.Context(), person("alice"), second)
	tn.must(err)
	tn.settle(r)
	third := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, third, grants.PhaseRequested)
	if got := tn.observed(r, third, "at_most.daily_per_resource"); got != "no: 2 in the last 24h on postgres-prod" {
		t.Errorf("the third request: %s", got)
	}
}

// Two requests may be judged at the same moment, each when nothing was given
// yet. The gate counts in the order of the merges: the second is not issued.
func TestOfTwoMergedAtOnceTheGateLetsOneThrough(t *testing.T) {
	tn, r := rationedTown(t)
	first := tn.ask(r, "alice", "postgres-prod", time.Hour)
	var second grants.ID
	tn.beforeTheMerge(func() {
		other := tn.replica("two")
		second = tn.ask(other, "alice", "postgres-prod", time.Hour)
		for range 3 {
			_, _ = other.Bot.Reconcile(t.Context(), second)
		}
	})
	for range 4 {
		_ = tn.sync(r)
		tn.Clock.Advance(time.Minute)
	}
	if second == "" || !tn.merged(first) || !tn.merged(second) {
		t.Fatalf("%q and %q were not both merged", first, second)
	}
	tn.phase(r, second, grants.PhaseApproved) // it was merged first
	tn.refused(r, first, "alice")
}

// Reviewed grants are nobody's auto-approval.
func TestWhatPeopleApprovedDoesNotCount(t *testing.T) {
	tn, r := rationedTown(t)
	id, pull := tn.waiting(r) // bob, who is not on call
	tn.review(pull, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	next := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, next, grants.PhaseApproved)
	if facts, err := policies.ParseFacts(trailerOf(tn.mergeOf(next).Message, "Tac-Facts")); err != nil || len(facts.Uses.Grants) != 0 {
		t.Errorf("counted: %+v, %v", facts.Uses, errors.Join(err))
	}
}

func trailerOf(message, name string) string {
	for line := range strings.SplitSeq(message, "\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value
		}
	}
	return ""
}
