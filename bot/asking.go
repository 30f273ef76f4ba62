package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// This file is whom tac asks for a review, and how. The pull request names
// everybody who may approve; only a few are asked, those who are at work
// first, then those who were asked longest ago. While nobody answers, each
// escalation asks a few more. Whoever was asked hears when there is nothing to
// look at any more. All of it is a courtesy: being asked gives no right, not
// being asked takes none, and nothing waits for it.

// roleManager is the role that stands for the requester's own manager.
const roleManager = "manager"

// mostAsked is how many people are asked at once by each policy.
const mostAsked = 3

// askFew chooses whom to ask now, has GitHub ask them, and notes it in the
// request, which the caller stores. Chat tells them once that is stored, so
// that of several replicas one does.
func (b *Bot) askFew(ctx context.Context, s *sight) {
	r, j := s.Request, s.judgement
	noteAnswers(r, j.count)
	if j.verdict.Ruling != grants.Ask || len(j.count.Blocked) > 0 {
		return
	}
	people := choose(j.count.Missing, r.Asked, newcomers(s), b.ranking(ctx, s.main.set))
	if len(people) == 0 {
		return
	}
	logins := make([]string, len(people))
	for i, p := range people {
		logins[i] = p.GitHub
		r.Asked = append(r.Asked, grants.Asked{ID: p.ID, At: b.Now().UTC()})
		if b.Chat != nil && p.Slack != "" {
			r.Unasked = append(r.Unasked, p.Slack)
		}
	}
	if err := b.Forge.AskReview(ctx, j.pull.Number, logins); err != nil {
		b.Log.Warn("reviewers were not asked", "grant", s.grant.ID, "error", err)
	}
	b.noteAsked(ctx, people)
}

// noteAnswers notes who has answered by themselves: nobody needs to tell them.
func noteAnswers(r *grants.Request, count policies.Count) {
	for i := range r.Asked {
		is := func(p policies.Person) bool { return p.ID == r.Asked[i].ID }
		if slices.ContainsFunc(count.Approvers, func(a policies.Approval) bool { return is(a.Person) }) ||
			slices.ContainsFunc(count.Blocked, func(k policies.Blocker) bool { return is(k.Person) }) {
			r.Asked[i].Answered = true
		}
	}
}

// choose returns whom to ask, nobody twice: for each need that those who were
// asked cannot meet any more, and some of those who may approve only now.
func choose(missing []policies.ApprovalNeed, asked []grants.Asked, arrived func(policy string, id int64) bool, rank func(a, b policies.Person) int) []policies.Person {
	known := map[int64]bool{} // who was asked, and whether they still may answer
	for _, a := range asked {
		known[a.ID] = !a.Answered
	}
	var chosen []policies.Person
	for _, need := range missing {
		var rest, arrivals []policies.Person
		waiting := 0
		for _, p := range slices.SortedStableFunc(slices.Values(need.People), rank) {
			answers, was := known[p.ID]
			switch {
			case was && answers:
				waiting++
			case was:
			case arrived(need.Policy, p.ID):
				arrivals = append(arrivals, p)
			default:
				rest = append(rest, p)
			}
		}
		take := func(from []policies.Person, most int) {
			for _, p := range from[:min(len(from), max(most, 0))] {
				known[p.ID] = true
				chosen = append(chosen, p)
			}
		}
		take(arrivals, mostAsked)
		if waiting += min(len(arrivals), mostAsked); waiting < need.Required {
			take(rest, max(mostAsked, need.Required)-waiting)
		}
	}
	return chosen
}

// newcomers returns who may approve now and could not when somebody was asked
// last: an escalation was reached, or a shift has changed. Before anybody was
// asked nobody is one.
func newcomers(s *sight) func(policy string, id int64) bool {
	nobody := func(string, int64) bool { return false }
	r, j := s.Request, s.judgement
	if len(r.Asked) == 0 {
		return nobody
	}
	then := j.facts
	then.At = r.Asked[len(r.Asked)-1].At
	before := s.main.set.Evaluate(policies.RequestOf(j.grant), then)
	if before.Outcome != policies.NeedsReview {
		return nobody // it was another question then
	}
	return func(policy string, id int64) bool {
		return !slices.ContainsFunc(before.Needs, func(n policies.ApprovalNeed) bool {
			return n.Policy == policy && slices.ContainsFunc(n.People, func(p policies.Person) bool { return p.ID == id })
		})
	}
}

// nextEscalation returns when others may approve as well; zero: never.
func nextEscalation(d policies.Decision, now time.Time) time.Time {
	var next time.Time
	for _, e := range d.Escalations {
		if e.At.After(now) && (next.IsZero() || e.At.Before(next)) {
			next = e.At
		}
	}
	return next
}

// ranking orders people by how well it suits to ask them now.
func (b *Bot) ranking(ctx context.Context, set *policies.Set) func(a, b policies.Person) int {
	_, asked := b.lastAsked(ctx)
	now := b.Now()
	away := func(p policies.Person) int {
		switch set.AtWork(p.ID, now) {
		case policies.Yes:
			return 0
		case policies.No:
			return 2
		}
		return 1
	}
	return func(p, q policies.Person) int {
		return cmp.Or(cmp.Compare(away(p), away(q)), cmp.Compare(asked[p.ID], asked[q.ID]), strings.Compare(strings.ToLower(p.GitHub), strings.ToLower(q.GitHub)))
	}
}

// askedNote holds when each person was asked last, for all replicas.
const askedNote = "asked"

// mostRemembered bounds that note; who falls out counts as never asked.
const mostRemembered = 2000

// lastAsked returns when people were asked last, as Unix time by number. What
// cannot be read is as good as nothing: it is no reason not to ask.
func (b *Bot) lastAsked(ctx context.Context) (world.Note, map[int64]int64) {
	note, err := b.Vault.Note(ctx, askedNote)
	if err != nil {
		b.Log.Warn("it is not known who was asked last", "error", err)
		return note, nil
	}
	stored := map[string]int64{}
	if len(note.Data) > 0 {
		if err := json.Unmarshal(note.Data, &stored); err != nil {
			b.Log.Warn("it is not known who was asked last", "error", err)
		}
	}
	asked := make(map[int64]int64, len(stored))
	for text, at := range stored {
		if id, err := strconv.ParseInt(text, 10, 64); err == nil {
			asked[id] = at
		}
	}
	return note, asked
}

func (b *Bot) noteAsked(ctx context.Context, people []policies.Person) {
	const tries = 3
	var err error
	for range tries {
		note, asked := b.lastAsked(ctx)
		if asked == nil {
			return
		}
		for _, p := range people {
			asked[p.ID] = b.Now().Unix()
		}
		if note.Data, err = json.Marshal(latest(asked, mostRemembered)); err != nil {
			break
		}
		if err = b.Vault.PutNote(ctx, askedNote, &note); !errors.Is(err, world.ErrLost) {
			break
		}
	}
	if err != nil {
		b.Log.Warn("who was asked is not noted", "error", err)
	}
}

// latest returns the newest of the entries, at most so many.
func latest(asked map[int64]int64, most int) map[int64]int64 {
	if len(asked) <= most {
		return asked
	}
	var times []int64
	for _, at := range asked {
		times = append(times, at)
	}
	slices.Sort(times)
	kept := map[int64]int64{}
	for id, at := range asked {
		if at >= times[len(times)-most] && len(kept) < most {
			kept[id] = at
		}
	}
	return kept
}

// tellAsked keeps up to date, in private, those who were asked: each hears of
// the request once, and once that nobody needs to look any more.
func (b *Bot) tellAsked(ctx context.Context, phase grants.Phase, s *sight) error {
	r := s.Request
	why := answered(phase, s)
	if why == "" {
		if len(r.Unasked) == 0 || s.judgement == nil { // GitHub did not say today whom it waits for
			return nil
		}
		return b.tellFirst(ctx, s)
	}
	if slices.ContainsFunc(r.Asked, b.mayStillLook) || len(r.Unasked) > 0 {
		return b.tellLast(ctx, s, why)
	}
	return nil
}

// worthTelling is how long after they were asked people are told that it is
// over. Where chat was set up only now, nobody hears of all that ever was.
const worthTelling = 48 * time.Hour

func (b *Bot) mayStillLook(a grants.Asked) bool {
	return !a.Answered && b.Now().Sub(a.At) < worthTelling
}

// tellFirst asks those whom chat has not told yet, while they are waited for.
func (b *Bot) tellFirst(ctx context.Context, s *sight) error {
	r := s.Request
	waiting := r.Unasked
	// Whoever takes them off the list tells them: no other replica does.
	r.Unasked = nil
	if err := b.Vault.PutRequest(ctx, r); err != nil {
		return err
	}
	people := slices.DeleteFunc(missingPeople(s.judgement.count), func(p policies.Person) bool { return !slices.Contains(waiting, p.Slack) })
	later := b.direct(ctx, s, people, askNotice(s))
	if len(later) == 0 {
		return nil
	}
	return b.change(ctx, s, func(r *grants.Request) {
		for _, p := range later {
			if !slices.Contains(r.Unasked, p.Slack) {
				r.Unasked = append(r.Unasked, p.Slack)
			}
		}
	})
}

// tellLast tells those who were asked and did not answer that nobody has to.
func (b *Bot) tellLast(ctx context.Context, s *sight, why string) error {
	m := s.main
	if m == nil {
		if m = b.main.lastSeen(); m == nil {
			return nil // who they are in chat is not known yet
		}
	}
	r := s.Request
	var people []policies.Person
	for i, a := range r.Asked {
		p, known := m.set.Person(a.ID)
		// Who never heard of it needs not hear that it is over.
		if b.mayStillLook(a) && known && p.Slack != "" && !slices.Contains(r.Unasked, p.Slack) && !answeredBy(s, a.ID) {
			people = append(people, p)
		}
		r.Asked[i].Answered = true
	}
	r.Unasked = nil
	if err := b.Vault.PutRequest(ctx, r); err != nil {
		return err
	}
	n := answeredNotice(s, why)
	if v, known := b.index.get(s.grant.ID); known { // which keeps the address of what is closed
		n.Link = v.URL
	}
	later := b.direct(ctx, s, people, n)
	if len(later) == 0 {
		return nil
	}
	b.index.reopen(s.grant.ID)
	return b.change(ctx, s, func(r *grants.Request) {
		for i, a := range r.Asked {
			if slices.ContainsFunc(later, func(p policies.Person) bool { return p.ID == a.ID }) {
				r.Asked[i].Answered = false
			}
		}
	})
}

// answered says in a sentence why nobody has to look at a request any more;
// "": somebody still has to.
func answered(phase grants.Phase, s *sight) string {
	switch phase {
	case grants.PhaseRequested:
		if j := s.judgement; j != nil && len(j.count.Blocked) > 0 {
			return j.count.Blocked[0].Person.GitHub + " denied it."
		}
		return ""
	case grants.PhaseDenied:
		return "Policy does not allow it as it stands now."
	case grants.PhaseLapsed:
		return "Nobody answered in time, and it is closed."
	case grants.PhaseWithdrawn:
		if s.Request.By != "" {
			return s.Request.By + " took it back."
		}
		return "Its pull request was closed."
	case grants.PhaseNone:
		return ""
	}
	r := s.Record
	switch {
	case r == nil && s.Request.Closed == "":
		return "" // merged, and the gate has not seen it yet
	case r == nil || r.Outcome == grants.OutcomeRefused:
		return "It was refused."
	case len(r.Approvers) == 0:
		return "Policy allows it by now."
	}
	logins := make([]string, len(r.Approvers))
	for i, a := range r.Approvers {
		logins[i] = a.GitHub
	}
	return list(logins, 4) + " approved it."
}

// answeredBy reports whether somebody's own answer counts.
func answeredBy(s *sight, id int64) bool {
	if j := s.judgement; j != nil {
		if slices.ContainsFunc(j.count.Approvers, func(a policies.Approval) bool { return a.Person.ID == id }) ||
			slices.ContainsFunc(j.count.Blocked, func(k policies.Blocker) bool { return k.Person.ID == id }) {
			return true
		}
	}
	return s.Record != nil && slices.ContainsFunc(s.Record.Approvers, func(a grants.Approver) bool { return a.ID == id })
}

// change rewrites a request that others may have written meanwhile, also where
// chat has used up the time there was.
func (b *Bot) change(ctx context.Context, s *sight, do func(*grants.Request)) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellWithin)
	defer cancel()
	for {
		do(s.Request)
		err := b.Vault.PutRequest(ctx, s.Request)
		if !errors.Is(err, world.ErrLost) {
			return err
		}
		r, err := b.requestOf(ctx, s.Request.Grant.ID)
		if err != nil || r == nil {
			return err
		}
		s.Request = r
	}
}

// direct says a notice to each of the people in private, and returns whom to
// tell later.
func (b *Bot) direct(ctx context.Context, s *sight, people []policies.Person, n world.Notice) (later []policies.Person) {
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	var wait time.Duration
	for _, p := range people {
		err := b.Chat.Direct(ctx, p.Slack, n)
		if err == nil {
			continue
		}
		b.Log.Warn("an approver was not told", "grant", s.grant.ID, "approver", p.ID, "error", err)
		if again, is := unsaid(err); is {
			later, wait = append(later, p), max(wait, again)
		}
	}
	if len(later) > 0 {
		b.queue.AddAfter(item{grant: s.grant.ID}, wait)
	}
	return later
}

// sayAgainWithin bounds how long a message waits that chat would not hear.
const sayAgainWithin = time.Minute

// unsaid reports whether a message is to be said later: chat has neither taken
// it nor may have, but will hear it after the wait that is returned. What fails
// otherwise is given up, for it was said or never can be.
func unsaid(err error) (wait time.Duration, later bool) {
	var refused interface{ RetryAfter() time.Duration }
	if !errors.As(err, &refused) || errors.Is(err, world.ErrAmbiguous) {
		return 0, false
	}
	return min(max(refused.RetryAfter(), time.Second), sayAgainWithin), true
}

func requestTitle(g grants.Grant) string {
	return fmt.Sprintf("%s asks for %s, %s", g.Requester.GitHub, g.Resource, lengthText(g))
}

// askNotice is what an approver is told, with the ways to answer that policy
// takes. The buttons carry the commit that it is about: an answer to anything
// else does not count.
func askNotice(s *sight) world.Notice {
	g, j := s.grant, s.judgement
	n := world.Notice{
		Title: requestTitle(g),
		Lines: []string{reasonText(g)},
		Link:  j.pull.URL,
		Facts: []world.Fact{{Name: "Grant", Value: string(g.ID)}},
	}
	if g.Ticket != "" {
		n.Facts = append(n.Facts, world.Fact{Name: "Ticket", Value: g.Ticket})
	}
	if base := j.facts.Base; base != nil && base.Total > 0 {
		whole := grants.FormatDuration(base.Total+g.Duration) + ", until " + clockText(base.EndsAt.Add(g.Duration))
		n.Facts = append(n.Facts, world.Fact{Name: "Whole length", Value: whole})
	}
	if why := j.decision.Nearest; why != "" {
		n.Facts = append(n.Facts, world.Fact{Name: "Why it waits", Value: firstLine(why)})
	}
	ways := "You may approve this by an approving review of the pull request"
	if slices.Contains(j.decision.ApproveFrom, FromCLI) && j.pull.AuthorBot {
		ways += ", or with: tac access approve " + string(g.ID)
	} else {
		ways += "."
	}
	n.Lines = append(n.Lines, ways)
	if slices.Contains(j.decision.ApproveFrom, FromSlack) {
		value := string(g.ID) + ":" + j.pull.Head
		n.Buttons = []world.Button{{Action: "approve", Value: value, Label: "Approve"}, {Action: "deny", Value: value, Label: "Deny"}}
	}
	return n
}

// answeredNotice tells somebody who was asked that nobody has to answer.
func answeredNotice(s *sight, why string) world.Notice {
	g := s.grant
	return world.Notice{
		Title: fmt.Sprintf("No need to look any more: %s for %s, %s", g.Resource, g.Requester.GitHub, lengthText(g)),
		Lines: []string{why},
		Facts: []world.Fact{{Name: "Grant", Value: string(g.ID)}},
	}
}
