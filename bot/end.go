package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// This file is how people end access. It takes no lock and waits for nobody:
// the end is one compare-and-swap in Vault, and everything that GitHub would
// have to say is taken from what was last seen.

// Drop is the requester ending their own grant or taking back their request.
func (b *Bot) Drop(ctx context.Context, who grants.Principal, id grants.ID) (View, error) {
	return b.endFor(ctx, who, id, func(s *sight) (grants.Outcome, string, error) {
		if !s.grant.Requester.Same(who) {
			return "", "", refuse(CodeNotFound, "there is no such grant of yours")
		}
		return grants.OutcomeDropped, "dropped by the requester", nil
	})
}

// Revoke is an owner of the resource, or security, ending somebody's grant.
func (b *Bot) Revoke(ctx context.Context, who grants.Principal, id grants.ID, reason string) (View, error) {
	if strings.TrimSpace(reason) == "" {
		return View{}, refuse(CodeInvalid, "say why: --reason \"...\"")
	}
	if err := grants.CheckReason(reason); err != nil {
		return View{}, refuse(CodeInvalid, "%v", err)
	}
	return b.endFor(ctx, who, id, func(s *sight) (grants.Outcome, string, error) {
		o, err := b.rights(ctx, who, s)
		switch {
		case err != nil:
			return "", "", unavailable("GitHub", err)
		case o.owner || o.security:
			return grants.OutcomeRevoked, reason, nil
		case s.grant.Requester.Same(who) || mayApprove(who, s):
			return "", "", refuse(CodeDenied, "only the owners of %s and security may revoke this grant; its requester may drop it", s.grant.Resource)
		}
		return "", "", refuse(CodeNotFound, "there is no grant %s that you may see", id)
	})
}

// rights says what somebody is to the grant's resource. Where GitHub does not
// answer, what was last read of its teams must do: revoking only ever takes
// access away.
func (b *Bot) rights(ctx context.Context, who grants.Principal, s *sight) (ownership, error) {
	if s.main == nil {
		return ownership{}, errors.New("the policies were never seen")
	}
	asking, cancel := context.WithTimeout(ctx, rightsWithin)
	defer cancel()
	o, err := b.owns(asking, who, s.main, s.grant.Resource)
	if err == nil && (o.owner || o.security) {
		return o, nil
	}
	// A pager that is silent makes nobody an owner, and no error either.
	return ownershipOf(who, s.main.set, s.grant.Resource, b.remembered(s.main.set, s.grant.Resource)), nil
}

// rightsWithin is how long GitHub may take to say who owns a resource.
const rightsWithin = 5 * time.Second

// remembered gathers teams and duties as they were last read, however long ago.
func (b *Bot) remembered(set *policies.Set, resource string) policies.Facts {
	facts, needs := emptyFacts(b.Now()), set.Needs(resource)
	b.facts.mu.Lock()
	defer b.facts.mu.Unlock()
	for _, ref := range needs.Teams {
		if cached, ok := b.facts.teams[ref]; ok {
			facts.Teams[ref] = cached.fact
		}
	}
	for _, s := range needs.Schedules {
		if duty, ok := b.facts.spoken[s]; ok {
			facts.Duty[s] = duty
		}
	}
	return facts
}

func mayApprove(who grants.Principal, s *sight) bool {
	if s.judgement == nil {
		return false
	}
	return slices.ContainsFunc(missingPeople(s.judgement.count), func(p policies.Person) bool { return p.Same(who) })
}

// endFor writes the end as a compare-and-swap, then goes on as far as it gets
// at once. From that write on the grant ends even if this process dies, so
// whatever comes after is no failure any more.
func (b *Bot) endFor(ctx context.Context, who grants.Principal, id grants.ID, allowed func(*sight) (grants.Outcome, string, error)) (View, error) {
	if err := b.writeEnd(ctx, who, id, allowed); err != nil {
		return View{}, err
	}
	if _, err := b.Reconcile(ctx, id); err != nil {
		b.Log.Warn("the end is noted and goes on", "grant", id, "error", err)
		b.queue.AddRateLimited(item{grant: id})
	}
	v, err := b.Look(ctx, id)
	if err == nil {
		return v, nil
	}
	v, _ = b.index.get(id)
	v.ID, v.Phase = id, grants.PhaseEnded
	return v, nil
}

func (b *Bot) writeEnd(ctx context.Context, who grants.Principal, id grants.ID, allowed func(*sight) (grants.Outcome, string, error)) error {
	for range mostSteps {
		s, err := b.observeToEnd(ctx, id)
		if err != nil {
			return b.cannotEnd(who, id, err)
		}
		if s.Record == nil && s.Request == nil {
			return refuse(CodeNotFound, "there is no grant %s that you may see", id)
		}
		outcome, why, err := allowed(s)
		if err != nil {
			return err
		}
		err = b.writeEndOf(ctx, s, outcome, who, why)
		if !errors.Is(err, world.ErrLost) {
			return err
		}
	}
	return refuse(CodeConflict, "the grant does not come to rest; please try again")
}

// observeToEnd reads what an end needs: of a grant that has a record, Vault
// alone.
func (b *Bot) observeToEnd(ctx context.Context, id grants.ID) (*sight, error) {
	record, err := b.Vault.Record(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	if record == nil {
		s, err := b.observe(ctx, id, nil)
		if err == nil {
			return s, nil
		}
		return b.requestToEnd(ctx, id, err)
	}
	s := &sight{grant: record.Grant, main: b.main.lastSeen()}
	s.Record = record
	if s.main == nil {
		if s.main, err = b.mainNow(ctx); err != nil {
			b.Log.Warn("the default branch cannot be read", "grant", id, "error", err)
		}
	}
	if s.Clocks, err = b.clocks(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// requestToEnd reads what the end of a request needs where it cannot be
// judged now: whoever takes it back waits for no source of facts.
func (b *Bot) requestToEnd(ctx context.Context, id grants.ID, cause error) (*sight, error) {
	r, err := b.Vault.Request(ctx, id.Key())
	if err != nil || r == nil || r.Grant.ID != id {
		return nil, cause
	}
	s := &sight{grant: r.Grant, main: b.main.lastSeen()}
	s.Request = r
	return s, nil
}

// cannotEnd is the refusal where the end could not be written: it says when
// access ends by itself, to whom that is no news.
func (b *Bot) cannotEnd(who grants.Principal, id grants.ID, cause error) *Error {
	v, ok := b.index.get(id)
	if !ok || v.EndsAt == nil || v.RequesterID != who.ID {
		return unavailable("Vault or GitHub", cause)
	}
	return &Error{Code: CodeUnavailable, Cause: cause,
		Message: "Vault does not answer, so nothing could be revoked; the credential dies by itself at " + v.EndsAt.Format(time.RFC3339)}
}

func (b *Bot) writeEndOf(ctx context.Context, s *sight, outcome grants.Outcome, who grants.Principal, why string) error {
	switch r := s.Record; {
	case r != nil && (r.State == grants.Revoked || r.State == grants.Revoking && !r.Retiring):
		return nil // over, or ending: saying so twice changes nothing
	case r != nil:
		err := b.end(ctx, r, outcome, who.GitHub, why, s.Clocks.Latest)
		if err == nil || errors.Is(err, world.ErrLost) {
			return err
		}
		return &Error{Code: CodeUnavailable, Cause: err,
			Message: "Vault does not answer, so nothing could be revoked; the credential dies by itself at " + r.EffectiveEnd().Format(time.RFC3339)}
	case s.Request == nil:
		return refuse(CodeConflict, "the grant was merged this very moment; please try again")
	case s.Request.Closed != "":
		return nil
	}
	// First it is made durable that it was taken back: if a replica merges
	// at this very moment, the gate refuses. Then the pull request goes.
	s.Request.Closed, s.Request.By, s.Request.Why = grants.OutcomeWithdrawn, who.GitHub, why
	if err := b.Vault.PutRequest(ctx, s.Request); errors.Is(err, world.ErrLost) {
		return err
	} else if err != nil {
		return unavailable("Vault", err)
	}
	if s.pull == nil || !s.pull.Open {
		return nil
	}
	step := grants.Step{Kind: grants.Close, Outcome: grants.OutcomeWithdrawn, By: who.GitHub, Why: why}
	if err := b.close(ctx, step, s); err != nil {
		b.Log.Warn("the request is over; its pull request is still open", "grant", s.grant.ID, "error", err)
		b.queue.AddRateLimited(item{pull: s.pull.Number})
	}
	return nil
}
