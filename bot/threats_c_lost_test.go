package bot_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// C13 to C16: history that is rewritten, and what is taken away by hand.

// three is a town with one grant that is taken, one that is approved, and the
// commits of main before each.
func three(t *testing.T) (tn *town, r *demo.Replica, taken, approved grants.ID, between string) {
	tn, r = started(t)
	taken = tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.settle(r)
	tn.takes(r, taken, "alice")
	between = tn.tip()
	approved = tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.settle(r)
	tn.phase(r, taken, grants.PhaseActive)
	tn.phase(r, approved, grants.PhaseApproved)
	return tn, r, taken, approved, between
}

func TestC13_ARewrittenBranchFreezesWhatGivesAccess(t *testing.T) {
	rewrites := map[string]func(tn *town, between string){
		"to an older commit": func(tn *town, between string) {
			tn.must(tn.GitHub.MoveBranch(demo.Repository, "eve", "main", between))
		},
		"to the same files under another history": func(tn *town, between string) {
			c := tn.clone("eve")
			tree := c.run("", "rev-parse", "refs/heads/main^{tree}")
			other := c.run("", "-c", "user.name=eve", "-c", "user.email=1005+eve@users.noreply.github.com", "commit-tree", tree, "-p", between, "-m", "tidied up")
			c.run("", "push", "--quiet", "--force", "origin", other+":refs/heads/main")
		},
	}
	for name, rewrite := range rewrites {
		t.Run(name, func(t *testing.T) {
			tn, r, taken, approved, between := three(t)
			tip := tn.tip()
			bobs, pull := tn.waiting(r)
			late := tn.writes("carol", tn.newHand("carol", time.Hour)) // not looked at before
			tn.must(tn.GitHub.Unprotect(demo.Repository))
			rewrite(tn, between)
			for i, r := range []*demo.Replica{r, tn.replica("fresh")} {
				_ = tn.sync(r)
				if !tn.alerted("no longer contains " + tip) {
					t.Errorf("replica %d: nobody was alerted", i)
				}
				if said := tn.mayNotClaim(r, approved); strings.Contains(name, "files") && !strings.Contains(said, "was rewritten") {
					t.Errorf("replica %d: the claim is told %q", i, said)
				}
			}
			// Nothing new, whether policy or people agree.
			asked := tn.ask(r, "alice", "postgres-prod", time.Hour)
			tn.review(pull, "dana", "APPROVE")
			for range 3 {
				_ = tn.sync(r)
				tn.Clock.Advance(time.Minute)
			}
			for _, id := range []grants.ID{asked, bobs} {
				if tn.onMain(id) || tn.see(r, id).Phase != grants.PhaseRequested {
					t.Errorf("%s went through", id)
				}
			}
			if !tn.told(late.pull).open {
				t.Error("a pull request was closed for what was done to the branch")
			}
			// What lives still ends.
			if _, err := r.Bot.Drop(t.Context(), person("alice"), taken); err != nil {
				t.Error(err)
			}
			tn.issuedAndDead(1)
			// An operator puts the branch back: all goes on.
			tn.must(tn.GitHub.MoveBranch(demo.Repository, "eve", "main", tip))
			tn.must(tn.GitHub.Protect(demo.Repository, tn.App))
			tn.settle(r)
			if !tn.onMain(asked) || !tn.onMain(bobs) || !tn.onMain(late.ID) {
				t.Error("the branch is as it was, and still nothing goes")
			}
			tn.takes(r, asked, "alice")
		})
	}
	t.Run("what lives expires", func(t *testing.T) {
		tn, r, taken, _, _ := three(t)
		tn.must(tn.GitHub.Unprotect(demo.Repository))
		rewrites["to the same files under another history"](tn, tn.tip()+"^")
		tn.Clock.Advance(2*time.Hour + time.Minute)
		_ = tn.sync(r)
		if p := tn.see(r, taken).Phase; p != grants.PhaseEnded && p != grants.PhaseClosed {
			t.Errorf("it is %s", p)
		}
		tn.issuedAndDead(1)
	})
}

func TestC14_DeletingTheFileRevokes(t *testing.T) {
	tn, r, taken, approved, _ := three(t)
	a, _ := tn.file(taken)
	b, _ := tn.file(approved)
	tn.byHand(nil, a, b)
	tn.must(tn.sync(r)) // one sweep will do
	for _, id := range []grants.ID{taken, approved} {
		if v := tn.phase(r, id, grants.PhaseClosed); v.Outcome != grants.OutcomeRevoked || v.Why != "its file was deleted from the default branch" {
			t.Errorf("%+v", v)
		}
		tn.mayNotClaim(r, id)
	}
	tn.issuedAndDead(1)
}

// A claim right after the deletion, before any sweep, finds out by itself.
func TestC14_AClaimSeesTheDeletionAtOnce(t *testing.T) {
	tn, r, _, approved, _ := three(t)
	path, _ := tn.file(approved)
	tn.byHand(nil, path)
	tn.mayNotClaim(r, approved)
}

// vaultAdmin deletes or undeletes what the bot keeps in Vault.
func (tn *town) vaultAdmin(verb, path string) {
	tn.t.Helper()
	admin, err := tn.VaultAdmin()
	tn.must(err)
	switch verb {
	case "delete":
		_, err = admin.Logical().DeleteWithContext(tn.t.Context(), "tac/data/"+path)
	case "destroy all of":
		_, err = admin.Logical().DeleteWithContext(tn.t.Context(), "tac/metadata/"+path)
	case "undelete":
		_, err = admin.Logical().WriteWithContext(tn.t.Context(), "tac/undelete/"+path, map[string]any{"versions": []int{tn.newest(path)}})
	}
	tn.must(err)
}

func (tn *town) newest(path string) int {
	for _, r := range tn.Vault.Records("tac") {
		if r.Path == path {
			return r.Version
		}
	}
	tn.t.Fatalf("there is no %s", path)
	return 0
}

func TestC15_ARecordThatWasTakenAwayNeverIssues(t *testing.T) {
	for _, verb := range []string{"delete", "destroy all of"} {
		t.Run(verb+" records", func(t *testing.T) {
			tn, r, taken, approved, _ := three(t)
			tn.vaultAdmin(verb, "grants/"+string(taken))
			tn.vaultAdmin(verb, "grants/"+string(approved))
			for range 4 {
				_ = tn.sync(r)
				tn.mayNotClaim(r, taken)
				tn.mayNotClaim(r, approved)
				tn.Clock.Advance(time.Minute)
			}
			fresh := tn.replica("fresh")
			_ = tn.sync(fresh)
			tn.mayNotClaim(fresh, approved)
			if !tn.alerted("somebody removed it") && !tn.alerted("somebody deleted it") {
				t.Error("nobody was alerted")
			}
			if !tn.onMain(taken) {
				t.Error("the file went though the credential may live")
			}
			// It does not outlive the grant: Vault's own limits end it.
			tn.Clock.Advance(2*time.Hour + 6*time.Minute)
			tn.issuedAndDead(1)
			_ = tn.sync(r)
			_ = tn.sync(r)
			tn.mayNotClaim(r, taken)
			if verb == "destroy all of" { // a tombstone stands in for what is gone
				tn.settle(r)
				tn.phase(r, taken, grants.PhaseClosed)
				if tn.onMain(taken) || tn.onMain(approved) {
					t.Error("the files are still there")
				}
			}
		})
	}
	t.Run("a record that is put back goes on", func(t *testing.T) {
		tn, r, taken, _, _ := three(t)
		tn.vaultAdmin("delete", "grants/"+string(taken))
		_ = tn.sync(r)
		tn.vaultAdmin("undelete", "grants/"+string(taken))
		tn.settle(r)
		tn.phase(r, taken, grants.PhaseActive)
		_, err := r.Bot.Drop(t.Context(), person("alice"), taken)
		tn.must(err)
		tn.issuedAndDead(1)
	})
	t.Run("the request's record is not needed to end the grant", func(t *testing.T) {
		tn, r, taken, approved, _ := three(t)
		tn.vaultAdmin("delete", "intents/"+taken.Key())
		_, err := r.Bot.Drop(t.Context(), person("alice"), taken)
		tn.must(err)
		tn.issuedAndDead(1)
		tn.vaultAdmin("delete", "intents/"+approved.Key())
		tn.Clock.Advance(2*time.Hour + time.Minute)
		_ = tn.sync(tn.replica("fresh"))
		if v := tn.see(r, approved); v.Outcome != grants.OutcomeExpired {
			t.Errorf("%+v", v)
		}
	})
	t.Run("somebody else's request that was taken away holds nobody up", func(t *testing.T) {
		tn, r := started(t)
		var ids []grants.ID
		for range 4 {
			ids = append(ids, tn.ask(r, "alice", "postgres-prod", time.Hour))
		}
		slices.Sort(ids)
		tn.vaultAdmin("delete", "intents/"+ids[0].Key())
		_ = tn.sync(r)
		for _, id := range ids[1:] {
			tn.phase(r, id, grants.PhaseApproved)
		}
	})
	for _, verb := range []string{"delete", "destroy all of"} {
		t.Run(verb+" the high-water mark", func(t *testing.T) {
			tn, r, taken, approved, _ := three(t)
			tn.vaultAdmin(verb, "hwm")
			_ = tn.sync(r)
			tn.mayNotClaim(r, approved)
			tn.mayNotClaim(tn.replica("fresh"), approved)
			if !tn.alerted("high-water mark: somebody") {
				t.Error("nobody was alerted")
			}
			_, err := r.Bot.Drop(t.Context(), person("alice"), taken)
			tn.must(err)
			tn.issuedAndDead(1)
		})
	}
}

// mergeOf is the commit that brought the grant to main.
func (tn *town) mergeOf(id grants.ID) github.Commit {
	tn.t.Helper()
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	for _, c := range commits {
		if strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\nTac-Requester: ") {
			return c
		}
	}
	tn.t.Fatalf("%s never came to main", id)
	return github.Commit{}
}

func TestC16_ARevertedRemovalBringsNothingBack(t *testing.T) {
	revert := func(tn *town) {
		c := tn.clone("eve")
		tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
		tree, parent := c.run("", "rev-parse", "refs/heads/main^^{tree}"), c.run("", "rev-parse", "refs/heads/main")
		made := c.run("", "-c", "user.name=eve", "-c", "user.email=1005+eve@users.noreply.github.com", "commit-tree", tree, "-p", parent, "-m", `Revert "end postgres-prod"`)
		c.run("", "push", "--quiet", "origin", made+":refs/heads/main")
	}
	t.Run("by a tombstone", func(t *testing.T) {
		tn, r := started(t)
		id, _, _ := tn.ended(r)
		revert(tn)
		if !tn.onMain(id) {
			t.Fatal("nothing was reverted")
		}
		tn.mayNotClaim(r, id)
		tn.settle(tn.replica("fresh"))
		tn.phase(r, id, grants.PhaseClosed)
		if tn.onMain(id) {
			t.Error("the file is still there")
		}
		tn.mayNotClaim(r, id)
		tn.issuedAndDead(1)
	})
	t.Run("though the tombstone was taken away as well", func(t *testing.T) {
		tn, r := started(t)
		id, _, _ := tn.ended(r)
		tn.vaultAdmin("destroy all of", "grants/"+string(id))
		revert(tn)
		tn.mayNotClaim(r, id)
		fresh := tn.replica("fresh")
		tn.settle(fresh)
		if v := tn.phase(fresh, id, grants.PhaseClosed); v.Outcome != grants.OutcomeRefused {
			t.Errorf("%+v", v)
		}
		tn.mayNotClaim(fresh, id)
		tn.issuedAndDead(1)
	})
	t.Run("nor under the bot's own words and at its own time", func(t *testing.T) {
		tn, r := started(t)
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		tn.settle(r)
		path, content := tn.file(id)
		merge := tn.mergeOf(id)
		_, err := r.Bot.Drop(t.Context(), person("alice"), id)
		tn.must(err)
		tn.settle(r)
		tn.vaultAdmin("destroy all of", "grants/"+string(id))
		tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
		c := tn.clone("eve")
		c.commit("main", c.signature("eve", merge.When), merge.Message, inline("100644", path, content))
		tn.mayNotClaim(r, id)
		tn.refused(tn.replica("fresh"), id, "alice")
	})
	t.Run("and expired ones neither", func(t *testing.T) {
		tn, r := started(t)
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		tn.settle(r)
		tn.Clock.Advance(time.Hour)
		tn.settle(r)
		revert(tn)
		tn.settle(r)
		if v := tn.phase(r, id, grants.PhaseClosed); v.Outcome != grants.OutcomeExpired || tn.onMain(id) {
			t.Errorf("%+v", v)
		}
		tn.mayNotClaim(r, id)
		tn.issuedAndDead(0)
	})
}

// The way out of a rewrite is an operator's: README.md tells it.
func TestC13_AnOperatorAcknowledgesARewriteInVault(t *testing.T) {
	tn, r := started(t)
	first := tn.tip()
	tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.settle(r)
	tn.must(tn.GitHub.Unprotect(demo.Repository))
	tn.must(tn.GitHub.MoveBranch(demo.Repository, "eve", "main", first))
	_ = tn.sync(r)
	admin, err := tn.VaultAdmin()
	tn.must(err)
	mark, err := admin.KVv2("tac").Get(t.Context(), "hwm")
	tn.must(err)
	_, err = admin.KVv2("tac").Put(t.Context(), "hwm", map[string]any{"by": "operator", "commit": tn.tip()}, api.WithCheckAndSet(mark.VersionMetadata.Version))
	tn.must(err)
	id := tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}
