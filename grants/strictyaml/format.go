package strictyaml

import (
	"bytes"
	"reflect"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Format writes the documents of a file in canonical form: two spaces of
// indentation, quotes only where they are needed, short lists on one line,
// comments and single empty lines where they were. A mapping stays on one
// line where it was written so and fits. Formatting twice changes nothing
// more, and the documents say what they said.
//
// shape returns, for a document, a pointer to what it would be decoded into;
// keys are written in the order of its fields, and unknown keys after them.
// Where it returns nil, keys keep their order.
func Format(file string, src []byte, limits Limits, shape func(Node) any) ([]byte, Errors) {
	nodes, errs := Parse(file, src, limits)
	if len(errs) > 0 {
		return nil, errs
	}
	roots := make([]*yaml.Node, len(nodes))
	for i, n := range nodes {
		roots[i] = n.yaml
	}
	if len(nodes) == 0 { // an empty file, or one of comments only
		nothing := attacher{src: src, starts: lineStarts(src)}
		return written(tidy(comments(text(nothing.gap(len(src)))))), nil
	}
	attach(src, roots)
	var b bytes.Buffer
	for i, n := range nodes {
		if like := shape(n); like != nil {
			order(n.yaml, reflect.TypeOf(like).Elem())
		}
		if i > 0 {
			b.WriteString("---\n")
		}
		b.Write(writeDocument(n.yaml))
	}
	// Whatever the text, a formatter must not change what a policy says.
	again, errs := Parse(file, b.Bytes(), Limits{})
	if len(errs) > 0 || !slices.EqualFunc(nodes, again, func(a, b Node) bool { return same(a.yaml, b.yaml) }) {
		return nil, Errors{Pos{file, 1, 1}.Errorf("this file cannot be formatted without changing what it says; write it in a simpler way")}
	}
	return b.Bytes(), nil
}

// order puts the keys of a mapping, and of those in it, into the order of the
// fields of a type.
func order(n *yaml.Node, t reflect.Type) {
	if p, ok := reflect.New(t).Interface().(positioned); ok {
		t = p.target().Type()
	}
	if _, ok := reflect.New(t).Interface().(Scalar); ok {
		return
	}
	switch {
	case t.Kind() == reflect.Pointer:
		order(n, t.Elem())
	case t.Kind() == reflect.Slice && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			order(item, t.Elem())
		}
	case t.Kind() == reflect.Struct && n.Kind == yaml.MappingNode:
		orderKeys(n, t)
	}
}

func orderKeys(n *yaml.Node, t reflect.Type) {
	fields, _ := fieldsOf(t)
	type pair struct {
		key, value *yaml.Node
		rank       int
	}
	var pairs []pair
	for i := 0; i+1 < len(n.Content); i += 2 {
		p := pair{n.Content[i], n.Content[i+1], len(fields)}
		if index, ok := fields[p.key.Value]; ok {
			p.rank = index
			order(p.value, t.Field(index).Type)
		} else {
			p.rank = t.NumField()
		}
		pairs = append(pairs, p)
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return a.rank - b.rank })
	n.Content = n.Content[:0]
	for _, p := range pairs {
		n.Content = append(n.Content, p.key, p.value)
	}
}

// same reports whether two nodes mean the same.
func same(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && (isNull(a) && isNull(b) || a.ShortTag() == b.ShortTag() && a.Value == b.Value) && slices.EqualFunc(a.Content, b.Content, same)
}
