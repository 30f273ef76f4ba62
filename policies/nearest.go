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
	ticket   bool          // with a ticket that fits
	duration time.Duration // for that long; zero: as asked
	at       time.Time     // asked at that time; zero: now
}

// size is how many things change; weight orders changes of one size by how
// little they ask of a person: to say why, to name a ticket, to take less
// time, to come back later.
func (c change) size() (size, weight int) {
	for i, changed := range []bool{c.reason, c.ticket, c.duration != 0, !c.at.IsZero()} {
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

// with returns the same question about the changed request.
func (j *judge) with(c change) *judge {
	k := *j
	k.trace = nil
	if c.reason {
		k.req.Reason = "a reason"
	}
	k.anyTicket = k.anyTicket || c.ticket
	if c.duration != 0 {
		k.req.Duration = c.duration
	}
	if !c.at.IsZero() {
		k.facts.At = c.at
	}
	return &k
}

// nearest says, as a sentence, the least change that would have been allowed,
// and how to get what was asked for by review. It tries the changes instead
// of guessing from the rules, so it never advises what would fail.
func (j *judge) nearest(r result) string {
	switch {
	case j.facts.At.IsZero() || j.person == nil:
		return r.hint
	case j.res == nil:
		return j.nearestResource()
	case len(j.res.policies) == 0 || j.req.BreakGlass || j.req.Extends != "":
		return r.hint
	}
	allow, review := j.search(r)
	wait := ""
	if r.outcome == NeedsReview {
		wait = "wait for " + waitText(j.needs(r.verdicts))
	} else if review != nil {
		wait = fmt.Sprintf("%s and wait for %s", andList(review.fixes), waitText(review.needs))
	}
	switch {
	case allow != nil && wait != "" && (r.outcome == NeedsReview || review.size <= allow.size):
		return fmt.Sprintf("%s: %s, or %s", andList(allow.problems), andList(allow.fixes), wait)
	case allow != nil:
		return fmt.Sprintf("%s: %s", andList(allow.problems), andList(allow.fixes))
	case r.outcome == NeedsReview:
		return fmt.Sprintf("nothing lets %s have %s without review: %s", j.req.Requester, j.req.Resource, wait)
	case review != nil:
		return fmt.Sprintf("%s: %s", andList(review.problems), wait)
	}
	return r.hint
}

// way is a change that leads somewhere, in words.
type way struct {
	size     int
	problems []string
	fixes    []string
	needs    []ApprovalNeed // where it leads to a review
}

// search finds the least change that is allowed, and the least one that is
// reviewed where the request itself is denied.
func (j *judge) search(r result) (allow, review *way) {
	for _, c := range j.changes() {
		k := j.with(c)
		after := k.judge()
		if after.outcome == Deny || !c.at.IsZero() && !j.waitsForHours(after) {
			continue
		}
		w := j.describe(c, after)
		if after.outcome == Allow {
			return w, review
		}
		if r.outcome == Deny && review == nil {
			w.needs, review = k.needs(after.verdicts), w
		}
	}
	return nil, review
}

// waitsForHours reports whether the later time helps because a calendar opens
// and not by chance, say because a rotation has moved on.
func (j *judge) waitsForHours(after result) bool {
	return slices.ContainsFunc(after.verdicts, func(v verdict) bool { return j.closedFor(v.allowed) != nil })
}

// closedFor returns the calendar that stops a condition now; nil where none does.
func (j *judge) closedFor(c *condition) *calendar {
	if c == nil || c.hours == nil || c.hours.calendar == nil || c.hours.calendar.open(j.facts.At) {
		return nil
	}
	return c.hours.calendar
}

// changes returns everything worth trying, least first.
func (j *judge) changes() []change {
	reasons, tickets := []bool{false}, []bool{false}
	durations, times := []time.Duration{0}, []time.Time{{}}
	shorten := func(d time.Duration) {
		if d < j.req.Duration && d >= grants.ShortestDuration {
			durations = append(durations, d)
		}
	}
	shorten(grants.LongestDuration)
	shorten(j.res.MaxDuration)
	shorten(j.req.Duration.Truncate(time.Second))
	if j.req.Duration < grants.ShortestDuration {
		durations = append(durations, grants.ShortestDuration)
	}
	for _, p := range j.res.policies {
		shorten(p.maxDuration)
		if p.requireReason && strings.TrimSpace(j.req.Reason) == "" {
			reasons = append(reasons, true)
		}
		for i := range p.conditions {
			c := &p.conditions[i]
			shorten(c.maxDuration)
			if j.ticketMissing(c) {
				tickets = append(tickets, true)
			}
			if cal := j.closedFor(c); cal != nil {
				times = append(times, cal.openings(j.facts.At, 3)...)
			}
		}
	}
	var all []change
	for _, r := range reasons {
		for _, t := range tickets {
			for _, d := range durations {
				for _, at := range times {
					all = append(all, change{r, t, d, at})
				}
			}
		}
	}
	slices.SortFunc(all, compareChanges)
	all = slices.Compact(all)
	return all[1:] // the first changes nothing
}

func (j *judge) ticketMissing(c *condition) bool {
	return c.requireTicket && !j.hasTicket() ||
		c.ticket != nil && c.ticket.pattern != nil && !(j.hasTicket() && c.ticket.pattern.MatchString(j.req.Ticket))
}

// describe says what stood in the way, and what to do about it.
func (j *judge) describe(c change, after result) *way {
	w := &way{}
	w.size, _ = c.size()
	add := func(problem, fix string) {
		w.problems, w.fixes = append(w.problems, problem), append(w.fixes, fix)
	}
	if c.reason {
		add("there is no reason", "give a reason")
	}
	if c.duration != 0 {
		add(j.overText(c.duration, after), "ask for "+grants.FormatDuration(c.duration))
	}
	if c.ticket {
		add(j.ticketProblem(after))
	}
	if !c.at.IsZero() {
		for _, v := range after.verdicts {
			if cal := j.closedFor(v.allowed); cal != nil {
				add(fmt.Sprintf("it is outside business hours (%s)", cal),
					fmt.Sprintf("ask again from %s %s", c.at.In(cal.zone).Format("Mon 2006-01-02 15:04"), cal.zone))
				break
			}
		}
	}
	return w
}

func (j *judge) ticketProblem(after result) (problem, fix string) {
	var patterns []string
	for _, v := range after.verdicts {
		if v.allowed != nil && v.allowed.ticket != nil && v.allowed.ticket.pattern != nil && !slices.Contains(patterns, v.allowed.ticket.written) {
			patterns = append(patterns, v.allowed.ticket.written)
		}
	}
	problem, fix = "there is no ticket", "name a ticket"
	if j.hasTicket() {
		problem = "the ticket " + j.req.Ticket + " is of another kind"
	} else if j.req.Ticket != "" {
		problem = j.ticketText()
	}
	if len(patterns) > 0 {
		fix += " that matches " + andList(patterns)
	}
	return problem, fix
}

// overText says which bound the asked duration is over.
func (j *judge) overText(bound time.Duration, after result) string {
	asked, most := grants.FormatDuration(j.req.Duration), grants.FormatDuration(bound)
	if j.req.Duration < bound {
		return fmt.Sprintf("%s is under the %s that a grant lasts at least", asked, most)
	}
	for _, v := range after.verdicts {
		if v.allowed != nil && v.allowed.maxDuration == bound {
			return fmt.Sprintf("%s is over the %s that %s without review", asked, most, j.whoGets(v.allowed))
		}
	}
	for _, v := range after.verdicts {
		if v.policy.maxDuration == bound {
			return fmt.Sprintf("%s is over the %s that %s allows anybody", asked, most, v.policy.name)
		}
	}
	if j.res.MaxDuration == bound {
		return fmt.Sprintf("%s is over the %s that %s allows anybody", asked, most, j.res.Name)
	}
	if bound < grants.LongestDuration {
		return fmt.Sprintf("%s is not in whole seconds", j.req.Duration)
	}
	return fmt.Sprintf("%s is over the %s that a grant lasts at most", asked, most)
}

// whoGets names the role through which the requester meets a condition:
// "developers get", "dba-team gets".
func (j *judge) whoGets(c *condition) string {
	for _, ref := range c.roles.refs {
		if j.holds(ref) != Yes {
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

func (j *judge) nearestResource() string {
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
