package policies

import (
	"cmp"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// Facts is everything outside policy and request that a decision rests on. It
// is gathered once, by whoever asks, and recorded with the decision, so that
// an auditor can decide again. What was not gathered, and what a source did
// not answer, is unknown: it never helps anybody to anything.
type Facts struct {
	At      time.Time            // when it is; a decision without it denies
	Teams   map[TeamRef]Team     // a team that is not here is unknown
	Duty    map[Schedule]Duty    // who is on call; a schedule that is not here is unknown
	Tickets map[TicketRef]Ticket // what trackers say of the request's ticket; one that is not here is unknown
	Uses    Uses                 // what was given without review lately
	Since   time.Time            // since when people could answer; zero: nobody was asked yet
	Base    *Base                // the grant that is extended; nil: not read
	Overdue *Overdue             // what the requester owes of earlier emergencies; nil: not read
	Assumed []string             // roles to assume the requester holds; for explaining only
	Offline bool                 // nobody was asked at all
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

// Pager is a service that knows who is on call.
type Pager string

// The pagers.
const (
	PagerDuty Pager = "pagerduty"
	Opsgenie  Pager = "opsgenie"
)

// Title is the pager's name as people write it.
func (p Pager) Title() string {
	switch p {
	case PagerDuty:
		return "PagerDuty"
	case Opsgenie:
		return "Opsgenie"
	}
	return string(p)
}

// Schedule names an on-call schedule of a pager.
type Schedule struct {
	Pager Pager
	ID    string
}

func (s Schedule) String() string { return s.Pager.Title() + " schedule " + s.ID }

// Duty is what a pager said of a schedule. The zero Duty is not known.
type Duty struct {
	OnCall []OnCall
	ReadAt time.Time // when the pager answered; without it nothing is known
	Source string    // where it was read, as "PagerDuty /oncalls"
	Silent string    // why nothing is known: a sentence about the pager, as "PagerDuty did not answer within 5s"
}

// OnCall is one account that is on call. Accounts are the pager's own ids;
// the People document says whose they are.
type OnCall struct {
	Account string
	Level   int // escalation level, counted from 1; 0 where the pager has none
}

// Tracker is a service that keeps tickets.
type Tracker string

// The trackers.
const (
	Jira         Tracker = "jira"
	GitHubIssues Tracker = "github"
	Linear       Tracker = "linear"
)

var trackers = []string{string(GitHubIssues), string(Jira), string(Linear)}

// Title is the tracker's name as people write it.
func (t Tracker) Title() string {
	switch t {
	case Jira:
		return "Jira"
	case GitHubIssues:
		return "GitHub Issues"
	case Linear:
		return "Linear"
	}
	return string(t)
}

// TicketRef names a ticket in a tracker.
type TicketRef struct {
	Tracker Tracker
	Key     string
}

// Ticket is what a tracker said of a ticket. The zero Ticket is not known.
type Ticket struct {
	Exists    Truth    // No only where the tracker said that there is none
	State     string   // as the tracker calls it: "In Progress"
	Open      Truth    // whether work on it is still to be done
	Assignees []string // the tracker's own ids; for GitHub the account's number
	// From and To are the change window that the ticket grants: from the one
	// to just before the other. Zero where it has none.
	From, To time.Time
	ReadAt   time.Time
	Source   string
	Silent   string // why nothing is known: a sentence about the tracker
}

// Uses is what was given without review: every grant that a policy allowed by
// itself and that was live at, or approved in the day before, the time of the
// decision. The grant that is being judged is not among them. The zero Uses
// is not known.
type Uses struct {
	Grants []Use
	ReadAt time.Time
	Source string // where it was read: the commit of the grants repository
	Silent string // why nothing is known: a sentence
}

// Use is one grant that was given without review.
type Use struct {
	Grant      grants.ID
	Person     int64
	Resource   string
	ApprovedAt time.Time
	Until      time.Time // when it ends, or ended
}

// perDay is the time over which auto-approvals "per day" are counted. It
// slides, so that nobody can take twice as much around midnight.
const perDay = 24 * time.Hour

// live reports whether the grant was in force at t.
func (u *Use) live(t time.Time) bool { return u.Until.After(t) }

// ofDay reports whether the grant was approved in the day up to t.
func (u *Use) ofDay(t time.Time) bool { return u.ApprovedAt.After(t.Add(-perDay)) }

// Needs is which facts judging a request for a resource, and saying who may
// approve, see or end it, may ask for. Lists are sorted.
type Needs struct {
	Teams     []TeamRef
	Schedules []Schedule
	Trackers  []Tracker // each is asked for the request's ticket, if it has one
	Uses      bool
}

// Needs returns what to gather for a resource. For one that does not exist it
// is what the role `security` needs.
func (s *Set) Needs(resource string) Needs {
	if s.Err() != nil {
		return Needs{}
	}
	if r, ok := s.resources[resource]; ok {
		return r.needs.clone()
	}
	return s.needsOf(nil)
}

// AllNeeds returns what any resource may need.
func (s *Set) AllNeeds() Needs {
	if s.Err() != nil {
		return Needs{}
	}
	all := s.needsOf(nil)
	for _, r := range s.resources {
		all.Teams, all.Schedules, all.Trackers = append(all.Teams, r.needs.Teams...), append(all.Schedules, r.needs.Schedules...), append(all.Trackers, r.needs.Trackers...)
		all.Uses = all.Uses || r.needs.Uses
	}
	all.sort()
	return all
}

func (n Needs) clone() Needs {
	n.Teams, n.Schedules, n.Trackers = slices.Clone(n.Teams), slices.Clone(n.Schedules), slices.Clone(n.Trackers)
	return n
}

func (s *Set) needsOf(r *resource) Needs {
	var n Needs
	n.role(s.roles[securityRole])
	if r != nil {
		n.roles(r.owners)
		for _, g := range r.guardrails {
			n.roles(g.neverApprovers)
		}
		for _, p := range r.policies {
			n.policy(p)
		}
	}
	n.sort()
	return n
}

func (n *Needs) sort() {
	slices.SortFunc(n.Teams, compareTeams)
	n.Teams = slices.Compact(n.Teams)
	slices.SortFunc(n.Schedules, func(a, b Schedule) int { return cmp.Or(cmp.Compare(a.Pager, b.Pager), cmp.Compare(a.ID, b.ID)) })
	n.Schedules = slices.Compact(n.Schedules)
	slices.Sort(n.Trackers)
	n.Trackers = slices.Compact(n.Trackers)
}

func (n *Needs) policy(p *policy) {
	n.roles(p.request)
	n.roles(p.glass.roles)
	for _, c := range p.conditions {
		for _, t := range c.tests {
			t.needs(n)
		}
	}
	if p.approval != nil {
		n.roles(p.approval.roles)
		for _, e := range p.approval.escalate {
			n.role(e.to.role)
		}
	}
}

func (n *Needs) roles(l roleList) {
	for _, ref := range l.refs {
		n.role(ref.role)
	}
}

func (n *Needs) role(r *role) {
	if r == nil {
		return
	}
	n.Teams = append(n.Teams, r.teams...)
	for _, p := range r.pagers {
		n.Schedules = append(n.Schedules, p.schedule)
	}
}

func compareTeams(a, b TeamRef) int {
	return cmp.Or(cmp.Compare(a.Org, b.Org), cmp.Compare(a.Slug, b.Slug), compareBool(a.IncludeChildTeams, b.IncludeChildTeams))
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
