package vaultlease

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// The fields of a credential of pki: PEM, and as public as its certificate.
const (
	fieldIssuer = "issuing_ca" // the authority that signed
	fieldChain  = "ca_chain"   // that one and those above it
)

// pkiSigner has an X.509 certificate signed. Of the request only the key is
// used: what the certificate bears is the policy's to say.
type pkiSigner struct {
	csr string // PEM, encoded by us
	key interface{ Equal(crypto.PublicKey) bool }
}

const requestType = "CERTIFICATE REQUEST"

func newPKISigner(text string) (*pkiSigner, error) {
	text = strings.TrimSpace(text)
	block, rest := pem.Decode([]byte(text))
	if !strings.HasPrefix(text, "-----BEGIN "+requestType+"-----") || block == nil || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("the claim needs one certificate request, in PEM and with nothing beside it")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, errors.New("the certificate request cannot be read")
	}
	s := &pkiSigner{csr: string(pem.EncodeToMemory(block))}
	if s.key, err = checkRequestKey(request.PublicKey); err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, errors.New("the certificate request is not signed by its own key")
	}
	// A role may take names and more from the request (use_csr_sans is its
	// default), and would have signed them before we could look.
	if !bytes.Equal(request.RawSubject, emptySequence) || len(request.Extensions) > 0 {
		return nil, errors.New("the certificate request names something: leave subject and extensions empty, as openssl req -new -subj / does; the names are the policy's to say")
	}
	return s, nil
}

var emptySequence = []byte{0x30, 0x00}

// Sizes of an RSA key, in bits. Work grows with the cube of it, and the key
// is somebody else's: hence the upper bound.
const (
	leastRSA = 2048
	mostRSA  = 8192
)

func checkRequestKey(key any) (interface{ Equal(crypto.PublicKey) bool }, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= leastRSA && n <= mostRSA {
			return k, nil
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return k, nil
		}
	case ed25519.PublicKey:
		return k, nil
	}
	return nil, errors.New("the certificate request has a key of a kind or size that is not signed: make one of ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits")
}

func (s *pkiSigner) body(r *grants.Record, life time.Duration) map[string]any {
	body := map[string]any{
		"csr":                  s.csr,
		"common_name":          r.Target.Principals[0],
		"exclude_cn_from_sans": false,
		"ttl":                  seconds(int64(life / time.Second)),
		"format":               "pem",
	}
	if others := r.Target.Principals[1:]; len(others) > 0 {
		body["alt_names"] = strings.Join(others, ",")
	}
	return body
}

func (s *pkiSigner) read(a *answer, r *grants.Record, asked window) (none signed, err error) {
	var answered struct {
		Certificate string   `json:"certificate"`
		Issuer      string   `json:"issuing_ca"`
		Chain       []string `json:"ca_chain"`
	}
	if err := a.into(&answered); err != nil {
		return none, err
	}
	cert, err := onlyCertificate(answered.Certificate)
	if err != nil {
		return none, err
	}
	authorities, err := readAuthorities(cert, answered.Issuer, answered.Chain)
	if err != nil {
		return none, err
	}
	if !s.key.Equal(cert.PublicKey) {
		return none, errors.New("it is for another key")
	}
	if err := errors.Join(checkCertNames(cert, r.Target.Principals), checkCertUse(cert), asked.check(cert.NotAfter), checkCertTimes(cert, asked)); err != nil {
		return none, err
	}
	return signed{
		certificate: encodeCertificates(cert),
		fields: map[string]world.Secret{
			fieldIssuer: world.NewSecret(encodeCertificates(authorities[0])),
			fieldChain:  world.NewSecret(encodeCertificates(authorities...)),
		},
		until: cert.NotAfter.UTC(),
	}, nil
}

// onlyCertificate reads a text that is one certificate and nothing else. What
// is handed on is encoded anew, so nothing travels that was not parsed.
func onlyCertificate(text string) (*x509.Certificate, error) {
	text = strings.TrimSpace(text)
	block, rest := pem.Decode([]byte(text))
	if !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") || block == nil || len(block.Headers) > 0 || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is not one certificate in PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, errors.New("it cannot be read")
	}
	return cert, nil
}

func encodeCertificates(certs ...*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return strings.TrimSpace(b.String())
}

// longestChain is more authorities than any hierarchy has.
const longestChain = 10

// readAuthorities returns who signed the certificate and those above it.
func readAuthorities(cert *x509.Certificate, issuer string, chain []string) ([]*x509.Certificate, error) {
	first, err := onlyCertificate(issuer)
	if err != nil {
		return nil, fmt.Errorf("its authority: %w", err)
	}
	if !bytes.Equal(cert.RawIssuer, first.RawSubject) || cert.CheckSignatureFrom(first) != nil {
		return nil, errors.New("it is not signed by the authority that comes with it")
	}
	out := []*x509.Certificate{first}
	if len(chain) > longestChain {
		return nil, fmt.Errorf("%d authorities come with it", len(chain))
	}
	for _, text := range chain {
		next, err := onlyCertificate(text)
		if err != nil {
			return nil, fmt.Errorf("its chain: %w", err)
		}
		if !next.BasicConstraintsValid || !next.IsCA {
			return nil, fmt.Errorf("its chain has %q, which is no authority", next.Subject.CommonName)
		}
		if !slices.ContainsFunc(out, next.Equal) {
			out = append(out, next)
		}
	}
	return out, nil
}

var (
	oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}
	oidAltNames   = asn1.ObjectIdentifier{2, 5, 29, 17}
	// What a role may add to every subject: country, organisation and unit,
	// locality, province, street, postal code.
	oidsOfRoles = []asn1.ObjectIdentifier{
		{2, 5, 4, 6}, {2, 5, 4, 10}, {2, 5, 4, 11}, {2, 5, 4, 7}, {2, 5, 4, 8}, {2, 5, 4, 9}, {2, 5, 4, 17},
	}
)

// otherwiseNamed ends what is said of wrong names: what most likely did it.
const otherwiseNamed = "; set use_csr_common_name=false and use_csr_sans=false on the role"

// checkCertNames returns an error unless a certificate bears the principals
// and no other name: the first as its common name, all as host names.
func checkCertNames(cert *x509.Certificate, principals []string) error {
	var common []string
	for _, name := range cert.Subject.Names {
		switch {
		case name.Type.Equal(oidCommonName):
			common = append(common, fmt.Sprint(name.Value))
		case !slices.ContainsFunc(oidsOfRoles, name.Type.Equal):
			return fmt.Errorf("its subject has the attribute %s, which nobody asked for", name.Type)
		}
	}
	if !slices.Equal(common, principals[:1]) {
		return fmt.Errorf("its common name is %q and not %q%s", common, principals[:1], otherwiseNamed)
	}
	got, err := altNames(cert)
	if err != nil {
		return err
	}
	want := slices.Sorted(slices.Values(principals))
	if slices.Sort(got); !slices.Equal(got, want) {
		return fmt.Errorf("it names %q and not %q%s", got, want, otherwiseNamed)
	}
	return nil
}

// altNames returns the host names of a certificate. It reads them itself
// since the parsed certificate leaves out names of kinds that are unknown to
// it, and to no verifier's harm here but perhaps to another's.
func altNames(cert *x509.Certificate) ([]string, error) {
	const hostName = 2 // GeneralName's dNSName
	var out []string
	for _, extension := range cert.Extensions {
		if !extension.Id.Equal(oidAltNames) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return nil, errors.New("its names cannot be read")
		}
		for _, n := range names {
			if n.Class != asn1.ClassContextSpecific || n.Tag != hostName || n.IsCompound {
				return nil, errors.New("it has a name that is not the name of a host" + otherwiseNamed)
			}
			out = append(out, string(n.Bytes))
		}
	}
	return out, nil
}

// checkCertUse returns an error unless a certificate is for clients, servers
// or both, as the role has it, and for nothing else.
func checkCertUse(cert *x509.Certificate) error {
	beyond := func(u x509.ExtKeyUsage) bool {
		return u != x509.ExtKeyUsageClientAuth && u != x509.ExtKeyUsageServerAuth
	}
	switch {
	case cert.IsCA || cert.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return errors.New("it is an authority, which could sign others")
	case len(cert.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("it has the critical extension %s, which is unknown here", cert.UnhandledCriticalExtensions[0])
	case len(cert.ExtKeyUsage)+len(cert.UnknownExtKeyUsage) == 0:
		return errors.New("it is good for any use; set client_flag or server_flag on the role")
	case slices.ContainsFunc(cert.ExtKeyUsage, beyond) || len(cert.UnknownExtKeyUsage) > 0:
		return errors.New("it is good for more than clients and servers; take the other uses off the role")
	}
	return nil
}

// mostBackdating is how long ago a certificate may begin. Vault begins it
// 30 s ago, for clocks that are late; much more would claim access in a time
// for which nobody granted any.
const mostBackdating = 10 * time.Minute

func checkCertTimes(cert *x509.Certificate, asked window) error {
	switch {
	case !cert.NotAfter.After(asked.now):
		return errors.New("it has ended already")
	case cert.NotBefore.After(asked.now.Add(mostSkew)):
		return errors.New("it is not valid yet")
	case cert.NotBefore.Before(asked.now.Add(-mostBackdating)):
		return fmt.Errorf("it begins more than %s ago; set not_before_duration on the role to less", mostBackdating)
	}
	return nil
}
