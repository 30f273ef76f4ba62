package storeclaims

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/tigeraccess/tac/grants/world"
)

var claims = []struct {
	says string
	show func(*scene)
}{
	{"trees and blobs read as git reads them", treesAndBlobs},
	{"history reads as git reads it", history},
	{"a proposal is one commit on a branch of its own", proposal},
	{"a proposal made twice, or by two replicas, is the same", proposedTwice},
	{"a branch that somebody else made is left as it stands", theirBranch},
	{"a branch that was deleted can be proposed again", deletedBranch},
	{"an amendment is one commit on the proposal's branch, however often it is made", amendment},
	{"a pull request of somebody else reads as git reads it", theirPull},
	{"a removal is one commit on top of the tip", removal},
	{"directories sort as git sorts them", sorting},
	{"a removal from behind is lost and changes nothing", stale},
	{"of six racing removals one wins", racing},
	{"a branch that was rewritten is noticed, and never written back", rewritten},
	{"a large repository is fetched whole, and its large blob not read", large},
	{"many fetches see many pushes in their order", interleaved},
}

func treesAndBlobs(s *scene) {
	s.git("config", "core.symlinks", "true")
	s.commit("odd", map[string]string{"grants/db/run.sh": "#!\n", "grants/ä b.yaml": "x", "grants/empty": ""})
	s.git("update-index", "--chmod=+x", "grants/db/run.sh")
	link := s.git("hash-object", "-w", "policies/p.yaml")
	s.git("update-index", "--add", "--cacheinfo", "120000,"+link+",grants/link")
	s.git("commit", "-q", "-m", "modes")
	s.git("push", "-q", "origin", "main")
	store, tip := s.store()
	got, err := store.Tree(s.Context(), tip, "")
	if err != nil {
		s.Fatal(err)
	}
	want := map[string]world.Entry{}
	for line := range strings.SplitSeq(s.git("-c", "core.quotePath=false", "ls-tree", "-r", "-l", "HEAD"), "\n") {
		meta, path, _ := strings.Cut(line, "\t")
		fields := strings.Fields(meta)
		mode, err1 := strconv.ParseUint(fields[0], 8, 32)
		size, err2 := strconv.ParseInt(fields[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			s.Fatal(err)
		}
		want[path] = world.Entry{Blob: fields[2], Mode: uint32(mode), Size: size}
	}
	if !reflect.DeepEqual(got, want) || len(want) != 9 {
		s.Errorf("the tree is %v\ngit reads %v", got, want)
	}
	for path, entry := range want {
		content, err := store.Blob(s.Context(), entry.Blob)
		if err != nil || strings.TrimRight(string(content), "\n") != s.git("cat-file", "blob", entry.Blob) {
			s.Errorf("%s reads %q, %v", path, content, err)
		}
	}
}

func history(s *scene) {
	for i := range 8 {
		s.commit(fmt.Sprintf("number %d\n\nTac-Grant: %d", i, i), map[string]string{fmt.Sprintf("grants/db/n%d.yaml", i%3): fmt.Sprint(i)})
	}
	s.git("checkout", "-q", "-b", "side", s.first)
	s.commit("aside", map[string]string{"side": "x"})
	s.git("checkout", "-q", "main")
	s.git("merge", "-q", "--no-ff", "-m", "merge", "side")
	s.git("push", "-q", "origin", "main")
	store, tip := s.store()
	commits, err := store.History(s.Context(), s.first, tip)
	if err != nil {
		s.Fatal(err)
	}
	var got []string
	for _, c := range commits {
		var changed []string
		for _, change := range c.Changes {
			changed = append(changed, change.Path)
		}
		got = append(got, fmt.Sprintf("%s %s %s %d %s", c.Hash, strings.Join(c.Parents, " "), c.Author, c.Time.Unix(), strings.Join(changed, " ")))
		if message := s.git("show", "-s", "--format=%B", c.Hash); strings.TrimRight(c.Message, "\n") != strings.TrimRight(message, "\n") {
			s.Errorf("%s says %q, git %q", c.Hash, c.Message, message)
		}
	}
	var want []string
	for line := range strings.SplitSeq(s.git("log", "--first-parent", "--reverse", "--format=%H %P %an %ct", s.first+"..HEAD"), "\n") {
		hash, _, _ := strings.Cut(line, " ")
		want = append(want, line+" "+strings.ReplaceAll(s.git("diff", "--name-only", hash+"^1", hash), "\n", " "))
	}
	if !slices.Equal(got, want) || len(want) != 9 {
		s.Errorf("the history is\n%s\ngit reads\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func (s *scene) proposed() (world.NewBranch, string) {
	s.Helper()
	store, tip := s.store()
	p := wish(tip)
	head, err := store.Propose(s.Context(), p)
	if err != nil {
		s.Fatal(err)
	}
	if on := s.tip(p.Name); on != head {
		s.Fatalf("the branch is at %s, Propose said %s", on, head)
	}
	return p, head
}

func proposal(s *scene) {
	p, head := s.proposed()
	s.git("fetch", "-q", "origin", p.Name)
	if got := s.git("show", "-s", "--format=%H|%P|%an|%ae|%at|%cn|%ct|%B", "FETCH_HEAD"); got != head+"|"+s.first+"|tac[bot]|tac@acme.test|1795348800|tac[bot]|1795348800|"+strings.TrimRight(p.Message, "\n") {
		s.Errorf("the commit is %q", got)
	}
	if got := s.git("diff", "--name-status", s.first, head); got != "A\t"+p.Path {
		s.Errorf("it changes %q", got)
	}
	if got := s.git("cat-file", "blob", head+":"+p.Path); got+"\n" != string(p.Content) {
		s.Errorf("the file reads %q", got)
	}
	if main := s.tip("main"); main != s.first {
		s.Errorf("main went on to %s", main)
	}
}

func proposedTwice(s *scene) {
	p, head := s.proposed()
	var all sync.WaitGroup
	for range 3 {
		store, _ := s.store()
		all.Go(func() {
			if again, err := store.Propose(s.Context(), p); err != nil || again != head {
				s.Errorf("proposed again: %s, %v, want %s", again, err, head)
			}
		})
	}
	all.Wait()
}

func theirBranch(s *scene) {
	p := wish(s.first)
	s.git("push", "-q", "origin", "HEAD:refs/heads/"+p.Name)
	store, _ := s.store()
	if head, err := store.Propose(s.Context(), p); err != nil || head != s.first || s.tip(p.Name) != s.first {
		s.Errorf("Propose = %s, %v, and the branch is at %s; somebody had put it at %s", head, err, s.tip(p.Name), s.first)
	}
}

func deletedBranch(s *scene) {
	p, head := s.proposed()
	s.git("push", "-q", "origin", "--delete", p.Name)
	if on := s.tip(p.Name); on != "" {
		s.Fatalf("the branch is still there, at %s", on)
	}
	store, _ := s.store()
	if again, err := store.Propose(s.Context(), p); err != nil || again != head || s.tip(p.Name) != head {
		s.Errorf("proposed again: %s, %v, want %s", again, err, head)
	}
}

func amendment(s *scene) {
	p, head := s.proposed()
	a := world.Amendment{Branch: p.Name, Head: head, Path: p.Path, Content: []byte("shorter\n"), Message: "dana approves less of it", At: p.At}
	next := ""
	for range 3 { // each by a replica that has not seen the branch
		store, _ := s.store()
		again, err := store.Amend(s.Context(), a)
		if err != nil || next != "" && again != next || s.tip(p.Name) != again {
			s.Fatalf("amended to %s, %v; before to %q, and the branch is at %s", again, err, next, s.tip(p.Name))
		}
		next = again
	}
	s.git("fetch", "-q", "origin", p.Name)
	if got := s.git("show", "-s", "--format=%P|%an|%B", "FETCH_HEAD"); got != head+"|tac[bot]|"+a.Message {
		s.Errorf("the commit is %q", got)
	}
	if got := s.git("diff", "--name-status", head, next); got != "M\t"+p.Path {
		s.Errorf("it changes %q", got)
	}
	store, _ := s.store()
	a.Content = []byte("shorter still\n")
	if lost, err := store.Amend(s.Context(), a); !errors.Is(err, world.ErrLost) || s.tip(p.Name) != next {
		s.Errorf("Amend = %s, %v, and the branch is at %s; it had gone on to %s", lost, err, s.tip(p.Name), next)
	}
}

func theirPull(s *scene) {
	s.git("checkout", "-q", "-b", "mine")
	one := s.commit("one", map[string]string{"grants/db/9.yaml": "nine\n"})
	s.git("rm", "-q", "grants/db/1.yaml")
	head := s.commit("two", map[string]string{"grants/db/2.yaml": "changed\n"})
	s.git("push", "-q", "origin", "mine")
	number := s.Pull(s.T, "mine")
	s.git("checkout", "-q", "main")
	s.commit("meanwhile", map[string]string{"meanwhile": "x"})
	s.git("push", "-q", "origin", "main")
	store, _ := s.store()
	got, err := store.Proposal(s.Context(), number, head)
	if err != nil {
		s.Fatal(err)
	}
	var changed []string
	for _, c := range got.Changes {
		changed = append(changed, c.Path)
	}
	if want := strings.Split(s.git("diff", "--name-only", s.first, head), "\n"); got.Base != s.first || !slices.Equal(got.Commits, []string{one, head}) || !slices.Equal(changed, want) {
		s.Errorf("the pull request is %+v; git sees changes of %q", got, want)
	}
	if _, err := store.Proposal(s.Context(), number, one); err != nil && !errors.Is(err, world.ErrLost) {
		s.Errorf("at a commit that is no longer its head: %v", err)
	}
}

// files are those of a branch on the server, as git sees them.
func (s *scene) files(branch string) []string {
	s.Helper()
	s.git("fetch", "-q", "origin", branch)
	return strings.Fields(s.git("ls-tree", "-r", "--name-only", "FETCH_HEAD"))
}

func removal(s *scene) {
	store, tip := s.store()
	next, err := store.Remove(s.Context(), tip, []string{"grants/db/1.yaml", "grants/db/2.yaml", "grants/nothing"}, "tac: remove\n\nTac-Ended: expired\n", noon)
	if err != nil {
		s.Fatal(err)
	}
	s.git("pull", "-q", "--ff-only", "origin", "main")
	if got := s.git("show", "-s", "--format=%H|%P|%an|%at|%B", "HEAD"); got != next+"|"+tip+"|tac[bot]|1795348800|tac: remove\n\nTac-Ended: expired" {
		s.Errorf("the commit is %q", got)
	}
	if got, want := s.files("main"), []string{"grants/db-x/3.yaml", "grants/db.y", "policies/p.yaml"}; !slices.Equal(got, want) {
		s.Errorf("left is %q, want %q", got, want)
	}
	if again, err := store.Fetch(s.Context()); err != nil || again != next {
		s.Errorf("fetched %s, %v, want %s", again, err, next)
	}
	if same, err := store.Remove(s.Context(), next, []string{"grants/db/1.yaml"}, "tac: remove", noon); err != nil || same != next {
		s.Errorf("removing what is gone made %s, %v", same, err)
	}
}

func sorting(s *scene) {
	s.commit("names", map[string]string{"g/a/x": "1", "g/a.b/x": "1", "g/a-b": "1", "g/a0": "1", "g/ab/x": "1", "g/é": "1"})
	s.git("push", "-q", "origin", "main")
	store, tip := s.store()
	for _, path := range []string{"g/a", "g/a.yaml", "g/a/y", "g/a-/z", "g/é.x"} {
		p := wish(tip)
		p.Path, p.Name = path, "grant/"+strings.NewReplacer("/", "-", "é", "e").Replace(path)
		_, err := store.Propose(s.Context(), p)
		if path == "g/a" { // it is a directory
			if err == nil {
				s.Errorf("%s was added in the place of a directory", path)
			}
			continue
		}
		if err != nil {
			s.Errorf("%s: %v", path, err)
			continue
		}
		if files := s.files(p.Name); !slices.Contains(files, path) && path != "g/é.x" || len(files) != 12 {
			s.Errorf("%s: git sees %q", path, files)
		}
	}
	if _, err := store.Remove(s.Context(), tip, []string{"g/a.b/x", "g/ab/x"}, "tac: remove", noon); err != nil {
		s.Error(err)
	}
}

func stale(s *scene) {
	store, tip := s.store()
	moved := s.commit("meanwhile", map[string]string{"meanwhile": "x"})
	s.git("push", "-q", "origin", "main")
	if lost, err := store.Remove(s.Context(), tip, []string{"grants/db/1.yaml"}, "tac: remove", noon); !errors.Is(err, world.ErrLost) {
		s.Errorf("Remove = %s, %v, want %v", lost, err, world.ErrLost)
	}
	if now := s.tip("main"); now != moved {
		s.Errorf("main is at %s, want %s", now, moved)
	}
	fresh, err := store.Fetch(s.Context())
	if err != nil || fresh != moved {
		s.Fatalf("Fetch = %s, %v", fresh, err)
	}
	if _, err := store.Remove(s.Context(), fresh, []string{"grants/db/1.yaml"}, "tac: remove", noon); err != nil {
		s.Errorf("after a look: %v", err)
	}
}

func racing(s *scene) {
	const racers = 6
	files := map[string]string{}
	for i := range racers {
		files[fmt.Sprintf("race/%d", i)] = "x"
	}
	tip := s.commit("race", files)
	s.git("push", "-q", "origin", "main")
	var all sync.WaitGroup
	results := make([]error, racers)
	for i := range racers {
		store, _ := s.store()
		all.Go(func() {
			_, results[i] = store.Remove(s.Context(), tip, []string{fmt.Sprintf("race/%d", i)}, "tac: remove", noon)
		})
	}
	all.Wait()
	won := 0
	for _, err := range results {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, world.ErrLost):
			s.Errorf("a racer says %v", err)
		}
	}
	s.git("fetch", "-q", "origin", "main")
	if parent := s.git("rev-parse", "FETCH_HEAD^"); won != 1 || parent != tip {
		s.Errorf("%d won, and main went on from %s, not %s", won, parent, tip)
	}
}

func rewritten(s *scene) {
	gone := s.commit("gone", map[string]string{"gone": "x"})
	s.git("push", "-q", "origin", "main")
	store, tip := s.store()
	s.git("reset", "-q", "--hard", s.first)
	other := s.commit("other", map[string]string{"other": "x"})
	s.git("push", "-q", "--force", "origin", "main")
	if _, err := store.Remove(s.Context(), tip, []string{"grants/db/1.yaml"}, "tac: remove", noon); err == nil || s.tip("main") != other {
		s.Errorf("Remove = %v, and main is at %s, want %s", err, s.tip("main"), other)
	}
	now, err := store.Fetch(s.Context())
	if err != nil || now != other {
		s.Fatalf("Fetch = %s, %v", now, err)
	}
	if _, err := store.History(s.Context(), gone, now); !errors.Is(err, world.ErrRewritten) {
		s.Errorf("History = %v, want %v", err, world.ErrRewritten)
	}
}

func large(s *scene) {
	files := map[string]string{"big": strings.Repeat("0123456789abcdef\n", 190_000)}
	for i := range 300 {
		files[fmt.Sprintf("many/%d/%d.yaml", i%50, i)] = fmt.Sprint(i)
	}
	s.commit("large", files)
	s.git("push", "-q", "origin", "main")
	store, tip := s.store()
	all, err := store.Tree(s.Context(), tip, "")
	if err != nil || len(all) != 306 || all["big"].Size != 3_230_000 {
		s.Fatalf("%d files, %v", len(all), err)
	}
	if _, err := store.Blob(s.Context(), all["big"].Blob); err == nil {
		s.Error("3 MB were read")
	}
	if _, err := store.Remove(s.Context(), tip, slices.Collect(maps.Keys(all))[:150], "tac: remove", noon); err != nil {
		s.Error(err)
	}
}

func interleaved(s *scene) {
	store, _ := s.store()
	for i := range 5 {
		want := s.commit(fmt.Sprint(i), map[string]string{"n": fmt.Sprint(i)})
		s.git("push", "-q", "origin", "main")
		tip, err := store.Fetch(s.Context())
		if err != nil || tip != want {
			s.Fatalf("Fetch = %s, %v, want %s", tip, err, want)
		}
		if tip, err = store.Remove(s.Context(), tip, []string{"n"}, "tac: remove", noon); err != nil {
			s.Fatal(err)
		}
		s.git("pull", "-q", "--ff-only", "origin", "main")
		if head := s.git("rev-parse", "HEAD"); head != tip {
			s.Fatalf("git is at %s, we pushed %s", head, tip)
		}
	}
}

var _ testing.TB = (*scene)(nil)
