package gitstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"
)

var someHash = plumbing.NewHash(strings.Repeat("12", 20))

// rawTree writes a tree as it is told, without asking whether it is right.
func rawTree(entries ...string) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		b.WriteString(e + "\x00")
		b.Write(someHash[:])
	}
	return b.Bytes()
}

func TestTreesThatCanBeReadInTwoWaysAreRefused(t *testing.T) {
	for name, raw := range map[string][]byte{
		"a doubled name":                  rawTree("100644 a", "100644 a"),
		"a file and a directory":          rawTree("100644 a", "100644 a.b", "40000 a"),
		"the wrong order":                 rawTree("100644 b", "100644 a"),
		"a directory in a file's place":   rawTree("40000 a", "100644 a.b"),
		"a path for a name":               rawTree("100644 grants/db/x.yaml"),
		"the directory itself":            rawTree("40000 ."),
		"the directory above":             rawTree("40000 .."),
		"a repository":                    rawTree("40000 .GIT"),
		"an empty name":                   rawTree("100644 "),
		"no mode":                         rawTree(" a"),
		"a signed mode":                   rawTree("+100644 a"),
		"a mode of letters":               rawTree("10064x a"),
		"a mode over all bounds":          rawTree("77777777777777 a"),
		"a cut-off hash":                  rawTree("100644 a")[:15],
		"bytes after the last entry":      append(rawTree("100644 a"), "100"...),
		"a last entry that has no object": []byte("100644 a\x00"),
	} {
		if got, err := parseTree(raw); err == nil {
			t.Errorf("%s was read as %v", name, got)
		}
	}
	got, err := parseTree(rawTree("100664 odd", "100644 plain", "040000 zeroes"))
	if err != nil || got[0].mode != 0o100664 || !got[2].isDir() {
		t.Errorf("modes are not reported as written: %v, %v", got, err)
	}
}

func FuzzTree(f *testing.F) {
	f.Add(rawTree("100644 a", "40000 b", "120000 c"))
	f.Add(rawTree("100644 a.b", "40000 a", "160000 ab"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		entries, err := parseTree(raw)
		if err != nil {
			return
		}
		again, err := parseTree(encodeTree(entries))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(entries) {
			t.Fatalf("%v became %v, %v", entries, again, err)
		}
	})
}

func TestCommitHeadersMeanWhatTheyMeanToGit(t *testing.T) {
	tree, parent := strings.Repeat("ab", 20), strings.Repeat("cd", 20)
	head := "tree " + tree + "\nparent " + parent + "\n"
	c, err := parseCommit([]byte(head + "author A <a@b> 1 +0000\ncommitter B <b> C <c@d> 1790000000 +0200\ngpgsig -----\n parent " + tree + "\n \nparent " + tree + "\nauthor Eve <e> 2 +0000\n\nsubject\n\nTac-Grant: x\n"))
	if err != nil || c.tree.String() != tree || len(c.parents) != 1 || c.author != "A" || c.when.Unix() != 1790000000 || c.message != "subject\n\nTac-Grant: x\n" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, raw := range []string{"", "tree", "tree " + tree[1:] + "\n", "tree " + strings.Repeat("zz", 20) + "\n", "parent " + parent + "\ntree " + tree + "\n", "tree " + tree + "\nparent x\n"} {
		if c, err := parseCommit([]byte(raw)); err == nil {
			t.Errorf("%q was read as %+v", raw, c)
		}
	}
	for _, who := range []string{"", "A <a@b>", "A <a@b> x", "A <a@b> -1 +0000", "A <a@b> 99999999999999999999 +0000", "A <a@b> 253402300800 +0000", "<>"} {
		c, err := parseCommit([]byte(head + "committer " + who + "\n\nx"))
		if err != nil || !c.when.IsZero() {
			t.Errorf("%q: %v, %v", who, c.when, err)
		}
	}
	c, err = parseCommit([]byte(head + "\n" + strings.Repeat("x", mostMessageBytes+1)))
	if err != nil || c.message != "" {
		t.Errorf("a part of a message stands for the whole: %d bytes, %v", len(c.message), err)
	}
}

// TestTreesThatUnfoldWithoutEndAreGivenUp has a tree of 64 levels, each of
// which names the next one ten times.
func TestTreesThatUnfoldWithoutEndAreGivenUp(t *testing.T) {
	store := memory.NewStorage()
	b := builder{reader: &reader{stores: []storer.EncodedObjectStorer{store}}, made: store}
	top := func(width, depth int) plumbing.Hash {
		h, err := b.make(plumbing.TreeObject, nil)
		for range depth {
			var entries []treeEntry
			for i := range width {
				entries = append(entries, treeEntry{name: fmt.Sprint(i), mode: kindDir, hash: h})
			}
			h, err = b.make(plumbing.TreeObject, encodeTree(entries))
		}
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for name, h := range map[string]plumbing.Hash{"wide": top(10, 40), "deep": top(1, 10_000)} {
		if changes, err := b.newWalk(t.Context()).diff(plumbing.ZeroHash, h); err == nil {
			t.Errorf("%s: %d changes", name, len(changes))
		}
		if files, err := b.list(t.Context(), h, ""); err == nil {
			t.Errorf("%s: %d files", name, len(files))
		}
	}
}

func TestPacksAreUnpackedWithinTheirBudget(t *testing.T) {
	store := memory.NewStorage()
	raw := bytes.Repeat([]byte("0123456789abcdef"), 1<<12)
	for i := range 3 {
		if _, err := store.SetEncodedObject(newObject(plumbing.BlobObject, append(raw, byte(i)))); err != nil {
			t.Fatal(err)
		}
	}
	packed, err := pack(store)
	if err != nil {
		t.Fatal(err)
	}
	total := int64(3 * (len(raw) + 1))
	if got, err := unpack(packed, total); err != nil || len(got.Objects) != 3 {
		t.Errorf("a pack that fits: %v", err)
	}
	if _, err := unpack(packed, total-1); !errors.Is(err, errTooLarge) {
		t.Errorf("a pack that does not fit: %v", err)
	}
	for cut := 1; cut < len(packed); cut += len(packed)/50 + 1 {
		if _, err := unpack(packed[:len(packed)-cut], total); err == nil {
			t.Errorf("a pack without its last %d bytes was read", cut)
		}
	}
}

func TestPacksWithGapsAreNotTakenOver(t *testing.T) {
	base := memory.NewStorage()
	put := func(s *memory.Storage, kind plumbing.ObjectType, raw []byte) plumbing.Hash {
		h, err := s.SetEncodedObject(newObject(kind, raw))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	blob := put(base, plumbing.BlobObject, []byte("x"))
	tree := func(s *memory.Storage, e treeEntry) plumbing.Hash {
		return put(s, plumbing.TreeObject, encodeTree([]treeEntry{e}))
	}
	whole := tree(base, treeEntry{name: "a", mode: kindFile | 0o644, hash: blob})
	commit := func(s *memory.Storage, tree plumbing.Hash, parents ...plumbing.Hash) plumbing.Hash {
		text := "tree " + tree.String() + "\n"
		for _, p := range parents {
			text += "parent " + p.String() + "\n"
		}
		return put(s, plumbing.CommitObject, []byte(text+"\n"))
	}
	for name, build := range map[string]func(s *memory.Storage) (want plumbing.Hash, ok bool){
		"complete with what we have": func(s *memory.Storage) (plumbing.Hash, bool) { return commit(s, whole), true },
		"a submodule is elsewhere": func(s *memory.Storage) (plumbing.Hash, bool) {
			return commit(s, tree(s, treeEntry{name: "m", mode: 0o160000, hash: someHash})), true
		},
		"not what was asked for": func(s *memory.Storage) (plumbing.Hash, bool) { return someHash, false },
		"a tree for a commit":    func(s *memory.Storage) (plumbing.Hash, bool) { return whole, false },
		"no tree":                func(s *memory.Storage) (plumbing.Hash, bool) { return commit(s, someHash), false },
		"no parent":              func(s *memory.Storage) (plumbing.Hash, bool) { return commit(s, whole, someHash), false },
		"a tree for a parent":    func(s *memory.Storage) (plumbing.Hash, bool) { return commit(s, whole, whole), false },
		"no blob": func(s *memory.Storage) (plumbing.Hash, bool) {
			return commit(s, tree(s, treeEntry{name: "a", mode: kindFile | 0o644, hash: someHash})), false
		},
		"a blob for a directory": func(s *memory.Storage) (plumbing.Hash, bool) {
			return commit(s, tree(s, treeEntry{name: "a", mode: kindDir, hash: blob})), false
		},
		"a broken tree": func(s *memory.Storage) (plumbing.Hash, bool) {
			return commit(s, put(s, plumbing.TreeObject, rawTree("100644 a/b"))), false
		},
	} {
		staged := memory.NewStorage()
		want, ok := build(staged)
		if err := checkClosed(want, staged, base); (err == nil) != ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProposalsMakeRoomForEachOther pins that heads of pull requests, which
// anybody may push, do not pile up in memory.
func TestProposalsMakeRoomForEachOther(t *testing.T) {
	s, err := New(Config{URL: "https://git.test/a/b.git", Branch: "main", AuthorName: "a", AuthorEmail: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		one := memory.NewStorage()
		raw := make([]byte, mostSideBytes/2+1)
		raw[0] = byte(i)
		h, err := one.SetEncodedObject(newObject(plumbing.BlobObject, raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.keepAside(one); err != nil {
			t.Fatal(err)
		}
		if len(s.side.Objects) != 1 || s.side.HasEncodedObject(h) != nil {
			t.Errorf("%d objects are held", len(s.side.Objects))
		}
	}
	if _, err := s.Tree(context.Background(), someHash.String(), ""); err == nil {
		t.Error("listed a commit that is not known")
	}
}
