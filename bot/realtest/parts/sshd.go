package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// SSHD is an OpenSSH server. Whoever shows a certificate of the authority it
// trusts that names the principal deploy is let in, as the user that runs the
// tests.
type SSHD struct {
	*Process
	Port int
	User string

	dir string
}

// Principal is the one that SSHD lets in.
const Principal = "deploy"

// StartSSHD starts a server that trusts a certificate authority, given as its
// public key in the form of authorized_keys.
func StartSSHD(ctx context.Context, dir, authority string) (*SSHD, error) {
	binary, err := program("sshd")
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, fmt.Errorf("find out who we are: %w", err)
	}
	s := &SSHD{User: me.Username, dir: dir}
	if s.Port, err = freePort(); err != nil {
		return nil, err
	}
	if err := s.write(ctx, authority); err != nil {
		return nil, err
	}
	if os.Getuid() == 0 {
		// Debian's sshd wants its own empty folder, which only its service
		// makes.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, fmt.Errorf("make sshd's folder: %w", err)
		}
	}
	cmd := exec.Command(binary, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
	if s.Process, err = start(cmd, filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	return s, s.until(ctx, "start sshd", func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func (s *SSHD) write(ctx context.Context, authority string) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of sshd: %w", err)
	}
	key := filepath.Join(s.dir, "host")
	if _, err := run(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)); err != nil {
		return err
	}
	config := fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile none
PermitRootLogin yes
TrustedUserCAKeys %s
AuthorizedPrincipalsFile %s
LogLevel VERBOSE
`, s.Port, key, filepath.Join(s.dir, "authority"), filepath.Join(s.dir, "principals"))
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "authority"), []byte(authority+"\n"), 0o644),
		os.WriteFile(filepath.Join(s.dir, "principals"), []byte(Principal+"\n"), 0o644),
		os.WriteFile(filepath.Join(s.dir, "sshd_config"), []byte(config), 0o644),
	)
}

// Options are those with which ssh uses nothing of this machine's own.
func (s *SSHD) Options() []string {
	return []string{"-F", "/dev/null", "-o", "IdentityAgent=none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-p", strconv.Itoa(s.Port)}
}

// Login opens a session with a key and its certificate, and says who it is.
func (s *SSHD) Login(ctx context.Context, key, certificate string) (string, error) {
	args := append(s.Options(), "-i", key, "-o", "CertificateFile="+certificate, s.User+"@127.0.0.1", "id", "-un")
	return run(exec.CommandContext(ctx, "ssh", args...))
}
