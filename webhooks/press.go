package webhooks

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// The actions of the bot's buttons. The value of approve and deny is the
// grant's id, a colon, and the commit that the message was about; that of the
// others is the id alone.
const (
	actionGet     = "get"
	actionDrop    = "drop"
	actionApprove = "approve"
	actionDeny    = "deny"
	actionExtend  = "extend"
)

// slackPress takes the press of a button, or a form that was sent. Slack shows
// nothing of what is answered to a button, so the person is told by message,
// after the answer; what speaks against a form is said in the form.
//
// Work on a press is not cut off where Slack stops waiting: a review that
// GitHub takes its time over would be lost half way. Nobody takes the answer
// for more than that the press arrived; what became of it is told by message.
func (e *edge) slackPress(c *gin.Context) {
	body, ok := e.slackBody(c, "press")
	if !ok {
		return
	}
	press, err := e.Slack.ParsePress(body)
	if err != nil {
		e.slackUnreadable(c, "press", err)
		return
	}
	r := &reply{c: c}
	defer time.AfterFunc(answerWithin, func() { r.send(nil) }).Stop()
	defer r.send(nil)
	ctx, cancel := settled(c)
	defer cancel()
	text, err := e.pressed(ctx, press)
	if err != nil {
		text = e.excuse(ctx, c, err)
	}
	if text == "" {
		e.metrics.event("slack", "press", resultIgnored)
		return
	}
	e.metrics.event("slack", "press", resultAnswered)
	if err != nil && press.Submitted && r.send(e.Slack.Objection(text)) {
		return
	}
	r.send(nil)
	e.tell(c, press.UserID, text)
}

// reply is the one answer to a delivery. Whoever sends first, the handler or
// the clock by which Slack waits, has sent it.
type reply struct {
	c    *gin.Context
	once sync.Once
}

// send sends the whole answer now, while the handler goes on, and reports
// whether nothing was sent before.
func (r *reply) send(body []byte) (first bool) {
	r.once.Do(func() {
		first = true
		w := r.c.Writer
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if len(body) > 0 {
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
		}
		r.c.Status(http.StatusOK)
		w.WriteHeaderNow()
		_, _ = w.Write(body) // Slack may be gone, and nobody else reads it
		w.Flush()
	})
	return first
}

func (e *edge) tell(c *gin.Context, user, text string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), tellWithin)
	defer cancel()
	if err := e.Slack.Direct(ctx, user, world.Notice{Lines: []string{text}}); err != nil {
		e.logger(c).Warn("who pressed a button was not told", "error", err)
	}
}

// pressed does what a button asks for and returns what to say; nothing where
// the button is not ours to answer, or a form says it. A message is read by
// many and stays for long: who acts is who pressed, and how things stand is
// read anew (threats.md E12).
func (e *edge) pressed(ctx context.Context, p Press) (string, error) {
	act := map[string]func(context.Context, grants.Principal, grants.ID, Press) (string, error){
		actionGet: e.pressedGet, actionDrop: e.pressedDrop, actionExtend: e.pressedExtend,
		actionApprove: e.pressedApprove, actionDeny: e.pressedDeny,
	}[p.ActionID]
	if act == nil {
		return "", nil
	}
	name, _, _ := strings.Cut(p.Value, ":")
	id, err := grants.ParseID(name)
	if err != nil {
		return "", invalid("%v", err)
	}
	who, err := e.slackPerson(ctx, p.TeamID, p.UserID)
	if err != nil {
		return "", err
	}
	return act(ctx, who, id, p)
}

// pressedGet tells where the credential is had: it goes to whoever proves who
// they are, never to where a button was pressed (threats.md E10).
func (e *edge) pressedGet(_ context.Context, _ grants.Principal, id grants.ID, _ Press) (string, error) {
	return takeText(id), nil
}

func (e *edge) pressedDrop(ctx context.Context, who grants.Principal, id grants.ID, _ Press) (string, error) {
	v, err := e.Bot.Drop(ctx, who, id)
	if err != nil {
		return "", err
	}
	return endedText(v), nil
}

// pressedExtend asks for what policy adds at once. Until the end has moved,
// pressing again is the same wish, from whichever message.
func (e *edge) pressedExtend(ctx context.Context, who grants.Principal, id grants.ID, p Press) (string, error) {
	v, err := e.Bot.Show(ctx, who, id)
	if err != nil {
		return "", err
	}
	key := "slack:" + p.TeamID + ":extend:" + string(id)
	if v.EndsAt != nil {
		key += ":" + strconv.FormatInt(v.EndsAt.Unix(), 10)
	}
	got, err := e.Bot.Extend(ctx, who, id, bot.ExtendAsk{Via: grants.ViaSlack, Channel: p.ChannelID, Key: key})
	if err != nil {
		return "", err
	}
	return extendedText(id, got), nil
}

// shown returns the commit that the message with the button was about.
func shown(p Press) (string, error) {
	_, head, _ := strings.Cut(p.Value, ":")
	if !headForm.MatchString(head) {
		return "", invalid("%s", oldButtonText)
	}
	return head, nil
}

// pressedApprove has a review submitted as the person who pressed, with the
// token that they left with tac, on the commit that they were shown
// (threats.md E14).
func (e *edge) pressedApprove(ctx context.Context, who grants.Principal, id grants.ID, p Press) (string, error) {
	head, err := shown(p)
	if err != nil {
		return "", err
	}
	v, err := e.Bot.Approve(ctx, who, id, bot.AnswerAsk{Head: head, From: bot.FromSlack})
	if err != nil {
		return "", err
	}
	return approvedText(v), nil
}

// pressedDeny asks why, in a form, and denies when that comes back. A denial
// without a reason leaves the requester to guess; and whoever answers at three
// in the morning is not sent from a phone to a command line to give one.
func (e *edge) pressedDeny(ctx context.Context, who grants.Principal, id grants.ID, p Press) (string, error) {
	head, err := shown(p)
	if err != nil {
		return "", err
	}
	if !p.Submitted {
		return e.askWhy(ctx, who, id, p)
	}
	ask := bot.AnswerAsk{Head: head, Reason: strings.Join(strings.Fields(p.Text), " "), From: bot.FromSlack}
	if ask.Reason == "" {
		return "", invalid("%s", whyText)
	}
	if err := checkReason(ask.Reason); err != nil {
		return "", err
	}
	v, err := e.Bot.Deny(ctx, who, id, ask)
	if err != nil {
		return "", err
	}
	return deniedText(v), nil
}

// askWhy opens the form, unless there is nothing to deny any more: nobody is
// to write a reason for nothing.
func (e *edge) askWhy(ctx context.Context, who grants.Principal, id grants.ID, p Press) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin) // the trigger lives as long as Slack waits
	defer cancel()
	v, err := e.Bot.Show(ctx, who, id)
	if err != nil {
		return "", err
	}
	if v.Phase != grants.PhaseRequested {
		return "", &bot.Error{Code: bot.CodeConflict, Message: nothingToDenyText(v)}
	}
	if err := e.Slack.AskWhy(ctx, p.TriggerID, denyForm(v, p.Value)); err != nil {
		return "", &bot.Error{Code: bot.CodeUnavailable, Message: noFormText(id), Cause: err}
	}
	return "", nil
}
