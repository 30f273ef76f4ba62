package tickets

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/hasura/go-graphql-client"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// linear asks Linear's GraphQL API.
type linear struct {
	at    *service
	token world.Secret
}

var linearForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,31}-[1-9][0-9]{0,9}$`)

func newLinear(cfg Config) (*linear, error) {
	at, err := newService(policies.Linear.Title(), cmp.Or(cfg.Linear.URL, PublicLinear), cfg.HTTP, cfg.Timeout)
	return &linear{at: at, token: cfg.Linear.Token}, errors.Join(err, checkToken(policies.Linear, cfg.Linear.Token))
}

func (l *linear) service() *service { return l.at }

func (l *linear) key(text string) (key, words string) {
	if !linearForm.MatchString(text) {
		return "", fmt.Sprintf("%.70q is no key of Linear, which look like ENG-123", text)
	}
	return strings.ToUpper(text), ""
}

func (l *linear) source(key string) string { return "Linear /graphql issue " + key }

// library returns the GraphQL client for one question. Linear wants API keys
// bare, and other tokens as bearers.
func (l *linear) library(q *question) *graphql.Client {
	authorization := "Bearer " + l.token.Reveal()
	if strings.HasPrefix(l.token.Reveal(), "lin_api_") {
		authorization = l.token.Reveal()
	}
	return graphql.NewClient(q.to.base.String()+"/graphql", q.client()).
		WithRequestModifier(func(r *http.Request) { r.Header.Set("Authorization", authorization) })
}

// issueQuery is what is asked; the library makes the query of it.
type issueQuery struct {
	Issue struct {
		Identifier string
		Trashed    bool
		ArchivedAt string
		State      struct{ Name, Type string }
		Assignee   struct{ ID string }
	} `graphql:"issue(id: $id)"`
}

// issueAnswer is what is read of the answer. The library's own way to read one
// fills a null in with the zero value.
type issueAnswer struct {
	Issue *struct {
		Identifier string
		Trashed    *bool
		ArchivedAt *string
		State      *struct{ Name, Type string }
		Assignee   *struct{ ID string }
	}
}

func (l *linear) ticket(q *question, key string) (policies.Ticket, error) {
	raw, err := l.library(q).QueryRaw(q.ctx, &issueQuery{}, map[string]any{"id": key})
	if err != nil {
		if q.linearSaysNo() {
			return none("where Linear says that there is none, or none that tac's account may see"), nil
		}
		return policies.Ticket{}, err
	}
	var answer issueAnswer
	if json.Unmarshal(raw, &answer) != nil || answer.Issue == nil || !linearForm.MatchString(answer.Issue.Identifier) {
		return policies.Ticket{}, nonsense("it names no ticket")
	}
	issue := answer.Issue
	switch {
	case !strings.EqualFold(issue.Identifier, key):
		return policies.Ticket{}, moved(policies.Linear, key, issue.Identifier)
	case issue.Trashed != nil && *issue.Trashed:
		return none("which is in the trash"), nil
	case issue.State == nil || !textForm.MatchString(issue.State.Name):
		return policies.Ticket{}, nonsense("it names no state")
	}
	t := policies.Ticket{Exists: policies.Yes, State: issue.State.Name, Open: openType(issue.State.Type)}
	if issue.ArchivedAt != nil {
		t.Open = policies.No
	}
	if issue.Assignee != nil {
		if !accountForm.MatchString(issue.Assignee.ID) {
			return policies.Ticket{}, nonsense("it does not say whose account is assigned")
		}
		t.Assignees = []string{issue.Assignee.ID}
	}
	return t, nil
}

// openType reports whether work is still to be done in a type of states. The
// list is of those that are open, so that one which Linear adds is unknown.
func openType(kind string) policies.Truth {
	switch kind {
	case "triage", "backlog", "unstarted", "started":
		return policies.Yes
	case "completed", "canceled", "duplicate":
		return policies.No
	}
	return policies.Unknown
}

// linearSaysNo reports whether a refusal is Linear's word that there is no
// such issue. Linear says what is wrong in codes, under statuses of which 200
// is one, and 400 that for too many questions; linearSaysNo makes of the code
// the status that others would have answered.
func (q *question) linearSaysNo() bool {
	var said struct {
		Errors []struct {
			Message    string
			Extensions struct{ Code string }
		}
	}
	if json.Unmarshal(q.body, &said) != nil || len(said.Errors) != 1 || q.status == 0 || q.status >= http.StatusInternalServerError {
		return false
	}
	one := said.Errors[0]
	switch one.Extensions.Code {
	case "INPUT_ERROR":
		return strings.HasPrefix(one.Message, "Entity not found: Issue")
	case "AUTHENTICATION_ERROR":
		q.status = http.StatusUnauthorized
	case "FORBIDDEN":
		q.status = http.StatusForbidden
	case "RATELIMITED":
		q.status = http.StatusTooManyRequests
	case "INTERNAL_SERVER_ERROR":
		q.status = http.StatusInternalServerError
	default:
		if q.status == http.StatusOK {
			q.status = http.StatusBadRequest
		}
	}
	return false
}
