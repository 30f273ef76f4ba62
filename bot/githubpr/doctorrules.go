package githubpr

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants/world"
)

// The rulesets of design.md 3.4. Each is known by the rules that it puts on a
// branch; its name is the operator's own.

// policyCheck is the check run that the branch rule waits for.
const policyCheck = "tac/policy"

func (r *reading) judgeRules(f *world.Findings) {
	switch err := r.mainErr; {
	case err != nil && outage(err):
		f.Silent("rules", err)
		return
	case err != nil: // with the App's permissions right, as where the plan has no rulesets
		f.Wrong("rules", r.create(rulesetA), "the rules of %s cannot be read, so that there may be none: %v", r.cfg.Branch, err)
		return
	}
	r.judgeHistory(f)
	r.judgeDefaultBranch(f)
	switch err := r.grantsErr; {
	case err != nil && outage(err):
		f.Silent("ruleset C", err)
	case err != nil:
		f.Wrong("ruleset C", r.create(rulesetC), "the rules of grant/** cannot be read, so that there may be none: %v", err)
	default:
		r.judgeGrantBranches(f)
	}
}

// find returns the rules of a type.
func find(rules []branchRule, kind string) []branchRule {
	return slices.DeleteFunc(slices.Clone(rules), func(b branchRule) bool { return b.Type != kind })
}

func (r *reading) mergesOnlyBySquash() bool {
	return slices.ContainsFunc(find(r.main, "pull_request"), func(b branchRule) bool {
		return slices.Equal(b.Parameters.MergeMethods, []string{"squash"})
	})
}

// judgeHistory is ruleset A: what was once on the branch stays, for
// everybody.
func (r *reading) judgeHistory(f *world.Findings) {
	const check = "ruleset A"
	before := len(f.List)
	for _, want := range []struct{ kind, harm string }{
		{"non_fast_forward", "may be force-pushed"}, {"deletion", "may be deleted"},
	} {
		rules := find(r.main, want.kind)
		if len(rules) == 0 {
			f.Wrong(check, r.create(rulesetA), "%s %s: history is the audit trail", r.cfg.Branch, want.harm)
			continue
		}
		r.judgeNobody(f, check, want.harm, rules)
	}
	if len(f.List) == before {
		f.Fine(check, "%s cannot be force-pushed or deleted, by anybody", r.cfg.Branch)
	}
}

// judgeNobody demands one ruleset among those of the rules that nobody may
// bypass.
func (r *reading) judgeNobody(f *world.Findings, check, harm string, rules []branchRule) {
	var bad, dark []string
	var silent error
	for _, rule := range rules {
		set := r.rulesets[rule.RulesetID]
		switch {
		case set.err != nil && outage(set.err):
			silent = set.err
		case set.err != nil || set.CanBypass == "" && set.Bypass == nil:
			dark = append(dark, r.nameOf(rule.RulesetID))
		case set.mayBypass():
			bad = append(bad, r.nameOf(rule.RulesetID)+" lets the App itself bypass it")
		case set.Bypass == nil:
			dark = append(dark, r.nameOf(rule.RulesetID))
		case len(*set.Bypass) > 0:
			bad = append(bad, r.nameOf(rule.RulesetID)+" lets "+actors(*set.Bypass)+" bypass it")
		default:
			return
		}
	}
	if silent != nil {
		f.Silent(check, silent)
		return
	}
	if len(dark) > 0 {
		f.Unseen(check, "", "who may bypass %s is for an administrator to see (--admin-token-file)", strings.Join(dark, ", "))
		return
	}
	f.Wrong(check, r.replace(rules[0].RulesetID, rulesetA), "%s %s: %s", r.cfg.Branch, harm, strings.Join(bad, "; "))
}

// judgeDefaultBranch is ruleset B: nothing gets in but by a pull request that
// our own check passed.
func (r *reading) judgeDefaultBranch(f *world.Findings) {
	const check = "ruleset B"
	before := len(f.List)
	id := int64(0)
	wrong := func(format string, args ...any) {
		mend := r.create(rulesetB)
		if id != 0 {
			mend = r.replace(id, rulesetB)
		}
		f.Wrong(check, mend, format, args...)
	}
	pulls := find(r.main, "pull_request")
	if len(pulls) == 0 {
		wrong("%s takes pushes without a pull request", r.cfg.Branch)
	} else {
		id = pulls[0].RulesetID
		if !slices.ContainsFunc(pulls, func(b branchRule) bool { return b.Parameters.CodeOwners }) {
			wrong("code owners need not review: whoever writes could change policies/")
		}
		if most := slices.MaxFunc(pulls, func(a, b branchRule) int { return a.Parameters.Approvals - b.Parameters.Approvals }); most.Parameters.Approvals > 0 {
			wrong("GitHub asks for %d approvals of every pull request; a grant that policy allows could never merge: set 0, since code owners are asked all the same", most.Parameters.Approvals)
		}
	}
	if len(find(r.main, "required_signatures")) == 0 {
		wrong("commits need not be signed")
	}
	if len(find(r.main, "merge_queue")) > 0 {
		f.Wrong(check, r.gh("GET", "/rulesets", "")+" : take the merge queue out", "there is a merge queue, which merges what nobody judged")
	}
	r.judgeCheck(wrong)
	r.judgeOnlyApp(f, check, "its removal commits", append(pulls, find(r.main, "required_status_checks")...), rulesetB)
	if len(f.List) == before {
		f.Fine(check, "%s takes reviewed pull requests that %s passed, and the App's removals", r.cfg.Branch, policyCheck)
	}
}

func (r *reading) judgeCheck(wrong func(string, ...any)) {
	found := false
	for _, rule := range find(r.main, "required_status_checks") {
		for _, c := range rule.Parameters.Checks {
			if c.Context != policyCheck {
				continue
			}
			found = true
			if c.Integration == nil || *c.Integration <= 0 {
				wrong("the check %s may come from anybody: any writer can set it; name the App as its source", policyCheck)
			} else if *c.Integration != r.cfg.AppID {
				wrong("the check %s is expected of the App %d; ours is %d", policyCheck, *c.Integration, r.cfg.AppID)
			}
		}
	}
	if !found {
		wrong("the check %s is not required", policyCheck)
	}
}

// judgeGrantBranches is ruleset C: the bot's branches are the bot's.
func (r *reading) judgeGrantBranches(f *world.Findings) {
	const check = "ruleset C"
	before := len(f.List)
	var rules []branchRule
	for _, want := range []struct{ kind, verb string }{{"creation", "create"}, {"update", "update"}} {
		found := find(r.grants, want.kind)
		if len(found) == 0 {
			f.Wrong(check, r.create(rulesetC), "anybody who writes may %s branches grant/**, which are the App's alone", want.verb)
		}
		rules = append(rules, found...)
	}
	r.judgeOnlyApp(f, check, "grants", rules, rulesetC)
	if len(f.List) == before {
		f.Fine(check, "branches grant/** are the App's alone")
	}
}

// judgeOnlyApp demands that the App, and nobody else, may bypass the rulesets of
// the rules.
func (r *reading) judgeOnlyApp(f *world.Findings, check, what string, rules []branchRule, template ruleTemplate) {
	seen := map[int64]bool{}
	for _, rule := range rules {
		set, id := r.rulesets[rule.RulesetID], rule.RulesetID
		if seen[id] {
			continue
		}
		seen[id] = true
		switch others := r.others(set); {
		case set.err != nil && outage(set.err):
			f.Silent(check, set.err)
		case set.err != nil:
			f.Unseen(check, "", "the ruleset %s cannot be read: %v", r.nameOf(id), set.err)
		case set.CanBypass != "" && !set.mayBypass():
			f.Wrong(check, r.replace(id, template), "the App may not bypass %s, so that it cannot push %s", r.nameOf(id), what)
		case set.Bypass == nil:
			f.Unseen(check, "", "who besides the App may bypass %s is for an administrator to see (--admin-token-file)", r.nameOf(id))
		case len(others) > 0:
			f.Wrong(check, r.replace(id, template), "%s lets %s bypass it; only the App may", r.nameOf(id), actors(others))
		}
	}
}

func (s rulesetReading) mayBypass() bool { return s.CanBypass == "always" || s.CanBypass == "exempt" }

// others returns who may bypass a ruleset besides our App.
func (r *reading) others(set rulesetReading) []bypassActor {
	if set.Bypass == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(*set.Bypass), func(a bypassActor) bool {
		return a.Type == "Integration" && a.ID != nil && *a.ID == r.cfg.AppID
	})
}

func actors(list []bypassActor) string {
	var names []string
	for _, a := range list {
		name := a.Type
		if a.ID != nil {
			name += fmt.Sprintf(" %d", *a.ID)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

func (r *reading) nameOf(id int64) string {
	if name := r.rulesets[id].Name; name != "" {
		return fmt.Sprintf("%q (%d)", name, id)
	}
	return fmt.Sprintf("ruleset %d", id)
}

// ruleTemplate is one of the three rulesets, as GitHub's API takes it.
type ruleTemplate func(r *reading) map[string]any

func (r *reading) create(t ruleTemplate) string { return r.send("POST", "/rulesets", t) }

func (r *reading) replace(id int64, t ruleTemplate) string {
	return r.send("PUT", fmt.Sprintf("/rulesets/%d", id), t)
}

func (r *reading) send(method, path string, t ruleTemplate) string {
	body, _ := json.Marshal(t(r)) // plain values always encode
	return "printf '%s' '" + string(body) + "' | " + r.gh(method, path, "--input -")
}

type object = map[string]any

func newRuleset(name string, include string, bypass []object, rules ...object) map[string]any {
	return object{
		"name": name, "target": "branch", "enforcement": "active", "bypass_actors": bypass, "rules": rules,
		"conditions": object{"ref_name": object{"include": []string{include}, "exclude": []string{}}},
	}
}

func (r *reading) appAlone() []object {
	return []object{{"actor_id": r.cfg.AppID, "actor_type": "Integration", "bypass_mode": "always"}}
}

func rulesetA(*reading) map[string]any {
	return newRuleset("history", "~DEFAULT_BRANCH", []object{}, object{"type": "deletion"}, object{"type": "non_fast_forward"})
}

func rulesetB(r *reading) map[string]any {
	return newRuleset("default branch", "~DEFAULT_BRANCH", r.appAlone(),
		object{"type": "pull_request", "parameters": object{
			"required_approving_review_count": 0, "require_code_owner_review": true, "dismiss_stale_reviews_on_push": false,
			"require_last_push_approval": false, "required_review_thread_resolution": false, "allowed_merge_methods": []string{"squash"},
		}},
		object{"type": "required_signatures"},
		object{"type": "required_status_checks", "parameters": object{
			"strict_required_status_checks_policy": false, "do_not_enforce_on_create": false,
			"required_status_checks": []object{{"context": policyCheck, "integration_id": r.cfg.AppID}},
		}})
}

func rulesetC(r *reading) map[string]any {
	return newRuleset("grant branches", "refs/heads/grant/**", r.appAlone(), object{"type": "creation"}, object{"type": "update"}, object{"type": "deletion"})
}
