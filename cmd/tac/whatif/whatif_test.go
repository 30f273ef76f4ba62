package whatif_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/cmd/tac/whatif"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// load compiles the starter's policies, with other files in their place.
func load(t testing.TB, changed map[string]string) *policies.Set {
	t.Helper()
	all, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(all, changed)
	var files []policies.File
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "policies/") && strings.HasSuffix(name, ".yaml") && !strings.HasPrefix(name, "policies/tests/") {
			files = append(files, policies.File{Path: name, Data: []byte(all[name])})
		}
	}
	set, findings := policies.Load(files, time.LoadLocation)
	if set.Err() != nil {
		t.Fatal(findings)
	}
	return set
}

const path = "policies/production-database.yaml"

func policy(rest string) map[string]string {
	return map[string]string{path: "kind: AccessPolicy\nmetadata: {name: production-database}\nspec:\n  resource: postgres-prod\n" + rest}
}

// past returns n grants, an hour apart and newest first, for bob and carol in
// turns.
func past(n int) []whatif.Past {
	when := time.Date(2026, 11, 20, 9, 0, 0, 0, time.UTC)
	all := make([]whatif.Past, n)
	for i := range all {
		who := []grants.Principal{{GitHub: "bob", ID: 1002}, {GitHub: "carol", ID: 1003}}[i%2]
		at := when.Add(-time.Duration(i) * time.Hour)
		all[i] = whatif.Past{
			Grant: grants.Grant{
				ID: grants.ID(fmt.Sprintf("20261120-%010d", i)), Resource: "postgres-prod", Requester: who, Duration: 2 * time.Hour,
				Reason: "x", Ticket: "INC-1", RequestedAt: at, Via: grants.ViaCLI,
			},
			Commit: strings.Repeat("a", 40), MergedAt: at, Decision: "review", Rule: "production-database/approval",
			Facts: policies.Facts{At: at, Teams: map[policies.TeamRef]policies.Team{{Org: "acme", Slug: "dba"}: {ID: 7, Slug: "dba", ReadAt: at}}},
		}
	}
	return all
}

func TestEveryGrantIsInOneGroupOrUnchanged(t *testing.T) {
	const approval = "  approval: {approver_roles: [team-lead, security]}\n"
	condition := func(fields string) string { return "  auto_approve: {conditions: [{" + fields + "}]}\n" + approval }
	tests := []struct {
		claim     string
		base, now string
		groups    map[whatif.Group]int
	}{
		{"nothing changed", condition("role: [developer]"), condition("role: [developer]"), nil},
		{"another name for the rule", condition("role: [developer]"), condition("name: dev, role: [developer]"), nil},
		{"opened", condition("role: [developer], max_duration: 1h"), condition("role: [developer], max_duration: 2h"), map[whatif.Group]int{whatif.PassesNow: 10}},
		{"closed", condition("role: [developer], max_duration: 2h"), condition("role: [developer], max_duration: 1h"), map[whatif.Group]int{whatif.WaitsNow: 10}},
		{"refused", approval, approval + "  max_duration: 1h\n", map[whatif.Group]int{whatif.Refused: 10}},
		{"refused by the base", approval + "  max_duration: 1h\n", approval, map[whatif.Group]int{whatif.PossibleNow: 10}},
		{"other approvers", approval, "  approval: {approver_roles: [security]}\n", map[whatif.Group]int{whatif.Approvers: 10}},
		{"more approvers", approval, "  approval: {approver_roles: [team-lead, security], required_approvers: 2}\n", map[whatif.Group]int{whatif.Approvers: 10}},
		{"facts that were not recorded", approval, condition("ticket: {tracker: jira}"), map[whatif.Group]int{whatif.Unknown: 10}},
		{"facts that both would have asked for", condition("ticket: {tracker: jira}"), condition("ticket: {tracker: jira}"), nil},
		{"facts that both ask for, each in its way", condition("ticket: {tracker: jira}"), condition("ticket: {tracker: jira, state: open}"), map[whatif.Group]int{whatif.Unknown: 10}},
		{"facts that were not recorded, of somebody else", approval, condition("role: [dba-team], ticket: {tracker: jira}"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			got := whatif.Compare(load(t, policy(tt.base)), load(t, policy(tt.now)), past(10))
			sum := got.Unchanged
			for _, g := range got.Groups {
				sum += len(g.Grants)
				if len(g.Grants) != tt.groups[g.Group] {
					t.Errorf("%s has %d", g.Group, len(g.Grants))
				}
				for _, c := range g.Grants {
					if len(c.Why) == 0 {
						t.Errorf("%s: nothing says why of %s", g.Group, c.ID)
					}
				}
			}
			if sum != 10 || got.Replayed != 10 {
				t.Errorf("%d grants of %d", sum, got.Replayed)
			}
		})
	}
}

// TestWhyNamesOnlyWhatHelped: of a condition that let nobody in before and lets
// nobody in now nothing is told, unless there is nothing else to tell.
func TestWhyNamesOnlyWhatHelped(t *testing.T) {
	const approval = "  approval: {approver_roles: [team-lead, security]}\n"
	conditions := func(list ...string) string {
		return "  auto_approve:\n    conditions:\n      - {" + strings.Join(list, "}\n      - {") + "}\n" + approval
	}
	tests := []struct {
		claim     string
		base, now string
		want      string
	}{
		{"of two conditions that change, the one that lets in",
			conditions("role: [developer], max_duration: 1h", "role: [dba-team], max_duration: 1h"),
			conditions("role: [developer], max_duration: 2h", "role: [dba-team], max_duration: 2h"),
			"production-database/auto_approve[0]: max_duration: holds now (2h; before: at most 1h; now: at most 2h)"},
		{"by their names as well",
			conditions("name: dev, role: [developer], max_duration: 1h", "name: dba, role: [dba-team], max_duration: 1h"),
			conditions("name: dev, role: [developer], max_duration: 2h", "name: dba, role: [dba-team], max_duration: 2h"),
			"dev: max_duration: holds now (2h; before: at most 1h; now: at most 2h)"},
		{"one that let in and does not any more",
			conditions("role: [developer], max_duration: 2h", "role: [dba-team], max_duration: 2h"),
			conditions("role: [developer], max_duration: 1h", "role: [dba-team], max_duration: 1h"),
			"2h is over the 1h that developers get without review: ask for 1h, or wait for one of @dana, @eve; production-database/auto_approve[0]: max_duration: does not hold now (2h; before: at most 2h; now: at most 1h)"},
		{"a demand, whoever is let in",
			conditions("role: [dba-team], max_duration: 1h"), conditions("role: [dba-team], max_duration: 2h") + "  max_duration: 1h\n",
			"2h is over the 1h that production-database allows anybody: ask for 1h and wait for one of @dana, @eve; production-database/max_duration: max_duration: does not hold now (2h; before: at most 8h; now: at most 1h)"},
		{"one that is new beside one that never helped",
			conditions("role: [dba-team], max_duration: 1h"), conditions("role: [dba-team], max_duration: 2h", "role: [developer]"),
			"new: production-database/auto_approve[1]: role: holds now (bob has developer, wanted developer)"},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			got := whatif.Compare(load(t, policy(tt.base)), load(t, policy(tt.now)), past(1))
			var why []string
			for _, g := range got.Groups {
				for _, c := range g.Grants {
					why = append(why, c.Why...)
				}
			}
			if strings.Join(why, "; ") != tt.want {
				t.Errorf("told:\n%s\nwant:\n%s", strings.Join(why, "\n"), tt.want)
			}
		})
	}
}

func TestTheReportFitsIntoACommentAndRunsNothingThere(t *testing.T) {
	evil := "@acme/all #1 https://evil.test www.evil.test <img src=x> ![x](y) `` ` `` | --> </details> \x1b[31m\u202e" + strings.Repeat("long ", 200)
	many := make([]whatif.Change, 500)
	for i := range many {
		many[i] = whatif.Change{ID: "20261120-k3v9q2m4tz", Requester: evil, Resource: evil, Duration: "2h", Base: whatif.Judged{Rule: evil}, Now: whatif.Judged{Rule: evil}, Why: []string{evil, evil, evil}, Missing: []string{evil}}
	}
	cut := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	report := whatif.Printed{
		Base: whatif.Revision{Name: evil, Commit: strings.Repeat("a", 40)}, Now: whatif.Revision{Name: "the work tree"},
		Report: whatif.Report{Replayed: 3000, Missing: []string{evil}}, CutOff: &cut, Unreadable: []string{evil, evil}, Note: whatif.Blind,
	}
	for _, g := range []whatif.Group{whatif.PassesNow, whatif.PossibleNow, whatif.Refused, whatif.WaitsNow, whatif.Approvers, whatif.Unknown} {
		report.Groups = append(report.Groups, whatif.Changes{Group: g, Grants: many})
	}
	var b bytes.Buffer
	if err := report.WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if len([]rune(text)) > 65_536 || !strings.HasPrefix(text, whatif.Marker+"\n") || !strings.HasSuffix(text, "\n"+whatif.Blind+"\n") {
		t.Errorf("%d characters; it begins %.40q and ends %q", len([]rune(text)), text, text[len(text)-60:])
	}
	if opened, closed := strings.Count(text, "<details>"), strings.Count(text, "\n</details>\n"); opened != 6 || closed != 6 {
		t.Errorf("%d details are opened and %d closed", opened, closed)
	}
	// What is left when code and what is escaped are taken out has nothing
	// that acts.
	outside := text
	for _, inert := range []string{"(?s)````* .*? ````*", `\\.`, "`[^`\n]*`"} {
		outside = regexp.MustCompile(inert).ReplaceAllString(outside, "")
	}
	for _, acts := range []string{"@acme", "#1", "https://", "www.evil", "\x1b", "\u202e", "<img", "![", "]("} {
		if strings.Contains(outside, acts) {
			at := strings.Index(outside, acts)
			t.Errorf("%q is in the comment: %q", acts, outside[max(0, at-150):min(len(outside), at+50)])
		}
	}
	b.Reset()
	if err := report.WriteText(&b); err != nil || strings.ContainsAny(b.String(), "\x1b\u202e") || !strings.HasSuffix(b.String(), whatif.Blind+"\n") {
		t.Errorf("the text holds what terminals act on, or does not end as it should (%v)", err)
	}
}

func TestJSONHasListsAndNoNulls(t *testing.T) {
	set := load(t, nil)
	data, err := json.Marshal(whatif.Printed{Report: whatif.Compare(set, set, nil), Unreadable: []string{}, Note: whatif.Blind})
	if err != nil || bytes.Contains(data, []byte("null")) {
		t.Errorf("%s, %v", data, err)
	}
}

// BenchmarkTenThousandGrants is what is left of a run once git has been read.
func BenchmarkTenThousandGrants(b *testing.B) {
	const approval = "  approval: {approver_roles: [team-lead, security]}\n"
	base, all := load(b, policy(approval)), past(10_000)
	for name, now := range map[string]string{"none changes": approval, "all change": "  auto_approve: {conditions: [{role: [developer]}]}\n" + approval} {
		b.Run(name, func(b *testing.B) {
			set := load(b, policy(now))
			for b.Loop() {
				whatif.Compare(base, set, all)
			}
		})
	}
}
