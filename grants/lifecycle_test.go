package grants_test

import (
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func at(t time.Time) grants.Clocks { return grants.Clocks{Earliest: t, Latest: t} }

func verdict(r grants.Ruling) grants.Verdict {
	return grants.Verdict{Ruling: r, Rule: "rule", Why: "because"}
}

func record(state grants.State, change ...func(*grants.Record)) *grants.Record {
	r := &grants.Record{State: state, StartsAt: noon, EndsAt: noon.Add(2 * time.Hour), Target: grants.Target{Engine: "database"}}
	switch state {
	case grants.Reserved:
		r.Gen, r.ReservedAt = 1, noon
	case grants.Issued, grants.Delivered:
		r.Gen, r.ReservedAt, r.IssuedAt = 1, noon, noon
		r.LeaseExpires, r.Holder = r.EndsAt, "alice-laptop"
	case grants.Revoked:
		r.Outcome = grants.OutcomeExpired
	}
	for _, f := range change {
		f(r)
	}
	return r
}

func claim(holder string, r grants.Ruling) *grants.Claim {
	return &grants.Claim{Holder: holder, Verdict: verdict(r)}
}

// One row for each line of the table in lifecycle.go, and for each doubt that
// must not become access.
func TestNext(t *testing.T) {
	request := &grants.Request{}
	open := &grants.Pull{Number: 7, Head: "abc", Open: true}
	present := func(o grants.Observed) grants.Observed {
		o.File, o.Holder = grants.FileSame, verdict(grants.Yes)
		if o.Clocks == (grants.Clocks{}) {
			o.Clocks = at(noon)
		}
		return o
	}
	cases := []struct {
		name  string
		o     grants.Observed
		phase grants.Phase
		kind  grants.Kind
	}{
		{"nothing known", grants.Observed{}, grants.PhaseNone, grants.Rest},
		{"a stored request is proposed", grants.Observed{Clocks: at(noon), Request: request}, grants.PhaseRequested, grants.Propose},
		{"a request nobody could propose in time lapses", grants.Observed{Clocks: at(noon), Request: request, LapsesAt: noon}, grants.PhaseLapsed, grants.Finish},
		{"a closed request rests", grants.Observed{Request: &grants.Request{Closed: grants.OutcomeLapsed}}, grants.PhaseLapsed, grants.Rest},

		{"an unjudged pull request waits", grants.Observed{Clocks: at(noon), Pull: open}, grants.PhaseRequested, grants.Wait},
		{"a verdict is shown first", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.Yes)}, grants.PhaseRequested, grants.Show},
		{"a denial is shown before closing", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.No)}, grants.PhaseDenied, grants.Show},
		{"a shown denial closes", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.No), Shown: true}, grants.PhaseDenied, grants.Close},
		{"people are waited for", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.Ask), Shown: true}, grants.PhaseRequested, grants.Wait},
		{"a shown yes merges", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.Yes), Shown: true}, grants.PhaseRequested, grants.Merge},
		{"nothing is proposed on a rewritten branch", grants.Observed{Clocks: at(noon), Request: &grants.Request{}, Frozen: true}, grants.PhaseRequested, grants.Wait},
		{"a rewritten branch denies nothing", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.No), Frozen: true}, grants.PhaseRequested, grants.Wait},
		{"a rewritten branch merges nothing", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.Yes), Shown: true, Frozen: true}, grants.PhaseRequested, grants.Wait},
		{"an unanswered pull request lapses", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.Ask), Shown: true, LapsesAt: noon}, grants.PhaseLapsed, grants.Close},
		{"one second before, it waits", grants.Observed{Clocks: at(noon.Add(-time.Second)), Pull: open, Verdict: verdict(grants.Ask), Shown: true, LapsesAt: noon}, grants.PhaseRequested, grants.Wait},
		{"a pull request closed by hand is withdrawn", grants.Observed{Clocks: at(noon), Pull: &grants.Pull{}}, grants.PhaseWithdrawn, grants.Finish},
		{"merged but not on main yet waits", grants.Observed{Clocks: at(noon), Pull: &grants.Pull{Merged: true}}, grants.PhaseRequested, grants.Wait},

		{"a landing the gate accepts is consented", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{}, Verdict: verdict(grants.Yes)}, grants.PhaseApproved, grants.Consent},
		{"a landing the gate refuses is refused", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{}, Verdict: verdict(grants.No)}, grants.PhaseRefused, grants.Refuse},
		{"a landing that would need approvals is not consented", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{}, Verdict: verdict(grants.Ask)}, grants.PhaseRequested, grants.Wait},
		{"an unjudged landing waits", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{}}, grants.PhaseRequested, grants.Wait},
		{"a rewritten branch consents to nothing", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{}, Verdict: verdict(grants.Yes), Frozen: true}, grants.PhaseRequested, grants.Wait},
		{"a missing record is never consented to again", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{Unrecorded: true, EndsBy: noon.Add(1)}, Verdict: verdict(grants.Yes)}, grants.PhaseRefused, grants.Wait},
		{"a missing record is refused once nothing can live", grants.Observed{Clocks: at(noon), Landing: &grants.Landing{Unrecorded: true, EndsBy: noon}}, grants.PhaseRefused, grants.Refuse},

		{"an approved grant waits for a claim", present(grants.Observed{Record: record(grants.Approved)}), grants.PhaseApproved, grants.Wait},
		{"a claim issues", present(grants.Observed{Record: record(grants.Approved), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Issue},
		{"a claim issues after a retired generation", present(grants.Observed{Record: record(grants.Retired), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Issue},
		{"a claim whose consent is unknown does not issue", present(grants.Observed{Record: record(grants.Approved), Claim: claim("a", grants.Unknown)}), grants.PhaseApproved, grants.Wait},
		{"a claim with a minute less a second left does not issue", present(grants.Observed{Clocks: at(noon.Add(2*time.Hour - 59*time.Second)), Record: record(grants.Approved), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Wait},
		{"a claim while the file is unknown does not issue", grants.Observed{Clocks: at(noon), Holder: verdict(grants.Yes), Record: record(grants.Approved), Claim: claim("a", grants.Yes)}, grants.PhaseApproved, grants.Wait},
		{"a claim of an unknown holder does not issue", grants.Observed{Clocks: at(noon), File: grants.FileSame, Record: record(grants.Approved), Claim: claim("a", grants.Yes)}, grants.PhaseApproved, grants.Wait},
		{"a claim on a rewritten branch does not issue", present(grants.Observed{Frozen: true, Record: record(grants.Approved), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Wait},
		{"after five failures tac gives up", present(grants.Observed{Record: record(grants.Retired, func(r *grants.Record) { r.FailedIssues = 5 }), Claim: claim("a", grants.Yes)}), grants.PhaseFailed, grants.Fail},
		{"a failed grant ends", present(grants.Observed{Record: record(grants.Failed)}), grants.PhaseFailed, grants.End},

		{"a start ahead waits", present(grants.Observed{Clocks: at(noon.Add(-time.Hour)), Record: record(grants.Approved), Claim: claim("a", grants.Yes)}), grants.PhaseScheduled, grants.Wait},
		{"a start is judged again", present(grants.Observed{Record: record(grants.Approved, scheduled), Verdict: verdict(grants.Yes), Claim: claim("a", grants.Yes)}), grants.PhaseScheduled, grants.Start},
		{"a start that policy denies ends", present(grants.Observed{Record: record(grants.Approved, scheduled), Verdict: verdict(grants.No)}), grants.PhaseEnded, grants.End},
		{"a start that cannot be judged waits", present(grants.Observed{Record: record(grants.Approved, scheduled), Claim: claim("a", grants.Yes)}), grants.PhaseScheduled, grants.Wait},
		{"the slowest clock decides a start", present(grants.Observed{Clocks: grants.Clocks{Earliest: noon.Add(-time.Second), Latest: noon}, Record: record(grants.Approved), Claim: claim("a", grants.Yes)}), grants.PhaseScheduled, grants.Wait},

		{"a fresh reservation is left alone", present(grants.Observed{Clocks: at(noon.Add(119 * time.Second)), Record: record(grants.Reserved), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Wait},
		{"a reservation of 120 s is retired", present(grants.Observed{Clocks: at(noon.Add(120 * time.Second)), Record: record(grants.Reserved)}), grants.PhaseApproved, grants.Retire},
		{"a retirement goes on", present(grants.Observed{Record: record(grants.Revoking, func(r *grants.Record) { r.Retiring = true })}), grants.PhaseApproved, grants.Retire},
		{"a slice follows an interrupted one", present(grants.Observed{Record: record(grants.Reserved, sliced), Claim: claim("a", grants.Yes)}), grants.PhaseActive, grants.Issue},

		{"an interrupted slice retires nothing", present(grants.Observed{Clocks: at(noon.Add(5 * time.Minute)), Record: record(grants.Reserved, sliced)}), grants.PhaseActive, grants.Wait},

		{"a short lease is renewed", present(grants.Observed{Record: record(grants.Issued, func(r *grants.Record) { r.LeaseExpires = noon.Add(5 * time.Minute) })}), grants.PhaseActive, grants.Renew},
		{"a lease in its last minute is not renewed", present(grants.Observed{Record: record(grants.Delivered, func(r *grants.Record) { r.LeaseExpires = noon.Add(59 * time.Second) })}), grants.PhaseActive, grants.Wait},
		{"a capped lease is not renewed for ever", present(grants.Observed{Record: record(grants.Delivered, func(r *grants.Record) { r.LeaseExpires, r.LeaseCapped = noon.Add(time.Hour), true })}), grants.PhaseActive, grants.Wait},
		{"a lease that ended is retired", present(grants.Observed{Clocks: at(noon.Add(time.Hour)), Record: record(grants.Delivered, func(r *grants.Record) { r.LeaseExpires = noon.Add(time.Hour) })}), grants.PhaseApproved, grants.Retire},
		{"an untaken credential is retired after a minute", present(grants.Observed{Clocks: at(noon.Add(time.Minute)), Record: record(grants.Issued), Taken: grants.No}), grants.PhaseActive, grants.Retire},
		{"one of which nothing is known is left alone while its wrapping lives", present(grants.Observed{Clocks: at(noon.Add(4 * time.Minute)), Record: record(grants.Issued, wrapped)}), grants.PhaseActive, grants.Wait},
		{"and retired when that has ended", present(grants.Observed{Clocks: at(noon.Add(5 * time.Minute)), Record: record(grants.Issued, wrapped)}), grants.PhaseActive, grants.Retire},
		{"a taken one is noted at once", present(grants.Observed{Record: record(grants.Issued), Taken: grants.Yes}), grants.PhaseActive, grants.ConfirmTake},
		{"a credential sent by message has until its wrapping ends", present(grants.Observed{Clocks: at(noon.Add(4 * time.Minute)), Record: record(grants.Issued, sent)}), grants.PhaseActive, grants.Wait},
		{"then it is retired too", present(grants.Observed{Clocks: at(noon.Add(4*time.Minute + 30*time.Second)), Record: record(grants.Issued, sent), Taken: grants.No}), grants.PhaseActive, grants.Retire},
		{"a live credential is left alone", present(grants.Observed{Record: record(grants.Delivered)}), grants.PhaseActive, grants.Wait},
		{"a claim from elsewhere changes nothing", present(grants.Observed{Record: record(grants.Delivered), Claim: claim("other", grants.Yes)}), grants.PhaseActive, grants.Wait},
		{"a claim with --replace retires", present(grants.Observed{Record: record(grants.Delivered), Claim: &grants.Claim{Holder: "other", Replace: true, Verdict: verdict(grants.Yes)}}), grants.PhaseActive, grants.Retire},
		{"its holder's new claim retires what was lost on the way", present(grants.Observed{Record: record(grants.Delivered), Claim: claim("alice-laptop", grants.Yes)}), grants.PhaseActive, grants.Retire},
		{"a replacing claim that may not be issued retires nothing", present(grants.Observed{Record: record(grants.Delivered), Claim: &grants.Claim{Replace: true, Verdict: verdict(grants.No)}}), grants.PhaseActive, grants.Wait},
		{"a slice is signed while another lives", present(grants.Observed{Record: record(grants.Delivered, sliced), Claim: claim("other", grants.Yes)}), grants.PhaseActive, grants.Issue},
		{"the holder is warned", present(grants.Observed{Clocks: at(noon.Add(110 * time.Minute)), Record: record(grants.Delivered)}), grants.PhaseActive, grants.Warn},

		{"time over ends", present(grants.Observed{Clocks: at(noon.Add(2 * time.Hour)), Record: record(grants.Delivered)}), grants.PhaseEnded, grants.End},
		{"the fastest clock decides an end", present(grants.Observed{Clocks: grants.Clocks{Earliest: noon, Latest: noon.Add(2 * time.Hour)}, Record: record(grants.Delivered)}), grants.PhaseEnded, grants.End},
		{"time over ends a reservation at once", present(grants.Observed{Clocks: at(noon.Add(2 * time.Hour)), Record: record(grants.Reserved)}), grants.PhaseEnded, grants.End},
		{"time over ends with everything else unknown", grants.Observed{Clocks: at(noon.Add(2 * time.Hour)), Frozen: true, Record: record(grants.Delivered)}, grants.PhaseEnded, grants.End},
		{"a deleted file ends", grants.Observed{Clocks: at(noon), File: grants.FileAbsent, Record: record(grants.Delivered)}, grants.PhaseEnded, grants.End},
		{"a changed file ends", grants.Observed{Clocks: at(noon), File: grants.FileOther, Record: record(grants.Delivered)}, grants.PhaseEnded, grants.End},
		{"an unreadable file ends nothing", grants.Observed{Clocks: at(noon), Record: record(grants.Delivered)}, grants.PhaseActive, grants.Wait},
		{"a holder who left ends", grants.Observed{Clocks: at(noon), File: grants.FileSame, Holder: verdict(grants.No), Record: record(grants.Delivered)}, grants.PhaseEnded, grants.End},
		{"a grant that ends while a generation is retired ends for good", present(grants.Observed{Clocks: at(noon.Add(2 * time.Hour)), Record: record(grants.Revoking, func(r *grants.Record) { r.Retiring = true })}), grants.PhaseEnded, grants.End},

		{"revoking goes on whatever is unknown", grants.Observed{Clocks: at(noon), Frozen: true, Record: record(grants.Revoking)}, grants.PhaseEnded, grants.Revoke},
		{"a file stays while the credential lives", present(grants.Observed{Record: record(grants.Revoking), Claim: claim("a", grants.Yes)}), grants.PhaseEnded, grants.Revoke},
		{"a proved end removes the file", present(grants.Observed{Record: record(grants.Revoked)}), grants.PhaseEnded, grants.Remove},
		{"a changed file goes too", grants.Observed{Clocks: at(noon), File: grants.FileOther, Record: record(grants.Revoked)}, grants.PhaseEnded, grants.Remove},
		{"an end with the file unknown waits", grants.Observed{Clocks: at(noon), Record: record(grants.Revoked)}, grants.PhaseEnded, grants.Wait},
		{"a refused file is removed", present(grants.Observed{Record: record(grants.Revoked, func(r *grants.Record) { r.Outcome = grants.OutcomeRefused })}), grants.PhaseRefused, grants.Remove},
		{"a closed grant rests for ever", grants.Observed{Clocks: at(noon), File: grants.FileAbsent, Record: record(grants.Revoked), Claim: claim("a", grants.Yes)}, grants.PhaseClosed, grants.Rest},

		{"what an approver cut down is committed before anything is merged", grants.Observed{Clocks: at(noon), Pull: open, Verdict: verdict(grants.Yes), Shown: true, Request: &grants.Request{Narrowing: &grants.Narrowing{}}}, grants.PhaseRequested, grants.Narrow},
		{"an extension moves the end of what it extends", present(grants.Observed{Record: record(grants.Approved, extension), Base: record(grants.Delivered)}), grants.PhaseApproved, grants.Extend},
		{"once, and has no credential of its own", present(grants.Observed{Record: record(grants.Approved, extension), Base: record(grants.Delivered, extended), Claim: claim("a", grants.Yes)}), grants.PhaseActive, grants.Wait},
		{"an extension of what nobody knows any more gives nothing", present(grants.Observed{Record: record(grants.Approved, extension)}), grants.PhaseApproved, grants.Wait},
		{"an extension ends with what it extends", present(grants.Observed{Record: record(grants.Approved, extension), Base: record(grants.Revoking, extended)}), grants.PhaseEnded, grants.End},
		{"but not because one generation of that is retired", present(grants.Observed{Record: record(grants.Approved, extension), Base: record(grants.Revoking, extended, func(r *grants.Record) { r.Retiring = true })}), grants.PhaseActive, grants.Wait},
		{"an extension is not over before what it extends is proved dead", present(grants.Observed{Record: record(grants.Revoking, extension), Base: record(grants.Revoking, extended)}), grants.PhaseEnded, grants.Wait},
		{"and is over when it is", present(grants.Observed{Record: record(grants.Revoking, extension), Base: record(grants.Revoked, extended)}), grants.PhaseEnded, grants.Revoke},
		{"an extension that is given back shortens what it extends", present(grants.Observed{Record: record(grants.Revoking, extension), Base: record(grants.Delivered, extended)}), grants.PhaseEnded, grants.Shorten},
		{"whose lease follows", present(grants.Observed{Record: record(grants.Delivered, func(r *grants.Record) { r.LeaseExpires = r.EndsAt.Add(time.Hour) })}), grants.PhaseActive, grants.Renew},
		{"and until it has, the extension is not over", present(grants.Observed{Record: record(grants.Revoking, extension), Base: record(grants.Delivered, func(r *grants.Record) { r.LeaseExpires = r.EndsAt.Add(time.Hour) })}), grants.PhaseEnded, grants.Wait},
		{"an extension that was put in while it was taken back is taken out", present(grants.Observed{Record: record(grants.Delivered, extended), Withdrawn: "20261124-eeeeeeeeee"}), grants.PhaseActive, grants.Shorten},
		{"a certificate that was signed for the longer time is waited for", present(grants.Observed{Record: record(grants.Revoking, extension), Base: record(grants.Delivered, sliced, func(r *grants.Record) { r.NotAfter = r.EndsAt.Add(5 * time.Minute) })}), grants.PhaseEnded, grants.Wait},
		{"an extension with a credential of its own ends where the other was taken away", present(grants.Observed{Record: record(grants.Delivered, extension, alone), Base: record(grants.Revoked, func(r *grants.Record) { r.Outcome = grants.OutcomeRevoked })}), grants.PhaseEnded, grants.End},
		{"and goes on where the other's time is merely over", present(grants.Observed{Record: record(grants.Delivered, extension, alone), Base: record(grants.Revoked)}), grants.PhaseActive, grants.Wait},
		{"and is not issued while the other cannot be read", present(grants.Observed{Record: record(grants.Approved, extension, alone), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Wait},
		{"nothing is extended on a rewritten branch", present(grants.Observed{Record: record(grants.Approved, extension), Base: record(grants.Delivered), Frozen: true}), grants.PhaseApproved, grants.Wait},
		{"a missing record is no proof that an extension is over", present(grants.Observed{Record: record(grants.Revoking, extension)}), grants.PhaseEnded, grants.Wait},
		{"an extension that another one carries further lasts as long", present(grants.Observed{Clocks: at(noon.Add(3 * time.Hour)), Record: record(grants.Approved, extension), Base: record(grants.Delivered, extended)}), grants.PhaseActive, grants.Wait},
		{"an extension that is over by its own time, and carries nothing, ends", present(grants.Observed{Clocks: at(noon.Add(3 * time.Hour)), Record: record(grants.Approved, extension), Base: record(grants.Delivered)}), grants.PhaseEnded, grants.End},

		{"broken glass is told once there is nothing more urgent", present(grants.Observed{Record: record(grants.Delivered, broken)}), grants.PhaseActive, grants.Alarm},
		{"a credential comes before the alarm", present(grants.Observed{Record: record(grants.Approved, broken), Claim: claim("a", grants.Yes)}), grants.PhaseApproved, grants.Issue},
		{"an end comes before the alarm", present(grants.Observed{Clocks: at(noon.Add(2 * time.Hour)), Record: record(grants.Delivered, broken)}), grants.PhaseEnded, grants.End},
		{"the alarm comes even when all is over", grants.Observed{Clocks: at(noon), File: grants.FileAbsent, Record: record(grants.Revoked, broken)}, grants.PhaseClosed, grants.Alarm},
		{"then somebody's look is waited for", grants.Observed{Clocks: at(noon), File: grants.FileAbsent, Record: record(grants.Revoked, broken, alarmed)}, grants.PhaseClosed, grants.Wait},
		{"and noted", grants.Observed{Clocks: at(noon), File: grants.FileAbsent, Record: record(grants.Revoked, broken, alarmed), Reviewed: "dana"}, grants.PhaseClosed, grants.Reviewed},
		{"and that is the end of it", grants.Observed{Clocks: at(noon), File: grants.FileAbsent, Record: record(grants.Revoked, broken, alarmed, func(r *grants.Record) { r.Aftermath.By = "dana" })}, grants.PhaseClosed, grants.Rest},
		{"an unknown state waits and alerts", present(grants.Observed{Record: record("LATER")}), grants.PhaseNone, grants.Wait},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			phase, step := grants.Next(c.o)
			if phase != c.phase || step.Kind != c.kind {
				t.Errorf("got %q, %s; want %q, %s", phase, step.Kind, c.phase, c.kind)
			}
			if step.Kind == grants.Merge && step.Head != c.o.Pull.Head {
				t.Errorf("merges %q and not the head that was judged", step.Head)
			}
		})
	}
}

// extension is a record whose grant moves the end of another one on by an hour.
func extension(r *grants.Record) {
	r.Grant.ID, r.Grant.Extends, r.Carried, r.EndsAt = "20261124-eeeeeeeeee", "20261124-bbbbbbbbbb", true, noon.Add(3*time.Hour)
	r.Grant.Duration = time.Hour
}

// extended is that other one, moved.
func extended(r *grants.Record) {
	r.Extend("20261124-eeeeeeeeee", time.Hour)
	r.LeaseExpires = r.EndsAt
}

// alone makes it one that has a credential of its own.
func alone(r *grants.Record) { r.Carried, r.LeaseExpires = false, r.EndsAt }

func broken(r *grants.Record)  { r.Aftermath.Due = noon.Add(24 * time.Hour) }
func alarmed(r *grants.Record) { r.Aftermath.Issue, r.Aftermath.Alarmed = 9, true }

func scheduled(r *grants.Record) { r.Grant.Start = r.StartsAt }
func sliced(r *grants.Record)    { r.Target.Slice = 10 * time.Minute }
func wrapped(r *grants.Record)   { r.WrapExpires = noon.Add(5 * time.Minute) }
func sent(r *grants.Record)      { wrapped(r); r.Sent = true }
