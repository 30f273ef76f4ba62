package githubpr

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants/world"
)

// Suggestions returns the changes of one line that reviewers proposed on the
// pull request, oldest first. Each is about a commit and a line of it: the
// newest head at which GitHub still finds the line, or the one that its author
// was shown where the line has changed since.
//
// What is not plainly that is left out: several blocks or lines in one
// comment, a reply, the old side of the change, a deletion. Whoever may write
// to the repository may edit or delete other people's comments (threats.md
// A11), so a suggestion may at most take something away.
func (c *Client) Suggestions(ctx context.Context, number int) ([]world.Suggestion, error) {
	doing := fmt.Sprintf("list the suggestions on pull request %d", number)
	ctx = withETag(ctx)
	comments, err := all(func(at github.ListOptions) ([]*github.PullRequestComment, *github.Response, error) {
		return c.api.PullRequests.ListComments(ctx, c.cfg.Owner, c.cfg.Repo, number, &github.PullRequestListCommentsOptions{
			Sort: "created", Direction: "asc", ListOptions: at,
		})
	})
	if err != nil {
		return nil, c.failed(doing, err)
	}
	var found []world.Suggestion
	for _, m := range comments {
		if s, ok := suggestionOf(m); ok {
			found = append(found, s)
		}
	}
	return found, nil
}

// suggestionOf translates a review comment; false where it proposes nothing,
// or nothing that is a change of one line.
func suggestionOf(m *github.PullRequestComment) (world.Suggestion, bool) {
	text, ok := suggestedLine(m.GetBody())
	s := world.Suggestion{
		Review: m.GetPullRequestReviewID(), User: personOf(m.GetUser()),
		Commit: m.GetCommitID(), Path: m.GetPath(), Line: m.GetLine(), Text: text,
	}
	if m.Line == nil { // outdated
		s.Commit, s.Line = m.GetOriginalCommitID(), m.GetOriginalLine()
	}
	oneLine := m.StartLine == nil && m.OriginalStartLine == nil && m.GetSide() == "RIGHT" && m.GetSubjectType() != "file"
	if !ok || !oneLine || m.InReplyTo != nil || s.Review <= 0 || s.User.ID <= 0 || s.Path == "" || s.Line <= 0 || !hashForm.MatchString(s.Commit) {
		return world.Suggestion{}, false
	}
	return s, true
}

// suggestedLine returns the one line in the one suggestion block of a comment.
func suggestedLine(body string) (line string, ok bool) {
	var (
		fence      string // of the block that we are in; empty: in none
		suggestion bool   // whether that block is one
		blocks     int
		lines      []string
	)
	for text := range strings.SplitSeq(body, "\n") {
		text = strings.TrimSuffix(text, "\r")
		if fence != "" {
			switch {
			case closes(text, fence):
				fence = ""
			case suggestion:
				lines = append(lines, text)
			}
			continue
		}
		opened, info := opens(text)
		if fence = opened; fence == "" {
			continue
		}
		if suggestion = info == "suggestion" && strings.HasPrefix(text, "```"); suggestion {
			blocks++
		}
	}
	if blocks != 1 || len(lines) != 1 || fence != "" {
		return "", false
	}
	return lines[0], true
}

// opens returns the fence that a line of Markdown opens a block of code with,
// and what follows it; an empty fence where it opens none.
func opens(line string) (fence, info string) {
	text := strings.TrimLeft(line, " ")
	if len(line)-len(text) > 3 {
		return "", "" // four spaces are code themselves
	}
	for _, mark := range []string{"`", "~"} {
		rest := strings.TrimLeft(text, mark)
		if n := len(text) - len(rest); n >= 3 && !(mark == "`" && strings.Contains(rest, mark)) {
			return text[:n], strings.TrimSpace(rest)
		}
	}
	return "", ""
}

// closes reports whether a line ends the block that fence began.
func closes(line, fence string) bool {
	text := strings.TrimLeft(line, " ")
	rest := strings.TrimLeft(text, fence[:1])
	return len(line)-len(text) <= 3 && len(text)-len(rest) >= len(fence) && strings.TrimSpace(rest) == ""
}
