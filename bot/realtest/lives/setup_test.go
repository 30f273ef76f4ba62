package lives

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// standard are resources as `tac init` names them, and so as `tac vault setup`
// sets them up.
func standard(string) prop {
	return prop{
		resource: "postgres-prod",
		target:   grants.Target{Engine: grants.EngineDatabase, Path: "database/creds/postgres-prod", Policy: "tac-postgres-prod"},
	}
}

func standardSSH(string) prop {
	return prop{
		resource: "bastion",
		target: grants.Target{
			Engine: grants.EngineSSH, Path: "ssh/sign/bastion", Policy: "tac-bastion", Principals: []string{parts.Principal}, Slice: time.Minute,
		},
	}
}

// fresh is a Vault that was set up from nothing by the script that
// `tac vault setup --print` prints, run twice with Vault's own command line.
type fresh struct {
	vault  *parts.Vault
	server server.Vault
	bin    string // a folder with Vault's command line, by the name of vault
}

// shell runs a script as Vault's administrator would.
func (f fresh) shell(ctx context.Context, script string, env ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "sh")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = append(os.Environ(), "PATH="+f.bin+":"+os.Getenv("PATH"), "HOME="+f.bin, "VAULT_ADDR="+f.vault.Address, "VAULT_TOKEN="+f.vault.Root)
	cmd.Env = append(cmd.Env, env...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return string(said), nil
}

func setUpByScript(t *testing.T, name string, files map[string]string) fresh {
	t.Helper()
	v, err := parts.StartVault(t.Context(), filepath.Join(shared.dir, "vault-"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Kill() })
	dir := t.TempDir()
	binary, err := parts.VaultBinary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(binary, filepath.Join(dir, "vault")); err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(dir, "access")
	if out, err := exec.CommandContext(t.Context(), shared.tac, "init", repository).CombinedOutput(); err != nil {
		t.Fatalf("tac init: %v: %s", err, out)
	}
	for path, text := range files {
		full := filepath.Join(repository, path)
		if text == "" {
			err = os.Remove(full)
		} else {
			err = os.WriteFile(full, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	script, err := exec.CommandContext(t.Context(), shared.tac, "vault", "setup", repository, "--print").Output()
	if err != nil {
		t.Fatalf("tac vault setup --print: %v", err)
	}
	f := fresh{vault: v, bin: dir}
	secretID, said := filepath.Join(dir, "secret-id"), ""
	for range 2 {
		said, err = f.shell(t.Context(), string(script), "TAC_SECRET_ID_FILE="+secretID,
			"POSTGRES_PROD_URL="+shared.postgres.ConnectionURL(), "POSTGRES_PROD_ADMIN="+parts.PostgresAdmin,
			"POSTGRES_PROD_PASSWORD="+parts.PostgresPassword, "POSTGRES_PROD_GRANTS=payments_rw")
		if err != nil {
			t.Fatalf("the script failed: %v", err)
		}
	}
	secret, err := os.ReadFile(secretID)
	if err != nil {
		t.Fatal(err)
	}
	f.server = server.Vault{Address: v.Address, SecretID: world.NewSecret(strings.TrimSpace(string(secret)))}
	for line := range strings.Lines(said) {
		if id, ok := strings.CutPrefix(line, "role_id: "); ok {
			f.server.RoleID = strings.TrimSpace(id)
		}
	}
	return f
}

func TestASetUpFromNothingByThePrintedScriptCarriesLives(t *testing.T) {
	t.Parallel()
	files := documents([]prop{standard(""), standardSSH("")})
	f := setUpByScript(t, "scripted", files)
	s := newStageIn(t, f.vault, shared.postgres, []prop{standard(""), standardSSH("")}, f.server)
	s.start("one")
	s.doctorFinds("")
	id, other := s.asked("postgres-prod", 2*time.Hour), s.asked("bastion", time.Hour)
	if said := s.psql(s.takes(id)); !strings.Contains(said, "(1 row)") {
		t.Errorf("the login said: %s", said)
	}
	h := s.takes(other)
	if h.CertFile == "" {
		t.Error("there is no certificate")
	}
	s.drops(id)
	s.drops(other)
	s.reaches(id, "closed", time.Minute)
	s.ended(other, 5*time.Minute, noStray)
}

// Each of these would let access outlive its grant, or lose it early. Both the
// doctor and the bot's start refuse it and say what to change, and that mends
// it.
func TestAWrongSetUpIsRefusedByTheDoctorAndByServe(t *testing.T) {
	t.Parallel()
	f := setUpByScript(t, "wrong", documents([]prop{standard("")}))
	s := newStageIn(t, f.vault, shared.postgres, []prop{standard("")}, f.server)
	s.doctorFinds("")
	for _, c := range []struct {
		name, path, key string
		wrong           any
		wants           string // in the finding and in its mend
	}{
		{"no VALID UNTIL", "database/roles/postgres-prod", "creation_statements",
			[]string{`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' IN ROLE payments_rw;`}, "VALID UNTIL"},
		{"default_ttl of an hour", "database/roles/postgres-prod", "default_ttl", "1h", "default_ttl"},
		{"open sessions stay", "database/roles/postgres-prod", "revocation_statements", []string{`DROP ROLE IF EXISTS "{{name}}";`}, "pg_terminate_backend"},
		{"a token role that is no orphan", "auth/token/roles/tac", "orphan", false, "orphan=true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			admin, err := f.vault.Admin()
			if err != nil {
				t.Fatal(err)
			}
			right, err := admin.Logical().ReadWithContext(t.Context(), c.path)
			if err != nil || right == nil {
				t.Fatalf("read %s: %v", c.path, err)
			}
			changed := map[string]any{}
			for k, v := range right.Data {
				changed[k] = v
			}
			changed[c.key] = c.wrong
			if err := f.vault.Write(t.Context(), c.path, changed); err != nil {
				t.Fatal(err)
			}
			mend := s.doctorFinds(c.wants)
			s.serveRefuses(t, c.wants)
			if said, err := f.shell(t.Context(), mend); err != nil {
				t.Errorf("what the doctor says does not work: %v\n%s", err, said)
			}
			s.doctorFinds("")
		})
	}
}

// findings is what the doctor says.
type findings struct {
	Findings []struct {
		Area, Check, Status, Message, Mend string
	}
}

// doctorFinds runs the doctor. With no words nothing is to be a problem; else
// something is that has them, and the command that mends it is returned.
func (s *stage) doctorFinds(words string) (mend string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, "doctor")
	c := s.Config("doctor")
	c.Listen = "127.0.0.1:0"
	s.must(parts.Configure(dir, c))
	cmd := exec.CommandContext(s.ctx, shared.tac, "doctor", "--config", "tac.yaml", "-o", "json")
	cmd.Dir = dir
	out, err := cmd.Output()
	var f findings
	if json.Unmarshal(out, &f) != nil || len(f.Findings) == 0 {
		s.t.Fatalf("the doctor says %s (%v)", out, err)
	}
	found := false
	for _, one := range f.Findings {
		text := fmt.Sprintf("%s/%s %s: %s; %s", one.Area, one.Check, one.Status, one.Message, one.Mend)
		switch {
		case one.Status == "problem" && words == "":
			s.t.Errorf("the doctor finds a problem where there is none: %s", text)
		case !found && one.Status == "problem" && strings.Contains(text, words) && one.Mend != "":
			found, mend = true, one.Mend
			s.t.Logf("%s", text)
		}
	}
	if words != "" && (!found || err == nil) {
		s.t.Errorf("the doctor (%v) does not find %q: %s", err, words, out)
	}
	return mend
}

// serveRefuses starts tac, which is to end by itself with the same words.
func (s *stage) serveRefuses(t *testing.T, words string) {
	t.Helper()
	tac, err := parts.Launch(shared.tac, filepath.Join(s.dir, fmt.Sprintf("refused-%d", time.Now().UnixNano())), s.Config("refused"))
	if err != nil {
		t.Fatal(err)
	}
	defer tac.Kill()
	if !tac.Ended(time.Minute) {
		t.Errorf("tac serve goes on; it said:\n%s", tac.Log())
	}
	if said := tac.Log(); !strings.Contains(said, words) {
		t.Errorf("tac serve does not say %q:\n%s", words, said)
	}
}
