package rivals

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// documents writes the world as a grants repository has it: a file for each
// policy and its resources, and one each for people, roles and calendars.
func (w *world) documents() []policies.File {
	var files []policies.File
	add := func(name string, text *strings.Builder) {
		files = append(files, policies.File{Path: "policies/" + name + ".yaml", Data: []byte(text.String())})
	}
	for i := range w.policies {
		text := &strings.Builder{}
		w.policies[i].write(text)
		add(w.policies[i].name, text)
	}
	people := &strings.Builder{}
	people.WriteString("kind: People\nmetadata: {name: everyone}\nspec:\n  people:\n")
	for _, p := range w.people {
		fmt.Fprintf(people, "    - {github: %s, id: %d}\n", p.login, p.id)
	}
	add("people", people)
	roles := &strings.Builder{}
	for _, r := range w.roles {
		fmt.Fprintf(roles, "---\nkind: Role\nmetadata: {name: %s}\nspec: {members: [%s]}\n", r.name, strings.Join(r.members, ", "))
	}
	add("roles", roles)
	calendars := &strings.Builder{}
	for _, c := range w.calendars {
		fmt.Fprintf(calendars, "---\nkind: Calendar\nmetadata: {name: %s}\nspec: {timezone: %s, days: [mon, tue, wed, thu, fri], hours: \"%02d:00-%02d:00\"}\n",
			c.name, c.zone, c.from, c.to)
	}
	add("calendars", calendars)
	return files
}

func (p *policy) write(text *strings.Builder) {
	fmt.Fprintf(text, `kind: AccessPolicy
metadata:
  name: %s
spec:
  resources: [%s]
  auto_approve:
    conditions:
      - role: [%s, %s]
        max_duration: %s
      - role: [%s]
        max_duration: %s
        require_ticket: true
        ticket: {pattern: "%s-[0-9]+"}
        business_hours_only: true
        calendar: %s
  approval:
    required_approvers: 1
    approver_roles: [%s]
`, p.name, strings.Join(p.resources, ", "), p.either[0], p.either[1], length(p.long), developer, length(p.short), p.tickets, p.calendar.name, approver)
	for _, r := range p.resources {
		fmt.Fprintf(text, "---\nkind: Resource\nmetadata: {name: %s}\nspec:\n  owners: [%s]\n  vault: {engine: database, path: database/creds/%s, policy: tac-%s}\n",
			r, approver, r, r)
	}
}

func length(seconds int) string { return grants.FormatDuration(time.Duration(seconds) * time.Second) }

func loadTac(tb testing.TB, files []policies.File) *policies.Set {
	set, findings := policies.Load(files, time.LoadLocation)
	if err := set.Err(); err != nil {
		tb.Fatalf("tac: %v (%d findings)", err, len(findings))
	}
	return set
}

// inputs are the requests and facts as the bot would have them.
func (w *world) inputs() ([]policies.Request, []policies.Facts) {
	requests, facts := make([]policies.Request, manyQuestions), make([]policies.Facts, manyQuestions)
	for i, q := range w.questions {
		requests[i] = policies.Request{
			Requester: grants.Principal{GitHub: q.login, ID: q.id},
			Resource:  q.resource,
			Duration:  time.Duration(q.seconds) * time.Second,
			Reason:    "Deploy hotfix for payment processing bug",
			Ticket:    q.ticket,
		}
		facts[i] = policies.Facts{At: q.at}
	}
	return requests, facts
}

// newTac returns tac as those use it who ask many questions, and as it writes
// down every decision for people.
func newTac(tb testing.TB, w *world) []engine {
	set := loadTac(tb, w.documents())
	requests, facts := w.inputs()
	judge := set.Judge()
	return []engine{
		{name: "tac, Judge.Decide", does: "all reasons", allows: func(i int) bool {
			return judge.Decide(&requests[i], &facts[i]).Outcome == policies.Allow
		}},
		{name: "tac, Evaluate: the reasons as texts, and what would work", does: "all reasons", allows: func(i int) bool {
			return set.Evaluate(requests[i], facts[i]).Outcome == policies.Allow
		}},
	}
}
