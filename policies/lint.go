package policies

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Lint finds what loads and cannot be meant. Its files are named after what
// they are about, and so are the codes: the check behind condition/implied
// stands in lint_conditions.go, and so on. Each file has a table of its
// checks; Rules returns them all.
//
// A finding is an error where the documents contradict themselves or a
// guardrail: nothing that may come later makes them right. It is a warning
// where they may be meant as they stand, and would surprise somebody.

// A Rule is one kind of mistake that `tac policy lint` knows.
type Rule struct {
	Code     string // stable: for machines, and to look up
	Severity string // SeverityError or SeverityWarning
	Summary  string // what is wrong, in one line
	Help     string // why it matters and what to do about it
}

// check is a rule and how it is found. Those without run are found elsewhere:
// while the documents are read, or by the command that reads the files.
type check struct {
	Rule
	run func(*linter)
}

// readingChecks are what Load, or the command that reads the files, finds.
var readingChecks = []check{
	{Rule: Rule{"no-documents", SeverityError, "there are no policy documents",
		"Without documents every request is denied. Run the command in a grants repository, or make one: tac init DIR."}},
	{Rule: Rule{"syntax", SeverityError, "the file is not YAML, or has parts of YAML that tac does not take",
		"Anchors, aliases, tags and keys that stand twice are refused: what a file says has to be what a reader sees."}},
	{Rule: Rule{"kind", SeverityError, "the kind of a document is missing, unknown or in the wrong folder",
		"Write one of the kinds that tac knows. Only PolicyTest documents stand in policies/tests/."}},
	{Rule: Rule{"schema", SeverityError, "a key is unknown or missing, or a value is of the wrong type",
		"A key that is not understood might have been a limit, so none is passed over. `tac policy schema KIND` shows what there is."}},
	{Rule: Rule{"value", SeverityError, "a value is not one that can stand there",
		"The message says what was expected."}},
	{Rule: Rule{"duplicate", SeverityError, "a name stands a second time",
		"Names and accounts are unique over all files: with two accounts one could approve one's own request. Keep one."}},
	{Rule: Rule{"test/missing", SeverityError, "a PolicyTest leaves out what every case needs",
		"A case says who asks for what, when, and for how long; what all cases share may stand once, above them."}},
	{Rule: Rule{"test/unknown", SeverityError, "a PolicyTest names something that the policies do not know",
		"A claim about a person, resource, team or schedule that is not there holds whatever the policies say. Mend the name."}},
	{Rule: Rule{"test/table", SeverityError, "the table of a PolicyTest cannot be read",
		"The message says which column or line is wrong."}},
	{Rule: Rule{"file/not-plain", SeverityError, "a file or folder is a link, executable, or no file at all",
		"The bot reads plain files from git only, so what stands there would not count. Put the content itself there."}},
	{Rule: Rule{"file/ignored", SeverityError, "a file ends in .yml, which the bot does not read",
		"A policy that is not read is worse than none. Rename the file so that it ends in .yaml."}},
	{Rule: Rule{"file/too-large", SeverityError, "a file is larger than anything that is read",
		"Split the file: documents may stand in any number of files."}},
}

// setChecks are what Lint finds in the policy documents.
func setChecks() []check {
	return slices.Concat(roleChecks, peopleChecks, calendarChecks, resourceChecks, policyChecks, approvalChecks, conditionChecks, guardrailChecks)
}

// Rules returns every kind of mistake that lint knows, by code.
func Rules() []Rule {
	var all []Rule
	for _, c := range slices.Concat(readingChecks, setChecks(), testChecks, grantChecks) {
		all = append(all, c.Rule)
	}
	slices.SortFunc(all, func(a, b Rule) int { return cmp.Compare(a.Code, b.Code) })
	return all
}

// Lint is LintAt without a clock: what depends on the time is left out.
func (s *Set) Lint() []Finding { return s.LintAt(time.Time{}) }

// LintAt finds what loads but cannot be meant, in the order of the files: names
// that lead nowhere, conditions that never hold, policies that exceed a
// guardrail. Such parts deny, or are tightened, at run time; lint says so
// before. A set that did not load has no findings here: Load returned them.
func (s *Set) LintAt(now time.Time) []Finding {
	return s.lint(setChecks(), &linter{now: now})
}

func (s *Set) lint(checks []check, l *linter) []Finding {
	if s.Err() != nil {
		return nil
	}
	l.prepare(s)
	for i := range checks {
		if l.rule = &checks[i].Rule; checks[i].run != nil {
			checks[i].run(l)
		}
	}
	sortFindings(l.findings)
	return slices.Compact(l.findings)
}

// linter runs checks over one set. Lists are sorted by name, so that the same
// documents give the same sentences.
type linter struct {
	set      *Set
	now      time.Time // zero: not known
	rule     *Rule     // whose findings are noted
	findings []Finding

	roles     []*role
	resources []*resource
	people    []*person
	unmanaged []*person               // those without a manager
	covered   map[*policy][]*resource // by name
	holding   map[*role]holding
	suggested int

	grants []granted
	suite  *Suite
}

func (l *linter) prepare(s *Set) {
	l.set = s
	l.roles = slices.SortedFunc(maps.Values(s.roles), func(a, b *role) int { return cmp.Compare(a.name, b.name) })
	l.resources = slices.SortedFunc(maps.Values(s.resources), func(a, b *resource) int { return cmp.Compare(a.Name, b.Name) })
	l.people = slices.SortedFunc(maps.Values(s.people.byID), func(a, b *person) int {
		return cmp.Compare(strings.ToLower(a.GitHub), strings.ToLower(b.GitHub))
	})
	for _, p := range l.people {
		if s.manager(p.ID) == 0 {
			l.unmanaged = append(l.unmanaged, p)
		}
	}
	l.covered, l.holding = map[*policy][]*resource{}, map[*role]holding{}
	for _, r := range l.resources {
		for _, p := range r.policies {
			l.covered[p] = append(l.covered[p], r)
		}
	}
}

// find notes a finding of the rule that is being checked.
func (l *linter) find(pos strictyaml.Pos, format string, args ...any) {
	l.findings = append(l.findings, newFinding(pos, l.rule.Severity, l.rule.Code, format, args...))
}

// meant proposes the known name that is closest to an unknown one.
func meant[T any](name string, known map[string]T) string {
	if best, ok := strictyaml.Nearest(name, slices.Sorted(maps.Keys(known))); ok {
		return "; did you mean " + best + "?"
	}
	return ""
}

// mostSuggestions is how often a run looks for what was meant: each look is at
// all names that there are, and nobody reads so many.
const mostSuggestions = 200

// suggest is meant, for what may stand in very many places.
func suggest[T any](l *linter, name string, known map[string]T) string {
	if l.suggested++; l.suggested > mostSuggestions {
		return ""
	}
	return meant(name, known)
}

// few names up to five and counts the rest: "a, b and 3 more".
func few(names []string) string {
	const most = 5
	if len(names) <= most+1 {
		return andList(names)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func resourceNames(rs []*resource) []string {
	names := make([]string, len(rs))
	for i, r := range rs {
		names[i] = r.Name
	}
	return names
}

// holding is whoever may ever hold a role.
type holding struct {
	ids map[int64]bool // those in People of whom it is known
	// open: others may hold it, by a team or a pager.
	open bool
}

// add needs an h of its own: what holders returned belongs to all.
func (h holding) add(other holding) holding {
	maps.Copy(h.ids, other.ids)
	h.open = h.open || other.open
	return h
}

// holders returns who may ever hold a role. A pager with which nobody in
// People has an account puts nobody on duty.
func (l *linter) holders(r *role) holding {
	if r == nil {
		return holding{}
	}
	h, known := l.holding[r]
	if known {
		return h
	}
	h = l.onDuty(r)
	for _, id := range r.members {
		h.ids[id] = true
	}
	h.open = h.open || len(r.teams) > 0
	l.holding[r] = h
	return h
}

// onDuty returns who may ever be on duty by a role's rotation or pagers.
func (l *linter) onDuty(r *role) holding {
	h := holding{ids: map[int64]bool{}}
	if r == nil {
		return h
	}
	if r.rotation != nil {
		for _, m := range r.rotation.members {
			if m.id != 0 {
				h.ids[m.id] = true
			}
		}
	}
	for _, p := range r.pagers {
		h.open = h.open || len(l.set.people.byPager[p.schedule.Pager]) > 0
	}
	return h
}

// holdersOf returns who may ever hold any of the roles; `manager` is passed
// over.
func (l *linter) holdersOf(list roleList) holding {
	if len(list.refs) == 1 && list.refs[0].role != nil {
		return l.holders(list.refs[0].role) // large companies have large roles: no copy
	}
	h := holding{ids: map[int64]bool{}}
	for _, ref := range list.refs {
		h = h.add(l.holders(ref.role))
	}
	return h
}

// membersOf returns who holds one of the roles at any time, as a member.
func membersOf(list roleList) map[int64]bool {
	ids := map[int64]bool{}
	for _, ref := range list.refs {
		if ref.role != nil {
			for _, id := range ref.role.members {
				ids[id] = true
			}
		}
	}
	return ids
}

func within(ids, in map[int64]bool) bool {
	for id := range ids {
		if !in[id] {
			return false
		}
	}
	return true
}

// names returns the logins of people, sorted.
func (l *linter) names(ids map[int64]bool) []string {
	var names []string
	for _, p := range l.people {
		if ids[p.ID] {
			names = append(names, p.GitHub)
		}
	}
	return names
}

// conditionSpec is a condition as it was written: where its keys stand.
func (p *policy) conditionSpec(i int) *conditionSpec {
	return &p.written.AutoApprove.Conditions[i].V
}

// posOr is where a value stands or, if it was not written, the fallback.
func posOr[T any](v strictyaml.Value[T], fallback strictyaml.Pos) strictyaml.Pos {
	if v.Set {
		return v.Pos
	}
	return fallback
}
