package bot_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// C9 to C16: what is brought back, changed or taken away behind the bot's
// back, on the default branch and in Vault.

// file returns the grant's file as it stands on main.
func (tn *town) file(id grants.ID) (path, content string) {
	tn.t.Helper()
	files, err := tn.GitHub.Files(demo.Repository, "main")
	tn.must(err)
	for path, content := range files {
		if strings.HasSuffix(path, "/"+string(id)+".yaml") {
			return path, content
		}
	}
	tn.t.Fatalf("%s is not on main", id)
	return "", ""
}

// ended plays one whole life, asked for through the bot, and returns its
// attested file.
func (tn *town) ended(r *demo.Replica) (id grants.ID, path, content string) {
	tn.t.Helper()
	id = tn.ask(r, "alice", "postgres-prod", time.Hour)
	tn.settle(r)
	path, content = tn.file(id)
	tn.takes(r, id, "alice")
	_, err := r.Bot.Drop(tn.t.Context(), person("alice"), id)
	tn.must(err)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseClosed)
	return id, path, content
}

// byHand lets eve push to main, past every rule, and pushes files.
func (tn *town) byHand(files map[string]string, deleted ...string) {
	tn.t.Helper()
	tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
	_, err := tn.push(github.Push{Login: "eve", Branch: "main", Files: files, Delete: deleted, Message: "quick fix"})
	tn.must(err)
}

// issuedOnce fails the test unless Vault issued exactly n leases ever, and
// none of them lives.
func (tn *town) issuedAndDead(n int) {
	tn.t.Helper()
	for _, e := range tn.Vault.Events() {
		if e.Kind == vault.LeaseCreated {
			n--
		}
	}
	if users := tn.Postgres.Users(); n != 0 || len(users) > 0 {
		tn.t.Errorf("%d leases more or less than wanted, users %v", -n, users)
	}
}

func (tn *town) mayNotClaim(r *demo.Replica, id grants.ID) (said string) {
	tn.t.Helper()
	_, _, err := r.Bot.Claim(tn.t.Context(), person("alice"), id, bot.ClaimAsk{Key: "another key of one's own"})
	if err == nil {
		tn.t.Fatal("a credential was given")
	}
	return err.Error()
}

func TestC9_AnOldFileGivesNothingAgain(t *testing.T) {
	t.Run("attested, in a pull request", func(t *testing.T) {
		tn, r := started(t)
		id, path, content := tn.ended(r)
		pull := tn.proposes("alice", map[string]string{path: content})
		tn.settle(r)
		if a := tn.told(pull); a.open || !strings.Contains(a.comments, "carries no attestation") {
			t.Errorf("%+v", a)
		}
		tn.mayNotClaim(r, id)
		tn.issuedAndDead(1)
	})
	t.Run("attested, pushed to main", func(t *testing.T) {
		tn, r := started(t)
		id, path, content := tn.ended(r)
		tn.byHand(map[string]string{path: content})
		tn.settle(r)
		tn.phase(r, id, grants.PhaseClosed)
		tn.mayNotClaim(r, id)
		tn.issuedAndDead(1)
		if tn.onMain(id) {
			t.Error("the file is back")
		}
	})
	t.Run("attested, never merged, a month later", func(t *testing.T) {
		tn, r := started(t)
		id, pull := tn.waiting(r)
		tn.Clock.Advance(25 * time.Hour)
		tn.settle(r)
		tn.phase(r, id, grants.PhaseLapsed)
		tn.must(tn.GitHub.ReopenPull(demo.Repository, pull, "bob"))
		tn.review(pull, "dana", "APPROVE")
		tn.settle(r) // closes it again
		tn.phase(r, id, grants.PhaseLapsed)
		tn.must(tn.GitHub.ReopenPull(demo.Repository, pull, "bob"))
		_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
		tn.must(err)
		tn.refused(r, id, "bob")
	})
	t.Run("hand-written, proposed again", func(t *testing.T) {
		tn, r := started(t)
		h := tn.writes("alice", tn.newHand("alice", time.Hour))
		tn.settle(r)
		tn.takes(r, h.ID, "alice")
		_, err := r.Bot.Drop(t.Context(), person("alice"), h.ID)
		tn.must(err)
		tn.settle(r)
		pull := tn.proposes("alice", map[string]string{h.Path(): string(h.Encode())})
		tn.settle(r)
		if a := tn.told(pull); a.open || a.conclusion != "failure" || !strings.Contains(unescaped(a.comments), "was used before; take another one") {
			t.Errorf("%+v", a)
		}
		tn.mayNotClaim(r, h.ID)
		tn.issuedAndDead(1)
	})
	t.Run("hand-written, twice at once", func(t *testing.T) {
		tn, r := started(t)
		h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
		tn.settle(r)
		tn.refusesPull(r, tn.proposes("bob", map[string]string{h.Path(): string(h.Encode())}), "was used before; take another one")
		if v := tn.phase(r, h.ID, grants.PhaseRequested); v.PullRequest != h.pull {
			t.Errorf("%+v", v)
		}
	})
	for name, tt := range map[string]struct {
		age   time.Duration
		words string
	}{
		"hand-written a day and a minute ago": {24*time.Hour + time.Minute, "ask anew"},
		"hand-written for ten minutes ahead":  {-10 * time.Minute, "requested_at lies in the future"},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			g := tn.newHand("alice", time.Hour)
			g.RequestedAt = g.RequestedAt.Add(-tt.age)
			g.ID = grants.ID(g.RequestedAt.Format("20060102") + "-" + g.ID.Key())
			tn.refusesPull(r, tn.writes("alice", g).pull, tt.words)
			tn.unclaimable(r, g.ID, "alice")
		})
	}
}

func TestC10_AnAttestedFileCannotBeEdited(t *testing.T) {
	edits := map[string]func(*grants.Grant){
		"a longer duration":  func(g *grants.Grant) { g.Duration = 8 * time.Hour },
		"another requester":  func(g *grants.Grant) { g.Requester = person("carol") },
		"another reason":     func(g *grants.Grant) { g.Reason = "a better reason" },
		"another signature":  func(g *grants.Grant) { g.Attestation = "vault:v1:" + strings.Repeat("A", 86) + "==" },
		"no signature":       func(g *grants.Grant) { g.Attestation = "" },
		"an emergency of it": func(g *grants.Grant) { g.BreakGlass = true },
	}
	edited := func(tn *town, id grants.ID, edit func(*grants.Grant)) {
		tn.must(tn.GitHub.Unprotect(demo.Repository))
		files, err := tn.GitHub.Files(demo.Repository, "grant/"+string(id))
		tn.must(err)
		path := grants.Path("postgres-prod", id)
		g, err := grants.Parse(path, []byte(files[path]))
		tn.must(err)
		edit(&g)
		_, err = tn.push(github.Push{Login: "eve", Branch: "grant/" + string(id), Files: map[string]string{path: string(g.Encode())}, Message: "more", Amend: true})
		tn.must(err)
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			id, pull := tn.waiting(r)
			edited(tn, id, edit)
			tn.review(pull, "dana", "APPROVE")
			tn.refusesPull(r, pull, "attestation")
			tn.phase(r, id, grants.PhaseDenied)
			tn.unclaimable(r, id, "bob")
		})
		t.Run(name+", merged by an administrator", func(t *testing.T) {
			tn, r := started(t)
			id, pull := tn.waiting(r)
			edited(tn, id, edit)
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
			tn.must(err)
			tn.refused(r, id, "bob")
		})
		t.Run(name+", on main", func(t *testing.T) {
			tn, r := started(t)
			id := tn.ask(r, "alice", "postgres-prod", time.Hour)
			tn.settle(r)
			tn.takes(r, id, "alice")
			path, content := tn.file(id)
			g, err := grants.Parse(path, []byte(content))
			tn.must(err)
			edit(&g)
			tn.byHand(map[string]string{path: string(g.Encode())})
			tn.settle(r)
			if v := tn.phase(r, id, grants.PhaseClosed); v.Outcome != grants.OutcomeRevoked || !tn.alerted("changed after the merge") {
				t.Errorf("%+v", v)
			}
			tn.mayNotClaim(r, id)
			tn.issuedAndDead(1)
		})
	}
}

func TestC11_TwoGrantsAreTwoCredentials(t *testing.T) {
	tn, r := started(t)
	first := tn.ask(r, "alice", "postgres-prod", time.Hour)
	second := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	host := tn.ask(r, "alice", "bastion", time.Hour)
	tn.settle(r)
	tn.takes(r, first, "alice")
	tn.takes(r, second, "alice")
	_, _, err := r.Bot.Claim(t.Context(), person("alice"), host, bot.ClaimAsk{Key: "a claim key of one's own", PublicKey: sshKey})
	tn.must(err)
	policies := map[string]string{}
	for _, token := range tn.Vault.Tokens() {
		if id := token.Meta["grant"]; id != "" && !token.Wrapping {
			if _, two := policies[id]; two || len(token.Policies) != 1 {
				t.Errorf("%s has more than one token, or one with %v", id, token.Policies)
			}
			policies[id] = token.Policies[0]
		}
	}
	want := map[string]string{string(first): "tac-postgres-prod", string(second): "tac-postgres-prod", string(host): "tac-bastion"}
	if fmt.Sprint(policies) != fmt.Sprint(want) {
		t.Errorf("tokens of %v, want %v", policies, want)
	}
	if users := tn.Postgres.Users(); len(users) != 2 {
		t.Errorf("database users: %v", users)
	}
	_, err = r.Bot.Drop(t.Context(), person("alice"), second)
	tn.must(err)
	tn.phase(r, first, grants.PhaseActive)
	tn.phase(r, host, grants.PhaseActive)
	if users := tn.Postgres.Users(); len(users) != 1 {
		t.Errorf("database users: %v", users)
	}
}

// sshKey is a public key whose private one nobody has.
const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGJcpmSKH8Z1UlGm1d2kYE0VIeKfPzJnpwPaeCwDVu9U"

func TestC12_WhatTheBotDidNotMergeGivesNothing(t *testing.T) {
	now := func(tn *town) string { c := clone{tn: tn}; return c.signature("eve", tn.Clock.Now()) }
	facts := policies.Facts{At: demo.Start, Teams: map[policies.TeamRef]policies.Team{
		{Org: "acme", Slug: "dba"}: {ID: 501, Slug: "dba", ReadAt: demo.Start, Source: "github:team:acme/dba#501"},
	}}.Line()
	message := func(g grants.Grant, pull int) string {
		return fmt.Sprintf("postgres-prod for alice\n\nTac-Grant: %s\nTac-Requester: 1001\nTac-Decision: allow\nTac-Pull: %d\nTac-Facts: %s\n",
			g.ID, pull, facts)
	}
	for name, push := range map[string]func(tn *town, r *demo.Replica, g grants.Grant, file string){
		"pushed": func(tn *town, _ *demo.Replica, g grants.Grant, _ string) {
			tn.byHand(map[string]string{g.Path(): string(g.Encode())})
		},
		"pushed under the words of the bot": func(tn *town, r *demo.Replica, g grants.Grant, file string) {
			h := tn.writes("alice", tn.newHand("alice", time.Hour))
			tn.settle(r)
			tn.phase(r, h.ID, grants.PhaseApproved)
			tn.clone("eve").commit("main", now(tn), message(g, h.pull), file)
		},
		"pushed under the words of the bot, of an open pull request": func(tn *town, r *demo.Replica, g grants.Grant, file string) {
			_, pull := tn.waiting(r)
			tn.clone("eve").commit("main", now(tn), message(g, pull), file)
			tn.Clock.Advance(2 * time.Minute)
		},
		"pushed with others": func(tn *town, _ *demo.Replica, g grants.Grant, file string) {
			other := tn.newHand("alice", time.Hour)
			tn.clone("eve").commit("main", now(tn), "quick", file, inline("100644", other.Path(), string(other.Encode())))
		},
		"pushed twice, for two resources": func(tn *town, _ *demo.Replica, g grants.Grant, file string) {
			tn.clone("eve").commit("main", now(tn), "quick", file, inline("100644", grants.Path("bastion", g.ID), string(g.Encode())))
		},
		"pushed as of next year": func(tn *town, _ *demo.Replica, g grants.Grant, file string) {
			c := tn.clone("eve")
			c.commit("main", c.signature("alice", tn.Clock.Now().AddDate(1, 0, 0)), "quick", file)
		},
		"pushed as garbage": func(tn *town, _ *demo.Replica, g grants.Grant, _ string) {
			tn.byHand(map[string]string{g.Path(): "kind: [\n"})
		},
		"merged by a person": func(tn *town, _ *demo.Replica, g grants.Grant, _ string) {
			_, err := tn.GitHub.MergeAsAdmin(demo.Repository, tn.writes("alice", g).pull, "eve")
			tn.must(err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
			g := tn.newHand("alice", time.Hour)
			push(tn, r, g, inline("100644", g.Path(), string(g.Encode())))
			tn.refused(r, g.ID, "alice")
			if got := tn.phase(r, g.ID, grants.PhaseClosed); got.Outcome != grants.OutcomeRefused {
				t.Errorf("%+v", got)
			}
		})
	}
	t.Run("a merge commit of the person's own", func(t *testing.T) {
		tn, r := started(t)
		tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
		g := tn.newHand("alice", time.Hour)
		side := tn.writes("alice", g)
		tn.clone("eve").commit("main", "", "Merge branch", "merge "+side.head, inline("100644", g.Path(), string(g.Encode())))
		tn.refused(r, g.ID, "alice")
	})
	t.Run("a person merges it under the words of the bot", func(t *testing.T) {
		// bob's request is approved and its check run is green: anybody who
		// may write can press the button before the bot does.
		tn, r := started(t)
		id, pull := tn.waiting(r)
		tn.review(pull, "dana", "APPROVE")
		token, err := tn.GitHub.PAT("eve")
		tn.must(err)
		record, err := r.Bot.Vault.Request(t.Context(), id.Key())
		tn.must(err)
		tn.beforeTheMerge(func() {
			body := map[string]string{"merge_method": "squash", "sha": record.Head, "commit_title": "postgres-prod for bob", "commit_message": message(record.Grant, pull)}
			if status := tn.request(token, http.MethodPut, fmt.Sprintf("/pulls/%d/merge", pull), body); status != http.StatusOK {
				t.Errorf("eve's merge was answered %d", status)
			}
		})
		_ = tn.sync(r)
		tn.refused(r, id, "bob")
		if why := tn.see(r, id).Why; !strings.Contains(why, "was merged by the account 1005 and not by tac") {
			t.Errorf("it was refused because %s", why)
		}
	})
	t.Run("a merge that GitHub cannot describe wakes somebody, and gives nothing meanwhile", func(t *testing.T) {
		tn, r := started(t)
		tn.GitHub.Order(sandbox.Fault{Method: http.MethodGet, Path: "/pulls/", When: sandbox.Answer, Status: http.StatusBadGateway, Times: -1})
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		for range 17 {
			_ = tn.sync(r)
			tn.Clock.Advance(time.Minute)
		}
		if !tn.onMain(id) || !tn.alerted("cannot be judged") {
			t.Error("it is not on main, or nobody was alerted")
		}
		tn.unclaimable(r, id, "alice")
		tn.GitHub.ClearFaults()
		tn.settle(r)
		tn.takes(r, id, "alice")
	})
	t.Run("the words name a pull request that does not exist", func(t *testing.T) {
		tn, r := started(t)
		tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
		g := tn.newHand("alice", time.Hour)
		tn.clone("eve").commit("main", now(tn), message(g, 4711), inline("100644", g.Path(), string(g.Encode())))
		_ = tn.sync(r) // so young a merge may yet be shown
		tn.Clock.Advance(2 * time.Minute)
		tn.refused(r, g.ID, "alice")
		if !tn.alerted("and there is none") {
			t.Error("nobody was alerted")
		}
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		_ = tn.sync(r)
		tn.phase(r, id, grants.PhaseApproved) // it holds nobody else up
	})
}
