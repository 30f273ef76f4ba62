package gitstore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/tigeraccess/tac/grants/world"
)

// History returns the first-parent commits after from up to and including
// to, oldest first, each with everything that it changed against its first
// parent (a root: against nothing) in the whole tree. An empty from means
// everything; a from that is not on to's first-parent chain, known here or
// not, is world.ErrRewritten.
//
// The changes come from the trees themselves and never from a merge base or
// the forge's list of files, so nothing can be brought in unseen. A commit
// message of more than 1 MiB is given as empty.
func (s *Store) History(ctx context.Context, from, to string) ([]world.Commit, error) {
	stop := plumbing.ZeroHash
	if from != "" {
		h, err := parseHash(from)
		if err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		stop = h
	}
	h, err := parseHash(to)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	commits, err := s.reader().firstParents(ctx, stop, h)
	if err != nil {
		return nil, fmt.Errorf("read the history from %s to %s: %w", orBeginning(from), to, err)
	}
	return commits, nil
}

func orBeginning(hash string) string {
	if hash == "" {
		return "the beginning"
	}
	return hash
}

// firstParents finds the way back first and compares trees after that, so
// that a branch that was rewritten costs no comparison.
func (r *reader) firstParents(ctx context.Context, stop, to plumbing.Hash) ([]world.Commit, error) {
	var chain []plumbing.Hash
	for at := to; at != stop; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c, err := r.commit(at)
		if err != nil {
			return nil, err
		}
		chain = append(chain, at)
		if len(c.parents) > 0 {
			at = c.parents[0]
			continue
		}
		if stop != plumbing.ZeroHash {
			return nil, world.ErrRewritten
		}
		break
	}
	slices.Reverse(chain)
	before := plumbing.ZeroHash
	if stop != plumbing.ZeroHash && len(chain) > 0 {
		c, err := r.commit(stop)
		if err != nil {
			return nil, err
		}
		before = c.tree
	}
	commits := make([]world.Commit, 0, len(chain))
	for _, h := range chain {
		c, err := r.commit(h)
		if err != nil {
			return nil, err
		}
		changes, err := r.newWalk(ctx).diff(before, c.tree)
		if err != nil {
			return nil, fmt.Errorf("changes of %s: %w", h, err)
		}
		before = c.tree
		commits = append(commits, world.Commit{
			Hash: h.String(), Parents: hashStrings(c.parents), Time: c.when,
			Author: c.author, Message: c.message, Changes: changes,
		})
	}
	return commits, nil
}

func hashStrings(hashes []plumbing.Hash) []string {
	var list []string
	for _, h := range hashes {
		list = append(list, h.String())
	}
	return list
}

// Proposal returns what head, of the pull request with the given number,
// would change. It asks the server only where head is not known here; where
// the pull request's head is another one by now, the error is world.ErrLost.
//
// Commits are those that the default branch, as last fetched, does not have.
// Base is the best common ancestor. Where there are several (criss-cross
// merges) it is the one committed last, as git would choose: a pull request
// can arrange for that, which is harmless only because the gate judges the
// merged commit against its own parent. Where there is no common ancestor
// Base is empty and everything is a change.
func (s *Store) Proposal(ctx context.Context, pull int, head string) (world.Proposal, error) {
	h, err := parseHash(head)
	if err != nil {
		return world.Proposal{}, fmt.Errorf("read pull request %d: %w", pull, err)
	}
	if err := s.ensurePull(ctx, pull, h); err != nil {
		return world.Proposal{}, fmt.Errorf("fetch pull request %d: %w", pull, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	p, err := s.reader().proposal(ctx, h, s.onMain)
	if err != nil {
		return world.Proposal{}, fmt.Errorf("read pull request %d at %s: %w", pull, h, err)
	}
	return p, nil
}

// ensurePull makes sure that head and the default branch can be read.
func (s *Store) ensurePull(ctx context.Context, pull int, head plumbing.Hash) error {
	s.mu.RLock()
	_, err := s.reader().commit(head)
	tip := s.tip
	s.mu.RUnlock()
	if tip == plumbing.ZeroHash {
		fetched, err := s.Fetch(ctx)
		if err != nil {
			return err
		}
		tip = plumbing.NewHash(fetched)
	}
	if err == nil {
		return nil
	}
	ref := plumbing.ReferenceName(fmt.Sprintf("refs/pull/%d/head", pull))
	now, ok, err := s.wire.ref(ctx, ref)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("the server has no %s", ref)
	case now != head:
		return fmt.Errorf("its head was %s and is %s now: %w", head, now, world.ErrLost)
	}
	staged, err := s.download(ctx, head, tip, mostPullBytes)
	if errors.Is(err, errNotOurRef) {
		return fmt.Errorf("its head was %s and has just moved: %w", head, world.ErrLost)
	}
	if err != nil {
		return err
	}
	return s.keepAside(staged)
}

func (r *reader) proposal(ctx context.Context, head plumbing.Hash, onMain map[plumbing.Hash]struct{}) (world.Proposal, error) {
	fresh, edge, err := r.beyond(head, onMain)
	if err != nil {
		return world.Proposal{}, err
	}
	p := world.Proposal{Head: head.String(), Commits: hashStrings(fresh)}
	c, err := r.commit(head)
	if err != nil {
		return world.Proposal{}, err
	}
	before := plumbing.ZeroHash
	if base, ok, err := r.best(ctx, edge); err != nil {
		return world.Proposal{}, err
	} else if ok {
		b, err := r.commit(base)
		if err != nil {
			return world.Proposal{}, err
		}
		p.Base, before = base.String(), b.tree
	}
	p.Changes, err = r.newWalk(ctx).diff(before, c.tree)
	return p, err
}

// beyond returns the commits that from reaches and inside does not have,
// parents before their children, and the edge: the commits of inside at which
// the walk stopped.
func (r *reader) beyond(from plumbing.Hash, inside map[plumbing.Hash]struct{}) (fresh []plumbing.Hash, edge map[plumbing.Hash]struct{}, err error) {
	type step struct {
		hash plumbing.Hash
		left bool // all its parents have been dealt with
	}
	edge = map[plumbing.Hash]struct{}{}
	seen := map[plumbing.Hash]bool{}
	stack := []step{{hash: from}}
	for len(stack) > 0 {
		at := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if at.left {
			fresh = append(fresh, at.hash)
			continue
		}
		if _, in := inside[at.hash]; in {
			edge[at.hash] = struct{}{}
			continue
		}
		if seen[at.hash] {
			continue
		}
		seen[at.hash] = true
		c, err := r.commit(at.hash)
		if err != nil {
			return nil, nil, err
		}
		stack = append(stack, step{hash: at.hash, left: true})
		for _, parent := range slices.Backward(c.parents) {
			stack = append(stack, step{hash: parent})
		}
	}
	return fresh, edge, nil
}

// best returns the best merge base of a commit with the default branch, given
// where the way back from it first meets the branch: of those, one that no
// other reaches, the one committed last. All common ancestors lie behind the
// edge, so the best are among it.
func (r *reader) best(ctx context.Context, edge map[plumbing.Hash]struct{}) (plumbing.Hash, bool, error) {
	if len(edge) > 1 {
		var err error
		if edge, err = r.withoutReached(ctx, edge); err != nil {
			return plumbing.ZeroHash, false, err
		}
	}
	var best plumbing.Hash
	var latest commit
	for h := range edge {
		c, err := r.commit(h)
		if err != nil {
			return plumbing.ZeroHash, false, err
		}
		later := c.when.Compare(latest.when)
		if best == plumbing.ZeroHash || later > 0 || later == 0 && h.String() < best.String() {
			best, latest = h, c
		}
	}
	return best, best != plumbing.ZeroHash, nil
}

// withoutReached leaves out the commits that another of the set reaches. It
// may walk the whole history; only odd pull requests come here.
func (r *reader) withoutReached(ctx context.Context, set map[plumbing.Hash]struct{}) (map[plumbing.Hash]struct{}, error) {
	reached := map[plumbing.Hash]bool{}
	var queue []plumbing.Hash
	push := func(h plumbing.Hash) error {
		c, err := r.commit(h)
		queue = append(queue, c.parents...)
		return err
	}
	for h := range set {
		if err := push(h); err != nil {
			return nil, err
		}
	}
	for len(queue) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		if reached[h] {
			continue
		}
		reached[h] = true
		if err := push(h); err != nil {
			return nil, err
		}
	}
	best := map[plumbing.Hash]struct{}{}
	for h := range set {
		if !reached[h] {
			best[h] = struct{}{}
		}
	}
	return best, nil
}
