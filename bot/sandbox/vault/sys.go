package vault

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// status is sys/health and sys/seal-status, which need no token and answer in
// every state.
func (s *Server) status(r *request) (*response, error) {
	if r.path == "sys/seal-status" {
		return &response{raw: map[string]any{
			"type": "shamir", "initialized": true, "sealed": s.sealed, "t": 1, "n": 1, "progress": 0,
			"nonce": "", "version": Version, "cluster_name": "tac-sandbox", "cluster_id": s.clusterID,
			"storage_type": "inmem", "recovery_seal": false, "migration": false,
		}}, nil
	}
	code := http.StatusOK
	switch {
	case s.sealed:
		code = codeParam(r, "sealedcode", http.StatusServiceUnavailable)
	case s.standby && r.in.text("standbyok") != "true":
		code = codeParam(r, "standbycode", http.StatusTooManyRequests)
	}
	body := map[string]any{
		"initialized": true, "sealed": s.sealed, "standby": s.standby || s.sealed, "performance_standby": false,
		"replication_performance_mode": "disabled", "replication_dr_mode": "disabled",
		"server_time_utc": s.clock.Now().Unix(), "version": Version, "enterprise": false,
		"echo_duration_ms": 0, "clock_skew_ms": 0, "replication_primary_canary_age_ms": 0,
	}
	if s.health != 0 {
		code = s.health
		body["initialized"] = code != http.StatusNotImplemented
		body["performance_standby"] = code == 473
		if code == 472 {
			body["replication_dr_mode"] = "secondary"
		}
	}
	if !s.sealed {
		body["cluster_name"], body["cluster_id"] = "tac-sandbox", s.clusterID
	}
	return &response{status: code, raw: body}, nil
}

func codeParam(r *request, name string, absent int) int {
	if n, err := strconv.Atoi(r.in.text(name)); err == nil && n >= 200 && n < 600 {
		return n
	}
	return absent
}

// serveSeal is sys/seal, which must not itself count as a request in flight.
func (s *Server) serveSeal(w http.ResponseWriter, hr *http.Request) {
	r, err := readRequest(hr)
	if err == nil && r.op != opUpdate {
		err = errUnsupportedOperation()
	}
	if err == nil {
		err = s.maySeal(hr, r)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	s.Seal()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) maySeal(hr *http.Request, r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.available(hr); err != nil {
		return err
	}
	t, err := s.authenticate(r)
	if err != nil {
		return err
	}
	if !s.allowed(t, &route{sudo: true}, r) {
		return errDenied()
	}
	return nil
}

func (s *Server) addMount(path, kind string, in *fields) error {
	options, config := in.sub("options"), in.sub("config")
	m := &mount{
		path: path, kind: kind, accessor: kind + "_" + strings.ToLower(randomText(8)),
		defaultTTL: config.duration("default_lease_ttl"), maxTTL: config.duration("max_lease_ttl"),
	}
	version := options.text("version")
	if kind == "kv-v2" {
		m.kind, version = "kv", "2"
	}
	if err := firstError(in.err, options.err, config.err); err != nil {
		return err
	}
	if m.defaultTTL > 0 || m.maxTTL > 0 {
		return badRequest("lease TTLs of a mount are not modelled by this sandbox: set them on roles")
	}
	switch m.kind {
	case "kv":
		if version != "2" {
			return badRequest("this sandbox has version 2 of kv only: set options.version to 2")
		}
		m.kv = &kvStore{secrets: map[string]*kvSecret{}}
	case "database":
		m.configs, m.dbRoles = map[string]*dbConfig{}, map[string]*dbRole{}
	case "ssh":
		m.ssh = &sshEngine{roles: map[string]*sshRole{}}
	case "transit":
		m.transit = map[string]*transitKey{}
	case "approle":
		m.appRoles = map[string]*appRole{}
	default:
		return badRequest("plugin not found in the catalog: %s", kind)
	}
	for _, reserved := range []string{"sys/", "auth/token/"} {
		if strings.HasPrefix(path, reserved) {
			return badRequest("cannot mount under %q", reserved)
		}
	}
	for p := range s.mounts {
		if strings.HasPrefix(p, path) || strings.HasPrefix(path, p) {
			return badRequest("path is already in use at %s", p)
		}
	}
	s.mounts[path] = m
	return nil
}

func (s *Server) createMount(r *request) (*response, error) {
	path, kind := r.vars["path"], r.in.require("type")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if path == "" || strings.HasPrefix(path, "auth/") || kind == "approle" {
		return nil, badRequest("cannot mount %s at %q", kind, path)
	}
	return nil, s.addMount(path+"/", kind, r.in)
}

func (s *Server) createAuthMount(r *request) (*response, error) {
	path, kind := r.vars["path"], r.in.require("type")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if path == "" || kind != "approle" {
		return nil, badRequest("plugin not found in the catalog: %s", kind)
	}
	return nil, s.addMount("auth/"+path+"/", kind, r.in)
}

// deleteMount refuses while leases are live: the real one would revoke them
// first, which nothing here needs.
func (s *Server) deleteMount(r *request) (*response, error) {
	path := r.vars["path"] + "/"
	for id := range s.leases {
		if strings.HasPrefix(id, path) {
			return nil, badRequest("the mount %s still has leases", path)
		}
	}
	delete(s.mounts, path)
	return nil, nil
}

func (m *mount) describe() map[string]any {
	d := map[string]any{
		"type": m.kind, "accessor": m.accessor, "description": "", "uuid": m.accessor, "local": false,
		"seal_wrap": false, "external_entropy_access": false, "options": nil,
		"config": map[string]any{"default_lease_ttl": 0, "max_lease_ttl": 0, "force_no_cache": false},
	}
	if m.kind == "kv" {
		d["options"] = map[string]any{"version": "2"}
	}
	return d
}

func (s *Server) readMounts(*request) (*response, error) {
	d := map[string]any{}
	for p, m := range s.mounts {
		if !strings.HasPrefix(p, "auth/") {
			d[p] = m.describe()
		}
	}
	return &response{data: d}, nil
}

func (s *Server) readAuthMounts(*request) (*response, error) {
	d := map[string]any{"token/": map[string]any{"type": "token", "accessor": "auth_token_00000000", "description": "token based credentials"}}
	for p, m := range s.mounts {
		if rest, ok := strings.CutPrefix(p, "auth/"); ok {
			d[rest] = m.describe()
		}
	}
	return &response{data: d}, nil
}

func (s *Server) readMount(r *request) (*response, error) {
	m := s.mounts[r.vars["path"]+"/"]
	if m == nil {
		return nil, badRequest("No secret engine mount at %s/", r.vars["path"])
	}
	return &response{data: m.describe()}, nil
}

// readUIMount tells the vault command line which version of kv a path is.
func (s *Server) readUIMount(r *request) (*response, error) {
	m := s.mountOf(r.vars["path"])
	if m == nil {
		return nil, errDenied()
	}
	d := m.describe()
	d["path"] = m.path
	return &response{data: d}, nil
}

// contains reports whether the list holds the text or "*".
func contains(list []string, text string) bool {
	return slices.Contains(list, text) || slices.Contains(list, "*")
}
