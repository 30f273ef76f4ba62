// Package starter holds the grants repository that `tac init` writes: a small
// one that works as it stands, with examples of every kind of document. The
// demo and the tests start from the very same files.
package starter

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/tigeraccess/tac/policies"
)

//go:embed all:files
var files embed.FS

// SchemaDir is where the schemas of the documents stand in a grants
// repository: where neither tac nor a person takes them for policy, and under
// the same owners. The first line of every policy file leads editors there.
const SchemaDir = ".github/tac"

// Files returns the starting repository: content by path.
func Files() (map[string]string, error) {
	all := map[string]string{}
	err := fs.WalkDir(files, "files", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		all[strings.TrimPrefix(path, "files/")] = string(data)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the starting repository: %w", err)
	}
	schemas, err := Schemas()
	if err != nil {
		return nil, err
	}
	for name, text := range schemas {
		all[SchemaDir+"/"+name] = text
	}
	return all, nil
}

// Schemas returns the JSON Schemas of all documents by the name of their
// file: tac.schema.json tells the kinds apart, and each kind has its own.
func Schemas() (map[string]string, error) {
	all := map[string]string{}
	for _, kind := range append(policies.SchemaKinds(), "") {
		text, err := policies.Schema(kind)
		if err != nil {
			return nil, err
		}
		name := "tac"
		if kind != "" {
			name = kind
		}
		all[name+".schema.json"] = string(text)
	}
	return all, nil
}
