package githubpr

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants/world"
)

// signing is a client that knows where tokens are refreshed.
func (f *forge) signing() *Client {
	f.t.Helper()
	cfg := f.config()
	cfg.URL = f.URL() + "/"
	c, err := New(cfg)
	must(f.t, err)
	return c
}

// left is what login would leave with tac.
func (f *forge) left(login string) world.UserToken {
	f.t.Helper()
	access, refresh, err := f.UserTokens(login, f.app)
	must(f.t, err)
	return world.UserToken{Person: person(login), Access: world.NewSecret(access), Refresh: world.NewSecret(refresh), Version: 7}
}

func TestARefreshedPairIsNewAndOfTheSamePerson(t *testing.T) {
	f := newForge(t)
	c := f.signing()
	old := f.left("alice")
	got, err := c.Refresh(t.Context(), old)
	must(t, err)
	if who, err := c.User(t.Context(), got.Access); err != nil || who != person("alice") || got.Person != who || got.Version != 7 {
		t.Errorf("of %v, %v: %+v", who, err, got)
	}
	if f.TokenLives(old.Access.Reveal()) || f.TokenLives(old.Refresh.Reveal()) || !f.TokenLives(got.Refresh.Reveal()) {
		t.Error("the old pair lives, or the new one does not")
	}
	if until := got.AccessUntil.Sub(noon); until < 7*time.Hour || until > 8*time.Hour {
		t.Errorf("the token is good for %v", until)
	}
	if _, err := c.Refresh(t.Context(), old); !errors.Is(err, world.ErrNotOurs) {
		t.Errorf("a second time: %v", err)
	}
	for _, refresh := range []string{"", "ghr_made_up", "ghu_0123", "ghr_a\r\nb", strings.Repeat("a", 1<<16)} {
		if _, err := c.Refresh(t.Context(), world.UserToken{Refresh: world.NewSecret(refresh)}); !errors.Is(err, world.ErrNotOurs) {
			t.Errorf("%.20q: %v", refresh, err)
		}
	}
}

func TestAFailureToRefreshIsNotARefusalAndRepeatsNoToken(t *testing.T) {
	const canary = "ghr_canary000"
	for name, body := range map[string]struct {
		status int
		body   string
	}{
		"a wrong secret":   {200, `{"error":"incorrect_client_credentials","error_description":"of ghr_canary000"}`},
		"a broken GitHub":  {502, "<html>ghr_canary000</html>"},
		"no JSON":          {200, "access_token=ghr_canary000"},
		"an empty answer":  {200, `{}`},
		"no token":         {200, `{"access_token":"canary with blanks"}`},
		"a limit":          {429, `{"message":"ghr_canary000"}`},
		"another redirect": {302, "ghr_canary000"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			c := f.signing()
			f.Order(sandbox.Fault{Path: "/login/oauth/access_token", When: sandbox.Answer, Status: body.status, Body: body.body})
			got, err := c.Refresh(t.Context(), world.UserToken{Refresh: world.NewSecret(canary)})
			if err == nil || errors.Is(err, world.ErrNotOurs) || !got.Access.Empty() || strings.Contains(fmt.Sprintf("%v %+v %#v", err, got, err), "canary") {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestARevokedTokenProvesNobodyAtOnce(t *testing.T) {
	f := newForge(t)
	c := f.signing()
	left := f.left("alice")
	_, err := c.User(t.Context(), left.Access) // the proof is good for a minute
	must(t, err)
	must(t, c.Revoke(t.Context(), left.Access))
	if f.TokenLives(left.Access.Reveal()) {
		t.Error("GitHub still takes it")
	}
	f.ResetCalls()
	if who, err := c.User(t.Context(), left.Access); !errors.Is(err, ErrNotOurToken) || !errors.Is(err, world.ErrNotOurs) || who.ID != 0 {
		t.Errorf("it proves %v, %v", who, err)
	}
	if who, ok := c.Recent(left.Access); ok || who.ID != 0 {
		t.Errorf("it proves %v, to end access", who)
	}
	// A proof that was under way while it was revoked comes too late.
	c.proved.put(sha256.Sum256([]byte(left.Access.Reveal())), proof{who: person("alice"), at: noon})
	if _, err := c.User(t.Context(), left.Access); !errors.Is(err, ErrNotOurToken) {
		t.Errorf("a late proof counts: %v", err)
	}
	must(t, c.Revoke(t.Context(), left.Access)) // it has ended already
	f.clock.Advance(2 * proofLife)
	if _, err := c.User(t.Context(), left.Access); !errors.Is(err, ErrNotOurToken) {
		t.Errorf("later: %v", err)
	}
}

func TestATokenThatCouldNotBeRevokedIsNotSaidToBe(t *testing.T) {
	f := newForge(t)
	c := f.signing()
	left := f.left("alice")
	for _, fault := range []sandbox.Fault{{When: sandbox.Before}, {When: sandbox.Answer, Status: 500}, {When: sandbox.Answer, Status: 401}} {
		fault.Method, fault.Path = "DELETE", "/applications/"
		f.Order(fault)
		if err := c.Revoke(t.Context(), left.Access); err == nil || strings.Contains(err.Error(), left.Access.Reveal()) {
			t.Errorf("%+v: %v", fault, err)
		}
	}
	if _, err := c.User(t.Context(), left.Access); err != nil {
		t.Errorf("it was forgotten nevertheless: %v", err)
	}
	if err := c.Revoke(t.Context(), world.NewSecret("ghp_0123")); !errors.Is(err, world.ErrNotOurs) {
		t.Errorf("a foreign token: %v", err)
	}
}
