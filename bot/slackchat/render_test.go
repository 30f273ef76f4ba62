package slackchat

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/slack-go/slack"

	"github.com/tigeraccess/tac/grants/world"
)

var update = flag.Bool("update", false, "write the golden files anew")

var waiting = world.Notice{
	Title: "alice asks for postgres-prod, 2h",
	Lines: []string{
		"Reason: Deploy hotfix for <payment> & refunds",
		"Waits for 1 approval by team-lead or security: @dana, @eve",
	},
	Facts: []world.Fact{
		{Name: "Resource", Value: "postgres-prod"}, {Name: "Duration", Value: "2h"},
		{Name: "Ticket", Value: "INC-789"}, {Name: "Rule", Value: "production-database/approval"},
	},
	Link:    "https://github.test/acme/access/pull/12",
	Buttons: []world.Button{{Action: "drop", Value: "20261122-k3v9q2m4tz", Label: "Withdraw"}},
}

var handover = world.Notice{
	Title:      "Your access to postgres-prod is ready",
	Lines:      []string{"It ends at 16:03 UTC."},
	Secret:     world.NewSecret("hvs.CANARY"),
	SecretHint: "Open it once, within five minutes: tac access get 20261122-k3v9q2m4tz --wrapped",
	Buttons: []world.Button{
		{Action: "extend", Value: "1h", Label: "1 hour more"}, {Action: "extend", Value: "2h", Label: "2 hours more"},
	},
}

// TestRenderedNotices compares with testdata; go test -update writes it.
func TestRenderedNotices(t *testing.T) {
	for name, tc := range map[string]struct {
		notice world.Notice
		to     audience
	}{
		"waiting":  {waiting, public},
		"handover": {handover, private},
		"title":    {world.Notice{Title: "Only this", Link: "javascript:alert(1)"}, public},
	} {
		m, err := render(tc.notice, tc.to)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		got.WriteString("-- what notifications show --\n" + m.text + "\n-- blocks --\n")
		encoder := json.NewEncoder(&got)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(m.blocks); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name+".txt")
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is\n%s\nwant\n%s", path, got.Bytes(), want)
		}
	}
}

func TestRenderRefuses(t *testing.T) {
	long := strings.Repeat("x", 3001)
	secret := func(n world.Notice) world.Notice {
		n.Title, n.Secret = n.Title+"t", world.NewSecret("canary")
		return n
	}
	for claim, tc := range map[string]struct {
		notice world.Notice
		to     audience
	}{
		"a secret in public":            {handover, public},
		"nothing to say":                {world.Notice{Lines: []string{" ", "\n"}, Link: "https://github.test/"}, public},
		"a secret in a line":            {secret(world.Notice{Lines: []string{"it is canary"}}), private},
		"a secret in the link":          {secret(world.Notice{Link: "https://tac.test/?t=canary"}), private},
		"a secret in a button":          {secret(world.Notice{Buttons: []world.Button{{Action: "a", Value: "canary", Label: "b"}}}), private},
		"a secret that would be cut":    {world.Notice{Title: "t", Secret: world.NewSecret(long)}, private},
		"a button without action":       {world.Notice{Title: "t", Buttons: []world.Button{{Label: "b"}}}, public},
		"a button that poses as ours":   {world.Notice{Title: "t", Buttons: []world.Button{{Action: ActionOpen, Label: "b"}}}, public},
		"a button without label":        {world.Notice{Title: "t", Buttons: []world.Button{{Action: "a", Label: "\t"}}}, public},
		"a value that would be cut":     {world.Notice{Title: "t", Buttons: []world.Button{{Action: "a", Value: long, Label: "b"}}}, public},
		"an action that would be cut":   {world.Notice{Title: "t", Buttons: []world.Button{{Action: long, Label: "b"}}}, public},
		"more buttons than Slack shows": {world.Notice{Title: "t", Buttons: make([]world.Button, 26)}, public},
	} {
		if _, err := render(tc.notice, tc.to); err == nil {
			t.Errorf("%s was rendered", claim)
		} else if strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "CANARY") || len(err.Error()) > 200 {
			t.Errorf("%s: the error quotes it: %v", claim, err)
		}
	}
}

func TestWebLink(t *testing.T) {
	for raw, want := range map[string]bool{
		"https://github.test/a/b/pull/1": true, "http://127.0.0.1:8080/pull/1": true,
		"": false, "javascript:alert(1)": false, "slack://open": false, "//github.test/x": false, "https:///x": false,
		"https://github.com@evil.test/": false, "https://a.test/\n": false, "HTTPS://a.test/": true,
		"https://a.test/" + strings.Repeat("x", 3000): false,
	} {
		if _, ok := webLink(raw); ok != want {
			t.Errorf("webLink(%.40q) = %v, want %v", raw, ok, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tc := range []struct {
		s    string
		most int
		want string
	}{
		{"four", 4, "four"}, {"fives", 4, "fiv…"}, {"", 0, ""}, {"x", 0, ""}, {"xy", 1, "…"},
		{"äöüß", 3, "äö…"}, {"a 😀b", 4, "a…"}, {"😀😀", 4, "😀😀"}, {"😀😀😀", 4, "😀…"},
	} {
		if got := cut(tc.s, tc.most); got != tc.want || units(got) > max(tc.most, 0) {
			t.Errorf("cut(%q, %d) = %q, want %q", tc.s, tc.most, got, tc.want)
		}
	}
}

// FuzzRender holds that no text whatever becomes anything but plain text
// within Slack's limits, and that the fallback calls nobody.
func FuzzRender(f *testing.F) {
	f.Add("<!channel>", "<@U123> & *bold*", 3)
	f.Add(strings.Repeat("😀<", 300), "\u202e\x00\xff", 100)
	f.Fuzz(func(t *testing.T, a, b string, many int) {
		n := world.Notice{Title: a, Lines: []string{b, a}}
		for i := range min(max(many, 0), 500) {
			n.Lines = append(n.Lines, b)
			n.Facts = append(n.Facts, world.Fact{Name: strconv.Itoa(i) + a, Value: b})
		}
		m, err := render(n, public)
		if err != nil {
			if visible(a)+visible(b) != "" {
				t.Fatal(err)
			}
			return
		}
		if len(m.text) > 4*mostFallback || strings.ContainsAny(m.text, "<>") || !utf8.ValidString(m.text) {
			t.Errorf("the fallback is %q", m.text)
		}
		checkBlocks(t, m.blocks)
	})
}

func checkBlocks(t *testing.T, blocks []slack.Block) {
	t.Helper()
	total := 0
	text := func(o *slack.TextBlockObject, most int) {
		if o.Type != slack.PlainTextType || o.Text == "" || units(o.Text) > most || o.Emoji == nil || *o.Emoji {
			t.Errorf("not plain, or not within %d: %+v", most, o)
		}
		total += units(o.Text)
	}
	for _, b := range blocks {
		switch b := b.(type) {
		case *slack.HeaderBlock:
			text(b.Text, 150)
		case *slack.SectionBlock:
			if b.Text != nil {
				text(b.Text, 3000)
			}
			if len(b.Fields) > 10 || b.Text == nil && len(b.Fields) == 0 {
				t.Errorf("a section of %d fields", len(b.Fields))
			}
			for _, f := range b.Fields {
				text(f, 2000)
			}
		default:
			t.Errorf("a block of the type %T", b)
		}
	}
	if len(blocks) > 50 || total > 9000 {
		t.Errorf("%d blocks of %d characters", len(blocks), total)
	}
}
