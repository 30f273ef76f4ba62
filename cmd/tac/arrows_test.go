package main_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The shape of the source tree is a promise like any other: a reader of
// policies may rely on it that nothing there looks at a clock, and a reader
// of webhooks that nothing there speaks to Vault. This file keeps these
// promises. Every rule reads the syntax of the whole tree, and every
// violation is told as a sentence with its place.

const modulePath = "github.com/tigeraccess/tac/"

// source is one Go file. Its path is relative to the top of the tree.
type source struct {
	path  string
	lines int
	set   *token.FileSet
	ast   *ast.File
}

func (s source) dir() string        { return path.Dir(s.path) }
func (s source) test() bool         { return strings.HasSuffix(s.path, "_test.go") }
func (s source) in(dir string) bool { return s.dir() == dir || strings.HasPrefix(s.path, dir+"/") }

// imports returns what the file imports, by the name it has there.
func (s source) imports() map[string]string {
	all := map[string]string{}
	for _, i := range s.ast.Imports {
		target, _ := strconv.Unquote(i.Path.Value)
		name := path.Base(target)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(target))
		}
		if i.Name != nil {
			name = i.Name.Name
		}
		if name == "_" || name == "." {
			name += target // may stand there more than once
		}
		all[name] = target
	}
	return all
}

// violation is one place that breaks a rule. What names the thing that is not
// allowed there, so that an exemption can be for that alone.
type violation struct {
	file     string
	line     int
	what     string
	sentence string
}

func (v violation) String() string { return fmt.Sprintf("%s:%d: %s", v.file, v.line, v.sentence) }

func (s source) violation(at token.Pos, what, format string, args ...any) violation {
	return violation{s.path, s.set.Position(at).Line, what, fmt.Sprintf(format, args...)}
}

// rules are checked over every file of the tree.
var rules = []struct {
	name  string
	check func(source) []violation
}{
	{"imports follow the arrows", arrows},
	{"grants and policies are pure", purity},
	{"the wall clock is read in cmd only", wallClock},
	{"each library has one home", libraryHomes},
	{"types of libraries stay in their adapter", exportedTypes},
	{"only main ends the program", endings},
	{"no test may skip itself", skips},
	{"files are short and say what they are for", shapes},
}

// exemptions are the exceptions that were made with open eyes. One that is no
// longer needed is reported.
var exemptions = []struct{ rule, under, what, why string }{
	{"the wall clock is read in cmd only", "bot/sandbox/", "time.Now", "the sandbox's clock is built on it, and credentials there are judged as the client libraries judge them"},
	{"the wall clock is read in cmd only", "bot/sandbox/", "time.Since", "as above"},
	{"the wall clock is read in cmd only", "bot/sandbox/", "time.Until", "as above"},
	{"the wall clock is read in cmd only", "bot/githubpr/", "time.Until", "GitHub says in wall time when a used-up limit is over; neither policy nor a lease depends on it"},
	{"types of libraries stay in their adapter", "bot/vaultlease/setup.go", "api.Client", "Setup is run by an administrator, who logs in to Vault in a way of their own"},
	{"types of libraries stay in their adapter", "webhooks/webhooks.go", "prometheus.Registry", "the wiring gives every part the same registry, for one page of metrics"},
	{"files are short and say what they are for", "bot/slackchat/chatclaims/", "testing", "test bodies that run on the sandbox here and on an emulator in bot/realtest; tests alone import them"},
	{"files are short and say what they are for", "bot/gitstore/storeclaims/", "testing", "as above, on the sandbox here and on git's own server in bot/realtest"},
	{"files are short and say what they are for", "bot/sandbox/vault/vaultclaims/", "testing", "as above, on the sandbox here and on the real Vault in bot/realtest"},
	{"only main ends the program", "grants/strictyaml/decode.go", "panic", "a struct of ours has a field type that Decode does not know: every test that reads a document meets it"},
	{"only main ends the program", "webhooks/middleware.go", "panic", "passes http.ErrAbortHandler on, net/http's own way to cut a connection"},
}

func TestTheTreeKeepsItsShape(t *testing.T) {
	t.Parallel()
	tree := readTree(t, filepath.Join("..", ".."))
	needed := make([]bool, len(exemptions))
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, s := range tree {
			next:
				for _, v := range rule.check(s) {
					for i, e := range exemptions {
						if e.rule == rule.name && strings.HasPrefix(v.file, e.under) && e.what == v.what {
							needed[i] = true
							continue next
						}
					}
					t.Error(v)
				}
			}
		})
	}
	for i, e := range exemptions {
		if !needed[i] {
			t.Errorf("nothing needs the exemption of %s under %s from %q any more: take it out", e.what, e.under, e.rule)
		}
	}
}

// readTree parses every Go file of the module, those of nested modules left
// out.
func readTree(t *testing.T, root string) []source {
	t.Helper()
	var tree []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			_, err := os.Stat(filepath.Join(name, "go.mod"))
			if err == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		s, err := parseSource(filepath.ToSlash(rel), string(text))
		tree = append(tree, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tree) < 50 {
		t.Fatalf("only %d Go files found under %s: this is not the whole tree", len(tree), root)
	}
	return tree
}

func parseSource(name, text string) (source, error) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.ParseComments)
	return source{path: name, lines: strings.Count(text, "\n"), set: set, ast: file}, err
}

// arrows: cmd -> webhooks -> bot -> policies -> grants. Adapters know grants
// and policies, never the bot and never each other; the sandbox knows nothing
// of ours, because a sandbox that borrowed our types would agree with our
// mistakes.
func arrows(s source) (found []violation) {
	if s.test() {
		return nil
	}
	within, may, ok := layer(s.dir())
	if !ok {
		return []violation{s.violation(s.ast.Package, s.dir(), "a package in %s has no place in the layout", s.dir())}
	}
	for _, i := range s.ast.Imports {
		target, _ := strconv.Unquote(i.Path.Value)
		target, ours := strings.CutPrefix(target, modulePath)
		if !ours || within == "." || within != "" && strings.HasPrefix(target+"/", within+"/") || slices.Contains(may, target) {
			continue
		}
		allowed := "nothing of ours"
		if len(may) > 0 {
			allowed = "only " + strings.Join(may, ", ")
		}
		found = append(found, s.violation(i.Pos(), target, "%s imports %s, but it may import %s", s.dir(), target, allowed))
	}
	return found
}

// layer returns the folder within which packages of dir may import each other
// ("." is the whole tree), and what they may import beyond it.
func layer(dir string) (within string, may []string, ok bool) {
	core := []string{"grants", "grants/strictyaml", "grants/world", "policies"}
	part := strings.Split(dir, "/")
	switch {
	case part[0] == "grants":
		return "grants", nil, true
	case part[0] == "policies":
		return "policies", core[:2], true
	case dir == "bot":
		return "", core, true
	case dir == "bot/sandbox":
		return "", nil, true
	case part[0] == "bot" && part[1] == "sandbox":
		return path.Join(part[:3]...), []string{"bot/sandbox"}, true
	case part[0] == "bot":
		return path.Join(part[:2]...), core, true
	case part[0] == "webhooks":
		return "webhooks", append(core, "bot"), true
	case part[0] == "cmd":
		return ".", nil, true
	}
	return "", nil, false
}

// purity: deciding is values in, values out.
func purity(s source) (found []violation) {
	if s.test() || !s.in("grants") && !s.in("policies") {
		return nil
	}
	for _, i := range s.ast.Imports {
		target, _ := strconv.Unquote(i.Path.Value)
		for _, impure := range []string{"context", "os", "net", "log", "io/fs", "io/ioutil", "path/filepath", "math/rand", "crypto/rand", "syscall", "unsafe", "embed", "runtime"} {
			if target == impure || strings.HasPrefix(target, impure+"/") {
				found = append(found, s.violation(i.Pos(), target, "%s is pure and must not import %s", s.dir(), target))
			}
		}
	}
	for use, at := range s.uses() {
		switch use {
		case "time.Now", "time.Since", "time.Until", "time.LoadLocation", "time.Local", "time.Sleep",
			"time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick":
			found = append(found, s.violation(at, use, "%s is pure and must not use %s: take it as an argument", s.dir(), use))
		}
	}
	return found
}

// uses returns every name of another package that the file mentions, as
// package path and name, and where it does so first.
func (s source) uses() map[string]token.Pos {
	all := map[string]token.Pos{}
	names := s.imports()
	ast.Inspect(s.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && names[x.Name] != "" {
			use := names[x.Name] + "." + sel.Sel.Name
			if _, seen := all[use]; !seen {
				all[use] = sel.Pos()
			}
		}
		return true
	})
	return all
}

// wallClock: time is an argument, so that whatever depends on it can be
// tested, and so that one decision sees one time.
func wallClock(s source) (found []violation) {
	if s.test() || s.in("cmd") {
		return nil
	}
	for use, at := range s.uses() {
		switch use {
		case "time.Now", "time.Since", "time.Until", "time.LoadLocation":
			found = append(found, s.violation(at, use, "%s is used in %s, but only cmd may: pass Now or Zones in", use, s.dir()))
		}
	}
	return found
}

// homes says which packages outside cmd may import which library. cmd wires
// everything, and tests may use what they like.
var homes = map[string][]string{
	"github.com/bradleyfalzon/ghinstallation/v2": {"bot/githubpr"},
	"github.com/google/go-github/v60":            {"bot/githubpr", "bot/tickets"},
	"github.com/go-git/go-git/v5":                {"bot/gitstore", "bot/sandbox/github"},
	"github.com/hashicorp/vault/api":             {"bot/vaultlease"},
	"github.com/slack-go/slack":                  {"bot/slackchat"},
	"github.com/PagerDuty/go-pagerduty":          {"bot/oncall"},
	"github.com/opsgenie/opsgenie-go-sdk-v2":     {"bot/oncall"},
	"github.com/hashicorp/go-retryablehttp":      {"bot/oncall"}, // in what Opsgenie's client asks for
	"github.com/sirupsen/logrus":                 {"bot/oncall"}, // the same
	"github.com/andygrunwald/go-jira":            {"bot/tickets"},
	"github.com/hasura/go-graphql-client":        {"bot/tickets"},
	"cel.dev/cel-go":                             {"policies/expression"},
	"github.com/gin-gonic/gin":                   {"webhooks"},
	"github.com/prometheus/client_golang":        {"webhooks"},
	"github.com/robfig/cron/v3":                  {"bot"},
	"k8s.io/client-go/util/workqueue":            {"bot"},
	"go.yaml.in/yaml/v3":                         {"grants/strictyaml"},
	"golang.org/x/crypto/ssh":                    {"bot/vaultlease", "bot/sandbox/vault", "bot/sandbox/vault/vaultclaims", "bot/sandbox/target"},
	"github.com/jeroenrinzema/psql-wire":         {"bot/sandbox/target"},
	"github.com/jackc/pgx/v5":                    {"bot/sandbox/target"},
}

// thirdParty returns the library that an import belongs to, "" for our own
// packages and the standard library's.
func thirdParty(target string) string {
	first, _, _ := strings.Cut(target, "/")
	if !strings.Contains(first, ".") || strings.HasPrefix(target+"/", modulePath) {
		return ""
	}
	for _, library := range slices.Sorted(maps.Keys(homes)) {
		if strings.HasPrefix(target+"/", library+"/") {
			return library
		}
	}
	return target
}

// libraryHomes: a library that one package imports can be replaced, and read
// about, in one place.
func libraryHomes(s source) (found []violation) {
	if s.test() || s.in("cmd") {
		return nil
	}
	for _, i := range s.ast.Imports {
		target, _ := strconv.Unquote(i.Path.Value)
		library := thirdParty(target)
		if library == "" || slices.Contains(homes[library], s.dir()) {
			continue
		}
		sentence := "%s imports %s, which is at home in " + strings.Join(homes[library], ", ") + " only"
		if homes[library] == nil {
			sentence = "%s imports %s, which has no home yet: say in this test where it belongs"
		}
		found = append(found, s.violation(i.Pos(), target, sentence, s.dir(), target))
	}
	return found
}

// exportedTypes: what a package of bot or webhooks shows to others names no
// type of a library.
func exportedTypes(s source) (found []violation) {
	if s.test() || s.in("cmd") || s.in("bot/sandbox") {
		return nil
	}
	names := s.imports()
	for _, shown := range exported(s.ast) {
		ast.Inspect(shown, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BlockStmt:
				return false
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if ok && thirdParty(names[x.Name]) != "" {
					what := x.Name + "." + n.Sel.Name
					found = append(found, s.violation(n.Pos(), what, "what %s exports names %s, a type of %s", s.dir(), what, names[x.Name]))
				}
			}
			return true
		})
	}
	return found
}

// receiver is the name of the type that a method belongs to.
func receiver(of *ast.FieldList) string {
	t := of.List[0].Type
	for {
		switch inner := t.(type) {
		case *ast.StarExpr:
			t = inner.X
		case *ast.IndexExpr:
			t = inner.X
		case *ast.Ident:
			return inner.Name
		default:
			return ""
		}
	}
}

// exported returns the parts of a file's declarations that other packages can
// see.
func exported(file *ast.File) (shown []ast.Node) {
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			// A method of a type that is not exported is there for an
			// interface of some library, and others cannot name it.
			if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv))) {
				shown = append(shown, d.Type)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if spec.Name.IsExported() {
						shown = append(shown, visible(spec.Type)...)
					}
				case *ast.ValueSpec:
					if slices.ContainsFunc(spec.Names, (*ast.Ident).IsExported) {
						shown = append(shown, spec)
					}
				}
			}
		}
	}
	return shown
}

// visible leaves the unexported fields of a struct out.
func visible(t ast.Expr) (shown []ast.Node) {
	s, ok := t.(*ast.StructType)
	if !ok {
		return []ast.Node{t}
	}
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 || slices.ContainsFunc(field.Names, (*ast.Ident).IsExported) {
			shown = append(shown, field.Type)
		}
	}
	return shown
}

// endings: bad input, a lost connection or a mistake of ours in one request
// must not take the process and everybody else's requests with it.
func endings(s source) (found []violation) {
	if s.test() || s.path == "cmd/tac/main.go" {
		return nil
	}
	ast.Inspect(s.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "panic" && !abortsHandler(call) {
			found = append(found, s.violation(call.Pos(), "panic", "%s panics: return an error", s.dir()))
		}
		return true
	})
	for use, at := range s.uses() {
		pkg, name, _ := strings.Cut(use, ".")
		if use == "os.Exit" || pkg == "log" && (strings.HasPrefix(name, "Fatal") || strings.HasPrefix(name, "Panic")) {
			found = append(found, s.violation(at, use, "%s uses %s, but only main ends the program", s.dir(), use))
		}
	}
	return found
}

// abortsHandler reports whether a panic is net/http's way to cut a connection.
func abortsHandler(call *ast.CallExpr) bool {
	sel, ok := call.Args[0].(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "ErrAbortHandler"
}

// skips: a test that may skip itself proves nothing where it does, and nobody
// notices.
func skips(s source) (found []violation) {
	ast.Inspect(s.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || !s.test() {
			return true
		}
		if x, isName := sel.X.(*ast.Ident); isName && slices.Contains([]string{"t", "b", "f", "tb", "testing"}, x.Name) &&
			slices.Contains([]string{"Skip", "Skipf", "SkipNow", "Short"}, sel.Sel.Name) {
			what := x.Name + "." + sel.Sel.Name
			found = append(found, s.violation(sel.Pos(), what, "the test may be left out by %s", what))
		}
		return true
	})
	return found
}

const longestFile = 600 // lines

// shapes: what a reader can expect of every file.
func shapes(s source) (found []violation) {
	if s.lines > longestFile {
		found = append(found, s.violation(s.ast.Package, "length", "the file has %d lines, more than the %d a reader can follow", s.lines, longestFile))
	}
	name := strings.TrimSuffix(s.ast.Name.Name, "_test")
	if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "models", "manager", "base", "misc"}, name) {
		found = append(found, s.violation(s.ast.Name.Pos(), name, "the package name %s says nothing about what is in it", name))
	}
	if s.test() {
		return found
	}
	for name, target := range s.imports() {
		if strings.HasPrefix(name, ".") {
			found = append(found, s.violation(s.ast.Package, target, "a dot import of %s hides where names come from, from readers and from this test", target))
		}
		if target == "testing" || strings.HasPrefix(target, "testing/") {
			found = append(found, s.violation(s.ast.Package, target, "code that is not a test imports %s", target))
		}
	}
	for _, decl := range s.ast.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found = append(found, s.violation(f.Pos(), "init", "an init function does something before anybody asked: let main do it"))
		}
	}
	return found
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	said := map[string]bool{}
	for _, s := range readTree(t, filepath.Join("..", "..")) {
		if !s.test() {
			said[s.dir()] = said[s.dir()] || s.ast.Doc != nil
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(said)) {
		if !said[dir] {
			t.Errorf("no file of %s has a package comment", dir)
		}
	}
}

func TestTheTopLevelHoldsWhatItShould(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	agreed := []string{"bot", "cmd", "go.mod", "go.sum", "grants", "LICENSE", "policies", "README.md", "webhooks"}
	for _, e := range entries {
		i := slices.Index(agreed, e.Name())
		if i >= 0 {
			agreed = slices.Delete(agreed, i, i+1)
			continue
		}
		matches := func(pattern string) bool {
			ok, err := path.Match(strings.Trim(pattern, "/"), e.Name())
			return err == nil && ok
		}
		if !strings.HasPrefix(e.Name(), ".") && !slices.ContainsFunc(strings.Fields(string(ignored)), matches) {
			t.Errorf("%s stands at the top level, which holds the agreed entries and dotfiles only", e.Name())
		}
	}
	if len(agreed) > 0 {
		t.Errorf("the top level misses %s", strings.Join(agreed, ", "))
	}
}
