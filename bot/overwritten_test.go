package bot_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Two replicas write one check run, and the one with the older look may come
// last. GitHub then refuses to merge what both know to be allowed, and would
// for ever, for what is remembered says that the check run is right.
func TestACheckRunThatAnotherReplicaWroteOverIsWrittenAgain(t *testing.T) {
	tn, r := started(t)
	id, pull := tn.waiting(r)
	tn.beforeTheMerge(func() {
		var p struct{ Head struct{ SHA string } }
		tn.read(fmt.Sprintf("/pulls/%d", pull), &p)
		_, err := r.Bot.Forge.Check(t.Context(), 0, world.Check{Head: p.Head.SHA, Title: "an older look"})
		tn.must(err)
	})
	tn.review(pull, "dana", "APPROVE")
	for range 4 {
		tn.Clock.Advance(time.Minute)
		_ = tn.sync(r) // the first merge is refused, and says so
	}
	tn.phase(r, id, grants.PhaseApproved)
}

// Whatever else keeps GitHub from merging, a check run that says success is
// no part of it: written again at each attempt it would use up the limit on
// what an App may create.
func TestAMergeThatSomethingElseRefusesWritesNothingAgain(t *testing.T) {
	for name, refusal := range map[string]sandbox.Fault{
		"another rule": {Status: http.StatusMethodNotAllowed, Body: `{"message":"Repository rule violations found\n\nCommits must have verified signatures."}`},
		"a limit": {Status: http.StatusForbidden, Header: http.Header{"Retry-After": {"60"}},
			Body: `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			_, pull := tn.waiting(r)
			refusal.Method, refusal.Path, refusal.When, refusal.Times = http.MethodPut, "/merge", sandbox.Answer, -1
			tn.GitHub.Order(refusal)
			tn.review(pull, "dana", "APPROVE")
			_ = tn.sync(r) // the merge is refused, here and below
			if got := tn.told(pull); got.conclusion != "success" {
				t.Fatalf("the check run says %+v", got)
			}
			before := tn.checksWritten()
			for range 5 {
				tn.Clock.Advance(2 * time.Minute)
				_ = tn.sync(r)
			}
			if n := tn.checksWritten() - before; n != 0 {
				t.Errorf("the check run was written %d times more", n)
			}
			if tn.asked(http.MethodPut, "/merge") < 2 {
				t.Error("the merge was not tried again")
			}
		})
	}
}

func (tn *town) checksWritten() (n int) {
	for _, c := range tn.GitHub.Calls() {
		if c.Method != http.MethodGet && strings.Contains(c.Path, "/check-runs") {
			n++
		}
	}
	return n
}
