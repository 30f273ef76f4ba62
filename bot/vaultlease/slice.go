package vaultlease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"golang.org/x/crypto/ssh"
)

// A certificate has no lease and cannot be called back, so a grant gets it in
// slices: each is short, each is signed with a token of its own, and ending
// the grant refuses the next one. NotAfter in the record is the moment after
// which no certificate of the grant is valid, whatever was lost on the way.
const (
	// signWithin is how long a slice's token lives. It signs once, at once;
	// the shorter it lives, the sooner a certificate whose signing was lost
	// is known not to come about any more.
	signWithin = 60 * time.Second
	// sliceMargin is how much later than asked a slice may end: its signing
	// can start in the last moment of the token and takes 90 s at most
	// (Vault's max_request_duration), and clocks may differ.
	sliceMargin = signWithin + 90*time.Second + mostSkew
)

// slice plays the sequence for one certificate. The certificate is public, so
// it is not wrapped, and the record goes straight to DELIVERED.
func (i *issue) slice(ctx context.Context) (*world.Credential, error) {
	key, err := readPublicKey(i.claim.PublicKey)
	if err != nil {
		return nil, err
	}
	if err := i.endPrevious(ctx); err != nil {
		return nil, fmt.Errorf("end the previous slice's token: %w", err)
	}
	life := min(i.rec.Target.Slice, i.left()).Truncate(time.Second)
	if err := i.mint(ctx, min(life, signWithin)); err != nil {
		return nil, fmt.Errorf("mint: %w", err)
	}
	known := i.rec.NotAfter
	i.rec.NotAfter = latest(known, i.now().Add(life+sliceMargin))
	if err := i.reserve(ctx); err != nil {
		return nil, fmt.Errorf("reserve: %w", err)
	}
	signed, validUntil, err := i.sign(ctx, key, life)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	r := &i.rec
	r.State, r.IssuedAt, r.Holder = grants.Delivered, i.now(), i.claim.Holder
	r.Username = r.Target.Principals[0]
	// What was signed is known now, so the bound can be drawn closer.
	r.NotAfter = latest(known, validUntil.Add(mostSkew))
	if err := i.c.PutRecord(ctx, r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	*i.into = *r
	return &world.Credential{
		Engine: r.Target.Engine, Username: r.Username, SignedKey: signed, Until: earliest(r.EndsAt, validUntil),
	}, nil
}

func readPublicKey(text string) (ssh.PublicKey, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("the claim needs one ssh public key, in the form of authorized_keys")
	}
	if _, isCertificate := key.(*ssh.Certificate); isCertificate {
		return nil, errors.New("the claim needs a public key, not a certificate")
	}
	return key, nil
}

// endPrevious ends the token of the slice before, if it lives: at most one
// token of a grant may.
func (i *issue) endPrevious(ctx context.Context) error {
	if i.rec.Accessor == "" {
		return nil
	}
	token, err := i.c.lookupAccessor(ctx, i.rec.Accessor)
	if err != nil || token == nil {
		return err
	}
	if err := i.c.checkOurs(token, i.rec.Grant.ID); err != nil {
		return err
	}
	return i.c.revokeAccessor(ctx, i.rec.Accessor)
}

// sign asks for the certificate once and checks it before anybody gets it.
func (i *issue) sign(ctx context.Context, key ssh.PublicKey, life time.Duration) (string, time.Time, error) {
	if err := i.stillOurs(); err != nil {
		return "", time.Time{}, err
	}
	r := &i.rec
	a, err := i.c.call(ctx, request{
		path: r.Target.Path, auth: asGiven, token: i.own, effect: true,
		body: map[string]any{
			"public_key":       strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))),
			"valid_principals": strings.Join(r.Target.Principals, ","),
			"ttl":              seconds(int64(life / time.Second)),
			"cert_type":        "user",
			"key_id":           fmt.Sprintf("tac:%s:%d", r.Grant.ID, r.Gen),
		},
	})
	if err != nil {
		return "", time.Time{}, err
	}
	var answered struct {
		SignedKey string `json:"signed_key"`
	}
	if err := a.into(&answered); err != nil {
		return "", time.Time{}, err
	}
	until, err := i.checkCertificate(answered.SignedKey, key, life)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("the certificate is refused: %w", err)
	}
	return strings.TrimSpace(answered.SignedKey), until, nil
}

func (i *issue) checkCertificate(signed string, key ssh.PublicKey, life time.Duration) (time.Time, error) {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(signed))
	if err != nil {
		return time.Time{}, errors.New("it cannot be read")
	}
	cert, ok := parsed.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert {
		return time.Time{}, errors.New("it is not a user certificate")
	}
	want, got := slices.Sorted(slices.Values(i.rec.Target.Principals)), slices.Sorted(slices.Values(cert.ValidPrincipals))
	switch {
	case !bytes.Equal(cert.Key.Marshal(), key.Marshal()):
		return time.Time{}, errors.New("it is for another key")
	case !slices.Equal(want, got):
		return time.Time{}, fmt.Errorf("it names %q and not %q", got, want)
	case cert.ValidBefore > uint64(i.now().Add(life+mostSkew).Unix()):
		return time.Time{}, errors.New("it is valid for longer than was asked for")
	}
	return time.Unix(int64(cert.ValidBefore), 0).UTC(), nil
}
