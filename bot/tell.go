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
	if len(r.Unasked) > 0 {
		if err := b.askAgain(ctx, phase, s); err != nil {
			return err
		}
	}
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

// grantNotice is the one message about a grant.
func grantNotice(id grants.ID, phase grants.Phase, s *sight, v View) world.Notice {
	g := s.grant
	n := world.Notice{
		Title: fmt.Sprintf("%s for %s, %s: %s", g.Resource, g.Requester.GitHub, grants.FormatDuration(g.Duration), phase),
		Lines: []string{reasonText(g)},
		Link:  v.URL,
		Facts: []world.Fact{{Name: "Grant", Value: string(id)}},
	}
	fact := func(name, value string) {
		if value != "" {
			n.Facts = append(n.Facts, world.Fact{Name: name, Value: value})
		}
	}
	fact("Ticket", g.Ticket)
	fact("Rule", v.Rule)
	fact("Approved by", strings.Join(v.Approvers, ", "))
	fact("Waiting for", strings.Join(v.WaitingFor, ", "))
	if r := s.Record; r != nil {
		fact("Until", clockText(r.EffectiveEnd()))
		if r.Outcome != "" {
			fact("Ended", fmt.Sprintf("%s by %s", r.Outcome, r.EndedBy))
		}
	}
	if v.Why != "" && phase != grants.PhaseActive && phase != grants.PhaseApproved {
		n.Lines = append(n.Lines, firstLine(v.Why))
	}
	switch phase {
	case grants.PhaseApproved:
		n.Lines = append(n.Lines, "To take the credential: tac access get "+string(id))
		n.Buttons = []world.Button{{Action: "get", Value: string(id), Label: "Get credential"}, dropButton(id)}
	case grants.PhaseActive, grants.PhaseScheduled, grants.PhaseRequested:
		n.Buttons = []world.Button{dropButton(id)}
	}
	return n
}

func dropButton(id grants.ID) world.Button {
	return world.Button{Action: "drop", Value: string(id), Label: "I am done"}
}

func clockText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// credentialNotice carries the single-use token, to its owner alone.
func credentialNotice(s *sight, c *world.Credential) world.Notice {
	return world.Notice{
		Title:  fmt.Sprintf("Your credential for %s", s.grant.Resource),
		Lines:  []string{fmt.Sprintf("It opens once, until %s; the access itself ends at %s.", clockText(c.WrappedUntil), clockText(s.Record.EndsAt))},
		Facts:  []world.Fact{{Name: "Grant", Value: string(s.grant.ID)}},
		Secret: c.Wrapped,
		SecretHint: "Open it with `vault unwrap`, or leave it alone and run: tac access get " + string(s.grant.ID) +
			" --replace. If somebody else opened it before you, press \"I am done\" at once and tell security.",
	}
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

// askAgain tells those whom chat would not let us tell before, while they are
// still waited for.
func (b *Bot) askAgain(ctx context.Context, phase grants.Phase, s *sight) error {
	r := s.Request
	var people []policies.Person
	switch {
	case phase != grants.PhaseRequested: // it needs nobody any more
	case s.judgement == nil:
		return nil // GitHub did not say today
	default:
		people = slices.DeleteFunc(missingPeople(s.judgement.count), func(p policies.Person) bool { return !slices.Contains(r.Unasked, p.Slack) })
	}
	before := len(r.Unasked)
	var wait time.Duration
	if r.Unasked, wait = b.tellApprovers(ctx, s, people); len(r.Unasked) > 0 {
		b.queue.AddAfter(item{grant: s.grant.ID}, wait)
	}
	if len(r.Unasked) == before {
		return nil
	}
	return b.Vault.PutRequest(ctx, r)
}

// tellApprovers tells those who were asked, each in private. It returns the
// chat user ids of those who have to be told later, and how much.
func (b *Bot) tellApprovers(ctx context.Context, s *sight, people []policies.Person) (unasked []string, wait time.Duration) {
	if b.Chat == nil {
		return nil, 0
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	g := s.grant
	for _, p := range people {
		if p.Slack == "" {
			continue
		}
		n := world.Notice{
			Title: fmt.Sprintf("%s asks for %s, %s", g.Requester.GitHub, g.Resource, grants.FormatDuration(g.Duration)),
			Lines: []string{reasonText(g), "You may approve this by an approving review of the pull request."},
			Link:  s.judgement.pull.URL,
			Facts: []world.Fact{{Name: "Grant", Value: string(g.ID)}},
		}
		if err := b.Chat.Direct(ctx, p.Slack, n); err != nil {
			b.Log.Warn("an approver was not told", "grant", g.ID, "approver", p.ID, "error", err)
			if again, later := unsaid(err); later {
				unasked, wait = append(unasked, p.Slack), max(wait, again)
			}
		}
	}
	return unasked, wait
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
	n := world.Notice{
		Title:   fmt.Sprintf("%s ends at %s", s.grant.Resource, clockText(s.Record.EffectiveEnd())),
		Lines:   []string{"Ask again if you need longer; open sessions are cut at the end."},
		Facts:   []world.Fact{{Name: "Grant", Value: string(s.grant.ID)}},
		Buttons: []world.Button{dropButton(s.grant.ID)},
	}
	err := b.Chat.Direct(ctx, p.Slack, n)
	if err == nil {
		return 0, false
	}
	b.Log.Warn("the holder was not warned", "grant", s.grant.ID, "error", err)
	return unsaid(err)
}
