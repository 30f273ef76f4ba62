package main

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants/world"
)

func (p *program) doctor() *cobra.Command {
	var config, adminFile string
	c := &cobra.Command{
		Use: "doctor --config tac.yaml [--admin-token-file FILE]", Short: "Check the set-up of Vault, GitHub and Slack",
		Long: "Look at everything that the bot stands on, and say for each thing that is wrong which line\n" +
			"to run or to change. What the bot's own tokens cannot see is reported as unknown; the token\n" +
			"of an administrator of the grants repository, in a file, lets doctor see more. Nothing is\n" +
			"changed. Exit code 1 means that something is wrong.",
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if config == "" {
				return wrongUsage(cmd, "say which configuration, as in --config tac.yaml")
			}
			c, err := p.configuration(config)
			if err != nil {
				return err
			}
			admin, err := secretFile(adminFile)
			if err != nil {
				return err
			}
			d, err := server.NewDoctor(c, p.now, slog.New(slog.NewJSONHandler(p.stderr, nil)))
			if err != nil {
				return err
			}
			return p.diagnosis(d.Examine(cmd.Context(), admin))
		},
	}
	c.Flags().StringVar(&config, "config", "", "the configuration file of the bot")
	c.Flags().StringVar(&adminFile, "admin-token-file", "", "a file with an administrator's GitHub token, used to read only")
	return c
}

// configuration reads the bot's configuration file.
func (p *program) configuration(path string) (server.Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return server.Config{}, fmt.Errorf("read the configuration: %w", err)
	}
	return server.Read(path, src, p.lookup)
}

// secretFile reads a secret from a file; no name is no secret.
func secretFile(path string) (world.Secret, error) {
	if path == "" {
		return world.Secret{}, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return world.Secret{}, fmt.Errorf("read a token: %w", err)
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return world.Secret{}, fmt.Errorf("read a token: %s is empty", path)
	}
	return world.NewSecret(text), nil
}

// diagnosis prints findings and turns them into an exit code.
func (p *program) diagnosis(found []world.Finding) error {
	problems := 0
	for _, f := range found {
		if f.Status == world.Problem {
			problems++
		}
	}
	if p.json() {
		p.printJSON(struct {
			Findings []world.Finding `json:"findings"`
		}{append([]world.Finding{}, found...)})
	} else {
		p.print("%s", findingsText(found))
		p.print("%s\n", summary(found))
	}
	if problems > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// findingsText shows findings by area: what is wrong first, then what could
// not be seen, and what is well in one line.
func findingsText(found []world.Finding) string {
	var b strings.Builder
	for _, area := range []string{"vault", "policies", "github", "slack"} {
		of := slices.DeleteFunc(slices.Clone(found), func(f world.Finding) bool { return f.Area != area })
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%s\n", area)
		for _, status := range []world.Standing{world.Problem, world.Unseen} {
			for _, f := range of {
				if f.Status != status {
					continue
				}
				fmt.Fprintf(&b, "  %-8s %s: %s\n", f.Status, plain(f.Check), plain(f.Message))
				if f.Mend != "" {
					fmt.Fprintf(&b, "           mend: %s\n", plain(f.Mend))
				}
			}
		}
		if fine := slices.DeleteFunc(of, func(f world.Finding) bool { return f.Status != world.Fine }); len(fine) > 0 {
			fmt.Fprintf(&b, "  ok       %s\n", counted(len(fine), "check"))
		}
	}
	return b.String()
}

func summary(found []world.Finding) string {
	n := map[world.Standing]int{}
	for _, f := range found {
		n[f.Status]++
	}
	return fmt.Sprintf("doctor: %d ok, %s, %d unknown", n[world.Fine], counted(n[world.Problem], "problem"), n[world.Unseen])
}
