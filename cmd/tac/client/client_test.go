package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// rig is a client, what its server was asked, and how long it waited.
type rig struct {
	*Client
	mu     sync.Mutex
	asked  []asked
	waited []time.Duration
	// answer is called for each request, with its number from 1.
	answer func(w http.ResponseWriter, r *http.Request, n int)
}

type asked struct{ method, path, token, key, body string }

func newRig(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) *rig {
	t.Helper()
	g := &rig{answer: answer}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	g.Client = &Client{
		Server: Server(s.URL), Store: Store{Dir: filepath.Join(t.TempDir(), "tac")},
		Now:   func() time.Time { return noon },
		Sleep: func(_ context.Context, d time.Duration) error { g.waited = append(g.waited, d); return nil },
	}
	return g
}

func (g *rig) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	g.asked = append(g.asked, asked{r.Method, r.URL.Path, r.Header.Get("Authorization"), r.Header.Get("Idempotency-Key"), string(body)})
	n := len(g.asked)
	g.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	g.answer(w, r, n)
}

// loggedIn signs the client in, with a token that ends in eight hours.
func (g *rig) loggedIn(t *testing.T) *rig {
	t.Helper()
	err := g.Store.Save(Login{
		Server: g.Server, ClientID: "Iv1.test", GitHubURL: string(g.Server),
		Access: world.NewSecret("ghu_first"), AccessUntil: noon.Add(8 * time.Hour), Refresh: world.NewSecret("ghr_first"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	reply(w, status, map[string]string{"code": code, "message": message})
}

// lossy loses the answers, not the requests, while lose is positive.
type lossy struct{ lose int }

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && l.lose > 0 {
		l.lose--
		_ = answer.Body.Close()
		return nil, errors.New("connection reset by peer")
	}
	return answer, err
}

func accepted(w http.ResponseWriter, _ *http.Request, _ int) {
	reply(w, http.StatusAccepted, map[string]any{"id": "20261122-k3v9q2m4tz", "existing": false})
}

func TestALostAnswerIsAskedForAgainWithTheSameKey(t *testing.T) {
	g := newRig(t, accepted).loggedIn(t)
	g.HTTP = &lossy{lose: 2}
	answer, err := g.Request(t.Context(), Ask{Resource: "postgres-prod", Duration: "2h"}, "cli-one")
	if err != nil || answer.ID != "20261122-k3v9q2m4tz" {
		t.Fatalf("answer %+v, error %v", answer, err)
	}
	if len(g.asked) != 3 {
		t.Fatalf("asked %d times, want 3", len(g.asked))
	}
	for _, a := range g.asked {
		if a.key != "cli-one" || a.body != g.asked[0].body || a.token != "Bearer ghu_first" {
			t.Errorf("a try differs: %+v", a)
		}
	}
}

func TestABusyServerIsAskedAgainAndAnUnreachableOneGivenUp(t *testing.T) {
	busy := newRig(t, func(w http.ResponseWriter, r *http.Request, n int) {
		if n < 3 {
			refuse(w, http.StatusServiceUnavailable, "unavailable", "Vault does not answer")
			return
		}
		accepted(w, r, n)
	}).loggedIn(t)
	if _, err := busy.Request(t.Context(), Ask{}, "k"); err != nil || len(busy.asked) != 3 {
		t.Errorf("error %v after %d tries", err, len(busy.asked))
	}
	lost := newRig(t, accepted).loggedIn(t)
	lost.HTTP = &lossy{lose: 100}
	_, err := lost.Request(t.Context(), Ask{}, "k")
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || len(lost.asked) != tries || !IsPassing(err) {
		t.Errorf("error %v after %d tries", err, len(lost.asked))
	}
}

// TestAHoldIsToldAtOnceAndPasses: people mend it, which takes longer than any
// pause between two tries.
func TestAHoldIsToldAtOnceAndPasses(t *testing.T) {
	g := newRig(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		refuse(w, http.StatusServiceUnavailable, "held", "the set-up is wrong")
	}).loggedIn(t)
	_, err := g.Request(t.Context(), Ask{}, "k")
	if !IsPassing(err) || err.Error() != "the set-up is wrong" || len(g.asked) != 1 {
		t.Errorf("error %v after %d tries", err, len(g.asked))
	}
}

func TestARefusalIsNotRepeatedAndKeepsItsWords(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		body    string
		code    string
		message string
	}{
		{"denied", 403, `{"code":"denied","message":"2h is over the 1h","decision":{"decision":"deny","rule":"r"}}`, "denied", "2h is over the 1h"},
		{"not logged in", 401, `{"code":"unauthenticated","message":"this token has expired; run ` + "`tac login`" + `"}`, "unauthenticated", "run `tac login`"},
		{"a proxy's page", 502, `<html>Bad gateway</html>`, "unavailable", "not in tac's own words"},
		{"another server", 200, `<html>Hello</html>`, "internal", "is the address right?"},
		{"an id that is a path", 202, `{"id":"../../etc"}`, "", "../../etc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				if r.URL.Path == "/login/oauth/access_token" {
					reply(w, 200, map[string]string{"error": "bad_refresh_token"})
					return
				}
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			}).loggedIn(t)
			_, err := g.Request(t.Context(), Ask{}, "k")
			if err == nil || !strings.Contains(err.Error(), tt.message) {
				t.Fatalf("error %v, want %q in it", err, tt.message)
			}
			var refusal *Error
			if errors.As(err, &refusal) && refusal.Code != tt.code {
				t.Errorf("code %q, want %q", refusal.Code, tt.code)
			}
			if tt.code == "denied" && (refusal.Decision == nil || refusal.Decision.Decision != "deny") {
				t.Errorf("the decision is lost: %+v", refusal)
			}
		})
	}
}

func TestATokenGoesToItsOwnServerOnly(t *testing.T) {
	t.Setenv("GITHUB_TOKEN", "ghp_of_the_environment")
	t.Setenv("GH_TOKEN", "gho_of_the_environment")
	elsewhere := newRig(t, accepted)
	home := newRig(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		http.Redirect(w, r, string(elsewhere.Server)+r.URL.Path, http.StatusTemporaryRedirect)
	}).loggedIn(t)
	if _, err := home.Request(t.Context(), Ask{}, "k"); err == nil || !strings.Contains(err.Error(), "redirects to") {
		t.Errorf("a redirect ends with %v", err)
	}
	// The same store, another server: nothing is sent at all, also not what
	// the environment holds.
	elsewhere.Store = home.Store
	_, err := elsewhere.List(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "not logged in") || !strings.Contains(err.Error(), "tac login") {
		t.Errorf("another server ends with %v", err)
	}
	if len(elsewhere.asked) != 0 {
		t.Errorf("the other server saw %+v", elsewhere.asked)
	}
}

func TestAddressesThatTokensMayGoTo(t *testing.T) {
	tests := []struct{ in, out, wrong string }{
		{in: "https://tac.acme.test", out: "https://tac.acme.test"},
		{in: "https://TAC.acme.test:8443/", out: "https://tac.acme.test:8443"},
		{in: "http://127.0.0.1:8080", out: "http://127.0.0.1:8080"},
		{in: "http://[::1]:8080", out: "http://[::1]:8080"},
		{in: "http://localhost:8080", out: "http://localhost:8080"},
		{in: "http://tac.acme.test", wrong: "write https://tac.acme.test"},
		{in: "http://127.0.0.1.acme.test", wrong: "not encrypted"},
		{in: "tac.acme.test", wrong: "https://tac.example.com"},
		{in: "https://me:secret@tac.acme.test", wrong: "password"},
		{in: "https://tac.acme.test/api/v1", wrong: "write https://tac.acme.test"},
		{in: "ftp://tac.acme.test", wrong: "https://tac.acme.test"},
		{in: " ", wrong: "empty"},
	}
	for _, tt := range tests {
		got, err := ParseServer(tt.in)
		if string(got) != tt.out || (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%q gives %q, %v; want %q, %q", tt.in, got, err, tt.out, tt.wrong)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the message repeats a password", tt.in)
		}
	}
}

func TestFilesAreForTheirOwnerAlone(t *testing.T) {
	g := newRig(t, accepted).loggedIn(t)
	file := g.Store.loginFile(g.Server)
	for path, want := range map[string]os.FileMode{file: 0o600, filepath.Dir(file): 0o700, g.Store.Dir: 0o700} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, error %v, want %v", path, info.Mode().Perm(), err, want)
		}
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	_, err := g.List(t.Context(), false)
	if err == nil || !strings.Contains(err.Error(), "chmod 600 "+file) || len(g.asked) != 0 {
		t.Errorf("a login that others can read ends with %v; the server saw %d calls", err, len(g.asked))
	}
}
