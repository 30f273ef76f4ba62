package vaultlease

import (
	"regexp"
	"strings"
)

// This file reads SQL only as far as must be to tell what a statement does
// from what a comment or a text says.

var (
	creating   = regexp.MustCompile(`(?i)\bcreate\s+(role|user)\s+"?\{\{(name|username)\}\}`)
	validUntil = regexp.MustCompile(`(?i)\bvalid\s+until\s+'\{\{expiration\}\}'`)
)

// endsLogins reports whether every statement that creates a login bounds its
// life, and there is one. A clause of another statement, of a comment or of a
// text bounds nothing.
func endsLogins(sql string) bool {
	created := false
	for _, statement := range statements(sql) {
		at := creating.FindStringIndex(statement)
		if at == nil {
			continue
		}
		if !validUntil.MatchString(statement[at[1]:]) {
			return false
		}
		created = true
	}
	return created
}

// statements splits SQL at its semicolons, without comments, and with those
// texts emptied that are more than one of Vault's placeholders. The bodies of
// DO blocks are statements too.
func statements(sql string) []string {
	var all []string
	var b strings.Builder
	for _, token := range tokens(sql) {
		switch {
		case token == ";":
			all = append(all, b.String())
			b.Reset()
		case token[0] == '\'' && !placeholder.MatchString(token):
			b.WriteString("''")
		default:
			b.WriteString(token)
		}
	}
	return append(all, b.String())
}

var placeholder = regexp.MustCompile(`^'\{\{[a-z]+\}\}'$`)

// withoutComments returns SQL as it is run.
func withoutComments(sql string) string { return strings.Join(tokens(sql), "") }

// tokens cuts SQL into texts, quoted names, semicolons and single characters;
// of a comment a blank remains. What is not closed goes on to the end.
func tokens(sql string) []string {
	var all []string
	for sql != "" {
		n, token := 1, sql[:1]
		switch {
		case strings.HasPrefix(sql, "--"):
			if n = strings.IndexByte(sql, '\n'); n < 0 {
				n = len(sql)
			}
			token = " "
		case strings.HasPrefix(sql, "/*"):
			n, token = commentEnd(sql), " "
		case sql[0] == '\'' || sql[0] == '"':
			n = quoteEnd(sql)
			token = sql[:n]
		}
		all, sql = append(all, token), sql[n:]
	}
	return all
}

// commentEnd returns where the comment that sql begins with is over. They nest.
func commentEnd(sql string) int {
	depth := 0
	for i := 0; i+1 < len(sql); i++ {
		switch sql[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(sql)
}

// quoteEnd returns where the text or name that sql begins with is over. A
// doubled quote stands for one.
func quoteEnd(sql string) int {
	for i := 1; i < len(sql); i++ {
		switch {
		case sql[i] != sql[0]:
		case i+1 < len(sql) && sql[i+1] == sql[0]:
			i++
		default:
			return i + 1
		}
	}
	return len(sql)
}
