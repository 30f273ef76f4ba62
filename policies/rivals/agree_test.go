package rivals

import "testing"

// engine answers the questions of the world by their number.
type engine struct {
	name    string
	does    string // how much of the work; see the package's comment
	against promise
	allows  func(i int) bool
}

// promise is which one of ours an engine is measured against.
type promise int

const (
	none      promise = iota // reported only
	wholeOPA                 // OPA, told what tac is told
	cedarGo                  // cedar-go, shown the one policy
	languages                // CEL and expr, with all reasons
)

// engines returns tac first.
func engines(tb testing.TB, w *world) []engine {
	all := newTac(tb, w)
	all = append(all, newOPA(tb, w)...)
	all = append(all, newChosenOPA(tb, w))
	all = append(all, newCedar(tb, w)...)
	all = append(all, newCEL(tb, w)...)
	return append(all, newExpr(tb, w)...)
}

func TestAllEnginesAgreeOnEveryRequest(t *testing.T) {
	w := newWorld(t)
	all := engines(t, w)
	allowed := 0
	for i := range w.questions {
		q := &w.questions[i]
		want := w.allows(q)
		if want {
			allowed++
		}
		for _, e := range all {
			if got := e.allows(i); got != want {
				t.Errorf("%s says %t, want %t: %s for %ds, ticket %q, at %s, by %s %v; %+v", e.name, got, want, q.resource, q.seconds, q.ticket, q.at, q.login, q.roles, w.policies[q.policy])
			}
		}
	}
	t.Logf("%d engines agree on %d requests: %d allow", len(all), len(w.questions), allowed)
	if allowed < manyQuestions/4 || allowed > manyQuestions*3/4 {
		t.Errorf("%d of %d requests are allowed, which proves little", allowed, manyQuestions)
	}
}
