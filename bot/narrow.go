package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file is how an approver gives less than was asked for. The bot commits
// a new, newly signed file on top of the reviewed one; whoever consented to
// the wider one has consented to it. Anything wider starts over: only the
// bot's own signature makes a file count, and it signs nothing wider.

// narrow commits what an approver cut the request down to, and forgets it
// once the branch says so. What was cut from another head than the branch has
// is forgotten: the approver was shown something else.
func (b *Bot) narrow(ctx context.Context, s *sight) error {
	r, j := s.Request, s.judgement
	n := r.Narrowing
	stands := j != nil && j.verdict.Ruling != grants.No && j.pull.AuthorBot && j.pull.Head == n.Head && n.Duration < j.grant.Duration
	if stands {
		if err := b.amend(ctx, j, *n); err != nil {
			return err
		}
		b.pulls.forget(j.pull.Number)
	}
	r.Narrowing = nil
	return b.Vault.PutRequest(ctx, r)
}

// suggested returns what those whose approval counts would rather give: an
// approving review that suggests a shorter duration in the grant's file means
// the shorter one. Whoever else can write can edit such a suggestion, and make
// it shorter still: that takes from the requester and gives nobody anything.
func (b *Bot) suggested(ctx context.Context, j *judgement) (*grants.Narrowing, error) {
	if j.verdict.Ruling == grants.No || len(j.count.Approvers) == 0 || !j.pull.AuthorBot {
		return nil, nil
	}
	all, err := b.Forge.Suggestions(ctx, j.pull.Number)
	if err != nil {
		return nil, fmt.Errorf("read what reviewers suggest: %w", err)
	}
	var least *grants.Narrowing
	for _, s := range all {
		if s.Path != j.path || s.Commit != j.pull.Head && !slices.Contains(j.earlier, s.Commit) {
			continue
		}
		value, is := strings.CutPrefix(strings.TrimSpace(s.Text), "duration:")
		d, err := grants.ParseDuration(strings.TrimSpace(value))
		shorter := is && err == nil && grants.CheckDuration(d) == nil && d < j.grant.Duration
		if !shorter || least != nil && least.Duration <= d {
			continue
		}
		for _, a := range j.count.Approvers {
			if a.Review == s.Review && a.Person.ID == s.User.ID {
				least = &grants.Narrowing{Duration: d, By: a.Person.Principal, Head: j.pull.Head}
			}
		}
	}
	return least, nil
}

// amend replaces the file on the bot's branch by a narrower one.
func (b *Bot) amend(ctx context.Context, j *judgement, n grants.Narrowing) error {
	g := j.grant.Narrowed(n.Duration, j.blob)
	signature, err := b.Vault.Sign(ctx, g.SignedBytes())
	if err != nil {
		return fmt.Errorf("attest: %w", err)
	}
	g.Attestation = signature
	_, err = b.Repository.Amend(ctx, world.Amendment{
		Branch: g.Branch(), Head: n.Head, Path: g.Path(), Content: g.Encode(),
		Message: narrowingMessage(g, n.By), At: j.grant.RequestedAt,
	})
	switch {
	case errors.Is(err, world.ErrLost):
		return nil // somebody pushed: what was narrowed is not there any more
	case err != nil:
		return fmt.Errorf("narrow %s: %w", g.ID, err)
	}
	return nil
}

// checkNarrowings demands that all commits but the first only narrow what the
// first proposed, each by a file that Vault signed for us. Whoever else can
// push has no signature of ours for a file that nobody made, so all they
// could do is to push what the bot would have (threats.md A3, B3).
func (b *Bot) checkNarrowings(ctx context.Context, j *judgement) error {
	if len(j.commits) == 0 {
		j.no("pull/commits", "the pull request holds no commit of its own")
		return nil
	}
	var wide grants.Grant
	var before string
	for i, commit := range j.commits {
		g, blob, err := b.grantAt(ctx, j, commit)
		if err != nil || j.verdict.Ruling == grants.No {
			return err
		}
		if i > 0 {
			if err := grants.CheckNarrower(g, wide, before); err != nil {
				// What the head says may be signed, yet whoever pushed
				// could approve it (threats.md B3).
				j.no("pull/commits", "somebody else pushed to %s: the commit %.7s is not the bot's narrowing of the one before: %v", j.grant.Branch(), commit, err)
				return nil
			}
		} else if g.Narrows != "" {
			j.no("pull/commits", "the first commit of %s narrows a file that nobody proposed here", j.grant.Branch())
			return nil
		}
		wide, before = g, blob
	}
	if j.commits[len(j.commits)-1] != j.pull.Head || before != j.blob {
		j.no("pull/commits", "the commits of %s do not end with its head", j.grant.Branch())
		return nil
	}
	j.earlier = j.commits[:len(j.commits)-1]
	return nil
}

// grantAt returns the grant as a commit of the proposal has it, and its blob.
func (b *Bot) grantAt(ctx context.Context, j *judgement, commit string) (grants.Grant, string, error) {
	if commit == j.pull.Head {
		return j.grant, j.blob, nil // read already
	}
	tree, err := b.Repository.Tree(ctx, commit, "grants")
	if err != nil {
		return grants.Grant{}, "", fmt.Errorf("read the commit %s: %w", commit, err)
	}
	entry, there := tree[j.path]
	if !there || entry.Mode != world.PlainFile {
		j.no("pull/commits", "somebody else pushed to %s: the commit %.7s does not hold the grant", j.grant.Branch(), commit)
		return grants.Grant{}, "", nil
	}
	data, err := b.Repository.Blob(ctx, entry.Blob)
	if err != nil {
		return grants.Grant{}, "", fmt.Errorf("read %s at %s: %w", j.path, commit, err)
	}
	g, err := grants.Parse(j.path, data)
	if err != nil {
		j.no("pull/commits", "somebody else pushed to %s: the grant at %.7s cannot be read: %v", j.grant.Branch(), commit, err)
		return grants.Grant{}, "", nil
	}
	return g, entry.Blob, b.attested(ctx, j, g)
}
