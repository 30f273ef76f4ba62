package main

import (
	"slices"
	"strings"
	"testing"
)

// TestEveryGuardStandsInTheCodeOnce is the quick half of what the program
// demands: the tables fit the code, and leave no row out.
func TestEveryGuardStandsInTheCodeOnce(t *testing.T) {
	t.Chdir("../..")
	rows, guards, err := read("")
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range guards {
		if _, err := g.texts(); err != nil {
			t.Errorf("%s: %s (%s): %v", g.place, g.row, g.what, err)
		}
	}
	for _, row := range rows {
		if !slices.ContainsFunc(guards, func(g *guard) bool { return g.row == row }) {
			t.Errorf("%s has no guard", row)
		}
	}
}

func TestATableThatCannotBeMeantIsRefused(t *testing.T) {
	const whole = "guard A1: what it is\nfile a.go\n-old\n+new\ntest ./bot\n"
	guards, err := parse("t", whole)
	if err != nil || len(guards) != 1 || guards[0].pattern != "^TestA1_" || guards[0].edits[0].old[0] != "old" {
		t.Fatalf("%+v, %v", guards, err)
	}
	for claim, text := range map[string]string{
		"no test":                  strings.Replace(whole, "test ./bot\n", "", 1),
		"a test of another row":    strings.Replace(whole, "test ./bot", "test ./bot ^TestA10_", 1),
		"no file":                  strings.Replace(whole, "file a.go\n-old\n+new\n", "", 1),
		"nothing is taken away":    strings.Replace(whole, "+new", "+old", 1),
		"lines of no file":         strings.Replace(whole, "file a.go\n", "", 1),
		"a guard of no row":        strings.Replace(whole, "guard A1", "guard E1", 1),
		"something else":           strings.Replace(whole, "test ./bot", "tests ./bot", 1),
		"an edit before any guard": "file a.go\n" + whole,
	} {
		if guards, err := parse("t", text); err == nil {
			t.Errorf("%s: read as %+v", claim, *guards[0])
		}
	}
}

func TestWhatATestSaysIsJudged(t *testing.T) {
	g := &guard{row: "A1"}
	failed := outcome{by: "TestA1_X", said: "--- FAIL: TestA1_X (0.1s)\n"}
	for _, tt := range []struct {
		said string
		err  error
		want outcome
	}{
		{"PASS\n", nil, outcome{said: "PASS\n"}},
		{failed.said, errNoticed, failed},
		{"--- FAIL: TestA10_X (0.1s)\n", errNoticed, outcome{}},
		{"panic: x\n", errNoticed, outcome{}},
	} {
		got := judge(g, tt.said, tt.err)
		if tt.want.said == "" {
			tt.want = outcome{said: tt.said, broken: got.broken}
			if got.broken == "" {
				t.Errorf("%q is no answer, and yet: %+v", tt.said, got)
			}
		}
		if got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.said, got, tt.want)
		}
	}
}
