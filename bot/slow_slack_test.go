package bot_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// slackHangs has every call to Slack hang until the test is over, as behind a
// network that swallows packets. The client's own patience is taken away: what
// is tested is the bot's.
func (tn *town) slackHangs(r *demo.Replica) (calls *atomic.Int64) {
	tn.t.Helper()
	client, err := slackchat.New(slackchat.Config{
		APIURL: tn.Slack.URL() + "/api/", BotToken: world.NewSecret(tn.Slack.BotToken()),
		HTTP: &http.Client{Transport: &http.Transport{}},
	})
	tn.must(err)
	r.Bot.Chat = client
	over := make(chan struct{})
	tn.t.Cleanup(func() { close(over) })
	calls = new(atomic.Int64)
	tn.Slack.Order(sandbox.Fault{Times: -1, When: sandbox.Before, Do: func(*http.Request) {
		calls.Add(1)
		<-over
	}})
	return calls
}

// TestASlackThatHangsDelaysNoEnd has more grants wait to be told than there
// are workers, and a sweep that meets all of them, when a grant is over whose
// own message hangs too. The bot gives up on chat after ten seconds, once;
// without that limit the credential would live for ever.
func TestASlackThatHangsDelaysNoEnd(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one", limited(bot.Limits{OpenPerPerson: 9}))
	tn.must(tn.sync(r))
	expired, dropped := tn.active(r, "alice", 2*time.Hour), tn.active(r, "carol", time.Hour)
	calls := tn.slackHangs(r)
	for range 8 {
		tn.ask(r, "carol", "postgres-prod", 4*time.Hour)
	}
	tn.Run(t.Context(), r)
	tn.until("a message hangs", func() bool { return calls.Load() > 0 })
	const within = 30 * time.Second // ten, and what a busy machine adds
	begun := time.Now()
	patience, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if _, err := r.Bot.Drop(patience, person("carol"), dropped); err != nil {
		t.Errorf("drop: %v", err)
	}
	tn.Clock.Advance(2 * time.Hour)
	tn.until("both are over", func() bool {
		return tn.recorded(r, expired).State == grants.Revoked && tn.recorded(r, dropped).State == grants.Revoked
	})
	if took := time.Since(begun); took > within {
		t.Errorf("it took %s", took)
	}
	if users := tn.Postgres.Users(); len(users) > 0 {
		t.Errorf("left: %v", users)
	}
}

// TestSlacksLimitIsObeyedAndHoldsUpNoEnd also pins that what could not be said
// is said when Slack wants to hear again.
func TestSlacksLimitIsObeyedAndHoldsUpNoEnd(t *testing.T) {
	tn, r := started(t)
	id := tn.active(r, "alice", time.Hour)
	tn.Slack.Limit("", -1, time.Hour)
	for range 4 {
		tn.ask(r, "carol", "postgres-prod", 4*time.Hour)
	}
	tn.Slack.ResetCalls()
	begun := time.Now()
	for range 3 {
		tn.must(tn.sync(r))
		tn.Clock.Advance(time.Minute)
	}
	tn.Clock.Advance(time.Hour)
	tn.must(tn.sync(r))
	if state := tn.recorded(r, id).State; state != grants.Revoked || len(tn.Postgres.Users()) > 0 {
		t.Errorf("after %s the record is %s, users: %v", time.Since(begun), state, tn.Postgres.Users())
	}
	asked := map[string]int{}
	for _, c := range tn.Slack.Calls() {
		if asked[c.Path]++; asked[c.Path] > 1 {
			t.Errorf("%s was called again within its Retry-After", c.Path)
		}
	}
	if len(asked) == 0 {
		t.Error("Slack was never asked, so nothing was tested")
	}

	tn.Slack.ClearFaults()
	again := tn.replica("two") // one that Slack has not told to wait
	tn.settle(again)
	for _, m := range tn.Slack.Messages(demo.Channel) {
		if shown := tn.Slack.Render(m); strings.Contains(shown, string(id)) && !strings.Contains(shown, "closed") {
			t.Errorf("the channel still says %s", shown)
		}
	}
	if n := len(tn.Slack.Messages(demo.Channel)); n != 5 {
		t.Errorf("the channel has %d messages, want one for each grant", n)
	}
}

// TestWhatSlackRefusedToHearIsSaidLaterAndOnce has Slack limit direct messages
// when somebody is to be warned and somebody else to be asked.
func TestWhatSlackRefusedToHearIsSaidLaterAndOnce(t *testing.T) {
	for name, refuses := range map[string]func(tn *town){
		"limited": func(tn *town) { tn.Slack.Limit("conversations.open", -1, time.Second) },
		"away": func(tn *town) {
			tn.Slack.Order(sandbox.Fault{Path: "conversations.open", When: sandbox.Before, Times: -1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r := started(t)
			id := tn.active(r, "alice", time.Hour)
			refuses(tn)
			tn.ask(r, "bob", "postgres-prod", 2*time.Hour)
			tn.Clock.Advance(51 * time.Minute)
			for range 3 {
				tn.must(tn.sync(r))
			}
			_, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "another claim key than the first"})
			tn.refusedAs(err, bot.CodeConflict, "the credential of this grant was taken already, somewhere else; --replace retires that one and issues anew")
			if tn.recorded(r, id).Warned || len(tn.Slack.DMs("U01ALICE"))+len(tn.Slack.DMs("U04DANA")) > 0 {
				t.Fatal("something was said, so nothing is tested")
			}
			tn.Slack.ClearFaults()
			two := tn.replica("two") // one that Slack has not told to wait
			said := func() (out string) {
				for _, user := range []string{"U01ALICE", "U04DANA"} {
					for _, m := range tn.Slack.DMs(user) {
						out += user + ": " + tn.Slack.Render(m)
					}
				}
				return out
			}
			for range 3 {
				tn.must(tn.sync(two))
				tn.Clock.Advance(time.Minute)
			}
			for _, words := range []string{"postgres-prod ends at", "bob asks for postgres-prod"} {
				if n := strings.Count(said(), words); n != 1 {
					t.Errorf("%q was said %d times:\n%s", words, n, said())
				}
			}
			tn.Clock.Advance(time.Hour)
			tn.must(tn.sync(two))
			if state := tn.recorded(two, id).State; state != grants.Revoked {
				t.Errorf("at its end it is %s", state)
			}
		})
	}
}

// TestAWarningThatSlackNeverHearsHindersNoEnd: it is tried to the last.
func TestAWarningThatSlackNeverHearsHindersNoEnd(t *testing.T) {
	tn, r := started(t)
	id := tn.active(r, "alice", time.Hour)
	tn.Slack.Limit("", -1, time.Hour)
	tn.Run(t.Context(), r)
	tn.Clock.Advance(51 * time.Minute)
	tn.until("the warning is due", func() bool { return tn.stepped(grants.Warn) > 0 })
	tn.Clock.Advance(9 * time.Minute)
	tn.until("it is over", func() bool { return tn.recorded(r, id).State == grants.Revoked })
}
