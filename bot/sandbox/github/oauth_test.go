package github_test

import (
	"net/http"
	"net/url"
	"testing"

	api "github.com/google/go-github/v60/github"
	"golang.org/x/oauth2"
)

// traded is what the token endpoint makes of a refresh token.
func (w *world) traded(refresh, secret string) map[string]any {
	form := url.Values{"client_id": {w.app.ClientID}, "grant_type": {"refresh_token"}, "refresh_token": {refresh}}
	if secret != "" {
		form.Set("client_secret", secret)
	}
	return w.oauth("/login/oauth/access_token", form)
}

const testVerifier = "a-verifier-of-this-test-that-is-long-enough-for-s256"

// browse signs in on the web as login and returns what comes back.
func (w *world) browse(login string) url.Values {
	w.t.Helper()
	page := w.oauthConfig().AuthCodeURL("state", oauth2.S256ChallengeOption(testVerifier))
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := browser.PostForm(page, url.Values{"login": {login}, "choice": {"allow"}})
	must(w.t, err)
	must(w.t, res.Body.Close())
	back, err := res.Location()
	must(w.t, err)
	return back.Query()
}

func TestARefreshTokenIsGoodOnceAndEndsTheOldPair(t *testing.T) {
	w := newWorld(t)
	access, refresh, err := w.UserTokens("alice", w.app)
	must(t, err)
	first := w.traded(refresh, "")
	if first["error"] != nil || first["access_token"] == access || first["refresh_token"] == refresh {
		t.Fatalf("traded for %v", first)
	}
	if again := w.traded(refresh, ""); again["error"] != "bad_refresh_token" {
		t.Errorf("a second time: %v", again)
	}
	if w.TokenLives(access) || w.TokenLives(refresh) || !w.TokenLives(first["access_token"].(string)) {
		t.Error("the old pair lives, or the new token does not")
	}
	if wrong := w.traded(first["refresh_token"].(string), "wrong"); wrong["error"] != "incorrect_client_credentials" {
		t.Errorf("with a wrong secret: %v", wrong)
	}
	if right := w.traded(first["refresh_token"].(string), w.app.ClientSecret); right["error"] != nil {
		t.Errorf("with the secret: %v", right)
	}
	w.ExpireUserTokens("alice")
	if n := w.LiveUserTokens("alice"); n != 0 {
		t.Errorf("%d tokens live after eight hours", n)
	}
}

func TestTheWebSignInsRefreshTokenNeedsTheSecret(t *testing.T) {
	w := newWorld(t)
	back := w.browse("alice")
	token, err := w.oauthConfig().Exchange(ctx, back.Get("code"), oauth2.VerifierOption(testVerifier))
	must(t, err)
	if out := w.traded(token.RefreshToken, ""); out["error"] != "incorrect_client_credentials" {
		t.Errorf("without the secret: %v", out)
	}
	if out := w.traded(token.RefreshToken, w.app.ClientSecret); out["error"] != nil {
		t.Errorf("with it: %v", out)
	}
}

func TestRevokingATokenEndsThatOneAndRevokingTheGrantEndsAll(t *testing.T) {
	w := newWorld(t)
	basic := &api.BasicAuthTransport{Username: w.app.ClientID, Password: w.app.ClientSecret}
	auth := w.client(basic.Client()).Authorizations
	one, refresh, err := w.UserTokens("alice", w.app)
	must(t, err)
	two := get[string](t)(w.UserToken("alice", w.app))
	bobs := get[string](t)(w.UserToken("bob", w.app))
	_, err = auth.Revoke(ctx, w.app.ClientID, one)
	must(t, err)
	if w.TokenLives(one) || !w.TokenLives(two) || !w.TokenLives(refresh) {
		t.Error("revoking one token ended another, or none")
	}
	_, err = auth.Revoke(ctx, w.app.ClientID, one)
	status(t, err, 404, "Not Found")
	_, err = auth.DeleteGrant(ctx, w.app.ClientID, two)
	must(t, err)
	if w.TokenLives(two) || w.TokenLives(refresh) || !w.TokenLives(bobs) {
		t.Error("the grant left something, or took somebody else's")
	}
}
