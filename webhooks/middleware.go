package webhooks

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
)

const requestID = "X-Request-Id"

// named gives every request an id of our own making (one from outside could
// imitate another in the log), and every answer the headers that keep
// browsers from making more of it than it is.
func named(c *gin.Context) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails since Go 1.24
	// It is kept beside the answer's header too, which must not be read while
	// an answer is being sent (press.go).
	c.Set(requestID, hex.EncodeToString(id[:]))
	h := c.Writer.Header()
	h.Set(requestID, c.GetString(requestID))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Answers depend on who asks, and one of them holds a credential.
	h.Set("Cache-Control", "no-store")
	c.Next()
}

// logger returns the log of one request.
func (e *edge) logger(c *gin.Context) *slog.Logger {
	return e.Log.With("request", c.GetString(requestID))
}

// quiet are the routes that machines ask every few seconds.
var quiet = []string{"/healthz", "/readyz", "/metrics"}

// observed counts and logs every request. It logs the route and not the
// path, and no header and no body: whatever a stranger writes there stays out.
func (e *edge) observed(c *gin.Context) {
	c.Next()
	route := c.FullPath()
	label := "unmatched"
	if route != "" {
		label = c.Request.Method + " " + route
	}
	status := c.Writer.Status()
	e.metrics.requests.WithLabelValues(label, strconv.Itoa(status)).Inc()
	if !slices.Contains(quiet, route) {
		e.logger(c).Info("answered", "route", label, "status", status, "from", c.RemoteIP())
	}
}

// recovered turns a panic into an answer and one line of the log.
func (e *edge) recovered(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v) // the server's own way to cut a connection
		}
		e.logger(c).Error("a handler panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		c.Abort()
		if !c.Writer.Written() {
			e.refuse(c, codeInternal, internalSentence(c))
		}
	}()
	c.Next()
}

// limited bounds what is read of a body.
func limited(most int64) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, most)
		c.Next()
	}
}

// metrics are what the edge counts. Every label has few values, whatever
// strangers send.
type metrics struct {
	requests *prometheus.CounterVec
	events   *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, held func() error) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tac_http_requests_total",
			Help: "HTTP requests by route and status.",
		}, []string{"route", "status"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tac_webhook_events_total",
			Help: "Deliveries by GitHub and Slack, by kind and by what came of them.",
		}, []string{"source", "kind", "result"}),
	}
	holds := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tac_access_held",
		Help: "1 while new access is held back, for everything or for some resources, because the set-up is wrong or was not seen yet.",
	}, func() float64 {
		if held() != nil {
			return 1
		}
		return 0
	})
	return m, errors.Join(r.Register(m.requests), r.Register(m.events), r.Register(holds))
}

func (m *metrics) event(source, kind, result string) {
	m.events.WithLabelValues(source, kind, result).Inc()
}
