package policies

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// ReadTests reads the PolicyTest documents among files. Whatever a test names
// has to be there: a person, resource, team, schedule or tracker that the
// policies do not know is a mistake with its place, since a claim about
// nothing holds whatever the policies say. zones is as for Load.
//
// set is the policies of the same files. Where it did not load, or the tests
// hold a mistake, the suite is not to be run.
func ReadTests(files []File, set *Set, zones func(name string) (*time.Location, error)) (*Suite, []Finding) {
	r := testReader{
		compiler: compiler{zones: cachedZones(zones), names: map[string]strictyaml.Pos{}},
		set:      set,
		suite:    &Suite{zones: zones},
	}
	if set.Err() != nil {
		return r.suite, nil
	}
	for _, res := range set.resources {
		r.known.add(res.needs)
	}
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range files {
		if isTestFile(f.Path) {
			r.testFile(f)
		}
	}
	sortFindings(r.faults)
	return r.suite, slices.Compact(r.faults) // what stands in a document's given is read with every case
}

func isTestFile(path string) bool {
	return strings.HasPrefix(path, "policies/tests/") || strings.Contains(path, "/policies/tests/")
}

type testReader struct {
	compiler
	set   *Set
	suite *Suite
	known Needs    // what the policies of all resources ask
	lines []string // of the file that is being read
}

func (n *Needs) add(m Needs) {
	n.Teams, n.Schedules, n.Trackers = append(n.Teams, m.Teams...), append(n.Schedules, m.Schedules...), append(n.Trackers, m.Trackers...)
	n.Uses = n.Uses || m.Uses
}

func (r *testReader) testFile(f File) {
	nodes, errs := strictyaml.Parse(f.Path, f.Data, fileLimits)
	r.errors("syntax", errs)
	r.lines = strings.Split(string(f.Data), "\n")
	if len(nodes) > 0 {
		r.suite.Files++
	}
	for _, n := range nodes {
		switch kind, ok := n.Text("kind"); {
		case !ok:
			r.fault(n.Pos(), "kind", "the key kind is missing; expected %s", kindTest)
		case kind.V != kindTest:
			hint := ""
			if _, ok := strictyaml.Nearest(kind.V, []string{kindTest}); ok {
				hint = "; did you mean " + kindTest + "?"
			}
			r.fault(kind.Pos, "kind", misplaced+"%s", strictyaml.Quote(kind.V), hint)
		default:
			read(&r.compiler, n, r.test)
		}
	}
}

func (r *testReader) test(_ string, pos strictyaml.Pos, spec *testSpec) {
	if len(spec.Cases) == 0 && !spec.Table.Set {
		r.fault(pos, "value", "spec: holds no case; write cases, a table or both")
	}
	for i := range spec.Cases {
		own := &spec.Cases[i].V
		r.oneCase(spec, own, own.Name.Pos)
	}
	if spec.Table.Set {
		for _, row := range r.table(spec.Table) {
			r.oneCase(spec, &row.own, row.pos)
		}
	}
}

// mostTestMistakes is after how many mistakes cases are read no further: what
// stands in a document's given is wrong in every one of them.
const mostTestMistakes = 500

// oneCase turns one written case into one that can be run, unless it holds a
// mistake.
func (r *testReader) oneCase(spec *testSpec, own *testCaseSpec, pos strictyaml.Pos) {
	before := len(r.faults)
	if before > mostTestMistakes {
		return
	}
	given, when, then := own.Given.or(spec.Given), own.When.or(spec.When), &own.Then
	for _, need := range []struct {
		key     string
		written bool
	}{
		{"given.at", given.At.Set}, {"when.requester", when.Requester.Set}, {"when.resource", when.Resource.Set},
		{"when.duration", when.Duration.Set}, {"then.decision", then.Decision.Set},
	} {
		if !need.written {
			r.fault(pos, "test/missing", "%s: %s is missing, here and in the spec for all cases", strictyaml.Quote(own.Name.V), need.key)
		}
	}
	c := testCase{name: own.Name.V, pos: pos, want: r.expectation(then)}
	if own.Name.V == "" {
		r.fault(pos, "value", "name: is empty; say what the case claims")
	}
	c.req = r.request(&when, then.Rule.V)
	c.facts = r.facts(&given, &when)
	r.otherGrants(&c, &given, &when)
	if len(r.faults) == before {
		r.suite.cases = append(r.suite.cases, c)
	}
}

func (r *testReader) request(when *whenSpec, rule string) Request {
	req := Request{
		Resource: when.Resource.V, Duration: when.Duration.V.d, Reason: when.Reason.V, Ticket: when.Ticket.V,
		Start: r.time("when.start", when.Start), BreakGlass: when.BreakGlass.V,
	}
	if when.Extends.Set {
		req.Extends = extendedInTests
	}
	// That somebody or something unknown is denied can be claimed as well.
	if when.Requester.Set {
		req.Requester = grants.Principal{GitHub: when.Requester.V}
		if p := r.set.people.byLogin[strings.ToLower(when.Requester.V)]; p != nil {
			req.Requester = p.Principal
		} else if rule != "people/unknown" {
			r.unknown(when.Requester, "when.requester", "is not in People (if that is the claim, expect the rule people/unknown)", meant(when.Requester.V, r.set.people.byLogin))
		}
	}
	if _, known := r.set.resources[when.Resource.V]; when.Resource.Set && !known && rule != "resource/unknown" && rule != "people/unknown" {
		r.unknown(when.Resource, "when.resource", "is no resource (if that is the claim, expect the rule resource/unknown)", meant(when.Resource.V, r.set.resources))
	}
	return req
}

func (r *testReader) unknown(v strictyaml.Value[string], key, what, hint string) {
	r.fault(v.Pos, "test/unknown", "%s: %s %s%s", key, strictyaml.Quote(v.V), what, hint)
}

func (r *testReader) expectation(then *thenSpec) expected {
	want := expected{rule: then.Rule, nearest: then.Nearest, required: then.Required}
	if checked(&r.compiler, "then.decision", then.Decision, checkDecision) != "" {
		_ = want.outcome.UnmarshalText([]byte(then.Decision.V)) // a mistake was noted just now
	}
	if then.Rule.Set && then.Rule.V == "" {
		r.fault(then.Rule.Pos, "value", "then.rule: is empty, and every decision has a rule; name it, or leave the key out")
	}
	checked(&r.compiler, "then.required", then.Required, checkNotNegative)
	want.approvers.Set = then.Approvers.Set
	for _, p := range r.persons("then.approvers", then.Approvers) {
		want.approvers.V = append(want.approvers.V, p.GitHub)
	}
	want.from.Set = then.From.Set
	for i, v := range then.From.V {
		want.from.V = append(want.from.V, checked(&r.compiler, fmt.Sprintf("then.approve_from[%d]", i), v, checkReviewSource))
	}
	slices.Sort(want.from.V)
	slices.Sort(want.approvers.V)
	want.approvers.V = slices.Compact(want.approvers.V)
	return want
}

// person returns somebody who has to be in People; nil, and a mistake, where
// they are not.
func (r *testReader) person(key string, v strictyaml.Value[string]) *person {
	p := r.set.people.byLogin[strings.ToLower(v.V)]
	if p == nil && v.Set {
		r.unknown(v, key, "is not in People", meant(v.V, r.set.people.byLogin))
	}
	return p
}

func (r *testReader) persons(key string, v nameList) (out []*person) {
	for i, login := range v.V {
		if p := r.person(fmt.Sprintf("%s[%d]", key, i), login); p != nil {
			out = append(out, p)
		}
	}
	return out
}

func (r *testReader) time(key string, v strictyaml.Value[moment]) time.Time {
	if !v.Set {
		return time.Time{}
	}
	t, err := v.V.in(r.zones)
	if err != nil {
		r.fault(v.Pos, "value", "%s: %v", key, err)
	}
	return t
}

// source is where facts come from that a test gives.
const source = "given by a test"

func (r *testReader) facts(given *givenSpec, when *whenSpec) Facts {
	f := Facts{
		At: r.time("given.at", given.At), Teams: map[TeamRef]Team{}, Duty: map[Schedule]Duty{}, Tickets: map[TicketRef]Ticket{},
	}
	f.Uses = Uses{ReadAt: f.At, Source: source}
	for i, t := range given.Teams.V {
		r.team(&f, fmt.Sprintf("given.teams[%d]", i), &t)
	}
	for i, d := range given.OnCall.V {
		r.duty(&f, fmt.Sprintf("given.on_call[%d]", i), &d)
	}
	for i, t := range given.Tickets.V {
		r.ticket(&f, fmt.Sprintf("given.tickets[%d]", i), &t)
	}
	for i, u := range given.Uses.V {
		r.use(&f, fmt.Sprintf("given.uses[%d]", i), &u)
	}
	for i, name := range given.Silent.V {
		if name.V != sourceRecords {
			r.silence(&f, fmt.Sprintf("given.silent[%d]", i), name, when.Ticket.V)
		}
	}
	r.ticketGiven(&f, when)
	return f
}

// notBefore reports whether two times are the wrong way round. One that could
// not be read has been told of already.
func notBefore(from, to time.Time) bool {
	return !from.IsZero() && !to.IsZero() && !from.Before(to)
}

func (r *testReader) team(f *Facts, key string, t *teamGiven) {
	known := false
	people := r.persons(key+".people", t.People)
	for _, ref := range r.known.Teams {
		if ref.Org != t.Team.V.org || ref.Slug != t.Team.V.slug {
			continue
		}
		known = true
		team := Team{ID: 1, Slug: ref.Slug, ReadAt: f.At, Source: source}
		for _, p := range people {
			team.Members = append(team.Members, p.ID)
		}
		f.Teams[ref] = team
	}
	if !known {
		name := TeamRef{Org: t.Team.V.org, Slug: t.Team.V.slug}.String()
		teams := map[string]bool{}
		for _, ref := range r.known.Teams {
			teams[ref.String()] = true
		}
		r.fault(t.Team.Pos, "test/unknown", "%s.team: no policy asks who is in %s%s", key, name, meant(name, teams))
	}
}

func (r *testReader) duty(f *Facts, key string, d *dutyGiven) {
	pager := Pager(checked(&r.compiler, key+".pager", d.Pager, checkPager))
	if checkPager(d.Pager.V) != nil {
		return
	}
	ref := Schedule{pager, d.Schedule.V}
	if !slices.Contains(r.known.Schedules, ref) {
		known := map[string]bool{}
		for _, s := range r.known.Schedules {
			if s.Pager == pager {
				known[s.ID] = true
			}
		}
		r.fault(d.Schedule.Pos, "test/unknown", "%s.schedule: no policy asks the %s%s", key, ref, meant(d.Schedule.V, known))
	}
	level := 0
	if pager == PagerDuty {
		level = r.atLeastOne(key+".level", d.Level, 1)
	} else if d.Level.Set {
		r.fault(d.Level.Pos, "value", "%s.level: %s has no escalation levels", key, pager.Title())
	}
	duty := f.Duty[ref]
	duty.ReadAt, duty.Source = f.At, source
	for i, p := range r.persons(key+".people", d.People) {
		account := p.pagerAccount(pager)
		if account == "" {
			r.fault(d.People.V[i].Pos, "test/unknown", "%s.people: People does not say which %s account is that of %s, so nobody can be known by it", key, pager.Title(), p.GitHub)
		}
		duty.OnCall = append(duty.OnCall, OnCall{account, level})
	}
	f.Duty[ref] = duty
}

func checkPager(s string) error {
	if s != string(PagerDuty) && s != string(Opsgenie) {
		return fmt.Errorf("%s is not a pager; expected %s or %s", strictyaml.Quote(s), PagerDuty, Opsgenie)
	}
	return nil
}

func (r *testReader) ticket(f *Facts, key string, in *ticketGiven) {
	tracker := Tracker(checked(&r.compiler, key+".tracker", in.Tracker, checkTracker))
	ref := TicketRef{tracker, checked(&r.compiler, key+".key", in.Key, grants.CheckTicket)}
	if !slices.Contains(r.known.Trackers, tracker) && slices.Contains(trackers, string(tracker)) {
		r.fault(in.Tracker.Pos, "test/unknown", "%s.tracker: no policy asks %s", key, tracker.Title())
	}
	if _, twice := f.Tickets[ref]; twice {
		r.fault(in.Key.Pos, "duplicate", "%s.key: %s stands here a second time", key, ref.Key)
	}
	t := Ticket{Exists: Yes, State: in.State.V, ReadAt: f.At, Source: source, From: r.time(key+".from", in.From), To: r.time(key+".to", in.To)}
	if in.Open.Set {
		t.Open = truth(in.Open.V)
	}
	if in.Exists.Set && !in.Exists.V {
		if t.Exists = No; in.State.Set || in.Open.Set || in.Assignee.Set || in.From.Set || in.To.Set {
			r.fault(in.Exists.Pos, "value", "%s: a ticket that is not there has no state, assignee or window", key)
		}
	}
	if in.From.Set != in.To.Set || notBefore(t.From, t.To) {
		r.fault(in.Key.Pos, "value", "%s: a change window goes from a time to a later one; write both, or neither", key)
	}
	if p := r.person(key+".assignee", in.Assignee); p != nil {
		account := p.account(tracker)
		if account == "" {
			r.fault(in.Assignee.Pos, "test/unknown", "%s.assignee: People does not say which %s account is that of %s", key, tracker.Title(), p.GitHub)
		}
		t.Assignees = []string{account}
	}
	f.Tickets[ref] = t
}

func (r *testReader) use(f *Facts, key string, in *useGiven) {
	u := Use{Resource: in.Resource.V, ApprovedAt: r.time(key+".approved", in.Approved), Until: r.time(key+".until", in.Until)}
	if p := r.person(key+".person", in.Person); p != nil {
		u.Person = p.ID
	}
	if _, known := r.set.resources[u.Resource]; !known {
		r.unknown(in.Resource, key+".resource", "is no resource", meant(u.Resource, r.set.resources))
	}
	if notBefore(u.ApprovedAt, u.Until) {
		r.fault(in.Until.Pos, "value", "%s.until: a grant ends after it was approved", key)
	}
	f.Uses.Grants = append(f.Uses.Grants, u)
}

// silence makes a source one that did not answer, whatever else is given of it.
func (r *testReader) silence(f *Facts, key string, name strictyaml.Value[string], ticket string) {
	asked := false
	switch what := name.V; what {
	case "teams":
		asked, f.Teams = len(r.known.Teams) > 0, nil
	case "uses":
		asked, f.Uses = r.known.Uses, Uses{Silent: "the grants repository did not answer"}
	case string(PagerDuty), string(Opsgenie):
		for _, ref := range r.known.Schedules {
			if ref.Pager == Pager(what) {
				asked, f.Duty[ref] = true, Duty{Silent: ref.Pager.Title() + " did not answer"}
			}
		}
	case string(Jira), string(GitHubIssues), string(Linear):
		asked = slices.Contains(r.known.Trackers, Tracker(what))
		f.Tickets[TicketRef{Tracker(what), ticket}] = Ticket{Silent: Tracker(what).Title() + " did not answer"}
	default:
		sources := append(slices.Clone(trackers), string(PagerDuty), string(Opsgenie), sourceRecords, "teams", "uses")
		hint := "; expected " + strings.Join(sources[:len(sources)-1], ", ") + " or uses"
		if best, ok := strictyaml.Nearest(what, sources); ok {
			hint = "; did you mean " + best + "?"
		}
		r.fault(name.Pos, "value", "%s: %s is no source%s", key, strictyaml.Quote(what), hint)
		return
	}
	if !asked {
		r.fault(name.Pos, "test/unknown", "%s: no policy asks %s, so its silence changes nothing", key, strictyaml.Quote(name.V))
	}
}

// ticketGiven wants to be told what a tracker says that will be asked: with a
// misspelt key the case would come out by what is not known.
func (r *testReader) ticketGiven(f *Facts, when *whenSpec) {
	res := r.set.resources[when.Resource.V]
	if res == nil || grants.CheckTicket(when.Ticket.V) != nil {
		return
	}
	for _, tracker := range res.needs.Trackers {
		if _, given := f.Tickets[TicketRef{tracker, when.Ticket.V}]; !given {
			r.fault(when.Ticket.Pos, "test/unknown", "when.ticket: %s is asked about %s, and given.tickets does not say what it answers; "+
				"add it (with exists: false if it is not there), or name %s in given.silent", tracker.Title(), when.Ticket.V, tracker)
		}
	}
}
