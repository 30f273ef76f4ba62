package slackchat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Command is what somebody asked for with /tac. Fields that the command does
// not have are zero; those that are set hold what package grants accepts.
type Command struct {
	Name       string // request, list, show, drop, revoke, extend, link or help
	Resource   string
	Duration   time.Duration
	Reason     string // of a request, may be empty: whether it must not is for policy to say
	Ticket     string
	Start      time.Time // zero: at once
	BreakGlass bool
	ID         grants.ID
}

// Help says what can be typed.
const Help = `/tac request RESOURCE DURATION "REASON" [TICKET] [--start TIME] [--break-glass]: ask for access
/tac list: what you hold, and what waits for you
/tac show ID: one grant and why it was decided so
/tac extend ID DURATION: ask for your access to last longer by that much
/tac drop ID: give access back before its end
/tac revoke ID REASON: end somebody's access
/tac link: prove that this Slack account is yours
/tac help: this list
--break-glass is for emergencies: it sounds the alarm, and somebody looks at it afterwards.
Example: /tac request postgres-prod 2h "Deploy hotfix" INC-789`

// mostText bounds, in bytes, what is looked at.
const mostText = 8000

const (
	exampleID      = "20261122-k3v9q2m4tz"
	exampleRequest = `/tac request postgres-prod 2h "Deploy hotfix" INC-789`
	exampleRevoke  = "/tac revoke " + exampleID + " left the on-call rotation"
)

var commands = map[string]func(*scanner) (Command, error){
	"request": (*scanner).request,
	"show":    (*scanner).show,
	"drop":    (*scanner).drop,
	"revoke":  (*scanner).revoke,
	"extend":  (*scanner).extend,
	"list":    func(s *scanner) (Command, error) { return Command{}, s.end("/tac list") },
	"link":    func(s *scanner) (Command, error) { return Command{}, s.end("/tac link") },
	"help":    func(*scanner) (Command, error) { return Command{}, nil },
}

var commandNames = []string{"request", "list", "show", "drop", "revoke", "extend", "link", "help"}

// ParseCommand reads what was typed after /tac; nothing means help. It takes
// what phones make of it: typographic quotes, dashes for --, blanks of any
// kind, a capital at the start. Errors are for the person who typed: they say
// what would have worked, with an example.
func ParseCommand(text string) (Command, error) {
	if len(text) > mostText {
		return Command{}, wrong(exampleRequest, "the command is too long")
	}
	s := &scanner{rest: plainBlanks(text)}
	word := s.word()
	name := lower(word)
	if name == "" {
		name = "help"
	}
	if how, ok := elsewhere[name]; ok {
		return Command{}, errors.New(how)
	}
	parse, ok := commands[name]
	if !ok {
		if nearest, ok := strictyaml.Nearest(name, commandNames); ok {
			return Command{}, wrong("/tac "+usageOf(nearest), "there is no command %.40q; did you mean %s?", word, nearest)
		}
		return Command{}, wrong(exampleRequest, "there is no command %.40q; there are %s", word, strings.Join(commandNames, ", "))
	}
	c, err := parse(s)
	if err != nil {
		return Command{}, err
	}
	c.Name = name
	return c, nil
}

// elsewhere is what people look for here and is said in other places: an
// answer is about what somebody was shown, and nothing is shown here.
var elsewhere = map[string]string{
	"approve": "There is no /tac approve: approve by the button of the message, with tac access approve ID, or on the pull request.",
	"deny":    `There is no /tac deny: deny by the button of the message, with tac access deny ID --reason "...", or on the pull request.`,
}

func usageOf(name string) string {
	switch name {
	case "request":
		return strings.TrimPrefix(exampleRequest, "/tac ")
	case "revoke":
		return strings.TrimPrefix(exampleRevoke, "/tac ")
	case "extend":
		return "extend " + exampleID + " 1h"
	case "show", "drop":
		return name + " " + exampleID
	}
	return name
}

// breakGlass is the flag that takes no value.
const breakGlass = "break-glass"

// wrong is an error for the person who typed.
func wrong(example, format string, args ...any) error {
	sentence := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(sentence, "?") {
		sentence += "."
	}
	return errors.New(sentence + " Example: " + example)
}

// request collects the words in any order of flags, then judges them.
func (s *scanner) request() (Command, error) {
	raw := map[string]string{}
	var unquoted []string
	positional := []string{"resource", "duration", "reason", "ticket"}
	for s.more() {
		flag, value, found, err := s.flag("resource", "duration", "reason", "ticket", "start", breakGlass)
		if err != nil {
			return Command{}, err
		}
		if found {
			if has(raw, flag) || flag == "reason" && len(unquoted) > 0 {
				return Command{}, wrong(exampleRequest, "the %s is there twice; say it once", flag)
			}
			raw[flag] = value
			continue
		}
		for len(positional) > 0 && has(raw, positional[0]) {
			positional = positional[1:]
		}
		if len(positional) == 0 {
			return Command{}, wrong(exampleRequest, "it is not clear what %.40q is; put the whole reason in quotes, and after it one ticket at most", s.word())
		}
		next := positional[0]
		if next != "reason" {
			raw[next] = s.word()
			continue
		}
		if len(unquoted) == 0 {
			reason, quoted, err := s.quoted()
			if err != nil {
				return Command{}, err
			}
			if quoted {
				raw["reason"] = reason
				continue
			}
		}
		unquoted = append(unquoted, s.word())
	}
	if len(unquoted) > 0 {
		raw["reason"] = strings.Join(unquoted, " ")
	}
	return convert(raw)
}

func has(raw map[string]string, key string) bool {
	_, ok := raw[key]
	return ok
}

func convert(raw map[string]string) (c Command, err error) {
	c.Resource, c.Reason, c.Ticket = lower(raw["resource"]), strings.TrimSpace(raw["reason"]), raw["ticket"]
	if c.Resource == "" {
		return c, wrong(exampleRequest, "say what you need, for how long and why")
	}
	if err := grants.CheckName(c.Resource); err != nil {
		return c, wrong(exampleRequest, "the resource: %v", err)
	}
	example := fmt.Sprintf(`/tac request %s 2h "Deploy hotfix" INC-789`, c.Resource)
	if raw["duration"] == "" {
		return c, wrong(example, "say for how long you need %s", c.Resource)
	}
	c.Duration, err = duration(raw["duration"])
	if err != nil {
		if d, swapped := grants.ParseDuration(c.Resource); swapped == nil && grants.CheckName(lower(raw["duration"])) == nil {
			example = fmt.Sprintf(`/tac request %s %s "Deploy hotfix" INC-789`, lower(raw["duration"]), grants.FormatDuration(d))
			return c, wrong(example, "the resource comes first, then the duration")
		}
		return c, wrong(example, "%v", err)
	}
	if err := grants.CheckReason(c.Reason); err != nil {
		return c, wrong(example, "%v", err)
	}
	if has(raw, "ticket") {
		if err := grants.CheckTicket(c.Ticket); err != nil {
			return c, wrong(example, "%v; if it belongs to the reason, put the whole reason in quotes", err)
		}
	}
	c.BreakGlass = has(raw, breakGlass)
	if has(raw, "start") {
		c.Start, err = startTime(raw["start"])
	}
	return c, err
}

func duration(word string) (time.Duration, error) {
	d, err := grants.ParseDuration(lower(word))
	if err != nil {
		return 0, err
	}
	return d, grants.CheckDuration(d)
}

// startTime reads a point in time. It asks for the zone, since the server
// does not know the clock on the wall of the person who types.
func startTime(word string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04Z07:00"} {
		t, err := time.Parse(form, strings.ToUpper(word))
		if err == nil && t.Year() >= 2000 && t.Nanosecond() == 0 {
			return t.UTC(), nil
		}
	}
	return time.Time{}, wrong(exampleRequest+" --start 2026-11-22T18:00Z",
		"%.40q is not a time with its zone; write 2026-11-22T18:00Z, or 2026-11-22T19:00+01:00", word)
}

func (s *scanner) show() (Command, error) { return s.onlyID("/tac show " + exampleID) }
func (s *scanner) drop() (Command, error) { return s.onlyID("/tac drop " + exampleID) }

func (s *scanner) onlyID(example string) (c Command, err error) {
	if c.ID, err = s.id(example); err != nil {
		return c, err
	}
	return c, s.end(example)
}

func (s *scanner) extend() (c Command, err error) {
	const example = "/tac extend " + exampleID + " 1h"
	if s.more() {
		first, _, _ := strings.Cut(s.rest, " ")
		if _, swapped := grants.ParseDuration(lower(first)); swapped == nil {
			return c, wrong(example, "the ID comes first, then the length")
		}
	}
	if c.ID, err = s.id(example); err != nil {
		return c, err
	}
	word := s.word()
	if word == "" {
		return c, wrong(example, "say by how much")
	}
	if strings.Contains(word, "duration") {
		return c, wrong(example, "the length follows the ID")
	}
	if c.Duration, err = duration(word); err != nil {
		return c, wrong(example, "%v", err)
	}
	return c, s.end(example)
}

func (s *scanner) revoke() (c Command, err error) {
	if c.ID, err = s.id(exampleRevoke); err != nil {
		return c, err
	}
	_, value, flagged, err := s.flag("reason")
	if err != nil {
		return c, err
	}
	if flagged {
		c.Reason = value
	} else if c.Reason, flagged, err = s.quoted(); err != nil {
		return c, err
	}
	if !flagged {
		c.Reason, s.rest = strings.Join(strings.Fields(s.rest), " "), ""
	}
	c.Reason = strings.TrimSpace(c.Reason)
	if c.Reason == "" {
		return c, wrong(exampleRevoke, "say why you end this access; its holder is told")
	}
	if err := grants.CheckReason(c.Reason); err != nil {
		return c, wrong(exampleRevoke, "%v", err)
	}
	return c, s.end(exampleRevoke)
}

// scanner reads a command from left to right.
type scanner struct{ rest string }

func (s *scanner) more() bool {
	s.rest = strings.TrimLeft(s.rest, " ")
	return s.rest != ""
}

func (s *scanner) word() string {
	s.more()
	word, rest, _ := strings.Cut(s.rest, " ")
	s.rest = rest
	return word
}

func (s *scanner) end(example string) error {
	if s.more() {
		return wrong(example, "nothing is expected at %.40q", s.word())
	}
	return nil
}

func (s *scanner) id(example string) (grants.ID, error) {
	word := strings.Trim(lower(s.word()), "`") // ids are pasted out of code
	if word == "" {
		return "", wrong(example, "say which grant; /tac list shows yours")
	}
	id, err := grants.ParseID(word)
	if err != nil {
		return "", wrong(example, "%v; /tac list shows yours", err)
	}
	return id, nil
}

// flag reads --name value or --name=value where one starts here. What starts
// with dashes and is none of the known ones is an error: it would otherwise
// silently become part of a reason.
func (s *scanner) flag(known ...string) (name, value string, found bool, err error) {
	s.more()
	word, _, _ := strings.Cut(s.rest, " ")
	bare := word
	for _, dash := range []string{"--", "—", "–"} { // phones turn -- into a dash
		if bare = strings.TrimPrefix(word, dash); bare != word {
			break
		}
	}
	typed, _, assigned := strings.Cut(bare, "=")
	if bare == word || typed == "" {
		return "", "", false, nil
	}
	name = lower(typed)
	if !slices.Contains(known, name) {
		hint := "; if it belongs to the reason, put the whole reason in quotes"
		if nearest, ok := strictyaml.Nearest(name, known); ok {
			hint = "; did you mean --" + nearest + "?"
		}
		return "", "", false, wrong(exampleRequest, "there is no %.40q here%s", "--"+typed, hint)
	}
	s.rest = s.rest[len(word)-len(bare)+len(typed):]
	if name == breakGlass {
		if assigned {
			err = wrong(exampleRequest+" --break-glass", "--break-glass takes no value; it is there or not")
		}
		return name, "", err == nil, err
	}
	if assigned {
		s.rest = s.rest[len("="):]
	}
	quoted := false
	if !assigned || !strings.HasPrefix(s.rest, " ") { // else --name= and no value
		value, quoted, err = s.quoted()
		if err == nil && !quoted {
			value = s.word()
		}
	}
	if err == nil && value == "" && !quoted {
		err = wrong(exampleRequest, "--%s wants a value after it", name)
	}
	return name, value, err == nil, err
}

// What opens and closes a quotation, by phone and language.
const (
	curlyDoubles = "“”„‟«»"
	singles      = "'‘’‚‛"
)

// quoted reads a text in quotes where one starts here. In double quotes \"
// and \\ stand for the plain characters; a single quote closes only at the
// end of a word, for it is an apostrophe elsewhere.
func (s *scanner) quoted() (text string, found bool, err error) {
	s.more()
	open, size := utf8.DecodeRuneInString(s.rest)
	body := s.rest[size:]
	var attempts []closing
	switch {
	case open == '"':
		attempts = []closing{{`"`, false}, {curlyDoubles, true}}
	case strings.ContainsRune(curlyDoubles, open):
		attempts = []closing{{curlyDoubles, false}, {`"`, true}}
	case strings.ContainsRune(singles, open):
		attempts = []closing{{singles, true}}
	default:
		return "", false, nil
	}
	for _, c := range attempts {
		if text, rest, ok := c.cut(body); ok {
			s.rest = rest
			return text, true, nil
		}
	}
	if strings.ContainsRune(singles, open) {
		return "", false, nil // 'tis an apostrophe
	}
	return "", false, wrong(exampleRequest, "the quote before %.20q is never closed", body)
}

// closing is a set of characters that end a quotation.
type closing struct {
	any     string
	wordEnd bool // only before a blank or the end
}

func (c closing) cut(body string) (text, rest string, found bool) {
	var b strings.Builder
	escaped := false
	for i, r := range body {
		after := body[i+utf8.RuneLen(r):]
		switch {
		case escaped:
			escaped = false
			b.WriteRune(r)
		case r == '\\' && after != "" && strings.ContainsRune(`\"`+curlyDoubles, firstRune(after)):
			escaped = true
		case strings.ContainsRune(c.any, r) && (!c.wordEnd || after == "" || after[0] == ' '):
			return b.String(), after, true
		default:
			b.WriteRune(r)
		}
	}
	return "", "", false
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// plainBlanks turns every kind of blank, line breaks among them, into spaces.
func plainBlanks(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// lower lowers ASCII letters only: names are ASCII, and Unicode has letters
// elsewhere whose lower case is ASCII.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
