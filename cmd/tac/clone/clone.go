// Package clone reads the git history of a grants repository from a clone on
// disk: plain, bare, a worktree or a submodule, whole or shallow. It runs no
// git and no hook, asks no server and writes nothing, so it may be pointed at
// what somebody else has made. Only plain files are read out of commits;
// links in them are never followed.
//
//   - clone.go: finding the repository, and its revisions;
//   - bounds.go: how much of a clone is read at most;
//   - tree.go: the policies of a commit, and what a commit added;
//   - history.go: the grants that the first-parent history tells of.
package clone

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-git/go-billy/v5"
	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/filesystem"
	"github.com/go-git/go-git/v5/storage/filesystem/dotgit"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Clone is a clone of a grants repository.
type Clone struct {
	// Bare says that the clone has no work tree.
	Bare    bool
	store   *filesystem.Storage
	objects []*filesystem.Storage  // where objects are looked for, in order; store is the last
	shallow map[plumbing.Hash]bool // commits whose parents were not fetched
}

// ErrNoRepository says that a folder is not the top of a clone.
var ErrNoRepository = errors.New("this is no git repository")

// Open opens the clone whose top is dir.
func Open(dir string) (*Clone, error) {
	dot, bare, err := findGit(dir)
	if err != nil {
		return nil, err
	}
	shared, err := commonDir(dot)
	if err != nil {
		return nil, fmt.Errorf("open the clone %s: %w", dir, err)
	}
	var files billy.Filesystem = osfs.New(dot)
	if shared != dot {
		files = dotgit.NewRepositoryFilesystem(files, osfs.New(shared))
	}
	c := &Clone{Bare: bare, store: storage(files), shallow: map[plumbing.Hash]bool{}}
	if err := c.borrow(shared, 1, map[string]bool{}); err != nil {
		return nil, fmt.Errorf("open the clone %s: %w", dir, err)
	}
	c.objects = append(c.objects, c.store)
	if err := c.checkFormat(); err != nil {
		return nil, fmt.Errorf("open the clone %s: %w", dir, err)
	}
	boundary, err := c.store.Shallow()
	if err != nil {
		return nil, fmt.Errorf("open the clone %s: %w", dir, err)
	}
	for _, h := range boundary {
		c.shallow[h] = true
	}
	return c, nil
}

// storage keeps packs open: opening one for every object takes most of the
// time otherwise.
func storage(files billy.Filesystem) *filesystem.Storage {
	return filesystem.NewStorageWithOptions(boundedFiles{files}, cache.NewObjectLRUDefault(), filesystem.Options{KeepDescriptors: true})
}

// borrow opens the repositories whose objects a clone made with --shared or
// --reference uses, each once: the list may name a place many times over, and
// the clone itself, and so may the lists of those that it names.
func (c *Clone) borrow(dot string, depth int, seen map[string]bool) error {
	const deepest = 5 // as git itself
	whole, err := filepath.Abs(dot)
	if err != nil {
		return err
	}
	seen[whole] = true
	text, err := readBounded(filepath.Join(dot, alternates), mostText)
	if errors.Is(err, fs.ErrNotExist) || depth > deepest {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		objects := filepath.FromSlash(strings.TrimSpace(line))
		if objects == "" || strings.HasPrefix(objects, "#") {
			continue
		}
		if !filepath.IsAbs(objects) {
			objects = filepath.Join(whole, "objects", objects)
		}
		objects = filepath.Clean(objects)
		if filepath.Base(objects) != "objects" {
			return fmt.Errorf("it borrows objects from %s, which is no repository's own folder of them", objects)
		}
		other := filepath.Dir(objects)
		if seen[other] {
			continue
		}
		if len(seen) > mostLenders { // the clone itself is one of them
			return fmt.Errorf("it borrows objects from more than %d places, and tac looks into no more", mostLenders)
		}
		if err := c.borrow(other, depth+1, seen); err != nil {
			return err
		}
		c.objects = append(c.objects, storage(osfs.New(other)))
	}
	return nil
}

// object returns one object, wherever it is kept.
func (c *Clone) object(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	for _, s := range c.objects {
		o, err := s.EncodedObject(t, h)
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, plumbing.ErrObjectNotFound) {
			return nil, fmt.Errorf("read %s: %w", short(h), err)
		}
	}
	if len(c.shallow) > 0 {
		return nil, fmt.Errorf("%s is not in this shallow clone; fetch the rest: git fetch --unshallow", short(h))
	}
	return nil, fmt.Errorf("%s is not in this clone; if it was made with --filter, make one without", short(h))
}

// findGit returns the folder that holds the repository of dir.
func findGit(dir string) (dot string, bare bool, err error) {
	dot = filepath.Join(dir, ".git")
	info, err := os.Stat(dot)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if isRepository(dir) {
			return dir, true, nil
		}
		return "", false, noRepository(dir)
	case err != nil:
		return "", false, fmt.Errorf("open the clone: %w", err)
	case info.IsDir():
		return dot, false, nil
	}
	// A worktree or a submodule: a file that names the folder.
	text, err := readLine(dot)
	if err != nil {
		return "", false, fmt.Errorf("open the clone: %w", err)
	}
	target, found := strings.CutPrefix(text, "gitdir: ")
	if !found {
		return "", false, fmt.Errorf("open the clone: %s does not say where the repository is", dot)
	}
	target = filepath.FromSlash(target)
	if !filepath.IsAbs(target) {
		target = filepath.Join(dir, target)
	}
	if _, err := os.Stat(filepath.Join(target, "HEAD")); err != nil {
		return "", false, fmt.Errorf("open the clone: %s points to %s, which is no repository", dot, target)
	}
	return target, false, nil
}

func isRepository(dir string) bool {
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// noRepository names the clone that a folder lies in, if it does.
func noRepository(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return fmt.Errorf("open the clone: %w", err)
	} else if !info.IsDir() {
		return fmt.Errorf("%s: %w: it is a file", dir, ErrNoRepository)
	}
	at, err := filepath.Abs(dir)
	for err == nil && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		if _, err := os.Stat(filepath.Join(at, ".git")); err == nil {
			return fmt.Errorf("%s: %w; it lies within %s: name that one, since a grants repository is a repository of its own", dir, ErrNoRepository, at)
		}
	}
	return fmt.Errorf("%s: %w; what-if reads the history of a clone", dir, ErrNoRepository)
}

// commonDir is where a worktree shares everything but its HEAD.
func commonDir(dot string) (string, error) {
	text, err := readLine(filepath.Join(dot, "commondir"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dot, nil
	case err != nil:
		return "", err
	}
	shared := filepath.FromSlash(text)
	if !filepath.IsAbs(shared) {
		shared = filepath.Join(dot, shared)
	}
	return shared, nil
}

// readLine reads a file of one line.
func readLine(name string) (string, error) {
	text, err := readBounded(name, mostLine)
	return strings.TrimSpace(text), err
}

// checkFormat refuses what this reader would misread.
func (c *Clone) checkFormat() error {
	config, err := c.store.Config()
	if err != nil {
		return fmt.Errorf("read its configuration: %w", err)
	}
	if config.Raw == nil || !config.Raw.HasSection("extensions") {
		return nil
	}
	for _, option := range config.Raw.Section("extensions").Options {
		switch key, value := strings.ToLower(option.Key), strings.ToLower(option.Value); {
		case key == "objectformat" && value != "sha1":
			return fmt.Errorf("its objects are named by %s, which this version does not read", value)
		case key == "refstorage" && value != "files":
			return fmt.Errorf("it keeps its references in the format %s, which this version does not read; clone it anew with --ref-format=files", value)
		}
	}
	return nil
}

// revisionForm is a name and steps back from it, as in main~2 or HEAD^1.
var revisionForm = regexp.MustCompile(`^([^\s~^:?*\[\\\x00-\x1f\x7f]+?)((?:[~^][0-9]{0,6})*)$`)

// pseudoForm is the names of references that stand beside refs/.
var pseudoForm = regexp.MustCompile(`^[A-Z_]+$`)

var stepForm = regexp.MustCompile(`[~^][0-9]*`)

// Revision returns the hash of the commit that a branch, tag, remote branch
// or hash names, with ^, ^N and ~N after it.
func (c *Clone) Revision(text string) (string, error) {
	h, err := c.revision(text)
	if err != nil {
		return "", fmt.Errorf("%q: %w", text, err)
	}
	return h.String(), nil
}

func (c *Clone) revision(text string) (plumbing.Hash, error) {
	m := revisionForm.FindStringSubmatch(text)
	if m == nil || len(text) > 250 || strings.Contains(text, "@{") {
		return plumbing.ZeroHash, errors.New("write a branch, a tag or a commit, as in origin/main, v1.2 or HEAD~3")
	}
	at, err := c.named(m[1])
	if err != nil {
		return plumbing.ZeroHash, err
	}
	for _, step := range stepForm.FindAllString(m[2], -1) {
		n := 1
		if step[1:] != "" {
			if n, err = strconv.Atoi(step[1:]); err != nil {
				return plumbing.ZeroHash, err
			}
		}
		if at, err = c.back(at, step[0], n); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	return at, nil
}

// back walks n first parents (~) or to the nth parent (^).
func (c *Clone) back(at plumbing.Hash, how byte, n int) (plumbing.Hash, error) {
	steps, parent := n, 1
	if how == '^' {
		steps, parent = min(n, 1), n
	}
	for range steps {
		commit, err := c.commit(at)
		if err != nil {
			return at, err
		}
		switch {
		case len(commit.ParentHashes) < parent:
			return at, fmt.Errorf("the commit %s has no parent %d", short(at), parent)
		case c.shallow[at]:
			return at, fmt.Errorf("the history is cut off at %s, since this clone is shallow; fetch the rest: git fetch --unshallow", short(at))
		}
		at = commit.ParentHashes[parent-1]
	}
	_, err := c.commit(at)
	return at, err
}

// named finds what a name stands for in git's own order, but for abbreviated
// hashes, which come last: no branch may be hidden by a hash that begins
// like it.
func (c *Clone) named(name string) (plumbing.Hash, error) {
	if name == "@" {
		name = "HEAD"
	}
	if plumbing.IsHash(name) {
		return c.peeled(plumbing.NewHash(name))
	}
	for _, rule := range plumbing.RefRevParseRules {
		ref := plumbing.ReferenceName(fmt.Sprintf(rule, name))
		if ref.Validate() != nil || !strings.HasPrefix(ref.String(), "refs/") && !pseudoForm.MatchString(ref.String()) {
			continue
		}
		found, err := storer.ResolveReference(c.store, ref)
		if err == nil {
			return c.peeled(found.Hash())
		}
		if !errors.Is(err, plumbing.ErrReferenceNotFound) {
			return plumbing.ZeroHash, err
		}
	}
	if len(name) >= 4 && len(name) < 40 && strings.Trim(name, "0123456789abcdef") == "" {
		return c.abbreviated(name)
	}
	if _, err := storer.ResolveReference(c.store, plumbing.ReferenceName("refs/remotes/origin/"+name)); err == nil {
		return plumbing.ZeroHash, fmt.Errorf("there is no such branch, tag or commit here; did you mean origin/%s?", name)
	}
	return plumbing.ZeroHash, errors.New("there is no such branch, tag or commit here" + c.hint(name))
}

// mostNamesRead bounds how many branches and tags are looked through for the
// one that was meant.
const mostNamesRead = 10_000

// hint says what could have been meant by a name that stands for nothing.
func (c *Clone) hint(name string) string {
	// Names of the remote are compared without what all of them begin with.
	branch, remote := strings.CutPrefix(name, "origin/")
	before := strings.TrimSuffix(name, branch)
	var known []string
	if refs, err := c.store.IterReferences(); err == nil {
		_ = refs.ForEach(func(ref *plumbing.Reference) error { // a hint may be missing
			if short, ok := strings.CutPrefix(ref.Name().Short(), before); ok {
				known = append(known, short)
			}
			if len(known) == mostNamesRead {
				return storer.ErrStop
			}
			return nil
		})
	}
	slices.Sort(known)
	if best, ok := strictyaml.Nearest(branch, known); ok {
		return "; did you mean " + before + best + "?"
	}
	if remote {
		return "; git fetch origin may bring it"
	}
	return ""
}

func (c *Clone) abbreviated(name string) (plumbing.Hash, error) {
	prefix, err := hex.DecodeString(name[:len(name)/2*2])
	if err != nil {
		return plumbing.ZeroHash, err
	}
	var commits []plumbing.Hash
	for _, s := range c.objects {
		candidates, err := s.HashesWithPrefix(prefix)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		for _, h := range candidates {
			at, err := c.peeled(h)
			if strings.HasPrefix(h.String(), name) && err == nil && !slices.Contains(commits, at) {
				commits = append(commits, at)
			}
		}
	}
	switch len(commits) {
	case 0:
		return plumbing.ZeroHash, errors.New("there is no such branch, tag or commit here")
	case 1:
		return commits[0], nil
	}
	return plumbing.ZeroHash, fmt.Errorf("%d commits begin like this; write more of the hash", len(commits))
}

// peeled returns the commit behind a hash: itself, or what a tag points to.
func (c *Clone) peeled(h plumbing.Hash) (plumbing.Hash, error) {
	const deepest = 10 // tags of tags
	for range deepest {
		o, err := c.object(plumbing.AnyObject, h)
		if err != nil {
			return h, err
		}
		switch o.Type() {
		case plumbing.CommitObject:
			return h, nil
		case plumbing.TagObject:
			tag, err := object.DecodeTag(c.store, o)
			if err != nil {
				return h, fmt.Errorf("read the tag %s: %w", short(h), err)
			}
			h = tag.Target
		default:
			return h, fmt.Errorf("%s is a %s and not a commit", short(h), o.Type())
		}
	}
	return h, errors.New("it is a tag of tags without end")
}

func (c *Clone) commit(h plumbing.Hash) (*object.Commit, error) {
	o, err := c.object(plumbing.CommitObject, h)
	if err != nil {
		return nil, err
	}
	return object.DecodeCommit(c.store, o)
}

func short(h plumbing.Hash) string { return h.String()[:10] }

// Close lets go of the files of the clone.
func (c *Clone) Close() error {
	var err error
	for _, s := range c.objects {
		err = errors.Join(err, s.Close())
	}
	return err
}
