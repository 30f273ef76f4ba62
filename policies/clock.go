package policies

import "time"

// clock knows the offset of a zone for the years in which access is given. To
// ask the zone itself costs as much as all else that a condition asks.
type clock struct {
	zone    *time.Location
	periods []period
}

// period is a part of time in which clocks change at most once: at change,
// from an offset of before seconds east of UTC to one of after.
type period struct {
	change        int64
	before, after int32
}

const (
	clockBegins = 946_684_800 // 2000-01-01
	periodBits  = 20          // a period is twelve days long
	periodCount = 1600        // until 2053
)

func newClock(zone *time.Location) *clock {
	c := &clock{zone: zone, periods: make([]period, 0, periodCount)}
	for i := range int64(periodCount) {
		begin := time.Unix(clockBegins+i<<periodBits, 0).In(zone)
		end := begin.Unix() + 1<<periodBits
		_, before := begin.Zone()
		p := period{end, int32(before), int32(before)}
		if _, next := begin.ZoneBounds(); !next.IsZero() && next.Unix() < end {
			_, after := next.Zone()
			p.change, p.after = next.Unix(), int32(after)
			if _, again := next.ZoneBounds(); !again.IsZero() && again.Unix() < end {
				break // twice within a period: the zone is asked from here on
			}
		}
		c.periods = append(c.periods, p)
	}
	return c
}

// wall returns what clocks on the wall show at t, as seconds since 1970 as if
// that were UTC.
func (c *clock) wall(t time.Time) int64 {
	s := t.Unix()
	if i := uint64(s-clockBegins) >> periodBits; i < uint64(len(c.periods)) {
		p := &c.periods[i]
		east := p.before
		if s >= p.change {
			east = p.after
		}
		return s + int64(east)
	}
	_, east := t.In(c.zone).Zone()
	return s + int64(east)
}
