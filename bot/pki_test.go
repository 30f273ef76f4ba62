package bot_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// paymentsAPI is a resource that is reached by a certificate.
const paymentsAPI = `kind: Resource
metadata: {name: payments-api}
spec:
  owners: [payments]
  vault: {engine: pki, path: pki/sign/payments-api, policy: tac-payments-api, principals: [payments.acme.test], slice: 10m}
---
kind: AccessPolicy
metadata: {name: payments-api}
spec:
  resource: payments-api
  auto_approve: {conditions: [{role: [on-call]}]}
`

// newPKITown is a town whose Vault is an authority too.
func newPKITown(t *testing.T) *town {
	t.Helper()
	tn := newTown(t, map[string]string{"policies/payments-api.yaml": paymentsAPI})
	admin, err := tn.VaultAdmin()
	tn.must(err)
	for _, w := range []struct {
		path string
		data map[string]any
	}{
		{"sys/mounts/pki", map[string]any{"type": "pki"}},
		{"pki/root/generate/internal", map[string]any{"common_name": "acme root", "key_type": "ec"}},
		{"pki/roles/payments-api", map[string]any{
			"allowed_domains": "payments.acme.test", "allow_bare_domains": true, "key_type": "any", "max_ttl": "10m",
			"use_csr_common_name": false, "use_csr_sans": false, "no_store": true,
		}},
		{"sys/policies/acl/tac-payments-api", map[string]any{"policy": `path "pki/sign/payments-api" { capabilities = ["update"] }`}},
	} {
		_, err := admin.Logical().WriteWithContext(t.Context(), w.path, w.data)
		tn.must(err)
	}
	return tn
}

// tlsClient is somebody with a key of their own.
type tlsClient struct{ csr string }

func newTLSClient(t *testing.T) tlsClient {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return tlsClient{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
}

func (c tlsClient) claims(r *demo.Replica, t *testing.T, id grants.ID) (*world.Credential, error) {
	got, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own", CSR: c.csr})
	return got, err
}

func (tn *town) certificate(c *world.Credential) *x509.Certificate {
	tn.t.Helper()
	block, _ := pem.Decode([]byte(c.SignedKey))
	cert, err := x509.ParseCertificate(block.Bytes)
	tn.must(err)
	return cert
}

// kept is what Vault holds of a grant, read past our own code.
type kept struct {
	Phase        string    `json:"phase"`
	Gen          int       `json:"gen"`
	FailedIssues int       `json:"failed_issues"`
	NotAfter     time.Time `json:"not_after"`
}

func (tn *town) kept(id grants.ID) (k kept) {
	tn.t.Helper()
	admin, err := tn.VaultAdmin()
	tn.must(err)
	secret, err := admin.Logical().ReadWithContext(tn.t.Context(), "tac/data/grants/"+string(id))
	tn.must(err)
	data, err := json.Marshal(secret.Data["data"])
	tn.must(err)
	tn.must(json.Unmarshal(data, &k))
	return k
}

// signings returns the certificates that Vault signed, and fails the test
// where one was signed with a token that no record named before.
func (tn *town) signings() []vault.Event {
	tn.t.Helper()
	var out []vault.Event
	recorded := map[string]bool{}
	for _, e := range tn.Vault.Events() {
		if accessor, ok := e.Data["accessor"].(string); ok && e.Kind == vault.KVWritten {
			recorded[accessor] = true
		}
		if e.Kind == vault.Signed {
			out = append(out, e)
			if !recorded[e.Accessor] {
				tn.t.Error("a certificate was signed before its accessor was recorded (invariant I4)")
			}
		}
	}
	return out
}

func TestACertificateIsSignedAgainUntilItsGrantIsDropped(t *testing.T) {
	tn := newPKITown(t)
	r, alice := tn.replica("one"), newTLSClient(t)
	id := tn.ask(r, "alice", "payments-api", 2*time.Hour)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	_, _, err := r.Bot.Claim(t.Context(), person("alice"), id, bot.ClaimAsk{Key: "a claim key of one's own", PublicKey: sshKey})
	tn.refusedAs(err, bot.CodeInvalid, "payments-api is reached by a certificate: a claim sends a request for one, as csr")
	_, err = tlsClient{sshKey}.claims(r, t, id)
	tn.refusedAs(err, bot.CodeInvalid, "the claim needs one certificate request, in PEM and with nothing beside it")
	if len(tn.alerts) > 0 || len(tn.signings()) > 0 {
		t.Errorf("a claimant's mistake signed %v and woke somebody: %v", tn.signings(), tn.alerts)
	}
	for i := range 3 {
		got, err := alice.claims(r, t, id)
		tn.must(err)
		cert, rec := tn.certificate(got), tn.kept(id)
		if want := tn.Clock.Now().Add(10 * time.Minute); cert.Subject.CommonName != "payments.acme.test" || !cert.NotAfter.Equal(want) || !got.Until.Equal(want) {
			t.Errorf("slice %d is for %s until %s; want until %s", i, cert.Subject, cert.NotAfter, want)
		}
		if rec.Gen != 1 || rec.FailedIssues != 0 || rec.Phase != string(grants.Delivered) || rec.NotAfter.Before(cert.NotAfter) {
			t.Errorf("slice %d: record %+v", i, rec)
		}
		tn.phase(r, id, grants.PhaseActive)
		tn.Clock.Advance(7 * time.Minute)
		tn.must(tn.sync(r))
	}
	_, err = r.Bot.Drop(t.Context(), person("alice"), id)
	tn.must(err)
	if _, err := alice.claims(r, t, id); err == nil {
		t.Error("a dropped grant was signed for")
	}
	signed := tn.signings()
	last := signed[len(signed)-1].Ends
	if len(signed) != 3 || tn.stepped(grants.Retire) != 0 {
		t.Errorf("%d certificates, %d retirements", len(signed), tn.stepped(grants.Retire))
	}
	tn.closesOnlyAfter(r, id, last)
	if v := tn.see(r, id); v.Outcome != grants.OutcomeDropped || tn.onMain(id) {
		t.Errorf("closed as %+v; on main: %v", v, tn.onMain(id))
	}
}

func (tn *town) refusedAs(err error, code bot.Code, message string) {
	tn.t.Helper()
	var refusal *bot.Error
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Message != message {
		tn.t.Errorf("got %v, want %s: %s", err, code, message)
	}
}

// closesOnlyAfter sweeps on until the grant is closed, which must not be
// before the last certificate has ended.
func (tn *town) closesOnlyAfter(r *demo.Replica, id grants.ID, last time.Time) {
	tn.t.Helper()
	for range 40 {
		_ = tn.sync(r) // what cannot be proved dead yet is an error each time
		v := tn.see(r, id)
		if v.Phase == grants.PhaseClosed {
			if tn.Clock.Now().Before(last) {
				tn.t.Errorf("closed at %s, and a certificate lives until %s", tn.Clock.Now(), last)
			}
			return
		}
		if tn.Clock.Now().Before(last) && !tn.onMain(id) {
			tn.t.Errorf("the file is gone at %s, and a certificate lives until %s", tn.Clock.Now(), last)
		}
		tn.Clock.Advance(30 * time.Second)
	}
	tn.t.Fatalf("never closed; the last certificate ended at %s, it is %s", last, tn.Clock.Now())
}

// TestAReplicaThatDiesInASliceLeavesNothingThatOutlivesTheRecord loses every
// call of a claim, each before it arrives and after it was done. The replica
// is gone then; another one signs the next slice, in the same generation where
// it can, and closes only after the last certificate that anybody could have.
func TestAReplicaThatDiesInASliceLeavesNothingThatOutlivesTheRecord(t *testing.T) {
	calm := newPKITown(t)
	calls := calm.dyingSlice(func() bool { return false }, nil)
	if len(calls) < 6 {
		t.Fatalf("a claim made %d calls: that cannot be all", len(calls))
	}
	for n, c := range calls {
		if n%everyNthCrash != 0 {
			continue
		}
		for name, when := range map[string]sandbox.When{" never arrived": sandbox.Before, " reply lost": sandbox.LostReply} {
			if c.Method == http.MethodGet && when == sandbox.LostReply {
				continue // for a read it is all the same
			}
			t.Run(c.Method+" "+c.Path+name, func(t *testing.T) {
				t.Parallel()
				tn := newPKITown(t)
				var struck atomic.Bool
				tn.dyingSlice(struck.Load, &sandbox.Fault{Skip: n, When: when, Do: func(*http.Request) { struck.Store(true) }})
			})
		}
	}
}

// dyingSlice plays a life in which the second slice meets the fault, and
// returns the calls to Vault that this slice made.
func (tn *town) dyingSlice(lost func() bool, fault *sandbox.Fault) []sandbox.Call {
	t := tn.t
	t.Helper()
	first, second, alice := tn.replica("first"), tn.replica("second"), newTLSClient(t)
	id := tn.ask(first, "alice", "payments-api", time.Hour)
	tn.settle(first)
	_, err := alice.claims(first, t, id)
	tn.must(err)
	tn.Clock.Advance(30 * time.Second) // the first slice's token lives yet
	tn.Vault.ResetCalls()
	if fault != nil {
		tn.Vault.Order(*fault)
	}
	_, err = alice.claims(first, t, id)
	calls := tn.Vault.Calls()
	if err != nil && !lost() {
		t.Fatal(err)
	}
	now := first
	if lost() {
		now = second
	}
	for range 12 {
		if _, err = alice.claims(now, t, id); err == nil {
			break
		}
		tn.Clock.Advance(30 * time.Second)
		_ = tn.sync(now)
	}
	tn.must(err)
	if rec := tn.kept(id); rec.Gen != 1 || rec.FailedIssues != 0 {
		t.Errorf("generation %d, %d failed issues", rec.Gen, rec.FailedIssues)
	}
	last := time.Time{}
	for _, e := range tn.signings() {
		if e.Ends.After(last) {
			last = e.Ends
		}
	}
	if rec := tn.kept(id); rec.NotAfter.Before(last) {
		t.Errorf("the record says %s, and a certificate lives until %s", rec.NotAfter, last)
	}
	_, err = now.Bot.Drop(t.Context(), person("alice"), id)
	tn.must(err)
	tn.closesOnlyAfter(now, id, last)
	return calls
}
