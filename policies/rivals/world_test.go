package rivals

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"
)

// The size of the world.
const (
	manyPolicies  = 100
	perPolicy     = 10 // resources
	manyPeople    = 300
	manyRoles     = 40 // besides developer and team-lead
	manyQuestions = 1024
)

const hour = 3600 // seconds

// world is what every engine is told and asked.
type world struct {
	calendars []calendar
	people    []person
	roles     []role
	policies  []policy
	questions []question
	answers   []bool // the right ones
}

// calendar is open from the first hour to just before the last, Monday to
// Friday. It has no holidays: the rivals would need dates for them.
type calendar struct {
	name     string
	zone     *time.Location
	from, to int // hours
}

type person struct {
	login string
	id    int64
	roles []string
}

type role struct {
	name    string
	members []string // logins
}

// policy has the two conditions of the design's example: any of two roles for
// so long, or a developer for so long with a ticket in business hours.
type policy struct {
	name      string
	resources []string

	either [2]string // roles
	long   int       // seconds

	short    int    // seconds, for developers
	tickets  string // prefix: INC stands for the pattern INC-[0-9]+
	calendar *calendar
}

const (
	developer = "developer"
	approver  = "team-lead"
)

// question is one request and the time at which it is made.
type question struct {
	policy   int // which one covers the resource; for engines whose host chooses
	resource string
	login    string
	id       int64
	roles    []string // of the requester
	seconds  int
	ticket   string
	at       time.Time
}

// clock is what the host of an engine without time zones tells it.
func (c *calendar) clock(t time.Time) (weekday, hour int) {
	t = t.In(c.zone)
	return int(t.Weekday()), t.Hour()
}

func (c *calendar) open(t time.Time) bool {
	weekday, hour := c.clock(t)
	return weekday >= 1 && weekday <= 5 && hour >= c.from && hour < c.to
}

// allows is the right answer, by a function that is nobody's engine.
func (w *world) allows(q *question) bool {
	p := &w.policies[q.policy]
	holds := func(role string) bool { return slices.Contains(q.roles, role) }
	if (holds(p.either[0]) || holds(p.either[1])) && q.seconds <= p.long {
		return true
	}
	number, found := strings.CutPrefix(q.ticket, p.tickets+"-")
	return holds(developer) && q.seconds <= p.short &&
		found && number != "" && strings.Trim(number, "0123456789") == "" && p.calendar.open(q.at)
}

// newWorld generates the one world that there is: the seed is fixed.
func newWorld(tb testing.TB) *world {
	random := rand.New(rand.NewPCG(1, 2))
	w := &world{}
	for _, c := range []struct {
		name, zone string
		from, to   int
	}{{"berlin", "Europe/Berlin", 9, 17}, {"new-york", "America/New_York", 9, 18}, {"tokyo", "Asia/Tokyo", 8, 17}, {"sydney", "Australia/Sydney", 10, 18}} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			tb.Fatal(err)
		}
		w.calendars = append(w.calendars, calendar{c.name, zone, c.from, c.to})
	}
	w.populate(random)
	prefixes := []string{"INC", "OPS", "DBA", "CHG"}
	for i := range manyPolicies {
		first, second := random.IntN(manyRoles), random.IntN(manyRoles-1)
		if second >= first {
			second++
		}
		p := policy{
			name:     fmt.Sprintf("policy-%03d", i),
			either:   [2]string{w.roles[first].name, w.roles[second].name},
			long:     (2 + random.IntN(5)) * hour,
			short:    (1 + random.IntN(2)) * hour,
			tickets:  prefixes[random.IntN(len(prefixes))],
			calendar: &w.calendars[random.IntN(len(w.calendars))],
		}
		for j := range perPolicy {
			p.resources = append(p.resources, fmt.Sprintf("service-%03d-%d", i, j))
		}
		w.policies = append(w.policies, p)
	}
	for range manyQuestions {
		q := w.question(random, prefixes)
		w.questions, w.answers = append(w.questions, q), append(w.answers, w.allows(&q))
	}
	return w
}

// populate makes the people and gives each a few roles.
func (w *world) populate(random *rand.Rand) {
	for i := range manyRoles {
		w.roles = append(w.roles, role{name: fmt.Sprintf("role-%02d", i)})
	}
	w.roles = append(w.roles, role{name: developer}, role{name: approver})
	for i := range manyPeople {
		p := person{login: fmt.Sprintf("person-%03d", i), id: int64(10_000 + 7*i)}
		held := map[int]bool{random.IntN(manyRoles): true, random.IntN(manyRoles): true}
		held[manyRoles] = random.IntN(100) < 60
		held[manyRoles+1] = i%30 == 0
		for r := range w.roles {
			if held[r] {
				p.roles = append(p.roles, w.roles[r].name)
				w.roles[r].members = append(w.roles[r].members, p.login)
			}
		}
		w.people = append(w.people, p)
	}
}

// question makes a request that is likely enough to be granted, and likely
// enough to fail by one thing: also by a second, since edges are drawn often.
func (w *world) question(random *rand.Rand, prefixes []string) question {
	q := question{policy: random.IntN(manyPolicies)}
	p := &w.policies[q.policy]
	q.resource = p.resources[random.IntN(perPolicy)]
	who := w.people[random.IntN(manyPeople)]
	if n := random.IntN(100); n < 75 {
		wanted := []string{developer, p.either[0], p.either[1]}[n/25]
		for !slices.Contains(who.roles, wanted) {
			who = w.people[random.IntN(manyPeople)]
		}
	}
	q.login, q.id, q.roles = who.login, who.id, who.roles
	if random.IntN(100) < 2 {
		q.login, q.id, q.roles = "stranger", 5, nil
	}
	lengths := []int{hour / 2, hour, p.short, p.short, p.short + 1, p.long, p.long, p.long + 1}
	q.seconds = lengths[random.IntN(len(lengths))]
	switch n := random.IntN(100); {
	case n < 70:
		q.ticket = fmt.Sprintf("%s-%d", p.tickets, 1+random.IntN(9999))
	case n < 85:
		q.ticket = fmt.Sprintf("%s-%d", prefixes[random.IntN(len(prefixes))], 1+random.IntN(9999))
	}
	q.at = time.Date(2026, 1, 1+random.IntN(365), random.IntN(24), random.IntN(60), random.IntN(60), 0, time.UTC)
	if n := random.IntN(100); n < 70 { // on a working day, up to the edges
		for weekday, _ := p.calendar.clock(q.at); weekday == 0 || weekday == 6; weekday, _ = p.calendar.clock(q.at) {
			q.at = q.at.AddDate(0, 0, 1)
		}
		y, m, d := q.at.In(p.calendar.zone).Date()
		second := p.calendar.from*hour - 1 + random.IntN((p.calendar.to-p.calendar.from)*hour+2)
		q.at = time.Date(y, m, d, 0, 0, second, 0, p.calendar.zone).UTC()
	}
	return q
}

// The fields of the two conditions: either of the roles, for no longer than
// so; developer, no longer than so, a ticket that matches, business hours.
const (
	isEither = iota
	isLong
	isDeveloper
	isShort
	isTicket
	isOpen
	manyFields
)

// either puts the fields, written in a language that says && and ||, together
// as a person would: what is quickest first, and no further than needed.
func either(f [manyFields]string) string {
	return strings.Join([]string{f[isLong], f[isEither]}, " && ") + " || " + strings.Join([]string{f[isShort], f[isDeveloper], f[isTicket], f[isOpen]}, " && ")
}

// sum makes a number out of the truth of all fields, for engines that give no
// reasons by themselves. It was the quickest way found to learn all of them:
// CEL's exhaustive evaluation, lists, and a program for each field are slower.
func sum(f [manyFields]string) string {
	terms := make([]string, manyFields)
	for i := range f {
		terms[i] = fmt.Sprintf("(%s ? %d : 0)", f[i], 1<<i)
	}
	return strings.Join(terms, " + ")
}

// allowing reports whether fields, by their bits, allow.
func allowing(fields int) bool {
	const first, second = 1<<isEither | 1<<isLong, 1<<isDeveloper | 1<<isShort | 1<<isTicket | 1<<isOpen
	return fields&first == first || fields&second == second
}
