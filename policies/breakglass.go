package policies

import (
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Break-glass is access in an emergency that nobody has to approve and that
// somebody has to look at afterwards. A request for it is judged by the
// break_glass of each policy on the resource and by nothing that is for
// ordinary requests: not by request.roles, conditions or approval. Ceilings
// and the demand for a reason stay. It is allowed or denied, never reviewed.

// Overdue is what is known of earlier break-glass access of the requester
// whose review is owed and late. A nil Overdue, and one that was not read, are
// not known.
type Overdue struct {
	Grants []grants.ID // whose review is overdue; none: the requester owes nothing
	ReadAt time.Time
	Source string
}

// DefaultReviewWithin is by when break-glass access has to be reviewed, where
// the policy does not say.
const DefaultReviewWithin = 24 * time.Hour

// breakGlass is how a policy lets people break the glass.
type breakGlass struct {
	roles         roleList
	maxDuration   time.Duration // the policy's own, where break_glass says none
	requireTicket bool
	reviewWithin  time.Duration
	tests         []step
}

// breakGlass compiles what a policy says of emergencies. Without roles it
// says nothing: lint tells, and everybody is denied.
func (c *compiler) breakGlass(p *policy, spec *policySpec) breakGlass {
	in := &spec.BreakGlass
	return breakGlass{
		roles:         c.roleList("spec.break_glass.roles", in.Roles),
		maxDuration:   c.accessLength("spec.break_glass.max_duration", in.MaxDuration, p.maxDuration),
		requireTicket: !in.RequireTicket.Set || in.RequireTicket.V,
		reviewWithin:  c.length("spec.break_glass.review_within", in.ReviewWithin, DefaultReviewWithin, time.Minute, 30*24*time.Hour),
	}
}

// link makes the tests, once names are linked.
func (b *breakGlass) link(p *policy, roles map[string]*role) {
	b.roles.link(roles)
	rule := p.name + "/break_glass"
	if !b.roles.set || len(b.roles.refs) == 0 {
		b.tests = []step{newStep(rule, &noGlass{policy: p})}
		return
	}
	b.tests = []step{
		newStep(rule, &mayBreak{hasRole{roles: b.roles}}),
		newStep(rule, &lastsInEmergency{lasts{most: b.maxDuration}}),
	}
	if b.requireTicket {
		b.tests = append(b.tests, newStep(rule, hasTicket{}))
	}
}

// rule is the one that allows.
func (b *breakGlass) rule() string { return b.tests[0].rule }

// glass gives the verdict of one policy on a request to break the glass.
func (j *Judge) glass(v *verdict) {
	p := v.policy
	for i := range p.demands {
		// Who may ask in ordinary times says nothing about emergencies: they
		// have roles of their own.
		if st := &p.demands[i]; !st.ordinary() && j.look(st) != Yes && v.failed == nil {
			v.failed = st
		}
	}
	for i := range p.glass.tests {
		if st := &p.glass.tests[i]; j.look(st) != Yes && v.failed == nil {
			v.failed = st
		}
	}
	if v.failed != nil {
		v.rule = v.failed.rule
		return
	}
	v.outcome, v.rule = Allow, p.glass.rule()
}

// ordinary reports whether a demand is for ordinary requests only.
func (st *step) ordinary() bool {
	_, asks := st.test.(*mayAsk)
	return asks
}

// reviewWithin is by when what was judged has to be reviewed; zero where it
// need not be.
func (j *Judge) reviewWithin() (least time.Duration) {
	if !j.req.BreakGlass || j.res == nil {
		return 0
	}
	for _, p := range j.res.policies {
		if within := p.glass.reviewWithin; least == 0 || within < least {
			least = within
		}
	}
	return least
}

// nothingOverdue demands that whoever breaks the glass has no earlier such
// access that should have been reviewed by now.
type nothingOverdue struct{ plain }

func (nothingOverdue) key() string           { return "break_glass.overdue" }
func (nothingOverdue) applies(j *Judge) bool { return j.req.BreakGlass }
func (nothingOverdue) holds(j *Judge) Truth {
	if o := j.facts.Overdue; o != nil && !o.ReadAt.IsZero() {
		return truth(len(o.Grants) == 0)
	}
	return Unknown
}

func (t nothingOverdue) text(j *Judge) (observed, wanted string) {
	wanted = "no earlier break-glass access whose review is overdue"
	switch t.holds(j) {
	case Unknown:
		return "unknown: earlier break-glass access was not read", wanted
	case No:
		return "the review of " + overdueText(j.facts.Overdue.Grants) + " is overdue", wanted
	}
	if j.facts.Offline {
		return "none (supposed, since nobody was asked)", wanted
	}
	return "none", wanted
}

func (t nothingOverdue) hint(j *Judge) string {
	if t.holds(j) == Unknown {
		return fmt.Sprintf("it is not known whether a review of earlier break-glass access of %s is overdue", j.name())
	}
	ids, whose := j.facts.Overdue.Grants, "an owner of its resource or security (not %s) has to close its issue as completed first"
	if len(ids) > 1 {
		whose = "for each, an owner of its resource or security (not %s) has to close its issue as completed first"
	}
	return fmt.Sprintf("the review of %s%s: "+whose, overdueText(ids), isOverdue, j.name())
}

// isOverdue ends the part of that hint that says what is wrong; what somebody
// has to do follows it.
const isOverdue = " is overdue"

// beginsAtOnce demands that an emergency is one: whoever can say when it will
// be can also ask somebody.
type beginsAtOnce struct{ plain }

func (beginsAtOnce) key() string           { return "break_glass.start" }
func (beginsAtOnce) applies(j *Judge) bool { return j.req.BreakGlass }
func (beginsAtOnce) holds(j *Judge) Truth  { return truth(j.req.Start.IsZero()) }
func (beginsAtOnce) text(j *Judge) (observed, wanted string) {
	if observed = "at once"; !j.req.Start.IsZero() {
		observed = "a start at " + timeText(j.req.Start)
	}
	return observed, "at once"
}
func (beginsAtOnce) hint(*Judge) string {
	return "an emergency begins at once, and has no start of its own"
}

func overdueText(ids []grants.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	slices.Sort(names)
	return few(slices.Compact(names))
}

// noGlass stands for a policy that says nothing of emergencies.
type noGlass struct {
	plain
	policy *policy
}

func (*noGlass) key() string        { return "break_glass" }
func (*noGlass) holds(*Judge) Truth { return No }
func (t *noGlass) text(*Judge) (_, _ string) {
	return t.policy.name + " lets nobody break the glass", "roles in break_glass"
}
func (t *noGlass) hint(*Judge) string {
	if _, written := t.policy.glassPos(); written {
		return fmt.Sprintf("the policy %s names no roles in break_glass", t.policy.name)
	}
	return fmt.Sprintf("the policy %s has no break_glass", t.policy.name)
}

// mayBreak demands one of the roles that may break the glass.
type mayBreak struct{ hasRole }

func (t *mayBreak) quick() quick { return quick{} }
func (t *mayBreak) hint(j *Judge) string {
	if t.holds(j) == Unknown {
		return fmt.Sprintf("it is not known whether %s may break the glass of %s: %s", j.name(), j.res.Name, j.rolesText(t.roles))
	}
	return fmt.Sprintf("only %s may break the glass of %s", orList(t.roles.names()), j.res.Name)
}

// lastsInEmergency bounds how long broken glass gives access.
type lastsInEmergency struct{ lasts }

func (t *lastsInEmergency) quick() quick { return quick{} }
func (t *lastsInEmergency) text(j *Judge) (_, _ string) {
	return j.durationText(), "at most " + grants.FormatDuration(t.most) + " of break-glass access"
}

// barredGlass is the guardrail that keeps people from being let in without
// review, in an emergency too; nil where none does.
func (j *Judge) barredGlass() *step {
	for i := range j.res.autoLimits {
		if st := &j.res.autoLimits[i]; st.holds(j) != Yes {
			return st
		}
	}
	return nil
}

// glassPos is the first place where a policy says something of emergencies;
// false where it does not.
func (p *policy) glassPos() (strictyaml.Pos, bool) {
	b := &p.written.BreakGlass
	return firstOf(b.Roles.Pos, b.MaxDuration.Pos, b.RequireTicket.Pos, b.ReviewWithin.Pos)
}
