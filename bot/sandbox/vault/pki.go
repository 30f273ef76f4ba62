package vault

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
)

const pkiBackdate = 30 * time.Second // where a role does not say otherwise

// pkiEngine is a certificate authority of one issuer, which is its own root.
// Of the real engine's many paths it has what signs a request by a role; what
// it does not model it does not have, sign-verbatim and issue among it.
type pkiEngine struct {
	ca    *x509.Certificate // nil until root/generate
	key   crypto.Signer
	roles map[string]*pkiRole
}

func pkiRoutes() []route {
	return []route{
		{pattern: "root/generate/{kind}", upsert: true, ops: ops{opUpdate: (*Server).generatePKIRoot}},
		{pattern: "ca/pem", open: true, ops: ops{opRead: (*Server).pkiCA}},
		{pattern: "cert/ca", open: true, ops: ops{opRead: (*Server).readPKICA}},
		{pattern: "roles", ops: ops{opList: (*Server).listPKIRoles}},
		{pattern: "roles/{name}", upsert: true, ops: ops{opRead: (*Server).readPKIRole, opUpdate: (*Server).writePKIRole, opDelete: (*Server).deletePKIRole}},
		{pattern: "sign/{name}", upsert: true, ops: ops{opUpdate: (*Server).signPKI}},
	}
}

func certPEM(der []byte) string {
	return strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// pkiSerial is a serial number, and how Vault writes it.
func pkiSerial() (*big.Int, string) {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails, see randomText
	raw[0] = raw[0]&0x7f | 1
	return new(big.Int).SetBytes(raw), strings.ReplaceAll(fmt.Sprintf("% x", raw), " ", ":")
}

func newPKIKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "", "rsa":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "ec":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, badRequest("unknown key type %s", kind)
}

func (s *Server) generatePKIRoot(r *request) (*response, error) {
	in, e, now := r.in, r.mount.pki, s.clock.Now()
	ttl, kind := in.duration("ttl"), in.text("key_type")
	name := in.text("common_name")
	switch {
	case in.err != nil:
		return nil, in.err
	case r.vars["kind"] != "internal":
		return nil, badRequest("this sandbox keeps the authority's key to itself: write root/generate/internal")
	case ttl <= 0:
		ttl = systemDefaultTTL
	}
	key, err := newPKIKey(kind)
	if err != nil {
		return nil, err
	}
	number, serial := pkiSerial()
	template := &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-pkiBackdate), NotAfter: now.Add(min(ttl, systemMaxTTL)),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign the root: %w", err)
	}
	if e.ca, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("read the root: %w", err)
	}
	e.key = key
	return &response{data: map[string]any{
		"certificate": certPEM(der), "issuing_ca": certPEM(der), "serial_number": serial, "expiration": e.ca.NotAfter.Unix(),
		"issuer_id": newUUID(), "issuer_name": "", "key_id": newUUID(), "key_name": "",
	}, warnings: []string{"This mount hasn't configured any authority information access (AIA) fields; this may make it harder for systems to find missing certificates in the chain or to validate revocation status of certificates. Consider updating /config/urls or the newly generated issuer with this information."}}, nil
}

func (s *Server) pkiCA(r *request) (*response, error) {
	if r.mount.pki.ca == nil {
		return nil, nil
	}
	return &response{text: certPEM(r.mount.pki.ca.Raw), media: "application/pem-certificate-chain"}, nil
}

func (s *Server) readPKICA(r *request) (*response, error) {
	if r.mount.pki.ca == nil {
		return nil, badRequest("no default issuer currently configured")
	}
	return &response{data: map[string]any{
		"certificate": certPEM(r.mount.pki.ca.Raw), "revocation_time": 0, "revocation_time_rfc3339": "",
	}}, nil
}

func (s *Server) listPKIRoles(r *request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(r.mount.pki.roles)))
}

func (s *Server) readPKIRole(r *request) (*response, error) {
	role := r.mount.pki.roles[r.vars["name"]]
	if role == nil {
		return nil, notFound()
	}
	return &response{data: role.describe()}, nil
}

func (s *Server) deletePKIRole(r *request) (*response, error) {
	delete(r.mount.pki.roles, r.vars["name"])
	return nil, nil
}

func (s *Server) writePKIRole(r *request) (*response, error) {
	role, err := readPKIRole(r.in)
	if err != nil {
		return nil, err
	}
	r.mount.pki.roles[r.vars["name"]] = role
	var warnings []string
	switch {
	case role.noStore && r.in.flag("generate_lease", false):
		warnings = append(warnings, "mutually exclusive values no_store=true and generate_lease=true were both specified; no_store=true takes priority")
	case role.generateLease:
		warnings = append(warnings, "it is encouraged to disable generate_lease and rely on PKI's native capabilities when possible; this option can cause Vault-wide issues with large numbers of issued certificates")
	}
	if r.mount.pki.ca == nil {
		warnings = append(warnings, "Issuing Certificate was set to default, but no default issuing certificate (configurable at /config/issuers) is currently set")
	}
	return &response{data: role.describe(), warnings: warnings}, nil
}

// signPKI issues a certificate for somebody else's key. With generate_lease
// the answer has a lease, as the real one's does; this sandbox keeps none, so
// it is unknown to sys/leases.
func (s *Server) signPKI(r *request) (*response, error) {
	e, in, now := r.mount.pki, r.in, s.clock.Now()
	role := e.roles[r.vars["name"]]
	format := in.text("format")
	switch {
	case role == nil:
		return nil, badRequest("unknown role: %s", r.vars["name"])
	case format != "" && format != "pem":
		return nil, badRequest(`the "format" path parameter must be "pem", "der", or "pem_bundle"`)
	case e.ca == nil:
		return nil, coreError(500, "could not fetch the CA certificate (was one set?): no default issuer currently configured")
	}
	csr, err := readCSR(in.text("csr"))
	if err != nil {
		return nil, err
	}
	if err := role.checkKey(csr.PublicKey); err != nil {
		return nil, err
	}
	common, names, err := role.names(in, csr)
	if err != nil {
		return nil, err
	}
	end, warnings, err := role.notAfter(in, now, e.ca)
	if err != nil {
		return nil, err
	}
	if csr.CheckSignature() != nil {
		return nil, badRequest("request signature invalid")
	}
	number, serial := pkiSerial()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: common, Organization: role.organization, OrganizationalUnit: role.ou},
		NotBefore: now.Add(-role.backdate), NotAfter: end, DNSNames: names,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: role.uses(),
	}, e.ca, csr.PublicKey, e.key)
	if err != nil {
		return nil, fmt.Errorf("unable to create certificate: %w", err)
	}
	s.emit(Event{Kind: Signed, Accessor: r.token.accessor, Path: r.path, Ends: end, Meta: r.token.meta})
	authority := certPEM(e.ca.Raw)
	// Vault says twice that a TTL was cut: before what it ignored, and after.
	out := &response{warnings: slices.Concat(warnings, role.ignored(in), warnings), data: map[string]any{
		"certificate": certPEM(der), "issuing_ca": authority, "ca_chain": []string{authority},
		"serial_number": serial, "expiration": end.Unix(),
	}}
	if role.generateLease {
		out.leaseID, out.leaseTTL = r.path+"/"+randomText(24), end.Sub(now)
	}
	return out, nil
}

func readCSR(text string) (*x509.CertificateRequest, error) {
	if text == "" {
		return nil, badRequest(`"csr" is empty`)
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, badRequest("csr contains no data")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, badRequest("certificate request could not be parsed: %v", err)
	}
	return csr, nil
}
