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

// change is a way in which a request could have been another one.
type change struct {
	reason   bool          // with a reason
	ticket   bool          // with a ticket that fits, where none was named
	duration time.Duration // for that long; zero: as asked
	another  bool          // with another ticket than was named
	answered bool          // asked when a source that was silent answers
	at       time.Time     // asked at that time; zero: now
	plain    bool          // as an ordinary request: neither in an emergency nor to extend another one
}

// size is how many things change; weight orders changes of one size by how
// little they ask of a person: to say why, to name a ticket, to take less
// time, to find another ticket, to try again, to come back later, to ask for
// something else.
func (c change) size() (size, weight int) {
	for i, changed := range []bool{c.reason, c.ticket, c.duration != 0, c.another, c.answered, !c.at.IsZero(), c.plain} {
		if changed {
			size, weight = size+1, weight+1<<i
		}
	}
	return size, weight
}

func compareChanges(a, b change) int {
	as, aw := a.size()
	bs, bw := b.size()
	return cmp.Or(cmp.Compare(as, bs), cmp.Compare(aw, bw), cmp.Compare(b.duration, a.duration), a.at.Compare(b.at))
}

// with returns a judge who has answered the same question about the changed
// request.
func (j *Judge) with(c change) (*Judge, Answer) {
	k, req, facts := j.set.Judge(), *j.asked, *j.facts
	if c.reason {
		req.Reason = "a reason"
	}
	if c.duration != 0 {
		req.Duration = c.duration - j.extended
	}
	if c.plain {
		req.BreakGlass, req.Extends = false, ""
	}
	if !c.at.IsZero() {
		facts.At = c.at
	}
	k.suppose = suppositions{ticket: c.ticket || c.another, answered: c.answered}
	return k, k.Decide(&req, &facts)
}

// nearest says, as a sentence, the least change that would have been allowed,
// and how to get what was asked for by review. It tries the changes instead
// of guessing from the rules, so it never advises what would fail.
func (j *Judge) nearest(asked Outcome) string {
	advice := j.advice(asked)
	if silent := andList(j.trace.silent); len(j.trace.silent) > 0 && !strings.Contains(advice, silent) {
		// Whoever could have had it at once is to know why not.
		return strings.TrimPrefix(advice+"; besides, "+silent, "; besides, ")
	}
	return advice
}

func (j *Judge) advice(asked Outcome) string {
	switch {
	case j.facts.At.IsZero() || j.person == nil:
		return j.hintText()
	case j.res == nil:
		return j.nearestResource()
	case len(j.res.policies) == 0:
		return j.hintText()
	}
	allow, review := j.search(asked)
	wait := ""
	if asked == NeedsReview {
		wait = "wait for " + waitText(j.needs())
	} else if review != nil {
		wait = fmt.Sprintf("%s and wait for %s", andList(review.fixes), waitText(review.needs))
	}
	switch {
	case allow != nil && wait != "" && (asked == NeedsReview || review.size <= allow.size):
		return fmt.Sprintf("%s%s, or %s", allow.problem(), andList(allow.fixes), wait)
	case allow != nil:
		return allow.problem() + andList(allow.fixes)
	case asked == NeedsReview:
		if why := j.guardrailHint(); why != "" {
			return why + ": " + wait
		}
		if why := j.totalOver(); why != "" {
			return why + ": " + wait
		}
		known := ""
		if j.matters(suppositions{known: true}, asked) {
			known = "as far as is known, "
		}
		what := j.req.Resource
		if j.extended > 0 { // for less, something may well
			what += " for " + j.durationText()
		}
		return fmt.Sprintf("%snothing lets %s have %s without review: %s", known, j.req.Requester, what, wait)
	case review != nil:
		return review.problem() + wait
	}
	return j.hintText()
}

// hintText is what to do where no other request would have passed: as the
// first thing that failed tells it.
func (j *Judge) hintText() string {
	if j.failed != nil {
		return j.failed.hint(j)
	}
	for _, v := range j.verdicts {
		if v.failed == nil {
			continue
		}
		if why := v.failed.hint(j); why != "" {
			return why
		}
	}
	if j.special() {
		return j.specialProblem()
	}
	return ""
}

// way is a change that leads somewhere, in words.
type way struct {
	size     int
	problems []string
	first    string // what somebody else has to do, where the fixes are for until then
	fixes    []string
	needs    []ApprovalNeed // where it leads to a review
}

// problem is what stood in the way, up to what to do about it.
func (w *way) problem() string {
	if w.first != "" {
		return fmt.Sprintf("%s: %s; until then ", andList(w.problems), w.first)
	}
	return andList(w.problems) + ": "
}

// search finds the least change that is allowed, and the least one that is
// reviewed where the request itself is denied.
func (j *Judge) search(asked Outcome) (allow, review *way) {
	for _, c := range j.changes() {
		k, after := j.with(c)
		if after.Outcome == Deny {
			continue
		}
		met := k.met()
		if !c.at.IsZero() {
			if met = j.awaited(met); len(met) == 0 {
				continue
			}
		}
		w := j.describe(c, met)
		if after.Outcome == Allow {
			return w, review
		}
		if asked == Deny && review == nil {
			w.needs, review = k.needs(), w
		}
	}
	return nil, review
}

// met returns the conditions of all policies that hold, not only those that
// allowed first.
func (j *Judge) met() (met []*condition) {
	if j.req.BreakGlass {
		return nil // none was asked
	}
	for _, v := range j.verdicts {
		for i := range v.policy.conditions {
			if c := &v.policy.conditions[i]; j.condition(c) == Yes {
				met = append(met, c)
			}
		}
	}
	return met
}

// awaited returns those that time alone keeps from holding: a calendar that
// opens, a limit that is free again. That a rotation will have moved on is
// chance, and nothing to wait for.
func (j *Judge) awaited(met []*condition) []*condition {
	return slices.DeleteFunc(met, func(c *condition) bool { return j.closedFor(c) == nil && j.usedUp(c) == nil })
}

// usedUp returns the limit that stops a condition now; nil where none does.
func (j *Judge) usedUp(c *condition) *usedLess {
	if c == nil {
		return nil
	}
	for i := range c.atMost {
		if t := &c.atMost[i]; t.holds(j) == No {
			return t
		}
	}
	return nil
}

// frees returns when the grants that use up a limit cease to count.
func (t *usedLess) frees(j *Judge) (times []time.Time) {
	for i := range j.facts.Uses.Grants {
		u := &j.facts.Uses.Grants[i]
		if !t.counts(j, u) {
			continue
		}
		free := u.Until
		if t.daily {
			free = u.ApprovedAt.Add(perDay)
		}
		if free.After(j.facts.At) {
			times = append(times, free)
		}
	}
	return times
}

// closedFor returns the calendar that stops a condition now; nil where none does.
func (j *Judge) closedFor(c *condition) *calendar {
	if c == nil || c.hours == nil || c.hours.calendar == nil || c.hours.calendar.open(j.facts.At) {
		return nil
	}
	return c.hours.calendar
}

// changes returns everything worth trying, least first.
func (j *Judge) changes() []change {
	answers, reasons, tickets := []bool{false}, []bool{false}, []bool{false}
	if j.trace != nil && len(j.trace.silent) > 0 {
		answers = append(answers, true)
	}
	durations, times := []time.Duration{0}, []time.Time{{}}
	shorten := func(d time.Duration) {
		if d < j.req.Duration && d-j.extended >= grants.ShortestDuration {
			durations = append(durations, d)
		}
	}
	shorten(grants.LongestDuration)
	shorten(j.res.MaxDuration)
	for _, g := range j.res.guardrails {
		shorten(g.maxDuration)
		shorten(g.autoMax)
	}
	shorten(j.req.Duration.Truncate(time.Second))
	if j.asked.Duration < grants.ShortestDuration {
		durations = append(durations, j.extended+grants.ShortestDuration)
	}
	for _, p := range j.res.policies {
		shorten(p.maxDuration)
		if p.requireReason && strings.TrimSpace(j.req.Reason) == "" {
			reasons = append(reasons, true)
		}
		if j.req.BreakGlass {
			shorten(p.glass.maxDuration)
			tickets = append(tickets, p.glass.requireTicket)
		}
		shorten(j.extended + p.extensions.each)
		for i := range p.conditions {
			c := &p.conditions[i]
			shorten(c.maxDuration)
			if c.ticket != nil && c.ticket.window {
				shorten(j.ticket(c.ticket).To.Sub(j.begins()).Truncate(time.Second))
			}
			if j.ticketMissing(c) {
				tickets = append(tickets, true)
			}
			if cal := j.closedFor(c); cal != nil {
				times = append(times, cal.openings(j.facts.At, 3)...)
			}
			if used := j.usedUp(c); used != nil {
				times = append(times, used.frees(j)...)
			}
		}
	}
	named := j.namesTicket()
	durations, tickets, reasons = distinct(durations, cmp.Compare), distinct(tickets, compareBool), distinct(reasons, compareBool)
	times = distinct(times, time.Time.Compare)
	times = times[:min(len(times), mostTimes)]
	times = slices.DeleteFunc(times, j.tooLate)
	var all []change
	for _, answered := range answers {
		for _, r := range reasons {
			for _, t := range tickets {
				for _, d := range durations {
					for _, at := range times {
						c := change{r, t && !named, d, t && named, answered, at, false}
						all = append(all, c)
						if c.plain = true; at.IsZero() && j.plainHelps(d) {
							all = append(all, c)
						}
					}
				}
			}
		}
	}
	slices.SortFunc(all, compareChanges)
	all = slices.Compact(all)
	return all[1:] // the first changes nothing
}

// mostTimes is how many times are tried, the nearest first: whoever has to
// wait longer than for so many openings is told to wait for people.
const mostTimes = 12

func distinct[T comparable](list []T, compare func(a, b T) int) []T {
	slices.SortFunc(list, compare)
	return slices.Compact(list)
}

// ticketMissing reports whether another ticket might satisfy the condition.
func (j *Judge) ticketMissing(c *condition) bool {
	return slices.ContainsFunc(c.tests, func(st step) bool {
		switch st.test.(type) {
		case hasTicket, *ticketMatches, *tracked:
			return st.holds(j) == No
		}
		return false
	})
}

// describe says what stood in the way of the conditions that would be met,
// and what to do about it.
func (j *Judge) describe(c change, met []*condition) *way {
	w := &way{}
	w.size, _ = c.size()
	add := func(problem, fix string) {
		w.problems, w.fixes = append(w.problems, problem), append(w.fixes, fix)
	}
	if c.plain && j.req.BreakGlass {
		problem := j.specialProblem()
		if short, first, overdue := strings.Cut(problem, isOverdue+": "); overdue {
			problem, w.first = short+isOverdue, first
		}
		add(problem, "ask without --break-glass")
	} else if c.plain {
		add(j.specialProblem(), j.instead(c))
	}
	if c.answered {
		add(andList(j.trace.silent), "ask again once it answers")
	}
	if c.reason {
		add("there is no reason", "give a reason")
	}
	if c.duration != 0 {
		fix := "ask for " + grants.FormatDuration(c.duration)
		if j.extended > 0 {
			fix = "extend by " + grants.FormatDuration(c.duration-j.extended)
		}
		add(j.overText(c, met), fix)
	}
	if c.ticket || c.another {
		add(j.ticketProblem(met))
	}
	if !c.at.IsZero() {
		add(j.waitText(c, met))
	}
	return w
}

// waitText says what to wait for, and until when.
func (j *Judge) waitText(c change, met []*condition) (problem, fix string) {
	for _, m := range met {
		if cal := j.closedFor(m); cal != nil {
			return fmt.Sprintf("it is outside business hours (%s)", cal),
				fmt.Sprintf("ask again from %s %s", c.at.In(cal.zone).Format("Mon 2006-01-02 15:04"), cal.zone)
		}
	}
	for _, m := range met {
		if used := j.usedUp(m); used != nil {
			observed, wanted := used.text(j)
			return fmt.Sprintf("%s (%s)", observed, wanted), "ask again from " + timeText(c.at)
		}
	}
	return "it is too early", "ask again from " + timeText(c.at)
}

func (j *Judge) ticketProblem(met []*condition) (problem, fix string) {
	var patterns []string
	for _, c := range met {
		if c.ticket != nil && c.ticket.pattern != nil && !slices.Contains(patterns, c.ticket.written) {
			patterns = append(patterns, c.ticket.written)
		}
	}
	problem, fix = "there is no ticket", "name a ticket"
	if j.namesTicket() {
		problem, fix = j.ticketWrong(met), "name another ticket"
	} else if j.req.Ticket != "" {
		problem = j.ticketText()
	}
	if len(patterns) > 0 {
		fix += " that matches " + andList(patterns)
	}
	return problem, fix
}

// ticketWrong says what is wrong with the ticket that was named, by the tests
// of the conditions that another ticket would meet.
func (j *Judge) ticketWrong(met []*condition) string {
	for _, c := range met {
		for _, st := range c.tests {
			if t, ok := st.test.(*tracked); ok && t.holds(j) == No {
				observed, wanted := t.text(j)
				return observed + " (wanted: " + wanted + ")"
			}
		}
	}
	return "the ticket " + j.req.Ticket + " is of another kind"
}

// overText says which bound the asked duration is over.
func (j *Judge) overText(c change, met []*condition) string {
	bound := c.duration
	asked, most := j.durationText(), grants.FormatDuration(bound)
	if j.req.Duration < bound {
		asked, most = grants.FormatDuration(j.asked.Duration), grants.FormatDuration(bound-j.extended)
		return fmt.Sprintf("%s is under the %s that a grant lasts at least", asked, most)
	}
	for _, c := range met {
		if c.maxDuration == bound {
			return fmt.Sprintf("%s is over the %s that %s without review", asked, most, j.whoGets(c))
		}
	}
	if why := j.overSpecial(c); why != "" {
		return why
	}
	for _, p := range j.res.policies {
		if p.maxDuration == bound {
			return fmt.Sprintf("%s is over the %s that %s allows anybody", asked, most, p.name)
		}
	}
	for _, g := range j.res.guardrails {
		switch bound {
		case g.maxDuration:
			return fmt.Sprintf("%s is over the %s that the guardrail %s allows anybody", asked, most, g.name)
		case g.autoMax:
			return fmt.Sprintf("%s is over the %s that the guardrail %s allows without review", asked, most, g.name)
		}
	}
	if j.res.MaxDuration == bound {
		return fmt.Sprintf("%s is over the %s that %s allows anybody", asked, most, j.res.Name)
	}
	if bound < grants.LongestDuration {
		return fmt.Sprintf("%s is not in whole seconds", j.asked.Duration)
	}
	return fmt.Sprintf("%s is over the %s that a grant lasts at most", asked, most)
}

// whoGets names the role through which the requester meets a condition:
// "developers get", "dba-team gets".
func (j *Judge) whoGets(c *condition) string {
	for _, ref := range c.roles.refs {
		if j.holdsRole(&ref) != Yes {
			continue
		}
		for _, noun := range []string{"er", "or", "lead", "admin", "ist"} {
			if strings.HasSuffix(ref.name, noun) {
				return ref.name + "s get"
			}
		}
		return ref.name + " gets"
	}
	if c.onCall.set {
		return "whoever is on call gets"
	}
	return "everybody gets"
}

// mostNamed is how many people a sentence names.
const mostNamed = 5

// waitText says whose approval is waited for: "one of @dana, @eve".
func waitText(needs []ApprovalNeed) string {
	parts := make([]string, len(needs))
	for i, n := range needs {
		parts[i] = n.waitText()
		if len(needs) > 1 {
			parts[i] += " (for " + n.Policy + ")"
		}
	}
	return andList(parts)
}

func (n ApprovalNeed) waitText() string {
	if len(n.People) < n.Required {
		return fmt.Sprintf("%s of %s", number(n.Required), orList(n.Roles))
	}
	names := make([]string, len(n.People))
	for i, p := range n.People {
		names[i] = p.String()
	}
	if len(names) == n.Required {
		return andList(names)
	}
	if len(names) > mostNamed {
		names = append(names[:mostNamed], fmt.Sprintf("%d others", len(names)-mostNamed))
	}
	return fmt.Sprintf("%s of %s", number(n.Required), strings.Join(names, ", "))
}

func (j *Judge) nearestResource() string {
	var names []string
	for name, r := range j.set.resources {
		if len(r.policies) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	problem := "there is no resource " + strictyaml.Quote(j.req.Resource)
	if best, ok := strictyaml.Nearest(j.req.Resource, names); ok {
		return fmt.Sprintf("%s: did you mean %s?", problem, best)
	}
	if len(names) > 10 {
		names = append(names[:10], fmt.Sprintf("%d more", len(names)-10))
	}
	if len(names) == 0 {
		return problem + ", nor any other that has a policy"
	}
	return fmt.Sprintf("%s: ask for %s", problem, orList(names))
}
