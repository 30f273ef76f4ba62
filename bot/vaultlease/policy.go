package vaultlease

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
)

// TargetPrefix is how the targets' policies begin. The bot's own must not: the
// token role lets the bot mint tokens with any policy that does.
const TargetPrefix = "tac-"

// allowance is one path of a policy and what may be done there.
type allowance struct {
	path         string
	capabilities []string
	more         string // further lines of the block
}

// allowances are what the bot may do: what the calls of this package need and
// nothing that could revoke by prefix, by force, or forget a record. From the
// heading "checks" on they only read, so that Examine sees what is set up.
func (p Plan) allowances() (calls, checks []allowance) {
	p.setDefaults()
	only := func(path string, capabilities ...string) allowance {
		return allowance{path: path, capabilities: capabilities}
	}
	wrapping := only("sys/wrapping/wrap", "update")
	wrapping.more = ` min_wrapping_ttl = "30s" max_wrapping_ttl = "10m"`
	calls = []allowance{
		only("auth/token/create/"+p.TokenRole, "update"),
		only("auth/token/lookup-accessor", "update"),
		only("auth/token/revoke-accessor", "update"),
		only("auth/token/renew-self", "update"),
		only("auth/token/lookup-self", "read"),
		only("sys/leases/lookup", "update"),
		only("sys/leases/renew", "update"),
		only("sys/leases/revoke", "update"),
		only("sys/leases/count", "read"),
		wrapping,
		only(recordsPath(p.Mount), "create", "read", "update"),
		only(p.Mount+"/metadata/*", "list", "read"),
		only(p.Transit+"/sign/"+p.TransitKey, "update"),
		only(p.Transit+"/verify/"+p.TransitKey, "update"),
	}
	checks = []allowance{
		only("sys/capabilities-self", "update"),
		only("sys/policies/acl/"+TargetPrefix+"*", "read"),
		only("auth/token/roles/"+p.TokenRole, "read"),
		only(p.Transit+"/keys/"+p.TransitKey, "read"),
	}
	for _, mount := range p.mounts(grants.EngineDatabase, grants.EngineSSH, grants.EnginePKI) {
		checks = append(checks, only(mount+"/roles/*", "read"))
	}
	return calls, checks
}

// recordsPath is what tells one bot's policy from another's.
func recordsPath(mount string) string { return mount + "/data/*" }

func (a allowance) String() string {
	return fmt.Sprintf("path %q { capabilities = [\"%s\"]%s }\n", a.path, strings.Join(a.capabilities, `", "`), a.more)
}

// BotPolicy returns the policy of the bot, in Vault's policy language, for the
// plan's paths.
func (p Plan) BotPolicy() string {
	calls, checks := p.allowances()
	var b strings.Builder
	b.WriteString("# tac: the bot\n")
	for _, a := range calls {
		b.WriteString(a.String())
	}
	b.WriteString("# what `tac doctor` and the bot's start read, to see that all this is set up right\n")
	for _, a := range checks {
		b.WriteString(a.String())
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
	for _, mount := range p.mounts(grants.EngineDatabase) {
		fmt.Fprintf(&b, "path \"sys/leases/lookup/%s/creds/*\" { capabilities = [\"list\", \"sudo\"] }\n", mount)
	}
	return b.String()
}

// TargetPolicy returns the policy that a grant's token has: its one path.
func TargetPolicy(t grants.Target) string {
	return allowance{path: t.Path, capabilities: []string{capabilityOf(t)}}.String()
}

// capabilityOf returns what a grant's token does at its path: certificates are
// signed by a write, everything else is read.
func capabilityOf(t grants.Target) string {
	if signs(t.Engine) {
		return "update"
	}
	return "read"
}

// mounts returns the mounts of the plan's targets of some engines, sorted.
func (p Plan) mounts(engines ...string) []string {
	mounts := map[string]bool{}
	for _, t := range p.Targets {
		if mount, _, ok := roleOf(t); ok && slices.Contains(engines, t.Engine) {
			mounts[mount] = true
		}
	}
	return slices.Sorted(maps.Keys(mounts))
}
