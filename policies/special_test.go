package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// duty is a resource with everything that a policy may say of emergencies,
// extensions and escalation.
const dutyPolicy = `kind: Resource
metadata: {name: db}
spec: {owners: [team-lead], vault: {engine: generic, path: a/db, policy: tac-db}}
---
kind: AccessPolicy
metadata: {name: db}
spec:
  resource: db
  max_duration: 4h
  auto_approve: {conditions: [{role: [developer], max_duration: 3h, ticket: {pattern: 'INC-[0-9]+'}}]}
  approval:
    approver_roles: [team-lead]
    escalate: [{after: 15m, to: security}, {after: 1h, to: dba-team}]
    approve_from: [slack, github]
  extensions: {max: 2, each: 1h}
  break_glass: {roles: [dba-team], max_duration: 1h, review_within: 6h}
`

const baseID grants.ID = "20261124-k3v9q2m4tz"

// baseOf is a grant that carol may extend, an hour long so far.
func baseOf(now time.Time) *Base {
	return &Base{Grant: baseID, Requester: carol.ID, Resource: "db", Total: hour, EndsAt: now.Add(minute), Live: true, ReadAt: now, Source: "records"}
}

func dutyWorld(t testing.TB, more ...File) (*Set, Facts) {
	t.Helper()
	s := acme(t, append(more, doc("db.yaml", dutyPolicy))...)
	f := facts(at(t, "2026-11-24 10:00:00"))
	f.Overdue = &Overdue{ReadAt: f.At, Source: "records"}
	return s, f
}

func askDB(who grants.Principal, d time.Duration) Request {
	return Request{Requester: who, Resource: "db", Duration: d, Reason: "Payments are down", Ticket: "INC-1"}
}

// What is extended has to be the requester's own, on the same resource, in
// force, ordinary, and known: each thing by itself denies.
func TestOnlyALiveGrantOfOnesOwnIsExtended(t *testing.T) {
	s, f := dutyWorld(t)
	req := askDB(carol, hour)
	req.Extends = baseID
	for _, tt := range []struct {
		claim   string
		change  func(*Request, *Facts)
		outcome Outcome
		key     string // of the reason that does not hold
		nearest string
	}{
		{"as it should be", func(*Request, *Facts) {}, Allow, "", ""},
		{"not read", func(_ *Request, f *Facts) { f.Base = nil }, Deny, "extends", "nothing is known of 20261124-k3v9q2m4tz just now, so it cannot be extended: make a new request"},
		{"nobody says when it was read", func(_ *Request, f *Facts) { f.Base.ReadAt = time.Time{} }, Deny, "extends", "nothing is known"},
		{"another grant was read", func(_ *Request, f *Facts) { f.Base.Grant = "20261101-k3v9q2m4tz" }, Deny, "extends", "20261101-k3v9q2m4tz was read and not 20261124-k3v9q2m4tz: make a new request"},
		{"somebody else's", func(_ *Request, f *Facts) { f.Base.Requester = dana.ID }, Deny, "extends.requester", "is not a grant of carol, and nobody extends what somebody else has: make a new request"},
		{"nobody's", func(r *Request, f *Facts) { f.Base.Requester, r.Requester.ID = 0, 0 }, Deny, "extends.requester", "People"},
		{"of another resource", func(_ *Request, f *Facts) { f.Base.Resource = "postgres-prod" }, Deny, "extends.resource", "is a grant on postgres-prod, not on db: make a new request"},
		{"not in force", func(_ *Request, f *Facts) { f.Base.Live = false }, Deny, "extends.live", "20261124-k3v9q2m4tz is over: make a new request"},
		{"ended a moment ago", func(_ *Request, f *Facts) { f.Base.Live, f.Base.EndsAt = false, f.At }, Deny, "extends.live", "20261124-k3v9q2m4tz is over: make a new request"},
		{"beginning now, and not in force", func(_ *Request, f *Facts) { f.Base.Live, f.Base.EndsAt = false, f.At.Add(hour) }, Deny, "extends.live", "20261124-k3v9q2m4tz is over: make a new request"},
		{"to begin in a second", func(_ *Request, f *Facts) { f.Base.Live, f.Base.EndsAt = false, f.At.Add(hour+time.Second) }, Deny, "extends.live", "20261124-k3v9q2m4tz has not started: take it back and ask for longer"},
		{"to begin, and nobody gets the total", func(_ *Request, f *Facts) { f.Base.Live, f.Base.Total, f.Base.EndsAt = false, 4*hour, f.At.Add(5*hour) }, Deny, "extends.live", "20261124-k3v9q2m4tz has not started: make a new request"},
		{"nobody says until when it is", func(_ *Request, f *Facts) { f.Base.Live, f.Base.EndsAt = false, time.Time{} }, Deny, "extends.live", "20261124-k3v9q2m4tz is not in force (it has not started, or is over): make a new request"},
		{"an emergency", func(_ *Request, f *Facts) { f.Base.BreakGlass = true }, Deny, "extends.break_glass", "what was given by breaking the glass is not extended: make a new request"},
		{"by an emergency", func(r *Request, _ *Facts) { r.BreakGlass = true }, Deny, "extends.break_glass", "breaking the glass extends nothing"},
		{"with a start of its own", func(r *Request, f *Facts) { r.Start = f.At.Add(hour) }, Deny, "extends.start", "an extension begins where the grant ends"},
		{"once more", func(_ *Request, f *Facts) { f.Base.Extensions = 1 }, Allow, "", ""},
		{"too often", func(_ *Request, f *Facts) { f.Base.Extensions = 2 }, Deny, "extensions.max", "was extended twice, and twice is the most: make a new request"},
		{"less than never", func(_ *Request, f *Facts) { f.Base.Extensions = -1 }, Deny, "extensions.max", ""},
		{"up to the whole", func(_ *Request, f *Facts) { f.Base.Total = 2 * hour }, Allow, "", ""},
		{"over a bound that is used up", func(_ *Request, f *Facts) { f.Base.Total = 3 * hour }, NeedsReview, "max_duration", "4h in all is over the 3h that developers get without review: wait for @dana"},
		{"over it, and without a ticket", func(r *Request, f *Facts) { f.Base.Total, r.Ticket = 3*hour, "" }, NeedsReview, "max_duration", "nothing lets @carol have db for 4h in all without review: wait for @dana"},
		{"a part of a second counts as one", func(_ *Request, f *Facts) { f.Base.Total = 2*hour + 1 }, NeedsReview, "max_duration", "extend by 59m59s, or wait for @dana"},
		{"a negative length gives nothing back", func(_ *Request, f *Facts) { f.Base.Total = -30 * minute }, Deny, "duration", ""},
		{"a length that overflows", func(r *Request, f *Facts) { f.Base.Total, r.Duration = 1<<62, 1<<63-1 }, Deny, "duration", ""},
	} {
		req, facts := req, f
		facts.Base = baseOf(f.At)
		tt.change(&req, &facts)
		d := s.Evaluate(req, facts)
		if d.Outcome != tt.outcome || d.Outcome == Allow && d.Nearest != "" {
			t.Errorf("%s: %s by %s: %s", tt.claim, d.Outcome, d.Rule, d.Nearest)
		}
		wantWords(t, d.Nearest, tt.nearest)
		if tt.key != "" && !slices.ContainsFunc(d.Reasons, func(r Reason) bool { return r.Condition == tt.key && r.Holds != Yes }) {
			t.Errorf("%s: the trace has %s hold:\n%+v", tt.claim, tt.key, d.Reasons)
		}
		if d.Duration != req.Duration {
			t.Errorf("%s: the decision is about %s", tt.claim, d.Duration)
		}
	}
}

func TestExtensionsAreTheLeastThatAnyPolicySays(t *testing.T) {
	const more = "kind: AccessPolicy\nmetadata: {name: z}\nspec:\n  resource: db\n  approval: {approver_roles: [team-lead]}\n"
	for _, tt := range []struct {
		claim, said string
		most        int
		each        time.Duration
	}{
		{"the other says less", "  extensions: {max: 1, each: 30m}\n", 1, 30 * minute},
		{"the other says more", "  extensions: {max: 5, each: 2h}\n", 2, hour},
		{"each says less of one", "  extensions: {max: 5, each: 30m}\n", 2, 30 * minute},
		{"only max: an hour each", "  extensions: {max: 9}\n", 2, hour},
		{"only each: once", "  extensions: {each: 8h}\n", 1, hour},
		{"the other says nothing", "", 0, 0},
		{"the other says less than nothing", "  extensions: {}\n", 0, 0},
	} {
		s, _ := dutyWorld(t, doc("z.yaml", more+tt.said))
		if most, each := s.Extensions("db"); most != tt.most || each != tt.each {
			t.Errorf("%s: %d times %s", tt.claim, most, each)
		}
	}
	s, _ := dutyWorld(t)
	for _, name := range []string{"postgres-prod", "nowhere"} {
		if most, each := s.Extensions(name); most != 0 || each != 0 {
			t.Errorf("%s: %d times %s", name, most, each)
		}
	}
	if most, _ := (&Set{}).Extensions("db"); most != 0 {
		t.Error("a set that did not load lets people extend")
	}
}

func TestBrokenGlassIsReviewedWithinTheLeastThatAnyPolicySays(t *testing.T) {
	s, f := dutyWorld(t, doc("z.yaml", "kind: AccessPolicy\nmetadata: {name: z}\nspec:\n  resource: db\n  break_glass: {roles: [dba-team]}\n"))
	req := askDB(grace, hour)
	req.BreakGlass = true
	d := s.Evaluate(req, f)
	if d.Outcome != Allow || !d.BreakGlass || d.ReviewWithin != 6*hour || d.Rule != "db/break_glass" || len(d.Needs) > 0 || d.ApproveFrom != nil {
		t.Errorf("%+v", d)
	}
	for claim, unread := range map[string]*Overdue{"not read": nil, "nobody says when it was read": {Source: "records"}} {
		f := f
		f.Overdue = unread
		if d := s.Evaluate(req, f); d.Outcome != Deny || d.Rule != "request/break_glass" {
			t.Errorf("%s: %s by %s", claim, d.Outcome, d.Rule)
		}
	}
	f.Overdue.Grants = []grants.ID{"20261120-bbbbbbbbbb", "20261119-aaaaaaaaaa"}
	const want = "the review of 20261119-aaaaaaaaaa and 20261120-bbbbbbbbbb is overdue: for each, an owner of its resource or security (not grace) has to close its issue as completed first"
	if d := s.Evaluate(req, f); d.Outcome != Deny || d.Rule != "request/break_glass" || d.Nearest != want {
		t.Errorf("%s by %s: %s", d.Outcome, d.Rule, d.Nearest)
	}
	req.BreakGlass = false
	if d := s.Evaluate(req, f); d.BreakGlass || d.ReviewWithin != 0 || d.Rule == "request/break_glass" {
		t.Errorf("an ordinary request: %+v", d)
	}
}

func TestAPolicyWithoutRolesForEmergenciesSaysSo(t *testing.T) {
	for said, want := range map[string]string{"": "the policy z has no break_glass", "  break_glass: {max_duration: 1h}\n": "the policy z names no roles in break_glass"} {
		s, f := dutyWorld(t, doc("z.yaml", "kind: AccessPolicy\nmetadata: {name: z}\nspec:\n  resource: db\n"+said))
		req := askDB(grace, hour)
		req.BreakGlass = true
		if d := s.Evaluate(req, f); d.Outcome != Deny || d.Rule != "z/break_glass" || d.Nearest != want {
			t.Errorf("%s by %s: %s", d.Outcome, d.Rule, d.Nearest)
		}
	}
}

// A denial by those who decide on the resource stops broken glass as well.
func TestAnEmergencyCanBeDenied(t *testing.T) {
	s, f := dutyWorld(t)
	req := askDB(grace, hour)
	req.BreakGlass = true
	d, p := s.Evaluate(req, f), Proposal{Head: headSHA, Requester: grace}
	if c := s.CountApprovals(d, p, nil, f); !c.Satisfied {
		t.Errorf("without reviews: %+v", c)
	}
	if c := s.CountApprovals(d, p, written(t, "dana CHANGES_REQUESTED head"), f); c.Satisfied {
		t.Errorf("with a denial: %+v", c)
	}
}

// TestAStepOfAnEscalationCountsFromItsSecondOn counts both an approval and a
// denial by whoever the step adds, around the time at which it comes.
func TestAStepOfAnEscalationCountsFromItsSecondOn(t *testing.T) {
	s, f := dutyWorld(t)
	req := askDB(carol, 4*hour)
	p := Proposal{Head: headSHA, Requester: carol}
	for _, tt := range []struct {
		claim           string
		since           time.Time
		eve, grace      bool
		toCome          []string
		deniesAgainDana bool
	}{
		{"nobody was asked", time.Time{}, false, false, nil, true},
		{"a second before", f.At.Add(-15*minute + time.Second), false, false, []string{"security", "dba-team"}, true},
		{"at its second", f.At.Add(-15 * minute), true, false, []string{"dba-team"}, false},
		{"at its second, which is not over", f.At.Add(-15*minute + 999*time.Millisecond), true, false, []string{"dba-team"}, false},
		{"an hour", f.At.Add(-hour), true, true, nil, false},
		{"asked for later than now", f.At.Add(hour), false, false, []string{"security", "dba-team"}, true},
	} {
		f := f
		f.Since = tt.since
		d := s.Evaluate(req, f)
		if d.Outcome != NeedsReview || d.Rule != "db/approval" {
			t.Fatalf("%s: %s by %s", tt.claim, d.Outcome, d.Rule)
		}
		satisfied := func(lines ...string) bool { return s.CountApprovals(d, p, written(t, lines...), f).Satisfied }
		if got := satisfied("eve APPROVED head"); got != tt.eve {
			t.Errorf("%s: eve's approval suffices: %t", tt.claim, got)
		}
		if got := satisfied("grace APPROVED head"); got != tt.grace {
			t.Errorf("%s: grace's approval suffices: %t", tt.claim, got)
		}
		if got := satisfied("eve CHANGES_REQUESTED head", "dana APPROVED head"); got != tt.deniesAgainDana {
			t.Errorf("%s: dana's approval suffices against eve's denial: %t", tt.claim, got)
		}
		var roles []string
		for _, e := range d.Escalations {
			if !e.At.After(f.At.Truncate(time.Second)) || e.Policy != "db" {
				t.Errorf("%s: %+v is still to come at %s", tt.claim, e, f.At)
			}
			roles = append(roles, e.Role)
		}
		if !slices.Equal(roles, tt.toCome) {
			t.Errorf("%s: still to come are %v", tt.claim, roles)
		}
		if recorded, err := ParseFacts(f.Line()); err != nil || fmt.Sprint(s.Evaluate(req, recorded).Needs) != fmt.Sprint(d.Needs) {
			t.Errorf("%s: by the record other people decide: %v", tt.claim, err)
		}
	}
}

// Whoever may approve later on makes a policy one that can be approved, but
// not if the request has lapsed by then.
func TestAnEscalationThatNoRequestLivesToSeeIsNone(t *testing.T) {
	for after, want := range map[string]Outcome{"29m59s": NeedsReview, "30m": Deny} {
		s := acme(t, doc("x.yaml", `kind: Resource
metadata: {name: x}
spec: {vault: {engine: generic, path: a/x, policy: tac-x}}
---
kind: AccessPolicy
metadata: {name: x}
spec:
  resource: x
  request_ttl: 30m
  approval: {required_approvers: 2, approver_roles: [team-lead], escalate: [{after: `+after+`, to: security}]}
`))
		f := facts(at(t, "2026-11-24 10:00:00"))
		d := s.Evaluate(Request{Requester: ivan, Resource: "x", Duration: hour}, f)
		if d.Outcome != want {
			t.Errorf("after %s: %s by %s: %s", after, d.Outcome, d.Rule, d.Nearest)
		}
	}
}

func TestWhereReviewsMayBeGiven(t *testing.T) {
	const fault = "spec.approval.approve_from: github is missing; whoever may approve can always do so on GitHub, and nobody can tell such a review from another"
	for written, want := range map[string]string{
		"[github]": "[github]", "[cli, github]": "[cli github]", "[slack, github, cli]": "[cli github slack]", "": "[cli github]",
		"[slack, cli]": fault, "[]": fault, "[github, slak]": `expected cli, github or slack, found "slak"; did you mean slack?`, "[github, github]": "a second time",
	} {
		line := ""
		if written != "" {
			line = ", approve_from: " + written
		}
		s, findings := Load(append(readDir(t, "acme"), doc("db.yaml", strings.Replace(dutyPolicy, "\n    approve_from: [slack, github]", "", 1)), doc("x.yaml",
			"kind: AccessPolicy\nmetadata: {name: x}\nspec:\n  resource: redis-prod\n  approval: {approver_roles: [team-lead]"+line+"}\n---\nkind: Resource\nmetadata: {name: redis-prod}\nspec: {vault: {engine: generic, path: a/r, policy: tac-r}}\n")), time.LoadLocation)
		if s.Err() != nil {
			wantWords(t, fmt.Sprint(findings), want)
			continue
		}
		d := s.Evaluate(Request{Requester: ivan, Resource: "redis-prod", Duration: hour}, facts(at(t, "2026-11-24 10:00:00")))
		if got := fmt.Sprint(d.ApproveFrom); got != want {
			t.Errorf("%s: %s", written, got)
		}
	}
}

func TestADecisionShowsWhatIsStillToCome(t *testing.T) {
	s, f := dutyWorld(t)
	f.Since = f.At.Add(-20 * minute)
	var shown struct {
		Approvers   struct{ From, Roles, People []string }
		Escalations []struct{ Policy, Role, At string }
		BreakGlass  bool   `json:"break_glass"`
		Within      string `json:"review_within"`
	}
	read := func(req Request) {
		t.Helper()
		data, err := json.Marshal(s.Evaluate(req, f))
		if err == nil {
			err = json.Unmarshal(data, &shown)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	read(askDB(carol, 4*hour))
	if got, want := fmt.Sprint(shown), "{{[github slack] [security team-lead] [dana eve]} [{db dba-team 2026-11-24T09:40:00Z}] false }"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	req := askDB(grace, hour)
	req.BreakGlass = true
	read(req)
	if !shown.BreakGlass || shown.Within != "6h" {
		t.Errorf("%+v", shown)
	}
}

func TestWhoIsAtWork(t *testing.T) {
	s := mustLoad(t, doc("x.yaml", `kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1001}
    - {github: bob, id: 1002, calendar: night}
    - {github: carol, id: 1003, calendar: nowhere}
---
kind: Calendar
metadata: {name: default}
spec: {timezone: Europe/Berlin, days: [mon, tue, wed, thu, fri], hours: "09:00-17:00"}
---
kind: Calendar
metadata: {name: night}
spec: {timezone: Europe/Berlin, days: [tue], hours: "17:00-24:00"}
`))
	day, night := at(t, "2026-11-24 09:00:00"), at(t, "2026-11-24 17:00:00")
	for _, tt := range []struct {
		who  int64
		when time.Time
		want Truth
	}{
		{alice.ID, day, Yes}, {alice.ID, day.Add(-1), No}, {alice.ID, night.Add(-1), Yes}, {alice.ID, night, No},
		{bob.ID, day, No}, {bob.ID, night, Yes}, {carol.ID, day, Unknown}, {mallory.ID, day, Unknown}, {alice.ID, time.Time{}, Unknown},
	} {
		if got := s.AtWork(tt.who, tt.when); got != tt.want {
			t.Errorf("%d at %s: %s", tt.who, tt.when, got)
		}
	}
	if bob, _ := s.Person(bob.ID); bob.Calendar != "night" {
		t.Errorf("%+v", bob)
	}
	bare := mustLoad(t, doc("x.yaml", "kind: People\nmetadata: {name: p}\nspec: {people: [{github: alice, id: 1001}]}\n"))
	if got := bare.AtWork(alice.ID, day); got != Unknown {
		t.Errorf("without a calendar: %s", got)
	}
	if got := (&Set{}).AtWork(alice.ID, day); got != Unknown {
		t.Errorf("by a set that did not load: %s", got)
	}
}

// Whoever may approve by now may stop what is allowed without them, too.
func TestWhoeverAStepAddsMayDenyWhatIsAllowed(t *testing.T) {
	s, f := dutyWorld(t)
	p := Proposal{Head: headSHA, Requester: carol}
	for waited, satisfied := range map[time.Duration]bool{15*minute - time.Second: true, 15 * minute: false} {
		f.Since = f.At.Add(-waited)
		d := s.Evaluate(askDB(carol, hour), f)
		if got := s.CountApprovals(d, p, written(t, "eve CHANGES_REQUESTED head"), f).Satisfied; d.Outcome != Allow || got != satisfied {
			t.Errorf("after %s: %s, and with eve's denial satisfied is %t", waited, d.Outcome, got)
		}
	}
}

// Requests that are no ordinary ones leave no garbage either.
func TestASpecialDecisionAllocatesNothing(t *testing.T) {
	s, f := dutyWorld(t)
	f.Base, f.Since = baseOf(f.At), f.At.Add(-hour)
	j := s.Judge()
	emergency, extension, both := askDB(grace, hour), askDB(carol, hour), askDB(carol, hour)
	emergency.BreakGlass, both.BreakGlass = true, true
	extension.Extends, both.Extends = baseID, baseID
	for _, req := range []Request{emergency, extension, both} {
		if n := testing.AllocsPerRun(100, func() { j.Decide(&req, &f) }); n != 0 {
			t.Errorf("%+v: %v allocations", req, n)
		}
	}
}
