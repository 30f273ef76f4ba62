package policies

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// testRow is a line of a table, as if it had been written as a case.
type testRow struct {
	own testCaseSpec
	pos strictyaml.Pos
}

// cell is one field of a table, trimmed; "" where it holds a dash.
type cell struct {
	text string
	pos  strictyaml.Pos
}

func (c cell) value() strictyaml.Value[string] {
	return strictyaml.Value[string]{V: c.text, Set: true, Pos: c.pos}
}

// list reads names that commas separate.
func (c cell) list() nameList {
	out := nameList{Set: true, Pos: c.pos}
	for name := range strings.SplitSeq(c.text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out.V = append(out.V, strictyaml.Value[string]{V: name, Set: true, Pos: c.pos})
		}
	}
	return out
}

// number reads a whole number; 0 where the cell holds a dash.
func (c cell) number(n *int, text string) (err error) {
	if text == "" {
		return nil
	}
	if *n, err = strconv.Atoi(text); err != nil {
		return fmt.Errorf("expected a whole number, found %s", strictyaml.Quote(text))
	}
	return nil
}

// into decodes a cell as a document's value would be.
func into[T any](c cell, v *strictyaml.Value[T], decode func(*T, string) error) error {
	v.Set, v.Pos = true, c.pos
	return decode(&v.V, c.text)
}

// columns are what a table may have, by the names that the keys of a case have.
var columns = map[string]func(*testCaseSpec, cell) error{
	"name": func(t *testCaseSpec, c cell) error { t.Name = c.value(); return nil },
	"at": func(t *testCaseSpec, c cell) error {
		return into(c, &t.Given.At, (*moment).UnmarshalScalar)
	},
	"silent":    func(t *testCaseSpec, c cell) error { t.Given.Silent = c.list(); return nil },
	"requester": func(t *testCaseSpec, c cell) error { t.When.Requester = c.value(); return nil },
	"resource":  func(t *testCaseSpec, c cell) error { t.When.Resource = c.value(); return nil },
	"duration": func(t *testCaseSpec, c cell) error {
		return into(c, &t.When.Duration, (*length).UnmarshalScalar)
	},
	"reason": func(t *testCaseSpec, c cell) error { t.When.Reason = c.value(); return nil },
	"ticket": func(t *testCaseSpec, c cell) error { t.When.Ticket = c.value(); return nil },
	"start": func(t *testCaseSpec, c cell) error {
		if c.text == "" {
			return nil
		}
		return into(c, &t.When.Start, (*moment).UnmarshalScalar)
	},
	"break_glass": func(t *testCaseSpec, c cell) error {
		return into(c, &t.When.BreakGlass, func(yes *bool, text string) error {
			if *yes = text == "true"; !*yes && text != "false" && text != "" {
				return fmt.Errorf("expected true or false, found %s", strictyaml.Quote(text))
			}
			return nil
		})
	},
	"waiting": func(t *testCaseSpec, c cell) error {
		if c.text == "" {
			return nil
		}
		return into(c, &t.Given.Waiting, (*length).UnmarshalScalar)
	},
	"overdue": func(t *testCaseSpec, c cell) error { t.Given.Overdue = c.list(); return nil },
	"extends": func(t *testCaseSpec, c cell) error {
		if c.text == "" {
			return nil
		}
		t.When.Extends.Set, t.When.Extends.Pos = true, c.pos
		return into(c, &t.When.Extends.V.Total, (*length).UnmarshalScalar)
	},
	"extensions": func(t *testCaseSpec, c cell) error {
		return into(c, &t.When.Extends.V.Extensions, c.number)
	},
	"decision":  func(t *testCaseSpec, c cell) error { t.Then.Decision = c.value(); return nil },
	"rule":      func(t *testCaseSpec, c cell) error { t.Then.Rule = c.value(); return nil },
	"approvers": func(t *testCaseSpec, c cell) error { t.Then.Approvers = c.list(); return nil },
	"required": func(t *testCaseSpec, c cell) error {
		return into(c, &t.Then.Required, c.number)
	},
	"approve_from": func(t *testCaseSpec, c cell) error { t.Then.From = c.list(); return nil },
	"nearest":      func(t *testCaseSpec, c cell) error { t.Then.Nearest = c.value(); return nil },
}

// table reads the cases of a table: the first line names the columns, every
// other line is a case. Empty lines, and lines that begin with #, are for the
// reader.
func (r *testReader) table(v strictyaml.Value[string]) (rows []testRow) {
	var header []cell
	before := len(r.faults)
	for i, text := range strings.Split(v.V, "\n") {
		if text = strings.TrimSpace(text); text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		cells := r.cells(v.Pos, i, text)
		switch {
		case header == nil:
			if header = cells; !r.header(header) {
				return nil
			}
			if len(header) < 2 {
				r.fault(cells[0].pos, "test/table", "table: one column is no table; separate columns by |")
				return nil
			}
		case len(cells) != len(header):
			r.fault(cells[0].pos, "test/table", "table: this line has %d columns, and the first has %d", len(cells), len(header))
		default:
			sound := len(r.faults)
			if row := r.row(header, cells, text); len(r.faults) == sound {
				rows = append(rows, row)
			}
		}
	}
	if header == nil || len(rows) == 0 && len(r.faults) == before {
		r.fault(v.Pos, "test/table", "table: holds no case; the first line names the columns, and every further line is a case")
	}
	return rows
}

func (r *testReader) header(header []cell) bool {
	before := len(r.faults)
	seen := map[string]bool{}
	for _, c := range header {
		switch {
		case c.text == "":
			r.fault(c.pos, "test/table", "table: here a column has no name; lines neither begin nor end with |")
		case columns[c.text] == nil:
			hint := "; expected " + strings.Join(slices.Sorted(maps.Keys(columns)), ", ")
			if best, ok := strictyaml.Nearest(c.text, slices.Sorted(maps.Keys(columns))); ok {
				hint = "; did you mean " + best + "?"
			}
			r.fault(c.pos, "test/table", "table: there is no column %s%s", strictyaml.Quote(c.text), hint)
		case seen[c.text]:
			r.fault(c.pos, "duplicate", "table: the column %s stands here a second time", c.text)
		}
		seen[c.text] = true
	}
	return len(r.faults) == before
}

// row reads one line. Without a name of its own, the line is its name.
func (r *testReader) row(header, cells []cell, text string) testRow {
	row := testRow{pos: cells[0].pos}
	for i, c := range cells {
		switch c.text {
		case "":
			r.fault(c.pos, "test/table", "table: the column %s is empty here; write - if that is meant", header[i].text)
			continue
		case "-":
			c.text = ""
		}
		if err := columns[header[i].text](&row.own, c); err != nil {
			r.fault(c.pos, "value", "table: %s: %v", header[i].text, err)
		}
	}
	if w := &row.own.When.Extends; !w.Set && w.V.Extensions.V != 0 {
		r.fault(w.V.Extensions.Pos, "test/table", "table: extensions is about the grant that is extended, and this line extends none; fill the column extends")
	}
	if row.own.Name.V == "" {
		row.own.Name = strictyaml.Value[string]{V: strings.Join(strings.Fields(text), " "), Set: true, Pos: row.pos}
	}
	return row
}

// cells splits a line of a table. A table in literal style (table: |) starts
// on the line after its key, so that each cell has a place of its own.
func (r *testReader) cells(table strictyaml.Pos, line int, text string) (cells []cell) {
	pos, column := strictyaml.Pos{File: table.File, Line: table.Line + 1 + line}, 0
	if pos.Line <= len(r.lines) {
		source := []rune(strings.TrimRight(r.lines[pos.Line-1], " \t\r"))
		if column = len(source) - len([]rune(text)); column < 0 || string(source[column:]) != text {
			column, pos = -1, table
		}
	} else {
		column, pos = -1, table
	}
	for field := range strings.SplitSeq(text, "|") {
		c := cell{strings.TrimSpace(field), pos}
		if column >= 0 {
			blank := len([]rune(field)) - len([]rune(strings.TrimLeft(field, " \t")))
			c.pos.Column = column + blank + 1
			column += len([]rune(field)) + 1
		}
		cells = append(cells, c)
	}
	return cells
}
