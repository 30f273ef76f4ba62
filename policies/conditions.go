package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// condition is one way to be allowed without review: every field that was
// written must hold.
type condition struct {
	rule          string // its name in every trace
	pos           strictyaml.Pos
	roles         roleList
	maxDuration   time.Duration // zero: no bound of its own
	maxPos        strictyaml.Pos
	requireTicket bool
	hours         *hoursRule
	teamScope     bool
	onCall        roleList
	ticket        *ticketRule
	environment   nameRule
	atMost        []usedLess
	expression    *expressed
	tests         []step // all of the above, as they are judged and told
}

// hoursRule wants the clock to be within a calendar.
type hoursRule struct {
	key      string // the one that was written: business_hours_only or calendar
	name     string
	pos      strictyaml.Pos
	calendar *calendar // nil: there is no such calendar, and the rule never holds
}

// nameRule is a list of names of which one has to be met.
type nameRule struct {
	set   bool
	pos   strictyaml.Pos
	names []string
}

func (c *compiler) condition(policy string, i int, v strictyaml.Value[conditionSpec]) condition {
	key, spec := fmt.Sprintf("spec.auto_approve.conditions[%d]", i), &v.V
	out := condition{
		rule:          fmt.Sprintf("%s/auto_approve[%d]", policy, i),
		pos:           v.Pos,
		roles:         c.roleList(key+".role", spec.Role),
		maxDuration:   c.accessLength(key+".max_duration", spec.MaxDuration, 0),
		maxPos:        spec.MaxDuration.Pos,
		requireTicket: spec.RequireTicket.V,
		teamScope:     spec.TeamScope.V,
		onCall:        c.roleList(key+".on_call", spec.OnCall),
		environment:   c.nameRule(key+".environment", spec.Environment),
	}
	if spec.Name.Set {
		out.rule = checked(c, key+".name", spec.Name, grants.CheckName)
		c.unique("the rule", out.rule, spec.Name.Pos)
	}
	if spec.Calendar.Set || spec.BusinessHoursOnly.V {
		out.hours = c.hoursRule(key, spec)
	}
	if spec.Ticket.Set {
		out.ticket = c.ticketRule(key+".ticket", spec.Ticket)
	}
	if spec.AtMost.Set {
		out.atMost = c.atMost(key+".at_most", spec.AtMost)
	}
	if spec.Expression.Set {
		out.expression = c.expressed(key+".expression", spec.Expression)
	}
	// A condition that asks nothing holds for everybody: never what a person
	// means who deletes the fields of one.
	if out.asksNothing() {
		c.fault(v.Pos, "value", "%s: asks nothing and would let everybody in; name a role, or take the condition out", key)
	}
	return out
}

func (c *condition) asksNothing() bool {
	return !c.roles.set && c.maxDuration == 0 && !c.requireTicket && !c.teamScope && !c.onCall.set && c.hours == nil &&
		c.ticket == nil && !c.environment.set && len(c.atMost) == 0 && c.expression == nil
}

func (c *compiler) hoursRule(key string, spec *conditionSpec) *hoursRule {
	if !spec.Calendar.Set {
		return &hoursRule{key: "business_hours_only", name: defaultCalendar, pos: spec.BusinessHoursOnly.Pos}
	}
	if spec.BusinessHoursOnly.Set && !spec.BusinessHoursOnly.V {
		c.fault(spec.BusinessHoursOnly.Pos, "value", "%s: names a calendar and says business_hours_only: false; keep one of the two", key)
	}
	written := "business_hours_only"
	if !spec.BusinessHoursOnly.Set {
		written = "calendar"
	}
	return &hoursRule{key: written, name: checked(c, key+".calendar", spec.Calendar, grants.CheckName), pos: spec.Calendar.Pos}
}

// names returns a list of names that are not roles.
func (c *compiler) nameRule(key string, v nameList) nameRule {
	rule := nameRule{set: v.Set, pos: v.Pos}
	for i, name := range v.V {
		checked(c, fmt.Sprintf("%s[%d]", key, i), name, grants.CheckName)
		if slices.Contains(rule.names, name.V) {
			c.fault(name.Pos, "duplicate", "%s: %s stands here a second time", key, name.V)
		}
		rule.names = append(rule.names, name.V)
	}
	if v.Set && len(v.V) == 0 {
		c.fault(v.Pos, "value", "%s: the list is empty, so nothing is meant; name one", key)
	}
	return rule
}

func (c *compiler) atMost(key string, v strictyaml.Value[atMostSpec]) []usedLess {
	var rules []usedLess
	for _, bound := range []struct {
		key   string
		v     strictyaml.Value[int]
		daily bool
		whose bool
	}{
		{"live_per_person", v.V.LivePerPerson, false, true},
		{"live_per_resource", v.V.LivePerResource, false, false},
		{"daily_per_person", v.V.DailyPerPerson, true, true},
		{"daily_per_resource", v.V.DailyPerResource, true, false},
	} {
		if bound.v.Set {
			most := c.atLeastOne(key+"."+bound.key, bound.v, 0)
			rules = append(rules, usedLess{named: "at_most." + bound.key, most: most, daily: bound.daily, person: bound.whose})
		}
	}
	if len(rules) == 0 {
		c.fault(v.Pos, "value", "%s: asks nothing; name live_per_person, live_per_resource, daily_per_person or daily_per_resource", key)
	}
	return rules
}

// link makes the tests of a condition, once names are linked.
func (c *condition) link() {
	add := func(t test) { c.tests = append(c.tests, newStep(c.rule, t)) }
	if c.roles.set {
		add(&hasRole{roles: c.roles})
	}
	if c.maxDuration > 0 {
		add(&lasts{most: c.maxDuration, pos: c.maxPos})
	}
	if c.requireTicket {
		add(hasTicket{})
	}
	if c.hours != nil {
		add(&inHours{rule: c.hours})
	}
	if c.teamScope {
		add(ownsIt{})
	}
	if c.onCall.set {
		add(&onDuty{roles: c.onCall})
	}
	if c.environment.set {
		add(&inEnvironment{any: c.environment.names})
	}
	if c.ticket != nil {
		c.ticket.link(add)
	}
	for i := range c.atMost {
		add(&c.atMost[i])
	}
	if c.expression != nil {
		add(c.expression)
	}
}

// hasRole wants the requester to hold any of the roles.
type hasRole struct {
	plain
	roles roleList
}

func (*hasRole) key() string                   { return "role" }
func (t *hasRole) holds(j *Judge) Truth        { return j.holdsAny(t.roles) }
func (t *hasRole) needs(n *Needs)              { n.roles(t.roles) }
func (t *hasRole) silent(j *Judge) string      { return j.silentRoles(t.roles) }
func (t *hasRole) text(j *Judge) (_, _ string) { return j.rolesText(t.roles), anyOf(t.roles.names()) }

// inHours wants the clock to be within business hours.
type inHours struct {
	plain
	rule *hoursRule
}

func (t *inHours) key() string                 { return t.rule.key }
func (t *inHours) text(j *Judge) (_, _ string) { return j.hoursText(t.rule) }
func (t *inHours) holds(j *Judge) Truth {
	if j.facts.At.IsZero() {
		return Unknown
	}
	return truth(t.rule.calendar != nil && t.rule.calendar.open(j.facts.At))
}

// ownsIt wants the requester to hold a role that owns the resource.
type ownsIt struct{ plain }

func (ownsIt) key() string            { return "team_scope" }
func (ownsIt) holds(j *Judge) Truth   { return j.holdsAny(j.res.owners) }
func (ownsIt) silent(j *Judge) string { return j.silentRoles(j.res.owners) }
func (ownsIt) text(j *Judge) (_, _ string) {
	return j.rolesText(j.res.owners), "an owner of " + j.req.Resource + ": " + anyOf(j.res.owners.names())
}

// onDuty wants it to be the requester's turn in any of the roles.
type onDuty struct {
	plain
	roles roleList
}

func (*onDuty) key() string              { return "on_call" }
func (t *onDuty) needs(n *Needs)         { n.roles(t.roles) }
func (t *onDuty) silent(j *Judge) string { return j.silentRoles(t.roles) }
func (t *onDuty) holds(j *Judge) Truth   { return j.onCall(t.roles) }
func (t *onDuty) text(j *Judge) (_, _ string) {
	return j.onCallText(t.roles), "on duty in " + anyOf(t.roles.names())
}

// inEnvironment wants the resource to be in any of the environments.
type inEnvironment struct {
	plain
	any []string
}

func (*inEnvironment) key() string { return "environment" }
func (t *inEnvironment) holds(j *Judge) Truth {
	return truth(slices.Contains(t.any, j.res.Environment))
}
func (t *inEnvironment) text(j *Judge) (_, _ string) {
	if j.res.Environment == "" {
		return j.res.Name + " names no environment", anyOf(t.any)
	}
	return j.res.Environment, anyOf(t.any)
}

// usedLess bounds how often access is given without review.
type usedLess struct {
	plain
	named  string
	most   int // this grant included
	daily  bool
	person bool
}

func (t *usedLess) key() string    { return t.named }
func (t *usedLess) needs(n *Needs) { n.Uses = true }
func (t *usedLess) silent(j *Judge) string {
	return j.facts.Uses.Silent
}

func (t *usedLess) holds(j *Judge) Truth {
	if j.facts.Uses.ReadAt.IsZero() || j.facts.At.IsZero() {
		return Unknown
	}
	return truth(t.count(j) < t.most)
}

func (t *usedLess) count(j *Judge) (n int) {
	for i := range j.facts.Uses.Grants {
		if t.counts(j, &j.facts.Uses.Grants[i]) {
			n++
		}
	}
	return n
}

func (t *usedLess) counts(j *Judge, u *Use) bool {
	if t.person && u.Person != j.req.Requester.ID || !t.person && u.Resource != j.req.Resource {
		return false
	}
	return t.daily && u.ofDay(j.facts.At) || !t.daily && u.live(j.facts.At)
}

func (t *usedLess) text(j *Judge) (observed, wanted string) {
	whose, what := "on "+j.req.Resource, "live"
	if t.person {
		whose = "of " + j.name()
	}
	if t.daily {
		what = "in the last 24h"
	}
	wanted = fmt.Sprintf("at most %d %s %s without review, this one included", t.most, what, whose)
	if t.holds(j) == Unknown {
		return unknownText(j.facts.Uses.Silent, "what was given lately was not read"), wanted
	}
	return fmt.Sprintf("%d %s %s", t.count(j), what, whose), wanted
}

// unknownText says why nothing is known: by the sentence of the source that
// did not answer, or because nobody asked it.
func unknownText(silent, unasked string) string {
	if silent != "" {
		return "unknown: " + silent
	}
	return "unknown: " + strings.TrimSpace(unasked)
}
