package vaultlease

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// shortestLease is the least default_ttl that a role may have: a lease must
// have a minute left when its end is moved to the grant's.
const shortestLease = 2 * time.Minute

// longestStray is the most: a credential that was lost lives that long.
const longestStray = grants.StrayLife - 5*time.Second

// judge says what is right and what is wrong. It stops where nothing further
// can have been read.
func (r *reading) judge() []world.Finding {
	f := &world.Findings{Area: "vault"}
	if !r.judgeHealth(f) || !r.judgeIdentity(f) {
		return f.List
	}
	r.judgeRecords(f)
	r.judgeKey(f)
	r.judgeTokenRole(f)
	r.judgePowers(f)
	for _, t := range r.targets {
		f.Resource = t.Resource
		r.judgeTarget(f, t)
	}
	return f.List
}

func (r *reading) judgeHealth(f *world.Findings) (awake bool) {
	const check = "reachable"
	switch h := r.health; {
	case r.healthErr != nil:
		f.Unreachable(check, "address: ... under vault: in tac.yaml; curl -s "+r.cfg.Address+"/v1/sys/health", r.healthErr)
		return false
	case !h.Initialized:
		f.Wrong(check, "vault operator init", "Vault is not initialised")
		return false
	case !r.awake():
		f.Wrong(check, "vault operator unseal", "Vault is sealed")
		f.List[len(f.List)-1].Outage = true // sealing is how Vaults are halted, not how they are set up
		return false
	}
	f.Fine(check, "Vault answers, and is unsealed")
	judgeVersion(f, r.health.Version)
	if skew := r.health.time().Sub(r.now).Abs(); skew > mostSkew {
		f.Wrong("clock", "set both clocks by NTP: timedatectl set-ntp true", "the clock here and Vault's differ by %s; at most %s is allowed", skew.Round(time.Second), mostSkew)
	} else {
		f.Fine("clock", "the clock here and Vault's agree")
	}
	if r.health.Enterprise && !r.cfg.ForwardToActive {
		f.Wrong("standbys", "allow_forwarding_via_header = true in the configuration of every Vault server",
			"this is Vault Enterprise, where performance standbys answer from a copy that lags: calls have to be forwarded to the active node")
	}
	return true
}

func (r *reading) judgeIdentity(f *world.Findings) (in bool) {
	const check = "identity"
	role := "auth/" + r.plan.AppRole + "/role/" + r.plan.Role
	switch err := r.identityErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
		return false
	case err != nil:
		f.Wrong(check, "vault write -f "+role+"/secret-id", "the bot cannot log in: %v", err)
		return false
	case slices.Contains(r.self.Policies, "root"):
		f.Wrong(check, r.plan.setupLine(), "the bot works with the root token, which may do everything")
	case slices.Contains(r.self.Policies, "default"):
		f.Wrong(check, "vault write "+role+" token_policies="+r.plan.BotPolicyName+" token_no_default_policy=true", "the bot's token has the policy default besides its own")
	default:
		f.Fine(check, "the bot logs in, with the policy %s", strings.Join(r.self.Policies, ", "))
	}
	return true
}

// setupLine is the command that brings what is tac's own back to what it
// should be.
func (p Plan) setupLine() string {
	words := []string{"tac vault setup"}
	for _, flag := range []struct{ name, value, standard string }{
		{"mount", p.Mount, DefaultMount}, {"transit", p.Transit, DefaultTransit}, {"transit-key", p.TransitKey, DefaultTransitKey},
		{"token-role", p.TokenRole, DefaultTokenRole}, {"approle", p.AppRole, DefaultAppRole},
	} {
		if flag.value != flag.standard {
			words = append(words, "--"+flag.name+" "+flag.value)
		}
	}
	return strings.Join(append(words, "GRANTS-REPOSITORY"), " ")
}

func (r *reading) judgeRecords(f *world.Findings) {
	const check = "compare-and-swap"
	switch err := r.recordsErr; {
	case err != nil && outage(err):
		f.Silent("records", err)
		return
	case err != nil:
		f.Wrong("records", r.plan.setupLine(), "the bot cannot read its records at %s: %v", r.plan.Mount, err)
		return
	}
	f.Fine("records", "the bot reads its records at %s", r.plan.Mount)
	switch err := r.unguarded; {
	case says(err, http.StatusBadRequest, "check-and-set parameter required for this call"):
		f.Fine(check, "a write without compare-and-swap is refused")
	case err == nil:
		f.Wrong(check, "vault write "+r.plan.Mount+"/config cas_required=true",
			"a write without compare-and-swap was taken (%s/%s): two replicas could each think that they alone issue", r.plan.Mount, probeDocument)
	case outage(err):
		f.Silent(check, err)
	default:
		f.Unseen(check, r.plan.setupLine(), "whether writes need compare-and-swap cannot be told: %v", err)
	}
}

func (r *reading) judgeKey(f *world.Findings) {
	check := r.plan.Transit + "/keys/" + r.plan.TransitKey
	another := "vault write " + r.plan.Transit + "/keys/" + r.plan.TransitKey + "-2 type=ed25519, and in tac.yaml under vault: transit_key: " + r.plan.TransitKey + "-2"
	switch err := r.signErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
		return
	case err != nil:
		f.Wrong(check, r.plan.setupLine(), "the bot cannot attest what it writes: %v", err)
		return
	}
	switch err := r.keyErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
	case err != nil:
		f.Unseen(check, r.plan.setupLine(), "the key signs, but the bot may not read of which type it is: %v", err)
	case r.key.Type != "ed25519":
		f.Wrong(check, another, "the key is of type %s; attestations are verified as ed25519", r.key.Type)
	case r.key.Exportable:
		f.Wrong(check, another, "the key can be exported, and whoever has it can attest in the bot's name")
	default:
		f.Fine(check, "the key attests, is ed25519 and stays in Vault")
	}
}

func (r *reading) judgeTokenRole(f *world.Findings) {
	check := "auth/token/roles/" + r.plan.TokenRole
	switch err := r.tokenRoleErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
		return
	case hasStatus(err, http.StatusNotFound):
		f.Wrong(check, r.plan.setupLine(), "the token role does not exist")
		return
	case err != nil:
		f.Wrong(check, r.plan.setupLine(), "the bot may not read its token role, and so cannot know that it bounds anything: %v", err)
		return
	}
	before := len(f.List)
	for _, c := range r.tokenRole.faults(r.plan.LongestToken) {
		f.Wrong(check, "vault write "+check+" "+c.set, "%s", c.why)
	}
	most := time.Duration(r.tokenRole.ExplicitMaxTTL) * time.Second
	for _, t := range r.targets {
		if most > 0 && most < t.Longest {
			f.Resource = t.Resource
			f.Wrong(check, "vault write "+check+" token_explicit_max_ttl="+wholeText(r.plan.LongestToken), "token_explicit_max_ttl is %s: grants may last %s", most, t.Longest)
		}
	}
	f.Resource = ""
	if len(f.List) == before {
		f.Fine(check, "mints orphans that cannot be renewed, with policies %s and no others", strings.Join(append(r.tokenRole.Allowed, r.tokenRole.AllowedGlob...), ", "))
	}
}

// fault is one thing that is wrong with a role, and what to set instead.
type fault struct{ why, set string }

func (t tokenRole) faults(longest time.Duration) []fault {
	var found []fault
	check := func(wrong bool, why, set string) {
		if wrong {
			found = append(found, fault{why, set})
		}
	}
	ours := func(policy string) bool { return strings.HasPrefix(policy, TargetPrefix) }
	all := append(slices.Clone(t.Allowed), t.AllowedGlob...)
	most := time.Duration(t.ExplicitMaxTTL) * time.Second
	check(!t.Orphan, "orphan is not set: a grant's credential would die whenever the bot's own token does", "orphan=true")
	check(t.Renewable, "renewable is set: a grant's token could be kept alive past its end", "renewable=false")
	// What is minted asks to be a service token, which the default grants.
	check(t.Type != "service" && t.Type != "default-service", "token_type is "+t.Type+": only service tokens can be revoked", "token_type=service")
	check(!t.NoDefaultPolicy, "token_no_default_policy is not set: a grant's token could do more than its one path", "token_no_default_policy=true")
	check(len(all) == 0, "it allows every policy that the bot has, and no other", "allowed_policies_glob='"+TargetPrefix+"*'")
	check(slices.ContainsFunc(all, func(p string) bool { return !ours(p) }),
		"it allows policies that are not tac's: "+strings.Join(all, ", "), "allowed_policies= allowed_policies_glob='"+TargetPrefix+"*'")
	check(most <= 0, "token_explicit_max_ttl is not set: nothing bounds a grant's token but the bot", "token_explicit_max_ttl="+wholeText(max(longest, 24*time.Hour)))
	check(t.Period != 0, "token_period is set: a grant's token could live for ever", "token_period=0")
	check(t.NumUses != 0, "token_num_uses is set: Vault revokes a credential with the last use of its token", "token_num_uses=0")
	return found
}

// power is a path and all that the bot may do there.
type power struct {
	path string
	may  []string
	harm string // what it would do with anything at all, where it needs nothing
}

// powers are the paths that matter: those that the bot needs, with exactly
// what it needs there, and those that it must not have.
func (p Plan) powers() []power {
	var all []power
	calls, checks := p.allowances()
	for _, a := range append(calls, checks...) {
		all = append(all, power{path: strings.Replace(a.path, "*", "doctor", 1), may: a.capabilities})
	}
	none := func(harm string, paths ...string) {
		for _, path := range paths {
			all = append(all, power{path: path, harm: harm})
		}
	}
	none("ends other people's leases", "sys/leases/revoke-prefix/doctor", "sys/leases/revoke-force/doctor")
	none("forgets leases that still live", "sys/leases/tidy")
	none("lists every lease there is", "sys/leases/lookup/doctor")
	none("mints tokens beside the token role", "auth/token/create", "auth/token/create-orphan", "auth/token/create/doctor")
	none("widens the bot's own powers", "sys/policies/acl/"+p.BotPolicyName, "auth/"+p.AppRole+"/role/"+p.Role, "sys/auth/doctor", "sys/mounts/doctor")
	none("forgets which grants have ended", p.Mount+"/delete/doctor", p.Mount+"/destroy/doctor", p.Mount+"/config")
	none("hands out the attestation key or lets it be deleted", p.Transit+"/export/signing-key/"+p.TransitKey, p.Transit+"/keys/"+p.TransitKey+"/config")
	seen := map[string]bool{}
	for _, t := range p.Targets {
		if !seen[t.Path] {
			seen[t.Path] = true
			none("issues credentials that no grant accounts for", t.Path)
		}
	}
	return all
}

func (r *reading) judgePowers(f *world.Findings) {
	check := r.plan.BotPolicyName
	switch err := r.powersErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
		return
	case err != nil:
		f.Unseen(check, r.plan.setupLine(), "the bot may not ask what it may do: %v", err)
		return
	}
	before, beyond := len(f.List), 0
	for _, e := range r.plan.powers() {
		found := r.powers[e.path]
		if slices.Contains(found, "root") {
			return // told already, with the identity
		}
		lacks := slices.DeleteFunc(slices.Clone(e.may), func(c string) bool { return slices.Contains(found, c) })
		extra := slices.DeleteFunc(slices.Clone(found), func(c string) bool { return c == "deny" || slices.Contains(e.may, c) })
		if len(lacks) > 0 {
			for _, f.Resource = range r.behind(e.path) {
				f.Wrong(check, r.plan.setupLine(), "the bot may not %s %s", strings.Join(lacks, " or "), e.path)
			}
			f.Resource = ""
		}
		switch {
		case len(extra) == 0:
		case len(e.may) > 0: // one stray block can be on all of them
			beyond++
		default:
			f.Wrong(check, r.plan.setupLine(), "the bot may %s %s, which %s", strings.Join(extra, " and "), e.path, e.harm)
		}
	}
	if beyond > 0 {
		f.Wrong(check, r.plan.setupLine(), "on %d of the paths that the bot needs it may do more than it needs", beyond)
	}
	if len(f.List) == before {
		f.Fine(check, "the bot may do what it needs, and nothing of what it must not")
	}
}

// behind names the resources whose engine a path belongs to; one without a
// name is everything, which a path of tac's own is about.
func (r *reading) behind(path string) []string {
	var names []string
	for _, t := range r.targets {
		if mount, _, ok := roleOf(t.Target); ok && strings.HasPrefix(path, mount+"/roles/") {
			names = append(names, t.Resource)
		}
	}
	if len(names) == 0 {
		names = []string{""}
	}
	return names
}

func (r *reading) judgeTarget(f *world.Findings, t targetReading) {
	r.judgeMint(f, t)
	r.judgePolicy(f, t)
	switch t.Target.Engine {
	case grants.EngineDatabase, grants.EngineSSH, grants.EnginePKI:
		r.judgeRole(f, t)
	default:
		f.Unseen(t.Target.Path, "", "what leases of %s allow, and whether they end, is not for tac to see", t.Target.Path)
	}
}

func (r *reading) judgeMint(f *world.Findings, t targetReading) {
	check := "token for " + t.Resource
	switch err := t.mintErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
	case err != nil:
		f.Wrong(check, r.plan.setupLine(), "no token can be minted for it: %v", err)
	default:
		f.Fine(check, "minted, and revoked at once")
	}
}

func (r *reading) judgePolicy(f *world.Findings, t targetReading) {
	check := "policy " + t.Target.Policy
	mend := "printf '%s' " + shellQuoted(strings.TrimSpace(r.plan.targetPolicy(t.Target.Policy))) + " | vault policy write " + t.Target.Policy + " -"
	switch err := t.policyErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
		return
	case err != nil:
		f.Unseen(check, r.plan.setupLine(), "the bot may not read it: %v", err)
		return
	case strings.TrimSpace(t.policy) == "":
		f.Wrong(check, mend, "it does not exist in Vault")
		return
	}
	blocks, ok := parsePolicy(t.policy)
	if !ok {
		f.Unseen(check, mend, "it is written otherwise than tac does, so that what it allows cannot be told")
		return
	}
	if why := r.plan.faultOf(t.Target, blocks); why != "" {
		f.Wrong(check, mend, "%s", why)
		return
	}
	f.Fine(check, "allows %s and nothing else", t.Target.Path)
}

// faultOf says what is wrong with a target's policy; empty: nothing.
func (p Plan) faultOf(t grants.Target, blocks []allowance) string {
	needed := capabilityOf(t)
	own := false
	for _, b := range blocks {
		shared := slices.ContainsFunc(p.Targets, func(o grants.Target) bool { return o.Policy == t.Policy && o.Path == b.path })
		switch {
		case b.path == t.Path:
			own = own || slices.Contains(b.capabilities, needed)
			if extra := slices.DeleteFunc(slices.Clone(b.capabilities), func(c string) bool { return c == needed }); len(extra) > 0 {
				return "it allows " + strings.Join(extra, " and ") + " on " + b.path + ", and only " + needed + " is needed"
			}
		case !shared && !slices.Equal(b.capabilities, []string{"deny"}):
			return "it allows " + b.path + " too: the token of a grant is for " + t.Path + " alone"
		}
	}
	if !own {
		return "it does not allow " + needed + " on " + t.Path
	}
	return ""
}

var (
	hclComment      = regexp.MustCompile(`(?m)(#|//).*$`)
	hclBlock        = regexp.MustCompile(`^\s*path\s+"([^"]*)"\s*\{([^{}]*)\}`)
	hclCapabilities = regexp.MustCompile(`(?:^|\s)capabilities\s*=\s*\[([^\]]*)\]`)
	hclWord         = regexp.MustCompile(`"([a-z]+)"`)
)

// parsePolicy reads a policy that is written as simply as tac writes them;
// false for any other.
func parsePolicy(text string) (blocks []allowance, ok bool) {
	rest := hclComment.ReplaceAllString(text, "")
	for strings.TrimSpace(rest) != "" {
		m := hclBlock.FindStringSubmatch(rest)
		if m == nil {
			return nil, false
		}
		rest = rest[len(m[0]):]
		list := hclCapabilities.FindAllStringSubmatch(m[2], -1)
		if len(list) != 1 {
			return nil, false
		}
		a := allowance{path: m[1]}
		for _, word := range hclWord.FindAllStringSubmatch(list[0][1], -1) {
			a.capabilities = append(a.capabilities, word[1])
		}
		blocks = append(blocks, a)
	}
	return blocks, true
}
