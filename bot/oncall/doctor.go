package oncall

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// advice says where people mend what is wrong with a pager: with its token,
// and with what policies say of it.
func advice(p policies.Pager) (token, role string) {
	role = string(p) + ": {schedule: ...} of the role, in policies/; the id is the last part of the schedule's address"
	if p == policies.PagerDuty {
		return "PagerDuty > Integrations > API Access Keys: create a read-only key, and put it where tac.yaml says", role
	}
	return "Opsgenie > Settings > Integrations > API: allow Read Access and Configuration Access, and put the key where tac.yaml says", role
}

// Check looks at the pagers that are set up, and at the schedules that
// policies name, and returns what it found. It changes nothing. A pager that
// is not set up and that no schedule is of gives no finding.
func (c *Client) Check(ctx context.Context, schedules ...policies.Schedule) []world.Finding {
	var found []world.Finding
	for _, name := range []policies.Pager{policies.PagerDuty, policies.Opsgenie} {
		var theirs []policies.Schedule
		for _, s := range schedules {
			if s.Pager == name {
				theirs = append(theirs, s)
			}
		}
		f := &world.Findings{Area: string(name)}
		p := c.provider(name)
		switch {
		case p != nil:
			c.check(ctx, f, name, p, theirs)
		case len(theirs) > 0:
			mend, _ := advice(name)
			f.Wrong("token", mend, "policies name schedules of %s, and none is set up: those roles help nobody", name.Title())
		}
		found = append(found, f.List...)
	}
	return found
}

func (c *Client) check(ctx context.Context, f *world.Findings, name policies.Pager, p provider, schedules []policies.Schedule) {
	q, done := p.service().ask(ctx)
	err := p.probe(q)
	done()
	if err != nil {
		q.judgeToken(f, err, name)
		return
	}
	f.Fine("token", "%s answers tac", name.Title())
	_, mend := advice(name)
	for _, s := range schedules {
		check := "schedule " + s.ID
		if !p.form().MatchString(s.ID) {
			f.Wrong(check, mend, "%.40q is not the id of a schedule of %s", s.ID, name.Title())
			continue
		}
		q, done := p.service().ask(ctx)
		err := p.exists(q, s.ID, c.now())
		done()
		q.judgeSchedule(f, err, name, check)
	}
}

func (q *question) judgeToken(f *world.Findings, err error, name policies.Pager) {
	const check = "token"
	mend, _ := advice(name)
	sentence := q.silence(err, "who is on call")
	switch {
	case q.status == 0:
		f.Unreachable(check, fmt.Sprintf("curl -sS -o /dev/null -w '%%{http_code}\\n' %s", q.to.base), errors.New(sentence))
	case q.status == http.StatusUnauthorized || q.status == http.StatusForbidden:
		f.Wrong(check, mend, "%s", sentence)
	case q.status == http.StatusTooManyRequests || q.status >= http.StatusInternalServerError:
		f.Silent(check, errors.New(sentence))
	default:
		f.Unseen(check, "check the address of "+q.to.title+" in tac.yaml", "%s", sentence)
	}
}

func (q *question) judgeSchedule(f *world.Findings, err error, name policies.Pager, check string) {
	var sentence unfit
	_, mend := advice(name)
	switch {
	case err == nil:
		f.Fine(check, "%s knows it", name.Title())
	case errors.As(err, &sentence):
		f.Wrong(check, mend, "%s", string(sentence))
	case q.status == http.StatusNotFound || q.status == http.StatusForbidden || q.status == http.StatusUnprocessableEntity:
		f.Wrong(check, mend, "%s", q.silence(err, check))
	default:
		f.Silent(check, errors.New(q.silence(err, check)))
	}
}
