package main_test

import (
	"flag"
	"go/ast"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/policies"
)

// What the documents say is tried, so that it stays true.

var updateDocs = flag.Bool("update-docs", false, "write the tests of the tree into SECURITY.md")

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block returns the one fenced block of a language that contains a text.
func block(t *testing.T, doc, language, contains string) string {
	t.Helper()
	for _, part := range strings.Split(doc, "\n```"+language+"\n")[1:] {
		text, _, _ := strings.Cut(part, "\n```")
		if strings.Contains(text, contains) {
			return text + "\n"
		}
	}
	t.Fatalf("no %s block contains %q", language, contains)
	return ""
}

func TestTheReadmesConfigurationLoads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"app.pem", "secret-id"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("not a real one\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.ReplaceAll(block(t, document(t, "README.md"), "yaml", "signing_secret"), "file:/etc/tac/", "file:"+dir+"/")
	c, err := server.Read("tac.yaml", []byte(text), func(string) string { return "not a real one" })
	if err != nil {
		t.Fatal(err)
	}
	if c.GitHub.Repo != "access" || c.Slack == nil || c.Vault.SecretID.Empty() {
		t.Errorf("not everything arrived: %+v", c)
	}
}

func TestTheReadmesPolicyLoads(t *testing.T) {
	t.Parallel()
	files, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	files["policies/production-database.yaml"] = block(t, document(t, "README.md"), "yaml", "kind: AccessPolicy")
	var documents []policies.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, "policies/") {
			documents = append(documents, policies.File{Path: name, Data: []byte(files[name])})
		}
	}
	if set, _ := policies.Load(documents, time.LoadLocation); set.Err() != nil {
		t.Fatal(set.Err())
	}
}

func TestTheReadmesVaultPolicyIsTheOneThatSetupWrites(t *testing.T) {
	t.Parallel()
	_, setup, _ := strings.Cut(vaultlease.Plan{Targets: demo.Targets}.BotPolicy(), "\n") // without its heading
	if got := block(t, document(t, "README.md"), "hcl", "auth/token/create"); got != setup {
		t.Errorf("README.md says\n%s\nand set-up writes\n%s", got, setup)
	}
}

func TestLinksWithinTheDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	for _, name := range []string{"README.md", ".github/SECURITY.md", ".github/CONTRIBUTING.md"} {
		for _, m := range link.FindAllStringSubmatch(document(t, name), -1) {
			if _, err := os.Stat(filepath.Join("..", "..", filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}

var (
	threatRow  = regexp.MustCompile(`^\| ([A-F][0-9]+) \| (.+?) \| (.*?) ?\|$`)
	threatTest = regexp.MustCompile(`^Test([A-F][0-9]+)_`)
)

// TestSecurityNamesTheTestsThatExist compares the table of attacks with the
// tree: a test that bears a row's name stands in that row, and every test in
// the table exists.
func TestSecurityNamesTheTestsThatExist(t *testing.T) {
	t.Parallel()
	all, byRow := testNames(t)
	const name = ".github/SECURITY.md"
	lines, seen := strings.Split(document(t, name), "\n"), map[string]bool{}
	for i, line := range lines {
		m := threatRow.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		row := m[1]
		seen[row] = true
		others := strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' || r == ' ' })
		others = slices.DeleteFunc(others, func(test string) bool { return !all[test] || slices.Contains(byRow[row], test) })
		want := strings.Join(append(byRow[row], others...), ", ")
		if want == "" {
			want = "none yet"
		}
		lines[i] = "| " + row + " | " + m[2] + " | " + want + " |"
		if lines[i] != line && !*updateDocs {
			t.Errorf("%s has for %s\n%s\nand the tree has\n%s\nrun go test ./cmd/tac -run TestSecurityNames -update-docs", name, row, line, lines[i])
		}
	}
	for row := range byRow {
		if !seen[row] {
			t.Errorf("%s has no row %s, which %s is named after", name, row, byRow[row][0])
		}
	}
	if *updateDocs {
		if err := os.WriteFile(filepath.Join("..", "..", name), []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// testNames returns every test of the tree, and those named after a row of
// the table of attacks.
func testNames(t *testing.T) (all map[string]bool, byRow map[string][]string) {
	t.Helper()
	all, byRow = map[string]bool{}, map[string][]string{}
	for _, s := range readTree(t, filepath.Join("..", "..")) {
		for _, decl := range s.ast.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || !s.test() || f.Recv != nil || all[f.Name.Name] {
				continue
			}
			name := f.Name.Name
			all[name] = true
			if m := threatTest.FindStringSubmatch(name); m != nil {
				byRow[m[1]] = append(byRow[m[1]], name)
			}
		}
	}
	for _, names := range byRow {
		slices.Sort(names)
	}
	return all, byRow
}
