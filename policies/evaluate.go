package policies

import (
	"cmp"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// Evaluate judges a request by the facts as they are given. The same set,
// request and facts give the same decision, whatever the order of files.
//
// Each policy on the resource gives a verdict of its own, and the least of
// them counts: deny before review before allow. Guardrails tighten whatever
// the policies say. Nothing is cut short: the reasons show every condition,
// also where an earlier one decided.
func (s *Set) Evaluate(req Request, f Facts) Decision {
	d := Decision{Requester: req.Requester, Resource: req.Resource, Duration: req.Duration, At: f.At, Assumed: slices.Clone(f.Assumed)}
	if err := s.Err(); err != nil {
		d.Rule = ruleInvalid
		d.Reasons = []Reason{{Rule: d.Rule, Condition: "policies", Holds: No, Observed: err.Error(), Wanted: "policy documents without mistakes"}}
		d.Nearest = "the policy documents hold a mistake, so nothing can be allowed: have it mended, then ask again"
		return d
	}
	j := s.Judge()
	j.trace = &trace{}
	a := j.Decide(&req, &f)
	d.Outcome, d.Rule, d.Reasons = a.Outcome, a.Rule, j.trace.reasons
	d.MaxDuration, d.RequestTTL = j.ceiling(), j.requestTTL()
	d.BreakGlass, d.ReviewWithin = req.BreakGlass, j.reviewWithin()
	if j.res != nil {
		d.Reviewers, d.NeverApprovers = j.reviewers(), j.res.neverApprovers()
		for _, v := range j.verdicts {
			d.Verdicts = append(d.Verdicts, Verdict{v.policy.name, v.outcome, v.rule})
			d.RecordSession = d.RecordSession || v.policy.recordSession
		}
	}
	if d.Outcome == NeedsReview {
		d.Needs, d.Escalations, d.ApproveFrom = j.needs(), j.escalations(), j.approveFrom()
	}
	if d.Outcome != Allow {
		if len(j.trace.silent) > 0 && !j.matters(suppositions{answered: true}, a.Outcome) {
			j.trace.silent = nil
		}
		d.Silent = j.trace.silent
		d.Nearest = j.nearest(a.Outcome)
	}
	return d
}

// matters reports whether the outcome could have been a better one, had the
// judge known what is supposed.
func (j *Judge) matters(s suppositions, asked Outcome) bool {
	k := j.set.Judge()
	k.suppose = s
	return k.Decide(j.asked, j.facts).Outcome > asked
}

// ruleInvalid is the rule of every decision by a set that did not load.
const ruleInvalid = "policies/invalid"

// A Judge answers one question after the other without allocating, for those
// who ask many: what would change if this policy did? It is not safe for use
// by several goroutines at once; its Set is.
type Judge struct {
	set      *Set
	asked    *Request      // as it was given
	req      *Request      // as it is judged: an extension on the total
	whole    Request       // an extension, with the time of what it extends
	extended time.Duration // that time; zero for whatever extends nothing that is known
	facts    *Facts
	person   *person   // nil: not in People
	res      *resource // nil: no such resource
	auto     Truth     // whether guardrails let anything be allowed without review
	outcome  Outcome   // of all of it, once that is known
	verdicts []verdict // one for each policy on the resource
	holds    []Truth   // of everything that was looked at
	named    Truth     // whether the request names a ticket; Unknown before anything asked
	failed   *step     // the first thing that no policy can make good
	suppose  suppositions
	trace    *trace // nil: only the answer is wanted
}

// suppositions are what the search for the nearest request that would pass
// takes for granted.
type suppositions struct {
	ticket   bool // a ticket that satisfies whatever is asked of tickets
	answered bool // sources that were silent had answered, and in the requester's favour
	known    bool // whatever is not known were so, and in the requester's favour
}

// trace collects what Evaluate tells besides the answer.
type trace struct {
	reasons []Reason
	silent  []string
}

// Judge returns a judge by this set.
func (s *Set) Judge() *Judge { return &Judge{set: s} }

// Answer is a decision without its texts. The zero Answer denies.
type Answer struct {
	Outcome Outcome
	Rule    string // the rule that decided
	// Holds has every reason of the decision, in the order in which
	// Evaluate tells them. It is valid until the judge's next Decide.
	Holds []Truth
}

// verdict is what one policy says, and the condition that allowed it.
type verdict struct {
	policy  *policy
	outcome Outcome
	rule    string
	failed  *step // the first of the policy's own demands that failed
	allowed *condition
}

// Decide answers as Evaluate does, for the same request and facts. Neither is
// kept or changed.
func (j *Judge) Decide(req *Request, f *Facts) Answer {
	if j.set.Err() != nil {
		return Answer{Rule: ruleInvalid}
	}
	j.asked, j.req, j.facts, j.failed, j.auto, j.named = req, req, f, nil, Yes, Unknown
	j.onTotal()
	j.verdicts, j.holds = j.verdicts[:0], j.holds[:0]
	j.person, j.res = j.set.people.byID[req.Requester.ID], j.set.resources[req.Resource]
	var rule string
	j.outcome, rule = j.decide()
	return Answer{j.outcome, rule, j.holds}
}

func (j *Judge) decide() (outcome Outcome, rule string) {
	j.general()
	if j.res == nil {
		return Deny, j.failed.rule
	}
	within, over := true, (*step)(nil)
	for i := range j.res.ceilings {
		if st := &j.res.ceilings[i]; j.look(st) != Yes && within {
			within, over = false, st
		}
	}
	for i := range j.res.autoLimits {
		j.auto = both(j.auto, j.look(&j.res.autoLimits[i]))
	}
	outcome = Allow
	for _, p := range j.res.policies {
		j.verdicts = append(j.verdicts, verdict{policy: p})
		v := &j.verdicts[len(j.verdicts)-1]
		j.policy(v)
		// The first policy with the least outcome names the rule.
		if v.outcome < outcome || rule == "" {
			outcome, rule = v.outcome, v.rule
		}
	}
	if !within && outcome != Deny {
		outcome, rule = Deny, over.rule
	}
	if j.req.BreakGlass && outcome != Deny && j.auto != Yes {
		outcome, rule = Deny, j.barredGlass().rule
	}
	if j.failed != nil {
		outcome, rule = Deny, j.failed.rule
	}
	if len(j.verdicts) == 0 { // a demand failed already; were it not so, nobody would have allowed anything
		outcome = Deny
	}
	return outcome, rule
}

// general looks at what no policy can make good. Where nothing fails, as
// nearly always, and nobody wants to be told, one look suffices for all.
func (j *Judge) general() {
	if j.trace == nil && j.sound() {
		j.holds = append(j.holds, Yes, Yes, Yes, Yes, Yes)
		return
	}
	for i := range general {
		j.demand(&general[i])
	}
	for i := range extending {
		j.demand(&extending[i])
	}
}

// sound reports whether all of general holds. TestPropertyDecideIsEvaluate compares.
func (j *Judge) sound() bool {
	r := j.req
	return !j.facts.At.IsZero() && j.person != nil && j.res != nil && len(j.res.policies) > 0 && !r.BreakGlass && r.Extends == "" && soundDuration(r.Duration)
}

// demand looks at what no policy can make good.
func (j *Judge) demand(st *step) {
	if st.applies(j) && j.look(st) != Yes && j.failed == nil {
		j.failed = st
	}
}

// look finds out whether one thing holds, and notes it. Texts are made only
// where they are kept.
func (j *Judge) look(st *step) Truth {
	t := st.holds(j)
	if t == Unknown && (j.suppose.known || j.suppose.answered && st.silent(j) != "") {
		t = Yes
	}
	j.holds = append(j.holds, t)
	if j.trace != nil {
		j.trace.add(j, st, t)
	}
	return t
}

func (tr *trace) add(j *Judge, st *step, t Truth) {
	observed, wanted := st.text(j)
	tr.reasons = append(tr.reasons, Reason{st.rule, st.key(), t, observed, wanted})
	if why := st.silent(j); t == Unknown && why != "" && !slices.Contains(tr.silent, why) {
		tr.silent = append(tr.silent, why)
	}
}

// policy gives the verdict of one policy.
func (j *Judge) policy(v *verdict) {
	p := v.policy
	if j.req.BreakGlass {
		j.glass(v)
		return
	}
	if j.trace == nil && j.req.Extends == "" && j.failed == nil && j.suppose == (suppositions{}) {
		j.run(v, p.program)
	} else {
		for i := range p.demands {
			if st := &p.demands[i]; j.look(st) != Yes && v.failed == nil {
				v.failed = st
			}
		}
		if j.req.Extends != "" {
			j.extending(v)
		}
		for i := range p.conditions {
			if c := &p.conditions[i]; both(j.condition(c), j.auto) == Yes && v.allowed == nil {
				v.allowed = c
			}
		}
	}
	if v.allowed == nil && j.look(&p.approvable) != Yes && v.failed == nil {
		v.failed = &p.approvable
	}
	switch {
	case v.failed != nil:
		v.rule = v.failed.rule
	case v.allowed != nil:
		v.outcome, v.rule = Allow, v.allowed.rule
	default:
		v.outcome, v.rule = NeedsReview, p.approvable.rule
	}
}

// extending looks at what a policy demands of extensions.
func (j *Judge) extending(v *verdict) {
	for i := range v.policy.extending {
		if st := &v.policy.extending[i]; j.look(st) != Yes && v.failed == nil {
			v.failed = st
		}
	}
}

// condition reports whether every field of a condition holds.
func (j *Judge) condition(c *condition) Truth {
	all := Yes
	for i := range c.tests {
		all = both(all, j.look(&c.tests[i]))
	}
	return all
}

// both is the truth of "a and b"; what is known not to hold outweighs a doubt.
func both(a, b Truth) Truth {
	return bothOf[a&3][b&3]
}

// A table, since in the middle of a decision nobody can guess which way a
// branch will go, the processor's predictor least of all.
var bothOf = [4][4]Truth{
	Unknown: {Unknown: Unknown, No: No, Yes: Unknown},
	No:      {Unknown: No, No: No, Yes: No},
	Yes:     {Unknown: Unknown, No: No, Yes: Yes},
}

// ceiling is the longest that anybody may have the resource.
func (j *Judge) ceiling() time.Duration {
	if j.res == nil {
		return grants.LongestDuration
	}
	return j.res.ceiling()
}

func (r *resource) ceiling() time.Duration {
	least := grants.LongestDuration
	if r.MaxDuration > 0 {
		least = min(least, r.MaxDuration)
	}
	for _, g := range r.guardrails {
		if g.maxDuration > 0 {
			least = min(least, g.maxDuration)
		}
	}
	for _, p := range r.policies {
		least = min(least, p.maxDuration)
	}
	return least
}

func (j *Judge) requestTTL() time.Duration {
	if j.res == nil || len(j.res.policies) == 0 {
		return 0
	}
	return slices.MinFunc(j.res.policies, func(a, b *policy) int { return cmp.Compare(a.requestTTL, b.requestTTL) }).requestTTL
}
