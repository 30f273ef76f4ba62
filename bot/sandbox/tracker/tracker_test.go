package tracker

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// call makes a request, a POST where there is a body, and returns the status
// and the answer.
func call(t *testing.T, address, body string, sign func(*http.Request)) (int, string) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	sign(r)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(user, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}

func TestJiraSpeaksAsDocumented(t *testing.T) {
	clock := sandbox.NewStillClock(noon)
	cloud, err := NewJira(clock, Cloud)
	if err != nil {
		t.Fatal(err)
	}
	dataCenter, err := NewJira(clock, DataCenter)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range []*Jira{cloud, dataCenter} {
		t.Cleanup(func() {
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
		j.AddField("customfield_1", "Start", "datetime")
		j.PutIssue(Issue{Key: "INC-1", Status: "Doing", Category: "indeterminate", Assignee: &Person{AccountID: "a1", Key: "JIRAUSER1", Name: "alice"}, Fields: map[string]any{"customfield_1": "x"}})
		j.PutIssue(Issue{Key: "INC-2", Status: "Done", Category: "done"})
		j.Hide("INC-2")
		j.PutIssue(Issue{Key: "INC-3", Status: "Done", Category: "done"})
		j.Move("INC-3", "OPS-1")
	}
	signed, pat := basic(JiraUser, cloud.Token()), bearer(dataCenter.Token())
	const gone = `{"errorMessages":["Issue does not exist or you do not have permission to see it."],"errors":{}}`
	tests := []struct {
		name       string
		of         *Jira
		path       string
		sign       func(*http.Request)
		status     int
		has, lacks string
	}{
		{"Cloud", cloud, "/rest/api/2/issue/INC-1", signed, 200, `"accountId":"a1"`, `"name":"alice"`},
		{"version 3", cloud, "/rest/api/3/issue/inc-1", signed, 200, `"statusCategory":{"colorName":"yellow","id":4,"key":"indeterminate","name":"In Progress"`, gone},
		{"Data Center", dataCenter, "/rest/api/2/issue/INC-1", pat, 200, `"key":"JIRAUSER1","name":"alice"`, "accountId"},
		{"some fields", cloud, "/rest/api/2/issue/INC-1?fields=status,customfield_9", signed, 200, `"fields":{"status":`, "assignee"},
		{"a hidden issue", cloud, "/rest/api/2/issue/INC-2", signed, 404, gone, "Done"},
		{"no issue", cloud, "/rest/api/2/issue/INC-9", signed, 404, gone, "Done"},
		{"a moved issue", cloud, "/rest/api/2/issue/INC-3", signed, 200, `"key":"OPS-1"`, gone},
		{"nobody", cloud, "/rest/api/2/issue/INC-1", func(*http.Request) {}, 401, "errorMessages", "Doing"},
		{"somebody else", cloud, "/rest/api/2/issue/INC-1", basic("eve@acme.test", cloud.Token()), 401, "errorMessages", "Doing"},
		{"Cloud by bearer", cloud, "/rest/api/2/issue/INC-1", bearer(cloud.Token()), 401, "errorMessages", "Doing"},
		{"myself", dataCenter, "/rest/api/2/myself", pat, 200, `"key":"JIRAUSER10000"`, "accountId"},
		{"fields", cloud, "/rest/api/2/field", signed, 200, `"type":"datetime"`, gone},
		{"what is not served", cloud, "/rest/api/2/search", signed, 404, "null for uri", gone},
	}
	for _, test := range tests {
		status, body := call(t, test.of.URL()+test.path, "", test.sign)
		if status != test.status || !strings.Contains(body, test.has) || strings.Contains(body, test.lacks) {
			t.Errorf("%s: %d %s", test.name, status, body)
		}
	}
}

func TestLinearSpeaksAsDocumented(t *testing.T) {
	l, err := NewLinear(sandbox.NewStillClock(noon))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	l.PutIssue(LinearIssue{Identifier: "ENG-1", State: "Doing", Type: "started", Assignee: "u1"})
	l.PutIssue(LinearIssue{Identifier: "ENG-2", State: "Done", Type: "completed", Trashed: true, Archived: noon})
	l.Move("ENG-2", "OPS-7")
	key := func(r *http.Request) { r.Header.Set("Authorization", l.Token()) }
	ask := func(query string) string { return `{"query":"` + query + `","variables":{"id":"ENG-1"}}` }
	const invalid = `"code":"GRAPHQL_VALIDATION_FAILED"`
	tests := []struct {
		name, body string
		sign       func(*http.Request)
		status     int
		has        string
	}{
		{"by variable", ask(`query Q($id:String!){issue(id:$id){identifier,state{name,type},assignee{id}}}`), key, 200, `{"data":{"issue":{"assignee":{"id":"u1"},"identifier":"ENG-1","state":{"name":"Doing","type":"started"}}}}`},
		{"by literal", ask(`{ issue(id: \"eng-1\") { identifier } }`), key, 200, `{"data":{"issue":{"identifier":"ENG-1"}}}`},
		{"a moved issue in the trash", ask(`{ issue(id: \"ENG-2\") { identifier trashed archivedAt assignee { id } } }`), key, 200, `{"data":{"issue":{"archivedAt":"2026-11-22T12:00:00.000Z","assignee":null,"identifier":"OPS-7","trashed":true}}}`},
		{"who am I", ask(`{viewer{id}}`), key, 200, `{"data":{"viewer":{"id":"d0a1b2c3"}}}`},
		{"no issue", ask(`{ issue(id: \"ENG-9\") { identifier } }`), key, 200, `"message":"Entity not found: Issue","path":["issue"]`},
		{"no such field", ask(`{ issue(id: \"ENG-1\") { secret } }`), key, 400, invalid},
		{"no such query", ask(`{ teams { id } }`), key, 400, invalid},
		{"no fields", ask(`{ issue(id: \"ENG-1\") }`), key, 400, invalid},
		{"fields of a text", ask(`{ issue(id: \"ENG-1\") { identifier { x } } }`), key, 400, invalid},
		{"no id", ask(`{ issue { identifier } }`), key, 400, invalid},
		{"an unknown variable", ask(`query($x:String!){ issue(id: $x) { identifier } }`), key, 400, invalid},
		{"half a query", ask(`{ issue(id: \"ENG-1\") { identifier `), key, 400, "Syntax Error"},
		{"half an argument", ask(`{ issue(id: `), key, 400, "Syntax Error"},
		{"too much of a query", ask(`{ viewer { id } } }`), key, 400, "Syntax Error"},
		{"a text without end", ask(`{ issue(id: \"ENG-1) { identifier } }`), key, 400, "Syntax Error"},
		{"a deep query", ask(strings.Repeat("{a", 100)), key, 400, "Syntax Error"},
		{"no JSON", "x", key, 400, invalid},
		{"nobody", ask(`{viewer{id}}`), func(*http.Request) {}, 401, `"code":"AUTHENTICATION_ERROR"`},
		{"a key as a bearer's token", ask(`{viewer{id}}`), bearer(l.Token()), 400, "Remove the Bearer prefix"},
	}
	for _, test := range tests {
		status, body := call(t, l.URL()+"/graphql", test.body, test.sign)
		if status != test.status || !strings.Contains(body, test.has) {
			t.Errorf("%s: %d %s", test.name, status, body)
		}
	}
	l.Limit(1)
	if status, body := call(t, l.URL()+"/graphql", ask(`{viewer{id}}`), key); status != 400 || !strings.Contains(body, "RATELIMITED") {
		t.Errorf("limited: %d %s", status, body)
	}
}
