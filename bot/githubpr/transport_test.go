package githubpr

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	fake "github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

func TestAUsedUpLimitIsKeptTo(t *testing.T) {
	inTen := strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10)
	headers := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	const secondary = `{"message":"You have exceeded a secondary rate limit.","documentation_url":"https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"}`
	tests := map[string]struct {
		fault sandbox.Fault
		wait  time.Duration // zero: no limit at all
	}{
		"secondary, and it says how long":    {sandbox.Fault{Status: 403, Header: headers("Retry-After", "42"), Body: secondary}, 42 * time.Second},
		"secondary, and it does not":         {sandbox.Fault{Status: 403, Body: secondary}, time.Minute},
		"429 with retry-after":               {sandbox.Fault{Status: 429, Header: headers("Retry-After", "7")}, 7 * time.Second},
		"429 alone":                          {sandbox.Fault{Status: 429}, time.Minute},
		"429 with nonsense":                  {sandbox.Fault{Status: 429, Header: headers("Retry-After", "soon")}, time.Minute},
		"429 that asks for a year":           {sandbox.Fault{Status: 429, Header: headers("Retry-After", "31536000")}, mostWait},
		"primary":                            {sandbox.Fault{Status: 403, Header: headers("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", inTen)}, 10 * time.Minute},
		"a right that we do not have":        {sandbox.Fault{Status: 403, Body: `{"message":"Resource not accessible by integration"}`}, 0},
		"a 404 as the last call that we had": {sandbox.Fault{Status: 404, Header: headers("X-RateLimit-Remaining", "0")}, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			c := f.client()
			f.pull("mine")
			test.fault.Path, test.fault.When = "/pulls/1", sandbox.Answer
			f.Order(test.fault)
			_, err := c.Pull(t.Context(), 1)
			var limited *RateLimited
			if errors.As(err, &limited) != (test.wait > 0) || err == nil {
				t.Fatalf("got %v", err)
			}
			if test.wait == 0 {
				return
			}
			// The reset of a primary limit is told by the wall clock.
			if late := noon.Add(test.wait).Sub(limited.Until); late < 0 || late > 5*time.Second {
				t.Errorf("wait until %v, want %v", limited.Until, noon.Add(test.wait))
			}
			f.ResetCalls()
			f.clock.Advance(limited.Until.Sub(noon) - time.Millisecond)
			for _, try := range []func() error{
				func() error { _, err := c.Pull(t.Context(), 1); return err },
				func() error { return c.Describe(t.Context(), 1, "body") },
				func() error { _, err := c.Team(t.Context(), policies.TeamRef{Org: "acme", Slug: "t"}); return err },
			} {
				if err := try(); !errors.As(err, &limited) {
					t.Errorf("before the time: %v", err)
				}
			}
			if n := len(f.Calls()); n != 0 {
				t.Errorf("sent %d calls while GitHub wants none", n)
			}
			f.clock.Advance(time.Millisecond)
			if _, err := c.Pull(t.Context(), 1); err != nil {
				t.Errorf("after the time: %v", err)
			}
		})
	}
}

func TestTheContentLimitOfARealCreation(t *testing.T) {
	f := newForge(t)
	c := f.client()
	f.push("a")
	f.push("b")
	f.LimitContent(1)
	_, err := c.Open(t.Context(), world.NewPull{Branch: "a", Title: "a"})
	must(t, err)
	f.clock.Advance(20 * time.Second)
	_, err = c.Open(t.Context(), world.NewPull{Branch: "b", Title: "b"})
	var limited *RateLimited
	if !errors.As(err, &limited) || !limited.Until.Equal(noon.Add(time.Minute)) || errors.Is(err, world.ErrAmbiguous) {
		t.Errorf("got %v", err)
	}
	f.clock.Advance(40 * time.Second)
	_, err = c.Open(t.Context(), world.NewPull{Branch: "b", Title: "b"})
	must(t, err)
}

func TestATokenThatGitHubGaveUpIsReplaced(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, head := f.pull("mine")
	_, err := c.Pull(t.Context(), number)
	must(t, err)
	f.ExpireTokens()
	if _, err := c.Pull(t.Context(), number); err != nil {
		t.Errorf("a read: %v", err)
	}
	f.ExpireTokens()
	if err := c.Describe(t.Context(), number, "b"); err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("a write is not repeated by itself: %v", err)
	}
	if _, err := c.Merge(t.Context(), number, head, "s", "m"); err != nil {
		t.Errorf("the write after it: %v", err)
	}
}

func TestTheTokenIsGoodForOneRepositoryOnly(t *testing.T) {
	f := newForge(t)
	_, err := f.AddRepo("acme", "secrets", "main")
	must(t, err)
	f.app.Permissions["administration"] = "read" // more than it should have
	f.on, err = f.Install(f.app, "acme", 78)
	must(t, err)
	token, err := f.client().Token(t.Context())
	must(t, err)
	status := func(path string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.URL()+path, nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		return resp.StatusCode
	}
	if s := status("/repos/acme/grants"); s != 200 {
		t.Errorf("our own repository: %d", s)
	}
	if s := status("/repos/acme/secrets"); s != 404 {
		t.Errorf("another repository: %d", s)
	}
	if s := status("/repos/acme/grants/actions/permissions/workflow"); s != 403 {
		t.Errorf("a right that the App has and the bot does not need: %d", s)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(trap.Close)
	f := newForge(t)
	c := f.client()
	number, head := f.pull("mine")
	for _, status := range []int{301, 302, 307, 308} {
		f.Order(sandbox.Fault{Path: "/pulls", When: sandbox.Answer, Status: status, Header: http.Header{"Location": {trap.URL}}, Times: 2})
		if _, err := c.Pull(t.Context(), number); err == nil {
			t.Errorf("%d: read from elsewhere", status)
		}
		if err := c.Describe(t.Context(), number, "b"); err == nil {
			t.Errorf("%d: wrote elsewhere", status)
		}
		f.Order(sandbox.Fault{Method: "PUT", Path: "/merge", When: sandbox.Answer, Status: status, Header: http.Header{"Location": {trap.URL}}})
		if commit, err := c.Merge(t.Context(), number, head, "s", "m"); err == nil {
			t.Errorf("%d: merged %s", status, commit)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d calls went elsewhere", n)
	}
}

func TestSkewIsReadFromEveryAnswer(t *testing.T) {
	f := newForge(t)
	cfg := f.config()
	slow := 90 * time.Second
	cfg.Now = func() time.Time { return f.clock.Now().Add(-slow) }
	c, err := New(cfg)
	must(t, err)
	if ahead, known := c.Skew(); known {
		t.Errorf("before the first answer: %v", ahead)
	}
	_, err = c.Pull(t.Context(), 1)
	if err == nil {
		t.Fatal("there is no pull request")
	}
	if ahead, known := c.Skew(); !known || ahead != slow {
		t.Errorf("got %v, %v", ahead, known)
	}
	slow = -slow
	_, _, err = c.Members(t.Context())
	must(t, err)
	if ahead, _ := c.Skew(); ahead != slow {
		t.Errorf("got %v", ahead)
	}
}

func TestAnEndedContextIsTold(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, head := f.pull("mine")
	_, err := c.Pull(t.Context(), number)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	f.Order(sandbox.Fault{Method: "PUT", When: sandbox.LostReply, Do: func(*http.Request) { cancel() }})
	_, err = c.Merge(ctx, number, head, "s", "m")
	if !errors.Is(err, context.Canceled) || !errors.Is(err, world.ErrAmbiguous) {
		t.Errorf("got %v", err)
	}
}

func TestAnInstallationElsewhereIsNotUsed(t *testing.T) {
	f := newForge(t)
	f.AddOrg("globex")
	on, err := f.Install(f.app, "globex", 80)
	must(t, err)
	cfg := f.config()
	cfg.InstallationID = on.ID
	c, err := New(cfg)
	must(t, err)
	_, err = c.Pull(t.Context(), 1)
	if err == nil || !strings.Contains(err.Error(), `"globex"`) || f.count("POST", "/access_tokens") != 0 {
		t.Errorf("got %v", err)
	}
}

func TestKeptPagesAreBounded(t *testing.T) {
	e := newETags(nil)
	for i := range 3 * maxPages {
		e.keep(strconv.Itoa(i), page{tag: "t", body: make([]byte, 100<<10)})
		e.keep(strconv.Itoa(i), page{tag: "t", body: make([]byte, 64<<10)})
	}
	e.keep("huge", page{body: make([]byte, maxPageBytes)})
	sum := 0
	for _, p := range e.pages {
		sum += len(p.body)
	}
	if len(e.pages) > maxPages || sum != e.bytes || sum > maxPageBytes || len(e.pages) < 100 {
		t.Errorf("%d pages of %d bytes, counted as %d", len(e.pages), sum, e.bytes)
	}
}

func TestABadConfigurationStopsTheStart(t *testing.T) {
	f := newForge(t)
	for name, spoil := range map[string]func(*Config){
		"no key":               func(c *Config) { c.PrivateKey = world.Secret{} },
		"a key that is none":   func(c *Config) { c.PrivateKey = world.NewSecret("canary") },
		"a path for a name":    func(c *Config) { c.Repo = "../other" },
		"no branch":            func(c *Config) { c.Branch = "" },
		"a password in a URL":  func(c *Config) { c.APIURL = "https://u:canary@api.github.com" },
		"no scheme":            func(c *Config) { c.APIURL = "api.github.com" },
		"no clock":             func(c *Config) { c.Now = nil },
		"no installation":      func(c *Config) { c.InstallationID = 0 },
		"a path for client id": func(c *Config) { c.ClientID = "a/b" },
	} {
		cfg := f.config()
		spoil(&cfg)
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestErrorsHoldNoSecrets makes every call fail in many ways, against a
// GitHub that echoes what it was sent, and reads all that the errors hold.
func TestErrorsHoldNoSecrets(t *testing.T) {
	f := newForge(t)
	number, head := f.pull("mine")
	userToken, err := f.UserToken("alice", f.app)
	must(t, err)
	broken := map[string]func(http.ResponseWriter, *http.Request){
		"echo":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500); echo(w, r) },
		"limit": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429); echo(w, r) },
		"no":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(422); echo(w, r) },
		"cut":   func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"junk":  func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Header.Get("Authorization")) },
	}
	for name, answer := range broken {
		for _, tokens := range []bool{true, false} { // whether a token can be had
			t.Run(fmt.Sprintf("%s/%t", name, tokens), func(t *testing.T) {
				basic := base64.StdEncoding.EncodeToString([]byte(f.app.ClientID + ":" + f.app.ClientSecret))
				secrets := []string{f.app.ClientSecret, basic, userToken, "BEGIN RSA", "eyJ", "ghs_", "ghu_"}
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if tokens && strings.HasPrefix(r.URL.Path, "/app") && !strings.HasPrefix(r.URL.Path, "/applications") {
						fmt.Fprintf(w, `{"token":"ghs_4711_eyJhbGciOi.eyJpc3Mi.c2lnbmF0dXJl","expires_at":%q,"account":{"login":"acme"},"target_type":"Organization","slug":"tac"}`,
							time.Now().Add(time.Hour).Format(time.RFC3339))
						return
					}
					answer(w, r)
				}))
				t.Cleanup(server.Close)
				cfg := f.config()
				cfg.APIURL = server.URL
				for call, err := range everyCall(t, cfg, number, head, userToken) {
					if err == nil {
						t.Errorf("%s did not fail", call)
						continue
					}
					for _, secret := range secrets {
						if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) {
							t.Errorf("%s shows %q: %s", call, secret, text)
						}
					}
					checkOurs(t, call, err)
				}
			})
		}
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	_, password, _ := r.BasicAuth()
	fmt.Fprintf(w, `{"message":%q}`, r.Header.Get("Authorization")+" "+password)
}

// everyCall makes each call with a client of its own and returns how it
// failed.
func everyCall(t *testing.T, cfg Config, number int, head, userToken string) map[string]error {
	ctx := t.Context()
	calls := map[string]func(*Client) error{
		"Bot":        func(c *Client) error { _, err := c.Bot(ctx); return err },
		"OpenPulls":  func(c *Client) error { _, err := c.OpenPulls(ctx); return err },
		"Pull":       func(c *Client) error { _, err := c.Pull(ctx, number); return err },
		"Reviews":    func(c *Client) error { _, err := c.Reviews(ctx, number); return err },
		"Committers": func(c *Client) error { _, err := c.Committers(ctx, number); return err },
		"Open":       func(c *Client) error { _, err := c.Open(ctx, world.NewPull{Branch: "b", Title: "t"}); return err },
		"Describe":   func(c *Client) error { return c.Describe(ctx, number, "b") },
		"Check":      func(c *Client) error { _, err := c.Check(ctx, 0, world.Check{Head: head}); return err },
		"Merge":      func(c *Client) error { _, err := c.Merge(ctx, number, head, "s", "m"); return err },
		"Close":      func(c *Client) error { return c.Close(ctx, number, "why") },
		"Team":       func(c *Client) error { _, err := c.Team(ctx, policies.TeamRef{Org: "acme", Slug: "t"}); return err },
		"User":       func(c *Client) error { _, err := c.User(ctx, world.NewSecret(userToken)); return err },
	}
	failures := map[string]error{}
	for name, call := range calls {
		c, err := New(cfg)
		must(t, err)
		err = call(c)
		if errors.Is(err, ErrNotOurToken) {
			err = ErrNotOurToken
		}
		failures[name] = err
	}
	return failures
}

// checkOurs walks an error down: no type of a library may be in it, since
// those hold whole requests.
func checkOurs(t *testing.T, call string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	of := reflect.TypeOf(err)
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if path := of.PkgPath(); strings.Contains(path, "google/go-github") || strings.Contains(path, "ghinstallation") || strings.HasPrefix(path, "net/") {
		t.Errorf("%s leaks a %v", call, reflect.TypeOf(err))
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		checkOurs(t, call, e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			checkOurs(t, call, inner)
		}
	}
}

func TestOneGrantCostsTwoCalls(t *testing.T) {
	f := newForge(t)
	c := f.client()
	_, err := c.Bot(t.Context()) // and with it the token
	must(t, err)
	f.push("grant/x")
	f.ResetCalls()
	p, err := c.Open(t.Context(), world.NewPull{Branch: "grant/x", Title: "x"})
	must(t, err)
	_, err = c.Merge(t.Context(), p.Number, p.Head, "x", "m")
	must(t, err)
	if got, want := f.Counts(), (fake.Counts{REST: 2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
