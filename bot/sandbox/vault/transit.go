package vault

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// transitKey is an ed25519 key with its versions, the first at index 0.
type transitKey struct {
	name     string
	versions []transitVersion
}

type transitVersion struct {
	key     ed25519.PrivateKey
	created time.Time
}

func (v transitVersion) public() string {
	return base64.StdEncoding.EncodeToString(v.key.Public().(ed25519.PublicKey))
}

func transitRoutes() []route {
	return []route{
		{pattern: "keys", ops: ops{opList: (*Server).listTransitKeys}},
		{pattern: "keys/{name}", ops: ops{opRead: (*Server).readTransitKey, opUpdate: (*Server).createTransitKey, opDelete: (*Server).deleteTransitKey}},
		{pattern: "keys/{name}/rotate", ops: ops{opUpdate: (*Server).rotateTransitKey}},
		{pattern: "sign/{name}", ops: ops{opUpdate: (*Server).transitSign}},
		{pattern: "verify/{name}", ops: ops{opUpdate: (*Server).transitVerify}},
	}
}

func (s *Server) listTransitKeys(r *request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(r.mount.transit)))
}

func (s *Server) createTransitKey(r *request) (*response, error) {
	name, kind := r.vars["name"], r.in.text("type")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if kind != "ed25519" && !slices.Contains(otherKeyTypes, kind) {
		return nil, badRequest("unknown key type %s", kind)
	}
	if kind != "ed25519" {
		return nil, badRequest("key type %q is not modelled by this sandbox: ask for ed25519", kind)
	}
	k := r.mount.transit[name]
	if k == nil {
		k = &transitKey{name: name}
		if err := s.addTransitVersion(k); err != nil {
			return nil, err
		}
		r.mount.transit[name] = k
	}
	return &response{data: k.describe()}, nil
}

// otherKeyTypes are those that Vault has and this sandbox has not.
var otherKeyTypes = []string{
	"", "aes128-gcm96", "aes256-gcm96", "chacha20-poly1305", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-2048", "rsa-3072", "rsa-4096", "hmac",
}

// deleteTransitKey refuses: deletion_allowed is never set here.
func (s *Server) deleteTransitKey(r *request) (*response, error) {
	name := r.vars["name"]
	if r.mount.transit[name] == nil {
		return nil, badRequest("error deleting policy %s: could not delete key; not found", name)
	}
	return nil, badRequest("error deleting policy %s: deletion is not allowed for this key", name)
}

func (s *Server) rotateTransitKey(r *request) (*response, error) {
	k := r.mount.transit[r.vars["name"]]
	if k == nil {
		return nil, badRequest("key not found")
	}
	if err := s.addTransitVersion(k); err != nil {
		return nil, err
	}
	return &response{data: k.describe()}, nil
}

func (s *Server) addTransitVersion(k *transitKey) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	k.versions = append(k.versions, transitVersion{key, s.clock.Now()})
	return nil
}

func (k *transitKey) describe() map[string]any {
	keys := map[string]any{}
	for i, v := range k.versions {
		keys[strconv.Itoa(i+1)] = map[string]any{
			"name": "ed25519", "public_key": v.public(), "creation_time": stamp(v.created), "certificate_chain": "", "hybrid_public_key": "",
		}
	}
	return map[string]any{
		"name": k.name, "type": "ed25519", "keys": keys, "latest_version": len(k.versions),
		"min_decryption_version": 1, "min_encryption_version": 0, "min_available_version": 0,
		"derived": false, "exportable": false, "deletion_allowed": false, "allow_plaintext_backup": false,
		"supports_signing": true, "supports_encryption": false, "supports_decryption": false, "supports_derivation": true,
		"auto_rotate_period": 0, "imported_key": false,
	}
}

func (s *Server) readTransitKey(r *request) (*response, error) {
	k := r.mount.transit[r.vars["name"]]
	if k == nil {
		return nil, notFound()
	}
	return &response{data: k.describe()}, nil
}

// transitInput finds the key and decodes the base64 input of sign and verify,
// which refuse in different words.
func transitInput(r *request, absent, undecodable string) (*transitKey, []byte, error) {
	k := r.mount.transit[r.vars["name"]]
	if k == nil {
		return nil, nil, badRequest("%s", absent)
	}
	if r.in.has("batch_input") {
		return nil, nil, badRequest("batch_input is not modelled by this sandbox")
	}
	input, err := base64.StdEncoding.DecodeString(r.in.text("input"))
	if r.in.err != nil {
		return nil, nil, r.in.err
	}
	if err != nil {
		return nil, nil, badRequest("%s: %s", undecodable, err)
	}
	return k, input, nil
}

func (s *Server) transitSign(r *request) (*response, error) {
	k, input, err := transitInput(r, "signing key not found", "unable to decode input")
	if err != nil {
		return nil, err
	}
	number := r.in.number("key_version")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if number == 0 {
		number = len(k.versions)
	}
	if number < 0 {
		return nil, badRequest("requested version for signing is negative")
	}
	if number > len(k.versions) {
		return nil, errors.New("requested version for signing is higher than the latest key version")
	}
	v := k.versions[number-1]
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(v.key, input))
	return &response{data: map[string]any{
		"signature": fmt.Sprintf("vault:v%d:%s", number, signature), "key_version": number,
	}}, nil
}

func (s *Server) transitVerify(r *request) (*response, error) {
	if _, given := r.in.m["signature"]; !given && r.mount.transit[r.vars["name"]] != nil {
		return nil, badRequest("missing one of 'signature', 'hmac' or 'cmac' arguments to verify")
	}
	k, input, err := transitInput(r, "signature verification key not found", "failed to parse item: failed to parse input")
	if err != nil {
		return nil, err
	}
	text := r.in.text("signature")
	if r.in.err != nil {
		return nil, r.in.err
	}
	rest, ok := strings.CutPrefix(text, "vault:v")
	if !ok {
		return nil, badRequest("invalid signature: no prefix")
	}
	version, encoded, cut := strings.Cut(rest, ":")
	if !cut {
		return nil, badRequest("invalid signature: wrong number of fields")
	}
	number, err := strconv.Atoi(version)
	if err != nil {
		return nil, badRequest("invalid signature: version number could not be decoded")
	}
	if number < 1 {
		return nil, badRequest("ciphertext or signature version is disallowed by policy (too old)")
	}
	if number > len(k.versions) {
		return nil, badRequest("invalid signature: version is too new")
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, badRequest("invalid base64 signature value")
	}
	public := k.versions[number-1].key.Public().(ed25519.PublicKey)
	return &response{data: map[string]any{"valid": ed25519.Verify(public, input, signature)}}, nil
}
