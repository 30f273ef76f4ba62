package policies

import (
	"slices"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

var approvalChecks = []check{
	{Rule{"policy/never-approved", SeverityError, "a policy could never be approved",
		"It needs more approvers than there could ever be, so what its conditions do not allow is denied. Name more roles, or lower required_approvers."}, neverApproved},
	{Rule{"policy/no-approval", SeverityWarning, "a policy foresees no review",
		"What its conditions do not allow is denied. Where people should be able to ask, write approval."}, reviewless},
	{Rule{"approval/no-manager", SeverityWarning, "people may ask whom nobody could approve, since they have no manager",
		"`manager` is the requester's own manager in People. Give them one, or name another role beside `manager`."}, managerless},
	{Rule{"approval/asleep", SeverityWarning, "at night everything is for review, and no approver is on duty",
		"No condition holds outside of business hours, and fewer than five people could approve, none of them by a rotation, a pager or a team. Name a role with a rotation as approver, as an escalation or in a condition."}, asleep},
	{Rule{"approval/peers", SeverityWarning, "whoever approves also asks: nobody looks from outside",
		"Two people who approve each other, or approvers who are all allowed without review themselves, are no second pair of eyes. Name an approver role whose members do not ask."}, peers},
	{Rule{"approval/same-escalation", SeverityWarning, "a request escalates to a role that is asked already",
		"The escalation asks nobody new. Name another role, or take the step out."}, vainEscalations},
	{Rule{"approval/escalation-order", SeverityWarning, "steps of an escalation stand in another order than they come",
		"They count by their times, whatever their order. Write the sooner first, so that nobody misreads them."}, unorderedEscalations},
	{Rule{"approval/late-escalation", SeverityWarning, "a request lapses before it escalates",
		"The step never comes. Make request_ttl longer, or the step sooner."}, lateEscalations},
	{Rule{"approval/waits", SeverityWarning, "nobody can finish a review before it escalates",
		"Too few people hold the approver roles, so every request waits for the escalation. Name more roles in approver_roles."}, waitsToEscalate},
}

// approvers is who may ever approve under a policy, managers aside.
type approvers struct {
	holding
	manager bool // the requester's own manager as well
}

func (l *linter) approvers(roles roleList) approvers {
	return approvers{l.holdersOf(roles), slices.Contains(roles.names(), managerRole)}
}

// count is how many of them could ever approve one request.
func (l *linter) count(a approvers, barred map[int64]bool) (n int) {
	for id := range a.ids {
		if !barred[id] {
			n++
		}
	}
	if a.manager && len(l.unmanaged) < len(l.people) {
		n++
	}
	return n
}

func neverApproved(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil {
			if len(p.conditions) == 0 {
				l.find(p.pos, "%s has neither conditions nor approval, so it denies every request", p.name)
			}
			continue
		}
		a := p.approval
		who := l.approvers(a.everRoles(p.requestTTL))
		if who.open {
			continue // teams may have any members
		}
		if most := l.count(who, nil); most < a.required {
			l.find(a.pos, "%s can never be approved: it needs %s of %s, and there %s",
				p.name, countApprovers(a.required), orList(a.everRoles(p.requestTTL).names()), areOnly(most))
			continue
		}
		l.neverApprovedUnderGuardrails(p, who)
	}
}

// areOnly is "is nobody", "is one person" or "are 2 people".
func areOnly(n int) string {
	if n > 1 {
		return "are " + countPeople(n)
	}
	return "is " + countPeople(n)
}

func (l *linter) neverApprovedUnderGuardrails(p *policy, who approvers) {
	for _, r := range l.covered[p] {
		if len(r.guardrails) == 0 {
			continue
		}
		required, most := r.required(p.approval), l.count(who, r.barred())
		if most < required {
			l.find(p.approval.pos, "%s can never be approved on %s: with its guardrails that takes %s of %s, and there %s whom they do not bar",
				p.name, r.Name, countApprovers(required), orList(p.approval.everRoles(p.requestTTL).names()), areOnly(most))
			return
		}
	}
}

// barred returns who never counts as an approver of the resource, at any time.
func (r *resource) barred() map[int64]bool {
	ids := map[int64]bool{}
	for _, g := range r.guardrails {
		for id := range membersOf(g.neverApprovers) {
			ids[id] = true
		}
	}
	return ids
}

func reviewless(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil && len(p.conditions) > 0 {
			l.find(p.pos, "%s has no approval, so what its conditions do not allow is denied without review", p.name)
		}
	}
}

// managerless counts for each person who may ask whether anybody could
// approve, where that may hang on their manager.
func managerless(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil {
			continue
		}
		who, asking := l.approvers(p.approval.everRoles(p.requestTTL)), l.holdersOf(p.request)
		if !who.manager || who.open {
			continue
		}
		alone := map[int64]bool{}
		for _, asker := range l.unmanaged {
			if p.request.set && !asking.ids[asker.ID] {
				continue
			}
			most := len(who.ids)
			if who.ids[asker.ID] {
				most--
			}
			alone[asker.ID] = most < p.approval.required
		}
		if names := l.names(alone); len(names) > 0 {
			has := "has"
			if len(names) > 1 {
				has = "have"
			}
			l.find(p.approval.managerPos(), "%s %s no manager in People, so nobody could approve what they ask of %s; name managers, or another approver role", few(names), has, p.name)
		}
	}
}

func (a *approval) managerPos() strictyaml.Pos {
	for _, ref := range slices.Concat(a.roles.refs, a.escalations().refs) {
		if ref.name == managerRole {
			return ref.pos
		}
	}
	return a.pos
}

// enoughAwake is how many people must be able to approve for one of them to
// be expected to answer at any hour.
const enoughAwake = 5

func asleep(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil || l.opensAtNight(p) {
			continue
		}
		roles := roleList{refs: p.approval.everRoles(p.requestTTL).refs}
		who := l.holdersOf(roles)
		duty := slices.ContainsFunc(roles.refs, func(ref roleRef) bool { return ref.role.hasDuty() })
		if n := len(who.ids); !duty && !who.open && 0 < n && n < enoughAwake {
			l.find(p.approval.roles.pos, "%s: at night everything is for review, and of the %s who could approve nobody is on duty by a rotation or a pager; name such a role here, in escalate or in a condition", p.name, countPeople(n))
		}
	}
}

// opensAtNight reports whether a condition lets somebody in at any hour.
func (l *linter) opensAtNight(p *policy) bool {
	reviewed := func(r *resource) bool {
		return slices.ContainsFunc(r.guardrails, func(g *guardrail) bool { return g.neverAuto })
	}
	if covered := l.covered[p]; len(covered) > 0 && !slices.ContainsFunc(covered, func(r *resource) bool { return !reviewed(r) }) {
		return false
	}
	return slices.ContainsFunc(p.conditions, func(c condition) bool { return c.hours == nil })
}

// peers looks only where all approvers are known by name: members of roles.
func peers(l *linter) {
	for _, p := range l.set.policies {
		if p.approval == nil {
			continue
		}
		who := l.approvers(p.approval.roles)
		if who.open || who.manager || len(who.ids) == 0 || !within(who.ids, membersOf(p.approval.roles)) {
			continue
		}
		var allowed roleList
		for _, c := range p.conditions {
			allowed.refs = append(allowed.refs, c.roles.refs...)
		}
		asking := roleList{refs: slices.Concat(allowed.refs, p.request.refs)}
		names := l.names(who.ids)
		switch {
		case len(names) == 2 && within(who.ids, membersOf(asking)):
			l.find(p.approval.roles.pos, "%s: %s both ask and approve, so they approve each other; name an approver who does not ask", p.name, andList(names))
		case len(names) > 1 && within(who.ids, membersOf(allowed)):
			l.find(p.approval.roles.pos, "%s: all who approve (%s) are themselves allowed without review, so nobody looks from outside; name an approver role that no condition names", p.name, few(names))
		}
	}
}
