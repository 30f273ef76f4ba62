package rivals

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
)

// cedarText is the policy in Cedar. Its like knows * alone, so that tickets
// are checked by their beginning.
func (p *policy) cedarText() string {
	return fmt.Sprintf(`permit (principal, action == Action::"access", resource in Policy::%q)
when { context.seconds <= %d && (principal in Role::%q || principal in Role::%q) };
permit (principal in Role::%q, action == Action::"access", resource in Policy::%q)
when { context.seconds <= %d && context.ticket like "%s-*" &&
       context.weekday >= 1 && context.weekday <= 5 && context.hour >= %d && context.hour < %d };
`, p.name, p.long, p.either[0], p.either[1], developer, p.name, p.short, p.tickets, p.calendar.from, p.calendar.to)
}

func parseCedar(tb testing.TB, text string) *cedar.PolicySet {
	set, err := cedar.NewPolicySetFromBytes("tac.cedar", []byte(text))
	if err != nil {
		tb.Fatal("cedar:", err)
	}
	return set
}

func (w *world) cedarText() string {
	var all strings.Builder
	for i := range w.policies {
		all.WriteString(w.policies[i].cedarText())
	}
	return all.String()
}

func (w *world) cedarEntities() cedar.EntityMap {
	entities := cedar.EntityMap{}
	add := func(kind, name string, parents ...cedar.EntityUID) {
		uid := cedar.NewEntityUID(cedar.EntityType(kind), cedar.String(name))
		entities[uid] = cedar.Entity{UID: uid, Parents: cedar.NewEntityUIDSet(parents...)}
	}
	for i := range w.policies {
		p := &w.policies[i]
		add("Policy", p.name)
		for _, r := range p.resources {
			add("Resource", r, cedar.NewEntityUID("Policy", cedar.String(p.name)))
		}
	}
	for _, r := range w.roles {
		add("Role", r.name)
	}
	for _, p := range w.people {
		var held []cedar.EntityUID
		for _, r := range p.roles {
			held = append(held, cedar.NewEntityUID("Role", cedar.String(r)))
		}
		add("Person", p.login, held...)
	}
	return entities
}

func (q *question) cedarRequest(c *calendar) cedar.Request {
	weekday, hour := c.clock(q.at)
	return cedar.Request{
		Principal: cedar.NewEntityUID("Person", cedar.String(q.login)),
		Action:    cedar.NewEntityUID("Action", "access"),
		Resource:  cedar.NewEntityUID("Resource", cedar.String(q.resource)),
		Context: cedar.NewRecord(cedar.RecordMap{
			"seconds": cedar.Long(q.seconds), "ticket": cedar.String(q.ticket), "weekday": cedar.Long(weekday), "hour": cedar.Long(hour),
		}),
	}
}

// newCedar returns cedar-go with all policies in one set, which it goes
// through from end to end, and with a set for each policy.
func newCedar(tb testing.TB, w *world) []engine {
	type chosen struct {
		set      *cedar.PolicySet
		calendar *calendar
	}
	whole, entities := parseCedar(tb, w.cedarText()), w.cedarEntities()
	byResource := map[string]chosen{}
	for i := range w.policies {
		p := &w.policies[i]
		c := chosen{parseCedar(tb, p.cedarText()), p.calendar}
		for _, r := range p.resources {
			byResource[r] = c
		}
	}
	sets, requests := make([]*cedar.PolicySet, manyQuestions), make([]cedar.Request, manyQuestions)
	for i := range w.questions {
		q := &w.questions[i]
		c := byResource[q.resource]
		sets[i], requests[i] = c.set, q.cedarRequest(c.calendar)
	}
	ask := func(set *cedar.PolicySet, request cedar.Request) bool {
		decision, diagnostic := cedar.Authorize(set, entities, request)
		if len(diagnostic.Errors) > 0 {
			tb.Fatal("cedar:", diagnostic.Errors)
		}
		return bool(decision)
	}
	return []engine{
		{name: "cedar-go, all policies in one set", does: "yes or no", allows: func(i int) bool { return ask(whole, requests[i]) }},
		{name: "cedar-go, a set for each policy", does: "yes or no", against: cedarGo, allows: func(i int) bool {
			q := &w.questions[i]
			c := byResource[q.resource]
			return ask(c.set, q.cedarRequest(c.calendar))
		}},
		{name: "cedar-go, a set for each policy", does: "yes or no, told all", allows: func(i int) bool { return ask(sets[i], requests[i]) }},
	}
}
