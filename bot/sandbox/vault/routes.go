package vault

import (
	"strings"
)

type handler func(s *Server, r *request) (*response, error)

// route is one path of the API. Its pattern is matched segment by segment:
// {x} takes one, {x...} at the end takes the rest, which may be empty.
type route struct {
	pattern   string
	ops       map[operation]handler
	open      bool // needs no token
	sudo      bool // needs the capability sudo as well
	neverWrap bool
	atTop     bool // see response
	// upsert says that either of create and update will do for opUpdate.
	upsert bool
	// exists, where set, decides whether opUpdate needs update or create. It
	// also changes how wrong fields are refused: see fields.
	exists func(s *Server, r *request) bool
}

func sysRoutes() []route {
	return []route{
		{pattern: "sys/mounts", atTop: true, ops: ops{opRead: (*Server).readMounts}},
		{pattern: "sys/mounts/{path}/tune", atTop: true, ops: ops{opRead: (*Server).readMountTune}},
		{pattern: "sys/mounts/{path...}", atTop: true, ops: ops{opRead: (*Server).readMount, opUpdate: (*Server).createMount, opDelete: (*Server).deleteMount}},
		{pattern: "sys/auth", atTop: true, ops: ops{opRead: (*Server).readAuthMounts}},
		{pattern: "sys/auth/{path...}", atTop: true, sudo: true, ops: ops{opRead: (*Server).readAuthMount, opUpdate: (*Server).createAuthMount, opDelete: (*Server).deleteAuthMount}},
		{pattern: "sys/internal/ui/mounts/{path...}", open: true, ops: ops{opRead: (*Server).readUIMount}},
		{pattern: "sys/policies/acl", ops: ops{opList: (*Server).listPolicies}},
		{pattern: "sys/policy", atTop: true, ops: ops{opRead: (*Server).listOldPolicies, opList: (*Server).listOldPolicies}},
		{pattern: "sys/policy/{name}", atTop: true, ops: ops{opRead: (*Server).readOldPolicy}},
		{pattern: "sys/policies/acl/{name}", ops: ops{opRead: (*Server).readPolicy, opUpdate: (*Server).writePolicy, opDelete: (*Server).deletePolicy, opList: (*Server).listPolicies}},
		{pattern: "sys/capabilities-self", atTop: true, ops: ops{opUpdate: (*Server).capabilitiesSelf}},
		{pattern: "sys/leases", sudo: true, ops: ops{opRead: (*Server).listLeasesByType}},
		{pattern: "sys/leases/count", ops: ops{opRead: (*Server).countLeases}},
		{pattern: "sys/leases/lookup", ops: ops{opUpdate: (*Server).lookupLease}},
		{pattern: "sys/leases/lookup/{prefix...}", sudo: true, ops: ops{opList: (*Server).listLeases}},
		{pattern: "sys/leases/renew", ops: ops{opUpdate: (*Server).renewLease}},
		{pattern: "sys/leases/revoke", ops: ops{opUpdate: (*Server).revokeLease}},
		{pattern: "sys/wrapping/wrap", atTop: true, ops: ops{opUpdate: (*Server).wrapData}},
		{pattern: "sys/wrapping/unwrap", open: true, neverWrap: true, ops: ops{opUpdate: (*Server).unwrap, opRead: (*Server).unwrap}},
		{pattern: "sys/wrapping/lookup", open: true, neverWrap: true, ops: ops{opUpdate: (*Server).lookupWrap}},
	}
}

func tokenRoutes() []route {
	return []route{
		{pattern: "auth/token/create", ops: ops{opUpdate: (*Server).createToken}},
		{pattern: "auth/token/create/{role}", ops: ops{opUpdate: (*Server).createToken}},
		{pattern: "auth/token/roles", ops: ops{opList: (*Server).listTokenRoles}},
		{pattern: "auth/token/roles/{role}", exists: tokenRoleExists, ops: ops{opRead: (*Server).readTokenRole, opUpdate: (*Server).writeTokenRole, opDelete: (*Server).deleteTokenRole}},
		{pattern: "auth/token/accessors", sudo: true, ops: ops{opList: (*Server).listAccessors}},
		{pattern: "auth/token/lookup", ops: ops{opUpdate: (*Server).lookupToken}},
		{pattern: "auth/token/lookup-self", ops: ops{opRead: (*Server).lookupSelf, opUpdate: (*Server).lookupSelf}},
		{pattern: "auth/token/lookup-accessor", ops: ops{opUpdate: (*Server).lookupAccessor}},
		{pattern: "auth/token/revoke", ops: ops{opUpdate: (*Server).revokeTokenByID}},
		{pattern: "auth/token/revoke-self", ops: ops{opUpdate: (*Server).revokeSelf}},
		{pattern: "auth/token/revoke-accessor", ops: ops{opUpdate: (*Server).revokeAccessor}},
		{pattern: "auth/token/renew-self", ops: ops{opUpdate: (*Server).renewSelf}},
	}
}

// allRoutes returns the tables: sys, token, and each kind of mount, whose
// patterns are below its path.
func allRoutes() map[string][]route {
	return map[string][]route{
		"sys": sysRoutes(), "token": tokenRoutes(), "kv": kvRoutes(), "database": databaseRoutes(),
		"ssh": sshRoutes(), "pki": pkiRoutes(), "transit": transitRoutes(), "approle": appRoleRoutes(),
	}
}

type ops = map[operation]handler

// findRoute fills in the request's mount and variables. Nil means that there
// is no such path.
func (s *Server) findRoute(r *request) *route {
	var table []route
	path := r.path
	switch {
	case strings.HasPrefix(path, "sys/"):
		table = s.routes["sys"]
	case strings.HasPrefix(path, "auth/token/"):
		table = s.routes["token"]
	default:
		if r.mount = s.mountOf(path); r.mount == nil {
			return nil
		}
		table = s.routes[r.mount.kind]
		path = strings.TrimPrefix(strings.TrimSuffix(path, "/")+"/", r.mount.path)
		path = strings.TrimSuffix(path, "/")
		if strings.HasSuffix(r.path, "/") {
			path += "/"
		}
	}
	if strings.HasSuffix(path, "/") && (r.mount == nil || r.mount.kind != "kv") {
		return nil // there is nothing under such a path but folders
	}
	for i := range table {
		if vars, ok := match(table[i].pattern, path); ok {
			r.vars = vars
			return &table[i]
		}
	}
	return nil
}

func (s *Server) mountOf(path string) *mount {
	var best *mount
	for p, m := range s.mounts {
		if strings.HasPrefix(strings.TrimSuffix(path, "/")+"/", p) && (best == nil || len(p) > len(best.path)) {
			best = m
		}
	}
	return best
}

func match(pattern, path string) (map[string]string, bool) {
	vars := map[string]string{}
	for pattern != "" {
		var want, have string
		want, pattern, _ = strings.Cut(pattern, "/")
		if strings.HasSuffix(want, "...}") {
			vars[want[1:len(want)-4]] = path
			return vars, true
		}
		have, path, _ = strings.Cut(path, "/")
		switch {
		case strings.HasPrefix(want, "{"):
			if have == "" {
				return nil, false
			}
			vars[want[1:len(want)-1]] = have
		case want != have:
			return nil, false
		}
	}
	return vars, path == ""
}
