package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/policies"
)

// repository is what a clone of a grants repository holds.
type repository struct {
	dir      string // as it was named
	policies []policies.File
	grants   []policies.File
	// findings are files that look like ours and that the bot does not read:
	// a policy that does not count is worse than none.
	findings []policies.Finding
	lines    map[string]*fileLines // by file, once one was asked for
}

// mostFile bounds what is read of one file: twice of what the strictest
// reader would take, so that it says itself how much too large a file is.
const mostFile = 8 << 20

// readRepository reads policies/ and grants/ below dir. Nothing is followed
// out of it: what the bot reads from git are plain files only.
func readRepository(dir string) (repository, error) {
	r := repository{dir: dir}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return r, fmt.Errorf("%s is a file; name the folder of the repository, not a file", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return r, fmt.Errorf("read the grants repository: %w", err)
	}
	defer root.Close()
	for _, top := range []string{"policies", "grants"} {
		info, err := root.Lstat(top)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return r, fmt.Errorf("read the grants repository: %w", err)
		case !info.IsDir():
			r.fault(top, "file/not-plain", "this has to be a folder, and not a link to one")
			continue
		}
		err = fs.WalkDir(root.FS(), top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			return r.file(root, name, d)
		})
		if err != nil {
			return r, fmt.Errorf("read the grants repository: %w", err)
		}
	}
	return r, nil
}

func (r *repository) fault(name, code, format string, args ...any) {
	r.findings = append(r.findings, policies.Finding{
		File: name, Line: 1, Column: 1, Severity: policies.SeverityError, Code: code, Message: fmt.Sprintf(format, args...),
	})
}

func (r *repository) file(root *os.Root, name string, d fs.DirEntry) error {
	switch path.Ext(name) {
	case ".yaml":
	case ".yml":
		r.fault(name, "file/ignored", "tac reads files that end in .yaml; rename this one")
		return nil
	default:
		return nil
	}
	info, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case !info.Mode().IsRegular():
		r.fault(name, "file/not-plain", "tac reads plain files only, and this is %s; put the content itself here", kindOf(info.Mode()))
		return nil
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o100 != 0:
		r.fault(name, "file/not-plain", "tac does not read files that are executable; run: chmod -x %s", name)
		return nil
	case info.Size() > mostFile:
		r.fault(name, "file/too-large", "the file has %d bytes; at most %d are read", info.Size(), mostFile)
		return nil
	}
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostFile))
	if err != nil {
		return err
	}
	file := policies.File{Path: name, Data: data}
	if strings.HasPrefix(name, "policies/") {
		r.policies = append(r.policies, file)
	} else {
		r.grants = append(r.grants, file)
	}
	return nil
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a folder"
	}
	return "something else"
}

// errNoPolicies says that a folder is no grants repository.
var errNoPolicies = errors.New("no policy documents here; is this a grants repository?")

// documents reports whether there are policies. Files below a testdata folder
// are read, as the bot reads them, but do not make a grants repository out of
// a source tree.
func (r *repository) documents() bool {
	return slices.ContainsFunc(r.policies, func(f policies.File) bool { return !strings.Contains(f.Path, "/testdata/") })
}

// mostAbove is how far up a repository is looked for that somebody is inside of.
const mostAbove = 4

// empty says that there are no policies, and where there are some.
func (r *repository) empty() error {
	where := "in " + r.dir
	if r.dir == "." {
		where = "here"
	}
	hint := "is this a grants repository?"
	for above, n := filepath.Join(r.dir, ".."), 0; n < mostAbove; above, n = filepath.Join(above, ".."), n+1 {
		if outer, err := readRepository(above); err == nil && outer.documents() {
			hint = fmt.Sprintf("%s is a grants repository: tac policy lint %[1]s", above)
			break
		}
	}
	return fmt.Errorf("no policy documents %s; %s", where, hint)
}

// load compiles the policies.
func (r *repository) load() (*policies.Set, []policies.Finding, error) {
	if !r.documents() && len(r.findings) == 0 {
		return nil, nil, r.empty()
	}
	set, findings := policies.Load(r.policies, time.LoadLocation)
	return set, append(findings, r.findings...), nil
}

// line returns one line of a file, without its end; false where there is none.
func (r *repository) line(name string, n int) (string, bool) {
	if r.lines == nil {
		r.lines = map[string]*fileLines{}
		for _, f := range slices.Concat(r.policies, r.grants) {
			r.lines[f.Path] = &fileLines{data: f.Data}
		}
	}
	file := r.lines[name]
	if file == nil {
		return "", false
	}
	if file.lines == nil {
		file.lines = bytes.Split(file.data, []byte("\n"))
	}
	if n < 1 || n > len(file.lines) {
		return "", false
	}
	return strings.TrimSuffix(string(file.lines[n-1]), "\r"), true
}

// fileLines is a file that is split into lines once somebody asks for one.
type fileLines struct {
	data  []byte
	lines [][]byte
}

// lint returns everything wrong with the repository, by file.
func (r *repository) lint(now time.Time) ([]policies.Finding, error) {
	set, findings, err := r.load()
	if err != nil {
		return nil, err
	}
	suite, wrong := policies.ReadTests(r.policies, set, time.LoadLocation)
	findings = slices.Concat(findings, wrong, set.LintAt(now), set.LintTests(suite), set.LintGrants(r.grants, now))
	slices.SortStableFunc(findings, func(a, b policies.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return findings, nil
}
