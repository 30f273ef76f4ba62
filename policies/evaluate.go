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

// Evaluate judges a request by the facts as they are given. The same set,
// request and facts give the same decision, whatever the order of files.
//
// Each policy on the resource gives a verdict of its own, and the least of
// them counts: deny before review before allow. Nothing is cut short: the
// reasons show every condition, also where an earlier one decided.
func (s *Set) Evaluate(req Request, f Facts) Decision {
	d := Decision{Requester: req.Requester, Resource: req.Resource, Duration: req.Duration, At: f.At, Assumed: slices.Clone(f.Assumed)}
	if err := s.Err(); err != nil {
		d.Rule = "policies/invalid"
		d.Reasons = []Reason{{Rule: d.Rule, Condition: "policies", Holds: No, Observed: err.Error(), Wanted: "policy documents without mistakes"}}
		d.Nearest = "the policy documents hold a mistake, so nothing can be allowed: have it mended, then ask again"
		return d
	}
	j := &judge{set: s, req: req, facts: f, trace: &d.Reasons}
	j.person = s.people.byID[req.Requester.ID]
	j.res = s.resources[req.Resource]
	result := j.judge()

	d.Outcome, d.Rule = result.outcome, result.rule
	d.MaxDuration, d.RequestTTL = j.ceiling(), j.requestTTL()
	if j.res != nil {
		d.Reviewers = j.reviewers()
		for _, v := range result.verdicts {
			d.Verdicts = append(d.Verdicts, Verdict{v.policy.name, v.outcome, v.rule})
			d.RecordSession = d.RecordSession || v.policy.recordSession
		}
	}
	if d.Outcome == NeedsReview {
		d.Needs = j.needs(result.verdicts)
	}
	if d.Outcome != Allow {
		d.Nearest = j.nearest(result)
	}
	return d
}

// judge is one question: may this person have this, given these facts? With a
// nil trace it only finds the answer, which the search for the nearest
// request that would pass does many times.
type judge struct {
	set       *Set
	req       Request
	facts     Facts
	person    *person   // nil: not in People
	res       *resource // nil: no such resource
	anyTicket bool      // suppose a ticket that satisfies whatever is asked of tickets
	trace     *[]Reason
}

type result struct {
	outcome  Outcome
	rule     string
	hint     string // what to say where no other request would have passed
	verdicts []verdict
}

// verdict is what one policy says, and the condition that allowed it.
type verdict struct {
	policy  *policy
	outcome Outcome
	rule    string
	hint    string
	allowed *condition
}

// note records one thing that was looked at. Texts are made only where they
// are kept.
func (j *judge) note(rule, condition string, holds Truth, text func() (observed, wanted string)) {
	if j.trace == nil {
		return
	}
	observed, wanted := text()
	*j.trace = append(*j.trace, Reason{rule, condition, holds, observed, wanted})
}

func (j *judge) judge() result {
	rule, hint := j.general()
	out := result{outcome: Allow}
	if j.res != nil {
		for _, p := range j.res.policies {
			v := j.policy(p)
			out.verdicts = append(out.verdicts, v)
			// The first policy with the least outcome names the rule.
			if v.outcome < out.outcome || out.rule == "" {
				out.outcome, out.rule = v.outcome, v.rule
			}
			out.hint = cmp.Or(out.hint, v.hint)
		}
	}
	if !j.fitsResource() && out.outcome != Deny {
		out.outcome, out.rule = Deny, "resource/max_duration"
	}
	if rule != "" || len(out.verdicts) == 0 {
		out.outcome, out.rule, out.hint = Deny, rule, hint
	}
	return out
}

// fitsResource reports whether the request is within the ceiling that the
// resource itself sets.
func (j *judge) fitsResource() bool {
	if j.res == nil || j.res.MaxDuration == 0 {
		return true
	}
	fits := j.req.Duration <= j.res.MaxDuration
	j.note("resource/max_duration", "max_duration", truth(fits), func() (string, string) {
		return grants.FormatDuration(j.req.Duration), "at most " + grants.FormatDuration(j.res.MaxDuration)
	})
	return fits
}

// general looks at what no policy can make good. It returns the first rule
// that denies, or "".
func (j *judge) general() (rule, hint string) {
	check := func(name, condition string, holds bool, hintText string, text func() (observed, wanted string)) {
		j.note(name, condition, truth(holds), text)
		if !holds && rule == "" {
			rule, hint = name, hintText
		}
	}
	check("facts/time", "time", !j.facts.At.IsZero(), "", func() (string, string) {
		return timeText(j.facts.At), "the time of the decision"
	})
	who := fmt.Sprintf("%s (GitHub id %d)", j.req.Requester, j.req.Requester.ID)
	check("people/unknown", "requester", j.person != nil,
		who+" is not in the People document: have whoever owns policies/ add them, then ask again",
		func() (string, string) { return who, "a person in People" })
	check("resource/unknown", "resource", j.res != nil, "", func() (string, string) {
		return strictyaml.Quote(j.req.Resource), "a resource that a Resource document describes"
	})
	if j.res != nil {
		check("resource/no-policy", "policy", len(j.res.policies) > 0,
			j.req.Resource+" has no policy, so nobody can have it: have whoever owns policies/ write one",
			func() (string, string) {
				return fmt.Sprintf("%d on %s", len(j.res.policies), j.req.Resource), "a policy on the resource"
			})
	}
	if j.req.BreakGlass {
		check("request/break_glass", "break_glass", false, "break-glass is not supported by this version: ask without it",
			func() (string, string) { return "break-glass is not supported by this version", "a plain request" })
	}
	if j.req.Extends != "" {
		check("request/extends", "extends", false, "extending is not supported by this version: make a new request",
			func() (string, string) { return "extending is not supported by this version", "a new request" })
	}
	check("request/duration", "duration", grants.CheckDuration(j.req.Duration) == nil, "", func() (string, string) {
		return grants.FormatDuration(j.req.Duration), fmt.Sprintf("whole seconds between %s and %s",
			grants.FormatDuration(grants.ShortestDuration), grants.FormatDuration(grants.LongestDuration))
	})
	return rule, hint
}

// policy gives the verdict of one policy.
func (j *judge) policy(p *policy) verdict {
	v := verdict{policy: p}
	deny := func(condition, hint string) {
		if v.rule == "" {
			v.rule = p.name + "/" + condition
		}
		v.hint = cmp.Or(v.hint, hint)
	}
	if p.request.set {
		t := j.holdsAny(p.request)
		j.note(p.name+"/request.roles", "role", t, func() (string, string) { return j.rolesText(p.request), anyOf(p.request.names()) })
		if t != Yes {
			deny("request.roles", fmt.Sprintf("only %s may ask for %s: ask for that role first, or ask somebody who has it", orList(p.request.names()), j.req.Resource))
		}
	}
	fits := j.req.Duration <= p.maxDuration
	j.note(p.name+"/max_duration", "max_duration", truth(fits), func() (string, string) {
		return grants.FormatDuration(j.req.Duration), "at most " + grants.FormatDuration(p.maxDuration)
	})
	if !fits {
		deny("max_duration", "")
	}
	if p.requireReason {
		given := strings.TrimSpace(j.req.Reason) != ""
		j.note(p.name+"/require_reason", "require_reason", truth(given), func() (string, string) {
			if given {
				return "a reason", "a reason"
			}
			return "no reason", "a reason"
		})
		if !given {
			deny("require_reason", "")
		}
	}
	for i := range p.conditions {
		if c := &p.conditions[i]; j.condition(c) == Yes && v.allowed == nil {
			v.allowed = c
		}
	}
	switch {
	case v.allowed != nil && v.rule == "":
		v.outcome, v.rule = Allow, v.allowed.rule
	case v.allowed == nil && j.approval(p, deny) && v.rule == "":
		v.outcome, v.rule = NeedsReview, p.name+"/approval"
	}
	return v
}

// approval reports whether enough people could ever approve this requester's
// request; where they could not, waiting for them would be waiting for ever.
func (j *judge) approval(p *policy, deny func(condition, hint string)) bool {
	rule := p.name + "/approval"
	if p.approval == nil {
		j.note(rule, "approval", No, func() (string, string) { return "no reviews are foreseen", "a condition of auto_approve that holds" })
		deny("approval", fmt.Sprintf("%s foresees no reviews, and none of its conditions can be met by another request", p.name))
		return false
	}
	candidates, incomplete := j.approvers(p.approval.roles, true)
	enough := incomplete || len(candidates) >= p.approval.required
	found := fmt.Sprintf("%s could ever approve", countPeople(len(candidates)))
	j.note(rule, "approval", truth(enough), func() (string, string) {
		if incomplete {
			found += "; more are unknown, since not all teams were read"
		}
		return found, fmt.Sprintf("%d of %s, not the requester", p.approval.required, orList(p.approval.roles.names()))
	})
	if !enough {
		deny("approval", fmt.Sprintf("%s needs %s of %s besides the requester, and %s: have whoever owns policies/ name more",
			p.name, countApprovers(p.approval.required), orList(p.approval.roles.names()), found))
	}
	return enough
}

// approvers returns who could approve now, or (ever) at any time, by login.
// The requester is never among them.
func (j *judge) approvers(l roleList, ever bool) (out []Person, incomplete bool) {
	add := func(p *person) {
		if p != nil && p.ID != j.req.Requester.ID {
			out = append(out, p.Person)
		}
	}
	for _, ref := range l.refs {
		if ref.name == managerRole {
			add(j.set.people.byID[j.set.manager(j.req.Requester.ID)])
			continue
		}
		missing := j.set.holders(ref.role, &j.facts, ever, add)
		incomplete = incomplete || missing
	}
	slices.SortFunc(out, func(a, b Person) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.GitHub), strings.ToLower(b.GitHub)), cmp.Compare(a.ID, b.ID))
	})
	return slices.CompactFunc(out, func(a, b Person) bool { return a.ID == b.ID }), incomplete
}

func (j *judge) needs(verdicts []verdict) []ApprovalNeed {
	var needs []ApprovalNeed
	for _, v := range verdicts {
		if v.outcome == NeedsReview {
			people, _ := j.approvers(v.policy.approval.roles, false)
			needs = append(needs, ApprovalNeed{v.policy.name, v.policy.approval.required, v.policy.approval.roles.names(), people})
		}
	}
	return needs
}

func (j *judge) reviewers() []string {
	var roles []string
	for _, p := range j.res.policies {
		if p.approval != nil {
			roles = append(roles, p.approval.roles.names()...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// ceiling is the longest that anybody may have the resource.
func (j *judge) ceiling() time.Duration {
	least := grants.LongestDuration
	if j.res == nil {
		return least
	}
	if j.res.MaxDuration > 0 {
		least = min(least, j.res.MaxDuration)
	}
	for _, p := range j.res.policies {
		least = min(least, p.maxDuration)
	}
	return least
}

func (j *judge) requestTTL() time.Duration {
	if j.res == nil || len(j.res.policies) == 0 {
		return 0
	}
	least := j.res.policies[0].requestTTL
	for _, p := range j.res.policies {
		least = min(least, p.requestTTL)
	}
	return least
}

// condition reports whether every field of a condition holds.
func (j *judge) condition(c *condition) Truth {
	all := Yes
	field := func(name string, t Truth, text func() (observed, wanted string)) {
		j.note(c.rule, name, t, text)
		all = both(all, t)
	}
	if c.roles.set {
		field("role", j.holdsAny(c.roles), func() (string, string) { return j.rolesText(c.roles), anyOf(c.roles.names()) })
	}
	if c.maxDuration > 0 {
		field("max_duration", truth(j.req.Duration <= c.maxDuration), func() (string, string) {
			return grants.FormatDuration(j.req.Duration), "at most " + grants.FormatDuration(c.maxDuration)
		})
	}
	if c.requireTicket {
		field("require_ticket", truth(j.hasTicket()), func() (string, string) { return j.ticketText(), "a ticket" })
	}
	if c.hours != nil {
		field("business_hours_only", j.open(c.hours), func() (string, string) { return j.hoursText(c.hours) })
	}
	if c.teamScope {
		owners := j.owners()
		field("team_scope", j.holdsAny(owners), func() (string, string) {
			return j.rolesText(owners), "an owner of " + j.req.Resource + ": " + anyOf(owners.names())
		})
	}
	if c.onCall.set {
		field("on_call", j.onCall(c.onCall), func() (string, string) { return j.onCallText(c.onCall), "on duty in " + anyOf(c.onCall.names()) })
	}
	if c.ticket != nil {
		j.ticketFields(c.ticket, field)
	}
	return all
}

// both is the truth of "a and b"; what is known not to hold outweighs a doubt.
func both(a, b Truth) Truth {
	switch {
	case a == No || b == No:
		return No
	case a == Unknown || b == Unknown:
		return Unknown
	}
	return Yes
}

func (j *judge) ticketFields(t *ticketRule, field func(string, Truth, func() (string, string))) {
	if t.pattern != nil {
		matches := j.anyTicket || j.hasTicket() && t.pattern.MatchString(j.req.Ticket)
		field("ticket.pattern", truth(matches), func() (string, string) { return j.ticketText(), "a ticket that matches " + t.written })
	}
	const unasked = "unknown: this version asks no ticket tracker"
	if t.tracker != "" {
		field("ticket.tracker", Unknown, func() (string, string) { return unasked, "a ticket in " + t.tracker })
	}
	if t.state != "" {
		field("ticket.state", Unknown, func() (string, string) { return unasked, "a ticket in state " + t.state })
	}
}

func (j *judge) hasTicket() bool { return j.anyTicket || grants.CheckTicket(j.req.Ticket) == nil }

func (j *judge) open(h *hoursRule) Truth {
	if j.facts.At.IsZero() {
		return Unknown
	}
	return truth(h.calendar != nil && h.calendar.open(j.facts.At))
}

func (j *judge) owners() roleList {
	if j.res == nil {
		return roleList{set: true}
	}
	return j.res.owners
}

func (j *judge) holdsAny(l roleList) Truth {
	t := No
	for _, ref := range l.refs {
		t = either(t, j.holds(ref))
	}
	return t
}

// holds is the only place, with onCall, where an assumption counts: it is
// about the requester, never about who approves.
func (j *judge) holds(ref roleRef) Truth {
	if j.person == nil {
		return No
	}
	if ref.role != nil && slices.Contains(j.facts.Assumed, ref.name) {
		return Yes
	}
	return j.set.holds(ref.role, j.person.ID, &j.facts)
}

func (j *judge) onCall(l roleList) Truth {
	t := No
	for _, ref := range l.refs {
		switch {
		case j.person == nil || ref.role == nil:
		case slices.Contains(j.facts.Assumed, ref.name):
			t = Yes
		default:
			t = either(t, ref.role.onCall(j.person.ID, &j.facts))
		}
	}
	return t
}
