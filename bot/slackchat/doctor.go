package slackchat

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/slack-go/slack"

	"github.com/tigeraccess/tac/grants/world"
)

// neededScopes are what the bot token must have, and what for.
var neededScopes = []struct{ name, use string }{
	{"commands", "to be asked with /tac"},
	{"chat:write", "to say what happens to a request, and to edit it"},
	{"im:write", "to send a credential to its holder alone"},
	{"channels:history", "to find what was said in a channel just before a crash"},
	{"groups:history", "the same in private channels"},
	{"im:history", "the same in direct messages"},
}

// reading is everything that was read of a workspace, before anything is made
// of it.
type reading struct {
	channel    string // empty: none is configured
	team       string
	identity   error
	scopes     string // of the header; empty: Slack did not say
	channelErr error
}

// Examine looks at the token, its scopes and the channel, and returns what it
// found. It says nothing to anybody.
func (c *Client) Examine(ctx context.Context, channel string) []world.Finding {
	r := reading{channel: channel}
	answer, err := c.api.AuthTestContext(ctx)
	if r.identity = err; err == nil {
		r.team, r.scopes = answer.Team, answer.Header.Get("X-Oauth-Scopes")
	}
	if err == nil && channel != "" {
		// Its newest message is what tac itself looks for; to ask about the
		// channel would need one scope more.
		_, r.channelErr = c.api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{ChannelID: channel, Limit: 1})
	}
	return r.judge()
}

func (r reading) judge() []world.Finding {
	f := &world.Findings{Area: "slack"}
	const settings = "https://api.slack.com/apps : "
	switch code := codeOf(r.identity); {
	case r.identity != nil && code == "":
		f.Unreachable("token", "curl -s https://slack.com/api/api.test", readError(r.identity))
		return f.List
	case r.identity != nil:
		f.Wrong("token", settings+"OAuth & Permissions, install the app and put its bot token where tac.yaml says", "Slack refuses the bot token: %s", code)
		return f.List
	}
	f.Fine("token", "Slack knows the bot in %s", r.team)
	r.judgeScopes(f, settings)
	r.judgeChannel(f, settings)
	return f.List
}

func (r reading) judgeScopes(f *world.Findings, settings string) {
	const check = "scopes"
	if r.scopes == "" {
		f.Unseen(check, settings+"OAuth & Permissions", "Slack does not say which scopes the token has")
		return
	}
	var has []string
	for scope := range strings.SplitSeq(r.scopes, ",") {
		has = append(has, strings.TrimSpace(scope))
	}
	before := len(f.List)
	for _, need := range neededScopes {
		if !slices.Contains(has, need.name) {
			f.Wrong(check, settings+"OAuth & Permissions, add "+need.name+" and install the app again", "the token lacks %s, which tac needs %s", need.name, need.use)
		}
	}
	if len(f.List) == before {
		f.Fine(check, "the token has the scopes that tac needs")
	}
}

func (r reading) judgeChannel(f *world.Findings, settings string) {
	const check = "channel"
	invite := "/invite @tac in the channel " + r.channel
	switch code := codeOf(r.channelErr); {
	case r.channel == "":
		f.Fine(check, "grants that were not asked for in Slack are told nowhere")
	case r.channelErr == nil:
		f.Fine(check, "the bot reads the channel %s", r.channel)
	case code == "":
		f.Silent(check, readError(r.channelErr))
	case code == "channel_not_found":
		f.Wrong(check, "channel: C... under slack: in tac.yaml, or "+invite, "there is no channel %s that the bot sees", r.channel)
	case code == "not_in_channel":
		f.Wrong(check, invite, "the bot is not in the channel %s", r.channel)
	case code == "missing_scope":
		f.Unseen(check, settings+"OAuth & Permissions", "the token may not look into the channel %s", r.channel)
	default:
		f.Unseen(check, "", "the channel %s cannot be looked into: %s", r.channel, code)
	}
}

// codeOf returns Slack's own word for a refusal; empty where there was no
// answer, or one that only says to come again later.
func codeOf(err error) string {
	var refused slack.SlackErrorResponse
	if !errors.As(err, &refused) || errors.As(readError(err), new(RateLimited)) || slices.Contains(unsureCodes, refused.Err) {
		return ""
	}
	return refused.Err
}
