package vaultclaims

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestEveryListedDifferenceIsUsedAndEveryUsedOneListed(t *testing.T) {
	scripts, err := Scripts()
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, s := range scripts {
		used = append(used, s.differences()...)
	}
	slices.Sort(used)
	if got, want := slices.Compact(used), slices.Sorted(maps.Keys(Differences)); !slices.Equal(got, want) {
		t.Errorf("the scripts name %q, the list has %q", got, want)
	}
}

func TestAScriptIsWrittenAsItWasRead(t *testing.T) {
	scripts, err := Scripts()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scripts {
		raw, err := files.ReadFile("scripts/" + s.Name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Format(s.Recorded(), s.Recorded()); got != string(raw) {
			t.Errorf("%s.txt is written differently", s.Name)
		}
	}
}

func TestWhatCountsAsADifference(t *testing.T) {
	rows := []struct{ name, want, got, text string }{
		{"the status", `200`, `204`, "got  204"},
		{"a text", `400 {"errors":["invalid lease"]}`, `400 {"errors":["lease not found"]}`, "errors.0"},
		{"one error more", `400 {"errors":["a"]}`, `400 {"errors":["a","b"]}`, "errors"},
		{"a key too many", `200 {"a":1}`, `200 {"a":1,"b":null}`, "b: got null, want nothing there"},
		{"a key too few", `200 {"a":1,"b":null}`, `200 {"a":1}`, "b: missing"},
		{"a type", `200 {"a":1}`, `200 {"a":"1"}`, "a: got"},
		{"null in place of nothing", `200 {"a":[]}`, `200 {"a":null}`, "a: got null"},
		{"a number", `200 {"version":1}`, `200 {"version":2}`, "version"},
		{"an end too late", `200 {"data":{"ttl":300}}`, `200 {"data":{"ttl":305}}`, "data.ttl"},
		{"how many racers", `1x 200`, `2x 200`, "got  2x 200"},
		{"an answer too many", `204`, ``, "0 answers"},
		{"an end that is about the same", `200 {"data":{"ttl":300}}`, `200 {"data":{"ttl":297}}`, ""},
		{"nothing", `200 {"a":[{"b":null}]}`, `200 {"a":[{"b":null}]}`, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := strings.Join(compareAnswers(parse(t, row.want), parse(t, row.got), nil), "; ")
			if row.text == "" && got != "" || !strings.Contains(got, row.text) {
				t.Fatalf("got %q, want %q", got, row.text)
			}
		})
	}
}

func parse(t *testing.T, text string) []Answer {
	t.Helper()
	if text == "" {
		return nil
	}
	a, err := parseAnswer(text)
	if err != nil {
		t.Fatal(err)
	}
	return []Answer{a}
}

func TestScriptsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"< 200":                        "an answer without a call",
		"  keep a b":                   "an option without a call",
		"root GET x\n  fly away":       "unknown option",
		"root get x":                   "is not: who METHOD path body",
		"root GET x\n< 200 {":          "unexpected EOF",
		"root GET x\n< two":            "invalid syntax",
		"root GET x\n< 200 {} {}":      "more follows",
		"& a root GET x\n< 200":        "an answer without a call",
		"root GET x\n  racers a dozen": "unknown option",
	} {
		if _, err := parseScript("x", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
