package bot

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// useLog is what was given, as the history of the default branch tells it: one
// entry for every grant, in the order in which they were merged. An auditor reads the same from a
// clone. It only ever grows at its end, with the branch.
type useLog struct {
	mu      sync.Mutex
	tip     string         // the commit up to which it was read
	ordinal map[string]int // of every commit that was read
	merged  map[string]time.Time
	entries []useEntry
	open    map[string]int // path to the entry whose file stands there
}

// useEntry is one grant that was merged.
type useEntry struct {
	use        policies.Use
	allowed    bool // without review
	extends    grants.ID
	breakGlass bool
	duration   time.Duration
	merged     int // ordinal of the merge
	removed    int // ordinal of the commit that took the file away; 0: still there
	removing   time.Time
}

// stands reports whether the grant's file is there at a commit.
func (e useEntry) stands(ordinal int) bool {
	return e.merged <= ordinal && (e.removed == 0 || e.removed > ordinal)
}

// uses returns the grants that count against a limit on auto-approvals: those
// of the requester and those on the resource, up to a commit.
func (b *Bot) uses(ctx context.Context, q question) (policies.Uses, error) {
	if q.upTo == "" {
		return policies.Uses{ReadAt: b.Now(), Source: "counted at the merge"}, nil
	}
	b.given.mu.Lock()
	defer b.given.mu.Unlock()
	upTo, err := b.givenUpTo(ctx, q.upTo)
	if err != nil {
		return policies.Uses{}, err
	}
	uses := policies.Uses{ReadAt: b.Now(), Source: "the default branch at " + q.upTo}
	longer := map[grants.ID]time.Duration{} // by extensions, which are no grants beside it
	for _, e := range b.given.entries {
		if e.extends != "" && e.stands(upTo) {
			longer[e.extends] += e.duration
		}
	}
	for _, e := range b.given.entries {
		u := e.use
		u.Until = u.Until.Add(longer[u.Grant])
		if e.extends != "" || u.Grant == q.grant.Extends {
			u.Until = u.ApprovedAt // it counts for its day alone
		}
		if !e.allowed || e.merged > upTo || u.Grant == q.grant.ID || u.Person != q.grant.Requester.ID && u.Resource != q.grant.Resource {
			continue
		}
		if e.removed > 0 && e.removed <= upTo && e.removing.Before(u.Until) {
			u.Until = e.removing // given back, or taken away, early
		}
		if u.Until.After(q.at) || u.ApprovedAt.After(q.at.Add(-24*time.Hour)) {
			uses.Grants = append(uses.Grants, u)
		}
	}
	return uses, nil
}

// givenUpTo reads on to a commit where need be, and returns its ordinal. The
// log is locked.
func (b *Bot) givenUpTo(ctx context.Context, commit string) (int, error) {
	if n, read := b.given.ordinal[commit]; read {
		return n, nil
	}
	if err := b.readUses(ctx, commit); err != nil {
		return 0, err
	}
	return b.given.ordinal[commit], nil
}

// readUses reads on to a commit. A branch that was rewritten is read anew.
func (b *Bot) readUses(ctx context.Context, upTo string) error {
	l := &b.given
	commits, err := b.Repository.History(ctx, l.tip, upTo)
	if err != nil && l.tip != "" {
		l.tip = ""
		commits, err = b.Repository.History(ctx, "", upTo)
	}
	if err != nil {
		return fmt.Errorf("read what was given without review: %w", err)
	}
	if l.tip == "" {
		l.entries, l.ordinal, l.open, l.merged = nil, map[string]int{}, map[string]int{}, map[string]time.Time{}
	}
	for _, c := range commits {
		if err := b.readUse(ctx, c); err != nil {
			l.tip = "" // half of a commit was read: begin anew
			return err
		}
		l.tip = c.Hash
	}
	return nil
}

func (b *Bot) readUse(ctx context.Context, c world.Commit) error {
	l := &b.given
	ordinal := len(l.ordinal) + 1
	l.ordinal[c.Hash], l.merged[c.Hash] = ordinal, c.Time
	allowed := strings.EqualFold(trailer(c.Message, "Tac-Decision"), policies.Allow.String())
	for _, change := range c.Changes {
		if i, stands := l.open[change.Path]; stands {
			l.entries[i].removed, l.entries[i].removing = ordinal, c.Time
			delete(l.open, change.Path)
		}
		if _, _, ours := grants.ParsePath(change.Path); !ours || change.New == nil {
			continue
		}
		data, err := b.Repository.Blob(ctx, change.New.Blob)
		if err != nil {
			return fmt.Errorf("read %s: %w", change.Path, err)
		}
		g, err := grants.Parse(change.Path, data)
		if err != nil {
			continue // no grant: the gate refuses it
		}
		begins := c.Time
		if g.Start.After(begins) {
			begins = g.Start
		}
		l.open[change.Path] = len(l.entries)
		l.entries = append(l.entries, useEntry{
			merged: ordinal, allowed: allowed, extends: g.Extends, breakGlass: g.BreakGlass, duration: g.Duration,
			use: policies.Use{Grant: g.ID, Person: g.Requester.ID, Resource: g.Resource, ApprovedAt: c.Time, Until: begins.Add(g.Duration)},
		})
	}
	return nil
}
