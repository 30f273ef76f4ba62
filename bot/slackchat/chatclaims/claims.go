package chatclaims

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/grants/world"
)

// The key under which every claim posts, in a channel of its own.
const key = "20261122-k3v9q2m4tz"

func notice(title string) world.Notice {
	return world.Notice{
		Title: title,
		Lines: []string{"Deploy hotfix for INC-789"},
		Link:  "https://github.test/acme/access/pull/7",
		Facts: []world.Fact{{Name: "Grant", Value: key}},
		Buttons: []world.Button{
			{Action: "get", Value: key, Label: "Get credential"}, {Action: "drop", Value: key, Label: "I am done"},
		},
	}
}

// claims are what the adapter promises.
var claims = []struct {
	says string
	show func(*testing.T, *scene)
}{
	{"the bot is told who it is", whoAmI},
	{"the documented scopes are enough, and a missing one is named", scopesAreNamed},
	{"a message in a channel is edited in place and keeps its key", func(t *testing.T, s *scene) { editedInPlace(t, s, s.channel, s.channel) }},
	{"a message to a person is edited in place and keeps its key", func(t *testing.T, s *scene) { editedInPlace(t, s, s.person, s.direct(t)) }},
	{"what a message says arrives as it was typed", shownAsTyped},
	{"buttons and links arrive whole", buttonsArrive},
	{"a notice of any size is taken", anySize},
	{"a lost answer does not say it twice", lostAnswer},
	{"the 200th newest message is still found", depth(199, 200)},
	{"the 201st newest message is said anew", depth(200, 202)},
	{"a message is found however short the pages are", shortPages},
	{"what somebody else says with our key is not ours", imitation},
	{"replicas that raced agree on the oldest message", racing},
	{"a deleted message is gone for good and said anew", deleted},
	{"somebody else's message is not ours to edit", notOurs},
	{"an unknown channel is refused, and nothing is unsure", unknownChannel},
	{"an unknown person is refused, and nothing is unsure", unknownPerson},
	{"a secret reaches one person, whole, and nobody else", secretInPrivate},
	{"a token of nobody does nothing", nobody},
}

func post(t *testing.T, c *slackchat.Client, room string, n world.Notice, look bool) string {
	t.Helper()
	ts, err := c.Post(t.Context(), room, key, n, look)
	if err != nil || ts == "" {
		t.Fatalf("Post = %q, %v", ts, err)
	}
	return ts
}

// titles are the first texts of messages' blocks.
func titles(messages []message) []string {
	var all []string
	for _, m := range messages {
		title := ""
		if texts := m.texts(); len(texts) > 0 {
			title = texts[0].says
		}
		all = append(all, title)
	}
	return all
}

func whoAmI(t *testing.T, s *scene) {
	got, err := s.client(t, s.Token, nil).Identity(t.Context())
	if err != nil || got != s.Self {
		t.Errorf("Identity = %+v, %v, want %+v", got, err, s.Self)
	}
}

func scopesAreNamed(t *testing.T, s *scene) {
	enough := s.client(t, s.Token, nil)
	for _, room := range []string{s.channel, s.person} {
		ts := post(t, enough, room, notice("asked"), true)
		if err := enough.Update(t.Context(), room, ts, notice("active")); err != nil {
			t.Error(err)
		}
	}
	before := len(s.said(t, s.channel))
	ts, err := s.client(t, s.Narrow, nil).Post(t.Context(), s.channel, key, notice("again"), true)
	if err == nil || !strings.Contains(err.Error(), "lacks the scope channels:history") {
		t.Errorf("without channels:history: %q, %v", ts, err)
	}
	if after := len(s.said(t, s.channel)); after != before {
		t.Errorf("it was said blindly: %d messages, then %d", before, after)
	}
}

func editedInPlace(t *testing.T, s *scene, to, room string) {
	c := s.client(t, s.Token, nil)
	ts := post(t, c, to, notice("asked"), false)
	if err := c.Update(t.Context(), to, ts, notice("active")); err != nil {
		t.Fatal(err)
	}
	if again := post(t, c, to, notice("closed"), true); again != ts {
		t.Errorf("after the edit it was not found again: %s, want %s", again, ts)
	}
	said := s.said(t, room)
	if !slices.Equal(titles(said), []string{"closed"}) {
		t.Fatalf("the messages are %q", titles(said))
	}
	m := said[0]
	if m.Metadata.Type != "tac_grant" || m.Metadata.Payload["key"] != key || m.User != s.Self.UserID || m.TS != ts {
		t.Errorf("the edited message is %+v", m)
	}
	if !strings.HasPrefix(m.Text, "closed\n") {
		t.Errorf("notifications say %q", m.Text)
	}
}

// hostile is what people type, and what must stay nothing but text.
var hostile = []string{
	"<!channel>", "<!here|x>", "<@U01ALICE>", "<#C01|x>", "*bold* _it_ ~no~", "`code` ```block```", "@here @channel",
	"<https://evil.test|https://github.com>", "https://evil.test/?a=1&b=2", "&lt;!channel&gt;", "&amp;amp;", ":skull:", "> quote",
	`"quotes" \n {"json":[]}`, "+%2B a+b", "ünï 日本 😀", "<", "&",
}

func shownAsTyped(t *testing.T, s *scene) {
	c := s.client(t, s.Token, nil)
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	for _, typed := range hostile {
		n := world.Notice{Title: typed, Lines: []string{typed}, Facts: []world.Fact{{Name: typed, Value: typed}},
			Buttons: []world.Button{{Action: "a", Value: typed, Label: typed}}}
		ts, err := c.Post(t.Context(), s.channel, typed, n, false)
		if err != nil {
			t.Errorf("%q: %v", typed, err)
			continue
		}
		said := s.said(t, s.channel)
		m := said[len(said)-1]
		plain := func(says string) text { return text{"plain_text", says} }
		if want := []text{plain(typed), plain(typed), plain(typed + "\n" + typed), plain(typed)}; !reflect.DeepEqual(m.texts(), want) {
			t.Errorf("%q arrives as %v", typed, m.texts())
		}
		if want := escape.Replace(typed + "\n" + typed + "\n" + typed + ": " + typed); m.Text != want {
			t.Errorf("%q is notified as %q", typed, m.Text)
		}
		if m.Metadata.Payload["key"] != typed || m.TS != ts || m.buttons()[0] != [3]string{"a", typed, ""} {
			t.Errorf("%q: the message is %+v", typed, m)
		}
	}
}

func buttonsArrive(t *testing.T, s *scene) {
	n := notice("asked")
	post(t, s.client(t, s.Token, nil), s.channel, n, false)
	want := [][3]string{{slackchat.ActionOpen, "", n.Link}, {"get", key, ""}, {"drop", key, ""}}
	if got := s.said(t, s.channel)[0].buttons(); !reflect.DeepEqual(got, want) {
		t.Errorf("the buttons are %q, want %q", got, want)
	}
}

func anySize(t *testing.T, s *scene) {
	n := world.Notice{Title: strings.Repeat("😀", 200), Link: "https://github.test/"}
	for i := range 300 {
		n.Lines = append(n.Lines, fmt.Sprint(i, " ", strings.Repeat("<&>", i*20)))
		n.Facts = append(n.Facts, world.Fact{Name: fmt.Sprint("fact ", i), Value: strings.Repeat("v", i)})
	}
	for range 24 {
		n.Buttons = append(n.Buttons, world.Button{Action: "same", Value: strings.Repeat("v", 2000), Label: strings.Repeat("l", 100)})
	}
	c := s.client(t, s.Token, nil)
	ts := post(t, c, s.channel, n, false)
	if err := c.Update(t.Context(), s.channel, ts, n); err != nil {
		t.Error(err)
	}
	m := s.said(t, s.channel)[0]
	if len(m.buttons()) != 25 || len(m.Blocks) > 50 || len([]rune(m.Text)) > 4000 {
		t.Errorf("%d buttons, %d blocks, %d characters of notification", len(m.buttons()), len(m.Blocks), len([]rune(m.Text)))
	}
	n.Buttons, n.Secret = nil, world.NewSecret("hvs.CANARY"+strings.Repeat("s", 1990))
	if err := c.Direct(t.Context(), s.person, n); err != nil {
		t.Errorf("with a secret: %v", err)
	}
}

func lostAnswer(t *testing.T, s *scene) {
	c := s.client(t, s.Token, &losing{method: "chat.postMessage"})
	if ts, err := c.Post(t.Context(), s.channel, key, notice("asked"), false); !errors.Is(err, world.ErrAmbiguous) {
		t.Fatalf("Post = %q, %v, want %v", ts, err, world.ErrAmbiguous)
	}
	for i := range 30 { // others talk meanwhile
		s.did(t, s.Person, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {fmt.Sprint(i)}})
	}
	ts := post(t, s.client(t, s.Token, nil), s.channel, notice("active"), true)
	if said := s.said(t, s.channel); len(said) != 31 || said[0].TS != ts || titles(said)[0] != "active" {
		t.Errorf("%d messages; Post found %s, the first is %+v", len(said), ts, said[0])
	}
}

// depth has newer messages follow ours, and then looks for it.
func depth(newer, want int) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		c := s.client(t, s.Token, nil)
		post(t, c, s.channel, notice("asked"), false)
		for i := range newer {
			s.did(t, s.Observer, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {fmt.Sprint(i)}})
		}
		post(t, c, s.channel, notice("active"), true)
		if n := len(s.said(t, s.channel)); n != want {
			t.Errorf("%d messages, want %d", n, want)
		}
	}
}

func shortPages(t *testing.T, s *scene) {
	pages := &smallPages{}
	c := s.client(t, s.Token, pages)
	ts := post(t, c, s.channel, notice("asked"), false)
	for i := range 40 {
		s.did(t, s.Observer, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {fmt.Sprint(i)}})
	}
	if found := post(t, c, s.channel, notice("active"), true); found != ts || pages.pages != 6 {
		t.Errorf("found %s on page %d, want %s on page 6", found, pages.pages, ts)
	}
}

func imitation(t *testing.T, s *scene) {
	metadata, err := json.Marshal(map[string]any{"event_type": "tac_grant", "event_payload": map[string]string{"key": key}})
	if err != nil {
		t.Fatal(err)
	}
	theirs := s.did(t, s.Person, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {"denied"}, "metadata": {string(metadata)}})
	ours := post(t, s.client(t, s.Token, nil), s.channel, notice("active"), true)
	said := s.said(t, s.channel)
	if len(said) != 2 || ours == theirs.TS || said[0].Text != "denied" || said[0].Metadata.Payload["key"] != key {
		t.Errorf("Post found %s; the messages are %+v", ours, said)
	}
}

func racing(t *testing.T, s *scene) {
	var all sync.WaitGroup
	for range 4 {
		c := s.client(t, s.Token, nil)
		all.Go(func() {
			if _, err := c.Post(t.Context(), s.channel, key, notice("asked"), true); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	first := s.said(t, s.channel)[0].TS
	for range 2 {
		if ts := post(t, s.client(t, s.Token, nil), s.channel, notice("active"), true); ts != first {
			t.Errorf("found %s, want the oldest, %s", ts, first)
		}
	}
}

func deleted(t *testing.T, s *scene) {
	c := s.client(t, s.Token, nil)
	ts := post(t, c, s.channel, notice("asked"), false)
	s.did(t, s.Observer, "chat.delete", url.Values{"channel": {s.channel}, "ts": {ts}})
	err := c.Update(t.Context(), s.channel, ts, notice("active"))
	var gone slackchat.MessageGone
	if !errors.As(err, &gone) || !errors.Is(err, world.ErrLost) || gone != (slackchat.MessageGone{Channel: s.channel, TS: ts, Code: "message_not_found"}) {
		t.Errorf("Update = %v, want that it is gone", err)
	}
	if again := post(t, c, s.channel, notice("active"), true); again == ts {
		t.Error("the deleted message was found")
	}
	if said := titles(s.said(t, s.channel)); !slices.Equal(said, []string{"active"}) {
		t.Errorf("the messages are %q", said)
	}
}

func notOurs(t *testing.T, s *scene) {
	theirs := s.did(t, s.Person, "chat.postMessage", url.Values{"channel": {s.channel}, "text": {"mine"}})
	err := s.client(t, s.Token, nil).Update(t.Context(), s.channel, theirs.TS, notice("active"))
	var gone slackchat.MessageGone
	if !errors.As(err, &gone) || gone.Code != "cant_update_message" || s.said(t, s.channel)[0].Text != "mine" {
		t.Errorf("Update = %v, and it says %+v", err, s.said(t, s.channel))
	}
}

func unknownChannel(t *testing.T, s *scene) {
	c := s.client(t, s.Token, nil)
	for _, look := range []bool{false, true} {
		if ts, err := c.Post(t.Context(), "C0NOWHERE", key, notice("asked"), look); err == nil || !strings.HasSuffix(err.Error(), "channel_not_found") || errors.Is(err, world.ErrAmbiguous) {
			t.Errorf("Post with look %t = %q, %v", look, ts, err)
		}
	}
}

func unknownPerson(t *testing.T, s *scene) {
	c := s.client(t, s.Token, nil)
	n := notice("yours")
	n.Secret = world.NewSecret("hvs.CANARY")
	if err := c.Direct(t.Context(), "U0NOBODY", n); err == nil || !strings.HasSuffix(err.Error(), "user_not_found") || errors.Is(err, world.ErrAmbiguous) {
		t.Errorf("Direct = %v", err)
	}
}

func secretInPrivate(t *testing.T, s *scene) {
	c := s.client(t, s.Token, nil)
	const secret = "hvs.CANARY_<!channel>&*x*"
	n := notice("Your credential")
	n.Secret, n.SecretHint = world.NewSecret(secret), "It opens once."
	if ts, err := c.Post(t.Context(), s.channel, key, n, false); err == nil {
		t.Errorf("said in a channel as %s", ts)
	}
	if err := c.Direct(t.Context(), s.person, n); err != nil {
		t.Fatal(err)
	}
	if said := s.said(t, s.channel); len(said) != 0 {
		t.Errorf("the channel says %+v", said)
	}
	said := s.said(t, s.direct(t))
	if len(said) != 1 || strings.Contains(said[0].Text, "CANARY") || strings.Contains(fmt.Sprint(said[0].buttons()), "CANARY") {
		t.Fatalf("the person was told %+v", said)
	}
	if n := len(slices.DeleteFunc(said[0].texts(), func(x text) bool { return x != text{"text", secret} })); n != 1 {
		t.Errorf("the secret arrives %d times whole: %v", n, said[0].texts())
	}
}

func nobody(t *testing.T, s *scene) {
	c := s.client(t, s.Nobody, nil)
	if id, err := c.Identity(t.Context()); err == nil || !strings.HasSuffix(err.Error(), "invalid_auth") {
		t.Errorf("Identity = %+v, %v", id, err)
	}
	if ts, err := c.Post(t.Context(), s.channel, key, notice("asked"), true); err == nil || errors.Is(err, world.ErrAmbiguous) || strings.Contains(err.Error(), s.Nobody) {
		t.Errorf("Post = %q, %v", ts, err)
	}
	if said := s.said(t, s.channel); len(said) != 0 {
		t.Errorf("the channel says %+v", said)
	}
}
