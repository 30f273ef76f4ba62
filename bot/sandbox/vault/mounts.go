package vault

import (
	"fmt"
	"slices"
	"strings"
)

// mountAccessor names a mount as Vault does.
func mountAccessor(path, kind string) string {
	if strings.HasPrefix(path, "auth/") {
		kind = "auth_" + kind
	}
	return kind + "_" + newUUID()[:8]
}

const (
	builtinVersion = "v" + Version + "+builtin.vault"
	kvPlugin       = "v0.25.0+builtin" // the engine has versions of its own
)

func (m *mount) describe() map[string]any {
	d := describeMount(m.kind, m.accessor, m.uuid)
	config := map[string]any{"default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false}
	d["options"], d["config"] = map[string]any{}, config
	if m.kind == "kv" {
		d["options"], d["running_plugin_version"] = map[string]any{"version": "2"}, kvPlugin
	}
	if m.kind == "approle" {
		config["token_type"] = "default-service"
	}
	if m.kind != "database" {
		d["deprecation_status"] = "supported"
	}
	return d
}

func describeMount(kind, accessor, uuid string) map[string]any {
	return map[string]any{
		"type": kind, "accessor": accessor, "description": "", "uuid": uuid, "local": false,
		"seal_wrap": false, "external_entropy_access": false, "options": nil,
		"plugin_version": "", "running_plugin_version": builtinVersion, "running_sha256": "",
	}
}

// builtinMounts are there from the start. Nothing of cubbyhole and identity is
// modelled but that they take up their paths.
func (s *Server) builtinMounts() map[string]any {
	d := map[string]any{}
	for _, b := range []struct {
		path, kind, description string
		headers                 []string
	}{
		{"cubbyhole/", "cubbyhole", "per-token private secret storage", nil},
		{"identity/", "identity", "identity store", []string{"Authorization"}},
		{"sys/", "system", "system endpoints used for control, policy and debugging", []string{"Accept"}},
	} {
		m := describeMount(b.kind, b.kind+"_"+s.clusterID[:8], s.clusterID)
		config := map[string]any{"default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false}
		if b.headers != nil {
			config["passthrough_request_headers"] = b.headers
		}
		m["description"], m["config"] = b.description, config
		m["local"], m["seal_wrap"] = b.kind == "cubbyhole", b.kind == "system"
		d[b.path] = m
	}
	return d
}

func (s *Server) readMounts(*request) (*response, error) {
	d := s.builtinMounts()
	for p, m := range s.mounts {
		if !strings.HasPrefix(p, "auth/") {
			d[p] = m.describe()
		}
	}
	return &response{data: d}, nil
}

func (s *Server) readAuthMounts(*request) (*response, error) {
	token := describeMount("token", "auth_token_"+s.clusterID[:8], s.clusterID)
	token["description"] = "token based credentials"
	token["config"] = map[string]any{"default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false, "token_type": "default-service"}
	d := map[string]any{"token/": token}
	for p, m := range s.mounts {
		if rest, ok := strings.CutPrefix(p, "auth/"); ok {
			d[rest] = m.describe()
		}
	}
	return &response{data: d}, nil
}

func (s *Server) readMount(r *request) (*response, error) {
	return s.readMountAt(r.vars["path"]+"/", "No secret engine mount at %s")
}

func (s *Server) readAuthMount(r *request) (*response, error) {
	return s.readMountAt("auth/"+r.vars["path"]+"/", "No auth engine at %s")
}

func (s *Server) readMountAt(path, absent string) (*response, error) {
	m := s.mounts[path]
	if m == nil {
		return nil, badRequest(absent, strings.TrimPrefix(path, "auth/"))
	}
	return &response{data: m.describe()}, nil
}

func (s *Server) readMountTune(r *request) (*response, error) {
	m := s.mounts[r.vars["path"]+"/"]
	if m == nil {
		return nil, badRequest("cannot fetch sysview for path %q", r.vars["path"]+"/")
	}
	d := map[string]any{
		"default_lease_ttl": seconds(systemDefaultTTL), "max_lease_ttl": seconds(systemMaxTTL), "force_no_cache": false, "description": "",
	}
	if m.kind == "kv" {
		d["options"] = map[string]any{"version": "2"}
	}
	return &response{data: d}, nil
}

// readUIMount tells the vault command line which version of kv a path is.
func (s *Server) readUIMount(r *request) (*response, error) {
	caller, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	m := s.mountOf(r.vars["path"])
	if m == nil || !s.touches(caller, m.path) {
		const text = "preflight capability check returned 403, please ensure client's policies grant access to path %q"
		return nil, &apiError{403, []string{fmt.Sprintf(text, strings.TrimSuffix(r.vars["path"], "/")+"/")}}
	}
	d := m.describe()
	config := map[string]any{"force_no_cache": false, "default_lease_ttl": seconds(systemDefaultTTL), "max_lease_ttl": seconds(systemMaxTTL)}
	d["path"], d["config"] = m.path, config
	return &response{data: d}, nil
}

// touches reports whether any of the token's policies says something of a path
// below the mount.
func (s *Server) touches(t *token, mountPath string) bool {
	if t.root() {
		return true
	}
	for _, name := range t.policies {
		if p := s.policies[name]; p != nil && slices.ContainsFunc(p.rules, func(r rule) bool { return strings.HasPrefix(r.path, mountPath) }) {
			return true
		}
	}
	return false
}
