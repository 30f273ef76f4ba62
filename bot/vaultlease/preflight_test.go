package vaultlease_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

var wanted = []vaultlease.Wanted{
	{Resource: "orders", Target: database, Longest: 8 * time.Hour},
	{Resource: "bastion", Target: bastion, Longest: 8 * time.Hour},
}

// problemsOf returns the problems among findings, a line each, with their mends.
func problemsOf(all []world.Finding) string {
	var b strings.Builder
	for _, f := range all {
		if f.Status == world.Problem {
			b.WriteString(f.Check + ": " + f.Message + " => " + f.Mend + "\n")
		}
	}
	return b.String()
}

func TestSetupMayBeRunAgainAndExamineLeavesNothing(t *testing.T) {
	s := newScene(t)
	s.setUp()
	for _, f := range s.replica("a").Examine(t.Context(), wanted) {
		if f.Status != world.Fine || f.Area != "vault" {
			t.Errorf("%+v", f)
		}
	}
	for _, token := range s.vault.Tokens() {
		if token.Path == "auth/token/create/tac" {
			t.Errorf("a token is left: %+v", token)
		}
	}
}

// TestEachWrongSetUpIsFoundWithTheLineToChange breaks one thing after another
// in a Vault that was set up right.
func TestEachWrongSetUpIsFoundWithTheLineToChange(t *testing.T) {
	const role = "database/roles/orders-ro"
	statements := func(creation, revocation string) values {
		return values{"db_name": "orders", "default_ttl": "300s", "max_ttl": "8h", "creation_statements": []string{creation}, "revocation_statements": []string{revocation}}
	}
	const creates, ends = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`, `SELECT pg_terminate_backend(1); DROP ROLE "{{name}}";`
	for name, c := range map[string]struct {
		path     string
		data     values
		problem  string
		mend     string
		resource string
	}{
		"a default_ttl of an hour":    {role, values{"default_ttl": "1h"}, "default_ttl is 1h0m0s", "vault write database/roles/orders-ro default_ttl=300s", "orders"},
		"a default_ttl of a minute":   {role, values{"default_ttl": "1m"}, "default_ttl is 1m0s", "default_ttl=300s", "orders"},
		"a max_ttl below the longest": {role, values{"max_ttl": "1h"}, "max_ttl is 1h0m0s: grants may last 8h0m0s", "max_ttl=28800s", "orders"},
		"no VALID UNTIL": {role, statements(`CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}';`, ends), "VALID UNTIL",
			`creation_statements='CREATE ROLE "{{name}}" LOGIN PASSWORD '\''{{password}}'\'' VALID UNTIL '\''{{expiration}}'\'';'`, "orders"},
		"VALID UNTIL in a comment": {role, statements("CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}'; -- VALID UNTIL '{{expiration}}'", ends), "VALID UNTIL", "creation_statements=", "orders"},
		"VALID UNTIL of another":   {role, statements("CREATE ROLE \"{{name}}\" LOGIN; ALTER ROLE x VALID UNTIL '{{expiration}}'", ends), "VALID UNTIL", "creation_statements=", "orders"},
		"an ending in a comment":   {role, statements(creates, `/* SELECT /* */ pg_terminate_backend(pid) */ DROP ROLE "{{name}}";`), "leave open sessions open", "pg_terminate_backend", "orders"},
		"sessions left open":       {role, statements(creates, `DROP ROLE "{{name}}";`), "leave open sessions open", "revocation_statements='DO $$ BEGIN", "orders"},
		"Vault's own revocation":   {role, statements(creates, ""), "leave open sessions open", "pg_terminate_backend", "orders"},
		"a user that stays":        {role, statements(creates, `SELECT pg_terminate_backend(1);`), "do not drop the role", "DROP ROLE", "orders"},
		"no orphans": {"auth/token/roles/tac", values{"orphan": false}, "orphan is not set",
			"vault write auth/token/roles/tac orphan=true", ""},
		"tokens that renew":     {"auth/token/roles/tac", values{"renewable": true}, "renewable is set", "renewable=false", ""},
		"any policy":            {"auth/token/roles/tac", values{"allowed_policies_glob": "*"}, "policies that are not tac's: *", "allowed_policies_glob='tac-*'", ""},
		"tokens without an end": {"auth/token/roles/tac", values{"token_explicit_max_ttl": 0}, "token_explicit_max_ttl is not set", "token_explicit_max_ttl=86400s", ""},
		"tokens that end early": {"auth/token/roles/tac", values{"token_explicit_max_ttl": "1h"}, "grants may last 8h0m0s", "token_explicit_max_ttl=28800s", ""},
		"writes without cas": {"tac/config", values{"cas_required": false}, "a write without compare-and-swap was taken",
			"vault write tac/config cas_required=true", ""},
		"a bot that revokes by prefix": {"sys/policies/acl/bot-extra", values{"policy": `path "sys/leases/revoke-prefix/*" { capabilities = ["update", "sudo"] }`},
			"the bot may sudo and update sys/leases/revoke-prefix/doctor", "tac vault setup", ""},
		"a bot that issues by itself": {"sys/policies/acl/bot-extra", values{"policy": `path "database/creds/*" { capabilities = ["read"] }`},
			"issues credentials that no grant accounts for", "tac vault setup", ""},
		"a policy for two paths": {"sys/policies/acl/tac-orders-ro", values{"policy": `path "database/creds/*" { capabilities = ["read"] }`},
			"it allows database/creds/* too", `| vault policy write tac-orders-ro -`, "orders"},
		"a policy that writes": {"sys/policies/acl/tac-orders-ro", values{"policy": `path "database/creds/orders-ro" { capabilities = ["read", "update"] }`},
			"it allows update on database/creds/orders-ro", `vault policy write tac-orders-ro`, "orders"},
		"certificates of a day": {"ssh/roles/bastion", values{"key_type": "ca", "allow_user_certificates": true, "allowed_users": "deploy", "max_ttl": "24h"},
			"max_ttl is 24h0m0s, longer than the slice", "vault write ssh/roles/bastion key_type=ca", "bastion"},
		"certificates for everybody": {"ssh/roles/bastion", values{"key_type": "ca", "allow_user_certificates": true, "allowed_users": "*", "max_ttl": "10m", "allow_empty_principals": true},
			"is good for everybody; allowed_users is", "allowed_users=deploy", "bastion"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			if strings.HasSuffix(c.path, "bot-extra") {
				s.write("auth/approle/role/tac", values{"token_policies": []string{"bot-tac", "bot-extra"}})
			}
			s.write(c.path, c.data)
			found := s.replica("a").Examine(t.Context(), wanted)
			all := problemsOf(found)
			if !strings.Contains(all, c.problem) || !strings.Contains(all, c.mend) {
				t.Errorf("found\n%s\nwant %s => %s", all, c.problem, c.mend)
			}
			for _, f := range found {
				if f.Status == world.Problem && f.Resource != c.resource && c.path != "auth/token/roles/tac" {
					t.Errorf("%q is about %q, want %q", f.Message, f.Resource, c.resource)
				}
			}
		})
	}
}

// TestNoAnswerIsNoWrongSetUp: what did not answer is told apart from what is
// wrong, or a Vault that is down would keep the bot from starting.
func TestNoAnswerIsNoWrongSetUp(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	a.Examine(t.Context(), wanted)
	s.vault.Seal()
	for _, f := range a.Examine(t.Context(), wanted) {
		if f.Status == world.Fine || !f.Outage {
			t.Errorf("sealed: %+v", f)
		}
	}
	s.vault.Close()
	if all := a.Examine(t.Context(), wanted); len(all) != 1 || all[0].Status != world.Problem || !all[0].Outage || all[0].Mend == "" {
		t.Errorf("gone: %+v", all)
	}
	s = newScene(t)
	b := s.replicaWith("b", func(c *vaultlease.Config) { c.SecretID = world.NewSecret("another") })
	if all := problemsOf(b.Examine(t.Context(), wanted)); !strings.Contains(all, "vault write -f auth/approle/role/tac/secret-id") {
		t.Errorf("a wrong secret id: %s", all)
	}
}

// TestALoginThatIsNotAnsweredIsNoWrongSetUp: on the login's path alone, for a
// new client and for one whose token is gone.
func TestALoginThatIsNotAnsweredIsNoWrongSetUp(t *testing.T) {
	for name, fault := range map[string]sandbox.Fault{
		"an error of Vault's": {When: sandbox.Answer, Status: 500, Body: `{"errors":["internal error"]}`},
		"a proxy's page":      {When: sandbox.Answer, Status: 502, Body: "<html>"},
		"too many requests":   {When: sandbox.Answer, Status: 429, Body: `{"errors":["slow down"]}`},
		"never sent":          {When: sandbox.Before},
		"a lost answer":       {When: sandbox.LostReply},
	} {
		for _, known := range []bool{false, true} {
			s := newScene(t)
			a := s.replica("a")
			if known {
				a.Examine(t.Context(), nil)
				for _, token := range s.vault.Tokens() {
					if token.Path == "auth/approle/login" {
						s.write("auth/token/revoke-accessor", values{"accessor": token.Accessor})
					}
				}
			}
			fault.Path, fault.Times = "auth/approle/login", -1
			s.vault.Order(fault)
			found := a.Examine(t.Context(), nil)
			if last := found[len(found)-1]; last.Check != "identity" || !last.Outage {
				t.Errorf("%s, known %v: %+v", name, known, last)
			}
			if _, err := a.Records(t.Context()); err == nil || errors.Is(err, vaultlease.ErrNotLetIn) {
				t.Errorf("%s, known %v: %v", name, known, err)
			}
		}
	}
	s := newScene(t)
	b := s.replicaWith("b", func(c *vaultlease.Config) { c.SecretID = world.NewSecret("another") })
	if _, err := b.Records(t.Context()); !errors.Is(err, vaultlease.ErrNotLetIn) {
		t.Errorf("a wrong secret id: %v", err)
	}
}

// TestWhatAnOlderPolicyOfTheBotHidesIsNoPass: the bounds of roles are what
// makes access end. Who set tac up before they were read is told to set it up
// again; what is only nice to know stays unknown.
func TestWhatAnOlderPolicyOfTheBotHidesIsNoPass(t *testing.T) {
	s := newScene(t)
	calls, _, _ := strings.Cut(vaultlease.Plan{Targets: databaseAndBastion}.BotPolicy(), "# what `tac doctor`")
	s.write("sys/policies/acl/bot-tac", values{"policy": calls})
	problems, unknown := map[string]string{}, 0
	for _, f := range s.replica("a").Examine(t.Context(), wanted) {
		if f.Outage || f.Status != world.Fine && f.Mend != "tac vault setup GRANTS-REPOSITORY" {
			t.Errorf("%+v", f)
		}
		switch f.Status {
		case world.Problem:
			problems[f.Check] = f.Resource
		case world.Unseen:
			unknown++
		}
	}
	want := map[string]string{"auth/token/roles/tac": "", "database/roles/orders-ro": "orders", "ssh/roles/bastion": "bastion"}
	if !maps.Equal(problems, want) || unknown != 4 { // the key, the powers, two policies
		t.Errorf("problems %v, %d unknown", problems, unknown)
	}
}

// TestManyResourcesAreLookedAtEightAtATime: a look at hundreds that went one
// after another would not be over in time, and hold everything back.
func TestManyResourcesAreLookedAtEightAtATime(t *testing.T) {
	s := newScene(t)
	var many []vaultlease.Wanted
	for i := range 20 {
		many = append(many, vaultlease.Wanted{Resource: fmt.Sprintf("r%02d", i), Target: database, Longest: time.Hour})
	}
	var under, most atomic.Int32
	var once sync.Once
	together := make(chan struct{})
	s.vault.Order(sandbox.Fault{Path: "sys/policies/acl/tac-", When: sandbox.Pass, Times: -1, Do: func(*http.Request) {
		n := under.Add(1)
		defer under.Add(-1)
		for seen := most.Load(); n > seen && !most.CompareAndSwap(seen, n); seen = most.Load() {
		}
		if n == 8 {
			once.Do(func() { close(together) })
		}
		select {
		case <-together:
		case <-time.After(5 * time.Second):
			once.Do(func() { close(together); t.Error("they do not come together") })
		}
	}})
	var order []string
	for _, f := range s.replica("a").Examine(t.Context(), many) {
		if f.Status != world.Fine {
			t.Errorf("%+v", f)
		}
		if f.Resource != "" && !slices.Contains(order, f.Resource) {
			order = append(order, f.Resource)
		}
	}
	if most.Load() != 8 || len(order) != len(many) || !slices.IsSorted(order) {
		t.Errorf("%d at a time, findings in the order %v", most.Load(), order)
	}
}

// TestWhatIsWrongForOneResourceIsSaidOfThatOne: or all would be held for it.
func TestWhatIsWrongForOneResourceIsSaidOfThatOne(t *testing.T) {
	s := newScene(t)
	reports := vaultlease.Wanted{
		Resource: "reports", Longest: time.Hour,
		Target: grants.Target{Engine: grants.EngineDatabase, Path: "newdb/creds/reports", Policy: "tac-reports"},
	}
	about := func(wanted []vaultlease.Wanted) map[string]bool {
		about := map[string]bool{}
		for _, f := range s.replica("a").Examine(t.Context(), wanted) {
			if f.Status == world.Problem {
				about[f.Resource] = true
			}
		}
		return about
	}
	if got := about(append(slices.Clone(wanted), reports)); !maps.Equal(got, map[string]bool{"reports": true}) {
		t.Errorf("a mount that the bot's policy does not know: about %v", got)
	}
	s.write("auth/token/roles/tac", values{"token_explicit_max_ttl": "4h"})
	short := slices.Clone(wanted)
	short[1].Longest = 2 * time.Hour
	if got := about(short); !maps.Equal(got, map[string]bool{"orders": true}) {
		t.Errorf("grants that the token role does not allow: about %v", got)
	}
}

// TestEnginesThatSetupMakesAreRightAndBreakingThemIsSeen: what Apply makes for
// each engine passes Examine as it is.
func TestEnginesThatSetupMakesAreRightAndBreakingThemIsSeen(t *testing.T) {
	s := newScene(t)
	payments := grants.Target{Engine: grants.EnginePKI, Path: "pki/sign/payments", Policy: "tac-payments", Principals: []string{"payments.acme.test"}, Slice: 10 * time.Minute}
	jump := grants.Target{Engine: grants.EngineSSH, Path: "jump/sign/ops", Policy: "tac-jump", Principals: []string{"ops", "root"}, Slice: 5 * time.Minute}
	reports := grants.Target{Engine: grants.EngineDatabase, Path: "more/creds/reports", Policy: "tac-reports"}
	plan := vaultlease.Plan{Engines: true, Targets: []grants.Target{payments, jump, reports}}
	_, err := vaultlease.Apply(t.Context(), s.admin, mustSteps(t, plan), func(name string) string { return "x_" + name })
	s.must(err)
	var all []vaultlease.Wanted
	for _, target := range plan.Targets {
		all = append(all, vaultlease.Wanted{Resource: target.Policy, Target: target, Longest: 8 * time.Hour})
	}
	a := s.replica("a")
	for _, f := range a.Examine(t.Context(), all) {
		if f.Status != world.Fine {
			t.Errorf("%+v", f)
		}
	}
	s.write("pki/roles/payments", values{"allowed_domains": "acme.test", "allow_subdomains": true, "max_ttl": "24h", "client_flag": true, "key_type": "any"})
	problems := problemsOf(a.Examine(t.Context(), all))
	for _, says := range []string{
		"allow_bare_domains is not set", "allow_subdomains is set", "use_csr_common_name or use_csr_sans is set", "allowed_domains lacks payments.acme.test", "max_ttl is 24h0m0s",
		"=> vault write pki/roles/payments allow_bare_domains=true",
	} {
		if !strings.Contains(problems, says) {
			t.Errorf("nothing says %q in\n%s", says, problems)
		}
	}
}
