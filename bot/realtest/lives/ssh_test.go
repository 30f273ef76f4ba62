package lives

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/grants"
)

// bastion is a prop that opens the OpenSSH server, in slices of a minute.
func bastion(name string) prop {
	return prop{
		resource: "bastion",
		target: grants.Target{
			Engine: grants.EngineSSH, Path: "ssh/sign/" + name, Policy: "tac-ssh-" + name,
			Principals: []string{parts.Principal}, Slice: time.Minute,
		},
		connect: fmt.Sprintf("ssh -p %d %s@127.0.0.1", shared.sshd.Port, shared.sshd.User),
		path:    "ssh/roles/" + name,
		role: map[string]any{
			"key_type": "ca", "allow_user_certificates": true, "allowed_users": parts.Principal, "default_user": parts.Principal,
			"ttl": "1m", "max_ttl": "1m", "allow_empty_principals": false, "allow_user_key_ids": true,
			"default_extensions": map[string]string{"permit-pty": ""},
		},
	}
}

func TestAnSSHCertificateOpensSessionsOnlyWhileItsGrantLives(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, bastion)
	s.start("one")
	id := s.asked("bastion", 2*time.Hour)
	h := s.takes(id)
	if who, err := shared.sshd.Login(t.Context(), h.KeyFile, h.CertFile); err != nil || strings.TrimSpace(who) != shared.sshd.User {
		t.Fatalf("the session said %q, %v", who, err)
	}
	old := s.copyOf(h.CertFile)

	s.until("the first certificate is over", 2*time.Minute, func() error {
		if out, err := shared.sshd.Login(t.Context(), h.KeyFile, old); err == nil {
			return fmt.Errorf("it still opens a session: %s", out)
		}
		return nil
	})
	if late := time.Since(h.Credential.Until); late < -2*time.Second || late > 20*time.Second {
		t.Errorf("the certificate was refused %s after %s", late, h.Credential.Until)
	}
	again := s.takes(id)
	if _, err := shared.sshd.Login(t.Context(), again.KeyFile, again.CertFile); err != nil {
		t.Errorf("the grant lives, and its next certificate is refused: %v", err)
	}
	args := append([]string{"access", "exec", id, "--", "ssh"}, shared.sshd.Options()...)
	a := s.as("alice", append(args, shared.sshd.User+"@127.0.0.1", "id", "-un")...)
	if a.code != 0 || strings.TrimSpace(a.stdout) != shared.sshd.User {
		t.Errorf("tac access exec -- ssh: %s", a)
	}

	last := s.copyOf(again.CertFile)
	key := s.copyOf(again.KeyFile)
	s.drops(id)
	if a := s.as("alice", "access", "get", id); a.code == 0 {
		t.Errorf("the grant was dropped, and yet: %s", a)
	}
	s.ended(id, 5*time.Minute, noStray)
	if out, err := shared.sshd.Login(t.Context(), key, last); err == nil {
		t.Errorf("the grant is closed, and its last certificate opens a session: %s", out)
	}
}

// copyOf keeps a file from being replaced.
func (s *stage) copyOf(path string) string {
	s.t.Helper()
	text, err := os.ReadFile(path)
	s.must(err)
	kept := filepath.Join(s.t.TempDir(), filepath.Base(path))
	s.must(os.WriteFile(kept, text, 0o600))
	return kept
}

func TestAnSSHGrantSurvivesTheLossOfAReplicaAtEveryCall(t *testing.T) {
	t.Parallel()
	crashLife{
		props: bastion,
		holds: func(s *stage) string {
			id := s.asked("bastion", 2*time.Hour)
			h := s.takes(id)
			if out, err := shared.sshd.Login(s.ctx, h.KeyFile, h.CertFile); err != nil {
				s.t.Errorf("the certificate opens no session: %s %v", out, err)
			}
			return id
		},
		ends: func(s *stage, id string) { s.drops(id) },
	}.everyPoint(t)
}
