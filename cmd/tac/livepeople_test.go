package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/cmd/tac/demo"
)

// What people do in the sessions of TestLive beside the command line:
//
//	remember NAME                 $NAME is what the last command printed with -o json under that name
//	until WORDS -- ARGUMENTS      run tac until it prints something that matches WORDS
//	leave LOGIN people|organisation   somebody is no colleague any more
//	close LOGIN                   close the pull request of $ID on GitHub
//	admin LOGIN                   may push past every rule, by git, to $PUSH
//	settle                        wait until GitHub's events have arrived
//	looked LOGIN                  close the open break-glass issue as completed
//	type LOGIN TEXT...            type a slash command; the answer is in told.txt
//	press LOGIN ACTION            press the newest button of that kind in the direct messages
//	write LOGIN TEXT              fill in the form on somebody's screen and send it
//	told LOGIN WORDS              wait until somebody was told so in private
//
// They act on a resource that is there for these sessions.
const ledger = `kind: Resource
metadata: {name: ledger}
spec:
  description: the books
  owners: [payments]
  vault: {engine: database, path: database/creds/postgres-prod, policy: tac-postgres-prod}
  max_duration: 8h
  connect: psql -h db.internal -U "$TAC_USERNAME" payments
---
kind: AccessPolicy
metadata: {name: ledger}
spec:
  resource: ledger
  auto_approve:
    conditions:
      - role: [developer]
        max_duration: 2h
  approval:
    required_approvers: 1
    approver_roles: [team-lead, security]
    approve_from: [github, cli, slack]
  extensions: {max: 2, each: 1h}
  break_glass: {roles: [developer], max_duration: 30m, review_within: 4h}
  audit:
    require_reason: true
`

func liveRemember(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "remember NAME", 1)
	var said map[string]any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &said))
	value, ok := said[args[0]].(string)
	if !ok || value == "" {
		ts.Fatalf("there is no %s", args[0])
	}
	ts.Setenv(strings.ToUpper(args[0]), value)
}

func liveUntil(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || args[1] != "--" {
		ts.Fatalf("usage: until WORDS -- ARGUMENTS")
	}
	words := regexp.MustCompile("(?m)" + args[0])
	of(ts).until(ts, "tac says "+args[0], func() bool {
		_ = ts.Exec("tac", args[2:]...) // it may well fail until then
		return words.MatchString(ts.ReadFile("stdout"))
	})
}

func liveLeave(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "leave LOGIN people|organisation", 2)
	l := of(ts)
	if args[1] == "organisation" {
		ts.Check(l.GitHub.RemoveMember("acme", args[0]))
		return
	}
	const people = "policies/people.yaml"
	files, err := l.GitHub.Files(demo.Repository, "main")
	ts.Check(err)
	line := regexp.MustCompile(`(?m)^ *- \{github: ` + args[0] + `,.*\n`)
	if !line.MatchString(files[people]) {
		ts.Fatalf("%s is not in %s", args[0], people)
	}
	_, err = l.GitHub.Seed(demo.Repository, "main", map[string]string{people: line.ReplaceAllString(files[people], "")}, "eve", args[0]+" leaves")
	ts.Check(err)
}

func liveClose(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "close LOGIN", 1)
	l := of(ts)
	pull := 0
	l.until(ts, "there is a pull request", func() bool { _, pull = l.view(ts); return pull != 0 })
	ts.Check(l.GitHub.ClosePull(demo.Repository, pull, args[0]))
}

func liveAdmin(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "admin LOGIN", 1)
	l := of(ts)
	ts.Check(l.GitHub.AllowBypass(demo.Repository, args[0]))
	token, err := l.GitHub.PAT(args[0])
	ts.Check(err)
	u, err := url.Parse(l.GitHub.CloneURL(demo.Repository))
	ts.Check(err)
	u.User = url.UserPassword(args[0], token)
	ts.Setenv("PUSH", u.String())
	for _, role := range []string{"AUTHOR", "COMMITTER"} {
		ts.Setenv("GIT_"+role+"_NAME", args[0])
		ts.Setenv("GIT_"+role+"_EMAIL", args[0]+"@acme.test")
	}
}

func liveSettle(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "settle", 0)
	ts.Check(of(ts).GitHub.Drain(context.Background()))
}

func liveLooked(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "looked LOGIN", 1)
	l := of(ts)
	const most = 50 // numbers are shared with pull requests
	for n := 1; n <= most; n++ {
		title, _, _, err := l.GitHub.IssueBody(demo.Repository, n)
		if err == nil && strings.HasPrefix(title, "Break-glass: ") {
			ts.Check(l.GitHub.CloseIssueAs(demo.Repository, n, args[0], "completed"))
			return
		}
	}
	ts.Fatalf("there is no such issue")
}

// account is somebody's account in Slack.
func account(ts *testscript.TestScript, login string) string {
	id := map[string]string{"alice": "U01ALICE", "bob": "U02BOB", "carol": "U03CAROL", "dana": "U04DANA", "eve": "U05EVE"}[login]
	if id == "" {
		ts.Fatalf("%s is not in Slack", login)
	}
	return id
}

func (l *live) slackAddress(name string) string { return l.replica.URL() + "/webhooks/slack/" + name }

func liveType(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: type LOGIN TEXT...")
	}
	l := of(ts)
	who := account(ts, args[0])
	answer, err := l.Slack.Command(l.slackAddress("commands"), who, demo.Channel, "/tac", strings.Join(args[1:], " "))
	ts.Check(err)
	if answer.Status != 200 {
		ts.Fatalf("answered %d", answer.Status)
	}
	shown := l.Slack.Ephemerals(who)
	if len(shown) == 0 {
		ts.Fatalf("nothing was shown")
	}
	said := shown[len(shown)-1].Text
	ts.Logf("%s", said)
	ts.Check(os.WriteFile(ts.MkAbs("told.txt"), []byte(said+"\n"), 0o600))
	if id := printedID.FindString(said); id != "" {
		ts.Setenv("ID", id)
	}
}

func livePress(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "press LOGIN ACTION", 2)
	l := of(ts)
	who := account(ts, args[0])
	var at slack.Message
	l.until(ts, "there is a button to "+args[1], func() bool {
		for _, m := range l.Slack.DMs(who) {
			if strings.Contains(fmt.Sprintf("%s", m.Blocks), `"action_id":"`+args[1]+`"`) {
				at = m
			}
		}
		return at.TS != ""
	})
	_, err := l.Slack.Press(l.slackAddress("interactions"), who, at.TS, args[1], "")
	ts.Check(err)
}

func liveWrite(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "write LOGIN TEXT", 2)
	l := of(ts)
	who := account(ts, args[0])
	for _, v := range l.Slack.Views() {
		if v.UserID == who {
			_, err := l.Slack.SubmitView(l.slackAddress("interactions"), who, v.ID,
				map[string]map[string]any{"tac_field": {"tac_text": map[string]any{"type": "plain_text_input", "value": args[1]}}})
			ts.Check(err)
			return
		}
	}
	ts.Fatalf("no form is on the screen of %s", args[0])
}

func liveTold(ts *testscript.TestScript, neg bool, args []string) {
	one(ts, neg, args, "told LOGIN WORDS", 2)
	l := of(ts)
	words := regexp.MustCompile(args[1])
	var all []string
	defer func() { ts.Logf("%s", strings.Join(all, "\n--\n")) }()
	limit := time.Now().Add(time.Minute)
	for ; time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		all = nil
		for _, m := range l.Slack.DMs(account(ts, args[0])) {
			all = append(all, m.Text)
		}
		if words.MatchString(strings.Join(all, "\n")) {
			return
		}
	}
	ts.Fatalf("%s was not told that", args[0])
}
