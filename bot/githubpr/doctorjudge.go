package githubpr

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants/world"
)

// wantedPermissions is exactly what the App may do (threats.md 1.2). What
// more it could do, whoever steals its key could do.
var wantedPermissions = map[string]string{
	"contents": "write", "pull_requests": "write", "checks": "write", "issues": "write", "metadata": "read", "members": "read",
}

// wantedEvents only say where to look: without them everything takes longer.
var wantedEvents = []string{"check_run", "membership", "organization", "pull_request", "pull_request_review", "push", "team"}

func (r *reading) judge() []world.Finding {
	f := &world.Findings{Area: "github"}
	if !r.judgeApp(f) || !r.judgeInstallation(f) {
		return f.List
	}
	r.judgeHook(f)
	r.judgeRepository(f)
	r.judgeRules(f)
	r.judgeOwners(f)
	r.judgeActions(f)
	return f.List
}

// appPage is where an App's settings are.
func (r *reading) appPage(page string) string {
	site := strings.TrimSuffix(strings.Replace(r.cfg.APIURL, "://api.", "://", 1), "/api/v3")
	if r.installed.TargetType == "User" {
		return site + "/settings/apps/" + r.app.Slug + page
	}
	return site + "/organizations/" + r.cfg.Owner + "/settings/apps/" + r.app.Slug + page
}

func (r *reading) gh(method, path, rest string) string {
	return strings.TrimSpace(fmt.Sprintf("gh api -X %s repos/%s/%s%s %s", method, r.cfg.Owner, r.cfg.Repo, path, rest))
}

func (r *reading) judgeApp(f *world.Findings) (known bool) {
	const check = "app"
	switch err := r.appErr; {
	case err != nil && outage(err):
		f.Unreachable(check, "api_url: ... under github: in tac.yaml; curl -s "+r.cfg.APIURL+"/meta", err)
		return false
	case err != nil:
		f.Wrong(check, "github: {app_id: ..., private_key: ...} in tac.yaml: both stand in the App's settings", "GitHub does not know this App by its id and key: %v", err)
		return false
	}
	f.Fine(check, "GitHub knows the App %s", r.app.Slug)
	missing := slices.DeleteFunc(slices.Clone(wantedEvents), func(e string) bool { return slices.Contains(r.app.Events, e) })
	if len(missing) > 0 {
		f.Wrong("events", r.appPage("/permissions")+" : subscribe to "+strings.Join(missing, ", "), "the App hears nothing of %s, so that everything there waits for the next sweep", strings.Join(missing, ", "))
		return true
	}
	f.Fine("events", "the App hears of %s", strings.Join(wantedEvents, ", "))
	return true
}

func (r *reading) judgeInstallation(f *world.Findings) (works bool) {
	const check = "installation"
	switch err := r.installedErr; {
	case err != nil && answered(err, 404):
		f.Wrong(check, r.appPage("/installations"), "the App is not installed on %s/%s", r.cfg.Owner, r.cfg.Repo)
		return false
	case err != nil && outage(err):
		f.Silent(check, err)
		return false
	case err != nil:
		f.Wrong(check, r.appPage("/installations"), "the App's installation cannot be read: %v", err)
		return false
	case r.installed.suspended():
		f.Wrong(check, r.appPage("/installations")+" : unsuspend it", "the App's installation is suspended")
		return false
	case r.installed.ID != r.cfg.InstallationID:
		f.Wrong(check, fmt.Sprintf("installation_id: %d under github: in tac.yaml", r.installed.ID), "tac.yaml names the installation %d; that on %s/%s is %d",
			r.cfg.InstallationID, r.cfg.Owner, r.cfg.Repo, r.installed.ID)
		return false
	case r.installed.Selection == "all":
		f.Wrong(check, r.appPage("/installations")+" : only select repositories, "+r.cfg.Repo, "the App is installed on every repository of %s; it needs %s alone", r.cfg.Owner, r.cfg.Repo)
	default:
		f.Fine(check, "the App is installed on %s/%s", r.cfg.Owner, r.cfg.Repo)
	}
	wanted := maps.Clone(wantedPermissions)
	if r.installed.TargetType == "User" {
		delete(wanted, "members") // only organisations have any
	}
	r.judgePermissions(f, "permissions of the installation", r.installed.Permissions, wanted, r.appPage("/installations")+" : accept the App's new permissions")
	r.judgePermissions(f, "permissions of the app", r.app.Permissions, wanted, "")
	return true
}

// judgePermissions names every permission that is missing and every one too
// many. accept is how an installation comes to what the App asks for already.
func (r *reading) judgePermissions(f *world.Findings, check string, has, wanted map[string]string, accept string) {
	before := len(f.List)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if rank(has[name]) < rank(wanted[name]) {
			mend := r.appPage("/permissions") + " : " + name + ": " + wanted[name]
			if accept != "" && rank(r.app.Permissions[name]) >= rank(wanted[name]) {
				mend = accept
			}
			f.Wrong(check, mend, "%s is %s; tac needs %s", name, cmp.Or(has[name], "not granted"), wanted[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if rank(has[name]) > rank(wanted[name]) {
			f.Wrong(check, r.appPage("/permissions")+" : "+name+": "+cmp.Or(wanted[name], "no access"), "%s is %s; tac needs %s, and whoever steals the App's key would have the rest", name, has[name], cmp.Or(wanted[name], "nothing of it"))
		}
	}
	if len(f.List) == before {
		f.Fine(check, "exactly those that tac needs")
	}
}

// rank orders levels; one that we do not know counts as the highest.
func rank(level string) int {
	if i := slices.Index([]string{"", "read", "write"}, level); i >= 0 {
		return i
	}
	return 3
}

func (r *reading) judgeHook(f *world.Findings) {
	const check = "webhook"
	page := r.appPage("")
	switch err := r.hookErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
	case err != nil:
		f.Unseen(check, page, "where GitHub sends events cannot be read: %v", err)
	case r.hook.URL == "":
		f.Wrong(check, page+" : webhook URL "+cmp.Or(r.want.Webhook, "https://HOST/webhooks/github"), "the App has no webhook")
	case r.want.Webhook != "" && r.hook.URL != r.want.Webhook:
		f.Wrong(check, page+" : webhook URL "+r.want.Webhook, "GitHub sends events to %s, and tac.yaml says %s", r.hook.URL, r.want.Webhook)
	case r.hook.ContentType != "json":
		f.Wrong(check, page+" : content type application/json", "GitHub sends events as %s; tac reads JSON", cmp.Or(r.hook.ContentType, "form"))
	case fmt.Sprint(r.hook.InsecureSSL) == "1":
		f.Wrong(check, page+" : enable SSL verification", "GitHub does not verify our certificate, and the events could be read on the way")
	default:
		f.Fine(check, "GitHub sends events as JSON to %s", r.hook.URL)
	}
}

func (r *reading) judgeRepository(f *world.Findings) {
	check := "repository"
	switch err := r.repoErr; {
	case err != nil && outage(err):
		f.Silent(check, err)
		return
	case err != nil:
		f.Wrong(check, "repository: OWNER/NAME under github: in tac.yaml", "%s/%s cannot be read: %v", r.cfg.Owner, r.cfg.Repo, err)
		return
	case r.repo.DefaultBranch != r.cfg.Branch:
		f.Wrong(check, "branch: "+r.repo.DefaultBranch+" under github: in tac.yaml", "the default branch is %s, and tac.yaml says %s", r.repo.DefaultBranch, r.cfg.Branch)
	default:
		f.Fine(check, "the default branch of %s/%s is %s", r.cfg.Owner, r.cfg.Repo, r.cfg.Branch)
	}
	check = "merge method"
	mend := r.gh("PATCH", "", "-F allow_squash_merge=true -F allow_merge_commit=false -F allow_rebase_merge=false")
	yes := func(b *bool) bool { return b != nil && *b }
	bySquash := r.mergesOnlyBySquash()
	switch {
	case r.repo.Squash == nil && !bySquash:
		f.Unseen(check, mend, "our own token does not see how the repository may merge; an administrator's does (--admin-token-file)")
	case r.repo.Squash != nil && !*r.repo.Squash:
		f.Wrong(check, mend, "the repository does not allow squash merges, and every grant is one")
	case !bySquash && (yes(r.repo.MergeCommit) || yes(r.repo.Rebase)):
		f.Wrong(check, mend, "the repository allows merges other than by squash; the audit trail is one commit for each grant")
	default:
		f.Fine(check, "merges are by squash only")
	}
}

func (r *reading) judgeActions(f *world.Findings) {
	const check = "actions"
	mend := r.gh("PUT", "/actions/permissions/workflow", "-F can_approve_pull_request_reviews=false -f default_workflow_permissions=read")
	switch err := r.actionsErr; {
	case r.want.Admin.Empty():
		f.Unseen(check, mend, "whether Actions may approve pull requests is for an administrator to see (--admin-token-file)")
	case err != nil && outage(err):
		f.Silent(check, err)
	case err != nil:
		f.Unseen(check, mend, "whether Actions may approve pull requests cannot be read: %v", err)
	case r.actions.CanApprove == nil:
		f.Unseen(check, mend, "GitHub does not say whether Actions may approve pull requests")
	case *r.actions.CanApprove:
		f.Wrong(check, mend, "Actions may create and approve pull requests: whoever can write a workflow can approve in its name")
	default:
		f.Fine(check, "Actions may not approve pull requests")
	}
}
