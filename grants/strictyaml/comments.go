package strictyaml

import (
	"bytes"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// attach replaces the comments that the library found in the documents of one
// file, some of them in odd places, by those that are there, in the form that
// the writer wants.
//
// It goes through the text and the tree side by side. Between the values that
// the tree tells of there is nothing but indicators, blanks and comments.
func attach(src []byte, roots []*yaml.Node) {
	a := attacher{src: src, starts: lineStarts(src)}
	for i, root := range roots {
		uncomment(root)
		found := a.gap(a.offset(root))
		if i > 0 {
			found = a.finish(roots[i-1], found)
		}
		root.HeadComment = text(found)
		a.root, a.owner, a.ended = root, nil, -1
		a.value(root, nil, 0)
		raise(root, true)
	}
	last := roots[len(roots)-1]
	last.FootComment += text(a.finish(last, a.gap(len(src))))
}

func lineStarts(src []byte) []int {
	starts := []int{0}
	for at, c := range src {
		if c == '\n' {
			starts = append(starts, at+1)
		}
	}
	return starts
}

func uncomment(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	for _, child := range n.Content {
		uncomment(child)
	}
}

// raise moves what stands above the first entry of a collection up to the
// collection, where both begin on one line and so the same comments stand
// above them. That is so in items of lists, and not in values of keys.
func raise(n *yaml.Node, begins bool) {
	for i, child := range n.Content {
		raise(child, n.Kind == yaml.SequenceNode || i%2 == 0)
	}
	if begins && len(n.Content) > 0 {
		n.HeadComment += n.Content[0].HeadComment
		n.Content[0].HeadComment = ""
	}
}

type attacher struct {
	src    []byte
	starts []int // of the lines
	at     int   // what stands before it has been seen
	inFlow int   // how many brackets are open at it

	// A comment on the line where the last value ended belongs to owner, a key
	// or list item.
	owner *yaml.Node
	ended int
	root  *yaml.Node

	closed []*yaml.Node // block collections that ended since the last entry began, innermost first
	seen   struct{ line, column, offset int }
}

// remark is one comment, or an empty line where there is no text.
type remark struct {
	text         string
	line, column int
	alone        bool // nothing stands before it on its line
	nextDocument bool // a marker (--- or ...) stands before it
}

func text(remarks []remark) string {
	var b strings.Builder
	for _, r := range remarks {
		b.WriteString(r.text + "\n")
	}
	return b.String()
}

// offset returns where in the text a node begins. It goes on from the last
// one, so that a long line costs no more than a short one.
func (a *attacher) offset(n *yaml.Node) int {
	if n.Line != a.seen.line || n.Column < a.seen.column {
		a.seen.line, a.seen.column, a.seen.offset = n.Line, 1, a.starts[min(n.Line, len(a.starts))-1]
	}
	for a.seen.column < n.Column && a.seen.offset < len(a.src) {
		_, size := utf8.DecodeRune(a.src[a.seen.offset:])
		a.seen.offset, a.seen.column = a.seen.offset+size, a.seen.column+1
	}
	return a.seen.offset
}

// startsWith reports whether a node is written with a character in front.
func (a *attacher) startsWith(c byte, n *yaml.Node) bool {
	at := a.offset(n)
	return at < len(a.src) && a.src[at] == c
}

func (a *attacher) line(offset int) int {
	i, found := slices.BinarySearch(a.starts, offset)
	if found {
		i++
	}
	return i
}

// gap returns what stands between here and the next value, and goes there.
func (a *attacher) gap(to int) (found []remark) {
	marker := false
	for line := a.line(a.at); a.at < to; line++ {
		begins, ends := a.starts[line-1], a.lineEnd(line)
		whole := a.at == begins
		hash := a.comment(a.at, min(ends, to))
		alone := whole && len(bytes.TrimSpace(a.src[begins:hash])) == 0
		marker = marker || whole && isMarker(a.src[begins:ends])
		switch {
		case hash < min(ends, to): // a comment takes the rest of the line, whatever the library says begins there
			column := utf8.RuneCount(a.src[begins:hash]) + 1
			found = append(found, remark{string(bytes.TrimRight(a.src[hash:ends], " \t\r\n")), line, column, alone, marker})
			a.at = ends
			continue
		case alone && ends <= to && a.src[ends-1] == '\n':
			found = append(found, remark{"", line, 0, true, marker})
		}
		a.at = min(ends, to)
	}
	return found
}

// lineEnd returns where the line after a line begins.
func (a *attacher) lineEnd(line int) int {
	if line < len(a.starts) {
		return a.starts[line]
	}
	return len(a.src)
}

// comment returns where the comment in a part of a line begins, the end where
// there is none.
func (a *attacher) comment(from, end int) int {
	for i := from; i < end; i++ {
		if a.isComment(i) {
			return i
		}
	}
	return end
}

// isComment reports whether a comment begins at a place that is in no value.
func (a *attacher) isComment(i int) bool {
	return a.src[i] == '#' && (i == a.at || a.inFlow > 0 || bytes.IndexByte([]byte(" \t\n"), a.src[i-1]) >= 0)
}

func isMarker(line []byte) bool {
	for _, marker := range []string{"---", "..."} {
		rest, ok := bytes.CutPrefix(line, []byte(marker))
		if ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0) {
			return true
		}
	}
	return false
}

// take gives the comment at the end of the last value's line to its owner and
// returns the others.
func (a *attacher) take(found []remark) []remark {
	if len(found) > 0 && a.owner != nil && a.owner.LineComment == "" && found[0].text != "" && found[0].line == a.line(a.ended) {
		a.owner.LineComment = found[0].text
		return found[1:]
	}
	return found
}

// place gives comments that stand alone below a collection's last entry, and
// no further left than its entries, to that collection; it returns those that
// belong to what follows, whose column is given.
func (a *attacher) place(found []remark, column int) []remark {
	found = a.take(found)
	closed := a.closed
	a.closed = nil
	given := 0
	for i, r := range found {
		if r.text == "" {
			continue // it goes where the next comment goes
		}
		for len(closed) > 0 && closed[0].Column > r.column {
			closed = closed[1:]
		}
		if !r.alone || len(closed) == 0 || closed[0].Column <= column {
			break
		}
		closed[0].FootComment += text(found[given : i+1])
		given = i + 1
	}
	return found[given:]
}

// finish places what stands between a document and the next, and returns what
// stands in the next.
func (a *attacher) finish(root *yaml.Node, found []remark) []remark {
	own := slices.IndexFunc(found, func(r remark) bool { return r.nextDocument })
	if own < 0 {
		own = len(found)
	}
	root.FootComment += text(a.place(found[:own], 0))
	return found[own:]
}

// value goes through a node. owner is the key or item that it belongs to,
// column that of the entries of the block collection around it.
func (a *attacher) value(n, owner *yaml.Node, column int) {
	switch {
	case n.Kind == yaml.ScalarNode:
		a.at = max(a.at, a.scalarEnd(n, column))
		a.ended = a.at
	case n.Style&yaml.FlowStyle != 0 && a.at < len(a.src) && (a.src[a.at] == '[' || a.src[a.at] == '{'):
		a.at++
		a.inFlow++
		a.ended = a.at
		a.entries(n, column)
		a.bracket(n, owner)
	default: // in block style, or the pair in [a: b]
		a.entries(n, n.Column)
		if a.inFlow == 0 {
			a.closed = append(a.closed, n)
		}
	}
}

// bracket goes to the end of a collection in brackets.
func (a *attacher) bracket(n, owner *yaml.Node) {
	to := a.at
	for to < len(a.src) && a.src[to] != ']' && a.src[to] != '}' {
		if a.isComment(to) {
			to = a.lineEnd(a.line(to))
			continue
		}
		to++
	}
	rest := a.take(a.gap(to))
	a.owner = owner
	if len(n.Content) > 0 {
		n.FootComment += text(rest)
	} else {
		a.above(rest)
	}
	a.at = max(a.at, min(to+1, len(a.src)))
	a.inFlow--
	a.ended = a.at
}

// above puts comments that have no place of their own above what they are in.
func (a *attacher) above(found []remark) {
	found = slices.DeleteFunc(found, func(r remark) bool { return r.text == "" })
	if a.owner != nil {
		a.owner.HeadComment += text(found)
	} else {
		a.root.HeadComment += text(found)
	}
}

func (a *attacher) entries(n *yaml.Node, column int) {
	for i := 0; i < len(n.Content); i++ {
		first := n.Content[i]
		found := a.gap(a.offset(first))
		if a.inFlow > 0 {
			first.HeadComment = text(a.take(found))
		} else {
			first.HeadComment = text(a.place(found, n.Column))
		}
		a.owner = first
		a.value(first, first, column)
		if n.Kind != yaml.MappingNode {
			continue
		}
		i++
		if v := n.Content[i]; v.Kind == yaml.ScalarNode || v.Style&yaml.FlowStyle != 0 {
			a.above(a.take(a.gap(a.offset(v))))
		}
		a.value(n.Content[i], first, column)
	}
}

// scalarEnd returns where a scalar that begins here ends.
func (a *attacher) scalarEnd(n *yaml.Node, column int) int {
	rest := a.src[a.at:]
	switch {
	case len(rest) == 0:
		return a.at
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return a.at + i + 1
			}
		}
		return len(a.src)
	case n.Style&yaml.SingleQuotedStyle != 0:
		for i := 1; i < len(rest); i++ {
			if rest[i] == '\'' {
				if i+1 == len(rest) || rest[i+1] != '\'' {
					return a.at + i + 1
				}
				i++
			}
		}
		return len(a.src)
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return a.blockEnd(column)
	}
	return a.at + plainEnd(rest, n.Value)
}

// plainEnd returns where a text without quotes ends, whose lines the reader
// has joined.
func plainEnd(src []byte, value string) int {
	blank := func(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
	at := 0
	for i := 0; i < len(value) && at < len(src); {
		switch {
		case blank(value[i]):
			for i < len(value) && blank(value[i]) {
				i++
			}
			for at < len(src) && blank(src[at]) {
				at++
			}
		case value[i] == src[at]:
			i, at = i+1, at+1
		default:
			return at
		}
	}
	return at
}

// blockEnd returns where a text that begins here with | or > ends. It is
// indented more than the column of the entry that it belongs to. The comment
// on its first line goes to the owner.
func (a *attacher) blockEnd(column int) int {
	line := a.line(a.at)
	header := a.at + 1
	indent := 0
	for header < len(a.src) && bytes.IndexByte([]byte("+-0123456789"), a.src[header]) >= 0 {
		if a.src[header] >= '0' {
			indent = max(column-1, 0) + int(a.src[header]-'0')
		}
		header++
	}
	a.at, a.ended = header, header
	a.above(a.take(a.gap(a.lineEnd(line))))
	end, blank := header, 0
	for ; line < len(a.starts); line++ {
		content := bytes.TrimRight(a.src[a.starts[line]:a.lineEnd(line+1)], "\r\n")
		spaces := len(content) - len(bytes.TrimLeft(content, " "))
		if spaces == len(content) {
			blank = max(blank, spaces)
			continue
		}
		if indent == 0 {
			indent = max(spaces, blank, column, 1)
		}
		if spaces < indent {
			break
		}
		end = a.starts[line] + len(content)
	}
	return end
}
