package policies

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// The documents of kind PolicyTest as people write them. They stand in
// policies/tests/, decide nothing, and are read by ReadTests alone.
type testSpec struct {
	Given givenSpec                        `yaml:"given"` // what is known; for all cases
	When  whenSpec                         `yaml:"when"`  // what is asked, where a case does not say otherwise
	Cases []strictyaml.Value[testCaseSpec] `yaml:"cases"`
	Table strictyaml.Value[string]         `yaml:"table"` // the same, a line each
}

type testCaseSpec struct {
	Name  strictyaml.Value[string] `yaml:"name,required"`
	Given givenSpec                `yaml:"given"`
	When  whenSpec                 `yaml:"when"`
	Then  thenSpec                 `yaml:"then,required"`
}

// givenSpec is the facts. A source is known to have said what stands here,
// and nothing else: a team or a schedule that is not named is unknown.
type givenSpec struct {
	At      strictyaml.Value[moment]        `yaml:"at"`
	Teams   strictyaml.Value[[]teamGiven]   `yaml:"teams"`
	OnCall  strictyaml.Value[[]dutyGiven]   `yaml:"on_call"`
	Tickets strictyaml.Value[[]ticketGiven] `yaml:"tickets"`
	Uses    strictyaml.Value[[]useGiven]    `yaml:"uses"`    // given without review lately; none where it is left out
	Waiting strictyaml.Value[length]        `yaml:"waiting"` // how long people could have answered; nobody was asked where it is left out
	Overdue nameList                        `yaml:"overdue"` // break-glass grants of the requester whose review is overdue; none where it is left out
	Silent  nameList                        `yaml:"silent"`
}

type teamGiven struct {
	Team   strictyaml.Value[teamName] `yaml:"team,required"`
	People nameList                   `yaml:"people,required"`
}

type dutyGiven struct {
	Pager    strictyaml.Value[string] `yaml:"pager,required"`
	Schedule strictyaml.Value[string] `yaml:"schedule,required"`
	People   nameList                 `yaml:"people,required"`
	Level    strictyaml.Value[int]    `yaml:"level"` // PagerDuty only; 1 where it is left out
}

type ticketGiven struct {
	Tracker  strictyaml.Value[string] `yaml:"tracker,required"`
	Key      strictyaml.Value[string] `yaml:"key,required"`
	Exists   strictyaml.Value[bool]   `yaml:"exists"` // true where it is left out
	State    strictyaml.Value[string] `yaml:"state"`
	Open     strictyaml.Value[bool]   `yaml:"open"` // unknown where it is left out
	Assignee strictyaml.Value[string] `yaml:"assignee"`
	From     strictyaml.Value[moment] `yaml:"from"`
	To       strictyaml.Value[moment] `yaml:"to"`
}

type useGiven struct {
	Person   strictyaml.Value[string] `yaml:"person,required"`
	Resource strictyaml.Value[string] `yaml:"resource,required"`
	Approved strictyaml.Value[moment] `yaml:"approved,required"`
	Until    strictyaml.Value[moment] `yaml:"until,required"`
}

type whenSpec struct {
	Requester  strictyaml.Value[string]      `yaml:"requester"`
	Resource   strictyaml.Value[string]      `yaml:"resource"`
	Duration   strictyaml.Value[length]      `yaml:"duration"`
	Reason     strictyaml.Value[string]      `yaml:"reason"`
	Ticket     strictyaml.Value[string]      `yaml:"ticket"`
	Start      strictyaml.Value[moment]      `yaml:"start"`
	BreakGlass strictyaml.Value[bool]        `yaml:"break_glass"`
	Extends    strictyaml.Value[extendsSpec] `yaml:"extends"`
}

// extendsSpec is the grant that a request extends: one of the same requester
// on the same resource, which ends a minute after the request.
type extendsSpec struct {
	Total      strictyaml.Value[length] `yaml:"total,required"` // how long it lasts as it stands
	Extensions strictyaml.Value[int]    `yaml:"extensions"`     // how often it was extended before; never where it is left out
}

type thenSpec struct {
	Decision  strictyaml.Value[string] `yaml:"decision,required"`
	Rule      strictyaml.Value[string] `yaml:"rule"`
	Approvers nameList                 `yaml:"approvers"` // exactly those who could approve now
	Required  strictyaml.Value[int]    `yaml:"required"`
	From      nameList                 `yaml:"approve_from"` // exactly where a review may be given
	Nearest   strictyaml.Value[string] `yaml:"nearest"`      // the whole sentence; "" for none
}

// or returns what a case says, and otherwise what its document says.
func or[T any](own, general strictyaml.Value[T]) strictyaml.Value[T] {
	if own.Set {
		return own
	}
	return general
}

func (own givenSpec) or(general givenSpec) givenSpec {
	return givenSpec{or(own.At, general.At), or(own.Teams, general.Teams), or(own.OnCall, general.OnCall),
		or(own.Tickets, general.Tickets), or(own.Uses, general.Uses), or(own.Waiting, general.Waiting), or(own.Overdue, general.Overdue), or(own.Silent, general.Silent)}
}

func (own whenSpec) or(general whenSpec) whenSpec {
	return whenSpec{or(own.Requester, general.Requester), or(own.Resource, general.Resource), or(own.Duration, general.Duration),
		or(own.Reason, general.Reason), or(own.Ticket, general.Ticket), or(own.Start, general.Start), or(own.BreakGlass, general.BreakGlass), or(own.Extends, general.Extends)}
}

// moment is a point in time as tests write it: what the wall shows in a
// named zone, as 2026-11-24T10:00:00 Europe/Berlin, or RFC 3339.
type moment struct{ text string }

// UnmarshalScalar keeps the text: it takes time zones to read it.
func (m *moment) UnmarshalScalar(text string) error {
	m.text = text
	return nil
}

func (m moment) in(zones func(string) (*time.Location, error)) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, m.text); err == nil {
		return t.UTC(), nil
	}
	wall, name, ok := strings.Cut(m.text, " ")
	const form = "2006-01-02T15:04:05"
	shown, err := time.Parse(form, wall)
	if !ok || err != nil {
		return time.Time{}, fmt.Errorf("%s is not a time; write it as 2026-11-24T10:00:00 Europe/Berlin, or as 2026-11-24T09:00:00Z", strictyaml.Quote(m.text))
	}
	zone, err := zones(name)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", strictyaml.Quote(name), err)
	}
	first := firstAt(zone, shown)
	switch _, offset := first.Zone(); {
	case first.Format(form) != wall:
		return time.Time{}, fmt.Errorf("clocks in %s never show %s: they are put forward just then", name, wall)
	case shownAgain(first, wall, form):
		return time.Time{}, fmt.Errorf("clocks in %s show %s twice; say which, as %s for the first", name, wall, first.In(time.FixedZone("", offset)).Format(time.RFC3339))
	}
	return first.UTC(), nil
}

// shownAgain reports whether clocks that are put back after t show the same
// time once more.
func shownAgain(t time.Time, wall, form string) bool {
	_, change := t.ZoneBounds()
	if change.IsZero() {
		return false
	}
	_, before := t.Zone()
	_, after := change.Zone()
	again := t.Add(time.Duration(before-after) * time.Second)
	return again.After(t) && !again.Before(change) && again.Format(form) == wall
}

func checkDecision(text string) error {
	var o Outcome
	if o.UnmarshalText([]byte(text)) != nil {
		return fmt.Errorf("expected allow, review or deny, found %s", strictyaml.Quote(text))
	}
	return nil
}

func checkNotNegative(n int) error {
	if n < 0 {
		return errors.New("expected 0 or more")
	}
	return nil
}
