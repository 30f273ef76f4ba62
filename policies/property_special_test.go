package policies

import (
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

// Properties of requests that are no ordinary ones, and of waiting.

// likely runs a property on requests of one kind that are mostly as they have
// to be, by one policy that foresees them.
func likely(t *testing.T, kind func(*Request), property func(t *rapid.T, d drawn, req Request, f Facts)) {
	rapid.Check(t, func(t *rapid.T) {
		d, req := drawRepository(t), drawOrdinary(t)
		d.policies, d.guardrails = d.policies[:1], d.guardrails[:min(1, len(d.guardrails))]
		d.special[0] = rapid.SampledFrom([]string{everySpecial[2], everySpecial[5], everySpecial[1], everySpecial[4]}).Draw(t, "said of it")
		req.Requester = rapid.SampledFrom([]grants.Principal{alice, bob, dana, ivan}).Draw(t, "who asks")
		req.Resource, req.Reason, req.Ticket = "wiki", "because", "INC-1"
		req.Duration = rapid.SampledFrom([]time.Duration{hour, minute, 2 * hour, 4 * hour}).Draw(t, "how long")
		kind(&req)
		property(t, d, req, drawFacts(t, req))
	})
}

func emergency(r *Request) { r.BreakGlass = true }
func extension(r *Request) { r.Extends = "20260930-k3v9q2m4tz" }
func ordinary(*Request)    {}

func TestPropertyAnEmergencyIsNeverReviewed(t *testing.T) {
	allowed := 0
	likely(t, emergency, func(t *rapid.T, d drawn, req Request, f Facts) {
		got := d.load(t).Evaluate(req, f)
		if got.Outcome == NeedsReview || len(got.Needs) > 0 || got.Outcome == Allow && got.ReviewWithin == 0 {
			t.Fatalf("%s by %s, to be reviewed within %s\n%v", got.Outcome, got.Rule, got.ReviewWithin, d)
		}
		if got.Outcome == Allow {
			allowed++
		}
	})
	if allowed == 0 {
		t.Error("no emergency was allowed")
	}
}

// TestPropertyWhatIsNotKnownOfOtherGrantsNeverAllows: neither the grant that
// is extended nor an overdue review is ever taken for granted.
func TestPropertyWhatIsNotKnownOfOtherGrantsNeverAllows(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		if !req.BreakGlass && req.Extends == "" {
			return
		}
		switch {
		case rapid.Bool().Draw(t, "nothing is there"):
			f.Base, f.Overdue = nil, nil
		default: // it is there, and nobody read it
			if f.Base != nil {
				f.Base.ReadAt = time.Time{}
			}
			if f.Overdue != nil {
				f.Overdue.ReadAt = time.Time{}
			}
		}
		if got := d.load(t).Evaluate(req, f); got.Outcome != Deny {
			t.Fatalf("%s by %s\n%v", got.Outcome, got.Rule, d)
		}
	})
}

// TestPropertyExtendingGivesNoMoreThanAskingForAllOfIt compares an extension
// with the request for the whole time, made at the beginning.
func TestPropertyExtendingGivesNoMoreThanAskingForAllOfIt(t *testing.T) {
	extended := 0
	likely(t, extension, func(t *rapid.T, d drawn, req Request, f Facts) {
		if f.Base == nil {
			return
		}
		s := d.load(t)
		f.Base.EndsAt = f.At.Add(f.Base.Total.Round(time.Second)) // it began just now
		whole := req
		whole.Extends, whole.BreakGlass, whole.Duration = "", false, req.Duration+(f.Base.Total+time.Second-1).Truncate(time.Second)
		a, b := s.Evaluate(req, f), s.Evaluate(whole, f)
		if a.Outcome > b.Outcome {
			t.Fatalf("%s by %s, and all of it at once %s by %s\n%v", a.Outcome, a.Rule, b.Outcome, b.Rule, d)
		}
		if a.Outcome > Deny {
			extended++
		}
	})
	if extended == 0 {
		t.Error("nothing was extended")
	}
}

// TestPropertyABoundThatATotalIsOverIsOne: for as long as an extension's advice
// names, a request of its own is allowed.
func TestPropertyABoundThatATotalIsOverIsOne(t *testing.T) {
	over := regexp.MustCompile(` in all is over the ([0-9hms]+) that .* without review: wait for`)
	told := 0
	open, f := dutyWorld(t)
	railed, _ := dutyWorld(t, doc("g.yaml", "kind: Guardrail\nmetadata: {name: g}\nspec: {resources: [db], auto_approve_max_duration: 2h}\n"))
	rapid.Check(t, func(t *rapid.T) {
		s, f := rapid.SampledFrom([]*Set{open, railed}).Draw(t, "policies"), f
		f.Base = baseOf(f.At)
		f.Base.Total = time.Duration(rapid.IntRange(1, 240).Draw(t, "minutes so far")) * minute
		req := askDB(rapid.SampledFrom([]grants.Principal{alice, carol}).Draw(t, "who"), time.Duration(rapid.IntRange(1, 60).Draw(t, "minutes more"))*minute)
		req.Extends, req.Ticket = baseID, rapid.SampledFrom([]string{"INC-1", "INC-1", ""}).Draw(t, "ticket")
		before := s.Evaluate(req, f)
		m := over.FindStringSubmatch(before.Nearest)
		if m == nil {
			return
		}
		req.Extends = ""
		req.Duration, _ = grants.ParseDuration(m[1])
		if after := s.Evaluate(req, f); after.Outcome != Allow {
			t.Fatalf("%q, but for %s it is %s by %s", before.Nearest, m[1], after.Outcome, after.Rule)
		}
		told++
	})
	if told == 0 {
		t.Error("nothing was over a bound")
	}
}

// TestPropertyWaitingOnlyAddsApprovers: time that passes while people could
// answer decides nothing by itself, and takes nobody's voice away.
func TestPropertyWaitingOnlyAddsApprovers(t *testing.T) {
	escalated := 0
	likely(t, ordinary, func(t *rapid.T, d drawn, req Request, f Facts) {
		s := d.load(t)
		later := f
		f.Since = f.At.Add(-rapid.SampledFrom([]time.Duration{0, minute, 15 * minute, 59 * minute}).Draw(t, "waited"))
		later.Since = f.Since.Add(-rapid.SampledFrom([]time.Duration{0, minute, 15 * minute, 23 * hour}).Draw(t, "waited longer"))
		a, b := s.Evaluate(req, f), s.Evaluate(req, later)
		if a.Outcome != b.Outcome || a.Rule != b.Rule || !reflect.DeepEqual(a.Reasons, b.Reasons) || a.Nearest != b.Nearest && a.Outcome == Allow {
			t.Fatalf("%s by %s, and later %s by %s\n%v", a.Outcome, a.Rule, b.Outcome, b.Rule, d)
		}
		for i, need := range a.Needs {
			if b.Needs[i].Required != need.Required || slices.ContainsFunc(need.Roles, func(r string) bool { return !slices.Contains(b.Needs[i].Roles, r) }) {
				t.Fatalf("%+v, and later %+v", need, b.Needs[i])
			}
			if len(b.Needs[i].Roles) > len(need.Roles) {
				escalated++
			}
		}
	})
	if escalated == 0 {
		t.Error("nothing escalated")
	}
}

// TestPropertyAnEarlierHeadCountsLikeTheHead: what was reviewed and only
// narrowed since counts as what is merged, in every sequence of reviews, and
// nothing else does.
func TestPropertyAnEarlierHeadCountsLikeTheHead(t *testing.T) {
	s, d, f := panel(t, twoLeads)
	const first, second = "3333333333333333333333333333333333333333", "4444444444444444444444444444444444444444"
	rapid.Check(t, func(t *rapid.T) {
		var reviews, same []Review
		for i := range rapid.IntRange(0, 6).Draw(t, "reviews") {
			r := Review{
				ID: int64(i + 1), User: rapid.SampledFrom([]grants.Principal{carol, dana, eve, grace, ivan}).Draw(t, "who"), UserType: "User",
				State:    rapid.SampledFrom([]ReviewState{ReviewApproved, ReviewApproved, ReviewChangesRequested, ReviewDismissed, ReviewCommented}).Draw(t, "state"),
				CommitID: rapid.SampledFrom([]string{headSHA, first, second, otherSHA, ""}).Draw(t, "commit"),
			}
			reviews = append(reviews, r)
			if r.CommitID == first || r.CommitID == second {
				r.CommitID = headSHA
			}
			same = append(same, r)
		}
		got := s.CountApprovals(d, Proposal{Head: headSHA, Earlier: []string{first, second, ""}, Requester: carol}, reviews, f)
		want := s.CountApprovals(d, Proposal{Head: headSHA, Requester: carol}, same, f)
		if got.Satisfied != want.Satisfied || !reflect.DeepEqual(got.Missing, want.Missing) || !reflect.DeepEqual(got.Blocked, want.Blocked) || len(got.Ignored) != len(want.Ignored) || len(got.Approvers) != len(want.Approvers) {
			t.Fatalf("%+v\nand at the head\n%+v", got, want)
		}
		for i, a := range got.Approvers {
			if at := slices.IndexFunc(reviews, func(r Review) bool { return r.ID == a.Review }); a.Commit != reviews[at].CommitID {
				t.Fatalf("the approval at %s is said to be at %s", reviews[at].CommitID, a.Commit)
			}
			if a.Commit = headSHA; !reflect.DeepEqual(a, want.Approvers[i]) {
				t.Fatalf("%+v, and at the head %+v", a, want.Approvers[i])
			}
		}
	})
}
