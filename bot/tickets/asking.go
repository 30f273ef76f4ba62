package tickets

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxAnswer is how many bytes of an answer are read: far more than any that
// can be meant for us.
const maxAnswer = 4 << 20

// service is one service that can be asked.
type service struct {
	title   string // as people write it
	base    *url.URL
	next    http.RoundTripper
	timeout time.Duration
}

// newService checks an address before a token is ever sent there.
func newService(title, address string, h *http.Client, timeout time.Duration) (*service, error) {
	u, err := url.Parse(strings.TrimRight(address, "/"))
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s: its address is not one such as https://acme.example.com", title)
	}
	host := u.Hostname()
	loopback := host == "localhost" || net.ParseIP(host).IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return nil, fmt.Errorf("%s: %s is not https, and the token would go there in the clear", title, u.Redacted())
	}
	s := &service{title: title, base: u, next: http.DefaultTransport, timeout: timeout}
	if h != nil && h.Transport != nil {
		s.next = h.Transport
	}
	return s, nil
}

// question is one question to a service, whatever calls it takes. It carries
// them for the service's library and remembers how they went, because the
// libraries tell it each in another way, or not at all. A question is asked by
// one goroutine.
type question struct {
	to      *service
	ctx     context.Context // lives as long as the question, which is one method call
	retried bool
	lost    error // why there was no answer

	// Of the last answer:
	status int // 0: there was none
	header http.Header
	body   []byte
}

// ask begins a question. The caller ends it with the function that is returned.
func (s *service) ask(ctx context.Context) (*question, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	return &question{to: s, ctx: ctx}, cancel
}

// client returns the HTTP client to give to a library.
func (q *question) client() *http.Client { return &http.Client{Transport: q} }

// RoundTrip sends a call and reads the whole answer. Where the connection
// broke or the service is in trouble it tries once more, once a question:
// reading twice does no harm, and one replaced connection is no outage.
//
// A library is shown success and nothing else. What a refusal means is read
// in this package, and a redirect that is followed would take the token along.
func (q *question) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := q.send(r)
	trouble := err != nil || resp.StatusCode >= http.StatusInternalServerError
	if trouble && !q.retried && q.ctx.Err() == nil && !errors.Is(err, errTooLong) {
		q.retried = true
		resp, err = q.send(r)
	}
	q.status, q.lost = 0, err
	if err != nil {
		return nil, err
	}
	q.status, q.header = resp.StatusCode, resp.Header
	if q.status != http.StatusOK {
		return nil, errRefused
	}
	return resp, nil
}

func (q *question) send(r *http.Request) (*http.Response, error) {
	again := r.Clone(q.ctx)
	if r.GetBody != nil { // a second call sends its body a second time
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	// Whatever the library makes of the address, the token goes nowhere else.
	again.URL.Scheme, again.URL.Host, again.Host = q.to.base.Scheme, q.to.base.Host, q.to.base.Host
	again.Header.Set("User-Agent", "tac")
	resp, err := q.to.next.RoundTrip(again)
	if err != nil {
		return nil, err
	}
	q.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	if err == nil && len(q.body) > maxAnswer {
		err = errTooLong
	}
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(q.body))
	return resp, nil
}

var (
	errTooLong = errors.New("the answer is too long")
	errRefused = errors.New("the answer is a refusal")
)

// nonsense is an answer that came and cannot be right. Its text completes
// "answered what cannot be used: " and holds nothing of the answer.
type nonsense string

func (n nonsense) Error() string { return string(n) }

// unfit is an answer that is right, and by which nothing can be known. Its
// text is the whole sentence.
type unfit string

func (u unfit) Error() string { return string(u) }

// silence says in one sentence why a question was left without an answer. It
// is for everybody to read: what is in it was written here, but for the name
// of what was asked about.
func (q *question) silence(err error, about string) string {
	title := q.to.title
	var odd nonsense
	var sentence unfit
	switch {
	case errors.As(err, &sentence):
		return string(sentence)
	case errors.As(err, &odd):
		return fmt.Sprintf("%s answered what cannot be used: %s", title, string(odd))
	case q.status == 0 || errors.Is(q.ctx.Err(), context.DeadlineExceeded):
		return title + " " + q.noAnswer()
	case q.status == http.StatusUnauthorized:
		return title + " does not accept tac's token"
	case q.status == http.StatusForbidden:
		return fmt.Sprintf("%s does not let tac's token see %s", title, about)
	case q.status == http.StatusTooManyRequests:
		return title + " takes no more questions from tac for now"
	case q.status >= http.StatusInternalServerError:
		return fmt.Sprintf("%s is in trouble: it answered %d", title, q.status)
	case q.status != http.StatusOK:
		return fmt.Sprintf("%s refused to say: it answered %d", title, q.status)
	}
	return title + " answered what cannot be used: it is not the JSON that its documentation promises"
}

// noAnswer completes a sentence that begins with the service's name.
func (q *question) noAnswer() string {
	var network *net.OpError
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(q.ctx.Err(), context.DeadlineExceeded):
		return fmt.Sprintf("did not answer within %s", q.to.timeout)
	case errors.Is(q.lost, errTooLong):
		return "answered what cannot be used: it is too long"
	case errors.As(q.lost, &certificate):
		return "cannot be reached: its certificate is not trusted"
	case errors.As(q.lost, &name), errors.As(q.lost, &network) && network.Op == "dial":
		return "cannot be reached"
	}
	return "gave no answer"
}
