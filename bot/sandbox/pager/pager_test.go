package pager

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// get asks a server and returns the status and the body without blanks at its
// end.
func get(t *testing.T, address, authorization string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

func TestPagerDutySpeaksAsDocumented(t *testing.T) {
	clock := sandbox.NewStillClock(noon)
	p, err := NewPagerDuty(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	p.AddUser("PALICE", "Alice")
	p.AddSchedule("P1", "Primary")
	p.AddEscalationPolicy("PE", "Payments", []string{"P1"})
	p.AddShift("P1", "PALICE", noon, noon.Add(time.Hour))
	p.AddShift("P1", "PBOB", noon.Add(time.Hour), time.Time{})
	token := "Token token=" + p.Token()
	at := func(since, until time.Time) string {
		return "?schedule_ids[]=P1&since=" + since.Format(time.RFC3339) + "&until=" + until.Format(time.RFC3339)
	}
	tests := []struct {
		name, path, auth string
		status           int
		has, lacks       string
	}{
		{"a whole entry", "/oncalls", token, 200, `"user":{"html_url":"https://acme.pagerduty.com/users/PALICE","id":"PALICE","self":"https://api.pagerduty.com/users/PALICE","summary":"Alice","type":"user_reference"}`, "PBOB"},
		{"users included", "/oncalls?include[]=users", token, 200, `"email":"PALICE@acme.test"`, "user_reference"},
		{"both sides of a change", "/oncalls" + at(noon, noon.Add(2*time.Hour)), token, 200, "PBOB", "xxx"},
		{"just before a change", "/oncalls" + at(noon.Add(59*time.Minute), noon.Add(time.Hour)), token, 200, "PALICE", "PBOB"},
		{"without an end", "/oncalls" + at(noon.Add(99*time.Hour), noon.Add(99*time.Hour)), token, 200, `"end":null`, "PALICE"},
		{"a page", "/oncalls" + at(noon, noon.Add(2*time.Hour)) + "&limit=1", token, 200, `"more":true`, "PBOB"},
		{"the next page", "/oncalls" + at(noon, noon.Add(2*time.Hour)) + "&limit=1&offset=1", token, 200, `"more":false`, "PALICE"},
		{"another schedule", "/oncalls?schedule_ids[]=P2", token, 200, `"oncalls":[]`, "PALICE"},
		{"another user", "/oncalls?user_ids[]=PBOB", token, 200, `"oncalls":[]`, "PALICE"},
		{"OAuth", "/oncalls", "Bearer " + p.Token(), 200, "PALICE", "error"},
		{"a page too long", "/oncalls?limit=101", token, 400, `"code":2001`, "PALICE"},
		{"time runs backwards", "/oncalls" + at(noon, noon.Add(-time.Hour)), token, 400, "Until cannot be before since.", "PALICE"},
		{"no time", "/oncalls?since=today", token, 400, "Since is not a valid date.", "PALICE"},
		{"no token", "/oncalls", "", 401, `"code":2006`, "PALICE"},
		{"Opsgenie's token", "/oncalls", "GenieKey " + p.Token(), 401, `"code":2006`, "PALICE"},
		{"a schedule", "/schedules/P1", token, 200, `"escalation_policies":[{`, "error"},
		{"no schedule", "/schedules/P2", token, 404, `{"error":{"code":2100,"message":"Not Found"}}`, "P1"},
		{"what is not served", "/incidents", token, 404, `"code":2100`, "P1"},
	}
	for _, test := range tests {
		status, body := get(t, p.URL()+strings.ReplaceAll(test.path, "+", "%2B"), test.auth)
		if status != test.status || !strings.Contains(body, test.has) || strings.Contains(body, test.lacks) {
			t.Errorf("%s: %d %s", test.name, status, body)
		}
	}
	clock.Advance(time.Hour)
	if _, body := get(t, p.URL()+"/oncalls", token); !strings.Contains(body, "PBOB") || strings.Contains(body, "PALICE") {
		t.Errorf("an hour later: %s", body)
	}
	p.Limit(1)
	if status, body := get(t, p.URL()+"/oncalls", token); status != 429 || !strings.Contains(body, "2020") {
		t.Errorf("limited: %d %s", status, body)
	}
}

func TestOpsgenieSpeaksAsDocumented(t *testing.T) {
	clock := sandbox.NewStillClock(noon)
	o, err := NewOpsgenie(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	o.AddSchedule("s1", "Primary")
	o.AddShift("s1", Participant{Type: "escalation", ID: "e1", Name: "E", Within: []Participant{User("u1", "alice@acme.test"), {Type: "user", ID: "u2", Name: "bob@acme.test", After: 5}}}, noon, noon.Add(time.Hour))
	o.AddShift("s1", User("u3", "carol@acme.test"), noon.Add(time.Hour), time.Time{})
	o.AddSchedule("s2", "Theirs")
	o.Forbid("s2")
	key := "GenieKey " + o.Token()
	later := url.QueryEscape(noon.Add(time.Hour).In(time.FixedZone("", 7200)).Format("2006-01-02T15:04:05-07:00"))
	tests := []struct {
		name, path, auth string
		status           int
		has, lacks       string
	}{
		{"participants", "/v2/schedules/s1/on-calls", key, 200, `"data":{"_parent":{"enabled":true,"id":"s1","name":"Primary"},"onCallParticipants":[{"id":"e1","name":"E","onCallParticipants":[{"id":"u1","name":"alice@acme.test","type":"user"},{"escalationTime":5,"id":"u2"`, "u3"},
		{"flat", "/v2/schedules/s1/on-calls?flat=true", key, 200, `"onCallRecipients":["alice@acme.test","bob@acme.test"]`, "Participants"},
		{"another instant", "/v2/schedules/s1/on-calls?date=" + later, key, 200, `"onCallParticipants":[{"id":"u3"`, "u1"},
		{"by name", "/v2/schedules/Primary/on-calls?scheduleIdentifierType=name", key, 200, `"id":"u1"`, "message"},
		{"by a name that is none", "/v2/schedules/s1/on-calls?scheduleIdentifierType=name", key, 404, "No schedule exists with name: [s1]", "u1"},
		{"no schedule", "/v2/schedules/s9/on-calls", key, 404, `"message":"No schedule exists with id: [s9]"`, "u1"},
		{"somebody else's", "/v2/schedules/s2/on-calls", key, 403, "not authorized", "u1"},
		{"no such identifier", "/v2/schedules/s1/on-calls?scheduleIdentifierType=x", key, 422, `"errors":{"scheduleIdentifierType"`, "u1"},
		{"no date", "/v2/schedules/s1/on-calls?date=x", key, 422, `"errors":{"date"`, "u1"},
		{"not flat", "/v2/schedules/s1/on-calls?flat=x", key, 422, `"errors":{"flat"`, "u1"},
		{"no key", "/v2/schedules/s1/on-calls", "", 401, `"message":"Could not authenticate"`, "u1"},
		{"PagerDuty's key", "/v2/schedules/s1/on-calls", "Token token=" + o.Token(), 401, `"requestId"`, "u1"},
		{"the list", "/v2/schedules", key, 200, `"id":"s1"`, "s2"},
		{"what is not served", "/v2/alerts", key, 404, "Invalid api url.", "s1"},
	}
	for _, test := range tests {
		status, body := get(t, o.URL()+test.path, test.auth)
		if status != test.status || !strings.Contains(body, test.has) || strings.Contains(body, test.lacks) {
			t.Errorf("%s: %d %s", test.name, status, body)
		}
	}
	o.Disable("s1")
	if _, body := get(t, o.URL()+"/v2/schedules/s1/on-calls", key); !strings.Contains(body, `"enabled":false`) {
		t.Errorf("switched off: %s", body)
	}
	o.Limit(1)
	if status, body := get(t, o.URL()+"/v2/schedules", key); status != 429 || !strings.Contains(body, "too many requests") {
		t.Errorf("limited: %d %s", status, body)
	}
}

func TestAnOverrideCoversWhatItOverlaps(t *testing.T) {
	hour := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	var r roster[string]
	r.add("alice", hour(0), hour(10))
	r.add("bob", hour(10), time.Time{})
	r.cover("dana", hour(2), hour(3))
	r.cover("eve", hour(9), hour(11))
	for h, want := range map[int]string{-1: "", 0: "alice", 2: "dana", 3: "alice", 9: "eve", 10: "eve", 11: "bob", 99: "bob"} {
		var got string
		for _, t := range r.between(hour(h), hour(h)) {
			got += t.who
		}
		if got != want {
			t.Errorf("at %d: %q, want %q", h, got, want)
		}
	}
	r.cover("fay", time.Time{}, time.Time{})
	if got := r.between(hour(5), hour(6)); len(got) != 1 || got[0].who != "fay" || len(r.turns) != 1 {
		t.Errorf("an override without end leaves %+v", r.turns)
	}
}
