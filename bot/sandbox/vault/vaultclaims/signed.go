package vaultclaims

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// certificate holds an ssh certificate against what a script says of it. Its
// window is counted from the server's now.
//
//	from=-30s until=300s key_id=x type=user
//	principals=a,b extensions=permit-pty
//	authority=ca  it is signed by the public key kept as ca
func (p *play) certificate(name string, wanted []string) error {
	text, err := p.value(name)
	if err != nil {
		return err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	cert, ok := parsed.(*ssh.Certificate)
	if !ok {
		return errors.New("it is a key and no certificate")
	}
	now, err := p.now()
	if err != nil {
		return err
	}
	for _, w := range wanted {
		what, value, _ := strings.Cut(w, "=")
		if err := p.certificateField(cert, now, what, value); err != nil {
			return err
		}
	}
	p.out.Checks++
	return nil
}

func (p *play) certificateField(cert *ssh.Certificate, now time.Time, what, want string) error {
	got := ""
	switch what {
	case "from":
		return nearTime(int64(cert.ValidAfter), now, want)
	case "until":
		return nearTime(int64(cert.ValidBefore), now, want)
	case "authority":
		return p.signedBy(cert, want)
	case "key_id":
		got = cert.KeyId
	case "type":
		got = map[uint32]string{ssh.UserCert: "user", ssh.HostCert: "host"}[cert.CertType]
	case "principals":
		got = strings.Join(slices.Sorted(slices.Values(cert.ValidPrincipals)), ",")
	case "extensions":
		got = strings.Join(slices.Sorted(maps.Keys(cert.Extensions)), ",")
	default:
		return fmt.Errorf("a certificate has no %q", what)
	}
	if got != want {
		return fmt.Errorf("its %s is %q", what, got)
	}
	return nil
}

func nearTime(got int64, now time.Time, want string) error {
	span, err := time.ParseDuration(want)
	if err != nil {
		return err
	}
	if is := time.Unix(got, 0).Sub(now); (is - span).Abs() > slack*time.Second {
		return fmt.Errorf("it is %s from now and not %s", is, want)
	}
	return nil
}

func (p *play) signedBy(cert *ssh.Certificate, name string) error {
	text, err := p.value(name)
	if err != nil {
		return err
	}
	authority, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return fmt.Errorf("read the authority's key: %w", err)
	}
	checker := ssh.CertChecker{
		Clock:           func() time.Time { return time.Unix(int64(cert.ValidBefore)-1, 0) },
		IsUserAuthority: func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(authority.Marshal()) },
	}
	principal := ""
	if len(cert.ValidPrincipals) > 0 {
		principal = cert.ValidPrincipals[0]
	}
	if !checker.IsUserAuthority(cert.SignatureKey) {
		return errors.New("somebody else signed it")
	}
	return checker.CheckCert(principal, cert)
}

// verifies checks a transit signature without Vault.
func (p *play) verifies(signatureName, keyName, text string) error {
	signature, err := p.value(signatureName)
	if err != nil {
		return err
	}
	key, err := p.value(keyName)
	if err != nil {
		return err
	}
	_, encoded, _ := strings.Cut(strings.TrimPrefix(signature, "vault:v"), ":")
	var raw [3][]byte
	for i, in := range []string{encoded, key, text} {
		if raw[i], err = base64.StdEncoding.DecodeString(in); err != nil {
			return err
		}
	}
	if len(raw[1]) != ed25519.PublicKeySize || !ed25519.Verify(raw[1], raw[2], raw[0]) {
		return errors.New("it does not verify")
	}
	p.out.Checks++
	return nil
}
