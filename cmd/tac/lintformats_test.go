package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/policies"
)

// faulty is the starting repository with a few mistakes, in a git repository
// of its own, some folders down.
func faulty(t *testing.T, change func(files map[string]string)) (dir string) {
	t.Helper()
	top := t.TempDir()
	files, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	files["policies/odd names.yaml"] = "kind: Role\nmetadata: {name: spare}\nspec: {members: [alice, alise, bop]}\n"
	if change != nil {
		change(files)
	}
	dir = filepath.Join(top, "infra", "grants repo")
	for name, text := range files {
		name = filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(top, ".git"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func lintOutput(t *testing.T, wantExit int, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if exit := run(context.Background(), append([]string{"policy", "lint"}, args...), os.Environ(), nil, &out, &errs); exit != wantExit {
		t.Fatalf("exit %d, want %d: %s%s", exit, wantExit, out.String(), errs.String())
	}
	return out.Bytes()
}

func TestTheSARIFReportIsWhatCodeScanningTakes(t *testing.T) {
	t.Parallel()
	out := lintOutput(t, exitFailed, faulty(t, nil), "--format", "sarif")
	report, err := sarif.FromBytes(out, sarif.WithStrictValidation())
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Validate(); err != nil {
		t.Error(err)
	}
	if report.Version != "2.1.0" || len(report.Runs) != 1 {
		t.Fatalf("got %s", out)
	}
	one := report.Runs[0]
	known := policies.Rules()
	if *one.Tool.Driver.Name != "tac" || len(one.Tool.Driver.Rules) != len(known) {
		t.Errorf("the tool has %d rules, want %d", len(one.Tool.Driver.Rules), len(known))
	}
	for i, rule := range one.Tool.Driver.Rules {
		if *rule.ID != known[i].Code || rule.DefaultConfiguration.Level != known[i].Severity || *rule.Help.Text != known[i].Help {
			t.Errorf("rule %d is %s", i, *rule.ID)
		}
	}
	if len(one.Results) != 3 {
		t.Fatalf("%d results: %s", len(one.Results), out)
	}
	var prints []string
	for _, r := range one.Results {
		if known[r.RuleIndex].Code != *r.RuleID || known[r.RuleIndex].Severity != r.Level {
			t.Errorf("the result %s has rule %d, %s", *r.RuleID, r.RuleIndex, r.Level)
		}
		place := r.Locations[0].PhysicalLocation
		if uri := *place.ArtifactLocation.URI; uri != "infra/grants%20repo/policies/odd%20names.yaml" {
			t.Errorf("the file is at %s", uri)
		}
		prints = append(prints, r.PartialFingerprints["primaryLocationLineHash"])
	}
	region := one.Results[2].Locations[0].PhysicalLocation.Region
	if *region.StartLine != 3 || *region.StartColumn != 32 || *one.ColumnKind != "unicodeCodePoints" {
		t.Errorf("bop is at %d:%d", *region.StartLine, *region.StartColumn)
	}
	if !regexp.MustCompile(`^[0-9a-f]{16}:1$`).MatchString(prints[1]) || prints[2] != strings.TrimSuffix(prints[1], "1")+"2" || prints[0] == prints[1] {
		t.Errorf("fingerprints %q", prints)
	}
}

func TestFingerprintsOutliveMovedLines(t *testing.T) {
	t.Parallel()
	prints := func(change func(map[string]string)) (all []string) {
		report, err := sarif.FromBytes(lintOutput(t, exitFailed, faulty(t, change), "--format", "sarif"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range report.Runs[0].Results {
			all = append(all, r.PartialFingerprints["primaryLocationLineHash"])
		}
		return all
	}
	const odd = "policies/odd names.yaml"
	before := prints(nil)
	if moved := prints(func(f map[string]string) { f[odd] = "# a line before\n\n" + f[odd] }); !slices.Equal(before, moved) {
		t.Errorf("after lines were put before it, %q became %q", before, moved)
	}
	if changed := prints(func(f map[string]string) { f[odd] = strings.Replace(f[odd], "bop", "bob, bop", 1) }); slices.Equal(before, changed) {
		t.Errorf("another line has the same fingerprints %q", changed)
	}
}

func TestACleanRepositoryHasAnEmptySARIFReport(t *testing.T) {
	t.Parallel()
	out := lintOutput(t, exitDone, faulty(t, func(f map[string]string) { delete(f, "policies/odd names.yaml") }), "--format", "sarif")
	report, err := sarif.FromBytes(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Validate(); err != nil || !bytes.Contains(out, []byte(`"results": []`)) {
		t.Errorf("%v: %s", err, out)
	}
}

func TestAnnotationsNameFilesAsTheGitRepositoryDoes(t *testing.T) {
	t.Parallel()
	out := string(lintOutput(t, exitFailed, faulty(t, nil), "--format", "github"))
	want := "::error file=infra/grants repo/policies/odd names.yaml,line=3,col=25,title=person/unknown::alise in the role spare is not in People, and so has no role; did you mean alice?\n"
	if !strings.Contains(out, want) {
		t.Errorf("got %s", out)
	}
}

func TestTheCaretStandsUnderItsCharacter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		claim, line, text, caret string
		column                   int
	}{
		{"plain text", "a: b", "a: b", "   ^", 4},
		{"a tab is one blank", "\ta: b", " a: b", "    ^", 5},
		{"characters that are two wide", "説明: b", "説明: b", "      ^", 5},
		{"an emoji", "🔥: b", "🔥: b", "    ^", 4},
		{"a mark that joins another", "e\u0301: b", "e\u0301: b", "   ^", 5},
		{"writing that runs the other way", "\u202ea: b", "·a: b", "    ^", 5},
		{"past the end", "a", "a", " ^", 9},
	}
	for _, tt := range tests {
		text, caret := window(tt.line, tt.column)
		if got := blanks(text, caret) + "^"; text != tt.text || got != tt.caret {
			t.Errorf("%s:\n%s\n%s\nwant\n%s\n%s", tt.claim, text, got, tt.text, tt.caret)
		}
	}
}

// TestLintTakesTimeInProportion: ten times the files take no more than
// fifteen times the time, so nothing in lint looks at all files for each file.
// Small worlds and a large one take turns, so that a busy machine slows both.
func TestLintTakesTimeInProportion(t *testing.T) {
	few, many := manyFiles(100), manyFiles(1000)
	took := func(times int, r *repository) time.Duration {
		began := time.Now()
		for range times {
			findings, err := r.lint(time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC))
			if err != nil || len(findings) > 0 {
				t.Fatalf("error %v, %d findings: %v", err, len(findings), findings[:min(1, len(findings))])
			}
		}
		return time.Since(began)
	}
	least := math.Inf(1)
	for range 5 {
		small, large := took(10, &few)/10, took(1, &many)
		least = min(least, float64(large)/float64(small))
		t.Logf("100 policy files and 100 grants take %s, 1000 and 1000 take %s: %.1f times as long", small, large, float64(large)/float64(small))
		if least <= 15 {
			return
		}
	}
	t.Errorf("ten times the files take %.1f times the time", least)
}

// manyFiles is a company with n teams: each has a policy file with a role, a
// resource and a policy by pattern, and each has a grant.
func manyFiles(n int) repository {
	var r repository
	people := "kind: People\nmetadata: {name: everyone}\nspec:\n  people:\n    - {github: boss, id: 1}\n"
	for i := range n {
		team := "t" + strconv.Itoa(i)
		people += fmt.Sprintf("    - {github: %s, id: %d, manager: boss}\n    - {github: %s-lead, id: %d, manager: boss}\n", team, 10*i+10, team, 10*i+11)
		r.policies = append(r.policies, policies.File{Path: "policies/" + team + ".yaml", Data: []byte(strings.ReplaceAll(`kind: Role
metadata: {name: TEAM}
spec: {rotation: {timezone: UTC, start: 2026-01-05T09:00:00, shift: 168h, members: [TEAM, TEAM-lead]}}
---
kind: Role
metadata: {name: TEAM-leads}
spec: {members: [TEAM-lead], github_teams: [acme/TEAM]}
---
kind: Resource
metadata: {name: TEAM-db}
spec: {environment: production, owners: [TEAM-leads], vault: {engine: database, path: database/creds/TEAM, policy: tac-TEAM}, max_duration: 4h}
---
kind: AccessPolicy
metadata: {name: TEAM}
spec:
  resources: [TEAM-*]
  max_duration: 4h
  auto_approve:
    conditions:
      - {role: [TEAM], max_duration: 1h}
      - {role: [TEAM-leads], max_duration: 2h, ticket: {pattern: 'OPS-[0-9]+'}}
  approval: {approver_roles: [TEAM-leads, manager]}
`, "TEAM", team))})
		text := fmt.Sprintf("kind: AccessGrant\nmetadata: {id: 20261122-%010d}\nspec:\n  resource: %s-db\n  requester: {github: %s, id: %d}\n  duration: 2h\n  reason: Deploy hotfix\n  requested_at: 2026-11-22T14:03:11Z\n  via: git\n",
			i, team, team, 10*i+10)
		r.grants = append(r.grants, policies.File{Path: fmt.Sprintf("grants/%s-db/20261122-%010d.yaml", team, i), Data: []byte(text)})
	}
	guardrail := "---\nkind: Guardrail\nmetadata: {name: all}\nspec: {resources: ['*'], max_duration: 12h, auto_approve_max_duration: 2h}\n"
	r.policies = append(r.policies, policies.File{Path: "policies/people.yaml", Data: []byte(people + guardrail)})
	return r
}
