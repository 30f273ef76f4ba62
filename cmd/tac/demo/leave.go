package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/vaultlease"
)

// inventory is what stands in a Vault: `kind name`, as in "secrets kv/".
type inventory map[string]bool

// tables are where Vault lists what set-up can make.
var tables = []struct{ kind, path string }{
	{"secrets", "sys/mounts"}, {"auth", "sys/auth"}, {"policy", "sys/policies/acl"},
	{"token role", "auth/token/roles"}, {"token", "auth/token/accessors"}, {"entity", "identity/entity/id"},
}

func (g *guest) takeInventory(ctx context.Context) (inventory, error) {
	all := inventory{}
	for _, t := range tables {
		var names []string
		if t.path == "sys/mounts" || t.path == "sys/auth" {
			table, err := g.read(ctx, t.path)
			if err != nil {
				return nil, err
			}
			names = slices.Collect(maps.Keys(table.Data))
		} else {
			list, err := g.admin.Logical().ListWithContext(ctx, t.path)
			if err != nil {
				return nil, fmt.Errorf("list %s: %w", t.path, err)
			}
			names = listed(list)
		}
		for _, name := range names {
			all[t.kind+" "+name] = true
		}
	}
	return all, nil
}

// read reads what every Vault has.
func (g *guest) read(ctx context.Context, path string) (*api.Secret, error) {
	secret, err := g.admin.Logical().ReadWithContext(ctx, path)
	if err == nil && secret == nil {
		err = errors.New("nothing is there")
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return secret, nil
}

// removal is one thing to take away, and how a person would do it.
type removal struct {
	path    string
	body    map[string]any // nil: DELETE
	command string
	thing   string // as the inventory has it; empty: its name is ours
}

// leave takes away what setUp made and what came about since: what lives
// first, so that the database hears of it. It goes on after a failure and
// returns what is left, as commands for the person, and the first failure.
func (g *guest) leave(ctx context.Context) (left []string, problem error) {
	failed := func(err error) bool {
		if problem == nil {
			problem = err
		}
		return err != nil
	}
	var all []removal
	for _, find := range []func(context.Context) ([]removal, error){g.leases, g.tokens, g.things, g.entities} {
		found, err := find(ctx)
		failed(err)
		all = append(all, found...)
	}
	for _, r := range all {
		var err error
		if r.body != nil {
			_, err = g.admin.Logical().WriteWithContext(ctx, r.path, r.body)
		} else {
			_, err = g.admin.Logical().DeleteWithContext(ctx, r.path)
		}
		if failed(err) {
			left = append(left, r.command)
		}
	}
	failed(g.compare(ctx, all))
	if g.relay != nil {
		failed(g.relay.close())
	}
	return left, problem
}

// leases are credentials that still live. Vault would end them with their
// engine too, but here a failure can be told of each.
func (g *guest) leases(ctx context.Context) (all []removal, err error) {
	list, err := g.admin.Logical().ListWithContext(ctx, "sys/leases/lookup/"+g.places().creds)
	if err != nil {
		return nil, fmt.Errorf("list the demo's leases: %w", err)
	}
	for _, key := range listed(list) {
		id := g.places().creds + "/" + key
		all = append(all, removal{
			path: "sys/leases/revoke", body: map[string]any{"lease_id": id, "sync": true},
			command: "vault lease revoke -force -prefix " + id,
		})
	}
	return all, nil
}

// byHand are the commands that do what leave does, for a person whose demo was
// killed outright. Tokens are left out: they may do nothing without their
// policies, and end within a day.
func (g *guest) byHand() ([]string, error) {
	// The database is gone with the demo: only with -force does Vault forget.
	commands := []string{"vault lease revoke -force -prefix " + g.places().creds}
	things, err := g.things(context.Background())
	for _, r := range things {
		commands = append(commands, r.command)
	}
	return commands, err
}

// things are what set-up made, last first. Nobody else has the name, so even
// a step that may not have been done can be undone.
func (g *guest) things(context.Context) (all []removal, err error) {
	steps, err := g.plan.Steps()
	for _, s := range slices.Backward(steps) {
		switch {
		case s.Deed == vaultlease.EnableSecrets:
			all = append(all, removal{path: "sys/mounts/" + s.Path, command: "vault secrets disable " + s.Path})
		case s.Deed == vaultlease.EnableAuth:
			all = append(all, removal{path: "sys/auth/" + s.Path, command: "vault auth disable " + s.Path})
		case s.Deed == vaultlease.WritePolicy:
			all = append(all, removal{path: "sys/policies/acl/" + s.Path, command: "vault policy delete " + s.Path})
		case s.Deed == vaultlease.Write && s.Path == "auth/token/roles/"+g.plan.TokenRole:
			all = append(all, removal{path: s.Path, command: "vault delete " + s.Path})
		}
	}
	return all, err
}

// tokens are those that replicas minted, which outlive their role, and those
// that hold a wrapped credential. Only tokens that came since the beginning
// are looked at.
func (g *guest) tokens(ctx context.Context) (all []removal, problems error) {
	now, err := g.takeInventory(ctx)
	if err != nil {
		return nil, err
	}
	var wraps map[string]bool
	if now["secrets "+g.plan.Mount+"/"] { // else set-up did not get as far, or is undone
		wraps, problems = g.wraps(ctx)
	}
	maps.Copy(g.wrapped, wraps) // the records go soon
	for thing := range now {
		accessor, ok := strings.CutPrefix(thing, "token ")
		if !ok || g.before[thing] {
			continue
		}
		token, err := g.admin.Logical().WriteWithContext(ctx, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
		if err != nil && strings.Contains(err.Error(), "invalid accessor") {
			continue // it ended meanwhile
		}
		if err == nil && token == nil {
			err = errors.New("there is no answer")
		}
		if err != nil {
			problems = errors.Join(problems, fmt.Errorf("look a token up: %w", err))
			continue
		}
		if token.Data["path"] == "auth/token/create/"+g.plan.TokenRole || g.wrapped[accessor] {
			all = append(all, removal{
				thing: thing,
				path:  "auth/token/revoke-accessor", body: map[string]any{"accessor": accessor},
				command: "vault token revoke -accessor " + accessor,
			})
		}
	}
	return all, problems
}

// wraps are the accessors of wrapping tokens in the bot's records.
func (g *guest) wraps(ctx context.Context) (map[string]bool, error) {
	wraps := map[string]bool{}
	list, err := g.admin.Logical().ListWithContext(ctx, g.plan.Mount+"/metadata/grants")
	if err != nil {
		return nil, fmt.Errorf("list the demo's records: %w", err)
	}
	for _, key := range listed(list) {
		r, err := readRecord(ctx, g.admin, g.plan.Mount+"/data/grants/"+key)
		if err != nil {
			return wraps, err
		}
		wraps[r.WrapAccessor] = true
	}
	return wraps, nil
}

// entities are what Vault noted about who logged in through our auth method.
func (g *guest) entities(ctx context.Context) (all []removal, err error) {
	methods, err := g.read(ctx, "sys/auth")
	if err != nil {
		return nil, err
	}
	own, ok := methods.Data[g.plan.AppRole+"/"].(map[string]any)
	if !ok {
		return nil, nil
	}
	aliases, err := g.admin.Logical().ListWithContext(ctx, "identity/entity-alias/id")
	if err != nil {
		return nil, fmt.Errorf("list who logged in: %w", err)
	}
	if aliases == nil {
		return nil, nil
	}
	infos, _ := aliases.Data["key_info"].(map[string]any)
	for _, raw := range infos {
		var alias struct {
			Mount  string `json:"mount_accessor"`
			Entity string `json:"canonical_id"`
		}
		if err := decode(raw, &alias); err != nil {
			return nil, fmt.Errorf("read who logged in: %w", err)
		}
		if alias.Mount == own["accessor"] && !g.before["entity "+alias.Entity] {
			path := "identity/entity/id/" + alias.Entity
			all = append(all, removal{path: path, command: "vault delete " + path, thing: "entity " + alias.Entity})
		}
	}
	return all, nil
}

// compare looks whether anything with our name is left, or anything that was
// to be taken away, or a token or lease of ours that was not seen before. What
// else changed meanwhile is the doing of others, such as another demo.
func (g *guest) compare(ctx context.Context, gone []removal) error {
	now, err := g.takeInventory(ctx)
	if err != nil {
		return err
	}
	leases, err := g.leases(ctx)
	if err != nil {
		return err
	}
	tokens, err := g.tokens(ctx)
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, r := range slices.Concat(gone, tokens) {
		ours[r.thing] = true
	}
	var left []string
	for thing := range now {
		if ours[thing] || strings.Contains(thing, g.name) {
			left = append(left, thing)
		}
	}
	for _, r := range leases {
		left = append(left, fmt.Sprint("lease ", r.body["lease_id"]))
	}
	if len(left) == 0 {
		return nil
	}
	slices.Sort(left)
	return errors.New("still there: " + strings.Join(left, ", "))
}

func readRecord(ctx context.Context, admin *api.Client, path string) (r written, err error) {
	secret, err := admin.Logical().ReadWithContext(ctx, path)
	if err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	if secret == nil || secret.Data["data"] == nil {
		return r, nil
	}
	if err := decode(secret.Data["data"], &r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}
