package policies

import (
	"testing"
	"time"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestBusinessHoursFollowTheWallOfTheirZone(t *testing.T) {
	tests := []struct {
		claim, zone, hours string
		at                 string // UTC
		want               bool
	}{
		{"winter morning in Berlin, first second", "Europe/Berlin", "09:00-17:00", "2026-03-27T08:00:00Z", true},
		{"a second before", "Europe/Berlin", "09:00-17:00", "2026-03-27T07:59:59Z", false},
		{"after the clocks go forward the same wall time is an hour earlier", "Europe/Berlin", "09:00-17:00", "2026-03-30T07:00:00Z", true},
		{"and ends an hour earlier", "Europe/Berlin", "09:00-17:00", "2026-03-30T15:00:00Z", false},
		{"on the very day they go forward", "Europe/Berlin", "09:00-17:00", "2026-03-29T07:00:00Z", true},
		{"a skipped hour is never open", "Europe/Berlin", "02:00-03:00", "2026-03-29T01:00:00Z", false},
		{"nor just before the jump", "Europe/Berlin", "02:00-03:00", "2026-03-29T00:59:59Z", false},
		{"on the very day they go back", "Europe/Berlin", "09:00-17:00", "2026-10-25T08:00:00Z", true},
		{"an hour that comes twice is open twice: first", "Europe/Berlin", "02:00-03:00", "2026-10-25T00:30:00Z", true},
		{"and second", "Europe/Berlin", "02:00-03:00", "2026-10-25T01:30:00Z", true},
		{"and then closed", "Europe/Berlin", "02:00-03:00", "2026-10-25T02:00:00Z", false},
		{"the year ends earlier in Auckland", "Pacific/Auckland", "00:00-24:00", "2026-12-31T11:00:00Z", false}, // 1 January there, a holiday
		{"and later in Honolulu", "Pacific/Honolulu", "09:00-17:00", "2027-01-01T00:30:00Z", true},              // still 31 December there
		{"half-hour zones", "Asia/Kolkata", "09:00-17:00", "2026-06-01T03:30:00Z", true},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			s := mustLoad(t, doc("c.yaml", "kind: Calendar\nmetadata: {name: default}\nspec: {timezone: "+tt.zone+
				", days: [mon, tue, wed, thu, fri, sat, sun], hours: \""+tt.hours+"\", holidays: [2027-01-01]}\n"))
			if got := s.calendars["default"].open(instant(t, tt.at)); got != tt.want {
				t.Errorf("open is %v", got)
			}
		})
	}
}

// TestFirstAtIsTheFirst compares with a walk over every minute around the
// changes of clocks, in zones that change in unlike ways.
func TestFirstAtIsTheFirst(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/St_Johns", "Pacific/Auckland", "Asia/Kolkata", "America/Santiago", "UTC"} {
		loc := zone(t, name)
		for from := instant(t, "2026-01-01T00:00:00Z"); from.Year() == 2026; {
			_, change := from.In(loc).ZoneBounds()
			if change.IsZero() {
				break
			}
			from = change
			for offset := -180; offset <= 180; offset++ {
				local := change.In(loc)
				_, sec := local.Zone()
				wall := change.Add(time.Duration(sec)*time.Second + time.Duration(offset)*time.Minute).UTC()
				want := walk(loc, change, wall)
				if got := firstAt(loc, wall); !got.Equal(want) {
					t.Fatalf("%s: %s is first at %s, want %s", name, wall.Format(time.DateTime), got.UTC(), want.UTC())
				}
			}
		}
	}
}

// walk finds the first minute whose wall time is not before the one given.
func walk(loc *time.Location, near, wall time.Time) time.Time {
	for u := near.Add(-8 * time.Hour); ; u = u.Add(time.Minute) {
		y, m, d := u.In(loc).Date()
		h, mi, s := u.In(loc).Clock()
		if shown := time.Date(y, m, d, h, mi, s, 0, time.UTC); !shown.Before(wall) {
			return u
		}
	}
}

func TestRotationHandsOverAtTheSameTimeOnTheWall(t *testing.T) {
	s := mustLoad(t, doc("r.yaml", `kind: People
metadata: {name: everyone}
spec: {people: [{github: alice, id: 1001}, {github: bob, id: 1002}]}
---
kind: Role
metadata: {name: weekly}
spec: {rotation: {timezone: Europe/Berlin, start: 2026-01-05T09:00:00, shift: 168h, members: [alice, bob, gone]}}
---
kind: Role
metadata: {name: nightly}
spec: {rotation: {timezone: Europe/Berlin, start: 2026-01-01T02:30:00, shift: 24h, members: [alice, bob]}}
`))
	tests := []struct {
		claim, role, at string
		alice, bob      Truth
	}{
		{"nobody before the start", "weekly", "2026-01-05T07:59:59Z", No, No},
		{"the first from the start", "weekly", "2026-01-05T08:00:00Z", Yes, No},
		{"the first to the last second", "weekly", "2026-01-12T07:59:59Z", Yes, No},
		{"the second from the hand-over", "weekly", "2026-01-12T08:00:00Z", No, Yes},
		{"a turn of somebody who is not in People is nobody's", "weekly", "2026-01-19T08:00:00Z", No, No},
		{"round again", "weekly", "2026-01-26T08:00:00Z", Yes, No},
		{"the last second before the first hand-over in summer time", "weekly", "2026-03-30T06:59:59Z", No, No},
		{"the first hand-over in summer time is at 9 on the wall, 07:00Z", "weekly", "2026-03-30T07:00:00Z", Yes, No},
		{"the last second before the first hand-over back in winter time", "weekly", "2026-10-26T07:59:59Z", No, No},
		{"the first hand-over back in winter time is at 9 again, 08:00Z", "weekly", "2026-10-26T08:00:00Z", Yes, No},
		{"02:30 that never comes: before the jump", "nightly", "2026-03-29T00:59:59Z", Yes, No},
		{"02:30 that never comes: at the jump", "nightly", "2026-03-29T01:00:00Z", No, Yes},
		{"02:30 that comes twice: before the first", "nightly", "2026-10-25T00:29:59Z", Yes, No},
		{"02:30 that comes twice: at the first", "nightly", "2026-10-25T00:30:00Z", No, Yes},
		{"and nobody gives back while the hour repeats", "nightly", "2026-10-25T01:15:00Z", No, Yes},
		{"nor at the second", "nightly", "2026-10-25T01:30:00Z", No, Yes},
		{"an unknown time is unknown", "weekly", "0001-01-01T00:00:00Z", Unknown, Unknown},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			f := Facts{At: instant(t, tt.at)}
			if a, b := s.Holds(tt.role, alice, f), s.Holds(tt.role, bob, f); a != tt.alice || b != tt.bob {
				k, _ := s.roles[tt.role].rotation.shift(f.At)
				t.Errorf("alice %s, bob %s (shift %d)", a, b, k)
			}
		})
	}
}
