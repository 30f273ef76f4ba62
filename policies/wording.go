package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// The texts of the trace. They are for people; nothing reads them back.

func (j *Judge) name() string {
	if j.person == nil {
		return j.req.Requester.GitHub
	}
	return j.person.GitHub
}

// rolesText says which of the roles the requester has, and which are in doubt.
func (j *Judge) rolesText(l roleList) string {
	return j.holdingText(l, func(ref roleRef) Truth { return j.holdsRole(&ref) }, func(r *role) string {
		for _, ref := range r.teams {
			if team, known := j.facts.Teams[ref]; !known || team.ID == 0 {
				return fmt.Sprintf("the members of %s were not read", ref)
			}
		}
		return j.dutyDoubt(r)
	}, "has")
}

func (j *Judge) onCallText(l roleList) string {
	return j.holdingText(l, func(ref roleRef) Truth { return j.onCall(roleList{refs: []roleRef{ref}}) }, j.dutyDoubt, "is on duty in")
}

func (j *Judge) dutyDoubt(r *role) string {
	for _, p := range r.pagers {
		if duty := j.facts.Duty[p.schedule]; duty.ReadAt.IsZero() {
			return cmp.Or(duty.Silent, fmt.Sprintf("the %s was not asked", p.schedule))
		}
	}
	return "the time is not known"
}

func (j *Judge) holdingText(l roleList, holds func(roleRef) Truth, doubt func(*role) string, verb string) string {
	var has, doubts, undefined []string
	for _, ref := range l.refs {
		switch holds(ref) {
		case Yes:
			name := ref.name
			if slices.Contains(j.facts.Assumed, name) {
				name += " (assumed)"
			}
			has = append(has, name)
		case Unknown:
			doubts = append(doubts, fmt.Sprintf("%s is unknown (%s)", ref.name, doubt(ref.role)))
		default:
			if ref.role == nil {
				undefined = append(undefined, fmt.Sprintf("%s is not defined", ref.name))
			}
		}
	}
	parts := []string{fmt.Sprintf("%s %s none of these", j.name(), verb)}
	if len(has) > 0 {
		parts[0] = fmt.Sprintf("%s %s %s", j.name(), verb, strings.Join(has, ", "))
	} else if len(doubts) > 0 {
		parts = nil
	}
	return strings.Join(slices.Concat(parts, doubts, undefined), "; ")
}

func (j *Judge) ticketText() string {
	switch {
	case j.req.Ticket == "":
		return "no ticket"
	case j.hasTicket():
		return j.req.Ticket
	}
	return strictyaml.Quote(j.req.Ticket) + " is not a ticket"
}

func (j *Judge) hoursText(h *hoursRule) (observed, wanted string) {
	if h.calendar == nil {
		return fmt.Sprintf("there is no calendar %s", h.name), fmt.Sprintf("within the calendar %s", h.name)
	}
	observed = timeText(j.facts.At)
	if !j.facts.At.IsZero() {
		observed = whenText(h.calendar, j.facts.At)
		if _, holiday := slices.BinarySearch(h.calendar.holidays, dateOf(j.facts.At.In(h.calendar.zone))); holiday {
			observed += ", a holiday"
		}
	}
	return observed, h.calendar.String()
}

// whenText is an instant as the calendar's own wall shows it.
func whenText(c *calendar, t time.Time) string {
	return fmt.Sprintf("%s %s", t.In(c.zone).Format("Mon 2006-01-02 15:04:05"), c.zone)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format(time.RFC3339)
}

func anyOf(names []string) string {
	switch len(names) {
	case 0:
		return "nobody: the list is empty"
	case 1:
		return names[0]
	}
	return "any of " + strings.Join(names, ", ")
}

func orList(names []string) string { return joined(names, "or") }

func andList(names []string) string { return joined(names, "and") }

func joined(names []string, word string) string {
	switch n := len(names); n {
	case 0:
		return "nobody"
	case 1:
		return names[0]
	default:
		return strings.Join(names[:n-1], ", ") + " " + word + " " + names[n-1]
	}
}

func countPeople(n int) string {
	switch n {
	case 0:
		return "nobody"
	case 1:
		return "one person"
	}
	return fmt.Sprintf("%d people", n)
}

func countApprovers(n int) string {
	if n == 1 {
		return "one approver"
	}
	return fmt.Sprintf("%d approvers", n)
}

func number(n int) string {
	words := []string{"none", "one", "two", "three", "four", "five"}
	if n >= 0 && n < len(words) {
		return words[n]
	}
	return fmt.Sprint(n)
}
