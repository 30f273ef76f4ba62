package vault

import (
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
)

// tokenRole is auth/token/roles/<name>.
type tokenRole struct {
	name           string
	allowed        []string
	allowedGlob    []string
	disallowed     []string
	disallowedGlob []string
	orphan         bool
	renewable      bool
	noDefault      bool
	kind           string // token_type
	explicitMax    time.Duration
	period         time.Duration
	oldExplicitMax time.Duration // as given without the prefix token_
	oldPeriod      time.Duration
	oldCIDRs       []netip.Prefix
	numUses        int
	pathSuffix     string
	cidrs          []netip.Prefix
}

func (s *Server) writeTokenRole(r *request) (*response, error) {
	role := s.roles[r.vars["role"]]
	if role == nil {
		role = &tokenRole{name: r.vars["role"], renewable: true, kind: "default-service"}
	}
	updated := *role
	if err := updated.read(r.in); err != nil {
		return nil, err
	}
	s.roles[updated.name] = &updated
	return nil, nil
}

// read takes over the fields that are given and leaves the others.
func (role *tokenRole) read(in *fields) error {
	for name, to := range map[string]*[]string{
		"allowed_policies": &role.allowed, "allowed_policies_glob": &role.allowedGlob,
		"disallowed_policies": &role.disallowed, "disallowed_policies_glob": &role.disallowedGlob,
	} {
		if in.has(name) {
			*to = cleanPolicies(in.list(name), false)
		}
	}
	for _, spelling := range []struct { // Vault takes both
		prefix           string
		explicit, period *time.Duration
		cidrs            *[]netip.Prefix
	}{
		{"", &role.oldExplicitMax, &role.oldPeriod, &role.oldCIDRs},
		{"token_", &role.explicitMax, &role.period, &role.cidrs},
	} {
		if n := spelling.prefix + "explicit_max_ttl"; in.has(n) {
			*spelling.explicit = in.duration(n)
			role.explicitMax = *spelling.explicit
		}
		if n := spelling.prefix + "period"; in.has(n) {
			*spelling.period = in.duration(n)
			role.period = *spelling.period
		}
		if n := spelling.prefix + "bound_cidrs"; in.has(n) {
			cidrs, err := parseCIDRs(in.list(n))
			if err != nil {
				return err
			}
			*spelling.cidrs, role.cidrs = cidrs, cidrs
		}
	}
	role.orphan = in.flag("orphan", role.orphan)
	role.renewable = in.flag("renewable", role.renewable)
	role.noDefault = in.flag("token_no_default_policy", role.noDefault)
	if in.has("token_num_uses") {
		role.numUses = in.number("token_num_uses")
	}
	if in.has("path_suffix") {
		role.pathSuffix = in.text("path_suffix")
	}
	if in.err == nil && role.numUses < 0 {
		return badRequest("error parsing role fields: 'token_num_uses' cannot be negative")
	}
	switch kind := in.text("token_type"); kind {
	case "":
	case "default-service", "service":
		role.kind = kind
	case "batch", "default-batch":
		if !role.orphan {
			return badRequest("'token_type' cannot be 'batch' when role is set to generate non-orphan tokens")
		}
		return badRequest("token_type %q is not modelled by this sandbox", kind)
	default:
		return badRequest("invalid 'token_type' value %q", kind)
	}
	return in.err
}

func tokenRoleExists(s *Server, r *request) bool { return s.roles[r.vars["role"]] != nil }

// cidrTexts writes a range of one address as that address, as Vault does.
func cidrTexts(in []netip.Prefix) []string {
	out := []string{}
	for _, p := range in {
		if p.IsSingleIP() {
			out = append(out, p.Addr().String())
			continue
		}
		out = append(out, p.String())
	}
	return out
}

func parseCIDRs(in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, t := range in {
		if !strings.Contains(t, "/") {
			a, err := netip.ParseAddr(t)
			if err != nil {
				return nil, errAddress(t)
			}
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, errAddress(t)
		}
		out = append(out, p)
	}
	return out, nil
}

func errAddress(text string) error {
	return badRequest("error parsing role fields: error parsing address %q: Unable to convert %q to an IPv4 or IPv6 address, or a UNIX Socket", text, text)
}

func (s *Server) readTokenRole(r *request) (*response, error) {
	role := s.roles[r.vars["role"]]
	if role == nil {
		return nil, notFound()
	}
	data := map[string]any{
		"name": role.name, "allowed_policies": orEmpty(role.allowed), "allowed_policies_glob": orEmpty(role.allowedGlob),
		"disallowed_policies": orEmpty(role.disallowed), "disallowed_policies_glob": orEmpty(role.disallowedGlob),
		"orphan": role.orphan, "renewable": role.renewable, "path_suffix": role.pathSuffix,
		"explicit_max_ttl": seconds(role.oldExplicitMax), "token_explicit_max_ttl": seconds(role.explicitMax),
		"period": seconds(role.oldPeriod), "token_period": seconds(role.period), "allowed_entity_aliases": nil,
		"token_no_default_policy": role.noDefault, "token_type": role.kind,
	}
	if role.numUses > 0 {
		data["token_num_uses"] = role.numUses
	}
	if len(role.cidrs) > 0 {
		data["token_bound_cidrs"] = cidrTexts(role.cidrs)
	}
	if len(role.oldCIDRs) > 0 {
		data["bound_cidrs"] = cidrTexts(role.oldCIDRs)
	}
	return &response{data: data}, nil
}

func orEmpty(in []string) []string {
	if in == nil {
		return []string{}
	}
	return in
}

func (s *Server) listTokenRoles(*request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(s.roles)))
}

func (s *Server) deleteTokenRole(r *request) (*response, error) {
	delete(s.roles, r.vars["role"])
	return nil, nil
}

// listing is the answer to a LIST; an empty one is 404.
func listing(keys []string) (*response, error) {
	if len(keys) == 0 {
		return nil, notFound()
	}
	return &response{data: map[string]any{"keys": keys}}, nil
}

// createToken is auth/token/create, with a role or without.
func (s *Server) createToken(r *request) (*response, error) {
	var role *tokenRole
	if name := r.vars["role"]; name != "" {
		if role = s.roles[name]; role == nil {
			return nil, badRequest("unknown role %s", name)
		}
	}
	if r.token.numUses != 0 {
		return nil, badRequest("restricted use token cannot generate child tokens")
	}
	t := &token{path: r.path, created: s.clock.Now(), kind: "service"}
	if err := t.readRequest(r, role); err != nil {
		return nil, err
	}
	if err := t.choosePolicies(r, role); err != nil {
		return nil, err
	}
	warnings, err := t.chooseTTL(r, role)
	if err != nil {
		return nil, err
	}
	for _, p := range t.policies {
		if s.policies[p] == nil && p != "root" {
			warnings = append(warnings, fmt.Sprintf("Policy %q does not exist", p))
		}
	}
	s.addToken(t)
	return &response{auth: s.authOf(t), accessor: t.accessor, warnings: warnings}, nil
}

var displayNameSanitizer = regexp.MustCompile("[^a-zA-Z0-9-]")

func (t *token) readRequest(r *request, role *tokenRole) error {
	in := r.in
	t.meta, t.numUses = in.textMap("meta"), in.number("num_uses")
	t.renewable = in.flag("renewable", true)
	t.displayName = "token"
	if name := in.text("display_name"); name != "" {
		t.displayName = strings.TrimSuffix("token-"+displayNameSanitizer.ReplaceAllString(name, "-"), "-")
	}
	id, orphan := in.text("id"), in.flag("no_parent", false)
	if kind := in.text("type"); role == nil && kind != "" && kind != "service" {
		return badRequest("token type %q is not modelled by this sandbox", kind)
	}
	if in.err != nil {
		return in.err
	}
	switch {
	case t.numUses < 0:
		return badRequest("number of uses cannot be negative")
	case id != "" && !r.token.root():
		return badRequest("root or sudo privileges required to specify token id")
	case role == nil && orphan && !r.token.root():
		return badRequest("root or sudo privileges required to create orphan token")
	}
	t.id, t.orphan = id, orphan
	if role != nil {
		t.role, t.orphan, t.cidrs = role.name, role.orphan, role.cidrs
		t.renewable = t.renewable && role.renewable
		if role.numUses > 0 && (t.numUses == 0 || t.numUses > role.numUses) {
			t.numUses = role.numUses
		}
		if role.pathSuffix != "" {
			t.path += "/" + role.pathSuffix
		}
	}
	if !t.orphan {
		t.parent = r.token
	}
	return nil
}

func (t *token) choosePolicies(r *request, role *tokenRole) error {
	asked := r.in.list("policies")
	withDefault := !r.in.flag("no_default_policy", false) && (role == nil || !role.noDefault)
	if r.in.err != nil {
		return r.in.err
	}
	if role != nil && role.restricts() {
		if len(asked) == 0 {
			t.policies = cleanPolicies(role.allowed, withDefault)
			return nil
		}
		t.policies = cleanPolicies(asked, withDefault)
		return role.permit(t.policies)
	}
	if len(asked) == 0 {
		asked = r.token.policies
	}
	t.policies = cleanPolicies(asked, withDefault)
	if slices.Contains(t.policies, "root") && !r.token.root() {
		return badRequest("root tokens may not be created without parent token being root")
	}
	if role != nil || r.token.root() {
		return nil
	}
	for _, p := range t.policies {
		if p != "default" && !slices.Contains(r.token.policies, p) {
			return badRequest("child policies must be subset of parent")
		}
	}
	return nil
}

func (role *tokenRole) restricts() bool {
	return len(role.allowed)+len(role.allowedGlob)+len(role.disallowed)+len(role.disallowedGlob) > 0
}

func (role *tokenRole) permit(policies []string) error {
	for _, p := range policies {
		if p == "default" && !role.noDefault {
			continue
		}
		if slices.Contains(role.disallowed, p) || anyGlob(role.disallowedGlob, p) {
			return badRequest("token policy %q is disallowed by this role", p)
		}
		if len(role.allowed)+len(role.allowedGlob) > 0 && !slices.Contains(role.allowed, p) && !anyGlob(role.allowedGlob, p) {
			return badRequest("token policies (%q) must be subset of the role's allowed policies (%q) or glob policies (%q)",
				policies, role.allowed, role.allowedGlob)
		}
		if p == "root" {
			return badRequest("root policy is not allowed through a role")
		}
	}
	return nil
}

// anyGlob matches * at any place, as Vault's globs do.
func anyGlob(globs []string, text string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { return glob(g, text) })
}

func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	rest, ok := strings.CutPrefix(text, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(rest, part)
		if at < 0 {
			return false
		}
		rest = rest[at+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}

// chooseTTL sets the end. Too much is clamped with a warning, never refused.
func (t *token) chooseTTL(r *request, role *tokenRole) ([]string, error) {
	var ttl, period time.Duration
	for _, wanted := range []struct {
		name string
		to   *time.Duration
	}{{"explicit_max_ttl", &t.explicitMax}, {"period", &period}, {"ttl", &ttl}} {
		if err := readTTL(r.in, wanted.name, wanted.to); err != nil {
			return nil, err
		}
	}
	if period > 0 && !r.token.root() {
		return nil, badRequest("root or sudo privileges required to create periodic token")
	}
	t.askedPeriod = period
	var warnings []string
	limit := t.explicitMax
	t.renewMax = limit
	if role != nil {
		limit = lesser(limit, role.explicitMax)
		if role.explicitMax > 0 {
			t.renewMax = role.explicitMax
			if t.explicitMax > 0 {
				warnings = append(warnings, fmt.Sprintf("Explicit max TTL specified both during creation call and in role; using the lesser value of %d seconds", seconds(limit)))
			}
		}
		period = lesser(period, role.period)
	}
	if t.root() && ttl == 0 && limit == 0 && period == 0 {
		return warnings, nil
	}
	got, more, err := clampTTL(t.created, ttl, ttlBounds{period: period, explicitMax: limit, issued: t.created})
	if err != nil {
		return nil, badRequest("%s", err)
	}
	t.creationTTL, t.period, t.expire = got, period, t.created.Add(got)
	return append(warnings, more...), nil
}

// readTTL reads what the token store itself decodes, and so refuses in words
// of its own.
func readTTL(in *fields, name string, to *time.Duration) error {
	text := in.text(name)
	if in.err != nil || text == "" {
		return in.err
	}
	d, err := parseDuration(text)
	if err != nil {
		return badRequest("%s", err)
	}
	if d < 0 {
		return badRequest("%s must be positive", name)
	}
	*to = d
	return nil
}

// lesser is the smaller of two limits, where zero is none.
func lesser(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}
