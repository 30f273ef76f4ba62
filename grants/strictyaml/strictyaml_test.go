package strictyaml_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// colour is a text of two words that may be used.
type colour string

func (c *colour) UnmarshalScalar(text string) error {
	if text != "red" && text != "blue" {
		return fmt.Errorf("%s is not a colour; use red or blue", strictyaml.Quote(text))
	}
	*c = colour(text)
	return nil
}

type box struct {
	Kind  strictyaml.Value[string] `yaml:"kind,required"`
	Size  strictyaml.Value[int64]  `yaml:"size"`
	Open  bool                     `yaml:"open"`
	Paint strictyaml.Value[colour] `yaml:"paint"`
	Words []string                 `yaml:"words"`
	Lid   *struct {
		Name string `yaml:"name"`
	} `yaml:"lid"`
	Unseen string
}

// read returns what is in the one document of src, or the mistakes.
func read(src string) (b box, errs strictyaml.Errors) {
	nodes, errs := strictyaml.Parse("f.yaml", []byte(src), strictyaml.Limits{Bytes: 200, Documents: 1, Depth: 4, Nodes: 20})
	for _, n := range nodes {
		errs = append(errs, n.Decode(&b)...)
	}
	return b, errs
}

func TestEveryFieldIsFilledWithItsPlace(t *testing.T) {
	b, errs := read("kind: box\nsize: -3\nopen: true\npaint: red\nwords: [a, \"1\"]\nlid: {name: x}\n")
	if errs.Err() != nil {
		t.Fatal(errs)
	}
	at := func(line, column int) strictyaml.Pos {
		return strictyaml.Pos{File: "f.yaml", Line: line, Column: column}
	}
	want := box{
		Kind: strictyaml.Value[string]{V: "box", Set: true, Pos: at(1, 7)}, Size: strictyaml.Value[int64]{V: -3, Set: true, Pos: at(2, 7)},
		Open: true, Paint: strictyaml.Value[colour]{V: "red", Set: true, Pos: at(4, 8)}, Words: []string{"a", "1"},
	}
	want.Lid = &struct {
		Name string `yaml:"name"`
	}{"x"}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got %+v", b)
	}
}

func TestMistakesNameTheirPlaceAndWhatWasExpected(t *testing.T) {
	for _, tt := range []struct{ claim, src, want string }{
		{"all at once, in order", "size: big\nopen: 1\npaint: green\nwords: a\nlid: [x]\n",
			`1:7: size: expected a whole number, found the text "big"
2:7: open: expected true or false, found the number 1
3:8: paint: "green" is not a colour; use red or blue
4:8: words: expected a list, found the text "a"; write [a, b]
5:6: lid: expected a mapping of keys to values, found a list
1:1: the key kind is missing`},
		{"a near miss is suggested", "kind: box\npaimt: red\n", `2:1: unknown key "paimt"; did you mean paint?`},
		{"a far one lists all", "kind: box\nzzzzzzzz: red\n", `2:1: unknown key "zzzzzzzz"; expected kind, lid, open, paint, size, words`},
		{"a field without a tag is no key", "kind: box\nUnseen: x\n", `2:1: unknown key "Unseen"; expected kind, lid, open, paint, size, words`},
		{"nothing is no text", "kind:\n", "1:6: kind: expected a text, found nothing"},
		{"a date is no text", "kind: 2026-11-22\n", `1:7: kind: expected a text, found the date 2026-11-22; put it in quotes: "2026-11-22"`},
		{"an octal number", "kind: x\nsize: 010\n", `2:7: size: "010" is not a whole number that fits; write it in plain decimal digits`},
		{"a hexadecimal number", "kind: x\nsize: 0x10\n", `2:7: size: "0x10" is not a whole number that fits; write it in plain decimal digits`},
		{"a plus", "kind: x\nsize: +1\n", `2:7: size: "+1" is not a whole number that fits; write it in plain decimal digits`},
		{"a fraction", "kind: x\nsize: 1.0\n", "2:7: size: expected a whole number, found the number 1.0"},
		{"a list in a list counts from nought", "kind: x\nwords: [a, [b]]\n", "2:12: words[1]: expected a text, found a list"},
		{"columns count characters", "kind: [ä, &x b]\n", "1:11: anchors (&x) are not allowed; write the value out where it is needed"},
		{"too many bytes", "kind: " + strings.Repeat("x", 200) + "\n", "1:1: the file has 207 bytes; at most 200 are read"},
		{"too many values", "words: [" + strings.Repeat("a,", 30) + "]\n", "1:43: the file holds more than 20 values"},
		{"too deep", "words: [[[[a]]]]\n", "1:11: values are nested more than 4 deep"},
		{"a second document", "kind: a\n---\nkind: b\n", "3:1: this file may hold one document, and another one starts here"},
		{"a duplicate key deep down", "kind: a\nlid: {name: x, 'name': y}\n", `2:16: the key "name" stands here a second time (first on line 2); keep one`},
		{"a merge key in quotes", "kind: a\nlid: {\"<<\": {name: x}}\n", "2:7: merge keys (<<) are not allowed; write the values out"},
		{"a tag that says what is so anyway", "kind: !!str a\n", "1:7: tags (!!str) are not allowed"},
		{"a tag that the library ignores", "kind: a\nsize: ! 12\n", "2:7: tags (!) are not allowed"},
		{"the same on a key", "kind: a\n! size: 12\n", "2:1: tags (!) are not allowed"},
		{"the same on a list", "kind: a\nwords: !\n  - b\n", "2:8: tags (!) are not allowed"},
		{"a tag on a mapping", "!!map {kind: a}\n", "1:1: tags (!!map) are not allowed"},
		{"a paragraph separator", "kind: a # b\u2029open: true\n", "1:12: the invisible character U+2029 is not allowed here"},
		{"a carriage return alone", "kind: a\ropen: true\n", "1:8: the control character U+000D is not allowed here"},
		{"a byte-order mark further down", "kind: \ufeffa\n", "1:7: the control character U+FEFF is not allowed here"},
		{"an overlong encoding", "kind: \xc0\xae\n", "1:7: this is not UTF-8 text"},
		{"a surrogate", "kind: \xed\xa0\x80\n", "1:7: this is not UTF-8 text"},
	} {
		t.Run(tt.claim, func(t *testing.T) {
			_, errs := read(tt.src)
			if got := strings.ReplaceAll(errs.Error(), "f.yaml:", ""); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// A hostile file costs little, and what is said about it stays short.
func TestNestingAndAliasesCostNothing(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x]\n")
	for i := range 40 {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d]\n", i+1, i+1, i, i, i, i)
	}
	limits := strictyaml.Limits{Bytes: 64 << 10, Documents: 1, Depth: 6, Nodes: 1000}
	for name, src := range map[string]string{
		"aliases of aliases": bomb.String(), "brackets": strings.Repeat("[", 60_000), "dashes": strings.Repeat("- ", 30_000) + "x",
		"question marks": strings.Repeat("? ", 30_000), "anchors": strings.Repeat("&a ", 20_000) + "x", "anchors in a list": "[" + strings.Repeat("&a a,", 10_000) + "]",
	} {
		nodes, errs := strictyaml.Parse("f.yaml", []byte(src), limits)
		if errs.Err() == nil || len(nodes) > 0 {
			t.Errorf("%s: accepted", name)
		}
		if said := errs.Error(); len(said) > 8<<10 {
			t.Errorf("%s: %d bytes are said", name, len(said))
		}
	}
}

func TestTextLooksAtOneKeyOnly(t *testing.T) {
	nodes, errs := strictyaml.Parse("f.yaml", []byte("kind: a\nlist: [x]\n---\n- kind\n"), strictyaml.Limits{})
	if errs.Err() != nil || len(nodes) != 2 {
		t.Fatal(nodes, errs)
	}
	kind, ok := nodes[0].Text("kind")
	if !ok || kind.V != "a" || kind.Pos.Line != 1 || kind.Pos.Column != 7 {
		t.Errorf("%+v, %v", kind, ok)
	}
	for i, key := range []string{"list", "kind"} {
		if v, ok := nodes[i].Text(key); ok || v.Set {
			t.Errorf("%s: %+v", key, v)
		}
	}
	if nodes[1].Pos().Line != 4 {
		t.Errorf("the second document starts at %+v", nodes[1].Pos())
	}
}

func TestNearestNeverStretches(t *testing.T) {
	candidates := []string{"duration", "reason", "requester"}
	for word, want := range map[string]string{"duraton": "duration", "Reason": "reason", "request": "requester", "xyz": "", "": "", strings.Repeat("reason", 20): ""} {
		if got, ok := strictyaml.Nearest(word, candidates); got != want || ok != (want != "") {
			t.Errorf("%q is near %q", word, got)
		}
	}
}

// FuzzParse: whatever the bytes, reading ends, in nodes or in mistakes whose
// places exist; and what is accepted is what a plain reader reads too.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"kind: a\nsize: 1\n", "a: &x b\nc: *x\n", "{a: {b: {c: {d: e}}}}", "<<: {a: b}\n", "? [a]\n: b\n", "a: |\n  b\n", "---\n...\n", "%YAML 1.1\n---\na: b\n",
		"a: !!binary x\n", "\ufeffa: b\n", "a: b # c\u2028d: e\n", "- [a, {b: 'c'}]\n", "a: \"\\u202e\"\n", "0: [1.5, true, null, 2026-11-22]\n",
	} {
		f.Add([]byte(s))
	}
	limits := strictyaml.Limits{Bytes: 4 << 10, Documents: 1, Depth: 6, Nodes: 100}
	f.Fuzz(func(t *testing.T, src []byte) {
		nodes, errs := strictyaml.Parse("f.yaml", src, limits)
		lines := strings.Count(string(src), "\n") + 2
		for _, e := range errs {
			if e.Line < 1 || e.Line > lines || e.Column < 1 || e.Message == "" {
				t.Fatalf("a mistake at %d:%d of %d lines: %s", e.Line, e.Column, lines, e.Message)
			}
		}
		if len(errs) > 0 {
			if len(nodes) > 0 {
				t.Fatal("mistakes and nodes at once")
			}
			return
		}
		for _, n := range nodes {
			var b box
			for _, e := range n.Decode(&b) {
				if e.Line < 1 || e.Line > lines {
					t.Fatalf("a mistake on line %d of %d: %s", e.Line, lines, e.Message)
				}
			}
		}
		var plain any
		if err := yaml.Unmarshal(src, &plain); err != nil && len(nodes) > 0 && !strings.Contains(err.Error(), "cannot unmarshal") {
			t.Fatalf("accepted, but a plain reader says: %v", err)
		}
	})
}

// The library tells where the block began that holds a mistake; people want
// the line that they mistyped.
func TestWhatIsNotYAMLIsToldAtItsLine(t *testing.T) {
	const head = "kind: AccessPolicy\nmetadata:\n  name: x\nspec:\n  auto_approve:\n    conditions:\n"
	for claim, tt := range map[string]struct{ text, want string }{
		"an indent too deep":    {head + "      - role: [a]\n          max_duration: 1h\n", "x.yaml:8:11: this is not YAML: the indentation does not fit the lines above"},
		"an indent too shallow": {head + "      - role: [a]\n     max_duration: 1h\n", "x.yaml:8:6: this is not YAML: "},
		"a tab":                 {head + "\t  - role: [a]\n", "x.yaml:7:1: a tab stands in the indentation, where YAML takes spaces only"},
		"a list that is open":   {head + "      - role: [a\n        max_duration: 1h\n", "x.yaml:7:7: this is not YAML: "},
		"an @":                  {head + "      - role: [@a]\n", "x.yaml:7:7: this is not YAML: no value begins like this; a text that begins with @ or ` stands in quotes"},
	} {
		_, errs := strictyaml.Parse("x.yaml", []byte(tt.text), strictyaml.Limits{Bytes: 1 << 20})
		if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), tt.want) {
			t.Errorf("%s: told %v\nwant %s", claim, errs, tt.want)
		}
	}
}
