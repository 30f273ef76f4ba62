package vaultlease_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants/world"
)

// What set-up must leave alone: another bot, and other people's engines.

func (s *scene) read(path string) string {
	s.t.Helper()
	secret, err := s.admin.Logical().ReadWithContext(s.t.Context(), path)
	s.must(err)
	if secret == nil {
		return ""
	}
	return fmt.Sprint(secret.Data)
}

func (s *scene) refuses(p vaultlease.Plan, why string) {
	s.t.Helper()
	if _, err := vaultlease.Setup(s.t.Context(), s.admin, p); err == nil || !strings.Contains(err.Error(), why) {
		s.t.Errorf("set up all the same, or for another reason than %q: %v", why, err)
	}
}

// TestASecondBotLeavesTheFirstItsPowers: a token role of its own is all that
// another bot in the same Vault needs, and without one nothing is done.
func TestASecondBotLeavesTheFirstItsPowers(t *testing.T) {
	s := newScene(t)
	first := s.read("sys/policies/acl/bot-tac") + s.read("auth/approle/role/tac") + s.read("auth/token/roles/tac")
	id, err := vaultlease.Setup(t.Context(), s.admin, vaultlease.Plan{Mount: "two", TokenRole: "Two", Targets: databaseAndBastion})
	s.must(err)
	if now := s.read("sys/policies/acl/bot-tac") + s.read("auth/approle/role/tac") + s.read("auth/token/roles/tac"); now != first {
		t.Errorf("what the first bot has was\n%s\nand is\n%s", first, now)
	}
	second := s.replicaWith("second", func(c *vaultlease.Config) {
		c.Mount, c.TokenRole, c.RoleID, c.SecretID = "two", "Two", id.RoleID, id.SecretID
	})
	for _, f := range second.Examine(t.Context(), wanted) {
		if f.Status != world.Fine {
			t.Errorf("the second bot: %+v", f)
		}
		if f.Check == "bot-tac" {
			t.Errorf("the second bot's policy is taken for the first's: %+v", f)
		}
	}
	s.refuses(vaultlease.Plan{Mount: "three"}, "the policy bot-tac is of another bot, whose records are not at three/: choose another token role")
	if strings.Contains(s.read("sys/mounts"), "three/") {
		t.Error("an engine was enabled and then the plan refused")
	}
}

// TestAnEngineOfSomebodyElseIsNotMadeTacs: who shares an engine with others
// would have every write of theirs refused.
func TestAnEngineOfSomebodyElseIsNotMadeTacs(t *testing.T) {
	s := newScene(t)
	s.write("sys/mounts/secret", values{"type": "kv", "options": values{"version": "2"}})
	before := s.read("secret/config")
	plan := vaultlease.Plan{Mount: "secret", TokenRole: "other"}
	s.refuses(plan, "secret/ takes writes without compare-and-swap: choose another path, or if it is tac's alone: vault write secret/config cas_required=true")
	if now := s.read("secret/config"); now != before {
		t.Errorf("its configuration was %s and is %s", before, now)
	}
	s.write("secret/config", values{"cas_required": true})
	s.write("secret/data/grants/x", values{"data": values{"x": "y"}, "options": values{"cas": 0}})
	_, err := vaultlease.Setup(t.Context(), s.admin, plan)
	s.must(err)
	s.write("secret/data/payroll", values{"data": values{"x": "y"}, "options": values{"cas": 0}})
	s.refuses(plan, "secret/ holds payroll, which is not tac's: choose another path")
}

func TestTheScriptLeavesAloneWhatIsNotTacs(t *testing.T) {
	mount := map[string]string{
		"read sys/mounts/tac": "type kv", "read -field=type sys/mounts/tac": "kv", "read -field=options sys/mounts/tac": "map[version:2]",
		"read -field=cas_required tac/config": "true", "list -format=table tac/metadata": "Keys\n----\ngrants/\nhwm",
	}
	with := func(command, answer string) map[string]string {
		all := map[string]string{command: answer}
		for c, a := range mount {
			if c != command {
				all[c] = a
			}
		}
		return all
	}
	script, err := vaultlease.Plan{}.Script()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		there map[string]string
		says  string // empty: it goes on
	}{
		"its own engine":            {mount, ""},
		"its own policy":            {with("read sys/policies/acl/bot-tac", `path "tac/data/*" { }`), ""},
		"another bot's policy":      {with("read sys/policies/acl/bot-tac", `path "two/data/*" { }`), "the policy bot-tac is of another bot"},
		"an engine without cas":     {with("read -field=cas_required tac/config", "false"), "tac/ takes writes without compare-and-swap"},
		"an engine with other keys": {with("list -format=table tac/metadata", "Keys\n----\nhwm\nhwm2\npay roll"), "tac/ holds hwm2 pay roll, which"},
		"another engine":            {with("read -field=type sys/mounts/tac", "ssh"), "not of type kv"},
	} {
		t.Run(name, func(t *testing.T) {
			sh := newShell(t, script, c.there)
			out, err := sh.run()
			if calls := sh.calls(); c.says == "" && len(calls) == 0 || c.says != "" && (err == nil || !strings.Contains(out, c.says) || len(calls) > 0) {
				t.Errorf("it says %q, %v after\n%s", out, err, strings.Join(calls, "\n"))
			}
		})
	}
}

// TestARerunTakesBackWhatAStaleRoleAllows: everything that widens what tokens
// may do is written, so that no older value stays.
func TestARerunTakesBackWhatAStaleRoleAllows(t *testing.T) {
	s := newScene(t)
	s.write("auth/token/roles/tac", values{
		"allowed_policies": []string{"root", "tac-orders-ro"}, "disallowed_policies": []string{"tac-orders-ro"}, "disallowed_policies_glob": []string{"tac-b*"},
	})
	s.write("auth/approle/role/tac", values{"token_period": "1h", "token_num_uses": 3, "bind_secret_id": false, "secret_id_bound_cidrs": []string{"127.0.0.1/32"}})
	s.setUp()
	for path, want := range map[string][]string{
		"auth/token/roles/tac":  {"allowed_policies:[] ", "disallowed_policies:[] ", "disallowed_policies_glob:[] "},
		"auth/approle/role/tac": {"token_period:0 ", "token_num_uses:0 ", "bind_secret_id:true "},
	} {
		for _, field := range want {
			if role := s.read(path); !strings.Contains(role, field) {
				t.Errorf("%s is without %s: %s", path, field, role)
			}
		}
	}
}

// TestTheScriptKeepsTheOldSecretIDUntilThereIsANewOne and puts the new one
// where nobody else can read it.
func TestTheScriptKeepsTheOldSecretIDUntilThereIsANewOne(t *testing.T) {
	script, err := vaultlease.Plan{}.Script()
	if err != nil {
		t.Fatal(err)
	}
	const makes = `case $*:$SEALED in *-field=secret_id*:yes) exit 2 ;; *-field=secret_id*) echo new ;; esac` + "\n"
	sh := newShell(t, script, map[string]string{"read -field=role_id auth/approle/role/tac/role-id": "r"})
	if err := os.WriteFile(filepath.Join(sh.dir, "vault"), []byte(fakeVault+makes), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(sh.dir, "secrets", "secret id")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("old\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ sealed, want string }{{"yes", "old\n"}, {"no", "new\n"}} {
		out, err := sh.run("SEALED="+c.sealed, "TAC_SECRET_ID_FILE="+file)
		got, reading := os.ReadFile(file)
		if reading != nil || string(got) != c.want || (err == nil) != (c.sealed == "no") {
			t.Errorf("sealed %s: the file has %q, %v; the script said %s, %v", c.sealed, got, reading, out, err)
		}
		if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
			t.Errorf("beside it are %v, %v", left, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if out, err := sh.run("TAC_SECRET_ID_FILE=" + sh.dir); err == nil || !strings.Contains(out, "is a folder") {
		t.Errorf("a folder: %s, %v", out, err)
	}
}
