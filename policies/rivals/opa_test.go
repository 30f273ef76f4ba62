package rivals

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// byData is how Rego is mostly written: rules that say what a policy means,
// and the policies themselves as data. All look-ups go by key, never by
// search; members of roles are keys of objects; and what is quick to refuse
// comes first.
const byData = `package tac

default allow := false

policy := data.policies[data.resources[input.resource]]

allow if {
	input.seconds <= policy.long
	some role in policy.either
	data.roles[role][input.requester]
}

allow if {
	input.seconds <= policy.short
	data.roles.developer[input.requester]
	regex.match(policy.tickets, input.ticket)
	open
}

open if {
	calendar := data.calendars[policy.calendar]
	time.weekday([input.at, calendar.zone]) in calendar.days
	[hour, _, _] := time.clock([input.at, calendar.zone])
	hour >= calendar.from
	hour < calendar.to
}
`

// written is a policy with everything in the text, for a host that knows
// which policy it wants, whose roles the requester has, and what the clock
// shows. It is as little as OPA can be asked to do.
func (p *policy) written() string {
	return fmt.Sprintf(`package tac.%s

default allow := false

allow if {
	input.seconds <= %d
	input.roles[%q]
}

allow if {
	input.seconds <= %d
	input.roles[%q]
}

allow if {
	input.seconds <= %d
	input.roles.developer
	regex.match(%q, input.ticket)
	input.weekday >= 1
	input.weekday <= 5
	input.hour >= %d
	input.hour < %d
}
`, p.underscored(), p.long, p.either[0], p.long, p.either[1], p.short, p.anchored(), p.calendar.from, p.calendar.to)
}

func (p *policy) underscored() string { return strings.ReplaceAll(p.name, "-", "_") }

// anchored is the pattern of a policy's tickets for engines whose own are not
// anchored.
func (p *policy) anchored() string { return "^" + p.tickets + "-[0-9]+$" }

// data is the world as OPA's data document.
func (w *world) data() map[string]any {
	of := func() map[string]any { return map[string]any{} }
	policies, resources, roles, calendars := of(), of(), of(), of()
	for i := range w.policies {
		p := &w.policies[i]
		policies[p.name] = map[string]any{
			"either": []any{p.either[0], p.either[1]}, "long": p.long, "short": p.short,
			"tickets": p.anchored(), "calendar": p.calendar.name,
		}
		for _, r := range p.resources {
			resources[r] = p.name
		}
	}
	for _, r := range w.roles {
		members := of()
		for _, m := range r.members {
			members[m] = true
		}
		roles[r.name] = members
	}
	days := []any{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday"}
	for _, c := range w.calendars {
		calendars[c.name] = map[string]any{"zone": c.zone.String(), "days": days, "from": c.from, "to": c.to}
	}
	return map[string]any{"policies": policies, "resources": resources, "roles": roles, "calendars": calendars}
}

// prepareOPA is OPA's recommended way: read data and rules, compile, and keep
// the query. AST values on read is its option for the quickest evaluation.
func prepareOPA(tb testing.TB, data []byte) rego.PreparedEvalQuery {
	store := inmem.NewFromReaderWithOpts(bytes.NewReader(data), inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	query, err := rego.New(rego.Query("data.tac.allow"), rego.Module("tac.rego", byData), rego.Store(store)).PrepareForEval(context.Background())
	if err != nil {
		tb.Fatal("opa:", err)
	}
	return query
}

func (w *world) dataJSON(tb testing.TB) []byte {
	data, err := json.Marshal(w.data())
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// opaKeys are the names of the input, made once.
var opaKeys = struct{ requester, resource, seconds, ticket, at *ast.Term }{
	ast.StringTerm("requester"), ast.StringTerm("resource"), ast.StringTerm("seconds"), ast.StringTerm("ticket"), ast.StringTerm("at"),
}

// opaInput makes the input for OPA's quickest way in, EvalParsedInput.
func (q *question) opaInput() ast.Value {
	return ast.NewObject(
		[2]*ast.Term{opaKeys.requester, ast.StringTerm(q.login)}, [2]*ast.Term{opaKeys.resource, ast.StringTerm(q.resource)},
		[2]*ast.Term{opaKeys.seconds, ast.IntNumberTerm(q.seconds)}, [2]*ast.Term{opaKeys.ticket, ast.StringTerm(q.ticket)},
		[2]*ast.Term{opaKeys.at, ast.IntNumberTerm(int(q.at.UnixNano()))})
}

func (q *question) opaMap() map[string]any {
	return map[string]any{
		"requester": q.login, "resource": q.resource, "seconds": q.seconds, "ticket": q.ticket, "at": q.at.UnixNano(),
	}
}

// newOPA returns OPA with the policies as data, asked with a map and with an
// input that is parsed already. Partial evaluation of these rules is no
// alternative: it multiplies policies, resources and roles, and had taken
// 17 GiB after eight minutes. What it could give at best is newChosenOPA.
func newOPA(tb testing.TB, w *world) []engine {
	data := w.dataJSON(tb)
	query := prepareOPA(tb, data)
	parsed := make([]ast.Value, manyQuestions)
	for i := range w.questions {
		parsed[i] = w.questions[i].opaInput()
	}
	return []engine{
		{name: "OPA, EvalInput of a map", does: "yes or no", against: wholeOPA, allows: func(i int) bool { return ask(tb, query, rego.EvalInput(w.questions[i].opaMap())) }},
		{name: "OPA, EvalParsedInput", does: "yes or no", against: wholeOPA, allows: func(i int) bool {
			return ask(tb, query, rego.EvalParsedInput(w.questions[i].opaInput()))
		}},
		{name: "OPA, EvalParsedInput, input made before", does: "yes or no", allows: func(i int) bool { return ask(tb, query, rego.EvalParsedInput(parsed[i])) }},
	}
}

// prepareChosenOPA prepares a query for each policy.
func prepareChosenOPA(tb testing.TB, w *world) []rego.PreparedEvalQuery {
	modules := map[string]string{}
	for i := range w.policies {
		modules[w.policies[i].name+".rego"] = w.policies[i].written()
	}
	compiler, err := ast.CompileModules(modules)
	if err != nil {
		tb.Fatal("opa:", err)
	}
	queries := make([]rego.PreparedEvalQuery, manyPolicies)
	for i := range w.policies {
		queries[i], err = rego.New(rego.Query("data.tac."+w.policies[i].underscored()+".allow"), rego.Compiler(compiler)).PrepareForEval(context.Background())
		if err != nil {
			tb.Fatal("opa:", err)
		}
	}
	return queries
}

// newChosenOPA returns OPA with a query for each policy.
func newChosenOPA(tb testing.TB, w *world) engine {
	queries, inputs := prepareChosenOPA(tb, w), make([]ast.Value, manyQuestions)
	for i, q := range w.questions {
		weekday, hour := w.policies[q.policy].calendar.clock(q.at)
		roles := map[string]any{}
		for _, r := range q.roles {
			roles[r] = true
		}
		inputs[i] = parse(tb, map[string]any{"roles": roles, "seconds": q.seconds, "ticket": q.ticket, "weekday": weekday, "hour": hour})
	}
	return engine{name: "OPA, EvalParsedInput, a query for each policy", does: "yes or no, told all", allows: func(i int) bool {
		return ask(tb, queries[w.questions[i].policy], rego.EvalParsedInput(inputs[i]))
	}}
}

func parse(tb testing.TB, input map[string]any) ast.Value {
	value, err := ast.InterfaceToValue(input)
	if err != nil {
		tb.Fatal("opa:", err)
	}
	return value
}

func ask(tb testing.TB, query rego.PreparedEvalQuery, input rego.EvalOption) bool {
	results, err := query.Eval(context.Background(), input)
	if err != nil {
		tb.Fatal("opa:", err)
	}
	return results.Allowed()
}
