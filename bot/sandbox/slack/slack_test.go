package slack_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slack-go/slack"
	"github.com/tigeraccess/tac/bot/sandbox"
	sandboxslack "github.com/tigeraccess/tac/bot/sandbox/slack"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	alice = "U01ALICE"
	bob   = "U01BOB"
	ops   = "C01OPS"
)

type workspace struct {
	*sandboxslack.Server
	clock *sandbox.Clock
	api   *slack.Client
}

func newWorkspace(t *testing.T) workspace {
	t.Helper()
	w := workspace{clock: sandbox.NewStillClock(noon)}
	var err error
	w.Server, err = sandboxslack.New(w.clock)
	must(t, err)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	w.AddUser(alice, "alice", "alice@acme.test")
	w.AddUser(bob, "bob", "bob@acme.test")
	w.AddChannel(ops, "ops")
	w.api = w.as(w.BotToken())
	return w
}

func (w workspace) as(token string) *slack.Client {
	return slack.New(token, slack.OptionAPIURL(w.URL()+"/api/"))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func section(text string) slack.Block {
	return slack.NewSectionBlock(slack.NewTextBlockObject(slack.MarkdownType, text, false, false), nil, nil)
}

func button(action, value, label string) slack.Block {
	return slack.NewActionBlock("", slack.NewButtonBlockElement(action, value, slack.NewTextBlockObject(slack.PlainTextType, label, false, false)))
}

func TestMessageIsEditedInPlaceAndKeepsItsHistory(t *testing.T) {
	w := newWorkspace(t)
	meta := slack.SlackMetadata{EventType: "tac_grant", EventPayload: map[string]any{"id": "20261122-k3v9q2m4tz"}}
	channel, ts, err := w.api.PostMessage(ops, slack.MsgOptionText("asked", false),
		slack.MsgOptionBlocks(section("asked by <@"+alice+">"), button("drop", "g1", "Drop")), slack.MsgOptionMetadata(meta))
	must(t, err)
	if channel != ops || ts != "1795348800.000000" {
		t.Errorf("posted to %s at %s", channel, ts)
	}
	_, same, _, err := w.api.UpdateMessage(ops, ts, slack.MsgOptionBlocks(section("active until 14:00")))
	must(t, err)
	_, _, _, err = w.api.UpdateMessage(ops, ts, slack.MsgOptionText("ended &lt;now&gt;", false))
	must(t, err)
	all := w.Messages("ops")
	if same != ts || len(all) != 1 || len(all[0].Edits) != 2 {
		t.Fatalf("edited %s to %s: %+v", ts, same, all)
	}
	m := all[0]
	var seen []string
	for _, version := range append(m.Edits, m) {
		seen = append(seen, w.Render(version))
	}
	want := []string{"asked by @alice\n[Drop]", "active until 14:00", "ended <now>"}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("people read %q, want %q", seen, want)
	}
	history, err := w.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: ops, IncludeAllMetadata: true})
	must(t, err)
	if got := history.Messages[0]; got.Metadata.EventPayload["id"] != meta.EventPayload["id"] || got.Timestamp != ts || got.Edited == nil || got.BotID == "" {
		t.Errorf("history shows %+v", got)
	}
	plain, err := w.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: ops})
	must(t, err)
	if got := plain.Messages[0].Metadata.EventType; got != "" {
		t.Errorf("metadata %q shown to one who did not ask", got)
	}
	_, _, err = w.api.DeleteMessage(ops, ts)
	must(t, err)
	if left := w.Messages(ops); len(left) != 0 {
		t.Errorf("after the deletion: %+v", left)
	}
}

func TestPostToAPersonOpensADirectMessage(t *testing.T) {
	w := newWorkspace(t)
	channel, ts, err := w.api.PostMessage(alice, slack.MsgOptionText("your credential", false))
	must(t, err)
	opened, _, already, err := w.api.OpenConversation(&slack.OpenConversationParameters{Users: []string{alice}, ReturnIM: true})
	must(t, err)
	if opened.ID != channel || !already || opened.User != alice || channel[0] != 'D' {
		t.Errorf("posted to %s, opened %s (already open: %t)", channel, opened.ID, already)
	}
	if dms := w.DMs(alice); len(dms) != 1 || dms[0].TS != ts || len(w.DMs(bob)) != 0 {
		t.Errorf("direct messages: %+v and %+v", dms, w.DMs(bob))
	}
	if _, _, _, err := w.api.UpdateMessage(alice, ts, slack.MsgOptionText("x", false)); err == nil || err.Error() != "channel_not_found" {
		t.Errorf("edit under a person's id: %v", err)
	}
	_, err = w.api.PostEphemeral(ops, bob, slack.MsgOptionText("only you", false))
	must(t, err)
	if len(w.Ephemerals(bob)) != 1 || len(w.Ephemerals(alice)) != 0 || len(w.Messages(ops)) != 0 {
		t.Error("an ephemeral message was shown to others")
	}
}

func TestHistoryGoesInPagesNewestFirst(t *testing.T) {
	w := newWorkspace(t)
	var first string
	for i := range 5 {
		_, ts, err := w.api.PostMessage(ops, slack.MsgOptionText(fmt.Sprint(i), false))
		must(t, err)
		if i == 0 {
			first = ts
		}
	}
	_, _, err := w.api.PostMessage(ops, slack.MsgOptionText("in the thread", false), slack.MsgOptionTS(first))
	must(t, err)
	var seen, pages string
	p := slack.GetConversationHistoryParameters{ChannelID: ops, Limit: 2}
	for more := true; more; pages += "|" {
		page, err := w.api.GetConversationHistory(&p)
		must(t, err)
		for _, m := range page.Messages {
			seen += m.Text
		}
		more, p.Cursor = page.HasMore, page.ResponseMetaData.NextCursor
	}
	if seen != "43210" || pages != "|||" {
		t.Errorf("read %q in pages %q", seen, pages)
	}
	newer, err := w.api.GetConversationHistory(&slack.GetConversationHistoryParameters{ChannelID: ops, Oldest: first, Limit: 10})
	must(t, err)
	replies, _, _, err := w.api.GetConversationReplies(&slack.GetConversationRepliesParameters{ChannelID: ops, Timestamp: first})
	must(t, err)
	if len(newer.Messages) != 4 || len(replies) != 2 || replies[1].Text != "in the thread" {
		t.Errorf("%d newer than the first, replies %+v", len(newer.Messages), replies)
	}
}

func TestRefusalsAreSlacksOwn(t *testing.T) {
	w := newWorkspace(t)
	_, ts, err := w.api.PostMessage(ops, slack.MsgOptionText("x", false))
	must(t, err)
	post := func(channel string, options ...slack.MsgOption) error {
		_, _, err := w.api.PostMessage(channel, options...)
		return err
	}
	blocks := func(n int, text string) slack.MsgOption {
		many := make([]slack.Block, n)
		for i := range many {
			many[i] = section(text)
		}
		return slack.MsgOptionBlocks(many...)
	}
	edit := func(text string) error {
		_, _, _, err := w.api.UpdateMessage(ops, ts, slack.MsgOptionText(text, false))
		return err
	}
	asAlice := func(do func(*slack.Client) error) error { return do(w.as(w.AddToken(alice, "chat:write"))) }
	_, badToken := w.as("xoxb-wrong").AuthTest()
	_, noToken := w.as("").AuthTest()
	_, _, _, badEdit := w.api.UpdateMessage(ops, "1.000001", slack.MsgOptionText("x", false))
	_, badUser := w.api.GetUserInfo("U0NOBODY")
	_, badMail := w.api.GetUserByEmail("nobody@acme.test")
	_, badTrigger := w.api.OpenView("1.2", modal())
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"a wrong token", badToken, "invalid_auth"},
		{"no token", noToken, "not_authed"},
		{"an unknown channel", post("C0NONE", slack.MsgOptionText("x", false)), "channel_not_found"},
		{"an unknown person", post("U0NONE", slack.MsgOptionText("x", false)), "channel_not_found"},
		{"nothing to say", post(ops), "no_text"},
		{"an edit to 4,001 characters", edit(strings.Repeat("ä", 4_001)), "msg_too_long"},
		{"an edit to 4,000 characters", edit(strings.Repeat("ä", 4_000)), ""},
		{"an edit of somebody else's", asAlice(func(api *slack.Client) error {
			_, _, _, err := api.UpdateMessage(ops, ts, slack.MsgOptionText("y", false))
			return err
		}), "cant_update_message"},
		{"a deletion of somebody else's", asAlice(func(api *slack.Client) error {
			_, _, err := api.DeleteMessage(ops, ts)
			return err
		}), "cant_delete_message"},
		{"a token without the scope", asAlice(func(api *slack.Client) error {
			_, err := api.GetUserInfo(bob)
			return err
		}), "missing_scope"},
		{"blocks of 11,001 characters", post(ops, slack.MsgOptionBlocks(append(slices.Repeat([]slack.Block{section(strings.Repeat("x", 2000))}, 5), section(strings.Repeat("x", 1001)))...)), "msg_blocks_too_long"},
		{"blocks of 11,000 characters", post(ops, slack.MsgOptionBlocks(append(slices.Repeat([]slack.Block{section(strings.Repeat("x", 2000))}, 5), section(strings.Repeat("x", 1000)))...)), ""},
		{"51 blocks", post(ops, blocks(51, "x")), "invalid_blocks"},
		{"50 blocks", post(ops, blocks(50, "x")), ""},
		{"a section of 3,001 characters", post(ops, blocks(1, strings.Repeat("x", 3001))), "invalid_blocks"},
		{"a section of 3,000 characters", post(ops, blocks(1, strings.Repeat("x", 3000))), ""},
		{"an empty section", post(ops, blocks(1, "")), "invalid_blocks"},
		{"a button of 76 characters", post(ops, slack.MsgOptionBlocks(button("a", "v", strings.Repeat("x", 76)))), "invalid_blocks"},
		{"a missing thread", post(ops, slack.MsgOptionText("x", false), slack.MsgOptionTS("1.000001")), "thread_not_found"},
		{"a missing message", badEdit, "message_not_found"},
		{"an unknown id", badUser, "user_not_found"},
		{"an unknown address", badMail, "users_not_found"},
		{"an unknown trigger", badTrigger, "invalid_arguments"},
	} {
		got := ""
		var refused slack.SlackErrorResponse
		if errors.As(tt.err, &refused) {
			got = refused.Err
		} else if tt.err != nil {
			got = tt.err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	me, err := w.api.AuthTest()
	must(t, err)
	who, err := w.api.GetUserByEmail("Alice@acme.test")
	must(t, err)
	link, err := w.api.GetPermalink(&slack.PermalinkParameters{Channel: ops, Ts: ts})
	must(t, err)
	if me.TeamID != sandboxslack.TeamID || who.ID != alice || who.Profile.Email != "alice@acme.test" || !strings.Contains(link, "/archives/"+ops+"/p") {
		t.Errorf("auth.test %+v, found %+v, link %s", me, who, link)
	}
}

func TestLimitAnswers429ThenServesAgain(t *testing.T) {
	w := newWorkspace(t)
	w.Limit("chat.postMessage", 1, 1500*time.Millisecond)
	if _, err := w.api.AuthTest(); err != nil {
		t.Errorf("another method was limited too: %v", err)
	}
	_, _, err := w.api.PostMessage(ops, slack.MsgOptionText("x", false))
	var limited *slack.RateLimitedError
	if !errors.As(err, &limited) || limited.RetryAfter != 2*time.Second {
		t.Errorf("limited call: %v", err)
	}
	_, _, err = w.api.PostMessage(ops, slack.MsgOptionText("x", false))
	must(t, err)
	if n := len(w.Messages(ops)); n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

func TestMentionsFindsOnlyWhatIsLive(t *testing.T) {
	w := newWorkspace(t)
	_, _, err := w.api.PostMessage(ops, slack.MsgOptionText("hello <@"+alice+">", false), slack.MsgOptionBlocks(
		section("for <@"+bob+"|bob>: <|x> &lt;!channel&gt; &amp; <https://acme.test|the ticket>"),
		slack.NewContextBlock("", slack.NewTextBlockObject(slack.MarkdownType, "<!here>", false, false)),
		slack.NewHeaderBlock(slack.NewTextBlockObject(slack.PlainTextType, "<!everyone>", false, false))))
	must(t, err)
	m := w.Messages(ops)[0]
	if got, want := sandboxslack.Mentions(m), []string{"@" + alice, "@" + bob, "!here"}; !reflect.DeepEqual(got, want) {
		t.Errorf("mentions %q, want %q", got, want)
	}
	want := "for @bob: <|x> <!channel> & the ticket (https://acme.test)\n@here\n<!everyone>"
	if got := w.Render(m); got != want {
		t.Errorf("people read %q, want %q", got, want)
	}
}

func modal() slack.ModalViewRequest {
	plain := func(s string) *slack.TextBlockObject {
		return slack.NewTextBlockObject(slack.PlainTextType, s, false, false)
	}
	return slack.ModalViewRequest{
		Type: slack.VTModal, Title: plain("Ask for access"), Submit: plain("Ask"), CallbackID: "ask", PrivateMetadata: "k1",
		Blocks: slack.Blocks{BlockSet: []slack.Block{
			slack.NewInputBlock("why", plain("Reason"), nil, slack.NewPlainTextInputBlockElement(nil, "reason")),
		}},
	}
}

func postJSON(t *testing.T, address, body string) (int, string) {
	t.Helper()
	resp, err := http.Post(address, "application/json", strings.NewReader(body))
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	b := make([]byte, 200)
	n, _ := resp.Body.Read(b)
	return resp.StatusCode, strings.TrimSpace(string(b[:n]))
}

func TestResponseURLServesFiveTimesInHalfAnHour(t *testing.T) {
	w := newWorkspace(t)
	app := newApp(t, w)
	a, err := w.Command(app.URL+"/commands", alice, ops, "/tac", "list")
	must(t, err)
	for i := range 5 {
		if status, body := postJSON(t, a.ResponseURL, fmt.Sprintf(`{"text":"part %d"}`, i)); status != 200 || body != "ok" {
			t.Fatalf("use %d: %d %s", i+1, status, body)
		}
	}
	if status, body := postJSON(t, a.ResponseURL, `{"text":"six"}`); status != 404 || !strings.Contains(body, "used_url") {
		t.Errorf("sixth use: %d %s", status, body)
	}
	b, err := w.Command(app.URL+"/commands", alice, ops, "/tac", "list")
	must(t, err)
	if status, body := postJSON(t, b.ResponseURL, `{"text":"to all","response_type":"in_channel"}`); status != 200 {
		t.Errorf("in_channel: %d %s", status, body)
	}
	w.clock.Advance(30*time.Minute + time.Second)
	if status, body := postJSON(t, b.ResponseURL, `{"text":"late"}`); status != 404 || !strings.Contains(body, "expired_url") {
		t.Errorf("after half an hour: %d %s", status, body)
	}
	if n := len(w.Responses()); n != 6 || len(w.Messages(ops)) != 1 || len(w.Ephemerals(bob)) != 0 {
		t.Errorf("%d responses, channel %+v", n, w.Messages(ops))
	}
	if _, err := url.Parse(a.ResponseURL); err != nil || !strings.HasPrefix(a.ResponseURL, w.URL()+"/commands/") {
		t.Errorf("response URL %q", a.ResponseURL)
	}
}
