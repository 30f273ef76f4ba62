package vault

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Database is what a database engine drives: the sandbox's target. Calls for
// one config come one at a time, as they do from Vault's plugin. An error is
// what the database would have answered; it reaches clients as Vault would
// pass it on.
type Database interface {
	// CreateUser makes a login that the database itself refuses after
	// validUntil; the zero time means that the role's creation statements
	// name no {{expiration}}, so that nothing but Vault ends the user.
	CreateUser(name, password string, validUntil time.Time) error
	SetValidUntil(name string, t time.Time) error
	// DropUser ends the user's open sessions too, and does not mind a user
	// that is not there.
	DropUser(name string) error
}

// dbConfig is database/config/<name>.
type dbConfig struct {
	mount        *mount
	name         string
	plugin       string
	allowedRoles []string
	details      map[string]any

	// plugin lock: slow statements queue everybody's creds and renewals.
	lock     sync.Mutex
	draining chan struct{} // closed when the worker of this config is done
}

// dbRole is database/roles/<name>. It is replaced as a whole, never changed.
type dbRole struct {
	name       string
	config     string
	creation   []string
	revocation []string
	renewal    []string
	rollback   []string
	defaultTTL time.Duration
	maxTTL     time.Duration
}

func (role *dbRole) bounds(issued time.Time) ttlBounds {
	return ttlBounds{absent: role.defaultTTL, max: role.maxTTL, issued: issued}
}

func databaseRoutes() []route {
	return []route{
		{pattern: "config", ops: ops{opList: (*Server).listDBConfigs}},
		{pattern: "config/{name}", exists: dbConfigExists, ops: ops{opRead: (*Server).readDBConfig, opUpdate: (*Server).writeDBConfig, opDelete: (*Server).deleteDBConfig}},
		{pattern: "roles", ops: ops{opList: (*Server).listDBRoles}},
		{pattern: "roles/{name}", exists: dbRoleExists, ops: ops{opRead: (*Server).readDBRole, opUpdate: (*Server).writeDBRole, opDelete: (*Server).deleteDBRole}},
		{pattern: "creds/{name}", ops: ops{opRead: (*Server).createCreds}},
	}
}

func dbConfigExists(_ *Server, r *request) bool { return r.mount.configs[r.vars["name"]] != nil }

func dbRoleExists(_ *Server, r *request) bool { return r.mount.dbRoles[r.vars["name"]] != nil }

// MountDatabase mounts a database engine at path, like sys/mounts with type
// database, and puts db behind all its configs.
func (s *Server) MountDatabase(path string, db Database) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path = strings.Trim(path, "/") + "/"
	if err := s.addMount(path, "database", &fields{m: map[string]any{}}); err != nil {
		return fmt.Errorf("mount database at %s: %w", path, err)
	}
	s.databases[path] = db
	return nil
}

// AttachDatabase puts db behind one config of a database engine, whoever
// mounts that and whenever; an empty config name means all configs that have
// none of their own. It stands for the connection_url, which leads nowhere
// here.
func (s *Server) AttachDatabase(path, config string, db Database) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.databases[strings.Trim(path, "/")+"/"+config] = db
}

func (s *Server) databaseOf(c *dbConfig) Database {
	if db := s.databases[c.mount.path+c.name]; db != nil {
		return db
	}
	return s.databases[c.mount.path]
}

var errNoDatabase = errors.New("no database is attached to this config of the sandbox")

func (c *dbConfig) create(db Database, name, password string, validUntil time.Time) error {
	if db == nil {
		return errNoDatabase
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	return db.CreateUser(name, password, validUntil)
}

func (c *dbConfig) extend(db Database, name string, until time.Time) error {
	if db == nil {
		return errNoDatabase
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	return db.SetValidUntil(name, until)
}

func (c *dbConfig) drop(db Database, name string) error {
	if db == nil {
		return errNoDatabase
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	return db.DropUser(name)
}

func (s *Server) listDBConfigs(r *request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(r.mount.configs)))
}

func (s *Server) writeDBConfig(r *request) (*response, error) {
	name, in := r.vars["name"], r.in
	c := r.mount.configs[name]
	if c == nil {
		c = &dbConfig{mount: r.mount, name: name}
	}
	plugin, allowed := in.text("plugin_name"), in.list("allowed_roles")
	if in.err != nil {
		return nil, in.err
	}
	if plugin == "" && c.plugin == "" {
		return nil, badRequest("empty plugin name")
	}
	if plugin != "" && !strings.HasSuffix(plugin, "-database-plugin") {
		lost := "plugin not found in the catalog: " + plugin
		return nil, badRequest("error creating database object: invalid database version: 2 errors occurred:\n\t* %s\n\t* %s\n\n", lost, lost)
	}
	if plugin != "" {
		c.plugin = plugin
	}
	if in.has("allowed_roles") {
		c.allowedRoles = allowed
	}
	c.details = map[string]any{}
	for _, k := range []string{"connection_url", "username"} { // never the password
		if in.has(k) {
			c.details[k] = in.m[k]
		}
	}
	r.mount.configs[name] = c
	return nil, nil
}

func (s *Server) readDBConfig(r *request) (*response, error) {
	c := r.mount.configs[r.vars["name"]]
	if c == nil {
		return nil, notFound()
	}
	return &response{data: map[string]any{
		"plugin_name": c.plugin, "allowed_roles": orEmpty(c.allowedRoles), "connection_details": c.details,
		"password_policy": "", "plugin_version": "", "root_credentials_rotate_statements": []string{},
		"disable_automated_rotation": false, "rotation_period": 0, "rotation_schedule": "", "rotation_window": 0,
		"skip_static_role_import_rotation": false, "verify_connection": true,
	}}, nil
}

func (s *Server) deleteDBConfig(r *request) (*response, error) {
	delete(r.mount.configs, r.vars["name"])
	return nil, nil
}

func (s *Server) listDBRoles(r *request) (*response, error) {
	return listing(slices.Sorted(maps.Keys(r.mount.dbRoles)))
}

func (s *Server) writeDBRole(r *request) (*response, error) {
	in := r.in
	role := dbRole{name: r.vars["name"]}
	if old := r.mount.dbRoles[role.name]; old != nil {
		role = *old
	}
	if in.has("db_name") {
		role.config = in.text("db_name")
	}
	for name, to := range map[string]*[]string{
		"creation_statements": &role.creation, "revocation_statements": &role.revocation,
		"renew_statements": &role.renewal, "rollback_statements": &role.rollback,
	} {
		if in.has(name) || *to == nil {
			*to = in.statements(name)
		}
	}
	if in.has("default_ttl") {
		role.defaultTTL = in.duration("default_ttl")
	}
	if in.has("max_ttl") {
		role.maxTTL = in.duration("max_ttl")
	}
	switch {
	case in.err != nil:
		return nil, in.err
	case role.config == "":
		return nil, badRequest("database name is required")
	}
	r.mount.dbRoles[role.name] = &role
	return nil, nil
}

func (s *Server) readDBRole(r *request) (*response, error) {
	role := r.mount.dbRoles[r.vars["name"]]
	if role == nil {
		return nil, notFound()
	}
	return &response{data: map[string]any{
		"db_name": role.config, "default_ttl": seconds(role.defaultTTL), "max_ttl": seconds(role.maxTTL),
		"creation_statements": role.creation, "revocation_statements": role.revocation,
		"renew_statements": role.renewal, "rollback_statements": role.rollback, "credential_type": "password",
	}}, nil
}

func (s *Server) deleteDBRole(r *request) (*response, error) {
	delete(r.mount.dbRoles, r.vars["name"])
	return nil, nil
}

// createCreds makes a user and a lease. The token was checked before; nobody
// checks it again after the database call, so that a token which ends
// meanwhile leaves a lease that lives for the role's default_ttl.
func (s *Server) createCreds(r *request) (*response, error) {
	role := r.mount.dbRoles[r.vars["name"]]
	if role == nil {
		return nil, badRequest("unknown role: %s", r.vars["name"])
	}
	c := r.mount.configs[role.config]
	switch {
	case c == nil:
		return nil, fmt.Errorf("failed to find entry for connection with name: %q", role.config)
	case !anyGlob(c.allowedRoles, role.name):
		return nil, fmt.Errorf("%q is not an allowed role", role.name)
	case len(role.creation) == 0:
		return nil, errors.New("empty creation statements")
	}
	now := s.clock.Now()
	ttl, warnings, err := clampTTL(now, 0, role.bounds(now))
	if err != nil {
		return nil, err
	}
	name := userName(r.token.displayName, role.name, now)
	password := randomText(16) + "-" + randomText(4)
	var validUntil time.Time
	if strings.Contains(strings.Join(role.creation, "\n"), "{{expiration}}") {
		validUntil = now.Add(ttl + expirationAllowance)
	}
	db := s.databaseOf(c)
	var dbErr error
	if err := s.outside(func() { dbErr = c.create(db, name, password, validUntil) }); err != nil {
		return nil, err
	}
	if dbErr != nil {
		return nil, dbErr
	}
	issued := s.clock.Now()
	l := &lease{
		id: r.path + "/" + randomText(24), token: r.token, accessor: r.token.accessor,
		role: role, config: c, user: name, issued: issued, expire: issued.Add(ttl),
	}
	s.leases[l.id] = l
	l.token.leases[l] = true // of no use where the token has ended meanwhile
	s.dueBy(l.expire)
	s.emit(Event{Kind: LeaseCreated, Accessor: l.accessor, Path: r.path, LeaseID: l.id, User: name, Ends: l.expire, Meta: r.token.meta})
	return &response{
		data:    map[string]any{"username": name, "password": password},
		leaseID: l.id, leaseTTL: ttl, renew: true, warnings: warnings,
	}, nil
}

// userName follows the default template of the PostgreSQL plugin.
func userName(display, role string, now time.Time) string {
	cut := func(t string, n int) string { return t[:min(len(t), n)] }
	return cut(fmt.Sprintf("v-%s-%s-%s-%d", cut(display, 8), cut(role, 8), randomText(20), now.Unix()), 63)
}
