package policies

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Limits of a policy file: room for the People of a large company, and still
// a bound on what reading costs.
var fileLimits = strictyaml.Limits{Bytes: 4 << 20, Depth: 10, Nodes: 400_000}

// The documents as people write them. A document[S] is one of any kind; the
// specs follow. Nothing here is checked beyond its shape: compile.go does it.
type document[S any] struct {
	APIVersion strictyaml.Value[string] `yaml:"apiVersion"`
	Kind       strictyaml.Value[string] `yaml:"kind,required"`
	Metadata   struct {
		Name strictyaml.Value[string] `yaml:"name,required"`
	} `yaml:"metadata,required"`
	Spec S `yaml:"spec,required"`
}

type nameList = strictyaml.Value[[]strictyaml.Value[string]]

type policySpec struct {
	Resource  strictyaml.Value[string] `yaml:"resource"`
	Resources nameList                 `yaml:"resources"`
	Request   struct {
		Roles nameList `yaml:"roles"`
	} `yaml:"request"`
	AutoApprove struct {
		Conditions []strictyaml.Value[conditionSpec] `yaml:"conditions,required"`
	} `yaml:"auto_approve"`
	Approval    strictyaml.Value[approvalSpec] `yaml:"approval"`
	MaxDuration strictyaml.Value[length]       `yaml:"max_duration"`
	RequestTTL  strictyaml.Value[length]       `yaml:"request_ttl"`
	Extensions  struct {
		Max  strictyaml.Value[int]    `yaml:"max"`
		Each strictyaml.Value[length] `yaml:"each"`
	} `yaml:"extensions"`
	BreakGlass struct {
		Roles         nameList                 `yaml:"roles"`
		MaxDuration   strictyaml.Value[length] `yaml:"max_duration"`
		RequireTicket strictyaml.Value[bool]   `yaml:"require_ticket"`
		ReviewWithin  strictyaml.Value[length] `yaml:"review_within"`
	} `yaml:"break_glass"`
	Audit struct {
		RequireReason strictyaml.Value[bool] `yaml:"require_reason"`
		RecordSession strictyaml.Value[bool] `yaml:"record_session"`
	} `yaml:"audit"`
}

type conditionSpec struct {
	Name              strictyaml.Value[string]     `yaml:"name"`
	Role              nameList                     `yaml:"role"`
	MaxDuration       strictyaml.Value[length]     `yaml:"max_duration"`
	RequireTicket     strictyaml.Value[bool]       `yaml:"require_ticket"`
	BusinessHoursOnly strictyaml.Value[bool]       `yaml:"business_hours_only"`
	Calendar          strictyaml.Value[string]     `yaml:"calendar"`
	TeamScope         strictyaml.Value[bool]       `yaml:"team_scope"`
	OnCall            nameList                     `yaml:"on_call"`
	Ticket            strictyaml.Value[ticketSpec] `yaml:"ticket"`
	Environment       nameList                     `yaml:"environment"`
	AtMost            strictyaml.Value[atMostSpec] `yaml:"at_most"`
	Expression        strictyaml.Value[string]     `yaml:"expression"`
}

type ticketSpec struct {
	Pattern      strictyaml.Value[string] `yaml:"pattern"`
	Tracker      strictyaml.Value[string] `yaml:"tracker"`
	State        strictyaml.Value[string] `yaml:"state"`
	Assignee     strictyaml.Value[string] `yaml:"assignee"`
	ChangeWindow strictyaml.Value[bool]   `yaml:"change_window"`
}

type atMostSpec struct {
	LivePerPerson    strictyaml.Value[int] `yaml:"live_per_person"`
	LivePerResource  strictyaml.Value[int] `yaml:"live_per_resource"`
	DailyPerPerson   strictyaml.Value[int] `yaml:"daily_per_person"`
	DailyPerResource strictyaml.Value[int] `yaml:"daily_per_resource"`
}

type approvalSpec struct {
	RequiredApprovers strictyaml.Value[int] `yaml:"required_approvers"`
	ApproverRoles     nameList              `yaml:"approver_roles,required"`
	Escalate          []struct {
		After strictyaml.Value[length] `yaml:"after,required"`
		To    strictyaml.Value[string] `yaml:"to,required"`
	} `yaml:"escalate"`
	ApproveFrom nameList `yaml:"approve_from"`
}

type guardrailSpec struct {
	Resources         nameList                 `yaml:"resources"`
	Environment       nameList                 `yaml:"environment"`
	MaxDuration       strictyaml.Value[length] `yaml:"max_duration"`
	NeverAutoApprove  strictyaml.Value[bool]   `yaml:"never_auto_approve"`
	AutoApproveMax    strictyaml.Value[length] `yaml:"auto_approve_max_duration"`
	RequiredApprovers strictyaml.Value[int]    `yaml:"required_approvers"`
	NeverApprovers    nameList                 `yaml:"never_approvers"`
}

type resourceSpec struct {
	Description strictyaml.Value[string] `yaml:"description"`
	Environment strictyaml.Value[string] `yaml:"environment"`
	Owners      nameList                 `yaml:"owners"`
	Vault       struct {
		Engine     strictyaml.Value[string] `yaml:"engine,required"`
		Path       strictyaml.Value[string] `yaml:"path,required"`
		Policy     strictyaml.Value[string] `yaml:"policy,required"`
		Principals nameList                 `yaml:"principals"`
		Slice      strictyaml.Value[length] `yaml:"slice"`
	} `yaml:"vault,required"`
	MaxDuration strictyaml.Value[length] `yaml:"max_duration"`
	Connect     strictyaml.Value[string] `yaml:"connect"`
}

type roleSpec struct {
	Members           nameList                       `yaml:"members"`
	GitHubTeams       []strictyaml.Value[teamName]   `yaml:"github_teams"`
	IncludeChildTeams strictyaml.Value[bool]         `yaml:"include_child_teams"`
	Rotation          strictyaml.Value[rotationSpec] `yaml:"rotation"`
	PagerDuty         strictyaml.Value[pagerSpec]    `yaml:"pagerduty"`
	Opsgenie          strictyaml.Value[opsgenieSpec] `yaml:"opsgenie"`
}

type rotationSpec struct {
	Timezone strictyaml.Value[string]   `yaml:"timezone,required"`
	Start    strictyaml.Value[wallTime] `yaml:"start,required"`
	Shift    strictyaml.Value[length]   `yaml:"shift,required"`
	Members  nameList                   `yaml:"members,required"`
}

type pagerSpec struct {
	Schedule strictyaml.Value[string] `yaml:"schedule,required"`
	Levels   []strictyaml.Value[int]  `yaml:"levels"`
}

type opsgenieSpec struct {
	Schedule strictyaml.Value[string] `yaml:"schedule,required"`
}

type peopleSpec struct {
	People []strictyaml.Value[personSpec] `yaml:"people,required"`
}

type personSpec struct {
	GitHub  strictyaml.Value[string] `yaml:"github,required"`
	ID      strictyaml.Value[int64]  `yaml:"id,required"`
	Slack   strictyaml.Value[string] `yaml:"slack"`
	Email   strictyaml.Value[string] `yaml:"email"`
	Manager strictyaml.Value[string] `yaml:"manager"`
	// Calendar says when the person works; for choosing whom to ask first.
	Calendar strictyaml.Value[string] `yaml:"calendar"`

	// Accounts with services that facts come from, by those services' own ids.
	PagerDuty strictyaml.Value[string] `yaml:"pagerduty"`
	Opsgenie  strictyaml.Value[string] `yaml:"opsgenie"`
	Jira      strictyaml.Value[string] `yaml:"jira"`
	Linear    strictyaml.Value[string] `yaml:"linear"`
}

type calendarSpec struct {
	Timezone strictyaml.Value[string]    `yaml:"timezone,required"`
	Days     []strictyaml.Value[weekday] `yaml:"days,required"`
	Hours    strictyaml.Value[hours]     `yaml:"hours,required"`
	Holidays []strictyaml.Value[date]    `yaml:"holidays"`
}

// length is a duration as people write it.
type length struct{ d time.Duration }

func (l *length) UnmarshalScalar(text string) (err error) {
	l.d, err = grants.ParseDuration(text)
	return err
}

// date is a day on the calendar, as 20061231: quick to compare.
type date int

func (d *date) UnmarshalScalar(text string) error {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return fmt.Errorf("%s is not a date; write it as 2026-12-25", strictyaml.Quote(text))
	}
	*d = dateOf(t)
	return nil
}

// wallTime is what clocks on the wall show, without a zone; it is kept as if
// it were UTC.
type wallTime struct{ time.Time }

func (w *wallTime) UnmarshalScalar(text string) error {
	t, err := time.Parse("2006-01-02T15:04:05", text)
	if err != nil {
		return fmt.Errorf("%s is not a time of day on a date; write it as 2026-01-05T09:00:00, in the rotation's own zone", strictyaml.Quote(text))
	}
	w.Time = t
	return nil
}

// hours is a part of a day, in seconds since midnight: from, to just before to.
type hours struct{ from, to int }

var hoursForm = regexp.MustCompile(`^([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})$`)

func (h *hours) UnmarshalScalar(text string) error {
	m := hoursForm.FindStringSubmatch(text)
	if m == nil {
		return fmt.Errorf("%s are not hours; write them as \"09:00-17:00\"", strictyaml.Quote(text))
	}
	clock := func(hh, mm string) (int, bool) {
		hour, err1 := strconv.Atoi(hh)
		minute, err2 := strconv.Atoi(mm)
		return hour*3600 + minute*60, err1 == nil && err2 == nil && minute < 60 && hour*60+minute <= 24*60
	}
	var ok1, ok2 bool
	h.from, ok1 = clock(m[1], m[2])
	h.to, ok2 = clock(m[3], m[4])
	switch {
	case !ok1 || !ok2:
		return fmt.Errorf("%s are not hours of a day, which run from 00:00 to 24:00", strictyaml.Quote(text))
	case h.from == h.to:
		return fmt.Errorf("%s are no time at all; write them as \"09:00-17:00\"", strictyaml.Quote(text))
	case h.from > h.to:
		return fmt.Errorf("%s cross midnight, which hours must not; for a night shift write two calendars", strictyaml.Quote(text))
	}
	return nil
}

type weekday time.Weekday

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func (w *weekday) UnmarshalScalar(text string) error {
	i := slices.Index(weekdays, text)
	if i < 0 {
		return fmt.Errorf("%s is not a day; expected mon, tue, wed, thu, fri, sat or sun", strictyaml.Quote(text))
	}
	*w = weekday(i)
	return nil
}

// teamName is acme/payments-oncall.
type teamName struct{ org, slug string }

var (
	orgForm  = regexp.MustCompile(`^[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}$`)
	slugForm = regexp.MustCompile(`^[a-z0-9_][a-z0-9_-]{0,99}$`)
)

func (t *teamName) UnmarshalScalar(text string) error {
	org, slug, ok := strings.Cut(text, "/")
	if !ok || !orgForm.MatchString(org) || !slugForm.MatchString(slug) {
		return fmt.Errorf("%s is not a team; write it as acme/payments-oncall, as in the team's address", strictyaml.Quote(text))
	}
	t.org, t.slug = strings.ToLower(org), slug
	return nil
}

func checkText(s string) error {
	if s == "" {
		return errors.New("is empty; leave the key out")
	}
	if err := grants.CheckReason(s); err != nil {
		return errors.New(strings.Replace(err.Error(), "the reason", "the text", 1))
	}
	return nil
}
