package gitstore

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
)

// Kinds of tree entries: the upper bits of git's mode.
const (
	kindMask uint32 = 0o170000
	kindDir  uint32 = 0o040000
	kindFile uint32 = 0o100000
	kindLink uint32 = 0o120000
)

// mostMessageBytes bounds the commit messages that are read.
const mostMessageBytes = 1 << 20

// reader reads objects out of several stores, the first that has one.
type reader struct{ stores []storer.EncodedObjectStorer }

func (r *reader) object(t plumbing.ObjectType, h plumbing.Hash) (plumbing.EncodedObject, error) {
	for _, s := range r.stores {
		o, err := s.EncodedObject(t, h)
		if err == nil {
			return o, nil
		}
		if !errors.Is(err, plumbing.ErrObjectNotFound) {
			return nil, fmt.Errorf("%s %s: %w", t, h, err)
		}
	}
	return nil, fmt.Errorf("%s %s is not known here; fetch first", t, h)
}

func content(o plumbing.EncodedObject) ([]byte, error) {
	in, err := o.Reader()
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", o.Type(), o.Hash(), err)
	}
	raw := make([]byte, o.Size())
	if _, err = io.ReadFull(in, raw); err != nil {
		return nil, fmt.Errorf("read %s %s: %w", o.Type(), o.Hash(), err)
	}
	return raw, in.Close()
}

// parseHash is strict because plumbing.NewHash turns nonsense into zeroes.
func parseHash(s string) (plumbing.Hash, error) {
	if !plumbing.IsHash(s) {
		return plumbing.ZeroHash, fmt.Errorf("%.50q is not an object hash", s)
	}
	return plumbing.NewHash(s), nil
}

// commit is what we read of a commit.
type commit struct {
	tree    plumbing.Hash
	parents []plumbing.Hash
	author  string
	when    time.Time // committer time; zero where the commit has none that makes sense
	message string
}

func (r *reader) commitNamed(hash string) (commit, error) {
	h, err := parseHash(hash)
	if err != nil {
		return commit{}, err
	}
	return r.commit(h)
}

func (r *reader) commit(h plumbing.Hash) (commit, error) {
	o, err := r.object(plumbing.CommitObject, h)
	if err != nil {
		return commit{}, err
	}
	raw, err := content(o)
	if err != nil {
		return commit{}, err
	}
	c, err := parseCommit(raw)
	if err != nil {
		return commit{}, fmt.Errorf("commit %s: %w", h, err)
	}
	return c, nil
}

// parseCommit reads a commit as git itself does: the tree comes first, then
// the parents; a tree or parent line further down means nothing, so no header
// smuggled in there can make us see another history than git sees.
func parseCommit(raw []byte) (commit, error) {
	var c commit
	var err error
	line, rest, _ := bytes.Cut(raw, []byte("\n"))
	name, isTree := strings.CutPrefix(string(line), "tree ")
	if !isTree {
		return c, errors.New("it does not begin with its tree")
	}
	if c.tree, err = parseHash(name); err != nil {
		return c, err
	}
	for {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		name, isParent := strings.CutPrefix(string(line), "parent ")
		if !isParent {
			break
		}
		parent, err := parseHash(name)
		if err != nil {
			return c, err
		}
		c.parents = append(c.parents, parent)
		rest = after
	}
	head, message, _ := bytes.Cut(rest, []byte("\n\n"))
	if len(message) <= mostMessageBytes {
		// A longer message is given as empty: a part of it could read
		// differently from the whole.
		c.message = string(message)
	}
	for _, line := range strings.Split(string(head), "\n") {
		if who, ok := strings.CutPrefix(line, "author "); ok && c.author == "" {
			c.author, _ = parseSignature(who)
		}
		if who, ok := strings.CutPrefix(line, "committer "); ok && c.when.IsZero() {
			_, c.when = parseSignature(who)
		}
	}
	return c, nil
}

// parseSignature reads "Name <address> seconds zone".
func parseSignature(s string) (name string, when time.Time) {
	name, _, _ = strings.Cut(s, "<")
	name = strings.TrimSpace(name)
	words := strings.Fields(s[strings.LastIndexByte(s, '>')+1:])
	if len(words) == 0 {
		return name, time.Time{}
	}
	const endOfYear9999 = 253402300799 // later times cannot be written in RFC 3339
	seconds, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil || seconds < 0 || seconds > endOfYear9999 {
		return name, time.Time{}
	}
	return name, time.Unix(seconds, 0).UTC()
}

// treeEntry is one line of a tree.
type treeEntry struct {
	name string
	mode uint32
	hash plumbing.Hash
}

func (e treeEntry) isDir() bool { return e.mode&kindMask == kindDir }

// sortName is what git orders the entries of a tree by.
func (e treeEntry) sortName() string {
	if e.isDir() {
		return e.name + "/"
	}
	return e.name
}

func (r *reader) tree(h plumbing.Hash) ([]treeEntry, error) {
	o, err := r.object(plumbing.TreeObject, h)
	if err != nil {
		return nil, err
	}
	raw, err := content(o)
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(raw)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", h, err)
	}
	return entries, nil
}

// parseTree reads a tree. It refuses what git's own check calls an error
// (doubled or misordered entries, names that are no file names): such a tree
// is read differently by different programs, and what a person reviewed must
// be what we see. Modes are returned as they are written, not as git would
// round them, so that only the one mode of a plain file looks like one.
func parseTree(raw []byte) ([]treeEntry, error) {
	var entries []treeEntry
	last := ""
	for len(raw) > 0 {
		mode, rest, ok := bytes.Cut(raw, []byte(" "))
		name, rest, ok2 := bytes.Cut(rest, []byte{0})
		if !ok || !ok2 || len(rest) < len(plumbing.ZeroHash) {
			return nil, errors.New("it is cut off")
		}
		bits, err := strconv.ParseUint(string(mode), 8, 20)
		if err != nil {
			return nil, fmt.Errorf("%.20q is not a mode", mode)
		}
		e := treeEntry{name: string(name), mode: uint32(bits)}
		raw = rest[copy(e.hash[:], rest):]
		if !isFileName(e.name) {
			return nil, fmt.Errorf("%.100q is not a file name", e.name)
		}
		key := e.sortName()
		if len(entries) > 0 && key <= last || e.isDir() && hasFile(entries, e.name) {
			return nil, fmt.Errorf("the entry %.100q is there twice or in the wrong place", e.name)
		}
		last = key
		entries = append(entries, e)
	}
	return entries, nil
}

// isFileName reports whether s can name an entry of a tree. git refuses every
// spelling of .git because it would be written into a checkout.
func isFileName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.EqualFold(s, ".git") && !strings.ContainsAny(s, "/\x00")
}

// hasFile reports whether entries, ordered as in a tree, have a file of the
// name. A file and a directory of one name need not stand side by side.
func hasFile(entries []treeEntry, name string) bool {
	i := sort.Search(len(entries), func(i int) bool { return entries[i].sortName() >= name })
	return i < len(entries) && entries[i].name == name && !entries[i].isDir()
}

func encodeTree(entries []treeEntry) []byte {
	sort.Slice(entries, func(i, j int) bool { return entries[i].sortName() < entries[j].sortName() })
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%o %s\x00", e.mode, e.name)
		b.Write(e.hash[:])
	}
	return b.Bytes()
}

func newObject(t plumbing.ObjectType, raw []byte) plumbing.EncodedObject {
	o := &plumbing.MemoryObject{}
	o.SetType(t)
	_, _ = o.Write(raw) // appends to memory and never fails
	o.Hash()            // is computed on first use, which must not be a concurrent one
	return o
}
