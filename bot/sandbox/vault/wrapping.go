package vault

import (
	"encoding/json"
	"time"
)

const errWrapInvalid = "wrapping token is not valid or does not exist"

// wrapped is an answer that waits for its one reader.
type wrapped struct {
	body []byte // the whole envelope, as JSON
	path string
	ttl  time.Duration
}

// wrap puts an answer behind a single-use token. What the answer holds lives
// on its own: ending its lease leaves the wrapped copy readable.
func (s *Server) wrap(r *request, resp *response) (*response, error) {
	body, err := json.Marshal(resp.envelope())
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	t := &token{
		policies: []string{"response-wrapping"}, path: r.path, displayName: "token", orphan: true, numUses: 1,
		created: now, creationTTL: r.wrapTTL, expire: now.Add(r.wrapTTL), explicitMax: r.wrapTTL,
		wrapped: &wrapped{body: body, path: r.path, ttl: r.wrapTTL},
	}
	s.addToken(t)
	info := map[string]any{
		"token": t.id, "accessor": t.accessor, "ttl": seconds(r.wrapTTL),
		"creation_time": stamp(now), "creation_path": r.path,
	}
	if resp.accessor != "" {
		info["wrapped_accessor"] = resp.accessor
	}
	// Nothing of the answer shows outside, the lease id least of all.
	return &response{wrapInfo: info, warnings: resp.warnings}, nil
}

// wrapData is sys/wrapping/wrap: the answer is the input, and always wrapped.
func (s *Server) wrapData(r *request) (*response, error) {
	if r.wrapTTL == 0 {
		return nil, badRequest("endpoint requires response wrapping to be used")
	}
	if len(r.in.m) == 0 {
		return nil, badRequest("no data provided")
	}
	return &response{data: r.in.m}, nil
}

// unwrap takes the wrapping token as the caller's own, or in the body from a
// caller whose policy allows it.
func (s *Server) unwrap(r *request) (*response, error) {
	id := r.in.text("token")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if id == "" || id == r.rawTok {
		id = r.rawTok
	} else {
		caller, err := s.authenticate(r)
		if err != nil {
			return nil, err
		}
		if !s.allowed(caller, nil, r) {
			return nil, errDenied()
		}
	}
	t := s.liveToken(id)
	if t == nil || t.wrapped == nil {
		return nil, badRequest(errWrapInvalid)
	}
	s.emit(Event{Kind: Unwrapped, Accessor: t.accessor, Path: t.wrapped.path})
	body := json.RawMessage(t.wrapped.body)
	s.endToken(t, "unwrapped")
	return &response{raw: body}, nil
}

func (s *Server) lookupWrap(r *request) (*response, error) {
	id := r.in.text("token")
	if id == "" {
		id = r.rawTok
	}
	t := s.liveToken(id)
	if t == nil || t.wrapped == nil {
		return nil, badRequest(errWrapInvalid)
	}
	return &response{data: map[string]any{
		"creation_path": t.wrapped.path, "creation_time": stamp(t.created), "creation_ttl": seconds(t.wrapped.ttl),
	}}, nil
}
