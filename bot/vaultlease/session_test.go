package vaultlease_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

func (s *scene) count(path string) int {
	n := 0
	for _, c := range s.vault.Calls() {
		if strings.Contains(c.Path, path) {
			n++
		}
	}
	return n
}

func TestTheBotsTokenIsRenewedAndThenReplacedBeforeItEnds(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	read := func() {
		t.Helper()
		if _, err := a.Record(t.Context(), grantID); err != nil {
			t.Fatal(err)
		}
	}
	// A token of an hour is renewed when less than twenty minutes are left,
	// and replaced when the day that it may live is over.
	for range 100 {
		read()
		s.clock.Advance(41 * time.Minute)
	}
	logins, renewals := s.count("auth/approle/login"), s.count("auth/token/renew-self")
	if logins < 2 || logins > 5 || renewals < 90 {
		t.Errorf("%d logins, %d renewals", logins, renewals)
	}
	s.clock.Advance(48 * time.Hour)
	read()
}

func TestADeadTokenIsReplacedOnceForReadsAndNeverForWrites(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	rec := s.consent(a, database)
	end := func() {
		for _, token := range s.vault.Tokens() {
			if token.Path == "auth/approle/login" {
				s.write("auth/token/revoke-accessor", values{"accessor": token.Accessor})
			}
		}
	}
	end()
	rec.Started = true
	if err := a.PutRecord(ctx, rec); err == nil || errors.Is(err, world.ErrAmbiguous) || errors.Is(err, world.ErrLost) {
		t.Errorf("a write with a dead token: %v", err)
	}
	s.vault.ResetCalls()
	s.record(a)
	if s.count("auth/approle/login") != 1 || s.count("tac/data/") != 2 {
		t.Errorf("calls: %v", s.vault.Calls())
	}
	s.must(a.PutRecord(ctx, rec))

	// A refusal by policy is not cured by logging in.
	s.write("sys/policies/acl/bot-tac", values{"policy": `path "auth/token/lookup-self" { capabilities = ["read"] }`})
	s.vault.ResetCalls()
	if _, err := a.Record(ctx, grantID); err == nil || s.count("auth/approle/login") != 0 || s.count("tac/data/") != 1 {
		t.Errorf("got %v with %v", err, s.vault.Calls())
	}
}

func TestALoginThatFailsIsAnErrorAndTheNextCallTriesAgain(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	s.vault.Order(sandbox.Fault{Path: "auth/approle/login", When: sandbox.LostReply})
	if err := a.PutRecord(ctx, s.approved(database)); err == nil || errors.Is(err, world.ErrAmbiguous) {
		t.Errorf("a write that was never sent is %v", err)
	}
	s.consent(a, database)

	// While the old token lives, a login that fails hinders nobody.
	s.vault.Order(sandbox.Fault{Path: "auth/approle/login", When: sandbox.Before, Times: -1})
	s.vault.Order(sandbox.Fault{Path: "auth/token/renew-self", When: sandbox.Before, Times: -1})
	s.clock.Advance(59 * time.Minute)
	s.record(a)
	s.clock.Advance(2 * time.Minute)
	if _, err := a.Record(ctx, grantID); err == nil {
		t.Error("a dead token read something")
	}
}

func TestADevelopmentTokenIsUsedAsItIs(t *testing.T) {
	s := newScene(t)
	c, err := vaultlease.New(vaultlease.Config{
		Address: s.vault.URL(), Token: world.NewSecret(s.vault.RootToken()), Replica: "dev", Now: s.clock.Now,
	})
	s.must(err)
	rec := s.consent(replica{c, nil}, database)
	if _, err := c.Issue(t.Context(), rec, s.claim()); err != nil {
		t.Fatal(err)
	}
	if now, err := c.Time(t.Context()); err != nil || !now.Equal(start) {
		t.Errorf("time %s, %v", now, err)
	}
}

func TestConfigThatCannotWorkIsRefused(t *testing.T) {
	good := vaultlease.Config{Address: "https://vault.test", Token: world.NewSecret("t"), Replica: "a", Now: time.Now}
	if _, err := vaultlease.New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*vaultlease.Config){
		"no address":      func(c *vaultlease.Config) { c.Address = "vault.test" },
		"no identity":     func(c *vaultlease.Config) { c.Token = world.Secret{} },
		"half an AppRole": func(c *vaultlease.Config) { c.Token, c.RoleID = world.Secret{}, "r" },
		"two identities":  func(c *vaultlease.Config) { c.RoleID, c.SecretID = "r", world.NewSecret("s") },
		"no name":         func(c *vaultlease.Config) { c.Replica = "" },
		"no clock":        func(c *vaultlease.Config) { c.Now = nil },
		"a long wrap":     func(c *vaultlease.Config) { c.WrapTTL = time.Hour },
		"a strange mount": func(c *vaultlease.Config) { c.Mount = "../sys" },
		"a bad authority": func(c *vaultlease.Config) { c.CACert = []byte("x") },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := vaultlease.New(cfg); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestAliveIsWhatHealthSaysOfStandbysToo(t *testing.T) {
	const body = `{"initialized":true,"sealed":false,"server_time_utc":1795356000}`
	for status, alive := range map[int]bool{200: true, 429: true, 472: true, 473: true, 500: false, 501: false, 503: false} {
		s := newScene(t)
		s.vault.Order(sandbox.Fault{Path: "sys/health", When: sandbox.Answer, Status: status, Body: body})
		if now, err := s.replica("a").Time(t.Context()); (err == nil) != alive || alive && !now.Equal(start) {
			t.Errorf("%d: %s, %v", status, now, err)
		}
	}
}

func TestOnlyOurSignatureOverTheseBytesVerifies(t *testing.T) {
	s := newScene(t)
	a, ctx := s.replica("a"), t.Context()
	message := []byte("tac/grant/v1\nkind: AccessGrant\n")
	signature, err := a.Sign(ctx, message)
	s.must(err)
	other, err := a.Sign(ctx, []byte("another"))
	s.must(err)
	for text, want := range map[string]bool{
		signature: true, other: false, "": false, "nonsense": false, "vault:v9:" + signature[9:]: false, signature[:20] + "!": false,
		"vault:v0:" + signature[9:]: false, "vault:v-1:" + signature[9:]: false,
	} {
		if ok, err := a.Verify(ctx, message, text); ok != want || text != "" && err != nil {
			t.Errorf("%q: %v, %v", text, ok, err)
		}
	}
	for name, fault := range map[string]sandbox.Fault{
		"no key": {Status: 400, Body: `{"errors":["signing key not found"]}`}, "refused": {Status: 403, Body: `{"errors":["permission denied"]}`},
		"sealed": {Status: 503, Body: `{"errors":["Vault is sealed"]}`}, "no verdict": {Status: 200, Body: `{"data":{}}`},
	} {
		fault.Path, fault.When, fault.Times = "transit/verify", sandbox.Answer, 2
		s.vault.ClearFaults()
		s.vault.Order(fault)
		if ok, err := a.Verify(ctx, message, signature); ok || err == nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
}

// TestCallsAreForwardedOnlyWhereConfigured: Vault Community refuses every call
// that carries the header.
func TestCallsAreForwardedOnlyWhereConfigured(t *testing.T) {
	for _, forward := range []bool{false, true} {
		s := newScene(t)
		s.vault.AllowForwarding(forward)
		a := s.replicaWith("a", func(c *vaultlease.Config) { c.ForwardToActive = forward })
		rec, _ := s.live(a)
		s.revoking(a, rec)
		s.must(a.Kill(t.Context(), rec, s.clock.Now()))
		seen := a.wire.seen.String()
		carrying, authenticated := strings.Count(seen, "X-Vault-Forward: active-node"), strings.Count(seen, "X-Vault-Token: ")
		if forward && carrying != authenticated || !forward && carrying != 0 {
			t.Errorf("forward %v: %d of %d calls carry the header", forward, carrying, authenticated)
		}
	}
	s := newScene(t)
	s.vault.Order(sandbox.Fault{Path: "sys/health", When: sandbox.Answer, Status: 200,
		Body: `{"initialized":true,"enterprise":true,"cluster_id":"x","server_time_utc":1795356000}`})
	if problems := problemsOf(s.replica("a").Examine(t.Context(), nil)); !strings.Contains(problems, "forwarded to the active node") {
		t.Errorf("problems %q", problems)
	}
}

func TestTheBotsPolicyAllowsNothingBeyondItsCalls(t *testing.T) {
	s := newScene(t)
	policy := vaultlease.Plan{Targets: databaseAndBastion}.BotPolicy()
	for _, word := range []string{"sudo", "revoke-prefix", "revoke-force", "delete", "destroy", "tidy"} {
		if strings.Contains(policy, word) {
			t.Errorf("the policy has %q", word)
		}
	}
	if _, err := vaultlease.Setup(t.Context(), s.admin, vaultlease.Plan{Mount: "transit"}); err == nil {
		t.Error("the transit mount was taken for a key-value store")
	}
	bad := database
	bad.Policy = "root"
	if _, err := vaultlease.Setup(t.Context(), s.admin, vaultlease.Plan{Targets: []grants.Target{bad}}); err == nil {
		t.Error("a target may have any policy")
	}
}
