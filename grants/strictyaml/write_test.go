package strictyaml_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// hostileTexts are texts that one reader or another takes for something else,
// or that a careless writer breaks.
var hostileTexts = []string{
	"", " ", "a", "on-call", "yes", "No", "y", "ON", "true", "null", "~", "Null", ".inf", "nan", ".NaN", "1", "-1", "+1", "010", "0x1f", "0b1", "0o7", "1_000", "1e3", "12e03", "1.5", ".5", "1:30", "190:20:30",
	"2026-11-22", "2026-11-22T10:00:00Z", "2001-12-14 21:59:43.10 -5", "09:00-17:00", "4h", "1h30m", "500ms", "1d", "8 h", "=", "<<", "-", "- a", "---", "...", "--- a", "?", "? a", "a ?", "a ? b : c", ":", "a:", "a: b", "a:b", ":a", "#", "# a", "a # b", "a #b", "a#b", "\ta", "a\t", "a\tb",
	" a", "a ", "  ", "a  b", "\n", "\n\n", "a\n", "a\n\n", "\na", "a\nb", "a\n\nb\n", "a \nb", " a\nb", "a\n b\n", "a\n\tb", "\ta\nb", "# a\nb", "a\n# b", "- a\n- b", "a: b\nc: d\n", "---\na", "...\nb", "a\r\nb", "a\rb", "\r", "a\u2028b", "a\u2029", "a\u0085b", "\u00a0a", "a\u00a0", "\ufeffa", "a\u200bb", "\u202ea", "é", "日本語", "😀", "e\u0301", "\u0301", "\x00", "\x1b[31m", "\x7f", "\ufffd", "\U0010ffff", "\ue000",
	`"a"`, `'a'`, `it's`, `a "b" 'c'`, `\`, `\n`, `a\"b`, `"`, `'`, "&a", "*a", "!a", "!!str a", "%a", "@a", "`a`", "|", ">", "|-\n a", "[a]", "{a: b}", "a, b", "a]", "{", "}", ",", `request.duration <= duration("1h") ? true : false`, `psql -h db.internal -U "$TAC_USERNAME" payments`, "postgres-*", "*.prod", "/a/b", "$HOME", "_x",
	strings.Repeat("long ", 400) + "end", strings.Repeat("x", 3000), strings.Repeat("é", 1001), strings.Repeat("\"", 600), strings.Repeat("a\n", 50),
}

// plain is what a document means: lists, mappings and tagged texts.
func plain(n *yaml.Node) string {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.ShortTag() == "!!null" {
			return "null"
		}
		return fmt.Sprintf("%s %q", n.ShortTag(), n.Value)
	case yaml.DocumentNode:
		return plain(n.Content[0])
	}
	parts := make([]string, len(n.Content))
	for i, child := range n.Content {
		parts[i] = plain(child)
	}
	return n.ShortTag() + "[" + strings.Join(parts, ", ") + "]"
}

func meaning(t *testing.T, src []byte) string {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal(src, &n); err != nil {
		t.Fatalf("read back: %v\n%s", err, src)
	}
	return plain(&n)
}

func parseOne(t *testing.T, src string) strictyaml.Node {
	t.Helper()
	nodes, errs := strictyaml.Parse("f.yaml", []byte(src), strictyaml.Limits{})
	if errs.Err() != nil || len(nodes) != 1 {
		t.Fatalf("%d documents: %v\n%s", len(nodes), errs, src)
	}
	return nodes[0]
}

// TestBytesMeanWhatWasRead puts every hostile text in every place where a text
// can stand.
func TestBytesMeanWhatWasRead(t *testing.T) {
	places := map[string]string{
		"a value": "k: %s\n", "a value in braces": "{k: %s}\n", "items": "k: [%s, x, %[1]s]\n", "items with dashes": "k:\n- %s\n- x\n- %[1]s\n",
		"an item of an item": "- - %s\n  - [x, {y: %[1]s}]\n", "a key": "? %s\n: x\n", "a key in braces": "{? %s : x, z: 1}\n",
		"a key of a mapping": "- ? %s\n  : {k: {l: %[1]s}}\n", "the whole document": "%s\n",
	}
	for _, s := range hostileTexts {
		for place, form := range places {
			if s == "<<" && strings.Contains(place, "key") {
				continue // never allowed
			}
			src := fmt.Sprintf(form, strconv.QuoteToASCII(s))
			want := meaning(t, []byte(src))
			if !strings.Contains(want, fmt.Sprintf("!!str %q", s)) {
				t.Fatalf("%q as %s is not in %s", s, place, want)
			}
			out := parseOne(t, src).Bytes()
			if got := meaning(t, out); got != want {
				t.Errorf("%q as %s: written as\n%s\nwhich means %s", s, place, out, got)
			}
			if again := parseOne(t, string(out)).Bytes(); string(again) != string(out) {
				t.Errorf("%q as %s:\n%s\nbecomes\n%s", s, place, out, again)
			}
		}
	}
}

// TestPlainValuesStayWhatTheyAre: what is no text keeps its form, so that it
// stays what it was to every reader.
func TestPlainValuesStayWhatTheyAre(t *testing.T) {
	for _, s := range []string{"1", "010", "0x1f", "0o17", "1_000", "1e3", ".5", "true", "True", "null", "~", ".inf", "2026-11-22", "2026-01-05T09:00:00Z"} {
		src := fmt.Sprintf("k: %s\nl: [%[1]s, x]\n%[1]s: {m: %[1]s}\n", s)
		if got := string(parseOne(t, src).Bytes()); got != src {
			t.Errorf("%s becomes\n%s", src, got)
		}
	}
}

func TestQuotesStandOnlyWhereNeeded(t *testing.T) {
	const src = `plain: [on-call, 4h, 1h30m, postgres-*, acme/dba, database/creds/x, alice@acme.test, U01ALICE]
sentence: payments primary, read-write
shell: psql -h db.internal -U "$TAC_USERNAME" payments
hours: "09:00-17:00"
pattern: '^INC-\d+$'
expression: request.duration <= duration("1h") && !("dba" in requester.roles)
choice: 'a == "b" ? true : false'
number: "1"
norway: ["no", "off", "y"]
star: "*.prod"
date: "2026-12-25"
lines: |-
  first

    # second
  third
ended: |
  first
  second
table: |
  first | second  
  third | fourth
spaces: "first\n \nsecond"
`
	if got := string(parseOne(t, src).Bytes()); got != src {
		t.Errorf("it becomes\n%s", got)
	}
}

func TestWithoutTakesOutOneThing(t *testing.T) {
	const src = `kind: AccessPolicy
spec:
  conditions:
    - role: [a, b]
      max_duration: 4h
    -
      role: [c]
    - - x
      - y
  flow: [{k: v, l: w}, z]
`
	n := parseOne(t, src)
	whole := string(n.Bytes())
	seen := map[strictyaml.Pos]string{}
	var paths []string
	n.Walk(func(path string, key, value strictyaml.Pos, kind string) {
		if other, used := seen[key]; used {
			t.Errorf("%s and %s are both at %v", path, other, key)
		}
		seen[key] = path
		paths = append(paths, fmt.Sprintf("%s %d:%d %d:%d %s", path, key.Line, key.Column, value.Line, value.Column, kind))
		less, ok := n.Without(key)
		if !ok {
			t.Fatalf("%s: nothing is at %v", path, key)
		}
		less.Walk(func(p string, k, _ strictyaml.Pos, _ string) {
			if k == key && p == path {
				t.Errorf("%s is still there", path)
			}
		})
		count := 0
		less.Walk(func(string, strictyaml.Pos, strictyaml.Pos, string) { count++ })
		gone := 0
		n.Walk(func(p string, _, _ strictyaml.Pos, _ string) {
			if p == path || strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
				gone++
			}
		})
		if count+gone != 19 {
			t.Errorf("without %s: %d remain and %d are gone", path, count, gone)
		}
	})
	if got := strings.Join(paths, "\n"); got != `kind 1:1 1:7 scalar
spec 2:1 3:3 mapping
spec.conditions 3:3 4:5 list
spec.conditions[0] 4:5 4:7 mapping
spec.conditions[0].role 4:7 4:13 list
spec.conditions[0].role[0] 4:14 4:14 scalar
spec.conditions[0].role[1] 4:17 4:17 scalar
spec.conditions[0].max_duration 5:7 5:21 scalar
spec.conditions[1] 7:5 7:7 mapping
spec.conditions[1].role 7:7 7:13 list
spec.conditions[1].role[0] 7:14 7:14 scalar
spec.conditions[2] 8:5 8:7 list
spec.conditions[2][0] 8:7 8:9 scalar
spec.conditions[2][1] 9:7 9:9 scalar
spec.flow 10:3 10:9 list
spec.flow[0] 10:10 10:10 mapping
spec.flow[0].k 10:11 10:14 scalar
spec.flow[0].l 10:17 10:20 scalar
spec.flow[1] 10:24 10:24 scalar` {
		t.Errorf("paths:\n%s", got)
	}
	if string(n.Bytes()) != whole {
		t.Error("the document itself changed")
	}
	if _, ok := n.Without(strictyaml.Pos{File: "f.yaml", Line: 1, Column: 7}); ok {
		t.Error("a value that is no item was taken out")
	}
	byBeginning, ok := n.Without(strictyaml.Pos{File: "f.yaml", Line: 8, Column: 9})
	if !ok || !strings.Contains(string(byBeginning.Bytes()), "- [\"y\"]\n") {
		t.Errorf("an item is not found by where it begins:\n%s", byBeginning.Bytes())
	}
}
