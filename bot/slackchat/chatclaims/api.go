package chatclaims

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// who names a token of the ground.
type who int

const (
	bot who = iota
	narrow
	somebody
	unknownToken
	noToken
)

func (s *scene) token(w who) string {
	return map[who]string{bot: s.Observer, narrow: s.Narrow, somebody: s.Person, unknownToken: "xoxb-no-such-token", noToken: ""}[w]
}

// apiCall is one call and what Slack answers. In its arguments CHANNEL, PERSON
// and DIRECT stand for the scene's, BOTS and THEIRS for the time of a message
// of the bot's and of somebody else's.
type apiCall struct {
	says   string
	by     who
	method string
	args   string // as a query
	want   string // an error code, or "ok"
	also   func(*scene, answer) error
}

// calls are the answers that the adapter, or the sandbox's fidelity, rests
// on. Codes are those of docs.slack.dev/reference/methods.
var calls = []apiCall{
	{says: "auth.test without a token", by: noToken, method: "auth.test", want: "not_authed"},
	{says: "auth.test with an unknown token", by: unknownToken, method: "auth.test", want: "invalid_auth"},
	{says: "auth.test names the bot", method: "auth.test", want: "ok", also: func(s *scene, a answer) error { return same(a.UserID, s.Self.UserID) }},

	{says: "a post to nowhere", method: "chat.postMessage", args: "text=x", want: "channel_not_found"},
	{says: "a post to an unknown channel", method: "chat.postMessage", args: "channel=C0NOWHERE&text=x", want: "channel_not_found"},
	{says: "a post that says nothing", method: "chat.postMessage", args: "channel=CHANNEL", want: "no_text"},
	{says: "a post of no blocks and no text", method: "chat.postMessage", args: "channel=CHANNEL&blocks=[]", want: "no_text"},
	{says: "a post to a person opens direct messages", method: "chat.postMessage", args: "channel=PERSON&text=x", want: "ok",
		also: func(_ *scene, a answer) error { return same(a.channelID()[:1], "D") }},
	{says: "a post of blocks that are no JSON", method: "chat.postMessage", args: "channel=CHANNEL&text=x&blocks={", want: "invalid_blocks_format"},
	{says: "a post of a block of no known type", method: "chat.postMessage", args: `channel=CHANNEL&text=x&blocks=[{"type":"nonsense"}]`, want: "invalid_blocks"},
	{says: "a post of metadata that is no JSON", method: "chat.postMessage", args: "channel=CHANNEL&text=x&metadata={", want: "invalid_metadata_format"},
	{says: "a post of 40,001 characters is cut", method: "chat.postMessage", args: "channel=CHANNEL&text=" + strings.Repeat("x", 40_001), want: "ok",
		also: func(_ *scene, a answer) error {
			return same(words(len(a.Message.Text), a.Warning), "40000 message_truncated")
		}},
	{says: "a post shows its metadata", method: "chat.postMessage", args: `channel=CHANNEL&text=x&metadata={"event_type":"t","event_payload":{"key":"k"}}`, want: "ok",
		also: func(_ *scene, a answer) error { return same(a.Message.Metadata.Payload["key"], "k") }},

	{says: "an edit of a missing message", method: "chat.update", args: "channel=CHANNEL&ts=1.000001&text=x", want: "message_not_found"},
	{says: "an edit in an unknown channel", method: "chat.update", args: "channel=C0NOWHERE&ts=1.000001&text=x", want: "channel_not_found"},
	{says: "an edit of somebody else's message", by: somebody, method: "chat.update", args: "channel=CHANNEL&ts=BOTS&text=x", want: "cant_update_message"},
	{says: "an edit of a person's message by the bot", method: "chat.update", args: "channel=CHANNEL&ts=THEIRS&text=x", want: "cant_update_message"},
	{says: "an edit to nothing", method: "chat.update", args: "channel=CHANNEL&ts=BOTS", want: "no_text"},
	{says: "an edit of 4,001 characters", method: "chat.update", args: "channel=CHANNEL&ts=BOTS&text=" + strings.Repeat("x", 4001), want: "msg_too_long"},
	{says: "an edit keeps the time and the metadata", method: "chat.update", args: "channel=CHANNEL&ts=BOTS&text=y", want: "ok",
		also: func(_ *scene, a answer) error { return same(a.Text+a.Message.Metadata.Payload["key"], "yk") }},
	{says: "an edit by text alone takes the blocks away", method: "chat.update", args: "channel=CHANNEL&ts=BOTS&text=y", want: "ok",
		also: func(_ *scene, a answer) error { return same(fmt.Sprint(len(a.Message.Blocks)), "0") }},

	{says: "a deletion of a missing message", method: "chat.delete", args: "channel=CHANNEL&ts=1.000001", want: "message_not_found"},
	{says: "a deletion of somebody else's message", by: somebody, method: "chat.delete", args: "channel=CHANNEL&ts=BOTS", want: "cant_delete_message"},
	{says: "a deletion", method: "chat.delete", args: "channel=CHANNEL&ts=BOTS", want: "ok"},

	{says: "the history of an unknown channel", method: "conversations.history", args: "channel=C0NOWHERE", want: "channel_not_found"},
	{says: "the history without the scope", by: narrow, method: "conversations.history", args: "channel=CHANNEL", want: "missing_scope",
		also: func(_ *scene, a answer) error { return same(a.Needed, "channels:history") }},
	{says: "the history is newest first, in pages", method: "conversations.history", args: "channel=CHANNEL&limit=1&include_all_metadata=true", want: "ok",
		also: func(_ *scene, a answer) error {
			return same(words(len(a.Messages), a.Messages[0].Text, a.HasMore, a.Metadata.Cursor != ""), "1 theirs true true")
		}},
	{says: "the history shows metadata to whoever asks only", method: "conversations.history", args: "channel=CHANNEL", want: "ok",
		also: func(_ *scene, a answer) error { return same(a.Messages[1].Metadata.Type, "") }},

	{says: "direct messages with nobody", method: "conversations.open", want: "users_list_not_supplied"},
	{says: "direct messages with an unknown person", method: "conversations.open", args: "users=U0NOBODY", want: "user_not_found"},
	{says: "direct messages that are open already", method: "conversations.open", args: "users=PERSON", want: "ok",
		also: func(_ *scene, a answer) error { return same(words(a.NoOp, a.channelID()[:1]), "true D") }},
	{says: "an edit under the id of a person", method: "chat.update", args: "channel=PERSON&ts=1.000001&text=x", want: "channel_not_found"},

	{says: "an unknown person", method: "users.info", args: "user=U0NOBODY", want: "user_not_found"},
	{says: "a person", method: "users.info", args: "user=PERSON", want: "ok"},
	{says: "an unknown address", method: "users.lookupByEmail", args: "email=nobody@acme.test", want: "users_not_found"},
}

func same(got, want string) error {
	if got != want {
		return fmt.Errorf("%.200q for %q", got, want)
	}
	return nil
}

func words(all ...any) string { return strings.TrimSpace(fmt.Sprintln(all...)) }

// check makes the call after a message of the bot and one of somebody else.
func (c apiCall) check(t *testing.T, s *scene) {
	bots := s.did(t, s.Observer, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {"bots"},
		"blocks":   {`[{"type":"section","text":{"type":"plain_text","text":"bots"}}]`},
		"metadata": {`{"event_type":"t","event_payload":{"key":"k"}}`}})
	theirs := s.did(t, s.Person, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {"theirs"}})
	s.direct(t)
	form := url.Values{}
	names := map[string]string{"CHANNEL": s.channel, "PERSON": s.person, "BOTS": bots.TS, "THEIRS": theirs.TS}
	for part := range strings.SplitSeq(c.args, "&") {
		name, value, _ := strings.Cut(part, "=")
		if known, ok := names[value]; ok {
			value = known
		}
		if name != "" {
			form.Set(name, value)
		}
	}
	answer := s.call(t, s.token(c.by), c.method, form)
	got := answer.word()
	if got == c.want && c.also != nil {
		if err := c.also(s, answer); err != nil {
			got += ", but " + err.Error()
		}
	}
	difference, differs := s.Differs[c.says]
	switch {
	case differs && got != difference.Answer:
		t.Errorf("%s answers %s, and no longer %s: look at the difference again", c.method, got, difference.Answer)
	case differs:
		t.Logf("answers %s, Slack %s: %s", got, c.want, difference.Why)
	case got != c.want:
		t.Errorf("%s answers %s, want %s", c.method, got, c.want)
	}
}
