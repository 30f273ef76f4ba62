package strictyaml_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

func asItStands(strictyaml.Node) any { return nil }

func format(t *testing.T, src string, shape func(strictyaml.Node) any) string {
	t.Helper()
	out, errs := strictyaml.Format("f.yaml", []byte(src), strictyaml.Limits{}, shape)
	if errs.Err() != nil {
		t.Fatalf("%v\n%s", errs, src)
	}
	again, errs := strictyaml.Format("f.yaml", out, strictyaml.Limits{}, shape)
	if errs.Err() != nil || string(again) != string(out) {
		t.Errorf("formatted once:\n%s\ntwice: %v\n%s", out, errs, again)
	}
	return string(out)
}

func TestCommentsStayWhereTheyStand(t *testing.T) {
	for _, tt := range []struct{ claim, src, want string }{
		{"above, beside and below", `
---   # marker
# License

# about it
kind: X   # line	
metadata: # about meta
    # first
    name: "a"    # name
    # foot of metadata

# before spec


spec: {} # nothing
# the end
`, `# marker
# License

# about it
kind: X # line
metadata: # about meta
  # first
  name: a # name
  # foot of metadata

# before spec

spec: {} # nothing
# the end
`},
		{"at the indentation that says what they end", `spec:
  nested:
    - # dash
      a: b
      # foot of item

    # foot of nested
    -
      # inside
      a:
        b:
          - c
          # deep
        # mid
      # shallow
    # 4
  # 2
# 0
 # 1

# tail
`, `spec:
  nested:
    # dash
    - a: b
      # foot of item

    # foot of nested
    # inside
    - a:
        b:
          - c
          # deep
        # mid
      # shallow
    # 4
  # 2
# 0
# 1

# tail
`},
		{"in brackets, which then go", `flow: [x, # first
    # alone
    z #second
    # last
    ] # end
map: {a: b, # c
    c: d,}
empty: [ # e
   # alone
   ]
`, `flow: # end
  - x # first
  # alone
  - z #second
  # last
map:
  a: b # c
  c: d
# alone
empty: [] # e
`},
		{"around texts of several lines", `text: |2+ # header
    # not a comment
  line

# c0
after: >-  # folded
     folded
     text # not
  # c1
plain: one
    two

    three # trailing
double: "a # b
     \" c" # d
single: 'it''s #1
     #2' # s
`, `text: "  # not a comment\nline\n\n" # header

# c0
after: "folded text # not" # folded
# c1
plain: |- # trailing
  one two
  three
double: 'a # b " c' # d
single: "it's #1 #2" # s
`},
		{"between documents", "# a\n---\n# b\n---\nkind: X\n# c\n...\n# d\n---\n# e\n\n---\n# f\nkind: Z # g\n# h\n---\n# i\n", "# a\n# b\nkind: X\n# c\n---\n# d\n# e\n\n# f\nkind: Z # g\n# h\n# i\n"},
		{"between a key and its value", "? a # k\n: b # v\nc:\n  # d\n  e\nf:\n  # g\n  [h]\ni:\n  # j\n  - k\n", "a: b # k\n# v\n# d\nc: e\n# g\nf: [h]\ni:\n  # j\n  - k\n"},
		{"with odd characters in them", "a: b #\u00a0\u00e9 # \"'[{\t# |\t \n#!\n#---\n#\n", "a: b #\u00a0\u00e9 # \"'[{\t# |\n#!\n#---\n#\n"},
		{"with Windows line ends", "# a\r\nb: c # d\r\n\r\ne: |\r\n  f\r\n  g\r\n# h\r\n", "# a\nb: c # d\n\ne: |\n  f\n  g\n# h\n"},
		{"only comments", "# a\n\n\n# b\n", "# a\n\n# b\n"},
		{"nothing", "\n \n", ""},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			if got := format(t, tt.src, asItStands); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestLayout(t *testing.T) {
	long := strings.Repeat("x", 31)
	for _, tt := range []struct{ claim, src, want string }{
		{"two spaces, dashes indented", "a:\n- b:\n      c: d\n- - e\n  - {f: g}\n", "a:\n  - b:\n      c: d\n  - - e\n    - {f: g}\n"},
		{"short lists on one line, long ones on several", fmt.Sprintf("a:\n- b\n- c\nd: [%s, %[1]s, %[1]s]\n", long), fmt.Sprintf("a: [b, c]\nd:\n  - %s\n  - %[1]s\n  - %[1]s\n", long)},
		{"mappings on one line only where they were", fmt.Sprintf("a: {b: c, d: [e]}\nf:\n  g: h\ni: {j: %s, k: %[1]s, l: %[1]s}\nm: {q: {o: p}}\n", long), fmt.Sprintf("a: {b: c, d: [e]}\nf:\n  g: h\ni:\n  j: %s\n  k: %[1]s\n  l: %[1]s\nm:\n  q: {o: p}\n", long)},
		{"one empty line at most, none at the beginning", "\n\na: b\n\n\n\nc:\n\n  d: e\n\n  f: g\n\nh:\n\n  - i: j\n\n  - k: l\n\n\n", "a: b\n\nc:\n  d: e\n\n  f: g\n\nh:\n  - i: j\n\n  - k: l\n"},
		{"several documents", "--- \na: b\n...\n---\n---\n- c\n", "a: b\n---\n[c]\n"},
		{"what is nothing", "a:\nb: ~\n? \n: c\nd: [null, ]\n", "a: null\nb: ~\n?\n: c\nd: [null]\n"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			if got := format(t, tt.src, asItStands); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestKeysComeInTheOrderOfTheirFields(t *testing.T) {
	const src = `# about all
lid:
  # about name
  name: x

# about words
words: [b, a]
other: 1
open: true
kind: box # kind
`
	const want = `# about all
kind: box # kind
open: true

# about words
words: [b, a]
lid:
  # about name
  name: x
other: 1
`
	if got := format(t, src, func(strictyaml.Node) any { return &box{} }); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestFormatReportsWhatCannotBeRead(t *testing.T) {
	out, errs := strictyaml.Format("f.yaml", []byte("a: b\na: c\n"), strictyaml.Limits{}, asItStands)
	if out != nil || errs.Error() != `f.yaml:2:1: the key "a" stands here a second time (first on line 1); keep one` {
		t.Errorf("%q, %v", out, errs)
	}
}

// FuzzFormat: whatever can be read is formatted, to what says the same, keeps
// every comment that the library finds, and does not change any more.
func FuzzFormat(f *testing.F) {
	for _, s := range []string{
		"kind: a # b\nsize: 1\n# c\n", "# h\n\na:\n  - b: c # d\n    # e\n  # f\n# g\n---\n# i\n[j, # k\n l]\n", "{a: {b: [c, {d: e}]}}", "? [a]\n: b\n", "? |\n  a\n: - b\n  - c\n", "a: |2+ # x\n    b\n\n # c\nd: >-\n  e\n  # f\n\n  g\n", "---\n...\n", "%YAML 1.1 # y\n--- # z\na: b\n",
		"- [a, {b: 'c # d', e: \"f # \\\" g\"}] # h\n", "a: \"\\u202e\"\n", "0: [1.5, true, null, 2026-11-22]\n", "a: b\n c\n\n d # e\nf:\n# g\n- h\n# i\n- # j\n  k\n", "a:\n  # b\n  c: d\n # e\n  # f\n", "[a: b, # c\n d]\n", "a: [\n# b\n]\n", "- - - a # b\n    # c\n  # d\n# e\n",
		"a: {b: c, # d\n  # e\n  }\n", "\"a\" : 'b'#c\n", "a: # b\n  # c\n  |\n  d\n", "- a\n\n-\n\n  b: c\n\n\n- # d\n\n  e\n", "a: \"b\n  # c\n\n  d\"\n# e\n", "a:\r\n- b # c\r\n# d\r\n",
		"  - #\n   0", "?\n#000", ">1#00", "[Bb,?##c\n d]", "> \n   \n # #", // each was formatted wrongly once
	} {
		f.Add([]byte(s))
	}
	limits := strictyaml.Limits{Bytes: 4 << 10, Documents: 4, Depth: 6, Nodes: 100}
	f.Fuzz(func(t *testing.T, src []byte) {
		nodes, errs := strictyaml.Parse("f.yaml", src, limits)
		if len(errs) > 0 {
			return
		}
		out, errs := strictyaml.Format("f.yaml", src, limits, asItStands)
		if errs.Err() != nil {
			t.Fatalf("%q: %v", src, errs)
		}
		again, errs := strictyaml.Format("f.yaml", out, strictyaml.Limits{}, asItStands)
		if errs.Err() != nil || !bytes.Equal(out, again) {
			t.Fatalf("%q becomes\n%s\nthen (%v)\n%s", src, out, errs, again)
		}
		for _, n := range nodes {
			if once := parsed(t, n.Bytes()).Bytes(); !bytes.Equal(once, n.Bytes()) {
				t.Fatalf("%q: without comments\n%s\nthen\n%s", src, n.Bytes(), once)
			}
		}
		for _, comment := range libraryComments(src) {
			if !bytes.Contains(out, []byte(comment)) {
				t.Fatalf("%q loses the comment %q:\n%s", src, comment, out)
			}
		}
	})
}

func parsed(t *testing.T, src []byte) strictyaml.Node {
	t.Helper()
	nodes, errs := strictyaml.Parse("f.yaml", src, strictyaml.Limits{})
	if errs.Err() != nil || len(nodes) != 1 {
		t.Fatalf("%d documents in\n%s\n%v", len(nodes), src, errs)
	}
	return nodes[0]
}

// libraryComments returns the comments that the library finds: not all.
func libraryComments(src []byte) (found []string) {
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		for _, c := range []string{n.HeadComment, n.LineComment, n.FootComment} {
			for line := range strings.Lines(c) {
				if line = strings.Trim(line, " \t\r\n"); line != "" {
					found = append(found, line)
				}
			}
		}
		for _, child := range n.Content {
			visit(child)
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	for {
		var n yaml.Node
		if decoder.Decode(&n) != nil {
			return slices.Compact(found)
		}
		visit(&n)
	}
}
