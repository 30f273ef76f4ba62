package gitstore_test

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/grants/world"
)

func change(head string) world.Amendment {
	p := wish("")
	return world.Amendment{
		Branch: p.Name, Head: head, Path: p.Path, Content: []byte("kind: AccessGrant # shorter\n"),
		Message: "dana approves 1h of it", At: noon.Add(time.Minute),
	}
}

// proposed is a server with a proposal, and the store that made it.
func proposed(t *testing.T) (s *server, store *gitstore.Store, head string) {
	t.Helper()
	s = newServer(t)
	base := s.commit("refs/heads/main", "1", "M 100644 inline grants/db/other.yaml", "M 100644 inline policies/p.yaml")
	store, _ = s.fetched()
	return s, store, must(t)(store.Propose(t.Context(), wish(base)))
}

func TestAmendReplacesOneFileInOneCommit(t *testing.T) {
	s, store, head := proposed(t)
	s.seen()
	a := change(head)
	next := must(t)(store.Amend(t.Context(), a))
	if got := s.seen(); !slices.Equal(got, []string{"POST /git-receive-pack"}) {
		t.Errorf("the requests were %v", got)
	}
	want := map[string][2]side{a.Path: {{0o100644, s.git("rev-parse", head+":"+a.Path)}, {0o100644, s.git("rev-parse", next+":"+a.Path)}}}
	if got := gitDiff(t, s, head, a.Branch); !reflect.DeepEqual(got, want) {
		t.Errorf("git sees %v", got)
	}
	if got := s.git("show", "-s", "--format=%H|%P|%an|%ae|%at|%cn|%ct|%B", a.Branch); got != next+"|"+head+"|tac[bot]|tac@acme.test|1795348860|tac[bot]|1795348860|"+a.Message {
		t.Errorf("the commit is %q", got)
	}
	if got := s.git("cat-file", "blob", a.Branch+":"+a.Path); got+"\n" != string(a.Content) {
		t.Errorf("the file reads %q", got)
	}
	s.git("update-ref", "refs/pull/1/head", next)
	p, err := store.Proposal(t.Context(), 1, next)
	if err != nil || !slices.Equal(p.Commits, []string{head, next}) || len(p.Changes) != 1 || p.Changes[0].Old != nil || p.Changes[0].Path != a.Path {
		t.Errorf("the pull request brings %+v, %v", p, err)
	}
	s.fsck()
}

func TestAmendAgainMakesTheSameHead(t *testing.T) {
	s, store, head := proposed(t)
	next := must(t)(store.Amend(t.Context(), change(head)))
	replica, _ := s.fetched()
	for name, again := range map[string]*gitstore.Store{"the same replica": store, "another one": replica, "one that has fetched nothing": s.store()} {
		if got, err := again.Amend(t.Context(), change(head)); err != nil || got != next {
			t.Errorf("again by %s: %s, %v, want %s", name, got, err, next)
		}
	}
	for name, edit := range map[string]func(*world.Amendment){
		"other content": func(a *world.Amendment) { a.Content = []byte("x") },
		"other words":   func(a *world.Amendment) { a.Message = "x" },
		"another time":  func(a *world.Amendment) { a.At = noon.Add(time.Hour) },
	} {
		a := change(head)
		edit(&a)
		if got, err := replica.Amend(t.Context(), a); !errors.Is(err, world.ErrLost) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got := s.git("rev-parse", change(head).Branch); got != next {
		t.Errorf("the branch is at %s", got)
	}
}

func TestOfRacingAmendmentsOneIsLost(t *testing.T) {
	s, _, head := proposed(t)
	const racers = 4
	errs := make([]error, racers)
	heads := make([]string, racers)
	var wg sync.WaitGroup
	for i := range racers {
		store, _ := s.fetched()
		wg.Go(func() {
			a := change(head)
			a.Content = fmt.Appendf(nil, "racer %d\n", i)
			heads[i], errs[i] = store.Amend(t.Context(), a)
		})
	}
	wg.Wait()
	won := ""
	for i, err := range errs {
		switch {
		case err == nil && won == "":
			won = heads[i]
		case !errors.Is(err, world.ErrLost):
			t.Errorf("racer %d says %q, %v; %q won", i, heads[i], err, won)
		}
	}
	if got := s.git("rev-parse", change(head).Branch); won == "" || got != won || s.git("rev-parse", won+"^") != head {
		t.Errorf("%q won, the branch is at %s", won, got)
	}
}

func TestAmendIsLostWhereTheBranchIsElsewhere(t *testing.T) {
	branch := change("").Branch
	for name, prepare := range map[string]func(s *server, head string){
		"somebody pushed": func(s *server, _ string) { s.commit("refs/heads/"+branch, "2", "M 100644 inline theirs") },
		"it was reset":    func(s *server, _ string) { s.git("update-ref", "refs/heads/"+branch, "main") },
		"it was deleted":  func(s *server, _ string) { s.git("update-ref", "-d", "refs/heads/"+branch) },
		"it went on from the same amendment": func(s *server, head string) {
			other, _ := s.fetched()
			must(s.t)(other.Amend(s.t.Context(), change(head)))
			s.commit("refs/heads/"+branch, "2", "M 100644 inline theirs")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, store, head := proposed(t)
			fresh, _ := s.fetched()
			prepare(s, head)
			before := s.git("for-each-ref")
			for _, by := range []*gitstore.Store{store, fresh} {
				if got, err := by.Amend(t.Context(), change(head)); !errors.Is(err, world.ErrLost) || got != "" {
					t.Errorf("%q, %v", got, err)
				}
			}
			if after := s.git("for-each-ref"); after != before {
				t.Errorf("the refs were\n%s\nand are\n%s", before, after)
			}
		})
	}
}

func TestAmendLooksAtTheBranchWhenTheAnswerWasLost(t *testing.T) {
	cut := func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }
	for name, c := range map[string]struct {
		prepare func(s *server)
		is      error // nil: it is done
	}{
		"it arrived":                          {prepare: func(s *server) { s.lose = isPush }},
		"a proxy's 502 hides that it arrived": {prepare: func(s *server) { s.lose, s.instead = isPush, http.StatusBadGateway }},
		"it never arrived": {is: world.ErrAmbiguous, prepare: func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool { return isPush(r) && cut(w, r) }
		}},
		"it never arrived and the branch went on": {is: world.ErrLost, prepare: func(s *server) {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				if isPush(r) {
					s.commit("refs/heads/"+change("").Branch, "9", "M 100644 inline later")
					return cut(w, r)
				}
				return false
			}
		}},
		"the server is gone altogether": {is: world.ErrAmbiguous, prepare: func(s *server) { s.before = cut }},
	} {
		t.Run(name, func(t *testing.T) {
			s, store, head := proposed(t)
			s.set(func() { c.prepare(s) })
			got, err := store.Amend(t.Context(), change(head))
			if c.is != nil {
				if !errors.Is(err, c.is) || errors.Is(err, world.ErrLost) != (c.is == world.ErrLost) {
					t.Errorf("%q, %v; want %v", got, err, c.is)
				}
				s.set(func() { s.before = nil })
				if again, err := store.Amend(t.Context(), change(head)); c.is == world.ErrAmbiguous && (err != nil || again == "") {
					t.Errorf("again: %q, %v", again, err)
				}
				return
			}
			if err != nil || s.git("rev-parse", change(head).Branch) != got {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestAmendRefusesWhatIsNoReplacement(t *testing.T) {
	s, store, head := proposed(t)
	branch := "refs/heads/" + change("").Branch
	odd := s.commit(branch, "x", "M 100755 inline run", "M 120000 inline link")
	for name, edit := range map[string]func(*world.Amendment){
		"a file that is not there":      func(a *world.Amendment) { a.Path = "grants/db/new.yaml" },
		"a directory that is not there": func(a *world.Amendment) { a.Path = "nowhere/new.yaml" },
		"a directory":                   func(a *world.Amendment) { a.Path = "grants/db" },
		"a file that can be executed":   func(a *world.Amendment) { a.Path = "run" },
		"a link":                        func(a *world.Amendment) { a.Path = "link" },
		"what is below a link":          func(a *world.Amendment) { a.Path = "link/x" },
		"the same content":              func(a *world.Amendment) { a.Content = wish("").Content },
		"the default branch":            func(a *world.Amendment) { a.Branch = "main" },
		"no branch":                     func(a *world.Amendment) { a.Branch = "" },
		"no head":                       func(a *world.Amendment) { a.Head = "main" },
		"no message":                    func(a *world.Amendment) { a.Message = " " },
		"no time":                       func(a *world.Amendment) { a.At = time.Time{} },
	} {
		a := change(odd)
		edit(&a)
		if got, err := store.Amend(t.Context(), a); err == nil || errors.Is(err, world.ErrLost) || errors.Is(err, world.ErrAmbiguous) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if got := s.git("rev-parse", branch); got != odd || head == odd {
		t.Errorf("the branch is at %s", got)
	}
	s.run("#!/bin/sh\necho 'GH013: only the App' >&2\nexit 1\n", "sh", "-c", "cat > "+s.dir+"/hooks/pre-receive && chmod +x "+s.dir+"/hooks/pre-receive")
	if _, err := store.Amend(t.Context(), change(odd)); err == nil || errors.Is(err, world.ErrLost) || !strings.Contains(err.Error(), "GH013") {
		t.Errorf("a rule forbids it: %v", err)
	}
}
