package grants

import "time"

// This file is the whole life of a grant. Next looks at what is observed and
// names the one step that comes next; whoever calls it does that step and
// looks again. It remembers nothing: every step can be lost, done twice, or
// done by another replica, and the next look finds out.
//
//	phase      what is observed                               step
//	---------  ---------------------------------------------  -----------------
//	requested  a request is stored, no pull request           Propose
//	           an approver cut it down, the branch does not   Narrow
//	           pull request open, verdict not shown           Show
//	           ... verdict: ask people                        Wait for a review
//	           ... verdict: yes at this head                  Merge, this head only
//	           merged, commit not seen on main yet            Wait
//	denied     pull request open, verdict: no                 Show, then Close
//	lapsed     nobody answered in time                        Close
//	any of     the request is over, its pull request open     Close
//	withdrawn  pull request closed unmerged, or taken back    Close, Finish
//	approved   landed on main, the gate says yes              Consent
//	           APPROVED or RETIRED, nobody claims             Wait
//	           APPROVED or RETIRED, a claim, time left        Issue
//	           RESERVED for 120 s                             Retire
//	           REVOKING of one generation only                Retire
//	scheduled  APPROVED, start ahead                          Wait
//	           start is here, not judged again                Start, or End
//	active     ISSUED or DELIVERED, lease shorter than grant  Renew
//	           ISSUED, seen to be taken                       ConfirmTake
//	           ISSUED, not taken in time                      Retire
//	           its holder claims again                        Retire, or Issue a slice
//	           lease longer than grant: shortened             Renew
//	           the end is near                                Warn
//	           time left                                      Wait
//	           an extension, what it extends not longer yet   Extend
//	any of     break-glass, not everybody knows yet           Alarm
//	           break-glass, somebody else has looked at it    Reviewed
//	refused    landed on main, the gate says no               Refuse
//	           landed on main, but taken back before          Refuse
//	           record refused, file on main                   Remove
//	failed     five issues failed                             Fail, then End
//	ended      time over, file gone or changed, holder gone   End
//	           an extension, what it extends still longer     Shorten
//	           REVOKING                                       Revoke, until proved
//	           REVOKED, file on main                          Remove
//	closed     REVOKED, file gone                             Rest, for ever
//	           ... but nobody has looked at a break-glass yet Wait
//
// Two orderings make crashes safe: the file lands before a credential exists
// (Issue needs a record, a record needs Landed), and the credential is proved
// dead before the file goes (Remove needs REVOKED). What is not known never
// gives access and never delays an end.

// Phase is where a grant stands, in the words people see.
type Phase string

// The phases.
const (
	PhaseNone      Phase = "" // nothing is known of such a grant
	PhaseRequested Phase = "requested"
	PhaseDenied    Phase = "denied"
	PhaseLapsed    Phase = "lapsed"
	PhaseWithdrawn Phase = "withdrawn"
	PhaseRefused   Phase = "refused"
	PhaseScheduled Phase = "scheduled"
	PhaseApproved  Phase = "approved"
	PhaseActive    Phase = "active"
	PhaseFailed    Phase = "failed"
	PhaseEnded     Phase = "ended"
	PhaseClosed    Phase = "closed"
)

// Times that the life of a grant turns on.
const (
	// RetireAfter is how long a reservation is left alone: Vault gives up a
	// request after 90 s (max_request_duration), so no issue of that
	// generation can still be under way (threats.md, finding 5).
	RetireAfter = 120 * time.Second
	// DeliverWithin is how long a credential may wait for its holder.
	DeliverWithin = 60 * time.Second
	// LeastLeft is the shortest time for which anything is issued or
	// renewed: Vault once made leases immortal that were renewed in their
	// last second (CVE-2021-32923).
	LeastLeft = 60 * time.Second
	// MostFailures is how many issues may fail before tac gives up.
	MostFailures = 5
	// WarnBefore is when the holder hears of the end, unless the grant is
	// shorter than twice as long.
	WarnBefore = 10 * time.Minute
	// StrayLife is how long a credential nobody recorded can live: the
	// longest default_ttl that set-up admits, and five seconds.
	StrayLife = 305 * time.Second
)

// Clocks is the time as several clocks have it (the bot's, Vault's, the
// forge's): a start waits for the slowest, an end comes with the fastest.
type Clocks struct{ Earliest, Latest time.Time }

// Ruling is an answer about access. The zero value is no answer, and no
// answer is never yes.
type Ruling int

// The rulings.
const (
	Unknown Ruling = iota
	No
	Ask // people have to approve, and have not yet
	Yes
)

// Verdict is a ruling and its ground.
type Verdict struct {
	Ruling Ruling
	Rule   string // the rule that decided
	Why    string // one sentence for people
}

// FileState is what the tip of the default branch holds at the grant's path.
type FileState int

// The states of the file. Absence is a state that was seen, never an error.
const (
	FileUnknown FileState = iota
	FileAbsent
	FileSame  // the very bytes that were consented to
	FileOther // other bytes
)

// Pull is the grant's pull request as last read from the forge.
type Pull struct {
	Number int
	Head   string
	Open   bool
	Merged bool
}

// Landing is the commit on the default branch that brought the file.
type Landing struct {
	Commit   string
	Blob     string
	LandedAt time.Time
	// EndsBy is the latest moment at which anything issued for it could
	// still live, whatever became of the record.
	EndsBy time.Time
	// Unrecorded says that the commit was dealt with before, yet its record
	// is missing: somebody took it away.
	Unrecorded bool
}

// Claim is somebody asking for the credential now.
type Claim struct {
	Holder  string  // hash of the claimant's own key
	Replace bool    // retire what is live elsewhere
	Verdict Verdict // whether consent still stands: the approvers are still members, the facts still known
}

// Observed is everything known about one grant at one moment. A nil pointer
// is absence that was seen; whoever cannot see returns an error instead.
type Observed struct {
	Clocks   Clocks
	Request  *Request
	Pull     *Pull
	LapsesAt time.Time // when an unanswered request is closed; zero: not known
	// EscalatesAt is when others are asked as well; zero: never.
	EscalatesAt time.Time
	Verdict     Verdict // on what stands to be decided: the open head, the landing, the start
	Shown       bool    // people and the check run were told this verdict at this head
	Landing     *Landing
	File        FileState
	Frozen      bool    // the default branch was rewritten: no new access
	Holder      Verdict // whether requester and resource still exist: No ends the grant
	Claim       *Claim
	Taken       Ruling // whether the wrapped credential was opened: seen, not supposed
	Record      *Record
	Base        *Record // of the grant that this one extends
	// Withdrawn is an extension that moved this grant\'s end and is over now.
	Withdrawn ID
	Reviewed  string // who looked at a break-glass grant afterwards: seen, not supposed
}

// Kind names a step.
type Kind string

// The steps. Each is idempotent or a compare-and-swap.
const (
	Rest        Kind = "rest"         // nothing more will ever happen by itself
	Wait        Kind = "wait"         // until Step.Until, or until something changes
	Propose     Kind = "propose"      // push the branch, open the pull request
	Narrow      Kind = "narrow"       // commit what an approver cut the request down to
	Show        Kind = "show"         // say the verdict: check run, body, reviewers
	Merge       Kind = "merge"        // squash the pull request at Step.Head
	Close       Kind = "close"        // close the pull request
	Finish      Kind = "finish"       // note that the request is over
	Consent     Kind = "consent"      // write the record APPROVED
	Refuse      Kind = "refuse"       // write the record REVOKED at once, as a tombstone
	Start       Kind = "start"        // note that the start was judged again
	Issue       Kind = "issue"        // have Vault issue a credential
	Renew       Kind = "renew"        // move the lease's end to the grant's
	ConfirmTake Kind = "confirm-take" // note that the holder has it
	Retire      Kind = "retire"       // end this generation and prove it dead
	Extend      Kind = "extend"       // move the end of the grant that this one extends
	Shorten     Kind = "shorten"      // move it back
	Alarm       Kind = "alarm"        // tell everybody that glass was broken, open the issue of its review
	Reviewed    Kind = "reviewed"     // note who looked at it afterwards
	Warn        Kind = "warn"         // tell the holder that the end is near
	Fail        Kind = "fail"         // give up issuing
	End         Kind = "end"          // write REVOKING, which fences every other replica
	Revoke      Kind = "revoke"       // revoke, prove it, write REVOKED
	Remove      Kind = "remove"       // commit the removal of the file
)

// Step is what to do next.
type Step struct {
	Kind    Kind
	Until   time.Time // Wait: when to look again; zero: when something changes
	Head    string    // Merge: the one head that may be merged
	Outcome Outcome   // Close, Finish, Refuse, End
	By      string    // End: who
	Why     string    // one sentence for people
	Alert   bool      // somebody should be woken
}

// Tac is who ends a grant when nobody did.
const Tac = "tac"

// Next returns where the grant stands and the one step that comes next.
func Next(o Observed) (Phase, Step) {
	switch {
	case o.Record != nil:
		return afterGate(o, o.Record)
	case o.Landing != nil:
		return atGate(o, o.Landing)
	case o.Request != nil && o.Request.Closed != "" && o.Pull != nil && o.Pull.Open:
		return requestPhase(o.Request.Closed), Step{Kind: Close, Outcome: o.Request.Closed, By: o.Request.By, Why: o.Request.Why}
	case o.Request != nil && o.Request.Closed != "":
		return requestPhase(o.Request.Closed), Step{Kind: Rest}
	case o.Pull != nil:
		return beforeMerge(o, o.Pull)
	case o.Request != nil && lapsed(o):
		return PhaseLapsed, Step{Kind: Finish, Outcome: OutcomeLapsed, Why: "nobody answered in time"}
	case o.Request != nil && o.Frozen:
		// A branch on top of rewritten history could never be merged.
		return PhaseRequested, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Why: frozenWhy, Alert: true}
	case o.Request != nil:
		return PhaseRequested, Step{Kind: Propose}
	}
	return PhaseNone, Step{Kind: Rest}
}

func requestPhase(outcome Outcome) Phase {
	switch outcome {
	case OutcomeDenied:
		return PhaseDenied
	case OutcomeLapsed:
		return PhaseLapsed
	case OutcomeWithdrawn:
		return PhaseWithdrawn
	}
	return PhaseClosed
}

func lapsed(o Observed) bool {
	return !o.LapsesAt.IsZero() && !o.Clocks.Earliest.Before(o.LapsesAt)
}

// beforeMerge is the life of the pull request. It only ever ends in Merge for
// the head that was judged: approvals and verdict are of that head alone.
func beforeMerge(o Observed, p *Pull) (Phase, Step) {
	switch {
	case p.Merged:
		return PhaseRequested, Step{Kind: Wait, Until: o.Clocks.Latest.Add(30 * time.Second)}
	case !p.Open:
		return PhaseWithdrawn, Step{Kind: Finish, Outcome: OutcomeWithdrawn, Why: "the pull request was closed"}
	case lapsed(o):
		return PhaseLapsed, Step{Kind: Close, Outcome: OutcomeLapsed, Why: "nobody answered in time"}
	case o.Frozen:
		// Against rewritten history every pull request looks wrong: none is
		// merged, and none is denied for it.
		return PhaseRequested, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Why: frozenWhy, Alert: true}
	case o.Request != nil && o.Request.Narrowing != nil:
		// Before anything of the wider request can be merged.
		return PhaseRequested, Step{Kind: Narrow}
	case o.Verdict.Ruling == Unknown:
		return PhaseRequested, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Why: o.Verdict.Why}
	case !o.Shown:
		phase := PhaseRequested
		if o.Verdict.Ruling == No {
			phase = PhaseDenied
		}
		return phase, Step{Kind: Show}
	case o.Verdict.Ruling == No:
		return PhaseDenied, Step{Kind: Close, Outcome: OutcomeDenied, Why: o.Verdict.Why}
	case o.Verdict.Ruling == Ask:
		return PhaseRequested, Step{Kind: Wait, Until: sooner(o.LapsesAt, o.EscalatesAt)}
	}
	return PhaseRequested, Step{Kind: Merge, Head: p.Head}
}

const frozenWhy = "the default branch was rewritten; nothing is issued until an operator has looked"

// atGate is the moment after the merge: the landing counts for nothing until
// the gate has judged it.
func atGate(o Observed, l *Landing) (Phase, Step) {
	switch {
	case l.Unrecorded && o.Clocks.Earliest.Before(l.EndsBy):
		// A credential may live that nobody can name any more. The file
		// stays until Vault's own limits have surely ended it.
		return PhaseRefused, Step{Kind: Wait, Until: l.EndsBy, Alert: true,
			Why: "the record of this grant is missing though it was written: somebody removed it"}
	case l.Unrecorded:
		return PhaseRefused, Step{Kind: Refuse, Outcome: OutcomeRefused, Alert: true,
			Why: "the record of this grant was removed"}
	case o.Request != nil && o.Request.By != "":
		return PhaseRefused, Step{Kind: Refuse, Outcome: OutcomeRefused, By: o.Request.By,
			Why: "it was taken back by " + o.Request.By + " before it was merged"}
	case o.Verdict.Ruling == No:
		return PhaseRefused, Step{Kind: Refuse, Outcome: OutcomeRefused, Why: o.Verdict.Why, Alert: true}
	case o.Frozen:
		return PhaseRequested, Step{Kind: Wait, Why: frozenWhy, Alert: true}
	case o.Verdict.Ruling == Yes:
		return PhaseApproved, Step{Kind: Consent}
	}
	return PhaseRequested, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Why: o.Verdict.Why}
}

// afterGate needs Vault alone, above all for every end.
func afterGate(o Observed, r *Record) (Phase, Step) {
	switch r.State {
	case Revoked:
		return afterEnd(o, r)
	case Revoking:
		if !r.Retiring {
			return ended(o, r)
		}
	case Failed:
		return PhaseFailed, Step{Kind: End, Outcome: OutcomeRevoked, By: Tac, Why: "Vault could not issue a credential in five attempts"}
	}
	if end, over := ending(o, r); over {
		return PhaseEnded, end
	}
	if r.Carried {
		return carried(o, r)
	}
	if o.Withdrawn != "" {
		return PhaseActive, Step{Kind: Shorten}
	}
	switch r.State {
	case Revoking:
		return PhaseApproved, Step{Kind: Retire}
	case Reserved:
		return reserved(o, r)
	case Issued, Delivered:
		return live(o, r)
	case Approved, Retired:
		return unissued(o, r)
	}
	return PhaseNone, Step{Kind: Wait, Alert: true, Why: "the record is in the unknown state " + string(r.State)}
}

// afterEnd takes the file away once nothing lives: never before.
func afterEnd(o Observed, r *Record) (Phase, Step) {
	phase := PhaseEnded
	if r.Outcome == OutcomeRefused {
		phase = PhaseRefused
	}
	switch o.File {
	case FileAbsent:
		return PhaseClosed, aftermath(o, r, Step{Kind: Rest})
	case FileSame, FileOther:
		return phase, Step{Kind: Remove, Outcome: r.Outcome, By: r.EndedBy, Why: r.EndedWhy}
	}
	return phase, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute)}
}

// ended is a grant that is being ended. What an extension gave lives in the
// credential of another grant: it is over once that one is, or is shorter.
func ended(o Observed, r *Record) (Phase, Step) {
	if !r.Carried {
		return PhaseEnded, Step{Kind: Revoke}
	}
	base := o.Base
	switch {
	case base == nil:
		return PhaseEnded, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Alert: true,
			Why: "the record of the grant that this one extends is missing"}
	case base.State == Revoked:
		return PhaseEnded, Step{Kind: Revoke}
	case base.Ending(), base.Carries(r.Grant.ID) && !o.Clocks.Latest.Before(base.EndsAt):
		return PhaseEnded, Step{Kind: Wait, Until: o.Clocks.Latest.Add(15 * time.Second)} // proof that it is dead comes from there
	case base.Carries(r.Grant.ID):
		return PhaseEnded, Step{Kind: Shorten}
	case base.tooLong():
		return PhaseEnded, Step{Kind: Wait, Until: sooner(base.EndsAt, o.Clocks.Latest.Add(15*time.Second))}
	case base.Target.Slice > 0 && base.NotAfter.After(base.EndsAt) && o.Clocks.Earliest.Before(base.NotAfter):
		// A certificate that was signed for the longer time lives on.
		return PhaseEnded, Step{Kind: Wait, Until: base.NotAfter}
	}
	return PhaseEnded, Step{Kind: Revoke}
}

// carried is an extension that was consented to.
func carried(o Observed, r *Record) (Phase, Step) {
	switch {
	case o.Base == nil:
		return PhaseApproved, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Alert: true,
			Why: "the record of the grant that this one extends is missing"}
	case !o.Base.Carries(r.Grant.ID) && o.Frozen:
		return PhaseApproved, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Why: frozenWhy, Alert: true}
	case !o.Base.Carries(r.Grant.ID):
		return PhaseApproved, Step{Kind: Extend}
	}
	return PhaseActive, Step{Kind: Wait, Until: later(r.EndsAt, o.Base.EndsAt)}
}

// aftermath returns what has to follow a break-glass grant, or rest where
// nothing has: it comes after all that gives or ends access.
func aftermath(o Observed, r *Record, rest Step) Step {
	switch {
	case !r.Aftermath.Pending():
		return rest
	case !r.Aftermath.Alarmed || r.Aftermath.Issue == 0:
		return Step{Kind: Alarm}
	case o.Reviewed != "":
		return Step{Kind: Reviewed, By: o.Reviewed}
	case rest.Kind == Rest:
		rest = Step{Kind: Wait, Until: o.Clocks.Latest.Add(10 * time.Minute)}
	}
	if r.Aftermath.Overdue(o.Clocks.Latest) {
		rest.Alert, rest.Why = true, "nobody has looked at this break-glass grant, and it is overdue"
	}
	return rest
}

// ending returns the step that ends the grant, and whether it is over. Only
// what was seen ends a grant; what could not be read does not.
func ending(o Observed, r *Record) (Step, bool) {
	switch {
	case !o.Clocks.Latest.Before(r.EndsAt) && !outlivedBy(o.Base, r):
		return Step{Kind: End, Outcome: OutcomeExpired, By: Tac, Why: "its time is over"}, true
	case o.File == FileAbsent:
		return Step{Kind: End, Outcome: OutcomeRevoked, By: Tac, Why: "its file was deleted from the default branch"}, true
	case o.File == FileOther:
		return Step{Kind: End, Outcome: OutcomeRevoked, By: Tac, Why: "its file was changed after the merge", Alert: true}, true
	case o.Holder.Ruling == No:
		return Step{Kind: End, Outcome: OutcomeRevoked, By: Tac, Why: o.Holder.Why}, true
	case r.Grant.Extends != "" && o.Base != nil && o.Base.Ending() && (r.Carried || o.Base.Outcome != OutcomeExpired):
		// One that has a credential of its own goes on where the other's time
		// is merely over; what was taken away is taken away here as well.
		return Step{Kind: End, Outcome: o.Base.Outcome, By: o.Base.EndedBy, Why: "the grant that it extends has ended: " + o.Base.EndedWhy}, true
	}
	return Step{}, false
}

// outlivedBy reports whether another extension carries the same grant further:
// then this one still counts, among those that policy allows and in the length
// of the whole, and it is over when that grant is.
func outlivedBy(base, r *Record) bool {
	return r.Carried && base != nil && !base.Ending() && base.Carries(r.Grant.ID)
}

// unissued is a consented grant with nothing alive.
func unissued(o Observed, r *Record) (Phase, Step) {
	if o.Clocks.Earliest.Before(r.StartsAt) {
		return PhaseScheduled, Step{Kind: Wait, Until: r.StartsAt}
	}
	if !r.Grant.Start.IsZero() && !r.Started {
		return scheduledStart(o)
	}
	if r.FailedIssues >= MostFailures {
		return PhaseFailed, Step{Kind: Fail, Alert: true, Why: "Vault could not issue a credential in five attempts"}
	}
	if !mayIssue(o, r) {
		return PhaseApproved, aftermath(o, r, Step{Kind: Wait, Until: r.EndsAt})
	}
	return PhaseApproved, Step{Kind: Issue}
}

func scheduledStart(o Observed) (Phase, Step) {
	switch o.Verdict.Ruling {
	case Yes:
		return PhaseScheduled, Step{Kind: Start}
	case No, Ask:
		return PhaseEnded, Step{Kind: End, Outcome: OutcomeRefused, By: Tac, Why: "at its start policy no longer agreed: " + o.Verdict.Why}
	}
	return PhaseScheduled, Step{Kind: Wait, Until: o.Clocks.Latest.Add(time.Minute), Why: o.Verdict.Why}
}

// mayIssue lists everything that must be known and true before Vault is asked.
func mayIssue(o Observed, r *Record) bool {
	return o.Claim != nil &&
		o.Claim.Verdict.Ruling == Yes &&
		o.Holder.Ruling == Yes &&
		o.File == FileSame &&
		(r.Grant.Extends == "" || o.Base != nil) &&
		!o.Frozen &&
		r.EndsAt.Sub(o.Clocks.Latest) >= LeastLeft
}

// reserved waits until no call of the generation can still be under way.
func reserved(o Observed, r *Record) (Phase, Step) {
	if r.Target.Slice > 0 {
		// Slices are one generation, and the end of each is recorded
		// before it is signed: after a crash the next one simply follows.
		if mayIssue(o, r) {
			return PhaseActive, Step{Kind: Issue}
		}
		return PhaseActive, Step{Kind: Wait, Until: r.EndsAt}
	}
	if free := r.ReservedAt.Add(RetireAfter); o.Clocks.Earliest.Before(free) {
		return PhaseApproved, Step{Kind: Wait, Until: free}
	}
	return PhaseApproved, Step{Kind: Retire}
}

// live is a credential that exists.
func live(o Observed, r *Record) (Phase, Step) {
	left := r.EndsAt.Sub(o.Clocks.Latest)
	if c := o.Claim; c != nil && mayIssue(o, r) {
		if r.Target.Slice > 0 {
			return PhaseActive, Step{Kind: Issue}
		}
		if c.Replace || c.Holder == r.Holder {
			return PhaseActive, Step{Kind: Retire, Why: "claimed anew"}
		}
	}
	switch {
	case r.Target.Slice > 0:
		// Certificates end by themselves; there is nothing to renew.
	case !o.Clocks.Earliest.Before(r.LeaseExpires):
		return PhaseApproved, Step{Kind: Retire, Why: "the credential ended before the grant"}
	case r.LeaseExpires.Before(r.EndsAt) && !r.LeaseCapped && left >= LeastLeft && r.LeaseExpires.Sub(o.Clocks.Latest) >= LeastLeft:
		return PhaseActive, Step{Kind: Renew}
	case r.tooLong() && left >= LeastLeft:
		return PhaseActive, Step{Kind: Renew} // an extension was taken back
	case r.State == Issued && o.Taken == Yes:
		return PhaseActive, Step{Kind: ConfirmTake}
	case r.State == Issued && untaken(o, r):
		return PhaseActive, Step{Kind: Retire, Why: "nobody took the credential in time"}
	}
	if warn := warnAt(r); !r.Warned && !o.Clocks.Latest.Before(warn) {
		return PhaseActive, Step{Kind: Warn}
	}
	return PhaseActive, aftermath(o, r, Step{Kind: Wait, Until: wake(o, r)})
}

// sooner returns the earlier of two moments; the zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// untaken reports that nobody has the credential and its time to be taken is
// over. What could not be seen counts only once the wrapping itself has ended.
func untaken(o Observed, r *Record) bool {
	if o.Taken == Unknown && o.Clocks.Earliest.Before(r.WrapExpires) {
		return false
	}
	return !o.Clocks.Earliest.Before(takeBy(r))
}

// takeBy is when an issued credential must be in its holder's hands. One that
// went out by direct message has until shortly before its wrapping ends: only
// while the wrapping lives does its absence prove that it was opened.
func takeBy(r *Record) time.Time {
	if r.Sent {
		return r.WrapExpires.Add(-DeliverWithin / 2)
	}
	return r.IssuedAt.Add(DeliverWithin)
}

func warnAt(r *Record) time.Time {
	before := WarnBefore
	if length := r.EndsAt.Sub(r.StartsAt); length < 2*before {
		before = length / 4
	}
	return r.EffectiveEnd().Add(-before)
}

// wake returns the next moment at which a live grant needs a look.
func wake(o Observed, r *Record) time.Time {
	next := r.EndsAt
	moments := []time.Time{r.LeaseExpires}
	if !r.Warned {
		moments = append(moments, warnAt(r))
	}
	if r.State == Issued {
		moments = append(moments, takeBy(r))
	}
	for _, t := range moments {
		if t.After(o.Clocks.Latest) && t.Before(next) {
			next = t
		}
	}
	return next
}
