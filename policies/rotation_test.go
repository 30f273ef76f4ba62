package policies

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The shift is the one whose hand-over was the last: found here by walking
// from the first, in zones whose clocks change in every way that there is.
func TestPropertyTheShiftIsTheOneWhoseHandOverWasLast(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca", "America/Nuuk", "Asia/Kolkata"}
	rapid.Check(t, func(t *rapid.T) {
		zone, err := time.LoadLocation(rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		// Samoa had no 2011-12-30; some clocks change on most of these days.
		day := rapid.SampledFrom([]string{"2011-12-29", "2026-03-28", "2026-10-24", "2026-03-07", "2026-10-31", "2026-04-04", "2026-10-03", "2026-02-14", "2026-06-01"}).Draw(t, "day")
		start, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		r := &rotation{zone: zone, days: rapid.IntRange(1, 8).Draw(t, "days"),
			start: start.Add(time.Duration(rapid.IntRange(0, 24*60-1).Draw(t, "minute")) * time.Minute)}
		at := r.start.Add(time.Duration(rapid.IntRange(-2*24*3600, 12*24*3600).Draw(t, "second")) * time.Second)

		want, begun := 0, !at.Before(r.handOver(0))
		for begun && !at.Before(r.handOver(want+1)) {
			want++
		}
		if k, ok := r.shift(at); ok != begun || k != want {
			t.Fatalf("%s at %s: shift %d (%v), and by hand-overs %d (%v)", r, at.In(zone), k, ok, want, begun)
		}
	})
}
