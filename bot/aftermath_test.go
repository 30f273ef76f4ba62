package bot_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// glass lets developers break it for an hour with a ticket; all else is for
// review.
var glass = map[string]string{"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  approval: {approver_roles: [team-lead, security]}
  break_glass: {roles: [developer], max_duration: 1h, review_within: 4h}
`}

// breaks has somebody break the glass of the production database.
func (tn *town) breaks(r *demo.Replica, login, ticket string, d time.Duration) (grants.ID, error) {
	tn.t.Helper()
	a, err := r.Bot.Request(tn.t.Context(), bot.Ask{
		Requester: person(login), Resource: "postgres-prod", Duration: d, Reason: "payments are down", Ticket: ticket,
		Via: grants.ViaCLI, Key: rand.Text(), BreakGlass: true,
	})
	return a.ID, err
}

// issue is what GitHub shows of an issue.
type issue struct {
	Number int
	Title  string
	Body   string
	State  string
}

// issues lists the issues of the grants repository that are no pull requests.
func (tn *town) issues() (all []issue) {
	tn.t.Helper()
	var found []struct {
		issue
		PullRequest any `json:"pull_request"`
	}
	tn.read("/issues?state=all&labels=tac-break-glass", &found)
	for _, i := range found {
		if i.PullRequest == nil {
			all = append(all, i.issue)
		}
	}
	return all
}

// closes has somebody close an issue anew, as completed or not.
func (tn *town) closes(login string, number int, reason string) {
	tn.t.Helper()
	token, err := tn.GitHub.PAT(login)
	tn.must(err)
	tn.request(token, http.MethodPatch, fmt.Sprintf("/issues/%d", number), map[string]string{"state": "open"})
	if status := tn.request(token, http.MethodPatch, fmt.Sprintf("/issues/%d", number), map[string]string{"state": "closed", "state_reason": reason}); status != http.StatusOK {
		tn.t.Fatalf("%s cannot close #%d: %d", login, number, status)
	}
}

func TestBrokenGlassGivesAccessAtOnceAndTellsEverybody(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	tn.must(tn.sync(r))
	v := tn.phase(r, id, grants.PhaseApproved)
	if v.Rule != "production-database/break_glass" || !v.BreakGlass || len(v.Approvers) != 0 {
		t.Errorf("%+v", v)
	}
	tn.takes(r, id, "bob")
	open := tn.issues()
	if len(open) != 1 || !strings.Contains(open[0].Body, string(id)) || !strings.Contains(open[0].Title, "bob, postgres-prod") {
		t.Fatalf("issues: %+v", open)
	}
	if !strings.Contains(tn.mergeOf(id).Message, "Tac-Rule: production-database/break_glass") {
		t.Errorf("the merge says %s", tn.mergeOf(id).Message)
	}
	tn.settle(r)
	if n := len(tn.issues()); n != 1 {
		t.Errorf("%d issues", n)
	}
}

func TestBrokenGlassHasItsOwnRolesCeilingAndTicket(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	for name, tc := range map[string]struct {
		login, ticket string
		d             time.Duration
	}{
		"no role":             {"dana", "INC-1", time.Hour},
		"no ticket":           {"bob", "", time.Hour},
		"a second too long":   {"bob", "INC-1", time.Hour + time.Second},
		"a stranger":          {"mallory", "INC-1", time.Hour},
		"longer than anybody": {"bob", "INC-1", 48 * time.Hour},
	} {
		if _, err := tn.breaks(r, tc.login, tc.ticket, tc.d); err == nil {
			t.Errorf("%s: it was allowed", name)
		}
	}
	tn.nothingIssued()
}

// TestWhoOwesALookBreaksNoOtherGlass: until somebody who may has closed the
// issue as completed. Others still may, and so may they what takes review.
func TestWhoOwesALookBreaksNoOtherGlass(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	tn.settle(r)
	again := func(login string) error {
		_, err := tn.breaks(r, login, "INC-2", 30*time.Minute)
		return err
	}
	due := tn.recorded(r, id).Aftermath.Due
	tn.Clock.Advance(due.Sub(tn.Clock.Now()) - time.Minute)
	tn.must(again("bob")) // a minute before it is due
	tn.Clock.Advance(time.Minute)
	tn.settle(r)
	tn.refusal(again("bob"), "overdue")
	tn.must(again("carol"))
	number := tn.issues()[0].Number
	for _, i := range tn.issues() {
		if strings.Contains(i.Body, string(id)) {
			number = i.Number
		}
	}
	for _, by := range []struct{ login, reason string }{{"bob", "completed"}, {"dana", "not_planned"}} {
		tn.closes(by.login, number, by.reason)
		tn.Clock.Advance(10 * time.Minute)
		tn.settle(r)
		tn.refusal(again("bob"), "overdue")
	}
	tn.closes("dana", number, "completed")
	tn.Clock.Advance(10 * time.Minute)
	tn.settle(r)
	if got := tn.recorded(r, id).Aftermath; got.By != "dana" {
		t.Errorf("looked at by %q", got.By)
	}
}

// TestGitHubsIssuesAreNoReasonToWaitForAccessNorForItsEnd: the issue comes when
// GitHub is back.
func TestGitHubsIssuesAreNoReasonToWaitForAccessNorForItsEnd(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	tn.breakIssues(true)
	_ = tn.sync(r)
	tn.takes(r, id, "bob")
	tn.Clock.Advance(time.Hour)
	for range 4 {
		_ = tn.sync(r)
		tn.Clock.Advance(time.Minute)
	}
	if len(tn.Postgres.Users()) != 0 {
		t.Error("the credential outlived the grant")
	}
	tn.breakIssues(false)
	tn.settle(r)
	if len(tn.issues()) != 1 {
		t.Errorf("issues: %+v", tn.issues())
	}
}

// breakIssues has GitHub fail whatever concerns issues, or mends it.
func (tn *town) breakIssues(broken bool) {
	tn.GitHub.ClearFaults()
	if broken {
		tn.GitHub.Order(sandbox.Fault{Path: "/issues", When: sandbox.Answer, Status: http.StatusBadGateway, Times: -1})
	}
}
