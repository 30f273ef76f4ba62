package github

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
)

// RecordVariable names the environment variable that switches the recording
// on: it holds the folder that receives it. Each process then appends one
// Record a line to a file of its own there, for a checker that holds all of a
// test suite's traffic against GitHub's published description.
const RecordVariable = "TAC_RECORD_GITHUB"

// Record is one line of a recording. Addresses of the server are written as
// RecordedURL, credentials are blotted out, and of git and the sign-in pages
// there are no bodies.
//
// Tens of thousands of exchanges differ in numbers, times and hashes alone.
// Only the first of such a form is written in full; each further one is a
// line that holds nothing but the key of the first in Again, so that the
// totals stay true without filling a disk.
type Record struct {
	Key   string `json:"key,omitempty"`
	Again string `json:"again,omitempty"`

	// An exchange has a method, a webhook an event.
	Method      string `json:"method,omitempty"`
	Path        string `json:"path,omitempty"` // escaped, as it was sent
	Query       string `json:"query,omitempty"`
	Agent       string `json:"agent,omitempty"` // User-Agent
	Accept      string `json:"accept,omitempty"`
	ContentType string `json:"content_type,omitempty"` // of the request
	Request     string `json:"request,omitempty"`

	// Status is 0 where a fault struck before GitHub could answer: then there
	// is a request and no answer to judge.
	Status   int         `json:"status,omitempty"`
	Header   http.Header `json:"header,omitempty"` // of the answer: Content-Type, ETag, Link, Location
	Response string      `json:"response,omitempty"`

	Event   string `json:"event,omitempty"`
	Payload string `json:"payload,omitempty"`
}

// RecordedURL stands in a recording for the address of whichever server was
// recorded.
const RecordedURL = "http://github.sandbox"

// recorder writes records to one file. A nil recorder records nothing.
type recorder struct {
	mu   sync.Mutex
	file *os.File
	seen map[string]bool
	err  error // of the first record that could not be written
}

// recording is the recorder of this process, nil where none is wanted. The
// file stays open until the process ends: each line is written whole and at
// once, so there is nothing to flush.
var recording = sync.OnceValues(func() (*recorder, error) {
	dir := os.Getenv(RecordVariable)
	if dir == "" {
		return nil, nil
	}
	return newRecorder(dir)
})

func newRecorder(dir string) (*recorder, error) {
	file, err := os.CreateTemp(dir, "github-*.jsonl")
	if err != nil {
		return nil, fmt.Errorf("record to %s: %w", dir, err)
	}
	return &recorder{file: file, seen: map[string]bool{}}, nil
}

// secrets are GitHub's tokens, as its own secret scanning knows them.
var secrets = regexp.MustCompile(`(gh[oprsu]|github_pat)_[A-Za-z0-9_.-]{8,}`)

func blotted(text string) string {
	for _, prefix := range []string{"gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_"} {
		if strings.Contains(text, prefix) { // few texts have any, and the expression is slow
			return secrets.ReplaceAllString(text, "${1}_redacted")
		}
	}
	return text
}

// write appends a record. A line that cannot be written fails the Close of
// every server of this process: a recording with holes would prove what it
// does not show.
func (r *recorder) write(at string, c Record) {
	for _, text := range []*string{&c.Path, &c.Query, &c.Request, &c.Response, &c.Payload} {
		*text = blotted(strings.ReplaceAll(*text, at, RecordedURL))
	}
	for _, values := range c.Header {
		for i := range values {
			values[i] = strings.ReplaceAll(values[i], at, RecordedURL)
		}
	}
	c.Key = c.form()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[c.Key] {
		c = Record{Again: c.Key}
	}
	r.seen[c.Key] = true
	line, err := json.Marshal(c)
	if err == nil {
		_, err = r.file.Write(append(line, '\n'))
	}
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("record an exchange: %w", err)
	}
}

func (r *recorder) failed() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// form is the key of a record: equal for records of which no description
// could tell one from the other.
func (c Record) form() string {
	h := sha256.New()
	tag := c.Header.Get("ETag") != ""
	fmt.Fprintln(h, c.Method, c.Event, c.Status, tag, c.Agent, c.Accept, c.ContentType, c.Header.Get("Content-Type"))
	for _, text := range []string{c.Path, c.Query, c.Request, c.Header.Get("Link"), c.Header.Get("Location"), c.Response, c.Payload} {
		_, _ = h.Write(shapeOf(text)) // never fails
		_, _ = h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// shapeOf puts one letter in the place of each object hash and one digit in
// the place of each number; zero stays apart, being a value of its own.
func shapeOf(text string) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		if n := run(text[i:], isHex); n == 40 {
			out, i = append(out, 'h'), i+n
			continue
		}
		n := run(text[i:], isDigit)
		switch {
		case n == 0:
			out, i = append(out, text[i]), i+1
		case text[i:i+n] == "0":
			out, i = append(out, '0'), i+n
		default:
			out, i = append(out, '1'), i+n
		}
	}
	return out
}

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func isHex(b byte) bool { return isDigit(b) || 'a' <= b && b <= 'f' }

// run counts how many bytes at the start of text are of a kind, up to 41:
// longer than an object hash is all the same.
func run(text string, is func(byte) bool) int {
	n := 0
	for n < len(text) && n < 41 && is(text[n]) {
		n++
	}
	return n
}

// heard is what the recorder has taken down of one exchange so far.
type heard struct {
	http.ResponseWriter
	keep   bool // the answer's body
	status int
	body   bytes.Buffer
}

func (h *heard) WriteHeader(status int) {
	if h.status == 0 {
		h.status = status
	}
	h.ResponseWriter.WriteHeader(status)
}

func (h *heard) Write(p []byte) (int, error) {
	if h.status == 0 {
		h.status = http.StatusOK
	}
	if h.keep {
		h.body.Write(p)
	}
	return h.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the real writer.
func (h *heard) Unwrap() http.ResponseWriter { return h.ResponseWriter }

type takenDown struct{}

// outside stands around the faults: it takes the request down and writes the
// record when all is over, whether the connection was cut or not.
func (r *recorder) outside(at string, next http.Handler) http.Handler {
	if r == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c := &Record{
			Method: req.Method, Path: req.URL.EscapedPath(), Query: req.URL.RawQuery,
			Agent: req.UserAgent(), Accept: req.Header.Get("Accept"), ContentType: req.Header.Get("Content-Type"),
		}
		if hasBodies(req) {
			body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
			if err != nil {
				return // the client is gone
			}
			c.Request = string(body)
			req.Body = io.NopCloser(bytes.NewReader(body))
		}
		defer func() { r.write(at, *c) }()
		next.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), takenDown{}, c)))
	})
}

// inside stands between the faults and the server: what passes here is
// GitHub's own answer, even where a fault then keeps it from the client.
func (r *recorder) inside(next http.Handler) http.Handler {
	if r == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c, _ := req.Context().Value(takenDown{}).(*Record)
		h := &heard{ResponseWriter: w, keep: hasBodies(req)}
		next.ServeHTTP(h, req)
		if c == nil {
			return
		}
		c.Status, c.Response, c.Header = max(h.status, http.StatusOK), h.body.String(), http.Header{}
		for _, name := range []string{"Content-Type", "ETag", "Link", "Location"} {
			if v := w.Header().Values(name); len(v) > 0 {
				c.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), v...)
			}
		}
	})
}

// hasBodies reports whether the bodies of an exchange are JSON of the API:
// those of git are packs, and those of the sign-in hold secrets.
func hasBodies(req *http.Request) bool {
	_, git := parseGitPath(req)
	return !git && !strings.HasPrefix(req.URL.Path, "/login/")
}

func (r *recorder) webhook(at, event string, payload []byte) {
	if r != nil {
		r.write(at, Record{Event: event, Payload: string(payload)})
	}
}
