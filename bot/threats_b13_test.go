package bot_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// B13 and B14: no side door, neither for those who administer nor for those
// who ask. eve owns the organisation and administers the repository, has the
// role security, which tac knows by name, and the role platform; dana has the
// role that owns the production database. In this town that makes neither of
// them an approver.

// dbaApproves has nobody but alice approve.
var dbaApproves = map[string]string{"policies/production-database.yaml": strings.ReplaceAll(strictPolicy, "[team-lead]", "[dba-lead]"),
	"policies/dba-lead.yaml": "kind: Role\nmetadata: {name: dba-lead}\nspec: {members: [alice]}\n"}

func dbaTown(t *testing.T) (tn *town, r *demo.Replica, id grants.ID, pull int) {
	t.Helper()
	t.Parallel()
	tn = newTown(t, dbaApproves)
	r = tn.replica("one")
	id, pull = tn.waiting(r)
	return tn, r, id, pull
}

func TestB13_AdministratorsOwnersAndSecurityApproveNothingByBeingThat(t *testing.T) {
	tn, r, id, pull := dbaTown(t)
	tn.review(pull, "eve", "APPROVE")
	tn.review(pull, "dana", "APPROVE")
	tn.unmerged(r, id, "bob")
	tn.review(pull, "alice", "APPROVE")
	tn.settle(r)
	if v := tn.phase(r, id, grants.PhaseApproved); strings.Join(v.Approvers, " ") != "alice" {
		t.Errorf("approved by %v", v.Approvers)
	}
}

// An administrator can do anything to the repository. What comes of it is
// never a credential.
func TestB13_WhatAnAdministratorForcesGivesNothing(t *testing.T) {
	for name, force := range map[string]func(tn *town, id grants.ID, pull int){
		"merges without an approval": func(tn *town, _ grants.ID, pull int) {
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
		},
		"approves, and merges": func(tn *town, _ grants.ID, pull int) {
			tn.review(pull, "eve", "APPROVE")
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
		},
		"dismisses a denial, and merges what was approved before": func(tn *town, _ grants.ID, pull int) {
			tn.review(pull, "alice", "APPROVE")
			denial := tn.review(pull, "alice", "REQUEST_CHANGES")
			tn.must(tn.GitHub.Dismiss(demo.Repository, pull, denial, "eve", "we are in a hurry"))
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
		},
		"pushes the very file to main": func(tn *town, id grants.ID, _ int) {
			g := grants.Grant{ID: id, Resource: "postgres-prod"}
			files, err := tn.GitHub.Files(demo.Repository, g.Branch())
			tn.must(err)
			tn.byHand(map[string]string{g.Path(): files[g.Path()]})
		},
		"takes every rule away, and merges what alice approved": func(tn *town, _ grants.ID, pull int) {
			tn.must(tn.GitHub.Unprotect(demo.Repository))
			tn.review(pull, "alice", "APPROVE")
			token, err := tn.GitHub.PAT("eve")
			tn.must(err)
			if status := tn.request(token, http.MethodPut, "/pulls/1/merge", map[string]string{"merge_method": "squash"}); status != http.StatusOK {
				tn.t.Errorf("eve's merge: status %d", status)
			}
		},
	} {
		t.Run("eve "+name, func(t *testing.T) {
			tn, r, id, pull := dbaTown(t)
			force(tn, id, pull)
			tn.refused(r, id, "bob")
		})
	}
}

// The bot's own way of answering asks the same of everybody.
func TestB13_NobodyAnswersByWhoTheyAre(t *testing.T) {
	tn, r, id, pull := dbaTown(t)
	for _, who := range []string{"eve", "dana", "bob"} { // administrator and security, owner, requester
		if _, err := r.Bot.Approve(t.Context(), person(who), id, tn.answering(who, pull)); err == nil {
			t.Errorf("%s approved it", who)
		}
	}
	if n := tn.asked(http.MethodPost, "/reviews"); n > 0 {
		t.Errorf("%d reviews were submitted", n)
	}
	tn.unmerged(r, id, "bob")
	_, err := r.Bot.Approve(t.Context(), person("alice"), id, tn.answering("alice", pull))
	tn.must(err)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

// Breaking the glass is a policy with roles of its own, and no way around it.
func TestB13_BrokenGlassIsNoSideDoor(t *testing.T) {
	t.Run("neither for owners nor for administrators", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, glass) // which developers may break
		r := tn.replica("one")
		tn.must(tn.sync(r))
		for _, who := range []string{"eve", "dana"} {
			_, err := tn.breaks(r, who, "INC-1", time.Hour)
			tn.refusal(err, "only developer may break the glass of postgres-prod")
			g := tn.newHand(who, time.Hour)
			g.Ticket, g.BreakGlass = "INC-1", true
			h := tn.writes(who, g)
			tn.refusesPull(r, h.pull, "only developer may break the glass of postgres-prod")
			h = tn.writes(who, func() grants.Grant { g.ID = tn.newHand(who, time.Hour).ID; return g }())
			_, err = tn.GitHub.MergeAsAdmin(demo.Repository, h.pull, "eve")
			tn.must(err)
			tn.refused(r, h.ID, who)
		}
	})
	t.Run("and an administrator does not look at it in their own stead", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, map[string]string{"policies/production-database.yaml": strings.Replace(
			glass["policies/production-database.yaml"], "[developer]", "[security]", 1)})
		r := tn.replica("one")
		tn.must(tn.sync(r))
		id, err := tn.breaks(r, "eve", "INC-1", time.Hour)
		tn.must(err)
		tn.settle(r)
		open := tn.issues()
		if len(open) != 1 {
			t.Fatalf("issues: %+v", open)
		}
		for _, by := range []struct{ login, want string }{{"eve", ""}, {"bob", ""}, {"dana", "dana"}} {
			tn.closes(by.login, open[0].Number, "completed")
			tn.Clock.Advance(10 * time.Minute)
			tn.settle(r)
			if got := tn.recorded(r, id).Aftermath.By; got != by.want {
				t.Errorf("%s closed it, and it was looked at by %q", by.login, got)
			}
		}
	})
}

// Whoever may see a grant, and may end it, gets nothing of it.
func TestB13_WhatOthersAreGivenIsNobodysToTake(t *testing.T) {
	tn, r, id, pull := dbaTown(t)
	tn.review(pull, "alice", "APPROVE")
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	for _, who := range []string{"eve", "dana", "alice"} { // administrator and security, owner, approver
		_, _, err := r.Bot.Claim(t.Context(), person(who), id, bot.ClaimAsk{Key: "a claim key of one's own"})
		var refusal *bot.Error
		if !errors.As(err, &refusal) || refusal.Code != bot.CodeNotFound {
			t.Errorf("%s was answered %v", who, err)
		}
	}
	tn.nothingIssued()
	tn.takes(r, id, "bob")
}

// Nobody is asked less than others for being in charge: eve's own request
// waits for whom the policy names, and she is not one of them.
func TestB13_AnAdministratorsOwnRequestIsARequest(t *testing.T) {
	t.Parallel()
	tn := newTown(t, dbaApproves)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	id := tn.ask(r, "eve", "postgres-prod", time.Hour)
	tn.must(tn.sync(r))
	pull := tn.phase(r, id, grants.PhaseRequested).PullRequest
	tn.review(pull, "eve", "APPROVE")
	tn.unmerged(r, id, "eve")
	_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
	tn.must(err)
	tn.refused(r, id, "eve")
}

// selfApproval are the words by which other tools let people approve what
// they asked for themselves.
var selfApproval = []string{"allow_self_approval: true", "self_approval: true", "allow_requester: true", "bypass: [bob]", "approved_by: bob", "approved: true"}

func TestB14_NoWordInAGrantApprovesIt(t *testing.T) {
	for _, word := range selfApproval {
		t.Run(word, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("bob", 2*time.Hour)
			key, _, _ := strings.Cut(word, ":")
			for place, at := range map[string]string{"spec": "  via: git\n", "metadata": "metadata: {id: " + string(g.ID) + "}\n"} {
				text := strings.Replace(string(g.Encode()), at, at+"  "+word+"\n", 1)
				if place == "metadata" {
					text = strings.Replace(string(g.Encode()), at, "metadata: {id: "+string(g.ID)+", "+word+"}\n", 1)
				}
				tn.refusesPull(r, tn.proposes("bob", map[string]string{g.Path(): text}), "unknown key \""+key+"\"")
			}
			tn.unclaimable(r, g.ID, "bob")
		})
	}
}

func TestB14_NoWordInAPolicyLetsTheRequesterApprove(t *testing.T) {
	for _, word := range selfApproval {
		t.Run(word, func(t *testing.T) {
			t.Parallel()
			for place, policy := range map[string]string{
				"approval": strings.Replace(strictPolicy, "{required_approvers: 1", "{"+word+", required_approvers: 1", 1),
				"spec":     strictPolicy + "  " + word + "\n",
			} {
				tn := newTown(t, map[string]string{"policies/production-database.yaml": policy})
				r := tn.replica("one")
				_ = tn.sync(r)
				_, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("bob"), Resource: "postgres-prod", Duration: time.Hour, Reason: "x", Via: grants.ViaCLI, Key: "k"})
				var refusal *bot.Error
				if !errors.As(err, &refusal) || refusal.Code != bot.CodeDenied {
					t.Errorf("in %s: bob was answered %v", place, err)
				}
			}
		})
	}
}

// TestB14_NobodyIsTheirOwnApprover gives bob every role that could make him
// one, his own manager among them.
func TestB14_NobodyIsTheirOwnApprover(t *testing.T) {
	stage := func(t *testing.T, roles, required string) (*town, *demo.Replica) {
		t.Parallel()
		tn := newTown(t, map[string]string{
			"policies/production-database.yaml": strings.NewReplacer("[team-lead]", roles, "required_approvers: 1", "required_approvers: "+required).Replace(strictPolicy),
			"policies/bobs.yaml":                "kind: Role\nmetadata: {name: bobs}\nspec: {members: [bob]}\n",
		})
		people := tn.mainFile("policies/people.yaml")
		_, err := tn.GitHub.Seed(demo.Repository, "main", map[string]string{
			"policies/people.yaml": strings.Replace(people, "email: bob@acme.test, manager: dana", "email: bob@acme.test, manager: bob", 1),
		}, "eve", "bob is his own manager")
		tn.must(err)
		r := tn.replica("one")
		tn.must(tn.sync(r))
		return tn, r
	}
	for _, roles := range []string{"[bobs]", "[manager]", "[bobs, manager]"} {
		t.Run("alone in "+roles+" he cannot even ask", func(t *testing.T) {
			tn, r := stage(t, roles, "1")
			_, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("bob"), Resource: "postgres-prod", Duration: time.Hour, Reason: "x", Via: grants.ViaCLI, Key: "k"})
			var refusal *bot.Error
			if !errors.As(err, &refusal) || refusal.Code != bot.CodeDenied {
				t.Errorf("bob was answered %v", err)
			}
			// Nor by hand, where he can also review and merge.
			h := tn.writes("bob", tn.newHand("bob", time.Hour))
			tn.refusesPull(r, h.pull, "approve")
		})
	}
	t.Run("nor by way of the bot", func(t *testing.T) {
		tn, r := stage(t, "[bobs, manager, team-lead]", "1")
		id := tn.ask(r, "bob", "postgres-prod", 2*time.Hour)
		tn.must(tn.sync(r))
		_, err := r.Bot.Approve(t.Context(), person("bob"), id, tn.answering("bob", tn.see(r, id).PullRequest))
		tn.refusal(err, "nobody answers their own request")
		tn.unmerged(r, id, "bob")
	})
	t.Run("he is not one of two", func(t *testing.T) {
		tn, r := stage(t, "[bobs, manager, team-lead, security]", "2")
		id := tn.ask(r, "bob", "postgres-prod", 2*time.Hour)
		tn.must(tn.sync(r))
		pull := tn.phase(r, id, grants.PhaseRequested).PullRequest
		tn.review(pull, "bob", "APPROVE")
		tn.review(pull, "dana", "APPROVE")
		tn.unmerged(r, id, "bob")
		tn.review(pull, "eve", "APPROVE")
		tn.settle(r)
		if v := tn.phase(r, id, grants.PhaseApproved); strings.Join(v.Approvers, " ") != "dana eve" {
			t.Errorf("approved by %v", v.Approvers)
		}
	})
}

// A requester who can write to the repository can bring a policy of their own
// as well. It counts once it is on main, and what is on main was reviewed.
func TestB14_APolicyOfOnesOwnIsNotAsked(t *testing.T) {
	tn, r := started(t)
	_, err := tn.push(github.Push{Login: "bob", Branch: "mine", Message: "mine", Files: map[string]string{
		"policies/production-database.yaml": strings.ReplaceAll(strictPolicy, "[team-lead]", "[developer]"),
	}})
	tn.must(err)
	tn.opens("bob", "mine")
	id, pull := tn.waiting(r)
	for _, who := range []string{"bob", "carol", "alice"} { // developers
		tn.review(pull, who, "APPROVE")
	}
	tn.unmerged(r, id, "bob")
}
