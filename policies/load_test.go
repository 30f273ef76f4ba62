package policies

import (
	"github.com/tigeraccess/tac/grants"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheDocumentsOfTheDesignLoad(t *testing.T) {
	s := mustLoad(t, readDir(t, "design")...)
	want := []Resource{
		{
			Name: "bastion", Owners: []string{"platform"}, Connect: "ssh deploy@bastion.internal",
			Vault: grants.Target{Engine: grants.EngineSSH, Path: "ssh/sign/bastion", Policy: "tac-bastion", Principals: []string{"deploy"}, Slice: 10 * minute},
		},
		{
			Name: "postgres-prod", Description: "payments primary, read-write", Owners: []string{"payments"}, MaxDuration: 8 * hour,
			Connect: `psql -h db.internal -U "$TAC_USERNAME" payments`,
			Vault:   grants.Target{Engine: grants.EngineDatabase, Path: "database/creds/postgres-prod", Policy: "tac-postgres-prod"},
		},
	}
	got := s.Resources()
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	for i := range want {
		if g, w := got[i], want[i]; g.Name != w.Name || g.Description != w.Description || !slices.Equal(g.Owners, w.Owners) || g.MaxDuration != w.MaxDuration ||
			g.Connect != w.Connect || g.Vault.Engine != w.Vault.Engine || g.Vault.Path != w.Vault.Path || g.Vault.Policy != w.Vault.Policy ||
			!slices.Equal(g.Vault.Principals, w.Vault.Principals) || g.Vault.Slice != w.Vault.Slice {
			t.Errorf("got %+v\nwant %+v", g, w)
		}
	}
	got[0].Owners[0] = "changed"
	if again, _ := s.Resource("bastion"); again.Owners[0] != "platform" {
		t.Error("a caller can change the set")
	}
	for _, find := range []func() (Person, bool){
		func() (Person, bool) { return s.Person(1001) },
		func() (Person, bool) { return s.PersonByLogin("Alice") },
		func() (Person, bool) { return s.PersonBySlack("U01ALICE") },
	} {
		if p, ok := find(); !ok || p != (Person{Principal: alice, Slack: "U01ALICE", Email: "alice@acme.test", Manager: "dana"}) {
			t.Errorf("found %+v", p)
		}
	}
	if _, ok := s.PersonBySlack(""); ok {
		t.Error("an empty Slack id finds somebody")
	}
}

func TestEveryKeyOfTheDesignLoads(t *testing.T) {
	s := mustLoad(t, doc("all.yaml", `apiVersion: tac/v1
kind: AccessPolicy
metadata: {name: all}
spec:
  resources: [postgres-*, redis-prod]
  request: {roles: [developer]}
  max_duration: 12h
  request_ttl: 2h
  auto_approve:
    conditions:
      - name: everything
        role: [developer]
        max_duration: 1h
        require_ticket: true
        business_hours_only: true
        calendar: default
        team_scope: true
        on_call: [duty]
        ticket: {pattern: 'INC-\d+', tracker: jira, state: open}
  approval:
    required_approvers: 2
    approver_roles: [team-lead, manager]
    escalate: [{after: 15m, to: security}]
  extensions: {max: 2, each: 1h}
  break_glass: {roles: [duty], max_duration: 1h, require_ticket: false, review_within: 24h}
  audit: {require_reason: true, record_session: true}
---
kind: Role
metadata: {name: duty}
spec: {pagerduty: {schedule: PABC123, levels: [1, 2]}}
`), File{Path: "policies/tests/a.yaml", Data: []byte("kind: PolicyTest\nanything: {goes: here}\n")})
	p := s.policies[0]
	if p.maxDuration != 12*hour || p.requestTTL != 2*hour || p.approval.required != 2 || !p.requireReason || !p.recordSession || p.conditions[0].rule != "everything" {
		t.Errorf("got %+v", p)
	}
}

func TestACertificateBearsThePolicysNames(t *testing.T) {
	s := mustLoad(t, doc("r.yaml", `kind: Resource
metadata: {name: payments}
spec:
  vault: {engine: pki, path: team/pki/sign/web-1, policy: tac-payments, principals: [payments.acme.test, xn--bcher-kva.acme.test, deploy], slice: 5m}
`))
	want := grants.Target{
		Engine: grants.EnginePKI, Path: "team/pki/sign/web-1", Policy: "tac-payments", Slice: 5 * minute,
		Principals: []string{"payments.acme.test", "xn--bcher-kva.acme.test", "deploy"},
	}
	if r, ok := s.Resource("payments"); !ok || !reflect.DeepEqual(r.Vault, want) {
		t.Errorf("got %+v\nwant %+v", r.Vault, want)
	}
}

func TestMistakesAreToldWithTheirPlace(t *testing.T) {
	policy := func(spec string) string { return "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n" + spec }
	calendar := func(spec string) string { return "kind: Calendar\nmetadata: {name: c}\nspec: {" + spec + "}\n" }
	rotation := func(spec string) string {
		return "kind: Role\nmetadata: {name: r}\nspec:\n  rotation: {" + spec + "}\n"
	}
	people := func(list string) string { return "kind: People\nmetadata: {name: p}\nspec:\n  people:\n" + list }
	vault := func(v string) string { return "kind: Resource\nmetadata: {name: r}\nspec:\n  vault: {" + v + "}\n" }
	pki := func(path, names string) string {
		return vault("engine: pki, path: " + path + ", policy: tac-a, principals: [" + names + "]")
	}
	conditions := func(list string) string { return policy("  resource: r\n  auto_approve:\n    conditions:\n" + list) }

	tests := []struct{ claim, text, want string }{
		{"an empty file is no policy", "", "policies:1:1: no policy documents here; is this a grants repository?"},
		{"a document without kind", "metadata: {name: x}\n", "policies/x.yaml:1:1: the key kind is missing; expected one of AccessPolicy, Calendar, Guardrail, People, PolicyTest, Resource, Role"},
		{"an unknown kind", "kind: AcessPolicy\n", `policies/x.yaml:1:7: unknown kind "AcessPolicy"; did you mean AccessPolicy?`},
		{"a test outside its folder", "kind: PolicyTest\n", `policies/x.yaml:1:7: policies/tests/ holds PolicyTest documents and nothing else does; found "PolicyTest" here; move this file to policies/tests/`},
		{"another version", "apiVersion: tac/v2\n" + calendar(`timezone: UTC, days: [mon], hours: "09:00-17:00"`), `policies/x.yaml:1:13: apiVersion: expected tac/v1, found "tac/v2"`},
		{"an unknown key, with what was meant", policy("  resource: r\n  aproval: {}\n"), `policies/x.yaml:5:3: spec: unknown key "aproval"; did you mean approval?`},
		{"a key twice", policy("  resource: r\n  resource: s\n"), `policies/x.yaml:5:3: the key "resource" stands here a second time (first on line 4); keep one`},
		{"an anchor", policy("  resource: &a r\n  resources: [a]\n"), "policies/x.yaml:4:13: anchors (&a) are not allowed; write the value out where it is needed"},
		{"no YAML at all", "kind: [\n", "policies/x.yaml:1:1: this is not YAML: did not find expected node content"},
		{"a bad duration", policy("  resource: r\n  max_duration: 4\n"), `policies/x.yaml:4:17`},
		{"a duration over a week", policy("  resource: r\n  max_duration: 8d\n"), "policies/x.yaml:5:17: spec.max_duration: 192h is not between 1m and 168h"},
		{"a bad name", "kind: Role\nmetadata: {name: Прод}\nspec: {}\n", `policies/x.yaml:2:18: metadata.name: "Прод" is not a name; names have 1 to 63 of a-z, 0-9 and -`},
		{"resource and resources", policy("  resource: a\n  resources: [a]\n"), "policies/x.yaml:5:14: spec: write either resource or resources, which say what the policy is about"},
		{"several under resource", policy("  resource: [a, b]\n"), "policies/x.yaml:4:13: spec.resource: expected a text, found a list; for several write resources: [a, b]"},
		{"weeks", policy("  resource: a\n  request_ttl: 2w\n"), `policies/x.yaml:5:16: spec.request_ttl: "2w" is not a duration; write a length such as 30m, 2h or 1h30m; weeks are not known; write 14d`},
		{"a number in quotes", "kind: People\nmetadata: {name: x}\nspec: {people: [{github: a, id: \"1001\"}]}\n", `policies/x.yaml:3:33: spec.people[0].id: expected a whole number, found the text "1001"; write it without quotes`},
		{"neither resource nor resources", policy("  max_duration: 4h\n"), "policies/x.yaml:2:18: spec: write either resource or resources, which say what the policy is about"},
		{"a pattern in the wrong place", policy("  resource: postgres-*\n"), `policies/x.yaml:4:13: spec.resource: patterns belong into resources: ["postgres-*"]`},
		{"no resources", policy("  resources: []\n"), "policies/x.yaml:4:14: spec.resources: the list is empty; name a resource"},
		{"required_approvers 0", policy("  resource: r\n  approval: {required_approvers: 0, approver_roles: [a]}\n"), "policies/x.yaml:5:34: spec.approval.required_approvers: expected 1 or more, found 0"},
		{"a role twice", policy("  resource: r\n  approval: {approver_roles: [a, a]}\n"), "policies/x.yaml:5:34: spec.approval.approver_roles: a stands here a second time"},
		{"a role as a text", conditions("      - role: developer\n"), `policies/x.yaml:7:15: spec.auto_approve.conditions[0].role: expected a list, found the text "developer"; write [a, b]`},
		{"a condition that asks nothing", conditions("      - {name: anything-goes}\n"), "policies/x.yaml:7:9: spec.auto_approve.conditions[0]: asks nothing and would let everybody in; name a role, or take the condition out"},
		{"a condition that asks nothing by saying false", conditions("      - {require_ticket: false}\n"), "policies/x.yaml:7:9: spec.auto_approve.conditions[0]: asks nothing and would let everybody in; name a role, or take the condition out"},
		{"a ticket that asks nothing", conditions("      - {ticket: {}}\n"), "policies/x.yaml:7:18: spec.auto_approve.conditions[0].ticket: asks nothing; name a pattern, a tracker or a state, or write require_ticket: true"},
		{"a calendar and no hours", conditions("      - {calendar: c, business_hours_only: false}\n"), "policies/x.yaml:7:44: spec.auto_approve.conditions[0]: names a calendar and says business_hours_only: false; keep one of the two"},
		{"a pattern that does not compile", conditions("      - ticket: {pattern: 'INC-['}\n"), "policies/x.yaml:7:27: spec.auto_approve.conditions[0].ticket.pattern: \"INC-[\" is not a regular expression: missing closing ]: `[`"},
		{"a pattern that would break out of its anchors", conditions("      - ticket: {pattern: 'a)|(b'}\n"), "policies/x.yaml:7:27: spec.auto_approve.conditions[0].ticket.pattern: \"a)|(b\" is not a regular expression: unexpected ): `a)|(b`"},
		{"two rules of one name", conditions("      - {name: same, role: [a]}\n      - {name: same, role: [b]}\n"), `policies/x.yaml:8:16: the rule "same" stands here a second time (first in policies/x.yaml:7)`},
		{"two policies of one name", policy("  resource: r\n") + "---\n" + policy("  resource: s\n"), `policies/x.yaml:7:18: AccessPolicy "p" stands here a second time (first in policies/x.yaml:2)`},
		{"an unknown zone", calendar(`timezone: Europe/Berlino, days: [mon], hours: "09:00-17:00"`), `policies/x.yaml:3:18: spec.timezone: "Europe/Berlino": this zone is not known; expected one such as Europe/Berlin or UTC`},
		{"a zone that depends on the machine", calendar(`timezone: Local, days: [mon], hours: "09:00-17:00"`), `policies/x.yaml:3:18: spec.timezone: "Local": expected a zone such as Europe/Berlin or UTC`},
		{"hours over midnight", calendar(`timezone: UTC, days: [mon], hours: "22:00-06:00"`), `policies/x.yaml:3:43: spec.hours: "22:00-06:00" cross midnight, which hours must not; for a night shift write two calendars`},
		{"hours of no day", calendar(`timezone: UTC, days: [mon], hours: "09:00-24:30"`), `policies/x.yaml:3:43: spec.hours: "09:00-24:30" are not hours of a day, which run from 00:00 to 24:00`},
		{"no hours", calendar(`timezone: UTC, days: [mon], hours: "09:00-09:00"`), `policies/x.yaml:3:43: spec.hours: "09:00-09:00" are no time at all; write them as "09:00-17:00"`},
		{"a day of another language", calendar(`timezone: UTC, days: [lun], hours: "09:00-17:00"`), `policies/x.yaml:3:30: spec.days[0]: "lun" is not a day; expected mon, tue, wed, thu, fri, sat or sun`},
		{"a holiday that is no date", calendar(`timezone: UTC, days: [mon], hours: "09:00-17:00", holidays: [2026-02-30]`), `policies/x.yaml:3:69: spec.holidays[0]: "2026-02-30" is not a date; write it as 2026-12-25`},
		{"a shift of half days", rotation("timezone: UTC, start: 2026-01-05T09:00:00, shift: 36h, members: [alice]"), "policies/x.yaml:4:64: spec.rotation.shift: 36h is not a multiple of 24h; hand-over is at the same time of day"},
		{"a start with a zone of its own", rotation("timezone: UTC, start: 2026-01-05T09:00:00Z, shift: 24h, members: [alice]"), `policies/x.yaml:4:36: spec.rotation.start: "2026-01-05T09:00:00Z" is not a time of day on a date; write it as 2026-01-05T09:00:00, in the rotation's own zone`},
		{"a rotation of nobody", rotation("timezone: UTC, start: 2026-01-05T09:00:00, shift: 24h, members: []"), "policies/x.yaml:4:78: spec.rotation.members: the list is empty; name whose turn it is"},
		{"a role that stands for something else", "kind: Role\nmetadata: {name: manager}\nspec: {members: [a]}\n", "policies/x.yaml:2:18: metadata.name: manager stands for the requester's own manager and cannot be defined"},
		{"a team without its organisation", "kind: Role\nmetadata: {name: r}\nspec: {github_teams: [oncall]}\n", `policies/x.yaml:3:23: spec.github_teams[0]: "oncall" is not a team; write it as acme/payments-oncall, as in the team's address`},
		{"a GitHub id twice", people("    - {github: a, id: 1}\n    - {github: b, id: 1}\n"), `policies/x.yaml:6:23: the GitHub id "1" stands here a second time (first in policies/x.yaml:5)`},
		{"a login twice, in other letters", people("    - {github: ann, id: 1}\n    - {github: Ann, id: 2}\n"), `policies/x.yaml:6:16: the GitHub login "ann" stands here a second time (first in policies/x.yaml:5)`},
		{"a Slack id twice", people("    - {github: a, id: 1, slack: U01}\n    - {github: b, id: 2, slack: U01}\n"), `policies/x.yaml:6:33: the Slack id "U01" stands here a second time (first in policies/x.yaml:5)`},
		{"an e-mail address twice", people("    - {github: a, id: 1, email: A@acme.test}\n    - {github: b, id: 2, email: a@acme.test}\n"), `policies/x.yaml:6:33: the e-mail address "a@acme.test" stands here a second time (first in policies/x.yaml:5)`},
		{"a person without a number", people("    - {github: a}\n"), "policies/x.yaml:5:7: spec.people[0]: the key id is missing"},
		{"the number 0", people("    - {github: a, id: 0}\n"), "policies/x.yaml:5:23: spec.people[0].id: 0 is not the number of a GitHub user"},
		{"an unknown engine", vault("engine: aws, path: a/b, policy: tac-a"), `policies/x.yaml:4:19: spec.vault.engine: expected database, ssh, pki or generic, found "aws"`},
		{"a path that climbs", vault("engine: generic, path: a/../sys, policy: tac-a"), `policies/x.yaml:4:34: spec.vault.path: "a/../sys" is not a path of Vault; write it as database/creds/postgres-prod`},
		{"a path from the root", vault("engine: generic, path: /a/b, policy: tac-a"), `policies/x.yaml:4:34: spec.vault.path: "/a/b" is not a path of Vault; write it as database/creds/postgres-prod`},
		{"a path into Vault's own rooms", vault("engine: generic, path: sys/leases, policy: tac-a"), `policies/x.yaml:4:34: spec.vault.path: "sys/leases" is part of Vault's own administration; name a secrets engine`},
		{"a Vault policy that grants must not have", vault("engine: generic, path: a/b, policy: root"), `policies/x.yaml:4:47: spec.vault.policy: "root" is not a policy for grants; their names start with tac-, since Vault lets the bot hand out no others`},
		{"ssh for any user", vault("engine: ssh, path: ssh/sign/a, policy: tac-a"), "policies/x.yaml:4:19: spec.vault: ssh needs principals, the users that a certificate admits"},
		{"a slice that lives long", vault("engine: ssh, path: ssh/sign/a, policy: tac-a, principals: [a], slice: 1h"), "policies/x.yaml:4:81: spec.vault.slice: 1h is not between 1m and 10m"},
		{"a database with principals", vault("engine: database, path: a/b, policy: tac-a, principals: [a]"), "policies/x.yaml:4:67: spec.vault.principals: only ssh and pki have principals"},
		{"ssh where Vault makes the key", vault("engine: ssh, path: ssh/issue/a, policy: tac-a, principals: [a]"), `policies/x.yaml:4:30: spec.vault.path: "ssh/issue/a" has Vault make the private key, which is to be the claimant's own; write ssh/sign/a`},
		{"ssh by a password", vault("engine: ssh, path: ssh/creds/a, policy: tac-a, principals: [a]"), `policies/x.yaml:4:30: spec.vault.path: "ssh/creds/a" gives a password that no certificate limits; write ssh/sign/a`},
		{"a user twice", vault("engine: ssh, path: ssh/sign/a, policy: tac-a, principals: [a, a]"), `policies/x.yaml:4:73: spec.vault.principals[1]: "a" stands here a second time`},
		{"a certificate without names", pki("pki/sign/a", ""), "policies/x.yaml:4:19: spec.vault: pki needs principals, the names that a certificate bears, the common name first"},
		{"a certificate without a role's limits", pki("team/pki/sign-verbatim/a", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "team/pki/sign-verbatim/a" signs whatever is asked for and leaves out the role's limits; write team/pki/sign/a`},
		{"a certificate without a role", pki("pki/sign-verbatim", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "pki/sign-verbatim" signs whatever is asked for and leaves out the role's limits; write pki/sign/ROLE`},
		{"a certificate by a named issuer, verbatim", pki("pki/issuer/x/sign-verbatim/a", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "pki/issuer/x/sign-verbatim/a" signs whatever is asked for and leaves out the role's limits; write pki/sign/a`},
		{"a certificate by a named issuer", pki("team/pki/issuer/x/sign/a", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "team/pki/issuer/x/sign/a" names an issuer, which is for the role to do (issuer_ref); write team/pki/sign/a`},
		{"a certificate whose key Vault makes", pki("pki/issue/a", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "pki/issue/a" has Vault make the private key, which is to be the claimant's own; write pki/sign/a`},
		{"an authority", pki("pki/root/sign-intermediate", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "pki/root/sign-intermediate" is not where a role signs; write pki/sign/ROLE`},
		{"sign without a role", pki("pki/sign", "a.test"), `policies/x.yaml:4:30: spec.vault.path: "pki/sign" is not where a role signs; write pki/sign/ROLE`},
		{"a wildcard", pki("pki/sign/a", "a.test, '*.a.test'"), `policies/x.yaml:4:78: spec.vault.principals[1]: "*.a.test" is a wildcard, which is good for hosts that nobody named; name each one`},
		{"a part of a wildcard", pki("pki/sign/a", "'w*.a.test'"), `policies/x.yaml:4:70: spec.vault.principals[0]: "w*.a.test" is a wildcard, which is good for hosts that nobody named; name each one`},
		{"a name in capitals", pki("pki/sign/a", "Payments"), `policies/x.yaml:4:70: spec.vault.principals[0]: "Payments" is not a name for a certificate; write it as payments.acme.test, in small letters, digits and hyphens`},
		{"a name that only looks like another", pki("pki/sign/a", "раyments.test"), `policies/x.yaml:4:70: spec.vault.principals[0]: "раyments.test" is not a name for a certificate; write it as payments.acme.test, in small letters, digits and hyphens`},
		{"an e-mail address", pki("pki/sign/a", "a@acme.test"), `policies/x.yaml:4:70: spec.vault.principals[0]: "a@acme.test" is not a name for a certificate; write it as payments.acme.test, in small letters, digits and hyphens`},
		{"a name that ends in a dot", pki("pki/sign/a", "acme.test."), `policies/x.yaml:4:70: spec.vault.principals[0]: "acme.test." is not a name for a certificate; write it as payments.acme.test, in small letters, digits and hyphens`},
		{"two names in one", pki("pki/sign/a", "'a.test,b.test'"), `policies/x.yaml:4:70: spec.vault.principals[0]: "a.test,b.test" is not a name for a certificate; write it as payments.acme.test, in small letters, digits and hyphens`},
		{"an address", pki("pki/sign/a", "10.0.0.1"), `policies/x.yaml:4:70: spec.vault.principals[0]: "10.0.0.1" is an address and not a name; write it as payments.acme.test`},
		{"a long common name", pki("pki/sign/a", strings.Repeat("a.", 31)+"acme"), "policies/x.yaml:4:70: spec.vault.principals[0]: the common name has 66 characters; 64 is the most, so put a shorter name first"},
		{"a long name", pki("pki/sign/a", "a, "+strings.Repeat("a.", 126)+"acme"), "policies/x.yaml:4:73: spec.vault.principals[1]: the name has 256 characters; 253 is the most"},
		{"a certificate that lives long", vault("engine: pki, path: pki/sign/a, policy: tac-a, principals: [a], slice: 1h"), "policies/x.yaml:4:81: spec.vault.slice: 1h is not between 1m and 10m"},
		{"a database with slices", vault("engine: database, path: a/b, policy: tac-a, slice: 10m"), "policies/x.yaml:4:62: spec.vault.slice: only ssh and pki have slices"},
	}
	for _, tt := range tests {
		t.Run(tt.claim, func(t *testing.T) {
			s, findings := Load([]File{doc("x.yaml", tt.text)}, time.LoadLocation)
			if len(findings) != 1 || s.Err() == nil || findings[0].Severity != SeverityError {
				t.Fatalf("got %d findings, error %v: %v", len(findings), s.Err(), findings)
			}
			if got := findings[0].place(); got != tt.want && !(tt.claim == "a bad duration" && strings.HasSuffix(got, "is not a duration; add a unit: 4m or 4h")) {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestAllMistakesAreToldAtOnceInTheOrderOfTheFiles(t *testing.T) {
	files := []File{doc("b.yaml", "kind: Rule\n---\nkind: Role\nmetadata: {name: X}\nspec: {}\n"), doc("a.yaml", "kind: [\n")}
	s, findings := Load(files, nil)
	var places []string
	for _, f := range findings {
		places = append(places, strings.Join(strings.SplitN(f.place(), ":", 4)[:3], ":"))
	}
	if want := []string{"policies/a.yaml:1:1", "policies/b.yaml:1:7", "policies/b.yaml:4:18"}; !slices.Equal(places, want) {
		t.Errorf("got %v", places)
	}
	wantWords(t, s.Err().Error(), "policies/a.yaml:1:1", "and 2 more")
}

func FuzzLoad(f *testing.F) {
	for _, dir := range []string{"design", "acme"} {
		for _, file := range readDir(f, dir) {
			f.Add(file.Data)
		}
	}
	f.Add([]byte("kind: Role\nmetadata: {name: r}\nspec: {rotation: {timezone: Europe/Berlin, start: 2199-12-31T23:59:59, shift: 366d, members: [a]}}\n"))
	f.Add([]byte(fieldsPolicy))
	world := readDir(f, "acme")
	when := at(f, "2026-11-24 10:00:00")
	f.Fuzz(func(t *testing.T, data []byte) {
		s, findings := Load([]File{{Path: "policies/x.yaml", Data: data}}, time.LoadLocation)
		if (s.Err() == nil) != (len(findings) == 0) {
			t.Fatalf("error %v with findings %v", s.Err(), findings)
		}
		s.Lint()
		s, _ = Load(append(slices.Clone(world), File{Path: "policies/x.yaml", Data: data}), time.LoadLocation)
		// More documents about the same resource never take a denial away
		// from somebody who is in no role, and never allow without a clock.
		if d := s.Evaluate(ask(mallory, hour), facts(when)); d.Outcome == Allow && s.people.byID[mallory.ID] == nil {
			t.Fatalf("allows an unknown person: %+v", d)
		}
		if d := s.Evaluate(ask(alice, hour), Facts{}); d.Outcome != Deny {
			t.Fatalf("decides without facts: %+v", d)
		}
	})
}
