// Package server is `tac serve`: it reads the configuration, builds every
// adapter and hands them to the bot and to the HTTP edge. The demo and the
// tests start the very same Server; only addresses differ.
package server

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/grants/world"
)

// Config is a configuration that has been checked.
type Config struct {
	Listen string // host:port; port 0 takes a free one
	URL    string // where people reach it; empty: what it listens on

	GitHub GitHub
	Vault  Vault
	Slack  *Slack // nil: no Slack

	Sources Sources
	Limits  bot.Limits // how much may be asked for; zero values: the bot's defaults

	Resync      string // how often everything is looked at
	RemoveEvery time.Duration
	Workers     int
	Replica     string
}

// GitHub is the App and the grants repository.
type GitHub struct {
	URL            string // of the site: https://github.com
	APIURL         string // empty: that of github.com
	Owner, Repo    string
	Branch         string
	AppID          int64
	InstallationID int64
	ClientID       string
	ClientSecret   world.Secret
	PrivateKey     world.Secret
	WebhookSecret  world.Secret
}

// Vault is where credentials come from.
type Vault struct {
	Address  string
	CACert   []byte
	RoleID   string
	SecretID world.Secret

	// Where set-up put things; empty: vaultlease's defaults.
	Mount, Transit, TransitKey, TokenRole, AppRole string
}

// Slack is the workspace; its API address is Slack's own where empty.
type Slack struct {
	APIURL        string
	BotToken      world.Secret
	SigningSecret world.Secret
	Channel       string // where grants that were not asked for in Slack are told
	// AlarmChannels are told at once of every break-glass grant; empty:
	// Channel alone is.
	AlarmChannels []string
}

// written is the configuration file. Secrets are never in it: they are named
// as file:PATH or env:NAME.
type written struct {
	Listen strictyaml.Value[string] `yaml:"listen"`
	URL    strictyaml.Value[string] `yaml:"url"`
	GitHub struct {
		URL            strictyaml.Value[string] `yaml:"url"`
		APIURL         strictyaml.Value[string] `yaml:"api_url"`
		Repository     strictyaml.Value[string] `yaml:"repository,required"`
		Branch         strictyaml.Value[string] `yaml:"branch"`
		AppID          strictyaml.Value[int64]  `yaml:"app_id,required"`
		InstallationID strictyaml.Value[int64]  `yaml:"installation_id,required"`
		ClientID       strictyaml.Value[string] `yaml:"client_id,required"`
		ClientSecret   strictyaml.Value[secret] `yaml:"client_secret,required"`
		PrivateKey     strictyaml.Value[secret] `yaml:"private_key,required"`
		WebhookSecret  strictyaml.Value[secret] `yaml:"webhook_secret,required"`
	} `yaml:"github,required"`
	Vault struct {
		Address  strictyaml.Value[string] `yaml:"address,required"`
		CACert   strictyaml.Value[secret] `yaml:"ca_cert"`
		RoleID   strictyaml.Value[string] `yaml:"role_id,required"`
		SecretID strictyaml.Value[secret] `yaml:"secret_id,required"`

		Mount      strictyaml.Value[string] `yaml:"mount"`
		Transit    strictyaml.Value[string] `yaml:"transit"`
		TransitKey strictyaml.Value[string] `yaml:"transit_key"`
		TokenRole  strictyaml.Value[string] `yaml:"token_role"`
		AppRole    strictyaml.Value[string] `yaml:"approle"`
	} `yaml:"vault,required"`
	Slack *struct {
		APIURL        strictyaml.Value[string] `yaml:"api_url"`
		BotToken      strictyaml.Value[secret] `yaml:"bot_token,required"`
		SigningSecret strictyaml.Value[secret] `yaml:"signing_secret,required"`
		Channel       strictyaml.Value[string] `yaml:"channel"`

		AlarmChannels []strictyaml.Value[string] `yaml:"alarm_channels"`
	} `yaml:"slack"`
	Sources     writtenSources             `yaml:"sources"`
	Limits      writtenLimits              `yaml:"limits"`
	Resync      strictyaml.Value[string]   `yaml:"resync"`
	RemoveEvery strictyaml.Value[duration] `yaml:"remove_every"`
	Workers     strictyaml.Value[int]      `yaml:"workers"`
	Replica     strictyaml.Value[string]   `yaml:"replica"`
}

// writtenLimits is the part of the configuration file that bounds how much may
// be asked for. A 0 is the default, like a key that is left out: there is no
// tac without limits.
type writtenLimits struct {
	OpenPerPerson   strictyaml.Value[int] `yaml:"open_per_person"`
	DailyPerPerson  strictyaml.Value[int] `yaml:"daily_per_person"`
	OpenPerResource strictyaml.Value[int] `yaml:"open_per_resource"`
	Hourly          strictyaml.Value[int] `yaml:"hourly"`
}

type duration struct{ time.Duration }

func (d *duration) UnmarshalScalar(text string) (err error) {
	d.Duration, err = grants.ParseDuration(text)
	return err
}

// secret is where a secret is to be found.
type secret struct{ kind, name string }

func (s *secret) UnmarshalScalar(text string) error {
	kind, name, ok := strings.Cut(text, ":")
	if !ok || name == "" || kind != "file" && kind != "env" {
		// The text is not repeated: it may well be the secret itself.
		return errors.New("secrets do not stand here; write file:PATH or env:NAME")
	}
	s.kind, s.name = kind, name
	return nil
}

func (s secret) read(env func(string) string) (world.Secret, error) {
	if s.kind == "" {
		return world.Secret{}, nil
	}
	if s.kind == "env" {
		text := env(s.name)
		if text == "" {
			return world.Secret{}, fmt.Errorf("the environment variable %s is empty", s.name)
		}
		return world.NewSecret(text), nil
	}
	data, err := os.ReadFile(s.name)
	if err != nil {
		return world.Secret{}, fmt.Errorf("read a secret: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return world.Secret{}, fmt.Errorf("the file %s is empty", s.name)
	}
	return world.NewSecret(text), nil
}

// Read parses a configuration file and reports everything that is wrong with
// it, each with its place.
func Read(path string, src []byte, env func(string) string) (Config, error) {
	nodes, errs := strictyaml.Parse(path, src, strictyaml.Limits{Bytes: 64 << 10, Documents: 1, Depth: 5, Nodes: 300})
	if err := errs.Err(); err != nil {
		return Config{}, err
	}
	if len(nodes) == 0 {
		return Config{}, fmt.Errorf("%s:1:1: the file is empty; README.md shows a configuration", path)
	}
	var w written
	if err := nodes[0].Decode(&w).Err(); err != nil {
		return Config{}, err
	}
	return w.config(env)
}

func (w *written) config(env func(string) string) (Config, error) {
	r := reader{env: env}
	c := Config{
		Listen:      cmp.Or(w.Listen.V, "127.0.0.1:8080"),
		URL:         r.address(w.URL, "url"),
		Resync:      cmp.Or(w.Resync.V, "@every 1m"),
		RemoveEvery: w.RemoveEvery.V.Duration,
		Workers:     w.Workers.V,
		Replica:     w.Replica.V,
		GitHub: GitHub{
			URL: cmp.Or(r.address(w.GitHub.URL, "github.url"), "https://github.com"), APIURL: r.address(w.GitHub.APIURL, "github.api_url"),
			Branch: cmp.Or(w.GitHub.Branch.V, "main"), AppID: w.GitHub.AppID.V, InstallationID: w.GitHub.InstallationID.V, ClientID: w.GitHub.ClientID.V,
			ClientSecret: r.secret(w.GitHub.ClientSecret), PrivateKey: r.secret(w.GitHub.PrivateKey), WebhookSecret: r.secret(w.GitHub.WebhookSecret),
		},
		Vault: Vault{
			Address: r.address(w.Vault.Address, "vault.address"), RoleID: w.Vault.RoleID.V,
			CACert: []byte(r.secret(w.Vault.CACert).Reveal()), SecretID: r.secret(w.Vault.SecretID),
			Mount: w.Vault.Mount.V, Transit: w.Vault.Transit.V, TransitKey: w.Vault.TransitKey.V, TokenRole: w.Vault.TokenRole.V, AppRole: w.Vault.AppRole.V,
		},
	}
	c.Sources = r.sources(&w.Sources)
	owner, repo, ok := strings.Cut(w.GitHub.Repository.V, "/")
	if !ok || owner == "" || repo == "" || strings.Contains(repo, "/") {
		r.fault(w.GitHub.Repository.Pos, "github.repository: expected owner/name, as in acme/access")
	}
	c.GitHub.Owner, c.GitHub.Repo = owner, repo
	if s := w.Slack; s != nil {
		c.Slack = &Slack{APIURL: r.address(s.APIURL, "slack.api_url"), BotToken: r.secret(s.BotToken), SigningSecret: r.secret(s.SigningSecret), Channel: s.Channel.V}
		for _, channel := range s.AlarmChannels {
			c.Slack.AlarmChannels = append(c.Slack.AlarmChannels, r.channel(channel, "slack.alarm_channels"))
		}
	}
	c.Limits = r.limits(&w.Limits)
	if !w.RemoveEvery.Set {
		c.RemoveEvery = 10 * time.Second
	}
	if !w.Workers.Set {
		c.Workers = 8
	}
	if c.Workers < 1 || c.Workers > 64 {
		r.fault(w.Workers.Pos, "workers: expected 1 to 64, found %d", c.Workers)
	}
	if _, err := cron.ParseStandard(c.Resync); err != nil {
		r.fault(w.Resync.Pos, "resync: %v; write a schedule such as \"@every 1m\"", err)
	}
	return c, r.errs.Err()
}

type reader struct {
	env  func(string) string
	errs strictyaml.Errors
}

func (r *reader) fault(p strictyaml.Pos, format string, args ...any) {
	r.errs = append(r.errs, p.Errorf(format, args...))
}

func (r *reader) limits(w *writtenLimits) bot.Limits {
	most := func(v strictyaml.Value[int], name string, highest int) int {
		if v.V < 0 || v.V > highest {
			r.fault(v.Pos, "limits.%s: expected 1 to %d, or 0 for the default, found %d", name, highest, v.V)
		}
		return v.V
	}
	return bot.Limits{
		OpenPerPerson:   most(w.OpenPerPerson, "open_per_person", 100),
		DailyPerPerson:  most(w.DailyPerPerson, "daily_per_person", 1000),
		OpenPerResource: most(w.OpenPerResource, "open_per_resource", 1000),
		Hourly:          most(w.Hourly, "hourly", 1000), // a GitHub of one's own may take more than github.com
	}
}

// channel is a channel's id: Slack posts by name as well, and follows a
// renamed channel by id alone.
func (r *reader) channel(v strictyaml.Value[string], name string) string {
	if v.V == "" || strings.Trim(v.V, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != "" {
		r.fault(v.Pos, "%s: expected the id of a channel, as in C0INCIDENTS, found %s", name, strictyaml.Quote(v.V))
	}
	return v.V
}

func (r *reader) secret(v strictyaml.Value[secret]) world.Secret {
	s, err := v.V.read(r.env)
	if err != nil {
		r.fault(v.Pos, "%v", err)
	}
	return s
}

func (r *reader) address(v strictyaml.Value[string], name string) string {
	if !v.Set {
		return ""
	}
	u, err := url.Parse(v.V)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		r.fault(v.Pos, "%s: expected an address such as https://host, found %s", name, strictyaml.Quote(v.V))
	}
	return strings.TrimSuffix(v.V, "/")
}
