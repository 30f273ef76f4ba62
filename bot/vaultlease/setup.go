package vaultlease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Plan says what Setup makes. Names left empty are those of Config's defaults.
//
// The engines of the targets are not part of it: who runs them knows their
// connection. What they must be like:
//
//   - database roles have default_ttl from 2 to 5 minutes (a credential that
//     nobody recorded lives that long), max_ttl of the longest grant, VALID
//     UNTIL '{{expiration}}' in the creation statements, and revocation
//     statements that end open sessions;
//   - ssh roles have max_ttl of the longest slice, allow_user_key_ids=true,
//     allow_empty_principals=false and allowed_users that name the principals.
type Plan struct {
	Mount      string
	TransitKey string
	TokenRole  string
	AppRole    string // path of the AppRole method
	Role       string // the bot's role there; default tac

	LongestToken time.Duration // of any grant with all its extensions; default 7 days
	BoundCIDRs   []string      // where the bot calls from; empty: anywhere
	Targets      []grants.Target
}

// Identity is what the bot logs in with.
type Identity struct {
	RoleID   string
	SecretID world.Secret
}

func (p *Plan) setDefaults() {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&p.Mount, DefaultMount}, {&p.TransitKey, DefaultTransitKey}, {&p.TokenRole, DefaultTokenRole},
		{&p.AppRole, DefaultAppRole}, {&p.Role, "tac"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if p.LongestToken == 0 {
		p.LongestToken = grants.LongestDuration
	}
}

func (p *Plan) validate() error {
	for _, path := range []string{p.Mount, p.TransitKey, p.TokenRole, p.AppRole, p.Role} {
		if !pathForm.MatchString(path) {
			return fmt.Errorf("%.60q cannot be part of a path", path)
		}
	}
	for _, t := range p.Targets {
		if !strings.HasPrefix(t.Policy, TargetPrefix) || !pathForm.MatchString(t.Policy) {
			return fmt.Errorf("the policy %.60q of %s must begin with %s", t.Policy, t.Path, TargetPrefix)
		}
		if !pathForm.MatchString(t.Path) {
			return fmt.Errorf("%.80q is not a path of an engine", t.Path)
		}
	}
	return nil
}

// Setup makes in Vault what tac needs, with an administrator's client: the
// policies, the token role, the KV v2 mount with cas_required, the transit
// key, the AppRole role. It may be run again at any time; what is there is
// brought up to date, and each run returns a new secret id.
func Setup(ctx context.Context, admin *api.Client, p Plan) (Identity, error) {
	p.setDefaults()
	if err := p.validate(); err != nil {
		return Identity{}, fmt.Errorf("set up vault: %w", err)
	}
	s := &setup{admin: admin, plan: p}
	s.policies(ctx)
	s.engines(ctx)
	s.roles(ctx)
	id := s.identity(ctx)
	if s.err != nil {
		return Identity{}, fmt.Errorf("set up vault: %w", s.err)
	}
	return id, nil
}

// setup stops at its first error: every method does nothing from then on.
type setup struct {
	admin *api.Client
	plan  Plan
	err   error
}

type values = map[string]any

func (s *setup) write(ctx context.Context, path string, data values) *api.Secret {
	if s.err != nil {
		return nil
	}
	secret, err := s.admin.Logical().WriteWithContext(ctx, path, data)
	if err != nil {
		s.err = fmt.Errorf("write %s: %w", path, err)
	}
	return secret
}

func (s *setup) policies(ctx context.Context) {
	s.write(ctx, "sys/policies/acl/"+BotPolicyName, values{"policy": s.plan.BotPolicy()})
	s.write(ctx, "sys/policies/acl/"+JanitorPolicyName, values{"policy": s.plan.JanitorPolicy()})
	for _, t := range s.plan.Targets {
		s.write(ctx, "sys/policies/acl/"+t.Policy, values{"policy": TargetPolicy(t)})
	}
}

// mount enables an engine or auth method unless it is there.
func (s *setup) mount(ctx context.Context, table, path, kind string, options values) {
	if s.err != nil {
		return
	}
	secret, err := s.admin.Logical().ReadWithContext(ctx, table)
	if err != nil || secret == nil {
		s.err = fmt.Errorf("read %s: %w", table, errors.Join(err, errNothing(secret)))
		return
	}
	if there, ok := secret.Data[path+"/"].(map[string]any); ok {
		if there["type"] != kind {
			s.err = fmt.Errorf("%s/ is of type %v and not %s", path, there["type"], kind)
		}
		return
	}
	body := values{"type": kind}
	if options != nil {
		body["options"] = options
	}
	s.write(ctx, table+"/"+path, body)
}

func errNothing(secret *api.Secret) error {
	if secret == nil {
		return errors.New("nothing is there")
	}
	return nil
}

func (s *setup) engines(ctx context.Context) {
	s.mount(ctx, "sys/mounts", s.plan.Mount, "kv", values{"version": "2"})
	s.configureKV(ctx)
	s.mount(ctx, "sys/mounts", "transit", "transit", nil)
	s.write(ctx, "transit/keys/"+s.plan.TransitKey, values{"type": "ed25519"})
	s.mount(ctx, "sys/auth", s.plan.AppRole, "approle", nil)
}

const (
	upgradeTries = 20
	upgradePause = 250 * time.Millisecond
)

// configureKV waits while a new KV v2 mount is getting ready, which Vault
// reports as a 400.
func (s *setup) configureKV(ctx context.Context) {
	for range upgradeTries {
		s.write(ctx, s.plan.Mount+"/config", values{"cas_required": true})
		if s.err == nil || !strings.Contains(s.err.Error(), "Upgrading from non-versioned") {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(upgradePause):
			s.err = nil
		}
	}
	s.write(ctx, s.plan.Mount+"/config", values{"cas_required": true})
}

func (s *setup) roles(ctx context.Context) {
	role := values{
		"orphan": true, "renewable": false, "token_type": "service", "token_no_default_policy": true,
		"allowed_policies_glob":  []string{TargetPrefix + "*"},
		"token_explicit_max_ttl": seconds(wholeSeconds(s.plan.LongestToken)),
		"token_period":           0, "token_num_uses": 0,
	}
	bot := values{
		"token_policies": []string{BotPolicyName}, "token_no_default_policy": true,
		"token_ttl": "1h", "token_max_ttl": "24h", "token_type": "service",
	}
	if len(s.plan.BoundCIDRs) > 0 {
		role["token_bound_cidrs"] = s.plan.BoundCIDRs
		bot["token_bound_cidrs"], bot["secret_id_bound_cidrs"] = s.plan.BoundCIDRs, s.plan.BoundCIDRs
	}
	s.write(ctx, "auth/token/roles/"+s.plan.TokenRole, role)
	s.write(ctx, "auth/"+s.plan.AppRole+"/role/"+s.plan.Role, bot)
}

func (s *setup) identity(ctx context.Context) Identity {
	path := "auth/" + s.plan.AppRole + "/role/" + s.plan.Role
	if s.err != nil {
		return Identity{}
	}
	role, err := s.admin.Logical().ReadWithContext(ctx, path+"/role-id")
	if err != nil || role == nil {
		s.err = fmt.Errorf("read %s/role-id: %w", path, errors.Join(err, errNothing(role)))
		return Identity{}
	}
	secret := s.write(ctx, path+"/secret-id", nil)
	if s.err != nil || secret == nil {
		s.err = errors.Join(s.err, errNothing(secret))
		return Identity{}
	}
	roleID, _ := role.Data["role_id"].(string)
	secretID, _ := secret.Data["secret_id"].(string)
	if roleID == "" || secretID == "" {
		s.err = errors.New("vault gave no role id or secret id")
	}
	return Identity{RoleID: roleID, SecretID: world.NewSecret(secretID)}
}
