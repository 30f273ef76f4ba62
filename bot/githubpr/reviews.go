package githubpr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// Review submits a review as the person whose token it is, on exactly r.Head,
// and returns its id. It is that person's own act: GitHub judges it by their
// rights, shows it as theirs, and Reviews reads it back like any other. Our
// App's own token has no part in it.
//
// A review that says the same, and is the last that this person said about
// that head, is not submitted again: its id is returned. So repeating is safe.
//
// The errors that callers tell apart:
//   - world.ErrLost: the pull request is closed or has another head;
//     nothing was submitted.
//   - world.ErrNotOurs: the token is dead or none of our App, or GitHub does
//     not let this person say that (their own pull request, no access, a
//     review that they began on GitHub and have not sent yet). GitHub's words
//     are in the error.
//   - world.ErrAmbiguous: the answer was lost and the review is not, or not
//     yet, to be seen. It may be there; whoever goes by Reviews goes by what
//     is there.
func (c *Client) Review(ctx context.Context, token world.Secret, r world.NewReview) (int64, error) {
	doing := fmt.Sprintf("submit a review of pull request %d", r.Pull)
	switch {
	case r.Pull <= 0 || !hashForm.MatchString(r.Head):
		// Without a commit GitHub would take whatever the head is.
		return 0, errors.New(doing + ": a number and a head are needed")
	case !r.Approve && strings.TrimSpace(r.Body) == "":
		return 0, errors.New(doing + ": whoever denies has to say why")
	}
	r.Body = clip(r.Body, maxText, cutNote)
	who, err := c.User(ctx, token)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	p, err := c.Pull(ctx, r.Pull)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	if !p.Open || p.Head != r.Head {
		return 0, fmt.Errorf("%s at %s: it is closed, or has another head (%s): %w", doing, r.Head, p.Head, world.ErrLost)
	}
	said, err := c.said(ctx, who, r)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", doing, err)
	}
	if said > 0 {
		return said, nil
	}
	return c.submit(ctx, token, who, r)
}

// said returns the id of the person's review that says what r says, if that is
// their last word about this head; 0 for none.
func (c *Client) said(ctx context.Context, who grants.Principal, r world.NewReview) (int64, error) {
	listed, err := all(func(at github.ListOptions) ([]*github.PullRequestReview, *github.Response, error) {
		return c.api.PullRequests.ListReviews(ctx, c.cfg.Owner, c.cfg.Repo, r.Pull, &at)
	})
	if err != nil {
		return 0, c.failed("list the reviews", err)
	}
	last := int64(0)
	for _, l := range listed { // oldest first
		if l.GetUser().GetID() != who.ID || l.GetCommitID() != r.Head || l.GetState() == "COMMENTED" || l.GetState() == "PENDING" {
			continue
		}
		last = 0
		if l.GetState() == stateOf(r) && strings.TrimSpace(l.GetBody()) == strings.TrimSpace(r.Body) {
			last = l.GetID()
		}
	}
	return last, nil
}

// stateOf is how GitHub shows the review once it is there.
func stateOf(r world.NewReview) string {
	if r.Approve {
		return string(policies.ReviewApproved)
	}
	return string(policies.ReviewChangesRequested)
}

func (c *Client) submit(ctx context.Context, token world.Secret, who grants.Principal, r world.NewReview) (int64, error) {
	doing := fmt.Sprintf("submit a review of pull request %d", r.Pull)
	event := "REQUEST_CHANGES"
	if r.Approve {
		event = "APPROVE"
	}
	made, _, err := c.as(token).PullRequests.CreateReview(ctx, c.cfg.Owner, c.cfg.Repo, r.Pull, &github.PullRequestReviewRequest{
		CommitID: &r.Head, Event: &event, Body: &r.Body,
	})
	if err == nil {
		if made.GetID() > 0 && made.GetUser().GetID() == who.ID && made.GetCommitID() == r.Head && made.GetState() == stateOf(r) {
			return made.GetID(), nil
		}
		return c.settleReview(ctx, who, r, fmt.Errorf("%s: the answer is not that review: %w", doing, world.ErrAmbiguous))
	}
	failure := fmt.Errorf("%s: %w", doing, without(token, c.translate(err)))
	switch {
	case unsettled(failure):
		return c.settleReview(ctx, who, r, fmt.Errorf("%w: %w", failure, world.ErrAmbiguous))
	case answered(failure, 422) && (says(failure, "commit_id") || says(failure, "not part of the pull request")):
		return 0, fmt.Errorf("%w: %w", failure, world.ErrLost) // it moved after we looked
	case answered(failure, 401), answered(failure, 403), answered(failure, 404), answered(failure, 422):
		// Our App has just read the pull request, so it is there: that the
		// person does not find it means that they may not.
		return 0, fmt.Errorf("%w: %w", failure, world.ErrNotOurs)
	}
	return 0, failure
}

// settleReview looks whether the review is there after all, and returns
// failure where it is not to be seen or nobody can tell.
func (c *Client) settleReview(ctx context.Context, who grants.Principal, r world.NewReview, failure error) (int64, error) {
	if ctx.Err() != nil {
		return 0, failure
	}
	id, err := c.said(ctx, who, r)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w (and looking for it: %s)", failure, err)
	case id == 0:
		return 0, failure
	}
	return id, nil
}

// as returns GitHub as one person sees it, for one call. It shares connections
// with nobody else's calls but other people's, and keeps no state: neither
// their limits nor their answers are ours.
func (c *Client) as(token world.Secret) *github.Client {
	return c.cfg.client(&bearer{token: token, next: &wire{next: c.people, clock: c.clock}})
}

// bearer adds a person's token to a call.
type bearer struct {
	token world.Secret
	next  http.RoundTripper
}

func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	return b.next.RoundTrip(req)
}

// without makes sure that a translated error does not hold a token, in
// whatever form somebody in between may have echoed it.
func without(token world.Secret, err error) error {
	clean := func(text string) string { return strings.ReplaceAll(text, token.Reveal(), "[redacted]") }
	var answer *answerError
	var lost *lostError
	switch {
	case errors.As(err, &answer):
		return &answerError{status: answer.status, sentence: clean(answer.sentence)}
	case errors.As(err, &lost):
		return &lostError{text: clean(lost.text), cause: lost.cause}
	}
	return err
}
