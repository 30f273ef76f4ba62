// Package githubpr is the forge of the bot: pull requests, reviews, check
// runs, issues and teams of one grants repository on GitHub, and who a person's
// token belongs to. It translates and holds no rules.
//
// # What it promises
//
// An answer that cannot be right (an empty body, a list that is cut short, a
// pull request without a head) is an error, never an absence: nothing here
// turns "I could not find out" into "there is none".
//
// No write is repeated by itself. Where the answer to opening or merging was
// lost, the outcome is read from GitHub; where even that does not settle it,
// the error is world.ErrAmbiguous.
//
// Once GitHub has said that a limit is used up, nothing more is sent until
// the time it named, and callers get RateLimited at once: to go on asking may
// get the App banned.
//
// Whatever is done in a person's name is done with that person's own token,
// for that one call: see Review. All else is done by our App.
//
// No token, JWT or key is part of any error. Redirects are never followed:
// the transport would show its token to wherever they lead.
//
// # Clocks
//
// Config.Now is what the bot believes the time to be. App JWTs and the life
// of installation tokens are judged by the wall clock inside ghinstallation.
package githubpr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants/world"
)

// Config says which repository, and who we are there.
type Config struct {
	APIURL string // empty: https://api.github.com; with or without a slash at the end
	URL    string // of the site, where tokens are refreshed; empty: https://github.com
	Owner  string // of the grants repository
	Repo   string
	Branch string // the default branch, "main"

	AppID          int64
	InstallationID int64
	PrivateKey     world.Secret // of the App: RSA, PEM
	ClientID       string       // of the App; with ClientSecret needed by User only
	ClientSecret   world.Secret

	// Now is the bot's clock. It dates team reads, tells Skew, and says in
	// RateLimited until when to wait.
	Now func() time.Time
}

// PublicAPI is the API of github.com.
const PublicAPI = "https://api.github.com"

// callTimeout bounds one exchange. A squash may take GitHub ten seconds.
const callTimeout = 30 * time.Second

// Names become parts of API paths, so nothing may be in them that changes a
// path's meaning.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

func isName(s string) bool { return nameForm.MatchString(s) && s != "." && s != ".." }

var hashForm = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Client is GitHub seen through one installation of our App. It implements
// the bot's Forge and is safe for concurrent use.
type Client struct {
	cfg      Config
	api      *github.Client    // as the installation
	app      *github.Client    // as the App itself, by JWT
	identity *github.Client    // by client id and secret
	site     *http.Client      // GitHub beside its API, where tokens are refreshed
	people   http.RoundTripper // what calls in people's own names go over
	tokens   *tokens
	clock    *forgeClock
	proved   *proofs

	place kept[place]
	bot   kept[account]
}

// place is the account that our App is installed on.
type place struct{ organisation bool }

// New returns a Client. It sends nothing yet: the first call does.
func New(cfg Config) (*Client, error) {
	if cfg.APIURL == "" {
		cfg.APIURL = PublicAPI
	}
	cfg.APIURL = strings.TrimRight(cfg.APIURL, "/")
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure the forge: %w", err)
	}
	c := &Client{cfg: cfg, clock: &forgeClock{now: cfg.Now}, proved: newProofs(cfg.Now)}

	// Two lanes, since GitHub meters them apart: a used up installation must
	// not keep people from proving who they are.
	base := newBase()
	lane := &wire{next: base, clock: c.clock}
	c.tokens = &tokens{next: lane, make: c.newInstallation}
	byJWT, err := ghinstallation.NewAppsTransport(lane, cfg.AppID, []byte(cfg.PrivateKey.Reveal()))
	if err != nil {
		// The parser's words are left out: it has just held the key.
		return nil, errors.New("configure the forge: the App's private key is not an RSA key in PEM form")
	}
	byJWT.BaseURL = cfg.APIURL
	bySecret := &github.BasicAuthTransport{
		Username: cfg.ClientID, Password: cfg.ClientSecret.Reveal(),
		Transport: &wire{next: base, clock: c.clock},
	}
	c.people = newBase()
	c.api = cfg.client(newETags(c.tokens))
	c.app = cfg.client(byJWT)
	c.identity = cfg.client(bySecret)
	c.site = newSite(&wire{next: base, clock: c.clock})
	return c, nil
}

func (cfg Config) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	u, err := url.Parse(cfg.APIURL)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || (u.Scheme != "https" && u.Scheme != "http") {
		bad("the API address is not an http(s) URL")
	}
	if !isName(cfg.Owner) || !isName(cfg.Repo) {
		bad("%q/%q is not a repository", cfg.Owner, cfg.Repo)
	}
	if cfg.Branch == "" || strings.HasPrefix(cfg.Branch, "refs/") {
		bad("branch %q is not the name of a branch", cfg.Branch)
	}
	if cfg.AppID <= 0 || cfg.InstallationID <= 0 {
		bad("the App's id and its installation's id are needed")
	}
	if cfg.PrivateKey.Empty() {
		bad("the App's private key is needed")
	}
	if cfg.ClientID != "" && !isName(cfg.ClientID) {
		bad("%q is not a client id", cfg.ClientID)
	}
	if cfg.Now == nil {
		bad("a clock is needed")
	}
	return errors.Join(problems...)
}

// client returns go-github over a transport.
func (cfg Config) client(rt http.RoundTripper) *github.Client {
	c := github.NewClient(&http.Client{
		Transport:     rt,
		Timeout:       callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	})
	c.BaseURL = &url.URL{}
	if u, err := url.Parse(cfg.APIURL + "/"); err == nil { // validated before
		c.BaseURL = u
	}
	c.UserAgent = "tac"
	return c
}

// newInstallation returns a source of installation tokens that can do no more
// than the bot needs, and that to one repository only.
func (c *Client) newInstallation(ctx context.Context) (*ghinstallation.Transport, error) {
	at, err := c.installedOn(ctx)
	if err != nil {
		return nil, err
	}
	rights := &github.InstallationPermissions{
		Contents:     github.String("write"),
		PullRequests: github.String("write"),
		Checks:       github.String("write"),
		Issues:       github.String("write"),
		Metadata:     github.String("read"),
	}
	if at.organisation { // a person's account cannot grant it: asking would be refused
		rights.Members = github.String("read")
	}
	t, err := ghinstallation.New(c.tokens.next, c.cfg.AppID, c.cfg.InstallationID, []byte(c.cfg.PrivateKey.Reveal()))
	if err != nil {
		return nil, errors.New("the App's private key cannot be read")
	}
	t.BaseURL = c.cfg.APIURL
	t.InstallationTokenOptions = &github.InstallationTokenOptions{
		Repositories: []string{c.cfg.Repo}, Permissions: rights,
	}
	return t, nil
}

// installedOn finds out, once, what kind of account the repository belongs to.
func (c *Client) installedOn(ctx context.Context) (place, error) {
	return c.place.get(func() (place, error) {
		const doing = "read the App's installation"
		in, _, err := c.app.Apps.GetInstallation(ctx, c.cfg.InstallationID)
		if err != nil {
			return place{}, c.failed(doing, err)
		}
		account := in.GetAccount().GetLogin()
		switch {
		case !strings.EqualFold(account, c.cfg.Owner):
			return place{}, fmt.Errorf("%s: installation %d is on %q, not on %q", doing, c.cfg.InstallationID, account, c.cfg.Owner)
		case !in.GetSuspendedAt().IsZero():
			return place{}, fmt.Errorf("%s: installation %d is suspended", doing, c.cfg.InstallationID)
		case in.GetTargetType() != "Organization" && in.GetTargetType() != "User":
			return place{}, fmt.Errorf("%s: %q is no kind of account we know", doing, in.GetTargetType())
		}
		return place{organisation: in.GetTargetType() == "Organization"}, nil
	})
}

// Token returns an installation token for git. It is good for at least a
// minute more and at most an hour.
func (c *Client) Token(ctx context.Context) (world.Secret, error) {
	const doing = "get an installation token"
	source, err := c.tokens.source(ctx)
	if err != nil {
		return world.Secret{}, c.failed(doing, err)
	}
	token, err := source.Token(ctx)
	if err != nil {
		return world.Secret{}, c.failed(doing, err)
	}
	if token == "" {
		return world.Secret{}, fmt.Errorf("%s: the answer has none", doing)
	}
	return world.NewSecret(token), nil
}

// account is the account under which our App acts.
type account struct {
	id    int64
	login string
}

// Bot returns the numeric user id under which our App acts. It is asked for
// once.
func (c *Client) Bot(ctx context.Context) (int64, error) {
	bot, err := c.ownAccount(ctx)
	return bot.id, err
}

func (c *Client) ownAccount(ctx context.Context) (account, error) {
	return c.bot.get(func() (account, error) {
		const doing = "find the App's own account"
		app, _, err := c.app.Apps.Get(ctx, "")
		if err != nil {
			return account{}, c.failed(doing, err)
		}
		if !isName(app.GetSlug()) {
			return account{}, fmt.Errorf("%s: the App has no name", doing)
		}
		login := app.GetSlug() + "[bot]"
		u, _, err := c.api.Users.Get(ctx, login)
		if err != nil {
			return account{}, c.failed(doing, err)
		}
		if u.GetID() <= 0 || u.GetType() != "Bot" {
			return account{}, fmt.Errorf("%s: %s is not a bot's account", doing, login)
		}
		return account{u.GetID(), login}, nil
	})
}

// Skew returns how far GitHub's clock was ahead of ours (behind: negative) at
// its latest answer, as exactly as the Date header tells, which is to the
// second; false before the first answer.
func (c *Client) Skew() (ahead time.Duration, known bool) { return c.clock.skew() }
