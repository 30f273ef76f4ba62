package vault_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"golang.org/x/crypto/ssh"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
)

func (w *world) wrap(ttl string, data m) (*api.Secret, error) {
	c := w.client(w.bot.Token())
	c.SetWrappingLookupFunc(func(string, string) string { return ttl })
	return c.Logical().Write("sys/wrapping/wrap", data)
}

func (w *world) record(cas int, data m) error {
	_, err := w.bot.Logical().Write("tac/data/grants/g1", m{"options": m{"cas": cas}, "data": data})
	return err
}

// TestIssueAndRevokeSequences plays vault.md 2.5 and 2.6 with the bot's own
// AppRole token, and then reads the order of what took effect.
func TestIssueAndRevokeSequences(t *testing.T) {
	w := newWorld(t)
	if s, err := w.bot.Logical().Read("tac/data/grants/g1"); err != nil || s != nil {
		t.Fatalf("an absent record: %v %v", s, err)
	}
	auth := w.mint("2h", nil)
	w.ok(w.record(0, m{"phase": "RESERVED", "accessor": auth.Accessor}))
	secret := w.read(w.client(auth.ClientToken), "database/creds/orders-ro")
	wrapped, err := w.wrap("300s", m{"username": secret.Data["username"], "password": secret.Data["password"]})
	w.ok(err)
	wa := wrapped.WrapInfo.Accessor
	w.ok(w.record(1, m{"phase": "ISSUED", "lease_id": secret.LeaseID, "wrap_accessor": wa}))
	w.write(w.bot, "sys/leases/renew", m{"lease_id": secret.LeaseID, "increment": 7200})
	opened, err := w.client("").Logical().Unwrap(wrapped.WrapInfo.Token)
	w.ok(err)
	w.equal("the password arrived", opened.Data["password"], secret.Data["password"])
	w.ok(w.record(2, m{"phase": "DELIVERED"}))

	w.ok(w.record(3, m{"phase": "REVOKING"}))
	looked := w.write(w.bot, "auth/token/lookup-accessor", m{"accessor": auth.Accessor})
	w.equal("meta", looked.Data["meta"].(m)["grant"], "g1")
	w.revokeAccessor(auth.Accessor)
	w.equal("the opened wrap is gone", w.revokeAccessor(wa).Warnings, []string{"No token found with this accessor"})
	w.write(w.bot, "sys/leases/revoke", m{"lease_id": secret.LeaseID, "sync": true})
	_, err = w.bot.Logical().Write("auth/token/lookup-accessor", m{"accessor": auth.Accessor})
	w.refused(err, 400, "invalid accessor")
	_, err = w.bot.Logical().Write("sys/leases/lookup", m{"lease_id": secret.LeaseID})
	w.refused(err, 400, "invalid lease")
	w.ok(w.record(4, m{"phase": "REVOKED"}))
	w.equal("users", w.db.count(), 0)
	w.equal("record", w.vault.Records("tac"), []vault.Record{{Path: "grants/g1", Version: 5, Data: m{"phase": "REVOKED"}}})
	accessorRecordedFirst(t, w.vault.Events())
}

// accessorRecordedFirst is invariant I4, checked on the event log.
func accessorRecordedFirst(t *testing.T, events []vault.Event) {
	t.Helper()
	recorded, leases, order := map[string]bool{}, 0, 0
	for _, e := range events {
		if e.Order != order+1 {
			t.Fatalf("event %d follows %d", e.Order, order)
		}
		order = e.Order
		switch e.Kind {
		case vault.KVWritten:
			if a, ok := e.Data["accessor"].(string); ok {
				recorded[a] = true
			}
		case vault.LeaseCreated:
			leases++
			if !recorded[e.Accessor] {
				t.Fatalf("lease %s exists before its accessor is recorded", e.LeaseID)
			}
		}
	}
	if leases == 0 {
		t.Fatal("no lease in the log")
	}
}

func TestSSHCertificates(t *testing.T) {
	w := newWorld(t)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	w.ok(err)
	key, err := ssh.NewPublicKey(public)
	w.ok(err)
	line := string(ssh.MarshalAuthorizedKey(key))
	auth := w.mint("5m", m{"policies": "tac-ssh-bastion"})
	c := w.client(auth.ClientToken)
	signed := w.write(c, "ssh/sign/bastion", m{"public_key": line, "valid_principals": "deploy", "ttl": "10m"})
	w.equal("no lease", signed.LeaseID, "")
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(signed.Data["signed_key"].(string)))
	w.ok(err)
	cert := parsed.(*ssh.Certificate)
	w.equal("window", []uint64{cert.ValidAfter, cert.ValidBefore}, []int64{start.Add(-30 * time.Second).Unix(), start.Add(10 * time.Minute).Unix()})
	w.equal("serial", fmt.Sprintf("%x", cert.Serial), signed.Data["serial_number"])
	w.equal("extensions", cert.Extensions, map[string]string{"permit-pty": ""})
	raw, err := w.client("").Logical().ReadRaw("ssh/public_key")
	w.ok(err)
	body, err := io.ReadAll(raw.Body)
	w.ok(err)
	ca, _, _, _, err := ssh.ParseAuthorizedKey(body)
	w.ok(err)
	checker := ssh.CertChecker{
		Clock:           w.clock.Now,
		IsUserAuthority: func(k ssh.PublicKey) bool { return string(k.Marshal()) == string(ca.Marshal()) },
	}
	w.ok(checker.CheckCert("deploy", cert))
}

func TestTransitSignaturesVerifyOffline(t *testing.T) {
	w := newWorld(t)
	text := []byte("tac/grant/v1\nkind: AccessGrant\n")
	input := base64.StdEncoding.EncodeToString(text)
	signature := w.write(w.bot, "transit/sign/tac-attest", m{"input": input}).Data["signature"].(string)
	key := w.read(w.root, "transit/keys/tac-attest").Data["keys"].(m)["1"].(m)["public_key"].(string)
	public, err := base64.StdEncoding.DecodeString(key)
	w.ok(err)
	encoded, ok := strings.CutPrefix(signature, "vault:v1:")
	raw, err := base64.StdEncoding.DecodeString(encoded)
	w.ok(err)
	if !ok || !ed25519.Verify(public, text, raw) {
		t.Fatalf("%q does not verify offline", signature)
	}
	w.write(w.root, "transit/keys/tac-attest/rotate", nil)
	w.equal("after a rotation", w.write(w.bot, "transit/verify/tac-attest", m{"input": input, "signature": signature}).Data["valid"], true)
	other := base64.StdEncoding.EncodeToString([]byte("other"))
	w.equal("another text", w.write(w.bot, "transit/verify/tac-attest", m{"input": other, "signature": signature}).Data["valid"], false)
	_, err = w.bot.Logical().Read("transit/keys/tac-attest")
	w.refused(err, 403, "permission denied")
}

func TestARunningClockEndsThingsByItself(t *testing.T) {
	w := newWorldAt(t, sandbox.NewRunningClock(start))
	w.creds("1s")
	w.until("the token, its lease and its user are gone", func() bool { return w.db.count() == 0 && len(w.vault.Leases()) == 0 })
}

func TestAppRole(t *testing.T) {
	w := newWorld(t)
	self, err := w.bot.Auth().Token().LookupSelf()
	w.ok(err)
	w.equal("policies", self.Data["policies"], []string{"tac-bot"})
	_, err = w.client("").Logical().Write("auth/approle/login", m{"role_id": "x", "secret_id": "y"})
	w.refused(err, 400, "invalid role or secret ID")
	w.clock.Advance(50 * time.Minute)
	renewed, err := w.bot.Auth().Token().RenewSelf(3600)
	w.ok(err)
	w.equal("renewed", renewed.Auth.LeaseDuration, 3600)
	for range 23 {
		w.clock.Advance(59 * time.Minute)
		renewed, err = w.bot.Auth().Token().RenewSelf(3600)
		w.ok(err)
	}
	w.equal("what 24h after the login leave of it", renewed.Auth.LeaseDuration, 33*60)
	w.clock.Advance(33 * time.Minute)
	_, err = w.bot.Auth().Token().LookupSelf()
	w.refused(err, 403, "invalid token")
}
