package bot

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// This file is how a grant is extended: by another grant that names it. What
// was merged is never changed; the other grant has a file, a decision and a
// record of its own, and moves the first one's end. Vault renews the lease
// where it stands, so that nobody is cut off.

// ExtendAsk is somebody asking for more time.
type ExtendAsk struct {
	Duration time.Duration // added to what the grant has
	Reason   string        // empty: that of the grant
	Ticket   string        // empty: that of the grant
	Via      grants.Via
	Key      string // as Ask.Key
	Channel  string
	DryRun   bool
}

// Extend asks for more time on one's own grant. It is judged anew, on the
// whole length.
func (b *Bot) Extend(ctx context.Context, who grants.Principal, id grants.ID, e ExtendAsk) (Answer, error) {
	base, err := b.rootOf(ctx, who, id)
	if err != nil {
		return Answer{}, err
	}
	g := base.Grant
	a := Ask{
		Requester: who, Resource: g.Resource, Duration: e.Duration, Reason: e.Reason, Ticket: e.Ticket,
		Via: e.Via, Key: e.Key, Channel: e.Channel, DryRun: e.DryRun, extends: g.ID,
	}
	if a.Reason == "" {
		a.Reason = g.Reason
	}
	if a.Ticket == "" {
		a.Ticket = g.Ticket
	}
	if a.Duration == 0 {
		if m, err := b.mainNow(ctx); err == nil {
			_, a.Duration = m.set.Extensions(g.Resource)
		}
	}
	answer, err := b.Request(ctx, a)
	answer.Extends = g.ID
	return answer, err
}

// rootOf returns the record of somebody's own grant; of an extension, that of
// the grant it extends.
func (b *Bot) rootOf(ctx context.Context, who grants.Principal, id grants.ID) (*grants.Record, error) {
	for range 2 {
		r, err := b.Vault.Record(ctx, id)
		switch {
		case err != nil:
			return nil, unavailable("Vault", err)
		case r == nil:
			return nil, b.nothingToExtend(ctx, who, id)
		case !r.Grant.Requester.Same(who):
			return nil, refuse(CodeNotFound, "%s", noSuchGrantOfYours)
		case r.Grant.Extends == "":
			return r, nil
		}
		id = r.Grant.Extends
	}
	return nil, refuse(CodeConflict, "%s", extensionOfExtension)
}

func (b *Bot) nothingToExtend(ctx context.Context, who grants.Principal, id grants.ID) error {
	r, err := b.requestOf(ctx, id)
	switch {
	case err != nil:
		return unavailable("Vault", err)
	case r != nil && r.Grant.Requester.Same(who):
		return refuse(CodeConflict, "%s", extendTooEarly)
	}
	return refuse(CodeNotFound, "%s", noSuchGrantOfYours)
}

// baseOf tells what there is to know of a grant that is to be extended: its
// record says whose it is and whether it lives, the default branch how long it
// is by now. An extension counts once it is merged, in the order of merges, so
// that two at once are never both the last one that policy gives.
func (b *Bot) baseOf(ctx context.Context, q question) (*policies.Base, error) {
	base := &policies.Base{Grant: q.grant.Extends, ReadAt: b.Now(), Source: "Vault"}
	r, err := b.Vault.Record(ctx, q.grant.Extends)
	if err != nil {
		return nil, fmt.Errorf("read the record of %s, which is to be extended: %w", q.grant.Extends, err)
	}
	if r == nil || r.Grant.Extends != "" {
		return base, nil // nobody's, so nobody extends it
	}
	base.Requester, base.Resource = r.Grant.Requester.ID, r.Grant.Resource
	base.BreakGlass, base.Total = r.Grant.BreakGlass, r.Grant.Duration
	if q.upTo != "" {
		base.Source = "Vault, and the default branch at " + q.upTo
		if err := b.addExtensions(ctx, q, base); err != nil {
			return nil, err
		}
	}
	base.EndsAt = r.StartsAt.Add(base.Total)
	base.Live = q.settled || !r.Ending() && !q.at.Before(r.StartsAt) && q.at.Before(base.EndsAt)
	return base, nil
}

// addExtensions counts the extensions of a grant that stand at a commit, but
// for those that the gate refused or that were taken back.
func (b *Bot) addExtensions(ctx context.Context, q question, base *policies.Base) error {
	standing, err := b.extensionsOf(ctx, base.Grant, q.upTo)
	if err != nil {
		return err
	}
	for _, e := range standing {
		if e.use.Grant == q.grant.ID {
			continue
		}
		r, err := b.Vault.Record(ctx, e.use.Grant)
		if err != nil {
			return fmt.Errorf("read the record of %s, which extends the same grant: %w", e.use.Grant, err)
		}
		if r == nil || !r.Ending() {
			base.Extensions++
			base.Total += e.duration
		}
	}
	return nil
}

// extensionsOf lists the extensions of a grant whose files stand at a commit.
func (b *Bot) extensionsOf(ctx context.Context, base grants.ID, commit string) ([]useEntry, error) {
	b.given.mu.Lock()
	defer b.given.mu.Unlock()
	upTo, err := b.givenUpTo(ctx, commit)
	if err != nil {
		return nil, err
	}
	var standing []useEntry
	for _, e := range b.given.entries {
		if e.extends == base && e.stands(upTo) {
			standing = append(standing, e)
		}
	}
	return standing, nil
}

// ofThisLength leaves out approvals of an extension that were given before
// another one of the same grant was merged: who gave them was shown a shorter
// whole. Denials stand.
func (b *Bot) ofThisLength(ctx context.Context, j *judgement, reviews []policies.Review) ([]policies.Review, error) {
	if j.grant.Extends == "" || len(reviews) == 0 {
		return reviews, nil
	}
	standing, err := b.extensionsOf(ctx, j.grant.Extends, j.policy)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(reviews, func(r policies.Review) bool {
		return r.State == policies.ReviewApproved && slices.ContainsFunc(standing, func(e useEntry) bool {
			return e.use.Grant != j.grant.ID && !r.SubmittedAt.After(e.use.ApprovedAt)
		})
	}), nil
}

// extend moves the end of the grant that this one extends.
func (b *Bot) extend(ctx context.Context, s *sight) error {
	s.Base.Extend(s.grant.ID, s.Record.Grant.Duration)
	if err := b.Vault.PutRecord(ctx, s.Base); err != nil {
		return err
	}
	b.Wake(s.Base.Grant.ID) // its lease is to be renewed
	return nil
}

// shorten takes the extension out of the grant again.
func (b *Bot) shorten(ctx context.Context, s *sight) error {
	s.Base.Shorten(s.grant.ID)
	if err := b.Vault.PutRecord(ctx, s.Base); err != nil {
		return err
	}
	b.Wake(s.Base.Grant.ID)
	return nil
}

// windowOf returns what a merged grant is given: its start, its end, and
// whether another grant's credential carries it.
func (b *Bot) windowOf(ctx context.Context, j *judgement, merged time.Time) (w window, err error) {
	w.starts = merged.UTC()
	if j.grant.Extends == "" {
		if j.grant.Start.After(w.starts) {
			w.starts = j.grant.Start
		}
		w.ends = w.starts.Add(j.grant.Duration)
		w.tokenUntil = j.longest(w)
		return w, nil
	}
	base := j.facts.Base
	if base == nil || base.EndsAt.IsZero() {
		return w, fmt.Errorf("the grant %s, which is extended, was not read", j.grant.Extends)
	}
	w.ends = base.EndsAt.Add(j.grant.Duration)
	w.tokenUntil = w.ends
	r, err := b.Vault.Record(ctx, j.grant.Extends)
	if err != nil {
		return w, fmt.Errorf("read the record of %s, which is extended: %w", j.grant.Extends, err)
	}
	if r == nil || r.Ending() {
		return w, fmt.Errorf("the grant %s, which is extended, has ended since", j.grant.Extends) // the next look refuses
	}
	// A token ends when it ends, and its lease with it: where a credential is
	// out that cannot live so long, there is to be a new one before it goes.
	out := r.Accessor != "" && r.State != grants.Retired && r.Target.Slice == 0
	// Nothing is renewed in its last minute, and getting there takes a moment.
	late := out && base.EndsAt.Sub(b.Now()) < grants.LeastLeft+15*time.Second
	w.carried = !out || !late && !r.LeaseCapped && !r.TokenExpires.Before(w.ends)
	return w, nil
}

// window is what a grant is given.
type window struct {
	starts, ends time.Time
	tokenUntil   time.Time // the latest end that extensions could reach
	carried      bool
}

// longest returns the latest end that a grant's extensions could still reach.
func (j *judgement) longest(w window) time.Time {
	if j.grant.BreakGlass || j.set == nil {
		return w.ends
	}
	most, each := j.set.Extensions(j.grant.Resource)
	until := w.ends.Add(time.Duration(most) * each)
	if ceiling := w.starts.Add(j.set.Longest(j.grant.Resource)); ceiling.Before(until) {
		until = ceiling
	}
	if until.Before(w.ends) {
		return w.ends
	}
	return until
}
