package vault

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// appRole is auth/approle/role/<name>.
type appRole struct {
	name        string
	roleID      string
	policies    []string
	noDefault   bool
	ttl, maxTTL time.Duration
	explicitMax time.Duration
	period      time.Duration
	numUses     int
	cidrs       []netip.Prefix
	bindSecret  bool
	kind        string   // token_type
	secretCIDRs []string // as given

	entity     string // of whoever logs in with this role
	secretTTL  time.Duration
	secretUses int
	secrets    map[string]*secretID // by secret id
}

type secretID struct {
	accessor string
	created  time.Time
	expire   time.Time // zero without end
	uses     int       // left; 0 without limit
}

func appRoleRoutes() []route {
	return []route{
		{pattern: "role", ops: ops{opList: (*Server).listAppRoles}},
		{pattern: "role/{name}", exists: appRoleExists, ops: ops{opRead: (*Server).readAppRole, opUpdate: (*Server).writeAppRole, opDelete: (*Server).deleteAppRole}},
		{pattern: "role/{name}/role-id", ops: ops{opRead: (*Server).readRoleID, opUpdate: (*Server).writeRoleID}},
		{pattern: "role/{name}/secret-id", ops: ops{opUpdate: (*Server).createSecretID}},
		{pattern: "role/{name}/secret-id/destroy", ops: ops{opUpdate: (*Server).destroySecretID}},
		{pattern: "login", open: true, ops: ops{opUpdate: (*Server).appRoleLogin, opRead: (*Server).appRoleLogin}},
	}
}

func appRoleExists(_ *Server, r *request) bool { return r.mount.appRoles[r.vars["name"]] != nil }

func (s *Server) listAppRoles(r *request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(r.mount.appRoles)))
}

func (s *Server) writeAppRole(r *request) (*response, error) {
	in, name := r.in, r.vars["name"]
	role := appRole{name: name, roleID: newUUID(), entity: newUUID(), kind: "default", bindSecret: true, secrets: map[string]*secretID{}}
	if old := r.mount.appRoles[name]; old != nil {
		role = *old
	}
	for field, to := range map[string]*time.Duration{
		"token_ttl": &role.ttl, "token_max_ttl": &role.maxTTL, "token_explicit_max_ttl": &role.explicitMax,
		"token_period": &role.period, "secret_id_ttl": &role.secretTTL,
	} {
		if in.has(field) {
			*to = in.duration(field)
		}
	}
	if in.has("token_policies") {
		role.policies = cleanPolicies(in.list("token_policies"), false)
	}
	if in.has("token_bound_cidrs") {
		cidrs, err := parseCIDRs(in.list("token_bound_cidrs"))
		if err != nil {
			return nil, err
		}
		role.cidrs = cidrs
	}
	if in.has("secret_id_bound_cidrs") {
		role.secretCIDRs = in.list("secret_id_bound_cidrs")
	}
	switch kind := in.text("token_type"); kind {
	case "":
	case "service", "default":
		role.kind = kind
	default:
		return nil, badRequest("token_type %q is not modelled by this sandbox", kind)
	}
	if in.has("token_num_uses") {
		role.numUses = in.number("token_num_uses")
	}
	if in.has("secret_id_num_uses") {
		role.secretUses = in.number("secret_id_num_uses")
	}
	role.noDefault = in.flag("token_no_default_policy", role.noDefault)
	role.bindSecret = in.flag("bind_secret_id", role.bindSecret)
	switch {
	case in.err != nil:
		return nil, in.err
	case role.maxTTL > 0 && role.ttl > role.maxTTL:
		return nil, badRequest("'token_ttl' cannot be greater than 'token_max_ttl'")
	}
	r.mount.appRoles[name] = &role
	return nil, nil
}

func (s *Server) readAppRole(r *request) (*response, error) {
	role := r.mount.appRoles[r.vars["name"]]
	if role == nil {
		return nil, notFound()
	}
	return &response{data: map[string]any{
		"token_policies": orEmpty(role.policies), "token_no_default_policy": role.noDefault,
		"token_ttl": seconds(role.ttl), "token_max_ttl": seconds(role.maxTTL),
		"token_explicit_max_ttl": seconds(role.explicitMax), "token_period": seconds(role.period),
		"token_num_uses": role.numUses, "token_type": role.kind, "token_bound_cidrs": cidrTexts(role.cidrs),
		"secret_id_bound_cidrs": role.secretCIDRs, "local_secret_ids": false,
		"bind_secret_id": role.bindSecret, "secret_id_ttl": seconds(role.secretTTL), "secret_id_num_uses": role.secretUses,
	}}, nil
}

func (s *Server) deleteAppRole(r *request) (*response, error) {
	delete(r.mount.appRoles, r.vars["name"])
	return nil, nil
}

func (s *Server) readRoleID(r *request) (*response, error) {
	role := r.mount.appRoles[r.vars["name"]]
	if role == nil {
		return nil, notFound()
	}
	return &response{data: map[string]any{"role_id": role.roleID}}, nil
}

func (s *Server) writeRoleID(r *request) (*response, error) {
	role, id := r.mount.appRoles[r.vars["name"]], r.in.require("role_id")
	if role == nil {
		return nil, badRequest("role %q not found", r.vars["name"])
	}
	if r.in.err != nil {
		return nil, r.in.err
	}
	role.roleID = id
	return nil, nil
}

func (s *Server) createSecretID(r *request) (*response, error) {
	role := r.mount.appRoles[r.vars["name"]]
	if role == nil {
		return nil, &apiError{404, []string{fmt.Sprintf("role %q does not exist", r.vars["name"])}}
	}
	sec := &secretID{accessor: newUUID(), created: s.clock.Now(), uses: role.secretUses}
	if role.secretTTL > 0 {
		sec.expire = sec.created.Add(role.secretTTL)
	}
	id := newUUID()
	role.secrets[id] = sec
	return &response{data: map[string]any{
		"secret_id": id, "secret_id_accessor": sec.accessor, "secret_id_ttl": seconds(role.secretTTL), "secret_id_num_uses": sec.uses,
	}}, nil
}

func (s *Server) destroySecretID(r *request) (*response, error) {
	role, id := r.mount.appRoles[r.vars["name"]], r.in.require("secret_id")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if role == nil {
		return nil, badRequest("role %q does not exist", r.vars["name"])
	}
	delete(role.secrets, id)
	return nil, nil
}

func (s *Server) appRoleLogin(r *request) (*response, error) {
	roleID, id := r.in.text("role_id"), r.in.text("secret_id")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if roleID == "" {
		return nil, &apiError{500, []string{"failed to determine alias name from login request"}}
	}
	role := r.mount.roleByID(roleID)
	switch {
	case role == nil:
		return nil, badRequest("invalid role or secret ID")
	case role.bindSecret && id == "":
		return nil, badRequest("missing secret_id")
	case role.bindSecret && !role.useSecret(id, s.clock.Now()):
		return nil, badRequest("invalid role or secret ID")
	}
	if len(role.cidrs) > 0 && !fromAny(role.cidrs, r.http.RemoteAddr) {
		return nil, badRequest("invalid role or secret ID")
	}
	now := s.clock.Now()
	ttl, warnings, err := clampTTL(now, role.ttl, ttlBounds{period: role.period, max: role.maxTTL, explicitMax: role.explicitMax, issued: now})
	if err != nil {
		return nil, badRequest("%s", err)
	}
	t := &token{
		path: strings.TrimSuffix(r.mount.path, "/") + "/login", policies: cleanPolicies(role.policies, !role.noDefault),
		displayName: strings.Trim(strings.TrimPrefix(r.mount.path, "auth/"), "/"), meta: map[string]string{"role_name": role.name},
		orphan: true, renewable: true, entity: role.entity, numUses: role.numUses, cidrs: role.cidrs,
		created: now, creationTTL: ttl, expire: now.Add(ttl), period: role.period,
		explicitMax: role.explicitMax, renewMax: role.explicitMax, maxTTL: role.maxTTL,
	}
	s.addToken(t)
	return &response{auth: s.authOf(t), accessor: t.accessor, warnings: warnings}, nil
}

func (m *mount) roleByID(id string) *appRole {
	for _, role := range m.appRoles {
		if role.roleID == id {
			return role
		}
	}
	return nil
}

// useSecret takes one use of a secret id and reports whether there was one.
func (role *appRole) useSecret(id string, now time.Time) bool {
	sec := role.secrets[id]
	if sec == nil || !sec.expire.IsZero() && !sec.expire.After(now) {
		return false
	}
	if sec.uses == 1 {
		delete(role.secrets, id)
	} else if sec.uses > 1 {
		sec.uses--
	}
	return true
}
