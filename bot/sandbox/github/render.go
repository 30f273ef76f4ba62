package github

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
)

// stamp is a time as the API writes it, null for none.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}

func sortBy[T any](list []T, key func(T) int64) {
	sort.SliceStable(list, func(i, j int) bool { return key(list[i]) < key(list[j]) })
}

// userJSON is GitHub's "simple user".
func (s *Server) userJSON(u *User) object {
	if u == nil {
		return nil
	}
	api := s.url + "/users/" + u.Login
	page := s.url + "/" + u.Login
	if isBot(u.Login) {
		api = s.url + "/users/" + strings.Replace(u.Login, "[bot]", "%5Bbot%5D", 1)
		page = s.url + "/apps/" + strings.TrimSuffix(u.Login, "[bot]")
	}
	return object{
		"login": u.Login, "id": u.ID, "node_id": nodeID(u.Type, u.ID), "type": u.Type, "site_admin": false,
		"avatar_url": fmt.Sprintf("%s/avatars/u/%d", s.url, u.ID), "gravatar_id": "", "url": api, "html_url": page,
		"followers_url": api + "/followers", "following_url": api + "/following{/other_user}",
		"gists_url": api + "/gists{/gist_id}", "starred_url": api + "/starred{/owner}{/repo}",
		"subscriptions_url": api + "/subscriptions", "organizations_url": api + "/orgs", "repos_url": api + "/repos",
		"events_url": api + "/events{/privacy}", "received_events_url": api + "/received_events",
	}
}

// fullUserJSON is what GET /user and /users/{login} answer.
func (s *Server) fullUserJSON(u *User) object {
	o := s.userJSON(u)
	for k, v := range (object{
		"user_view_type": "public", "name": u.Name, "company": nil, "blog": "", "location": nil, "email": nil, "hireable": nil, "bio": nil,
		"public_repos": 0, "public_gists": 0, "followers": 0, "following": 0,
		"created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z",
	}) {
		o[k] = v
	}
	return o
}

// repoURLs are the links of a repository that are below its API address.
var repoURLs = map[string]string{
	"archive_url": "{archive_format}{/ref}", "assignees_url": "assignees{/user}", "blobs_url": "git/blobs{/sha}",
	"branches_url": "branches{/branch}", "collaborators_url": "collaborators{/collaborator}",
	"comments_url": "comments{/number}", "commits_url": "commits{/sha}", "compare_url": "compare/{base}...{head}",
	"contents_url": "contents/{+path}", "contributors_url": "contributors", "deployments_url": "deployments",
	"downloads_url": "downloads", "events_url": "events", "forks_url": "forks", "git_commits_url": "git/commits{/sha}",
	"git_refs_url": "git/refs{/sha}", "git_tags_url": "git/tags{/sha}", "hooks_url": "hooks",
	"issue_comment_url": "issues/comments{/number}", "issue_events_url": "issues/events{/number}",
	"issues_url": "issues{/number}", "keys_url": "keys{/key_id}", "labels_url": "labels{/name}",
	"languages_url": "languages", "merges_url": "merges", "milestones_url": "milestones{/number}",
	"notifications_url": "notifications{?since,all,participating}", "pulls_url": "pulls{/number}",
	"releases_url": "releases{/id}", "stargazers_url": "stargazers", "statuses_url": "statuses/{sha}",
	"subscribers_url": "subscribers", "subscription_url": "subscription", "tags_url": "tags", "teams_url": "teams",
	"trees_url": "git/trees{/sha}",
}

func (s *Server) repoAPI(r *Repo) string { return s.url + "/repos/" + r.fullName() }

func (s *Server) repoJSON(r *Repo) object {
	html := s.url + "/" + r.fullName()
	visibility := "private"
	if r.public {
		visibility = "public"
	}
	o := object{
		"id": r.id, "node_id": nodeID("Repository", r.id), "name": r.name, "full_name": r.fullName(),
		"owner": s.userJSON(r.owner), "private": !r.public, "visibility": visibility, "fork": r.fork,
		"description": nil, "homepage": nil, "language": nil, "license": nil, "mirror_url": nil,
		"url": s.repoAPI(r), "html_url": html, "clone_url": html + ".git", "git_url": html + ".git", "svn_url": html,
		"ssh_url": "git@127.0.0.1:" + r.fullName() + ".git", "default_branch": r.defaultBranch,
		"archived": false, "disabled": false, "is_template": false, "topics": []string{},
		"has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false, "has_downloads": false,
		"has_discussions": false, "forks": 0, "forks_count": 0, "watchers": 0, "watchers_count": 0,
		"stargazers_count": 0, "open_issues": 0, "open_issues_count": 0, "size": 0, "web_commit_signoff_required": false,
		"created_at": stamp(r.created), "updated_at": stamp(r.pushed), "pushed_at": stamp(r.pushed),
		"allow_squash_merge": true, "allow_merge_commit": false, "allow_rebase_merge": false,
		"allow_auto_merge": false, "delete_branch_on_merge": false,
	}
	for k, path := range repoURLs {
		o[k] = s.repoAPI(r) + "/" + path
	}
	return o
}

func (s *Server) endJSON(r *Repo, ref string, sha plumbing.Hash) object {
	return object{
		"label": r.owner.Login + ":" + ref, "ref": ref, "sha": sha.String(),
		"user": s.userJSON(r.owner), "repo": s.repoJSON(r),
	}
}

// pullJSON is the "simple" pull request of lists; pullFullJSON adds what only
// a single one has.
func (s *Server) pullJSON(p *pull) object {
	api := s.repoAPI(p.repo)
	self := fmt.Sprintf("%s/pulls/%d", api, p.number)
	issue := fmt.Sprintf("%s/issues/%d", api, p.number)
	html := s.pullURL(p)
	link := func(href string) object { return object{"href": href} }
	state := "closed"
	if p.open {
		state = "open"
	}
	var mergeSHA any
	if !p.mergeSHA.IsZero() {
		mergeSHA = p.mergeSHA.String()
	}
	var body any
	if p.body != "" {
		body = p.body
	}
	return object{
		"id": p.id, "node_id": nodeID("PullRequest", p.id), "number": p.number, "state": state, "locked": false,
		"title": p.title, "body": body, "draft": p.draft, "user": s.userJSON(p.author),
		"author_association": s.association(p.author, p.repo), "auto_merge": nil, "active_lock_reason": nil,
		"created_at": stamp(p.created), "updated_at": stamp(p.updated), "closed_at": stamp(p.closed), "merged_at": stamp(p.merged),
		"merge_commit_sha": mergeSHA, "assignee": nil, "assignees": []any{}, "labels": []any{}, "milestone": nil,
		"requested_reviewers": each(p.requested, s.userJSON), "requested_teams": []any{},
		"head": s.endJSON(p.headRepo, p.headRef, p.headSHA), "base": s.endJSON(p.repo, p.baseRef, p.baseSHA),
		"url": self, "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch", "issue_url": issue,
		"commits_url": self + "/commits", "comments_url": issue + "/comments", "review_comments_url": self + "/comments",
		"review_comment_url": api + "/pulls/comments{/number}", "statuses_url": api + "/statuses/" + p.headSHA.String(),
		"_links": object{
			"self": link(self), "html": link(html), "issue": link(issue), "comments": link(issue + "/comments"),
			"review_comments": link(self + "/comments"), "review_comment": link(api + "/pulls/comments{/number}"),
			"commits": link(self + "/commits"), "statuses": link(api + "/statuses/" + p.headSHA.String()),
		},
	}
}

func (s *Server) pullURL(p *pull) string {
	return fmt.Sprintf("%s/%s/pull/%d", s.url, p.repo.fullName(), p.number)
}

func (s *Server) pullFullJSON(p *pull) object {
	o := s.pullJSON(p)
	o["merged"] = !p.merged.IsZero()
	o["merged_by"] = nil
	if p.mergedBy != nil {
		o["merged_by"] = s.userJSON(p.mergedBy)
	}
	o["mergeable"], o["mergeable_state"] = s.mergeability(p)
	o["rebaseable"] = nil
	o["maintainer_can_modify"] = false
	o["comments"], o["review_comments"] = p.comments, 0
	commits, changes := s.pullContent(p)
	deleted, added := 0, 0
	for _, c := range changes {
		d, a := p.repo.git.lines(c)
		deleted, added = deleted+d, added+a
	}
	o["commits"], o["changed_files"] = len(commits), len(changes)
	o["additions"], o["deletions"] = added, deleted
	return o
}

// association is how GitHub describes somebody's relation to a repository.
func (s *Server) association(u *User, r *Repo) string {
	org := s.live.orgs[strings.ToLower(r.owner.Login)]
	switch {
	case u == nil:
		return "NONE"
	case u == r.owner:
		return "OWNER"
	case org != nil && org.members[u.ID] != nil:
		return "MEMBER"
	case r.grants[u.ID] != "":
		return "COLLABORATOR"
	}
	return "NONE"
}

func (s *Server) gitUserJSON(sig gitobject.Signature) object {
	return object{"name": sig.Name, "email": sig.Email, "date": stamp(sig.When)}
}

// commitJSON is a commit with the accounts that its addresses belong to.
func (s *Server) commitJSON(r *Repo, h plumbing.Hash) (object, error) {
	c, err := r.git.commit(h)
	if err != nil {
		return nil, err
	}
	api := s.repoAPI(r)
	parents := []any{}
	for _, p := range c.ParentHashes {
		parents = append(parents, object{
			"sha": p.String(), "url": api + "/commits/" + p.String(),
			"html_url": fmt.Sprintf("%s/%s/commit/%s", s.url, r.fullName(), p),
		})
	}
	reason := "unsigned"
	if r.git.web[h] {
		reason = "valid"
	}
	self := api + "/commits/" + h.String()
	return object{
		"sha": h.String(), "node_id": nodeID("Commit", r.id) + h.String()[:8], "url": self,
		"html_url": fmt.Sprintf("%s/%s/commit/%s", s.url, r.fullName(), h), "comments_url": self + "/comments",
		"commit": object{
			"url": api + "/git/commits/" + h.String(), "message": c.Message, "comment_count": 0,
			"author": s.gitUserJSON(c.Author), "committer": s.gitUserJSON(c.Committer),
			"tree": object{"sha": c.TreeHash.String(), "url": api + "/git/trees/" + c.TreeHash.String()},
			"verification": object{
				"verified": r.git.web[h], "reason": reason, "signature": nil, "payload": nil, "verified_at": nil,
			},
		},
		"author": s.accountOf(c.Author), "committer": s.accountOf(c.Committer), "parents": parents,
	}, nil
}

// accountOf is the account a commit address belongs to, or null.
func (s *Server) accountOf(sig gitobject.Signature) any {
	for _, u := range s.users {
		if u.Email != "" && strings.EqualFold(u.Email, sig.Email) {
			return s.userJSON(u)
		}
	}
	return nil
}
