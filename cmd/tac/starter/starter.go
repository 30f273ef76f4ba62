// Package starter holds the grants repository that `tac init` writes: a small
// one that works as it stands, with examples of every kind of document. The
// demo and the tests start from the very same files.
package starter

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed all:files
var files embed.FS

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
	return all, nil
}
