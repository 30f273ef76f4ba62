package github

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
)

func (c *call) listReviews() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var shown []*review
	for _, r := range p.reviews {
		if r.state != "PENDING" || r.author == c.who.user {
			shown = append(shown, r)
		}
	}
	return ok(each(paginate(c, shown), func(r *review) object { return c.s.reviewJSON(p, r) }))
}

func (c *call) getReview() (answer, error) {
	p, r, err := c.review()
	if err != nil {
		return answer{}, err
	}
	return ok(c.s.reviewJSON(p, r))
}

func (c *call) review() (*pull, *review, error) {
	p, err := c.pull()
	if err != nil {
		return nil, nil, err
	}
	id, err := c.number("id")
	if err != nil {
		return nil, nil, err
	}
	for _, r := range p.reviews {
		if r.id == id {
			return p, r, nil
		}
	}
	return nil, nil, notFound()
}

func (c *call) createReview() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Body, Event string
		CommitID    string        `json:"commit_id"`
		Comments    []LineComment `json:"comments"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	r, err := c.s.addReview(p, c.who, in.Event, in.Body, in.CommitID, in.Comments...)
	if err != nil {
		return answer{}, err
	}
	return ok(c.s.reviewJSON(p, r))
}

// addReview records a review, with comments on lines. As on GitHub anybody who
// can read may approve: whether that means anything is for the reader of the
// review to judge. What is refused is to judge one's own pull request, and to
// begin a review while another one waits to be sent.
func (s *Server) addReview(p *pull, who actor, event, body, commit string, comments ...LineComment) (*review, error) {
	unprocessable := func(why string) error {
		return failure(http.StatusUnprocessableEntity, "Unprocessable Entity", why)
	}
	states := map[string]string{"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED", "": "PENDING"}
	state, known := states[event]
	own := who.user == p.author
	switch {
	case !known:
		return nil, invalid("PullRequestReview", "event", "invalid", "")
	case own && event == "APPROVE":
		return nil, unprocessable("Can not approve your own pull request")
	case own && event == "REQUEST_CHANGES":
		return nil, unprocessable("Can not request changes on your own pull request")
	case (event == "COMMENT" || event == "REQUEST_CHANGES") && body == "" && len(comments) == 0:
		return nil, invalid("PullRequestReview", "body", "missing_field", "")
	case p.begun(who.user):
		return nil, unprocessable("User can only have one pending review per pull request")
	}
	sha := p.headSHA
	if commit != "" {
		sha = plumbing.NewHash(commit)
		inside, err := p.repo.git.isAncestor(sha, p.headSHA)
		if err != nil || !inside && !p.wasHead(sha) {
			return nil, unprocessable("The commit_id is not part of the pull request")
		}
	}
	r := &review{id: s.nextID(), author: who.user, state: state, body: body, commit: sha}
	lines, err := s.lineComments(p, r, comments)
	if err != nil {
		return nil, err
	}
	p.reviews, p.lines = append(p.reviews, r), append(p.lines, lines...)
	if state == "PENDING" {
		return r, nil
	}
	s.submitted(p, who, r)
	return r, nil
}

func (s *Server) submitted(p *pull, who actor, r *review) {
	r.submitted, p.updated = s.now(), s.now()
	p.requested = slices.DeleteFunc(p.requested, func(u *User) bool { return u == who.user })
	s.emitReview(p, who, r, "submitted")
}

// begun reports whether somebody has a review that is not sent yet.
func (p *pull) begun(u *User) bool {
	return slices.ContainsFunc(p.reviews, func(r *review) bool { return r.author == u && r.state == "PENDING" })
}

// wasHead reports whether somebody has reviewed that commit before: it was
// part of the pull request then, even if a force-push took it out since.
func (p *pull) wasHead(sha plumbing.Hash) bool {
	return slices.ContainsFunc(p.reviews, func(r *review) bool { return r.commit == sha })
}

func (c *call) dismissReview() (answer, error) {
	p, r, err := c.review()
	if err != nil {
		return answer{}, err
	}
	var in struct{ Message string }
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if err := c.s.dismiss(p, r, c.who, in.Message); err != nil {
		return answer{}, err
	}
	return ok(c.s.reviewJSON(p, r))
}

func (s *Server) dismiss(p *pull, r *review, who actor, message string) error {
	switch {
	case message == "":
		return invalid("PullRequestReview", "message", "missing_field", "")
	case r.state != "APPROVED" && r.state != "CHANGES_REQUESTED":
		return failure(http.StatusUnprocessableEntity, "Unprocessable Entity", "Can not dismiss this pull request review")
	}
	r.state, r.dismissedBy, r.dismissal = "DISMISSED", who.user, message
	p.updated = s.now()
	s.emitReview(p, who, r, "dismissed")
	return nil
}

type reviewers struct {
	Reviewers     []string `json:"reviewers"`
	TeamReviewers []string `json:"team_reviewers"`
}

func (c *call) requestReviewers() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var in reviewers
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	var wanted []*User
	for _, login := range in.Reviewers {
		u, err := c.s.user(login)
		if err == nil && u == p.author {
			return answer{}, failure(http.StatusUnprocessableEntity, "Review cannot be requested from pull request author.")
		}
		if err != nil || isBot(login) || rank(c.s.level(u, c.repo)) < rank("read") || c.s.association(u, c.repo) == "NONE" {
			return answer{}, failure(http.StatusUnprocessableEntity, fmt.Sprintf(
				"Reviews may only be requested from collaborators. One or more of the users or teams you specified is not a collaborator of the %s repository.", c.repo.fullName()))
		}
		wanted = append(wanted, u)
	}
	p.updated = c.s.now()
	for _, u := range wanted {
		if !slices.Contains(p.requested, u) {
			p.requested = append(p.requested, u)
			c.s.emitPull(p, c.who, "review_requested", object{"requested_reviewer": c.s.userJSON(u)})
		}
	}
	return created(c.s.pullJSON(p))
}

func (c *call) removeReviewers() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var in reviewers
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	for _, login := range in.Reviewers {
		u, err := c.s.user(login)
		if err != nil {
			return answer{}, invalid("PullRequest", "reviewers", "invalid", "")
		}
		if i := slices.Index(p.requested, u); i >= 0 {
			p.requested = slices.Delete(p.requested, i, i+1)
			c.s.emitPull(p, c.who, "review_request_removed", object{"requested_reviewer": c.s.userJSON(u)})
		}
	}
	return ok(c.s.pullJSON(p))
}

func (c *call) listReviewers() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	return ok(object{"users": each(p.requested, c.s.userJSON), "teams": []any{}})
}

func (s *Server) reviewJSON(p *pull, r *review) object {
	html := fmt.Sprintf("%s#pullrequestreview-%d", s.pullURL(p), r.id)
	pullAPI := fmt.Sprintf("%s/pulls/%d", s.repoAPI(p.repo), p.number)
	o := object{
		"id": r.id, "node_id": nodeID("PullRequestReview", r.id), "user": s.userJSON(r.author),
		"body": r.body, "state": r.state, "commit_id": r.commit.String(),
		"html_url": html, "pull_request_url": pullAPI,
		"author_association": s.association(r.author, p.repo),
		"_links":             object{"html": object{"href": html}, "pull_request": object{"href": pullAPI}},
	}
	if !r.submitted.IsZero() {
		o["submitted_at"] = stamp(r.submitted)
	}
	return o
}
