package githubpr

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants/world"
)

// keyForm is what a key may be made of: it becomes part of a comment in HTML.
var keyForm = regexp.MustCompile(`^[a-z0-9]+([-/.][a-z0-9]+)*$`)

const maxKey = 200

// keyLine ends the body of each issue that we open. People do not see it.
// Only the last line of a body counts, which is always ours: what people wrote
// stands above it and cannot pass for the key of another issue.
func keyLine(key string) string { return "<!-- tac: " + key + " -->" }

// OpenIssue opens an issue, or returns the one that our App opened with the
// same key and labels before, open or closed. A crash between opening and
// noting the number does not open it twice, and where two replicas open it at
// once the older one stays: the other is closed as unwanted.
//
// Where the answer was lost and no such issue is to be seen, the error is
// world.ErrAmbiguous.
func (c *Client) OpenIssue(ctx context.Context, i world.NewIssue) (world.Issue, error) {
	doing := "open the issue " + i.Key
	if len(i.Key) > maxKey || !keyForm.MatchString(i.Key) || strings.TrimSpace(i.Title) == "" {
		return world.Issue{}, errors.New(doing + ": a title, and a key of a-z and 0-9 with single - / . in between, are needed")
	}
	before, found, err := c.oldestIssue(ctx, i)
	switch {
	case err != nil:
		return world.Issue{}, fmt.Errorf("%s: %w", doing, err)
	case found:
		return before, nil
	}
	ending := "\n\n" + keyLine(i.Key)
	body := clip(strings.TrimRight(i.Body, "\n"), maxText-len(ending), cutNote) + ending
	ask := &github.IssueRequest{Title: github.String(clip(i.Title, maxTitle, "...")), Body: &body}
	if len(i.Labels) > 0 {
		ask.Labels = &i.Labels
	}
	made, _, err := c.api.Issues.Create(ctx, c.cfg.Owner, c.cfg.Repo, ask)
	if err != nil {
		failure := c.failed(doing, err)
		if unsettled(failure) {
			return c.settleIssue(ctx, i, fmt.Errorf("%w: %w", failure, world.ErrAmbiguous))
		}
		return world.Issue{}, failure
	}
	opened, err := issueOf(made)
	if err != nil {
		return c.settleIssue(ctx, i, fmt.Errorf("%s: %w: %w", doing, err, world.ErrAmbiguous))
	}
	return c.yieldIssue(ctx, i, opened)
}

// settleIssue looks for an issue whose opening was not answered, and returns
// failure where it finds none.
func (c *Client) settleIssue(ctx context.Context, i world.NewIssue, failure error) (world.Issue, error) {
	if ctx.Err() != nil {
		return world.Issue{}, failure
	}
	before, found, err := c.oldestIssue(ctx, i)
	switch {
	case err != nil:
		return world.Issue{}, fmt.Errorf("%w (and looking for it: %s)", failure, err)
	case !found:
		return world.Issue{}, failure
	}
	return before, nil
}

// yieldIssue closes the issue that was just opened where another replica had
// opened one before, and returns the one that stays. Where it cannot look, the
// new one is as good: it was the first that this replica knows of.
func (c *Client) yieldIssue(ctx context.Context, i world.NewIssue, opened world.Issue) (world.Issue, error) {
	oldest, found, err := c.oldestIssue(ctx, i)
	if err != nil || !found || oldest.Number >= opened.Number {
		return opened, nil
	}
	_, _, err = c.api.Issues.Edit(ctx, c.cfg.Owner, c.cfg.Repo, opened.Number, &github.IssueRequest{
		State: github.String("closed"), StateReason: github.String("not_planned"),
	})
	if err != nil {
		return world.Issue{}, c.failed(fmt.Sprintf("close issue %d, which says what %d says", opened.Number, oldest.Number), err)
	}
	return oldest, nil
}

// oldestIssue finds the first issue that our App opened with this key.
func (c *Client) oldestIssue(ctx context.Context, i world.NewIssue) (world.Issue, bool, error) {
	bot, err := c.ownAccount(ctx)
	if err != nil {
		return world.Issue{}, false, err
	}
	listed, err := all(func(at github.ListOptions) ([]*github.Issue, *github.Response, error) {
		return c.api.Issues.ListByRepo(ctx, c.cfg.Owner, c.cfg.Repo, &github.IssueListByRepoOptions{
			State: "all", Creator: bot.login, Labels: i.Labels, Sort: "created", Direction: "asc", ListOptions: at,
		})
	})
	if err != nil {
		return world.Issue{}, false, c.failed("list our issues", err)
	}
	for _, l := range listed {
		lines := strings.Split(strings.TrimRight(l.GetBody(), "\r\n"), "\n")
		if l.GetUser().GetID() == bot.id && !l.IsPullRequest() && lines[len(lines)-1] == keyLine(i.Key) {
			// A list does not say who closed it.
			found, err := c.Issue(ctx, l.GetNumber())
			return found, err == nil, err
		}
	}
	return world.Issue{}, false, nil
}

// Issue returns one issue. One that was deleted or moved to another
// repository, or never was, is world.ErrNotFound.
func (c *Client) Issue(ctx context.Context, number int) (world.Issue, error) {
	doing := fmt.Sprintf("read issue %d", number)
	got, _, err := c.api.Issues.Get(withETag(ctx), c.cfg.Owner, c.cfg.Repo, number)
	if err != nil {
		failure := c.failed(doing, err)
		if answered(failure, 404) || answered(failure, 410) || answered(failure, 301) {
			return world.Issue{}, fmt.Errorf("%w: %w", failure, world.ErrNotFound)
		}
		return world.Issue{}, failure
	}
	i, err := issueOf(got)
	switch {
	case err != nil:
		return world.Issue{}, fmt.Errorf("%s: %w", doing, err)
	case i.Number != number:
		return world.Issue{}, fmt.Errorf("%s: the answer is about %d", doing, i.Number)
	case got.IsPullRequest():
		return world.Issue{}, fmt.Errorf("%s: it is a pull request", doing)
	}
	return i, nil
}

// issueOf translates an issue. Whoever closed it is a human being only where
// GitHub says so.
func issueOf(i *github.Issue) (world.Issue, error) {
	out := world.Issue{Number: i.GetNumber(), URL: i.GetHTMLURL(), Open: i.GetState() == "open"}
	if out.Number <= 0 || i.GetState() != "open" && i.GetState() != "closed" {
		return world.Issue{}, fmt.Errorf("issue %d has no number or state", out.Number)
	}
	if out.Open {
		return out, nil
	}
	out.ClosedBy = personOf(i.GetClosedBy())
	out.ClosedBot = i.GetClosedBy().GetType() != "User"
	out.ClosedAt = i.GetClosedAt().UTC()
	out.Completed = i.GetStateReason() == "completed"
	return out, nil
}
