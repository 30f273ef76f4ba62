package githubpr

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
)

// The way of a call, from the outside in: eTags, tokens (ghinstallation),
// wire, the network. Calls as the App itself and proofs of identity have
// their own authentication in the place of eTags and tokens.

const (
	maxAnswer = 32 << 20  // bytes; 100 pull requests are about 2 MB
	maxError  = 256 << 10 // bytes of an answer that is a failure
)

func newBase() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // somebody replaced the default; ours must not be shared with them
		t = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	}
	t = t.Clone()
	t.MaxIdleConnsPerHost = 8
	return t
}

// forgeClock compares GitHub's clock with ours.
type forgeClock struct {
	now func() time.Time

	mu    sync.Mutex
	ahead time.Duration
	known bool
}

func (f *forgeClock) heard(date string) {
	theirs, err := http.ParseTime(date)
	if err != nil {
		return
	}
	ours := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ahead, f.known = theirs.Sub(ours), true
}

func (f *forgeClock) skew() (time.Duration, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ahead, f.known
}

// wire is the last stop before the network. It keeps to GitHub's limits,
// reads its clock, and bounds what it may send us.
type wire struct {
	next  http.RoundTripper
	clock *forgeClock

	mu      sync.Mutex
	refused time.Time     // when GitHub last said that a limit is used up
	wait    time.Duration // from then on; zero for no limit
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if limit := w.limited(); limit != nil {
		closeBody(req)
		return nil, limit
	}
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	w.clock.heard(resp.Header.Get("Date"))
	if resp.StatusCode < 300 || resp.StatusCode == http.StatusNotModified {
		resp.Body = &answerBody{rest: io.LimitReader(resp.Body, maxAnswer), body: resp.Body}
		return resp, nil
	}
	// A failure is read whole: ghinstallation leaves the body of a refused
	// token request open, which would cost a connection each time.
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	if wait, limited := limitOf(resp, body); limited {
		return nil, w.limit(wait)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// answerBody is an answer that does not go on for ever. It is read to its end
// before it is closed: a JSON decoder stops at the last brace, and a
// connection with anything left on it cannot be used again.
type answerBody struct {
	rest io.Reader
	body io.Closer
}

func (b *answerBody) Read(p []byte) (int, error) { return b.rest.Read(p) }

func (b *answerBody) Close() error {
	const enough = 4 << 10
	_, _ = io.CopyN(io.Discard, b.rest, enough) // only the connection is at stake
	return b.body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

func (w *wire) limit(wait time.Duration) *RateLimited {
	now := w.clock.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused, w.wait = now, wait
	return &RateLimited{Until: now.Add(wait)}
}

// limited returns the limit that still holds. A clock that was set back
// does not prolong it.
func (w *wire) limited() *RateLimited {
	now := w.clock.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if gone := now.Sub(w.refused); w.wait == 0 || gone < 0 || gone >= w.wait {
		return nil
	}
	return &RateLimited{Until: w.refused.Add(w.wait)}
}

// How long to stay away where GitHub does not say, and the bounds of what we
// believe where it does.
const (
	quietWait = time.Minute
	leastWait = time.Second
	mostWait  = 2 * time.Hour
)

// limitOf tells a used up limit from any other refusal, and how long to wait.
// GitHub has three ways to say it: 429, 403 with nothing remaining, and 403
// with words and perhaps a Retry-After.
func limitOf(resp *http.Response, body []byte) (time.Duration, bool) {
	retry, spent := resp.Header.Get("Retry-After"), resp.Header.Get("X-RateLimit-Remaining") == "0"
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
	case http.StatusForbidden:
		text := strings.ToLower(string(body))
		if retry == "" && !spent && !strings.Contains(text, "secondary rate limit") &&
			!strings.Contains(text, "secondary-rate-limits") && !strings.Contains(text, "#abuse-rate-limits") {
			return 0, false
		}
	default:
		return 0, false
	}
	if seconds, err := strconv.ParseInt(retry, 10, 32); err == nil {
		return min(max(time.Duration(seconds)*time.Second, leastWait), mostWait), true
	}
	if reset, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil && spent {
		return min(max(time.Until(time.Unix(reset, 0)), leastWait), mostWait), true
	}
	return quietWait, true
}

// tokens adds the installation's token to each call. A token that GitHub no
// longer takes (revoked, or the App's rights were changed) is given up: by
// itself ghinstallation would hold on to it for up to an hour.
type tokens struct {
	next http.RoundTripper
	make func(context.Context) (*ghinstallation.Transport, error)

	mu      sync.Mutex
	current *ghinstallation.Transport
}

func (t *tokens) source(ctx context.Context) (*ghinstallation.Transport, error) {
	t.mu.Lock()
	current := t.current
	t.mu.Unlock()
	if current != nil {
		return current, nil
	}
	made, err := t.make(ctx) // outside the lock: it may ask GitHub
	if err != nil {
		return nil, &notSent{err}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == nil {
		t.current = made
	}
	return t.current, nil
}

func (t *tokens) drop(old *ghinstallation.Transport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current == old {
		t.current = nil
	}
}

func (t *tokens) RoundTrip(req *http.Request) (*http.Response, error) {
	source, err := t.source(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := source.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	t.drop(source)
	if req.Method != http.MethodGet {
		return resp, nil // the caller looks again, with a new token
	}
	resp.Body.Close() // in memory: wire has read it
	if source, err = t.source(req.Context()); err != nil {
		return nil, err
	}
	return source.RoundTrip(req)
}

// revalidate marks the calls whose answers are worth keeping: lists that the
// sweep reads again and again. GitHub does not count a 304.
type revalidate struct{}

func withETag(ctx context.Context) context.Context {
	return context.WithValue(ctx, revalidate{}, true)
}

// eTags keeps answers by address and asks GitHub whether they still hold. An
// answer is never used without asking.
type eTags struct {
	next http.RoundTripper

	mu    sync.Mutex
	pages map[string]page
	bytes int
}

type page struct {
	tag    string
	header http.Header
	body   []byte
}

const (
	maxPages     = 512
	maxPageBytes = 16 << 20 // of all pages together
)

func newETags(next http.RoundTripper) *eTags {
	return &eTags{next: next, pages: map[string]page{}}
}

func (e *eTags) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodGet || req.Context().Value(revalidate{}) == nil {
		return e.next.RoundTrip(req)
	}
	key := req.URL.String()
	e.mu.Lock()
	old, have := e.pages[key]
	e.mu.Unlock()
	if have {
		req = req.Clone(req.Context())
		req.Header.Set("If-None-Match", old.tag)
	}
	resp, err := e.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	switch tag := resp.Header.Get("ETag"); {
	case have && resp.StatusCode == http.StatusNotModified:
		resp.Body.Close()
		return old.answer(resp), nil
	case resp.StatusCode == http.StatusOK && tag != "":
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		e.keep(key, page{tag: tag, body: body, header: resp.Header.Clone()})
	}
	return resp, nil
}

// answer is the page as if it had been sent again; the limits and the date
// are the new answer's.
func (p page) answer(resp *http.Response) *http.Response {
	for _, name := range []string{"Content-Type", "Link"} {
		if resp.Header.Get(name) == "" && p.header.Get(name) != "" {
			resp.Header.Set(name, p.header.Get(name))
		}
	}
	resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	resp.ContentLength = int64(len(p.body))
	resp.Body = io.NopCloser(bytes.NewReader(p.body))
	return resp
}

// keep makes room by giving up any other pages: they cost one call to get
// again, so it does not matter much which.
func (e *eTags) keep(key string, p page) {
	if len(p.body) > maxPageBytes/4 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bytes += len(p.body) - len(e.pages[key].body)
	e.pages[key] = p
	for other, old := range e.pages {
		if len(e.pages) <= maxPages && e.bytes <= maxPageBytes {
			return
		}
		if other != key {
			e.bytes -= len(old.body)
			delete(e.pages, other)
		}
	}
}

// kept is a fact that does not change once it is known. Failures are not
// kept.
type kept[T any] struct {
	mu    sync.Mutex
	known bool
	value T
}

// get does not hold the lock while it reads: a slow answer must not hold up
// callers beyond their own context. At worst a fact is read twice.
func (k *kept[T]) get(read func() (T, error)) (T, error) {
	k.mu.Lock()
	value, known := k.value, k.known
	k.mu.Unlock()
	if known {
		return value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.value, k.known = value, true
	return value, nil
}
