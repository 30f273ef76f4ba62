package gitstore_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants/world"
)

func TestAgainstTheSandboxForge(t *testing.T) {
	forge, err := github.New(sandbox.NewStillClock(noon))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := forge.Close(); err != nil {
			t.Error(err)
		}
	}()
	forge.AddUser("acme", 1)
	if _, err := forge.AddRepo("acme", "access", "main"); err != nil {
		t.Fatal(err)
	}
	tip, err := forge.Seed("acme/access", "main", map[string]string{"grants/db/1.yaml": "x", "grants/db/2.yaml": "y", "policies/p.yaml": "z"}, "acme", "first")
	if err != nil {
		t.Fatal(err)
	}
	token := must(t)(forge.PAT("acme"))
	open := func() *gitstore.Store {
		store, err := gitstore.New(gitstore.Config{
			URL: forge.CloneURL("acme/access"), Branch: "main", AuthorName: "tac[bot]", AuthorEmail: "tac@acme.test",
			Token: func(context.Context) (world.Secret, error) { return world.NewSecret(token), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := must(t)(store.Fetch(t.Context())); got != tip {
			t.Fatalf("fetched %s, want %s", got, tip)
		}
		return store
	}
	one, two := open(), open()

	head := must(t)(one.Propose(t.Context(), wish(tip)))
	if again := must(t)(two.Propose(t.Context(), wish(tip))); again != head {
		t.Errorf("proposed %s, then %s", head, again)
	}
	number, err := forge.OpenPull("acme/access", "acme", wish(tip).Name, "main", "title", "body")
	if err != nil {
		t.Fatal(err)
	}
	got, err := open().Proposal(t.Context(), number, head)
	if err != nil || got.Base != tip || !slices.Equal(got.Commits, []string{head}) || len(got.Changes) != 1 || got.Changes[0].Path != wish(tip).Path {
		t.Errorf("the proposal is %+v, %v", got, err)
	}

	next := must(t)(one.Remove(t.Context(), tip, []string{"grants/db/1.yaml"}, "tac: remove", noon))
	if lost, err := two.Remove(t.Context(), tip, []string{"grants/db/2.yaml"}, "tac: remove", noon); !errors.Is(err, world.ErrLost) {
		t.Errorf("a push from behind made %s, %v", lost, err)
	}
	files, err := forge.Files("acme/access", "main")
	if names := slices.Sorted(maps.Keys(files)); err != nil || strings.Join(names, " ") != "grants/db/2.yaml policies/p.yaml" {
		t.Errorf("the forge has %v, %v", names, err)
	}
	if got := must(t)(two.Fetch(t.Context())); got != next {
		t.Errorf("fetched %s, want %s", got, next)
	}

	forge.ResetCalls()
	forge.Order(sandbox.Fault{Path: "git-receive-pack", When: sandbox.LostReply})
	must(t)(two.Remove(t.Context(), next, []string{"grants/db/2.yaml"}, "tac: remove", noon))
	if n := forge.Counts().Git; n != 2 {
		t.Errorf("a lost answer cost %d requests", n)
	}
}
