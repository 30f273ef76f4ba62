package vault

import (
	"net/http"
	"slices"
	"strings"
)

// serveSeal is sys/seal, which must not itself count as a request in flight.
func (s *Server) serveSeal(w http.ResponseWriter, hr *http.Request) {
	r, err := readRequest(hr)
	if err == nil && r.op != opUpdate {
		err = errUnsupportedOperation()
	}
	if err == nil {
		err = s.maySeal(r)
	}
	if err != nil {
		writeError(w, err)
		return
	}
	s.Seal()
	w.WriteHeader(http.StatusNoContent)
}

// maySeal lets anybody seal what is sealed: there is nothing left to do.
func (s *Server) maySeal(r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return nil
	}
	if err := s.available(); err != nil {
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
		path: path, kind: kind, accessor: mountAccessor(path, kind), uuid: newUUID(),
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
		m.kv = &kvStore{secrets: map[string]*kvSecret{}, upgrading: s.slowKV}
	case "database":
		m.configs, m.dbRoles = map[string]*dbConfig{}, map[string]*dbRole{}
	case "ssh":
		m.ssh = &sshEngine{roles: map[string]*sshRole{}}
	case "pki":
		m.pki = &pkiEngine{roles: map[string]*pkiRole{}}
	case "transit":
		m.transit = map[string]*transitKey{}
	case "approle":
		m.appRoles = map[string]*appRole{}
	default:
		return badRequest("plugin not found in the catalog: %s", kind)
	}
	for p := range s.mounts {
		if strings.HasPrefix(p, path) || strings.HasPrefix(path, p) {
			return badRequest("path is already in use at %s", strings.TrimPrefix(p, "auth/"))
		}
	}
	s.mounts[path] = m
	return nil
}

// reserved are the paths that are in use from the start.
var reserved = []string{"sys/", "auth/", "cubbyhole/", "identity/", "audit/"}

func (s *Server) createMount(r *request) (*response, error) {
	path, kind := r.vars["path"]+"/", r.in.text("type")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if kind == "" {
		return nil, badRequest("backend type must be specified as a string")
	}
	for _, p := range reserved {
		if strings.HasPrefix(path, p) {
			return nil, badRequest("cannot mount %q", path)
		}
	}
	if kind == "approle" {
		return nil, badRequest("plugin not found in the catalog: %s", kind)
	}
	return nil, s.addMount(path, kind, r.in)
}

func (s *Server) createAuthMount(r *request) (*response, error) {
	path, kind := r.vars["path"], r.in.text("type")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if kind == "" {
		return nil, badRequest("backend type must be specified as a string")
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

// contains reports whether the list holds the text or "*".
func contains(list []string, text string) bool {
	return slices.Contains(list, text) || slices.Contains(list, "*")
}
