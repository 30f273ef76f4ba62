// Package strictyaml reads the small, unsurprising part of YAML that people
// write policies and grants in, and refuses the rest with the place and a
// sentence. Two readers of one file must never see two meanings, so whatever
// parsers are known to disagree about (anchors, aliases, tags, merge keys,
// duplicate keys, several documents, byte-order marks) is an error, not a
// feature.
//
// Parse turns bytes into nodes; Node.Decode fills a struct and reports every
// mistake in it at once.
package strictyaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Error is one mistake and its place. Lines and columns count from 1, columns
// in characters.
type Error struct {
	File    string
	Line    int
	Column  int
	Message string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors is every mistake found in one reading, in the order of the file.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Err returns es as an error, nil where there is none.
func (es Errors) Err() error {
	if len(es) == 0 {
		return nil
	}
	return es
}

// Limits bounds what a document may be, so that reading one costs little
// whatever it holds. A zero limit is no limit.
type Limits struct {
	Bytes     int
	Documents int
	Depth     int // nesting of lists and mappings
	Nodes     int // keys and values, per file
}

// Pos is a place in a file.
type Pos struct {
	File   string
	Line   int
	Column int
}

// Errorf returns a mistake at p.
func (p Pos) Errorf(format string, args ...any) *Error {
	return &Error{File: p.File, Line: p.Line, Column: p.Column, Message: fmt.Sprintf(format, args...)}
}

// Node is one checked value of a document.
type Node struct {
	file string
	yaml *yaml.Node
}

// Pos returns where the node starts.
func (n Node) Pos() Pos { return Pos{File: n.file, Line: n.yaml.Line, Column: n.yaml.Column} }

// Parse reads all documents of src. Where there is any mistake it returns no
// node at all. An empty file has no documents and is no mistake here.
func Parse(file string, src []byte, limits Limits) ([]Node, Errors) {
	if err := checkBytes(file, src, limits); err != nil {
		return nil, Errors{err}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	c := checker{file: file, limits: limits}
	if bytes.IndexByte(src, '!') >= 0 {
		c.text = &attacher{src: src, starts: lineStarts(src)}
	}
	var nodes []Node
	for {
		var doc yaml.Node
		err := decode(decoder, &doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, Errors{syntaxError(file, src, err)}
		}
		if len(doc.Content) == 0 || isNull(doc.Content[0]) {
			continue // a lone `---` or a document of comments only
		}
		if limits.Documents > 0 && len(nodes) == limits.Documents {
			c.fault(doc.Content[0], "this file may hold %s, and another one starts here", count(limits.Documents, "document"))
			return nil, c.errs
		}
		c.check(doc.Content[0], 1)
		if len(c.errs) > 0 {
			return nil, c.errs
		}
		nodes = append(nodes, Node{file: file, yaml: doc.Content[0]})
	}
	return nodes, nil
}

// decode shields us from panics in the YAML library, which has had several
// (CVE-2022-28948 is one): hostile input must never stop the bot.
func decode(d *yaml.Decoder, into *yaml.Node) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: not readable: %v", p)
		}
	}()
	return d.Decode(into)
}

func checkBytes(file string, src []byte, limits Limits) *Error {
	if limits.Bytes > 0 && len(src) > limits.Bytes {
		return Pos{file, 1, 1}.Errorf("the file has %d bytes; at most %d are read", len(src), limits.Bytes)
	}
	if bytes.HasPrefix(src, []byte("\xef\xbb\xbf")) {
		return Pos{file, 1, 1}.Errorf("the file starts with a byte-order mark; save it as plain UTF-8")
	}
	line, column := 1, 1
	for rest := src; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			return Pos{file, line, column}.Errorf("this is not UTF-8 text")
		case r == '\n':
			line, column = line+1, 0
		case r == 0x2028 || r == 0x2029 || unicode.Is(unicode.Bidi_Control, r):
			// YAML ends a line, and so a comment, at the separators, and
			// most screens do not; the others turn the text around. Either
			// way people review something else than what is read.
			return Pos{file, line, column}.Errorf("the invisible character %U is not allowed here", r)
		case r == '\t' || r >= 0x20 && r != 0x7f && (r < 0x80 || r > 0x9f) && r != 0xfeff:
		case r == '\r' && len(rest) > 1 && rest[1] == '\n':
		default:
			return Pos{file, line, column}.Errorf("the control character %U is not allowed here", r)
		}
		rest, column = rest[size:], column+1
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func syntaxError(file string, src []byte, err error) *Error {
	line, message := 1, err.Error()
	if m := yamlLine.FindStringSubmatch(strings.SplitN(message, "\n", 2)[0]); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			line = n
		}
		message = m[2]
	}
	lines := bytes.Split(src, []byte("\n"))
	line = firstWrong(src, lines, min(line, len(lines)))
	text := lines[line-1]
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	if tab := bytes.IndexByte(indent, '\t'); tab >= 0 {
		return Pos{file, line, tab + 1}.Errorf("a tab stands in the indentation, where YAML takes spaces only")
	}
	if plainer, ok := plainWords[message]; ok {
		message = plainer
	}
	return Pos{file, line, len(indent) + 1}.Errorf("this is not YAML: %s", message)
}

// plainWords says what the library means where it speaks of its own insides.
var plainWords = map[string]string{
	"found character that cannot start any token": "no value begins like this; a text that begins with @ or ` stands in quotes",
	"did not find expected key":                   "the indentation does not fit the lines above",
	"did not find expected '-' indicator":         "the indentation does not fit the list above",
	"mapping values are not allowed in this context": "a second colon: a text that holds \": \" stands in quotes, " +
		"and one of several lines begins with |",
}

// Bounds of the search for the first wrong line; hostile files are not worth
// more.
const (
	searchedBytes = 64 << 10
	searchedLines = 60
)

// firstWrong returns the line after the most lines that can be read. The
// library tells where the block began that holds the mistake, which may be far
// above.
func firstWrong(src []byte, lines [][]byte, told int) int {
	if len(src) > searchedBytes {
		return told
	}
	for n := min(told+searchedLines, len(lines)); n >= told; n-- {
		d := yaml.NewDecoder(bytes.NewReader(bytes.Join(lines[:n], []byte("\n"))))
		for {
			var v yaml.Node
			err := decode(d, &v)
			if errors.Is(err, io.EOF) {
				return min(n+1, len(lines))
			}
			if err != nil {
				break
			}
		}
	}
	return told
}

type checker struct {
	file   string
	limits Limits
	text   *attacher // nil where the file has no ! at all
	nodes  int
	full   bool // too large or too wrong to go on
	errs   Errors
}

func (c *checker) fault(n *yaml.Node, format string, args ...any) {
	c.errs = append(c.errs, Pos{c.file, n.Line, n.Column}.Errorf(format, args...))
	c.full = c.full || len(c.errs) >= mostErrors
}

// mostErrors is how many mistakes of form are reported at once: enough to
// tell anybody, and a bound on the work that a hostile file can cause.
const mostErrors = 20

func (c *checker) check(n *yaml.Node, depth int) {
	c.nodes++
	switch {
	case c.full:
		return
	case c.limits.Nodes > 0 && c.nodes > c.limits.Nodes:
		c.full = true
		c.fault(n, "the file holds more than %d values", c.limits.Nodes)
		return
	case c.limits.Depth > 0 && depth > c.limits.Depth:
		c.fault(n, "values are nested more than %d deep", c.limits.Depth)
		return
	case n.Kind == yaml.AliasNode:
		c.fault(n, "aliases (*%s) are not allowed; write the value out", n.Value)
		return
	case n.Anchor != "":
		c.fault(n, "anchors (&%s) are not allowed; write the value out where it is needed", n.Anchor)
		return
	case n.Style&yaml.TaggedStyle != 0:
		c.fault(n, "tags (%s) are not allowed", n.Tag)
		return
	case c.text != nil && c.text.startsWith('!', n):
		// The library ignores this one, and to other readers `! 12` is a text.
		c.fault(n, "tags (!) are not allowed")
		return
	}
	if n.Kind == yaml.MappingNode {
		c.checkKeys(n)
	}
	for _, child := range n.Content {
		c.check(child, depth+1)
	}
}

func (c *checker) checkKeys(n *yaml.Node) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch before := first[key.Value]; {
		case key.Kind == yaml.AliasNode:
			// check reports it
		case key.Kind != yaml.ScalarNode:
			c.fault(key, "a key must be a plain word")
		case key.Value == "<<":
			c.fault(key, "merge keys (<<) are not allowed; write the values out")
		case before != nil:
			c.fault(key, "the key %s stands here a second time (first on line %d); keep one", Quote(key.Value), before.Line)
		default:
			first[key.Value] = key
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func count(n int, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// Quote returns s for use inside a message: short, on one line, with nothing
// that a terminal could act on.
func Quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "..."
	}
	return strconv.QuoteToGraphic(s)
}
