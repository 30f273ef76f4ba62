package webhooks

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

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

var updatePhrases = flag.Bool("update-phrases", false, "write testdata/phrases.golden anew")

// phrase is a text that people read in Slack, by the name of what says it.
type phrase struct{ name, said string }

func phraseBook() []phrase {
	review := policies.Decision{Outcome: policies.NeedsReview, Needs: []policies.ApprovalNeed{
		{Required: 1, Roles: []string{"team-lead"}, People: []policies.Person{{Principal: grants.Principal{GitHub: "dana", ID: 4}}}},
		{Required: 2, Roles: []string{"security"}},
	}}
	allow := policies.Decision{Outcome: policies.Allow, Rule: "ledger/auto_approve[0]"}
	glass := policies.Decision{Outcome: policies.Allow, Rule: "ledger/break_glass"}
	active, over := aView(grants.PhaseActive), aView(grants.PhaseClosed)
	over.Outcome = grants.OutcomeDropped
	waiting := aView(grants.PhaseRequested)
	waiting.EndsAt, waiting.Requester, waiting.RequesterID = nil, "bob", 1002
	waiting.WaitingFor, waiting.MayAnswer, waiting.Ticket = []string{"alice", "dana"}, true, "INC-7"
	waiting.URL = "https://github.com/acme/grants/pull/7"
	denied, merging := waiting, waiting
	denied.WaitingFor, denied.Why = nil, "@eve denied it; only their own approval lifts that"
	merging.WaitingFor = nil
	extended := active
	extended.Extensions, extended.BreakGlass = []grants.ID{anotherID}, true
	more := waiting
	more.Extends, more.Duration, more.Total, more.Asked = anotherID, "1h", "4h", "2h"
	more.ApproveFrom, more.Denied = []string{"github"}, []string{"eve"}
	broken, seen, late := active, active, active
	broken.BreakGlass, seen.BreakGlass, late.BreakGlass = true, true, true
	due := time.Date(2026, 11, 22, 20, 2, 0, 0, time.UTC)
	const issue = "https://github.com/acme/grants/issues/8"
	broken.Aftermath = &bot.AftermathView{Issue: 8, URL: issue, Due: due}
	late.Aftermath = &bot.AftermathView{Issue: 8, URL: issue, Due: due, Overdue: true}
	seen.Aftermath = &bot.AftermathView{Issue: 8, URL: issue, Due: due, By: "eve"}
	back := aView(grants.PhaseEnded)
	back.Extends, back.Outcome = anotherID, grants.OutcomeDropped
	until := time.Date(2026, 11, 22, 16, 10, 0, 0, time.UTC)
	form := denyForm(waiting, "")
	return []phrase{
		{"acceptedText: allowed", acceptedText(bot.Answer{ID: anID, Decision: allow}, false)},
		{"acceptedText: to be reviewed", acceptedText(bot.Answer{ID: anID, Decision: review}, false)},
		{"acceptedText: the glass is broken", acceptedText(bot.Answer{ID: anID, Decision: glass}, true)},
		{"acceptedText: again", acceptedText(bot.Answer{ID: anID, Existing: true}, false)},
		{"extendedText: allowed", extendedText(anID, bot.Answer{ID: anotherID, Decision: allow})},
		{"extendedText: to be reviewed", extendedText(anID, bot.Answer{ID: anotherID, Decision: review})},
		{"extendedText: again", extendedText(anID, bot.Answer{ID: anotherID, Existing: true})},
		{"extendedText: an extension was named", extendedText(anotherID, bot.Answer{ID: anotherID, Extends: anID, Existing: false, Decision: allow})},
		{"approvedText: enough", approvedText(active)},
		{"approvedText: more are needed", approvedText(waiting)},
		{"approvedText: somebody denied", approvedText(denied)},
		{"approvedText: being merged", approvedText(merging)},
		{"deniedText", deniedText(waiting)},
		{"deniedText: more time", deniedText(more)},
		{"denyForm", strings.Join(append(append([]string{form.Title}, form.Lines...), form.Label, form.Hint, "["+form.Submit+"]"), "\n")},
		{"whyText", whyText},
		{"noFormText", noFormText(anID)},
		{"nothingToDenyText: active", nothingToDenyText(active)},
		{"nothingToDenyText: over", nothingToDenyText(over)},
		{"oldButtonText", oldButtonText},
		{"takeText", takeText(anID)},
		{"endedText: a request", endedText(aView(grants.PhaseWithdrawn))},
		{"endedText: a grant", endedText(aView(grants.PhaseEnded))},
		{"endedText: over", endedText(over)},
		{"endedText: still under way", endedText(active)},
		{"listText", listText(alice, []bot.View{active, waiting, over})},
		{"endedText: an extension", endedText(back)},
		{"listText: nothing", listText(alice, nil)},
		{"showText: one's own", showText(alice, extended)},
		{"showText: to be answered", showText(alice, waiting)},
		{"showText: more time, to be approved elsewhere", showText(alice, more)},
		{"showText: a broken glass", showText(alice, broken)},
		{"showText: a broken glass nobody looked at", showText(alice, late)},
		{"showText: a broken glass that was looked at", showText(alice, seen)},
		{"linkText", linkText("CODE.v1.SIGNATURE", until)},
		{"tooSlowText", tooSlowText},
	}
}

// TestEveryPhraseReadsAsItIsShown: whoever changes a word that people read sees
// the change in testdata/phrases.golden.
func TestEveryPhraseReadsAsItIsShown(t *testing.T) {
	var out bytes.Buffer
	for _, p := range phraseBook() {
		fmt.Fprintf(&out, "-- %s --\n%s\n", p.name, p.said)
	}
	golden := filepath.Join("testdata", "phrases.golden")
	if *updatePhrases {
		if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the phrases are not those of %s (go test ./webhooks -run EveryPhrase -update-phrases writes it anew):\n%s", golden, out.Bytes())
	}
}

// TestTheGoldenFileLeavesNoPhraseOut reads the names from the source.
func TestTheGoldenFileLeavesNoPhraseOut(t *testing.T) {
	parsed, err := parser.ParseFile(token.NewFileSet(), "chattext.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	// Parts of phrases; each is seen in one that is shown.
	parts := []string{"needsText", "approverNames", "anyOf", "mostListed", "listed", "standing", "minute", "logins", "idList", "length", "wholeLength", "aftermathText"}
	ast.Inspect(parsed, func(n ast.Node) bool {
		var names []string
		switch d := n.(type) {
		case *ast.FuncDecl:
			names = []string{d.Name.Name}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if v, ok := spec.(*ast.ValueSpec); ok && d.Tok == token.CONST {
					for _, name := range v.Names {
						names = append(names, name.Name)
					}
				}
			}
		case *ast.BlockStmt:
			return false // what is inside a function is no phrase of its own
		}
		for _, name := range names {
			shown := slices.ContainsFunc(phraseBook(), func(p phrase) bool { return p.name == name || strings.HasPrefix(p.name, name+": ") })
			if !shown && !slices.Contains(parts, name) {
				t.Errorf("%s is not in the golden file", name)
			}
		}
		return true
	})
}
