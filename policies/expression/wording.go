package expression

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// typeWords says a type as people would.
func typeWords(t string) string {
	switch t {
	case "string":
		return "a text"
	case "int":
		return "a whole number"
	case "uint":
		return "an unsigned number"
	case "double":
		return "a fraction"
	case "bool":
		return "true or false"
	case "bytes":
		return "bytes"
	case "duration", "google.protobuf.Duration":
		return "a duration"
	case "timestamp", "google.protobuf.Timestamp":
		return "a time"
	case "null", "null_type":
		return "null"
	case "list(string)":
		return "a list of texts"
	case "request", "requester", "resource":
		return "the whole " + t
	}
	if strings.HasPrefix(t, "list(") {
		return "a list"
	}
	return t
}

// overload says that a function or operator does not take what it was given;
// signature is the interpreter's, as "(duration, string)" or "string.(int)".
func overload(function, signature string) string {
	target, args, isMember := strings.Cut(signature, ".(")
	if !isMember {
		target, args = "", strings.TrimPrefix(signature, "(")
	}
	given := splitTypes(strings.TrimSuffix(args, ")"))
	words := make([]string, len(given))
	for i, t := range given {
		words[i] = typeWords(t)
	}
	operator := strings.ReplaceAll(strings.Trim(function, "_@"), "_", "")
	switch {
	case function == "_?_:_":
		return fmt.Sprintf("a ? b : c needs true or false before the ?, and two values of one kind after it; found %s", strings.Join(words, ", "))
	case function == "_[_]" && len(words) == 2:
		return fmt.Sprintf("%s has no elements that %s could choose", words[0], words[1])
	case function == "_&&_" || function == "_||_":
		return fmt.Sprintf("%s needs true or false on both sides, found %s", operator, strings.Join(words, " and "))
	case function == "!_" || function == "-_":
		return fmt.Sprintf("%s is not possible on %s", strings.Trim(function, "_"), words[0])
	case operator == "in" && len(words) == 2:
		return fmt.Sprintf("in looks into a list, and this is %s%s", words[1], hint(given, function))
	case len(words) == 2 && strings.HasPrefix(function, "_"):
		return fmt.Sprintf("%s is not possible between %s and %s%s", operator, words[0], words[1], hint(given, function))
	case isMember:
		return fmt.Sprintf("%s is not possible on %s with (%s)%s", function, typeWords(target), strings.Join(words, ", "), hint(append(given, target), function))
	}
	return fmt.Sprintf("%s does not take (%s)", function, strings.Join(words, ", "))
}

// hint says what would have worked, for the mistakes that are made most.
func hint(given []string, function string) string {
	has := func(t string) bool { return slices.Contains(given, t) }
	switch {
	case has("duration") && (has("string") || has("int") || has("double")):
		return `; durations are written duration("1h30m")`
	case has("timestamp") && has("string"):
		return `; times are written timestamp("2026-11-22T09:00:00Z")`
	case has("list(string)") && has("string"):
		return `; to look for a text in a list write "dba" in requester.roles`
	case strings.Contains(function, "in") && len(given) == 2 && given[0] == "string" && given[1] == "string":
		return `; to look for a text in a text write request.reason.contains("deploy")`
	case has("int") && has("string"):
		return "; numbers are written without quotes"
	}
	return ""
}

// splitTypes splits at the commas that are in no parentheses.
func splitTypes(list string) (parts []string) {
	depth, from := 0, 0
	for i, c := range list {
		switch {
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(list[from:i]))
			from = i + 1
		}
	}
	if list == "" {
		return nil
	}
	return append(parts, strings.TrimSpace(list[from:]))
}

// offset returns the byte in the text that stands at a line and column, and
// the text's length for one that does not exist.
func (r *reader) offset(line, column int) int {
	at := 0
	for ; line > 1; line-- {
		next := strings.IndexByte(r.text[at:], '\n')
		if next < 0 {
			return len(r.text)
		}
		at += next + 1
	}
	for ; column > 1 && at < len(r.text); column-- {
		_, size := utf8.DecodeRuneInString(r.text[at:])
		at += size
	}
	return at
}

// place returns the line and column of a byte in the text.
func (r *reader) place(offset int) (line, column int) {
	before := r.text[:offset]
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

// fieldAfter returns where the name of a field stands, whose dot or has() is
// at an offset.
func (r *reader) fieldAfter(offset int, name string) int {
	for at := offset; ; {
		dot := strings.IndexByte(r.text[at:], '.')
		if dot < 0 {
			return offset
		}
		at += dot + 1
		rest := strings.TrimLeftFunc(r.text[at:], unicode.IsSpace)
		if strings.HasPrefix(rest, name) {
			return len(r.text) - len(rest)
		}
	}
}

// nameBefore returns where a function's name begins, whose parenthesis is at
// an offset; the offset itself where no name ends there.
func (r *reader) nameBefore(offset int, name string) int {
	before := strings.TrimRightFunc(r.text[:offset], unicode.IsSpace)
	if strings.HasSuffix(before, name) {
		return len(before) - len(name)
	}
	return offset
}

// wordBefore returns the word or number that ends before an offset.
func (r *reader) wordBefore(offset int) string {
	before := strings.TrimRightFunc(r.text[:offset], unicode.IsSpace)
	word := strings.LastIndexFunc(before, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsDigit(c) && c != '_' })
	return before[word+1:]
}
