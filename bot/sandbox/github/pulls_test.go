package github_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	api "github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

type githubCommit = github.Commit

var ctx = context.Background()

// gate returns a function that blocks its first callers until as many as
// wait was set to have come.
func gate(wait *sync.WaitGroup) func(*http.Request) {
	return func(*http.Request) {
		wait.Done()
		wait.Wait()
	}
}

// status fails the test unless err is an answer of that status which has the
// text somewhere in it.
func status(t *testing.T, err error, code int, text string) {
	t.Helper()
	var e *api.ErrorResponse
	if !errors.As(err, &e) || e.Response.StatusCode != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %d with %q", err, code, text)
	}
}

// open has the bot push a grant branch and open a pull request from it.
func (w *world) open(id string) *api.PullRequest {
	w.t.Helper()
	dir := w.clone("x-access-token", w.installationToken())
	commit(w.t, dir, "grants/db/"+id+".yaml", "id: "+id+"\n")
	mustGit(w.t, dir, "push", "-q", "origin", "HEAD:refs/heads/grant/"+id)
	pr, _, err := w.bot().PullRequests.Create(ctx, "acme", "grants", &api.NewPullRequest{
		Title: api.String("Grant " + id), Head: api.String("grant/" + id), Base: api.String("main"), Body: api.String("why"),
	})
	must(w.t, err)
	return pr
}

func (w *world) pass(sha string) {
	w.t.Helper()
	_, _, err := w.bot().Checks.CreateCheckRun(ctx, "acme", "grants", api.CreateCheckRunOptions{
		Name: "tac/policy", HeadSHA: sha, Status: api.String("completed"), Conclusion: api.String("success"),
	})
	must(w.t, err)
}

func (w *world) merge(n int, sha string) (*api.PullRequestMergeResult, error) {
	got, _, err := w.bot().PullRequests.Merge(ctx, "acme", "grants", n, "Tac-Grant: x",
		&api.PullRequestOptions{CommitTitle: "Grant it", SHA: sha, MergeMethod: "squash"})
	return got, err
}

func TestAPullRequestIsMergedByItsHeadAndItsCheck(t *testing.T) {
	w := newWorld(t)
	must(t, w.Protect(repo, w.app))
	pr := w.open("g1")
	head := pr.Head.GetSHA()
	if pr.GetUser().GetLogin() != "tac[bot]" || pr.GetUser().GetType() != "Bot" || pr.Mergeable != nil {
		t.Errorf("opened %v", pr)
	}
	_, err := w.merge(pr.GetNumber(), head)
	status(t, err, 405, "tac/policy")
	w.pass(head)

	sha := get[string](t)(w.Push(github.Push{Repo: repo, Login: "alice", Branch: "feature", Files: map[string]string{"x": "1"}, Message: "x"}))
	_, err = w.merge(pr.GetNumber(), sha)
	status(t, err, 409, "Head branch was modified")

	w.clock.Advance(90e9)
	merged, err := w.merge(pr.GetNumber(), head)
	must(t, err)
	log := get[[]github.Commit](t)(w.Commits(repo, "main"))
	if log[0].SHA != merged.GetSHA() || log[0].Message != "Grant it\n\nTac-Grant: x" || log[0].Author != "tac[bot]" ||
		log[0].Committer != "GitHub" || !log[0].When.Equal(w.clock.Now()) || len(log) != 2 {
		t.Errorf("log is %+v", log)
	}
	pr, _, err = w.bot().PullRequests.Get(ctx, "acme", "grants", pr.GetNumber())
	must(t, err)
	if !pr.GetMerged() || pr.GetMergedBy().GetLogin() != "tac[bot]" || pr.GetMergeCommitSHA() != merged.GetSHA() ||
		!pr.GetMergedAt().Time.Equal(w.clock.Now()) || pr.GetState() != "closed" || pr.GetChangedFiles() != 1 || pr.GetCommits() != 1 {
		t.Errorf("merged is %v", pr)
	}
	_, err = w.merge(pr.GetNumber(), head)
	status(t, err, 405, "not mergeable")
	mustGit(t, w.clone("x-access-token", w.installationToken()), "fsck", "--strict")
}

func TestMergeabilityIsUnknownUntilAskedTwice(t *testing.T) {
	w := newWorld(t)
	n := w.open("g1").GetNumber()
	for _, want := range []string{"unknown", "clean"} {
		pr, _, err := w.bot().PullRequests.Get(ctx, "acme", "grants", n)
		must(t, err)
		if pr.GetMergeableState() != want || (pr.Mergeable == nil) != (want == "unknown") {
			t.Errorf("mergeable is %v, %s, want %s", pr.Mergeable, pr.GetMergeableState(), want)
		}
	}
	_, err := w.Seed(repo, "main", map[string]string{"grants/db/g1.yaml": "id: other\n"}, "alice", "clash")
	must(t, err)
	_, _, err = w.bot().PullRequests.Get(ctx, "acme", "grants", n)
	must(t, err)
	pr, _, err := w.bot().PullRequests.Get(ctx, "acme", "grants", n)
	must(t, err)
	if pr.GetMergeable() || pr.GetMergeableState() != "dirty" {
		t.Errorf("a conflict is %v, %s", pr.GetMergeable(), pr.GetMergeableState())
	}
	_, err = w.merge(n, "")
	status(t, err, 405, "not mergeable")
}

func TestPullRequestsFollowTheirBranches(t *testing.T) {
	w := newWorld(t)
	push := func(p github.Push) string {
		t.Helper()
		p.Repo, p.Login, p.Message = repo, "alice", "m"
		return get[string](t)(w.Push(p))
	}
	open := func(branch string) int {
		t.Helper()
		push(github.Push{Branch: branch, From: "main", Files: map[string]string{branch: "1"}})
		return get[int](t)(w.OpenPull(repo, "alice", branch, "main", "T", ""))
	}
	state := func(n int) string {
		t.Helper()
		pr, _, err := w.bot().PullRequests.Get(ctx, "acme", "grants", n)
		must(t, err)
		if pr.GetMerged() {
			return "merged by " + pr.GetMergedBy().GetLogin()
		}
		return pr.GetState()
	}
	_, err := w.OpenPull(repo, "alice", "main", "main", "T", "")
	if err == nil {
		t.Error("a pull request without commits was opened")
	}

	// A push moves the head, a force-push too, an amended commit is another.
	n := open("f1")
	sha := push(github.Push{Branch: "f1", Files: map[string]string{"f1": "2"}, Amend: true})
	if out := mustGit(t, w.clone("x-access-token", w.installationToken()), "ls-remote", "origin", "refs/pull/*"); !strings.HasPrefix(out, sha) {
		t.Errorf("refs/pull is %s, want %s", out, sha)
	}
	if _, err := w.OpenPull(repo, "alice", "f1", "main", "again", ""); err == nil {
		t.Error("a second pull request for the same branch was opened")
	}

	// Closed, force-pushed, it does not open again; merely pushed, it does.
	must(t, w.ClosePull(repo, n, "alice"))
	push(github.Push{Branch: "f1", Files: map[string]string{"f1": "3"}})
	must(t, w.ReopenPull(repo, n, "alice"))
	must(t, w.ClosePull(repo, n, "alice"))
	push(github.Push{Branch: "f1", Files: map[string]string{"f1": "4"}, Amend: true})
	if err := w.ReopenPull(repo, n, "alice"); err == nil {
		t.Error("reopened after a force-push")
	}

	n = open("f2")
	must(t, w.DeleteBranch(repo, "alice", "f2"))
	if got := state(n); got != "closed" {
		t.Errorf("without its branch it is %s", got)
	}
	n = open("f3")
	must(t, w.MoveBranch(repo, "bob", "main", get[[]github.Commit](t)(w.Commits(repo, "f3"))[0].SHA))
	if got := state(n); got != "merged by bob" {
		t.Errorf("pushed into the base it is %s", got)
	}
}

func TestPullRequestLists(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"g1", "g2", "g3"} {
		w.open(id)
	}
	must(t, w.ClosePull(repo, 2, "alice"))
	list := func(o api.PullRequestListOptions) (ns []int, next int) {
		t.Helper()
		prs, r, err := w.bot().PullRequests.List(ctx, "acme", "grants", &o)
		must(t, err)
		for _, p := range prs {
			ns = append(ns, p.GetNumber())
		}
		return ns, r.NextPage
	}
	if got, _ := list(api.PullRequestListOptions{}); len(got) != 2 || got[0] != 3 {
		t.Errorf("open are %v", got)
	}
	if got, _ := list(api.PullRequestListOptions{State: "all", Head: "acme:grant/g2"}); len(got) != 1 || got[0] != 2 {
		t.Errorf("of the branch are %v", got)
	}
	got, next := list(api.PullRequestListOptions{State: "all", Direction: "asc", ListOptions: api.ListOptions{PerPage: 2}})
	if len(got) != 2 || got[0] != 1 || next != 2 {
		t.Errorf("the first page is %v, next %d", got, next)
	}
	files, _, err := w.bot().PullRequests.ListFiles(ctx, "acme", "grants", 1, nil)
	must(t, err)
	if len(files) != 1 || files[0].GetFilename() != "grants/db/g1.yaml" || files[0].GetStatus() != "added" || files[0].GetAdditions() != 1 {
		t.Errorf("files are %v", files)
	}
	commits, _, err := w.bot().PullRequests.ListCommits(ctx, "acme", "grants", 1, nil)
	must(t, err)
	if len(commits) != 1 || commits[0].GetCommit().GetAuthor().GetName() != "alice" {
		t.Errorf("commits are %v", commits)
	}
}
