package policies

import (
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// test is one thing that a decision looks at: a field of a condition, a
// demand of a policy, a ceiling. Everything that is to be known about one
// stands together: how it is judged, how it is told, and what it needs.
type test interface {
	key() string          // as people write it
	holds(j *Judge) Truth // judged; allocates nothing
	text(j *Judge) (observed, wanted string)
	needs(n *Needs)         // which facts it rests on
	silent(j *Judge) string // where a source did not answer: its sentence
	hint(j *Judge) string   // what to do where it fails and no other request would pass
	applies(j *Judge) bool  // whether it is looked at at all
}

// plain is embedded by tests that rest on no facts from outside.
type plain struct{}

func (plain) needs(*Needs)         {}
func (plain) silent(*Judge) string { return "" }
func (plain) hint(*Judge) string   { return "" }
func (plain) applies(*Judge) bool  { return true }

// step is a test under the name of its rule.
type step struct {
	rule string
	test
	quick quick
}

func newStep(rule string, t test) step {
	st := step{rule: rule, test: t}
	if q, ok := t.(interface{ quick() quick }); ok {
		st.quick = q.quick()
	}
	return st
}

// general is what no policy can make good, in the order in which it is told.
// The first that fails names the rule.
var general = []step{
	newStep("facts/time", timeKnown{}),
	newStep("people/unknown", requesterKnown{}),
	newStep("resource/unknown", resourceKnown{}),
	newStep("resource/no-policy", hasPolicy{}),
	newStep("request/break_glass", nothingOverdue{}),
	newStep("request/break_glass", beginsAtOnce{}),
	newStep("request/duration", durationSound{}),
}

type timeKnown struct{ plain }

func (timeKnown) key() string          { return "time" }
func (timeKnown) holds(j *Judge) Truth { return truth(!j.facts.At.IsZero()) }
func (timeKnown) text(j *Judge) (_, _ string) {
	return timeText(j.facts.At), "the time of the decision"
}

type requesterKnown struct{ plain }

func (requesterKnown) key() string          { return "requester" }
func (requesterKnown) holds(j *Judge) Truth { return truth(j.person != nil) }
func (requesterKnown) text(j *Judge) (_, _ string) {
	return whoText(j.req.Requester), "a person in People"
}
func (requesterKnown) hint(j *Judge) string {
	return whoText(j.req.Requester) + " is not in the People document: have whoever owns policies/ add them, then ask again"
}

func whoText(p grants.Principal) string { return fmt.Sprintf("%s (GitHub id %d)", p, p.ID) }

type resourceKnown struct{ plain }

func (resourceKnown) key() string          { return "resource" }
func (resourceKnown) holds(j *Judge) Truth { return truth(j.res != nil) }
func (resourceKnown) text(j *Judge) (_, _ string) {
	return strictyaml.Quote(j.req.Resource), "a resource that a Resource document describes"
}

type hasPolicy struct{ plain }

func (hasPolicy) key() string           { return "policy" }
func (hasPolicy) applies(j *Judge) bool { return j.res != nil }
func (hasPolicy) holds(j *Judge) Truth  { return truth(len(j.res.policies) > 0) }
func (hasPolicy) text(j *Judge) (_, _ string) {
	return fmt.Sprintf("%d on %s", len(j.res.policies), j.req.Resource), "a policy on the resource"
}
func (hasPolicy) hint(j *Judge) string {
	return j.req.Resource + " has no policy, so nobody can have it: have whoever owns policies/ write one"
}

type durationSound struct{ plain }

func (durationSound) key() string { return "duration" }
func (durationSound) holds(j *Judge) Truth {
	return truth(soundDuration(j.asked.Duration) && soundDuration(j.req.Duration))
}
func soundDuration(d time.Duration) bool {
	return d >= grants.ShortestDuration && d <= grants.LongestDuration && d%time.Second == 0
}
func (durationSound) text(j *Judge) (_, _ string) {
	return j.durationText(), fmt.Sprintf("whole seconds between %s and %s",
		grants.FormatDuration(grants.ShortestDuration), grants.FormatDuration(grants.LongestDuration))
}

// mayAsk demands that the requester is among those who may ask at all. A
// doubt is no here: review is for those who may ask.
type mayAsk struct {
	plain
	roles roleList
}

func (mayAsk) key() string                   { return "role" }
func (t mayAsk) holds(j *Judge) Truth        { return j.holdsAny(t.roles) }
func (t mayAsk) text(j *Judge) (_, _ string) { return j.rolesText(t.roles), anyOf(t.roles.names()) }
func (t mayAsk) silent(j *Judge) string      { return j.silentRoles(t.roles) }
func (t mayAsk) hint(j *Judge) string {
	if t.holds(j) == Unknown {
		return fmt.Sprintf("it is not known whether %s may ask for %s: %s; try again later", j.name(), j.req.Resource, j.rolesText(t.roles))
	}
	return fmt.Sprintf("only %s may ask for %s: ask for that role first, or ask somebody who has it", orList(t.roles.names()), j.req.Resource)
}

// hasReason demands that somebody says why.
type hasReason struct{ plain }

func (hasReason) key() string          { return "require_reason" }
func (hasReason) holds(j *Judge) Truth { return truth(strings.TrimSpace(j.req.Reason) != "") }
func (t hasReason) text(j *Judge) (observed, wanted string) {
	if t.holds(j) == Yes {
		return "a reason", "a reason"
	}
	return "no reason", "a reason"
}

// lasts bounds the duration, edge included.
type lasts struct {
	plain
	most time.Duration
	pos  strictyaml.Pos
}

func (lasts) key() string            { return "max_duration" }
func (t lasts) quick() quick         { return quick{kind: boundsDuration, most: t.most} }
func (t lasts) holds(j *Judge) Truth { return truth(j.req.Duration <= t.most) }
func (t lasts) text(j *Judge) (_, _ string) {
	return j.durationText(), "at most " + grants.FormatDuration(t.most)
}

// approvable demands that enough people could ever approve this requester's
// request: where they could not, waiting for them would be waiting for ever.
// It is looked at only where no condition allows.
type approvable struct {
	plain
	policy *policy
}

func (approvable) key() string { return "approval" }

func (t approvable) holds(j *Judge) Truth {
	if t.policy.approval == nil {
		return No
	}
	return truth(j.enoughApprovers(t.policy.approval))
}

func (t approvable) text(j *Judge) (observed, wanted string) {
	a := t.policy.approval
	if a == nil {
		return "no reviews are foreseen", "a condition of auto_approve that holds"
	}
	candidates, incomplete := j.approvers(a.everRoles(j.requestTTL()), true)
	observed = fmt.Sprintf("%s could ever approve", countPeople(len(candidates)))
	if incomplete {
		observed += "; more are unknown, since not everybody with these roles is known"
	}
	return observed, fmt.Sprintf("%d of %s, not the requester", j.required(a), orList(a.roles.names())+a.laterText())
}

func (t approvable) hint(j *Judge) string {
	a := t.policy.approval
	if a == nil {
		return fmt.Sprintf("%s foresees no reviews, and none of its conditions can be met by another request", t.policy.name)
	}
	found, _ := t.text(j)
	return fmt.Sprintf("%s needs %s of %s besides the requester, and %s: have whoever owns policies/ name more",
		t.policy.name, countApprovers(j.required(a)), orList(a.roles.names()), found)
}
