package policies

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// This file describes the documents to editors and validators, as JSON
// Schema. Keys, types and what is required come from the very structs that
// documents are decoded into; schema_words.go says what they mean, and
// schema_rules.go what a type cannot say.
//
// The draft is 07: it is what editors' YAML language server supports in full
// and what ajv takes without being told; nothing that later drafts have is
// needed. A schema sees one document as JSON does. It refuses nothing that
// the parser accepts. What only the parser can see stays the parser's: names
// that lead nowhere, time zones, expressions, the writing of numbers.

// draft names the draft of JSON Schema.
const draft = "http://json-schema.org/draft-07/schema#"

// shape is one JSON Schema. The order of the fields is the order in the text.
type shape struct {
	Schema      string `json:"$schema,omitempty"`
	Title       string `json:"title,omitempty"`
	Description string `json:"description,omitempty"`
	Ref         string `json:"$ref,omitempty"`
	Type        string `json:"type,omitempty"`

	Const     any      `json:"const,omitempty"`
	Enum      []string `json:"enum,omitempty"`
	Pattern   string   `json:"pattern,omitempty"`
	MinLength int      `json:"minLength,omitempty"`
	MaxLength int      `json:"maxLength,omitempty"`
	Minimum   *int     `json:"minimum,omitempty"`
	Default   any      `json:"default,omitempty"`
	Examples  []any    `json:"examples,omitempty"`

	Items       *shape `json:"items,omitempty"`
	MinItems    int    `json:"minItems,omitempty"`
	UniqueItems bool   `json:"uniqueItems,omitempty"`
	Contains    *shape `json:"contains,omitempty"`

	Required             []string            `json:"required,omitempty"`
	Properties           properties          `json:"properties,omitempty"`
	AdditionalProperties *bool               `json:"additionalProperties,omitempty"`
	MinProperties        int                 `json:"minProperties,omitempty"`
	Dependencies         map[string][]string `json:"dependencies,omitempty"`

	AllOf []*shape `json:"allOf,omitempty"`
	AnyOf []*shape `json:"anyOf,omitempty"`
	OneOf []*shape `json:"oneOf,omitempty"`
	If    *shape   `json:"if,omitempty"`
	Then  *shape   `json:"then,omitempty"`
	Else  *shape   `json:"else,omitempty"`

	Definitions properties `json:"definitions,omitempty"`
}

// properties keeps its order, which is that of the structs: what matters most
// comes first.
type properties []property

type property struct {
	name  string
	shape *shape
}

// MarshalJSON writes an object in the order of the list. A property without a
// shape may not be there at all.
func (p properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, each := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(each.name)
		if err != nil {
			return nil, err
		}
		value := []byte("false")
		if each.shape != nil {
			if value, err = json.Marshal(each.shape); err != nil {
				return nil, err
			}
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// grantKind is the kind of a grant file, which stands beside the policies.
const grantKind = "AccessGrant"

// described is the type behind each kind.
func described() map[string]reflect.Type {
	return map[string]reflect.Type{
		"AccessPolicy": reflect.TypeFor[document[policySpec]](),
		"Calendar":     reflect.TypeFor[document[calendarSpec]](),
		"Guardrail":    reflect.TypeFor[document[guardrailSpec]](),
		"People":       reflect.TypeFor[document[peopleSpec]](),
		"PolicyTest":   reflect.TypeFor[document[testSpec]](),
		"Resource":     reflect.TypeFor[document[resourceSpec]](),
		"Role":         reflect.TypeFor[document[roleSpec]](),
		grantKind:      grants.FileType(),
	}
}

// SchemaKinds returns the kinds of documents that there are schemas of: those
// of policies/, and the grant.
func SchemaKinds() []string { return append([]string{grantKind}, kinds...) }

// Schema returns the JSON Schema of the documents of a kind; of all kinds at
// once, told apart by their key `kind`, where it is empty. The text is the
// same for the same version of this package.
func Schema(kind string) ([]byte, error) {
	var s *shape
	switch {
	case kind == "":
		s = combined()
	case slices.Contains(SchemaKinds(), kind):
		s = schemaOf(kind)
	default:
		hint := "expected one of " + strings.Join(SchemaKinds(), ", ")
		if best, ok := strictyaml.Nearest(kind, SchemaKinds()); ok {
			hint = "did you mean " + best + "?"
		}
		return nil, fmt.Errorf("there is no kind %s; %s", strictyaml.Quote(kind), hint)
	}
	s.Schema = draft
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		return nil, fmt.Errorf("write the schema of %s: %w", kind, err)
	}
	return b.Bytes(), nil
}

// combined tells the kinds apart by if and then, and not by oneOf: a validator
// can then say what is wrong with the one document that was meant.
func combined() *shape {
	all := &shape{
		Title: "a document of a tac grants repository", Type: "object", Required: []string{"kind"},
		Properties: properties{{"kind", &shape{Description: docs[".kind"], Enum: SchemaKinds()}}},
	}
	for _, kind := range SchemaKinds() {
		all.AllOf = append(all.AllOf, &shape{
			If:   &shape{Type: "object", Properties: properties{{"kind", &shape{Const: kind}}}, Required: []string{"kind"}},
			Then: &shape{Ref: "#/definitions/" + kind},
		})
		all.Definitions = append(all.Definitions, property{kind, schemaOf(kind)})
	}
	return all
}

func schemaOf(kind string) *shape {
	d := describer{kind: kind}
	s := d.shape(described()[kind], "")
	s.Title = kind
	s.Description = docs[kind]
	s.property("spec").Description = docs[kind]
	if apply := rules[kind]; apply != nil {
		apply(s.property("spec"))
	}
	s.property("kind").Const = kind
	s.property("apiVersion").Const = grants.APIVersion
	return s
}

func (s *shape) property(name string) *shape {
	i := slices.IndexFunc(s.Properties, func(p property) bool { return p.name == name })
	return s.Properties[i].shape
}

// describer walks the types of one kind.
type describer struct{ kind string }

func (d describer) shape(t reflect.Type, path string) *shape {
	if inner, ok := valueOf(t); ok {
		return d.shape(inner, path)
	}
	var s *shape
	switch {
	case reflect.PointerTo(t).Implements(reflect.TypeFor[strictyaml.Scalar]()):
		s = textShape(t)
	case t.Kind() == reflect.Struct:
		s = d.object(t, path)
	case t.Kind() == reflect.Slice:
		s = &shape{Type: "array", Items: d.shape(t.Elem(), path+"[]")}
	case t.Kind() == reflect.Bool:
		s = &shape{Type: "boolean"}
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		s = &shape{Type: "integer"}
	default:
		s = &shape{Type: "string"}
	}
	s.Description, _ = d.sentence(path)
	if apply, _ := d.rule(path); apply != nil {
		apply(s)
	}
	return s
}

// valueOf returns what a strictyaml.Value holds.
func valueOf(t reflect.Type) (reflect.Type, bool) {
	if t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[strictyaml.Pos]().PkgPath() || !strings.HasPrefix(t.Name(), "Value[") {
		return nil, false
	}
	field, ok := t.FieldByName("V")
	return field.Type, ok
}

func (d describer) object(t reflect.Type, path string) *shape {
	closed := false
	s := &shape{Type: "object", AdditionalProperties: &closed}
	for i := range t.NumField() {
		tag, ok := t.Field(i).Tag.Lookup("yaml")
		if !ok {
			continue
		}
		name, rest, _ := strings.Cut(tag, ",")
		below := strings.TrimPrefix(path+"."+name, ".")
		s.Properties = append(s.Properties, property{name, d.shape(t.Field(i).Type, below)})
		if rest == "required" {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

// textShape describes the texts that become something else: by what their
// UnmarshalScalar accepts, or a little more where only the parser can tell.
func textShape(t reflect.Type) *shape {
	const (
		day  = `(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)`
		hour = `(?:[01][0-9]|2[0-3])`
	)
	s := &shape{Type: "string"}
	switch t.String() {
	case "policies.length", "grants.length":
		// Nothing may last 10,000 days, and shorter ones never overflow.
		s.Pattern = `^(?:0{0,2}[0-9]{1,4}d)?(?:[0-9]{1,6}h)?(?:[0-9]{1,6}m)?(?:[0-9]{1,6}s)?$`
		s.AllOf = []*shape{{Pattern: `[1-9]`}}
		s.Examples = []any{"30m", "2h", "1h30m", "2d"}
	case "policies.date":
		s.Pattern = `^` + day + `$`
	case "policies.wallTime":
		s.Pattern = `^` + day + `T(?:[01]?[0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.,][0-9]+)?$`
	case "grants.timestamp":
		s.Pattern = `^` + day + `T` + hour + `:[0-5][0-9]:[0-5][0-9]Z$`
	case "policies.hours":
		s.Pattern = `^(?:` + hour + `:[0-5][0-9]|24:00)-(?:` + hour + `:[0-5][0-9]|24:00)$`
		s.Examples = []any{"09:00-17:00"}
	case "policies.weekday":
		s.Enum = weekdays
	case "policies.teamName":
		s.Pattern = strings.TrimSuffix(orgForm.String(), "$") + "/" + strings.TrimPrefix(slugForm.String(), "^")
		s.Examples = []any{"acme/payments-oncall"}
	}
	return s
}
