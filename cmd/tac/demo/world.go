// Package demo plays whole lives of grants on one machine: a GitHub, a Vault,
// a Slack, a PostgreSQL endpoint and an SSH server run in this process, each
// behind its real protocol, and the product talks to them through the very
// adapters that production uses. Only addresses differ.
//
//	world.go   the servers, the people, and the replicas of tac among them
//	person.go  what somebody does: through tac's API, and on GitHub
//	scenes.go  the stories that `tac demo` tells: what everybody does
//	answers.go, longer.go, emergency.go  stories of what people do with a
//	           request or a grant of theirs or of others
//	demo.go    the telling, and the checking of every claim
//	sessions.go  opening the sessions that a credential is for
//	evidence.go  where claims are looked up: Vault itself, the database itself
//	ground.go  what the stories stand on: the sandbox's Vault, whose clock can
//	           be moved, or (guest.go, leave.go) one that the person runs
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/bot/sandbox/slack"
	"github.com/tigeraccess/tac/bot/sandbox/target"
	"github.com/tigeraccess/tac/bot/sandbox/vault"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Repository is the grants repository of the demo.
const Repository = "acme/access"

// Start is when the demo begins: a Tuesday, three in the afternoon in Berlin,
// in a week in which alice is on call.
var Start = time.Date(2026, 11, 24, 14, 0, 0, 0, time.UTC)

// World is everything around tac, and tac itself once a replica is started.
type World struct {
	Clock    *sandbox.Clock
	GitHub   *github.Server
	Vault    *vault.Server
	Slack    *slack.Server
	Postgres *target.Postgres
	SSH      *target.SSH
	App      *github.App
	Log      *slog.Logger

	// Steps and Alerts hear of what every replica does.
	Steps  func(replica string, id grants.ID, step grants.Step, err error)
	Alerts func(replica string, id grants.ID, why string)

	vault    server.Vault
	mu       sync.Mutex
	replicas []*Replica
}

// Replica is one running tac.
type Replica struct {
	*server.Server
	Name string
	stop func()
	done chan struct{}
}

// Setting is what a World may differ in.
type Setting struct {
	Clock *sandbox.Clock
	Log   *slog.Logger
	// Files are changed or added in the grants repository; an empty
	// content takes a file away.
	Files map[string]string
	// Vault sets up the Vault that replicas use, and says how they log in
	// there; nil: the sandbox's own is started and set up. World.Vault is
	// nil where it is set.
	Vault func(context.Context, *World) (server.Vault, error)
}

// NewWorld starts all servers, and no replica yet. Close ends them.
func NewWorld(ctx context.Context, o Setting) (w *World, err error) {
	w = &World{Clock: o.Clock, Log: o.Log}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.GitHub, err = github.New(o.Clock); err != nil {
		return w, err
	}
	if w.Slack, err = slack.New(o.Clock); err != nil {
		return w, err
	}
	if w.Postgres, err = target.NewPostgres(o.Clock); err != nil {
		return w, err
	}
	w.Postgres.AddGroup(group)
	if w.SSH, err = target.NewSSH(o.Clock); err != nil {
		return w, err
	}
	o.Clock.OnMoved(w.clockMoved)
	if err := w.setUpGitHub(o.Files); err != nil {
		return w, fmt.Errorf("set up GitHub: %w", err)
	}
	setUpVault := o.Vault
	if setUpVault == nil {
		setUpVault = sandboxVault
	}
	if w.vault, err = setUpVault(ctx, w); err != nil {
		return w, fmt.Errorf("set up Vault: %w", err)
	}
	w.setUpSlack()
	return w, nil
}

// Close stops every replica and every server.
func (w *World) Close() {
	for _, r := range w.Replicas() {
		w.Stop(r)
	}
	if w.SSH != nil {
		w.SSH.Close()
	}
	if w.Postgres != nil {
		w.Postgres.Close()
	}
	if w.Slack != nil {
		w.Slack.Close()
	}
	if w.Vault != nil {
		w.Vault.Close()
	}
	if w.GitHub != nil {
		if err := w.GitHub.Close(); err != nil {
			w.Log.Debug("close GitHub", "error", err)
		}
	}
}

func (w *World) clockMoved() {
	for _, r := range w.Replicas() {
		r.Bot.WakeAll()
	}
}

// people of acme, by login; mallory is not in People, and rex (a stranger to
// the organisation) has an account and nothing else.
var people = map[string]int64{"alice": 1001, "bob": 1002, "carol": 1003, "dana": 1004, "eve": 1005, "mallory": 1666, "rex": 1777}

func (w *World) setUpGitHub(files map[string]string) error {
	g := w.GitHub
	g.AddOrg("acme")
	for login, id := range people {
		g.AddUser(login, id)
	}
	steps := []error{g.AddMember("acme", "alice", "bob", "carol", "dana", "eve", "mallory")}
	_, err := g.AddTeam("acme", "dba", 501, "carol")
	steps = append(steps, err)
	_, err = g.AddTeam("acme", "security", 502, "eve")
	steps = append(steps, err)
	_, err = g.AddRepo("acme", "access", "main")
	steps = append(steps, err,
		g.Grant(Repository, "write", "alice", "bob", "carol", "dana", "eve"),
		g.Grant(Repository, "admin", "eve"),
		g.SetPublic(Repository, true))
	if err := errors.Join(steps...); err != nil {
		return err
	}
	if w.App, err = g.AddApp("tac", 4711); err != nil {
		return err
	}
	if _, err := g.Install(w.App, "acme", 8001); err != nil {
		return err
	}
	all, err := w.files(files)
	if err != nil {
		return err
	}
	if _, err := g.Seed(Repository, "main", all, "eve", "the rules of access at acme"); err != nil {
		return err
	}
	return g.Protect(Repository, w.App)
}

// files is what `tac init` writes, with addresses that work here.
func (w *World) files(changed map[string]string) (map[string]string, error) {
	all, err := starter.Files()
	if err != nil {
		return nil, err
	}
	pg := fmt.Sprintf(`psql -h %s -p %d -U "$TAC_USERNAME" payments`, w.Postgres.Host(), w.Postgres.Port())
	ssh := fmt.Sprintf("ssh -p %d deploy@%s", w.SSH.Port(), w.SSH.Host())
	for path, content := range changed {
		if content == "" {
			delete(all, path)
			continue
		}
		all[path] = content
	}
	const resources = "policies/resources.yaml"
	if all[resources] != "" {
		all[resources] = strings.NewReplacer(
			`psql -h db.internal -U "$TAC_USERNAME" payments`, pg,
			"ssh deploy@bastion.internal", ssh,
		).Replace(all[resources])
	}
	return all, nil
}

// VaultAdmin returns a client with Vault's root token.
func (w *World) VaultAdmin() (*api.Client, error) {
	c := api.DefaultConfig()
	c.Address = w.Vault.URL()
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("make a Vault client: %w", err)
	}
	client.SetToken(w.Vault.RootToken())
	return client, nil
}

// group is the role in the database whose rights people get.
const group = "payments_rw"

// Targets are what the demo's resources are in Vault.
var Targets = []grants.Target{
	{Engine: "database", Path: "database/creds/postgres-prod", Policy: "tac-postgres-prod"},
	{Engine: "ssh", Path: "ssh/sign/bastion", Policy: "tac-bastion", Principals: []string{"deploy"}, Slice: 10 * time.Minute},
}

// sandboxVault starts the sandbox's Vault and sets it up.
func sandboxVault(ctx context.Context, w *World) (none server.Vault, err error) {
	if w.Vault, err = vault.New(w.Clock); err != nil {
		return none, err
	}
	admin, err := w.VaultAdmin()
	if err != nil {
		return none, err
	}
	if err := w.Vault.MountDatabase("database", w.Postgres); err != nil {
		return none, err
	}
	mount := func(path, kind string) error {
		return admin.Sys().MountWithContext(ctx, path, &api.MountInput{Type: kind})
	}
	write := func(path string, data map[string]any) error {
		_, err := admin.Logical().WriteWithContext(ctx, path, data)
		return err
	}
	steps := []func() error{
		func() error {
			return write("database/config/payments", map[string]any{"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": "postgresql://" + w.Postgres.Addr() + "/payments"})
		},
		func() error {
			return write("database/roles/postgres-prod", map[string]any{
				"db_name": "payments", "default_ttl": "300s", "max_ttl": "24h",
				"creation_statements":   []string{`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE payments_rw;`},
				"revocation_statements": []string{`DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN ALTER ROLE "{{name}}" NOLOGIN; PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'; GRANT "{{name}}" TO CURRENT_USER; DROP OWNED BY "{{name}}" CASCADE; DROP ROLE "{{name}}"; END IF; END $$;`},
			})
		},
		func() error { return mount("ssh", "ssh") },
		func() error { return write("ssh/config/ca", map[string]any{"generate_signing_key": true}) },
		func() error {
			return write("ssh/roles/bastion", map[string]any{
				"key_type": "ca", "allow_user_certificates": true, "allowed_users": "deploy", "default_user": "deploy",
				"ttl": "10m", "max_ttl": "10m", "allow_empty_principals": false, "allow_user_key_ids": true, "default_extensions": map[string]string{"permit-pty": ""},
			})
		},
		func() error { return w.trustCA(ctx, admin, "ssh") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return none, err
		}
	}
	id, err := vaultlease.Setup(ctx, admin, vaultlease.Plan{Targets: Targets})
	return server.Vault{Address: w.Vault.URL(), RoleID: id.RoleID, SecretID: id.SecretID}, err
}

// trustCA has the SSH server trust the authority of an SSH engine.
func (w *World) trustCA(ctx context.Context, admin *api.Client, mount string) error {
	ca, err := admin.Logical().ReadWithContext(ctx, mount+"/config/ca")
	if err != nil {
		return err
	}
	if ca == nil {
		return fmt.Errorf("the SSH engine at %s has no authority", mount)
	}
	key, ok := ca.Data["public_key"].(string)
	if !ok {
		return errors.New("the SSH engine shows no public key")
	}
	return w.SSH.TrustCA([]byte(key))
}

// Channel is where grants are told in Slack; emergencies are told in
// AlarmChannel as well.
const (
	Channel      = "C0ACCESS"
	AlarmChannel = "C0SECURITY"
)

func (w *World) setUpSlack() {
	for login := range people {
		if id := slackID[login]; id != "" {
			w.Slack.AddUser(id, login, login+"@acme.test")
		}
	}
	w.Slack.AddChannel(Channel, "access")
	w.Slack.AddChannel(AlarmChannel, "security")
}

var slackID = map[string]string{"alice": "U01ALICE", "bob": "U02BOB", "carol": "U03CAROL", "dana": "U04DANA", "eve": "U05EVE"}

// Config is the configuration of a replica in this world.
func (w *World) Config(name string) server.Config {
	return server.Config{
		Listen: "127.0.0.1:0",
		GitHub: server.GitHub{
			URL: w.GitHub.URL(), APIURL: w.GitHub.URL(), Owner: "acme", Repo: "access", Branch: "main",
			AppID: w.App.ID, InstallationID: 8001, ClientID: w.App.ClientID, ClientSecret: world.NewSecret(w.App.ClientSecret),
			PrivateKey: world.NewSecret(string(w.App.PrivateKeyPEM)), WebhookSecret: world.NewSecret(webhookSecret),
		},
		Vault: w.vault,
		Slack: &server.Slack{
			APIURL: w.Slack.URL() + "/api/", BotToken: world.NewSecret(w.Slack.BotToken()),
			SigningSecret: world.NewSecret(w.Slack.SigningSecret()), Channel: Channel,
		},
		Resync: "@every 1m", Workers: 4, Replica: name,
	}
}

// webhookSecret signs this world's deliveries, which never leave the machine.
const webhookSecret = "the sandbox signs with this"

// NewReplica builds a replica that does nothing by itself: tests call its
// Bot's Sync. Nor does it look at the set-up, which tests make wrong on
// purpose; whoever wants that says so by a change, and waits for Ready.
func (w *World) NewReplica(name string, change ...func(*server.Config, *server.Options)) (*Replica, error) {
	c := w.Config(name)
	o := server.Options{Now: w.Clock.Now, Log: w.Log.With("replica", name), Unchecked: true}
	o.Steps = func(id grants.ID, step grants.Step, err error) {
		if w.Steps != nil {
			w.Steps(name, id, step, err)
		}
	}
	o.Alert = func(id grants.ID, why string) {
		if w.Alerts != nil {
			w.Alerts(name, id, why)
		}
	}
	for _, f := range change {
		f(&c, &o)
	}
	s, err := server.New(c, o)
	if err != nil {
		return nil, err
	}
	return &Replica{Server: s, Name: name}, nil
}

// Run starts a replica: from here on it works by itself, and GitHub's events
// go to it.
func (w *World) Run(ctx context.Context, r *Replica) {
	ctx, stop := context.WithCancel(ctx)
	r.stop, r.done = stop, make(chan struct{})
	w.mu.Lock()
	w.replicas = append(w.replicas, r)
	w.mu.Unlock()
	w.GitHub.SetWebhook(w.App, r.URL()+"/webhooks/github", webhookSecret)
	go func() {
		defer close(r.done)
		if err := r.Server.Run(ctx); err != nil {
			w.Log.Error("a replica ended", "replica", r.Name, "error", err)
		}
	}()
}

// Replicas returns those that run.
func (w *World) Replicas() []*Replica {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*Replica(nil), w.replicas...)
}

// Stop ends a replica and waits until it is gone.
func (w *World) Stop(r *Replica) {
	w.mu.Lock()
	for i, other := range w.replicas {
		if other == r {
			w.replicas = append(w.replicas[:i], w.replicas[i+1:]...)
			break
		}
	}
	w.mu.Unlock()
	if r.stop != nil {
		r.stop()
		<-r.done
	}
}
