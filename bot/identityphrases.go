package bot

import (
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file holds what tac says to people about themselves: the tokens that
// they leave with it, and the accounts that are theirs.
// testdata/identityphrases.golden shows it all.

// The refusals of those who leave a token, take it back, or rely on it.
const (
	keepsNoTokens    = "this server keeps no tokens"
	revokesNoTokens  = "this server cannot revoke tokens"
	onlyOwnToken     = "only a token of our own GitHub App, made by you, can be left with tac; run `tac login --slack`"
	notTakenBackYet  = "the token is not revoked and forgotten yet; please try again, or revoke it yourself in GitHub's settings under Applications"
	tokenKeepsMoving = "the token changes while it is to be forgotten; please try again"
	notRevokedYet    = "GitHub does not revoke the token now; please try again"
)

// Why there is no token to review with; leaveAgain follows each of them.
const (
	nothingLeft = "tac may not review in your name yet"
	leftEnded   = "the token that you left with tac has ended"
	leftForeign = "the token that you left with tac is not yours"
	leftGone    = "the token that you left with tac was taken back"

	leaveAgain = "run `tac login --slack`, then press again; or answer with `tac access approve`, or on GitHub"
)

// The refusals of those who link a Slack account.
const (
	hasNoSlack = "this server has no Slack"
	badCode    = "this is not a code that tac made, or it was changed on the way; type `/tac link` in Slack for a new one, and enter it whole"
)

func notAmongPeople(who grants.Principal) string {
	return fmt.Sprintf("@%s (GitHub id %d) is not among the people; whoever reviews policies/ can add you", who.GitHub, who.ID)
}

func notOurWorkspace(ours string) string {
	return fmt.Sprintf("this Slack account is of another workspace; only accounts of %s can be linked", ours)
}

func codeEnded(at time.Time) string {
	return fmt.Sprintf("this code ended at %s; type `/tac link` in Slack for a new one", at.UTC().Format("15:04:05Z07:00"))
}

func accountOfAnother(user string, owner grants.Principal) string {
	return fmt.Sprintf("the Slack account %s is linked with @%s, not with you; if that is wrong, tell whoever reviews policies/", user, owner.GitHub)
}

func linkedOtherwise(now, wanted string) string {
	return fmt.Sprintf("you are linked with the Slack account %s already; to change that, ask whoever reviews policies/ to write `slack: %s`", now, wanted)
}

func linkClosed(url string) string {
	return fmt.Sprintf("this was asked for before, and closed without it: %s; ask whoever reviews policies/ to open it again", url)
}

// linkIssue is what the reviewers of policies/ read. Nothing in it was typed
// by anybody: both accounts were proved.
func linkIssue(a LinkAnswer) world.NewIssue {
	return world.NewIssue{
		// Slack writes its ids in capitals only, so that none is lost here.
		Key:    strings.ToLower(fmt.Sprintf("link/%d/%s/%s", a.Person.ID, a.Team, a.User)),
		Labels: []string{linkLabel},
		Title:  fmt.Sprintf("Link Slack account %s with %s (GitHub id %d)", a.User, a.Person.GitHub, a.Person.ID),
		Body: fmt.Sprintf("Somebody showed within ten minutes that both accounts are theirs:\n\n"+
			"- `%s` on GitHub, id %d, by a token of our own App\n"+
			"- `%s` in our Slack workspace `%s`, by a code that only this account was shown\n\n"+
			"To let this Slack account act for this person, add to them in the People document:\n\n"+
			"```yaml\n%s\n```\n\n"+
			"Ask the person first if in doubt: they may have been talked into entering somebody else's code.\n",
			a.Person.GitHub, a.Person.ID, a.User, a.Team, a.Line),
	}
}
