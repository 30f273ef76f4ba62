package policies

import (
	"slices"
	"testing"
)

// replayPolicy asks everything that history may not have recorded.
const replayPolicy = `kind: Resource
metadata: {name: vaultdb}
spec: {vault: {engine: generic, path: a/b, policy: tac-a}}
---
kind: AccessPolicy
metadata: {name: past}
spec:
  resource: vaultdb
  auto_approve:
    conditions:
      - {role: [night], max_duration: 1h}
      - {on_call: [duty], ticket: {tracker: jira, state: open}, max_duration: 2h}
      - {role: [coder], at_most: {live_per_person: 1}, max_duration: 4h, require_ticket: true}
  approval: {approver_roles: [team-lead]}
---
kind: Role
metadata: {name: night}
spec: {github_teams: [acme/night]}
---
kind: Role
metadata: {name: duty}
spec: {pagerduty: {schedule: PNIGHT, levels: [2]}}
---
kind: Role
metadata: {name: coder}
spec: {members: [carol]}
---
kind: People
metadata: {name: more}
spec: {people: [{github: pat, id: 2001, pagerduty: PPAT}]}
`

func TestAReplayNamesWhatWasNotRecordedWhereItDecides(t *testing.T) {
	s := acme(t, doc("past.yaml", replayPolicy))
	pat, _ := s.PersonByLogin("pat")
	when := at(t, "2026-11-24 10:00:00")
	night := func(members ...int64) map[TeamRef]Team {
		return map[TeamRef]Team{{"acme", "night", false}: {ID: 5, Slug: "night", Members: members, ReadAt: when}}
	}
	duty := func(d Duty) map[Schedule]Duty { return map[Schedule]Duty{{PagerDuty, "PNIGHT"}: d} }
	onCall := Duty{OnCall: []OnCall{{"PPAT", 2}}, ReadAt: when}
	tests := []struct {
		claim   string
		who     Person
		length  string
		ticket  string
		facts   Facts
		outcome Outcome
		best    Outcome
		missing []string
	}{
		{"a team that nobody read", Person{Principal: carol}, "1h", "", Facts{}, NeedsReview, Allow, []string{"GitHub team acme/night"}},
		{"a team that was read", Person{Principal: carol}, "1h", "", Facts{Teams: night()}, NeedsReview, NeedsReview, nil},
		{"a member of a team that was read needs nothing else", Person{Principal: carol}, "1h", "", Facts{Teams: night(carol.ID)}, Allow, Allow, nil},
		{"a request that is too long for every condition", Person{Principal: carol}, "8h", "INC-1", Facts{}, NeedsReview, NeedsReview, nil},
		{"two sources that are needed together", pat, "2h", "INC-1", Facts{}, NeedsReview, Allow, []string{"Jira", "PagerDuty schedule PNIGHT"}},
		{"one of two that was recorded", pat, "2h", "INC-1", Facts{Duty: duty(onCall)}, NeedsReview, Allow, []string{"Jira"}},
		{"somebody whom People gives no account is not on call", Person{Principal: carol}, "2h", "INC-1", Facts{Uses: Uses{ReadAt: when, Grants: []Use{{Person: carol.ID, Until: when.Add(hour)}}}}, NeedsReview, NeedsReview, nil},
		{"without a ticket no tracker is asked", pat, "2h", "", Facts{Duty: duty(onCall)}, NeedsReview, NeedsReview, nil},
		{"a source that was silent then stays silent", pat, "2h", "INC-1", Facts{Duty: duty(Duty{Silent: "PagerDuty did not answer"})}, NeedsReview, NeedsReview, nil},
		{"what was given lately", Person{Principal: carol}, "4h", "INC-1", Facts{}, NeedsReview, Allow, []string{"what was given lately"}},
		{"either of two sources", pat, "1h", "INC-1", Facts{Duty: duty(onCall)}, NeedsReview, Allow, []string{"GitHub team acme/night", "Jira"}},
		{"what was never possible", Person{Principal: mallory}, "1h", "", Facts{}, Deny, Deny, nil},
	}
	r := s.Replayer()
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			tt.facts.At = when
			if tt.facts.Teams == nil && tt.length != "1h" {
				tt.facts.Teams = night()
			}
			var length length
			if err := length.UnmarshalScalar(tt.length); err != nil {
				t.Fatal(err)
			}
			req := Request{Requester: tt.who.Principal, Resource: "vaultdb", Duration: length.d, Reason: "x", Ticket: tt.ticket}
			teams, tickets := len(tt.facts.Teams), len(tt.facts.Tickets)
			got := r.Replay(&req, &tt.facts)
			if got.Outcome != tt.outcome || got.Best != tt.best || !slices.Equal(got.Missing, tt.missing) || got.Certain() != (tt.missing == nil) {
				t.Errorf("got %v (best %v), missing %q", got.Outcome, got.Best, got.Missing)
			}
			if want := s.Evaluate(req, tt.facts); got.Outcome != want.Outcome || got.Rule != want.Rule {
				t.Errorf("Evaluate says %v by %s, Replay %v by %s", want.Outcome, want.Rule, got.Outcome, got.Rule)
			}
			if len(tt.facts.Teams) != teams || len(tt.facts.Tickets) != tickets {
				t.Error("the facts were changed")
			}
		})
	}
}

func TestAReplayComparesApproversByWhoTheyAre(t *testing.T) {
	review := func(required, roles, roleDocs string) string {
		s := acme(t, doc("wiki.yaml", "kind: AccessPolicy\nmetadata: {name: wiki}\nspec:\n  resource: wiki\n  approval: {required_approvers: "+required+", approver_roles: ["+roles+"]}\n"+roleDocs))
		req := Request{Requester: carol, Resource: "wiki", Duration: hour, Reason: "x"}
		got := s.Replayer().Replay(&req, &Facts{At: at(t, "2026-11-24 10:00:00")})
		if got.Outcome != NeedsReview {
			t.Fatalf("got %v by %s", got.Outcome, got.Rule)
		}
		return got.Approvers
	}
	lead := review("1", "team-lead", "")
	renamed := review("1", "boss", "---\nkind: Role\nmetadata: {name: boss}\nspec: {members: [dana]}\n")
	if lead != renamed {
		t.Errorf("a role by another name: %q and %q", lead, renamed)
	}
	for claim, other := range map[string]string{
		"more people": review("1", "team-lead, security", ""), "other people": review("1", "security", ""),
		"more of them": review("2", "team-lead, security", ""), "a team nobody read": review("1", "team-lead, dba-team", ""),
	} {
		if other == lead {
			t.Errorf("%s: %q is the same", claim, other)
		}
	}
}
