package vaultclaims

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"testing"
)

//go:embed scripts/*.txt prologues/*.txt
var files embed.FS

// Scripts reads all scripts, by name.
func Scripts() ([]*Script, error) {
	entries, err := files.ReadDir("scripts")
	if err != nil {
		return nil, fmt.Errorf("list scripts: %w", err)
	}
	var out []*Script
	for _, e := range entries {
		text, err := files.ReadFile("scripts/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read script %s: %w", e.Name(), err)
		}
		s, err := parseScript(strings.TrimSuffix(e.Name(), ".txt"), string(text))
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// Difference is one place where a play does not agree with another.
type Difference struct {
	Claim string
	Call  string
	Texts []string
}

// Comparison is what Compare found.
type Comparison struct {
	Compared    int // answers, each with its status and everything in its body
	OneSided    int // answers that only one of the grounds can show
	Differences []Difference
}

// Compare holds what one ground answered against what another did, place by
// place. With listed set, the places that the list of differences names are
// left out.
func Compare(want, got *Played, listed bool) Comparison {
	var out Comparison
	for i, l := range got.script.lines {
		if l.step == nil || l.step.start != "" {
			continue
		}
		if want.skipped[i] || got.skipped[i] {
			out.OneSided++
			continue
		}
		out.Compared++
		var excepts []except
		if listed {
			excepts = l.step.excepts
		}
		if texts := compareAnswers(want.answers[i], got.answers[i], excepts); len(texts) > 0 {
			call := fmt.Sprintf("%s line %d: %s", got.script.Name, l.number, strings.SplitN(l.text, "\n", 2)[0])
			out.Differences = append(out.Differences, Difference{l.section, call, texts})
		}
	}
	return out
}

// Report makes the differences failures of the test, by claim.
func (c Comparison) Report(t *testing.T) {
	t.Helper()
	var claims []string
	for _, d := range c.Differences {
		if !slices.Contains(claims, d.Claim) {
			claims = append(claims, d.Claim)
		}
	}
	for _, claim := range claims {
		t.Run(claim, func(t *testing.T) {
			for _, d := range c.Differences {
				if d.Claim == claim {
					t.Errorf("%s\n\t%s", d.Call, strings.Join(d.Texts, "\n\t"))
				}
			}
		})
	}
}

// Run plays every script on grounds that start makes, and holds the answers
// against those that the real Vault gave when they were recorded.
func Run(t *testing.T, start Start) {
	t.Helper()
	scripts, err := Scripts()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		t.Run(s.Name, func(t *testing.T) {
			Compare(s.Recorded(), Play(t, start(t, s.Kind), s), true).Report(t)
		})
	}
}
