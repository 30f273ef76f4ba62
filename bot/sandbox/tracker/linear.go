package tracker

import (
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// LinearIssue is an issue of Linear.
type LinearIssue struct {
	Identifier string // as in ENG-123
	State      string // as the team calls it
	Type       string // of the state: triage, backlog, unstarted, started, completed, canceled or duplicate
	Assignee   string // a user's id; empty: nobody
	Trashed    bool
	Archived   time.Time
}

// Linear is one Linear workspace. It is safe for concurrent use.
type Linear struct {
	server

	issues map[string]LinearIssue // by identifier
	moved  map[string]string      // identifiers that issues had before
}

// NewLinear starts a workspace on a free port of 127.0.0.1. Close ends it.
func NewLinear(clock *sandbox.Clock) (*Linear, error) {
	l := &Linear{issues: map[string]LinearIssue{}, moved: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /graphql", l.serve)
	if err := l.start(clock, "lin_api_", mux); err != nil {
		return nil, err
	}
	return l, nil
}

// PutIssue adds an issue, or replaces the one of that identifier.
func (l *Linear) PutIssue(i LinearIssue) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issues[i.Identifier] = i
}

// Move gives an issue another identifier, as moving it to another team does:
// under its old one it is still found, and answers with the new one.
func (l *Linear) Move(from, to string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := l.issues[from]
	if !ok {
		return
	}
	delete(l.issues, from)
	i.Identifier = to
	l.issues[to], l.moved[from] = i, to
}

// Limit has the next times calls answered as Linear answers too many: with
// status 400. Negative times never end.
func (l *Linear) Limit(times int) {
	l.Order(sandbox.Fault{
		Times: times, When: sandbox.Answer, Status: http.StatusBadRequest,
		Header: http.Header{"Content-Type": {"application/json"}, "X-Ratelimit-Requests-Remaining": {"0"}},
		Body:   `{"errors":[{"message":"Rate limit exceeded","extensions":{"type":"ratelimited","code":"RATELIMITED","statusCode":429,"userError":true,"userPresentableMessage":"Rate limit exceeded. Only 5000 requests are allowed per 1 hour."}}]}`,
	})
}

// fault is an error in Linear's form.
type fault struct {
	status                    int
	message, kind, code, said string
	path                      []string
}

func (f *fault) write(w http.ResponseWriter) {
	e := object{"message": f.message, "extensions": object{
		"type": f.kind, "code": f.code, "userError": true, "userPresentableMessage": f.said, "http": object{"status": f.status},
	}}
	body := object{"errors": []object{e}}
	if f.path != nil {
		e["path"], body["data"] = f.path, nil
	}
	reply(w, f.status, body)
}

func invalid(message string) *fault {
	return &fault{status: http.StatusBadRequest, message: message, kind: "graphql error", code: "GRAPHQL_VALIDATION_FAILED", said: message}
}

func (l *Linear) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		return // the client is gone
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	data, problem := l.answer(r.Header.Get("Authorization"), body)
	if problem != nil {
		problem.write(w)
		return
	}
	reply(w, http.StatusOK, object{"data": data})
}

func (l *Linear) answer(authorization string, body []byte) (object, *fault) {
	if problem := l.authorize(authorization); problem != nil {
		return nil, problem
	}
	var in struct {
		Query     string
		Variables map[string]any
	}
	if err := json.Unmarshal(body, &in); err != nil || in.Query == "" {
		return nil, invalid("POST body missing, invalid Content-Type, or JSON object has no keys.")
	}
	query, problem := parseQuery(in.Query)
	if problem != nil {
		return nil, problem
	}
	data := object{}
	for _, f := range query {
		value, problem := l.root(f, in.Variables)
		if problem != nil {
			return nil, problem
		}
		data[f.name] = value
	}
	return data, nil
}

func (l *Linear) authorize(header string) *fault {
	bare, bearer := strings.CutPrefix(header, "Bearer ")
	if bearer && strings.HasPrefix(bare, "lin_api_") {
		return &fault{status: http.StatusBadRequest, kind: "authentication error", code: "AUTHENTICATION_ERROR",
			message: "It looks like you're trying to use an API key as a Bearer token. Remove the Bearer prefix from the Authorization header."}
	}
	if subtle.ConstantTimeCompare([]byte(header), []byte(l.token)) == 1 {
		return nil
	}
	return &fault{status: http.StatusUnauthorized, message: "Authentication required, not authenticated", kind: "authentication error",
		code: "AUTHENTICATION_ERROR", said: "You need to authenticate to access this operation."}
}

func (l *Linear) root(f field, variables map[string]any) (any, *fault) {
	switch f.name {
	case "viewer":
		return f.choose("User", object{"id": "d0a1b2c3", "name": "tac", "email": "tac@acme.test", "active": true})
	case "issue":
		id, ok := f.argument("id", variables).(string)
		if !ok {
			return nil, invalid(`Argument "id" of required type "String!" was not provided.`)
		}
		return l.issue(f, id)
	}
	return nil, invalid(`Cannot query field "` + f.name + `" on type "Query".`)
}

func (l *Linear) issue(f field, id string) (any, *fault) {
	key := strings.ToUpper(id)
	for l.moved[key] != "" {
		key = l.moved[key]
	}
	i, ok := l.issues[key]
	if !ok {
		return nil, &fault{status: http.StatusOK, message: "Entity not found: Issue", kind: "invalid input", code: "INPUT_ERROR",
			said: "Could not find referenced Issue.", path: []string{"issue"}}
	}
	whole := object{
		"id": "uuid-of-" + key, "identifier": key, "title": "Something is to be done", "url": "https://linear.app/acme/issue/" + key,
		"state":    object{"id": "s1", "name": i.State, "type": i.Type, "color": "#f2c94c"},
		"assignee": nil, "trashed": nil, "archivedAt": nil,
	}
	if i.Assignee != "" {
		whole["assignee"] = object{"id": i.Assignee, "name": "Somebody", "email": "somebody@acme.test", "active": true}
	}
	if i.Trashed {
		whole["trashed"] = true
	}
	if !i.Archived.IsZero() {
		whole["archivedAt"] = i.Archived.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return f.choose("Issue", whole)
}
