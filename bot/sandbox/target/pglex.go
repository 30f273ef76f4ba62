package target

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/jeroenrinzema/psql-wire/codes"
	pgerror "github.com/jeroenrinzema/psql-wire/errors"
)

type tokenKind int

const (
	word   tokenKind = iota + 1 // a keyword or a plain name, in lower case
	quoted                      // "a name"
	text                        // 'a string'
	body                        // $$a string$$
	number
	param // $1
	symbol
)

// token is a piece of a statement; value is what it means, without quotes.
type token struct {
	kind     tokenKind
	value    string
	from, to int // where it stands in the source
}

// lex cuts SQL into tokens by PostgreSQL's rules, standard_conforming_strings
// on. A string that is not closed is a syntax error: that is what a statement
// becomes that somebody cut at a semicolon inside it.
func lex(sql string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(sql); {
		rest := sql[i:]
		switch {
		case unicode.IsSpace(rune(sql[i])):
			i++
		case strings.HasPrefix(rest, "--"):
			i += lineLength(rest)
		case strings.HasPrefix(rest, "/*"):
			n := strings.Index(rest, "*/")
			if n < 0 {
				return nil, syntaxError("unterminated /* comment", rest)
			}
			i += n + len("*/")
		default:
			t, err := lexOne(rest)
			if err != nil {
				return nil, err
			}
			t.from, t.to = i, i+t.to
			tokens = append(tokens, t)
			i = t.to
		}
	}
	return tokens, nil
}

func lineLength(s string) int {
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return n
	}
	return len(s)
}

// lexOne reads the token that s begins with; its to is its length.
func lexOne(s string) (token, error) {
	switch c := s[0]; {
	case c == '\'':
		return lexQuoted(s, text, "unterminated quoted string")
	case c == '"':
		return lexQuoted(s, quoted, "unterminated quoted identifier")
	case c == '$':
		return lexDollar(s)
	case isDigit(c):
		n := span(s, isDigit)
		return token{kind: number, value: s[:n], to: n}, nil
	case isNameStart(c):
		n := span(s, func(c byte) bool { return isNameStart(c) || isDigit(c) || c == '$' })
		if n < len(s) && s[n] == '\'' || strings.HasPrefix(s[n:], "&") {
			// E'', U&'', B'' and their like have rules of their own.
			return token{}, unsupported(s)
		}
		return token{kind: word, value: strings.ToLower(s[:n]), to: n}, nil
	default:
		return token{kind: symbol, value: s[:1], to: 1}, nil
	}
}

func span(s string, of func(byte) bool) int {
	n := 0
	for n < len(s) && of(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// isNameStart takes every byte beyond ASCII for a letter, as PostgreSQL does.
func isNameStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// lexQuoted reads up to the closing quote; a doubled one stands for itself.
func lexQuoted(s string, kind tokenKind, open string) (token, error) {
	quote := s[0]
	var value strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] != quote:
			value.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == quote:
			value.WriteByte(quote)
			i++
		case kind == quoted && value.Len() == 0:
			return token{}, syntaxError("zero-length delimited identifier", s)
		default:
			return token{kind: kind, value: value.String(), to: i + 1}, nil
		}
	}
	return token{}, syntaxError(open, s)
}

// lexDollar reads $1, $$...$$ and $tag$...$tag$.
func lexDollar(s string) (token, error) {
	if n := span(s[1:], isDigit); n > 0 {
		return token{kind: param, value: s[1 : 1+n], to: 1 + n}, nil
	}
	n := 1 + span(s[1:], func(c byte) bool { return isNameStart(c) || isDigit(c) })
	if n == len(s) || s[n] != '$' {
		return token{kind: symbol, value: "$", to: 1}, nil
	}
	tag := s[:n+1]
	inside, _, closed := strings.Cut(s[len(tag):], tag)
	if !closed {
		return token{}, syntaxError("unterminated dollar-quoted string", s)
	}
	return token{kind: body, value: inside, to: len(inside) + 2*len(tag)}, nil
}

func syntaxError(what, near string) error {
	return sqlError(codes.Syntax, "%s at or near \"%s\"", what, cut(near))
}

func sqlError(code codes.Code, format string, args ...any) error {
	return pgerror.WithSeverity(pgerror.WithCode(fmt.Errorf(format, args...), code), pgerror.LevelError)
}

// cut keeps errors short.
func cut(statement string) string {
	const most = 80
	if len(statement) > most {
		return strings.ToValidUTF8(statement[:most], "") + "..."
	}
	return statement
}

// statement is the tokens of one statement and where they come from.
type statement struct {
	source string
	tokens []token
	next   int
}

// split cuts SQL at its semicolons, which are those outside of strings. Empty
// statements are left out.
func split(sql string) ([]*statement, error) {
	tokens, err := lex(sql)
	if err != nil {
		return nil, err
	}
	var all []*statement
	one := &statement{source: sql}
	for _, t := range append(tokens, token{kind: symbol, value: ";"}) {
		if t.kind != symbol || t.value != ";" {
			one.tokens = append(one.tokens, t)
			continue
		}
		if len(one.tokens) > 0 {
			all = append(all, one)
		}
		one = &statement{source: sql}
	}
	return all, nil
}

// String is the statement as it was written.
func (s *statement) String() string {
	if len(s.tokens) == 0 {
		return ""
	}
	return s.source[s.tokens[0].from:s.tokens[len(s.tokens)-1].to]
}

// plain is the statement in lower case with single spaces and no comments.
func (s *statement) plain() string {
	var b strings.Builder
	for i, t := range s.tokens {
		if i > 0 && t.from > s.tokens[i-1].to {
			b.WriteByte(' ')
		}
		b.WriteString(s.source[t.from:t.to])
	}
	return strings.ToLower(strings.Join(strings.Fields(b.String()), " "))
}

func (s *statement) done() bool { return s.next >= len(s.tokens) }

// take reads words and symbols, all of them or none.
func (s *statement) take(wanted ...string) bool {
	if s.next+len(wanted) > len(s.tokens) {
		return false
	}
	for i, w := range wanted {
		t := s.tokens[s.next+i]
		if t.kind != word && t.kind != symbol || t.value != w {
			return false
		}
	}
	s.next += len(wanted)
	return true
}

// takeOne reads one of some words.
func (s *statement) takeOne(of ...string) bool {
	for _, w := range of {
		if s.take(w) {
			return true
		}
	}
	return false
}

// name reads a name, quoted or plain.
func (s *statement) name() (string, bool) {
	if s.done() || s.tokens[s.next].kind != word && s.tokens[s.next].kind != quoted {
		return "", false
	}
	s.next++
	return s.tokens[s.next-1].value, true
}

// text reads a string.
func (s *statement) text() (string, bool) {
	if s.done() || s.tokens[s.next].kind != text {
		return "", false
	}
	s.next++
	return s.tokens[s.next-1].value, true
}
