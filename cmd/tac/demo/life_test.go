package demo_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// newWorld starts a world whose clock stands still.
func newWorld(t *testing.T, files map[string]string) *demo.World {
	t.Helper()
	w, err := demo.NewWorld(t.Context(), demo.Setting{
		Clock: sandbox.NewStillClock(demo.Start), Files: files,
		Log: slog.New(slog.NewTextHandler(testWriter{t}, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(string(p))
	return len(p), nil
}

func TestLife(t *testing.T) {
	w := newWorld(t, nil)
	r, err := w.NewReplica("one")
	if err != nil {
		t.Fatal(err)
	}
	w.Run(context.WithoutCancel(t.Context()), r)
	alice, err := w.Person("alice")
	if err != nil {
		t.Fatal(err)
	}
	a, err := alice.Request(t.Context(), r, demo.Ask{Resource: "postgres-prod", Duration: "2h", Reason: "Deploy hotfix", Ticket: "INC-789"})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(a)
	for range 100 {
		v, err := alice.Show(t.Context(), r, a.ID)
		if err != nil {
			t.Fatal(err)
		}
		if v.Phase == grants.PhaseApproved {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	c, err := alice.Claim(t.Context(), r, a.ID, "0123456789abcdef", "", false)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), "postgres://"+c.Username+":"+c.Password+"@"+w.Postgres.Addr()+"/payments?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	w.Clock.Advance(2*time.Hour + time.Second)
	if err := r.Bot.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	commits, err := w.GitHub.Commits(demo.Repository, "main")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range commits {
		t.Log(c.SHA, c.Message)
	}
	t.Log(w.Postgres.Users(), w.GitHub.Counts())
	for _, c := range w.GitHub.RESTCalls() {
		t.Log(c)
	}
}
