package server

import (
	"context"
	"net/http"

	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/webhooks"
)

// slackEdge joins the Slack adapter to the HTTP edge; the two know nothing of
// each other.
type slackEdge struct {
	verifier *slackchat.Verifier
	client   *slackchat.Client
}

func (e slackEdge) Verify(header http.Header, body []byte) error {
	return e.verifier.Verify(header, body)
}

func (e slackEdge) Team(ctx context.Context) (string, error) {
	identity, err := e.client.Identity(ctx)
	return identity.TeamID, err
}

func (e slackEdge) AskWhy(ctx context.Context, trigger string, f webhooks.Form) error {
	return e.client.OpenForm(ctx, trigger, slackchat.Form(f))
}

func (e slackEdge) Objection(text string) []byte { return slackchat.Objection(text) }

func (e slackEdge) ParseSlash(body []byte) (webhooks.Slash, error) {
	s, err := slackchat.ParseSlash(body)
	return webhooks.Slash(s), err
}

func (e slackEdge) ParsePress(body []byte) (webhooks.Press, error) {
	p, err := slackchat.ParseInteraction(body)
	return webhooks.Press(p), err
}

func (e slackEdge) ParseCommand(text string) (webhooks.Command, error) {
	c, err := slackchat.ParseCommand(text)
	return webhooks.Command(c), err
}

func (e slackEdge) Help() string { return slackchat.Help }

func (e slackEdge) Ephemeral(text string) []byte { return slackchat.Ephemeral(text) }

func (e slackEdge) Direct(ctx context.Context, user string, n world.Notice) error {
	return e.client.Direct(ctx, user, n)
}
