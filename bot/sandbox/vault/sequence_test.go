package vault_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
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

func TestWrapping(t *testing.T) {
	claims := []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"a wrapping ttl outside the policy, and none, are 403 and not clamped", func(_ *testing.T, w *world) {
			for _, ttl := range []string{"29s", "601s", ""} {
				_, err := w.wrap(ttl, m{"a": "b"})
				w.refused(err, 403, "permission denied")
			}
			for _, ttl := range []string{"30s", "10m"} {
				_, err := w.wrap(ttl, m{"a": "b"})
				w.ok(err)
			}
		}},
		{"a second unwrap is 400", func(_ *testing.T, w *world) {
			s, err := w.wrap("60s", m{"a": "b"})
			w.ok(err)
			_, err = w.client(s.WrapInfo.Token).Logical().Unwrap("")
			w.ok(err)
			_, err = w.client(s.WrapInfo.Token).Logical().Unwrap("")
			w.refused(err, 400, "wrapping token is not valid or does not exist")
		}},
		{"revoking the wrap's accessor kills the wrap", func(_ *testing.T, w *world) {
			s, err := w.wrap("60s", m{"a": "b"})
			w.ok(err)
			w.write(w.bot, "auth/token/lookup-accessor", m{"accessor": s.WrapInfo.Accessor})
			w.revokeAccessor(s.WrapInfo.Accessor)
			_, err = w.client("").Logical().Unwrap(s.WrapInfo.Token)
			w.refused(err, 400, "wrapping token is not valid")
		}},
		{"a wrap ends with its ttl", func(_ *testing.T, w *world) {
			s, err := w.wrap("60s", m{"a": "b"})
			w.ok(err)
			w.clock.Advance(time.Minute)
			_, err = w.bot.Logical().Write("auth/token/lookup-accessor", m{"accessor": s.WrapInfo.Accessor})
			w.refused(err, 400, "invalid accessor")
		}},
		{"unwrapping after the lease was revoked still gives the dead credentials", func(t *testing.T, w *world) {
			auth := w.mint("1h", nil)
			c := w.client(auth.ClientToken)
			c.SetWrappingLookupFunc(func(string, string) string { return "60s" })
			s := w.read(c, "database/creds/orders-ro")
			if s.LeaseID != "" || s.Data != nil || s.WrapInfo.CreationPath != "database/creds/orders-ro" {
				t.Fatalf("a wrapped answer shows %+v", s)
			}
			w.revokeAccessor(auth.Accessor)
			w.until("the user is dropped", func() bool { return w.db.count() == 0 })
			opened, err := w.client("").Logical().Unwrap(s.WrapInfo.Token)
			w.ok(err)
			w.equal("a lease id inside", opened.LeaseID != "", true)
			w.equal("a password inside", opened.Data["password"] != nil, true)
		}},
		{"wrapping a token tells its accessor and not the token", func(t *testing.T, w *world) {
			c := w.client(w.bot.Token())
			c.SetWrappingLookupFunc(func(string, string) string { return "60s" })
			s := w.write(c, "auth/token/create/tac", m{"policies": []string{"tac-db-orders-ro"}, "ttl": "1h"})
			if s.Auth != nil || s.WrapInfo.WrappedAccessor == "" {
				t.Fatalf("got %+v", s)
			}
			w.write(w.bot, "auth/token/lookup-accessor", m{"accessor": s.WrapInfo.WrappedAccessor})
		}},
	}
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t)) })
	}
}

func TestKVRecordsAreCompareAndSwap(t *testing.T) {
	w := newWorld(t)
	_, err := w.bot.Logical().Write("tac/data/grants/g1", m{"data": m{"a": "b"}})
	w.refused(err, 400, "check-and-set parameter required for this call")
	w.ok(w.record(0, m{"n": 1}))
	w.refused(w.record(0, m{"n": 2}), 400, "check-and-set parameter did not match the current version")
	_, err = w.bot.Logical().Delete("tac/data/grants/g1")
	w.refused(err, 403, "permission denied")
	_, err = w.root.Logical().Delete("tac/data/grants/g1")
	w.ok(err)
	gone, err := w.bot.Logical().Read("tac/data/grants/g1")
	w.ok(err)
	w.equal("soft-deleted data", gone.Data["data"], nil)
	w.equal("its version", gone.Data["metadata"].(m)["version"], 1)
	raw, err := w.bot.Logical().ReadRaw("tac/data/grants/g1")
	w.equal("its status", raw.StatusCode, 404)
	w.equal("its error", err != nil, true)
	w.refused(w.record(0, m{"n": 2}), 400, "did not match")
	w.ok(w.record(1, m{"n": 2}))
	_, err = w.root.Logical().Delete("tac/metadata/grants/g1")
	w.ok(err)
	w.ok(w.record(0, m{"n": "the ABA that only a metadata delete allows"}))
	list, err := w.bot.Logical().List("tac/metadata/grants")
	w.ok(err)
	w.equal("keys", list.Data["keys"], []string{"g1"})
	top, err := w.bot.Logical().List("tac/metadata")
	w.ok(err)
	w.equal("folders", top.Data["keys"], []string{"grants/"})
	helper, err := w.bot.KVv2("tac").Get(t.Context(), "grants/g1")
	w.ok(err)
	w.equal("the client's own helper", helper.VersionMetadata.Version, 1)
	_, err = w.bot.KVv2("tac").Put(t.Context(), "grants/g1", m{"n": 3}, api.WithCheckAndSet(1))
	w.ok(err)
}

func TestOfFiftyRacersExactlyOneCreatesEachKey(t *testing.T) {
	w := newWorld(t)
	const racers, keys = 50, 4
	var won [keys]atomic.Int32
	var wg sync.WaitGroup
	for range racers {
		c := w.client(w.bot.Token())
		wg.Go(func() {
			for k := range keys {
				_, err := c.Logical().Write(fmt.Sprintf("tac/data/race/%d", k), m{"options": m{"cas": 0}, "data": m{"x": "y"}})
				if err == nil {
					won[k].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for k := range won {
		w.equal(fmt.Sprintf("winners of key %d", k), won[k].Load(), 1)
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
	for want, body := range map[string]m{
		"ttl is larger than maximum allowed 600":             {"public_key": line, "valid_principals": "deploy", "ttl": "601s"},
		"root is not a valid value for valid_principals":     {"public_key": line, "valid_principals": "root"},
		"empty valid principals not allowed by role":         {"public_key": line},
		"cert_type 'host' is not allowed by role":            {"public_key": line, "valid_principals": "deploy", "cert_type": "host"},
		"extensions [permit-port-forwarding] are not on":     {"public_key": line, "valid_principals": "deploy", "extensions": m{"permit-port-forwarding": ""}},
		"failed to parse public_key as SSH key":              {"public_key": "ssh-ed25519 AAAA", "valid_principals": "deploy"},
		"missing public_key":                                 {"valid_principals": "deploy"},
		"Field validation failed: error converting input ye": {"public_key": line, "valid_principals": "deploy", "ttl": "years"},
	} {
		_, err := c.Logical().Write("ssh/sign/bastion", body)
		w.refused(err, 400, want)
	}
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
