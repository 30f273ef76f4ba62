package policies

import "github.com/tigeraccess/tac/grants/strictyaml"

// Format writes the documents of one policy file in canonical form: keys in
// the order in which this package declares them, two spaces of indentation,
// quotes only where they are needed, comments where they stand. It says what
// it said before, and formatting it again changes nothing. The error is that
// of a file that is not YAML as it is read here; whether the documents make
// sense is not looked at.
func Format(path string, data []byte) ([]byte, error) {
	out, errs := strictyaml.Format(path, data, fileLimits, shapeOf)
	return out, errs.Err()
}

// shapeOf returns what a document would be decoded into, nil for an unknown
// kind.
func shapeOf(n strictyaml.Node) any {
	kind, _ := n.Text("kind")
	switch kind.V {
	case "AccessPolicy":
		return &document[policySpec]{}
	case "Resource":
		return &document[resourceSpec]{}
	case "Role":
		return &document[roleSpec]{}
	case "People":
		return &document[peopleSpec]{}
	case "Calendar":
		return &document[calendarSpec]{}
	case "Guardrail":
		return &document[guardrailSpec]{}
	case "PolicyTest":
		return &document[testSpec]{}
	}
	return nil
}
