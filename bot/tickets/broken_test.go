package tickets

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// spoken is a service that answers every call alike, without a socket.
type spoken struct {
	status int
	body   string
}

func (s spoken) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: s.status, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(s.body)), ProtoMajor: 1, ProtoMinor: 1,
	}, nil
}

func hearing(t testing.TB, status int, body string) *Client {
	h := &http.Client{Transport: spoken{status, body}}
	c, err := New(Config{
		Jira:   JiraConfig{URL: "https://jira.acme.test", Email: "tac@acme.test", Token: world.NewSecret("t"), ChangeStart: begins, ChangeEnd: ends},
		GitHub: GitHubConfig{HTTP: h, Repositories: []string{"acme/app"}},
		Linear: LinearConfig{Token: world.NewSecret("lin_api_x")},
		Now:    func() time.Time { return noon }, HTTP: h, Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Good answers about open tickets that are alice's, of which the tests below
// break every part.
var good = map[policies.TicketRef]string{
	inc: `{"id":"10001","key":"INC-789","fields":{"status":{"id":"3","name":"In Progress","statusCategory":{"id":4,"key":"indeterminate","name":"In Progress"}},
		"assignee":{"accountId":"alice","displayName":"Alice","active":true,"avatarUrls":{"48x48":"x"}},
		"` + begins + `":"2026-11-22T11:00:00.000+0000","` + ends + `":"2026-11-22T17:00:00.000+0000"}}`,
	app: `{"id":1,"number":1,"title":"x","state":"open","state_reason":null,"repository_url":"https://api.github.com/repos/acme/app",
		"user":{"id":1,"login":"a"},"assignee":{"id":1001},"assignees":[{"id":1001,"login":"alice"}],"created_at":"2026-11-22T11:00:00Z","pull_request":null}`,
	eng: `{"data":{"issue":{"identifier":"ENG-123","trashed":null,"archivedAt":null,"state":{"name":"In Review","type":"started"},"assignee":{"id":"alice"}}}}`,
}

// broken calls yield with v with every one of its parts, itself included,
// taken out or replaced by something else.
func broken(v any, yield func(any)) {
	for _, other := range []any{nil, true, false, -1.0, 0.0, 1e300, "", "x", "open", "done", []any{}, []any{nil}, map[string]any{}, map[string]any{"id": "eve", "key": "eve"}} {
		yield(other)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			without := maps.Clone(v)
			delete(without, key)
			yield(without)
			broken(v[key], func(part any) {
				changed := maps.Clone(v)
				changed[key] = part
				yield(changed)
			})
		}
	case []any:
		for i := range v {
			broken(v[i], func(part any) {
				changed := slices.Clone(v)
				changed[i] = part
				yield(changed)
			})
		}
	}
}

func TestABrokenAnswerSaysNoMoreThanAGoodOne(t *testing.T) {
	t.Parallel()
	for ref, body := range good {
		truth := ask(t, hearing(t, 200, body), ref)
		if truth.Open != policies.Yes || len(truth.Assignees) != 1 {
			t.Fatalf("the good answer of %v is not good: %+v", ref, truth)
		}
		var answer any
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(err)
		}
		tried := 0
		broken(answer, func(v any) {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			tried++
			got := ask(t, hearing(t, 200, string(text)), ref)
			if got.Exists != policies.Yes {
				return
			}
			// A part that was replaced by another good one is believed.
			switch {
			case !strings.Contains(string(text), strings.TrimPrefix(ref.Key, "acme/app#")):
				t.Errorf("%s\nis told to be %v", text, ref)
			case !slices.Contains([]string{truth.State, "x", "open", "done"}, got.State):
				t.Errorf("%s\nhas the state %q", text, got.State)
			case slices.ContainsFunc(got.Assignees, func(id string) bool {
				return !slices.Contains([]string{truth.Assignees[0], "x", "open", "done", "eve"}, id)
			}):
				t.Errorf("%s\nis assigned to %q", text, got.Assignees)
			case got.From.IsZero() != got.To.IsZero() || !got.From.IsZero() && (!got.From.Equal(truth.From) || !got.To.Equal(truth.To)):
				t.Errorf("%s\nhas the window %v to %v", text, got.From, got.To)
			}
		})
		if tried < 100 {
			t.Errorf("%v: only %d answers were tried", ref, tried)
		}
	}
}

func TestAStatusThatIsNoSuccessIsNeverAYes(t *testing.T) {
	t.Parallel()
	for status := 201; status < 600; status++ {
		for ref, body := range good {
			if got := ask(t, hearing(t, status, body), ref); got.Exists != policies.Unknown {
				t.Errorf("%v: %d says %+v", ref, status, got)
			}
		}
	}
}

func FuzzAnswersNeitherPanicNorSayWhatTheyDoNot(f *testing.F) {
	for _, body := range good {
		f.Add(200, body)
		f.Add(404, body)
	}
	for _, body := range []string{`{}`, `[]`, `null`, `0`, `"x"`, `{"errors":[]}`, `{"errors":[null]}`, `{"errors":{}}`, `{"errors":[{"extensions":{"internal":1}}]}`,
		`{"errors":[{"message":"Entity not found: Issue","extensions":{"code":"INPUT_ERROR"}}],"data":null}`, `{"errorMessages":["no"],"errors":{}}`,
		`{"errorMessages":[],"errors":{"a":1}}`, `{"message":"Not Found"}`, `{"fields":{"parent":{},"created":"x"}}`, `{"fields":[]}`} {
		f.Add(200, body)
		f.Add(400, body)
		f.Add(404, body)
		f.Add(500, body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			status = 200
		}
		c := hearing(t, status, body)
		for ref := range good {
			got := ask(t, c, ref)
			var v any
			// What follows the first value of an answer is not read.
			if got.Silent == "" && json.NewDecoder(strings.NewReader(body)).Decode(&v) != nil {
				t.Errorf("%q is no JSON and says %+v", body, got)
			}
			if got.Exists != policies.Yes {
				continue
			}
			text := strings.ToUpper(fmt.Sprint(v))
			for _, said := range append([]string{strings.TrimPrefix(ref.Key, "acme/app#"), got.State}, got.Assignees...) {
				if !strings.Contains(text, strings.ToUpper(said)) && ref != app { // a number may be written as 1e3
					t.Errorf("%q does not say %q", body, said)
				}
			}
			if status != http.StatusOK || got.State == "" {
				t.Errorf("%d %q says %+v", status, body, got)
			}
		}
	})
}
