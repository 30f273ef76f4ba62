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

// checkOf is the check run tac/policy: the whole decision, for GitHub and for
// people. Waiting is in progress, deny is failure, allow is success; never
// neutral or skipped, which GitHub takes for a pass.
func checkOf(j *judgement, set *policies.Set) world.Check {
	c := world.Check{Head: j.pull.Head, Title: checkTitle(j)}
	switch {
	case j.noGrant:
		c.Conclusion, c.Summary = "success", "This pull request touches no grant."
		return c
	case j.verdict.Ruling == grants.Yes:
		c.Conclusion = "success"
	case j.verdict.Ruling == grants.No:
		c.Conclusion = "failure"
	}
	if j.grant.ID == "" {
		c.Summary = fencedOrInert(j.verdict.Why)
		return c
	}
	c.Summary = pullBody(j, set)
	return c
}

func checkTitle(j *judgement) string {
	switch {
	case j.noGrant:
		return "not a grant"
	case j.verdict.Ruling == grants.Yes:
		return whyAllowed(j)
	case j.verdict.Ruling == grants.No:
		return "denied: " + firstLine(j.verdict.Why)
	case len(j.count.Blocked) > 0:
		return firstLine(j.verdict.Why)
	}
	var needs []string
	for _, need := range j.count.Missing {
		needs = append(needs, fmt.Sprintf("%s from %s", countOf(need.Required, "approval"), list(need.Roles, 3)))
	}
	if len(needs) == 0 {
		return firstLine(j.verdict.Why)
	}
	title := "waiting for " + strings.Join(needs, " and ")
	if len(j.decision.Silent) > 0 {
		title += ": " + printable(strings.Join(j.decision.Silent, "; "))
	}
	return title
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return printable(line)
}

// tell keeps the grant's one message in chat up to date. Chat is told last
// and holds nothing up; what it missed it learns at the next look.
func (b *Bot) tell(ctx context.Context, id grants.ID, phase grants.Phase, s *sight) error {
	r := s.Request
	if b.Chat == nil || r == nil {
		return nil
	}
	if err := b.tellAsked(ctx, phase, s); err != nil {
		return err
	}
	r = s.Request
	if r.Chat.Channel == "" || s.grant.ID == "" {
		return nil
	}
	notice := grantNotice(id, phase, s, b.view(id, phase, s))
	said := digest(fmt.Sprintf("%+v", notice))
	switch {
	case r.Chat.Said == said && r.Chat.Message != "":
		return nil
	case r.Chat.Message != "":
		err := b.Chat.Update(ctx, r.Chat.Channel, r.Chat.Message, notice)
		if errors.Is(err, world.ErrLost) {
			r.Chat.Message = "" // it was deleted: the next look posts a new one
			return b.Vault.PutRequest(ctx, r)
		}
		if err != nil {
			return fmt.Errorf("edit the message: %w", err)
		}
	default:
		// Note first that somebody is about to post: after a crash the
		// next look searches for the message instead of posting twice.
		look := r.Chat.Posting
		r.Chat.Posting = true
		if err := b.Vault.PutRequest(ctx, r); err != nil {
			return err
		}
		ts, err := b.Chat.Post(ctx, r.Chat.Channel, string(id), notice, look)
		if err != nil {
			return fmt.Errorf("post the message: %w", err)
		}
		r.Chat.Message = ts
	}
	r.Chat.Said = said
	return b.Vault.PutRequest(ctx, r)
}

// warn tells the holder that the end is near, or returns after what time it is
// to be tried again.
func (b *Bot) warn(ctx context.Context, s *sight) (wait time.Duration, later bool) {
	if b.Chat == nil || s.main == nil {
		return 0, false
	}
	p, ok := s.main.set.Person(s.grant.Requester.ID)
	if !ok || p.Slack == "" {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	err := b.Chat.Direct(ctx, p.Slack, endingNotice(s))
	if err == nil {
		return 0, false
	}
	b.Log.Warn("the holder was not warned", "grant", s.grant.ID, "error", err)
	return unsaid(err)
}
