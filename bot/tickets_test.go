package bot_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/tracker"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// ticketed is postgres-prod for whoever a planned change is assigned to.
const ticketed = `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve:
    conditions:
      - max_duration: 2h
        ticket: {pattern: 'CHG-[0-9]+', tracker: jira, state: open, assignee: requester, change_window: true}
  approval: {approver_roles: [team-lead, security]}
`

var ticketedPeople = strings.Replace(pagedPeople, "pagerduty: PBOB", `jira: "557058:bob"`, 1)

func ticketedTown(t *testing.T) (*town, *tracker.Jira, *demo.Replica) {
	t.Helper()
	tn := newTown(t, map[string]string{"policies/production-database.yaml": ticketed, "policies/people.yaml": ticketedPeople})
	jira, err := tracker.NewJira(tn.Clock, tracker.Cloud)
	tn.must(err)
	t.Cleanup(func() { _ = jira.Close() })
	jira.AddField("customfield_10042", "Change start", "datetime")
	jira.AddField("customfield_10043", "Change end", "datetime")
	jira.PutIssue(change("indeterminate"))
	r := tn.replica("one", func(c *server.Config, _ *server.Options) {
		c.Sources.Jira = &server.Jira{
			Source: server.Source{URL: jira.URL(), Token: world.NewSecret(jira.Token())},
			Email:  tracker.JiraUser, ChangeStart: "customfield_10042", ChangeEnd: "customfield_10043",
		}
	})
	tn.must(tn.sync(r))
	return tn, jira, r
}

// change is bob's change, from the start of the story for an hour.
func change(category string) tracker.Issue {
	const form = "2006-01-02T15:04:05.000-0700"
	return tracker.Issue{
		Key: "CHG-7", Status: "Implementing", Category: category, Assignee: &tracker.Person{AccountID: "557058:bob"},
		Fields: map[string]any{"customfield_10042": demo.Start.Format(form), "customfield_10043": demo.Start.Add(time.Hour).Format(form)},
	}
}

func (tn *town) asksWithTicket(r *demo.Replica, login, ticket string, d time.Duration) (grants.ID, policies.Decision) {
	tn.t.Helper()
	a, err := r.Bot.Request(tn.t.Context(), bot.Ask{
		Requester: person(login), Resource: "postgres-prod", Duration: d, Reason: "a planned change", Ticket: ticket,
		Via: grants.ViaCLI, Key: login + ticket + d.String() + tn.Clock.Now().String(),
	})
	tn.must(err)
	return a.ID, a.Decision
}

func TestWhoeverAPlannedChangeIsAssignedToGetsAccessForItsWindow(t *testing.T) {
	tn, _, r := ticketedTown(t)
	id, d := tn.asksWithTicket(r, "bob", "CHG-7", 30*time.Minute)
	if d.Outcome != policies.Allow {
		t.Fatalf("%s: %s\n%+v", d.Outcome, d.Nearest, d.Reasons)
	}
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseApproved)
	facts, err := policies.ParseFacts(trailerOf(tn.mergeOf(id).Message, "Tac-Facts"))
	tn.must(err)
	if f := facts.Tickets[policies.TicketRef{Tracker: policies.Jira, Key: "CHG-7"}]; f.State != "Implementing" || f.Open != policies.Yes || !f.To.Equal(demo.Start.Add(time.Hour)) {
		t.Errorf("the merge says %+v", f)
	}
	for _, tt := range []struct {
		claim, login, ticket string
		d                    time.Duration
		nearest              string
	}{
		{"longer than the window", "bob", "CHG-7", 2 * time.Hour, "ask for 1h"},
		{"somebody else's change", "alice", "CHG-7", 30 * time.Minute, "name another ticket"},
		{"no such change", "bob", "CHG-8", 30 * time.Minute, "Jira has no ticket CHG-8"},
	} {
		if _, d := tn.asksWithTicket(r, tt.login, tt.ticket, tt.d); d.Outcome != policies.NeedsReview || !strings.Contains(d.Nearest, tt.nearest) {
			t.Errorf("%s: %s: %s", tt.claim, d.Outcome, d.Nearest)
		}
	}
}

// What was true when it was asked has to be true when it is merged.
func TestATicketThatIsClosedBeforeTheMergeHelpsNobody(t *testing.T) {
	tn, jira, r := ticketedTown(t)
	id, d := tn.asksWithTicket(r, "bob", "CHG-7", 30*time.Minute)
	if d.Outcome != policies.Allow {
		t.Fatalf("%s: %s", d.Outcome, d.Nearest)
	}
	tn.beforeTheMerge(func() { jira.PutIssue(change("done")) })
	for range 4 {
		_ = tn.sync(r)
		tn.Clock.Advance(time.Minute)
	}
	if v := tn.see(r, id); v.Phase == grants.PhaseApproved || v.Phase == grants.PhaseActive {
		t.Errorf("it is %s", v.Phase)
	}
	tn.unclaimable(r, id, "bob")
}

func TestATrackerThatIsSilentMeansReviewAndThePersonIsTold(t *testing.T) {
	tn, jira, r := ticketedTown(t)
	jira.Order(sandbox.Fault{Path: "/rest/api", When: sandbox.Answer, Status: http.StatusServiceUnavailable, Times: -1})
	id, d := tn.asksWithTicket(r, "bob", "CHG-7", 30*time.Minute)
	if d.Outcome != policies.NeedsReview || len(d.Silent) != 1 || !strings.Contains(d.Nearest, "Jira") {
		t.Errorf("%s: %q: %s", d.Outcome, d.Silent, d.Nearest)
	}
	tn.must(tn.sync(r))
	tn.phase(r, id, grants.PhaseRequested)
	jira.ClearFaults()
	tn.Clock.Advance(time.Minute)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}
