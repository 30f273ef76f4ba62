package pager

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// PagerDuty is one PagerDuty account. It serves GET /oncalls and GET
// /schedules/{id}, and is safe for concurrent use.
type PagerDuty struct {
	server

	users     map[string]string // names by id
	schedules map[string]*dutySchedule
	policies  []escalationPolicy
}

type dutySchedule struct {
	id, name string
	roster[string]
}

// escalationPolicy names schedules by level; the first is level 1.
type escalationPolicy struct {
	id, name string
	levels   [][]string
}

// NewPagerDuty starts an account on a free port of 127.0.0.1. Close ends it.
func NewPagerDuty(clock *sandbox.Clock) (*PagerDuty, error) {
	p := &PagerDuty{users: map[string]string{}, schedules: map[string]*dutySchedule{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /oncalls", p.signedIn(p.oncalls))
	mux.HandleFunc("GET /schedules/{id}", p.signedIn(p.schedule))
	mux.HandleFunc("/", p.signedIn(func(w http.ResponseWriter, _ *http.Request) { dutyNotFound(w) }))
	if err := p.start(clock, mux); err != nil {
		return nil, err
	}
	return p, nil
}

// AddUser adds a person, or renames the one of that id.
func (p *PagerDuty) AddUser(id, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.users[id] = name
}

// AddSchedule adds a schedule without shifts. As at PagerDuty, nobody is on
// call by it before an escalation policy names it.
func (p *PagerDuty) AddSchedule(id, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.schedules[id] = &dutySchedule{id: id, name: name}
}

// AddEscalationPolicy adds a policy that calls the schedules of each level in
// turn, the first being level 1.
func (p *PagerDuty) AddEscalationPolicy(id, name string, levels ...[]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policies = append(p.policies, escalationPolicy{id, name, levels})
}

// AddShift puts a user on a schedule, from the one time to just before the
// other; a zero time is no beginning or no end. Shifts may overlap. There is
// no shift on a schedule that does not exist.
func (p *PagerDuty) AddShift(schedule, user string, from, to time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.schedules[schedule]; ok {
		s.add(user, from, to)
	}
}

// Override puts a user on a schedule in the place of whoever has a shift then.
func (p *PagerDuty) Override(schedule, user string, from, to time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.schedules[schedule]; ok {
		s.cover(user, from, to)
	}
}

// Limit has the next times calls answered 429; negative times never end.
func (p *PagerDuty) Limit(times int) {
	p.Order(sandbox.Fault{
		Times: times, When: sandbox.Answer, Status: http.StatusTooManyRequests,
		Header: http.Header{"Content-Type": {"application/json"}, "Ratelimit-Limit": {"960"}, "Ratelimit-Remaining": {"0"}, "Ratelimit-Reset": {"57"}},
		Body:   `{"error":{"message":"Rate Limit Exceeded","code":2020}}`,
	})
}

// signedIn runs a handler with mu held for a caller who has the token.
func (p *PagerDuty) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		w.Header().Set("X-Request-Id", random(16))
		if given := r.Header.Get("Authorization"); !p.accepts(given, "Token token=") && !p.accepts(given, "Bearer ") {
			dutyError(w, http.StatusUnauthorized, 2006, "Authentication failed")
			return
		}
		next(w, r)
	}
}

// dutyError answers in PagerDuty's form, with its own number for the error.
func dutyError(w http.ResponseWriter, status, code int, message string, details ...string) {
	e := object{"message": message, "code": code}
	if len(details) > 0 {
		e["errors"] = details
	}
	reply(w, status, object{"error": e})
}

func dutyNotFound(w http.ResponseWriter) { dutyError(w, http.StatusNotFound, 2100, "Not Found") }

func (p *PagerDuty) schedule(w http.ResponseWriter, r *http.Request) {
	s, ok := p.schedules[r.PathValue("id")]
	if !ok {
		dutyNotFound(w)
		return
	}
	used := []object{}
	for _, e := range p.policies {
		if slices.ContainsFunc(e.levels, func(l []string) bool { return slices.Contains(l, s.id) }) {
			used = append(used, reference("escalation_policy", e.id, e.name))
		}
	}
	answer := reference("schedule", s.id, s.name)
	answer["type"], answer["name"], answer["time_zone"], answer["description"] = "schedule", s.name, "Etc/UTC", nil
	answer["escalation_policies"], answer["users"], answer["teams"], answer["schedule_layers"] = used, []object{}, []object{}, []object{}
	reply(w, http.StatusOK, object{"schedule": answer})
}

func (p *PagerDuty) oncalls(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	since, until, problem := p.period(q)
	limit, offset := number(q, "limit", 25), number(q, "offset", 0)
	if limit < 1 || limit > 100 || offset < 0 {
		problem = "Limit must be between 1 and 100."
	}
	if problem != "" {
		dutyError(w, http.StatusBadRequest, 2001, "Invalid Input Provided", problem)
		return
	}
	all := p.list(q, since, until)
	page := all[min(offset, len(all)):min(offset+limit, len(all))]
	reply(w, http.StatusOK, object{
		"oncalls": page, "limit": limit, "offset": offset, "more": offset+limit < len(all), "total": nil,
	})
}

// period reads since and until, which default to now.
func (p *PagerDuty) period(q url.Values) (since, until time.Time, problem string) {
	times := [2]time.Time{p.clock.Now(), p.clock.Now()}
	for i, key := range []string{"since", "until"} {
		if !q.Has(key) {
			continue
		}
		t, err := time.Parse(time.RFC3339, q.Get(key))
		if err != nil {
			return since, until, strings.ToUpper(key[:1]) + key[1:] + " is not a valid date."
		}
		times[i] = t
	}
	if since, until = times[0], times[1]; until.Before(since) {
		return since, until, "Until cannot be before since."
	}
	return since, until, ""
}

func number(q url.Values, key string, otherwise int) int {
	if !q.Has(key) {
		return otherwise
	}
	n, err := strconv.Atoi(q.Get(key))
	if err != nil {
		return -1
	}
	return n
}

// list returns the entries that the filters leave: one for each policy, level,
// schedule and shift.
func (p *PagerDuty) list(q url.Values, since, until time.Time) []object {
	entries := []object{}
	whole := slices.Contains(q["include[]"], "users")
	for _, e := range p.policies {
		if !lets(q, "escalation_policy_ids[]", e.id) {
			continue
		}
		for i, level := range e.levels {
			for _, id := range level {
				s, ok := p.schedules[id]
				if !ok || !lets(q, "schedule_ids[]", id) {
					continue
				}
				for _, t := range s.between(since, until) {
					if lets(q, "user_ids[]", t.who) {
						entries = append(entries, p.entry(e, i+1, s, t, whole))
					}
				}
			}
		}
	}
	return entries
}

// lets reports whether a filter lets an id pass; one that is not given lets
// everything pass.
func lets(q url.Values, filter, id string) bool {
	return !q.Has(filter) || slices.Contains(q[filter], id)
}

func (p *PagerDuty) entry(e escalationPolicy, level int, s *dutySchedule, t turn[string], whole bool) object {
	user := reference("user", t.who, p.users[t.who])
	if whole {
		user["type"], user["name"], user["email"] = "user", p.users[t.who], t.who+"@acme.test"
	}
	return object{
		"escalation_policy": reference("escalation_policy", e.id, e.name),
		"escalation_level":  level,
		"schedule":          reference("schedule", s.id, s.name),
		"user":              user,
		"start":             stamp(t.from),
		"end":               stamp(t.to),
	}
}

func reference(kind, id, summary string) object {
	path := map[string]string{"user": "users/", "schedule": "schedules/", "escalation_policy": "escalation_policies/"}[kind] + id
	return object{
		"id": id, "type": kind + "_reference", "summary": summary,
		"self": "https://api.pagerduty.com/" + path, "html_url": "https://acme.pagerduty.com/" + path,
	}
}

// stamp writes a time as PagerDuty does, and null for none.
func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}
