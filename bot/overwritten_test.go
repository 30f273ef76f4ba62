package bot_test

import (
	"fmt"
	"testing"
	"time"

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
