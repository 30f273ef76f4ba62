package bot

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/policies"
)

// linkLabel marks the issues that ask for a link.
const linkLabel = "tac-link"

// Linking a Slack account to a person is proved from both sides (threats.md
// E11): Slack says who typed `/tac link` and got the code, a token of our own
// GitHub App says who brings it back. Neither a name nor an e-mail address
// counts. And proof is not authority: what comes of it is an issue that tells
// whoever reviews policies/ which line to add to the People document.
//
// A code is no secret that opens anything: whoever brings somebody else's code
// asks to be linked with that somebody's Slack account. That is the one
// attack, done by getting a person to enter a foreign code, so the command line
// shows both accounts and asks before anything is sent, and the issue names
// both again.

// codeLife is how long a code is good.
const codeLife = 10 * time.Minute

// linkDomain keeps a signature of a code from being one of anything else.
const linkDomain = "tac/link/v1\n"

var (
	slackID  = regexp.MustCompile(`^[A-Z][A-Z0-9]{2,20}$`)
	codeForm = regexp.MustCompile(`^([A-Za-z0-9_-]{20,200})\.(v[0-9]{1,6})\.([A-Za-z0-9_-]{20,200})$`)
)

// linkCode is what a code says.
type linkCode struct {
	team, user string
	until      time.Time // to the second
	nonce      string
}

func (l linkCode) text() string {
	return strings.Join([]string{l.team, l.user, strconv.FormatInt(l.until.Unix(), 10), l.nonce}, "|")
}

// LinkCode makes a code that proves, to whoever brings it to Link, who asked
// for it in chat. team and user come from a delivery that Slack signed.
func (b *Bot) LinkCode(ctx context.Context, team, user string) (code string, until time.Time, err error) {
	if err := b.ourWorkspace(ctx, team); err != nil {
		return "", time.Time{}, err
	}
	if !slackID.MatchString(user) {
		return "", time.Time{}, refuse(CodeInvalid, "%s is not the id of a Slack account", strictyaml.Quote(user))
	}
	l := linkCode{team: team, user: user, until: b.Now().Add(codeLife).UTC().Truncate(time.Second), nonce: rand.Text()}
	signature, err := b.Vault.Sign(ctx, []byte(linkDomain+l.text()))
	if err != nil {
		return "", time.Time{}, unavailable("Vault", err)
	}
	version, raw, err := splitSignature(signature)
	if err != nil {
		return "", time.Time{}, unavailable("Vault", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(l.text())) + "." + version + "." + encode(raw), l.until, nil
}

// splitSignature takes vault:v1:BASE64 apart, so that a code has no character
// that a shell or a chat would make something of.
func splitSignature(signature string) (version string, raw []byte, err error) {
	parts := strings.Split(signature, ":")
	if len(parts) != 3 || parts[0] != "vault" {
		return "", nil, errors.New("the signature has a form that is not known")
	}
	raw, err = base64.StdEncoding.DecodeString(parts[2])
	return parts[1], raw, err
}

// ourWorkspace refuses whoever is of another workspace: user ids are unique
// within one only, and in a shared channel others can type too.
func (b *Bot) ourWorkspace(ctx context.Context, team string) error {
	if b.Workspace == nil {
		return refuse(CodeNotFound, hasNoSlack)
	}
	ours, err := b.Workspace(ctx)
	if err != nil || ours == "" {
		return unavailable("Slack", err)
	}
	if team != ours {
		return refuse(CodeDenied, "%s", notOurWorkspace(ours))
	}
	return nil
}

// LinkAnswer is what a code would do, or did.
type LinkAnswer struct {
	Team, User string // the Slack account
	Person     grants.Principal
	Line       string // what to add to the person in the People document
	Issue      string // where that was asked for; empty: not asked yet
	Linked     bool   // the People document says so already
}

// CheckLink says what Link would do with a code, and does nothing.
func (b *Bot) CheckLink(ctx context.Context, who grants.Principal, code string) (LinkAnswer, error) {
	l, err := b.readCode(ctx, code)
	if err != nil {
		return LinkAnswer{}, err
	}
	m, err := b.mainNow(ctx)
	if err != nil {
		return LinkAnswer{}, unavailable("GitHub", err)
	}
	a := LinkAnswer{Team: l.team, User: l.user, Line: "slack: " + l.user}
	a.Person, a.Linked, err = mayLink(m.set, who, l.user)
	return a, err
}

// Link asks the reviewers of policies/ to link the person with the Slack
// account that the code proves. Asking again is the same issue.
func (b *Bot) Link(ctx context.Context, who grants.Principal, code string) (LinkAnswer, error) {
	a, err := b.CheckLink(ctx, who, code)
	if err != nil || a.Linked {
		return a, err
	}
	wanted := linkIssue(a)
	if wanted.Key, err = b.issueKey(ctx, wanted.Key); err != nil {
		return LinkAnswer{}, unavailable("Vault", err)
	}
	issue, err := b.Forge.OpenIssue(ctx, wanted)
	if err != nil {
		return LinkAnswer{}, unavailable("GitHub", err)
	}
	if !issue.Open {
		return LinkAnswer{}, refuse(CodeConflict, "%s", linkClosed(issue.URL))
	}
	a.Issue = issue.URL
	b.Log.Info("somebody proved a Slack account", "person", a.Person.ID, "slack", a.User, "issue", issue.Number)
	return a, nil
}

// readCode returns what a code says, once it is proved to be ours and not over.
func (b *Bot) readCode(ctx context.Context, code string) (linkCode, error) {
	parts := codeForm.FindStringSubmatch(strings.TrimSpace(code))
	if parts == nil {
		return linkCode{}, refuse(CodeInvalid, badCode)
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return linkCode{}, refuse(CodeInvalid, badCode)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil {
		return linkCode{}, refuse(CodeInvalid, badCode)
	}
	// Nothing of the text is believed before this.
	ours, err := b.Vault.Verify(ctx, []byte(linkDomain+string(text)), "vault:"+parts[2]+":"+base64.StdEncoding.EncodeToString(raw))
	if err != nil {
		return linkCode{}, unavailable("Vault", err)
	}
	fields := strings.Split(string(text), "|")
	if !ours || len(fields) != 4 || !slackID.MatchString(fields[0]) || !slackID.MatchString(fields[1]) {
		return linkCode{}, refuse(CodeInvalid, badCode)
	}
	seconds, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return linkCode{}, refuse(CodeInvalid, badCode)
	}
	l := linkCode{team: fields[0], user: fields[1], until: time.Unix(seconds, 0).UTC(), nonce: fields[3]}
	if !b.Now().Before(l.until) {
		return linkCode{}, refuse(CodeDenied, "%s", codeEnded(l.until))
	}
	return l, b.ourWorkspace(ctx, l.team)
}

// mayLink reports whether a person may be linked with a Slack account: one
// that is linked otherwise already is for the reviewers to sort out, since one
// of the two proofs may be somebody else's work.
func mayLink(set *policies.Set, who grants.Principal, user string) (person grants.Principal, linked bool, err error) {
	p, ok := set.Person(who.ID)
	if !ok {
		return who, false, refuse(CodeDenied, "%s", notAmongPeople(who))
	}
	if owner, taken := set.PersonBySlack(user); taken && owner.ID != who.ID {
		return who, false, refuse(CodeDenied, "%s", accountOfAnother(user, owner.Principal))
	}
	if p.Slack != "" && p.Slack != user {
		return who, false, refuse(CodeDenied, "%s", linkedOtherwise(p.Slack, user))
	}
	return p.Principal, p.Slack == user, nil
}
