package policies

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Person is one human being: one GitHub number, one Slack id. The map of
// people is what ties accounts to humans, so a number, login, Slack id or
// e-mail address that stands in it twice makes the whole set invalid: with
// two accounts one could approve one's own request.
type Person struct {
	grants.Principal
	Slack   string // may be empty
	Email   string // may be empty; never used to tell who somebody is
	Manager string // GitHub login; may be empty
	// Calendar names when the person works; may be empty. It decides nothing:
	// it is for choosing whom to ask first.
	Calendar string

	// Accounts with the services that facts come from; may be empty.
	PagerDuty, Opsgenie, Jira, Linear string
}

type people struct {
	byID    map[int64]*person
	byLogin map[string]*person // lower case
	bySlack map[string]*person
	byPager map[Pager]map[string]*person // by the pager's own account id
}

type person struct {
	Person
	managerPos  strictyaml.Pos
	calendarPos strictyaml.Pos
	member      roleBits // of roles, by their index: those that name the person in members
}

func newPeople() people {
	return people{byID: map[int64]*person{}, byLogin: map[string]*person{}, bySlack: map[string]*person{},
		byPager: map[Pager]map[string]*person{PagerDuty: {}, Opsgenie: {}}}
}

// Person returns the person with that GitHub number.
func (s *Set) Person(id int64) (Person, bool) {
	if s.Err() != nil {
		return Person{}, false
	}
	return found(s.people.byID[id])
}

// PersonByLogin returns the person that People calls by that login. Logins
// change hands: use it for what people type, never for who somebody is.
func (s *Set) PersonByLogin(login string) (Person, bool) {
	if s.Err() != nil {
		return Person{}, false
	}
	return found(s.people.byLogin[strings.ToLower(login)])
}

// PersonBySlack returns the person with that Slack user id.
func (s *Set) PersonBySlack(id string) (Person, bool) {
	if s.Err() != nil {
		return Person{}, false
	}
	return found(s.people.bySlack[id])
}

// LoginMeant returns the login in People that an unknown one most resembles.
func (s *Set) LoginMeant(login string) (string, bool) {
	best, ok := strictyaml.Nearest(strings.ToLower(login), slices.Sorted(maps.Keys(s.people.byLogin)))
	if !ok {
		return "", false
	}
	return s.people.byLogin[best].GitHub, true
}

// CheckRole returns an error that says what could have been meant unless
// there is a role of that name.
func (s *Set) CheckRole(name string) error {
	if s.roles[name] == nil {
		return fmt.Errorf("there is no role %.70s%s", name, meant(name, s.roles))
	}
	return nil
}

func found(p *person) (Person, bool) {
	if p == nil {
		return Person{}, false
	}
	return p.Person, true
}

var (
	slackForm = regexp.MustCompile(`^[UW][A-Z0-9]{2,20}$`)
	emailForm = regexp.MustCompile(`^[A-Za-z0-9._%+'-]+@[A-Za-z0-9.-]+$`)
	pagerForm = regexp.MustCompile(`^[A-Z0-9]{2,20}$`)
	// accountForm is the form of the ids that services give to accounts and
	// schedules: Jira's have colons, Opsgenie's and Linear's are UUIDs.
	accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9:._-]{0,127}$`)
)

func matching(form *regexp.Regexp, hint string) func(string) error {
	return func(s string) error {
		if !form.MatchString(s) {
			return fmt.Errorf("%s is not %s", strictyaml.Quote(s), hint)
		}
		return nil
	}
}

func (c *compiler) people(_ string, _ strictyaml.Pos, spec *peopleSpec) {
	for i, v := range spec.People {
		key, in := fmt.Sprintf("spec.people[%d]", i), &v.V
		p := &person{managerPos: in.Manager.Pos, calendarPos: in.Calendar.Pos, Person: Person{
			Principal: grants.Principal{
				GitHub: checked(c, key+".github", in.GitHub, grants.CheckLogin),
				ID: checked(c, key+".id", in.ID, func(id int64) error {
					if id <= 0 {
						return fmt.Errorf("%d is not the number of a GitHub user", id)
					}
					return nil
				}),
			},
			Slack:    checked(c, key+".slack", in.Slack, matching(slackForm, "a Slack user id; they look like U01ALICE")),
			Email:    checked(c, key+".email", in.Email, matching(emailForm, "an e-mail address")),
			Manager:  checked(c, key+".manager", in.Manager, grants.CheckLogin),
			Calendar: checked(c, key+".calendar", in.Calendar, grants.CheckName),
		}}
		login := strings.ToLower(p.GitHub)
		c.unique("the GitHub id", fmt.Sprint(p.ID), in.ID.Pos)
		c.unique("the GitHub login", login, in.GitHub.Pos)
		c.set.people.byID[p.ID] = p
		c.set.people.byLogin[login] = p
		if in.Slack.Set {
			c.unique("the Slack id", p.Slack, in.Slack.Pos)
			c.set.people.bySlack[p.Slack] = p
		}
		c.accounts(key, p, in)
		if in.Email.Set {
			c.unique("the e-mail address", strings.ToLower(p.Email), in.Email.Pos)
		}
	}
}

// accounts reads which accounts elsewhere are the person's. Like everything
// that ties an account to a human being, each may stand once.
func (c *compiler) accounts(key string, p *person, in *personSpec) {
	for _, a := range []struct {
		key, service string
		v            strictyaml.Value[string]
		into         *string
	}{
		{"pagerduty", "PagerDuty", in.PagerDuty, &p.PagerDuty}, {"opsgenie", "Opsgenie", in.Opsgenie, &p.Opsgenie},
		{"jira", "Jira", in.Jira, &p.Jira}, {"linear", "Linear", in.Linear, &p.Linear},
	} {
		if a.v.Set {
			*a.into = checked(c, key+"."+a.key, a.v, matching(accountForm, "the id of a "+a.service+" account"))
			c.unique("the "+a.service+" account", a.v.V, a.v.Pos)
			if accounts := c.set.people.byPager[Pager(a.key)]; accounts != nil {
				accounts[a.v.V] = p
			}
		}
	}
}

// pagerAccount is the person's id with a pager; "" where People does not say.
func (p *person) pagerAccount(of Pager) string {
	switch of {
	case PagerDuty:
		return p.PagerDuty
	case Opsgenie:
		return p.Opsgenie
	}
	return ""
}

// manager returns the number of a person's manager; zero where there is none.
func (s *Set) manager(id int64) int64 {
	p := s.people.byID[id]
	if p == nil || p.Manager == "" {
		return 0
	}
	if m := s.people.byLogin[strings.ToLower(p.Manager)]; m != nil {
		return m.ID
	}
	return 0
}

// Truth is what is known of a statement. The zero value is Unknown, and only
// Yes means yes.
type Truth int8

// The truths.
const (
	Unknown Truth = iota
	No
	Yes
)

func truth(b bool) Truth {
	if b {
		return Yes
	}
	return No
}

func (t Truth) String() string {
	switch t {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

// MarshalJSON writes true, false, or null for what is not known.
func (t Truth) MarshalJSON() ([]byte, error) {
	switch t {
	case Yes:
		return []byte("true"), nil
	case No:
		return []byte("false"), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Truth) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "true":
		*t = Yes
	case "false":
		*t = No
	case "null":
		*t = Unknown
	default:
		return fmt.Errorf("read truth value: expected true, false or null, found %s", strictyaml.Quote(string(b)))
	}
	return nil
}

// either is the truth of "a or b"; what is known to hold outweighs a doubt.
func either(a, b Truth) Truth {
	switch {
	case a == Yes || b == Yes:
		return Yes
	case a == Unknown || b == Unknown:
		return Unknown
	}
	return No
}

// role is a named set of people.
type role struct {
	name     string
	pos      strictyaml.Pos
	written  []memberRef
	index    int     // among the roles of the set, for person.member
	members  []int64 // of written, those in People; sorted
	teams    []TeamRef
	rotation *rotation
	pagers   []pagerRule
}

// pagerRule is a pager's schedule whose people on call have the role.
type pagerRule struct {
	schedule Schedule
	levels   []int // escalation levels that count; none: all
	pos      strictyaml.Pos
}

// memberRef is a login in a list; id is zero for one that is not in People.
type memberRef struct {
	login string
	pos   strictyaml.Pos
	id    int64
}

func (c *compiler) role(name string, pos strictyaml.Pos, spec *roleSpec) {
	if name == managerRole {
		c.fault(pos, "value", "metadata.name: %s stands for the requester's own manager and cannot be defined", managerRole)
	}
	r := &role{name: name, pos: pos, written: c.logins("spec.members", spec.Members)}
	for i, t := range spec.GitHubTeams {
		ref := TeamRef{t.V.org, t.V.slug, spec.IncludeChildTeams.V}
		if slices.Contains(r.teams, ref) {
			c.fault(t.Pos, "duplicate", "spec.github_teams[%d]: %s stands here a second time", i, ref)
		}
		r.teams = append(r.teams, ref)
	}
	if spec.Rotation.Set {
		r.rotation = c.rotation(spec.Rotation)
	}
	if p := spec.PagerDuty; p.Set {
		rule := pagerRule{Schedule{PagerDuty, checked(c, "spec.pagerduty.schedule", p.V.Schedule, matching(pagerForm, "a PagerDuty schedule; they look like PABC123"))}, nil, p.Pos}
		for i, level := range p.V.Levels {
			rule.levels = append(rule.levels, c.atLeastOne(fmt.Sprintf("spec.pagerduty.levels[%d]", i), level, 1))
		}
		r.pagers = append(r.pagers, rule)
	}
	if p := spec.Opsgenie; p.Set {
		id := checked(c, "spec.opsgenie.schedule", p.V.Schedule, matching(accountForm, "the id of an Opsgenie schedule, as in the schedule's address"))
		r.pagers = append(r.pagers, pagerRule{Schedule{Opsgenie, id}, nil, p.Pos})
	}
	r.index = len(c.set.roles)
	c.set.roles[name] = r
}

func (c *compiler) logins(key string, v nameList) []memberRef {
	var refs []memberRef
	for i, login := range v.V {
		refs = append(refs, memberRef{login: checked(c, fmt.Sprintf("%s[%d]", key, i), login, grants.CheckLogin), pos: login.Pos})
	}
	return refs
}

func (r *role) link(p *people) {
	resolve := func(refs []memberRef) {
		for i := range refs {
			if m := p.byLogin[strings.ToLower(refs[i].login)]; m != nil {
				refs[i].id = m.ID
			}
		}
	}
	resolve(r.written)
	for _, ref := range r.written {
		if ref.id != 0 {
			r.members = append(r.members, ref.id)
		}
	}
	slices.Sort(r.members)
	r.members = slices.Compact(r.members)
	for _, id := range r.members {
		p.byID[id].member.add(r.index)
	}
	if r.rotation != nil {
		resolve(r.rotation.members)
	}
}

// Holds reports whether p has the role at f.At: as a member, in one of its
// teams, or by the rotation. Only the number counts, and a person who is not
// in People holds nothing. Assumptions are not considered.
func (s *Set) Holds(name string, p grants.Principal, f Facts) Truth {
	if s.Err() != nil {
		return Unknown
	}
	return s.holds(s.roles[name], p.ID, &f)
}

func (s *Set) holds(r *role, id int64, f *Facts) Truth {
	if r == nil || id == 0 {
		return No
	}
	return s.heldBy(r, s.people.byID[id], f)
}

func (s *Set) heldBy(r *role, p *person, f *Facts) Truth {
	t := r.member(p, f)
	if t == Yes {
		return Yes
	}
	return either(t, r.onCall(p, f))
}

// member reports whether somebody has the role for good: as a member or in
// one of its teams.
func (r *role) member(p *person, f *Facts) Truth {
	if r == nil || p == nil {
		return No
	}
	if p.member.has(r.index) {
		return Yes
	}
	t := No
	for _, ref := range r.teams {
		team, known := f.Teams[ref]
		switch {
		case !known || team.ID == 0:
			t = Unknown
		case slices.Contains(team.Members, p.ID):
			return Yes
		}
	}
	return t
}

// onCall reports whether the person is on duty by the role's rotation or its
// pagers; members and teams do not count here.
func (r *role) onCall(p *person, f *Facts) Truth {
	if r == nil || p == nil {
		return No
	}
	t := No
	if r.rotation != nil {
		t = r.rotation.holds(p.ID, f.At)
	}
	for i := range r.pagers {
		t = either(t, r.pagers[i].holds(p, f))
	}
	return t
}

// holds reports whether the pager says that the person is on call. Somebody
// whose account People does not name is not found there.
func (p *pagerRule) holds(who *person, f *Facts) Truth {
	duty, asked := f.Duty[p.schedule]
	if !asked || duty.ReadAt.IsZero() {
		return Unknown
	}
	account := who.pagerAccount(p.schedule.Pager)
	return truth(account != "" && slices.ContainsFunc(duty.OnCall, func(o OnCall) bool { return o.Account == account && p.counts(o) }))
}

func (p *pagerRule) counts(o OnCall) bool {
	return len(p.levels) == 0 || slices.Contains(p.levels, o.Level)
}

// holders calls yield with everybody in People who holds the role now. With
// ever, everybody whose turn in the rotation may come counts too. It reports
// whether somebody may be missing because a team or a pager is not known.
func (s *Set) holders(r *role, f *Facts, ever bool, yield func(*person)) (incomplete bool) {
	if r == nil {
		return false
	}
	each := func(id int64) {
		if p := s.people.byID[id]; p != nil {
			yield(p)
		}
	}
	for _, id := range r.members {
		each(id)
	}
	for _, ref := range r.teams {
		team, known := f.Teams[ref]
		if !known || team.ID == 0 {
			incomplete = true
			continue
		}
		for _, id := range team.Members {
			each(id)
		}
	}
	if r.rotation != nil {
		for _, m := range r.rotation.members {
			if ever || r.rotation.holds(m.id, f.At) == Yes {
				each(m.id)
			}
		}
	}
	for i := range r.pagers {
		// Whoever may come to be on call some day, nobody can say.
		p := &r.pagers[i]
		duty := f.Duty[p.schedule]
		incomplete = incomplete || ever || duty.ReadAt.IsZero()
		for _, o := range duty.OnCall {
			if who := s.people.byPager[p.schedule.Pager][o.Account]; who != nil && p.counts(o) && !duty.ReadAt.IsZero() {
				yield(who)
			}
		}
	}
	return incomplete
}
