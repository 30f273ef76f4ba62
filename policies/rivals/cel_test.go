package rivals

import (
	"fmt"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

// celFields are the fields of both conditions in CEL, in the order of the
// world's fields.
func (p *policy) celFields() [manyFields]string {
	return [manyFields]string{
		fmt.Sprintf(`(%q in roles || %q in roles)`, p.either[0], p.either[1]),
		fmt.Sprintf(`seconds <= %d`, p.long),
		fmt.Sprintf(`%q in roles`, developer),
		fmt.Sprintf(`seconds <= %d`, p.short),
		fmt.Sprintf(`ticket.matches(%q)`, p.anchored()),
		fmt.Sprintf(`(weekday >= 1 && weekday <= 5 && hour >= %d && hour < %d)`, p.calendar.from, p.calendar.to),
	}
}

// celText is the policy as a plain condition, with what is quick first.
func (p *policy) celText() string { return either(p.celFields()) }

// celTextWithZone does not need the host's clock.
func (p *policy) celTextWithZone() string {
	fields, zone := p.celFields(), p.calendar.zone.String()
	fields[isOpen] = fmt.Sprintf(`now.getDayOfWeek(%q) >= 1 && now.getDayOfWeek(%q) <= 5 && now.getHours(%q) >= %d && now.getHours(%q) < %d`,
		zone, zone, zone, p.calendar.from, zone, p.calendar.to)
	return either(fields)
}

func newCELEnv(tb testing.TB) *cel.Env {
	env, err := cel.NewEnv(
		cel.Variable("roles", cel.ListType(cel.StringType)), cel.Variable("seconds", cel.IntType), cel.Variable("ticket", cel.StringType),
		cel.Variable("weekday", cel.IntType), cel.Variable("hour", cel.IntType), cel.Variable("now", cel.TimestampType))
	if err != nil {
		tb.Fatal("cel:", err)
	}
	return env
}

// compileCEL compiles with the option that evaluates constants, regular
// expressions among them, once.
func compileCEL(tb testing.TB, env *cel.Env, text string) cel.Program {
	checked, issues := env.Compile(text)
	if err := issues.Err(); err != nil {
		tb.Fatalf("cel: %v in %s", err, text)
	}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		tb.Fatal("cel:", err)
	}
	return program
}

// celInput resolves names without a map, which costs CEL less than the map
// that its documentation shows.
type celInput struct {
	roles, seconds, ticket, now any
	weekday, hour               types.Int
}

func (in *celInput) ResolveName(name string) (any, bool) {
	switch name {
	case "roles":
		return in.roles, true
	case "seconds":
		return in.seconds, true
	case "ticket":
		return in.ticket, true
	case "weekday":
		return in.weekday, true
	case "hour":
		return in.hour, true
	case "now":
		return in.now, true
	}
	return nil, false
}

func (in *celInput) Parent() cel.Activation { return nil }

// celHost knows what a host of CEL has to find out before it can ask.
type celHost struct {
	policies map[string]*celPolicy // by resource
	roles    map[int64]any         // CEL's own lists, by person
	nobody   any
	input    celInput
}

type celPolicy struct {
	calendar                *calendar
	plain, zoned, reasoning cel.Program
}

func newCELHost(tb testing.TB, w *world) *celHost {
	list := func(roles []string) any { return types.NewStringList(types.DefaultTypeAdapter, roles) }
	h := &celHost{policies: map[string]*celPolicy{}, roles: map[int64]any{}, nobody: list(nil)}
	env := newCELEnv(tb)
	for i := range w.policies {
		p := &w.policies[i]
		c := &celPolicy{p.calendar, compileCEL(tb, env, p.celText()), compileCEL(tb, env, p.celTextWithZone()), compileCEL(tb, env, sum(p.celFields()))}
		for _, r := range p.resources {
			h.policies[r] = c
		}
	}
	for _, p := range w.people {
		h.roles[p.id] = list(p.roles)
	}
	return h
}

// prepare fills the input in for a question, all but the clock.
func (h *celHost) prepare(in *celInput, q *question) *celPolicy {
	in.seconds, in.ticket, in.now = types.Int(q.seconds), types.String(q.ticket), types.Timestamp{Time: q.at}
	roles, known := h.roles[q.id]
	if !known {
		roles = h.nobody
	}
	in.roles = roles
	return h.policies[q.resource]
}

func (in *celInput) setClock(c *calendar, q *question) {
	weekday, hour := c.clock(q.at)
	in.weekday, in.hour = types.Int(weekday), types.Int(hour)
}

// newCEL returns CEL asked in four ways.
func newCEL(tb testing.TB, w *world) []engine {
	h := newCELHost(tb, w)
	inputs, policies := make([]celInput, manyQuestions), make([]*celPolicy, manyQuestions)
	for i := range w.questions {
		policies[i] = h.prepare(&inputs[i], &w.questions[i])
		inputs[i].setClock(policies[i].calendar, &w.questions[i])
	}
	ask := func(program cel.Program, in *celInput) any {
		out, _, err := program.Eval(in)
		if err != nil {
			tb.Fatal("cel:", err)
		}
		return out
	}
	return []engine{
		{name: "CEL, a sum of all fields", does: "all reasons", against: languages, allows: func(i int) bool {
			q := &w.questions[i]
			p := h.prepare(&h.input, q)
			h.input.setClock(p.calendar, q)
			return allowing(int(ask(p.reasoning, &h.input).(types.Int)))
		}},
		{name: "CEL", does: "yes or no", allows: func(i int) bool {
			q := &w.questions[i]
			p := h.prepare(&h.input, q)
			h.input.setClock(p.calendar, q)
			return ask(p.plain, &h.input) == types.True
		}},
		{name: "CEL, time zone in the text", does: "yes or no", allows: func(i int) bool {
			return ask(h.prepare(&h.input, &w.questions[i]).zoned, &h.input) == types.True
		}},
		{name: "CEL", does: "yes or no, told all", allows: func(i int) bool { return ask(policies[i].plain, &inputs[i]) == types.True }},
	}
}
