package client

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// forge answers as GitHub's sign-in and as the tac server in one. polls are
// the answers to the polls, in order.
func forge(page string, polls ...map[string]any) func(w http.ResponseWriter, r *http.Request, n int) {
	return func(w http.ResponseWriter, r *http.Request, _ int) {
		site := "http://" + r.Host
		switch r.URL.Path {
		case "/api/v1/login":
			reply(w, 200, map[string]string{"client_id": "Iv1.test", "github_url": site})
		case "/login/device/code":
			if page == "" {
				page = site + "/login/device"
			}
			reply(w, 200, map[string]any{"device_code": "dc", "user_code": "ABCD-1234", "verification_uri": page, "expires_in": 60, "interval": 5})
		case "/login/oauth/access_token":
			answer := map[string]any{"error": "authorization_pending"}
			if len(polls) > 0 {
				answer, polls = polls[0], polls[1:]
			}
			reply(w, 200, answer)
		case "/api/v1/whoami":
			reply(w, 200, map[string]any{"github": "alice", "id": 1001})
		default:
			accepted(w, r, 0)
		}
	}
}

func pair(name string) map[string]any {
	return map[string]any{"access_token": "ghu_" + name, "expires_in": 28800, "refresh_token": "ghr_" + name, "refresh_token_expires_in": 15897600}
}

func TestLoginKeepsThePaceThatGitHubNames(t *testing.T) {
	g := newRig(t, forge("",
		map[string]any{"error": "authorization_pending"},
		map[string]any{"error": "slow_down", "interval": 12},
		map[string]any{"error": "slow_down"},
		pair("new"),
	))
	var shown Prompt
	l, err := g.Login(t.Context(), func(p Prompt) { shown = p })
	if err != nil {
		t.Fatal(err)
	}
	want := []time.Duration{5 * time.Second, 5 * time.Second, 12 * time.Second, 17 * time.Second}
	if !slices.Equal(g.waited, want) {
		t.Errorf("waited %v, want %v", g.waited, want)
	}
	if shown.Code != "ABCD-1234" || shown.URL != string(g.Server)+"/login/device" || !shown.Until.Equal(noon.Add(time.Minute)) {
		t.Errorf("shown %+v", shown)
	}
	kept, ok, err := g.Store.Login(g.Server)
	if err != nil || !ok || kept.Access.Reveal() != "ghu_new" || kept.Person != (Person{"alice", 1001}) || l.Person != kept.Person {
		t.Errorf("kept %+v, %v, %v", kept, ok, err)
	}
	if !kept.AccessUntil.Equal(noon.Add(8 * time.Hour)) {
		t.Errorf("the token ends %v", kept.AccessUntil)
	}
	for _, a := range g.asked {
		if strings.HasPrefix(a.path, "/login/") && a.token != "" {
			t.Errorf("GitHub was sent a token: %+v", a)
		}
	}
}

func TestLoginThatEndsWithoutATokenKeepsNothing(t *testing.T) {
	tests := []struct {
		name  string
		page  string
		polls []map[string]any
		is    func(error) bool
	}{
		{"cancelled", "", []map[string]any{{"error": "access_denied"}}, func(err error) bool {
			var refusal *Error
			return errors.As(err, &refusal) && refusal.Code == CodeDenied
		}},
		{"expired", "", []map[string]any{{"error": "expired_token"}}, func(err error) bool { return errors.Is(err, ErrTooLate) }},
		{"never entered", "", nil, func(err error) bool { return errors.Is(err, ErrTooLate) }},
		{"unknown code", "", []map[string]any{{"error": "incorrect_device_code", "error_description": "no such code"}}, func(err error) bool {
			return err != nil && !errors.Is(err, ErrTooLate) && strings.Contains(err.Error(), "no such code")
		}},
		{"no token in the answer", "", []map[string]any{{"token_type": "bearer"}}, func(err error) bool { return err != nil }},
		{"a page elsewhere", "https://github.example.com/login/device", nil, func(err error) bool {
			return err != nil && strings.Contains(err.Error(), "another site")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, forge(tt.page, tt.polls...))
			shown := false
			_, err := g.Login(t.Context(), func(Prompt) { shown = true })
			if !tt.is(err) {
				t.Errorf("ends with %v", err)
			}
			if shown && tt.page != "" {
				t.Error("the person was sent to another site")
			}
			if _, ok, err := g.Store.Login(g.Server); ok || err != nil {
				t.Errorf("something was kept: %v, %v", ok, err)
			}
		})
	}
}

func TestAnExpiredTokenIsRefreshed(t *testing.T) {
	g := newRig(t, forge("", pair("second"))).loggedIn(t)
	now := noon.Add(8 * time.Hour)
	g.Now = func() time.Time { return now }
	if _, err := g.Request(t.Context(), Ask{}, "k"); err != nil {
		t.Fatal(err)
	}
	last := g.asked[len(g.asked)-1]
	if last.token != "Bearer ghu_second" {
		t.Errorf("asked with %q", last.token)
	}
	if body := g.asked[0].body; !strings.Contains(body, "refresh_token=ghr_first") || strings.Contains(body, "secret") {
		t.Errorf("refreshed by %q", body)
	}
	// The old pair died with the refresh; the new one is kept.
	if kept, _, err := g.Store.Login(g.Server); err != nil || kept.Refresh.Reveal() != "ghr_second" || !kept.AccessUntil.Equal(now.Add(8*time.Hour)) {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

func TestATokenRefusedBeforeItsTimeIsRefreshedOnce(t *testing.T) {
	answer := forge("", pair("second"))
	g := newRig(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if r.Header.Get("Authorization") == "Bearer ghu_first" {
			refuse(w, 401, "unauthenticated", "it has expired; run `tac login`")
			return
		}
		answer(w, r, n)
	}).loggedIn(t)
	if _, err := g.Request(t.Context(), Ask{}, "k"); err != nil || len(g.asked) != 3 {
		t.Errorf("error %v after %d calls, want the call, the refresh, the call", err, len(g.asked))
	}
}

func TestATokenThatAnotherRunRefreshedIsUsedAsItIs(t *testing.T) {
	g := newRig(t, forge("", map[string]any{"error": "bad_refresh_token"})).loggedIn(t)
	got, err := g.renewed(t.Context(), world.NewSecret("ghu_of_before"))
	if err != nil || got.Reveal() != "ghu_first" || len(g.asked) != 0 {
		t.Errorf("got %v, error %v, %d calls", got.Reveal(), err, len(g.asked))
	}
	_, err = g.renewed(t.Context(), world.NewSecret("ghu_first"))
	if err == nil || !strings.Contains(err.Error(), "login has expired") {
		t.Errorf("a refresh token that is over ends with %v", err)
	}
}
