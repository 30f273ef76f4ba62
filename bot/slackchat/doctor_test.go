package slackchat

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"

	"github.com/tigeraccess/tac/bot/sandbox"
	fake "github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/grants/world"
)

func TestEachWrongSetUpOfSlackIsNamedWithItsMend(t *testing.T) {
	const enough = "commands, chat:write,im:write,channels:history,groups:history,im:history,users:read"
	refused := func(code string) error { return slack.SlackErrorResponse{Err: code} }
	for name, c := range map[string]struct {
		r      reading
		status world.Standing
		says   string
		mend   string
	}{
		"nothing":              {reading{scopes: enough, channel: "C1"}, world.Fine, "reads the channel C1", ""},
		"a dead token":         {reading{identity: refused("invalid_auth")}, world.Problem, "refuses the bot token: invalid_auth", "install the app"},
		"no answer":            {reading{identity: errors.New("refused")}, world.Problem, "no answer", "curl"},
		"come again later":     {reading{identity: refused("ratelimited")}, world.Problem, "no answer", ""},
		"a scope too few":      {reading{scopes: "commands,im:write,channels:history,groups:history,im:history"}, world.Problem, "lacks chat:write, which tac needs to say", "add chat:write"},
		"scopes not said":      {reading{}, world.Unseen, "does not say which scopes", ""},
		"no such channel":      {reading{scopes: enough, channel: "C1", channelErr: refused("channel_not_found")}, world.Problem, "no channel C1", "/invite"},
		"a channel without us": {reading{scopes: enough, channel: "C1", channelErr: refused("not_in_channel")}, world.Problem, "not in the channel C1", "/invite @tac"},
		"a channel unseen":     {reading{scopes: enough, channel: "C1", channelErr: refused("missing_scope")}, world.Unseen, "may not look into", "OAuth"},
	} {
		found := false
		for _, f := range c.r.judge() {
			found = found || f.Status == c.status && strings.Contains(f.Message, c.says) && strings.Contains(f.Mend, c.mend)
			if name == "nothing" && f.Status != world.Fine {
				t.Errorf("%+v", f)
			}
		}
		if !found {
			t.Errorf("%s: %+v", name, c.r.judge())
		}
	}
}

func TestExamineSeesAWorkspaceThatIsSetUpRight(t *testing.T) {
	s, err := fake.New(sandbox.NewStillClock(time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.AddChannel("C0ACCESS", "access")
	c, err := New(Config{APIURL: s.URL() + "/api/", BotToken: world.NewSecret(s.BotToken())})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range c.Examine(t.Context(), "C0ACCESS") {
		if f.Status != world.Fine {
			t.Errorf("%+v", f)
		}
	}
	s.SetScopes("chat:write")
	problems := 0
	for _, f := range c.Examine(t.Context(), "C0NONE") {
		if f.Status == world.Problem {
			problems++
		}
	}
	if problems != 6 { // five scopes and the channel
		t.Errorf("%d problems", problems)
	}
}
