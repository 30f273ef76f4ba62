package bot_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// panel is who approves in these tests, by login. ada and ben work at night,
// the others when the sandbox starts.
var panel = map[string]int64{"ada": 4001, "ben": 4002, "cem": 4003, "dee": 4004, "eli": 4005, "fay": 4006, "gus": 4011, "hal": 4012, "ivy": 4021}

func slackOf(login string) string { return "U4" + strings.ToUpper(login) }

// panelled is a town in which every request waits for one of six approvers;
// after a quarter of an hour for one of two deputies as well, after an hour
// for the director too. Change replaces texts of its policy, in pairs.
func panelled(t *testing.T, change ...string) (*town, *demo.Replica) {
	t.Helper()
	t.Parallel()
	people := "kind: People\nmetadata: {name: panel}\nspec:\n  people:\n"
	for login, id := range panel {
		calendar := ""
		if login == "ada" || login == "ben" {
			calendar = ", calendar: night"
		}
		people += fmt.Sprintf("    - {github: %s, id: %d, slack: %s%s}\n", login, id, slackOf(login), calendar)
	}
	policy := `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  approval:
    required_approvers: 1
    approver_roles: [approver]
    escalate: [{after: 15m, to: deputy}, {after: 1h, to: director}]
  request_ttl: 4h
`
	tn := newTown(t, map[string]string{
		"policies/production-database.yaml": strings.NewReplacer(change...).Replace(policy),
		"policies/panel.yaml": people + `---
kind: Role
metadata: {name: approver}
spec: {members: [ada, ben, cem, dee, eli, fay]}
---
kind: Role
metadata: {name: deputy}
spec: {members: [cem, gus, hal]}
---
kind: Role
metadata: {name: director}
spec: {members: [ivy]}
---
kind: Calendar
metadata: {name: night}
spec: {timezone: Europe/Berlin, days: [mon, tue, wed, thu, fri], hours: "00:00-06:00"}
`,
	})
	for login, id := range panel {
		tn.GitHub.AddUser(login, id)
		tn.must(tn.GitHub.AddMember("acme", login))
		tn.must(tn.GitHub.Grant(demo.Repository, "write", login))
		tn.Slack.AddUser(slackOf(login), login, login+"@acme.test")
	}
	r := tn.replica("one")
	tn.must(tn.sync(r))
	return tn, r
}

// requested is whom GitHub asked for a review of the grant, in order.
func (tn *town) requested(r *demo.Replica, id grants.ID) string {
	tn.t.Helper()
	var p struct {
		Reviewers []struct{ Login string } `json:"requested_reviewers"`
	}
	tn.read(fmt.Sprintf("/pulls/%d", tn.see(r, id).PullRequest), &p)
	var logins []string
	for _, u := range p.Reviewers {
		logins = append(logins, u.Login)
	}
	slices.Sort(logins)
	return strings.Join(logins, " ")
}

// noted is whom the request says were asked.
func (tn *town) noted(r *demo.Replica, id grants.ID) string {
	tn.t.Helper()
	request, err := r.Bot.Vault.Request(tn.t.Context(), id.Key())
	tn.must(err)
	var logins []string
	for _, a := range request.Asked {
		for login, number := range panel {
			if number == a.ID {
				logins = append(logins, login)
			}
		}
	}
	return strings.Join(logins, " ")
}

// heard lists who of the panel was told something with these words about the
// grant, as often as they were.
func (tn *town) heard(id grants.ID, words string) string {
	tn.t.Helper()
	var logins []string
	for login := range panel {
		for _, m := range tn.Slack.DMs(slackOf(login)) {
			if said := tn.Slack.Render(m); strings.Contains(said, words) && strings.Contains(said, string(id)) {
				logins = append(logins, login)
			}
		}
	}
	slices.Sort(logins)
	return strings.Join(logins, " ")
}

func (tn *town) is(what, got, want string) {
	tn.t.Helper()
	if got != want {
		tn.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// body is the text of the grant's pull request.
func (tn *town) body(r *demo.Replica, id grants.ID) string {
	tn.t.Helper()
	var p struct{ Body string }
	tn.read(fmt.Sprintf("/pulls/%d", tn.see(r, id).PullRequest), &p)
	return unescaped(p.Body)
}

const asks, noNeed = "bob asks for postgres-prod", "No need to look any more: postgres-prod for bob"

// TestAFewAreAskedInTurn asks those at work first, then those who were asked
// longest ago, then by name; the body names everybody.
func TestAFewAreAskedInTurn(t *testing.T) {
	tn, r := panelled(t)
	for i, want := range []string{"cem dee eli", "fay cem dee", "eli cem dee"} {
		id := tn.ask(r, "bob", "postgres-prod", time.Hour)
		tn.must(tn.sync(r))
		tn.is(fmt.Sprintf("noted for request %d", i), tn.noted(r, id), want)
		sorted := strings.Fields(want)
		slices.Sort(sorted)
		tn.is(fmt.Sprintf("asked by GitHub for request %d", i), tn.requested(r, id), strings.Join(sorted, " "))
		tn.is(fmt.Sprintf("told in chat of request %d", i), tn.heard(id, asks), strings.Join(sorted, " "))
		for _, words := range []string{"(ada, ben, cem, dee, eli, fay)", "If nobody has by 2026-11-24", "whoever has the role deputy may approve"} {
			if body := tn.body(r, id); !strings.Contains(body, words) {
				t.Errorf("the body does not say %q:\n%s", words, body)
			}
		}
		tn.Clock.Advance(time.Minute)
	}
	tn.Clock.Advance(10 * time.Hour) // one in the night in Berlin
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.is("at night", tn.noted(r, id), "ada ben fay")
}

// TestAnUnreadableNoteIsNoReasonNotToAsk, nor is one that cannot be written.
func TestAnUnreadableNoteIsNoReasonNotToAsk(t *testing.T) {
	tn, r := panelled(t)
	tn.must(r.Bot.Vault.PutNote(t.Context(), "asked", &world.Note{Data: []byte(`{"4003": "yesterday"`)}))
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.is("asked", tn.noted(r, id), "cem dee eli")
	id = tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.Vault.Order(sandbox.Fault{Path: "/notes/", When: sandbox.Answer, Status: http.StatusInternalServerError, Times: -1})
	tn.must(tn.sync(r))
	tn.is("asked", tn.noted(r, id), "cem dee eli")
}

// TestSilenceAsksTheNext: as each step is reached, some of those it adds are
// asked, nobody twice, and the pull request says who may approve now.
func TestSilenceAsksTheNext(t *testing.T) {
	tn, r := panelled(t)
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	begun := tn.Clock.Now()
	wakes := func(after time.Duration) {
		t.Helper()
		again, err := r.Bot.Reconcile(t.Context(), id)
		tn.must(err)
		if !again.Equal(begun.Add(after)) {
			t.Errorf("it looks again at %s, want %s", again, begun.Add(after))
		}
	}
	wakes(15 * time.Minute)
	tn.is("at first", tn.noted(r, id), "cem dee eli")
	tn.Clock.Advance(15*time.Minute - time.Second)
	tn.must(tn.sync(r))
	tn.is("a second before the step", tn.noted(r, id), "cem dee eli")
	if tn.stepped(grants.Show) != 1 {
		t.Error("it was said again though nothing is new")
	}
	tn.Clock.Advance(time.Second)
	wakes(time.Hour)
	tn.is("at the step", tn.noted(r, id), "cem dee eli gus hal")
	tn.is("asked by GitHub", tn.requested(r, id), "cem dee eli gus hal")
	tn.is("told in chat", tn.heard(id, asks), "cem dee eli gus hal")
	a, body := tn.told(tn.see(r, id).PullRequest), tn.body(r, id)
	if !strings.Contains(a.title, "from approver, deputy") || !strings.Contains(body, "(ada, ben, cem, dee, eli, fay, gus, hal)") || strings.Contains(body, "the role deputy may") {
		t.Errorf("%s\n%s", a.title, body)
	}
	tn.Clock.Advance(45 * time.Minute)
	tn.must(tn.sync(r))
	tn.is("at the last step", tn.noted(r, id), "cem dee eli gus hal ivy")
	tn.review(tn.see(r, id).PullRequest, "gus", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	tn.is("told that it is over", tn.heard(id, "gus approved it."), "cem dee eli hal ivy")
}

// TestAnAnswerEndsTheEscalation: who has answered leaves nobody to be asked.
func TestAnAnswerEndsTheEscalation(t *testing.T) {
	tn, r := panelled(t)
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.review(tn.see(r, id).PullRequest, "dee", "REQUEST_CHANGES")
	tn.Clock.Advance(2 * time.Hour)
	tn.must(tn.sync(r))
	tn.is("asked", tn.noted(r, id), "cem dee eli")
	tn.is("told", tn.heard(id, "dee denied it."), "cem eli")
	// The denial is lifted by an approval, which is enough.
	tn.review(tn.see(r, id).PullRequest, "dee", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	tn.is("told once", tn.heard(id, noNeed), "cem eli")
}

// TestEveryNeedHasSomebodyWhoWasAsked: two policies on one resource, one of
// which nobody could serve who is asked for the other, and one that takes more
// people than are asked otherwise.
func TestEveryNeedHasSomebodyWhoWasAsked(t *testing.T) {
	tn, r := panelled(t, "required_approvers: 1", "required_approvers: 5", "  request_ttl: 4h\n", `---
kind: AccessPolicy
metadata: {name: the-director-too}
spec:
  resource: postgres-prod
  approval: {approver_roles: [director]}
`)
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.is("asked", tn.noted(r, id), "cem dee eli fay ada ivy")
	// An approval that is not enough asks nobody else, and is nobody's end.
	tn.review(tn.see(r, id).PullRequest, "cem", "APPROVE")
	tn.Clock.Advance(time.Minute)
	tn.must(tn.sync(r))
	tn.is("asked after the first approval", tn.noted(r, id), "cem dee eli fay ada ivy")
	tn.is("told that it is over", tn.heard(id, noNeed), "")
}

// TestWhoWasAskedHearsOnceThatItIsOver, however it ends and however late chat
// will hear of it, from whichever replica. Who answered needs not be told.
func TestWhoWasAskedHearsOnceThatItIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		end func(tn *town, r *demo.Replica, id grants.ID)
		why string
		who string
	}{
		"approved": {why: "cem approved it.", who: "dee eli", end: func(tn *town, r *demo.Replica, id grants.ID) {
			tn.review(tn.see(r, id).PullRequest, "cem", "APPROVE")
		}},
		"approved by somebody who was not asked": {why: "fay approved it.", who: "cem dee eli", end: func(tn *town, r *demo.Replica, id grants.ID) {
			tn.review(tn.see(r, id).PullRequest, "fay", "APPROVE")
		}},
		"denied": {why: "cem denied it.", who: "dee eli", end: func(tn *town, r *demo.Replica, id grants.ID) {
			tn.review(tn.see(r, id).PullRequest, "cem", "REQUEST_CHANGES")
		}},
		"taken back": {why: "bob took it back.", who: "cem dee eli", end: func(tn *town, r *demo.Replica, id grants.ID) {
			_, err := r.Bot.Drop(tn.t.Context(), person("bob"), id)
			tn.must(err)
		}},
		"closed on GitHub": {why: "Its pull request was closed.", who: "cem dee eli", end: func(tn *town, r *demo.Replica, id grants.ID) {
			tn.must(tn.GitHub.ClosePull(demo.Repository, tn.see(r, id).PullRequest, "bob"))
		}},
		"lapsed": {why: "Nobody answered in time, and it is closed.", who: "cem dee eli gus hal ivy", end: func(tn *town, r *demo.Replica, _ grants.ID) {
			for range 8 {
				tn.Clock.Advance(30 * time.Minute)
				tn.must(tn.sync(r))
			}
		}},
	} {
		for down, order := range map[string]func(tn *town){
			"":                    func(*town) {},
			", chat limited then": func(tn *town) { tn.Slack.Limit("conversations.open", -1, time.Second) },
			", chat away just then": func(tn *town) {
				tn.Slack.Order(sandbox.Fault{Path: "conversations.open", When: sandbox.Before, Times: -1})
			},
		} {
			t.Run(name+down, func(t *testing.T) {
				tn, r := panelled(t)
				id := tn.ask(r, "bob", "postgres-prod", time.Hour)
				tn.must(tn.sync(r))
				who := c.who
				order(tn)
				c.end(tn, r, id)
				for range 3 {
					_ = tn.sync(r)
				}
				if down != "" {
					tn.is("told while chat does not hear", tn.heard(id, noNeed), "")
					tn.Slack.ClearFaults()
					if name == "lapsed" { // who never heard of it needs not hear that it is over
						who = "cem dee eli"
					}
				}
				two := tn.replica("two") // one that Slack has not told to wait
				for range 3 {
					_, _ = tn.sync(two), tn.sync(r)
					tn.Clock.Advance(time.Minute)
				}
				tn.is("told", tn.heard(id, c.why), who)
				tn.is("told once", tn.heard(id, noNeed), who)
			})
		}
	}
}

// TestWhoApprovedOneOfTwoIsNotToldToLookNoMore, also once nobody reads the
// reviews any more.
func TestWhoApprovedOneOfTwoIsNotToldToLookNoMore(t *testing.T) {
	tn, r := panelled(t, "required_approvers: 1", "required_approvers: 2")
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	tn.review(tn.see(r, id).PullRequest, "cem", "APPROVE")
	tn.Clock.Advance(time.Minute)
	tn.must(tn.sync(r))
	_, err := r.Bot.Drop(t.Context(), person("bob"), id)
	tn.must(err)
	tn.settle(r)
	tn.is("told", tn.heard(id, noNeed), "dee eli")
}

// TestWhoIsNewInChatHearsNothingOfOldTimes: where chat is set up only now,
// nobody is told of all that ever was.
func TestWhoIsNewInChatHearsNothingOfOldTimes(t *testing.T) {
	tn, r := panelled(t)
	mute := tn.replica("mute", func(c *server.Config, _ *server.Options) { c.Slack = nil })
	id := tn.ask(mute, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(mute))
	tn.is("asked", tn.noted(mute, id), "cem dee eli")
	_, err := mute.Bot.Drop(t.Context(), person("bob"), id)
	tn.must(err)
	tn.Clock.Advance(72 * time.Hour)
	tn.settle(r)
	tn.is("told", tn.heard(id, ""), "")
}

// TestTwoReplicasAskOnce has both look at the same request at the same time.
func TestTwoReplicasAskOnce(t *testing.T) {
	tn, r := panelled(t)
	two := tn.replica("two")
	tn.must(tn.sync(two))
	for range 5 {
		id := tn.ask(r, "bob", "postgres-prod", time.Hour)
		done := make(chan error, 2)
		for _, replica := range []*demo.Replica{r, two} {
			go func() { _, err := replica.Bot.Reconcile(t.Context(), id); done <- err }()
		}
		<-done
		<-done
		tn.settle(r)
		tn.settle(two)
		who := strings.Fields(tn.noted(r, id))
		slices.Sort(who)
		if len(who) != 3 {
			t.Errorf("asked: %v", who)
		}
		tn.is("told", tn.heard(id, asks), strings.Join(who, " "))
		_, err := r.Bot.Drop(t.Context(), person("bob"), id)
		tn.must(err)
	}
}

// TestTheWaysToApproveAreThoseThatPolicyTakes: a button where policy takes
// Slack, with the commit that it is about.
func TestTheWaysToApproveAreThoseThatPolicyTakes(t *testing.T) {
	for from, want := range map[string][2]string{
		"[github]":             {"review of the pull request.", ""},
		"[github, cli]":        {"tac access approve", ""},
		"[github, cli, slack]": {"tac access approve", "approve"},
	} {
		t.Run(from, func(t *testing.T) {
			tn, r := panelled(t, "approver_roles: [approver]", "approver_roles: [approver]\n    approve_from: "+from)
			id := tn.ask(r, "bob", "postgres-prod", time.Hour)
			tn.must(tn.sync(r))
			messages := tn.Slack.DMs(slackOf("cem"))
			if len(messages) != 1 {
				t.Fatalf("%d messages", len(messages))
			}
			if said := tn.Slack.Render(messages[0]); !strings.Contains(said, want[0]) {
				t.Errorf("it says\n%s\nwant %q", said, want[0])
			}
			value := string(id) + ":" + tn.see(r, id).Head
			if has := strings.Contains(fmt.Sprintf("%s", messages[0].Blocks), value); has != (want[1] != "") {
				t.Errorf("it carries %s: %v", value, has)
			}
		})
	}
}

// TestABodyNamesEverybodyFoldedWhereTheyAreMany.
func TestABodyNamesEverybodyFoldedWhereTheyAreMany(t *testing.T) {
	tn, r, who := crowded(t, 40, bot.Limits{})
	files, _ := crowd(40)
	tn.byHand(map[string]string{"policies/production-database.yaml": "kind: AccessPolicy\nmetadata: {name: production-database}\nspec: {resource: postgres-prod, approval: {approver_roles: [anybody]}}\n",
		"policies/anybody.yaml": files["policies/anybody.yaml"]})
	id := tn.ask(r, "bob", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	body := tn.body(r, id)
	sentence, folded, found := strings.Cut(body, "<details><summary>All 42 who may approve</summary>")
	if !found || !strings.Contains(sentence, " and 30 more)") {
		t.Fatalf("%s", body)
	}
	for _, p := range who {
		if !strings.Contains(folded, p.GitHub) {
			t.Errorf("%s is not named", p)
		}
	}
}
