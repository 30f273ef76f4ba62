package policies

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// guardrail is what no policy may exceed on the resources it covers. It only
// ever tightens: ceilings combine by minimum, required approvers by maximum,
// and what a policy allows against it is reviewed.
type guardrail struct {
	name           string
	pos            strictyaml.Pos
	targets        []target // nil: any resource
	environment    nameRule
	maxDuration    time.Duration // zero: none of its own
	neverAuto      bool
	autoMax        time.Duration // zero: none of its own
	required       int           // zero: none of its own
	neverApprovers roleList
	written        *guardrailSpec // for lint alone: what stands where
}

func (c *compiler) guardrail(name string, pos strictyaml.Pos, spec *guardrailSpec) {
	g := &guardrail{
		name:           name,
		pos:            pos,
		environment:    c.nameRule("spec.environment", spec.Environment),
		maxDuration:    c.accessLength("spec.max_duration", spec.MaxDuration, 0),
		neverAuto:      spec.NeverAutoApprove.V,
		autoMax:        c.accessLength("spec.auto_approve_max_duration", spec.AutoApproveMax, 0),
		required:       c.atLeastOne("spec.required_approvers", spec.RequiredApprovers, 0),
		neverApprovers: c.roleList("spec.never_approvers", spec.NeverApprovers),
		written:        spec,
	}
	if spec.Resources.Set {
		g.targets = c.patterns("spec.resources", spec.Resources)
	}
	if !spec.Resources.Set && !spec.Environment.Set {
		c.fault(pos, "value", `spec: write resources, environment or both, which say what the guardrail is for; for everything: resources: ["*"]`)
	}
	if !spec.MaxDuration.Set && !g.neverAuto && !spec.AutoApproveMax.Set && !spec.RequiredApprovers.Set && !spec.NeverApprovers.Set {
		c.fault(pos, "value", "spec: limits nothing; write max_duration, never_auto_approve, auto_approve_max_duration, required_approvers or never_approvers")
	}
	c.set.guardrails = append(c.set.guardrails, g)
}

func (g *guardrail) covers(r *resource) bool {
	named := g.targets == nil || slices.ContainsFunc(g.targets, func(t target) bool { return t.matches(r.Name) })
	return named && (!g.environment.set || slices.Contains(g.environment.names, r.Environment))
}

// link gives a resource its guardrails, and the tests that these and its own
// ceiling make.
func (r *resource) link(all []*guardrail) {
	if r.MaxDuration > 0 {
		r.ceilings = append(r.ceilings, newStep("resource/max_duration", &lasts{most: r.MaxDuration}))
	}
	for _, g := range all {
		if !g.covers(r) {
			continue
		}
		r.guardrails = append(r.guardrails, g)
		if g.maxDuration > 0 {
			r.ceilings = append(r.ceilings, newStep(g.rule("max_duration"), &lasts{most: g.maxDuration}))
		}
		if g.neverAuto {
			r.autoLimits = append(r.autoLimits, newStep(g.rule("never_auto_approve"), &neverAuto{guardrail: g}))
		}
		if g.autoMax > 0 {
			r.autoLimits = append(r.autoLimits, newStep(g.rule("auto_approve_max_duration"), &autoLasts{lasts{most: g.autoMax}}))
		}
	}
}

func (g *guardrail) rule(key string) string { return "guardrail/" + g.name + "/" + key }

// neverAuto lets nothing be allowed without review.
type neverAuto struct {
	plain
	guardrail *guardrail
}

func (*neverAuto) key() string        { return "never_auto_approve" }
func (*neverAuto) holds(*Judge) Truth { return No }
func (t *neverAuto) text(j *Judge) (_, _ string) {
	return fmt.Sprintf("%s is under the guardrail %s", j.res.Name, t.guardrail.name), "review by people, whatever the conditions say"
}

// autoLasts bounds what is allowed without review.
type autoLasts struct{ lasts }

func (*autoLasts) key() string { return "auto_approve_max_duration" }
func (t *autoLasts) text(j *Judge) (observed, wanted string) {
	return j.durationText(), "at most " + grants.FormatDuration(t.most) + " without review"
}

// required is how many approvers a review of this resource takes.
func (j *Judge) required(a *approval) int { return j.res.required(a) }

func (r *resource) required(a *approval) int {
	n := a.required
	for _, g := range r.guardrails {
		n = max(n, g.required)
	}
	return n
}

// neverApprovers returns the roles whose holders never count as approvers of
// the resource; sorted.
func (r *resource) neverApprovers() []string {
	var names []string
	for _, g := range r.guardrails {
		names = append(names, g.neverApprovers.names()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// mayApprove reports whether no guardrail bars a person from approving now,
// or (ever) at any time. Who may hold a barred role now is barred now: a doubt
// gives nobody a voice. At some time whoever is on duty will be off duty.
func (r *resource) mayApprove(s *Set, p *person, f *Facts, ever bool) bool {
	for _, g := range r.guardrails {
		for _, ref := range g.neverApprovers.refs {
			if ref.role == nil {
				return false // whoever was meant: nobody is let through by a misspelt name
			}
			if ever && ref.role.member(p, f) == Yes || !ever && s.heldBy(ref.role, p, f) != No {
				return false
			}
		}
	}
	return true
}

// guardrailHint says which guardrail keeps from being allowed what a policy
// would allow; "" where none does.
func (j *Judge) guardrailHint() string {
	var names []string
	for _, g := range j.res.guardrails {
		if g.neverAuto {
			names = append(names, g.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("the guardrail %s lets nobody have %s without review", strings.Join(names, ", "), j.res.Name)
}
