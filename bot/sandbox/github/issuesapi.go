package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// issue finds the issue that a path names. One that was deleted or transferred
// is answered as GitHub does.
func (c *call) issue() (*issue, error) {
	n, err := c.number("number")
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(c.repo.issues, func(i *issue) bool { return i.number == int(n) })
	if at < 0 {
		return nil, notFound()
	}
	switch i := c.repo.issues[at]; {
	case i.work.deleted:
		return nil, failure(http.StatusGone, "This issue was deleted")
	case i.work.movedTo != "":
		moved := failure(http.StatusMovedPermanently, "Moved Permanently")
		moved.header = http.Header{"Location": {i.work.movedTo}}
		return nil, moved
	default:
		return i, nil
	}
}

// getIssueOrPull serves an issue; a pull request is an issue too, and says so
// in a field of its own.
func (c *call) getIssueOrPull() (answer, error) {
	n, err := c.number("number")
	if err != nil {
		return answer{}, err
	}
	if p, err := c.repo.pull(int(n)); err == nil {
		return ok(c.s.pullAsIssue(c.repo, p))
	}
	i, err := c.issue()
	if err != nil {
		return answer{}, err
	}
	shown := c.s.issueJSON(c.repo, i)
	shown["closed_by"] = c.s.nullableUserJSON(i.work.closedBy) // lists and webhooks have none
	return ok(shown)
}

func (s *Server) nullableUserJSON(u *User) any {
	if u == nil {
		return nil
	}
	return s.userJSON(u)
}

// listIssues lists issues and pull requests, newest first unless told.
func (c *call) listIssues() (answer, error) {
	q := c.r.URL.Query()
	creator := q.Get("creator")
	if _, err := c.s.user(creator); creator != "" && err != nil {
		return answer{}, invalid("Issue", "creator", "invalid", "")
	}
	wanted := func(state, author string, labels []string) bool {
		if want := q.Get("state"); want != "all" && state != "open" && want != "closed" || want == "closed" && state != "closed" {
			return false
		}
		for name := range strings.SplitSeq(q.Get("labels"), ",") {
			if name != "" && !slices.Contains(labels, name) {
				return false
			}
		}
		return creator == "" || strings.EqualFold(creator, author)
	}
	byNumber := map[int]object{}
	for _, i := range c.repo.issues {
		shown := c.s.issueJSON(c.repo, i)
		if !i.work.deleted && i.work.movedTo == "" && wanted(shown["state"].(string), i.author.Login, i.labels) {
			byNumber[i.number] = shown
		}
	}
	for _, p := range c.repo.pulls {
		shown := c.s.pullAsIssue(c.repo, p)
		if wanted(shown["state"].(string), p.author.Login, nil) {
			byNumber[p.number] = shown
		}
	}
	var list []object
	for n := 1; n <= c.repo.lastNumber; n++ { // by time of creation as well
		if shown := byNumber[n]; shown != nil {
			list = append(list, shown)
		}
	}
	if q.Get("direction") != "asc" {
		slices.Reverse(list)
	}
	return ok(each(paginate(c, list), func(o object) object { return o }))
}

// createIssue opens an issue. Labels of those who may not push are silently
// dropped, as GitHub does.
func (c *call) createIssue() (answer, error) {
	var in struct {
		Title, Body string
		Labels      []string
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	switch {
	case in.Title == "":
		return answer{}, invalid("Issue", "title", "missing_field", "")
	case len(in.Title) > 256:
		return answer{}, invalid("Issue", "title", "custom", "title is too long (maximum is 256 characters)")
	case len(in.Body) > 65536:
		return answer{}, invalid("Issue", "body", "custom", "body is too long (maximum is 65536 characters)")
	case c.who.install == nil && rank(c.s.level(c.who.user, c.repo)) < rank("write"):
		in.Labels = nil
	}
	return created(c.s.issueJSON(c.repo, c.s.addIssue(c.repo, c.who, in.Title, in.Body, in.Labels)))
}

// editIssue changes the text, the labels and the state of an issue: as its
// author, or as somebody who may write.
func (c *call) editIssue() (answer, error) {
	i, err := c.issue()
	if err != nil {
		return answer{}, err
	}
	var in struct {
		Title, Body, State *string
		StateReason        *string `json:"state_reason"`
		Labels             *[]string
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if i.author != c.who.user && c.who.install == nil && rank(c.s.level(c.who.user, c.repo)) < rank("write") {
		return answer{}, forbidden("Must have admin rights to Repository.")
	}
	if in.Title != nil {
		i.title = *in.Title
	}
	if in.Body != nil {
		i.body = *in.Body
	}
	if in.Labels != nil {
		i.labels = *in.Labels
	}
	i.updated = c.s.now()
	switch {
	case in.State == nil:
	case *in.State == "closed":
		reason := "completed"
		if in.StateReason != nil {
			reason = *in.StateReason
		}
		c.s.closeIssue(c.repo, c.who, i, reason)
	case *in.State == "open":
		c.s.reopenIssue(c.repo, c.who, i)
	default:
		return answer{}, invalid("Issue", "state", "invalid", "")
	}
	shown := c.s.issueJSON(c.repo, i)
	shown["closed_by"] = c.s.nullableUserJSON(i.work.closedBy)
	return ok(shown)
}

// pullAsIssue renders a pull request as the issue that it also is.
func (s *Server) pullAsIssue(r *Repo, p *pull) object {
	shown := s.issueJSON(r, &issue{
		id: p.id, number: p.number, title: p.title, body: p.body, author: p.author,
		created: p.created, updated: p.updated, comments: p.comments,
	})
	if !p.open {
		shown["state"], shown["closed_at"] = "closed", stamp(p.closed)
	}
	html := fmt.Sprintf("%s/%s/pull/%d", s.url, r.fullName(), p.number)
	shown["html_url"], shown["draft"] = html, false
	shown["pull_request"] = object{
		"url": fmt.Sprintf("%s/pulls/%d", s.repoAPI(r), p.number), "html_url": html,
		"diff_url": html + ".diff", "patch_url": html + ".patch", "merged_at": stamp(p.merged),
	}
	return shown
}

func (s *Server) issueJSON(r *Repo, i *issue) object {
	self := fmt.Sprintf("%s/issues/%d", s.repoAPI(r), i.number)
	labels := []any{}
	for _, name := range i.labels {
		labels = append(labels, object{"id": 1, "node_id": nodeID("Label", 1), "url": s.repoAPI(r) + "/labels/" + name, "name": name, "description": nil, "color": "ededed", "default": false})
	}
	state, reason := "open", any(nil)
	if i.work.closed {
		state = "closed"
	}
	if i.work.reason != "" {
		reason = i.work.reason
	}
	assignee := any(nil)
	if len(i.work.assignees) > 0 {
		assignee = s.userJSON(i.work.assignees[0])
	}
	var body any
	if i.body != "" {
		body = i.body
	}
	reactions := object{"url": self + "/reactions", "total_count": 0}
	for _, kind := range []string{"+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes"} {
		reactions[kind] = 0
	}
	return object{
		"id": i.id, "node_id": nodeID("Issue", i.id), "number": i.number, "title": i.title, "body": body,
		"user": s.userJSON(i.author), "state": state, "state_reason": reason, "locked": false, "active_lock_reason": nil,
		"labels": labels, "assignee": assignee, "assignees": each(i.work.assignees, s.userJSON), "milestone": nil, "comments": i.comments,
		"url": self, "repository_url": s.repoAPI(r), "labels_url": self + "/labels{/name}",
		"comments_url": self + "/comments", "events_url": self + "/events", "timeline_url": self + "/timeline",
		"html_url":   fmt.Sprintf("%s/%s/issues/%d", s.url, r.fullName(), i.number),
		"created_at": stamp(i.created), "updated_at": stamp(i.updated), "closed_at": stamp(i.work.closedAt),
		"author_association": s.association(i.author, r), "reactions": reactions,
	}
}

func (s *Server) emitIssue(r *Repo, who actor, i *issue, action string) {
	if s.heard(r.owner) {
		s.emit(r, who, "issues", action, object{"issue": s.issueJSON(r, i)})
	}
}
