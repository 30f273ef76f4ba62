package lives

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
)

// Three Vault servers share one Raft log. In each round many grants are
// brought, each by a replica of its own, to one call of its sequence, and held
// there; then the leader is killed in the middle of all of them, and the calls
// go on to whichever server is still there.
func TestTheLossOfVaultsLeaderInMidCallLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	all, err := parts.StartVaults(t.Context(), filepath.Join(shared.dir, "vaults"))
	t.Cleanup(func() {
		for _, v := range all {
			v.Kill()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"secrets", "enable", "database"}, {"secrets", "enable", "transit"}, {"auth", "enable", "approle"}} {
		if _, err := all[0].CLI(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := connect(t.Context(), all[0], shared.postgres, "payments"); err != nil {
		t.Fatal(err)
	}
	issuing := []point{
		{"PUT", "/v1/auth/token/create/role-NAME", 0},
		{"PUT", "/v1/kv-NAME/data/grants/*", 1}, // reserve
		{"GET", "/v1/database/creds/NAME", 0},
		{"PUT", "/v1/sys/wrapping/wrap", 0},
		{"PUT", "/v1/kv-NAME/data/grants/*", 2}, // record
		{"PUT", "/v1/sys/leases/renew", 0},
		{"PUT", "/v1/kv-NAME/data/grants/*", 4}, // delivered
	}
	ending := []point{
		{"PUT", "/v1/kv-NAME/data/grants/*", 5}, // REVOKING
		{"PUT", "/v1/auth/token/revoke-accessor", 0},
		{"PUT", "/v1/sys/leases/revoke", 0},
		{"PUT", "/v1/sys/leases/lookup", 1},     // the proof
		{"PUT", "/v1/kv-NAME/data/grants/*", 6}, // REVOKED
	}
	for _, when := range []parts.Moment{parts.Before, parts.After} {
		t.Run("issuing/"+string(when), func(t *testing.T) { killLeader(t, all, issuing, when) })
		t.Run("ending/"+string(when), func(t *testing.T) { killLeader(t, all, ending, when) })
	}
}

// round is one kill, and the lives that it meets.
type round struct {
	t       *testing.T
	all     []*parts.Vault
	leader  *parts.Vault
	atPoint sync.WaitGroup
	dead    chan struct{} // closed when another server leads
	next    *parts.Vault  // read it after dead
}

func killLeader(t *testing.T, all []*parts.Vault, points []point, when parts.Moment) {
	r := &round{t: t, all: all, dead: make(chan struct{})}
	var err error
	if r.leader, err = parts.Leader(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	r.atPoint.Add(len(points))
	go r.kill()
	t.Run("lives", func(t *testing.T) {
		for _, p := range points {
			t.Run(p.String(), func(t *testing.T) {
				t.Parallel()
				r.life(t, p, when)
			})
		}
	})
	// The next round needs three again.
	if err := r.leader.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.leader.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// kill waits until every life is at its point, kills the leader, and lets
// them go on when another server leads.
func (r *round) kill() {
	defer close(r.dead)
	r.atPoint.Wait()
	began := time.Now()
	r.leader.Kill()
	for time.Since(began) < 2*time.Minute {
		if next, err := parts.Leader(r.t.Context(), r.all); err == nil {
			r.next = next
			r.t.Logf("another server led %s after the kill", time.Since(began).Round(100*time.Millisecond))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	r.t.Error("no other server leads")
}

// life plays one grant whose call at a point meets the loss of the leader.
// Either way the replica lives and hears nothing: before, the call finds
// nobody; after, its answer is lost with the leader.
func (r *round) life(t *testing.T, p point, when parts.Moment) {
	reached := sync.OnceFunc(r.atPoint.Done)
	t.Cleanup(reached) // a life that fails early must not hold up the others
	s := newStage(t, r.leader, shared.postgres, database(shared.postgres, "payments"))
	replica := s.launch("one")
	replica.wire.Order(p.accident(s.name, when, func() {
		reached()
		<-r.dead
		s.vault = r.next
		_ = replica.wire.Another(r.next.Address)
	}))
	s.must(s.front.Another(replica.URL))
	s.must(replica.Ready(s.ctx))
	id := s.asked("postgres-prod", 2*time.Hour)
	s.takes(id)
	s.drops(id)
	if !replica.wire.Struck() {
		t.Fatalf("this life made no call %s: nothing was tried", p)
	}
	s.ended(id, 15*time.Minute, strayLife)
	tally.crashPoints.Add(1)
}
