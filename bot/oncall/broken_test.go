package oncall

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
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
	c, err := New(Config{
		PagerDutyToken: world.NewSecret("t"), OpsgenieKey: world.NewSecret("k"), Timeout: time.Minute,
		Now: func() time.Time { return noon }, HTTP: &http.Client{Transport: spoken{status, body}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Good answers, of which the tests below break every part.
const (
	goodDuty = `{"oncalls":[{"escalation_policy":{"id":"PE1","type":"escalation_policy_reference"},"escalation_level":1,
		"schedule":{"id":"PPRIMARY","type":"schedule_reference"},"user":{"id":"PALICE","type":"user_reference"},
		"start":"2026-11-22T00:00:00Z","end":"2026-11-23T00:00:00Z"}],"limit":100,"offset":0,"more":false,"total":null}`
	goodGenie = `{"data":{"_parent":{"id":"d875a1f4-9b4e-4219-a123-0c26936d18de","name":"Primary","enabled":true},
		"onCallParticipants":[{"id":"t1","name":"Payments","type":"team","onCallParticipants":[{"id":"u-alice","name":"alice","type":"user"}]}]},
		"took":0.1,"requestId":"r"}`
)

// broken returns v with every one of its parts, itself included, taken out or
// replaced by something else.
func broken(v any, yield func(any)) {
	for _, other := range []any{nil, true, false, -1.0, 0.0, 1e300, "", "x", []any{}, []any{nil}, map[string]any{}, map[string]any{"id": "PEVE"}} {
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
				yield(append(slices.Clone(v), part))
			})
		}
	}
}

func TestABrokenAnswerPutsNobodyElseOnCall(t *testing.T) {
	t.Parallel()
	for of, good := range map[policies.Schedule]string{primary: goodDuty, genie: goodGenie} {
		truth := ask(t, hearing(t, 200, good), of, noon)
		if len(truth.OnCall) != 1 {
			t.Fatalf("the good answer of %v is not good: %+v", of, truth)
		}
		var answer any
		if err := json.Unmarshal([]byte(good), &answer); err != nil {
			t.Fatal(err)
		}
		tried, silent := 0, 0
		broken(answer, func(v any) {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			tried++
			got := ask(t, hearing(t, 200, string(text)), of, noon)
			if got.Silent != "" {
				silent++
				return
			}
			for _, on := range got.OnCall {
				// x and PEVE stand where the answer has been made to name them.
				if !slices.Contains([]string{truth.OnCall[0].Account, "x", "PEVE"}, on.Account) || !strings.Contains(string(text), of.ID) {
					t.Errorf("%s\nputs on call %+v", text, got.OnCall)
				}
			}
		})
		if tried < 300 || silent < tried/2 {
			t.Errorf("%v: %d answers were tried, and %d were silence", of, tried, silent)
		}
	}
}

func TestAStatusThatIsNoSuccessPutsNobodyOnCall(t *testing.T) {
	t.Parallel()
	for status := 300; status < 600; status++ {
		for of, good := range map[policies.Schedule]string{primary: goodDuty, genie: goodGenie} {
			if got := ask(t, hearing(t, status, good), of, noon); got.Silent == "" {
				t.Errorf("%v: %d puts on call %+v", of, status, got.OnCall)
			}
		}
	}
}

func FuzzAnswersNeitherPanicNorPutOnCallWhomTheyDoNotName(f *testing.F) {
	for _, body := range []string{goodDuty, goodGenie, `{}`, `[]`, `null`, `{"oncalls":[]}`, `{"oncalls":[{}]}`, `{"oncalls":[],"more":true}`,
		`{"data":{"_parent":{"id":"` + genie.ID + `","enabled":true},"onCallParticipants":[{"type":"team"}]}}`,
		`{"error":{"message":"x","code":"y","errors":"z"}}`, `{"error":[]}`, `{"message":{}}`} {
		f.Add(200, body)
		f.Add(404, body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 {
			status = 200
		}
		c := hearing(t, status, body)
		for _, of := range []policies.Schedule{primary, genie} {
			got := ask(t, c, of, noon)
			if got.Silent != "" {
				continue
			}
			var any json.RawMessage
			if json.Unmarshal([]byte(body), &any) != nil {
				t.Errorf("%q is no JSON and says %+v", body, got)
			}
			for _, on := range got.OnCall {
				if !accountForm.MatchString(on.Account) || !strings.Contains(unescaped(body), on.Account) {
					t.Errorf("%q puts on call %+v", body, on)
				}
			}
		}
	})
}

// unescaped is the body with every string as JSON means it.
func unescaped(body string) string {
	var v any
	if json.Unmarshal([]byte(body), &v) != nil {
		return ""
	}
	return fmt.Sprint(v)
}

func TestNothingIsKeptBetweenQuestions(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	c := s.client(t)
	first := ask(t, c, primary, noon)
	s.duty.Rotate()
	if got := ask(t, c, primary, noon); got.Silent == "" {
		t.Errorf("an answer was kept: %+v", got)
	}
	s.config.PagerDutyToken = world.NewSecret(s.duty.Token())
	if got := ask(t, s.client(t), primary, noon); !reflect.DeepEqual(got, first) {
		t.Errorf("got %+v, want %+v", got, first)
	}
}
