package tickets

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/andygrunwald/go-jira"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// jiraSite asks Jira's REST API v2, which Cloud and Data Center both have.
type jiraSite struct {
	at         *service
	email      string // empty: Data Center
	token      world.Secret
	start, end string // ids of custom fields; empty: there are none
}

var (
	jiraForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,49}-[1-9][0-9]{0,9}$`)
	fieldForm = regexp.MustCompile(`^customfield_[0-9]{1,10}$`)
	emailForm = regexp.MustCompile(`^[^\s:]+@[^\s:]+$`)
	// accountForm is the form of ids that can be in the People document.
	accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]{0,127}$`)
)

func newJira(cfg Config) (*jiraSite, error) {
	in, title := cfg.Jira, policies.Jira.Title()
	at, err := newService(title, in.URL, cfg.HTTP, cfg.Timeout)
	problems := []error{err, checkToken(policies.Jira, in.Token)}
	if in.Email != "" && !emailForm.MatchString(in.Email) {
		problems = append(problems, fmt.Errorf("%s: %.80q is not an e-mail address", title, in.Email))
	}
	if (in.ChangeStart == "") != (in.ChangeEnd == "") {
		problems = append(problems, fmt.Errorf("%s: a change window needs both of its fields, the start and the end", title))
	}
	for _, id := range []string{in.ChangeStart, in.ChangeEnd} {
		if id != "" && !fieldForm.MatchString(id) {
			problems = append(problems, fmt.Errorf("%s: %.80q is not the id of a custom field, as customfield_10042", title, id))
		}
	}
	return &jiraSite{at: at, email: in.Email, token: in.Token, start: in.ChangeStart, end: in.ChangeEnd}, errors.Join(problems...)
}

func (j *jiraSite) service() *service { return j.at }

func (j *jiraSite) key(text string) (key, words string) {
	if !jiraForm.MatchString(text) {
		return "", fmt.Sprintf("%.70q is no key of Jira, which look like INC-789", text)
	}
	return strings.ToUpper(text), ""
}

func (j *jiraSite) source(key string) string { return "Jira /rest/api/2/issue/" + key }

// library returns Jira's client for one question.
func (j *jiraSite) library(q *question) (*jira.Client, error) {
	client := &http.Client{Transport: &jira.PATAuthTransport{Token: j.token.Reveal(), Transport: q}}
	if j.email != "" {
		client.Transport = &jira.BasicAuthTransport{Username: j.email, Password: j.token.Reveal(), Transport: q}
	}
	return jira.NewClient(client, q.to.base.String())
}

func (j *jiraSite) ticket(q *question, key string) (policies.Ticket, error) {
	api, err := j.library(q)
	if err != nil {
		return policies.Ticket{}, err
	}
	wanted := []string{"status", "assignee"}
	if j.start != "" {
		wanted = append(wanted, j.start, j.end)
	}
	issue, _, err := api.Issue.GetWithContext(q.ctx, key, &jira.GetQueryOptions{Fields: strings.Join(wanted, ",")})
	switch {
	case err != nil && q.status == http.StatusNotFound && q.jiraSaysNo():
		return none("where Jira says that there is none, or none that tac's account may see"), nil
	case err != nil:
		return policies.Ticket{}, err
	case !jiraForm.MatchString(issue.Key):
		return policies.Ticket{}, nonsense("it names no ticket")
	case !strings.EqualFold(issue.Key, key):
		return policies.Ticket{}, moved(policies.Jira, key, issue.Key)
	case issue.Fields == nil || issue.Fields.Status == nil || !textForm.MatchString(issue.Fields.Status.Name):
		return policies.Ticket{}, nonsense("it names no state")
	}
	t := policies.Ticket{Exists: policies.Yes, State: issue.Fields.Status.Name, Open: openCategory(issue.Fields.Status.StatusCategory.Key)}
	if t.Assignees, err = j.assignees(issue.Fields.Assignee); err != nil {
		return policies.Ticket{}, err
	}
	if t.From, t.To, err = j.window(issue.Fields); err != nil {
		t.Source = "where the change window cannot be used: " + err.Error()
	}
	return t, nil
}

// jiraSaysNo reports whether a 404 is Jira's word that there is no such
// issue, and not that of a proxy, of another site, or of a Jira that takes a
// token that it does not know for nobody, who sees nothing.
func (q *question) jiraSaysNo() bool {
	var said struct{ ErrorMessages []string }
	if json.Unmarshal(q.body, &said) != nil || len(said.ErrorMessages) == 0 {
		return false
	}
	if reason := q.header.Get("X-Seraph-LoginReason"); strings.Contains(reason, "FAILED") || strings.Contains(reason, "DENIED") {
		q.status = http.StatusUnauthorized
		return false
	}
	return true
}

// openCategory reports whether work is still to be done in a category of
// states. Jira lets a state have none.
func openCategory(key string) policies.Truth {
	switch key {
	case jira.StatusCategoryToDo, jira.StatusCategoryInProgress:
		return policies.Yes
	case jira.StatusCategoryComplete:
		return policies.No
	}
	return policies.Unknown
}

func (j *jiraSite) assignees(u *jira.User) ([]string, error) {
	if u == nil {
		return nil, nil
	}
	id := u.AccountID
	if j.email == "" {
		id = u.Key
	}
	if !accountForm.MatchString(id) {
		return nil, nonsense("it does not say whose account is assigned")
	}
	return []string{id}, nil
}

// window reads the change window: none where neither field is filled in. The
// error says, in words for people, why it cannot be used.
func (j *jiraSite) window(f *jira.IssueFields) (from, to time.Time, err error) {
	if j.start == "" || f.Unknowns[j.start] == nil && f.Unknowns[j.end] == nil {
		return time.Time{}, time.Time{}, nil
	}
	if from, err = fieldInstant(f, j.start); err != nil {
		return time.Time{}, time.Time{}, err
	}
	if to, err = fieldInstant(f, j.end); err != nil {
		return time.Time{}, time.Time{}, err
	}
	if !to.After(from) {
		return time.Time{}, time.Time{}, errors.New("it ends before it begins")
	}
	return from, to, nil
}

// storable refuses what cannot be written in the facts of a merge: a time
// whose year in UTC has not four digits, and the very first second, which is
// written as none. A time zone can carry a date that looks well out of there.
func storable(t time.Time, id string) (time.Time, error) {
	if t.Year() < 1 || t.Year() > 9999 || t.Truncate(time.Second).IsZero() {
		return time.Time{}, errors.New(id + " lies outside of the years 1 to 9999")
	}
	return t, nil
}

// fieldInstant reads a field with a date, a time and a zone. A date alone is
// no instant: nobody says in which zone its day begins.
func fieldInstant(f *jira.IssueFields, id string) (time.Time, error) {
	text, ok := f.Unknowns[id].(string)
	if !ok {
		return time.Time{}, errors.New(id + " is empty")
	}
	for _, layout := range []string{"2006-01-02T15:04:05-0700", time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return storable(t.UTC(), id)
		}
	}
	return time.Time{}, errors.New(id + " is not a date with a time of day")
}
