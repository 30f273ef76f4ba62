package github_test

import (
	"testing"

	api "github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

func (w *world) review(client *api.Client, n int, event, commit string) (*api.PullRequestReview, error) {
	in := &api.PullRequestReviewRequest{Event: api.String(event), Body: api.String("because")}
	if commit != "" {
		in.CommitID = api.String(commit)
	}
	r, _, err := client.PullRequests.CreateReview(ctx, "acme", "grants", n, in)
	return r, err
}

func (w *world) reviews(n int) []*api.PullRequestReview {
	w.t.Helper()
	list, _, err := w.bot().PullRequests.ListReviews(ctx, "acme", "grants", n, nil)
	must(w.t, err)
	return list
}

func TestReviews(t *testing.T) {
	w := newWorld(t)
	_, err := w.Push(github.Push{Repo: repo, Login: "alice", Branch: "f", Files: map[string]string{"f": "1"}, Message: "f"})
	must(t, err)
	own := get[int](t)(w.OpenPull(repo, "alice", "f", "main", "mine", ""))
	_, err = w.review(w.as("alice"), own, "APPROVE", "")
	status(t, err, 422, "Can not approve your own pull request")
	_, err = w.review(w.as("mallory"), own, "APPROVE", "")
	status(t, err, 404, "Not Found")

	pr := w.open("g1")
	n, head := pr.GetNumber(), pr.Head.GetSHA()
	_, err = w.review(w.bot(), n, "APPROVE", "")
	status(t, err, 422, "Can not approve your own pull request")
	// The forge's rule looks at the author alone, which is the bot: whoever
	// asked the bot to open it may approve it, as far as the forge goes.
	r, err := w.review(w.as("alice"), n, "APPROVE", "")
	must(t, err)
	if r.GetState() != "APPROVED" || r.GetCommitID() != head || r.GetUser().GetID() != 1001 || !r.GetSubmittedAt().Time.Equal(w.clock.Now()) {
		t.Errorf("review is %v", r)
	}

	// A later push leaves the review at the commit it was made for.
	dir := w.clone("x-access-token", w.installationToken())
	mustGit(t, dir, "checkout", "-q", "grant/g1")
	next := commit(t, dir, "grants/db/g1.yaml", "id: changed\n")
	mustGit(t, dir, "push", "-q", "origin", "HEAD")
	if got := w.reviews(n); len(got) != 1 || got[0].GetCommitID() != head || head == next {
		t.Errorf("reviews are %v", got)
	}
	_, err = w.review(w.as("bob"), n, "REQUEST_CHANGES", next)
	must(t, err)
	_, err = w.review(w.as("bob"), n, "APPROVE", "0123456789012345678901234567890123456789")
	status(t, err, 422, "commit_id")

	_, _, err = w.as("bob").PullRequests.DismissReview(ctx, "acme", "grants", n, r.GetID(), &api.PullRequestReviewDismissalRequest{Message: api.String("no")})
	must(t, err)
	if got := w.reviews(n); got[0].GetState() != "DISMISSED" || got[1].GetState() != "CHANGES_REQUESTED" {
		t.Errorf("reviews are %v", got)
	}
	if by := get[string](t)(w.DismissedBy(repo, n, r.GetID())); by != "bob" {
		t.Errorf("dismissed by %q", by)
	}
}

func TestReviewersMustBeCollaboratorsAndNotTheAuthor(t *testing.T) {
	w := newWorld(t)
	ask := func(n int, login string) error {
		_, _, err := w.bot().PullRequests.RequestReviewers(ctx, "acme", "grants", n, api.ReviewersRequest{Reviewers: []string{login}})
		return err
	}
	n := w.open("g1").GetNumber()
	must(t, ask(n, "bob"))
	status(t, ask(n, "mallory"), 422, "not a collaborator")
	status(t, ask(n, "nobody"), 422, "not a collaborator")
	_, err := w.Push(github.Push{Repo: repo, Login: "alice", Branch: "f", Files: map[string]string{"f": "1"}, Message: "f"})
	must(t, err)
	status(t, ask(get[int](t)(w.OpenPull(repo, "alice", "f", "main", "mine", "")), "alice"), 422, "pull request author")

	requested := func() int {
		pr, _, err := w.bot().PullRequests.Get(ctx, "acme", "grants", n)
		must(t, err)
		return len(pr.RequestedReviewers)
	}
	if requested() != 1 {
		t.Error("bob is not asked")
	}
	_, err = w.Review(repo, n, "bob", "COMMENT", "")
	must(t, err)
	if requested() != 0 {
		t.Error("bob is still asked after his review")
	}
}

func TestCheckRunsBelongToTheirApp(t *testing.T) {
	w := newWorld(t)
	must(t, w.Protect(repo, w.app))
	other, err := w.AddApp("other", 88)
	must(t, err)
	_, err = w.Install(other, "acme", 7002)
	must(t, err)
	stranger := &world{Server: w.Server, t: t, clock: w.clock, app: other}
	pr := w.open("g1")
	create := func(c *api.Client, conclusion string) (*api.CheckRun, error) {
		in := api.CreateCheckRunOptions{Name: "tac/policy", HeadSHA: pr.Head.GetSHA(), Status: api.String("in_progress")}
		if conclusion != "" {
			in.Status, in.Conclusion = api.String("completed"), api.String(conclusion)
		}
		run, _, err := c.Checks.CreateCheckRun(ctx, "acme", "grants", in)
		return run, err
	}
	_, err = create(w.as("alice"), "success")
	status(t, err, 403, "GitHub App")

	// Another App's success does not satisfy the rule, and does not go away.
	second := stranger.botOf(7002)
	_, err = create(second, "success")
	must(t, err)
	_, err = w.merge(pr.GetNumber(), "")
	status(t, err, 405, "is expected")

	run, err := create(w.bot(), "")
	must(t, err)
	_, err = w.merge(pr.GetNumber(), "")
	status(t, err, 405, "in progress")
	update := api.UpdateCheckRunOptions{Name: "tac/policy", Status: api.String("completed"), Conclusion: api.String("success")}
	_, _, err = second.Checks.UpdateCheckRun(ctx, "acme", "grants", run.GetID(), update)
	status(t, err, 403, "Invalid app_id")
	_, err = create(w.bot(), "failure")
	must(t, err)
	_, err = w.merge(pr.GetNumber(), "")
	status(t, err, 405, "is failing")

	list, _, err := w.bot().Checks.ListCheckRunsForRef(ctx, "acme", "grants", "grant/g1", &api.ListCheckRunsOptions{CheckName: api.String("tac/policy")})
	must(t, err)
	if list.GetTotal() != 2 || list.CheckRuns[0].GetApp().GetID() != 77 || list.CheckRuns[0].GetConclusion() != "failure" {
		t.Errorf("the latest runs are %v", list.CheckRuns)
	}
	w.pass(pr.Head.GetSHA())
	_, err = w.merge(pr.GetNumber(), "")
	must(t, err)
}

func TestComments(t *testing.T) {
	w := newWorld(t)
	n := w.open("g1").GetNumber()
	c, _, err := w.bot().Issues.CreateComment(ctx, "acme", "grants", n, &api.IssueComment{Body: api.String("one")})
	must(t, err)
	_, _, err = w.as("bob").Issues.EditComment(ctx, "acme", "grants", c.GetID(), &api.IssueComment{Body: api.String("edited")})
	must(t, err) // whoever may write may edit other people's comments
	list, _, err := w.bot().Issues.ListComments(ctx, "acme", "grants", n, nil)
	must(t, err)
	if len(list) != 1 || list[0].GetBody() != "edited" || list[0].GetUser().GetLogin() != "tac[bot]" {
		t.Errorf("comments are %v", list)
	}
	_, _, err = w.as("alice").Issues.Create(ctx, "acme", "grants", &api.IssueRequest{Title: api.String("alert")})
	must(t, err)
	if titles := get[[]string](t)(w.IssueTitles(repo)); len(titles) != 1 || titles[0] != "alert" {
		t.Errorf("issues are %v", titles)
	}
}

// TestAPersonsTokenIsOfUseWithTheAppsRightsOnly is what keeps an App from
// doing in a person's name what nobody let it do.
func TestAPersonsTokenIsOfUseWithTheAppsRightsOnly(t *testing.T) {
	w := newWorld(t)
	n := w.open("g1").GetNumber()
	as := func(login string, app *github.App) *api.Client {
		return w.client(nil).WithAuthToken(get[string](t)(w.UserToken(login, app)))
	}
	r, err := w.review(as("alice", w.app), n, "APPROVE", "")
	must(t, err)
	if r.GetUser().GetID() != 1001 || r.GetUser().GetType() != "User" {
		t.Errorf("the review is %v", r)
	}
	_, err = w.review(as("mallory", w.app), n, "APPROVE", "")
	status(t, err, 404, "Not Found")

	weak := get[*github.App](t)(w.AddApp("weak", 90))
	_, err = w.review(as("alice", weak), n, "APPROVE", "")
	status(t, err, 404, "Not Found") // it is not installed
	weak.Permissions["pull_requests"] = "read"
	_, err = w.Install(weak, "acme", 9001)
	must(t, err)
	_, err = w.review(as("alice", weak), n, "APPROVE", "")
	status(t, err, 403, "Resource not accessible by integration")
	if got := w.reviews(n); len(got) != 1 {
		t.Errorf("reviews are %v", got)
	}
}

func TestCommentsOnLinesMoveAlongUntilTheyAreOutdated(t *testing.T) {
	w := newWorld(t)
	push := func(text string) string {
		t.Helper()
		return get[string](t)(w.Push(github.Push{Repo: repo, Login: "alice", Branch: "f", Files: map[string]string{"d/f": text}, Message: "f"}))
	}
	first := push("one\ntwo\n")
	n := get[int](t)(w.OpenPull(repo, "alice", "f", "main", "mine", ""))
	id := get[int64](t)(w.ReviewLines(repo, n, "bob", "COMMENT", "", "", github.LineComment{Path: "d/f", Line: 2, Body: github.Suggest("deux")}))
	_, err := w.ReviewLines(repo, n, "bob", "", "", "", github.LineComment{Path: "d/f", Line: 1, Body: "not sent"})
	must(t, err)
	for _, bad := range []github.LineComment{{Path: "d/f", Line: 3, Body: "x"}, {Path: "d", Line: 1, Body: "x"}, {Path: "g", Line: 1, Body: "x"}, {Path: "d/f", Line: 1}} {
		if _, err := w.ReviewLines(repo, n, "alice", "COMMENT", "", "", bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	shown := func() *api.PullRequestComment {
		t.Helper()
		list, _, err := w.bot().PullRequests.ListComments(ctx, "acme", "grants", n, nil)
		must(t, err)
		if len(list) != 1 || list[0].GetPullRequestReviewID() != id || list[0].GetOriginalCommitID() != first || list[0].GetOriginalLine() != 2 {
			t.Fatalf("comments are %v", list)
		}
		return list[0]
	}
	if c := shown(); c.GetLine() != 2 || c.GetCommitID() != first || c.GetUser().GetLogin() != "bob" {
		t.Errorf("comment is %v", c)
	}
	second := push("uno\ntwo\n")
	if c := shown(); c.GetLine() != 2 || c.GetCommitID() != second {
		t.Errorf("comment is %v", c)
	}
	push("uno\ndos\n")
	if c := shown(); c.Line != nil || c.GetCommitID() != first {
		t.Errorf("comment is %v", c)
	}
}
