package grants_test

import (
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

func wideGrant() grants.Grant {
	return grants.Grant{
		ID: "20261124-bbbbbbbbbb", Resource: "postgres-prod", Requester: grants.Principal{GitHub: "alice", ID: 1001}, Duration: 2 * time.Hour,
		Start: noon, Reason: "a reason", Ticket: "INC-1", RequestedAt: noon, Via: grants.ViaCLI, Attestation: "vault:v1:wide",
	}
}

// TestOnlyLessTimeIsNarrower: consent to a file is consent to another one only
// where that one gives less time and nothing else.
func TestOnlyLessTimeIsNarrower(t *testing.T) {
	const blob = "0123456789012345678901234567890123456789"
	for _, tc := range []struct {
		name   string
		change func(*grants.Grant)
		ok     bool
	}{
		{"one second less", func(g *grants.Grant) { g.Duration = 2*time.Hour - time.Second }, true},
		{"half the time", func(*grants.Grant) {}, true},
		{"the same time", func(g *grants.Grant) { g.Duration = 2 * time.Hour }, false},
		{"one second more", func(g *grants.Grant) { g.Duration = 2*time.Hour + time.Second }, false},
		{"another file is named", func(g *grants.Grant) { g.Narrows = "1" + blob[1:] }, false},
		{"no file is named", func(g *grants.Grant) { g.Narrows = "" }, false},
		{"it bears the old signature", func(g *grants.Grant) { g.Attestation = "vault:v1:wide" }, false},
		{"it bears no signature", func(g *grants.Grant) { g.Attestation = "" }, false},
		{"another id", func(g *grants.Grant) { g.ID = "20261124-cccccccccc" }, false},
		{"another resource", func(g *grants.Grant) { g.Resource = "redis-prod" }, false},
		{"another person", func(g *grants.Grant) { g.Requester.ID = 1002 }, false},
		{"another login", func(g *grants.Grant) { g.Requester.GitHub = "bob" }, false},
		{"another start", func(g *grants.Grant) { g.Start = noon.Add(time.Hour) }, false},
		{"no start", func(g *grants.Grant) { g.Start = time.Time{} }, false},
		{"another reason", func(g *grants.Grant) { g.Reason = "another" }, false},
		{"another ticket", func(g *grants.Grant) { g.Ticket = "" }, false},
		{"another way of asking", func(g *grants.Grant) { g.Via = grants.ViaSlack }, false},
		{"another moment of asking", func(g *grants.Grant) { g.RequestedAt = noon.Add(1) }, false},
		{"it extends something", func(g *grants.Grant) { g.Extends = "20261124-dddddddddd" }, false},
		{"it breaks glass", func(g *grants.Grant) { g.BreakGlass = true }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			narrow := wideGrant().Narrowed(time.Hour, blob)
			narrow.Attestation = "vault:v1:narrow"
			tc.change(&narrow)
			if err := grants.CheckNarrower(narrow, wideGrant(), blob); (err == nil) != tc.ok {
				t.Errorf("%v", err)
			}
		})
	}
	if narrow := wideGrant().Narrowed(time.Hour, ""); grants.CheckNarrower(narrow, wideGrant(), "") == nil {
		t.Error("a file without a name was narrowed")
	}
}

// TestTheEndOfAGrantIsWhereItsExtensionsLeaveIt: in whatever order they come,
// come again, or are taken back.
func TestTheEndOfAGrantIsWhereItsExtensionsLeaveIt(t *testing.T) {
	base := func() *grants.Record {
		return record(grants.Delivered, func(r *grants.Record) { r.Grant.Duration = 2 * time.Hour })
	}
	const one, two = grants.ID("20261124-1111111111"), grants.ID("20261124-2222222222")
	r := base()
	r.Warned, r.LeaseCapped = true, true
	r.Extend(one, time.Hour)
	r.Extend(one, 7*time.Hour) // again: it counts once
	r.Extend(two, 0)
	if !r.EndsAt.Equal(noon.Add(3*time.Hour)) || r.Warned || r.LeaseCapped || len(r.Extensions) != 1 || r.TokenUntil.Before(r.EndsAt) {
		t.Errorf("after one: %+v", r)
	}
	r.Extend(two, 30*time.Minute)
	if !r.EndsAt.Equal(noon.Add(210 * time.Minute)) {
		t.Errorf("after both it ends at %s", r.EndsAt)
	}
	r.Shorten(one)
	r.Shorten(one)
	if !r.EndsAt.Equal(noon.Add(150*time.Minute)) || r.Carries(one) || !r.Carries(two) {
		t.Errorf("without the first: %+v", r)
	}
	if !r.LeaseExpires.Equal(noon.Add(210 * time.Minute)) {
		t.Errorf("the lease counts as over at %s, though Vault may have been told of the later end", r.LeaseExpires)
	}
	r.Shorten(two)
	if !r.EndsAt.Equal(noon.Add(2*time.Hour)) || len(r.Extensions) != 0 {
		t.Errorf("without both: %+v", r)
	}
}
