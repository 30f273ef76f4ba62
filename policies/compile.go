package policies

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// compiler turns written documents into the parts of a Set, noting every
// mistake instead of stopping at the first.
type compiler struct {
	zones     func(string) (*time.Location, error)
	set       *Set
	faults    []Finding
	documents int
	names     map[string]strictyaml.Pos // "Role on-call", "rule x", "slack U01" -> first place
}

func (c *compiler) fault(pos strictyaml.Pos, code, format string, args ...any) {
	c.faults = append(c.faults, newFinding(pos, SeverityError, code, format, args...))
}

func (c *compiler) errors(code string, errs strictyaml.Errors) {
	for _, e := range errs {
		c.fault(strictyaml.Pos{File: e.File, Line: e.Line, Column: e.Column}, code, "%s", e.Message)
	}
}

// unique notes the second use of a name that may stand once in all files.
func (c *compiler) unique(what, name string, pos strictyaml.Pos) bool {
	key := what + " " + name
	first, used := c.names[key]
	if used {
		c.fault(pos, "duplicate", "%s %s stands here a second time (first in %s:%d)", what, strictyaml.Quote(name), first.File, first.Line)
		return false
	}
	c.names[key] = pos
	return true
}

var kinds = []string{"AccessPolicy", "Calendar", "Guardrail", "People", "PolicyTest", "Resource", "Role"}

func (c *compiler) file(f File) {
	nodes, errs := strictyaml.Parse(f.Path, f.Data, fileLimits)
	if isTestFile(f.Path) {
		c.testFile(nodes)
		return
	}
	c.errors("syntax", errs)
	for _, n := range nodes {
		c.documents++
		kind, ok := n.Text("kind")
		switch {
		case !ok:
			c.fault(n.Pos(), "kind", "the key kind is missing; expected one of %s", strings.Join(kinds, ", "))
		case kind.V == kindTest:
			c.fault(kind.Pos, "kind", misplaced+"; move this file to policies/tests/", strictyaml.Quote(kind.V))
		default:
			c.document(n, kind)
		}
	}
}

const (
	kindTest  = "PolicyTest"
	misplaced = "policies/tests/ holds PolicyTest documents and nothing else does; found %s here"
)

// testFile looks for what is no test among tests: a restriction that somebody
// put there must not be overlooked. A mistake in a test is ReadTests' to tell;
// who gets what does not rest on it, so it must not stop everything.
func (c *compiler) testFile(nodes []strictyaml.Node) {
	for _, n := range nodes {
		c.documents++
		if kind, ok := n.Text("kind"); ok && kind.V != kindTest && slices.Contains(kinds, kind.V) {
			c.fault(kind.Pos, "kind", misplaced, strictyaml.Quote(kind.V))
		}
	}
}

func (c *compiler) document(n strictyaml.Node, kind strictyaml.Value[string]) {
	switch kind.V {
	case "AccessPolicy":
		read(c, n, c.policy)
	case "Resource":
		read(c, n, c.resource)
	case "Role":
		read(c, n, c.role)
	case "People":
		read(c, n, c.people)
	case "Calendar":
		read(c, n, c.calendar)
	case "Guardrail":
		read(c, n, c.guardrail)
	default:
		hint := "expected one of " + strings.Join(kinds, ", ")
		if best, ok := strictyaml.Nearest(kind.V, kinds); ok {
			hint = "did you mean " + best + "?"
		}
		c.fault(kind.Pos, "kind", "unknown kind %s; %s", strictyaml.Quote(kind.V), hint)
	}
}

// read decodes one document and, where its shape and name are right, hands
// its spec on.
func read[S any](c *compiler, n strictyaml.Node, compile func(name string, pos strictyaml.Pos, spec *S)) {
	var doc document[S]
	if errs := n.Decode(&doc); len(errs) > 0 {
		for _, e := range errs {
			e.Message += wayOut(e.Message)
		}
		c.errors("schema", errs)
		return
	}
	checked(c, "apiVersion", doc.APIVersion, func(v string) error {
		if v != grants.APIVersion {
			return fmt.Errorf("expected %s, found %s", grants.APIVersion, strictyaml.Quote(v))
		}
		return nil
	})
	name := checked(c, "metadata.name", doc.Metadata.Name, grants.CheckName)
	c.unique(doc.Kind.V, name, doc.Metadata.Name.Pos)
	compile(name, doc.Metadata.Name.Pos, &doc.Spec)
}

var (
	quotedNumber = regexp.MustCompile(`: expected a whole number, found the text "[0-9]+"$`)
	inWeeks      = regexp.MustCompile(`: "([0-9]{1,3})w" is not a duration`)
)

// wayOut says what to write in the place of something that is easily taken
// for right; "" where nothing is known.
func wayOut(mistake string) string {
	if strings.HasPrefix(mistake, "spec.resource: expected a text, found a list") {
		return "; for several write resources: [a, b]"
	}
	if quotedNumber.MatchString(mistake) {
		return "; write it without quotes"
	}
	if m := inWeeks.FindStringSubmatch(mistake); m != nil {
		weeks, _ := strconv.Atoi(m[1]) // three digits at most
		return fmt.Sprintf("; weeks are not known; write %dd", 7*weeks)
	}
	return ""
}

// checked returns a written value, noting the mistake at its place.
func checked[T any](c *compiler, key string, v strictyaml.Value[T], check func(T) error) T {
	if v.Set {
		if err := check(v.V); err != nil {
			c.fault(v.Pos, "value", "%s: %v", key, err)
		}
	}
	return v.V
}

// length returns a written duration within bounds, or otherwise the fallback.
func (c *compiler) length(key string, v strictyaml.Value[length], fallback, least, most time.Duration) time.Duration {
	if !v.Set {
		return fallback
	}
	if v.V.d < least || v.V.d > most {
		c.fault(v.Pos, "value", "%s: %s is not between %s and %s", key,
			grants.FormatDuration(v.V.d), grants.FormatDuration(least), grants.FormatDuration(most))
	}
	return v.V.d
}

// accessLength is the length of a grant.
func (c *compiler) accessLength(key string, v strictyaml.Value[length], fallback time.Duration) time.Duration {
	return c.length(key, v, fallback, grants.ShortestDuration, grants.LongestDuration)
}

func (c *compiler) atLeastOne(key string, v strictyaml.Value[int], fallback int) int {
	if !v.Set {
		return fallback
	}
	return checked(c, key, v, func(n int) error {
		if n < 1 {
			return fmt.Errorf("expected 1 or more, found %d", n)
		}
		return nil
	})
}

// roleList returns a list of role names. The roles themselves are linked
// later, since documents may stand in any order.
func (c *compiler) roleList(key string, v nameList) roleList {
	l := roleList{set: v.Set, pos: v.Pos}
	seen := map[string]bool{}
	for i, name := range v.V {
		checked(c, fmt.Sprintf("%s[%d]", key, i), name, grants.CheckName)
		if seen[name.V] {
			c.fault(name.Pos, "duplicate", "%s: %s stands here a second time", key, name.V)
		}
		seen[name.V] = true
		l.refs = append(l.refs, roleRef{name: name.V, pos: name.Pos})
	}
	return l
}

func (c *compiler) policy(name string, pos strictyaml.Pos, spec *policySpec) {
	p := &policy{
		name:          name,
		pos:           pos,
		targets:       c.targets(pos, spec),
		request:       c.roleList("spec.request.roles", spec.Request.Roles),
		maxDuration:   c.accessLength("spec.max_duration", spec.MaxDuration, DefaultMaxDuration),
		maxPos:        spec.MaxDuration.Pos,
		requestTTL:    c.length("spec.request_ttl", spec.RequestTTL, DefaultRequestTTL, time.Minute, 30*24*time.Hour),
		extensions:    c.extensions(spec),
		requireReason: spec.Audit.RequireReason.V,
		recordSession: spec.Audit.RecordSession.V,
		written:       spec,
	}
	for i := range spec.AutoApprove.Conditions {
		p.conditions = append(p.conditions, c.condition(name, i, spec.AutoApprove.Conditions[i]))
	}
	if spec.Approval.Set {
		p.approval = c.approval(spec.Approval)
	}
	p.glass = c.breakGlass(p, spec)
	c.set.policies = append(c.set.policies, p)
}

var patternForm = regexp.MustCompile(`^[a-z0-9*-]{1,63}$`)

func (c *compiler) targets(pos strictyaml.Pos, spec *policySpec) []target {
	if spec.Resource.Set && spec.Resources.Set {
		if pos = spec.Resources.Pos; spec.Resource.Pos.Line > pos.Line || spec.Resource.Pos.Line == pos.Line && spec.Resource.Pos.Column > pos.Column {
			pos = spec.Resource.Pos
		}
	}
	if spec.Resource.Set == spec.Resources.Set {
		c.fault(pos, "value", "spec: write either resource or resources, which say what the policy is about")
	}
	if spec.Resource.Set {
		checked(c, "spec.resource", spec.Resource, func(name string) error {
			if patternForm.MatchString(name) && strings.Contains(name, "*") {
				return fmt.Errorf("patterns belong into resources: [%q]", name)
			}
			return grants.CheckName(name)
		})
		return []target{{spec.Resource.V, spec.Resource.Pos}}
	}
	return c.patterns("spec.resources", spec.Resources)
}

func (c *compiler) patterns(key string, list nameList) []target {
	targets := []target{}
	if list.Set && len(list.V) == 0 {
		c.fault(list.Pos, "value", "%s: the list is empty; name a resource", key)
	}
	for i, v := range list.V {
		checked(c, fmt.Sprintf("%s[%d]", key, i), v, func(s string) error {
			if !patternForm.MatchString(s) {
				return fmt.Errorf("%.70q is neither a name nor a pattern; patterns have a-z, 0-9, - and * for any characters", s)
			}
			return nil
		})
		targets = append(targets, target{v.V, v.Pos})
	}
	return targets
}

func (c *compiler) approval(v strictyaml.Value[approvalSpec]) *approval {
	a := &approval{
		required: c.atLeastOne("spec.approval.required_approvers", v.V.RequiredApprovers, 1),
		roles:    c.roleList("spec.approval.approver_roles", v.V.ApproverRoles),
		from:     c.approveFrom(v.V.ApproveFrom),
		pos:      v.Pos,
	}
	for i, e := range v.V.Escalate {
		key := fmt.Sprintf("spec.approval.escalate[%d]", i)
		a.escalate = append(a.escalate, escalation{
			after: c.length(key+".after", e.After, 0, time.Minute, 30*24*time.Hour),
			to:    roleRef{name: checked(c, key+".to", e.To, grants.CheckName), pos: e.To.Pos},
			pos:   e.After.Pos,
		})
	}
	return a
}

func (c *compiler) resource(name string, pos strictyaml.Pos, spec *resourceSpec) {
	r := &resource{pos: pos, owners: c.roleList("spec.owners", spec.Owners), written: spec}
	r.Resource = Resource{
		Name:        name,
		Description: checked(c, "spec.description", spec.Description, checkText),
		Environment: checked(c, "spec.environment", spec.Environment, grants.CheckName),
		Owners:      r.owners.names(),
		Vault:       c.vault(spec),
		MaxDuration: c.accessLength("spec.max_duration", spec.MaxDuration, 0),
		Connect:     checked(c, "spec.connect", spec.Connect, checkText),
	}
	c.set.resources[name] = r
}

// link resolves names once all documents are read. A name without a document
// is for lint to report; here it leads to nobody.
func (c *compiler) link() {
	s := c.set
	slices.SortFunc(s.policies, func(a, b *policy) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.pos.File, b.pos.File), cmp.Compare(a.pos.Line, b.pos.Line))
	})
	slices.SortFunc(s.guardrails, func(a, b *guardrail) int { return cmp.Compare(a.name, b.name) })
	for _, r := range s.roles {
		r.link(&s.people)
	}
	for _, p := range s.policies {
		p.link(s)
	}
	for _, g := range s.guardrails {
		g.neverApprovers.link(s.roles)
	}
	for _, p := range s.policies {
		s.cover(p)
	}
	for _, r := range s.resources {
		r.owners.link(s.roles)
		r.link(s.guardrails)
		r.needs = s.needsOf(r)
	}
}

// cover tells the resources that a policy covers of it, each once. Names lead
// to their resource directly; only patterns are held against all of them.
func (s *Set) cover(p *policy) {
	add := func(r *resource) {
		if n := len(r.policies); n == 0 || r.policies[n-1] != p {
			r.policies = append(r.policies, p)
		}
	}
	for _, t := range p.targets {
		if r, ok := s.resources[t.pattern]; ok {
			add(r)
		}
		if !t.glob() {
			continue
		}
		for _, r := range s.resources {
			if t.matches(r.Name) {
				add(r)
			}
		}
	}
}

// link resolves the names of a policy and makes its tests.
func (p *policy) link(s *Set) {
	p.request.link(s.roles)
	if p.request.set {
		p.demands = append(p.demands, newStep(p.name+"/request.roles", &mayAsk{roles: p.request}))
	}
	p.demands = append(p.demands, newStep(p.name+"/max_duration", &lasts{most: p.maxDuration, pos: p.maxPos}))
	if p.requireReason {
		p.demands = append(p.demands, newStep(p.name+"/require_reason", hasReason{}))
	}
	p.glass.link(p, s.roles)
	p.extending = p.extensions.tests(p)
	for i := range p.conditions {
		c := &p.conditions[i]
		c.roles.link(s.roles)
		c.onCall.link(s.roles)
		if c.hours != nil {
			c.hours.calendar = s.calendars[c.hours.name]
		}
		if c.expression != nil {
			c.expression.link(s)
		}
		c.link()
	}
	if p.approval != nil {
		p.approval.roles.link(s.roles)
		for i := range p.approval.escalate {
			e := &p.approval.escalate[i]
			e.to.role = s.roles[e.to.name]
		}
		p.approval.certain = p.approval.roles.count()
	}
	p.program = newProgram(p)
	p.approvable = newStep(p.name+"/approval", &approvable{policy: p})
}

// count returns how many people the roles name in members, each once.
func (l *roleList) count() int {
	var all []int64
	for _, ref := range l.refs {
		if ref.role != nil {
			all = append(all, ref.role.members...)
		}
	}
	slices.Sort(all)
	return len(slices.Compact(all))
}

func (l *roleList) link(roles map[string]*role) {
	for i := range l.refs {
		l.refs[i].role = roles[l.refs[i].name]
	}
}
