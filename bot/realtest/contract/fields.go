package contract

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// undescribed lists the fields of a JSON value that no schema of it knows.
// GitHub's schemas allow any, so a validator says nothing. But a field of a
// request that GitHub does not know does nothing, and a field of the sandbox
// that GitHub never sends is one that somebody may come to rely on.
func undescribed(s shape, body string) []string {
	var value any
	if json.Unmarshal([]byte(body), &value) != nil {
		return nil // the validator has said so
	}
	found := map[string]bool{}
	unknownFields(found, "", []shape{s}, value)
	var lines []string
	for at := range found {
		lines = append(lines, fmt.Sprintf("%s is a field that GitHub does not describe", at))
	}
	slices.Sort(lines)
	return lines
}

// unknownFields walks a value with all the schemas that may hold for it:
// where there are alternatives, a field that any of them knows is known.
func unknownFields(found map[string]bool, at string, schemas []shape, value any) {
	schemas = withParts(schemas)
	switch value := value.(type) {
	case []any:
		var items []shape
		for _, s := range schemas {
			items = append(items, s.items()...)
		}
		for _, v := range value {
			unknownFields(found, at+"/*", items, v)
		}
	case map[string]any:
		closed := slices.ContainsFunc(schemas, shape.named)
		for name, v := range value {
			var inner []shape
			for _, s := range schemas {
				inner = append(inner, s.field(name)...)
			}
			if closed && len(inner) == 0 {
				found[at+"/"+name] = true
				continue
			}
			unknownFields(found, at+"/"+name, inner, v)
		}
	}
}

func withParts(schemas []shape) []shape {
	var all []shape
	for _, s := range schemas {
		all = append(append(all, s), withParts(s.parts())...)
	}
	return all
}

// shape is as much of a schema as it takes to know its fields.
type shape interface {
	parts() []shape            // what it is made of, alternatives included
	items() []shape            // of a list
	field(name string) []shape // none for one it does not know
	named() bool               // it lists fields at all
}

// restShape is a schema of the REST description.
type restShape struct{ *openapi3.Schema }

func restShapes(refs ...*openapi3.SchemaRef) []shape {
	var all []shape
	for _, ref := range refs {
		if ref != nil && ref.Value != nil {
			all = append(all, restShape{ref.Value})
		}
	}
	return all
}

func (s restShape) parts() []shape { return restShapes(slices.Concat(s.AllOf, s.AnyOf, s.OneOf)...) }
func (s restShape) items() []shape { return restShapes(s.Items) }
func (s restShape) named() bool    { return len(s.Properties) > 0 }

func (s restShape) field(name string) []shape {
	if p := s.Properties[name]; p != nil {
		return restShapes(p)
	}
	return restShapes(s.AdditionalProperties.Schema)
}

// hookShape is a schema of the webhooks' description.
type hookShape struct{ *jsonschema.Schema }

func hookShapes(schemas ...*jsonschema.Schema) []shape {
	var all []shape
	for _, s := range schemas {
		if s != nil {
			all = append(all, hookShape{s})
		}
	}
	return all
}

func (s hookShape) parts() []shape {
	return hookShapes(append(slices.Concat(s.AllOf, s.AnyOf, s.OneOf), s.Ref)...)
}
func (s hookShape) items() []shape { return hookShapes(s.Items2020) }
func (s hookShape) named() bool    { return len(s.Properties) > 0 }

func (s hookShape) field(name string) []shape {
	if p := s.Properties[name]; p != nil {
		return hookShapes(p)
	}
	more, _ := s.AdditionalProperties.(*jsonschema.Schema) // else it is a bool
	return hookShapes(more)
}
