package vaultlease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tigeraccess/tac/grants/world"
)

// identity says as whom a call is made.
type identity int

const (
	asBot     identity = iota // with the session's token
	asGiven                   // with request.token
	anonymous                 // with none
)

// request is one call.
type request struct {
	path  string
	body  any           // nil: GET
	list  bool          // LIST
	wrap  time.Duration // X-Vault-Wrap-TTL
	auth  identity
	token world.Secret
	// effect says that the call changes something: a lost answer is then
	// ambiguous, and a 403 is final. A creds call is a GET with an effect.
	effect bool
}

// answer is Vault's envelope. It may hold secrets and never leaves a call's
// own function as a whole.
type answer struct {
	body []byte

	LeaseID       string          `json:"lease_id"`
	LeaseDuration int64           `json:"lease_duration"`
	Renewable     bool            `json:"renewable"`
	Data          json.RawMessage `json:"data"`
	Warnings      []string        `json:"warnings"`
	Errors        []string        `json:"errors"`
	WrapInfo      *struct {
		Token    string `json:"token"`
		Accessor string `json:"accessor"`
		TTL      int64  `json:"ttl"`
	} `json:"wrap_info"`
	Auth *struct {
		ClientToken   string            `json:"client_token"`
		Accessor      string            `json:"accessor"`
		Policies      []string          `json:"policies"`
		Metadata      map[string]string `json:"metadata"`
		LeaseDuration int64             `json:"lease_duration"`
		Renewable     bool              `json:"renewable"`
		Orphan        bool              `json:"orphan"`
		TokenType     string            `json:"token_type"`
		NumUses       int               `json:"num_uses"`
	} `json:"auth"`
}

// statusError is an answer that is not a success, in Vault's own words.
type statusError struct {
	status int
	texts  []string
}

const longestText = 300

func (e *statusError) Error() string {
	text := strings.Join(e.texts, "; ")
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "") + "..."
	}
	if text == "" {
		return fmt.Sprintf("vault answered %d", e.status)
	}
	return fmt.Sprintf("vault answered %d: %s", e.status, text)
}

// hasStatus reports whether Vault answered with one of the statuses.
func hasStatus(err error, statuses ...int) bool {
	var se *statusError
	return errors.As(err, &se) && slices.Contains(statuses, se.status)
}

// says reports whether Vault answered status with exactly one sentence, text.
// It is how death is told from every other refusal, so it accepts no more.
func says(err error, status int, text string) bool {
	var se *statusError
	return errors.As(err, &se) && se.status == status && len(se.texts) == 1 && se.texts[0] == text
}

// sentences takes off the wrapping that Vault's core puts around an error.
func sentences(texts []string) []string {
	out := make([]string, 0, len(texts))
	for _, t := range texts {
		t = strings.TrimSpace(t)
		if rest, ok := strings.CutPrefix(t, "1 error occurred:"); ok {
			t = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(rest), "*"))
		}
		out = append(out, t)
	}
	return out
}

// call makes one exchange. The answer is not nil where Vault answered in its
// own JSON, whatever the status. Where a read by the bot is refused because
// its token is gone, it logs in anew and asks once more; writes are never
// repeated.
func (c *Client) call(ctx context.Context, r request) (*answer, error) {
	if r.auth != asBot {
		return c.exchange(ctx, r)
	}
	token, err := c.session.token(ctx)
	if err != nil {
		return nil, err
	}
	r.token = token
	a, err := c.exchange(ctx, r)
	if r.effect || !hasStatus(err, http.StatusForbidden) {
		return a, err
	}
	renewed, loginErr := c.session.replace(ctx, token)
	if loginErr != nil {
		// Only the login is wrapped: why it failed says whether Vault is down or
		// the bot is not let in, and the 403 before it says neither.
		return nil, fmt.Errorf("%w (after: %v)", loginErr, err)
	}
	if renewed == token {
		return a, err
	}
	r.token = renewed
	return c.exchange(ctx, r)
}

// exchange sends one request and reads its answer, within its own deadline.
func (c *Client) exchange(ctx context.Context, r request) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	// The clients below are only ever copied: the copy carries what this
	// call alone needs, its token above all.
	client := c.vault
	if r.effect && r.body == nil {
		client = c.once
	}
	client = client.WithRequestCallbacks(func(req *api.Request) {
		req.ClientToken = r.token.Reveal()
		if r.wrap > 0 {
			req.WrapTTL = strconv.FormatInt(int64(r.wrap/time.Second), 10) + "s"
		}
		if c.cfg.ForwardToActive && r.auth != anonymous {
			req.Headers.Set(api.HeaderForward, "active-node")
		}
	})
	resp, err := send(ctx, client, r)
	if resp != nil && resp.Response != nil {
		defer func() { _ = resp.Body.Close() }() // what could not be read is not used
	}
	return r.judge(resp, err)
}

func send(ctx context.Context, client *api.Client, r request) (*api.Response, error) {
	if r.body == nil {
		query := url.Values{}
		if r.list {
			query.Set("list", "true")
		}
		return client.Logical().ReadRawWithDataWithContext(ctx, r.path, query)
	}
	body, err := json.Marshal(r.body)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return client.Logical().WriteRawWithContext(ctx, r.path, body)
}

const mostBody = 4 << 20

// judge sorts what came back into answers, refusals and what is not known.
func (r request) judge(resp *api.Response, err error) (*answer, error) {
	var refused *api.ResponseError
	if resp == nil || resp.Response == nil || err != nil && !errors.As(err, &refused) {
		if err == nil {
			err = errors.New("no answer")
		}
		return nil, r.unknown(err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil {
		return nil, r.unknown(fmt.Errorf("read the answer: %w", err))
	}
	a := &answer{body: body}
	decodeErr := error(nil)
	if len(bytes.TrimSpace(body)) > 0 {
		decodeErr = json.Unmarshal(body, a)
	}
	status := resp.StatusCode
	switch {
	case status >= 200 && status < 300 && decodeErr == nil:
		return a, nil
	case status >= 200 && status < 300:
		// The decoder's error could quote the answer, and the answer may be
		// a secret.
		return nil, r.unknown(errors.New("the answer is not JSON"))
	case decodeErr != nil:
		// A proxy's page: it may repeat our headers, so it is not quoted.
		a, err = nil, &statusError{status: status, texts: []string{"not an answer of vault's"}}
	default:
		err = &statusError{status: status, texts: sentences(a.Errors)}
	}
	if status < 400 || status >= 500 {
		return a, r.unknown(err)
	}
	return a, err
}

// unknown marks the failure of a call that may have happened nevertheless.
func (r request) unknown(err error) error {
	if r.effect {
		return fmt.Errorf("%w: %w", world.ErrAmbiguous, err)
	}
	return err
}

// into decodes the answer's data. Errors do not quote it.
func (a *answer) into(v any) error {
	if len(a.Data) == 0 {
		return errors.New("the answer has no data")
	}
	if err := json.Unmarshal(a.Data, v); err != nil {
		return errors.New("the answer's data has an unexpected form")
	}
	return nil
}
