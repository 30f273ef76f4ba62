package bot_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/pager"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// paged is postgres-prod for whoever PagerDuty says is on call, at level 1.
const paged = `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve: {conditions: [{on_call: [pager]}]}
  approval: {approver_roles: [team-lead, security]}
---
kind: Role
metadata: {name: pager}
spec: {pagerduty: {schedule: PABC123, levels: [1]}}
`

const pagedPeople = `kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1001, slack: U01ALICE, pagerduty: PALICE}
    - {github: bob, id: 1002, slack: U02BOB, pagerduty: PBOB}
    - {github: carol, id: 1003, slack: U03CAROL}
    - {github: dana, id: 1004, slack: U04DANA}
    - {github: eve, id: 1005, slack: U05EVE}
`

// pagedTown has a PagerDuty on which bob is on call until he hands over to
// alice an hour after the start.
func pagedTown(t *testing.T, more ...map[string]string) (*town, *pager.PagerDuty, *demo.Replica) {
	t.Helper()
	files := map[string]string{"policies/production-database.yaml": paged, "policies/people.yaml": pagedPeople}
	for _, m := range more {
		maps.Copy(files, m)
	}
	tn := newTown(t, files)
	pd, err := pager.NewPagerDuty(tn.Clock)
	tn.must(err)
	t.Cleanup(func() { _ = pd.Close() })
	for _, id := range []string{"PALICE", "PBOB", "PEVE"} {
		pd.AddUser(id, id)
	}
	pd.AddSchedule("PABC123", "payments")
	pd.AddSchedule("PSECOND", "payments, second line")
	pd.AddEscalationPolicy("PESC", "payments", []string{"PABC123"}, []string{"PSECOND"})
	pd.AddShift("PABC123", "PBOB", time.Time{}, demo.Start.Add(time.Hour))
	pd.AddShift("PABC123", "PALICE", demo.Start.Add(time.Hour), time.Time{})
	r := tn.replica("one", func(c *server.Config, _ *server.Options) {
		c.Sources.PagerDuty = &server.Source{URL: pd.URL(), Token: world.NewSecret(pd.Token())}
	})
	tn.must(tn.sync(r))
	return tn, pd, r
}

func TestWhoeverThePagerSaysIsOnCallGetsAccessAndTheMergeSaysSo(t *testing.T) {
	tn, _, r := pagedTown(t)
	early := tn.ask(r, "alice", "postgres-prod", time.Hour)
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.phase(r, early, grants.PhaseRequested)
	tn.phase(r, id, grants.PhaseApproved)
	line := trailerOf(tn.mergeOf(id).Message, "Tac-Facts")
	facts, err := policies.ParseFacts(line)
	tn.must(err)
	duty := facts.Duty[policies.Schedule{Pager: policies.PagerDuty, ID: "PABC123"}]
	if len(duty.OnCall) != 1 || duty.OnCall[0] != (policies.OnCall{Account: "PBOB", Level: 1}) || duty.ReadAt.IsZero() || duty.Source == "" {
		t.Errorf("the merge says %s", line)
	}
	// A request that waits goes through once its turn has come.
	tn.Clock.Advance(time.Hour)
	tn.settle(r)
	tn.phase(r, early, grants.PhaseApproved)
}

func TestAPagerThatIsSilentMeansReviewAndThePersonIsTold(t *testing.T) {
	tn, pd, r := pagedTown(t)
	pd.Order(sandbox.Fault{Path: "/oncalls", When: sandbox.Answer, Status: http.StatusBadGateway, Times: -1})
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	v := tn.phase(r, id, grants.PhaseRequested)
	e, err := r.Bot.Explain(t.Context(), person("bob"), id)
	tn.must(err)
	if d := e.Decision; d.Outcome != policies.NeedsReview || len(d.Silent) != 1 || !strings.Contains(d.Silent[0], "PagerDuty") ||
		!strings.Contains(d.Nearest, "PagerDuty") || !strings.Contains(d.Nearest, "wait for one of") {
		t.Errorf("told %s\n%q\n%s", d.Outcome, d.Silent, d.Nearest)
	}
	if said := tn.told(v.PullRequest); !strings.Contains(said.title, "PagerDuty") {
		t.Errorf("the check run says %+v", said)
	}
	// People can answer instead.
	tn.review(v.PullRequest, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

// After the merge nobody is refused for an outage, and nobody is given
// anything either: the gate waits.
func TestThePagerFallsSilentBetweenMergeAndGate(t *testing.T) {
	tn, pd, r := pagedTown(t)
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.beforeTheMerge(func() {
		pd.Order(sandbox.Fault{Path: "/oncalls", When: sandbox.Answer, Status: http.StatusServiceUnavailable, Times: -1})
	})
	for range 5 {
		_ = tn.sync(r)
		tn.Clock.Advance(time.Minute)
	}
	if !tn.merged(id) || !tn.onMain(id) {
		t.Fatal("the grant is not on main")
	}
	tn.unclaimable(r, id, "bob")
	pd.ClearFaults()
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

// A pager that hangs costs each question its time; what ends access must not
// stand in line behind it.
func TestAPagerThatIsSilentIsNotAskedAgainAtOnce(t *testing.T) {
	tn, pd, r := pagedTown(t)
	pd.Order(sandbox.Fault{Path: "/oncalls", When: sandbox.Answer, Status: http.StatusBadGateway, Times: -1})
	for range 5 {
		tn.ask(r, "bob", "postgres-prod", time.Hour)
	}
	before := len(pd.Calls())
	tn.must(tn.sync(r))
	if n := len(pd.Calls()) - before; n > 2 {
		t.Errorf("five requests at one moment asked it %d times", n)
	}
	tn.Clock.Advance(time.Minute)
	pd.ClearFaults()
	tn.settle(r)
	if n := tn.grantFiles(); n != 5 {
		t.Errorf("%d of five were merged once it answered", n)
	}
}
