package vaultlease

import (
	"strings"
	"testing"
)

func TestOnlyTheStatementThatCreatesALoginEndsIt(t *testing.T) {
	const clause = `VALID UNTIL '{{expiration}}'`
	for sql, want := range map[string]bool{
		createUser: true,
		"create user \"{{username}}\"\n  with login\n  valid  until\n  '{{expiration}}'": true,
		`SET ROLE x; CREATE ROLE {{name}} PASSWORD '{{password}}' /* an end */ @`:        true,
		`DO $$ BEGIN CREATE ROLE "{{name}}" LOGIN @; END $$`:                             true,
		`CREATE ROLE "{{name}}" PASSWORD '{{password}}-- ;' @`:                           true,
		`CREATE ROLE other; CREATE ROLE "{{name}}" @`:                                    true,
		"CREATE ROLE \"{{name}}\" -- an end\n @":                                         true,
		`CREATE ROLE "{{name}}" LOGIN -- @`:                                              false,
		`CREATE ROLE "{{name}}" LOGIN /* /* */ @ */`:                                     false,
		`CREATE ROLE "{{name}}" LOGIN /* @`:                                              false,
		`CREATE ROLE "{{name}}" LOGIN; ALTER ROLE x @`:                                   false,
		`CREATE ROLE "{{name}}" LOGIN; CREATE ROLE other @`:                              false,
		`CREATE ROLE "{{name}}" @; CREATE ROLE "{{name}}-2" LOGIN`:                       false,
		`CREATE ROLE "{{name}}" LOGIN PASSWORD 'VALID UNTIL ''{{expiration}}'''`:         false,
		`CREATE ROLE "{{name}}" LOGIN VALID UNTIL 'infinity'`:                            false,
		`GRANT x TO "{{name}}"`:                                                          false,
		"":                                                                               false,
	} {
		sql = strings.ReplaceAll(sql, "@", clause)
		if got := endsLogins(sql); got != want {
			t.Errorf("%s: %v", sql, got)
		}
	}
}
