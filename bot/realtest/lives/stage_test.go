package lives

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// stage is the world of one life: a grants repository, what Vault holds for
// it, a public address, and behind that whichever replica is alive.
type stage struct {
	*demo.World
	t     *testing.T
	ctx   context.Context
	name  string // in the names of all that is this stage's alone
	mount string // of its records
	dir   string
	vault *parts.Vault
	front *parts.Between // what people and GitHub reach

	database *parts.Postgres
	targets  map[string]grants.Target // by resource
	replicas []*replica
	over     bool // what it left has been looked for
}

// replica is one `tac serve`, with a proxy of its own before Vault.
type replica struct {
	*parts.Tac
	wire *parts.Between
}

// prop is one resource of a stage.
type prop struct {
	resource string
	target   grants.Target
	connect  string
	// role is written in Vault before the life begins: a path and its data.
	role map[string]any
	path string
}

// defaultTTL is that of the database roles: the least that tac admits.
const defaultTTL = 2 * time.Minute

const createUser = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}' IN ROLE payments_rw;`

const dropUser = `DO $$ BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{{name}}') THEN ` +
	`ALTER ROLE "{{name}}" NOLOGIN; PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{{name}}'; ` +
	`GRANT "{{name}}" TO CURRENT_USER; DROP OWNED BY "{{name}}" CASCADE; DROP ROLE "{{name}}"; END IF; END $$;`

// database is a prop that opens a PostgreSQL database. Its role in Vault has
// the stage's name, which the names of the users that it makes carry.
func database(p *parts.Postgres, config string, create ...string) func(name string) prop {
	return func(name string) prop {
		return prop{
			resource: "postgres-prod",
			target:   grants.Target{Engine: grants.EngineDatabase, Path: "database/creds/" + name, Policy: "tac-db-" + name},
			connect:  fmt.Sprintf(`psql -h %s -p %d -U "$TAC_USERNAME" payments`, p.Host, p.Port),
			path:     "database/roles/" + name,
			role: map[string]any{
				"db_name": config, "default_ttl": defaultTTL.String(), "max_ttl": "24h",
				"creation_statements": append(create, createUser), "revocation_statements": []string{dropUser},
			},
		}
	}
}

// newStage sets a stage in a Vault, and starts no replica yet.
func newStage(t *testing.T, v *parts.Vault, p *parts.Postgres, props ...func(name string) prop) *stage {
	t.Helper()
	s := &stage{name: fmt.Sprintf("s%05d", tally.stages.Add(1))}
	var made []prop
	for _, p := range props {
		made = append(made, p(s.name))
	}
	s.mount = "kv-" + s.name
	s.set(t, v, p, made, func(ctx context.Context) (server.Vault, error) { return s.setUpVault(ctx, made) })
	return s
}

// newStageIn sets a stage in a Vault that is set up already.
func newStageIn(t *testing.T, v *parts.Vault, p *parts.Postgres, props []prop, there server.Vault) *stage {
	t.Helper()
	s := &stage{name: "postgres", mount: vaultlease.DefaultMount}
	s.set(t, v, p, props, func(context.Context) (server.Vault, error) { return there, nil })
	return s
}

func (s *stage) set(t *testing.T, v *parts.Vault, p *parts.Postgres, props []prop, setUp func(context.Context) (server.Vault, error)) {
	t.Helper()
	s.t, s.ctx, s.dir, s.vault, s.database, s.targets = t, context.WithoutCancel(t.Context()), t.TempDir(), v, p, map[string]grants.Target{}
	for _, p := range props {
		s.targets[p.resource] = p.target
	}
	var err error
	if s.front, err = parts.NewBetween("http://127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.front.Close)
	s.World, err = demo.NewWorld(t.Context(), demo.Setting{
		Clock: sandbox.NewRunningClock(time.Now()), Log: slog.New(slog.DiscardHandler),
		Files: documents(props),
		Vault: func(ctx context.Context, _ *demo.World) (server.Vault, error) { return setUp(ctx) },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.World.Close)
	s.Slack.Patience = time.Minute // of a user; Slack's own three seconds are not what is tested here
	t.Cleanup(s.abandoned)
	s.GitHub.SetWebhook(s.App, s.front.URL+"/webhooks/github", s.Config("any").GitHub.WebhookSecret.Reveal())
	for _, login := range []string{"alice", "bob", "dana", "eve"} {
		s.signIn(login)
	}
}

// documents are the policies of a stage: a developer gets anything at once.
func documents(props []prop) map[string]string {
	var b strings.Builder
	for _, p := range props {
		t := p.target
		extra := ""
		if len(t.Principals) > 0 {
			extra = fmt.Sprintf(", principals: [%s], slice: %s", strings.Join(t.Principals, ", "), t.Slice)
		}
		fmt.Fprintf(&b, "kind: Resource\nmetadata: {name: %s}\nspec:\n  owners: [payments]\n"+
			"  vault: {engine: %s, path: %s, policy: %s%s}\n  max_duration: 8h\n", p.resource, t.Engine, t.Path, t.Policy, extra)
		if p.connect != "" {
			fmt.Fprintf(&b, "  connect: %q\n", p.connect)
		}
		b.WriteString("---\n")
	}
	b.WriteString(`kind: AccessPolicy
metadata: {name: everything}
spec:
  resources: ["*"]
  auto_approve:
    conditions:
      - role: [developer]
        max_duration: 8h
  approval:
    required_approvers: 1
    approver_roles: [team-lead, security]
`)
	return map[string]string{
		"policies/resources.yaml": b.String(), "policies/production-database.yaml": "", "policies/bastion.yaml": "",
	}
}

// setUpVault does what `tac vault setup` does, under names of the stage.
func (s *stage) setUpVault(ctx context.Context, props []prop) (none server.Vault, err error) {
	plan := vaultlease.Plan{
		Mount: s.mount, TransitKey: "key-" + s.name, TokenRole: "role-" + s.name, Role: "bot-" + s.name,
		BotPolicyName: "bot-" + s.name, JanitorPolicyName: "janitor-" + s.name,
	}
	for _, p := range props {
		if err := s.vault.Write(ctx, p.path, p.role); p.path != "" && err != nil {
			return none, err
		}
		plan.Targets = append(plan.Targets, p.target)
	}
	admin, err := s.vault.Admin()
	if err != nil {
		return none, err
	}
	id, err := vaultlease.Setup(ctx, admin, plan)
	return server.Vault{
		Address: s.vault.Address, RoleID: id.RoleID, SecretID: id.SecretID,
		Mount: plan.Mount, TransitKey: plan.TransitKey, TokenRole: plan.TokenRole,
	}, err
}

// start starts a replica, and the public address leads to it from now on.
func (s *stage) start(name string) *replica {
	s.t.Helper()
	r := s.launch(name)
	if err := r.Ready(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	s.must(s.front.Another(r.URL))
	return r
}

// launch starts a replica that nobody reaches yet.
func (s *stage) launch(name string) *replica {
	s.t.Helper()
	c := s.Config(name)
	wire, err := parts.NewBetween(c.Vault.Address)
	s.must(err)
	s.t.Cleanup(wire.Close)
	c.Vault.Address, c.URL, c.Resync, c.Workers = wire.URL, s.front.URL, "@every 3s", 4
	c.RemoveEvery = time.Second
	t, err := parts.Launch(shared.tac, filepath.Join(s.dir, name), c)
	s.must(err)
	s.t.Cleanup(t.Kill)
	r := &replica{Tac: t, wire: wire}
	s.replicas = append(s.replicas, r)
	return r
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// signIn does what `tac login` ends with.
func (s *stage) signIn(login string) {
	s.t.Helper()
	address, err := client.ParseServer(s.front.URL)
	s.must(err)
	token, err := s.GitHub.UserToken(login, s.App)
	s.must(err)
	s.must(client.Store{Dir: filepath.Join(s.dir, login)}.Save(client.Login{
		Server: address, ClientID: s.App.ClientID, GitHubURL: s.GitHub.URL(), Access: world.NewSecret(token),
	}))
}

// answer is what a command printed.
type answer struct {
	stdout, stderr string
	code           int
}

func (a answer) String() string { return fmt.Sprintf("exit %d\n%s%s", a.code, a.stdout, a.stderr) }

// command is tac's command line as somebody uses it.
func (s *stage) command(ctx context.Context, login string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, shared.tac, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "TAC_CONFIG_DIR="+filepath.Join(s.dir, login), "TAC_SERVER="+s.front.URL)
	return cmd
}

// as runs tac's command line to its end.
func (s *stage) as(login string, args ...string) answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 3*time.Minute)
	defer cancel()
	cmd := s.command(ctx, login, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	return answer{out.String(), said.String(), cmd.ProcessState.ExitCode()}
}

// grant is what the command line says of a grant.
type grant struct {
	ID      string    `json:"id"`
	Phase   string    `json:"phase"`
	Outcome string    `json:"outcome"`
	Ends    time.Time `json:"ends_at"`
	Why     string    `json:"why"`
}

// asked is what alice asks for, again and again until it is heard. Every
// attempt is the same wish: the command line repeats its idempotency key.
func (s *stage) asked(resource string, d time.Duration) (id string) {
	s.t.Helper()
	var last answer
	s.until("the request is heard", 90*time.Second, func() error {
		last = s.as("alice", "access", "request", resource, "--duration", d.String(), "--reason", "a good reason", "--wait", "--timeout", "60s", "-o", "json")
		if last.code != 0 {
			return fmt.Errorf("%s", last)
		}
		var a struct {
			ID    string `json:"id"`
			Grant grant  `json:"grant"`
		}
		if err := json.Unmarshal([]byte(last.stdout), &a); err != nil {
			return err
		}
		if id = a.ID; id == "" {
			id = a.Grant.ID
		}
		return nil
	})
	return id
}

// held is the credential of a grant, taken as often as it needs.
type held struct {
	Credential struct {
		Username  string            `json:"username"`
		Password  string            `json:"password"`
		Fields    map[string]string `json:"fields"`
		SignedKey string            `json:"signed_key"`
		Until     time.Time         `json:"until"`
	} `json:"credential"`
	KeyFile  string `json:"key_file"`
	CertFile string `json:"certificate_file"`
	CAFile   string `json:"ca_file"`
}

// longestClaim is how long somebody may have to wait for a credential whose
// issue was lost: a reservation is left alone for two minutes.
const longestClaim = 4 * time.Minute

func (s *stage) takes(id string) (h held) {
	s.t.Helper()
	s.until("the credential is held", longestClaim, func() error {
		a := s.as("alice", "access", "get", id, "-o", "json")
		if a.code != 0 {
			return fmt.Errorf("%s", a)
		}
		return json.Unmarshal([]byte(a.stdout), &h)
	})
	return h
}

func (s *stage) show(id string) (g grant, err error) {
	a := s.as("alice", "access", "show", id, "-o", "json")
	if a.code != 0 {
		return g, fmt.Errorf("%s", a)
	}
	return g, json.Unmarshal([]byte(a.stdout), &g)
}

// reaches waits until the grant is in a phase.
func (s *stage) reaches(id, phase string, within time.Duration) (g grant) {
	s.t.Helper()
	s.until("the grant is "+phase, within, func() (err error) {
		if g, err = s.show(id); err != nil {
			return err
		}
		if g.Phase != phase {
			return fmt.Errorf("it is %s (%s)", g.Phase, g.Why)
		}
		return nil
	})
	return g
}

// until waits for something to hold, and fails the test if it never does.
func (s *stage) until(what string, within time.Duration, holds func() error) {
	s.t.Helper()
	limit := time.Now().Add(within)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			for _, r := range s.replicas {
				s.t.Logf("a replica (alive: %v) said:\n%s", r.Alive(), r.Log())
			}
			s.t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		time.Sleep(pause)
	}
}

// users returns the database users of this stage, from pg_roles.
func (s *stage) users() ([]string, error) {
	all, err := s.database.Users(s.ctx)
	return ofStage(all, s.name), err
}

// sessions returns the users of this stage that are connected.
func (s *stage) sessions() ([]string, error) {
	all, err := s.database.Sessions(s.ctx)
	return ofStage(all, s.name), err
}

func ofStage(users []string, name string) (mine []string) {
	for _, u := range users {
		if strings.Contains(u, "-"+name+"-") {
			mine = append(mine, u)
		}
	}
	return mine
}

// onMain reports whether a grant's file is on the default branch.
func (s *stage) onMain(id string) (bool, error) {
	files, err := s.GitHub.Files(demo.Repository, "main")
	for path := range files {
		if strings.HasSuffix(path, "/"+id+".yaml") {
			return true, err
		}
	}
	return false, err
}

// How long a trace of a life may last that is closed.
const (
	// noStray: nothing was lost on the way, so what is closed is gone.
	noStray = time.Duration(0)
	// lazily: Vault ends what hangs on a revoked token in its own time. Only
	// where a replica was lost does it have to.
	lazily = 15 * time.Second
	// strayLife: a lease that nobody recorded, on a token that was revoked
	// while Vault made it, lives for the role's default_ttl.
	strayLife = defaultTTL + 10*time.Second
)

// ended checks the end of a life: the record says so, the file is gone, and
// neither PostgreSQL nor Vault knows of anything that it left.
func (s *stage) ended(id string, within, traces time.Duration) {
	s.t.Helper()
	s.reaches(id, "closed", within)
	s.nothingLeft(traces)
	record, err := s.vault.Record(s.ctx, s.mount, "grants/"+id)
	s.must(err)
	if record["phase"] != "REVOKED" {
		s.t.Errorf("the record says %v, want REVOKED", record["phase"])
	}
	if there, err := s.onMain(id); err != nil || there {
		s.t.Errorf("the file is on main: %v %v", there, err)
		tally.leftovers.Add(1)
	}
	tally.lives.Add(1)
}

// nothingLeft waits for the end of what was lost, and counts what stays.
func (s *stage) nothingLeft(traces time.Duration) {
	s.t.Helper()
	s.over = true
	for limit := time.Now().Add(traces); ; time.Sleep(500 * time.Millisecond) {
		users, leases, err := s.left()
		s.must(err)
		if len(users)+len(leases) == 0 {
			return
		}
		if !time.Now().Before(limit) {
			tally.leftovers.Add(int64(len(users) + len(leases)))
			s.t.Errorf("left behind: users %q, leases %q", users, leases)
			return
		}
	}
}

// left returns the users and the leases of this stage, as PostgreSQL and
// Vault know them.
func (s *stage) left() (users, leases []string, err error) {
	if users, err = s.users(); err != nil {
		return nil, nil, err
	}
	for _, t := range s.targets {
		if t.Slice > 0 {
			continue // certificates have none
		}
		more, err := s.vault.Leases(s.ctx, t.Path)
		if err != nil {
			return nil, nil, err
		}
		leases = append(leases, more...)
	}
	return users, leases, nil
}

// abandoned counts what a life left that failed before its end.
func (s *stage) abandoned() {
	if s.over {
		return
	}
	users, leases, err := s.left()
	if err != nil {
		s.t.Errorf("nobody knows what this life left behind: %v", err)
		tally.leftovers.Add(1)
	}
	tally.leftovers.Add(int64(len(users) + len(leases)))
}
