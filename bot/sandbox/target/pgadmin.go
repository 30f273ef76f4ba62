package target

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	wire "github.com/jeroenrinzema/psql-wire"
	"github.com/jeroenrinzema/psql-wire/codes"
)

// command is a statement that was understood.
type command struct {
	tag     string
	columns wire.Columns
	params  int  // how many $1, $2 it has
	ends    bool // COMMIT or ROLLBACK: allowed in a transaction that failed
	run     func(ctx context.Context, s *pgSession, params []string) ([][]any, error)
}

// act is a command without rows and parameters.
func act(tag string, do func(*pgSession) error) *command {
	return &command{tag: tag, run: func(_ context.Context, s *pgSession, _ []string) ([][]any, error) { return nil, do(s) }}
}

// compile understands what Vault's PostgreSQL plugin sends and what the
// statements of a role for tac are made of; anything else is 0A000, so that
// nobody takes the sandbox for a database.
func (p *Postgres) compile(ctx context.Context, st *statement) (*command, error) {
	start := st.next
	for _, read := range []func(*statement) (*command, error){
		transactions, roleChanges, memberships, owned, catalog, block,
	} {
		st.next = start
		c, err := read(st)
		if err != nil {
			return nil, err
		}
		if c != nil && st.done() {
			return c, nil
		}
	}
	return p.simple(ctx, st)
}

func transactions(st *statement) (*command, error) {
	switch {
	case st.take("begin"):
		st.takeOne("transaction", "work")
		return act("BEGIN", (*pgSession).begin), nil
	case st.take("start", "transaction"):
		return act("START TRANSACTION", (*pgSession).begin), nil
	case st.takeOne("commit", "end"):
		st.takeOne("transaction", "work")
		c := act("COMMIT", (*pgSession).commit)
		c.ends = true
		return c, nil
	case st.takeOne("rollback", "abort"):
		st.takeOne("transaction", "work")
		c := act("ROLLBACK", (*pgSession).rollback)
		c.ends = true
		return c, nil
	}
	return nil, nil
}

// options are what follows CREATE ROLE and ALTER ROLE.
type options struct {
	login      *bool
	password   *string
	validUntil *time.Time
	in         []string
}

func roleChanges(st *statement) (*command, error) {
	create := st.take("create")
	alter := !create && st.take("alter")
	drop := !create && !alter && st.take("drop")
	user := st.take("user")
	if !create && !alter && !drop || !user && !st.take("role") {
		return nil, nil
	}
	if drop {
		return dropRoles(st)
	}
	name, ok := st.name()
	if !ok {
		return nil, syntaxError("a role needs a name", st.String())
	}
	o, err := readOptions(st, create)
	if err != nil {
		return nil, err
	}
	if create {
		if o.login == nil {
			o.login = &user
		}
		return act("CREATE ROLE", func(s *pgSession) error { return s.createRole(name, o) }), nil
	}
	return act("ALTER ROLE", func(s *pgSession) error { return s.alterRole(name, o) }), nil
}

func readOptions(st *statement, create bool) (o options, err error) {
	st.take("with")
	yes, no := true, false
	for !st.done() {
		switch {
		case st.take("login"):
			o.login = &yes
		case st.take("nologin"):
			o.login = &no
		case st.take("inherit"): // as every role does here
		case st.take("password"), st.take("encrypted", "password"):
			secret, ok := st.text()
			if !ok || isVerifier(secret) {
				return o, unsupported(withoutSecret(st))
			}
			o.password = &secret
		case st.take("valid", "until"):
			value, ok := st.text()
			if !ok {
				return o, syntaxError("VALID UNTIL needs a string", withoutSecret(st))
			}
			until, err := readTime(value)
			if err != nil {
				return o, err
			}
			o.validUntil = &until
		case create && (st.take("in", "role") || st.take("in", "group")):
			if o.in, err = names(st); err != nil {
				return o, err
			}
		default:
			return o, unsupported(withoutSecret(st))
		}
	}
	return o, nil
}

// isVerifier recognises a password that was hashed by the client; the sandbox
// compares plain ones.
func isVerifier(secret string) bool {
	const scram, md5, md5Length = "SCRAM-SHA-256$", "md5", 35
	return len(secret) > len(scram) && secret[:len(scram)] == scram || len(secret) == md5Length && secret[:len(md5)] == md5
}

// withoutSecret is the statement up to its first string: errors travel far.
func withoutSecret(st *statement) string {
	for _, t := range st.tokens {
		if t.kind == text || t.kind == body {
			return st.source[st.tokens[0].from:t.from] + "'...'"
		}
	}
	return st.String()
}

func names(st *statement) (all []string, err error) {
	for {
		name, ok := st.name()
		if !ok {
			return nil, syntaxError("a name is missing", st.String())
		}
		all = append(all, name)
		if !st.take(",") {
			return all, nil
		}
	}
}

// readTime reads a timestamp in the form that Vault writes, or infinity.
func readTime(value string) (time.Time, error) {
	if value == "infinity" {
		return time.Time{}, nil
	}
	for _, form := range []string{"2006-01-02 15:04:05-0700", "2006-01-02 15:04:05-07", time.RFC3339} {
		if t, err := time.Parse(form, value); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, sqlError(codes.InvalidDatetimeFormat, "invalid input syntax for type timestamp with time zone: %q", value)
}

func dropRoles(st *statement) (*command, error) {
	missingOK := st.take("if", "exists")
	all, err := names(st)
	if err != nil {
		return nil, err
	}
	return act("DROP ROLE", func(s *pgSession) error {
		for _, name := range all {
			if err := s.dropRole(name, missingOK); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

// memberships are GRANT role TO role, and the REVOKEs by which the plugin
// takes privileges away that nobody has here: there are no tables.
func memberships(st *statement) (*command, error) {
	if st.take("grant") {
		role, ok := st.name()
		if !ok || !st.take("to") {
			return nil, nil
		}
		to, ok := st.name()
		st.take("with", "admin", "option")
		if !ok {
			return nil, nil
		}
		return act("GRANT ROLE", func(s *pgSession) error { return s.grantRole(role, to) }), nil
	}
	if !st.take("revoke") {
		return nil, nil
	}
	privileges := st.take("all", "privileges", "on", "all", "tables", "in", "schema") ||
		st.take("all", "privileges", "on", "all", "sequences", "in", "schema") ||
		st.take("usage", "on", "schema") || st.take("connect", "on", "database")
	if !privileges {
		return nil, nil
	}
	_, object := st.name()
	from := st.take("from")
	role, ok := st.name()
	if !object || !from || !ok {
		return nil, nil
	}
	return act("REVOKE", func(s *pgSession) error { return s.mustExist(role) }), nil
}

// owned are DROP OWNED and REASSIGN OWNED: nobody owns anything here, but the
// right to say it is needed all the same.
func owned(st *statement) (*command, error) {
	drop := st.take("drop", "owned", "by")
	if !drop && !st.take("reassign", "owned", "by") {
		return nil, nil
	}
	all, err := names(st)
	if err != nil {
		return nil, err
	}
	tag, verb := "DROP OWNED", "drop"
	if drop {
		st.takeOne("cascade", "restrict")
	} else {
		tag, verb = "REASSIGN OWNED", "reassign"
		to, ok := st.nameAfter("to")
		if !ok {
			return nil, nil
		}
		all = append(all, to)
	}
	return act(tag, func(s *pgSession) error {
		for _, name := range all {
			if err := s.mustBeMember(name, verb); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

// nameAfter reads a word and the name that follows it.
func (s *statement) nameAfter(after string) (string, bool) {
	if !s.take(after) {
		return "", false
	}
	return s.name()
}

// operand is what a name is compared with: a string, or a parameter.
type operand struct {
	value string
	param int // from 1; 0: the value itself
}

func (o operand) of(params []string) string {
	if o.param > 0 && o.param <= len(params) {
		return params[o.param-1]
	}
	return o.value
}

func (s *statement) operand() (o operand, ok bool) {
	if value, ok := s.text(); ok {
		return operand{value: value}, true
	}
	if s.done() || s.tokens[s.next].kind != param {
		return o, false
	}
	n, err := strconv.Atoi(s.tokens[s.next].value)
	s.next++
	return operand{param: n}, err == nil && n == 1 // one is all that anybody sends
}

func column(name string, oid uint32) wire.Columns {
	return wire.Columns{{Name: name, Oid: oid, Width: -1}}
}

// catalog are the questions about roles.
func catalog(st *statement) (*command, error) {
	if !st.take("select") {
		return nil, nil
	}
	if name, ok := readExists(st); ok {
		return &command{tag: "SELECT 1", columns: column("exists", pgtype.BoolOID), params: name.param,
			run: func(_ context.Context, s *pgSession, params []string) ([][]any, error) {
				return [][]any{{s.exists(name.of(params))}}, nil
			}}, nil
	}
	if name, ok := readTerminate(st); ok {
		return &command{columns: column("pg_terminate_backend", pgtype.BoolOID), params: name.param,
			run: func(_ context.Context, s *pgSession, params []string) (rows [][]any, err error) {
				n, err := s.terminate(name.of(params))
				for range n {
					rows = append(rows, []any{true})
				}
				return rows, err
			}}, nil
	}
	if st.take("distinct", "table_schema", "from", "information_schema", ".", "role_column_grants", "where", "grantee", "=") {
		if name, ok := st.operand(); ok {
			return &command{columns: column("table_schema", pgtype.TextOID), params: name.param,
				run: func(context.Context, *pgSession, []string) ([][]any, error) { return nil, nil }}, nil
		}
	}
	if st.take("rolname", "from") && readRoles(st) {
		return &command{columns: column("rolname", pgtype.TextOID),
			run: func(_ context.Context, s *pgSession, _ []string) (rows [][]any, err error) {
				for _, name := range s.names() {
					rows = append(rows, []any{name})
				}
				return rows, nil
			}}, nil
	}
	return nil, nil
}

func readRoles(st *statement) bool {
	st.take("pg_catalog", ".")
	return st.takeOne("pg_roles", "pg_user")
}

// readExists reads EXISTS (SELECT rolname FROM pg_roles WHERE rolname = 'x').
func readExists(st *statement) (name operand, ok bool) {
	if !st.take("exists", "(", "select") {
		return name, false
	}
	if !st.takeOne("rolname", "usename", "*") && !st.done() && st.tokens[st.next].kind == number {
		st.next++
	}
	if !st.take("from") || !readRoles(st) || !st.take("where") || !st.takeOne("rolname", "usename") || !st.take("=") {
		return name, false
	}
	name, ok = st.operand()
	return name, ok && st.take(")")
}

// readTerminate reads pg_terminate_backend(pid) FROM pg_stat_activity WHERE
// usename = 'x', with or without the usual exception for oneself.
func readTerminate(st *statement) (name operand, ok bool) {
	if !st.take("pg_terminate_backend", "(") {
		return name, false
	}
	st.take("pg_stat_activity", ".")
	if !st.take("pid", ")", "from") {
		return name, false
	}
	st.take("pg_catalog", ".")
	if !st.take("pg_stat_activity", "where") {
		return name, false
	}
	st.take("pg_stat_activity", ".")
	if !st.take("usename", "=") {
		return name, false
	}
	name, ok = st.operand()
	st.take("and", "pid", "<", ">", "pg_backend_pid", "(", ")")
	return name, ok
}
