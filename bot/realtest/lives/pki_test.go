package lives

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/grants"
)

// paymentsAPI is a prop that opens a server of mutual TLS, in slices of a
// minute.
func paymentsAPI(name string) prop {
	const who = "alice.payments.acme.test"
	return prop{
		resource: "payments-api",
		target: grants.Target{
			Engine: grants.EnginePKI, Path: "pki/sign/" + name, Policy: "tac-pki-" + name, Principals: []string{who}, Slice: time.Minute,
		},
		path: "pki/roles/" + name,
		role: map[string]any{
			"allowed_domains": who, "allow_bare_domains": true, "key_type": "any", "use_csr_common_name": false, "use_csr_sans": false,
			"server_flag": false, "no_store": true, "max_ttl": "1m",
		},
	}
}

// openssl starts a server of TLS whose certificate, and whose callers', are
// of Vault's authority.
func openssl(t *testing.T) *parts.TLS {
	t.Helper()
	v := shared.vault
	for _, args := range [][]string{
		{"secrets", "enable", "pki"},
		{"write", "pki/root/generate/internal", "common_name=acme root", "key_type=ec", "ttl=240h"},
		{"write", "pki/roles/server", "allowed_domains=localhost", "allow_localhost=true", "allow_bare_domains=true", "key_type=ec"},
	} {
		if _, err := v.CLI(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	admin, err := v.Admin()
	if err != nil {
		t.Fatal(err)
	}
	own, err := admin.Logical().WriteWithContext(t.Context(), "pki/issue/server", map[string]any{"common_name": "localhost", "ttl": "24h"})
	if err != nil {
		t.Fatal(err)
	}
	text := func(key string) string { s, _ := own.Data[key].(string); return s }
	s, err := parts.StartTLS(t.Context(), filepath.Join(shared.dir, "openssl"), text("certificate"), text("private_key"), text("issuing_ca"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

func TestACertificateOpensTLSOnlyWhileItsGrantLives(t *testing.T) {
	t.Parallel()
	server := openssl(t)
	s := newStage(t, shared.vault, shared.postgres, paymentsAPI)
	s.start("one")
	id := s.asked("payments-api", 2*time.Hour)
	h := s.takes(id)
	if err := server.Handshake(t.Context(), h.CertFile, h.KeyFile, h.CAFile); err != nil {
		t.Fatalf("the server refuses the certificate: %v", err)
	}
	old := s.copyOf(h.CertFile)
	s.until("the first certificate is over", 2*time.Minute, func() error {
		if err := server.Handshake(t.Context(), old, h.KeyFile, h.CAFile); err == nil {
			return errors.New("the server still takes it")
		}
		return nil
	})
	if late := time.Since(h.Credential.Until); late < -2*time.Second || late > 20*time.Second {
		t.Errorf("the certificate was refused %s after %s", late, h.Credential.Until)
	}
	again := s.takes(id)
	if again.CertFile != h.CertFile {
		t.Errorf("the certificate was %s and is %s: whoever reads it again must find it", h.CertFile, again.CertFile)
	}
	if err := server.Handshake(t.Context(), again.CertFile, again.KeyFile, again.CAFile); err != nil {
		t.Errorf("the grant lives, and its next certificate is refused: %v", err)
	}
	last, key, ca := s.copyOf(again.CertFile), s.copyOf(again.KeyFile), s.copyOf(again.CAFile)
	s.drops(id)
	if a := s.as("alice", "access", "get", id); a.code == 0 {
		t.Errorf("the grant was dropped, and yet: %s", a)
	}
	s.ended(id, 5*time.Minute, noStray)
	if err := server.Handshake(t.Context(), last, key, ca); err == nil {
		t.Error("the grant is closed, and the server takes its last certificate")
	}
}
