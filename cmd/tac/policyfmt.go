package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/policies"
)

func (p *program) policyFmt() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "fmt [DIR] [--check]", Short: "Write policies/ in the one canonical form",
		Long: "Write the files below policies/ in the one canonical form: keys in one order, comments\n" +
			"where they stand, the same meaning. With --check nothing is written, and the exit code\n" +
			"is 1 where a file has another form.",
		Args: takes("[DIR]"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return p.formatPolicies(dir, check)
		},
	}
	c.Flags().BoolVar(&check, "check", false, "name the files that have another form, and write nothing")
	return c
}

func (p *program) formatPolicies(dir string, check bool) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	if _, findings, err := r.load(); err != nil {
		return err
	} else if len(findings) > 0 {
		return fmt.Errorf("%s: what cannot be read has no form; run: tac policy lint", findings[0])
	}
	odd := 0
	for _, f := range r.policies {
		formatted, err := policies.Format(f.Path, f.Data)
		if err != nil {
			return err
		}
		if bytes.Equal(formatted, f.Data) {
			continue
		}
		odd++
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		p.print("%s\n", plain(name))
		if check {
			continue
		}
		if err := os.WriteFile(name, formatted, 0o644); err != nil { //nolint:gosec // policies are for everybody to read
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
	}
	if check && odd > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}
