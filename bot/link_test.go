package bot_test

import (
	"encoding/base64"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/demo"
)

// peopleToLink is a People document in which dana has no Slack account yet.
var peopleToLink = map[string]string{"policies/people.yaml": `kind: People
metadata: {name: everyone}
spec:
  people:
    - {github: alice, id: 1001, slack: U01ALICE, manager: dana}
    - {github: bob, id: 1002, slack: U02BOB, manager: dana}
    - {github: carol, id: 1003, slack: U03CAROL, manager: dana}
    - {github: dana, id: 1004, manager: eve}
    - {github: eve, id: 1005, slack: U05EVE}
`}

func linkTown(t *testing.T) (*town, *demo.Replica) {
	t.Helper()
	tn := newTown(t, peopleToLink)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	return tn, r
}

func (tn *town) code(r *demo.Replica, user string) string {
	tn.t.Helper()
	code, until, err := r.Bot.LinkCode(tn.t.Context(), slack.TeamID, user)
	tn.must(err)
	if left := until.Sub(tn.Clock.Now()); left <= 9*time.Minute || left > 10*time.Minute {
		tn.t.Errorf("the code is good for %v", left)
	}
	if strings.ContainsAny(code, " +/=:|&;'\"") || len(code) > 300 {
		tn.t.Errorf("the code is %q", code)
	}
	return code
}

// opened lists the issues of the grants repository by title.
func (tn *town) opened() []string {
	tn.t.Helper()
	titles, err := tn.GitHub.IssueTitles(demo.Repository)
	tn.must(err)
	return titles
}

func TestE11_ALinkIsProvedFromBothSidesAndDecidedByReview(t *testing.T) {
	tn, r := linkTown(t)
	code := tn.code(r, "U04DANA")
	shown, err := r.Bot.CheckLink(t.Context(), person("dana"), code)
	tn.must(err)
	want := bot.LinkAnswer{Team: slack.TeamID, User: "U04DANA", Person: person("dana"), Line: "slack: U04DANA"}
	if shown != want {
		t.Errorf("shown %+v, want %+v", shown, want)
	}
	if n := len(tn.opened()); n != 0 {
		t.Errorf("showing it opened %d issues", n)
	}
	done, err := r.Bot.Link(t.Context(), person("dana"), code)
	tn.must(err)
	again, err := r.Bot.Link(t.Context(), person("dana"), code)
	tn.must(err)
	if done.Issue == "" || again != done {
		t.Errorf("asked for at %+v, then %+v", done, again)
	}
	issues := tn.opened()
	if len(issues) != 1 {
		t.Fatalf("the issues are %q", issues)
	}
	number, err := strconv.Atoi(done.Issue[strings.LastIndex(done.Issue, "/")+1:])
	tn.must(err)
	title, body, _, err := tn.GitHub.IssueBody(demo.Repository, number)
	tn.must(err)
	for _, words := range []string{"dana", "1004", "U04DANA", slack.TeamID, "\nslack: U04DANA\n"} {
		if !strings.Contains(title+body, words) {
			t.Errorf("%q is not in the issue %q: %s", words, title, body)
		}
	}
	// Proof is not authority: nothing has changed before the review.
	_, err = r.Bot.PersonOfChat(t.Context(), "U04DANA")
	denied(t, err, bot.CodeDenied, "not linked")
	if a, err := r.Bot.Link(t.Context(), person("alice"), tn.code(r, "U01ALICE")); err != nil || !a.Linked || a.Issue != "" {
		t.Errorf("what is linked already: %+v, %v", a, err)
	}
}

func TestE11_ACodeThatIsNotExactlyOursLinksNobody(t *testing.T) {
	tn, r := linkTown(t)
	code := tn.code(r, "U04DANA")
	parts := strings.Split(code, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[0])
	tn.must(err)
	with := func(old, new string) string {
		changed := strings.Replace(string(text), old, new, 1)
		if changed == string(text) {
			t.Fatalf("%q is not in %q", old, text)
		}
		return base64.RawURLEncoding.EncodeToString([]byte(changed)) + "." + parts[1] + "." + parts[2]
	}
	other := tn.code(r, "U04DANA")
	for name, bad := range map[string]string{
		"another account":       with("U04DANA", "U05EVE"),
		"another workspace":     with(slack.TeamID, "T09OTHER"),
		"a later end":           with("|1", "|2"),
		"another's signature":   parts[0] + "." + parts[1] + "." + strings.Split(other, ".")[2],
		"another key's version": parts[0] + ".v2." + parts[2],
		"cut short":             code[:len(code)-3],
		"one character more":    code + "A",
		"no signature":          parts[0],
		"empty":                 "",
		"very long":             strings.Repeat("A", 1<<16),
		"something else":        "hello there",
	} {
		_, err := r.Bot.Link(t.Context(), person("dana"), bad)
		t.Run(name, func(t *testing.T) { denied(t, err, bot.CodeInvalid, "not a code that tac made") })
	}
	if n := len(tn.opened()); n != 0 {
		t.Errorf("%d issues were opened", n)
	}
	tn.Clock.Advance(10*time.Minute - time.Second)
	_, err = r.Bot.CheckLink(t.Context(), person("dana"), " "+code+"\n")
	tn.must(err)
	tn.Clock.Advance(time.Second)
	_, err = r.Bot.Link(t.Context(), person("dana"), code)
	denied(t, err, bot.CodeDenied, "ended at")
}

func TestE11_AGrantsAttestationIsNoLinkCode(t *testing.T) {
	tn, r := linkTown(t)
	// A code's text under a signature that Vault made for something else.
	code := tn.code(r, "U04DANA")
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(code, ".")[0])
	tn.must(err)
	admin, err := tn.VaultAdmin()
	tn.must(err)
	signed, err := admin.Logical().Write(vaultlease.DefaultTransit+"/sign/"+vaultlease.DefaultTransitKey, map[string]any{"input": base64.StdEncoding.EncodeToString(append([]byte("tac/grant/v1\n"), text...))})
	tn.must(err)
	parts := strings.Split(signed.Data["signature"].(string), ":")
	raw, err := base64.StdEncoding.DecodeString(parts[2])
	tn.must(err)
	forged := base64.RawURLEncoding.EncodeToString(text) + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(raw)
	_, err = r.Bot.Link(t.Context(), person("dana"), forged)
	denied(t, err, bot.CodeInvalid, "not a code that tac made")
}

func TestE11_NobodyIsLinkedOverAnotherLink(t *testing.T) {
	tn, r := linkTown(t)
	for _, tc := range []struct{ claim, login, user, words string }{
		{"an account that is somebody else's", "dana", "U01ALICE", "linked with @alice, not with you"},
		{"a person who has another account", "alice", "U04DANA", "with the Slack account U01ALICE already"},
		{"a person who is not among us", "mallory", "U09MALLORY", "not among the people"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			_, err := r.Bot.Link(t.Context(), person(tc.login), tn.code(r, tc.user))
			denied(t, err, bot.CodeDenied, tc.words)
		})
	}
	_, _, err := r.Bot.LinkCode(t.Context(), "T09OTHER", "U04DANA")
	denied(t, err, bot.CodeDenied, "another workspace")
	_, _, err = r.Bot.LinkCode(t.Context(), slack.TeamID, "U04|DANA")
	denied(t, err, bot.CodeInvalid, "not the id")
	if n := len(tn.opened()); n != 0 {
		t.Errorf("%d issues were opened", n)
	}
}
