package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants/world"
)

func (p *program) demo() *cobra.Command {
	var o demo.Options
	var vault, tokenFile string
	c := &cobra.Command{
		Use: "demo [--once] [--dir DIR] [--listen ADDR] [--vault ADDR [--vault-token-file FILE]]", Short: "Play whole lives of grants on this machine", Args: takes(),
		Long: "Play whole lives of grants on this machine: GitHub, Slack, Vault and the targets are\n" +
			"played too, so nothing needs to be installed. --once plays them, checks each claim and ends.\n\n" +
			"--vault plays them against a Vault that you run, such as `vault server -dev`. The demo sets\n" +
			"up what it needs there under a name of its own, in real time, and takes it away at the end.\n" +
			"The token comes from --vault-token-file, else from VAULT_TOKEN, else from ~/.vault-token.",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			o.Out = p.stdout
			if tokenFile != "" && vault == "" {
				return wrongUsage(cmd, "--vault-token-file goes with --vault ADDR")
			}
			if vault != "" {
				if o.Vault, err = p.ownVault(vault, tokenFile); err != nil {
					return err
				}
			}
			// Killed by these, it would leave everything behind in the Vault: a
			// reader who has seen enough (`| head`), a terminal that is closed.
			ctx, stop := signal.NotifyContext(cmd.Context(), endings()...)
			defer stop()
			return demo.Run(ctx, o)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&o.Once, "once", false, "play, check, and end")
	flags.StringVar(&o.Dir, "dir", "", "where files for trying further go; else a temporary folder")
	flags.StringVar(&o.Listen, "listen", "", "where tac listens, as in 127.0.0.1:8080; else a free port")
	flags.StringVar(&vault, "vault", "", "a Vault that you run, as in http://127.0.0.1:8200; else one is played")
	flags.StringVar(&tokenFile, "vault-token-file", "", "a file with a token that may set up engines there")
	return c
}

// endings are the signals that end the demo, besides those that end any
// command. Under nohup it lives on.
func endings() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return []os.Signal{syscall.SIGPIPE}
	}
	return []os.Signal{syscall.SIGPIPE, syscall.SIGHUP}
}

// ownVault finds what `vault` itself would use. No token at all is left for
// the demo to complain about.
func (p *program) ownVault(address, tokenFile string) (*demo.OwnVault, error) {
	v := &demo.OwnVault{Address: address, From: "VAULT_TOKEN"}
	token := p.lookup("VAULT_TOKEN")
	if home := p.lookup("HOME"); tokenFile == "" && token == "" && home != "" {
		v.From = filepath.Join(home, ".vault-token")
		content, err := os.ReadFile(v.From)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the token of `vault login`: %w", err)
		}
		token = string(content)
	}
	if tokenFile != "" {
		content, err := os.ReadFile(tokenFile)
		if err != nil {
			return nil, fmt.Errorf("read --vault-token-file: %w", err)
		}
		v.From, token = tokenFile, string(content)
	}
	v.Token = world.NewSecret(strings.TrimSpace(token))
	if file := p.lookup("VAULT_CACERT"); file != "" {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read VAULT_CACERT: %w", err)
		}
		v.CACert = content
	}
	return v, nil
}
