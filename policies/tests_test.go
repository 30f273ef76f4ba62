package policies

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// testWorld is what the tests below are about: one policy on one resource.
const testWorld = `kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1001, pagerduty: PALICE, jira: j-alice}
    - {github: bob, id: 1002}
    - {github: dana, id: 1004}
---
kind: Role
metadata: {name: developer}
spec: {github_teams: [acme/developers]}
---
kind: Role
metadata: {name: duty}
spec: {pagerduty: {schedule: PABC123, levels: [1, 2]}}
---
kind: Role
metadata: {name: lead}
spec: {members: [dana]}
---
kind: Resource
metadata: {name: db}
spec: {owners: [lead], max_duration: 8h, vault: {engine: generic, path: a/db, policy: tac-db}}
---
kind: AccessPolicy
metadata: {name: db}
spec:
  resource: db
  request: {roles: [developer, duty]}
  max_duration: 8h
  auto_approve:
    conditions:
      - name: duty-may
        on_call: [duty]
        max_duration: 2h
        ticket: {tracker: jira, state: open}
      - {name: developer-may, role: [developer], max_duration: 1h, require_ticket: true, ticket: {pattern: 'INC-[0-9]+'}, at_most: {live_per_person: 1}}
  approval:
    required_approvers: 1
    approver_roles: [lead]
`

func testFiles(tests string) []File {
	return []File{doc("world.yaml", testWorld), doc("tests/t.yaml", tests)}
}

// readTests reads tests that must hold no mistake.
func readTests(t *testing.T, tests string) (*Set, *Suite, []File) {
	t.Helper()
	files := testFiles(tests)
	set, suite := suiteOf(t, files)
	return set, suite, files
}

var updateTests = flag.Bool("update-tests", false, "write what is said of mistakes into testdata/tests, to be read in the difference")

// TestMistakesInTestsAreToldWithTheirPlace: testdata/tests/mistakes.txtar has
// documents with mistakes, and what is said of each.
func TestMistakesInTestsAreToldWithTheirPlace(t *testing.T) {
	const path, suffix = "testdata/tests/mistakes.txtar", ": said"
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(a.Files); i += 2 {
		name, said := a.Files[i].Name, &a.Files[i+1]
		if said.Name != name+suffix {
			t.Fatalf("after %q stands %q", name, said.Name)
		}
		t.Run(name, func(t *testing.T) {
			files := testFiles(string(a.Files[i].Data))
			set, findings := Load(files, time.LoadLocation)
			suite, wrong := ReadTests(files, set, time.LoadLocation)
			var got strings.Builder
			for _, f := range append(findings, wrong...) {
				fmt.Fprintf(&got, "%d:%d: %s\n", f.Line, f.Column, f.Message)
				if f.File != "policies/tests/t.yaml" || f.Severity != SeverityError || f.Code == "" {
					t.Errorf("a finding elsewhere: %s", f)
				}
			}
			switch {
			case *updateTests:
				said.Data = []byte(got.String())
			case got.String() != string(said.Data):
				t.Errorf("it says\n%swant\n%s", got.String(), said.Data)
			}
			if suite.Cases() != 0 {
				t.Error("a case with a mistake would be run")
			}
		})
	}
	if *updateTests {
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const soundTests = `kind: PolicyTest
metadata: {name: sound}
spec:
  given:
    at: 2026-11-24T10:00:00Z
    teams: [{team: acme/developers, people: [bob]}]
    on_call: [{pager: pagerduty, schedule: PABC123, people: [alice], level: 2}]
    tickets: [{tracker: jira, key: INC-1, open: true}, {tracker: jira, key: INC-2, exists: false}, {tracker: jira, key: OPS-1, open: true}]
    uses: [{person: dana, resource: db, approved: 2026-11-24T08:00:00Z, until: 2026-11-24T12:00:00Z}]
  when: {resource: db, duration: 1h, ticket: INC-1}
  table: |
    requester | duration | ticket | decision | rule             | approvers | required | nearest
    alice     | 2h       | INC-1  | allow    | duty-may         | -         | 0        | -
    alice     | 2h1s     | INC-1  | review   | db/approval      | dana      | 1        | 2h1s is over the 2h that whoever is on call gets without review: ask for 2h, or wait for @dana
    alice     | 8h1s     | INC-1  | deny     | db/max_duration  | -         | 0        | 8h1s is over the 2h that whoever is on call gets without review: ask for 2h, or ask for 8h and wait for @dana
`

func TestWhatACaseClaimsIsCompared(t *testing.T) {
	tests := []struct{ claim, then, want string }{
		{"the decision", "decision: deny", "[{decision deny allow}]"},
		{"the rule", "decision: allow, rule: developer-may", "[{rule developer-may duty-may}]"},
		{"a rule that is not there", "decision: allow, rule: dutymay", "[{rule dutymay (no rule has this name; did you mean duty-may?) duty-may}]"},
		{"who could approve", "decision: allow, approvers: [dana]", "[{approvers dana nobody}]"},
		{"how many have to", "decision: allow, required: 2", "[{required 2 0}]"},
		{"the way out", "decision: allow, nearest: x", "[{nearest x nothing}]"},
		{"all of it", "decision: review, required: 1, approvers: [dana]", "[{decision review allow} {required 1 0} {approvers dana nobody}]"},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			set, suite, _ := readTests(t, strings.Split(soundTests, "  table:")[0]+"  cases:\n    - {name: one, when: {requester: alice}, then: {"+tt.then+"}}\n")
			failures, run := suite.Run(set, nil)
			if run != 1 || len(failures) != 1 || fmt.Sprint(failures[0].Mismatches) != tt.want {
				t.Fatalf("%d run, %d fail: %v, want %s", run, len(failures), failures[0].Mismatches, tt.want)
			}
			if f := failures[0]; f.Name != "one" || f.Line != 12 || f.Column != 14 || f.Decision.Outcome != Allow {
				t.Errorf("%s at %d:%d", f.Name, f.Line, f.Column)
			}
		})
	}
}

func TestCasesAreChosenByFileAndName(t *testing.T) {
	set, suite, _ := readTests(t, soundTests)
	_, run := suite.Run(set, func(name string) bool {
		return name == "policies/tests/t.yaml: alice | 2h1s | INC-1 | review | db/approval | dana | 1 | 2h1s is over the 2h that whoever is on call gets without review: ask for 2h, or wait for @dana"
	})
	if run != 1 || suite.Cases() != 3 || suite.Files != 1 {
		t.Errorf("%d run of %d", run, suite.Cases())
	}
}

// TestMutationNamesWhatNoTestMisses: few cases notice little, more notice
// more, and what another limit says as well is no survivor.
func TestMutationNamesWhatNoTestMisses(t *testing.T) {
	set, suite, files := readTests(t, soundTests)
	if failures, _ := suite.Run(set, nil); len(failures) > 0 {
		t.Fatalf("%v", failures[0].Mismatches)
	}
	m, err := suite.Mutate(files)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range m.Survivors {
		got = append(got, fmt.Sprintf("%d:%d %s", d.Line, d.Column, d.Text))
	}
	want := []string{
		"15:39 levels: [1, 2]", "15:48 1 in levels", // nobody of level 3, nor of level 1
		"29:13 roles: [developer, duty]", "29:21 developer in roles", // nobody asks who may not
		"36:9 ticket: {tracker: jira, state: open}", "36:33 state: open", // no closed ticket
		"37:9 conditions[1]: {name: developer-may, role: [developer], max_duration: 1h, require_tick…",
		"37:31 role: [developer]", "37:50 max_duration: 1h", "37:90 ticket: {pattern: 'INC-[0-9]+'}", "37:123 at_most: {live_per_person: 1}",
	}
	if !slices.Equal(got, want) {
		t.Errorf("survivors:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	got = nil
	for _, d := range m.Redundant {
		got = append(got, fmt.Sprintf("%d:%d %s", d.Line, d.Column, d.Text))
	}
	want = []string{"23:24 max_duration: 8h", "30:3 max_duration: 8h", "37:68 require_ticket: true", "39:5 required_approvers: 1"}
	if !slices.Equal(got, want) {
		t.Errorf("redundant:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if m.Deletions() != m.Noticed+len(m.Survivors) || m.Noticed == 0 {
		t.Errorf("%d noticed of %d", m.Noticed, m.Deletions())
	}
	failing := strings.Replace(soundTests, "allow    | duty-may", "deny     | duty-may", 1)
	_, suite, files = readTests(t, failing)
	if _, err := suite.Mutate(files); err == nil {
		t.Error("deletions are tried although a case fails")
	}
}

// TestAHundredPoliciesAreMutatedInSeconds has a bound far above what it takes: what
// is a third of a second here would be a minute if every deletion loaded anew.
func TestAHundredPoliciesAreMutatedInSeconds(t *testing.T) {
	files := manyPolicies(100)
	_, suite := suiteOf(t, files)
	begun := time.Now()
	m, err := suite.Mutate(files)
	if err != nil || m.Deletions() < 700 || len(m.Survivors) > 0 {
		t.Fatalf("%d deletions, %d survive: %v", m.Deletions(), len(m.Survivors), err)
	}
	t.Logf("%d deletions over %d cases in %v", m.Deletions(), suite.Cases(), time.Since(begun))
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("%d deletions took %v", m.Deletions(), took)
	}
}

// manyPolicies is a repository of n policies on two resources each, with a
// table of tests for each.
func manyPolicies(n int) []File {
	files := []File{doc("world.yaml", "kind: Role\nmetadata: {name: lead}\nspec: {members: [p0]}\n---\nkind: Role\nmetadata: {name: deputy}\nspec: {members: [p1]}\n---\nkind: Role\nmetadata: {name: developer}\nspec: {members: [p2, p3]}\n---\nkind: Role\nmetadata: {name: admin}\nspec: {members: [p4]}\n")}
	var b strings.Builder
	b.WriteString("kind: People\nmetadata: {name: everyone}\nspec:\n  people:\n")
	for i := range 500 {
		fmt.Fprintf(&b, "    - {github: p%d, id: %d}\n", i, i+1)
	}
	files = append(files, doc("people.yaml", b.String()))
	for i := range n {
		files = append(files, doc(fmt.Sprintf("p%03d.yaml", i), strings.ReplaceAll(`kind: Resource
metadata: {name: r#-a}
spec: {owners: [lead], vault: {engine: generic, path: a/r#a, policy: tac-r#a}}
---
kind: Resource
metadata: {name: r#-b}
spec: {owners: [lead], vault: {engine: generic, path: a/r#b, policy: tac-r#b}}
---
kind: AccessPolicy
metadata: {name: p#}
spec:
  resources: [r#-*]
  max_duration: 4h
  auto_approve:
    conditions:
      - {role: [admin], max_duration: 2h}
      - {role: [developer], max_duration: 1h, require_ticket: true}
  approval: {approver_roles: [lead, deputy]}
  audit: {require_reason: true}
`, "#", fmt.Sprint(i))))
		files = append(files, doc(fmt.Sprintf("tests/p%03d.yaml", i), strings.ReplaceAll(`kind: PolicyTest
metadata: {name: p#}
spec:
  given: {at: 2026-11-24T10:00:00Z}
  when: {resource: r#-a, reason: because}
  table: |
    requester | duration | ticket | decision | reason | approvers
    p4        | 2h       | -      | allow    | x      | -
    p4        | 2h1s     | -      | review   | x      | p0, p1
    p2        | 1h       | INC-1  | allow    | x      | -
    p2        | 1h1s     | INC-1  | review   | x      | p0, p1
    p2        | 1h       | -      | review   | x      | p0, p1
    p5        | 1h       | INC-1  | review   | x      | p0, p1
    p2        | 4h1s     | INC-1  | deny     | x      | -
    p2        | 1h       | INC-1  | deny     | -      | -
`, "#", fmt.Sprint(i))))
	}
	return files
}

func BenchmarkMutate(b *testing.B) {
	files := manyPolicies(100)
	set, _ := Load(files, time.LoadLocation)
	suite, _ := ReadTests(files, set, time.LoadLocation)
	for b.Loop() {
		if _, err := suite.Mutate(files); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzReadTests: whatever stands in a test file, reading and running it ends.
func FuzzReadTests(f *testing.F) {
	f.Add(soundTests)
	if a, err := txtar.ParseFile("testdata/tests/mistakes.txtar"); err == nil {
		for i := 0; i < len(a.Files); i += 2 {
			f.Add(string(a.Files[i].Data))
		}
	}
	set, _ := Load(testFiles("")[:1], time.LoadLocation)
	f.Fuzz(func(t *testing.T, tests string) {
		suite, findings := ReadTests(testFiles(tests), set, time.LoadLocation)
		for _, at := range findings {
			if at.File != "policies/tests/t.yaml" || at.Line < 1 || at.Line > strings.Count(tests, "\n")+1 || at.Column < 1 || at.Message == "" {
				t.Errorf("a finding without a place: %+v", at)
			}
		}
		suite.Run(set, nil)
	})
}
