package lives

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
)

// estate is what the lives share. Each has a KV mount, a role of the bot and
// roles of the engines of its own, so that none meets another's leavings.
type estate struct {
	dir      string
	tac      string // the program
	vault    *parts.Vault
	postgres *parts.Postgres
	sshd     *parts.SSHD
	sandbox  *vault.Server // not nil: it stands where the real Vault stands else
}

var shared estate

// What the suite has to show for itself.
var tally struct {
	lives, crashPoints, leftovers atomic.Int64
	stages                        atomic.Int64
}

func TestMain(m *testing.M) {
	code := 1
	if err := withEstate(func() { code = m.Run() }); err != nil {
		fmt.Fprintln(os.Stderr, "the real parts do not start:", err)
	}
	fmt.Printf("tally: lives %d\n", tally.lives.Load())
	fmt.Printf("tally: crash-points %d\n", tally.crashPoints.Load())
	fmt.Printf("tally: leftovers %d\n", tally.leftovers.Load())
	os.Exit(code)
}

func withEstate(play func()) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if shared.dir, err = os.MkdirTemp("", "tac-lives-"); err != nil {
		return err
	}
	// Other users of this machine's servers must be able to reach theirs.
	if err := os.Chmod(shared.dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(shared.dir)
	if shared.tac, err = parts.BuildTac(ctx, filepath.Join("..", "..", ".."), shared.dir); err != nil {
		return err
	}
	stop, err := startVault(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if shared.postgres, err = parts.StartPostgres(ctx, filepath.Join(shared.dir, "postgres")); err != nil {
		return err
	}
	defer func() { shared.postgres.Kill() }()
	authority, err := engines(ctx, shared.vault, shared.postgres)
	if err != nil {
		return err
	}
	if shared.sshd, err = parts.StartSSHD(ctx, filepath.Join(shared.dir, "sshd"), authority); err != nil {
		return err
	}
	defer func() { shared.sshd.Kill() }()
	play()
	return nil
}

// startVault starts the Vault that most lives share. Where TAC_LIVES_VAULT is
// sandbox, that is the sandbox's, and the very same lives show whether it
// behaves as the real one does.
func startVault(ctx context.Context) (stop func(), err error) {
	if os.Getenv("TAC_LIVES_VAULT") != "sandbox" {
		shared.vault, err = parts.StartVault(ctx, filepath.Join(shared.dir, "vault"))
		return func() { shared.vault.Kill() }, err
	}
	if shared.sandbox, err = vault.New(sandbox.NewRunningClock(time.Now())); err != nil {
		return nil, err
	}
	shared.vault = parts.ForeignVault(shared.sandbox.URL(), shared.sandbox.RootToken(), filepath.Join(shared.dir, "vault"))
	return func() { shared.sandbox.Close() }, nil
}

// sandboxDriver does for the sandbox's Vault what the statements of a role do
// for the real one, in a real PostgreSQL.
type sandboxDriver struct{ p *parts.Postgres }

func (d sandboxDriver) exec(statement, name, password string, until time.Time) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return d.p.Exec(ctx, strings.NewReplacer("{{name}}", name, "{{password}}", password, "{{expiration}}", until.UTC().Format(time.RFC3339)).Replace(statement))
}

func (d sandboxDriver) CreateUser(name, password string, until time.Time) error {
	return d.exec(createUser, name, password, until)
}

func (d sandboxDriver) SetValidUntil(name string, until time.Time) error {
	return d.exec(`ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}'`, name, "", until)
}

func (d sandboxDriver) DropUser(name string) error { return d.exec(dropUser, name, "", time.Time{}) }

// engines mounts the engines that resources are opened by, and returns the
// public key of the SSH authority.
func engines(ctx context.Context, v *parts.Vault, p *parts.Postgres) (authority string, err error) {
	admin, err := v.Admin()
	if err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"secrets", "enable", "database"},
		{"secrets", "enable", "ssh"},
		{"secrets", "enable", "transit"},
		{"auth", "enable", "approle"},
		{"write", "ssh/config/ca", "generate_signing_key=true"},
	} {
		if _, err := v.CLI(ctx, args...); err != nil {
			return "", err
		}
	}
	if err := connect(ctx, v, p, "payments"); err != nil {
		return "", err
	}
	ca, err := admin.Logical().ReadWithContext(ctx, "ssh/config/ca")
	if err != nil || ca == nil {
		return "", fmt.Errorf("read the SSH authority: %w", err)
	}
	authority, _ = ca.Data["public_key"].(string)
	return authority, nil
}

// connect has Vault's database engine know a PostgreSQL cluster by a name.
func connect(ctx context.Context, v *parts.Vault, p *parts.Postgres, name string) error {
	if v == shared.vault && shared.sandbox != nil {
		shared.sandbox.AttachDatabase("database", name, sandboxDriver{p})
	}
	return v.Write(ctx, "database/config/"+name, map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": p.ConnectionURL(),
		"username": parts.PostgresAdmin, "password": parts.PostgresPassword, "password_authentication": "scram-sha-256",
	})
}
