package policies

import (
	"strings"
)

var peopleChecks = []check{
	{Rule{"person/unknown", SeverityError, "somebody is named who is not in People",
		"Whoever is not in People holds no role and manages nobody. Add them with their GitHub number, or mend the name."}, unknownPeople},
	{Rule{"person/own-manager", SeverityError, "somebody is their own manager",
		"Nobody approves their own request. Name the manager, or take the key out."}, ownManagers},
	{Rule{"person/manager-cycle", SeverityWarning, "people manage each other in a circle",
		"Where `manager` approves, two people who manage each other approve each other's requests. Name the real managers; whoever has none needs no key."}, managerCycles},
}

var calendarChecks = []check{
	{Rule{"calendar/unknown", SeverityError, "a calendar is named that is not defined",
		"business_hours_only means the calendar `default` unless another is named. A condition without its calendar never holds; when a person without theirs works, nobody knows."}, unknownCalendars},
	{Rule{"calendar/closed", SeverityWarning, "a calendar has no open second within the coming year",
		"Conditions with this calendar never hold. Look at its days and holidays."}, closedCalendars},
}

func unknownPeople(l *linter) {
	unknown := func(role string, refs []memberRef) {
		for _, m := range refs {
			if m.id == 0 {
				l.find(m.pos, "%s in the role %s is not in People, and so has no role%s", m.login, role, suggest(l, m.login, l.set.people.byLogin))
			}
		}
	}
	for _, r := range l.roles {
		unknown(r.name, r.written)
		if r.rotation != nil {
			unknown(r.name, r.rotation.members)
		}
	}
	for _, p := range l.people {
		if p.Manager != "" && l.managerOf(p) == nil {
			l.find(p.managerPos, "%s, the manager of %s, is not in People%s", p.Manager, p.GitHub, suggest(l, p.Manager, l.set.people.byLogin))
		}
	}
}

func (l *linter) managerOf(p *person) *person {
	return l.set.people.byLogin[strings.ToLower(p.Manager)]
}

func ownManagers(l *linter) {
	for _, p := range l.people {
		if l.managerOf(p) == p {
			l.find(p.managerPos, "%s cannot be their own manager", p.GitHub)
		}
	}
}

// managerCycles walks up from each person once: where a walk meets itself,
// it has found a circle; where it meets an earlier walk, there is nothing new.
func managerCycles(l *linter) {
	walks := map[*person]int{}
	for i, first := range l.people {
		p := first
		for p != nil && walks[p] == 0 {
			walks[p] = i + 1
			p = l.managerOf(p)
		}
		if p == nil || walks[p] != i+1 || l.managerOf(p) == p {
			continue
		}
		circle := []string{p.GitHub}
		for q := l.managerOf(p); q != p; q = l.managerOf(q) {
			circle = append(circle, q.GitHub)
		}
		if len(circle) == 2 {
			l.find(p.managerPos, "%s and %s are each other's managers, so as `manager` they would approve each other", circle[0], circle[1])
			continue
		}
		l.find(p.managerPos, "%s manage each other in a circle", few(circle))
	}
}

func unknownCalendars(l *linter) {
	l.unknownHours()
	for _, p := range l.set.policies {
		for _, c := range p.conditions {
			if c.hours != nil && c.hours.calendar == nil {
				l.find(c.hours.pos, "%s: there is no calendar %s, so this condition never holds%s", c.rule, c.hours.name, suggest(l, c.hours.name, l.set.calendars))
			}
		}
	}
}

// unknownHours tells of people whose calendar is not there.
func (l *linter) unknownHours() {
	for _, p := range l.people {
		if p.Calendar != "" && l.set.calendars[p.Calendar] == nil {
			l.find(p.calendarPos, "there is no calendar %s, so nobody knows when %s works%s", p.Calendar, p.GitHub, suggest(l, p.Calendar, l.set.calendars))
		}
	}
}

func closedCalendars(l *linter) {
	if l.now.IsZero() {
		return
	}
	for _, c := range l.set.calendars {
		if !c.open(l.now) && len(c.openings(l.now, 1)) == 0 {
			l.find(c.pos, "the calendar %s (%s) is closed for the whole coming year: every working day is a holiday", c.name, c)
		}
	}
}
