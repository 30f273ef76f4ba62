package githubpr

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	fake "github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

func TestOpeningTwiceGivesOnePull(t *testing.T) {
	f := newForge(t)
	c := f.client()
	head := f.push("grant/x")
	wish := world.NewPull{Branch: "grant/x", Title: "alice wants x", Body: "why"}
	first, err := c.Open(t.Context(), wish)
	must(t, err)
	again, err := c.Open(t.Context(), wish)
	must(t, err)
	if first.Number != again.Number {
		t.Errorf("opened %d, then %d", first.Number, again.Number)
	}
	bot, err := c.Bot(t.Context())
	must(t, err)
	want := world.Pull{
		Number: first.Number, Title: "alice wants x", Head: head, Branch: "grant/x", Base: "main", SameRepo: true,
		AuthorBot: true, Open: true, CreatedAt: noon, URL: first.URL, Author: first.Author,
	}
	if first != want || first.Author.ID != bot || first.Author.ID == 0 || !strings.Contains(first.URL, "/acme/grants/pull/") {
		t.Errorf("got %+v, want %+v by %d", first, want, bot)
	}
}

func TestALostAnswerToOpeningIsFoundOut(t *testing.T) {
	create := func(when sandbox.When, status int) sandbox.Fault {
		return sandbox.Fault{Method: "POST", Path: "/pulls", When: when, Status: status}
	}
	tests := map[string]struct {
		fault sandbox.Fault
		found bool
	}{
		"the connection was lost after the work":  {create(sandbox.LostReply, 0), true},
		"a proxy said 502 after the work":         {create(sandbox.AnswerAfter, 502), true},
		"the connection was lost before the work": {create(sandbox.Before, 0), false},
		"a proxy said 503 instead of the work":    {create(sandbox.Answer, 503), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			f.push("grant/x")
			f.Order(test.fault)
			c := f.client()
			got, err := c.Open(t.Context(), world.NewPull{Branch: "grant/x", Title: "x"})
			if test.found && (err != nil || got.Branch != "grant/x") {
				t.Errorf("got %+v, %v", got, err)
			}
			if !test.found && !errors.Is(err, world.ErrAmbiguous) {
				t.Errorf("got %v, want an ambiguous outcome", err)
			}
			if n := f.count("POST", "/pulls"); n != 1 {
				t.Errorf("asked to open %d times", n)
			}
		})
	}
}

func TestARefusalToOpenIsNotAmbiguous(t *testing.T) {
	f := newForge(t)
	_, err := f.client().Open(t.Context(), world.NewPull{Branch: "grant/never-pushed", Title: "x"})
	if err == nil || errors.Is(err, world.ErrAmbiguous) || !strings.Contains(err.Error(), "422") {
		t.Errorf("got %v", err)
	}
}

func TestOpenPullsReadsEveryPageOfTheDefaultBranchOnly(t *testing.T) {
	f := newForge(t)
	c := f.client()
	for i := range 103 {
		f.pull(fmt.Sprintf("b%03d", i))
	}
	_, err := f.Push(fake.Push{Repo: repo, Login: "alice", Branch: "main2", Message: "m", Files: map[string]string{"z": "z"}})
	must(t, err)
	f.push("other")
	elsewhere, err := f.OpenPull(repo, "alice", "other", "main2", "not to main", "")
	must(t, err)
	must(t, f.ClosePull(repo, 2, "alice"))

	pulls, err := c.OpenPulls(t.Context())
	must(t, err)
	numbers := []int{}
	for _, p := range pulls {
		numbers = append(numbers, p.Number)
	}
	if len(numbers) != 102 || !slices.IsSorted(numbers) || slices.Contains(numbers, 2) || slices.Contains(numbers, elsewhere) {
		t.Errorf("got %d: %v", len(numbers), numbers)
	}

	f.ResetCalls()
	again, err := c.OpenPulls(t.Context())
	must(t, err)
	if !reflect.DeepEqual(pulls, again) {
		t.Error("a second look shows something else")
	}
	for _, call := range f.Calls() {
		if call.Status != http.StatusNotModified {
			t.Errorf("nothing has changed, yet %v was paid for", call)
		}
	}
	must(t, f.ClosePull(repo, 3, "alice"))
	if again, err = c.OpenPulls(t.Context()); err != nil || len(again) != 101 {
		t.Errorf("after one was closed: %d, %v", len(again), err)
	}
}

func TestAPullSaysWhatItIs(t *testing.T) {
	f := newForge(t)
	c := f.client()
	_, err := f.Fork(repo, "mallory")
	must(t, err)
	must(t, f.Grant(repo, "read", "mallory"))
	forkHead, err := f.Push(fake.Push{Repo: "mallory/grants", Login: "mallory", Branch: "evil", Message: "m", Files: map[string]string{"e": "e"}})
	must(t, err)
	fork, err := f.OpenPull(repo, "mallory", "mallory:evil", "main", "evil", "")
	must(t, err)
	got, err := c.Pull(t.Context(), fork)
	must(t, err)
	want := world.Pull{
		Number: fork, Title: "evil", Head: forkHead, Branch: "evil", Base: "main", SameRepo: false,
		Author: person("mallory"), Open: true, CreatedAt: noon, URL: got.URL,
	}
	if got != want {
		t.Errorf("fork: got %+v\nwant %+v", got, want)
	}

	number, head := f.pull("mine")
	f.clock.Advance(time.Minute)
	commit, err := f.Merge(repo, number, "carol")
	must(t, err)
	got, err = c.Pull(t.Context(), number)
	must(t, err)
	want = world.Pull{
		Number: number, Title: "access for mine", Head: head, Branch: "mine", Base: "main", SameRepo: true,
		Author: person("alice"), Merged: true, MergedBy: people["carol"], MergedAt: noon.Add(time.Minute),
		Commit: commit, CreatedAt: noon, URL: got.URL,
	}
	if got != want {
		t.Errorf("merged: got %+v\nwant %+v", got, want)
	}

	if got, err := c.Pull(t.Context(), 999); err == nil {
		t.Errorf("a pull request that does not exist is %+v", got)
	}
}

func TestAnswersThatCannotBeRightAreErrors(t *testing.T) {
	const at = "/repos/acme/grants"
	hash := strings.Repeat("a", 40)
	repoID := map[string]any{"id": 1}
	pull := func(change func(map[string]any)) map[string]any {
		p := map[string]any{
			"number": 7, "state": "open", "head": map[string]any{"sha": hash, "ref": "b", "repo": repoID},
			"base": map[string]any{"ref": "main", "repo": repoID}, "user": map[string]any{"id": 1, "login": "a"},
		}
		change(p)
		return p
	}
	tests := map[string]any{
		"another pull request":          pull(func(p map[string]any) { p["number"] = 8 }),
		"no head":                       pull(func(p map[string]any) { delete(p, "head") }),
		"no base":                       pull(func(p map[string]any) { delete(p, "base") }),
		"merged without a merge commit": pull(func(p map[string]any) { p["merged"] = true }),
		"an empty body":                 "",
		"half a body":                   `{"number": 7, `,
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			if got, err := stub(t, map[string]any{"GET " + at + "/pulls/7": answer}).Pull(t.Context(), 7); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
	t.Run("a trial merge is no merge", func(t *testing.T) {
		trial := pull(func(p map[string]any) { p["merge_commit_sha"] = hash })
		got, err := stub(t, map[string]any{"GET " + at + "/pulls/7": trial}).Pull(t.Context(), 7)
		if err != nil || got.Merged || got.Commit != "" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("a deleted fork is not our repository", func(t *testing.T) {
		orphan := pull(func(p map[string]any) {
			p["head"] = map[string]any{"sha": hash, "ref": "b", "repo": nil}
			p["base"] = map[string]any{"ref": "main"}
		})
		got, err := stub(t, map[string]any{"GET " + at + "/pulls/7": orphan}).Pull(t.Context(), 7)
		if err != nil || got.SameRepo {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("empty bodies are not empty lists", func(t *testing.T) {
		c := stub(t, map[string]any{
			"GET " + at + "/pulls": "", "GET " + at + "/pulls/7/reviews": "", "GET " + at + "/pulls/7/commits": "[]",
			"GET /orgs/acme/members": "[]", "GET /orgs/acme/teams/t": `{"id":5,"slug":"t"}`, "GET /orgs/acme/teams/t/members": "",
		})
		_, pulls := c.OpenPulls(t.Context())
		_, reviews := c.Reviews(t.Context(), 7)
		_, committers := c.Committers(t.Context(), 7)
		_, _, members := c.Members(t.Context())
		_, team := c.Team(t.Context(), policies.TeamRef{Org: "acme", Slug: "t"})
		for _, err := range []error{pulls, reviews, committers, members, team} {
			if err == nil {
				t.Errorf("errors: %v, %v, %v, %v, %v", pulls, reviews, committers, members, team)
			}
		}
	})
}

func TestReviewsComeOldestFirstWithNumbersAndCommits(t *testing.T) {
	f := newForge(t)
	number, first := f.pull("mine")
	review := func(login, event string) int64 {
		t.Helper()
		f.clock.Advance(time.Second)
		id, err := f.Review(repo, number, login, event, "")
		must(t, err)
		return id
	}
	a := review("bob", "APPROVE")
	b := review("carol", "REQUEST_CHANGES")
	second := f.push("mine")
	c := review("bob", "COMMENT")
	must(t, f.Dismiss(repo, number, b, "alice", "settled"))

	got, err := f.client().Reviews(t.Context(), number)
	must(t, err)
	want := []policies.Review{
		{ID: a, User: person("bob"), UserType: "User", State: policies.ReviewApproved, CommitID: first, SubmittedAt: noon.Add(time.Second)},
		{ID: b, User: person("carol"), UserType: "User", State: policies.ReviewDismissed, CommitID: first, SubmittedAt: noon.Add(2 * time.Second)},
		{ID: c, User: person("bob"), UserType: "User", State: policies.ReviewCommented, CommitID: second, SubmittedAt: noon.Add(3 * time.Second)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	other, _ := f.pull("fresh")
	if got, err := f.client().Reviews(t.Context(), other); err != nil || got == nil || len(got) != 0 {
		t.Errorf("without reviews: %v, %v", got, err)
	}
}

func TestCommittersAreEverybodyWhoTouchedIt(t *testing.T) {
	f := newForge(t)
	number, _ := f.pull("mine")
	_, err := f.Push(fake.Push{Repo: repo, Login: "bob", Branch: "mine", Message: "m", Files: map[string]string{"b": "b"}})
	must(t, err)
	got, err := f.client().Committers(t.Context(), number)
	if err != nil || !slices.Equal(got, []int64{1001, 1002}) {
		t.Errorf("got %v, %v", got, err)
	}

	commit := func(author, committer any, verified bool) map[string]any {
		return map[string]any{"author": author, "committer": committer, "commit": map[string]any{"verification": map[string]any{"verified": verified}}}
	}
	github := map[string]any{"id": 19864447, "login": "web-flow"}
	alice := map[string]any{"id": 1001, "login": "alice"}
	tests := map[string]struct {
		commits []any
		want    []int64 // nil: an error
	}{
		"unknown addresses are 0":               {[]any{commit(nil, alice, false)}, []int64{0, 1001}},
		"edited in the browser":                 {[]any{commit(alice, github, true)}, []int64{1001}},
		"pretended to be edited in the browser": {[]any{commit(alice, github, false)}, []int64{1001, 19864447}},
		"more commits than GitHub lists":        {slices.Repeat([]any{commit(alice, alice, false)}, 250), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := stub(t, map[string]any{"GET /repos/acme/grants/pulls/7/commits": test.commits}).Committers(t.Context(), 7)
			if (err != nil) != (test.want == nil) || !slices.Equal(got, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}
