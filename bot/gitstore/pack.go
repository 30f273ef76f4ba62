package gitstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"
)

// unpack reads a pack into a store of its own. A pack that would unfold into
// more than most bytes is refused before it is unfolded.
func unpack(pack []byte, most int64) (*memory.Storage, error) {
	if err := checkSize(pack, most); err != nil {
		return nil, err
	}
	staged := memory.NewStorage()
	if err := packfile.UpdateObjectStorage(staged, bytes.NewReader(pack)); err != nil {
		return nil, fmt.Errorf("read pack: %w", err)
	}
	return staged, nil
}

var errTooLarge = errors.New("there is more of it than we are willing to hold")

// checkSize adds up the sizes of a pack's objects, deltas resolved, and fails
// where they are over most bytes. It inflates each object once to get past it,
// never further than the size that its header declares.
func checkSize(pack []byte, most int64) error {
	scan := packfile.NewScanner(bytes.NewReader(pack))
	_, count, err := scan.Header()
	if err != nil {
		return fmt.Errorf("read pack: %w", err)
	}
	left := most
	spend := func(n int64) error {
		if n < 0 || n > left {
			return fmt.Errorf("%w: over %d bytes", errTooLarge, most)
		}
		left -= n
		return nil
	}
	for range count {
		h, err := scan.NextObjectHeader()
		if err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		if err := spend(h.Length); err != nil {
			return err
		}
		var start opening
		if _, _, err := scan.NextObject(&start); err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		if h.Type != plumbing.OFSDeltaObject && h.Type != plumbing.REFDeltaObject {
			continue
		}
		result, err := start.deltaResult()
		if err != nil {
			return fmt.Errorf("read pack: %w", err)
		}
		if err := spend(result); err != nil {
			return err
		}
	}
	return nil
}

// opening keeps the first bytes of what is written to it.
type opening struct {
	kept [2 * binary.MaxVarintLen64]byte
	n    int
}

func (o *opening) Write(p []byte) (int, error) {
	o.n += copy(o.kept[o.n:], p)
	return len(p), nil
}

// deltaResult returns the size of what a delta makes: the second of the two
// numbers that it begins with.
func (o *opening) deltaResult() (int64, error) {
	_, first := binary.Uvarint(o.kept[:o.n])
	if first <= 0 {
		return 0, packfile.ErrInvalidDelta
	}
	size, second := binary.Uvarint(o.kept[first:o.n])
	if second <= 0 || size > math.MaxInt64 {
		return 0, packfile.ErrInvalidDelta
	}
	return int64(size), nil
}

// checkClosed fails unless want is a commit and everything that the staged
// objects name is among them or in base, which is closed itself. So no walk
// ever meets a gap, whatever the server sent.
func checkClosed(want plumbing.Hash, staged, base *memory.Storage) error {
	r := &reader{stores: []storer.EncodedObjectStorer{staged, base}}
	if _, err := r.object(plumbing.CommitObject, want); err != nil {
		return fmt.Errorf("the server did not send what was asked for: %w", err)
	}
	for h := range staged.Commits {
		c, err := r.commit(h)
		if err != nil {
			return err
		}
		if _, err := r.object(plumbing.TreeObject, c.tree); err != nil {
			return fmt.Errorf("commit %s is incomplete: %w", h, err)
		}
		for _, parent := range c.parents {
			if _, err := r.object(plumbing.CommitObject, parent); err != nil {
				return fmt.Errorf("commit %s is incomplete: %w", h, err)
			}
		}
	}
	for h := range staged.Trees {
		if err := r.checkTree(h); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) checkTree(h plumbing.Hash) error {
	entries, err := r.tree(h)
	if err != nil {
		return err
	}
	for _, e := range entries {
		t := plumbing.BlobObject
		switch e.mode & kindMask {
		case kindDir:
			t = plumbing.TreeObject
		case kindFile, kindLink:
		default:
			continue // a submodule: its commit is in another repository
		}
		if _, err := r.object(t, e.hash); err != nil {
			return fmt.Errorf("tree %s is incomplete at %.100q: %w", h, e.name, err)
		}
	}
	return nil
}

// pack returns a pack of exactly the objects of store: nothing is enumerated,
// so it costs the same however long the history is.
func pack(store *memory.Storage) ([]byte, error) {
	hashes := make([]plumbing.Hash, 0, len(store.Objects))
	for h := range store.Objects {
		hashes = append(hashes, h)
	}
	plumbing.HashesSort(hashes)
	var out bytes.Buffer
	if _, err := packfile.NewEncoder(&out, store, false).Encode(hashes, 0); err != nil {
		return nil, fmt.Errorf("write pack: %w", err)
	}
	return out.Bytes(), nil
}
