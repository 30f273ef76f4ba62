package rivals

import (
	"fmt"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"
)

// exprInput is the environment of expr: a struct, which it reads by offset.
type exprInput struct {
	Roles         map[string]bool
	Seconds       int
	Ticket        string
	Weekday, Hour int
}

// exprFields are the fields of both conditions in expr, in the order of the
// world's fields.
func (p *policy) exprFields() [manyFields]string {
	return [manyFields]string{
		fmt.Sprintf(`(Roles[%q] || Roles[%q])`, p.either[0], p.either[1]),
		fmt.Sprintf(`Seconds <= %d`, p.long),
		fmt.Sprintf(`Roles[%q]`, developer),
		fmt.Sprintf(`Seconds <= %d`, p.short),
		fmt.Sprintf(`Ticket matches %q`, p.anchored()),
		fmt.Sprintf(`(Weekday >= 1 && Weekday <= 5 && Hour >= %d && Hour < %d)`, p.calendar.from, p.calendar.to),
	}
}

func compileExpr(tb testing.TB, text string) *vm.Program {
	program, err := expr.Compile(text, expr.Env(&exprInput{}))
	if err != nil {
		tb.Fatal("expr:", err)
	}
	return program
}

// exprHost knows what a host of expr has to find out before it can ask. It
// has one machine for all programs, as expr recommends where nothing is asked
// at the same time.
type exprHost struct {
	policies map[string]*exprPolicy    // by resource
	roles    map[int64]map[string]bool // by person
	input    exprInput
	machine  vm.VM
}

type exprPolicy struct {
	calendar         *calendar
	plain, reasoning *vm.Program
}

func newExprHost(tb testing.TB, w *world) *exprHost {
	h := &exprHost{policies: map[string]*exprPolicy{}, roles: map[int64]map[string]bool{}}
	for i := range w.policies {
		p := &w.policies[i]
		e := &exprPolicy{p.calendar, compileExpr(tb, either(p.exprFields())), compileExpr(tb, sum(p.exprFields()))}
		for _, r := range p.resources {
			h.policies[r] = e
		}
	}
	for _, p := range w.people {
		h.roles[p.id] = map[string]bool{}
		for _, r := range p.roles {
			h.roles[p.id][r] = true
		}
	}
	return h
}

func (h *exprHost) prepare(in *exprInput, q *question) *exprPolicy {
	p := h.policies[q.resource]
	in.Roles, in.Seconds, in.Ticket = h.roles[q.id], q.seconds, q.ticket
	in.Weekday, in.Hour = p.calendar.clock(q.at)
	return p
}

// newExpr returns expr asked in three ways.
func newExpr(tb testing.TB, w *world) []engine {
	h := newExprHost(tb, w)
	inputs, policies := make([]exprInput, manyQuestions), make([]*exprPolicy, manyQuestions)
	for i := range w.questions {
		policies[i] = h.prepare(&inputs[i], &w.questions[i])
	}
	ask := func(program *vm.Program, in *exprInput) any {
		out, err := h.machine.Run(program, in)
		if err != nil {
			tb.Fatal("expr:", err)
		}
		return out
	}
	return []engine{
		{name: "expr, a sum of all fields", does: "all reasons", against: languages, allows: func(i int) bool {
			return allowing(ask(h.prepare(&h.input, &w.questions[i]).reasoning, &h.input).(int))
		}},
		{name: "expr", does: "yes or no", allows: func(i int) bool {
			return ask(h.prepare(&h.input, &w.questions[i]).plain, &h.input).(bool)
		}},
		{name: "expr", does: "yes or no, told all", allows: func(i int) bool { return ask(policies[i].plain, &inputs[i]).(bool) }},
	}
}
