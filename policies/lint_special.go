package policies

import (
	"slices"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// What lint finds in what policies say of emergencies, extensions and
// escalation.

// firstOf is the place of the first of several keys that was written.
func firstOf(all ...strictyaml.Pos) (strictyaml.Pos, bool) {
	for _, pos := range all {
		if pos.Line > 0 {
			return pos, true
		}
	}
	return strictyaml.Pos{}, false
}

func rolelessBreakGlass(l *linter) {
	for _, p := range l.set.policies {
		if pos, written := p.glassPos(); written && !p.glass.roles.set {
			l.find(pos, "%s: break_glass names no roles, so nobody could break the glass; write roles: [...]", p.name)
		}
	}
}

// longEmergencies tells of broken glass that gives as long as a review does,
// since the policy does not say for how long.
func longEmergencies(l *linter) {
	for _, p := range l.set.policies {
		if in := &p.written.BreakGlass; p.glass.roles.set && !in.MaxDuration.Set {
			l.find(in.Roles.Pos, "%s: break_glass has no max_duration, so broken glass gives up to %s without anybody asked, which is the policy's own ceiling",
				p.name, grants.FormatDuration(p.glass.maxDuration))
		}
	}
}

// ticketlessEmergencies tells of glass that is broken without a ticket.
func ticketlessEmergencies(l *linter) {
	for _, p := range l.set.policies {
		if in := &p.written.BreakGlass; p.glass.roles.set && !p.glass.requireTicket {
			l.find(in.RequireTicket.Pos, "%s: break_glass asks for no ticket, so nothing but the reason says what the emergency was", p.name)
		}
	}
}

// barredEmergencies tells of guardrails under which broken glass gives less
// than a policy says.
func barredEmergencies(l *linter) {
	bars := func(p *policy, g *guardrail) bool {
		return p.glass.roles.set && (g.neverAuto || g.autoMax > 0 && g.autoMax < p.glass.maxDuration)
	}
	l.eachMeeting(bars, func(m meeting) {
		pos, _ := m.policy.glassPos()
		if m.guardrail.neverAuto {
			l.find(pos, "%s: nobody can break the glass %s, since the guardrail %s lets nobody in without review", m.policy.name, m.where(), m.guardrail.name)
			return
		}
		l.find(pos, "%s: broken glass gives %s at most and not %s %s, since the guardrail %s lets nobody in for longer without review",
			m.policy.name, grants.FormatDuration(m.guardrail.autoMax), grants.FormatDuration(m.policy.glass.maxDuration), m.where(), m.guardrail.name)
	})
}

// disagreements tells at a policy that allows what another one on the same
// resource does not, once for each pair.
func disagreements(l *linter) {
	for _, what := range []struct {
		key    string
		allows func(*policy) bool
		pos    func(*policy) (strictyaml.Pos, bool)
	}{
		{"break_glass", func(p *policy) bool { return p.glass.roles.set }, (*policy).glassPos},
		{"extensions", func(p *policy) bool { return p.extensions.max > 0 }, func(p *policy) (strictyaml.Pos, bool) {
			return firstOf(p.written.Extensions.Max.Pos, p.written.Extensions.Each.Pos)
		}},
	} {
		told := map[[2]*policy]bool{}
		for _, r := range l.resources {
			for _, p := range r.policies {
				i := slices.IndexFunc(r.policies, func(q *policy) bool { return !what.allows(q) })
				if i < 0 || !what.allows(p) || told[[2]*policy{p, r.policies[i]}] {
					continue
				}
				q := r.policies[i]
				told[[2]*policy{p, q}] = true
				pos, _ := what.pos(p)
				l.find(pos, "%s: %s covers %s as well and has no %s, so this one gives nobody anything there", p.name, q.name, r.Name, what.key)
			}
		}
	}
}

// vainEscalations tells of steps that ask nobody new.
func vainEscalations(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil {
			continue
		}
		asked := p.approval.roles
		for _, e := range p.approval.escalate {
			if slices.Contains(asked.names(), e.to.name) {
				l.find(e.to.pos, "approval.escalate: %s is asked already, so this step asks nobody new", e.to.name)
			}
			asked.refs = append(slices.Clip(asked.refs), e.to)
		}
	}
}

// lateEscalations tells of steps that no request lives to see.
func lateEscalations(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil {
			continue
		}
		for _, e := range p.approval.escalate {
			if e.after >= p.requestTTL {
				l.find(e.pos, "approval.escalate: after %s a request has lapsed (request_ttl is %s), so %s is never asked", grants.FormatDuration(e.after), grants.FormatDuration(p.requestTTL), e.to.name)
			}
		}
	}
}

// unorderedEscalations tells of steps that stand before ones that come sooner.
func unorderedEscalations(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil {
			continue
		}
		steps := p.approval.escalate
		for i := 1; i < len(steps); i++ {
			if steps[i].after < steps[i-1].after {
				l.find(steps[i].pos, "approval.escalate: this step comes %s after the request and stands below one that comes %s after it; write the sooner first",
					grants.FormatDuration(steps[i].after), grants.FormatDuration(steps[i-1].after))
			}
		}
	}
}

// waitsToEscalate tells of a review that cannot end before it escalates.
func waitsToEscalate(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil || len(p.approval.escalate) == 0 {
			continue
		}
		now := l.approvers(p.approval.roles)
		if ever := l.approvers(p.approval.everRoles(p.requestTTL)); !now.open && l.count(now, nil) < p.approval.required && (ever.open || l.count(ever, nil) >= p.approval.required) {
			l.find(p.approval.pos, "%s: at first there %s who could approve, and it takes %s; before it escalates nobody can finish a review",
				p.name, areOnly(l.count(now, nil)), countApprovers(p.approval.required))
		}
	}
}
