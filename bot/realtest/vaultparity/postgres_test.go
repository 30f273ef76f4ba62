package vaultparity

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/bot/sandbox/vault/vaultclaims"
)

// postgres is the real database of the claims.
type postgres struct {
	server *parts.Postgres
	socket string
	holder *pgx.Conn
}

func startPostgres(t *testing.T) *postgres {
	t.Helper()
	// Not in the test's own folder, which the database's user may not enter.
	dir, err := os.MkdirTemp("", "vaultparity")
	must(t, err)
	server, err := parts.StartPostgres(t.Context(), dir)
	if server != nil {
		t.Cleanup(func() {
			server.Kill()
			must(t, os.RemoveAll(dir))
		})
	}
	must(t, err)
	for _, sql := range []string{
		"CREATE ROLE " + vaultclaims.AdminName + " LOGIN CREATEROLE PASSWORD '" + vaultclaims.AdminPassword + "'",
		"CREATE ROLE " + vaultclaims.ReadersRole,
		"GRANT " + vaultclaims.ReadersRole + " TO " + vaultclaims.AdminName + " WITH ADMIN OPTION",
		"GRANT pg_signal_backend TO " + vaultclaims.AdminName,
		"CREATE DATABASE orders",
	} {
		must(t, server.Exec(t.Context(), sql))
	}
	return &postgres{server: server, socket: dir}
}

func (p *postgres) connect(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres", p.socket, p.server.Port))
}

func (p *postgres) URL() string {
	return strings.Replace(p.server.ConnectionURL(), "/payments", "/orders", 1)
}

func (p *postgres) Stop() error {
	p.server.Kill()
	return nil
}

func (p *postgres) Start() error { return p.server.Start(context.Background()) }

func (p *postgres) Users() (map[string]time.Time, error) {
	ctx := context.Background()
	c, err := p.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(ctx) }() // nothing was written
	rows, err := c.Query(ctx, `SELECT rolname, coalesce(rolvaliduntil, 'epoch') FROM pg_catalog.pg_roles WHERE rolname LIKE 'v-%'`)
	if err != nil {
		return nil, err
	}
	users := map[string]time.Time{}
	var name string
	var until time.Time
	_, err = pgx.ForEachRow(rows, []any{&name, &until}, func() error {
		users[name] = until
		return nil
	})
	return users, err
}

// Hold takes a lock that lets logins pass and nothing that changes a role.
func (p *postgres) Hold() error {
	ctx := context.Background()
	var err error
	if p.holder, err = p.connect(ctx); err != nil {
		return err
	}
	_, err = p.holder.Exec(ctx, "BEGIN; LOCK TABLE pg_catalog.pg_authid IN EXCLUSIVE MODE")
	return err
}

func (p *postgres) Release() error {
	if p.holder == nil {
		return nil
	}
	err := p.holder.Close(context.Background()) // which ends the transaction
	p.holder = nil
	return err
}

func (p *postgres) Waiting() (n int, err error) {
	ctx := context.Background()
	c, err := p.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close(ctx) }() // nothing was written
	err = c.QueryRow(ctx, `SELECT count(DISTINCT pid) FROM pg_catalog.pg_locks WHERE NOT granted`).Scan(&n)
	return n, err
}

// forgetUsers drops what a Vault left that was stopped.
func (p *postgres) forgetUsers() error {
	users, err := p.Users()
	err = errors.Join(err, p.Release()) // a test that failed may have left it held
	for name := range users {
		err = errors.Join(err, p.server.Exec(context.Background(), fmt.Sprintf("DROP OWNED BY %[1]q CASCADE; DROP ROLE %[1]q", name)))
	}
	return err
}
