package grants_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tigeraccess/tac/grants"
)

func TestIntentKeyKnownAnswer(t *testing.T) {
	// echo -ne 'tac/intent/v1\n1001\n13:postgres-prod\n5:1.2.3\n' | sha256sum
	key := grants.NewIntentKey(grants.Principal{GitHub: "alice", ID: 1001}, "postgres-prod", "1.2.3")
	const wantHex, wantShort = "b3fa20bd4b3b79cf69f61ef6c40e756affd9276f00322ca666d128b7d7b2a203", "pfx21fab7d"
	if key.String() != wantHex || key.Short() != wantShort {
		t.Errorf("%s, %s", key, key.Short())
	}
	at := time.Date(2026, 11, 22, 23, 30, 0, 0, time.FixedZone("", -3600)) // the 23rd in UTC
	if id := key.ID(at); id != "20261123-"+wantShort || id.Key() != wantShort {
		t.Errorf("the id is %s", id)
	}
}

// A wish is the same wish on whatever day it is delivered again, and under
// whatever name its author goes by then; and no two wishes share a key.
func TestTheIntentKeyIsOfPersonResourceAndKeyAlone(t *testing.T) {
	alice := grants.Principal{GitHub: "alice", ID: 1001}
	key := grants.NewIntentKey(alice, "db", "k")
	if key != grants.NewIntentKey(grants.Principal{GitHub: "alice-renamed", ID: 1001}, "db", "k") {
		t.Error("a new login made a new wish")
	}
	day := time.Date(2026, 11, 22, 23, 59, 59, 0, time.UTC)
	if a, b := key.ID(day), key.ID(day.Add(time.Second)); a == b || a.Key() != b.Key() {
		t.Errorf("%s and %s", a, b)
	}
	seen := map[grants.IntentKey]string{key: "the first"}
	for name, other := range map[string]grants.IntentKey{
		"another person":             grants.NewIntentKey(grants.Principal{GitHub: "alice", ID: 1002}, "db", "k"),
		"another resource":           grants.NewIntentKey(alice, "dbk", "k"),
		"another key":                grants.NewIntentKey(alice, "db", "kk"),
		"a letter moved to the left": grants.NewIntentKey(alice, "dbk", ""),
		"a line end in the key":      grants.NewIntentKey(alice, "db", "k\n1:k"),
		"digits moved":               grants.NewIntentKey(grants.Principal{ID: 100}, "1\n2:db", "k"),
	} {
		if before, there := seen[other]; there {
			t.Errorf("%s is %s", name, before)
		}
		seen[other] = name
	}
}

func TestIDsHaveTenCrockfordCharacters(t *testing.T) {
	form := regexp.MustCompile(`^[0-9a-hjkmnp-tv-z]{10}$`)
	rapid.Check(t, func(t *rapid.T) {
		key := grants.NewIntentKey(grants.Principal{ID: rapid.Int64().Draw(t, "id")}, rapid.String().Draw(t, "resource"), rapid.String().Draw(t, "key"))
		if !form.MatchString(key.Short()) {
			t.Fatalf("%q", key.Short())
		}
		id := key.ID(time.Unix(rapid.Int64Range(0, 253402300799).Draw(t, "at"), 0))
		if again, err := grants.ParseID(string(id)); err != nil || again != id {
			t.Fatalf("%q: %v", id, err)
		}
	})
}

func TestDurationsAreReadExactlyOrNotAtAll(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "60s": time.Minute, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1d1h1m1s": 25*time.Hour + 61*time.Second,
		"0h1m": time.Minute, "106751d": 106751 * 24 * time.Hour,
	} {
		if got, err := grants.ParseDuration(text); err != nil || got != want {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	for text, says := range map[string]string{
		"": "write a length", "0": "add a unit: 0m or 0h", "0s": "no time at all", "2": "add a unit: 2m or 2h", "-1h": "write a length", "+1h": "write a length",
		"1.5h": "write a length", "1e9h": "write a length", "1h 30m": "write a length", "30m1h": "write a length", "1h1h": "write a length", "h": "write a length",
		"1000000h": "write a length", "9223372036854775808s": "write a length", "213504d": "292 years", "106751d999999h": "292 years", "999999d": "292 years", "P1D": "write a length", "1w": "write a length", "2H": "write a length",
		"\u0661h": "write a length", "1h\n": "write a length", " 1h": "write a length", "1\u00b5s": "write a length",
	} {
		if got, err := grants.ParseDuration(text); err == nil || got != 0 || !strings.Contains(err.Error(), says) {
			t.Errorf("%q is %s, %v", text, got, err)
		}
	}
	for d, ok := range map[time.Duration]bool{
		-time.Hour: false, 0: false, time.Minute - 1: false, time.Minute: true, time.Minute + 1: false, 7 * 24 * time.Hour: true, 7*24*time.Hour + time.Second: false, 1<<63 - 1: false, -1 << 63: false,
	} {
		if err := grants.CheckDuration(d); (err == nil) != ok {
			t.Errorf("%d: %v", d, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(1, 999999*3600).Draw(t, "seconds")) * time.Second
		if again, err := grants.ParseDuration(grants.FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%s became %s: %v", d, again, err)
		}
	})
}

// What is read without a regular expression is what that one says.
func TestATicketIsOfThisForm(t *testing.T) {
	form := regexp.MustCompile(`\A[A-Za-z0-9#][A-Za-z0-9._/#-]{0,63}\z`)
	check := func(t interface{ Fatalf(string, ...any) }, s string) {
		if err := grants.CheckTicket(s); (err == nil) != form.MatchString(s) {
			t.Fatalf("%q: %v", s, err)
		}
	}
	for c := range 256 {
		check(t, string([]byte{byte(c)}))
		check(t, string([]byte{'a', byte(c)}))
	}
	for _, n := range []int{0, 63, 64, 65} {
		check(t, strings.Repeat("a", n))
	}
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9#._/@-]{0,66}`), rapid.String()).Draw(t, "ticket"))
	})
}
