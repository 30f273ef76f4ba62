package vaultlease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tigeraccess/tac/grants/world"
)

// lookAtHealth reads sys/health, whatever it says: the statuses of a Vault
// that is sealed or a standby are no errors here.
func (c *Client) lookAtHealth(ctx context.Context) (*health, error) {
	a, err := c.exchange(ctx, request{path: "sys/health", auth: anonymous})
	h := &health{}
	if a != nil && json.Unmarshal(a.body, h) == nil && (h.Initialized || hasStatus(err, http.StatusNotImplemented)) {
		return h, nil
	}
	if err == nil {
		err = errors.New("the answer is not what sys/health says; is there a Vault at this address?")
	}
	return nil, err
}

// outage reports that an error is for want of an answer, and not an answer.
func outage(err error) bool {
	var refused *statusError
	if errors.As(err, &refused) {
		return refused.status < 400 || refused.status >= 500 || refused.status == http.StatusPreconditionFailed || refused.status == http.StatusTooManyRequests
	}
	var lost *url.Error
	return errors.Is(err, world.ErrAmbiguous) || errors.As(err, &lost) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// version is a release of Vault.
type version [3]int

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v[0], v[1], v[2]) }

func (v version) before(o version) bool {
	for i := range v {
		if v[i] != o[i] {
			return v[i] < o[i]
		}
	}
	return false
}

// parseVersion reads what sys/health says, as in 1.21.0+ent; false where that
// is not three numbers.
func parseVersion(text string) (v version, ok bool) {
	text, _, _ = strings.Cut(text, "+")
	text, _, _ = strings.Cut(text, "-")
	parts := strings.Split(text, ".")
	if len(parts) != len(v) {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// measured is the release that everything here was measured on.
var measured = version{1, 21, 0}

// faults are what older releases got wrong of that which tac rests on, by the
// first release without it (threats.md F3, F4).
var faults = []struct {
	fixed version
	what  string
}{
	{version{1, 17, 6}, "SSH roles sign for everybody when no principal is named (CVE-2024-7594)"},
	{version{1, 17, 5}, "secrets can reach the audit log in the clear (CVE-2024-8365)"},
	{version{1, 9, 0}, "templated policies may be those of somebody else (CVE-2021-43998, CVE-2021-41802)"},
	{version{1, 7, 2}, "a lease that is renewed in its last second never ends (CVE-2021-32923)"},
	{version{1, 5, 5}, "leases outlive their time (CVE-2020-25816)"},
}

func judgeVersion(f *world.Findings, text string) {
	const check, upgrade = "version", "upgrade Vault to the newest of the line 1.21, or later"
	v, ok := parseVersion(text)
	if !ok {
		f.Unseen(check, upgrade, "Vault does not say which version it is (%.40q)", text)
		return
	}
	var wrong []string
	for _, fault := range faults {
		if v.before(fault.fixed) {
			wrong = append(wrong, fault.what)
		}
	}
	switch {
	case len(wrong) > 0:
		f.Wrong(check, upgrade, "Vault %s has faults in what tac rests on: %s", v, strings.Join(wrong, "; "))
	case v.before(measured):
		f.Unseen(check, upgrade, "Vault %s is older than %s, the oldest that tac was measured on", v, measured)
	case v[0] > measured[0]:
		f.Unseen(check, "", "Vault %s, or something like it, was never measured; %s was", v, measured)
	default:
		f.Fine(check, "Vault is %s", v)
	}
}
