package main

import (
	"os"
	"path/filepath"
)

// places says where files stand in the git repository that holds them: what
// GitHub shows beside a line has to be named from there.
type places struct{ prefix string }

// newPlaces looks for the repository around dir. Outside of any, files are
// named as seen from here, or from dir where that is elsewhere.
func newPlaces(dir string) places {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return places{}
	}
	for top := abs; ; top = filepath.Dir(top) {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			prefix, err := filepath.Rel(top, abs)
			if err != nil {
				return places{}
			}
			return places{prefix}
		}
		if top == filepath.Dir(top) {
			break
		}
	}
	if filepath.IsLocal(dir) {
		return places{dir}
	}
	return places{}
}

func (p places) of(file string) string { return filepath.ToSlash(filepath.Join(p.prefix, file)) }
