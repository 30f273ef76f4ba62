package main

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/server"
)

func (p *program) serve() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: "serve --config tac.yaml", Short: "Run the bot", Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return wrongUsage(cmd, "say which configuration, as in --config tac.yaml")
			}
			c, err := p.configuration(config)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(p.stderr, nil))
			s, err := server.New(c, server.Options{Now: p.now, Log: log})
			if err != nil {
				return err
			}
			log.Info("listening", "url", s.URL(), "version", build().Version)
			return p.refusedStart(s.Run(cmd.Context()))
		},
	}
	c.Flags().StringVar(&config, "config", "", "the configuration file")
	return c
}

// refusedStart tells why a bot did not start: the very findings that doctor
// prints, on standard error, since standard output is nobody's to read here.
func (p *program) refusedStart(err error) error {
	var wrong *server.WrongSetUp
	if !errors.As(err, &wrong) {
		return err
	}
	fmt.Fprint(p.stderr, findingsText(wrong.Findings))
	p.note("%v", wrong)
	return exitStatus(exitFailed)
}

// buildInfo is what this program was built from.
type buildInfo struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // empty: not known
	Dirty   bool   `json:"dirty"`  // built from more than the commit
	Go      string `json:"go"`
}

func build() buildInfo {
	b := buildInfo{Version: "(devel)", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if info.Main.Version != "" {
		b.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Dirty = s.Value == "true"
		}
	}
	return b
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Say which version this is", Args: takes(),
		RunE: func(*cobra.Command, []string) error {
			b := build()
			if p.json() {
				p.printJSON(b)
				return nil
			}
			p.print("tac %s", b.Version)
			if b.Commit != "" {
				p.print(", commit %s", b.Commit)
			}
			if b.Dirty {
				p.print(" with changes")
			}
			p.print(", %s\n", b.Go)
			return nil
		},
	}
}
