// Package grants says what a grant is, how it is written, and how it lives.
//
// A grant is one file in the grants repository: somebody has access to one
// resource, for one stated reason, until one stated time. The package is
// pure: values in, values out, with no clock, no context and no input or
// output. Three files hold all of it:
//
//   - grant.go: what a grant is, and how its id and path come about;
//   - codec.go: the one canonical way to write the file, and its strict reader;
//   - lifecycle.go: the state machine that every grant goes through.
package grants

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// ID names a grant for ever: the UTC date of its request and ten characters
// of its intent key, as in 20261122-k3v9q2m4tz.
type ID string

var idForm = regexp.MustCompile(`^[0-9]{8}-[0-9abcdefghjkmnpqrstvwxyz]{10}$`)

// ParseID returns s as an ID, or an error that shows the form.
func ParseID(s string) (ID, error) {
	if !idForm.MatchString(s) {
		return "", fmt.Errorf("%.40q is not a grant id; ids look like 20261122-k3v9q2m4tz", s)
	}
	if _, err := time.Parse("20060102", s[:8]); err != nil {
		return "", fmt.Errorf("%q is not a grant id: %s is not a date", s, s[:8])
	}
	return ID(s), nil
}

// Key returns the part of the id that comes from the intent key.
func (id ID) Key() string {
	_, key, _ := strings.Cut(string(id), "-")
	return key
}

// Principal is a person. The number is GitHub's and is the person; the login
// is only how people call them and may change.
type Principal struct {
	GitHub string
	ID     int64
}

// Same reports whether p and q are one person. An unknown person is nobody,
// not even the same as another unknown one.
func (p Principal) Same(q Principal) bool { return p.ID != 0 && p.ID == q.ID }

func (p Principal) String() string { return "@" + p.GitHub }

// Via says where a request was made.
type Via string

// The ways to ask.
const (
	ViaSlack Via = "slack"
	ViaCLI   Via = "cli"
	ViaWeb   Via = "web"
	ViaGit   Via = "git"
)

// Grant is what a grant file says.
type Grant struct {
	ID          ID
	Resource    string
	Requester   Principal
	Duration    time.Duration // whole seconds
	Start       time.Time     // zero: at the merge
	Reason      string
	Ticket      string
	RequestedAt time.Time // whole seconds, UTC
	Via         Via
	Extends     ID     // the grant that this one extends
	BreakGlass  bool   // asked for as an emergency
	Narrows     string // blob that an approver narrowed
	Attestation string // Vault transit signature over SignedBytes; empty in a hand-written file
}

// Path returns where the grant's file lives in the grants repository.
func (g Grant) Path() string { return Path(g.Resource, g.ID) }

// Branch returns the branch on which the bot proposes the grant.
func (g Grant) Branch() string { return BranchPrefix + string(g.ID) }

// BranchPrefix starts the name of every branch on which the bot proposes a
// grant; rulesets keep everybody else from these branches.
const BranchPrefix = "grant/"

// Path returns where the file of a grant lives.
func Path(resource string, id ID) string { return "grants/" + resource + "/" + string(id) + ".yaml" }

// ParsePath returns the resource and id of a grant file's path; false for
// every path that is not byte for byte one of ours.
func ParsePath(path string) (resource string, id ID, ok bool) {
	rest, found := strings.CutPrefix(path, "grants/")
	if !found {
		return "", "", false
	}
	resource, file, found := strings.Cut(rest, "/")
	if !found || CheckName(resource) != nil {
		return "", "", false
	}
	name, found := strings.CutSuffix(file, ".yaml")
	if !found {
		return "", "", false
	}
	id, err := ParseID(name)
	if err != nil {
		return "", "", false
	}
	return resource, id, true
}

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// CheckName returns an error unless s can name a resource, role or policy.
// Names are ASCII so that no two look alike.
func CheckName(s string) error {
	if !nameForm.MatchString(s) {
		return fmt.Errorf("%.70q is not a name; names have 1 to 63 of a-z, 0-9 and -", s)
	}
	return nil
}

var loginForm = regexp.MustCompile(`^[A-Za-z0-9](?:-?[A-Za-z0-9])*(?:_[A-Za-z0-9]+)?$`)

// CheckLogin returns an error unless s can be the login of a GitHub user
// (with the _shortcode that enterprise-managed users have).
func CheckLogin(s string) error {
	if len(s) > 50 || !loginForm.MatchString(s) {
		return fmt.Errorf("%.60q is not a GitHub login", s)
	}
	return nil
}

// Bounds on how long a grant may be, whatever policy says.
const (
	ShortestDuration = time.Minute
	LongestDuration  = 7 * 24 * time.Hour
)

var (
	durationForm = regexp.MustCompile(`^(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?$`)
	numberOnly   = regexp.MustCompile(`^[0-9]+$`)
)

// ParseDuration reads a length of time as people write it: 30m, 2h, 1h30m,
// 2d. It accepts whole, positive numbers only and bounds nothing else; what
// is sensible depends on where the duration stands.
func ParseDuration(s string) (time.Duration, error) {
	m := durationForm.FindStringSubmatch(s)
	if s == "" || m == nil {
		hint := "write a length such as 30m, 2h or 1h30m"
		if numberOnly.MatchString(s) && len(s) < 7 {
			hint = fmt.Sprintf("add a unit: %sm or %sh", s, s)
		}
		return 0, fmt.Errorf("%.40q is not a duration; %s", s, hint)
	}
	var total time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[i+1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%.40q is not a duration: %w", s, err)
		}
		if n > int64((math.MaxInt64-total)/unit) {
			return 0, fmt.Errorf("%.40q is longer than 292 years; write a length such as 30m, 2h or 1h30m", s)
		}
		total += time.Duration(n) * unit
	}
	if total == 0 {
		return 0, fmt.Errorf("%q is no time at all; write a length such as 30m, 2h or 1h30m", s)
	}
	return total, nil
}

// CheckDuration returns an error unless d is a length that a grant may have.
func CheckDuration(d time.Duration) error {
	switch {
	case d < ShortestDuration:
		return fmt.Errorf("%s is too short; a grant lasts %s at least", FormatDuration(d), FormatDuration(ShortestDuration))
	case d > LongestDuration:
		return fmt.Errorf("%s is too long; a grant lasts %s (7 days) at most", FormatDuration(d), FormatDuration(LongestDuration))
	case d%time.Second != 0:
		return fmt.Errorf("%s is not in whole seconds", d)
	}
	return nil
}

// FormatDuration writes d the one canonical way: hours, minutes and seconds,
// leaving out what is zero, as in 1h30m. ParseDuration reads it back.
func FormatDuration(d time.Duration) string {
	if d <= 0 {
		return d.String()
	}
	d = d.Round(time.Second)
	var b strings.Builder
	for _, part := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / part.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, part.name)
			d -= n * part.unit
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// MostReason is how many characters a reason may have.
const MostReason = 500

// CheckReason returns an error unless s can stand as a reason: one line of
// text without control characters or the marks that turn writing direction
// around (they make a text read differently from what it says).
func CheckReason(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("the reason is not UTF-8 text")
	}
	if n := len([]rune(s)); n > MostReason {
		return fmt.Errorf("the reason has %d characters; at most %d fit", n, MostReason)
	}
	if s != strings.TrimSpace(s) {
		return errors.New("the reason starts or ends with blanks; take them away")
	}
	for _, r := range s {
		switch {
		case r == '\n' || r == '\r':
			return errors.New("the reason has several lines; write it on one")
		case unicode.Is(unicode.Bidi_Control, r), r == '\ufeff', !unicode.IsPrint(r) && r != ' ':
			return fmt.Errorf("the reason holds the invisible character %U; take it away", r)
		}
	}
	return nil
}

// CheckTicket returns an error unless s can be the key of a ticket.
func CheckTicket(s string) error {
	if !isTicket(s) {
		return fmt.Errorf("%.70q is not a ticket; tickets look like INC-789 or acme/app#12", s)
	}
	return nil
}

// isTicket is asked at every decision, where a regular expression would cost
// more than all else together.
func isTicket(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '#'
		if !letter && (i == 0 || c != '.' && c != '_' && c != '/' && c != '-') {
			return false
		}
	}
	return true
}

// IntentKey identifies one wish to have access. The same person asking for
// the same resource with the same idempotency key (a Slack trigger, the
// command line's own random key) is the same wish at whatever hour it is
// delivered again, which is why no date enters it.
type IntentKey [sha256.Size]byte

// NewIntentKey returns the key of a wish.
func NewIntentKey(requester Principal, resource, idempotencyKey string) IntentKey {
	// Each part is preceded by its length: no two different wishes share
	// one input.
	return sha256.Sum256(fmt.Appendf(nil, "tac/intent/v1\n%d\n%d:%s\n%d:%s\n",
		requester.ID, len(resource), resource, len(idempotencyKey), idempotencyKey))
}

// String returns the key in hexadecimal.
func (k IntentKey) String() string { return hex.EncodeToString(k[:]) }

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// Short returns the ten characters (50 bits) of the key that stand in an ID.
func (k IntentKey) Short() string {
	var bits uint64
	for _, b := range k[:8] {
		bits = bits<<8 | uint64(b)
	}
	short := make([]byte, 10)
	for i := range short {
		short[i] = crockford[bits>>59]
		bits <<= 5
	}
	return string(short)
}

// ID returns the id of the wish once its first write has fixed requestedAt.
func (k IntentKey) ID(requestedAt time.Time) ID {
	return ID(requestedAt.UTC().Format("20060102") + "-" + k.Short())
}
