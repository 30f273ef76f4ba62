package policies

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

func TestFactsThatAreWrittenReadBackTheSame(t *testing.T) {
	when := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	f := Facts{
		At: when,
		Teams: map[TeamRef]Team{
			developers:              {ID: 71, Slug: "developers", Members: []int64{1003, 1008}, ReadAt: when, Source: "GitHub"},
			{"acme", "watch", true}: {ID: 72, Slug: "watch", Members: []int64{}, ReadAt: when, Source: "GitHub"},
		},
		Duty: map[Schedule]Duty{
			{PagerDuty, "PABC123"}: {OnCall: []OnCall{{"PALICE", 1}, {"PBOB", 2}}, ReadAt: when, Source: "PagerDuty /oncalls"},
			{Opsgenie, "x-1"}:      {Silent: "Opsgenie did not answer within 5s"},
		},
		Tickets: map[TicketRef]Ticket{
			{Jira, "INC-1"}: {Exists: Yes, State: "In Progress", Open: Yes, Assignees: []string{"5b10:a"}, From: when, To: when.Add(hour), ReadAt: when, Source: "Jira"},
			{Jira, "INC-2"}: {Exists: No, ReadAt: when, Source: "Jira"},
			{Linear, "X-1"}: {Silent: "Linear did not answer within 5s"},
		},
		Uses:    Uses{Grants: []Use{{"20261122-k3v9q2m4tz", 1001, "wiki", when, when.Add(hour)}}, ReadAt: when, Source: "main at abc"},
		Since:   when.Add(-hour),
		Base:    &Base{"20261122-k3v9q2m4tz", 1003, "wiki", 3 * hour, 1, when.Add(minute), true, true, when, "records"},
		Overdue: &Overdue{[]grants.ID{"20261121-k3v9q2m4tz", "20261122-k3v9q2m4tz"}, when, "records"},
	}
	line := f.Line()
	if strings.ContainsAny(line, "\n\r") || line != f.Line() {
		t.Errorf("not one canonical line: %s", line)
	}
	got, err := ParseFacts(line)
	if err != nil {
		t.Fatalf("%v\n%s", err, line)
	}
	if !reflect.DeepEqual(got, f) {
		t.Errorf("got\n%+v\nwant\n%+v\n%s", got, f, line)
	}
	if got.Line() != line {
		t.Errorf("written again it is\n%s\nnot\n%s", got.Line(), line)
	}
}

// What nobody read is not known, and a line says nothing of it.
func TestWhatWasNotReadOfOtherGrantsIsNotWritten(t *testing.T) {
	f := Facts{At: time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)}
	want := f.Line()
	f.Base, f.Overdue = &Base{Grant: "20261122-k3v9q2m4tz", Live: true}, &Overdue{Source: "records"}
	if got := f.Line(); got != want {
		t.Errorf("got %s", got)
	}
}

// Commits of earlier versions hold these.
func TestFactsOfTheFirstVersionAreRead(t *testing.T) {
	f, err := ParseFacts(`{"at":"2026-11-22T14:03:11Z","teams":[{"team":"acme/developers","id":71,"members":[1003],"read_at":"2026-11-22T14:03:10Z","source":"GitHub"}]}`)
	if err != nil || f.Teams[developers].ID != 71 || !f.Uses.ReadAt.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestFactsThatAreHalfUnderstoodAreNone(t *testing.T) {
	for claim, line := range map[string]string{
		"nothing":        ``,
		"no time":        `{}`,
		"an odd time":    `{"at":"yesterday","teams":[]}`,
		"a new key":      `{"at":"2026-11-22T14:03:11Z","teams":[],"moon":"full"}`,
		"an odd team":    `{"at":"2026-11-22T14:03:11Z","teams":[{"team":"acme"}]}`,
		"a team twice":   `{"at":"2026-11-22T14:03:11Z","teams":[{"team":"a/b"},{"team":"a/b"}]}`,
		"an odd truth":   `{"at":"2026-11-22T14:03:11Z","tickets":[{"tracker":"jira","key":"X-1","exists":"yes"}]}`,
		"more behind it": `{"at":"2026-11-22T14:03:11Z","teams":[]} {}`,
		"an odd length":  `{"at":"2026-11-22T14:03:11Z","teams":[],"extends":{"grant":"","requester":1,"resource":"r","seconds":604801,"extensions":0,"live":true,"read_at":"2026-11-22T14:03:11Z"}}`,
		"a length below": `{"at":"2026-11-22T14:03:11Z","teams":[],"extends":{"grant":"","requester":1,"resource":"r","seconds":-1,"extensions":0,"live":true,"read_at":"2026-11-22T14:03:11Z"}}`,
		"an odd reading": `{"at":"2026-11-22T14:03:11Z","duty":[{"pager":"pagerduty","read_at":"x"}]}`,
	} {
		if f, err := ParseFacts(line); err == nil || !reflect.DeepEqual(f, Facts{}) {
			t.Errorf("%s: %+v, %v", claim, f, err)
		}
	}
}

// What was written once is read in one way only: a key that stands there
// twice, or is spelled otherwise, could mean one thing to an auditor's eye and
// another to tac.
func TestFactsInAnotherFormThanTacWritesAreNone(t *testing.T) {
	const end = `"read_at":"2026-11-22T14:03:10Z","source":"GitHub"}]}`
	const good = `{"at":"2026-11-22T14:03:11Z","teams":[{"team":"acme/developers","id":71,"members":[1003],` + end
	if _, err := ParseFacts(" " + good + "\n"); err != nil {
		t.Fatal(err)
	}
	for claim, line := range map[string]string{
		"a brace behind it":      good + `}`,
		"a bracket behind it":    good + `] and more`,
		"a key in capitals":      strings.Replace(good, `"id"`, `"ID"`, 1),
		"a key twice":            strings.Replace(good, `"id":71`, `"id":70,"id":71`, 1),
		"a key twice, in a way":  strings.Replace(good, `"id":71`, `"id":70,"Id":71`, 1),
		"keys in another order":  strings.Replace(good, `"id":71,"members":[1003]`, `"members":[1003],"id":71`, 1),
		"no members":             strings.Replace(good, `[1003]`, `null`, 1),
		"members out of order":   strings.Replace(good, `[1003]`, `[1003,1001]`, 1),
		"an escape for a letter": strings.Replace(good, `GitHub`, `\u0047itHub`, 1),
		"another zone":           strings.Replace(good, `14:03:11Z`, `15:03:11+01:00`, 1),
		"a part of a second":     strings.Replace(good, `14:03:11Z`, `14:03:11.5Z`, 1),
		"blanks":                 strings.Replace(good, `,`, `, `, 1),
		"nothing overdue":        strings.TrimSuffix(good, `}`) + `,"break_glass":{"overdue":null,"read_at":"2026-11-22T14:03:10Z"}}`,
		"overdue, and unread":    strings.TrimSuffix(good, `}`) + `,"break_glass":{"overdue":[],"read_at":""}}`,
		"a base that is unread":  strings.TrimSuffix(good, `}`) + `,"extends":{"grant":"","requester":1,"resource":"r","seconds":1,"extensions":0,"live":true,"read_at":""}}`,
		"an empty list":          strings.TrimSuffix(good, `}`) + `,"duty":[]}`,
	} {
		_, err := ParseFacts(line)
		if err == nil || err.Error() != "read facts: these facts are not in the form that tac writes" {
			t.Errorf("%s: %v", claim, err)
		}
	}
}

// drawWrittenFacts draws whatever facts can hold, and not only what a
// decision would find useful.
func drawWrittenFacts(t *rapid.T, moment *rapid.Generator[time.Time]) Facts {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a<b>&c", "line\nline\u2028", `"\`, `\ufffd`, "\ufffd"}))
	when, maybe := moment, rapid.OneOf(rapid.Just(time.Time{}), moment)
	truths := rapid.SampledFrom([]Truth{Unknown, No, Yes})
	several := rapid.IntRange(0, 3)
	f := Facts{At: when.Draw(t, "at"), Teams: map[TeamRef]Team{}, Duty: map[Schedule]Duty{}, Tickets: map[TicketRef]Ticket{}}
	for range several.Draw(t, "teams") {
		slug := rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "slug")
		members := append([]int64{}, slices.Sorted(slices.Values(rapid.SliceOfN(rapid.Int64(), 0, 4).Draw(t, "members")))...)
		f.Teams[TeamRef{"acme", slug, rapid.Bool().Draw(t, "children")}] = Team{rapid.Int64().Draw(t, "id"), slug, members, maybe.Draw(t, "read"), text.Draw(t, "source")}
	}
	for range several.Draw(t, "duty") {
		var onCall []OnCall
		for range several.Draw(t, "on call") {
			onCall = append(onCall, OnCall{text.Draw(t, "account"), rapid.Int().Draw(t, "level")})
		}
		f.Duty[Schedule{PagerDuty, text.Draw(t, "schedule")}] = Duty{onCall, maybe.Draw(t, "read"), text.Draw(t, "source"), text.Draw(t, "silent")}
	}
	for range several.Draw(t, "tickets") {
		var assignees []string
		for range several.Draw(t, "assignees") {
			assignees = append(assignees, text.Draw(t, "assignee"))
		}
		f.Tickets[TicketRef{Jira, text.Draw(t, "key")}] = Ticket{truths.Draw(t, "exists"), text.Draw(t, "state"), truths.Draw(t, "open"), assignees,
			maybe.Draw(t, "from"), maybe.Draw(t, "to"), maybe.Draw(t, "read"), text.Draw(t, "source"), text.Draw(t, "silent")}
	}
	f.Since = maybe.Draw(t, "since")
	if rapid.Bool().Draw(t, "base") {
		seconds := rapid.Int64Range(0, int64(grants.LongestDuration/time.Second)).Draw(t, "seconds")
		f.Base = &Base{grants.ID(text.Draw(t, "grant")), rapid.Int64().Draw(t, "whose"), text.Draw(t, "resource"), time.Duration(seconds) * time.Second,
			rapid.Int().Draw(t, "extensions"), maybe.Draw(t, "ends"), rapid.Bool().Draw(t, "live"), rapid.Bool().Draw(t, "emergency"), when.Draw(t, "read"), text.Draw(t, "source")}
	}
	if rapid.Bool().Draw(t, "overdue") {
		f.Overdue = &Overdue{[]grants.ID{}, when.Draw(t, "read"), text.Draw(t, "source")}
		for i := range several.Draw(t, "grants overdue") {
			f.Overdue.Grants = append(f.Overdue.Grants, grants.ID(fmt.Sprintf("%02d", i/2)))
		}
	}
	if rapid.Bool().Draw(t, "uses") {
		f.Uses = Uses{ReadAt: when.Draw(t, "read"), Source: text.Draw(t, "source"), Silent: text.Draw(t, "silent")}
		for i := range rapid.IntRange(0, 20).Draw(t, "grants") {
			id := grants.ID(fmt.Sprintf("%02d", i/7)) // no two need differ
			f.Uses.Grants = append(f.Uses.Grants, Use{id, rapid.Int64().Draw(t, "person"), text.Draw(t, "resource"), maybe.Draw(t, "approved"), maybe.Draw(t, "until")})
		}
	}
	return f
}

func TestPropertyAnyFactsReadBackAsTheyWereWritten(t *testing.T) {
	first, last := time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(first.Unix(), last.Unix()).Draw(t, "second"), 0).UTC()
	})
	rapid.Check(t, func(t *rapid.T) {
		f := drawWrittenFacts(t, moment)
		got, err := ParseFacts(f.Line())
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Fatalf("%v\ngot  %+v\nwant %+v\n%s", err, got, f, f.Line())
		}
	})
}

// A line that nobody can read again would make a merge that nobody can check,
// so whatever facts hold, what is written of them can be read.
func TestPropertyNoFactsMakeALineThatIsRefused(t *testing.T) {
	moment := rapid.Custom(func(t *rapid.T) time.Time {
		zone := time.FixedZone("", rapid.IntRange(-14*3600, 14*3600).Draw(t, "zone"))
		at := time.Date(rapid.SampledFrom([]int{-70000, -1, 0, 1, 2026, 9999, 10000, 300000}).Draw(t, "year"),
			time.Month(rapid.SampledFrom([]int{1, 12}).Draw(t, "month")), rapid.SampledFrom([]int{1, 31}).Draw(t, "day"),
			rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, rapid.IntRange(1, 999_999_999).Draw(t, "nanosecond"), zone)
		return at
	})
	rapid.Check(t, func(t *rapid.T) {
		f := drawWrittenFacts(t, moment)
		f.Teams[developers] = Team{Source: "not \xff UTF-8"}
		got, err := ParseFacts(f.Line())
		if err != nil || got.Line() != f.Line() {
			t.Fatalf("%v\n%s\n%s", err, f.Line(), got.Line())
		}
	})
}

func TestATimeThatCannotBeWrittenBecomesTheNearestThatCan(t *testing.T) {
	when := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	west := time.FixedZone("", -12*3600)
	f := Facts{At: when, Tickets: map[TicketRef]Ticket{{Jira, "INC-1"}: {From: time.Date(0, 5, 1, 0, 0, 0, 0, time.UTC), To: time.Date(9999, 12, 31, 23, 59, 59, 0, west)}}}
	got, err := ParseFacts(f.Line())
	window := got.Tickets[TicketRef{Jira, "INC-1"}]
	if err != nil || !window.From.Equal(time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)) || !window.To.Equal(time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)) {
		t.Errorf("%+v, %v", window, err)
	}
}
