package bot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// What people leave with tac: a token of our own App, so that a press of
// theirs in chat becomes a review of theirs on GitHub. It is kept in Vault and
// nowhere else, and three things hold for it.
//
// It is proved at every use to be of the very person it is used for: a token
// that somebody planted, moved or slipped in as another's refresh token would
// otherwise turn one person's press into another person's consent.
//
// A refresh token is good once. Whoever trades it in must store what came of
// it, so the trade and the storing go on when the caller goes away; whoever
// was second reads again what the first one stored.
//
// Nothing here is ever logged but numbers.

const (
	// tokenEarly is how long before its end a token is traded in.
	tokenEarly = 2 * time.Minute
	// tradeWithin bounds a trade and the storing of what came of it.
	tradeWithin = 40 * time.Second
	// A replica that was second waits so long, and looks so often, for what
	// the first one stores.
	secondPause = 100 * time.Millisecond
	secondLooks = 30
	// storeTries is how often a new pair is offered to Vault: once lost, the
	// person has to sign in again.
	storeTries = 4
)

// KeepToken keeps a token that a person leaves with tac, once it is proved to
// be theirs. It is traded in at once: that proves the refresh token as well,
// and what was seen on the way here is worth nothing afterwards. What the
// person left before is revoked.
func (b *Bot) KeepToken(ctx context.Context, who grants.Principal, t world.UserToken) error {
	if b.Tokens == nil {
		return refuse(CodeNotFound, keepsNoTokens)
	}
	m, err := b.mainNow(ctx)
	if err != nil {
		return unavailable("GitHub", err)
	}
	if _, ok := m.set.Person(who.ID); !ok {
		return refuse(CodeDenied, "%s", notAmongPeople(who))
	}
	if err := b.ofPerson(ctx, who, t.Access); err != nil {
		return keepRefusal(err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tradeWithin)
	defer cancel()
	if !t.Refresh.Empty() {
		next, err := b.Tokens.Refresh(ctx, t)
		if err != nil {
			return keepRefusal(err)
		}
		t = next
		if err := b.ofPerson(ctx, who, t.Access); err != nil {
			b.discard(ctx, who, t.Access)
			return keepRefusal(err)
		}
	}
	t.Person = who
	before, err := b.replaceToken(ctx, t)
	if err != nil {
		b.discard(ctx, who, t.Access)
		return unavailable("Vault", err)
	}
	if before != nil {
		b.endPair(ctx, *before)
	}
	b.Log.Info("somebody left a token", "person", who.ID)
	return nil
}

func keepRefusal(err error) *Error {
	if errors.Is(err, world.ErrNotOurs) {
		return &Error{Code: CodeDenied, Message: onlyOwnToken, Cause: err}
	}
	return unavailable("GitHub", err)
}

// ofPerson proves whose token it is: world.ErrNotOurs where it is anybody
// else's, or not good.
func (b *Bot) ofPerson(ctx context.Context, who grants.Principal, access world.Secret) error {
	whose, err := b.Tokens.User(ctx, access)
	if err != nil {
		return fmt.Errorf("prove a token of person %d: %w", who.ID, err)
	}
	if who.ID <= 0 || whose.ID != who.ID {
		return fmt.Errorf("prove a token of person %d: it is person %d's: %w", who.ID, whose.ID, world.ErrNotOurs)
	}
	return nil
}

// replaceToken stores a token over whatever is there, and returns that.
func (b *Bot) replaceToken(ctx context.Context, t world.UserToken) (before *world.UserToken, err error) {
	for range storeTries {
		if before, err = b.Vault.UserToken(ctx, t.Person.ID); err != nil {
			return nil, err
		}
		t.Version = 0
		if before != nil {
			t.Version = before.Version
		}
		if err = b.Vault.PutUserToken(ctx, &t); !errors.Is(err, world.ErrLost) {
			return before, err
		}
	}
	return nil, err
}

// ForgetToken revokes what a person left with tac, then forgets it; false:
// there was nothing. Where GitHub does not answer nothing is forgotten: a
// token that nobody knows any more could not be revoked later.
func (b *Bot) ForgetToken(ctx context.Context, who grants.Principal) (was bool, err error) {
	if b.Tokens == nil {
		return false, refuse(CodeNotFound, keepsNoTokens)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tradeWithin)
	defer cancel()
	for range storeTries {
		t, err := b.Vault.UserToken(ctx, who.ID)
		if err != nil {
			return false, unavailable("Vault", err)
		}
		if t == nil || t.Access.Empty() {
			return was, nil
		}
		was = true
		err = b.giveUp(ctx, who, *t)
		if errors.Is(err, world.ErrLost) {
			continue // somebody refreshed it or left a new one: that goes as well
		}
		if err != nil {
			return true, &Error{Code: CodeUnavailable, Message: notTakenBackYet, Cause: err}
		}
		b.Log.Info("somebody took a token back", "person", who.ID)
		return true, nil
	}
	return true, refuse(CodeConflict, tokenKeepsMoving)
}

// giveUp revokes what is stored, then stores that there is nothing. Like
// revokePair it trades the refresh token in first; what comes of it is stored,
// so that it can still be revoked at the next try, but without its refresh
// token, which would otherwise live on in an old version in Vault.
func (b *Bot) giveUp(ctx context.Context, who grants.Principal, t world.UserToken) error {
	if !t.Refresh.Empty() {
		next, err := b.Tokens.Refresh(ctx, t)
		switch {
		case err == nil:
			t.Access, t.AccessUntil = next.Access, next.AccessUntil
		case !errors.Is(err, world.ErrNotOurs):
			return err
		}
		t.Refresh, t.RefreshUntil = world.Secret{}, time.Time{}
		if err := b.Vault.PutUserToken(ctx, &t); err != nil {
			b.discard(ctx, who, t.Access)
			return err
		}
	}
	if err := b.Tokens.Revoke(ctx, t.Access); err != nil {
		return err
	}
	return b.Vault.PutUserToken(ctx, &world.UserToken{Person: who, Version: t.Version})
}

// revokePair ends both tokens. The refresh token is traded in first: that ends
// the pair for certain, and what comes of it is ended too and kept by nobody
// (githubpr's Revoke tells why revoking alone is not enough).
func (b *Bot) revokePair(ctx context.Context, t world.UserToken) error {
	if !t.Refresh.Empty() {
		next, err := b.Tokens.Refresh(ctx, t)
		switch {
		case err == nil:
			t = next
		case !errors.Is(err, world.ErrNotOurs):
			return err
		}
	}
	if t.Access.Empty() {
		return nil
	}
	return b.Tokens.Revoke(ctx, t.Access)
}

// endPair revokes a pair that was replaced; that it could not is for the log.
func (b *Bot) endPair(ctx context.Context, t world.UserToken) {
	if err := b.revokePair(ctx, t); err != nil && !errors.Is(err, world.ErrNotOurs) {
		b.Log.Warn("a token that was replaced is not revoked; it ends by itself", "person", t.Person.ID, "error", err)
	}
}

// discard revokes a token that nobody keeps.
func (b *Bot) discard(ctx context.Context, who grants.Principal, access world.Secret) {
	b.endPair(ctx, world.UserToken{Person: who, Access: access})
}

// EndLogin revokes the token that a call was made with: the person signs out.
// who was proved by this very token.
func (b *Bot) EndLogin(ctx context.Context, who grants.Principal, token world.Secret) error {
	if b.Tokens == nil {
		return refuse(CodeNotFound, revokesNoTokens)
	}
	if err := b.Tokens.Revoke(ctx, token); err != nil {
		return &Error{Code: CodeUnavailable, Message: notRevokedYet, Cause: err}
	}
	b.Log.Info("somebody signed out", "person", who.ID)
	return nil
}

// tokenOf returns a good token of what a person left with tac, or a *Error
// that tells them how to leave one.
func (b *Bot) tokenOf(ctx context.Context, who grants.Principal) (world.Secret, error) {
	if b.Tokens == nil {
		return world.Secret{}, noToken(keepsNoTokens, nil)
	}
	t, err := b.Vault.UserToken(ctx, who.ID)
	switch {
	case err != nil:
		return world.Secret{}, unavailable("Vault", err)
	case t == nil || t.Access.Empty():
		return world.Secret{}, noToken(nothingLeft, nil)
	}
	if b.freshToken(*t) {
		err := b.ofPerson(ctx, who, t.Access)
		if err == nil {
			return t.Access, nil
		}
		if !errors.Is(err, world.ErrNotOurs) {
			return world.Secret{}, unavailable("GitHub", err)
		}
		// It ended before its time; the refresh token may still be good.
	}
	return b.tradeToken(ctx, who, *t)
}

func noToken(why string, cause error) *Error {
	return &Error{Code: CodeDenied, Message: why + "; " + leaveAgain, Cause: cause}
}

func (b *Bot) freshToken(t world.UserToken) bool {
	return t.AccessUntil.IsZero() || b.Now().Before(t.AccessUntil.Add(-tokenEarly))
}

// tradeToken trades a stale token in, or takes what another replica made of it.
func (b *Bot) tradeToken(ctx context.Context, who grants.Principal, stale world.UserToken) (world.Secret, error) {
	if stale.Refresh.Empty() || !stale.RefreshUntil.IsZero() && !b.Now().Before(stale.RefreshUntil) {
		return world.Secret{}, noToken(leftEnded, nil)
	}
	// From here on the person would have to sign in again if we stopped half
	// way: it goes on when the caller goes away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tradeWithin)
	defer cancel()
	next, err := b.Tokens.Refresh(ctx, stale)
	if errors.Is(err, world.ErrNotOurs) {
		return b.tokenOfOther(ctx, who, stale.Version, err)
	}
	if err != nil {
		return world.Secret{}, unavailable("GitHub", err)
	}
	next.Person, next.Version = who, stale.Version
	unproved := b.ofPerson(ctx, who, next.Access)
	if errors.Is(unproved, world.ErrNotOurs) {
		b.discard(ctx, who, next.Access)
		return world.Secret{}, noToken(leftForeign, unproved)
	}
	// Where GitHub could not be asked it is kept nevertheless, or it would be
	// lost: every use proves it again.
	access, err := b.storeTraded(ctx, who, next)
	if err == nil && unproved != nil {
		return world.Secret{}, unavailable("GitHub", unproved)
	}
	return access, err
}

// storeTraded keeps a new pair over the version that it was made of. Where
// that has been replaced meanwhile, what replaced it counts.
func (b *Bot) storeTraded(ctx context.Context, who grants.Principal, next world.UserToken) (world.Secret, error) {
	var err error
	for n := range storeTries {
		if n > 0 && !pause(ctx, secondPause<<n) {
			break
		}
		if err = b.Vault.PutUserToken(ctx, &next); err == nil {
			return next.Access, nil
		}
		if errors.Is(err, world.ErrLost) {
			// Taken back, or left anew, while we traded: ours must not live on.
			b.endPair(ctx, next)
			return b.tokenOfOther(ctx, who, next.Version, err)
		}
	}
	// It is good for what it was wanted for, but nobody will know it later.
	b.Log.Warn("a refreshed token could not be kept: its owner will have to sign in again", "person", who.ID, "error", err)
	return next.Access, nil
}

// tokenOfOther waits for what another replica stores in the place of version.
func (b *Bot) tokenOfOther(ctx context.Context, who grants.Principal, version int, cause error) (world.Secret, error) {
	for range secondLooks {
		t, err := b.Vault.UserToken(ctx, who.ID)
		switch {
		case err != nil:
			return world.Secret{}, unavailable("Vault", err)
		case t == nil || t.Access.Empty():
			return world.Secret{}, noToken(leftGone, cause)
		case t.Version > version:
			if err := b.ofPerson(ctx, who, t.Access); err != nil {
				return world.Secret{}, unavailable("GitHub", err)
			}
			return t.Access, nil
		}
		if !pause(ctx, secondPause) {
			break
		}
	}
	return world.Secret{}, noToken(leftEnded, cause)
}

// pause waits by the wall clock; false: ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
