package vault

import (
	"fmt"
	"strconv"
	"strings"
)

// lexer splits the text of a policy: quoted texts, words and numbers, and the
// marks {}[]=, with comments of all three kinds left out.
type lexer struct {
	rest string
	line int
}

const (
	tokWord = 'w' // also numbers
	tokText = '"'
)

type lexeme struct {
	kind rune // 0 at the end, a mark itself, tokWord or tokText
	text string
}

func (l *lexer) skip(n int) {
	l.line += strings.Count(l.rest[:n], "\n")
	l.rest = l.rest[n:]
}

func (l *lexer) next() (lexeme, error) {
	for l.rest != "" {
		switch {
		case strings.ContainsRune(" \t\r\n", rune(l.rest[0])):
			l.skip(1)
		case l.rest[0] == '#' || strings.HasPrefix(l.rest, "//"):
			end := strings.IndexByte(l.rest, '\n')
			if end < 0 {
				end = len(l.rest)
			}
			l.skip(end)
		case strings.HasPrefix(l.rest, "/*"):
			end := strings.Index(l.rest, "*/")
			if end < 0 {
				return lexeme{}, fmt.Errorf("line %d: comment without end", l.line)
			}
			l.skip(end + 2)
		default:
			return l.lexeme()
		}
	}
	return lexeme{}, nil
}

func (l *lexer) lexeme() (lexeme, error) {
	c := l.rest[0]
	if strings.IndexByte("{}[]=,", c) >= 0 {
		l.skip(1)
		return lexeme{rune(c), string(c)}, nil
	}
	if c == '"' {
		quoted, err := strconv.QuotedPrefix(l.rest)
		if err != nil {
			return lexeme{}, fmt.Errorf("line %d: text without end", l.line)
		}
		l.skip(len(quoted))
		text, err := strconv.Unquote(quoted)
		return lexeme{tokText, text}, err
	}
	end := strings.IndexFunc(l.rest, func(r rune) bool {
		return r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if end < 0 {
		end = len(l.rest)
	}
	if end == 0 {
		return lexeme{}, fmt.Errorf("line %d: unexpected %q", l.line, c)
	}
	word := l.rest[:end]
	l.skip(end)
	return lexeme{tokWord, word}, nil
}

func (l *lexer) want(kind rune, what string) (string, error) {
	tok, err := l.next()
	if err != nil {
		return "", err
	}
	if tok.kind != kind {
		return "", fmt.Errorf("line %d: unexpected %q, want %s", l.line, tok.text, what)
	}
	return tok.text, nil
}

// list reads [ "a", "b", ].
func (l *lexer) list() ([]string, error) {
	if _, err := l.want('[', "["); err != nil {
		return nil, err
	}
	var out []string
	for {
		tok, err := l.next()
		if err != nil {
			return nil, err
		}
		switch tok.kind {
		case ']':
			return out, nil
		case tokText:
			out = append(out, tok.text)
		default:
			return nil, fmt.Errorf("line %d: unexpected %q in a list", l.line, tok.text)
		}
		if tok, err = l.next(); err != nil {
			return nil, err
		}
		if tok.kind == ']' {
			return out, nil
		}
		if tok.kind != ',' {
			return nil, fmt.Errorf("line %d: unexpected %q, want , or ]", l.line, tok.text)
		}
	}
}
