package policies

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/tigeraccess/tac/grants"
)

// The people of testdata/acme.
var (
	alice   = grants.Principal{GitHub: "alice", ID: 1001} // first in the on-call rotation
	bob     = grants.Principal{GitHub: "bob", ID: 1002}   // second
	carol   = grants.Principal{GitHub: "carol", ID: 1003} // developer
	dana    = grants.Principal{GitHub: "dana", ID: 1004}  // team-lead
	eve     = grants.Principal{GitHub: "eve", ID: 1005}   // security
	grace   = grants.Principal{GitHub: "grace", ID: 1007} // dba-team
	heidi   = grants.Principal{GitHub: "heidi", ID: 1008} // developer and dba-team
	ivan    = grants.Principal{GitHub: "ivan", ID: 1009}  // no role
	mallory = grants.Principal{GitHub: "mallory", ID: 6666}
)

func readDir(t testing.TB, dir string) []File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("read %s: %d files, %v", dir, len(paths), err)
	}
	var files []File
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{Path: "policies/" + filepath.Base(p), Data: data})
	}
	return files
}

func mustLoad(t testing.TB, files ...File) *Set {
	t.Helper()
	s, findings := Load(files, time.LoadLocation)
	if s.Err() != nil {
		t.Fatalf("load: %v", findings)
	}
	return s
}

func doc(name, text string) File { return File{Path: "policies/" + name, Data: []byte(text)} }

// acme is testdata/acme, with more documents where given.
func acme(t testing.TB, more ...File) *Set {
	t.Helper()
	return mustLoad(t, append(readDir(t, "acme"), more...)...)
}

// at is a time on the wall in Berlin, as 2026-11-24 10:00:00.
func at(t testing.TB, wall string) time.Time {
	t.Helper()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	when, err := time.ParseInLocation(time.DateTime, wall, berlin)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	when, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return when
}

var (
	developers = TeamRef{Org: "acme", Slug: "developers"}
	dbas       = TeamRef{Org: "acme", Slug: "dba"}
)

// facts is all that can be known of acme at a time.
func facts(when time.Time) Facts {
	return Facts{At: when, Teams: map[TeamRef]Team{
		developers: {ID: 71, Slug: "developers", Members: []int64{carol.ID, heidi.ID}},
		dbas:       {ID: 72, Slug: "dba", Members: []int64{grace.ID, heidi.ID}},
	}}
}

func ask(who grants.Principal, d time.Duration) Request {
	return Request{Requester: who, Resource: "postgres-prod", Duration: d, Reason: "Deploy hotfix"}
}

func (r Request) withTicket(ticket string) Request { r.Ticket = ticket; return r }

// wantWords fails unless every one of the words stands in s.
func wantWords(t *testing.T, s string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(s, w) {
			t.Errorf("%q does not say %q", s, w)
		}
	}
}
