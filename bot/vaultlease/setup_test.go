package vaultlease_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
)

// everything is a plan with each engine there is.
var everything = vaultlease.Plan{
	Engines: true, LongestToken: 24 * time.Hour, BoundCIDRs: []string{"10.0.0.0/8", "192.0.2.1/32"},
	Targets: []grants.Target{
		database, bastion,
		{Engine: grants.EnginePKI, Path: "pki/sign/payments", Policy: "tac-payments", Principals: []string{"payments.acme.test", "pay.acme.test"}, Slice: 10 * time.Minute},
		{Engine: grants.EngineGeneric, Path: "aws/creds/deploy", Policy: "tac-deploy"},
	},
}

var said = map[string]string{
	"ORDERS_RO_URL": "postgresql://{{username}}:{{password}}@db:5432/orders?sslmode=verify-full", "ORDERS_RO_ADMIN": "vault admin",
	"ORDERS_RO_PASSWORD": `it's "$5" a \day`, "ORDERS_RO_GRANTS": "orders_ro",
}

// fakeVault stands in for the vault command: it finds what there is a file for
// in $THERE, and notes each call with what it was given on its standard input.
const fakeVault = `#!/bin/sh
case $1 in
read | list)
	if [ -f "$THERE/$(printf '%s' "$*" | tr / _)" ]; then
		exec cat "$THERE/$(printf '%s' "$*" | tr / _)"
	fi
	echo "No value found at $2" >&2
	exit 2
	;;
esac
{
	for word in "$@"; do
		printf '%s\036' "$word"
	done
	for word in "$@"; do
		case $word in -|*=-) cat ;; esac
	done
	printf '\035'
} >>"$CALLS"
`

// TestTheScriptDoesWhatApplyDoes runs the printed script with a vault command
// that takes notes, and compares them with the steps that Apply does.
func TestTheScriptDoesWhatApplyDoes(t *testing.T) {
	script, err := everything.Script()
	if err != nil {
		t.Fatal(err)
	}
	sh := newShell(t, script, nil)
	if out, err := sh.run(); err == nil || !strings.Contains(out, "the address of the database behind orders-ro") {
		t.Errorf("without its variables the script says %q, %v", out, err)
	}
	var env []string
	for name, value := range said {
		env = append(env, name+"="+value)
	}
	// The very last read, of the role id, finds nothing either.
	if out, _ := sh.run(env...); !strings.Contains(out, "role_id") {
		t.Fatalf("the script says %s", out)
	}
	got := sh.calls()
	if want := callsOf(t); !slices.Equal(got, want) {
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("call %d is\n%s\nwant\n%s", i, got[i], want[i])
			}
		}
		t.Errorf("%d calls, want %d", len(got), len(want))
	}
}

// shell runs a printed script with a vault command that takes notes.
type shell struct {
	t   *testing.T
	dir string
}

// newShell returns one whose vault command finds what there says, by the
// command that asks.
func newShell(t *testing.T, script string, there map[string]string) shell {
	t.Helper()
	files := map[string]string{"vault": fakeVault, "setup.sh": script, "calls": ""}
	for command, answer := range there {
		files["there/"+strings.ReplaceAll(command, "/", "_")] = answer + "\n"
	}
	sh := shell{t, t.TempDir()}
	if err := os.Mkdir(filepath.Join(sh.dir, "there"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(sh.dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return sh
}

func (sh shell) run(env ...string) (string, error) {
	cmd := exec.Command("sh", filepath.Join(sh.dir, "setup.sh"))
	cmd.Env = append(env, "PATH="+sh.dir+string(os.PathListSeparator)+os.Getenv("PATH"),
		"CALLS="+filepath.Join(sh.dir, "calls"), "THERE="+filepath.Join(sh.dir, "there"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// calls returns what the vault command was told to do besides reading.
func (sh shell) calls() []string {
	sh.t.Helper()
	noted, err := os.ReadFile(filepath.Join(sh.dir, "calls"))
	if err != nil {
		sh.t.Fatal(err)
	}
	var all []string
	for call := range strings.SplitSeq(string(noted), "\x1d") {
		if call != "" {
			all = append(all, strings.ReplaceAll(call, "\x1e", "\n"))
		}
	}
	return all
}

// callsOf returns the calls of the vault command that are as good as the
// steps: a word a line, and the standard input at the end.
func callsOf(t *testing.T) []string {
	t.Helper()
	steps, err := everything.Steps()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, s := range steps {
		var words []string
		input := ""
		switch s.Deed {
		case vaultlease.EnableSecrets, vaultlease.EnableAuth:
			words = []string{"secrets", "enable", "-path=" + s.Path}
			if s.Deed == vaultlease.EnableAuth {
				words[0] = "auth"
			}
			for _, f := range s.Fields {
				words = append(words, "-options="+f.Name+"="+f.Values[0][0].Words)
			}
			words = append(words, s.Engine)
		case vaultlease.WritePolicy:
			words, input = []string{"policy", "write", s.Path, "-"}, s.Policy
		case vaultlease.Write:
			words = []string{"write", s.Path}
			for _, f := range s.Fields {
				switch {
				case f.Secret:
					words, input = append(words, f.Name+"=-"), said[f.Values[0][0].Variable]
				case f.Map != nil:
					object, err := json.Marshal(map[string]any{f.Name: f.Map})
					if err != nil {
						t.Fatal(err)
					}
					words, input = append(words, "-"), string(object)
				default:
					for _, v := range f.Values {
						word := f.Name + "="
						for _, part := range v {
							word += part.Words + said[part.Variable]
						}
						words = append(words, word)
					}
				}
			}
		default:
			continue
		}
		all = append(all, strings.Join(words, "\n")+"\n"+input)
	}
	return all
}

// TestApplyMakesEnginesAndLeavesAloneWhatIsThere: a role that somebody made
// narrower, or wider, is theirs.
func TestApplyMakesEnginesAndLeavesAloneWhatIsThere(t *testing.T) {
	s := newScene(t)
	other := grants.Target{Engine: "database", Path: "more/creds/reports", Policy: "tac-reports"}
	plan := vaultlease.Plan{Engines: true, Targets: []grants.Target{database, other, bastion}}
	steps, err := plan.Steps()
	s.must(err)
	apply := func(variable func(string) string) map[string]vaultlease.Done {
		done, err := vaultlease.Apply(t.Context(), s.admin, steps, variable)
		s.must(err)
		byPath := map[string]vaultlease.Done{}
		for _, d := range done {
			byPath[d.Step.Path] = d
		}
		return byPath
	}
	read := func(path string) string {
		secret, err := s.admin.Logical().ReadWithContext(t.Context(), path)
		s.must(err)
		if secret == nil {
			return ""
		}
		return fmt.Sprint(secret.Data)
	}
	before := read("database/roles/orders-ro") + read("ssh/roles/bastion") + read("ssh/config/ca")
	done := apply(func(string) string { return "" })
	if d := done["more/roles/reports"]; !strings.Contains(d.Left, "set REPORTS_GRANTS") || read("more/roles/reports") != "" {
		t.Errorf("without its variables: %+v", d)
	}
	if !done["database/roles/orders-ro"].There || !done["ssh/config/ca"].There || before != read("database/roles/orders-ro")+read("ssh/roles/bastion")+read("ssh/config/ca") {
		t.Error("what was there was not left alone")
	}
	apply(func(name string) string { return "x_" + name })
	if role := read("more/roles/reports"); !strings.Contains(role, `IN ROLE "x_REPORTS_GRANTS";`) || !strings.Contains(role, "pg_terminate_backend") {
		t.Errorf("the role is %s", role)
	}
	if _, err := vaultlease.Apply(t.Context(), s.admin, mustSteps(t, vaultlease.Plan{Mount: "ssh"}), os.Getenv); err == nil || !strings.Contains(err.Error(), "ssh/ is of type ssh and not kv") {
		t.Errorf("another engine's mount was taken: %v", err)
	}
}

func mustSteps(t *testing.T, p vaultlease.Plan) []vaultlease.Step {
	t.Helper()
	steps, err := p.Steps()
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

func TestVariablesOfRolesWithOneNameAreToldApart(t *testing.T) {
	p := vaultlease.Plan{Engines: true, Targets: []grants.Target{
		{Engine: "database", Path: "eu/creds/orders", Policy: "tac-eu"}, {Engine: "database", Path: "us/creds/orders", Policy: "tac-us"},
		{Engine: "database", Path: "eu/creds/2nd", Policy: "tac-2nd"}, {Engine: "database", Path: "eu/creds/orders", Policy: "tac-eu"},
	}}
	var names []string
	for _, v := range p.Variables() {
		if name, ok := strings.CutSuffix(v.Name, "_URL"); ok {
			names = append(names, name)
		}
	}
	if want := []string{"EU_ORDERS", "US_ORDERS", "DB_2ND"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
