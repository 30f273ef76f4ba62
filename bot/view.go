package bot

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// View is a grant as people and programs see it.
type View struct {
	ID          grants.ID      `json:"id"`
	Phase       grants.Phase   `json:"phase"`
	Outcome     grants.Outcome `json:"outcome,omitempty"`
	Resource    string         `json:"resource"`
	Requester   string         `json:"requester"`
	RequesterID int64          `json:"requester_id"`
	Duration    string         `json:"duration"`
	RequestedAt *time.Time     `json:"requested_at,omitempty"`
	StartsAt    *time.Time     `json:"starts_at,omitempty"`
	EndsAt      *time.Time     `json:"ends_at,omitempty"`
	Reason      string         `json:"reason"`
	Ticket      string         `json:"ticket,omitempty"`
	PullRequest int            `json:"pull_request,omitempty"`
	URL         string         `json:"url,omitempty"` // of the pull request
	Rule        string         `json:"rule,omitempty"`
	Approvers   []string       `json:"approvers"`
	// Head is the commit that an answer to an open request is about.
	Head string `json:"head,omitempty"`
	// MayAnswer says that whoever looks may approve or deny the request.
	MayAnswer  bool        `json:"may_answer,omitempty"`
	BreakGlass bool        `json:"break_glass,omitempty"`
	Extends    grants.ID   `json:"extends,omitempty"`    // the grant that this one makes longer
	Extensions []grants.ID `json:"extensions,omitempty"` // what made this one longer
	// WaitingFor names who could approve, while people are asked.
	WaitingFor  []string `json:"waiting_for,omitempty"`
	waitingIDs  []int64  // the same by number: a login may be somebody else's tomorrow
	answererIDs []int64  // who approved or denied it
	// Denied names whose denial stands: nobody else can lift it.
	Denied []string `json:"denied,omitempty"`
	// ApproveFrom is from where an approval counts, while people are asked.
	ApproveFrom []string `json:"approve_from,omitempty"`
	// Asked is the duration first asked for, where an approver gave less.
	Asked string `json:"asked,omitempty"`
	// Total is how long an extended grant is in all.
	Total     string         `json:"total,omitempty"`
	Aftermath *AftermathView `json:"aftermath,omitempty"` // of a break-glass grant
	// Why says in one sentence why the grant stands where it stands.
	Why string `json:"why,omitempty"`
	// Taken reports whether a credential is out; Engine and Connect say
	// what it is for.
	Taken   bool   `json:"taken"`
	Engine  string `json:"engine,omitempty"`
	Connect string `json:"connect,omitempty"`
}

// AftermathView is how the look at a break-glass grant stands.
type AftermathView struct {
	Issue   int       `json:"issue,omitempty"`
	URL     string    `json:"url,omitempty"`
	Due     time.Time `json:"due"`
	Overdue bool      `json:"overdue"`
	By      string    `json:"by,omitempty"` // who looked; empty: nobody yet
}

func (b *Bot) view(id grants.ID, phase grants.Phase, s *sight) View {
	g := s.grant
	v := View{
		ID: id, Phase: phase, Resource: g.Resource, Requester: g.Requester.GitHub, RequesterID: g.Requester.ID,
		Reason: g.Reason, Ticket: g.Ticket, Approvers: []string{}, StartsAt: moment(g.Start), RequestedAt: moment(g.RequestedAt),
		BreakGlass: g.BreakGlass, Extends: g.Extends,
	}
	if g.Duration > 0 {
		v.Duration = grants.FormatDuration(g.Duration)
	}
	if r := s.Request; r != nil {
		v.PullRequest, v.Outcome, v.Why = r.Pull, r.Closed, r.Why
	}
	if j := s.judgement; j != nil {
		v.PullRequest, v.URL, v.Rule, v.Why = j.pull.Number, j.pull.URL, j.verdict.Rule, j.verdict.Why
		for _, a := range j.count.Approvers {
			v.Approvers = append(v.Approvers, a.Person.GitHub)
			v.answererIDs = append(v.answererIDs, a.Person.ID)
		}
		for _, d := range j.count.Blocked {
			v.Denied = append(v.Denied, d.Person.GitHub)
			v.answererIDs = append(v.answererIDs, d.Person.ID)
		}
		if base := j.facts.Base; base != nil && base.Total > 0 {
			v.Total = grants.FormatDuration(base.Total + g.Duration)
			v.EndsAt = moment(base.EndsAt.Add(g.Duration))
		}
		if r := s.Request; r != nil && r.Denial != nil && len(j.count.Blocked) > 0 && j.count.Blocked[0].Person.Same(r.Denial.By) {
			v.Why = deniedBecause(v.Why, r.Denial)
		}
		if j.verdict.Ruling == grants.Ask {
			v.Head, v.ApproveFrom = j.pull.Head, j.decision.ApproveFrom
			v.WaitingFor = v.Denied
			for _, p := range missingPeople(j.count) {
				if len(v.Denied) == 0 {
					v.WaitingFor = append(v.WaitingFor, p.GitHub)
				}
				v.waitingIDs = append(v.waitingIDs, p.ID)
			}
		}
	}
	if r := s.Request; r != nil && g.Narrows != "" && r.Grant.Duration > g.Duration {
		v.Asked = grants.FormatDuration(r.Grant.Duration)
	}
	if r := s.Record; r != nil {
		v.fromRecord(r)
		v.Aftermath = b.aftermathView(r)
	}
	if v.URL == "" && v.PullRequest > 0 && b.Site != "" {
		v.URL = fmt.Sprintf("%s/pull/%d", b.Site, v.PullRequest)
	}
	m := s.main
	if m == nil {
		m = b.main.lastSeen()
	}
	if m != nil {
		if resource, ok := m.set.Resource(g.Resource); ok {
			v.Engine, v.Connect = resource.Vault.Engine, resource.Connect
		}
	}
	return v
}

func (b *Bot) aftermathView(r *grants.Record) *AftermathView {
	a := r.Aftermath
	if a.Due.IsZero() {
		return nil
	}
	view := &AftermathView{Issue: a.Issue, Due: a.Due.UTC(), Overdue: a.Overdue(b.Now()), By: a.By}
	if a.Issue > 0 && b.Site != "" {
		view.URL = fmt.Sprintf("%s/issues/%d", b.Site, a.Issue)
	}
	return view
}

func (v *View) fromRecord(r *grants.Record) {
	v.Outcome, v.PullRequest, v.Rule, v.Why = r.Outcome, r.Pull, r.Rule, r.EndedWhy
	v.StartsAt, v.EndsAt = moment(r.StartsAt), moment(r.EffectiveEnd())
	v.Taken = r.State == grants.Delivered || r.State == grants.Issued
	v.Approvers, v.Extensions = []string{}, nil
	for _, e := range r.Extensions {
		v.Extensions = append(v.Extensions, e.ID)
	}
	for _, a := range r.Approvers {
		v.Approvers = append(v.Approvers, a.GitHub)
		v.answererIDs = append(v.answererIDs, a.ID)
	}
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// missingPeople lists whose approval would count now, each once, by login.
func missingPeople(count policies.Count) []policies.Person {
	var people []policies.Person
	seen := map[int64]bool{}
	for _, need := range count.Missing {
		for _, p := range need.People {
			if !seen[p.ID] {
				seen[p.ID] = true
				people = append(people, p)
			}
		}
	}
	slices.SortFunc(people, func(a, b policies.Person) int { return compare(a.GitHub, b.GitHub) })
	return people
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// index is what this replica last saw of every grant: a cache for lists, and
// the set of grants that are over for ever and need no further look.
type index struct {
	mu     sync.Mutex
	views  map[grants.ID]View
	over   map[grants.ID]bool
	keys   map[string]bool // of requests that are over
	spoken map[int]string  // digest of what a pull request that is no grant was told
}

func (x *index) put(v View, over bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if v.Phase == grants.PhaseNone {
		return
	}
	if before := x.views[v.ID]; v.URL == "" {
		v.URL = before.URL // only an open pull request tells its address
	}
	x.views[v.ID] = v
	x.over[v.ID] = over
	if x.keys == nil {
		x.keys = map[string]bool{}
	}
	x.keys[v.ID.Key()] = over
}

// reopen makes the next sweep look at a grant again that seemed to be over.
func (x *index) reopen(id grants.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.over, id)
	delete(x.keys, id.Key())
}

func (x *index) get(id grants.ID) (View, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v, ok := x.views[id]
	return v, ok
}

func (x *index) isOver(id grants.ID) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.over[id]
}

func (x *index) isOverKey(key string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.keys[key]
}

func (x *index) all() []View {
	x.mu.Lock()
	defer x.mu.Unlock()
	views := make([]View, 0, len(x.views))
	for _, v := range x.views {
		views = append(views, v)
	}
	slices.SortFunc(views, func(a, b View) int { return compare(string(b.ID), string(a.ID)) })
	return views
}

func (x *index) answered(pull int, digest string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.spoken[pull] == digest
}

func (x *index) answer(pull int, digest string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.spoken == nil {
		x.spoken = map[int]string{}
	}
	x.spoken[pull] = digest
}

// Look returns one grant as it is now, whoever asks: callers check first who
// may see it. While a request is open the last look of the reconciler serves:
// people poll, and the forge's limits are scarce.
func (b *Bot) Look(ctx context.Context, id grants.ID) (View, error) {
	if v, ok := b.index.get(id); ok && v.Phase == grants.PhaseRequested {
		if open, err := b.isOpen(ctx, id); err == nil && open {
			return v, nil
		}
	}
	// Waiting for whoever works on it is cheaper than asking the forge the
	// same questions beside them.
	unlock, err := b.locks.lock(ctx, string(id))
	if err != nil {
		return View{}, unavailable("tac", err)
	}
	defer unlock()
	s, err := b.observe(ctx, id, nil)
	if err != nil {
		return View{}, unavailable("Vault or GitHub", err)
	}
	phase, step := grants.Next(s.Observed)
	if phase == grants.PhaseNone {
		return View{}, refuse(CodeNotFound, "there is no grant %s that you may see", id)
	}
	v := b.view(id, phase, s)
	b.index.put(v, step.Kind == grants.Rest)
	return v, nil
}

func (b *Bot) isOpen(ctx context.Context, id grants.ID) (bool, error) {
	record, err := b.Vault.Record(ctx, id)
	if err != nil || record != nil {
		return false, err
	}
	r, err := b.requestOf(ctx, id)
	return r != nil && r.Closed == "", err
}

// Show returns one grant to somebody who may see it.
func (b *Bot) Show(ctx context.Context, who grants.Principal, id grants.ID) (View, error) {
	v, err := b.Look(ctx, id)
	if err != nil {
		return View{}, err
	}
	sees, err := b.seer(ctx, who)
	if err != nil {
		return View{}, err
	}
	if !sees(v) {
		return View{}, refuse(CodeNotFound, "there is no grant %s that you may see", id)
	}
	return v.seenBy(who), nil
}

// seenBy is the view as one person has it.
func (v View) seenBy(who grants.Principal) View {
	v.MayAnswer = who.ID > 0 && slices.Contains(v.waitingIDs, who.ID)
	return v
}

// List returns the grants that somebody may see, newest first, as this
// replica last saw them.
func (b *Bot) List(ctx context.Context, who grants.Principal) ([]View, error) {
	sees, err := b.seer(ctx, who)
	if err != nil {
		return nil, err
	}
	views := []View{}
	for _, v := range b.index.all() {
		if sees(v) {
			views = append(views, v.seenBy(who))
		}
	}
	return views, nil
}

// seer returns who may see what: one's own, what one may approve or has
// answered, and what is on resources one owns; security sees all (design.md 5).
func (b *Bot) seer(ctx context.Context, who grants.Principal) (func(View) bool, error) {
	m, err := b.mainNow(ctx)
	if err != nil {
		// Without GitHub one still sees one's own, above all to end it.
		return func(v View) bool { return v.RequesterID == who.ID && who.ID != 0 }, nil
	}
	rights := map[string]ownership{}
	var failed error
	sees := func(v View) bool {
		if who.ID != 0 && (v.RequesterID == who.ID || slices.Contains(v.waitingIDs, who.ID) || slices.Contains(v.answererIDs, who.ID)) {
			return true
		}
		o, known := rights[v.Resource]
		if !known {
			var err error
			if o, err = b.owns(ctx, who, m, v.Resource); err != nil {
				failed = err
			}
			rights[v.Resource] = o
		}
		return o.owner || o.security
	}
	return sees, failed
}

// ownership is what somebody is to a resource. The zero value is nothing.
type ownership struct{ owner, security bool }

func (b *Bot) owns(ctx context.Context, who grants.Principal, m *mainSight, resource string) (ownership, error) {
	if m == nil {
		return ownership{}, fmt.Errorf("the policies cannot be read")
	}
	// Pagers are asked only where teams do not tell: to end access must not
	// wait for one.
	needs, facts := m.set.Needs(resource), emptyFacts(b.Now())
	if err := b.gatherTeams(ctx, needs, factFresh, &facts); err != nil {
		return ownership{}, err
	}
	o := ownershipOf(who, m.set, resource, facts)
	if !o.owner && !o.security {
		if err := b.gatherDuty(ctx, needs, factFresh, &facts); err != nil {
			return ownership{}, err
		}
		o = ownershipOf(who, m.set, resource, facts)
	}
	return o, nil
}

func ownershipOf(who grants.Principal, set *policies.Set, resource string, facts policies.Facts) ownership {
	o := ownership{security: set.Holds(RoleSecurity, who, facts) == policies.Yes}
	if r, ok := set.Resource(resource); ok {
		for _, role := range r.Owners {
			o.owner = o.owner || set.Holds(role, who, facts) == policies.Yes
		}
	}
	return o
}

// RoleSecurity is the role that sees and may revoke everything.
const RoleSecurity = "security"

// Explanation is why a grant stands where it stands.
type Explanation struct {
	Grant    View               `json:"grant"`
	Decision *policies.Decision `json:"decision,omitempty"`
	Ignored  []string           `json:"ignored,omitempty"` // reviews that do not count, and why
}

// Explain returns why a grant stands where it stands, to whoever may see it.
// The decision is the one that stands now; a grant that was merged is
// explained by its merge message, which never changes.
func (b *Bot) Explain(ctx context.Context, who grants.Principal, id grants.ID) (Explanation, error) {
	v, err := b.Show(ctx, who, id)
	if err != nil {
		return Explanation{}, err
	}
	s, err := b.observe(ctx, id, nil)
	if err != nil {
		return Explanation{}, unavailable("Vault or GitHub", err)
	}
	e := Explanation{Grant: v}
	if j := s.judgement; j != nil {
		e.Decision = &j.decision
		for _, r := range j.count.Ignored {
			e.Ignored = append(e.Ignored, r.Why)
		}
		return e, nil
	}
	if s.main == nil || s.grant.Resource == "" {
		return e, nil
	}
	facts, err := b.gather(ctx, s.main.set, question{grant: s.grant, at: b.Now(), fresh: factFresh, upTo: s.main.tip})
	if err != nil {
		return e, nil //nolint:nilerr // the grant itself is the answer; the decision is an extra
	}
	d := s.main.set.Evaluate(policies.RequestOf(s.grant), facts)
	e.Decision = &d
	return e, nil
}
