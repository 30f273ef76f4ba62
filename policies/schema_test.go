package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// compiledSchema returns the schema of a kind as a validator has it.
func compiledSchema(t testing.TB, kind string) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(kind)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("tac.json", parsed); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("tac.json")
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	return s
}

func TestEverySchemaCompilesAndIsAlwaysTheSame(t *testing.T) {
	for _, kind := range append(SchemaKinds(), "") {
		compiledSchema(t, kind)
		first, _ := Schema(kind)
		for range 3 {
			if again, _ := Schema(kind); !bytes.Equal(first, again) {
				t.Errorf("the schema of %q is not always the same", kind)
			}
		}
	}
	if _, err := Schema("AcessPolicy"); err == nil || err.Error() != `there is no kind "AcessPolicy"; did you mean AccessPolicy?` {
		t.Errorf("got %v", err)
	}
}

// TestEveryKeyIsExplained: a key without a sentence, and a sentence or a rule
// without a key, are both mistakes.
func TestEveryKeyIsExplained(t *testing.T) {
	saidOf, ruled := map[string]bool{}, map[string]bool{}
	for kind, typ := range described() {
		saidOf[kind], ruled[kind] = true, true
		d := describer{kind: kind}
		eachKey(typ, "", func(path string) {
			text, name := d.sentence(path)
			saidOf[name] = true
			_, rule := d.rule(path)
			ruled[rule] = true
			if text == "" && !strings.HasSuffix(path, "[]") {
				t.Errorf("%s: nothing is said of %s", kind, path)
			}
		})
		if docs[kind] == "" {
			t.Errorf("nothing is said of %s", kind)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		if !saidOf[name] {
			t.Errorf("docs has %s, which is no key", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if !ruled[name] {
			t.Errorf("rules has %s, which is no key", name)
		}
	}
}

func eachKey(t reflect.Type, path string, visit func(string)) {
	if inner, ok := valueOf(t); ok {
		t = inner
	}
	if path != "" {
		visit(path)
	}
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[strictyaml.Scalar]()):
	case t.Kind() == reflect.Slice:
		eachKey(t.Elem(), path+"[]", visit)
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			if tag, ok := t.Field(i).Tag.Lookup("yaml"); ok {
				name, _, _ := strings.Cut(tag, ",")
				eachKey(t.Field(i).Type, strings.TrimPrefix(path+"."+name, "."), visit)
			}
		}
	}
}

// asJSON is what a validator sees of a document: what YAML 1.2 makes of it.
func asJSON(t testing.TB, n *yaml.Node) any {
	switch n.Kind {
	case yaml.DocumentNode:
		return asJSON(t, n.Content[0])
	case yaml.MappingNode:
		m := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			m[n.Content[i].Value] = asJSON(t, n.Content[i+1])
		}
		return m
	case yaml.SequenceNode:
		list := []any{}
		for _, c := range n.Content {
			list = append(list, asJSON(t, c))
		}
		return list
	}
	var v any
	switch n.ShortTag() {
	case "!!null":
	case "!!bool":
		var b bool
		if err := n.Decode(&b); err != nil {
			t.Fatal(err)
		}
		v = b
	case "!!int", "!!float":
		var number any
		if err := n.Decode(&number); err != nil {
			t.Fatal(err)
		}
		v = json.Number(fmt.Sprint(number))
	default:
		v = n.Value
	}
	return v
}

// documentsIn returns the documents of a file, each as text and as a tree.
func documentsIn(t testing.TB, data []byte) (texts [][]byte, trees []*yaml.Node) {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); err != nil {
			return texts, trees
		}
		text, err := yaml.Marshal(&n)
		if err != nil {
			t.Fatal(err)
		}
		texts, trees = append(texts, text), append(trees, &n)
	}
}

// refusals returns the codes for which the parser refuses one document.
func refusals(t testing.TB, text []byte, world *Set) (codes []string) {
	path := "policies/x.yaml"
	if bytes.Contains(text, []byte("kind: PolicyTest\n")) {
		path = "policies/tests/x.yaml"
	}
	files := []File{{Path: path, Data: text}}
	_, findings := Load(files, time.LoadLocation)
	if path != "policies/x.yaml" {
		_, findings = ReadTests(files, world, time.LoadLocation)
	}
	for _, f := range findings {
		codes = append(codes, f.Code)
	}
	return codes
}

func TestSchemaAndParserAgreeOnDocuments(t *testing.T) {
	schema, world := compiledSchema(t, ""), acme(t)
	archive, err := txtar.ParseFile(filepath.Join("testdata", "schema", "documents.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		t.Run(f.Name, func(t *testing.T) {
			how, _, _ := strings.Cut(f.Name, ":")
			who, code, _ := strings.Cut(how, " ")
			codes := refusals(t, f.Data, world)
			if who == "ok" != (len(codes) == 0) || who != "ok" && !slices.Contains(codes, code) {
				t.Errorf("the parser refuses it for %v", codes)
			}
			_, trees := documentsIn(t, f.Data)
			err := schema.Validate(asJSON(t, trees[0]))
			if refuses := err != nil; refuses != (who == "both") {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}

// repositoryFiles is every document of the tree that is meant to be right.
func repositoryFiles(t testing.TB) (files []File) {
	t.Helper()
	for _, root := range []string{"testdata", filepath.Join("..", "cmd", "tac", "starter", "files")} {
		err := filepath.WalkDir(root, func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" {
				return err
			}
			data, err := os.ReadFile(name)
			files = append(files, File{Path: filepath.ToSlash(name), Data: data})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(files) < 10 {
		t.Fatalf("only %d files", len(files))
	}
	return files
}

func TestTheSchemaTakesWhateverTheParserTakes(t *testing.T) {
	all, world := compiledSchema(t, ""), acme(t)
	taken := map[string]int{}
	for _, f := range repositoryFiles(t) {
		texts, trees := documentsIn(t, f.Data)
		for i, tree := range trees {
			v, ok := asJSON(t, tree).(map[string]any)
			if !ok || len(refusals(t, texts[i], world)) > 0 {
				continue
			}
			kind, _ := v["kind"].(string)
			taken[kind]++
			for _, s := range []*jsonschema.Schema{all, compiledSchema(t, kind)} {
				if err := s.Validate(v); err != nil {
					t.Errorf("%s, document %d: %v", f.Path, i+1, err)
				}
			}
		}
	}
	for _, kind := range []string{"AccessPolicy", "Calendar", "People", "Resource", "Role"} {
		if taken[kind] == 0 {
			t.Errorf("no document of kind %s was looked at", kind)
		}
	}
}

func TestTheSchemaTakesGrantsAsTheyAreWritten(t *testing.T) {
	s := compiledSchema(t, "AccessGrant")
	g := grants.Grant{
		ID: "20261122-k3v9q2m4tz", Resource: "postgres-prod", Requester: alice, Duration: 90 * time.Minute,
		Start: instant(t, "2026-11-22T18:00:00Z"), Reason: "Deploy: hotfix # 1", Ticket: "acme/app#12",
		RequestedAt: instant(t, "2026-11-22T14:03:11Z"), Via: grants.ViaSlack, Extends: "20261121-k3v9q2m4tz", BreakGlass: true,
		Narrows: strings.Repeat("ab", 20), Attestation: "vault:v1:QUJDREVGR0g=",
	}
	emergency, extension := g, g
	emergency.Extends = ""
	extension.BreakGlass, extension.Start = false, time.Time{}
	g = emergency
	for _, each := range []grants.Grant{emergency, extension, {ID: g.ID, Resource: "r", Requester: bob, Duration: time.Minute, RequestedAt: g.RequestedAt, Via: grants.ViaGit}} {
		if _, err := grants.Parse(each.Path(), each.Encode()); err != nil {
			t.Fatal(err)
		}
		_, trees := documentsIn(t, each.Encode())
		if err := s.Validate(asJSON(t, trees[0])); err != nil {
			t.Errorf("%s\n%v", each.Encode(), err)
		}
	}
	for claim, change := range map[string][2]string{
		"an unknown key": {"via:", "viia: git\n  via:"}, "no reason to be": {"via: slack", "via: fax"}, "another person": {"id: 1001", "id: 0"},
		"no end": {"1h30m", "0m"}, "a day that does not exist": {"2026-11-22T18", "2026-11-31T18"},
	} {
		text := strings.Replace(string(g.Encode()), change[0], change[1], 1)
		_, trees := documentsIn(t, []byte(text))
		if s.Validate(asJSON(t, trees[0])) == nil {
			t.Errorf("%s: the schema takes\n%s", claim, text)
		}
	}
}

// beyondJSON is what the parser calls a mistake of form and JSON cannot show:
// how a number is written, which of two hours is the earlier, what only YAML
// has. The sentences are those of the parser.
var beyondJSON = []string{"is not a whole number that fits", "cross midnight", "are no time at all", "stands here a second time", "expected a whole number, found the number", "found the date"}

// TestAMistakeOfFormIsSeenByBoth changes good documents in small ways.
func TestAMistakeOfFormIsSeenByBoth(t *testing.T) {
	schema, world := compiledSchema(t, ""), acme(t)
	archive, err := txtar.ParseFile(filepath.Join("testdata", "schema", "documents.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	var good [][]byte
	for _, f := range archive.Files {
		if strings.HasPrefix(f.Name, "ok") {
			good = append(good, f.Data)
		}
	}
	for _, f := range repositoryFiles(t) {
		texts, _ := documentsIn(t, f.Data)
		for _, text := range texts {
			if len(refusals(t, text, world)) == 0 {
				good = append(good, text)
			}
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		_, trees := documentsIn(t, rapid.SampledFrom(good).Draw(rt, "document"))
		for range rapid.IntRange(1, 2).Draw(rt, "changes") {
			alter(rt, trees[0])
		}
		text, err := yaml.Marshal(trees[0])
		if err != nil {
			return
		}
		_, again := documentsIn(t, text)
		if len(again) != 1 {
			return
		}
		refused := schema.Validate(asJSON(t, again[0]))
		path := "policies/x.yaml"
		_, findings := Load([]File{{Path: path, Data: text}}, time.LoadLocation)
		if bytes.Contains(text, []byte("kind: PolicyTest\n")) {
			_, findings = ReadTests([]File{{Path: "policies/tests/x.yaml", Data: text}}, world, time.LoadLocation)
		}
		if refused != nil && len(findings) == 0 {
			rt.Fatalf("the parser takes what the schema refuses (%v):\n%s", refused, text)
		}
		for _, f := range findings {
			visible := f.Code == "schema" && !slices.ContainsFunc(beyondJSON, func(s string) bool { return strings.Contains(f.Message, s) })
			if visible && refused == nil {
				rt.Fatalf("the schema takes what the parser refuses (%v):\n%s", f, text)
			}
		}
	})
}

// alter makes one small change somewhere in a document.
func alter(rt *rapid.T, doc *yaml.Node) {
	var all []*yaml.Node
	var collect func(*yaml.Node)
	collect = func(n *yaml.Node) {
		if n.Kind != yaml.DocumentNode {
			all = append(all, n)
		}
		for i, c := range n.Content {
			if n.Kind != yaml.MappingNode || i%2 == 1 {
				collect(c)
			}
		}
	}
	collect(doc)
	n := rapid.SampledFrom(all).Draw(rt, "place")
	values := []string{"true", "false", "1", "-1", "0", "1.5", "null", "text", "''", "2h", "0m", "8d", "2026-12-25", "2026-02-30", "mon", "[]", "{}", "[a]", "acme/x", "09:00-17:00", "a b", "A", "{name: x}"}
	switch kind := rapid.SampledFrom([]string{"drop", "rename", "retype", "repeat"}).Draw(rt, "change"); {
	case kind == "drop" && len(n.Content) > 0 && n.Kind == yaml.MappingNode:
		i := 2 * rapid.IntRange(0, len(n.Content)/2-1).Draw(rt, "key")
		n.Content = slices.Delete(n.Content, i, i+2)
	case kind == "drop" && len(n.Content) > 0:
		n.Content = n.Content[:len(n.Content)-1]
	case kind == "rename" && n.Kind == yaml.MappingNode && len(n.Content) > 0:
		key := n.Content[2*rapid.IntRange(0, len(n.Content)/2-1).Draw(rt, "key")]
		key.Value = rapid.SampledFrom([]string{key.Value + "s", "name", "resource", "roles", "spec", strings.ToUpper(key.Value)}).Draw(rt, "name")
	case kind == "repeat" && n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		n.Content = append(n.Content, n.Content[0])
	default:
		var other yaml.Node
		if err := yaml.Unmarshal([]byte(rapid.SampledFrom(values).Draw(rt, "value")), &other); err != nil {
			rt.Fatal(err)
		}
		*n = *other.Content[0]
	}
}
