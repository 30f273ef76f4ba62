package githubpr

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

func review() world.NewIssue {
	return world.NewIssue{
		Key: "break-glass/20261122-k3v9q2m4tz", Title: "Review: alice broke the glass on postgres-prod",
		Body: "alice had access without anybody's review.\n", Labels: []string{"tac", "break-glass"},
	}
}

func TestAnIssueIsOpenedOnce(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"nothing in the way":         {Path: "/nowhere"},
		"the answer was lost":        {Method: "POST", Path: "/issues", When: sandbox.LostReply},
		"a 502 hides that it is":     {Method: "POST", Path: "/issues", When: sandbox.AnswerAfter, Status: 502},
		"an answer of nothing":       {Method: "POST", Path: "/issues", When: sandbox.AnswerAfter, Status: 201, Body: "{}"},
		"it never arrived":           {Method: "POST", Path: "/issues", When: sandbox.Before},
		"a 503 instead of the work":  {Method: "POST", Path: "/issues", When: sandbox.Answer, Status: 503},
		"looking for it is too much": {Method: "GET", Path: "/issues", When: sandbox.Answer, Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			f.pull("mine")
			f.Order(fault)
			first, err := f.client().OpenIssue(t.Context(), review())
			if err != nil {
				if fault.Method == "POST" && !errors.Is(err, world.ErrAmbiguous) {
					t.Errorf("got %v", err)
				}
				// The same replica again, or the one after a crash.
				first, err = f.client().OpenIssue(t.Context(), review())
				must(t, err)
			}
			again, err := f.client().OpenIssue(t.Context(), review())
			if err != nil || again != first || !first.Open || first.Number != 2 || first.URL != f.URL()+"/acme/grants/issues/2" {
				t.Errorf("%+v, then %+v, %v", first, again, err)
			}
			titles, err := f.IssueTitles(repo)
			must(t, err)
			title, body, labels, err := f.IssueBody(repo, first.Number)
			must(t, err)
			if len(titles) != 1 || title != review().Title || !slices.Equal(labels, review().Labels) ||
				body != "alice had access without anybody's review.\n\n<!-- tac: break-glass/20261122-k3v9q2m4tz -->" {
				t.Errorf("there are %q; the first says %q, %q, %q", titles, title, body, labels)
			}
		})
	}
}

func TestAnIssueThatIsClosedIsNotOpenedAgain(t *testing.T) {
	f := newForge(t)
	first, err := f.client().OpenIssue(t.Context(), review())
	must(t, err)
	must(t, f.CloseIssueAs(repo, first.Number, "carol", "completed"))
	again, err := f.client().OpenIssue(t.Context(), review())
	if err != nil || again.Number != first.Number || again.Open || again.ClosedBy != person("carol") || !again.Completed {
		t.Errorf("%+v, %v", again, err)
	}
}

// TestAnIssueOfSomebodyElseIsNotOurs pins that nobody keeps a review from being
// opened, or takes it over, by writing what we would write.
func TestAnIssueOfSomebodyElseIsNotOurs(t *testing.T) {
	f := newForge(t)
	other := review()
	other.Key = "break-glass/another"
	other.Body = "The reason was:\n\n" + keyLine(review().Key)
	first, err := f.client().OpenIssue(t.Context(), other)
	must(t, err)
	pat, err := f.PAT("bob")
	must(t, err)
	human := github.NewClient(nil).WithAuthToken(pat)
	human.BaseURL = f.client().api.BaseURL
	body := keyLine(review().Key)
	labels := review().Labels
	_, _, err = human.Issues.Create(t.Context(), "acme", "grants", &github.IssueRequest{Title: &body, Body: &body, Labels: &labels})
	must(t, err)
	got, err := f.client().OpenIssue(t.Context(), review())
	if err != nil || got.Number != 3 || first.Number != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAListIsNotTrustedToBeTheOneAskedFor pins that an answer to another
// question, of a cache say, does not name an issue that is not ours.
func TestAListIsNotTrustedToBeTheOneAskedFor(t *testing.T) {
	const issues = "/repos/acme/grants/issues"
	entry := func(number, user int, more string) string {
		return fmt.Sprintf(`{"number":%d,"state":"open","user":{"id":%d},"body":"x\n\n%s"%s}`, number, user, keyLine(review().Key), more)
	}
	c := stub(t, map[string]any{
		"GET /app":             map[string]any{"slug": "tac"},
		"GET /users/tac[bot]":  map[string]any{"id": 5, "type": "Bot"},
		"GET " + issues:        "[" + entry(1, 1002, "") + "," + entry(2, 5, `,"pull_request":{"url":"https://x"}`) + "," + entry(3, 5, "") + "]",
		"GET " + issues + "/1": entry(1, 1002, ""), "GET " + issues + "/2": entry(2, 5, ""), "GET " + issues + "/3": entry(3, 5, ""),
	})
	if got, err := c.OpenIssue(t.Context(), review()); err != nil || got.Number != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOfTwoReplicasThatOpenAnIssueTheOlderOneStays(t *testing.T) {
	f := newForge(t)
	const replicas = 2
	var begun sync.WaitGroup
	begun.Add(replicas)
	first := make([]bool, replicas)
	var opened [replicas]world.Issue
	var all sync.WaitGroup
	for i := range replicas {
		c := f.between(func(r *http.Request) {
			if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/issues") && !first[i] {
				first[i] = true
				begun.Done()
				begun.Wait() // both have looked, and neither has found it
			}
		})
		all.Go(func() {
			var err error
			if opened[i], err = c.OpenIssue(t.Context(), review()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	stays, err := f.client().OpenIssue(t.Context(), review())
	must(t, err)
	gone, err := f.client().Issue(t.Context(), 2)
	must(t, err)
	if stays.Number != 1 || !stays.Open || gone.Open || gone.Completed || !gone.ClosedBot {
		t.Errorf("%+v stays, the other is %+v", stays, gone)
	}
	for i, o := range opened {
		if o.Number != 1 {
			t.Errorf("replica %d has %+v", i, o)
		}
	}
}

func TestOnlyAHumanClosesAnIssueAsAHuman(t *testing.T) {
	closed := noon.Add(time.Hour)
	for name, test := range map[string]struct {
		close func(f *forge, number int)
		want  world.Issue
	}{
		"nobody yet": {func(*forge, int) {}, world.Issue{Open: true}},
		"a human, as done": {func(f *forge, n int) { must(f.t, f.CloseIssueAs(repo, n, "carol", "completed")) },
			world.Issue{ClosedBy: person("carol"), ClosedAt: closed, Completed: true}},
		"a human, as unwanted": {func(f *forge, n int) { must(f.t, f.CloseIssueAs(repo, n, "carol", "not_planned")) },
			world.Issue{ClosedBy: person("carol"), ClosedAt: closed}},
		"a human, as a duplicate": {func(f *forge, n int) { must(f.t, f.CloseIssueAs(repo, n, "carol", "duplicate")) },
			world.Issue{ClosedBy: person("carol"), ClosedAt: closed}},
		"our App": {func(f *forge, n int) {
			_, _, err := f.client().api.Issues.Edit(f.t.Context(), "acme", "grants", n, &github.IssueRequest{State: github.String("closed")})
			must(f.t, err)
		}, world.Issue{ClosedBy: grants.Principal{GitHub: "tac[bot]"}, ClosedBot: true, ClosedAt: closed, Completed: true}},
		"a human who opened it again": {func(f *forge, n int) {
			must(f.t, f.CloseIssueAs(repo, n, "carol", "completed"))
			must(f.t, f.ReopenIssue(repo, n, "bob"))
		}, world.Issue{Open: true}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			opened, err := f.client().OpenIssue(t.Context(), review())
			must(t, err)
			f.clock.Advance(time.Hour)
			test.close(f, opened.Number)
			got, err := f.client().Issue(t.Context(), opened.Number)
			must(t, err)
			test.want.Number, test.want.URL = opened.Number, opened.URL
			if test.want.ClosedBot {
				test.want.ClosedBy.ID, err = f.client().Bot(t.Context())
				must(t, err)
			}
			if got != test.want {
				t.Errorf("got %+v\nwant %+v", got, test.want)
			}
		})
	}
	// A ghost: an account that was deleted is no human being any more.
	c := stub(t, map[string]any{"GET /repos/acme/grants/issues/7": map[string]any{"number": 7, "state": "closed", "state_reason": "completed", "closed_by": nil}})
	if got, err := c.Issue(t.Context(), 7); err != nil || !got.ClosedBot || got.ClosedBy != (grants.Principal{}) {
		t.Errorf("closed by nobody: %+v, %v", got, err)
	}
}

func TestAnIssueThatIsGoneIsNotFoundAndAFailureIsAnother(t *testing.T) {
	f := newForge(t)
	c := f.client()
	_, err := f.AddRepo("acme", "other", "main")
	must(t, err)
	open := func() int {
		t.Helper()
		n, err := f.OpenIssue(repo, "alice", "t")
		must(t, err)
		return n
	}
	deleted, moved := open(), open()
	must(t, f.DeleteIssue(repo, deleted))
	must(t, f.TransferIssue(repo, moved, "acme/other"))
	for name, n := range map[string]int{"deleted": deleted, "moved": moved, "never there": 99} {
		if got, err := c.Issue(t.Context(), n); !errors.Is(err, world.ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	number, _ := f.pull("mine")
	if got, err := c.Issue(t.Context(), number); err == nil || errors.Is(err, world.ErrNotFound) {
		t.Errorf("a pull request: %+v, %v", got, err)
	}
	for _, answer := range []any{map[string]any{}, map[string]any{"number": 7}, map[string]any{"number": 8, "state": "open"}, map[string]any{"number": 7, "state": "ajar"}} {
		c := stub(t, map[string]any{"GET /repos/acme/grants/issues/7": answer})
		if got, err := c.Issue(t.Context(), 7); err == nil || errors.Is(err, world.ErrNotFound) {
			t.Errorf("%v: %+v, %v", answer, got, err)
		}
	}
}

func TestAKeyCannotBreakOutOfItsLine(t *testing.T) {
	f := newForge(t)
	for _, key := range []string{"", "A", "a b", "a--b", "a-->", "a\nb", "a/", "-a", strings.Repeat("a", maxKey+1)} {
		i := review()
		i.Key = key
		if got, err := f.client().OpenIssue(t.Context(), i); err == nil {
			t.Errorf("%q: %+v", key, got)
		}
	}
	if f.count("POST", "/issues") != 0 {
		t.Error("GitHub was asked")
	}
	long := review()
	long.Labels = nil
	long.Body = strings.Repeat("€", maxText)
	first, err := f.client().OpenIssue(t.Context(), long)
	must(t, err)
	if again, err := f.client().OpenIssue(t.Context(), long); err != nil || again != first {
		t.Errorf("a long one: %+v, %v", again, err)
	}
}
