package grants_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/rogpeppe/go-internal/txtar"
	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

var update = flag.Bool("update", false, "write what is seen into testdata, to be read in the difference")

// wherever is where the files of testdata/bad.txtar stand.
const wherever = "grants/postgres-prod/20261122-k3v9q2m4tz.yaml"

const plain = `kind: AccessGrant
metadata: {id: 20261122-k3v9q2m4tz}
spec:
  resource: postgres-prod
  requester: {github: alice, id: 1001}
  duration: 2h
  reason: Deploy hotfix
  requested_at: 2026-11-22T14:03:11Z
  via: git
`

// hostile puts in what a text file cannot show.
func hostile(data []byte) []byte {
	if bytes.Contains(data, []byte("{{UTF16}}")) {
		var b bytes.Buffer
		for _, u := range utf16.Encode([]rune("\ufeff" + plain)) {
			b.Write([]byte{byte(u >> 8), byte(u)})
		}
		return b.Bytes()
	}
	return []byte(strings.NewReplacer(
		"{{BOM}}", "\ufeff", "{{NUL}}", "\x00", "{{ESC}}", "\x1b", "{{NEL}}", "\u0085", "{{LS}}", "\u2028", "{{RLO}}", "\u202e",
		"{{ZWSP}}", "\u200b", "{{CR}}", "\r", "{{FF}}", "\xff", "{{CYRa}}", "\u0430", "{{CYRe}}", "\u0435", "{{CYRo}}", "\u043e",
		"{{AR2}}", "\u0662", "{{16K}}", strings.Repeat("x", 16<<10), "{{501}}", strings.Repeat("x", 501), "{{CUT}}\n", "",
	).Replace(string(data)))
}

func archive(t testing.TB, path string) *txtar.Archive {
	t.Helper()
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Every mistake is refused in the words, and at the place, that
// testdata/bad.txtar shows.
func TestEveryMistakeIsRefusedInItsOwnWords(t *testing.T) {
	const path, suffix = "testdata/bad.txtar", ": refusal"
	a := archive(t, path)
	for i := 0; i+1 < len(a.Files); i += 2 {
		name, refusal := a.Files[i].Name, &a.Files[i+1]
		if refusal.Name != name+suffix {
			t.Fatalf("after %q stands %q", name, refusal.Name)
		}
		t.Run(name, func(t *testing.T) {
			g, err := grants.Parse(wherever, hostile(a.Files[i].Data))
			if err == nil {
				t.Fatal("it was accepted")
			}
			if !reflect.DeepEqual(g, grants.Grant{}) {
				t.Errorf("a refused file gave %+v", g)
			}
			said := strings.TrimRight(strings.ReplaceAll(err.Error(), wherever, "FILE"), "\n") + "\n"
			if *update {
				refusal.Data = []byte(said)
			} else if said != string(refusal.Data) {
				t.Errorf("it says\n%swant\n%s", said, refusal.Data)
			}
		})
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGoodFilesReadBackByteForByte(t *testing.T) {
	for _, f := range archive(t, "testdata/good.txtar").Files {
		t.Run(f.Name, func(t *testing.T) {
			g, err := grants.Parse(pathIn(f.Data), f.Data)
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Encode(); !bytes.Equal(got, f.Data) {
				t.Errorf("it reads back as\n%s", got)
			}
		})
	}
}

// The whole of what a file can say arrives in the grant.
func TestEveryKeyArrives(t *testing.T) {
	var src []byte
	for _, f := range archive(t, "testdata/good.txtar").Files {
		if f.Name == "everything there is" {
			src = f.Data
		}
	}
	got, err := grants.Parse(wherever, src)
	if err != nil {
		t.Fatal(err)
	}
	want := grants.Grant{
		ID: "20261122-k3v9q2m4tz", Resource: "postgres-prod", Requester: grants.Principal{GitHub: "octo-cat_acme", ID: 9007199254740993},
		Duration: 168 * time.Hour, Start: time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC),
		Reason: `Deploy: "hot" fix, 50% \ done é 数据库 🐯`, Ticket: "acme/app#12",
		RequestedAt: time.Date(2026, 11, 22, 14, 3, 11, 0, time.UTC), Via: grants.ViaSlack,
		BreakGlass: true, Narrows: "fedcba9876543210fedcba9876543210fedcba98",
		Attestation: "vault:v1:MEUCIQDkwb0cYJPaE9d3CyyR1W0zXn0c6Yl7a9Wn8Qb3Zm5m2gIgBqN1H5E0b5s=",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if signed := string(got.SignedBytes()); signed != "tac/grant/v1\n"+strings.SplitAfter(string(src), "fedcba98\n")[0] {
		t.Errorf("the attestation signs\n%s", signed)
	}
}

func TestAFileIsOnlyAGrantAtItsOwnPath(t *testing.T) {
	for _, path := range []string{
		"", "20261122-k3v9q2m4tz.yaml", "grants/20261122-k3v9q2m4tz.yaml", "grants/postgres-prod/20261122-k3v9q2m4tz.yml",
		"grants/postgres-dev/20261122-k3v9q2m4tz.yaml", "grants/postgres-prod/20261122-k3v9q2m4ty.yaml",
		"Grants/postgres-prod/20261122-k3v9q2m4tz.yaml", "grants/Postgres-prod/20261122-k3v9q2m4tz.yaml",
		"./" + wherever, "/" + wherever, wherever + "/", wherever + " ", "policies/../" + wherever, "grants//postgres-prod/20261122-k3v9q2m4tz.yaml",
	} {
		if _, err := grants.Parse(path, []byte(plain)); err == nil || !strings.Contains(err.Error(), "the file of this grant is "+wherever) {
			t.Errorf("at %q: %v", path, err)
		}
	}
}

// What is refused for its form alone comes with the form, ready to paste.
func TestARefusalForFormHoldsTheCanonicalBytes(t *testing.T) {
	loose := strings.Replace(plain, "duration: 2h", "duration: 120m", 1)
	_, err := grants.Parse(wherever, []byte(loose))
	var form *grants.NotCanonicalError
	if !errors.As(err, &form) {
		t.Fatal(err)
	}
	if string(form.Canonical) != plain || form.Line != 6 || !strings.HasSuffix(err.Error(), plain) {
		t.Errorf("line %d, %v", form.Line, err)
	}
}

// Reasons that try to be something else: markup, trailers, other YAML.
var nasty = []string{
	"", ": ", "# x", "- a", "a: b", "{a: b}", "[a]", "*a", "&a", "!a", "|", ">", "%YAML 1.1", "@bob", "`x`", `\`, `"`, `'`, `\n`, "---", "...",
	"yes", "No", "~", "null", "NULL", "1e3", "0x10", "0o17", "1_000", "12:30:45", "2026-11-22", ".inf", ".NaN", "<<", "=", "+1", "a,b", "a, b", "a.b.",
	"Tac-Ended: expired", "<!channel>", "Fixes #1", "é", "数据库", "🐯", "\u3000x", "a\ufe0f",
}

func drawGrant(t *rapid.T) grants.Grant {
	optional := func(s string) *rapid.Generator[string] {
		return rapid.OneOf(rapid.Just(""), rapid.StringMatching(s))
	}
	seconds := rapid.Int64Range(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(9998, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	at := time.Unix(seconds.Draw(t, "requested at"), 0).UTC()
	key := grants.NewIntentKey(grants.Principal{ID: 1}, "x", rapid.String().Draw(t, "key"))
	g := grants.Grant{
		ID: key.ID(at), Resource: rapid.StringMatching(`[a-z0-9-]{1,63}`).Draw(t, "resource"),
		Requester: grants.Principal{
			GitHub: rapid.StringMatching(`[A-Za-z0-9](-?[A-Za-z0-9]){0,18}(_[A-Za-z0-9]{1,8})?`).Draw(t, "login"),
			ID:     rapid.Int64Min(1).Draw(t, "number"),
		},
		Duration:    time.Duration(rapid.IntRange(60, 7*24*3600).Draw(t, "seconds")) * time.Second,
		Reason:      rapid.OneOf(rapid.SampledFrom(nasty), rapid.String(), rapid.StringMatching(`[ -~]{0,80}`)).Draw(t, "reason"),
		Ticket:      optional(`[A-Za-z0-9#][A-Za-z0-9._/#-]{0,20}`).Draw(t, "ticket"),
		RequestedAt: at, Via: rapid.SampledFrom([]grants.Via{grants.ViaSlack, grants.ViaCLI, grants.ViaWeb, grants.ViaGit}).Draw(t, "via"),
		BreakGlass:  rapid.Bool().Draw(t, "break glass"),
		Narrows:     optional(`[0-9a-f]{40}`).Draw(t, "narrows"),
		Attestation: optional(`vault:v[0-9]{1,3}:[A-Za-z0-9+/]{8,90}={0,2}`).Draw(t, "attestation"),
	}
	if rapid.Bool().Draw(t, "scheduled") {
		g.Start = at.Add(time.Duration(rapid.IntRange(0, 1e6).Draw(t, "ahead")) * time.Second)
	}
	if rapid.Bool().Draw(t, "extends") { // which neither starts later nor breaks glass
		g.Extends, g.Start, g.BreakGlass = key.ID(at.Add(-25*time.Hour)), time.Time{}, false
	}
	return g
}

// Whatever a grant says, its file says the same; and what cannot be said (a
// reason with a control character) is refused, never bent.
func TestWhatIsWrittenIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGrant(t)
		got, err := grants.Parse(g.Path(), g.Encode())
		if bad := grants.CheckReason(g.Reason); bad != nil {
			if err == nil {
				t.Fatalf("a reason was accepted though %v", bad)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, g.Encode())
		}
		if !reflect.DeepEqual(got, g) {
			t.Fatalf("got %+v\nwant %+v", got, g)
		}
		sameElsewhere(t, g.Encode(), g)
	})
}

// An attested file holds no byte that could be another.
func TestEveryByteBeforeTheAttestationIsSigned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawGrant(t)
		g.Reason, g.Attestation = "fine", "vault:v1:AAAAAAAA"
		src := g.Encode()
		at := rapid.IntRange(0, len(src)-1).Draw(t, "at")
		changed := bytes.Clone(src)
		changed[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		other, err := grants.Parse(g.Path(), changed)
		if err != nil {
			return
		}
		if bytes.Equal(other.SignedBytes(), g.SignedBytes()) && other.Attestation == g.Attestation {
			t.Fatalf("%q and %q are one grant", src, changed)
		}
	})
}
