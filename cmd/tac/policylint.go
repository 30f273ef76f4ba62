package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/text/width"

	"github.com/tigeraccess/tac/policies"
)

const (
	formatGitHub = "github"
	formatSARIF  = "sarif"
)

func (p *program) lint() *cobra.Command {
	format := choice{allowed: []string{formatText, formatJSON, formatGitHub, formatSARIF}}
	var rules bool
	c := &cobra.Command{
		Use: "lint [DIR] [--format text|json|github|sarif] [--rules]", Short: "Find mistakes in policies/ and grants/",
		Long: "Find mistakes in the policies and grants of a clone: what cannot be read, and what loads and\n" +
			"would surprise later. Exit code 1 means that there are errors; warnings alone are no failure.\n\n" +
			"--rules prints what it looks for, a line for each code.",
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
			if rules {
				if len(args) > 0 || format.value == formatGitHub || format.value == formatSARIF {
					return wrongUsage(cmd, "--rules prints what there is to find, as text or JSON, and reads no folder")
				}
				p.printRules()
				return nil
			}
			return p.lintDir(dir, format.value)
		},
	}
	c.Flags().Var(&format, "format", "how to print the findings")
	c.Flags().BoolVar(&rules, "rules", false, "print the table of all codes instead")
	return c
}

func (p *program) lintDir(dir, format string) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	findings, err := r.lint(p.now())
	if err != nil {
		return err
	}
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
		place := newPlaces(dir)
		for _, f := range findings {
			p.print("%s\n", annotation(place.of(f.File), f))
		}
	case format == formatSARIF:
		p.printJSON(sarifReport(build().Version, findings, newPlaces(dir), &r))
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

// printRules is where the manual's table comes from.
func (p *program) printRules() {
	all := policies.Rules()
	if p.json() {
		type rule struct {
			Code     string `json:"code"`
			Severity string `json:"severity"`
			Summary  string `json:"summary"`
			Help     string `json:"help"`
		}
		out := make([]rule, len(all))
		for i, r := range all {
			out[i] = rule(r)
		}
		p.printJSON(struct {
			Rules []rule `json:"rules"`
		}{out})
		return
	}
	longest := 0
	for _, r := range all {
		longest = max(longest, len(r.Code))
	}
	for _, r := range all {
		p.print("%s  %s  %s\n", pad(r.Code, longest), pad(r.Severity, len(policies.SeverityWarning)), r.Summary)
	}
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
	p.print("%5d | %s\n      | %s^\n", f.Line, text, blanks(text, caret))
}

// mostSource is how much of a long line is shown around a mistake.
const mostSource = 110

// window returns the part of a line that holds column, which counts from 1 in
// characters, and at which of its characters the column is. What a terminal
// could act on is replaced.
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

// blanks is as wide on a terminal as the first n characters of text: some
// fill two cells there, and marks that join another character fill none.
func blanks(text string, n int) string {
	var b strings.Builder
	for _, r := range []rune(text)[:n] {
		switch kind := width.LookupRune(r).Kind(); {
		case unicode.In(r, unicode.Mn, unicode.Me):
		case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
			b.WriteString("  ")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// annotation is a workflow command: GitHub shows it beside the line.
func annotation(place string, f policies.Finding) string {
	data := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	return fmt.Sprintf("::%s file=%s,line=%d,col=%d,title=%s::%s", f.Severity,
		property.Replace(place), f.Line, f.Column, property.Replace(f.Code), data.Replace(plainLines(f.Message)))
}
