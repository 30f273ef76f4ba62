package oncall

import (
	"regexp"
	"time"

	"github.com/PagerDuty/go-pagerduty"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// pagerDuty asks PagerDuty's REST API v2.
type pagerDuty struct {
	at    *service
	token world.Secret
}

const (
	pageSize = 100 // the most that PagerDuty gives at once
	maxPages = 20
	maxLevel = 1000 // no escalation policy has as many; a greater number is no level
)

var dutyForm = regexp.MustCompile(`^[A-Z0-9]{2,20}$`)

func (*pagerDuty) form() *regexp.Regexp { return dutyForm }

func (*pagerDuty) source(schedule string) string { return "PagerDuty /oncalls of " + schedule }

func (p *pagerDuty) service() *service { return p.at }

// library returns PagerDuty's client for one question.
func (p *pagerDuty) library(q *question) *pagerduty.Client {
	client := pagerduty.NewClient(p.token.Reveal(), pagerduty.WithAPIEndpoint(q.to.base.String()))
	client.HTTPClient = q.client()
	return client
}

func (p *pagerDuty) onCall(q *question, schedule string, at time.Time) ([]policies.OnCall, error) {
	// PagerDuty takes whole seconds and answers every entry that touches the
	// time asked for, so one second holds the instant and maybe a change of
	// shifts; on filters that.
	since := at.UTC().Truncate(time.Second)
	options := pagerduty.ListOnCallOptions{
		ScheduleIDs: []string{schedule},
		Since:       since.Format(time.RFC3339),
		Until:       since.Add(time.Second).Format(time.RFC3339),
		Limit:       pageSize,
	}
	api := p.library(q)
	var people []policies.OnCall
	heard := false
	for range maxPages {
		page, err := api.ListOnCallsWithContext(q.ctx, options)
		if err != nil {
			return nil, err
		}
		if page.OnCalls == nil {
			return nil, nonsense("it does not say who is on call")
		}
		for _, entry := range page.OnCalls {
			heard = true
			on, err := onDuty(&entry, schedule, at)
			if err != nil {
				return nil, err
			}
			if on {
				people = append(people, policies.OnCall{Account: entry.User.ID, Level: int(entry.EscalationLevel)})
			}
		}
		switch {
		case page.More && len(page.OnCalls) == 0:
			return nil, nonsense("it promises more and gives nothing")
		case page.More:
			options.Offset += pageSize
			continue
		case !heard:
			// The list is as empty for a schedule that is not there at all.
			return nil, p.exists(q, schedule, at)
		}
		return people, nil
	}
	return nil, nonsense("it goes on for ever")
}

// onDuty reports whether an entry puts its user on call at the instant.
func onDuty(entry *pagerduty.OnCall, schedule string, at time.Time) (bool, error) {
	switch {
	case entry.Schedule.ID != schedule:
		return false, nonsense("it is about another schedule")
	case !accountForm.MatchString(entry.User.ID):
		return false, nonsense("it puts nobody on call")
	case entry.EscalationLevel < 1 || entry.EscalationLevel > maxLevel:
		return false, nonsense("it names no escalation level")
	}
	begins, err := instant(entry.Start)
	if err != nil {
		return false, err
	}
	ends, err := instant(entry.End)
	if err != nil {
		return false, err
	}
	return !begins.After(at) && (ends.IsZero() || ends.After(at)), nil
}

// instant reads a time that may be missing: then the shift has no beginning,
// or no end.
func instant(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, nonsense("it holds a time that is none")
	}
	return t, nil
}

// exists returns nil where PagerDuty would name anybody who is on call by the
// schedule. It leaves out those of a schedule that is in no escalation policy.
func (p *pagerDuty) exists(q *question, schedule string, _ time.Time) error {
	s, err := p.library(q).GetScheduleWithContext(q.ctx, schedule, pagerduty.GetScheduleOptions{})
	switch {
	case err != nil:
		return err
	case s.ID != schedule:
		return nonsense("it is about another schedule")
	case len(s.EscalationPolicies) == 0:
		return unfit("PagerDuty's schedule " + schedule + " is in no escalation policy, and PagerDuty does not say who is on call by such a one")
	}
	return nil
}

func (p *pagerDuty) probe(q *question) error {
	page, err := p.library(q).ListOnCallsWithContext(q.ctx, pagerduty.ListOnCallOptions{Limit: 1})
	if err == nil && page.OnCalls == nil {
		err = nonsense("it does not say who is on call")
	}
	return err
}
