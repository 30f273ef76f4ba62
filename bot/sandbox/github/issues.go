package github

import (
	"fmt"
	"slices"
	"time"
)

// issueWork is what became of an issue since it was opened.
type issueWork struct {
	closed    bool
	reason    string // state_reason: completed, not_planned, duplicate, reopened, or empty
	closedBy  *User
	closedAt  time.Time
	assignees []*User
	movedTo   string // the API's path of the issue that it is now; empty: not transferred
	deleted   bool
}

// OpenIssue opens an issue as a person and returns its number.
func (s *Server) OpenIssue(repo, login, title string) (number int, err error) {
	err = s.withRepo(repo, func(r *Repo) error {
		who, err := s.user(login)
		if err != nil {
			return err
		}
		number = s.addIssue(r, actor{user: who}, title, "", nil).number
		return nil
	})
	return number, err
}

func (s *Server) addIssue(r *Repo, who actor, title, body string, labels []string) *issue {
	r.lastNumber++
	i := &issue{
		id: s.nextID(), number: r.lastNumber, title: title, body: body,
		labels: labels, author: who.user, created: s.now(), updated: s.now(),
	}
	r.issues = append(r.issues, i)
	s.emitIssue(r, who, i, "opened")
	return i
}

// CloseIssue closes an issue as done, as its author.
func (s *Server) CloseIssue(repo string, number int) error {
	return s.changeIssue(repo, number, func(r *Repo, i *issue) error {
		s.closeIssue(r, actor{user: i.author}, i, "completed")
		return nil
	})
}

// CloseIssueAs closes an issue as somebody: the reason is completed,
// not_planned or duplicate.
func (s *Server) CloseIssueAs(repo string, number int, login, reason string) error {
	return s.changeIssue(repo, number, func(r *Repo, i *issue) error {
		who, err := s.person(r, login, "read")
		if err != nil {
			return err
		}
		s.closeIssue(r, who, i, reason)
		return nil
	})
}

// ReopenIssue opens a closed issue again.
func (s *Server) ReopenIssue(repo string, number int, login string) error {
	return s.changeIssue(repo, number, func(r *Repo, i *issue) error {
		who, err := s.person(r, login, "read")
		if err != nil {
			return err
		}
		s.reopenIssue(r, who, i)
		return nil
	})
}

func (s *Server) closeIssue(r *Repo, who actor, i *issue, reason string) {
	if i.work.closed {
		i.work.reason = reason
		return
	}
	i.work.closed, i.work.reason, i.work.closedBy, i.work.closedAt = true, reason, who.user, s.now()
	i.updated = s.now()
	s.emitIssue(r, who, i, "closed")
}

func (s *Server) reopenIssue(r *Repo, who actor, i *issue) {
	if !i.work.closed {
		return
	}
	i.work.closed, i.work.reason, i.work.closedBy, i.work.closedAt = false, "reopened", nil, time.Time{}
	i.updated = s.now()
	s.emitIssue(r, who, i, "reopened")
}

// IssueBody returns the title, body and labels of an issue.
func (s *Server) IssueBody(repo string, number int) (title, body string, labels []string, err error) {
	err = s.changeIssue(repo, number, func(_ *Repo, i *issue) error {
		title, body, labels = i.title, i.body, slices.Clone(i.labels)
		return nil
	})
	return title, body, labels, err
}

// IssueTitles lists the titles of the issues of a repository, oldest first:
// alerts arrive as issues.
func (s *Server) IssueTitles(repo string) ([]string, error) {
	var titles []string
	err := s.withRepo(repo, func(r *Repo) error {
		for _, i := range r.issues {
			titles = append(titles, i.title)
		}
		return nil
	})
	return titles, err
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
