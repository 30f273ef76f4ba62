package target_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
)

// The statements of a role, as set-up writes them; Vault fills the names in.
const (
	creation   = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE payments_rw;`
	renewal    = `ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}';`
	revocation = `DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN ALTER ROLE "{{name}}" NOLOGIN; PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'; GRANT "{{name}}" TO CURRENT_USER; DROP OWNED BY "{{name}}" CASCADE; DROP ROLE "{{name}}"; END IF; END $$;`
)

func fill(statement, name, password string, until time.Time) string {
	return strings.NewReplacer("{{name}}", name, "{{password}}", password,
		"{{expiration}}", until.Format("2006-01-02 15:04:05-0700")).Replace(statement)
}

func newAdmin(t *testing.T) (*target.Postgres, *sandbox.Clock, *pgx.Conn) {
	t.Helper()
	pg, clock := newPostgres(t)
	pg.AddGroup("payments_rw")
	return pg, clock, mustLogIn(t, pg, target.AdminName, pg.AdminPassword())
}

// execute sends a statement as Vault's plugin does: without parameters pgx v4
// takes the simple protocol.
func execute(t *testing.T, conn *pgx.Conn, statement string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tag, err := conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol)
	return tag.String(), err
}

func mustExecute(t *testing.T, conn *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := execute(t, conn, s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestAdministratorLeadsTheLifeOfARoleOverTheWire(t *testing.T) {
	pg, clock, admin := newAdmin(t)
	const password = `it''s a \ "pass"; word -- $$ /* x`
	const meant = `it's a \ "pass"; word -- $$ /* x`
	mustExecute(t, admin, "begin", fill(creation, "v-a", password, noon.Add(time.Minute)))
	if len(pg.Users()) != 0 {
		t.Errorf("others see the role before COMMIT: %v", pg.Users())
	}
	mustExecute(t, admin, "commit", ";")
	if until, ok := pg.ValidUntil("v-a"); !ok || !until.Equal(noon.Add(time.Minute)) {
		t.Errorf("VALID UNTIL %s, %v", until, ok)
	}
	mustExecute(t, admin, "begin", fill(renewal, "v-a", "", noon.Add(time.Hour).In(time.FixedZone("", 2*3600))), "commit")
	clock.Advance(30 * time.Minute)
	session := mustLogIn(t, pg, "v-a", meant)
	if _, err := logIn(t, pg, "v-a", password); sqlState(err) != "FATAL 28P01" {
		t.Errorf("the quoted password: %v", err)
	}
	var there bool
	must(t, admin.QueryRow(t.Context(), "SELECT exists (SELECT rolname FROM pg_roles WHERE rolname=$1);", "v-a").Scan(&there))
	if !there {
		t.Error("pg_roles does not know the role")
	}
	mustExecute(t, admin, "begin", fill(revocation, "v-a", "", noon), "commit")
	if len(pg.Users()) != 0 || pg.Sessions() != 0 {
		t.Errorf("after the revocation: %v, %d sessions", pg.Users(), pg.Sessions())
	}
	if _, err := ask(t, session, "SELECT 1"); sqlState(err) != "FATAL 57P01" {
		t.Errorf("the open session: %v", err)
	}
	mustExecute(t, admin, fill(revocation, "v-a", "", noon)) // of a role that is gone
}

func TestRollbackLeavesNobodyBehind(t *testing.T) {
	create := fill(creation, "v-a", "pw", noon.Add(time.Hour))
	for name, tt := range map[string]struct {
		statements []string
		want       []string
	}{
		"rollback":                         {[]string{"begin", create, "rollback"}, nil},
		"commit after an error":            {[]string{"begin", create, "nonsense", "commit"}, nil},
		"the connection ends":              {[]string{"begin", create}, nil},
		"an error later in the same query": {[]string{create + `DROP ROLE "nobody";`}, nil},
		"an error that is not understood":  {[]string{create + `DROP TABLE t;`}, nil},
		"a group that is not there":        {[]string{strings.Replace(create, "payments_rw", "unknown", 1)}, nil},
		"a dropped role is back":           {[]string{create, "begin", `DROP ROLE "v-a"`, "rollback"}, []string{"v-a"}},
		"made, dropped and made again":     {[]string{"begin", create, `DROP ROLE "v-a"`, create, "commit"}, []string{"v-a"}},
		"dropped and made again":           {[]string{create, "begin", `DROP ROLE "v-a"`, create, "commit"}, []string{"v-a"}},
		"without a transaction":            {[]string{create}, []string{"v-a"}},
	} {
		t.Run(name, func(t *testing.T) {
			pg, _, admin := newAdmin(t)
			for _, s := range tt.statements {
				_, _ = execute(t, admin, s) // some of them fail on purpose
			}
			must(t, admin.Close(t.Context()))
			if got := pg.Users(); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("roles %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTransactionStatusIsTold(t *testing.T) {
	_, _, admin := newAdmin(t)
	for _, tt := range []struct{ statement, tag, status string }{
		{"begin", "BEGIN", "T"},
		{"SELECT 1", "SELECT 1", "T"},
		{"nonsense", "", "E"},
		{"SELECT 1", "", "E"},
		{"commit", "ROLLBACK", "I"},
		{"start transaction", "START TRANSACTION", "T"},
		{"rollback", "ROLLBACK", "I"},
	} {
		tag, _ := execute(t, admin, tt.statement)
		if got := string(admin.PgConn().TxStatus()); tag != tt.tag || got != tt.status {
			t.Errorf("%s: %q, status %s; want %q, %s", tt.statement, tag, got, tt.tag, tt.status)
		}
	}
}

func TestAdministratorIsToldWhatIsWrong(t *testing.T) {
	pg, _, admin := newAdmin(t)
	must(t, pg.CreateUser("alice", "pw", time.Time{}))
	for statement, want := range map[string]string{
		`CREATE ROLE "alice" LOGIN`:                                          "ERROR 42710",
		`ALTER ROLE "nobody" NOLOGIN`:                                        "ERROR 42704",
		`DROP ROLE "nobody"`:                                                 "ERROR 42704",
		`DROP ROLE "vault_admin"`:                                            "ERROR 55006",
		`DROP OWNED BY "alice" CASCADE`:                                      "ERROR 42501", // not granted to the administrator
		`ALTER ROLE "alice" VALID UNTIL 'soon'`:                              "ERROR 22007",
		`ALTER ROLE "alice" SUPERUSER`:                                       "ERROR 0A000",
		`ALTER ROLE "alice" PASSWORD 'SCRAM-SHA-256$4096:x$y:z'`:             "ERROR 0A000",
		`ALTER ROLE "alice" PASSWORD E'p\n'`:                                 "ERROR 0A000",
		`GRANT SELECT ON ALL TABLES IN SCHEMA public TO "alice"`:             "ERROR 0A000",
		`DO $$ BEGIN DELETE FROM accounts; END $$`:                           "ERROR 0A000",
		`DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles`:             "ERROR 42601", // cut at a semicolon
		`DO $$ BEGIN ALTER ROLE "alice" NOLOGIN; END $$ LANGUAGE plperl`:     "ERROR 0A000",
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity`:             "ERROR 0A000", // everybody's
		`CREATE ROLE "it's`:                                                  "ERROR 42601",
		`CREATE ROLE "bob" LOGIN PASSWORD 'pw`:                               "ERROR 42601",
		`SELECT 1; VACUUM`:                                                   "ERROR 0A000",
		`DO $$ BEGIN PERFORM pg_sleep(1); END $$`:                            "ERROR 0A000",
		`DO $$ BEGIN IF true THEN DROP ROLE "alice"; END IF; END $$`:         "ERROR 0A000",
		`DO $$ BEGIN DROP ROLE "alice"; END; DROP ROLE "alice" $$`:           "ERROR 42601",
		`REVOKE USAGE ON SCHEMA public FROM "nobody"`:                        "ERROR 42704",
		`CREATE ROLE "bob" LOGIN PASSWORD 'pw' VALID UNTIL '2026-11-22' FOO`: "ERROR 22007",
	} {
		_, err := execute(t, admin, statement)
		if sqlState(err) != want {
			t.Errorf("%s: %v; want %s", statement, err, want)
		}
		if want == "ERROR 0A000" && strings.Contains(fmt.Sprint(err), "SCRAM") {
			t.Errorf("the password is in the error: %v", err)
		}
	}
	if got := pg.Users(); !reflect.DeepEqual(got, []string{"alice"}) {
		t.Errorf("roles %v", got)
	}
	_, err := execute(t, mustLogIn(t, pg, "alice", "pw"), `CREATE ROLE "mallory" LOGIN PASSWORD 'pw'`)
	if sqlState(err) != "ERROR 42501" {
		t.Errorf("somebody else makes roles: %v", err)
	}
	mustExecute(t, admin, `ALTER ROLE "alice" NOLOGIN`)
	if _, err := logIn(t, pg, "alice", "pw"); sqlState(err) != "FATAL 28000" {
		t.Errorf("a role without LOGIN: %v", err)
	}
}

// A revocation that forgets to end sessions leaves them open, as it would in
// PostgreSQL; whoever tests a set-up has to see that.
func TestDropRoleAloneLeavesSessionsOpen(t *testing.T) {
	pg, _, admin := newAdmin(t)
	mustExecute(t, admin, fill(creation, "v-a", "pw", noon.Add(time.Hour)))
	session := mustLogIn(t, pg, "v-a", "pw")
	mustExecute(t, admin, `DROP ROLE "v-a"`)
	if got, err := ask(t, session, "SELECT 1"); err != nil || got != "1" {
		t.Errorf("the session: %q, %v", got, err)
	}
	if _, err := logIn(t, pg, "v-a", "pw"); sqlState(err) != "FATAL 28P01" {
		t.Errorf("a new login: %v", err)
	}
}

// The statements that the plugin sends where a role has no revocation
// statements of its own.
func TestDefaultRevocationOfThePluginIsUnderstood(t *testing.T) {
	pg, _, admin := newAdmin(t)
	mustExecute(t, admin, fill(creation, "v-a", "pw", noon.Add(time.Hour)))
	rows, err := admin.Query(t.Context(), "SELECT DISTINCT table_schema FROM information_schema.role_column_grants WHERE grantee=$1;", "v-a")
	must(t, err)
	if rows.Next() || rows.Err() != nil {
		t.Errorf("there are no tables, and yet: %v", rows.Err())
	}
	rows.Close()
	mustExecute(t, admin,
		`REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "v-a";`,
		`REVOKE ALL PRIVILEGES ON ALL SEQUENCES IN SCHEMA public FROM "v-a";`,
		`REVOKE USAGE ON SCHEMA public FROM "v-a";`,
		`REVOKE CONNECT ON DATABASE "payments" FROM "v-a";`)
	_, err = admin.Exec(t.Context(), `DROP ROLE IF EXISTS "v-a";`) // prepared
	must(t, err)
	if len(pg.Users()) != 0 {
		t.Errorf("left: %v", pg.Users())
	}
	var name string
	if err := admin.QueryRow(t.Context(), "SELECT rolname FROM pg_roles").Scan(&name); err != pgx.ErrNoRows {
		t.Errorf("pg_roles: %q, %v", name, err)
	}
}
