package vaultlease_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

var start = time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)

const (
	grantID    = grants.ID("20261122-k3v9q2m4tz")
	defaultTTL = 300 * time.Second
)

var (
	database = grants.Target{Engine: "database", Path: "database/creds/orders-ro", Policy: "tac-orders-ro"}
	bastion  = grants.Target{Engine: "ssh", Path: "ssh/sign/bastion", Policy: "tac-bastion", Principals: []string{"deploy"}, Slice: 10 * time.Minute}
)

var databaseAndBastion = []grants.Target{database, bastion}

// hooked is a database that calls back when a user was created and nobody has
// heard of it yet.
type hooked struct {
	*target.Postgres
	created func()
}

func (h *hooked) CreateUser(name, password string, until time.Time) error {
	err := h.Postgres.CreateUser(name, password, until)
	if h.created != nil {
		h.created()
	}
	return err
}

// scene is a Vault as Setup leaves it, a database and an ssh authority.
type scene struct {
	t     *testing.T
	clock *sandbox.Clock
	vault *vault.Server
	pg    *hooked
	admin *api.Client
	id    vaultlease.Identity
	logs  *buffer
}

type values = map[string]any

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, clock: sandbox.NewStillClock(start), logs: &buffer{}}
	var err error
	s.vault, err = vault.New(s.clock)
	s.must(err)
	t.Cleanup(s.vault.Close)
	pg, err := target.NewPostgres(s.clock)
	s.must(err)
	t.Cleanup(func() { s.must(pg.Close()) })
	s.pg = &hooked{Postgres: pg}
	s.admin, err = api.NewClient(&api.Config{Address: s.vault.URL()})
	s.must(err)
	s.admin.SetToken(s.vault.RootToken())
	s.write("sys/mounts/database", values{"type": "database"})
	s.write("sys/mounts/ssh", values{"type": "ssh"})
	s.vault.AttachDatabase("database", "orders", s.pg)
	s.write("database/config/orders", values{"plugin_name": "postgresql-database-plugin", "allowed_roles": "*"})
	s.role(defaultTTL, 8*time.Hour)
	s.write("ssh/config/ca", values{"generate_signing_key": true})
	s.write("ssh/roles/bastion", values{
		"key_type": "ca", "allow_user_certificates": true, "allowed_users": "deploy", "max_ttl": "10m", "allow_user_key_ids": true,
	})
	s.setUp()
	return s
}

func (s *scene) setUp() {
	s.t.Helper()
	var err error
	s.id, err = vaultlease.Setup(s.t.Context(), s.admin, vaultlease.Plan{
		LongestToken: 12 * time.Hour, BoundCIDRs: []string{"127.0.0.1/32"}, Targets: databaseAndBastion,
	})
	s.must(err)
}

func (s *scene) role(defaultTTL, maxTTL time.Duration) {
	s.t.Helper()
	s.write("database/roles/orders-ro", values{
		"db_name": "orders", "default_ttl": defaultTTL.String(), "max_ttl": maxTTL.String(),
		"creation_statements":   []string{`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE orders_ro;`},
		"revocation_statements": []string{`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'; DROP ROLE "{{name}}"`},
	})
}

func (s *scene) write(path string, data values) {
	s.t.Helper()
	_, err := s.admin.Logical().WriteWithContext(s.t.Context(), path, data)
	s.must(err)
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// replica is one process of the bot, with a wire of its own that can be cut.
type replica struct {
	*vaultlease.Client
	wire *wire
}

func (s *scene) replica(name string) replica {
	s.t.Helper()
	return s.replicaWith(name, func(*vaultlease.Config) {})
}

func (s *scene) replicaWith(name string, change func(*vaultlease.Config)) replica {
	s.t.Helper()
	w := newWire(s.t, strings.TrimPrefix(s.vault.URL(), "http://"))
	cfg := vaultlease.Config{
		Address: "http://" + w.listener.Addr().String(), RoleID: s.id.RoleID, SecretID: s.id.SecretID,
		Replica: name, Now: s.clock.Now, Log: slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	change(&cfg)
	c, err := vaultlease.New(cfg)
	s.must(err)
	return replica{c, w}
}

// approved is a consented grant of two hours from now.
func (s *scene) approved(t grants.Target) *grants.Record {
	now := s.clock.Now()
	return &grants.Record{
		State: grants.Approved, Commit: "c0ffee", Blob: "b10b", Pull: 7, Rule: "production/auto_approve[0]",
		Grant: grants.Grant{
			ID: grantID, Resource: "orders", Requester: grants.Principal{GitHub: "alice", ID: 1001}, Duration: 2 * time.Hour,
			Reason: "Deploy hotfix", RequestedAt: now, Via: grants.ViaCLI,
		},
		Target: t, StartsAt: now, EndsAt: now.Add(2 * time.Hour), TokenUntil: now.Add(3 * time.Hour),
	}
}

// consent stores an approved grant.
func (s *scene) consent(r replica, t grants.Target) *grants.Record {
	s.t.Helper()
	rec := s.approved(t)
	s.must(r.PutRecord(s.t.Context(), rec))
	return rec
}

func (s *scene) record(r replica) *grants.Record {
	s.t.Helper()
	rec, err := r.Record(s.t.Context(), grantID)
	s.must(err)
	if rec == nil {
		s.t.Fatal("the record is gone")
	}
	return rec
}

func (s *scene) claim() world.IssueClaim {
	return world.IssueClaim{Holder: "holder-1", Now: s.clock.Now()}
}

// live issues a credential and has it delivered.
func (s *scene) live(r replica) (*grants.Record, *world.Credential) {
	s.t.Helper()
	rec := s.consent(r, database)
	credential, err := r.Issue(s.t.Context(), rec, s.claim())
	s.must(err)
	rec.State = grants.Delivered
	s.must(r.PutRecord(s.t.Context(), rec))
	return rec, credential
}

// revoking is R1.
func (s *scene) revoking(r replica, rec *grants.Record) {
	s.t.Helper()
	rec.State = grants.Revoking
	s.must(r.PutRecord(s.t.Context(), rec))
}

// logIn opens a session of the database.
func (s *scene) logIn(user, password string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(s.t.Context(), fmt.Sprintf("postgres://%s:%s@%s/orders?sslmode=disable", user, password, s.pg.Addr()))
	if err == nil {
		s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

// eventually waits for what Vault does behind its answers.
func (s *scene) eventually(what string, holds func() bool) {
	s.t.Helper()
	limit := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-limit:
			s.t.Fatalf("never: %s (users %v, leases %+v)", what, s.pg.Users(), s.vault.Leases())
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *scene) users(n int) {
	s.t.Helper()
	s.eventually(fmt.Sprintf("%d users", n), func() bool { return len(s.pg.Users()) == n })
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
}

// buffer is a log that several goroutines write.
type buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// wire passes bytes between a replica and Vault, keeps a copy of all of them,
// and can be cut for good: then the replica is dead to the world, whatever it
// still tries.
type wire struct {
	listener net.Listener
	to       string
	seen     buffer

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, to: to}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			done.Go(func() { w.pass(conn) })
		}
	})
	t.Cleanup(func() {
		w.kill()
		done.Wait()
	})
	return w
}

func (w *wire) pass(client net.Conn) {
	server, err := net.Dial("tcp", w.to)
	if err != nil {
		_ = client.Close()
		return
	}
	w.mu.Lock()
	w.conns = append(w.conns, client, server)
	cut := w.cut
	w.mu.Unlock()
	if cut {
		_, _ = client.Close(), server.Close()
		return
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(io.MultiWriter(way[1], &w.seen), way[0])
			_, _ = way[0].Close(), way[1].Close()
		})
	}
	both.Wait()
}

func (w *wire) kill() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	_ = w.listener.Close()
	for _, c := range w.conns {
		_ = c.Close()
	}
}
