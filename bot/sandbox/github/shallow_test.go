package github_test

import (
	"fmt"
	"testing"
)

func TestGitClonesShallowDeepensAndPushesFromThere(t *testing.T) {
	w := newWorld(t)
	token := w.installationToken()
	dir := w.clone("x-access-token", token)
	for i := range 4 {
		commit(t, dir, "n.txt", fmt.Sprint(i))
	}
	mustGit(t, dir, "push", "-q", "origin", "HEAD:main")

	again := t.TempDir()
	mustGit(t, again, "clone", "-q", "--depth", "2", w.cloneURL("x-access-token", token), ".")
	count := func(want string) {
		t.Helper()
		if n := mustGit(t, again, "rev-list", "--count", "HEAD"); n != want {
			t.Errorf("the clone has %s commits, want %s", n, want)
		}
	}
	count("2")
	sha := commit(t, again, "on-top.txt", "x")
	mustGit(t, again, "push", "-q", "origin", "HEAD:main")
	mustGit(t, dir, "pull", "-q", "--ff-only")
	if got := mustGit(t, dir, "rev-parse", "HEAD"); got != sha {
		t.Errorf("pushed from a shallow clone was %s, want %s", got, sha)
	}
	mustGit(t, again, "fetch", "-q", "--depth", "4")
	count("4")
	mustGit(t, again, "fetch", "-q", "--unshallow")
	count("6")
	mustGit(t, again, "fsck", "--strict", "--full")
}
