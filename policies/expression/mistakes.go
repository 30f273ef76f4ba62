package expression

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// reader looks for mistakes in one expression, and says them in words that
// need no knowledge of the interpreter. What the interpreter says in a way that
// is not known here is passed on as it is.
type reader struct {
	text  string
	env   *cel.Env
	ast   *ast.AST // nil while it is being parsed
	zones *zones
}

const example = `request.duration <= duration("1h")`

// first returns the first mistake that the interpreter found.
func (r *reader) first(issues *cel.Issues) error {
	if issues.Err() == nil {
		return nil
	}
	all := slices.Clone(issues.Errors())
	if len(all) == 0 {
		return r.at(1, 1, "this is no expression: %s", oneLine(issues.Err().Error()))
	}
	slices.SortStableFunc(all, func(a, b *common.Error) int {
		return cmp.Or(cmp.Compare(a.Location.Line(), b.Location.Line()), cmp.Compare(a.Location.Column(), b.Location.Column()))
	})
	return r.reworded(all[0])
}

// at returns a mistake, at a place that exists.
func (r *reader) at(line, column int, format string, args ...any) *Error {
	return &Error{max(line, 1), max(column, 1), fmt.Sprintf(format, args...)}
}

// reworded says one of the interpreter's mistakes.
func (r *reader) reworded(e *common.Error) *Error {
	line, column := e.Location.Line(), e.Location.Column()+1
	if rest, ok := strings.CutPrefix(e.Message, "Syntax error: "); ok {
		return r.at(line, column, "%s", r.syntax(rest, r.offset(line, column)))
	}
	if m := undefinedField.FindStringSubmatch(e.Message); m != nil {
		line, column = r.place(r.fieldAfter(r.offset(line, column), m[1]))
		return r.at(line, column, "%s", r.unknownField(e.ExprID, m[1]))
	}
	if m := undeclared.FindStringSubmatch(e.Message); m != nil {
		line, column = r.place(r.nameBefore(r.offset(line, column), m[1]))
		return r.at(line, column, "%s", r.unknownName(e.ExprID, m[1]))
	}
	if m := noOverload.FindStringSubmatch(e.Message); m != nil {
		line, column = r.place(r.nameBefore(r.offset(line, column), m[1]))
		return r.at(line, column, "%s", overload(m[1], m[2]))
	}
	if strings.HasPrefix(e.Message, "invalid matches argument") {
		return r.at(line, column, "%s", r.badPattern(e.ExprID))
	}
	for _, known := range rewordings() {
		if m := known.said.FindStringSubmatch(e.Message); m != nil {
			args := make([]any, len(m)-1)
			for i, part := range m[1:] {
				args[i] = typeWords(part)
			}
			return r.at(line, column, known.better, args...)
		}
	}
	return r.at(line, column, "%s", oneLine(e.Message))
}

var (
	undefinedField = regexp.MustCompile(`^undefined field '(.*)'$`)
	undeclared     = regexp.MustCompile(`^undeclared reference to '([^']*)'`)
	noOverload     = regexp.MustCompile(`^found no matching overload for '([^']*)' applied to '(.*)'$`)
	unexpected     = regexp.MustCompile(`^(?:mismatched|extraneous) input '(.*?)' expecting (.*)$`)
	missing        = regexp.MustCompile(`^missing '(.*?)' at `)
	unreadable     = regexp.MustCompile(`^token recognition error at: '(.*)'?$`)
	conversion     = regexp.MustCompile(`^type conversion error from '(.*)' to '(.*)'$`)
	durationUnit   = regexp.MustCompile(`^(?:ms|[smhdw])$`)
)

const tooLarge = "this regular expression is too large; write fewer repetitions"

type rewording struct {
	said   *regexp.Regexp
	better string
}

// rewordings are the mistakes whose words do not depend on the expression,
// beyond the types in them.
func rewordings() []rewording {
	return []rewording{
		{regexp.MustCompile(`^expected type '(.*)' but found '(.*)'$`), "expected %s, found %s"},
		{regexp.MustCompile(`^expression of type '(.*)' cannot be range`), "%s is no list: exists, all, filter and map go over the elements of lists"},
		{regexp.MustCompile(`^type '(.*)' does not support field selection`), "%s has no fields"},
		{regexp.MustCompile(`^argument must be a simple name`), `the first argument must be a new name that stands for each element, as in requester.roles.exists(r, r == "dba")`},
		{regexp.MustCompile(`^invalid argument to has\(\) macro`), "has() takes a field, as in has(request.ticket)"},
		{regexp.MustCompile(`^invalid duration argument`), `this is not a duration; write one as duration("1h30m")`},
		{regexp.MustCompile(`^invalid timestamp argument`), `this is not a time; write one as timestamp("2026-11-22T09:00:00Z")`},
		{regexp.MustCompile(`recursion (?:limit|depth) exceeded`), fmt.Sprintf("the expression is nested too deeply; at most %d levels are read", mostNesting)},
		{regexp.MustCompile(`^regex program size`), tooLarge},
		{regexp.MustCompile(`^comprehension exceeds nesting limit`), fmt.Sprintf("exists, all, filter and map stand within each other more than %d deep", mostLoops)},
		{regexp.MustCompile(`^error recovery`), "this is no expression; write one as " + example},
		{regexp.MustCompile(`^reserved identifier: `), "this word is reserved by the language; write another"},
	}
}

// syntax says what cannot be parsed at an offset.
func (r *reader) syntax(said string, offset int) string {
	if m := unreadable.FindStringSubmatch(said); m != nil {
		return unreadableToken(m[1])
	}
	if m := missing.FindStringSubmatch(said); m != nil {
		return fmt.Sprintf("a %s is missing here", m[1])
	}
	m := unexpected.FindStringSubmatch(said)
	if m == nil {
		return "this cannot be read as an expression from here on; write one as " + example
	}
	found, before := m[1], r.wordBefore(offset)
	switch {
	case found == "and" || before == "and":
		return `"and" is written &&`
	case found == "or" || before == "or":
		return `"or" is written ||`
	case found == "not" || before == "not":
		return `"not" is written !`
	case found == "<EOF>" && strings.Contains(m[2], "IDENTIFIER"):
		return "something is missing at the end: a value, as request.duration or \"text\""
	case found == "<EOF>":
		return "the expression ends too early: expected " + m[2]
	case durationUnit.MatchString(found) && strings.IndexFunc(before, unicode.IsDigit) == 0:
		return fmt.Sprintf("durations are written duration(%q)", before+found)
	case m[2] == "<EOF>":
		return fmt.Sprintf("the expression is complete before %s; conditions are joined by && or ||", strictyaml.Quote(found))
	case strings.Contains(m[2], "IDENTIFIER"):
		return fmt.Sprintf("expected a value here, as request.duration or \"text\", found %s", strictyaml.Quote(found))
	}
	return fmt.Sprintf("expected %s here, found %s", m[2], strictyaml.Quote(found))
}

func unreadableToken(token string) string {
	switch first, _ := utf8.DecodeRuneInString(token); first {
	case '=':
		return "to compare, write =="
	case '&':
		return `"and" is written &&`
	case '|':
		return `"or" is written ||`
	case '\'', '"':
		return "the text that begins here has no end, or an escape that does not exist; in a regular expression write \\\\ for one backslash, or r\"...\""
	case '#':
		return "comments are written // in an expression"
	default:
		return fmt.Sprintf("%s has no meaning in an expression", strictyaml.Quote(string(first)))
	}
}

// badPattern says what is wrong with the regular expression that has an id.
func (r *reader) badPattern(id int64) string {
	e, ok := r.find(id)
	if !ok || e.Kind() != ast.LiteralKind {
		return "this is not a regular expression"
	}
	pattern, _ := e.AsLiteral().Value().(string)
	var wrong *syntax.Error
	if _, err := regexp.Compile(pattern); errors.As(err, &wrong) {
		return fmt.Sprintf("this is not a regular expression: %s: %s", wrong.Code, strictyaml.Quote(wrong.Expr))
	}
	return tooLarge
}

func (r *reader) unknownField(id int64, name string) string {
	e, ok := r.find(id)
	if !ok || e.Kind() != ast.SelectKind || e.AsSelect().Operand().Kind() != ast.IdentKind {
		return fmt.Sprintf("there is no field %s", strictyaml.Quote(name))
	}
	of := strings.TrimPrefix(e.AsSelect().Operand().AsIdent(), ".")
	for _, v := range variables() {
		if v.name == of {
			return fmt.Sprintf("%s has no field %s; %s", of, strictyaml.Quote(name), nearest(name, v.fieldNames(), "it has "))
		}
	}
	return fmt.Sprintf("there is no field %s", strictyaml.Quote(name))
}

func (r *reader) unknownName(id int64, name string) string {
	if e, ok := r.find(id); !ok || e.Kind() != ast.CallKind {
		return fmt.Sprintf("there is no variable %s; %s", strictyaml.Quote(name), nearest(name, names(), "known are "))
	}
	known := []string{"all", "exists", "exists_one", "filter", "has", "map"}
	for function := range r.env.Functions() {
		if first, _ := utf8.DecodeRuneInString(function); unicode.IsLetter(first) {
			known = append(known, function)
		}
	}
	slices.Sort(known)
	if best, ok := strictyaml.Nearest(name, known); ok && len(name) > 3 {
		return fmt.Sprintf("there is no function %s; did you mean %s?", strictyaml.Quote(name), best)
	}
	return fmt.Sprintf("there is no function %s", strictyaml.Quote(name))
}

func nearest(name string, known []string, intro string) string {
	if best, ok := strictyaml.Nearest(name, known); ok {
		return "did you mean " + best + "?"
	}
	return intro + strings.Join(known[:len(known)-1], ", ") + " and " + known[len(known)-1]
}

// check finds what the interpreter allows and we do not, and asks for a truth
// value in the end.
func (r *reader) check(result *cel.Type) error {
	var found *Error
	fault := func(e ast.Expr, format string, args ...any) {
		if found == nil {
			at := r.ast.SourceInfo().GetStartLocation(e.ID())
			found = r.at(at.Line(), at.Column()+1, format, args...)
		}
	}
	fieldOf := map[int64]bool{} // variables of which a field is read
	ast.PreOrderVisit(r.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			fieldOf[e.AsSelect().Operand().ID()] = true
		case ast.IdentKind:
			if r.ast.GetType(e.ID()).Kind() == types.StructKind && !fieldOf[e.ID()] {
				fault(e, "%s is no value of its own; name one of its fields, as %s.%s", e.AsIdent(), e.AsIdent(), firstField(e.AsIdent()))
			}
		case ast.StructKind:
			fault(e, "a new %s cannot be made here", e.AsStruct().TypeName())
		case ast.ComprehensionKind:
			if name := e.AsComprehension().IterVar(); slices.Contains(names(), name) {
				fault(e, "the name %s is taken; call the elements something else, as in requester.roles.exists(r, r == \"dba\")", name)
			}
		case ast.CallKind:
			if e.AsCall().FunctionName() == "dyn" {
				fault(e, "dyn() is not allowed: it would hide mistakes until somebody asks for access")
			}
			if zone, ok := readsZone(e); ok {
				if err := r.zones.check(zone); err != nil {
					fault(zone, "%v", err)
				}
			}
		}
	}))
	switch {
	case found != nil:
		return found
	case !result.IsExactType(cel.BoolType):
		return r.at(1, 1, "an expression must be true or false, and this one is %s; compare it, as in %s", typeWords(cel.FormatCELType(result)), example)
	}
	return nil
}

func firstField(of string) string {
	for _, v := range variables() {
		if v.name == strings.TrimPrefix(of, ".") {
			return v.fields[0].name
		}
	}
	return "field"
}

// find returns the part of the expression that has an id.
func (r *reader) find(id int64) (found ast.Expr, ok bool) {
	if r.ast == nil {
		return nil, false
	}
	ast.PreOrderVisit(r.ast.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() == id {
			found, ok = e, true
		}
	}))
	return found, ok
}

// runtimeError says why an expression was neither true nor false.
func runtimeError(err error) error {
	said := err.Error()
	switch {
	case strings.Contains(said, "cost limit exceeded"):
		return fmt.Errorf("the expression takes more work than it may (%d steps)", mostCost)
	case strings.HasPrefix(said, "index out of bounds: "):
		return fmt.Errorf("the list has no element %s", strings.TrimPrefix(said, "index out of bounds: "))
	}
	if m := conversion.FindStringSubmatch(said); m != nil {
		return fmt.Errorf("%s cannot be read as %s", typeWords(m[1]), typeWords(m[2]))
	}
	return errors.New(oneLine(said))
}

// oneLine bounds what a message repeats of values that strangers wrote.
func oneLine(s string) string {
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(clean); len(runes) > 200 {
		return string(runes[:200]) + "..."
	}
	return clean
}
