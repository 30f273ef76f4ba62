// Package client is the command line's side of the JSON API of a tac server:
//
//	address.go  which addresses may be talked to at all
//	client.go   one call: the token, the tries, the errors
//	api.go      the calls and what they answer
//	device.go   the sign-in at GitHub, and the refresh of its tokens
//	signout.go  the end of it; tokens left with the server, Slack accounts linked
//	store.go    what is kept on disk, and for whose eyes
//	kept.go     the tokens in a keyring, or in a file; keyring.go: the system's keyring
//	held.go     what is kept of one grant: claim key, credential, SSH key
//	take.go     having a credential at hand: the one kept, or a new claim
//
// Three promises hold everywhere. A token goes to the server that it was made
// for and to no other: redirects are not followed, and plain http is for this
// machine alone. No token but those of tac's own sign-in is ever sent;
// whatever else lies in the environment is not looked at. And what is secret
// is written only to files that nobody else can read, or to the keyring.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// Client calls one server for one person.
type Client struct {
	Server Server
	Store  Store
	Now    func() time.Time
	// HTTP sends the requests; nil: the default transport.
	HTTP http.RoundTripper
	// Sleep waits between two tries; nil: by the wall clock. It returns the
	// context's error where that ends first.
	Sleep func(ctx context.Context, d time.Duration) error
	// UserAgent names this program to the server.
	UserAgent string
}

const (
	// mostAnswer bounds what is read of an answer.
	mostAnswer = 16 << 20
	// answerWithin bounds one try. The server works for up to 90 s on a claim.
	answerWithin = 100 * time.Second
	// tries is how often a call is made that may be repeated.
	tries = 4
)

// Error is a refusal by the server, with its sentence for people.
type Error struct {
	Status   int
	Code     string // as in openapi.json: invalid, denied, not_found, ...
	Message  string
	Decision *Decision // where policy refused
}

func (e *Error) Error() string { return e.Message }

// The codes that callers tell apart.
const (
	CodeInvalid         = "invalid"
	CodeUnauthenticated = "unauthenticated"
	CodeDenied          = "denied"
	CodeNotFound        = "not_found"
	CodeConflict        = "conflict"
	CodeUnavailable     = "unavailable"
	CodeHeld            = "held" // nothing new is given until somebody mends the set-up
)

// UnreachableError says that no answer came: whether the call arrived is not
// known.
type UnreachableError struct {
	Where string
	Err   error
}

func (e *UnreachableError) Error() string { return e.Where + " cannot be reached: " + e.Err.Error() }

// Unwrap returns what went wrong on the way.
func (e *UnreachableError) Unwrap() error { return e.Err }

// IsPassing reports whether the same call may well succeed a little later.
func IsPassing(err error) bool {
	var refusal *Error
	var unreachable *UnreachableError
	return errors.As(err, &unreachable) ||
		errors.As(err, &refusal) && (refusal.Code == CodeUnavailable || refusal.Code == CodeHeld)
}

// call is one thing asked of the server.
type call struct {
	method, path string
	body         any    // nil: none
	key          string // Idempotency-Key; empty: none
	tries        int    // how often it is made if no answer comes; 0: once
	tryBusy      bool   // a server that is busy is asked again as well
}

// do makes a call with the person's token and decodes the answer into out.
func (c *Client) do(ctx context.Context, a call, out any) error {
	token, err := c.token(ctx)
	if err != nil {
		return err
	}
	err = c.attempts(ctx, a, token, out)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeUnauthenticated {
		return err
	}
	// The token may have ended before its time: nothing was done, so asking
	// again with a fresh one repeats nothing.
	fresh, renewErr := c.renewed(ctx, token)
	if renewErr != nil {
		return err
	}
	return c.attempts(ctx, a, fresh, out)
}

// attempts makes a call until an answer comes. All tries carry the same
// Idempotency-Key, so that an answer lost on the way does no harm.
func (c *Client) attempts(ctx context.Context, a call, token world.Secret, out any) error {
	for n, wait := 1, 500*time.Millisecond; ; n, wait = n+1, 2*wait {
		err := c.try(ctx, a, token, out)
		var unreachable *UnreachableError
		var refusal *Error
		again := errors.As(err, &unreachable) || a.tryBusy && errors.As(err, &refusal) && refusal.Code == CodeUnavailable
		if !again || n >= a.tries || ctx.Err() != nil {
			return err
		}
		if err := c.sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (c *Client) try(ctx context.Context, a call, token world.Secret, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var body io.Reader
	if a.body != nil {
		data, err := json.Marshal(a.body)
		if err != nil {
			return fmt.Errorf("write the call of %s: %w", a.path, err)
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, a.method, string(c.Server)+apiPath+a.path, body)
	if err != nil {
		return fmt.Errorf("prepare the call of %s: %w", a.path, err)
	}
	if a.body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.key != "" {
		r.Header.Set("Idempotency-Key", a.key)
	}
	if !token.Empty() {
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	status, header, data, err := c.send(r)
	if err != nil {
		return err
	}
	return c.read(status, header, data, out)
}

// send makes one HTTP request. It follows no redirect: whoever could answer
// with one could have the token sent elsewhere.
func (c *Client) send(r *http.Request) (status int, header http.Header, data []byte, err error) {
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", c.UserAgent)
	where := r.URL.Scheme + "://" + r.URL.Host
	h := http.Client{
		Transport:     c.HTTP,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := h.Do(r)
	if err != nil {
		return 0, nil, nil, lost(r.Context(), where, err)
	}
	defer answer.Body.Close()
	data, err = io.ReadAll(io.LimitReader(answer.Body, mostAnswer+1))
	if err != nil {
		return 0, nil, nil, lost(r.Context(), where, err)
	}
	if len(data) > mostAnswer {
		return 0, nil, nil, fmt.Errorf("the answer of %s is larger than %d bytes", where, mostAnswer)
	}
	return answer.StatusCode, answer.Header, data, nil
}

func lost(ctx context.Context, where string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &UnreachableError{Where: where, Err: errors.New("it does not answer in time")}
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // the address is said already
	}
	return &UnreachableError{Where: where, Err: err}
}

// read takes an answer apart.
func (c *Client) read(status int, header http.Header, data []byte, out any) error {
	if status >= 200 && status < 300 {
		if err := json.Unmarshal(data, out); err != nil {
			return &Error{Status: status, Code: "internal", Message: fmt.Sprintf("%s does not answer as a tac server does; is the address right?", c.Server)}
		}
		return nil
	}
	if status >= 300 && status < 400 {
		return &Error{Status: status, Code: "internal", Message: fmt.Sprintf(
			"%s redirects to %q, and a token is not sent after it; if that is the right server, run `tac login --server` with its address",
			c.Server, header.Get("Location"))}
	}
	var problem struct {
		Code     string    `json:"code"`
		Message  string    `json:"message"`
		Decision *Decision `json:"decision"`
	}
	if json.Unmarshal(data, &problem) != nil || problem.Code == "" || problem.Message == "" {
		e := &Error{Status: status, Code: "internal", Message: fmt.Sprintf(
			"%s answers %d %s, and not in tac's own words; is the address right?", c.Server, status, http.StatusText(status))}
		if status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout {
			e.Code = CodeUnavailable
		}
		return e
	}
	return &Error{Status: status, Code: problem.Code, Message: strings.TrimSpace(problem.Message), Decision: problem.Decision}
}

func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	if c.Sleep != nil {
		return c.Sleep(ctx, d)
	}
	return Sleep(ctx, d)
}

// Sleep waits for d by the wall clock, or returns ctx's error where that ends
// first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
