package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// calendar says when business hours are, as clocks on the wall of its zone
// show them.
type calendar struct {
	name     string
	pos      strictyaml.Pos
	zone     *time.Location
	clock    *clock
	days     [7]bool // by time.Weekday
	hours    hours
	holidays []date // sorted
}

// defaultCalendar is what business hours mean where no other is named.
const defaultCalendar = "default"

func (c *compiler) calendar(name string, pos strictyaml.Pos, spec *calendarSpec) {
	cal := &calendar{name: name, pos: pos, zone: c.zone("spec.timezone", spec.Timezone), hours: spec.Hours.V}
	if len(spec.Days) == 0 {
		c.fault(spec.Hours.Pos, "value", "spec.days: the list is empty; name days such as mon")
	}
	for i, day := range spec.Days {
		if cal.days[day.V] {
			c.fault(day.Pos, "duplicate", "spec.days[%d]: %s stands here a second time", i, weekdays[day.V])
		}
		cal.days[day.V] = true
	}
	for _, day := range spec.Holidays {
		cal.holidays = append(cal.holidays, day.V)
	}
	slices.Sort(cal.holidays)
	cal.clock = newClock(cal.zone)
	c.set.calendars[name] = cal
}

// zone returns the zone of that name; UTC, and a fault, where there is none.
func (c *compiler) zone(key string, v strictyaml.Value[string]) *time.Location {
	loc, err := c.zones(v.V)
	if err != nil {
		c.fault(v.Pos, "value", "%s: %s: %v", key, strictyaml.Quote(v.V), err)
		return time.UTC
	}
	return loc
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date(y*10000 + int(m)*100 + d)
}

// open reports whether t is within business hours: from the first second to
// just before the last. On days on which clocks change, what the clock shows
// decides.
func (c *calendar) open(t time.Time) bool {
	_, east := t.In(c.zone).Zone()
	wall := t.Unix() + int64(east) // as if it were UTC, where no clock changes
	const day = 24 * 60 * 60
	second := int(((wall % day) + day) % day)
	return c.hours.from <= second && second < c.hours.to && c.works(time.Unix(wall, 0).UTC())
}

// isOpen is open, for the many.
func (c *calendar) isOpen(t time.Time) Truth {
	const day = 24 * 60 * 60
	wall := c.clock.wall(t)
	days := wall / day
	second := wall - days*day
	if second < 0 || len(c.holidays) > 0 {
		return truth(c.open(t))
	}
	return truth(c.days[(days+4)%7] && uint64(second-int64(c.hours.from)) < uint64(c.hours.to-c.hours.from))
}

// works reports whether the date that t shows is a working day.
func (c *calendar) works(t time.Time) bool {
	if !c.days[t.Weekday()] || len(c.holidays) == 0 {
		return c.days[t.Weekday()]
	}
	_, holiday := slices.BinarySearch(c.holidays, dateOf(t))
	return !holiday
}

// AtWork reports whether t is within the working hours of a person: by the
// calendar that People names for them or, where it names none, the one called
// default. Without a calendar, a person or a time nobody can say.
func (s *Set) AtWork(id int64, t time.Time) Truth {
	if s.Err() != nil || t.IsZero() {
		return Unknown
	}
	p := s.people.byID[id]
	if p == nil {
		return Unknown
	}
	c := s.calendars[cmp.Or(p.Calendar, defaultCalendar)]
	if c == nil {
		return Unknown
	}
	return truth(c.open(t))
}

// openings returns up to n instants after t at which business hours begin.
func (c *calendar) openings(t time.Time, n int) []time.Time {
	const horizon = 366 // days; nobody is closed for longer
	var out []time.Time
	y, m, d := t.In(c.zone).Date()
	for i := 0; i <= horizon && len(out) < n; i++ {
		day := time.Date(y, m, d+i, 0, 0, 0, 0, time.UTC)
		if !c.works(day) {
			continue
		}
		begin := firstAt(c.zone, day.Add(time.Duration(c.hours.from)*time.Second))
		if begin.After(t) && c.open(begin) {
			out = append(out, begin)
		}
	}
	return out
}

// String describes the hours as people do: Mon-Fri 09:00-17:00 Europe/Berlin.
func (c *calendar) String() string {
	var runs []string
	order := []time.Weekday{time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday, time.Sunday}
	for i := 0; i < len(order); i++ {
		if !c.days[order[i]] {
			continue
		}
		first := i
		for i+1 < len(order) && c.days[order[i+1]] {
			i++
		}
		run := order[first].String()[:3]
		if i > first {
			run += "-" + order[i].String()[:3]
		}
		runs = append(runs, run)
	}
	clock := func(s int) string { return fmt.Sprintf("%02d:%02d", s/3600, s/60%60) }
	return fmt.Sprintf("%s %s-%s %s", strings.Join(runs, ", "), clock(c.hours.from), clock(c.hours.to), c.zone)
}

// firstAt returns the first instant at which clocks in the zone show wall
// (given as if it were UTC) or, where they skip it, the first that they show
// after it. So a time that comes twice in a night means the first of the two,
// and one that never comes means the moment of the jump.
func firstAt(zone *time.Location, wall time.Time) time.Time {
	_, before := wall.Add(-24 * time.Hour).In(zone).Zone()
	t := wall.Add(-time.Duration(before) * time.Second).In(zone)
	_, after := t.Zone()
	if after == before {
		return t
	}
	// The clocks changed between the day before and t.
	change, _ := t.ZoneBounds()
	if again := wall.Add(-time.Duration(after) * time.Second).In(zone); again.After(change) {
		return again
	}
	return change
}
