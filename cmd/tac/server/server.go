package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	_ "time/tzdata" // policies name time zones, and not every machine has them

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/githubpr"
	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/webhooks"
)

// Server is one replica: the bot and its HTTP edge.
type Server struct {
	*Doctor
	Bot *bot.Bot

	log      *slog.Logger
	listener net.Listener
	http     *http.Server
	botID    atomic.Int64
	ready    atomic.Pointer[error]

	unchecked bool
	looked    atomic.Bool // the first look at the set-up is over, or was waited for long enough
	passed    atomic.Bool // the set-up was seen to be right once
	held      holding
}

// Options are what differs between production, the demo and the tests.
type Options struct {
	Now func() time.Time // of policy and leases; the wall clock in production
	Log *slog.Logger

	// Unchecked leaves the set-up unlooked at: for tests that are about
	// something else, and make it wrong on purpose.
	Unchecked bool

	// Steps hears of every step done, Alert of what somebody should be
	// woken for.
	Steps func(id grants.ID, step grants.Step, err error)
	Alert func(id grants.ID, why string)
}

var errStarting = errors.New("tac is starting")

// New builds a replica and starts to listen, but neither serves nor works
// before Run.
func New(c Config, o Options) (*Server, error) {
	s := &Server{log: o.Log}
	starting := errStarting
	s.ready.Store(&starting)
	var err error
	if s.Doctor, err = NewDoctor(c, o.Now, o.Log); err != nil {
		return nil, err
	}
	s.held.again = make(chan struct{}, 1)
	held, told := s.held.on, s.held.why
	if s.unchecked = o.Unchecked; s.unchecked {
		held, told = notHeld, notTold
	}
	b := bot.Config{
		Repository: s.repository, Forge: s.forge, Vault: s.vault, Pagers: s.pagers, Tickets: s.tickets, Tokens: s.forge, Branch: c.GitHub.Branch,
		Site:  strings.TrimRight(c.GitHub.URL, "/") + "/" + c.GitHub.Owner + "/" + c.GitHub.Repo,
		Zones: time.LoadLocation, Now: o.Now, Log: o.Log,
		Resync: c.Resync, RemoveEvery: c.RemoveEvery, Workers: c.Workers, Limits: c.Limits,
		Hold: held, Steps: o.Steps, Alert: o.Alert,
	}
	var edge webhooks.SlackEdge
	if c.Slack != nil {
		if edge, err = s.setUpSlack(&b); err != nil {
			return nil, fmt.Errorf("set up Slack: %w", err)
		}
	}
	if s.Bot, err = bot.New(b); err != nil {
		return nil, err
	}
	return s, s.setUpHTTP(edge, told)
}

func replicaName(c Config) string {
	if c.Replica != "" {
		return c.Replica
	}
	return "tac"
}

func (s *Server) setUpSlack(b *bot.Config) (webhooks.SlackEdge, error) {
	c := s.config.Slack
	b.Channel, b.Chat = c.Channel, s.chat
	if b.AlarmChannels = c.AlarmChannels; len(b.AlarmChannels) == 0 && c.Channel != "" {
		b.AlarmChannels = []string{c.Channel}
	}
	verifier, err := slackchat.NewVerifier(c.SigningSecret, time.Now)
	if err != nil {
		return nil, err
	}
	edge := slackEdge{verifier, s.chat}
	b.Workspace = edge.Team
	return edge, nil
}

func (s *Server) setUpHTTP(edge webhooks.SlackEdge, told func() error) error {
	c := s.config
	handler, err := webhooks.New(webhooks.Config{
		Bot: s.Bot, Identity: s.forge,
		IsRefused:     func(err error) bool { return errors.Is(err, githubpr.ErrNotOurToken) },
		WebhookSecret: c.GitHub.WebhookSecret, Repository: c.GitHub.Owner + "/" + c.GitHub.Repo, Branch: c.GitHub.Branch,
		BotID: s.botID.Load, Slack: edge, ClientID: c.GitHub.ClientID, GitHubURL: c.GitHub.URL,
		Ready: s.readiness, Held: told, Metrics: prometheus.NewRegistry(), Log: s.log,
	})
	if err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", c.Listen); err != nil {
		return fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      2 * time.Minute, // a claim waits for Vault and its database
		IdleTimeout:       2 * time.Minute,
	}
	return nil
}

// URL returns where the server listens.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Run serves and works until ctx ends, then finishes what is under way. Where
// the set-up is wrong and nothing is alive it ends by itself with *WrongSetUp.
func (s *Server) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var working sync.WaitGroup
	var refused error
	working.Go(func() { s.Bot.Run(ctx) })
	working.Go(func() { s.becomeReady(ctx) })
	if !s.unchecked {
		working.Go(func() {
			if refused = s.watch(ctx); refused != nil {
				stop()
			}
		})
	}
	working.Go(func() {
		<-ctx.Done()
		// ctx is over; what is under way gets a few seconds of its own.
		last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.http.Shutdown(last); err != nil {
			s.log.Warn("some requests were cut off", "error", err)
		}
	})
	err := s.http.Serve(s.listener)
	stop()
	working.Wait()
	switch {
	case refused != nil:
		return refused
	case errors.Is(err, http.ErrServerClosed):
		return nil
	}
	return fmt.Errorf("serve HTTP: %w", err)
}

// becomeReady finds out that GitHub knows us; until then /readyz says no.
func (s *Server) becomeReady(ctx context.Context) {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		id, err := s.forge.Bot(ctx)
		if err == nil {
			s.botID.Store(id)
			var none error
			s.ready.Store(&none)
			return
		}
		s.log.Warn("GitHub does not know us yet", "error", err)
		waiting := errors.New("GitHub cannot be reached, or does not know this App")
		s.ready.Store(&waiting)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// Abandon stops listening without having run.
func (s *Server) Abandon() error { return s.listener.Close() }
