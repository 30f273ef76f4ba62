package policies

import (
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// The corpus in testdata/decisions is for security reviewers: each file is a
// small repository of policies together with tests of kind PolicyTest, run as
// `tac policy test` runs them.

// corpus returns the files of each archive by its name.
func corpus(t testing.TB) map[string][]File {
	t.Helper()
	paths, err := filepath.Glob("testdata/decisions/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("%d archives, %v", len(paths), err)
	}
	all := map[string][]File{}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		for _, f := range a.Files {
			all[name] = append(all[name], File{Path: f.Name, Data: f.Data})
		}
	}
	return all
}

// suiteOf reads the policies and the tests of a corpus file.
func suiteOf(t testing.TB, files []File) (*Set, *Suite) {
	t.Helper()
	set, findings := Load(files, time.LoadLocation)
	suite, wrong := ReadTests(files, set, time.LoadLocation)
	for _, f := range append(findings, wrong...) {
		t.Errorf("%s", f)
	}
	if t.Failed() {
		t.FailNow()
	}
	return set, suite
}

func TestCorpus(t *testing.T) {
	for name, files := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			set, suite := suiteOf(t, files)
			failures, _ := suite.Run(set, nil)
			for _, f := range failures {
				t.Errorf("%s:%d: %s", f.File, f.Line, f.Name)
				for _, m := range f.Mismatches {
					t.Logf("    %s: wanted %s\n        got    %s", m.Key, m.Wanted, m.Got)
				}
				for _, r := range f.Matters {
					t.Logf("    %s %s: %s (%s), wanted %s", r.Rule, r.Condition, r.Observed, r.Holds, r.Wanted)
				}
			}
		})
	}
}

func TestTheCorpusHoldsAtLeast150Decisions(t *testing.T) {
	const least = 150
	total := 0
	outcomes := map[Outcome]int{}
	for _, files := range corpus(t) {
		_, suite := suiteOf(t, files)
		total += suite.Cases()
		for _, c := range suite.cases {
			outcomes[c.want.outcome]++
		}
	}
	t.Logf("%d decisions: %d allow, %d review, %d deny", total, outcomes[Allow], outcomes[NeedsReview], outcomes[Deny])
	if total < least {
		t.Errorf("%d decisions; there have to be at least %d", total, least)
	}
}

// conditionKeys returns every key that a condition can have, as ticket.state,
// by the struct that reads it: a key of tomorrow is asked for as well.
func conditionKeys(spec reflect.Type, before string) (keys []string) {
	for i := range spec.NumField() {
		field := spec.Field(i)
		key, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if v, ok := field.Type.FieldByName("V"); ok && v.Type.Kind() == reflect.Struct && v.Type != reflect.TypeFor[length]() {
			keys = append(keys, conditionKeys(v.Type, before+key+".")...)
			continue
		}
		keys = append(keys, before+key)
	}
	return keys
}

// keysWritten returns the keys that each condition has, by its rule.
func keysWritten(set *Set, files []File) map[string][]string {
	keys := map[string][]string{}
	form := regexp.MustCompile(`^spec\.auto_approve\.conditions\[(\d+)\]\.([a-z_]+(?:\.[a-z_]+)?)$`)
	for _, f := range files {
		nodes, _ := strictyaml.Parse(f.Path, f.Data, fileLimits)
		for _, n := range nodes {
			n.Walk(func(path string, _, _ strictyaml.Pos, _ string) {
				if m := form.FindStringSubmatch(path); m != nil {
					i, _ := strconv.Atoi(m[1])
					at := slices.IndexFunc(set.policies, func(p *policy) bool { return p.name == nameOf(n) })
					rule := set.policies[at].conditions[i].rule
					keys[rule] = append(keys[rule], m[2])
				}
			})
		}
	}
	return keys
}

func nameOf(n strictyaml.Node) string {
	var doc document[struct{}]
	_ = n.Decode(&doc) // the keys of its spec are not asked for
	return doc.Metadata.Name.V
}

// TestEveryConditionKeyDecidesInTheCorpus: for each key there is a request
// that a condition with it allows, and one that is not allowed and for which
// that very key does not hold.
func TestEveryConditionKeyDecidesInTheCorpus(t *testing.T) {
	allowed, refused, unknown := map[string]int{}, map[string]int{}, map[string]int{}
	for _, files := range corpus(t) {
		set, suite := suiteOf(t, files)
		written := keysWritten(set, files)
		for _, c := range suite.cases {
			d := set.Evaluate(c.req, c.facts)
			for _, v := range d.Verdicts {
				for _, key := range written[v.Rule] {
					if d.Outcome == Allow {
						allowed[key]++
					}
				}
			}
			for _, r := range d.Reasons {
				keys := []string{r.Condition}
				if r.Condition == "business_hours_only" && slices.Contains(written[r.Rule], "calendar") {
					keys = append(keys, "calendar")
				}
				if slices.Contains(written[r.Rule], "name") {
					keys = append(keys, "name")
				}
				for _, key := range keys {
					if d.Outcome != Allow && r.Holds == No {
						refused[key]++
					}
					if d.Outcome != Allow && r.Holds == Unknown {
						unknown[key]++
					}
				}
			}
		}
	}
	for _, key := range conditionKeys(reflect.TypeFor[conditionSpec](), "") {
		t.Logf("%-28s %3d allowed, %3d refused, %3d not known", key, allowed[key], refused[key], unknown[key])
		if allowed[key] == 0 || refused[key] == 0 {
			t.Errorf("%s: the corpus has to hold a request that it lets through and one that it stops", key)
		}
	}
	for _, key := range []string{"role", "team_scope", "on_call", "ticket.tracker", "ticket.state", "ticket.assignee", "ticket.change_window",
		"at_most.live_per_person", "at_most.live_per_resource", "at_most.daily_per_person", "at_most.daily_per_resource", "expression"} {
		if unknown[key] == 0 {
			t.Errorf("%s: the corpus has to hold a request for which nobody knows whether it holds", key)
		}
	}
}

// TestMutantsAreWhatLoadingAnewGives: deletions are tried on copies that
// share most parts, and these must decide as a set that was loaded anew.
func TestMutantsAreWhatLoadingAnewGives(t *testing.T) {
	for name, files := range corpus(t) {
		t.Run(name, func(t *testing.T) {
			_, suite := suiteOf(t, files)
			m := mutator{suite: suite, zones: cachedZones(time.LoadLocation)}
			if err := m.read(files); err != nil {
				t.Fatal(err)
			}
			m.index()
			tried := 0
			for i := range m.documents {
				d := &m.documents[i]
				for _, what := range d.restrictions() {
					node, _ := d.node.Without(what.key)
					part, _ := m.without(d, node)
					whole := m.load(d, node)
					if (part == nil) != (whole.Err() != nil) {
						t.Fatalf("without %v: %v", what, whole.Err())
					}
					for k := range suite.cases {
						c := &suite.cases[k]
						if part == nil {
							break
						}
						a, b := part.Evaluate(c.req, c.facts), whole.Evaluate(c.req, c.facts)
						if !reflect.DeepEqual(a, b) {
							t.Fatalf("without %v: %s\n%+v\n%+v", what, c.name, a, b)
						}
					}
					tried++
				}
			}
			if tried == 0 {
				t.Error("nothing was taken away")
			}
		})
	}
}

// TestTheCorpusMissesNoDeletion: whatever restricts somebody in the corpus is
// there because a case needs it, but for what nobody can ever meet.
func TestTheCorpusMissesNoDeletion(t *testing.T) {
	nobodyMeets := []string{"conditions[0]: {calendar: not-written}", "conditions[0]: {team_scope: true}", "conditions[0]: {role: [securty]}", "approval: {approver_roles: [securty]}"}
	noticed := 0
	for name, files := range corpus(t) {
		_, suite := suiteOf(t, files)
		m, err := suite.Mutate(files)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		noticed += m.Noticed
		for _, d := range m.Survivors {
			if !slices.Contains(nobodyMeets, d.Text) {
				t.Errorf("%s: %s:%d:%d: no case fails without %s", name, d.File, d.Line, d.Column, d.Text)
			}
		}
	}
	t.Logf("%d deletions are noticed", noticed)
}
