package policies

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

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
}

type people struct {
	byID    map[int64]*person
	byLogin map[string]*person // lower case
	bySlack map[string]*person
}

type person struct {
	Person
	managerPos strictyaml.Pos
}

func newPeople() people {
	return people{byID: map[int64]*person{}, byLogin: map[string]*person{}, bySlack: map[string]*person{}}
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
		p := &person{managerPos: in.Manager.Pos, Person: Person{
			Principal: grants.Principal{
				GitHub: checked(c, key+".github", in.GitHub, grants.CheckLogin),
				ID: checked(c, key+".id", in.ID, func(id int64) error {
					if id <= 0 {
						return fmt.Errorf("%d is not the number of a GitHub user", id)
					}
					return nil
				}),
			},
			Slack:   checked(c, key+".slack", in.Slack, matching(slackForm, "a Slack user id; they look like U01ALICE")),
			Email:   checked(c, key+".email", in.Email, matching(emailForm, "an e-mail address")),
			Manager: checked(c, key+".manager", in.Manager, grants.CheckLogin),
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
		if in.Email.Set {
			c.unique("the e-mail address", strings.ToLower(p.Email), in.Email.Pos)
		}
	}
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
type Truth int

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

// TeamRef names a GitHub team whose members policy wants to know.
type TeamRef struct {
	Org, Slug         string // lower case
	IncludeChildTeams bool
}

func (t TeamRef) String() string { return t.Org + "/" + t.Slug }

// Team is what the forge said of a team.
type Team struct {
	ID      int64 // the team's own number; a Team without one is not known
	Slug    string
	Members []int64 // GitHub numbers of active members
	ReadAt  time.Time
	Source  string
}

// Facts is everything outside policy and request that a decision rests on.
type Facts struct {
	At      time.Time        // when it is; a decision without it denies
	Teams   map[TeamRef]Team // a team that is not here is unknown
	Assumed []string         // roles to assume the requester holds; for explaining only
	Offline bool             // teams were not asked for at all
}

// role is a named set of people.
type role struct {
	name     string
	pos      strictyaml.Pos
	written  []memberRef
	members  []int64 // of written, those in People; sorted
	teams    []TeamRef
	rotation *rotation
	pager    string // a PagerDuty schedule; this version does not ask it
	pagerPos strictyaml.Pos
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
		r.pager, r.pagerPos = checked(c, "spec.pagerduty.schedule", p.V.Schedule, matching(pagerForm, "a PagerDuty schedule; they look like PABC123")), p.Pos
		for i, level := range p.V.Levels {
			c.atLeastOne(fmt.Sprintf("spec.pagerduty.levels[%d]", i), level, 1)
		}
	}
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
	if r == nil || id == 0 || s.people.byID[id] == nil {
		return No
	}
	if _, member := slices.BinarySearch(r.members, id); member {
		return Yes
	}
	t := either(r.onCall(id, f), No)
	for _, ref := range r.teams {
		team, known := f.Teams[ref]
		switch {
		case !known || team.ID == 0:
			t = either(t, Unknown)
		case slices.Contains(team.Members, id):
			return Yes
		}
	}
	return t
}

// onCall reports whether the person is on duty by the role's rotation or its
// pager; members and teams do not count here.
func (r *role) onCall(id int64, f *Facts) Truth {
	if r == nil {
		return No
	}
	t := No
	if r.rotation != nil {
		t = r.rotation.holds(id, f.At)
	}
	if r.pager != "" {
		t = either(t, Unknown)
	}
	return t
}

// holders calls yield with everybody in People who holds the role now. With
// ever, everybody whose turn in the rotation may come counts too. It reports
// whether somebody may be missing because a team is not known.
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
	return incomplete
}

// Needs returns the teams that judging a request for the resource, and
// saying who may approve, see or end it, may ask for; sorted.
func (s *Set) Needs(resource string) []TeamRef {
	if s.Err() != nil {
		return nil
	}
	if r, ok := s.resources[resource]; ok {
		return slices.Clone(r.needs)
	}
	return s.teamsOf(nil)
}

func (s *Set) teamsOf(r *resource) []TeamRef {
	var refs []TeamRef
	add := func(l roleList) {
		for _, ref := range l.refs {
			if ref.role != nil {
				refs = append(refs, ref.role.teams...)
			}
		}
	}
	if security := s.roles[securityRole]; security != nil {
		refs = append(refs, security.teams...)
	}
	if r != nil {
		add(r.owners)
		for _, p := range r.policies {
			add(p.request)
			add(p.breakGlass)
			for i := range p.conditions {
				add(p.conditions[i].roles)
				add(p.conditions[i].onCall)
			}
			if p.approval != nil {
				add(p.approval.roles)
				add(p.approval.escalate)
			}
		}
	}
	slices.SortFunc(refs, func(a, b TeamRef) int {
		return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.Slug, b.Slug), compareBool(a.IncludeChildTeams, b.IncludeChildTeams))
	})
	return slices.Compact(refs)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}
