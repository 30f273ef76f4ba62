package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

const maxBody = 32 << 20 // Vault's own limit, in bytes

// operation is what a request wants, named as Vault's capabilities are. A
// POST or PUT is opUpdate; whether the capability create is the one needed is
// decided where the path is known.
type operation string

const (
	opRead   operation = "read"
	opList   operation = "list"
	opUpdate operation = "update"
	opDelete operation = "delete"
)

type request struct {
	http    *http.Request
	op      operation
	path    string            // without /v1/ and without slashes around it
	vars    map[string]string // from the route's pattern
	mount   *mount            // nil for sys and auth/token
	rawTok  string
	token   *token // nil on open routes
	wrapTTL time.Duration
	in      *fields
}

// response is a handler's answer. nil means 204.
type response struct {
	status   int // 0 means 200
	data     map[string]any
	auth     map[string]any
	leaseID  string
	leaseTTL time.Duration
	renew    bool
	wrapInfo map[string]any
	accessor string // of auth, for wrap_info.wrapped_accessor
	warnings []string

	raw  any    // replaces the envelope
	text string // replaces the envelope by plain text
}

// apiError is an error that has a place in the HTTP API. No texts means 404's
// empty list.
type apiError struct {
	status int
	texts  []string
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%d: %s", e.status, strings.Join(e.texts, "; "))
}

func badRequest(format string, args ...any) error {
	return &apiError{http.StatusBadRequest, []string{fmt.Sprintf(format, args...)}}
}

func notFound() error { return &apiError{http.StatusNotFound, []string{}} }

// coreError is an error that Vault's core wraps on its way out.
func coreError(status int, text string) error {
	return &apiError{status, []string{"1 error occurred:\n\t* " + text + "\n\n"}}
}

func errDenied() error { return coreError(http.StatusForbidden, "permission denied") }

func errInvalidToken() error {
	return &apiError{http.StatusForbidden, []string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}}
}

func (s *Server) serve(w http.ResponseWriter, hr *http.Request) {
	if path := strings.Trim(strings.TrimPrefix(hr.URL.Path, "/v1/"), "/"); path == "sys/seal" {
		s.serveSeal(w, hr)
		return
	} else if path == "sys/health" || path == "sys/seal-status" {
		// Answered even while Seal waits for the requests in flight.
		s.answer(w, hr)
		return
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.answer(w, hr)
}

func (s *Server) answer(w http.ResponseWriter, hr *http.Request) {
	resp, err := s.process(hr)
	if errors.Is(err, errKilled) {
		panic(http.ErrAbortHandler) // net/http's own way to cut a connection without an answer
	}
	var location *redirect
	if errors.As(err, &location) {
		w.Header().Set("Location", location.to)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		writeError(w, err)
		return
	}
	writeResponse(w, hr, resp)
}

// redirect is what a standby that knows its leader answers.
type redirect struct{ to string }

func (r *redirect) Error() string { return "redirect to " + r.to }

// process is one request from its first byte to its answer, under the mutex
// but for database calls.
func (s *Server) process(hr *http.Request) (*response, error) {
	r, err := readRequest(hr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.path == "sys/health" || r.path == "sys/seal-status" {
		if r.op != opRead {
			return nil, errUnsupportedOperation()
		}
		return s.status(r)
	}
	if err := s.available(hr); err != nil {
		return nil, err
	}
	s.settle()
	rt := s.findRoute(r)
	if rt != nil && rt.open {
		return s.run(rt, r)
	}
	return s.runAuthenticated(rt, r)
}

func (s *Server) available(hr *http.Request) error {
	switch {
	case s.sealed:
		return &apiError{http.StatusServiceUnavailable, []string{"Vault is sealed"}}
	case s.standby && s.leader != "":
		return &redirect{strings.TrimSuffix(s.leader, "/") + hr.URL.RequestURI()}
	case s.standby:
		return &apiError{http.StatusInternalServerError, []string{"local node not active but active cluster node not found"}}
	}
	return nil
}

// runAuthenticated checks the token, then the policy, and only then whether
// the path exists: who may not see a path does not learn whether it is there.
func (s *Server) runAuthenticated(rt *route, r *request) (*response, error) {
	t, err := s.authenticate(r)
	if err != nil {
		return nil, err
	}
	r.token = t
	allowed := s.allowed(t, rt, r)
	lastUse := t.numUses == 1
	if t.numUses > 1 {
		t.numUses--
	} else if lastUse {
		t.numUses = -1 // no further request may use it
	}
	var resp *response
	if allowed {
		resp, err = s.run(rt, r)
	} else {
		err = errDenied()
	}
	if lastUse && !errors.Is(err, errKilled) {
		s.endToken(t, "used up")
		s.drainDue(s.clock.Now())
		if err == nil && resp != nil && resp.leaseID != "" {
			return nil, badRequest("Secret cannot be returned; token had one use left, so leased credentials were immediately revoked.")
		}
	}
	return resp, err
}

func (s *Server) run(rt *route, r *request) (*response, error) {
	if rt == nil {
		if r.mount == nil && !strings.HasPrefix(r.path, "sys/") && !strings.HasPrefix(r.path, "auth/token/") {
			return nil, &apiError{http.StatusNotFound, []string{fmt.Sprintf("no handler for route %q. route entry not found.", r.path)}}
		}
		return nil, coreError(http.StatusNotFound, "unsupported path")
	}
	h := rt.ops[r.op]
	if h == nil {
		return nil, errUnsupportedOperation()
	}
	resp, err := h(s, r)
	if err != nil {
		return nil, err
	}
	if r.in.err != nil {
		return nil, r.in.err
	}
	if r.wrapTTL > 0 && resp != nil && !rt.neverWrap && (resp.data != nil || resp.auth != nil) {
		return s.wrap(r, resp)
	}
	return resp, nil
}

func errUnsupportedOperation() error {
	return coreError(http.StatusMethodNotAllowed, "unsupported operation")
}

func readRequest(hr *http.Request) (*request, error) {
	if !strings.HasPrefix(hr.URL.Path, "/v1/") {
		return nil, notFound()
	}
	r := &request{http: hr, path: strings.Trim(strings.TrimPrefix(hr.URL.Path, "/v1/"), "/")}
	switch hr.Method {
	case http.MethodGet, http.MethodHead:
		r.op = opRead
		if hr.URL.Query().Get("list") == "true" {
			r.op = opList
		}
	case "LIST":
		r.op = opList
	case http.MethodPost, http.MethodPut:
		r.op = opUpdate
	case http.MethodDelete:
		r.op = opDelete
	default:
		return nil, errUnsupportedOperation()
	}
	r.rawTok = hr.Header.Get("X-Vault-Token")
	if bearer, ok := strings.CutPrefix(hr.Header.Get("Authorization"), "Bearer "); ok && r.rawTok == "" {
		r.rawTok = bearer
	}
	if ttl := hr.Header.Get("X-Vault-Wrap-TTL"); ttl != "" {
		d, err := parseDuration(ttl)
		if err != nil || d < 0 {
			return nil, badRequest("error parsing X-Vault-Wrap-TTL header")
		}
		r.wrapTTL = d
	}
	return r, r.readInput()
}

func (r *request) readInput() error {
	r.in = &fields{m: map[string]any{}}
	if r.op != opUpdate {
		for k, v := range r.http.URL.Query() {
			r.in.m[k] = v[0]
		}
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(r.http.Body, maxBody+1))
	if err != nil {
		return badRequest("error reading request body")
	}
	if len(body) > maxBody {
		return &apiError{http.StatusRequestEntityTooLarge, []string{"http: request body too large"}}
	}
	if len(body) == 0 {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return badRequest("error parsing JSON")
	}
	if m != nil {
		r.in.m = m
	}
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	var ae *apiError
	if !errors.As(err, &ae) {
		ae = &apiError{http.StatusInternalServerError, []string{"1 error occurred:\n\t* " + err.Error() + "\n\n"}}
	}
	writeJSON(w, ae.status, map[string]any{"errors": ae.texts})
}

func writeResponse(w http.ResponseWriter, hr *http.Request, resp *response) {
	switch {
	case resp == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case resp.text != "":
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, resp.text) // the client may already be gone
		return
	}
	status := resp.status
	if status == 0 {
		status = http.StatusOK
	}
	if resp.raw != nil {
		writeJSON(w, status, resp.raw)
		return
	}
	body := resp.envelope()
	if strings.HasPrefix(hr.URL.Path, "/v1/sys/") {
		// System answers repeat their data at the top level.
		for k, v := range resp.data {
			if _, taken := body[k]; !taken {
				body[k] = v
			}
		}
	}
	writeJSON(w, status, body)
}

func (resp *response) envelope() map[string]any {
	e := map[string]any{
		"request_id": newUUID(), "lease_id": resp.leaseID, "renewable": resp.renew,
		"lease_duration": int64(resp.leaseTTL / time.Second),
		"data":           nil, "wrap_info": nil, "warnings": nil, "auth": nil,
	}
	if resp.data != nil {
		e["data"] = resp.data
	}
	if resp.auth != nil {
		e["auth"] = resp.auth
	}
	if resp.wrapInfo != nil {
		e["wrap_info"] = resp.wrapInfo
	}
	if len(resp.warnings) > 0 {
		e["warnings"] = resp.warnings
	}
	return e
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may already be gone
}
