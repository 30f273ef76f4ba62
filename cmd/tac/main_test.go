package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tac": main})
}

// TestScripts runs the sessions in testdata/script: what they show is what
// people see. Beside testscript's own commands there are
//
//	exits CODE COMMAND...   run a command that ends with exactly this code
//	json PATH VALUE         the last output is one JSON value and holds this
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "json": jsonHolds},
		Setup: func(env *testscript.Env) error {
			server := httptest.NewServer(&fakeServer{})
			env.Defer(server.Close)
			env.Setenv("SERVER", server.URL)
			env.Setenv("TAC_CONFIG_DIR", filepath.Join(env.WorkDir, "config"))
			env.Setenv("TAC_KEYRING", "file") // no test writes to the keyring of whoever runs it
			env.Setenv("TZ", "Europe/Berlin")
			// What lies about must never be sent; the fake server checks.
			env.Setenv("GITHUB_TOKEN", "ghp_of_the_environment")
			env.Setenv("GH_TOKEN", "gho_of_the_environment")
			env.Setenv("PATH", filepath.Join(env.WorkDir, "bin")+string(filepath.ListSeparator)+env.Getenv("PATH"))
			return nil
		},
	})
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%s exits %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func jsonHolds(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: json PATH VALUE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, step := range strings.Split(args[0], ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[step]
		case []any:
			i, err := strconv.Atoi(step)
			ts.Check(err)
			if i >= len(in) {
				ts.Fatalf("%s: there are %d", args[0], len(in))
			}
			v = in[i]
		default:
			ts.Fatalf("%s: nothing below %v", args[0], v)
		}
	}
	if got := fmt.Sprint(v); (got == args[1]) == neg {
		ts.Fatalf("%s is %q", args[0], got)
	}
}
