package gitstore_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/grants/world"
)

func TestModesAreReportedAndNothingIsFollowed(t *testing.T) {
	s := newServer(t)
	other := strings.Repeat("ab", 20)
	s.commit("refs/heads/main", "plain", "M 100644 inline grants/db/plain.yaml", "M 100755 inline grants/db/exec.yaml",
		"M 120000 inline grants/db/link.yaml", "M 160000 "+other+" grants/db/sub", "M 120000 inline policies", "M 100644 inline README")
	store, tip := s.fetched()
	blob := s.git("rev-parse", "main:README")
	got, err := store.Tree(t.Context(), tip, "grants")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]world.Entry{
		"grants/db/plain.yaml": {Blob: blob, Mode: 0o100644, Size: 5},
		"grants/db/exec.yaml":  {Blob: blob, Mode: 0o100755, Size: 5},
		"grants/db/link.yaml":  {Blob: blob, Mode: 0o120000, Size: 5},
		"grants/db/sub":        {Blob: other, Mode: 0o160000, Size: -1},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	for dir, size := range map[string]int{"": 6, "grants/db": 4, "grants/db/": 4, "nowhere": 0, "grants/no/where": 0, "README/x": 0, "policies": 1} {
		if got, err := store.Tree(t.Context(), tip, dir); err != nil || len(got) != size {
			t.Errorf("below %q: %v, %v", dir, got, err)
		}
	}
	if got, err := store.Tree(t.Context(), tip, "policies"); err != nil || got["policies"].Mode != 0o120000 {
		t.Errorf("a link in the place of a directory is %v, %v", got, err)
	}
	if _, err := store.Blob(t.Context(), other); err == nil {
		t.Error("a submodule can be read as a blob")
	}
}

func TestBlobsOverOneMebibyteAreNotRead(t *testing.T) {
	s := newServer(t)
	s.commit("refs/heads/main", strings.Repeat("x", 1<<20), "M 100644 inline fits")
	s.commit("refs/heads/main", strings.Repeat("x", 1<<20+1), "M 100644 inline big")
	store, _ := s.fetched()
	if got, err := store.Blob(t.Context(), s.git("rev-parse", "main:fits")); err != nil || len(got) != 1<<20 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := store.Blob(t.Context(), s.git("rev-parse", "main:big")); err == nil {
		t.Error("read more than 1 MiB")
	}
	if _, err := store.Blob(t.Context(), s.git("rev-parse", "main^{tree}")); err == nil {
		t.Error("read a tree as a blob")
	}
}

func TestFetchCostsTheSameHoweverManyCommitsAreNew(t *testing.T) {
	for name, version := range map[string]struct {
		old                      bool
		first, unchanged, change []string
	}{
		"version 2": {false,
			[]string{"GET /refs", "POST /git-upload-pack", "POST /git-upload-pack"},
			[]string{"POST /git-upload-pack"},
			[]string{"POST /git-upload-pack", "POST /git-upload-pack"}},
		"version 0": {true,
			[]string{"GET /refs", "POST /git-upload-pack"},
			[]string{"GET /refs"},
			[]string{"GET /refs", "POST /git-upload-pack"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.old = version.old
			s.commit("refs/heads/main", "0", "M 100644 inline grants/a")
			store, first := s.fetched()
			expect := func(what string, want []string) {
				t.Helper()
				if got := s.seen(); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %v, want %v", what, got, want)
				}
			}
			expect("first", version.first)
			if again := must(t)(store.Fetch(t.Context())); again != first {
				t.Errorf("the tip went from %s to %s", first, again)
			}
			expect("unchanged", version.unchanged)
			var stream strings.Builder
			for i := range 100 {
				fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter A <a@b> %d +0000\ndata 1\nx\n", 1790000000+i)
				if i == 0 {
					fmt.Fprintln(&stream, "from refs/heads/main^0")
				}
				fmt.Fprintf(&stream, "M 100644 inline grants/%d\ndata 1\ny\n", i)
			}
			s.load(stream.String())
			tip := must(t)(store.Fetch(t.Context()))
			expect("100 commits", version.change)
			if want := s.git("rev-parse", "main"); tip != want {
				t.Errorf("the tip is %s, the server's %s", tip, want)
			}
			if got, err := store.History(t.Context(), first, tip); err != nil || len(got) != 100 {
				t.Errorf("%d commits, %v", len(got), err)
			}
		})
	}
}

func TestHistoryOfARewrittenBranchIsAnError(t *testing.T) {
	s := newServer(t)
	root := s.commit("refs/heads/main", "1", "M 100644 inline a")
	lost := s.commit("refs/heads/main", "2", "M 100644 inline a")
	store, _ := s.fetched()
	s.git("update-ref", "refs/heads/main", root)
	s.commit("refs/heads/main", "3", "M 100644 inline a")
	tip := must(t)(store.Fetch(t.Context()))
	fresh, _ := s.fetched()
	for name, from := range map[string]string{"left behind": lost, "never existed": strings.Repeat("12", 20)} {
		for _, st := range []*gitstore.Store{store, fresh} {
			if _, err := st.History(t.Context(), from, tip); !errors.Is(err, world.ErrRewritten) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if got, err := store.History(t.Context(), root, tip); err != nil || len(got) != 1 {
		t.Errorf("from the common commit: %v, %v", got, err)
	}
	if got, err := store.History(t.Context(), tip, tip); err != nil || len(got) != 0 {
		t.Errorf("from the tip itself: %v, %v", got, err)
	}
	if _, err := store.History(t.Context(), root, strings.Repeat("34", 20)); err == nil || errors.Is(err, world.ErrRewritten) {
		t.Errorf("an unknown end is %v", err)
	}
}

func TestCommitsBesideTheFirstParentAreNotOnTheChain(t *testing.T) {
	s := newServer(t)
	s.commit("refs/heads/main", "1", "M 100644 inline a")
	s.git("branch", "side", "main")
	side := s.commit("refs/heads/side", "2", "M 100644 inline b")
	s.commit("refs/heads/main", "3", "M 100644 inline c")
	s.load("commit refs/heads/main\ncommitter A <a@b> 1790000009 +0000\ndata 5\nmerge\nfrom refs/heads/main^0\nmerge refs/heads/side^0\nM 100644 inline b\ndata 1\n2\n")
	store, tip := s.fetched()
	if _, err := store.History(t.Context(), side, tip); !errors.Is(err, world.ErrRewritten) {
		t.Errorf("from the second parent: %v", err)
	}
	all, err := store.History(t.Context(), "", tip)
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	last := all[2]
	if len(last.Parents) != 2 || len(last.Changes) != 1 || last.Changes[0].Path != "b" || last.Message != "merge" || last.Author != "A" || last.Time.Unix() != 1790000009 {
		t.Errorf("the merge is %+v", last)
	}
}

func TestProposalsAreFetchedOnceByTheirRef(t *testing.T) {
	s := newServer(t)
	base := s.commit("refs/heads/main", "1", "M 100644 inline a")
	s.git("update-ref", "refs/pull/7/head", base)
	first := s.commit("refs/pull/7/head", "2", "M 100644 inline grants/db/x.yaml")
	head := s.commit("refs/pull/7/head", "3", "M 100644 inline grants/db/y.yaml")
	s.commit("refs/heads/main", "4", "M 100644 inline b")
	store := s.store() // has not fetched anything: Proposal does
	got, err := store.Proposal(t.Context(), 7, head)
	if err != nil {
		t.Fatal(err)
	}
	entry := func(path string) *world.Entry {
		return &world.Entry{Blob: s.git("rev-parse", "refs/pull/7/head:"+path), Mode: world.PlainFile, Size: 1}
	}
	want := world.Proposal{Head: head, Base: base, Commits: []string{first, head}, Changes: []world.Change{
		{Path: "grants/db/x.yaml", New: entry("grants/db/x.yaml")}, {Path: "grants/db/y.yaml", New: entry("grants/db/y.yaml")}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if content, err := store.Blob(t.Context(), got.Changes[0].New.Blob); err != nil || string(content) != "2" {
		t.Errorf("its file reads %q, %v", content, err)
	}
	s.seen()
	if _, err := store.Proposal(t.Context(), 7, head); err != nil || len(s.seen()) != 0 {
		t.Errorf("asked for a known head again, or %v", err)
	}
	s.git("update-ref", "refs/pull/7/head", base)
	moved := s.commit("refs/pull/7/head", "5", "M 100644 inline z")
	if _, err := s.store().Proposal(t.Context(), 7, head); !errors.Is(err, world.ErrLost) || !strings.Contains(err.Error(), moved) {
		t.Errorf("a head that moved: %v", err)
	}
	if _, err := s.store().Proposal(t.Context(), 8, head); err == nil || errors.Is(err, world.ErrLost) {
		t.Errorf("no such pull request: %v", err)
	}
}

func TestProposalWithoutCommonAncestorChangesEverything(t *testing.T) {
	s := newServer(t)
	s.commit("refs/heads/main", "1", "M 100644 inline a")
	head := s.commit("refs/pull/1/head", "2", "M 100644 inline b")
	got, err := s.store().Proposal(t.Context(), 1, head)
	if err != nil || got.Base != "" || len(got.Commits) != 1 || len(got.Changes) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestManyReadersAndFetchesAtOnce(t *testing.T) {
	s := newServer(t)
	s.commit("refs/heads/main", "1", "M 100644 inline grants/a")
	store, first := s.fetched()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 3 {
				tip, err := store.Fetch(t.Context())
				if err != nil {
					t.Error(err)
				}
				if _, err := store.History(t.Context(), first, tip); err != nil {
					t.Error(err)
				}
				if files, err := store.Tree(t.Context(), tip, "grants"); err != nil || len(files) == 0 {
					t.Error(files, err)
				}
			}
		})
	}
	for i := range 3 {
		s.commit("refs/heads/main", "2", fmt.Sprintf("M 100644 inline grants/%d", i))
	}
	wg.Wait()
}
