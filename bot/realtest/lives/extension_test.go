package lives

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
)

// How exact an end is. A lease is renewed by whole seconds from now on, and
// Vault hears of it a moment later; the database refuses logins five seconds
// after that, so that Vault comes first.
const exact = 15 * time.Second

// moreTime is what a policy says that lets everybody extend their grants.
const moreTime = "  extensions: {max: 3, each: 2h}\n"

// extendable is a stage on which grants can be extended, with one replica.
func extendable(t *testing.T, prop func(name string) prop) *stage {
	t.Helper()
	s := newStage(t, shared.vault, shared.postgres, prop)
	s.changesPolicy("  approval:\n", moreTime+"  approval:\n")
	s.start("one")
	return s
}

// changesPolicy replaces a part of the stage's policy, as a reviewed change
// would.
func (s *stage) changesPolicy(old, now string) {
	s.t.Helper()
	const path = "policies/resources.yaml"
	files, err := s.GitHub.Files(demo.Repository, "main")
	s.must(err)
	if !strings.Contains(files[path], old) {
		s.t.Fatalf("the policy has no %q:\n%s", old, files[path])
	}
	s.must(s.GitHub.AllowBypass(demo.Repository, "eve"))
	_, err = s.GitHub.Push(github.Push{
		Repo: demo.Repository, Login: "eve", Branch: "main", Message: "other rules",
		Files: map[string]string{path: strings.Replace(files[path], old, now, 1)},
	})
	s.must(err)
}

// extends asks for more time, again and again until it is given.
func (s *stage) extends(id string, d time.Duration) (more string) {
	s.t.Helper()
	s.until("the extension is given", 2*time.Minute, func() error {
		a := s.as("alice", "access", "extend", id, d.String(), "--wait", "--timeout", "60s", "-o", "json")
		if a.code != 0 {
			return fmt.Errorf("%s", a)
		}
		var said struct {
			ID string `json:"id"`
		}
		err := json.Unmarshal([]byte(a.stdout), &said)
		more = said.ID
		return err
	})
	return more
}

// lease returns the one lease of the stage.
func (s *stage) lease() string {
	s.t.Helper()
	_, leases, err := s.left()
	s.must(err)
	if len(leases) != 1 {
		s.t.Fatalf("Vault has the leases %q, want one", leases)
	}
	return leases[0]
}

// endsAt waits until a lease ends at a moment, by Vault, and the login of its
// user with it, by the database.
func (s *stage) endsAt(lease, user string, want time.Time) {
	s.t.Helper()
	s.until("lease and user end with the grant", time.Minute, func() error {
		by, err := s.vault.LeaseEnd(s.ctx, lease)
		if err != nil {
			return err
		}
		login, err := s.database.ValidUntil(s.ctx, user)
		if err == nil && (by.Sub(want).Abs() > exact || login.Sub(want).Abs() > exact) {
			err = fmt.Errorf("the grant ends %s, its lease %s and the login %s", want, by, login)
		}
		return err
	})
}

// closed checks that a grant is over and its file gone.
func (s *stage) closed(id string, within time.Duration) {
	s.t.Helper()
	s.reaches(id, "closed", within)
	record, err := s.vault.Record(s.ctx, s.mount, "grants/"+id)
	s.must(err)
	if record["phase"] != "REVOKED" {
		s.t.Errorf("the record of %s says %v, want REVOKED", id, record["phase"])
	}
	if there, err := s.onMain(id); err != nil || there {
		s.t.Errorf("the file of %s is on main: %v %v", id, there, err)
		tally.leftovers.Add(1)
	}
}

// session is a psql that is logged in and busy.
type session struct {
	user  string
	ended chan error
}

// logsIn opens a session, which does not end by itself while the test runs.
func (s *stage) logsIn(h held) *session {
	s.t.Helper()
	cmd := exec.CommandContext(s.ctx, "psql", "-h", s.database.Host, "-p", fmt.Sprint(s.database.Port), "-U", h.Credential.Username, "-c", "SELECT pg_sleep(3600)", "payments")
	cmd.Env = append(cmd.Environ(), "PGPASSWORD="+h.Credential.Password)
	s.must(cmd.Start())
	s.t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended, as it should
	x := &session{user: h.Credential.Username, ended: make(chan error, 1)}
	go func() { x.ended <- cmd.Wait() }()
	s.until("the session is open", time.Minute, func() error {
		sessions, err := s.sessions()
		if !slices.Contains(sessions, x.user) {
			return fmt.Errorf("pg_stat_activity has %q", sessions)
		}
		return err
	})
	return x
}

// goesOn checks that a session was not cut and its credential logs in anew.
func (s *stage) goesOn(x *session, h held) {
	s.t.Helper()
	select {
	case err := <-x.ended:
		s.t.Errorf("the session of %s was cut: %v", x.user, err)
	default:
	}
	if sessions, err := s.sessions(); err != nil || !slices.Contains(sessions, x.user) {
		s.t.Errorf("pg_stat_activity has %q, %v; want %s", sessions, err, x.user)
	}
	if said := s.psql(h); !strings.Contains(said, "(1 row)") {
		s.t.Errorf("the login of %s said: %s", x.user, said)
	}
}

// isCut waits until a session is ended by the server, and its user is gone.
func (s *stage) isCut(x *session, within time.Duration) {
	s.t.Helper()
	select {
	case err := <-x.ended:
		if err == nil {
			s.t.Errorf("the psql of %s ended well; want it cut off", x.user)
		}
	case <-time.After(within):
		s.t.Errorf("the session of %s is still open", x.user)
	}
	s.until("the user is gone", time.Minute, func() error {
		users, err := s.users()
		if slices.Contains(users, x.user) {
			return fmt.Errorf("pg_roles has %q", users)
		}
		return err
	})
}

// past waits for a moment, and until everything that was due then would have
// happened.
func past(moment time.Time) { time.Sleep(time.Until(moment.Add(8 * time.Second))) }

// short is a grant that leaves time to extend it and to renew its lease even
// where everything is slow: in its last minute nothing is renewed.
const short = 4 * time.Minute

func TestAnExtensionMovesTheEndOfAnOpenSession(t *testing.T) {
	t.Parallel()
	s := extendable(t, database(shared.postgres, "payments"))
	id := s.asked("postgres-prod", short)
	h := s.takes(id)
	x, lease := s.logsIn(h), s.lease()
	first := s.reaches(id, "active", time.Minute).Ends
	more := s.extends(id, time.Minute)
	end := first.Add(time.Minute)
	if g, err := s.show(id); err != nil || !g.Ends.Equal(end) {
		t.Errorf("the grant ends %s, %v; want %s", g.Ends, err, end)
	}
	s.endsAt(lease, h.Credential.Username, end)
	past(first)
	s.goesOn(x, h)
	if now := s.lease(); now != lease {
		t.Errorf("the lease was %s and is %s", lease, now)
	}
	if again := s.takes(id); again.Credential.Username != h.Credential.Username || again.Credential.Password != h.Credential.Password {
		t.Errorf("past the first end alice gets %s, and had %s", again.Credential.Username, h.Credential.Username)
	}
	s.isCut(x, time.Until(end)+30*time.Second)
	if late := time.Since(end); late < -exact {
		t.Errorf("the session was cut %s before the end", -late)
	}
	s.closed(more, time.Minute)
	s.ended(id, time.Minute, noStray)
}

// An extension that is dropped takes back what it gave, in Vault and in the
// database, before its file goes.
func TestAnExtensionThatIsTakenBackShortensTheLease(t *testing.T) {
	t.Parallel()
	s := extendable(t, database(shared.postgres, "payments"))
	id := s.asked("postgres-prod", 2*time.Hour)
	h := s.takes(id)
	x, lease := s.logsIn(h), s.lease()
	first := s.reaches(id, "active", time.Minute).Ends
	more := s.extends(id, time.Hour)
	s.endsAt(lease, h.Credential.Username, first.Add(time.Hour))
	s.drops(more)
	s.shortBeforeItsFileGoes(more, lease, first)
	s.endsAt(lease, h.Credential.Username, first)
	s.closed(more, time.Minute)
	if g := s.reaches(id, "active", time.Minute); !g.Ends.Equal(first) {
		t.Errorf("the grant ends %s, want %s", g.Ends, first)
	}
	s.goesOn(x, h)
	s.drops(id)
	s.isCut(x, time.Minute)
	s.ended(id, time.Minute, noStray)
}

// shortBeforeItsFileGoes watches the file of an extension until it is gone:
// from then on Vault must have the lease end with what is left of the grant.
func (s *stage) shortBeforeItsFileGoes(more, lease string, end time.Time) {
	s.t.Helper()
	s.until("the file of the extension is gone", 5*time.Minute, func() error {
		there, err := s.onMain(more)
		if err == nil && there {
			err = errors.New("it is on main")
		}
		return err
	})
	// Nothing makes it longer again, so it was short then if it is now.
	switch by, err := s.vault.LeaseEnd(s.ctx, lease); {
	case err != nil:
		s.t.Errorf("the grant lives, and its lease does not: %v", err)
	case by.Sub(end) > time.Minute:
		s.t.Errorf("the file of the extension is gone, and the lease ends %s after the grant", by.Sub(end))
		tally.leftovers.Add(1)
	}
}

// Past the first end nothing is left of a grant whose extension is dropped.
func TestAnExtensionThatIsDroppedPastTheFirstEndEndsEverything(t *testing.T) {
	t.Parallel()
	s := extendable(t, database(shared.postgres, "payments"))
	id := s.asked("postgres-prod", short)
	h := s.takes(id)
	x := s.logsIn(h)
	first := s.reaches(id, "active", time.Minute).Ends
	more := s.extends(id, time.Hour)
	s.endsAt(s.lease(), h.Credential.Username, first.Add(time.Hour))
	past(first)
	s.goesOn(x, h)
	s.drops(more)
	s.isCut(x, time.Minute)
	s.closed(more, time.Minute)
	s.ended(id, time.Minute, noStray)
}

// The policy gave no more time when the first credential was issued, so that
// its token ends with the grant, and with the token the lease.
func TestATokenThatCannotLiveSoLongMeansANewCredentialFirst(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	id := s.asked("postgres-prod", short)
	old := s.takes(id)
	x := s.logsIn(old)
	first := s.reaches(id, "active", time.Minute).Ends
	s.changesPolicy("  approval:\n", moreTime+"  approval:\n")
	more := s.extends(id, 90*time.Second)
	end := first.Add(90 * time.Second)
	s.goesOn(x, old) // nothing of the old one changed
	next := s.takes(more)
	y := s.logsIn(next)
	s.goesOn(x, old) // the new one came before the old one goes
	if users, err := s.users(); err != nil || len(users) != 2 {
		t.Errorf("pg_roles has %q, %v; want two", users, err)
	}
	if until, err := s.database.ValidUntil(s.ctx, y.user); err != nil || until.Sub(end).Abs() > exact {
		t.Errorf("the new login ends %s, %v; want %s", until, err, end)
	}
	s.isCut(x, time.Until(first)+30*time.Second)
	s.goesOn(y, next)
	s.closed(id, time.Minute)
	s.goesOn(y, next)
	s.isCut(y, time.Until(end)+30*time.Second)
	s.ended(more, time.Minute, noStray)
}

func TestTwoGrantsOfOnePersonNeverCutEachOther(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(s *stage, ends func(long bool), goesOn func(long bool)){
		"one is dropped and then the other expires": func(_ *stage, ends, goesOn func(long bool)) {
			ends(true)
			goesOn(false)
			ends(false)
		},
		"one expires and then the other is dropped": func(_ *stage, ends, goesOn func(long bool)) {
			ends(false)
			goesOn(true)
			ends(true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
			s.start("one")
			type one struct {
				id string
				h  held
				x  *session
			}
			grants := map[bool]one{}
			for long, d := range map[bool]time.Duration{false: short, true: 2 * time.Hour} {
				id := s.asked("postgres-prod", d)
				h := s.takes(id)
				grants[long] = one{id, h, s.logsIn(h)}
			}
			if grants[false].x.user == grants[true].x.user {
				t.Fatalf("both have the user %s", grants[true].x.user)
			}
			play(s, func(long bool) {
				g := grants[long]
				if long {
					s.drops(g.id)
				}
				s.isCut(g.x, short+time.Minute)
				s.closed(g.id, time.Minute)
			}, func(long bool) { s.goesOn(grants[long].x, grants[long].h) })
			s.nothingLeft(noStray)
			tally.lives.Add(2)
		})
	}
}

func TestAnExtensionLetsCertificatesGoOn(t *testing.T) {
	t.Parallel()
	s := extendable(t, bastion)
	id := s.asked("bastion", short)
	s.takes(id)
	first := s.reaches(id, "active", time.Minute).Ends
	more := s.extends(id, 90*time.Second)
	end := first.Add(90 * time.Second)
	past(first)
	h := s.takes(id)
	if who, err := shared.sshd.Login(t.Context(), h.KeyFile, h.CertFile); err != nil || strings.TrimSpace(who) != shared.sshd.User {
		t.Fatalf("past the first end the session said %q, %v", who, err)
	}
	if until := h.Credential.Until; !until.After(first) || until.After(end) {
		t.Errorf("the certificate ends %s, the grant ended %s and ends %s", until, first, end)
	}
	key, last := s.copyOf(h.KeyFile), s.copyOf(h.CertFile)
	past(end)
	if a := s.as("alice", "access", "get", id); a.code == 0 {
		t.Errorf("the grant is over, and yet: %s", a)
	}
	if out, err := shared.sshd.Login(t.Context(), key, last); err == nil {
		t.Errorf("the grant is over, and its last certificate opens a session: %s", out)
	}
	s.closed(more, time.Minute)
	s.ended(id, 5*time.Minute, noStray)
}

// An approver gives an hour of the three that were asked for.
func TestANarrowedGrantEndsWhenItsApproverSaid(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
	s.changesPolicy("        max_duration: 8h\n", "        max_duration: 30m\n")
	s.start("one")
	a := s.as("alice", "access", "request", "postgres-prod", "--duration", "3h", "--reason", "a good reason", "-o", "json")
	if a.code != 0 {
		t.Fatalf("the request: %s", a)
	}
	var said struct {
		ID string `json:"id"`
	}
	s.must(json.Unmarshal([]byte(a.stdout), &said))
	var seen struct {
		Head string `json:"head"`
	}
	s.until("the request is open for answers", time.Minute, func() error {
		a := s.as("dana", "access", "show", said.ID, "-o", "json")
		err := json.Unmarshal([]byte(a.stdout), &seen)
		if seen.Head == "" {
			err = fmt.Errorf("no head: %s", a)
		}
		return err
	})
	if a := s.as("dana", "access", "approve", said.ID, "--duration", "1h", "--head", seen.Head, "-o", "json"); a.code != 0 {
		t.Fatalf("the approval: %s", a)
	}
	h := s.takes(said.ID)
	g := s.reaches(said.ID, "active", time.Minute)
	if left := time.Until(g.Ends); left > time.Hour || left < 50*time.Minute {
		t.Errorf("%s are left of an hour", left)
	}
	s.endsAt(s.lease(), h.Credential.Username, g.Ends)
	s.drops(said.ID)
	s.ended(said.ID, time.Minute, noStray)
}

// extensionsOf returns the extensions of a grant that are not over.
func (s *stage) extensionsOf(id string) (open []string, err error) {
	a := s.as("alice", "access", "list", "-o", "json")
	if a.code != 0 {
		return nil, fmt.Errorf("%s", a)
	}
	var all struct {
		Grants []struct {
			ID      string `json:"id"`
			Extends string `json:"extends"`
		}
	}
	err = json.Unmarshal([]byte(a.stdout), &all)
	for _, g := range all.Grants {
		if g.Extends == id {
			open = append(open, g.ID)
		}
	}
	return open, err
}

// A replica is lost at every call by which an extension is given and taken
// back: the person is never cut off, and nothing is ever longer than its file.
func TestAnExtensionSurvivesTheLossOfAReplicaAtEveryCall(t *testing.T) {
	t.Parallel()
	crashLife{
		props: database(shared.postgres, "payments"),
		holds: func(s *stage) string {
			s.changesPolicy("  approval:\n", moreTime+"  approval:\n")
			id := s.asked("postgres-prod", 2*time.Hour)
			s.logsIn(s.takes(id))
			return id
		},
		between: extendedAndBack,
		ends:    func(s *stage, id string) { s.drops(id) },
	}.everyPoint(t)
}

func extendedAndBack(s *stage, id string) {
	lease := s.lease()
	users, err := s.users()
	s.must(err)
	g := s.reaches(id, "active", time.Minute)
	more := s.extends(id, time.Hour)
	s.until("Vault has the lease end later", 5*time.Minute, func() error {
		by, err := s.vault.LeaseEnd(s.ctx, lease)
		if err == nil && by.Sub(g.Ends) < 30*time.Minute {
			err = fmt.Errorf("it ends %s", by)
		}
		return err
	})
	s.drops(more)
	// One whose answer was lost was asked for again, and is another one.
	s.until("no extension is left", 5*time.Minute, func() error {
		open, err := s.extensionsOf(id)
		for _, e := range open {
			s.drops(e)
			err = errors.Join(err, fmt.Errorf("%s is left", e))
		}
		return err
	})
	s.shortBeforeItsFileGoes(more, lease, g.Ends)
	s.closed(more, 5*time.Minute)
	if now, err := s.users(); err != nil || !slices.Equal(now, users) {
		s.t.Errorf("pg_roles had %q and has %q, %v", users, now, err)
	}
	if now, err := s.sessions(); err != nil || !slices.Equal(now, users) {
		s.t.Errorf("%q had a session, and pg_stat_activity has %q, %v", users, now, err)
	}
}
