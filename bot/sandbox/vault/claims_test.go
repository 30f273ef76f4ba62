package vault_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
)

var errDown = errors.New("dial tcp 10.0.0.5:5432: connect: connection refused")

// TestMeasuredFacts holds each fact of the measured Vault as one claim.
func TestMeasuredFacts(t *testing.T) {
	claims := []struct {
		name string
		test func(t *testing.T, w *world)
	}{
		{"a creds call in flight when its token is revoked answers 200 and its lease lives default_ttl", inFlightRace},
		{"a creds call in flight when its token expires leaves a lease that outlives it", inFlightExpiry},
		{"revoke-accessor answers 204 with the database down and the user goes when it is back", lazyRevocation},
		{"six failed attempts make a lease irrevocable, and a synchronous revocation still ends it", irrevocable},
		{"a synchronous revocation with the database down is 400 and queues nothing", syncRefused},
		{"revoke-accessor hangs behind a synchronous revocation that hangs", hangingRevocation},
		{"revoke-accessor before a hanging synchronous revocation answers at once", accessorFirst},
		{"an unknown lease revokes with 204 and an unknown accessor with 200 and a warning", revokeUnknown},
		{"lookups of what is gone are exactly 400 invalid accessor and 400 invalid lease", lookupGone},
		{"a queued lease has a negative ttl in its lookup", queuedLookup},
		{"a token with one use is told that its leased credentials were revoked", oneUse},
		{"an over-long token ttl is clamped with a warning and the lookup shows what was asked for", tokenClamp},
		{"an unknown policy is 200 with a warning", unknownPolicy},
		{"a token for a policy outside the glob is 400", outsideGlob},
		{"the bot can make no orphan, periodic or custom-id token, nor use another path", botCannot},
		{"a renewal moves VALID UNTIL to the end and 5 s, past the token's own end", renewalMovesUser},
		{"a renewal over max_ttl is capped with a warning", renewalCapped},
		{"a renewal of an expired lease, and of one that is gone, is refused by name", renewalRefused},
		{"a token that expires takes its lease and user with it", naturalEnd},
		{"a child token dies with its parent and an orphan does not", parentTrap},
		{"a lease that lost its token index survives revoke-accessor", lostIndex},
		{"a killed server leaves the user that it was creating, without a lease", killedInCreds},
		{"seal waits for creds in flight, and unseal ends what came to its end", sealAndUnseal},
		{"health tells its state by status and always the server time", health},
		{"the janitor may list leases and the bot may not", janitor},
		{"a lost reply to creds leaves a live lease that nobody knows the name of", lostReply},
		{"the client's own retries mint a second credential", sdkRetries},
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

func inFlightRace(t *testing.T, w *world) {
	auth := w.mint("1h", nil)
	release, answer := heldCreds(w, auth)
	if s := w.revokeAccessor(auth.Accessor); s != nil {
		t.Fatalf("revoke-accessor: want 204, got %+v", s)
	}
	w.clock.Advance(4 * time.Second)
	release()
	secret := <-answer
	if secret == nil {
		t.Fatal("the creds call failed")
	}
	w.equal("lease seconds", secret.LeaseDuration, 300)
	lease := w.write(w.bot, "sys/leases/lookup", m{"lease_id": secret.LeaseID})
	w.equal("ttl", lease.Data["ttl"], 300)
	w.equal("users", w.db.count(), 1)
	w.clock.Advance(301 * time.Second)
	w.equal("users after default_ttl", w.db.count(), 0)
}

func inFlightExpiry(t *testing.T, w *world) {
	auth := w.mint("2s", nil)
	release, answer := heldCreds(w, auth)
	w.clock.Advance(5 * time.Second)
	release()
	if secret := <-answer; secret == nil {
		t.Fatal("the creds call failed")
	}
	w.equal("leases", len(w.vault.Leases()), 1)
	w.equal("ends", w.vault.Leases()[0].ExpiresAt, start.Add(305*time.Second))
}

func lazyRevocation(t *testing.T, w *world) {
	auth, _ := w.creds("1h")
	w.db.fail(errDown)
	if s := w.revokeAccessor(auth.Accessor); s != nil {
		t.Fatalf("want 204, got %+v", s)
	}
	w.until("the first attempt", func() bool { return w.vault.Leases()[0].Attempts == 1 })
	w.equal("users", w.db.count(), 1)
	w.db.fail(nil)
	w.equal("users before the retry is due", w.db.count(), 1)
	w.clock.Advance(20 * time.Second)
	w.equal("users", w.db.count(), 0)
	w.equal("leases", len(w.vault.Leases()), 0)
}

func irrevocable(t *testing.T, w *world) {
	auth, secret := w.creds("1h")
	w.db.fail(errDown)
	w.revokeAccessor(auth.Accessor)
	w.until("the first attempt", func() bool { return w.vault.Leases()[0].Attempts == 1 })
	for i, pause := range []time.Duration{20, 40, 80, 160, 320} {
		if l := w.vault.Leases()[0]; l.Attempts != i+1 || l.Irrevocable {
			t.Fatalf("before pause %d: %+v", i, l)
		}
		w.clock.Advance(pause * time.Second)
	}
	count, err := w.bot.Logical().ReadWithData("sys/leases/count", map[string][]string{"type": {"irrevocable"}})
	w.ok(err)
	w.equal("irrevocable", count.Data["lease_count"], 1)
	w.db.fail(nil)
	w.clock.Advance(30 * time.Minute)
	w.equal("users, since nobody retries for a day", w.db.count(), 1)
	w.write(w.bot, "sys/leases/revoke", m{"lease_id": secret.LeaseID, "sync": true})
	w.equal("users", w.db.count(), 0)
}

func syncRefused(t *testing.T, w *world) {
	_, secret := w.creds("1h")
	w.db.fail(errDown)
	_, err := w.bot.Logical().Write("sys/leases/revoke", m{"lease_id": secret.LeaseID, "sync": true})
	w.refused(err, 400, "failed to revoke entry: resp: (*logical.Response)(nil) err: dial tcp")
	w.db.fail(nil)
	w.clock.Advance(100 * time.Second)
	w.equal("users", w.db.count(), 1)
	if w.vault.Leases()[0].Queued {
		t.Fatal("a failed synchronous revocation queued the lease")
	}
	w.write(w.bot, "sys/leases/revoke", m{"lease_id": secret.LeaseID, "sync": true})
	w.equal("users", w.db.count(), 0)
}

func hangingRevocation(_ *testing.T, w *world) {
	auth, secret := w.creds("1h")
	release := w.db.holdCalls("drop")
	defer release()
	revoked := make(chan error, 2)
	call := func(path string, body m) {
		c := w.client(w.bot.Token())
		_, err := c.Logical().Write(path, body)
		revoked <- err
	}
	go call("sys/leases/revoke", m{"lease_id": secret.LeaseID, "sync": true})
	<-w.db.inside
	go call("auth/token/revoke-accessor", m{"accessor": auth.Accessor})
	w.until("the token is unusable", func() bool {
		_, err := w.client(auth.ClientToken).Auth().Token().LookupSelf()
		return err != nil && strings.Contains(err.Error(), "invalid token")
	})
	w.equal("answers while the database hangs", len(revoked), 0)
	_, err := w.bot.Logical().Write("auth/token/lookup-accessor", m{"accessor": auth.Accessor})
	w.refused(err, 403, "bad token")
	release()
	w.ok(<-revoked)
	w.ok(<-revoked)
	w.equal("users", w.db.count(), 0)
}

func accessorFirst(_ *testing.T, w *world) {
	auth, secret := w.creds("1h")
	release := w.db.holdCalls("drop")
	defer release()
	w.revokeAccessor(auth.Accessor)
	_, err := w.bot.Logical().Write("auth/token/lookup-accessor", m{"accessor": auth.Accessor})
	w.refused(err, 400, "invalid accessor")
	release()
	w.write(w.bot, "sys/leases/revoke", m{"lease_id": secret.LeaseID, "sync": true})
	w.equal("users", w.db.count(), 0)
}

func revokeUnknown(t *testing.T, w *world) {
	if s := w.write(w.bot, "sys/leases/revoke", m{"lease_id": "database/creds/orders-ro/none", "sync": true}); s != nil {
		t.Fatalf("want 204, got %+v", s)
	}
	s := w.revokeAccessor("none")
	if s == nil || !slices.Contains(s.Warnings, "No token found with this accessor") {
		t.Fatalf("got %+v", s)
	}
}

func lookupGone(_ *testing.T, w *world) {
	_, err := w.bot.Logical().Write("auth/token/lookup-accessor", m{"accessor": "none"})
	w.refused(err, 400, "invalid accessor")
	_, err = w.bot.Logical().Write("sys/leases/lookup", m{"lease_id": "database/creds/orders-ro/none"})
	w.refused(err, 400, "invalid lease")
}

func queuedLookup(t *testing.T, w *world) {
	auth, secret := w.creds("1h")
	w.db.fail(errDown)
	w.revokeAccessor(auth.Accessor)
	w.clock.Advance(3 * time.Second)
	s := w.write(w.bot, "sys/leases/lookup", m{"lease_id": secret.LeaseID})
	w.equal("ttl", s.Data["ttl"], -3)
}

func oneUse(_ *testing.T, w *world) {
	auth := w.mint("1h", m{"num_uses": 1})
	_, err := w.client(auth.ClientToken).Logical().Read("database/creds/orders-ro")
	w.refused(err, 400, "Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.")
	w.until("the user is dropped", func() bool { return w.db.count() == 0 })
	_, err = w.client(auth.ClientToken).Logical().Read("database/creds/orders-ro")
	w.refused(err, 403, "permission denied")
}

func tokenClamp(t *testing.T, w *world) {
	s := w.write(w.bot, "auth/token/create/tac", m{"policies": []string{"tac-db-orders-ro"}, "ttl": "20h", "explicit_max_ttl": "20h"})
	w.equal("lease_duration", s.Auth.LeaseDuration, 8*3600)
	if !slices.Contains(s.Warnings, "Explicit max TTL specified both during creation call and in role; using the lesser value of 28800 seconds") ||
		!slices.ContainsFunc(s.Warnings, func(x string) bool { return strings.Contains(x, `exceeded the effective max_ttl of "8h"`) }) {
		t.Fatalf("warnings: %q", s.Warnings)
	}
	w.equal("orphan, renewable", []bool{s.Auth.Orphan, s.Auth.Renewable}, []bool{true, false})
	looked := w.write(w.bot, "auth/token/lookup-accessor", m{"accessor": s.Auth.Accessor})
	w.equal("explicit_max_ttl as asked for", looked.Data["explicit_max_ttl"], 20*3600)
	w.equal("expire_time", looked.Data["expire_time"], start.Add(8*time.Hour).Format(time.RFC3339Nano))
	w.equal("path", looked.Data["path"], "auth/token/create/tac")
	w.equal("id is not told", looked.Data["id"], "")
}

func unknownPolicy(t *testing.T, w *world) {
	s := w.write(w.bot, "auth/token/create/tac", m{"policies": []string{"tac-none"}, "ttl": "1h"})
	if !slices.Contains(s.Warnings, `Policy "tac-none" does not exist`) {
		t.Fatalf("warnings: %q", s.Warnings)
	}
	w.equal("policies", s.Auth.Policies, []string{"tac-none"})
}

func outsideGlob(_ *testing.T, w *world) {
	_, err := w.bot.Logical().Write("auth/token/create/tac", m{"policies": []string{"janitor"}, "ttl": "1h"})
	w.refused(err, 400, "must be subset of the role's allowed policies")
}

func botCannot(_ *testing.T, w *world) {
	for body, status := range map[*m]int{
		{"policies": []string{"tac-x"}, "id": "chosen"}:                      400,
		{"policies": []string{"tac-x"}, "period": "1h"}:                      400,
		{"policies": []string{"root"}, "no_parent": true, "type": "service"}: 400,
	} {
		_, err := w.bot.Logical().Write("auth/token/create/tac", *body)
		w.refused(err, status, "")
	}
	for _, path := range []string{"auth/token/create", "auth/token/create/other", "sys/policies/acl/tac-bot", "sys/mounts/x", "nowhere/at/all"} {
		_, err := w.bot.Logical().Write(path, m{"x": "y"})
		w.refused(err, 403, "1 error occurred:\n\t* permission denied\n\n")
	}
	_, err := w.bot.Logical().Delete("tac/metadata/grants/g1")
	w.refused(err, 403, "permission denied")
	_, err = w.bot.Logical().Read("database/creds/orders-ro")
	w.refused(err, 403, "permission denied")
	_, err = w.client("hvs.forged").Logical().Read("tac/data/grants/g1")
	w.refused(err, 403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
}

func renewalMovesUser(t *testing.T, w *world) {
	_, secret := w.creds("100s")
	user := secret.Data["username"].(string)
	until, _ := w.db.validUntil(user)
	w.equal("VALID UNTIL at first", until, start.Add(305*time.Second))
	if !strings.HasPrefix(user, "v-token-al-orders-r-") {
		t.Fatalf("user %q", user)
	}
	s := w.write(w.bot, "sys/leases/renew", m{"lease_id": secret.LeaseID, "increment": 3600})
	w.equal("lease_duration", s.LeaseDuration, 3600)
	w.equal("warnings", len(s.Warnings), 0)
	until, _ = w.db.validUntil(user)
	w.equal("VALID UNTIL", until, start.Add(3605*time.Second))
}

func renewalCapped(t *testing.T, w *world) {
	w.databaseRole("brief", "30s", "60s")
	w.ok(w.root.Sys().PutPolicy("tac-brief", `path "database/creds/brief" { capabilities = ["read"] }`))
	auth := w.mint("1h", m{"policies": "tac-brief"})
	secret := w.read(w.client(auth.ClientToken), "database/creds/brief")
	s := w.write(w.bot, "sys/leases/renew", m{"lease_id": secret.LeaseID, "increment": 3600})
	w.equal("lease_duration", s.LeaseDuration, 60)
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], `TTL of "1h" exceeded the effective max_ttl of "1m"`) {
		t.Fatalf("warnings: %q", s.Warnings)
	}
}

func renewalRefused(_ *testing.T, w *world) {
	_, secret := w.creds("1h")
	w.db.fail(errDown)
	w.clock.Advance(301 * time.Second)
	_, err := w.bot.Logical().Write("sys/leases/renew", m{"lease_id": secret.LeaseID, "increment": 60})
	w.refused(err, 400, "lease expired")
	w.db.fail(nil)
	w.clock.Advance(20 * time.Second)
	_, err = w.bot.Logical().Write("sys/leases/renew", m{"lease_id": secret.LeaseID, "increment": 60})
	w.refused(err, 400, "lease not found")
}

func naturalEnd(_ *testing.T, w *world) {
	auth, secret := w.creds("100s")
	w.write(w.bot, "sys/leases/renew", m{"lease_id": secret.LeaseID, "increment": 3600})
	w.clock.Advance(100 * time.Second)
	w.equal("users", w.db.count(), 0)
	w.equal("leases", len(w.vault.Leases()), 0)
	_, err := w.bot.Logical().Write("auth/token/lookup-accessor", m{"accessor": auth.Accessor})
	w.refused(err, 400, "invalid accessor")
}

func parentTrap(_ *testing.T, w *world) {
	orphan := w.mint("1h", nil)
	parent := w.write(w.root, "auth/token/create", m{"policies": []string{"default"}, "ttl": "1h", "no_parent": true}).Auth
	w.ok(w.root.Sys().PutPolicy("default", `path "auth/token/create" { capabilities = ["update"] }`))
	child := w.write(w.client(parent.ClientToken), "auth/token/create", m{"policies": []string{"default"}}).Auth
	w.write(w.root, "auth/token/revoke-accessor", m{"accessor": parent.Accessor})
	_, err := w.root.Logical().Write("auth/token/lookup-accessor", m{"accessor": child.Accessor})
	w.refused(err, 400, "invalid accessor")
	w.write(w.root, "auth/token/revoke", m{"token": w.bot.Token()})
	w.write(w.root, "auth/token/lookup-accessor", m{"accessor": orphan.Accessor})
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

func sealAndUnseal(_ *testing.T, w *world) {
	_, secret := w.creds("1h")
	auth := w.mint("1h", nil)
	release, answer := heldCreds(w, auth)
	sealed := make(chan struct{})
	go func() {
		w.vault.Seal()
		close(sealed)
	}()
	select {
	case <-sealed:
		w.t.Fatal("sealed with a request in flight")
	case <-time.After(20 * time.Millisecond): // can only miss a failure, never make one
	}
	release()
	<-sealed
	w.equal("creds answered", (<-answer) != nil, true)
	_, err := w.bot.Logical().Write("sys/leases/lookup", m{"lease_id": secret.LeaseID})
	w.refused(err, 503, "Vault is sealed")
	w.clock.Advance(2 * time.Hour)
	w.equal("users while sealed", w.db.count(), 2)
	w.vault.Unseal()
	w.equal("users", w.db.count(), 0)
}

func health(_ *testing.T, w *world) {
	status := func() (int, *api.HealthResponse) {
		resp, err := http.Get(w.vault.URL() + "/v1/sys/health")
		w.ok(err)
		w.ok(resp.Body.Close())
		h, err := w.client("").Sys().Health()
		w.ok(err)
		return resp.StatusCode, h
	}
	w.clock.Advance(time.Minute)
	code, h := status()
	w.equal("active", []any{code, h.Sealed, h.ServerTimeUTC, h.Version, h.ClusterID}, []any{200, false, start.Add(time.Minute).Unix(), vault.Version, w.vault.ClusterID()})
	w.vault.SetStandby(true)
	code, h = status()
	w.equal("standby", []any{code, h.Standby}, []any{429, true})
	_, err := w.bot.Logical().Read("tac/data/x")
	w.refused(err, 500, "local node not active")
	w.vault.SetLeader("http://127.0.0.1:1")
	resp, err := w.bot.Logical().ReadRaw("tac/data/x")
	w.ok(err)
	w.equal("redirected", resp.StatusCode, 307)
	w.equal("location", resp.Header.Get("Location"), "http://127.0.0.1:1/v1/tac/data/x")
	w.vault.SetStandby(false)
	w.vault.Seal()
	code, h = status()
	w.equal("sealed", []any{code, h.Sealed, h.ServerTimeUTC}, []any{503, true, start.Add(time.Minute).Unix()})
}

func janitor(_ *testing.T, w *world) {
	_, secret := w.creds("1h")
	token := w.write(w.root, "auth/token/create", m{"policies": []string{"janitor"}, "no_default_policy": true}).Auth
	list, err := w.client(token.ClientToken).Logical().List("sys/leases/lookup/database/creds/orders-ro")
	w.ok(err)
	w.equal("keys", list.Data["keys"], []string{strings.TrimPrefix(secret.LeaseID, "database/creds/orders-ro/")})
	_, err = w.bot.Logical().List("sys/leases/lookup/database/creds/orders-ro")
	w.refused(err, 403, "permission denied")
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
