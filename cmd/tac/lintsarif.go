package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/tigeraccess/tac/policies"
)

// sarifReport is the findings as code scanning takes them: SARIF 2.1.0, with
// every rule of the table, whether it was broken or not.
func sarifReport(version string, findings []policies.Finding, place places, r *repository) *sarif.Report {
	run := sarif.NewRunWithInformationURI("tac", "https://github.com/tigeraccess/tac")
	run.Tool.Driver.WithVersion(version)
	run.WithColumnKind("unicodeCodePoints")
	run.WithAutomationDetails(sarif.NewRunAutomationDetails().WithID("tac-policy-lint/"))
	index := map[string]int{}
	for i, rule := range policies.Rules() {
		index[rule.Code] = i
		run.AddRule(rule.Code).
			WithDescription(sentence(rule.Summary)).
			WithFullDescription(sarif.NewMultiformatMessageString().WithText(sentence(rule.Summary) + " " + rule.Help)).
			WithHelp(sarif.NewMultiformatMessageString().WithText(rule.Help).WithMarkdown(rule.Help)).
			WithDefaultConfiguration(sarif.NewReportingConfiguration().WithLevel(rule.Severity)).
			WithProperties(sarif.NewPropertyBag().Add("problem.severity", rule.Severity).Add("precision", "very-high").Add("tags", []string{"access-policy"}))
	}
	seen := map[string]int{}
	for _, f := range findings {
		uri := (&url.URL{Path: place.of(f.File)}).EscapedPath()
		result := sarif.NewRuleResult(f.Code).WithLevel(f.Severity).
			WithMessage(sarif.NewTextMessage(plainLines(f.Message))).
			AddLocation(sarif.NewLocationWithPhysicalLocation(sarif.NewPhysicalLocation().
				WithArtifactLocation(sarif.NewArtifactLocation().WithURI(uri).WithURIBaseID("%SRCROOT%")).
				WithRegion(sarif.NewRegion().WithStartLine(f.Line).WithStartColumn(f.Column)))).
			WithPartialFingerprints(map[string]string{"primaryLocationLineHash": fingerprint(f, uri, r, seen)})
		if i, known := index[f.Code]; known {
			result.WithRuleIndex(i)
		}
		run.AddResult(result)
	}
	return sarif.NewReport().AddRun(run)
}

// sentence gives a summary its capital and full stop.
func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] + "." }

// fingerprint tells code scanning which alert a finding is, run after run. It
// rests on what is wrong with which text in which file, and not on the line's
// number, so that an alert that somebody dismissed stays dismissed when lines
// are put before it. Findings that are alike are numbered.
func fingerprint(f policies.Finding, uri string, r *repository, seen map[string]int) string {
	line, _ := r.line(f.File, f.Line)
	sum := sha256.Sum256([]byte(f.Code + "\x00" + uri + "\x00" + strings.TrimSpace(line)))
	hash := hex.EncodeToString(sum[:8])
	seen[hash]++
	return fmt.Sprintf("%s:%d", hash, seen[hash])
}
