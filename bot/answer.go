package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// This file is how people answer a request without going to GitHub. The bot
// never answers for anybody: it submits a review in the person's own name,
// with the person's own token, on exactly the commit that they were shown, and
// then reads it back from GitHub as it reads every other (threats.md E14).

// AnswerAsk is somebody approving or denying a request.
type AnswerAsk struct {
	Head     string        // the head that they were shown, in full
	Duration time.Duration // approve: give less than was asked for; 0: all of it
	Reason   string        // deny: why; approve: may be empty
	Token    world.Secret  // the person's own; empty: the one they left with us
	From     string        // where they answer: FromCLI or FromSlack
}

// Where people answer besides GitHub, as policies name it (approve_from).
const (
	FromCLI   = policies.FromCLI
	FromSlack = policies.FromSlack
)

// Approve submits an approving review as the person.
func (b *Bot) Approve(ctx context.Context, who grants.Principal, id grants.ID, a AnswerAsk) (View, error) {
	s, err := b.answerable(ctx, who, id, a)
	if err != nil {
		return View{}, err
	}
	if err := mayApproveFrom(who, s, a.From); err != nil {
		return View{}, err
	}
	token, err := b.tokenFor(ctx, who, a)
	if err != nil {
		return View{}, err
	}
	if a.Duration != 0 && a.Duration != s.judgement.grant.Duration {
		// First what is approved is made narrower, then it is approved:
		// nothing in between says yes to all of it.
		if a.Head, err = b.narrowFor(ctx, who, s, a.Duration); err != nil {
			return View{}, err
		}
	}
	return b.review(ctx, id, s.pull.Number, token, world.NewReview{Head: a.Head, Approve: true, Body: reviewBody(a, s.judgement.grant.Duration)})
}

// Deny submits a review that requests changes, as the person. It stands until
// the same person approves.
func (b *Bot) Deny(ctx context.Context, who grants.Principal, id grants.ID, a AnswerAsk) (View, error) {
	a.Reason = strings.TrimSpace(a.Reason)
	if a.Reason == "" {
		return View{}, refuse(CodeInvalid, "%s", denyNeedsReason)
	}
	s, err := b.answerable(ctx, who, id, a)
	if err != nil {
		return View{}, err
	}
	if !mayDeny(who, s) {
		return View{}, refuse(CodeDenied, "%s", cannotDeny(s))
	}
	token, err := b.tokenFor(ctx, who, a)
	if err != nil {
		return View{}, err
	}
	v, err := b.review(ctx, id, s.pull.Number, token, world.NewReview{Head: a.Head, Body: reviewBody(a, 0)})
	if err != nil {
		return View{}, err
	}
	// What a review says is not read back: anybody who can write can edit it.
	note := func(r *grants.Request) { r.Denial = &grants.Denial{By: who, Why: a.Reason} }
	if s.Request == nil || b.change(ctx, s, note) != nil {
		b.Log.Warn("why a request was denied stands on its pull request alone", "grant", id)
		return v, nil
	}
	b.Wake(id)
	v.Why = deniedBecause(v.Why, s.Request.Denial)
	return v, nil
}

// answerable returns a request that somebody may see and that waits for
// answers, at the head that they were shown.
func (b *Bot) answerable(ctx context.Context, who grants.Principal, id grants.ID, a AnswerAsk) (*sight, error) {
	if a.Reason != "" {
		if err := grants.CheckReason(a.Reason); err != nil {
			return nil, refuse(CodeInvalid, "%v", err)
		}
	}
	if r, err := b.requestOf(ctx, id); err == nil && r != nil {
		b.pulls.forget(r.Pull) // what they answer is what GitHub has now
	}
	s, err := b.observe(ctx, id, nil)
	if err != nil {
		return nil, unavailable("Vault or GitHub", err)
	}
	if err := b.maySee(ctx, who, id, s); err != nil {
		return nil, err
	}
	phase, _ := grants.Next(s.Observed)
	switch {
	case s.judgement == nil || s.pull == nil || !s.pull.Open || s.Record != nil:
		return nil, refuse(CodeConflict, "%s", nothingToAnswer(phase, id))
	case s.judgement.verdict.Ruling == grants.No:
		return nil, refuse(CodeConflict, "%s", deniedAlready(grants.Step{Why: s.judgement.verdict.Why}))
	case s.grant.Requester.Same(who):
		return nil, refuse(CodeDenied, "%s", noSelfApproval(id))
	case a.Head == "":
		return nil, refuse(CodeInvalid, "%s", answerNeedsHead)
	case a.Head != s.pull.Head:
		return nil, refuse(CodeConflict, "%s", headHasMoved(id, a.Head, s.pull.Head))
	}
	return s, nil
}

// maySee refuses a grant that somebody may not see in the same words as one
// that does not exist.
func (b *Bot) maySee(ctx context.Context, who grants.Principal, id grants.ID, s *sight) error {
	sees, err := b.seer(ctx, who)
	if err != nil {
		return err
	}
	phase, _ := grants.Next(s.Observed)
	if phase == grants.PhaseNone || !sees(b.view(id, phase, s)) && (s.judgement == nil || !mayDeny(who, s)) {
		return refuse(CodeNotFound, "there is no grant %s that you may see", id)
	}
	return nil
}

// mayApproveFrom refuses an approval that would not count, and one that policy
// wants from elsewhere.
func mayApproveFrom(who grants.Principal, s *sight, from string) error {
	j := s.judgement
	switch {
	case j.decision.Outcome != policies.NeedsReview:
		return refuse(CodeConflict, "%s", needsNoApproval)
	case slices.ContainsFunc(j.count.Approvers, func(a policies.Approval) bool { return a.Person.Same(who) }):
		return refuse(CodeConflict, "%s", approvedAlready)
	case !mayApprove(who, s) && !blocks(who, s): // a denial is lifted by whoever made it
		return refuse(CodeDenied, "%s", cannotApprove(s))
	case !slices.Contains(j.decision.ApproveFrom, from):
		return refuse(CodeDenied, "%s", notFromHere(j, from))
	}
	return nil
}

// blocks reports whether somebody's denial is what stops the request.
func blocks(who grants.Principal, s *sight) bool {
	return slices.ContainsFunc(s.judgement.count.Blocked, func(b policies.Blocker) bool { return b.Person.Same(who) })
}

// mayDeny reports whether somebody's denial would stand. A doubt about a role
// lets them deny, as it does not let them approve.
func mayDeny(who grants.Principal, s *sight) bool {
	j := s.judgement
	if j == nil || s.main == nil || who.Same(s.grant.Requester) {
		return false
	}
	if _, known := s.main.set.Person(who.ID); !known {
		return false
	}
	if mayApprove(who, s) || slices.ContainsFunc(j.count.Approvers, func(a policies.Approval) bool { return a.Person.Same(who) }) {
		return true
	}
	roles := slices.Clone(j.decision.Reviewers)
	for _, need := range j.decision.Needs {
		roles = append(roles, need.Roles...)
	}
	return slices.ContainsFunc(roles, func(role string) bool { return s.main.set.Holds(role, who, j.facts) != policies.No })
}

// tokenFor returns the token in whose name a review is submitted: the one that
// came with the call, else the one that the person left with us.
func (b *Bot) tokenFor(ctx context.Context, who grants.Principal, a AnswerAsk) (world.Secret, error) {
	if !a.Token.Empty() {
		return a.Token, nil
	}
	return b.tokenOf(ctx, who)
}

// review submits a review and looks at what became of it.
func (b *Bot) review(ctx context.Context, id grants.ID, pull int, token world.Secret, r world.NewReview) (View, error) {
	r.Pull = pull
	_, err := b.Forge.Review(ctx, token, r)
	b.pulls.forget(pull)
	switch {
	case errors.Is(err, world.ErrLost):
		return View{}, refuse(CodeConflict, "%s", headHasMoved(id, r.Head, ""))
	case errors.Is(err, world.ErrNotOurs):
		return View{}, &Error{Code: CodeDenied, Cause: err, Message: reviewRefused}
	case err != nil:
		b.WakePull(pull)
		return View{}, &Error{Code: CodeUnavailable, Cause: err, Message: reviewUnsure}
	}
	b.Log.Info("answered", "grant", id, "approve", r.Approve)
	if _, err := b.Reconcile(ctx, id); err != nil {
		b.Log.Warn("the answer is given and goes on", "grant", id, "error", err)
		b.WakePull(pull)
	}
	return b.Look(ctx, id)
}

// narrowFor makes a request narrower for an approver, and returns its new
// head. It is noted first: from then on nobody merges the wider one.
func (b *Bot) narrowFor(ctx context.Context, who grants.Principal, s *sight, d time.Duration) (head string, err error) {
	id, j := s.grant.ID, s.judgement
	switch err := grants.CheckDuration(d); {
	case err != nil:
		return "", refuse(CodeInvalid, "%v", err)
	case d > j.grant.Duration:
		return "", refuse(CodeInvalid, "%s", onlyShorter(j.grant))
	case !j.pull.AuthorBot || s.Request == nil:
		return "", refuse(CodeConflict, "%s", handWrittenNotNarrowed(j.grant))
	}
	// The reconciler may be writing down whom it asked at this very moment.
	n := grants.Narrowing{Duration: d, By: who, Head: j.pull.Head}
	if err := b.change(ctx, s, func(r *grants.Request) { r.Narrowing = &n }); err != nil {
		return "", unavailable("Vault", err)
	}
	unlock, err := b.locks.lock(ctx, string(id))
	if err != nil {
		return "", unavailable("tac", err)
	}
	defer unlock()
	if s, err = b.observe(ctx, id, nil); err != nil {
		return "", unavailable("Vault or GitHub", err)
	}
	if s.Request != nil && s.Request.Narrowing != nil && s.Record == nil && s.pull != nil && s.pull.Open {
		if err := b.narrow(ctx, s); err != nil && !errors.Is(err, world.ErrLost) {
			return "", unavailable("GitHub or Vault", err)
		}
	}
	return b.narrowedHead(ctx, s, d)
}

// narrowedHead returns the head of a request once it says the shorter time.
func (b *Bot) narrowedHead(ctx context.Context, s *sight, d time.Duration) (string, error) {
	if s.pull == nil {
		return "", refuse(CodeConflict, "%s", changedMeanwhile)
	}
	b.pulls.forget(s.pull.Number)
	b.main.expire()
	m, err := b.mainNow(ctx)
	if err != nil {
		return "", unavailable("GitHub", err)
	}
	// GitHub may take a moment to show the new head.
	for range mostTries {
		pull, err := b.readPull(ctx, s.pull.Number)
		if err != nil {
			return "", unavailable("GitHub", err)
		}
		j, err := b.judgeHead(ctx, m, pull, false, factFresh)
		if err != nil {
			return "", unavailable("GitHub", err)
		}
		if j.verdict.Ruling == grants.No {
			return "", refuse(CodeConflict, "%s", deniedAlready(grants.Step{Why: j.verdict.Why}))
		}
		if j.grant.Duration == d && pull.Open {
			return pull.Head, nil
		}
		select {
		case <-ctx.Done():
			return "", unavailable("tac", ctx.Err())
		case <-time.After(claimPause):
		}
	}
	return "", refuse(CodeConflict, "%s", changedMeanwhile)
}

// reviewBody is what GitHub shows under the person's name.
func reviewBody(a AnswerAsk, before time.Duration) string {
	var said []string
	if a.Duration != 0 && a.Duration != before {
		said = append(said, fmt.Sprintf("For %s instead of %s.", grants.FormatDuration(a.Duration), grants.FormatDuration(before)))
	}
	if a.Reason != "" {
		said = append(said, fenced(a.Reason))
	}
	from := "the command line"
	if a.From == FromSlack {
		from = "Slack"
	}
	return strings.Join(append(said, "_Answered by "+from+"._"), "\n\n")
}
