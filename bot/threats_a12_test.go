package bot_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// leads gives the production database approvers by way of a GitHub team, so
// that who may approve is itself something that is read.
var leads = map[string]string{"policies/leads.yaml": "kind: Role\nmetadata: {name: lead}\nspec: {github_teams: [acme/leads]}\n",
	"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  approval: {required_approvers: 1, approver_roles: [lead, security]}
`}

// newTownOfLeads has a team of leads: dana.
func newTownOfLeads(t *testing.T) *town {
	t.Helper()
	tn := newTown(t, leads)
	_, err := tn.GitHub.AddTeam("acme", "leads", 503, "dana")
	tn.must(err)
	return tn
}

// TestA12_WhatIsNotSeenYetOnlyDelays has GitHub answer from replicas that lag
// behind. An approval, a merge or a member that is not to be seen yet is no
// ground for a refusal, which would be for ever.
func TestA12_WhatIsNotSeenYetOnlyDelays(t *testing.T) {
	t.Parallel()
	for path, lag := range map[string]time.Duration{
		"reviews": 30 * time.Second, "pulls": 30 * time.Second, "teams/leads": 30 * time.Second,
		"members": 30 * time.Second, "check-runs": 30 * time.Second, "repos": time.Second, "": 30 * time.Second,
	} {
		t.Run(fmt.Sprintf("approved, lag of all %s by %s", path, lag), func(t *testing.T) {
			t.Parallel()
			tn := newTownOfLeads(t)
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			tn.GitHub.LagFor("/"+path, lag)
			tn.review(pull, "dana", "APPROVE")
			tn.catchesUp(r, id)
		})
		t.Run(fmt.Sprintf("merged, lag of all %s by %s", path, lag), func(t *testing.T) {
			t.Parallel()
			tn := newTownOfLeads(t)
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			tn.review(pull, "dana", "APPROVE")
			tn.beforeTheMerge(func() { tn.GitHub.LagFor("/"+path, lag) })
			tn.catchesUp(r, id)
		})
	}
	t.Run("merged, with the approval out of sight again", func(t *testing.T) {
		t.Parallel()
		tn := newTownOfLeads(t)
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		old := sandbox.Fault{Method: http.MethodGet, Path: "/reviews", When: sandbox.Answer, Status: http.StatusOK, Body: "[]"}
		tn.review(pull, "dana", "APPROVE")
		tn.beforeTheMerge(func() { tn.GitHub.Order(old) })
		tn.catchesUp(r, id)
	})
}

// catchesUp sweeps every few seconds until the grant is approved.
func (tn *town) catchesUp(r *demo.Replica, id grants.ID) {
	tn.t.Helper()
	for range 12 {
		_ = tn.sync(r)
		if tn.see(r, id).Phase == grants.PhaseApproved {
			break
		}
		tn.Clock.Advance(4 * time.Second)
	}
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	tn.mu.Lock()
	defer tn.mu.Unlock()
	if len(tn.alerts) > 0 {
		tn.t.Errorf("somebody was woken for nothing: %q", tn.alerts)
	}
}

// TestA12_AHiddenDenialIsFoundByAnyLaterRead has dana take her approval back
// out of sight of the first so many reads.
func TestA12_AHiddenDenialIsFoundByAnyLaterRead(t *testing.T) {
	t.Parallel()
	stage := func(t *testing.T, stale int) (*town, *demo.Replica, grants.ID) {
		tn := newTown(t, nil)
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		tn.review(pull, "dana", "APPROVE")
		if stale >= 0 {
			tn.GitHub.Lag("/reviews", stale)
			tn.review(pull, "dana", "REQUEST_CHANGES")
		}
		tn.GitHub.ResetCalls()
		return tn, r, id
	}
	tn, r, id := stage(t, -1)
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseApproved)
	reads := tn.asked(http.MethodGet, "/reviews")
	if reads < 4 {
		t.Errorf("the reviews are read %d times; want to decide, to show it, before the merge, and at the gate", reads)
	}
	for stale := range reads {
		t.Run(fmt.Sprintf("%d of %d reads are stale", stale, reads), func(t *testing.T) {
			t.Parallel()
			tn, r, id := stage(t, stale)
			_ = tn.sync(r)
			if stale == reads-1 {
				tn.refused(r, id, "bob") // found by the gate
				return
			}
			tn.unmerged(r, id, "bob")
		})
	}
}

func TestA12_AStaleHeadIsNotMerged(t *testing.T) {
	t.Parallel()
	for name, unprotect := range map[string]bool{"under the rules": false, "where the rules are missing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, nil)
			r := tn.replica("one")
			tn.must(tn.sync(r))
			if unprotect { // the head that is merged is the bot's own concern
				tn.must(tn.GitHub.Unprotect(demo.Repository))
			}
			h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
			tn.must(tn.sync(r))
			tn.review(h.pull, "dana", "APPROVE")
			tn.GitHub.LagFor("/", 30*time.Second)
			h.Duration = 8 * time.Hour
			_, err := tn.push(github.Push{Login: "bob", Branch: h.branch, Message: "longer", Files: map[string]string{h.Path(): string(h.Encode())}})
			tn.must(err)
			tn.unmerged(r, h.ID, "bob")
			tn.phase(r, h.ID, grants.PhaseRequested)
		})
	}
}
