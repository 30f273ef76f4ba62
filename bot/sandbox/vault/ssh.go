package vault

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const sshBackdate = 30 * time.Second // certificates begin this much before now

type sshEngine struct {
	signer ssh.Signer // nil until config/ca
	roles  map[string]*sshRole
}

// sshRole is ssh/roles/<name>, replaced as a whole.
type sshRole struct {
	name              string
	users, hosts      bool // allow_user_certificates, allow_host_certificates
	allowedUsers      []string
	defaultUser       string
	ttl, maxTTL       time.Duration
	defaultExtensions map[string]string
	allowedExtensions []string
	allowEmpty        bool // allow_empty_principals
	keyIDs            bool // allow_user_key_ids
}

func sshRoutes() []route {
	return []route{
		{pattern: "config/ca", ops: ops{opRead: (*Server).readSSHCA, opUpdate: (*Server).writeSSHCA, opDelete: (*Server).deleteSSHCA}},
		{pattern: "public_key", open: true, ops: ops{opRead: (*Server).sshPublicKey}},
		{pattern: "roles", ops: ops{opList: (*Server).listSSHRoles}},
		{pattern: "roles/{name}", ops: ops{opRead: (*Server).readSSHRole, opUpdate: (*Server).writeSSHRole, opDelete: (*Server).deleteSSHRole}},
		{pattern: "sign/{name}", ops: ops{opUpdate: (*Server).signSSH}},
	}
}

func (e *sshEngine) authority() string { return string(ssh.MarshalAuthorizedKey(e.signer.PublicKey())) }

func (s *Server) writeSSHCA(r *request) (*response, error) {
	in, e := r.in, r.mount.ssh
	private := in.text("private_key")
	generate := in.flag("generate_signing_key", private == "")
	switch {
	case in.err != nil:
		return nil, in.err
	case e.signer != nil:
		return nil, badRequest("keys are already configured; delete them before reconfiguring")
	case private != "" && generate:
		return nil, badRequest("public_key and private_key must not be set when generate_signing_key is set to true")
	}
	var err error
	if private != "" {
		if e.signer, err = ssh.ParsePrivateKey([]byte(private)); err != nil {
			return nil, badRequest("unable to parse private_key as an SSH private key")
		}
	} else {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		if e.signer, err = ssh.NewSignerFromKey(key); err != nil {
			return nil, err
		}
	}
	return &response{data: map[string]any{"public_key": e.authority()}}, nil
}

func (s *Server) readSSHCA(r *request) (*response, error) {
	if r.mount.ssh.signer == nil {
		return nil, badRequest("keys haven't been configured yet")
	}
	return &response{data: map[string]any{"public_key": r.mount.ssh.authority()}}, nil
}

func (s *Server) deleteSSHCA(r *request) (*response, error) {
	r.mount.ssh.signer = nil
	return nil, nil
}

func (s *Server) sshPublicKey(r *request) (*response, error) {
	if r.mount.ssh.signer == nil {
		return nil, notFound()
	}
	return &response{text: r.mount.ssh.authority()}, nil
}

func (s *Server) listSSHRoles(r *request) (*response, error) {
	resp, err := listing(slices.Sorted(maps.Keys(r.mount.ssh.roles)))
	if err != nil {
		return nil, err
	}
	info := map[string]any{}
	for name := range r.mount.ssh.roles {
		info[name] = map[string]any{"key_type": "ca"}
	}
	resp.data["key_info"] = info
	return resp, nil
}

func (s *Server) writeSSHRole(r *request) (*response, error) {
	in := r.in
	role := sshRole{
		name: r.vars["name"], users: in.flag("allow_user_certificates", false), hosts: in.flag("allow_host_certificates", false),
		allowedUsers: in.list("allowed_users"), defaultUser: in.text("default_user"),
		ttl: in.duration("ttl"), maxTTL: in.duration("max_ttl"),
		defaultExtensions: in.textMap("default_extensions"), allowedExtensions: in.list("allowed_extensions"),
		allowEmpty: in.flag("allow_empty_principals", false), keyIDs: in.flag("allow_user_key_ids", false),
	}
	kind := in.text("key_type")
	switch {
	case in.err != nil:
		return nil, in.err
	case kind == "":
		return nil, badRequest("missing key type")
	case kind == "otp" && role.defaultUser == "":
		return nil, badRequest("missing default user")
	case kind == "otp":
		return nil, badRequest("key type %q is not modelled by this sandbox", kind)
	case kind != "ca":
		return nil, badRequest("invalid key type")
	case !role.users && !role.hosts:
		return nil, badRequest("Either 'allow_user_certificates' or 'allow_host_certificates' must be set to 'true'")
	case role.maxTTL > 0 && role.ttl > role.maxTTL:
		return nil, badRequest(`"ttl" value must be less than "max_ttl" when both are specified`)
	}
	r.mount.ssh.roles[role.name] = &role
	return nil, nil
}

func (s *Server) readSSHRole(r *request) (*response, error) {
	role := r.mount.ssh.roles[r.vars["name"]]
	if role == nil {
		return nil, notFound()
	}
	extensions := role.defaultExtensions
	if extensions == nil {
		extensions = map[string]string{}
	}
	return &response{data: map[string]any{
		"key_type": "ca", "allow_user_certificates": role.users, "allow_host_certificates": role.hosts,
		"allowed_users": strings.Join(role.allowedUsers, ","), "default_user": role.defaultUser,
		"ttl": seconds(role.ttl), "max_ttl": seconds(role.maxTTL), "default_extensions": extensions,
		"allowed_extensions": strings.Join(role.allowedExtensions, ","), "allow_empty_principals": role.allowEmpty,
		"allow_user_key_ids": role.keyIDs, "algorithm_signer": "default", "allow_bare_domains": false, "allow_subdomains": false,
		"allowed_critical_options": "", "allowed_domains": "", "allowed_domains_template": false, "allowed_user_key_lengths": map[string]any{},
		"allowed_users_template": false, "default_critical_options": map[string]any{}, "default_extensions_template": false,
		"default_user_template": false, "key_id_format": "", "not_before_duration": seconds(sshBackdate),
	}}, nil
}

func (s *Server) deleteSSHRole(r *request) (*response, error) {
	delete(r.mount.ssh.roles, r.vars["name"])
	return nil, nil
}

// signSSH issues a certificate. There is no lease: once signed, nothing ends
// it before its time.
func (s *Server) signSSH(r *request) (*response, error) {
	e, in := r.mount.ssh, r.in
	role := e.roles[r.vars["name"]]
	if role == nil {
		return nil, badRequest("Unknown role: %s", r.vars["name"])
	}
	key, err := readSSHKey(in)
	if err != nil {
		return nil, err
	}
	kind, err := role.certType(in)
	if err != nil {
		return nil, err
	}
	principals, err := role.principals(in)
	if err != nil {
		return nil, err
	}
	ttl, err := role.chooseTTL(in)
	if err != nil {
		return nil, err
	}
	extensions, err := role.extensions(in)
	if err != nil {
		return nil, err
	}
	keyID, err := role.keyID(r, key)
	if err != nil {
		return nil, err
	}
	if e.signer == nil {
		return nil, errors.New("error creating signer: no keys configured")
	}
	now := s.clock.Now()
	cert := &ssh.Certificate{
		Key: key, Serial: randomSerial(), CertType: kind, ValidPrincipals: principals,
		KeyId:       keyID,
		ValidAfter:  uint64(now.Add(-sshBackdate).Unix()),
		ValidBefore: uint64(now.Add(ttl).Unix()),
		Permissions: ssh.Permissions{Extensions: extensions},
	}
	if err := cert.SignCert(rand.Reader, e.signer); err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	s.emit(Event{Kind: Signed, Accessor: r.token.accessor, Path: r.path, Ends: now.Add(ttl), Meta: r.token.meta})
	return &response{data: map[string]any{
		"serial_number": strconv.FormatUint(cert.Serial, 16), "signed_key": string(ssh.MarshalAuthorizedKey(cert)),
	}}, nil
}

// readSSHKey reads the public key as the real one does, which looks at the
// second word alone.
func readSSHKey(in *fields) (ssh.PublicKey, error) {
	text := in.require("public_key")
	if in.err != nil {
		return nil, in.err
	}
	words := strings.SplitN(text, " ", 3)
	if len(words) > 1 {
		text = words[1]
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, badRequest("failed to parse public_key as SSH key: %s", err)
	}
	key, err := ssh.ParsePublicKey(raw)
	if err != nil {
		return nil, badRequest("failed to parse public_key as SSH key: %s", err)
	}
	return key, nil
}

// keyID is the caller's where the role allows that. It is what sshd logs.
func (role *sshRole) keyID(r *request, key ssh.PublicKey) (string, error) {
	asked := r.in.text("key_id")
	if r.in.err != nil {
		return "", r.in.err
	}
	if asked != "" && !role.keyIDs {
		return "", badRequest("setting key_id is not allowed by role")
	}
	if asked != "" {
		return asked, nil
	}
	sum := sha256.Sum256(key.Marshal())
	return fmt.Sprintf("vault-%s-%s", r.token.displayName, hex.EncodeToString(sum[:])), nil
}

func randomSerial() uint64 {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails, see randomText
	return binary.BigEndian.Uint64(raw[:])
}

func (role *sshRole) certType(in *fields) (uint32, error) {
	switch kind := in.text("cert_type"); kind {
	case "", "user":
		if !role.users {
			return 0, badRequest("cert_type 'user' is not allowed by role")
		}
		return ssh.UserCert, in.err
	case "host":
		if !role.hosts {
			return 0, badRequest("cert_type 'host' is not allowed by role")
		}
		return ssh.HostCert, nil
	default:
		return 0, badRequest("cert_type must be either 'user' or 'host'")
	}
}

func (role *sshRole) principals(in *fields) ([]string, error) {
	asked := in.list("valid_principals")
	if in.err != nil {
		return nil, in.err
	}
	if len(asked) == 0 && role.defaultUser != "" {
		asked = []string{role.defaultUser}
	}
	if len(asked) == 0 {
		if role.allowEmpty {
			return nil, nil
		}
		return nil, badRequest("empty valid principals not allowed by role")
	}
	if len(role.allowedUsers) == 0 && role.defaultUser == "" {
		return nil, badRequest("role is not configured to allow any principals")
	}
	slices.Sort(asked)
	asked = slices.Compact(asked)
	for _, p := range asked {
		if p != role.defaultUser && !contains(role.allowedUsers, p) {
			return nil, badRequest("%v is not a valid value for valid_principals", p)
		}
	}
	return asked, nil
}

// chooseTTL refuses a wanted TTL over the maximum; it is not clamped.
func (role *sshRole) chooseTTL(in *fields) (time.Duration, error) {
	maximum := role.maxTTL
	if maximum == 0 {
		maximum = systemMaxTTL
	}
	ttl := in.duration("ttl")
	switch {
	case in.err != nil:
		return 0, in.err
	case ttl > maximum:
		return 0, badRequest("ttl is larger than maximum allowed %d", seconds(maximum))
	case ttl > 0:
		return ttl, nil
	case role.ttl > 0:
		return role.ttl, nil
	}
	return min(systemDefaultTTL, maximum), nil
}

func (role *sshRole) extensions(in *fields) (map[string]string, error) {
	asked := in.textMap("extensions")
	if in.err != nil {
		return nil, in.err
	}
	if len(asked) == 0 {
		return role.defaultExtensions, nil
	}
	for name := range asked {
		if !contains(role.allowedExtensions, name) {
			return nil, badRequest("extensions [%s] are not on allowed list", name)
		}
	}
	return asked, nil
}
