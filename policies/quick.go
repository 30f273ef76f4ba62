package policies

import "time"

// quick is the part of a test that is judged without asking the test itself.
// Nearly all conditions are made of a few kinds, and a decision looks at a
// dozen of them: calling each one would cost more than what it does.
// TestPropertyDecideIsEvaluate compares.
type quick struct {
	kind     kind
	static   bool          // asksRole: nothing but members can make anybody hold one of the roles
	most     time.Duration // boundsDuration
	members  roleBits      // asksRole: the roles, by their index
	calendar *calendar     // asksHours
	pattern  *pattern      // asksTicket: nil for any ticket
}

type kind uint8

const (
	asksTest       kind = iota // only the test itself knows
	boundsDuration             // the duration is within most
	asksRole                   // the requester holds one of the roles
	asksHours                  // the calendar is open
	asksTicket                 // the request names a ticket of that form
)

// ticketFits reports whether the request names a ticket and its key has the
// form that is wanted. What is a ticket at all is found out once a decision.
func (j *Judge) ticketFits(p *pattern) Truth {
	if j.named == Unknown {
		j.named = truth(j.namesTicket())
	}
	if j.named == Yes && p != nil {
		return truth(p.matches(j.req.Ticket))
	}
	return j.named
}

func (t *hasRole) quick() quick {
	q := quick{kind: asksRole, static: true}
	for _, ref := range t.roles.refs {
		if r := ref.role; r != nil {
			q.members.add(r.index)
			q.static = q.static && len(r.teams) == 0 && r.rotation == nil && len(r.pagers) == 0
		}
	}
	return q
}

func (t *inHours) quick() quick {
	if t.rule.calendar == nil {
		return quick{}
	}
	return quick{kind: asksHours, calendar: t.rule.calendar}
}

func (hasTicket) quick() quick { return quick{kind: asksTicket} }

func (t *ticketMatches) quick() quick { return quick{kind: asksTicket, pattern: t.rule.pattern} }

// roleBits is a set of small numbers.
type roleBits []uint64

func (b roleBits) has(i int) bool { return i>>6 < len(b) && b[i>>6]&(1<<(i&63)) != 0 }

func (b roleBits) any(of roleBits) bool {
	var both uint64
	for i := range min(len(b), len(of)) {
		both |= b[i] & of[i]
	}
	return both != 0
}

func (b *roleBits) add(i int) {
	for i>>6 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[i>>6] |= 1 << (i & 63)
}
