package policies

import (
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// An extension is a grant that adds time to one that lives. It is judged on
// the total: as if somebody asked now for the time from the beginning of what
// is extended to the new end. So nobody comes by extensions to what they would
// not have got at once.

// Base is what is known of the grant that a request extends. A nil Base, and
// one that was not read, are not known.
type Base struct {
	Grant      grants.ID // the first grant of all, never an extension
	Requester  int64
	Resource   string
	Total      time.Duration // from its start to its end as it stands now
	Extensions int           // how often it was extended so far
	EndsAt     time.Time     // as it stands now
	Live       bool          // in force: begun, and neither ended nor about to be ended
	BreakGlass bool
	ReadAt     time.Time
	Source     string
}

// total is the base's length in whole seconds, of which the last one counts in
// full. A length that cannot be counts as one that no ceiling admits.
func (b *Base) total() time.Duration {
	if b.Total < 0 || b.Total > grants.LongestDuration {
		return grants.LongestDuration
	}
	return (b.Total + time.Second - 1).Truncate(time.Second)
}

// notStarted ends what is said of a grant that is still to come.
const notStarted = " has not started"

// notInForce says why a grant that does not live does not, as far as its times
// tell.
func (b *Base) notInForce(now time.Time) string {
	switch {
	case b.EndsAt.IsZero():
		return " is not in force (it has not started, or is over)"
	case b.EndsAt.Add(-b.total()).After(now):
		return notStarted
	}
	return " is over"
}

// Defaults of extensions, where a policy has the key and does not say.
const (
	DefaultExtensions = 1
	DefaultExtendEach = time.Hour
)

// extensions is how often and by how much a policy lets grants be extended.
// The zero value allows none.
type extensions struct {
	max  int
	each time.Duration
}

func (c *compiler) extensions(spec *policySpec) extensions {
	in := &spec.Extensions
	if !in.Max.Set && !in.Each.Set {
		return extensions{}
	}
	return extensions{
		max:  c.atLeastOne("spec.extensions.max", in.Max, DefaultExtensions),
		each: c.accessLength("spec.extensions.each", in.Each, DefaultExtendEach),
	}
}

// Extensions returns how often a grant on the resource may be extended, and by
// how much each time: the least that any policy on it says. Both are zero
// where one of them allows no extensions, or none is there.
func (s *Set) Extensions(resource string) (most int, each time.Duration) {
	r := s.resources[resource]
	if s.Err() != nil || r == nil || len(r.policies) == 0 {
		return 0, 0
	}
	for i, p := range r.policies {
		if e := p.extensions; i == 0 {
			most, each = e.max, e.each
		} else {
			most, each = min(most, e.max), min(each, e.each)
		}
	}
	return most, each
}

// link makes the tests of a policy that are for extensions alone.
func (e extensions) tests(p *policy) []step {
	rule := p.name + "/extensions"
	if e.max == 0 {
		return []step{newStep(rule, &noExtensions{policy: p})}
	}
	return []step{newStep(rule, &extendedLess{most: e.max}), newStep(rule, &addsAtMost{most: e.each})}
}

// base is what is known of the grant that the request extends; nil where it
// is not known.
func (j *Judge) base() *Base {
	if b := j.facts.Base; b != nil && !b.ReadAt.IsZero() && j.req.Extends != "" {
		return b
	}
	return nil
}

// onTotal has the judge look at the whole time of what is extended in the
// place of what is added to it.
func (j *Judge) onTotal() {
	j.extended = 0
	if j.req.Extends == "" {
		return
	}
	j.whole = *j.req
	if b := j.base(); b != nil {
		j.extended = b.total()
		j.whole.Duration += j.extended
	}
	j.req = &j.whole
}

// durationText is how long access would last, as the trace shows it.
func (j *Judge) durationText() string {
	if j.extended > 0 {
		return grants.FormatDuration(j.req.Duration) + " in all"
	}
	return grants.FormatDuration(j.req.Duration)
}

// extends is one thing that an extension demands of the grant that it extends.
type extends struct {
	plain
	name    string
	see     func(*Judge, *Base) bool
	told    func(*Judge, *Base) (observed, wanted string)
	problem func(*Judge, *Base) string // where it does not hold: a sentence
}

// extending is what every extension has to meet, in the order in which it is
// told.
var extending = []step{
	newStep("request/extends", &extends{name: "extends",
		see: func(j *Judge, b *Base) bool { return b.Grant == j.req.Extends },
		told: func(j *Judge, b *Base) (_, _ string) {
			return "the grant " + string(b.Grant), "the grant " + string(j.req.Extends)
		},
		problem: func(j *Judge, b *Base) string {
			return fmt.Sprintf("%s was read and not %s", b.Grant, j.req.Extends)
		}}),
	newStep("request/extends", &extends{name: "extends.requester",
		see: func(j *Judge, b *Base) bool { return b.Requester != 0 && b.Requester == j.req.Requester.ID },
		told: func(j *Judge, b *Base) (_, _ string) {
			return fmt.Sprintf("a grant of GitHub id %d", b.Requester), fmt.Sprintf("a grant of %s (GitHub id %d)", j.name(), j.req.Requester.ID)
		},
		problem: func(j *Judge, b *Base) string {
			return fmt.Sprintf("%s is not a grant of %s, and nobody extends what somebody else has", b.Grant, j.name())
		}}),
	newStep("request/extends", &extends{name: "extends.resource",
		see: func(j *Judge, b *Base) bool { return b.Resource == j.req.Resource },
		told: func(j *Judge, b *Base) (_, _ string) {
			return "a grant on " + b.Resource, "a grant on " + j.req.Resource
		},
		problem: func(j *Judge, b *Base) string {
			return fmt.Sprintf("%s is a grant on %s, not on %s", b.Grant, b.Resource, j.req.Resource)
		}}),
	newStep("request/extends", &extends{name: "extends.live",
		see: func(_ *Judge, b *Base) bool { return b.Live },
		told: func(_ *Judge, b *Base) (observed, _ string) {
			if observed = "not in force"; b.Live {
				observed = "ends at " + timeText(b.EndsAt)
			}
			return observed, "a grant that is in force"
		},
		problem: func(j *Judge, b *Base) string { return string(b.Grant) + b.notInForce(j.facts.At) }}),
	newStep("request/extends", &extends{name: "extends.break_glass",
		see: func(j *Judge, b *Base) bool { return !b.BreakGlass && !j.req.BreakGlass },
		told: func(j *Judge, b *Base) (observed, _ string) {
			if observed = "an ordinary grant and request"; b.BreakGlass || j.req.BreakGlass {
				observed = "break-glass access"
			}
			return observed, "an ordinary grant and request"
		},
		problem: func(_ *Judge, b *Base) string {
			if b.BreakGlass {
				return "what was given by breaking the glass is not extended"
			}
			return "breaking the glass extends nothing"
		}}),
	newStep("request/extends", &extends{name: "extends.start",
		see: func(j *Judge, _ *Base) bool { return j.req.Start.IsZero() },
		told: func(j *Judge, _ *Base) (observed, _ string) {
			if observed = "no start of its own"; !j.req.Start.IsZero() {
				observed = "a start at " + timeText(j.req.Start)
			}
			return observed, "no start of its own"
		},
		problem: func(*Judge, *Base) string {
			return "an extension begins where the grant ends, and has no start of its own"
		}}),
}

func (t *extends) key() string         { return t.name }
func (*extends) applies(j *Judge) bool { return j.req.Extends != "" }
func (t *extends) holds(j *Judge) Truth {
	b := j.base()
	if b == nil {
		return Unknown
	}
	return truth(t.see(j, b))
}

func (t *extends) text(j *Judge) (observed, wanted string) {
	b := j.base()
	if b == nil {
		_, wanted = t.told(j, &Base{})
		return "unknown: the grant " + string(j.req.Extends) + " was not read", wanted
	}
	return t.told(j, b)
}

func (t *extends) hint(j *Judge) string {
	b := j.base()
	if b == nil {
		return fmt.Sprintf("nothing is known of %s just now, so it cannot be extended", j.req.Extends)
	}
	return t.problem(j, b)
}

// noExtensions stands for a policy that allows none.
type noExtensions struct {
	plain
	policy *policy
}

func (*noExtensions) key() string        { return "extensions" }
func (*noExtensions) holds(*Judge) Truth { return No }
func (t *noExtensions) text(*Judge) (_, _ string) {
	return t.policy.name + " allows no extensions", "extensions {max, each} in the policy"
}
func (t *noExtensions) hint(*Judge) string {
	return fmt.Sprintf("the policy %s has no extensions", t.policy.name)
}

// extendedLess bounds how often a grant is extended.
type extendedLess struct {
	plain
	most int // this extension included
}

func (*extendedLess) key() string { return "extensions.max" }
func (t *extendedLess) holds(j *Judge) Truth {
	b := j.base()
	if b == nil {
		return Unknown
	}
	return truth(b.Extensions >= 0 && b.Extensions < t.most)
}
func (t *extendedLess) text(j *Judge) (observed, wanted string) {
	wanted = fmt.Sprintf("at most %d, this one included", t.most)
	if b := j.base(); b != nil {
		if b.Extensions == 0 {
			return "not extended so far", wanted
		}
		return fmt.Sprintf("extended %s so far", timesText(b.Extensions)), wanted
	}
	return "unknown: the grant was not read", wanted
}
func (t *extendedLess) hint(j *Judge) string {
	observed, _ := t.text(j)
	return fmt.Sprintf("%s was %s, and %s is the most", j.req.Extends, strings.TrimSuffix(observed, " so far"), timesText(t.most))
}

// timesText is how often something was done.
func timesText(n int) string {
	switch n {
	case 1:
		return "once"
	case 2:
		return "twice"
	}
	return fmt.Sprintf("%d times", n)
}

// addsAtMost bounds what one extension adds.
type addsAtMost struct {
	plain
	most time.Duration
}

func (*addsAtMost) key() string            { return "extensions.each" }
func (t *addsAtMost) holds(j *Judge) Truth { return truth(j.asked.Duration <= t.most) }
func (t *addsAtMost) text(j *Judge) (_, _ string) {
	return grants.FormatDuration(j.asked.Duration) + " more", "at most " + grants.FormatDuration(t.most) + " more"
}
