package github_test

import "testing"

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
