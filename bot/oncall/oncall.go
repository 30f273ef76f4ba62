// Package oncall asks PagerDuty and Opsgenie who is on call. It translates
// and holds no rules: what being on call is good for, policy says.
//
// # What it promises
//
// What is told is complete or not told at all. Policy may count on somebody
// being on call, and, where a role is kept from approving, on somebody not
// being on call: half a list would help the wrong person in one case or the
// other. So an answer in which anything is missing, doubtful or of another
// form than the service documents is silence, and silence is said in one
// sentence that people can read. "Nobody is on call" is only told where the
// service has said that the schedule exists.
//
// Nothing is kept between questions, and nothing is logged.
//
// asking.go carries the calls and puts silence into words; pagerduty.go and
// opsgenie.go know the services; doctor.go looks at the set-up.
package oncall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// The addresses of the services' public APIs. Accounts in the EU are at
// https://api.eu.pagerduty.com and https://api.eu.opsgenie.com.
const (
	PublicPagerDuty = "https://api.pagerduty.com"
	PublicOpsgenie  = "https://api.opsgenie.com"
)

// DefaultTimeout is how long a question may take.
const DefaultTimeout = 5 * time.Second

// Config says which pagers there are. A pager without a token is not set up,
// and asking it is silence.
type Config struct {
	// PagerDutyURL is the address of the REST API, without a path; empty
	// means PublicPagerDuty. Plain http is taken on loopback addresses only,
	// since the token goes there. The same holds for OpsgenieURL.
	PagerDutyURL string
	// PagerDutyToken is a REST API key. A read-only one is enough.
	PagerDutyToken world.Secret

	// OpsgenieURL is the address of the API; empty means PublicOpsgenie.
	OpsgenieURL string
	// OpsgenieKey is the key of an API integration that may read the
	// configuration. A team's own integration sees that team's schedules only.
	OpsgenieKey world.Secret

	// Timeout is how long one question may take, however many calls it needs;
	// 0 means DefaultTimeout.
	Timeout time.Duration
	// Now is the clock that answers are dated by. It is needed.
	Now func() time.Time
	// HTTP lends its Transport to the calls; nil means http.DefaultTransport.
	HTTP *http.Client
}

// Client asks pagers. It is safe for concurrent use.
type Client struct {
	now       func() time.Time
	pagerDuty *pagerDuty // nil: not set up
	opsgenie  *opsgenie  // nil: not set up
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
	timeout := cmp.Or(cfg.Timeout, DefaultTimeout)
	duty, err := newService(policies.PagerDuty.Title(), cmp.Or(cfg.PagerDutyURL, PublicPagerDuty), cfg.HTTP, timeout)
	problems = append(problems, err, checkToken(policies.PagerDuty, cfg.PagerDutyToken))
	genie, err := newService(policies.Opsgenie.Title(), cmp.Or(cfg.OpsgenieURL, PublicOpsgenie), cfg.HTTP, timeout)
	problems = append(problems, err, checkToken(policies.Opsgenie, cfg.OpsgenieKey))
	if err := errors.Join(problems...); err != nil {
		return nil, fmt.Errorf("configure the pagers: %w", err)
	}
	c := &Client{now: cfg.Now}
	if !cfg.PagerDutyToken.Empty() {
		c.pagerDuty = &pagerDuty{at: duty, token: cfg.PagerDutyToken}
	}
	if !cfg.OpsgenieKey.Empty() {
		c.opsgenie = &opsgenie{at: genie, key: cfg.OpsgenieKey}
	}
	return c, nil
}

// tokenForm keeps out what cannot stand in a header: a line break at the end
// of a file, say.
var tokenForm = regexp.MustCompile(`^[!-~]*$`)

func checkToken(p policies.Pager, token world.Secret) error {
	if !tokenForm.MatchString(token.Reveal()) {
		return fmt.Errorf("%s: the token holds blanks or line breaks", p.Title())
	}
	return nil
}

// provider is one service that knows who is on call.
type provider interface {
	// form is the form of its schedules' ids. Ids become parts of paths, so
	// nothing may be in them that changes a path's meaning.
	form() *regexp.Regexp
	// source says where a schedule is read.
	source(schedule string) string
	service() *service
	// onCall returns who is on call at an instant, in no particular order
	// and with repetitions.
	onCall(q *question, schedule string, at time.Time) ([]policies.OnCall, error)
	// probe makes the call that shows whether the token is any good.
	probe(q *question) error
	// exists returns an error unless the schedule is one that can be asked.
	exists(q *question, schedule string, at time.Time) error
}

// provider returns the one that a schedule belongs to, nil where it is not set up.
func (c *Client) provider(p policies.Pager) provider {
	switch {
	case p == policies.PagerDuty && c.pagerDuty != nil:
		return c.pagerDuty
	case p == policies.Opsgenie && c.opsgenie != nil:
		return c.opsgenie
	}
	return nil
}

// OnCall returns who is on call by a schedule at an instant, sorted by level
// and account. Overrides count. Where that cannot be found out for certain,
// the Duty is Silent and says why. The error is that of a context that has
// ended, and of nothing else.
func (c *Client) OnCall(ctx context.Context, s policies.Schedule, at time.Time) (policies.Duty, error) {
	p := c.provider(s.Pager)
	if p == nil {
		return policies.Duty{Silent: fmt.Sprintf("no %s is set up", s.Pager.Title())}, nil
	}
	if !p.form().MatchString(s.ID) {
		return policies.Duty{Silent: fmt.Sprintf("%.40q is not the id of a schedule of %s", s.ID, s.Pager.Title())}, nil
	}
	q, done := p.service().ask(ctx)
	defer done()
	people, err := p.onCall(q, s.ID, at)
	switch {
	case ctx.Err() != nil:
		return policies.Duty{}, fmt.Errorf("ask who is on call by %s: %w", s, ctx.Err())
	case err != nil:
		return policies.Duty{Source: p.source(s.ID), Silent: q.silence(err, "schedule "+s.ID)}, nil
	}
	slices.SortFunc(people, func(a, b policies.OnCall) int {
		return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Account, b.Account))
	})
	return policies.Duty{OnCall: slices.Compact(people), ReadAt: c.now(), Source: p.source(s.ID)}, nil
}
