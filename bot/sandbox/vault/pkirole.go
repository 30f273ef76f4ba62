package vault

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// pkiRole is pki/roles/<name>, replaced as a whole. Fields that limit or widen
// what is signed and are not modelled are refused when they are set.
type pkiRole struct {
	domains                           []string
	bare, sub, anyName, localhost     bool
	wildcards                         bool // allow_wildcard_certificates
	addresses                         bool // allow_ip_sans; kept for who reads the role
	hostnames                         bool // enforce_hostnames
	client, server, codeSigning       bool
	csrCommonName, csrNames           bool
	requireCN, generateLease, noStore bool
	keyType                           string
	keyBits                           int
	ttl, maxTTL, backdate             time.Duration
	organization, ou                  []string
}

// notModelled are the fields of a role that this sandbox would have to act on
// where they are not empty.
var notModelled = []string{
	"allow_glob_domains", "allow_token_displayname", "allowed_domains_template", "allowed_uri_sans", "allowed_other_sans",
	"allowed_serial_numbers", "allowed_user_ids", "country", "locality", "province", "street_address", "postal_code", "policy_identifiers",
	"use_pss", "basic_constraints_valid_for_non_ca", "allowed_uri_sans_template", "email_protection_flag", "ext_key_usage", "ext_key_usage_oids", "not_after", "issuer_ref",
}

func readPKIRole(in *fields) (*pkiRole, error) {
	role := &pkiRole{
		domains: in.list("allowed_domains"), bare: in.flag("allow_bare_domains", false), sub: in.flag("allow_subdomains", false),
		wildcards: in.flag("allow_wildcard_certificates", true), addresses: in.flag("allow_ip_sans", true),
		anyName: in.flag("allow_any_name", false), localhost: in.flag("allow_localhost", true), hostnames: in.flag("enforce_hostnames", true),
		client: in.flag("client_flag", true), server: in.flag("server_flag", true), codeSigning: in.flag("code_signing_flag", false),
		csrCommonName: in.flag("use_csr_common_name", true), csrNames: in.flag("use_csr_sans", true),
		requireCN: in.flag("require_cn", true), generateLease: in.flag("generate_lease", false), noStore: in.flag("no_store", false),
		keyType: in.text("key_type"), keyBits: in.number("key_bits"),
		ttl: in.duration("ttl"), maxTTL: in.duration("max_ttl"), backdate: in.duration("not_before_duration"),
		organization: in.list("organization"), ou: in.list("ou"),
	}
	if !in.has("not_before_duration") {
		role.backdate = pkiBackdate
	}
	if role.keyType == "" {
		role.keyType = "rsa"
	}
	least, known := map[string]int{"rsa": 2048, "ec": 256, "ed25519": 0, "any": 0}[role.keyType]
	if role.keyBits == 0 {
		role.keyBits = least
	}
	if role.noStore {
		role.generateLease = false // no_store implies it
	}
	for _, name := range notModelled {
		if v := in.m[name]; v != nil && v != false && v != "" && v != "false" && v != "default" && fmt.Sprint(v) != "[]" {
			return nil, badRequest("%s is not modelled by this sandbox", name)
		}
	}
	switch {
	case in.err != nil:
		return nil, in.err
	case role.maxTTL > 0 && role.ttl > role.maxTTL:
		return nil, badRequest(`"ttl" value must be less than "max_ttl" value`)
	case !known:
		return nil, badRequest("unknown key type %s", role.keyType)
	}
	return role, nil
}

func (role *pkiRole) describe() map[string]any {
	none := []string{}
	bits := 0 // of the signature
	if role.keyType == "rsa" {
		bits = 256
	}
	return map[string]any{
		"allowed_domains": orEmpty(role.domains), "allow_bare_domains": role.bare, "allow_subdomains": role.sub,
		"allow_any_name": role.anyName, "allow_localhost": role.localhost, "enforce_hostnames": role.hostnames,
		"client_flag": role.client, "server_flag": role.server, "code_signing_flag": role.codeSigning, "email_protection_flag": false,
		"use_csr_common_name": role.csrCommonName, "use_csr_sans": role.csrNames, "require_cn": role.requireCN,
		"generate_lease": role.generateLease, "no_store": role.noStore, "key_type": role.keyType, "key_bits": role.keyBits,
		"ttl": seconds(role.ttl), "max_ttl": seconds(role.maxTTL), "not_before_duration": seconds(role.backdate), "not_after": "",
		"organization": orEmpty(role.organization), "ou": orEmpty(role.ou), "issuer_ref": "default",
		"allow_glob_domains": false, "allow_ip_sans": role.addresses, "allow_wildcard_certificates": role.wildcards,
		"key_usage": []string{"DigitalSignature", "KeyAgreement", "KeyEncipherment"}, "ext_key_usage": none, "ext_key_usage_oids": none,
		"signature_bits": bits, "use_pss": false, "serial_number_source": "json-csr", "cn_validations": []string{"email", "hostname"},
		"basic_constraints_valid_for_non_ca": false, "policy_identifiers": none,
		"allow_token_displayname": false, "allowed_domains_template": false, "allowed_uri_sans_template": false,
		"allowed_other_sans": none, "allowed_serial_numbers": none, "allowed_uri_sans": none, "allowed_user_ids": none,
		"country": none, "locality": none, "province": none, "street_address": none, "postal_code": none,
	}
}

func (role *pkiRole) uses() []x509.ExtKeyUsage {
	var out []x509.ExtKeyUsage
	for _, u := range []struct {
		on  bool
		use x509.ExtKeyUsage
	}{{role.server, x509.ExtKeyUsageServerAuth}, {role.client, x509.ExtKeyUsageClientAuth}, {role.codeSigning, x509.ExtKeyUsageCodeSigning}} {
		if u.on {
			out = append(out, u.use)
		}
	}
	return out
}

// checkKey refuses a request whose key is not of the role's kind and size.
func (role *pkiRole) checkKey(key any) error {
	kind, bits := "", 0
	switch k := key.(type) {
	case *rsa.PublicKey:
		kind, bits = "rsa", k.N.BitLen()
	case *ecdsa.PublicKey:
		kind, bits = "ec", k.Params().BitSize
	case ed25519.PublicKey:
		kind = "ed25519"
	}
	switch {
	case role.keyType == "any" && kind == "rsa" && bits < 2048:
		return badRequest("RSA keys < 2048 bits are unsafe and not supported")
	case role.keyType != "any" && role.keyType != kind:
		return badRequest("role requires keys of type %s", role.keyType)
	case kind != "ed25519" && bits < role.keyBits:
		return badRequest("role requires a minimum of a %d-bit key, but CSR's key is %d bits", role.keyBits, bits)
	}
	return nil
}

const pkiLabel = `(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])`

var pkiHostname = regexp.MustCompile(`^(?:\*\.)?(?:` + pkiLabel + `\.)*` + pkiLabel + `\.?$`)

// names settles what the certificate bears. By default a role takes names from
// the request where it has any, and then does not look at alt_names at all.
func (role *pkiRole) names(in *fields, csr *x509.CertificateRequest) (common string, names []string, err error) {
	if role.csrCommonName {
		common = csr.Subject.CommonName
	}
	if common == "" {
		common = in.text("common_name")
	}
	if common == "" && role.requireCN {
		return "", nil, badRequest(`the common_name field is required, or must be provided in a CSR with "use_csr_common_name" set to true, unless "require_cn" is set to false`)
	}
	if role.csrNames {
		names = slices.Clone(csr.DNSNames)
		if len(csr.EmailAddresses)+len(csr.IPAddresses)+len(csr.URIs) > 0 {
			return "", nil, badRequest("names of other kinds than hosts are not modelled by this sandbox")
		}
	}
	if common != "" && !in.flag("exclude_cn_from_sans", false) && pkiHostname.MatchString(common) {
		names = append(names, common)
	}
	if !role.csrNames {
		for _, name := range in.list("alt_names") {
			if pkiHostname.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	if in.err != nil {
		return "", nil, in.err
	}
	if common != "" && !role.allows(common) {
		return "", nil, badRequest("common name %s not allowed by this role", common)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names {
		if !role.allows(name) {
			return "", nil, badRequest("subject alternate name %s not allowed by this role", name)
		}
	}
	return common, names, nil
}

func (role *pkiRole) allows(name string) bool {
	if role.hostnames && !pkiHostname.MatchString(name) || !role.wildcards && strings.Contains(name, "*") {
		return false
	}
	if role.anyName || role.localhost && (name == "localhost" || name == "localdomain") {
		return true
	}
	return slices.ContainsFunc(role.domains, func(domain string) bool {
		return role.bare && strings.EqualFold(name, domain) || role.sub && strings.HasSuffix(strings.TrimPrefix(name, "*."), "."+domain)
	})
}

// notAfter cuts a wanted TTL to the role's maximum, with a warning; what the
// authority itself does not live to see is refused.
func (role *pkiRole) notAfter(in *fields, now time.Time, ca *x509.Certificate) (time.Time, []string, error) {
	ttl, most := in.duration("ttl"), role.maxTTL
	if in.err != nil {
		return time.Time{}, nil, in.err
	}
	if ttl == 0 {
		ttl = role.ttl
	}
	if ttl == 0 {
		ttl = systemDefaultTTL
	}
	if most == 0 {
		most = systemMaxTTL
	}
	var warnings []string
	if ttl > most {
		warnings = append(warnings, fmt.Sprintf("TTL %q is longer than permitted maxTTL %q, so maxTTL is being used", ttl, most))
		ttl = most
	}
	end := now.Add(ttl)
	if end.After(ca.NotAfter) {
		return end, nil, badRequest("cannot satisfy request, as TTL would result in notAfter of %s that is beyond the expiration of the CA certificate at %s",
			end.UTC().Format(time.RFC3339Nano), ca.NotAfter.UTC().Format(time.RFC3339Nano))
	}
	return end, warnings, nil
}

// ignored warns of fields that the role does not look at. Vault warns whether
// or not the request had names to take in their place.
func (role *pkiRole) ignored(in *fields) []string {
	var out []string
	if role.csrCommonName && in.text("common_name") != "" {
		out = append(out, `the common_name field was provided but the role is set with "use_csr_common_name" set to true`)
	}
	if role.csrNames && in.text("alt_names") != "" {
		out = append(out, `the alt_names field was provided but the role is set with "use_csr_sans" set to true`)
	}
	return out
}
