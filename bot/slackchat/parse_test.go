package slackchat

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tigeraccess/tac/grants"
)

const anID = grants.ID("20261122-k3v9q2m4tz")

func TestParseCommandReadsWhatPeopleType(t *testing.T) {
	request := func(reason, ticket string) Command {
		return Command{Name: "request", Resource: "postgres-prod", Duration: 2 * time.Hour, Reason: reason, Ticket: ticket}
	}
	scheduled := request("Deploy", "INC-789")
	scheduled.Start = time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	emergency := request("db is down", "INC-789")
	emergency.BreakGlass = true
	for _, tc := range []struct {
		claim, text string
		want        Command
	}{
		{"nothing is help", "", Command{Name: "help"}},
		{"blanks are help", " \u00a0\n", Command{Name: "help"}},
		{"help takes no notice of the rest", "help me", Command{Name: "help"}},
		{"list", "list", Command{Name: "list"}},
		{"a phone's capital", "List ", Command{Name: "list"}},
		{"link", "link", Command{Name: "link"}},
		{"show", "show 20261122-k3v9q2m4tz", Command{Name: "show", ID: anID}},
		{"an id pasted as code", "drop `20261122-K3V9Q2M4TZ`", Command{Name: "drop", ID: anID}},
		{"extend", "extend 20261122-k3v9q2m4tz 1h30m", Command{Name: "extend", ID: anID, Duration: 90 * time.Minute}},
		{"revoke, to the end of the line", "revoke 20261122-k3v9q2m4tz left  the team", Command{Name: "revoke", ID: anID, Reason: "left the team"}},
		{"revoke, in quotes", `revoke 20261122-k3v9q2m4tz "left the team"`, Command{Name: "revoke", ID: anID, Reason: "left the team"}},
		{"revoke, as the command line has it", `revoke 20261122-k3v9q2m4tz --reason="left"`, Command{Name: "revoke", ID: anID, Reason: "left"}},

		{"a reason in quotes", `request postgres-prod 2h "Deploy hotfix"`, request("Deploy hotfix", "")},
		{"and a ticket", `request postgres-prod 2h "Deploy hotfix" INC-789`, request("Deploy hotfix", "INC-789")},
		{"a reason to the end of the line", `request postgres-prod 2h Deploy hotfix for INC-789`, request("Deploy hotfix for INC-789", "")},
		{"a flag after it", `request postgres-prod 2h Deploy hotfix --ticket INC-789`, request("Deploy hotfix", "INC-789")},
		{"a flag before it", `request postgres-prod --ticket=INC-789 2h Deploy hotfix`, request("Deploy hotfix", "INC-789")},
		{"flags only, as the command line has them", `request postgres-prod --reason="Deploy hotfix" --duration=2h --ticket=INC-789`, request("Deploy hotfix", "INC-789")},
		{"a dash from a phone", "request postgres-prod 2h “Deploy” —ticket INC-789", request("Deploy", "INC-789")},
		{"a dash that is just a dash", "request postgres-prod 2h Deploy — at once", request("Deploy — at once", "")},
		{"quotes from a phone", "Request Postgres-Prod 2H “Deploy hotfix” INC-789", request("Deploy hotfix", "INC-789")},
		{"German quotes", "request postgres-prod 2h „Deploy“", request("Deploy", "")},
		{"French quotes", "request postgres-prod 2h «\u00a0Deploy\u00a0»", request("Deploy", "")},
		{"quotes of two kinds", "request postgres-prod 2h \"Deploy hotfix” INC-789", request("Deploy hotfix", "INC-789")},
		{"and the other way round", "request postgres-prod 2h “Deploy hotfix\" INC-789", request("Deploy hotfix", "INC-789")},
		{"single quotes with an apostrophe", "request postgres-prod 2h 'don't wait' INC-789", request("don't wait", "INC-789")},
		{"curly single quotes", "request postgres-prod 2h ‘don’t wait’ INC-789", request("don’t wait", "INC-789")},
		{"an apostrophe at the start", "request postgres-prod 2h 'tis urgent", request("'tis urgent", "")},
		{"quotes inside", `request postgres-prod 2h "say \"hi\" to C:\temp \\ it"`, request(`say "hi" to C:\temp \ it`, "")},
		{"quotes in the middle of a bare reason", `request postgres-prod 2h run "vacuum" now`, request(`run "vacuum" now`, "")},
		{"blanks that do not break", "request\u00a0postgres-prod\u202f2h\u00a0\"Deploy\u00a0hotfix\"", request("Deploy hotfix", "")},
		{"several lines", "request postgres-prod 2h\nDeploy\nhotfix", request("Deploy hotfix", "")},
		{"no reason at all, which policy judges", "request postgres-prod 2h", request("", "")},
		{"an empty reason, likewise", `request postgres-prod 2h "" INC-789`, request("", "INC-789")},
		{"a start", `request postgres-prod 2h Deploy --ticket INC-789 --start 2026-11-22T18:00Z`, scheduled},
		{"a start elsewhere", `request postgres-prod 2h --start "2026-11-22T19:00:00+01:00" "Deploy" INC-789`, scheduled},
		{"breaking the glass", `request postgres-prod 2h "db is down" INC-789 --break-glass`, emergency},
		{"breaking it in front", `request --break-glass postgres-prod 2h "db is down" INC-789`, emergency},
		{"breaking it from a phone", "request postgres-prod 2h “db is down” INC-789 —break-glass", emergency},
		{"breaking it amid a bare reason", "request postgres-prod 2h db --Break-Glass is down --ticket INC-789", emergency},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			got, err := ParseCommand(tc.text)
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("ParseCommand(%q) = %+v, %v\nwant %+v", tc.text, got, err, tc.want)
			}
		})
	}
}

func TestParseCommandSaysWhatWouldHaveWorked(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"lst", `there is no command "lst"; did you mean list? Example: /tac list`},
		{"reqest postgres-prod 2h", `did you mean request? Example: ` + exampleRequest},
		{"postgres-prod 2h", `there are request, list, show, drop, revoke, extend, link, help. Example: ` + exampleRequest},
		{"link 1234", `nothing is expected at "1234". Example: /tac link`},
		{"request redis-prod 2h x --break-glass=yes", `--break-glass takes no value; it is there or not`},
		{"request redis-prod 2h x --break-glass --break-glass", `the break-glass is there twice`},
		{"request redis-prod 2h x --breakglass", `there is no "--breakglass" here; did you mean --break-glass?`},
		{"list all", `nothing is expected at "all". Example: /tac list`},
		{"show", `say which grant; /tac list shows yours. Example: /tac show 20261122-k3v9q2m4tz`},
		{"show 42", `"42" is not a grant id`},
		{"drop 20261122-k3v9q2m4tz now", `nothing is expected at "now"`},
		{"extend 20261122-k3v9q2m4tz", `say by how much. Example: /tac extend 20261122-k3v9q2m4tz 1h`},
		{"extend 1h 20261122-k3v9q2m4tz", `the ID comes first, then the length. Example: /tac extend 20261122-k3v9q2m4tz 1h`},
		{"extend 20261122-k3v9q2m4tz --duration 1h", `the length follows the ID. Example: /tac extend 20261122-k3v9q2m4tz 1h`},
		{"extend 20261122-k3v9q2m4tz 30", `add a unit: 30m or 30h. Example: /tac extend`},
		{"revoke 20261122-k3v9q2m4tz", `say why you end this access; its holder is told. Example: /tac revoke`},
		{`revoke 20261122-k3v9q2m4tz "left" today`, `nothing is expected at "today"`},
		{"request", `say what you need, for how long and why. Example: ` + exampleRequest},
		{"request postgres_prod 2h x", `names have 1 to 63 of a-z, 0-9 and -`},
		{"request redis-prod", `say for how long you need redis-prod. Example: /tac request redis-prod 2h "Deploy hotfix" INC-789`},
		{"request redis-prod 2 x", `add a unit: 2m or 2h. Example: /tac request redis-prod`},
		{"request redis-prod 30d x", `(7 days) at most`},
		{"request 90m redis-prod x", `the resource comes first, then the duration. Example: /tac request redis-prod 1h30m "Deploy hotfix" INC-789`},
		{`request redis-prod 2h "Deploy`, `the quote before "Deploy" is never closed`},
		{`request redis-prod 2h "Deploy" the hotfix`, `put the whole reason in quotes`},
		{`request redis-prod 2h "Deploy" --ticket !`, `tickets look like INC-789`},
		{"request redis-prod 2h Deploy --tickt INC-1", `there is no "--tickt" here; did you mean --ticket?`},
		{"request redis-prod 2h run with --force", `there is no "--force" here; if it belongs to the reason, put the whole reason in quotes`},
		{"request redis-prod 2h Deploy --ticket", `--ticket wants a value after it`},
		{"request redis-prod 2h Deploy --ticket= INC-1", `--ticket wants a value after it`},
		{"request redis-prod 2h Deploy --ticket A-1 --ticket A-2", `the ticket is there twice`},
		{"request redis-prod 2h Deploy --reason=x", `the reason is there twice`},
		{"request redis-prod 2h Deploy --start tomorrow", `"tomorrow" is not a time with its zone; write 2026-11-22T18:00Z`},
		{"request redis-prod 2h Deploy --start 2026-11-22T18:00", `is not a time with its zone`},
		{"request redis-prod 2h safe\u202eevil", `the reason holds the invisible character U+202E`},
		{"request redis-prod 2h " + strings.Repeat("x", 501), `the reason has 501 characters; at most 500 fit`},
		{strings.Repeat("x", mostText+1), `the command is too long`},
	} {
		_, err := ParseCommand(tc.text)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), " Example: /tac ") {
			t.Errorf("ParseCommand(%.60q) says\n%v\nwanted in it\n%s", tc.text, err, tc.want)
		}
	}
}

func TestParseCommandSaysWhereAnswersAreGiven(t *testing.T) {
	for text, want := range map[string]string{
		"approve 20261122-k3v9q2m4tz":   "approve by the button of the message, with tac access approve ID, or on the pull request",
		"Deny 20261122-k3v9q2m4tz what": "deny by the button of the message, with tac access deny ID --reason",
	} {
		if _, err := ParseCommand(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseCommand(%q) says\n%v\nwanted in it\n%s", text, err, want)
		}
	}
}

// quote writes a reason as a careful person would.
func quote(reason string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(reason) + `"`
}

func FuzzParseCommand(f *testing.F) {
	for _, seed := range []string{
		"", "list", `request postgres-prod 2h "Deploy hotfix" INC-789`, `request a 1h --start 2026-11-22T18:00Z "`,
		"revoke 20261122-k3v9q2m4tz “x", `\`, `\"`, `a\”b`, "--", "—ticket=", "'x' y", "„“”", "don't \\\\",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCommand(text)
		if err == nil && c.Name == "" {
			t.Fatalf("ParseCommand(%q) is no command and no error", text)
		}
		if err == nil && (grants.CheckReason(c.Reason) != nil || c.Resource != "" && grants.CheckName(c.Resource) != nil) {
			t.Fatalf("ParseCommand(%q) let through %+v", text, c)
		}
		if grants.CheckReason(text) != nil || !utf8.ValidString(text) {
			return
		}
		c, err = ParseCommand("request db 1h " + quote(text) + " --ticket T-1")
		if err != nil || c.Reason != text || c.Ticket != "T-1" {
			t.Fatalf("the reason %q came back as %+v, %v", text, c, err)
		}
	})
}
