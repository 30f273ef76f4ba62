package policies

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// This file judges requests of the past: by facts that were recorded then,
// and by policies that may ask for more than anybody wrote down.

// Replayed is the answer to a request of the past. The zero Replayed denies.
type Replayed struct {
	Outcome Outcome
	Rule    string
	// Best is the outcome if all that was not recorded were in the
	// requester's favour.
	Best Outcome
	// Missing names the facts that were not recorded and on which the
	// outcome depends; sorted. Where there is any, nobody can say what would
	// have been decided: Outcome takes them not to hold, and Best to hold.
	Missing []string
	// Approvers says who would have to approve, in a form that is equal for
	// equal demands; empty where no review is asked for.
	Approvers string
}

// Certain reports whether the recorded facts settle the outcome.
func (r Replayed) Certain() bool { return len(r.Missing) == 0 }

// A Replayer judges requests of the past by one set. It is not safe for use
// by several goroutines at once.
type Replayer struct {
	judge    *Judge
	hopeful  *Judge // supposes that what is filled in as silent had answered well
	everyone []int64
	duties   map[Schedule]Duty
}

// Replayer returns a judge of the past by this set.
func (s *Set) Replayer() *Replayer {
	r := &Replayer{judge: s.Judge(), hopeful: s.Judge(), duties: map[Schedule]Duty{}}
	r.hopeful.suppose.answered = true
	if s.Err() == nil {
		r.everyone = slices.Sorted(maps.Keys(s.people.byID))
	}
	return r
}

// Replay judges a request of the past. Neither argument is kept or changed.
func (r *Replayer) Replay(req *Request, f *Facts) Replayed {
	a := r.judge.Decide(req, f)
	out := Replayed{Outcome: a.Outcome, Rule: a.Rule, Best: a.Outcome}
	if a.Outcome == NeedsReview {
		out.Approvers = r.judge.approversKey()
	}
	if r.judge.set.Err() != nil || r.judge.res == nil {
		return out
	}
	gaps := r.gaps(req, f)
	if len(gaps) == 0 {
		return out
	}
	out.Best = r.hope(req, f, gaps)
	if out.Best != out.Outcome {
		out.Missing = r.decisive(req, f, gaps, out)
	}
	return out
}

// gap is a fact that the resource's policies ask for and that was not
// recorded. A source that was asked and stayed silent is none: that it did
// was known then.
type gap struct {
	name string
	fill func(*Facts)
}

func (r *Replayer) gaps(req *Request, f *Facts) (gaps []gap) {
	needs := &r.judge.res.needs
	for _, ref := range needs.Teams {
		if team, known := f.Teams[ref]; !known || team.ID == 0 {
			gaps = append(gaps, gap{"GitHub team " + ref.String(), func(f *Facts) {
				f.Teams[ref] = Team{ID: 1, Slug: ref.Slug, Members: r.everyone, ReadAt: f.At}
			}})
		}
	}
	for _, s := range needs.Schedules {
		if _, asked := f.Duty[s]; !asked {
			gaps = append(gaps, gap{s.String(), func(f *Facts) {
				duty := r.everybodyOnDuty(s)
				duty.ReadAt = f.At
				f.Duty[s] = duty
			}})
		}
	}
	for _, t := range needs.Trackers {
		ref := TicketRef{t, req.Ticket}
		if _, asked := f.Tickets[ref]; !asked && r.judge.namesTicket() {
			gaps = append(gaps, gap{t.Title(), func(f *Facts) {
				f.Tickets[ref] = Ticket{Silent: "not recorded"} // which the hopeful judge takes for the best of answers
			}})
		}
	}
	if o := f.Overdue; req.BreakGlass && (o == nil || o.ReadAt.IsZero()) {
		gaps = append(gaps, gap{"reviews of earlier break-glass access", func(f *Facts) { f.Overdue = &Overdue{ReadAt: f.At} }})
	}
	if b := f.Base; req.Extends != "" && (b == nil || b.ReadAt.IsZero()) {
		gaps = append(gaps, gap{"the grant that is extended", func(f *Facts) {
			f.Base = &Base{Grant: req.Extends, Requester: req.Requester.ID, Resource: req.Resource, EndsAt: f.At.Add(time.Second), Live: true, ReadAt: f.At}
		}})
	}
	if needs.Uses && f.Uses.ReadAt.IsZero() && f.Uses.Silent == "" {
		gaps = append(gaps, gap{"what was given lately", func(f *Facts) { f.Uses = Uses{ReadAt: f.At} }})
	}
	return gaps
}

// everybodyOnDuty is the duty of a schedule on which everybody is on call, at
// every level that any role asks for.
func (r *Replayer) everybodyOnDuty(s Schedule) Duty {
	if duty, known := r.duties[s]; known {
		return duty
	}
	levels := []int{0}
	for _, role := range r.judge.set.roles {
		for _, p := range role.pagers {
			if p.schedule == s {
				levels = append(levels, p.levels...)
			}
		}
	}
	slices.Sort(levels)
	levels = slices.Compact(levels)
	var duty Duty
	for account := range r.judge.set.people.byPager[s.Pager] {
		for _, level := range levels {
			duty.OnCall = append(duty.OnCall, OnCall{account, level})
		}
	}
	r.duties[s] = duty
	return duty
}

// hope is the outcome where the gaps are filled in the requester's favour.
func (r *Replayer) hope(req *Request, f *Facts, gaps []gap) Outcome {
	better := *f
	better.Teams, better.Duty, better.Tickets = cloned(f.Teams), cloned(f.Duty), cloned(f.Tickets)
	// What was silent then stays silent: it was known, and it was no help.
	for s, duty := range better.Duty {
		duty.Silent = ""
		better.Duty[s] = duty
	}
	for ref, t := range better.Tickets {
		t.Silent = ""
		better.Tickets[ref] = t
	}
	better.Uses.Silent = ""
	for _, g := range gaps {
		g.fill(&better)
	}
	return r.hopeful.Decide(req, &better).Outcome
}

func cloned[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return map[K]V{}
	}
	return maps.Clone(m)
}

// decisive names the gaps on which the outcome depends: those without which
// the best outcome is out of reach; where there are several ways to it, those
// that lead somewhere alone; else all.
func (r *Replayer) decisive(req *Request, f *Facts, gaps []gap, found Replayed) []string {
	var needed, helpful, all []string
	for i, g := range gaps {
		others := slices.Delete(slices.Clone(gaps), i, i+1)
		if r.hope(req, f, others) != found.Best {
			needed = append(needed, g.name)
		}
		if r.hope(req, f, []gap{g}) != found.Outcome {
			helpful = append(helpful, g.name)
		}
		all = append(all, g.name)
	}
	for _, names := range [][]string{needed, helpful, all} {
		if len(names) > 0 {
			slices.Sort(names)
			return slices.Compact(names)
		}
	}
	return nil
}

// approversKey writes who may approve what was judged last. Names of policies
// and roles do not count, as long as it is known who stands behind them.
func (j *Judge) approversKey() string {
	var keys []string
	for _, v := range j.verdicts {
		if v.outcome != NeedsReview {
			continue
		}
		a := v.policy.approval
		roles := a.rolesNow(j.facts)
		people, incomplete := j.approvers(roles, false)
		var b strings.Builder
		b.WriteString(number(j.required(a)))
		for _, p := range people {
			b.WriteString(" " + p.GitHub)
		}
		if incomplete {
			b.WriteString(" and more of " + strings.Join(slices.Sorted(slices.Values(roles.names())), ", "))
		}
		keys = append(keys, b.String())
	}
	slices.Sort(keys)
	return strings.Join(slices.Compact(keys), "; ")
}
