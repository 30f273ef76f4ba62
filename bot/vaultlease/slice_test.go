package vaultlease_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"golang.org/x/crypto/ssh"
)

func (s *scene) publicKey() string {
	s.t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	s.must(err)
	key, err := ssh.NewPublicKey(public)
	s.must(err)
	return string(ssh.MarshalAuthorizedKey(key))
}

func (s *scene) sshClaim(key string) world.IssueClaim {
	return world.IssueClaim{Holder: "holder-1", PublicKey: key, Now: s.clock.Now()}
}

func certificate(t *testing.T, credential *world.Credential) *ssh.Certificate {
	t.Helper()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(credential.SignedKey))
	if err != nil {
		t.Fatal(err)
	}
	return key.(*ssh.Certificate)
}

const skew = 30 * time.Second

func TestSlicesAreSignedAnewAndNoneOutlivesTheGrant(t *testing.T) {
	s := newScene(t)
	a, ctx, key := s.replica("a"), t.Context(), s.publicKey()
	rec := s.consent(a, bastion)
	rec.EndsAt = start.Add(25 * time.Minute)
	previous := ""
	for i, want := range []time.Duration{10 * time.Minute, 10 * time.Minute, 9 * time.Minute} {
		credential, err := a.Issue(ctx, rec, s.sshClaim(key))
		s.must(err)
		cert := certificate(t, credential)
		until := s.clock.Now().Add(want)
		if int64(cert.ValidBefore) != until.Unix() || !credential.Until.Equal(until) || len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != "deploy" {
			t.Errorf("slice %d: certificate until %d for %v, credential until %s", i, cert.ValidBefore, cert.ValidPrincipals, credential.Until)
		}
		if rec.State != grants.Delivered || rec.Gen != 1 || rec.WrapAccessor != "" || rec.Accessor == previous || !rec.NotAfter.Equal(until.Add(skew)) {
			t.Errorf("slice %d: record %+v", i, rec)
		}
		if previous != "" && s.alive(previous) {
			t.Errorf("slice %d: the token of the one before lives", i)
		}
		previous = rec.Accessor
		s.clock.Advance(8 * time.Minute)
	}
	if _, err := a.Issue(ctx, rec, s.sshClaim(key)); err != nil {
		t.Log("the last minute:", err)
	}
	s.revoking(a, rec)
	if _, err := a.Issue(ctx, rec, s.sshClaim(key)); err == nil {
		t.Error("a slice was signed for a grant that is ending")
	}
	err := a.Kill(ctx, rec, s.clock.Now())
	wants(t, err, world.ErrStillAlive)
	if !strings.Contains(err.Error(), rec.NotAfter.Format(time.RFC3339)) {
		t.Errorf("it does not say when it dies: %v", err)
	}
	s.clock.Advance(rec.NotAfter.Sub(s.clock.Now()))
	s.must(a.Kill(ctx, rec, s.clock.Now()))
	if rec.NotAfter.After(rec.EndsAt.Add(skew)) {
		t.Errorf("the last certificate ends at %s, the grant at %s", rec.NotAfter, rec.EndsAt)
	}
}

// TestALostCertificateIsWaitedFor: nobody knows the certificate, so the record
// has to have been right before it was signed.
func TestALostCertificateIsWaitedFor(t *testing.T) {
	for name, when := range map[string]sandbox.When{"never sent": sandbox.Before, "answer lost": sandbox.LostReply} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			a, key := s.replica("a"), s.publicKey()
			rec := s.consent(a, bastion)
			s.vault.Order(sandbox.Fault{Path: "ssh/sign/", When: when})
			_, err := a.Issue(t.Context(), rec, s.sshClaim(key))
			wants(t, err, world.ErrAmbiguous)
			stored := s.record(a)
			for _, e := range s.vault.Events() {
				if e.Kind == vault.Signed && e.Ends.After(stored.NotAfter) {
					t.Errorf("a certificate lives until %s, the record says %s", e.Ends, stored.NotAfter)
				}
			}
			if stored.State != grants.Reserved || stored.NotAfter.Before(start.Add(bastion.Slice)) {
				t.Errorf("stored %+v", stored)
			}
			// The next slice follows at once and forgets nothing.
			lost, token := stored.NotAfter, stored.Accessor
			if _, err := a.Issue(t.Context(), stored, s.sshClaim(key)); err != nil {
				t.Fatal(err)
			}
			if stored.NotAfter.Before(lost) || stored.Gen != 1 {
				t.Errorf("not after %s, was %s; generation %d", stored.NotAfter, lost, stored.Gen)
			}
			if s.alive(token) {
				t.Error("the lost slice's token could still sign")
			}
		})
	}
}

func TestASliceTokenThatIsNotOursStopsTheNextSlice(t *testing.T) {
	s := newScene(t)
	a, key := s.replica("a"), s.publicKey()
	rec := s.consent(a, bastion)
	if _, err := a.Issue(t.Context(), rec, s.sshClaim(key)); err != nil {
		t.Fatal(err)
	}
	rec.Accessor = s.mint("auth/token/create", values{"policies": "default"})
	if _, err := a.Issue(t.Context(), rec, s.sshClaim(key)); err == nil || !s.alive(rec.Accessor) {
		t.Errorf("got %v; the foreign token lives: %v", err, s.alive(rec.Accessor))
	}
}

func TestOnlyAPlainPublicKeyIsSigned(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	rec := s.consent(a, bastion)
	credential, err := a.Issue(t.Context(), rec, s.sshClaim(s.publicKey()))
	s.must(err)
	for name, key := range map[string]string{
		"nothing": "", "not a key": "ssh-ed25519 nonsense", "a certificate": credential.SignedKey,
		"two keys": s.publicKey() + s.publicKey(),
	} {
		s.vault.ResetCalls()
		if _, err := a.Issue(t.Context(), rec, s.sshClaim(key)); err == nil {
			t.Errorf("%s was signed", name)
		}
		for _, c := range s.vault.Calls() {
			if strings.Contains(c.Path, "token/create") {
				t.Errorf("%s: a token was minted", name)
			}
		}
	}
}
