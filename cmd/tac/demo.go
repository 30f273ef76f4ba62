package main

import (
	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/demo"
)

func (p *program) demo() *cobra.Command {
	var o demo.Options
	c := &cobra.Command{
		Use: "demo [--once] [--dir DIR] [--listen ADDR]", Short: "Play whole lives of grants on this machine", Args: takes(),
		Long: "Play whole lives of grants on this machine: GitHub, Slack, Vault and the targets are\n" +
			"played too, so nothing needs to be installed. --once plays them, checks each claim and ends.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Out = p.stdout
			return demo.Run(cmd.Context(), o)
		},
	}
	flags := c.Flags()
	flags.BoolVar(&o.Once, "once", false, "play, check, and end")
	flags.StringVar(&o.Dir, "dir", "", "where files for trying further go; else a temporary folder")
	flags.StringVar(&o.Listen, "listen", "", "where tac listens, as in 127.0.0.1:8080; else a free port")
	return c
}
