package github

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// codeOwnersErrors lists the owners in CODEOWNERS that do not exist or may not
// write. Of the mistakes that GitHub finds this is the only one that the
// sandbox looks for, and whether a team may write it does not know.
func (c *call) codeOwnersErrors() (answer, error) {
	ref := c.r.URL.Query().Get("ref")
	if ref == "" {
		ref = c.repo.defaultBranch
	}
	tip, found := c.repo.resolve(ref)
	if !found {
		return answer{}, notFound()
	}
	path, text, err := c.codeOwners(tip)
	if err != nil {
		return answer{}, err
	}
	list := []any{}
	for i, line := range strings.Split(text, "\n") {
		rule, _, _ := strings.Cut(line, "#")
		words := strings.Fields(rule)
		for _, owner := range words[min(1, len(words)):] {
			if c.mayOwn(owner) {
				continue
			}
			column := strings.Index(line, owner) + 1
			hint := fmt.Sprintf("make sure %s exists and has write access to the repository", owner)
			list = append(list, object{
				"line": i + 1, "column": column, "source": line, "kind": "Unknown owner", "suggestion": hint, "path": path,
				"message": fmt.Sprintf("Unknown owner on line %d: %s\n\n  %s\n  %s^", i+1, hint, line, strings.Repeat(" ", column-1)),
			})
		}
	}
	return ok(object{"errors": list})
}

// codeOwners is the file that counts: the first that is there.
func (c *call) codeOwners(tip plumbing.Hash) (path, text string, err error) {
	n, err := c.repo.git.node(tip)
	if err != nil {
		return "", "", err
	}
	for _, path := range []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"} {
		entry, err := c.entryAt(n.tree, path)
		var missing *apiError
		if errors.As(err, &missing) || err == nil && !entry.Mode.IsFile() {
			continue
		}
		if err != nil {
			return "", "", err
		}
		content, err := c.repo.git.blob(entry.Hash)
		return path, string(content), err
	}
	return "", "", notFound()
}

func (c *call) mayOwn(owner string) bool {
	name, isName := strings.CutPrefix(owner, "@")
	if !isName {
		return strings.Contains(owner, "@") // an address, of whoever has it
	}
	if org, team, isTeam := strings.Cut(name, "/"); isTeam {
		o := c.world.orgs[strings.ToLower(org)]
		return o != nil && o.teams[team] != nil
	}
	u, err := c.s.user(name)
	return err == nil && rank(c.s.level(u, c.repo)) >= rank("write")
}
