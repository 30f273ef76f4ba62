package bot_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
)

// E9: no secret stands in logs, git, Vault's records, pull requests or
// channels, whatever happens in a life.
func TestE9_NoSecretIsEverWrittenDown(t *testing.T) {
	tn := newTown(t, nil)
	var log lockedBuffer
	loud := func(_ *server.Config, o *server.Options) {
		o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	r := tn.replica("one", loud)
	tn.serve(r)
	id := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.until("it is approved", func() bool { return tn.see(r, id).Phase == grants.PhaseApproved })
	c, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own"})
	tn.must(err)
	_, text := tn.slackAsk(r, "U03CAROL", `request postgres-prod 1h "Slow query"`)
	chat := grants.ID(idInText.FindString(text))
	var token string
	tn.until("the token arrives", func() bool { token = wrapped(t, tn.Slack.DMs("U03CAROL")); return token != "" })
	tn.Postgres.SetDown(true) // trouble is where secrets slip out
	_, err = r.Bot.Drop(t.Context(), person("alice"), id)
	tn.must(err)
	_ = tn.sync(r)
	tn.Postgres.SetDown(false)
	tn.Clock.Advance(2 * time.Hour)
	tn.until("both are over", func() bool {
		return tn.see(r, id).Phase == grants.PhaseClosed && tn.see(r, chat).Phase == grants.PhaseClosed
	})

	config := tn.Config("one")
	secrets := map[string]string{
		"the database password": c.Password.Reveal(), "alice's wrapping token": c.Wrapped.Reveal(), "carol's wrapping token": token,
		"the client secret": config.GitHub.ClientSecret.Reveal(), "the webhook secret": config.GitHub.WebhookSecret.Reveal(),
		"Vault's secret id": config.Vault.SecretID.Reveal(), "the Slack token": config.Slack.BotToken.Reveal(),
		"the signing secret": config.Slack.SigningSecret.Reveal(), "an installation token": "ghs_", "a user token": "ghu_",
		"the App's key": strings.Split(config.GitHub.PrivateKey.Reveal(), "\n")[1],
	}
	sinks := map[string]string{"the log": log.String(), "the channel": fmt.Sprintf("%+v", tn.Slack.Messages(demo.Channel))}
	records, err := json.Marshal(tn.Vault.Records("tac"))
	tn.must(err)
	sinks["Vault's records"] = string(records)
	files, err := tn.GitHub.Files(demo.Repository, "main")
	tn.must(err)
	commits, err := tn.GitHub.Commits(demo.Repository, "main")
	tn.must(err)
	sinks["git"] = fmt.Sprintf("%v %+v", files, commits)
	for where, content := range sinks {
		if len(content) < 200 {
			t.Errorf("%s holds next to nothing: the test looks in the wrong place", where)
		}
		for what, secret := range secrets {
			if secret != "" && strings.Contains(content, secret) {
				t.Errorf("%s stands in %s", what, where)
			}
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}
