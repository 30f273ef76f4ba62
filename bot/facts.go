package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// question is what facts are gathered for.
type question struct {
	grant grants.Grant  // the ID may be empty: nobody has asked yet
	at    time.Time     // the time of the decision
	fresh time.Duration // how old a fact may be
	// upTo is the commit of the default branch up to which grants that were
	// given without review count; "": they counted when this one was merged.
	upTo string
	// since is when people could first answer; zero: nobody was asked yet.
	since time.Time
	// settled says that this was consented to: what it extends was alive
	// then, and no break-glass review was overdue.
	settled bool
}

// silentFor is how long a source that was silent is not asked again. Silence
// never gives anything, and whoever waits for it keeps a worker from what
// ends access.
const silentFor = 10 * time.Second

func emptyFacts(at time.Time) policies.Facts {
	return policies.Facts{
		At: at, Teams: map[policies.TeamRef]policies.Team{},
		Duty: map[policies.Schedule]policies.Duty{}, Tickets: map[policies.TicketRef]policies.Ticket{},
	}
}

// gather reads every fact that judging a request may need. GitHub that does
// not answer is an error, since nothing goes on without it. A pager or a
// tracker that does not answer is silent: the decision says so, and people
// can still review.
func (b *Bot) gather(ctx context.Context, set *policies.Set, q question) (policies.Facts, error) {
	needs, facts := set.Needs(q.grant.Resource), emptyFacts(q.at)
	if err := b.gatherTeams(ctx, needs, q.fresh, &facts); err != nil {
		return policies.Facts{}, err
	}
	if err := b.gatherDuty(ctx, needs, q.fresh, &facts); err != nil {
		return policies.Facts{}, err
	}
	if err := b.gatherTickets(ctx, needs, q, &facts); err != nil {
		return policies.Facts{}, err
	}
	facts.Since = q.since
	if err := b.gatherHistory(ctx, needs, q, &facts); err != nil {
		return policies.Facts{}, err
	}
	return facts, nil
}

// gatherHistory reads what the default branch tells of other grants.
func (b *Bot) gatherHistory(ctx context.Context, needs policies.Needs, q question, facts *policies.Facts) (err error) {
	if needs.Uses {
		if facts.Uses, err = b.uses(ctx, q); err != nil {
			return err
		}
	}
	if q.grant.Extends != "" {
		if facts.Base, err = b.baseOf(ctx, q); err != nil {
			return err
		}
	}
	if q.grant.BreakGlass {
		facts.Overdue, err = b.overdue(ctx, q)
	}
	return err
}

// gatherTeams leaves a team that does not exist unknown.
func (b *Bot) gatherTeams(ctx context.Context, needs policies.Needs, fresh time.Duration, facts *policies.Facts) error {
	for _, ref := range needs.Teams {
		team, known := recall(&b.facts, b.facts.teams, ref, b.Now(), fresh)
		if !known {
			asked := b.Now()
			var err error
			team, err = b.Forge.Team(ctx, ref)
			if errors.Is(err, world.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("read the team %s: %w", ref, err)
			}
			remember(&b.facts, b.facts.teams, ref, team, asked)
		}
		facts.Teams[ref] = team
	}
	return nil
}

func (b *Bot) gatherDuty(ctx context.Context, needs policies.Needs, fresh time.Duration, facts *policies.Facts) error {
	for _, s := range needs.Schedules {
		if b.Pagers == nil {
			facts.Duty[s] = policies.Duty{Silent: "this tac is not set up to ask " + s.Pager.Title()}
			continue
		}
		// Only what is so now is worth remembering: the gate asks about the
		// time of a merge, and a start about its own.
		now := b.Now()
		current := now.Sub(facts.At).Abs() < factFresh
		duty, known := recall(&b.facts, b.facts.duty, s, now, max(fresh, silentFor))
		if known && (duty.Silent != "" || current && now.Sub(duty.ReadAt) < fresh) {
			facts.Duty[s] = duty
			continue
		}
		duty, err := b.Pagers.OnCall(ctx, s, facts.At)
		if err != nil {
			return fmt.Errorf("ask who is on call by the %s: %w", s, err)
		}
		if current || duty.Silent != "" {
			remember(&b.facts, b.facts.duty, s, duty, now)
		}
		if current && duty.Silent == "" {
			b.facts.mu.Lock()
			b.facts.spoken[s] = duty
			b.facts.mu.Unlock()
		}
		facts.Duty[s] = duty
	}
	return nil
}

func (b *Bot) gatherTickets(ctx context.Context, needs policies.Needs, q question, facts *policies.Facts) error {
	if grants.CheckTicket(q.grant.Ticket) != nil {
		return nil
	}
	for _, tracker := range needs.Trackers {
		ref := policies.TicketRef{Tracker: tracker, Key: q.grant.Ticket}
		if b.Tickets == nil {
			facts.Tickets[ref] = policies.Ticket{Silent: "this tac is not set up to ask " + tracker.Title()}
			continue
		}
		now := b.Now()
		ticket, known := recall(&b.facts, b.facts.tickets, ref, now, max(q.fresh, silentFor))
		if known && (ticket.Silent != "" || now.Sub(ticket.ReadAt) < q.fresh) {
			facts.Tickets[ref] = ticket
			continue
		}
		ticket, err := b.Tickets.Ticket(ctx, ref)
		if err != nil {
			return fmt.Errorf("ask %s for the ticket %s: %w", tracker.Title(), ref.Key, err)
		}
		remember(&b.facts, b.facts.tickets, ref, ticket, now)
		facts.Tickets[ref] = ticket
	}
	return nil
}

// silentSources is what the sources that did not answer said; "" where all did.
func silentSources(f policies.Facts) string {
	var said []string
	for _, duty := range f.Duty {
		if duty.Silent != "" {
			said = append(said, duty.Silent)
		}
	}
	for _, ticket := range f.Tickets {
		if ticket.Silent != "" {
			said = append(said, ticket.Silent)
		}
	}
	return strings.Join(said, "; ")
}

// member reports whether somebody still belongs to the organisation.
func (b *Bot) member(ctx context.Context, id int64, fresh time.Duration) (bool, error) {
	now := b.Now()
	b.facts.mu.Lock()
	members, inOrg, at := b.facts.members, b.facts.inOrg, b.facts.at
	b.facts.mu.Unlock()
	if age := now.Sub(at); members == nil || age < 0 || age >= fresh {
		var err error
		if members, inOrg, err = b.Forge.Members(ctx); err != nil {
			return false, fmt.Errorf("read the organisation's members: %w", err)
		}
		b.facts.mu.Lock()
		b.facts.members, b.facts.inOrg, b.facts.at = members, inOrg, now
		b.facts.mu.Unlock()
	}
	return !inOrg || members[id], nil
}
