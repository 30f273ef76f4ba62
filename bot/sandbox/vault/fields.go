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
	// bare says that the refusal of a wrong value has no heading: on paths
	// that look whether something is there, that look meets the value first.
	bare bool
}

func (f *fields) has(name string) bool {
	v, ok := f.m[name]
	return ok && v != nil
}

func (f *fields) wrong(name, format string, args ...any) {
	if f.err != nil {
		return
	}
	text := fmt.Sprintf("error converting input for field %q: ", name) + fmt.Sprintf(format, args...)
	if !f.bare {
		text = "Field validation failed: " + text
	}
	f.err = badRequest("%s", text)
}

// unconvertible says of a value what the real one's decoder says.
func unconvertible(at, want string, v any) string {
	return fmt.Sprintf("'%s' expected type '%s', got unconvertible type '%s', value: '%v'", at, want, typeName(v), v)
}

func typeName(v any) string {
	switch v.(type) {
	case map[string]any:
		return "map[string]interface {}"
	case []any:
		return "[]interface {}"
	case bool:
		return "bool"
	}
	return "string" // json.Number is one
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
		f.wrong(name, "%s", unconvertible("", "string", v))
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
		b, err := strconv.ParseBool(v)
		if err != nil {
			f.wrong(name, "cannot parse '' as bool: %s", err)
		}
		return b
	default:
		f.wrong(name, "%s", unconvertible("", "bool", v))
		return absent
	}
}

func (f *fields) number(name string) int {
	t := f.text(name)
	if t == "" {
		return 0
	}
	n, err := strconv.ParseInt(t, 0, 64)
	if err != nil {
		f.wrong(name, "cannot parse '' as int: %s", err)
	}
	return int(n)
}

// duration reads seconds as a number or in text, or Go's notation.
func (f *fields) duration(name string) time.Duration {
	t := f.text(name)
	if t == "" {
		return 0
	}
	d, err := parseDuration(t)
	if err != nil {
		f.wrong(name, "%s", err)
		return 0
	}
	if d < 0 {
		f.wrong(name, "cannot provide negative value '%d'", seconds(d))
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
	f.wrong(name, "%s", unconvertible("", "string", f.m[name]))
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
	f.wrong(name, "%s", unconvertible("", "string", f.m[name]))
	return nil
}

func (f *fields) texts(name string, v []any) []string {
	out := make([]string, 0, len(v))
	for _, e := range v {
		s, ok := e.(string)
		if !ok {
			f.wrong(name, "%s", unconvertible("", "string", e))
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
		f.wrong(name, "%s", unconvertible("", "map[string]string", f.m[name]))
		return nil
	}
	out := make(map[string]string, len(obj))
	for k, v := range obj {
		switch v := v.(type) {
		case string:
			out[k] = v
		case json.Number:
			out[k] = v.String()
		default:
			f.wrong(name, "1 error(s) decoding:\n\n* %s", unconvertible("[0]", "string", obj))
			return nil
		}
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
		f.wrong(name, "'' expected a map, got '%s'", typeName(f.m[name]))
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
		if n > int64(systemMaxTTL/time.Second)*1000 || n < -int64(systemMaxTTL/time.Second)*1000 {
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
	return strings.Replace(t, "h0m", "h", 1)
}
