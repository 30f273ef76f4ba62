package bot_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// What a red team found, each turned into a claim.

// longerBut is the policy of longer with one thing changed.
func longerBut(from, to string) map[string]string {
	return map[string]string{"policies/production-database.yaml": strings.Replace(longer["policies/production-database.yaml"], from, to, 1)}
}

// TestAnExtensionWithItsOwnCredentialEndsWithWhatWasTakenAway: though its own time is not over: whoever revokes a grant means all of it.
func TestAnExtensionWithItsOwnCredentialEndsWithWhatWasTakenAway(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longerBut("  extensions: {max: 2, each: 1h}\n", ""))
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	tn.byHand(longer)
	tn.Clock.Advance(time.Minute)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.phase(r, more, grants.PhaseApproved)
	_, err := r.Bot.Revoke(t.Context(), person("eve"), id, "compromised laptop")
	tn.must(err)
	tn.settle(r)
	if _, _, err := r.Bot.Claim(t.Context(), person("alice"), more, bot.ClaimAsk{Key: "a claim key of one's own"}); err == nil {
		t.Errorf("the base was revoked, and the extension issues: %d users", len(tn.Postgres.Users()))
	}
}

// TestAnExtensionIsNotOverBeforeTheGrantThatItExtends: also where another one carries that further.
func TestAnExtensionIsNotOverBeforeTheGrantThatItExtends(t *testing.T) {
	t.Parallel()
	tn := newTown(t, map[string]string{"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve:
    conditions:
      - {role: [on-call, developer], max_duration: 8h}
  approval: {approver_roles: [team-lead, security]}
  max_duration: 8h
  extensions: {max: 3, each: 1h}
`})
	r := tn.replica("one")
	id := tn.active(r, "alice", time.Hour)
	tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.Clock.Advance(2*time.Hour + 10*time.Minute)
	tn.settle(r)
	_, err := r.Bot.Extend(t.Context(), person("alice"), id, bot.ExtendAsk{Duration: time.Hour, Via: grants.ViaCLI, Key: rand.Text()})
	if err != nil {
		t.Errorf("a third: %v", err)
	}
}

// TestRevokingTheFirstOfTwoExtensionsTakesItsTimeAway: and leaves that of the second.
func TestRevokingTheFirstOfTwoExtensionsTakesItsTimeAway(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longerBut("max_duration: 3h", "max_duration: 4h"))
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	a := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	_, err := r.Bot.Revoke(t.Context(), person("eve"), a, "enough")
	tn.must(err)
	tn.settle(r)
	got := tn.recorded(r, id)
	if got.EndsAt.Sub(got.StartsAt) > 3*time.Hour {
		t.Errorf("one of two hours was revoked, and the grant still lasts %s", got.EndsAt.Sub(got.StartsAt))
	}
}

// TestAnOldIssueIsNeverTakenForTheNewOne: though whoever can write can edit its body.
func TestAnOldIssueIsNeverTakenForTheNewOne(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	tn.settle(r)
	old := tn.issues()[0]
	tn.closes("dana", old.Number, "completed")
	tn.Clock.Advance(10 * time.Minute)
	tn.settle(r)
	if tn.recorded(r, id).Aftermath.By != "dana" {
		t.Fatal("not reviewed")
	}
	key := rand.Text()
	second := grants.NewIntentKey(person("bob"), "postgres-prod", key).ID(tn.Clock.Now().UTC())
	token, err := tn.GitHub.PAT("bob")
	tn.must(err)
	at := strings.LastIndex(old.Body, string(id))
	edited := map[string]string{"body": old.Body[:at] + string(second) + old.Body[at+len(id):]}
	if status := tn.request(token, http.MethodPatch, fmt.Sprintf("/issues/%d", old.Number), edited); status != http.StatusOK {
		t.Fatalf("bob cannot edit: %d", status)
	}
	a, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("bob"), Resource: "postgres-prod", Duration: time.Hour,
		Reason: "payments are down", Ticket: "INC-2", Via: grants.ViaCLI, Key: key, BreakGlass: true})
	tn.must(err)
	tn.settle(r)
	tn.Clock.Advance(10 * time.Minute)
	tn.settle(r)
	got := tn.recorded(r, a.ID)
	if got.Aftermath.By != "" || len(tn.issues()) != 2 {
		t.Errorf("%s: state %s, aftermath %+v, %d issues", a.ID, got.State, got.Aftermath, len(tn.issues()))
	}
}

// TestEscalationDoesNotBeginBeforeAnybodyWasAsked: as behind a draft that somebody opened by hand.
func TestEscalationDoesNotBeginBeforeAnybodyWasAsked(t *testing.T) {
	t.Parallel()
	tn := newTown(t, map[string]string{"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  approval: {approver_roles: [security], escalate: [{after: 15m, to: team-lead}]}
`})
	r := tn.replica("one")
	tn.must(tn.sync(r))
	h := tn.writes("bob", tn.newHand("bob", time.Hour))
	tn.must(tn.GitHub.SetDraft(demo.Repository, h.pull, "bob", true))
	tn.settle(r)
	tn.Clock.Advance(16 * time.Minute)
	tn.must(tn.GitHub.SetDraft(demo.Repository, h.pull, "bob", false))
	tn.review(h.pull, "dana", "APPROVE")
	tn.settle(r)
	if tn.merged(h.ID) {
		t.Error("merged by an escalation that began while nobody could answer")
	}
}

// TestAnUnreadableExtensionKeepsNothingAlive: what it extends ends as if it were not there.
func TestAnUnreadableExtensionKeepsNothingAlive(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.vaultAdmin("delete", "grants/"+string(more))
	path, _ := tn.file(id)
	tn.byHand(nil, path)
	for range 5 {
		_ = tn.sync(r)
		tn.Clock.Advance(time.Minute)
	}
	if n := len(tn.Postgres.Users()); n != 0 {
		t.Errorf("the file is gone for five minutes, and %d users live: %s", n, tn.recorded(r, id).State)
	}
}

// TestB7_WhoLeavesApprovesNoTimeThatWasAdded: at a claim in that time.
func TestB7_WhoLeavesApprovesNoTimeThatWasAdded(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longer)
	r := tn.replica("one")
	id := tn.active(r, "alice", 3*time.Hour)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	v := tn.phase(r, more, grants.PhaseRequested)
	tn.review(v.PullRequest, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, more, grants.PhaseActive)
	tn.Clock.Advance(3*time.Hour + 10*time.Minute)
	tn.settle(r)
	tn.must(tn.GitHub.RemoveMember("acme", "dana"))
	tn.settle(r)
	if _, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "another claim key of mine", Replace: true}); err == nil {
		t.Error("a new credential, on the consent of somebody who has left")
	}
}

// TestALimitOnWhatLivesKnowsOfExtensions: the grant counts until its new end.
func TestALimitOnWhatLivesKnowsOfExtensions(t *testing.T) {
	t.Parallel()
	tn := newTown(t, map[string]string{"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve:
    conditions:
      - {role: [on-call], at_most: {live_per_person: 2}}
  approval: {approver_roles: [team-lead, security]}
  extensions: {max: 2, each: 1h}
`})
	r := tn.replica("one")
	id := tn.active(r, "alice", 2*time.Hour)
	tn.Clock.Advance(time.Minute)
	more := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	tn.phase(r, more, grants.PhaseActive)
	tn.Clock.Advance(2*time.Hour + 5*time.Minute) // the first lives by its extension
	tn.settle(r)
	a, b := tn.ask(r, "alice", "postgres-prod", time.Hour), tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.settle(r)
	if tn.see(r, a).Phase != grants.PhaseRequested && tn.see(r, b).Phase != grants.PhaseRequested {
		t.Error("three live at once where two are the most without review")
	}
}

// TestAnOverdueLookIsHeardOf: also where the requester has closed the issue.
func TestAnOverdueLookIsHeardOf(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	r.Bot.AlarmChannels = []string{demo.AlarmChannel}
	tn.must(tn.sync(r))
	_, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	tn.settle(r)
	n := len(tn.Slack.Messages(demo.AlarmChannel))
	tn.closes("bob", tn.issues()[0].Number, "completed")
	for range 30 {
		tn.Clock.Advance(time.Hour)
		tn.settle(r)
	}
	if tn.issues()[0].State != "open" && len(tn.alerts) == 0 && len(tn.Slack.Messages(demo.AlarmChannel)) == n {
		t.Error("26 hours past the deadline: the issue is closed by its requester, and nobody was told")
	}
}

// TestAChannelThatNeverHearsIsHeardOf: and does not count as told in silence.
func TestAChannelThatNeverHearsIsHeardOf(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	r.Bot.AlarmChannels = []string{"C0NOSUCH"}
	tn.must(tn.sync(r))
	id, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	tn.settle(r)
	if tn.recorded(r, id).Aftermath.Alarmed && len(tn.alerts) == 0 {
		t.Error("no channel heard, it counts as sounded, and nobody is alerted")
	}
}

// TestConsentToALengthIsNoConsentToALongerOne: two extensions wait at once, and
// each says how long the whole would be; once one is merged, the other one's
// approval was of a shorter whole.
func TestConsentToALengthIsNoConsentToALongerOne(t *testing.T) {
	t.Parallel()
	tn := newTown(t, longerBut("max_duration: 3h", "max_duration: 1h"))
	r := tn.replica("one")
	id := tn.active(r, "alice", time.Hour)
	one := tn.asksForMore(r, "alice", id, time.Hour)
	two := tn.asksForMore(r, "alice", id, time.Hour)
	tn.settle(r)
	first, second := tn.phase(r, one, grants.PhaseRequested), tn.phase(r, two, grants.PhaseRequested)
	tn.review(first.PullRequest, "dana", "APPROVE")
	tn.review(second.PullRequest, "eve", "APPROVE")
	tn.settle(r)
	if got := tn.recorded(r, id); got.EndsAt.Sub(got.StartsAt) != 2*time.Hour {
		t.Fatalf("two hours were approved, twice, and it lasts %s", got.EndsAt.Sub(got.StartsAt))
	}
	waits := two
	if tn.see(r, two).Phase != grants.PhaseRequested {
		waits = one
	}
	tn.Clock.Advance(time.Minute)
	tn.review(tn.phase(r, waits, grants.PhaseRequested).PullRequest, "eve", "APPROVE") // of three hours
	tn.settle(r)
	if got := tn.recorded(r, id); got.EndsAt.Sub(got.StartsAt) != 3*time.Hour {
		t.Errorf("three hours were approved, and it lasts %s", got.EndsAt.Sub(got.StartsAt))
	}
}

// TestTheAlarmDoesNotWaitForTheIssue: GitHub's issues may be switched off.
func TestTheAlarmDoesNotWaitForTheIssue(t *testing.T) {
	t.Parallel()
	tn := newTown(t, glass)
	r := tn.replica("one")
	r.Bot.AlarmChannels = []string{demo.AlarmChannel}
	tn.must(tn.sync(r))
	tn.breakIssues(true)
	_, err := tn.breaks(r, "bob", "INC-1", time.Hour)
	tn.must(err)
	for range 3 {
		_ = tn.sync(r)
		tn.Clock.Advance(10 * time.Minute)
	}
	if n := len(tn.Slack.Messages(demo.AlarmChannel)); n != 1 {
		t.Errorf("%d messages", n)
	}
	if !tn.alerted("cannot be opened") {
		t.Error("nobody is woken for the issue")
	}
}

// TestASuggestionCountsWhileOthersAreStillAsked: later it would be about
// another commit, or be gone.
func TestASuggestionCountsWhileOthersAreStillAsked(t *testing.T) {
	t.Parallel()
	tn := newTown(t, two)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	tn.suggests("dana", id, pull, "APPROVE", "45m")
	tn.settle(r)
	if v := tn.phase(r, id, grants.PhaseRequested); v.Duration != "45m" || v.Asked != "2h" {
		t.Errorf("%s of %s", v.Duration, v.Asked)
	}
	tn.review(pull, "carol", "APPROVE")
	tn.settle(r)
	if v := tn.phase(r, id, grants.PhaseApproved); strings.Join(v.Approvers, " ") != "carol dana" && strings.Join(v.Approvers, " ") != "dana carol" {
		t.Errorf("approved by %v", v.Approvers)
	}
}
