package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/grants/world"
)

// ErrTooLate says that nobody entered the code while it was valid.
var ErrTooLate = errors.New("the code was not entered in time; run `tac login` again")

// Prompt is what a person has to do to sign in.
type Prompt struct {
	URL   string
	Code  string
	Until time.Time // the code ends then
}

const (
	// pollEvery is how often GitHub may be asked where it names no interval.
	pollEvery = 5 * time.Second
	// earlyBy is how long before its end a token is refreshed.
	earlyBy = time.Minute
)

// Login signs a person in by GitHub's device flow and keeps the tokens. show
// is called once, with what the person has to do; Login then waits for it.
func (c *Client) Login(ctx context.Context, show func(Prompt)) (Login, error) {
	l, err := c.signIn(ctx, show)
	if err != nil {
		return Login{}, err
	}
	if l, err = c.Store.keep(l); err != nil {
		return Login{}, err
	}
	if l.Person, err = c.Whoami(ctx); err != nil {
		return l, fmt.Errorf("GitHub signed you in, but the server does not take it: %w", err)
	}
	return c.Store.keep(l)
}

// signIn plays the device flow of the server's App, and keeps nothing.
func (c *Client) signIn(ctx context.Context, show func(Prompt)) (Login, error) {
	var app struct {
		ClientID  string `json:"client_id"`
		GitHubURL string `json:"github_url"`
	}
	if err := c.attempts(ctx, call{method: http.MethodGet, path: "/login", tries: tries}, world.Secret{}, &app); err != nil {
		return Login{}, err
	}
	site, err := siteURL(app.GitHubURL)
	if err != nil {
		return Login{}, fmt.Errorf("%s names its GitHub wrongly: %w", c.Server, err)
	}
	d, err := c.startDevice(ctx, site, app.ClientID)
	if err != nil {
		return Login{}, err
	}
	show(Prompt{URL: d.VerificationURI, Code: d.UserCode, Until: c.Now().Add(time.Duration(d.ExpiresIn) * time.Second)})
	tokens, err := c.awaitDevice(ctx, site, app.ClientID, d)
	if err != nil {
		return Login{}, err
	}
	l := tokens.login(c.Now())
	l.Server, l.ClientID, l.GitHubURL = c.Server, app.ClientID, site
	return l, nil
}

type device struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	ExpiresIn       int    `json:"expires_in"`
	Interval        int    `json:"interval"`
	oauthError
}

func (c *Client) startDevice(ctx context.Context, site, clientID string) (device, error) {
	var d device
	if err := c.form(ctx, site+"/login/device/code", url.Values{"client_id": {clientID}}, &d); err != nil {
		return d, err
	}
	switch {
	case d.Code != "":
		return d, d.oauthError.refusal()
	case d.DeviceCode == "" || d.UserCode == "" || d.ExpiresIn <= 0:
		return d, fmt.Errorf("%s does not offer to sign in; is the App's device flow enabled?", site)
	}
	// A page elsewhere that asks for a code is how codes are stolen.
	page, err := url.Parse(d.VerificationURI)
	if err != nil || page.Scheme+"://"+page.Host != site {
		return d, fmt.Errorf("%s sends you to %s to sign in, which is another site; nothing was done", site, strictyaml.Quote(d.VerificationURI))
	}
	return d, nil
}

// awaitDevice polls until the person has decided, at the pace GitHub names.
func (c *Client) awaitDevice(ctx context.Context, site, clientID string, d device) (tokens, error) {
	every := time.Duration(d.Interval) * time.Second
	if every <= 0 {
		every = pollEvery
	}
	values := url.Values{
		"client_id": {clientID}, "device_code": {d.DeviceCode},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}
	for left := time.Duration(d.ExpiresIn) * time.Second; left > 0; left -= every {
		if err := c.sleep(ctx, every); err != nil {
			return tokens{}, err
		}
		var t tokens
		err := c.form(ctx, site+"/login/oauth/access_token", values, &t)
		if IsPassing(err) {
			continue // the code lives on
		}
		if err != nil {
			return tokens{}, err
		}
		switch t.Code {
		case "":
			return t, t.check(site)
		case "authorization_pending":
		case "slow_down":
			every = max(every+pollEvery, time.Duration(t.Interval)*time.Second)
		case "expired_token":
			return tokens{}, ErrTooLate
		case "access_denied":
			return tokens{}, &Error{Code: CodeDenied, Message: "the sign-in was refused at GitHub; nothing was kept"}
		default:
			return tokens{}, t.oauthError.refusal()
		}
	}
	return tokens{}, ErrTooLate
}

// tokens is GitHub's answer with tokens, or with an error.
type tokens struct {
	AccessToken           string `json:"access_token"`
	ExpiresIn             int    `json:"expires_in"` // seconds; 0: it does not end
	RefreshToken          string `json:"refresh_token"`
	RefreshTokenExpiresIn int    `json:"refresh_token_expires_in"`
	Interval              int    `json:"interval"`
	oauthError
}

func (t tokens) check(site string) error {
	if t.AccessToken == "" || strings.ContainsAny(t.AccessToken, " \t\r\n") {
		return fmt.Errorf("%s answers without a token; please try again", site)
	}
	return nil
}

func (t tokens) login(now time.Time) Login {
	until := func(seconds int) time.Time {
		if seconds <= 0 {
			return time.Time{}
		}
		return now.Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second)
	}
	return Login{
		Access: world.NewSecret(t.AccessToken), AccessUntil: until(t.ExpiresIn),
		Refresh: world.NewSecret(t.RefreshToken), RefreshUntil: until(t.RefreshTokenExpiresIn),
	}
}

type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e oauthError) refusal() error {
	return fmt.Errorf("GitHub does not sign you in: %s (%s)", e.Description, e.Code)
}

// form asks GitHub something. The answer carries its own errors.
func (c *Client) form(ctx context.Context, address string, values url.Values, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(values.Encode()))
	if err != nil {
		return fmt.Errorf("prepare to ask GitHub: %w", err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	status, _, data, err := c.send(r)
	if err != nil {
		return err
	}
	where := r.URL.Scheme + "://" + r.URL.Host
	switch {
	case status >= 500 || status == http.StatusTooManyRequests:
		return &Error{Status: status, Code: CodeUnavailable, Message: fmt.Sprintf("%s answers %d; please try again", where, status)}
	case status != http.StatusOK:
		return fmt.Errorf("%s does not know the App that this server signs in with (it answers %d)", where, status)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("%s does not answer as GitHub does; is the server set up right?", where)
	}
	return nil
}

func (l Login) fresh(now time.Time) bool {
	return l.AccessUntil.IsZero() || now.Before(l.AccessUntil.Add(-earlyBy))
}

func (c *Client) notLoggedIn(why string) error {
	return &Error{Code: CodeUnauthenticated, Message: fmt.Sprintf("%s %s; run `tac login`", why, c.Server)}
}

// token returns the person's token for this server, refreshed where needed.
func (c *Client) token(ctx context.Context) (world.Secret, error) {
	l, ok, err := c.Store.Login(c.Server)
	switch {
	case err != nil:
		return world.Secret{}, err
	case !ok:
		return world.Secret{}, c.notLoggedIn("you are not logged in to")
	case l.fresh(c.Now()):
		if l.Kept == InFile && c.Store.Keyring != nil {
			c.moveToKeyring()
		}
		return l.Access, nil
	}
	return c.renewed(ctx, l.Access)
}

// moveToKeyring takes tokens that were kept before there was a keyring, or
// while it was not to be used, out of their file. Where it fails they stay
// where they are, and nothing is lost.
func (c *Client) moveToKeyring() {
	unlock, err := lock(c.Store.folder(c.Server))
	if err != nil {
		return
	}
	defer unlock()
	if l, ok, err := c.Store.Login(c.Server); err == nil && ok && l.Kept == InFile {
		_ = c.Store.Save(l) // replaced whole or not at all
	}
}

// renewed trades the refresh token for a new pair, unless another process of
// ours has replaced the stale token meanwhile: the old pair is dead at once.
func (c *Client) renewed(ctx context.Context, stale world.Secret) (world.Secret, error) {
	unlock, err := lock(c.Store.folder(c.Server))
	if err != nil {
		return world.Secret{}, err
	}
	defer unlock()
	l, ok, err := c.Store.Login(c.Server)
	if err != nil {
		return world.Secret{}, err
	}
	now := c.Now()
	switch {
	case ok && l.fresh(now) && l.Access.Reveal() != stale.Reveal():
		return l.Access, nil
	case !ok || l.Refresh.Empty() || !l.RefreshUntil.IsZero() && !now.Before(l.RefreshUntil):
		return world.Secret{}, c.notLoggedIn("your login has expired at")
	}
	site, err := siteURL(l.GitHubURL)
	if err != nil {
		return world.Secret{}, err
	}
	next, ok, err := c.trade(ctx, site, l)
	if err != nil {
		return world.Secret{}, err
	}
	if !ok {
		return world.Secret{}, c.notLoggedIn("your login has expired at")
	}
	return next.Access, c.Store.Save(next)
}

// trade asks for a new pair of tokens; not ok: the refresh token is not good
// any more. The old pair is dead at once, so what comes back has to be kept.
// Tokens out of the device flow are traded without the App's secret.
func (c *Client) trade(ctx context.Context, site string, l Login) (next Login, ok bool, err error) {
	var t tokens
	values := url.Values{"client_id": {l.ClientID}, "grant_type": {"refresh_token"}, "refresh_token": {l.Refresh.Reveal()}}
	if err := c.form(ctx, site+"/login/oauth/access_token", values, &t); err != nil {
		return Login{}, false, err
	}
	if t.Code != "" || t.check(site) != nil {
		return Login{}, false, nil
	}
	next = t.login(c.Now())
	next.Server, next.ClientID, next.GitHubURL, next.Person = l.Server, l.ClientID, l.GitHubURL, l.Person
	return next, true, nil
}
