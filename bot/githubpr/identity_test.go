package githubpr

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

func TestOnlyOurOwnUserTokensProveAnybody(t *testing.T) {
	f := newForge(t)
	c := f.client()
	ours, err := f.UserToken("alice", f.app)
	must(t, err)
	who, err := c.User(t.Context(), world.NewSecret(ours))
	if err != nil || who != person("alice") {
		t.Errorf("our own token: %v, %v", who, err)
	}

	other, err := f.AddApp("other", 4712)
	must(t, err)
	theirs, err := f.UserToken("alice", other)
	must(t, err)
	pat, err := f.PAT("alice")
	must(t, err)
	installation, err := c.Token(t.Context())
	must(t, err)
	f.ResetCalls()
	shown := 0
	for name, token := range map[string]string{
		"another app's": theirs, "a PAT": pat, "a fine-grained PAT": "github_pat_11AAAAAAA0", "an OAuth app's": "gho_16C7e42F292c6912E7",
		"an installation's": installation.Reveal(), "one made up": "ghu_0123456789", "none": "", "a JWT": "eyJh.eyJp.c2ln",
		"one with a line break": "ghu_0123\r\nX: y", "a huge one": "ghu_" + strings.Repeat("a", 1<<16),
	} {
		if who, err := c.User(t.Context(), world.NewSecret(token)); !errors.Is(err, ErrNotOurToken) || who != (grants.Principal{}) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
		if strings.HasPrefix(token, "ghu_") && len(token) < 100 && !strings.Contains(token, "\n") {
			shown++
		}
	}
	if n := f.count("POST", "/applications/"); n != shown {
		t.Errorf("GitHub was shown %d tokens, of which %d could have been ours", n, shown)
	}
	if !strings.Contains(ErrNotOurToken.Error(), "`tac login`") {
		t.Errorf("%q does not say what to do", ErrNotOurToken)
	}
}

func TestAFailureToAskIsNotARefusal(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"no answer":            {Path: "/applications/", When: sandbox.Before},
		"a broken GitHub":      {Path: "/applications/", When: sandbox.Answer, Status: 500},
		"a wrong secret":       {Path: "/applications/", When: sandbox.Answer, Status: 401},
		"the limit is used up": {Path: "/applications/", When: sandbox.Answer, Status: 429},
		"an empty answer about our app": {Path: "/applications/", When: sandbox.Answer, Status: 200,
			Body: `{"app":{"client_id":"CLIENT"},"user":null}`},
		"a bot": {Path: "/applications/", When: sandbox.Answer, Status: 200,
			Body: `{"app":{"client_id":"CLIENT"},"user":{"id":5,"login":"b","type":"Bot"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			token, err := f.UserToken("alice", f.app)
			must(t, err)
			fault.Body = strings.ReplaceAll(fault.Body, "CLIENT", f.app.ClientID)
			f.Order(fault)
			who, err := f.client().User(t.Context(), world.NewSecret(token))
			if err == nil || errors.Is(err, ErrNotOurToken) || who.ID != 0 {
				t.Errorf("got %v, %v", who, err)
			}
		})
	}
}

func TestAnAnswerAboutAnotherAppIsARefusal(t *testing.T) {
	f := newForge(t)
	token, err := f.UserToken("alice", f.app)
	must(t, err)
	for _, app := range []string{`{"client_id":"Iv1.other"}`, `{}`, `null`} {
		f.Order(sandbox.Fault{Path: "/applications/", When: sandbox.Answer, Status: 200,
			Body: `{"app":` + app + `,"user":{"id":1001,"login":"alice","type":"User"}}`})
		if who, err := f.client().User(t.Context(), world.NewSecret(token)); !errors.Is(err, ErrNotOurToken) {
			t.Errorf("%s: %v, %v", app, who, err)
		}
	}
}

func TestAProofLastsAMinute(t *testing.T) {
	f := newForge(t)
	c := f.client()
	text, err := f.UserToken("alice", f.app)
	must(t, err)
	token := world.NewSecret(text)
	asked := func(wait time.Duration) int {
		t.Helper()
		f.clock.Advance(wait)
		before := f.count("POST", "/applications/")
		_, err := c.User(t.Context(), token)
		must(t, err)
		return f.count("POST", "/applications/") - before
	}
	if n := asked(0); n != 1 {
		t.Errorf("at first: asked %d times", n)
	}
	if n := asked(proofLife - time.Second); n != 0 {
		t.Errorf("within the minute: asked %d times", n)
	}
	if n := asked(time.Second); n != 1 {
		t.Errorf("after it: asked %d times", n)
	}
	if n := asked(-time.Hour); n != 1 {
		t.Errorf("after the clock was set back: asked %d times", n)
	}
}

func TestAUsedUpInstallationDoesNotKeepPeopleOut(t *testing.T) {
	f := newForge(t)
	c := f.client()
	token, err := f.UserToken("alice", f.app)
	must(t, err)
	f.Order(sandbox.Fault{Path: "/repos/", When: sandbox.Answer, Status: 429})
	var limited *RateLimited
	if _, err := c.Pull(t.Context(), 1); !errors.As(err, &limited) {
		t.Fatalf("got %v", err)
	}
	if _, err := c.User(t.Context(), world.NewSecret(token)); err != nil {
		t.Errorf("got %v", err)
	}
}
