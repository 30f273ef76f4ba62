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

// ticketRule is what a condition asks of the ticket beyond there being one.
type ticketRule struct {
	pattern  *pattern // nil: any ticket
	written  string   // the pattern as written
	tracker  Tracker  // "": none is asked
	state    string
	assignee bool
	window   bool
	pos      strictyaml.Pos
	patPos   strictyaml.Pos
}

// stateOpen is the state that every tracker knows: work is still to be done.
const stateOpen = "open"

// assigneeRequester is all that can be asked of a ticket's assignee.
const assigneeRequester = "requester"

func (c *compiler) ticketRule(key string, v strictyaml.Value[ticketSpec]) *ticketRule {
	spec := &v.V
	t := &ticketRule{
		written:  spec.Pattern.V,
		tracker:  Tracker(checked(c, key+".tracker", spec.Tracker, checkTracker)),
		state:    checked(c, key+".state", spec.State, checkText),
		assignee: spec.Assignee.Set,
		window:   spec.ChangeWindow.V,
		pos:      v.Pos,
		patPos:   spec.Pattern.Pos,
	}
	checked(c, key+".assignee", spec.Assignee, func(s string) error {
		if s != assigneeRequester {
			return fmt.Errorf("expected %s, who has to be the ticket's assignee; found %s", assigneeRequester, strictyaml.Quote(s))
		}
		return nil
	})
	if !spec.Pattern.Set && !spec.Tracker.Set && !spec.State.Set && !t.assignee && !t.window {
		c.fault(v.Pos, "value", "%s: asks nothing; name a pattern, a tracker or a state, or write require_ticket: true", key)
	}
	if !spec.Tracker.Set && (spec.State.Set || t.assignee || t.window) {
		c.fault(v.Pos, "value", "%s: state, assignee and change_window are for a tracker to say; name one: tracker: jira", key)
	}
	checked(c, key+".pattern", spec.Pattern, func(s string) (err error) {
		if s == "" {
			return errors.New("is empty; leave the key out")
		}
		// Compiled alone first: "a)|(b" must not get its parentheses from us.
		if _, err = regexp.Compile(s); err != nil {
			return fmt.Errorf("%s is not a regular expression: %s", strictyaml.Quote(s), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
		t.pattern, err = compilePattern(s)
		return err
	})
	return t
}

func checkTracker(s string) error {
	if !slices.Contains(trackers, s) {
		return fmt.Errorf("%s is not a tracker; expected %s", strictyaml.Quote(s), orList(trackers))
	}
	return nil
}

func (t *ticketRule) link(add func(test)) {
	if t.pattern != nil {
		add(&ticketMatches{rule: t})
	}
	if t.tracker == "" {
		return
	}
	add(&tracked{rule: t, name: "ticket.tracker", wanted: "a ticket that " + t.tracker.Title() + " knows", see: ticketExists})
	if t.state != "" {
		add(&tracked{rule: t, name: "ticket.state", wanted: "in state " + t.state, see: ticketInState})
	}
	if t.assignee {
		add(&tracked{rule: t, name: "ticket.assignee", wanted: "assigned to the requester", see: ticketIsTheirs})
	}
	if t.window {
		add(&tracked{rule: t, name: "ticket.change_window", wanted: "the whole grant within the ticket's change window", see: ticketWindowHolds})
	}
}

func (j *Judge) hasTicket() bool { return j.suppose.ticket || j.namesTicket() }

func (j *Judge) namesTicket() bool {
	return j.req.Ticket != "" && grants.CheckTicket(j.req.Ticket) == nil
}

// hasTicket wants the request to name a ticket.
type hasTicket struct{ plain }

func (hasTicket) key() string                 { return "require_ticket" }
func (hasTicket) holds(j *Judge) Truth        { return truth(j.hasTicket()) }
func (hasTicket) text(j *Judge) (_, _ string) { return j.ticketText(), "a ticket" }

// ticketMatches wants the ticket's key to be of a form.
type ticketMatches struct {
	plain
	rule *ticketRule
}

func (*ticketMatches) key() string { return "ticket.pattern" }
func (t *ticketMatches) holds(j *Judge) Truth {
	return truth(j.suppose.ticket || t.rule.matches(j))
}
func (t *ticketMatches) text(j *Judge) (_, _ string) {
	return j.ticketText(), "a ticket that matches " + t.rule.written
}

func (t *ticketRule) matches(j *Judge) bool {
	return j.namesTicket() && (t.pattern == nil || t.pattern.matches(j.req.Ticket))
}

// tracked is one thing that only the tracker can say of a ticket.
type tracked struct {
	plain
	rule   *ticketRule
	name   string
	wanted string
	see    func(*Judge, *ticketRule, *Ticket) (Truth, string)
}

func (t *tracked) key() string    { return t.name }
func (t *tracked) needs(n *Needs) { n.Trackers = append(n.Trackers, t.rule.tracker) }

func (t *tracked) silent(j *Judge) string {
	if !j.hasTicket() {
		return ""
	}
	return j.ticket(t.rule).Silent
}

// ticket is what the tracker said of the request's ticket.
func (j *Judge) ticket(r *ticketRule) Ticket {
	return j.facts.Tickets[TicketRef{r.tracker, j.req.Ticket}]
}

func (t *tracked) holds(j *Judge) Truth {
	if j.suppose.ticket {
		return Yes
	}
	holds, _ := t.look(j)
	return holds
}

func (t *tracked) look(j *Judge) (Truth, string) {
	if !j.namesTicket() {
		return No, ""
	}
	fact := j.ticket(t.rule)
	switch {
	case fact.ReadAt.IsZero() || fact.Exists == Unknown:
		return Unknown, ""
	case fact.Exists == No:
		return No, "there"
	}
	return t.see(j, t.rule, &fact)
}

func (t *tracked) text(j *Judge) (observed, wanted string) {
	if !j.namesTicket() {
		return j.ticketText(), t.wanted
	}
	fact := j.ticket(t.rule)
	switch holds, seen := t.look(j); {
	case fact.Exists == No:
		return fmt.Sprintf("%s has no ticket %s", t.rule.tracker.Title(), j.req.Ticket), t.wanted
	case holds == Unknown && seen == "":
		return unknownText(fact.Silent, t.rule.tracker.Title()+" was not asked"), t.wanted
	default:
		return j.req.Ticket + " " + ticketSaid(j, &fact, seen), t.wanted
	}
}

// What tracked tests saw, as a word that needs no memory; ticketSaid makes
// the sentence where one is wanted.
const (
	sawThere    = "there"
	sawState    = "state"
	sawAssignee = "assignee"
	sawNobody   = "nobody"
	sawAccount  = "account"
	sawWindow   = "window"
	sawNoWindow = "no window"
)

func ticketExists(*Judge, *ticketRule, *Ticket) (Truth, string) { return Yes, sawThere }

func ticketInState(_ *Judge, r *ticketRule, fact *Ticket) (Truth, string) {
	if strings.EqualFold(r.state, stateOpen) && fact.Open != Unknown {
		return fact.Open, sawState
	}
	if fact.State == "" {
		return Unknown, ""
	}
	return truth(strings.EqualFold(r.state, fact.State)), sawState
}

func ticketIsTheirs(j *Judge, r *ticketRule, fact *Ticket) (Truth, string) {
	if len(fact.Assignees) == 0 {
		return No, sawNobody
	}
	if j.person == nil || j.person.account(r.tracker) == "" {
		return No, sawAccount
	}
	return truth(slices.Contains(fact.Assignees, j.person.account(r.tracker))), sawAssignee
}

// ticketWindowHolds wants the whole grant within the change window: a grant
// that outlives its window is access that nobody planned.
func ticketWindowHolds(j *Judge, _ *ticketRule, fact *Ticket) (Truth, string) {
	if j.facts.At.IsZero() {
		return Unknown, ""
	}
	if fact.From.IsZero() || fact.To.IsZero() {
		return No, sawNoWindow
	}
	begins := j.begins()
	return truth(!begins.Before(fact.From) && !begins.Add(j.req.Duration).After(fact.To)), sawWindow
}

// begins is when the grant would begin.
func (j *Judge) begins() time.Time {
	if b := j.base(); b != nil {
		return b.EndsAt.Add(-j.extended)
	}
	if j.req.Start.After(j.facts.At) {
		return j.req.Start
	}
	return j.facts.At
}

func ticketSaid(j *Judge, fact *Ticket, seen string) string {
	switch seen {
	case sawThere:
		return "is there"
	case sawState:
		if fact.State == "" {
			return map[Truth]string{Yes: "is open", No: "is closed"}[fact.Open]
		}
		return "is " + strictyaml.Quote(fact.State)
	case sawNobody:
		return "is assigned to nobody"
	case sawAccount:
		return fmt.Sprintf("is assigned to somebody, and People does not say which account there is that of %s", j.name())
	case sawAssignee:
		return "is assigned to " + andList(fact.Assignees)
	case sawNoWindow:
		return "has no change window"
	}
	return fmt.Sprintf("has the window %s to %s; the grant would be from %s to %s", timeText(fact.From), timeText(fact.To),
		timeText(j.begins()), timeText(j.begins().Add(j.req.Duration)))
}

// account is the person's id with a tracker; "" where People does not say.
func (p *person) account(t Tracker) string {
	switch t {
	case GitHubIssues:
		return strconv.FormatInt(p.ID, 10)
	case Jira:
		return p.Jira
	case Linear:
		return p.Linear
	}
	return ""
}

// pattern is what a ticket's key has to be, from its first character to its
// last. Nearly every pattern is a project's key and a number, INC-[0-9]+: that
// one is read without the expression, which costs more than all else that a
// decision does.
type pattern struct {
	whole  *regexp.Regexp
	number string // not "": whole means just this and then digits
}

var projectForm = regexp.MustCompile(`^([A-Za-z]+-)(?:\[0-9\]|\\d)\+$`)

func compilePattern(written string) (*pattern, error) {
	whole, err := regexp.Compile(`\A(?:` + written + `)\z`)
	p := &pattern{whole: whole}
	if m := projectForm.FindStringSubmatch(written); m != nil {
		p.number = m[1]
	}
	return p, err
}

func (p *pattern) matches(s string) bool {
	if p.number == "" {
		return p.whole.MatchString(s)
	}
	digits, ok := strings.CutPrefix(s, p.number)
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return false
		}
	}
	return ok && digits != ""
}
