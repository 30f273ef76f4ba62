package githubpr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"
)

// RateLimited says that GitHub's limits are used up. Nothing was done, and
// nothing will be sent before Until.
type RateLimited struct {
	Until time.Time // on Config.Now's clock
}

func (e *RateLimited) Error() string {
	return "github's rate limit is used up until " + e.Until.UTC().Format(time.RFC3339)
}

// answerError is a refusal by GitHub, in its own words. Errors of the
// libraries stop here: they carry requests, and these carry tokens.
type answerError struct {
	status   int
	sentence string
}

func (e *answerError) Error() string {
	return fmt.Sprintf("github answered %d: %s", e.status, e.sentence)
}

// lostError is an exchange that did not come to an answer.
type lostError struct {
	text  string
	cause error // context.Canceled or context.DeadlineExceeded, or nil
}

func (e *lostError) Error() string { return e.text }
func (e *lostError) Unwrap() error { return e.cause }

// notSent marks what failed before the call itself left: there was no token.
type notSent struct{ cause error }

func (e *notSent) Error() string { return e.cause.Error() }
func (e *notSent) Unwrap() error { return e.cause }

// failed turns an error of the libraries into one of ours that says what we
// were doing and holds no secret. errors.Is finds context errors and
// errors.As finds *RateLimited.
func (c *Client) failed(doing string, err error) error {
	return fmt.Errorf("%s: %w", doing, c.translate(err))
}

func (c *Client) translate(err error) error {
	var (
		limited   *RateLimited
		unsent    *notSent
		primary   *github.RateLimitError
		secondary *github.AbuseRateLimitError
		refused   *github.ErrorResponse
		accepted  *github.AcceptedError
		tokenless *ghinstallation.HTTPError
	)
	switch {
	case errors.As(err, &limited):
		return limited
	case errors.As(err, &unsent): // made here, so it is ours throughout
		return unsent
	case errors.As(err, &primary):
		wait := min(max(time.Until(primary.Rate.Reset.Time), leastWait), mostWait)
		return &RateLimited{Until: c.cfg.Now().Add(wait)}
	case errors.As(err, &secondary):
		return &RateLimited{Until: c.cfg.Now().Add(max(secondary.GetRetryAfter(), leastWait))}
	case errors.As(err, &refused):
		return &answerError{status: statusOf(refused.Response), sentence: c.scrub(sentence(refused))}
	case errors.As(err, &accepted):
		return &answerError{status: http.StatusAccepted, sentence: "accepted, but not done yet"}
	case errors.As(err, &tokenless):
		if tokenless.Response != nil {
			return &notSent{&answerError{status: statusOf(tokenless.Response), sentence: c.scrub(tokenSentence(tokenless.Response))}}
		}
		return &notSent{c.lost(err)}
	}
	return c.lost(err)
}

func (c *Client) lost(err error) *lostError {
	out := &lostError{text: "no answer from github: " + c.scrub(err.Error())}
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, cause) {
			out.cause = cause
		}
	}
	return out
}

func statusOf(resp *http.Response) int {
	if resp == nil {
		return 0
	}
	return resp.StatusCode
}

// sentence is what GitHub says is wrong, details and all.
func sentence(e *github.ErrorResponse) string {
	parts := []string{e.Message}
	for _, d := range e.Errors {
		switch {
		case d.Message != "":
			parts = append(parts, d.Message)
		case d.Field != "" || d.Code != "":
			parts = append(parts, strings.TrimSpace(d.Field+" "+d.Code))
		}
	}
	text := strings.Join(parts, ": ")
	if text == "" {
		return http.StatusText(statusOf(e.Response))
	}
	return text
}

// tokenSentence is what GitHub says about a token it did not give.
func tokenSentence(resp *http.Response) string {
	var said struct{ Message string }
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil || json.Unmarshal(body, &said) != nil || said.Message == "" {
		return "no installation token: " + http.StatusText(resp.StatusCode)
	}
	return "no installation token: " + said.Message
}

// answered reports whether err is GitHub's answer with that status to the
// call itself.
func answered(err error, status int) bool {
	var answer *answerError
	var unsent *notSent
	return errors.As(err, &answer) && answer.status == status && !errors.As(err, &unsent)
}

// says reports whether err is an answer of GitHub with these words.
func says(err error, words string) bool {
	var answer *answerError
	return errors.As(err, &answer) && strings.Contains(strings.ToLower(answer.sentence), strings.ToLower(words))
}

// unsettled reports whether a write that failed with err may have been done.
func unsettled(err error) bool {
	var (
		answer  *answerError
		limited *RateLimited
		unsent  *notSent
	)
	switch {
	case errors.As(err, &unsent), errors.As(err, &limited):
		return false
	case errors.As(err, &answer):
		return answer.status >= 500 || answer.status < 400
	}
	return true
}

// secretForms are the shapes of GitHub's tokens, old (ghs_ and letters) and
// new (ghs_APPID_JWT), of JWTs, and of authorisation headers. GitHub does not
// echo them; a proxy in between might.
var secretForms = regexp.MustCompile(`(?i)\b(gh[a-z]_|github_pat_)[a-z0-9_.\-]+|\beyJ[a-z0-9_\-]+\.[a-z0-9_\-]+\.[a-z0-9_\-]*|\b(bearer|basic|token) [a-z0-9+/=_.\-]{16,}`)

const maxSentence = 500 // runes

// scrub makes a foreign text fit for an error: no secret, one line, not long.
func (c *Client) scrub(text string) string {
	if secret := c.cfg.ClientSecret.Reveal(); secret != "" {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	text = secretForms.ReplaceAllString(text, "[redacted]")
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if runes := []rune(text); len(runes) > maxSentence {
		text = string(runes[:maxSentence]) + "..."
	}
	return text
}
