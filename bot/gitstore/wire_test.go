package gitstore_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/gitstore"
	"github.com/tigeraccess/tac/grants/world"
)

const canary = "ghs_c4n4ry/secret+token"

func withCanary(c *gitstore.Config) {
	c.Token = func(context.Context) (world.Secret, error) { return world.NewSecret(canary), nil }
}

func showsCanary(err error) bool {
	text := fmt.Sprintf("%v %+v %#v", err, err, err)
	for _, form := range []string{canary, url.QueryEscape(canary), url.PathEscape(canary), base64.StdEncoding.EncodeToString([]byte("x-access-token:" + canary))} {
		if strings.Contains(text, form) {
			return true
		}
	}
	for _, inner := range unwrap(err) {
		if showsCanary(inner) {
			return true
		}
	}
	return false
}

func unwrap(err error) []error {
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		return e.Unwrap()
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return []error{inner}
		}
	}
	return nil
}

func TestTheTokenIsSentAsBasicAuthenticationAndOnlyThere(t *testing.T) {
	s := newServer(t)
	base := s.commit("refs/heads/main", "1", "M 100644 inline a")
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user != "x-access-token" || password != canary {
			http.Error(w, "no", http.StatusUnauthorized)
			return true
		}
		return strings.Contains(r.URL.String(), "ghs_")
	}
	if _, err := s.store().Fetch(t.Context()); err == nil {
		t.Error("fetched without a token")
	}
	store := s.store(withCanary)
	must(t)(store.Fetch(t.Context()))
	must(t)(store.Propose(t.Context(), wish(base)))
}

func TestErrorsNeverShowTheToken(t *testing.T) {
	echo := func(status int, kind string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			service := "git-upload-pack"
			if isPush(r) {
				service = "git-receive-pack"
			}
			w.Header().Set("Content-Type", "application/x-"+service+"-"+kind)
			w.Header().Set("Location", "https://evil.test/"+url.PathEscape(canary)+"?"+canary)
			w.WriteHeader(status)
			text := "ERR " + canary + " " + url.QueryEscape(canary) + " " + r.Header.Get("Authorization")
			fmt.Fprintf(w, "%04x%s", len(text)+4, text)
			return true
		}
	}
	for name, before := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"401": echo(401, ""), "403": echo(403, ""), "429": echo(429, ""), "500": echo(500, ""), "redirect": echo(302, ""),
		"error line": echo(200, "result"), "error line in the list": echo(200, "advertisement"), "another kind": echo(200, canary),
		"cut": func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			tip := s.commit("refs/heads/main", "1", "M 100644 inline a")
			store, fresh := s.store(withCanary), s.store(withCanary)
			must(t)(store.Fetch(t.Context()))
			s.set(func() { s.before = before })
			_, err1 := store.Fetch(t.Context())
			_, err2 := fresh.Fetch(t.Context())
			_, err3 := store.Propose(t.Context(), wish(tip))
			_, err4 := store.Remove(t.Context(), tip, []string{"a"}, "x", noon)
			_, err5 := store.Proposal(t.Context(), 1, strings.Repeat("12", 20))
			for i, err := range []error{err1, err2, err3, err4, err5} {
				if err == nil || showsCanary(err) {
					t.Errorf("error %d: %v", i+1, err)
				}
			}
		})
	}
}

func TestAddressesThatCouldLeakACredentialAreRefused(t *testing.T) {
	for _, address := range []string{
		"https://x-access-token:ghs_c4n4ry@git.test/a/b.git", "https://ghs_c4n4ry@git.test/a/b.git", "https://%zz:ghs_c4n4ry@git.test/a",
		"http://git.test/a/b.git", "http://127.0.0.1.git.test/a/b.git", "ssh://git@git.test/a/b.git", "git@git.test:a/b.git", "/a/b.git", "",
		"https://git.test", "https://git.test/a/b.git?token=ghs_c4n4ry", "file:///a/b.git",
	} {
		_, err := gitstore.New(gitstore.Config{URL: address, Branch: "main", AuthorName: "a", AuthorEmail: "b"})
		if err == nil || strings.Contains(err.Error(), "ghs_c4n4ry") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, c := range []gitstore.Config{{Branch: ""}, {Branch: "a..b"}, {Branch: "main", AuthorName: "a <b"}, {Branch: "main", AuthorName: "a\nb"}} {
		c.URL, c.AuthorEmail = "https://git.test/a/b.git", "b"
		if _, err := gitstore.New(c); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
}

// TestRedirectsAreNotFollowed pins that no request, with or without its
// credential, goes where a server points to (CVE-2026-41506).
func TestRedirectsAreNotFollowed(t *testing.T) {
	s := newServer(t)
	tip := s.commit("refs/heads/main", "1", "M 100644 inline a")
	visited := false
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visited = true }))
	defer elsewhere.Close()
	store := s.store(withCanary, func(c *gitstore.Config) { c.HTTP = &http.Client{} })
	must(t)(store.Fetch(t.Context()))
	for _, status := range []int{301, 302, 303, 307, 308} {
		s.set(func() {
			s.before = func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, status)
				return true
			}
		})
		if _, err := store.Fetch(t.Context()); err == nil {
			t.Error("fetched through a redirect")
		}
		if _, err := s.store(withCanary).Fetch(t.Context()); err == nil {
			t.Error("fetched through a redirect")
		}
		if _, err := store.Remove(t.Context(), tip, []string{"a"}, "x", noon); err == nil {
			t.Error("pushed through a redirect")
		}
	}
	if visited {
		t.Error("went to the other server")
	}
}

func TestAnythingButACompleteAnswerIsAnError(t *testing.T) {
	const list, result = "application/x-git-upload-pack-advertisement", "application/x-git-upload-pack-result"
	hash := strings.Repeat("12", 20)
	ref := "003d" + hash + " refs/heads/main\n"
	for name, answer := range map[string]struct{ kind, refs, pack string }{
		"a page of a hotel":           {"text/html", "<html>", ""},
		"nothing":                     {list, "", ""},
		"a list without its end":      {list, "000eversion 2\n0000", ref},
		"a list of nonsense":          {list, "000eversion 2\n0000", "0009hello0000"},
		"an empty repository":         {list, "001e# service=git-upload-pack\n00000000", ""},
		"no pack":                     {list, "000eversion 2\n0000", ref + "0000"},
		"a line that is not a length": {list, "zzzz", ""},
	} {
		s := newServer(t)
		s.before = func(w http.ResponseWriter, r *http.Request) bool {
			body := answer.pack
			w.Header().Set("Content-Type", result)
			if r.Method == http.MethodGet {
				body = answer.refs
				w.Header().Set("Content-Type", answer.kind)
			}
			_, _ = w.Write([]byte(body))
			return true
		}
		if tip, err := s.store().Fetch(t.Context()); err == nil {
			t.Errorf("%s: fetched %s", name, tip)
		}
	}
}

func TestABranchWithoutCommitsIsAnError(t *testing.T) {
	for _, old := range []bool{false, true} {
		s := newServer(t)
		s.old = old
		if tip, err := s.store().Fetch(t.Context()); err == nil {
			t.Errorf("fetched %s", tip)
		}
	}
}

func TestTheContextEndsEverything(t *testing.T) {
	s := newServer(t)
	s.commit("refs/heads/main", "1", "M 100644 inline a")
	store, tip := s.fetched()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err1 := store.Fetch(ctx)
	_, err2 := store.Tree(ctx, tip, "")
	_, err3 := store.History(ctx, "", tip)
	_, err4 := store.Proposal(ctx, 1, strings.Repeat("12", 20))
	_, err5 := store.Propose(ctx, wish(tip))
	_, err6 := store.Remove(ctx, tip, []string{"a"}, "x", noon)
	for i, err := range []error{err1, err2, err3, err4, err5, err6} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d: %v", i+1, err)
		}
	}
}

func TestATokenThatCannotBeHadIsAnError(t *testing.T) {
	s := newServer(t)
	s.commit("refs/heads/main", "1", "M 100644 inline a")
	broken := errors.New("no installation")
	store := s.store(func(c *gitstore.Config) {
		c.Token = func(context.Context) (world.Secret, error) { return world.Secret{}, broken }
	})
	if _, err := store.Fetch(t.Context()); !errors.Is(err, broken) || len(s.seen()) != 0 {
		t.Errorf("got %v", err)
	}
}
