package vaultclaims

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
)

// Sandbox starts the sandbox's Vault, whose time passes only by Wait. It is a
// Start.
func Sandbox(t *testing.T, kind Kind) Ground {
	t.Helper()
	clock := sandbox.NewStillClock(time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC))
	s, err := vault.New(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	g := Ground{Name: "sandbox", Address: s.URL(), RootToken: s.RootToken(), Wait: clock.Advance, Patient: true}
	g.Unseal = func() error {
		s.Unseal()
		return nil
	}
	switch kind {
	case Uninitialised:
		s.SetUninitialised(true)
		g.RootToken = ""
	case Standby:
		g.RootToken, g.Address = s.RootToken(), standby(t, clock, s.URL())
	default:
		db := &database{users: map[string]time.Time{}, free: make(chan struct{})}
		close(db.free)
		t.Cleanup(func() { _ = db.Release() }) // never fails
		s.AttachDatabase("database", "orders", db)
		g.Database = db
	}
	return g
}

// standby starts a second node, which is not the active one, and returns its
// address.
func standby(t *testing.T, clock *sandbox.Clock, leader string) string {
	t.Helper()
	s, err := vault.New(clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	s.SetStandby(true)
	if err := s.SetLeader(leader); err != nil {
		t.Fatal(err)
	}
	return s.URL()
}

// database stands in for a PostgreSQL behind the sandbox.
type database struct {
	mu      sync.Mutex
	users   map[string]time.Time
	stopped bool
	free    chan struct{} // closed while statements need not wait
	waiting int
}

// errRefused is what Vault's plugin says where nobody listens.
var errRefused = errors.New("failed to connect to `host=127.0.0.1 user=" + AdminName +
	" database=orders`: dial error (dial tcp 127.0.0.1:5432: connect: connection refused)")

func (d *database) enter() error {
	d.mu.Lock()
	d.waiting++
	free := d.free
	d.mu.Unlock()
	<-free
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	if d.stopped {
		return errRefused
	}
	return nil
}

// statement runs f as one statement that Hold and Stop concern.
func (d *database) statement(f func() error) error {
	if err := d.enter(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

func (d *database) CreateUser(name, _ string, until time.Time) error {
	err := d.statement(func() error {
		d.users[name] = until
		return nil
	})
	if err != nil {
		return fmt.Errorf("unable to start transaction: %w", err)
	}
	return nil
}

func (d *database) SetValidUntil(name string, until time.Time) error {
	return d.statement(func() error {
		if _, ok := d.users[name]; !ok {
			return fmt.Errorf("ERROR: role %q does not exist (SQLSTATE 42704)", name)
		}
		d.users[name] = until
		return nil
	})
}

func (d *database) DropUser(name string) error {
	return d.statement(func() error {
		delete(d.users, name)
		return nil
	})
}

func (d *database) URL() string {
	return "postgresql://{{username}}:{{password}}@127.0.0.1:5432/orders?sslmode=disable"
}

func (d *database) Users() (map[string]time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := maps.Clone(d.users)
	maps.DeleteFunc(out, func(name string, _ time.Time) bool { return !strings.HasPrefix(name, "v-") })
	return out, nil
}

func (d *database) Stop() error { return d.set(true) }

func (d *database) Start() error { return d.set(false) }

func (d *database) set(stopped bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = stopped
	return nil
}

func (d *database) Hold() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free = make(chan struct{})
	return nil
}

func (d *database) Release() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.free:
	default:
		close(d.free)
	}
	return nil
}

func (d *database) Waiting() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting, nil
}
