package policies

import (
	"testing"
	"time"
)

// Whoever asks many questions, as what-if does over the grants of a quarter,
// must not leave garbage for each.
func TestADecisionAllocatesNothing(t *testing.T) {
	s := acme(t, doc("rail.yaml", "kind: Guardrail\nmetadata: {name: all}\nspec: {resources: ['*'], auto_approve_max_duration: 2h, required_approvers: 1, never_approvers: [on-call]}\n"))
	f := facts(at(t, "2026-11-24 10:00:00"))
	f.Uses = Uses{ReadAt: f.At}
	j := s.Judge()
	for _, req := range []Request{
		ask(alice, 4*hour), ask(carol, hour).withTicket("INC-1"), ask(carol, 3*hour), ask(ivan, hour), ask(mallory, hour),
		{Requester: alice, Resource: "nowhere", Duration: hour}, {Requester: alice, Resource: "postgres-prod", Duration: time.Nanosecond},
	} {
		want := s.Evaluate(req, f)
		if n := testing.AllocsPerRun(100, func() { j.Decide(&req, &f) }); n != 0 {
			t.Errorf("%s for %s: %v allocations", req.Requester, req.Resource, n)
		}
		a := j.Decide(&req, &f)
		if a.Outcome != want.Outcome || a.Rule != want.Rule || len(a.Holds) != len(want.Reasons) {
			t.Errorf("%s by %s with %d reasons, and in full %s by %s with %d", a.Outcome, a.Rule, len(a.Holds), want.Outcome, want.Rule, len(want.Reasons))
		}
		for i, r := range want.Reasons {
			if a.Holds[i] != r.Holds {
				t.Errorf("reason %d is %s, and in full %+v", i, a.Holds[i], r)
			}
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	s := acme(b)
	berlin, _ := time.LoadLocation("Europe/Berlin")
	f := facts(time.Date(2026, 11, 24, 10, 0, 0, 0, berlin))
	req := ask(carol, hour).withTicket("INC-1")
	j := s.Judge()
	b.ReportAllocs()
	for b.Loop() {
		j.Decide(&req, &f)
	}
}
