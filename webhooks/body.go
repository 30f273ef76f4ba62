package webhooks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// readBody reads one JSON object into fields, which maps the name of every
// member there may be to where its value goes. Members may be missing; an
// empty body is an empty object. Unlike encoding/json it refuses members that
// nobody knows, that are spelled in other letters, or that stand twice: two
// readers must not see two different requests in one body.
func readBody(r io.Reader, fields map[string]any) error {
	d := json.NewDecoder(r)
	token, err := d.Token()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return unreadable(err)
	}
	if token != json.Delim('{') {
		return invalid("the body has to be a JSON object")
	}
	seen := map[string]bool{}
	for d.More() {
		if err := readMember(d, fields, seen); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return unreadable(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		if tooLarge(err) {
			return err
		}
		return invalid("something follows the JSON object in the body")
	}
	return nil
}

func readMember(d *json.Decoder, fields map[string]any, seen map[string]bool) error {
	token, err := d.Token()
	if err != nil {
		return unreadable(err)
	}
	name, _ := token.(string) // members of objects have no other names
	target, known := fields[name]
	switch {
	case !known:
		return invalid("%s", unknownField(name, slices.Sorted(maps.Keys(fields))))
	case seen[name]:
		return invalid("the body says %s twice", name)
	}
	seen[name] = true
	if err := d.Decode(target); err != nil {
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return invalid("%s has to be %s, not %s", name, kindOf(target), wrong.Value)
		}
		return unreadable(err)
	}
	return nil
}

func unknownField(name string, known []string) string {
	said := "there is no field " + strictyaml.Quote(name) + " here"
	if len(known) == 0 {
		return said + "; the body is to be empty"
	}
	if nearest, ok := strictyaml.Nearest(name, known); ok {
		return said + "; did you mean " + nearest + "?"
	}
	return said + "; there are " + strings.Join(known, ", ")
}

func kindOf(target any) string {
	if _, ok := target.(*bool); ok {
		return "true or false"
	}
	return "a text"
}

func unreadable(err error) error {
	if tooLarge(err) {
		return err
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return &bot.Error{Code: bot.CodeInvalid, Message: "the body is not well-formed JSON"}
	}
	return &bot.Error{Code: bot.CodeInvalid, Message: "the body could not be read to its end", Cause: err}
}

func invalid(format string, args ...any) error {
	return &bot.Error{Code: bot.CodeInvalid, Message: fmt.Sprintf(format, args...)}
}
