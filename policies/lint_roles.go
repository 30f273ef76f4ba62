package policies

import "slices"

var roleChecks = []check{
	{Rule{"role/unknown", SeverityError, "a role is named that no Role document defines",
		"Nobody has an undefined role, so what asks for it never holds. Define the role, or mend its name."}, unknownRoles},
	{Rule{"role/none", SeverityError, "a list of roles is written and empty",
		"An empty list names nobody. Name a role, or take the key out."}, emptyLists},
	{Rule{"role/empty", SeverityError, "a role has neither members nor anything that gives it some",
		"Name members, github_teams, a rotation or a pager's schedule."}, emptyRoles},
	{Rule{"role/nobody", SeverityWarning, "nobody in People can ever hold a role",
		"Its members are not in People, or nobody there has an account with its pager. Whatever asks for the role never holds."}, heldByNobody},
	{Rule{"role/unused", SeverityWarning, "nothing uses a role",
		"A role that no document names gives nobody anything; often another name was meant. Use it, or take it out."}, unusedRoles},
	{Rule{"role/no-rotation", SeverityError, "on_call names a role in which nobody is ever on duty",
		"on_call is about a rotation or a pager's schedule; members and teams do not count. Give the role one, or write role instead of on_call."}, dutyless},
	{Rule{"role/no-account", SeverityWarning, "a pager is asked with which nobody in People has an account",
		"A pager names its own accounts; People says whose they are (keys pagerduty and opsgenie). Without them the schedule gives nobody the role."}, accountless},
	{Rule{"role/one-in-rotation", SeverityWarning, "a rotation has one person, who is always on duty",
		"What is meant for the time of a duty is standing access then. Add people, or make the one a member."}, lonelyRotations},
	{Rule{"role/rotation-ahead", SeverityWarning, "a rotation has not begun yet",
		"Until its start nobody is on duty by it. Where that is not meant, set start to a hand-over that has been."}, rotationsAhead},
}

// namedList is a list of roles as it stands in a document.
type namedList struct {
	key     string
	list    roleList
	manager bool // `manager` has a meaning there
}

// lists returns every list of roles in the documents.
func (l *linter) lists() (all []namedList) {
	add := func(key string, list roleList) { all = append(all, namedList{key: key, list: list}) }
	for _, r := range l.resources {
		add("spec.owners", r.owners)
	}
	for _, p := range l.set.policies {
		add("request.roles", p.request)
		add("break_glass.roles", p.glass.roles)
		for i := range p.conditions {
			add("role", p.conditions[i].roles)
			add("on_call", p.conditions[i].onCall)
		}
		if p.approval != nil {
			all = append(all, namedList{"approval.approver_roles", p.approval.roles, true})
			all = append(all, namedList{"approval.escalate", p.approval.escalations(), true})
		}
	}
	for _, g := range l.set.guardrails {
		add("never_approvers", g.neverApprovers)
	}
	return all
}

func unknownRoles(l *linter) {
	for _, n := range l.lists() {
		for _, ref := range n.list.refs {
			switch {
			case ref.role != nil, ref.name == managerRole && n.manager:
			case ref.name == managerRole:
				l.find(ref.pos, "%s: %s has a meaning in approver_roles and escalate only", n.key, managerRole)
			default:
				l.find(ref.pos, "%s: the role %s is not defined, so nobody has it%s", n.key, ref.name, suggest(l, ref.name, l.set.roles))
			}
		}
	}
}

// emptyLists leaves approver_roles to policy/never-approved, which tells the
// consequence.
func emptyLists(l *linter) {
	for _, n := range l.lists() {
		if n.list.set && len(n.list.refs) == 0 && !n.manager {
			l.find(n.list.pos, "%s: the list is empty, so nobody is meant; name a role", n.key)
		}
	}
}

func (r *role) empty() bool {
	return len(r.written) == 0 && len(r.teams) == 0 && r.rotation == nil && len(r.pagers) == 0
}

func emptyRoles(l *linter) {
	for _, r := range l.roles {
		if r.empty() {
			l.find(r.pos, "the role %s has nobody: name members, github_teams, a rotation or a pager's schedule", r.name)
		}
	}
}

func heldByNobody(l *linter) {
	for _, r := range l.roles {
		if h := l.holders(r); !r.empty() && !h.open && len(h.ids) == 0 {
			l.find(r.pos, "nobody in People can ever hold the role %s, so whatever asks for it never holds", r.name)
		}
	}
}

func unusedRoles(l *linter) {
	used := map[string]bool{securityRole: true}
	for _, n := range l.lists() {
		for _, ref := range n.list.refs {
			used[ref.name] = true
		}
	}
	for _, r := range l.roles {
		if !used[r.name] {
			l.find(r.pos, "nothing uses the role %s: name it in a policy, a guardrail or a resource's owners, or take it out", r.name)
		}
	}
}

func (r *role) hasDuty() bool { return r != nil && (r.rotation != nil || len(r.pagers) > 0) }

func dutyless(l *linter) {
	for _, p := range l.set.policies {
		for i := range p.conditions {
			for _, ref := range p.conditions[i].onCall.refs {
				if ref.role != nil && !ref.role.hasDuty() {
					l.find(ref.pos, "on_call: the role %s has neither a rotation nor a pager's schedule, so nobody is ever on duty in it", ref.name)
				}
			}
		}
	}
}

func accountless(l *linter) {
	for _, r := range l.roles {
		for _, p := range r.pagers {
			if len(l.set.people.byPager[p.schedule.Pager]) == 0 {
				l.find(p.pos, "nobody in People has an account with %s (key %s), so its schedule %s gives nobody the role %s",
					p.schedule.Pager.Title(), p.schedule.Pager, p.schedule.ID, r.name)
			}
		}
	}
}

func lonelyRotations(l *linter) {
	for _, r := range l.roles {
		if r.rotation == nil {
			continue
		}
		ids := make([]int64, 0, len(r.rotation.members))
		for _, m := range r.rotation.members {
			ids = append(ids, m.id)
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) == 1 {
			l.find(r.rotation.pos, "the rotation of %s (%s) has one person, who is always on duty", r.name, r.rotation)
		}
	}
}

func rotationsAhead(l *linter) {
	for _, r := range l.roles {
		if r.rotation == nil || l.now.IsZero() {
			continue
		}
		if begins := r.rotation.handOver(0); begins.After(l.now) {
			l.find(r.rotation.pos, "the rotation of %s begins on %s, and until then nobody is on duty by it",
				r.name, begins.In(r.rotation.zone).Format("2006-01-02 15:04 MST"))
		}
	}
}
