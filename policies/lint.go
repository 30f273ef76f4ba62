package policies

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Lint finds what loads but cannot be meant: names that lead nowhere, and
// policies that nobody could ever satisfy. Such parts deny at run time; lint
// says so before. The order of the findings is that of the files. A set that
// did not load has no findings here: Load returned them.
func (s *Set) Lint() []Finding {
	if s.Err() != nil {
		return nil
	}
	l := linter{set: s}
	for _, p := range s.people.byID {
		l.person(p)
	}
	for _, r := range s.roles {
		l.role(r)
	}
	for _, r := range s.resources {
		l.resource(r)
	}
	for _, p := range s.policies {
		l.policy(p)
	}
	sortFindings(l.findings)
	return l.findings
}

type linter struct {
	set      *Set
	findings []Finding
}

func (l *linter) err(pos strictyaml.Pos, code, format string, args ...any) {
	l.findings = append(l.findings, newFinding(pos, SeverityError, code, format, args...))
}

func (l *linter) warn(pos strictyaml.Pos, code, format string, args ...any) {
	l.findings = append(l.findings, newFinding(pos, SeverityWarning, code, format, args...))
}

// meant proposes the known name that is closest to an unknown one.
func meant[T any](name string, known map[string]T) string {
	names := make([]string, 0, len(known))
	for n := range known {
		names = append(names, n)
	}
	slices.Sort(names)
	if best, ok := strictyaml.Nearest(name, names); ok {
		return "; did you mean " + best + "?"
	}
	return ""
}

func (l *linter) person(p *person) {
	switch m := l.set.people.byLogin[strings.ToLower(p.Manager)]; {
	case p.Manager == "":
	case m == nil:
		l.err(p.managerPos, "person/unknown", "%s, the manager of %s, is not in People%s", p.Manager, p.GitHub, meant(p.Manager, l.set.people.byLogin))
	case m.ID == p.ID:
		l.err(p.managerPos, "person/own-manager", "%s cannot be their own manager", p.GitHub)
	}
}

func (l *linter) role(r *role) {
	if len(r.written) == 0 && len(r.teams) == 0 && r.rotation == nil && r.pager == "" {
		l.err(r.pos, "role/empty", "the role %s has nobody: name members, github_teams or a rotation", r.name)
	}
	if r.pager != "" {
		l.warn(r.pagerPos, "fact/unknown", "this version does not ask PagerDuty, so %s never holds by it", r.name)
	}
	l.members(r.name, r.written)
	if r.rotation != nil {
		l.members(r.name, r.rotation.members)
		distinct := map[int64]bool{}
		for _, m := range r.rotation.members {
			distinct[m.id] = true
		}
		if len(distinct) == 1 {
			l.warn(r.rotation.pos, "role/one-in-rotation", "the rotation of %s (%s) has one person, who is always on duty", r.name, r.rotation)
		}
	}
}

func (l *linter) members(role string, refs []memberRef) {
	for _, m := range refs {
		if m.id == 0 {
			l.err(m.pos, "person/unknown", "%s in the role %s is not in People, and so has no role%s", m.login, role, meant(m.login, l.set.people.byLogin))
		}
	}
}

func (l *linter) resource(r *resource) {
	if len(r.policies) == 0 {
		l.warn(r.pos, "resource/no-policy", "%s has no policy, so every request for it is denied", r.Name)
	}
	if len(r.owners.refs) == 0 {
		l.warn(r.pos, "resource/no-owner", "%s has no owners, so only the role %s can revoke it early", r.Name, securityRole)
	}
	l.roles(r.owners, "spec.owners")
	if len(r.policies) > 1 {
		names := make([]string, len(r.policies))
		for i, p := range r.policies {
			names[i] = p.name
		}
		for _, p := range r.policies[1:] {
			l.warn(p.pos, "policy/overlap", "%s is covered by %s: all of them must allow, and each that asks for review needs its own", r.Name, andList(names))
		}
	}
}

func (l *linter) roles(list roleList, key string) {
	if list.set && len(list.refs) == 0 {
		l.err(list.pos, "role/none", "%s: the list is empty, so nobody is meant; name a role", key)
	}
	for _, ref := range list.refs {
		switch {
		case ref.role != nil:
		case ref.name == managerRole:
			l.err(ref.pos, "role/unknown", "%s: %s has a meaning in approver_roles only", key, managerRole)
		default:
			l.err(ref.pos, "role/unknown", "%s: the role %s is not defined, so nobody has it%s", key, ref.name, meant(ref.name, l.set.roles))
		}
	}
}

func (l *linter) policy(p *policy) {
	for _, t := range p.targets {
		l.target(p, t)
	}
	l.roles(p.request, "request.roles")
	l.roles(p.breakGlass, "break_glass.roles")
	for i := range p.conditions {
		l.condition(p, &p.conditions[i])
	}
	if p.approval != nil {
		l.approval(p)
		return
	}
	if len(p.conditions) == 0 {
		l.err(p.pos, "policy/never-approved", "%s has neither conditions nor approval, so it denies every request", p.name)
		return
	}
	l.warn(p.pos, "policy/no-approval", "%s has no approval, so what its conditions do not allow is denied without review", p.name)
}

func (l *linter) target(p *policy, t target) {
	if _, known := l.set.resources[t.pattern]; known || t.glob() && slices.ContainsFunc(l.set.Resources(), func(r Resource) bool { return t.matches(r.Name) }) {
		return
	}
	if t.glob() {
		l.warn(t.pos, "policy/no-resource", "%s: no resource matches %s", p.name, t.pattern)
		return
	}
	l.err(t.pos, "resource/unknown", "%s: there is no resource %s%s", p.name, t.pattern, meant(t.pattern, l.set.resources))
}

func (l *linter) condition(p *policy, c *condition) {
	l.roles(c.roles, "role")
	l.roles(c.onCall, "on_call")
	for _, ref := range c.onCall.refs {
		if ref.role != nil && ref.role.rotation == nil && ref.role.pager == "" {
			l.err(ref.pos, "role/no-rotation", "on_call: the role %s has no rotation, so nobody is ever on duty in it", ref.name)
		}
	}
	if c.hours != nil && c.hours.calendar == nil {
		l.err(c.hours.pos, "calendar/unknown", "%s: there is no calendar %s, so this condition never holds%s", c.rule, c.hours.name, meant(c.hours.name, l.set.calendars))
	}
	if c.maxDuration > p.maxDuration {
		l.warn(c.maxPos, "policy/over-ceiling", "%s: %s is over the %s that the policy allows anybody", c.rule,
			grants.FormatDuration(c.maxDuration), grants.FormatDuration(p.maxDuration))
	}
	if c.ticket != nil && (c.ticket.tracker != "" || c.ticket.state != "") {
		l.warn(c.ticket.pos, "fact/unknown", "%s: this version asks no ticket tracker, so this condition never holds", c.rule)
	}
}

func (l *linter) approval(p *policy) {
	a := p.approval
	l.roles(a.escalate, "approval.escalate")
	undefined := a.roles
	undefined.set = false // an empty list is told below, with its consequence
	undefined.refs = slices.DeleteFunc(slices.Clone(a.roles.refs), func(ref roleRef) bool { return ref.name == managerRole })
	l.roles(undefined, "approval.approver_roles")

	// Whoever might approve somebody's request some day: teams may have any
	// members, and a manager is one person.
	everybody, most := map[int64]bool{}, 0
	for _, ref := range a.roles.refs {
		switch {
		case ref.name == managerRole:
			if slices.ContainsFunc(l.set.everyone(), func(p *person) bool { return l.set.manager(p.ID) != 0 }) {
				most++
			}
		case l.set.holders(ref.role, &Facts{}, true, func(p *person) { everybody[p.ID] = true }):
			return
		}
	}
	if most += len(everybody); most < a.required {
		l.err(a.pos, "policy/never-approved", "%s can never be approved: it needs %s of %s, and there is %s",
			p.name, countApprovers(a.required), orList(a.roles.names()), countPeople(most))
	}
}

func (s *Set) everyone() []*person {
	all := make([]*person, 0, len(s.people.byID))
	for _, p := range s.people.byID {
		all = append(all, p)
	}
	return all
}

// LintGrant finds mistakes in one grant file: what it says, and whether the
// policies know what it speaks of.
func LintGrant(path string, data []byte, s *Set) []Finding {
	g, err := grants.Parse(path, data)
	if err != nil {
		return grantFaults(path, err)
	}
	if s.Err() != nil {
		return nil
	}
	var out []Finding
	r, known := s.resources[g.Resource]
	switch {
	case !known:
		out = append(out, newFinding(lineOf(path, data, "  resource: "), SeverityError, "resource/unknown",
			"there is no resource %s%s", g.Resource, meant(g.Resource, s.resources)))
	case len(r.policies) == 0:
		out = append(out, newFinding(lineOf(path, data, "  resource: "), SeverityError, "resource/no-policy", "%s has no policy", g.Resource))
	}
	if s.people.byID[g.Requester.ID] == nil {
		out = append(out, newFinding(lineOf(path, data, "  requester: "), SeverityError, "person/unknown",
			"%s (GitHub id %d) is not in People", g.Requester, g.Requester.ID))
	}
	return out
}

// lineOf returns where a key's value stands; canonical files have each on a
// line of its own.
func lineOf(path string, data []byte, key string) strictyaml.Pos {
	for i, line := range bytes.Split(data, []byte("\n")) {
		if bytes.HasPrefix(line, []byte(key)) {
			return strictyaml.Pos{File: path, Line: i + 1, Column: len(key) + 1}
		}
	}
	return strictyaml.Pos{File: path, Line: 1, Column: 1}
}

func grantFaults(path string, err error) []Finding {
	var many strictyaml.Errors
	var one *strictyaml.Error
	var form *grants.NotCanonicalError
	switch {
	case errors.As(err, &form):
		pos := strictyaml.Pos{File: path, Line: form.Line, Column: 1}
		return []Finding{newFinding(pos, SeverityError, "grant/not-canonical", "the file is not in canonical form (from this line on); write exactly:\n%s", form.Canonical)}
	case errors.As(err, &many):
	case errors.As(err, &one):
		many = strictyaml.Errors{one}
	default:
		many = strictyaml.Errors{{File: path, Line: 1, Column: 1, Message: fmt.Sprint(err)}}
	}
	out := make([]Finding, len(many))
	for i, e := range many {
		out[i] = newFinding(strictyaml.Pos{File: cmp.Or(e.File, path), Line: e.Line, Column: e.Column}, SeverityError, "grant/invalid", "%s", e.Message)
	}
	return out
}
