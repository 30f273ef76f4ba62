// Package policies says who may get what: it reads the policy documents of a
// grants repository, judges requests against them, counts approvals, and
// finds mistakes in the documents.
//
// The package is pure. Load turns documents into a Set once; everything else
// is values in, values out: Evaluate takes a request and the facts that were
// gathered for it (the time, the members of teams) and returns a Decision
// that says why. The way of a document is
//
//   - documents.go: the documents as people write them;
//   - compile.go: what was written becomes types that can only be valid;
//   - facts.go: what has to be known of the world outside;
//   - evaluate.go: the decision, and the trace that explains it;
//   - demands.go, conditions.go, tickets.go, guardrail.go: everything that a
//     decision looks at, each with how it is judged and told;
//   - breakglass.go, extending.go: the same, of what is no ordinary request;
//   - nearest.go, special.go: what would have worked instead;
//   - people.go, calendar.go, rotation.go: who holds which role, and when;
//   - approvers.go, escalation.go, approvals.go: who may approve by now, and
//     which reviews count;
//   - lint.go: what loads but cannot be meant.
//
// Everything fails closed. A Set with any unreadable document denies every
// request; a fact that is not known is not held; zero values deny.
package policies

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// File is one policy file as it stands in the repository.
type File struct {
	Path string // from the repository's root, with slashes
	Data []byte
}

// Finding is one mistake and its place. Lines and columns count from 1.
type Finding struct {
	File     string `json:"file"`
	Line     int    `json:"line"`
	Column   int    `json:"column"`
	Severity string `json:"severity"` // SeverityError or SeverityWarning
	Code     string `json:"code"`     // for machines; stable
	Message  string `json:"message"`
}

// How bad a finding is. Errors make `tac policy lint` fail.
const (
	SeverityError   = "error"
	SeverityWarning = "warning"
)

func (f Finding) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", f.File, f.Line, f.Column, f.Severity, f.Message)
}

func newFinding(pos strictyaml.Pos, severity, code, format string, args ...any) Finding {
	return Finding{File: pos.File, Line: pos.Line, Column: pos.Column, Severity: severity, Code: code, Message: fmt.Sprintf(format, args...)}
}

func sortFindings(fs []Finding) {
	slices.SortFunc(fs, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Message, b.Message))
	})
}

// Set is all policy documents of one commit, compiled. It is never changed
// after Load, so any number of goroutines may use it. The zero Set, and one
// whose Err is not nil, deny every request.
type Set struct {
	loaded    bool
	faults    []Finding
	people    people
	roles     map[string]*role
	calendars map[string]*calendar
	resources map[string]*resource
	policies  []*policy // by name

	guardrails []*guardrail // by name
}

// errNotLoaded is the Err of a Set that did not come from Load.
var errNotLoaded = errors.New("no policies are loaded")

// Err says why the set denies everything; nil where it does not. It names the
// first fault by file, line and column.
func (s *Set) Err() error {
	switch {
	case s == nil || !s.loaded:
		return errNotLoaded
	case len(s.faults) == 1:
		return errors.New(s.faults[0].place())
	case len(s.faults) > 1:
		return fmt.Errorf("%s (and %d more)", s.faults[0].place(), len(s.faults)-1)
	}
	return nil
}

func (f Finding) place() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Column, f.Message)
}

// Load compiles the policy documents of one commit. The order of the files
// does not matter. zones finds a time zone by its IANA name and is asked once
// for each name.
//
// A Set is always returned. Where any document cannot be read, or says what
// cannot be, the findings tell every mistake, Set.Err is not nil, and the set
// denies everything: half of a policy is not a weaker policy but another one.
func Load(files []File, zones func(name string) (*time.Location, error)) (*Set, []Finding) {
	c := compiler{
		zones: cachedZones(zones),
		set: &Set{
			loaded:    true,
			people:    newPeople(),
			roles:     map[string]*role{},
			calendars: map[string]*calendar{},
			resources: map[string]*resource{},
		},
		names: map[string]strictyaml.Pos{},
	}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range files {
		c.file(f)
	}
	if len(c.faults) == 0 && c.documents == 0 {
		c.fault(strictyaml.Pos{File: "policies", Line: 1, Column: 1}, "no-documents", "no policy documents here; is this a grants repository?")
	}
	c.link()
	sortFindings(c.faults)
	c.set.faults = c.faults
	return c.set, slices.Clone(c.faults)
}

// cachedZones shields us from what zone names mean to a machine rather than
// to a policy: "" and "Local" depend on where the bot runs.
func cachedZones(zones func(string) (*time.Location, error)) func(string) (*time.Location, error) {
	known := map[string]*time.Location{}
	return func(name string) (*time.Location, error) {
		if loc, ok := known[name]; ok {
			return loc, nil
		}
		if name == "" || name == "Local" || zones == nil {
			return nil, errors.New("expected a zone such as Europe/Berlin or UTC")
		}
		loc, err := zones(name)
		if err != nil || loc == nil {
			return nil, errors.New("this zone is not known; expected one such as Europe/Berlin or UTC")
		}
		known[name] = loc
		return loc, nil
	}
}

// Resource is one thing that people can get access to.
type Resource struct {
	Name        string
	Description string
	Environment string   // may be empty
	Owners      []string // roles, as written
	Vault       grants.Target
	MaxDuration time.Duration // zero: the resource sets no ceiling
	Connect     string        // a shell line for people; holds no secret
}

// Resource returns the resource of that name; false where there is none.
func (s *Set) Resource(name string) (Resource, bool) {
	if s.Err() != nil {
		return Resource{}, false
	}
	r, ok := s.resources[name]
	if !ok {
		return Resource{}, false
	}
	return r.clone(), true
}

// Resources returns all resources by name.
func (s *Set) Resources() []Resource {
	if s.Err() != nil {
		return nil
	}
	all := make([]Resource, 0, len(s.resources))
	for _, r := range s.resources {
		all = append(all, r.clone())
	}
	slices.SortFunc(all, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Longest returns the longest time for which anybody may be granted a
// resource; zero where no policy covers it, and so nobody may.
func (s *Set) Longest(name string) time.Duration {
	if s.Err() != nil || s.resources[name] == nil || len(s.resources[name].policies) == 0 {
		return 0
	}
	return s.resources[name].ceiling()
}

// resource is a Resource, linked to what judges it.
type resource struct {
	Resource
	pos      strictyaml.Pos
	owners   roleList
	policies []*policy // all that cover it, by name
	needs    Needs

	guardrails []*guardrail // all that cover it, by name
	ceilings   []step       // its own and its guardrails': nobody gets more
	autoLimits []step       // its guardrails': what they do not hold for is reviewed

	written *resourceSpec // for lint alone: what stands where
}

func (r *resource) clone() Resource {
	out := r.Resource
	out.Owners, out.Vault.Principals = slices.Clone(out.Owners), slices.Clone(out.Vault.Principals)
	return out
}

// policy is one AccessPolicy that can only be valid.
type policy struct {
	program       program
	name          string
	pos           strictyaml.Pos
	targets       []target
	request       roleList // who may ask at all
	conditions    []condition
	approval      *approval // nil: whatever no condition allows is denied
	maxDuration   time.Duration
	maxPos        strictyaml.Pos
	requestTTL    time.Duration
	requireReason bool
	recordSession bool
	glass         breakGlass
	extensions    extensions
	demands       []step      // what every request has to meet
	extending     []step      // what every extension has to meet besides
	approvable    step        // what a request has to meet that no condition allows
	written       *policySpec // for lint alone: what stands where
}

// Defaults of a policy that does not say otherwise.
const (
	DefaultMaxDuration = 8 * time.Hour
	DefaultRequestTTL  = 24 * time.Hour
	DefaultSlice       = 10 * time.Minute
)

// target is a resource's name, or a pattern of names in which * stands for
// any characters.
type target struct {
	pattern string
	pos     strictyaml.Pos
}

func (t target) glob() bool { return strings.Contains(t.pattern, "*") }

// matches is asked of every policy for every resource, so it allocates
// nothing, and most patterns are told apart by their beginning.
func (t target) matches(name string) bool {
	begin, rest, glob := strings.Cut(t.pattern, "*")
	if !glob {
		return t.pattern == name
	}
	name, ok := strings.CutPrefix(name, begin)
	for ok {
		part, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		_, name, ok = strings.Cut(name, part)
		rest = after
	}
	return false
}

func (p *policy) covers(resource string) bool {
	return slices.ContainsFunc(p.targets, func(t target) bool { return t.matches(resource) })
}

// approval is what a review takes.
type approval struct {
	required int // at least 1
	roles    roleList
	certain  int          // how many people the roles name in members, each once
	escalate []escalation // who may approve as well, later
	from     []string     // where reviews may be given; sorted
	pos      strictyaml.Pos
}

// roleList is a list of roles where any one suffices. A list that was written
// but is empty names nobody; one that was not written asks nothing.
type roleList struct {
	set  bool
	pos  strictyaml.Pos
	refs []roleRef
}

// roleRef is a role by its name, and the role itself where there is one.
type roleRef struct {
	name string
	pos  strictyaml.Pos
	role *role
}

// managerRole stands for the requester's own manager; approver lists only.
const managerRole = "manager"

// securityRole may see and end every grant, so its teams always matter.
const securityRole = "security"

func (l roleList) names() []string {
	names := make([]string, len(l.refs))
	for i, ref := range l.refs {
		names[i] = ref.name
	}
	return names
}

// Request is what somebody asks for.
type Request struct {
	Requester  grants.Principal
	Resource   string
	Duration   time.Duration
	Start      time.Time // zero: at once
	Reason     string
	Ticket     string
	BreakGlass bool
	Extends    grants.ID
}

// RequestOf returns what a grant file asks for.
func RequestOf(g grants.Grant) Request {
	return Request{
		Requester: g.Requester, Resource: g.Resource, Duration: g.Duration, Start: g.Start,
		Reason: g.Reason, Ticket: g.Ticket, BreakGlass: g.BreakGlass, Extends: g.Extends,
	}
}
