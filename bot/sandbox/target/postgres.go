package target

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	wire "github.com/jeroenrinzema/psql-wire"
	"github.com/jeroenrinzema/psql-wire/codes"
	pgerror "github.com/jeroenrinzema/psql-wire/errors"
	"github.com/jeroenrinzema/psql-wire/pkg/buffer"
	"github.com/jeroenrinzema/psql-wire/pkg/types"
	"github.com/tigeraccess/tac/bot/sandbox"
)

var (
	// ErrDown is returned for every change while the server is stopped.
	ErrDown = errors.New("the database is down: connection refused")
	// ErrRoleExists is returned where a role of that name exists (42710).
	ErrRoleExists = errors.New("role already exists")
	// ErrNoRole is returned where no role of that name exists (42704).
	ErrNoRole = errors.New("role does not exist")
)

// Statement names the change that a hook of Delay is asked to hold.
type Statement string

// The three changes that an administrator makes.
const (
	CreateRole Statement = "CREATE ROLE"
	AlterRole  Statement = "ALTER ROLE VALID UNTIL"
	DropRole   Statement = "DROP ROLE"
)

// serverVersion is what clients are told; the sandbox was compared with it.
const serverVersion = "15.0"

// Postgres is a PostgreSQL-protocol endpoint with users, logins and sessions,
// and hardly any SQL. Roles are made by its methods, or over the wire by its
// administrator, which is how a real Vault does it. It is safe for concurrent
// use.
type Postgres struct {
	clock    *sandbox.Clock
	listener net.Listener
	server   *wire.Server
	admin    string        // the administrator's password at the start
	done     chan struct{} // closed when the accept loop has ended

	mu      sync.Mutex
	roles   map[string]role
	members map[membership]bool
	conns   map[*pgConn]struct{} // every open connection, logged in or not
	down    bool
	closed  bool
	hold    func(Statement, string)
}

type role struct {
	password   string
	login      bool
	validUntil time.Time // zero: no end
	admin      bool
	standing   bool // part of the sandbox itself: no user that somebody made
}

// membership is GRANT role TO member.
type membership struct{ role, member string }

// AdminName is the role that may create, alter and drop others.
const AdminName = "vault_admin"

// NewPostgres starts an endpoint on a free port of 127.0.0.1. Whether a role
// may still log in is judged by clock. Close ends it.
func NewPostgres(clock *sandbox.Clock) (*Postgres, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for postgres: %w", err)
	}
	p := &Postgres{
		clock:    clock,
		listener: listener,
		admin:    rand.Text(),
		done:     make(chan struct{}),
		roles:    map[string]role{},
		members:  map[membership]bool{},
		conns:    map[*pgConn]struct{}{},
	}
	p.roles[AdminName] = role{password: p.admin, login: true, admin: true, standing: true}
	p.server, err = wire.NewServer(p.parse,
		wire.SessionAuthStrategy(p.authenticate),
		wire.SessionMiddleware(p.announceVersion),
		wire.TxStatus(func(ctx context.Context) types.ServerStatus { return connOf(ctx).session.status() }),
		wire.GlobalParameters(wire.Parameters{"standard_conforming_strings": "on", "client_encoding": "UTF8", "TimeZone": "UTC"}),
		wire.Logger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		_ = listener.Close() // nothing was accepted on it yet
		return nil, fmt.Errorf("configure postgres: %w", err)
	}
	go func() {
		defer close(p.done)
		// The loop ends when Close closes the listener; no other error of it
		// could be told to anybody.
		_ = p.server.Serve(&pgListener{Listener: listener, server: p})
	}()
	return p, nil
}

// Addr returns host:port of the endpoint.
func (p *Postgres) Addr() string { return p.listener.Addr().String() }

// Host returns the address without the port.
func (p *Postgres) Host() string { return "127.0.0.1" }

// Port returns the TCP port.
func (p *Postgres) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// AdminPassword is what AdminName logs in with at first. A Vault that rotates
// it keeps the new one to itself.
func (p *Postgres) AdminPassword() string { return p.admin }

// AddGroup makes a role that nobody logs in with and that others are made in,
// as in CREATE ROLE ... IN ROLE. Users does not list it.
func (p *Postgres) AddGroup(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roles[name] = role{standing: true}
}

// Close cuts every connection and returns when all of them are gone.
func (p *Postgres) Close() error {
	p.mu.Lock()
	p.closed = true
	open := slices.Collect(maps.Keys(p.conns)) // ended ones too: they may still linger
	p.mu.Unlock()
	err := p.server.Close()
	for _, c := range open {
		_ = c.Close() // it may have been closed by its own session meanwhile
	}
	<-p.done
	p.server.Wait()
	return err
}

// CreateUser makes a role that may log in with password until validUntil, on
// the sandbox clock; the zero time means without end. It returns ErrRoleExists
// or ErrDown.
func (p *Postgres) CreateUser(name, password string, validUntil time.Time) error {
	return p.change(CreateRole, name, func() error {
		if _, ok := p.roles[name]; ok {
			return ErrRoleExists
		}
		p.roles[name] = role{password: password, login: true, validUntil: validUntil}
		return nil
	})
}

// SetValidUntil moves the end of a role's logins; the zero time means without
// end. It returns ErrNoRole or ErrDown.
func (p *Postgres) SetValidUntil(name string, t time.Time) error {
	return p.change(AlterRole, name, func() error {
		r, ok := p.roles[name]
		if !ok {
			return ErrNoRole
		}
		r.validUntil = t
		p.roles[name] = r
		return nil
	})
}

// DropUser removes a role, if it exists, and then ends its open sessions with
// FATAL 57P01. The order matters: a session that ended first could log in
// again. It returns only when no session of the role is left, or ErrDown.
func (p *Postgres) DropUser(name string) error {
	var sessions []*pgConn
	err := p.change(DropRole, name, func() error {
		p.forgetRole(name)
		sessions = p.matching(func(c *pgConn) bool { return c.user == name })
		return nil
	})
	for _, c := range sessions {
		c.end()
	}
	return err
}

// forgetRole removes a role and its memberships; p.mu is held.
func (p *Postgres) forgetRole(name string) {
	delete(p.roles, name)
	maps.DeleteFunc(p.members, func(m membership, _ bool) bool { return m.role == name || m.member == name })
}

func (p *Postgres) change(s Statement, name string, apply func() error) error {
	p.mu.Lock()
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		hold(s, name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	err := ErrDown // what was held may find the server stopped meanwhile
	if !p.down && !p.closed {
		err = apply()
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w", s, name, err)
	}
	return nil
}

// Delay has hold called before each change takes effect, in the goroutine of
// the caller: a hook that blocks holds the change in flight, as a slow
// database does. A nil hook ends this for changes that come later.
func (p *Postgres) Delay(hold func(s Statement, user string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = hold
}

// SetDown stops the server (true) or starts it again (false). A stopped one
// ends every session, closes each new connection at once and refuses changes;
// its roles survive.
func (p *Postgres) SetDown(down bool) {
	p.mu.Lock()
	p.down = down
	var open []*pgConn
	if down {
		open = p.matching(func(*pgConn) bool { return true })
	}
	p.mu.Unlock()
	for _, c := range open {
		c.end()
	}
}

// Users returns the names of all roles that somebody made, sorted, as pg_roles
// would: a role past its VALID UNTIL is still there.
func (p *Postgres) Users() (all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, r := range p.roles {
		if !r.standing {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// ValidUntil returns the end of a role's logins and whether there is such a
// role.
func (p *Postgres) ValidUntil(name string) (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.roles[name]
	return r.validUntil, ok
}

// Sessions returns how many sessions are open, over all roles but the
// administrator's.
func (p *Postgres) Sessions() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.matching(func(c *pgConn) bool { return c.user != "" && c.user != AdminName }))
}

// matching returns the connections that want holds for and that were not
// ended; p.mu is held.
func (p *Postgres) matching(want func(*pgConn) bool) []*pgConn {
	var found []*pgConn
	for c := range p.conns {
		if !c.ended.Load() && want(c) {
			found = append(found, c)
		}
	}
	return found
}

var (
	errRefused = errors.New("password authentication failed")
	errNoLogin = errors.New("the role is not permitted to log in")
)

// authenticate asks for the password in clear text and refuses as PostgreSQL
// does: unknown role, wrong password and a passed VALID UNTIL look the same.
func (p *Postgres) authenticate(ctx context.Context, w *buffer.Writer, r *buffer.Reader) (context.Context, error) {
	validate := func(ctx context.Context, _, user, password string) (context.Context, bool, error) {
		err := p.logIn(connOf(ctx), user, password)
		var fatal error
		switch {
		case errors.Is(err, errRefused):
			fatal = pgerror.WithCode(fmt.Errorf("password authentication failed for user %q", user), codes.InvalidPassword)
		case errors.Is(err, errNoLogin):
			fatal = pgerror.WithCode(fmt.Errorf("role %q is not permitted to log in", user), codes.InvalidAuthorizationSpecification)
		}
		if fatal != nil {
			err = errors.Join(err, wire.WriteUnterminatedError(w, pgerror.WithSeverity(fatal, pgerror.LevelFatal)))
		}
		return ctx, err == nil, err
	}
	return wire.ClearTextPassword(validate)(ctx, w, r)
}

// logIn judges and books the session in one step, so that DropUser either
// prevents a login or finds its session.
func (p *Postgres) logIn(c *pgConn, user, password string) error {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, open := p.conns[c]; !open || p.down || c.ended.Load() {
		return net.ErrClosed
	}
	r, ok := p.roles[user]
	over := !r.validUntil.IsZero() && r.validUntil.Before(now)
	if !ok || user == "" || password == "" || r.password != password || over {
		return errRefused
	}
	if !r.login {
		return errNoLogin
	}
	c.user, c.session = user, &pgSession{p: p, user: user}
	return nil
}

// announceVersion tells the client a version number in PostgreSQL's own form:
// the library's is one that psql warns about. The later value counts.
func (p *Postgres) announceVersion(ctx context.Context) (context.Context, error) {
	w := buffer.NewWriter(slog.New(slog.DiscardHandler), connOf(ctx))
	w.Start(types.ServerParameterStatus)
	w.AddString("server_version")
	w.AddNullTerminate()
	w.AddString(serverVersion)
	w.AddNullTerminate()
	return ctx, w.End()
}
