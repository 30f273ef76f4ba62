package demo

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/grants/world"
)

// hosted is a Vault that somebody else runs, as far as the demo can see: it
// knows an address and a token.
type hosted struct {
	*vault.Server
	t     *testing.T
	clock *sandbox.Clock
	name  string
	admin *api.Client
}

func newHost(t *testing.T) *hosted {
	t.Helper()
	h := &hosted{t: t, clock: sandbox.NewRunningClock(time.Now()), name: "tac-demo-rehearsal"}
	var err error
	if h.Server, err = vault.New(h.clock); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Server.Close)
	config := api.DefaultConfig()
	config.Address = h.URL()
	if h.admin, err = api.NewClient(config); err != nil {
		t.Fatal(err)
	}
	h.admin.SetToken(h.RootToken())
	// What the person has there already must not be touched.
	for path, data := range map[string]map[string]any{
		"sys/mounts/secret":          {"type": "kv", "options": map[string]any{"version": "2"}},
		"sys/auth/approle":           {"type": "approle"},
		"sys/policies/acl/tac-other": {"policy": `path "secret/*" { capabilities = ["read"] }`},
		"sys/policies/acl/bot-tac":   {"policy": `path "secret/*" { capabilities = ["read"] }`},
		"auth/token/roles/tac":       {"orphan": true},
	} {
		if _, err := h.admin.Logical().Write(path, data); err != nil {
			t.Fatalf("write %s: %v", path, err)
		}
	}
	return h
}

func (h *hosted) inventory() inventory {
	h.t.Helper()
	all, err := (&guest{admin: h.admin}).takeInventory(context.Background())
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// options are those of --vault --once. The waits move the clock of the host
// instead of lasting; else everything is as the command line has it.
func (h *hosted) options(out *strings.Builder, token string) Options {
	return Options{
		Once: true, Out: out, Vault: &OwnVault{Address: h.URL(), Token: world.NewSecret(token), From: "VAULT_TOKEN"},
		rehearsal: &rehearsal{
			name: h.name, clock: h.clock,
			met: func(w *World) {
				h.AttachDatabase(h.name+"-database", "", &overWire{host: h, postgres: w.Postgres})
			},
			sleep: func(_ context.Context, d time.Duration) error { h.clock.Advance(d); return nil },
		},
	}
}

// overWire does what Vault's plugin does: the statements that set-up wrote
// into the role, over the database's own protocol.
type overWire struct {
	host     *hosted
	postgres *target.Postgres
}

func (o *overWire) run(statements, name, password string, until time.Time) error {
	ctx := context.Background()
	role, err := o.host.admin.Logical().Read(o.host.name + "-database/roles/postgres-prod")
	if err != nil {
		return err
	}
	statement := `ALTER ROLE "{{name}}" VALID UNTIL '{{expiration}}';` // the plugin's own
	if list, _ := role.Data[statements].([]any); len(list) > 0 {
		statement, _ = list[0].(string)
	}
	conn, err := pgx.Connect(ctx, "postgres://"+target.AdminName+":"+o.postgres.AdminPassword()+"@"+o.postgres.Addr()+"/payments?sslmode=disable")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, s := range []string{"begin", strings.NewReplacer("{{name}}", name, "{{password}}", password,
		"{{expiration}}", until.Format("2006-01-02 15:04:05-0700")).Replace(statement), "commit"} {
		if _, err := conn.Exec(ctx, s, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

func (o *overWire) CreateUser(name, password string, until time.Time) error {
	return o.run("creation_statements", name, password, until)
}

func (o *overWire) SetValidUntil(name string, until time.Time) error {
	return o.run("renew_statements", name, "", until)
}

func (o *overWire) DropUser(name string) error {
	return o.run("revocation_statements", name, "", time.Time{})
}

func TestEveryClaimHoldsInSomebodysOwnVaultWhichIsLeftAsItWas(t *testing.T) {
	h := newHost(t)
	before := h.inventory()
	var out strings.Builder
	err := Run(t.Context(), h.options(&out, h.RootToken()))
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if after := h.inventory(); !maps.Equal(after, before) {
		t.Errorf("the Vault was %v and is %v", before, after)
	}
	if !regexp.MustCompile(`\ndemo: [3-9][0-9] checks passed, 0 failed\n$`).MatchString(out.String()) {
		t.Error("the last line is not the sum")
	}
}

func TestAnInterruptedDemoLeavesTheVaultAsItWas(t *testing.T) {
	h := newHost(t)
	before := h.inventory()
	ctx, cancel := context.WithCancel(t.Context())
	var out strings.Builder
	o := h.options(&out, h.RootToken())
	var postgres *target.Postgres
	meet := o.rehearsal.met
	o.rehearsal.met = func(w *World) { postgres = w.Postgres; meet(w) }
	o.rehearsal.sleep = func(ctx context.Context, _ time.Duration) error {
		if len(postgres.Users()) == 0 {
			t.Error("nobody has access at this moment: the test shows nothing")
		}
		cancel()
		return ctx.Err()
	}
	err := Run(ctx, o)
	t.Log(out.String())
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrFailed) {
		t.Errorf("it ended with %v", err)
	}
	if after := h.inventory(); !maps.Equal(after, before) {
		t.Errorf("the Vault was %v and is %v", before, after)
	}
	if users := postgres.Users(); len(users) != 0 {
		t.Errorf("still in the database: %v", users)
	}
}

// TestWhatIsNotSeenToBeGoneIsNotSaidToBe has the demo end while somebody has
// access, in a Vault that answers otherwise than it should.
func TestWhatIsNotSeenToBeGoneIsNotSaidToBe(t *testing.T) {
	for name, tt := range map[string]struct {
		fault sandbox.Fault
		want  string
	}{
		"tokens that cannot be looked up":   {sandbox.Fault{Path: "auth/token/lookup-accessor", When: sandbox.Answer, Status: 500}, "look a token up"},
		"records that may not be listed":    {sandbox.Fault{Path: "/metadata/grants", When: sandbox.Answer, Status: 403}, "list the demo's records"},
		"records that cannot be listed":     {sandbox.Fault{Path: "/metadata/grants", When: sandbox.Answer, Status: 500}, "list the demo's records"},
		"tokens that only seem to be ended": {sandbox.Fault{Path: "auth/token/revoke-accessor", When: sandbox.Answer, Status: 204}, "still there: token "},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			ctx, cancel := context.WithCancel(t.Context())
			var out strings.Builder
			o := h.options(&out, h.RootToken())
			o.rehearsal.sleep = func(ctx context.Context, _ time.Duration) error {
				fault := tt.fault
				fault.Times = -1
				h.Order(fault)
				cancel()
				return ctx.Err()
			}
			if err := Run(ctx, o); !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it ended with %v, want %q", err, tt.want)
			}
			if !strings.Contains(out.String(), "FAILED nothing with the name") {
				t.Error("it says that nothing is left")
			}
		})
	}
}

// TestASetUpThatFailedEarlyLeavesNothing: that there are no records then is no
// failure of the leaving.
func TestASetUpThatFailedEarlyLeavesNothing(t *testing.T) {
	h := newHost(t)
	before := h.inventory()
	var out strings.Builder
	h.Order(sandbox.Fault{Method: "PUT", Path: "sys/mounts/", When: sandbox.Answer, Status: 500, Times: -1})
	if err := Run(t.Context(), h.options(&out, h.RootToken())); err == nil || errors.Is(err, ErrFailed) {
		t.Errorf("it ended with %v", err)
	}
	if strings.Contains(out.String(), "FAILED") {
		t.Errorf("it says that something is left:\n%s", out.String())
	}
	if after := h.inventory(); !maps.Equal(after, before) {
		t.Errorf("the Vault was %v and is %v", before, after)
	}
}

// How to clean up is said before there is anything to clean up: whoever kills
// the demo outright finds it on the screen.
func TestHowToCleanUpIsSaidFirst(t *testing.T) {
	h := newHost(t)
	before := h.inventory()
	var out strings.Builder
	o := h.options(&out, h.RootToken())
	var said string
	o.rehearsal.met = func(*World) {
		said = out.String()
		if !maps.Equal(h.inventory(), before) {
			t.Error("something was made already")
		}
		h.Seal() // and so it ends
	}
	if err := Run(t.Context(), o); err == nil {
		t.Error("it goes on in a sealed Vault")
	}
	for _, want := range []string{
		"vault lease revoke -force -prefix " + h.name + "-database/", "vault secrets disable " + h.name + "-kv\n", "vault auth disable " + h.name + "-approle\n",
		"vault policy delete bot-" + h.name + "\n", "vault delete auth/token/roles/" + h.name + "\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it did not say %q first, but:\n%s", want, said)
		}
	}
}

// What cannot be removed is told, with the command that does it.
func TestWhatCannotBeRemovedIsTold(t *testing.T) {
	h := newHost(t)
	var out strings.Builder
	o := h.options(&out, h.RootToken())
	o.rehearsal.sleep = func(ctx context.Context, d time.Duration) error {
		h.Order(sandbox.Fault{Method: "DELETE", Path: "sys/policies/acl/bot-" + h.name, When: sandbox.Answer, Status: 500, Times: -1})
		h.clock.Advance(d)
		return nil
	}
	if err := Run(t.Context(), o); !errors.Is(err, ErrFailed) {
		t.Errorf("it ended with %v", err)
	}
	for _, want := range []string{"please do it yourself:\n  vault policy delete bot-" + h.name + "\n", "FAILED nothing with the name"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it did not say %q:\n%s", want, out.String())
		}
	}
}

func TestAVaultThatCannotBeUsedIsToldWhatWouldHaveWorked(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*hosted, *OwnVault)
		want   string
	}{
		"no scheme":      {func(_ *hosted, v *OwnVault) { v.Address = "127.0.0.1:8200" }, "as in http://127.0.0.1:8200"},
		"nobody there":   {func(_ *hosted, v *OwnVault) { v.Address = "http://127.0.0.1:1" }, "start one with `vault server -dev`"},
		"https for http": {func(_ *hosted, v *OwnVault) { v.Address = "https" + strings.TrimPrefix(v.Address, "http") }, "would have worked"},
		"sealed":         {func(h *hosted, _ *OwnVault) { h.Seal() }, "run `vault operator unseal` first"},
		"no token":       {func(_ *hosted, v *OwnVault) { v.Token = world.Secret{} }, "set VAULT_TOKEN, run `vault login`, or name a file with --vault-token-file"},
		"wrong token":    {func(_ *hosted, v *OwnVault) { v.Token = world.NewSecret("hvs.wrong") }, "one of that very Vault would have worked"},
		"a weak token":   {func(h *hosted, v *OwnVault) { v.Token = world.NewSecret(h.token("default")) }, "one that may enable engines and write policies and token roles would have worked"},
		"a token that may not read the bot's policy": {func(h *hosted, v *OwnVault) { v.Token = world.NewSecret(h.blindToken()) }, "(it lacks read on sys/policies/acl/bot-tac-demo-rehearsal)"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			var out strings.Builder
			o := h.options(&out, h.RootToken())
			tt.change(h, o.Vault)
			err := Run(t.Context(), o)
			if !errors.Is(err, ErrVault) || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("it says %v; want %q, in a sentence", err, tt.want)
			}
		})
	}
	if errors.Is(errors.New("another"), ErrVault) {
		t.Error("any error counts as one of the Vault")
	}
}

func (h *hosted) token(policy string) string {
	h.t.Helper()
	s, err := h.admin.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{policy}, TTL: "10m"})
	if err != nil {
		h.t.Fatal(err)
	}
	return s.Auth.ClientToken
}

// blindToken may do all but read the bot's policy.
func (h *hosted) blindToken() string {
	h.t.Helper()
	if err := h.admin.Sys().PutPolicy("blind", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }
path "sys/policies/acl/bot-`+h.name+`" { capabilities = ["create", "update", "delete"] }`); err != nil {
		h.t.Fatal(err)
	}
	return h.token("blind")
}
