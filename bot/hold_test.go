package bot_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
)

// TestABotIsNotMadeWithoutAHold: one that was left out must not mean that
// nothing is ever held.
func TestABotIsNotMadeWithoutAHold(t *testing.T) {
	c := bot.Config{
		Repository: struct{ bot.Repository }{}, Forge: struct{ bot.Forge }{}, Vault: struct{ bot.Vault }{},
		Branch: "main", Zones: time.LoadLocation, Now: time.Now, Log: slog.New(slog.DiscardHandler), Resync: "@every 1m",
		Hold: func(string, grants.Target) error { return nil },
	}
	if _, err := bot.New(c); err != nil {
		t.Errorf("with all that is needed: %v", err)
	}
	c.Hold = nil
	if _, err := bot.New(c); err == nil || !strings.Contains(err.Error(), "what holds new access back is missing") {
		t.Errorf("without a hold: %v", err)
	}
}

// TestAHoldGivesNothingNewAndHindersNoEnd takes a grant to each point of its
// life, holds new access back, and looks at what still happens.
func TestAHoldGivesNothingNewAndHindersNoEnd(t *testing.T) {
	held := errors.New("the set-up is wrong")
	hold := func(_ string, target grants.Target) error {
		if target.Path == "" {
			t.Error("the hold is asked without what the credential would be for")
		}
		return held
	}
	refused := func(t *testing.T, err error) {
		t.Helper()
		var refusal *bot.Error
		if !errors.As(err, &refusal) || refusal.Code != bot.CodeHeld || refusal.Message != held.Error() {
			t.Errorf("the refusal is %v", err)
		}
	}
	key := bot.ClaimAsk{Key: "a claim key of one's own"}

	t.Run("asked for", func(t *testing.T) {
		tn := newTown(t, nil)
		r := tn.replica("one")
		id := tn.ask(r, "alice", "postgres-prod", time.Hour)
		r.Bot.Hold = hold
		_, err := r.Bot.Request(t.Context(), bot.Ask{Requester: person("bob"), Resource: "bastion", Duration: time.Hour, Reason: "a good reason", Via: grants.ViaCLI, Key: "another wish"})
		refused(t, err)
		_, err = r.Bot.Request(t.Context(), bot.Ask{Requester: person("alice"), Resource: "bastion", Duration: time.Hour, Reason: "a good reason", DryRun: true})
		tn.must(err) // a question gives nothing
		tn.must(tn.sync(r))
		if tn.stepped(grants.Propose) != 0 {
			t.Error("a held request was proposed")
		}
		tn.phase(r, id, grants.PhaseRequested)
		_, err = r.Bot.Drop(t.Context(), person("alice"), id)
		tn.must(err)
		tn.phase(r, id, grants.PhaseWithdrawn)
	})
	t.Run("proposed", func(t *testing.T) {
		tn := newTown(t, nil)
		r := tn.replica("one")
		id := tn.ask(r, "bob", "postgres-prod", 2*time.Hour) // waits for a review
		tn.must(tn.sync(r))
		v := tn.see(r, id)
		r.Bot.Hold = hold
		_, err := tn.GitHub.Review("acme/access", v.PullRequest, "dana", "APPROVE", "")
		tn.must(err)
		tn.Clock.Advance(time.Minute)
		tn.must(tn.sync(r))
		if tn.stepped(grants.Merge) != 0 || tn.onMain(id) {
			t.Error("a held request was merged")
		}
		r.Bot.Hold = func(resource string, _ grants.Target) error {
			if resource != "postgres-prod" {
				return held
			}
			return nil
		}
		tn.Clock.Advance(time.Minute)
		tn.settle(r)
		tn.phase(r, id, grants.PhaseApproved)
	})
	t.Run("alive", func(t *testing.T) {
		tn := newTown(t, nil)
		r := tn.replica("one")
		living, waiting := tn.ask(r, "alice", "postgres-prod", time.Hour), tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
		tn.settle(r)
		_, _, err := r.Bot.Claim(t.Context(), person("alice"), living, key)
		tn.must(err)
		r.Bot.Hold = hold
		_, _, err = r.Bot.Claim(t.Context(), person("alice"), waiting, key)
		refused(t, err)
		_, _, err = r.Bot.Claim(t.Context(), person("alice"), living, bot.ClaimAsk{Key: key.Key, Replace: true})
		refused(t, err)
		if len(tn.Postgres.Users()) != 1 {
			t.Error("a claim that was refused took the credential away")
		}
		_, err = r.Bot.Drop(t.Context(), person("alice"), waiting)
		tn.must(err)
		tn.Clock.Advance(time.Hour)
		tn.settle(r)
		tn.phase(r, living, grants.PhaseClosed)
		tn.phase(r, waiting, grants.PhaseClosed)
		if len(tn.Postgres.Users()) != 0 || tn.onMain(living) {
			t.Error("something is left")
		}
	})
}
