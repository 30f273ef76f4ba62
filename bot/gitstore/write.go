package gitstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/tigeraccess/tac/grants/world"
)

// Propose makes the branch p.Name with one commit on top of p.Base that adds
// the file p.Path, and returns the branch's head. The commit depends on
// nothing but p and our name, so the same wish makes the same commit, and the
// push requires that the branch does not exist: repeating it is safe. Where
// the branch exists, whoever made it, its head is returned as it stands; the
// caller has to look what is there.
//
// A path that exists in p.Base, or runs through a file, is an error.
func (s *Store) Propose(ctx context.Context, p world.NewBranch) (string, error) {
	head, err := s.propose(ctx, p)
	if err != nil {
		return "", fmt.Errorf("propose %s on branch %s: %w", p.Path, p.Name, err)
	}
	return head.String(), nil
}

func (s *Store) propose(ctx context.Context, p world.NewBranch) (plumbing.Hash, error) {
	ref := plumbing.NewBranchReferenceName(p.Name)
	if err := ref.Validate(); err != nil || p.Name == "" || ref == s.branch {
		return plumbing.ZeroHash, errors.New("that is not the name of a branch for proposals")
	}
	commit, objects, err := s.addition(p)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	packed, err := pack(objects)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	pushed := s.wire.push(ctx, ref, plumbing.ZeroHash, commit, packed)
	if pushed != nil {
		// Either somebody made the branch before us, which the server
		// refuses in words of its own, or the answer was lost. Both show
		// in the branch itself.
		head, exists, err := s.wire.ref(ctx, ref)
		switch {
		case err != nil && !isRefusal(pushed):
			return plumbing.ZeroHash, fmt.Errorf("%w: %w", world.ErrAmbiguous, pushed)
		case err != nil || !exists:
			return plumbing.ZeroHash, pushed
		case head != commit:
			return head, nil
		}
	}
	return commit, s.keepAside(objects)
}

// addition builds the commit of a proposal.
func (s *Store) addition(p world.NewBranch) (plumbing.Hash, *memory.Storage, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.builder()
	base, err := b.commitNamed(p.Base)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	blob, err := b.make(plumbing.BlobObject, p.Content)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	tree, err := b.with(base.tree, strings.Split(p.Path, "/"), blob, adds)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	h, err := s.commitOn(b, p.Base, tree, p.Message, p.At)
	return h, b.made, err
}

// Remove commits, on top of tip, one commit without the given paths and
// pushes it to the default branch, which must still be at tip. Paths that are
// not files of tip are ignored, directories are left alone, and directories
// that become empty vanish; where nothing is left to remove, tip is returned
// and nothing is pushed.
//
// The error is world.ErrLost where the branch has moved on. Where the answer
// was lost we look at the branch: the error is world.ErrAmbiguous only if
// that does not tell either.
func (s *Store) Remove(ctx context.Context, tip string, paths []string, message string, at time.Time) (string, error) {
	h, err := s.remove(ctx, tip, paths, message, at)
	if err != nil {
		return "", fmt.Errorf("remove %d files from %s: %w", len(paths), s.branch.Short(), err)
	}
	return h.String(), nil
}

func (s *Store) remove(ctx context.Context, tip string, paths []string, message string, at time.Time) (plumbing.Hash, error) {
	old, err := parseHash(tip)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	commit, objects, err := s.removal(old, paths, message, at)
	if err != nil || commit == old {
		return commit, err
	}
	packed, err := pack(objects)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if pushed := s.wire.push(ctx, s.branch, old, commit, packed); pushed != nil {
		if err := s.whatBecame(ctx, old, commit, pushed); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return commit, takeOver(s.main, objects)
}

// removal builds the commit of a removal; it is tip where nothing changes.
func (s *Store) removal(tip plumbing.Hash, paths []string, message string, at time.Time) (plumbing.Hash, *memory.Storage, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := s.builder()
	base, err := b.commit(tip)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	all := &doomed{}
	for _, path := range paths {
		all.add(path)
	}
	tree, _, err := b.without(base.tree, all, true)
	if err != nil || tree == base.tree {
		return tip, nil, err
	}
	h, err := s.commitOn(b, tip.String(), tree, message, at)
	return h, b.made, err
}

// whatBecame finds out what a push that did not succeed cleanly has done. Nil
// means that the commit is on the branch.
func (s *Store) whatBecame(ctx context.Context, old, commit plumbing.Hash, pushed error) error {
	now, exists, err := s.wire.ref(ctx, s.branch)
	switch {
	case err == nil && exists && now == commit:
		return nil
	case err == nil && exists && now == old:
		return pushed // refused by a rule, or never arrived
	case isRefusal(pushed):
		// The words of a refusal differ between servers and versions; that
		// the branch is elsewhere says it better.
		if err != nil {
			return pushed
		}
		return fmt.Errorf("%w: %w", world.ErrLost, pushed)
	}
	// The branch has moved on, but perhaps on top of our commit.
	if _, err := s.Fetch(ctx); err != nil {
		return fmt.Errorf("%w: %w", world.ErrAmbiguous, pushed)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if _, done := s.onMain[commit]; done {
		return nil
	}
	if _, passed := s.onMain[old]; passed {
		return fmt.Errorf("%w: %w", world.ErrLost, pushed)
	}
	return fmt.Errorf("%w: %w", world.ErrAmbiguous, pushed)
}

// builder makes objects on top of those of a reader.
type builder struct {
	*reader
	made *memory.Storage
}

func (b builder) make(t plumbing.ObjectType, raw []byte) (plumbing.Hash, error) {
	h, err := b.made.SetEncodedObject(newObject(t, raw))
	if err != nil {
		return plumbing.ZeroHash, fmt.Errorf("make %s: %w", t, err)
	}
	return h, nil
}

func (s *Store) commitOn(b builder, parent string, tree plumbing.Hash, message string, at time.Time) (plumbing.Hash, error) {
	if at.Unix() <= 0 || strings.ContainsRune(message, 0) || strings.TrimSpace(message) == "" {
		return plumbing.ZeroHash, errors.New("a commit needs a message without zero bytes, and a time after 1970")
	}
	who := fmt.Sprintf("%s <%s> %d +0000", s.authorName, s.authorEmail, at.Unix())
	return b.make(plumbing.CommitObject, fmt.Appendf(nil, "tree %s\nparent %s\nauthor %s\ncommitter %s\n\n%s\n",
		tree, parent, who, who, strings.TrimRight(message, "\n")))
}

// intent is what a commit does with a file. There is no third: neither may
// turn into the other because somebody else was quicker.
type intent int

const (
	adds     intent = iota // the file must not be there
	replaces               // a plain file must be there, with other content
)

// with returns tree with the blob at the path. The zero tree is empty.
func (b builder) with(tree plumbing.Hash, path []string, blob plumbing.Hash, does intent) (plumbing.Hash, error) {
	name := path[0]
	if !isFileName(name) {
		return plumbing.ZeroHash, fmt.Errorf("%.100q is not a file name", name)
	}
	var entries []treeEntry
	if tree != plumbing.ZeroHash {
		var err error
		if entries, err = b.tree(tree); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	there, exists := named(entries, name)
	if len(path) == 1 {
		if err := does.fits(there, exists, blob); err != nil {
			return plumbing.ZeroHash, err
		}
		file := treeEntry{name: name, mode: world.PlainFile, hash: blob}
		return b.make(plumbing.TreeObject, encodeTree(replaced(entries, file)))
	}
	switch {
	case !exists && does == replaces:
		return plumbing.ZeroHash, fmt.Errorf("%q is not there", name)
	case exists && !there.isDir():
		return plumbing.ZeroHash, fmt.Errorf("%q is in the way: it is not a directory", name)
	}
	sub, err := b.with(there.hash, path[1:], blob, does)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return b.make(plumbing.TreeObject, encodeTree(replaced(entries, treeEntry{name: name, mode: kindDir, hash: sub})))
}

// fits reports whether the blob may come to where there is.
func (does intent) fits(there treeEntry, exists bool, blob plumbing.Hash) error {
	switch {
	case does == adds && exists:
		return fmt.Errorf("%q exists already", there.name)
	case does == adds:
		return nil
	case !exists:
		return errors.New("there is no such file to replace")
	case there.mode != world.PlainFile:
		return fmt.Errorf("%q is no plain file", there.name)
	case there.hash == blob:
		return fmt.Errorf("%q says that already", there.name)
	}
	return nil
}

// replaced returns entries with e in the place of the entry of its name.
func replaced(entries []treeEntry, e treeEntry) []treeEntry {
	for i := range entries {
		if entries[i].name == e.name {
			entries[i] = e
			return entries
		}
	}
	return append(entries, e)
}

// doomed is a tree of names: what is to be removed.
type doomed struct {
	here  bool
	below map[string]*doomed
}

func (d *doomed) add(path string) {
	for name := range strings.SplitSeq(path, "/") {
		next := d.below[name]
		if next == nil {
			next = &doomed{}
			if d.below == nil {
				d.below = map[string]*doomed{}
			}
			d.below[name] = next
		}
		d = next
	}
	d.here = true
}

// without returns tree without what is doomed, the very same tree where that
// is nothing. Only directories on the way to a doomed file are read. An empty
// result is made as an object only for the root: git has no empty directories.
func (b builder) without(tree plumbing.Hash, d *doomed, root bool) (result plumbing.Hash, empty bool, err error) {
	entries, err := b.tree(tree)
	if err != nil {
		return plumbing.ZeroHash, false, err
	}
	changed := false
	kept := make([]treeEntry, 0, len(entries))
	for _, e := range entries {
		below := d.below[e.name]
		switch {
		case below == nil || e.isDir() && len(below.below) == 0 || !e.isDir() && !below.here:
			kept = append(kept, e)
		case !e.isDir():
			changed = true
		default:
			sub, gone, err := b.without(e.hash, below, false)
			if err != nil {
				return plumbing.ZeroHash, false, err
			}
			changed = changed || gone || sub != e.hash
			if !gone {
				e.hash = sub
				kept = append(kept, e)
			}
		}
	}
	if !changed {
		return tree, false, nil
	}
	if len(kept) == 0 && !root {
		return plumbing.ZeroHash, true, nil
	}
	result, err = b.make(plumbing.TreeObject, encodeTree(kept))
	return result, false, err
}
