package bot_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	gogit "github.com/go-git/go-git/v5"
	gitconfig "github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

func TestA6_WhatTheBotDidNotMergeIsRefused(t *testing.T) {
	t.Parallel()
	admin := func(t *testing.T, tn *town) string {
		t.Helper()
		token, err := tn.GitHub.PAT("eve")
		tn.must(err)
		return token
	}
	// The bot's own words about another grant, made to fit this one.
	words := func(tn *town, earlier, id grants.ID, from, to int) string {
		commits, err := tn.GitHub.Commits(demo.Repository, "main")
		tn.must(err)
		for _, c := range commits {
			if strings.Contains(c.Message, "Tac-Grant: "+string(earlier)+"\n") {
				return strings.NewReplacer(string(earlier), string(id), fmt.Sprintf("Tac-Pull: %d\n", from), fmt.Sprintf("Tac-Pull: %d\n", to)).Replace(c.Message)
			}
		}
		tn.t.Fatal("tac has merged nothing yet")
		return ""
	}

	t.Run("an administrator merges by hand", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		id, pull := tn.waiting(r)
		_, err := tn.GitHub.MergeAsAdmin(demo.Repository, pull, "eve")
		tn.must(err)
		tn.refused(r, id, "bob")
	})
	t.Run("somebody merges in the bot's words what the bot was about to merge", func(t *testing.T) {
		t.Parallel()
		tn := newTown(t, nil)
		r := tn.replica("one")
		tn.must(tn.sync(r))
		earlier := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		tn.must(tn.sync(r))
		from := tn.phase(r, earlier, grants.PhaseApproved).PullRequest
		id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		tn.beforeTheMerge(func() {
			open, err := r.Bot.Forge.OpenPulls(t.Context())
			tn.must(err)
			subject, text, _ := strings.Cut(words(tn, earlier, id, from, open[0].Number), "\n\n")
			body := map[string]string{"merge_method": "squash", "commit_title": subject, "commit_message": text}
			if status := tn.request(admin(t, tn), http.MethodPut, fmt.Sprintf("/pulls/%d/merge", open[0].Number), body); status != http.StatusOK {
				t.Errorf("the merge by hand: status %d", status)
			}
		})
		_ = tn.sync(r)
		if !tn.merged(id) {
			t.Fatal("nothing was merged")
		}
		tn.refused(r, id, "alice")
	})
	// Whoever may push to main could bring a file there, signature and all,
	// in a commit that names some pull request as its origin.
	for name, namedPull := range map[string]func(tn *town, own int, earlier int) int{
		"a commit names its own pull request, which is open":  func(_ *town, own, _ int) int { return own },
		"a commit names a pull request that tac merged":       func(_ *town, _, earlier int) int { return earlier },
		"a commit names no pull request":                      func(*town, int, int) int { return 0 },
		"a commit names a pull request that does not add up":  func(_ *town, own, _ int) int { return -own },
		"a commit names a pull request and is merged as well": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, nil)
			r := tn.replica("one")
			tn.must(tn.sync(r))
			before := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
			tn.must(tn.sync(r))
			earlier := tn.phase(r, before, grants.PhaseApproved).PullRequest
			id, own := tn.waiting(r)
			tn.review(own, "dana", "APPROVE") // all is well but for how it came to main
			g := grants.Grant{ID: id, Resource: "postgres-prod"}
			files, err := tn.GitHub.Files(demo.Repository, g.Branch())
			tn.must(err)
			tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
			number := own
			if namedPull != nil {
				number = namedPull(tn, own, earlier)
			}
			_, err = tn.push(github.Push{
				Login: "eve", Branch: "main", Message: words(tn, before, id, earlier, number),
				Files: map[string]string{g.Path(): files[g.Path()]},
			})
			tn.must(err)
			if namedPull == nil { // the merge that follows changes nothing, and is not that commit
				_, err = tn.GitHub.MergeAsAdmin(demo.Repository, own, "eve")
				tn.must(err)
			}
			tn.refused(r, id, "bob")
		})
	}
}

func TestA7_DraftsNeverMerge(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
	tn.must(tn.GitHub.SetDraft(demo.Repository, h.pull, "bob", true))
	tn.review(h.pull, "dana", "APPROVE")
	tn.unmerged(r, h.ID, "bob")
	if n := tn.asked(http.MethodPut, "/merge"); n > 0 {
		t.Errorf("tac tried %d times to merge a draft", n)
	}

	// What is pushed to the draft needs an approval of its own.
	h.Duration = 3 * time.Hour
	_, err := tn.push(github.Push{Login: "bob", Branch: h.branch, Message: "longer", Files: map[string]string{h.Path(): string(h.Encode())}})
	tn.must(err)
	tn.must(tn.GitHub.SetDraft(demo.Repository, h.pull, "bob", false))
	tn.unmerged(r, h.ID, "bob")
	tn.review(h.pull, "dana", "APPROVE")
	tn.settle(r)
	tn.phase(r, h.ID, grants.PhaseApproved)
}

func TestA7_ADraftAtTheLastMomentIsNotMerged(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	tn.review(pull, "dana", "APPROVE")
	tn.beforeTheMerge(func() { tn.must(tn.GitHub.SetDraft(demo.Repository, pull, "bob", true)) })
	tn.unmerged(r, id, "bob")
	tn.must(tn.GitHub.SetDraft(demo.Repository, pull, "bob", false))
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

func TestA8_AnotherBaseBranchGivesNothing(t *testing.T) {
	t.Parallel()
	atEveryCall(t, moment{
		stage: func(tn *town) (*demo.Replica, grants.ID) {
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			_, err := tn.push(github.Push{Login: "bob", Branch: "elsewhere", Message: "a branch", Files: map[string]string{"policies/production-database.yaml": ""}})
			tn.must(err)
			tn.review(pull, "dana", "APPROVE")
			return r, id
		},
		disturb: func(tn *town, _ grants.ID) {
			// The only pull request of the town; a merged one has its base for ever.
			_ = tn.GitHub.Rebase(demo.Repository, 1, "bob", "elsewhere")
		},
		check: func(tn *town, r *demo.Replica, id grants.ID, tooLate bool) {
			if tooLate {
				tn.settle(r)
				tn.phase(r, id, grants.PhaseApproved)
				return
			}
			tn.unmerged(r, id, "bob")
			if v := tn.see(r, id); v.Phase != grants.PhaseDenied && v.Phase != grants.PhaseWithdrawn {
				tn.t.Errorf("the request is %s for ever", v.Phase)
			}
		},
	})
}

func TestA8_AnotherBaseBranchIsNotMergedInto(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	_, err := tn.push(github.Push{Login: "bob", Branch: "elsewhere", Message: "a branch"})
	tn.must(err)
	tn.review(pull, "dana", "APPROVE")
	tn.must(tn.GitHub.Rebase(demo.Repository, pull, "bob", "elsewhere"))
	tn.unmerged(r, id, "bob")
	tn.phase(r, id, grants.PhaseDenied)
	if n := tn.asked(http.MethodPut, "/merge"); n > 0 {
		t.Errorf("tac merged into another branch")
	}
}

func TestA8_AMergeIntoAnotherBranchStaysWorthlessOnMain(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	// On this branch bob needs nobody.
	_, err := tn.push(github.Push{Login: "bob", Branch: "elsewhere", Message: "a branch", Files: map[string]string{
		"policies/production-database.yaml": "kind: AccessPolicy\nmetadata: {name: mine}\nspec:\n  resource: postgres-prod\n  auto_approve:\n    conditions:\n      - {role: [developer], max_duration: 8h}\n",
	}})
	tn.must(err)
	tn.review(pull, "dana", "APPROVE")
	tn.beforeTheMerge(func() { tn.must(tn.GitHub.Rebase(demo.Repository, pull, "bob", "elsewhere")) })
	_ = tn.sync(r)
	commits, err := tn.GitHub.Commits(demo.Repository, "elsewhere")
	tn.must(err)
	if !strings.Contains(commits[0].Message, "Tac-Grant: "+string(id)) {
		t.Fatal("it was not merged into the other branch")
	}
	// Somebody who may push to main moves it there: the very commit that
	// the bot made, in front of policies that the bot never saw.
	tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
	tn.must(tn.GitHub.MoveBranch(demo.Repository, "eve", "main", commits[0].SHA))
	tn.refused(r, id, "bob")
}

func TestA9_AReopenedPullRequestIsJudgedFromScratch(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	h := tn.writes("bob", tn.newHand("bob", 2*time.Hour))
	tn.must(tn.sync(r))
	tn.review(h.pull, "dana", "APPROVE")
	// All between two looks of the bot.
	tn.must(tn.GitHub.ClosePull(demo.Repository, h.pull, "bob"))
	h.Duration = 8 * time.Hour
	_, err := tn.push(github.Push{Login: "bob", Branch: h.branch, Message: "longer", Files: map[string]string{h.Path(): string(h.Encode())}})
	tn.must(err)
	tn.must(tn.GitHub.ReopenPull(demo.Repository, h.pull, "bob"))
	tn.unmerged(r, h.ID, "bob")
	if n := tn.asked(http.MethodGet, "/files"); n > 0 {
		t.Error("tac asked GitHub what a pull request changes; GitHub was wrong about that before")
	}

	// Closed is closed, once the bot has seen it: the same id never comes back.
	tn.must(tn.GitHub.ClosePull(demo.Repository, h.pull, "bob"))
	tn.settle(r)
	tn.phase(r, h.ID, grants.PhaseWithdrawn)
	tn.must(tn.GitHub.ReopenPull(demo.Repository, h.pull, "bob"))
	tn.review(h.pull, "dana", "APPROVE")
	tn.unmerged(r, h.ID, "bob")
}

// TestA10_MergeBaseSmugglingIsRefused builds a history with two best common
// ancestors. From the one that the bot compares with, bob's head adds his
// grant and no more; from the one that GitHub merges by, it also brings back
// a policy that main has long given up.
func TestA10_MergeBaseSmugglingIsRefused(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	tn.must(tn.GitHub.AllowBypass(demo.Repository, "eve"))
	pat, err := tn.GitHub.PAT("eve")
	tn.must(err)
	auth := &githttp.BasicAuth{Username: "eve", Password: pat}
	clone, err := gogit.Clone(memory.NewStorage(), nil, &gogit.CloneOptions{URL: tn.GitHub.CloneURL(demo.Repository), Auth: auth})
	tn.must(err)
	head, err := clone.Head()
	tn.must(err)
	root, err := clone.CommitObject(head.Hash())
	tn.must(err)

	lax := tn.treeWith(root, map[string]string{"policies/lax.yaml": "kind: Role\nmetadata: {name: lax}\nspec: {members: [bob]}\n"})
	g := tn.newHand("bob", 2*time.Hour)
	laxAndGrant := tn.treeWith(root, map[string]string{"policies/lax.yaml": "kind: Role\nmetadata: {name: lax}\nspec: {members: [bob]}\n", g.Path(): string(g.Encode())})
	now := tn.Clock.Now()
	commit := func(tree plumbing.Hash, at time.Time, who string, id int64, parents ...plumbing.Hash) plumbing.Hash {
		s := object.Signature{Name: who, Email: fmt.Sprintf("%d+%s@users.noreply.github.com", id, who), When: at}
		c := &object.Commit{Author: s, Committer: s, Message: "x", TreeHash: tree, ParentHashes: parents}
		o := clone.Storer.NewEncodedObject()
		tn.must(c.Encode(o))
		h, err := clone.Storer.SetEncodedObject(o)
		tn.must(err)
		return h
	}
	eve := func(tree plumbing.Hash, at time.Time, parents ...plumbing.Hash) plumbing.Hash {
		return commit(tree, at, "eve", 1005, parents...)
	}
	// The trees were made on the server: fetch them under their branches.
	tn.must(clone.Fetch(&gogit.FetchOptions{Auth: auth, RefSpecs: []gitconfig.RefSpec{"+refs/heads/*:refs/remotes/origin/*"}}))
	long := eve(root.TreeHash, now.Add(-3*time.Hour), eve(root.TreeHash, now.Add(-4*time.Hour), head.Hash()))
	late := eve(lax, now.Add(-time.Hour), head.Hash())
	main := eve(root.TreeHash, now, head.Hash(), long, late)
	bobs := commit(laxAndGrant, now, "bob", 1002, long, late)
	for name, h := range map[string]plumbing.Hash{"main": main, "bobs": bobs} {
		ref := plumbing.NewHashReference(plumbing.ReferenceName("refs/heads/"+name), h)
		tn.must(clone.Storer.SetReference(ref))
		tn.must(clone.Push(&gogit.PushOptions{Auth: auth, RefSpecs: []gitconfig.RefSpec{gitconfig.RefSpec(ref.Name() + ":" + ref.Name())}}))
	}
	pull, err := tn.GitHub.OpenPull(demo.Repository, "bob", "bobs", "main", "please", "")
	tn.must(err)
	tn.review(pull, "dana", "APPROVE")
	tn.settle(r)
	files, err := tn.GitHub.Files(demo.Repository, "main")
	tn.must(err)
	if _, there := files["policies/lax.yaml"]; !there {
		t.Fatal("the attack did not work: nothing was smuggled")
	}
	tn.refused(r, g.ID, "bob")
}

// treeWith makes the tree of a commit with further files, by a branch.
func (tn *town) treeWith(c *object.Commit, files map[string]string) plumbing.Hash {
	tn.t.Helper()
	branch := fmt.Sprintf("tree-%d", len(files))
	sha, err := tn.push(github.Push{Login: "eve", Branch: branch, From: c.Hash.String(), Files: files, Message: "x"})
	tn.must(err)
	commits, err := tn.GitHub.Commits(demo.Repository, branch)
	tn.must(err)
	if commits[0].SHA != sha {
		tn.t.Fatal("somebody else pushed")
	}
	return plumbing.NewHash(commits[0].Tree)
}

func TestA11_WordsApproveNothing(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	say := func(login, path string, body map[string]string) {
		t.Helper()
		token, err := tn.GitHub.PAT(login)
		tn.must(err)
		if status := tn.request(token, http.MethodPost, path, body); status >= 300 {
			t.Fatalf("%s: status %d", path, status)
		}
	}
	reviews, comments := fmt.Sprintf("/pulls/%d/reviews", pull), fmt.Sprintf("/issues/%d/comments", pull)
	say("dana", reviews, map[string]string{"event": "COMMENT", "body": "APPROVED /approve LGTM :+1:"})
	say("eve", reviews, map[string]string{"body": "APPROVE"}) // begun, and not submitted
	say("dana", comments, map[string]string{"body": "/approve\n\nTac-Approver: 1004 1 x"})
	tn.unmerged(r, id, "bob")
	say("dana", reviews, map[string]string{"event": "APPROVE", "body": "I do not approve of this"})
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
}

// request calls GitHub's API with a token and returns the status.
func (tn *town) request(token, method, path string, body any) int {
	tn.t.Helper()
	encoded, err := json.Marshal(body)
	tn.must(err)
	ctx := context.WithoutCancel(tn.t.Context())
	request, err := http.NewRequestWithContext(ctx, method, tn.GitHub.URL()+"/repos/"+demo.Repository+path, bytes.NewReader(encoded))
	tn.must(err)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	tn.must(err)
	tn.must(response.Body.Close())
	return response.StatusCode
}
