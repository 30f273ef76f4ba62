package policies

import "strings"

// docs says of every key what it means, for editors to show. An entry is
// named by the kind and the dotted path below spec, with [] for the entries
// of a list; keys that all kinds share start with a dot.
var docs = map[string]string{
	".apiVersion":    "The version of the format. May be left out.",
	".kind":          "What the document describes.",
	".metadata":      "What the document is called.",
	".metadata.name": "The name, which no other document of the kind has.",
	".spec":          "What the document says.",

	"AccessPolicy":           "Who may get which resources: at once, or after whose review. What no policy covers is denied.",
	"AccessPolicy.resource":  "The one resource that the policy is about. For several, or for patterns: resources.",
	"AccessPolicy.resources": "The resources that the policy is about, by name or by pattern, as in postgres-*.",

	"AccessPolicy.request":       "Who may ask at all. Everybody in People, where it is left out.",
	"AccessPolicy.request.roles": "Any of these roles may ask; everybody else is denied. Emergencies have roles of their own, in break_glass.",

	"AccessPolicy.auto_approve":            "What is allowed at once, without review.",
	"AccessPolicy.auto_approve.conditions": "Ways to be allowed at once. Any one suffices.",

	"AccessPolicy.auto_approve.conditions[]":                      "Every field that is written has to hold.",
	"AccessPolicy.auto_approve.conditions[].name":                 "The rule's name in every trace, in place of POLICY/auto_approve[0].",
	"AccessPolicy.auto_approve.conditions[].role":                 "The requester holds any of these roles.",
	"AccessPolicy.auto_approve.conditions[].max_duration":         "At most so long, the edge included.",
	"AccessPolicy.auto_approve.conditions[].require_ticket":       "The request names a ticket.",
	"AccessPolicy.auto_approve.conditions[].business_hours_only":  "The calendar is open when the request is judged.",
	"AccessPolicy.auto_approve.conditions[].calendar":             "The calendar that says when business hours are; it alone asks for them.",
	"AccessPolicy.auto_approve.conditions[].team_scope":           "The requester holds a role that owns the resource.",
	"AccessPolicy.auto_approve.conditions[].on_call":              "It is the requester's turn in any of these roles, by rotation or pager.",
	"AccessPolicy.auto_approve.conditions[].ticket":               "What the ticket has to be like.",
	"AccessPolicy.auto_approve.conditions[].ticket.pattern":       "A regular expression that the whole ticket key matches.",
	"AccessPolicy.auto_approve.conditions[].ticket.tracker":       "This tracker says that the ticket exists.",
	"AccessPolicy.auto_approve.conditions[].ticket.state":         "The tracker says that the ticket is in this state. open: work on it is still to be done, whatever the tracker calls that.",
	"AccessPolicy.auto_approve.conditions[].ticket.assignee":      "The ticket is assigned to the requester.",
	"AccessPolicy.auto_approve.conditions[].ticket.change_window": "The whole grant lies within the ticket's change window.",
	"AccessPolicy.auto_approve.conditions[].environment":          "The resource is in any of these environments.",
	"AccessPolicy.auto_approve.conditions[].expression":           "A CEL expression over request, requester, resource and now, which is true.",

	"AccessPolicy.auto_approve.conditions[].at_most":                    "How often access is given without review, this grant included.",
	"AccessPolicy.auto_approve.conditions[].at_most.live_per_person":    "So many live grants of this person, on all resources.",
	"AccessPolicy.auto_approve.conditions[].at_most.live_per_resource":  "So many live grants on this resource, of anybody.",
	"AccessPolicy.auto_approve.conditions[].at_most.daily_per_person":   "So many grants of this person in the last 24 hours.",
	"AccessPolicy.auto_approve.conditions[].at_most.daily_per_resource": "So many grants on this resource in the last 24 hours.",

	"AccessPolicy.approval":                    "Who reviews what no condition allows. Where it is left out, that is denied.",
	"AccessPolicy.approval.required_approvers": "How many different people have to approve; never the requester.",
	"AccessPolicy.approval.approver_roles":     "Holders of any of these roles may approve. manager: the requester's own.",
	"AccessPolicy.approval.escalate":           "Who is asked later, while the request waits.",
	"AccessPolicy.approval.escalate[].after":   "How long after people could first answer.",
	"AccessPolicy.approval.escalate[].to":      "From then on, holders of this role may approve as well. manager: the requester's own.",
	"AccessPolicy.approval.approve_from":       "Where reviews may be given: github, which is always among them, cli (tac access approve), slack (the buttons of a message).",

	"AccessPolicy.max_duration":    "The longest that anybody may have the resource by this policy, review or not.",
	"AccessPolicy.request_ttl":     "How long an unanswered request stays open.",
	"AccessPolicy.extensions":      "How a grant may be extended while it lives. Each extension is judged as the whole time would be. Where it is left out: not at all.",
	"AccessPolicy.extensions.max":  "How often.",
	"AccessPolicy.extensions.each": "By how much each time, at most.",

	"AccessPolicy.break_glass":                "Access in an emergency, at once and reviewed afterwards. Where it is left out: none.",
	"AccessPolicy.break_glass.roles":          "Any of these roles may break the glass; request.roles does not count here.",
	"AccessPolicy.break_glass.max_duration":   "For how long at most. Where it is left out: as long as max_duration of the policy.",
	"AccessPolicy.break_glass.require_ticket": "Whether it takes a ticket.",
	"AccessPolicy.break_glass.review_within":  "By when somebody else has to have looked at it. While that is overdue, the person breaks no other glass.",

	"AccessPolicy.audit":                "What is kept for auditors.",
	"AccessPolicy.audit.require_reason": "A request without a reason is denied.",
	"AccessPolicy.audit.record_session": "Sessions are to be recorded.",

	"Guardrail":                           "What no policy may exceed. Guardrails only tighten.",
	"Guardrail.resources":                 "The resources it covers, by name or pattern. With environment: those that match both.",
	"Guardrail.environment":               "It covers resources in any of these environments.",
	"Guardrail.max_duration":              "Nobody gets more, review or not.",
	"Guardrail.never_auto_approve":        "Everything is reviewed, whatever the conditions say.",
	"Guardrail.auto_approve_max_duration": "What lasts longer is reviewed, whatever the conditions say.",
	"Guardrail.required_approvers":        "A review takes at least so many.",
	"Guardrail.never_approvers":           "Whoever holds any of these roles never counts as an approver.",

	"Resource":                  "One thing that people can get access to: one role in Vault.",
	"Resource.description":      "What it is, in a few words.",
	"Resource.environment":      "Where it belongs, as production or staging; conditions and guardrails can ask for it.",
	"Resource.owners":           "Roles that own it: they may end grants on it, and team_scope asks for them.",
	"Resource.vault":            "Where Vault makes the credential.",
	"Resource.vault.engine":     "What kind of secrets engine it is.",
	"Resource.vault.path":       "Where the credential is read, as database/creds/postgres-prod or ssh/sign/bastion.",
	"Resource.vault.policy":     "The Vault policy that a grant's token gets.",
	"Resource.vault.principals": "ssh: the users that a certificate admits. pki: its names, the common name first.",
	"Resource.vault.slice":      "ssh and pki: how long one certificate lives; it is renewed while the grant lives.",
	"Resource.max_duration":     "Nobody gets it for longer, whatever policies say.",
	"Resource.connect":          "The shell line by which people connect. No secrets: they are in the environment.",

	"Role":                     "A named set of people. One suffices to be in it: as a member, in a team, or on duty.",
	"Role.members":             "GitHub logins of people in People.",
	"Role.github_teams":        "Members of these GitHub teams have the role.",
	"Role.include_child_teams": "Members of teams below those count too.",
	"Role.rotation":            "Whose turn it is has the role.",
	"Role.rotation.timezone":   "The zone in which hand-over is, as Europe/Berlin.",
	"Role.rotation.start":      "The first hand-over, as clocks in that zone show it.",
	"Role.rotation.shift":      "How long a turn is: a multiple of 24h.",
	"Role.rotation.members":    "Who takes turns, in order.",
	"Role.pagerduty":           "Whoever PagerDuty says is on call has the role.",
	"Role.pagerduty.schedule":  "The schedule's id, as PABC123.",
	"Role.pagerduty.levels":    "Escalation levels that count; all, where it is left out.",
	"Role.opsgenie":            "Whoever Opsgenie says is on call has the role.",
	"Role.opsgenie.schedule":   "The schedule's id.",

	"People":                    "Who is who. Whoever is not here is denied.",
	"People.people":             "Each human being once, with all accounts.",
	"People.people[].github":    "The GitHub login.",
	"People.people[].id":        "The number of the GitHub account, which is the person: gh api users/LOGIN --jq .id",
	"People.people[].slack":     "The Slack user id, as U01ALICE.",
	"People.people[].email":     "The e-mail address.",
	"People.people[].manager":   "The GitHub login of the person's manager.",
	"People.people[].calendar":  "The calendar by which the person works: whoever is at work is asked first.",
	"People.people[].pagerduty": "The id of the PagerDuty account.",
	"People.people[].opsgenie":  "The id of the Opsgenie account.",
	"People.people[].jira":      "The id of the Jira account.",
	"People.people[].linear":    "The id of the Linear account.",

	"Calendar":          "When business hours are.",
	"Calendar.timezone": "The zone, as Europe/Berlin.",
	"Calendar.days":     "The working days.",
	"Calendar.hours":    "From the first minute to just before the last, as 09:00-17:00. Two calendars make a night shift.",
	"Calendar.holidays": "Days off, as 2026-12-25.",

	"AccessGrant":                  "One grant in force or scheduled. tac writes these.",
	"AccessGrant.metadata.id":      "The grant's name for ever, as 20261122-k3v9q2m4tz.",
	"AccessGrant.resource":         "What access is to.",
	"AccessGrant.requester":        "Who asked.",
	"AccessGrant.requester.github": "Their GitHub login.",
	"AccessGrant.requester.id":     "The number of their GitHub account.",
	"AccessGrant.duration":         "For how long.",
	"AccessGrant.start":            "From when, where access is scheduled.",
	"AccessGrant.reason":           "Why.",
	"AccessGrant.ticket":           "The ticket it belongs to.",
	"AccessGrant.requested_at":     "When it was asked for.",
	"AccessGrant.via":              "Where it was asked for.",
	"AccessGrant.extends":          "The grant that this one extends.",
	"AccessGrant.break_glass":      "Asked for as an emergency.",
	"AccessGrant.narrows":          "The git blob that an approver narrowed.",
	"AccessGrant.attestation":      "tac's signature over the file. A grant written by hand has none.",

	"PolicyTest":       "What the policies are expected to decide. Stands in policies/tests/; tac policy test runs it.",
	"PolicyTest.given": "What is known, for all cases that do not say otherwise.",
	"PolicyTest.when":  "What is asked for, in all cases that do not say otherwise.",
	"PolicyTest.cases": "The claims.",
	"PolicyTest.table": "The same as cases, a line each, with a heading that names the columns.",

	"PolicyTest.cases[].name":  "What the case claims, as a sentence.",
	"PolicyTest.cases[].given": "What is known in this case.",
	"PolicyTest.cases[].when":  "What is asked for in this case.",
	"PolicyTest.cases[].then":  "What is decided.",

	// What stands below cases[] has the same keys, and means the same.
	"PolicyTest.given.at":                 "When it is judged, as 2026-11-24T10:00:00 Europe/Berlin, or with an offset from UTC.",
	"PolicyTest.given.teams":              "Who is in which GitHub team. A team that is not named is unknown.",
	"PolicyTest.given.teams[].team":       "The team, as acme/dba.",
	"PolicyTest.given.teams[].people":     "GitHub logins of its members.",
	"PolicyTest.given.on_call":            "Who is on call. A schedule that is not named is unknown.",
	"PolicyTest.given.on_call[].pager":    "The service that knows.",
	"PolicyTest.given.on_call[].schedule": "The schedule's id.",
	"PolicyTest.given.on_call[].people":   "GitHub logins of who is on call.",
	"PolicyTest.given.on_call[].level":    "The escalation level; PagerDuty only. 1 where it is left out.",
	"PolicyTest.given.tickets":            "What trackers say of tickets.",
	"PolicyTest.given.tickets[].tracker":  "The tracker.",
	"PolicyTest.given.tickets[].key":      "The ticket.",
	"PolicyTest.given.tickets[].exists":   "Whether there is one.",
	"PolicyTest.given.tickets[].state":    "Its state, as the tracker calls it.",
	"PolicyTest.given.tickets[].open":     "Whether work on it is still to be done; unknown where it is left out.",
	"PolicyTest.given.tickets[].assignee": "The GitHub login of whom it is assigned to.",
	"PolicyTest.given.tickets[].from":     "When its change window opens.",
	"PolicyTest.given.tickets[].to":       "When its change window closes.",
	"PolicyTest.given.uses":               "What was given without review lately.",
	"PolicyTest.given.uses[].person":      "The GitHub login of who got it.",
	"PolicyTest.given.uses[].resource":    "What was given.",
	"PolicyTest.given.uses[].approved":    "When it was approved.",
	"PolicyTest.given.uses[].until":       "When it ends, or ended.",
	"PolicyTest.given.silent":             "Sources that do not answer: pagerduty, opsgenie, a tracker, teams, uses or records (of the grant that is extended, and of overdue reviews).",
	"PolicyTest.given.waiting":            "For how long people could have answered, so that a review escalates. Nobody was asked where it is left out.",
	"PolicyTest.given.overdue":            "Break-glass grants of the requester whose review is overdue. None where it is left out.",

	"PolicyTest.when.requester":   "The GitHub login of who asks.",
	"PolicyTest.when.resource":    "What for.",
	"PolicyTest.when.duration":    "For how long.",
	"PolicyTest.when.reason":      "Why.",
	"PolicyTest.when.ticket":      "The ticket it belongs to.",
	"PolicyTest.when.start":       "From when, where it is scheduled.",
	"PolicyTest.when.break_glass": "Asked for as an emergency.",
	"PolicyTest.when.extends":     "The grant that it extends: the requester's own, on the same resource, which ends a minute later. duration is what is added.",

	"PolicyTest.when.extends.total":      "How long that grant lasts as it stands, from its start to its end.",
	"PolicyTest.when.extends.extensions": "How often it was extended so far.",

	"PolicyTest.then.decision":     "What is decided.",
	"PolicyTest.then.rule":         "The rule that decides.",
	"PolicyTest.then.approvers":    "GitHub logins of exactly those who could approve now.",
	"PolicyTest.then.required":     "How many have to approve.",
	"PolicyTest.then.approve_from": "Exactly where a review may be given.",
	"PolicyTest.then.nearest":      "The sentence that says what would have worked.",
}

// names returns the names under which a key may stand in docs and rules: its
// own, the one that cases of a test share with their document, and the one
// that all kinds share.
func (d describer) names(path string) []string {
	own := d.kind + "." + path
	if below, ok := strings.CutPrefix(path, "spec."); ok {
		own = d.kind + "." + below
	}
	return []string{own, strings.Replace(own, "PolicyTest.cases[].", "PolicyTest.", 1), "." + path}
}

// sentence returns what is said of a key, and the name under which it stands.
func (d describer) sentence(path string) (text, name string) {
	for _, name := range d.names(path) {
		if text, ok := docs[name]; ok {
			return text, name
		}
	}
	return "", ""
}

// rule returns what a key's value has to be like; nil where nothing is said.
func (d describer) rule(path string) (apply func(*shape), name string) {
	for _, name := range d.names(path) {
		if apply, ok := rules[name]; ok {
			return apply, name
		}
	}
	return nil, ""
}
