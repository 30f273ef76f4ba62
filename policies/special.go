package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// What the search for the nearest request that would pass knows of requests
// that are no ordinary ones: to break the glass, and to extend a grant.

// special reports whether the request could have been made as an ordinary one.
func (j *Judge) special() bool { return j.req.BreakGlass || j.req.Extends != "" }

// tooLate reports whether a time to come is none to be told of: an emergency
// does not wait, and what is extended has to live until then.
func (j *Judge) tooLate(t time.Time) bool {
	b := j.base()
	return !t.IsZero() && (j.req.BreakGlass || b != nil && !t.Before(b.EndsAt))
}

// plainHelps reports whether an ordinary request for so long is worth trying.
// What people would review on the whole is not to be had in pieces.
func (j *Judge) plainHelps(d time.Duration) bool {
	if j.req.Extends != "" && (d != 0 && j.extended > 0 || j.outcome == NeedsReview) {
		return false
	}
	return j.special()
}

// instead says what to do in the place of an extension. Of what has not
// started all may still be asked for at once, where that gets as far.
func (j *Judge) instead(c change) string {
	if strings.HasSuffix(j.specialProblem(), notStarted) {
		whole := c
		whole.duration = j.req.Duration + j.extended // of which the extension is taken off again
		_, asked := j.with(c)
		if _, after := j.with(whole); after.Outcome == asked.Outcome {
			return "take it back and ask for longer"
		}
	}
	return "make a new request"
}

// totalOver says which bound the total of an extension is over that would let
// its requester in for less, by a request of its own; "" where none would.
// What can still be added without review is found by the search itself.
func (j *Judge) totalOver() string {
	if j.extended == 0 {
		return ""
	}
	var bounds []time.Duration
	for _, g := range j.res.guardrails {
		bounds = append(bounds, g.autoMax)
	}
	for _, p := range j.res.policies {
		for i := range p.conditions {
			bounds = append(bounds, p.conditions[i].maxDuration)
		}
	}
	bounds = slices.DeleteFunc(bounds, func(d time.Duration) bool { return d < grants.ShortestDuration || d >= j.req.Duration })
	bounds = distinct(bounds, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	for _, d := range bounds {
		k, after := j.with(change{plain: true, duration: d + j.extended})
		if after.Outcome == Allow {
			return j.overText(change{duration: d}, k.met())
		}
	}
	return ""
}

// specialProblem says what stood in the way of the request as it was made.
func (j *Judge) specialProblem() string {
	for _, list := range [][]step{general, extending} {
		for i := range list {
			if st := &list[i]; st.applies(j) && st.holds(j) != Yes && st.hint(j) != "" {
				return st.hint(j)
			}
		}
	}
	for _, p := range j.res.policies {
		for _, list := range [][]step{p.glass.tests, p.extending} {
			for i := range list {
				if st := &list[i]; st.forSpecial(j) && st.holds(j) != Yes {
					return j.specialHint(st)
				}
			}
		}
	}
	if why := j.barredGlass(); why != nil && j.req.BreakGlass {
		observed, wanted := why.text(j)
		if hint := j.guardrailHint(); hint != "" {
			return hint
		}
		return fmt.Sprintf("%s, and it takes %s", observed, wanted)
	}
	return fmt.Sprintf("%s cannot have %s for %s", j.name(), j.res.Name, j.durationText())
}

// forSpecial reports whether a step of a policy is about the kind of request
// that was made.
func (st *step) forSpecial(j *Judge) bool {
	switch st.test.(type) {
	case *noExtensions, *extendedLess, *addsAtMost:
		return j.req.Extends != ""
	}
	return j.req.BreakGlass
}

func (j *Judge) specialHint(st *step) string {
	if why := st.hint(j); why != "" {
		return why
	}
	if _, ticket := st.test.(hasTicket); ticket {
		return "there is no ticket"
	}
	observed, wanted := st.text(j)
	return fmt.Sprintf("%s is over what %s allows (%s)", observed, st.rule, wanted)
}

// overSpecial says which bound the duration is over, of those that only such
// requests have; "" where it is none of them.
func (j *Judge) overSpecial(c change) string {
	for _, p := range j.res.policies {
		switch {
		case j.req.BreakGlass && !c.plain && p.glass.maxDuration == c.duration && p.glass.maxDuration < p.maxDuration:
			return fmt.Sprintf("%s is over the %s that %s gives whoever breaks the glass", j.durationText(), grants.FormatDuration(c.duration), p.name)
		case j.req.Extends != "" && j.extended+p.extensions.each == c.duration && p.extensions.max > 0:
			return fmt.Sprintf("%s more is over the %s by which %s lets anybody extend at once", grants.FormatDuration(j.asked.Duration), grants.FormatDuration(p.extensions.each), p.name)
		}
	}
	return ""
}
