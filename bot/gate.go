package bot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// forgeSkew is how far GitHub's merged_at may be from the merge commit's own
// time (design.md 3.3).
const forgeSkew = 30 * time.Second

// forgeLag is how long GitHub's replicas may take to show what another one was
// told.
const forgeLag = time.Minute

// maySeeMore reports whether a merge is so young that what an answer about it
// lacks may yet appear. Nobody is refused for that; it is asked for again
// (threats.md A12).
func (b *Bot) maySeeMore(c world.Commit) bool {
	age := b.Now().Sub(c.Time)
	return -forgeSkew <= age && age < forgeLag
}

// judgeLanding is the gate: the judgement after the merge, before anything is
// issued. Merging is not authority. A merge pins the head but not the base,
// an administrator can merge by hand, and anybody whom the rules forgot can
// push; so everything is judged again from the merged commit itself: its own
// difference from its first parent, the policies of that parent, and reviews
// of exactly the head that was merged.
func (b *Bot) judgeLanding(ctx context.Context, id grants.ID, m *mainSight, c world.Commit) (*judgement, error) {
	j := &judgement{policy: c.Parent()}
	if err := b.readGrant(ctx, j, c.Changes); err != nil || j.verdict.Ruling == grants.No {
		return j, err
	}
	if len(m.paths[id]) > 1 {
		return j.no("gate/id", "the id %s stands on the default branch more than once", id), nil
	}
	if len(c.Parents) != 1 {
		return j.no("gate/squash", "the commit has %d parents; grants land as one squashed commit", len(c.Parents)), nil
	}
	if m.frozen {
		return j.no("gate/frozen", "the default branch was rewritten"), nil
	}
	number, ok := pullOfMessage(c.Message)
	if !ok {
		return j.no("gate/merged-by", "nobody but tac merges grants, and this commit is not tac's"), nil
	}
	pull, err := b.readPull(ctx, number)
	if errors.Is(err, world.ErrNotFound) && !b.maySeeMore(c) {
		return j.no("gate/merged-by", "the commit names pull request %d, and there is none", number), nil
	}
	if err != nil {
		return nil, err
	}
	j.pull = pull
	if err := b.checkMerge(ctx, j, c); err != nil || j.verdict.Ruling == grants.No {
		return j, err
	}
	if err := b.checkMergedHead(ctx, j); err != nil || j.verdict.Ruling == grants.No {
		return j, err
	}
	if err := b.checkAuthor(ctx, j, pull); err != nil || j.verdict.Ruling == grants.No {
		return j, err
	}
	if b.checkAge(j, pull.CreatedAt) {
		return j, nil
	}
	set, err := b.policySet(ctx, c.Parent())
	if err != nil {
		return nil, err
	}
	reviews, err := b.Forge.Reviews(ctx, number)
	if err != nil {
		return nil, fmt.Errorf("read the reviews: %w", err)
	}
	// Clock facts are those of the merge, memberships those of now.
	if err := b.decide(ctx, j, set, c.Time, 0, reviews); err != nil {
		return nil, err
	}
	if j.verdict.Ruling == grants.Ask && len(j.count.Blocked) == 0 && b.maySeeMore(c) {
		return nil, fmt.Errorf("pull request %d does not show the approvals of %s yet", number, id)
	}
	if why := silentAbout(j); why != "" {
		// Nobody is refused because a pager or a tracker is down; nobody is
		// given anything either.
		return nil, fmt.Errorf("judge %s after its merge: %s", id, why)
	}
	if j.verdict.Ruling == grants.Ask {
		return j.no(j.verdict.Rule, "it was merged without the approvals it needs"), nil
	}
	return j, b.checkTeams(j, c.Message)
}

// silentAbout says which sources were silent that may have kept the verdict
// from being yes: about the request itself, or about who may approve it.
func silentAbout(j *judgement) string {
	switch j.verdict.Ruling {
	case grants.Yes:
		return ""
	case grants.Ask:
		return silentSources(j.facts)
	}
	return strings.Join(j.decision.Silent, "; ")
}

// checkMerge demands that the bot itself made this commit out of this pull
// request (threats.md A6, A8, C7, C12).
func (b *Bot) checkMerge(ctx context.Context, j *judgement, c world.Commit) error {
	bot, err := b.Forge.Bot(ctx)
	if err != nil {
		return fmt.Errorf("find out who we are: %w", err)
	}
	p := j.pull
	if !p.Merged && b.maySeeMore(c) {
		return fmt.Errorf("pull request %d is not seen as merged yet", p.Number)
	}
	switch apart := p.MergedAt.Sub(c.Time).Abs(); {
	case !p.Merged:
		j.no("gate/merged-by", "the commit names pull request %d, which is not merged", p.Number)
	case p.Commit != c.Hash:
		j.no("gate/merged-by", "the commit names pull request %d, which was merged as %.12s", p.Number, p.Commit)
	case p.MergedBy != bot:
		j.no("gate/merged-by", "pull request %d was merged by the account %d and not by tac", p.Number, p.MergedBy)
	case p.Base != b.Branch:
		j.no("pull/base", "pull request %d was for the branch %s", p.Number, printable(p.Base))
	case !p.SameRepo:
		j.no("pull/fork", "pull request %d came from a fork", p.Number)
	case apart > forgeSkew:
		j.no("gate/time", "GitHub says the merge was at %s, the commit says %s", p.MergedAt.Format(time.RFC3339), c.Time.Format(time.RFC3339))
	}
	return nil
}

// checkMergedHead demands that the merged bytes are those of the head that
// was judged and approved (threats.md I6).
func (b *Bot) checkMergedHead(ctx context.Context, j *judgement) error {
	head, err := b.Repository.Proposal(ctx, j.pull.Number, j.pull.Head)
	if err != nil {
		return fmt.Errorf("read the merged head: %w", err)
	}
	j.commits = head.Commits
	tree, err := b.Repository.Tree(ctx, head.Head, "grants")
	if err != nil {
		return fmt.Errorf("read the merged head: %w", err)
	}
	if entry := tree[j.path]; entry.Blob != j.blob {
		j.no("gate/content", "the merged bytes of %s are not those of the head %.12s", j.path, j.pull.Head)
	}
	return nil
}

// checkTeams refuses a team whose name came to mean another team between the
// decision and the gate (threats.md B6).
func (b *Bot) checkTeams(j *judgement, message string) error {
	decided, err := factsOfMessage(message)
	if err != nil {
		j.no("gate/facts", "the facts in the merge message cannot be read: %v", err)
		return nil
	}
	for ref, team := range j.facts.Teams {
		if id := decided.Teams[ref].ID; id != team.ID {
			j.no("gate/facts", "the team %s was number %d at the decision (0: not there) and is %d now", ref, id, team.ID)
		}
	}
	return nil
}
