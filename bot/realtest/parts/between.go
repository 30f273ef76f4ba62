package parts

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Moment says when an Accident happens to a call.
type Moment string

// The moments of a call at which the caller can be lost.
const (
	Before Moment = "before"     // the call never arrives, and the caller is gone
	After  Moment = "after"      // the call is done, and the caller is gone before it hears of it
	Lost   Moment = "reply lost" // the call is done, its answer is lost, and the caller lives
)

// Call is one exchange that went through.
type Call struct {
	Method, Path string
	Status       int
}

// Accident happens to one call: the Skip+1st that has its method and Normal
// path.
type Accident struct {
	Method, Path string
	Skip         int
	When         Moment
	Do           func() // run at that moment, once
}

// Between is a proxy between one caller and a server. It records what goes
// through and lets an accident happen. What it forwards it neither reads nor
// changes.
type Between struct {
	URL string

	target   atomic.Pointer[url.URL]
	server   *http.Server
	mu       sync.Mutex
	calls    []Call
	accident *Accident
	struck   bool
}

// NewBetween starts a proxy to an address such as http://127.0.0.1:8200. An
// empty one is answered with 502 until there is Another.
func NewBetween(address string) (*Between, error) {
	b := &Between{}
	if err := b.Another(address); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	b.URL = "http://" + l.Addr().String()
	// Each call has a connection of its own: one that was cut must not take
	// part in another.
	transport := &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(b.target.Load()); r.Out.Host = b.target.Load().Host },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway)
		},
	}
	b.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serve(proxy, w, r) }), ReadHeaderTimeout: time.Minute}
	go func() { _ = b.server.Serve(l) }() // it ends with Close
	return b, nil
}

// Another sends what comes from now on to another server.
func (b *Between) Another(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fmt.Errorf("read the address %s: %w", address, err)
	}
	b.target.Store(u)
	return nil
}

// Close ends the proxy.
func (b *Between) Close() { _ = b.server.Close() }

// Order lets an accident happen.
func (b *Between) Order(a Accident) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accident, b.struck = &a, false
}

// Struck reports whether the accident has happened.
func (b *Between) Struck() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.struck
}

// Calls returns what went through so far.
func (b *Between) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Call(nil), b.calls...)
}

func (b *Between) take(r *http.Request) *Accident {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accident
	if a == nil || a.Method != r.Method || a.Path != Normal(r.URL.Path) {
		return nil
	}
	if a.Skip > 0 {
		a.Skip--
		return nil
	}
	b.accident, b.struck = nil, true
	return a
}

func (b *Between) serve(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	a := b.take(r)
	if a == nil {
		rec := &recorder{ResponseWriter: w}
		proxy.ServeHTTP(rec, r)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls = append(b.calls, Call{r.Method, r.URL.Path, rec.status})
		return
	}
	if a.When == Before {
		a.Do()
		panic(http.ErrAbortHandler)
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		// The caller may be gone any moment; the call is done to its end.
		again := r.Clone(context.WithoutCancel(r.Context()))
		again.Body = io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(&nowhere{header: http.Header{}}, again)
	}
	a.Do()
	panic(http.ErrAbortHandler)
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n *nowhere) WriteHeader(int)             {}

// ownNames are what differs between two lives: ids of grants, and the hashes
// that are in them and name intents.
var ownNames = regexp.MustCompile(`/([0-9]{8}-)?[0-9a-z]{10}(/|$)`)

// Normal takes what differs between two lives out of a path.
func Normal(path string) string { return ownNames.ReplaceAllString(path, "/*$2") }
