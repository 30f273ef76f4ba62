package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A reader goes through a file from its top, whatever the order of its keys.
func TestFailuresStandInTheOrderOfTheirFiles(t *testing.T) {
	const tests = `kind: PolicyTest
metadata: {name: NAME}
spec:
  table: |
    requester | decision
    alice     | deny
    dana      | allow
  given: {at: 2026-11-24T10:00:00Z}
  when: {resource: db, duration: 1h}
  cases:
    - {name: below the table, when: {requester: dana}, then: {decision: allow}}
---
kind: PolicyTest
metadata: {name: second-NAME}
spec:
  cases:
    - {name: in another document, given: {at: 2026-11-24T10:00:00Z}, when: {requester: dana, resource: db, duration: 1h}, then: {decision: allow}}
`
	files := []File{
		doc("world.yaml", testWorld),
		doc("tests/z.yaml", strings.ReplaceAll(tests, "NAME", "z")), doc("tests/a.yaml", strings.ReplaceAll(tests, "NAME", "a")),
	}
	set, suite := suiteOf(t, files)
	failures, run := suite.Run(set, nil)
	var got []string
	for _, f := range failures {
		got = append(got, fmt.Sprintf("%s:%d", strings.TrimPrefix(f.File, "policies/tests/"), f.Line))
	}
	// alice is denied as claimed: nobody knows whether she is on call.
	if want := []string{"a.yaml:7", "a.yaml:11", "a.yaml:17", "z.yaml:7", "z.yaml:11", "z.yaml:17"}; !slices.Equal(got, want) || run != 8 {
		t.Errorf("%d cases; failures at %v, want %v", run, got, want)
	}
}

// dutyTests claims something of all that dutyPolicy says, but for what each
// test below leaves out.
const dutyTests = `kind: PolicyTest
metadata: {name: duty}
spec:
  given: {at: 2026-11-24T09:00:00Z, teams: [{team: acme/dba, people: [grace]}, {team: acme/developers, people: [carol]}]}
  when: {resource: db, duration: 1h, ticket: INC-1, requester: carol}
  cases:
`

func TestMutationOfWhatIsSaidOfEmergenciesExtensionsAndReviews(t *testing.T) {
	const all = "spec:\n  resource: db\n  approval: {approver_roles: [team-lead], escalate: [{after: 15m, to: security}], approve_from: [github]}\n" +
		"  extensions: {max: 2, each: 30m}\n  break_glass: {roles: [dba-team, on-call], max_duration: 2h, require_ticket: false, review_within: 1h}\n"
	const redundant = "spec:\n  resource: db\n  approval: {approver_roles: [team-lead], approve_from: [cli, github]}\n" +
		"  extensions: {max: 1, each: 1h}\n  break_glass: {roles: [dba-team], max_duration: 8h, require_ticket: true}\n"
	head := dutyPolicy[:strings.Index(dutyPolicy, "spec:\n  resource")]
	for _, tt := range []struct {
		claim, policy, cases string
		survivors, redundant []string
	}{
		{"nothing is claimed of them", all, "    - {name: x, when: {requester: mallory}, then: {decision: deny, rule: people/unknown}}\n", []string{
			"approval: {approver_roles: [team-lead], escalate: [{after: 15m, to: sec…", "escalate: [{after: 15m, to: security}]", "escalate[0]: {after: 15m, to: security}",
			"approve_from: [github]", "extensions: {max: 2, each: 30m}", "max: 2", "each: 30m",
			"break_glass: {roles: [dba-team, on-call], max_duration: 2h, require_tic…", "roles: [dba-team, on-call]", "dba-team in roles", "on-call in roles", "max_duration: 2h", "require_ticket: false",
		}, nil},
		{"all of them is claimed", all, `    - {name: where, then: {decision: review, approve_from: [github], approvers: [dana]}}
    - {name: and later, given: {waiting: 15m}, then: {decision: review, approvers: [dana, eve]}}
    - {name: twice, when: {extends: {total: 1h, extensions: 1}, duration: 30m}, then: {decision: review}}
    - {name: not longer, when: {extends: {total: 1h}, duration: 30m1s}, then: {decision: deny}}
    - {name: grace, when: {requester: grace, break_glass: true, ticket: "", duration: 2h}, then: {decision: allow}}
    - {name: alice, when: {requester: alice, break_glass: true}, then: {decision: allow}}
    - {name: not for longer, when: {requester: alice, break_glass: true, duration: 2h1s}, then: {decision: deny}}
`, nil, nil},
		{"what says what would be so anyway", redundant, `    - {name: carol, then: {decision: review, approve_from: [cli, github]}}
    - {name: once, when: {extends: {total: 1h}}, then: {decision: review}}
    - {name: grace, when: {requester: grace, break_glass: true}, then: {decision: allow}}
`, nil, []string{"approve_from: [cli, github]", "max: 1", "each: 1h", "max_duration: 8h", "require_ticket: true"}},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			files := append(readDir(t, "acme"), doc("db.yaml", head+tt.policy), doc("tests/t.yaml", dutyTests+tt.cases))
			_, suite := suiteOf(t, files)
			m, err := suite.Mutate(files)
			if err != nil {
				t.Fatal(err)
			}
			texts := func(deletions []Deletion) (out []string) {
				for _, d := range deletions {
					if d.File == "policies/db.yaml" {
						out = append(out, d.Text)
					}
				}
				return out
			}
			if got := texts(m.Survivors); !slices.Equal(got, tt.survivors) {
				t.Errorf("survivors:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.survivors, "\n"))
			}
			if got := texts(m.Redundant); !slices.Equal(got, tt.redundant) {
				t.Errorf("redundant:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.redundant, "\n"))
			}
		})
	}
}

func TestWhereAReviewIsGivenIsClaimed(t *testing.T) {
	files := append(readDir(t, "acme"), doc("db.yaml", dutyPolicy), doc("tests/t.yaml", dutyTests+`    - {name: elsewhere, when: {duration: 4h}, then: {decision: review, approve_from: [github, cli]}}
    - {name: nowhere, then: {decision: allow, approve_from: [github]}}
    - {name: as it is, when: {duration: 4h}, then: {decision: review, approve_from: [slack, github]}}
    - {name: by nobody, then: {decision: allow, approve_from: []}}
`))
	set, suite := suiteOf(t, files)
	failures, _ := suite.Run(set, nil)
	if got, want := fmt.Sprint(failures[0].Mismatches, failures[1].Mismatches, len(failures)), "[{approve_from cli, github github, slack}] [{approve_from github nowhere}] 2"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestAReplaySupposesNothingOfOtherGrants: where nobody recorded what an
// extension or an emergency rests on, nobody can say what would have been.
func TestAReplaySupposesNothingOfOtherGrants(t *testing.T) {
	s, f := dutyWorld(t)
	extension, emergency := askDB(carol, hour), askDB(grace, hour)
	extension.Extends, emergency.BreakGlass = baseID, true
	r := s.Replayer()
	for _, tt := range []struct {
		claim   string
		req     Request
		base    *Base
		overdue *Overdue
		outcome Outcome
		missing []string
	}{
		{"what is extended was recorded", extension, baseOf(f.At), nil, Allow, nil},
		{"and was too long", extension, &Base{Grant: baseID, Requester: carol.ID, Resource: "db", Total: 4 * hour, EndsAt: f.At.Add(hour), Live: true, ReadAt: f.At}, nil, Deny, nil},
		{"what is extended was not recorded", extension, nil, nil, Deny, []string{"the grant that is extended"}},
		{"nothing was overdue", emergency, nil, &Overdue{ReadAt: f.At}, Allow, nil},
		{"whether anything was overdue was not recorded", emergency, nil, nil, Deny, []string{"reviews of earlier break-glass access"}},
	} {
		facts := f
		facts.Base, facts.Overdue = tt.base, tt.overdue
		if got := r.Replay(&tt.req, &facts); got.Outcome != tt.outcome || !slices.Equal(got.Missing, tt.missing) {
			t.Errorf("%s: %s, missing %q", tt.claim, got.Outcome, got.Missing)
		}
	}
	waited := f
	waited.Since = f.At.Add(-15 * minute)
	long := askDB(carol, 4*hour)
	if a, b := r.Replay(&long, &f), r.Replay(&long, &waited); a.Approvers == b.Approvers || a.Outcome != NeedsReview {
		t.Errorf("%q asks as many as %q", a.Approvers, b.Approvers)
	}
	if time.Duration(0) != s.Evaluate(long, f).ReviewWithin {
		t.Error("an ordinary grant is reviewed afterwards")
	}
}
