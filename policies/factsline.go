package policies

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// The trailer Tac-Facts holds every fact that a decision read, with its
// source and time, so that an auditor can decide again from a clone alone.
type writtenFacts struct {
	At      string          `json:"at"`
	Teams   []writtenTeam   `json:"teams"`
	Duty    []writtenDuty   `json:"duty,omitempty"`
	Tickets []writtenTicket `json:"tickets,omitempty"`
	Uses    *writtenUses    `json:"uses,omitempty"`
	Since   string          `json:"since,omitempty"`
	Base    *writtenBase    `json:"extends,omitempty"`
	Overdue *writtenOverdue `json:"break_glass,omitempty"`
}

type writtenTeam struct {
	Team     string  `json:"team"`
	Children bool    `json:"child_teams,omitempty"`
	ID       int64   `json:"id"`
	Members  []int64 `json:"members"`
	ReadAt   string  `json:"read_at"`
	Source   string  `json:"source"`
}

// answered is what facts share that may not have been answered.
type answered struct {
	ReadAt string `json:"read_at,omitempty"`
	Source string `json:"source,omitempty"`
	Silent string `json:"silent,omitempty"`
}

type writtenDuty struct {
	Pager    Pager           `json:"pager"`
	Schedule string          `json:"schedule"`
	OnCall   []writtenOnCall `json:"on_call"`
	answered
}

type writtenOnCall struct {
	Account string `json:"account"`
	Level   int    `json:"level,omitempty"`
}

type writtenTicket struct {
	Tracker   Tracker  `json:"tracker"`
	Key       string   `json:"key"`
	Exists    Truth    `json:"exists"`
	State     string   `json:"state,omitempty"`
	Open      Truth    `json:"open"`
	Assignees []string `json:"assignees,omitempty"`
	From      string   `json:"from,omitempty"`
	To        string   `json:"to,omitempty"`
	answered
}

type writtenUses struct {
	Grants []writtenUse `json:"grants"`
	answered
}

type writtenUse struct {
	Grant    grants.ID `json:"grant"`
	Person   int64     `json:"person"`
	Resource string    `json:"resource"`
	Approved string    `json:"approved"`
	Until    string    `json:"until"`
}

// Line writes the facts as one line of canonical JSON, which ParseFacts reads.
// Assumptions are no facts and are left out.
func (f Facts) Line() string {
	w := writtenFacts{At: stamp(f.At), Teams: []writtenTeam{}}
	for ref, team := range f.Teams {
		members := append([]int64{}, slices.Sorted(slices.Values(team.Members))...)
		w.Teams = append(w.Teams, writtenTeam{ref.String(), ref.IncludeChildTeams, team.ID, members, stamp(team.ReadAt), team.Source})
	}
	for s, duty := range f.Duty {
		onCall := []writtenOnCall{}
		for _, o := range duty.OnCall {
			onCall = append(onCall, writtenOnCall(o))
		}
		w.Duty = append(w.Duty, writtenDuty{s.Pager, s.ID, onCall, answered{stamp(duty.ReadAt), duty.Source, duty.Silent}})
	}
	for ref, t := range f.Tickets {
		w.Tickets = append(w.Tickets, writtenTicket{ref.Tracker, ref.Key, t.Exists, t.State, t.Open, t.Assignees,
			stamp(t.From), stamp(t.To), answered{stamp(t.ReadAt), t.Source, t.Silent}})
	}
	w.Uses, w.Since, w.Base, w.Overdue = f.Uses.written(), stamp(f.Since), f.Base.written(), f.Overdue.written()
	slices.SortFunc(w.Teams, func(a, b writtenTeam) int {
		return cmp.Or(cmp.Compare(a.Team, b.Team), compareBool(a.Children, b.Children))
	})
	slices.SortFunc(w.Duty, func(a, b writtenDuty) int {
		return cmp.Or(cmp.Compare(a.Pager, b.Pager), cmp.Compare(a.Schedule, b.Schedule))
	})
	slices.SortFunc(w.Tickets, func(a, b writtenTicket) int {
		return cmp.Or(cmp.Compare(a.Tracker, b.Tracker), cmp.Compare(a.Key, b.Key))
	})
	line, err := json.Marshal(w)
	if err == nil && bytes.Contains(line, []byte(`\ufffd`)) {
		// What is no UTF-8 is written as this escape, but read and written
		// again as the sign itself: only that is canonical.
		var read writtenFacts
		if err = json.Unmarshal(line, &read); err == nil {
			line, err = json.Marshal(read)
		}
	}
	if err != nil {
		return "{}" // plain values always encode; an empty object is refused by whoever reads it
	}
	return string(line)
}

func (u Uses) written() *writtenUses {
	if u.ReadAt.IsZero() && u.Silent == "" {
		return nil
	}
	w := &writtenUses{[]writtenUse{}, answered{stamp(u.ReadAt), u.Source, u.Silent}}
	for _, use := range u.Grants {
		w.Grants = append(w.Grants, writtenUse{use.Grant, use.Person, use.Resource, stamp(use.ApprovedAt), stamp(use.Until)})
	}
	slices.SortStableFunc(w.Grants, func(a, b writtenUse) int { return cmp.Compare(a.Grant, b.Grant) })
	return w
}

// The first and the last time that facts can hold: RFC 3339 has four digits
// for the year, and the second before the first one stands for no time.
var (
	firstStamp = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)
	lastStamp  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// stamp is a time as facts hold it, to the second; "" for none. A time that
// facts cannot hold becomes the nearest that they can: no decision tells the
// two apart, while a line without it, or one that ParseFacts refuses, would
// not decide the same again.
func stamp(t time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case t.Before(firstStamp):
		t = firstStamp
	case t.After(lastStamp):
		t = lastStamp
	}
	return t.UTC().Format(time.RFC3339)
}

// ParseFacts reads what Facts.Line wrote, of this version or an earlier one.
// Whatever it cannot make sense of is an error: a fact that is half understood
// would be another fact. So is a line that Facts.Line would write in another
// way, since JSON lets one text be read in several: a key that stands there
// twice, or in capitals, must not mean one thing to tac and another to whoever
// audits it.
func ParseFacts(line string) (Facts, error) {
	var w writtenFacts
	dec := json.NewDecoder(strings.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return Facts{}, fmt.Errorf("read facts: %w", err)
	}
	r := factsReader{facts: Facts{Teams: map[TeamRef]Team{}, Duty: map[Schedule]Duty{}, Tickets: map[TicketRef]Ticket{}}}
	r.read(&w)
	if r.err != nil {
		return Facts{}, fmt.Errorf("read facts: %w", r.err)
	}
	if r.facts.Line() != strings.TrimSpace(line) {
		return Facts{}, errors.New("read facts: these facts are not in the form that tac writes")
	}
	return r.facts, nil
}

type factsReader struct {
	facts Facts
	err   error
}

func (r *factsReader) read(w *writtenFacts) {
	if w.At == "" {
		r.fault("the time is missing: at")
	}
	r.facts.At = r.time(w.At)
	for _, t := range w.Teams {
		org, slug, ok := strings.Cut(t.Team, "/")
		if !ok {
			r.fault("%q is not a team", t.Team)
		}
		once(r, r.facts.Teams, TeamRef{org, slug, t.Children}, Team{t.ID, slug, t.Members, r.time(t.ReadAt), t.Source})
	}
	for _, d := range w.Duty {
		var onCall []OnCall
		for _, o := range d.OnCall {
			onCall = append(onCall, OnCall(o))
		}
		once(r, r.facts.Duty, Schedule{d.Pager, d.Schedule}, Duty{onCall, r.time(d.ReadAt), d.Source, d.Silent})
	}
	for _, t := range w.Tickets {
		once(r, r.facts.Tickets, TicketRef{t.Tracker, t.Key}, Ticket{t.Exists, t.State, t.Open, t.Assignees,
			r.time(t.From), r.time(t.To), r.time(t.ReadAt), t.Source, t.Silent})
	}
	r.facts.Since = r.time(w.Since)
	r.others(w)
	if w.Uses == nil {
		return
	}
	r.facts.Uses = Uses{ReadAt: r.time(w.Uses.ReadAt), Source: w.Uses.Source, Silent: w.Uses.Silent}
	for _, u := range w.Uses.Grants {
		r.facts.Uses.Grants = append(r.facts.Uses.Grants, Use{u.Grant, u.Person, u.Resource, r.time(u.Approved), r.time(u.Until)})
	}
}

func once[K comparable, V any](r *factsReader, facts map[K]V, key K, value V) {
	if _, twice := facts[key]; twice {
		r.fault("%v stands there twice", key)
	}
	facts[key] = value
}

func (r *factsReader) fault(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *factsReader) time(text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		r.fault("%q is not a time", text)
	}
	return t
}
