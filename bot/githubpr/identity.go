package githubpr

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// ErrNotOurToken says that a token does not prove who its bearer is to us.
// Its text is meant for that person. To the bot it is world.ErrNotOurs.
var ErrNotOurToken error = notOurToken{}

type notOurToken struct{}

func (notOurToken) Error() string {
	return "this is not a token that was made by signing in to tac; run `tac login`, then try again"
}

// Is makes the port's own error of it.
func (notOurToken) Is(target error) bool { return target == world.ErrNotOurs }

// Only user tokens of GitHub Apps begin like this. Anything else (personal
// access tokens, tokens of OAuth apps, installation tokens) is refused here
// and is not shown to anybody, GitHub included.
var userTokenForm = regexp.MustCompile(`^ghu_[A-Za-z0-9_.\-]+$`)

const (
	// proofLife is how long a proof is good: a token that was revoked is
	// still believed for as long.
	proofLife = time.Minute
	// recentLife is how long a proof serves Recent.
	recentLife = time.Hour
	maxProofs  = 4096
	maxToken   = 4096 // bytes; they have about 40 today
)

// User tells whose token this is. GitHub is asked whether it was issued to
// our own App: a token of another app proves who somebody is to that app
// only, and whoever runs it could use it here in their name. Every other
// token is ErrNotOurToken; a failure to ask is another error.
//
// A proof is remembered for up to a minute, by the token's SHA-256.
func (c *Client) User(ctx context.Context, userToken world.Secret) (grants.Principal, error) {
	const doing = "find out whose token this is"
	token := userToken.Reveal()
	if len(token) > maxToken || !userTokenForm.MatchString(token) {
		return grants.Principal{}, ErrNotOurToken
	}
	if c.cfg.ClientID == "" || c.cfg.ClientSecret.Empty() {
		return grants.Principal{}, errors.New(doing + ": the App's client id and secret are not configured")
	}
	key := sha256.Sum256([]byte(token))
	switch who, known := c.proved.get(key); {
	case known && who.ID == 0:
		return grants.Principal{}, ErrNotOurToken
	case known:
		return who, nil
	}
	asked := c.cfg.Now()
	grant, _, err := c.identity.Authorizations.Check(ctx, c.cfg.ClientID, token)
	if err != nil {
		failure := c.failed(doing, err)
		if answered(failure, 404) || answered(failure, 422) {
			return grants.Principal{}, ErrNotOurToken
		}
		return grants.Principal{}, failure
	}
	if app := grant.GetApp().GetClientID(); app != c.cfg.ClientID {
		return grants.Principal{}, ErrNotOurToken
	}
	who := personOf(grant.GetUser())
	if who.ID <= 0 || who.GitHub == "" || grant.GetUser().GetType() != "User" {
		return grants.Principal{}, fmt.Errorf("%s: the answer names no person", doing)
	}
	c.proved.put(key, proof{who: who, at: asked})
	return who, nil
}

// Recent tells whose token this was proved to be within the last hour, without
// asking anybody. It is for ending access while GitHub does not answer, and
// for nothing else: the token may have been revoked since.
func (c *Client) Recent(userToken world.Secret) (grants.Principal, bool) {
	who, known := c.proved.within(sha256.Sum256([]byte(userToken.Reveal())), recentLife)
	return who, known && who.ID > 0
}

// proofs remembers for a while whose tokens have been proved, and which ones
// we revoked: those are nobody's.
type proofs struct {
	now func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]proof
}

type proof struct {
	who grants.Principal
	at  time.Time
}

func newProofs(now func() time.Time) *proofs {
	return &proofs{now: now, known: map[[sha256.Size]byte]proof{}}
}

// fresh also refuses a proof from the future: the clock was set back, and
// nobody knows how old it is.
func (p proof) fresh(now time.Time, life time.Duration) bool {
	age := now.Sub(p.at)
	return age >= 0 && age < life
}

func (p *proofs) get(key [sha256.Size]byte) (grants.Principal, bool) {
	return p.within(key, proofLife)
}

func (p *proofs) within(key [sha256.Size]byte, life time.Duration) (grants.Principal, bool) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.known[key]
	if !ok || !found.fresh(now, life) {
		return grants.Principal{}, false
	}
	return found.who, true
}

// put keeps a proof where there is room: to be without one costs a call. A
// proof that was asked for before its token was revoked comes too late.
func (p *proofs) put(key [sha256.Size]byte, made proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old, ok := p.known[key]; !ok || old.who.ID > 0 || !old.fresh(p.now(), proofLife) {
		p.keep(key, made)
	}
}

// kill forgets whose token it was, for good: it was revoked.
func (p *proofs) kill(key [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.known, key)
	p.keep(key, proof{at: p.now()})
}

func (p *proofs) keep(key [sha256.Size]byte, made proof) {
	now := p.now()
	if len(p.known) >= maxProofs {
		for k, old := range p.known {
			if !old.fresh(now, proofLife) {
				delete(p.known, k)
			}
		}
	}
	if len(p.known) < maxProofs {
		p.known[key] = made
	}
}
