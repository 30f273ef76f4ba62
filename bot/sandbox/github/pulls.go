package github

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
)

func (c *call) pull() (*pull, error) {
	n, err := c.number("number")
	if err != nil {
		return nil, err
	}
	p, err := c.repo.pull(int(n))
	if err != nil {
		return nil, notFound()
	}
	return p, nil
}

func (c *call) listPulls() (answer, error) {
	q := c.r.URL.Query()
	state := q.Get("state")
	var list []*pull
	for _, p := range c.repo.pulls {
		switch {
		case state != "all" && p.open != (state != "closed"):
		case q.Get("base") != "" && p.baseRef != q.Get("base"):
		case q.Get("head") != "" && !strings.EqualFold(p.headRepo.owner.Login+":"+p.headRef, q.Get("head")):
		default:
			list = append(list, p)
		}
	}
	byUpdate := q.Get("sort") == "updated"
	slices.SortStableFunc(list, func(a, b *pull) int {
		if byUpdate && !a.updated.Equal(b.updated) {
			return a.updated.Compare(b.updated)
		}
		return a.number - b.number
	})
	descending := q.Get("direction") == "desc" || q.Get("direction") == "" && (q.Get("sort") == "" || q.Get("sort") == "created")
	if descending {
		slices.Reverse(list)
	}
	return ok(each(paginate(c, list), c.s.pullJSON))
}

// getPull answers null for mergeable the first time after anything has moved:
// GitHub starts to work it out when it is first asked.
func (c *call) getPull() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	body := c.s.pullFullJSON(p)
	p.judged = true
	return ok(body)
}

func (c *call) createPull() (answer, error) {
	var in struct {
		Title, Head, Base, Body string
		HeadRepo                string `json:"head_repo"`
		Draft                   bool
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	p, err := c.s.openPull(c.repo, c.who, in.Title, in.Head, in.Base, in.Body, in.Draft)
	if err != nil {
		return answer{}, err
	}
	return created(c.s.pullFullJSON(p))
}

// openPull opens a pull request. Head is a branch of the repository, or
// "owner:branch" for one of a fork.
func (s *Server) openPull(repo *Repo, who actor, title, head, base, body string, draft bool) (*pull, error) {
	headRepo, headRef := repo, head
	if owner, branch, ok := strings.Cut(head, ":"); ok {
		headRef = branch
		headRepo = s.live.repos[repoKey(owner, repo.name)]
	}
	if title == "" {
		return nil, invalid("PullRequest", "title", "missing_field", "")
	}
	baseSHA, baseOK := repo.refs[branchRef(base)]
	if !baseOK {
		return nil, invalid("PullRequest", "base", "invalid", "")
	}
	if headRepo == nil || headRepo.git != repo.git || headRepo.refs[branchRef(headRef)].IsZero() {
		return nil, invalid("PullRequest", "head", "invalid", "")
	}
	for _, p := range repo.pulls {
		if p.open && p.headRepo == headRepo && p.headRef == headRef && p.baseRef == base {
			return nil, custom("A pull request already exists for %s:%s.", headRepo.owner.Login, headRef)
		}
	}
	headSHA := headRepo.refs[branchRef(headRef)]
	fresh, err := repo.git.between(baseSHA, headSHA)
	if err != nil {
		return nil, err
	}
	if len(fresh) == 0 {
		return nil, custom("No commits between %s and %s", base, head)
	}
	repo.lastNumber++
	p := &pull{
		repo: repo, headRepo: headRepo, id: s.nextID(), number: repo.lastNumber, title: title, body: body, draft: draft,
		author: who.user, headRef: headRef, headSHA: headSHA, baseRef: base, baseSHA: baseSHA,
		open: true, created: s.now(), updated: s.now(),
	}
	repo.pulls = append(repo.pulls, p)
	repo.refs[p.refName()] = headSHA
	s.emitPull(p, who, "opened", nil)
	return p, nil
}

func custom(format string, args ...any) *apiError {
	return failure(http.StatusUnprocessableEntity, "Validation Failed",
		object{"resource": "PullRequest", "code": "custom", "message": fmt.Sprintf(format, args...)})
}

func (c *call) editPull() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var in struct{ Title, Body, State, Base *string }
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if c.who.install == nil && c.who.user != p.author && rank(c.s.level(c.who.user, c.repo)) < rank("write") {
		return answer{}, forbidden("Must have write access to the repository.")
	}
	if err := c.s.changePull(p, c.who, in.Title, in.Body, in.Base); err != nil {
		return answer{}, err
	}
	switch {
	case in.State == nil:
	case *in.State == "closed":
		if p.open {
			c.s.closePull(p, c.who)
		}
	case *in.State == "open":
		if err := c.s.reopenPull(p, c.who); err != nil {
			return answer{}, err
		}
	default:
		return answer{}, invalid("PullRequest", "state", "invalid", "")
	}
	return ok(c.s.pullFullJSON(p))
}

func (s *Server) changePull(p *pull, who actor, title, body, base *string) error {
	changes := object{}
	if base != nil && *base != p.baseRef {
		sha, ok := p.repo.refs[branchRef(*base)]
		if !ok || !p.open {
			return invalid("PullRequest", "base", "invalid", "")
		}
		changes["base"] = object{"ref": object{"from": p.baseRef}, "sha": object{"from": p.baseSHA.String()}}
		p.baseRef, p.baseSHA, p.judged = *base, sha, false
	}
	if title != nil && *title != p.title {
		changes["title"] = object{"from": p.title}
		p.title = *title
	}
	if body != nil && *body != p.body {
		changes["body"] = object{"from": p.body}
		p.body = *body
	}
	if len(changes) > 0 {
		p.updated = s.now()
		s.emitPull(p, who, "edited", object{"changes": changes})
	}
	return nil
}

func (s *Server) closePull(p *pull, who actor) {
	p.open, p.closed, p.updated = false, s.now(), s.now()
	s.emitPull(p, who, "closed", nil)
}

// reopenPull opens a closed pull request again at what its branch is now.
func (s *Server) reopenPull(p *pull, who actor) error {
	if p.open {
		return nil
	}
	tip, exists := p.headRepo.refs[branchRef(p.headRef)]
	refuse := func(why string) error {
		return invalid("PullRequest", "state", "invalid", "state cannot be changed. "+why)
	}
	if !p.merged.IsZero() {
		return refuse("The pull request has been merged.")
	}
	if !exists {
		return refuse(fmt.Sprintf("The %s branch has been deleted.", p.headRef))
	}
	forward, err := p.repo.git.isAncestor(p.headSHA, tip)
	if err != nil {
		return err
	}
	if !forward {
		return refuse(fmt.Sprintf("The %s branch was force-pushed or recreated.", p.headRef))
	}
	p.open, p.headSHA, p.judged = true, tip, false
	p.closed, p.updated = p.merged, s.now()
	p.repo.refs[p.refName()] = tip
	s.emitPull(p, who, "reopened", nil)
	return nil
}

// baseTip is what the pull request is compared with: the base branch while it
// is open, and what that was afterwards.
func (p *pull) baseTip() plumbing.Hash {
	if tip, ok := p.repo.refs[branchRef(p.baseRef)]; ok && p.open {
		return tip
	}
	return p.baseSHA
}

// pullContent lists the commits and the changed files of a pull request.
// A history that cannot be read has none.
func (s *Server) pullContent(p *pull) ([]*node, []change) {
	git, base := p.repo.git, p.baseTip()
	commits, err := git.between(base, p.headSHA)
	if err != nil {
		return nil, nil
	}
	var before plumbing.Hash
	if fork, err := git.mergeBase(p.headSHA, base); err == nil && !fork.IsZero() {
		if n, err := git.node(fork); err == nil {
			before = n.tree
		}
	}
	head, err := git.node(p.headSHA)
	if err != nil {
		return commits, nil
	}
	changes, err := git.diff(before, head.tree)
	if err != nil {
		return commits, nil
	}
	return commits, changes
}

func (c *call) pullCommits() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	commits, _ := c.s.pullContent(p)
	list := []any{}
	for _, n := range paginate(c, commits) {
		o, err := c.s.commitJSON(c.repo, n.hash)
		if err != nil {
			return answer{}, err
		}
		list = append(list, o)
	}
	return ok(list)
}

func (c *call) pullFiles() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	_, changes := c.s.pullContent(p)
	return ok(each(paginate(c, changes), func(ch change) object { return c.fileJSON(p, ch) }))
}

func (c *call) fileJSON(p *pull, ch change) object {
	status, sha := "modified", ch.after.Hash
	switch {
	case ch.before.Hash.IsZero():
		status = "added"
	case ch.after.Hash.IsZero():
		status, sha = "removed", ch.before.Hash
	case ch.before.Hash == ch.after.Hash:
		status = "changed" // the mode only
	}
	deleted, added := c.repo.git.lines(ch)
	html := fmt.Sprintf("%s/%s", c.s.url, c.repo.fullName())
	o := object{
		"sha": sha.String(), "filename": ch.path, "status": status,
		"additions": added, "deletions": deleted, "changes": added + deleted,
		"blob_url": fmt.Sprintf("%s/blob/%s/%s", html, p.headSHA, ch.path),
		"raw_url":  fmt.Sprintf("%s/raw/%s/%s", html, p.headSHA, ch.path),
		"contents_url": fmt.Sprintf("%s/contents/%s?ref=%s",
			c.s.repoAPI(c.repo), ch.path, p.headSHA),
	}
	if status == "added" && ch.after.Mode == filemode.Regular {
		if text, err := c.repo.git.blob(ch.after.Hash); err == nil && len(text) < 64<<10 {
			o["patch"] = additionPatch(string(text), added)
		}
	}
	return o
}

func additionPatch(text string, lines int) string {
	text = strings.TrimSuffix(text, "\n")
	return fmt.Sprintf("@@ -0,0 +1,%d @@\n+%s", lines, strings.ReplaceAll(text, "\n", "\n+"))
}

// mergeability is what a single pull request says of mergeable and
// mergeable_state.
func (s *Server) mergeability(p *pull) (any, string) {
	if !p.open || !p.judged {
		return nil, "unknown"
	}
	switch _, err := p.repo.mergedTree(p); {
	case errors.Is(err, errConflict):
		return false, "dirty"
	case err != nil:
		return nil, "unknown"
	case p.draft:
		return true, "draft"
	case p.repo.unmetCheck(p) != "":
		return true, "blocked"
	}
	return true, "clean"
}
