package bot_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// TestAHeldRequestIsNotShownAsPassed: a green check is what the branch rule
// waits for, and anybody who may merge could press the button.
func TestAHeldRequestIsNotShownAsPassed(t *testing.T) {
	for name, before := range map[string]bool{"held from the start": true, "held when it had passed": false} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			id, pull := tn.waiting(r)
			refuse := errors.New("database/roles/x: a password outlives its grant")
			hold := func(string, grants.Target) error { return refuse }
			free := func(string, grants.Target) error { return nil }
			if before {
				r.Bot.Hold = hold
			}
			if was := tn.told(pull); was.conclusion != "" {
				t.Fatalf("it has passed already: %+v", was)
			}
			tn.before("PUT", "/merge", func() { t.Error("it was merged") })
			tn.review(pull, "dana", "APPROVE")
			if !before {
				r.Bot.Hold = passThenHold(hold)
			}
			for range 3 {
				tn.Clock.Advance(time.Minute)
				tn.must(tn.sync(r))
			}
			if got := tn.told(pull); got.conclusion != "" || got.title != "held: "+refuse.Error() {
				t.Errorf("while held it says %+v", got)
			}
			tn.GitHub.ClearFaults()
			r.Bot.Hold = free
			tn.Clock.Advance(time.Minute)
			tn.settle(r)
			tn.phase(r, id, grants.PhaseApproved)
			if got := tn.told(pull); got.conclusion != "success" {
				t.Errorf("when the hold is over it says %+v", got)
			}
		})
	}
}

// passThenHold lets the first question pass: the one whose answer is shown.
func passThenHold(hold func(string, grants.Target) error) func(string, grants.Target) error {
	asked := 0
	return func(resource string, target grants.Target) error {
		if asked++; asked == 1 {
			return nil
		}
		return hold(resource, target)
	}
}
