package slackchat_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	sandboxslack "github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/bot/slackchat/chatclaims"
)

// TestTheClaimsHoldInTheSandbox shows in the sandbox what bot/realtest shows
// on an emulator that nobody here wrote.
func TestTheClaimsHoldInTheSandbox(t *testing.T) {
	server, err := sandboxslack.New(sandbox.NewStillClock(time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	server.AddUser("U0SOMEBODY", "somebody", "somebody@acme.test")
	var narrow []string
	for _, scope := range chatclaims.Scopes {
		if scope != "channels:history" {
			narrow = append(narrow, scope)
		}
	}
	places := 0
	chatclaims.Run(t, chatclaims.Ground{
		API:  server.URL() + "/api/",
		Self: slackchat.Identity{TeamID: sandboxslack.TeamID, UserID: sandboxslack.BotUserID, BotID: sandboxslack.BotID},
		Place: func(*testing.T) (channel, person string) {
			places++
			channel, person = fmt.Sprintf("C%03d", places), fmt.Sprintf("U%03d", places)
			server.AddChannel(channel, fmt.Sprint("claim-", places))
			server.AddUser(person, fmt.Sprint("person-", places), fmt.Sprintf("person-%d@acme.test", places))
			return channel, person
		},
		Token: server.AddToken(sandboxslack.BotUserID, chatclaims.Scopes...), Narrow: server.AddToken(sandboxslack.BotUserID, narrow...),
		Observer: server.BotToken(), Person: server.AddToken("U0SOMEBODY", "chat:write"), Nobody: "xoxb-nobody",
	})
}
