package vaultclaims

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Answer is what came back for a call, with everything that differs from one
// server to the next replaced by a word for it.
type Answer struct {
	Count  int // of racers that got it; 0 where there was one call
	Status int
	Text   string // the body where it is not JSON
	Body   any    // the body where it is; nil where there is none
}

func (a Answer) String() string {
	var b strings.Builder
	if a.Count > 0 {
		fmt.Fprintf(&b, "%dx ", a.Count)
	}
	b.WriteString(strconv.Itoa(a.Status))
	switch {
	case a.Text != "":
		b.WriteString(" " + strconv.Quote(a.Text))
	case a.Body != nil:
		b.WriteString(" " + encode(a.Body))
	}
	return b.String()
}

func encode(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprintf("%q", err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func decode(text string) (any, error) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("more follows the JSON of %.40q", text)
	}
	return v, nil
}

func parseAnswer(text string) (Answer, error) {
	var a Answer
	head, rest, _ := strings.Cut(text, " ")
	if n, ok := strings.CutSuffix(head, "x"); ok {
		var err error
		if a.Count, err = strconv.Atoi(n); err != nil {
			return a, err
		}
		head, rest, _ = strings.Cut(rest, " ")
	}
	var err error
	if a.Status, err = strconv.Atoi(head); err != nil || rest == "" {
		return a, err
	}
	if strings.HasPrefix(rest, `"`) {
		a.Text, err = strconv.Unquote(rest)
		return a, err
	}
	a.Body, err = decode(rest)
	return a, err
}

// readAnswer turns a response into an answer that is not yet normalised.
func readAnswer(resp *http.Response) (Answer, error) {
	a := Answer{Status: resp.StatusCode}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	text := strings.TrimSpace(string(raw))
	if to := resp.Header.Get("Location"); to != "" {
		a.Text = "to " + to
		return a, nil
	}
	if text == "" {
		return a, nil
	}
	if kind := resp.Header.Get("Content-Type"); kind != "application/json" {
		a.Text = kind + ": " + text
		return a, nil
	}
	if a.Body, err = decode(text); err != nil {
		return a, fmt.Errorf("the answer is not JSON: %w", err)
	}
	return a, nil
}

// at returns the text of a value inside the answer: names and indexes with
// dots between them.
func (a Answer) at(path string) (string, bool) {
	v := a.Body
	for name := range strings.SplitSeq(path, ".") {
		switch in := v.(type) {
		case map[string]any:
			v = in[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return "", false
			}
			v = in[i]
		default:
			return "", false
		}
	}
	switch v := v.(type) {
	case string:
		return v, v != ""
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// patterns replaces, in this order, what is random or depends on the moment.
var patterns = []struct {
	form *regexp.Regexp
	word string
}{
	{regexp.MustCompile(`^0001-01-01T00:00:00Z$`), "<zero time>"},
	{regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$`), "<time>"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} UTC`), "<time in words>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<uuid>"},
	{regexp.MustCompile(`(?s)-----BEGIN ([A-Z ]+)-----.*-----END [A-Z ]+-----`), "<PEM of a $1>"},
	{regexp.MustCompile(`hvs\.[0-9A-Za-z_-]{20,}`), "<token>"},
	{regexp.MustCompile(`\bs\.[0-9A-Za-z]{24}\b`), "<token>"},
	{regexp.MustCompile(`(creds/[a-z-]+)/[0-9A-Za-z]{24}`), "$1/<lease>"},
	{regexp.MustCompile(`^(v-[A-Za-z0-9-]{0,8}-[a-z-]{1,8})-[0-9A-Za-z]{20}-\d{10}$`), "$1-<user>"},
	{regexp.MustCompile(`^vault:v(\d+):[0-9A-Za-z+/=]{80,}$`), "vault:v$1:<signature>"},
	{regexp.MustCompile(`^(ssh-[a-z0-9-]+(@openssh.com)?) [0-9A-Za-z+/=]+\s*$`), "$1 <key>"},
	{regexp.MustCompile(`(ssh-[a-z0-9-]+(?:@openssh.com)?) [0-9A-Za-z+/=]{60,}`), "$1 <key>"},
	{regexp.MustCompile(`\b(auth_token|auth_approle|ns_token|cubbyhole|identity|system|kv|database|ssh|transit|approle|pki)_[0-9a-f]{8}\b`), "${1}_<id>"},
	{regexp.MustCompile(`^[0-9A-Za-z]{24}$`), "<accessor>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:<port>"},
	{regexp.MustCompile(`\b23h59m\d+s|\b24h\b`), "<about 24h>"},
}

// shortDuration writes whole minutes as Vault does.
func shortDuration(d time.Duration) string {
	return strings.Replace(strings.TrimSuffix(d.String(), "0s"), "h0m", "h", 1)
}

// unlike are the keys whose values say nothing about Vault's behaviour.
var unlike = map[string]string{
	"password": "<password>", "public_key": "<public key>", "signed_key": "<certificate>", "serial_number": "<serial>",
	"last_request_forwarding_heartbeat_ms": "<number>", "echo_duration_ms": "<number>", "clock_skew_ms": "<number>", "build_date": "<time>", "cluster_name": "<name>", "client_id": "<client>", "secret_id": "<secret id>",
}

// normalise replaces what was kept by its name, and what is random by a word
// for it.
func (a Answer) normalise(kept []kept) Answer {
	a.Text = normaliseText(a.Text, kept)
	a.Body = normaliseValue("", a.Body, kept)
	return a
}

func normaliseValue(key string, v any, kept []kept) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			out[normaliseText(k, kept)] = normaliseValue(k, inner, kept)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = normaliseValue(key, inner, kept)
		}
		return out
	case json.Number:
		if n, err := v.Int64(); err == nil && n > 1_500_000_000 && n < 4_000_000_000 {
			return "<unix time>"
		}
		if unlike[key] == "<number>" {
			return "<number>"
		}
		return v
	case string:
		if word, ok := unlike[key]; ok && v != "" {
			return word
		}
		return normaliseText(v, kept)
	}
	return v
}

func normaliseText(text string, kept []kept) string {
	for _, k := range kept {
		if len(k.value) >= 8 {
			text = strings.ReplaceAll(text, k.value, "{{"+k.name+"}}")
		}
	}
	for _, p := range patterns {
		text = p.form.ReplaceAllString(text, p.word)
	}
	return leftOver.ReplaceAllStringFunc(text, aboutLeft)
}

// leftOver is what is left of a limit, which depends on the second.
var leftOver = regexp.MustCompile(`max_ttl of "[0-9hms]+"`)

func aboutLeft(text string) string {
	d, err := time.ParseDuration(strings.Trim(strings.TrimPrefix(text, "max_ttl of "), `"`))
	if about := d.Round(time.Minute); err == nil && d != about && (about-d).Abs() <= 2*slack*time.Second {
		return fmt.Sprintf("max_ttl of %q", shortDuration(about))
	}
	return text
}

// slack is by how many seconds the ends of two plays may differ: one of them
// takes real time. It concerns only these keys.
const slack = 4

var inSeconds = []string{"ttl", "lease_duration"}

// compareAnswers tells where two lists of answers differ, leaving out the
// excepted places.
func compareAnswers(want, got []Answer, excepts []except) []string {
	if len(want) != len(got) {
		return []string{fmt.Sprintf("%d answers, want %d: %v", len(got), len(want), got)}
	}
	var out []string
	for i := range want {
		w, g := want[i], got[i]
		if w.Count != g.Count || w.Status != g.Status || w.Text != g.Text {
			out = append(out, fmt.Sprintf("got  %s\nwant %s", g, w))
			continue
		}
		out = append(out, compareValues("", w.Body, g.Body, excepts)...)
	}
	return out
}

func compareValues(at string, want, got any, excepts []except) []string {
	if slices.ContainsFunc(excepts, func(e except) bool { return e.at == at }) {
		return nil
	}
	key := at[strings.LastIndex(at, ".")+1:]
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			return compareMaps(at, w, g, excepts)
		}
	case []any:
		if g, ok := got.([]any); ok && len(g) == len(w) {
			var out []string
			for i := range w {
				out = append(out, compareValues(join(at, strconv.Itoa(i)), w[i], g[i], excepts)...)
			}
			return out
		}
	case json.Number:
		g, ok := got.(json.Number)
		if ok && (g == w || slices.Contains(inSeconds, key) && near(w, g)) {
			return nil
		}
	default:
		if want == got { // neither is a map or slice here, or the types differ
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: got %s, want %s", at, encode(got), encode(want))}
}

func compareMaps(at string, want, got map[string]any, excepts []except) []string {
	names := map[string]bool{}
	for k := range want {
		names[k] = true
	}
	for k := range got {
		names[k] = true
	}
	var out []string
	for k := range names {
		path := join(at, k)
		w, wanted := want[k]
		g, given := got[k]
		switch {
		case wanted && given:
			out = append(out, compareValues(path, w, g, excepts)...)
		case slices.ContainsFunc(excepts, func(e except) bool { return e.at == path }):
		case wanted:
			out = append(out, fmt.Sprintf("%s: missing, want %s", path, encode(w)))
		default:
			out = append(out, fmt.Sprintf("%s: got %s, want nothing there", path, encode(g)))
		}
	}
	slices.Sort(out)
	return out
}

func join(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func near(a, b json.Number) bool {
	x, errX := a.Int64()
	y, errY := b.Int64()
	return errX == nil && errY == nil && max(x-y, y-x) <= slack
}
