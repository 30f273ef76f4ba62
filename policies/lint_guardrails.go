package policies

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Guardrails hold at run time whatever the policies say. What lint adds is
// the proof that no policy is written against one: for every resource there
// is, and for every name that a policy's and a guardrail's patterns could both
// match some day. An environment is known of existing resources only, so what
// a guardrail says by environment is proved for those.
var guardrailChecks = []check{
	{Rule{"guardrail/no-resource", SeverityWarning, "a guardrail covers nothing",
		"No resource is under it, so it keeps nobody from anything. Mend its patterns or environments, unless it is for resources to come."}, idleGuardrails},
	{Rule{"guardrail/max-duration", SeverityError, "a longer duration is written than a guardrail allows",
		"The guardrail holds, so what is written is never given, and misleads. Lower max_duration. Proved for all names that both cover, also of resources to come; by environment, for existing resources."}, overlongDurations},
	{Rule{"guardrail/auto-approve", SeverityError, "a condition allows without review what a guardrail has reviewed",
		"never_auto_approve holds, so the condition does nothing there. Take it out, or narrow it to an environment or resources that the guardrail leaves alone. Proved as guardrail/max-duration is."}, automaticConditions},
	{Rule{"guardrail/auto-duration", SeverityError, "a condition allows more without review than a guardrail does",
		"What is over auto_approve_max_duration is reviewed all the same. Bound the condition by max_duration. Proved as guardrail/max-duration is."}, overlongConditions},
	{Rule{"guardrail/approvers", SeverityError, "fewer approvers are written than a guardrail asks for",
		"The higher number counts. Raise required_approvers, or leave the key out. Proved as guardrail/max-duration is."}, fewApprovers},
	{Rule{"guardrail/barred", SeverityError, "a role is to approve, all of which a guardrail bars from approving",
		"Nobody with the role counts as an approver there. Name another role. Proved as guardrail/max-duration is."}, barredRoles},
}

// meeting is a policy and a guardrail with what is under both.
type meeting struct {
	policy    *policy
	guardrail *guardrail
	resources []*resource
	future    string // a name that both would cover and no resource has; "" where there is none
}

// eachMeeting calls yield with every pair that has something in common.
// exceeds is asked first, and cheaply, whether the policy would exceed the
// guardrail at all: most pairs need no proof.
func (l *linter) eachMeeting(exceeds func(*policy, *guardrail) bool, yield func(meeting)) {
	for _, p := range l.set.policies {
		for _, g := range l.set.guardrails {
			if !exceeds(p, g) {
				continue
			}
			m := meeting{policy: p, guardrail: g}
			for _, r := range l.covered[p] {
				if slices.Contains(r.guardrails, g) {
					m.resources = append(m.resources, r)
				}
			}
			m.future = l.meetAhead(p, g)
			if m.where() != "" {
				yield(m)
			}
		}
	}
}

// meetAhead returns the name of a resource to come that would be under both.
func (l *linter) meetAhead(p *policy, g *guardrail) string {
	for _, t := range p.targets {
		if !t.glob() && l.exists(t.pattern) {
			continue // all of it exists
		}
		if name, ok := l.future(t, g); ok {
			return name
		}
	}
	return ""
}

// future returns a name that a target and a guardrail would both cover.
func (l *linter) future(t target, g *guardrail) (string, bool) {
	if g.environment.set {
		return "", false // nobody knows in which environment a resource will be
	}
	for _, of := range g.targets {
		if name, ok := example(t, of, l.exists); ok {
			return name, true
		}
	}
	return "", false
}

func (l *linter) exists(resource string) bool { return l.set.resources[resource] != nil }

func (m *meeting) where() string {
	switch {
	case len(m.resources) > 0:
		return ofResources(m.resources)
	case m.future != "":
		return "on a resource such as " + m.future
	}
	return ""
}

// under narrows a meeting to what a condition may hold on. The environment of
// a resource to come is not known, so it may be any.
func (m meeting) under(c *condition) meeting {
	m.resources = slices.DeleteFunc(slices.Clone(m.resources), func(r *resource) bool { return !c.mayHoldOn(r) })
	return m
}

// eachGuarded calls yield with every condition that would exceed a guardrail
// it is under.
func (l *linter) eachGuarded(exceeds func(*condition, *policy, *guardrail) bool, yield func(m meeting, c *condition)) {
	any := func(p *policy, g *guardrail) bool {
		for i := range p.conditions {
			if exceeds(&p.conditions[i], p, g) {
				return true
			}
		}
		return false
	}
	l.eachMeeting(any, func(m meeting) {
		for i := range m.policy.conditions {
			c := &m.policy.conditions[i]
			if under := m.under(c); under.where() != "" && exceeds(c, m.policy, m.guardrail) {
				yield(under, c)
			}
		}
	})
}

func idleGuardrails(l *linter) {
	used := map[*guardrail]bool{}
	for _, r := range l.resources {
		for _, g := range r.guardrails {
			used[g] = true
		}
	}
	for _, g := range l.set.guardrails {
		if !used[g] {
			l.find(g.pos, "no resource is under the guardrail %s, so it guards nothing", g.name)
		}
	}
}

func overlongDurations(l *linter) {
	over := func(d time.Duration, g *guardrail) bool { return g.maxDuration > 0 && d > g.maxDuration }
	policyOver := func(p *policy, g *guardrail) bool { return p.written.MaxDuration.Set && over(p.maxDuration, g) }
	l.eachMeeting(policyOver, func(m meeting) {
		p, g := m.policy, m.guardrail
		l.find(p.maxPos, "%s allows %s %s, over the %s of the guardrail %s", p.name, grants.FormatDuration(p.maxDuration), m.where(), grants.FormatDuration(g.maxDuration), g.name)
	})
	conditionOver := func(c *condition, _ *policy, g *guardrail) bool { return over(c.maxDuration, g) }
	l.eachGuarded(conditionOver, func(m meeting, c *condition) {
		g := m.guardrail
		l.find(c.maxPos, "%s allows %s %s, over the %s of the guardrail %s", c.rule, grants.FormatDuration(c.maxDuration), m.where(), grants.FormatDuration(g.maxDuration), g.name)
	})
	for _, r := range l.resources {
		for _, g := range r.guardrails {
			if over(r.MaxDuration, g) {
				l.find(r.written.MaxDuration.Pos, "%s allows %s, over the %s of the guardrail %s", r.Name, grants.FormatDuration(r.MaxDuration), grants.FormatDuration(g.maxDuration), g.name)
			}
		}
	}
}

func automaticConditions(l *linter) {
	never := func(_ *condition, _ *policy, g *guardrail) bool { return g.neverAuto }
	l.eachGuarded(never, func(m meeting, c *condition) {
		l.find(c.pos, "%s allows without review %s, where the guardrail %s has everything reviewed; take it out, or narrow it", c.rule, m.where(), m.guardrail.name)
	})
}

func overlongConditions(l *linter) {
	over := func(c *condition, p *policy, g *guardrail) bool {
		return g.autoMax > 0 && !g.neverAuto && c.longest(p) > g.autoMax
	}
	l.eachGuarded(over, func(m meeting, c *condition) {
		g, longest := m.guardrail, longestUnder(m, c)
		switch {
		case longest <= g.autoMax:
		case c.maxDuration == 0:
			l.find(c.pos, "%s has no max_duration, so it allows up to %s without review %s, over the %s of the guardrail %s; write max_duration: %s",
				c.rule, grants.FormatDuration(longest), m.where(), grants.FormatDuration(g.autoMax), g.name, grants.FormatDuration(g.autoMax))
		default:
			l.find(c.maxPos, "%s allows %s without review %s, over the %s of the guardrail %s",
				c.rule, grants.FormatDuration(longest), m.where(), grants.FormatDuration(g.autoMax), g.name)
		}
	})
}

// longest is what a condition allows by itself and its policy.
func (c *condition) longest(p *policy) time.Duration {
	return min(cmp.Or(c.maxDuration, p.maxDuration), p.maxDuration)
}

// longestUnder is the longest that a condition allows on anything that it
// shares with a guardrail, lower ceilings considered.
func longestUnder(m meeting, c *condition) time.Duration {
	own := c.longest(m.policy)
	var longest time.Duration
	for _, r := range m.resources {
		longest = max(longest, min(own, r.ceiling()))
	}
	if m.future != "" {
		longest = max(longest, min(own, cmp.Or(m.guardrail.maxDuration, own)))
	}
	return longest
}

func fewApprovers(l *linter) {
	written := func(p *policy) strictyaml.Value[int] { return p.written.Approval.V.RequiredApprovers }
	fewer := func(p *policy, g *guardrail) bool { return written(p).Set && written(p).V < g.required }
	l.eachMeeting(fewer, func(m meeting) {
		v := written(m.policy)
		l.find(v.Pos, "%s asks for %s %s, and the guardrail %s for %d", m.policy.name, countApprovers(v.V), m.where(), m.guardrail.name, m.guardrail.required)
	})
}

func barredRoles(l *linter) {
	bars := func(p *policy, g *guardrail) bool { return p.approval != nil && len(g.neverApprovers.refs) > 0 }
	l.eachMeeting(bars, func(m meeting) {
		never := m.guardrail.neverApprovers
		for _, ref := range m.policy.approval.roles.refs {
			if why := l.barredBy(ref, never); why != "" {
				l.find(ref.pos, "%s: nobody with the role %s counts as an approver %s: the guardrail %s bars %s", m.policy.name, ref.name, m.where(), m.guardrail.name, why)
			}
		}
	})
}

// barredBy says why nobody with a role may approve; "" where somebody may.
func (l *linter) barredBy(ref roleRef, never roleList) string {
	switch {
	case slices.Contains(never.names(), ref.name):
		return ref.name
	case ref.role == nil:
		return ""
	}
	h := l.holders(ref.role)
	if h.open || len(h.ids) == 0 || !within(h.ids, membersOf(never)) {
		return ""
	}
	return fmt.Sprintf("%s, and with that all who have the role (%s)", orList(never.names()), few(l.names(h.ids)))
}
