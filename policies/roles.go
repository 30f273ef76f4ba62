package policies

import "slices"

// What a judge finds out about the requester's roles.

func (j *Judge) holdsAny(l roleList) Truth {
	t := No
	for i := range l.refs {
		if t = either(t, j.holdsRole(&l.refs[i])); t == Yes {
			break
		}
	}
	return t
}

// holdsRole is the only place, with onCall, where an assumption counts: it is
// about the requester, never about who approves.
func (j *Judge) holdsRole(ref *roleRef) Truth {
	if j.person == nil {
		return No
	}
	if ref.role != nil && slices.Contains(j.facts.Assumed, ref.name) {
		return Yes
	}
	return j.set.heldBy(ref.role, j.person, j.facts)
}

func (j *Judge) onCall(l roleList) Truth {
	t := No
	for _, ref := range l.refs {
		switch {
		case j.person == nil || ref.role == nil:
		case slices.Contains(j.facts.Assumed, ref.name):
			t = Yes
		default:
			t = either(t, ref.role.onCall(j.person, j.facts))
		}
	}
	return t
}

// silentRoles is the sentence of the first pager that did not answer and that
// one of the roles rests on.
func (j *Judge) silentRoles(l roleList) string {
	for _, ref := range l.refs {
		if why := j.silentRole(ref.role); why != "" {
			return why
		}
	}
	return ""
}

func (j *Judge) silentRole(r *role) string {
	if r == nil {
		return ""
	}
	for _, p := range r.pagers {
		if why := j.facts.Duty[p.schedule].Silent; why != "" {
			return why
		}
	}
	return ""
}
