package gitstore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/bot/gitstore/storeclaims"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants/world"
)

// TestTheClaimsHoldOnTheSandboxForge shows on the sandbox what bot/realtest
// shows on git's own server.
func TestTheClaimsHoldOnTheSandboxForge(t *testing.T) {
	forge, err := github.New(sandbox.NewStillClock(noon))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := forge.Close(); err != nil {
			t.Error(err)
		}
	})
	forge.AddUser("acme", 1)
	token := must(t)(forge.PAT("acme"))
	repos := 0
	storeclaims.Run(t, func(t *testing.T) storeclaims.Repo {
		repos++
		name := fmt.Sprintf("access-%d", repos)
		if _, err := forge.AddRepo("acme", name, "main"); err != nil {
			t.Fatal(err)
		}
		return storeclaims.Repo{URL: forge.CloneURL("acme/" + name), Token: token, Pull: func(t *testing.T, branch string) int {
			t.Helper()
			number, err := forge.OpenPull("acme/"+name, "acme", branch, "main", "title", "body")
			if err != nil {
				t.Fatal(err)
			}
			return number
		}}
	})
}

// TestALostAnswerOfTheForgeCostsOneLook pins that a push whose answer was lost
// is looked up and not repeated.
func TestALostAnswerOfTheForgeCostsOneLook(t *testing.T) {
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
	tip, err := forge.Seed("acme/access", "main", map[string]string{"grants/db/1.yaml": "x"}, "acme", "first")
	if err != nil {
		t.Fatal(err)
	}
	token := must(t)(forge.PAT("acme"))
	store, err := gitstore.New(gitstore.Config{
		URL: forge.CloneURL("acme/access"), Branch: "main", AuthorName: "tac[bot]", AuthorEmail: "tac@acme.test",
		Token: func(context.Context) (world.Secret, error) { return world.NewSecret(token), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	must(t)(store.Fetch(t.Context()))
	forge.ResetCalls()
	forge.Order(sandbox.Fault{Path: "git-receive-pack", When: sandbox.LostReply})
	must(t)(store.Remove(t.Context(), tip, []string{"grants/db/1.yaml"}, "tac: remove", noon))
	if n := forge.Counts().Git; n != 2 {
		t.Errorf("a lost answer cost %d requests", n)
	}
}
