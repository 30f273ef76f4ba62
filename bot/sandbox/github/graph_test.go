package github

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// TestTheGraphAgreesWithPlainSets walks random histories, merges and all, and
// compares with sets of ancestors worked out the slow way.
func TestTheGraphAgreesWithPlainSets(t *testing.T) {
	for seed := range uint64(30) {
		random := rand.New(rand.NewPCG(seed, 1))
		o := newObjects()
		tree, err := o.emptyTree()
		if err != nil {
			t.Fatal(err)
		}
		var all []plumbing.Hash
		ancestors := map[plumbing.Hash]map[plumbing.Hash]bool{} // each commit among its own
		for i := range 25 {
			var parents []plumbing.Hash
			for range random.IntN(3) {
				if len(all) > 0 {
					parents = append(parents, all[random.IntN(len(all))])
				}
			}
			who := signature("a", "a@acme.test", time.Unix(int64(random.IntN(100)), 0))
			h, err := o.newCommit(tree, parents, who, who, fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			ancestors[h] = map[plumbing.Hash]bool{h: true}
			for _, p := range parents {
				for a := range ancestors[p] {
					ancestors[h][a] = true
				}
			}
			all = append(all, h)
		}
		for _, a := range all {
			for _, b := range all {
				compare(t, o, ancestors, a, b)
			}
		}
	}
}

func compare(t *testing.T, o *objects, ancestors map[plumbing.Hash]map[plumbing.Hash]bool, a, b plumbing.Hash) {
	t.Helper()
	inside, err := o.isAncestor(a, b)
	if err != nil || inside != ancestors[b][a] {
		t.Fatalf("isAncestor is %v, %v, want %v", inside, err, ancestors[b][a])
	}
	only := 0
	common := map[plumbing.Hash]bool{}
	for h := range ancestors[b] {
		if ancestors[a][h] {
			common[h] = true
		} else {
			only++
		}
	}
	list, err := o.between(a, b)
	if err != nil || len(list) != only {
		t.Fatalf("between lists %d, %v, want %d", len(list), err, only)
	}
	for i, n := range list {
		for _, later := range list[i+1:] {
			if ancestors[n.hash][later.hash] {
				t.Fatal("between lists a commit before its ancestor")
			}
		}
	}
	base, err := o.mergeBase(a, b)
	if err != nil || base.IsZero() != (len(common) == 0) || !base.IsZero() && !common[base] {
		t.Fatalf("merge base is %s, %v, of %d common commits", base, err, len(common))
	}
	for h := range common {
		if h != base && ancestors[h][base] {
			t.Fatal("the merge base is an ancestor of another common commit")
		}
	}
}
