package slackchat

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// Patience with Slack, in wall time. A Slack that is down or slow must cost
// the bot no time: while one call shows that it hangs, others of its method
// fail at once instead of hanging too, each in a worker that grants need to
// end on time; and once it has hung in vain, those of every method.
const (
	suspicion = 2 * time.Second  // a call without an answer for so long hangs
	quietTime = 30 * time.Second // no call is made after one that hung in vain
	mostQuiet = time.Hour        // a Retry-After is believed up to this
)

// NotAnswering says that a call was not made, because Slack does not answer
// another one. Nothing was sent.
type NotAnswering struct{ After time.Duration }

func (e NotAnswering) Error() string {
	return fmt.Sprintf("slack does not answer; it is asked again within %s", e.After)
}

// RetryAfter returns how long to wait at most.
func (e NotAnswering) RetryAfter() time.Duration { return e.After }

// bearer sends the token where Slack documents it to be, in the header; the
// library sends it as a form field only. It also bounds what is read back.
type bearer struct {
	next  http.RoundTripper
	token world.Secret
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token.Reveal())
	resp, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(resp.Body, mostAnswer), resp.Body}
	return resp, nil
}

// gate makes no call that Slack asked us not to make yet, nor one that would
// hang with others. What it refuses fails at once: it never waits, because
// whoever calls may hold what the end of a grant needs.
type gate struct {
	next http.RoundTripper

	mu      sync.Mutex
	closed  map[string]closure // by method; the empty one is all of them
	hanging map[string]int     // by method: calls that have had no answer for over suspicion
}

// closure is a refusal that ends when its timer fires.
type closure struct {
	over    <-chan time.Time
	refusal error
}

func newGate(next http.RoundTripper) *gate {
	return &gate{next: next, closed: map[string]closure{}, hanging: map[string]int{}}
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	method := path.Base(r.URL.Path)
	if err := g.refusal(method); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper has to, and there is nobody to tell
		}
		return nil, err
	}
	call := g.begin(method)
	resp, err := g.next.RoundTrip(r)
	if err != nil {
		call.end(false)
		return nil, err
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		call.end(true)
		_ = resp.Body.Close() // what it says is in the header
		return nil, g.obey(method, resp.Header.Get("Retry-After"))
	}
	resp.Body = &answer{ReadCloser: resp.Body, call: call}
	return resp, nil
}

func (g *gate) refusal(method string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, m := range []string{"", method} {
		c, closed := g.closed[m]
		if !closed {
			continue
		}
		select {
		case <-c.over:
			delete(g.closed, m)
		default:
			return c.refusal
		}
	}
	if g.hanging[method] > 0 {
		return NotAnswering{After: quietTime}
	}
	return nil
}

func (g *gate) close(method string, d time.Duration, refusal error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed[method] = closure{time.NewTimer(d).C, refusal}
}

// obey keeps a method closed for as long as a 429 asked for, and returns the
// refusal. Slack counts by method and workspace.
func (g *gate) obey(method, retryAfter string) error {
	wait := defaultBackoff
	if seconds, err := strconv.Atoi(retryAfter); err == nil && seconds >= 0 {
		wait = min(max(time.Duration(min(seconds, int(mostQuiet/time.Second)))*time.Second, time.Second), mostQuiet)
	}
	g.close(method, wait, RateLimited{After: wait})
	return RateLimited{After: wait}
}

// call is one call under way.
type call struct {
	gate   *gate
	method string
	timer  *time.Timer // fires when the call begins to hang
	once   sync.Once
}

func (g *gate) begin(method string) *call {
	return &call{gate: g, method: method, timer: time.AfterFunc(suspicion, func() { g.count(method, 1) })}
}

func (g *gate) count(method string, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hanging[method] += n
}

// end closes the gate after a call that hung and got no answer in the end.
// What fails quickly costs nobody anything, and closes nothing.
func (c *call) end(answered bool) {
	c.once.Do(func() {
		if c.timer.Stop() {
			return
		}
		if !answered {
			c.gate.close("", quietTime, NotAnswering{After: quietTime})
		}
		c.gate.count(c.method, -1)
	})
}

// answer is the body of an answer; the call lasts until it is closed.
type answer struct {
	io.ReadCloser
	call *call
	torn bool // reading it failed
}

func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	a.torn = a.torn || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

func (a *answer) Close() error {
	a.call.end(!a.torn)
	return a.ReadCloser.Close()
}
