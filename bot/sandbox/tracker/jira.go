package tracker

import (
	"crypto/subtle"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// Edition is how a Jira is run: by Atlassian or by its owner. They differ in
// how one signs in and in how people are named.
type Edition int

// The editions.
const (
	Cloud      Edition = iota // Basic authentication by e-mail and API token; people have account ids
	DataCenter                // a personal access token; people have keys and user names
)

// JiraUser is the account that Jira's token belongs to.
const JiraUser = "tac@acme.test"

// Person is an account of Jira. Cloud shows AccountID, Data Center the others.
type Person struct{ AccountID, Key, Name string }

// Issue is an issue of Jira.
type Issue struct {
	Key      string
	Status   string
	Category string         // of the status: new, indeterminate, done or undefined
	Assignee *Person        // nil: nobody
	Fields   map[string]any // further ones by id: "customfield_10042"
}

// Jira is one Jira site. It is safe for concurrent use.
type Jira struct {
	server
	edition Edition

	issues map[string]Issue  // by key
	moved  map[string]string // keys that issues had before
	hidden map[string]bool
	fields []object
}

// NewJira starts a site on a free port of 127.0.0.1. Close ends it.
func NewJira(clock *sandbox.Clock, edition Edition) (*Jira, error) {
	j := &Jira{edition: edition, issues: map[string]Issue{}, moved: map[string]string{}, hidden: map[string]bool{}}
	mux := http.NewServeMux()
	for _, version := range []string{"2", "3"} {
		mux.HandleFunc("GET /rest/api/"+version+"/issue/{key}", j.signedIn(j.issue))
		mux.HandleFunc("GET /rest/api/"+version+"/myself", j.signedIn(j.myself))
		mux.HandleFunc("GET /rest/api/"+version+"/field", j.signedIn(j.listFields))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { jiraError(w, http.StatusNotFound, "null for uri") })
	if err := j.start(clock, "", mux); err != nil {
		return nil, err
	}
	return j, nil
}

// PutIssue adds an issue, or replaces the one of that key.
func (j *Jira) PutIssue(i Issue) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.issues[i.Key] = i
}

// Move gives an issue another key, as moving it to another project does: under
// its old key it is still found, and answers with the new one.
func (j *Jira) Move(from, to string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i, ok := j.issues[from]
	if !ok {
		return
	}
	delete(j.issues, from)
	i.Key = to
	j.issues[to], j.moved[from] = i, to
}

// Hide makes an issue one that the token's account may not see.
func (j *Jira) Hide(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.hidden[key] = true
}

// AddField adds a custom field to the site; kind is datetime, date or string.
func (j *Jira) AddField(id, name, kind string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fields = append(j.fields, object{
		"id": id, "key": id, "name": name, "custom": true, "orderable": true, "navigable": true, "searchable": true,
		"clauseNames": []string{"cf[" + strings.TrimPrefix(id, "customfield_") + "]", name},
		"schema":      object{"type": kind, "custom": "com.atlassian.jira.plugin.system.customfieldtypes:" + kind, "customId": len(j.fields) + 10000},
	})
}

// Limit has the next times calls answered 429; negative times never end.
func (j *Jira) Limit(times int) {
	j.Order(sandbox.Fault{
		Times: times, When: sandbox.Answer, Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {"30"}, "X-Ratelimit-Remaining": {"0"}, "Content-Type": {"application/json"}},
		Body:   `{"errorMessages":["Rate limit exceeded."],"errors":{}}`,
	})
}

func jiraError(w http.ResponseWriter, status int, message string) {
	reply(w, status, object{"errorMessages": []string{message}, "errors": object{}})
}

// signedIn runs a handler with mu held for a caller who has the token.
func (j *Jira) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		j.mu.Lock()
		defer j.mu.Unlock()
		w.Header().Set("X-Arequestid", random(8))
		if !j.proves(r) {
			w.Header().Set("X-Seraph-LoginReason", "AUTHENTICATED_FAILED")
			w.Header().Set("WWW-Authenticate", `OAuth realm="`+r.Host+`"`)
			jiraError(w, http.StatusUnauthorized, "You are not authenticated. Authentication required to perform this operation.")
			return
		}
		next(w, r)
	}
}

func (j *Jira) proves(r *http.Request) bool {
	given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if j.edition == Cloud {
		user, password, ok := r.BasicAuth()
		if !ok || user != JiraUser {
			return false
		}
		given = password
	}
	return subtle.ConstantTimeCompare([]byte(given), []byte(j.token)) == 1
}

func (j *Jira) myself(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, j.person(&Person{AccountID: "5b10ac8d82e05b22cc7d4ef5", Key: "JIRAUSER10000", Name: "tac"}))
}

func (j *Jira) listFields(w http.ResponseWriter, _ *http.Request) {
	all := []object{
		{"id": "status", "key": "status", "name": "Status", "custom": false, "schema": object{"type": "status", "system": "status"}},
		{"id": "assignee", "key": "assignee", "name": "Assignee", "custom": false, "schema": object{"type": "user", "system": "assignee"}},
	}
	reply(w, http.StatusOK, append(all, j.fields...))
}

func (j *Jira) issue(w http.ResponseWriter, r *http.Request) {
	key := strings.ToUpper(r.PathValue("key")) // Jira does not care
	for j.moved[key] != "" {
		key = j.moved[key]
	}
	i, ok := j.issues[key]
	if !ok || j.hidden[key] {
		jiraError(w, http.StatusNotFound, "Issue does not exist or you do not have permission to see it.")
		return
	}
	id := strconv.Itoa(10000 + slices.Index(slices.Sorted(maps.Keys(j.issues)), key))
	reply(w, http.StatusOK, object{
		"expand": "renderedFields,names,schema,operations,editmeta,changelog,versionedRepresentations",
		"id":     id, "key": key, "self": j.URL() + "/rest/api/2/issue/" + id, "fields": j.render(i, r.URL.Query().Get("fields")),
	})
}

// render returns the fields that were asked for; all of them for none.
func (j *Jira) render(i Issue, wanted string) object {
	all := object{"summary": "Something is to be done", "status": j.status(i), "assignee": nil}
	if i.Assignee != nil {
		all["assignee"] = j.person(i.Assignee)
	}
	for id, value := range i.Fields {
		all[id] = value
	}
	if wanted == "" || wanted == "*all" {
		return all
	}
	some := object{}
	for _, name := range strings.Split(wanted, ",") {
		if value, ok := all[name]; ok {
			some[name] = value
		}
	}
	return some
}

func (j *Jira) status(i Issue) object {
	categories := []string{"undefined", "new", "done", "indeterminate"} // by number, from 1
	number := slices.Index(categories, i.Category) + 1
	self := j.URL() + "/rest/api/2/"
	return object{
		"self": self + "status/3", "description": "", "iconUrl": j.URL() + "/images/icons/status.png", "name": i.Status, "id": "3",
		"statusCategory": object{
			"self": self + "statuscategory/" + strconv.Itoa(number), "id": number, "key": i.Category, "colorName": "yellow",
			"name": map[string]string{"undefined": "No Category", "new": "To Do", "done": "Done", "indeterminate": "In Progress"}[i.Category],
		},
	}
}

func (j *Jira) person(p *Person) object {
	shown := object{
		"displayName": "Somebody", "active": true, "timeZone": "Etc/UTC",
		"avatarUrls": object{"48x48": j.URL() + "/avatar.png", "24x24": j.URL() + "/avatar.png", "16x16": j.URL() + "/avatar.png", "32x32": j.URL() + "/avatar.png"},
	}
	if j.edition == Cloud {
		shown["accountId"], shown["accountType"], shown["self"] = p.AccountID, "atlassian", j.URL()+"/rest/api/2/user?accountId="+p.AccountID
		return shown
	}
	shown["key"], shown["name"], shown["emailAddress"], shown["self"] = p.Key, p.Name, p.Name+"@acme.test", j.URL()+"/rest/api/2/user?username="+p.Name
	return shown
}
