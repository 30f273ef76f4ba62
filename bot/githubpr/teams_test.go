package githubpr

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/policies"
)

func TestTeamMembers(t *testing.T) {
	f := newForge(t)
	team := func(slug string, id int64, parent string, members ...string) {
		t.Helper()
		_, err := f.AddTeam("acme", slug, id, members...)
		must(t, err)
		must(t, f.SetParentTeam("acme", slug, parent))
	}
	team("dba", 501, "", "alice", "bob")
	team("dba-trainees", 502, "dba", "carol", "bob")
	team("dba-interns", 503, "dba-trainees", "mallory")
	team("empty", 504, "")
	must(t, f.InviteToTeam("acme", "dba", "dana"))

	tests := map[string]struct {
		ref  policies.TeamRef
		id   int64
		want []int64
	}{
		// bob is in both: GitHub cannot tell, so he is left out.
		"child teams are left out at every depth": {policies.TeamRef{Org: "acme", Slug: "dba"}, 501, []int64{1001}},
		"child teams count where asked for":       {policies.TeamRef{Org: "acme", Slug: "dba", IncludeChildTeams: true}, 501, []int64{1001, 1002, 1003, 6666}},
		"a team may be empty":                     {policies.TeamRef{Org: "acme", Slug: "empty"}, 504, nil},
	}
	c := f.client()
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := c.Team(t.Context(), test.ref)
			must(t, err)
			want := policies.Team{
				ID: test.id, Slug: test.ref.Slug, Members: test.want, ReadAt: noon,
				Source: fmt.Sprintf("github:team:acme/%s#%d", test.ref.Slug, test.id),
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestATeamThatCannotBeReadIsUnknownNotEmpty(t *testing.T) {
	ref := policies.TeamRef{Org: "acme", Slug: "dba"}
	tests := map[string]func(*forge){
		"it is gone":                 func(f *forge) { f.RemoveTeam("acme", "dba") },
		"the members cannot be read": func(f *forge) { f.Order(sandbox.Fault{Path: "/dba/members", When: sandbox.Answer, Status: 500}) },
		"the children cannot be read": func(f *forge) {
			f.Order(sandbox.Fault{Path: "/dba/teams", When: sandbox.Answer, Status: 404})
		},
		"a child's members cannot be read": func(f *forge) {
			f.Order(sandbox.Fault{Path: "/trainees/members", When: sandbox.Answer, Status: 404})
		},
	}
	for name, trouble := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			_, err := f.AddTeam("acme", "dba", 501, "alice")
			must(t, err)
			_, err = f.AddTeam("acme", "trainees", 502, "bob")
			must(t, err)
			must(t, f.SetParentTeam("acme", "trainees", "dba"))
			c := f.client()
			_, err = c.Team(t.Context(), ref)
			must(t, err)
			trouble(f)
			got, err := c.Team(t.Context(), ref)
			if err == nil || !strings.Contains(err.Error(), "acme/dba") || got.ID != 0 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	t.Run("its name is a path", func(t *testing.T) {
		c := newForge(t).client()
		for _, slug := range []string{"", "..", "dba/members", "dba?x", "a b"} {
			if _, err := c.Team(t.Context(), policies.TeamRef{Org: "acme", Slug: slug}); err == nil {
				t.Errorf("read team %q", slug)
			}
		}
	})
}

func TestAnUnchangedTeamCostsNothingAndAChangeIsSeen(t *testing.T) {
	f := newForge(t)
	for i := range 250 {
		login := fmt.Sprintf("user%03d", i)
		f.AddUser(login, int64(2000+i))
		must(t, f.AddMember("acme", login))
	}
	_, err := f.AddTeam("acme", "dba", 501, "alice", "bob")
	must(t, err)
	c := f.client()
	read := func() ([]int64, int) {
		t.Helper()
		team, err := c.Team(t.Context(), policies.TeamRef{Org: "acme", Slug: "dba"})
		must(t, err)
		members, ok, err := c.Members(t.Context())
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return team.Members, len(members)
	}
	if team, all := read(); len(team) != 2 || all != 254 {
		t.Errorf("read %v and %d members", team, all)
	}
	f.ResetCalls()
	read()
	for _, call := range f.Calls() {
		if call.Status != 304 {
			t.Errorf("nothing has changed, yet %v was paid for", call)
		}
	}
	must(t, f.RemoveMember("acme", "bob"))
	if team, all := read(); !slices.Equal(team, []int64{1001}) || all != 253 {
		t.Errorf("after bob left: %v and %d members", team, all)
	}
}

func TestAPersonsRepositoryHasNoMembers(t *testing.T) {
	f := newForge(t)
	_, err := f.AddRepo("alice", "grants", "main")
	must(t, err)
	delete(f.app.Permissions, "members") // GitHub does not offer it there
	on, err := f.Install(f.app, "alice", 79)
	must(t, err)
	cfg := f.config()
	cfg.Owner, cfg.InstallationID = "alice", on.ID
	c, err := New(cfg)
	must(t, err)
	if members, ok, err := c.Members(t.Context()); err != nil || ok || members != nil {
		t.Errorf("got %v, %v, %v", members, ok, err)
	}
	if pulls, err := c.OpenPulls(t.Context()); err != nil || len(pulls) != 0 {
		t.Errorf("got %v, %v", pulls, err)
	}
}
