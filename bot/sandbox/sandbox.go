// Package sandbox holds what the in-process servers of its sub-packages
// share: a clock that can be moved, faults that can be ordered, and a record
// of every call. The servers themselves speak the real wire protocols over
// real sockets, so that the demo, the tests and production run the very same
// clients; only addresses differ.
//
// Nothing in this tree imports anything else of the project: a sandbox that
// borrowed our own types would agree with our own mistakes.
package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Clock is the time of a sandbox. It either stands still until it is moved,
// which suits tests, or runs with the wall clock from wherever it was set,
// which suits the demo. It is safe for concurrent use.
type Clock struct {
	mu      sync.Mutex
	base    time.Time // what the clock showed at mark
	mark    time.Time // wall time of base; zero for a clock that stands still
	onMoved []func()
}

// NewStillClock returns a clock that shows start until it is moved.
func NewStillClock(start time.Time) *Clock { return &Clock{base: start.UTC()} }

// NewRunningClock returns a clock that shows start now and runs from there.
func NewRunningClock(start time.Time) *Clock {
	return &Clock{base: start.UTC(), mark: time.Now()}
}

// Now returns the sandbox time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *Clock) now() time.Time {
	if c.mark.IsZero() {
		return c.base
	}
	return c.base.Add(time.Since(c.mark))
}

// Advance moves the clock forward by d (backward where d is negative, which
// tests of clock steps want) and then calls, in order and in this goroutine,
// every function registered with OnMoved.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	c.base = c.base.Add(d)
	moved := append([]func(){}, c.onMoved...)
	c.mu.Unlock()
	for _, f := range moved {
		f()
	}
}

// OnMoved registers f to be called after each Advance: servers use it to end
// what has come to its end.
func (c *Clock) OnMoved(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onMoved = append(c.onMoved, f)
}

// Call is one HTTP exchange that a sandbox server saw.
type Call struct {
	Method string
	Path   string // without the query
	Query  string
	Status int // 0 where a fault cut the connection
	At     time.Time
}

func (c Call) String() string { return fmt.Sprintf("%s %s -> %d", c.Method, c.Path, c.Status) }

// When says at which moment of an exchange a fault strikes.
type When int

const (
	// Before cuts the connection before the server has done anything.
	Before When = iota + 1
	// LostReply lets the server do its work, then cuts the connection
	// without an answer.
	LostReply
	// Answer replaces the exchange by Status, Header and Body; the server
	// does nothing.
	Answer
	// AnswerAfter lets the server do its work, then answers Status, Header
	// and Body instead of the real answer (a 502 of a proxy, say).
	AnswerAfter
	// Pass only calls Do and then serves as usual.
	Pass
)

// Fault is one trouble ordered for calls that match. The zero Times strikes
// once.
type Fault struct {
	Method string // exact; empty matches every method
	Path   string // matches where the request path contains it
	Query  string // matches where the raw query contains it

	Skip  int // let this many matching calls pass first
	Times int // how often to strike; 0 means once, negative without end
	When  When

	Status int
	Header http.Header
	Body   string

	// Do, where set, is called when the fault strikes: before the server
	// works for Before, Answer and Pass, after it for the others. It may
	// block (a slow database) and may itself call the servers.
	Do func(r *http.Request)
}

func (f *Fault) matches(r *http.Request) bool {
	return (f.Method == "" || f.Method == r.Method) &&
		strings.Contains(r.URL.Path, f.Path) &&
		strings.Contains(r.URL.RawQuery, f.Query)
}

// Wire wraps a server's handler with faults and a record of calls. Each
// sandbox server embeds one.
type Wire struct {
	mu     sync.Mutex
	faults []*Fault
	calls  []Call
}

// Order adds a fault; faults are tried in the order they were added and at
// most one strikes a call.
func (w *Wire) Order(f Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	w.faults = append(w.faults, &f)
}

// ClearFaults removes every fault that is still ordered.
func (w *Wire) ClearFaults() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = nil
}

// Calls returns a copy of the record, oldest first.
func (w *Wire) Calls() []Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Call(nil), w.calls...)
}

// ResetCalls empties the record.
func (w *Wire) ResetCalls() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

func (w *Wire) take(r *http.Request) *Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.faults {
		if f.Times == 0 || !f.matches(r) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 {
			f.Times--
		}
		copied := *f
		return &copied
	}
	return nil
}

func (w *Wire) record(r *http.Request, status int, at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, Call{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Status: status, At: at})
}

// Handler returns next behind the faults and the record, with the Date
// header of every answer taken from clock.
func (w *Wire) Handler(clock *Clock, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", clock.Now().Format(http.TimeFormat))
		f := w.take(r)
		if f == nil || f.When == Pass {
			if f != nil && f.Do != nil {
				f.Do(r)
			}
			s := &statusWriter{ResponseWriter: rw, record: func(status int) { w.record(r, status, clock.Now()) }}
			next.ServeHTTP(s, r)
			s.answered(http.StatusOK)
			return
		}
		w.strike(f, clock, rw, r, next)
	})
}

func (w *Wire) strike(f *Fault, clock *Clock, rw http.ResponseWriter, r *http.Request, next http.Handler) {
	if f.When == LostReply || f.When == AnswerAfter {
		// The body is read up front: the server must do the same work
		// whether or not anybody waits for the answer.
		body, err := io.ReadAll(r.Body)
		if err == nil {
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(&discardWriter{header: http.Header{}}, r)
		}
	}
	if f.Do != nil {
		f.Do(r)
	}
	if f.When == Answer || f.When == AnswerAfter {
		for k, v := range f.Header {
			rw.Header()[http.CanonicalHeaderKey(k)] = v
		}
		w.record(r, f.Status, clock.Now())
		rw.WriteHeader(f.Status)
		_, _ = io.WriteString(rw, f.Body) // the client may already be gone
		return
	}
	w.record(r, 0, clock.Now())
	panic(http.ErrAbortHandler) // net/http's own way to cut a connection without an answer
}

// statusWriter records a call when its answer begins: whoever has seen an
// answer finds the call in the record.
type statusWriter struct {
	http.ResponseWriter
	record func(status int)
	done   bool
}

func (s *statusWriter) answered(status int) {
	if !s.done {
		s.done = true
		s.record(status)
	}
}

func (s *statusWriter) WriteHeader(code int) {
	s.answered(code)
	s.ResponseWriter.WriteHeader(code)
}

func (s *statusWriter) Write(p []byte) (int, error) {
	s.answered(http.StatusOK)
	return s.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the real writer.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

type discardWriter struct{ header http.Header }

func (d *discardWriter) Header() http.Header         { return d.header }
func (d *discardWriter) Write(p []byte) (int, error) { return len(p), nil }
func (d *discardWriter) WriteHeader(int)             {}
