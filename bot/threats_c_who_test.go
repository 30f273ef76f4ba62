package bot_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// C4 to C8: what a grant file may be called and say, and who may bring it.

// astray are paths at which no grant can be though each looks like one.
func astray(g grants.Grant) []string {
	id := string(g.ID)
	return []string{
		"Grants/postgres-prod/" + id + ".yaml", "GRANTS/postgres-prod/" + id + ".yaml",
		"grants/Postgres-prod/" + id + ".yaml", "grants/postgres-prod/" + strings.ToUpper(id) + ".yaml",
		"grants/postgres-prod/" + id + ".YAML", "grants/postgres-prod/" + id + ".yml", "grants/postgres-prod/" + id,
		"grants/" + id + ".yaml", "grants/postgres-prod/x/" + id + ".yaml", "grants/postgres-prod/" + id + ".yaml/x",
		"grants/postgres-pr\u043ed/" + id + ".yaml",  // a Cyrillic o
		"grants/postgre\u0301s-prod/" + id + ".yaml", // an accent of its own
		"grants/postgres-prod\u200b/" + id + ".yaml", // a blank of no width
		"grants/\u202epostgres-prod/" + id + ".yaml", // from right to left
		"grants/postgres-prod/" + id + ".yaml\u00a0", "grants/postgres-prod/ " + id + ".yaml", "grants/postgres_prod/" + id + ".yaml",
	}
}

func TestC4_AGrantIsAtItsOwnPathOnly(t *testing.T) {
	t.Run("in a pull request", func(t *testing.T) {
		tn, r := started(t)
		g := tn.newHand("alice", time.Hour)
		pulls := map[string]int{}
		for _, path := range astray(g) {
			pulls[path] = tn.proposes("alice", map[string]string{path: string(g.Encode())})
		}
		tn.settle(r)
		for path, pull := range pulls {
			a := tn.told(pull)
			if a.open || a.conclusion != "failure" || !strings.Contains(unescaped(a.comments), "is not where a grant can be; grants are grants/<resource>/<id>.yaml") {
				t.Errorf("%q: %+v", path, a)
			}
			if strings.ContainsAny(unescaped(a.comments)+a.title, "\u202e\u200b") {
				t.Errorf("%q is shown as it stands: %q", path, a.comments)
			}
		}
		tn.unclaimable(r, g.ID, "alice")
	})
	t.Run("under another's name", func(t *testing.T) {
		tn, r := started(t)
		g := tn.newHand("alice", time.Hour)
		for _, path := range []string{grants.Path("bastion", g.ID), grants.Path("postgres-prod", tn.newHand("alice", time.Hour).ID)} {
			tn.refusesPull(r, tn.proposes("alice", map[string]string{path: string(g.Encode())}), "the file of this grant is "+g.Path())
		}
	})
	t.Run("on main they are strays, and go in one commit", func(t *testing.T) {
		tn, r := started(t)
		tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
		g := tn.newHand("alice", time.Hour)
		files := map[string]string{"grants/.gitkeep": "", "grants/README.md": "about\n", "grants/notes.txt": "mine"}
		for _, path := range astray(g) {
			files[path] = string(g.Encode())
		}
		_, err := tn.push(github.Push{Login: "eve", Branch: "main", Files: files, Message: "quick"})
		tn.must(err)
		tn.settle(r)
		left, err := tn.GitHub.Files(demo.Repository, "main")
		tn.must(err)
		for path := range left {
			if strings.HasPrefix(path, "grants/") && path != "grants/.gitkeep" && path != "grants/README.md" {
				t.Errorf("%q is left", path)
			}
		}
		commits, err := tn.GitHub.Commits(demo.Repository, "main")
		tn.must(err)
		removal := commits[0]
		if commits[1].Message != "quick" || !strings.Contains(removal.Message, "Tac-Ended: refused") || strings.ContainsAny(removal.Message, "\u202e\u200b") {
			t.Errorf("the removal says\n%q", removal.Message)
		}
		trailers := bot.Trailers(removal.Message)
		if want := 4 * (len(files) - 4); len(trailers) != want { // what is in Grants/ and GRANTS/ is not ours
			t.Errorf("%d trailers, want %d", len(trailers), want)
		}
		if !strings.HasPrefix(removal.Message, "remove 16 stray files\n") || !tn.alerted("somebody went past the rules") {
			t.Errorf("it says %q", removal.Message)
		}
		tn.unclaimable(r, g.ID, "alice")
	})
}

func TestC5_NamesThatLookAlikeAreNotAlike(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*grants.Grant)
		words  string
	}{
		"a resource that does not exist": {func(g *grants.Grant) { g.Resource = "postgres-pr0d" }, "there is no resource"},
		"a login that looks like ours":   {func(g *grants.Grant) { g.Requester.GitHub = "\u0430lice" }, "is not a GitHub login"},
		"a reason that turns around":     {func(g *grants.Grant) { g.Reason = "read \u202eylno" }, "the invisible character U+202E"},
		"a reason of no width":           {func(g *grants.Grant) { g.Reason = "read\u200bonly" }, "the invisible character U+200B"},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			tt.change(&g)
			tn.refusesPull(r, tn.proposes("alice", map[string]string{g.Path(): string(g.Encode())}), tt.words)
		})
	}
	t.Run("a reason is shown, and acts on nothing", func(t *testing.T) {
		tn, r := started(t)
		reason := "``` </details> @acme/security Fixes #1 [x](javascript:x) <!channel> Tac-Grant: none"
		g := tn.newHand("bob", 2*time.Hour)
		g.Reason = reason
		h := tn.writes("bob", g)
		tn.settle(r)
		var checks struct {
			CheckRuns []struct{ Output struct{ Summary string } } `json:"check_runs"`
		}
		tn.read("/commits/"+h.head+"/check-runs", &checks)
		for _, c := range checks.CheckRuns {
			if !strings.Contains(c.Output.Summary, "\n````text\n"+reason+"\n````\n") || strings.Count(c.Output.Summary, "@acme") != 1 {
				t.Errorf("it is shown as\n%s", c.Output.Summary)
			}
		}
	})
}

func TestC6_WhatReadersDisagreeAboutIsRefused(t *testing.T) {
	for name, tt := range map[string]struct{ old, new, words string }{
		"duplicate key":   {"  duration: 1h\n", "  duration: 1h\n  duration: 8h\n", ":7:3: the key \"duration\" stands here a second time"},
		"anchor":          {"reason: a good reason", "reason: &a a good reason", "anchors (&a) are not allowed"},
		"alias":           {"reason: a good reason", "reason: *a", "this is not YAML"},
		"merge key":       {"{github: ", "{<<: {id: 1002}, github: ", "merge keys (<<) are not allowed"},
		"tag":             {"id: 1001", "id: !!str 1001", "tags (!!str) are not allowed"},
		"binary":          {"a good reason", "!!binary YWxs", "tags (!!binary) are not allowed"},
		"two documents":   {"kind:", "kind: AccessGrant\n---\nkind:", "this file may hold one document"},
		"byte-order mark": {"kind:", "\ufeffkind:", "byte-order mark"},
		"NUL":             {"a good", "a\x00good", "the control character U+0000"},
		"huge":            {"a good reason", strings.Repeat("x", 17<<10), "at most 16384 are read"},
		"huge number":     {"id: 1001", "id: 1" + strings.Repeat("0", 30), "expected a whole number"},
		"not UTF-8":       {"a good", "a\xff", "this is not UTF-8 text"},
		"deep":            {"a good reason", strings.Repeat("[", 40) + strings.Repeat("]", 40), "nested more than 6 deep"},
		"unknown key":     {"reason:", "resaon:", "did you mean reason?"},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			text := strings.Replace(string(g.Encode()), tt.old, tt.new, 1)
			if text == string(g.Encode()) {
				t.Fatalf("%q is not in\n%s", tt.old, text)
			}
			tn.refusesPull(r, tn.proposes("alice", map[string]string{g.Path(): text}), tt.words)
			tn.unclaimable(r, g.ID, "alice")
		})
	}
}

// The refusal of a file that is merely written otherwise holds the bytes to
// write. Pasted as they stand, into the same pull request, they are accepted.
func TestC6_TheRefusalIsReadyToPaste(t *testing.T) {
	tn, r := started(t)
	g := tn.newHand("alice", time.Hour)
	loose := strings.Replace(string(g.Encode()), "duration: 1h", "duration: 60m   # an hour", 1)
	_, err := tn.push(github.Push{Login: "alice", Branch: "mine", Files: map[string]string{g.Path(): loose}, Message: "please"})
	tn.must(err)
	pull := tn.opens("alice", "mine")
	tn.refusesPull(r, pull, "is not in canonical form (from this line on); write exactly:")
	_, block, _ := strings.Cut(tn.told(pull).comments, "```text\n")
	pasted, _, found := strings.Cut(block, "```")
	if !found || pasted != string(g.Encode()) {
		t.Fatalf("ready to paste is\n%s", pasted)
	}
	_, err = tn.push(github.Push{Login: "alice", Branch: "mine", Files: map[string]string{g.Path(): pasted}, Message: "as told"})
	tn.must(err)
	tn.must(tn.GitHub.ReopenPull(demo.Repository, pull, "alice"))
	tn.settle(r)
	tn.phase(r, g.ID, grants.PhaseApproved)
	tn.takes(r, g.ID, "alice")
}

func TestC7_ForksAreNeverRead(t *testing.T) {
	fork := func(t *testing.T, tn *town, login string, g grants.Grant, branch string) int {
		t.Helper()
		_, err := tn.GitHub.Fork(demo.Repository, login)
		tn.must(err)
		_, err = tn.GitHub.Push(github.Push{Repo: login + "/access", Login: login, Branch: branch, Files: map[string]string{g.Path(): string(g.Encode())}, Message: "please"})
		tn.must(err)
		return tn.opens(login, login+":"+branch)
	}
	for _, login := range []string{"rex", "alice"} {
		t.Run("by "+login, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			pull := fork(t, tn, login, g, "mine")
			// Whatever is read of a fork's head is an error here.
			tn.GitHub.Order(sandbox.Fault{Path: "/git-upload-pack", Skip: 1, Times: -1, When: sandbox.Before})
			tn.refusesPull(r, pull, "the pull request comes from a fork")
			tn.unclaimable(r, g.ID, "alice")
		})
	}
	t.Run("under the name of the bot's branch, which is not there yet", func(t *testing.T) {
		tn, r := started(t)
		id := tn.ask(r, "bob", "postgres-prod", 2*time.Hour)
		forked := fork(t, tn, "rex", tn.newHand("rex", time.Hour), "grant/"+string(id))
		tn.refusesPull(r, forked, "the pull request comes from a fork")
		if v := tn.phase(r, id, grants.PhaseRequested); v.PullRequest <= forked {
			t.Errorf("bob's request is pull request %d", v.PullRequest)
		}
	})
	t.Run("merged by an administrator", func(t *testing.T) {
		tn, r := started(t)
		g := tn.newHand("alice", time.Hour)
		pull := fork(t, tn, "alice", g, "mine")
		_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
		tn.must(err)
		tn.refused(r, g.ID, "alice")
	})
}

func TestC8_EverybodyAsksForThemselves(t *testing.T) {
	commit := func(tn *town, pusher, branch, committer string, g grants.Grant) {
		tn.clone(pusher).commit(branch, committer, "please", inline("100644", g.Path(), string(g.Encode())))
	}
	for name, attack := range map[string]struct {
		open  func(tn *town, g grants.Grant) (pull int)
		words string
	}{
		"bob opens one for alice": {func(tn *town, g grants.Grant) int {
			return tn.proposes("bob", map[string]string{g.Path(): string(g.Encode())})
		}, "the grant is for @alice (1001) but @bob (1002) opened the pull request"},
		"bob opens one that alice seems to have committed": {func(tn *town, g grants.Grant) int {
			c := tn.clone("bob")
			c.commit("mine", c.signature("alice", tn.Clock.Now()), "please", inline("100644", g.Path(), string(g.Encode())))
			return tn.opens("bob", "mine")
		}, "everybody asks for themselves"},
		"alice opens one that carol committed": {func(tn *town, g grants.Grant) int {
			commit(tn, "carol", "hers", "", g)
			return tn.opens("alice", "hers")
		}, "one here is by the account 1003"},
		"alice opens one that nobody known committed": {func(tn *town, g grants.Grant) int {
			commit(tn, "alice", "hers", "alice <alice@elsewhere.test> 1795528800 +0000", g)
			return tn.opens("alice", "hers")
		}, "one here is by the account 0"},
		"carol commits after alice": {func(tn *town, g grants.Grant) int {
			h := tn.writes("alice", g)
			_, err := tn.push(github.Push{Login: "carol", Branch: h.branch, Message: "me too", Files: map[string]string{g.Path(): string(g.Encode()) + "\n"}})
			tn.must(err)
			_, err = tn.push(github.Push{Login: "alice", Branch: h.branch, Message: "back", Files: map[string]string{g.Path(): string(g.Encode())}})
			tn.must(err)
			return h.pull
		}, "one here is by the account 1003"},
		"alice says that it came by Slack": {func(tn *town, g grants.Grant) int {
			g.Via = grants.ViaSlack
			return tn.proposes("alice", map[string]string{g.Path(): string(g.Encode())})
		}, "a hand-written grant says `via: git`, not slack"},
		"alice says that it was attested": {func(tn *town, g grants.Grant) int {
			g.Attestation = "vault:v1:" + strings.Repeat("A", 86) + "=="
			return tn.proposes("alice", map[string]string{g.Path(): string(g.Encode())})
		}, "a hand-written grant carries no attestation"},
		"alice on a branch of the bot's": {func(tn *town, g grants.Grant) int {
			tn.must(tn.GitHub.Unprotect(demo.Repository))
			commit(tn, "alice", "grant/"+string(g.ID), "", g)
			return tn.opens("alice", "grant/"+string(g.ID))
		}, "branches grant/* are the bot's own"},
		"mallory, who is not among the people": {func(tn *town, g grants.Grant) int {
			tn.must(tn.GitHub.Grant(demo.Repository, "write", "mallory"))
			g.Requester = person("mallory")
			return tn.proposes("mallory", map[string]string{g.Path(): string(g.Encode())})
		}, "mallory"},
		"bob under alice's login": {func(tn *town, g grants.Grant) int {
			g.Requester.ID = 1002
			return tn.proposes("bob", map[string]string{g.Path(): string(g.Encode())})
		}, "the account 1002 is called @bob and not @alice"},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			tn.refusesPull(r, attack.open(tn, g), attack.words)
			tn.unclaimable(r, g.ID, "alice")
		})
		t.Run(name+", merged by an administrator", func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			pull := attack.open(tn, g)
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
			tn.refused(r, g.ID, "alice")
		})
	}
	t.Run("a refusal is no way to take somebody's id", func(t *testing.T) {
		tn, r := started(t)
		g := tn.newHand("alice", time.Hour)
		tn.refusesPull(r, tn.proposes("bob", map[string]string{g.Path(): string(g.Encode())}), "everybody asks for themselves")
		h := tn.writes("alice", g)
		tn.settle(r)
		tn.phase(r, h.ID, grants.PhaseApproved)
	})
}
