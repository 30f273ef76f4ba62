package server

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/githubpr"
	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/bot/oncall"
	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/bot/tickets"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// Doctor is every adapter of a configuration, and looks at what is behind
// them. A Server has one; `tac doctor` is one.
type Doctor struct {
	config     Config
	forge      *githubpr.Client
	repository *gitstore.Store
	vault      *vaultlease.Client
	chat       *slackchat.Client // nil: no Slack
	pagers     *oncall.Client
	tickets    *tickets.Client
}

// NewDoctor builds the adapters. It talks to nobody yet.
func NewDoctor(c Config, now func() time.Time, log *slog.Logger) (*Doctor, error) {
	d := &Doctor{config: c}
	var err error
	d.forge, err = githubpr.New(githubpr.Config{
		APIURL: c.GitHub.APIURL, URL: c.GitHub.URL, Owner: c.GitHub.Owner, Repo: c.GitHub.Repo, Branch: c.GitHub.Branch,
		AppID: c.GitHub.AppID, InstallationID: c.GitHub.InstallationID, PrivateKey: c.GitHub.PrivateKey,
		ClientID: c.GitHub.ClientID, ClientSecret: c.GitHub.ClientSecret, Now: now,
	})
	if err != nil {
		return nil, fmt.Errorf("set up GitHub: %w", err)
	}
	d.repository, err = gitstore.New(gitstore.Config{
		URL:    c.GitHub.URL + "/" + c.GitHub.Owner + "/" + c.GitHub.Repo + ".git",
		Branch: c.GitHub.Branch, Token: d.forge.Token,
		AuthorName: "tac", AuthorEmail: "tac@tac.invalid",
	})
	if err != nil {
		return nil, fmt.Errorf("set up the grants repository: %w", err)
	}
	d.vault, err = vaultlease.New(vaultlease.Config{
		Address: c.Vault.Address, CACert: c.Vault.CACert, RoleID: c.Vault.RoleID, SecretID: c.Vault.SecretID,
		Mount: c.Vault.Mount, Transit: c.Vault.Transit, TransitKey: c.Vault.TransitKey, TokenRole: c.Vault.TokenRole, AppRole: c.Vault.AppRole,
		Replica: replicaName(c), Now: now, Log: log,
	})
	if err != nil {
		return nil, fmt.Errorf("set up Vault: %w", err)
	}
	if c.Slack != nil {
		if d.chat, err = slackchat.New(slackchat.Config{APIURL: c.Slack.APIURL, BotToken: c.Slack.BotToken}); err != nil {
			return nil, fmt.Errorf("set up Slack: %w", err)
		}
	}
	return d, d.setUpSources(now)
}

// Examine looks at the whole set-up. With an administrator's token of GitHub
// it sees more; without one, what it cannot see it reports as unknown.
func (d *Doctor) Examine(ctx context.Context, admin world.Secret) []world.Finding {
	found, _ := d.examine(ctx, admin, nil, nil)
	return append(found, d.examineSources(ctx)...)
}

// examine looks at the whole set-up, and returns with what it found which
// resources it looked at: those that the policies name, or known where that
// cannot be read, and more. Each area has its own time.
func (d *Doctor) examine(ctx context.Context, admin world.Secret, known, more []vaultlease.Wanted) (found []world.Finding, looked []vaultlease.Wanted) {
	within := func(look func(ctx context.Context) []world.Finding) []world.Finding {
		ctx, cancel := context.WithTimeout(ctx, mostLooking)
		defer cancel()
		return look(ctx)
	}
	named := within(func(ctx context.Context) (all []world.Finding) {
		var ok bool
		if looked, ok, all = d.policies(ctx); !ok {
			looked = known
		}
		return all
	})
	looked = withMore(looked, more)
	found = append(within(func(ctx context.Context) []world.Finding { return d.vault.Examine(ctx, looked) }), named...)
	expected := githubpr.Expected{Admin: admin}
	if d.config.URL != "" {
		expected.Webhook = d.config.URL + "/webhooks/github"
	}
	found = append(found, within(func(ctx context.Context) []world.Finding { return d.forge.Examine(ctx, expected) })...)
	if d.chat != nil {
		found = append(found, within(func(ctx context.Context) []world.Finding { return d.chat.Examine(ctx, d.config.Slack.Channel) })...)
	}
	return found, looked
}

// withMore adds targets that are not among the wanted, under names of their
// own: what is wrong with them must not hold the resources of now.
func withMore(wanted, more []vaultlease.Wanted) []vaultlease.Wanted {
	h := &hold{looked: slices.Clone(wanted)}
	for _, w := range more {
		if _, ok := h.find(w.Resource, w.Target); !ok {
			w.Resource = earlier(w.Resource)
			h.looked = append(h.looked, w)
		}
	}
	return h.looked
}

// policies reads the policies in force, and which resources they name; not ok
// where that cannot be told.
func (d *Doctor) policies(ctx context.Context) (wanted []vaultlease.Wanted, ok bool, found []world.Finding) {
	f := &world.Findings{Area: "policies"}
	set, findings, err := d.set(ctx)
	if err != nil {
		f.Silent("policies", err)
		return nil, false, f.List
	}
	findings = append(findings, set.Lint()...)
	broken := false
	for _, one := range findings {
		if one.Severity == policies.SeverityError {
			broken = true
			f.Wrong(fmt.Sprintf("%s:%d", one.File, one.Line), "tac policy lint", "%s", one.Message)
		}
	}
	if !broken {
		f.Fine("policies", "%s loads, and lint finds no error", d.config.GitHub.Branch)
	}
	if err := set.Err(); err != nil {
		// As with no answer, nothing was learned: no hold may end by it.
		f.Unseen("resources", "tac policy lint", "which resources there are, and so whether they are set up right, cannot be told: %v", err)
		f.List[len(f.List)-1].Outage = true
		return nil, false, f.List
	}
	return WantedOf(set), true, f.List
}

// set compiles the policies in force.
func (d *Doctor) set(ctx context.Context) (*policies.Set, []policies.Finding, error) {
	tip, err := d.repository.Fetch(ctx)
	if err != nil {
		return nil, nil, err
	}
	files, err := bot.Policies(ctx, d.repository, tip)
	if err != nil {
		return nil, nil, err
	}
	set, findings := policies.Load(files, time.LoadLocation)
	return set, findings, nil
}

// WantedOf returns the resources that policies name, with the longest time
// for which each may be granted.
func WantedOf(set *policies.Set) []vaultlease.Wanted {
	var all []vaultlease.Wanted
	for _, r := range set.Resources() {
		all = append(all, vaultlease.Wanted{Resource: r.Name, Target: r.Vault, Longest: set.Longest(r.Name)})
	}
	return all
}
