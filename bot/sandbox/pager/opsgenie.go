package pager

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// Opsgenie is one Opsgenie account. It serves GET /v2/schedules and GET
// /v2/schedules/{identifier}/on-calls, and is safe for concurrent use.
type Opsgenie struct {
	server

	schedules map[string]*genieSchedule // by id
}

type genieSchedule struct {
	id, name         string
	disabled, closed bool
	roster[Participant]
}

// Participant is somebody, or something that stands for several, on a rota.
type Participant struct {
	Type   string // user, team, escalation or schedule
	ID     string
	Name   string        // of a user: the user name, an e-mail address
	After  int           // minutes until a participant of an escalation is told
	Within []Participant // who a team, escalation or schedule stands for
}

// User is a participant who is one person.
func User(id, name string) Participant { return Participant{Type: "user", ID: id, Name: name} }

// NewOpsgenie starts an account on a free port of 127.0.0.1. Close ends it.
func NewOpsgenie(clock *sandbox.Clock) (*Opsgenie, error) {
	o := &Opsgenie{schedules: map[string]*genieSchedule{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/schedules", o.signedIn(o.list))
	mux.HandleFunc("GET /v2/schedules/{identifier}/on-calls", o.signedIn(o.onCalls))
	mux.HandleFunc("/", o.signedIn(func(w http.ResponseWriter, _ *http.Request) {
		genieError(w, http.StatusNotFound, "Invalid api url.", nil)
	}))
	if err := o.start(clock, mux); err != nil {
		return nil, err
	}
	return o, nil
}

// AddSchedule adds a schedule without shifts.
func (o *Opsgenie) AddSchedule(id, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.schedules[id] = &genieSchedule{id: id, name: name}
}

// AddShift puts a participant on a schedule, from the one time to just before
// the other; a zero time is no beginning or no end.
func (o *Opsgenie) AddShift(schedule string, who Participant, from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.schedules[schedule]; ok {
		s.add(who, from, to)
	}
}

// Override puts a participant on a schedule in the place of everybody else.
func (o *Opsgenie) Override(schedule string, who Participant, from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.schedules[schedule]; ok {
		s.cover(who, from, to)
	}
}

// Disable switches a schedule off: Opsgenie still says who would be on call.
func (o *Opsgenie) Disable(schedule string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.schedules[schedule]; ok {
		s.disabled = true
	}
}

// Forbid hides a schedule from the API key, as one of another team's is.
func (o *Opsgenie) Forbid(schedule string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if s, ok := o.schedules[schedule]; ok {
		s.closed = true
	}
}

// Limit has the next times calls answered 429; negative times never end.
func (o *Opsgenie) Limit(times int) {
	o.Order(sandbox.Fault{
		Times: times, When: sandbox.Answer, Status: http.StatusTooManyRequests,
		Header: http.Header{"Content-Type": {"application/json;charset=UTF-8"}, "X-Ratelimit-State": {"THROTTLED"}, "X-Ratelimit-Reason": {"ACCOUNT"}, "X-Ratelimit-Period-In-Sec": {"60"}},
		Body:   `{"message":"You are making too many requests!","took":0.001,"requestId":"` + random(8) + `"}`,
	})
}

// signedIn runs a handler with mu held for a caller who has the key.
func (o *Opsgenie) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		w.Header().Set("X-Request-Id", random(16))
		w.Header().Set("X-Response-Time", "0.004")
		w.Header().Set("X-RateLimit-State", "OK")
		if !o.accepts(r.Header.Get("Authorization"), "GenieKey ") {
			genieError(w, http.StatusUnauthorized, "Could not authenticate", nil)
			return
		}
		next(w, r)
	}
}

// genieError answers in Opsgenie's form.
func genieError(w http.ResponseWriter, status int, message string, errors map[string]string) {
	body := object{"message": message, "took": 0.004, "requestId": w.Header().Get("X-Request-Id")}
	if errors != nil {
		body["errors"] = errors
	}
	reply(w, status, body)
}

func unprocessable(w http.ResponseWriter, field, problem string) {
	genieError(w, http.StatusUnprocessableEntity, "Request body is not processable. Please check the errors.", map[string]string{field: problem})
}

func (o *Opsgenie) answer(w http.ResponseWriter, data any) {
	reply(w, http.StatusOK, object{"data": data, "took": 0.004, "requestId": w.Header().Get("X-Request-Id")})
}

func (o *Opsgenie) list(w http.ResponseWriter, _ *http.Request) {
	all := []object{}
	for _, id := range slices.Sorted(maps.Keys(o.schedules)) {
		if s := o.schedules[id]; !s.closed {
			all = append(all, object{"id": s.id, "name": s.name, "description": "", "timezone": "Etc/UTC", "enabled": !s.disabled, "rotations": []object{}})
		}
	}
	o.answer(w, all)
}

func (o *Opsgenie) onCalls(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	at := o.clock.Now()
	if q.Has("date") {
		t, err := time.Parse(time.RFC3339, q.Get("date"))
		if err != nil {
			unprocessable(w, "date", "Date is not valid.")
			return
		}
		at = t
	}
	flat := false
	if q.Has("flat") {
		var err error
		if flat, err = strconv.ParseBool(q.Get("flat")); err != nil {
			unprocessable(w, "flat", "Flat is not a boolean.")
			return
		}
	}
	s, ok := o.find(w, r.PathValue("identifier"), q.Get("scheduleIdentifierType"))
	if !ok {
		return
	}
	data := object{"_parent": object{"id": s.id, "name": s.name, "enabled": !s.disabled}}
	var now []Participant
	for _, t := range s.between(at, at) {
		now = append(now, t.who)
	}
	if flat {
		data["onCallRecipients"] = names(now)
	} else {
		data["onCallParticipants"] = participants(now)
	}
	o.answer(w, data)
}

// find returns the schedule that is meant, or answers why there is none.
func (o *Opsgenie) find(w http.ResponseWriter, identifier, kind string) (*genieSchedule, bool) {
	var found *genieSchedule
	switch kind {
	case "", "id":
		kind, found = "id", o.schedules[identifier]
	case "name":
		for _, s := range o.schedules {
			if s.name == identifier {
				found = s
			}
		}
	default:
		unprocessable(w, "scheduleIdentifierType", "Identifier type is not valid.")
		return nil, false
	}
	switch {
	case found == nil:
		genieError(w, http.StatusNotFound, "No schedule exists with "+kind+": ["+identifier+"]", nil)
	case found.closed:
		genieError(w, http.StatusForbidden, "You are not authorized to access this schedule.", nil)
	default:
		return found, true
	}
	return nil, false
}

// names returns the user names of everybody, however deep.
func names(list []Participant) []string {
	all := []string{}
	for _, p := range list {
		if p.Type == "user" {
			all = append(all, p.Name)
		}
		all = append(all, names(p.Within)...)
	}
	return all
}

func participants(list []Participant) []object {
	all := []object{}
	for _, p := range list {
		one := object{"id": p.ID, "name": p.Name, "type": p.Type}
		if p.After > 0 {
			one["escalationTime"], one["notifyType"] = p.After, "default"
		}
		if p.Type != "user" {
			one["onCallParticipants"] = participants(p.Within)
		}
		all = append(all, one)
	}
	return all
}
