package bot_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// TestA5_ALimitCountsInTheOrderOfTheMerges has two requests merged at the same
// time of which the policy lets one through without review. Whichever of three
// replicas gets to the gate first, and whichever of the two it looks at first,
// the one that landed second is refused.
func TestA5_ALimitCountsInTheOrderOfTheMerges(t *testing.T) {
	for _, judge := range []string{"one", "two", "three"} {
		for _, order := range [][]int{{0, 1}, {1, 0}} {
			t.Run(fmt.Sprintf("replica %s looks at number %d first", judge, order[0]+1), func(t *testing.T) {
				t.Parallel()
				tn := newTown(t, map[string]string{"policies/production-database.yaml": rationed})
				replicas := map[string]*demo.Replica{"one": tn.replica("one"), "two": tn.replica("two"), "three": tn.replica("three")}
				for _, r := range replicas {
					tn.must(tn.sync(r))
				}
				second := tn.ask(replicas["one"], "alice", "postgres-prod", time.Hour)
				var first grants.ID
				// Nobody gets to the gate: what GitHub says of pull requests is
				// cut off as soon as both are merged.
				gone := sandbox.Fault{Method: http.MethodGet, Path: "/pulls/", When: sandbox.Answer, Status: http.StatusBadGateway, Times: -1}
				tn.beforeTheMerge(func() {
					first = tn.ask(replicas["two"], "alice", "postgres-prod", time.Hour)
					tn.beforeTheMerge(func() { tn.GitHub.Order(gone) })
					for range 3 {
						_, _ = replicas["two"].Bot.Reconcile(t.Context(), first)
					}
				})
				_, _ = replicas["one"].Bot.Reconcile(t.Context(), second)
				if first == "" || !tn.merged(first) || !tn.merged(second) {
					t.Fatalf("%q and %q were not both merged", first, second)
				}
				tn.GitHub.ClearFaults()
				landed := []grants.ID{first, second}
				for _, i := range order {
					_, _ = replicas[judge].Bot.Reconcile(t.Context(), landed[i])
				}
				for _, r := range replicas {
					_ = tn.sync(r)
				}
				tn.phase(replicas[judge], first, grants.PhaseApproved)
				tn.refused(replicas[judge], second, "alice")
			})
		}
	}
}

// TestA6_ACopyOfTheBotsOwnMergeIsNotIt puts another commit in the place of the
// one that the bot made, before the bot has judged it: the same file under the
// bot's own words, on top of policies that the bot never saw.
func TestA6_ACopyOfTheBotsOwnMergeIsNotIt(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	tn.review(pull, "dana", "APPROVE")
	before := tn.tip()
	gone := sandbox.Fault{Method: http.MethodGet, Path: "/pulls/", When: sandbox.Answer, Status: http.StatusBadGateway, Times: -1}
	tn.beforeTheMerge(func() { tn.GitHub.Order(gone) })
	_ = tn.sync(r)
	merge := tn.mergeOf(id)
	path, content := tn.file(id)

	tn.must(tn.GitHub.Unprotect(demo.Repository))
	tn.must(tn.GitHub.MoveBranch(demo.Repository, "eve", "main", before))
	_, err := tn.push(github.Push{Login: "eve", Branch: "main", Message: "laxer", Files: map[string]string{
		"policies/production-database.yaml": strings.ReplaceAll(strictPolicy, "[team-lead]", "[team-lead, developer]"),
	}})
	tn.must(err)
	c := tn.clone("eve")
	c.commit("main", c.signature("eve", merge.When), merge.Message, inline("100644", path, content))
	if tn.tip() == merge.SHA || !tn.onMain(id) {
		t.Fatal("the copy is not on main")
	}
	tn.GitHub.ClearFaults()
	tn.refused(r, id, "bob")
}
