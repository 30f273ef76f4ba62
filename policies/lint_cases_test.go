package policies

import (
	"strings"
	"time"
)

var lintRoleCases = []lintCase{
	{code: "role/unknown", claim: "in a condition",
		fires: web(conditions("role: [develper], max_duration: 1h")),
		near:  web(conditions("role: [developer], max_duration: 1h")),
		want:  []string{`12:17 role: the role develper is not defined, so nobody has it; did you mean developer?`}},
	{code: "role/unknown", claim: "manager outside approver_roles",
		fires: resourceDoc("web", "") + "kind: AccessPolicy\nmetadata: {name: web}\nspec:\n  resource: web\n  approval: {approver_roles: [dba], escalate: [{after: 5m, to: manager}]}\n---\n" + guardrailDoc("g", "resources: [db], never_approvers: [nobodies]"),
		near:  resourceDoc("web", "") + "kind: AccessPolicy\nmetadata: {name: web}\nspec:\n  resource: web\n  approval: {approver_roles: [dba, manager], escalate: [{after: 5m, to: security}]}\n",
		want: []string{
			`9:64 approval.escalate: manager has a meaning in approver_roles only`,
			`13:43 never_approvers: the role nobodies is not defined, so nobody has it`,
		}},
	{code: "role/none", claim: "an empty list",
		fires: web(conditions("role: [], max_duration: 1h")),
		near:  web(conditions("max_duration: 1h")),
		want:  []string{`12:16 role: the list is empty, so nobody is meant; name a role`}},
	{code: "role/empty", claim: "a role without anything",
		fires: roleDoc("r", "") + used("r, developer"),
		near:  roleDoc("r", "github_teams: [acme/r]") + used("r, developer"),
		want:  []string{`2:18 the role r has nobody: name members, github_teams, a rotation or a pager's schedule`}},
	{code: "role/nobody", claim: "a pager that nobody in People has", also: []string{"role/no-account"},
		fires: roleDoc("r", "opsgenie: {schedule: abc}") + peopleDoc("github: zoe, id: 9, pagerduty: PZOE") + used("r, developer"),
		near:  roleDoc("r", "opsgenie: {schedule: abc}") + peopleDoc("github: zoe, id: 9, opsgenie: zoe") + used("r, developer"),
		want:  []string{`2:18 nobody in People can ever hold the role r, so whatever asks for it never holds`}},
	{code: "role/unused", claim: "a role that no document names",
		fires: roleDoc("r", "members: [alice]"),
		near:  roleDoc("r", "members: [alice]") + guardrailDoc("g", "resources: [db], never_approvers: [r]"),
		want:  []string{`2:18 nothing uses the role r: name it in a policy, a guardrail or a resource's owners, or take it out`}},
	{code: "role/no-rotation", claim: "on_call with members only",
		fires: web(conditions("on_call: [developer], max_duration: 1h")),
		near:  web(conditions("on_call: [on-call], max_duration: 1h")),
		want:  []string{`12:20 on_call: the role developer has neither a rotation nor a pager's schedule, so nobody is ever on duty in it`}},
	{code: "role/no-account", claim: "PagerDuty, and accounts with Opsgenie only",
		fires: roleDoc("r", "members: [alice], pagerduty: {schedule: PABC123}") + peopleDoc("github: zoe, id: 9, opsgenie: zoe") + used("r"),
		near:  roleDoc("r", "members: [alice], pagerduty: {schedule: PABC123}") + peopleDoc("github: zoe, id: 9, pagerduty: PZOE") + used("r"),
		want:  []string{`3:37 nobody in People has an account with PagerDuty (key pagerduty), so its schedule PABC123 gives nobody the role r`}},
	{code: "role/one-in-rotation", claim: "one person, twice",
		fires: roleDoc("r", "rotation: {timezone: UTC, start: 2026-01-05T09:00:00, shift: 24h, members: [dana, dana]}") + used("r"),
		near:  roleDoc("r", "rotation: {timezone: UTC, start: 2026-01-05T09:00:00, shift: 24h, members: [dana, eve]}") + used("r"),
		want:  []string{`3:18 the rotation of r (every day from 2026-01-05 09:00 UTC) has one person, who is always on duty`}},
	{code: "role/rotation-ahead", claim: "a start that is to come",
		fires: roleDoc("r", "rotation: {timezone: Europe/Berlin, start: 2026-11-23T11:00:01, shift: 24h, members: [dana, eve]}") + used("r"),
		near:  roleDoc("r", "rotation: {timezone: Europe/Berlin, start: 2026-11-23T11:00:00, shift: 24h, members: [dana, eve]}") + used("r"),
		want:  []string{`3:18 the rotation of r begins on 2026-11-23 11:00 CET, and until then nobody is on duty by it`}},
	{code: "person/unknown", claim: "in a role, a rotation and as a manager",
		fires: roleDoc("r", "members: [alise, bob], rotation: {timezone: UTC, start: 2026-01-05T09:00:00, shift: 24h, members: [dana, eva]}") + peopleDoc("github: zoe, id: 9, manager: dna") + used("r"),
		near:  roleDoc("r", "members: [Alice, bob]") + peopleDoc("github: zoe, id: 9, manager: Dana") + used("r"),
		want: []string{
			`3:18 alise in the role r is not in People, and so has no role; did you mean alice?`,
			`3:113 eva in the role r is not in People, and so has no role; did you mean eve?`,
			`9:37 dna, the manager of zoe, is not in People; did you mean dana?`,
		}},
	{code: "person/own-manager", claim: "in other letters",
		fires: peopleDoc("github: zoe, id: 9, manager: ZOE"),
		near:  peopleDoc("github: zoe, id: 9, manager: dana"),
		want:  []string{`5:37 zoe cannot be their own manager`}},
	{code: "person/manager-cycle", claim: "of two",
		fires: peopleDoc("github: zoe, id: 9, manager: yan", "github: yan, id: 10, manager: zoe", "github: xi, id: 11, manager: zoe"),
		near:  peopleDoc("github: zoe, id: 9, manager: yan", "github: yan, id: 10, manager: eve", "github: xi, id: 11, manager: zoe"),
		want:  []string{"5:37 zoe and yan are each other's managers, so as `manager` they would approve each other"}},
	{code: "person/manager-cycle", claim: "of three",
		fires: peopleDoc("github: zoe, id: 9, manager: yan", "github: yan, id: 10, manager: xi", "github: xi, id: 11, manager: zoe"),
		near:  peopleDoc("github: zoe, id: 9, manager: yan", "github: yan, id: 10, manager: xi", "github: xi, id: 11"),
		want:  []string{`7:37 xi, zoe and yan manage each other in a circle`}},
	{code: "calendar/unknown", claim: "a misspelt calendar",
		fires: web(conditions("role: [developer], calendar: defualt")),
		near:  web(conditions("role: [developer], calendar: default")),
		want:  []string{`12:39 web/auto_approve[0]: there is no calendar defualt, so this condition never holds; did you mean default?`}},
	{code: "calendar/closed", claim: "Mondays, and each of them a holiday",
		fires: mondays(60),
		near:  mondays(52),
		want:  []string{`2:18 the calendar odd (Mon 00:00-24:00 UTC) is closed for the whole coming year: every working day is a holiday`}},
}

// mondays is a calendar that is open on Mondays, of which the next n from
// monday on are holidays.
func mondays(n int) string {
	var holidays []string
	for i := range n {
		holidays = append(holidays, monday.AddDate(0, 0, 7*i).Format(time.DateOnly))
	}
	return "kind: Calendar\nmetadata: {name: odd}\nspec: {timezone: UTC, days: [mon], hours: \"00:00-24:00\", holidays: [" + strings.Join(holidays, ", ") + "]}\n"
}

var lintPolicyCases = []lintCase{
	{code: "resource/unknown", claim: "in a policy and a guardrail",
		fires: policyDoc("p", "db2", "") + guardrailDoc("g", "resources: [db, cahce], max_duration: 12h"),
		near:  web("") + guardrailDoc("g", "resources: [db, web-*], max_duration: 12h"),
		want: []string{
			`4:15 p: there is no resource db2; did you mean db?`,
			`9:24 the guardrail g: there is no resource cahce; did you mean cache?`,
		}},
	{code: "resource/no-policy", claim: "covered by nothing",
		fires: resourceDoc("web", ""),
		near:  web(""),
		want:  []string{`2:18 web has no policy, so every request for it is denied`}},
	{code: "resource/no-owner", claim: "owned by nobody",
		fires: "kind: Resource\nmetadata: {name: web}\nspec: {vault: {engine: generic, path: a/b, policy: tac-x}}\n---\n" + policyDoc("web", "web", ""),
		near:  web(""),
		want:  []string{`2:18 web has no owners, so only the role security can revoke it early`}},
	{code: "resource/secret", claim: "a literal password",
		fires: connect(`PGPASSWORD=hunter2 psql -h db`),
		near:  connect(`PGPASSWORD="$TAC_PASSWORD" psql -h db`),
		want:  []string{`3:99 connect: PGPASSWORD is written out, where others can read it; let the command take it from its environment, in which tac puts PGPASSWORD and TAC_PASSWORD`}},
	{code: "resource/outlives", claim: "ssh for more than a day",
		fires: sshDoc("max_duration: 30h") + policyDoc("web", "web", "  max_duration: 30h\n"),
		near:  sshDoc("max_duration: 24h") + policyDoc("web", "web", "  max_duration: 168h\n"),
		want:  []string{`3:121 web: up to 30h by certificates, which nothing can call back: after an early end the last one works for up to 5m more, and a session that is open then stays; lower max_duration to 24h or less`}},
	{code: "environment/unknown", claim: "in a condition and a guardrail",
		fires: web(conditions("role: [developer], environment: [prodution]")) + guardrailDoc("g", "environment: [production, stagin], max_duration: 12h"),
		near:  resourceDoc("web", ", environment: prodution") + policyDoc("web", "web", conditions("role: [developer], environment: [prodution]")),
		want: []string{
			`12:43 web/auto_approve[0]: no resource is in the environment prodution; did you mean production?`,
			`16:34 the guardrail g: no resource is in the environment stagin; did you mean staging?`,
		}},
	{code: "environment/odd", claim: "a resource that slips past a guardrail",
		fires: resourceDoc("web", ", environment: prodution") + policyDoc("web", "web", ""),
		near:  resourceDoc("web", ", environment: prodution") + resourceDoc("web2", ", environment: prodution") + policyDoc("web", "web, web2", ""),
		want:  []string{`3:103 web is the only resource in the environment prodution; was production meant? What policies and guardrails say of that passes it over`}},
	{code: "policy/no-resource", claim: "a pattern for nothing",
		fires: policyDoc("p", "dbs-*", ""),
		near:  resourceDoc("dbs-1", "") + policyDoc("p", "dbs-*", ""),
		want:  []string{`4:15 p: no resource matches dbs-*`}},
	{code: "policy/overlap", claim: "two resources under the same two policies",
		fires: resourceDoc("web-1", "") + resourceDoc("web-2", "") + policyDoc("web", "web-*", "") + policyDoc("all-web", "web-1, web-2", ""),
		near:  resourceDoc("web-1", "") + resourceDoc("web-2", "") + policyDoc("web", "web-1", "") + policyDoc("all-web", "web-2", ""),
		want:  []string{`10:18 web-1 and web-2 are covered by all-web and web: all of them must allow, and each that asks for review needs its own`}},
	{code: "policy/overlap-ahead", claim: "patterns that would meet",
		fires: resourceDoc("web-1", "") + resourceDoc("old-2", "") + policyDoc("web", "web-*", "") + policyDoc("twos", "'*-2'", ""),
		near:  resourceDoc("web-1", "") + resourceDoc("webb-2", "") + policyDoc("web", "web-*", "") + policyDoc("webb", "webb-*", ""),
		want:  []string{`12:15 web-* would meet *-2 (twos) in a resource such as web-2: both would have to allow`}},
	{code: "policy/over-ceiling", claim: "a condition over its policy's",
		fires: web("  max_duration: 2h\n" + conditions("role: [developer], max_duration: 3h")),
		near:  web("  max_duration: 2h\n" + conditions("role: [developer], max_duration: 2h")),
		want:  []string{`13:43 web/auto_approve[0]: 3h is over the 2h that the policy allows anybody`}},
	{code: "policy/over-ceiling", claim: "a policy and a condition over their resource's",
		fires: resourceDoc("web", ", max_duration: 2h") + policyDoc("web", "web", "  max_duration: 4h\n"+conditions("role: [developer], max_duration: 3h")),
		near:  resourceDoc("web", ", max_duration: 2h") + resourceDoc("web2", ", max_duration: 4h") + policyDoc("web", "web, web2", "  max_duration: 4h\n"+conditions("role: [developer], max_duration: 3h")),
		want: []string{
			`10:17 web: 4h is over the 2h that the Resource document allows anybody`,
			`13:43 web/auto_approve[0]: 3h is over the 2h that the Resource document allows anybody`,
		}},
	{code: "policy/extension", claim: "an extension over the ceiling", also: []string{"policy/not-yet"},
		fires: web("  max_duration: 2h\n  extensions: {max: 1, each: 3h}\n"),
		near:  web("  max_duration: 2h\n  extensions: {max: 3, each: 2h}\n"),
		want:  []string{`11:30 extensions.each: 3h is longer than the 2h that a whole grant of web may be`}},
	{code: "policy/break-glass", claim: "nobody named", also: []string{"policy/not-yet"},
		fires: web("  break_glass: {require_ticket: true, max_duration: 1h}\n"),
		near:  web("  break_glass: {roles: [on-call], max_duration: 1h}\n"),
		want:  []string{`10:53 web: break_glass names no roles, so nobody could break the glass; write roles: [...]`}},
	{code: "policy/not-yet", claim: "break_glass and extensions",
		fires: web("  break_glass: {roles: [on-call], max_duration: 1h}\n  extensions: {max: 2}\n"),
		near:  web(""),
		want: []string{
			`10:24 web: break_glass is read and not yet acted on: this version denies every such request`,
			`11:21 web: extensions is read and not yet acted on: this version denies every request to extend`,
		}},
	{code: "policy/no-approval", claim: "conditions alone",
		fires: resourceDoc("web", "") + "kind: AccessPolicy\nmetadata: {name: web}\nspec:\n  resource: web\n" + conditions("role: [developer], max_duration: 1h"),
		near:  web(conditions("role: [developer], max_duration: 1h")),
		want:  []string{`6:18 web has no approval, so what its conditions do not allow is denied without review`}},
	{code: "policy/never-approved", claim: "neither conditions nor approval",
		fires: resourceDoc("web", "") + "kind: AccessPolicy\nmetadata: {name: web}\nspec: {resource: web}\n",
		near:  web(""),
		want:  []string{`6:18 web has neither conditions nor approval, so it denies every request`}},
	{code: "policy/never-approved", claim: "too few approvers",
		fires: approvalDoc("required_approvers: 3, approver_roles: [lead, security], escalate: [{after: 5m, to: on-call}]"),
		near:  approvalDoc("required_approvers: 3, approver_roles: [lead, security, manager], escalate: [{after: 5m, to: on-call}]"),
		want:  []string{`9:13 web can never be approved: it needs 3 approvers of lead or security, and there are 2 people`}},
	{code: "policy/never-approved", claim: "too few whom no guardrail bars",
		fires: approvalDoc("approver_roles: [two], escalate: [{after: 5m, to: on-call}]") + roleDoc("two", "members: [dana, eve]") + guardrailDoc("g", "resources: ['we*'], required_approvers: 2, never_approvers: [auditor]") + roleDoc("auditor", "members: [eve, bob]"),
		near:  approvalDoc("approver_roles: [two], escalate: [{after: 5m, to: on-call}]") + roleDoc("two", "members: [dana, eve]") + guardrailDoc("g", "resources: ['we*'], required_approvers: 2, never_approvers: [auditor]") + roleDoc("auditor", "members: [alice]"),
		want:  []string{`9:13 web can never be approved on web: with its guardrails that takes 2 approvers of two, and there is one person whom they do not bar`}},
	{code: "approval/no-manager", claim: "people without a manager",
		fires: approvalDoc("approver_roles: [manager], escalate: [{after: 5m, to: on-call}]") + peopleDoc("github: zoe, id: 9"),
		near:  "kind: AccessPolicy\nmetadata: {name: web}\nspec:\n  resource: web\n  request: {roles: [developer]}\n  approval: {approver_roles: [manager], escalate: [{after: 5m, to: on-call}]}\n---\n" + resourceDoc("web", "") + peopleDoc("github: zoe, id: 9"),
		want:  []string{`9:31 eve and zoe have no manager in People, so nobody could approve what they ask of web; name managers, or another approver role`}},
	{code: "approval/no-manager", claim: "the only other approver asks",
		fires: approvalDoc("approver_roles: [manager, security], escalate: [{after: 5m, to: on-call}]"),
		near:  approvalDoc("approver_roles: [manager, security, lead], escalate: [{after: 5m, to: on-call}]"),
		want:  []string{`9:31 eve has no manager in People, so nobody could approve what they ask of web; name managers, or another approver role`}},
	{code: "approval/asleep", claim: "two people, and nobody on duty",
		fires: approvalDoc("approver_roles: [lead, security]"),
		near:  approvalDoc("approver_roles: [lead, security], escalate: [{after: 5m, to: on-call}]"),
		want:  []string{`9:30 web: at night everything is for review, and of the 2 people who could approve nobody is on duty by a rotation or a pager; name such a role here, in escalate or in a condition`}},
	{code: "approval/asleep", claim: "conditions for the day only",
		fires: approvalDoc("approver_roles: [lead, security]", conditions("role: [on-call], business_hours_only: true")),
		near:  approvalDoc("approver_roles: [lead, security]", conditions("role: [developer], require_ticket: true")),
		want:  []string{`9:30 web: at night everything is for review, and of the 2 people who could approve nobody is on duty by a rotation or a pager; name such a role here, in escalate or in a condition`}},
	{code: "approval/asleep", claim: "conditions that a guardrail overrules", also: []string{"guardrail/auto-approve"},
		fires: approvalDoc("approver_roles: [lead, security]", conditions("role: [on-call], max_duration: 1h")) + guardrailDoc("g", "resources: [web], never_auto_approve: true"),
		near:  approvalDoc("approver_roles: [lead, security]", conditions("role: [on-call], max_duration: 1h")) + guardrailDoc("g", "resources: [web], auto_approve_max_duration: 1h"),
		want:  []string{`9:30 web: at night everything is for review, and of the 2 people who could approve nobody is on duty by a rotation or a pager; name such a role here, in escalate or in a condition`}},
	{code: "approval/peers", claim: "two who approve each other",
		fires: approvalDoc("approver_roles: [senior], escalate: [{after: 5m, to: on-call}]", "  request: {roles: [developer]}\n"),
		near:  approvalDoc("approver_roles: [senior, lead], escalate: [{after: 5m, to: on-call}]", "  request: {roles: [developer]}\n"),
		want:  []string{`9:30 web: alice and bob both ask and approve, so they approve each other; name an approver who does not ask`}},
	{code: "approval/peers", claim: "all are allowed themselves",
		fires: approvalDoc("approver_roles: [developer], escalate: [{after: 5m, to: on-call}]", conditions("role: [developer], max_duration: 1h")),
		near:  approvalDoc("approver_roles: [developer], escalate: [{after: 5m, to: on-call}]", conditions("role: [senior], max_duration: 1h")),
		want:  []string{`9:30 web: all who approve (alice, bob and carol) are themselves allowed without review, so nobody looks from outside; name an approver role that no condition names`}},
	{code: "approval/same-escalation", claim: "to an approver, and twice",
		fires: approvalDoc("approver_roles: [lead, dba], escalate: [{after: 5m, to: dba}, {after: 10m, to: on-call}, {after: 15m, to: on-call}]"),
		near:  approvalDoc("approver_roles: [lead, dba], escalate: [{after: 5m, to: security}, {after: 10m, to: on-call}]"),
		want: []string{
			`9:70 approval.escalate: dba is asked already, so this step asks nobody new`,
			`9:120 approval.escalate: on-call is asked already, so this step asks nobody new`,
		}},
}

func connect(line string) string {
	return resourceDoc("web", ", connect: '"+line+"'") + policyDoc("web", "web", "")
}

func sshDoc(more string) string {
	return "kind: Resource\nmetadata: {name: web}\nspec: {owners: [lead], vault: {engine: ssh, path: ssh/sign/a, policy: tac-x, principals: [a], slice: 5m}, " + more + "}\n---\n"
}

// approvalDoc is a resource and a policy with that approval.
func approvalDoc(approval string, more ...string) string {
	out := resourceDoc("web", "") + "kind: AccessPolicy\nmetadata: {name: web}\nspec:\n  resource: web\n  approval: {" + approval + "}\n"
	for _, m := range more {
		out += m
	}
	return out + "---\n"
}
