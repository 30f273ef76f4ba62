// Package pager is two services that know who is on call, in process and over
// real HTTP: PagerDuty (REST API v2) and Opsgenie (REST API v2). Each serves
// the part that says who is on call, and what a set-up check reads.
//
// Who is on call follows from shifts with a beginning and an end, so asking
// about another instant, or moving the sandbox clock, answers another person.
// Shapes, parameters and error bodies follow the services' documentation.
// What is not kept (teams, services, incidents, layers) is absent, never half
// there.
package pager

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// object is a JSON object as it goes over the wire.
type object = map[string]any

// server is what both services are made of. mu guards everything that hangs
// on the service around it.
type server struct {
	sandbox.Wire

	clock    *sandbox.Clock
	http     *http.Server
	listener net.Listener
	served   chan struct{} // closed when the server has ended

	mu    sync.Mutex
	token string
}

func (s *server) start(clock *sandbox.Clock, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for a pager: %w", err)
	}
	s.clock, s.listener, s.served = clock, listener, make(chan struct{})
	s.token = random(10)
	s.http = &http.Server{Handler: s.Handler(clock, handler), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // returns when Close closes it
	}()
	return nil
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails, and crashes the program rather than return less
	return hex.EncodeToString(b)
}

// URL returns the address of the API, without a slash at its end.
func (s *server) URL() string { return "http://" + s.listener.Addr().String() }

// Token returns the API key that is accepted.
func (s *server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Rotate replaces the API key: the old one is refused from now on.
func (s *server) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = random(10)
}

// Close ends the server and its connections.
func (s *server) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

// accepts reports whether a header carries the API key after scheme; mu is held.
func (s *server) accepts(header, scheme string) bool {
	return subtle.ConstantTimeCompare([]byte(header), []byte(scheme+s.token)) == 1
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may already be gone
}

// span is a stretch of time, from its beginning to just before its end. A
// zero beginning or end is none.
type span struct{ from, to time.Time }

// touches reports whether the span has an instant in common with [since,
// until], where an until that equals since stands for that instant.
func (s span) touches(since, until time.Time) bool {
	begins := s.from.IsZero() || s.from.Before(until) || s.from.Equal(since)
	return begins && (s.to.IsZero() || s.to.After(since))
}

// overlaps reports whether two spans have time in common.
func (s span) overlaps(other span) bool {
	return (s.to.IsZero() || s.to.After(other.from)) && (other.to.IsZero() || s.from.Before(other.to))
}

// without returns what is left of the span where other is taken out.
func (s span) without(other span) []span {
	if !s.overlaps(other) {
		return []span{s}
	}
	var left []span
	if s.from.Before(other.from) {
		left = append(left, span{s.from, other.from})
	}
	if !other.to.IsZero() && (s.to.IsZero() || s.to.After(other.to)) {
		left = append(left, span{other.to, s.to})
	}
	return left
}

// roster is who is on call when. What was put on it later covers what was
// there before, as an override covers a shift.
type roster[T any] struct{ turns []turn[T] }

type turn[T any] struct {
	span
	who T
}

func (r *roster[T]) add(who T, from, to time.Time) {
	r.turns = append(r.turns, turn[T]{span{from, to}, who})
}

// cover puts who on the roster and everybody else off it for that time.
func (r *roster[T]) cover(who T, from, to time.Time) {
	var kept []turn[T]
	for _, t := range r.turns {
		for _, left := range t.without(span{from, to}) {
			kept = append(kept, turn[T]{left, t.who})
		}
	}
	r.turns = append(kept, turn[T]{span{from, to}, who})
}

// between returns the turns that touch the time, oldest first.
func (r *roster[T]) between(since, until time.Time) []turn[T] {
	var found []turn[T]
	for _, t := range r.turns {
		if t.touches(since, until) {
			found = append(found, t)
		}
	}
	slices.SortStableFunc(found, func(a, b turn[T]) int { return a.from.Compare(b.from) })
	return found
}
