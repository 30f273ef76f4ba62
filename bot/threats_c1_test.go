package bot_test

import (
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// TestC1_OldPoliciesAreNotAsked has alice propose a grant, alone and by hand,
// from a branch that still has the policies of yesterday.
func TestC1_OldPoliciesAreNotAsked(t *testing.T) {
	tn, r := started(t)
	before := tn.tip()
	_, err := tn.GitHub.Seed(demo.Repository, "main", map[string]string{"policies/production-database.yaml": strictPolicy}, "eve", "stricter")
	tn.must(err)
	tn.must(tn.sync(r))
	g := tn.newHand("alice", 2*time.Hour)
	_, err = tn.push(github.Push{Login: "alice", Branch: "mine", From: before, Message: "please", Files: map[string]string{g.Path(): string(g.Encode())}})
	tn.must(err)
	tn.opens("alice", "mine")
	tn.unmerged(r, g.ID, "alice")
	tn.phase(r, g.ID, grants.PhaseRequested) // it waits for a team lead, as all do now
}

// TestC3_AGrantThatBecomesAnotherKindOfFileEnds leaves the bytes of a live
// grant as they are, and has git read them as something else.
func TestC3_AGrantThatBecomesAnotherKindOfFileEnds(t *testing.T) {
	for name, mode := range map[string]string{"a link": "120000", "an executable file": "100755"} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			id := tn.ask(r, "alice", "postgres-prod", time.Hour)
			tn.settle(r)
			tn.takes(r, id, "alice")
			path, content := tn.file(id)
			tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
			tn.clone("eve").commit("main", "", "quick", inline(mode, path, content))
			tn.settle(r)
			if v := tn.phase(r, id, grants.PhaseClosed); v.Outcome != grants.OutcomeRevoked || !tn.alerted("changed after the merge") {
				t.Errorf("%+v", v)
			}
			tn.mayNotClaim(r, id)
			tn.issuedAndDead(1)
		})
	}
}
