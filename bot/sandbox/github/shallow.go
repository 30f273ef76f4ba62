package github

import (
	"bytes"
	"maps"
	"slices"
	"strconv"

	"github.com/go-git/go-git/v5/plumbing"
)

// all is the depth by which git asks for the whole history (--unshallow).
const all = 0x7fffffff

// hashes is a set.
type hashes map[plumbing.Hash]bool

// horizon is where the history that a client has, or will have, is cut off: it
// gets these commits without their parents.
type horizon struct {
	before, after    hashes
	shallow, restore []plumbing.Hash // what the client is told: newly cut off, no longer cut off
}

// horizonOf says how a fetch moves the client's horizon. Without a depth it
// stays where it is.
func (o *objects) horizonOf(f fetch) (horizon, error) {
	h := horizon{before: hashes{}, after: hashes{}}
	for _, s := range f.shallow {
		h.before[s] = true
	}
	if f.depth == 0 {
		h.after = h.before
		return h, nil
	}
	depths := map[plumbing.Hash]int{}
	tips, err := o.peelAll(f.wants)
	if err != nil {
		return h, err
	}
	for depth := 1; len(tips) > 0; depth++ {
		var next []plumbing.Hash
		for _, tip := range tips {
			if depths[tip] != 0 {
				continue
			}
			depths[tip] = depth
			if depth == f.depth {
				h.after[tip] = true
				continue
			}
			n, err := o.node(tip)
			if err != nil {
				return h, err
			}
			next = append(next, n.parents...)
		}
		tips = next
	}
	for s := range h.before {
		switch {
		case h.after[s]:
		case f.depth == all || depths[s] != 0:
			h.restore = append(h.restore, s)
		default: // of a branch that is not asked for
			h.after[s] = true
		}
	}
	for s := range h.after {
		if !h.before[s] {
			h.shallow = append(h.shallow, s)
		}
	}
	return h, nil
}

// lines are what a client that asked for a depth is told in every round.
func (h horizon) lines() []string {
	var lines []string
	for _, s := range h.shallow {
		lines = append(lines, "shallow "+s.String())
	}
	for _, s := range h.restore {
		lines = append(lines, "unshallow "+s.String())
	}
	slices.Sort(lines)
	return lines
}

// missingWithin is missing for a client whose history has a horizon.
func (o *objects) missingWithin(f fetch, h horizon) ([]plumbing.Hash, error) {
	seen := map[plumbing.Hash]bool{}
	var need, tips []plumbing.Hash
	for _, w := range f.wants {
		tip, err := o.peel(w, func(tag plumbing.Hash) {
			if !seen[tag] {
				seen[tag] = true
				need = append(need, tag)
			}
		})
		if err != nil {
			return nil, err
		}
		tips = append(tips, tip)
	}
	had, err := o.within(f.haves, h.before)
	if err != nil {
		return nil, err
	}
	for _, n := range had {
		if err := o.collect(n.tree, seen, nil); err != nil {
			return nil, err
		}
	}
	wanted, err := o.within(tips, h.after)
	if err != nil {
		return nil, err
	}
	for _, hash := range slices.SortedFunc(maps.Keys(wanted), func(a, b plumbing.Hash) int { return wanted[b].gen - wanted[a].gen }) {
		if had[hash] != nil {
			continue
		}
		need = append(need, hash)
		if err := o.collect(wanted[hash].tree, seen, &need); err != nil {
			return nil, err
		}
	}
	return need, nil
}

// within returns every commit that is reached from tips without going beyond
// the horizon.
func (o *objects) within(tips []plumbing.Hash, edge hashes) (map[plumbing.Hash]*node, error) {
	reached := map[plumbing.Hash]*node{}
	for ahead := slices.Clone(tips); len(ahead) > 0; {
		at := ahead[len(ahead)-1]
		ahead = ahead[:len(ahead)-1]
		if reached[at] != nil {
			continue
		}
		n, err := o.node(at)
		if err != nil {
			return nil, err
		}
		reached[at] = n
		if !edge[at] {
			ahead = append(ahead, n.parents...)
		}
	}
	return reached, nil
}

func (o *objects) peelAll(wants []plumbing.Hash) ([]plumbing.Hash, error) {
	tips := make([]plumbing.Hash, 0, len(wants))
	for _, w := range wants {
		tip, err := o.peel(w, func(plumbing.Hash) {})
		if err != nil {
			return nil, err
		}
		tips = append(tips, tip)
	}
	return tips, nil
}

// pushed returns a push without the lines by which the client says where its
// history is cut off: whether what it sends is complete here is looked at in
// any case, and go-git reads one such line only, and none as git writes it.
func pushed(body []byte) []byte {
	const length = 4 // of a line's own length, in hexadecimal
	for len(body) > length && bytes.HasPrefix(body[length:], []byte("shallow ")) {
		n, err := strconv.ParseUint(string(body[:length]), 16, 16)
		if err != nil || n <= length || int(n) > len(body) {
			return body // the decoder says what is wrong with it
		}
		body = body[n:]
	}
	return body
}
