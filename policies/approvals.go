package policies

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// ReviewState is the state of a review, as the forge names it.
type ReviewState string

// The states of a review. A dismissal changes the very review that it is
// about: neither who dismissed it nor what it was before can be seen.
const (
	ReviewApproved         ReviewState = "APPROVED"
	ReviewChangesRequested ReviewState = "CHANGES_REQUESTED"
	ReviewCommented        ReviewState = "COMMENTED"
	ReviewDismissed        ReviewState = "DISMISSED"
	ReviewPending          ReviewState = "PENDING"
)

// Review is one review of a proposal. Its text is left out on purpose:
// whoever can write to a repository can edit it.
type Review struct {
	ID          int64
	User        grants.Principal
	UserType    string // "User" for a human being, "Bot" for an App
	State       ReviewState
	CommitID    string // the head that the reviewer looked at
	SubmittedAt time.Time
}

// Proposal is the pull request that is being reviewed.
type Proposal struct {
	Head string // the commit that would be merged, and no other
	// Earlier is heads that were reviewed before and whose file is known to
	// contain what the head has: since then nothing but the bot's own
	// narrowings came. A review at one of them counts as one at the head.
	Earlier   []string
	Requester grants.Principal
	Banned    []int64 // whoever pushed, committed or authored, other than the bot
}

// Count is how far a proposal has come. The zero Count is not satisfied.
type Count struct {
	Satisfied bool
	Approvers []Approval     // approvals that count
	Missing   []ApprovalNeed // what is still needed; People are those yet to be asked
	Blocked   []Blocker      // denials that stand
	Ignored   []IgnoredReview
}

// Approval is one person's approval of the head, or of an earlier one that
// contains it.
type Approval struct {
	Person   Person
	Review   int64
	Commit   string
	Policies []string // the needs that it serves
}

// Blocker is one person's denial, or a review of theirs that was dismissed
// and may have been one. Only that person ends it, by approving the head.
type Blocker struct {
	Person Person
	Review int64
	State  ReviewState
}

// IgnoredReview is a review that counts for nothing, and why.
type IgnoredReview struct {
	Review Review
	Why    string // a sentence for people
}

// CountApprovals counts reviews for a decision. The reviews must be all of
// the proposal's, oldest first, as the forge lists them.
//
// An approval counts if a human being in People who holds an approver role
// now, and is neither the requester nor among the banned, approved the head
// (or an earlier one that contains it), and decided nothing else since. Every need is counted by itself:
// one person counts once for each, and may serve several. A denial by anybody
// whose approval could matter stands until the same person approves the head.
func (s *Set) CountApprovals(d Decision, p Proposal, reviews []Review, f Facts) Count {
	c := counter{set: s, decision: &d, proposal: &p, facts: &f}
	if s.Err() != nil {
		return Count{}
	}
	c.read(reviews)
	c.attribute()
	c.out.Satisfied = c.sound() && len(c.out.Missing) == 0 && len(c.out.Blocked) == 0
	return c.out
}

// consents reports whether whoever approved a commit approved the head.
func (p *Proposal) consents(commit string) bool {
	return commit != "" && (commit == p.Head || slices.Contains(p.Earlier, commit))
}

type counter struct {
	set      *Set
	decision *Decision
	proposal *Proposal
	facts    *Facts
	stands   []*standing // one for each reviewer, in the order of their first review
	out      Count
}

// standing is where one reviewer stands after all of their reviews so far.
type standing struct {
	person   *person
	approved *Review // approved the head or what contains it, and nothing since
	blocked  *Review // denied, and has not approved the head since
}

// sound reports whether approvals can count at all: for a decision that was
// really made about this requester, and a head that is known.
func (c *counter) sound() bool {
	d := c.decision
	if d.Outcome != NeedsReview && d.Outcome != Allow || len(d.Assumed) > 0 {
		return false
	}
	if c.proposal.Head == "" || !d.Requester.Same(c.proposal.Requester) {
		return false
	}
	if d.Outcome == Allow {
		return len(d.Needs) == 0
	}
	// Nothing needed would be everything met: never by way of an empty list.
	return len(d.Needs) > 0 && !slices.ContainsFunc(d.Needs, func(n ApprovalNeed) bool { return n.Required < 1 })
}

// read takes the reviews in turn and leaves where everybody stands.
func (c *counter) read(reviews []Review) {
	byID := map[int64]*standing{}
	for i := range reviews {
		r := &reviews[i]
		if why := c.disregard(r); why != "" {
			c.ignore(r, why)
			continue
		}
		st := byID[r.User.ID]
		if st == nil {
			st = &standing{person: c.set.people.byID[r.User.ID]}
			byID[r.User.ID] = st
			c.stands = append(c.stands, st)
		}
		if st.approved != nil {
			c.ignore(st.approved, fmt.Sprintf("%s decided again since", r.User))
			st.approved = nil
		}
		switch {
		case r.State != ReviewApproved:
			st.blocked = r
		case !c.proposal.consents(r.CommitID):
			c.ignore(r, fmt.Sprintf("it approves the commit %.7s, not the head", r.CommitID))
		default:
			st.approved, st.blocked = r, nil
		}
	}
}

// disregard says why a review decides nothing whoever holds which role.
func (c *counter) disregard(r *Review) string {
	switch r.State {
	case ReviewApproved, ReviewChangesRequested, ReviewDismissed:
	case ReviewCommented, ReviewPending:
		return "a comment decides nothing"
	default:
		return fmt.Sprintf("the state %.20q is not known", string(r.State))
	}
	switch {
	case r.UserType != "User":
		return fmt.Sprintf("%s is not a human being", r.User)
	case r.User.ID == 0 || c.set.people.byID[r.User.ID] == nil:
		return fmt.Sprintf("%s (GitHub id %d) is not in People", r.User, r.User.ID)
	case r.User.Same(c.proposal.Requester):
		return fmt.Sprintf("%s is the requester", r.User)
	}
	return ""
}

func (c *counter) ignore(r *Review, why string) {
	c.out.Ignored = append(c.out.Ignored, IgnoredReview{Review: *r, Why: why})
}

// attribute turns where people stand into what counts for which need.
func (c *counter) attribute() {
	for _, st := range c.stands {
		switch {
		case st.blocked != nil && c.mayDeny(st.person):
			c.out.Blocked = append(c.out.Blocked, Blocker{st.person.Person, st.blocked.ID, st.blocked.State})
		case st.blocked != nil:
			c.ignore(st.blocked, fmt.Sprintf("%s has no role that decides here", st.person))
		case st.approved != nil:
			c.approve(st)
		}
	}
	for _, need := range c.decision.Needs {
		if missing := c.missing(need); missing.Required > 0 {
			c.out.Missing = append(c.out.Missing, missing)
		}
	}
	order := func(a, b IgnoredReview) int { return cmp.Compare(a.Review.ID, b.Review.ID) }
	slices.SortStableFunc(c.out.Ignored, order)
}

func (c *counter) approve(st *standing) {
	// Whoever wrote the content must not be the one who vouches for it.
	if slices.Contains(c.proposal.Banned, st.person.ID) {
		c.ignore(st.approved, fmt.Sprintf("%s pushed or wrote a commit of this proposal", st.person))
		return
	}
	if role, barred := c.barred(st.person.ID); barred {
		c.ignore(st.approved, fmt.Sprintf("a guardrail bars whoever has the role %s from approving", role))
		return
	}
	a := Approval{Person: st.person.Person, Review: st.approved.ID, Commit: st.approved.CommitID}
	doubt := false
	for _, need := range c.decision.Needs {
		switch c.holdsAny(need.Roles, st.person.ID) {
		case Yes:
			a.Policies = append(a.Policies, need.Policy)
		case Unknown:
			doubt = true
		}
	}
	switch {
	case len(a.Policies) > 0:
		c.out.Approvers = append(c.out.Approvers, a)
	case len(c.decision.Needs) == 0:
		c.ignore(st.approved, "no approval is needed")
	case doubt:
		c.ignore(st.approved, fmt.Sprintf("it is not known whether %s has a role that approves here", st.person))
	default:
		c.ignore(st.approved, fmt.Sprintf("%s has no role that approves here", st.person))
	}
}

// barred reports whether a guardrail bars a person from approving, and by
// which role. Who may hold it is barred: a doubt gives nobody a voice.
func (c *counter) barred(id int64) (role string, barred bool) {
	for _, name := range c.decision.NeverApprovers {
		if r := c.set.roles[name]; r == nil || c.set.holds(r, id, c.facts) != No {
			return name, true
		}
	}
	return "", false
}

// mayDeny reports whether a person's denial stands: those whose approval
// could matter to any policy on the resource. A doubt about a role blocks
// here, as it does not approve there. A banned person may still deny: else a
// commit in their name would silence them.
func (c *counter) mayDeny(p *person) bool {
	if c.holdsAny(c.decision.Reviewers, p.ID) != No {
		return true
	}
	return slices.ContainsFunc(c.decision.Needs, func(n ApprovalNeed) bool { return c.holdsAny(n.Roles, p.ID) != No })
}

func (c *counter) holdsAny(roles []string, id int64) Truth {
	t := No
	for _, name := range roles {
		if name == managerRole {
			t = either(t, truth(id != 0 && id == c.set.manager(c.proposal.Requester.ID)))
			continue
		}
		t = either(t, c.set.holds(c.set.roles[name], id, c.facts))
	}
	return t
}

// missing returns what is left of a need, and who could still be asked.
func (c *counter) missing(need ApprovalNeed) ApprovalNeed {
	left := ApprovalNeed{Policy: need.Policy, Required: need.Required, Roles: slices.Clone(need.Roles)}
	served := map[int64]bool{}
	for _, a := range c.out.Approvers {
		if slices.Contains(a.Policies, need.Policy) && !served[a.Person.ID] {
			served[a.Person.ID] = true
			left.Required--
		}
	}
	l := roleList{}
	for _, name := range need.Roles {
		l.refs = append(l.refs, roleRef{name: name, role: c.set.roles[name]})
	}
	j := Judge{set: c.set, req: &Request{Requester: c.proposal.Requester}, facts: c.facts}
	people, _ := j.approvers(l, false)
	for _, p := range people {
		if _, barred := c.barred(p.ID); barred {
			continue
		}
		if !served[p.ID] && !slices.Contains(c.proposal.Banned, p.ID) {
			left.People = append(left.People, p)
		}
	}
	return left
}
