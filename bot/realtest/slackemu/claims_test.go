package slackemu

import (
	"fmt"
	"os"
	"testing"

	"github.com/tigeraccess/tac/bot/slackchat/chatclaims"
)

// wrong is where the emulator does not answer as Slack documents it.
// The reasons quote Slack's reference of the method.
var wrong = map[string]chatclaims.Difference{
	"auth.test with an unknown token": {
		Answer: "ok",
		Why:    "it takes any token for its administrator's, for convenience; Slack: invalid_auth, \"the provided token is invalid\"",
	},
	"a post of blocks that are no JSON": {
		Answer: "invalid_blocks",
		Why:    "it has one code for both; Slack: invalid_blocks_format, \"not a valid JSON object\"",
	},
	"a post of a block of no known type": {
		Answer: "ok",
		Why:    "it keeps blocks unread; Slack: invalid_blocks, and blocks.validate names \"unsupported type\"",
	},
	"an edit in an unknown channel": {
		Answer: "message_not_found",
		Why:    "it looks for the message first; Slack: channel_not_found, \"value passed for channel was invalid\"",
	},
	"an edit under the id of a person": {
		Answer: "message_not_found",
		Why:    "as above; Slack: \"ensure that this value is a DM ID instead of a User ID\"",
	},
	"an edit of 4,001 characters": {
		Answer: "ok",
		Why:    "it cuts at 40,000 as for posts; Slack: msg_too_long, \"the text field cannot exceed 4,000 characters\"",
	},
	"the history shows metadata to whoever asks only": {
		Answer: `ok, but "t" for ""`,
		Why:    "it does not know include_all_metadata; in Slack it is off by default",
	},
}

// shown counts the claims that hold on the emulator as they do in the sandbox.
var shown int

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Println("tally: slack-claims", shown)
	os.Exit(code)
}

func TestTheClaimsHoldOnAnIndependentEmulator(t *testing.T) {
	shown = chatclaims.Run(t, ground(t))
	if shown == 0 {
		t.Error("nothing was shown")
	}
}
