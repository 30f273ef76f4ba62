package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox/target"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
)

// guest is a Vault that the person runs. Everything that the demo makes there
// bears one name that nothing else has, and goes with the demo. Time is real:
// another's clock cannot be moved.
type guest struct {
	OwnVault
	name      string // as in tac-demo-x7k2q9
	admin     *api.Client
	transport *http.Transport
	plan      vaultlease.Plan
	before    inventory
	wrapped   map[string]bool // accessors of wrapping tokens that were found in records
	relay     *relay
	sleep     func(context.Context, time.Duration) error
	met       func(*World) // for tests
}

// newGuest knocks: nothing is changed in the Vault yet.
func newGuest(ctx context.Context, v OwnVault, name string) (*guest, error) {
	g := &guest{OwnVault: v, name: name, sleep: sleep, wrapped: map[string]bool{}}
	if g.name == "" {
		g.name = "tac-demo-" + strings.ToLower(rand.Text()[:6])
	}
	var err error
	if g.admin, g.transport, err = v.open(ctx); err != nil {
		return nil, err
	}
	g.plan = vaultlease.Plan{
		Mount: g.name + "-kv", Transit: g.name + "-transit", TransitKey: "tac-attest",
		TokenRole: g.name, AppRole: g.name + "-approle", Role: "tac",
		BotPolicyName: "bot-" + g.name, JanitorPolicyName: "janitor-" + g.name,
		LongestToken: 24 * time.Hour, Engines: true, Targets: g.targets(),
	}
	if err := g.mayBegin(ctx); err != nil {
		return nil, err
	}
	if g.before, err = g.takeInventory(ctx); err != nil {
		return nil, g.orForbidden(err)
	}
	return g, nil
}

func (g *guest) targets() []grants.Target {
	return []grants.Target{
		{Engine: grants.EngineDatabase, Path: g.name + "-database/creds/postgres-prod", Policy: g.name + "-postgres-prod"},
		{Engine: grants.EngineSSH, Path: g.name + "-ssh/sign/bastion", Policy: g.name + "-bastion", Principals: []string{"deploy"}, Slice: time.Minute},
	}
}

// mayBegin looks at what the token may do before anything is done.
func (g *guest) mayBegin(ctx context.Context) error {
	missing, err := lacks(ctx, g.admin, []right{
		{"sys/mounts/" + g.plan.Mount, "create"}, {"sys/mounts/" + g.plan.Mount, "delete"},
		{"sys/auth/" + g.plan.AppRole, "sudo"}, {"sys/auth/" + g.plan.AppRole, "delete"},
		{"sys/policies/acl/" + g.plan.BotPolicyName, "read"}, {"sys/policies/acl/" + g.plan.BotPolicyName, "create"}, {"sys/policies/acl/" + g.plan.BotPolicyName, "delete"},
		{"auth/token/roles/" + g.plan.TokenRole, "create"}, {"auth/token/roles/" + g.plan.TokenRole, "delete"},
		{"auth/" + g.plan.AppRole + "/role/tac", "create"}, {g.plan.Mount + "/config", "create"},
		{g.places().ssh + "/config/ca", "create"}, {"sys/leases/lookup/" + g.places().creds, "list"},
		{"auth/token/accessors", "list"}, {"auth/token/lookup-accessor", "update"}, {"auth/token/revoke-accessor", "update"},
		{"identity/entity-alias/id", "list"},
	})
	if err != nil || len(missing) == 0 {
		return g.orForbidden(err)
	}
	return g.forbidden(missing[0].capability + " on " + missing[0].path)
}

func (g *guest) forbidden(what string) error {
	return cannot("the token from %s may not set the demo up in the Vault at %s (it lacks %s): one that may enable engines and write policies and token roles would have worked; %s", g.From, g.Address, what, isRoot)
}

// setUp is a Setting's Vault: the very steps of `tac vault setup`.
func (g *guest) setUp(ctx context.Context, w *World) (none server.Vault, err error) {
	if g.met != nil {
		g.met(w)
	}
	if g.relay, err = newRelay(w.Clock, g.Address, g.transport); err != nil {
		return none, err
	}
	steps, err := g.plan.Steps()
	if err != nil {
		return none, err
	}
	variables := map[string]string{
		"_URL":      "postgresql://{{username}}:{{password}}@" + w.Postgres.Addr() + "/payments?sslmode=disable",
		"_ADMIN":    target.AdminName,
		"_PASSWORD": w.Postgres.AdminPassword(),
		"_GRANTS":   group,
	}
	_, err = vaultlease.Apply(ctx, g.admin, steps, func(name string) string {
		return variables[name[strings.LastIndexByte(name, '_'):]]
	})
	if err != nil {
		return none, g.explain(err, w)
	}
	if err := w.trustCA(ctx, g.admin, g.places().ssh); err != nil {
		return none, err
	}
	id, err := vaultlease.NewIdentity(ctx, g.admin, g.plan)
	return server.Vault{
		Address: g.Address, CACert: g.CACert, RoleID: id.RoleID, SecretID: id.SecretID,
		Mount: g.plan.Mount, Transit: g.plan.Transit, TransitKey: g.plan.TransitKey, TokenRole: g.plan.TokenRole, AppRole: g.plan.AppRole,
	}, err
}

// explain says what would have worked where set-up failed.
func (g *guest) explain(err error, w *World) error {
	if strings.Contains(err.Error(), "error verifying connection") || strings.Contains(err.Error(), "failed to connect") {
		return cannot("the Vault at %s cannot reach the demo's PostgreSQL at %s, which listens on this machine only: a Vault that runs on this machine would have worked, and outside of a container", g.Address, w.Postgres.Addr())
	}
	return g.orForbidden(err)
}

// orForbidden says of a refusal for want of rights what would have worked.
func (g *guest) orForbidden(err error) error {
	var refused *api.ResponseError
	if !errors.As(err, &refused) || refused.StatusCode != http.StatusForbidden {
		return err
	}
	for _, part := range strings.Split(err.Error(), ": ") {
		for _, verb := range []string{"write ", "read ", "list "} {
			if strings.HasPrefix(part, verb) {
				return g.forbidden("the right to " + part)
			}
		}
	}
	return g.forbidden("a right: " + lastClause(err))
}

// files are the documents of the grants repository that differ: resources are
// where the demo put them, and certificates are short.
func (g *guest) files(all map[string]string) map[string]string {
	const resources = "policies/resources.yaml"
	own := g.targets()
	return map[string]string{resources: strings.NewReplacer(
		"path: "+Targets[0].Path, "path: "+own[0].Path, "policy: "+Targets[0].Policy, "policy: "+own[0].Policy,
		"path: "+Targets[1].Path, "path: "+own[1].Path, "policy: "+Targets[1].Policy, "policy: "+own[1].Policy,
		"slice: 10m", "slice: "+grants.FormatDuration(own[1].Slice),
	).Replace(all[resources])}
}

func (g *guest) vault() *api.Client { return g.admin }
func (g *guest) sideBySide() bool   { return true }

func (g *guest) places() places {
	return places{records: g.plan.Mount, creds: g.targets()[0].Path, ssh: g.name + "-ssh"}
}

func (g *guest) tempo() tempo {
	return tempo{
		grant: 90 * time.Second, grantOver: "90 seconds pass",
		slice: "one minute", afterSlice: 95 * time.Second, sliceOver: "95 seconds pass",
		stamp: "15:04:05",
		longer: longer{
			first: 90 * time.Second, more: time.Minute,
			pastFirst: 97 * time.Second, toldFirst: "97 seconds pass; the first end is among them",
			pastAll: time.Minute, toldAll: "a minute passes; the new end is in it",
		},
	}
}

// dress has the replicas go through the relay.
func (g *guest) dress(c *server.Config) { c.Vault.Address = g.relay.url() }

func (g *guest) loseAnswer(struck func()) { g.relay.Order(lostAnswer(g.places().creds, struck)) }

func (g *guest) pass(ctx context.Context, d time.Duration) error { return g.sleep(ctx, d) }

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
