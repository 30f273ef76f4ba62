package vaultlease_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

func TestAUserTokenSurvivesStoringAndIsCompareAndSwap(t *testing.T) {
	s := newScene(t)
	a, b, ctx := s.replica("a"), s.replica("b"), t.Context()
	if got, err := a.UserToken(ctx, 1001); got != nil || err != nil {
		t.Fatalf("never written: %+v, %v", got, err)
	}
	var n int64
	left := &world.UserToken{Person: grants.Principal{GitHub: "alice", ID: 1001}, Access: world.NewSecret("ghu_canary"), Refresh: world.NewSecret("ghr_canary")}
	fill(t, reflect.ValueOf(&left.AccessUntil).Elem(), &n)
	fill(t, reflect.ValueOf(&left.RefreshUntil).Elem(), &n)
	s.must(a.PutUserToken(ctx, left))
	got, err := b.UserToken(ctx, 1001)
	s.must(err)
	if got.Access.Reveal() != "ghu_canary" || got.Refresh.Reveal() != "ghr_canary" {
		t.Error("the tokens did not survive")
	}
	got.Access, got.Refresh = left.Access, left.Refresh
	same(t, "user token", *got, *left)

	s.must(b.PutUserToken(ctx, &world.UserToken{Person: left.Person, Version: got.Version})) // b forgets it
	if err := a.PutUserToken(ctx, left); !errors.Is(err, world.ErrLost) {
		t.Errorf("a late write: %v", err)
	}
	gone, err := a.UserToken(ctx, 1001)
	s.must(err)
	if gone == nil || !gone.Access.Empty() || !gone.Refresh.Empty() || gone.Version != 2 {
		t.Errorf("forgotten, it is %+v", gone)
	}
	if err := a.PutUserToken(ctx, &world.UserToken{}); err == nil {
		t.Error("nobody's token was written")
	}
}

func TestAUserTokenOfAnotherPersonIsRefused(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	s.must(a.PutUserToken(t.Context(), &world.UserToken{Person: grants.Principal{GitHub: "mallory", ID: 1666}, Access: world.NewSecret("ghu_canary")}))
	moved, err := s.admin.Logical().Read("tac/data/users/1666")
	s.must(err)
	s.write("tac/data/users/1001", values{"data": moved.Data["data"], "options": values{"cas": 0}})
	got, err := a.UserToken(t.Context(), 1001)
	if err == nil || got != nil || !strings.Contains(err.Error(), "somebody moved it") || strings.Contains(err.Error(), "canary") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatWasDeletedInVaultIsGoneAndCanBeWrittenAgain(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	alice := grants.Principal{GitHub: "alice", ID: 1001}
	s.must(a.PutUserToken(ctx, &world.UserToken{Person: alice, Access: world.NewSecret("ghu_one")}))
	s.must(a.PutNote(ctx, "asked/1001", &world.Note{Data: []byte("one")}))
	for _, path := range []string{"tac/data/users/1001", "tac/data/notes/asked/1001"} {
		_, err := s.admin.Logical().Delete(path)
		s.must(err)
	}
	got, err := a.UserToken(ctx, 1001)
	s.must(err)
	if got == nil || !got.Access.Empty() || got.Version != 1 {
		t.Fatalf("deleted, it is %+v", got)
	}
	got.Person, got.Access = alice, world.NewSecret("ghu_two")
	s.must(a.PutUserToken(ctx, got))
	n, err := a.Note(ctx, "asked/1001")
	s.must(err)
	if n.Version != 1 || n.Data != nil {
		t.Fatalf("deleted, the note is %+v", n)
	}
	s.must(a.PutNote(ctx, "asked/1001", &n))
}

func TestNotesAreSharedUnderCompareAndSwap(t *testing.T) {
	s := newScene(t)
	a, b, ctx := s.replica("a"), s.replica("b"), t.Context()
	n, err := a.Note(ctx, "limits/2026-11-22")
	s.must(err)
	if n.Version != 0 || n.Data != nil {
		t.Fatalf("never written: %+v", n)
	}
	late := n
	n.Data = []byte{0, 255, 'x'}
	s.must(a.PutNote(ctx, "limits/2026-11-22", &n))
	got, err := b.Note(ctx, "limits/2026-11-22")
	s.must(err)
	if !reflect.DeepEqual(got, n) || got.Version != 1 {
		t.Errorf("got %+v, want %+v", got, n)
	}
	if err := b.PutNote(ctx, "limits/2026-11-22", &late); !errors.Is(err, world.ErrLost) {
		t.Errorf("a late write: %v", err)
	}
	for _, key := range []string{"", "/", "a/", "../grants/x", "A", "a b", "a//b", strings.Repeat("a", 201)} {
		if _, err := a.Note(ctx, key); err == nil {
			t.Errorf("%q was read", key)
		}
		if err := a.PutNote(ctx, key, &world.Note{}); err == nil {
			t.Errorf("%q was written", key)
		}
	}
	if err := a.PutNote(ctx, "a", &world.Note{Data: make([]byte, 1<<20)}); err == nil {
		t.Error("a huge note was written")
	}
}
