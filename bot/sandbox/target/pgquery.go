package target

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"
	wire "github.com/jeroenrinzema/psql-wire"
	"github.com/jeroenrinzema/psql-wire/codes"
	pgerror "github.com/jeroenrinzema/psql-wire/errors"
)

// settings are what SHOW answers.
var settings = map[string]string{
	"client_encoding":             "UTF8",
	"is_superuser":                "off",
	"server_encoding":             "UTF8",
	"server_version":              serverVersion,
	"standard_conforming_strings": "on",
	"timezone":                    "UTC",
	"transaction isolation level": "read committed",
	"transaction_isolation":       "read committed",
	"transaction_read_only":       "off",
}

// lineComment may meet a string literal that holds two hyphens; no statement
// that is answered has one.
var lineComment = regexp.MustCompile(`--[^\n]*`)

// parse understands a SELECT of a few known expressions and SHOW; anything
// else is 0A000, so that nobody takes the sandbox for a database.
func (p *Postgres) parse(ctx context.Context, q wire.Query) (wire.PreparedStatements, error) {
	text := lineComment.ReplaceAllString(q.Query, "")
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	text = strings.TrimRight(text, "; ")
	verb, rest, _ := strings.Cut(text, " ")
	switch verb {
	case "":
		return wire.Prepared(wire.NewStatement(answerEmpty)), nil // pgx pings with a comment
	case "select":
		return p.selection(ctx, rest)
	case "show":
		return show(rest)
	}
	return nil, unsupported(q.Query)
}

func (p *Postgres) selection(ctx context.Context, list string) (wire.PreparedStatements, error) {
	var columns wire.Columns
	var row []any
	for _, item := range strings.Split(list, ",") {
		column, value, ok := p.expression(ctx, strings.TrimSpace(item))
		if !ok {
			return nil, unsupported("SELECT " + list)
		}
		columns = append(columns, column)
		row = append(row, value)
	}
	return oneRow(columns, row, "SELECT 1"), nil
}

func (p *Postgres) expression(ctx context.Context, e string) (wire.Column, any, bool) {
	user := wire.AuthenticatedUsername(ctx)
	switch e {
	case "current_user", "session_user", "user":
		return wire.Column{Name: e, Oid: pgtype.TextOID, Width: -1}, user, true
	case "current_database()":
		database := wire.ClientParameters(ctx)[wire.ParamDatabase]
		if database == "" {
			database = user // libpq's rule, and PostgreSQL's
		}
		return wire.Column{Name: "current_database", Oid: pgtype.TextOID, Width: -1}, database, true
	case "version()":
		return wire.Column{Name: "version", Oid: pgtype.TextOID, Width: -1}, "PostgreSQL " + serverVersion + " (tac sandbox)", true
	case "now()", "current_timestamp":
		name := strings.TrimSuffix(e, "()")
		return wire.Column{Name: name, Oid: pgtype.TimestamptzOID, Width: 8}, p.clock.Now(), true
	}
	if n, err := strconv.ParseInt(e, 10, 32); err == nil {
		return wire.Column{Name: "?column?", Oid: pgtype.Int4OID, Width: 4}, int32(n), true
	}
	return wire.Column{}, nil, false
}

func show(name string) (wire.PreparedStatements, error) {
	value, ok := settings[name]
	if !ok {
		err := fmt.Errorf("unrecognized configuration parameter %q", name)
		return nil, pgerror.WithSeverity(pgerror.WithCode(err, codes.UndefinedObject), pgerror.LevelError)
	}
	columns := wire.Columns{{Name: strings.ReplaceAll(name, " ", "_"), Oid: pgtype.TextOID, Width: -1}}
	return oneRow(columns, []any{value}, "SHOW"), nil
}

func oneRow(columns wire.Columns, row []any, tag string) wire.PreparedStatements {
	answer := func(_ context.Context, w wire.DataWriter, _ []wire.Parameter) error {
		if err := w.Row(row); err != nil {
			return err
		}
		return w.Complete(tag)
	}
	return wire.Prepared(wire.NewStatement(answer, wire.WithColumns(columns)))
}

// answerEmpty sends EmptyQueryResponse, which the library sends only for a
// query that is empty to the letter.
func answerEmpty(ctx context.Context, w wire.DataWriter, _ []wire.Parameter) error {
	if _, err := connOf(ctx).Write([]byte{'I', 0, 0, 0, 4}); err != nil {
		return err
	}
	return w.Empty()
}

func unsupported(statement string) error {
	const most = 80
	if len(statement) > most {
		statement = strings.ToValidUTF8(statement[:most], "") + "..."
	}
	err := fmt.Errorf("the sandbox does not run this statement: %s", statement)
	err = pgerror.WithHint(err, "It answers SELECT of 1, current_user, current_database(), now() and version(), and SHOW.")
	return pgerror.WithSeverity(pgerror.WithCode(err, codes.FeatureNotSupported), pgerror.LevelError)
}
