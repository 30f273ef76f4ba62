package gitstore_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/grants/world"
)

const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// randomRepo fills a repository with a random graph: merges of up to three
// parents, several roots, clocks that run backwards, and trees in which files
// become directories, links, submodules and back. It returns the commits.
func randomRepo(s *server, rnd *rand.Rand) []string {
	const commits = 30
	names := []string{"a", "a.b", "a-b", "ab", "grants", "ä", " "}
	path := func() string {
		parts := []string{names[rnd.IntN(len(names))]}
		for rnd.IntN(2) == 0 && len(parts) < 4 {
			parts = append(parts, names[rnd.IntN(len(names))])
		}
		return `"` + strings.Join(parts, "/") + `"`
	}
	var stream strings.Builder
	for i := range commits {
		fmt.Fprintf(&stream, "commit refs/all/%d\nmark :%d\ncommitter A <a@b> %d +0000\ndata 1\nx\n", i, i+1, 1790000000+rnd.IntN(40))
		if i > 0 && rnd.IntN(12) > 0 {
			parents := rnd.Perm(i)[:min(i, []int{1, 1, 1, 2, 2, 3}[rnd.IntN(6)])]
			for j, p := range parents {
				verb := "merge"
				if j == 0 {
					// Mostly a recent one, so that chains become long.
					verb, p = "from", max(p, i-1-rnd.IntN(4))
				}
				fmt.Fprintf(&stream, "%s :%d\n", verb, p+1)
			}
		}
		for range 1 + rnd.IntN(5) {
			switch rnd.IntN(5) {
			case 0:
				fmt.Fprintf(&stream, "D %s\n", path())
			case 1:
				fmt.Fprintf(&stream, "M 160000 %040x %s\n", 1+rnd.IntN(3), path())
			default:
				mode := []string{"100644", "100644", "100755", "120000"}[rnd.IntN(4)]
				fmt.Fprintf(&stream, "M %s inline %s\ndata 1\n%d\n", mode, path(), rnd.IntN(4))
			}
		}
	}
	s.load(stream.String())
	return strings.Fields(s.git("for-each-ref", "--sort=version:refname", "--format=%(objectname)", "refs/all/"))
}

func TestRandomRepositoriesReadAsGitReadsThem(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			rnd := rand.New(rand.NewPCG(seed, 1))
			all := randomRepo(s, rnd)
			// Heads that nothing else reaches make the server send little
			// by little, as in life.
			store := s.store()
			for i := range 3 {
				main := all[len(all)-1-4*i]
				s.git("update-ref", "refs/heads/main", main)
				if tip := must(t)(store.Fetch(t.Context())); tip != main {
					t.Fatalf("fetched %s, want %s", tip, main)
				}
				checkTree(t, s, store, main)
				checkHistory(t, s, store, main)
				for range 5 {
					checkProposal(t, s, store, main, all[rnd.IntN(len(all))])
				}
			}
		})
	}
}

func checkTree(t *testing.T, s *server, store *gitstore.Store, commit string) {
	t.Helper()
	got, err := store.Tree(t.Context(), commit, "")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]world.Entry{}
	for line := range strings.SplitSeq(s.git("ls-tree", "-r", "-z", "--full-tree", "-l", commit), "\x00") {
		meta, path, found := strings.Cut(line, "\t")
		if !found {
			continue
		}
		words := strings.Fields(meta)
		e := world.Entry{Blob: words[2], Mode: octal(t, words[0]), Size: -1}
		if size, err := strconv.ParseInt(words[3], 10, 64); err == nil {
			e.Size = size
		}
		want[path] = e
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("tree of %s\ngot  %v\nwant %v", commit, got, want)
	}
}

func checkHistory(t *testing.T, s *server, store *gitstore.Store, tip string) {
	t.Helper()
	got, err := store.History(t.Context(), "", tip)
	if err != nil {
		t.Fatal(err)
	}
	var chain []string
	for _, c := range got {
		chain = append(chain, c.Hash)
		want := gitDiff(t, s, emptyTree, c.Hash)
		if c.Parent() != "" {
			want = gitDiff(t, s, c.Parent(), c.Hash)
		}
		if changes := plain(c.Changes); !reflect.DeepEqual(changes, want) {
			t.Errorf("changes of %s\ngot  %v\nwant %v", c.Hash, changes, want)
		}
	}
	var lines []string
	for _, c := range got {
		lines = append(lines, c.Hash+" "+strings.Join(c.Parents, " "))
	}
	if got, want := strings.Join(lines, "\n")+"\n", s.git("log", "--first-parent", "--reverse", "--format=%H %P", tip)+"\n"; got != want {
		t.Errorf("first parents\ngot  %v\nwant %v", got, want)
	}
	if middle := len(got) / 2; middle > 0 {
		part, err := store.History(t.Context(), chain[middle], tip)
		if err != nil || !reflect.DeepEqual(part, got[middle+1:]) {
			t.Errorf("from the middle: %v, %v", part, err)
		}
	}
}

func checkProposal(t *testing.T, s *server, store *gitstore.Store, main, head string) {
	t.Helper()
	s.git("update-ref", "refs/pull/3/head", head)
	got, err := store.Proposal(t.Context(), 3, head)
	if err != nil {
		t.Fatal(err)
	}
	bases, from := []string{""}, emptyTree
	had := s.ancestors(main)
	fresh := slices.Sorted(maps.Keys(s.ancestors(head)))
	if slices.ContainsFunc(fresh, func(h string) bool { return had[h] }) {
		bases, from = strings.Fields(s.git("merge-base", "--all", main, head)), got.Base
	}
	if !slices.Contains(bases, got.Base) {
		t.Errorf("base of %s and %s is %q, want one of %v", main, head, got.Base, bases)
		return
	}
	// git rev-list main..head would be wrong where clocks ran backwards.
	want := slices.DeleteFunc(fresh, func(h string) bool { return had[h] })
	sorted := slices.Sorted(slices.Values(got.Commits))
	if !slices.Equal(sorted, want) {
		t.Errorf("commits of %s that %s lacks\ngot  %v\nwant %v", head, main, sorted, want)
	}
	for line := range strings.Lines(s.git("rev-list", "--parents", head)) {
		family := strings.Fields(line)
		for _, parent := range family[1:] {
			if slices.Index(got.Commits, parent) > slices.Index(got.Commits, family[0]) {
				t.Errorf("%s comes before its parent %s", family[0], parent)
			}
		}
	}
	if changes, want := plain(got.Changes), gitDiff(t, s, from, head); !reflect.DeepEqual(changes, want) {
		t.Errorf("changes from %s to %s\ngot  %v\nwant %v", from, head, changes, want)
	}
}

// ancestors returns a commit and all that it reaches.
func (s *server) ancestors(commit string) map[string]bool {
	s.t.Helper()
	set := map[string]bool{}
	for _, h := range strings.Fields(s.git("rev-list", commit)) {
		set[h] = true
	}
	return set
}

type side struct {
	mode uint32
	hash string
}

// plain reduces changes to what git diff-tree tells.
func plain(changes []world.Change) map[string][2]side {
	m := map[string][2]side{}
	for _, c := range changes {
		pair := m[c.Path]
		if c.Old != nil {
			pair[0] = side{c.Old.Mode, c.Old.Blob}
		}
		if c.New != nil {
			pair[1] = side{c.New.Mode, c.New.Blob}
		}
		m[c.Path] = pair
	}
	return m
}

func gitDiff(t *testing.T, s *server, from, to string) map[string][2]side {
	t.Helper()
	m := map[string][2]side{}
	words := strings.Split(s.git("diff-tree", "--no-renames", "-r", "-z", "--raw", "--no-abbrev", from, to), "\x00")
	for i := 0; i+1 < len(words); i += 2 {
		f := strings.Fields(strings.TrimPrefix(words[i], ":"))
		var pair [2]side
		for j := range pair {
			if mode := octal(t, f[j]); mode != 0 {
				pair[j] = side{mode, f[j+2]}
			}
		}
		m[words[i+1]] = pair
	}
	return m
}

func octal(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}
