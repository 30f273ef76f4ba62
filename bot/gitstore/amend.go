package gitstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/tigeraccess/tac/grants/world"
)

// Amend makes one commit on top of a.Head that replaces the plain file a.Path
// and nothing else, and pushes it to the branch, which must still be at
// a.Head. The commit depends on nothing but a and our name, so the same
// amendment makes the same commit: repeating it finds what was done, whoever
// did it, and returns that.
//
// The error is world.ErrLost where the branch is elsewhere or gone, even if it
// went on from this very amendment: the caller has to look what is there.
// Where the answer was lost and the branch cannot be read it is
// world.ErrAmbiguous. A file that is not there, is no plain file, or has the
// new content already, is another error.
func (s *Store) Amend(ctx context.Context, a world.Amendment) (string, error) {
	head, err := s.amend(ctx, a)
	if err != nil {
		return "", fmt.Errorf("replace %s on branch %s: %w", a.Path, a.Branch, err)
	}
	return head.String(), nil
}

func (s *Store) amend(ctx context.Context, a world.Amendment) (plumbing.Hash, error) {
	ref := plumbing.NewBranchReferenceName(a.Branch)
	if err := ref.Validate(); err != nil || a.Branch == "" || ref == s.branch {
		return plumbing.ZeroHash, errors.New("that is not the name of a branch for proposals")
	}
	head, err := parseHash(a.Head)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	beneath, err := s.beneath(ctx, ref, head)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	commit, objects, err := s.replacement(a, beneath)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	packed, err := pack(objects)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if pushed := s.wire.push(ctx, ref, head, commit, packed); pushed != nil {
		if err := s.whatBecameOf(ctx, ref, head, commit, pushed); err != nil {
			return plumbing.ZeroHash, err
		}
	}
	// What was made is not kept: it rests on objects that may be forgotten.
	// Whoever judges the pull request next fetches it like any other.
	return commit, nil
}

// beneath returns a store with the objects that an amendment of head rests on,
// beyond those of the default branch. When there are too many, the Store goes
// on with another: this one loses nothing.
func (s *Store) beneath(ctx context.Context, ref plumbing.ReferenceName, head plumbing.Hash) (*memory.Storage, error) {
	s.mu.RLock()
	_, err := s.reader().commit(head)
	side, tip := s.side, s.tip
	s.mu.RUnlock()
	if err == nil {
		return side, nil
	}
	if tip == plumbing.ZeroHash {
		fetched, err := s.Fetch(ctx)
		if err != nil {
			return nil, err
		}
		tip = plumbing.NewHash(fetched)
	}
	// The branch itself is fetched, and not head: not every server offers a
	// commit that has a child by now, and that child may be this amendment.
	now, exists, err := s.wire.ref(ctx, ref)
	if err != nil {
		return nil, err
	}
	lost := fmt.Errorf("the branch is not at %s: %w", head, world.ErrLost)
	if !exists {
		return nil, lost
	}
	fetched, err := s.download(ctx, now, tip, mostPullBytes)
	switch {
	case errors.Is(err, errNotOurRef):
		return nil, lost
	case err != nil:
		return nil, err
	case fetched.Commits[head] == nil:
		return nil, lost
	}
	return fetched, nil
}

// replacement builds the commit of an amendment.
func (s *Store) replacement(a world.Amendment, beneath *memory.Storage) (plumbing.Hash, *memory.Storage, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b := builder{reader: &reader{stores: []storer.EncodedObjectStorer{s.main, beneath}}, made: memory.NewStorage()}
	head, err := b.commitNamed(a.Head)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	blob, err := b.make(plumbing.BlobObject, a.Content)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	tree, err := b.with(head.tree, strings.Split(a.Path, "/"), blob, replaces)
	if err != nil {
		return plumbing.ZeroHash, nil, err
	}
	h, err := s.commitOn(b, a.Head, tree, a.Message, a.At)
	return h, b.made, err
}

// whatBecameOf finds out what a push to a proposal's branch that did not
// succeed cleanly has done. Nil means that the branch is at our commit.
func (s *Store) whatBecameOf(ctx context.Context, ref plumbing.ReferenceName, old, commit plumbing.Hash, pushed error) error {
	now, exists, err := s.wire.ref(ctx, ref)
	switch {
	case err != nil && isRefusal(pushed):
		return pushed
	case err != nil:
		return fmt.Errorf("%w: %w", world.ErrAmbiguous, pushed)
	case exists && now == commit:
		return nil
	case exists && now == old && isRefusal(pushed):
		return pushed // by a rule
	case exists && now == old:
		// It never arrived, or has not been done yet: the same amendment
		// will tell.
		return fmt.Errorf("%w: %w", world.ErrAmbiguous, pushed)
	}
	return fmt.Errorf("%w: %w", world.ErrLost, pushed)
}
