package lives

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestADatabaseUserLivesOnlyAsLongAsItsGrant(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	id := s.asked("postgres-prod", 2*time.Hour)
	if users, err := s.users(); err != nil || len(users) > 0 {
		t.Errorf("before anybody took the credential there are users %q, %v", users, err)
	}
	h := s.takes(id)
	if users, err := s.users(); err != nil || len(users) != 1 || users[0] != h.Credential.Username {
		t.Errorf("pg_roles has %q, %v; want %s alone", users, err, h.Credential.Username)
	}
	a := s.as("alice", "access", "exec", id, "--", "psql", "-h", s.database.Host, "-p", fmt.Sprint(s.database.Port), "-Atc", "SELECT current_user, amount FROM payments", "payments")
	if want := h.Credential.Username + "|100\n"; a.code != 0 || a.stdout != want {
		t.Errorf("psql said %s; want %q", a, want)
	}
	session := s.openSession(id)
	if a := s.as("alice", "access", "drop", id); a.code != 0 {
		t.Errorf("drop: %s", a)
	}
	s.cut(session)
	s.ended(id, time.Minute, noStray)
	if a := s.psql(h); !strings.Contains(a, "password authentication failed") {
		t.Errorf("the login after the end: %s", a)
	}
}

func TestADatabaseUserIsGoneSoonAfterItsTime(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	id := s.asked("postgres-prod", 90*time.Second)
	h := s.takes(id)
	session := s.openSession(id)
	g := s.reaches(id, "active", time.Minute)
	s.cut(session)
	var late time.Duration
	s.until("the user is gone", 3*time.Minute, func() error {
		users, err := s.users()
		late = time.Since(g.Ends)
		if len(users) > 0 {
			return fmt.Errorf("pg_roles has %q", users)
		}
		return err
	})
	t.Logf("the user %s was seen to be gone %s after the end", h.Credential.Username, late.Round(time.Millisecond))
	if late < -5*time.Second {
		t.Errorf("the user was gone %s before the end", -late)
	}
	if late > 30*time.Second {
		t.Errorf("the user was there until %s after the end", late)
	}
	s.ended(id, time.Minute, noStray)
}

// openSession starts psql as somebody at a terminal would and leaves it open.
func (s *stage) openSession(id string) *exec.Cmd {
	s.t.Helper()
	cmd := s.command(s.ctx, "alice", "access", "exec", id, "--", "psql", "-h", s.database.Host, "-p", fmt.Sprint(s.database.Port), "-c", "SELECT pg_sleep(3600)", "payments")
	s.must(cmd.Start())
	s.until("the session is open", time.Minute, func() error {
		sessions, err := s.sessions()
		if len(sessions) != 1 {
			return fmt.Errorf("pg_stat_activity has %q", sessions)
		}
		return err
	})
	return cmd
}

// cut fails the test unless the session is ended by the server's side.
func (s *stage) cut(session *exec.Cmd) {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- session.Wait() }()
	select {
	case err := <-done:
		if err == nil {
			s.t.Error("psql ended well; want it cut off")
		}
	case <-time.After(4 * time.Minute):
		s.t.Error("the session is still open")
	}
	if sessions, err := s.sessions(); err != nil || len(sessions) > 0 {
		s.t.Errorf("pg_stat_activity has %q, %v", sessions, err)
	}
}

// psql logs in with a credential and returns what the server said.
func (s *stage) psql(h held) string {
	cmd := exec.CommandContext(s.ctx, "psql", "-h", s.database.Host, "-p", fmt.Sprint(s.database.Port), "-U", h.Credential.Username, "-c", "SELECT 1", "payments")
	cmd.Env = append(cmd.Environ(), "PGPASSWORD="+h.Credential.Password)
	out, _ := cmd.CombinedOutput() // it fails, and says why
	return string(out)
}
