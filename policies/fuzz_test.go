package policies

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// everyKey is a repository in one file that uses every key there is.
const everyKey = `# all of it
kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1001, slack: U01ALICE, email: alice@acme.test, manager: dana, pagerduty: PALICE, opsgenie: 4513b7ea-3b91-438f-b7e4-e3e54af9147c, jira: "5b10a2844c20165700ede21g", linear: 2b1b2b1c-7a5e-4f0e-9d8b-2f1f0c3d4e5f}
    - {github: dana, id: 1004, slack: U01DANA, email: dana@acme.test}
---
apiVersion: tac/v1
kind: Role
metadata: {name: on-call}
spec:
  members: [alice]
  github_teams: [acme/developers]
  include_child_teams: true
  rotation: {timezone: Europe/Berlin, start: 2026-01-05T09:00:00, shift: 168h, members: [alice, dana]}
  pagerduty: {schedule: PABC123, levels: [1, 2]}
  opsgenie: {schedule: 0a1b2c3d-0000-4000-8000-000000000001}
---
kind: Role
metadata: {name: security}
spec: {members: [dana]}
---
kind: Calendar
metadata: {name: default}
spec: {timezone: Europe/Berlin, days: [mon, tue, wed, thu, fri], hours: "09:00-17:00", holidays: [2026-12-25]}
---
kind: Resource
metadata: {name: postgres-prod}
spec:
  description: payments primary, read-write
  environment: production
  owners: [security]
  vault: {engine: ssh, path: ssh/sign/x, policy: tac-x, principals: [deploy], slice: 10m}
  max_duration: 8h
  connect: psql -h db.internal -U "$TAC_USERNAME" payments
---
kind: AccessPolicy
metadata: {name: production-database}
spec:
  resources: [postgres-*]
  request: {roles: [on-call, security]}
  auto_approve:
    conditions:
      - name: everything
        role: [on-call]
        max_duration: 4h
        require_ticket: true
        business_hours_only: true
        calendar: default
        team_scope: true
        on_call: [on-call]
        ticket: {pattern: 'INC-[0-9]+', tracker: jira, state: open, assignee: requester, change_window: true}
        environment: [production]
        at_most: {live_per_person: 1, live_per_resource: 2, daily_per_person: 3, daily_per_resource: 4}
        expression: 'request.duration <= duration("1h") && "on-call" in requester.roles'
      - role: [security]
        expression: |
          request.reason.contains("hotfix") || // always
            now.getHours("Europe/Berlin") < 17
  approval:
    required_approvers: 2
    approver_roles: [security, manager]
    escalate: [{after: 30m, to: security}]
  max_duration: 8h
  request_ttl: 24h
  extensions: {max: 2, each: 1h}
  break_glass: {roles: [on-call], max_duration: 1h, require_ticket: true, review_within: 24h}
  audit: {require_reason: true, record_session: true}
---
kind: Guardrail
metadata: {name: production}
spec:
  resources: [postgres-*]
  environment: [production]
  max_duration: 6h
  never_auto_approve: true
  auto_approve_max_duration: 1h
  required_approvers: 2
  never_approvers: [on-call]
`

func TestEveryKeyIsAccepted(t *testing.T) {
	f := doc("all.yaml", everyKey)
	mustLoad(t, f)
	sameMeaning(t, []File{f})
}

// FuzzPolicies: whatever stands in a policy file, reading it ends, in a set or
// in findings that say where; and what is accepted survives being formatted:
// it means what it meant, and stays as it is when it is formatted again.
func FuzzPolicies(f *testing.F) {
	f.Add([]byte(everyKey))
	for document := range strings.SplitSeq(everyKey, "---\n") {
		f.Add([]byte(document))
	}
	for _, files := range everyRepository(f) {
		var all []string
		for _, file := range files {
			f.Add(file.Data)
			if !strings.Contains(file.Path, "/tests/") {
				all = append(all, string(file.Data))
			}
		}
		f.Add([]byte(strings.Join(all, "---\n")))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 16<<10 {
			return
		}
		file := doc("x.yaml", string(data))
		set, findings := Load([]File{file}, time.LoadLocation)
		lines := bytes.Count(data, []byte("\n")) + 2
		for _, finding := range append(findings, set.Lint()...) {
			if finding.Line < 1 || finding.Line > lines || finding.Column < 1 || finding.Message == "" || finding.Code == "" {
				t.Fatalf("a finding at %s", finding)
			}
		}
		if len(findings) > 0 != (set.Err() != nil) {
			t.Fatalf("findings %v, and yet %v", findings, set.Err())
		}
		if _, err := Format(file.Path, data); err != nil {
			if len(findings) == 0 || findings[0].Code != "syntax" {
				t.Fatalf("accepted (%v), and cannot be formatted: %v", findings, err)
			}
			return
		}
		sameMeaning(t, []File{file})
	})
}

// decisions judges a handful of requests, and says what became of each.
func decisions(t testing.TB, s *Set) (all []string) {
	t.Helper()
	resources, people := s.Resources(), []grants.Principal{mallory}
	if len(resources) > 3 {
		resources = resources[:3]
	}
	known := slices.SortedFunc(maps.Values(s.people.byID), func(a, b *person) int { return cmp.Compare(a.ID, b.ID) })
	for _, p := range known[:min(len(known), 3)] {
		people = append(people, grants.Principal{GitHub: p.GitHub, ID: p.ID})
	}
	when := at(t, "2026-11-24 10:00:00")
	for _, r := range resources {
		for i, p := range people {
			for _, f := range []Facts{{At: when}, everythingKnown(s.Needs(r.Name), p, when)} {
				for _, d := range []time.Duration{hour, 7 * hour} {
					req := Request{Requester: p, Resource: r.Name, Duration: d, Reason: "Deploy hotfix", BreakGlass: i == 3}.withTicket("INC-7")
					all = append(all, fmt.Sprintf("%s %s: %+v", p.GitHub, r.Name, s.Evaluate(req, f)))
				}
			}
		}
	}
	return all
}

// everythingKnown is facts in which somebody is everywhere.
func everythingKnown(needs Needs, who grants.Principal, when time.Time) Facts {
	f := Facts{At: when, Teams: map[TeamRef]Team{}, Duty: map[Schedule]Duty{}, Tickets: map[TicketRef]Ticket{}, Uses: Uses{ReadAt: when, Source: "test"}}
	for _, team := range needs.Teams {
		f.Teams[team] = Team{ID: 7, Slug: team.Slug, Members: []int64{who.ID}, ReadAt: when, Source: "test"}
	}
	for _, schedule := range needs.Schedules {
		f.Duty[schedule] = Duty{OnCall: []OnCall{{Account: "PALICE", Level: 1}}, ReadAt: when, Source: "test"}
	}
	for _, tracker := range needs.Trackers {
		f.Tickets[TicketRef{Tracker: tracker, Key: "INC-7"}] = Ticket{Exists: Yes, State: "In Progress", Open: Yes, Assignees: []string{"5b10a2844c20165700ede21g"}, From: when.Add(-hour), To: when.Add(9 * hour), ReadAt: when, Source: "test"}
	}
	return f
}
