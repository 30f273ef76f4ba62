package expression

import (
	"slices"
	"testing"
)

func TestOnlyRolesThatAreLookedForByNameMatter(t *testing.T) {
	for _, tt := range []struct {
		text  string
		named []string
		all   bool
	}{
		{`now > timestamp("2026-01-01T00:00:00Z")`, nil, false},
		{`"dba" in requester.roles`, []string{"dba"}, false},
		{`!("dba" in requester.roles) && "dev" in requester.roles || "dba" in requester.roles`, []string{"dba", "dev"}, false},
		{`"d" + "ba" in requester.roles`, nil, true},
		{`requester.login in requester.roles`, nil, true},
		{`requester.roles.exists(r, r == "dba")`, nil, true},
		{`size(requester.roles) == 0`, nil, true},
		{`"dba" in requester.roles && requester.roles == ["dba"]`, []string{"dba"}, true},
		{`"dba" in ["a"] && requester.id == 1`, nil, false},
		{`has(requester.roles)`, nil, true},
		{`"dba" in (requester.roles + ["x"])`, nil, true},
	} {
		p, err := Compile(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if named, all := p.Roles(); !slices.Equal(named, tt.named) || all != tt.all {
			t.Errorf("%s: %v, %t; want %v, %t", tt.text, named, all, tt.named, tt.all)
		}
	}
}
