package policies

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Mutation is what comes of taking away, one at a time, each thing in the
// policies that restricts somebody. A deletion is noticed where a case fails
// without it, or the documents do not load.
type Mutation struct {
	Noticed   int        `json:"noticed"`
	Survivors []Deletion `json:"survivors"` // no case fails without them
	// Redundant is what no case fails without and no case could: another
	// limit, or a default, says the same.
	Redundant []Deletion `json:"redundant"`
}

// Deletions is how many were tried, those left out that change nothing.
func (m *Mutation) Deletions() int { return m.Noticed + len(m.Survivors) }

// Deletion is something that was taken away, and where it stood.
type Deletion struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Text   string `json:"text"`
}

// Mutate tries the suite on the policies with each restriction taken away.
// The files are those that the suite was read with, and every case has to
// hold as they stand.
func (s *Suite) Mutate(files []File) (Mutation, error) {
	m := mutator{suite: s, zones: cachedZones(s.zones), out: Mutation{Survivors: []Deletion{}, Redundant: []Deletion{}}}
	if err := m.read(files); err != nil {
		return Mutation{}, err
	}
	if failures, _ := s.Run(m.set, nil); len(failures) > 0 {
		return Mutation{}, errors.New("a case fails before anything is taken away")
	}
	m.index()
	for i := range m.documents {
		d := &m.documents[i]
		for _, what := range d.restrictions() {
			m.try(d, what)
		}
	}
	return m.out, nil
}

type mutator struct {
	suite     *Suite
	zones     func(string) (*time.Location, error)
	set       *Set // of the documents as they stand
	documents []mutable
	cases     map[string][]*testCase // by resource
	lines     map[string][]string    // of each file
	out       Mutation
}

// mutable is a document as it stands.
type mutable struct {
	kind string
	node strictyaml.Node
}

// restriction is something in a document that can be taken away.
type restriction struct {
	path string
	kind string         // mapping, list or scalar
	pos  strictyaml.Pos // where it is shown
	key  strictyaml.Pos // by which Without knows it
}

func (m *mutator) read(files []File) error {
	m.lines = map[string][]string{}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range files {
		if isTestFile(f.Path) {
			continue
		}
		nodes, errs := strictyaml.Parse(f.Path, f.Data, fileLimits)
		if len(errs) > 0 {
			return errs.Err()
		}
		m.lines[f.Path] = strings.Split(string(f.Data), "\n")
		for _, n := range nodes {
			kind, _ := n.Text("kind")
			m.documents = append(m.documents, mutable{kind.V, n})
		}
	}
	m.set = m.load(nil, strictyaml.Node{})
	return m.set.Err()
}

// load compiles all documents, with another node in the place of one.
func (m *mutator) load(changed *mutable, node strictyaml.Node) *Set {
	c := m.compiler()
	for i := range m.documents {
		d := &m.documents[i]
		if d == changed {
			c.compile(node)
		} else {
			c.compile(d.node)
		}
	}
	c.link()
	c.set.faults = c.faults
	return c.set
}

func (m *mutator) compiler() *compiler {
	return &compiler{zones: m.zones, names: map[string]strictyaml.Pos{}, set: &Set{
		loaded: true, people: newPeople(), roles: map[string]*role{}, calendars: map[string]*calendar{}, resources: map[string]*resource{},
	}}
}

func (c *compiler) compile(n strictyaml.Node) {
	if kind, ok := n.Text("kind"); ok {
		c.document(n, kind)
	}
}

func (m *mutator) index() {
	m.cases = map[string][]*testCase{}
	for i := range m.suite.cases {
		c := &m.suite.cases[i]
		m.cases[c.req.Resource] = append(m.cases[c.req.Resource], c)
	}
}

// restricting says what restricts somebody, by the path of its key in a
// document of a kind. Within conditions and approvals everything does that is
// not named in harmless, so that a key of tomorrow is tried as well.
var restricting = map[string]*regexp.Regexp{
	"AccessPolicy": regexp.MustCompile(`^spec\.(request\.roles.*|max_duration|audit\.require_reason|break_glass.*|extensions.*|auto_approve\.conditions\[.*|approval.*)$`),
	"Guardrail":    regexp.MustCompile(`^spec\..*$`),
	"Resource":     regexp.MustCompile(`^spec\.max_duration$`),
	"Role":         regexp.MustCompile(`^spec\.pagerduty\.levels.*$`),
}

var harmless = regexp.MustCompile(`^spec\.(auto_approve\.conditions\[\d+\]\.name|break_glass\.review_within)$`)

var item = regexp.MustCompile(`^(.*)\[\d+\]$`)

// restrictions returns what can be taken out of a document. The only name of
// a list is left there: without it the whole key means nobody, which the
// deletion of the key or of its condition stands for.
func (d *mutable) restrictions() (out []restriction) {
	form := restricting[d.kind]
	if form == nil {
		return nil
	}
	items := map[string]int{}
	d.node.Walk(func(path string, key, value strictyaml.Pos, kind string) {
		if m := item.FindStringSubmatch(path); m != nil && kind == "scalar" {
			items[m[1]]++
		}
		if form.MatchString(path) && !harmless.MatchString(path) {
			out = append(out, restriction{path, kind, shownAt(key, value, kind, path), key})
		}
	})
	return slices.DeleteFunc(out, func(r restriction) bool {
		m := item.FindStringSubmatch(r.path)
		return m != nil && items[m[1]] == 1
	})
}

// shownAt is where a reader looks for it: an item where it begins, and not at
// its dash.
func shownAt(key, value strictyaml.Pos, kind, path string) strictyaml.Pos {
	if item.MatchString(path) && (kind == "scalar" || value.Line == key.Line) {
		return value
	}
	return key
}

// try takes one thing away and asks the cases that it can matter to.
func (m *mutator) try(d *mutable, what restriction) {
	node, ok := d.node.Without(what.key)
	if !ok || strings.HasSuffix(m.text(what.pos), ": false") && !glassKey.MatchString(what.path) { // which says what is said without it
		return
	}
	changed, resources := m.without(d, node)
	switch {
	case changed == nil:
		m.out.Noticed++
	case m.noticed(changed, resources):
		m.out.Noticed++
	case m.says(m.set, resources, d, what.path) == m.says(changed, resources, d, what.path):
		m.out.Redundant = append(m.out.Redundant, m.deletion(what))
	default:
		m.out.Survivors = append(m.out.Survivors, m.deletion(what))
	}
}

func (m *mutator) noticed(changed *Set, resources []string) bool {
	j := changed.Judge()
	for _, name := range resources {
		for _, c := range m.cases[name] {
			if !c.holds(j) {
				return true
			}
		}
	}
	return false
}

// without returns the policies with another node in the place of a document,
// and the resources that this can matter to; nil where they do not load. Only
// what depends on the document is made anew: repositories have hundreds of
// them, and each is mutated a dozen times.
func (m *mutator) without(d *mutable, node strictyaml.Node) (*Set, []string) {
	part := m.compiler()
	part.compile(node)
	if len(part.faults) > 0 {
		return nil, nil
	}
	switch made := part.set; {
	case len(made.policies) == 1:
		return m.set.withPolicy(made.policies[0])
	case len(made.guardrails) == 1:
		return m.set.withGuardrail(made.guardrails[0])
	case len(made.resources) == 1:
		for _, r := range made.resources {
			return m.set.withResource(r)
		}
	}
	all := m.load(d, node)
	if all.Err() != nil {
		return nil, nil
	}
	return all, slices.Sorted(maps.Keys(m.cases))
}

// The sets below are copies that share with s whatever did not change.

func (s *Set) withPolicy(p *policy) (*Set, []string) {
	changed := *s
	p.link(&changed)
	i := slices.IndexFunc(s.policies, func(old *policy) bool { return old.name == p.name })
	changed.policies = slices.Clone(s.policies)
	changed.policies[i] = p
	return &changed, changed.relink(func(r *resource) bool { return s.policies[i].covers(r.Name) || p.covers(r.Name) })
}

func (s *Set) withGuardrail(g *guardrail) (*Set, []string) {
	changed := *s
	g.neverApprovers.link(s.roles)
	i := slices.IndexFunc(s.guardrails, func(old *guardrail) bool { return old.name == g.name })
	changed.guardrails = slices.Clone(s.guardrails)
	changed.guardrails[i] = g
	return &changed, changed.relink(func(r *resource) bool { return s.guardrails[i].covers(r) || g.covers(r) })
}

func (s *Set) withResource(r *resource) (*Set, []string) {
	changed := *s
	r.owners.link(s.roles)
	changed.resources = maps.Clone(s.resources)
	changed.resources[r.Name] = r
	return &changed, changed.relink(func(other *resource) bool { return other == r })
}

// relink makes anew what resources are linked to, and returns their names.
func (s *Set) relink(touches func(*resource) bool) (names []string) {
	s.resources = maps.Clone(s.resources)
	for name, r := range s.resources {
		if !touches(r) {
			continue
		}
		anew := &resource{Resource: r.Resource, pos: r.pos, owners: r.owners}
		for _, p := range s.policies {
			if p.covers(name) {
				anew.policies = append(anew.policies, p)
			}
		}
		anew.link(s.guardrails)
		anew.needs = s.needsOf(anew)
		s.resources[name] = anew
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Keys whose deletion changes nothing where another limit says the same.
var (
	lengthKey   = regexp.MustCompile(`max_duration$`)
	requiredKey = regexp.MustCompile(`required_approvers$`)
	neverKey    = regexp.MustCompile(`never_auto_approve$`)
	scopeKey    = regexp.MustCompile(`^spec\.(resources|environment)`)
	glassKey    = regexp.MustCompile(`^spec\.break_glass\.[a-z_]+$`)
	extendKey   = regexp.MustCompile(`^spec\.extensions\.[a-z_]+$`)
	fromKey     = regexp.MustCompile(`^spec\.approval\.approve_from$`)
	impliedKey  = regexp.MustCompile(`\.(business_hours_only|require_ticket)$`)
)

// says tells, of what a deletion is about, what the policies say in the end.
// Of what it is not sure about, it says something else every time it is asked:
// a survivor must never pass for something that changes nothing.
func (m *mutator) says(s *Set, resources []string, d *mutable, path string) string {
	var b strings.Builder
	for _, name := range resources {
		r := s.resources[name]
		switch {
		case glassKey.MatchString(path):
			r.sayGlass(&b)
		case extendKey.MatchString(path), fromKey.MatchString(path):
			r.sayReviews(&b)
		case lengthKey.MatchString(path), neverKey.MatchString(path):
			r.sayLengths(&b)
		case requiredKey.MatchString(path):
			for _, p := range r.policies {
				if p.approval != nil {
					fmt.Fprintf(&b, "%s %d\n", p.name, r.required(p.approval))
				}
			}
		case d.kind == "Guardrail" && scopeKey.MatchString(path):
			for _, g := range r.guardrails {
				fmt.Fprintf(&b, "%s %s\n", name, g.name)
			}
		case impliedKey.MatchString(path):
			r.sayTests(&b)
		default:
			return fmt.Sprintf("%p", s)
		}
	}
	return b.String()
}

// sayLengths tells how long anybody can have the resource, with and without
// review.
func (r *resource) sayLengths(b *strings.Builder) {
	ceiling := r.ceiling()
	auto := ceiling
	for _, g := range r.guardrails {
		if g.autoMax > 0 {
			auto = min(auto, g.autoMax)
		}
		if g.neverAuto {
			auto = 0
		}
	}
	fmt.Fprintf(b, "%s %s %s\n", r.Name, ceiling, auto)
	for _, p := range r.policies {
		for _, c := range p.conditions {
			most := auto
			if c.maxDuration > 0 {
				most = min(most, c.maxDuration)
			}
			fmt.Fprintf(b, "%s %s\n", c.rule, most)
		}
	}
}

// sayGlass tells who may break the glass, and how.
func (r *resource) sayGlass(b *strings.Builder) {
	for _, p := range r.policies {
		g := &p.glass
		fmt.Fprintf(b, "%s %t %v %s %t\n", p.name, g.roles.set, g.roles.names(), min(g.maxDuration, r.ceiling()), g.requireTicket)
	}
}

// sayReviews tells how often grants are extended, and where reviews are given.
func (r *resource) sayReviews(b *strings.Builder) {
	for _, p := range r.policies {
		fmt.Fprintf(b, "%s %d %s", p.name, p.extensions.max, p.extensions.each)
		if p.approval != nil {
			fmt.Fprintf(b, " %v", p.approval.from)
		}
		b.WriteString("\n")
	}
}

// sayTests tells which tests each condition makes, those left out that others
// imply: a ticket that fits is a ticket, and a calendar asks for its hours.
func (r *resource) sayTests(b *strings.Builder) {
	for _, p := range r.policies {
		for _, c := range p.conditions {
			b.WriteString(c.rule)
			if c.hours != nil {
				b.WriteString(" " + c.hours.name)
			}
			for _, st := range c.tests {
				told := c.hours != nil && st.key() == c.hours.key // by the calendar's name
				if !told && (st.key() != "require_ticket" || c.ticket == nil) {
					b.WriteString(" " + st.key())
				}
			}
			b.WriteString("\n")
		}
	}
}

func (m *mutator) deletion(what restriction) Deletion {
	text := m.text(what.pos)
	if in := item.FindStringSubmatch(what.path); in != nil {
		list := in[1][strings.LastIndex(in[1], ".")+1:]
		if what.kind == "scalar" {
			text += " in " + list
		} else {
			text = strings.TrimPrefix(what.path, strings.TrimSuffix(in[1], list)) + ": " + text
		}
	}
	return Deletion{what.pos.File, what.pos.Line, what.pos.Column, text}
}

// mostText is how much of a deletion is shown.
const mostText = 72

// text returns what stands at a place, up to the end of the entry or item, on
// one line. It is only shown.
func (m *mutator) text(pos strictyaml.Pos) string {
	lines := m.lines[pos.File]
	if pos.Line > len(lines) || pos.Column > len([]rune(lines[pos.Line-1]))+1 {
		return ""
	}
	line := []rune(lines[pos.Line-1])
	before, rest := line[:pos.Column-1], line[pos.Column-1:]
	inFlow, depth, quote, end := strings.ContainsAny(string(before), "{["), 0, rune(0), len(rest)
scan:
	for i, r := range rest {
		switch {
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case (r == '"' || r == '\'') && i > 0 && strings.ContainsRune(" [{,", rest[i-1]):
			quote = r
		case r == '{' || r == '[':
			depth++
		case depth == 0 && inFlow && (r == ',' || r == '}' || r == ']'), r == '#' && i > 0 && rest[i-1] == ' ':
			end = i
			break scan
		case r == '}' || r == ']':
			depth--
		}
	}
	text := strings.TrimSpace(string(rest[:end]))
	if strings.HasSuffix(text, ":") || depth > 0 {
		text += " …"
	}
	if runes := []rune(text); len(runes) > mostText {
		text = string(runes[:mostText-1]) + "…"
	}
	return text
}
