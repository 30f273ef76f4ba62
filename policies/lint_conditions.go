package policies

import (
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

var conditionChecks = []check{
	{Rule{"condition/implied", SeverityWarning, "a condition never adds anything to another one of its policy",
		"Wherever it holds the other holds as well, so whoever narrows or removes one of them changes nothing, or more than they think. Take the narrower one out."}, impliedConditions},
	{Rule{"condition/nobody", SeverityWarning, "a condition asks for roles that nobody can have",
		"It never holds. Look at the roles' members, and at request.roles, which says who may ask at all."}, nobodysConditions},
	{Rule{"condition/environment", SeverityWarning, "a condition is about environments that none of the covered resources is in",
		"It never holds. Mend the condition's environment, or that of the resources."}, placelessConditions},
	{Rule{"condition/no-owner", SeverityWarning, "team_scope, where none of the covered resources has owners",
		"It never holds, since nobody owns them. Name owners, or ask for a role."}, ownerlessConditions},
	{Rule{"condition/no-account", SeverityWarning, "a ticket has to be assigned to the requester, of whom People knows no account",
		"A tracker names its own accounts; People says whose they are (keys jira and linear). Without them the condition never holds."}, untrackedConditions},
	{Rule{"condition/any-ticket", SeverityWarning, "the pattern for tickets accepts text that is no ticket",
		"A pattern is there to make people name a real ticket. Write the form of your keys, as in (OPS|PAY)-[0-9]+, or have a tracker look the ticket up."}, looseTickets},
	{Rule{"condition/constant", SeverityError, "an expression is the same for every request",
		"One that is always true asks nothing; one that is always false turns its condition off. Mend it, or take it or its condition out."}, constantExpressions},
}

// eachCondition calls yield with every condition and its written form.
func (l *linter) eachCondition(yield func(p *policy, c *condition, written *conditionSpec)) {
	for _, p := range l.set.policies {
		for i := range p.conditions {
			yield(p, &p.conditions[i], p.conditionSpec(i))
		}
	}
}

func impliedConditions(l *linter) {
	for _, p := range l.set.policies {
		for i := range p.conditions {
			narrow := &p.conditions[i]
			for k := range p.conditions {
				wide := &p.conditions[k]
				// Of two that ask the same, the later one is superfluous.
				if i == k || !l.implies(p, narrow, wide) || k > i && l.implies(p, wide, narrow) {
					continue
				}
				l.find(narrow.pos, "%s never adds anything: wherever it holds, %s (line %d) holds as well; take it out, or narrow the other", narrow.rule, wide.rule, wide.pos.Line)
				break
			}
		}
	}
}

// implies reports whether wide surely holds wherever narrow does: each of its
// fields asks for no more than the same field of narrow. It answers no where
// it cannot tell.
func (l *linter) implies(p *policy, narrow, wide *condition) bool {
	return wide.longest(p) >= narrow.longest(p) &&
		(!wide.requireTicket || narrow.requireTicket || narrow.ticket != nil) &&
		(!wide.teamScope || narrow.teamScope) &&
		(wide.hours == nil || narrow.hours != nil && wide.hours.name == narrow.hours.name) &&
		l.impliesRoles(narrow, wide) &&
		(!wide.onCall.set || narrow.onCall.set && len(narrow.onCall.refs) > 0 && subset(narrow.onCall.names(), wide.onCall.names())) &&
		(!wide.environment.set || narrow.environment.set && subset(narrow.environment.names, wide.environment.names)) &&
		(wide.ticket == nil || narrow.ticket != nil && narrow.ticket.implies(wide.ticket)) &&
		impliesUses(narrow.atMost, wide.atMost) &&
		(wide.expression == nil || narrow.expression != nil && narrow.expression.program.String() == wide.expression.program.String())
}

func subset(of, all []string) bool {
	return !slices.ContainsFunc(of, func(s string) bool { return !slices.Contains(all, s) })
}

// impliesRoles: who is on duty in a role holds it, so on_call counts as well.
func (l *linter) impliesRoles(narrow, wide *condition) bool {
	if !wide.roles.set {
		return true
	}
	each := func(list roleList) bool {
		return len(list.refs) > 0 && !slices.ContainsFunc(list.refs, func(ref roleRef) bool { return !l.holdAny(ref, wide.roles) })
	}
	return each(narrow.roles) || each(narrow.onCall)
}

// holdAny reports whether everybody who ever holds a role surely holds one of
// the list at that time: the same role, or as a member, in the same team or
// by the same schedule.
func (l *linter) holdAny(ref roleRef, list roleList) bool {
	if slices.Contains(list.names(), ref.name) {
		return true
	}
	r := ref.role
	if r == nil || r.empty() {
		return false
	}
	any := func(has func(*role) bool) bool {
		return slices.ContainsFunc(list.refs, func(other roleRef) bool { return other.role != nil && has(other.role) })
	}
	for _, t := range r.teams {
		if !any(func(o *role) bool { return slices.Contains(o.teams, t) }) {
			return false
		}
	}
	for _, p := range r.pagers {
		if !any(func(o *role) bool { return slices.ContainsFunc(o.pagers, p.within) }) {
			return false
		}
	}
	still := holding{ids: map[int64]bool{}}
	for _, id := range r.members {
		still.ids[id] = true
	}
	if r.rotation != nil {
		for _, m := range r.rotation.members {
			still.ids[m.id] = true
		}
	}
	return within(still.ids, membersOf(list))
}

// within reports whether whoever the rule puts on duty, the other does too.
func (p pagerRule) within(other pagerRule) bool {
	if p.schedule != other.schedule || len(p.levels) == 0 && len(other.levels) > 0 {
		return false
	}
	return !slices.ContainsFunc(p.levels, func(n int) bool { return len(other.levels) > 0 && !slices.Contains(other.levels, n) })
}

func (t *ticketRule) implies(wide *ticketRule) bool {
	return (wide.pattern == nil || t.written == wide.written) &&
		(wide.tracker == "" || t.tracker == wide.tracker) &&
		(wide.state == "" || strings.EqualFold(t.state, wide.state)) &&
		(!wide.assignee || t.assignee) && (!wide.window || t.window)
}

func impliesUses(narrow, wide []usedLess) bool {
	for _, w := range wide {
		if !slices.ContainsFunc(narrow, func(n usedLess) bool { return n.named == w.named && n.most <= w.most }) {
			return false
		}
	}
	return true
}

func nobodysConditions(l *linter) {
	l.eachCondition(func(p *policy, c *condition, _ *conditionSpec) {
		if h := l.holdersOf(c.roles); c.roles.allDefined() && !h.open {
			asking := l.holdersOf(p.request)
			switch {
			case len(h.ids) == 0:
				l.find(c.roles.pos, "%s: nobody can ever hold %s, so this condition never holds", c.rule, orList(c.roles.names()))
			case p.request.allDefined() && !asking.open && !meets(h.ids, asking.ids):
				l.find(c.roles.pos, "%s: nobody with %s is among those who may ask (request.roles: %s), so this condition never holds",
					c.rule, orList(c.roles.names()), orList(p.request.names()))
			}
		}
		duty := holding{ids: map[int64]bool{}}
		for _, ref := range c.onCall.refs {
			if !ref.role.hasDuty() {
				return // role/unknown and role/no-rotation told that
			}
			duty = duty.add(l.onDuty(ref.role))
		}
		if c.onCall.allDefined() && !duty.open && len(duty.ids) == 0 {
			l.find(c.onCall.pos, "%s: nobody can ever be on duty in %s, so this condition never holds", c.rule, orList(c.onCall.names()))
		}
	})
}

// allDefined reports whether a list names roles, and all of them exist.
func (l roleList) allDefined() bool {
	return len(l.refs) > 0 && !slices.ContainsFunc(l.refs, func(ref roleRef) bool { return ref.role == nil })
}

func meets(a, b map[int64]bool) bool {
	for id := range a {
		if b[id] {
			return true
		}
	}
	return false
}

// placelessConditions leaves names that no resource knows to
// environment/unknown.
func placelessConditions(l *linter) {
	known := l.environments()
	l.eachCondition(func(p *policy, c *condition, _ *conditionSpec) {
		covered := l.covered[p]
		if len(covered) == 0 || !slices.ContainsFunc(c.environment.names, func(n string) bool { return known[n] > 0 }) {
			return
		}
		if !slices.ContainsFunc(covered, c.mayHoldOn) {
			l.find(c.environment.pos, "%s: nothing that it covers (%s) is in %s, so this condition never holds", c.rule, few(resourceNames(covered)), orList(c.environment.names))
		}
	})
}

// mayHoldOn reports whether a condition's environment admits the resource.
func (c *condition) mayHoldOn(r *resource) bool {
	return !c.environment.set || slices.Contains(c.environment.names, r.Environment)
}

func ownerlessConditions(l *linter) {
	l.eachCondition(func(p *policy, c *condition, written *conditionSpec) {
		covered := l.covered[p]
		owned := slices.ContainsFunc(covered, func(r *resource) bool { return len(r.owners.refs) > 0 })
		if c.teamScope && len(covered) > 0 && !owned {
			l.find(written.TeamScope.Pos, "%s: nobody owns %s, so this condition never holds; name owners in the Resource document", c.rule, few(resourceNames(covered)))
		}
	})
}

func untrackedConditions(l *linter) {
	l.eachCondition(func(_ *policy, c *condition, written *conditionSpec) {
		if c.ticket == nil || !c.ticket.assignee || len(l.people) == 0 {
			return
		}
		if !slices.ContainsFunc(l.people, func(p *person) bool { return p.account(c.ticket.tracker) != "" }) {
			l.find(written.Ticket.V.Assignee.Pos, "%s: nobody in People has an account with %s (key %s), so no ticket is ever assigned to the requester",
				c.rule, c.ticket.tracker.Title(), c.ticket.tracker)
		}
	})
}

// junk is what people write where a ticket is demanded and they have none.
// Numbers are not among it: there are trackers whose keys are no more.
var junk = []string{"x", "na", "n-a", "n/a", "none", "nil", "tbd", "todo", "test", "asdf", "foo", "ticket", "no-ticket", "urgent", "hotfix", "X", "NONE", "TBD"}

func looseTickets(l *linter) {
	l.eachCondition(func(_ *policy, c *condition, _ *conditionSpec) {
		t := c.ticket
		if t == nil || t.pattern == nil || t.tracker != "" {
			return // a tracker knows better than any pattern
		}
		var passing []string
		for _, text := range junk {
			if grants.CheckTicket(text) == nil && t.pattern.matches(text) {
				passing = append(passing, strictyaml.Quote(text))
			}
		}
		switch parsed, err := syntax.Parse(t.written, syntax.Perl); {
		case len(passing) > 0:
			passing = passing[:min(len(passing), 3)]
			l.find(t.patPos, "%s: the pattern accepts %s; write the form of your keys, as in (OPS|PAY)-[0-9]+, or name a tracker", c.rule, andList(passing))
		case err == nil && (openEnd(parsed, true) || openEnd(parsed, false)):
			l.find(t.patPos, "%s: the pattern begins or ends with .*, so anything may stand there; patterns match the whole ticket, and a form such as (OPS|PAY)-[0-9]+ needs no more", c.rule)
		}
	})
}

// openEnd reports whether an expression begins (or ends) with any number of
// any characters.
func openEnd(re *syntax.Regexp, begin bool) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus:
		return re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL
	case syntax.OpCapture:
		return openEnd(re.Sub[0], begin)
	case syntax.OpAlternate:
		return slices.ContainsFunc(re.Sub, func(sub *syntax.Regexp) bool { return openEnd(sub, begin) })
	case syntax.OpConcat:
		if begin {
			return openEnd(re.Sub[0], begin)
		}
		return openEnd(re.Sub[len(re.Sub)-1], begin)
	}
	return false
}

func constantExpressions(l *linter) {
	l.eachCondition(func(_ *policy, c *condition, _ *conditionSpec) {
		if c.expression == nil {
			return
		}
		switch value, constant := c.expression.program.Constant(); {
		case constant && value:
			l.find(c.expression.pos, "%s: the expression is true for every request, so it asks nothing; take it out, or write what was meant", c.rule)
		case constant:
			l.find(c.expression.pos, "%s: the expression is false for every request, so this condition never holds", c.rule)
		}
	})
}
