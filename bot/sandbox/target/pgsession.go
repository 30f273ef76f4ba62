package target

import (
	"context"
	"errors"
	"maps"
	"slices"

	wire "github.com/jeroenrinzema/psql-wire"
	"github.com/jeroenrinzema/psql-wire/codes"
	"github.com/jeroenrinzema/psql-wire/pkg/types"
)

// pgSession is what one connection may do and has begun. Only the goroutine of
// the connection touches it.
type pgSession struct {
	p    *Postgres
	user string
	tx   *transaction // nil between transactions
}

// transaction is what others do not see yet.
type transaction struct {
	explicit bool             // opened by BEGIN; else it ends with its query
	failed   bool             // nothing but its end is accepted any more
	changed  map[string]*role // nil: dropped
	made     map[string]bool  // there was no such role before
	granted  []membership
}

func newTransaction() *transaction {
	return &transaction{changed: map[string]*role{}, made: map[string]bool{}}
}

// statements turns commands into what the library runs. Those of one query
// succeed or fail together, unless they say otherwise.
func (s *pgSession) statements(commands []*command) wire.PreparedStatements {
	var all wire.PreparedStatements
	for i, c := range commands {
		last := i == len(commands)-1
		run := func(ctx context.Context, w wire.DataWriter, params []wire.Parameter) error {
			values := make([]string, len(params))
			for i, p := range params {
				values[i] = string(p.Value())
			}
			tag, rows, err := s.run(ctx, c, values, last)
			if err != nil {
				return err
			}
			for _, row := range rows {
				if err := w.Row(row); err != nil {
					return err
				}
			}
			return w.Complete(tag)
		}
		all = append(all, wire.NewStatement(run, wire.WithColumns(c.columns), wire.WithParameters(textParams(c.params))))
	}
	return all
}

// run does one command, in the transaction that is open or one of its own.
func (s *pgSession) run(ctx context.Context, c *command, params []string, last bool) (string, [][]any, error) {
	if s.tx == nil {
		s.tx = newTransaction()
	}
	if s.tx.failed && !c.ends {
		return "", nil, errAborted()
	}
	failed := s.tx.failed
	rows, err := c.run(ctx, s, params)
	if err == nil && last && s.tx != nil && !s.tx.explicit {
		err = s.commit()
	}
	if err != nil {
		s.fail()
		return "", nil, err
	}
	tag := c.tag
	switch {
	case tag == "":
		tag = selectTag(len(rows))
	case failed && tag == "COMMIT":
		tag = "ROLLBACK" // which is how PostgreSQL says that it did not commit
	}
	return tag, rows, nil
}

func errAborted() error {
	return sqlError(codes.InFailedSQLTransaction, "current transaction is aborted, commands ignored until end of transaction block")
}

// fail spoils the transaction that is open, and ends one that nobody opened.
func (s *pgSession) fail() {
	switch {
	case s.tx == nil:
	case s.tx.explicit:
		s.tx.failed = true
	default:
		s.tx = nil
	}
}

func (s *pgSession) status() types.ServerStatus {
	switch {
	case s.tx == nil || !s.tx.explicit:
		return types.ServerIdle
	case s.tx.failed:
		return types.ServerTransactionFailed
	}
	return types.ServerTransactionBlock
}

func (s *pgSession) begin() error {
	s.tx.explicit = true
	return nil
}

func (s *pgSession) rollback() error {
	s.tx = nil
	return nil
}

// commit shows everybody what the transaction did. What somebody else did to
// the same role meanwhile is found here, where PostgreSQL would have waited.
func (s *pgSession) commit() error {
	tx := s.tx
	s.tx = nil
	if tx.failed || len(tx.changed)+len(tx.granted) == 0 {
		return nil
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.down || s.p.closed {
		return sqlError(codes.AdminShutdown, "%w", ErrDown)
	}
	for name := range tx.changed {
		_, there := s.p.roles[name]
		if there == tx.made[name] {
			return sqlError(codes.Internal, "tuple concurrently updated")
		}
	}
	for _, m := range tx.granted {
		s.p.members[m] = true
	}
	for name, r := range tx.changed {
		if r == nil {
			s.p.forgetRole(name)
			continue
		}
		s.p.roles[name] = *r
	}
	return nil
}

// look returns a role as this transaction sees it, to be changed with put.
func (s *pgSession) look(name string) (role, bool) {
	if s.tx != nil {
		if r, ok := s.tx.changed[name]; ok {
			if r == nil {
				return role{}, false
			}
			return *r, true
		}
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	r, ok := s.p.roles[name]
	return r, ok
}

func (s *pgSession) put(name string, r *role) {
	if r == nil && s.tx.made[name] {
		delete(s.tx.changed, name) // made and dropped: nobody ever saw it
		delete(s.tx.made, name)
		return
	}
	s.tx.changed[name] = r
}

func (s *pgSession) exists(name string) bool {
	_, ok := s.look(name)
	return ok
}

// names returns every role that statements made, as Users does.
func (s *pgSession) names() (all []string) {
	s.p.mu.Lock()
	seen := maps.Clone(s.p.roles)
	s.p.mu.Unlock()
	for name, r := range s.tx.changed {
		if r == nil {
			delete(seen, name)
			continue
		}
		seen[name] = *r
	}
	for name, r := range seen {
		if !r.standing {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// mayChange asks for the right to change roles.
func (s *pgSession) mayChange(what Statement) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if !s.p.roles[s.user].admin {
		return sqlError(codes.InsufficientPrivilege, "permission denied: %s", what)
	}
	return nil
}

// change is mayChange, and lets a hook of Delay hold the change in flight.
func (s *pgSession) change(what Statement, name string) error {
	if err := s.mayChange(what); err != nil {
		return err
	}
	s.p.mu.Lock()
	hold := s.p.hold
	s.p.mu.Unlock()
	if hold != nil {
		hold(what, name)
	}
	return nil
}

func noRole(name string) error {
	return sqlError(codes.UndefinedObject, "role %q does not exist", name)
}

func (s *pgSession) createRole(name string, o options) error {
	if err := s.change(CreateRole, name); err != nil {
		return err
	}
	if s.exists(name) {
		return sqlError(codes.DuplicateObject, "role %q already exists", name)
	}
	r := role{login: *o.login}
	r.apply(o)
	s.tx.made[name] = s.tx.made[name] || !s.dropped(name)
	s.put(name, &r)
	for _, group := range o.in {
		if err := s.grantRole(group, name); err != nil {
			return err
		}
	}
	return nil
}

// dropped says that the role was there before this transaction dropped it.
func (s *pgSession) dropped(name string) bool {
	r, ok := s.tx.changed[name]
	return ok && r == nil
}

func (r *role) apply(o options) {
	if o.login != nil {
		r.login = *o.login
	}
	if o.password != nil {
		r.password = *o.password
	}
	if o.validUntil != nil {
		r.validUntil = *o.validUntil
	}
}

func (s *pgSession) alterRole(name string, o options) error {
	if err := s.change(AlterRole, name); err != nil {
		return err
	}
	r, ok := s.look(s.self(name))
	if !ok {
		return noRole(name)
	}
	r.apply(o)
	s.put(s.self(name), &r)
	return nil
}

func (s *pgSession) dropRole(name string, missingOK bool) error {
	if err := s.change(DropRole, name); err != nil {
		return err
	}
	r, ok := s.look(name)
	switch {
	case !ok && missingOK:
		return nil
	case !ok:
		return noRole(name)
	case name == s.user:
		return sqlError(codes.ObjectInUse, "current user cannot be dropped")
	case r.admin:
		return sqlError(codes.InsufficientPrivilege, "must be superuser to drop superusers")
	}
	s.put(name, nil)
	return nil
}

// self resolves the words for the one who asks.
func (s *pgSession) self(name string) string {
	if name == "current_user" || name == "current_role" || name == "session_user" {
		return s.user
	}
	return name
}

func (s *pgSession) grantRole(name, to string) error {
	if err := s.mayChange("GRANT"); err != nil {
		return err
	}
	to = s.self(to)
	if err := s.mustExist(name); err != nil {
		return err
	}
	if err := s.mustExist(to); err != nil {
		return err
	}
	s.tx.granted = append(s.tx.granted, membership{role: name, member: to})
	return nil
}

func (s *pgSession) mustExist(name string) error {
	if !s.exists(name) {
		return noRole(name)
	}
	return nil
}

// mustBeMember is PostgreSQL's rule for DROP OWNED and REASSIGN OWNED, which
// a revocation fulfils with GRANT "x" TO CURRENT_USER.
func (s *pgSession) mustBeMember(name, verb string) error {
	if err := s.mustExist(name); err != nil {
		return err
	}
	m := membership{role: name, member: s.user}
	s.p.mu.Lock()
	member := s.p.members[m]
	s.p.mu.Unlock()
	if name != s.user && !member && !slices.Contains(s.tx.granted, m) {
		return sqlError(codes.InsufficientPrivilege, "permission denied to %s objects", verb)
	}
	return nil
}

// terminate ends a user's sessions, at once and for good, whatever becomes of
// the transaction, and returns how many there were.
func (s *pgSession) terminate(user string) (int, error) {
	s.p.mu.Lock()
	may := s.p.roles[s.user].admin || user == s.user
	open := s.p.matching(func(c *pgConn) bool { return c.user == user && c.session != s })
	s.p.mu.Unlock()
	if !may {
		return 0, sqlError(codes.InsufficientPrivilege, "must be a member of the role whose process is being terminated or member of pg_signal_backend")
	}
	for _, c := range open {
		c.end()
	}
	return len(open), nil
}

// parse understands a whole query before any of it is done, as PostgreSQL does.
func (p *Postgres) parse(ctx context.Context, q wire.Query) (wire.PreparedStatements, error) {
	c := connOf(ctx)
	if c == nil || c.session == nil {
		return nil, errors.New("a query came before the login")
	}
	commands, err := p.commands(ctx, q.Query)
	if err != nil {
		c.session.fail()
		return nil, err
	}
	if len(commands) > 0 && !commands[0].ends && c.session.status() == types.ServerTransactionFailed {
		return nil, errAborted()
	}
	if len(commands) == 0 {
		return wire.Prepared(wire.NewStatement(answerEmpty)), nil // pgx pings with a comment, Vault with ";"
	}
	return c.session.statements(commands), nil
}

func (p *Postgres) commands(ctx context.Context, sql string) (all []*command, err error) {
	written, err := split(sql)
	if err != nil {
		return nil, err
	}
	for _, st := range written {
		c, err := p.compile(ctx, st)
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}
