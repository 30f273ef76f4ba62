package github_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/bradleyfalzon/ghinstallation/v2"
	api "github.com/google/go-github/v60/github"
)

// read gets an address as plain JSON.
func read[T any](t *testing.T, c *api.Client, path string) (v T) {
	t.Helper()
	r, err := c.NewRequest(http.MethodGet, path, nil)
	must(t, err)
	_, err = c.Do(ctx, r, &v)
	must(t, err)
	return v
}

type shownRuleset struct {
	ID         int64
	Name       string
	Bypass     *[]struct{ ActorType string } `json:"bypass_actors"`
	CanBypass  string                        `json:"current_user_can_bypass"`
	Rules      []struct{ Type string }
	Conditions struct {
		RefName struct{ Include []string } `json:"ref_name"`
	}
}

func TestWhoMayBypassARulesetIsForAdministratorsToSee(t *testing.T) {
	w := newWorld(t)
	const path = "repos/" + repo + "/rulesets"
	if got := read[[]shownRuleset](t, w.bot(), path); len(got) != 0 {
		t.Errorf("an unprotected repository has %+v", got)
	}
	must(t, w.Protect(repo, w.app))
	must(t, w.AllowBypass(repo, "alice"))
	must(t, w.Grant(repo, "admin", "bob"))
	var told []string
	for _, set := range read[[]shownRuleset](t, w.bot(), path) {
		one := fmt.Sprintf("%s/%d", path, set.ID)
		ours, writers, admins := read[shownRuleset](t, w.bot(), one), read[shownRuleset](t, w.as("alice"), one), read[shownRuleset](t, w.as("bob"), one)
		if ours.Bypass != nil || writers.Bypass != nil || admins.Bypass == nil {
			t.Errorf("%s: the bypass list is shown to the App (%v) or to a writer (%v), or not to an administrator (%v)", set.Name, ours.Bypass, writers.Bypass, admins.Bypass)
			continue
		}
		told = append(told, fmt.Sprintf("%s on %s: %d rules, %d may bypass; App %s, alice %s, bob %s",
			ours.Name, ours.Conditions.RefName.Include[0], len(ours.Rules), len(*admins.Bypass), ours.CanBypass, writers.CanBypass, admins.CanBypass))
	}
	want := []string{
		"history on ~DEFAULT_BRANCH: 2 rules, 0 may bypass; App never, alice never, bob never",
		"default branch on ~DEFAULT_BRANCH: 3 rules, 2 may bypass; App always, alice always, bob never",
		"grant branches on refs/heads/grant/**: 3 rules, 1 may bypass; App always, alice never, bob never",
	}
	if !slices.Equal(told, want) {
		t.Errorf("got  %q\nwant %q", told, want)
	}
	if _, _, err := w.bot().Repositories.GetRuleset(ctx, "acme", "grants", 1, true); err == nil {
		t.Error("a ruleset that does not exist is shown")
	}
}

func TestTheRulesOfABranch(t *testing.T) {
	w := newWorld(t)
	must(t, w.Protect(repo, w.app))
	for branch, want := range map[string][]string{
		"main":         {"deletion", "non_fast_forward", "pull_request", "required_signatures", "required_status_checks"},
		"grant/any":    {"creation", "update", "deletion"},
		"alice/of-her": nil,
	} {
		var got []string
		for _, rule := range read[[]struct{ Type string }](t, w.bot(), "repos/"+repo+"/rules/branches/"+branch) {
			got = append(got, rule.Type)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has the rules %v, want %v", branch, got, want)
		}
	}
}

func TestWhatADoctorReadsOfASetUp(t *testing.T) {
	w := newWorld(t)
	itr, err := ghinstallation.NewAppsTransport(http.DefaultTransport, w.app.ID, w.app.PrivateKeyPEM)
	must(t, err)
	app := w.client(&http.Client{Transport: itr})
	if hook, _, err := app.Apps.GetHookConfig(ctx); err != nil || hook.GetURL() != "" || hook.Secret != nil {
		t.Errorf("without a webhook: %+v, %v", hook, err)
	}
	w.SetWebhook(w.app, "http://127.0.0.1:1/webhooks/github", "canary")
	if hook, _, err := app.Apps.GetHookConfig(ctx); err != nil || hook.GetURL() != "http://127.0.0.1:1/webhooks/github" || hook.GetSecret() == "canary" {
		t.Errorf("with one: %+v, %v", hook, err)
	}
	must(t, w.Grant(repo, "admin", "bob"))
	judgeOwners(t, w)
	rights := func(c *api.Client) error {
		r, err := c.NewRequest(http.MethodGet, "repos/"+repo+"/actions/permissions/workflow", nil)
		must(t, err)
		_, err = c.Do(ctx, r, nil)
		return err
	}
	must(t, rights(w.as("bob")))
	status(t, rights(w.as("alice")), 404, "Not Found")
	status(t, rights(w.bot()), 403, "Resource not accessible by integration")
}

// judgeOwners asks what is wrong with the code owners, of the first file that
// counts.
func judgeOwners(t *testing.T, w *world) {
	t.Helper()
	read := func() (found struct {
		Errors []struct {
			Line, Column        int
			Kind, Path, Message string
		}
	}, err error) {
		r, err := w.bot().NewRequest(http.MethodGet, "repos/"+repo+"/codeowners/errors", nil)
		must(t, err)
		_, err = w.bot().Do(ctx, r, &found)
		return found, err
	}
	_, err := read()
	status(t, err, 404, "Not Found")
	_, err = w.Seed(repo, "main", map[string]string{"docs/CODEOWNERS": "* @nobody", "CODEOWNERS": "# ours\n* @alice @acme/none\n"}, "alice", "owners")
	must(t, err)
	found, err := read()
	must(t, err)
	if len(found.Errors) != 1 || found.Errors[0].Line != 2 || found.Errors[0].Column != 10 || found.Errors[0].Path != "CODEOWNERS" || found.Errors[0].Kind != "Unknown owner" {
		t.Errorf("what is wrong with the code owners: %+v", found)
	}
}
