package github

import (
	"fmt"
	"maps"
	"slices"
)

// listRulesets shows the branch rules in GitHub's form, for a client that
// checks a repository's set-up. The rules themselves are in judgeRules.
func (c *call) listRulesets() (answer, error) {
	list := []any{}
	for i := range rulesetNames {
		if c.repo.rules == nil {
			break
		}
		list = append(list, c.rulesetJSON(i))
	}
	return ok(list)
}

// branchRules lists the rules in force on one branch, whether it exists or not.
func (c *call) branchRules() (answer, error) {
	list := []any{}
	if c.repo.rules == nil {
		return ok(list)
	}
	var sets []int64
	switch branch := branchRef(c.r.PathValue("branch")).String(); {
	case branch == c.repo.defaultRef().String():
		sets = []int64{0, 1}
	case isGrantBranch(branch):
		sets = []int64{2}
	}
	for _, set := range sets {
		for _, rule := range c.rulesOf(set) {
			list = append(list, rule)
		}
	}
	return ok(paginate(c, list))
}

// hookConfig is where the App receives its events.
func (c *call) hookConfig() (answer, error) {
	config := object{"content_type": "json", "insecure_ssl": "0"}
	if app := c.who.app; app.hookURL != "" {
		config["url"], config["secret"] = app.hookURL, "********"
	}
	return ok(config)
}

// getRuleset shows one ruleset. The bypass list is for those alone who may
// write the ruleset: administrators.
func (c *call) getRuleset() (answer, error) {
	id, err := c.number("id")
	if err != nil {
		return answer{}, err
	}
	index := id - c.repo.id*10
	if c.repo.rules == nil || index < 0 || index >= int64(len(rulesetNames)) {
		return answer{}, notFound()
	}
	set := c.rulesetJSON(int(index))
	ours := index != 0 && c.who.app == c.repo.rules.app
	set["current_user_can_bypass"] = "never"
	if ours || index == 1 && c.who.user != nil && c.repo.rules.bypass[c.who.user.ID] {
		set["current_user_can_bypass"] = "always"
	}
	include := "~DEFAULT_BRANCH"
	if index == 2 {
		include = "refs/heads/grant/**"
	}
	set["conditions"] = object{"ref_name": object{"include": []string{include}, "exclude": []string{}}}
	rules := []any{}
	for _, rule := range c.rulesOf(index) {
		delete(rule, "ruleset_id")
		delete(rule, "ruleset_source")
		delete(rule, "ruleset_source_type")
		rules = append(rules, rule)
	}
	set["rules"] = rules
	if c.who.install == nil && rank(c.s.level(c.who.user, c.repo)) >= rank("admin") {
		set["bypass_actors"] = c.bypassActors(index)
	}
	return ok(set)
}

// bypassActors lists who may bypass a ruleset. People are on such lists by
// their role; the sandbox has one for each, so that a test can tell them apart.
func (c *call) bypassActors(index int64) []any {
	list := []any{}
	if index == 0 {
		return list
	}
	list = append(list, object{"actor_id": c.repo.rules.app.ID, "actor_type": "Integration", "bypass_mode": "always"})
	if index == 1 {
		for _, id := range slices.Sorted(maps.Keys(c.repo.rules.bypass)) {
			list = append(list, object{"actor_id": id, "actor_type": "RepositoryRole", "bypass_mode": "always"})
		}
	}
	return list
}

func (c *call) workflowRights() (answer, error) {
	return ok(object{"default_workflow_permissions": "read", "can_approve_pull_request_reviews": false})
}

// rulesetNames are the three rulesets of the product, in the order of their
// numbers.
var rulesetNames = []string{"history", "default branch", "grant branches"}

func (c *call) rulesetJSON(index int) object {
	id := c.repo.id*10 + int64(index)
	return object{
		"id": id, "node_id": nodeID("RepositoryRuleset", id), "name": rulesetNames[index], "target": "branch",
		"source_type": "Repository", "source": c.repo.fullName(), "enforcement": "active",
		"created_at": stamp(c.repo.created), "updated_at": stamp(c.repo.created),
		"_links": object{
			"self": object{"href": fmt.Sprintf("%s/rulesets/%d", c.s.repoAPI(c.repo), id)},
			"html": object{"href": fmt.Sprintf("%s/%s/rules/%d", c.s.url, c.repo.fullName(), id)},
		},
	}
}

// rulesOf returns the rules of one ruleset, as a branch shows them.
func (c *call) rulesOf(ruleset int64) []object {
	rule := func(kind string, parameters object) object {
		o := object{
			"type": kind, "ruleset_source_type": "Repository", "ruleset_source": c.repo.fullName(),
			"ruleset_id": c.repo.id*10 + ruleset,
		}
		if parameters != nil {
			o["parameters"] = parameters
		}
		return o
	}
	switch ruleset {
	case 0:
		return []object{rule("deletion", nil), rule("non_fast_forward", nil)}
	case 1:
		return []object{
			rule("pull_request", object{
				"required_approving_review_count": 0, "require_code_owner_review": true, "dismiss_stale_reviews_on_push": false,
				"require_last_push_approval": false, "required_review_thread_resolution": false, "allowed_merge_methods": []string{"squash"},
			}),
			// Merges through the API are signed by GitHub, and nothing
			// else gets in past the other rules but the App's removals.
			rule("required_signatures", nil),
			rule("required_status_checks", object{
				"strict_required_status_checks_policy": false, "do_not_enforce_on_create": false,
				"required_status_checks": []any{object{"context": policyCheck, "integration_id": c.repo.rules.app.ID}},
			}),
		}
	}
	return []object{rule("creation", nil), rule("update", nil), rule("deletion", nil)}
}
