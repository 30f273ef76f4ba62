package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants/world"
)

func TestNothingThatATerminalActsOnIsPrinted(t *testing.T) {
	for in, want := range map[string]string{
		"Deploy – für INC-789 ✓":  "Deploy – für INC-789 ✓",
		"a\x1b[31mb":              `a\x1b[31mb`,
		"a\nb\tc\r":               `a\nb\tc\r`,
		"abc\u202edef":            `abc\u202edef`,
		"zero\u200bwidth\ufeff":   `zero\u200bwidth\ufeff`,
		"not utf-8 \xff \uFFFD":   `not utf-8 \xff ` + "\uFFFD",
		"csi \u009b and nul \x00": `csi \u009b and nul \x00`,
	} {
		if got := plain(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := plainLines("a\nb\x07"); got != "a\nb"+`\a` {
		t.Errorf("lines become %q", got)
	}
}

func TestALineIsShownAroundItsMistake(t *testing.T) {
	long := strings.Repeat("x", 200) + "!" + strings.Repeat("y", 200)
	tests := []struct {
		line   string
		column int
	}{{"a: !", 4}, {"\ta: !", 5}, {"ü\x1b: !", 5}, {long, 201}, {"!" + long, 1}}
	for _, tt := range tests {
		text, caret := window(tt.line, tt.column)
		runes := []rune(text)
		if caret >= len(runes) || runes[caret] != '!' || len(runes) > mostSource+1 || strings.ContainsAny(text, "\t\x1b") {
			t.Errorf("%.20q: the caret is at %d of %q", tt.line, caret, text)
		}
	}
	if text, caret := window("short", 40); caret != 5 || text != "short" {
		t.Errorf("past the end: %q, %d", text, caret)
	}
}

func TestConnectLinesThatRunPsql(t *testing.T) {
	tests := []struct {
		line string
		want psqlLine
	}{
		{`psql -h db.internal -U "$TAC_USERNAME" payments`, psqlLine{"db.internal", "", "payments"}},
		{`psql -hdb.internal -p5433 -dpayments`, psqlLine{"db.internal", "5433", "payments"}},
		{`/usr/bin/psql --host=db --port 5433 --dbname=payments --username "$TAC_USERNAME"`, psqlLine{"db", "5433", "payments"}},
		{`psql -h 'db internal' -X -c "select 1" payments`, psqlLine{"db internal", "", "payments"}},
		{`psql -h db payments "$TAC_USERNAME"`, psqlLine{"db", "", "payments"}},
		{`psql -h db payments | less -p 7`, psqlLine{"db", "", "payments"}},
		{`psql -h "$DB_HOST" payments`, psqlLine{"", "", "payments"}},
		{`psql "host=db dbname=payments"`, psqlLine{}},
		{`psql postgres://db/payments`, psqlLine{}},
		{`mysql -h db payments`, psqlLine{}},
		{`psql -h`, psqlLine{}},
		{``, psqlLine{}},
	}
	for _, tt := range tests {
		if got := parsePsql(tt.line); got != tt.want {
			t.Errorf("%s gives %+v, want %+v", tt.line, got, tt.want)
		}
	}
}

func TestAShellReadsBackWhatIsExported(t *testing.T) {
	for _, secret := range []string{"plain", "pa'ss $HOME `id` \"x\" \\", "two\nlines", "-n", "über", "'"} {
		got, err := exec.Command("sh", "-c", exportLine([]variable{{"SECRET", secret}})+`; printf %s "$SECRET"`).Output()
		if err != nil || string(got) != secret {
			t.Errorf("%q is read back as %q, %v", secret, got, err)
		}
	}
}

func TestGenericFieldsCannotBecomeSettingsOfOurs(t *testing.T) {
	got := variables(client.Taken{Credential: client.Credential{Engine: "generic", Fields: map[string]world.Secret{
		"server": world.NewSecret("https://evil.test"), "path=x": world.NewSecret("y"), "access-key": world.NewSecret("k"),
	}}})
	want := []variable{{"TAC_FIELD_ACCESS_KEY", "k"}, {"TAC_FIELD_PATH_X", "y"}, {"TAC_FIELD_SERVER", "https://evil.test"}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %v, want %v", got[i], want[i])
		}
	}
}

func TestAPathWithBlanksReachesSSHAsOne(t *testing.T) {
	taken := client.Taken{KeyFile: "/home/a b/100%/id", CertFile: "/home/a b/100%/id-cert.pub"}
	taken.Grant.Connect = "ssh -v deploy@bastion"
	got, ok := sshLine(taken)
	want := `ssh -i '/home/a b/100%%/id' -o 'CertificateFile="/home/a b/100%%/id-cert.pub"' -o IdentitiesOnly=yes -v deploy@bastion`
	if !ok || got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTimesAsPeopleWriteThem(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	p := &program{local: berlin, now: func() time.Time { return time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC) }}
	for in, want := range map[string]string{
		"2026-11-22T18:00:00Z":      "2026-11-22T18:00:00Z",
		"2026-11-22T18:00:00+01:00": "2026-11-22T17:00:00Z",
		"2026-11-22 18:00":          "2026-11-22T17:00:00Z",
		"2026-07-22T18:00":          "2026-07-22T16:00:00Z",
		"18:00":                     "2026-11-23T17:00:00Z", // it is past midnight in Berlin
		"2026-03-29 02:30":          "",                     // skipped by summer time
		"6pm":                       "",
		"":                          "",
	} {
		got, err := p.parseTime(in)
		if (want == "") != (err != nil) || err == nil && got.Format(time.RFC3339) != want {
			t.Errorf("%q gives %v, %v; want %s", in, got, err, want)
		}
	}
}

// interruptAt ends a context once a text was written.
type interruptAt struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (w *interruptAt) Write(b []byte) (int, error) {
	defer func() {
		if strings.Contains(w.String(), w.text) {
			w.cancel()
		}
	}()
	return w.Buffer.Write(b)
}

func TestInterruptedWaitingSaysThatTheRequestGoesOn(t *testing.T) {
	server := httptest.NewServer(&fakeServer{})
	defer server.Close()
	env := []string{"TAC_SERVER=" + server.URL, "TAC_CONFIG_DIR=" + t.TempDir()}
	store := client.Store{Dir: strings.TrimPrefix(env[1], "TAC_CONFIG_DIR=")}
	if err := store.Save(client.Login{Server: client.Server(server.URL), Access: world.NewSecret("ghu_alice")}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout := &interruptAt{text: "waits for @dana", cancel: cancel}
	var stderr bytes.Buffer
	code := run(ctx, []string{"access", "request", "stuck", "--reason", "x", "--duration", "2h", "--wait"}, env, strings.NewReader(""), stdout, &stderr)
	if code != exitFailed || !strings.Contains(stderr.String(), "the request goes on: tac access show 20261122-dddddddddd") {
		t.Errorf("exits %d and says %q", code, stderr.String())
	}
}
