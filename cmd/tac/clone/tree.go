package clone

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// mostFile bounds what is read of one file, beyond what any reader of it
// would take.
const mostFile = 8 << 20

// deepest bounds how deep folders may be nested below policies/.
const deepest = 16

// Policies returns the policy files of a commit: the plain files that end in
// .yaml, as the bot reads them. A link or an executable among them is an
// error, since nobody could say what it means.
func (c *Clone) Policies(hash string) ([]policies.File, error) {
	root, err := c.rootOf(plumbing.NewHash(hash))
	if err != nil {
		return nil, err
	}
	top, ok := entry(root, "policies")
	switch {
	case !ok:
		return nil, nil
	case top.Mode != filemode.Dir:
		return nil, errors.New("policies has to be a folder, and not a link to one")
	}
	var files []policies.File
	err = c.walk(top.Hash, "policies", 1, func(name string, e object.TreeEntry) error {
		if path.Ext(name) != ".yaml" {
			return nil
		}
		if e.Mode != filemode.Regular && e.Mode != filemode.Deprecated {
			return fmt.Errorf("%s is not a plain file, and tac reads no other", name)
		}
		data, err := c.blob(e.Hash, mostFile)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		files = append(files, policies.File{Path: name, Data: data})
		return nil
	})
	return files, err
}

func (c *Clone) rootOf(commit plumbing.Hash) (*object.Tree, error) {
	at, err := c.commit(commit)
	if err != nil {
		return nil, err
	}
	return c.tree(at.TreeHash)
}

func (c *Clone) tree(h plumbing.Hash) (*object.Tree, error) {
	if h == plumbing.ZeroHash {
		return &object.Tree{}, nil
	}
	o, err := c.object(plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	return object.DecodeTree(c.store, o)
}

func entry(t *object.Tree, name string) (object.TreeEntry, bool) {
	for _, e := range t.Entries {
		if e.Name == name {
			return e, true
		}
	}
	return object.TreeEntry{}, false
}

func (c *Clone) walk(h plumbing.Hash, dir string, depth int, visit func(string, object.TreeEntry) error) error {
	if depth > deepest {
		return fmt.Errorf("%s: folders are nested more than %d deep", dir, deepest)
	}
	t, err := c.tree(h)
	if err != nil {
		return err
	}
	for _, e := range t.Entries {
		name := dir + "/" + e.Name
		if e.Mode == filemode.Dir {
			err = c.walk(e.Hash, name, depth+1, visit)
		} else {
			err = visit(name, e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Clone) blob(h plumbing.Hash, most int64) ([]byte, error) {
	b, err := c.object(plumbing.BlobObject, h)
	if err != nil {
		return nil, err
	}
	if b.Size() > most {
		return nil, fmt.Errorf("the file has %d bytes; at most %d are read", b.Size(), most)
	}
	in, err := b.Reader()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, most))
	return data, errors.Join(err, in.Close())
}

// addedGrant returns the grant file that a commit added, where adding it is
// all that the commit did against its first parent; parent is zero for a root.
func (c *Clone) addedGrant(before, after plumbing.Hash) (name string, blob plumbing.Hash, ok bool, err error) {
	was, now, ok, err := c.onlyDifference(before, after)
	if err != nil || !ok || now.Name != "grants" || now.Mode != filemode.Dir {
		return "", blob, false, err
	}
	was, now, ok, err = c.onlyDifference(was.Hash, now.Hash)
	if err != nil || !ok || now.Mode != filemode.Dir {
		return "", blob, false, err
	}
	resource := now.Name
	was, now, ok, err = c.onlyDifference(was.Hash, now.Hash)
	if err != nil || !ok || now.Mode != filemode.Regular || was.Hash != plumbing.ZeroHash {
		return "", blob, false, err
	}
	name = "grants/" + resource + "/" + now.Name
	_, _, ok = grants.ParsePath(name)
	return name, now.Hash, ok, nil
}

// onlyDifference returns the one entry in which two trees differ, as it was
// (zero where it is new, or was no folder) and as it is; false where there is
// another number of differences, or where the entry is gone.
func (c *Clone) onlyDifference(before, after plumbing.Hash) (was, now object.TreeEntry, ok bool, err error) {
	a, err := c.tree(before)
	if err != nil {
		return was, now, false, err
	}
	b, err := c.tree(after)
	if err != nil {
		return was, now, false, err
	}
	if len(b.Entries) < len(a.Entries) || len(b.Entries) > len(a.Entries)+1 {
		return was, now, false, nil
	}
	// Trees have one order, so the first difference is all there may be.
	i := 0
	for i < len(a.Entries) && a.Entries[i] == b.Entries[i] {
		i++
	}
	if i == len(b.Entries) {
		return was, now, false, nil
	}
	now = b.Entries[i]
	rest := a.Entries[i:]
	if len(a.Entries) == len(b.Entries) {
		was, rest = a.Entries[i], a.Entries[i+1:]
		if was.Name != now.Name || was.Mode != now.Mode {
			return was, now, false, nil
		}
	}
	return was, now, slices.Equal(rest, b.Entries[i+1:]), nil
}

// firstLine is a commit's subject, for messages.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}
