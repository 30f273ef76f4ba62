// Package tracker is two services that keep tickets, in process and over real
// HTTP: Jira (REST API v2 and v3, as Cloud or as Data Center) and Linear
// (GraphQL). Each serves reading one ticket, and what a set-up check reads.
// GitHub's issues are part of the sandbox of GitHub.
//
// Shapes and errors follow the services' documentation. What is not kept
// (projects, comments, searching, writing) is absent, never half there.
package tracker

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// bodyLimit is how many bytes of a request body are read at most.
const bodyLimit = 1 << 20

// object is a JSON object as it goes over the wire.
type object = map[string]any

// server is what both services are made of. mu guards everything that hangs
// on the service around it.
type server struct {
	sandbox.Wire

	http     *http.Server
	listener net.Listener
	served   chan struct{} // closed when the server has ended

	prefix string // of tokens

	mu    sync.Mutex
	token string
}

func (s *server) start(clock *sandbox.Clock, prefix string, handler http.Handler) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for a tracker: %w", err)
	}
	s.listener, s.served, s.token = listener, make(chan struct{}), prefix+random(16)
	s.prefix = prefix
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

// URL returns the address of the server, without a slash at its end.
func (s *server) URL() string { return "http://" + s.listener.Addr().String() }

// Token returns the token that is accepted.
func (s *server) Token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Rotate replaces the token: the old one is refused from now on.
func (s *server) Rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = s.prefix + random(16)
}

// Close ends the server and its connections.
func (s *server) Close() error {
	err := s.http.Close()
	<-s.served
	return err
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client may already be gone
}
