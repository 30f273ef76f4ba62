package github_test

import (
	"slices"
	"testing"

	api "github.com/google/go-github/v60/github"
)

func TestIssues(t *testing.T) {
	w := newWorld(t)
	open := func() int { return get[int](t)(w.OpenIssue(repo, "alice", "It is broken")) }
	alice := w.as("alice")

	n := open()
	must(t, w.AssignIssue(repo, n, "alice", "bob"))
	i, _, err := alice.Issues.Get(ctx, "acme", "grants", n)
	must(t, err)
	if i.GetState() != "open" || i.IsPullRequest() || len(i.Assignees) != 2 || i.GetAssignee().GetID() != 1001 || i.Assignees[1].GetLogin() != "bob" {
		t.Errorf("issue is %v", i)
	}
	must(t, w.AssignIssue(repo, n))
	must(t, w.CloseIssue(repo, n))
	i, _, err = alice.Issues.Get(ctx, "acme", "grants", n)
	must(t, err)
	if i.GetState() != "closed" || i.GetStateReason() != "completed" || i.ClosedAt == nil || i.Assignees == nil || len(i.Assignees) != 0 {
		t.Errorf("issue is %v", i)
	}

	deleted := open()
	must(t, w.DeleteIssue(repo, deleted))
	_, _, err = alice.Issues.Get(ctx, "acme", "grants", deleted)
	status(t, err, 410, "This issue was deleted")

	// GitHub shows what was transferred at its new address, to which clients
	// are sent.
	_, err = w.AddRepo("acme", "other", "main")
	must(t, err)
	must(t, w.Grant("acme/other", "read", "alice"))
	moved := open()
	must(t, w.TransferIssue(repo, moved, "acme/other"))
	i, resp, err := alice.Issues.Get(ctx, "acme", "grants", moved)
	must(t, err)
	if i.GetNumber() != 1 || i.GetRepositoryURL() != w.URL()+"/repos/acme/other" || resp.Request.URL.Path != "/repos/acme/other/issues/1" {
		t.Errorf("moved issue is %v", i)
	}

	pull := w.open("g1").GetNumber()
	i, _, err = alice.Issues.Get(ctx, "acme", "grants", pull)
	must(t, err)
	if !i.IsPullRequest() || i.GetNumber() != pull {
		t.Errorf("pull request is the issue %v", i)
	}
	_, _, err = alice.Issues.Get(ctx, "acme", "grants", 99)
	status(t, err, 404, "Not Found")
	_, _, err = w.as("mallory").Issues.Get(ctx, "acme", "grants", n)
	status(t, err, 404, "Not Found")
	for name, err := range map[string]error{
		"an issue that is not there":     w.CloseIssue(repo, 99),
		"a repository that is not there": w.TransferIssue(repo, n, "acme/none"),
		"somebody who is not there":      w.AssignIssue(repo, n, "nobody"),
	} {
		if err == nil {
			t.Errorf("%s was changed", name)
		}
	}
}

func TestIssuesAreListedAndChanged(t *testing.T) {
	w := newWorld(t)
	create := func(c *api.Client, title string, labels ...string) int {
		t.Helper()
		i, _, err := c.Issues.Create(ctx, "acme", "grants", &api.IssueRequest{Title: &title, Body: api.String("why"), Labels: &labels})
		must(t, err)
		return i.GetNumber()
	}
	must(t, w.Grant(repo, "read", "alice"))
	ours := create(w.bot(), "ours", "tac", "alarm")
	theirs := create(w.as("alice"), "theirs", "tac") // who may not push: the label is dropped
	create(w.bot(), "ours too", "tac")
	w.open("g1")
	titles := func(o api.IssueListByRepoOptions) (titles []string) {
		t.Helper()
		list, _, err := w.bot().Issues.ListByRepo(ctx, "acme", "grants", &o)
		must(t, err)
		for _, i := range list {
			titles = append(titles, i.GetTitle())
		}
		return titles
	}
	const bot = "tac[bot]"
	_, _, err := w.bot().Issues.Edit(ctx, "acme", "grants", ours, &api.IssueRequest{State: api.String("closed"), StateReason: api.String("not_planned")})
	must(t, err)
	for _, tc := range []struct {
		ask  api.IssueListByRepoOptions
		want []string
	}{
		{api.IssueListByRepoOptions{Direction: "asc"}, []string{"theirs", "ours too", "Grant g1"}},
		{api.IssueListByRepoOptions{State: "closed"}, []string{"ours"}},
		{api.IssueListByRepoOptions{State: "all", Creator: bot}, []string{"Grant g1", "ours too", "ours"}},
		{api.IssueListByRepoOptions{State: "all", Labels: []string{"tac"}}, []string{"ours too", "ours"}},
		{api.IssueListByRepoOptions{State: "all", Labels: []string{"tac", "alarm"}}, []string{"ours"}},
		{api.IssueListByRepoOptions{State: "all", ListOptions: api.ListOptions{PerPage: 2, Page: 2}}, []string{"theirs", "ours"}},
	} {
		if got := titles(tc.ask); !slices.Equal(got, tc.want) {
			t.Errorf("%+v: %q, want %q", tc.ask, got, tc.want)
		}
	}
	i, _, err := w.as("alice").Issues.Get(ctx, "acme", "grants", ours)
	must(t, err)
	if i.GetState() != "closed" || i.GetStateReason() != "not_planned" || i.GetClosedBy().GetLogin() != bot || i.GetClosedBy().GetType() != "Bot" {
		t.Errorf("issue is %v", i)
	}
	_, _, err = w.as("alice").Issues.Edit(ctx, "acme", "grants", ours, &api.IssueRequest{State: api.String("open")})
	status(t, err, 403, "")
	i, _, err = w.as("alice").Issues.Edit(ctx, "acme", "grants", theirs, &api.IssueRequest{State: api.String("closed")})
	must(t, err)
	if i.GetState() != "closed" || i.GetStateReason() != "completed" || i.GetClosedBy().GetLogin() != "alice" {
		t.Errorf("issue is %v", i)
	}
}
