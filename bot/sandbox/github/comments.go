package github

import (
	"fmt"
)

// numbered finds the issue or pull request that a path names.
func (c *call) numbered() (number int, count *int, err error) {
	n, err := c.number("number")
	if err != nil {
		return 0, nil, err
	}
	if p, err := c.repo.pull(int(n)); err == nil {
		return p.number, &p.comments, nil
	}
	for _, i := range c.repo.issues {
		if i.number == int(n) {
			return i.number, &i.comments, nil
		}
	}
	return 0, nil, notFound()
}

func (c *call) listComments() (answer, error) {
	n, _, err := c.numbered()
	if err != nil {
		return answer{}, err
	}
	var list []*comment
	for _, m := range c.repo.comments {
		if m.number == n {
			list = append(list, m)
		}
	}
	return ok(each(paginate(c, list), func(m *comment) object { return c.s.commentJSON(c.repo, m) }))
}

func (c *call) createComment() (answer, error) {
	n, count, err := c.numbered()
	if err != nil {
		return answer{}, err
	}
	body, err := c.commentBody()
	if err != nil {
		return answer{}, err
	}
	m := &comment{id: c.s.nextID(), number: n, body: body, author: c.who.user, created: c.s.now(), updated: c.s.now()}
	c.repo.comments = append(c.repo.comments, m)
	*count++
	return created(c.s.commentJSON(c.repo, m))
}

func (c *call) commentBody() (string, error) {
	var in struct{ Body string }
	if err := c.decode(&in); err != nil {
		return "", err
	}
	switch {
	case in.Body == "":
		return "", invalid("IssueComment", "body", "missing_field", "")
	case len(in.Body) > 65536:
		return "", invalid("IssueComment", "body", "custom", "body is too long (maximum is 65536 characters)")
	}
	return in.Body, nil
}

func (c *call) editComment() (answer, error) {
	id, err := c.number("id")
	if err != nil {
		return answer{}, err
	}
	for _, m := range c.repo.comments {
		if m.id != id {
			continue
		}
		if m.author != c.who.user && rank(c.s.level(c.who.user, c.repo)) < rank("write") {
			return answer{}, forbidden("Must have write access to the repository.")
		}
		if m.body, err = c.commentBody(); err != nil {
			return answer{}, err
		}
		m.updated = c.s.now()
		return ok(c.s.commentJSON(c.repo, m))
	}
	return answer{}, notFound()
}

func (c *call) createIssue() (answer, error) {
	var in struct {
		Title, Body string
		Labels      []string
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Title == "" {
		return answer{}, invalid("Issue", "title", "missing_field", "")
	}
	c.repo.lastNumber++
	i := &issue{
		id: c.s.nextID(), number: c.repo.lastNumber, title: in.Title, body: in.Body,
		labels: in.Labels, author: c.who.user, created: c.s.now(),
	}
	c.repo.issues = append(c.repo.issues, i)
	return created(c.s.issueJSON(c.repo, i))
}

// IssueTitles lists the titles of the issues of a repository, oldest first:
// alerts arrive as issues.
func (s *Server) IssueTitles(repo string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live.repo(repo)
	if err != nil {
		return nil, err
	}
	var titles []string
	for _, i := range r.issues {
		titles = append(titles, i.title)
	}
	return titles, nil
}

func (s *Server) commentJSON(r *Repo, m *comment) object {
	html := fmt.Sprintf("%s/%s/issues/%d#issuecomment-%d", s.url, r.fullName(), m.number, m.id)
	return object{
		"id": m.id, "node_id": nodeID("IssueComment", m.id), "body": m.body, "user": s.userJSON(m.author),
		"url": fmt.Sprintf("%s/issues/comments/%d", s.repoAPI(r), m.id), "html_url": html,
		"issue_url":  fmt.Sprintf("%s/issues/%d", s.repoAPI(r), m.number),
		"created_at": stamp(m.created), "updated_at": stamp(m.updated),
		"author_association": s.association(m.author, r),
	}
}

func (s *Server) issueJSON(r *Repo, i *issue) object {
	self := fmt.Sprintf("%s/issues/%d", s.repoAPI(r), i.number)
	labels := []any{}
	for _, name := range i.labels {
		labels = append(labels, object{"id": 1, "node_id": nodeID("Label", 1), "url": s.repoAPI(r) + "/labels/" + name, "name": name, "description": nil, "color": "ededed", "default": false})
	}
	return object{
		"id": i.id, "node_id": nodeID("Issue", i.id), "number": i.number, "title": i.title, "body": i.body,
		"user": s.userJSON(i.author), "state": "open", "state_reason": nil, "locked": false, "active_lock_reason": nil,
		"labels": labels, "assignee": nil, "assignees": []any{}, "milestone": nil, "comments": i.comments,
		"url": self, "repository_url": s.repoAPI(r), "labels_url": self + "/labels{/name}",
		"comments_url": self + "/comments", "events_url": self + "/events",
		"html_url":   fmt.Sprintf("%s/%s/issues/%d", s.url, r.fullName(), i.number),
		"created_at": stamp(i.created), "updated_at": stamp(i.created), "closed_at": nil,
		"author_association": s.association(i.author, r),
	}
}
