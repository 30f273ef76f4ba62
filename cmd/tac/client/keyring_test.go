package client

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/tigeraccess/tac/grants/world"
)

// drawer is a Keyring of the test's own.
type drawer struct {
	mu      sync.Mutex
	secrets map[string]string
	err     error // of every call
	deaf    bool  // Set says yes and does nothing
}

func (d *drawer) Get(name string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return "", d.err
	}
	if secret, ok := d.secrets[name]; ok {
		return secret, nil
	}
	return "", ErrNoSecret
}

func (d *drawer) Set(name, secret string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && !d.deaf {
		if d.secrets == nil {
			d.secrets = map[string]string{}
		}
		d.secrets[name] = secret
	}
	return d.err
}

func (d *drawer) Delete(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		delete(d.secrets, name)
	}
	return d.err
}

// fileOf returns login.json as it stands on disk.
func (g *rig) fileOf(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(g.Store.loginFile(g.Server))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestTokensAreInTheKeyringAndTheFileSaysTheRest(t *testing.T) {
	keyring.MockInit()
	g := newRig(t, forge("", pair("new")))
	g.Store.Keyring = &systemKeyring{patience: time.Minute, here: func() bool { return true }}
	l, err := g.Login(t.Context(), func(Prompt) {})
	if err != nil || l.Kept != InKeyring {
		t.Fatalf("kept in %q, error %v", l.Kept, err)
	}
	file := g.fileOf(t)
	if strings.Contains(file, "ghu_") || strings.Contains(file, "ghr_") || !strings.Contains(file, `"github": "alice"`) {
		t.Errorf("the file is %s", file)
	}
	got, ok, err := g.Store.Login(g.Server)
	if err != nil || !ok || got.Access.Reveal() != "ghu_new" || got.Refresh.Reveal() != "ghr_new" || !got.AccessUntil.Equal(noon.Add(8*time.Hour)) || got.Person != l.Person {
		t.Errorf("read back %+v, %v, %v", got, ok, err)
	}
	// Another folder is another sign-in, also in the same keyring.
	other := Store{Dir: t.TempDir(), Keyring: g.Store.Keyring}
	if _, err := other.Keyring.Get(other.secretName(g.Server)); !errors.Is(err, ErrNoSecret) {
		t.Errorf("another folder's: %v", err)
	}
	if was, err := g.Store.Forget(g.Server); !was || err != nil {
		t.Errorf("forgotten: %v, %v", was, err)
	}
	if _, err := keyring.Get(keyringService, g.Store.secretName(g.Server)); !errors.Is(err, keyring.ErrNotFound) {
		t.Errorf("after logout the keyring still has it: %v", err)
	}
}

func TestWithoutAKeyringTokensAreInTheFile(t *testing.T) {
	tests := []struct {
		name    string
		keyring Keyring
		kept    Place
		noted   bool
	}{
		{"it is not to be used", nil, InFile, false},
		{"there is none", &systemKeyring{here: func() bool { return false }}, InFileOnly, false},
		{"it refuses", &drawer{err: errors.New("locked")}, InFileOnly, false},
		{"it says yes and does nothing", &drawer{deaf: true}, InFileOnly, false},
		{"it does not answer", &drawer{err: ErrSilentKeyring}, InFileOnly, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, forge("", pair("second")))
			g.Store.Keyring = tt.keyring
			noted := ""
			g.Store.Note = func(s string) { noted += s }
			g.loggedIn(t)
			l, ok, err := g.Store.Login(g.Server)
			if err != nil || !ok || l.Kept != tt.kept || l.Access.Reveal() != "ghu_first" {
				t.Fatalf("kept in %q, %v, %v", l.Kept, ok, err)
			}
			if (noted != "") != tt.noted || strings.Contains(noted, "gh") {
				t.Errorf("noted %q", noted)
			}
			if got, err := g.token(t.Context()); err != nil || got.Reveal() != "ghu_first" {
				t.Errorf("the token: %v", err)
			}
			if was, err := g.Store.Forget(g.Server); !was || err != nil {
				t.Errorf("logout: %v, %v", was, err)
			}
		})
	}
}

func TestAKeyringThatHangsIsWaitedForOnce(t *testing.T) {
	k := &systemKeyring{patience: 10 * time.Millisecond, here: func() bool { return true }}
	release := make(chan struct{})
	defer close(release)
	var calls atomic.Int32
	hang := func() (string, error) { calls.Add(1); <-release; return "", nil }
	for range 3 {
		if _, err := k.ask(hang); !errors.Is(err, ErrSilentKeyring) {
			t.Fatalf("got %v", err)
		}
	}
	if n := calls.Load(); n > 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestNoErrorOfTheKeyringRepeatsTheSecret(t *testing.T) {
	keyring.MockInitWithError(errors.New("cannot run: add-generic-password -w ghu_canary"))
	defer keyring.MockInit()
	k := &systemKeyring{patience: time.Minute, here: func() bool { return true }}
	if err := k.Set("name", "ghu_canary"); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}

func TestAFileOfBeforeMovesToTheKeyringSilently(t *testing.T) {
	g := newRig(t, accepted).loggedIn(t) // as a version without keyrings wrote it
	d := &drawer{}
	g.Store.Keyring = d
	g.Store.Note = func(s string) { t.Errorf("said %q", s) }
	for range 2 {
		if _, err := g.Request(t.Context(), Ask{}, "k"); err != nil {
			t.Fatal(err)
		}
	}
	if file := g.fileOf(t); strings.Contains(file, "gh") && strings.Contains(file, "ghu_first") || len(d.secrets) != 1 {
		t.Errorf("the file is %s, the keyring has %d", file, len(d.secrets))
	}
	for _, a := range g.asked {
		if a.token != "Bearer ghu_first" {
			t.Errorf("asked with %q", a.token)
		}
	}
}

func TestTokensInAKeyringThatCannotBeReadAreSaidToBeThere(t *testing.T) {
	g := newRig(t, accepted)
	d := &drawer{}
	g.Store.Keyring = d
	g.loggedIn(t)
	for name, now := range map[string]Keyring{"silent": &drawer{err: ErrSilentKeyring}, "not to be used": nil} {
		g.Store.Keyring = now
		if _, err := g.token(t.Context()); err == nil || !strings.Contains(err.Error(), "is in the keyring") || !strings.Contains(err.Error(), "tac login") {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.Store.Keyring = &drawer{} // somebody emptied it
	if _, err := g.token(t.Context()); err == nil || !strings.Contains(err.Error(), "not logged in") {
		t.Errorf("emptied: %v", err)
	}
	// Logging out deletes what it can and says what it cannot.
	g.Store.Keyring = nil
	if was, err := g.Store.Forget(g.Server); !was || err == nil || !strings.Contains(err.Error(), "stay in the keyring") {
		t.Errorf("logout: %v, %v", was, err)
	}
	if _, err := os.Stat(g.Store.folder(g.Server)); !os.IsNotExist(err) {
		t.Errorf("the folder: %v", err)
	}
}

// oneTime is a GitHub whose refresh tokens are good once, and a server that
// takes the newest access token only.
type oneTime struct {
	mu      sync.Mutex
	n       int
	refused int
	revoked []string
}

func (o *oneTime) answer(w http.ResponseWriter, r *http.Request, _ int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	generation := func(n int) string { return strings.Repeat("i", n+1) }
	switch r.URL.Path {
	case "/login/oauth/access_token":
		if r.FormValue("refresh_token") != "ghr_"+generation(o.n) || r.FormValue("client_secret") != "" {
			o.refused++
			reply(w, 200, map[string]any{"error": "bad_refresh_token"})
			return
		}
		o.n++
		reply(w, 200, pair(generation(o.n)))
	case "/api/v1/me/login":
		o.revoked = append(o.revoked, r.Method+" "+r.Header.Get("Authorization"))
		reply(w, 200, map[string]any{"revoked": true})
	default:
		accepted(w, r, 0)
	}
}

func TestTwoProcessesThatRefreshAtOnceBurnNoToken(t *testing.T) {
	for name, ring := range map[string]Keyring{"file": nil, "keyring": &drawer{}} {
		t.Run(name, func(t *testing.T) {
			o := &oneTime{}
			g := newRig(t, o.answer)
			g.Store.Keyring = ring
			err := g.Store.Save(Login{Server: g.Server, ClientID: "Iv1.test", GitHubURL: string(g.Server), Access: world.NewSecret("ghu_i"), AccessUntil: noon, Refresh: world.NewSecret("ghr_i")})
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 8 {
				process := *g.Client
				wg.Go(func() {
					if got, err := process.token(t.Context()); err != nil || got.Reveal() != "ghu_ii" {
						t.Errorf("got %q, %v", got.Reveal(), err)
					}
				})
			}
			wg.Wait()
			if o.n != 1 || o.refused != 0 {
				t.Errorf("refreshed %d times, refused %d times", o.n, o.refused)
			}
		})
	}
}

func TestLogoutRevokesWhatCannotBeRefreshedAnyMore(t *testing.T) {
	o := &oneTime{}
	g := newRig(t, o.answer)
	err := g.Store.Save(Login{Server: g.Server, ClientID: "Iv1.test", GitHubURL: string(g.Server), Access: world.NewSecret("ghu_i"), AccessUntil: noon.Add(time.Hour), Refresh: world.NewSecret("ghr_i")})
	if err != nil {
		t.Fatal(err)
	}
	out, err := g.Logout(t.Context())
	if err != nil || !out.Was || !out.Revoked || out.Kept != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	if o.n != 1 || len(o.revoked) != 1 || o.revoked[0] != "DELETE Bearer ghu_ii" {
		t.Errorf("traded %d times, revoked %q", o.n, o.revoked)
	}
	if out, err := g.Logout(t.Context()); err != nil || out.Was || out.Revoked {
		t.Errorf("again: %+v, %v", out, err)
	}
}

func TestLogoutDeletesAlsoWhereNothingCanBeRevoked(t *testing.T) {
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request, n int)
		http   http.RoundTripper
	}{
		{"an older server", func(w http.ResponseWriter, _ *http.Request, _ int) {
			refuse(w, 404, "not_found", "there is nothing at this address")
		}, nil},
		{"GitHub is down", func(w http.ResponseWriter, _ *http.Request, _ int) {
			refuse(w, 503, "unavailable", "GitHub does not revoke the token now; please try again")
		}, nil},
		{"no network", accepted, &lossy{lose: 1 << 20}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, tt.answer).loggedIn(t)
			g.HTTP = tt.http
			out, err := g.Logout(t.Context())
			if err != nil || !out.Was || out.Revoked || out.Kept == nil || strings.Contains(out.Kept.Error(), "gh") && strings.Contains(out.Kept.Error(), "_first") {
				t.Errorf("%+v, %v", out, err)
			}
			if _, ok, err := g.Store.Login(g.Server); ok || err != nil {
				t.Errorf("still there: %v, %v", ok, err)
			}
		})
	}
}

func TestATokenThatTheServerDoesNotKeepIsNotLeftAlive(t *testing.T) {
	answer := forge("", pair("left"), map[string]any{"error": "bad_refresh_token"})
	var ended []string
	g := newRig(t, func(w http.ResponseWriter, r *http.Request, n int) {
		switch r.URL.Path {
		case "/api/v1/me/token":
			refuse(w, 503, "unavailable", "Vault does not answer")
		case "/api/v1/me/login":
			ended = append(ended, r.Header.Get("Authorization"))
			reply(w, 200, map[string]any{"revoked": true})
		default:
			answer(w, r, n)
		}
	}).loggedIn(t)
	if _, err := g.LeaveToken(t.Context(), func(Prompt) {}); err == nil {
		t.Fatal("no error")
	}
	if len(ended) != 1 || ended[0] != "Bearer ghu_left" {
		t.Errorf("revoked %q", ended)
	}
	if l, _, err := g.Store.Login(g.Server); err != nil || l.Access.Reveal() != "ghu_first" {
		t.Errorf("the login here is %v, %v", l.Access.Reveal(), err)
	}
}
