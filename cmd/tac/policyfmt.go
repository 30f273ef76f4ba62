package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/policies"
)

func (p *program) policyFmt() *cobra.Command {
	var check bool
	c := &cobra.Command{
		Use: "fmt [DIR] [--check]", Short: "Write policies/ in the one canonical form",
		Long: "Write the files below policies/ in the one canonical form: keys in one order, comments\n" +
			"where they stand, the same meaning. With --check nothing is written, and the exit code\n" +
			"is 1 where a file has another form. Nothing is written either where a file cannot be read.",
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

// formatReport is what `policy fmt -o json` answers.
type formatReport struct {
	Files    []string           `json:"files"`   // that have another form, or had
	Changed  bool               `json:"changed"` // whether they were written
	Findings []policies.Finding `json:"findings,omitempty"`
}

func (p *program) formatPolicies(dir string, check bool) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	_, findings, err := r.load()
	if err != nil {
		return err
	}
	report := formatReport{Files: []string{}, Findings: findings}
	// What cannot be read has no form. Everything is looked at before anything
	// is written, so that a mistake in one file leaves no half of the work.
	var odd []policies.File
	for _, f := range r.policies {
		formatted, err := policies.Format(f.Path, f.Data)
		report.Findings = append(report.Findings, unread(findings, err)...)
		if err == nil && !bytes.Equal(formatted, f.Data) {
			odd = append(odd, policies.File{Path: f.Path, Data: formatted})
		}
	}
	if len(report.Findings) > 0 {
		return p.printUnformatted(dir, &r, &report)
	}
	for _, f := range odd {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		report.Files = append(report.Files, name)
		if !check {
			if err := os.WriteFile(name, f.Data, 0o644); err != nil { //nolint:gosec // policies are for everybody to read
				return fmt.Errorf("write %s: %w", f.Path, err)
			}
			report.Changed = true
		}
		if !p.json() {
			p.print("%s\n", plain(name))
		}
	}
	if p.json() {
		p.printJSON(report)
	}
	if check && len(odd) > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// unread turns what keeps a file from being read into findings, but for those
// that loading has told already: it leaves out what stands in tests.
func unread(told []policies.Finding, err error) (out []policies.Finding) {
	var many strictyaml.Errors
	if !errors.As(err, &many) {
		return nil
	}
	for _, e := range many {
		f := policies.Finding{File: e.File, Line: e.Line, Column: e.Column, Severity: policies.SeverityError, Code: "syntax", Message: e.Message}
		if !slices.Contains(told, f) {
			out = append(out, f)
		}
	}
	return out
}

func (p *program) printUnformatted(dir string, r *repository, report *formatReport) error {
	if p.json() {
		p.printJSON(report)
		return exitStatus(exitFailed)
	}
	for _, f := range report.Findings {
		p.printFinding(dir, r, f)
	}
	p.print("not ok: %s, so nothing was written\n", counted(len(report.Findings), "mistake"))
	return exitStatus(exitFailed)
}
