package grants

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Limits of a grant file (threats.md C6): enough for any honest grant.
var fileLimits = strictyaml.Limits{Bytes: 16 << 10, Documents: 1, Depth: 6, Nodes: 200}

// APIVersion is the one version of all documents; it may be left out.
const APIVersion = "tac/v1"

// file is what a grant file may hold, before anything is made of it.
type file struct {
	APIVersion strictyaml.Value[string] `yaml:"apiVersion"`
	Kind       strictyaml.Value[string] `yaml:"kind,required"`
	Metadata   struct {
		ID strictyaml.Value[string] `yaml:"id,required"`
	} `yaml:"metadata,required"`
	Spec struct {
		Resource  strictyaml.Value[string] `yaml:"resource,required"`
		Requester struct {
			GitHub strictyaml.Value[string] `yaml:"github,required"`
			ID     strictyaml.Value[int64]  `yaml:"id,required"`
		} `yaml:"requester,required"`
		Duration    strictyaml.Value[length]    `yaml:"duration,required"`
		Start       strictyaml.Value[timestamp] `yaml:"start"`
		Reason      strictyaml.Value[string]    `yaml:"reason"`
		Ticket      strictyaml.Value[string]    `yaml:"ticket"`
		RequestedAt strictyaml.Value[timestamp] `yaml:"requested_at,required"`
		Via         strictyaml.Value[string]    `yaml:"via,required"`
		Extends     strictyaml.Value[string]    `yaml:"extends"`
		BreakGlass  strictyaml.Value[bool]      `yaml:"break_glass"`
		Narrows     strictyaml.Value[string]    `yaml:"narrows"`
	} `yaml:"spec,required"`
	Attestation strictyaml.Value[string] `yaml:"attestation"`
}

type timestamp struct{ time.Time }

// TimeLayout is how times stand in grant files: RFC 3339, whole seconds, Z.
const TimeLayout = "2006-01-02T15:04:05Z"

// ParseTime reads a time as grant files hold it.
func ParseTime(s string) (time.Time, error) {
	t, err := time.Parse(TimeLayout, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.40q is not a time; write it in UTC as 2026-11-22T18:00:00Z", s)
	}
	return t, nil
}

func (t *timestamp) UnmarshalScalar(text string) (err error) {
	t.Time, err = ParseTime(text)
	return err
}

// length is a duration that a grant may have. It reads numbers without a unit
// too, so as to say what they lack.
type length struct{ time.Duration }

func (l *length) UnmarshalScalar(text string) (err error) {
	if l.Duration, err = ParseDuration(text); err != nil {
		return err
	}
	return CheckDuration(l.Duration)
}

// Parse reads a grant file strictly. path is where the file stands in the
// repository: the grant must say the same. Every mistake is reported, each
// with its place, as strictyaml.Errors. The bytes must be canonical; where
// only that fails, the error is a *NotCanonicalError that holds the right ones.
func Parse(path string, src []byte) (Grant, error) {
	nodes, errs := strictyaml.Parse(path, src, fileLimits)
	if err := errs.Err(); err != nil {
		return Grant{}, err
	}
	if len(nodes) == 0 {
		return Grant{}, strictyaml.Pos{File: path, Line: 1, Column: 1}.Errorf("the file is empty; expected `kind: AccessGrant`")
	}
	var f file
	errs = nodes[0].Decode(&f)
	if err := errs.Err(); err != nil {
		return Grant{}, err
	}
	g, errs := f.grant(path)
	if err := errs.Err(); err != nil {
		return Grant{}, err
	}
	if canonical := g.Encode(); !bytes.Equal(canonical, src) {
		return Grant{}, &NotCanonicalError{Path: path, Line: firstDifference(src, canonical), Canonical: canonical}
	}
	return g, nil
}

// NotCanonicalError says that a grant file means something clear but is not
// written the one canonical way. Requiring that way leaves nothing for two
// readers to disagree about.
type NotCanonicalError struct {
	Path      string
	Line      int // first line that differs
	Canonical []byte
}

func (e *NotCanonicalError) Error() string {
	return fmt.Sprintf("%s:%d:1: the file is not in canonical form (from this line on); write exactly:\n%s", e.Path, e.Line, e.Canonical)
}

func firstDifference(a, b []byte) int {
	as, bs := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(as), len(bs)) {
		if !bytes.Equal(as[i], bs[i]) {
			return i + 1
		}
	}
	return min(len(as), len(bs))
}

// grant converts what was written into a grant that can only be valid.
func (f *file) grant(path string) (Grant, strictyaml.Errors) {
	var c converter
	s := &f.Spec
	g := Grant{
		ID:          parsed(&c, "metadata.id", f.Metadata.ID, ParseID),
		Resource:    checked(&c, "resource", s.Resource, CheckName),
		Requester:   Principal{GitHub: checked(&c, "requester.github", s.Requester.GitHub, CheckLogin), ID: checked(&c, "requester.id", s.Requester.ID, checkUserID)},
		Duration:    s.Duration.V.Duration,
		Start:       s.Start.V.Time,
		Reason:      checked(&c, "reason", s.Reason, func(v string) error { return nonEmpty(v, CheckReason) }),
		Ticket:      checked(&c, "ticket", s.Ticket, func(v string) error { return nonEmpty(v, CheckTicket) }),
		RequestedAt: s.RequestedAt.V.Time,
		Via:         Via(checked(&c, "via", s.Via, checkVia)),
		Extends:     parsed(&c, "extends", s.Extends, ParseID),
		BreakGlass:  checked(&c, "break_glass", s.BreakGlass, checkTrue),
		Narrows:     checked(&c, "narrows", s.Narrows, checkBlob),
		Attestation: checked(&c, "attestation", f.Attestation, checkAttestation),
	}
	checked(&c, "kind", f.Kind, want("AccessGrant"))
	checked(&c, "apiVersion", f.APIVersion, want(APIVersion))
	if len(c.errs) > 0 {
		return Grant{}, c.errs
	}
	if s.Start.Set && g.Start.Before(g.RequestedAt) {
		c.errs = append(c.errs, s.Start.Pos.Errorf("start: %s is before the request itself (%s); ask for a start ahead, or leave it out", g.Start.Format(TimeLayout), g.RequestedAt.Format(TimeLayout)))
	}
	if g.Extends != "" && s.Start.Set {
		c.errs = append(c.errs, s.Start.Pos.Errorf("start: an extension begins where the grant that it extends ends; leave start out"))
	}
	if g.Extends != "" && g.BreakGlass {
		c.errs = append(c.errs, s.BreakGlass.Pos.Errorf("break_glass: an extension is no emergency of its own; take one of extends and break_glass away"))
	}
	if g.Extends != "" && g.Extends == g.ID {
		c.errs = append(c.errs, s.Extends.Pos.Errorf("extends: a grant does not extend itself"))
	}
	if day := g.RequestedAt.Format("20060102"); !strings.HasPrefix(string(g.ID), day) {
		c.errs = append(c.errs, f.Metadata.ID.Pos.Errorf("metadata.id: an id starts with the date of requested_at, here %s", day))
	}
	if path != g.Path() {
		c.errs = append(c.errs, f.Metadata.ID.Pos.Errorf("the file of this grant is %s, not %s", g.Path(), strictyaml.Quote(path)))
	}
	return g, c.errs
}

type converter struct{ errs strictyaml.Errors }

// parsed converts a written value, noting the mistake at its place.
func parsed[S, T any](c *converter, name string, v strictyaml.Value[S], parse func(S) (T, error)) T {
	if !v.Set {
		var zero T
		return zero
	}
	t, err := parse(v.V)
	if err != nil {
		c.errs = append(c.errs, v.Pos.Errorf("%s: %v", name, err))
	}
	return t
}

// checked returns a written value, noting the mistake at its place.
func checked[T any](c *converter, name string, v strictyaml.Value[T], check func(T) error) T {
	return parsed(c, name, v, func(t T) (T, error) { return t, check(t) })
}

func want(word string) func(string) error {
	return func(s string) error {
		if s != word {
			return fmt.Errorf("expected %s, found %s", word, strictyaml.Quote(s))
		}
		return nil
	}
}

func nonEmpty(s string, check func(string) error) error {
	if s == "" {
		return errors.New("is empty; leave the key out")
	}
	return check(s)
}

func checkUserID(id int64) error {
	if id <= 0 {
		return fmt.Errorf("%d is not the number of a GitHub user", id)
	}
	return nil
}

func checkVia(s string) error {
	switch Via(s) {
	case ViaSlack, ViaCLI, ViaWeb, ViaGit:
		return nil
	}
	return fmt.Errorf("expected slack, cli, web or git, found %s", strictyaml.Quote(s))
}

func checkTrue(b bool) error {
	if !b {
		return errors.New("expected true, or no such key")
	}
	return nil
}

var blobForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

func checkBlob(s string) error {
	if !blobForm.MatchString(s) {
		return errors.New("expected the 40 hexadecimal digits of a git blob")
	}
	return nil
}

// The signature is standard base64 as Vault's transit engine writes it.
var attestationForm = regexp.MustCompile(`^vault:v[0-9]{1,6}:[A-Za-z0-9+/]{8,512}={0,2}$`)

func checkAttestation(s string) error {
	if !attestationForm.MatchString(s) {
		return errors.New("expected a Vault transit signature (vault:v1:...)")
	}
	return nil
}

// Encode returns the grant's file in canonical form.
func (g Grant) Encode() []byte {
	b := g.body()
	if g.Attestation != "" {
		b = append(b, "attestation: "+g.Attestation+"\n"...)
	}
	return b
}

// SignedBytes returns what the attestation signs: a name for the purpose,
// then everything the file says before the attestation itself.
func (g Grant) SignedBytes() []byte { return append([]byte("tac/grant/v1\n"), g.body()...) }

func (g Grant) body() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "kind: AccessGrant\nmetadata: {id: %s}\nspec:\n", g.ID)
	fmt.Fprintf(&b, "  resource: %s\n", scalar(g.Resource))
	fmt.Fprintf(&b, "  requester: {github: %s, id: %d}\n", scalar(g.Requester.GitHub), g.Requester.ID)
	fmt.Fprintf(&b, "  duration: %s\n", FormatDuration(g.Duration))
	optional := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s: %s\n", key, value)
		}
	}
	optional("start", formatTime(g.Start))
	optional("reason", scalar(g.Reason))
	optional("ticket", scalar(g.Ticket))
	optional("requested_at", formatTime(g.RequestedAt))
	optional("via", string(g.Via))
	optional("extends", string(g.Extends))
	if g.BreakGlass {
		optional("break_glass", "true")
	}
	optional("narrows", scalar(g.Narrows))
	return b.Bytes()
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(TimeLayout)
}

// plainScalar matches the texts that every YAML reader takes as that text
// without quotes. It is narrow on purpose: quoting too much harms nobody.
var (
	plainScalar = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*(?:[ _./+-][A-Za-z0-9]+|, [A-Za-z0-9]+)*[.]?$`)
	notText     = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null|[0-9]+e[0-9]+)$`)
)

// scalar writes s so that it reads back as the same text: plain where that is
// safe beyond doubt, else in double quotes. The empty text stays empty.
func scalar(s string) string {
	if s == "" || plainScalar.MatchString(s) && !notText.MatchString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case strconv.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
