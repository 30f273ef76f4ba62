package slack

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answerLimit bounds what is read of an answer.
const answerLimit = 1 << 20

// Delivery is one request that Slack sends to an app. A test may change it and
// send it with Deliver: an older SignedAt, a Header that replaces the
// signature, another body.
type Delivery struct {
	URL         string
	ContentType string
	Body        string

	// SignedAt is the wall time of the signature; zero means when it is sent.
	SignedAt time.Time
	// Header is set last, over what Slack would send.
	Header http.Header
}

// Answer is what the app answered to a Delivery.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration // wall time

	// Message is what the person is shown because of the body alone; nil for
	// a bare acknowledgement.
	Message *Message

	TriggerID   string // of what was delivered
	ResponseURL string // of what was delivered; empty for events and forms
	Delivery    Delivery
}

// Deliver signs and sends a delivery and returns the answer, whatever its
// status. An app that does not answer within Patience is an error: Slack tells
// the person that the app failed, and so must the caller.
func (s *Server) Deliver(d Delivery) (*Answer, error) {
	req, err := http.NewRequest(http.MethodPost, d.URL, strings.NewReader(d.Body))
	if err != nil {
		return nil, fmt.Errorf("deliver to %s: %w", d.URL, err)
	}
	at := d.SignedAt
	if at.IsZero() {
		at = time.Now()
	}
	stamp := strconv.FormatInt(at.Unix(), 10)
	req.Header.Set("Content-Type", d.ContentType)
	req.Header.Set("User-Agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
	req.Header.Set("X-Slack-Request-Timestamp", stamp)
	req.Header.Set("X-Slack-Signature", sign(s.secret, stamp, d.Body))
	maps.Copy(req.Header, d.Header)

	client := *s.client
	client.Timeout = s.Patience
	begun := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("deliver to %s: %w", d.URL, err)
	}
	defer func() { _ = resp.Body.Close() }() // it has been read or has failed by then
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", d.URL, err)
	}
	return &Answer{Status: resp.StatusCode, Header: resp.Header, Body: body, Took: time.Since(begun), Delivery: d}, nil
}

// sign is Slack's v0 scheme.
func sign(secret, stamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, "v0:"+stamp+":"+body) // a hash never fails
	return "v0=" + hex.EncodeToString(mac.Sum(nil))
}

// Redeliver sends the same body once more under a fresh signature, as Slack
// does when it saw no answer: the trigger id in it is the same.
func (s *Server) Redeliver(a *Answer) (*Answer, error) {
	d := a.Delivery
	d.SignedAt = time.Time{}
	again, err := s.Deliver(d)
	if err != nil {
		return nil, err
	}
	again.TriggerID, again.ResponseURL = a.TriggerID, a.ResponseURL
	if err := s.showAnswer(again); err != nil {
		return nil, err
	}
	return again, nil
}

// showAnswer shows the person what the body of an answer says: to them alone,
// or in the channel where it asks for that.
func (s *Server) showAnswer(a *Answer) error {
	body := strings.TrimSpace(string(a.Body))
	if a.Status != http.StatusOK || body == "" {
		return nil
	}
	say := reply{Text: body}
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/json") {
		say = reply{}
		if err := json.Unmarshal([]byte(body), &say); err != nil {
			return fmt.Errorf("answer of %s: %w", a.Delivery.URL, err)
		}
	}
	if say.Text == "" && len(say.Blocks) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hooks[strings.TrimPrefix(a.ResponseURL, s.URL())]
	if h == nil {
		return nil // an event or a form: Slack shows nothing of its answer
	}
	m, err := s.apply(h, say)
	if err != nil {
		return fmt.Errorf("answer of %s: %w", a.Delivery.URL, err)
	}
	a.Message = m
	return nil
}
