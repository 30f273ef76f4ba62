package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// signer is a server that signs requests: a root, and an authority below it.
type signer struct {
	t           *testing.T
	phase       grants.Phase
	until       time.Time // of the next certificate
	other       bool      // sign another key than the one in the request
	bare        bool      // leave the authorities out
	down        bool
	seen        []*x509.CertificateRequest
	root, below *x509.Certificate
	key         *ecdsa.PrivateKey // of below
}

func newSigner(t *testing.T) *signer {
	s := &signer{t: t, phase: grants.PhaseApproved, until: noon.Add(10 * time.Minute)}
	rootKey := s.newKey()
	s.key = s.newKey()
	s.root = s.certificate("root", true, rootKey.Public(), nil, rootKey)
	s.below = s.certificate("below", true, s.key.Public(), s.root, rootKey)
	return s
}

func (s *signer) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

func (s *signer) certificate(name string, ca bool, key crypto.PublicKey, by *x509.Certificate, with crypto.Signer) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(s.seen) + 1)), Subject: pkix.Name{CommonName: name}, NotBefore: noon.Add(-time.Minute), NotAfter: s.until,
		IsCA: ca, BasicConstraintsValid: ca, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if by == nil {
		by = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, key, with)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

func (s *signer) answer(w http.ResponseWriter, r *http.Request, _ int) {
	grant := map[string]any{"id": anID, "phase": s.phase, "resource": "payments", "engine": "pki", "ends_at": noon.Add(2 * time.Hour)}
	switch {
	case s.down:
		refuse(w, 503, "unavailable", "Vault does not answer as it should")
		return
	case r.Method == http.MethodGet:
		reply(w, 200, grant)
		return
	}
	var ask struct {
		CSR string `json:"csr"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		s.t.Error(err)
	}
	block, _ := pem.Decode([]byte(ask.CSR))
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || request.CheckSignature() != nil || len(request.RawSubject) != 2 || len(request.Extensions) > 0 {
		s.t.Errorf("asked with %+v, %v", request, err)
	}
	s.seen, s.phase = append(s.seen, request), grants.PhaseActive
	key := request.PublicKey
	if s.other {
		key = s.newKey().Public()
	}
	fields := map[string]string{"issuing_ca": string(pemOf(s.below)), "ca_chain": string(pemOf(s.below)) + string(pemOf(s.root))}
	if s.bare {
		fields = map[string]string{}
	}
	grant["phase"] = s.phase
	reply(w, 200, map[string]any{"grant": grant, "credential": map[string]any{
		"engine": "pki", "username": "payments.acme.test", "until": s.until, "fields": fields,
		"signed_key": string(pemOf(s.certificate("payments.acme.test", false, key, s.below, s.key))),
	}})
}

func pkiRig(t *testing.T) (*signer, *rig, *time.Time) {
	t.Helper()
	s, now := newSigner(t), noon
	g := newRig(t, s.answer).loggedIn(t)
	g.Now = func() time.Time { return now }
	return s, g, &now
}

func TestACertificateIsSignedAgainInTheSameFiles(t *testing.T) {
	s, g, now := pkiRig(t)
	take := func(what string, take func() (Taken, error), reused bool, signed int) Taken {
		t.Helper()
		got, err := take()
		if err != nil || got.Reused != reused || len(s.seen) != signed {
			t.Fatalf("%s: reused %v after %d signings, error %v", what, got.Reused, len(s.seen), err)
		}
		pair, err := tls.LoadX509KeyPair(got.CertFile, got.KeyFile)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(pair.Certificate) != 2 || !bytes.Equal(pair.Certificate[1], s.below.Raw) {
			t.Errorf("%s: %d certificates are shown, want the leaf and what signed it", what, len(pair.Certificate))
		}
		if ca, err := os.ReadFile(got.CAFile); err != nil || string(ca) != string(pemOf(s.below))+string(pemOf(s.root)) {
			t.Errorf("%s: the authorities: %s, %v", what, ca, err)
		}
		for _, path := range []string{got.KeyFile, got.CertFile, got.CAFile} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s: %v, %v", what, path, info.Mode(), err)
			}
		}
		return got
	}
	again := func() (Taken, error) { return g.Take(t.Context(), anID, false) }
	resign := func() (Taken, error) { return g.Resign(t.Context(), anID) }
	first := take("the first", again, false, 1)
	take("while it lives", again, true, 1)
	s.until = noon.Add(15 * time.Minute)
	take("signed again on demand", resign, false, 2)
	*now = s.until.Add(-sliceLeft)
	s.until = now.Add(10 * time.Minute)
	last := take("near its end", again, false, 3)
	if first.KeyFile != last.KeyFile || first.CertFile != last.CertFile || first.CAFile != last.CAFile {
		t.Errorf("the files moved: %+v, then %+v", first, last)
	}
	for i, r := range s.seen {
		if !r.PublicKey.(*ecdsa.PublicKey).Equal(s.seen[0].PublicKey) {
			t.Errorf("request %d is for another key", i)
		}
	}
	for _, lost := range []string{last.CertFile, last.CAFile, last.KeyFile} {
		if err := os.Remove(lost); err != nil {
			t.Fatal(err)
		}
		take("without "+lost, again, false, len(s.seen)+1)
	}
	s.down = true
	if got, err := resign(); err != nil || got.Unsure == nil || got.CertFile != last.CertFile {
		t.Errorf("with the server down: %+v, %v", got, err)
	}
	s.down = false
	if err := g.End(anID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(last.KeyFile); !os.IsNotExist(err) {
		t.Errorf("after the end the key is still kept: %v", err)
	}
}

func TestACertificateThatIsOfNoUseIsNotKept(t *testing.T) {
	for claim, tt := range map[string]struct {
		spoil func(*signer)
		want  string
	}{
		"for another key":   {func(s *signer) { s.other = true }, "cannot be used with the key in"},
		"without authority": {func(s *signer) { s.bare = true }, "no authority"},
	} {
		t.Run(claim, func(t *testing.T) {
			s, g, _ := pkiRig(t)
			tt.spoil(s)
			if _, err := g.Take(t.Context(), anID, false); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			held, err := g.Store.Held(g.Server, anID)
			if err != nil {
				t.Fatal(err)
			}
			_, cert, _ := held.TLSFiles()
			for _, path := range []string{cert, held.credentialFile()} {
				if _, err := os.Stat(path); !os.IsNotExist(err) {
					t.Errorf("%s is there: %v", path, err)
				}
			}
		})
	}
}
