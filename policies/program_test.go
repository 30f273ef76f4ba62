package policies

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// There are two ways to a decision: Evaluate asks every test, Decide takes
// short cuts. They must never part.
func TestPropertyDecideIsEvaluate(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		s := d.load(t)
		j := s.Judge()
		for range 2 { // a judge remembers nothing of the question before
			a, want := j.Decide(&req, &f), s.Evaluate(req, f)
			if a.Outcome != want.Outcome || a.Rule != want.Rule || len(a.Holds) != len(want.Reasons) {
				t.Fatalf("%s by %s with %d reasons, and in full %s by %s with %d\n%v", a.Outcome, a.Rule, len(a.Holds), want.Outcome, want.Rule, len(want.Reasons), d)
			}
			for i, r := range want.Reasons {
				if a.Holds[i] != r.Holds {
					t.Fatalf("reason %d is %s, and in full %+v\n%v", i, a.Holds[i], r, d)
				}
			}
			req.Ticket, f.At = "other-1", time.Time{}
		}
	})
}

// A clock is what time.Location says, also around every change, and before
// and after the years that it knows by heart.
func TestAClockShowsWhatItsZoneShows(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "America/Caracas", "Pacific/Apia", "Asia/Pyongyang", "Antarctica/Troll"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		c := newClock(zone)
		same := func(at time.Time) {
			t.Helper()
			_, east := at.In(zone).Zone()
			if got, want := c.wall(at), at.Unix()+int64(east); got != want {
				t.Errorf("%s at %s: %s on the wall, want %s", name, at.UTC(), time.Unix(got, 0).UTC(), time.Unix(want, 0).UTC())
			}
		}
		same(time.Time{})
		for at := time.Date(1995, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() < 2060; {
			_, next := at.In(zone).ZoneBounds()
			switch {
			case next.IsZero() || next.Year() > 2060:
				next = time.Date(2060, 1, 1, 0, 0, 0, 0, time.UTC)
			case !next.After(at): // as the standard library sometimes says in years for which it has only a rule
				next = at.Add(24 * time.Hour)
			}
			same(next.Add(-1))
			same(next)
			same(at.Add(next.Sub(at) / 2))
			at = next
		}
		for s := int64(clockBegins) - 3<<periodBits; s < clockBegins+(periodCount+3)<<periodBits; s += 1 << periodBits {
			same(time.Unix(s-1, 0))
			same(time.Unix(s, 0))
		}
		rapid.Check(t, func(rt *rapid.T) { same(time.Unix(rapid.Int64Range(0, 3_000_000_000).Draw(rt, "at"), 0)) })
	}
}
