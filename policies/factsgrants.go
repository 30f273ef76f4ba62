package policies

import (
	"cmp"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// What Facts.Line says of other grants: of the one that is extended, and of
// emergencies that nobody has looked at yet.

type writtenBase struct {
	Grant      grants.ID `json:"grant"`
	Requester  int64     `json:"requester"`
	Resource   string    `json:"resource"`
	Seconds    int64     `json:"seconds"`
	Extensions int       `json:"extensions"`
	EndsAt     string    `json:"ends_at,omitempty"`
	Live       bool      `json:"live"`
	BreakGlass bool      `json:"break_glass,omitempty"`
	ReadAt     string    `json:"read_at"`
	Source     string    `json:"source,omitempty"`
}

// written is nil where nothing is known: the same as if it did not stand there.
func (b *Base) written() *writtenBase {
	if b == nil || b.ReadAt.IsZero() {
		return nil
	}
	return &writtenBase{b.Grant, b.Requester, b.Resource, int64(b.total() / time.Second), b.Extensions, stamp(b.EndsAt), b.Live,
		b.BreakGlass, stamp(b.ReadAt), b.Source}
}

type writtenOverdue struct {
	Overdue []grants.ID `json:"overdue"`
	ReadAt  string      `json:"read_at"`
	Source  string      `json:"source,omitempty"`
}

func (o *Overdue) written() *writtenOverdue {
	if o == nil || o.ReadAt.IsZero() {
		return nil
	}
	ids := append([]grants.ID{}, o.Grants...)
	slices.SortFunc(ids, cmp.Compare)
	return &writtenOverdue{ids, stamp(o.ReadAt), o.Source}
}

// others reads what is said of other grants.
func (r *factsReader) others(w *writtenFacts) {
	if b := w.Base; b != nil {
		if b.Seconds < 0 || b.Seconds > int64(grants.LongestDuration/time.Second) {
			r.fault("%d seconds are no length of a grant", b.Seconds)
			return
		}
		r.facts.Base = &Base{b.Grant, b.Requester, b.Resource, time.Duration(b.Seconds) * time.Second, b.Extensions, r.time(b.EndsAt), b.Live,
			b.BreakGlass, r.time(b.ReadAt), b.Source}
	}
	if o := w.Overdue; o != nil {
		r.facts.Overdue = &Overdue{o.Overdue, r.time(o.ReadAt), o.Source}
	}
}
