package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/policies"
)

func (p *program) schema() *cobra.Command {
	var all string
	c := &cobra.Command{
		Use: "schema [KIND] [--all DIR]", Short: "Print JSON Schemas of the documents, for editors and validators",
		Long: "Print the JSON Schema (draft-07) of one kind of document, or without KIND the one that tells\n" +
			"all kinds apart by their key kind. --all writes that one and one for each kind into a folder.\n" +
			"Kinds: " + strings.Join(policies.SchemaKinds(), ", ") + ".",
		Args: takes("[KIND]"), ValidArgs: policies.SchemaKinds(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all != "" {
				if len(args) > 0 {
					return wrongUsage(cmd, "--all writes every kind; leave %s out", args[0])
				}
				return p.writeSchemas(all)
			}
			text, err := policies.Schema(strings.Join(args, ""))
			if err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			p.print("%s", text)
			return nil
		},
	}
	c.Flags().StringVar(&all, "all", "", "write all schemas into this folder")
	return c
}

// writeSchemas writes every schema into a folder, over those of another
// version.
func (p *program) writeSchemas(dir string) error {
	files, err := starter.Schemas()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	names := sortedKeys(files)
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(files[name]), 0o666); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	if p.json() {
		p.printJSON(struct {
			Dir   string   `json:"dir"`
			Files []string `json:"files"`
		}{dir, names})
		return nil
	}
	p.print("Wrote %s to %s.\n", counted(len(names), "schema"), plain(dir))
	return nil
}
