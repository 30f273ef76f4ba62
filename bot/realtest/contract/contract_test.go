package contract

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// figures is what TestMain prints once all is judged.
var figures struct {
	report   Report
	examples int
}

func TestMain(m *testing.M) {
	code := m.Run()
	figures.report.Print(os.Stdout)
	fmt.Printf("tally: webhook-examples %d\n", figures.examples)
	os.Exit(code)
}

// folder returns what an environment variable names. The run of this module
// sets it; without it nothing could be claimed.
func folder(t *testing.T, variable, holds string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		t.Fatalf("%s must name the folder with %s", variable, holds)
	}
	return dir
}

func packages(t *testing.T) string {
	t.Helper()
	return folder(t, "TAC_NPM", "node_modules, as npm ci makes it in bot/realtest")
}

// described is what GitHub publishes, loaded once: it takes seconds.
var described = sync.OnceValues(func() (d struct {
	rest  *REST
	hooks *Hooks
}, err error) {
	if d.rest, err = LoadREST(os.Getenv("TAC_NPM")); err != nil {
		return d, err
	}
	d.hooks, err = LoadHooks(os.Getenv("TAC_NPM"))
	return d, err
})

func load(t *testing.T) ([]Seen, *REST, *Hooks) {
	t.Helper()
	packages(t)
	seen, err := ReadRecording(folder(t, github.RecordVariable, "what the root module's tests recorded"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	return seen, d.rest, d.hooks
}

func TestAllTrafficKeepsToWhatGitHubDescribes(t *testing.T) {
	seen, rest, hooks := load(t)
	report := Judge(seen, rest, hooks)
	figures.report = report
	for _, f := range report.Findings {
		t.Error(f)
	}
	if report.Requests == 0 || report.Answers == 0 || report.Webhooks == 0 {
		t.Errorf("the recording holds %d requests, %d answers and %d webhooks: none may be 0", report.Requests, report.Answers, report.Webhooks)
	}
}

// Each exchange is a real one of the recording, in which nothing is wrong, and
// then one thing is.
func TestTheCheckerFindsOneThingWrong(t *testing.T) {
	seen, rest, _ := load(t)
	const pulls = "/repos/{owner}/{repo}/pulls"
	for _, tc := range []struct {
		claim, operation string
		status           int
		spoil            func(*github.Record)
		want             string
	}{
		{"a field is missing", "GET " + pulls + "/{pull_number}", 200, answerWith("head", nil), `property "head" is missing`},
		{"a field has the wrong type", "GET " + pulls + "/{pull_number}", 200, answerWith("number", "7"), "/number: "},
		{"a field has a value that does not exist", "GET " + pulls + "/{pull_number}", 200, answerWith("state", "ajar"), "/state: "},
		{"an address is none", "GET " + pulls + "/{pull_number}", 200, answerWith("url", "somewhere"), "/url: "},
		{"a field is invented", "GET " + pulls + "/{pull_number}", 200, answerWith("approved", true), "/approved is a field that GitHub does not describe"},
		{"a list is no list", "GET " + pulls, 200, func(r *github.Record) { r.Response = `{}` }, "value must be an array"},
		{"the answer is empty", "GET " + pulls, 200, func(r *github.Record) { r.Response = `` }, "failed to decode response body"},
		{"the answer is no JSON", "GET " + pulls, 200, func(r *github.Record) { r.Header.Set("Content-Type", "text/html") }, "Content-Type"},
		{"the status is another", "POST " + pulls, 201, func(r *github.Record) { r.Status = 202 }, "does not describe status 202"},
		{"an undescribed error is not in GitHub's form", "GET /app", 200, func(r *github.Record) { r.Status, r.Response = 401, `{"message":7}` }, "/message: "},
		{"the request lacks a field", "POST " + pulls, 201, requestWith("head", nil), `property "head" is missing`},
		{"the request has a wrong type", "POST " + pulls, 201, requestWith("draft", "no"), "/draft: "},
		{"the request has a field of no meaning", "POST " + pulls, 201, requestWith("reviewers", []string{"bob"}), "/reviewers is a field"},
		{"the query has a parameter of no meaning", "GET " + pulls, 200, func(r *github.Record) { r.Query += "&author=alice" }, `the query has "author"`},
		{"the query has a wrong value", "GET " + pulls, 200, func(r *github.Record) { r.Query = "state=ajar" }, "parameter state in query"},
		{"the address does not exist", "GET " + pulls, 200, func(r *github.Record) { r.Path += "/7/approvals" }, errUndescribed.Error()},
		{"the method does not exist there", "GET " + pulls, 200, func(r *github.Record) { r.Method = "DELETE" }, errUndescribed.Error()},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			r := recorded(t, seen, rest, tc.operation, tc.status)
			if v := rest.Judge(r); len(v.Request)+len(v.Answer) > 0 {
				t.Fatalf("it is wrong from the start: %q %q", v.Request, v.Answer)
			}
			tc.spoil(&r)
			v := rest.Judge(r)
			if found := strings.Join(append(v.Request, v.Answer...), "\n"); !strings.Contains(found, tc.want) {
				t.Errorf("found %q, want %q", found, tc.want)
			}
		})
	}
}

func recorded(t *testing.T, seen []Seen, rest *REST, operation string, status int) github.Record {
	t.Helper()
	for _, s := range seen {
		if s.Event != "" || s.Status != status {
			continue
		}
		if op, err := rest.find(s.Method, s.Path); err == nil && op.String() == operation {
			s.Header = s.Header.Clone()
			return s.Record
		}
	}
	t.Fatalf("the recording has no %s -> %d", operation, status)
	return github.Record{}
}

func answerWith(field string, value any) func(*github.Record) {
	return func(r *github.Record) { r.Response = with(r.Response, field, value) }
}

func requestWith(field string, value any) func(*github.Record) {
	return func(r *github.Record) { r.Request = with(r.Request, field, value) }
}

// with sets a field of a JSON object; nil takes it away.
func with(body, field string, value any) string {
	var o map[string]any
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		return err.Error()
	}
	o[field] = value
	if value == nil {
		delete(o, field)
	}
	out, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(out)
}

func TestTheCheckerFindsOneThingWrongWithAWebhook(t *testing.T) {
	seen, _, hooks := load(t)
	for _, tc := range []struct {
		claim, webhook, field string
		value                 any
		want                  string
	}{
		{"a field is missing", "pull_request opened", "number", nil, "missing property 'number'"},
		{"a field has the wrong type", "push", "after", 7, "/after: got number"},
		{"the action does not exist", "pull_request opened", "action", "pondered", "GitHub describes no webhook pull-request-pondered"},
		{"there is no action", "pull_request opened", "action", nil, "GitHub describes no webhook pull-request"},
		{"a field is invented", "push", "approved", true, "/approved is a field that GitHub does not describe"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			for _, s := range seen {
				name, wrong := "", []string(nil)
				if s.Event != "" {
					name, wrong = hooks.Judge(s.Event, s.Payload)
				}
				if name != tc.webhook {
					continue
				}
				if len(wrong) > 0 {
					t.Fatalf("it is wrong from the start: %q", wrong)
				}
				_, wrong = hooks.Judge(s.Event, with(s.Payload, tc.field, tc.value))
				if found := strings.Join(wrong, "\n"); !strings.Contains(found, tc.want) {
					t.Errorf("found %q, want %q", found, tc.want)
				}
				return
			}
			t.Fatalf("the recording has no %s", tc.webhook)
		})
	}
}

func TestARecordingWithNothingInItIsNoPass(t *testing.T) {
	for claim, content := range map[string]string{
		"a file without a line":         "",
		"a line cut short":              `{"key":"k","method":"GET"`,
		"a line that says nothing":      `{"key":"k"}`,
		"a repetition of nothing known": `{"again":"k"}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "github-1.jsonl"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRecording(dir); err == nil {
			t.Errorf("%s is read without an error", claim)
		}
	}
	if _, err := ReadRecording(t.TempDir()); err == nil {
		t.Error("an empty folder is read without an error")
	}
}

// A gap that GitHub has closed must go from the table.
func TestEachGapIsOne(t *testing.T) {
	packages(t)
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range gaps {
		if g.operation == "" {
			continue
		}
		method, path, _ := strings.Cut(g.operation, " ")
		op, err := d.rest.find(method, strings.NewReplacer("{", "", "}", "").Replace(path))
		if err != nil || op.String() != g.operation || op.Responses.Status(g.status) != nil {
			t.Errorf("%s %d is no gap (any more): %v", g.operation, g.status, err)
		}
	}
}
