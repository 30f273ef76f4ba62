package parts

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// TLS is OpenSSL's own server. It lets in whoever shows a certificate of the
// authority that it trusts.
type TLS struct {
	*Process
	Port int
}

// StartTLS starts a server with its own certificate and key, and the
// authority of its callers, all of them PEM.
func StartTLS(ctx context.Context, dir, certificate, key, authority string) (*TLS, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of openssl: %w", err)
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), []byte(certificate), 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), []byte(key), 0o600),
		os.WriteFile(filepath.Join(dir, "ca.pem"), []byte(authority), 0o600),
	)
	if err != nil {
		return nil, fmt.Errorf("write the files of openssl: %w", err)
	}
	s := &TLS{Port: port}
	cmd := exec.Command("openssl", "s_server", "-accept", strconv.Itoa(port), "-cert", "cert.pem", "-key", "key.pem",
		"-CAfile", "ca.pem", "-Verify", "3", "-verify_return_error", "-tls1_2", "-www", "-quiet")
	cmd.Dir = dir
	if s.Process, err = start(cmd, filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	return s, s.until(ctx, "start openssl s_server", func() error {
		c, err := net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Handshake shows a certificate and reports whether the server took it.
func (s *TLS) Handshake(ctx context.Context, certificate, key, authority string) error {
	_, err := run(exec.CommandContext(ctx, "openssl", "s_client", "-connect", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
		"-cert", certificate, "-key", key, "-CAfile", authority, "-verify_return_error", "-tls1_2"))
	return err
}
