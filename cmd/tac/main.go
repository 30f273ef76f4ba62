// Command tac gives access for a while, by pull request. It is the bot that
// watches over grants (tac serve), the command line of those who need access
// (tac access), and the workbench of those who write policy (tac policy).
//
// This package is the only place that knows everything, and the only one that
// looks at the clock:
//
//	main.go          run: the whole program as a value; errors and exit codes
//	usage.go         wrong usage, told in one sentence
//	text.go          what may reach a terminal; tables and times
//	login.go         login, logout, whoami, link
//	request.go       access request, and waiting for its answer
//	access.go        access list, show, drop, revoke, explain
//	answer.go        access approve, deny; extend.go: access extend
//	credential.go    access get; connect.go: what a connect line says
//	exec.go          access exec; resign.go: its certificate, while a command runs
//	decision.go      a decision as a tree
//	repository.go    a grants repository on disk
//	vaultsetup.go    vault setup; doctor.go: is everything set up right
//	policylint.go, policytest.go, policyexplain.go, policywhatif.go, policyschema.go, init.go, serve.go, demo.go
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	_ "time/tzdata" // policies name time zones, and not every machine has them

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// The exit codes, which scripts rely on.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitDenied  = 3
	exitTimeout = 4
)

// program is one run of tac.
type program struct {
	args   []string
	env    []string
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
	local  *time.Location // in which people write times
	format choice         // of --output
}

// run is the whole program: main calls it, and so do the tests.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	p := &program{
		args: args, env: env, stdin: stdin, stdout: stdout, stderr: stderr,
		now: time.Now, local: time.Local,
		format: choice{value: formatText, allowed: []string{formatText, formatJSON}},
	}
	root := p.root()
	root.SetArgs(args)
	return p.report(root.ExecuteContext(ctx))
}

func (p *program) root() *cobra.Command {
	root := group("tac", "Access for a while, by pull request",
		p.demo(), p.serve(), p.doctor(), p.init(), p.login(), p.logout(), p.whoami(), p.link(),
		group("access", "Ask for access, take it, extend it, end it, and answer those who ask",
			p.request(), p.list(), p.show(), p.get(), p.exec(), p.extend(), p.drop(), p.revoke(),
			p.approve(), p.deny(), p.accessExplain()),
		group("policy", "Check policies and try them out; needs nothing but a clone",
			p.lint(), p.policyTest(), p.policyFmt(), p.policyExplain(), p.whatif(), p.schema()),
		group("vault", "Set Vault up", p.vaultSetup()),
		p.version(), p.completion(),
	)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(p.help())
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetFlagErrorFunc(p.flagError)
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(), "{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1))
	root.PersistentFlags().VarP(&p.format, "output", "o", "how to answer: text or json")
	return root
}

func (p *program) json() bool { return p.format.value == formatJSON }

// lookup returns an environment variable, empty where there is none.
func (p *program) lookup(name string) string {
	for _, pair := range slices.Backward(p.env) {
		if value, ok := strings.CutPrefix(pair, name+"="); ok {
			return value
		}
	}
	return ""
}

// endError ends the program in a way of its own.
type endError struct {
	exit    int
	code    string // for machines
	message string
	grant   *client.Grant // nil: none is known
}

func (e *endError) Error() string { return e.message }

// exitStatus ends the program with everything said already.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// problem is how -o json tells an error. The decision's fields stand beside
// the code where policy refused.
type problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	*client.Decision
	Grant *client.Grant `json:"grant,omitempty"`
}

// report tells an error and returns the exit code: the one table of both.
func (p *program) report(err error) int {
	var (
		status  exitStatus
		usage   *usageError
		end     *endError
		refusal *client.Error
	)
	exit, shown := exitFailed, problem{Code: "failed"}
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		exit, shown.Code = exitUsage, "usage"
	case errors.As(err, &end):
		exit, shown.Code, shown.Grant = end.exit, end.code, end.grant
	case errors.As(err, &refusal):
		exit, shown.Code, shown.Decision = exitOf(refusal.Code), refusal.Code, refusal.Decision
	case errors.Is(err, client.ErrTooLate):
		exit, shown.Code = exitTimeout, "timeout"
	case errors.Is(err, context.Canceled):
		err, shown.Code = errors.New("interrupted"), "interrupted"
	}
	shown.Message = err.Error()
	if p.json() || p.askedForJSON() {
		p.printJSON(shown)
	}
	fmt.Fprintf(p.stderr, "tac: %s\n", plainLines(shown.Message))
	if usage != nil && usage.line != "" {
		label := "usage:"
		for _, line := range wrapped(usage.line, p.width()-len(label)-1) {
			fmt.Fprintf(p.stderr, "%6s %s\n", label, line)
			label = ""
		}
	}
	return exit
}

func exitOf(code string) int {
	switch code {
	case client.CodeDenied:
		return exitDenied
	case client.CodeInvalid:
		return exitUsage
	}
	return exitFailed
}

// askedForJSON looks for -o json where the flags were never read to the end.
func (p *program) askedForJSON() bool {
	for i, arg := range p.args {
		switch {
		case arg == "--":
			return false
		case arg == "-ojson", arg == "-o=json", arg == "--output=json",
			(arg == "-o" || arg == "--output") && i+1 < len(p.args) && p.args[i+1] == formatJSON:
			return true
		}
	}
	return false
}

func (p *program) printJSON(v any) {
	e := json.NewEncoder(p.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		fmt.Fprintf(p.stderr, "tac: write the answer: %v\n", err)
	}
}

// note says something beside the answer, which a script must not read as it.
func (p *program) note(format string, args ...any) {
	fmt.Fprintf(p.stderr, "tac: %s\n", plainLines(fmt.Sprintf(format, args...)))
}

func (p *program) print(format string, args ...any) { fmt.Fprintf(p.stdout, format, args...) }
