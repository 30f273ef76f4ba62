package githubpr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

const (
	pageSize     = 100 // GitHub's most
	maxPagesRead = 200
)

var errCutShort = errors.New("the list is cut short")

// all reads every page of a list. An answer without a list is an error:
// go-github takes an empty body for an empty list.
func all[T any](fetch func(github.ListOptions) ([]T, *github.Response, error)) ([]T, error) {
	var items []T
	at := github.ListOptions{PerPage: pageSize, Page: 1}
	for range maxPagesRead {
		page, resp, err := fetch(at)
		if err != nil {
			return nil, err
		}
		if page == nil {
			return nil, errCutShort
		}
		items = append(items, page...)
		if resp.NextPage == 0 {
			return items, nil
		}
		at.Page = resp.NextPage
	}
	return nil, errCutShort
}

// OpenPulls returns all open pull requests to the default branch, oldest
// first. Where one is closed while the pages are read, another may be missed
// this time; the next sweep sees it.
func (c *Client) OpenPulls(ctx context.Context) ([]world.Pull, error) {
	const doing = "list the open pull requests"
	found, err := c.listPulls(withETag(ctx), "")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", doing, err)
	}
	return found, nil
}

// listPulls lists the open pull requests to the default branch, of one head
// ("owner:branch") where it is given.
func (c *Client) listPulls(ctx context.Context, head string) ([]world.Pull, error) {
	listed, err := all(func(at github.ListOptions) ([]*github.PullRequest, *github.Response, error) {
		return c.api.PullRequests.List(ctx, c.cfg.Owner, c.cfg.Repo, &github.PullRequestListOptions{
			State: "open", Head: head, Base: c.cfg.Branch, Sort: "created", Direction: "asc", ListOptions: at,
		})
	})
	if err != nil {
		return nil, c.translate(err)
	}
	pulls := make([]world.Pull, 0, len(listed))
	seen := map[int]bool{}
	for _, l := range listed {
		p, err := pullOf(l)
		if err != nil {
			return nil, err
		}
		// The base is compared again: only a branch of exactly that name will do.
		if !seen[p.Number] && p.Open && p.Base == c.cfg.Branch {
			pulls = append(pulls, p)
		}
		seen[p.Number] = true
	}
	return pulls, nil
}

// Pull returns one pull request. One that does not exist is an error.
func (c *Client) Pull(ctx context.Context, number int) (world.Pull, error) {
	doing := fmt.Sprintf("read pull request %d", number)
	ctx = withETag(ctx)
	got, _, err := c.api.PullRequests.Get(ctx, c.cfg.Owner, c.cfg.Repo, number)
	if err != nil {
		failure := c.failed(doing, err)
		if answered(failure, 404) {
			return world.Pull{}, fmt.Errorf("%w: %w", failure, world.ErrNotFound)
		}
		return world.Pull{}, failure
	}
	p, err := pullOf(got)
	if err != nil {
		return world.Pull{}, fmt.Errorf("%s: %w", doing, err)
	}
	if p.Number != number {
		return world.Pull{}, fmt.Errorf("%s: the answer is about %d", doing, p.Number)
	}
	return p, nil
}

// pullOf translates a pull request. Before the merge GitHub's
// merge_commit_sha is a trial merge that means nothing, so it is left out.
func pullOf(p *github.PullRequest) (world.Pull, error) {
	head, base := p.GetHead(), p.GetBase()
	headRepo, baseRepo := head.GetRepo().GetID(), base.GetRepo().GetID()
	out := world.Pull{
		Number:    p.GetNumber(),
		Title:     p.GetTitle(),
		Head:      head.GetSHA(),
		Branch:    head.GetRef(),
		Base:      base.GetRef(),
		SameRepo:  headRepo != 0 && headRepo == baseRepo, // a deleted fork has none
		Author:    personOf(p.GetUser()),
		AuthorBot: p.GetUser().GetType() == "Bot",
		Draft:     p.GetDraft(),
		Open:      p.GetState() == "open",
		Merged:    p.GetMerged() || !p.GetMergedAt().IsZero(), // lists have no merged
		CreatedAt: p.GetCreatedAt().UTC(),
		URL:       p.GetHTMLURL(),
	}
	if out.Number <= 0 || !hashForm.MatchString(out.Head) || out.Base == "" {
		return world.Pull{}, fmt.Errorf("pull request %d has no number, head or base", out.Number)
	}
	if !out.Merged {
		return out, nil
	}
	out.MergedBy = p.GetMergedBy().GetID()
	out.MergedAt = p.GetMergedAt().UTC()
	out.Commit = p.GetMergeCommitSHA()
	if !hashForm.MatchString(out.Commit) {
		return world.Pull{}, fmt.Errorf("pull request %d is merged but has no merge commit", out.Number)
	}
	return out, nil
}

// personOf is an account; the zero Principal stands for a deleted one.
func personOf(u *github.User) grants.Principal {
	return grants.Principal{GitHub: u.GetLogin(), ID: u.GetID()}
}

// Reviews returns all reviews of a pull request, oldest first, as they are:
// which of them count is not judged here.
func (c *Client) Reviews(ctx context.Context, number int) ([]policies.Review, error) {
	doing := fmt.Sprintf("list the reviews of pull request %d", number)
	ctx = withETag(ctx)
	listed, err := all(func(at github.ListOptions) ([]*github.PullRequestReview, *github.Response, error) {
		return c.api.PullRequests.ListReviews(ctx, c.cfg.Owner, c.cfg.Repo, number, &at)
	})
	if err != nil {
		return nil, c.failed(doing, err)
	}
	reviews := make([]policies.Review, 0, len(listed))
	for _, r := range listed {
		if r.GetID() <= 0 || r.GetState() == "" {
			return nil, fmt.Errorf("%s: a review has no id or state", doing)
		}
		reviews = append(reviews, policies.Review{
			ID: r.GetID(), User: personOf(r.GetUser()), UserType: r.GetUser().GetType(),
			State: policies.ReviewState(r.GetState()), CommitID: r.GetCommitID(), SubmittedAt: submittedAt(r),
		})
	}
	// GitHub lists them so already; what later ones undo depends on it.
	slices.SortStableFunc(reviews, func(a, b policies.Review) int {
		return cmp.Or(a.SubmittedAt.Compare(b.SubmittedAt), cmp.Compare(a.ID, b.ID))
	})
	return reviews, nil
}

// submittedAt is zero for a pending review; its time zone is UTC otherwise.
func submittedAt(r *github.PullRequestReview) time.Time {
	if r.SubmittedAt == nil {
		return time.Time{}
	}
	return r.GetSubmittedAt().UTC()
}

// maxCommits is how many commits of a pull request GitHub lists, without a
// word about there being more.
const maxCommits = 250

// Committers returns, in rising order, the numeric ids of everybody who
// authored or committed on the pull request; 0 stands for one GitHub does not
// know. GitHub goes by the addresses in the commits, which whoever pushes
// may choose: the answer is good for shutting people out, not for letting
// them in.
//
// GitHub itself, as the committer of what was edited in the browser, is left
// out where its signature holds.
func (c *Client) Committers(ctx context.Context, number int) ([]int64, error) {
	doing := fmt.Sprintf("list the commits of pull request %d", number)
	ctx = withETag(ctx)
	listed, err := all(func(at github.ListOptions) ([]*github.RepositoryCommit, *github.Response, error) {
		return c.api.PullRequests.ListCommits(ctx, c.cfg.Owner, c.cfg.Repo, number, &at)
	})
	if err != nil {
		return nil, c.failed(doing, err)
	}
	if len(listed) >= maxCommits {
		return nil, fmt.Errorf("%s: there are %d or more, and github lists no more than that", doing, maxCommits)
	}
	if len(listed) == 0 {
		return nil, fmt.Errorf("%s: there are none", doing)
	}
	var ids []int64
	for _, commit := range listed {
		ids = append(ids, commit.GetAuthor().GetID())
		byGitHub := commit.GetCommitter().GetLogin() == "web-flow" && commit.GetCommit().GetVerification().GetVerified()
		if !byGitHub {
			ids = append(ids, commit.GetCommitter().GetID())
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
