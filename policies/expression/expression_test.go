package expression_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/tigeraccess/tac/policies/expression"
)

// someone is a developer on call who asks for an hour of postgres-prod, at
// ten on a Tuesday in Berlin.
func someone() expression.Values {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	return expression.Values{
		Request:   expression.Request{Requester: "alice", Resource: "postgres-prod", Duration: time.Hour, Start: now.Add(30 * time.Minute), Reason: "Deploy hotfix", Ticket: "INC-7"},
		Requester: expression.Requester{Login: "alice", ID: 1001, Email: "alice@acme.test", Roles: []string{"developer", "on-call"}},
		Resource:  expression.Resource{Name: "postgres-prod", Environment: "production", Owners: []string{"payments"}, Engine: "database", MaxDuration: 8 * time.Hour},
		Now:       now,
	}
}

func TestExpressions(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // true, false, or the error
		uses string
	}{
		{"true", "true", ""},
		{"!true || 1 > 2", "false", ""},
		{`request.duration <= duration("1h")`, "true", "request.duration"},
		{`request.duration < duration("1h")`, "false", "request.duration"},
		{`request.duration * 2 > resource.max_duration`, "1:18: * is not possible between a duration and a whole number; durations are written duration(\"1h30m\")", ""},
		{`request.duration + request.duration > resource.max_duration`, "false", "request.duration resource.max_duration"},
		{`request.start - now == duration("30m")`, "true", "now request.start"},
		{`request.start + request.duration <= timestamp("2026-11-24T10:30:00Z")`, "true", "request.duration request.start"},
		{`request.reason.contains("hotfix") && request.reason.size() >= 10`, "true", "request.reason"},
		{`request.reason.lowerAscii().startsWith("deploy")`, "true", "request.reason"},
		{`request.ticket.matches("^(INC|CHG)-[0-9]+$")`, "true", "request.ticket"},
		{`request.ticket.matches(r"^OPS-\d+$")`, "false", "request.ticket"},
		{`has(request.ticket) && !has(requester.manager)`, "true", "request.ticket requester.manager"},
		{`request.break_glass`, "false", "request.break_glass"},
		{`request.requester == requester.login && request.resource == resource.name`, "true", "request.requester request.resource requester.login resource.name"},
		{`requester.id == 1001 && requester.email.endsWith("@acme.test")`, "true", "requester.email requester.id"},
		{`"on-call" in requester.roles`, "true", "requester.roles"},
		{`requester.roles.exists(r, r in ["dba", "on-call"])`, "true", "requester.roles"},
		{`requester.roles.all(r, r.size() < 8) || requester.roles.exists_one(r, r == "on-call")`, "true", "requester.roles"},
		{`requester.roles.filter(r, r in resource.owners).size() == 0`, "true", "requester.roles resource.owners"},
		{`requester.roles.map(r, r.upperAscii()) == ["DEVELOPER", "ON-CALL"]`, "true", "requester.roles"},
		{`resource.environment == "production" ? request.duration <= duration("1h") : true`, "true", "request.duration resource.environment"},
		{`resource.engine in ["database", "ssh"] && resource.name.startsWith("postgres-")`, "true", "resource.engine resource.name"},
		{`now.getHours("Europe/Berlin") == 10 && now.getHours() == 9 && now.getHours("+05:30") == 14`, "true", "now"},
		{`now.getDayOfWeek("Europe/Berlin") in [1, 2, 3, 4, 5]`, "true", "now"},
		{`now.getDate("Pacific/Auckland") == 24 && now.getMonth("UTC") == 10 && now.getFullYear("America/New_York") == 2026`, "true", "now"},
		{`request.start.getMinutes("Asia/Kolkata") == 0`, "true", "request.start"},
		{".request.reason != ''", "true", "request.reason"},
		{"true // always\n&& request.reason == r'''Deploy hotfix'''", "true", "request.reason"},
		{`requester.roles[1] == "on-call"`, "true", "requester.roles"},

		{`requester.roles[7] == "x"`, "the list has no element 7", "requester.roles"},
		{`requester.id / requester.manager.size() == 1`, "division by zero", "requester.id requester.manager"},
		{`int(request.reason) == 1`, "a text cannot be read as a whole number", "request.reason"},
		{`duration(request.reason) > duration("1h")`, "a text cannot be read as a duration", "request.reason"},
		{`request.reason.matches(request.reason + "(")`, "error parsing regexp: missing closing ): `Deploy hotfix(`", "request.reason"},
		{`requester.id + 9223372036854775807 > 0`, "integer overflow", "requester.id"},
		{`request.reason.replace("", request.reason).replace("", request.reason).replace("", request.reason).replace("", request.reason).replace("", request.reason) == ""`, "the expression takes more work than it may (50000 steps)", "request.reason"},
		{`(request.reason + request.reason + request.reason).split("").all(a, (request.reason + request.reason + request.reason).split("").all(b, (request.reason + request.reason).split("").all(c, a + b != c + "?")))`, "the expression takes more work than it may (50000 steps)", "request.reason"},
		{`request.break_glass && 1 / requester.manager.size() == 0`, "false", "request.break_glass requester.manager"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			p, err := expression.CompileIn(tt.text, time.LoadLocation)
			if err != nil {
				if err.Error() != tt.want {
					t.Errorf("compile: %v", err)
				}
				return
			}
			v := someone()
			for range 3 {
				got := judged(p, &v)
				if got != tt.want {
					t.Errorf("it is %s, not %s", got, tt.want)
				}
			}
			if uses := strings.Join(p.Uses(), " "); uses != tt.uses {
				t.Errorf("it uses %s", uses)
			}
			if !reflect.DeepEqual(v, someone()) {
				t.Error("the values changed")
			}
			if p.String() != tt.text {
				t.Errorf("it says %s", p)
			}
		})
	}
}

func judged(p *expression.Program, v *expression.Values) string {
	holds, err := p.Holds(v)
	if err != nil {
		if holds {
			return "true, with an error: " + err.Error()
		}
		return err.Error()
	}
	return fmt.Sprint(holds)
}

func TestMistakesNameTheirPlaceAndWhatWouldHaveWorked(t *testing.T) {
	const write = `; write one as request.duration <= duration("1h")`
	for text, want := range map[string]string{
		"":                                  "1:1: the expression is empty; leave the key out, or write one as request.duration <= duration(\"1h\")",
		" \n":                               "1:1: the expression is empty; leave the key out, or write one as request.duration <= duration(\"1h\")",
		strings.Repeat("true || ", 600):     "1:1: the expression has 4800 bytes; at most 4096 are read",
		"request.durtion > duration('1h')":  `1:9: request has no field "durtion"; did you mean duration?`,
		"true &&\n  request . durtion == 1": `2:13: request has no field "durtion"; did you mean duration?`,
		"'äöü' == '' || has(requester.foo)": `1:30: requester has no field "foo"; it has login, id, email, manager and roles`,
		"request.foo.bar":                   `1:9: request has no field "foo"; it has requester, resource, duration, start, reason, ticket and break_glass`,
		"requst.duration > duration('1h')":  `1:1: there is no variable "requst"; did you mean request?`,
		"ticket.state == 'open'":            `1:1: there is no variable "ticket"; known are now, request, requester and resource`,
		"request.reason.startWith('x')":     `1:16: there is no function "startWith"; did you mean startsWith?`,
		"frobnicate(now)":                   `1:1: there is no function "frobnicate"`,
		"requester.roles.exist(r, true)":    `1:17: there is no function "exist"; did you mean exists?`,

		"request.duration":                      `1:1: an expression must be true or false, and this one is a duration; compare it, as in request.duration <= duration("1h")`,
		"requester.roles":                       `1:1: an expression must be true or false, and this one is a list of texts; compare it, as in request.duration <= duration("1h")`,
		"request.duration <= '1h'":              `1:18: <= is not possible between a duration and a text; durations are written duration("1h30m")`,
		"request.duration <= 3600":              `1:18: <= is not possible between a duration and a whole number; durations are written duration("1h30m")`,
		"request.duration <= 1h":                `1:22: durations are written duration("1h")`,
		"now > '2026-11-22'":                    `1:5: > is not possible between a time and a text; times are written timestamp("2026-11-22T09:00:00Z")`,
		"duration('1 hour') > request.duration": `1:10: this is not a duration; write one as duration("1h30m")`,
		"timestamp('2026') > now":               `1:11: this is not a time; write one as timestamp("2026-11-22T09:00:00Z")`,
		"requester.id == '1'":                   `1:14: == is not possible between a whole number and a text; numbers are written without quotes`,
		"requester.roles == 'dba'":              `1:17: == is not possible between a list of texts and a text; to look for a text in a list write "dba" in requester.roles`,
		"requester.roles.contains('dba')":       `1:17: contains is not possible on a list of texts with (a text); to look for a text in a list write "dba" in requester.roles`,
		"'x' in request.reason":                 `1:5: in looks into a list, and this is a text; to look for a text in a text write request.reason.contains("deploy")`,
		"request.reason.exists(r, true)":        "1:8: a text is no list: exists, all, filter and map go over the elements of lists",
		"requester.roles.exists('r', true)":     `1:24: the first argument must be a new name that stands for each element, as in requester.roles.exists(r, r == "dba")`,
		"requester.roles.exists(now, true)":     `1:23: the name now is taken; call the elements something else, as in requester.roles.exists(r, r == "dba")`,
		"request.reason && true":                "1:8: expected true or false, found a text",
		"!request.reason":                       "1:1: ! is not possible on a text",
		"true ? 1 : 'a'":                        "1:6: a ? b : c needs true or false before the ?, and two values of one kind after it; found true or false, a whole number, a text",
		"request.reason[0] == 'x'":              "1:15: a text has no elements that a whole number could choose",
		"has(request)":                          "1:5: has() takes a field, as in has(request.ticket)",
		"request == request":                    "1:1: request is no value of its own; name one of its fields, as request.requester",
		"[requester].size() == 1":               "1:2: requester is no value of its own; name one of its fields, as requester.login",
		"request{reason: 'x'}.reason == ''":     "1:8: a new request cannot be made here",
		"dyn(request.reason) == 1":              "1:4: dyn() is not allowed: it would hide mistakes until somebody asks for access",
		"[1, 'a'].size() > 0":                   "1:5: expected a whole number, found a text",

		"request.duration = duration('1h')":     "1:18: to compare, write ==",
		"request.break_glass and true":          `1:21: "and" is written &&`,
		"request.break_glass or true":           `1:21: "or" is written ||`,
		"not request.break_glass":               `1:5: "not" is written !`,
		"true & false":                          `1:6: "and" is written &&`,
		"true | false":                          `1:6: "or" is written ||`,
		"(true":                                 "1:6: a ) is missing here",
		"true)":                                 `1:5: the expression is complete before ")"; conditions are joined by && or ||`,
		"true true":                             `1:6: the expression is complete before "true"; conditions are joined by && or ||`,
		"true &&":                               `1:8: something is missing at the end: a value, as request.duration or "text"`,
		"&& true":                               `1:1: expected a value here, as request.duration or "text", found "&&"`,
		"request.reason == 'abc":                `1:19: the text that begins here has no end, or an escape that does not exist; in a regular expression write \\ for one backslash, or r"..."`,
		`request.ticket.matches("\d")`:          `1:24: the text that begins here has no end, or an escape that does not exist; in a regular expression write \\ for one backslash, or r"..."`,
		"true # really":                         "1:6: comments are written // in an expression",
		"request.":                              "1:9: this cannot be read as an expression from here on" + write,
		"@":                                     `1:1: "@" has no meaning in an expression`,
		"if true":                               "1:1: this word is reserved by the language; write another",
		strings.Repeat("(", 99):                 "1:1: the expression is nested too deeply; at most 32 levels are read",
		strings.Repeat("true?", 99):             `1:10: expected ':' here, found "?"`,
		"1" + strings.Repeat("+1", 999) + "==1": "1:1: the expression is nested too deeply; at most 32 levels are read",
		"[1].all(a, [1].all(b, [1].all(c, [1].all(d, true))))": "1:41: exists, all, filter and map stand within each other more than 3 deep",

		"now.getHours('Mars/Olympus') > 3":       `1:14: the time zone "Mars/Olympus" is not known; write one as "Europe/Berlin" or "UTC"`,
		"now.getHours('Local') > 3":              `1:14: "Local" is another time zone on every machine; write one as "Europe/Berlin" or "UTC"`,
		"now.getHours('') > 3":                   `1:14: "" is another time zone on every machine; write one as "Europe/Berlin" or "UTC"`,
		"now.getHours('+99:00') > 3":             `1:14: the time zone "+99:00" is not known; write one as "Europe/Berlin", "UTC" or "+02:00"`,
		"now.getHours(request.reason) > 3":       `1:21: the time zone must be written here as a text, as "Europe/Berlin"`,
		"request.reason.matches('(')":            "1:24: this is not a regular expression: missing closing ): \"(\"",
		"request.reason.matches('a{999}b{999}')": "1:24: this regular expression is too large; write fewer repetitions",
		"1 / 0 == 1":                             "1:1: the expression can never be evaluated: division by zero",
		"{'a': 1}['b'] == 1":                     "1:1: the expression can never be evaluated: no such key: b",
	} {
		_, err := expression.CompileIn(text, time.LoadLocation)
		var mistake *expression.Error
		if !errors.As(err, &mistake) || err.Error() != want {
			t.Errorf("%.60q:\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestConstantIsWhatNoValueCanChange(t *testing.T) {
	for text, want := range map[string]string{
		"true": "true", "1 > 2": "false", "true || request.break_glass": "true", "request.break_glass && false": "false",
		`"a" in ["a", request.reason]`: "varies", "request.break_glass || !request.break_glass": "varies", // it is a fact of logic, not of evaluation
		"request.break_glass": "varies", "now > now": "varies", "now.getHours('Europe/Berlin') < 0": "varies", "[1, 2].exists(x, x == 2)": "true",
	} {
		p, err := expression.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		got := "varies"
		if value, ok := p.Constant(); ok {
			got = fmt.Sprint(value)
		}
		if got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

// TestZonesAreReadWhenCompiling: whoever decides later, elsewhere, with other
// zone files, decides the same.
func TestZonesAreReadWhenCompiling(t *testing.T) {
	var asked []string
	p, err := expression.CompileIn(`now.getHours("Custom/Zone") == 12 && now.getMinutes("Custom/Zone") == 34`, func(name string) (*time.Location, error) {
		asked = append(asked, name)
		return time.FixedZone("x", 3*3600+34*60), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v := someone()
	if got := judged(p, &v); got != "true" || len(asked) != 1 {
		t.Errorf("%s; asked for %q", got, asked)
	}
}

func TestOneProgramServesManyGoroutines(t *testing.T) {
	p, err := expression.Compile(`requester.roles.exists(r, r == "on-call") && request.ticket.matches("^INC-") && request.duration <= duration("1h")`)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			v := someone()
			want := i%2 == 0
			if !want {
				v.Request.Duration++
			}
			for range 200 {
				if holds, err := p.Holds(&v); err != nil || holds != want {
					t.Errorf("%v, %v", holds, err)
					return
				}
				if _, err := expression.Compile("request.reason == 'x'"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
}

// FuzzCompile: whatever the text, compiling ends, in a program or in a mistake
// whose place exists; and whatever compiles is evaluated, always with the same
// result, within the cost that an expression may have.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{
		"true", `request.duration <= duration("1h") && "dba" in requester.roles`, `requester.roles.exists(r, r.matches("^a+$"))`, `now.getHours("Europe/Berlin") < 17`,
		`has(request.ticket) ? request.ticket.startsWith("INC-") : false`, `{"a": 1, "b": 2}.exists(k, k == requester.login)`, `"%s %d".format([request.reason, requester.id]) == ""`,
		`request.reason.replace("", request.reason).split("").map(x, x + x).join(",") == ""`, "request.durtion", "a.b.c(d)[e]{f: g}", "((((", "'''", "r\"\\", "b'\\xff'", "1u + 1.0e9 - -1", "request.start - now > duration('1h') || !request.break_glass",
		`resource.owners.map(o, o.size()).filter(n, n > 3) == [4]`, "timestamp(0) < now", `string(request.duration) == "3600s"`, "0x7fffffffffffffff + 1 == 0", "é", "\x00", "[[[1]]]", "size('a'.substring(1, 0)) == 1", "type(now) == timestamp",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := expression.Compile(text)
		if err != nil {
			var mistake *expression.Error
			if !errors.As(err, &mistake) {
				t.Fatalf("not a mistake in the expression: %v", err)
			}
			lines := strings.Split(text, "\n")
			if mistake.Message == "" || mistake.Line < 1 || mistake.Line > len(lines) || mistake.Column < 1 || mistake.Column > len([]rune(lines[mistake.Line-1]))+1 {
				t.Fatalf("a mistake at %s", err)
			}
			if strings.Contains(err.Error(), "internal error") || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Fatalf("said so: %q", err)
			}
			return
		}
		value, constant := p.Constant()
		for _, v := range []expression.Values{someone(), {}} {
			began := time.Now()
			first := judged(p, &v)
			if took := time.Since(began); took > time.Second {
				t.Fatalf("evaluating took %s", took)
			}
			if again := judged(p, &v); again != first {
				t.Fatalf("first %s, then %s", first, again)
			}
			if strings.Contains(first, "internal error") || strings.Contains(first, "no truth value") || strings.Contains(first, "no such overload") || strings.Contains(first, "no such attribute") {
				t.Fatalf("what compiles must be sound: %s", first)
			}
			if constant && first != fmt.Sprint(value) {
				t.Fatalf("always %v, but now %s", value, first)
			}
		}
		if len(p.Uses()) == 0 && !constant {
			t.Fatal("it reads nothing and yet varies")
		}
	})
}

func BenchmarkHolds(b *testing.B) {
	for name, text := range map[string]string{
		"one comparison":     `request.duration <= duration("1h")`,
		"three conditions":   `request.duration <= duration("1h") && "on-call" in requester.roles && request.ticket.startsWith("INC-")`,
		"loop":               `requester.roles.exists(r, r.startsWith("on-"))`,
		"regular expression": `request.ticket.matches("^INC-[0-9]+$")`,
		"time of day":        `now.getHours("Europe/Berlin") < 17`,
	} {
		b.Run(name, func(b *testing.B) {
			p, err := expression.CompileIn(text, time.LoadLocation)
			if err != nil {
				b.Fatal(err)
			}
			v := someone()
			b.ReportAllocs()
			for b.Loop() {
				if holds, err := p.Holds(&v); err != nil || !holds {
					b.Fatal(holds, err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := expression.Compile(`request.duration <= duration("1h") && "on-call" in requester.roles && request.ticket.startsWith("INC-")`); err != nil {
			b.Fatal(err)
		}
	}
}
