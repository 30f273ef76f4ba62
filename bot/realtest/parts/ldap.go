package parts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// LDAP is an OpenLDAP server with an empty directory of people.
type LDAP struct {
	*Process
	URL string
}

// The directory, and who may change it.
const (
	LDAPBase     = "ou=people,dc=acme,dc=test"
	LDAPAdmin    = "cn=admin,dc=acme,dc=test"
	LDAPPassword = "another password of tests alone"
)

// StartLDAP makes a directory and starts its server.
func StartLDAP(ctx context.Context, dir string) (*LDAP, error) {
	binary, err := program("slapd")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	l := &LDAP{URL: fmt.Sprintf("ldap://127.0.0.1:%d", port)}
	config := fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
database mdb
maxsize 67108864
suffix "dc=acme,dc=test"
rootdn %[2]q
rootpw %[3]q
directory %[1]s/data
access to attrs=userPassword by anonymous auth by self read
access to * by users read
`, dir, LDAPAdmin, LDAPPassword)
	file := filepath.Join(dir, "slapd.conf")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "data"), 0o700), os.WriteFile(file, []byte(config), 0o600)); err != nil {
		return nil, fmt.Errorf("write the configuration of slapd: %w", err)
	}
	if l.Process, err = start(exec.Command(binary, "-d", "0", "-f", file, "-h", l.URL), filepath.Join(dir, "log")); err != nil {
		return nil, err
	}
	err = l.until(ctx, "start slapd", func() error {
		return l.add(ctx, "dn: dc=acme,dc=test\nobjectClass: dcObject\nobjectClass: organization\no: acme\ndc: acme\n\n"+
			"dn: "+LDAPBase+"\nobjectClass: organizationalUnit\nou: people\n")
	})
	return l, err
}

func (l *LDAP) add(ctx context.Context, ldif string) error {
	cmd := exec.CommandContext(ctx, "ldapadd", "-x", "-H", l.URL, "-D", LDAPAdmin, "-w", LDAPPassword)
	cmd.Stdin = strings.NewReader(ldif)
	_, err := run(cmd)
	return err
}

// People returns the distinguished names below LDAPBase.
func (l *LDAP) People(ctx context.Context) (names []string, err error) {
	out, err := run(exec.CommandContext(ctx, "ldapsearch", "-LLL", "-x", "-H", l.URL, "-D", LDAPAdmin, "-w", LDAPPassword,
		"-b", LDAPBase, "-s", "one", "-o", "ldif-wrap=no", "dn"))
	for line := range strings.Lines(out) {
		if dn, ok := strings.CutPrefix(strings.TrimSpace(line), "dn: "); ok {
			names = append(names, dn)
		}
	}
	return names, err
}

// Login binds as somebody and returns who the server says they are.
func (l *LDAP) Login(ctx context.Context, dn, password string) (string, error) {
	return run(exec.CommandContext(ctx, "ldapwhoami", "-x", "-H", l.URL, "-D", dn, "-w", password))
}
