package gitstore_test

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func wish(base string) world.NewBranch {
	return world.NewBranch{
		Name: "grant/20261122-k3v9q2m4tz", Base: base, Path: "grants/postgres-prod/20261122-k3v9q2m4tz.yaml",
		Content: []byte("kind: AccessGrant\n"), Message: "alice asks for postgres-prod\n\nTac-Grant: x", At: noon,
	}
}

func TestProposeAddsOneFileInOneCommit(t *testing.T) {
	s := newServer(t)
	// Names that sort around "grants/" the way only git sorts them.
	base := s.commit("refs/heads/main", "1", "M 100644 inline grants-old", "M 100644 inline grants.md", "M 100644 inline grants0", "M 100755 inline zz/run")
	for name, path := range map[string]string{"new directories": "grants/postgres-prod/1.yaml", "the root": "a", "an old directory": "zz/a"} {
		store, _ := s.fetched()
		s.seen()
		p := wish(base)
		p.Path, p.Name = path, "grant/"+strings.ReplaceAll(name, " ", "-")
		head := must(t)(store.Propose(t.Context(), p))
		if got := s.seen(); !slices.Equal(got, []string{"POST /git-receive-pack"}) {
			t.Errorf("%s: the requests were %v", name, got)
		}
		want := map[string][2]side{path: {{}, {0o100644, s.git("rev-parse", p.Name+":"+path)}}}
		if got := gitDiff(t, s, base, p.Name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: git sees %v", name, got)
		}
		if got := s.git("cat-file", "blob", p.Name+":"+path); got+"\n" != string(p.Content) {
			t.Errorf("%s: the file reads %q", name, got)
		}
		if got := s.git("show", "-s", "--format=%H|%P|%an|%ae|%at|%cn|%ct|%B", p.Name); got != head+"|"+base+"|tac[bot]|tac@acme.test|1795348800|tac[bot]|1795348800|"+p.Message {
			t.Errorf("%s: the commit is %q", name, got)
		}
		if got, err := store.Proposal(t.Context(), 1, head); err != nil || len(got.Changes) != 1 || got.Base != base {
			t.Errorf("%s: our own proposal reads %+v, %v", name, got, err)
		}
		if got := s.seen(); len(got) != 0 {
			t.Errorf("%s: our own proposal was fetched: %v", name, got)
		}
	}
	s.fsck()
}

func TestProposeAgainGivesTheSameHead(t *testing.T) {
	s := newServer(t)
	base := s.commit("refs/heads/main", "1", "M 100644 inline a")
	store, _ := s.fetched()
	first := must(t)(store.Propose(t.Context(), wish(base)))
	if again := must(t)(store.Propose(t.Context(), wish(base))); again != first {
		t.Errorf("%s, then %s", first, again)
	}
	replica, _ := s.fetched()
	if again := must(t)(replica.Propose(t.Context(), wish(base))); again != first {
		t.Errorf("%s, then %s by a replica", first, again)
	}
	// The branch has gone on: it is returned as it stands.
	other := s.commit("refs/heads/"+wish(base).Name, "2", "M 100644 inline theirs")
	if got := must(t)(store.Propose(t.Context(), wish(base))); got != other {
		t.Errorf("got %s, the branch is at %s", got, other)
	}
	p := wish(base)
	p.Name = "grant/made-by-somebody-else"
	s.git("branch", p.Name, base)
	if got := must(t)(store.Propose(t.Context(), p)); got != base {
		t.Errorf("got %s, the branch is at %s", got, base)
	}
}

func TestProposeWhoseAnswerWasLostFindsItsBranch(t *testing.T) {
	s := newServer(t)
	base := s.commit("refs/heads/main", "1", "M 100644 inline a")
	store, _ := s.fetched()
	s.set(func() { s.lose = isPush })
	head := must(t)(store.Propose(t.Context(), wish(base)))
	if got := s.git("rev-parse", wish(base).Name); got != head {
		t.Errorf("got %s, the branch is at %s", head, got)
	}
}

func TestProposeRefusesPathsThatDoNotFit(t *testing.T) {
	s := newServer(t)
	base := s.commit("refs/heads/main", "1", "M 100644 inline file", "M 100644 inline dir/x", "M 120000 inline link", "M 160000 "+strings.Repeat("ab", 20)+" sub")
	store, _ := s.fetched()
	for _, path := range []string{"file", "file/x", "dir", "dir/x", "link/x", "sub/x", "", "/a", "a/", "a//b", "../a", "a/./b", ".git/config", "a/.GIT/x", "a\x00b"} {
		p := wish(base)
		p.Path = path
		if head, err := store.Propose(t.Context(), p); err == nil {
			t.Errorf("%q was added in %s", path, head)
		}
	}
	for name, edit := range map[string]func(*world.NewBranch){
		"the default branch": func(p *world.NewBranch) { p.Name = "main" },
		"no branch name":     func(p *world.NewBranch) { p.Name = "a..b" },
		"an unknown base":    func(p *world.NewBranch) { p.Base = strings.Repeat("12", 20) },
		"no hash":            func(p *world.NewBranch) { p.Base = "main" },
		"no time":            func(p *world.NewBranch) { p.At = time.Time{} },
		"no message":         func(p *world.NewBranch) { p.Message = "\n" },
		"a zero byte":        func(p *world.NewBranch) { p.Message = "a\x00b" },
	} {
		p := wish(base)
		edit(&p)
		if head, err := store.Propose(t.Context(), p); err == nil {
			t.Errorf("%s: made %s", name, head)
		}
	}
	if got := s.git("for-each-ref", "--format=%(refname)"); got != "refs/heads/main" {
		t.Errorf("the server has %s", got)
	}
}

func TestRemoveTakesTheFilesAndTheirEmptyDirectories(t *testing.T) {
	s := newServer(t)
	tip := s.commit("refs/heads/main", "1", "M 100644 inline grants/db/1.yaml", "M 100644 inline grants/db/2.yaml", "M 100644 inline grants/ssh/deep/3.yaml",
		"M 120000 inline grants/db/link", "M 100644 inline grants/db-x", "M 100644 inline policies/p.yaml")
	store, _ := s.fetched()
	s.seen()
	left := func(paths []string) []string {
		t.Helper()
		tip = must(t)(store.Remove(t.Context(), tip, paths, "tac: remove", noon))
		if got := s.git("rev-parse", "main"); got != tip {
			t.Fatalf("returned %s, the branch is at %s", tip, got)
		}
		return strings.Fields(s.git("ls-tree", "-r", "--name-only", "main"))
	}
	first := tip
	for _, nothing := range [][]string{nil, {"grants", "grants/db", "grants/db/4.yaml", "policies/p.yaml/x", "", "/", "nowhere/x"}} {
		if left(nothing); tip != first {
			t.Errorf("removing %v made commit %s", nothing, tip)
		}
	}
	if got := s.seen(); len(got) != 0 {
		t.Errorf("removing nothing made requests %v", got)
	}
	if got := left([]string{"grants/ssh/deep/3.yaml", "grants/db/1.yaml", "grants/db/link", "grants/db/gone"}); !slices.Equal(got, []string{"grants/db-x", "grants/db/2.yaml", "policies/p.yaml"}) {
		t.Errorf("left %v", got)
	}
	if got := s.seen(); len(got) != 1 {
		t.Errorf("one removal made requests %v", got)
	}
	if got := s.git("ls-tree", "-d", "-r", "--name-only", "main"); got != "grants\ngrants/db\npolicies" {
		t.Errorf("directories %q", got)
	}
	if got := left([]string{"grants/db-x", "grants/db/2.yaml", "policies/p.yaml"}); len(got) != 0 {
		t.Errorf("left %v", got)
	}
	s.fsck()
	s.seen()
	if got := must(t)(store.Fetch(t.Context())); got != tip {
		t.Errorf("fetched %s, want %s", got, tip)
	}
	if got := s.seen(); len(got) != 1 {
		t.Errorf("our own commits were fetched: %v", got)
	}
	if got, err := store.History(t.Context(), first, tip); err != nil || len(got) != 2 || len(got[0].Changes) != 3 {
		t.Errorf("the history is %+v, %v", got, err)
	}
}

func TestOfRacingRemovalsOneIsLost(t *testing.T) {
	s := newServer(t)
	tip := s.commit("refs/heads/main", "1", "M 100644 inline a", "M 100644 inline b", "M 100644 inline c")
	for _, round := range []string{"first", "second"} {
		paths := strings.Fields(s.git("ls-tree", "--name-only", "main"))
		var wg sync.WaitGroup
		var errs [2]error
		for i := range errs {
			store, _ := s.fetched()
			wg.Go(func() {
				_, errs[i] = store.Remove(t.Context(), tip, paths[i:i+1], "tac: remove", noon)
			})
		}
		wg.Wait()
		lost := 0
		for _, err := range errs {
			if errors.Is(err, world.ErrLost) {
				lost++
			} else if err != nil {
				t.Errorf("%s round: %v", round, err)
			}
		}
		if lost != 1 {
			t.Errorf("%s round: %d were lost", round, lost)
		}
		if got := s.git("rev-parse", "main^"); got != tip {
			t.Errorf("%s round: the branch went on from %s, not %s", round, got, tip)
		}
		tip = s.git("rev-parse", "main")
	}
}

func isPush(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/git-receive-pack") }

func TestRemoveLooksAtTheBranchWhenTheAnswerWasLost(t *testing.T) {
	cut := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	for name, c := range map[string]struct {
		prepare func(s *server)
		is      error // nil: an error that is none of ours
		success bool
	}{
		"it arrived": {success: true, prepare: func(s *server) { s.lose = isPush }},
		"it arrived and the branch went on": {success: true, prepare: func(s *server) {
			s.lose = isPush
			gone := false
			s.before = func(_ http.ResponseWriter, r *http.Request) bool {
				if !isPush(r) && !gone {
					gone = true
					s.commit("refs/heads/main", "9", "M 100644 inline later")
				}
				return false
			}
		}},
		"a proxy's 502 hides that it arrived": {success: true, prepare: func(s *server) { s.lose, s.instead = isPush, http.StatusBadGateway }},
		"it never arrived": {prepare: func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool { return isPush(r) && cut(w, r) }
		}},
		"it never arrived and the branch went on": {is: world.ErrLost, prepare: func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if isPush(r) {
					s.commit("refs/heads/main", "9", "M 100644 inline later")
					return cut(w, r)
				}
				return false
			}
		}},
		"the branch was rewritten meanwhile": {is: world.ErrAmbiguous, prepare: func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if isPush(r) {
					s.git("update-ref", "refs/heads/main", s.git("commit-tree", "-m", "new", "main^{tree}"))
					return cut(w, r)
				}
				return false
			}
		}},
		"the server is gone altogether": {is: world.ErrAmbiguous, prepare: func(s *server) { s.before = cut }},
		"the server says no": {prepare: func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if isPush(r) {
					http.Error(w, "Write access to repository not granted.", http.StatusForbidden)
				}
				return isPush(r)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			tip := s.commit("refs/heads/main", "1", "M 100644 inline a", "M 100644 inline b")
			store, _ := s.fetched()
			s.set(func() { c.prepare(s) })
			commit, err := store.Remove(t.Context(), tip, []string{"a"}, "tac: remove", noon)
			switch {
			case c.success && (err != nil || s.git("merge-base", "--is-ancestor", commit, "main") != ""):
				t.Errorf("%s, %v", commit, err)
			case !c.success && err == nil:
				t.Errorf("made %s", commit)
			case !c.success && (errors.Is(err, world.ErrLost) != (c.is == world.ErrLost) || errors.Is(err, world.ErrAmbiguous) != (c.is == world.ErrAmbiguous)):
				t.Errorf("got %v, want %v", err, c.is)
			}
		})
	}
}

// TestRefusalByARuleIsNotLost pins that a caller does not look again, and try
// again, for ever.
func TestRefusalByARuleIsNotLost(t *testing.T) {
	s := newServer(t)
	tip := s.commit("refs/heads/main", "1", "M 100644 inline a")
	s.run("#!/bin/sh\necho 'GH013: changes must be made through a pull request' >&2\nexit 1\n", "sh", "-c", "cat > "+s.dir+"/hooks/pre-receive && chmod +x "+s.dir+"/hooks/pre-receive")
	store, _ := s.fetched()
	_, err := store.Remove(t.Context(), tip, []string{"a"}, "tac: remove", noon)
	if err == nil || errors.Is(err, world.ErrLost) || errors.Is(err, world.ErrAmbiguous) || !strings.Contains(err.Error(), "GH013") {
		t.Errorf("a removal is %v", err)
	}
	if _, err := store.Propose(t.Context(), wish(tip)); err == nil || !strings.Contains(err.Error(), "GH013") {
		t.Errorf("a proposal is %v", err)
	}
}
