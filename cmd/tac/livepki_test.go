package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tigeraccess/tac/cmd/tac/demo"
)

// paymentsAPI is a resource that is reached by mutual TLS.
const paymentsAPI = `kind: Resource
metadata: {name: payments-api}
spec:
  owners: [payments]
  vault: {engine: pki, path: pki/sign/payments-api, policy: tac-payments-api, principals: [alice.payments.acme.test], slice: 10m}
---
kind: AccessPolicy
metadata: {name: payments-api}
spec:
  resource: payments-api
  auto_approve: {conditions: [{role: [on-call]}]}
`

// payments is a server of TLS that lets in whoever has a certificate of
// Vault's authority, and tells them their name.
type payments struct {
	listener net.Listener
	work     sync.WaitGroup
}

// newPayments makes Vault an authority and starts a server that trusts it.
func newPayments(ctx context.Context, w *demo.World) (*payments, error) {
	admin, err := w.VaultAdmin()
	if err != nil {
		return nil, err
	}
	names := map[string]any{"allow_bare_domains": true, "key_type": "any", "use_csr_common_name": false, "use_csr_sans": false, "no_store": true}
	for _, step := range []struct {
		path string
		data map[string]any
	}{
		{"sys/mounts/pki", map[string]any{"type": "pki"}},
		{"pki/root/generate/internal", map[string]any{"common_name": "acme root", "key_type": "ec"}},
		{"pki/roles/payments-api", map[string]any{"allowed_domains": "alice.payments.acme.test", "max_ttl": "10m", "server_flag": false}},
		{"pki/roles/server", map[string]any{"allowed_domains": "payments.acme.test", "max_ttl": "24h", "client_flag": false}},
		{"sys/policies/acl/tac-payments-api", map[string]any{"policy": `path "pki/sign/payments-api" { capabilities = ["update"] }`}},
	} {
		if strings.Contains(step.path, "/roles/") {
			for name, value := range names {
				step.data[name] = value
			}
		}
		if _, err := admin.Logical().WriteWithContext(ctx, step.path, step.data); err != nil {
			return nil, err
		}
	}
	config, err := serverTLS(ctx, admin)
	if err != nil {
		return nil, err
	}
	config.Time = w.Clock.Now
	p := &payments{}
	if p.listener, err = tls.Listen("tcp", "127.0.0.1:0", config); err != nil {
		return nil, err
	}
	p.work.Go(p.serve)
	return p, nil
}

// serverTLS has Vault sign the server's own certificate.
func serverTLS(ctx context.Context, admin *api.Client) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	signed, err := admin.Logical().WriteWithContext(ctx, "pki/sign/server", map[string]any{
		"csr":         string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
		"common_name": "payments.acme.test", "ttl": "24h",
	})
	if err != nil {
		return nil, err
	}
	certificate, _ := signed.Data["certificate"].(string)
	authority, _ := signed.Data["issuing_ca"].(string)
	block, _ := pem.Decode([]byte(certificate))
	trusted := x509.NewCertPool()
	if block == nil || !trusted.AppendCertsFromPEM([]byte(authority)) {
		return nil, errors.New("vault signed nothing that can be read")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS13,
		SessionTicketsDisabled: true,
	}, nil
}

func (p *payments) serve() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() {
			defer func() { _ = conn.Close() }() // whoever is refused sees it
			if c, ok := conn.(*tls.Conn); ok && c.Handshake() == nil {
				_, _ = io.WriteString(c, c.ConnectionState().PeerCertificates[0].Subject.CommonName)
			}
		})
	}
}

func (p *payments) close() {
	_ = p.listener.Close()
	p.work.Wait()
}

// greeted connects with the files that `get` named, as any client would, and
// returns by which name the server knows us.
func (l *live) greeted() (string, error) {
	pair, err := tls.LoadX509KeyPair(l.held["TAC_CERT_FILE"], l.held["TAC_KEY_FILE"])
	if err != nil {
		return "", err
	}
	authorities, err := os.ReadFile(l.held["TAC_CA_FILE"])
	if err != nil {
		return "", err
	}
	trusted := x509.NewCertPool()
	if !trusted.AppendCertsFromPEM(authorities) {
		return "", errors.New("no authority can be read")
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	conn, err := tls.DialWithDialer(dialer, "tcp", l.payments.listener.Addr().String(), &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: trusted, ServerName: "payments.acme.test", Time: l.Clock.Now, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }() // everything was read
	name, err := io.ReadAll(conn)
	return string(name), err
}

func liveHandshake(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "handshake works|expired|gone", 1)
	l := of(ts)
	l.remember(ts)
	name, err := l.greeted()
	got := map[string]bool{
		"works":   err == nil && name == "alice.payments.acme.test",
		"expired": err != nil && strings.Contains(err.Error(), "remote error: tls: expired certificate"),
		"gone":    errors.Is(err, os.ErrNotExist),
	}
	if !got[args[0]] {
		ts.Fatalf("the handshake as %q: %v; want %s", name, err, args[0])
	}
}

// liveTimed runs the command line in this process, on the world's clock.
func liveTimed(ts *testscript.TestScript, neg bool, args []string) {
	p := &program{
		args: args, stdin: strings.NewReader(""), stdout: ts.Stdout(), stderr: ts.Stderr(),
		now: of(ts).Clock.Now, local: time.UTC, format: choice{value: formatText, allowed: []string{formatText, formatJSON}},
	}
	for _, name := range []string{"TAC_SERVER", "TAC_CONFIG_DIR", "HOME", "PATH"} {
		p.env = append(p.env, fmt.Sprintf("%s=%s", name, ts.Getenv(name)))
	}
	root := p.root()
	root.SetArgs(args)
	if code := p.report(root.ExecuteContext(context.Background())); (code == exitDone) == neg {
		ts.Fatalf("tac %s exits %d", strings.Join(args, " "), code)
	}
}
