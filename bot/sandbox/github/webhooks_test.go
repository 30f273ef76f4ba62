package github_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	api "github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// receiver is an endpoint that checks signatures and notes what arrives.
type receiver struct {
	mu     sync.Mutex
	events []string
	guids  []string
}

func (w *world) receive(secret string) *receiver {
	got := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || api.ValidateSignature(r.Header.Get(api.SHA256SignatureHeader), body, []byte("s3cret")) != nil {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		event, err := api.ParseWebHook(api.WebHookType(r), body)
		name := api.WebHookType(r)
		switch e := event.(type) {
		case *api.PullRequestEvent:
			name += " " + e.GetAction()
		case *api.PullRequestReviewEvent:
			name += " " + e.GetAction() + " " + e.GetReview().GetState()
		case *api.PushEvent:
			name += " " + e.GetRef()
		case *api.IssuesEvent:
			name += " " + e.GetAction() + " " + e.GetIssue().GetState()
		case *api.MembershipEvent:
			name += " " + e.GetAction() + " " + e.GetMember().GetLogin() + " " + e.GetTeam().GetSlug()
		case *api.TeamEvent:
			name += " " + e.GetAction() + " " + e.GetTeam().GetSlug()
		case *api.OrganizationEvent:
			name += " " + e.GetAction() + " " + e.GetMembership().GetUser().GetLogin()
		}
		if err != nil {
			name = err.Error()
		}
		got.mu.Lock()
		defer got.mu.Unlock()
		got.events = append(got.events, name)
		got.guids = append(got.guids, api.DeliveryID(r))
	}))
	w.t.Cleanup(server.Close)
	w.SetWebhook(w.app, server.URL, secret)
	return got
}

func (r *receiver) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (w *world) arrives(r *receiver, want ...string) {
	w.t.Helper()
	must(w.t, w.Drain(ctx))
	if got := r.take(); !slices.Equal(got, want) {
		w.t.Errorf("arrived %q, want %q", got, want)
	}
}

func TestWebhooksTellOfTheLifeOfAPullRequest(t *testing.T) {
	w := newWorld(t)
	got := w.receive("s3cret")
	push := func(text string) {
		t.Helper()
		_, err := w.Push(github.Push{Repo: repo, Login: "alice", Branch: "f", Files: map[string]string{"f": text}, Message: "m"})
		must(t, err)
	}
	push("1")
	n := get[int](t)(w.OpenPull(repo, "alice", "f", "main", "T", "B"))
	w.arrives(got, "push refs/heads/f", "pull_request opened")
	push("2")
	w.arrives(got, "push refs/heads/f", "pull_request synchronize")
	id := get[int64](t)(w.Review(repo, n, "bob", "APPROVE", ""))
	must(t, w.Dismiss(repo, n, id, "bob", "no"))
	w.arrives(got, "pull_request_review submitted approved", "pull_request_review dismissed dismissed")
	_, _, err := w.bot().PullRequests.Edit(ctx, "acme", "grants", n, &api.PullRequest{Title: api.String("U")})
	must(t, err)
	must(t, w.ClosePull(repo, n, "alice"))
	must(t, w.ReopenPull(repo, n, "alice"))
	w.arrives(got, "pull_request edited", "pull_request closed", "pull_request reopened")
	reviewers := api.ReviewersRequest{Reviewers: []string{"bob"}}
	_, _, err = w.bot().PullRequests.RequestReviewers(ctx, "acme", "grants", n, reviewers)
	must(t, err)
	_, err = w.bot().PullRequests.RemoveReviewers(ctx, "acme", "grants", n, reviewers)
	must(t, err)
	w.arrives(got, "pull_request review_requested", "pull_request review_request_removed")
	must(t, w.SetDraft(repo, n, "alice", true))
	must(t, w.SetDraft(repo, n, "alice", false))
	w.arrives(got, "pull_request converted_to_draft", "pull_request ready_for_review")
	_, err = w.Merge(repo, n, "bob")
	must(t, err)
	w.arrives(got, "push refs/heads/main", "pull_request closed")
}

func TestWebhooksTellWhoCameAndWhoLeft(t *testing.T) {
	w := newWorld(t)
	w.AddUser("carol", 1004)
	got := w.receive("s3cret")
	must(t, w.AddMember("acme", "carol", "alice"))
	w.arrives(got, "organization member_added carol")
	for i, slug := range []string{"db", "web"} {
		_, err := w.AddTeam("acme", slug, int64(501+i))
		must(t, err)
	}
	w.arrives(got, "team created db", "team created web")
	must(t, w.SetTeamMembers("acme", "db", "carol", "alice"))
	must(t, w.SetTeamMembers("acme", "web", "carol"))
	w.arrives(got, "membership added alice db", "membership added carol db", "membership added carol web")
	must(t, w.SetTeamMembers("acme", "db", "carol"))
	must(t, w.InviteToTeam("acme", "web", "alice"))
	w.arrives(got, "membership removed alice db")
	must(t, w.RemoveMember("acme", "carol"))
	must(t, w.RemoveMember("acme", "carol"))
	w.arrives(got, "membership removed carol db", "membership removed carol web", "organization member_removed carol")
	w.RemoveTeam("acme", "web")
	w.RemoveTeam("acme", "web")
	w.arrives(got, "team deleted web")
}

func TestWebhooksTellOfTheLifeOfAnIssue(t *testing.T) {
	w := newWorld(t)
	got := w.receive("s3cret")
	n := get[int](t)(w.OpenIssue(repo, "alice", "It is broken"))
	must(t, w.CloseIssueAs(repo, n, "bob", "not_planned"))
	must(t, w.ReopenIssue(repo, n, "alice"))
	must(t, w.CloseIssue(repo, n))
	must(t, w.CloseIssue(repo, n))
	w.arrives(got, "issues opened open", "issues closed closed", "issues reopened open", "issues closed closed")
}

func TestWebhooksAreDroppedDoubledReorderedAndRefused(t *testing.T) {
	w := newWorld(t)
	got := w.receive("s3cret")
	push := func(branch string) {
		t.Helper()
		_, err := w.Push(github.Push{Repo: repo, Login: "alice", Branch: branch, Files: map[string]string{branch: "x"}, Message: "m"})
		must(t, err)
	}
	w.DropDeliveries(1)
	push("a")
	w.arrives(got)
	w.Redeliver(w.Deliveries()[0])
	w.arrives(got, "push refs/heads/a")

	w.DuplicateDeliveries(1)
	push("b")
	w.arrives(got, "push refs/heads/b", "push refs/heads/b")
	if ids := got.guids[len(got.guids)-2:]; ids[0] != ids[1] {
		t.Errorf("doubled deliveries have GUIDs %v", ids)
	}

	w.HoldDeliveries()
	push("c")
	push("d")
	w.arrives(got)
	w.ReleaseDeliveries(true)
	w.arrives(got, "push refs/heads/d", "push refs/heads/c")

	w.receive("wrong")
	push("e")
	w.arrives(got)
	all := w.Deliveries()
	if last := all[len(all)-1]; last.Status != http.StatusUnauthorized || last.Event != "push" {
		t.Errorf("the record ends with %+v", last)
	}
	w.SetWebhook(w.app, "http://127.0.0.1:1/", "s3cret")
	push("f") // nobody listens there, and the push does not care
	must(t, w.Drain(ctx))
	all = w.Deliveries()
	if last := all[len(all)-1]; last.Err == nil {
		t.Error("a delivery to nowhere has no error")
	}
}
