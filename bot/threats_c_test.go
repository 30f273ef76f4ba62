package bot_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// These are the attacks of threats.md, section C, that come as a pull request:
// what one may contain (C1 to C8). What may come to the default branch by
// other ways stands in threats_c_main_test.go; how single files are read, in
// grants/codec_test.go.

// started is a town whose replica has looked once, so that the high-water
// mark stands.
func started(t *testing.T) (*town, *demo.Replica) {
	t.Helper()
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	return tn, r
}

// takes has login claim the credential of the grant.
func (tn *town) takes(r *demo.Replica, id grants.ID, login string) {
	tn.t.Helper()
	_, _, err := r.Bot.Claim(tn.t.Context(), person(login), id, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.must(err)
}

// proposes has login push files on a branch of their own and open a pull
// request with it.
func (tn *town) proposes(login string, files map[string]string, deleted ...string) int {
	tn.t.Helper()
	branch := "by-" + login + "-" + rand.Text()
	_, err := tn.push(github.Push{Login: login, Branch: branch, Files: files, Delete: deleted, Message: "please"})
	tn.must(err)
	return tn.opens(login, branch)
}

func (tn *town) opens(login, branch string) int {
	tn.t.Helper()
	n, err := tn.GitHub.OpenPull(demo.Repository, login, branch, "main", "please", "")
	tn.must(err)
	return n
}

// read reads something of the repository by GitHub's API, as eve.
func (tn *town) read(path string, into any) {
	tn.t.Helper()
	token, err := tn.GitHub.PAT("eve")
	tn.must(err)
	ctx := context.WithoutCancel(tn.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, tn.GitHub.URL()+"/repos/"+demo.Repository+path, nil)
	tn.must(err)
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	tn.must(err)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		tn.t.Fatalf("%s: %s", path, response.Status)
	}
	tn.must(json.NewDecoder(response.Body).Decode(into))
}

// told is what a pull request was answered.
type told struct {
	open       bool
	conclusion string // of the last check run on the head; empty: none
	title      string
	comments   string
}

func (tn *town) told(pull int) (a told) {
	tn.t.Helper()
	var p struct {
		State string
		Head  struct{ SHA string }
	}
	tn.read(fmt.Sprintf("/pulls/%d", pull), &p)
	a.open = p.State == "open"
	var checks struct {
		CheckRuns []struct {
			Conclusion string
			Output     struct{ Title string }
		} `json:"check_runs"`
	}
	tn.read("/commits/"+p.Head.SHA+"/check-runs", &checks)
	for _, c := range checks.CheckRuns {
		a.conclusion, a.title = c.Conclusion, c.Output.Title
	}
	var comments []struct{ Body string }
	tn.read(fmt.Sprintf("/issues/%d/comments", pull), &comments)
	for _, c := range comments {
		a.comments += c.Body + "\n"
	}
	return a
}

// refusesPull fails the test unless the pull request is closed under these
// words, failed by its check run, and brought nothing to main.
func (tn *town) refusesPull(r *demo.Replica, pull int, words string) {
	tn.t.Helper()
	before, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	tn.settle(r)
	a := tn.told(pull)
	if a.open || a.conclusion != "failure" {
		tn.t.Errorf("the pull request is open: %v, its check run says %q (%s)", a.open, a.conclusion, a.title)
	}
	if !strings.Contains(unescaped(a.comments), words) {
		tn.t.Errorf("it was told\n%s\nwant %q", a.comments, words)
	}
	after, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	if len(after) != len(before) {
		tn.t.Errorf("main has a new commit:\n%s", after[0].Message)
	}
	tn.nothingIssued()
}

// unescaped takes away what keeps Markdown from acting on a text.
func unescaped(s string) string { return strings.NewReplacer("\\", "", "\u200b", "").Replace(s) }

// clone runs git on a bare clone of the repository, with all that somebody
// may; Push of the sandbox makes plain files only.
type clone struct {
	tn    *town
	login string
	dir   string
}

func (tn *town) clone(login string) clone {
	tn.t.Helper()
	g := clone{tn, login, tn.t.TempDir()}
	token, err := tn.GitHub.PAT(login)
	tn.must(err)
	at, err := url.Parse(tn.GitHub.CloneURL(demo.Repository))
	tn.must(err)
	at.User = url.UserPassword(login, token)
	g.run("", "init", "--quiet", "--bare")
	g.run("", "fetch", "--quiet", at.String(), "+refs/heads/*:refs/heads/*")
	g.run("", "remote", "add", "origin", at.String())
	return g
}

func (g clone) run(stdin string, args ...string) string {
	g.tn.t.Helper()
	c := exec.CommandContext(g.tn.t.Context(), "git", args...)
	c.Dir, c.Stdin = g.dir, strings.NewReader(stdin)
	c.Env = append(c.Environ(), "HOME="+g.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	out, err := c.CombinedOutput()
	if err != nil {
		g.tn.t.Fatalf("git %s: %v\n%s", args[0], err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit makes a commit out of fast-import's own commands (M, D, merge) and
// pushes it to branch. committer stands as in "name <address> seconds zone";
// empty: the one who pushes, now.
func (g clone) commit(branch, committer, message string, commands ...string) string {
	g.tn.t.Helper()
	if committer == "" {
		committer = g.signature(g.login, g.tn.Clock.Now())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "commit refs/heads/made\ncommitter %s\ndata %d\n%s\nfrom refs/heads/main^0\n", committer, len(message), message)
	for _, c := range commands {
		b.WriteString(c + "\n")
	}
	g.run(b.String(), "fast-import", "--quiet", "--force")
	g.run("", "push", "--quiet", "origin", "refs/heads/made:refs/heads/"+branch)
	return g.run("", "rev-parse", "refs/heads/made")
}

func (g clone) signature(login string, at time.Time) string {
	return fmt.Sprintf("%s <%d+%s@users.noreply.github.com> %d +0000", login, person(login).ID, login, at.Unix())
}

// inline is fast-import's command for a file of any mode.
func inline(mode, path, content string) string {
	return fmt.Sprintf("M %s inline %s\ndata %d\n%s", mode, path, len(content), content)
}

const anotherObject = "00112233445566778899aabbccddeeff00112233"

// A hand-written grant: the author's own branch, canonical bytes, `via: git`,
// no attestation. On call she gets two hours at once.
func TestC8_AHandWrittenGrantOfOnesOwnLives(t *testing.T) {
	tn, r := started(t)
	g := tn.newHand("alice", 2*time.Hour)
	h := tn.writes("alice", g)
	tn.settle(r)
	v := tn.phase(r, h.ID, grants.PhaseApproved)
	if v.PullRequest != h.pull || v.RequesterID != 1001 || !tn.onMain(h.ID) {
		t.Errorf("%+v", v)
	}
	record, err := r.Bot.Vault.Record(t.Context(), h.ID)
	tn.must(err)
	if record.Grant != g || record.Grant.Attestation != "" || record.Grant.Via != grants.ViaGit {
		t.Errorf("consented to %+v", record.Grant)
	}
	tn.takes(r, h.ID, "alice")
	tn.Clock.Advance(2*time.Hour + time.Minute)
	tn.settle(r)
	tn.phase(r, h.ID, grants.PhaseClosed)
}

func TestC1_PolicyChangedBesideTheGrantIsRefused(t *testing.T) {
	everything := "kind: AccessPolicy\nmetadata: {name: mine}\nspec:\n  resource: postgres-prod\n  auto_approve: {conditions: [{role: [developer]}]}\n"
	for name, path := range map[string]string{
		"a policy": "policies/mine.yaml", "the owners of the policies": "CODEOWNERS", "a workflow": ".github/workflows/policy.yml", "filters": ".gitattributes",
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("bob", 2*time.Hour)
			pull := tn.proposes("bob", map[string]string{g.Path(): string(g.Encode()), path: everything})
			tn.refusesPull(r, pull, "a grant is exactly one added file; this changes 2")
			tn.unclaimable(r, g.ID, "bob")
		})
		t.Run(name+", merged by an administrator", func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("bob", 2*time.Hour)
			pull := tn.proposes("bob", map[string]string{g.Path(): string(g.Encode()), path: everything})
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
			tn.refused(r, g.ID, "bob")
		})
	}
	t.Run("alone it is no grant, and not ours to judge", func(t *testing.T) {
		tn, r := started(t)
		pull := tn.proposes("bob", map[string]string{"policies/mine.yaml": everything})
		tn.settle(r)
		if a := tn.told(pull); !a.open || a.conclusion != "success" || a.title != "not a grant" {
			t.Errorf("%+v", a)
		}
	})
}

func TestC2_GrantsOnMainAreNeverChanged(t *testing.T) {
	alices := func(tn *town, r *demo.Replica) grants.Grant {
		id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		tn.settle(r)
		tn.takes(r, id, "alice")
		record, err := r.Bot.Vault.Record(tn.t.Context(), id)
		tn.must(err)
		return record.Grant
	}
	longer := func(g grants.Grant) string {
		g.Duration = 4 * time.Hour
		return string(g.Encode())
	}
	for name, attack := range map[string]struct {
		files  func(g grants.Grant, mine grants.Grant) map[string]string
		gone   bool
		refuse string
	}{
		"lengthened by its own requester": {func(g, _ grants.Grant) map[string]string { return map[string]string{g.Path(): longer(g)} }, false, "grants are never changed"},
		"deleted by somebody":             {func(_, _ grants.Grant) map[string]string { return nil }, true, "to end a grant use `tac access drop`"},
		"moved to another resource": {func(g, _ grants.Grant) map[string]string {
			g.Resource = "bastion"
			return map[string]string{g.Path(): string(g.Encode())}
		}, true, "this changes 2"},
		"changed beside a grant of one's own": {func(g, mine grants.Grant) map[string]string {
			return map[string]string{g.Path(): longer(g), mine.Path(): string(mine.Encode())}
		}, false, "this changes 2"},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := alices(tn, r)
			var gone []string
			if attack.gone {
				gone = []string{g.Path()}
			}
			files := attack.files(g, tn.newHand("alice", time.Hour))
			pull := tn.proposes("alice", files, gone...)
			tn.settle(r)
			if a := tn.told(pull); a.open || a.conclusion != "failure" || !strings.Contains(unescaped(a.comments), attack.refuse) {
				t.Errorf("%+v", a)
			}
			v := tn.phase(r, g.ID, grants.PhaseActive)
			if v.Duration != "2h" || !v.EndsAt.Equal(v.StartsAt.Add(2*time.Hour)) {
				t.Errorf("%+v", v)
			}
		})
		t.Run(name+", merged by an administrator", func(t *testing.T) {
			tn, r := started(t)
			g := alices(tn, r)
			var gone []string
			if attack.gone {
				gone = []string{g.Path()}
			}
			pull := tn.proposes("alice", attack.files(g, tn.newHand("alice", time.Hour)), gone...)
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
			tn.settle(r)
			tn.phase(r, g.ID, grants.PhaseClosed)
			if users := tn.Postgres.Users(); len(users) > 0 || tn.grantFiles() > 0 {
				t.Errorf("database users: %v, files on main: %d", users, tn.grantFiles())
			}
			if _, _, err := r.Bot.Claim(t.Context(), person("alice"), g.ID, bot.ClaimAsk{Key: "a claim key of one's own"}); err == nil {
				t.Error("the changed grant gives a credential")
			}
		})
	}
}

// One id is one grant on one resource: a second file of it is tampering.
func TestC2_ACopyForAnotherResourceEndsBoth(t *testing.T) {
	tn, r := started(t)
	id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.settle(r)
	tn.takes(r, id, "alice")
	_, content := tn.file(id)
	tn.byHand(map[string]string{grants.Path("bastion", id): content})
	tn.settle(r)
	if v := tn.phase(r, id, grants.PhaseClosed); v.Outcome != grants.OutcomeRevoked || tn.grantFiles() > 0 || !tn.alerted("changed after the merge") {
		t.Errorf("%+v, %d files", v, tn.grantFiles())
	}
	tn.issuedAndDead(1)
}

// grantFiles counts the grant files on main.
func (tn *town) grantFiles() (n int) {
	tn.t.Helper()
	files, err := tn.GitHub.Files(demo.Repository, "main")
	tn.must(err)
	for path := range files {
		if strings.HasPrefix(path, "grants/") && path != "grants/README.md" {
			n++
		}
	}
	return n
}

func TestC3_OnlyAPlainFileIsAGrant(t *testing.T) {
	// Each is what fast-import is told in the place of a plain file.
	attacks := map[string]struct{ mode, content string }{
		"a link to the policies": {"120000", "../../policies/people.yaml"},
		"a link that is a grant": {"120000", ""},
		"an executable file":     {"100755", ""},
		"a submodule":            {"160000", ""},
	}
	command := func(mode, content string, g grants.Grant) string {
		switch {
		case mode == "160000":
			return "M 160000 " + anotherObject + " " + g.Path()
		case content == "":
			content = string(g.Encode())
		}
		return inline(mode, g.Path(), content)
	}
	for name, a := range attacks {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			tn.clone("alice").commit("crafted", "", "please", command(a.mode, a.content, g))
			tn.refusesPull(r, tn.opens("alice", "crafted"), "has the git mode "+a.mode+"; a grant is a plain file (100644)")
			tn.unclaimable(r, g.ID, "alice")
		})
		t.Run(name+", pushed to main", func(t *testing.T) {
			tn, r := started(t)
			tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
			g := tn.newHand("alice", time.Hour)
			tn.clone("eve").commit("main", "", "quick", command(a.mode, a.content, g))
			tn.refused(r, g.ID, "alice")
		})
	}
	t.Run("a pointer to large-file storage is no grant", func(t *testing.T) {
		tn, r := started(t)
		g := tn.newHand("alice", time.Hour)
		pull := tn.proposes("alice", map[string]string{g.Path(): "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"})
		tn.refusesPull(r, pull, "expected a mapping of keys to values")
	})
	for name, commands := range map[string][]string{
		"links in the place of a resource's directory": {inline("120000", "grants/bastion", "postgres-prod")},
		"links in the place of all grants":             {"D grants", inline("120000", "grants", "policies")},
		"a submodule in the place of all grants":       {"D grants", "M 160000 " + anotherObject + " grants"},
	} {
		t.Run(name+" are strays, and go", func(t *testing.T) {
			tn, r := started(t)
			tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
			tn.clone("eve").commit("main", "", "quick", commands...)
			tn.settle(r)
			if n := tn.grantFiles(); n > 0 {
				t.Errorf("%d are left", n)
			}
			if _, err := r.Bot.Repository.Tree(t.Context(), tn.tip(), "grants"); err != nil {
				t.Error(err)
			}
			id := tn.ask(r, "alice", "postgres-prod", time.Hour)
			tn.settle(r)
			tn.takes(r, id, "alice")
		})
	}
}

func (tn *town) tip() string {
	tn.t.Helper()
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	return commits[0].SHA
}

// A file among the policies is what its bytes say, whatever its mode: marking
// one as executable must not make it disappear, and a link is never followed.
func TestC3_PoliciesAreNeitherSkippedNorFollowed(t *testing.T) {
	strict := "kind: AccessPolicy\nmetadata: {name: strict}\nspec:\n  resource: postgres-prod\n  approval: {required_approvers: 1, approver_roles: [security]}\n"
	for name, tt := range map[string]struct{ mode, content, want string }{
		"an executable policy still holds":       {"100755", strict, "waits for"},
		"a link in place of a policy is no YAML": {"120000", "../grants/README.md", "denied"},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
			tn.clone("eve").commit("main", "", "stricter", inline(tt.mode, "policies/strict.yaml", tt.content))
			tn.settle(r)
			a, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("alice"), Resource: "postgres-prod", Duration: time.Hour, Reason: "x", Via: grants.ViaCLI, Key: "k", DryRun: true})
			switch {
			case tt.want == "denied" && err == nil, tt.want != "denied" && err != nil:
				t.Fatalf("%+v, %v", a, err)
			case a.Decision.Outcome.String() == "allow":
				t.Error("she would get access at once, as if the file were not there")
			}
		})
	}
}
