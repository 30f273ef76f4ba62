package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

const apiPath = "/api/v1"

// Grant is a grant as the server shows it, and as `-o json` does: every field
// is always there.
type Grant struct {
	ID          grants.ID      `json:"id"`
	Phase       grants.Phase   `json:"phase"`
	Outcome     grants.Outcome `json:"outcome"` // empty: it has not ended
	Resource    string         `json:"resource"`
	Requester   string         `json:"requester"` // a GitHub login, for people
	RequesterID int64          `json:"requester_id"`
	Duration    string         `json:"duration"`
	RequestedAt *time.Time     `json:"requested_at"`
	StartsAt    *time.Time     `json:"starts_at"`
	EndsAt      *time.Time     `json:"ends_at"`
	Reason      string         `json:"reason"`
	Ticket      string         `json:"ticket"`
	PullRequest int            `json:"pull_request"` // 0: none yet
	URL         string         `json:"url"`          // of the pull request
	Rule        string         `json:"rule"`
	Approvers   []string       `json:"approvers"`
	WaitingFor  []string       `json:"waiting_for"` // who could approve now
	Head        string         `json:"head"`        // the commit that an answer to an open request is about
	MayAnswer   bool           `json:"may_answer"`  // whoever looks may approve or deny it
	BreakGlass  bool           `json:"break_glass"`
	Extends     grants.ID      `json:"extends"`    // the grant that this one makes longer
	Extensions  []grants.ID    `json:"extensions"` // what made this one longer
	Why         string         `json:"why"`
	Taken       bool           `json:"taken"` // a credential is out
	Engine      string         `json:"engine"`
	Connect     string         `json:"connect"` // a shell line
	Total       string         `json:"total"`   // of an extension, the whole length that it makes
	ApproveFrom []string       `json:"approve_from"`
	Denied      []string       `json:"denied"`    // whose denial stands
	Asked       string         `json:"asked"`     // the duration first asked for, where less was given
	Aftermath   *Aftermath     `json:"aftermath"` // of a broken glass
}

// Aftermath is how far somebody's look at a broken glass has come.
type Aftermath struct {
	Issue   int       `json:"issue"`
	URL     string    `json:"url"`
	Due     time.Time `json:"due"`
	Overdue bool      `json:"overdue"`
	By      string    `json:"by"` // who looked at it; empty: nobody yet
}

// Length says how long a grant is, as people read it: an extension adds to
// what another one has.
func (g Grant) Length() string { return Length(g.Duration, g.Extends, g.BreakGlass) }

// Length says how long something is that is not a grant yet.
func Length(duration string, extends grants.ID, breakGlass bool) string {
	switch {
	case duration == "":
		return ""
	case extends != "":
		return duration + " more"
	case breakGlass:
		return duration + ", break-glass"
	}
	return duration
}

// Over reports whether nothing can come of the grant any more.
func (g Grant) Over() bool {
	switch g.Phase {
	case grants.PhaseDenied, grants.PhaseLapsed, grants.PhaseWithdrawn, grants.PhaseRefused,
		grants.PhaseFailed, grants.PhaseEnded, grants.PhaseClosed:
		return true
	}
	return false
}

// Decision is what policy says of a request, as the server and `policy
// explain` write it.
type Decision struct {
	Decision    string      `json:"decision"` // allow, review or deny
	Rule        string      `json:"rule"`
	Reasons     []Reason    `json:"reasons"`
	Approvers   Approvers   `json:"approvers"`
	Nearest     string      `json:"nearest"`
	Policies    []Verdict   `json:"policies"`
	Needs       []Approvers `json:"needs"`
	Requester   string      `json:"requester"`
	Resource    string      `json:"resource"`
	Duration    string      `json:"duration"`
	MaxDuration string      `json:"max_duration,omitempty"`
	RequestTTL  string      `json:"request_ttl,omitempty"`
	At          string      `json:"at,omitempty"`
	Assumed     []string    `json:"assumed,omitempty"`
	Silent      []string    `json:"silent,omitempty"` // what sources of facts that did not answer said
}

// Reason is one thing that was looked at. A nil Holds: it could not be found
// out, and counts as not held.
type Reason struct {
	Rule      string `json:"rule"`
	Condition string `json:"condition"`
	Holds     *bool  `json:"holds"`
	Observed  string `json:"observed"`
	Wanted    string `json:"wanted"`
}

// Approvers is whose approval is needed, by one policy or by all.
type Approvers struct {
	Policy   string   `json:"policy,omitempty"`
	Required int      `json:"required"`
	Roles    []string `json:"roles"`
	People   []string `json:"people"`
}

// Verdict is what one policy says by itself.
type Verdict struct {
	Policy   string `json:"policy"`
	Decision string `json:"decision"`
	Rule     string `json:"rule"`
}

// Ask is a request for access.
type Ask struct {
	Resource string `json:"resource"`
	Duration string `json:"duration"`
	Reason   string `json:"reason,omitempty"`
	Ticket   string `json:"ticket,omitempty"`
	Start    string `json:"start,omitempty"` // RFC 3339 in UTC
	DryRun   bool   `json:"dry_run,omitempty"`
	// BreakGlass asks for access without anybody's approval, in an emergency.
	BreakGlass bool `json:"break_glass,omitempty"`
}

// Answer is what came of an Ask. Decision is nil where the request was known
// already.
type Answer struct {
	ID       grants.ID `json:"id"`      // empty: a dry run
	Extends  grants.ID `json:"extends"` // of an extension: what it makes longer
	Existing bool      `json:"existing"`
	Decision *Decision `json:"decision"`
}

// Request asks for access. key makes the ask one and the same however often
// it is delivered.
func (c *Client) Request(ctx context.Context, a Ask, key string) (Answer, error) {
	var out Answer
	err := c.do(ctx, call{method: http.MethodPost, path: "/requests", body: a, key: key, tries: tries, tryBusy: true}, &out)
	return out.checked(err)
}

// checked refuses an id that is none: it becomes the name of a folder.
func (a Answer) checked(err error) (Answer, error) {
	for _, id := range []grants.ID{a.ID, a.Extends} {
		if err == nil && id != "" {
			_, err = grants.ParseID(string(id))
		}
	}
	return a, err
}

// More is a wish for a grant to last longer.
type More struct {
	Duration string `json:"duration"`         // added to what the grant has
	Reason   string `json:"reason,omitempty"` // empty: that of the grant
	Ticket   string `json:"ticket,omitempty"` // empty: that of the grant
	DryRun   bool   `json:"dry_run,omitempty"`
}

// Extend asks for a grant of one's own to last longer. The answer names the
// grant that makes it so. key is as in Request.
func (c *Client) Extend(ctx context.Context, id grants.ID, m More, key string) (Answer, error) {
	var out Answer
	err := c.do(ctx, call{method: http.MethodPost, path: grantPath(id, "/extend"), body: m, key: key, tries: tries, tryBusy: true}, &out)
	return out.checked(err)
}

// Approval is consent to a request as it stood at Head.
type Approval struct {
	Head     string `json:"head"`
	Duration string `json:"duration,omitempty"` // give less than was asked for
	Reason   string `json:"reason,omitempty"`
}

// Approve has the server submit an approving review in one's own name. It is
// tried once: where no answer comes, people look before they say it again.
func (c *Client) Approve(ctx context.Context, id grants.ID, a Approval) (Grant, error) {
	var out Grant
	err := c.do(ctx, call{method: http.MethodPost, path: grantPath(id, "/approve"), body: a}, &out)
	return out, err
}

// Denial is a no to a request as it stood at Head.
type Denial struct {
	Head   string `json:"head"`
	Reason string `json:"reason"`
}

// Deny has the server submit a review that requests changes, in one's own
// name. It is tried once, as Approve is.
func (c *Client) Deny(ctx context.Context, id grants.ID, d Denial) (Grant, error) {
	var out Grant
	err := c.do(ctx, call{method: http.MethodPost, path: grantPath(id, "/deny"), body: d}, &out)
	return out, err
}

// List returns the grants that one may see, newest first; without all only
// those that are not over.
func (c *Client) List(ctx context.Context, all bool) ([]Grant, error) {
	state := "open"
	if all {
		state = "all"
	}
	var out struct {
		Grants []Grant `json:"grants"`
	}
	err := c.do(ctx, call{method: http.MethodGet, path: "/grants?state=" + state, tries: tries}, &out)
	return out.Grants, err
}

func grantPath(id grants.ID, verb string) string {
	return "/grants/" + url.PathEscape(string(id)) + verb
}

// Show returns one grant.
func (c *Client) Show(ctx context.Context, id grants.ID) (Grant, error) {
	var out Grant
	err := c.do(ctx, call{method: http.MethodGet, path: grantPath(id, ""), tries: tries}, &out)
	return out, err
}

// Explanation is why a grant stands where it stands.
type Explanation struct {
	Grant    Grant     `json:"grant"`
	Decision *Decision `json:"decision"`
	Ignored  []string  `json:"ignored"` // reviews that do not count, and why
}

// Explain returns why a grant stands where it stands.
func (c *Client) Explain(ctx context.Context, id grants.ID) (Explanation, error) {
	var out Explanation
	err := c.do(ctx, call{method: http.MethodGet, path: grantPath(id, "/explanation"), tries: tries}, &out)
	return out, err
}

// Drop ends one's own grant.
func (c *Client) Drop(ctx context.Context, id grants.ID) (Grant, error) {
	var out Grant
	err := c.do(ctx, call{method: http.MethodPost, path: grantPath(id, "/drop"), body: struct{}{}, tries: tries}, &out)
	return out, err
}

// Revoke ends somebody's grant.
func (c *Client) Revoke(ctx context.Context, id grants.ID, reason string) (Grant, error) {
	var out Grant
	body := struct {
		Reason string `json:"reason"`
	}{reason}
	err := c.do(ctx, call{method: http.MethodPost, path: grantPath(id, "/revoke"), body: body, tries: tries}, &out)
	return out, err
}

// claimAsk is what the claimant brings.
type claimAsk struct {
	Key       string `json:"key"`
	Replace   bool   `json:"replace,omitempty"`
	PublicKey string `json:"public_key,omitempty"` // ssh
	CSR       string `json:"csr,omitempty"`        // pki
}

// claim takes the credential of a grant. An answer that was lost is asked for
// again: the server knows the claimant by the key and replaces what was lost.
func (c *Client) claim(ctx context.Context, id grants.ID, ask claimAsk) (Grant, Credential, error) {
	var out struct {
		Grant      Grant      `json:"grant"`
		Credential Credential `json:"credential"`
	}
	err := c.do(ctx, call{method: http.MethodPost, path: grantPath(id, "/claim"), body: ask, tries: tries}, &out)
	return out.Grant, out.Credential, err
}

// Person is whoever a token belongs to.
type Person struct {
	GitHub string `json:"github"`
	ID     int64  `json:"id"`
}

// Whoami asks the server whose token is in use.
func (c *Client) Whoami(ctx context.Context) (Person, error) {
	var out Person
	err := c.do(ctx, call{method: http.MethodGet, path: "/whoami", tries: tries}, &out)
	return out, err
}

// Credential is what opens a resource.
type Credential struct {
	Engine    string // database, ssh, pki or generic
	Username  string
	Password  world.Secret
	Fields    map[string]world.Secret // of a generic engine; of pki, the authorities
	SignedKey string                  // a certificate: OpenSSH's, or PEM of pki
	Until     time.Time
}

// Revealed is a Credential as JSON: for its holder's own eyes.
type Revealed struct {
	Engine    string            `json:"engine"`
	Username  string            `json:"username,omitempty"`
	Password  string            `json:"password,omitempty"`
	Fields    map[string]string `json:"fields"`
	SignedKey string            `json:"signed_key,omitempty"`
	Until     time.Time         `json:"until"`
}

// Reveal returns the credential in the open.
func (c Credential) Reveal() Revealed {
	out := Revealed{
		Engine: c.Engine, Username: c.Username, Password: c.Password.Reveal(),
		Fields: map[string]string{}, SignedKey: c.SignedKey, Until: c.Until.UTC(),
	}
	for name, value := range c.Fields {
		out.Fields[name] = value.Reveal()
	}
	return out
}

// UnmarshalJSON reads what the server answers and what Reveal writes.
func (c *Credential) UnmarshalJSON(data []byte) error {
	var r Revealed
	if err := json.Unmarshal(data, &r); err != nil {
		return err
	}
	*c = Credential{
		Engine: r.Engine, Username: r.Username, Password: world.NewSecret(r.Password),
		Fields: map[string]world.Secret{}, SignedKey: r.SignedKey, Until: r.Until,
	}
	for name, value := range r.Fields {
		c.Fields[name] = world.NewSecret(value)
	}
	return nil
}
