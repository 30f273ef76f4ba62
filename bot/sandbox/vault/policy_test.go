package vault

import (
	"strings"
	"testing"
)

// TestPolicyDecisions has one policy per row and what it lets through.
func TestPolicyDecisions(t *testing.T) {
	read := request{op: opRead}
	rows := []struct {
		name, policy, path string
		op                 operation
		want               bool
	}{
		{"an exact path beats a glob that denies", `path "a/*" { capabilities = ["deny"] } path "a/b" { capabilities = ["read"] }`, "a/b", opRead, true},
		{"the longer glob decides alone", `path "a/*" { capabilities = ["read"] } path "a/b/*" { capabilities = ["list"] }`, "a/b/c", opRead, false},
		{"a + takes one segment", `path "a/+/c" { capabilities = ["read"] }`, "a/b/c", opRead, true},
		{"a + does not take two", `path "a/+/c" { capabilities = ["read"] }`, "a/b/b/c", opRead, false},
		{"a later wildcard beats an earlier +", `path "+/b" { capabilities = ["deny"] } path "a/*" { capabilities = ["read"] }`, "a/b", opRead, true},
		{"blocks on one path add up", `path "a/b" { capabilities = ["list"] } path "a/b" { capabilities = ["read"] }`, "a/b", opRead, true},
		{"deny beats what the same path grants elsewhere", `path "a/b" { capabilities = ["read"] } path "a/b" { capabilities = ["deny"] }`, "a/b", opRead, false},
		{"a list of a folder is reached by its glob", `path "a/b/*" { capabilities = ["list"] }`, "a/b", opList, true},
		{"a glob does not match in the middle", `path "a/*" { capabilities = ["read"] }`, "ab", opRead, false},
		{"no block, no access", ``, "a", opRead, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, err := parsePolicy("p", row.policy)
			if err != nil {
				t.Fatal(err)
			}
			s := &Server{policies: map[string]*policy{"p": p}}
			r := read
			r.op, r.path = row.op, row.path
			if got := s.allowed(&token{policies: []string{"p"}}, nil, &r); got != row.want {
				t.Fatalf("got %v", got)
			}
		})
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`path "a" { capabilities = ["fly"] }`:             `invalid capability "fly"`,
		"\npath \"a\" { allowed_parameters = {} }":        "line 2: path \"a\": key \"allowed_parameters\" is not modelled",
		`path "a" { capabilities = ["read"`:               "want , or ]",
		`path a {}`:                                       "want a quoted path",
		`path "a`:                                         "text without end",
		`/* path`:                                         "comment without end",
		`name = "x"`:                                      "want a path block",
		`path "a" { min_wrapping_ttl = "soon" }`:          "error parsing min_wrapping_ttl",
		`path "a" { capabilities = ["read"] } & path "b"`: "unexpected '&'",
	} {
		if _, err := parsePolicy("p", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func FuzzPolicyParserNeverPanics(f *testing.F) {
	f.Add(defaultPolicy)
	f.Add(`path "a/+/*" { capabilities = ["read",] min_wrapping_ttl = 30 }`)
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parsePolicy("p", text) })
}

func TestRoutes(t *testing.T) {
	rows := []struct {
		pattern, path, want string
		ok                  bool
	}{
		{"data/{path...}", "data/a/b", "a/b", true},
		{"metadata/{path...}", "metadata", "", true},
		{"roles/{path}", "roles/x", "x", true},
		{"roles/{path}", "roles/x/y", "", false},
		{"roles/{path}", "roles", "", false},
		{"role/{path}/secret-id", "role/x/secret-id", "x", true},
		{"login", "login/x", "", false},
	}
	for _, row := range rows {
		vars, ok := match(row.pattern, row.path)
		if ok != row.ok || ok && vars["path"] != row.want {
			t.Errorf("%s on %s: %v %v", row.pattern, row.path, vars, ok)
		}
	}
}
