package policies

import (
	"reflect"
	"strings"
	"testing"
	"time"
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
		Uses: Uses{Grants: []Use{{"20261122-k3v9q2m4tz", 1001, "wiki", when, when.Add(hour)}}, ReadAt: when, Source: "main at abc"},
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
		"an odd reading": `{"at":"2026-11-22T14:03:11Z","duty":[{"pager":"pagerduty","read_at":"x"}]}`,
	} {
		if f, err := ParseFacts(line); err == nil || !reflect.DeepEqual(f, Facts{}) {
			t.Errorf("%s: %+v, %v", claim, f, err)
		}
	}
}
