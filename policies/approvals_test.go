package policies

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/grants"
)

const (
	headSHA  = "1111111111111111111111111111111111111111"
	otherSHA = "2222222222222222222222222222222222222222"
)

// panel is a world where both dana and eve are team-leads, eve is security
// too, and one approval is needed for carol's request.
func panel(t testing.TB, approval string) (*Set, Decision, Facts) {
	t.Helper()
	s := mustLoad(t, readDir(t, "acme")[0], doc("panel.yaml", `kind: Role
metadata: {name: lead}
spec: {members: [carol, dana, eve]}
---
kind: Role
metadata: {name: guard}
spec: {members: [eve]}
---
kind: Role
metadata: {name: team}
spec: {github_teams: [acme/dba]}
---
kind: Resource
metadata: {name: postgres-prod}
spec: {vault: {engine: database, path: database/creds/p, policy: tac-p}}
---
kind: AccessPolicy
metadata: {name: panel}
spec:
  resource: postgres-prod
  auto_approve: {conditions: [{role: [guard]}]}
  approval: `+approval+"\n"))
	f := facts(at(t, "2026-11-24 10:00:00"))
	d := s.Evaluate(ask(carol, hour), f)
	if d.Outcome != NeedsReview {
		t.Fatalf("panel: %s by %s", d.Outcome, d.Rule)
	}
	return s, d, f
}

const (
	oneLead  = "{required_approvers: 1, approver_roles: [lead, team]}"
	twoLeads = "{required_approvers: 2, approver_roles: [lead, team]}"
)

var proposal = Proposal{Head: headSHA, Requester: carol}

// written makes reviews from words such as "dana APPROVED head": who, state,
// commit. They are numbered from 1.
func written(t testing.TB, lines ...string) []Review {
	t.Helper()
	who := map[string]grants.Principal{"alice": alice, "carol": carol, "dana": dana, "eve": eve, "grace": grace, "ivan": ivan, "mallory": mallory}
	commits := map[string]string{"head": headSHA, "other": otherSHA, "": ""}
	var out []Review
	for i, line := range lines {
		w := strings.Fields(line)
		p, known := who[w[0]]
		commit, sha := commits[w[2]]
		if !known || !sha {
			t.Fatalf("who or what is %q?", line)
		}
		out = append(out, Review{ID: int64(i + 1), User: p, UserType: "User", State: ReviewState(w[1]), CommitID: commit})
	}
	return out
}

// claim is one row: reviews, and whether they satisfy the need of one lead.
type claim struct {
	name    string
	reviews []string
	want    bool
	blocked []string // who blocks
}

func runClaims(t *testing.T, approval string, p Proposal, claims []claim) {
	t.Helper()
	s, d, f := panel(t, approval)
	for _, tt := range claims {
		t.Run(tt.name, func(t *testing.T) {
			got := s.CountApprovals(d, p, written(t, tt.reviews...), f)
			var blocked []string
			for _, b := range got.Blocked {
				blocked = append(blocked, b.Person.GitHub)
			}
			if got.Satisfied != tt.want || !slices.Equal(blocked, tt.blocked) {
				t.Errorf("satisfied %v, blocked by %v, want %v and %v\n%+v", got.Satisfied, blocked, tt.want, tt.blocked, got)
			}
		})
	}
}

func TestA2_OldApprovalDoesNotComeBackWithItsCommit(t *testing.T) {
	// Each row: approved at head, then something, then the head is pushed back.
	runClaims(t, oneLead, proposal, []claim{
		{"denied in between", []string{"dana APPROVED head", "dana CHANGES_REQUESTED other"}, false, []string{"dana"}},
		{"denied in between by another", []string{"dana APPROVED head", "eve CHANGES_REQUESTED other"}, false, []string{"eve"}},
		{"approved something else in between", []string{"dana APPROVED head", "dana APPROVED other"}, false, nil},
		{"nothing in between", []string{"dana APPROVED head"}, true, nil},
		{"approved once more", []string{"dana APPROVED head", "dana CHANGES_REQUESTED other", "dana APPROVED head"}, true, nil},
	})
}

func TestA3_AmendedCommitVoidsTheApproval(t *testing.T) {
	runClaims(t, oneLead, proposal, []claim{
		{"same tree or not, another commit is another thing", []string{"dana APPROVED other"}, false, nil},
		{"the head itself does", []string{"dana APPROVED head"}, true, nil},
	})
	s, d, f := panel(t, oneLead)
	for _, commit := range []string{"", headSHA[:39], strings.ToUpper("a" + headSHA[1:]), headSHA + "1"} {
		r := written(t, "dana APPROVED head")
		r[0].CommitID = commit
		if s.CountApprovals(d, proposal, r, f).Satisfied {
			t.Errorf("an approval of %q counts for %q", commit, headSHA)
		}
	}
	r := written(t, "dana APPROVED head")
	r[0].CommitID = ""
	if s.CountApprovals(d, Proposal{Requester: carol}, r, f).Satisfied {
		t.Error("an approval of no commit counts for no head")
	}
}

func TestA11_OnlyStateAndCommitMatter(t *testing.T) {
	// Review has no text to be fooled by; comments decide nothing at all.
	runClaims(t, oneLead, proposal, []claim{
		{"a comment is no approval", []string{"dana COMMENTED head"}, false, nil},
		{"a pending review is none", []string{"dana PENDING head"}, false, nil},
		{"an unknown state is none", []string{"dana LGTM head"}, false, nil},
		{"a comment after an approval takes nothing away", []string{"dana APPROVED head", "dana COMMENTED head"}, true, nil},
		{"a comment after a denial gives nothing back", []string{"dana CHANGES_REQUESTED head", "dana COMMENTED head"}, false, []string{"dana"}},
	})
}

func TestB1_RequesterCannotApproveOwnRequest(t *testing.T) {
	runClaims(t, oneLead, proposal, []claim{
		{"carol is a lead, and it is her request", []string{"carol APPROVED head"}, false, nil},
		{"nor with her help", []string{"carol APPROVED head", "alice APPROVED head"}, false, nil},
		{"another lead can", []string{"carol APPROVED head", "dana APPROVED head"}, true, nil},
	})
	s, d, f := panel(t, oneLead)
	renamed := written(t, "carol APPROVED head")
	renamed[0].User.GitHub = "caroline"
	if s.CountApprovals(d, proposal, renamed, f).Satisfied {
		t.Error("a new login makes the requester another person")
	}
	// A decision about carol says nothing about anybody else's proposal.
	for _, requester := range []grants.Principal{{}, ivan} {
		if s.CountApprovals(d, Proposal{Head: headSHA, Requester: requester}, written(t, "carol APPROVED head", "dana APPROVED head"), f).Satisfied {
			t.Errorf("a decision about carol approves a proposal of %v", requester)
		}
	}
	if slices.ContainsFunc(d.Needs[0].People, func(p Person) bool { return p.ID == carol.ID }) {
		t.Error("carol is asked to approve her own request")
	}
}

func TestB2_OneHumanIsOneEntryInPeople(t *testing.T) {
	s, findings := Load([]File{readDir(t, "acme")[0], doc("alt.yaml", `kind: People
metadata: {name: alt}
spec: {people: [{github: carol-alt, id: 2003, slack: U01CAROL}]}
`)}, nil)
	if s.Err() == nil {
		t.Fatal("a second account of one Slack user loads")
	}
	wantWords(t, findings[0].place(), `the Slack id "U01CAROL" stands here a second time`)
	if d := s.Evaluate(ask(carol, hour), facts(at(t, "2026-11-24 10:00:00"))); d.Outcome != Deny {
		t.Errorf("got %s", d.Outcome)
	}
}

func TestB3_WhoeverPushedCannotApprove(t *testing.T) {
	banned := Proposal{Head: headSHA, Requester: carol, Banned: []int64{dana.ID}}
	runClaims(t, oneLead, banned, []claim{
		{"dana pushed", []string{"dana APPROVED head"}, false, nil},
		{"eve did not", []string{"dana APPROVED head", "eve APPROVED head"}, true, nil},
		{"a commit in dana's name does not silence her", []string{"dana CHANGES_REQUESTED head", "eve APPROVED head"}, false, []string{"dana"}},
		{"she can still take it back", []string{"dana CHANGES_REQUESTED head", "eve APPROVED head", "dana APPROVED head"}, true, nil},
	})
	s, d, f := panel(t, oneLead)
	for _, p := range s.CountApprovals(d, banned, nil, f).Missing[0].People {
		if p.ID == dana.ID {
			t.Error("dana is asked although she pushed")
		}
	}
}

func TestB4_OnlyAnApproverRoleHeldNowCounts(t *testing.T) {
	runClaims(t, oneLead, proposal, []claim{
		{"no role", []string{"ivan APPROVED head"}, false, nil},
		{"not in People", []string{"mallory APPROVED head"}, false, nil},
		{"member of the team", []string{"grace APPROVED head"}, true, nil},
		{"a denial without a role stops nothing", []string{"ivan CHANGES_REQUESTED head", "dana APPROVED head"}, true, nil},
		{"nor one from outside", []string{"mallory CHANGES_REQUESTED head", "dana APPROVED head"}, true, nil},
	})
	s, d, f := panel(t, oneLead)
	approved := written(t, "grace APPROVED head")
	for claim, team := range map[string]map[TeamRef]Team{
		"left the team since":       {dbas: {ID: 72, Members: []int64{heidi.ID}}},
		"the team is not known":     nil,
		"the team has no number":    {dbas: {Members: []int64{grace.ID}}},
		"the team with child teams": {{"acme", "dba", true}: {ID: 72, Members: []int64{grace.ID}}},
	} {
		f.Teams = team
		if s.CountApprovals(d, proposal, approved, f).Satisfied {
			t.Errorf("%s: grace's approval counts", claim)
		}
	}
	f.Teams = nil
	doubtful := written(t, "grace CHANGES_REQUESTED head", "dana APPROVED head")
	if s.CountApprovals(d, proposal, doubtful, f).Satisfied {
		t.Error("a denial does not stand where the denier's role is in doubt")
	}
	f.Assumed = []string{"lead", "team"}
	if s.CountApprovals(d, proposal, written(t, "ivan APPROVED head"), f).Satisfied {
		t.Error("an assumption makes ivan an approver")
	}
}

func TestB8_BotsDoNotApprove(t *testing.T) {
	s, d, f := panel(t, oneLead)
	for _, kind := range []string{"Bot", "", "user", "Organization", "Mannequin"} {
		r := written(t, "dana APPROVED head")
		r[0].UserType = kind
		if c := s.CountApprovals(d, proposal, r, f); c.Satisfied || len(c.Ignored) != 1 {
			t.Errorf("a reviewer of type %q counts: %+v", kind, c)
		}
	}
}

// TestB10_NoSequenceBringsAnApprovalBack compares every sequence of up to five
// events with a model that is as short as the rule: the last word counts.
func TestB10_NoSequenceBringsAnApprovalBack(t *testing.T) {
	s, d, f := panel(t, oneLead)
	events := []string{"approve", "changes", "dismissed", "approve-old", "push"}
	var run func(prefix []string)
	run = func(prefix []string) {
		if len(prefix) > 0 {
			reviews, head := play(prefix)
			got := s.CountApprovals(d, Proposal{Head: head, Requester: carol}, reviews, f)
			satisfied, blocked := model(prefix)
			if got.Satisfied != satisfied || len(got.Blocked) > 0 != blocked {
				t.Errorf("%v: satisfied %v, blocked %v; the model says %v, %v", prefix, got.Satisfied, got.Blocked, satisfied, blocked)
			}
		}
		if len(prefix) < 5 {
			for _, e := range events {
				run(append(slices.Clone(prefix), e))
			}
		}
	}
	run(nil)
}

// play turns events into dana's reviews and the head that is left. A push
// makes a head that never was; approve-old approves one that no longer is.
func play(events []string) (reviews []Review, head string) {
	heads := 1
	for _, e := range events {
		r := Review{ID: int64(len(reviews) + 1), User: dana, UserType: "User", CommitID: fmt.Sprintf("%040d", heads)}
		switch e {
		case "push":
			heads++
			continue
		case "approve":
			r.State = ReviewApproved
		case "changes":
			r.State = ReviewChangesRequested
		case "dismissed":
			r.State = ReviewDismissed
		case "approve-old":
			r.State, r.CommitID = ReviewApproved, fmt.Sprintf("%040d", heads-1)
		}
		reviews = append(reviews, r)
	}
	return reviews, fmt.Sprintf("%040d", heads)
}

// model says the rule from the end backwards: an approval of the final head
// counts if nothing was decided after it; a denial stands if no such approval
// came after it.
func model(events []string) (satisfied, blocked bool) {
	pushed, decided := false, false // after the event that we look at
	for _, e := range slices.Backward(events) {
		switch {
		case e == "changes" || e == "dismissed":
			return false, true
		case e == "approve" && !pushed:
			return !decided, false
		case e == "push":
			pushed = true
		default:
			decided = true
		}
	}
	return false, false
}

func TestB11_OnePersonCountsOnce(t *testing.T) {
	runClaims(t, twoLeads, proposal, []claim{
		{"one lead twice", []string{"dana APPROVED head", "dana APPROVED head"}, false, nil},
		{"one lead in two roles", []string{"eve APPROVED head"}, false, nil},
		{"two leads", []string{"dana APPROVED head", "eve APPROVED head"}, true, nil},
		{"a lead and one of the team", []string{"dana APPROVED head", "grace APPROVED head"}, true, nil},
	})
	s, d, f := panel(t, twoLeads)
	r := written(t, "dana APPROVED head", "dana APPROVED head")
	r[1].User.GitHub = "dana-too"
	c := s.CountApprovals(d, proposal, r, f)
	if c.Satisfied || len(c.Approvers) != 1 || c.Missing[0].Required != 1 || !slices.Equal(logins(c.Missing[0].People), []string{"eve", "grace", "heidi"}) {
		t.Errorf("got %+v", c)
	}
	// The same need by hand, twice over: a person serves each need once.
	doubled := d
	doubled.Needs = []ApprovalNeed{{Policy: "p", Required: 2, Roles: []string{"lead", "guard"}}}
	if s.CountApprovals(doubled, proposal, written(t, "eve APPROVED head"), f).Satisfied {
		t.Error("two roles of one person count as two people")
	}
}

func TestB12_OnlyTheNumberIsThePerson(t *testing.T) {
	s, d, f := panel(t, oneLead)
	impostor := written(t, "dana APPROVED head")
	impostor[0].User.ID = 7777 // somebody registered the login that dana gave up
	if s.CountApprovals(d, proposal, impostor, f).Satisfied {
		t.Error("whoever took dana's login approves in her place")
	}
	renamed := written(t, "dana APPROVED head")
	renamed[0].User.GitHub = "dana-smith"
	if !s.CountApprovals(d, proposal, renamed, f).Satisfied {
		t.Error("dana is no longer dana after changing her login")
	}
	if d := s.Evaluate(ask(grants.Principal{GitHub: "eve", ID: 7777}, hour), f); d.Outcome != Deny {
		t.Errorf("whoever took eve's login asks in her place: %s", d.Outcome)
	}
}

func TestDenialsStand(t *testing.T) {
	runClaims(t, oneLead, proposal, []claim{
		{"another's approval does not lift a denial", []string{"eve CHANGES_REQUESTED head", "dana APPROVED head"}, false, []string{"eve"}},
		{"nor does a push", []string{"eve CHANGES_REQUESTED other", "dana APPROVED head"}, false, []string{"eve"}},
		{"nor a dismissal by whoever can write", []string{"eve DISMISSED head", "dana APPROVED head"}, false, []string{"eve"}},
		{"nor an approval of something else", []string{"eve CHANGES_REQUESTED head", "eve APPROVED other", "dana APPROVED head"}, false, []string{"eve"}},
		{"the same person's approval does", []string{"eve CHANGES_REQUESTED head", "eve APPROVED head"}, true, nil},
		{"the requester's own denial is not one", []string{"carol CHANGES_REQUESTED head", "dana APPROVED head"}, true, nil},
	})
}

func TestAnAllowedRequestNeedsNoApprovalButCanBeDenied(t *testing.T) {
	s, _, f := panel(t, oneLead)
	d := s.Evaluate(ask(eve, hour), f)
	p := Proposal{Head: headSHA, Requester: eve}
	if d.Outcome != Allow {
		t.Fatalf("got %s", d.Outcome)
	}
	for _, tt := range []struct {
		claim   string
		reviews []Review
		want    bool
	}{
		{"no reviews", nil, true},
		{"denied by an approver", written(t, "dana CHANGES_REQUESTED head"), false},
		{"denied by one without a role", written(t, "ivan CHANGES_REQUESTED head"), true},
		{"denied and taken back", written(t, "dana CHANGES_REQUESTED head", "dana APPROVED head"), true},
	} {
		if got := s.CountApprovals(d, p, tt.reviews, f); got.Satisfied != tt.want {
			t.Errorf("%s: %+v", tt.claim, got)
		}
	}
	f.Teams = nil
	if s.CountApprovals(d, p, written(t, "grace CHANGES_REQUESTED head"), f).Satisfied {
		t.Error("a denial does not stand where the denier's role is in doubt")
	}
}

func TestNothingIsNeverEnough(t *testing.T) {
	s, d, f := panel(t, oneLead)
	approved := written(t, "dana APPROVED head", "eve APPROVED head")
	for claim, decision := range map[string]Decision{
		"the zero decision":         {},
		"a denial":                  {Outcome: Deny, Requester: carol},
		"a review without needs":    {Outcome: NeedsReview, Requester: carol},
		"a denial with needs":       {Outcome: Deny, Requester: carol, Needs: d.Needs},
		"a need of nobody":          {Outcome: NeedsReview, Requester: carol, Needs: []ApprovalNeed{{Policy: "p", Roles: []string{"lead"}}}},
		"an outcome out of range":   {Outcome: 7, Requester: carol, Needs: d.Needs},
		"an allowance of no person": {Outcome: Allow},
	} {
		if s.CountApprovals(decision, proposal, approved, f).Satisfied {
			t.Errorf("%s is satisfied", claim)
		}
	}
	if !s.CountApprovals(d, proposal, approved, f).Satisfied {
		t.Error("the decision itself is not satisfied")
	}
}

func TestEachPolicyCountsByItself(t *testing.T) {
	s := acme(t, doc("zz.yaml", secondPolicy))
	f := facts(at(t, "2026-11-24 10:00:00"))
	d := s.Evaluate(ask(carol, hour), f) // her manager is dana, who is team-lead too
	p := Proposal{Head: headSHA, Requester: carol}

	c := s.CountApprovals(d, p, written(t, "eve APPROVED head"), f)
	if c.Satisfied || len(c.Missing) != 1 || c.Missing[0].Policy != "all-databases" || !slices.Equal(c.Approvers[0].Policies, []string{"production-database"}) {
		t.Errorf("eve alone: %+v", c)
	}
	c = s.CountApprovals(d, p, written(t, "dana APPROVED head"), f)
	if !c.Satisfied || !slices.Equal(c.Approvers[0].Policies, []string{"all-databases", "production-database"}) || c.Approvers[0].Commit != headSHA || c.Approvers[0].Review != 1 {
		t.Errorf("dana for both: %+v", c)
	}
}

// A guardrail bars by role. Where the role is in doubt, or was renamed away,
// it bars all the same: a misspelt name must not open it.
func TestWhomAGuardrailBarsApprovesNothing(t *testing.T) {
	const rail = "kind: Guardrail\nmetadata: {name: wall}\nspec: {resources: ['*'], never_approvers: [ROLE]}\n"
	for _, tt := range []struct {
		claim, role string
		known       bool
		satisfied   bool
	}{
		{"another role bars nobody here", "on-call", true, true},
		{"who holds the role is barred", "team-lead", true, false},
		{"who may hold it is barred", "dba-team", false, false},
		{"who is known not to hold it is not", "dba-team", true, true},
		{"a role that is not there bars everybody", "contractrs", true, false},
	} {
		s := acme(t, doc("rail.yaml", strings.Replace(rail, "ROLE", tt.role, 1)))
		f := facts(at(t, "2026-11-24 10:00:00"))
		d := s.Evaluate(ask(bob, 2*hour), f)
		if tt.role == "contractrs" {
			if d.Outcome != Deny {
				t.Errorf("%s: %s", tt.claim, d.Outcome)
			}
			d = acme(t).Evaluate(ask(bob, 2*hour), f)
			d.NeverApprovers = []string{tt.role}
		}
		if !tt.known {
			delete(f.Teams, dbas)
		}
		p := Proposal{Head: headSHA, Requester: bob}
		c := s.CountApprovals(d, p, []Review{{ID: 1, User: dana, UserType: "User", State: ReviewApproved, CommitID: headSHA}}, f)
		if c.Satisfied != tt.satisfied {
			t.Errorf("%s: satisfied is %t: %+v", tt.claim, c.Satisfied, c)
		}
	}
}
