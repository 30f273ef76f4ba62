package bot

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file holds what tac says to people who ask, answer, extend and end:
// every refusal, notice and prompt of these, in one place, so that they read
// as if one person had written them. testdata/phrases.golden shows them all.
// What goes into git and onto pull requests is in words.go.

// The refusals of those who answer a request.
const (
	noSuchGrantOfYours = "there is no such grant of yours"
	needsNoApproval    = "this request needs no approval: policy allows it"
	approvedAlready    = "you have approved this already; to give less, deny it first, then approve it with --duration"
	answerNeedsHead    = "say which commit you were shown (head), so that you answer that one and no other"
	denyNeedsReason    = "say why, as in --reason \"Use the replica\": the requester reads it"
	changedMeanwhile   = "the request changed this very moment; look at it again, then answer"
	reviewRefused      = "GitHub does not take a review from you here: your login may have ended (tac login), or you may not write to the grants repository; " +
		"you can still review on the pull request's own page"
	reviewUnsure = "GitHub did not say whether it took your review; look at the request again before you repeat it"
)

// The refusals of those who extend.
const (
	extendTooEarly       = "only a grant that was merged can be extended; this one is still a request: take it back and ask for longer"
	extensionOfExtension = "this extends a grant that is itself an extension; extend the first one"
)

func noSelfApproval(id grants.ID) string {
	return fmt.Sprintf("nobody answers their own request; to take it back: tac access drop %s", id)
}

// deniedBecause is what the requester reads of a denial that was given here.
func deniedBecause(why string, d *grants.Denial) string {
	words := fmt.Sprintf("%s denied it (%q);", d.By, printable(d.Why))
	return strings.Replace(why, d.By.String()+" denied it;", words, 1) + "; to ask anew, take this back first"
}

func nothingToAnswer(phase grants.Phase, id grants.ID) string {
	switch phase {
	case grants.PhaseRequested:
		return "this request is not open for answers at this moment; please try again"
	case grants.PhaseDenied, grants.PhaseLapsed, grants.PhaseWithdrawn:
		return fmt.Sprintf("this request is %s: nothing waits for an answer any more", phase)
	}
	return fmt.Sprintf("this grant is %s: nothing waits for an answer any more; to end it: tac access revoke %s --reason \"...\"", phase, id)
}

func deniedAlready(step grants.Step) string {
	return "policy denies this request, so there is nothing to answer: " + firstLine(step.Why)
}

func headHasMoved(id grants.ID, shown, now string) string {
	moved := fmt.Sprintf("the request has changed since you were shown %.7s", shown)
	if now != "" {
		moved += fmt.Sprintf(" (it is at %.7s now)", now)
	}
	return moved + fmt.Sprintf("; look again with tac access show %s, then answer", id)
}

func cannotApprove(s *sight) string {
	who := s.waitingFor()
	if len(who) == 0 {
		return "your approval would not count here"
	}
	return "your approval would not count here: it takes one of " + list(who, 8)
}

func cannotDeny(s *sight) string {
	if len(s.waitingFor()) == 0 {
		return "your answer would not count here; owners and security end a grant with tac access revoke"
	}
	return "your answer would not count here: it takes one of " + list(s.waitingFor(), 8)
}

func notFromHere(j *judgement, from string) string {
	where := "the command line"
	if from == FromSlack {
		where = "Slack"
	}
	instead := "an approving review on " + j.pull.URL
	if from != FromCLI && slices.Contains(j.decision.ApproveFrom, FromCLI) {
		instead += ", or tac access approve " + string(j.grant.ID)
	}
	return fmt.Sprintf("policy takes no approvals from %s for %s; what counts: %s", where, j.grant.Resource, instead)
}

func onlyShorter(g grants.Grant) string {
	return fmt.Sprintf("%s asks for %s; an approver can only give less", g.Requester, grants.FormatDuration(g.Duration))
}

func handWrittenNotNarrowed(g grants.Grant) string {
	return fmt.Sprintf("this grant was written by hand, and nobody but %s may change it; ask them to shorten it, or deny it", g.Requester)
}

// narrowingMessage is the commit by which an approver's narrowing is made.
func narrowingMessage(g grants.Grant, by grants.Principal) string {
	return fmt.Sprintf("narrow %s for %s to %s, as %s would give it\n\nTac-Grant: %s\nTac-Requester: %d\nTac-By: %d\n",
		g.Resource, g.Requester.GitHub, grants.FormatDuration(g.Duration), by.GitHub, g.ID, g.Requester.ID, by.ID)
}

// aftermathIssue is the issue under which a break-glass grant is looked at.
func aftermathIssue(r *grants.Record) world.NewIssue {
	g := r.Grant
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** broke the glass for **%s**, %s, without anybody's approval.\n\n%s\n\n", inert(g.Requester.GitHub), inert(g.Resource),
		grants.FormatDuration(g.Duration), fenced(reasonText(g)))
	fmt.Fprintf(&b, "| | |\n|---|---|\n| Grant | `%s` |\n", g.ID)
	if g.Ticket != "" {
		fmt.Fprintf(&b, "| Ticket | %s |\n", cell(g.Ticket))
	}
	fmt.Fprintf(&b, "| From | %s |\n| Until | %s |\n| Merge | %s |\n| To be looked at by | %s |\n\n", clockText(r.StartsAt), clockText(r.EndsAt), r.Commit, clockText(r.Aftermath.Due))
	fmt.Fprintf(&b, "To end it now: `tac access revoke %s --reason \"...\"`\n\n", g.ID)
	fmt.Fprintf(&b, "An owner of %s, or security, closes this as completed once they have looked at what was done; tac sees that within five minutes. "+
		"Closed by %s, or as not planned, it does not count: reopen it, and have somebody else close it. Past the deadline %s breaks no other glass until it is done.\n", inert(g.Resource), inert(g.Requester.GitHub), inert(g.Requester.GitHub))
	return world.NewIssue{
		Key:    "break-glass-" + string(g.ID),
		Title:  fmt.Sprintf("Break-glass: %s, %s: to be looked at by %s", g.Requester.GitHub, g.Resource, clockText(r.Aftermath.Due)),
		Body:   b.String(),
		Labels: []string{alarmLabel},
	}
}

// carriedBy is the answer to a claim of an extension that has no credential of
// its own.
func carriedBy(base grants.ID) string {
	return fmt.Sprintf("this extends %s, and its credential goes on: tac access get %s", base, base)
}
