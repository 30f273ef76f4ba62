// Package webhooks is the edge of tac: everything that comes in over HTTP
// from GitHub, from Slack and from people's command lines.
//
//	github.go      GitHub's events: verified, then only a hint where to look
//	slack.go       slash commands; press.go: buttons and forms;
//	               chattext.go: what people are told there
//	api.go         the JSON interface, described by openapi.json
//	answer.go      of it, what people answer to requests, and extensions;
//	               me.go: what they do about themselves
//	body.go        the strict reader of its bodies
//	refusal.go     which refusal is which status
//	middleware.go  what holds for every request: ids, headers, limits, logs
//
// Nothing here decides who may do what: the bot does. The edge proves who is
// speaking and no more. Three orderings matter. A signature is checked on the
// raw bytes before anything of them is read. GitHub's events are answered at
// once, since they carry no truth. People are answered only once what they
// asked for is durable.
package webhooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Bot is what the edge needs of the bot. Refusals are *bot.Error with a
// sentence that is safe to show; any other error is our own fault.
type Bot interface {
	Request(ctx context.Context, a bot.Ask) (bot.Answer, error)
	Claim(ctx context.Context, who grants.Principal, id grants.ID, a bot.ClaimAsk) (*world.Credential, bot.View, error)
	Drop(ctx context.Context, who grants.Principal, id grants.ID) (bot.View, error)
	Revoke(ctx context.Context, who grants.Principal, id grants.ID, reason string) (bot.View, error)
	// Approve and Deny submit a review on GitHub as who, on the commit that
	// they were shown.
	Approve(ctx context.Context, who grants.Principal, id grants.ID, a bot.AnswerAsk) (bot.View, error)
	Deny(ctx context.Context, who grants.Principal, id grants.ID, a bot.AnswerAsk) (bot.View, error)
	// Extend asks for a grant to last longer; without a duration, by what
	// its policy adds at once.
	Extend(ctx context.Context, who grants.Principal, id grants.ID, a bot.ExtendAsk) (bot.Answer, error)
	List(ctx context.Context, who grants.Principal) ([]bot.View, error)
	Show(ctx context.Context, who grants.Principal, id grants.ID) (bot.View, error)
	Explain(ctx context.Context, who grants.Principal, id grants.ID) (bot.Explanation, error)
	// PersonOfChat returns the person behind a chat user id, from the
	// reviewed People document.
	PersonOfChat(ctx context.Context, user string) (grants.Principal, error)
	// LinkCode returns a code that proves, typed where somebody is signed in
	// to tac, that a chat account is theirs, and until when it does.
	LinkCode(ctx context.Context, team, user string) (code string, until time.Time, err error)
	Personal
	// WakePull, WakeMain and WakeAll ask for a look, soon. They never wait.
	WakePull(number int)
	WakeMain()
	WakeAll()
}

// Identity proves whose token it is.
type Identity interface {
	User(ctx context.Context, token world.Secret) (grants.Principal, error)
	// Recent returns whose token it was proved to be a short while ago,
	// where that is known. It serves to end access while nobody can be
	// asked, and nothing else.
	Recent(token world.Secret) (grants.Principal, bool)
}

// Config is what the edge is made of. Only Slack may be left out.
type Config struct {
	Bot      Bot
	Identity Identity
	// IsRefused reports that an error of Identity means: this token is not
	// one of ours. Any other error means that it could not be found out.
	IsRefused func(error) bool

	// WebhookSecret signs GitHub's deliveries.
	WebhookSecret world.Secret
	Repository    string // of the grants, as owner/name; events of others are ignored
	Branch        string // its default branch, as in "main"
	// BotID returns the numeric user id under which our App acts; 0: not
	// known yet. It only saves work: what we did ourselves needs no look.
	BotID func() int64

	// Slack is nil where chat is not set up; its addresses then answer 404.
	Slack SlackEdge

	ClientID  string // of our GitHub App, for the command line's device flow
	GitHubURL string // where people sign in, as in https://github.com

	// Ready returns nil once the bot works, else a sentence why not yet.
	// The sentence is shown to anybody who asks.
	Ready func() error
	// Held returns why new access is held back, for everything or for some
	// of it, in a sentence for anybody; nil: it is not. Who is held back is
	// ready nevertheless: access is ended through the same addresses. May be
	// left out.
	Held    func() error
	Metrics *prometheus.Registry
	Log     *slog.Logger
}

func (c Config) validate() error {
	var problems []error
	missing := func(what string, is bool) {
		if is {
			problems = append(problems, fmt.Errorf("%s is missing", what))
		}
	}
	missing("the bot", c.Bot == nil)
	missing("the identity check", c.Identity == nil)
	missing("what tells refused tokens (IsRefused)", c.IsRefused == nil)
	// Anybody can sign with an empty secret.
	missing("the webhook secret", strings.TrimSpace(c.WebhookSecret.Reveal()) == "")
	missing("the repository, as owner/name,", strings.Count(strings.Trim(c.Repository, "/"), "/") != 1)
	missing("the default branch", c.Branch == "")
	missing("the bot's own user id (BotID)", c.BotID == nil)
	missing("the App's client id", c.ClientID == "")
	missing("GitHub's address", c.GitHubURL == "")
	missing("the readiness check", c.Ready == nil)
	missing("the metrics registry", c.Metrics == nil)
	missing("the log", c.Log == nil)
	return errors.Join(problems...)
}

// edge is the configured handlers.
type edge struct {
	Config
	metrics *metrics
	seen    *deliveries
}

// New returns the handler of everything. A Config that cannot work is an
// error that names all that is wrong with it. Timeouts are up to the server
// that runs the handler; it should give claims two minutes.
func New(c Config) (http.Handler, error) { return newEngine(c) }

func newEngine(c Config) (*gin.Engine, error) {
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("configure the http edge: %w", err)
	}
	if c.Held == nil {
		c.Held = func() error { return nil }
	}
	m, err := newMetrics(c.Metrics, c.Held)
	if err != nil {
		return nil, fmt.Errorf("configure the http edge: %w", err)
	}
	e := &edge{Config: c, metrics: m, seen: newDeliveries(mostDeliveries)}

	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	// Nobody's X-Forwarded-For is believed, and paths are taken as they are.
	if err := r.SetTrustedProxies(nil); err != nil {
		return nil, fmt.Errorf("configure the http edge: %w", err)
	}
	r.RedirectTrailingSlash = false
	r.HandleMethodNotAllowed = true
	r.Use(named, e.observed, e.recovered)
	r.NoRoute(func(c *gin.Context) { e.refuse(c, bot.CodeNotFound, "there is nothing at this address") })
	r.NoMethod(func(c *gin.Context) { e.refuse(c, codeMethod, "this address does not take that method") })
	e.routes(r)
	return r, nil
}

const (
	mostEvent = 1 << 20  // bytes of a delivery by GitHub or Slack
	mostAsk   = 64 << 10 // bytes of a call of the API
)

func (e *edge) routes(r *gin.Engine) {
	r.GET("/", landing)
	r.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	r.GET("/readyz", e.readyz)
	r.GET("/metrics", gin.WrapH(promhttp.HandlerFor(e.Metrics, promhttp.HandlerOpts{})))

	hooks := r.Group("/webhooks", limited(mostEvent))
	hooks.POST("/github", e.github)
	if e.Slack != nil {
		hooks.POST("/slack/commands", e.slackCommand)
		hooks.POST("/slack/interactions", e.slackPress)
		hooks.POST("/slack/events", e.slackEvent)
	}

	api := r.Group(apiPath, limited(mostAsk))
	api.GET("/openapi.json", description)
	api.GET("/login", e.login)
	api.GET("/whoami", e.as(e.whoami))
	e.aboutMe(api)
	api.POST("/requests", e.as(e.request))
	api.GET("/grants", e.as(e.list))
	api.GET("/grants/:id", e.as(e.show))
	api.GET("/grants/:id/explanation", e.as(e.explain))
	api.POST("/grants/:id/claim", e.as(e.claim))
	api.POST("/grants/:id/approve", e.as(e.approve))
	api.POST("/grants/:id/deny", e.as(e.deny))
	api.POST("/grants/:id/extend", e.as(e.extend))
	api.POST("/grants/:id/drop", e.ending(e.drop))
	api.POST("/grants/:id/revoke", e.ending(e.revoke))
}

const apiPath = "/api/v1"

func (e *edge) readyz(c *gin.Context) {
	if err := e.Ready(); err != nil {
		c.String(http.StatusServiceUnavailable, "%s\n", err)
		return
	}
	if err := e.Held(); err != nil {
		c.String(http.StatusOK, "ready\nheld: %s\n", err)
		return
	}
	c.String(http.StatusOK, "ready\n")
}

const landingPage = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>tac</title></head>
<body>
<h1>tac</h1>
<p>Access for a while, by pull request: <code>tac login --server ADDRESS</code>, then
<code>tac access request RESOURCE --duration 1h --reason "..."</code>.</p>
<ul>
<li><a href="/api/v1/openapi.json">The API</a></li>
<li><a href="/readyz">Is it ready?</a></li>
</ul>
</body>
</html>
`

func landing(c *gin.Context) {
	c.Data(http.StatusOK, "text/html; charset=utf-8", []byte(landingPage))
}
