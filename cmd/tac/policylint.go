package main

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/policies"
)

const formatGitHub = "github"

func (p *program) lint() *cobra.Command {
	format := choice{allowed: []string{formatText, formatJSON, formatGitHub}}
	c := &cobra.Command{
		Use: "lint [DIR] [--format text|json|github]", Short: "Find mistakes in policies/ and grants/",
		Long: "Find mistakes in the policies and grants of a clone. Exit code 1 means that there are\n" +
			"errors; warnings alone are no failure.",
		Args: takes("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if p.json() && format.value != "" && format.value != formatJSON {
				return wrongUsage(cmd, "-o json and --format %s cannot both be; leave one out", format.value)
			}
			if format.value == formatJSON {
				p.format.value = formatJSON // errors too are to be JSON
			}
			return p.lintDir(dir, format.value)
		},
	}
	c.Flags().Var(&format, "format", "how to print the findings")
	return c
}

func (p *program) lintDir(dir, format string) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	findings, err := r.lint()
	if err != nil {
		return err
	}
	slices.SortStableFunc(findings, func(a, b policies.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errors := 0
	for _, f := range findings {
		if f.Severity == policies.SeverityError {
			errors++
		}
	}
	switch {
	case p.json():
		p.printJSON(struct {
			Findings []policies.Finding `json:"findings"`
		}{append([]policies.Finding{}, findings...)})
	case format == formatGitHub:
		for _, f := range findings {
			p.print("%s\n", annotation(dir, f))
		}
	default:
		for _, f := range findings {
			p.printFinding(dir, &r, f)
		}
		p.print("%s: %s and %s in %s and %s\n", verdictOf(errors), counted(errors, "error"), counted(len(findings)-errors, "warning"),
			counted(len(r.policies), "policy file"), counted(len(r.grants), "grant"))
	}
	if errors > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

func verdictOf(errors int) string {
	if errors > 0 {
		return "not ok"
	}
	return "ok"
}

func counted(n int, noun string) string {
	switch n {
	case 0:
		return "no " + noun + "s"
	case 1:
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// printFinding shows a mistake, its line, and a caret under its column.
func (p *program) printFinding(dir string, r *repository, f policies.Finding) {
	message, rest, _ := strings.Cut(f.Message, "\n")
	p.print("%s:%d:%d: %s: %s [%s]\n", plain(filepath.Join(dir, f.File)), f.Line, f.Column, f.Severity, plain(message), f.Code)
	for _, line := range strings.Split(strings.TrimRight(rest, "\n"), "\n") {
		if rest != "" {
			p.print("      | %s\n", plain(line))
		}
	}
	source, ok := r.line(f.File, f.Line)
	if !ok || strings.TrimSpace(source) == "" {
		return
	}
	text, caret := window(source, f.Column)
	p.print("%5d | %s\n      | %s^\n", f.Line, text, strings.Repeat(" ", caret))
}

// mostSource is how much of a long line is shown around a mistake.
const mostSource = 110

// window returns the part of a line that holds column, which counts from 1 in
// characters, and where in it the column is. Every character stays one wide,
// so that the caret stands right.
func window(line string, column int) (text string, caret int) {
	runes := []rune(line)
	caret = min(max(column-1, 0), len(runes))
	if caret > mostSource-20 {
		cut := caret - mostSource/2
		runes, caret = append([]rune("…"), runes[cut:]...), caret-cut+1
	}
	if len(runes) > mostSource {
		runes = append(runes[:mostSource], '…')
	}
	for i, r := range runes {
		switch {
		case r == '\t':
			runes[i] = ' '
		case plain(string(r)) != string(r):
			runes[i] = '·'
		}
	}
	return string(runes), caret
}

// annotation is a workflow command: GitHub shows it beside the line.
func annotation(dir string, f policies.Finding) string {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	return fmt.Sprintf("::%s file=%s,line=%d,col=%d,title=%s::%s", f.Severity,
		property.Replace(filepath.ToSlash(filepath.Join(dir, f.File))), f.Line, f.Column, property.Replace(f.Code), data.Replace(plainLines(f.Message)))
}
