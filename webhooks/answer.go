package webhooks

import (
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
)

// This file is how people answer requests of others, and how they ask for
// more time. An answer becomes a review on GitHub in the name of whoever gives
// it, so the token that proved who calls goes on to the bot, together with the
// commit that the person looked at (threats.md E14).

// headForm is a commit, in full: an abbreviation could be made to fit another.
var headForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

func checkHead(head string) error {
	if headForm.MatchString(head) {
		return nil
	}
	return invalid("head: name the commit that you looked at by all its 40 characters; the grant's head tells it")
}

func (e *edge) approve(c *gin.Context, who grants.Principal) {
	id, ok := e.grantOf(c)
	if !ok {
		return
	}
	ask, err := readApproval(c.Request)
	if err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	v, err := e.Bot.Approve(ctx, who, id, ask)
	e.say(c, v, err)
}

func readApproval(r *http.Request) (bot.AnswerAsk, error) {
	ask := answerOf(r)
	var duration string
	if err := readBody(r.Body, map[string]any{"head": &ask.Head, "duration": &duration, "reason": &ask.Reason}); err != nil {
		return ask, err
	}
	if err := checkHead(ask.Head); err != nil {
		return ask, err
	}
	if duration != "" {
		var err error
		if ask.Duration, err = readDuration(duration); err != nil {
			return ask, err
		}
	}
	ask.Reason = strings.TrimSpace(ask.Reason)
	return ask, checkReason(ask.Reason)
}

func (e *edge) deny(c *gin.Context, who grants.Principal) {
	id, ok := e.grantOf(c)
	if !ok {
		return
	}
	ask, err := readDenial(c.Request)
	if err != nil {
		e.fail(c, err)
		return
	}
	ctx, cancel := settled(c)
	defer cancel()
	v, err := e.Bot.Deny(ctx, who, id, ask)
	e.say(c, v, err)
}

func readDenial(r *http.Request) (bot.AnswerAsk, error) {
	ask := answerOf(r)
	if err := readBody(r.Body, map[string]any{"head": &ask.Head, "reason": &ask.Reason}); err != nil {
		return ask, err
	}
	if err := checkHead(ask.Head); err != nil {
		return ask, err
	}
	if ask.Reason = strings.TrimSpace(ask.Reason); ask.Reason == "" {
		return ask, invalid("reason: say why, in one line; the requester reads it")
	}
	return ask, checkReason(ask.Reason)
}

// answerOf is the beginning of an answer over the API: in whose name it is
// given, and by what way. The token was proved before.
func answerOf(r *http.Request) bot.AnswerAsk {
	token, _ := bearer(r.Header)
	return bot.AnswerAsk{Token: token, From: bot.FromCLI}
}

func readDuration(text string) (time.Duration, error) {
	d, err := grants.ParseDuration(text)
	if err == nil {
		err = grants.CheckDuration(d)
	}
	if err != nil {
		return 0, invalid("duration: %v", err)
	}
	return d, nil
}

func checkReason(reason string) error {
	if err := grants.CheckReason(reason); err != nil {
		return invalid("%v", err)
	}
	return nil
}

func (e *edge) extend(c *gin.Context, who grants.Principal) {
	id, ok := e.grantOf(c)
	if !ok {
		return
	}
	ask, err := readExtension(c.Request)
	if err != nil {
		e.fail(c, err)
		return
	}
	got, err := e.Bot.Extend(c.Request.Context(), who, id, ask)
	if err != nil {
		e.fail(c, err)
		return
	}
	accepted(c, got, ask.DryRun)
}

// readExtension reads for how much longer somebody asks. Left out, the reason
// and the ticket are those of the grant, and the duration is what policy adds
// at once.
func readExtension(r *http.Request) (bot.ExtendAsk, error) {
	ask := bot.ExtendAsk{Via: grants.ViaCLI}
	var duration string
	err := readBody(r.Body, map[string]any{
		"duration": &duration, "reason": &ask.Reason, "ticket": &ask.Ticket, "dry_run": &ask.DryRun,
	})
	if err != nil {
		return ask, err
	}
	if duration != "" {
		if ask.Duration, err = readDuration(duration); err != nil {
			return ask, err
		}
	}
	ask.Reason = strings.TrimSpace(ask.Reason)
	if err := checkReason(ask.Reason); err != nil {
		return ask, err
	}
	ask.Key, err = readKey(r.Header, ask.DryRun)
	return ask, err
}
