package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

// The world of the property tests: policies, guardrails, requests and facts
// as generators draw them, over every key that there is.

const drawnPeople = `kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1001, manager: dana, pagerduty: PALICE, opsgenie: o-alice, jira: j-alice, linear: l-alice}
    - {github: bob, id: 1002, manager: dana, pagerduty: PBOB, opsgenie: o-bob, jira: j-bob, linear: l-bob}
    - {github: carol, id: 1003, manager: dana, pagerduty: PCAROL, opsgenie: o-carol, jira: j-carol, linear: l-carol}
    - {github: dana, id: 1004, manager: eve, pagerduty: PDANA, opsgenie: o-dana, jira: j-dana, linear: l-dana}
    - {github: eve, id: 1005, pagerduty: PEVE, opsgenie: o-eve, jira: j-eve, linear: l-eve}
    - {github: grace, id: 1007, manager: eve, pagerduty: PGRACE, opsgenie: o-grace, jira: j-grace, linear: l-grace}
    - {github: heidi, id: 1008, manager: eve, pagerduty: PHEIDI, opsgenie: o-heidi, jira: j-heidi, linear: l-heidi}
    - {github: ivan, id: 1009, pagerduty: PIVAN, opsgenie: o-ivan, jira: j-ivan, linear: l-ivan}
---
kind: Role
metadata: {name: on-call}
spec:
  rotation: {timezone: Europe/Berlin, start: 2026-01-05T09:00:00, shift: 168h, members: [alice, bob]}
---
kind: Role
metadata: {name: paged}
spec: {pagerduty: {schedule: PABC123, levels: [1]}}
---
kind: Role
metadata: {name: network}
spec: {members: [grace], opsgenie: {schedule: net}}
---
kind: Role
metadata: {name: dba-team}
spec: {github_teams: [acme/dba]}
---
kind: Role
metadata: {name: developer}
spec: {github_teams: [acme/developers]}
---
kind: Role
metadata: {name: team-lead}
spec: {members: [dana]}
---
kind: Role
metadata: {name: security}
spec: {members: [eve]}
---
kind: Role
metadata: {name: payments}
spec: {members: [dana], github_teams: [acme/dba]}
---
kind: Calendar
metadata: {name: default}
spec: {timezone: Europe/Berlin, days: [mon, tue, wed, thu, fri], hours: "09:00-17:00", holidays: [2026-10-05]}
`

// drawnSchedules are those of the roles above.
var drawnSchedules = []Schedule{{PagerDuty, "PABC123"}, {Opsgenie, "net"}}

// everyField is what a condition may ask.
var everyField = []string{
	"max_duration: 1h", "max_duration: 4h", "require_ticket: true", "business_hours_only: true", "team_scope: true",
	"on_call: [on-call]", "on_call: [paged]", "on_call: [on-call, network]",
	"ticket: {pattern: 'INC-[0-9]+'}", "ticket: {tracker: jira, state: open}", "ticket: {tracker: jira, assignee: requester, change_window: true}",
	"ticket: {pattern: '[A-Z]+-[0-9]+', tracker: github, state: closed}",
	"role: [developer]", "role: [dba-team, on-call]", "role: [helpers]", "role: [paged, network]", "calendar: nowhere",
	"environment: [production]", "environment: [staging, testing]",
	"at_most: {live_per_person: 1}", "at_most: {live_per_resource: 2}", "at_most: {daily_per_person: 2, daily_per_resource: 3}",
	`expression: 'request.duration <= duration("2h") || "developer" in requester.roles'`, `expression: 'resource.environment != "production" && request.ticket != ""'`,
	`expression: 'int(request.reason) > 0'`, `expression: 'now.getHours("Europe/Berlin") >= 8'`, wantsNoHelper,
}

// wantsNoHelper is a field that holds for those who do not hold a role: only
// an expression can say so.
const wantsNoHelper = `expression: '!("helpers" in requester.roles)'`

// everyLimit is what a guardrail may limit.
var everyLimit = []string{
	"max_duration: 30m", "max_duration: 2h", "max_duration: 6h", "never_auto_approve: true", "auto_approve_max_duration: 1h", "auto_approve_max_duration: 3h",
	"required_approvers: 2", "required_approvers: 3", "never_approvers: [helpers]", "never_approvers: [security, dba-team]", "never_approvers: [paged]",
}

var everyScope = []string{"resources: [wiki]", "resources: ['*']", "environment: [production]", "resources: ['w*'], environment: [staging]", "resources: [postgres-*]"}

// fields is a condition, or a guardrail's limits, as the generator draws it.
type fields []string

func (f fields) String() string { return "{" + strings.Join(f, ", ") + "}" }

// has reports whether the key of a field is there already.
func (f fields) has(field string) bool {
	return slices.ContainsFunc(f, func(have string) bool { return key(have) == key(field) })
}

func key(field string) string { k, _, _ := strings.Cut(field, ":"); return k }

func drawFields(from []string, most int) *rapid.Generator[fields] {
	return rapid.Custom(func(t *rapid.T) fields {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, most, key).Draw(t, "fields")
	})
}

// drawn is a repository: for each policy its conditions and what else it says.
type drawn struct {
	policies    [][]fields
	extra       []string // of each policy: further lines of its spec
	special     []string // of each policy: what it says of emergencies and extensions
	approval    []string // of each policy: what stands in approval besides the roles
	guardrails  []fields
	scopes      []string // of each guardrail
	environment string
	helpers     []string
}

var somePeople = []string{"alice", "bob", "carol", "dana", "ivan"}

func drawRepository(t *rapid.T) drawn {
	d := drawn{
		policies:    rapid.SliceOfN(rapid.SliceOfN(drawFields(everyField, 4), 0, 3), 1, 3).Draw(t, "policies"),
		guardrails:  rapid.SliceOfN(drawFields(everyLimit, 3), 0, 2).Draw(t, "guardrails"),
		environment: rapid.SampledFrom([]string{"", "production", "staging"}).Draw(t, "environment"),
		helpers:     rapid.SliceOfNDistinct(rapid.SampledFrom(somePeople), 1, 4, rapid.ID).Draw(t, "helpers"),
	}
	for range d.policies {
		d.extra = append(d.extra, rapid.SampledFrom([]string{
			"", "  audit: {require_reason: true}\n", "  max_duration: 3h\n", "  request: {roles: [developer, dba-team, helpers, on-call]}\n",
		}).Draw(t, "extra"))
		d.special = append(d.special, rapid.SampledFrom(everySpecial).Draw(t, "special"))
		d.approval = append(d.approval, rapid.SampledFrom(everyApproval).Draw(t, "approval"))
	}
	for range d.guardrails {
		d.scopes = append(d.scopes, rapid.SampledFrom(everyScope).Draw(t, "scope"))
	}
	return d
}

// files writes the repository.
func (d *drawn) files() []File {
	resource := "kind: Resource\nmetadata: {name: wiki}\nspec:\n  owners: [payments]\n  vault: {engine: generic, path: wiki/creds/editor, policy: tac-wiki}\n"
	if d.environment != "" {
		resource += "  environment: " + d.environment + "\n"
	}
	files := []File{
		doc("world.yaml", drawnPeople),
		doc("wiki.yaml", resource),
		doc("helpers.yaml", "kind: Role\nmetadata: {name: helpers}\nspec: {members: ["+strings.Join(d.helpers, ", ")+"]}\n"),
	}
	for i, rules := range d.policies {
		var b strings.Builder
		fmt.Fprintf(&b, "kind: AccessPolicy\nmetadata: {name: p%d}\nspec:\n  resources: [wiki, postgres-%d*]\n", i, i)
		if len(rules) > 0 {
			b.WriteString("  auto_approve:\n    conditions:\n")
		}
		for _, r := range rules {
			fmt.Fprintf(&b, "      - %s\n", r)
		}
		b.WriteString(d.extra[i] + d.special[i])
		fmt.Fprintf(&b, "  approval: {%s}\n", d.approval[i])
		files = append(files, doc(fmt.Sprintf("p%d.yaml", i), b.String()))
	}
	for i, limits := range d.guardrails {
		text := fmt.Sprintf("kind: Guardrail\nmetadata: {name: g%d}\nspec: {%s, %s}\n", i, d.scopes[i], strings.Trim(limits.String(), "{}"))
		files = append(files, doc(fmt.Sprintf("g%d.yaml", i), text))
	}
	return files
}

// load loads the repository, which has to be sound.
func (d *drawn) load(t *rapid.T) *Set {
	s, findings := Load(d.files(), time.LoadLocation)
	if s.Err() != nil {
		t.Fatalf("load: %v\n%+v", findings, d)
	}
	return s
}

// everySpecial is what a policy may say of emergencies and extensions.
var everySpecial = []string{
	"",
	"  break_glass: {roles: [helpers, paged, developer], max_duration: 2h}\n",
	"  break_glass: {roles: [on-call, dba-team, team-lead, helpers], require_ticket: false, review_within: 1h}\n  extensions: {each: 4h}\n",
	"  break_glass: {max_duration: 1h}\n",
	"  extensions: {max: 2, each: 1h}\n",
	"  extensions: {max: 3}\n  break_glass: {roles: [helpers, network], require_ticket: true, max_duration: 4h, review_within: 48h}\n",
}

// everyApproval is who may approve, how many, and who later on.
var everyApproval = []string{
	"approver_roles: [team-lead, security, helpers, manager]",
	"approver_roles: [team-lead, security, helpers, manager]",
	"approver_roles: [manager], escalate: [{after: 15m, to: security}, {after: 30m, to: helpers}], approve_from: [github]",
	"approver_roles: [security], required_approvers: 2, escalate: [{after: 1h, to: paged}, {after: 24h, to: dba-team}], approve_from: [github, slack]",
}

func drawRequest(t *rapid.T) Request {
	r := drawOrdinary(t)
	switch rapid.IntRange(0, 5).Draw(t, "kind of request") {
	case 0:
		r.BreakGlass = true
		if rapid.IntRange(0, 9).Draw(t, "emergency ahead") == 0 {
			r.Start = firstSecond.Add(90 * 24 * hour)
		}
	case 1:
		r.Extends = "20260930-k3v9q2m4tz"
		r.BreakGlass = rapid.IntRange(0, 9).Draw(t, "both") == 0
		if rapid.IntRange(0, 9).Draw(t, "start") == 0 {
			r.Start = firstSecond
		}
	}
	return r
}

func drawOrdinary(t *rapid.T) Request {
	return Request{
		Requester: rapid.SampledFrom([]grants.Principal{alice, bob, carol, dana, grace, heidi, ivan, mallory}).Draw(t, "who"),
		Resource:  rapid.SampledFrom([]string{"wiki", "wiki", "wiki", "wiki", "wikipedia"}).Draw(t, "what"),
		Duration:  rapid.SampledFrom([]time.Duration{0, time.Second, minute, hour, hour + 1, hour + time.Second, 2 * hour, 4 * hour, 5 * hour, 9 * hour, 1 << 60}).Draw(t, "duration"),
		Reason:    rapid.SampledFrom([]string{"", "because"}).Draw(t, "reason"),
		Ticket:    rapid.SampledFrom([]string{"", "INC-1", "OPS-2", "not one"}).Draw(t, "ticket"),
	}
}

var firstSecond = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

// drawFacts draws what is known; any source may be silent, or not have been
// asked.
func drawFacts(t *rapid.T, req Request) Facts {
	f := facts(firstSecond.Add(time.Duration(rapid.IntRange(0, 60*24*3600).Draw(t, "second")) * time.Second))
	f.Duty, f.Tickets = map[Schedule]Duty{}, map[TicketRef]Ticket{}
	knows := func(what string) (yes bool, silent string) {
		switch rapid.IntRange(0, 9).Draw(t, what) {
		case 0:
			return false, ""
		case 1:
			return false, what + " did not answer"
		}
		return true, ""
	}
	for _, ref := range []TeamRef{developers, dbas} {
		if yes, _ := knows(ref.String()); !yes {
			delete(f.Teams, ref)
		}
	}
	for _, ref := range drawnSchedules {
		duty := Duty{}
		if yes, silent := knows(ref.Pager.Title()); yes {
			duty.ReadAt = f.At
			for range rapid.IntRange(0, 2).Draw(t, "on call") {
				account := rapid.SampledFrom(somePeople).Draw(t, "account")
				if account = "o-" + account; ref.Pager == PagerDuty {
					account = "P" + strings.ToUpper(account[2:])
				}
				duty.OnCall = append(duty.OnCall, OnCall{account, rapid.IntRange(1, 2).Draw(t, "level")})
			}
		} else {
			duty.Silent = silent
		}
		f.Duty[ref] = duty
	}
	for _, tracker := range []Tracker{Jira, GitHubIssues} {
		f.Tickets[TicketRef{tracker, req.Ticket}] = drawTicket(t, f.At, tracker, knows)
	}
	if waited := rapid.SampledFrom([]time.Duration{-1, 0, 15*minute - 1, 15 * minute, hour, 24 * hour}).Draw(t, "waited"); waited >= 0 {
		f.Since = f.At.Add(-waited)
	}
	f.Base, f.Overdue = drawOthers(t, req, f.At)
	if yes, silent := knows("the repository"); yes {
		f.Uses.ReadAt = f.At
		for range rapid.IntRange(0, 3).Draw(t, "uses") {
			approved := f.At.Add(-time.Duration(rapid.IntRange(0, 26).Draw(t, "hours ago")) * hour)
			f.Uses.Grants = append(f.Uses.Grants, Use{
				Person: rapid.SampledFrom([]int64{alice.ID, bob.ID, carol.ID}).Draw(t, "person"), Resource: rapid.SampledFrom([]string{"wiki", "other"}).Draw(t, "resource"),
				ApprovedAt: approved, Until: approved.Add(time.Duration(rapid.IntRange(1, 8).Draw(t, "hours")) * hour),
			})
		}
	} else {
		f.Uses.Silent = silent
	}
	return f
}

// drawOthers draws what is known of other grants. Nearly always the one that
// is extended can be, and nothing is overdue.
func drawOthers(t *rapid.T, req Request, now time.Time) (base *Base, overdue *Overdue) {
	odd := func(what string) bool { return rapid.IntRange(0, 19).Draw(t, what) == 0 }
	if req.Extends != "" && !odd("base not read") {
		base = &Base{
			Grant: req.Extends, Requester: req.Requester.ID, Resource: req.Resource, Live: !odd("ended"), BreakGlass: odd("an emergency extended"),
			Total:      rapid.SampledFrom([]time.Duration{0, minute, hour - 1, hour, 3 * hour, 7 * hour, 200 * hour, -hour}).Draw(t, "total"),
			Extensions: rapid.IntRange(0, 3).Draw(t, "extensions"), ReadAt: now, Source: "records",
		}
		base.EndsAt = now.Add(rapid.SampledFrom([]time.Duration{minute, time.Second, hour, 0}).Draw(t, "left"))
		if odd("of somebody else") {
			base.Requester++
		}
		if odd("of something else") {
			base.Resource += "2"
		}
	}
	if req.BreakGlass && !odd("overdue not read") {
		overdue = &Overdue{ReadAt: now, Source: "records"}
		if odd("overdue") {
			overdue.Grants = []grants.ID{"20260901-k3v9q2m4tz"}
		}
	}
	return base, overdue
}

func drawTicket(t *rapid.T, now time.Time, tracker Tracker, knows func(string) (bool, string)) Ticket {
	yes, silent := knows(tracker.Title())
	if !yes {
		return Ticket{Silent: silent}
	}
	if rapid.IntRange(0, 4).Draw(t, "exists") == 0 {
		return Ticket{Exists: No, ReadAt: now}
	}
	ticket := Ticket{
		Exists: Yes, ReadAt: now, Open: Truth(rapid.IntRange(0, 2).Draw(t, "open")), State: rapid.SampledFrom([]string{"", "open", "Closed"}).Draw(t, "state"),
	}
	if who := rapid.SampledFrom(append([]string{""}, somePeople...)).Draw(t, "assignee"); who != "" {
		ticket.Assignees = []string{"j-" + who}
	}
	if rapid.Bool().Draw(t, "window") {
		ticket.From = now.Add(-time.Duration(rapid.IntRange(-1, 1).Draw(t, "begun")) * hour)
		ticket.To = ticket.From.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "open for")) * hour)
	}
	return ticket
}

// always runs a property on drawn repositories, requests and facts.
func always(t *testing.T, property func(t *rapid.T, d drawn, req Request, f Facts)) {
	rapid.Check(t, func(t *rapid.T) {
		d, req := drawRepository(t), drawRequest(t)
		property(t, d, req, drawFacts(t, req))
	})
}
