package main_test

import (
	"strings"
	"testing"
)

// TestEachRuleCanFail breaks every rule with the smallest file that does, and
// shows what looks alike and is allowed.
func TestEachRuleCanFail(t *testing.T) {
	t.Parallel()
	tests := []struct{ rule, claim, path, text, want string }{
		{"imports follow the arrows", "policies know no bot", "policies/a.go", `import "github.com/tigeraccess/tac/bot"`, "policies imports bot, but it may import only grants, grants/strictyaml"},
		{"imports follow the arrows", "grants know no policies", "grants/a.go", `import "github.com/tigeraccess/tac/policies"`, "may import nothing of ours"},
		{"imports follow the arrows", "grants know what is below them", "grants/a.go", `import "github.com/tigeraccess/tac/grants/strictyaml"`, ""},
		{"imports follow the arrows", "the bot knows no adapter", "bot/a.go", `import "github.com/tigeraccess/tac/bot/githubpr"`, "bot imports bot/githubpr"},
		{"imports follow the arrows", "adapters do not know the bot", "bot/githubpr/a.go", `import "github.com/tigeraccess/tac/bot"`, "bot/githubpr imports bot,"},
		{"imports follow the arrows", "adapters do not know each other", "bot/githubpr/a.go", `import "github.com/tigeraccess/tac/bot/gitstore"`, "bot/githubpr imports bot/gitstore"},
		{"imports follow the arrows", "adapters know policies", "bot/githubpr/a.go", `import "github.com/tigeraccess/tac/policies"`, ""},
		{"imports follow the arrows", "adapters do not know the sandbox", "bot/githubpr/a.go", `import "github.com/tigeraccess/tac/bot/sandbox"`, "imports bot/sandbox"},
		{"imports follow the arrows", "tests of adapters may", "bot/githubpr/a_test.go", `import "github.com/tigeraccess/tac/bot/sandbox"`, ""},
		{"imports follow the arrows", "the sandbox knows nothing of ours", "bot/sandbox/vault/a.go", `import "github.com/tigeraccess/tac/grants"`, "may import only bot/sandbox"},
		{"imports follow the arrows", "its servers do not know each other", "bot/sandbox/vault/a.go", `import "github.com/tigeraccess/tac/bot/sandbox/slack"`, "may import only bot/sandbox"},
		{"imports follow the arrows", "its servers share its clock", "bot/sandbox/vault/a.go", `import "github.com/tigeraccess/tac/bot/sandbox"`, ""},
		{"imports follow the arrows", "webhooks know no adapter", "webhooks/a.go", `import "github.com/tigeraccess/tac/bot/slackchat"`, "webhooks imports bot/slackchat"},
		{"imports follow the arrows", "nothing knows cmd", "webhooks/a.go", `import "github.com/tigeraccess/tac/cmd/tac/server"`, "webhooks imports cmd/tac/server"},
		{"imports follow the arrows", "cmd knows everything", "cmd/tac/a.go", `import "github.com/tigeraccess/tac/bot/slackchat"`, ""},
		{"imports follow the arrows", "there are no other folders", "pkg/a.go", ``, "a package in pkg has no place"},

		{"grants and policies are pure", "no context", "policies/a.go", `import "context"`, "must not import context"},
		{"grants and policies are pure", "nothing of net", "grants/world/a.go", `import "net/http"`, "must not import net/http"},
		{"grants and policies are pure", "no logging", "grants/a.go", `import "log/slog"`, "must not import log/slog"},
		{"grants and policies are pure", "no clock, by any name", "grants/a.go", `import tick "time"; var now = tick.Now`, "must not use time.Now"},
		{"grants and policies are pure", "no zones from the machine", "policies/a.go", `import "time"; var l, _ = time.LoadLocation("UTC")`, "must not use time.LoadLocation"},
		{"grants and policies are pure", "times are values", "policies/a.go", `import "time"; const hour = time.Hour`, ""},

		{"the wall clock is read in cmd only", "not in the bot", "bot/a.go", `import "time"; var at = time.Now()`, "only cmd may"},
		{"the wall clock is read in cmd only", "nor by way of Since", "webhooks/a.go", `import "time"; var d = time.Since(time.Time{})`, "time.Since is used in webhooks"},
		{"the wall clock is read in cmd only", "in cmd", "cmd/tac/a.go", `import "time"; var at = time.Now()`, ""},

		{"each library has one home", "Vault's client is at home in vaultlease", "webhooks/a.go", `import "github.com/hashicorp/vault/api"`, "at home in bot/vaultlease only"},
		{"each library has one home", "a new library needs a home", "bot/a.go", `import "example.com/new"`, "has no home yet"},
		{"each library has one home", "at home", "bot/slackchat/a.go", `import "github.com/slack-go/slack"`, ""},

		{"types of libraries stay in their adapter", "in results", "bot/githubpr/a.go", `import "github.com/google/go-github/v60/github"; func F() (*github.User, error) { return nil, nil }`, "names github.User"},
		{"types of libraries stay in their adapter", "in fields", "bot/vaultlease/a.go", `import vault "github.com/hashicorp/vault/api"; type T struct{ C *vault.Client }`, "names vault.Client"},
		{"types of libraries stay in their adapter", "embedded", "bot/slackchat/a.go", `import "github.com/slack-go/slack"; type T struct{ slack.Client }`, "names slack.Client"},
		{"types of libraries stay in their adapter", "in variables", "bot/slackchat/a.go", `import "github.com/slack-go/slack"; var Err = slack.ErrExpiredTimestamp`, "names slack.ErrExpiredTimestamp"},
		{"types of libraries stay in their adapter", "hidden ones are fine", "bot/slackchat/a.go", `import "github.com/slack-go/slack"; type T struct{ c *slack.Client }; func F() { _ = slack.New("") }`, ""},

		{"only main ends the program", "no panic", "bot/a.go", `func f() { panic("no") }`, "bot panics"},
		{"only main ends the program", "no exit", "cmd/tac/server/a.go", `import "os"; func f() { os.Exit(1) }`, "uses os.Exit"},
		{"only main ends the program", "no log.Fatal", "cmd/tac/demo/a.go", `import "log"; func f() { log.Fatalf("x") }`, "uses log.Fatalf"},
		{"only main ends the program", "main does", "cmd/tac/main.go", `import "os"; func f() { os.Exit(1) }`, ""},
		{"only main ends the program", "cutting a connection ends nothing", "bot/sandbox/a.go", `import "net/http"; func f() { panic(http.ErrAbortHandler) }`, ""},

		{"no test may skip itself", "no Skip", "bot/a_test.go", `func f() { t.Skip("no network") }`, "left out by t.Skip"},
		{"no test may skip itself", "no short mode", "bot/a_test.go", `func f() { _ = testing.Short() }`, "left out by testing.Short"},
		{"no test may skip itself", "scanners skip what they like", "bot/a_test.go", `func f() { scanner.Skip() }`, ""},

		{"files are short and say what they are for", "no long files", "bot/a.go", strings.Repeat("\n", longestFile+1), "more than the 600"},
		{"files are short and say what they are for", "no testing in the product", "bot/a.go", `import "testing"`, "imports testing"},
		{"files are short and say what they are for", "no dot imports", "grants/a.go", `import . "time"; var at = Now()`, "a dot import of time"},
		{"files are short and say what they are for", "no init", "bot/a.go", `func init() {}`, "an init function"},
		{"files are short and say what they are for", "methods may be called so", "bot/a.go", `type T int; func (T) init() {}`, ""},
	}
	broken := map[string]bool{}
	for _, test := range tests {
		t.Run(test.rule+"/"+test.claim, func(t *testing.T) {
			s, err := parseSource(test.path, "package x; "+test.text)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, rule := range rules {
				if rule.name != test.rule {
					continue
				}
				for _, v := range rule.check(s) {
					got = append(got, v.String())
				}
			}
			switch {
			case test.want == "" && got != nil:
				t.Errorf("nothing is wrong with it, but: %q", got)
			case test.want != "" && !strings.Contains(strings.Join(got, "\n"), test.want):
				t.Errorf("got %q, want a sentence with %q", got, test.want)
			}
			broken[test.rule] = broken[test.rule] || test.want != ""
		})
	}
	for _, rule := range rules {
		if !broken[rule.name] {
			t.Errorf("nothing shows that %q can fail", rule.name)
		}
	}
}
