package github

import "fmt"

// listRulesets shows the branch rules in GitHub's form, for a client that
// checks a repository's set-up. The rules themselves are in judgeRules.
func (c *call) listRulesets() (answer, error) {
	list := []any{}
	for i, name := range []string{"history", "default branch", "grant branches"} {
		if c.repo.rules == nil {
			break
		}
		id := c.repo.id*10 + int64(i)
		list = append(list, object{
			"id": id, "node_id": nodeID("RepositoryRuleset", id), "name": name, "target": "branch",
			"source_type": "Repository", "source": c.repo.fullName(), "enforcement": "active",
			"created_at": stamp(c.repo.created), "updated_at": stamp(c.repo.created),
			"_links": object{
				"self": object{"href": fmt.Sprintf("%s/rulesets/%d", c.s.repoAPI(c.repo), id)},
				"html": object{"href": fmt.Sprintf("%s/%s/rules/%d", c.s.url, c.repo.fullName(), id)},
			},
		})
	}
	return ok(list)
}

// branchRules lists the rules in force on one branch.
func (c *call) branchRules() (answer, error) {
	list := []any{}
	if c.repo.rules == nil {
		return ok(list)
	}
	rule := func(kind string, ruleset int64, parameters object) {
		o := object{
			"type": kind, "ruleset_source_type": "Repository", "ruleset_source": c.repo.fullName(),
			"ruleset_id": c.repo.id*10 + ruleset,
		}
		if parameters != nil {
			o["parameters"] = parameters
		}
		list = append(list, o)
	}
	branch := branchRef(c.r.PathValue("branch")).String()
	switch {
	case branch == c.repo.defaultRef().String():
		rule("deletion", 0, nil)
		rule("non_fast_forward", 0, nil)
		rule("pull_request", 1, object{
			"required_approving_review_count": 0, "require_code_owner_review": true, "dismiss_stale_reviews_on_push": false,
			"require_last_push_approval": false, "required_review_thread_resolution": false, "allowed_merge_methods": []string{"squash"},
		})
		rule("required_status_checks", 1, object{
			"strict_required_status_checks_policy": false, "do_not_enforce_on_create": false,
			"required_status_checks": []any{object{"context": policyCheck, "integration_id": c.repo.rules.app.ID}},
		})
	case isGrantBranch(branch):
		rule("creation", 2, nil)
		rule("update", 2, nil)
		rule("deletion", 2, nil)
	}
	return ok(paginate(c, list))
}
