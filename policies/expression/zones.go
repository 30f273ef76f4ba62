package expression

import (
	"fmt"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// zones finds the time zones that an expression names when it is compiled, so
// that evaluating reads no zone file of the machine it happens to run on.
type zones struct {
	find  func(name string) (*time.Location, error) // nil: the library looks for itself
	named map[string]*time.Location
}

// readsZone reports whether a call is one as now.getHours("Europe/Berlin"),
// and returns the zone's expression.
func readsZone(e ast.Expr) (ast.Expr, bool) {
	if e.Kind() != ast.CallKind || !e.AsCall().IsMemberFunction() {
		return nil, false
	}
	call := e.AsCall()
	if args := call.Args(); len(args) == 1 && zoned(call.FunctionName()) {
		return args[0], true
	}
	return nil, false
}

// zoned reports whether a function takes a part out of a time.
func zoned(function string) bool {
	switch function {
	case "getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek",
		"getHours", "getMinutes", "getSeconds", "getMilliseconds":
		return true
	}
	return false
}

// check refuses a zone that nobody knows, or that depends on the machine.
func (z *zones) check(e ast.Expr) error {
	if e.Kind() != ast.LiteralKind {
		return fmt.Errorf("the time zone must be written here as a text, as \"Europe/Berlin\"")
	}
	name, _ := e.AsLiteral().Value().(string)
	switch {
	case name == "" || name == "Local":
		return fmt.Errorf("%q is another time zone on every machine; write one as \"Europe/Berlin\" or \"UTC\"", name)
	case strings.Contains(name, ":") || z.find == nil:
		probe := types.Timestamp{Time: time.Unix(0, 0)}.Receive("getHours", "", []ref.Val{types.String(name)})
		if types.IsError(probe) {
			return fmt.Errorf("the time zone %q is not known; write one as \"Europe/Berlin\", \"UTC\" or \"+02:00\"", name)
		}
		return nil
	}
	if z.named[name] != nil {
		return nil
	}
	location, err := z.find(name)
	if err != nil || location == nil {
		return fmt.Errorf("the time zone %q is not known; write one as \"Europe/Berlin\" or \"UTC\"", name)
	}
	z.named[name] = location
	return nil
}

// plan puts the zones that were found into the program.
func (z *zones) plan() cel.ProgramOption {
	return cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		call, ok := i.(interpreter.InterpretableCall)
		if !ok || !zoned(call.Function()) || len(call.Args()) != 2 {
			return i, nil
		}
		constant, ok := call.Args()[1].(interpreter.InterpretableConst)
		if !ok {
			return i, nil
		}
		name, _ := constant.Value().Value().(string)
		if location := z.named[name]; location != nil {
			return zonedCall{call, location}, nil
		}
		return i, nil
	})
}

// zonedCall takes a part out of a time in a zone.
type zonedCall struct {
	interpreter.InterpretableCall
	location *time.Location
}

func (c zonedCall) Eval(a interpreter.Activation) ref.Val { return c.part(c.Args()[0].Eval(a)) }

func (c zonedCall) Exec(f *interpreter.ExecutionFrame) ref.Val { return c.part(c.Args()[0].Exec(f)) }

func (c zonedCall) part(of ref.Val) ref.Val {
	t, ok := of.(types.Timestamp)
	if !ok {
		return types.MaybeNoSuchOverloadErr(of) // an error or unknown stays what it is
	}
	return types.Timestamp{Time: t.In(c.location)}.Receive(c.Function(), "", nil)
}
