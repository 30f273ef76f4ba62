package github

import (
	"fmt"
	"net/http"
	"slices"
)

// issueWork is what became of an issue since it was opened.
type issueWork struct {
	closed    bool
	assignees []*User
	movedTo   string // the API's path of the issue that it is now; empty: not transferred
	deleted   bool
}

// OpenIssue opens an issue as a person and returns its number.
func (s *Server) OpenIssue(repo, login, title string) (number int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live.repo(repo)
	if err != nil {
		return 0, err
	}
	author, err := s.user(login)
	if err != nil {
		return 0, err
	}
	r.lastNumber++
	r.issues = append(r.issues, &issue{id: s.nextID(), number: r.lastNumber, title: title, author: author, created: s.now()})
	return r.lastNumber, nil
}

// CloseIssue closes an issue.
func (s *Server) CloseIssue(repo string, number int) error {
	return s.changeIssue(repo, number, func(_ *Repo, i *issue) error {
		i.work.closed = true
		return nil
	})
}

// AssignIssue makes people the assignees of an issue, in the place of those
// that it had.
func (s *Server) AssignIssue(repo string, number int, logins ...string) error {
	return s.changeIssue(repo, number, func(_ *Repo, i *issue) error {
		var all []*User
		for _, login := range logins {
			u, err := s.user(login)
			if err != nil {
				return err
			}
			all = append(all, u)
		}
		i.work.assignees = all
		return nil
	})
}

// TransferIssue moves an issue to another repository. Its old address answers
// that it has moved, and where to.
func (s *Server) TransferIssue(repo string, number int, to string) error {
	return s.changeIssue(repo, number, func(_ *Repo, i *issue) error {
		target, err := s.live.repo(to)
		if err != nil {
			return err
		}
		target.lastNumber++
		moved := *i
		moved.id, moved.number = s.nextID(), target.lastNumber
		target.issues = append(target.issues, &moved)
		i.work.movedTo = fmt.Sprintf("%s/issues/%d", s.repoAPI(target), moved.number)
		return nil
	})
}

// DeleteIssue deletes an issue, as an administrator may.
func (s *Server) DeleteIssue(repo string, number int) error {
	return s.changeIssue(repo, number, func(_ *Repo, i *issue) error {
		i.work.deleted = true
		return nil
	})
}

func (s *Server) changeIssue(repo string, number int, change func(*Repo, *issue) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live.repo(repo)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(r.issues, func(i *issue) bool { return i.number == number })
	if at < 0 {
		return fmt.Errorf("issue %s#%d does not exist", repo, number)
	}
	return change(r, r.issues[at])
}

// getIssueOrPull serves an issue; a pull request is an issue too, and says so
// in a field of its own.
func (c *call) getIssueOrPull() (answer, error) {
	n, err := c.number("number")
	if err != nil {
		return answer{}, err
	}
	for _, i := range c.repo.issues {
		if i.number == int(n) {
			return c.issueNow(i)
		}
	}
	if p, err := c.repo.pull(int(n)); err == nil {
		return ok(c.s.pullAsIssue(c.repo, p))
	}
	return answer{}, notFound()
}

func (c *call) issueNow(i *issue) (answer, error) {
	switch {
	case i.work.deleted:
		return answer{}, failure(http.StatusGone, "This issue was deleted")
	case i.work.movedTo != "":
		moved := failure(http.StatusMovedPermanently, "Moved Permanently")
		moved.header = http.Header{"Location": {i.work.movedTo}}
		return answer{}, moved
	}
	shown := c.s.issueJSON(c.repo, i)
	if i.work.closed {
		shown["state"], shown["state_reason"], shown["closed_at"] = "closed", "completed", stamp(i.created)
	}
	if len(i.work.assignees) > 0 {
		shown["assignee"], shown["assignees"] = c.s.userJSON(i.work.assignees[0]), each(i.work.assignees, c.s.userJSON)
	}
	return ok(shown)
}

// pullAsIssue renders a pull request as the issue that it also is.
func (s *Server) pullAsIssue(r *Repo, p *pull) object {
	shown := s.issueJSON(r, &issue{id: p.id, number: p.number, title: p.title, body: p.body, author: p.author, created: p.created, comments: p.comments})
	if !p.open {
		shown["state"] = "closed"
	}
	html := fmt.Sprintf("%s/%s/pull/%d", s.url, r.fullName(), p.number)
	shown["html_url"], shown["draft"] = html, false
	shown["pull_request"] = object{
		"url": fmt.Sprintf("%s/pulls/%d", s.repoAPI(r), p.number), "html_url": html,
		"diff_url": html + ".diff", "patch_url": html + ".patch", "merged_at": nil,
	}
	return shown
}
