package github

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
)

// node is what the graph remembers of a commit. The generation is one more
// than the highest of its parents: walking in its descending order sees every
// commit before its ancestors, whatever the clocks said.
type node struct {
	hash    plumbing.Hash
	parents []plumbing.Hash
	tree    plumbing.Hash
	gen     int
}

// node returns the commit h, looking at its ancestors as far as needed. It
// fails where a commit is missing.
func (o *objects) node(h plumbing.Hash) (*node, error) {
	ahead := []plumbing.Hash{h}
	for len(ahead) > 0 {
		at := ahead[len(ahead)-1]
		if o.graph[at] != nil {
			ahead = ahead[:len(ahead)-1]
			continue
		}
		c, err := o.commit(at)
		if err != nil {
			return nil, fmt.Errorf("commit %s: %w", at, err)
		}
		n := &node{hash: at, parents: c.ParentHashes, tree: c.TreeHash, gen: 1}
		ready := true
		for _, p := range c.ParentHashes {
			if o.graph[p] == nil {
				ahead = append(ahead, p)
				ready = false
				continue
			}
			n.gen = max(n.gen, o.graph[p].gen+1)
		}
		if ready {
			o.graph[at] = n
		}
	}
	return o.graph[h], nil
}

type byGeneration []*node

func (q byGeneration) Len() int           { return len(q) }
func (q byGeneration) Less(i, j int) bool { return q[i].gen > q[j].gen }
func (q byGeneration) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *byGeneration) Push(x any)        { *q = append(*q, x.(*node)) }
func (q *byGeneration) Pop() any {
	old := *q
	n := old[len(old)-1]
	*q = old[:len(old)-1]
	return n
}

// walk visits the commits reachable from left, each once and before its
// ancestors, and says whether the right side reaches it too; commits that
// only the right side reaches are passed as such until every commit of the
// left side is accounted for. Of the common history it visits the edge only.
// It ends early when visit returns false.
func (o *objects) walk(left, right []plumbing.Hash, visit func(n *node, fromLeft, fromRight bool) bool) error {
	w := walker{objects: o, side: map[plumbing.Hash]sides{}}
	for _, h := range left {
		if err := w.add(h, sideLeft); err != nil {
			return err
		}
	}
	for _, h := range right {
		if err := w.add(h, sideRight); err != nil {
			return err
		}
	}
	for len(w.queue) > 0 {
		n := heap.Pop(&w.queue).(*node)
		from := w.side[n.hash]
		// The right side has met the left everywhere: what is still queued
		// from both is the edge of the common history.
		settled := w.onlyLeft == 0
		if from == sideLeft {
			w.onlyLeft--
		}
		if settled && from == sideRight {
			continue
		}
		if !visit(n, from&sideLeft != 0, from&sideRight != 0) {
			return nil
		}
		if settled {
			continue
		}
		for _, p := range n.parents {
			if err := w.add(p, from); err != nil {
				return err
			}
		}
	}
	return nil
}

type sides int

const (
	sideLeft sides = 1 << iota
	sideRight
)

type walker struct {
	objects  *objects
	side     map[plumbing.Hash]sides
	queue    byGeneration
	onlyLeft int // commits in the queue that the right side has not reached
}

func (w *walker) add(h plumbing.Hash, from sides) error {
	had, known := w.side[h]
	w.side[h] = had | from
	if known {
		if had == sideLeft && from&sideRight != 0 {
			w.onlyLeft--
		}
		return nil
	}
	n, err := w.objects.node(h)
	if err != nil {
		return err
	}
	if from == sideLeft {
		w.onlyLeft++
	}
	heap.Push(&w.queue, n)
	return nil
}

// isAncestor reports whether a is b or one of its ancestors.
func (o *objects) isAncestor(a, b plumbing.Hash) (bool, error) {
	target, err := o.node(a)
	if err != nil {
		return false, err
	}
	found := false
	err = o.walk([]plumbing.Hash{b}, nil, func(n *node, _, _ bool) bool {
		found = found || n.hash == a
		return !found && n.gen >= target.gen
	})
	return found, err
}

// mergeBase returns a best common ancestor, or zero where there is none.
func (o *objects) mergeBase(a, b plumbing.Hash) (plumbing.Hash, error) {
	base := plumbing.ZeroHash
	err := o.walk([]plumbing.Hash{a}, []plumbing.Hash{b}, func(n *node, l, r bool) bool {
		if l && r {
			base = n.hash
		}
		return base.IsZero()
	})
	return base, err
}

// between lists the commits reachable from tip and not from base, oldest first.
func (o *objects) between(base, tip plumbing.Hash) ([]*node, error) {
	var right []plumbing.Hash
	if !base.IsZero() {
		right = append(right, base)
	}
	var list []*node
	err := o.walk([]plumbing.Hash{tip}, right, func(n *node, l, r bool) bool {
		if l && !r {
			list = append(list, n)
		}
		return true
	})
	slices.Reverse(list)
	return list, err
}

// missing lists the objects that somebody who wants some refs and has some
// commits still needs. Trees and files of the commits where the two histories
// part are taken as present.
func (o *objects) missing(wants, haves []plumbing.Hash) ([]plumbing.Hash, error) {
	var need []plumbing.Hash
	seen := map[plumbing.Hash]bool{}
	var tips []plumbing.Hash
	for _, w := range wants {
		h, err := o.peel(w, func(tag plumbing.Hash) {
			if !seen[tag] {
				seen[tag] = true
				need = append(need, tag)
			}
		})
		if err != nil {
			return nil, err
		}
		tips = append(tips, h)
	}
	var fresh []*node
	had := map[plumbing.Hash]*node{}
	err := o.walk(tips, haves, func(n *node, l, r bool) bool {
		if r {
			had[n.hash] = n
		} else {
			fresh = append(fresh, n)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, n := range fresh {
		for _, p := range n.parents {
			if edge := had[p]; edge != nil {
				if err := o.collect(edge.tree, seen, nil); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, n := range fresh {
		need = append(need, n.hash)
		if err := o.collect(n.tree, seen, &need); err != nil {
			return nil, err
		}
	}
	return need, nil
}

// peel follows annotated tags to what they name, calling tag for each.
func (o *objects) peel(h plumbing.Hash, tag func(plumbing.Hash)) (plumbing.Hash, error) {
	for {
		t, err := gitobject.GetTag(o.store, h)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			return h, nil
		}
		if err != nil {
			return h, err
		}
		tag(h)
		h = t.Target
	}
}

// collect marks a tree and all it holds as seen, and appends what was not
// seen before to list where that is given.
func (o *objects) collect(tree plumbing.Hash, seen map[plumbing.Hash]bool, list *[]plumbing.Hash) error {
	if seen[tree] {
		return nil
	}
	seen[tree] = true
	if list != nil {
		*list = append(*list, tree)
	}
	entries, err := o.entries(tree)
	if err != nil {
		return fmt.Errorf("tree %s: %w", tree, err)
	}
	for _, e := range entries {
		switch {
		case e.Mode == filemode.Submodule || seen[e.Hash]:
		case e.Mode == filemode.Dir:
			if err := o.collect(e.Hash, seen, list); err != nil {
				return err
			}
		default:
			seen[e.Hash] = true
			if list != nil {
				*list = append(*list, e.Hash)
			}
		}
	}
	return nil
}

// checkComplete fails where anything that tip (a commit or a tag) needs is
// missing: a push must never leave a ref that cannot be cloned.
func (o *objects) checkComplete(tip plumbing.Hash) error {
	start, err := o.peel(tip, func(plumbing.Hash) {})
	if err != nil {
		return err
	}
	ahead := []plumbing.Hash{start}
	checked := map[plumbing.Hash]bool{}
	for len(ahead) > 0 {
		h := ahead[len(ahead)-1]
		ahead = ahead[:len(ahead)-1]
		if o.sound[h] || checked[h] {
			continue
		}
		c, err := o.commit(h)
		if err != nil {
			return fmt.Errorf("missing commit %s: %w", h, err)
		}
		if err := o.checkTree(c.TreeHash); err != nil {
			return err
		}
		checked[h] = true
		ahead = append(ahead, c.ParentHashes...)
	}
	// Only now: a commit is sound when its whole history is.
	for h := range checked {
		o.sound[h] = true
	}
	return nil
}

func (o *objects) checkTree(h plumbing.Hash) error {
	if o.sound[h] {
		return nil
	}
	entries, err := o.entries(h)
	if err != nil {
		return fmt.Errorf("missing tree %s: %w", h, err)
	}
	for _, e := range entries {
		switch e.Mode {
		case filemode.Submodule:
		case filemode.Dir:
			if err := o.checkTree(e.Hash); err != nil {
				return err
			}
		default:
			if o.store.HasEncodedObject(e.Hash) != nil {
				return fmt.Errorf("missing file %s %s", e.Name, e.Hash)
			}
		}
	}
	o.sound[h] = true
	return nil
}
