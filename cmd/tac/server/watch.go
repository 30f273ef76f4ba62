package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file keeps a server honest about its surroundings. Before anything is
// issued, and every ten minutes from then on, the set-up is looked at.
//
// A set-up that is wrong at the start ends the server, unless credentials are
// alive: those have to end, so it stays up, ends them, and gives nothing new.
// Later on what turns wrong holds new access back, and somebody is woken.
// Whoever does not answer is not wrongly set up; but until everything was seen
// once, nothing is issued.

// How often the set-up is looked at.
const (
	whenWell = 10 * time.Minute
	whenHeld = time.Minute
	atFirst  = time.Second // and twice as long each time, up to mostWait
	mostWait = 15 * time.Second

	mostLooking  = 2 * time.Minute  // for one look, at each of what it looks at
	mostStarting = 10 * time.Second // that a server is not ready because of its first look
)

// WrongSetUp is why a server does not start.
type WrongSetUp struct{ Findings []world.Finding }

func (e *WrongSetUp) Error() string {
	return fmt.Sprintf("nothing may be issued like this; what is wrong with the set-up: %d", len(e.Findings))
}

// stops reports whether a finding must keep anything from being issued. What
// only makes tac slow or mute does not, and a policy that does not load
// denies by itself.
func stops(f world.Finding) bool {
	if f.Status != world.Problem || f.Outage {
		return false
	}
	return f.Area == "vault" || f.Area == "github" && f.Check != "events" && f.Check != "webhook"
}

// weigh sorts what was found: why nothing may be issued, and whether all was
// seen that could be.
func weigh(found []world.Finding) (wrong []world.Finding, complete bool) {
	complete = true
	for _, f := range found {
		if stops(f) {
			wrong = append(wrong, f)
		}
		if f.Outage && f.Area != "slack" {
			complete = false
		}
	}
	return wrong, complete
}

// Check looks at the set-up once and holds or frees new access accordingly.
// It returns *WrongSetUp where the server must not go on.
func (s *Server) Check(ctx context.Context) error {
	before := s.held.get()
	found, looked := s.examine(ctx, world.Secret{}, before.looked, s.held.more())
	if ctx.Err() != nil {
		return nil
	}
	wrong, complete := weigh(found)
	if complete {
		s.held.forget()
	} else {
		wrong, looked = append(wrong, s.unmended(found)...), before.looked
	}
	switch {
	case len(wrong) > 0 && !s.passed.Load():
		// Only the first look ends the server: once it stayed to end what
		// was alive, it also sees to the files of what it ended.
		if len(before.because) == 0 && !s.anythingLive(ctx) {
			return &WrongSetUp{wrong}
		}
		s.change(&hold{all: errWrongSetUp, because: wrong})
	case len(wrong) > 0:
		s.change(holdOn(wrong, looked))
	case complete:
		s.passed.Store(true)
		s.change(&hold{looked: looked})
	case !s.passed.Load():
		s.log.Warn("the set-up cannot be seen yet; nothing is issued before", "unseen", outages(found))
	default:
		// Seen before, and not to be seen now: what was held stays held.
		s.log.Warn("the set-up cannot be seen", "unseen", outages(found))
	}
	return nil
}

// unmended returns what was wrong before and was not seen now, where not all
// could be seen: it counts as wrong still.
func (s *Server) unmended(found []world.Finding) []world.Finding {
	return slices.DeleteFunc(slices.Clone(s.held.get().because), func(old world.Finding) bool {
		return slices.ContainsFunc(found, func(f world.Finding) bool { return f.Area == old.Area && f.Check == old.Check && !f.Outage })
	})
}

// change puts a hold in force and tells of what is new about it.
func (s *Server) change(h *hold) {
	before := s.held.get()
	s.held.now.Store(h)
	known := map[string]bool{}
	for _, f := range before.because {
		known[f.Area+f.Check+f.Message] = true
	}
	for _, f := range h.because {
		if !known[f.Area+f.Check+f.Message] {
			s.Bot.Alert("", fmt.Sprintf("the set-up is wrong, and new access is held back: %s %s: %s; mend: %s", f.Area, f.Check, f.Message, f.Mend))
		}
	}
	free := len(h.because) == 0 && (len(before.because) > 0 || before.all != nil)
	if free {
		s.log.Info("the set-up was looked at and is right; access is given")
	}
	isNew := func(w vaultlease.Wanted) bool { _, ok := before.find(w.Resource, w.Target); return !ok }
	if free || slices.ContainsFunc(h.looked, isNew) {
		s.Bot.WakeAll()
	}
}

func outages(found []world.Finding) []string {
	var all []string
	for _, f := range found {
		if f.Outage {
			all = append(all, f.Area+" "+f.Check+": "+f.Message)
		}
	}
	return all
}

// anythingLive reports whether a credential may be alive that has to be
// ended. What cannot be read counts as alive, unless Vault refuses our very
// identity: then there is nothing that staying up would end.
func (s *Server) anythingLive(ctx context.Context) bool {
	ids, err := s.vault.Records(ctx)
	if err != nil {
		return !errors.Is(err, vaultlease.ErrNotLetIn)
	}
	for _, id := range ids {
		r, err := s.vault.Record(ctx, id)
		if err != nil {
			return true
		}
		if r == nil {
			continue
		}
		switch r.State {
		case grants.Reserved, grants.Issued, grants.Delivered, grants.Revoking:
			return true
		}
	}
	return false
}

// watch checks now and again until ctx ends, or the server must not go on.
func (s *Server) watch(ctx context.Context) error {
	patience := time.AfterFunc(mostStarting, func() { s.looked.Store(true) })
	defer patience.Stop()
	for first := atFirst; ; {
		if err := s.Check(ctx); err != nil {
			return err
		}
		s.looked.Store(true)
		wait := whenWell
		switch {
		case !s.passed.Load() && len(s.held.get().because) == 0: // somebody does not answer
			wait, first = first, min(2*first, mostWait)
		case len(s.held.get().because) > 0 || s.held.unseen():
			wait = whenHeld
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.held.again:
		case <-time.After(wait):
		}
	}
}

// readiness is what /readyz says: nil, or why not. A hold is no reason: what
// ends access early comes through the same door, so it has to stay open. Only
// a first look that is under way is waited for, and not for long.
func (s *Server) readiness() error {
	if err := *s.ready.Load(); err != nil {
		return err
	}
	if !s.unchecked && !s.looked.Load() {
		return errStarting
	}
	return nil
}
