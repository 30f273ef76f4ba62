package github

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// lag is a replica that has stopped following for the reads it serves.
type lag struct {
	path  string
	reads int       // how many more reads it serves; negative for any number
	until time.Time // sandbox time at which it has caught up; zero for never by time
	world *world
}

// Lag makes the next reads of paths that contain path answer from the state
// of this moment, whatever is written meanwhile: they are served by a replica
// that lags behind. It holds for every GET below /repos and /orgs except the
// git transport: pull requests, reviews, comments, check runs, refs, branches
// and team memberships. Something made after the call is 404 there. Accounts,
// Apps and tokens are never stale. Writes, and what they check, always see
// the present.
func (s *Server) Lag(path string, reads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lags = append(s.lags, &lag{path: path, reads: reads, world: s.live.copy()})
}

// LagFor is Lag until the sandbox clock has moved on by d.
func (s *Server) LagFor(path string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lags = append(s.lags, &lag{path: path, reads: -1, until: s.clock.Now().Add(d), world: s.live.copy()})
}

// ClearLags lets every replica catch up.
func (s *Server) ClearLags() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lags = nil
}

// worldFor picks the state that a request sees.
func (s *Server) worldFor(r *http.Request) *world {
	if r.Method != http.MethodGet {
		return s.live
	}
	now := s.clock.Now()
	s.lags = slices.DeleteFunc(s.lags, func(l *lag) bool {
		return l.reads == 0 || !l.until.IsZero() && !now.Before(l.until)
	})
	for _, l := range s.lags {
		if strings.Contains(r.URL.Path, l.path) {
			if l.reads > 0 {
				l.reads--
			}
			return l.world
		}
	}
	return s.live
}

// copy returns a world that later writes do not reach. Git objects are shared:
// they never change.
func (w *world) copy() *world {
	c := &world{repos: map[string]*Repo{}, orgs: map[string]*Org{}}
	copies := map[*Repo]*Repo{}
	for key, r := range w.repos {
		n := *r
		n.refs, n.grants = maps.Clone(r.refs), maps.Clone(r.grants)
		copies[r], c.repos[key] = &n, &n
	}
	for _, r := range c.repos {
		r.pulls = cloneEach(r.pulls, func(p *pull) {
			p.repo = copies[p.repo]
			if h := copies[p.headRepo]; h != nil {
				p.headRepo = h
			}
			p.requested = slices.Clone(p.requested)
			p.reviews = cloneEach(p.reviews, func(*review) {})
			p.lines = cloneEach(p.lines, func(*lineComment) {})
		})
		r.issues = cloneEach(r.issues, func(*issue) {})
		r.comments = cloneEach(r.comments, func(*comment) {})
		r.checks = cloneEach(r.checks, func(*checkRun) {})
	}
	for key, o := range w.orgs {
		n := &Org{account: o.account, members: maps.Clone(o.members), teams: map[string]*Team{}}
		for slug, t := range o.teams {
			copied := *t
			copied.states = maps.Clone(t.states)
			n.teams[slug] = &copied
		}
		c.orgs[key] = n
	}
	return c
}

func cloneEach[T any](list []*T, fix func(*T)) []*T {
	out := make([]*T, 0, len(list))
	for _, v := range list {
		n := *v
		fix(&n)
		out = append(out, &n)
	}
	return out
}
