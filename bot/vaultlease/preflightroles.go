package vaultlease

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// judgeRole judges the engine's role behind a target.
func (r *reading) judgeRole(f *world.Findings, t targetReading) {
	mount, name, ok := roleOf(t.Target)
	if !ok {
		f.Wrong(t.Target.Path, "vault: {path: "+examplePath(t.Target.Engine)+"} in the Resource document", "this is not the path of a %s role", t.Target.Engine)
		return
	}
	path := mount + "/roles/" + name
	switch err := t.roleErr; {
	case err != nil && outage(err):
		f.Silent(path, err)
		return
	case err != nil:
		f.Wrong(path, r.plan.setupLine(), "the bot may not read the role, and so cannot know that its bounds end anything: %v", err)
		return
	case t.role == nil:
		f.Wrong(path, r.plan.setupLine(), "the role does not exist")
		return
	}
	before := len(f.List)
	switch t.Target.Engine {
	case grants.EngineDatabase:
		judgeDatabaseRole(f, path, t)
	case grants.EngineSSH:
		judgeSSHRole(f, path, t)
	case grants.EnginePKI:
		judgePKIRole(f, path, t)
	}
	if len(f.List) == before {
		f.Fine(path, "the role has the bounds and statements that it needs")
	}
}

var (
	ending   = regexp.MustCompile(`(?i)pg_terminate_backend\s*\(`)
	dropping = regexp.MustCompile(`(?i)drop\s+(role|user)\b`)
)

func judgeDatabaseRole(f *world.Findings, path string, t targetReading) {
	var role struct {
		DefaultTTL int64    `json:"default_ttl"`
		MaxTTL     int64    `json:"max_ttl"`
		Creation   []string `json:"creation_statements"`
		Revocation []string `json:"revocation_statements"`
	}
	if err := t.role.into(&role); err != nil {
		f.Wrong(path, "vault read "+path, "what Vault says of the role has an unexpected form: %v", err)
		return
	}
	write := "vault write " + path + " "
	first, most := time.Duration(role.DefaultTTL)*time.Second, time.Duration(role.MaxTTL)*time.Second
	if first < shortestLease || first > longestStray {
		f.Wrong(path+" default_ttl", write+"default_ttl="+wholeText(firstLease),
			"default_ttl is %s: a credential that a crash leaves unrecorded lives that long; it has to be from %s to %s", first, shortestLease, longestStray)
	}
	if most > 0 && most < t.Longest {
		f.Wrong(path+" max_ttl", write+"max_ttl="+wholeText(t.Longest), "max_ttl is %s: grants may last %s", most, t.Longest)
	}
	if !endsLogins(strings.Join(role.Creation, "\n;\n")) {
		f.Wrong(path+" creation_statements", write+"creation_statements="+shellQuoted(withEnd(role.Creation)),
			"the creation statements do not create the login with VALID UNTIL '{{expiration}}': with Vault gone nothing would end it")
	}
	revocation := strings.TrimSpace(withoutComments(strings.Join(role.Revocation, "\n")))
	mend := write + "revocation_statements=" + shellQuoted(dropUser)
	if !ending.MatchString(revocation) {
		f.Wrong(path+" revocation_statements", mend, "the revocation statements leave open sessions open: they do not call pg_terminate_backend")
	}
	if !dropping.MatchString(revocation) && revocation != "" {
		f.Wrong(path+" revocation_statements", mend, "the revocation statements do not drop the role")
	}
}

var password = regexp.MustCompile(`(?i)password\s+'\{\{password\}\}'`)

// withEnd returns creation statements that end the login: those that are
// there, with the clause added, or where that cannot be done an example.
func withEnd(creation []string) string {
	if len(creation) == 1 {
		if at := password.FindStringIndex(creation[0]); at != nil {
			return creation[0][:at[1]] + " VALID UNTIL '{{expiration}}'" + creation[0][at[1]:]
		}
	}
	return createUser + `"GRANTED_ROLE";`
}

// bounds collects what is wrong with a role that signs.
type bounds []string

func (b *bounds) check(wrong bool, format string, args ...any) {
	if wrong {
		*b = append(*b, fmt.Sprintf(format, args...))
	}
}

// tell reports everything that is wrong at once: writing such a role replaces
// it, so that there is one command for all of it.
func (b bounds) tell(f *world.Findings, path string, fields []Field) {
	if len(b) > 0 {
		f.Wrong(path, Step{Deed: Write, Path: path, Fields: fields}.oneLine(), "%s", strings.Join(b, "; "))
	}
}

func (b *bounds) checkLife(seconds int64, slice time.Duration) {
	most := time.Duration(seconds) * time.Second
	b.check(most <= 0, "max_ttl is not set, and a certificate cannot be taken back")
	b.check(most > 0 && most < slice, "max_ttl is %s: Vault refuses to sign for %s, the slice", most, slice)
	b.check(most > slice, "max_ttl is %s, longer than the slice of %s, and a certificate cannot be taken back", most, slice)
}

func judgeSSHRole(f *world.Findings, path string, t targetReading) {
	var role struct {
		KeyType         string `json:"key_type"`
		Users           bool   `json:"allow_user_certificates"`
		Hosts           bool   `json:"allow_host_certificates"`
		AllowedUsers    string `json:"allowed_users"`
		Template        bool   `json:"allowed_users_template"`
		EmptyPrincipals bool   `json:"allow_empty_principals"`
		KeyIDs          *bool  `json:"allow_user_key_ids"`
		MaxTTL          int64  `json:"max_ttl"`
	}
	if err := t.role.into(&role); err != nil {
		f.Wrong(path, "vault read "+path, "what Vault says of the role has an unexpected form: %v", err)
		return
	}
	allowed := commaList(role.AllowedUsers)
	var b bounds
	b.check(role.KeyType != "ca", "key_type is %q and not ca", role.KeyType)
	b.check(!role.Users, "allow_user_certificates is not set")
	b.check(role.Hosts, "allow_host_certificates is set: it could sign for servers")
	b.check(role.EmptyPrincipals, "allow_empty_principals is set: a certificate that names nobody is good for everybody")
	b.check(len(allowed) == 0 || slices.Contains(allowed, "*") || role.Template, "allowed_users is %q: it has to name the users", role.AllowedUsers)
	b.check(role.KeyIDs != nil && !*role.KeyIDs, "allow_user_key_ids is not set: the server's log could not say whose grant a session is")
	for _, p := range t.Target.Principals {
		b.check(!slices.Contains(allowed, p) && !slices.Contains(allowed, "*"), "allowed_users lacks %s", p)
	}
	b.checkLife(role.MaxTTL, t.Target.Slice)
	b.tell(f, path, sshRole(t.Target))
}

func judgePKIRole(f *world.Findings, path string, t targetReading) {
	var role struct {
		AnyName    bool     `json:"allow_any_name"`
		Bare       bool     `json:"allow_bare_domains"`
		Subdomains bool     `json:"allow_subdomains"`
		Globs      bool     `json:"allow_glob_domains"`
		Template   bool     `json:"allowed_domains_template"`
		Domains    []string `json:"allowed_domains"`
		Leases     bool     `json:"generate_lease"`
		NotAfter   string   `json:"not_after"`
		CSRName    bool     `json:"use_csr_common_name"`
		CSRNames   bool     `json:"use_csr_sans"`
		KeyType    string   `json:"key_type"`
		Server     bool     `json:"server_flag"`
		Client     bool     `json:"client_flag"`
		Code       bool     `json:"code_signing_flag"`
		Mail       bool     `json:"email_protection_flag"`
		Backdated  int64    `json:"not_before_duration"`
		MaxTTL     int64    `json:"max_ttl"`
	}
	if err := t.role.into(&role); err != nil {
		f.Wrong(path, "vault read "+path, "what Vault says of the role has an unexpected form: %v", err)
		return
	}
	var b bounds
	b.check(role.AnyName, "allow_any_name is set: it signs for every name there is")
	b.check(!role.Bare, "allow_bare_domains is not set: it does not sign for the names themselves")
	b.check(role.Subdomains, "allow_subdomains is set: it signs for names that no grant has")
	b.check(role.Globs || role.Template, "allow_glob_domains or allowed_domains_template is set: allowed_domains has to name the names")
	b.check(role.CSRName || role.CSRNames, "use_csr_common_name or use_csr_sans is set: names would come from the claimant's request, and alt_names be passed over")
	b.check(role.KeyType != "any" && role.KeyType != "ec", "key_type is %q: tac makes keys of kind ec", role.KeyType)
	b.check(!role.Server && !role.Client, "neither client_flag nor server_flag is set: a certificate would be good for any use")
	b.check(role.Code || role.Mail, "code_signing_flag or email_protection_flag is set: a certificate is for clients and servers")
	b.check(role.Backdated > int64(mostBackdating/time.Second), "not_before_duration is %d s: a certificate must not begin more than %s before it is signed", role.Backdated, mostBackdating)
	b.check(role.Leases, "generate_lease is set: certificates end by themselves, and Vault would keep a lease for each")
	b.check(role.NotAfter != "", "not_after is set: certificates would all end on one day and not with their slice")
	for _, p := range t.Target.Principals {
		b.check(!slices.Contains(role.Domains, p), "allowed_domains lacks %s", p)
	}
	b.checkLife(role.MaxTTL, t.Target.Slice)
	b.tell(f, path, pkiRole(t.Target))
}

func commaList(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}
