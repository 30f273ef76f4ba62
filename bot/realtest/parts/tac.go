package parts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants/world"
)

// BuildTac builds the command, as README.md says, and returns its path.
func BuildTac(ctx context.Context, top, dir string) (string, error) {
	path := filepath.Join(dir, "tac")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/tac")
	cmd.Dir = top
	if _, err := run(cmd); err != nil {
		return "", fmt.Errorf("build tac: %w", err)
	}
	return path, nil
}

// Tac is one replica: a process that runs `tac serve`.
type Tac struct {
	*Process
	URL string
}

// Serve writes the configuration to a folder, as an operator would, and
// starts a replica. It returns when the replica is ready, or at once where
// that is not wanted.
func Serve(ctx context.Context, binary, dir string, c server.Config) (*Tac, error) {
	t, err := Launch(binary, dir, c)
	if err != nil {
		return nil, err
	}
	return t, t.Ready(ctx)
}

// Launch starts a replica without waiting for it.
func Launch(binary, dir string, c server.Config) (*Tac, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c.Listen = fmt.Sprintf("127.0.0.1:%d", port)
	if err := Configure(dir, c); err != nil {
		return nil, err
	}
	t := &Tac{URL: "http://" + c.Listen}
	cmd := exec.Command(binary, "serve", "--config", "tac.yaml")
	cmd.Dir = dir
	// One thread is enough for one of many replicas on a small machine.
	cmd.Env = append(os.Environ(), "HOME="+dir, "GOMAXPROCS=2")
	if t.Process, err = start(cmd, filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	return t, nil
}

// Ready waits until the replica says that it is.
func (t *Tac) Ready(ctx context.Context) error {
	return t.until(ctx, "start tac", func() error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.URL+"/readyz", nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		said, err := io.ReadAll(answer.Body)
		if err != nil {
			return err
		}
		// A replica that gives no new access is ready to end what there is,
		// and says so.
		if text := strings.TrimSpace(string(said)); answer.StatusCode != http.StatusOK || text != "ready" {
			return fmt.Errorf("it is not ready: %s: %s", answer.Status, text)
		}
		return nil
	})
}

// Configure writes tac.yaml and the secrets it names.
func Configure(dir string, c server.Config) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of a replica: %w", err)
	}
	w := &configuration{dir: dir}
	w.line("listen: %s", c.Listen)
	if c.URL != "" {
		w.line("url: %s", c.URL)
	}
	w.line("github:")
	w.line("  url: %s", c.GitHub.URL)
	w.line("  api_url: %s", c.GitHub.APIURL)
	w.line("  repository: %s/%s", c.GitHub.Owner, c.GitHub.Repo)
	w.line("  app_id: %d", c.GitHub.AppID)
	w.line("  installation_id: %d", c.GitHub.InstallationID)
	w.line("  client_id: %s", c.GitHub.ClientID)
	w.secret("  client_secret", c.GitHub.ClientSecret)
	w.secret("  private_key", c.GitHub.PrivateKey)
	w.secret("  webhook_secret", c.GitHub.WebhookSecret)
	w.line("vault:")
	w.line("  address: %s", c.Vault.Address)
	w.line("  role_id: %s", c.Vault.RoleID)
	w.secret("  secret_id", c.Vault.SecretID)
	for _, o := range []struct{ key, value string }{
		{"mount", c.Vault.Mount}, {"transit", c.Vault.Transit}, {"transit_key", c.Vault.TransitKey},
		{"token_role", c.Vault.TokenRole}, {"approle", c.Vault.AppRole},
	} {
		if o.value != "" {
			w.line("  %s: %s", o.key, o.value)
		}
	}
	if c.Slack != nil {
		w.line("slack:")
		w.line("  api_url: %s", strings.TrimSuffix(c.Slack.APIURL, "/"))
		w.secret("  bot_token", c.Slack.BotToken)
		w.secret("  signing_secret", c.Slack.SigningSecret)
		w.line("  channel: %s", c.Slack.Channel)
	}
	w.line("resync: %q", c.Resync)
	if c.RemoveEvery > 0 {
		w.line("remove_every: %s", c.RemoveEvery)
	}
	w.line("workers: %d", c.Workers)
	w.line("replica: %s", c.Replica)
	return errors.Join(w.err, os.WriteFile(filepath.Join(dir, "tac.yaml"), []byte(w.text.String()), 0o600))
}

type configuration struct {
	dir  string
	text strings.Builder
	err  error
}

func (w *configuration) line(format string, args ...any) {
	fmt.Fprintf(&w.text, format+"\n", args...)
}

func (w *configuration) secret(key string, value world.Secret) {
	name := strings.TrimSpace(key)
	w.line("%s: file:%s", key, name)
	w.err = errors.Join(w.err, os.WriteFile(filepath.Join(w.dir, name), []byte(value.Reveal()), 0o600))
}
