package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
)

// Person is somebody who uses tac, by the same HTTP interface that the
// command line uses, with a token that our own GitHub App issued to them.
type Person struct {
	Login string
	world *World
	token string
}

// Person returns somebody with a fresh token.
func (w *World) Person(login string) (*Person, error) {
	token, err := w.GitHub.UserToken(login, w.App)
	if err != nil {
		return nil, fmt.Errorf("sign %s in: %w", login, err)
	}
	return &Person{Login: login, world: w, token: token}, nil
}

// Refusal is an answer that says no.
type Refusal struct {
	Status   int             `json:"-"`
	Code     string          `json:"code"`
	Message  string          `json:"message"`
	Decision json.RawMessage `json:"decision"`
}

func (r *Refusal) Error() string { return r.Message }

// Ask is what one asks for.
type Ask struct {
	Resource string     `json:"resource"`
	Duration string     `json:"duration"`
	Reason   string     `json:"reason,omitempty"`
	Ticket   string     `json:"ticket,omitempty"`
	Start    *time.Time `json:"start,omitempty"`
	DryRun   bool       `json:"dry_run,omitempty"`

	BreakGlass bool `json:"break_glass,omitempty"`
}

// Accepted is the answer to a request.
type Accepted struct {
	ID       grants.ID `json:"id"`
	Existing bool      `json:"existing"`
	Decision struct {
		Decision string `json:"decision"`
		Rule     string `json:"rule"`
		Nearest  string `json:"nearest"`
	} `json:"decision"`
}

// Credential is what a claim gives.
type Credential struct {
	Engine    string            `json:"engine"`
	Username  string            `json:"username"`
	Password  string            `json:"password"`
	Fields    map[string]string `json:"fields"`
	SignedKey string            `json:"signed_key"`
	Until     time.Time         `json:"until"`
}

// Request asks for access.
func (p *Person) Request(ctx context.Context, r *Replica, a Ask) (Accepted, error) {
	return p.RequestAgain(ctx, r, a, rand.Text())
}

// RequestAgain asks with a key of one's own: the same key is the same wish.
func (p *Person) RequestAgain(ctx context.Context, r *Replica, a Ask, key string) (answer Accepted, err error) {
	return answer, p.call(ctx, r, http.MethodPost, "/api/v1/requests", key, a, &answer)
}

// Show looks at a grant.
func (p *Person) Show(ctx context.Context, r *Replica, id grants.ID) (v bot.View, err error) {
	return v, p.call(ctx, r, http.MethodGet, "/api/v1/grants/"+string(id), "", nil, &v)
}

// List looks at all grants that one may see.
func (p *Person) List(ctx context.Context, r *Replica) ([]bot.View, error) {
	var answer struct {
		Grants []bot.View `json:"grants"`
	}
	return answer.Grants, p.call(ctx, r, http.MethodGet, "/api/v1/grants?state=all", "", nil, &answer)
}

// Claim takes the credential. The key is the claimant's own.
func (p *Person) Claim(ctx context.Context, r *Replica, id grants.ID, key, publicKey string, replace bool) (Credential, error) {
	var answer struct {
		Credential Credential `json:"credential"`
	}
	body := map[string]any{"key": key, "replace": replace}
	if publicKey != "" {
		body["public_key"] = publicKey
	}
	return answer.Credential, p.call(ctx, r, http.MethodPost, "/api/v1/grants/"+string(id)+"/claim", "", body, &answer)
}

// Approve answers somebody's request with a review of one's own, on the commit
// that one was shown. An empty duration gives all that was asked for.
func (p *Person) Approve(ctx context.Context, r *Replica, id grants.ID, head, duration string) (v bot.View, err error) {
	body := map[string]string{"head": head}
	if duration != "" {
		body["duration"] = duration
	}
	return v, p.call(ctx, r, http.MethodPost, "/api/v1/grants/"+string(id)+"/approve", "", body, &v)
}

// Deny answers somebody's request with a no, which says why.
func (p *Person) Deny(ctx context.Context, r *Replica, id grants.ID, head, reason string) (v bot.View, err error) {
	return v, p.call(ctx, r, http.MethodPost, "/api/v1/grants/"+string(id)+"/deny", "", map[string]string{"head": head, "reason": reason}, &v)
}

// Extend asks for more time on one's own grant.
func (p *Person) Extend(ctx context.Context, r *Replica, id grants.ID, duration string) (answer Accepted, err error) {
	return answer, p.call(ctx, r, http.MethodPost, "/api/v1/grants/"+string(id)+"/extend", rand.Text(), map[string]string{"duration": duration}, &answer)
}

// Drop ends one's own grant.
func (p *Person) Drop(ctx context.Context, r *Replica, id grants.ID) (v bot.View, err error) {
	return v, p.call(ctx, r, http.MethodPost, "/api/v1/grants/"+string(id)+"/drop", "", struct{}{}, &v)
}

// Revoke ends somebody else's grant.
func (p *Person) Revoke(ctx context.Context, r *Replica, id grants.ID, reason string) (v bot.View, err error) {
	return v, p.call(ctx, r, http.MethodPost, "/api/v1/grants/"+string(id)+"/revoke", "", map[string]string{"reason": reason}, &v)
}

// Ready asks a replica whether it is ready to give access. One that holds new
// access back is ready to end what there is, and says so: that is not enough.
func (r *Replica) Ready(ctx context.Context) (bool, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL()+"/readyz", nil)
	if err != nil {
		return false, fmt.Errorf("make the request: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, fmt.Errorf("ask whether tac is ready: %w", err)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return false, fmt.Errorf("ask whether tac is ready: %w", err)
	}
	return response.StatusCode == http.StatusOK && strings.TrimSpace(string(said)) == "ready", nil
}

func (p *Person) call(ctx context.Context, r *Replica, method, path, key string, in, out any) error {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, r.URL()+path, body)
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+p.token)
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode >= 300 {
		refusal := &Refusal{Status: response.StatusCode}
		if err := json.Unmarshal(data, refusal); err != nil {
			return fmt.Errorf("%s %s: status %d: %s", method, path, response.StatusCode, strings.TrimSpace(string(data)))
		}
		return refusal
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	return nil
}
