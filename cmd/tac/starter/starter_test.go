package starter_test

import (
	"path"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/cmd/tac/starter"
)

// TestEveryPolicyDocumentLeadsEditorsToItsSchema: the language server reads
// the line once for each document, not for each file.
func TestEveryPolicyDocumentLeadsEditorsToItsSchema(t *testing.T) {
	files, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	documents := 0
	for name, content := range files {
		if path.Ext(name) != ".yaml" {
			continue
		}
		if !strings.HasPrefix(name, "policies/") {
			t.Errorf("%s is YAML and no policy", name)
		}
		for _, document := range strings.Split(content, "---\n") {
			documents++
			line, _, _ := strings.Cut(document, "\n")
			schema, ok := strings.CutPrefix(line, "# yaml-language-server: $schema=")
			if _, there := files[path.Join(path.Dir(name), schema)]; !ok || !there {
				t.Errorf("%s: a document begins with %q", name, line)
			}
		}
	}
	if documents < 10 {
		t.Errorf("only %d documents", documents)
	}
}
