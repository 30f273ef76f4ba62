package gitreal

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/gitstore/storeclaims"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// forge is the sandbox's GitHub with one repository, and a person who may
// write to it, who has cloned it.
type forge struct {
	*testing.T
	*github.Server
	version string // of git's protocol
	address string
	dir     string // a clone with one commit, pushed
	first   string
}

const repo = "acme/access"

func newForge(t *testing.T, version string) *forge {
	t.Helper()
	server, err := github.New(sandbox.NewStillClock(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &forge{T: t, Server: server, version: version}
	server.AddUser("acme", 1)
	_, err = server.AddRepo("acme", "access", "main")
	f.must(err)
	secret, err := server.PAT("acme")
	f.must(err)
	f.address = storeclaims.Repo{URL: server.CloneURL(repo), Token: secret}.Address(t)
	f.dir = f.clone()
	f.git("checkout", "-q", "-b", "main")
	f.first = f.commit("first", "policies/p.yaml", "x\n")
	f.git("push", "-q", "origin", "main")
	return f
}

func (f *forge) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// in runs git in a folder, over the protocol of the test.
func (f *forge) in(dir string, args ...string) string {
	f.Helper()
	return storeclaims.MustGit(f.T, dir, append([]string{"-c", "protocol.version=" + f.version}, args...)...)
}

func (f *forge) git(args ...string) string {
	f.Helper()
	return f.in(f.dir, args...)
}

// refused runs git for something that the server must not take.
func (f *forge) refused(why string, args ...string) {
	f.Helper()
	out, ok := storeclaims.Git(f.T, f.dir, append([]string{"-c", "protocol.version=" + f.version}, args...)...)
	if ok || !strings.Contains(out, why) {
		f.Errorf("git %s: worked %t, want a refusal with %q:\n%s", strings.Join(args, " "), ok, why, out)
	}
}

func (f *forge) clone(options ...string) string {
	f.Helper()
	dir := filepath.Join(f.TempDir(), "clone")
	f.in(filepath.Dir(dir), append(append([]string{"clone", "-q"}, options...), f.address, dir)...)
	return dir
}

func (f *forge) commit(message, name, content string) string {
	f.Helper()
	storeclaims.Write(f.T, f.dir, name, content)
	f.git("add", "-A")
	f.git("commit", "-q", "--allow-empty", "-m", message)
	return f.git("rev-parse", "HEAD")
}

// on is what a ref is on the server.
func (f *forge) on(ref string) string {
	f.Helper()
	hash, _, _ := strings.Cut(f.git("ls-remote", "origin", ref), "\t")
	return hash
}

func (f *forge) same(what, got, want string) {
	f.Helper()
	if got != want {
		f.Errorf("%s is %s, want %s", what, got, want)
	}
}

var claims = []struct {
	says string
	show func(*forge)
}{
	{"a clone has what was pushed", clones},
	{"a fetch brings what is new, whatever else the client has", fetches},
	{"a shallow clone is shallow, and can be deepened", shallow},
	{"a shallow clone is cut off where git itself would cut", cutOff},
	{"a clone of one branch has that branch", oneBranch},
	{"tags go there and back", tags},
	{"files of every kind go there and back", everyKind},
	{"a file of 3 MB goes there in pieces and back", threeMegabytes},
	{"hundreds of branches go there at once and back", manyBranches},
	{"branches are made, moved and deleted", branches},
	{"a push from behind is refused", behind},
	{"a forced push is refused where a rule says so", forced},
	{"an atomic push is done whole or not at all", wholeOrNot},
	{"a lease that is out of date is refused", lease},
	{"a pull request's head can be fetched, and not pushed", pullHead},
	{"the history that the API made is sound", madeByTheAPI},
}

func TestTheRealGitAgainstTheSandbox(t *testing.T) {
	for _, version := range []string{"0", "1", "2"} {
		t.Run("protocol "+version, func(t *testing.T) {
			t.Parallel()
			for _, c := range claims {
				t.Run(c.says, func(t *testing.T) {
					f := newForge(t, version)
					c.show(f)
					f.fsck()
					if !t.Failed() {
						shown.Add(1)
					}
				})
			}
		})
	}
}

// fsck has git check, at its strictest, all that the forge gives away.
func (f *forge) fsck() {
	f.Helper()
	mirror := f.clone("--mirror", "-c", "fetch.fsckObjects=true")
	if said := f.in(mirror, "fsck", "--strict", "--full", "--no-dangling"); said != "" {
		f.Errorf("git fsck: %s", said)
	}
}

func clones(f *forge) {
	tip := f.commit("second", "grants/db/1.yaml", "one\n")
	f.git("push", "-q", "origin", "main")
	again := f.clone()
	f.same("the clone's head", f.in(again, "rev-parse", "HEAD"), tip)
	f.same("its branch", f.in(again, "symbolic-ref", "HEAD"), "refs/heads/main")
	f.same("its tree", f.in(again, "status", "--porcelain"), "")
}

func fetches(f *forge) {
	again := f.clone()
	for range 70 { // more than the client tells in one round
		f.in(again, "commit", "-q", "--allow-empty", "-m", "local")
	}
	var tip string
	for i := range 30 {
		tip = f.commit("more", "n", fmt.Sprint(i))
	}
	f.git("push", "-q", "origin", "main")
	f.in(again, "fetch", "-q", "origin")
	f.same("what was fetched", f.in(again, "rev-parse", "origin/main"), tip)
	f.in(again, "fetch", "-q", "origin") // there is nothing new
	f.in(again, "fsck", "--strict")
}

func shallow(f *forge) {
	for i := range 5 {
		f.commit("more", "n", fmt.Sprint(i))
	}
	f.git("push", "-q", "origin", "main")
	again := f.clone("--depth", "2")
	f.same("the number of commits", f.in(again, "rev-list", "--count", "HEAD"), "2")
	tip := f.commit("later", "n", "later")
	f.git("push", "-q", "origin", "main")
	f.in(again, "pull", "-q", "--ff-only")
	f.same("the pulled head", f.in(again, "rev-parse", "HEAD"), tip)
	f.in(again, "commit", "-q", "--allow-empty", "-m", "on a shallow clone")
	f.in(again, "push", "-q", "origin", "main")
	f.same("what a shallow clone pushed", f.on("refs/heads/main"), f.in(again, "rev-parse", "HEAD"))
	f.in(again, "fetch", "-q", "--depth", "4")
	f.same("the number of commits when deeper", f.in(again, "rev-list", "--count", "HEAD"), "4")
	f.in(again, "fetch", "-q", "--unshallow")
	f.same("the number of all commits", f.in(again, "rev-list", "--count", "HEAD"), "8")
	f.in(again, "fsck", "--strict", "--full")
}

// cutOff compares with git as the server of the very same history, which has
// merges, several branches and a tag.
func cutOff(f *forge) {
	for i := range 3 {
		f.commit("main", "n", fmt.Sprint(i))
		f.git("checkout", "-q", "-b", fmt.Sprint("side-", i), "HEAD~1")
		f.commit("aside", fmt.Sprint("side-", i), "x")
		f.commit("aside again", fmt.Sprint("side-", i), "y")
		f.git("checkout", "-q", "main")
		f.git("merge", "-q", "--no-ff", "-m", "merge", fmt.Sprint("side-", i, "~1"))
	}
	f.git("tag", "-a", "v1", "-m", "one", "side-1")
	f.git("push", "-q", "--all", "origin")
	f.git("push", "-q", "--tags", "origin")
	state := func(dir string) string {
		edge, err := os.ReadFile(filepath.Join(dir, ".git", "shallow"))
		if err != nil && !os.IsNotExist(err) {
			f.Fatal(err)
		}
		lines := strings.Fields(string(edge))
		slices.Sort(lines)
		return strings.Join(lines, " ") + "\n" + f.in(dir, "rev-list", "--all", "--objects", "--no-object-names")
	}
	original := f.address
	mirror := f.clone("--mirror")
	for depth := 1; depth <= 5; depth++ {
		f.address = original
		ours := f.clone("--no-single-branch", "--depth", fmt.Sprint(depth))
		f.address = "file://" + mirror
		gits := f.clone("--no-single-branch", "--depth", fmt.Sprint(depth))
		f.same(fmt.Sprint("the clone of depth ", depth), state(ours), state(gits))
		for _, dir := range []string{ours, gits} {
			f.in(dir, "fetch", "-q", "--depth", fmt.Sprint(depth+2))
		}
		f.same(fmt.Sprint("the clone of depth ", depth, ", two deeper"), state(ours), state(gits))
		f.in(ours, "fsck", "--strict", "--full")
	}
	f.address = original
}

func oneBranch(f *forge) {
	f.git("checkout", "-q", "-b", "other")
	other := f.commit("other", "o", "x")
	f.git("push", "-q", "origin", "other")
	again := f.clone("--single-branch", "--branch", "other")
	f.same("its head", f.in(again, "rev-parse", "HEAD"), other)
	f.same("its branches", f.in(again, "branch", "-r"), "  origin/other")
	bare := f.clone("--bare")
	f.same("the branches of a bare clone", f.in(bare, "for-each-ref", "--format=%(refname)"), "refs/heads/main\nrefs/heads/other")
}

func tags(f *forge) {
	f.git("tag", "light")
	f.git("tag", "-a", "v1", "-m", "one")
	f.git("tag", "-a", "v2", "-m", "of a tag", "v1")
	f.git("push", "-q", "origin", "--tags")
	again := f.clone()
	for _, tag := range []string{"light", "v1", "v2", "v2^{commit}"} {
		f.same(tag, f.in(again, "rev-parse", tag), f.git("rev-parse", tag))
	}
	f.same("the peeled tag", f.on("refs/tags/v1^{}"), f.first)
	f.commit("tagged", "t", "x")
	f.git("tag", "-a", "v3", "-m", "follows")
	f.git("push", "-q", "--follow-tags", "origin", "main")
	f.in(again, "fetch", "-q", "origin")
	f.same("a tag that came along", f.in(again, "rev-parse", "v3"), f.git("rev-parse", "v3"))
	f.git("push", "-q", "origin", ":refs/tags/light")
	f.same("the deleted tag", f.on("refs/tags/light"), "")
}

func everyKind(f *forge) {
	storeclaims.Write(f.T, f.dir, "bin/run.sh", "#!\n")
	f.must(os.Chmod(filepath.Join(f.dir, "bin/run.sh"), 0o755))
	f.must(os.Symlink("../policies/p.yaml", filepath.Join(f.dir, "bin/link")))
	for name, content := range map[string]string{"a/x": "1", "a.b": "2", "a-b/c": "3", "a0": "4", "ä b/日本.yaml": "5", "empty": "", "binary": "\x00\xff\x00"} {
		storeclaims.Write(f.T, f.dir, name, content)
	}
	f.git("add", "-A")
	f.git("update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("ab", 20)+",sub")
	f.git("commit", "-q", "-m", "every kind")
	f.git("checkout", "-q", "-b", "side", f.first)
	f.commit("aside", "side", "x")
	f.git("checkout", "-q", "main")
	f.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	f.git("push", "-q", "origin", "main")
	again := f.clone()
	f.same("the tree", f.in(again, "ls-tree", "-r", "HEAD"), f.git("ls-tree", "-r", "HEAD"))
	f.same("the graph", f.in(again, "log", "--format=%H %P %an %at %s"), f.git("log", "--format=%H %P %an %at %s"))
}

func threeMegabytes(f *forge) {
	var b strings.Builder
	for i := range 400_000 { // compresses to over the buffer, so it is chunked
		fmt.Fprintf(&b, "%x", uint32(i)*2654435761)
	}
	tip := f.commit("large", "large", b.String())
	f.git("-c", "http.postBuffer=65536", "push", "-q", "origin", "main")
	again := f.clone()
	f.same("the clone's head", f.in(again, "rev-parse", "HEAD"), tip)
	content, err := os.ReadFile(filepath.Join(again, "large"))
	if err != nil || string(content) != b.String() || len(content) < 3_000_000 {
		f.Errorf("the large file has %d bytes, want %d (%v)", len(content), b.Len(), err)
	}
}

func manyBranches(f *forge) {
	push := []string{"push", "-q", "origin"}
	for i := range 300 {
		push = append(push, fmt.Sprintf("HEAD:refs/heads/many/%d", i))
	}
	f.git(push...)
	again := f.clone()
	f.same("the number of branches", fmt.Sprint(strings.Count(f.in(again, "branch", "-r"), "origin/many/")), "300")
	f.git(append([]string{"push", "-q", "origin", "--delete"}, "many/0", "many/1")...)
	f.in(again, "fetch", "-q", "--prune", "origin")
	f.same("the number of branches left", fmt.Sprint(strings.Count(f.in(again, "branch", "-r"), "origin/many/")), "298")
}

func branches(f *forge) {
	next := f.commit("next", "n", "x")
	f.git("push", "-q", "origin", f.first+":refs/heads/new")
	f.same("the new branch", f.on("refs/heads/new"), f.first)
	f.git("push", "-q", "origin", "HEAD:new")
	f.same("the moved branch", f.on("refs/heads/new"), next)
	f.git("push", "-q", "--force", "origin", f.first+":new")
	f.same("the branch that was forced back", f.on("refs/heads/new"), f.first)
	f.git("push", "-q", "origin", "--delete", "new")
	f.same("the deleted branch", f.on("refs/heads/new"), "")
}

func behind(f *forge) {
	again := f.clone()
	tip := f.commit("theirs", "theirs", "x")
	f.git("push", "-q", "origin", "main")
	storeclaims.Write(f.T, again, "ours", "x")
	f.in(again, "add", "-A")
	f.in(again, "commit", "-q", "-m", "ours")
	if out, ok := storeclaims.Git(f.T, again, "-c", "protocol.version="+f.version, "push", "origin", "HEAD:main"); ok || !strings.Contains(out, "[rejected]") {
		f.Errorf("a push from behind: %s", out)
	}
	f.same("main", f.on("refs/heads/main"), tip)
	f.in(again, "pull", "-q", "--rebase")
	f.in(again, "push", "-q", "origin", "HEAD:main")
}

// protect puts the rules of design.md 3.4 on the repository.
func (f *forge) protect() {
	f.Helper()
	app, err := f.AddApp("tac", 7)
	f.must(err)
	f.must(f.Protect(repo, app))
	f.must(f.AllowBypass(repo, "acme"))
}

func forced(f *forge) {
	tip := f.commit("second", "n", "x")
	f.git("push", "-q", "origin", "main")
	f.protect()
	f.git("commit", "-q", "--amend", "-m", "another second")
	f.refused("force-push", "push", "--force", "origin", "HEAD:main")
	f.refused("[remote rejected]", "push", "origin", ":main")
	f.refused("[remote rejected]", "push", "origin", f.first+":refs/heads/grant/g1")
	f.same("main", f.on("refs/heads/main"), tip)
	f.same("the bot's branch", f.on("refs/heads/grant/g1"), "")
}

func wholeOrNot(f *forge) {
	f.protect()
	before := f.on("refs/heads/main")
	f.commit("next", "n", "x")
	f.refused("atomic", "push", "--atomic", "origin", "HEAD:refs/heads/one", "HEAD:main", "HEAD:refs/heads/grant/g1")
	f.same("main", f.on("refs/heads/main"), before)
	f.same("the other branch", f.on("refs/heads/one"), "")
	f.git("push", "-q", "--atomic", "origin", "HEAD:refs/heads/one", "HEAD:refs/heads/two")
	f.same("one", f.on("refs/heads/one"), f.on("refs/heads/two"))
}

func lease(f *forge) {
	again := f.clone()
	f.git("push", "-q", "origin", "HEAD:refs/heads/free")
	moved := f.commit("moved", "n", "x")
	f.in(again, "fetch", "-q", "origin")
	f.git("push", "-q", "origin", "HEAD:free")
	f.in(again, "commit", "-q", "--allow-empty", "-m", "mine")
	if out, ok := storeclaims.Git(f.T, again, "push", "--force-with-lease", "origin", "HEAD:free"); ok || !strings.Contains(out, "stale info") {
		f.Errorf("with a stale lease: %s", out)
	}
	f.same("the branch", f.on("refs/heads/free"), moved)
	f.in(again, "fetch", "-q", "origin")
	f.in(again, "push", "-q", "--force-with-lease", "origin", "HEAD:free")
}

func pullHead(f *forge) {
	f.git("checkout", "-q", "-b", "mine")
	head := f.commit("mine", "m", "x")
	f.git("push", "-q", "origin", "mine")
	number, err := f.OpenPull(repo, "acme", "mine", "main", "title", "body")
	f.must(err)
	ref := fmt.Sprintf("refs/pull/%d/head", number)
	again := f.clone()
	f.in(again, "fetch", "-q", "origin", ref)
	f.same("the pull request's head", f.in(again, "rev-parse", "FETCH_HEAD"), head)
	f.refused("hidden ref", "push", "--force", "origin", f.first+":"+ref)
	f.same("the pull request's head after it", f.on(ref), head)
}

func madeByTheAPI(f *forge) {
	for i := range 3 {
		_, err := f.Push(github.Push{
			Repo: repo, Login: "acme", Branch: "main", Message: fmt.Sprint("by the API, ", i),
			Files: map[string]string{fmt.Sprintf("grants/db/%d.yaml", i): "x\n", fmt.Sprintf("grants/db-%d", i): "y\n"},
		})
		f.must(err)
	}
	f.git("pull", "-q", "--ff-only", "origin", "main")
	f.same("the number of commits", f.git("rev-list", "--count", "HEAD"), "4")
	f.commit("on top", "top", "x")
	f.git("push", "-q", "origin", "main")
}
