package bot_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

var idInText = regexp.MustCompile(`[0-9]{8}-[0-9a-z]{10}`)

// serve runs a replica for as long as the test lasts.
func (tn *town) serve(r *demo.Replica) {
	tn.t.Helper()
	tn.Run(context.WithoutCancel(tn.t.Context()), r)
	tn.until("tac is up", func() bool { return tn.sync(r) == nil })
}

// until waits for what a running replica does by itself.
func (tn *town) until(what string, holds func() bool) {
	tn.t.Helper()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	tn.t.Fatalf("waited in vain until %s", what)
}

// slackAsk types /tac and returns what only the typist sees.
func (tn *town) slackAsk(r *demo.Replica, user, text string) (*slack.Answer, string) {
	tn.t.Helper()
	a, err := tn.Slack.Command(r.URL()+"/webhooks/slack/commands", user, demo.Channel, "/tac", text)
	tn.must(err)
	var said struct {
		Text string `json:"text"`
	}
	tn.must(json.Unmarshal(a.Body, &said))
	return a, said.Text
}

// wrapped finds the single-use token in a direct message.
func wrapped(t *testing.T, messages []slack.Message) string {
	t.Helper()
	form := regexp.MustCompile(`hvs\.[A-Za-z0-9_-]+|s\.[A-Za-z0-9]{20,}`)
	for _, m := range messages {
		blocks, err := json.Marshal(m.Blocks)
		if err != nil {
			t.Fatal(err)
		}
		if token := form.FindString(string(blocks)); token != "" {
			if strings.Contains(m.Text, token) {
				t.Error("the token stands in the notification text")
			}
			return token
		}
	}
	return ""
}

func TestSlackRequestIsOneMessageAndOneSingleUseToken(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.serve(r)
	answer, text := tn.slackAsk(r, "U01ALICE", `request postgres-prod 2h "Deploy hotfix for INC-789"`)
	id := grants.ID(idInText.FindString(text))
	if id == "" {
		t.Fatalf("the answer names no grant: %s", text)
	}
	if _, err := tn.Slack.Redeliver(answer); err != nil {
		t.Fatal(err)
	}
	var token string
	tn.until("the token arrives", func() bool {
		token = wrapped(t, tn.Slack.DMs("U01ALICE"))
		return token != ""
	})
	admin, err := tn.VaultAdmin()
	tn.must(err)
	secret, err := admin.Logical().Unwrap(token)
	tn.must(err)
	user, _ := secret.Data["username"].(string)
	password, _ := secret.Data["password"].(string)
	conn, err := pgx.Connect(t.Context(), "postgres://"+user+":"+password+"@"+tn.Postgres.Addr()+"/payments?sslmode=disable")
	tn.must(err)
	tn.must(conn.Close(t.Context()))
	if _, err := admin.Logical().Unwrap(token); err == nil {
		t.Error("the token opens twice")
	}
	tn.until("the channel says active", func() bool {
		messages := tn.Slack.Messages(demo.Channel)
		return len(messages) == 1 && strings.Contains(tn.Slack.Render(messages[0]), "active")
	})
	tn.Clock.Advance(time.Minute)
	tn.until("it is known to be taken", func() bool { return tn.stepped(grants.ConfirmTake) > 0 })
	tn.phase(r, id, grants.PhaseActive)

	tn.Clock.Advance(2 * time.Hour)
	tn.until("it is over", func() bool { return tn.see(r, id).Phase == grants.PhaseClosed })
	tn.until("the channel says closed", func() bool {
		messages := tn.Slack.Messages(demo.Channel)
		return len(messages) == 1 && strings.Contains(tn.Slack.Render(messages[0]), "closed")
	})
	message := tn.Slack.Messages(demo.Channel)[0]
	if strings.Contains(tn.Slack.Render(message)+message.Text, token) {
		t.Error("the token stands in the channel")
	}
	if len(message.Edits) == 0 {
		t.Error("the message was never edited")
	}
	if n := tn.stepped(grants.Propose); n != 1 {
		t.Errorf("a redelivered command made %d pull requests", n)
	}
}

func TestAnUnopenedTokenIsRetiredAndNobodyHasTheCredential(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.serve(r)
	_, text := tn.slackAsk(r, "U01ALICE", `request postgres-prod 2h "Deploy hotfix"`)
	id := grants.ID(idInText.FindString(text))
	var token string
	tn.until("the token arrives", func() bool {
		token = wrapped(t, tn.Slack.DMs("U01ALICE"))
		return token != ""
	})
	tn.until("it is noted as sent", func() bool { return tn.see(r, id).Phase == grants.PhaseActive && tn.stepped(grants.Issue) == 1 })
	tn.Clock.Advance(4*time.Minute + 45*time.Second)
	tn.until("it is retired", func() bool { return tn.see(r, id).Phase == grants.PhaseApproved })
	admin, err := tn.VaultAdmin()
	tn.must(err)
	if _, err := admin.Logical().Unwrap(token); err == nil {
		t.Error("the retired token still opens")
	}
	if users := tn.Postgres.Users(); len(users) != 0 {
		t.Errorf("left behind: %v", users)
	}
	if n := tn.stepped(grants.Issue); n != 1 {
		t.Errorf("issued %d times; an unopened credential is not issued anew unasked", n)
	}
}

func TestSlackRefusalSaysWhatWouldHaveWorked(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.serve(r)
	_, text := tn.slackAsk(r, "U02BOB", `request postgres-prod 99h "Deploy"`)
	if !strings.Contains(text, "8h") {
		t.Errorf("it does not name the ceiling: %s", text)
	}
	if messages := tn.Slack.Messages(demo.Channel); len(messages) != 0 {
		t.Errorf("a refusal was said in public: %v", messages)
	}
	if pulls := tn.stepped(grants.Propose); pulls != 0 {
		t.Error("a refusal was written to GitHub")
	}
}
