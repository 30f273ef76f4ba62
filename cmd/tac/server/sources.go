package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/tigeraccess/tac/bot/oncall"
	"github.com/tigeraccess/tac/bot/tickets"
	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// Sources is where facts come from besides GitHub's teams. What is nil is not
// set up; a policy that asks for it sends requests to review.
type Sources struct {
	PagerDuty    *Source
	Opsgenie     *Source
	Linear       *Source
	Jira         *Jira
	GitHubIssues *GitHubIssues
}

// Source is one service that is asked.
type Source struct {
	URL   string // empty: the service's public address
	Token world.Secret
}

// Jira is a site of Jira: in the cloud where there is an e-mail address.
type Jira struct {
	Source
	Email                  string
	ChangeStart, ChangeEnd string // ids of the fields that hold change windows
}

// GitHubIssues is repositories whose issues are tickets.
type GitHubIssues struct {
	Source
	Repositories []string
	Default      string // the one that #12 is an issue of
}

type writtenSource struct {
	URL   strictyaml.Value[string] `yaml:"url"`
	Token strictyaml.Value[secret] `yaml:"token,required"`
}

// writtenSources is the part of the configuration file that is about sources.
type writtenSources struct {
	PagerDuty *writtenSource `yaml:"pagerduty"`
	Opsgenie  *writtenSource `yaml:"opsgenie"`
	Linear    *writtenSource `yaml:"linear"`
	Jira      *struct {
		URL         strictyaml.Value[string] `yaml:"url,required"`
		Email       strictyaml.Value[string] `yaml:"email"`
		Token       strictyaml.Value[secret] `yaml:"token,required"`
		ChangeStart strictyaml.Value[string] `yaml:"change_start"`
		ChangeEnd   strictyaml.Value[string] `yaml:"change_end"`
	} `yaml:"jira"`
	GitHubIssues *struct {
		URL          strictyaml.Value[string]   `yaml:"url"`
		Token        strictyaml.Value[secret]   `yaml:"token,required"`
		Repositories []strictyaml.Value[string] `yaml:"repositories,required"`
		Default      strictyaml.Value[string]   `yaml:"default"`
	} `yaml:"github_issues"`
}

func (r *reader) sources(w *writtenSources) (s Sources) {
	source := func(name string, w *writtenSource) *Source {
		if w == nil {
			return nil
		}
		return &Source{r.address(w.URL, "sources."+name+".url"), r.secret(w.Token)}
	}
	s.PagerDuty, s.Opsgenie, s.Linear = source("pagerduty", w.PagerDuty), source("opsgenie", w.Opsgenie), source("linear", w.Linear)
	if j := w.Jira; j != nil {
		s.Jira = &Jira{
			Source: Source{r.address(j.URL, "sources.jira.url"), r.secret(j.Token)},
			Email:  j.Email.V, ChangeStart: j.ChangeStart.V, ChangeEnd: j.ChangeEnd.V,
		}
	}
	if g := w.GitHubIssues; g != nil {
		s.GitHubIssues = &GitHubIssues{Source: Source{r.address(g.URL, "sources.github_issues.url"), r.secret(g.Token)}, Default: g.Default.V}
		for _, name := range g.Repositories {
			s.GitHubIssues.Repositories = append(s.GitHubIssues.Repositories, name.V)
		}
	}
	return s
}

// setUpSources builds the adapters of what is configured.
func (d *Doctor) setUpSources(now func() time.Time) (err error) {
	s, pagers, trackers := d.config.Sources, oncall.Config{Now: now}, tickets.Config{Now: now}
	if p := s.PagerDuty; p != nil {
		pagers.PagerDutyURL, pagers.PagerDutyToken = p.URL, p.Token
	}
	if p := s.Opsgenie; p != nil {
		pagers.OpsgenieURL, pagers.OpsgenieKey = p.URL, p.Token
	}
	if j := s.Jira; j != nil {
		trackers.Jira = tickets.JiraConfig{URL: j.URL, Email: j.Email, Token: j.Token, ChangeStart: j.ChangeStart, ChangeEnd: j.ChangeEnd}
	}
	if l := s.Linear; l != nil {
		trackers.Linear = tickets.LinearConfig{URL: l.URL, Token: l.Token}
	}
	if g := s.GitHubIssues; g != nil {
		// Not by the App's own tokens: these reach the grants repository alone.
		trackers.GitHub = tickets.GitHubConfig{
			URL: cmp.Or(g.URL, d.config.GitHub.APIURL), HTTP: bearing(g.Token), Repositories: g.Repositories, DefaultRepository: g.Default,
		}
	}
	if d.pagers, err = oncall.New(pagers); err != nil {
		return fmt.Errorf("set up the sources of facts: %w", err)
	}
	if d.tickets, err = tickets.New(trackers); err != nil {
		return fmt.Errorf("set up the sources of facts: %w", err)
	}
	return nil
}

func bearing(token world.Secret) *http.Client {
	return oauth2.NewClient(context.Background(), oauth2.StaticTokenSource(&oauth2.Token{AccessToken: token.Reveal()}))
}

// examineSources looks at the sources, and at what the policies in force ask
// of them. What is wrong with one holds nothing: it sends requests to review.
func (d *Doctor) examineSources(ctx context.Context) []world.Finding {
	ctx, cancel := context.WithTimeout(ctx, mostLooking)
	defer cancel()
	var needs policies.Needs
	if set, _, err := d.set(ctx); err == nil {
		needs = set.AllNeeds()
	}
	return append(d.pagers.Check(ctx, needs.Schedules...), d.tickets.Check(ctx, needs.Trackers...)...)
}
