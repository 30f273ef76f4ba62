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
