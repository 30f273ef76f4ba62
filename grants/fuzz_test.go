package grants_test

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/tigeraccess/tac/grants"
)

// pathIn returns where a file says that it belongs, as a reader sees it that
// is not ours.
func pathIn(src []byte) string {
	var f struct {
		Metadata struct{ ID string }
		Spec     struct{ Resource string }
	}
	if err := yaml.Unmarshal(src, &f); err != nil || f.Metadata.ID == "" {
		return wherever
	}
	return grants.Path(f.Spec.Resource, grants.ID(f.Metadata.ID))
}

// fataler is what tests, fuzzing and rapid have in common.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// sameElsewhere fails unless a reader that knows nothing of grants sees the
// very same values in the file: no two readers may disagree about a grant.
func sameElsewhere(t fataler, src []byte, g grants.Grant) {
	t.Helper()
	var seen map[string]any
	if err := yaml.Unmarshal(src, &seen); err != nil {
		t.Fatalf("another reader says: %v\n%s", err, src)
	}
	spec := map[string]any{
		"resource": g.Resource, "requester": map[string]any{"github": g.Requester.GitHub, "id": int(g.Requester.ID)},
		"duration": grants.FormatDuration(g.Duration), "requested_at": g.RequestedAt, "via": string(g.Via),
	}
	put := func(key string, value any, is bool) {
		if is {
			spec[key] = value
		}
	}
	put("start", g.Start, !g.Start.IsZero())
	put("reason", g.Reason, g.Reason != "")
	put("ticket", g.Ticket, g.Ticket != "")
	put("extends", string(g.Extends), g.Extends != "")
	put("break_glass", true, g.BreakGlass)
	put("narrows", g.Narrows, g.Narrows != "")
	want := map[string]any{"kind": "AccessGrant", "metadata": map[string]any{"id": string(g.ID)}, "spec": spec}
	if g.Attestation != "" {
		want["attestation"] = g.Attestation
	}
	if !reflect.DeepEqual(seen, want) {
		t.Fatalf("another reader sees\n%v\nwe see\n%v\nin\n%s", seen, want, src)
	}
}

// FuzzParse: whatever the bytes, reading them ends in a grant or in a refusal
// that is safe to show; and what is accepted has one meaning only.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"testdata/bad.txtar", "testdata/good.txtar"} {
		for _, file := range archive(f, path).Files {
			if !strings.HasSuffix(file.Name, ": refusal") {
				f.Add(hostile(file.Data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		path := pathIn(src)
		g, err := grants.Parse(path, src)
		if err != nil {
			showable(t, err, path)
			return
		}
		if again := g.Encode(); !bytes.Equal(again, src) {
			t.Fatalf("accepted\n%q\nwrites\n%q", src, again)
		}
		if resource, id, ok := grants.ParsePath(path); !ok || resource != g.Resource || id != g.ID {
			t.Fatalf("accepted at %q: %s %s", path, g.Resource, g.ID)
		}
		if g.Duration < time.Minute || g.Duration > 7*24*time.Hour || g.Requester.ID <= 0 || len(src) > 16<<10 {
			t.Fatalf("accepted %+v", g)
		}
		sameElsewhere(t, src, g)
	})
}

// showable fails where a refusal could act on the terminal or page it is
// shown on.
func showable(t *testing.T, err error, path string) {
	t.Helper()
	said := strings.ReplaceAll(err.Error(), path, "")
	if !utf8.ValidString(said) {
		t.Fatalf("the refusal is no text: %q", said)
	}
	for _, r := range said {
		if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069) {
			t.Fatalf("the refusal holds %U: %q", r, said)
		}
	}
}

var safePath = regexp.MustCompile(`^grants/[a-z0-9-]{1,63}/[0-9]{8}-[0-9a-z]{10}\.yaml$`)

// FuzzParsePath: only paths of plain ASCII, written the one way, are grants'.
func FuzzParsePath(f *testing.F) {
	for _, path := range []string{
		wherever, "Grants/db/20261122-k3v9q2m4tz.yaml", "grants/../policies/20261122-k3v9q2m4tz.yaml", "grants/db/../20261122-k3v9q2m4tz.yaml",
		"grants/d\u0062\u0301/20261122-k3v9q2m4tz.yaml", "grants/db\u200b/20261122-k3v9q2m4tz.yaml", "grants/\u202edb/20261122-k3v9q2m4tz.yaml",
		"grants/db/20261122-k3v9q2m4tz.yaml\n", "grants/db/20261122-k3v9q2m4tz.yaml/x", "grants\\db\\20261122-k3v9q2m4tz.yaml", "grants/db/20261322-k3v9q2m4tz.yaml",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		resource, id, ok := grants.ParsePath(path)
		if !ok {
			if resource != "" || id != "" {
				t.Fatalf("%q is refused and gives %q %q", path, resource, id)
			}
			return
		}
		if !safePath.MatchString(path) || grants.Path(resource, id) != path {
			t.Fatalf("%q is taken for %s %s", path, resource, id)
		}
	})
}

// FuzzDuration: what is read as a duration is exactly what was written.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{"2h", "1h30m", "2d", "0", "-2h", "99999h", "1e9h", "999999d999999h999999m999999s", "", "h", "1H"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := grants.ParseDuration(s)
		if err != nil {
			if d != 0 {
				t.Fatalf("%q is refused and is %s", s, d)
			}
			return
		}
		if again, err := grants.ParseDuration(grants.FormatDuration(d)); d <= 0 || d < grants.LongestDuration && (err != nil || again != d) {
			t.Fatalf("%q is %s and again %s (%v)", s, d, again, err)
		}
		var total time.Duration
		for rest := s; rest != ""; {
			var n int64
			var unit byte
			if _, err := fmt.Sscanf(rest, "%d%c", &n, &unit); err != nil {
				t.Fatalf("%q was read as %s", s, d)
			}
			total += time.Duration(n) * map[byte]time.Duration{'d': 24 * time.Hour, 'h': time.Hour, 'm': time.Minute, 's': time.Second}[unit]
			rest = rest[strings.IndexByte(rest, unit)+1:]
		}
		if total != d {
			t.Fatalf("%q is %s, read as %s", s, total, d)
		}
	})
}
