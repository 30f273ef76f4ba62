package strictyaml

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Value is a field together with where it was written. Set tells a value that
// was written from one that was left out.
type Value[T any] struct {
	V   T
	Set bool
	Pos Pos
}

type positioned interface {
	target() reflect.Value
	place(Pos)
}

func (v *Value[T]) target() reflect.Value { return reflect.ValueOf(&v.V).Elem() }
func (v *Value[T]) place(p Pos)           { v.Set, v.Pos = true, p }

// Scalar is implemented by types that are written as one word or text. The
// error becomes the message at the value's place and should say what would
// have worked.
type Scalar interface{ UnmarshalScalar(text string) error }

// Decode fills the struct that into points to. Fields carry the tag
// `yaml:"key"`, or `yaml:"key,required"`; keys without a field are mistakes.
// Understood are string, bool, int, int64, Scalar, slices, structs, pointers
// to structs, and Value of any of these. All mistakes are returned together.
func (n Node) Decode(into any) Errors {
	d := decoder{file: n.file}
	d.value(n.yaml, reflect.ValueOf(into).Elem(), "")
	return d.errs
}

// Text returns the scalar at a top-level key and its place; false where there
// is none. It serves to look at `kind` before choosing what to decode into.
func (n Node) Text(key string) (Value[string], bool) {
	if n.yaml.Kind != yaml.MappingNode {
		return Value[string]{}, false
	}
	for i := 0; i+1 < len(n.yaml.Content); i += 2 {
		k, v := n.yaml.Content[i], n.yaml.Content[i+1]
		if k.Value == key && v.Kind == yaml.ScalarNode {
			return Value[string]{V: v.Value, Set: true, Pos: Pos{n.file, v.Line, v.Column}}, true
		}
	}
	return Value[string]{}, false
}

type decoder struct {
	file string
	errs Errors
}

func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.errs = append(d.errs, Pos{d.file, n.Line, n.Column}.Errorf(format, args...))
}

// value decodes n into v; path is the dotted name people know the value by.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if p, ok := v.Addr().Interface().(positioned); ok {
		p.place(Pos{d.file, n.Line, n.Column})
		d.value(n, p.target(), path)
		return
	}
	if s, ok := v.Addr().Interface().(Scalar); ok {
		d.scalar(n, s, path)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), path)
	case reflect.Struct:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path)
	case reflect.String:
		if d.plain(n, "!!str", "a text", path) {
			v.SetString(n.Value)
		}
	case reflect.Bool:
		if d.plain(n, "!!bool", "true or false", path) {
			v.SetBool(n.Value == "true" || n.Value == "True" || n.Value == "TRUE")
		}
	case reflect.Int, reflect.Int64:
		d.number(n, v, path)
	default:
		panic("strictyaml: a field has the type " + v.Type().String()) // a mistake in our own structs, met by every test
	}
}

func (d *decoder) scalar(n *yaml.Node, s Scalar, path string) {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		d.fault(n, "%s: expected one value, found %s", path, describe(n))
		return
	}
	if err := s.UnmarshalScalar(n.Value); err != nil {
		d.fault(n, "%s: %v", path, err)
	}
}

func (d *decoder) number(n *yaml.Node, v reflect.Value, path string) {
	if !d.plain(n, "!!int", "a whole number", path) {
		return
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || strconv.FormatInt(i, 10) != n.Value { // 010 is eight to some readers
		d.fault(n, "%s: %s is not a whole number that fits; write it in plain decimal digits", path, Quote(n.Value))
		return
	}
	v.SetInt(i)
}

// plain reports whether n is a scalar of the wanted kind, and says so where
// it is not.
func (d *decoder) plain(n *yaml.Node, tag, wanted, path string) bool {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == tag {
		return true
	}
	hint := ""
	if tag == "!!str" && n.Kind == yaml.ScalarNode && !isNull(n) {
		hint = fmt.Sprintf("; put it in quotes: %q", n.Value)
	}
	d.fault(n, "%s: expected %s, found %s%s", path, wanted, describe(n), hint)
	return false
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.fault(n, "%s: expected a list, found %s; write [%s]", path, describe(n), "a, b")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, child := range n.Content {
		d.value(child, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.MappingNode {
		d.fault(n, "%sexpected a mapping of keys to values, found %s", prefix(path), describe(n))
		return
	}
	fields, required := fieldsOf(v.Type())
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, child := n.Content[i], n.Content[i+1]
		index, known := fields[key.Value]
		if !known {
			d.fault(key, "%sunknown key %s; %s", prefix(path), Quote(key.Value), suggestion(key.Value, fields))
			continue
		}
		seen[key.Value] = true
		d.value(child, v.Field(index), join(path, key.Value))
	}
	for _, key := range required {
		if !seen[key] {
			d.fault(n, "%sthe key %s is missing", prefix(path), key)
		}
	}
}

func fieldsOf(t reflect.Type) (fields map[string]int, required []string) {
	fields = map[string]int{}
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("yaml")
		if !ok {
			continue
		}
		name, rest, _ := strings.Cut(tag, ",")
		fields[name] = i
		if rest == "required" {
			required = append(required, name)
		}
	}
	return fields, required
}

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + ": "
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "nothing"
	case n.ShortTag() == "!!int" || n.ShortTag() == "!!float":
		return "the number " + n.Value
	case n.ShortTag() == "!!bool":
		return "the truth value " + n.Value
	case n.ShortTag() == "!!timestamp":
		return "the date " + n.Value
	}
	return "the text " + Quote(n.Value)
}

// suggestion names the nearest known key, or all of them.
func suggestion(key string, fields map[string]int) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if best, ok := Nearest(key, names); ok {
		return fmt.Sprintf("did you mean %s?", best)
	}
	if len(names) == 0 {
		return "no key is expected here"
	}
	return "expected " + strings.Join(names, ", ")
}

// Nearest returns the candidate that a person who wrote word most likely
// meant; false where none is close.
func Nearest(word string, candidates []string) (string, bool) {
	best, bestDistance := "", len(word)/3+2
	for _, c := range candidates {
		if d := distance(word, c); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best, best != ""
}

// distance is the Levenshtein distance in bytes; keys are ASCII.
func distance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
