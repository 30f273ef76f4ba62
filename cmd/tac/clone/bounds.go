package clone

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5"
)

// A clone may be anybody's, so nothing of it is read to an end that the clone
// decides alone: a device or a pipe in the place of a file has none. These are
// the most bytes of a file, far above what git writes.
const (
	mostLine int64 = 8 << 10  // a path: the file .git, and commondir
	mostText int64 = 1 << 20  // a configuration, a reference, alternates
	mostList int64 = 64 << 20 // a line for each of many: packed-refs, shallow
)

// mostLenders bounds from how many places objects are borrowed.
const mostLenders = 32

// alternates is the file that names the places that objects are borrowed
// from, within the folder of a repository.
var alternates = filepath.Join("objects", "info", "alternates")

// checkSize refuses what is no plain file, and one that is too long, before
// it is opened: to open a pipe is to wait for its writer.
func checkSize(name string, info fs.FileInfo, most int64) error {
	if !info.Mode().IsRegular() || info.Size() > most {
		return fmt.Errorf("%s is no file of at most %d bytes", name, most)
	}
	return nil
}

// readBounded reads a file of at most so many bytes.
func readBounded(name string, most int64) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if err := checkSize(name, info, most); err != nil {
		return "", err
	}
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most))
	return string(data), err
}

// boundedFiles is the files of a repository as the library gets to see them:
// each has an end, but those of objects, which are as large as their packs;
// and none is the list of alternates. The library would follow that one for
// every object that it does not find, and round in circles where it has any.
type boundedFiles struct{ billy.Filesystem }

func (b boundedFiles) Open(name string) (billy.File, error) {
	clean := filepath.Clean(name)
	if clean == alternates {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	info, err := b.Stat(name)
	if err != nil {
		return nil, err
	}
	most := mostText
	switch top, _, _ := strings.Cut(filepath.ToSlash(clean), "/"); top {
	case "objects":
		if info.IsDir() || info.Mode().IsRegular() {
			return b.Filesystem.Open(name)
		}
	case "packed-refs", "shallow":
		most = mostList
	}
	if err := checkSize(name, info, most); err != nil {
		return nil, err
	}
	f, err := b.Filesystem.Open(name)
	if err != nil {
		return nil, err
	}
	return boundedFile{f, io.LimitReader(f, most)}, nil
}

// boundedFile is read to its bound, whatever its size was said to be.
type boundedFile struct {
	billy.File
	in io.Reader
}

func (b boundedFile) Read(p []byte) (int, error) { return b.in.Read(p) }
