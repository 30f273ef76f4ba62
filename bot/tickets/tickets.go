// Package tickets asks Jira, GitHub Issues and Linear about one ticket: is it
// there, is work on it still to be done, whose is it, and when may the change
// be made that it announces. It translates and holds no rules: what a ticket
// is good for, policy says.
//
// # What it promises
//
// A ticket is told to be there only where the tracker has answered with that
// very ticket. It is told not to be there only where the tracker has said so,
// or where the key cannot be one of that tracker's. Everything else is
// silence, and silence is said in one sentence that people can read.
//
// A ticket that was moved is silence too. Under its old key a tracker shows
// what the ticket is now: somebody could move a ticket from a project whose
// states are guarded to one of their own, close the question of its state
// there, and go on using a key that policy trusts.
//
// A key is a text that anybody types. Each tracker's keys have a form that is
// checked before anything is sent, so none can change an address or a query.
//
// Nothing is kept between questions, and nothing is logged.
//
// asking.go carries the calls and puts silence into words; jira.go, issues.go
// and linear.go know the trackers; doctor.go looks at the set-up.
package tickets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// The addresses of the public APIs. Jira has none: each site has its own.
const (
	PublicGitHub = "https://api.github.com"
	PublicLinear = "https://api.linear.app"
)

// DefaultTimeout is how long a question may take.
const DefaultTimeout = 5 * time.Second

// Config says which trackers there are. Asking one that is not set up is
// silence.
type Config struct {
	Jira   JiraConfig
	GitHub GitHubConfig
	Linear LinearConfig

	// Timeout is how long one question may take, however many calls it needs;
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// Now is the clock that answers are dated by. It is needed.
	Now func() time.Time
	// HTTP lends its Transport to the calls to Jira and Linear; nil means
	// http.DefaultTransport.
	HTTP *http.Client
}

// JiraConfig says where Jira is. Without a URL none is set up.
type JiraConfig struct {
	// URL is the address of the site, as https://acme.atlassian.net or
	// https://jira.acme.example/jira. Plain http is taken on loopback
	// addresses only, since the token goes there; the same holds for the
	// other trackers.
	URL string
	// Email is the address of the account that the API token belongs to. It
	// makes this a site of Jira Cloud, where people are known by their
	// account ids. Empty means Data Center: Token is then a personal access
	// token, and people are known by their keys (JIRAUSER10100), which stay
	// the same when a user name is given to somebody else.
	Email string
	Token world.Secret
	// ChangeStart and ChangeEnd are the ids of the two custom fields, with a
	// date and a time each, that hold a ticket's change window, as
	// customfield_10042. Both or neither; without them no ticket has one.
	ChangeStart, ChangeEnd string
}

// GitHubConfig says which issues are tickets. Without Repositories no GitHub
// Issues are set up.
type GitHubConfig struct {
	URL string // of the API; empty: PublicGitHub
	// HTTP makes the calls, and authenticates them by a token that may read
	// issues; the App's own tokens reach the grants repository alone. nil
	// asks as nobody, who sees what is public.
	HTTP *http.Client
	// Repositories are those whose issues are tickets: "acme/app", or "acme"
	// for every repository of that owner. Where strangers may open issues, a
	// ticket that is there proves nothing.
	Repositories []string
	// DefaultRepository is the one that "#12" is an issue of: "acme/app".
	// Empty: such a key is none.
	DefaultRepository string
}

// LinearConfig says how to ask Linear. Without a Token none is set up.
type LinearConfig struct {
	URL string // of the API, without /graphql; empty: PublicLinear
	// Token is a personal API key, which begins with lin_api_, or an OAuth
	// access token. The scope read is enough.
	Token world.Secret
}

// Client asks trackers. It is safe for concurrent use.
type Client struct {
	now    func() time.Time
	jira   *jiraSite     // nil: not set up
	github *githubIssues // nil: not set up
	linear *linear       // nil: not set up
}

// New returns a Client. It sends nothing yet.
func New(cfg Config) (*Client, error) {
	var problems []error
	if cfg.Now == nil {
		problems = append(problems, errors.New("a clock is needed"))
	}
	if cfg.Timeout < 0 {
		problems = append(problems, fmt.Errorf("%s is not a time to wait", cfg.Timeout))
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	c := &Client{now: cfg.Now}
	var err error
	if cfg.Jira.URL != "" {
		c.jira, err = newJira(cfg)
		problems = append(problems, err)
	}
	if len(cfg.GitHub.Repositories) > 0 {
		c.github, err = newGitHub(cfg)
		problems = append(problems, err)
	}
	if !cfg.Linear.Token.Empty() {
		c.linear, err = newLinear(cfg)
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure the trackers: %w", err)
	}
	return c, nil
}

// tokenForm keeps out what cannot stand in a header: a line break at the end
// of a file, say.
var tokenForm = regexp.MustCompile(`^[!-~]+$`)

func checkToken(t policies.Tracker, token world.Secret) error {
	if !tokenForm.MatchString(token.Reveal()) {
		return fmt.Errorf("%s: the token is empty, or holds blanks or line breaks", t.Title())
	}
	return nil
}

// provider is one service that keeps tickets.
type provider interface {
	service() *service
	// key reads a ticket's key. The words say why it cannot be one of this
	// tracker's, and are empty where it can.
	key(text string) (key, words string)
	// source says where a ticket is read.
	source(key string) string
	// ticket asks for a ticket with a key that key returned. What it leaves
	// out is filled in: ReadAt, and Source, to which a Source that it sets is
	// a remark.
	ticket(q *question, key string) (policies.Ticket, error)
	// check adds what it finds of the set-up.
	check(ctx context.Context, f *world.Findings)
}

// provider returns the one that is meant, nil where it is not set up.
func (c *Client) provider(t policies.Tracker) provider {
	switch {
	case t == policies.Jira && c.jira != nil:
		return c.jira
	case t == policies.GitHubIssues && c.github != nil:
		return c.github
	case t == policies.Linear && c.linear != nil:
		return c.linear
	}
	return nil
}

// Ticket returns what a tracker says of a ticket. Where that cannot be found
// out for certain, the Ticket is Silent and says why. The error is that of a
// context that has ended, and of nothing else.
func (c *Client) Ticket(ctx context.Context, ref policies.TicketRef) (policies.Ticket, error) {
	t := c.provider(ref.Tracker)
	if t == nil {
		return policies.Ticket{Silent: fmt.Sprintf("no %s is set up", ref.Tracker.Title())}, nil
	}
	key, words := t.key(ref.Key)
	if words != "" {
		return policies.Ticket{Exists: policies.No, ReadAt: c.now(), Source: words + "; " + ref.Tracker.Title() + " was not asked"}, nil
	}
	q, done := t.service().ask(ctx)
	defer done()
	ticket, err := t.ticket(q, key)
	source := t.source(key)
	switch {
	case ctx.Err() != nil:
		return policies.Ticket{}, fmt.Errorf("ask %s about %.70q: %w", ref.Tracker.Title(), ref.Key, ctx.Err())
	case err != nil:
		return policies.Ticket{Source: source, Silent: q.silence(err, "ticket "+key)}, nil
	}
	if ticket.Source != "" {
		source += ", " + ticket.Source
	}
	ticket.ReadAt, ticket.Source = c.now(), source
	return ticket, nil
}

// none is the answer of a tracker that has no such ticket; a remark may say
// how it said so.
func none(remark string) policies.Ticket {
	return policies.Ticket{Exists: policies.No, Source: remark}
}

// moved is the silence about a ticket that has another key now.
func moved(t policies.Tracker, from, to string) error {
	return unfit(fmt.Sprintf("%s has moved ticket %s: it is %s now, and that is the one to name", t.Title(), from, to))
}

// textForm is what a state may be called: something that can be read in one
// line.
var textForm = regexp.MustCompile(`^[\pL\pN\pP\pS][\pL\pM\pN\pP\pS ]{0,199}$`)
