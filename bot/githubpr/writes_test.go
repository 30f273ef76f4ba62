package githubpr

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/bot/sandbox"
	fake "github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants/world"
)

func TestMergeSquashesTheHeadItWasTold(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, head := f.pull("mine")
	f.clock.Advance(time.Minute)
	message := "Because.\n\nTac-Grant: 20261122-k3v9q2m4tz\nTac-Decision: allow"
	commit, err := c.Merge(t.Context(), number, head, "alice gets mine for 1h", message)
	must(t, err)
	log, err := f.Commits(repo, "main")
	must(t, err)
	i := slices.IndexFunc(log, func(c fake.Commit) bool { return c.SHA == commit })
	if i < 0 || log[i].Message != "alice gets mine for 1h\n\n"+message || len(log[i].Parents) != 1 {
		t.Fatalf("merged as %s into %+v", commit, log)
	}
	merged, err := c.Pull(t.Context(), number)
	must(t, err)
	bot, err := c.Bot(t.Context())
	must(t, err)
	if merged.Commit != commit || merged.MergedBy != bot || !merged.MergedAt.Equal(noon.Add(time.Minute)) || merged.Open {
		t.Errorf("got %+v", merged)
	}
	again, err := c.Merge(t.Context(), number, head, "again", "again")
	if err != nil || again != commit {
		t.Errorf("merging again: %s, %v; want %s", again, err, commit)
	}
	if _, err := c.Merge(t.Context(), number, strings.Repeat("b", 40), "another head", ""); !errors.Is(err, world.ErrLost) {
		t.Errorf("merged before, at another head: %v", err)
	}
}

func TestWhatBecomesOfAMerge(t *testing.T) {
	put := func(when sandbox.When, status int, body string) *sandbox.Fault {
		return &sandbox.Fault{Method: "PUT", Path: "/merge", When: when, Status: status, Body: body}
	}
	const modified = `{"message":"Base branch was modified. Review and try the merge again."}`
	const unmergeable = `{"message":"Pull Request is not mergeable"}`
	tests := map[string]struct {
		fault *sandbox.Fault
		moved bool  // somebody pushes first
		blind bool  // the pull request cannot be read afterwards either
		want  error // nil: merged
		words string
	}{
		"nothing in the way":                      {},
		"the head has moved":                      {moved: true, want: world.ErrLost, words: "Head branch was modified"},
		"the base has moved":                      {fault: put(sandbox.Answer, 405, modified), want: world.ErrLost},
		"the answer was lost after the work":      {fault: put(sandbox.LostReply, 0, "")},
		"a 502 after the work":                    {fault: put(sandbox.AnswerAfter, 502, "<html>bad gateway")},
		"a 405 after the work":                    {fault: put(sandbox.AnswerAfter, 405, unmergeable)},
		"an answer that says nothing":             {fault: put(sandbox.AnswerAfter, 200, "{}")},
		"the connection was lost before the work": {fault: put(sandbox.Before, 0, ""), want: world.ErrAmbiguous},
		"a 503 instead of the work":               {fault: put(sandbox.Answer, 503, ""), want: world.ErrAmbiguous},
		"lost, and nobody can tell":               {fault: put(sandbox.LostReply, 0, ""), blind: true, want: world.ErrAmbiguous},
		"GitHub will not":                         {fault: put(sandbox.Answer, 405, unmergeable), want: errAny, words: "Pull Request is not mergeable"},
		"the limit is used up":                    {fault: put(sandbox.Answer, 429, ""), want: errAny, words: "rate limit"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			number, head := f.pull("mine")
			if test.fault != nil {
				f.Order(*test.fault)
			}
			if test.moved {
				f.push("mine")
			}
			if test.blind {
				f.Order(sandbox.Fault{Method: "GET", Path: fmt.Sprintf("/pulls/%d", number), When: sandbox.Answer, Status: 500, Times: -1})
			}
			commit, err := f.client().Merge(t.Context(), number, head, "subject", "message")
			if n := f.count("PUT", "/merge"); n != 1 {
				t.Errorf("asked to merge %d times", n)
			}
			if test.want == nil {
				log, logErr := f.Commits(repo, "main")
				must(t, logErr)
				if err != nil || !slices.ContainsFunc(log, func(c fake.Commit) bool { return c.SHA == commit && strings.HasPrefix(c.Message, "subject") }) {
					t.Errorf("got %q, %v; main has %+v", commit, err, log)
				}
				return
			}
			for _, kind := range []error{world.ErrLost, world.ErrAmbiguous} {
				if errors.Is(err, kind) != (test.want == kind) {
					t.Errorf("got %v; is it %q?", err, kind)
				}
			}
			if err == nil || commit != "" || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %q, %v", commit, err)
			}
		})
	}
}

// errAny stands for an error of no kind that callers branch on.
var errAny = errors.New("any")

func TestAWriteThatNeverLeftIsNotAmbiguous(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"no token, 502":            {Path: "/access_tokens", When: sandbox.Answer, Status: 502},
		"no token, no answer":      {Path: "/access_tokens", When: sandbox.Before, Times: 3},
		"no installation, 500":     {Path: "/app/installations/77", When: sandbox.Answer, Status: 500},
		"a right is not granted":   {Path: "/access_tokens", When: sandbox.Answer, Status: 422, Body: `{"message":"not granted"}`},
		"the App's limit is spent": {Path: "/access_tokens", When: sandbox.Answer, Status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			number, head := f.pull("mine")
			f.Order(fault)
			_, err := f.client().Merge(t.Context(), number, head, "s", "m")
			if err == nil || errors.Is(err, world.ErrAmbiguous) || errors.Is(err, world.ErrLost) {
				t.Errorf("got %v", err)
			}
			if f.count("GET", "/pulls") != 0 {
				t.Error("went to see whether it was merged")
			}
		})
	}
}

func TestMergeNeedsAHead(t *testing.T) {
	f := newForge(t)
	number, _ := f.pull("mine")
	for _, head := range []string{"", "main", "HEAD"} {
		if _, err := f.client().Merge(t.Context(), number, head, "subject", ""); err == nil {
			t.Errorf("merged %q", head)
		}
	}
	if f.count("PUT", "/merge") != 0 {
		t.Error("GitHub was asked")
	}
}

func TestTheCheckIsOurOwnAndOpensTheGate(t *testing.T) {
	f := newForge(t)
	must(t, f.Protect(repo, f.app))
	number, head := f.pull("mine")
	c := f.client()
	verdict := func(id int64, conclusion string) (int64, error) {
		return c.Check(t.Context(), id, world.Check{Head: head, Conclusion: conclusion, Title: "title", Summary: "**why**"})
	}
	blocked := func(words string) {
		t.Helper()
		_, err := c.Merge(t.Context(), number, head, "s", "m")
		if err == nil || !strings.Contains(err.Error(), words) || errors.Is(err, world.ErrLost) || errors.Is(err, world.ErrAmbiguous) {
			t.Errorf("got %v", err)
		}
	}
	blocked(`"tac/policy" is expected`)
	id, err := verdict(0, "")
	must(t, err)
	blocked("in progress")
	for _, conclusion := range []string{"failure", "", "success"} {
		if again, err := verdict(id, conclusion); err != nil || again != id {
			t.Errorf("said %q on run %d: got %d, %v", conclusion, id, again, err)
		}
	}
	for _, conclusion := range []string{"neutral", "skipped", "Success"} {
		if _, err := verdict(id, conclusion); err == nil {
			t.Errorf("said %q", conclusion)
		}
	}
	if _, err := c.Merge(t.Context(), number, head, "s", "m"); err != nil {
		t.Errorf("with success: %v", err)
	}

	other, err := f.AddApp("other", 4712)
	must(t, err)
	installed, err := f.Install(other, "acme", 78)
	must(t, err)
	theirs := &forge{Server: f.Server, t: t, clock: f.clock, app: other, on: installed}
	if _, err := theirs.client().Check(t.Context(), id, world.Check{Head: head, Conclusion: "failure"}); err == nil {
		t.Error("another App changed our check")
	}
}

func TestACheckThatGitHubKeepsIsSaidAnew(t *testing.T) {
	head := strings.Repeat("a", 40)
	const runs = "/repos/acme/grants/check-runs"
	c := stub(t, map[string]any{
		"PATCH " + runs + "/5": map[string]any{"id": 5, "head_sha": head, "status": "completed", "conclusion": "failure"},
		"POST " + runs:         map[string]any{"id": 6, "head_sha": head, "status": "in_progress"},
	})
	if id, err := c.Check(t.Context(), 5, world.Check{Head: head}); err != nil || id != 6 {
		t.Errorf("got %d, %v", id, err)
	}
	if id, err := c.Check(t.Context(), 0, world.Check{Head: head, Conclusion: "success"}); err == nil {
		t.Errorf("run %d does not say success", id)
	}
}

func TestLongTextsAreCutAtARune(t *testing.T) {
	for _, text := range []string{strings.Repeat("x", maxText), strings.Repeat("x", maxText+1), strings.Repeat("€", maxText), "x" + strings.Repeat("€", maxText)} {
		got := clip(text, maxText, cutNote)
		if len(got) > maxText || len(got) < maxText-3 || !utf8.ValidString(got) {
			t.Errorf("%d bytes became %d, valid: %v", len(text), len(got), utf8.ValidString(got))
		}
		if strings.HasSuffix(got, cutNote) != (len(text) > maxText) {
			t.Errorf("%d bytes became %q", len(text), got[len(got)-60:])
		}
	}
}

func TestReviewsAreAskedOfWhoMayBeAsked(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, _ := f.pull("mine")
	must(t, c.AskReview(t.Context(), number, nil))
	must(t, c.AskReview(t.Context(), number, []string{"mallory"}))
	must(t, c.AskReview(t.Context(), number, []string{"bob", "mallory", "nobody-of-that-name", "alice", "carol"}))
	asked, _, err := c.api.PullRequests.ListReviewers(t.Context(), "acme", "grants", number, nil)
	must(t, err)
	var logins []string
	for _, u := range asked.Users {
		logins = append(logins, u.GetLogin())
	}
	if !slices.Equal(logins, []string{"bob", "carol"}) {
		t.Errorf("asked %v", logins)
	}
	if err := c.AskReview(t.Context(), 999, []string{"bob"}); err == nil {
		t.Error("asked on a pull request that does not exist")
	}
}

func TestClosingSaysWhyOnce(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, _ := f.pull("mine")
	must(t, c.Describe(t.Context(), number, "who, what, why"))
	f.Order(sandbox.Fault{Method: "PATCH", Path: "/pulls/", When: sandbox.Answer, Status: 502})
	if err := c.Close(t.Context(), number, "1h is over\n"); err == nil {
		t.Error("closing failed, and nobody was told")
	}
	must(t, c.Close(t.Context(), number, "1h is over\n"))
	must(t, c.Close(t.Context(), number, "1h is over\n"))
	p, err := c.Pull(t.Context(), number)
	must(t, err)
	said, _, err := c.api.Issues.ListComments(t.Context(), "acme", "grants", number, nil)
	must(t, err)
	raw, _, err := c.api.PullRequests.Get(t.Context(), "acme", "grants", number)
	must(t, err)
	if p.Open || p.Merged || len(said) != 1 || said[0].GetBody() != "1h is over\n" || raw.GetBody() != "who, what, why" {
		t.Errorf("got %+v, %s, %q", p, github.Stringify(said), raw.GetBody())
	}
}
