package vault_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// TestWhatOnlyTheSandboxCanBeMadeToDo holds what its hooks do. What is said
// of Vault itself stands in vaultclaims, where the real one is held to it too.
func TestWhatOnlyTheSandboxCanBeMadeToDo(t *testing.T) {
	claims := []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"a lease that lost its token index survives revoke-accessor", lostIndex},
		{"a killed server leaves the user that it was creating, without a lease", killedInCreds},
		{"a lost reply to creds leaves a live lease that nobody knows the name of", lostReply},
		{"the client's own retries mint a second credential", sdkRetries},
		{"a records mount that is slow refuses its first calls", slowMount},
		{"a standby without a leader answers 500, and so does one whose leader is gone", lonelyStandby},
		{"a server that forwards takes the header", forwarding},
	}
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) { c.test(t, newWorld(t)) })
	}
}

// heldCreds starts a creds call that waits in the database.
func heldCreds(w *world, auth *api.SecretAuth) (release func(), answer <-chan *api.Secret) {
	release = w.db.holdCalls("create")
	out := make(chan *api.Secret, 1)
	c := w.client(auth.ClientToken)
	go func() {
		secret, _ := c.Logical().Read("database/creds/orders-ro")
		out <- secret
	}()
	<-w.db.inside
	return release, out
}

func lostIndex(t *testing.T, w *world) {
	auth, secret := w.creds("1h")
	if !w.vault.ForgetTokenIndex(secret.LeaseID) {
		t.Fatal("no such lease")
	}
	w.revokeAccessor(auth.Accessor)
	w.clock.Advance(time.Second)
	w.equal("users", w.db.count(), 1)
	w.clock.Advance(300 * time.Second)
	w.equal("users", w.db.count(), 0)
}

func killedInCreds(t *testing.T, w *world) {
	auth := w.mint("1h", nil)
	release, answer := heldCreds(w, auth)
	w.vault.Kill()
	release()
	if secret := <-answer; secret != nil {
		t.Fatalf("a killed server answered %+v", secret)
	}
	w.vault.Unseal()
	w.clock.Advance(2 * time.Hour)
	w.equal("leases", len(w.vault.Leases()), 0)
	w.equal("users", w.db.count(), 1)
}

func lostReply(t *testing.T, w *world) {
	auth := w.mint("1h", nil)
	w.vault.Order(sandbox.Fault{Path: "database/creds", When: sandbox.LostReply})
	if _, err := w.client(auth.ClientToken).Logical().Read("database/creds/orders-ro"); err == nil {
		t.Fatal("a reply came")
	}
	w.equal("leases of the accessor", w.vault.Leases()[0].Accessor, auth.Accessor)
	w.revokeAccessor(auth.Accessor)
	w.until("the user is dropped", func() bool { return w.db.count() == 0 })
}

func sdkRetries(_ *testing.T, w *world) {
	auth := w.mint("1h", nil)
	w.vault.Order(sandbox.Fault{Path: "database/creds", When: sandbox.LostReply})
	c := w.client(auth.ClientToken)
	c.SetMaxRetries(1)
	c.SetMinRetryWait(time.Millisecond)
	w.read(c, "database/creds/orders-ro")
	w.equal("users", w.db.count(), 2)
}

func slowMount(_ *testing.T, w *world) {
	w.vault.SlowMounts(2)
	w.ok(w.root.Sys().Mount("slow", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}))
	for range 2 {
		_, err := w.root.Logical().Write("slow/config", m{"cas_required": true})
		w.refused(err, 400, "Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly.")
	}
	w.write(w.root, "slow/config", m{"cas_required": true})
}

func lonelyStandby(_ *testing.T, w *world) {
	w.vault.SetStandby(true)
	_, err := w.bot.Logical().Read("tac/data/x")
	w.refused(err, 500, "local node not active")
	w.ok(w.vault.SetLeader("http://127.0.0.1:1"))
	_, err = w.bot.Logical().Read("tac/data/x")
	w.refused(err, 500, "connection refused")
	if err := w.vault.SetLeader("http://%"); err == nil {
		w.t.Fatal("an address that is none was taken")
	}
}

func forwarding(_ *testing.T, w *world) {
	c := w.client(w.bot.Token())
	c.SetHeaders(http.Header{"X-Vault-Forward": {"active-node"}})
	_, err := c.Logical().Write("sys/leases/revoke", m{"lease_id": "none", "sync": true})
	w.refused(err, 400, "disabled in configuration")
	w.vault.AllowForwarding(true)
	w.write(c, "sys/leases/revoke", m{"lease_id": "none", "sync": true})
}
