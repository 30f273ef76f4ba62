// Package whatif says what a change of policies would have meant for the
// grants that history tells of.
//
//   - whatif.go: the replay, values in and values out;
//   - text.go, markdown.go: the report as people read it.
package whatif

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// Past is a grant of the past, and the facts that were recorded with it.
type Past struct {
	Grant    grants.Grant
	Commit   string
	MergedAt time.Time
	Pull     int // zero: none is known
	Decision string
	Rule     string
	Facts    policies.Facts
}

// Group is a way in which decisions change.
type Group string

// The groups, in the order in which they are told: first what opens, then
// what closes. A grant is in one of them at most.
const (
	PassesNow   Group = "passes_now"   // waited for review, would pass at once
	PossibleNow Group = "possible_now" // the base refuses it, the change does not
	Refused     Group = "refused"      // would be refused
	WaitsNow    Group = "waits_now"    // passed at once, would wait for review
	Approvers   Group = "approvers"    // waits as before, but for others
	Unknown     Group = "unknown"      // depends on facts that were not recorded
	unchanged   Group = ""
)

// Judged is what one of the two policies says of a grant.
type Judged struct {
	Decision policies.Outcome `json:"decision"`
	Rule     string           `json:"rule"`
	// Best is what it would have been if all that was not recorded had been
	// in the requester's favour; only where that makes a difference.
	Best *policies.Outcome `json:"best,omitempty"`
}

// Change is one grant that would have been decided otherwise.
type Change struct {
	ID        grants.ID `json:"id"`
	Commit    string    `json:"commit"`
	MergedAt  time.Time `json:"merged_at"`
	Pull      int       `json:"pull_request,omitempty"`
	Requester string    `json:"requester"`
	Resource  string    `json:"resource"`
	Duration  string    `json:"duration"`
	Recorded  Recorded  `json:"recorded"`
	Base      Judged    `json:"base"`
	Now       Judged    `json:"now"`
	// Why says what makes the difference, most telling first.
	Why []string `json:"why"`
	// Missing names the facts that were not recorded and that decide.
	Missing []string `json:"missing,omitempty"`
}

// Recorded is what was decided at the time, by the policy of that time.
type Recorded struct {
	Decision string `json:"decision"`
	Rule     string `json:"rule"`
}

// Changes is a group and the grants in it, newest first.
type Changes struct {
	Group  Group    `json:"group"`
	Grants []Change `json:"grants"`
}

// Report is what a change of policies would have meant.
type Report struct {
	Replayed  int       `json:"replayed"`
	Unchanged int       `json:"unchanged"`
	Groups    []Changes `json:"groups"` // all of them, also empty ones, in order
	// Missing names all facts that were not recorded and that decide.
	Missing []string `json:"missing"`
}

var groups = []Group{PassesNow, PossibleNow, Refused, WaitsNow, Approvers, Unknown}

// Compare replays grants, newest first, through two sets. Both have to be
// without mistakes.
func Compare(base, now *policies.Set, past []Past) Report {
	c := comparison{
		base: side{set: base, replayer: base.Replayer()}, now: side{set: now, replayer: now.Replayer()},
		alike: map[string]bool{},
	}
	report := Report{Replayed: len(past), Groups: make([]Changes, len(groups)), Missing: []string{}}
	for i, g := range groups {
		report.Groups[i] = Changes{g, []Change{}}
	}
	for i := range past {
		change, group := c.grant(&past[i])
		if group == unchanged {
			report.Unchanged++
			continue
		}
		in := &report.Groups[slices.Index(groups, group)]
		in.Grants = append(in.Grants, change)
		report.Missing = append(report.Missing, change.Missing...)
	}
	slices.Sort(report.Missing)
	report.Missing = slices.Compact(report.Missing)
	return report
}

// Of returns the changes of a group.
func (r *Report) Of(g Group) []Change { return r.Groups[slices.Index(groups, g)].Grants }

type side struct {
	set      *policies.Set
	replayer *policies.Replayer
}

type comparison struct {
	base, now side
	alike     map[string]bool // resources, and whether both sets look at the same there
}

// grant judges one grant twice. Only those that change are judged with all
// their texts, which costs much more.
func (c *comparison) grant(p *Past) (Change, Group) {
	request := policies.RequestOf(p.Grant)
	was, is := c.base.replayer.Replay(&request, &p.Facts), c.now.replayer.Replay(&request, &p.Facts)
	group := c.group(p, request, was, is)
	if group == unchanged {
		return Change{}, group
	}
	before, after := c.base.set.Evaluate(request, p.Facts), c.now.set.Evaluate(request, p.Facts)
	change := Change{
		ID: p.Grant.ID, Commit: p.Commit, MergedAt: p.MergedAt, Pull: p.Pull,
		Requester: p.Grant.Requester.GitHub, Resource: p.Grant.Resource, Duration: grants.FormatDuration(p.Grant.Duration),
		Recorded: Recorded{p.Decision, p.Rule}, Base: judged(was), Now: judged(is),
		Why: why(&before, &after, group),
	}
	if group == Unknown {
		change.Missing = append(slices.Clone(was.Missing), is.Missing...)
		slices.Sort(change.Missing)
		change.Missing = slices.Compact(change.Missing)
	}
	return change, group
}

func judged(r policies.Replayed) Judged {
	j := Judged{Decision: r.Outcome, Rule: r.Rule}
	if !r.Certain() {
		j.Best = &r.Best
	}
	return j
}

func (c *comparison) group(p *Past, request policies.Request, was, is policies.Replayed) Group {
	switch {
	case !was.Certain() && !is.Certain() && slices.Equal(was.Missing, is.Missing) && was.Outcome == is.Outcome && was.Best == is.Best &&
		c.sameQuestions(p, request):
		return unchanged // both would have asked the same of the same sources
	case !was.Certain() || !is.Certain():
		return Unknown
	case was.Outcome != is.Outcome && was.Outcome == policies.Deny:
		return PossibleNow
	case was.Outcome != is.Outcome && is.Outcome == policies.Deny:
		return Refused
	case was.Outcome < is.Outcome:
		return PassesNow
	case was.Outcome > is.Outcome:
		return WaitsNow
	case was.Approvers != is.Approvers:
		return Approvers
	}
	return unchanged
}

// sameQuestions reports whether both sets look at the same things for a
// resource, and want the same of them.
func (c *comparison) sameQuestions(p *Past, request policies.Request) bool {
	same, known := c.alike[request.Resource]
	if !known {
		before, after := c.base.set.Evaluate(request, p.Facts), c.now.set.Evaluate(request, p.Facts)
		same = slices.EqualFunc(before.Reasons, after.Reasons, func(a, b policies.Reason) bool {
			return a.Rule == b.Rule && a.Condition == b.Condition && a.Wanted == b.Wanted
		})
		c.alike[request.Resource] = same
	}
	return same
}

// mostWhy is how many differences are told of one grant.
const mostWhy = 4

// why tells what makes the difference: what the change itself says would have
// worked, and the conditions that are judged otherwise, new or gone.
func why(before, after *policies.Decision, group Group) []string {
	var out []string
	if group == Approvers {
		return []string{fmt.Sprintf("was: %s; now: %s", needsText(before.Needs), needsText(after.Needs))}
	}
	if after.Outcome != policies.Allow && group != Unknown && after.Nearest != "" {
		out = append(out, after.Nearest)
	}
	told := differences(before, after, func(rule string) bool { return mattered(before, after, rule) })
	if len(told) == 0 && len(out) == 0 {
		told = differences(before, after, func(string) bool { return true })
	}
	out = append(out, told...)
	if len(out) > mostWhy {
		out = out[:mostWhy]
	}
	return out
}

// approvalCondition is looked at only where no condition allows, so that its
// coming and going follows from the outcome and explains nothing.
const approvalCondition = "approval"

type reasonKey struct{ rule, condition string }

// mattered reports whether a rule can have made the difference. A condition
// that let nobody in before and lets nobody in now has not; what is demanded
// of everybody always may have.
func mattered(before, after *policies.Decision, rule string) bool {
	if strings.Contains(rule, "/") && !strings.Contains(rule, "/auto_approve[") {
		return true
	}
	return helps(before, rule) || helps(after, rule)
}

// helps reports whether a rule is there and nothing of it failed; what is not
// known may have held.
func helps(d *policies.Decision, rule string) bool {
	there := false
	for _, r := range d.Reasons {
		if r.Rule == rule {
			if there = true; r.Holds == policies.No {
				return false
			}
		}
	}
	return there
}

// differences compares two traces, condition by condition. What was judged
// otherwise comes first, then what is new and what is gone.
func differences(before, after *policies.Decision, tell func(rule string) bool) []string {
	was, is := keyed(before.Reasons), keyed(after.Reasons)
	var changed, added, gone []string
	for _, r := range after.Reasons {
		old, there := was[reasonKey{r.Rule, r.Condition}]
		switch {
		case !tell(r.Rule), !there && r.Condition == approvalCondition:
		case !there:
			added = append(added, fmt.Sprintf("new: %s: %s: %s (%s, wanted %s)", r.Rule, r.Condition, holds(r.Holds), r.Observed, r.Wanted))
		case old.Holds != r.Holds && old.Wanted != r.Wanted:
			changed = append(changed, fmt.Sprintf("%s: %s: %s (%s; before: %s; now: %s)", r.Rule, r.Condition, holds(r.Holds), r.Observed, old.Wanted, r.Wanted))
		case old.Holds != r.Holds:
			changed = append(changed, fmt.Sprintf("%s: %s: %s (%s, wanted %s)", r.Rule, r.Condition, holds(r.Holds), r.Observed, r.Wanted))
		}
	}
	for _, r := range before.Reasons {
		if _, there := is[reasonKey{r.Rule, r.Condition}]; !there && r.Condition != approvalCondition && tell(r.Rule) {
			gone = append(gone, fmt.Sprintf("gone: %s: %s (%s, wanted %s)", r.Rule, r.Condition, r.Observed, r.Wanted))
		}
	}
	return append(append(changed, added...), gone...)
}

func holds(t policies.Truth) string {
	switch t {
	case policies.Yes:
		return "holds now"
	case policies.No:
		return "does not hold now"
	}
	return "not known"
}

func keyed(reasons []policies.Reason) map[reasonKey]policies.Reason {
	m := make(map[reasonKey]policies.Reason, len(reasons))
	for _, r := range reasons {
		m[reasonKey{r.Rule, r.Condition}] = r
	}
	return m
}

func needsText(needs []policies.ApprovalNeed) string {
	var parts []string
	for _, n := range needs {
		var who []string
		for _, p := range n.People {
			who = append(who, p.GitHub)
		}
		if len(who) == 0 {
			who = []string{"nobody known"}
		}
		parts = append(parts, fmt.Sprintf("%d of %s (%s)", n.Required, strings.Join(n.Roles, ", "), strings.Join(who, ", ")))
	}
	return strings.Join(parts, " and ")
}
