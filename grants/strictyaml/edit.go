package strictyaml

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Walk calls visit for every mapping entry and every list item of the
// document, parents first, in the order of the file. path is the dotted name
// that messages use, as spec.auto_approve.conditions[0].role. key is the
// place that Without takes: of an entry its key, of an item in flow style
// ([a, b]) the item, and of an item in block style its dash. value is where
// the value begins; kind is "mapping", "list" or "scalar".
func (n Node) Walk(visit func(path string, key, value Pos, kind string)) {
	n.walk(n.yaml, "", visit)
}

func (n Node) walk(y *yaml.Node, path string, visit func(path string, key, value Pos, kind string)) {
	for i, child := range y.Content {
		key, name := n.placeOf(y, i), ""
		switch {
		case y.Kind == yaml.SequenceNode:
			name = fmt.Sprintf("%s[%d]", path, i)
		case i%2 == 0:
			continue // a key, visited with its value
		default:
			name = join(path, y.Content[i-1].Value)
		}
		visit(name, key, Pos{n.file, child.Line, child.Column}, kindOf(child))
		n.walk(child, name, visit)
	}
}

func kindOf(y *yaml.Node) string {
	switch y.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	}
	return "scalar"
}

// placeOf returns the place by which the i-th child of a collection is known:
// two things that begin with the same character (an item, and the first key
// of the mapping that it is) have two places.
func (n Node) placeOf(parent *yaml.Node, i int) Pos {
	child := parent.Content[i]
	switch {
	case parent.Kind == yaml.MappingNode:
		key := parent.Content[i-i%2]
		return Pos{n.file, key.Line, key.Column}
	case parent.Style&yaml.FlowStyle != 0:
		return Pos{n.file, child.Line, child.Column}
	}
	return Pos{n.file, child.Line, parent.Column} // all dashes of a list stand in one column
}

// Without returns a copy of the document that lacks the mapping entry or list
// item at pos, a place as Walk gives it; where there is none, a list item that
// begins at pos. False where nothing is there, or only the document itself.
// The rest of the document keeps its places.
func (n Node) Without(pos Pos) (Node, bool) {
	byPlace := func(parent *yaml.Node, i int) bool { return n.placeOf(parent, i) == pos }
	byBeginning := func(parent *yaml.Node, i int) bool {
		child := parent.Content[i]
		return parent.Kind == yaml.SequenceNode && pos == Pos{n.file, child.Line, child.Column}
	}
	for _, at := range []func(*yaml.Node, int) bool{byPlace, byBeginning} {
		if y := without(n.yaml, at); y != nil {
			return Node{file: n.file, yaml: y}, true
		}
	}
	return Node{}, false
}

// without returns a copy of y that lacks the first child for which at holds,
// nil where there is none. What did not change is shared.
func without(y *yaml.Node, at func(parent *yaml.Node, i int) bool) *yaml.Node {
	for i, child := range y.Content {
		less := *y
		if at(y, i) {
			until := i + 1
			if y.Kind == yaml.MappingNode {
				i, until = i-i%2, i-i%2+2
			}
			less.Content = slices.Delete(slices.Clone(y.Content), i, until)
			return &less
		}
		if replaced := without(child, at); replaced != nil {
			less.Content = slices.Clone(y.Content)
			less.Content[i] = replaced
			return &less
		}
	}
	return nil
}
