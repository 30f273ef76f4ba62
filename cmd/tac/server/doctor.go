package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/githubpr"
	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/bot/slackchat"
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
}

// NewDoctor builds the adapters. It talks to nobody yet.
func NewDoctor(c Config, now func() time.Time, log *slog.Logger) (*Doctor, error) {
	d := &Doctor{config: c}
	var err error
	d.forge, err = githubpr.New(githubpr.Config{
		APIURL: c.GitHub.APIURL, Owner: c.GitHub.Owner, Repo: c.GitHub.Repo, Branch: c.GitHub.Branch,
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
	return d, nil
}

// Examine looks at the whole set-up. With an administrator's token of GitHub
// it sees more; without one, what it cannot see it reports as unknown.
func (d *Doctor) Examine(ctx context.Context, admin world.Secret) []world.Finding {
	wanted, found := d.policies(ctx)
	found = append(d.vault.Examine(ctx, wanted), found...)
	expected := githubpr.Expected{Admin: admin}
	if d.config.URL != "" {
		expected.Webhook = d.config.URL + "/webhooks/github"
	}
	found = append(found, d.forge.Examine(ctx, expected)...)
	if d.chat != nil {
		found = append(found, d.chat.Examine(ctx, d.config.Slack.Channel)...)
	}
	return found
}

// policies reads the policies in force, and which resources they name.
func (d *Doctor) policies(ctx context.Context) ([]vaultlease.Wanted, []world.Finding) {
	f := &world.Findings{Area: "policies"}
	tip, err := d.repository.Fetch(ctx)
	var files []policies.File
	if err == nil {
		files, err = bot.Policies(ctx, d.repository, tip)
	}
	if err != nil {
		f.Silent("policies", err)
		return nil, f.List
	}
	set, findings := policies.Load(files, time.LoadLocation)
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
	return WantedOf(set), f.List
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
