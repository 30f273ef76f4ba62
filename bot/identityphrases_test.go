package bot

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// TestWhatPeopleAreToldOfThemselvesReadsAsItIsShown is for identityphrases.go
// what TestEveryPhraseReadsAsItIsShown is for phrases.go.
func TestWhatPeopleAreToldOfThemselvesReadsAsItIsShown(t *testing.T) {
	dana := grants.Principal{GitHub: "dana", ID: 1004}
	issue := linkIssue(LinkAnswer{Team: "T01ACME", User: "U04DANA", Person: dana, Line: "slack: U04DANA"})
	said := map[string]string{
		"keepsNoTokens": keepsNoTokens, "revokesNoTokens": revokesNoTokens, "onlyOwnToken": onlyOwnToken,
		"notTakenBackYet": notTakenBackYet, "tokenKeepsMoving": tokenKeepsMoving, "notRevokedYet": notRevokedYet,
		"nothingLeft": noToken(nothingLeft, nil).Message, "leftEnded": noToken(leftEnded, nil).Message,
		"leftForeign": noToken(leftForeign, nil).Message, "leftGone": noToken(leftGone, nil).Message, "leaveAgain": leaveAgain,
		"hasNoSlack": hasNoSlack, "badCode": badCode, "notAmongPeople": notAmongPeople(dana), "notOurWorkspace": notOurWorkspace("T01ACME"),
		"codeEnded":        codeEnded(time.Date(2026, 11, 22, 14, 10, 0, 0, time.UTC)),
		"accountOfAnother": accountOfAnother("U04DANA", dana), "linkedOtherwise": linkedOtherwise("U04DANA", "U09DANA"),
		"linkClosed": linkClosed("https://github.com/acme/access/issues/9"),
		"linkIssue":  issue.Key + "\n" + issue.Title + "\n\n" + issue.Body,
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), "identityphrases.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range declared(parsed) {
		if said[name] == "" {
			t.Errorf("%s is not shown", name)
		}
	}
	var out bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(said)) {
		fmt.Fprintf(&out, "-- %s --\n%s\n", name, said[name])
	}
	golden := filepath.Join("testdata", "identityphrases.golden")
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
		t.Errorf("the phrases are not those of %s (go test ./bot -run ToldOfThemselves -update-phrases writes it anew):\n%s", golden, out.Bytes())
	}
}
