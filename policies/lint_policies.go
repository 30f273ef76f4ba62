package policies

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

var policyChecks = []check{
	{Rule{"policy/no-resource", SeverityWarning, "no resource matches a pattern of a policy",
		"The pattern is about nothing today. Mend it, or leave it for resources to come."}, matchlessPolicies},
	{Rule{"policy/overlap", SeverityWarning, "several policies cover one resource",
		"All of them must allow, and each that asks for review needs its own approvals; no policy overrides another. Where that is not meant, narrow one."}, overlaps},
	{Rule{"policy/overlap-ahead", SeverityWarning, "the patterns of two policies meet, though no resource is under both yet",
		"A resource with such a name would be under both, and both would have to allow. Where that is not meant, narrow one."}, overlapsAhead},
	{Rule{"policy/over-ceiling", SeverityWarning, "a duration is allowed that a lower ceiling rules out",
		"Ceilings combine by minimum, so what is over the lowest is never reached. Lower the one or raise the other."}, unreachedDurations},
	{Rule{"policy/extension", SeverityWarning, "an extension is longer than any grant may be",
		"No extension of that length is ever given. Lower extensions.each, or raise max_duration."}, longExtensions},
	{Rule{"policy/break-glass", SeverityWarning, "break_glass says how, and not who",
		"Without roles nobody can break the glass. Name them in break_glass.roles."}, rolelessBreakGlass},
	{Rule{"policy/break-glass-length", SeverityWarning, "break_glass does not say for how long",
		"The policy's own ceiling holds then, which is for access that somebody approves. Write a break_glass.max_duration, as short as an emergency needs."}, longEmergencies},
	{Rule{"policy/break-glass-ticket", SeverityWarning, "the glass can be broken without a ticket",
		"Whoever looks at it afterwards has nothing to hold it against. Take require_ticket: false out of break_glass, unless emergencies have no tickets where you are."}, ticketlessEmergencies},
	{Rule{"policy/break-glass-barred", SeverityWarning, "a guardrail lets nobody break the glass that a policy lets people break",
		"never_auto_approve bars emergencies too, and auto_approve_max_duration bars what is longer. Where emergencies are meant, narrow the guardrail; otherwise take break_glass out."}, barredEmergencies},
	{Rule{"policy/disagree", SeverityWarning, "policies on one resource disagree on emergencies or extensions",
		"All policies on a resource have to allow them. Write the key in each of them, or narrow one of the policies."}, disagreements},
}

var testChecks = []check{
	{Rule{"policy/untested", SeverityWarning, "no PolicyTest is about a policy",
		"There are tests for other policies, so a change to this one passes unnoticed. Write a test for a resource that it covers."}, untestedPolicies},
}

func matchlessPolicies(l *linter) {
	for _, p := range l.set.policies {
		for _, t := range p.targets {
			if t.glob() && !slices.ContainsFunc(l.covered[p], func(r *resource) bool { return t.matches(r.Name) }) {
				l.find(t.pos, "%s: no resource matches %s", p.name, t.pattern)
			}
		}
	}
}

// overlaps tells each group of policies once for all resources that are under
// it, at every policy but the first.
func overlaps(l *linter) {
	type group struct {
		policies  []*policy
		resources []string
	}
	groups := map[string]*group{}
	var order []*group
	for _, r := range l.resources {
		if len(r.policies) < 2 {
			continue
		}
		key := strings.Join(policyNames(r.policies), " ")
		if groups[key] == nil {
			groups[key] = &group{policies: r.policies}
			order = append(order, groups[key])
		}
		groups[key].resources = append(groups[key].resources, r.Name)
	}
	for _, g := range order {
		are := "is"
		if len(g.resources) > 1 {
			are = "are"
		}
		for _, p := range g.policies[1:] {
			l.find(p.pos, "%s %s covered by %s: all of them must allow, and each that asks for review needs its own", few(g.resources), are, few(policyNames(g.policies)))
		}
	}
}

func policyNames(ps []*policy) []string {
	names := make([]string, len(ps))
	for i, p := range ps {
		names[i] = p.name
	}
	return names
}

// overlapsAhead compares the patterns of policies that no resource ties
// together yet. Patterns that begin differently cannot meet, so with those
// sorted by their beginnings each is compared with its neighbours only.
func overlapsAhead(l *linter) {
	type pattern struct {
		target
		policy *policy
		begin  string
	}
	var globs []pattern
	for _, p := range l.set.policies {
		for _, t := range p.targets {
			if begin, _, ok := strings.Cut(t.pattern, "*"); ok {
				globs = append(globs, pattern{t, p, begin})
			}
		}
	}
	slices.SortStableFunc(globs, func(a, b pattern) int { return cmp.Compare(a.begin, b.begin) })
	together := map[[2]*policy]bool{}
	for _, r := range l.resources {
		for i, p := range r.policies {
			for _, q := range r.policies[i+1:] {
				together[[2]*policy{p, q}] = true
			}
		}
	}
	for i, a := range globs {
		for _, b := range globs[i+1:] {
			if !strings.HasPrefix(b.begin, a.begin) {
				break
			}
			first, second := a, b
			if first.policy.name > second.policy.name {
				first, second = b, a
			}
			pair := [2]*policy{first.policy, second.policy}
			if first.policy == second.policy || together[pair] {
				continue
			}
			if name, meets := example(a.target, b.target, l.exists); meets {
				together[pair] = true
				l.find(second.pos, "%s would meet %s (%s) in a resource such as %s: both would have to allow", second.pattern, first.pattern, first.policy.name, name)
			}
		}
	}
}

func unreachedDurations(l *linter) {
	over := func(pos strictyaml.Pos, what string, d, most time.Duration, whose string) {
		l.find(pos, "%s: %s is over the %s that %s", what, grants.FormatDuration(d), grants.FormatDuration(most), whose)
	}
	for _, p := range l.set.policies {
		most := l.mostAllowed(p)
		if p.written.MaxDuration.Set && most < p.maxDuration {
			over(p.maxPos, p.name, p.maxDuration, most, "the Resource document allows anybody")
		}
		for _, c := range p.conditions {
			switch {
			case c.maxDuration > p.maxDuration:
				over(c.maxPos, c.rule, c.maxDuration, p.maxDuration, "the policy allows anybody")
			case c.maxDuration > most:
				over(c.maxPos, c.rule, c.maxDuration, most, "the Resource document allows anybody")
			}
		}
		switch b := p.written.BreakGlass.MaxDuration; {
		case b.Set && b.V.d > p.maxDuration:
			over(b.Pos, "break_glass", b.V.d, p.maxDuration, "the policy allows anybody")
		case b.Set && b.V.d > most:
			over(b.Pos, "break_glass", b.V.d, most, "the Resource document allows anybody")
		}
	}
}

// mostAllowed is the longest that any resource under the policy allows.
func (l *linter) mostAllowed(p *policy) time.Duration {
	var most time.Duration
	for _, r := range l.covered[p] {
		most = max(most, cmp.Or(r.MaxDuration, grants.LongestDuration))
	}
	return cmp.Or(most, grants.LongestDuration)
}

func longExtensions(l *linter) {
	for _, p := range l.set.policies {
		each, most := p.written.Extensions.Each, min(p.maxDuration, l.mostAllowed(p))
		if each.Set && each.V.d > most {
			l.find(each.Pos, "extensions.each: %s is longer than the %s that a whole grant of %s may be", grants.FormatDuration(each.V.d), grants.FormatDuration(most), p.name)
		}
	}
}

// LintTests finds policies that no test is about. Where there are no tests at
// all, nobody has begun to write them, and there are no findings.
func (s *Set) LintTests(suite *Suite) []Finding {
	if suite.Cases() == 0 {
		return nil
	}
	return s.lint(testChecks, &linter{suite: suite})
}

func untestedPolicies(l *linter) {
	tested := map[*policy]bool{}
	for i := range l.suite.cases {
		if r := l.set.resources[l.suite.cases[i].req.Resource]; r != nil {
			for _, p := range r.policies {
				tested[p] = true
			}
		}
	}
	for _, p := range l.set.policies {
		if !tested[p] && len(l.covered[p]) > 0 {
			l.find(p.pos, "no test is about %s: write a PolicyTest for %s", p.name, few(resourceNames(l.covered[p])))
		}
	}
}
