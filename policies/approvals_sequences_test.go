package policies

import (
	"fmt"
	"slices"
	"testing"
)

// TestB10_EverySequenceWithNarrowings compares every sequence of up to five
// events with a model that is as short as the rule. A dismissal, by the
// reviewer or by anybody else, changes the review that it is about, as it does
// on GitHub; the two cannot be told apart there, so they are one event here. A
// narrowing makes a new head that what was reviewed before contains; a push
// makes one that nothing reviewed before does.
func TestB10_EverySequenceWithNarrowings(t *testing.T) {
	s, d, f := panel(t, oneLead)
	events := []string{"approve", "approve-old", "changes", "dismiss", "narrow", "push"}
	sequences, satisfied := 0, 0
	var run func(prefix []string)
	run = func(prefix []string) {
		reviews, p := playNarrowed(prefix)
		got := s.CountApprovals(d, p, reviews, f)
		want, blocked := modelNarrowed(reviews, p)
		if got.Satisfied != want || len(got.Blocked) > 0 != blocked {
			t.Errorf("%v: satisfied %t, blocked %v; the model says %t, %t", prefix, got.Satisfied, got.Blocked, want, blocked)
		}
		sequences++
		if want {
			satisfied++
		}
		for _, e := range events {
			if len(prefix) < 5 {
				run(append(slices.Clone(prefix), e))
			}
		}
	}
	run(nil)
	t.Logf("%d sequences, of which %d suffice", sequences, satisfied)
}

// playNarrowed turns events into dana's reviews and the proposal that is left.
func playNarrowed(events []string) (reviews []Review, p Proposal) {
	commit := func(n int) string { return fmt.Sprintf("%040d", n) }
	heads := 1
	p = Proposal{Head: commit(heads), Requester: carol}
	review := func(state ReviewState, at string) {
		reviews = append(reviews, Review{ID: int64(len(reviews) + 1), User: dana, UserType: "User", State: state, CommitID: at})
	}
	for _, e := range events {
		switch e {
		case "approve":
			review(ReviewApproved, p.Head)
		case "approve-old":
			review(ReviewApproved, commit(heads-1))
		case "changes":
			review(ReviewChangesRequested, p.Head)
		case "dismiss":
			if n := len(reviews); n > 0 {
				reviews[n-1].State = ReviewDismissed
			}
		case "narrow":
			p.Earlier = append(p.Earlier, p.Head)
			heads++
		case "push":
			p.Earlier = nil
			heads++
		}
		p.Head = commit(heads)
	}
	return reviews, p
}

// modelNarrowed says the rule: the last word counts. It suffices if it
// approves the head or what contains it, and a denial stands unless such an
// approval came after it.
func modelNarrowed(reviews []Review, p Proposal) (satisfied, blocked bool) {
	for i, r := range slices.Backward(reviews) {
		switch {
		case r.State != ReviewApproved:
			return false, true
		case r.CommitID == p.Head || slices.Contains(p.Earlier, r.CommitID):
			return i == len(reviews)-1, false
		}
	}
	return false, false
}

func TestOnlyWhatContainsTheHeadCountsForIt(t *testing.T) {
	s, d, f := panel(t, oneLead)
	narrowed := Proposal{Head: headSHA, Earlier: []string{otherSHA}, Requester: carol}
	if c := s.CountApprovals(d, narrowed, written(t, "dana APPROVED other"), f); !c.Satisfied || c.Approvers[0].Commit != otherSHA {
		t.Errorf("an approval of what was narrowed since: %+v", c)
	}
	c := s.CountApprovals(d, Proposal{Head: headSHA, Requester: carol}, written(t, "dana APPROVED other"), f)
	if c.Satisfied || len(c.Ignored) != 1 {
		t.Errorf("an approval of another commit: %+v", c)
	}
	// No commit at all contains nothing, whatever the caller says of it.
	nowhere := written(t, "dana APPROVED head")
	nowhere[0].CommitID = ""
	if s.CountApprovals(d, Proposal{Head: headSHA, Earlier: []string{""}, Requester: carol}, nowhere, f).Satisfied {
		t.Error("an approval of no commit counts")
	}
	// Without a head nothing is approved, by way of an earlier one neither.
	if s.CountApprovals(d, Proposal{Earlier: []string{headSHA}, Requester: carol}, written(t, "dana APPROVED head"), f).Satisfied {
		t.Error("a proposal without a head is approved")
	}
	banned := narrowed
	banned.Banned = []int64{dana.ID}
	if s.CountApprovals(d, banned, written(t, "dana APPROVED other"), f).Satisfied {
		t.Error("whoever pushed approves what was narrowed since")
	}
}
