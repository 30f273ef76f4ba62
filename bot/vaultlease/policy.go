package vaultlease

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
)

// Names that set-up gives. The bot's own policy must not begin as the targets'
// do: the token role lets the bot mint tokens with any policy that does.
const (
	BotPolicyName     = "bot-tac"
	JanitorPolicyName = "janitor-tac"
	TargetPrefix      = "tac-"
)

// BotPolicy returns the policy of the bot, in Vault's policy language: what
// the calls of this package need, and nothing that could revoke by prefix,
// by force, or forget a record. It is for the plan's paths.
func (p Plan) BotPolicy() string {
	p.setDefaults()
	var b strings.Builder
	fmt.Fprintf(&b, `# tac: the bot
path "auth/token/create/%[1]s" { capabilities = ["update"] }
path "auth/token/lookup-accessor" { capabilities = ["update"] }
path "auth/token/revoke-accessor" { capabilities = ["update"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/lookup-self" { capabilities = ["read"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/leases/renew" { capabilities = ["update"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/count" { capabilities = ["read"] }
path "sys/wrapping/wrap" { capabilities = ["update"] min_wrapping_ttl = "30s" max_wrapping_ttl = "10m" }
path "%[2]s/data/*" { capabilities = ["create", "read", "update"] }
path "%[2]s/metadata/*" { capabilities = ["list", "read"] }
path "transit/sign/%[3]s" { capabilities = ["update"] }
path "transit/verify/%[3]s" { capabilities = ["update"] }
`, p.TokenRole, p.Mount, p.TransitKey)
	for _, mount := range p.databases() {
		fmt.Fprintf(&b, "path \"%s/roles/*\" { capabilities = [\"read\"] }\n", mount)
	}
	return b.String()
}

// JanitorPolicy returns the policy of another identity, which looks for leases
// that nobody knows of and for those that Vault has given up. The bot must not
// have it: listing leases needs sudo.
func (p Plan) JanitorPolicy() string {
	var b strings.Builder
	b.WriteString(`# tac: the janitor
path "sys/leases" { capabilities = ["read", "list", "sudo"] }
path "sys/leases/revoke" { capabilities = ["update"] }
path "sys/leases/count" { capabilities = ["read"] }
`)
	for _, mount := range p.databases() {
		fmt.Fprintf(&b, "path \"sys/leases/lookup/%s/creds/*\" { capabilities = [\"list\", \"sudo\"] }\n", mount)
	}
	return b.String()
}

// TargetPolicy returns the policy that a grant's token has: its one path.
func TargetPolicy(t grants.Target) string {
	capability := "read"
	if t.Engine == grants.EngineSSH {
		capability = "update"
	}
	return fmt.Sprintf("path %q { capabilities = [%q] }\n", t.Path, capability)
}

// databases returns the mounts of the plan's database engines, sorted.
func (p Plan) databases() []string {
	mounts := map[string]bool{}
	for _, t := range p.Targets {
		if mount, _, ok := strings.Cut(t.Path, "/creds/"); ok && t.Engine == grants.EngineDatabase {
			mounts[mount] = true
		}
	}
	return slices.Sorted(maps.Keys(mounts))
}
