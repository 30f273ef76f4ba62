package contract

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// REST is GitHub's description of its REST API, ready to judge by.
type REST struct {
	doc   *openapi3.T
	paths []pathTemplate
	plain *openapi3.Schema // the body of a plain error
}

// pathTemplate is a path of the description, as in /repos/{owner}/{repo}.
type pathTemplate struct {
	name    string
	pattern *regexp.Regexp
	params  []string
	literal int // bytes that are not parameters
	item    *openapi3.PathItem
}

// LoadREST reads the description out of the npm package @octokit/openapi
// below packages, a folder with node_modules. It takes some seconds.
func LoadREST(packages string) (*REST, error) {
	file := filepath.Join(packages, "node_modules", "@octokit", "openapi", "generated", "api.github.com.json")
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("load GitHub's description: %w", err)
	}
	plain := doc.Components.Schemas["basic-error"]
	if plain == nil || plain.Value == nil {
		return nil, fmt.Errorf("load GitHub's description: %s has no schema basic-error", file)
	}
	r := &REST{doc: doc, plain: plain.Value}
	for name, item := range doc.Paths.Map() {
		t, err := compile(name, item)
		if err != nil {
			return nil, fmt.Errorf("load GitHub's description: %w", err)
		}
		r.paths = append(r.paths, t)
	}
	// What is more literal fits better: /user/repos is not /user/{account_id}.
	slices.SortFunc(r.paths, func(a, b pathTemplate) int {
		if a.literal != b.literal {
			return b.literal - a.literal
		}
		return strings.Compare(a.name, b.name)
	})
	return r, nil
}

var parameter = regexp.MustCompile(`\{([^}]+)\}`)

func compile(name string, item *openapi3.PathItem) (pathTemplate, error) {
	t := pathTemplate{name: name, item: item}
	pattern, at := "^", 0
	for _, m := range parameter.FindAllStringSubmatchIndex(name, -1) {
		pattern += regexp.QuoteMeta(name[at:m[0]])
		t.literal += m[0] - at
		if at = m[1]; slashed(item, name[m[2]:m[3]]) {
			pattern += "(.+)"
		} else {
			pattern += "([^/]+)"
		}
		t.params = append(t.params, name[m[2]:m[3]])
	}
	t.literal += len(name) - at
	var err error
	t.pattern, err = regexp.Compile(pattern + regexp.QuoteMeta(name[at:]) + "$")
	return t, err
}

// slashed reports whether a path parameter may contain slashes: a ref, or the
// path of a file.
func slashed(item *openapi3.PathItem, name string) bool {
	for _, op := range item.Operations() {
		if p := op.Parameters.GetByInAndName(openapi3.ParameterInPath, name); p != nil && p.Extensions["x-multi-segment"] == true {
			return true
		}
	}
	return false
}

// operation is what a request asks for, as the description sees it.
type operation struct {
	*openapi3.Operation
	method, template string
	params           map[string]string
	item             *openapi3.PathItem
}

func (o operation) String() string { return o.method + " " + o.template }

var errUndescribed = errors.New("GitHub describes no such address")

func (r *REST) find(method, path string) (operation, error) {
	for _, t := range r.paths {
		values := t.pattern.FindStringSubmatch(path)
		if values == nil {
			continue
		}
		o := operation{method: method, template: t.name, params: map[string]string{}, item: t.item}
		if o.Operation = t.item.GetOperation(method); o.Operation == nil {
			continue
		}
		for i, name := range t.params {
			value, err := url.PathUnescape(values[i+1])
			if err != nil {
				return operation{}, fmt.Errorf("the address is malformed: %w", err)
			}
			o.params[name] = value
		}
		return o, nil
	}
	return operation{}, errUndescribed
}

// Verdict is what was found out about an exchange.
type Verdict struct {
	Operation string   // as in "GET /repos/{owner}/{repo}"; empty where GitHub describes none
	Outside   string   // names a part of GitHub that has no description; nothing was checked then
	Request   []string // what is wrong with the request
	Answer    []string // what is wrong with the answer
	Answered  bool     // there was one; a fault may have struck first
}

// Judge holds one recorded exchange against the description.
func (r *REST) Judge(c github.Record) Verdict {
	if part := outside(c); part != "" {
		return Verdict{Outside: part}
	}
	op, err := r.find(c.Method, c.Path)
	if err != nil {
		return Verdict{Request: []string{err.Error()}}
	}
	v := Verdict{Operation: op.String(), Answered: c.Status != 0}
	input, err := requestOf(c, op, r.doc)
	if err != nil {
		v.Request = []string{err.Error()}
		return v
	}
	v.Request = r.request(op, c, input)
	if v.Answered {
		v.Answer = r.answer(op, c, input)
	}
	return v
}

// strict holds for whatever is validated: what GitHub calls an address or a
// mail address has to be one.
var strict = []openapi3.SchemaValidationOption{
	openapi3.MultiErrors(),
	openapi3.WithStringFormatValidator("uri", openapi3.NewCallbackValidator(func(s string) error {
		if u, err := url.Parse(s); err != nil || !u.IsAbs() {
			return errors.New("is not an absolute address")
		}
		return nil
	})),
	openapi3.WithStringFormatValidator("email", openapi3.NewCallbackValidator(func(s string) error { return email(s) })),
}

func requestOf(c github.Record, op operation, doc *openapi3.T) (*openapi3filter.RequestValidationInput, error) {
	req, err := http.NewRequest(c.Method, github.RecordedURL+c.Path, strings.NewReader(c.Request))
	if err != nil {
		return nil, fmt.Errorf("the request is malformed: %w", err)
	}
	req.URL.RawQuery = c.Query
	req.Header.Set("Accept", c.Accept)
	req.Header.Set("Content-Type", c.ContentType)
	return &openapi3filter.RequestValidationInput{
		Request: req, PathParams: op.params,
		Route: &routers.Route{Spec: doc, Path: op.template, PathItem: op.item, Method: op.method, Operation: op.Operation},
		Options: &openapi3filter.Options{
			MultiError: true, IncludeResponseStatus: true, SkipSettingDefaults: true, RejectWhenRequestBodyNotSpecified: true,
			AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SchemaValidationOptions: strict,
		},
	}, nil
}

func (r *REST) request(op operation, c github.Record, input *openapi3filter.RequestValidationInput) []string {
	wrong := flatten(openapi3filter.ValidateRequest(context.Background(), input))
	// GitHub overlooks what it does not know, so a misspelt parameter would do
	// nothing and nobody would be told.
	query, err := url.ParseQuery(c.Query)
	if err != nil {
		wrong = append(wrong, "the query is malformed: "+err.Error())
	}
	for name := range query {
		if op.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) == nil &&
			op.item.Parameters.GetByInAndName(openapi3.ParameterInQuery, name) == nil {
			wrong = append(wrong, fmt.Sprintf("the query has %q, which GitHub does not know here", name))
		}
	}
	if op.RequestBody != nil {
		wrong = append(wrong, undescribedIn(op.RequestBody.Value.Content, c.Request)...)
	}
	slices.Sort(wrong)
	return wrong
}

func (r *REST) answer(op operation, c github.Record, input *openapi3filter.RequestValidationInput) []string {
	if c.Status == http.StatusNotModified {
		if c.Response != "" {
			return []string{"a 304 has a body"}
		}
		return nil
	}
	described := op.Responses.Status(c.Status)
	if described == nil {
		if why := gapOf(op, c.Status); why != "" {
			return r.plainError(c)
		}
		return []string{fmt.Sprintf("GitHub does not describe status %d here", c.Status)}
	}
	switch {
	case len(described.Value.Content) > 0:
	case c.Status >= 400: // whose body is an error like any other, and goes without saying
		return r.plainError(c)
	case c.Response != "":
		return []string{fmt.Sprintf("GitHub's %d has no body here", c.Status)}
	default:
		return nil
	}
	wrong := flatten(openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: c.Status, Header: c.Header,
		Body: io.NopCloser(strings.NewReader(c.Response)), Options: input.Options,
	}))
	more := undescribedIn(described.Value.Content, c.Response)
	if c.Status >= 400 {
		more = slices.DeleteFunc(more, func(what string) bool { return strings.HasPrefix(what, errorStatus) })
	}
	return append(wrong, more...)
}

// errorStatus is a field of all of GitHub's errors. Its schema basic-error has
// it, and the other schemas of errors have been forgotten.
const errorStatus = "/status "

func undescribedIn(content openapi3.Content, body string) []string {
	media := content.Get("application/json")
	if media == nil || media.Schema == nil || media.Schema.Value == nil {
		return nil
	}
	return undescribed(restShape{media.Schema.Value}, body)
}

// plainError judges an answer whose status the description leaves out: it
// must at least be an error in GitHub's form.
func (r *REST) plainError(c github.Record) []string {
	var body any
	if err := json.Unmarshal([]byte(c.Response), &body); err != nil {
		return []string{fmt.Sprintf("the body of a %d is not JSON: %v", c.Status, err)}
	}
	return flatten(r.plain.VisitJSON(body, strict...))
}

// flatten lists what an error of the validator is about, a short line each:
// where in the body, and why.
func flatten(err error) []string {
	if err == nil {
		return nil
	}
	if many, is := err.(openapi3.MultiError); is {
		var all []string
		for _, e := range many {
			all = append(all, flatten(e)...)
		}
		return all
	}
	var request *openapi3filter.RequestError
	if errors.As(err, &request) {
		what := request.Reason
		if p := request.Parameter; p != nil {
			what = strings.TrimSpace("parameter " + p.Name + " in " + p.In + ": " + what)
		}
		return within("request: "+what, request.Err)
	}
	var response *openapi3filter.ResponseError
	if errors.As(err, &response) {
		return within("answer: "+response.Reason, response.Err)
	}
	var schema *openapi3.SchemaError
	if !errors.As(err, &schema) {
		return []string{err.Error()}
	}
	at := "/" + strings.Join(schema.JSONPointer(), "/")
	return within(at+": "+schema.Reason, schema.Origin)
}

func within(what string, cause error) []string {
	inner := flatten(cause)
	if len(inner) == 0 {
		return []string{what}
	}
	for i, line := range inner {
		inner[i] = what + ": " + line
	}
	return inner
}
