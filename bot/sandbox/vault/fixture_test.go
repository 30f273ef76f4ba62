package vault_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
)

var start = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

// target is a database of a few lines behind the port.
type target struct {
	mu     sync.Mutex
	users  map[string]time.Time // name to VALID UNTIL
	down   error
	holdOf func(call string) chan struct{}
	inside chan string // told of every call that is about to wait
}

func newTarget() *target {
	return &target{users: map[string]time.Time{}, inside: make(chan string, 16)}
}

func (d *target) enter(call string) error {
	d.mu.Lock()
	var wait chan struct{}
	if d.holdOf != nil {
		wait = d.holdOf(call)
	}
	d.mu.Unlock()
	if wait != nil {
		d.inside <- call
		<-wait
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.down
}

func (d *target) CreateUser(name, _ string, until time.Time) error {
	if err := d.enter("create"); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users[name] = until
	return nil
}

func (d *target) SetValidUntil(name string, until time.Time) error {
	if err := d.enter("extend"); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.users[name]; !ok {
		return fmt.Errorf("role %q does not exist", name)
	}
	d.users[name] = until
	return nil
}

func (d *target) DropUser(name string) error {
	if err := d.enter("drop"); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.users, name)
	return nil
}

// holdCalls makes every call of this name wait for the returned function.
func (d *target) holdCalls(name string) (release func()) {
	gate := make(chan struct{})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holdOf = func(call string) chan struct{} {
		if call == name {
			return gate
		}
		return nil
	}
	return sync.OnceFunc(func() {
		d.mu.Lock()
		d.holdOf = nil
		d.mu.Unlock()
		close(gate)
	})
}

func (d *target) validUntil(name string) (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, ok := d.users[name]
	return t, ok
}

func (d *target) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.users)
}

const botPolicy = `
# the bot
path "auth/token/create/tac"      { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/renew-self"      { capabilities = ["update"] }
path "auth/token/lookup-self"     { capabilities = ["read"] }
path "sys/leases/lookup"          { capabilities = ["update"] }
path "sys/leases/renew"           { capabilities = ["update"] }
path "sys/leases/revoke"          { capabilities = ["update"] }
path "sys/leases/count"           { capabilities = ["read"] }      # ?type=irrevocable
path "sys/wrapping/wrap"          { capabilities = ["update"] min_wrapping_ttl="30s" max_wrapping_ttl="10m" }
path "tac/data/*"                 { capabilities = ["create","read","update"] }
path "tac/metadata/*"             { capabilities = ["list","read"] }
path "transit/sign/tac-attest"    { capabilities = ["update"] }    // ed25519
path "transit/verify/tac-attest"  { capabilities = ["update"] }
path "database/roles/*"           { capabilities = ["read"] }      /* preflight only */
`

const janitorPolicy = `
path "sys/leases/lookup/database/creds/*" { capabilities = ["list","sudo"] }
path "sys/leases"                 { capabilities = ["read","list","sudo"] }
path "sys/leases/revoke"          { capabilities = ["update"] }
path "sys/leases/count"           { capabilities = ["read"] }
`

// world is a Vault set up as vault.md tells, over the API.
type world struct {
	t     *testing.T
	clock *sandbox.Clock
	vault *vault.Server
	db    *target
	root  *api.Client
	bot   *api.Client
}

type m = map[string]any

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldAt(t, sandbox.NewStillClock(start))
}

func newWorldAt(t *testing.T, clock *sandbox.Clock) *world {
	t.Helper()
	s, err := vault.New(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	w := &world{t: t, clock: clock, vault: s, db: newTarget()}
	w.root = w.client(s.RootToken())
	w.setUp()
	return w
}

func (w *world) client(token string) *api.Client {
	w.t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address, cfg.MaxRetries, cfg.DisableRedirects = w.vault.URL(), 0, true
	c, err := api.NewClient(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	c.SetToken(token)
	return c
}

func (w *world) setUp() {
	w.t.Helper()
	sys := w.root.Sys()
	w.ok(sys.PutPolicy("tac-bot", botPolicy))
	w.ok(sys.PutPolicy("janitor", janitorPolicy))
	w.ok(sys.PutPolicy("tac-db-orders-ro", `path "database/creds/orders-ro" { capabilities=["read"] }`))
	w.ok(sys.PutPolicy("tac-ssh-bastion", `path "ssh/sign/bastion" { capabilities=["update"] }`))
	w.ok(sys.EnableAuthWithOptions("approle", &api.EnableAuthOptions{Type: "approle"}))
	w.ok(sys.Mount("tac", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}))
	w.ok(sys.Mount("database", &api.MountInput{Type: "database"}))
	w.ok(sys.Mount("ssh", &api.MountInput{Type: "ssh"}))
	w.ok(sys.Mount("transit", &api.MountInput{Type: "transit"}))
	w.vault.AttachDatabase("database", "orders", w.db)
	w.write(w.root, "tac/config", m{"cas_required": true})
	w.write(w.root, "auth/approle/role/tac", m{"token_ttl": "1h", "token_max_ttl": "24h", "token_policies": "tac-bot", "token_no_default_policy": true})
	w.write(w.root, "auth/token/roles/tac", m{
		"orphan": true, "renewable": false, "token_type": "service", "token_no_default_policy": true,
		"allowed_policies_glob": []string{"tac-*"}, "token_explicit_max_ttl": "8h", "token_period": 0,
		"token_num_uses": 0, "token_bound_cidrs": []string{"127.0.0.1/32"},
	})
	w.write(w.root, "transit/keys/tac-attest", m{"type": "ed25519"})
	w.write(w.root, "database/config/orders", m{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "orders-ro,brief",
		"connection_url": "postgresql://{{username}}:{{password}}@db.test/orders",
	})
	w.databaseRole("orders-ro", "300s", "8h")
	w.write(w.root, "ssh/config/ca", m{"generate_signing_key": true})
	w.write(w.root, "ssh/roles/bastion", m{
		"key_type": "ca", "allow_user_certificates": true, "allowed_users": "deploy", "ttl": "5m", "max_ttl": "10m",
		"default_extensions": m{"permit-pty": ""},
	})
	id := w.read(w.root, "auth/approle/role/tac/role-id").Data["role_id"]
	secret := w.write(w.root, "auth/approle/role/tac/secret-id", nil).Data["secret_id"]
	login := w.write(w.client(""), "auth/approle/login", m{"role_id": id, "secret_id": secret})
	w.bot = w.client(login.Auth.ClientToken)
}

func (w *world) databaseRole(name, ttl, maximum string) {
	w.t.Helper()
	w.write(w.root, "database/roles/"+name, m{
		"db_name": "orders", "default_ttl": ttl, "max_ttl": maximum,
		"creation_statements":   `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE orders_ro;`,
		"revocation_statements": []string{`DROP ROLE "{{name}}"`},
	})
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) write(c *api.Client, path string, data m) *api.Secret {
	w.t.Helper()
	secret, err := c.Logical().Write(path, data)
	w.ok(err)
	return secret
}

func (w *world) read(c *api.Client, path string) *api.Secret {
	w.t.Helper()
	secret, err := c.Logical().Read(path)
	w.ok(err)
	if secret == nil {
		w.t.Fatalf("read %s: nothing there", path)
	}
	return secret
}

// mint is step 1 of the issue sequence.
func (w *world) mint(ttl string, more m) *api.SecretAuth {
	w.t.Helper()
	body := m{
		"policies": []string{"tac-db-orders-ro"}, "ttl": ttl, "explicit_max_ttl": ttl, "renewable": false,
		"no_default_policy": true, "type": "service", "display_name": "alice", "meta": m{"grant": "g1", "gen": "1"},
	}
	for k, v := range more {
		body[k] = v
	}
	return w.write(w.bot, "auth/token/create/tac", body).Auth
}

// creds mints a token and takes a credential with it.
func (w *world) creds(ttl string) (*api.SecretAuth, *api.Secret) {
	w.t.Helper()
	auth := w.mint(ttl, nil)
	return auth, w.read(w.client(auth.ClientToken), "database/creds/orders-ro")
}

func (w *world) revokeAccessor(accessor string) *api.Secret {
	w.t.Helper()
	return w.write(w.bot, "auth/token/revoke-accessor", m{"accessor": accessor})
}

// refused checks that a call failed with this status and a text with want.
func (w *world) refused(err error, status int, want string) {
	w.t.Helper()
	var re *api.ResponseError
	if !errors.As(err, &re) {
		w.t.Fatalf("got %v, want status %d", err, status)
	}
	if text := strings.Join(re.Errors, "|"); re.StatusCode != status || !strings.Contains(text, want) {
		w.t.Fatalf("got %d %q, want %d %q", re.StatusCode, text, status, want)
	}
}

func (w *world) equal(what string, got, want any) {
	w.t.Helper()
	if g, h := fmt.Sprint(got), fmt.Sprint(want); g != h {
		w.t.Fatalf("%s: got %s, want %s", what, g, h)
	}
}

// until waits for what a worker does, which no call waits for.
func (w *world) until(what string, f func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("never happened: %s", what)
		case <-time.After(time.Millisecond):
		}
	}
}
