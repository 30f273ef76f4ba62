package github

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

type checkInput struct {
	Name        string     `json:"name"`
	HeadSHA     string     `json:"head_sha"`
	Status      string     `json:"status"`
	Conclusion  string     `json:"conclusion"`
	StartedAt   *time.Time `json:"started_at"`
	CompletedAt *time.Time `json:"completed_at"`
	ExternalID  *string    `json:"external_id"`
	DetailsURL  *string    `json:"details_url"`
	Output      *struct {
		Title   string `json:"title"`
		Summary string `json:"summary"`
		Text    string `json:"text"`
	} `json:"output"`
}

var (
	checkStatuses    = []string{"queued", "in_progress", "completed", "waiting", "requested", "pending"}
	checkConclusions = []string{"success", "failure", "neutral", "cancelled", "skipped", "timed_out", "action_required"}
)

func (c *call) createCheck() (answer, error) {
	if c.who.install == nil {
		return answer{}, forbidden("You must authenticate via a GitHub App.")
	}
	var in checkInput
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	head := plumbing.NewHash(in.HeadSHA)
	if in.Name == "" {
		return answer{}, invalid("CheckRun", "name", "missing_field", "")
	}
	if _, err := c.repo.git.commit(head); err != nil || len(in.HeadSHA) != 40 {
		return answer{}, failure(http.StatusUnprocessableEntity, fmt.Sprintf("No commit found for SHA: %s", in.HeadSHA))
	}
	run := &checkRun{
		id: c.s.nextID(), suite: c.repo.suiteOf(c.who.app, head), app: c.who.app, name: in.Name, head: head,
		status: "queued", started: c.s.now(),
	}
	if run.suite == 0 {
		run.suite = c.s.nextID()
	}
	if err := run.apply(in, c.s.now()); err != nil {
		return answer{}, err
	}
	c.repo.checks = append(c.repo.checks, run)
	c.s.emitCheck(c.repo, c.who, run, "created")
	return created(c.s.checkJSON(c.repo, run))
}

// suiteOf finds the suite that an App's runs on a commit share, 0 for none.
func (r *Repo) suiteOf(app *App, head plumbing.Hash) int64 {
	for _, run := range r.checks {
		if run.app == app && run.head == head {
			return run.suite
		}
	}
	return 0
}

func (c *call) checkRun() (*checkRun, error) {
	id, err := c.number("id")
	if err != nil {
		return nil, err
	}
	for _, run := range c.repo.checks {
		if run.id == id {
			return run, nil
		}
	}
	return nil, notFound()
}

func (c *call) getCheck() (answer, error) {
	run, err := c.checkRun()
	if err != nil {
		return answer{}, err
	}
	return ok(c.s.checkJSON(c.repo, run))
}

// updateCheck lets only the App that made a check run change it. Without
// that rule the required check would be anybody's to set.
func (c *call) updateCheck() (answer, error) {
	run, err := c.checkRun()
	if err != nil {
		return answer{}, err
	}
	if c.who.install == nil {
		return answer{}, forbidden("You must authenticate via a GitHub App.")
	}
	if run.app != c.who.app {
		return answer{}, forbidden(fmt.Sprintf("Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", c.who.app.ID))
	}
	var in checkInput
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if in.Name != "" {
		run.name = in.Name
	}
	if err := run.apply(in, c.s.now()); err != nil {
		return answer{}, err
	}
	if run.status == "completed" {
		c.s.emitCheck(c.repo, c.who, run, "completed")
	}
	return ok(c.s.checkJSON(c.repo, run))
}

func (run *checkRun) apply(in checkInput, now time.Time) error {
	switch {
	case in.Status != "" && !slices.Contains(checkStatuses, in.Status):
		return invalid("CheckRun", "status", "invalid", "")
	case in.Conclusion != "" && !slices.Contains(checkConclusions, in.Conclusion):
		return invalid("CheckRun", "conclusion", "invalid", "")
	case in.Status == "completed" && in.Conclusion == "":
		return invalid("CheckRun", "conclusion", "missing_field", "")
	}
	if in.Conclusion != "" {
		in.Status = "completed"
	}
	if in.Status != "" {
		run.status, run.conclusion, run.completed = in.Status, in.Conclusion, time.Time{}
	}
	if run.status == "completed" && run.completed.IsZero() {
		run.completed = now
	}
	setTime(&run.started, in.StartedAt)
	setTime(&run.completed, in.CompletedAt)
	if in.ExternalID != nil {
		run.externalID = *in.ExternalID
	}
	if in.DetailsURL != nil {
		run.details = *in.DetailsURL
	}
	if in.Output != nil {
		run.title, run.summary, run.text = in.Output.Title, in.Output.Summary, in.Output.Text
	}
	return nil
}

func setTime(to *time.Time, from *time.Time) {
	if from != nil {
		*to = *from
	}
}

// listChecks answers the latest run of each name and App unless asked for all.
func (c *call) listChecks(ref string) (answer, error) {
	head, found := c.repo.resolve(ref)
	if !found {
		return answer{}, failure(http.StatusUnprocessableEntity, fmt.Sprintf("No commit found for SHA: %s", ref))
	}
	q := c.r.URL.Query()
	type key struct {
		app  *App
		name string
	}
	seen := map[key]bool{}
	var list []*checkRun
	for _, run := range slices.Backward(c.repo.checks) { // the newest first
		k := key{run.app, run.name}
		switch {
		case run.head != head,
			q.Get("check_name") != "" && q.Get("check_name") != run.name,
			q.Get("status") != "" && q.Get("status") != run.status,
			q.Get("app_id") != "" && q.Get("app_id") != fmt.Sprint(run.app.ID),
			q.Get("filter") != "all" && seen[k]:
			continue
		}
		seen[k] = true
		list = append(list, run)
	}
	return ok(object{
		"total_count": len(list),
		"check_runs":  each(paginate(c, list), func(r *checkRun) object { return c.s.checkJSON(c.repo, r) }),
	})
}

func (s *Server) checkJSON(repo *Repo, run *checkRun) object {
	optional := func(text string) any {
		if text == "" {
			return nil
		}
		return text
	}
	self := fmt.Sprintf("%s/check-runs/%d", s.repoAPI(repo), run.id)
	pulls := []any{}
	for _, p := range repo.pulls {
		if p.open && p.headSHA == run.head && p.headRepo == repo {
			pulls = append(pulls, s.pullMinimalJSON(p))
		}
	}
	details := run.details
	if details == "" {
		details = s.url + "/apps/" + run.app.Slug
	}
	return object{
		"id": run.id, "node_id": nodeID("CheckRun", run.id), "head_sha": run.head.String(), "name": run.name,
		"external_id": run.externalID, "url": self, "details_url": details,
		"html_url": fmt.Sprintf("%s/%s/runs/%d", s.url, repo.fullName(), run.id),
		"status":   run.status, "conclusion": optional(run.conclusion),
		"started_at": stamp(run.started), "completed_at": stamp(run.completed),
		"output": object{
			"title": optional(run.title), "summary": optional(run.summary), "text": optional(run.text),
			"annotations_count": 0, "annotations_url": self + "/annotations",
		},
		"check_suite": object{"id": run.suite}, "app": s.appJSON(run.app), "pull_requests": pulls,
	}
}

func (s *Server) pullMinimalJSON(p *pull) object {
	end := func(r *Repo, ref string, sha plumbing.Hash) object {
		return object{"ref": ref, "sha": sha.String(), "repo": object{"id": r.id, "url": s.repoAPI(r), "name": r.name}}
	}
	return object{
		"id": p.id, "number": p.number, "url": fmt.Sprintf("%s/pulls/%d", s.repoAPI(p.repo), p.number),
		"head": end(p.headRepo, p.headRef, p.headSHA), "base": end(p.repo, p.baseRef, p.baseSHA),
	}
}

// resolve finds the commit that a ref, a branch, a tag or a SHA names.
func (r *Repo) resolve(name string) (plumbing.Hash, bool) {
	for _, prefix := range []string{"", "refs/", "refs/heads/", "refs/tags/"} {
		full := prefix + name
		if h, ok := r.refs[plumbing.ReferenceName(full)]; ok && strings.HasPrefix(full, "refs/") {
			return h, true
		}
	}
	if h := plumbing.NewHash(name); len(name) == 40 && r.git.known(h) {
		return h, true
	}
	return plumbing.ZeroHash, false
}
