package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/policies"
)

func (p *program) policyTest() *cobra.Command {
	format := choice{allowed: []string{formatText, formatJSON, formatGitHub}}
	var mutate bool
	var pattern string
	c := &cobra.Command{
		Use:   "test [DIR] [--mutate] [--run PATTERN] [--format text|json|github]",
		Short: "Run the tests in policies/tests/",
		Long: "Run the cases in policies/tests/: documents of kind PolicyTest, which say what is known,\n" +
			"what is asked, and what has to be decided. Exit code 1 means that a case failed.\n\n" +
			"With --mutate, each thing in the policies that restricts somebody is taken away in turn;\n" +
			"what no test misses is named, and is a failure too.",
		Args: takes("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			match, err := regexp.Compile(pattern)
			switch {
			case err != nil:
				return wrongUsage(cmd, "--run: %s is not a regular expression: %v", strictyaml.Quote(pattern), err)
			case p.json() && format.value != "" && format.value != formatJSON:
				return wrongUsage(cmd, "-o json and --format %s cannot both be; leave one out", format.value)
			case mutate && pattern != "":
				return wrongUsage(cmd, "--mutate asks all cases; leave --run out")
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if format.value == formatJSON {
				p.format.value = formatJSON // errors too are to be JSON
			}
			return p.testDir(dir, match, mutate, format.value)
		},
	}
	c.Flags().Var(&format, "format", "how to print what fails; github: beside its line in a pull request")
	c.Flags().BoolVar(&mutate, "mutate", false, "take each restriction away, and name those that no test misses")
	c.Flags().StringVar(&pattern, "run", "", `only cases whose file and name match, as in "on-call.*4h"`)
	return c
}

// testReport is what `policy test -o json` answers.
type testReport struct {
	OK       bool               `json:"ok"`
	Files    int                `json:"files"`
	Cases    int                `json:"cases"` // that were run
	Mistakes []policies.Finding `json:"mistakes"`
	Failures []policies.Failure `json:"failures"`
	Mutation *mutationReport    `json:"mutation,omitempty"`
	Untested bool               `json:"untested,omitempty"` // deletions were asked for, and there is no test to notice one
}

type mutationReport struct {
	Deletions int `json:"deletions"`
	policies.Mutation
}

func (p *program) testDir(dir string, match *regexp.Regexp, mutate bool, format string) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	set, mistakes, err := r.load()
	if err != nil {
		return err
	}
	suite, wrong := policies.ReadTests(r.policies, set, time.LoadLocation)
	report := testReport{Files: suite.Files, Mistakes: append(append([]policies.Finding{}, mistakes...), wrong...), Failures: []policies.Failure{}}
	if len(report.Mistakes) == 0 {
		failures, run := suite.Run(set, match.MatchString)
		report.Failures, report.Cases = append(report.Failures, failures...), run
		if run == 0 && suite.Cases() > 0 {
			return errors.New("no case matches --run " + strictyaml.Quote(match.String()))
		}
	}
	if mutate && len(report.Mistakes)+len(report.Failures) == 0 && suite.Cases() > 0 {
		m, err := suite.Mutate(r.policies)
		if err != nil {
			return err
		}
		report.Mutation = &mutationReport{m.Deletions(), m}
	}
	report.Untested = mutate && len(report.Mistakes) == 0 && suite.Cases() == 0
	report.OK = len(report.Mistakes)+len(report.Failures) == 0 && !report.Untested && (report.Mutation == nil || len(report.Mutation.Survivors) == 0)
	switch {
	case p.json():
		p.printJSON(report)
	case format == formatGitHub:
		places := newPlaces(dir)
		for _, f := range report.findings() {
			p.print("%s\n", annotation(places.of(f.File), f))
		}
		p.printSummary(&report)
	default:
		p.printTests(dir, &r, &report)
	}
	if !report.OK {
		return exitStatus(exitFailed)
	}
	return nil
}

// findings is everything that is not as it should be, for whoever shows it
// beside its line.
func (report *testReport) findings() []policies.Finding {
	out := slices.Clone(report.Mistakes)
	for _, f := range report.Failures {
		var differs []string
		for _, m := range f.Mismatches {
			differs = append(differs, fmt.Sprintf("%s: wanted %s, got %s", m.Key, m.Wanted, m.Got))
		}
		out = append(out, policies.Finding{File: f.File, Line: f.Line, Column: f.Column, Severity: policies.SeverityError,
			Code: "test/failed", Message: f.Name + "\n" + strings.Join(differs, "\n")})
	}
	if report.Mutation != nil {
		for _, d := range report.Mutation.Survivors {
			out = append(out, policies.Finding{File: d.File, Line: d.Line, Column: d.Column, Severity: policies.SeverityError,
				Code: "test/unnoticed", Message: d.Text + ": no test fails without it"})
		}
	}
	return out
}

func (p *program) printTests(dir string, r *repository, report *testReport) {
	for _, f := range report.Mistakes {
		p.printFinding(dir, r, f)
	}
	for _, f := range report.Failures {
		p.printFailure(dir, f)
	}
	if report.Mutation != nil {
		for _, d := range report.Mutation.Survivors {
			p.print("%s: %s: no test fails without it\n", p.place(dir, d.File, d.Line, d.Column), plain(d.Text))
		}
		for _, d := range report.Mutation.Redundant {
			p.print("%s: %s: would change nothing\n", p.place(dir, d.File, d.Line, d.Column), plain(d.Text))
		}
	}
	p.printSummary(report)
}

func (p *program) printSummary(report *testReport) {
	switch {
	case len(report.Mistakes) > 0:
		p.print("not ok: %s, so no case was run\n", counted(len(report.Mistakes), "mistake"))
	case len(report.Failures) > 0:
		p.print("not ok: %d of %s failed\n", len(report.Failures), counted(report.Cases, "case"))
	case report.Untested:
		p.print("not ok: no tests, so no deletion would be noticed; `tac init DIR` writes examples\n")
	case report.Cases == 0:
		p.print("no tests: say in policies/tests/*.yaml what has to be decided; `tac init DIR` writes examples\n")
	default:
		p.print("ok: %s in %s\n", counted(report.Cases, "case"), counted(report.Files, "file"))
	}
	m := report.Mutation
	if m == nil {
		return
	}
	also := ""
	if n := len(m.Redundant); n > 0 {
		also = fmt.Sprintf("; %d more would change nothing, since another limit or a default says the same", n)
	}
	if n := len(m.Survivors); n > 0 {
		p.print("not ok: %d of %s noticed by no test%s\n", n, countedAre(m.Deletions, "deletion"), also)
		return
	}
	p.print("%d of %s noticed%s\n", m.Noticed, countedAre(m.Deletions, "deletion"), also)
}

// countedAre is "1 deletion is" or "34 deletions are".
func countedAre(n int, noun string) string {
	if n == 1 {
		return counted(n, noun) + " is"
	}
	return strconv.Itoa(n) + " " + noun + "s are"
}

func (p *program) place(dir, file string, line, column int) string {
	return plain(filepath.Join(dir, file)) + ":" + strconv.Itoa(line) + ":" + strconv.Itoa(column)
}

// printFailure shows where a case stands, in what it came out otherwise, and
// what made the decision another one.
func (p *program) printFailure(dir string, f policies.Failure) {
	p.print("%s: failed: %s\n", p.place(dir, f.File, f.Line, f.Column), plain(f.Name))
	for _, m := range f.Mismatches {
		p.mismatch(m)
	}
	shown, err := decisionOf(f.Decision)
	if err != nil {
		return // a decision always can be shown; what failed has been said
	}
	rule := ""
	for _, reason := range shown.Reasons {
		if !mattersIn(f.Matters, reason.Rule, reason.Condition) {
			continue
		}
		if reason.Rule != rule {
			rule = reason.Rule
			p.print("    in %s\n", plain(rule))
		}
		for _, line := range reasonLines(reason, p.width()-6) {
			p.print("      %s\n", line)
		}
	}
	// The sentence for the requester often tells all, and was shown where it
	// is what differs.
	if shown.Nearest != "" && !slices.ContainsFunc(f.Mismatches, func(m policies.Mismatch) bool { return m.Key == "nearest" }) {
		for i, line := range wrapped(plain(shown.Nearest), p.width()-15) {
			p.print("    %-9s  %s\n", map[bool]string{true: "nearest"}[i == 0], line)
		}
	}
}

// mismatch shows what was wanted and what came out; sentences are folded.
func (p *program) mismatch(m policies.Mismatch) {
	key := m.Key
	for _, side := range []struct{ label, text string }{{"wanted", m.Wanted}, {"got", m.Got}} {
		for _, line := range wrapped(plain(side.text), p.width()-22) {
			p.print("    %-9s  %-6s %s\n", key, side.label, line)
			key, side.label = "", ""
		}
	}
}

func mattersIn(matters []policies.Reason, rule, condition string) bool {
	for _, r := range matters {
		if r.Rule == rule && r.Condition == condition {
			return true
		}
	}
	return false
}
