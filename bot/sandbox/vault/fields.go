package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// fields reads a request's parameters by name. A value of the wrong shape
// sets err (the first stays), which becomes 400; absent ones read as zero.
type fields struct {
	m   map[string]any
	err error
}

func (f *fields) has(name string) bool {
	v, ok := f.m[name]
	return ok && v != nil
}

func (f *fields) wrong(name string, v any) {
	if f.err == nil {
		f.err = badRequest("Field validation failed: error converting input %v for field %q", v, name)
	}
}

func (f *fields) text(name string) string {
	switch v := f.m[name].(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	default:
		f.wrong(name, v)
		return ""
	}
}

func (f *fields) flag(name string, absent bool) bool {
	switch v := f.m[name].(type) {
	case nil:
		return absent
	case bool:
		return v
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b
		}
	}
	f.wrong(name, f.m[name])
	return absent
}

func (f *fields) number(name string) int {
	t := f.text(name)
	if t == "" {
		return 0
	}
	n, err := strconv.Atoi(t)
	if err != nil {
		f.wrong(name, t)
	}
	return n
}

// duration reads seconds as a number or in text, or Go's notation.
func (f *fields) duration(name string) time.Duration {
	t := f.text(name)
	if t == "" {
		return 0
	}
	d, err := parseDuration(t)
	if err != nil {
		f.wrong(name, t)
		return 0
	}
	return d
}

// list reads an array of strings or a comma-separated string.
func (f *fields) list(name string) []string {
	switch v := f.m[name].(type) {
	case nil:
		return nil
	case string:
		var out []string
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				out = append(out, part)
			}
		}
		return out
	case []any:
		return f.texts(name, v)
	}
	f.wrong(name, f.m[name])
	return nil
}

// statements reads an array of strings, or a string as the only element: SQL
// has commas of its own.
func (f *fields) statements(name string) []string {
	switch v := f.m[name].(type) {
	case nil:
		return []string{}
	case string:
		return []string{v}
	case []any:
		return f.texts(name, v)
	}
	f.wrong(name, f.m[name])
	return nil
}

func (f *fields) texts(name string, v []any) []string {
	out := make([]string, 0, len(v))
	for _, e := range v {
		s, ok := e.(string)
		if !ok {
			f.wrong(name, e)
			return nil
		}
		out = append(out, s)
	}
	return out
}

// textMap reads an object of strings.
func (f *fields) textMap(name string) map[string]string {
	if !f.has(name) {
		return nil
	}
	obj, ok := f.m[name].(map[string]any)
	if !ok {
		f.wrong(name, f.m[name])
		return nil
	}
	out := make(map[string]string, len(obj))
	for k, v := range obj {
		t, ok := v.(string)
		if !ok {
			f.wrong(name, v)
			return nil
		}
		out[k] = t
	}
	return out
}

// sub reads an object; absent or null is an empty one.
func (f *fields) sub(name string) *fields {
	if !f.has(name) {
		return &fields{m: map[string]any{}}
	}
	obj, ok := f.m[name].(map[string]any)
	if !ok {
		f.wrong(name, f.m[name])
		return &fields{m: map[string]any{}}
	}
	return &fields{m: obj}
}

// require sets err where a field is absent or empty.
func (f *fields) require(name string) string {
	t := f.text(name)
	if t == "" && f.err == nil {
		f.err = badRequest("missing %s", name)
	}
	return t
}

func parseDuration(text string) (time.Duration, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n > int64(systemMaxTTL/time.Second)*1000 || n < -1 {
			return 0, errors.New("duration out of range")
		}
		return time.Duration(n) * time.Second, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n < 0 || n > 36500 {
			return 0, fmt.Errorf("parse duration %q", text)
		}
		return time.Duration(n) * 24 * time.Hour, nil
	}
	return time.ParseDuration(text)
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// shortDuration writes 1h0m0s as 1h, as Vault's warnings do.
func shortDuration(d time.Duration) string {
	t := d.String()
	if strings.HasSuffix(t, "m0s") {
		t = strings.TrimSuffix(t, "0s")
	}
	if strings.HasSuffix(t, "h0m") {
		t = strings.TrimSuffix(t, "0m")
	}
	return t
}

// ttlBounds is what limits a TTL, for clampTTL. Zero fields do not limit.
type ttlBounds struct {
	absent      time.Duration // where no TTL is wanted
	period      time.Duration
	max         time.Duration // counted from issued
	explicitMax time.Duration // counted from issued
	issued      time.Time
}

// clampTTL is how Vault settles every TTL: the wanted one, or the default,
// cut with a warning to what the bounds leave.
func clampTTL(now time.Time, wanted time.Duration, b ttlBounds) (time.Duration, []string, error) {
	ceiling := b.max
	if ceiling <= 0 || ceiling > systemMaxTTL {
		ceiling = systemMaxTTL
	}
	if b.explicitMax > 0 && b.explicitMax < ceiling {
		ceiling = b.explicitMax
	}
	left := b.issued.Add(ceiling).Sub(now)
	if left <= 0 {
		return 0, nil, errors.New("past the max TTL, cannot renew")
	}
	ttl := wanted
	if ttl <= 0 {
		ttl = b.absent
	}
	if ttl <= 0 {
		ttl = systemDefaultTTL
	}
	if b.period > 0 {
		ttl = b.period
		if b.explicitMax <= 0 {
			return ttl, nil, nil
		}
	}
	if ttl <= left {
		return ttl, nil, nil
	}
	if wanted <= 0 && b.period <= 0 {
		return left, nil, nil // a default that is cut warns nobody
	}
	w := fmt.Sprintf("TTL of %q exceeded the effective max_ttl of %q; TTL value is capped accordingly",
		shortDuration(ttl), shortDuration(left.Round(time.Second)))
	return left, []string{w}, nil
}
