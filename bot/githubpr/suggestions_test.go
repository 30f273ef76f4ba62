package githubpr

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v60/github"

	fake "github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants/world"
)

const grantText = "kind: AccessGrant\nspec:\n  duration: 4h\n"

// asked is a pull request with a file of three lines.
func (f *forge) asked() (number int, head string) {
	f.t.Helper()
	head = f.write("mine", grantText)
	number, err := f.OpenPull(repo, "alice", "mine", "main", "access", "")
	must(f.t, err)
	return number, head
}

func (f *forge) write(branch, text string) string {
	f.t.Helper()
	sha, err := f.Push(fake.Push{Repo: repo, Login: "alice", Branch: branch, Message: "ask", Files: map[string]string{"grants/db/1.yaml": text}})
	must(f.t, err)
	return sha
}

func (f *forge) suggest(number int, login, event, text string) int64 {
	f.t.Helper()
	id, err := f.ReviewLines(repo, number, login, event, "", "", fake.LineComment{Path: "grants/db/1.yaml", Line: 3, Body: fake.Suggest(text)})
	must(f.t, err)
	return id
}

func TestSuggestionsAreAboutALineOfACommit(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, head := f.asked()
	suggestions := func() []world.Suggestion {
		t.Helper()
		got, err := c.Suggestions(t.Context(), number)
		must(t, err)
		return got
	}
	if got := suggestions(); len(got) != 0 {
		t.Errorf("nobody suggested %+v", got)
	}
	first := f.suggest(number, "bob", "APPROVE", "  duration: 1h")
	f.suggest(number, "carol", "", "  duration: 9h") // begun, and not sent
	want := []world.Suggestion{{Review: first, User: person("bob"), Commit: head, Path: "grants/db/1.yaml", Line: 3, Text: "  duration: 1h"}}
	if got := suggestions(); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}

	// GitHub moves a comment along to the next head where its line is the
	// same, and detaches it where it is not.
	want[0].Commit = f.write("mine", strings.Replace(grantText, "AccessGrant", "AccessGrant # other", 1))
	if got := suggestions(); !slices.Equal(got, want) {
		t.Errorf("moved along: %+v\nwant %+v", got, want)
	}
	f.write("mine", strings.Replace(grantText, "4h", "3h", 1))
	want[0].Commit = head
	if got := suggestions(); !slices.Equal(got, want) {
		t.Errorf("outdated: %+v\nwant %+v", got, want)
	}
	moved, err := c.Pull(t.Context(), number)
	must(t, err)
	second := f.suggest(number, "dana", "COMMENT", "  duration: 2h")
	want = append(want, world.Suggestion{Review: second, User: person("dana"), Commit: moved.Head, Path: "grants/db/1.yaml", Line: 3, Text: "  duration: 2h"})
	if got := suggestions(); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestAllPagesOfSuggestionsAreRead(t *testing.T) {
	f := newForge(t)
	number, _ := f.asked()
	var comments []fake.LineComment
	for range pageSize + 1 {
		comments = append(comments, fake.LineComment{Path: "grants/db/1.yaml", Line: 3, Body: fake.Suggest("x")})
	}
	_, err := f.ReviewLines(repo, number, "bob", "COMMENT", "", "", comments...)
	must(t, err)
	if got, err := f.client().Suggestions(t.Context(), number); err != nil || len(got) != len(comments) {
		t.Errorf("%d, %v", len(got), err)
	}
}

func TestOnlyOnePlainBlockOfOneLineIsASuggestion(t *testing.T) {
	const line = "  duration: 1h"
	for name, test := range map[string]struct {
		body string
		ok   bool
	}{
		"the block alone":               {"```suggestion\n" + line + "\n```", true},
		"with words around":             {"Less, please:\n\n```suggestion\n" + line + "\n```\n\nThen yes.", true},
		"as browsers send it":           {"```suggestion\r\n" + line + "\r\n```\r\n", true},
		"a longer fence":                {"````suggestion\n" + line + "\n````", true},
		"with a block of code before":   {"```yaml\nduration: 1h\n```\n```suggestion\n" + line + "\n```", true},
		"nothing":                       {"", false},
		"words alone":                   {"suggestion: 1h", false},
		"a block of another language":   {"```yaml\n" + line + "\n```", false},
		"a deletion":                    {"```suggestion\n```", false},
		"two lines":                     {"```suggestion\n" + line + "\nx\n```", false},
		"two blocks":                    {"```suggestion\n" + line + "\n```\n```suggestion\n" + line + "\n```", false},
		"a block that does not end":     {"```suggestion\n" + line, false},
		"an end that is too short":      {"````suggestion\n" + line + "\n```", false},
		"a quotation":                   {"> ```suggestion\n> " + line + "\n> ```", false},
		"shown as code":                 {"````\n```suggestion\n" + line + "\n```\n````", false},
		"shown as code by tildes":       {"~~~\n```suggestion\n" + line + "\n```\n~~~", false},
		"indented like code":            {"    ```suggestion\n" + line + "\n    ```", false},
		"another word":                  {"```suggestions\n" + line + "\n```", false},
		"more words":                    {"```suggestion please\n" + line + "\n```", false},
		"a second one that is code too": {"```suggestion\n" + line + "\n```\n```suggestion\n```", false},
	} {
		got, ok := suggestedLine(test.body)
		if ok != test.ok || ok && got != line {
			t.Errorf("%s: %q, %v", name, got, ok)
		}
	}
}

func TestWhatIsNotPlainlyAboutOneLineIsNoSuggestion(t *testing.T) {
	plain := func() *github.PullRequestComment {
		return &github.PullRequestComment{
			Body: github.String("```suggestion\nx\n```"), Path: github.String("a"), PullRequestReviewID: github.Int64(5), Side: github.String("RIGHT"),
			Line: github.Int(3), CommitID: github.String(strings.Repeat("a", 40)), User: &github.User{ID: github.Int64(1002), Login: github.String("bob")},
		}
	}
	if s, ok := suggestionOf(plain()); !ok || s != (world.Suggestion{Review: 5, User: person("bob"), Commit: strings.Repeat("a", 40), Path: "a", Line: 3, Text: "x"}) {
		t.Errorf("%+v, %v", s, ok)
	}
	for name, edit := range map[string]func(*github.PullRequestComment){
		"several lines":                     func(c *github.PullRequestComment) { c.OriginalStartLine = github.Int(2) },
		"the old side":                      func(c *github.PullRequestComment) { c.Side = github.String("LEFT") },
		"no side":                           func(c *github.PullRequestComment) { c.Side = nil },
		"a file":                            func(c *github.PullRequestComment) { c.SubjectType = github.String("file") },
		"a reply":                           func(c *github.PullRequestComment) { c.InReplyTo = github.Int64(4) },
		"no line":                           func(c *github.PullRequestComment) { c.Line = nil },
		"no commit":                         func(c *github.PullRequestComment) { c.CommitID = nil },
		"no review":                         func(c *github.PullRequestComment) { c.PullRequestReviewID = nil },
		"somebody whose account is deleted": func(c *github.PullRequestComment) { c.User = nil },
	} {
		c := plain()
		edit(c)
		if s, ok := suggestionOf(c); ok {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
