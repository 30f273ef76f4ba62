package vaultlease

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"golang.org/x/crypto/ssh"
)

// sshSigner has an OpenSSH certificate signed.
type sshSigner struct{ key ssh.PublicKey }

func newSSHSigner(text string) (*sshSigner, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("the claim needs one ssh public key, in the form of authorized_keys")
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate {
		return nil, errors.New("the claim needs a public key, not a certificate")
	}
	return &sshSigner{key}, nil
}

func (s *sshSigner) body(r *grants.Record, life time.Duration) map[string]any {
	return map[string]any{
		"public_key":       strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.key))),
		"valid_principals": strings.Join(r.Target.Principals, ","),
		"ttl":              seconds(int64(life / time.Second)),
		"cert_type":        "user",
		"key_id":           fmt.Sprintf("tac:%s:%d", r.Grant.ID, r.Gen),
	}
}

func (s *sshSigner) read(a *answer, r *grants.Record, asked window) (none signed, err error) {
	var answered struct {
		SignedKey string `json:"signed_key"`
	}
	if err := a.into(&answered); err != nil {
		return none, err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(answered.SignedKey))
	if err != nil {
		return none, errors.New("it cannot be read")
	}
	cert, ok := parsed.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert {
		return none, errors.New("it is not a user certificate")
	}
	want, got := slices.Sorted(slices.Values(r.Target.Principals)), slices.Sorted(slices.Values(cert.ValidPrincipals))
	switch {
	case !bytes.Equal(cert.Key.Marshal(), s.key.Marshal()):
		return none, errors.New("it is for another key")
	case !slices.Equal(want, got):
		return none, fmt.Errorf("it names %q and not %q", got, want)
	case cert.ValidBefore > math.MaxUint32: // for ever, or as good as that
		return none, errors.New("it is valid for longer than was asked for")
	}
	until := time.Unix(int64(cert.ValidBefore), 0).UTC()
	if err := asked.check(until); err != nil {
		return none, err
	}
	return signed{certificate: strings.TrimSpace(answered.SignedKey), until: until}, nil
}
