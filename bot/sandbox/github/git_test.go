package github_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	gogit "github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
)

func TestGitClonesPushesAndChecksOut(t *testing.T) {
	w := newWorld(t)
	token := w.installationToken()
	dir := w.clone("x-access-token", token)
	for i := range 5 {
		commit(t, dir, fmt.Sprintf("grants/db/%d.yaml", i), fmt.Sprintf("n: %d\n", i))
	}
	write(t, dir, "big", strings.Repeat("0123456789abcdef\n", 200_000)) // over 3 MB
	commit(t, dir, "more.txt", "x\n")
	mustGit(t, dir, "tag", "-a", "v1", "-m", "one")
	mustGit(t, dir, "push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/other", "v1")

	again := w.clone("alice", get[string](t)(w.PAT("alice")))
	mustGit(t, again, "fsck", "--strict", "--full")
	if got, want := mustGit(t, again, "rev-parse", "HEAD", "v1", "origin/other"), mustGit(t, dir, "rev-parse", "HEAD", "v1", "HEAD"); got != want {
		t.Errorf("cloned %s, want %s", got, want)
	}

	// A clone with local commits the server does not know fetches what is new.
	for range 70 { // more than one round of haves
		mustGit(t, again, "commit", "-q", "--allow-empty", "-m", "local")
	}
	sha := commit(t, dir, "new.txt", "new\n")
	mustGit(t, dir, "push", "-q", "origin", "HEAD:main")
	mustGit(t, again, "fetch", "-q", "origin")
	if got := mustGit(t, again, "rev-parse", "origin/main"); got != sha {
		t.Errorf("fetched %s, want %s", got, sha)
	}
	mustGit(t, again, "fsck", "--strict")

	mustGit(t, dir, "push", "-q", "origin", ":other")
	if out := mustGit(t, dir, "ls-remote", "--heads", "origin"); strings.Contains(out, "other") {
		t.Errorf("the branch is still there: %s", out)
	}
}

func TestGoGitClonesFetchesAndPushesByOldHash(t *testing.T) {
	w := newWorld(t)
	auth := &githttp.BasicAuth{Username: "x-access-token", Password: w.installationToken()}
	clone, err := gogit.Clone(memory.NewStorage(), nil, &gogit.CloneOptions{URL: w.CloneURL(repo), Auth: auth})
	must(t, err)
	old := get[*plumbing.Reference](t)(clone.Head()).Hash()

	sha, err := w.Push(github.Push{Repo: repo, Login: "alice", Branch: "main", Files: map[string]string{"x": "1"}, Message: "x"})
	must(t, err)
	must(t, clone.Fetch(&gogit.FetchOptions{Auth: auth}))
	if got := get[*plumbing.Reference](t)(clone.Reference("refs/remotes/origin/main", true)).Hash().String(); got != sha {
		t.Errorf("fetched %s, want %s", got, sha)
	}

	// Both pushes send a commit the server has; only the old hash differs.
	push := func(from plumbing.Hash) error {
		endpoint, err := transport.NewEndpoint(w.CloneURL(repo))
		must(t, err)
		session, err := githttp.DefaultClient.NewReceivePackSession(endpoint, auth)
		must(t, err)
		request := packp.NewReferenceUpdateRequest()
		must(t, request.Capabilities.Set("report-status"))
		request.Commands = []*packp.Command{{Name: "refs/heads/main", Old: from, New: old}}
		var pack bytes.Buffer
		_, err = packfile.NewEncoder(&pack, clone.Storer, false).Encode(nil, 0)
		must(t, err)
		request.Packfile = io.NopCloser(&pack)
		_, err = session.ReceivePack(ctx, request)
		return err
	}
	if err := push(plumbing.NewHash(strings.Repeat("1", 40))); err == nil || !strings.Contains(err.Error(), "fetch first") {
		t.Errorf("a push from another hash: %v", err)
	}
	must(t, push(plumbing.NewHash(sha)))
}

func TestGitClonesAnEmptyRepositoryAndTakesItsFirstPush(t *testing.T) {
	w := newWorld(t)
	_, err := w.AddRepo("acme", "empty", "main")
	must(t, err)
	must(t, w.Grant("acme/empty", "write", "alice"))
	u := strings.Replace(w.cloneURL("alice", get[string](t)(w.PAT("alice"))), "/grants.git", "/empty.git", 1)
	dir := t.TempDir()
	mustGit(t, dir, "clone", "-q", u, ".")
	mustGit(t, dir, "checkout", "-q", "-b", "main")
	sha := commit(t, dir, "a", "a\n")
	mustGit(t, dir, "push", "-q", "origin", "main")
	if log := get[[]githubCommit](t)(w.Commits("acme/empty", "main")); len(log) != 1 || log[0].SHA != sha {
		t.Errorf("log %v, want only %s", log, sha)
	}
}

func TestOfRacingPushesFromOneCommitOneWins(t *testing.T) {
	w := newWorld(t)
	token := w.installationToken()
	var dirs []string
	for i := range 6 {
		dir := w.clone("x-access-token", token)
		commit(t, dir, fmt.Sprintf("%d.txt", i), "x\n")
		dirs = append(dirs, dir)
	}
	// Hold every push until all have read the refs: each believes it is first.
	var ready sync.WaitGroup
	ready.Add(len(dirs))
	w.Order(sandbox.Fault{Path: "/git-receive-pack", Times: -1, When: sandbox.Pass, Do: gate(&ready)})
	var wins sync.Map
	var all sync.WaitGroup
	for _, dir := range dirs {
		all.Go(func() {
			if _, ok := git(t, dir, "push", "-q", "origin", "HEAD:main"); ok {
				wins.Store(dir, true)
			}
		})
	}
	all.Wait()
	n := 0
	wins.Range(func(_, _ any) bool { n++; return true })
	if log := get[[]githubCommit](t)(w.Commits(repo, "main")); n != 1 || len(log) != 2 {
		t.Errorf("%d pushes won and the log has %d commits, want 1 and 2", n, len(log))
	}
}

func TestGitRefusals(t *testing.T) {
	w := newWorld(t)
	must(t, w.Protect(repo, w.app))
	bot := w.clone("x-access-token", w.installationToken())
	alice := w.clone("alice", get[string](t)(w.PAT("alice")))

	first := commit(t, bot, "a.txt", "a\n")
	mustGit(t, bot, "push", "-q", "origin", "HEAD:main", "HEAD:refs/heads/grant/g1", "HEAD:refs/heads/free")
	commit(t, alice, "b.txt", "b\n")
	refuseGit(t, "fetch first", alice, "push", "origin", "HEAD:main")
	mustGit(t, alice, "pull", "-q", "--rebase")
	refuseGit(t, "through a pull request", alice, "push", "origin", "HEAD:main")
	if _, _, err := w.bot().Repositories.GetCommit(ctx, "acme", "grants", mustGit(t, alice, "rev-parse", "HEAD"), nil); err == nil {
		t.Error("a refused push left its commit behind")
	}
	refuseGit(t, "Cannot update this protected ref", alice, "push", "origin", "HEAD:refs/heads/grant/g1")
	refuseGit(t, "Cannot update this protected ref", alice, "push", "origin", ":grant/g1")
	refuseGit(t, "hidden ref", alice, "push", "origin", "HEAD:refs/pull/9/head")
	refuseGit(t, "atomic", alice, "push", "--atomic", "origin", "HEAD:refs/heads/mine", "HEAD:refs/heads/grant/g1")
	if out := mustGit(t, alice, "ls-remote", "origin"); strings.Contains(out, "mine") {
		t.Error("half of an atomic push was done")
	}

	commit(t, bot, "c.txt", "c\n")
	mustGit(t, bot, "commit", "-q", "--amend", "-m", "other")
	mustGit(t, bot, "push", "-q", "origin", "HEAD:main")
	refuseGit(t, "force-push", bot, "push", "--force", "origin", first+":main")
	refuseGit(t, "current branch", bot, "push", "origin", ":main")
	mustGit(t, bot, "push", "-q", "--force", "origin", "HEAD~1:free")

	must(t, w.AllowBypass(repo, "alice"))
	mustGit(t, alice, "pull", "-q", "--rebase")
	mustGit(t, alice, "push", "-q", "origin", "HEAD:main")
}

func TestGitAccess(t *testing.T) {
	w := newWorld(t)
	must(t, w.Grant(repo, "read", "bob"))
	refuse := func(why, user, secret string) {
		t.Helper()
		refuseGit(t, why, t.TempDir(), "ls-remote", w.cloneURL(user, secret))
	}
	refuse("could not read Username", "", "")
	refuse("Authentication failed", "alice", "ghp_wrong")
	refuse("not found", "mallory", get[string](t)(w.PAT("mallory")))

	bob := w.clone("bob", get[string](t)(w.UserToken("bob", w.app)))
	commit(t, bob, "b.txt", "b\n")
	refuseGit(t, "403", bob, "push", "origin", "HEAD:main")

	token := w.installationToken()
	w.ExpireTokens()
	refuse("Authentication failed", "x-access-token", token)

	must(t, w.SetPublic(repo, true))
	anonymous := w.clone("", "")
	commit(t, anonymous, "b.txt", "b\n")
	refuseGit(t, "could not read Username", anonymous, "push", "origin", "HEAD:main")
}
