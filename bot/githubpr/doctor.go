package githubpr

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants/world"
)

// Expected is what Examine compares GitHub with.
type Expected struct {
	// Webhook is where GitHub has to send events; empty: not known here.
	Webhook string
	// Admin is an administrator's token, which sees what the App's own does
	// not: who may bypass a rule, and what Actions may do. It is used for
	// reading and nothing else; empty: those stay unknown.
	Admin world.Secret
}

// Examine looks at the App, its installation and the repository's rules, and
// returns what it found. It changes nothing.
//
// Reading is here; doctorjudge.go, doctorrules.go and doctorowners.go hold what is right and
// what is wrong, and call nobody.
func (c *Client) Examine(ctx context.Context, e Expected) []world.Finding {
	r := &reading{cfg: c.cfg, want: e}
	d := doctor{c: c, admin: c.adminClient(e.Admin)}
	repo := "repos/" + c.cfg.Owner + "/" + c.cfg.Repo
	r.appErr = d.get(ctx, c.app, "app", &r.app)
	r.installedErr = d.get(ctx, c.app, repo+"/installation", &r.installed)
	if r.appErr != nil || r.installedErr != nil || r.installed.suspended() {
		return r.judge()
	}
	r.hookErr = d.get(ctx, c.app, "app/hook/config", &r.hook)
	r.repoErr = d.get(ctx, d.best(), repo, &r.repo)
	rules := repo + "/rules/branches/"
	r.mainErr = d.get(ctx, c.api, rules+url.PathEscape(c.cfg.Branch)+"?per_page=100", &r.main)
	r.grantsErr = d.get(ctx, c.api, rules+grantBranch+"?per_page=100", &r.grants)
	r.rulesets = map[int64]rulesetReading{}
	for _, rule := range append(append([]branchRule{}, r.main...), r.grants...) {
		if _, done := r.rulesets[rule.RulesetID]; done || rule.RulesetID == 0 {
			continue
		}
		var one rulesetReading
		one.err = d.get(ctx, c.api, fmt.Sprintf("%s/rulesets/%d", repo, rule.RulesetID), &one.ruleset)
		if d.admin != nil && one.err == nil {
			var seen ruleset
			if one.err = d.get(ctx, d.admin, fmt.Sprintf("%s/rulesets/%d", repo, rule.RulesetID), &seen); one.err == nil {
				one.Bypass = seen.Bypass // whether we may bypass it ourselves stays as our own token sees it
			}
		}
		r.rulesets[rule.RulesetID] = one
	}
	r.owners = d.owners(ctx, repo, c.cfg.Branch)
	if d.admin != nil {
		r.actionsErr = d.get(ctx, d.admin, repo+"/actions/permissions/workflow", &r.actions)
	}
	return r.judge()
}

// grantBranch is a branch that only the App may touch. It need not exist.
const grantBranch = "grant/doctor"

type doctor struct {
	c     *Client
	admin *github.Client // nil: there is no administrator's token
}

func (d doctor) best() *github.Client {
	if d.admin != nil {
		return d.admin
	}
	return d.c.api
}

func (d doctor) get(ctx context.Context, client *github.Client, path string, into any) error {
	doing := "read " + path
	req, err := client.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if _, err := client.Do(ctx, req, into); err != nil {
		return d.c.failed(doing, err)
	}
	return nil
}

// adminClient is a client with somebody else's token, nil without one.
func (c *Client) adminClient(token world.Secret) *github.Client {
	if token.Empty() {
		return nil
	}
	return c.cfg.client(&withToken{next: &wire{next: newBase(), clock: c.clock}, token: token})
}

type withToken struct {
	next  http.RoundTripper
	token world.Secret
}

func (w *withToken) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+w.token.Reveal())
	return w.next.RoundTrip(req)
}

// outage reports that an error is for want of an answer, and not an answer.
func outage(err error) bool {
	var refused *answerError
	if errors.As(err, &refused) {
		return refused.status >= http.StatusInternalServerError
	}
	return err != nil
}

// reading is everything that was read, before anything is made of it. Of each
// pair either the value or the error holds.
type reading struct {
	cfg  Config
	want Expected

	app          app
	appErr       error
	installed    installation
	installedErr error
	hook         hookConfig
	hookErr      error
	repo         repository
	repoErr      error
	main         []branchRule // in force on the default branch
	mainErr      error
	grants       []branchRule // in force on a grant's branch
	grantsErr    error
	rulesets     map[int64]rulesetReading
	owners       ownersReading
	actions      workflowPermissions
	actionsErr   error
}

type app struct {
	ID          int64             `json:"id"`
	Slug        string            `json:"slug"`
	Permissions map[string]string `json:"permissions"`
	Events      []string          `json:"events"`
}

type installation struct {
	ID          int64             `json:"id"`
	Permissions map[string]string `json:"permissions"`
	Selection   string            `json:"repository_selection"`
	TargetType  string            `json:"target_type"`
	SuspendedAt *string           `json:"suspended_at"`
}

func (i installation) suspended() bool { return i.SuspendedAt != nil && *i.SuspendedAt != "" }

type hookConfig struct {
	URL         string `json:"url"`
	ContentType string `json:"content_type"`
	InsecureSSL any    `json:"insecure_ssl"` // "0", or 0
}

type repository struct {
	DefaultBranch string `json:"default_branch"`
	Squash        *bool  `json:"allow_squash_merge"`
	MergeCommit   *bool  `json:"allow_merge_commit"`
	Rebase        *bool  `json:"allow_rebase_merge"`
}

type branchRule struct {
	Type       string         `json:"type"`
	RulesetID  int64          `json:"ruleset_id"`
	Parameters ruleParameters `json:"parameters"`
}

type ruleParameters struct {
	CodeOwners   bool     `json:"require_code_owner_review"`
	Approvals    int      `json:"required_approving_review_count"`
	MergeMethods []string `json:"allowed_merge_methods"`
	Checks       []struct {
		Context     string `json:"context"`
		Integration *int64 `json:"integration_id"`
	} `json:"required_status_checks"`
}

type rulesetReading struct {
	ruleset
	err error
}

type ruleset struct {
	Name string `json:"name"`
	// Bypass is nil where the list is not for us to see.
	Bypass *[]bypassActor `json:"bypass_actors"`
	// CanBypass is what our own token may: always, pull_requests_only,
	// exempt or never.
	CanBypass string `json:"current_user_can_bypass"`
}

type bypassActor struct {
	ID   *int64 `json:"actor_id"`
	Type string `json:"actor_type"`
	Mode string `json:"bypass_mode"`
}

type workflowPermissions struct {
	CanApprove *bool `json:"can_approve_pull_request_reviews"`
}
