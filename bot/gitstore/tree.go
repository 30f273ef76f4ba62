package gitstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tigeraccess/tac/grants/world"
)

// Bounds on walks. A tree can name itself many times over at each level and
// so unfold, out of a few kilobytes, into more paths than there is memory.
const (
	mostEntries = 1_000_000 // entries met in one walk
	deepestTree = 64        // directories within each other
)

// walk is one walk over trees.
type walk struct {
	ctx  context.Context
	r    *reader
	left int // entries that may still be met
}

func (r *reader) newWalk(ctx context.Context) *walk {
	return &walk{ctx: ctx, r: r, left: mostEntries}
}

// enter reads a directory and pays for its entries.
func (w *walk) enter(tree plumbing.Hash, prefix string) ([]treeEntry, error) {
	if err := w.ctx.Err(); err != nil {
		return nil, err
	}
	if strings.Count(prefix, "/") > deepestTree {
		return nil, fmt.Errorf("%.100s... is more than %d directories deep", prefix, deepestTree)
	}
	entries, err := w.r.tree(tree)
	if err != nil {
		return nil, err
	}
	if w.left -= len(entries) + 1; w.left < 0 {
		return nil, fmt.Errorf("there are more than %d files to look at", mostEntries)
	}
	return entries, nil
}

// entry returns what the world may know of e. Whatever is not a file or a
// link is, to git, a submodule, whose object is elsewhere.
func (r *reader) entry(e treeEntry) world.Entry {
	size := int64(-1)
	if kind := e.mode & kindMask; kind == kindFile || kind == kindLink {
		if o, err := r.object(plumbing.BlobObject, e.hash); err == nil {
			size = o.Size()
		}
	}
	return world.Entry{Blob: e.hash.String(), Mode: e.mode, Size: size}
}

// list returns all entries below dir of a tree, by full path.
func (r *reader) list(ctx context.Context, tree plumbing.Hash, dir string) (map[string]world.Entry, error) {
	w := r.newWalk(ctx)
	files := map[string]world.Entry{}
	if dir == "" {
		return files, w.list(tree, "", files)
	}
	parts := strings.Split(dir, "/")
	for i, part := range parts {
		entries, err := r.tree(tree)
		if err != nil {
			return nil, err
		}
		found, ok := named(entries, part)
		if !ok {
			return files, nil
		}
		if !found.isDir() {
			if i == len(parts)-1 {
				files[dir] = r.entry(found)
			}
			return files, nil
		}
		tree = found.hash
	}
	return files, w.list(tree, dir+"/", files)
}

func (w *walk) list(tree plumbing.Hash, prefix string, files map[string]world.Entry) error {
	entries, err := w.enter(tree, prefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.isDir() {
			files[prefix+e.name] = w.r.entry(e)
			continue
		}
		if err := w.list(e.hash, prefix+e.name+"/", files); err != nil {
			return err
		}
	}
	return nil
}

func named(entries []treeEntry, name string) (treeEntry, bool) {
	for _, e := range entries {
		if e.name == name {
			return e, true
		}
	}
	return treeEntry{}, false
}

// diff returns what differs between two trees, in git's order of paths. The
// zero hash stands for the empty tree. Directories with the same hash are not
// looked into. There are no renames: a file that moved is one removed and one
// added.
func (w *walk) diff(before, after plumbing.Hash) ([]world.Change, error) {
	var changes []world.Change
	err := w.compare(before, after, "", &changes)
	return changes, err
}

func (w *walk) compare(before, after plumbing.Hash, prefix string, changes *[]world.Change) error {
	if before == after {
		return nil
	}
	var olds, news []treeEntry
	var err error
	if before != plumbing.ZeroHash {
		if olds, err = w.enter(before, prefix); err != nil {
			return err
		}
	}
	if after != plumbing.ZeroHash {
		if news, err = w.enter(after, prefix); err != nil {
			return err
		}
	}
	// Both are in git's order, in which a file and a directory of one name
	// are different keys: that one became the other is two changes.
	for len(olds) > 0 || len(news) > 0 {
		var o, n *treeEntry
		if len(news) == 0 || len(olds) > 0 && olds[0].sortName() <= news[0].sortName() {
			o = &olds[0]
		}
		if len(olds) == 0 || len(news) > 0 && news[0].sortName() <= olds[0].sortName() {
			n = &news[0]
		}
		if o != nil {
			olds = olds[1:]
		}
		if n != nil {
			news = news[1:]
		}
		if err := w.pair(o, n, prefix, changes); err != nil {
			return err
		}
	}
	return nil
}

// pair compares one entry on both sides, either of which may be missing.
func (w *walk) pair(o, n *treeEntry, prefix string, changes *[]world.Change) error {
	either := o
	if o == nil {
		either = n
	}
	if either.isDir() {
		var before, after plumbing.Hash
		if o != nil {
			before = o.hash
		}
		if n != nil {
			after = n.hash
		}
		return w.compare(before, after, prefix+either.name+"/", changes)
	}
	if o != nil && n != nil && o.hash == n.hash && o.mode == n.mode {
		return nil
	}
	change := world.Change{Path: prefix + either.name}
	if o != nil {
		old := w.r.entry(*o)
		change.Old = &old
	}
	if n != nil {
		now := w.r.entry(*n)
		change.New = &now
	}
	*changes = append(*changes, change)
	return nil
}
