package github

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/storage/memory"
)

// objects is the object database of a repository and of all its forks, with
// the commit graph remembered. Objects never change, so everything learnt
// about them stays true.
type objects struct {
	store *memory.Storage
	graph map[plumbing.Hash]*node
	sound map[plumbing.Hash]bool // commits and trees known to be complete
	web   map[plumbing.Hash]bool // commits that the server itself has made
}

func newObjects() *objects {
	return &objects{
		store: memory.NewStorage(),
		graph: map[plumbing.Hash]*node{},
		sound: map[plumbing.Hash]bool{},
		web:   map[plumbing.Hash]bool{},
	}
}

var errConflict = errors.New("merge conflict")

type encoder interface {
	Encode(plumbing.EncodedObject) error
}

func (o *objects) save(e encoder) (plumbing.Hash, error) {
	raw := o.store.NewEncodedObject()
	if err := e.Encode(raw); err != nil {
		return plumbing.ZeroHash, fmt.Errorf("encode object: %w", err)
	}
	return o.store.SetEncodedObject(raw)
}

func (o *objects) saveBlob(content string) (plumbing.Hash, error) {
	raw := o.store.NewEncodedObject()
	raw.SetType(plumbing.BlobObject)
	w, err := raw.Writer()
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := io.WriteString(w, content); err != nil {
		return plumbing.ZeroHash, err
	}
	if err := w.Close(); err != nil {
		return plumbing.ZeroHash, err
	}
	return o.store.SetEncodedObject(raw)
}

// forget takes objects out that no ref needs.
func (o *objects) forget(hashes []plumbing.Hash) {
	for _, h := range hashes {
		for _, kind := range []map[plumbing.Hash]plumbing.EncodedObject{
			o.store.Objects, o.store.Commits, o.store.Trees, o.store.Blobs, o.store.Tags,
		} {
			delete(kind, h)
		}
		delete(o.graph, h)
		delete(o.sound, h)
	}
}

func (o *objects) blob(h plumbing.Hash) ([]byte, error) {
	b, err := gitobject.GetBlob(o.store, h)
	if err != nil {
		return nil, err
	}
	r, err := b.Reader()
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	return io.ReadAll(r)
}

func (o *objects) commit(h plumbing.Hash) (*gitobject.Commit, error) {
	return gitobject.GetCommit(o.store, h)
}

// newCommit stores a commit and returns its hash.
func (o *objects) newCommit(tree plumbing.Hash, parents []plumbing.Hash, author, committer gitobject.Signature, message string) (plumbing.Hash, error) {
	return o.save(&gitobject.Commit{
		Author: author, Committer: committer, Message: message,
		TreeHash: tree, ParentHashes: parents,
	})
}

func signature(name, email string, at time.Time) gitobject.Signature {
	return gitobject.Signature{Name: name, Email: email, When: at}
}

func (o *objects) entries(tree plumbing.Hash) ([]gitobject.TreeEntry, error) {
	if tree.IsZero() {
		return nil, nil
	}
	t, err := gitobject.GetTree(o.store, tree)
	if err != nil {
		return nil, err
	}
	return t.Entries, nil
}

func (o *objects) saveTree(entries map[string]gitobject.TreeEntry) (plumbing.Hash, error) {
	if len(entries) == 0 {
		return plumbing.ZeroHash, nil
	}
	list := make([]gitobject.TreeEntry, 0, len(entries))
	for _, e := range entries {
		list = append(list, e)
	}
	sort.Sort(gitobject.TreeEntrySorter(list))
	return o.save(&gitobject.Tree{Entries: list})
}

// edit returns the tree that differs from the given one by changes: content
// by path, or nil for a file to take away. A tree without files is zero.
func (o *objects) edit(tree plumbing.Hash, changes map[string]*string) (plumbing.Hash, error) {
	old, err := o.entries(tree)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	next := byName(old)
	below := map[string]map[string]*string{}
	for path, content := range changes {
		first, rest, nested := strings.Cut(path, "/")
		switch {
		case first == "" || nested && rest == "":
			return plumbing.ZeroHash, fmt.Errorf("path %q is malformed", path)
		case nested:
			if below[first] == nil {
				below[first] = map[string]*string{}
			}
			below[first][rest] = content
		case content == nil:
			delete(next, first)
		default:
			h, err := o.saveBlob(*content)
			if err != nil {
				return plumbing.ZeroHash, err
			}
			next[first] = gitobject.TreeEntry{Name: first, Mode: filemode.Regular, Hash: h}
		}
	}
	for name, inner := range below {
		sub := plumbing.ZeroHash
		if e, ok := next[name]; ok && e.Mode == filemode.Dir {
			sub = e.Hash
		}
		h, err := o.edit(sub, inner)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		put(next, name, filemode.Dir, h)
	}
	return o.saveTree(next)
}

func byName(entries []gitobject.TreeEntry) map[string]gitobject.TreeEntry {
	m := make(map[string]gitobject.TreeEntry, len(entries))
	for _, e := range entries {
		m[e.Name] = e
	}
	return m
}

func put(entries map[string]gitobject.TreeEntry, name string, mode filemode.FileMode, h plumbing.Hash) {
	if h.IsZero() {
		delete(entries, name)
		return
	}
	entries[name] = gitobject.TreeEntry{Name: name, Mode: mode, Hash: h}
}

// emptyTree stores the tree without entries; commits must name a tree even
// where there are no files.
func (o *objects) emptyTree() (plumbing.Hash, error) { return o.save(&gitobject.Tree{}) }

// rooted returns tree, or the stored empty tree for zero.
func (o *objects) rooted(tree plumbing.Hash, err error) (plumbing.Hash, error) {
	if err != nil || !tree.IsZero() {
		return tree, err
	}
	return o.emptyTree()
}

// mergeTrees merges by whole files: it is a conflict (errConflict) where both
// sides changed the same file differently.
func (o *objects) mergeTrees(base, ours, theirs plumbing.Hash) (plumbing.Hash, error) {
	switch {
	case ours == theirs, base == theirs:
		return ours, nil
	case base == ours:
		return theirs, nil
	}
	var sides [3]map[string]gitobject.TreeEntry
	names := map[string]bool{}
	for i, h := range []plumbing.Hash{base, ours, theirs} {
		list, err := o.entries(h)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		sides[i] = byName(list)
		for name := range sides[i] {
			names[name] = true
		}
	}
	merged := map[string]gitobject.TreeEntry{}
	for name := range names {
		b, a, t := sides[0][name], sides[1][name], sides[2][name]
		e, err := o.mergeEntry(b, a, t)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		put(merged, name, e.Mode, e.Hash)
	}
	return o.saveTree(merged)
}

func (o *objects) mergeEntry(base, ours, theirs gitobject.TreeEntry) (gitobject.TreeEntry, error) {
	switch {
	case ours == theirs, base == theirs:
		return ours, nil
	case base == ours:
		return theirs, nil
	}
	directory := func(e gitobject.TreeEntry) bool { return e.Hash.IsZero() || e.Mode == filemode.Dir }
	if !directory(base) || !directory(ours) || !directory(theirs) {
		return gitobject.TreeEntry{}, errConflict
	}
	h, err := o.mergeTrees(base.Hash, ours.Hash, theirs.Hash)
	return gitobject.TreeEntry{Mode: filemode.Dir, Hash: h}, err
}

// change is one file that differs between two trees; a side that does not
// have the file is the zero entry.
type change struct {
	path   string
	before gitobject.TreeEntry
	after  gitobject.TreeEntry
}

// diff lists the files that differ between two trees, ordered by path.
func (o *objects) diff(before, after plumbing.Hash) ([]change, error) {
	var list []change
	err := o.diffInto(&list, "", before, after)
	sort.Slice(list, func(i, j int) bool { return list[i].path < list[j].path })
	return list, err
}

func (o *objects) diffInto(list *[]change, prefix string, before, after plumbing.Hash) error {
	if before == after {
		return nil
	}
	a, err := o.entries(before)
	if err != nil {
		return err
	}
	b, err := o.entries(after)
	if err != nil {
		return err
	}
	left, right := byName(a), byName(b)
	names := map[string]bool{}
	for name := range left {
		names[name] = true
	}
	for name := range right {
		names[name] = true
	}
	for name := range names {
		l, r := left[name], right[name]
		if l == r {
			continue
		}
		var subL, subR plumbing.Hash
		if l.Mode == filemode.Dir {
			subL, l = l.Hash, gitobject.TreeEntry{}
		}
		if r.Mode == filemode.Dir {
			subR, r = r.Hash, gitobject.TreeEntry{}
		}
		if err := o.diffInto(list, prefix+name+"/", subL, subR); err != nil {
			return err
		}
		if l != r {
			*list = append(*list, change{path: prefix + name, before: l, after: r})
		}
	}
	return nil
}

// lines counts the lines that a change takes away and adds. It compares the
// common beginning and end only, which is exact for whole files and good
// enough for a number that people merely look at.
func (o *objects) lines(c change) (deleted, added int) {
	split := func(e gitobject.TreeEntry) [][]byte {
		if e.Hash.IsZero() || e.Mode == filemode.Submodule {
			return nil
		}
		b, err := o.blob(e.Hash)
		if err != nil || len(b) == 0 {
			return nil
		}
		return bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	}
	l, r := split(c.before), split(c.after)
	for len(l) > 0 && len(r) > 0 && bytes.Equal(l[0], r[0]) {
		l, r = l[1:], r[1:]
	}
	for len(l) > 0 && len(r) > 0 && bytes.Equal(l[len(l)-1], r[len(r)-1]) {
		l, r = l[:len(l)-1], r[:len(r)-1]
	}
	return len(l), len(r)
}
