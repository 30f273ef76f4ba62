package target

import (
	"context"
	"fmt"
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

// simple understands a SELECT of a few known expressions and SHOW.
func (p *Postgres) simple(ctx context.Context, st *statement) (*command, error) {
	verb, rest, _ := strings.Cut(st.plain(), " ")
	switch verb {
	case "select":
		return p.selection(ctx, st, rest)
	case "show":
		return show(rest)
	}
	return nil, unsupported(withoutSecret(st))
}

func (p *Postgres) selection(ctx context.Context, st *statement, list string) (*command, error) {
	var columns wire.Columns
	var row []any
	for _, item := range strings.Split(list, ",") {
		column, value, ok := p.expression(ctx, strings.TrimSpace(item))
		if !ok {
			return nil, unsupported(withoutSecret(st))
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

func show(name string) (*command, error) {
	value, ok := settings[name]
	if !ok {
		return nil, sqlError(codes.UndefinedObject, "unrecognized configuration parameter %q", name)
	}
	columns := wire.Columns{{Name: strings.ReplaceAll(name, " ", "_"), Oid: pgtype.TextOID, Width: -1}}
	return oneRow(columns, []any{value}, "SHOW"), nil
}

func oneRow(columns wire.Columns, row []any, tag string) *command {
	return &command{tag: tag, columns: columns, run: func(context.Context, *pgSession, []string) ([][]any, error) {
		return [][]any{row}, nil
	}}
}

func selectTag(rows int) string { return "SELECT " + strconv.Itoa(rows) }

// textParams declares n parameters, all of them text.
func textParams(n int) (oids []uint32) {
	for range n {
		oids = append(oids, pgtype.TextOID)
	}
	return oids
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
	err := fmt.Errorf("the sandbox does not run this statement: %s", cut(statement))
	err = pgerror.WithHint(err, "It answers SELECT of 1, current_user, current_database(), now() and version(), SHOW, and what Vault's plugin says about roles.")
	return pgerror.WithSeverity(pgerror.WithCode(err, codes.FeatureNotSupported), pgerror.LevelError)
}
