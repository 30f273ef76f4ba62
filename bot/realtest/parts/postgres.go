package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is a PostgreSQL cluster of its own. Its database payments has a
// role payments_rw, which grants may have, and an administrator as vault.md
// wants one for Vault: no superuser.
type Postgres struct {
	*Process
	Host string
	Port int

	data, log string
	rights    *syscall.SysProcAttr
}

// The administrator that Vault logs in as.
const (
	PostgresAdmin    = "vault_admin"
	PostgresPassword = "a password of tests alone"
)

// StartPostgres makes a cluster and starts it.
func StartPostgres(ctx context.Context, dir string) (*Postgres, error) {
	initdb, err := program("initdb", "/usr/lib/postgresql/*/bin")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of PostgreSQL: %w", err)
	}
	p := &Postgres{Host: "127.0.0.1", data: filepath.Join(dir, "data"), log: filepath.Join(dir, "log")}
	if p.rights, err = as("postgres", dir); err != nil {
		return nil, err
	}
	if p.Port, err = freePort(); err != nil {
		return nil, err
	}
	made := exec.CommandContext(ctx, initdb, "-D", p.data, "-U", "postgres", "--auth-local=trust", "--auth-host=scram-sha-256", "-E", "UTF8", "--no-sync")
	made.SysProcAttr, made.Dir = p.rights, dir
	if _, err := run(made); err != nil {
		return nil, fmt.Errorf("make a PostgreSQL cluster: %w", err)
	}
	if err := p.Start(ctx); err != nil {
		return nil, err
	}
	return p, p.prepare(ctx)
}

// Start starts a cluster that was stopped or killed.
func (p *Postgres) Start(ctx context.Context) (err error) {
	postgres, err := program("postgres", "/usr/lib/postgresql/*/bin")
	if err != nil {
		return err
	}
	cmd := exec.Command(postgres, "-D", p.data, "-p", strconv.Itoa(p.Port), "-h", p.Host, "-k", filepath.Dir(p.data),
		"-c", "fsync=off", "-c", "max_connections=400", "-c", "shared_buffers=64MB")
	rights := syscall.SysProcAttr{}
	if p.rights != nil {
		rights = *p.rights
	}
	cmd.SysProcAttr, cmd.Dir = &rights, filepath.Dir(p.data)
	if p.Process, err = start(cmd, p.log); err != nil {
		return err
	}
	return p.until(ctx, "start PostgreSQL", func() error {
		c, err := p.root(ctx, "postgres")
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// Kill ends the cluster as pg_ctl's immediate stop would: nothing is written
// down, everybody is cut off.
func (p *Postgres) Kill() { p.signal(syscall.SIGQUIT) }

// root connects as the superuser, over the socket in the cluster's folder.
func (p *Postgres) root(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=postgres dbname=%s", filepath.Dir(p.data), p.Port, database))
}

func (p *Postgres) prepare(ctx context.Context) error {
	for _, step := range []struct{ database, sql string }{
		{"postgres", `CREATE DATABASE payments`},
		{"payments", `CREATE TABLE payments (id int PRIMARY KEY, amount int); INSERT INTO payments VALUES (1, 100)`},
		{"payments", `CREATE ROLE payments_rw NOLOGIN; GRANT SELECT, INSERT, UPDATE ON payments TO payments_rw`},
		{"payments", `CREATE ROLE ` + PostgresAdmin + ` LOGIN CREATEROLE PASSWORD '` + PostgresPassword + `'`},
		{"payments", `GRANT pg_signal_backend TO ` + PostgresAdmin + `; GRANT payments_rw TO ` + PostgresAdmin + ` WITH ADMIN OPTION`},
	} {
		if err := p.exec(ctx, step.database, step.sql); err != nil {
			return err
		}
	}
	return nil
}

func (p *Postgres) exec(ctx context.Context, database, sql string) error {
	c, err := p.root(ctx, database)
	if err != nil {
		return fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}
	return nil
}

// Exec runs statements as the superuser.
func (p *Postgres) Exec(ctx context.Context, sql string) error { return p.exec(ctx, "payments", sql) }

// ConnectionURL is what Vault's database engine is configured with.
func (p *Postgres) ConnectionURL() string {
	return fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/payments?sslmode=disable", p.Host, p.Port)
}

// Users returns the login roles that Vault made, as pg_roles has them.
func (p *Postgres) Users(ctx context.Context) ([]string, error) {
	return p.column(ctx, `SELECT rolname FROM pg_catalog.pg_roles WHERE rolname LIKE 'v-%' ORDER BY 1`)
}

// Sessions returns the users that are connected, once for each session.
func (p *Postgres) Sessions(ctx context.Context) ([]string, error) {
	return p.column(ctx, `SELECT usename FROM pg_catalog.pg_stat_activity WHERE usename LIKE 'v-%' ORDER BY 1`)
}

// ValidUntil returns when the database begins to refuse a user's login; the
// zero time where there is no such user.
func (p *Postgres) ValidUntil(ctx context.Context, user string) (time.Time, error) {
	c, err := p.root(ctx, "payments")
	if err != nil {
		return time.Time{}, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	var until time.Time
	err = c.QueryRow(ctx, `SELECT rolvaliduntil FROM pg_catalog.pg_roles WHERE rolname = $1`, user).Scan(&until)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return time.Time{}, fmt.Errorf("read until when %s is valid: %w", user, err)
	}
	return until, nil
}

// Busy returns how many statements of Vault's administrator run right now.
func (p *Postgres) Busy(ctx context.Context) (int, error) {
	all, err := p.column(ctx, `SELECT query FROM pg_catalog.pg_stat_activity WHERE usename = '`+PostgresAdmin+`' AND state = 'active'`)
	return len(all), err
}

func (p *Postgres) column(ctx context.Context, sql string) ([]string, error) {
	c, err := p.root(ctx, "payments")
	if err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
