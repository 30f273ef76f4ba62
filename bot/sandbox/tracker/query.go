package tracker

import (
	"fmt"
	"strings"
	"text/scanner"
)

// field is one field of a GraphQL query with what is wanted of it. Fragments,
// aliases and directives are not understood: a query with one is refused.
type field struct {
	name   string
	args   map[string]argument
	fields []field
}

// argument is a variable's name or a literal text.
type argument struct {
	variable string
	text     string
}

// argument returns the value of an argument, nil where there is none.
func (f field) argument(name string, variables map[string]any) any {
	a, ok := f.args[name]
	switch {
	case !ok:
		return nil
	case a.variable != "":
		return variables[a.variable]
	}
	return a.text
}

// choose returns of an object what the query wants.
func (f field) choose(kind string, whole object) (any, *fault) {
	if len(f.fields) == 0 {
		return nil, invalid(fmt.Sprintf("Field %q of type %q must have a selection of subfields.", f.name, kind))
	}
	some := object{}
	for _, want := range f.fields {
		value, ok := whole[want.name]
		if !ok {
			return nil, invalid(fmt.Sprintf("Cannot query field %q on type %q.", want.name, kind))
		}
		if part, is := value.(object); is {
			var problem *fault
			if value, problem = want.choose(want.name, part); problem != nil {
				return nil, problem
			}
		} else if value != nil && len(want.fields) > 0 {
			return nil, invalid(fmt.Sprintf("Field %q must not have a selection.", want.name))
		}
		some[want.name] = value
	}
	return some, nil
}

// reader reads the tokens of a query.
type reader struct {
	scanner.Scanner
	token string
	bad   bool
}

func (r *reader) next() {
	kind := r.Scan()
	for kind == ',' { // means nothing in GraphQL
		kind = r.Scan()
	}
	if r.token = r.TokenText(); kind == scanner.EOF {
		r.token = ""
	}
}

// take skips the token, and reports whether it was there.
func (r *reader) take(token string) bool {
	if r.token != token {
		return false
	}
	r.next()
	return true
}

// unexpected is the fault of a query that is not well-formed.
func (r *reader) unexpected(wanted string) *fault {
	return invalid(fmt.Sprintf("Syntax Error: Expected %s, found %q.", wanted, r.token))
}

// parseQuery reads one query, with or without the word and its variables.
func parseQuery(text string) ([]field, *fault) {
	r := &reader{}
	r.Init(strings.NewReader(text))
	r.Mode = scanner.ScanIdents | scanner.ScanInts | scanner.ScanStrings
	r.Error = func(*scanner.Scanner, string) { r.bad = true }
	r.next()
	if r.take("query") {
		if isName(r.token) {
			r.next() // the operation's name
		}
		if r.take("(") {
			for r.token != ")" && r.token != "" {
				r.next() // variables are taken as they come
			}
			r.next()
		}
	}
	fields, problem := r.selection(0)
	if problem == nil && (r.token != "" || r.bad) {
		problem = r.unexpected("the end")
	}
	return fields, problem
}

const deepest = 20

func (r *reader) selection(depth int) ([]field, *fault) {
	if !r.take("{") || depth > deepest {
		return nil, r.unexpected("{")
	}
	var fields []field
	for !r.take("}") {
		if !isName(r.token) {
			return nil, r.unexpected("Name")
		}
		f := field{name: r.token, args: map[string]argument{}}
		r.next()
		if r.take("(") {
			if problem := r.arguments(&f); problem != nil {
				return nil, problem
			}
		}
		if r.token == "{" {
			var problem *fault
			if f.fields, problem = r.selection(depth + 1); problem != nil {
				return nil, problem
			}
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func (r *reader) arguments(f *field) *fault {
	for !r.take(")") {
		name := r.token
		r.next()
		if !isName(name) || !r.take(":") {
			return r.unexpected("Name")
		}
		if r.take("$") {
			f.args[name] = argument{variable: r.token}
		} else {
			f.args[name] = argument{text: strings.Trim(r.token, `"`)}
		}
		r.next()
	}
	return nil
}

func isName(token string) bool {
	return token != "" && (token[0] == '_' || token[0] >= 'a' && token[0] <= 'z' || token[0] >= 'A' && token[0] <= 'Z')
}
