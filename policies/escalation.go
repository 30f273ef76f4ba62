package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// escalation widens whom a review asks: from so long after people could first
// answer, holders of one more role may approve.
type escalation struct {
	after time.Duration
	to    roleRef
	pos   strictyaml.Pos
}

// due reports whether the time has come. Facts are recorded to the second, and
// an auditor must come to the same answer; so seconds are all that counts.
func (e *escalation) due(f *Facts) bool {
	return !f.Since.IsZero() && f.At.Unix() >= e.at(f).Unix()
}

// at is when the time comes.
func (e *escalation) at(f *Facts) time.Time { return f.Since.Truncate(time.Second).Add(e.after) }

// Escalation is a step of a review that is still to come.
type Escalation struct {
	Policy string    `json:"policy"`
	Role   string    `json:"role"` // whose holders may approve as well from then on
	At     time.Time `json:"at"`
}

// rolesNow is whoever may approve by now.
func (a *approval) rolesNow(f *Facts) roleList {
	out := a.roles
	for i := range a.escalate {
		if e := &a.escalate[i]; e.due(f) && !slices.Contains(out.names(), e.to.name) {
			out.refs = append(slices.Clip(out.refs), e.to)
		}
	}
	return out
}

// everRoles is whoever may approve at any time before the request lapses.
func (a *approval) everRoles(ttl time.Duration) roleList {
	out := a.roles
	for i := range a.escalate {
		if e := &a.escalate[i]; e.after < ttl {
			out.refs = append(slices.Clip(out.refs), e.to)
		}
	}
	return out
}

// escalations returns the roles of all steps.
func (a *approval) escalations() (l roleList) {
	for _, e := range a.escalate {
		l.refs = append(l.refs, e.to)
	}
	return l
}

// escalations is what is still to come in the policies that ask for review.
func (j *Judge) escalations() (steps []Escalation) {
	if j.facts.Since.IsZero() {
		return nil
	}
	for _, v := range j.verdicts {
		if v.outcome != NeedsReview {
			continue
		}
		a := v.policy.approval
		for i := range a.escalate {
			e := &a.escalate[i]
			if comes := !e.due(j.facts) && e.after < j.requestTTL(); comes && !slices.Contains(a.roles.names(), e.to.name) {
				steps = append(steps, Escalation{v.policy.name, e.to.name, e.at(j.facts).UTC()})
			}
		}
	}
	slices.SortFunc(steps, func(a, b Escalation) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Policy, b.Policy), strings.Compare(a.Role, b.Role))
	})
	return steps
}

// laterText names the roles that may approve later on: ", or from 15m on of
// security"; "" where there are none.
func (a *approval) laterText() string {
	text := ""
	for _, e := range a.escalate {
		text += fmt.Sprintf(", from %s on also %s", grants.FormatDuration(e.after), e.to.name)
	}
	return text
}

// Where a review may be given, as approve_from names it.
const (
	FromGitHub = "github" // on GitHub itself
	FromCLI    = "cli"    // by tac access approve and deny
	FromSlack  = "slack"  // by the buttons of a message
)

var reviewSources = []string{FromCLI, FromGitHub, FromSlack}

// approveFrom is where reviews may be given; sorted. Reviews that are given
// on GitHub cannot be told apart from others, so they are never left out.
func (c *compiler) approveFrom(list nameList) []string {
	if !list.Set {
		return []string{FromCLI, FromGitHub}
	}
	var out []string
	for i, v := range list.V {
		name := checked(c, fmt.Sprintf("spec.approval.approve_from[%d]", i), v, checkReviewSource)
		if slices.Contains(out, name) {
			c.fault(v.Pos, "duplicate", "spec.approval.approve_from: %s stands here a second time", name)
		}
		out = append(out, name)
	}
	if !slices.Contains(out, FromGitHub) {
		c.fault(list.Pos, "value", "spec.approval.approve_from: github is missing; whoever may approve can always do so on GitHub, and nobody can tell such a review from another")
	}
	slices.Sort(out)
	return out
}

func checkReviewSource(s string) error {
	if slices.Contains(reviewSources, s) {
		return nil
	}
	hint := ""
	if best, ok := strictyaml.Nearest(s, reviewSources); ok {
		hint = "; did you mean " + best + "?"
	}
	return fmt.Errorf("expected %s, found %s%s", orList(reviewSources), strictyaml.Quote(s), hint)
}

// approveFrom is where all policies that ask for review take one from.
func (j *Judge) approveFrom() []string {
	from := slices.Clone(reviewSources)
	for _, v := range j.verdicts {
		if v.outcome == NeedsReview {
			from = slices.DeleteFunc(from, func(s string) bool { return !slices.Contains(v.policy.approval.from, s) })
		}
	}
	return from
}
