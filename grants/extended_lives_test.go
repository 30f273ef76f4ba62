package grants_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// TestRandomExtensionsNeverCutAndNeverOverreach: a live grant and one that
// extends it, with steps that get lost, two replicas that look at old records,
// drops, deleted files, and a database that is down. The credential is never
// cut while both stand, never outlives what was consented to, and no file goes
// while what it gave still lives.
func TestRandomExtensionsNeverCutAndNeverOverreach(t *testing.T) {
	reached := map[grants.Kind]int{}
	for seed := range uint64(5_000) {
		p := newPair(seed)
		p.run()
		for kind, n := range p.done {
			reached[kind] += n
		}
		if p.fault != "" {
			t.Fatalf("seed %d: %s\n%s", seed, p.fault, strings.Join(p.log, "\n"))
		}
	}
	for _, kind := range []grants.Kind{grants.Extend, grants.Shorten, grants.Renew, grants.End, grants.Revoke, grants.Remove} {
		if reached[kind] == 0 {
			t.Errorf("no life ever came to the step %s: the test does not test it", kind)
		}
	}
}

// pair is a grant and its extension, with the one credential that both share.
type pair struct {
	rng       *rand.Rand
	now       time.Time
	log       []string
	base, ext *grants.Record
	files     map[grants.ID]grants.FileState
	seen      map[grants.ID]grants.Record // what a slow replica read last
	dies      time.Time                   // of the credential; zero: dead
	consented time.Time                   // the latest end that anybody agreed to
	touched   bool                        // somebody ended something by hand
	done      map[grants.Kind]int
	fault     string
}

const baseID, extID = grants.ID("20261124-bbbbbbbbbb"), grants.ID("20261124-eeeeeeeeee")

func newPair(seed uint64) *pair {
	p := &pair{
		rng: rand.New(rand.NewPCG(seed, 11)), now: noon.Add(time.Minute), done: map[grants.Kind]int{}, seen: map[grants.ID]grants.Record{},
		files: map[grants.ID]grants.FileState{baseID: grants.FileSame, extID: grants.FileAbsent},
	}
	p.base = record(grants.Delivered, func(r *grants.Record) { r.Grant.ID, r.Grant.Duration = baseID, 2*time.Hour })
	p.dies, p.consented = p.base.EndsAt, p.base.EndsAt
	return p
}

func (p *pair) chance(oneIn int) bool { return p.rng.IntN(oneIn) == 0 }

func (p *pair) say(format string, args ...any) {
	p.log = append(p.log, p.now.Format("15:04:05 ")+fmt.Sprintf(format, args...))
}

func (p *pair) fail(format string, args ...any) {
	if p.fault == "" {
		p.fault = fmt.Sprintf(format, args...)
	}
}

func (p *pair) run() {
	for range 60 {
		p.happen()
		p.look(true)
	}
	for i := range 400 {
		taken := p.ext != nil && p.ext.State == grants.Revoked && p.touched
		if i > 4 && taken && p.dies.Sub(noon.Add(2*time.Hour)) > time.Minute {
			p.fail("the extension was taken back, and its credential lives until %s", p.dies)
		}
		if p.look(false) {
			if !p.dies.IsZero() {
				p.fail("both rest, and a credential lives")
			}
			return
		}
		p.pass(time.Duration(20+p.rng.IntN(60)) * time.Second)
	}
	p.fail("they do not end")
}

func (p *pair) pass(d time.Duration) {
	p.now = p.now.Add(d)
	if !p.dies.IsZero() && !p.now.Before(p.dies) {
		// Vault ends it by itself.
		p.dies = time.Time{}
		standing := p.ext != nil && p.ext.State == grants.Approved && p.now.Before(p.ext.EndsAt.Add(-5*time.Minute))
		if standing && p.base.Carries(extID) && !p.base.Ending() && !p.touched && p.now.Sub(noon) > 3*time.Hour {
			p.fail("the credential was cut though its extension stands")
		}
	}
}

func (p *pair) happen() {
	p.pass(time.Duration(p.rng.IntN(240)) * time.Second)
	over := func(r *grants.Record) bool { return r == nil || r.Ending() }
	switch p.rng.IntN(20) {
	case 0, 1: // the extension is merged and consented to
		if p.ext == nil && p.base.State == grants.Delivered && p.now.Before(noon.Add(110*time.Minute)) {
			p.ext = record(grants.Approved, extension)
			p.ext.StartsAt, p.files[extID] = p.now, grants.FileSame
			p.consented = p.ext.EndsAt
			p.say("an extension is consented to")
		}
	case 2:
		if !over(p.ext) && p.chance(3) {
			p.ext.State, p.ext.Outcome, p.touched = grants.Revoking, grants.OutcomeDropped, true
			p.say("the extension is dropped")
		}
	case 3:
		if !over(p.base) && p.chance(6) {
			p.base.State, p.base.Outcome, p.touched = grants.Revoking, grants.OutcomeRevoked, true
			p.say("the grant is revoked")
		}
	case 4:
		if p.ext != nil && p.chance(4) {
			p.files[extID], p.touched = grants.FileAbsent, true
			p.say("the file of the extension is deleted")
		}
	case 5:
		if p.chance(10) {
			p.files[baseID], p.touched = grants.FileAbsent, true
			p.say("the file of the grant is deleted")
		}
	}
}

// look does one step for each, and reports whether both are over.
func (p *pair) look(trouble bool) (over bool) {
	over = p.step(baseID, p.base, trouble)
	if p.ext == nil {
		return over
	}
	return p.step(extID, p.ext, trouble) && over
}

func (p *pair) step(id grants.ID, r *grants.Record, trouble bool) (over bool) {
	o := grants.Observed{Clocks: at(p.now), File: p.files[id], Holder: verdict(grants.Yes), Record: r}
	if trouble && p.chance(6) {
		o.File = grants.FileUnknown
	}
	stale := false
	if id == baseID && p.base.Carries(extID) && p.ext.Ending() && p.now.Before(p.ext.EndsAt) {
		o.Withdrawn = extID
	}
	if id == extID {
		base := *p.base
		if old, ok := p.seen[baseID]; ok && trouble && p.chance(4) {
			base, stale = old, true
		}
		p.seen[baseID] = *p.base
		o.Base = &base
	}
	_, s := grants.Next(o)
	switch s.Kind {
	case grants.Rest:
		return true
	case grants.Wait, grants.Warn:
		return false
	}
	p.say("%s: %s", id, s.Kind)
	if trouble && p.chance(5) {
		p.say("lost")
		return false
	}
	p.do(id, r, s, stale, trouble)
	return false
}

func (p *pair) do(id grants.ID, r *grants.Record, s grants.Step, stale, trouble bool) {
	p.done[s.Kind]++
	switch s.Kind {
	case grants.Extend, grants.Shorten:
		if stale {
			p.say("lost: the record has changed") // compare-and-swap
			return
		}
		if s.Kind == grants.Extend {
			p.base.Extend(extID, p.ext.Grant.Duration)
		} else {
			p.base.Shorten(extID)
		}
	case grants.Renew:
		if p.dies.IsZero() {
			return
		}
		r.LeaseExpires, p.dies = r.EndsAt, r.EndsAt
		if p.dies.After(p.consented) {
			p.fail("a credential was renewed to %s, and %s is all that was consented to", p.dies, p.consented)
		}
	case grants.Retire:
		r.State, r.Retiring = grants.Retired, false
		p.dies = time.Time{}
	case grants.End:
		r.State, r.Retiring, r.Outcome = grants.Revoking, false, s.Outcome
	case grants.Revoke:
		if trouble && p.chance(3) {
			p.say("not proved dead")
			return
		}
		if id == baseID {
			p.dies = time.Time{}
		}
		r.State = grants.Revoked
		if id == extID && p.dies.Sub(noon.Add(2*time.Hour)) > time.Minute && !stale {
			p.fail("the extension is called over, and its credential lives until %s", p.dies)
		}
	case grants.Remove:
		if id == baseID && !p.dies.IsZero() {
			p.fail("the file of the grant was removed while its credential lives")
		}
		p.files[id] = grants.FileAbsent
	default:
		p.fail("the step %s is unknown to the model", s.Kind)
	}
}
