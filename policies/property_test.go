package policies

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

func TestPropertyAnotherFieldNeverAllowsMore(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		before := d.load(t).Evaluate(req, f)
		for _, rules := range d.policies {
			for k := range rules {
				if extra := rapid.SampledFrom(everyField).Draw(t, "extra"); !rules[k].has(extra) {
					rules[k] = append(rules[k], extra)
				}
			}
		}
		if after := d.load(t).Evaluate(req, f); after.Outcome > before.Outcome {
			t.Fatalf("%s became %s:\n%v", before.Outcome, after.Outcome, d)
		}
	})
}

func TestPropertyAnotherGuardrailNeverAllowsMore(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		before := d.load(t).Evaluate(req, f)
		d.guardrails = append(d.guardrails, drawFields(everyLimit, 3).Draw(t, "guardrail"))
		d.scopes = append(d.scopes, rapid.SampledFrom(everyScope).Draw(t, "its scope"))
		if after := d.load(t).Evaluate(req, f); after.Outcome > before.Outcome {
			t.Fatalf("%s became %s:\n%v", before.Outcome, after.Outcome, d)
		}
	})
}

func TestPropertyAnotherLimitOfAGuardrailNeverAllowsMore(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		before := d.load(t).Evaluate(req, f)
		for i := range d.guardrails {
			if extra := rapid.SampledFrom(everyLimit).Draw(t, "extra"); !d.guardrails[i].has(extra) {
				d.guardrails[i] = append(d.guardrails[i], extra)
			}
		}
		if after := d.load(t).Evaluate(req, f); after.Outcome > before.Outcome {
			t.Fatalf("%s became %s:\n%v", before.Outcome, after.Outcome, d)
		}
	})
}

// TestPropertyOneMemberLessNeverAllowsMore: somebody less in a role allows
// nothing that was not allowed. Where the role is one that a guardrail bars
// from approving, somebody who was barred may now approve, so that what was
// denied for want of approvers is reviewed; that is the only way up, but for
// an expression that says in so many words that a role must not be held.
func TestPropertyOneMemberLessNeverAllowsMore(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		for _, rules := range d.policies {
			if slices.ContainsFunc(rules, func(r fields) bool { return slices.Contains(r, wantsNoHelper) }) {
				return
			}
		}
		before := d.load(t).Evaluate(req, f)
		d.helpers = d.helpers[1:]
		after := d.load(t).Evaluate(req, f)
		barred := slices.Contains(before.NeverApprovers, "helpers")
		switch {
		case after.Outcome <= before.Outcome:
		case barred && after.Outcome == NeedsReview && strings.HasSuffix(before.Rule, "/approval"):
		default:
			t.Fatalf("%s became %s without one:\n%v", before.Outcome, after.Outcome, d)
		}
	})
}

// TestPropertySilenceNeverAllows takes away what is known, one source after
// the other: what was not allowed stays so.
func TestPropertySilenceNeverAllows(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		s := d.load(t)
		before := s.Evaluate(req, f)
		quiet := func() string { return rapid.SampledFrom([]string{"", "it did not answer"}).Draw(t, "silent") }
		for _, ref := range []TeamRef{developers, dbas} {
			if rapid.Bool().Draw(t, "team") {
				delete(f.Teams, ref)
			}
		}
		for _, ref := range drawnSchedules {
			if rapid.Bool().Draw(t, "schedule") {
				f.Duty[ref] = Duty{Silent: quiet()}
			}
		}
		for ref := range f.Tickets {
			if rapid.Bool().Draw(t, "tracker") {
				f.Tickets[ref] = Ticket{Silent: quiet()}
			}
		}
		if rapid.Bool().Draw(t, "uses") {
			f.Uses = Uses{Silent: quiet()}
		}
		if rapid.Bool().Draw(t, "other grants") {
			f.Base, f.Overdue = nil, nil
		}
		if rapid.Bool().Draw(t, "since") {
			f.Since = time.Time{}
		}
		if rapid.IntRange(0, 5).Draw(t, "clock") == 0 {
			f.At = time.Time{}
		}
		if after := s.Evaluate(req, f); after.Outcome == Allow && before.Outcome != Allow {
			t.Fatalf("%s became allow by what is not known:\n%v", before.Outcome, d)
		}
	})
}

// byReasons is a second opinion: the outcome as it follows from the reasons
// alone, whoever made them.
func byReasons(d Decision) Outcome {
	if len(d.Verdicts) == 0 {
		return Deny
	}
	auto, least := true, Allow
	held := map[string]bool{}
	var rules []string // in order
	for _, r := range d.Reasons {
		if _, seen := held[r.Rule]; !seen {
			held[r.Rule], rules = true, append(rules, r.Rule)
		}
		held[r.Rule] = held[r.Rule] && r.Holds == Yes
	}
	own := map[string][]string{} // the conditions of each policy
	policy := ""
	for _, rule := range rules {
		parts := strings.Split(rule, "/")
		switch {
		case parts[0] == "guardrail" && strings.HasSuffix(rule, "never_auto_approve"), parts[0] == "guardrail" && strings.HasSuffix(rule, "auto_approve_max_duration"):
			auto = auto && held[rule]
		case slices.Contains([]string{"facts", "people", "request", "resource", "guardrail"}, parts[0]):
			if !held[rule] {
				return Deny
			}
		case len(parts) == 2 && slices.Contains([]string{"request.roles", "max_duration", "require_reason", "extensions", "break_glass", "approval"}, parts[1]):
			policy = parts[0]
			own[policy] = append(own[policy], nil...)
		default:
			own[policy] = append(own[policy], rule)
		}
	}
	for name, conditions := range own {
		verdict := Deny
		for _, demand := range []string{"request.roles", "max_duration", "require_reason", "extensions", "break_glass"} {
			if holds, asked := held[name+"/"+demand]; asked && !holds {
				return Deny
			}
		}
		if held[name+"/approval"] {
			verdict = NeedsReview
		}
		if held[name+"/break_glass"] && auto {
			verdict = Allow
		}
		if auto && slices.ContainsFunc(conditions, func(rule string) bool { return held[rule] }) {
			verdict = Allow
		}
		least = min(least, verdict)
	}
	return least
}

func TestPropertyTheReasonsAccountForTheDecision(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		got := d.load(t).Evaluate(req, f)
		if want := byReasons(got); got.Outcome != want {
			t.Fatalf("%s, but the reasons say %s:\n%+v", got.Outcome, want, got.Reasons)
		}
		// The rule that is named is one that says so itself.
		all, some := true, false
		for _, r := range got.Reasons {
			if r.Rule == got.Rule {
				all, some = all && r.Holds == Yes, true
			}
		}
		if !some || all != (got.Outcome != Deny) {
			t.Fatalf("%s by %s, which has other reasons:\n%+v", got.Outcome, got.Rule, got.Reasons)
		}
	})
}

// TestPropertyAJudgeAgreesWithEvaluate asks one judge about many requests.
func TestPropertyAJudgeAgreesWithEvaluate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawRepository(t)
		s := d.load(t)
		j := s.Judge()
		for range rapid.IntRange(1, 5).Draw(t, "requests") {
			req := drawRequest(t)
			f := drawFacts(t, req)
			want, got := s.Evaluate(req, f), j.Decide(&req, &f)
			var holds []Truth
			for _, r := range want.Reasons {
				holds = append(holds, r.Holds)
			}
			if got.Outcome != want.Outcome || got.Rule != want.Rule || !slices.Equal(got.Holds, holds) {
				t.Fatalf("%s by %s %v, and in full %s by %s %v", got.Outcome, got.Rule, got.Holds, want.Outcome, want.Rule, holds)
			}
		}
	})
}

func TestPropertyTheOrderOfFilesNeverMatters(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		files := d.files()
		one, _ := Load(files, time.LoadLocation)
		other, _ := Load(rapid.Permutation(files).Draw(t, "order"), time.LoadLocation)
		if a, b := one.Evaluate(req, f), other.Evaluate(req, f); !reflect.DeepEqual(a, b) || !slices.Equal(one.Lint(), other.Lint()) {
			t.Fatalf("one order:\n%+v\nanother:\n%+v", a, b)
		}
	})
}

func TestPropertyWithoutFactsNothingIsAllowed(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, _ Facts) {
		s := d.load(t)
		got := s.Evaluate(req, Facts{})
		if got.Outcome != Deny || s.CountApprovals(got, Proposal{Head: headSHA, Requester: req.Requester}, nil, Facts{}).Satisfied {
			t.Fatalf("%s by %s", got.Outcome, got.Rule)
		}
	})
}

// TestPropertyRecordedFactsDecideTheSame: an auditor decides again by the line
// that a commit holds.
func TestPropertyRecordedFactsDecideTheSame(t *testing.T) {
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		read, err := ParseFacts(f.Line())
		if err != nil {
			t.Fatalf("%v: %s", err, f.Line())
		}
		s := d.load(t)
		a, b := s.Evaluate(req, f), s.Evaluate(req, read)
		if a.Outcome != b.Outcome || a.Rule != b.Rule || !slices.Equal(a.Reasons, b.Reasons) {
			t.Fatalf("%s by %s, and from the record %s by %s\n%s", a.Outcome, a.Rule, b.Outcome, b.Rule, f.Line())
		}
	})
}

// advice is one way out that a sentence names.
var advice = struct{ begins, duration, longer, from, at *regexp.Regexp }{
	regexp.MustCompile(`(?:: |; until then )((?:ask|give|name|wait|make|extend|take) .*?)(?:; besides, .*)?$`),
	regexp.MustCompile(`ask for ([0-9][0-9hms]*)`),
	regexp.MustCompile(`extend by ([0-9][0-9hms]*)`),
	regexp.MustCompile(`ask again from \w+ ([0-9-]+ [0-9:]+) (\S+)`),
	regexp.MustCompile(`ask again from ([0-9-]+T[0-9:]+Z)`),
}

// follow does what a sentence says, as far as it is in a requester's power,
// and with a ticket and answers that fit.
func follow(text string, req *Request, f *Facts) {
	if m := advice.duration.FindStringSubmatch(text); m != nil {
		req.Duration, _ = grants.ParseDuration(m[1])
	}
	if m := advice.at.FindStringSubmatch(text); m != nil {
		f.At, _ = time.Parse(time.RFC3339, m[1])
	} else if m := advice.from.FindStringSubmatch(text); m != nil {
		if zone, err := time.LoadLocation(strings.TrimRight(m[2], ",")); err == nil {
			f.At, _ = time.ParseInLocation("2006-01-02 15:04", m[1], zone)
		}
	}
	if m := advice.longer.FindStringSubmatch(text); m != nil {
		req.Duration, _ = grants.ParseDuration(m[1])
	}
	if strings.Contains(text, "take it back and ask for longer") {
		req.Extends, req.Duration = "", req.Duration+f.Base.total()
	}
	if strings.Contains(text, "ask without --break-glass") || strings.Contains(text, "make a new request") {
		req.BreakGlass, req.Extends = false, ""
	}
	if strings.Contains(text, "give a reason") {
		req.Reason = "a reason"
	}
	account := "j-" + req.Requester.GitHub
	fits := func(t Tracker) Ticket {
		ticket := Ticket{Exists: Yes, Open: Yes, State: "open", Assignees: []string{account}, From: f.At, To: f.At.Add(req.Duration), ReadAt: f.At}
		if t == GitHubIssues { // the drawn conditions ask there for closed ones
			ticket.Open, ticket.State = No, "closed"
		}
		return ticket
	}
	if strings.Contains(text, "name a ticket") || strings.Contains(text, "name another ticket") {
		req.Ticket = "INC-777"
		for _, t := range []Tracker{Jira, GitHubIssues} {
			f.Tickets[TicketRef{t, req.Ticket}] = fits(t)
		}
	}
	if strings.Contains(text, "once it answers") {
		for _, ref := range []TeamRef{developers, dbas} { // whatever else was not asked is asked then
			if _, known := f.Teams[ref]; !known {
				f.Teams[ref] = Team{ID: 1}
			}
		}
		for ref, ticket := range f.Tickets {
			if ticket.ReadAt.IsZero() {
				f.Tickets[ref] = fits(ref.Tracker)
			}
		}
		for ref, duty := range f.Duty {
			if duty.ReadAt.IsZero() {
				login := req.Requester.GitHub
				f.Duty[ref] = Duty{ReadAt: f.At, OnCall: []OnCall{{"P" + strings.ToUpper(login), 1}, {"o-" + login, 0}}}
			}
		}
		if f.Uses.ReadAt.IsZero() {
			f.Uses = Uses{ReadAt: f.At}
		}
	}
}

// TestPropertyAdviceIsTrue does what every sentence says and asks again: one
// that people act on must not be wrong.
func TestPropertyAdviceIsTrue(t *testing.T) {
	followed := 0
	always(t, func(t *rapid.T, d drawn, req Request, f Facts) {
		s := d.load(t)
		before := s.Evaluate(req, f)
		m := advice.begins.FindStringSubmatch(before.Nearest)
		if before.Outcome == Allow || m == nil || req.Resource != "wiki" || strings.HasPrefix(m[1], "ask for that role") {
			return
		}
		for _, way := range strings.Split(m[1], ", or ") {
			// What an expression makes of the roles that a source would have
			// told is not known before it tells them.
			if strings.Contains(way, "once it answers") && strings.Contains(fmt.Sprint(d.policies), "requester.roles") {
				continue
			}
			req, f := req, f
			f.Teams, f.Tickets, f.Duty = maps.Clone(f.Teams), maps.Clone(f.Tickets), maps.Clone(f.Duty)
			follow(way, &req, &f)
			want := Allow
			if strings.Contains(way, "wait for ") {
				want = NeedsReview
			}
			if after := s.Evaluate(req, f); after.Outcome != want {
				t.Fatalf("%q: %q leads to %s by %s\n%v\n%+v", before.Nearest, way, after.Outcome, after.Rule, d, after.Reasons)
			}
			followed++
		}
	})
	if followed == 0 {
		t.Error("no sentence was followed")
	}
	t.Log(fmt.Sprint(followed, " sentences were followed"))
}
