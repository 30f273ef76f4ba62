package policies

import (
	"slices"
	"strings"
	"testing"
)

const expressing = `kind: AccessPolicy
metadata: {name: wiki}
spec:
  resource: wiki
  auto_approve: {conditions: [{expression: "EXPRESSION"}]}
  approval: {approver_roles: [security]}
`

// An expression may want a role not to be held; a doubt about one must not
// pass for that.
func TestAnExpressionAboutRolesIsInDoubtWhereOneIs(t *testing.T) {
	s := acme(t, doc("wiki.yaml", strings.ReplaceAll(expressing, "EXPRESSION", `!('developer' in requester.roles) && request.duration <= duration('1h')`)))
	req := ask(bob, hour)
	req.Resource = "wiki"
	f := facts(at(t, "2026-11-24 10:00:00"))
	if d := s.Evaluate(req, f); d.Outcome != Allow {
		t.Errorf("with all facts: %s: %s", d.Outcome, d.Nearest)
	}
	delete(f.Teams, developers)
	d := s.Evaluate(req, f)
	if d.Outcome != NeedsReview {
		t.Errorf("without the team: %s", d.Outcome)
	}
	if r := d.Reasons[len(d.Reasons)-2]; r.Holds != Unknown || r.Observed != "unknown: it is not known whether bob has developer" {
		t.Errorf("%+v", r)
	}
	if n := s.Needs("wiki"); !slices.Equal(n.Teams, []TeamRef{developers}) {
		t.Errorf("the expression asks for one role, and these teams are read: %v", n.Teams)
	}
	s = acme(t, doc("wiki.yaml", strings.ReplaceAll(expressing, "EXPRESSION", `requester.roles.exists(r, r == 'developer')`)))
	if n := s.Needs("wiki"); len(n.Teams) < 2 {
		t.Errorf("the expression may ask for any role, and these teams are read: %v", n.Teams)
	}
}

func TestAnExpressionThatCannotBeEvaluatedAllowsNothing(t *testing.T) {
	s := acme(t, doc("wiki.yaml", strings.ReplaceAll(expressing, "EXPRESSION", `100 / (request.duration.getHours() - 1) > 0`)))
	req := ask(bob, hour)
	req.Resource = "wiki"
	d := s.Evaluate(req, facts(at(t, "2026-11-24 10:00:00")))
	if r := d.Reasons[len(d.Reasons)-2]; d.Outcome != NeedsReview || r.Holds != Unknown {
		t.Errorf("%s: %+v", d.Outcome, r)
	}
}
