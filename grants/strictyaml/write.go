package strictyaml

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Bytes writes the document in canonical form, without comments. Reading it
// gives the same values.
func (n Node) Bytes() []byte { return writeDocument(stripped(n.yaml)) }

// stripped returns a copy without comments.
func stripped(y *yaml.Node) *yaml.Node {
	bare := *y
	bare.HeadComment, bare.LineComment, bare.FootComment, bare.Content = "", "", "", nil
	for _, child := range y.Content {
		bare.Content = append(bare.Content, stripped(child))
	}
	return &bare
}

// The writer is our own because the library's loses and moves comments, and
// because a canonical form must not change with a library.
//
// It finds comments as attach leaves them: HeadComment of a key, an item or a
// document is what stands above it, FootComment of a collection what follows
// its last entry; both are lines that each end in a line break, and may be
// empty. LineComment ends the line of a key or item.

// width is how many characters a line may have before a list or mapping that
// stands on it is broken into several.
const width = 100

// line is one line of output.
type line struct {
	text string
	kind int
}

const (
	content = iota
	comment // or an empty line between entries
	literal // a line of a text; its indentation and emptiness mean something
)

func writeDocument(root *yaml.Node) []byte {
	var lines []line
	switch {
	case root.Kind == yaml.ScalarNode || isFlow(root, 0):
		lines = append(comments(root.HeadComment), value("", root)...)
		lines = append(lines, comments(root.FootComment)...)
	default:
		// The comments at the top stay there, whichever key is written first.
		lines = append(comments(root.HeadComment), collection(root, 0)...)
	}
	return written(tidy(lines))
}

func written(lines []line) []byte {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func comments(text string) (lines []line) {
	for l := range strings.Lines(text) {
		lines = append(lines, line{strings.TrimSuffix(l, "\n"), comment})
	}
	return lines
}

// tidy drops empty lines at the beginning and end, and all but one between.
func tidy(lines []line) []line {
	empty := func(l line) bool { return l.kind == comment && l.text == "" }
	out := lines[:0]
	for _, l := range lines {
		if empty(l) && (len(out) == 0 || empty(out[len(out)-1])) {
			continue
		}
		out = append(out, l)
	}
	for len(out) > 0 && empty(out[len(out)-1]) {
		out = out[:len(out)-1]
	}
	return out
}

// collection writes a list or mapping over several lines, from column 0; it
// will stand at the given column.
func collection(n *yaml.Node, column int) (lines []line) {
	for i := 0; i < len(n.Content); i++ {
		if n.Kind == yaml.SequenceNode {
			lines = append(lines, item(n.Content[i], column)...)
			continue
		}
		lines = append(lines, entry(n.Content[i], n.Content[i+1], column)...)
		i++
	}
	return tidy(append(lines, comments(n.FootComment)...))
}

func item(n *yaml.Node, column int) []line {
	lines := comments(n.HeadComment)
	if n.Kind == yaml.ScalarNode || isFlow(n, column+2) {
		return append(lines, marked("- ", ended(value("", n), n.LineComment))...)
	}
	if n.LineComment != "" { // a comment behind a lone dash stands above it
		lines = append(lines, line{n.LineComment, comment})
	}
	return append(lines, marked("- ", collection(n, column+2))...)
}

// entry writes a key and its value. A key that readers do not find again on
// one line with its colon is marked, as in "? key".
func entry(key, v *yaml.Node, column int) []line {
	lines := comments(key.HeadComment)
	text := keyText(key)
	onLine := v.Kind == yaml.ScalarNode || isFlow(v, column+utf8.RuneCountInString(text)+2)
	switch {
	case text == "" || len(text) > longestKey:
		if key.LineComment != "" {
			lines = append(lines, line{key.LineComment, comment})
		}
		lines = append(lines, line{strings.TrimSpace("? " + text), content})
		if onLine {
			return append(lines, marked(": ", value("", v))...)
		}
		return append(lines, marked(": ", collection(v, column+2))...)
	case onLine:
		return append(lines, ended(value(text+": ", v), key.LineComment)...)
	}
	lines = append(lines, ended([]line{{text + ":", content}}, key.LineComment)...)
	return append(lines, indented(collection(v, column+2))...)
}

// longestKey is what readers look through for the colon, a little less.
const longestKey = 1000

// ended puts a comment at the end of the first line.
func ended(lines []line, comment string) []line {
	if comment != "" {
		lines[0].text += " " + comment
	}
	return lines
}

func indented(lines []line) []line {
	for i, l := range lines {
		if l.text != "" {
			lines[i].text = "  " + l.text
		}
	}
	return lines
}

// marked puts a dash before the first line that is not a comment. Comments
// above it stay above.
func marked(mark string, lines []line) []line {
	above := 0
	for above < len(lines) && lines[above].kind == comment {
		above++
	}
	first := mark + lines[above].text
	indented(lines[above:])
	lines[above].text = first
	return lines
}

// value writes a scalar, or a collection that stands on one line, after what
// the line has already.
func value(before string, n *yaml.Node) []line {
	if n.Kind != yaml.ScalarNode || !isLiteral(n) {
		return []line{{before + onOneLine(n, false), content}}
	}
	mark, text := "|-", n.Value
	if strings.HasSuffix(text, "\n") {
		mark, text = "|", strings.TrimSuffix(text, "\n")
	}
	lines := []line{{before + mark, content}}
	for l := range strings.SplitSeq(text, "\n") {
		if l != "" {
			l = "  " + l
		}
		lines = append(lines, line{l, literal})
	}
	return lines
}

// isFlow reports whether a collection stands on one line that begins at a
// column: lists of scalars do wherever they fit, mappings where they were
// written so. Whatever holds a comment does not.
func isFlow(n *yaml.Node, column int) bool {
	return n.Kind != yaml.ScalarNode && (len(n.Content) == 0 ||
		flows(n, true) && column+utf8.RuneCountInString(onOneLine(n, false)) <= width)
}

// flows reports whether a value can stand on one line, however long: a list of
// scalars, or a mapping of scalars and such lists that is in no other.
func flows(n *yaml.Node, outermost bool) bool {
	switch {
	case n.Kind == yaml.ScalarNode:
		return !isLiteral(n)
	case len(n.Content) > width || strings.Contains(n.FootComment, "#"):
		return false
	case n.Kind == yaml.MappingNode && (n.Style&yaml.FlowStyle == 0 || !outermost):
		return false
	}
	for i, child := range n.Content {
		isKey := n.Kind == yaml.MappingNode && i%2 == 0
		isNested := n.Kind == yaml.SequenceNode && child.Kind != yaml.ScalarNode
		if strings.Contains(child.HeadComment, "#") || child.LineComment != "" || isKey && keyText(child) == "" || isNested || !flows(child, false) {
			return false
		}
	}
	return true
}

func onOneLine(n *yaml.Node, inFlow bool) string {
	if n.Kind == yaml.ScalarNode {
		return scalarText(n, inFlow)
	}
	var parts []string
	for i := 0; i < len(n.Content); i++ {
		if n.Kind == yaml.MappingNode {
			parts = append(parts, keyText(n.Content[i])+": "+onOneLine(n.Content[i+1], true))
			i++
			continue
		}
		parts = append(parts, onOneLine(n.Content[i], true))
	}
	if n.Kind == yaml.MappingNode {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func keyText(n *yaml.Node) string {
	if isNull(n) {
		return n.Value // which may be empty: null and ~ are different keys to some
	}
	return scalarText(n, true)
}

// scalarText writes a scalar on one line: what is not a text as it stands, a
// text plain where no reader can take it for anything else, in single quotes
// where that saves escapes, and otherwise in double quotes.
func scalarText(n *yaml.Node, inFlow bool) string {
	switch s := n.Value; {
	case isNull(n) && s == "":
		return "null"
	case n.ShortTag() != "!!str":
		return s
	case isPlain(s, inFlow):
		return s
	case strings.ContainsAny(s, `"\`) && !strings.ContainsFunc(s, notPrintable):
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	default:
		return doubleQuoted(s)
	}
}

func notPrintable(r rune) bool { return !unicode.IsPrint(r) }

var (
	// spokenFor are texts that some reader takes for a truth value, nothing,
	// or a number.
	spokenFor = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false|null|inf|nan)$`)
	// afterDigits is what may begin with a digit and yet be no number, date
	// or time of day: durations.
	afterDigits = regexp.MustCompile(`^(?:[0-9]+(?:ms|[smhdw]))+$`)
)

// isPlain reports whether a text needs no quotes.
func isPlain(s string, inFlow bool) bool {
	first, _ := utf8.DecodeRuneInString(s)
	switch {
	case !unicode.IsLetter(first) && first != '_' && first != '/' && !afterDigits.MatchString(s),
		spokenFor.MatchString(s), strings.ContainsFunc(s, notPrintable),
		strings.HasSuffix(s, " "), strings.HasSuffix(s, ":"), strings.Contains(s, ": "), strings.Contains(s, " #"),
		inFlow && strings.ContainsAny(s, ",[]{}:?"):
		return false
	}
	plain := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	return plain.ShortTag() == "!!str"
}

// isLiteral reports whether a text is written line by line below its key. Not
// so a text whose lines readers could tell from its indentation only: where
// the first begins with a blank, or another has nothing else.
func isLiteral(n *yaml.Node) bool {
	s := n.Value
	return strings.Contains(s, "\n") && n.ShortTag() == "!!str" && !oddLines.MatchString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return notPrintable(r) && r != '\n' && r != '\t' })
}

var oddLines = regexp.MustCompile(`^\n*(?:[ \t]|$)|\n\n$|(?m:^[ \t]+$|^\t)`)

func doubleQuoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
