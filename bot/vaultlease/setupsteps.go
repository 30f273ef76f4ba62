package vaultlease

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/tigeraccess/tac/grants"
)

// Steps returns what has to be done in a Vault, in order. Every step may be
// done again at any time.
func (p Plan) Steps() ([]Step, error) {
	p.setDefaults()
	if err := p.validate(); err != nil {
		return nil, fmt.Errorf("set up vault: %w", err)
	}
	steps := p.ownSteps()
	if !p.Engines {
		return steps, nil
	}
	seen := map[string]bool{}
	for _, t := range p.Targets {
		if seen[t.Path] {
			continue
		}
		seen[t.Path] = true
		switch mount, role, _ := roleOf(t); t.Engine {
		case grants.EngineDatabase:
			steps = append(steps, p.databaseSteps(mount, role, p.prefixOf(t))...)
		case grants.EngineSSH:
			steps = append(steps, sshSteps(mount, role, t)...)
		case grants.EnginePKI:
			steps = append(steps, pkiSteps(mount, role, t)...)
		default:
			steps = append(steps, Step{Deed: Advise, Why: t.Path + " is of an engine that tac does not know: what its leases allow and how they end is yours to see to."})
		}
	}
	return steps, nil
}

// ownSteps make what is tac's own.
func (p Plan) ownSteps() []Step {
	steps := []Step{
		{Deed: OwnRecords, Path: p.Mount,
			Why: "An engine that others use is left alone: they would have to write with compare-and-swap, and the bot could read what they keep there."},
		{Deed: OwnPolicy, Path: p.BotPolicyName, Records: p.Mount,
			Why: "Another bot's policy is known by where its records are, and is left alone: with this one in its place it could end nothing any more."},
		{Deed: WritePolicy, Path: p.BotPolicyName, Policy: p.BotPolicy(),
			Why: "What the bot may do: mint tokens through one role, end leases, keep records. Its name must not begin with " + TargetPrefix + ", for the bot may mint tokens with any policy that does."},
		{Deed: WritePolicy, Path: p.JanitorPolicyName, Policy: p.JanitorPolicy(),
			Why: "For another identity, which looks for leases that nobody knows of. Listing them needs sudo, which the bot must never have."},
	}
	seen := map[string]bool{}
	for _, t := range p.Targets {
		if seen[t.Policy] {
			continue
		}
		seen[t.Policy] = true
		steps = append(steps, Step{Deed: WritePolicy, Path: t.Policy, Policy: p.targetPolicy(t.Policy), Why: "All that the token of one grant may do."})
	}
	return append(steps,
		Step{Deed: EnableSecrets, Path: p.Mount, Engine: "kv", Fields: []Field{field("version", "2")},
			Why: "Where the bot keeps its records."},
		Step{Deed: Write, Path: p.Mount + "/config", Fields: []Field{field("cas_required", "true")}, Settling: true,
			Why: "Compare-and-swap is what keeps several replicas from issuing twice: no write may go without."},
		Step{Deed: EnableSecrets, Path: p.Transit, Engine: "transit",
			Why: "The key that attests which grant files the bot wrote. It never leaves Vault."},
		Step{Deed: Write, Path: p.Transit + "/keys/" + p.TransitKey, Fields: []Field{field("type", "ed25519")}, Once: true,
			Why: "Auditors verify the attestations offline, with its public half."},
		Step{Deed: EnableAuth, Path: p.AppRole, Engine: "approle",
			Why: "How the bot logs in."},
		p.tokenRole(), p.botRole(),
	)
}

// targetPolicy joins the paths of all targets that share a policy.
func (p Plan) targetPolicy(name string) string {
	var b strings.Builder
	seen := map[string]bool{}
	for _, t := range p.Targets {
		if t.Policy == name && !seen[t.Path] {
			seen[t.Path] = true
			b.WriteString(TargetPolicy(t))
		}
	}
	return b.String()
}

func (p Plan) tokenRole() Step {
	s := Step{Deed: Write, Path: "auth/token/roles/" + p.TokenRole,
		Why: "The only way in which the bot mints tokens. Orphans, so that a grant's token outlives the bot's own; not renewable and never longer than the longest grant, so that it ends with all its leases whatever becomes of the bot. What is empty is written too: an older role may allow more.",
		Fields: []Field{
			field("orphan", "true"), field("renewable", "false"), field("token_type", "service"),
			field("token_no_default_policy", "true"), field("allowed_policies_glob", TargetPrefix+"*"),
			field("allowed_policies", ""), field("disallowed_policies", ""), field("disallowed_policies_glob", ""), field("allowed_entity_aliases", ""),
			field("token_explicit_max_ttl", seconds(wholeSeconds(p.LongestToken))), field("token_period", "0"), field("token_num_uses", "0"),
		}}
	if len(p.BoundCIDRs) > 0 {
		s.Fields = append(s.Fields, field("token_bound_cidrs", p.BoundCIDRs...))
	}
	return s
}

func (p Plan) botRole() Step {
	s := Step{Deed: Write, Path: p.rolePath(),
		Why: "The bot's own tokens: an hour each, renewed up to a day, with its policy and no other.",
		Fields: []Field{
			field("token_policies", p.BotPolicyName), field("token_no_default_policy", "true"),
			field("token_ttl", "1h"), field("token_max_ttl", "24h"), field("token_type", "service"),
			field("token_period", "0"), field("token_num_uses", "0"), field("bind_secret_id", "true"),
		}}
	if len(p.BoundCIDRs) > 0 {
		s.Fields = append(s.Fields, field("token_bound_cidrs", p.BoundCIDRs...), field("secret_id_bound_cidrs", p.BoundCIDRs...))
	}
	return s
}

// The statements of a PostgreSQL role, measured (a session that is open ends,
// and nothing that the person owned keeps the role from being dropped).
const (
	createUser = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE `
	dropUser   = `DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN ` +
		`ALTER ROLE "{{name}}" NOLOGIN; PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'; ` +
		`GRANT "{{name}}" TO CURRENT_USER; DROP OWNED BY "{{name}}" CASCADE; DROP ROLE "{{name}}"; END IF; END $$;`
)

// firstLease is the default_ttl that set-up gives a database role.
const firstLease = longestStray

func (p Plan) databaseSteps(mount, role, prefix string) []Step {
	variable := func(suffix string) Text { return Text{{Variable: prefix + suffix}} }
	return []Step{
		enableFor(EnableSecrets, mount, "database"),
		{Deed: Write, Path: mount + "/config/" + role, Once: true,
			Why: "One connection for each role: the engine holds one lock per connection, and a slow statement would keep everybody waiting. The administrator needs LOGIN and CREATEROLE, the role pg_signal_backend, and the granted role WITH ADMIN OPTION.",
			Fields: []Field{
				field("plugin_name", "postgresql-database-plugin"), field("allowed_roles", role),
				{Name: "connection_url", Values: []Text{variable("_URL")}}, {Name: "username", Values: []Text{variable("_ADMIN")}},
				{Name: "password", Values: []Text{variable("_PASSWORD")}, Secret: true},
			}},
		{Deed: Write, Path: mount + "/roles/" + role, Once: true,
			Why: "A credential that a crash left unrecorded lives for default_ttl. VALID UNTIL is what ends a login with Vault gone. Revocation ends open sessions; note that DROP OWNED deletes what the person created, and that REASSIGN OWNED is the other choice.",
			Fields: []Field{
				field("db_name", role), field("default_ttl", seconds(wholeSeconds(firstLease))), field("max_ttl", seconds(wholeSeconds(p.LongestToken))),
				{Name: "creation_statements", Values: []Text{append(append(words(createUser+`"`), variable("_GRANTS")...), Part{Words: `";`})}},
				field("revocation_statements", dropUser),
			}},
	}
}

func enableFor(deed Deed, path, engine string) Step {
	return Step{Deed: deed, Path: path, Engine: engine, Why: "Enabled where it is missing; what is there is left as it is."}
}

func sshSteps(mount, role string, t grants.Target) []Step {
	return []Step{
		enableFor(EnableSecrets, mount, "ssh"),
		{Deed: Write, Path: mount + "/config/ca", Fields: []Field{field("generate_signing_key", "true")}, Once: true,
			Why: "The authority that the servers trust: put `vault read -field=public_key " + mount + "/config/ca` into their TrustedUserCAKeys."},
		{Deed: Write, Path: mount + "/roles/" + role, Once: true, Fields: sshRole(t),
			Why: "A certificate cannot be taken back, so none is longer than one slice; it names its users, for one that names nobody would be good for everybody."},
	}
}

func sshRole(t grants.Target) []Field {
	return []Field{
		field("key_type", "ca"), field("allow_user_certificates", "true"), field("allowed_users", strings.Join(t.Principals, ",")),
		field("default_user", t.Principals[0]), field("allow_empty_principals", "false"), field("allow_user_key_ids", "true"),
		field("ttl", wholeText(t.Slice)), field("max_ttl", wholeText(t.Slice)), {Name: "default_extensions", Map: map[string]string{"permit-pty": ""}},
	}
}

func pkiSteps(mount, role string, t grants.Target) []Step {
	return []Step{
		enableFor(EnableSecrets, mount, "pki"),
		{Deed: Write, Path: mount + "/roles/" + role, Once: true, Fields: pkiRole(t),
			Why: "A certificate cannot be taken back, so none is longer than one slice; it bears these names and no others: the bot says them, and what the claimant's request asks for is not used."},
		{Deed: Advise, Why: "The authority of " + mount + " is yours: make or import it, for example with `vault write " + mount + "/root/generate/internal common_name=...`, and have those that trust it do so."},
	}
}

func pkiRole(t grants.Target) []Field {
	return []Field{
		field("allow_bare_domains", "true"), field("allow_subdomains", "false"), field("allow_glob_domains", "false"),
		field("allow_wildcard_certificates", "false"), field("allow_any_name", "false"), field("allow_localhost", "false"), field("allow_ip_sans", "false"),
		field("allowed_domains", strings.Join(t.Principals, ",")), field("server_flag", "false"), field("client_flag", "true"),
		field("use_csr_common_name", "false"), field("use_csr_sans", "false"),
		field("key_type", "any"), field("ttl", wholeText(t.Slice)), field("max_ttl", wholeText(t.Slice)), field("no_store", "true"),
	}
}

func wholeText(d time.Duration) string { return seconds(wholeSeconds(d)) }

// Variables returns what the operator has to say, for the steps of Engines.
func (p Plan) Variables() []Variable {
	var all []Variable
	seen := map[string]bool{}
	for _, t := range p.Targets {
		if _, role, ok := roleOf(t); ok && p.Engines && t.Engine == grants.EngineDatabase && !seen[t.Path] {
			seen[t.Path] = true
			prefix := p.prefixOf(t)
			all = append(all,
				Variable{prefix + "_URL", "the address of the database behind " + role + ", with username and password as placeholders of Vault, as in README.md"},
				Variable{prefix + "_ADMIN", "the user as which Vault makes and drops users there"},
				Variable{prefix + "_PASSWORD", "the password of that user"},
				Variable{prefix + "_GRANTS", "the role of the database that people get, which must exist"})
		}
	}
	return all
}

// prefixOf returns how the variables of a database target begin: its role's
// name, and the mount's too where two roles have one name.
func (p Plan) prefixOf(t grants.Target) string {
	mount, role, _ := roleOf(t)
	for _, other := range p.Targets {
		m, r, _ := roleOf(other)
		if other.Engine == grants.EngineDatabase && m != mount && shellName(r) == shellName(role) {
			return shellName(mount + "_" + role)
		}
	}
	return shellName(role)
}

func shellName(s string) string {
	name := strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return unicode.ToUpper(r)
		}
		return '_'
	}, s)
	if name != "" && unicode.IsDigit(rune(name[0])) {
		return "DB_" + name
	}
	return name
}
