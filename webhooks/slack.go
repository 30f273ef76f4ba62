package webhooks

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// SlackEdge is what the edge needs of the Slack adapter. Slash, Press and
// Command have the fields of the adapter's own values, so that wiring is a
// conversion.
type SlackEdge interface {
	// Verify returns nil where body, byte for byte as received, bears a
	// fresh signature by Slack. It is called before anything is read.
	Verify(header http.Header, body []byte) error
	// Team returns the id of the one workspace whose people are ours.
	Team(ctx context.Context) (string, error)
	// AskWhy opens a form on the screen of whoever did what trigger is of.
	// What is sent with it comes back as a Press.
	AskWhy(ctx context.Context, trigger string, f Form) error
	// Objection returns the body of an answer to a form that leaves it open
	// and says in it what is wrong.
	Objection(text string) []byte
	// ParseSlash and ParsePress read verified bodies.
	ParseSlash(body []byte) (Slash, error)
	ParsePress(body []byte) (Press, error)
	// ParseCommand reads what was typed. Its errors are for the person who
	// typed; they say what would have worked.
	ParseCommand(text string) (Command, error)
	// Help says what can be typed.
	Help() string
	// Ephemeral returns the body of an answer that its sender alone sees;
	// nothing in text is interpreted.
	Ephemeral(text string) []byte
	// Direct says something to one person, by chat user id, in private.
	Direct(ctx context.Context, user string, n world.Notice) error
}

// Slash is a slash command as Slack delivers it.
type Slash struct {
	TeamID, UserID string // who typed it
	ChannelID      string
	TriggerID      string // each typing has its own
	Command        string
	Text           string
	ResponseURL    string // never called: an address out of a request
}

// Press is somebody pressing a button, or sending a form that was opened by
// one. It proves who did so, no more.
type Press struct {
	TeamID, UserID  string
	ActionID, Value string // of the button, or those that the form was opened with
	ChannelID       string
	MessageTS       string
	TriggerID       string // each press has its own
	Submitted       bool   // it is a form
	Text            string // what was written into the form
}

// Form asks one person for one line of text.
type Form struct {
	Action, Value string   // come back with the answer
	Title         string   // 24 characters at most
	Lines         []string // above the field
	Label, Hint   string   // of the field
	Submit        string   // on the button; 24 characters at most
}

// Command is what was typed after /tac.
type Command struct {
	Name       string // request, list, show, drop, revoke, extend, link or help
	Resource   string
	Duration   time.Duration
	Reason     string
	Ticket     string
	Start      time.Time
	BreakGlass bool
	ID         grants.ID
}

// Slack gives up on an answer after three seconds. Work on what was typed ends
// before that, so that people are told what is not durable; a message
// afterwards may take longer, since nobody waits for it.
const (
	answerWithin = 2500 * time.Millisecond
	tellWithin   = 10 * time.Second
)

// slackBody returns a verified body; where there is none it has answered.
func (e *edge) slackBody(c *gin.Context, kind string) ([]byte, bool) {
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		result := resultUnreadable
		if tooLarge(err) {
			result = resultTooLarge
		}
		e.metrics.event("slack", kind, result)
		e.fail(c, unreadable(err))
		return nil, false
	}
	if err := e.Slack.Verify(c.Request.Header, body); err != nil {
		e.metrics.event("slack", kind, resultForged)
		e.logger(c).Warn("a delivery is not signed by slack", "kind", kind, "error", err)
		e.refuse(c, codeUnauthenticated, "this does not bear a fresh signature by Slack: check the signing secret and the clock")
		return nil, false
	}
	return body, true
}

func (e *edge) slackUnreadable(c *gin.Context, kind string, err error) {
	e.metrics.event("slack", kind, resultUnreadable)
	e.logger(c).Warn("a delivery by slack cannot be read", "kind", kind, "error", err)
	e.refuse(c, bot.CodeInvalid, "the delivery is not of the known form")
}

// slackCommand answers a slash command, once what it asked for is durable
// (threats.md E4).
func (e *edge) slackCommand(c *gin.Context) {
	body, ok := e.slackBody(c, "command")
	if !ok {
		return
	}
	slash, err := e.Slack.ParseSlash(body)
	if err != nil {
		e.slackUnreadable(c, "command", err)
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), answerWithin)
	defer cancel()
	text := e.command(ctx, c, slash)
	e.metrics.event("slack", "command", resultAnswered)
	c.Data(http.StatusOK, "application/json; charset=utf-8", e.Slack.Ephemeral(text))
}

// command does what was typed and returns what to say.
func (e *edge) command(ctx context.Context, c *gin.Context, slash Slash) string {
	cmd, err := e.Slack.ParseCommand(slash.Text)
	if err != nil {
		return err.Error()
	}
	if cmd.Name == "help" {
		return e.Slack.Help()
	}
	if cmd.Name == "link" {
		return e.slackLink(ctx, c, slash)
	}
	who, err := e.slackPerson(ctx, slash.TeamID, slash.UserID)
	if err != nil {
		return e.excuse(ctx, c, err)
	}
	switch cmd.Name {
	case "request":
		return e.slackRequest(ctx, c, who, slash, cmd)
	case "list":
		views, err := e.Bot.List(ctx, who)
		return e.either(ctx, c, func() string { return listText(who, views) }, err)
	case "show":
		v, err := e.Bot.Show(ctx, who, cmd.ID)
		return e.either(ctx, c, func() string { return showText(who, v) }, err)
	case "drop":
		v, err := e.Bot.Drop(ctx, who, cmd.ID)
		return e.either(ctx, c, func() string { return endedText(v) }, err)
	case "revoke":
		v, err := e.Bot.Revoke(ctx, who, cmd.ID, cmd.Reason)
		return e.either(ctx, c, func() string { return endedText(v) }, err)
	case "extend":
		got, err := e.Bot.Extend(ctx, who, cmd.ID, bot.ExtendAsk{
			Duration: cmd.Duration, Via: grants.ViaSlack, Channel: slash.ChannelID, Key: "slack:" + slash.TeamID + ":" + slash.TriggerID,
		})
		return e.either(ctx, c, func() string { return extendedText(cmd.ID, got) }, err)
	}
	return e.Slack.Help()
}

// slackPerson returns whose chat account this is.
func (e *edge) slackPerson(ctx context.Context, team, user string) (grants.Principal, error) {
	if err := e.ourTeam(ctx, team); err != nil {
		return grants.Principal{}, err
	}
	return e.Bot.PersonOfChat(ctx, user)
}

// ourTeam refuses accounts of other workspaces. They can meet us in shared
// channels, with ids that were never ours to review (threats.md E11).
func (e *edge) ourTeam(ctx context.Context, team string) error {
	ours, err := e.Slack.Team(ctx)
	if err != nil {
		return &bot.Error{Code: bot.CodeUnavailable, Cause: err,
			Message: "Slack does not say which workspace is ours; nothing was done, please try again"}
	}
	if ours == "" || team != ours {
		return &bot.Error{Code: bot.CodeDenied, Message: "tac answers people of its own Slack workspace only"}
	}
	return nil
}

// slackLink tells an account that nobody vouches for yet how to prove whose it
// is: Slack's signature proves the one half, tac's sign-in the other. The code
// is told to whoever typed, and to nobody else.
func (e *edge) slackLink(ctx context.Context, c *gin.Context, slash Slash) string {
	if err := e.ourTeam(ctx, slash.TeamID); err != nil {
		return e.excuse(ctx, c, err)
	}
	code, until, err := e.Bot.LinkCode(ctx, slash.TeamID, slash.UserID)
	return e.either(ctx, c, func() string { return linkText(code, until) }, err)
}

func (e *edge) slackRequest(ctx context.Context, c *gin.Context, who grants.Principal, slash Slash, cmd Command) string {
	got, err := e.Bot.Request(ctx, bot.Ask{
		Requester: who, Resource: cmd.Resource, Duration: cmd.Duration, Start: cmd.Start,
		Reason: cmd.Reason, Ticket: cmd.Ticket, BreakGlass: cmd.BreakGlass, Via: grants.ViaSlack,
		Key:     "slack:" + slash.TeamID + ":" + slash.TriggerID,
		Channel: slash.ChannelID,
	})
	return e.either(ctx, c, func() string { return acceptedText(got, cmd.BreakGlass) }, err)
}

// either returns said, or what there is to say of err.
func (e *edge) either(ctx context.Context, c *gin.Context, said func() string, err error) string {
	if err != nil {
		return e.excuse(ctx, c, err)
	}
	return said()
}

// excuse turns an error into a sentence for chat. Refusals are shown as they
// are; of everything else only that it happened.
func (e *edge) excuse(ctx context.Context, c *gin.Context, err error) string {
	refusal, ok := refusalOf(err)
	switch {
	case ctx.Err() != nil && (!ok || refusal.Code == bot.CodeUnavailable):
		e.logger(c).Warn("slack was answered before the work was done", "error", err)
		return tooSlowText
	case ok:
		e.logCause(c, refusal)
		return refusal.Message
	}
	e.logFault(c, err)
	return "Sorry, " + internalSentence(c) + "."
}

// slackEvent proves to Slack that this address is ours, and thanks for the
// rest: no event is needed by anything yet.
func (e *edge) slackEvent(c *gin.Context) {
	body, ok := e.slackBody(c, "event")
	if !ok {
		return
	}
	var ev struct {
		Type      string `json:"type"`
		Challenge string `json:"challenge"`
	}
	if err := json.Unmarshal(body, &ev); err != nil {
		e.slackUnreadable(c, "event", err)
		return
	}
	if ev.Type == "url_verification" {
		e.metrics.event("slack", "event", resultPong)
		answer(c, http.StatusOK, gin.H{"challenge": ev.Challenge})
		return
	}
	e.metrics.event("slack", "event", resultIgnored)
	c.Status(http.StatusOK)
}
