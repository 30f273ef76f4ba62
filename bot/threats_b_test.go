package bot_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/githubpr"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// These are the attacks of threats.md, section B: who may approve. Counting
// itself is tested in policies; here are whole lives.

// selfish makes the requester a team lead, whom the policy would have approve.
var selfish = map[string]string{"policies/more.yaml": "kind: AccessPolicy\nmetadata: {name: more}\nspec:\n  resource: postgres-prod\n  approval: {required_approvers: 1, approver_roles: [developer, team-lead]}\n"}

func TestB1_TheRequesterApprovesNothingOfTheirOwn(t *testing.T) {
	t.Parallel()
	tn := newTown(t, selfish)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	tn.review(pull, "bob", "APPROVE") // GitHub allows it: the author is the bot
	tn.review(pull, "eve", "APPROVE") // serves the other policy
	tn.unmerged(r, id, "bob")
	tn.review(pull, "carol", "APPROVE")
	tn.settle(r)
	if v := tn.phase(r, id, grants.PhaseApproved); strings.Join(v.Approvers, " ") != "eve carol" {
		t.Errorf("approved by %v", v.Approvers)
	}
}

func TestB3_WhoeverPushedApprovesNothing(t *testing.T) {
	t.Parallel()
	t.Run("to a hand-written grant", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		tn.must(tn.sync(r))
		h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
		h.Duration = 8 * time.Hour
		_, err := tn.push(github.Push{Login: "dana", Branch: h.branch, Message: "longer", Files: map[string]string{h.Path(): string(h.Encode())}})
		tn.must(err)
		tn.review(h.pull, "dana", "APPROVE")
		tn.unmerged(r, h.ID, "bob")
	})
	t.Run("to a branch of the bot's", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		tn.must(tn.GitHub.Unprotect(demo.Repository))
		_, err := tn.push(github.Push{Login: "dana", Branch: grants.BranchPrefix + string(id), Message: "nothing at all"})
		tn.must(err)
		tn.review(pull, "dana", "APPROVE")
		tn.unmerged(r, id, "bob")
	})
}

func TestB4_OnlyActiveMembersOfAnApproverRoleApprove(t *testing.T) {
	t.Parallel()
	tn := newTownOfLeads(t)
	tn.must(tn.GitHub.InviteToTeam("acme", "leads", "carol"))
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	for _, who := range []string{"rex", "mallory", "alice", "carol"} { // a stranger, not among the people, no role, only invited
		tn.review(pull, who, "APPROVE")
	}
	tn.unmerged(r, id, "bob")
	tn.must(tn.GitHub.SetTeamMembers("acme", "leads", "dana", "carol")) // carol accepts
	tn.Clock.Advance(time.Minute)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

func TestB6_ATeamThatWasReplacedDenies(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(tn *town){
		"taken over": func(tn *town) {
			_, err := tn.GitHub.AddTeam("acme", "leads", 666, "dana", "carol")
			tn.must(err)
		},
		"deleted": func(tn *town) { tn.GitHub.RemoveTeam("acme", "leads") },
	} {
		t.Run(name+" before the merge", func(t *testing.T) {
			t.Parallel()
			tn := newTownOfLeads(t)
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			tn.review(pull, "dana", "APPROVE")
			tn.beforeTheMerge(func() { replace(tn) })
			_ = tn.sync(r)
			if !tn.merged(id) {
				t.Fatal("nothing was merged")
			}
			tn.refused(r, id, "bob")
		})
	}
	t.Run("appears before the merge", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, leads) // and there is no team of leads
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		tn.review(pull, "eve", "APPROVE")
		tn.beforeTheMerge(func() {
			_, err := tn.GitHub.AddTeam("acme", "leads", 666, "bob")
			tn.must(err)
		})
		_ = tn.sync(r)
		tn.refused(r, id, "bob")
	})
}

func TestB7_WhoLeavesApprovesNoMore(t *testing.T) {
	t.Parallel()
	stage := func(tn *town, approver string) (r *demo.Replica, id grants.ID, pull int) {
		_, err := tn.GitHub.AddTeam("acme", "leads", 503, "dana")
		tn.must(err)
		r = tn.replica("one")
		id, pull = tn.waiting(r)
		tn.review(pull, approver, "APPROVE")
		return r, id, pull
	}
	leaveTeam := func(tn *town) { tn.must(tn.GitHub.SetTeamMembers("acme", "leads")) }
	atEveryCall(t, moment{
		files: leads,
		stage: func(tn *town) (*demo.Replica, grants.ID) {
			r, id, _ := stage(tn, "dana")
			return r, id
		},
		disturb: func(tn *town, _ grants.ID) { leaveTeam(tn) },
		check: func(tn *town, r *demo.Replica, id grants.ID, _ bool) {
			tn.settle(r)
			tn.unclaimable(r, id, "bob")
		},
	})
	for name, approver := range map[string]string{"the team": "dana", "the organisation": "eve"} {
		leave := leaveTeam
		if approver == "eve" { // whose role names her, and no team
			leave = func(tn *town) { tn.must(tn.GitHub.RemoveMember("acme", "eve")) }
		}
		t.Run(name+" before the last look", func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, leads)
			r, id, pull := stage(tn, approver)
			tn.before(http.MethodGet, fmt.Sprintf("/pulls/%d", pull), func() { leave(tn) })
			tn.unmerged(r, id, "bob")
		})
		t.Run(name+" before the gate", func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, leads)
			r, id, _ := stage(tn, approver)
			tn.beforeTheMerge(func() { leave(tn) })
			_ = tn.sync(r)
			tn.refused(r, id, "bob")
		})
		t.Run(name+" before the claim", func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, leads)
			r, id, _ := stage(tn, approver)
			tn.settle(r)
			tn.phase(r, id, grants.PhaseApproved)
			leave(tn)
			tn.unclaimable(r, id, "bob")
		})
	}
}

// installationToken is a token of the App itself.
func installationToken(tn *town, app *github.App, installation int64) string {
	tn.t.Helper()
	c, err := githubpr.New(githubpr.Config{
		APIURL: tn.GitHub.URL(), Owner: "acme", Repo: "access", Branch: "main", Now: tn.Clock.Now,
		AppID: app.ID, InstallationID: installation, PrivateKey: world.NewSecret(string(app.PrivateKeyPEM)),
	})
	tn.must(err)
	token, err := c.Token(tn.t.Context())
	tn.must(err)
	return token.Reveal()
}

func TestB8_AppsApproveNothing(t *testing.T) {
	t.Parallel()
	// Even one that somebody has put among the people, with a role.
	probe := newTown(t, nil)
	app, err := probe.GitHub.AddApp("helper", 4712)
	probe.must(err)
	tn := newTown(t, map[string]string{"policies/robots.yaml": fmt.Sprintf(
		"kind: People\nmetadata: {name: robots}\nspec: {people: [{github: helper, id: %d}]}\n---\nkind: Role\nmetadata: {name: robots}\nspec: {members: [helper]}\n", app.Bot.ID),
		"policies/production-database.yaml": strings.ReplaceAll(strictPolicy, "[team-lead]", "[team-lead, robots]"),
	})
	app, err = tn.GitHub.AddApp("helper", 4712)
	tn.must(err)
	if !strings.Contains(tn.mainFile("policies/robots.yaml"), fmt.Sprint(app.Bot.ID)) {
		t.Fatal("the App's bot has another number in this town")
	}
	_, err = tn.GitHub.Install(app, "acme", 8002)
	tn.must(err)
	tn.must(tn.GitHub.AddMember("acme", app.Bot.Login))
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	h := tn.writes("bob", tn.newHand("bob", 3*time.Hour))
	approve := map[string]string{"event": "APPROVE"}
	for _, number := range []int{pull, h.pull} {
		if status := tn.request(installationToken(tn, app, 8002), http.MethodPost, fmt.Sprintf("/pulls/%d/reviews", number), approve); status != http.StatusOK {
			t.Fatalf("the App's review: status %d", status)
		}
	}
	// Our own App on somebody's pull request.
	if status := tn.request(installationToken(tn, tn.App, 8001), http.MethodPost, fmt.Sprintf("/pulls/%d/reviews", h.pull), approve); status != http.StatusOK {
		t.Fatalf("our App's review: status %d", status)
	}
	tn.unmerged(r, id, "bob")
	tn.unmerged(r, h.ID, "bob")
}

// mainFile returns a file of main.
func (tn *town) mainFile(path string) string {
	tn.t.Helper()
	files, err := tn.GitHub.Files(demo.Repository, "main")
	tn.must(err)
	return files[path]
}

func TestB9_NobodyAsksForSomebodyElse(t *testing.T) {
	t.Parallel()
	play := func(t *testing.T, open func(tn *town, r *demo.Replica) grants.Grant) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		tn.must(tn.sync(r))
		g := open(tn, r)
		tn.unmerged(r, g.ID, g.Requester.GitHub)
		pulls, err := r.Bot.Forge.OpenPulls(t.Context())
		tn.must(err)
		if len(pulls) > 0 {
			t.Errorf("still open: %+v", pulls)
		}
	}
	propose := func(tn *town, g grants.Grant, author, branch, opener string) {
		_, err := tn.push(github.Push{Login: author, Branch: branch, Files: map[string]string{g.Path(): string(g.Encode())}, Message: "please"})
		tn.must(err)
		_, err = tn.GitHub.OpenPull(demo.Repository, opener, branch, "main", "please", "")
		tn.must(err)
	}
	t.Run("another author", func(t *testing.T) {
		play(t, func(tn *town, _ *demo.Replica) grants.Grant {
			g := tn.newHand("alice", time.Hour)
			propose(tn, g, "bob", "for-alice", "bob")
			return g
		})
	})
	t.Run("their branch, opened by another", func(t *testing.T) {
		play(t, func(tn *town, _ *demo.Replica) grants.Grant {
			g := tn.newHand("alice", time.Hour)
			propose(tn, g, "alice", "alices-draft", "bob")
			return g
		})
	})
	t.Run("another's commits, opened by them", func(t *testing.T) {
		play(t, func(tn *town, _ *demo.Replica) grants.Grant {
			g := tn.newHand("alice", time.Hour)
			propose(tn, g, "bob", "bobs-gift", "alice")
			return g
		})
	})
	// Whoever gets hold of the bot's account alone gets nothing.
	for name, branch := range map[string]func(grants.Grant) string{
		"the bot's account, a branch of its own": grants.Grant.Branch,
		"the bot's account, another branch":      func(grants.Grant) string { return "anywhere" },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(tn *town, _ *demo.Replica) grants.Grant {
				g := tn.newHand("alice", time.Hour)
				tn.must(tn.GitHub.Unprotect(demo.Repository))
				_, err := tn.push(github.Push{Login: "bob", Branch: branch(g), Files: map[string]string{g.Path(): string(g.Encode())}, Message: "please"})
				tn.must(err)
				body := map[string]string{"title": "please", "head": branch(g), "base": "main"}
				if status := tn.request(installationToken(tn, tn.App, 8001), http.MethodPost, "/pulls", body); status != http.StatusCreated {
					tn.t.Fatalf("the bot's pull request: status %d", status)
				}
				return g
			})
		})
	}
	t.Run("the bot's account, a signed grant on another branch", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		tn.must(tn.sync(r))
		id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		// The branch is there, its pull request is not yet.
		tn.before(http.MethodPost, "/pulls", func() {
			files, err := tn.GitHub.Files(demo.Repository, grants.BranchPrefix+string(id))
			tn.must(err)
			path := grants.Path("postgres-prod", id)
			_, err = tn.push(github.Push{Login: "bob", Branch: "copy", Files: map[string]string{path: files[path]}, Message: "copied"})
			tn.must(err)
			body := map[string]string{"title": "please", "head": "copy", "base": "main"}
			if status := tn.request(installationToken(tn, tn.App, 8001), http.MethodPost, "/pulls", body); status != http.StatusCreated {
				t.Errorf("the bot's pull request: status %d", status)
			}
		})
		tn.settle(r)
		v := tn.phase(r, id, grants.PhaseApproved)
		commits, err := tn.GitHub.Commits(demo.Repository, "main")
		tn.must(err)
		if !strings.Contains(commits[0].Message, fmt.Sprintf("Tac-Pull: %d\n", v.PullRequest)) {
			t.Error("merged by way of the copy")
		}
	})
}

func TestB10_DenialsStickToWhoMadeThem(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	approval := tn.review(pull, "dana", "APPROVE")
	denial := tn.review(pull, "dana", "REQUEST_CHANGES")
	tn.unmerged(r, id, "bob")
	tn.must(tn.GitHub.Dismiss(demo.Repository, pull, denial, "bob", "not needed")) // bob can write
	tn.unmerged(r, id, "bob")
	tn.review(pull, "eve", "APPROVE") // a second opinion lifts nothing
	tn.unmerged(r, id, "bob")
	tn.must(tn.GitHub.Dismiss(demo.Repository, pull, approval, "bob", "nor this"))
	tn.unmerged(r, id, "bob")
	tn.review(pull, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

func TestB10_WhatIsTakenBackBeforeTheGateIsRefused(t *testing.T) {
	t.Parallel()
	for name, takeBack := range map[string]func(tn *town, pull int, approval int64){
		"dismissed": func(tn *town, pull int, approval int64) {
			tn.must(tn.GitHub.Dismiss(demo.Repository, pull, approval, "dana", "I was wrong"))
		},
		"denied":            func(tn *town, pull int, _ int64) { tn.review(pull, "dana", "REQUEST_CHANGES") },
		"denied by another": func(tn *town, pull int, _ int64) { tn.review(pull, "eve", "REQUEST_CHANGES") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, nil)
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			approval := tn.review(pull, "dana", "APPROVE")
			tn.beforeTheMerge(func() { takeBack(tn, pull, approval) })
			_ = tn.sync(r)
			tn.refused(r, id, "bob")
		})
	}
}

func TestB10_ADenialStopsWhatNeedsNoApproval(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.beforeTheMerge(func() {
		open, err := r.Bot.Forge.OpenPulls(t.Context())
		tn.must(err)
		tn.review(open[0].Number, "dana", "REQUEST_CHANGES")
	})
	_ = tn.sync(r)
	tn.refused(r, id, "alice")
}

func TestB11_TwoApprovalsAreTwoPeople(t *testing.T) {
	t.Parallel()
	tn := newTown(t, map[string]string{
		"policies/production-database.yaml": strings.NewReplacer("required_approvers: 1", "required_approvers: 2", "[team-lead]", "[team-lead, payments, security]").Replace(strictPolicy),
	})
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	tn.review(pull, "dana", "APPROVE") // dana is team lead and owns payments
	tn.review(pull, "dana", "APPROVE")
	tn.unmerged(r, id, "bob")
	tn.review(pull, "eve", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

func TestB12_ALoginIsNobody(t *testing.T) {
	t.Parallel()
	t.Run("an approver's login in new hands", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		tn.must(tn.GitHub.RenameUser("dana", "dana-m"))
		tn.GitHub.AddUser("dana", 9004)
		tn.must(tn.GitHub.AddMember("acme", "dana"))
		tn.must(tn.GitHub.Grant(demo.Repository, "write", "dana"))
		tn.review(pull, "dana", "APPROVE")
		tn.unmerged(r, id, "bob")
		tn.review(pull, "dana-m", "APPROVE")
		tn.settle(r)
		tn.phase(r, id, grants.PhaseApproved)
	})
	t.Run("a requester's login in new hands", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		tn.must(tn.sync(r))
		tn.must(tn.GitHub.RenameUser("alice", "alice-m"))
		tn.GitHub.AddUser("alice", 9001)
		tn.must(tn.GitHub.AddMember("acme", "alice"))
		tn.must(tn.GitHub.Grant(demo.Repository, "write", "alice"))
		for _, id := range []int64{1001, 9001} { // as the one who was, and as who they are
			g := tn.newHand("alice", 2*time.Hour)
			g.Requester.ID = id
			h := tn.writes("alice", g)
			tn.unmerged(r, h.ID, "alice")
		}
		pulls, err := r.Bot.Forge.OpenPulls(t.Context())
		tn.must(err)
		if len(pulls) > 0 {
			t.Errorf("still open: %+v", pulls)
		}
	})
}
