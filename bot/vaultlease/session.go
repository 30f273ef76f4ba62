package vaultlease

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// ErrNotLetIn says that Vault refuses the bot's own identity: the secret id is
// wrong or was taken back. A Vault that does not answer is never this.
var ErrNotLetIn = errors.New("the bot is not let in")

// session holds the bot's own token. It is renewed, or replaced by a new
// login, by whichever call finds that less than a third of its life is left:
// nothing runs in the background, and an idle bot holds a token that ends.
type session struct {
	c    *Client
	turn chan struct{} // held while looking at or changing what follows

	current world.Secret
	ends    time.Time     // zero: without end
	life    time.Duration // at the login
	renews  bool
}

func newSession(c *Client) *session {
	s := &session{c: c, turn: make(chan struct{}, 1)}
	s.current = c.cfg.Token // empty with AppRole
	return s
}

// token returns a token to call with. A renewal that fails is only a warning
// while the token lives: revocations must not wait for it.
func (s *session) token(ctx context.Context) (world.Secret, error) {
	if err := s.enter(ctx); err != nil {
		return world.Secret{}, err
	}
	defer s.leave()
	if !s.c.cfg.Token.Empty() {
		return s.current, nil
	}
	left := s.ends.Sub(s.c.now())
	if !s.current.Empty() && (s.ends.IsZero() || left > s.life/3) {
		return s.current, nil
	}
	if !s.current.Empty() && left > 0 && s.renew(ctx) {
		return s.current, nil
	}
	if err := s.login(ctx); err != nil {
		if !s.current.Empty() && s.ends.Sub(s.c.now()) > 0 {
			s.c.log.Warn("log in to vault anew; going on with the old token", "error", err, "left", left)
			return s.current, nil
		}
		return world.Secret{}, err
	}
	return s.current, nil
}

// replace is called with a token that Vault refused. It returns another one
// where the token is gone, and the same where it lives: then the refusal was
// about a policy, which no login cures.
func (s *session) replace(ctx context.Context, refused world.Secret) (world.Secret, error) {
	if err := s.enter(ctx); err != nil {
		return world.Secret{}, err
	}
	defer s.leave()
	if s.current != refused || !s.c.cfg.Token.Empty() {
		return s.current, nil // somebody replaced it meanwhile, or nothing can
	}
	_, err := s.c.exchange(ctx, request{path: "auth/token/lookup-self", auth: asGiven, token: refused})
	if !hasStatus(err, http.StatusForbidden) {
		return refused, nil
	}
	s.current = world.Secret{}
	if err := s.login(ctx); err != nil {
		return world.Secret{}, err
	}
	return s.current, nil
}

func (s *session) enter(ctx context.Context) error {
	select {
	case s.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for vault login: %w", ctx.Err())
	}
}

func (s *session) leave() { <-s.turn }

// renew reports whether the token now has more than a third of its life left.
// Vault renews a token only up to its maximum: near that a login is needed.
func (s *session) renew(ctx context.Context) bool {
	if !s.renews {
		return false
	}
	asked := s.c.now()
	a, err := s.c.exchange(ctx, request{
		path: "auth/token/renew-self", auth: asGiven, token: s.current, effect: true,
		body: map[string]any{"increment": wholeSeconds(s.life)},
	})
	if err != nil || a.Auth == nil {
		return false
	}
	life := time.Duration(a.Auth.LeaseDuration) * time.Second
	s.ends, s.renews = asked.Add(life), a.Auth.Renewable
	return life > s.life/3
}

func (s *session) login(ctx context.Context) error {
	asked := s.c.now()
	// To lose its answer is no ambiguity (effect): whoever waits for a login
	// has not sent the call that it is for.
	a, err := s.c.exchange(ctx, request{
		path: "auth/" + s.c.cfg.AppRole + "/login", auth: anonymous,
		body: map[string]any{"role_id": s.c.cfg.RoleID, "secret_id": s.c.cfg.SecretID.Reveal()},
	})
	if hasStatus(err, http.StatusBadRequest, http.StatusForbidden) {
		return fmt.Errorf("log in to vault: %w: %w", ErrNotLetIn, err)
	}
	if err != nil {
		return fmt.Errorf("log in to vault: %w", err)
	}
	if a.Auth == nil || a.Auth.ClientToken == "" {
		return errors.New("log in to vault: the answer has no token")
	}
	s.current = world.NewSecret(a.Auth.ClientToken)
	s.life = time.Duration(a.Auth.LeaseDuration) * time.Second
	s.renews, s.ends = a.Auth.Renewable, time.Time{}
	if s.life > 0 {
		s.ends = asked.Add(s.life)
	}
	return nil
}
