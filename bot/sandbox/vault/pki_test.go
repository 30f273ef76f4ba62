package vault_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
)

// request is a certificate request in PEM, signed by the key.
func request(t *testing.T, key crypto.Signer, template *x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// TestPKISignsByRolesOnly holds every answer against what Vault 1.21.0 said to
// the same call.
func TestPKISignsByRolesOnly(t *testing.T) {
	w := newWorld(t)
	w.ok(w.root.Sys().Mount("pki", &api.MountInput{Type: "pki"}))
	p := &pkiPlay{t: t, admin: w.root}
	p.play()
	cert := p.last
	if want := w.clock.Now().Add(5 * time.Minute); !cert.NotAfter.Equal(want) || !cert.NotBefore.Equal(w.clock.Now().Add(-30*time.Second)) {
		t.Errorf("the certificate is valid from %s to %s; want until %s", cert.NotBefore, cert.NotAfter, want)
	}
}

// pkiPlay is a session with a fresh pki mount, of this Vault or a real one.
type pkiPlay struct {
	t     *testing.T
	admin *api.Client
	last  *x509.Certificate
	why   []string // warnings of the last answer
}

func (p *pkiPlay) write(path string, data m) (*api.Secret, string) {
	secret, err := p.admin.Logical().Write("pki/"+path, data)
	var refused *api.ResponseError
	if errors.As(err, &refused) {
		return nil, fmt.Sprintf("%d %s", refused.StatusCode, strings.Join(refused.Errors, "|"))
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.why = secret.Warnings
	return secret, ""
}

func (p *pkiPlay) role(name string, data m) {
	p.t.Helper()
	if _, refused := p.write("roles/"+name, data); refused != "" {
		p.t.Fatal(refused)
	}
}

// signs asks for a certificate and holds what it names, or the refusal,
// against want.
func (p *pkiPlay) signs(claim, role string, data m, want string) {
	p.t.Helper()
	secret, got := p.write("sign/"+role, data)
	if secret != nil {
		p.last = p.parse(secret, "certificate")
		got = p.last.Subject.CommonName + " " + strings.Join(p.last.DNSNames, ",")
		if ca := p.parse(secret, "issuing_ca"); p.last.CheckSignatureFrom(ca) != nil {
			p.t.Errorf("%s: not signed by its authority", claim)
		}
		chain, _ := secret.Data["ca_chain"].([]any)
		end, _ := secret.Data["expiration"].(json.Number).Int64()
		if len(chain) != 1 || chain[0] != secret.Data["issuing_ca"] || end != p.last.NotAfter.Unix() {
			p.t.Errorf("%s: chain %v, expiration %d", claim, chain, end)
		}
	}
	if !strings.HasPrefix(got, want) {
		p.t.Errorf("%s:\n got %s\nwant %s", claim, got, want)
	}
}

func (p *pkiPlay) parse(secret *api.Secret, field string) *x509.Certificate {
	p.t.Helper()
	text, _ := secret.Data[field].(string)
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		p.t.Fatalf("%s is no PEM: %q", field, text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert
}

func (p *pkiPlay) play() {
	t := p.t
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak := p.weak()
	csr := request(t, key, &x509.CertificateRequest{})
	p.role("early", m{"allow_any_name": true, "key_type": "ec"})
	p.signs("no authority yet", "early", m{"csr": csr, "common_name": "a.test"}, "500 1 error occurred:\n\t* could not fetch the CA certificate (was one set?): no default issuer currently configured")
	if _, refused := p.write("root/generate/internal", m{"common_name": "acme root", "key_type": "ec", "ttl": "100h"}); refused != "" {
		t.Fatal(refused)
	}
	p.role("web", m{"allowed_domains": "payments.acme.test,deploy", "allow_bare_domains": true, "key_type": "ec", "max_ttl": "10m"})
	p.role("strict", m{"allowed_domains": "payments.acme.test,deploy", "allow_bare_domains": true, "key_type": "any", "max_ttl": "10m", "use_csr_sans": false, "use_csr_common_name": false})
	p.role("free", m{"allow_any_name": true, "key_type": "any", "max_ttl": "300h"})
	p.role("plain", m{"allow_any_name": true, "ttl": "5m"})
	for _, bad := range []struct {
		role m
		want string
	}{
		{m{"ttl": "20m", "max_ttl": "10m"}, `400 "ttl" value must be less than "max_ttl" value`},
		{m{"key_type": "dsa"}, "400 unknown key type dsa"},
	} {
		if _, got := p.write("roles/bad", bad.role); got != bad.want {
			t.Errorf("role %v: got %s, want %s", bad.role, got, bad.want)
		}
	}
	named := request(t, key, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "evil.test"}, DNSNames: []string{"more.test"}})
	name := "payments.acme.test"
	p.signs("nobody's role", "nobody", m{"csr": csr}, "400 unknown role: nobody")
	p.signs("no request", "web", m{"common_name": name}, `400 "csr" is empty`)
	p.signs("not a request", "web", m{"csr": "hello", "common_name": name}, "400 csr contains no data")
	p.signs("a broken request", "web", m{"csr": "-----BEGIN CERTIFICATE REQUEST-----\naGVsbG8=\n-----END CERTIFICATE REQUEST-----\n"}, "400 certificate request could not be parsed: ")
	p.signs("no name", "web", m{"csr": csr}, `400 the common_name field is required, or must be provided in a CSR with "use_csr_common_name" set to true, unless "require_cn" is set to false`)
	p.signs("a name of others", "web", m{"csr": csr, "common_name": "other.acme.test"}, "400 common name other.acme.test not allowed by this role")
	p.signs("no name of a host", "free", m{"csr": csr, "common_name": "pay_ments", "ttl": "1m"}, "400 common name pay_ments not allowed by this role")
	p.signs("another format", "web", m{"csr": csr, "common_name": name, "format": "foo"}, `400 the "format" path parameter must be "pem", "der", or "pem_bundle"`)
	p.signs("a key of another kind", "plain", m{"csr": csr, "common_name": name}, "400 role requires keys of type rsa")
	p.signs("a weak key", "free", m{"csr": weak, "common_name": name, "ttl": "1m"}, "400 RSA keys < 2048 bits are unsafe and not supported")
	p.signs("a small key", "web", m{"csr": request(t, small, &x509.CertificateRequest{}), "common_name": name}, "400 role requires a minimum of a 256-bit key, but CSR's key is 224 bits")
	p.signs("a signature by another key", "free", m{"csr": forged(t, csr), "common_name": name, "ttl": "1m"}, "400 request signature invalid")
	p.signs("longer than the authority", "free", m{"csr": csr, "common_name": name, "ttl": "200h"}, "400 cannot satisfy request, as TTL would result in notAfter of ")
	p.signs("the request's own names", "free", m{"csr": named, "common_name": name, "ttl": "1m"}, "evil.test evil.test,more.test")
	p.signs("alt_names beside the request", "web", m{"csr": csr, "common_name": name, "alt_names": "x.test", "ttl": "1m"}, name+" "+name)
	p.signs("not the request's own names", "strict", m{"csr": named, "common_name": name, "alt_names": "deploy", "ttl": "1m"}, name+" deploy,"+name)
	p.signs("alt_names of others", "strict", m{"csr": csr, "common_name": name, "alt_names": "x.test", "ttl": "1m"}, "400 subject alternate name x.test not allowed by this role")
	p.signs("an Ed25519 key", "strict", m{"csr": request(t, other, &x509.CertificateRequest{}), "common_name": "deploy", "ttl": "1m"}, "deploy deploy")
	p.signs("longer than the role", "web", m{"csr": csr, "common_name": name, "ttl": "1h"}, name+" "+name)
	if want := `TTL "1h0m0s" is longer than permitted maxTTL "10m0s", so maxTTL is being used`; !slices.Contains(p.why, want) || p.last.NotAfter.Sub(p.last.NotBefore) != 10*time.Minute+30*time.Second {
		t.Errorf("a long TTL gives %s to %s with the warnings %q", p.last.NotBefore, p.last.NotAfter, p.why)
	}
	p.lease(csr, name)
	p.signs("five minutes", "web", m{"csr": csr, "common_name": name, "ttl": "5m"}, name+" "+name)
	if p.last.IsCA || p.last.BasicConstraintsValid || !slices.Equal(p.last.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("the certificate is of use for %v; an authority: %v", p.last.ExtKeyUsage, p.last.IsCA)
	}
}

// lease: a role with generate_lease answers with one; no_store overrules it.
func (p *pkiPlay) lease(csr, name string) {
	p.t.Helper()
	for _, tt := range []struct {
		noStore bool
		want    string
	}{{false, "pki/sign/leased/"}, {true, ""}} {
		p.role("leased", m{"allow_any_name": true, "key_type": "ec", "generate_lease": true, "no_store": tt.noStore})
		secret, refused := p.write("sign/leased", m{"csr": csr, "common_name": name, "ttl": "60s"})
		if refused != "" {
			p.t.Fatal(refused)
		}
		if !strings.HasPrefix(secret.LeaseID, tt.want) || (secret.LeaseID == "") != tt.noStore || secret.Renewable {
			p.t.Errorf("no_store %v: lease %q of %d s, renewable %v", tt.noStore, secret.LeaseID, secret.LeaseDuration, secret.Renewable)
		}
	}
}

// weak is a request with an RSA key of 1024 bits.
func (p *pkiPlay) weak() string {
	p.t.Helper()
	p.t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		p.t.Fatal(err)
	}
	return request(p.t, key, &x509.CertificateRequest{})
}

// forged is a request whose signature was made by nobody.
func forged(t *testing.T, csr string) string {
	t.Helper()
	block, _ := pem.Decode([]byte(csr))
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.LastIndex(string(block.Bytes), string(parsed.Signature[len(parsed.Signature)-8:]))
	block.Bytes[at+7] ^= 1
	return string(pem.EncodeToMemory(block))
}
