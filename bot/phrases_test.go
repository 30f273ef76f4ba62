package bot

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

var updatePhrases = flag.Bool("update-phrases", false, "write testdata/phrases.golden anew")

// TestEveryPhraseReadsAsItIsShown: whoever changes a word that people read sees
// the change in testdata/phrases.golden, and whoever adds one adds it there.
func TestEveryPhraseReadsAsItIsShown(t *testing.T) {
	said := phraseBook()
	var out bytes.Buffer
	for _, name := range sortedNames(said) {
		fmt.Fprintf(&out, "-- %s --\n%s\n", name, said[name])
	}
	golden := filepath.Join("testdata", "phrases.golden")
	if *updatePhrases {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the phrases are not those of %s (go test ./bot -run EveryPhrase -update-phrases writes it anew):\n%s", golden, out.Bytes())
	}
}

// TestTheGoldenFileLeavesNoPhraseOut reads the names from the source.
func TestTheGoldenFileLeavesNoPhraseOut(t *testing.T) {
	said := phraseBook()
	for _, file := range []string{"phrases.go", "notices.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range declared(parsed) {
			shown := slices.ContainsFunc(sortedNames(said), func(s string) bool { return s == name || strings.HasPrefix(s, name+": ") })
			if !shown && !slices.Contains(notSaid, name) {
				t.Errorf("%s: %s is not in the golden file", file, name)
			}
		}
	}
}

// notSaid are parts of phrases, and choices between them.
var notSaid = []string{"dropButton", "extendButton", "clockText"}

// declared lists the functions and text constants of a file.
func declared(f *ast.File) (names []string) {
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			names = append(names, d.Name.Name)
		case *ast.GenDecl:
			if d.Tok != token.CONST {
				continue
			}
			for _, spec := range d.Specs {
				v := spec.(*ast.ValueSpec)
				if lit, ok := v.Values[0].(*ast.BasicLit); ok && lit.Kind != token.STRING {
					continue
				}
				for _, n := range v.Names {
					names = append(names, n.Name)
				}
			}
		}
	}
	return names
}

func sortedNames(said map[string]string) []string {
	names := make([]string, 0, len(said))
	for name := range said {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// noticeText is a notice as one reads it.
func noticeText(n world.Notice) string {
	var b strings.Builder
	fmt.Fprintln(&b, n.Title)
	for _, line := range n.Lines {
		fmt.Fprintln(&b, line)
	}
	for _, f := range n.Facts {
		fmt.Fprintf(&b, "  %s: %s\n", f.Name, f.Value)
	}
	if n.SecretHint != "" {
		fmt.Fprintln(&b, n.SecretHint)
	}
	for _, button := range n.Buttons {
		fmt.Fprintf(&b, "  [%s]\n", button.Label)
	}
	return strings.TrimRight(b.String(), "\n")
}

// phraseBook says everything once, about one grant.
func phraseBook() map[string]string {
	at := time.Date(2026, 11, 22, 14, 3, 11, 0, time.UTC)
	alice := grants.Principal{GitHub: "alice", ID: 1001}
	dana := policies.Person{Principal: grants.Principal{GitHub: "dana", ID: 1004}}
	g := grants.Grant{
		ID: "20261122-k3v9q2m4tz", Resource: "postgres-prod", Requester: alice, Duration: 2 * time.Hour,
		Reason: "Deploy hotfix for payment processing bug", Ticket: "INC-789", RequestedAt: at, Via: grants.ViaSlack,
	}
	more := g
	more.ID, more.Extends, more.Duration = "20261122-x0x0x0x0x0", g.ID, time.Hour
	emergency := g
	emergency.BreakGlass = true
	record := &grants.Record{
		State: grants.Delivered, Grant: g, Commit: "4f2c", Rule: "production-database/break_glass", StartsAt: at, EndsAt: at.Add(2 * time.Hour),
		Aftermath: grants.Aftermath{Due: at.Add(24 * time.Hour), Issue: 17},
	}
	j := &judgement{
		grant: g, pull: world.Pull{Number: 12, URL: "https://github.com/acme/access/pull/12", Head: strings.Repeat("a", 40), AuthorBot: true},
		verdict:  grants.Verdict{Ruling: grants.Ask, Rule: "production-database/approval", Why: "2h is over the 1h that developers get without review"},
		decision: policies.Decision{Outcome: policies.NeedsReview, ApproveFrom: []string{FromCLI, FromSlack}, Nearest: "2h is over the 1h that developers get without review"},
	}
	j.count.Missing = []policies.ApprovalNeed{{Policy: "production-database", Required: 1, Roles: []string{"team-lead", "security"}, People: []policies.Person{dana}}}
	asked := &sight{grant: g, judgement: j}
	asked.Request = &grants.Request{Grant: g}
	live := &sight{grant: g}
	live.Record = record
	broken := &sight{grant: emergency}
	broken.Record = record
	waitingView := View{ID: g.ID, URL: j.pull.URL, Rule: j.verdict.Rule, WaitingFor: []string{"dana"}, Why: j.verdict.Why}
	nobody := &sight{grant: g, judgement: &judgement{grant: g}}
	issue := aftermathIssue(&grants.Record{Grant: emergency, Commit: "4f2c", StartsAt: at, EndsAt: at.Add(time.Hour), Aftermath: record.Aftermath})
	said := map[string]string{
		"noSuchGrantOfYours": noSuchGrantOfYours, "needsNoApproval": needsNoApproval, "approvedAlready": approvedAlready,
		"answerNeedsHead": answerNeedsHead, "denyNeedsReason": denyNeedsReason, "changedMeanwhile": changedMeanwhile, "reviewRefused": reviewRefused,
		"reviewUnsure": reviewUnsure, "extendTooEarly": extendTooEarly, "extensionOfExtension": extensionOfExtension,

		"noSelfApproval":             noSelfApproval(g.ID),
		"deniedBecause":              deniedBecause("@dana denied it; only their own approval lifts that", &grants.Denial{By: dana.Principal, Why: "Use the replica"}),
		"nothingToAnswer: requested": nothingToAnswer(grants.PhaseRequested, g.ID),
		"nothingToAnswer: lapsed":    nothingToAnswer(grants.PhaseLapsed, g.ID),
		"nothingToAnswer: active":    nothingToAnswer(grants.PhaseActive, g.ID),
		"deniedAlready":              deniedAlready(grants.Step{Why: "48h is over the 8h that anybody gets: ask for 8h"}),
		"headHasMoved":               headHasMoved(g.ID, strings.Repeat("a", 40), strings.Repeat("b", 40)),
		"cannotApprove":              cannotApprove(asked),
		"cannotApprove: nobody":      cannotApprove(nobody),
		"cannotDeny":                 cannotDeny(asked),
		"cannotDeny: nobody":         cannotDeny(nobody),
		"notFromHere: slack":         notFromHere(&judgement{grant: g, pull: j.pull, decision: policies.Decision{ApproveFrom: []string{FromCLI}}}, FromSlack),
		"notFromHere: cli":           notFromHere(j, FromCLI),
		"onlyShorter":                onlyShorter(g),
		"handWrittenNotNarrowed":     handWrittenNotNarrowed(g),
		"carriedBy":                  carriedBy(g.ID),
		"narrowingMessage":           narrowingMessage(g.Narrowed(time.Hour, strings.Repeat("c", 40)), dana.Principal),
		"aftermathIssue":             issue.Title + "\n\n" + issue.Body,

		"grantNotice: requested": noticeText(grantNotice(g.ID, grants.PhaseRequested, asked, waitingView)),
		"grantNotice: active":    noticeText(grantNotice(g.ID, grants.PhaseActive, live, View{URL: j.pull.URL, Approvers: []string{"dana"}, Rule: j.verdict.Rule})),
		"grantNotice: extension": noticeText(grantNotice(more.ID, grants.PhaseActive, &sight{grant: more}, View{Rule: "production-database/extensions"})),
		"credentialNotice":       noticeText(credentialNotice(live, &world.Credential{WrappedUntil: at.Add(5 * time.Minute)})),
		"endingNotice":           noticeText(endingNotice(live)),
		"alarmNotice":            noticeText(alarmNotice(broken)),
		"askNotice":              noticeText(askNotice(asked)),
		"answeredNotice":         noticeText(answeredNotice(asked, "dana approved it.")),
	}
	for _, rule := range []string{"open_per_person", "daily_per_person", "open_per_resource", "hourly", "break_glass"} {
		x := &excess{rule: "limits/" + rule, count: 5, most: 5, resource: g.Resource, until: at}
		said["toRequester: "+rule] = x.toRequester()
		if rule != "hourly" && rule != "open_per_resource" { // these hold no pull request back
			title, summary := x.toPull(alice)
			said["toPull: "+rule] = title + "\n" + summary
		}
	}
	for _, phase := range []grants.Phase{grants.PhaseDenied, grants.PhaseLapsed, grants.PhaseWithdrawn} {
		said["answered: "+string(phase)] = answered(phase, asked)
	}
	return said
}
