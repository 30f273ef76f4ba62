package slackchat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	sandboxslack "github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/grants/world"
)

const (
	channel = "C0ACCESS"
	alice   = "U01ALICE"
	key     = "20261122-k3v9q2m4tz"
)

func workspace(t *testing.T) (*sandboxslack.Server, *Client) {
	t.Helper()
	server, err := sandboxslack.New(sandbox.NewStillClock(time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	server.AddChannel(channel, "access")
	server.AddUser(alice, "alice", "alice@acme.test")
	client, err := New(Config{APIURL: server.URL() + "/api", BotToken: world.NewSecret(server.BotToken()), HTTP: &http.Client{Transport: &http.Transport{}}})
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

func post(t *testing.T, c *Client, where string, n world.Notice, look bool) string {
	t.Helper()
	ts, err := c.Post(t.Context(), where, key, n, look)
	if err != nil || ts == "" {
		t.Fatalf("Post = %q, %v", ts, err)
	}
	return ts
}

// history answers conversations.history with pages, and everything else as the
// sandbox does.
func history(server *sandboxslack.Server, pages ...string) {
	for _, p := range pages {
		server.Order(sandbox.Fault{Path: "conversations.history", When: sandbox.Answer, Status: http.StatusOK, Body: p})
	}
}

func TestOnlyOurOwnMessageIsFound(t *testing.T) {
	entry := func(ts, user, bot, event, key string) string {
		return fmt.Sprintf(`{"ts":%q,"user":%q,"bot_id":%q,"metadata":{"event_type":%q,"event_payload":{"key":%q}}}`, ts, user, bot, event, key)
	}
	page := func(cursor string, messages ...string) string {
		return fmt.Sprintf(`{"ok":true,"messages":[%s],"response_metadata":{"next_cursor":%q}}`, strings.Join(messages, ","), cursor)
	}
	us, ours := sandboxslack.BotUserID, sandboxslack.BotID
	for _, tc := range []struct {
		claim string
		pages []string
		want  string
	}{
		{"another app that imitates us is not", []string{page("", entry("3.0", "U0EVIL", "B0EVIL", eventType, key))}, ""},
		{"a person is not", []string{page("", entry("3.0", alice, "", eventType, key))}, ""},
		{"another key is not", []string{page("", entry("3.0", us, ours, eventType, key+"x"))}, ""},
		{"another event is not", []string{page("", entry("3.0", us, ours, "other", key))}, ""},
		{"a message without metadata is not", []string{page("", `{"ts":"3.0","user":"`+us+`"}`)}, ""},
		{"ours by user is", []string{page("", entry("3.0", us, "", eventType, key))}, "3.0"},
		{"ours by bot is", []string{page("", entry("3.0", "", ours, eventType, key))}, "3.0"},
		{"the oldest of two is", []string{page("", entry("3.0", us, ours, eventType, key), entry("2.0", us, ours, eventType, key))}, "2.0"},
		{"one on a later, shorter page is", []string{page("next"), page("next", entry("4.0", alice, "", "", "")), page("", entry("3.0", us, ours, eventType, key))}, "3.0"},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			server, client := workspace(t)
			history(server, tc.pages...)
			if got, err := client.find(t.Context(), channel, key); got != tc.want || err != nil {
				t.Errorf("find = %q, %v, want %q", got, err, tc.want)
			}
		})
	}
}

func TestWhatCannotBeLookedUpIsNotSaid(t *testing.T) {
	for _, answer := range []string{`{}`, `{"ok":false}`, `{"ok":false,"error":"missing_scope","needed":"channels:history"}`, `<html>`, ``} {
		server, client := workspace(t)
		history(server, answer)
		if ts, err := client.Post(t.Context(), channel, key, waiting, true); err == nil || len(server.Messages(channel)) != 0 {
			t.Errorf("history %q: Post = %q, %v and %d messages", answer, ts, err, len(server.Messages(channel)))
		} else if strings.Contains(answer, "needed") && !strings.Contains(err.Error(), "lacks the scope channels:history") {
			t.Errorf("the error does not name the scope: %v", err)
		}
	}
}

func TestADeletedMessageIsSaidAnew(t *testing.T) {
	server, client := workspace(t)
	if ts := post(t, client, channel, waiting, true); ts == "" {
		t.Fatal("not posted")
	}
	err := client.Update(t.Context(), channel, "1.000001", waiting)
	var gone MessageGone
	if !errors.As(err, &gone) || !errors.Is(err, world.ErrLost) || gone.Channel != channel || gone.TS != "1.000001" {
		t.Errorf("Update of nothing = %v, want MessageGone", err)
	}
	server.Order(sandbox.Fault{Path: "chat.update", When: sandbox.Answer, Status: http.StatusOK, Body: `{"ok":false,"error":"edit_window_closed"}`})
	post(t, client, channel, waiting, true)
	if n := len(server.Messages(channel)); n != 2 {
		t.Errorf("%d messages, want the old one and the new one", n)
	}
	server.Order(sandbox.Fault{Path: "chat.update", When: sandbox.Answer, Status: http.StatusOK, Body: `{"ok":false,"error":"is_inactive"}`})
	if err := client.Update(t.Context(), channel, "1.000001", waiting); err == nil || errors.As(err, &gone) || errors.Is(err, world.ErrLost) {
		t.Errorf("another refusal is taken for a deleted message: %v", err)
	}
}

func TestDirectCarriesTheSecretAndNothingElseDoes(t *testing.T) {
	server, client := workspace(t)
	if err := client.Direct(t.Context(), alice, handover); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Post(t.Context(), channel, key, handover, false); !errors.Is(err, errSecretInPublic) {
		t.Errorf("Post of a secret = %v", err)
	}
	if _, err := client.Post(t.Context(), alice, key, handover, false); !errors.Is(err, errSecretInPublic) {
		t.Errorf("Post of a secret to a person = %v", err)
	}
	ts := post(t, client, channel, waiting, false)
	if err := client.Update(t.Context(), channel, ts, handover); !errors.Is(err, errSecretInPublic) {
		t.Errorf("Update to a secret = %v", err)
	}
	for _, who := range []string{channel, "U1,U2", "alice", "", "U01\nX"} {
		if err := client.Direct(t.Context(), who, handover); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("Direct to %q = %v", who, err)
		}
	}
	dms, secret := server.DMs(alice), handover.Secret.Reveal()
	if len(dms) != 1 || strings.Contains(dms[0].Text, secret) || !strings.Contains(string(dms[0].Blocks[3]), `"text":"`+secret+`"`) {
		t.Fatalf("alice was told %+v", dms)
	}
	for _, m := range server.Messages(channel) {
		if blocks, err := json.Marshal(m); err != nil || strings.Contains(string(blocks), secret) {
			t.Errorf("the channel shows the secret (%v)", err)
		}
	}
}

func TestASecretGoesToNoOtherRoom(t *testing.T) {
	server, client := workspace(t)
	for _, answer := range []string{`{"ok":true,"channel":{"id":"` + channel + `"}}`, `{"ok":true}`, `{}`} {
		server.Order(sandbox.Fault{Path: "conversations.open", When: sandbox.Answer, Status: http.StatusOK, Body: answer})
		if err := client.Direct(t.Context(), alice, handover); err == nil {
			t.Errorf("conversations.open %s: Direct said it", answer)
		}
	}
	if n := len(server.Messages(channel)); n != 0 {
		t.Errorf("the channel has %d messages", n)
	}
}

func TestHostileTextsAreShownAsTyped(t *testing.T) {
	for _, reason := range []string{
		"<!channel>", "<!here|x>", "<@" + alice + ">", "<@U123>", "<#" + channel + ">", "*bold* _it_ ~no~", "`code` ```block```", "@here @channel @alice",
		"https://evil.test/?a=1&b=2", "<https://evil.test|https://github.com>", "[x](javascript:alert(1))", "&lt;!channel&gt;", "&amp;amp;",
		":skull:", "> quote", "• list", "<!date^1^{date}|x>", `"quotes" \n`, "<", "&",
	} {
		server, client := workspace(t)
		post(t, client, channel, world.Notice{Title: reason, Lines: []string{reason}, Facts: []world.Fact{{Name: reason, Value: reason}},
			Buttons: []world.Button{{Action: "a", Label: reason}}}, false)
		m := server.Messages(channel)[0]
		if want := strings.Join([]string{reason, reason, reason, reason, "[" + reason + "]"}, "\n"); server.Render(m) != want {
			t.Errorf("%q is shown as\n%s", reason, server.Render(m))
		}
		if called := sandboxslack.Mentions(m); called != nil {
			t.Errorf("%q calls %q", reason, called)
		}
		m.Blocks = nil // a notification shows the fallback alone
		if want := strings.Join([]string{reason, reason, reason + ": " + reason}, "\n"); server.Render(m) != want {
			t.Errorf("the notification of %q is\n%s", reason, server.Render(m))
		}
	}
}

func TestWhatCannotBeSeenIsNamed(t *testing.T) {
	server, client := workspace(t)
	post(t, client, channel, world.Notice{Title: "a\u202eb", Lines: []string{"c\u2066d\u200be\x00\x1b[31m", "f\n\tApproved by @dana", "\xff"}}, false)
	m := server.Messages(channel)[0]
	if want := "a[U+202E]b\nc[U+2066]d[U+200B]e[U+0000][U+001B][31m\nf  Approved by @dana\n\ufffd"; server.Render(m) != want || m.Text != want {
		t.Errorf("shown is %q\nin notifications %q", server.Render(m), m.Text)
	}
}

func TestNoticesOfAnySizeAreTaken(t *testing.T) {
	server, client := workspace(t)
	n := world.Notice{Title: strings.Repeat("😀", 200), Link: "https://github.test/"}
	for i := range 300 {
		n.Lines = append(n.Lines, fmt.Sprint(i, " ", strings.Repeat("<&>", i*20)))
		n.Facts = append(n.Facts, world.Fact{Name: fmt.Sprint("fact ", i), Value: strings.Repeat("v", i)})
	}
	for range 24 {
		n.Buttons = append(n.Buttons, world.Button{Action: "same", Value: strings.Repeat("v", 2000), Label: strings.Repeat("l", 100)})
	}
	post(t, client, channel, n, false)
	shown := server.Render(server.Messages(channel)[0])
	for _, want := range []string{"😀…\n", "… and 2", strings.Repeat("l", 74) + "…]"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in what is shown", want)
		}
	}
	post(t, client, channel, world.Notice{Title: "t", Lines: []string{strings.Repeat("long ", 2000)}, Facts: []world.Fact{{Name: "n", Value: strings.Repeat("x", 5000)}}}, false)
}

func TestErrorsSayWhatTheCallerCanDo(t *testing.T) {
	answer := func(status int, body string) sandbox.Fault {
		return sandbox.Fault{When: sandbox.Answer, Status: status, Body: body}
	}
	limited := answer(http.StatusTooManyRequests, "")
	limited.Header = http.Header{"Retry-After": {"7"}}
	redirect := answer(http.StatusTemporaryRedirect, "")
	redirect.Header = http.Header{"Location": {"/api/auth.test"}}
	for _, tc := range []struct {
		claim  string
		fault  sandbox.Fault
		after  time.Duration // of RateLimited; 0: it is not that
		unsure bool          // Post is world.ErrAmbiguous
	}{
		{claim: "429 with its time", fault: limited, after: 7 * time.Second},
		{claim: "429 without", fault: answer(http.StatusTooManyRequests, ""), after: defaultBackoff},
		{claim: "ratelimited in the body", fault: answer(http.StatusOK, `{"ok":false,"error":"ratelimited"}`), after: defaultBackoff},
		{claim: "refused for good", fault: answer(http.StatusOK, `{"ok":false,"error":"not_in_channel"}`)},
		{claim: "a broken server", fault: answer(http.StatusBadGateway, "<html>"), unsure: true},
		{claim: "an internal error", fault: answer(http.StatusOK, `{"ok":false,"error":"internal_error"}`), unsure: true},
		{claim: "half an answer", fault: answer(http.StatusOK, `{"ok":true,"ts":`), unsure: true},
		{claim: "an answer that says nothing", fault: answer(http.StatusOK, `{}`), unsure: true},
		{claim: "a cut connection", fault: sandbox.Fault{When: sandbox.Before}, unsure: true},
		{claim: "a redirect, which is not followed", fault: redirect},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			server, client := workspace(t)
			tc.fault.Path, tc.fault.Times = "/api/chat.", -1
			server.Order(tc.fault)
			_, posted := client.Post(t.Context(), channel, key, waiting, false)
			updated := client.Update(t.Context(), channel, "1.000001", waiting)
			for _, err := range []error{posted, updated} {
				var limited RateLimited
				if errors.As(err, &limited) != (tc.after > 0) || limited.After != tc.after || limited.RetryAfter() != tc.after {
					t.Errorf("err = %v, want to wait %s", err, tc.after)
				}
				if err == nil || strings.Contains(err.Error(), server.BotToken()) || strings.Contains(fmt.Sprintf("%+v %#v", err, err), server.BotToken()) {
					t.Errorf("err = %v: none, or it tells the token", err)
				}
				if errors.As(err, new(MessageGone)) || errors.Is(err, world.ErrLost) {
					t.Errorf("err = %v is taken for a deleted message", err)
				}
			}
			if errors.Is(posted, world.ErrAmbiguous) != tc.unsure || errors.Is(updated, world.ErrAmbiguous) {
				t.Errorf("Post = %v\nUpdate = %v", posted, updated)
			}
		})
	}
}

func TestAServerThatWasNeverReachedDidNothing(t *testing.T) {
	server, client := workspace(t)
	if err := server.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Post(t.Context(), channel, key, waiting, false); err == nil || errors.Is(err, world.ErrAmbiguous) {
		t.Errorf("Post = %v", err)
	}
}

func TestTheTokenGoesInTheHeader(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = io.WriteString(w, `{"ok":true,"user_id":"U0TAC","team_id":"T1","bot_id":"B1"}`)
	}))
	defer server.Close()
	client, err := New(Config{APIURL: server.URL, BotToken: world.NewSecret("xoxb-canary")})
	if err != nil {
		t.Fatal(err)
	}
	id, err := client.Identity(t.Context())
	if want := (Identity{TeamID: "T1", UserID: "U0TAC", BotID: "B1"}); err != nil || id != want {
		t.Errorf("Identity = %+v, %v", id, err)
	}
	if got.Get("Authorization") != "Bearer xoxb-canary" {
		t.Errorf("Authorization is %q", got.Get("Authorization"))
	}
	server.Close()
	if id, err := client.Identity(t.Context()); err != nil || id.TeamID != "T1" {
		t.Errorf("asked again: %v", err)
	}
	if shown := fmt.Sprintf("%+v %#v", client, Config{BotToken: world.NewSecret("xoxb-canary")}); strings.Contains(shown, "canary") {
		t.Errorf("the client shows its token: %s", shown)
	}
}

func TestNewRefuses(t *testing.T) {
	token := world.NewSecret("xoxb-canary")
	for _, cfg := range []Config{
		{}, {BotToken: world.NewSecret("xoxb canary\n")},
		{BotToken: token, APIURL: "http://slack.com/api/"}, {BotToken: token, APIURL: "ftp://127.0.0.1/"},
		{BotToken: token, APIURL: "https://u:p@slack.com/api/"}, {BotToken: token, APIURL: "slack.com"}, {BotToken: token, APIURL: "https://slack.com/api/?x=1"},
	} {
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("New(%+v) = %v", cfg, err)
		}
	}
	if _, err := New(Config{BotToken: token}); err != nil {
		t.Error(err)
	}
}

// TestSlackIsUnderstood has the sandbox sign and send what people do to a
// server that reads it with this package.
func TestSlackIsUnderstood(t *testing.T) {
	server, client := workspace(t)
	verifier, err := NewVerifier(world.NewSecret(server.SigningSecret()), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var pressed Interaction
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = verifier.Verify(r.Header, body)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		if r.URL.Path == "/press" {
			pressed, err = ParseInteraction(body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
			return
		}
		slash, err := ParseSlash(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		answer := Help
		if command, err := ParseCommand(slash.Text); err != nil {
			answer = err.Error()
		} else if command.Name != "help" {
			answer = slash.UserID + " " + command.Name + ": " + command.Reason
		}
		_, _ = w.Write(Ephemeral(answer))
	}))
	defer edge.Close()

	for text, want := range map[string]string{
		`request db 1h <!channel> *a* & b`: alice + " request: <!channel> *a* & b",
		"help":                             Help,
		"lst":                              `there is no command "lst"; did you mean list? Example: /tac list`,
	} {
		answer, err := server.Command(edge.URL, alice, channel, "/tac", text)
		if err != nil || answer.Status != http.StatusOK || answer.Message == nil {
			t.Fatalf("/tac %s: %+v, %v", text, answer, err)
		}
		if got := server.Render(*answer.Message); got != want || sandboxslack.Mentions(*answer.Message) != nil || answer.Message.OnlyFor != alice {
			t.Errorf("/tac %s shows %q to %q", text, got, answer.Message.OnlyFor)
		}
		late := answer.Delivery
		late.SignedAt = time.Now().Add(-time.Hour)
		if again, err := server.Deliver(late); err != nil || again.Status != http.StatusUnauthorized {
			t.Errorf("replayed after an hour: %+v, %v", again, err)
		}
		forged := answer.Delivery
		forged.Header = http.Header{"X-Slack-Signature": {"v0=" + strings.Repeat("0", 64)}}
		if again, err := server.Deliver(forged); err != nil || again.Status != http.StatusUnauthorized {
			t.Errorf("forged: %+v, %v", again, err)
		}
	}

	ts := post(t, client, channel, waiting, false)
	answer, err := server.Press(edge.URL+"/press", alice, ts, "drop", "")
	if err != nil || answer.Status != http.StatusOK {
		t.Fatalf("press: %+v, %v", answer, err)
	}
	want := Interaction{TeamID: sandboxslack.TeamID, UserID: alice, ActionID: "drop", Value: key, ChannelID: channel, MessageTS: ts, TriggerID: answer.TriggerID}
	if pressed != want {
		t.Errorf("pressed is %+v\nwant %+v", pressed, want)
	}
}

func TestAContextEndsACall(t *testing.T) {
	_, client := workspace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Post(ctx, channel, key, waiting, true); !errors.Is(err, context.Canceled) {
		t.Errorf("Post = %v", err)
	}
}
