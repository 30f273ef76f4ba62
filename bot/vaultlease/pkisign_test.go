package vaultlease

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

func ecKey(t *testing.T, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csrOf(t *testing.T, key crypto.Signer, r *x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: requestType, Bytes: der}))
}

func TestOnlyARequestThatNamesNothingIsSigned(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	p256 := ecKey(t, elliptic.P256())
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	good := csrOf(t, p256, &x509.CertificateRequest{})
	der, _ := pem.Decode([]byte(good))
	broken := append([]byte(nil), der.Bytes...)
	broken[len(broken)-1] ^= 1
	with := func(r x509.CertificateRequest) string { return csrOf(t, p256, &r) }
	form, named := "nothing beside it", "names something"
	kind := "of a kind or size that is not signed"
	tests := []struct{ claim, csr, want string }{
		{"P-256", good, ""},
		{"P-384", csrOf(t, ecKey(t, elliptic.P384()), &x509.CertificateRequest{}), ""},
		{"Ed25519", csrOf(t, edwards, &x509.CertificateRequest{}), ""},
		{"RSA 2048", csrOf(t, rsaKey(t, 2048), &x509.CertificateRequest{}), ""},
		{"blank lines around it", "\n" + good + "\n\n", ""},
		{"RSA 1024", csrOf(t, rsaKey(t, 1024), &x509.CertificateRequest{}), kind},
		{"P-224", csrOf(t, ecKey(t, elliptic.P224()), &x509.CertificateRequest{}), kind},
		{"P-521", csrOf(t, ecKey(t, elliptic.P521()), &x509.CertificateRequest{}), kind},
		{"nothing", "", form},
		{"two requests", good + good, form},
		{"text before it", "hello\n" + good, form},
		{"text after it", good + "hello\n", form},
		{"a header", strings.Replace(good, "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1), form},
		{"a private key", "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", form},
		{"an ssh key", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", form},
		{"garbage inside", "-----BEGIN CERTIFICATE REQUEST-----\naGVsbG8=\n-----END CERTIFICATE REQUEST-----\n", "cannot be read"},
		{"a signature of nobody", string(pem.EncodeToMemory(&pem.Block{Type: requestType, Bytes: broken})), "not signed by its own key"},
		{"a common name", with(x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}}), named},
		{"an organisation", with(x509.CertificateRequest{Subject: pkix.Name{Organization: []string{"system:masters"}}}), named},
		{"a host name", with(x509.CertificateRequest{DNSNames: []string{"bank.test"}}), named},
		{"an address", with(x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}), named},
		{"an authority", with(x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}}), named},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			s, err := newPKISigner(tt.csr)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if err == nil && strings.TrimSpace(s.csr) != strings.TrimSpace(tt.csr) {
				t.Errorf("hands on %q", s.csr)
			}
		})
	}
}

// authority signs what a test wants of it.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{t: t, key: ecKey(t, elliptic.P256())}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: today, NotAfter: today.Add(time.Hour * 1000),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent = &authority{key: a.key, cert: template}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, a.key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) sign(template *x509.Certificate, key crypto.PublicKey) string {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return certText(der)
}

func certText(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

var today = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

// TestACertificateIsWhatWasAskedForOrNobodyGetsIt plays a Vault that answers
// wrongly, by mistake or by malice.
func TestACertificateIsWhatWasAskedForOrNobodyGetsIt(t *testing.T) {
	key := ecKey(t, elliptic.P256())
	signer, err := newPKISigner(csrOf(t, key, &x509.CertificateRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	root := newAuthority(t, "root", nil)
	middle := newAuthority(t, "middle", root)
	stranger := newAuthority(t, "middle", nil)
	principals := []string{"payments.acme.test", "deploy"}
	rec := &grants.Record{Target: grants.Target{Engine: grants.EnginePKI, Path: "pki/sign/web", Principals: principals}}
	asked := window{now: today, life: 10 * time.Minute, ends: today.Add(time.Hour)}
	// good is what Vault gives; each test spoils one thing in it.
	good := func() *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "payments.acme.test", Organization: []string{"acme"}},
			DNSNames: []string{"deploy", "payments.acme.test"}, NotBefore: today.Add(-30 * time.Second), NotAfter: today.Add(10 * time.Minute),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	signed := good()
	tests := []struct {
		claim string
		spoil func(*x509.Certificate)
		want  string
	}{
		{"as asked for", func(*x509.Certificate) {}, ""},
		{"for clients alone, and shorter", func(c *x509.Certificate) { c.ExtKeyUsage, c.NotAfter = c.ExtKeyUsage[1:], today.Add(time.Minute) }, ""},
		{"another common name", func(c *x509.Certificate) { c.Subject.CommonName = "deploy" }, "its common name is"},
		{"no common name", func(c *x509.Certificate) { c.Subject.CommonName = "" }, "its common name is"},
		{"two common names", func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "admin"}, {Type: oidCommonName, Value: "payments.acme.test"}}
		}, "its common name is"},
		{"a user id", func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: oidCommonName, Value: "payments.acme.test"}, {Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}, Value: "root"}}
		}, "the attribute 0.9.2342.19200300.100.1.1, which nobody asked for"},
		{"one more name", func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "bank.test") }, "set use_csr_common_name=false and use_csr_sans=false on the role"},
		{"one name less", func(c *x509.Certificate) { c.DNSNames = c.DNSNames[1:] }, `it names ["payments.acme.test"] and not`},
		{"no names", func(c *x509.Certificate) { c.DNSNames = nil }, "it names [] and not"},
		{"a wildcard", func(c *x509.Certificate) { c.DNSNames[0] = "*.acme.test" }, "it names"},
		{"an e-mail address", func(c *x509.Certificate) { c.EmailAddresses = []string{"a@acme.test"} }, "not the name of a host"},
		{"an address", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)} }, "not the name of a host"},
		{"a URI", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "acme.test"}} }, "not the name of a host"},
		{"a name of a kind of its own", func(c *x509.Certificate) {
			c.DNSNames, c.ExtraExtensions = nil, []pkix.Extension{{Id: oidAltNames, Value: otherName(t, principals)}}
		}, "not the name of a host"},
		{"an authority", func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }, "it is an authority"},
		{"a key that may sign others", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, "it is an authority"},
		{"a critical extension of its own", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}, "the critical extension 1.2.3"},
		{"good for any use", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "it is good for any use"},
		{"good for code", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }, "more than clients and servers"},
		{"good for anything, and saying so", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }, "more than clients and servers"},
		{"good for a use nobody knows", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }, "more than clients and servers"},
		{"the last second of the skew", func(c *x509.Certificate) { c.NotAfter = today.Add(10*time.Minute + mostSkew) }, ""},
		{"a longer life", func(c *x509.Certificate) { c.NotAfter = today.Add(10*time.Minute + mostSkew + time.Second) }, "longer than was asked for"},
		{"a life without end", func(c *x509.Certificate) { c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }, "longer than was asked for"},
		{"a life that is over", func(c *x509.Certificate) { c.NotAfter = today }, "ended already"},
		{"a life to come", func(c *x509.Certificate) { c.NotBefore = today.Add(mostSkew + time.Second) }, "not valid yet"},
		{"a life that began before the grant", func(c *x509.Certificate) { c.NotBefore = today.Add(-time.Hour) }, "it begins more than 10m0s ago"},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			cert := good()
			tt.spoil(cert)
			got, err := readSigned(signer, rec, asked, middle.sign(cert, key.Public()), certText(middle.cert.Raw), certText(middle.cert.Raw), certText(root.cert.Raw))
			if tt.want == "" && (err != nil || !got.until.Equal(cert.NotAfter)) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("until %s, error %v; want %q", got.until, err, tt.want)
			}
		})
	}
	leaf, other := middle.sign(signed, key.Public()), ecKey(t, elliptic.P256())
	its, above := certText(middle.cert.Raw), certText(root.cert.Raw)
	for claim, tt := range map[string]struct {
		certificate, issuer string
		chain               []string
		want                string
	}{
		"another key":                   {middle.sign(signed, other.Public()), its, nil, "it is for another key"},
		"another kind of key":           {middle.sign(signed, rsaKey(t, 2048).Public()), its, nil, "it is for another key"},
		"signed by a namesake":          {stranger.sign(signed, key.Public()), its, nil, "not signed by the authority"},
		"another authority":             {leaf, above, nil, "not signed by the authority"},
		"no authority":                  {leaf, "", nil, "its authority: it is not one certificate"},
		"an authority that is none":     {leaf, leaf, nil, "not signed by the authority"},
		"a chain with a stranger's key": {leaf, its, []string{its, "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----"}, "its chain: it is not one certificate"},
		"a chain with no authority":     {leaf, its, []string{leaf}, "which is no authority"},
		"an endless chain":              {leaf, its, make([]string, 11), "11 authorities"},
		"no certificate":                {"", its, nil, "it is not one certificate"},
		"garbage":                       {"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----", its, nil, "it cannot be read"},
		"two certificates":              {leaf + leaf, its, nil, "it is not one certificate"},
		"a key beside the certificate":  {leaf + "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n", its, nil, "it is not one certificate"},
	} {
		t.Run(claim, func(t *testing.T) {
			if _, err := readSigned(signer, rec, asked, tt.certificate, tt.issuer, tt.chain...); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	got, err := readSigned(signer, rec, asked, leaf, its, its, above, above)
	if err != nil {
		t.Fatal(err)
	}
	if chain := got.fields[fieldChain].Reveal(); got.certificate != strings.TrimSpace(leaf) || got.fields[fieldIssuer].Reveal() != strings.TrimSpace(its) || chain != strings.TrimSpace(its+above) {
		t.Errorf("hands on %+v, with the chain\n%s", got, chain)
	}
}

func readSigned(s *pkiSigner, r *grants.Record, asked window, certificate, issuer string, chain ...string) (signed, error) {
	data, err := json.Marshal(map[string]any{"certificate": certificate, "issuing_ca": issuer, "ca_chain": chain, "private_key": "not asked for"})
	if err != nil {
		return signed{}, err
	}
	return s.read(&answer{Data: data}, r, asked)
}

// otherName is a list of names with one that Go's parser passes over.
func otherName(t *testing.T, names []string) []byte {
	t.Helper()
	values := []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: []byte{6, 2, 0x2a, 3, 0xa0, 4, 0x0c, 2, 'h', 'i'}}}
	for _, n := range names {
		values = append(values, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(n)})
	}
	out, err := asn1.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
