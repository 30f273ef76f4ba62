package bot_test

import (
	"crypto/rand"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/pager"
	"github.com/tigeraccess/tac/grants"
)

func silence(pd *pager.PagerDuty) {
	pd.Order(sandbox.Fault{Path: "/oncalls", When: sandbox.Answer, Status: http.StatusServiceUnavailable, Times: -1})
}

// Whoever ends access waits for no source of facts, not even between the
// merge and the gate, where everything else does.
func TestWhatAPagerKeepsFromBeingJudgedCanStillBeEnded(t *testing.T) {
	for name, end := range map[string]func(tn *town, b *bot.Bot, id grants.ID) error{
		"dropped": func(tn *town, b *bot.Bot, id grants.ID) error {
			_, err := b.Drop(tn.t.Context(), person("bob"), id)
			return err
		},
		"revoked": func(tn *town, b *bot.Bot, id grants.ID) error {
			_, err := b.Revoke(tn.t.Context(), person("eve"), id, "stop this")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			tn, pd, r := pagedTown(t)
			id := tn.ask(r, "bob", "postgres-prod", time.Hour)
			tn.beforeTheMerge(func() { silence(pd) })
			for range 3 {
				_ = tn.sync(r)
				tn.Clock.Advance(time.Minute)
			}
			if !tn.merged(id) {
				t.Fatal("nothing was merged")
			}
			tn.must(end(tn, r.Bot, id))
			pd.ClearFaults()
			tn.settle(r)
			if v := tn.see(r, id); v.Outcome != grants.OutcomeRefused || tn.onMain(id) {
				t.Errorf("it is %s, %s", v.Phase, v.Outcome)
			}
			tn.unclaimable(r, id, "bob")
		})
	}
}

// Giving needs facts of now; taking away may rest on what was known last.
func TestAnOwnerOnDutyMayRevokeWhileThePagerIsSilent(t *testing.T) {
	roles := `kind: Role
metadata: {name: payments}
spec: {pagerduty: {schedule: PABC123}}
---
kind: Role
metadata: {name: on-call}
spec: {members: [alice]}
---
kind: Role
metadata: {name: team-lead}
spec: {members: [dana]}
---
kind: Role
metadata: {name: security}
spec: {members: [eve]}
---
kind: Role
metadata: {name: platform}
spec: {members: [eve]}
---
kind: Role
metadata: {name: developer}
spec: {members: [carol]}
---
kind: Role
metadata: {name: dba-team}
spec: {members: [carol]}
`
	tn, pd, r := pagedTown(t, map[string]string{"policies/production-database.yaml": rationed, "policies/roles.yaml": roles})
	id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseApproved)
	if _, err := r.Bot.Show(t.Context(), person("bob"), id); err != nil {
		t.Fatalf("bob is on duty and does not see it: %v", err)
	}
	silence(pd)
	for range 3 { // silence does not wear out what is remembered
		tn.Clock.Advance(2 * time.Minute)
		_, _ = r.Bot.Show(t.Context(), person("bob"), id)
	}
	if _, err := r.Bot.Revoke(t.Context(), person("carol"), id, "stop this"); err == nil {
		t.Error("somebody else revoked it")
	}
	if _, err := r.Bot.Revoke(t.Context(), person("bob"), id, "stop this"); err != nil {
		t.Errorf("revoke: %v", err)
	}
}

// What was used up when it was approved is not free at the claim because
// nobody looked (threats.md B7).
func TestB7_WhoLeavesApprovesNoMoreWhereALimitWasUsedUp(t *testing.T) {
	tn, r := rationedTown(t)
	first := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, first, grants.PhaseApproved)
	second := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.review(tn.phase(r, second, grants.PhaseRequested).PullRequest, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, second, grants.PhaseApproved)
	tn.must(tn.GitHub.RemoveMember("acme", "dana"))
	if _, _, err := r.Bot.Claim(t.Context(), person("alice"), second, bot.ClaimAsk{Key: "a claim key of one's own"}); err == nil {
		t.Error("it was issued though who approved it has left")
	}
}

// Whoever was on duty when they approved need not be so for ever.
func TestAnApproverWhoseShiftIsOverHasStillApproved(t *testing.T) {
	policy := `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  approval: {approver_roles: [pager]}
---
` + paged[strings.Index(paged, "kind: Role"):]
	tn, _, r := pagedTown(t, map[string]string{"policies/production-database.yaml": policy})
	a, err := r.Bot.Request(t.Context(), bot.Ask{
		Requester: person("carol"), Resource: "postgres-prod", Duration: time.Hour, Start: tn.Clock.Now().Add(3 * time.Hour),
		Reason: "a good reason", Via: grants.ViaCLI, Key: rand.Text(),
	})
	tn.must(err)
	tn.must(tn.sync(r))
	tn.review(tn.phase(r, a.ID, grants.PhaseRequested).PullRequest, "bob", "APPROVE")
	tn.settle(r)
	tn.phase(r, a.ID, grants.PhaseScheduled)
	tn.Clock.Advance(3 * time.Hour) // alice is on duty now
	tn.settle(r)
	if _, _, err = r.Bot.Claim(t.Context(), person("carol"), a.ID, bot.ClaimAsk{Key: "a claim key of one's own"}); err != nil {
		t.Errorf("claim: %v", err)
	}
}
