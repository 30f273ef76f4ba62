package grants_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// lives is how many random lives are played: each with its own seed, so that
// a failing one can be played again alone.
const lives = 20_000

// Every life ends; nothing is issued without a consented merge; no file goes
// by tac's hand while a credential lives; what has ended never issues again;
// two credentials of one grant never live at once. All that with steps that
// get lost, replies that get lost, crashes in the middle of an issue, pushes
// after the approval, hand-deleted and hand-pushed files, force-pushes, and
// everything unknown now and then.
func TestRandomLivesEndAndNeverOverreach(t *testing.T) {
	reached := map[grants.Kind]int{}
	for seed := range uint64(lives) {
		w := newLife(seed)
		w.run()
		for kind, n := range w.done {
			reached[kind] += n
		}
		if w.fault != "" {
			t.Fatalf("seed %d: %s\n%s", seed, w.fault, strings.Join(w.log, "\n"))
		}
	}
	for _, kind := range []grants.Kind{
		grants.Propose, grants.Show, grants.Merge, grants.Close, grants.Finish, grants.Consent, grants.Refuse, grants.Issue,
		grants.Renew, grants.ConfirmTake, grants.Retire, grants.Warn, grants.Fail, grants.End, grants.Revoke, grants.Remove, grants.Start,
	} {
		if reached[kind] == 0 {
			t.Errorf("no life ever came to the step %s: the test does not test it", kind)
		}
	}
	t.Logf("%d lives: %v", lives, reached)
}

type credential struct {
	gen  int
	dies time.Time
}

// life is a small model of the world around one grant.
type life struct {
	rng *rand.Rand
	now time.Time
	log []string

	request   *grants.Request
	pull      *grants.Pull
	heads     int
	consented map[string]bool // heads that people or policy agreed to
	shown     string
	landing   *grants.Landing
	byBot     string // the head the bot merged; empty: landed by other hands
	file      grants.FileState
	frozen    bool
	record    *grants.Record
	alive     []credential
	everOver  bool
	wrapTaken bool
	claiming  bool
	done      map[grants.Kind]int
	fault     string
}

func newLife(seed uint64) *life {
	w := &life{rng: rand.New(rand.NewPCG(seed, 7)), now: noon, consented: map[string]bool{}, file: grants.FileAbsent, done: map[grants.Kind]int{}}
	w.request = &grants.Request{Grant: grants.Grant{Duration: 2 * time.Hour}}
	if w.chance(4) {
		w.request.Grant.Start = noon.Add(time.Hour)
	}
	return w
}

func (w *life) chance(oneIn int) bool { return w.rng.IntN(oneIn) == 0 }

func (w *life) say(format string, args ...any) {
	w.log = append(w.log, w.now.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (w *life) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf(format, args...)
	}
}

// run lets the world misbehave for a while, then be fair: from then on the
// life must come to its end.
func (w *life) run() {
	for range 60 {
		w.happen()
		w.step(true)
		w.check()
	}
	w.frozen = false // an operator has looked
	for range 400 {
		if w.step(false) {
			w.ended()
			return
		}
		w.check()
		w.pass(time.Minute + time.Duration(w.rng.IntN(1200))*time.Second)
	}
	w.fail("the life does not end")
}

func (w *life) pass(d time.Duration) {
	w.now = w.now.Add(d)
	kept := w.alive[:0]
	for _, c := range w.alive {
		if w.now.Before(c.dies) {
			kept = append(kept, c)
		}
	}
	w.alive = kept
}

// happen is what others do.
func (w *life) happen() {
	w.pass(time.Duration(w.rng.IntN(400)) * time.Second)
	switch w.rng.IntN(14) {
	case 0, 1: // people agree to the head as it is
		if w.pull != nil && w.pull.Open {
			w.consented[w.pull.Head] = true
			w.say("head %s is agreed to", w.pull.Head)
		}
	case 2: // somebody pushes after the approval
		if w.pull != nil && w.pull.Open {
			w.heads++
			w.pull.Head = fmt.Sprintf("head%d", w.heads)
			w.say("pushed %s", w.pull.Head)
		}
	case 3:
		if w.pull != nil && w.pull.Open && w.chance(4) {
			w.pull.Open = false
			w.say("closed by hand")
		}
	case 4:
		if w.file != grants.FileAbsent && w.chance(3) {
			w.file = grants.FileAbsent
			w.say("file deleted by hand")
		}
	case 5:
		if w.file == grants.FileSame && w.chance(6) {
			w.file = grants.FileOther
			w.say("file changed by hand")
		}
	case 6: // a grant pushed straight to main, or an old one brought back
		if w.file == grants.FileAbsent && w.chance(4) {
			w.file = grants.FileSame
			if w.landing == nil {
				w.landing = &grants.Landing{Commit: "pushed", LandedAt: w.now}
			}
			w.say("file pushed straight to main")
		}
	case 7:
		if w.chance(8) {
			w.frozen = true
			w.say("main was force-pushed")
		}
	case 8, 9, 10:
		w.claiming = !w.claiming
	case 11:
		if len(w.alive) > 0 {
			w.wrapTaken = true
		}
	case 12: // drop
		if r := w.record; r != nil && r.State != grants.Revoked && !(r.State == grants.Revoking && !r.Retiring) && w.chance(4) {
			r.State, r.Retiring, r.Outcome = grants.Revoking, false, grants.OutcomeDropped
			w.say("dropped")
		}
	}
}

// observe gathers; with trouble, any part may be unknown.
func (w *life) observe(trouble bool) grants.Observed {
	o := grants.Observed{Clocks: at(w.now), Request: w.request, Frozen: w.frozen, File: w.file, Record: w.record}
	known := func() bool { return !trouble || !w.chance(6) }
	o.LapsesAt = noon.Add(24 * time.Hour)
	if p := w.pull; p != nil {
		seen := *p
		o.Pull = &seen
		if known() {
			o.Verdict = verdict(grants.Ask)
			if w.consented[p.Head] {
				o.Verdict = verdict(grants.Yes)
			}
		}
		o.Shown = w.shown == fmt.Sprint(p.Head, o.Verdict.Ruling)
	}
	if w.landing != nil {
		o.Landing = w.landing
		o.Verdict = grants.Verdict{}
		if known() {
			o.Verdict = verdict(grants.No)
			if w.byBot != "" && w.consented[w.byBot] {
				o.Verdict = verdict(grants.Yes)
			}
		}
	}
	if w.record != nil && !w.record.Grant.Start.IsZero() {
		o.Verdict = verdict([]grants.Ruling{grants.Yes, grants.Yes, grants.Yes, grants.No, grants.Unknown}[w.rng.IntN(5)])
	}
	if known() {
		o.Taken = grants.No
		if w.wrapTaken {
			o.Taken = grants.Yes
		}
	}
	if known() {
		o.Holder = verdict(grants.Yes)
	}
	if !known() {
		o.File = grants.FileUnknown
	}
	if w.claiming {
		o.Claim = &grants.Claim{Holder: "laptop", Verdict: verdict(grants.Yes), Replace: w.chance(5)}
		if !known() {
			o.Claim.Verdict = grants.Verdict{}
		}
	}
	return o
}

// step does what Next says; with trouble the step is lost before it took
// effect, or only half of an issue happens. It reports whether life is over.
func (w *life) step(trouble bool) (over bool) {
	phase, s := grants.Next(w.observe(trouble))
	w.say("%s: %s", phase, s.Kind)
	switch s.Kind {
	case grants.Rest:
		return true
	case grants.Wait:
		if !trouble && s.Until.After(w.now) {
			w.pass(s.Until.Sub(w.now))
		}
		return false
	}
	if trouble && w.chance(5) {
		w.say("lost")
		return false
	}
	w.done[s.Kind]++
	w.do(s, trouble)
	return false
}

func (w *life) do(s grants.Step, trouble bool) {
	r := w.record
	switch s.Kind {
	case grants.Propose:
		w.pull = &grants.Pull{Number: 1, Head: "head0", Open: true}
		if w.chance(2) {
			w.consented["head0"] = true
		}
	case grants.Show:
		ruling := grants.Ask
		if w.consented[w.pull.Head] {
			ruling = grants.Yes
		}
		w.shown = fmt.Sprint(w.pull.Head, ruling)
	case grants.Merge:
		if trouble && w.chance(6) { // somebody pushes between the look and the merge
			w.heads++
			w.pull.Head = fmt.Sprintf("head%d", w.heads)
		}
		if s.Head != w.pull.Head {
			w.say("refused: the head moved")
			return
		}
		w.pull.Open, w.pull.Merged = false, true
		w.file, w.byBot = grants.FileSame, w.pull.Head
		w.landing = &grants.Landing{Commit: "merge", LandedAt: w.now}
	case grants.Close, grants.Finish:
		if w.pull != nil {
			w.pull.Open = false
		}
		w.request.Closed = s.Outcome
	case grants.Consent:
		starts := w.landing.LandedAt
		if w.request.Grant.Start.After(starts) {
			starts = w.request.Grant.Start
		}
		w.record = &grants.Record{State: grants.Approved, Grant: w.request.Grant, StartsAt: starts, EndsAt: starts.Add(2 * time.Hour)}
	case grants.Refuse:
		w.record = &grants.Record{State: grants.Revoked, Outcome: grants.OutcomeRefused}
	case grants.Start:
		r.Started = true
	case grants.Issue:
		w.issue(trouble)
	case grants.Renew:
		r.LeaseExpires = r.EndsAt
		for i := range w.alive {
			w.alive[i].dies = r.EndsAt
		}
	case grants.ConfirmTake:
		r.State = grants.Delivered
	case grants.Retire:
		if r.State == grants.Reserved {
			r.FailedIssues++
		}
		r.State, r.Retiring = grants.Revoking, true
		w.kill(trouble, grants.Retired)
	case grants.Warn:
		r.Warned = true
	case grants.Fail:
		r.State = grants.Failed
	case grants.End:
		r.State, r.Retiring, r.Outcome = grants.Revoking, false, s.Outcome
	case grants.Revoke:
		w.kill(trouble, grants.Revoked)
	case grants.Remove:
		if len(w.alive) > 0 {
			w.fail("the file was removed while a credential lived")
		}
		w.file = grants.FileAbsent
	default:
		w.fail("the step %s is unknown to the model", s.Kind)
	}
}

// issue is reserve, issue, record; a crash may come after each.
func (w *life) issue(trouble bool) {
	r := w.record
	if w.everOver {
		w.fail("issued after the end")
	}
	if w.byBot == "" || !w.consented[w.byBot] {
		w.fail("issued without a consented merge")
	}
	if len(w.alive) > 0 {
		w.fail("issued while generation %d lived", w.alive[0].gen)
	}
	if w.now.After(r.EndsAt.Add(-grants.LeastLeft)) || w.now.Before(r.StartsAt) {
		w.fail("issued outside the window")
	}
	r.State, r.Gen, r.ReservedAt, r.Retiring, r.Holder = grants.Reserved, r.Gen+1, w.now, false, "laptop"
	if trouble && w.chance(3) {
		w.say("crashed after reserving")
		return
	}
	w.wrapTaken = false
	w.alive = append(w.alive, credential{gen: r.Gen, dies: w.now.Add(5 * time.Minute)})
	if trouble && w.chance(3) {
		w.say("crashed after issuing")
		return
	}
	r.State, r.IssuedAt, r.LeaseExpires = grants.Issued, w.now, w.now.Add(5*time.Minute)
}

// kill proves death, or fails as a database that is down makes it fail.
func (w *life) kill(trouble bool, state grants.State) {
	if trouble && w.chance(3) {
		w.say("not proved dead")
		return
	}
	w.alive = nil
	w.record.State, w.record.Retiring = state, false
	w.everOver = w.everOver || state == grants.Revoked
}

func (w *life) check() {
	if r := w.record; r != nil && len(w.alive) > 0 && w.now.After(r.EndsAt.Add(grants.StrayLife)) {
		w.fail("a credential outlived the grant by more than %s", grants.StrayLife)
	}
	if len(w.alive) > 1 {
		w.fail("%d credentials live at once", len(w.alive))
	}
}

func (w *life) ended() {
	switch {
	case len(w.alive) > 0:
		w.fail("a credential outlived the life")
	case w.record != nil && w.record.State != grants.Revoked:
		w.fail("the life rests with the record %s", w.record.State)
	case w.record != nil && w.file != grants.FileAbsent:
		w.fail("the life rests with its file on main")
	case w.record == nil && w.request.Closed == "":
		w.fail("the life rests with the request open")
	}
}
