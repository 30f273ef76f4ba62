package slackchat

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// signed returns the headers that Slack would send with body.
func signed(secret string, at time.Time, body string) http.Header {
	stamp := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("v0:" + stamp + ":" + body))
	return http.Header{
		"X-Slack-Request-Timestamp": {stamp},
		"X-Slack-Signature":         {"v0=" + hex.EncodeToString(mac.Sum(nil))},
	}
}

func TestVerifyLetsOnlySlackIn(t *testing.T) {
	const secret, body = "signing-canary", "command=%2Ftac&text=list"
	now := time.Now()
	with := func(name, value string) http.Header {
		h := signed(secret, now, body)
		h.Set(name, value)
		return h
	}
	good := signed(secret, now, body).Get("X-Slack-Signature")
	for _, tc := range []struct {
		claim  string
		header http.Header
		body   string
		clock  time.Time
		want   error
	}{
		{"signed just now", signed(secret, now, body), body, now, nil},
		{"signed 300 s ago", signed(secret, now, body), body, now.Add(300 * time.Second), nil},
		{"signed 301 s ago", signed(secret, now, body), body, now.Add(301 * time.Second), ErrStale},
		{"signed 301 s ahead", signed(secret, now, body), body, now.Add(-301 * time.Second), ErrStale},
		{"recorded an hour ago, whatever our clock shows", signed(secret, now.Add(-time.Hour), body), body, now.Add(-time.Hour), ErrStale},
		{"at the end of time", signed(secret, time.Unix(1<<62, 0), body), body, now, ErrStale},
		{"another secret", signed("guess", now, body), body, now, ErrForged},
		{"the empty secret", signed("", now, body), body, now, ErrForged},
		{"another body", signed(secret, now, body), body + "!", now, ErrForged},
		{"another time under the same signature", with("X-Slack-Request-Timestamp", strconv.FormatInt(now.Unix()+1, 10)), body, now, ErrForged},
		{"no signature", http.Header{"X-Slack-Request-Timestamp": {strconv.FormatInt(now.Unix(), 10)}}, body, now, ErrForged},
		{"no headers", http.Header{}, body, now, ErrForged},
		{"no version", with("X-Slack-Signature", strings.TrimPrefix(good, "v0=")), body, now, ErrForged},
		{"half a signature", with("X-Slack-Signature", good[:len(good)/2]), body, now, ErrForged},
		{"no hexadecimal", with("X-Slack-Signature", "v0="+strings.Repeat("zz", 32)), body, now, ErrForged},
		{"a time that is none", with("X-Slack-Request-Timestamp", "now"), body, now, ErrForged},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			v, err := NewVerifier(world.NewSecret(secret), func() time.Time { return tc.clock })
			if err != nil {
				t.Fatal(err)
			}
			if err := v.Verify(tc.header, []byte(tc.body)); !errors.Is(err, tc.want) {
				t.Errorf("Verify = %v, want %v", err, tc.want)
			} else if err != nil && (errors.Is(err, ErrStale) && errors.Is(err, ErrForged) || strings.Contains(err.Error(), secret)) {
				t.Errorf("Verify = %v: it is both kinds of error, or tells the secret", err)
			}
		})
	}
}

func TestAVerifierWithoutSecretLetsNobodyIn(t *testing.T) {
	if _, err := NewVerifier(world.NewSecret(""), time.Now); err == nil {
		t.Error("NewVerifier took an empty secret")
	}
	if _, err := NewVerifier(world.NewSecret("x"), nil); err == nil {
		t.Error("NewVerifier took no clock")
	}
	header := signed("", time.Now(), "x")
	for _, v := range []*Verifier{nil, {}, {Now: time.Now}, {Secret: world.NewSecret("x")}} {
		if err := v.Verify(header, []byte("x")); !errors.Is(err, ErrForged) {
			t.Errorf("Verify = %v, want %v", err, ErrForged)
		}
	}
}

func TestParseSlash(t *testing.T) {
	form := url.Values{
		"team_id": {"T1"}, "user_id": {"U1"}, "channel_id": {"C1"}, "trigger_id": {"9.1"}, "command": {"/tac"},
		"text": {"request db 1h a &lt; b &amp;&amp; &quot;"}, "response_url": {"https://hooks.slack.com/commands/T1/1"},
	}
	want := Slash{
		TeamID: "T1", UserID: "U1", ChannelID: "C1", TriggerID: "9.1", Command: "/tac",
		Text: "request db 1h a < b && &quot;", ResponseURL: "https://hooks.slack.com/commands/T1/1",
	}
	got, err := ParseSlash([]byte(form.Encode()))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("ParseSlash = %+v, %v\nwant %+v", got, err, want)
	}
	for _, evil := range []string{
		"http://hooks.slack.com/x", "https://hooks.slack.com.evil.test/x", "https://hooks.slack.com@evil.test/",
		"https://evil.test/https://hooks.slack.com/", "http://169.254.169.254/", "HTTPS://evil.test",
	} {
		form.Set("response_url", evil)
		if got, err := ParseSlash([]byte(form.Encode())); err != nil || got.ResponseURL != "" {
			t.Errorf("ParseSlash kept the response URL %q (%v)", got.ResponseURL, err)
		}
	}
	for _, field := range []string{"team_id", "user_id", "trigger_id", "command"} {
		without := url.Values{}
		for k, v := range form {
			if k != field {
				without[k] = v
			}
		}
		if _, err := ParseSlash([]byte(without.Encode())); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("ParseSlash without %s = %v", field, err)
		}
	}
	if _, err := ParseSlash([]byte("%zz")); err == nil {
		t.Error("ParseSlash read what is no form")
	}
}

func TestParseInteraction(t *testing.T) {
	body := func(payload string) []byte { return []byte(url.Values{"payload": {payload}}.Encode()) }
	for _, tc := range []struct {
		claim, payload string
		want           Interaction
	}{
		{"a button of a message",
			`{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1","team_id":"T1"},"channel":{"id":"C1"},"trigger_id":"9.1",
			"container":{"type":"message","message_ts":"1.2","channel_id":"C1"},"actions":[{"action_id":"extend","value":"v"}],"message":{"blocks":[{"type":"new_kind"}]}}`,
			Interaction{TeamID: "T1", UserID: "U1", ActionID: "extend", Value: "v", ChannelID: "C1", MessageTS: "1.2", TriggerID: "9.1"}},
		{"a person of another workspace keeps their own",
			`{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1","team_id":"T2"},"actions":[{"action_id":"a"}]}`,
			Interaction{TeamID: "T2", UserID: "U1", ActionID: "a"}},
		{"a button of App Home has no channel",
			`{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1"},"container":{"type":"view"},"actions":[{"action_id":"a"}]}`,
			Interaction{TeamID: "T1", UserID: "U1", ActionID: "a"}},
		{"a form of ours", `{"type":"view_submission","team":{"id":"T1"},"user":{"id":"U1"},"trigger_id":"9.2","view":{"callback_id":"deny","private_metadata":"v",
			"state":{"values":{"tac_field":{"tac_text":{"type":"plain_text_input","value":"use the replica"}}}}}}`,
			Interaction{TeamID: "T1", UserID: "U1", ActionID: "deny", Value: "v", TriggerID: "9.2", Submitted: true, Text: "use the replica"}},
		{"a form with nothing in it", `{"type":"view_submission","team":{"id":"T1"},"user":{"id":"U1"},"view":{"callback_id":"deny","state":{"values":{"tac_field":{"tac_text":{"value":null}}}}}}`,
			Interaction{TeamID: "T1", UserID: "U1", ActionID: "deny", Submitted: true}},
	} {
		if got, err := ParseInteraction(body(tc.payload)); err != nil || got != tc.want {
			t.Errorf("%s: ParseInteraction = %+v, %v\nwant %+v", tc.claim, got, err, tc.want)
		}
	}
	for claim, payload := range map[string]string{
		"nothing": "", "no JSON": "{", "another shape": `[]`, "a form of nobody's": `{"type":"view_submission","team":{"id":"T1"},"user":{"id":"U1"},"actions":[{"action_id":"a"}]}`,
		"a form that was closed": `{"type":"view_closed","team":{"id":"T1"},"user":{"id":"U1"},"view":{"callback_id":"deny"}}`,
		"no action":              `{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1"},"actions":[]}`,
		"two actions":            `{"type":"block_actions","team":{"id":"T1"},"user":{"id":"U1"},"actions":[{"action_id":"a"},{"action_id":"b"}]}`,
		"nobody":                 `{"type":"block_actions","team":{"id":"T1"},"user":{},"actions":[{"action_id":"a"}]}`,
		"no workspace":           `{"type":"block_actions","user":{"id":"U1"},"actions":[{"action_id":"a"}]}`,
	} {
		if got, err := ParseInteraction(body(payload)); err == nil {
			t.Errorf("%s: ParseInteraction = %+v", claim, got)
		}
	}
}

func FuzzParseDeliveries(f *testing.F) {
	f.Add([]byte("payload=%7B%22type%22%3A%22block_actions%22%7D"))
	f.Add([]byte("team_id=T1&user_id=U1&trigger_id=1&command=%2Ftac&text=list"))
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		if s, err := ParseSlash(body); err == nil && (s.UserID == "" || s.TeamID == "") {
			t.Errorf("ParseSlash(%q) is of nobody", body)
		}
		if i, err := ParseInteraction(body); err == nil && (i.UserID == "" || i.TeamID == "" || i.ActionID == "") {
			t.Errorf("ParseInteraction(%q) is of nobody", body)
		}
		if !bytes.Equal(before, body) {
			t.Error("the body was changed")
		}
	})
}
