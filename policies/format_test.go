package policies

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// reformatted returns a file in canonical form, having checked that nothing
// is left to change in it.
func reformatted(t *testing.T, f File) File {
	t.Helper()
	once, err := Format(f.Path, f.Data)
	if err != nil {
		t.Fatalf("format: %v\n%s", err, f.Data)
	}
	twice, err := Format(f.Path, once)
	if err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("%s formatted once:\n%s\ntwice (%v):\n%s", f.Path, once, err, twice)
	}
	return File{Path: f.Path, Data: once}
}

func TestFormatOrdersKeysAndKeepsComments(t *testing.T) {
	const src = `# How people get in.
#
# Read it as sentences.

spec:
    approval:  {approver_roles: ["security", 'team-lead'], required_approvers: 2} # two
    resource: "postgres-prod"

    # When nobody has to look.
    auto_approve:
        conditions:
        - max_duration: "4h"   # at most
          role: ["on-call"]
        # - role: [developer]
        -   expression: 'request.duration <= duration("1h") && "dba" in requester.roles'
            name: short
    audit:
      require_reason: true
metadata: {name: "production-database"}
kind: AccessPolicy
---
spec: {table: "a | b \nc | d\n", when: {resource: x, requester: y}}
kind: PolicyTest
metadata: {name: z}
`
	const want = `# How people get in.
#
# Read it as sentences.

kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod

  # When nobody has to look.
  auto_approve:
    conditions:
      - role: [on-call]
        max_duration: 4h # at most
      # - role: [developer]
      - name: short
        expression: request.duration <= duration("1h") && "dba" in requester.roles
  approval: {required_approvers: 2, approver_roles: [security, team-lead]} # two
  audit:
    require_reason: true
---
kind: PolicyTest
metadata: {name: z}
spec:
  when: {requester: "y", resource: x}
  table: |
    a | b` + " " + `
    c | d
`
	if got := reformatted(t, doc("p.yaml", src)); string(got.Data) != want {
		t.Errorf("got\n%s", got.Data)
	}
}

func TestFormatRefusesWhatCannotBeRead(t *testing.T) {
	out, err := Format("policies/x.yaml", []byte("kind: &a Role\nspec: *a\n"))
	if out != nil || err == nil {
		t.Fatalf("%q, %v", out, err)
	}
	wantWords(t, err.Error(), "policies/x.yaml:1:7", "anchors")
}

// TestFormatChangesNoMeaning formats every policy file of the tree, and has the
// tests among them pass as before.
func TestFormatChangesNoMeaning(t *testing.T) {
	for name, files := range everyRepository(t) {
		t.Run(name, func(t *testing.T) {
			set, suite := suiteOf(t, sameMeaning(t, files))
			failures, _ := suite.Run(set, nil)
			for _, failure := range failures {
				t.Errorf("%s:%d: %s", failure.File, failure.Line, failure.Name)
			}
		})
	}
}

// everyRepository returns the policy files that the tree holds, by folder.
func everyRepository(t testing.TB) map[string][]File {
	t.Helper()
	all := corpus(t)
	for _, pattern := range []string{"testdata/*/*.yaml", "../cmd/tac/starter/files/policies/*.yaml", "../cmd/tac/starter/files/policies/tests/*.yaml"} {
		paths, err := filepath.Glob(filepath.FromSlash(pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			folder := "policies/"
			if strings.Contains(filepath.ToSlash(p), "/tests/") {
				folder = "policies/tests/"
			}
			name := filepath.ToSlash(strings.TrimSuffix(filepath.Dir(p), string(filepath.Separator)+"tests"))
			all[name] = append(all[name], File{Path: folder + filepath.Base(p), Data: data})
		}
	}
	if len(all) < 6 {
		t.Fatalf("only %d repositories found", len(all))
	}
	return all
}

// sameMeaning fails unless the files, once formatted, are accepted or refused
// as before, judge every request of a handful alike and get the same advice.
func sameMeaning(t *testing.T, files []File) (formatted []File) {
	t.Helper()
	formatted = make([]File, len(files))
	for i, f := range files {
		formatted[i] = reformatted(t, f)
	}
	before, faults := Load(files, time.LoadLocation)
	after, faultsAfter := Load(formatted, time.LoadLocation)
	if a, b := codes(faults), codes(faultsAfter); !slices.Equal(a, b) {
		t.Fatalf("before: %v\nafter: %v\n%s", faults, faultsAfter, formatted[0].Data)
	}
	if a, b := codes(before.Lint()), codes(after.Lint()); !slices.Equal(a, b) {
		t.Fatalf("lint before: %q\nafter: %q", before.Lint(), after.Lint())
	}
	a, b := decisions(t, before), decisions(t, after)
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("before:\n%s\nafter:\n%s\nof\n%s", a[i], b[i], formatted[0].Data)
		}
	}
	return formatted
}

// codes returns what findings say without where; which of several names is
// called the second may depend on the order of keys.
func codes(findings []Finding) []string {
	all := make([]string, len(findings))
	for i, f := range findings {
		all[i] = f.File + " " + f.Severity + " " + f.Code
	}
	slices.Sort(all)
	return all
}

// TestHostileTextsSurvive: what people can write as a text is the same text
// afterwards, and what looks like a comment is none.
func TestHostileTextsSurvive(t *testing.T) {
	for _, text := range []string{
		"yes", "null", "~", "012", "1e3", "2026-11-22", "12:30", "a # b", "#a", "a: b", "- a", "a:", "[a", "{a: b}", "'a'", `"a"`, `it's "so"`, `C:\\x`, "*a", "&a", "!a", "%a", "@a", "`a`", "| a", "> a", "---", "...", "? a", "=", "<<",
		"é日本語😀", "e\u0301", "a  b", "a,b", "a]", strings.Repeat("long ", 90) + "end",
	} {
		resource := func(written string) File {
			return doc("r.yaml", "kind: Resource\nmetadata: {name: x}\nspec:\n  description: "+written+" # note\n  vault: {engine: generic, path: a/b, policy: tac-x}\n  connect: "+written+"\n")
		}
		for style, written := range map[string]string{
			"double": strconv.QuoteToASCII(text), "single": "'" + strings.ReplaceAll(text, "'", "''") + "'", "folded": ">-\n    " + text + "\n ", "literal": "|-\n    " + text + "\n ",
		} {
			f := resource(written)
			before, ok := mustLoad(t, f).Resource("x")
			after, _ := mustLoad(t, reformatted(t, f)).Resource("x")
			if !ok || before.Description != text || !reflect.DeepEqual(before, after) {
				t.Errorf("%q, %s: %q becomes %q", text, style, before.Description, after.Description)
			}
			if !bytes.Contains(reformatted(t, f).Data, []byte("# note")) {
				t.Errorf("%q, %s: the comment is lost", text, style)
			}
		}
	}
}

// TestPropertyFormattingKeepsCommentsAndMeaning writes comments and empty lines
// all over accepted files, and takes parts of them out.
func TestPropertyFormattingKeepsCommentsAndMeaning(t *testing.T) {
	repositories := everyRepository(t)
	repositories["every key"] = []File{doc("all.yaml", everyKey)}
	names := slices.Sorted(maps.Keys(repositories))
	rapid.Check(t, func(r *rapid.T) {
		files := slices.Clone(repositories[rapid.SampledFrom(names).Draw(r, "repository")])
		i := rapid.IntRange(0, len(files)-1).Draw(r, "file")
		var marks []string
		files[i].Data, marks = littered(r, without(r, files[i]))
		if _, err := Format(files[i].Path, files[i].Data); err != nil {
			return // a comment has broken a text apart
		}
		formatted := sameMeaning(t, files)
		for _, mark := range marks {
			number, _, _ := strings.Cut(mark, ".") // the rest may be escaped, in a text that the comment fell into
			if bytes.Count(formatted[i].Data, []byte(number+".")) != 1 {
				r.Fatalf("%s is lost: from\n%s\nto\n%s", mark, files[i].Data, formatted[i].Data)
			}
		}
	})
}

// without takes a key or an item out of one document of a file.
func without(r *rapid.T, f File) []byte {
	nodes, errs := strictyaml.Parse(f.Path, f.Data, fileLimits)
	if len(errs) > 0 || len(nodes) == 0 || rapid.Bool().Draw(r, "whole") {
		return f.Data
	}
	i := rapid.IntRange(0, len(nodes)-1).Draw(r, "document")
	var places []strictyaml.Pos
	nodes[i].Walk(func(_ string, key, _ strictyaml.Pos, _ string) { places = append(places, key) })
	nodes[i], _ = nodes[i].Without(rapid.SampledFrom(places).Draw(r, "place"))
	parts := make([]string, len(nodes))
	for k, n := range nodes {
		parts[k] = string(n.Bytes())
	}
	return []byte(strings.Join(parts, "---\n"))
}

// littered adds comments and empty lines, and returns the comments.
func littered(r *rapid.T, data []byte) (out []byte, marks []string) {
	comment := func() string {
		marks = append(marks, fmt.Sprintf("#%d%s", len(marks), rapid.SampledFrom([]string{".", ". \"a", ". 'b", ". [{", ". - c: d #", ". ---", ".\t|"}).Draw(r, "text")))
		return marks[len(marks)-1]
	}
	var b bytes.Buffer
	for line := range strings.Lines(string(data)) {
		switch rapid.IntRange(0, 9).Draw(r, "what") {
		case 0:
			b.WriteString(strings.Repeat(" ", rapid.IntRange(0, 10).Draw(r, "indent")) + comment() + "\n" + line)
		case 1:
			b.WriteString(strings.TrimSuffix(line, "\n") + " " + comment() + "\n")
		case 2:
			b.WriteString(strings.Repeat("\n", rapid.IntRange(1, 3).Draw(r, "empty")) + line)
		case 3:
			b.WriteString(strings.Replace(line, ",", ",   "+comment()+"\n"+strings.Repeat(" ", 20), 1))
		default:
			b.WriteString(line)
		}
	}
	return b.Bytes(), slices.DeleteFunc(marks, func(m string) bool { return !bytes.Contains(b.Bytes(), []byte(m)) })
}
