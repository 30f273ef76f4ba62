package bot

import (
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// The caches save calls of the forge, whose limits cannot be bought. Nothing
// that gives access rests on them: before a merge, at the gate and at a claim
// everything is read anew.

// pullCache holds pull requests as the forge last described them. Nothing is
// merged on it unless this very process opened the pull request.
type pullCache struct {
	mu       sync.Mutex
	pulls    map[int]cachedPull
	branches map[int]string // of our own pull requests: a branch never changes
}

type cachedPull struct {
	pull world.Pull
	own  bool
	at   time.Time
}

const pullFresh = 5 * time.Second

func (c *pullCache) put(p world.Pull, own bool, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulls[p.Number] = cachedPull{pull: p, own: own, at: now}
	if p.SameRepo && p.AuthorBot {
		c.branches[p.Number] = p.Branch
	}
}

// grant returns the grant that the bot proposed by a pull request, where this
// process has seen that pull request before.
func (c *pullCache) grant(number int) (grants.ID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, ours := strings.CutPrefix(c.branches[number], grants.BranchPrefix)
	id, err := grants.ParseID(name)
	return id, ours && err == nil
}

func (c *pullCache) get(number int, now time.Time) (p world.Pull, own, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached, ok := c.pulls[number]
	if age := now.Sub(cached.at); !ok || age < 0 || age > pullFresh {
		return world.Pull{}, false, false
	}
	return cached.pull, cached.own, true
}

func (c *pullCache) forget(number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pulls, number)
}

func (c *pullCache) byBranch(branch string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	best := 0
	for number, cached := range c.pulls {
		if cached.pull.Branch == branch && cached.pull.SameRepo && cached.pull.AuthorBot && number > best {
			best = number
		}
	}
	return best
}

// replace keeps exactly the pull requests that are open now.
func (c *pullCache) replace(open []world.Pull, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.pulls)
	for _, p := range open {
		c.pulls[p.Number] = cachedPull{pull: p, at: now}
		if p.SameRepo && p.AuthorBot {
			c.branches[p.Number] = p.Branch
		}
	}
}

// factCache keeps what GitHub, pagers and trackers said for a short while: it
// is asked for at every decision, and decisions that give access ask anew.
type factCache struct {
	mu      sync.Mutex
	teams   map[policies.TeamRef]cached[policies.Team]
	duty    map[policies.Schedule]cached[policies.Duty]
	spoken  map[policies.Schedule]policies.Duty // what pagers said last, before they fell silent
	tickets map[policies.TicketRef]cached[policies.Ticket]
	issues  map[int]cached[world.Issue]
	members map[int64]bool
	inOrg   bool
	at      time.Time
}

type cached[F any] struct {
	fact F
	at   time.Time
}

func newFactCache() factCache {
	return factCache{
		teams:   map[policies.TeamRef]cached[policies.Team]{},
		duty:    map[policies.Schedule]cached[policies.Duty]{},
		spoken:  map[policies.Schedule]policies.Duty{},
		tickets: map[policies.TicketRef]cached[policies.Ticket]{},
		issues:  map[int]cached[world.Issue]{},
	}
}

// recall returns a fact that is younger than fresh.
func recall[K comparable, F any](c *factCache, from map[K]cached[F], key K, now time.Time, fresh time.Duration) (fact F, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := from[key]
	age := now.Sub(known.at)
	return known.fact, ok && age >= 0 && age < fresh
}

// mostFacts bounds a cache whose keys people choose, as they do tickets.
const mostFacts = 10_000

func remember[K comparable, F any](c *factCache, in map[K]cached[F], key K, fact F, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(in) >= mostFacts {
		clear(in)
	}
	in[key] = cached[F]{fact, now}
}

// factFresh is how old a fact may be where nothing is issued on it.
const factFresh = 30 * time.Second

// forgetMembers has the organisation's members read anew: whoever left it is
// to lose what they hold at the next sweep, and not at the one after.
func (c *factCache) forgetMembers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members, c.at = nil, time.Time{}
}
