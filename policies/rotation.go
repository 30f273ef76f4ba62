package policies

import (
	"fmt"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// rotation is a duty that goes round. Hand-over is always at the same time of
// day on the wall, so a shift over a change of clocks is an hour longer or
// shorter than the others.
type rotation struct {
	zone    *time.Location
	start   time.Time // what the wall showed at the first hand-over, as if UTC
	days    int       // a shift, in days on the calendar
	members []memberRef
	pos     strictyaml.Pos
}

const day = 24 * time.Hour

func (c *compiler) rotation(v strictyaml.Value[rotationSpec]) *rotation {
	const key = "spec.rotation"
	spec := &v.V
	r := &rotation{
		zone:    c.zone(key+".timezone", spec.Timezone),
		start:   spec.Start.V.Time,
		members: c.logins(key+".members", spec.Members),
		pos:     v.Pos,
		days:    1,
	}
	switch shift := spec.Shift.V.d; {
	case shift%day != 0:
		c.fault(spec.Shift.Pos, "value", "%s.shift: %s is not a multiple of 24h; hand-over is at the same time of day", key, grants.FormatDuration(shift))
	case shift > 366*day:
		c.fault(spec.Shift.Pos, "value", "%s.shift: %s is longer than a year", key, grants.FormatDuration(shift))
	default:
		r.days = int(shift / day)
	}
	if year := r.start.Year(); year < 2000 || year > 2200 {
		c.fault(spec.Start.Pos, "value", "%s.start: the year %d is out of reach", key, year)
	}
	if len(r.members) == 0 {
		c.fault(spec.Members.Pos, "value", "%s.members: the list is empty; name whose turn it is", key)
	}
	return r
}

// handOver returns the instant at which shift k begins.
func (r *rotation) handOver(k int) time.Time {
	return firstAt(r.zone, r.start.AddDate(0, 0, k*r.days))
}

// nearHandOver is how far from a hand-over clocks on the wall alone do not
// tell whose turn it is, because they may have changed: no zone has changed
// them by more at once while clocks went on showing the same date.
const nearHandOver = 3 * 60 * 60 // seconds

// shift returns the number of the shift at t; false before the first.
func (r *rotation) shift(t time.Time) (int, bool) {
	_, east := t.In(r.zone).Zone()
	passed := t.Unix() + int64(east) - r.start.Unix() // as clocks on the wall count
	length := int64(r.days) * 24 * 60 * 60
	k := int(passed / length)
	if within := passed % length; passed > 0 && within >= nearHandOver && within < length-nearHandOver {
		return k, true
	}
	if t.Before(r.handOver(0)) {
		return 0, false
	}
	for t.Before(r.handOver(k)) {
		k--
	}
	for !t.Before(r.handOver(k + 1)) {
		k++
	}
	return k, true
}

// holds reports whether it is the person's turn at t.
func (r *rotation) holds(id int64, t time.Time) Truth {
	if t.IsZero() {
		return Unknown
	}
	k, begun := r.shift(t)
	return truth(begun && len(r.members) > 0 && id != 0 && r.members[k%len(r.members)].id == id)
}

func (r *rotation) String() string {
	every := "every day"
	if r.days > 1 {
		every = fmt.Sprintf("every %d days", r.days)
	}
	return fmt.Sprintf("%s from %s %s", every, r.start.Format("2006-01-02 15:04"), r.zone)
}
