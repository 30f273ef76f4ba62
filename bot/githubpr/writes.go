package githubpr

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants/world"
)

const (
	checkName = "tac/policy"
	// maxText is how long a body or a summary may be. GitHub counts
	// characters; bytes are never fewer.
	maxText  = 65_535
	maxTitle = 255
)

const cutNote = "\n\n... (cut here: GitHub takes no more)"

// clip cuts a text to max bytes, at a rune, and says so where there is room.
func clip(text string, max int, note string) string {
	if len(text) <= max {
		return text
	}
	end := max - len(note)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + note
}

// Open opens a pull request from a branch of the repository itself, or
// returns the one that is open for the branch already. Where the answer was
// lost and no pull request is to be seen, the error is world.ErrAmbiguous.
func (c *Client) Open(ctx context.Context, p world.NewPull) (world.Pull, error) {
	doing := "open a pull request for " + p.Branch
	made, _, err := c.api.PullRequests.Create(ctx, c.cfg.Owner, c.cfg.Repo, &github.NewPullRequest{
		Title: github.String(clip(p.Title, maxTitle, "...")), Body: github.String(clip(p.Body, maxText, cutNote)),
		Head: github.String(p.Branch), Base: github.String(c.cfg.Branch),
	})
	if err == nil {
		pull, err := pullOf(made)
		if err == nil {
			return pull, nil
		}
		return c.findOpen(ctx, p.Branch, fmt.Errorf("%s: %w: %w", doing, err, world.ErrAmbiguous))
	}
	failure := c.failed(doing, err)
	switch {
	case answered(failure, 422) && says(failure, "a pull request already exists"):
		return c.findOpen(ctx, p.Branch, failure)
	case unsettled(failure):
		return c.findOpen(ctx, p.Branch, fmt.Errorf("%w: %w", failure, world.ErrAmbiguous))
	}
	return world.Pull{}, failure
}

// findOpen looks for the open pull request of a branch, and returns failure
// where it finds none.
func (c *Client) findOpen(ctx context.Context, branch string, failure error) (world.Pull, error) {
	if ctx.Err() != nil {
		return world.Pull{}, failure
	}
	found, err := c.listPulls(ctx, c.cfg.Owner+":"+branch)
	if err != nil {
		return world.Pull{}, fmt.Errorf("%w (and looking for it: %s)", failure, err)
	}
	for _, p := range found {
		if p.SameRepo && p.Branch == branch {
			return p, nil
		}
	}
	return world.Pull{}, failure
}

// Describe replaces a pull request's body. A body that is too long is cut,
// and says so.
func (c *Client) Describe(ctx context.Context, number int, body string) error {
	_, _, err := c.api.PullRequests.Edit(ctx, c.cfg.Owner, c.cfg.Repo, number, &github.PullRequest{
		Body: github.String(clip(body, maxText, cutNote)),
	})
	if err != nil {
		return c.failed(fmt.Sprintf("describe pull request %d", number), err)
	}
	return nil
}

// Check says the verdict on a head: it creates the check run, or updates the
// one with the given id, and returns the id it now has. GitHub may keep a
// verdict that was final; then a new run takes its place.
func (c *Client) Check(ctx context.Context, id int64, check world.Check) (int64, error) {
	doing := "set the check on " + check.Head
	if !hashForm.MatchString(check.Head) {
		return 0, fmt.Errorf("%s: that is not a commit", doing)
	}
	status, conclusion := "completed", github.String(check.Conclusion)
	switch check.Conclusion {
	case "success", "failure":
	case "":
		status, conclusion = "in_progress", nil
	default: // neutral and skipped would count as passing
		return 0, fmt.Errorf("%s: %q is not a conclusion of ours", doing, check.Conclusion)
	}
	output := &github.CheckRunOutput{
		Title:   github.String(clip(check.Title, maxTitle, "...")),
		Summary: github.String(clip(check.Summary, maxText, cutNote)),
	}
	if id != 0 {
		run, _, err := c.api.Checks.UpdateCheckRun(ctx, c.cfg.Owner, c.cfg.Repo, id, github.UpdateCheckRunOptions{
			Name: checkName, Status: &status, Conclusion: conclusion, Output: output,
		})
		if err != nil {
			return 0, c.failed(doing, err)
		}
		if saysSo(run, check.Head, status, check.Conclusion) {
			return id, nil
		}
	}
	run, _, err := c.api.Checks.CreateCheckRun(ctx, c.cfg.Owner, c.cfg.Repo, github.CreateCheckRunOptions{
		Name: checkName, HeadSHA: check.Head, Status: &status, Conclusion: conclusion, Output: output,
	})
	if err != nil {
		return 0, c.failed(doing, err)
	}
	if run.GetID() <= 0 || !saysSo(run, check.Head, status, check.Conclusion) {
		return 0, fmt.Errorf("%s: the check run does not say what it was told", doing)
	}
	return run.GetID(), nil
}

func saysSo(run *github.CheckRun, head, status, conclusion string) bool {
	return run.GetHeadSHA() == head && run.GetStatus() == status && run.GetConclusion() == conclusion
}

// Passed reports whether the latest of our check runs on a head says success.
// There may be several of the one name, and none that says otherwise.
func (c *Client) Passed(ctx context.Context, head string) (bool, error) {
	doing := "read the check on " + head
	if !hashForm.MatchString(head) {
		return false, fmt.Errorf("%s: that is not a commit", doing)
	}
	found, _, err := c.api.Checks.ListCheckRunsForRef(ctx, c.cfg.Owner, c.cfg.Repo, head, &github.ListCheckRunsOptions{
		CheckName: github.String(checkName), Filter: github.String("latest"), AppID: &c.cfg.AppID,
	})
	if err != nil {
		return false, c.failed(doing, err)
	}
	for _, run := range found.CheckRuns {
		if !saysSo(run, head, "completed", "success") {
			return false, nil
		}
	}
	return len(found.CheckRuns) > 0, nil
}

// AskReview requests reviews. GitHub refuses the whole request where it will
// not ask one of the people; then they are asked one by one.
func (c *Client) AskReview(ctx context.Context, number int, logins []string) error {
	doing := fmt.Sprintf("ask for reviews of pull request %d", number)
	if len(logins) == 0 {
		return nil
	}
	ask := func(logins ...string) error {
		_, _, err := c.api.PullRequests.RequestReviewers(ctx, c.cfg.Owner, c.cfg.Repo, number, github.ReviewersRequest{Reviewers: logins})
		if err != nil {
			return c.failed(doing, err)
		}
		return nil
	}
	err := ask(logins...)
	if !answered(err, 422) {
		return err
	}
	if len(logins) == 1 {
		return nil
	}
	for _, login := range logins {
		if err := ask(login); err != nil && !answered(err, 422) {
			return err
		}
	}
	return nil
}

// Merge squashes exactly head, with our own words as the commit's message,
// and returns the merge commit. A pull request that was merged at this head
// before is a success. world.ErrLost: the head or the base has moved.
// world.ErrAmbiguous: the answer was lost and the pull request is not, or not
// yet, seen as merged. Any other error has GitHub's reason and merged nothing.
func (c *Client) Merge(ctx context.Context, number int, head, subject, message string) (string, error) {
	doing := fmt.Sprintf("merge pull request %d", number)
	if !hashForm.MatchString(head) || subject == "" {
		// Without a head GitHub would merge whatever is there.
		return "", fmt.Errorf("%s: a head and a subject are needed", doing)
	}
	done, _, err := c.api.PullRequests.Merge(ctx, c.cfg.Owner, c.cfg.Repo, number, message, &github.PullRequestOptions{
		CommitTitle: subject, SHA: head, MergeMethod: "squash", DontDefaultIfBlank: true,
	})
	if err == nil && done.GetMerged() && hashForm.MatchString(done.GetSHA()) {
		return done.GetSHA(), nil
	}
	failure := fmt.Errorf("%s: the answer has no merge commit", doing)
	if err != nil {
		failure = c.failed(doing, err)
	}
	switch {
	case err == nil, unsettled(failure):
		failure = fmt.Errorf("%w: %w", failure, world.ErrAmbiguous)
	case answered(failure, 409), says(failure, "base branch was modified"):
		return "", fmt.Errorf("%w: %w", failure, world.ErrLost)
	case !answered(failure, 405):
		return "", failure
	}
	return c.settle(ctx, number, head, failure)
}

// settle reads whether the pull request is merged, and returns failure where
// it is not or nobody can tell.
func (c *Client) settle(ctx context.Context, number int, head string, failure error) (string, error) {
	if ctx.Err() != nil {
		return "", failure
	}
	p, err := c.Pull(ctx, number)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w (and looking whether it was: %s)", failure, err)
	case p.Merged && p.Head == head:
		return p.Commit, nil
	case p.Merged:
		return "", fmt.Errorf("merge pull request %d: it was merged at another head: %w", number, world.ErrLost)
	}
	return "", failure
}

// Close closes a pull request with a comment that says why. The comment comes
// first, so that nothing is closed without a reason; where we have said the
// same before, it is not said again.
func (c *Client) Close(ctx context.Context, number int, comment string) error {
	doing := fmt.Sprintf("close pull request %d", number)
	comment = clip(comment, maxText, cutNote)
	if comment != "" {
		if err := c.comment(ctx, number, comment); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	closed, _, err := c.api.PullRequests.Edit(ctx, c.cfg.Owner, c.cfg.Repo, number, &github.PullRequest{State: github.String("closed")})
	if err != nil {
		return c.failed(doing, err)
	}
	if closed.GetState() != "closed" {
		return errors.New(doing + ": it is still open")
	}
	return nil
}

func (c *Client) comment(ctx context.Context, number int, text string) error {
	bot, err := c.Bot(ctx)
	if err != nil {
		return err
	}
	said, err := all(func(at github.ListOptions) ([]*github.IssueComment, *github.Response, error) {
		return c.api.Issues.ListComments(ctx, c.cfg.Owner, c.cfg.Repo, number, &github.IssueListCommentsOptions{ListOptions: at})
	})
	if err != nil {
		return c.failed("list the comments", err)
	}
	for _, s := range said {
		if s.GetUser().GetID() == bot && strings.TrimSpace(s.GetBody()) == strings.TrimSpace(text) {
			return nil
		}
	}
	if _, _, err := c.api.Issues.CreateComment(ctx, c.cfg.Owner, c.cfg.Repo, number, &github.IssueComment{Body: &text}); err != nil {
		return c.failed("comment", err)
	}
	return nil
}
