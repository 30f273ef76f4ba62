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
