package gitstore

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"

	agent = "tac"

	mostRefsBytes   = 64 << 20 // a list of refs
	mostReportBytes = 1 << 20  // the answer to a push
	mostAnswerBytes = 4 << 10  // of an answer that is no success
	mostSaidBytes   = 400      // of what a server says, in an error
	mostErrorBytes  = 2 << 10  // of an error
)

// errNotOurRef says that the server does not (or no longer) offer what was
// asked for.
var errNotOurRef = errors.New("the server does not offer that commit")

// refusal is a definite no of the server: what was asked was not done.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func isRefusal(err error) bool {
	var r *refusal
	return errors.As(err, &r)
}

// wire speaks git's smart HTTP protocol. Reading refs uses protocol version 2
// where the server has it: then one request asks for one ref, however many
// pull requests there have ever been. Packs are asked for by version 0, which
// every server has, in one request each.
type wire struct {
	base   string // the repository, without a slash at the end
	client *http.Client
	token  func(ctx context.Context) (world.Secret, error)

	mu       sync.Mutex
	met      bool // the server has said what it can do
	version2 bool
	sideband bool
}

func newWire(address string, token func(context.Context) (world.Secret, error), client *http.Client) (*wire, error) {
	u, err := url.Parse(address)
	// The address is not repeated in the errors: it may hold a credential.
	switch {
	case err != nil:
		return nil, errors.New("its address is not a URL")
	case u.User != nil:
		return nil, errors.New("its address must not hold credentials")
	case u.Host == "" || u.Path == "" || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("its address must look like https://host/owner/repo.git")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, errors.New("its address must begin with https://, since a credential goes there")
	}
	if client == nil {
		client = &http.Client{Timeout: 2 * time.Minute}
	}
	own := &http.Client{
		Transport: client.Transport,
		Timeout:   client.Timeout,
		// The credential is ours for this one address. A server that sends
		// us elsewhere would get it forwarded (CVE-2026-41506), so a
		// repository that has moved is an error that a person resolves.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &wire{base: strings.TrimRight(u.String(), "/"), client: own, token: token}, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// exchange is one request and what must never be shown of it.
type exchange struct {
	w       *wire
	secrets []string
}

// run does work with a fresh credential and cleans the error of it.
func (w *wire) run(ctx context.Context, work func(x *exchange, auth string) error) error {
	x := &exchange{w: w}
	auth := ""
	if w.token != nil {
		token, err := w.token(ctx)
		if err != nil {
			return fmt.Errorf("get a token for git: %w", err)
		}
		if !token.Empty() {
			t := token.Reveal()
			pair := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + t))
			x.secrets = []string{t, pair, url.QueryEscape(t), url.PathEscape(t)}
			auth = "Basic " + pair
		}
	}
	return x.clean(work(x, auth))
}

// failure is an error as text. Of the errors beneath only those remain that
// callers ask about: any other could hold a URL, a header or a server's echo.
type failure struct {
	text  string
	kinds []error
}

func (f *failure) Error() string   { return f.text }
func (f *failure) Unwrap() []error { return f.kinds }

func (x *exchange) clean(err error) error {
	if err == nil {
		return nil
	}
	text := cut(x.redact(err.Error()), mostErrorBytes)
	f := &failure{text: text}
	var no *refusal
	if errors.As(err, &no) {
		f.kinds = append(f.kinds, &refusal{text: text})
	}
	for _, kind := range []error{context.Canceled, context.DeadlineExceeded, errNotOurRef, errTooLarge} {
		if errors.Is(err, kind) {
			f.kinds = append(f.kinds, kind)
		}
	}
	return f
}

func (x *exchange) redact(text string) string {
	for _, secret := range x.secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return text
}

// quote returns what a server said, for an error. It redacts before it cuts:
// half a credential is still one too much.
func (x *exchange) quote(said string) string {
	return strconv.Quote(cut(x.redact(strings.TrimSpace(said)), mostSaidBytes))
}

func cut(text string, most int) string {
	if len(text) > most {
		return text[:most] + "..."
	}
	return text
}

// request is one HTTP request of the protocol.
type request struct {
	path, query string
	service     string
	body        []byte // nil: a GET
	version2    bool
}

// send makes a request and returns the body of its answer, at most bytes of
// it: more is an error.
func (x *exchange) send(ctx context.Context, auth string, q request, most int64) ([]byte, error) {
	method, kind := http.MethodGet, "advertisement"
	if q.body != nil {
		method, kind = http.MethodPost, "result"
	}
	req, err := http.NewRequestWithContext(ctx, method, x.w.base+q.path+q.query, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "git/"+agent) // servers tell git from browsers by it
	if q.body != nil {
		req.Header.Set("Content-Type", "application/x-"+q.service+"-request")
	}
	if q.version2 {
		req.Header.Set("Git-Protocol", "version=2")
	}
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	res, err := x.w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }() // was read as far as it matters
	if err := x.judge(res); err != nil {
		return nil, err
	}
	want := "application/x-" + q.service + "-" + kind
	if got := res.Header.Get("Content-Type"); got != want {
		return nil, fmt.Errorf("the answer is %s and not %s: that is no git server", x.quote(got), want)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if int64(len(body)) > most {
		return nil, fmt.Errorf("%w: over %d bytes", errTooLarge, most)
	}
	return body, nil
}

// judge turns a status that is not success into an error. Only the statuses
// that mean no are a refusal: after any other the request may have been done.
func (x *exchange) judge(res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	if res.StatusCode >= 300 && res.StatusCode < 400 {
		return &refusal{fmt.Sprintf("the server redirects to %s, which is not followed: correct the repository's address", x.quote(res.Header.Get("Location")))}
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, mostAnswerBytes)) // an answer cut short is still worth showing
	text := fmt.Sprintf("the server answered %d: %s", res.StatusCode, x.quote(string(said)))
	switch res.StatusCode {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return errors.New(text)
	}
	if res.StatusCode >= 400 && res.StatusCode < 500 {
		return &refusal{text}
	}
	return errors.New(text)
}
