package policies

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sound is a world in which lint finds nothing. Tests add one mistake to it.
const sound = `kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1, manager: dana}
    - {github: bob, id: 2, manager: dana}
    - {github: carol, id: 3, manager: dana}
    - {github: dana, id: 4, manager: eve}
    - {github: eve, id: 5}
---
kind: Calendar
metadata: {name: default}
spec: {timezone: Europe/Berlin, days: [mon, tue, wed, thu, fri], hours: "09:00-17:00", holidays: [2026-12-25]}
---
kind: Role
metadata: {name: on-call}
spec: {rotation: {timezone: UTC, start: 2026-01-05T09:00:00, shift: 168h, members: [alice, bob]}}
---
kind: Role
metadata: {name: dba}
spec: {github_teams: [acme/dba]}
---
kind: Role
metadata: {name: developer}
spec: {members: [alice, bob, carol]}
---
kind: Role
metadata: {name: senior}
spec: {members: [alice, bob]}
---
kind: Role
metadata: {name: lead}
spec: {members: [dana]}
---
kind: Role
metadata: {name: security}
spec: {members: [eve]}
---
kind: Resource
metadata: {name: db}
spec: {environment: production, owners: [lead], vault: {engine: database, path: database/creds/db, policy: tac-db}, max_duration: 8h}
---
kind: Resource
metadata: {name: cache}
spec: {environment: staging, owners: [dba], vault: {engine: generic, path: cache/creds, policy: tac-cache}}
---
kind: AccessPolicy
metadata: {name: data}
spec:
  resources: [db, cache]
  auto_approve:
    conditions:
      - {role: [on-call, senior], max_duration: 2h}
      - {role: [developer], max_duration: 1h, business_hours_only: true, ticket: {pattern: 'OPS-[0-9]+'}}
  approval: {approver_roles: [lead, security]}
---
kind: Guardrail
metadata: {name: production}
spec: {environment: [production], max_duration: 12h}
`

// monday is when the tests lint: within business hours.
var monday = time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)

// resourceDoc and policyDoc make documents that are sound but for what is
// given. A policy's approvers are a team, so anybody may be among them.
func resourceDoc(name, more string) string {
	return "kind: Resource\nmetadata: {name: " + name + "}\nspec: {owners: [lead], vault: {engine: database, path: database/creds/x, policy: tac-x}" + more + "}\n---\n"
}

func policyDoc(name, target, more string) string {
	return "kind: AccessPolicy\nmetadata: {name: " + name + "}\nspec:\n  resources: [" + target + "]\n  approval: {approver_roles: [dba]}\n" + more + "---\n"
}

// web is a resource with one policy, the spec of which goes on with more.
func web(more string) string { return resourceDoc("web", "") + policyDoc("web", "web", more) }

func conditions(list ...string) string {
	return "  auto_approve:\n    conditions:\n      - {" + strings.Join(list, "}\n      - {") + "}\n"
}

func roleDoc(name, spec string) string {
	return "kind: Role\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n---\n"
}

func guardrailDoc(name, spec string) string {
	return "kind: Guardrail\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n---\n"
}

func peopleDoc(list ...string) string {
	return "kind: People\nmetadata: {name: more}\nspec:\n  people:\n    - {" + strings.Join(list, "}\n    - {") + "}\n---\n"
}

// used names roles in a policy, so that they are not unused.
func used(roles string) string { return web(conditions("role: [" + roles + "], max_duration: 30m")) }

// lintCase is a mistake and its near miss: what is closest to the mistake and
// right. want are all findings on fires, as "line:column message"; near has
// none of the code.
type lintCase struct {
	code, claim string
	fires, near string
	also        []string // codes of what the mistake brings with it
	want        []string
}

func TestLintFindsTheMistakeAndNotItsNearMiss(t *testing.T) {
	if found := mustLoad(t, doc("sound.yaml", sound)).LintAt(monday); len(found) > 0 {
		t.Fatalf("the sound world has findings: %v", found)
	}
	for _, tt := range slices.Concat(lintRoleCases, lintPolicyCases, lintConditionCases, lintGuardrailCases) {
		t.Run(tt.code+"/"+tt.claim, func(t *testing.T) {
			fires := mustLoad(t, doc("sound.yaml", sound), doc("x.yaml", tt.fires)).LintAt(monday)
			var got []string
			for _, f := range fires {
				if f.Code != tt.code {
					if !slices.Contains(tt.also, f.Code) {
						t.Errorf("also found %s [%s]", f, f.Code)
					}
					continue
				}
				got = append(got, fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Message))
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for _, f := range mustLoad(t, doc("sound.yaml", sound), doc("x.yaml", tt.near)).LintAt(monday) {
				if f.Code == tt.code {
					t.Errorf("the near miss has %s [%s]", f, f.Code)
				}
			}
		})
	}
}

// TestTheTableOfRulesIsWhole: every rule is shown by a test, and no finding
// has a code that is not in the table.
func TestTheTableOfRulesIsWhole(t *testing.T) {
	shown := map[string]bool{}
	for _, tt := range slices.Concat(lintRoleCases, lintPolicyCases, lintConditionCases, lintGuardrailCases) {
		shown[tt.code] = true
	}
	for _, tt := range lintGrantCases {
		shown[tt.code] = true
	}
	for _, code := range []string{"no-documents", "syntax", "kind", "schema", "value", "duplicate"} {
		shown[code] = true // TestMistakesAreToldWithTheirPlace
	}
	shown["policy/untested"] = true // TestAPolicyWithoutATestIsTold
	known := map[string]bool{}
	for _, r := range Rules() {
		switch {
		case known[r.Code]:
			t.Errorf("%s stands in the table twice", r.Code)
		case strings.HasPrefix(r.Code, "file/"), strings.HasPrefix(r.Code, "test/"): // shown where files are read, and where tests are
		case !shown[r.Code]:
			t.Errorf("no test shows %s", r.Code)
		case r.Summary == "" || r.Help == "" || !strings.HasSuffix(r.Help, ".") || strings.HasSuffix(r.Summary, ".") || len(r.Summary) > 110:
			t.Errorf("%s: the summary is one short line without a full stop, the help whole sentences", r.Code)
		case r.Severity != SeverityError && r.Severity != SeverityWarning:
			t.Errorf("%s: severity %q", r.Code, r.Severity)
		}
		known[r.Code] = true
	}
	for code := range shown {
		if !known[code] {
			t.Errorf("tests show %s, which is not in the table", code)
		}
	}
	for code, place := range writtenCodes(t) {
		if !known[code] {
			t.Errorf("%s: a finding has the code %q, which is not in the table", place, code)
		}
	}
}

// writtenCodes are the codes of findings that are made without the table:
// while documents are read.
func writtenCodes(t *testing.T) map[string]string {
	codes := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	for _, name := range files {
		file, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || strings.HasSuffix(name, "_test.go") {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			at := map[string]int{"fault": 1, "errors": 0}
			if !ok {
				return true
			}
			i, makes := at[sel.Sel.Name]
			if !makes || i >= len(call.Args) {
				return true
			}
			if lit, ok := call.Args[i].(*ast.BasicLit); ok && lit.Kind == token.STRING {
				code, _ := strconv.Unquote(lit.Value)
				codes[code] = set.Position(call.Pos()).String()
			}
			return true
		})
	}
	if len(codes) < 5 {
		t.Fatalf("found only the codes %v: this test no longer sees them", codes)
	}
	return codes
}

func TestAPolicyWithoutATestIsTold(t *testing.T) {
	s := mustLoad(t, doc("sound.yaml", sound), doc("x.yaml", web("")))
	test := func(resources ...string) string {
		text := "kind: PolicyTest\nmetadata: {name: a}\nspec:\n  given: {at: 2026-11-24T10:00:00 UTC}\n  when: {requester: alice, duration: 1h}\n  cases:\n"
		for i, r := range resources {
			text += fmt.Sprintf("    - {name: case-%d, when: {resource: %s}, then: {decision: review}}\n", i, r)
		}
		return text
	}
	tests := []struct {
		claim string
		files []File
		want  []string
	}{
		{"both are tested", []File{doc("tests/a.yaml", test("db", "web"))}, nil},
		{"one is not", []File{doc("tests/a.yaml", test("cache", "db"))}, []string{"policies/x.yaml:6:18: warning: no test is about web: write a PolicyTest for web"}},
		{"nobody has begun to write tests", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			suite, faults := ReadTests(tt.files, s, time.LoadLocation)
			if len(faults) > 0 {
				t.Fatal(faults)
			}
			var got []string
			for _, f := range s.LintTests(suite) {
				got = append(got, f.String())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestLintIsSilentOnWhatIsRight(t *testing.T) {
	s := acme(t, doc("wiki.yaml", "kind: AccessPolicy\nmetadata: {name: wiki}\nspec:\n  resource: wiki\n  request: {roles: [developer]}\n  approval: {approver_roles: [manager, on-call]}\n"))
	if f := s.LintAt(monday); len(f) != 0 {
		t.Errorf("got %v", f)
	}
}

func TestPatternsMeetWhereSomeNameMatchesBoth(t *testing.T) {
	tests := []struct{ a, b, want string }{
		{"db", "db", "db"}, {"db", "cache", ""}, {"db", "d*", "db"}, {"db", "*", "db"}, {"*", "*", "x"}, {"**", "***", "x"},
		{"postgres-*", "*-prod", "postgres-prod"}, {"a*", "*a", "a"}, {"a*b", "b*a", ""}, {"ab*", "a*b", "ab"}, {"*ab*", "*ba*", "aba"},
		{"a*c*e", "ab*d*e", "abcde"}, {"x-*", "y-*", ""}, {"*-a", "*-b", ""}, {"a", "aa*", ""}, {"*aa*", "a", ""},
		{strings.Repeat("a", 40) + "*", "*" + strings.Repeat("b", 23), strings.Repeat("a", 40) + strings.Repeat("b", 23)},
		{strings.Repeat("a", 40) + "*", "*" + strings.Repeat("b", 24), ""}, // no name is that long
	}
	for _, tt := range tests {
		for _, pair := range [][2]string{{tt.a, tt.b}, {tt.b, tt.a}} {
			a, b := target{pattern: pair[0]}, target{pattern: pair[1]}
			got, ok := meet(a, b)
			if ok != (tt.want != "") || len(got) != len(tt.want) {
				t.Errorf("%s and %s meet in %q, want %q", a.pattern, b.pattern, got, tt.want)
			}
			if ok && (!a.matches(got) || !b.matches(got)) {
				t.Errorf("%s and %s are said to meet in %q, which they do not match", a.pattern, b.pattern, got)
			}
		}
	}
}

// TestPatternsMeetAsTheNamesSay compares meet with all names of up to six
// characters over two letters: beyond that, no small pattern has news.
func TestPatternsMeetAsTheNamesSay(t *testing.T) {
	names := words("ab", 6)
	patterns := words("ab*", 3)
	for _, p := range patterns {
		for _, q := range patterns {
			a, b := target{pattern: p}, target{pattern: q}
			want := slices.ContainsFunc(names, func(n string) bool { return a.matches(n) && b.matches(n) })
			if got, ok := meet(a, b); ok != want {
				t.Fatalf("%s and %s: meet says %q %v, the names say %v", p, q, got, ok, want)
			}
			taken := func(n string) bool { return len(n) < 3 }
			if got, ok := example(a, b, taken); ok && (taken(got) || !a.matches(got) || !b.matches(got)) {
				t.Fatalf("%s and %s: the example %q is not one", p, q, got)
			} else if want := slices.ContainsFunc(names, func(n string) bool { return a.matches(n) && b.matches(n) && !taken(n) }); ok != want {
				t.Fatalf("%s and %s: an example %q %v, the names say %v", p, q, got, ok, want)
			}
		}
	}
}

// words are all texts of 1 to most letters.
func words(alphabet string, most int) (all []string) {
	last := []string{""}
	for range most {
		var next []string
		for _, w := range last {
			for _, c := range alphabet {
				next = append(next, w+string(c))
			}
		}
		all, last = append(all, next...), next
	}
	return all
}
