package policies

import (
	"slices"

	"github.com/tigeraccess/tac/grants"
)

// rules says what a value has to be like as far as that can be told from the
// value alone, by the same names as docs. Each stands for a check that the
// parser makes too: a schema that refused more would be wrong.
var rules = func() map[string]func(*shape) {
	forms := grants.TextForms()
	const (
		ticket    = `^[A-Za-z0-9#][A-Za-z0-9._/#-]{0,63}$`
		condition = "AccessPolicy.auto_approve.conditions[]"
	)
	name, login, text := form(forms.Name), form(forms.Login, longest(50)), someText(grants.MostReason)
	pattern, account, atLeastOne := form(patternForm.String()), form(accountForm.String()), least(1)
	shortLength := grants.FormatDuration
	return map[string]func(*shape){
		".metadata.name": name,

		"AccessPolicy":               exactlyOne("resource", "resources"),
		"AccessPolicy.resource":      name,
		"AccessPolicy.resources":     entries(1),
		"AccessPolicy.resources[]":   pattern,
		"AccessPolicy.request.roles": unique, "AccessPolicy.request.roles[]": name,
		"AccessPolicy.max_duration": otherwise(shortLength(DefaultMaxDuration)),
		"AccessPolicy.request_ttl":  otherwise(shortLength(DefaultRequestTTL)),

		condition:                                 keys(1),
		condition + ".name":                       name,
		condition + ".role":                       unique,
		condition + ".role[]":                     name,
		condition + ".calendar":                   and(name, otherwise("default")),
		condition + ".on_call":                    unique,
		condition + ".on_call[]":                  name,
		condition + ".environment":                and(unique, entries(1)),
		condition + ".environment[]":              name,
		condition + ".ticket":                     and(keys(1), needs("state", "tracker"), needs("assignee", "tracker")),
		condition + ".ticket.pattern":             someText(0),
		condition + ".ticket.tracker":             oneOf(trackers...),
		condition + ".ticket.state":               text,
		condition + ".ticket.assignee":            oneOf(assigneeRequester),
		condition + ".at_most":                    keys(1),
		condition + ".at_most.live_per_person":    atLeastOne,
		condition + ".at_most.live_per_resource":  atLeastOne,
		condition + ".at_most.daily_per_person":   atLeastOne,
		condition + ".at_most.daily_per_resource": atLeastOne,

		"AccessPolicy.approval.required_approvers": and(atLeastOne, otherwise(1)),
		"AccessPolicy.approval.approver_roles":     unique,
		"AccessPolicy.approval.approver_roles[]":   name,
		"AccessPolicy.approval.escalate[].to":      name,
		"AccessPolicy.approval.approve_from":       and(unique, including(FromGitHub)),
		"AccessPolicy.approval.approve_from[]":     oneOf(reviewSources...),
		"AccessPolicy.extensions.max":              and(atLeastOne, otherwise(DefaultExtensions)),
		"AccessPolicy.extensions.each":             otherwise(shortLength(DefaultExtendEach)),
		"AccessPolicy.break_glass.require_ticket":  otherwise(true),
		"AccessPolicy.break_glass.review_within":   otherwise(shortLength(DefaultReviewWithin)),
		"AccessPolicy.break_glass.roles":           unique,
		"AccessPolicy.break_glass.roles[]":         name,

		"Guardrail.resources":          entries(1),
		"Guardrail.resources[]":        pattern,
		"Guardrail.environment":        and(unique, entries(1)),
		"Guardrail.environment[]":      name,
		"Guardrail.required_approvers": atLeastOne,
		"Guardrail.never_approvers":    unique,
		"Guardrail.never_approvers[]":  name,
		"Guardrail":                    someOf("resources", "environment"),

		"Resource.description":        text,
		"Resource.environment":        name,
		"Resource.owners":             unique,
		"Resource.owners[]":           name,
		"Resource.vault":              certificates,
		"Resource.vault.engine":       oneOf(vaultEngines...),
		"Resource.vault.path":         form(vaultPathForm.String()),
		"Resource.vault.policy":       form(vaultNameForm.String()),
		"Resource.vault.principals":   unique,
		"Resource.vault.principals[]": someText(longestHostName),
		"Resource.vault.slice":        otherwise(shortLength(DefaultSlice)),
		"Resource.connect":            text,

		"Role.members[]":           login,
		"Role.github_teams":        unique,
		"Role.include_child_teams": otherwise(false),
		"Role.rotation.members":    entries(1),
		"Role.rotation.members[]":  login,
		"Role.pagerduty.schedule":  form(pagerForm.String()),
		"Role.pagerduty.levels[]":  atLeastOne,
		"Role.opsgenie.schedule":   account,

		"People.people[].github":    login,
		"People.people[].id":        atLeastOne,
		"People.people[].slack":     form(slackForm.String()),
		"People.people[].email":     form(emailForm.String()),
		"People.people[].manager":   login,
		"People.people[].calendar":  and(name, otherwise(defaultCalendar)),
		"People.people[].pagerduty": account,
		"People.people[].opsgenie":  account,
		"People.people[].jira":      account,
		"People.people[].linear":    account,

		"Calendar.days": and(unique, entries(1)),

		"AccessGrant.metadata.id":      form(forms.ID),
		"AccessGrant.resource":         name,
		"AccessGrant.requester.github": login,
		"AccessGrant.requester.id":     atLeastOne,
		"AccessGrant.reason":           text,
		"AccessGrant.ticket":           form(ticket),
		"AccessGrant.via":              oneOf(string(grants.ViaSlack), string(grants.ViaCLI), string(grants.ViaWeb), string(grants.ViaGit)),
		"AccessGrant.extends":          form(forms.ID),
		"AccessGrant.break_glass":      func(s *shape) { s.Const = true },
		"AccessGrant.narrows":          form(forms.Blob),
		"AccessGrant.attestation":      form(forms.Attestation),

		"PolicyTest":                         someOf("cases", "table"),
		"PolicyTest.then.decision":           oneOf(outcomes...),
		"PolicyTest.then.rule":               someText(0),
		"PolicyTest.then.approve_from[]":     oneOf(reviewSources...),
		"PolicyTest.given.on_call[].pager":   oneOf(string(PagerDuty), string(Opsgenie)),
		"PolicyTest.given.tickets[].tracker": oneOf(trackers...),
	}
}()

func and(all ...func(*shape)) func(*shape) {
	return func(s *shape) {
		for _, f := range all {
			f(s)
		}
	}
}

func form(pattern string, more ...func(*shape)) func(*shape) {
	return func(s *shape) {
		s.Pattern = pattern
		and(more...)(s)
	}
}

func longest(n int) func(*shape) { return func(s *shape) { s.MaxLength = n } }

// someText is a text that is not empty and, where most is not zero, not longer.
func someText(most int) func(*shape) {
	return func(s *shape) { s.MinLength, s.MaxLength = 1, most }
}

func oneOf(values ...string) func(*shape) {
	return func(s *shape) { s.Enum = slices.Sorted(slices.Values(values)) }
}

func least(n int) func(*shape)     { return func(s *shape) { s.Minimum = &n } }
func otherwise(v any) func(*shape) { return func(s *shape) { s.Default = v } }
func entries(n int) func(*shape)   { return func(s *shape) { s.MinItems = n } }
func keys(n int) func(*shape)      { return func(s *shape) { s.MinProperties = n } }
func unique(s *shape)              { s.UniqueItems = true }

// including wants an entry of a list to be this one.
func including(entry string) func(*shape) {
	return func(s *shape) { s.Contains = &shape{Const: entry} }
}

func needs(key, other string) func(*shape) {
	return func(s *shape) {
		if s.Dependencies == nil {
			s.Dependencies = map[string][]string{}
		}
		s.Dependencies[key] = []string{other}
	}
}

// exactlyOne wants one of two keys, and not both.
func exactlyOne(a, b string) func(*shape) {
	return func(s *shape) { s.OneOf = []*shape{{Required: []string{a}}, {Required: []string{b}}} }
}

// someOf wants one of two keys, or both.
func someOf(a, b string) func(*shape) {
	return func(s *shape) { s.AnyOf = []*shape{{Required: []string{a}}, {Required: []string{b}}} }
}

// certificates is what only engines have that sign them.
func certificates(s *shape) {
	engines := &shape{Enum: []string{grants.EngineSSH, grants.EnginePKI}}
	s.If = &shape{Type: "object", Properties: properties{{"engine", engines}}, Required: []string{"engine"}}
	s.Then = &shape{Properties: properties{{"principals", &shape{Type: "array", MinItems: 1}}}, Required: []string{"principals"}}
	s.Else = &shape{Properties: properties{{"principals", nil}, {"slice", nil}}}
}
