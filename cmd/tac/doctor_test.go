package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
)

// TestDoctor runs the sessions in testdata/doctor: `tac doctor`, `tac vault
// setup` and the start of `tac serve` against the sandbox's servers, whose
// clock is the machine's. Their configuration is in tac.yaml, the token of an
// administrator of the repository in admin-token. Beside the commands of
// TestScripts there are
//
//	vault PATH NAME=VALUE...   write to Vault as its administrator
//	github rules on|off        the branch rules of the grants repository
func TestDoctor(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/doctor",
		RequireExplicitExec: true,
		Setup:               setUpDoctor,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "json": jsonHolds, "vault": doctorVault, "github": doctorGitHub,
		},
	})
}

func setUpDoctor(env *testscript.Env) error {
	w, err := demo.NewWorld(context.Background(), demo.Setting{Clock: sandbox.NewRunningClock(time.Now()), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return err
	}
	env.Defer(w.Close)
	env.Values["world"] = w
	w.GitHub.SetWebhook(w.App, "https://tac.example.com/webhooks/github", "secret")
	token, err := w.GitHub.PAT("eve")
	if err != nil {
		return err
	}
	env.Setenv("SANDBOX_VAULT", w.Vault.URL())
	env.Setenv("SANDBOX_ROOT", w.Vault.RootToken())
	c := w.Config("doctor")
	for name, content := range map[string]string{
		"admin-token":   token,
		"secret-id":     c.Vault.SecretID.Reveal(),
		"app.pem":       c.GitHub.PrivateKey.Reveal(),
		"client-secret": c.GitHub.ClientSecret.Reveal(),
		"hook-secret":   c.GitHub.WebhookSecret.Reveal(),
		"slack-token":   c.Slack.BotToken.Reveal(),
		"slack-secret":  c.Slack.SigningSecret.Reveal(),
		"tac.yaml": fmt.Sprintf(`listen: 127.0.0.1:0
url: https://tac.example.com
github:
  url: %s
  api_url: %[1]s
  repository: acme/access
  app_id: %d
  installation_id: 8001
  client_id: %s
  client_secret: file:client-secret
  private_key: file:app.pem
  webhook_secret: file:hook-secret
vault:
  address: %s
  role_id: %s
  secret_id: file:secret-id
slack:
  api_url: %s
  bot_token: file:slack-token
  signing_secret: file:slack-secret
  channel: %s
`, w.GitHub.URL(), c.GitHub.AppID, c.GitHub.ClientID, w.Vault.URL(), c.Vault.RoleID, c.Slack.APIURL, demo.Channel),
	} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func doctorVault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: vault PATH NAME=VALUE...")
	}
	admin, err := ts.Value("world").(*demo.World).VaultAdmin()
	ts.Check(err)
	data := map[string]any{}
	for _, pair := range args[1:] {
		name, value, _ := strings.Cut(pair, "=")
		data[name] = value
	}
	_, err = admin.Logical().Write(args[0], data)
	ts.Check(err)
}

func doctorGitHub(ts *testscript.TestScript, neg bool, args []string) {
	w := ts.Value("world").(*demo.World)
	switch {
	case neg || len(args) != 2 || args[0] != "rules":
		ts.Fatalf("usage: github rules on|off")
	case args[1] == "on":
		ts.Check(w.GitHub.Protect(demo.Repository, w.App))
	default:
		ts.Check(w.GitHub.Unprotect(demo.Repository))
	}
}
