package contract

import (
	"strings"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// outside names the part of GitHub that an exchange belongs to where GitHub
// publishes no description of it; empty for its REST API.
func outside(c github.Record) string {
	switch {
	case strings.HasSuffix(c.Path, "/info/refs"), strings.HasSuffix(c.Path, "/git-upload-pack"), strings.HasSuffix(c.Path, "/git-receive-pack"):
		return "git over smart HTTP"
	case strings.HasPrefix(c.Path, "/login/"):
		return "sign-in, " + c.Path
	}
	return ""
}

// gap is a status that GitHub answers and does not describe.
type gap struct {
	operation string // as in "GET /user"; empty for all
	status    int
	why       string
}

var gaps = []gap{
	{"", 401, "any call whose credential is bad or missing: described in prose (Authenticating to the REST API), and listed for a few operations only"},
	{"", 403, "any call whose credential lacks the permission, or whose limit is used up: described in prose (Troubleshooting, Rate limits), and listed for some operations only"},
	{"POST /repos/{owner}/{repo}/pulls/{pull_number}/reviews", 404, "a pull request that is not there, or that the caller may not see: described in prose (Troubleshooting)"},
	{"POST /repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", 404, "the same"},
	{"GET /repos/{owner}/{repo}/commits/{ref}/check-runs", 422, "a full hash of no commit here: described for a commit itself (GET /repos/{owner}/{repo}/commits/{ref}), not for what lies under it"},
	{"DELETE /applications/{client_id}/token", 404, "a token that is none of this App's, or not any more: described for the check of the same token (POST), not for its end"},
	{"GET /repos/{owner}/{repo}/actions/permissions/workflow", 404, "what the caller may not administer: described in prose (Troubleshooting)"},
}

// gapOf returns why an answer with an undescribed status is none of ours to
// mend, empty where it is.
func gapOf(op operation, status int) string {
	for _, g := range gaps {
		if g.status == status && (g.operation == "" || g.operation == op.String()) {
			return g.why
		}
	}
	return ""
}
