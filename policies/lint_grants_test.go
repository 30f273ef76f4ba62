package policies

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const grantPath = "grants/postgres-prod/20261122-k3v9q2m4tz.yaml"

const grantText = `kind: AccessGrant
metadata: {id: 20261122-k3v9q2m4tz}
spec:
  resource: postgres-prod
  requester: {github: alice, id: 1001}
  duration: 2h
  reason: Deploy hotfix
  requested_at: 2026-11-22T14:03:11Z
  via: git
`

// grantFile is grantText with some of it replaced, in its place.
func grantFile(replace ...string) File {
	text := strings.NewReplacer(replace...).Replace(grantText)
	return File{Path: strings.NewReplacer(replace...).Replace(grantPath), Data: []byte(text)}
}

// lintGrantCases are linted at 15:00 on the day of the request.
var lintGrantCases = []struct {
	code, claim string
	fires, near []File
	want        []string
}{
	{code: "grant/place", claim: "not in the folder of its resource",
		fires: []File{{Path: "grants/20261122-k3v9q2m4tz.yaml", Data: []byte(grantText)}},
		near:  []File{grantFile()},
		want:  []string{"grants/20261122-k3v9q2m4tz.yaml:1:1: grants stand at grants/RESOURCE/ID.yaml, as in grants/postgres-prod/20261122-k3v9q2m4tz.yaml"}},
	{code: "grant/invalid", claim: "a mistake",
		fires: []File{grantFile("via: git", "via: fax")},
		near:  []File{grantFile("via: git", "via: cli")},
		want:  []string{grantPath + `:9:8: via: expected slack, cli, web or git, found "fax"`}},
	{code: "grant/invalid", claim: "an empty file",
		fires: []File{{Path: grantPath}},
		near:  []File{grantFile()},
		want:  []string{grantPath + ":1:1: the file is empty; expected `kind: AccessGrant`"}},
	{code: "grant/not-canonical", claim: "minutes for hours",
		fires: []File{grantFile("2h", "120m")},
		near:  []File{grantFile("2h", "1h30m")},
		want:  []string{grantPath + ":6:1: the file is not in canonical form (from this line on); write exactly:\n" + grantText}},
	{code: "grant/unknown-resource", claim: "misspelt",
		fires: []File{grantFile("postgres-prod", "postgres-prdo")},
		near:  []File{grantFile()},
		want:  []string{"grants/postgres-prdo/20261122-k3v9q2m4tz.yaml:4:13: there is no resource postgres-prdo; did you mean postgres-prod?"}},
	{code: "grant/no-policy", claim: "for the wiki",
		fires: []File{grantFile("postgres-prod", "wiki")},
		near:  []File{grantFile()},
		want:  []string{"grants/wiki/20261122-k3v9q2m4tz.yaml:4:13: wiki has no policy"}},
	{code: "grant/unknown-person", claim: "another number",
		fires: []File{grantFile("1001", "6666")},
		near:  []File{grantFile("github: alice", "github: alice-renamed")},
		want:  []string{grantPath + ":5:14: alice is 1001 in People, not 6666"}},
	{code: "grant/unknown-person", claim: "nobody of that name or number",
		fires: []File{grantFile("alice", "mallory", "1001", "6666")},
		near:  []File{grantFile()},
		want:  []string{grantPath + ":5:14: @mallory (GitHub id 6666) is not in People"}},
	{code: "grant/standing", claim: "two days over, a request's waiting counted",
		fires: []File{grantFile("20261122", "20261120", "2026-11-22T", "2026-11-20T", "14:03:11", "12:59:59")},
		near:  []File{grantFile("20261122", "20261120", "2026-11-22T", "2026-11-20T", "14:03:11", "13:00:00")},
		want:  []string{"grants/postgres-prod/20261120-k3v9q2m4tz.yaml:6:13: this grant of @alice ended at 2026-11-21T14:59:59Z at the latest, and its file is still here: look whether the bot runs, and whether the credential lives"}},
	{code: "grant/standing", claim: "a scheduled one",
		fires: []File{grantFile("  reason", "  start: 2026-11-21T12:59:59Z\n  reason", "20261122", "20261120", "2026-11-22T", "2026-11-20T")},
		near:  []File{grantFile("  reason", "  start: 2026-11-21T13:00:00Z\n  reason", "20261122", "20261120", "2026-11-22T", "2026-11-20T")},
		want:  []string{"grants/postgres-prod/20261120-k3v9q2m4tz.yaml:6:13: this grant of @alice ended at 2026-11-21T14:59:59Z at the latest, and its file is still here: look whether the bot runs, and whether the credential lives"}},
	{code: "grant/over-ceiling", claim: "longer than anybody may today",
		fires: []File{grantFile("2h", "9h")},
		near:  []File{grantFile("2h", "8h")},
		want:  []string{grantPath + ":6:13: 9h is over the 8h for which anybody may have postgres-prod today"}},
	{code: "grant/back-to-back", claim: "with less than a quarter of an hour between",
		fires: []File{grantFile("2h", "5h"), grantFile("2h", "4h", "k3v9q2m4tz", "aaaaaaaaaa", "14:03:11", "19:18:11")},
		near:  []File{grantFile("2h", "5h"), grantFile("2h", "4h", "k3v9q2m4tz", "aaaaaaaaaa", "14:03:11", "19:18:12")},
		want:  []string{"grants/postgres-prod/20261122-aaaaaaaaaa.yaml:6:13: @alice has two grants on postgres-prod one after the other, from 2026-11-22T14:03:11Z to 2026-11-22T23:18:11Z: 9h15m in all, over the 8h for which anybody may have it"}},
	{code: "grant/back-to-back", claim: "one within the other adds nothing",
		fires: []File{grantFile("2h", "8h"), grantFile("2h", "1h", "k3v9q2m4tz", "aaaaaaaaaa", "14:03:11", "22:00:00")},
		near: []File{grantFile("2h", "8h"), grantFile("2h", "1h", "k3v9q2m4tz", "aaaaaaaaaa", "14:03:11", "20:00:00"),
			grantFile("2h", "8h", "k3v9q2m4tz", "bbbbbbbbbb", "alice", "bob", "1001", "1002", "14:03:11", "20:00:00")},
		want: []string{"grants/postgres-prod/20261122-aaaaaaaaaa.yaml:6:13: @alice has two grants on postgres-prod one after the other, from 2026-11-22T14:03:11Z to 2026-11-22T23:00:00Z: 8h56m49s in all, over the 8h for which anybody may have it"}},
}

func TestLintOfGrantFiles(t *testing.T) {
	s, now := acme(t), time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	for _, tt := range lintGrantCases {
		t.Run(tt.code+"/"+tt.claim, func(t *testing.T) {
			var got []string
			for _, f := range s.LintGrants(tt.fires, now) {
				got = append(got, f.place())
				if f.Code != tt.code {
					t.Errorf("found %s [%s]", f, f.Code)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("\n got %q\nwant %q", got, tt.want)
			}
			for _, f := range s.LintGrants(tt.near, now) {
				t.Errorf("the near miss has %s [%s]", f, f.Code)
			}
		})
	}
}

func TestGrantsAreReadWherePoliciesAreBroken(t *testing.T) {
	s, _ := Load([]File{doc("x.yaml", "kind: [")}, time.LoadLocation)
	found := s.LintGrants([]File{grantFile("via: git", "via: fax"), {Path: "grants/x.yaml"}, grantFile("1001", "9")}, monday)
	if len(found) != 2 || found[0].Code != "grant/invalid" || found[1].Code != "grant/place" {
		t.Errorf("got %v", found)
	}
}

func TestSecretsInShellLinesAreFound(t *testing.T) {
	tests := []struct{ line, want string }{
		{`psql -h db.internal -U "$TAC_USERNAME" payments`, ""},
		{`ssh deploy@bastion.internal`, ""},
		{`PGPASSWORD="$TAC_PASSWORD" psql -h db -U "$TAC_USERNAME"`, ""},
		{`env PGPASSWORD=$TAC_PASSWORD PGHOST=db psql`, ""},
		{`export REDISCLI_AUTH="$TAC_PASSWORD"; redis-cli -h cache`, ""},
		{`echo "$TAC_PASSWORD" | docker login --username x --password-stdin`, ""},
		{`mysql --defaults-extra-file=~/.my.cnf -P 3306`, ""},
		{`psql "sslmode=require user=$TAC_USERNAME passfile=/run/x"`, ""},
		{`curl --netrc https://api.internal/v1?token_type=x`, ""},
		{`kubectl --token-file=/run/t get secret`, ""},
		{`PGPASSWORD=hunter2 psql`, "PGPASSWORD is written out"},
		{`psql "host=db password=hunter2"`, "password is written out"},
		{`psql "host=db password=$TAC_PASSWORD"`, "password stands in the arguments of a command"},
		{`psql postgres://$TAC_USERNAME:$TAC_PASSWORD@db/x`, "an address holds a password"},
		{`mysql -u x -p"$TAC_PASSWORD" db`, "a password stands in the arguments of mysql"},
		{`sshpass -p "$TAC_PASSWORD" ssh x`, "a password stands in the arguments of sshpass"},
		{`redis-cli -h cache -a $TAC_PASSWORD`, "a password stands in the arguments of redis-cli"},
		{`tool --password "$TAC_PASSWORD"`, "--password stands in the arguments of a command"},
		{`tool --api-key=abc`, "--api-key stands in the arguments of a command"},
		{`mongosh -u a ${TAC_PASSWORD}`, "TAC_PASSWORD stands in the arguments of a command"},
		{`curl -H "Authorization: Bearer $VAULT_TOKEN" https://x`, "VAULT_TOKEN stands in the arguments of a command"},
		{`API_TOKEN=abc curl https://x`, "API_TOKEN is written out"},
		{``, ""},
	}
	for _, tt := range tests {
		if got := exposedSecret(tt.line); got != tt.want {
			t.Errorf("%s\n got %q\nwant %q", tt.line, got, tt.want)
		}
	}
}
