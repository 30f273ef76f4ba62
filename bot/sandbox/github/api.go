package github

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// object is a JSON object. The shapes of GitHub are wide and clients read few
// of their fields, so they are written down as they go over the wire instead
// of in types of their own.
type object = map[string]any

// apiError is an answer that is not a success, in GitHub's form.
type apiError struct {
	status  int
	message string
	errors  []any  // objects or strings, as the endpoint has them
	docs    string // documentation_url, where clients look at it
	header  http.Header
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.status, e.message) }

func failure(status int, message string, errors ...any) *apiError {
	return &apiError{status: status, message: message, errors: errors}
}

func notFound() *apiError { return failure(http.StatusNotFound, "Not Found") }

func forbidden(message string) *apiError { return failure(http.StatusForbidden, message) }

// invalid is the 422 of a field that fails validation.
func invalid(resource, field, code, message string) *apiError {
	detail := object{"resource": resource, "field": field, "code": code}
	if message != "" {
		detail["message"] = message
	}
	return failure(http.StatusUnprocessableEntity, "Validation Failed", detail)
}

func (e *apiError) body() object {
	docs := e.docs
	if docs == "" {
		docs = "https://docs.github.com/rest"
	}
	b := object{"message": e.message, "documentation_url": docs, "status": strconv.Itoa(e.status)}
	if len(e.errors) > 0 {
		b["errors"] = e.errors
	}
	return b
}

// answer is a success. A nil body stands for an empty one.
type answer struct {
	status int
	body   any
}

func ok(body any) (answer, error) { return answer{http.StatusOK, body}, nil }

func created(body any) (answer, error) { return answer{http.StatusCreated, body}, nil }

func empty() (answer, error) { return answer{status: http.StatusNoContent}, nil }

// call is one request to the API while it is being answered, under the
// server's mutex.
type call struct {
	s      *Server
	r      *http.Request
	body   []byte
	who    actor
	world  *world // the live one, or what a lagging replica still shows
	repo   *Repo  // set on routes below /repos/{owner}/{repo}
	org    *Org   // set on routes below /orgs/{org}, where it is one
	header http.Header
}

// route is one endpoint and who may use it.
type route struct {
	pattern string
	app     string // permission an App needs, as "contents:write"; "jwt" for App authentication, "client" where do judges a client secret, empty for none
	human   string // what a person needs on the repository: "read" or "write"
	content bool   // counts against the limit on content creation
	do      func(*call) (answer, error)
}

func (s *Server) handle(rt route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			return // the client is gone
		}
		c := &call{s: s, r: r, body: body, header: http.Header{}}
		status, out := s.answer(rt, c)
		for k, v := range c.header {
			w.Header()[k] = v
		}
		w.WriteHeader(status)
		_, _ = w.Write(out) // the client may already be gone
	}
}

// answer does the work of one call and renders it, all under the mutex, so
// that the answer is one consistent view.
func (s *Server) answer(rt route, c *call) (status int, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.admit(rt, c)
	if err == nil {
		a, err = rt.do(c)
	}
	if err != nil {
		e := asAPIError(err)
		for k, v := range e.header {
			c.header[k] = v
		}
		a = answer{e.status, e.body()}
	}
	s.limits.headers(c)
	if a.body == nil {
		return a.status, nil
	}
	out, err := json.Marshal(a.body)
	if err != nil {
		return http.StatusInternalServerError, []byte(`{"message":"Server Error"}`)
	}
	c.header.Set("Content-Type", "application/json; charset=utf-8")
	if c.r.Method == http.MethodGet && a.status == http.StatusOK {
		sum := sha256.Sum256(out)
		tag := `W/"` + hex.EncodeToString(sum[:]) + `"`
		c.header.Set("ETag", tag)
		if c.r.Header.Get("If-None-Match") == tag {
			s.limits.refund(c)
			return http.StatusNotModified, nil
		}
	}
	return a.status, out
}

func asAPIError(err error) *apiError {
	if e, is := err.(*apiError); is && e != nil {
		return e
	}
	return failure(http.StatusInternalServerError, err.Error())
}

// admit authenticates the call, finds what its path names, and judges whether
// the caller may use the endpoint.
func (s *Server) admit(rt route, c *call) (answer, error) {
	var who actor
	var fail *apiError
	if rt.app != "client" { // those authenticate an application by its secret
		who, fail = s.authenticate(c.r)
	}
	if fail != nil {
		return answer{}, fail
	}
	c.who = who
	s.limits.count(c)
	c.world = s.worldFor(c.r)
	if rt.app == "jwt" {
		if !who.jwt {
			return answer{}, failure(http.StatusUnauthorized, "A JSON web token could not be decoded")
		}
	} else if who.jwt {
		return answer{}, forbidden("Resource not accessible by integration")
	}
	if name := c.r.PathValue("org"); name != "" {
		c.org = c.world.orgs[strings.ToLower(name)]
		if fail := s.admitOrg(rt, c); fail != nil {
			return answer{}, fail
		}
	}
	if name := c.r.PathValue("repo"); name != "" {
		c.repo = c.world.repos[repoKey(c.r.PathValue("owner"), name)]
		if fail := s.admitRepo(rt, c); fail != nil {
			return answer{}, fail
		}
	}
	if rt.content {
		if fail := s.limits.content(s.clock.Now()); fail != nil {
			return answer{}, fail
		}
	}
	return answer{}, nil
}

func (s *Server) admitRepo(rt route, c *call) *apiError {
	if rt.app == "jwt" {
		return nil
	}
	switch {
	case c.repo == nil || !s.mayRepo(c.who, c.repo, "metadata", "read"):
		return notFound()
	case rt.app == "":
		return nil
	case c.who.user == nil:
		if strings.HasSuffix(rt.app, ":read") {
			return nil // a public repository
		}
		return failure(http.StatusUnauthorized, "Requires authentication")
	case c.who.app != nil && !s.appMay(c.who, c.repo, rt.app):
		return forbidden("Resource not accessible by integration")
	case c.who.install == nil && rank(s.level(c.who.user, c.repo)) < rank(rt.human):
		if strings.HasSuffix(rt.app, ":read") {
			return notFound()
		}
		return forbidden("Must have write access to the repository.")
	}
	return nil
}

func (s *Server) admitOrg(rt route, c *call) *apiError {
	switch {
	case rt.app == "jwt":
		return nil
	case c.org == nil || c.who.user == nil:
		return notFound()
	case c.who.install != nil:
		if c.who.install.account != c.org.account || !grants(c.who.token.permissions, rt.app) {
			return forbidden("Resource not accessible by integration")
		}
	case c.org.members[c.who.user.ID] == nil:
		return notFound()
	case c.who.app != nil && !s.installedWith(c.who.app, c.org.account, rt.app):
		return forbidden("Resource not accessible by integration")
	}
	return nil
}

// credential returns the secret of a request: the token of Bearer and token
// authorisation, the password of Basic.
func credential(r *http.Request) (string, bool) {
	h := r.Header.Get("Authorization")
	scheme, rest, _ := strings.Cut(h, " ")
	switch strings.ToLower(scheme) {
	case "bearer", "token":
		return strings.TrimSpace(rest), true
	case "basic":
		_, password, ok := r.BasicAuth()
		return password, ok
	}
	return "", h != ""
}

func (s *Server) authenticate(r *http.Request) (actor, *apiError) {
	secret, given := credential(r)
	if !given {
		return actor{}, nil
	}
	who, err := s.actorOf(secret)
	if err != nil {
		return actor{}, failure(http.StatusUnauthorized, err.Error())
	}
	return who, nil
}

// decode reads the JSON body into v; an empty body leaves v as it is.
func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return failure(http.StatusBadRequest, "Problems parsing JSON")
	}
	return nil
}

func (c *call) number(name string) (int64, error) {
	n, err := strconv.ParseInt(c.r.PathValue(name), 10, 64)
	if err != nil {
		return 0, notFound()
	}
	return n, nil
}

// paginate cuts the wanted page out of list and says in the Link header where
// the others are.
func paginate[T any](c *call, list []T) []T {
	q := c.r.URL.Query()
	size, page := 30, 1
	if n, err := strconv.Atoi(q.Get("per_page")); err == nil && n > 0 {
		size = min(n, 100)
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 0 {
		page = n
	}
	last := max(1, (len(list)+size-1)/size)
	var links []string
	link := func(n int, rel string) {
		q := c.r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		u := url.URL{Path: c.r.URL.Path, RawPath: c.r.URL.RawPath, RawQuery: q.Encode()}
		links = append(links, fmt.Sprintf(`<%s%s>; rel=%q`, c.s.url, u.String(), rel))
	}
	if page > 1 {
		link(page-1, "prev")
		link(1, "first")
	}
	if page < last {
		link(page+1, "next")
		link(last, "last")
	}
	if len(links) > 0 {
		c.header.Set("Link", strings.Join(links, ", "))
	}
	from := min((page-1)*size, len(list))
	return list[from:min(from+size, len(list))]
}

func each[T any](list []T, render func(T) object) []any {
	out := make([]any, 0, len(list))
	for _, v := range list {
		out = append(out, render(v))
	}
	return out
}

func encode64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
