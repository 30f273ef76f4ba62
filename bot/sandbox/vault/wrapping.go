package vault

import (
	"encoding/json"
	"errors"
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
	body, err := json.Marshal(resp.envelope()) // with its mount, whatever opens it
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	t := &token{
		policies: []string{"response-wrapping"}, path: r.path, orphan: true, numUses: 1,
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
	return &response{wrapInfo: info}, nil
}

// wrapData is sys/wrapping/wrap: the answer is the input, and always wrapped.
func (s *Server) wrapData(r *request) (*response, error) {
	if r.wrapTTL == 0 {
		return nil, badRequest("endpoint requires response wrapping to be used")
	}
	return &response{data: r.in.m}, nil
}

// unwrap takes the wrapping token as the caller's own, or in the body from a
// caller whose policy allows it. Whether it is one is looked at before who
// calls.
func (s *Server) unwrap(r *request) (*response, error) {
	t, err := s.wantedWrap(r)
	if err != nil {
		return nil, err
	}
	if r.op != opUpdate {
		return nil, errUnsupportedOperation()
	}
	if id := r.in.text("token"); id == r.rawTok {
		// The call itself has used the token up: so it is with the real one.
		s.endToken(t, "used up")
		return nil, errors.New("error decrementing wrapping token's use-count: invalid token entry provided for use count decrementing")
	} else if id != "" {
		caller, err := s.authenticate(r)
		if err != nil {
			return nil, err
		}
		if !s.allowed(caller, nil, r) {
			return nil, errDenied()
		}
	}
	s.emit(Event{Kind: Unwrapped, Accessor: t.accessor, Path: t.wrapped.path})
	body := json.RawMessage(t.wrapped.body)
	s.endToken(t, "unwrapped")
	return &response{raw: body}, nil
}

// wantedWrap finds the wrapping token that the body names, or else the
// caller's own.
func (s *Server) wantedWrap(r *request) (*token, error) {
	id := r.in.text("token")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if id == "" {
		id = r.rawTok
	}
	if id == "" {
		return nil, &apiError{403, []string{"error validating wrapping token: token is empty"}}
	}
	t := s.liveToken(id)
	if t == nil || t.wrapped == nil {
		return nil, badRequest(errWrapInvalid)
	}
	return t, nil
}

func (s *Server) lookupWrap(r *request) (*response, error) {
	t, err := s.wantedWrap(r)
	if err != nil {
		return nil, err
	}
	return &response{data: map[string]any{
		"creation_path": t.wrapped.path, "creation_time": stamp(t.created), "creation_ttl": seconds(t.wrapped.ttl),
	}}, nil
}
