package policies

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

var (
	vaultPathForm = regexp.MustCompile(`^[a-z0-9_-]+(?:/[a-z0-9_-]+)+$`)
	vaultNameForm = regexp.MustCompile(`^tac-[a-z0-9_-]{1,60}$`)
	userForm      = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	labelForm     = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)
)

var vaultEngines = []string{grants.EngineDatabase, grants.EngineSSH, grants.EnginePKI, grants.EngineGeneric}

func checkVaultEngine(s string) error {
	if !slices.Contains(vaultEngines, s) {
		return fmt.Errorf("expected database, ssh, pki or generic, found %s", strictyaml.Quote(s))
	}
	return nil
}

func checkVaultPath(s string) error {
	if !vaultPathForm.MatchString(s) {
		return fmt.Errorf("%s is not a path of Vault; write it as database/creds/postgres-prod", strictyaml.Quote(s))
	}
	// A grant's token must never reach what governs Vault itself.
	switch mount, _, _ := strings.Cut(s, "/"); mount {
	case "sys", "auth", "identity", "cubbyhole":
		return fmt.Errorf("%s is part of Vault's own administration; name a secrets engine", strictyaml.Quote(s))
	}
	return nil
}

func checkVaultPolicy(s string) error {
	if !vaultNameForm.MatchString(s) {
		return fmt.Errorf("%s is not a policy for grants; their names start with tac-, since Vault lets the bot hand out no others", strictyaml.Quote(s))
	}
	return nil
}

// checkSignPath returns an error unless a path is MOUNT/sign/ROLE: the one
// kind of path on which ssh and pki sign a key of the claimant's own within
// the limits of a role. MOUNT/issuer/REF/sign/ROLE signs too, but neither the
// mount nor the role is then where set-up and doctor look for them.
func checkSignPath(path string) error {
	parts := strings.Split(path, "/")
	n := len(parts)
	if n >= 3 && parts[n-2] == "sign" {
		before := parts[:n-2]
		mount := withoutIssuer(before)
		if len(mount) == len(before) {
			return nil
		}
		return fmt.Errorf("%s names an issuer, which is for the role to do (issuer_ref); write %s/sign/%s",
			strictyaml.Quote(path), strings.Join(mount, "/"), parts[n-1])
	}
	// What would have worked: the same role, where there is one.
	verbs := map[string]string{
		"sign-verbatim": "signs whatever is asked for and leaves out the role's limits",
		"issue":         "has Vault make the private key, which is to be the claimant's own",
		"creds":         "gives a password that no certificate limits",
	}
	for _, at := range []int{n - 2, n - 1} {
		why, known := verbs[parts[at]]
		if !known || at == 0 {
			continue
		}
		role := "ROLE"
		if at == n-2 {
			role = parts[n-1]
		}
		return fmt.Errorf("%s %s; write %s/sign/%s", strictyaml.Quote(path), why, strings.Join(withoutIssuer(parts[:at]), "/"), role)
	}
	return fmt.Errorf("%s is not where a role signs; write %s/sign/ROLE", strictyaml.Quote(path), parts[0])
}

// withoutIssuer takes issuer/REF off what stands before a verb.
func withoutIssuer(parts []string) []string {
	if n := len(parts); n >= 3 && parts[n-2] == "issuer" {
		return parts[:n-2]
	}
	return parts
}

func checkUser(s string) error {
	if !userForm.MatchString(s) {
		return fmt.Errorf("%s is not the name of a user", strictyaml.Quote(s))
	}
	return nil
}

// Longest names of a certificate: of a common name (X.520), and of a host.
const (
	longestCommonName = 64
	longestHostName   = 253
)

// checkHostName returns an error unless s is a name that a certificate may
// have: a host name, or a single label. It is strict because verifiers differ
// in what they make of anything else: no wildcard, no address, no capitals,
// nothing beyond ASCII.
func checkHostName(s string) error {
	labels := strings.Split(s, ".")
	for _, label := range labels {
		switch {
		case strings.Contains(label, "*"):
			return fmt.Errorf("%s is a wildcard, which is good for hosts that nobody named; name each one", strictyaml.Quote(s))
		case !labelForm.MatchString(label):
			return fmt.Errorf("%s is not a name for a certificate; write it as payments.acme.test, in small letters, digits and hyphens", strictyaml.Quote(s))
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return fmt.Errorf("%s is an address and not a name; write it as payments.acme.test", strictyaml.Quote(s))
	}
	if len(s) > longestHostName {
		return fmt.Errorf("the name has %d characters; %d is the most", len(s), longestHostName)
	}
	return nil
}

func (c *compiler) vault(spec *resourceSpec) grants.Target {
	v := &spec.Vault
	t := grants.Target{
		Engine: checked(c, "spec.vault.engine", v.Engine, checkVaultEngine),
		Path:   checked(c, "spec.vault.path", v.Path, checkVaultPath),
		Policy: checked(c, "spec.vault.policy", v.Policy, checkVaultPolicy),
	}
	if t.Engine == grants.EngineSSH || t.Engine == grants.EnginePKI {
		c.signing(spec, &t)
		return t
	}
	if v.Principals.Set {
		c.fault(v.Principals.Pos, "value", "spec.vault.principals: only ssh and pki have principals")
	}
	if v.Slice.Set {
		c.fault(v.Slice.Pos, "value", "spec.vault.slice: only ssh and pki have slices")
	}
	return t
}

// signing reads what engines need that sign certificates.
func (c *compiler) signing(spec *resourceSpec, t *grants.Target) {
	v := &spec.Vault
	if vaultPathForm.MatchString(t.Path) { // else it was refused already
		checked(c, "spec.vault.path", v.Path, checkSignPath)
	}
	t.Slice = c.length("spec.vault.slice", v.Slice, DefaultSlice, time.Minute, DefaultSlice)
	check, whom := checkUser, "the users that a certificate admits"
	if t.Engine == grants.EnginePKI {
		check, whom = checkHostName, "the names that a certificate bears, the common name first"
	}
	for i, p := range v.Principals.V {
		checked(c, fmt.Sprintf("spec.vault.principals[%d]", i), p, func(s string) error {
			switch {
			case slices.Contains(t.Principals, s):
				return fmt.Errorf("%s stands here a second time", strictyaml.Quote(s))
			case t.Engine == grants.EnginePKI && i == 0 && len(s) > longestCommonName:
				return fmt.Errorf("the common name has %d characters; %d is the most, so put a shorter name first", len(s), longestCommonName)
			}
			return check(s)
		})
		t.Principals = append(t.Principals, p.V)
	}
	if len(t.Principals) == 0 {
		c.fault(v.Engine.Pos, "value", "spec.vault: %s needs principals, %s", t.Engine, whom)
	}
}
