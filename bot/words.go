package bot

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// This file holds what tac writes into git and onto pull requests. Trailers
// are for programs and are always the last paragraph; what people typed never
// stands there, and never starts a line.

func pullTitle(g grants.Grant) string {
	return fmt.Sprintf("%s for %s, %s", g.Resource, g.Requester.GitHub, lengthText(g))
}

// lengthText is how long a grant lasts, and what is special about that.
func lengthText(g grants.Grant) string {
	length := grants.FormatDuration(g.Duration)
	switch {
	case g.Extends != "":
		return length + " more"
	case g.BreakGlass:
		return length + ", break-glass"
	}
	return length
}

func proposalMessage(g grants.Grant) string {
	return fmt.Sprintf("request %s for %s, %s\n\n    %s\n\nTac-Grant: %s\nTac-Requester: %d\n",
		g.Resource, g.Requester.GitHub, lengthText(g), quiet(reasonText(g)), g.ID, g.Requester.ID)
}

// quiet keeps GitHub from acting on a reason in a commit message ("Closes #7",
// "@acme/everybody"), and leaves what is seen as it was written.
func quiet(s string) string {
	return strings.NewReplacer("@", "@\u200b", "#", "#\u200b", "://", ":\u200b//").Replace(s)
}

func reasonText(g grants.Grant) string {
	if g.Reason == "" {
		return "(no reason given)"
	}
	return g.Reason
}

// mergeMessage returns the squash commit's subject and body: what auditors
// read, and all they need.
func mergeMessage(j *judgement) (subject, message string) {
	g := j.grant
	subject = fmt.Sprintf("%s, %s (#%d)", pullTitle(g), whyAllowed(j), j.pull.Number)
	var b strings.Builder
	fmt.Fprintf(&b, "%s asked through %s at %s", g.Requester.GitHub, viaText(g.Via), g.RequestedAt.UTC().Format(time.RFC3339))
	if g.Ticket != "" {
		fmt.Fprintf(&b, ", ticket %s", g.Ticket)
	}
	if !g.Start.IsZero() {
		fmt.Fprintf(&b, ", to start at %s", g.Start.UTC().Format(time.RFC3339))
	}
	if g.Extends != "" {
		fmt.Fprintf(&b, ", to extend %s", g.Extends)
	}
	fmt.Fprintf(&b, ":\n\n    %s\n\n", quiet(reasonText(g)))
	for _, t := range mergeTrailers(j) {
		fmt.Fprintf(&b, "%s: %s\n", t.Name, t.Value)
	}
	return subject, b.String()
}

func whyAllowed(j *judgement) string {
	if len(j.count.Approvers) == 0 {
		return "allowed by " + j.verdict.Rule
	}
	logins := make([]string, 0, len(j.count.Approvers))
	for _, a := range j.count.Approvers {
		logins = append(logins, a.Person.GitHub)
	}
	return fmt.Sprintf("approved by %s under %s", list(logins, 4), j.verdict.Rule)
}

func viaText(v grants.Via) string {
	switch v {
	case grants.ViaSlack:
		return "Slack"
	case grants.ViaCLI:
		return "the command line"
	case grants.ViaWeb:
		return "the web page"
	}
	return "git"
}

// Trailer is one line of a commit message's last paragraph.
type Trailer struct{ Name, Value string }

func mergeTrailers(j *judgement) []Trailer {
	decision := j.decision.Outcome.String()
	t := []Trailer{
		{"Tac-Grant", string(j.grant.ID)},
		{"Tac-Requester", strconv.FormatInt(j.grant.Requester.ID, 10)},
		{"Tac-Decision", decision},
		{"Tac-Rule", j.verdict.Rule},
		{"Tac-Policy", j.policy},
		{"Tac-Pull", strconv.Itoa(j.pull.Number)},
		{"Tac-Head", j.pull.Head},
	}
	for _, a := range j.count.Approvers {
		t = append(t, Trailer{"Tac-Approver", fmt.Sprintf("%d %d %s", a.Person.ID, a.Review, a.Commit)})
	}
	return append(t, Trailer{"Tac-Facts", j.facts.Line()})
}

// Trailers returns the trailers of a commit message: the lines of its last
// paragraph, if every one of them is a trailer.
func Trailers(message string) []Trailer {
	paragraphs := strings.Split(strings.TrimRight(message, "\n"), "\n\n")
	last := paragraphs[len(paragraphs)-1]
	var trailers []Trailer
	for line := range strings.SplitSeq(last, "\n") {
		m := trailerForm.FindStringSubmatch(line)
		if m == nil {
			return nil
		}
		trailers = append(trailers, Trailer{m[1], m[2]})
	}
	return trailers
}

var trailerForm = regexp.MustCompile(`^(Tac-[A-Z][a-z]+): (.*)$`)

func trailer(message, name string) string {
	for _, t := range Trailers(message) {
		if t.Name == name {
			return t.Value
		}
	}
	return ""
}

// pullOfMessage returns the pull request that a merge message names. It is a
// claim: the gate checks it against the forge.
func pullOfMessage(message string) (int, bool) {
	n, err := strconv.Atoi(trailer(message, "Tac-Pull"))
	return n, err == nil && n > 0
}

// factsOfMessage returns the facts that a merge message names.
func factsOfMessage(message string) (policies.Facts, error) {
	facts, err := policies.ParseFacts(trailer(message, "Tac-Facts"))
	if err != nil {
		return policies.Facts{}, fmt.Errorf("read Tac-Facts: %w", err)
	}
	return facts, nil
}

// removalMessage says of every file that goes whose it was and why it ended.
func removalMessage(paths []string, due map[string]removal) string {
	var b strings.Builder
	if len(paths) == 1 {
		fmt.Fprintf(&b, "%s\n\n", removalSubject(paths[0], due[paths[0]]))
	} else {
		fmt.Fprintf(&b, "%s\n\n", removalsSubject(paths, due))
		for _, path := range paths {
			fmt.Fprintf(&b, "- %s\n", removalSubject(path, due[path]))
		}
		b.WriteByte('\n')
	}
	for _, path := range paths {
		r := due[path]
		id := string(r.grant.ID)
		if id == "" {
			id = "none"
		}
		fmt.Fprintf(&b, "Tac-Grant: %s\nTac-Ended: %s\nTac-By: %s\nTac-Reason: %s\n", id, r.outcome, r.by, printable(r.why))
	}
	return b.String()
}

func removalsSubject(paths []string, due map[string]removal) string {
	strays := 0
	for _, path := range paths {
		if due[path].grant.ID == "" {
			strays++
		}
	}
	switch ended := len(paths) - strays; {
	case strays == 0:
		return "end " + countOf(ended, "grant")
	case ended == 0:
		return "remove " + countOf(strays, "stray file")
	default:
		return fmt.Sprintf("end %s and remove %s", countOf(ended, "grant"), countOf(strays, "stray file"))
	}
}

func removalSubject(path string, r removal) string {
	g := r.grant
	if g.ID == "" || g.Duration == 0 {
		return fmt.Sprintf("remove %s: %s", printable(path), printable(r.why))
	}
	by := ""
	if r.by != grants.Tac {
		by = " by " + r.by
	}
	return fmt.Sprintf("end %s: %s%s", pullTitle(g), r.outcome, by)
}

// pullBody is what people see on the pull request.
func pullBody(j *judgement, set *policies.Set) string {
	g := j.grant
	var b strings.Builder
	fmt.Fprintf(&b, "**%s** asks for **%s** for **%s**", inert(g.Requester.GitHub), inert(g.Resource), lengthText(g))
	if !g.Start.IsZero() {
		fmt.Fprintf(&b, ", from %s", g.Start.UTC().Format(time.RFC3339))
	}
	b.WriteString(".\n\n")
	fmt.Fprintf(&b, "%s\n\n", fenced(reasonText(g)))
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "| %s | %s |\n", name, value)
		}
	}
	row("Grant", "`"+string(g.ID)+"`")
	if g.Extends != "" {
		row("Extends", "`"+string(g.Extends)+"`")
	}
	if base := j.facts.Base; base != nil && !base.EndsAt.IsZero() {
		row("Whole length", grants.FormatDuration(base.Total+g.Duration)+", until "+clockText(base.EndsAt.Add(g.Duration)))
	}
	if r, ok := set.Resource(g.Resource); ok {
		row("Resource", cell(r.Description))
		row("Owners", cell(strings.Join(r.Owners, ", ")))
	}
	row("Ticket", cell(g.Ticket))
	row("Asked", fmt.Sprintf("%s through %s", g.RequestedAt.UTC().Format(time.RFC3339), viaText(g.Via)))
	row("Decision", cell(j.decision.Outcome.String()))
	row("Rule", "`"+j.verdict.Rule+"`")
	b.WriteString("\n" + stillNeeded(j) + "\n\n")
	b.WriteString(reasonsTable(j.decision))
	return b.String()
}

func stillNeeded(j *judgement) string {
	switch j.verdict.Ruling {
	case grants.Yes:
		return "Nothing more is needed: tac merges this at once."
	case grants.No:
		return "This is denied: " + inert(j.verdict.Why)
	}
	var b strings.Builder
	for _, need := range j.count.Missing {
		logins := make([]string, 0, len(need.People))
		for _, p := range need.People {
			logins = append(logins, inert(p.GitHub))
		}
		fmt.Fprintf(&b, "Still needed under `%s`: %s from %s (%s). An approving review of this very commit counts; comments do not, and neither does the requester's own.\n",
			need.Policy, countOf(need.Required, "approval"), list(need.Roles, 5), list(logins, mostNamed))
		if len(logins) > mostNamed {
			fmt.Fprintf(&b, "\n<details><summary>All %d who may approve</summary>\n\n%s\n\n</details>\n", len(logins), list(logins, mostListed))
		}
	}
	for _, e := range j.decision.Escalations {
		if b.Len() > 0 {
			who := "whoever has the role " + inert(e.Role)
			if e.Role == roleManager {
				who = "the requester's own manager"
			}
			fmt.Fprintf(&b, "If nobody has by %s, %s may approve under `%s` as well.\n", clockText(e.At), who, e.Policy)
		}
	}
	if b.Len() > 0 && j.decision.Nearest != "" {
		fmt.Fprintf(&b, "\nWhy it waits: %s.\n", inert(j.decision.Nearest))
	}
	for _, blocker := range j.count.Blocked {
		fmt.Fprintf(&b, "%s denied it; only their own approval of this commit lifts that.\n", inert(blocker.Person.GitHub))
	}
	if b.Len() == 0 {
		return inert(j.verdict.Why)
	}
	return strings.TrimRight(b.String(), "\n")
}

// mostNamed is how many approvers stand in a sentence, mostListed how many in
// the list below it: a body has room for no more.
const mostNamed, mostListed = 12, 1000

func countOf(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func reasonsTable(d policies.Decision) string {
	if len(d.Reasons) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("<details><summary>Every rule that was asked</summary>\n\n| rule | condition | holds | observed | wanted |\n|---|---|---|---|---|\n")
	for _, r := range d.Reasons {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(r.Rule), cell(r.Condition), cell(r.Holds.String()), cell(r.Observed), cell(r.Wanted))
	}
	b.WriteString("\n</details>\n")
	return b.String()
}

// closingWords is the comment under which a pull request is closed.
func closingWords(step grants.Step, s *sight) string {
	switch step.Outcome {
	case grants.OutcomeLapsed:
		return "Closed: nobody answered in time. Ask again if access is still needed."
	case grants.OutcomeWithdrawn:
		return fmt.Sprintf("Closed: %s took the request back.", inert(step.By))
	}
	return "Closed: " + fencedOrInert(step.Why)
}

// fencedOrInert shows a text of several lines (the canonical form of a file,
// ready to paste) in a block, and a sentence as it is.
func fencedOrInert(s string) string {
	head, rest, several := strings.Cut(s, "\n")
	if !several {
		return inert(s)
	}
	return inert(head) + "\n\n" + fenced(rest)
}

// inert keeps Markdown from acting on a text: no mentions, links, references,
// commands or markup (threats.md E7).
func inert(s string) string {
	var b strings.Builder
	for _, r := range printable(s) {
		switch r {
		case '@', '#':
			b.WriteRune(r)
			b.WriteRune('\u200b') // breaks the mention, and nothing that is seen
		case '*', '_', '`', '[', ']', '<', '>', '\\', '|', '~', '!', '(', ')', '&':
			b.WriteByte('\\')
			b.WriteRune(r)
		case ':':
			b.WriteRune(r)
			b.WriteRune('\u200b') // no bare links
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func cell(s string) string { return inert(s) }

// fenced shows a text in a code block that the text cannot end.
func fenced(s string) string {
	longest, run := 2, 0
	for _, r := range s {
		if r == '`' {
			run++
			longest = max(longest, run)
			continue
		}
		run = 0
	}
	fence := strings.Repeat("`", longest+1)
	return fence + "text\n" + strings.TrimRight(s, "\n") + "\n" + fence
}

// printable puts a text on one line without control characters.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(strings.ReplaceAll(s, "\n", " "))
	inner := quoted[1 : len(quoted)-1]
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(inner)
}

func list(items []string, most int) string {
	if len(items) > most {
		rest := len(items) - most
		return strings.Join(items[:most], ", ") + fmt.Sprintf(" and %d more", rest)
	}
	return strings.Join(items, ", ")
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// notYet and cannotClaim are the answers to a claim that has to wait or has
// come too late.
func notYet(phase grants.Phase, s *sight) string {
	return fmt.Sprintf("the grant is %s and its last credential is not proved dead yet; please try again in a minute", phase)
}

func cannotClaim(phase grants.Phase, step grants.Step, s *sight) string {
	switch phase {
	case grants.PhaseRequested:
		if j := s.judgement; j != nil && len(j.count.Blocked) > 0 {
			return "this grant is not approved: " + j.verdict.Why
		}
		if len(s.waitingFor()) > 0 {
			return "this grant is not approved yet: it waits for " + strings.Join(s.waitingFor(), ", ")
		}
		return "this grant is not approved yet; `tac access show " + string(s.grant.ID) + "` tells what it waits for"
	case grants.PhaseScheduled:
		return fmt.Sprintf("this grant starts at %s", step.Until.UTC().Format(time.RFC3339))
	case grants.PhaseActive:
		if s.Record != nil && s.Record.Carried {
			return carriedBy(s.Record.Grant.Extends)
		}
		return "the credential of this grant was taken already, somewhere else; --replace retires that one and issues anew"
	case grants.PhaseApproved:
		return approvedButNot(step, s)
	case grants.PhaseDenied, grants.PhaseRefused, grants.PhaseFailed:
		return fmt.Sprintf("this grant is %s: %s", phase, step.Why)
	case grants.PhaseLapsed, grants.PhaseWithdrawn:
		return fmt.Sprintf("this request is %s; ask again", phase)
	}
	return "this grant has ended; ask again if access is still needed"
}

func approvedButNot(step grants.Step, s *sight) string {
	switch {
	case s.Frozen:
		return "the default branch of the grants repository was rewritten; nothing is issued until an operator has looked"
	case s.Record != nil && s.Record.EndsAt.Sub(s.Clocks.Latest) < grants.LeastLeft:
		return "less than a minute is left of this grant; ask for a new one"
	case s.Record != nil && s.Record.State == grants.Reserved:
		return fmt.Sprintf("an issue of this grant is under way or was interrupted; try again at %s", step.Until.UTC().Format(time.RFC3339))
	case s.Claim != nil && s.Claim.Verdict.Ruling != grants.Yes && s.Claim.Verdict.Why != "":
		return s.Claim.Verdict.Why
	case s.Holder.Ruling != grants.Yes && s.Holder.Why != "":
		return s.Holder.Why
	}
	return "the grant cannot be checked against the grants repository right now; please try again in a minute"
}

func (s *sight) waitingFor() []string {
	if s.judgement == nil {
		return nil
	}
	var logins []string
	for _, p := range missingPeople(s.judgement.count) {
		logins = append(logins, "@"+p.GitHub)
	}
	return logins
}
