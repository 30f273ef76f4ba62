// Package pgparity compares the sandbox's PostgreSQL endpoint with a real
// one, in what Vault's plugin and a role's statements say to it.
package pgparity

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
)

var compared int

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Printf("tally: postgres-statements %d\n", compared)
	os.Exit(code)
}

const revocation = `DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'v-a') THEN ` +
	`ALTER ROLE "v-a" NOLOGIN; PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'v-a'; ` +
	`GRANT "v-a" TO CURRENT_USER; DROP OWNED BY "v-a" CASCADE; DROP ROLE "v-a"; END IF; END $$;`

// script is played in order, to both.
var script = []string{
	"begin", `CREATE ROLE "v-a" WITH LOGIN PASSWORD 'p''w\' VALID UNTIL '2036-11-22 11:53:47+0000' IN ROLE "payments_rw"`, "commit", ";",
	`ALTER ROLE "v-a" VALID UNTIL '2037-01-01 00:00:00-0330'`, `ALTER ROLE "v-a" VALID UNTIL 'infinity'`, `ALTER ROLE "v-a" WITH PASSWORD 'other'`,
	`SELECT exists (SELECT rolname FROM pg_roles WHERE rolname='v-a');`, `SELECT exists (SELECT rolname FROM pg_roles WHERE rolname='v-b');`,

	// What is wrong is wrong in the same way.
	`CREATE ROLE "v-a" LOGIN`, `ALTER ROLE "nobody" NOLOGIN`, `DROP ROLE "nobody"`, `DROP ROLE IF EXISTS "nobody"`, `DROP ROLE "vault_admin"`,
	`DROP OWNED BY "v-a" CASCADE`, `REASSIGN OWNED BY "v-a" TO CURRENT_USER`, `ALTER ROLE "v-a" VALID UNTIL 'soon'`,
	`GRANT "nobody" TO CURRENT_USER`, `GRANT "v-a" TO "nobody"`, `CREATE ROLE x IN ROLE nobody`,
	`DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles`, `CREATE ROLE "it's`, `CREATE ROLE "bob" LOGIN PASSWORD 'pw`, `CREATE ROLE ""`,
	`DO $$ BEGIN DROP ROLE "v-a"; END; DROP ROLE "v-a" $$`, `CREATE ROLE`, `DROP ROLE`,

	// Transactions.
	"begin", `CREATE ROLE x1`, "DROP ROLE nobody", "SELECT 1", "commit", `DROP ROLE x1`,
	"start transaction", "rollback", "rollback", "commit", "BEGIN TRANSACTION", "begin", "ABORT",
	`begin; CREATE ROLE x1; commit`, `DROP ROLE x1`, `CREATE ROLE x2; DROP ROLE nobody`, `DROP ROLE x2`, `CREATE USER x3; DROP USER x3`,
	`begin; CREATE ROLE x4; DROP ROLE x4; CREATE ROLE x4; rollback`, `DROP ROLE x4`,
	`CREATE ROLE "a b"" c"; DROP ROLE "a b"" c"`, `CREATE ROLE UPPER; DROP ROLE upper`,

	// Blocks.
	`DO $x$ BEGIN NULL; ALTER ROLE "v-a" NOLOGIN; END $x$ LANGUAGE plpgsql`,
	`DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'v-a') THEN DROP ROLE nobody; END IF; END; $$`,
	`DO $$ BEGIN ALTER ROLE "v-a" LOGIN; DROP ROLE nobody; END $$`,

	// What the plugin does where a role has no revocation statements.
	`SELECT DISTINCT table_schema FROM information_schema.role_column_grants WHERE grantee='v-a'`,
	`REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "v-a";`, `REVOKE ALL PRIVILEGES ON ALL SEQUENCES IN SCHEMA public FROM "v-a";`,
	`REVOKE USAGE ON SCHEMA public FROM "v-a";`, `REVOKE CONNECT ON DATABASE "payments" FROM "v-a"`, `REVOKE USAGE ON SCHEMA public FROM "nobody"`,

	`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'v-a'`,
	revocation, revocation, `SELECT exists (SELECT rolname FROM pg_roles WHERE rolname='v-a');`,
	"-- only a comment", "/* and another */ SELECT 1", "SHOW no_such_setting", "SELECT current_user, session_user",
}

func TestStatementsOfRolesMeanTheSameToTheSandboxAndToPostgreSQL(t *testing.T) {
	dir := folder(t)
	p, err := parts.StartPostgres(t.Context(), filepath.Join(dir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	box := newSandbox(t)
	atReal := connect(t, p.Host+":"+strconv.Itoa(p.Port), parts.PostgresAdmin, parts.PostgresPassword)
	atSandbox := connect(t, box.Addr(), target.AdminName, box.AdminPassword())
	for _, statement := range script {
		want, got := answer(t, atReal, statement), answer(t, atSandbox, statement)
		if got != want {
			t.Errorf("%s\nPostgreSQL: %s\nsandbox:    %s", statement, want, got)
		}
		compared++
	}
}

// answer is what a client sees: rows, tags, the error's code, the status of
// the transaction. Error texts may differ.
func answer(t *testing.T, conn *pgx.Conn, statement string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	results, err := conn.PgConn().Exec(ctx, statement).ReadAll()
	var b strings.Builder
	for _, r := range results {
		for _, row := range r.Rows {
			fmt.Fprintf(&b, "%q ", row)
		}
		fmt.Fprintf(&b, "%s; ", r.CommandTag)
	}
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		fmt.Fprintf(&b, "%s %s", refused.Severity, refused.Code)
	case err != nil:
		t.Fatalf("%s: %v", statement, err)
	}
	fmt.Fprintf(&b, " [%c]", conn.PgConn().TxStatus())
	return b.String()
}

func TestPsqlItselfUsesWhatTheAdministratorMade(t *testing.T) {
	program, err := exec.LookPath("psql")
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/psql"); err != nil && len(found) > 0 {
		program, err = found[0], nil
	}
	if err != nil {
		t.Fatalf("install postgresql-client: %v", err)
	}
	box := newSandbox(t)
	psql := func(user, password, statement string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program, "-h", box.Host(), "-p", strconv.Itoa(box.Port()), "-U", user, "-Atqc", statement, "payments")
		cmd.Env = append(os.Environ(), "PGPASSWORD="+password, "PGSSLMODE=disable")
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	admin := func(statement string) {
		t.Helper()
		if out, err := psql(target.AdminName, box.AdminPassword(), statement); err != nil {
			t.Fatalf("%s: %v: %s", statement, err, out)
		}
		compared++
	}
	admin(`CREATE ROLE "v-a" WITH LOGIN PASSWORD 'it''s a "pass\word"' VALID UNTIL '2036-11-22 11:53:47+0000' IN ROLE "payments_rw"`)
	if out, err := psql("v-a", `it's a "pass\word"`, "SELECT current_user"); err != nil || out != "v-a" {
		t.Errorf("the new role says it is %q, %v", out, err)
	}
	admin(revocation)
	if out, err := psql("v-a", `it's a "pass\word"`, "SELECT 1"); err == nil || !strings.Contains(out, "password authentication failed") {
		t.Errorf("the dropped role logs in: %q, %v", out, err)
	}
	if out, err := psql(target.AdminName, box.AdminPassword(), "TRUNCATE payments"); err == nil || !strings.Contains(out, "TRUNCATE payments") {
		t.Errorf("what is not known is not told by name: %q, %v", out, err)
	}
}

func newSandbox(t *testing.T) *target.Postgres {
	t.Helper()
	box, err := target.NewPostgres(sandbox.NewRunningClock(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	box.AddGroup("payments_rw")
	return box
}

func connect(t *testing.T, address, user, password string) *pgx.Conn {
	t.Helper()
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: address, Path: "payments", RawQuery: "sslmode=disable"}
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// folder is a temporary one that other users of this machine can enter, as
// the real server must.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tac-pgparity-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
