package vaultlease_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// takes has a call of Vault's take a while, before it does anything.
func (s *scene) takes(path string, d time.Duration) {
	s.vault.Order(sandbox.Fault{Path: path, When: sandbox.Pass, Do: func(*http.Request) { s.clock.Advance(d) }})
}

// TestALateCertificateDoesNotOutliveItsGrant has time pass at each point of
// the sequence, in the last slice of a grant.
func TestALateCertificateDoesNotOutliveItsGrant(t *testing.T) {
	const left = 5 * time.Minute
	for name, tt := range map[string]struct {
		path  string
		takes time.Duration
		late  time.Duration // our clock, behind Vault's
		want  string        // the refusal; empty: it is signed, and to the end of the grant
	}{
		"in time":                       {"auth/token/create/", 0, 0, ""},
		"a slow mint":                   {"auth/token/create/", 25 * time.Second, 0, ""},
		"a slow record":                 {"tac/data/grants/", 25 * time.Second, 0, ""},
		"our clock late":                {"auth/token/create/", 0, 20 * time.Second, ""},
		"our clock late, and slow":      {"auth/token/create/", 25 * time.Second, 20 * time.Second, ""},
		"a second in the engine":        {"/sign/", time.Second, 0, "later"},
		"ten seconds in the engine":     {"/sign/", 10 * time.Second, 0, "it would outlive the grant by 10s"},
		"half a minute, and clock late": {"/sign/", 25 * time.Second, 20 * time.Second, "it would outlive the grant by 25s"},
	} {
		for _, target := range []grants.Target{bastion, payments} {
			t.Run(name+", "+target.Engine, func(t *testing.T) {
				s := newPKIScene(t)
				a := s.replicaWith("a", func(c *vaultlease.Config) {
					c.Now = func() time.Time { return s.clock.Now().Add(-tt.late) }
				})
				rec := s.consent(a, target)
				rec.EndsAt = start.Add(left)
				s.takes(tt.path, tt.takes)
				credential, err := a.Issue(t.Context(), rec, world.IssueClaim{
					Holder: "holder-1", PublicKey: s.publicKey(), CSR: s.csr(), Now: start.Add(-tt.late),
				})
				ends := s.signedUntil()
				switch {
				case tt.want == "later": // as much as the clocks' own seconds leave open
					if err != nil || ends.After(rec.EndsAt.Add(time.Second)) {
						t.Errorf("it ends %s after the grant, error %v", ends.Sub(rec.EndsAt), err)
					}
				case tt.want == "":
					if err != nil || !ends.Equal(rec.EndsAt) || !credential.Until.Equal(rec.EndsAt) {
						t.Errorf("it ends %s after the grant, error %v", ends.Sub(rec.EndsAt), err)
					}
				case credential != nil || err == nil || !strings.Contains(err.Error(), tt.want):
					t.Errorf("got %+v, %v", credential, err)
				}
				if stored := s.record(a); stored.NotAfter.Before(ends) {
					t.Errorf("the record is sure of %s, and it ends %s", stored.NotAfter, ends)
				}
			})
		}
	}
}

// signedUntil is the end of the one certificate that was signed.
func (s *scene) signedUntil() (ends time.Time) {
	s.t.Helper()
	for _, e := range s.vault.Events() {
		if e.Kind == vault.Signed {
			ends = e.Ends
		}
	}
	if ends.IsZero() {
		s.t.Fatal("nothing was signed")
	}
	return ends
}
