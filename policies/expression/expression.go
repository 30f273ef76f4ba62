// Package expression reads and evaluates the expressions that policies may
// hold, in the Common Expression Language (CEL), for what no key of a
// condition can say.
//
// Expressions are typed: Compile refuses what names a field that does not
// exist or compares a duration with a text, at its place and with a sentence.
// They are pure, and bounded in length, nesting and cost, so that whoever may
// write policy cannot stop the bot with it. The only time they know is now,
// which is a value like others.
//
// An expression can read
//
//   - request: requester, resource, duration, start, reason, ticket, break_glass;
//   - requester: login, id, email, manager, roles;
//   - resource: name, environment, owners, engine, max_duration;
//   - now, the time of the decision.
//
// It may use CEL's standard functions and macros and its functions on texts;
// dyn(), which would undo the types, is left out.
package expression

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// Error is a mistake in an expression. Line and Column count from 1 within
// the expression's own text, columns in characters.
type Error struct {
	Line, Column int
	Message      string
}

func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// Program is a compiled expression. It never changes, so any number of
// goroutines may use it.
type Program struct {
	text    string
	uses    []string
	program cel.Program
	ast     *cel.Ast
	zones   *zones
}

// Compile is CompileIn with the time zones that the machine knows.
func Compile(text string) (*Program, error) { return CompileIn(text, nil) }

// CompileIn reads an expression. Where it cannot, the error is an *Error that
// names the first mistake. findZone finds time zones by their IANA names; it is
// asked here and not again, so that evaluating depends on nothing but values.
func CompileIn(text string, findZone func(name string) (*time.Location, error)) (*Program, error) {
	if strings.TrimSpace(text) == "" {
		return nil, &Error{1, 1, "the expression is empty; leave the key out, or write one as " + example}
	}
	if len(text) > mostBytes {
		return nil, &Error{1, 1, fmt.Sprintf("the expression has %d bytes; at most %d are read", len(text), mostBytes)}
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("build the environment of expressions: %w", err)
	}
	r := reader{text: text, env: env, zones: &zones{find: findZone, named: map[string]*time.Location{}}}
	parsed, issues := env.Parse(text)
	if err := r.first(issues); err != nil {
		return nil, err
	}
	r.ast = parsed.NativeRep()
	checked, issues := env.Check(parsed)
	if err := r.first(issues); err != nil {
		return nil, err
	}
	r.ast = checked.NativeRep()
	if err := r.check(checked.OutputType()); err != nil {
		return nil, err
	}
	return plan(&Program{text: text, uses: uses(r.ast.Expr()), ast: checked, zones: r.zones}, env)
}

// plan makes a program of what was read.
func plan(p *Program, env *cel.Env) (_ *Program, err error) {
	p.program, err = env.Program(p.ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(mostCost), p.zones.plan())
	if err != nil {
		return nil, &Error{1, 1, "the expression can never be evaluated: " + runtimeError(err).Error()}
	}
	if len(p.uses) == 0 {
		if _, err := p.Holds(&Values{}); err != nil {
			return nil, &Error{1, 1, "the expression can never be evaluated: " + err.Error()}
		}
	}
	return p, nil
}

// String returns the text that was compiled.
func (p *Program) String() string { return p.text }

// Uses returns what the expression reads, sorted, as "request.duration" or
// "now". A variable that is used as a whole stands there by its name.
func (p *Program) Uses() []string { return slices.Clone(p.uses) }

// Roles returns the names of the roles whose holding can matter to the
// expression, sorted; all is true where that may be any, because it does
// something else with requester.roles than to look for names in it.
func (p *Program) Roles() (named []string, all bool) {
	looked := 0 // how often requester.roles is only looked into
	ast.PreOrderVisit(p.ast.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch {
		case e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.In && len(e.AsCall().Args()) == 2:
			name, in := e.AsCall().Args()[0], e.AsCall().Args()[1]
			if text, ok := literal(name); ok && isRoles(in) {
				named = append(named, text)
				looked++
			}
		case isRoles(e):
			looked--
		}
	}))
	slices.Sort(named)
	return slices.Compact(named), looked != 0
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok
}

// isRoles reports whether an expression is requester.roles itself.
func isRoles(e ast.Expr) bool {
	if e.Kind() != ast.SelectKind || e.AsSelect().FieldName() != "roles" {
		return false
	}
	operand := e.AsSelect().Operand()
	return operand.Kind() == ast.IdentKind && strings.TrimPrefix(operand.AsIdent(), ".") == "requester"
}

// Holds reports whether the expression is true of v. An error means that it is
// neither true nor false: a division by zero, a list that is too short, or
// more work than an expression may take. It is deterministic.
func (p *Program) Holds(v *Values) (bool, error) {
	out, _, err := p.program.Eval(activation{v})
	if err != nil {
		return false, runtimeError(err)
	}
	holds, ok := out.(types.Bool)
	if !ok {
		return false, errors.New("the expression gives no truth value") // Compile made sure that it does
	}
	return bool(holds), nil
}

// Constant returns what the expression gives where that does not depend on
// anything it reads: nothing at all, or only in parts that do not matter, as in
// `true || request.break_glass`. False in ok where it does depend.
func (p *Program) Constant() (value, ok bool) {
	env, err := environment()
	if err != nil {
		return false, false
	}
	program, err := env.Program(p.ast, cel.EvalOptions(cel.OptPartialEval), cel.CostLimit(mostCost), p.zones.plan())
	if err != nil {
		return false, false
	}
	out, _, err := program.Eval(env.UnknownVars())
	if err != nil {
		return false, false
	}
	holds, ok := out.(types.Bool)
	return bool(holds), ok
}

// uses collects what an expression reads.
func uses(root ast.Expr) []string {
	found := map[string]bool{}
	known := names()
	fieldOf := map[int64]string{} // variable by its id -> what of it is read
	ast.PreOrderVisit(root, ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if operand := e.AsSelect().Operand(); operand.Kind() == ast.IdentKind {
				fieldOf[operand.ID()] = operand.AsIdent() + "." + e.AsSelect().FieldName()
			}
		case ast.IdentKind:
			name := strings.TrimPrefix(e.AsIdent(), ".")
			if !slices.Contains(known, name) {
				return // the variable of a loop
			}
			if full, ok := fieldOf[e.ID()]; ok {
				name = strings.TrimPrefix(full, ".")
			}
			found[name] = true
		}
	}))
	all := make([]string, 0, len(found))
	for name := range found {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
