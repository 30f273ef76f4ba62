package vault

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
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
	path    string            // without /v1/ and the slash before it
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
	mount    string // mount_type of the envelope; run fills it in
	atTop    bool   // data is repeated at the top level, as some answers of sys do

	raw  any    // replaces the envelope
	text string // replaces the envelope by plain text, of type media
	// media is the Content-Type of text; empty: text/plain.
	media string
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

// errNoToken is the same for a caller without any token.
func errNoToken() error { return &apiError{http.StatusForbidden, []string{"permission denied"}} }

func errUnsupportedPath() error { return coreError(http.StatusNotFound, "unsupported path") }

func errInvalidToken() error {
	return &apiError{http.StatusForbidden, []string{"2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"}}
}

func (s *Server) serve(w http.ResponseWriter, hr *http.Request) {
	if clean := cleanPath(hr.URL.Path); clean != hr.URL.Path {
		to := url.URL{Path: clean, RawQuery: hr.URL.RawQuery}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	switch asked := strings.TrimPrefix(hr.URL.Path, "/v1/"); {
	case asked == "sys/seal":
		s.serveSeal(w, hr)
		return
	case statusPaths[asked]:
		// Answered even while Seal waits for the requests in flight.
		s.answer(w, hr)
		return
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	s.answer(w, hr)
}

// cleanPath does what Go's ServeMux does, behind which the real one sits.
func cleanPath(p string) string {
	if p == "/v1/sys" {
		return "/v1/sys/"
	}
	clean := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

func (s *Server) answer(w http.ResponseWriter, hr *http.Request) {
	resp, err := s.process(hr)
	if errors.Is(err, errKilled) {
		panic(http.ErrAbortHandler) // net/http's own way to cut a connection without an answer
	}
	var leader *elsewhere
	if errors.As(err, &leader) {
		leader.serve(w, hr)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if err != nil {
		writeError(w, err)
		return
	}
	writeResponse(w, resp)
}

// elsewhere says that the node at this address is the active one.
type elsewhere struct{ address *url.URL }

func (e *elsewhere) Error() string { return "the active node is at " + e.address.String() }

// serve hands the request to the active node, as standbys do unasked; a caller
// who forbids that is told its address.
func (e *elsewhere) serve(w http.ResponseWriter, hr *http.Request) {
	if hr.Header.Get("X-Vault-No-Request-Forwarding") != "" {
		to := e.address.JoinPath(hr.URL.Path)
		to.RawQuery = hr.URL.RawQuery
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusTemporaryRedirect)
		return
	}
	proxy := httputil.NewSingleHostReverseProxy(e.address)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) { writeError(w, err) }
	proxy.ServeHTTP(w, hr)
}

// process is one request from its first byte to its answer, under the mutex
// but for database calls.
func (s *Server) process(hr *http.Request) (*response, error) {
	r, err := readRequest(hr)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if statusPaths[r.path] {
		if r.op != opRead {
			return nil, &apiError{http.StatusMethodNotAllowed, []string{}}
		}
		return s.status(r)
	}
	if err := refuseForwarding(hr.Header); err != nil && !s.forwards {
		return nil, err
	}
	if err := s.available(); err != nil {
		return nil, err
	}
	s.settle()
	rt := s.findRoute(r)
	if rt != nil && rt.open {
		return s.run(rt, r)
	}
	return s.runAuthenticated(rt, r)
}

// refuseForwarding is what a server without allow_forwarding_via_header does
// with the headers that ask for it.
func refuseForwarding(h http.Header) error {
	const inconsistent = "X-Vault-Inconsistent"
	switch {
	case h.Get("X-Vault-Forward") != "":
		return badRequest("forwarding via header X-Vault-Forward disabled in configuration")
	case h.Get(inconsistent) == "forward-active-node":
		return badRequest("forwarding via header %s=%s disabled in configuration", inconsistent, h.Get(inconsistent))
	}
	return nil
}

func (s *Server) available() error {
	switch {
	case s.sealed || s.uninitialised:
		return &apiError{http.StatusServiceUnavailable, []string{"Vault is sealed"}}
	case s.standby && s.leader != nil:
		return &elsewhere{s.leader}
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
	if r.mount != nil && r.mount.kind == "kv" {
		if r.mount.kv.upgrading > 0 {
			r.mount.kv.upgrading--
			return nil, errUpgrading
		}
		if resp := kvRefusal(rt, r); resp != nil {
			return resp, nil
		}
	}
	if rt == nil {
		return nil, s.errNoRoute(r)
	}
	h := rt.ops[r.op]
	if h == nil && r.op == opList {
		return nil, errUnsupportedPath() // a LIST asks for another path, with a slash at its end
	}
	if h == nil {
		return nil, errUnsupportedOperation()
	}
	r.in.bare = rt.exists != nil
	resp, err := h(s, r)
	if err != nil {
		return nil, err
	}
	if r.in.err != nil {
		return nil, r.in.err
	}
	if resp != nil && !rt.open && resp.status != http.StatusNotFound {
		resp.mount = r.mountType()
	}
	if resp != nil {
		resp.atTop = rt.atTop
	}
	if r.wrapTTL > 0 && resp != nil && !rt.neverWrap {
		return s.wrap(r, resp)
	}
	return resp, nil
}

func (s *Server) errNoRoute(r *request) error {
	if r.mount == nil && !strings.HasPrefix(r.path, "sys/") && !strings.HasPrefix(r.path+"/", "auth/token/") {
		asked := r.path
		if r.op == opList {
			asked += "/"
		}
		return &apiError{http.StatusNotFound, []string{fmt.Sprintf("no handler for route %q. route entry not found.", asked)}}
	}
	return errUnsupportedPath()
}

// mountType is how the envelope names what answered.
func (r *request) mountType() string {
	switch {
	case r.mount != nil:
		return r.mount.kind
	case strings.HasPrefix(r.path, "sys/"):
		return "system"
	}
	return "token"
}

func errUnsupportedOperation() error {
	return coreError(http.StatusMethodNotAllowed, "unsupported operation")
}

func readRequest(hr *http.Request) (*request, error) {
	if !strings.HasPrefix(hr.URL.Path, "/v1/") {
		return nil, notFound()
	}
	r := &request{http: hr, path: strings.TrimPrefix(hr.URL.Path, "/v1/")}
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
	case http.MethodPatch:
		if hr.Header.Get("Content-Type") == "" {
			return nil, badRequest("mime: no media type")
		}
		return nil, errUnsupportedOperation()
	default:
		return nil, errUnsupportedOperation()
	}
	if r.op == opList {
		r.path = strings.TrimSuffix(r.path, "/")
	}
	r.rawTok = hr.Header.Get("X-Vault-Token")
	if bearer, ok := strings.CutPrefix(hr.Header.Get("Authorization"), "Bearer "); ok && r.rawTok == "" {
		r.rawTok = bearer
	}
	if ttl := hr.Header.Get("X-Vault-Wrap-TTL"); ttl != "" {
		d, err := parseDuration(ttl)
		if err == nil && d < 0 {
			err = errors.New("requested wrap ttl cannot be negative")
		}
		if err != nil {
			return nil, badRequest("error parsing X-Vault-Wrap-TTL header: %s", err)
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
	r.http.Body = io.NopCloser(bytes.NewReader(body)) // whoever it is handed on to reads it again
	if len(body) == 0 {
		return nil
	}
	if err := checkJSON(body); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var m map[string]any
	if err := dec.Decode(&m); err != nil {
		return badRequest("error parsing JSON: failed to parse JSON input: %s", strings.Replace(err.Error(), "interface{}", "interface {}", 1))
	}
	if m != nil {
		r.in.m = m
	}
	return nil
}

// checkJSON refuses what is no JSON at all as the real one does, whose guard
// against deep nesting meets it first and answers 500.
func checkJSON(body []byte) error {
	if json.Valid(body) {
		return nil
	}
	var v any
	err := json.Unmarshal(body, &v)
	text := strings.Replace(err.Error(), "unexpected end of JSON input", "malformed JSON, unclosed containers", 1)
	return &apiError{http.StatusInternalServerError, []string{text}}
}

func writeError(w http.ResponseWriter, err error) {
	var ae *apiError
	if !errors.As(err, &ae) {
		ae = &apiError{http.StatusInternalServerError, []string{"1 error occurred:\n\t* " + err.Error() + "\n\n"}}
	}
	writeJSON(w, ae.status, map[string]any{"errors": ae.texts})
}

func writeResponse(w http.ResponseWriter, resp *response) {
	switch {
	case resp == nil:
		w.WriteHeader(http.StatusNoContent)
		return
	case resp.text != "":
		w.Header().Set("Content-Type", cmp.Or(resp.media, "text/plain"))
		_, _ = io.WriteString(w, resp.text) // the client may already be gone
		return
	}
	status := resp.status
	if status == 0 {
		status = http.StatusOK
	}
	if status == http.StatusAccepted {
		w.WriteHeader(status)
		return
	}
	if resp.raw != nil {
		writeJSON(w, status, resp.raw)
		return
	}
	body := resp.envelope()
	if resp.wrapInfo != nil {
		body["request_id"] = ""
	}
	if resp.atTop {
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
		"data":           nil, "wrap_info": nil, "warnings": nil, "auth": nil, "mount_type": resp.mount,
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
