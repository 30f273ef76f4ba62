package github

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// recordedServer is a server whose exchanges go to a file of its own.
func recordedServer(t *testing.T) (s *Server, at string, lines func() (all []Record, raw string)) {
	t.Helper()
	s, err := New(sandbox.NewStillClock(time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	record, err := newRecorder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewUnstartedServer(nil)
	at = "http://" + web.Listener.Addr().String()
	s.url = at
	web.Config.Handler = record.outside(at, s.Handler(s.clock, record.inside(http.HandlerFunc(s.serve))))
	web.Start()
	t.Cleanup(func() {
		web.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, at, func() ([]Record, string) {
		web.Close() // the last record is written after the last answer
		if err := record.failed(); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(record.file.Name())
		if err != nil {
			t.Fatal(err)
		}
		var all []Record
		for sc := bufio.NewScanner(strings.NewReader(string(raw))); sc.Scan(); {
			var r Record
			if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all, string(raw)
	}
}

func TestARecordingHoldsWhatGitHubSaidAndNoSecrets(t *testing.T) {
	s, at, lines := recordedServer(t)
	s.AddUser("alice", 1001)
	token, err := s.PAT("alice")
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, body string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, at+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	}
	send("GET", "/user", "")
	send("GET", "/user", "")
	send("POST", "/repos/acme/grants/issues", `{"title":"`+token+`"}`)
	s.Order(sandbox.Fault{When: sandbox.Answer, Path: "/user", Status: 502, Body: "<html>"})
	send("GET", "/user", "")
	s.Order(sandbox.Fault{When: sandbox.LostReply, Method: "DELETE", Path: "/user"})
	send("DELETE", "/user", "")
	send("POST", "/login/oauth/access_token", `{"client_secret":"canary"}`)

	all, raw := lines()
	if strings.Contains(raw, token) || strings.Contains(raw, "canary") || strings.Contains(raw, at) {
		t.Errorf("the recording holds a secret or our address:\n%s", raw)
	}
	if len(all) != 6 {
		t.Fatalf("%d records, want 6:\n%s", len(all), raw)
	}
	first, again, refused, faulted, lost, signIn := all[0], all[1], all[2], all[3], all[4], all[5]
	if first.Status != 200 || !strings.Contains(first.Response, `"login":"alice"`) || !strings.Contains(first.Response, RecordedURL) {
		t.Errorf("the first is %+v", first)
	}
	if again.Again != first.Key || again.Method != "" {
		t.Errorf("the same again is %+v", again)
	}
	if refused.Status != 404 || !strings.Contains(refused.Request, "_redacted") {
		t.Errorf("the refused is %+v", refused)
	}
	if faulted.Status != 0 || faulted.Response != "" || faulted.Path != "/user" {
		t.Errorf("what a fault answered is recorded as GitHub's: %+v", faulted)
	}
	if lost.Status != 404 {
		t.Errorf("the answer that was lost on its way is %+v", lost)
	}
	if signIn.Status != 200 || signIn.Request+signIn.Response != "" {
		t.Errorf("the sign-in is %+v", signIn)
	}
}

func TestOnlyNumbersAndHashesMayDifferInTheSameForm(t *testing.T) {
	const sha = "0123456789abcdef0123456789abcdef01234567"
	of := func(body string) string { return Record{Method: "GET", Path: "/user", Response: body}.form() }
	for _, tc := range []struct {
		claim, a, b string
		same        bool
	}{
		{"another number", `{"id":7}`, `{"id":12}`, true},
		{"another time", `"2026-11-22T14:00:00Z"`, `"2027-01-01T09:30:05Z"`, true},
		{"another hash", `"` + sha + `"`, `"` + strings.Repeat("a", 40) + `"`, true},
		{"zero", `{"id":7}`, `{"id":0}`, false},
		{"a text in place of a number", `{"id":7}`, `{"id":"7"}`, false},
		{"null in place of a number", `{"id":7}`, `{"id":null}`, false},
		{"another word", `{"state":"open"}`, `{"state":"shut"}`, false},
		{"a hash cut short", `"` + sha + `"`, `"` + sha[:39] + `"`, false},
		{"a negative number", `{"id":7}`, `{"id":-7}`, false},
	} {
		if same := of(tc.a) == of(tc.b); same != tc.same {
			t.Errorf("%s: the same form is %v, want %v", tc.claim, same, tc.same)
		}
	}
}
