package vaultlease_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

var payments = grants.Target{
	Engine: grants.EnginePKI, Path: "pki/sign/payments", Policy: "tac-payments", Principals: []string{"payments.acme.test", "deploy"}, Slice: 10 * time.Minute,
}

// newPKIScene is a scene with an authority besides.
func newPKIScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.write("sys/mounts/pki", values{"type": "pki"})
	s.write("pki/root/generate/internal", values{"common_name": "acme root", "key_type": "ec"})
	s.write("sys/policies/acl/"+payments.Policy, values{"policy": vaultlease.TargetPolicy(payments)})
	s.pkiRole(values{})
	return s
}

// pkiRole is a role as the README has it, but for what is changed.
func (s *scene) pkiRole(changed values) {
	s.t.Helper()
	role := values{
		"allowed_domains": "payments.acme.test,deploy", "allow_bare_domains": true, "allow_localhost": false, "key_type": "any",
		"max_ttl": "10m", "use_csr_common_name": false, "use_csr_sans": false, "generate_lease": false, "no_store": true,
	}
	for k, v := range changed {
		role[k] = v
	}
	s.write("pki/roles/payments", role)
}

func (s *scene) csr() string {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	s.must(err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func (s *scene) pkiClaim(csr string) world.IssueClaim {
	return world.IssueClaim{Holder: "holder-1", CSR: csr, Now: s.clock.Now()}
}

func x509Of(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM: %q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestSlicesOfPKIAreSignedAnewAndNoneOutlivesTheGrant(t *testing.T) {
	s := newPKIScene(t)
	a, ctx, csr := s.replica("a"), t.Context(), s.csr()
	rec := s.consent(a, payments)
	rec.EndsAt = start.Add(25 * time.Minute)
	previous := ""
	for i, want := range []time.Duration{10 * time.Minute, 10 * time.Minute, 9 * time.Minute} {
		credential, err := a.Issue(ctx, rec, s.pkiClaim(csr))
		s.must(err)
		cert, until := x509Of(t, credential.SignedKey), s.clock.Now().Add(want)
		roots := x509.NewCertPool()
		roots.AddCert(x509Of(t, credential.Fields["ca_chain"].Reveal()))
		for _, name := range payments.Principals {
			if _, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: s.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
				t.Errorf("slice %d: %v", i, err)
			}
		}
		if !cert.NotAfter.Equal(until) || !credential.Until.Equal(until) || credential.Username != "payments.acme.test" || credential.Engine != "pki" || credential.Fields["issuing_ca"].Empty() {
			t.Errorf("slice %d: certificate until %s, credential %+v", i, cert.NotAfter, credential)
		}
		if rec.State != grants.Delivered || rec.Gen != 1 || rec.WrapAccessor != "" || rec.LeaseID != "" || rec.Accessor == previous || !rec.NotAfter.Equal(until.Add(skew)) {
			t.Errorf("slice %d: record %+v", i, rec)
		}
		if previous != "" && s.alive(previous) {
			t.Errorf("slice %d: the token of the one before lives", i)
		}
		previous = rec.Accessor
		s.clock.Advance(8 * time.Minute)
	}
	s.revoking(a, rec)
	if _, err := a.Issue(ctx, rec, s.pkiClaim(csr)); err == nil {
		t.Error("a slice was signed for a grant that is ending")
	}
	wants(t, a.Kill(ctx, rec, s.clock.Now()), world.ErrStillAlive)
	s.clock.Advance(rec.NotAfter.Sub(s.clock.Now()) - time.Second)
	wants(t, a.Kill(ctx, rec, s.clock.Now()), world.ErrStillAlive)
	s.clock.Advance(time.Second)
	s.must(a.Kill(ctx, rec, s.clock.Now()))
}

func TestALostCertificateOfPKIIsWaitedFor(t *testing.T) {
	for name, when := range map[string]sandbox.When{"never sent": sandbox.Before, "answer lost": sandbox.LostReply} {
		t.Run(name, func(t *testing.T) {
			s := newPKIScene(t)
			a, csr := s.replica("a"), s.csr()
			rec := s.consent(a, payments)
			s.vault.Order(sandbox.Fault{Path: "pki/sign/", When: when})
			_, err := a.Issue(t.Context(), rec, s.pkiClaim(csr))
			wants(t, err, world.ErrAmbiguous)
			lost := s.record(a)
			for _, e := range s.vault.Events() {
				if e.Kind == vault.Signed && e.Ends.After(lost.NotAfter) {
					t.Errorf("a certificate lives until %s, the record says %s", e.Ends, lost.NotAfter)
				}
			}
			if lost.State != grants.Reserved || lost.NotAfter.Before(start.Add(payments.Slice)) {
				t.Errorf("stored %+v", lost)
			}
			next := *lost
			if _, err := a.Issue(t.Context(), &next, s.pkiClaim(csr)); err != nil || next.NotAfter.Before(lost.NotAfter) || next.Gen != 1 || s.alive(lost.Accessor) {
				t.Errorf("the next slice: %v; record %+v", err, next)
			}
		})
	}
}

// TestARoleThatSignsOtherwiseIsRefused: nobody gets the certificate, the
// record bounds it, and the error names what to change.
func TestARoleThatSignsOtherwiseIsRefused(t *testing.T) {
	for want, changed := range map[string]values{
		"set generate_lease=false on the role":                              {"generate_lease": true, "no_store": false},
		"set use_csr_common_name=false and use_csr_sans=false on the role":  {"use_csr_sans": true},
		"it is good for any use; set client_flag or server_flag on the":     {"client_flag": false, "server_flag": false},
		"more than clients and servers; take the other uses off the role":   {"code_signing_flag": true},
		"it begins more than 10m0s ago; set not_before_duration on":         {"not_before_duration": "1h"},
		"common name payments.acme.test not allowed by this role":           {"allowed_domains": "deploy"},
		"subject alternate name deploy not allowed by this role":            {"allowed_domains": "payments.acme.test"},
		"role requires keys of type rsa":                                    {"key_type": "rsa"},
		"role requires a minimum of a 384-bit key, but CSR's key is 256 bi": {"key_type": "ec", "key_bits": 384},
	} {
		t.Run(want, func(t *testing.T) {
			s := newPKIScene(t)
			s.pkiRole(changed)
			a := s.replica("a")
			rec := s.consent(a, payments)
			credential, err := a.Issue(t.Context(), rec, s.pkiClaim(s.csr()))
			if credential != nil || err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("got %+v, %v", credential, err)
			}
			if stored := s.record(a); stored.State != grants.Reserved || stored.NotAfter.Before(start.Add(payments.Slice)) || stored.Accessor == "" {
				t.Errorf("stored %+v", stored)
			}
		})
	}
}

func TestARolesShorterLifeIsTheSlices(t *testing.T) {
	s := newPKIScene(t)
	s.pkiRole(values{"max_ttl": "4m"})
	a := s.replica("a")
	rec := s.consent(a, payments)
	credential, err := a.Issue(t.Context(), rec, s.pkiClaim(s.csr()))
	s.must(err)
	if until := start.Add(4 * time.Minute); !credential.Until.Equal(until) || !rec.NotAfter.Equal(until.Add(skew)) {
		t.Errorf("until %s, not after %s", credential.Until, rec.NotAfter)
	}
}

// TestNothingIsMintedForWhatCannotBeSigned: neither a claim that is wrong nor
// a target that leaves the role's limits behind costs a token.
func TestNothingIsMintedForWhatCannotBeSigned(t *testing.T) {
	changed := func(f func(*grants.Target)) grants.Target {
		t := payments
		f(&t)
		return t
	}
	for name, tt := range map[string]struct {
		target grants.Target
		claim  func(*scene) world.IssueClaim
		mine   bool // it is the claimant's mistake
	}{
		"no request":     {payments, func(s *scene) world.IssueClaim { return s.pkiClaim("") }, true},
		"an ssh key":     {payments, func(s *scene) world.IssueClaim { return s.pkiClaim(s.publicKey()) }, true},
		"ssh without":    {bastion, func(s *scene) world.IssueClaim { return s.pkiClaim(s.csr()) }, true},
		"verbatim":       {changed(func(t *grants.Target) { t.Path = "pki/sign-verbatim/payments" }), nil, false},
		"issue":          {changed(func(t *grants.Target) { t.Path = "pki/issue/payments" }), nil, false},
		"no names":       {changed(func(t *grants.Target) { t.Principals = nil }), nil, false},
		"no slices":      {changed(func(t *grants.Target) { t.Slice = 0 }), nil, false},
		"ssh by a role?": {grants.Target{Engine: "ssh", Path: "ssh/issue/bastion", Policy: "tac-bastion", Principals: []string{"deploy"}, Slice: time.Minute}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPKIScene(t)
			a := s.replica("a")
			claim := s.pkiClaim(s.csr())
			if tt.claim != nil {
				claim = tt.claim(s)
			}
			rec := s.consent(a, tt.target)
			_, err := a.Issue(t.Context(), rec, claim)
			var mine *world.ClaimError
			if err == nil || errors.As(err, &mine) != tt.mine {
				t.Errorf("got %v", err)
			}
			for _, e := range s.vault.Events() {
				if e.Kind == vault.TokenCreated && e.Meta["grant"] != "" || e.Kind == vault.Signed {
					t.Errorf("it cost %+v", e)
				}
			}
		})
	}
}
