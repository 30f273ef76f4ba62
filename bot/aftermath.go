package bot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// This file is what follows a break-glass grant. Nobody was asked, so
// everybody is told at once, and somebody else has to look at it afterwards:
// an issue says so, with a deadline. Whoever owes such a look breaks no other
// glass.

// alarmLabel marks the issues of break-glass grants.
const alarmLabel = "tac-break-glass"

// alarm opens the issue and tells every channel. It is repeated until both
// are done; neither waits for the other, and neither is done twice.
func (b *Bot) alarm(ctx context.Context, s *sight) error {
	r := s.Record
	opened := b.openAftermath(ctx, r)
	if opened != nil && b.Now().Sub(r.StartsAt) >= alertAfter {
		b.Alert(r.Grant.ID, "the issue of a break-glass grant cannot be opened: "+opened.Error())
	}
	if !r.Aftermath.Alarmed {
		if wait, unsaid := b.soundAlarm(ctx, s); unsaid {
			b.queue.AddAfter(item{grant: r.Grant.ID}, min(wait, b.later(r.EndsAt)))
			return errors.Join(opened, errLater)
		}
		r.Aftermath.Alarmed = true
		return errors.Join(opened, b.Vault.PutRecord(ctx, r))
	}
	return opened
}

// openAftermath opens the issue, or finds the one that was opened.
func (b *Bot) openAftermath(ctx context.Context, r *grants.Record) error {
	if r.Aftermath.Issue != 0 {
		return nil
	}
	wanted := aftermathIssue(r)
	var err error
	if wanted.Key, err = b.issueKey(ctx, wanted.Key); err != nil {
		return err
	}
	issue, err := b.Forge.OpenIssue(ctx, wanted)
	if err != nil {
		return fmt.Errorf("open the issue of %s: %w", r.Grant.ID, err)
	}
	r.Aftermath.Issue = issue.Number
	return b.Vault.PutRecord(ctx, r)
}

// issueKey makes the key by which an issue is found again one that nobody can
// know beforehand: whoever can write can edit an issue's body, and would make
// an old issue, long closed, look like the new one.
func (b *Bot) issueKey(ctx context.Context, name string) (string, error) {
	signature, err := b.Vault.Sign(ctx, []byte("tac/issue/v1\n"+name))
	if err != nil {
		return "", fmt.Errorf("make the key of the issue %s: %w", name, err)
	}
	return name + "-" + hashed(signature)[:20], nil
}

// soundAlarm says it in every channel that is set up for it, or returns after
// what time it is to be tried again.
func (b *Bot) soundAlarm(ctx context.Context, s *sight) (wait time.Duration, later bool) {
	if b.Chat == nil {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	n := alarmNotice(s)
	if b.Site != "" && s.Record.Aftermath.Issue != 0 {
		n.Link = fmt.Sprintf("%s/issues/%d", b.Site, s.Record.Aftermath.Issue)
	}
	for _, channel := range b.AlarmChannels {
		// Searched for first: a crash before this was noted must not make
		// it sound twice.
		_, err := b.Chat.Post(ctx, channel, "break-glass-"+string(s.grant.ID), n, true)
		if err == nil {
			continue
		}
		b.Alert(s.grant.ID, "the channel "+channel+" was not told of a break-glass grant: "+err.Error())
		if again, unsaid := unsaid(err); unsaid {
			wait, later = max(wait, again), true
		}
	}
	return wait, later
}

// aftermathFresh is how old the look at an issue may be: nothing hurries, and
// GitHub's limits are scarce.
const aftermathFresh = 5 * time.Minute

// reviewedBy returns who looked at a break-glass grant afterwards: a human
// being who owns the resource, or of security, and not the requester, by
// closing its issue as completed. Empty: nobody yet, or it cannot be told.
func (b *Bot) reviewedBy(ctx context.Context, s *sight) string {
	r := s.Record
	if r.Aftermath.Issue == 0 || !r.Aftermath.Pending() || s.main == nil {
		return ""
	}
	issue, err := b.issueOf(ctx, r.Aftermath.Issue)
	if err != nil {
		b.Log.Warn("the issue of a break-glass grant cannot be read", "grant", r.Grant.ID, "issue", r.Aftermath.Issue, "error", err)
		return ""
	}
	who := issue.ClosedBy
	if issue.ClosedAt.Before(r.StartsAt) {
		return "" // nobody looked before there was anything to see
	}
	if issue.Open || !issue.Completed || issue.ClosedBot || who.ID <= 0 || who.Same(r.Grant.Requester) {
		return ""
	}
	o, err := b.owns(ctx, who, s.main, r.Grant.Resource)
	if err != nil || !o.owner && !o.security {
		return ""
	}
	return who.GitHub
}

// issueOf returns an issue as it was a moment ago.
func (b *Bot) issueOf(ctx context.Context, number int) (world.Issue, error) {
	if known, ok := recall(&b.facts, b.facts.issues, number, b.Now(), aftermathFresh); ok {
		return known, nil
	}
	asked := b.Now()
	issue, err := b.Forge.Issue(ctx, number)
	if err != nil && !errors.Is(err, world.ErrNotFound) {
		return world.Issue{}, err
	}
	if err != nil {
		issue = world.Issue{Number: number, Open: true} // deleted: nobody has looked
	}
	remember(&b.facts, b.facts.issues, number, issue, asked)
	return issue, nil
}

// overdue tells which break-glass grants of the requester somebody should have
// looked at by now. Which there were, the default branch tells.
func (b *Bot) overdue(ctx context.Context, q question) (*policies.Overdue, error) {
	out := &policies.Overdue{ReadAt: b.Now(), Source: "Vault"}
	if q.settled || q.upTo == "" {
		return out, nil
	}
	out.Source = "Vault, and the default branch at " + q.upTo
	broken, err := b.brokenBy(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, use := range broken {
		r, err := b.Vault.Record(ctx, use.Grant)
		if err != nil {
			return nil, fmt.Errorf("read the record of %s: %w", use.Grant, err)
		}
		// One that was merged a moment ago has its record soon; where it has
		// none for long, somebody took it away.
		missing := r == nil && q.at.Sub(use.ApprovedAt) > alertAfter
		if missing || r != nil && r.Aftermath.Overdue(q.at) {
			out.Grants = append(out.Grants, use.Grant)
		}
	}
	return out, nil
}

// brokenBy lists the break-glass grants of the requester up to a commit.
func (b *Bot) brokenBy(ctx context.Context, q question) ([]policies.Use, error) {
	b.given.mu.Lock()
	defer b.given.mu.Unlock()
	upTo, err := b.givenUpTo(ctx, q.upTo)
	if err != nil {
		return nil, err
	}
	var broken []policies.Use
	for _, e := range b.given.entries {
		if e.breakGlass && e.merged <= upTo && e.use.Person == q.grant.Requester.ID && e.use.Grant != q.grant.ID {
			broken = append(broken, e.use)
		}
	}
	return broken, nil
}
