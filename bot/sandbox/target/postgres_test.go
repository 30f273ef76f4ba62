package target_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newPostgres(t *testing.T) (*target.Postgres, *sandbox.Clock) {
	t.Helper()
	clock := sandbox.NewStillClock(noon)
	pg, err := target.NewPostgres(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Error(err)
		}
	})
	return pg, clock
}

func logIn(t *testing.T, pg *target.Postgres, user, password string) (*pgx.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: pg.Addr(), Path: "payments", RawQuery: "sslmode=disable"}
	conn, err := pgx.Connect(ctx, u.String())
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

func mustLogIn(t *testing.T, pg *target.Postgres, user, password string) *pgx.Conn {
	t.Helper()
	conn, err := logIn(t, pg, user, password)
	if err != nil {
		t.Fatalf("log in as %s: %v", user, err)
	}
	return conn
}

func ask(t *testing.T, conn *pgx.Conn, statement string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var v any
	err := conn.QueryRow(ctx, statement).Scan(&v)
	return fmt.Sprint(v), err
}

func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Severity + " " + pgErr.Code
	}
	return fmt.Sprint(err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPostgresAnswersAFewStatementsAndRefusesTheRest(t *testing.T) {
	pg, _ := newPostgres(t)
	must(t, pg.CreateUser("alice", "pw", time.Time{}))
	conn := mustLogIn(t, pg, "alice", "pw")
	for _, tt := range []struct{ statement, want string }{
		{"SELECT 1", "1"},
		{"select  1 ;", "1"},
		{"SELECT current_user", "alice"},
		{"SELECT current_database()", "payments"},
		{"SHOW server_version", "15.0"},
		{"SELECT version()", "PostgreSQL 15.0 (tac sandbox)"},
	} {
		if got, err := ask(t, conn, tt.statement); err != nil || got != tt.want {
			t.Errorf("%s = %q, %v; want %q", tt.statement, got, err, tt.want)
		}
	}
	for statement, want := range map[string]string{
		"DROP TABLE accounts":        "ERROR 0A000",
		"SELECT 1; DROP TABLE x":     "ERROR 0A000",
		"SELECT * FROM accounts":     "ERROR 0A000",
		"SHOW the_way":               "ERROR 42704",
		"SELECT pg_sleep(1)":         "ERROR 0A000",
		"COPY accounts FROM STDIN":   "ERROR 0A000",
		"SELECT current_user, 1, no": "ERROR 0A000",
	} {
		if _, err := ask(t, conn, statement); sqlState(err) != want {
			t.Errorf("%s: %v; want %s", statement, err, want)
		}
	}
	var user string
	var now time.Time
	must(t, conn.QueryRow(t.Context(), "SELECT current_user, now()").Scan(&user, &now))
	if user != "alice" || !now.Equal(noon) {
		t.Errorf("current_user, now() = %s, %s", user, now)
	}
	must(t, conn.Ping(t.Context()))
	if got := conn.PgConn().ParameterStatus("server_version"); got != "15.0" {
		t.Errorf("server_version announced as %q", got)
	}
}

func TestPostgresLoginIsRefusedAsPostgreSQLDoes(t *testing.T) {
	const refused = "FATAL 28P01"
	for name, tt := range map[string]struct {
		user, password string
		advance        time.Duration
		want           string
	}{
		"right password":           {"alice", "pw", 0, ""},
		"wrong password":           {"alice", "wp", 0, refused},
		"empty password":           {"alice", "", 0, refused},
		"unknown role":             {"mallory", "pw", 0, refused},
		"at VALID UNTIL":           {"alice", "pw", time.Hour, ""},
		"just after VALID UNTIL":   {"alice", "pw", time.Hour + time.Microsecond, refused},
		"without end, a year on":   {"forever", "pw", 365 * 24 * time.Hour, ""},
		"after it was moved ahead": {"extended", "pw", 90 * time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			pg, clock := newPostgres(t)
			must(t, pg.CreateUser("alice", "pw", noon.Add(time.Hour)))
			must(t, pg.CreateUser("forever", "pw", time.Time{}))
			must(t, pg.CreateUser("extended", "pw", noon.Add(time.Hour)))
			must(t, pg.SetValidUntil("extended", noon.Add(2*time.Hour)))
			clock.Advance(tt.advance)
			_, err := logIn(t, pg, tt.user, tt.password)
			if tt.want == "" {
				must(t, err)
				return
			}
			if got := sqlState(err); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestPostgresValidUntilLeavesSessionsAndDropEndsThem(t *testing.T) {
	pg, clock := newPostgres(t)
	must(t, pg.CreateUser("alice", "pw", noon.Add(time.Hour)))
	must(t, pg.CreateUser("bob", "pw", time.Time{}))
	first, second, bobs := mustLogIn(t, pg, "alice", "pw"), mustLogIn(t, pg, "alice", "pw"), mustLogIn(t, pg, "bob", "pw")
	clock.Advance(2 * time.Hour)
	if got, err := ask(t, first, "SELECT 1"); err != nil || got != "1" {
		t.Fatalf("a session past VALID UNTIL was cut: %v", err)
	}
	if got := pg.Sessions(); got != 3 {
		t.Errorf("%d sessions, want 3", got)
	}
	must(t, pg.DropUser("alice"))
	must(t, pg.DropUser("alice"))
	if users := pg.Users(); !reflect.DeepEqual(users, []string{"bob"}) || pg.Sessions() != 1 {
		t.Errorf("after the drop: roles %v, %d sessions", users, pg.Sessions())
	}
	for _, conn := range []*pgx.Conn{first, second} {
		if _, err := ask(t, conn, "SELECT 1"); sqlState(err) != "FATAL 57P01" {
			t.Errorf("a dropped role's session said %v, want FATAL 57P01", err)
		}
	}
	if got, err := ask(t, bobs, "SELECT current_user"); err != nil || got != "bob" {
		t.Errorf("another role's session: %q, %v", got, err)
	}
	if _, err := logIn(t, pg, "alice", "pw"); sqlState(err) != "FATAL 28P01" {
		t.Errorf("a dropped role's login: %v", err)
	}
}

func TestPostgresDownRefusesChangesAndLogins(t *testing.T) {
	pg, _ := newPostgres(t)
	must(t, pg.CreateUser("alice", "pw", time.Time{}))
	conn := mustLogIn(t, pg, "alice", "pw")
	pg.SetDown(true)
	for name, err := range map[string]error{
		"create": pg.CreateUser("bob", "pw", time.Time{}),
		"alter":  pg.SetValidUntil("alice", noon),
		"drop":   pg.DropUser("alice"),
	} {
		if !errors.Is(err, target.ErrDown) {
			t.Errorf("%s while down: %v", name, err)
		}
	}
	if _, err := logIn(t, pg, "alice", "pw"); err == nil {
		t.Error("a stopped server let somebody in")
	}
	if _, err := ask(t, conn, "SELECT 1"); sqlState(err) != "FATAL 57P01" || pg.Sessions() != 0 {
		t.Errorf("a session of a stopped server: %v, %d open", err, pg.Sessions())
	}
	raw, err := net.Dial("tcp", pg.Addr())
	must(t, err)
	must(t, raw.SetDeadline(time.Now().Add(10*time.Second)))
	if n, err := raw.Read(make([]byte, 1)); n != 0 || (!errors.Is(err, io.EOF) && !isReset(err)) {
		t.Errorf("a new connection of a stopped server: %d bytes, %v", n, err)
	}
	pg.SetDown(false)
	mustLogIn(t, pg, "alice", "pw")
}

func isReset(err error) bool {
	var netErr *net.OpError
	return errors.As(err, &netErr) && !netErr.Timeout()
}

func TestPostgresHoldsAChangeInFlight(t *testing.T) {
	pg, _ := newPostgres(t)
	arrived, release := make(chan target.Statement), make(chan struct{})
	pg.Delay(func(s target.Statement, _ string) {
		arrived <- s
		<-release
	})
	result := make(chan error, 1)
	go func() { result <- pg.CreateUser("alice", "pw", time.Time{}) }()
	if s := <-arrived; s != target.CreateRole {
		t.Errorf("held %s", s)
	}
	pg.Delay(nil)
	if users := pg.Users(); len(users) != 0 {
		t.Errorf("the role is there while its creation is held: %v", users)
	}
	must(t, pg.DropUser("alice")) // what a revocation that comes too early does
	close(release)
	must(t, <-result)
	if users := pg.Users(); len(users) != 1 {
		t.Errorf("the role that was in flight did not land: %v", users)
	}
	if err := pg.CreateUser("alice", "pw", time.Time{}); !errors.Is(err, target.ErrRoleExists) || errors.Is(err, target.ErrDown) {
		t.Errorf("second creation: %v", err)
	}
	if err := pg.SetValidUntil("bob", noon); !errors.Is(err, target.ErrNoRole) || errors.Is(err, target.ErrDown) {
		t.Errorf("end of an unknown role: %v", err)
	}
}

func TestPostgresClosesWithIdleAndHalfOpenConnections(t *testing.T) {
	pg, _ := newPostgres(t)
	must(t, pg.CreateUser("alice", "pw", time.Time{}))
	mustLogIn(t, pg, "alice", "pw")
	raw, err := net.Dial("tcp", pg.Addr())
	must(t, err)
	defer func() { _ = raw.Close() }()
	_, err = raw.Write([]byte{0, 0, 0, 200, 0, 3}) // a start-up packet that never ends
	must(t, err)
	must(t, pg.Close())
	must(t, pg.Close())
}
