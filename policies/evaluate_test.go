package policies

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

const (
	minute = time.Minute
	hour   = time.Hour
)

// TestTheExamplePolicyMeansWhatItsCommentsSay runs the policy of the design,
// as it stands there, over a week of alice's duty.
func TestTheExamplePolicyMeansWhatItsCommentsSay(t *testing.T) {
	const (
		workday  = "2026-11-24 10:00:00" // a Tuesday
		anybody  = "wait for one of @dana, @eve"
		hoursAre = "it is outside business hours (Mon-Fri 09:00-17:00 Europe/Berlin)"
		first    = "production-database/auto_approve[0]"
		second   = "production-database/auto_approve[1]"
		approval = "production-database/approval"
	)
	ticket := func(r Request) Request { return r.withTicket("INC-789") }
	noReason := func(r Request) Request { r.Reason = "  "; return r }
	other := func(name string, r Request) Request { r.Resource = name; return r }

	tests := []struct {
		claim   string
		req     Request
		at      string
		want    Outcome
		rule    string
		nearest string
	}{
		{"on-call gets 4h", ask(alice, 4*hour), workday, Allow, first, ""},
		{"on-call gets 4h at night", ask(alice, 4*hour), "2026-11-25 03:00:00", Allow, first, ""},
		{"on-call waits for one second more", ask(alice, 4*hour+time.Second), workday, NeedsReview, approval,
			"4h1s is over the 4h that on-call gets without review: ask for 4h, or " + anybody},
		{"a dba gets 4h", ask(grace, 4*hour), workday, Allow, first, ""},
		{"a developer gets 1h with a ticket in hours", ticket(ask(carol, hour)), workday, Allow, second, ""},
		{"a developer over the limit waits", ticket(ask(carol, 2*hour)), workday, NeedsReview, approval,
			"2h is over the 1h that developers get without review: ask for 1h, or " + anybody},
		{"a developer without a ticket waits", ask(carol, hour), workday, NeedsReview, approval,
			"there is no ticket: name a ticket, or " + anybody},
		{"a ticket that is none does not help", ask(carol, hour).withTicket("no ticket, sorry"), workday, NeedsReview, approval,
			`"no ticket, sorry" is not a ticket: name a ticket, or ` + anybody},
		{"a developer after hours waits", ticket(ask(carol, hour)), "2026-11-24 20:00:00", NeedsReview, approval,
			hoursAre + ": ask again from Wed 2026-11-25 09:00 Europe/Berlin, or " + anybody},
		{"a developer on a Saturday waits until Monday", ticket(ask(carol, hour)), "2026-11-28 12:00:00", NeedsReview, approval,
			hoursAre + ": ask again from Mon 2026-11-30 09:00 Europe/Berlin, or " + anybody},
		{"a developer on a holiday waits past the weekend", ticket(ask(carol, hour)), "2026-12-25 12:00:00", NeedsReview, approval,
			hoursAre + ": ask again from Mon 2026-12-28 09:00 Europe/Berlin, or " + anybody},
		{"a developer with nothing right hears of everything", ask(carol, 2*hour), "2026-11-24 20:00:00", NeedsReview, approval,
			"2h is over the 1h that developers get without review, there is no ticket and " + hoursAre +
				": ask for 1h, name a ticket and ask again from Wed 2026-11-25 09:00 Europe/Berlin, or " + anybody},
		{"09:00:00 is in hours", ticket(ask(carol, hour)), "2026-11-24 09:00:00", Allow, second, ""},
		{"08:59:59 is not", ticket(ask(carol, hour)), "2026-11-24 08:59:59", NeedsReview, approval,
			hoursAre + ": ask again from Tue 2026-11-24 09:00 Europe/Berlin, or " + anybody},
		{"16:59:59 is in hours", ticket(ask(carol, hour)), "2026-11-24 16:59:59", Allow, second, ""},
		{"17:00:00 is not", ticket(ask(carol, hour)), "2026-11-24 17:00:00", NeedsReview, approval,
			hoursAre + ": ask again from Wed 2026-11-25 09:00 Europe/Berlin, or " + anybody},
		{"several roles: the more generous one counts", ask(heidi, 4*hour), workday, Allow, first, ""},
		{"off duty is no role", ask(bob, hour), workday, NeedsReview, approval,
			"nothing lets @bob have postgres-prod without review: " + anybody},
		{"no role at all waits", ask(ivan, minute), workday, NeedsReview, approval,
			"nothing lets @ivan have postgres-prod without review: " + anybody},
		{"an approver waits for the others", ask(dana, hour), workday, NeedsReview, approval,
			"nothing lets @dana have postgres-prod without review: wait for @eve"},
		{"an unknown person is denied", ask(mallory, hour), workday, Deny, "people/unknown",
			"@mallory (GitHub id 6666) is not in the People document: have whoever owns policies/ add them, then ask again"},
		{"alice's login with another number is another person", ask(grants.Principal{GitHub: "alice", ID: 6666}, hour), workday, Deny, "people/unknown",
			"@alice (GitHub id 6666) is not in the People document: have whoever owns policies/ add them, then ask again"},
		{"nobody is denied", ask(grants.Principal{}, hour), workday, Deny, "people/unknown",
			"@ (GitHub id 0) is not in the People document: have whoever owns policies/ add them, then ask again"},
		{"an unknown resource is denied", other("postgres-pord", ask(alice, hour)), workday, Deny, "resource/unknown",
			`there is no resource "postgres-pord": did you mean postgres-prod?`},
		{"a far-off resource is denied", other("mainframe", ask(alice, hour)), workday, Deny, "resource/unknown",
			`there is no resource "mainframe": ask for postgres-prod`},
		{"a homograph is another resource", other("pоstgres-prod", ask(alice, hour)), workday, Deny, "resource/unknown",
			`there is no resource "pоstgres-prod": did you mean postgres-prod?`},
		{"a resource without policy is denied", other("wiki", ask(alice, hour)), workday, Deny, "resource/no-policy",
			"wiki has no policy, so nobody can have it: have whoever owns policies/ write one"},
		{"no reason is denied", noReason(ask(alice, hour)), workday, Deny, "production-database/require_reason",
			"there is no reason: give a reason"},
		{"no reason and too long", noReason(ask(alice, 5*hour)), workday, Deny, "production-database/require_reason",
			"there is no reason and 5h is over the 4h that on-call gets without review: give a reason and ask for 4h, or give a reason and wait for one of @dana, @eve"},
		{"no reason where only review would do", noReason(ask(ivan, hour)), workday, Deny, "production-database/require_reason",
			"there is no reason: give a reason and wait for one of @dana, @eve"},
		{"over the ceiling is denied", ask(alice, 9*hour), workday, Deny, "production-database/max_duration",
			"9h is over the 4h that on-call gets without review: ask for 4h, or ask for 8h and wait for one of @dana, @eve"},
		{"the ceiling itself is reviewed", ask(ivan, 8*hour), workday, NeedsReview, approval,
			"nothing lets @ivan have postgres-prod without review: " + anybody},
		{"over the ceiling without a role", ask(ivan, 8*hour+time.Second), workday, Deny, "production-database/max_duration",
			"8h1s is over the 8h that production-database allows anybody: ask for 8h and wait for one of @dana, @eve"},
		{"a duration beyond reason is denied", ask(alice, 1<<62), workday, Deny, "request/duration", ""},
		{"a negative duration is denied", ask(alice, -hour), workday, Deny, "request/duration",
			"-1h0m0s is under the 1m that a grant lasts at least: ask for 1m"},
		{"half a second is refused", ask(alice, hour+hour/7200), workday, Deny, "request/duration",
			"1h0m0.5s is not in whole seconds: ask for 1h"},
	}
	s := acme(t)
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			d := s.Evaluate(tt.req, facts(at(t, tt.at)))
			if d.Outcome != tt.want || d.Rule != tt.rule {
				t.Errorf("got %s by %s, want %s by %s\n%+v", d.Outcome, d.Rule, tt.want, tt.rule, d.Reasons)
			}
			if tt.nearest != "" && d.Nearest != tt.nearest || tt.want == Allow && d.Nearest != "" {
				t.Errorf("nearest:\n got %s\nwant %s", d.Nearest, tt.nearest)
			}
		})
	}
}

func TestEveryConditionIsInTheTraceWhateverDecided(t *testing.T) {
	d := acme(t).Evaluate(ask(grace, hour), facts(at(t, "2026-11-24 20:00:00")))
	want := []Reason{
		{"facts/time", "time", Yes, "2026-11-24T19:00:00Z", "the time of the decision"},
		{"people/unknown", "requester", Yes, "@grace (GitHub id 1007)", "a person in People"},
		{"resource/unknown", "resource", Yes, `"postgres-prod"`, "a resource that a Resource document describes"},
		{"resource/no-policy", "policy", Yes, "1 on postgres-prod", "a policy on the resource"},
		{"request/duration", "duration", Yes, "1h", "whole seconds between 1m and 168h"},
		{"resource/max_duration", "max_duration", Yes, "1h", "at most 8h"},
		{"production-database/max_duration", "max_duration", Yes, "1h", "at most 8h"},
		{"production-database/require_reason", "require_reason", Yes, "a reason", "a reason"},
		{"production-database/auto_approve[0]", "role", Yes, "grace has dba-team", "any of on-call, dba-team"},
		{"production-database/auto_approve[0]", "max_duration", Yes, "1h", "at most 4h"},
		{"production-database/auto_approve[1]", "role", No, "grace has none of these", "developer"},
		{"production-database/auto_approve[1]", "max_duration", Yes, "1h", "at most 1h"},
		{"production-database/auto_approve[1]", "require_ticket", No, "no ticket", "a ticket"},
		{"production-database/auto_approve[1]", "business_hours_only", No, "Tue 2026-11-24 20:00:00 Europe/Berlin", "Mon-Fri 09:00-17:00 Europe/Berlin"},
	}
	if !slices.Equal(d.Reasons, want) {
		t.Errorf("got:\n%+v\nwant:\n%+v", d.Reasons, want)
	}
	if d.MaxDuration != 8*hour || d.RequestTTL != 24*hour || !d.RecordSession || !slices.Equal(d.Reviewers, []string{"security", "team-lead"}) {
		t.Errorf("ceiling %s, ttl %s, record %v, reviewers %v", d.MaxDuration, d.RequestTTL, d.RecordSession, d.Reviewers)
	}
}

func TestOfflineRolesOfTeamsAreUnknownAndNotHeld(t *testing.T) {
	s := acme(t)
	f := Facts{At: at(t, "2026-11-24 10:00:00"), Offline: true}
	d := s.Evaluate(ask(grace, hour), f)
	i := slices.IndexFunc(d.Reasons, func(r Reason) bool { return r.Condition == "role" })
	if d.Outcome != NeedsReview || d.Reasons[i].Holds != Unknown {
		t.Fatalf("got %s, %+v", d.Outcome, d.Reasons[i])
	}
	wantWords(t, d.Reasons[i].Observed, "dba-team is unknown", "acme/dba were not read")

	f.Assumed = []string{"dba-team"}
	d = s.Evaluate(ask(grace, hour), f)
	if d.Outcome != Allow {
		t.Errorf("assuming the role: got %s", d.Outcome)
	}
	if s.CountApprovals(d, Proposal{Head: headSHA, Requester: grace}, nil, f).Satisfied {
		t.Error("a decision that rests on an assumption counts as approved")
	}
	if d = s.Evaluate(ask(mallory, hour), f); d.Outcome != Deny {
		t.Errorf("an unknown person with an assumed role: got %s", d.Outcome)
	}
	undefined := mustLoad(t, append(readDir(t, "acme")[:1], readDir(t, "design")[1], doc("r.yaml", "kind: Resource\nmetadata: {name: postgres-prod}\nspec: {vault: {engine: generic, path: a/b, policy: tac-a}}\n"))...)
	if d = undefined.Evaluate(ask(grace, hour), f); d.Outcome != Deny || d.Rule != "production-database/approval" {
		t.Errorf("assuming a role that no document defines: %s by %s", d.Outcome, d.Rule)
	}
	f.Assumed = nil
	f.Teams = map[TeamRef]Team{dbas: {ID: 72, Members: []int64{mallory.ID}}}
	if s.Holds("dba-team", mallory, f) != No || s.Holds("dba-team", grace, f) != No {
		t.Error("somebody who is not in People has a role")
	}
	f.Teams = map[TeamRef]Team{dbas: {Members: []int64{grace.ID}}}
	if s.Evaluate(ask(grace, hour), f).Outcome == Allow {
		t.Error("a team without its number counts as known")
	}
}

func TestDecisionJSONIsTheContract(t *testing.T) {
	d := acme(t).Evaluate(ask(carol, 2*hour).withTicket("INC-1"), facts(at(t, "2026-11-24 10:00:00")))
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Decision  string
		Rule      string
		Reasons   []struct{ Holds *bool }
		Approvers struct {
			Required int
			Roles    []string
			People   []string
		}
		Nearest string
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Decision != "review" || got.Rule != "production-database/approval" || got.Approvers.Required != 1 ||
		!slices.Equal(got.Approvers.People, []string{"dana", "eve"}) || !slices.Equal(got.Approvers.Roles, []string{"security", "team-lead"}) ||
		got.Nearest == "" || len(got.Reasons) == 0 || got.Reasons[0].Holds == nil {
		t.Errorf("got %s", text)
	}
	if text, err = json.Marshal(Decision{}); err != nil || !json.Valid(text) {
		t.Errorf("zero decision: %s %v", text, err)
	}
	wantWords(t, string(text), `"decision":"deny"`, `"reasons":[]`, `"roles":[]`, `"people":[]`)
}

// second is another policy on postgres-prod, with approvers of its own.
const secondPolicy = `kind: AccessPolicy
metadata: {name: all-databases}
spec:
  resources: [postgres-*]
  max_duration: 6h
  request_ttl: 1h
  auto_approve:
    conditions:
      - {name: dba-may, role: [dba-team], max_duration: 2h}
  approval: {required_approvers: 1, approver_roles: [manager]}
`

func TestSeveralPoliciesOnOneResource(t *testing.T) {
	s := acme(t, doc("zz.yaml", secondPolicy))
	f := facts(at(t, "2026-11-24 10:00:00"))
	tests := []struct {
		claim   string
		req     Request
		want    Outcome
		rule    string
		nearest string
	}{
		{"all must allow", ask(grace, 2*hour), Allow, "dba-may", ""},
		{"one that asks for review is enough to ask", ask(grace, 3*hour), NeedsReview, "all-databases/approval",
			"3h is over the 2h that dba-team gets without review: ask for 2h, or wait for @eve"},
		{"each asks for its own approvals", ask(ivan, hour), Deny, "all-databases/approval",
			"all-databases needs one approver of manager besides the requester, and nobody could ever approve: have whoever owns policies/ name more"},
		{"needs are kept apart", ask(carol, hour), NeedsReview, "all-databases/approval",
			"nothing lets @carol have postgres-prod without review: wait for @dana (for all-databases) and one of @dana, @eve (for production-database)"},
		{"the least ceiling counts", ask(grace, 7*hour), Deny, "all-databases/max_duration",
			"7h is over the 2h that dba-team gets without review: ask for 2h, or ask for 6h and wait for @eve (for all-databases) and one of @dana, @eve (for production-database)"},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			d := s.Evaluate(tt.req, f)
			if d.Outcome != tt.want || d.Rule != tt.rule || d.Nearest != tt.nearest {
				t.Errorf("got %s by %s\n got %s\nwant %s", d.Outcome, d.Rule, d.Nearest, tt.nearest)
			}
			if d.MaxDuration != 6*hour || d.RequestTTL != hour {
				t.Errorf("ceiling %s, ttl %s", d.MaxDuration, d.RequestTTL)
			}
		})
	}
}

func TestTheLeastOutcomeDecidesNotTheFirstName(t *testing.T) {
	s := acme(t, doc("aaa.yaml", "kind: AccessPolicy\nmetadata: {name: aaa}\nspec:\n  resource: postgres-prod\n  auto_approve: {conditions: [{max_duration: 1h}]}\n"))
	f := facts(at(t, "2026-11-24 10:00:00"))
	if d := s.Evaluate(ask(ivan, hour), f); d.Outcome != NeedsReview || d.Rule != "production-database/approval" || len(d.Needs) != 1 {
		t.Errorf("got %s by %s", d.Outcome, d.Rule)
	}
	if d := s.Evaluate(Request{Requester: grace, Resource: "postgres-prod", Duration: hour}, f); d.Outcome != Deny || d.Rule != "production-database/require_reason" {
		t.Errorf("got %s by %s", d.Outcome, d.Rule)
	}
}

func TestAnApproverWhoseTurnComesLaterIsWaitedFor(t *testing.T) {
	s := acme(t, doc("wiki.yaml", "kind: AccessPolicy\nmetadata: {name: wiki}\nspec:\n  resource: wiki\n  approval: {approver_roles: [on-call]}\n"))
	r := ask(alice, hour)
	r.Resource = "wiki"
	d := s.Evaluate(r, facts(at(t, "2026-11-24 10:00:00"))) // alice is on duty, and bob next
	if d.Outcome != NeedsReview || len(d.Needs[0].People) != 0 || d.Nearest != "nothing lets @alice have wiki without review: wait for one of on-call" {
		t.Errorf("got %s by %s: %s", d.Outcome, d.Rule, d.Nearest)
	}
}

const fieldsPolicy = `kind: AccessPolicy
metadata: {name: wiki}
spec:
  resource: wiki
  request: {roles: [developer, dba-team, payments, on-call]}
  auto_approve:
    conditions:
      - {name: owners-may, team_scope: true}
      - {name: duty-may, on_call: [on-call]}
      - {name: incidents-may, role: [developer], ticket: {pattern: 'INC-[0-9]+|SEC-[0-9]+'}}
      - {name: tracked-may, role: [dba-team], ticket: {tracker: jira, state: open}}
      - {name: nightly-may, role: [dba-team], calendar: nights}
      - {name: shifts-may, role: [dba-team], business_hours_only: true, calendar: shifts}
---
kind: Calendar
metadata: {name: shifts}
spec: {timezone: America/New_York, days: [sat], hours: "00:00-24:00"}
`

func TestTheResourceHasACeilingOfItsOwn(t *testing.T) {
	s := acme(t, doc("small.yaml", `kind: Resource
metadata: {name: small}
spec:
  max_duration: 30m
  vault: {engine: generic, path: kv/creds, policy: tac-kv}
---
kind: AccessPolicy
metadata: {name: small}
spec:
  resource: small
  auto_approve: {conditions: [{role: [dba-team]}]}
`))
	r := ask(grace, hour)
	r.Resource = "small"
	d := s.Evaluate(r, facts(at(t, "2026-11-24 10:00:00")))
	if d.Outcome != Deny || d.Rule != "resource/max_duration" || d.Nearest != "1h is over the 30m that small allows anybody: ask for 30m" || d.MaxDuration != 30*minute {
		t.Errorf("got %s by %s: %s", d.Outcome, d.Rule, d.Nearest)
	}
}

func TestEveryFieldOfACondition(t *testing.T) {
	s := acme(t, doc("wiki.yaml", fieldsPolicy))
	on := func(r Request) Request { r.Resource = "wiki"; return r }
	tests := []struct {
		claim   string
		req     Request
		at      string
		want    Outcome
		rule    string
		nearest string
	}{
		{"team_scope holds for an owner", ask(dana, hour), "2026-11-24 10:00:00", Allow, "owners-may", ""},
		{"on_call holds for whose turn it is", ask(alice, hour), "2026-11-24 10:00:00", Allow, "duty-may", ""},
		{"on_call does not hold for the next one", ask(bob, hour), "2026-11-24 10:00:00", Deny, "wiki/request.roles", "only developer, dba-team, payments or on-call may ask for wiki: ask for that role first, or ask somebody who has it"},
		{"a ticket matches the whole pattern", ask(carol, hour).withTicket("SEC-12"), "2026-11-24 10:00:00", Allow, "incidents-may", ""},
		{"a part of a ticket is no match", ask(carol, hour).withTicket("INC-12-b"), "2026-11-24 10:00:00", Deny, "wiki/approval",
			"the ticket INC-12-b is of another kind: name another ticket that matches INC-[0-9]+|SEC-[0-9]+"},
		{"what only a tracker knows does not hold", ask(grace, hour).withTicket("INC-1"), "2026-11-24 10:00:00", Deny, "wiki/approval",
			"it is outside business hours (Sat 00:00-24:00 America/New_York): ask again from Sat 2026-11-28 00:00 America/New_York"},
		{"24:00 is the end of the day", ask(grace, hour), "2026-11-29 05:59:59", Allow, "shifts-may", ""},
		{"and the next day is not in it", ask(grace, hour), "2026-11-29 06:00:00", Deny, "wiki/approval", ""},
		{"nor whoever is in doubt", ask(carol, hour), "", Deny, "wiki/request.roles", ""},
		{"whoever may not ask is denied first", ask(ivan, hour), "2026-11-24 10:00:00", Deny, "wiki/request.roles", ""},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			f := Facts{At: at(t, "2026-11-24 10:00:00")} // teams unknown
			if tt.at != "" {
				f = facts(at(t, tt.at))
			}
			d := s.Evaluate(on(tt.req), f)
			if d.Outcome != tt.want || d.Rule != tt.rule || tt.nearest != "" && tt.nearest != d.Nearest {
				t.Errorf("got %s by %s\n got %s\nwant %s\n%+v", d.Outcome, d.Rule, d.Nearest, tt.nearest, d.Reasons)
			}
		})
	}
	d := s.Evaluate(on(ask(grace, hour)), facts(at(t, "2026-11-24 10:00:00")))
	for _, want := range []Reason{
		{"tracked-may", "ticket.tracker", No, "no ticket", "a ticket that Jira knows"},
		{"nightly-may", "calendar", No, "there is no calendar nights", "within the calendar nights"},
	} {
		if !slices.Contains(d.Reasons, want) {
			t.Errorf("the trace lacks %+v", want)
		}
	}
}

func TestASetThatDidNotLoadDeniesAndSaysWhy(t *testing.T) {
	s, findings := Load(append(readDir(t, "acme"), doc("a.yaml", "kind: Fence\n")), time.LoadLocation)
	f := facts(at(t, "2026-11-24 10:00:00"))
	d := s.Evaluate(ask(alice, hour), f)
	if d.Outcome != Deny || d.Rule != "policies/invalid" || len(findings) != 1 {
		t.Errorf("got %s by %s, %v", d.Outcome, d.Rule, findings)
	}
	wantWords(t, d.Reasons[0].Observed, "policies/a.yaml:1:7", "unknown kind")
	if s.CountApprovals(Decision{Outcome: Allow, Requester: alice}, Proposal{Head: headSHA, Requester: alice}, nil, f).Satisfied {
		t.Error("a broken set counts approvals")
	}
	if s.Holds("security", eve, f) != Unknown {
		t.Error("a broken set knows roles")
	}
	for _, s := range []*Set{nil, {}} {
		if d := s.Evaluate(ask(alice, hour), f); d.Outcome != Deny || s.Err() == nil {
			t.Errorf("%v set: %s", s, d.Outcome)
		}
		_, person := s.Person(1001)
		_, login := s.PersonByLogin("alice")
		_, slack := s.PersonBySlack("U01ALICE")
		_, resource := s.Resource("postgres-prod")
		if person || login || slack || resource || s.Resources() != nil || len(s.Needs("x").Teams) != 0 || s.Lint() != nil || s.Holds("security", eve, f) != Unknown {
			t.Errorf("%v set knows something", s)
		}
	}
}

func TestNeedsNamesEveryTeamThatMatters(t *testing.T) {
	s := acme(t, doc("more.yaml", `kind: Role
metadata: {name: watchers}
spec: {github_teams: [Acme/watch], include_child_teams: true}
---
kind: AccessPolicy
metadata: {name: wiki}
spec:
  resource: wiki
  request: {roles: [watchers]}
  approval: {approver_roles: [dba-team]}
`))
	if got, want := s.Needs("postgres-prod").Teams, []TeamRef{dbas, developers}; !slices.Equal(got, want) {
		t.Errorf("postgres-prod needs %v", got)
	}
	if got, want := s.Needs("wiki").Teams, []TeamRef{dbas, {"acme", "watch", true}}; !slices.Equal(got, want) {
		t.Errorf("wiki needs %v", got)
	}
	if got := s.Needs("no-such-thing"); len(got.Teams) != 0 {
		t.Errorf("nothing needs %v", got)
	}
}

func BenchmarkEvaluateAllow(b *testing.B) {
	s := acme(b)
	f, r := facts(at(b, "2026-11-24 10:00:00")), ask(grace, hour)
	b.ReportAllocs()
	for b.Loop() {
		s.Evaluate(r, f)
	}
}
