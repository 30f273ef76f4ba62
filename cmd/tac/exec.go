package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

// endsSoon is when exec warns that a session will be cut off.
const endsSoon = 5 * time.Minute

func (p *program) exec() *cobra.Command {
	var replace bool
	c := &cobra.Command{
		Use: "exec ID [--replace] [-- COMMAND...]", Short: "Run a command with the credential of a grant",
		Long: "Run a command with the credential in its environment: TAC_USERNAME, TAC_PASSWORD and,\n" +
			"for databases, PGUSER, PGPASSWORD, PGHOST, PGPORT and PGDATABASE. ssh, scp and sftp get\n" +
			"the key and the certificate; other certificates stand in TAC_CERT_FILE, TAC_KEY_FILE and\n" +
			"TAC_CA_FILE. Certificates are signed again, in the same files, while the command runs.\n" +
			"Without a command the resource's connect line is run.",
		Example: "  tac access exec 20261122-k3v9q2m4tz\n  tac access exec 20261122-k3v9q2m4tz -- pg_dump -t orders",
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case len(args) == 0 || dash == 0:
				return wrongUsage(cmd, "ID is missing")
			case dash < 0 && len(args) > 1:
				return wrongUsage(cmd, "put -- before the command: %s %s -- %s", cmd.CommandPath(), args[0], strings.Join(args[1:], " "))
			case dash > 1:
				return wrongUsage(cmd, "one grant at a time; the command goes after --")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			t, err := c.Take(cmd.Context(), id, replace)
			if err != nil {
				return err
			}
			return p.runWith(cmd.Context(), t, args[1:], func(ctx context.Context) (client.Taken, error) { return c.Resign(ctx, id) })
		},
	}
	c.Flags().BoolVar(&replace, "replace", false, "retire the credential that was taken elsewhere, and take a new one")
	return c
}

// runWith runs a command, or the resource's connect line, with a credential,
// which resign has signed again while it runs.
func (p *program) runWith(ctx context.Context, t client.Taken, args []string, resign func(context.Context) (client.Taken, error)) error {
	if t.Unsure != nil {
		p.note("%v; going on with the credential kept from before", t.Unsure)
	}
	isSSHGrant := t.Credential.Engine == client.EngineSSH
	switch {
	case len(args) > 0 && isSSHGrant && isSSH(args[0]):
		args = slices.Concat(args[:1], sshOptions(t), args[1:])
	case len(args) == 0 && strings.TrimSpace(t.Grant.Connect) == "":
		return &usageError{message: fmt.Sprintf("%s has no connect line; name a command: tac access exec %s -- COMMAND", t.Grant.Resource, t.Grant.ID)}
	case len(args) == 0:
		line := t.Grant.Connect
		if isSSHGrant {
			line, _ = sshLine(t)
		}
		args = []string{"sh", "-c", line}
	}
	if end := t.Grant.EndsAt; end != nil && end.Sub(p.now()) < endsSoon {
		p.note("this grant ends in %s, and then so does the session", p.distance(*end))
	}
	command := exec.Command(args[0], args[1:]...)
	command.Env = p.environment(variables(t))
	command.Stdin, command.Stdout, command.Stderr = p.stdin, p.stdout, p.stderr
	// Ctrl-C is for the command, which may live on.
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var signing sync.WaitGroup
	signing.Go(func() { resigner{p.now, resign, p.note, pause}.keep(ctx, t) })
	defer signing.Wait()
	defer stop()
	return follow(command)
}

// environment is ours with vars in place of what had their names.
func (p *program) environment(vars []variable) []string {
	env := slices.DeleteFunc(slices.Clone(p.env), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(vars, func(v variable) bool { return v.name == name })
	})
	for _, v := range vars {
		env = append(env, v.name+"="+v.value)
	}
	return env
}

// follow runs a command to its end and makes its exit code ours. Ctrl-C is
// the command's affair: the terminal sends it one itself. What only reaches
// us is passed on.
func follow(command *exec.Cmd) error {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := command.Start(); err != nil {
		return fmt.Errorf("run %s: %w", command.Args[0], err)
	}
	done := make(chan error, 1)
	go func() { done <- command.Wait() }()
	for {
		select {
		case s := <-signals:
			if s != os.Interrupt {
				_ = command.Process.Signal(s) // it may have ended already
			}
		case err := <-done:
			return exitOfCommand(command, err)
		}
	}
}

func exitOfCommand(command *exec.Cmd, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit):
		return fmt.Errorf("run %s: %w", command.Args[0], err)
	}
	// As shells do it: ended by a signal is 128 and its number.
	if status, ok := exit.Sys().(interface {
		Signaled() bool
		Signal() syscall.Signal
	}); ok && status.Signaled() {
		return exitStatus(128 + int(status.Signal()))
	}
	return exitStatus(exit.ExitCode())
}
