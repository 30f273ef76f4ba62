package server

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// What people are told. Details are for whoever runs tac: they say where to
// attack.
var (
	errNotChecked = errors.New("tac has not seen yet that everything around it is set up as it must be, and gives no new access before; please try again in a minute")
	errWrongSetUp = errors.New("tac gives no new access while its set-up is wrong; what is live ends as it should. Whoever runs tac finds out more with `tac doctor`")
	errSomeWrong  = errors.New("tac gives no new access to some resources while their set-up is wrong; what is live ends as it should. Whoever runs tac finds out more with `tac doctor`")
)

// hold is what the latest look came to: why new access is held back, for
// everything or for some resources, and what was looked at. What was not is
// held as well.
type hold struct {
	all     error
	of      map[string]error // by Wanted.Resource
	because []world.Finding
	looked  []vaultlease.Wanted
}

// holdOn holds back what the findings are about: a resource, or everything.
func holdOn(wrong []world.Finding, looked []vaultlease.Wanted) *hold {
	h := &hold{of: map[string]error{}, because: wrong, looked: looked}
	for _, f := range wrong {
		if f.Resource == "" {
			h.all = errWrongSetUp
		}
		h.of[f.Resource] = errWrongSetUp
	}
	return h
}

// find returns what was looked at under a resource's name.
func (h *hold) find(resource string, t grants.Target) (w vaultlease.Wanted, ok bool) {
	for _, w := range h.looked {
		if (w.Resource == resource || w.Resource == earlier(resource)) && sameTarget(w.Target, t) {
			return w, true
		}
	}
	return w, false
}

// earlier names a resource in the form that it had when a grant of it was
// decided: the record keeps that, whatever the policies say by now.
func earlier(resource string) string { return resource + " (as granted before)" }

func sameTarget(a, b grants.Target) bool {
	return a.Engine == b.Engine && a.Path == b.Path && a.Policy == b.Policy && a.Slice == b.Slice && slices.Equal(a.Principals, b.Principals)
}

// holding is the hold in force. The zero value holds everything: nothing was
// looked at yet.
type holding struct {
	now   atomic.Pointer[hold]
	again chan struct{} // wakes whoever looks

	mu  sync.Mutex
	met []metTarget
}

// metTarget is one that new access was wanted to, and that the latest look
// had not seen under the resource's name of now.
type metTarget struct {
	resource string
	target   grants.Target
	looks    int // for which it is remembered without being asked about
}

// mostLooks is about an hour: who comes later waits for another look.
const mostLooks = 6

func (h *holding) get() *hold {
	if now := h.now.Load(); now != nil {
		return now
	}
	return &hold{all: errNotChecked}
}

// on answers for one resource; it is the bot's Config.Hold. A target that was
// never looked at is held, and looked at soon.
func (h *holding) on(resource string, t grants.Target) error {
	now := h.get()
	switch {
	case now.all != nil:
		return now.all
	case t.Path == "":
		return errNotChecked // the policies do not name it now
	}
	w, ok := now.find(resource, t)
	if !ok || w.Resource != resource {
		h.meet(resource, t)
	}
	if !ok {
		return errNotChecked
	}
	return now.of[w.Resource]
}

// why is what whoever watches tac is told; nil where nothing is held back.
func (h *holding) why() error {
	now := h.get()
	if now.all == nil && len(now.of) > 0 {
		return errSomeWrong
	}
	return now.all
}

// notHeld is the bot's Config.Hold for who does not look at the set-up, and
// said so; notTold is what whoever watches tac is told then.
func notHeld(string, grants.Target) error { return nil }

func notTold() error { return nil }

func (h *holding) meet(resource string, t grants.Target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, m := range h.met {
		if m.resource == resource && sameTarget(m.target, t) {
			h.met[i].looks = mostLooks
			return
		}
	}
	h.met = append(h.met, metTarget{resource, t, mostLooks})
	select {
	case h.again <- struct{}{}:
	default: // it is awake already
	}
}

// more returns what to look at beside what the policies name.
func (h *holding) more() []vaultlease.Wanted {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []vaultlease.Wanted
	for _, m := range h.met {
		all = append(all, vaultlease.Wanted{Resource: m.resource, Target: m.target})
	}
	return all
}

// forget drops what nobody has asked about for many looks.
func (h *holding) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.met = slices.DeleteFunc(h.met, func(m metTarget) bool { return m.looks <= 0 })
	for i := range h.met {
		h.met[i].looks--
	}
}

// unseen reports whether something is waited for that no look has seen.
func (h *holding) unseen() bool {
	now := h.get()
	return slices.ContainsFunc(h.more(), func(w vaultlease.Wanted) bool { _, ok := now.find(w.Resource, w.Target); return !ok })
}
