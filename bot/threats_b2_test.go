package bot_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// B2 and B5: who counts as whom. One human being is one entry in People, and
// being in a part of a team is not being in the team.

// TestB2_WhateverTiesAnAccountToAHumanStandsOnce gives carol a second GitHub
// account by way of each of the accounts that People can name.
func TestB2_WhateverTiesAnAccountToAHumanStandsOnce(t *testing.T) {
	const carol = "github: carol, id: 1003, slack: U03CAROL, email: carol@acme.test, pagerduty: PCAROL, opsgenie: carol-o, jira: carol-j, linear: carol-l"
	load := func(alt string) error {
		set, _ := policies.Load([]policies.File{{Path: "policies/people.yaml", Data: []byte(
			"kind: People\nmetadata: {name: all}\nspec: {people: [{" + carol + "}, {" + alt + "}]}\n")}}, time.LoadLocation)
		return set.Err()
	}
	if err := load("github: dana, id: 1004, slack: U04DANA, email: dana@acme.test, pagerduty: PDANA, opsgenie: dana-o, jira: dana-j, linear: dana-l"); err != nil {
		t.Fatalf("two people do not load: %v", err)
	}
	for what, alt := range map[string]string{
		"the GitHub id":         "github: carol-alt, id: 1003",
		"the GitHub login":      "github: Carol, id: 2003",
		"the Slack id":          "github: carol-alt, id: 2003, slack: U03CAROL",
		"the e-mail address":    "github: carol-alt, id: 2003, email: Carol@acme.test",
		"the PagerDuty account": "github: carol-alt, id: 2003, pagerduty: PCAROL",
		"the Opsgenie account":  "github: carol-alt, id: 2003, opsgenie: carol-o",
		"the Jira account":      "github: carol-alt, id: 2003, jira: carol-j",
		"the Linear account":    "github: carol-alt, id: 2003, linear: carol-l",
	} {
		if err := load(alt); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "a second time") {
			t.Errorf("%s twice: %v", what, err)
		}
	}
}

// TestB2_ASecondAccountStopsEverything has the second account of a requester
// come to main: from then on nobody gets anything, and what waits stays open.
func TestB2_ASecondAccountStopsEverything(t *testing.T) {
	tn, r := started(t)
	id, pull := tn.waiting(r)
	alt := tn.GitHub.AddUser("bob-alt", 2002)
	tn.must(tn.GitHub.AddMember("acme", "bob-alt"))
	tn.must(tn.GitHub.Grant(demo.Repository, "write", "bob-alt"))
	_, err := tn.GitHub.Seed(demo.Repository, "main", map[string]string{"policies/alt.yaml": fmt.Sprintf(
		"kind: People\nmetadata: {name: alt}\nspec: {people: [{github: bob-alt, id: %d, slack: U02BOB}]}\n---\nkind: Role\nmetadata: {name: alts}\nspec: {members: [bob-alt]}\n", alt.ID),
		"policies/production-database.yaml": strings.ReplaceAll(strictPolicy, "[team-lead]", "[team-lead, alts]"),
	}, "eve", "a second account")
	tn.must(err)
	tn.review(pull, "bob-alt", "APPROVE")
	tn.unmerged(r, id, "bob")
	_, err = r.Bot.Request(t.Context(), bot.Ask{Requester: person("alice"), Resource: "postgres-prod", Duration: time.Hour, Reason: "x", Via: grants.ViaCLI, Key: "k", DryRun: true})
	var refusal *bot.Error
	if !errors.As(err, &refusal) || refusal.Code != bot.CodeDenied {
		t.Errorf("alice was answered %v", err)
	}
}

func TestB5_WhoIsInAPartOfATeamIsNotInTheTeam(t *testing.T) {
	t.Parallel()
	stage := func(t *testing.T, policy map[string]string) (*town, *demo.Replica, grants.ID, int) {
		t.Parallel()
		tn := newTown(t, policy)
		for slug, members := range map[string][]string{"leads": {"dana"}, "trainees": {"carol"}, "interns": {"alice", "dana"}} {
			_, err := tn.GitHub.AddTeam("acme", slug, int64(503+len(slug)), members...)
			tn.must(err)
		}
		tn.must(tn.GitHub.SetParentTeam("acme", "trainees", "leads"))
		tn.must(tn.GitHub.SetParentTeam("acme", "interns", "trainees"))
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		return tn, r, id, pull
	}
	t.Run("at any depth, and whoever is in both is left out", func(t *testing.T) {
		tn, r, id, pull := stage(t, leads)
		for _, who := range []string{"carol", "alice", "dana"} {
			tn.review(pull, who, "APPROVE")
		}
		tn.unmerged(r, id, "bob")
		tn.must(tn.GitHub.SetTeamMembers("acme", "interns", "alice"))
		tn.Clock.Advance(time.Minute)
		tn.settle(r)
		if v := tn.phase(r, id, grants.PhaseApproved); strings.Join(v.Approvers, " ") != "dana" {
			t.Errorf("approved by %v", v.Approvers)
		}
	})
	t.Run("but where the policy asks for them", func(t *testing.T) {
		with := map[string]string{"policies/leads.yaml": strings.Replace(leads["policies/leads.yaml"], "{github_teams", "{include_child_teams: true, github_teams", 1),
			"policies/production-database.yaml": leads["policies/production-database.yaml"]}
		tn, r, id, pull := stage(t, with)
		tn.review(pull, "alice", "APPROVE")
		tn.settle(r)
		tn.phase(r, id, grants.PhaseApproved)
	})
}
