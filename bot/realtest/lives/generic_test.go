package lives

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/grants"
)

// directory is a prop of the generic engine: an account in a directory, which
// Vault's ldap engine makes and deletes.
func directory(name string) prop {
	encode := func(ldif string) string { return base64.StdEncoding.EncodeToString([]byte(ldif)) }
	dn := "dn: cn={{.Username}}," + parts.LDAPBase + "\n"
	return prop{
		resource: "directory",
		target:   grants.Target{Engine: grants.EngineGeneric, Path: "ldap/creds/" + name, Policy: "tac-ldap-" + name},
		path:     "ldap/role/" + name,
		role: map[string]any{
			"creation_ldif": encode(dn + "objectClass: person\nobjectClass: top\ncn: {{.Username}}\nsn: {{.Username}}\nuserPassword: {{.Password}}\n"),
			"deletion_ldif": encode(dn + "changetype: delete\n"), "rollback_ldif": encode(dn + "changetype: delete\n"),
			"default_ttl": defaultTTL.String(), "max_ttl": "24h",
		},
	}
}

func TestAnAccountInADirectoryLivesOnlyAsLongAsItsGrant(t *testing.T) {
	t.Parallel()
	l, err := parts.StartLDAP(t.Context(), filepath.Join(shared.dir, "ldap"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Kill)
	if _, err := shared.vault.CLI(t.Context(), "secrets", "enable", "ldap"); err != nil {
		t.Fatal(err)
	}
	config := map[string]any{"binddn": parts.LDAPAdmin, "bindpass": parts.LDAPPassword, "url": l.URL, "schema": "openldap"}
	if err := shared.vault.Write(t.Context(), "ldap/config", config); err != nil {
		t.Fatal(err)
	}
	s := newStage(t, shared.vault, shared.postgres, directory)
	s.start("one")
	id := s.asked("directory", 2*time.Hour)
	h := s.takes(id)
	dn := "cn=" + h.Credential.Username + "," + parts.LDAPBase
	if people, err := l.People(t.Context()); err != nil || len(people) != 1 || people[0] != dn {
		t.Errorf("the directory has %q, %v; want %s alone", people, err, dn)
	}
	if who, err := l.Login(t.Context(), dn, h.Credential.Password); err != nil || !strings.Contains(who, dn) {
		t.Errorf("the login said %q, %v", who, err)
	}
	a := s.as("alice", "access", "exec", id, "--", "sh", "-c", `ldapwhoami -x -H `+l.URL+` -D "cn=$TAC_USERNAME,`+parts.LDAPBase+`" -w "$TAC_PASSWORD"`)
	if a.code != 0 || !strings.Contains(a.stdout, dn) {
		t.Errorf("tac access exec -- ldapwhoami: %s", a)
	}
	s.drops(id)
	s.until("the account is gone", time.Minute, func() error {
		people, err := l.People(t.Context())
		if len(people) > 0 {
			err = fmt.Errorf("the directory has %q", people)
		}
		return err
	})
	if who, err := l.Login(t.Context(), dn, h.Credential.Password); err == nil {
		t.Errorf("after the end the login said %q", who)
	}
	s.ended(id, time.Minute, noStray)
}
