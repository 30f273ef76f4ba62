package policies

import (
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// What a test says of other grants: of the one that is extended, of
// emergencies that nobody has looked at, and how long people could have
// answered.

// sourceRecords is the source of what is known of other grants.
const sourceRecords = "records"

// extendedInTests is the grant that tests extend; no case can tell its id.
const extendedInTests grants.ID = "20260101-0000000000"

func (r *testReader) otherGrants(c *testCase, given *givenSpec, when *whenSpec) {
	f := &c.facts
	if given.Waiting.Set {
		f.Since = f.At.Add(-given.Waiting.V.d)
	}
	var overdue []grants.ID
	for i, v := range given.Overdue.V {
		overdue = append(overdue, grants.ID(checked(&r.compiler, fmt.Sprintf("given.overdue[%d]", i), v, checkGrantID)))
	}
	if when.BreakGlass.V {
		f.Overdue = &Overdue{Grants: overdue, ReadAt: f.At, Source: source}
	}
	if when.Extends.Set {
		in := &when.Extends.V
		f.Base = &Base{
			Grant: extendedInTests, Requester: c.req.Requester.ID, Resource: c.req.Resource,
			Total:      r.accessLength("when.extends.total", in.Total, 0),
			Extensions: checked(&r.compiler, "when.extends.extensions", in.Extensions, checkNotNegative),
			EndsAt:     f.At.Add(time.Minute), Live: true, ReadAt: f.At, Source: source,
		}
	}
	silent := slices.IndexFunc(given.Silent.V, func(v strictyaml.Value[string]) bool { return v.V == sourceRecords })
	if silent < 0 {
		return
	}
	if f.Base == nil && f.Overdue == nil {
		r.fault(given.Silent.V[silent].Pos, "test/unknown", "given.silent[%d]: nobody asks for other grants where a request is neither break_glass nor extends, so their silence changes nothing", silent)
	}
	f.Base, f.Overdue = nil, nil
}

func checkGrantID(s string) error {
	_, err := grants.ParseID(s)
	return err
}
