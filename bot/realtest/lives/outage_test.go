package lives

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
)

// ownPostgres starts a cluster that a test may kill.
func ownPostgres(t *testing.T, v *parts.Vault, config string) *parts.Postgres {
	t.Helper()
	p, err := parts.StartPostgres(t.Context(), filepath.Join(shared.dir, "postgres-"+config))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill() })
	if err := connect(t.Context(), v, p, config); err != nil {
		t.Fatal(err)
	}
	return p
}

// ownVault starts a server that a test may kill, with a database engine.
func ownVault(t *testing.T, name string) *parts.Vault {
	t.Helper()
	v, err := parts.StartVault(t.Context(), filepath.Join(shared.dir, "vault-"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Kill() })
	if _, err := v.CLI(t.Context(), "secrets", "enable", "database"); err != nil {
		t.Fatal(err)
	}
	if err := connect(t.Context(), v, shared.postgres, "payments"); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestADatabaseThatIsDownAtTheEndDelaysOnlyTheProof(t *testing.T) {
	t.Parallel()
	p := ownPostgres(t, shared.vault, "down-at-the-end")
	s := newStage(t, shared.vault, p, database(p, "down-at-the-end"))
	s.start("one")
	id := s.asked("postgres-prod", 2*time.Hour)
	h := s.takes(id)
	p.Kill()
	a := s.as("alice", "access", "drop", id)
	t.Logf("drop while the database is down: %s", a)
	if g, err := s.show(id); err != nil || g.Phase != "ended" {
		t.Errorf("the grant is %q (%v), want ended", g.Phase, err)
	}
	time.Sleep(10 * time.Second) // long enough for three more attempts
	if there, err := s.onMain(id); err != nil || !there {
		t.Errorf("the file was taken away before the end was proved (%v)", err)
	}
	s.must(p.Start(t.Context()))
	back := time.Now()
	s.until("the user is gone", 2*time.Minute, func() error {
		users, err := s.users()
		if len(users) > 0 {
			err = fmt.Errorf("pg_roles has %q", users)
		}
		return err
	})
	t.Logf("%s was gone %s after the database came back", h.Credential.Username, time.Since(back).Round(time.Millisecond))
	s.ended(id, 2*time.Minute, noStray)
}

func TestADatabaseThatIsDownAtTheClaimCostsAGenerationAndNoUser(t *testing.T) {
	t.Parallel()
	p := ownPostgres(t, shared.vault, "down-at-the-claim")
	s := newStage(t, shared.vault, p, database(p, "down-at-the-claim"))
	s.start("one")
	id := s.asked("postgres-prod", 2*time.Hour)
	p.Kill()
	a := s.as("alice", "access", "get", id)
	t.Logf("get while the database is down: %s", a)
	if a.code != 1 {
		t.Errorf("exit code %d, want 1", a.code)
	}
	s.must(p.Start(t.Context()))
	if said := s.psql(s.takes(id)); !strings.Contains(said, "(1 row)") {
		t.Errorf("the next credential does not log in: %s", said)
	}
	if users, err := s.users(); err != nil || len(users) != 1 {
		t.Errorf("pg_roles has %q, %v; want one user", users, err)
	}
	s.drops(id)
	s.ended(id, time.Minute, noStray)
}

func TestASealedVaultRefusesNewAccessAndLosesNoEnd(t *testing.T) {
	t.Parallel()
	v := ownVault(t, "sealed")
	s := newStage(t, v, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	first, second := s.asked("postgres-prod", 2*time.Hour), s.asked("postgres-prod", time.Hour)
	h := s.takes(first)
	s.must(v.Seal(t.Context()))
	if a := s.as("alice", "access", "get", second); a.code != 1 || strings.Contains(a.stdout, "PASSWORD") {
		t.Errorf("get while Vault is sealed: %s", a)
	}
	a := s.as("alice", "access", "drop", first)
	t.Logf("drop while Vault is sealed: %s", a)
	if a.code != 1 || !strings.Contains(a.stderr, "by itself") {
		t.Errorf("drop while Vault is sealed is to exit 1 and to say when the credential ends by itself: %s", a)
	}
	s.must(v.Unseal(t.Context()))
	s.drops(first)
	s.ended(first, time.Minute, noStray)
	if said := s.psql(h); !strings.Contains(said, "password authentication failed") {
		t.Errorf("after the drop the login said: %s", said)
	}
	s.takes(second)
	s.drops(second)
	s.ended(second, time.Minute, noStray)
}

func TestAVaultThatIsKilledAcrossTheEndLeavesNoLogin(t *testing.T) {
	t.Parallel()
	v := ownVault(t, "killed")
	s := newStage(t, v, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	id := s.asked("postgres-prod", 80*time.Second)
	h := s.takes(id)
	g, err := s.show(id)
	s.must(err)
	v.Kill()
	if said := s.psql(h); !strings.Contains(said, "(1 row)") {
		t.Errorf("the grant lives, and the login said: %s", said)
	}
	// With Vault dead, the database itself refuses: VALID UNTIL.
	s.until("the database refuses the login", 3*time.Minute, func() error {
		if said := s.psql(h); !strings.Contains(said, "authentication failed") {
			return errors.New(said)
		}
		return nil
	})
	late := time.Since(g.Ends)
	t.Logf("with Vault dead, the last login was refused %s after the end", late.Round(time.Millisecond))
	if late > 15*time.Second {
		t.Errorf("the database let somebody in until %s after the end", late)
	}
	s.must(v.Start(t.Context()))
	s.must(v.Unseal(t.Context()))
	s.ended(id, 2*time.Minute, noStray)
}

func TestAVaultThatIsRestartedInTheMiddleKeepsTheGrant(t *testing.T) {
	t.Parallel()
	v := ownVault(t, "restarted")
	s := newStage(t, v, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	id := s.asked("postgres-prod", 2*time.Hour)
	h := s.takes(id)
	v.Stop()
	s.must(v.Start(t.Context()))
	s.must(v.Unseal(t.Context()))
	if again := s.takes(id); again.Credential.Username != h.Credential.Username {
		t.Errorf("after the restart the user is %s, and was %s", again.Credential.Username, h.Credential.Username)
	}
	if said := s.psql(h); !strings.Contains(said, "(1 row)") {
		t.Errorf("the grant lives, and the login said: %s", said)
	}
	s.drops(id)
	s.ended(id, 2*time.Minute, noStray)
}

// slow is a database whose creation of a user takes its time.
func slow(p *parts.Postgres, config string, seconds int) func(name string) prop {
	return database(p, config, fmt.Sprintf("SELECT pg_sleep(%d);", seconds))
}

// inFlight waits until Vault is in the middle of making a user.
func (s *stage) inFlight() {
	s.t.Helper()
	s.until("the database is busy with a new user", time.Minute, func() error {
		busy, err := s.database.Busy(s.ctx)
		if err == nil && busy == 0 {
			err = errors.New("nothing runs")
		}
		return err
	})
}

// Finding 5 of the threat model: Vault gives a lease to a token that was
// revoked while the call was in flight, and no revocation of the token finds
// it. The replica that asked hears of it and ends it by its id.
func TestACredentialInFlightWhenItsGrantEndsIsEnded(t *testing.T) {
	t.Parallel()
	p := ownPostgres(t, shared.vault, "in-flight")
	s := newStage(t, shared.vault, p, slow(p, "in-flight", 15))
	s.start("one")
	id := s.asked("postgres-prod", 2*time.Hour)
	claim := s.command(s.ctx, "alice", "access", "get", id)
	s.must(claim.Start())
	s.inFlight()
	s.drops(id)
	err := claim.Wait()
	if err == nil {
		t.Error("the grant was dropped in the middle of the claim, and the claim was answered")
	}
	s.ended(id, 2*time.Minute, lazily)
}

// The same where the replica that asked is killed: nobody knows of the lease,
// and nobody has its credential. It ends with the role's default_ttl.
func TestAStrayOfAKilledReplicaEndsWithTheDefaultTTL(t *testing.T) {
	t.Parallel()
	p := ownPostgres(t, shared.vault, "stray")
	s := newStage(t, shared.vault, p, slow(p, "stray", 30))
	first := s.launch("first")
	// The call goes on without the one who made it, as it would behind a
	// load balancer.
	first.wire.Order(parts.Accident{Method: "GET", Path: "/v1/database/creds/" + s.name, When: parts.After, Do: func() {}})
	s.must(s.front.Another(first.URL))
	s.must(first.Ready(s.ctx))
	id := s.asked("postgres-prod", 2*time.Hour)
	claim := s.command(s.ctx, "alice", "access", "get", id)
	s.must(claim.Start())
	s.inFlight()
	first.Kill()
	s.start("second")
	s.drops(id)
	_ = claim.Wait() // it was cut off
	s.reaches(id, "closed", 5*time.Minute)
	s.until("the stray user is there", time.Minute, func() error {
		users, err := s.users()
		if err == nil && len(users) == 0 {
			err = errors.New("pg_roles has none")
		}
		return err
	})
	made := time.Now()
	s.nothingLeft(strayLife)
	t.Logf("the stray, whose grant was closed already, was gone %s after it was made", time.Since(made).Round(time.Second))
	s.ended(id, time.Minute, noStray)
}
