package expression

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Values is what an expression can read. It is only read, also while several
// goroutines evaluate.
type Values struct {
	Request   Request
	Requester Requester
	Resource  Resource
	Now       time.Time
}

// Request is what somebody asks for: `request`.
type Request struct {
	Requester  string        // login, as requester.login
	Resource   string        // name, as resource.name
	Duration   time.Duration // how long the access shall last
	Start      time.Time     // when it shall start; now, where the request does not say
	Reason     string
	Ticket     string // as written in the request; empty where there is none
	BreakGlass bool
}

// Requester is who asks: `requester`.
type Requester struct {
	Login   string // as the request has it
	ID      int64  // the number of the account, which never changes hands
	Email   string // empty where People does not say
	Manager string // login; empty where People does not say
	Roles   []string
}

// Resource is what is asked for: `resource`.
type Resource struct {
	Name        string
	Environment string // empty where the resource has none
	Owners      []string
	Engine      string
	MaxDuration time.Duration // zero where the resource sets no ceiling
}

// field is one field of a variable.
type field struct {
	name string
	is   *types.Type
	get  func(*Values) any
	has  func(*Values) bool // what has() says
}

func text(name string, get func(*Values) string) field {
	return field{name, types.StringType, func(v *Values) any { return get(v) }, func(v *Values) bool { return get(v) != "" }}
}

func list(name string, get func(*Values) []string) field {
	return field{name, types.NewListType(types.StringType), func(v *Values) any { return get(v) }, func(v *Values) bool { return len(get(v)) > 0 }}
}

func span(name string, get func(*Values) time.Duration) field {
	return field{name, types.DurationType, func(v *Values) any { return get(v) }, func(v *Values) bool { return get(v) != 0 }}
}

// variable is a variable with fields, which is its own type.
type variable struct {
	name   string
	fields []field
}

// variables are all variables but now.
var variables = sync.OnceValue(func() []variable {
	return []variable{
		{"request", []field{
			text("requester", func(v *Values) string { return v.Request.Requester }),
			text("resource", func(v *Values) string { return v.Request.Resource }),
			span("duration", func(v *Values) time.Duration { return v.Request.Duration }),
			{"start", types.TimestampType, func(v *Values) any { return v.Request.Start }, func(v *Values) bool { return !v.Request.Start.IsZero() }},
			text("reason", func(v *Values) string { return v.Request.Reason }),
			text("ticket", func(v *Values) string { return v.Request.Ticket }),
			{"break_glass", types.BoolType, func(v *Values) any { return v.Request.BreakGlass }, func(v *Values) bool { return v.Request.BreakGlass }},
		}},
		{"requester", []field{
			text("login", func(v *Values) string { return v.Requester.Login }),
			{"id", types.IntType, func(v *Values) any { return v.Requester.ID }, func(v *Values) bool { return v.Requester.ID != 0 }},
			text("email", func(v *Values) string { return v.Requester.Email }),
			text("manager", func(v *Values) string { return v.Requester.Manager }),
			list("roles", func(v *Values) []string { return v.Requester.Roles }),
		}},
		{"resource", []field{
			text("name", func(v *Values) string { return v.Resource.Name }),
			text("environment", func(v *Values) string { return v.Resource.Environment }),
			list("owners", func(v *Values) []string { return v.Resource.Owners }),
			text("engine", func(v *Values) string { return v.Resource.Engine }),
			span("max_duration", func(v *Values) time.Duration { return v.Resource.MaxDuration }),
		}},
	}
})

// clock is the variable without fields.
const clock = "now"

func (v variable) fieldNames() []string {
	names := make([]string, len(v.fields))
	for i, f := range v.fields {
		names[i] = f.name
	}
	return names
}

// activation lets the interpreter read Values.
type activation struct{ values *Values }

func (a activation) Parent() cel.Activation { return nil }

func (a activation) ResolveName(name string) (any, bool) {
	if name == clock {
		return a.values.Now, true
	}
	for _, v := range variables() {
		if v.name == name {
			return a.values, true
		}
	}
	return nil, false
}

// provider adds our types to the interpreter's own.
type provider struct {
	types.Provider
	structs map[string]*types.Type
	fields  map[string]map[string]*types.FieldType
}

func newProvider(inner types.Provider) *provider {
	p := &provider{Provider: inner, structs: map[string]*types.Type{}, fields: map[string]map[string]*types.FieldType{}}
	for _, v := range variables() {
		p.structs[v.name] = types.NewTypeTypeWithParam(types.NewObjectType(v.name))
		p.fields[v.name] = map[string]*types.FieldType{}
		for _, f := range v.fields {
			p.fields[v.name][f.name] = &types.FieldType{
				Type: f.is,
				IsSet: func(target any) bool {
					values, ok := target.(*Values)
					return ok && f.has(values)
				},
				GetFrom: func(target any) (any, error) {
					values, ok := target.(*Values)
					if !ok {
						return nil, fmt.Errorf("%s is not there", f.name)
					}
					return f.get(values), nil
				},
			}
		}
	}
	return p
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if t, ok := p.structs[name]; ok {
		return t, true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	for _, v := range variables() {
		if v.name == name {
			return v.fieldNames(), true
		}
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p *provider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if fields, ok := p.fields[name]; ok {
		f, ok := fields[fieldName]
		return f, ok
	}
	return p.Provider.FindStructFieldType(name, fieldName)
}

// Bounds on what an expression may be and cost. They are far above what a
// person would want to read, and keep one evaluation under some milliseconds.
const (
	mostBytes     = 4 << 10
	mostNesting   = 32     // of parentheses, calls and lists
	mostNodes     = 4096   // after macros are expanded
	mostLoops     = 3      // exists within exists within exists
	mostCost      = 50_000 // in the interpreter's unit: about one per operation, one per ten characters compared
	mostRegexp    = 1000   // instructions of one regular expression
	mostPrecision = 20     // digits of a formatted number
)

// environment is built once, by whoever compiles the first expression.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	types := newProvider(registry)
	options := []cel.EnvOption{
		cel.CustomTypeProvider(types), cel.CustomTypeAdapter(registry),
		ext.Strings(ext.StringsMaxPrecision(mostPrecision)),
		cel.DefaultUTCTimeZone(true), // never the zone of the machine
		cel.EagerlyValidateDeclarations(true),
		cel.ParserExpressionSizeLimit(mostBytes), cel.ParserRecursionLimit(mostNesting), cel.ExpressionNodeLimit(mostNodes),
		cel.ParserErrorRecoveryLimit(0),
		cel.RegexProgramSizeLimit(mostRegexp),
		cel.ASTValidators(
			cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(),
			cel.ValidateHomogeneousAggregateLiterals(), cel.ValidateComprehensionNestingLimit(mostLoops),
		),
		cel.Variable(clock, cel.TimestampType),
	}
	for _, v := range variables() {
		options = append(options, cel.Variable(v.name, cel.ObjectType(v.name)))
	}
	return cel.NewEnv(options...)
})

// names returns the known variables, sorted.
func names() []string {
	all := []string{clock}
	for _, v := range variables() {
		all = append(all, v.name)
	}
	slices.Sort(all)
	return all
}
