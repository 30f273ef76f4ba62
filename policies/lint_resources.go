package policies

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

var resourceChecks = []check{
	{Rule{"resource/unknown", SeverityError, "a policy or guardrail names a resource that does not exist",
		"It is about nothing, and the resource that was meant goes without it. Mend the name, or describe the resource."}, unknownResources},
	{Rule{"resource/no-policy", SeverityWarning, "a resource has no policy",
		"Every request for it is denied. Write a policy, or take the resource out."}, ungovernedResources},
	{Rule{"resource/no-owner", SeverityWarning, "a resource has no owners",
		"Only the role `security` can end access to it early, and team_scope never holds. Name the roles that own it."}, unownedResources},
	{Rule{"resource/secret", SeverityError, "the connect line holds a secret, or puts one where others can read it",
		"Everybody who reads the repository sees connect, and the arguments of a command are shown to every user of a machine. tac sets TAC_PASSWORD and PGPASSWORD in the environment; let the command read it there."}, exposedSecrets},
	{Rule{"resource/outlives", SeverityWarning, "certificates over a long time, which nothing can call back",
		"A certificate has no lease: when access ends early, the last slice works on until it runs out, and a session that is open then stays open. Keep such grants to a day."}, outlivingCertificates},
	{Rule{"environment/unknown", SeverityWarning, "an environment is named that no resource is in",
		"A condition for it never holds, and a guardrail for it guards nothing. Mend the name, there or in the resources."}, unknownEnvironments},
	{Rule{"environment/odd", SeverityWarning, "one resource is in an environment that looks like a misspelt one",
		"Guardrails and conditions for the environment that was meant pass this resource over. Mend its environment."}, oddEnvironments},
}

func unknownResources(l *linter) {
	unknown := func(what string, targets []target) {
		for _, t := range targets {
			if !t.glob() && l.set.resources[t.pattern] == nil {
				l.find(t.pos, "%s: there is no resource %s%s", what, t.pattern, suggest(l, t.pattern, l.set.resources))
			}
		}
	}
	for _, p := range l.set.policies {
		unknown(p.name, p.targets)
	}
	for _, g := range l.set.guardrails {
		unknown("the guardrail "+g.name, g.targets)
	}
}

func ungovernedResources(l *linter) {
	for _, r := range l.resources {
		if len(r.policies) == 0 {
			l.find(r.pos, "%s has no policy, so every request for it is denied", r.Name)
		}
	}
}

func unownedResources(l *linter) {
	for _, r := range l.resources {
		if len(r.owners.refs) == 0 {
			l.find(r.pos, "%s has no owners, so only the role %s can revoke it early", r.Name, securityRole)
		}
	}
}

const secretName = `[A-Za-z0-9_]*(?:password|passwd|passphrase|pwd|secret|token|api_?key)`

var (
	// assignments before a command go into its environment, not its arguments.
	environmentForm = regexp.MustCompile(`(?:^|[;&|]\s*)(?:(?:env|export)\s+)?((?:[A-Za-z_][A-Za-z0-9_]*=(?:"[^"]*"|'[^']*'|\$\([^)]*\)|[^\s;&|]+)\s*)+)`)
	assignedForm    = regexp.MustCompile(`(?i)\b(` + secretName + `)=("[^"]*"|'[^']*'|[^\s;&|"']+)`)
	optionForm      = regexp.MustCompile(`(?i)(?:^|\s)(--?(?:password|passwd|token|secret|api-?key))(?:=|\s+)("[^"]*"|'[^']*'|[^\s-][^\s]*)`)
	userInfoForm    = regexp.MustCompile(`://[^/\s:@"']*:([^@\s/"']+)@`)
	shortForm       = regexp.MustCompile(`\b(?:(?:mysql|mariadb|mysqldump)\s(?:[^|;&]*\s)?-p[^\s|;&]+|sshpass\s+-p|redis-cli\s(?:[^|;&]*\s)?-a\s)`)
	issuedForm      = regexp.MustCompile(`\$\{?(?:TAC_PASSWORD|PGPASSWORD|VAULT_TOKEN)\b`)
	// What the shell itself says, and what is read from standard input, is in
	// no command's arguments.
	spokenForm = regexp.MustCompile(`\b(?:echo|printf)\s[^|;&]*\||<<<\s*("[^"]*"|\S+)`)
)

// exposedSecret says what in a shell line gives a secret away; "" where
// nothing does.
func exposedSecret(line string) string {
	for _, m := range assignedForm.FindAllStringSubmatch(line, -1) {
		if !strings.HasPrefix(strings.Trim(m[2], `"'`), "$") {
			return m[1] + " is written out"
		}
	}
	arguments := environmentForm.ReplaceAllStringFunc(line, func(s string) string { return s[:strings.IndexAny(s+"=", "=")] + " " })
	arguments = spokenForm.ReplaceAllString(arguments, " ")
	if m := assignedForm.FindStringSubmatch(arguments); m != nil {
		return m[1] + " stands in the arguments of a command"
	}
	if m := optionForm.FindStringSubmatch(arguments); m != nil {
		return m[1] + " stands in the arguments of a command"
	}
	if userInfoForm.MatchString(arguments) {
		return "an address holds a password"
	}
	if m := shortForm.FindString(arguments); m != "" {
		return "a password stands in the arguments of " + strings.Fields(m)[0]
	}
	if m := issuedForm.FindString(arguments); m != "" {
		return strings.Trim(m, "${") + " stands in the arguments of a command"
	}
	return ""
}

func exposedSecrets(l *linter) {
	for _, r := range l.resources {
		if what := exposedSecret(r.Connect); what != "" {
			l.find(r.written.Connect.Pos, "connect: %s, where others can read it; let the command take it from its environment, in which tac puts PGPASSWORD and TAC_PASSWORD", what)
		}
	}
}

// longCertificates is how long a grant of certificates may be without remark:
// what one notices the same day ends the same day.
const longCertificates = 24 * time.Hour

func outlivingCertificates(l *linter) {
	for _, r := range l.resources {
		longest := r.ceiling()
		signed := r.Vault.Engine == grants.EngineSSH || r.Vault.Engine == grants.EnginePKI
		if signed && len(r.policies) > 0 && longest > longCertificates {
			l.find(posOr(r.written.MaxDuration, r.pos), "%s: up to %s by certificates, which nothing can call back: after an early end the last one works for up to %s more, and a session that is open then stays; lower max_duration to %s or less",
				r.Name, grants.FormatDuration(longest), grants.FormatDuration(r.Vault.Slice), grants.FormatDuration(longCertificates))
		}
	}
}

// environments counts the resources in each environment.
func (l *linter) environments() map[string]int {
	known := map[string]int{}
	for _, r := range l.resources {
		if r.Environment != "" {
			known[r.Environment]++
		}
	}
	return known
}

// eachEnvironment calls yield with every mention of an environment outside
// the resources.
func (l *linter) eachEnvironment(yield func(what string, v strictyaml.Value[string])) {
	l.eachCondition(func(_ *policy, c *condition, written *conditionSpec) {
		for _, v := range written.Environment.V {
			yield(c.rule, v)
		}
	})
	for _, g := range l.set.guardrails {
		for _, v := range g.written.Environment.V {
			yield("the guardrail "+g.name, v)
		}
	}
}

func unknownEnvironments(l *linter) {
	known := l.environments()
	l.eachEnvironment(func(what string, v strictyaml.Value[string]) {
		if known[v.V] == 0 {
			l.find(v.Pos, "%s: no resource is in the environment %s%s", what, v.V, suggest(l, v.V, known))
		}
	})
}

func oddEnvironments(l *linter) {
	known, named := l.environments(), map[string]bool{}
	l.eachEnvironment(func(_ string, v strictyaml.Value[string]) { named[v.V] = known[v.V] > 0 })
	maps.DeleteFunc(named, func(_ string, there bool) bool { return !there })
	for _, r := range l.resources {
		if r.Environment == "" || named[r.Environment] || known[r.Environment] > 1 {
			continue
		}
		if near, ok := strictyaml.Nearest(r.Environment, slices.Sorted(maps.Keys(named))); ok {
			l.find(r.written.Environment.Pos, "%s is the only resource in the environment %s; was %s meant? What policies and guardrails say of that passes it over", r.Name, r.Environment, near)
		}
	}
}

// ofResources is " on a and b".
func ofResources(rs []*resource) string { return fmt.Sprintf("on %s", few(resourceNames(rs))) }
