package github

import "net/http"

// The permissions that routes ask of Apps, by GitHub's names for them.
const (
	metaRead      = "metadata:read"
	contentsRead  = "contents:read"
	contentsWrite = "contents:write"
	pullsRead     = "pull_requests:read"
	pullsWrite    = "pull_requests:write"
	talkRead      = "issues|pull_requests:read"
	talkWrite     = "issues|pull_requests:write"
	checksRead    = "checks:read"
	checksWrite   = "checks:write"
	membersRead   = "members:read"
)

// routes is the whole REST API of this server.
func (s *Server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, list := range [][]route{appRoutes(), codeRoutes(), pullRoutes(), orgRoutes()} {
		for _, rt := range list {
			mux.HandleFunc(rt.pattern, s.handle(rt))
		}
	}
	s.oauthRoutes(mux)
	// What GitHub has and this server has not is Not Found in GitHub's form.
	mux.HandleFunc("/", s.handle(route{do: func(*call) (answer, error) { return answer{}, notFound() }}))
	return mux
}

func appRoutes() []route {
	return []route{
		{pattern: "GET /app", app: "jwt", do: (*call).getApp},
		{pattern: "GET /app/hook/config", app: "jwt", do: (*call).hookConfig},
		{pattern: "GET /app/installations", app: "jwt", do: (*call).listInstallations},
		{pattern: "GET /app/installations/{id}", app: "jwt", do: (*call).getInstallation},
		{pattern: "POST /app/installations/{id}/access_tokens", app: "jwt", do: (*call).createInstallationToken},
		{pattern: "GET /repos/{owner}/{repo}/installation", app: "jwt", do: (*call).installationOfRepo},
		{pattern: "GET /orgs/{org}/installation", app: "jwt", do: (*call).installationOfOrg},
		{pattern: "DELETE /installation/token", do: (*call).revokeInstallationToken},
		{pattern: "GET /user", do: (*call).getMe},
		{pattern: "GET /user/{id}", do: (*call).getUserByID},
		{pattern: "GET /users/{login}", do: (*call).getUser},
	}
}

func codeRoutes() []route {
	const repo = "/repos/{owner}/{repo}"
	return []route{
		{pattern: "GET " + repo, app: metaRead, human: "read", do: (*call).getRepo},
		{pattern: "GET " + repo + "/git/ref/{ref...}", app: contentsRead, human: "read", do: (*call).getRef},
		{pattern: "GET " + repo + "/git/matching-refs/{ref...}", app: contentsRead, human: "read", do: (*call).matchingRefs},
		{pattern: "POST " + repo + "/git/refs", app: contentsWrite, human: "write", do: (*call).createRef},
		{pattern: "PATCH " + repo + "/git/refs/{ref...}", app: contentsWrite, human: "write", do: (*call).updateRef},
		{pattern: "DELETE " + repo + "/git/refs/{ref...}", app: contentsWrite, human: "write", do: (*call).deleteRef},
		{pattern: "GET " + repo + "/commits", app: contentsRead, human: "read", do: (*call).listCommits},
		{pattern: "GET " + repo + "/commits/{rest...}", app: contentsRead, human: "read", do: (*call).commits},
		{pattern: "GET " + repo + "/branches/{branch...}", app: contentsRead, human: "read", do: (*call).getBranch},
		{pattern: "GET " + repo + "/contents/{path...}", app: contentsRead, human: "read", do: (*call).getContents},
		{pattern: "GET " + repo + "/codeowners/errors", app: contentsRead, human: "read", do: (*call).codeOwnersErrors},
		{pattern: "GET " + repo + "/rules/branches/{branch...}", app: metaRead, human: "read", do: (*call).branchRules},
		{pattern: "GET " + repo + "/rulesets", app: metaRead, human: "read", do: (*call).listRulesets},
		{pattern: "GET " + repo + "/rulesets/{id}", app: metaRead, human: "read", do: (*call).getRuleset},
		{pattern: "GET " + repo + "/actions/permissions/workflow", app: "administration:read", human: "admin", do: (*call).workflowRights},
		{pattern: "POST " + repo + "/check-runs", app: checksWrite, human: "write", do: (*call).createCheck},
		{pattern: "GET " + repo + "/check-runs/{id}", app: checksRead, human: "read", do: (*call).getCheck},
		{pattern: "PATCH " + repo + "/check-runs/{id}", app: checksWrite, human: "write", do: (*call).updateCheck},
	}
}

func pullRoutes() []route {
	const pulls = "/repos/{owner}/{repo}/pulls"
	const issues = "/repos/{owner}/{repo}/issues"
	return []route{
		{pattern: "GET " + pulls, app: pullsRead, human: "read", do: (*call).listPulls},
		{pattern: "POST " + pulls, app: pullsWrite, human: "read", content: true, do: (*call).createPull},
		{pattern: "GET " + pulls + "/{number}", app: pullsRead, human: "read", do: (*call).getPull},
		{pattern: "PATCH " + pulls + "/{number}", app: pullsWrite, human: "read", content: true, do: (*call).editPull},
		{pattern: "PUT " + pulls + "/{number}/merge", app: contentsWrite, human: "write", content: true, do: (*call).mergePull},
		{pattern: "GET " + pulls + "/{number}/files", app: pullsRead, human: "read", do: (*call).pullFiles},
		{pattern: "GET " + pulls + "/{number}/commits", app: pullsRead, human: "read", do: (*call).pullCommits},
		{pattern: "GET " + pulls + "/{number}/reviews", app: pullsRead, human: "read", do: (*call).listReviews},
		{pattern: "POST " + pulls + "/{number}/reviews", app: pullsWrite, human: "read", content: true, do: (*call).createReview},
		{pattern: "GET " + pulls + "/{number}/reviews/{id}", app: pullsRead, human: "read", do: (*call).getReview},
		{pattern: "PUT " + pulls + "/{number}/reviews/{id}/dismissals", app: pullsWrite, human: "write", content: true, do: (*call).dismissReview},
		{pattern: "GET " + pulls + "/{number}/requested_reviewers", app: pullsRead, human: "read", do: (*call).listReviewers},
		{pattern: "POST " + pulls + "/{number}/requested_reviewers", app: pullsWrite, human: "write", do: (*call).requestReviewers},
		{pattern: "DELETE " + pulls + "/{number}/requested_reviewers", app: pullsWrite, human: "write", do: (*call).removeReviewers},
		{pattern: "GET " + pulls + "/{number}/comments", app: pullsRead, human: "read", do: (*call).listLineComments},
		{pattern: "GET " + issues, app: "issues:read", human: "read", do: (*call).listIssues},
		{pattern: "POST " + issues, app: "issues:write", human: "read", content: true, do: (*call).createIssue},
		{pattern: "PATCH " + issues + "/{number}", app: talkWrite, human: "read", content: true, do: (*call).editIssue},
		{pattern: "GET " + issues + "/{number}", app: talkRead, human: "read", do: (*call).getIssueOrPull},
		{pattern: "GET " + issues + "/{number}/comments", app: talkRead, human: "read", do: (*call).listComments},
		{pattern: "POST " + issues + "/{number}/comments", app: talkWrite, human: "read", content: true, do: (*call).createComment},
		{pattern: "PATCH " + issues + "/comments/{id}", app: talkWrite, human: "read", content: true, do: (*call).editComment},
	}
}

func orgRoutes() []route {
	const team = "/orgs/{org}/teams/{slug}"
	return []route{
		{pattern: "GET /orgs/{name}", do: (*call).getOrg},
		{pattern: "GET /orgs/{org}/members", app: membersRead, do: (*call).listMembers},
		{pattern: "GET /orgs/{org}/members/{user}", app: membersRead, do: (*call).getMember},
		{pattern: "GET /orgs/{org}/teams", app: membersRead, do: (*call).listTeams},
		{pattern: "GET " + team, app: membersRead, do: (*call).getTeam},
		{pattern: "GET " + team + "/teams", app: membersRead, do: (*call).childTeams},
		{pattern: "GET " + team + "/members", app: membersRead, do: (*call).teamMembers},
		{pattern: "GET " + team + "/memberships/{user}", app: membersRead, do: (*call).teamMembership},
	}
}
