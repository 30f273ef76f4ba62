package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// revokeWithin bounds what signing out asks of others: it has to work when
// nobody answers.
const revokeWithin = 20 * time.Second

// SignedOut is what came of signing out.
type SignedOut struct {
	Was       bool   // somebody was signed in
	Revoked   bool   // GitHub takes the tokens no more
	Kept      error  // why not: nil where there was nothing to revoke
	GitHubURL string // where they can be revoked by hand
}

// Logout revokes the tokens at GitHub, then deletes them and all credentials
// from this machine. It deletes them even where they cannot be revoked.
func (c *Client) Logout(ctx context.Context) (SignedOut, error) {
	l, had, err := c.Store.Login(c.Server)
	out := SignedOut{GitHubURL: l.GitHubURL, Kept: err}
	if had {
		out.Kept = c.revokeKept(ctx)
		out.Revoked = out.Kept == nil
	}
	out.Was, err = c.Store.Forget(c.Server)
	return out, err
}

// revokeKept revokes what is kept. The lock keeps another process from
// refreshing it at the same time, which would leave a pair alive.
func (c *Client) revokeKept(ctx context.Context) error {
	unlock, err := lock(c.Store.folder(c.Server))
	if err != nil {
		return err
	}
	defer unlock()
	l, had, err := c.Store.Login(c.Server)
	if err != nil || !had {
		return err
	}
	return c.revoke(ctx, l)
}

// revoke ends both tokens. Only the server can revoke the access token, since
// that takes the App's secret, and GitHub does not promise that this ends the
// refresh token as well. So that is traded in first, which ends the old pair
// for certain, the new access token is revoked, and the new refresh token is
// kept by nobody.
func (c *Client) revoke(ctx context.Context, l Login) error {
	ctx, cancel := context.WithTimeout(ctx, revokeWithin)
	defer cancel()
	token := l.Access
	var problem error
	if !l.Refresh.Empty() {
		site, err := siteURL(l.GitHubURL)
		if err != nil {
			return err
		}
		next, ok, err := c.trade(ctx, site, l)
		if ok {
			token = next.Access
		}
		problem = err
	}
	if err := c.endLogin(ctx, token); err != nil {
		return err
	}
	return problem
}

// endLogin has the server revoke a token. One that is not taken has ended.
func (c *Client) endLogin(ctx context.Context, token world.Secret) error {
	var out struct {
		Revoked bool `json:"revoked"`
	}
	err := c.attempts(ctx, call{method: http.MethodDelete, path: "/me/login", tries: 2}, token, &out)
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Code == CodeUnauthenticated {
		return nil
	}
	if err == nil && !out.Revoked {
		err = fmt.Errorf("%s does not say that it revoked the token", c.Server)
	}
	return err
}

// LeaveToken signs a person in once more and leaves the tokens with the
// server, so that presses of theirs in chat become reviews of theirs. Nothing
// of it is kept here.
func (c *Client) LeaveToken(ctx context.Context, show func(Prompt)) (Person, error) {
	who, err := c.Whoami(ctx) // not signed in: say so before anybody goes to a browser
	if err != nil {
		return Person{}, err
	}
	l, err := c.signIn(ctx, show)
	if err != nil {
		return Person{}, err
	}
	body := struct {
		AccessToken  string    `json:"access_token"`
		AccessUntil  time.Time `json:"access_until,omitzero"`
		RefreshToken string    `json:"refresh_token,omitempty"`
		RefreshUntil time.Time `json:"refresh_until,omitzero"`
	}{l.Access.Reveal(), l.AccessUntil, l.Refresh.Reveal(), l.RefreshUntil}
	var out struct {
		Kept bool `json:"kept"`
	}
	// Once: the server trades the pair in, so a second try could only fail.
	err = c.do(ctx, call{method: http.MethodPut, path: "/me/token", body: body}, &out)
	if err == nil && out.Kept {
		return who, nil
	}
	if err == nil {
		err = fmt.Errorf("%s does not say that it keeps the token", c.Server)
	}
	// Nobody keeps it, so nobody shall have it. The first error matters more.
	_ = c.revoke(context.WithoutCancel(ctx), l)
	return Person{}, err
}

// TakeTokenBack has the server revoke and forget what was left with it; false:
// there was nothing.
func (c *Client) TakeTokenBack(ctx context.Context) (was bool, err error) {
	var out struct {
		Was bool `json:"was_kept"`
	}
	err = c.do(ctx, call{method: http.MethodDelete, path: "/me/token", tries: tries}, &out)
	return out.Was, err
}

// LinkAnswer is what a code that Slack showed would link, or was asked to.
type LinkAnswer struct {
	Person
	Team   string `json:"slack_team"`
	User   string `json:"slack_user"`
	Line   string `json:"line"`  // for the People document
	Issue  string `json:"issue"` // empty: not asked for yet
	Linked bool   `json:"linked"`
}

// Link says what a code would link; with confirm it asks for that.
func (c *Client) Link(ctx context.Context, code string, confirm bool) (LinkAnswer, error) {
	var out LinkAnswer
	body := struct {
		Code    string `json:"code"`
		Confirm bool   `json:"confirm"`
	}{code, confirm}
	err := c.do(ctx, call{method: http.MethodPost, path: "/me/link", body: body, tries: tries}, &out)
	return out, err
}
