package policies

import (
	"cmp"
	"slices"
	"strings"
)

// approvers returns who could approve now, or (ever) at any time, by login.
// The requester is never among them, nor is anybody whom a guardrail bars.
func (j *Judge) approvers(l roleList, ever bool) (out []Person, incomplete bool) {
	incomplete = j.eachApprover(l, ever, func(p *person) bool {
		out = append(out, p.Person)
		return true
	})
	slices.SortFunc(out, func(a, b Person) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.GitHub), strings.ToLower(b.GitHub)), cmp.Compare(a.ID, b.ID))
	})
	return slices.CompactFunc(out, func(a, b Person) bool { return a.ID == b.ID }), incomplete
}

// eachApprover calls yield, possibly several times for one person, until it
// says no. It reports whether somebody may be missing.
func (j *Judge) eachApprover(l roleList, ever bool, yield func(*person) bool) (incomplete bool) {
	more := true
	once := func(p *person) bool {
		more = more && yield(p)
		return more
	}
	for i := range l.refs {
		if j.eachApproverBy(&l.refs[i], ever, once) {
			incomplete = true
		}
	}
	return incomplete
}

// eachApproverBy is eachApprover for one role.
func (j *Judge) eachApproverBy(ref *roleRef, ever bool, yield func(*person) bool) (incomplete bool) {
	more := true
	each := func(p *person) {
		if more && p != nil && p.ID != j.req.Requester.ID && (j.res == nil || j.res.mayApprove(j.set, p, j.facts, ever)) {
			more = yield(p)
		}
	}
	if ref.name == managerRole {
		each(j.set.people.byID[j.set.manager(j.req.Requester.ID)])
		return false
	}
	return j.set.holders(ref.role, j.facts, ever, each)
}

// enoughApprovers reports whether as many people as are needed could ever
// approve. It counts no further than it must, and allocates nothing.
func (j *Judge) enoughApprovers(a *approval) bool {
	const most = 8 // of whom it can tell whether they were counted; policies ask for one or two
	var seen [most]int64
	required, n := j.required(a), 0
	if a.certain > required && len(j.res.guardrails) == 0 {
		return true // the requester is at most one of them, and nobody is barred
	}
	if required > most {
		people, incomplete := j.approvers(a.everRoles(j.requestTTL()), true)
		return incomplete || len(people) >= required
	}
	count := func(p *person) bool {
		if !slices.Contains(seen[:n], p.ID) {
			seen[n] = p.ID
			n++
		}
		return n < required
	}
	incomplete := j.eachApprover(a.roles, true, count)
	for i := range a.escalate {
		if n >= required || incomplete {
			break
		}
		if e := &a.escalate[i]; e.after < j.requestTTL() {
			incomplete = j.eachApproverBy(&e.to, true, count) || incomplete
		}
	}
	return incomplete || n >= required
}

// needs is what the policies that ask for review ask for.
func (j *Judge) needs() []ApprovalNeed {
	var needs []ApprovalNeed
	for _, v := range j.verdicts {
		if v.outcome == NeedsReview {
			a := v.policy.approval
			roles := a.rolesNow(j.facts)
			people, _ := j.approvers(roles, false)
			needs = append(needs, ApprovalNeed{v.policy.name, j.required(a), roles.names(), people})
		}
	}
	return needs
}

func (j *Judge) reviewers() []string {
	var roles []string
	for _, p := range j.res.policies {
		if p.approval != nil {
			roles = append(roles, p.approval.rolesNow(j.facts).names()...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}
