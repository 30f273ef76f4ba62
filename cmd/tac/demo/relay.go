package demo

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// relay stands between a replica and a Vault that the person runs, so that an
// answer can get lost there: their Vault itself is asked for no faults.
type relay struct {
	sandbox.Wire
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

func newRelay(clock *sandbox.Clock, to string, transport http.RoundTripper) (*relay, error) {
	target, err := url.Parse(to)
	if err != nil {
		return nil, fmt.Errorf("relay to Vault: %w", err)
	}
	r := &relay{done: make(chan struct{})}
	if r.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("relay to Vault: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(target) },
		Transport: transport,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // Vault did not answer, so nobody does
		},
	}
	r.server = &http.Server{Handler: r.Handler(clock, proxy), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(r.done)
		_ = r.server.Serve(r.listener) // ends with Close, which is no error
	}()
	return r, nil
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

func (r *relay) close() error {
	err := r.server.Close()
	<-r.done
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
