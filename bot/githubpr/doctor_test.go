package githubpr

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/grants/world"
)

func number(n int64) *int64 { return &n }

func switched(on bool) *bool { return &on }

// wellSetUp is what an administrator's token reads where nothing is wrong.
func wellSetUp() *reading {
	app := bypassActor{ID: number(4711), Type: "Integration", Mode: "always"}
	none := []bypassActor{}
	var main, grants []branchRule
	if json.Unmarshal([]byte(`[
		{"type":"deletion","ruleset_id":1},{"type":"non_fast_forward","ruleset_id":1},
		{"type":"pull_request","ruleset_id":2,"parameters":{"require_code_owner_review":true,"required_approving_review_count":0,"allowed_merge_methods":["squash"]}},
		{"type":"required_signatures","ruleset_id":2},
		{"type":"required_status_checks","ruleset_id":2,"parameters":{"required_status_checks":[{"context":"tac/policy","integration_id":4711}]}}]`), &main) != nil ||
		json.Unmarshal([]byte(`[{"type":"creation","ruleset_id":3},{"type":"update","ruleset_id":3}]`), &grants) != nil {
		panic("the test's own JSON")
	}
	permissions := func() map[string]string {
		return map[string]string{"contents": "write", "pull_requests": "write", "checks": "write", "issues": "write", "metadata": "read", "members": "read"}
	}
	return &reading{
		cfg:       Config{APIURL: PublicAPI, Owner: "acme", Repo: "access", Branch: "main", AppID: 4711, InstallationID: 8001},
		want:      Expected{Webhook: "https://tac.test/webhooks/github", Admin: world.NewSecret("x")},
		app:       app4711(permissions()),
		installed: installation{ID: 8001, Permissions: permissions(), Selection: "selected", TargetType: "Organization"},
		hook:      hookConfig{URL: "https://tac.test/webhooks/github", ContentType: "json", InsecureSSL: "0"},
		repo:      repository{DefaultBranch: "main", Squash: switched(true), MergeCommit: switched(false), Rebase: switched(false)},
		main:      main, grants: grants,
		rulesets: map[int64]rulesetReading{
			1: {ruleset: ruleset{Name: "history", Bypass: &none, CanBypass: "never"}},
			2: {ruleset: ruleset{Name: "default", Bypass: &[]bypassActor{app}, CanBypass: "always"}},
			3: {ruleset: ruleset{Name: "grants", Bypass: &[]bypassActor{app}, CanBypass: "always"}},
		},
		owners:  ownersReading{path: "CODEOWNERS", text: "# security decides\n/policies/ @acme/security\n/.github/ @acme/security\n/CODEOWNERS @acme/security\n"},
		actions: workflowPermissions{CanApprove: switched(false)},
	}
}

func app4711(permissions map[string]string) app {
	return app{ID: 4711, Slug: "tac", Permissions: permissions, Events: []string{"push", "pull_request", "pull_request_review", "check_run", "membership", "organization", "team"}}
}

func TestEachWrongSetUpIsNamedWithItsMend(t *testing.T) {
	lets := func(r *reading, id int64, who ...bypassActor) {
		set := r.rulesets[id]
		set.Bypass = &who
		r.rulesets[id] = set
	}
	without := func(rules *[]branchRule, kind string) {
		var kept []branchRule
		for _, b := range *rules {
			if b.Type != kind {
				kept = append(kept, b)
			}
		}
		*rules = kept
	}
	admins := bypassActor{ID: number(5), Type: "RepositoryRole"}
	for name, c := range map[string]struct {
		spoil  func(r *reading)
		status world.Standing
		says   string
		mend   string
	}{
		"nothing":                        {func(*reading) {}, world.Fine, "Actions may not approve", ""},
		"a permission too few":           {func(r *reading) { r.installed.Permissions["checks"] = "read" }, world.Problem, "checks is read; tac needs write", "installations : accept"},
		"a permission asked for nowhere": {func(r *reading) { delete(r.app.Permissions, "members"); delete(r.installed.Permissions, "members") }, world.Problem, "members is not granted", "apps/tac/permissions : members: read"},
		"a permission too many":          {func(r *reading) { r.installed.Permissions["administration"] = "write" }, world.Problem, "administration is write; tac needs nothing of it", "administration: no access"},
		"more of a permission":           {func(r *reading) { r.app.Permissions["members"] = "write" }, world.Problem, "members is write; tac needs read", "members: read"},
		"all repositories":               {func(r *reading) { r.installed.Selection = "all" }, world.Problem, "every repository of acme", "only select repositories"},
		"not installed":                  {func(r *reading) { r.installedErr = &answerError{status: 404} }, world.Problem, "not installed on acme/access", "/installations"},
		"a wrong key":                    {func(r *reading) { r.appErr = &answerError{status: 401} }, world.Problem, "does not know this App", "app_id"},
		"another installation":           {func(r *reading) { r.cfg.InstallationID = 1 }, world.Problem, "names the installation 1", "installation_id: 8001"},
		"no answer":                      {func(r *reading) { r.appErr = errors.New("connection refused") }, world.Problem, "no answer", "api_url"},
		"events not subscribed to":       {func(r *reading) { r.app.Events = []string{"push"} }, world.Problem, "hears nothing of check_run, membership, organization, pull_request, pull_request_review, team", "subscribe to"},
		"a webhook elsewhere":            {func(r *reading) { r.hook.URL = "https://old.test/" }, world.Problem, "to https://old.test/", "webhook URL https://tac.test"},
		"a webhook that trusts anybody":  {func(r *reading) { r.hook.InsecureSSL = "1" }, world.Problem, "does not verify", "SSL"},
		"another default branch":         {func(r *reading) { r.repo.DefaultBranch = "master" }, world.Problem, "the default branch is master", "branch: master"},
		"merge commits": {func(r *reading) { r.repo.MergeCommit = switched(true); r.main[2].Parameters.MergeMethods = nil }, world.Problem,
			"other than by squash", "gh api -X PATCH repos/acme/access -F allow_squash_merge=true"},
		"merge methods not shown":            {func(r *reading) { r.repo.Squash = nil; r.main[2].Parameters.MergeMethods = nil }, world.Unseen, "does not see how", "allow_squash_merge"},
		"no rules":                           {func(r *reading) { r.main, r.grants = nil, nil }, world.Problem, "main takes pushes without a pull request", "gh api -X POST repos/acme/access/rulesets"},
		"force-pushes":                       {func(r *reading) { without(&r.main, "non_fast_forward") }, world.Problem, "main may be force-pushed", `"name":"history"`},
		"force-pushes by admins":             {func(r *reading) { lets(r, 1, admins) }, world.Problem, `"history" (1) lets RepositoryRole 5 bypass it`, "PUT repos/acme/access/rulesets/1"},
		"no code owners":                     {func(r *reading) { r.main[2].Parameters.CodeOwners = false }, world.Problem, "could change policies/", "rulesets/2"},
		"an approval for all":                {func(r *reading) { r.main[2].Parameters.Approvals = 1 }, world.Problem, "1 approvals of every pull request", "rulesets/2"},
		"unsigned commits":                   {func(r *reading) { without(&r.main, "required_signatures") }, world.Problem, "need not be signed", "required_signatures"},
		"a merge queue":                      {func(r *reading) { r.main = append(r.main, branchRule{Type: "merge_queue"}) }, world.Problem, "merge queue", "merge queue"},
		"no check":                           {func(r *reading) { without(&r.main, "required_status_checks") }, world.Problem, "tac/policy is not required", "rulesets/2"},
		"a check by anybody":                 {func(r *reading) { r.main[4].Parameters.Checks[0].Integration = nil }, world.Problem, "may come from anybody", `"integration_id":4711`},
		"a check by another app":             {func(r *reading) { r.main[4].Parameters.Checks[0].Integration = number(1) }, world.Problem, "expected of the App 1", "rulesets/2"},
		"admins past the rules":              {func(r *reading) { lets(r, 2, bypassActor{ID: number(4711), Type: "Integration"}, admins) }, world.Problem, "lets RepositoryRole 5 bypass it; only the App may", "rulesets/2"},
		"an App that cannot remove":          {func(r *reading) { s := r.rulesets[2]; s.CanBypass = "never"; r.rulesets[2] = s }, world.Problem, "cannot push its removal commits", "rulesets/2"},
		"a bypass list not shown":            {func(r *reading) { s := r.rulesets[2]; s.Bypass = nil; r.rulesets[2] = s }, world.Unseen, `who besides the App may bypass "default" (2)`, ""},
		"a history list not shown":           {func(r *reading) { s := r.rulesets[1]; s.Bypass = nil; r.rulesets[1] = s }, world.Unseen, `who may bypass "history" (1)`, ""},
		"a history that cannot be looked at": {func(r *reading) { r.rulesets[1] = rulesetReading{err: &answerError{status: 502}} }, world.Unseen, "no answer: github answered 502", ""},
		"a plan without rules":               {func(r *reading) { r.mainErr = &answerError{status: 403, sentence: "Upgrade to GitHub Pro"} }, world.Problem, "Upgrade to GitHub Pro", "gh api -X POST repos/acme/access/rulesets"},
		"grant rules out of sight":           {func(r *reading) { r.grantsErr = &answerError{status: 403} }, world.Problem, "rules of grant/** cannot be read", "gh api -X POST"},
		"grant branches for all":             {func(r *reading) { r.grants = nil }, world.Problem, "may create branches grant/**", "refs/heads/grant/**"},
		"Actions that approve":               {func(r *reading) { r.actions.CanApprove = switched(true) }, world.Problem, "Actions may create and approve", "can_approve_pull_request_reviews=false"},
		"Actions not shown":                  {func(r *reading) { r.want.Admin = world.Secret{} }, world.Unseen, "whether Actions may approve", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := wellSetUp()
			c.spoil(r)
			found := false
			for _, f := range r.judge() {
				found = found || f.Status == c.status && strings.Contains(f.Message, c.says) && strings.Contains(f.Mend, c.mend)
				if name == "nothing" && f.Status != world.Fine || f.Area != "github" || f.Status == world.Problem && f.Mend == "" {
					t.Errorf("%+v", f)
				}
			}
			if !found {
				t.Errorf("no %s says %q with %q in\n%+v", c.status, c.says, c.mend, r.judge())
			}
		})
	}
}

// TestExamineSeesASandboxThatIsSetUpRight with the App's own token, which does
// not see everything, and with an administrator's, which does.
func TestExamineSeesASandboxThatIsSetUpRight(t *testing.T) {
	f := newForge(t)
	must(t, f.Protect(repo, f.app))
	must(t, f.Grant(repo, "admin", "dana"))
	f.SetWebhook(f.app, "http://127.0.0.1:1/webhooks/github", "secret")
	_, err := f.AddTeam("acme", "security", 500, "dana")
	must(t, err)
	all, err := starter.Files()
	must(t, err)
	files := map[string]string{"CODEOWNERS": all["CODEOWNERS"]}
	_, err = f.Seed(repo, "main", files, "dana", "as tac init writes it")
	must(t, err)
	unknown := map[string]bool{}
	for _, one := range f.client().Examine(t.Context(), Expected{}) {
		if one.Status == world.Problem || one.Outage {
			t.Errorf("%+v", one)
		}
		if one.Status == world.Unseen {
			unknown[one.Check] = true
		}
	}
	for _, check := range []string{"ruleset A", "ruleset B", "ruleset C", "actions"} {
		if !unknown[check] {
			t.Errorf("%s is not unknown to the App's own token", check)
		}
	}
	token, err := f.PAT("dana")
	must(t, err)
	_, err = f.Seed(repo, "main", map[string]string{"CODEOWNERS": "/policies/ @acme/nobody\n"}, "dana", "owned by nobody")
	must(t, err)
	broken := false
	for _, one := range f.client().Examine(t.Context(), Expected{}) {
		broken = broken || one.Check == "code owners" && strings.Contains(one.Message, "line 1 of its owners counts for nothing (Unknown owner)")
	}
	if !broken {
		t.Error("a team that does not exist owns the policies")
	}
	_, err = f.Seed(repo, "main", files, "dana", "owned again")
	must(t, err)
	for _, one := range f.client().Examine(t.Context(), Expected{Admin: world.NewSecret(token)}) {
		if one.Status != world.Fine {
			t.Errorf("with an administrator's token: %+v", one)
		}
	}
}

// TestCodeOwnersHaveToHoldForEverythingThatDecides reads CODEOWNERS as GitHub
// does: the last line that matches counts.
func TestCodeOwnersHaveToHoldForEverythingThatDecides(t *testing.T) {
	const good = "/policies/ @s\n/.github/ @s\n/CODEOWNERS @s\n"
	broken := func(line int) []ownersError { return []ownersError{{Line: line, Kind: "Unknown owner"}} }
	for name, c := range map[string]struct {
		owners ownersReading
		status world.Standing
		says   string
	}{
		"as it should be":          {ownersReading{path: "CODEOWNERS", text: good}, world.Fine, "CODEOWNERS has policies/"},
		"none":                     {ownersReading{}, world.Problem, "main has no CODEOWNERS"},
		"an empty one":             {ownersReading{path: "CODEOWNERS"}, world.Problem, "policies/: no line names an owner of it"},
		"comments alone":           {ownersReading{path: "CODEOWNERS", text: "# " + good[:14]}, world.Problem, "policies/: no line names an owner of it"},
		"itself without":           {ownersReading{path: "CODEOWNERS", text: "/policies/ @s\n/.github/ @s\n"}, world.Problem, "CODEOWNERS: no line"},
		"itself within .github":    {ownersReading{path: ".github/CODEOWNERS", text: "/policies/ @s\n/.github/ @s\n"}, world.Fine, ".github/CODEOWNERS has"},
		"one that may be replaced": {ownersReading{path: "docs/CODEOWNERS", text: "/policies/ @s\n/.github/ @s\n/docs/ @s"}, world.Problem, "CODEOWNERS: no line"},
		"everything but grants":    {ownersReading{path: "CODEOWNERS", text: "* @s # all\n/grants/\n"}, world.Fine, "CODEOWNERS has"},
		"everything":               {ownersReading{path: "CODEOWNERS", text: "* @s\n"}, world.Problem, "@s owns grants/ (line 1)"},
		"every document":           {ownersReading{path: "CODEOWNERS", text: "*.yaml @t\n" + good}, world.Problem, "@t owns grants/ (line 1)"},
		"one document":             {ownersReading{path: "CODEOWNERS", text: "/policies/people.yaml @s\n" + good[14:]}, world.Problem, "policies/: no line"},
		"not what lies deeper":     {ownersReading{path: "CODEOWNERS", text: "/policies/* @s\n" + good[14:]}, world.Problem, "policies/: no line"},
		"all that lies deeper":     {ownersReading{path: "CODEOWNERS", text: "policies/** @s\n" + good[14:]}, world.Fine, "CODEOWNERS has"},
		"taken away in part":       {ownersReading{path: "CODEOWNERS", text: good + "/policies/people.yaml\n"}, world.Problem, "policies/: line 4 takes its owners away"},
		"taken away by its name":   {ownersReading{path: "CODEOWNERS", text: good + "people.yaml\n"}, world.Problem, "policies/: line 4 takes its owners away"},
		"another's taken away":     {ownersReading{path: "CODEOWNERS", text: good + "/docs/\n"}, world.Fine, "CODEOWNERS has"},
		"an owner who is gone":     {ownersReading{path: "CODEOWNERS", text: good, broken: broken(1)}, world.Problem, "policies/: line 1 of its owners counts for nothing (Unknown owner)"},
		"another's who is gone":    {ownersReading{path: "CODEOWNERS", text: good + "/docs/ @x\n", broken: broken(4)}, world.Fine, "CODEOWNERS has"},
		"out of sight":             {ownersReading{path: "CODEOWNERS", err: &answerError{status: 403}}, world.Problem, "cannot be read"},
		"no answer":                {ownersReading{path: "CODEOWNERS", err: &answerError{status: 502}}, world.Unseen, "no answer"},
		"no answer about errors":   {ownersReading{path: "CODEOWNERS", text: good, brokenErr: &answerError{status: 502}}, world.Unseen, "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			r := wellSetUp()
			r.owners = c.owners
			var found []world.Finding
			for _, f := range r.judge() {
				if f.Check == "code owners" {
					found = append(found, f)
				}
			}
			if len(found) == 0 || found[0].Status != c.status || !strings.Contains(found[0].Message, c.says) || (c.status == world.Problem) != (found[0].Mend != "") {
				t.Errorf("%+v", found)
			}
		})
	}
}
