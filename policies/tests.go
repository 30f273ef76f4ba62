package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Suite is every PolicyTest of a repository, read by ReadTests. Its cases
// hold requests and facts that are ready to be judged, so that running them
// costs no more than the decisions do.
type Suite struct {
	Files int // test files
	cases []testCase
	zones func(string) (*time.Location, error)
}

// Cases is how many there are.
func (s *Suite) Cases() int { return len(s.cases) }

// testCase is one request, what is known when it is judged, and what has to
// come of it.
type testCase struct {
	name  string
	pos   strictyaml.Pos
	req   Request
	facts Facts
	want  expected
}

// expected is what a case claims. What is not set is not compared.
type expected struct {
	outcome   Outcome
	rule      strictyaml.Value[string]
	nearest   strictyaml.Value[string]
	approvers strictyaml.Value[[]string] // logins, as People writes them; sorted
	required  strictyaml.Value[int]
	from      strictyaml.Value[[]string] // sorted
}

// Failure is a case that came out otherwise than it claims.
type Failure struct {
	Name       string     `json:"name"`
	File       string     `json:"file"`
	Line       int        `json:"line"`
	Column     int        `json:"column"`
	Mismatches []Mismatch `json:"mismatches"`
	// Matters is those lines of the trace that made the decision another one
	// than was wanted.
	Matters  []Reason `json:"matters"`
	Decision Decision `json:"decision"`
}

// Mismatch is one key of `then` whose value is another one.
type Mismatch struct {
	Key    string `json:"key"`
	Wanted string `json:"wanted"`
	Got    string `json:"got"`
}

// Run judges the cases whose file and name ("policies/tests/x.yaml: on-call
// gets 4h") match, all where match is nil, and returns those that fail, in
// the order in which they are written, and how many were run.
func (s *Suite) Run(set *Set, match func(name string) bool) (failures []Failure, run int) {
	j := set.Judge()
	for i := range s.cases {
		c := &s.cases[i]
		if match != nil && !match(c.pos.File+": "+c.name) {
			continue
		}
		run++
		if !c.holds(j) {
			failures = append(failures, c.failure(set))
		}
	}
	slices.SortStableFunc(failures, func(a, b Failure) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line)) })
	return failures, run
}

// holds reports whether a case comes out as it claims. It makes no more texts
// than the claim needs, because --mutate asks very often.
func (c *testCase) holds(j *Judge) bool {
	a := j.Decide(&c.req, &c.facts)
	if a.Outcome != c.want.outcome || c.want.rule.Set && a.Rule != c.want.rule.V {
		return false
	}
	if c.want.approvers.Set || c.want.required.Set {
		var needs []ApprovalNeed
		if a.Outcome == NeedsReview {
			needs = j.needs()
		}
		required, people := asked(needs)
		if c.want.required.Set && required != c.want.required.V || c.want.approvers.Set && !slices.Equal(people, c.want.approvers.V) {
			return false
		}
	}
	if c.want.from.Set {
		var from []string
		if a.Outcome == NeedsReview {
			from = j.approveFrom()
		}
		if !slices.Equal(from, c.want.from.V) {
			return false
		}
	}
	return !c.want.nearest.Set || j.set.Evaluate(c.req, c.facts).Nearest == c.want.nearest.V
}

// asked sums needs up as the decision's JSON does: whoever serves several
// policies at once is asked once.
func asked(needs []ApprovalNeed) (required int, people []string) {
	for _, n := range needs {
		required = max(required, n.Required)
		people = append(people, logins(n.People)...)
	}
	slices.Sort(people)
	return required, slices.Compact(people)
}

func (c *testCase) failure(set *Set) Failure {
	d := set.Evaluate(c.req, c.facts)
	out := Failure{Name: c.name, File: c.pos.File, Line: c.pos.Line, Column: c.pos.Column, Matters: emptyNotNull(c.matters(d)), Decision: d}
	compare := func(key string, claimed bool, wanted, got string) {
		if claimed && wanted != got {
			out.Mismatches = append(out.Mismatches, Mismatch{key, wanted, got})
		}
	}
	required, people := asked(d.Needs)
	compare("decision", true, c.want.outcome.String(), d.Outcome.String())
	compare("rule", c.want.rule.Set, c.want.rule.V+set.ruleHint(c.want.rule.V), d.Rule)
	compare("required", c.want.required.Set, fmt.Sprint(c.want.required.V), fmt.Sprint(required))
	compare("approvers", c.want.approvers.Set, listText(c.want.approvers.V), listText(people))
	compare("approve_from", c.want.from.Set, sourcesText(c.want.from.V), sourcesText(d.ApproveFrom))
	compare("nearest", c.want.nearest.Set, cmp.Or(c.want.nearest.V, "nothing"), cmp.Or(d.Nearest, "nothing"))
	return out
}

func sourcesText(names []string) string {
	if len(names) == 0 {
		return "nowhere"
	}
	return strings.Join(names, ", ")
}

func listText(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

// ruleHint says so where no decision could ever name a rule: a claim that
// names one is most likely misspelt.
func (s *Set) ruleHint(rule string) string {
	rules := map[string]bool{ruleInvalid: true, "resource/max_duration": true}
	add := func(steps []step) {
		for i := range steps {
			rules[steps[i].rule] = true
		}
	}
	add(general)
	add(extending)
	for _, r := range s.resources { // what keeps from review decides where none is possible: in an emergency
		add(r.ceilings)
		add(r.autoLimits)
	}
	for _, p := range s.policies {
		add(p.demands)
		add(p.extending)
		add(p.glass.tests)
		for _, c := range p.conditions {
			rules[c.rule] = true
		}
		rules[p.approvable.rule] = true
	}
	if rules[rule] {
		return ""
	}
	return " (no rule has this name" + meant(rule, rules) + ")"
}

// matters returns the lines of the trace that a reader of a failed case wants
// to see: where it was allowed, what allowed it; otherwise what did not hold
// in the rule that was wanted and in the one that decided or, where neither
// says anything, whatever did not hold.
func (c *testCase) matters(d Decision) []Reason {
	rules := []string{d.Rule, c.want.rule.V}
	if d.Outcome == Allow {
		for _, v := range d.Verdicts {
			rules = append(rules, v.Rule)
		}
	}
	var some, all []Reason
	for _, r := range d.Reasons {
		if d.Outcome == Allow && c.want.outcome != Allow || r.Holds != Yes {
			all = append(all, r)
			if slices.Contains(rules, r.Rule) {
				some = append(some, r)
			}
		}
	}
	if len(some) > 0 {
		return some
	}
	return all
}
