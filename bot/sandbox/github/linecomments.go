package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

// LineComment is a comment on one line of a file, as part of a review. A
// suggestion is such a comment whose body has a block of code of that name.
type LineComment struct {
	Path string `json:"path"`
	Line int    `json:"line"` // 1-based, in the file at the commit that is reviewed
	Body string `json:"body"`
}

// lineComment is a comment on a line as it is kept.
type lineComment struct {
	id      int64
	review  *review
	path    string
	line    int
	commit  plumbing.Hash // that it was made on
	body    string
	created time.Time
}

// Suggest returns the body of a comment that proposes another text for a line.
func Suggest(text string) string { return "Like this:\n\n```suggestion\n" + text + "\n```\n" }

// ReviewLines submits a review with comments on lines as somebody and returns
// its id. Event is APPROVE, REQUEST_CHANGES, COMMENT, or empty for a review
// that is begun and not sent yet; an empty commit stands for the head.
func (s *Server) ReviewLines(repo string, number int, login, event, body, commit string, comments ...LineComment) (id int64, err error) {
	err = s.withPull(repo, number, login, "read", func(p *pull, who actor) error {
		r, err := s.addReview(p, who, event, body, commit, comments...)
		if err != nil {
			return err
		}
		id = r.id
		return nil
	})
	return id, err
}

// lineComments makes the comments of a review; the file must have each line.
func (s *Server) lineComments(p *pull, r *review, comments []LineComment) ([]*lineComment, error) {
	var made []*lineComment
	for _, in := range comments {
		if _, there := p.repo.lineAt(r.commit, in.Path, in.Line); !there || in.Body == "" {
			return nil, failure(http.StatusUnprocessableEntity, "Unprocessable Entity", "Line could not be resolved")
		}
		made = append(made, &lineComment{
			id: s.nextID(), review: r, path: in.Path, line: in.Line, commit: r.commit, body: in.Body, created: s.now(),
		})
	}
	return made, nil
}

// lineAt returns a line of a file at a commit; false where there is none.
func (r *Repo) lineAt(commit plumbing.Hash, path string, line int) (string, bool) {
	n, err := r.git.node(commit)
	if err != nil {
		return "", false
	}
	tree := n.tree
	parts := strings.Split(path, "/")
	for i, name := range parts {
		entries, err := r.git.entries(tree)
		if err != nil {
			return "", false
		}
		e := byName(entries)[name]
		tree = e.Hash
		if last := i == len(parts)-1; e.Hash.IsZero() || last != (e.Mode == filemode.Regular) {
			return "", false
		}
	}
	text, err := r.git.blob(tree)
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if err != nil || line < 1 || line > len(lines) {
		return "", false
	}
	return lines[line-1], true
}

func (c *call) listLineComments() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var shown []*lineComment
	for _, m := range p.lines {
		if m.review.state != "PENDING" || m.review.author == c.who.user {
			shown = append(shown, m)
		}
	}
	if c.r.URL.Query().Get("direction") == "desc" {
		slices.Reverse(shown)
	}
	return ok(each(paginate(c, shown), func(m *lineComment) object { return c.s.lineCommentJSON(p, m) }))
}

// lineCommentJSON renders a comment. Where its line still reads the same at
// the head it is shown there, as GitHub does: commit_id and line move along,
// and only original_commit_id says what its author saw. Otherwise it is outdated.
func (s *Server) lineCommentJSON(p *pull, m *lineComment) object {
	html := fmt.Sprintf("%s#discussion_r%d", s.pullURL(p), m.id)
	pullAPI := fmt.Sprintf("%s/pulls/%d", s.repoAPI(p.repo), p.number)
	self := fmt.Sprintf("%s/pulls/comments/%d", s.repoAPI(p.repo), m.id)
	was, _ := p.repo.lineAt(m.commit, m.path, m.line)
	now, there := p.repo.lineAt(p.headSHA, m.path, m.line)
	o := object{
		"id": m.id, "node_id": nodeID("PullRequestReviewComment", m.id), "pull_request_review_id": m.review.id, "user": s.userJSON(m.review.author),
		"body": m.body, "path": m.path, "diff_hunk": fmt.Sprintf("@@ -0,0 +%d @@\n+%s", m.line, was),
		"commit_id": m.commit.String(), "original_commit_id": m.commit.String(),
		"original_line": m.line, "side": "RIGHT", "start_line": nil, "original_start_line": nil, "start_side": nil,
		"original_position": m.line, "subject_type": "line",
		"created_at": stamp(m.created), "updated_at": stamp(m.created), "author_association": s.association(m.review.author, p.repo),
		"url": self, "html_url": html, "pull_request_url": pullAPI,
		"_links": object{"self": object{"href": self}, "html": object{"href": html}, "pull_request": object{"href": pullAPI}},
	}
	if there && was == now {
		o["line"], o["position"], o["commit_id"] = m.line, m.line, p.headSHA.String()
	}
	return o
}
