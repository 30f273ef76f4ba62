package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

// rule is a condition as the generator draws it: fields that may be there.
type rule struct{ fields []string }

func (r rule) String() string { return "{" + strings.Join(r.fields, ", ") + "}" }

var everyField = []string{
	"max_duration: 1h", "max_duration: 4h", "require_ticket: true", "business_hours_only: true", "team_scope: true",
	"on_call: [on-call]", "ticket: {pattern: 'INC-[0-9]+'}", "ticket: {state: open}",
	"role: [developer]", "role: [dba-team, on-call]", "role: [helpers]", "calendar: nowhere",
}

func key(field string) string { k, _, _ := strings.Cut(field, ":"); return k }

func drawRule(t *rapid.T) rule {
	fields := rapid.SliceOfNDistinct(rapid.SampledFrom(everyField), 1, 4, key).Draw(t, "fields")
	return rule{fields}
}

func drawPolicies(t *rapid.T) [][]rule {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []rule {
		return rapid.SliceOfN(rapid.Custom(drawRule), 0, 3).Draw(t, "rules")
	}), 1, 3).Draw(t, "policies")
}

// compose writes the policies, and a role of these helpers, as files.
func compose(policies [][]rule, helpers []string) []File {
	files := []File{doc("helpers.yaml", "kind: Role\nmetadata: {name: helpers}\nspec: {members: ["+strings.Join(helpers, ", ")+"]}\n")}
	for i, rules := range policies {
		var b strings.Builder
		fmt.Fprintf(&b, "kind: AccessPolicy\nmetadata: {name: p%d}\nspec:\n  resources: [wiki, postgres-%d*]\n", i, i)
		if len(rules) > 0 {
			b.WriteString("  auto_approve:\n    conditions:\n")
		}
		for _, r := range rules {
			fmt.Fprintf(&b, "      - %s\n", r)
		}
		fmt.Fprintf(&b, "  approval: {approver_roles: [team-lead, security, helpers]}\n")
		files = append(files, doc(fmt.Sprintf("p%d.yaml", i), b.String()))
	}
	return files
}

func drawRequest(t *rapid.T) (Request, Facts) {
	who := rapid.SampledFrom([]grants.Principal{alice, bob, carol, dana, grace, heidi, ivan, mallory}).Draw(t, "who")
	req := Request{
		Requester: who,
		Resource:  "wiki",
		Duration:  rapid.SampledFrom([]time.Duration{0, time.Second, minute, hour, hour + 1, 2 * hour, 4 * hour, 5 * hour, 9 * hour, 1 << 60}).Draw(t, "duration"),
		Reason:    rapid.SampledFrom([]string{"", "because"}).Draw(t, "reason"),
		Ticket:    rapid.SampledFrom([]string{"", "INC-1", "OPS-2", "not one"}).Draw(t, "ticket"),
	}
	start := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	f := facts(start.Add(time.Duration(rapid.IntRange(0, 60*24*3600).Draw(t, "second")) * time.Second))
	for _, ref := range []TeamRef{developers, dbas} {
		if rapid.Bool().Draw(t, "known") {
			delete(f.Teams, ref)
		}
	}
	return req, f
}

func loadDrawn(t *rapid.T, world, files []File) *Set {
	s, findings := Load(append(slices.Clone(world), files...), time.LoadLocation)
	if s.Err() != nil {
		t.Fatalf("load: %v", findings)
	}
	return s
}

func TestPropertyAnotherFieldNeverAllowsMore(t *testing.T) {
	world := readDir(t, "acme")
	rapid.Check(t, func(t *rapid.T) {
		policies := drawPolicies(t)
		req, f := drawRequest(t)
		before := loadDrawn(t, world, compose(policies, []string{"ivan"})).Evaluate(req, f)
		for i := range policies {
			for k := range policies[i] {
				extra := rapid.SampledFrom(everyField).Draw(t, "extra")
				if slices.ContainsFunc(policies[i][k].fields, func(have string) bool { return key(have) == key(extra) }) {
					continue
				}
				policies[i][k].fields = append(policies[i][k].fields, extra)
			}
		}
		after := loadDrawn(t, world, compose(policies, []string{"ivan"})).Evaluate(req, f)
		if after.Outcome > before.Outcome {
			t.Fatalf("%s became %s:\n%v", before.Outcome, after.Outcome, policies)
		}
	})
}

func TestPropertyOneMemberLessNeverAllowsMore(t *testing.T) {
	world := readDir(t, "acme")
	rapid.Check(t, func(t *rapid.T) {
		policies := drawPolicies(t)
		req, f := drawRequest(t)
		helpers := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"alice", "bob", "carol", "dana", "ivan"}), 1, 4, rapid.ID).Draw(t, "helpers")
		before := loadDrawn(t, world, compose(policies, helpers)).Evaluate(req, f)
		after := loadDrawn(t, world, compose(policies, helpers[1:])).Evaluate(req, f)
		if after.Outcome > before.Outcome {
			t.Fatalf("%s became %s without %s", before.Outcome, after.Outcome, helpers[0])
		}
	})
}

func TestPropertyTheOrderOfFilesNeverMatters(t *testing.T) {
	world := readDir(t, "acme")
	rapid.Check(t, func(t *rapid.T) {
		files := append(slices.Clone(world), compose(drawPolicies(t), []string{"ivan", "bob"})...)
		req, f := drawRequest(t)
		one, _ := Load(files, time.LoadLocation)
		other, _ := Load(rapid.Permutation(files).Draw(t, "order"), time.LoadLocation)
		a, b := fmt.Sprintf("%+v", one.Evaluate(req, f)), fmt.Sprintf("%+v", other.Evaluate(req, f))
		if a != b || !slices.Equal(one.Lint(), other.Lint()) {
			t.Fatalf("one order:\n%s\nanother:\n%s", a, b)
		}
	})
}

func TestPropertyWithoutFactsNothingIsAllowed(t *testing.T) {
	world := readDir(t, "acme")
	rapid.Check(t, func(t *rapid.T) {
		s := loadDrawn(t, world, compose(drawPolicies(t), []string{"ivan", "alice"}))
		req, _ := drawRequest(t)
		d := s.Evaluate(req, Facts{})
		if d.Outcome != Deny || s.CountApprovals(d, Proposal{Head: headSHA, Requester: req.Requester}, nil, Facts{}).Satisfied {
			t.Fatalf("%s by %s", d.Outcome, d.Rule)
		}
	})
}

// TestPropertyAdviceIsTrue takes the advice that names a duration and asks
// again: a sentence that people act on must not be wrong.
func TestPropertyAdviceIsTrue(t *testing.T) {
	world := readDir(t, "acme")
	rapid.Check(t, func(t *rapid.T) {
		s := loadDrawn(t, world, compose(drawPolicies(t), []string{"ivan", "bob"}))
		req, f := drawRequest(t)
		d := s.Evaluate(req, f)
		_, fixes, found := strings.Cut(d.Nearest, ": ask for ")
		if !found || d.Outcome == Allow || strings.ContainsAny(fixes, ",") || strings.Contains(fixes, " and ") {
			return
		}
		shorter, err := grants.ParseDuration(fixes)
		if err != nil {
			return // another sentence
		}
		if req.Duration = shorter; s.Evaluate(req, f).Outcome != Allow {
			t.Fatalf("%q: the advice is denied", d.Nearest)
		}
	})
}
