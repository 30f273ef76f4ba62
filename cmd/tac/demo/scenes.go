package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/ssh"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants"
)

// onCall is the everyday life of a grant.
func (d *telling) onCall() error {
	w := d.world
	alice, err := w.Person("alice")
	if err != nil {
		return err
	}
	if err := d.quiet(); err != nil {
		return err
	}
	w.GitHub.ResetCalls()
	ask := Ask{Resource: "postgres-prod", Duration: "2h", Reason: "Deploy hotfix for payment processing bug", Ticket: "INC-789"}
	d.say(`alice: tac access request postgres-prod --duration 2h --ticket INC-789 --reason "%s"`, ask.Reason)
	a, err := alice.Request(d.ctx, d.one, ask)
	if err != nil {
		return err
	}
	d.check(a.Decision.Decision == "allow", "policy says %s by the rule %s: she is on call", a.Decision.Decision, a.Decision.Rule)
	v, err := d.reach(alice, a.ID, grants.PhaseApproved)
	if err != nil {
		return err
	}
	d.say("pull request #%d added one file, %s, and was merged", v.PullRequest, grants.Path(v.Resource, a.ID))
	n, calls := w.GitHub.Counts(), callsForOne(w)
	d.check(calls <= 5, "that took %d calls of GitHub's REST API (and %d for tokens, %d for lists of teams and members)", calls, n.Tokens, n.Teams)
	d.check(len(w.Postgres.Users()) == 0, "nothing is issued before she takes it: the database has no user for her")

	d.say("alice: tac access get %s", a.ID)
	c, err := alice.Claim(d.ctx, d.one, a.ID, rand.Text(), "", false)
	if err != nil {
		return err
	}
	session, err := pgx.Connect(d.ctx, d.dsn(c))
	if err != nil {
		return fmt.Errorf("log in to the database: %w", err)
	}
	var user string
	err = session.QueryRow(d.ctx, "SELECT current_user", pgx.QueryExecModeSimpleProtocol).Scan(&user)
	d.check(err == nil && user == c.Username, "the credential logs in over the PostgreSQL protocol as %s", c.Username)

	d.say("... two hours pass; her session is still open ...")
	w.Clock.Advance(2*time.Hour + time.Second)
	if _, err := d.reach(alice, a.ID, grants.PhaseClosed); err != nil {
		return err
	}
	_, err = pgx.Connect(d.ctx, d.dsn(c))
	d.check(err != nil, "the login is refused: %s", lastClause(err))
	_, err = session.Exec(d.ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	d.check(err != nil, "the open session was cut: %s", lastClause(err))
	d.check(len(w.Vault.Leases()) == 0, "Vault has no lease left, and tac looked before it said so")
	return d.checkEnded(a.ID, grants.OutcomeExpired)
}

// callsForOne counts what the one pull request cost. A sweep's look at the
// list of open ones is for all grants together and, unchanged, free.
func callsForOne(w *World) (n int) {
	for _, c := range w.GitHub.RESTCalls() {
		list := c.Method == "GET" && strings.HasSuffix(c.Path, "/pulls")
		if strings.HasPrefix(c.Path, "/repos/") && !list {
			n++
		}
	}
	return n
}

// writes counts what was written to GitHub: sweeps only read.
func writes(w *World) (n int) {
	for _, c := range w.GitHub.Calls() {
		api := strings.HasPrefix(c.Path, "/repos/") && c.Method != "GET"
		if api || strings.HasSuffix(c.Path, "/git-receive-pack") {
			n++
		}
	}
	return n
}

// reviewed is a grant that people decide on.
func (d *telling) reviewed() error {
	w := d.world
	bob, err := w.Person("bob")
	if err != nil {
		return err
	}
	ask := Ask{Resource: "bastion", Duration: "4h", Reason: "Look at the stuck batch job on the bastion"}
	d.say(`bob: tac access request bastion --duration 4h --reason "%s"`, ask.Reason)
	a, err := bob.Request(d.ctx, d.one, ask)
	if err != nil {
		return err
	}
	d.check(a.Decision.Decision == "review", "policy says %s: %s", a.Decision.Decision, a.Decision.Nearest)
	var v bot.View
	err = d.until("people are asked", func() (bool, error) {
		v, err = bob.Show(d.ctx, d.one, a.ID)
		return len(v.WaitingFor) > 0, err
	})
	if err != nil {
		return err
	}
	d.say("pull request #%d waits for one of %s", v.PullRequest, strings.Join(v.WaitingFor, ", "))

	if _, err := w.GitHub.Review(Repository, v.PullRequest, "bob", "APPROVE", ""); err != nil {
		return err
	}
	d.say("bob approves it himself; GitHub lets him, since the pull request is the bot's")
	if err := d.quiet(); err != nil {
		return err
	}
	v, err = bob.Show(d.ctx, d.one, a.ID)
	if err != nil {
		return err
	}
	d.check(v.Phase == grants.PhaseRequested, "his own approval does not count: the request still waits")
	if _, err := w.GitHub.Review(Repository, v.PullRequest, "dana", "APPROVE", ""); err != nil {
		return err
	}
	d.say("dana, his team lead, approves it")
	if v, err = d.reach(bob, a.ID, grants.PhaseApproved); err != nil {
		return err
	}
	d.check(len(v.Approvers) == 1 && v.Approvers[0] == "dana", "hers does: merged, with dana as the only approver on record")
	return d.sshSession(bob, a.ID)
}

func (d *telling) sshSession(bob *Person, id grants.ID) error {
	w := d.world
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return err
	}
	d.say("bob: tac access exec %s -- whoami", id)
	c, err := bob.Claim(d.ctx, d.one, id, rand.Text(), string(ssh.MarshalAuthorizedKey(key)), false)
	if err != nil {
		return err
	}
	who, err := d.runOverSSH(private, c.SignedKey, "whoami")
	d.check(err == nil && who == "deploy", "a certificate of ten minutes opens an SSH session as %q", who)

	d.say("bob is done early: tac access drop %s", id)
	if _, err := bob.Drop(d.ctx, d.one, id); err != nil {
		return err
	}
	_, err = bob.Claim(d.ctx, d.one, id, rand.Text(), string(ssh.MarshalAuthorizedKey(key)), false)
	d.check(err != nil, "no further certificate is signed: %v", err)
	v, err := bob.Show(d.ctx, d.one, id)
	if err != nil {
		return err
	}
	d.check(v.Phase == grants.PhaseEnded, "the file stays while the last certificate lives: nothing is called dead before it is")
	d.say("... eleven minutes pass: the life of one certificate, and half a minute for clocks that differ ...")
	w.Clock.Advance(11 * time.Minute)
	if _, err := d.reach(bob, id, grants.PhaseClosed); err != nil {
		return err
	}
	_, err = d.runOverSSH(private, c.SignedKey, "whoami")
	d.check(err != nil, "the certificate opens nothing any more")
	return d.checkEnded(id, grants.OutcomeDropped)
}

// stranger is somebody whom policy does not know.
func (d *telling) stranger() error {
	mallory, err := d.world.Person("mallory")
	if err != nil {
		return err
	}
	before := writes(d.world)
	d.say(`mallory: tac access request postgres-prod --duration 1h --reason "just looking"`)
	_, err = mallory.Request(d.ctx, d.one, Ask{Resource: "postgres-prod", Duration: "1h", Reason: "just looking"})
	var refusal *Refusal
	denied := errors.As(err, &refusal) && refusal.Code == string(bot.CodeDenied)
	d.check(denied, "denied: %v", err)
	d.check(writes(d.world) == before, "nothing was written anywhere: no branch, no pull request")

	carol, err := d.world.Person("carol")
	if err != nil {
		return err
	}
	d.say(`carol: tac access request postgres-prd --duration 1h --reason "slow query"`)
	_, err = carol.Request(d.ctx, d.one, Ask{Resource: "postgres-prd", Duration: "1h", Reason: "slow query"})
	d.check(err != nil && strings.Contains(err.Error(), "postgres-prod"), "a slip of the finger is answered with what was meant: %v", err)

	_, err = (&Person{Login: "mallory", world: d.world, token: "ghp_" + strings.Repeat("x", 36)}).List(d.ctx, d.one)
	d.check(errors.As(err, &refusal) && refusal.Status == 401, "a personal access token is no way in: %v", err)
	return nil
}

// around is what people try who do not want to ask.
func (d *telling) around() error {
	if err := d.pushAfterApproval(); err != nil {
		return err
	}
	return d.straightToMain()
}

func (d *telling) pushAfterApproval() error {
	w := d.world
	carol := grants.Principal{GitHub: "carol", ID: people["carol"]}
	now := w.Clock.Now().UTC().Truncate(time.Second)
	g := grants.Grant{
		ID: grants.NewIntentKey(carol, "bastion", "by hand").ID(now), Resource: "bastion", Requester: carol,
		Duration: 2 * time.Hour, Reason: "Rotate the host keys", RequestedAt: now, Via: grants.ViaGit,
	}
	push := github.Push{Repo: Repository, Login: "carol", Branch: "carol-bastion", From: "main", Files: map[string]string{g.Path(): string(g.Encode())}, Message: "ask for the bastion"}
	approved, err := w.GitHub.Push(push)
	if err != nil {
		return err
	}
	number, err := w.GitHub.OpenPull(Repository, "carol", "carol-bastion", "main", "bastion for carol", "")
	if err != nil {
		return err
	}
	d.say("carol writes her grant by hand and opens pull request #%d with plain git", number)
	// GitHub's events are held back, so that the push comes before tac
	// could merge.
	w.GitHub.HoldDeliveries()
	if _, err := w.GitHub.Review(Repository, number, "dana", "APPROVE", approved); err != nil {
		return err
	}
	g.Duration = 8 * time.Hour
	push.From, push.Files[g.Path()] = "", string(g.Encode())
	push.Message = "a little longer"
	head, err := w.GitHub.Push(push)
	if err != nil {
		return err
	}
	w.GitHub.ReleaseDeliveries(false)
	d.say("dana approves 2h at %.8s; carol pushes %.8s, which says 8h", approved, head)
	if err := d.quiet(); err != nil {
		return err
	}
	person, err := w.Person("carol")
	if err != nil {
		return err
	}
	var v bot.View
	err = d.until("the request is known", func() (bool, error) {
		v, err = person.Show(d.ctx, d.one, g.ID)
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal.Status == 404 {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	onMain, err := d.onMain(g.Path())
	d.check(err == nil && v.Phase == grants.PhaseRequested && !onMain, "nothing merges: dana's approval is of other bytes, so it waits for %s", strings.Join(v.WaitingFor, ", "))
	return w.GitHub.ClosePull(Repository, number, "carol")
}

func (d *telling) straightToMain() error {
	w := d.world
	eve := grants.Principal{GitHub: "eve", ID: people["eve"]}
	now := w.Clock.Now().UTC().Truncate(time.Second)
	g := grants.Grant{
		ID: grants.NewIntentKey(eve, "postgres-prod", "straight").ID(now), Resource: "postgres-prod", Requester: eve,
		Duration: 4 * time.Hour, Reason: "I am an administrator", RequestedAt: now, Via: grants.ViaGit,
	}
	if err := w.GitHub.AllowBypass(Repository, "eve"); err != nil {
		return err
	}
	issued := issuedBy(w)
	if _, err := w.GitHub.Push(github.Push{Repo: Repository, Login: "eve", Branch: "main", Files: map[string]string{g.Path(): string(g.Encode())}, Message: "grant myself the database"}); err != nil {
		return err
	}
	d.say("eve, an administrator, pushes a grant for herself straight to main")
	person, err := w.Person("eve")
	if err != nil {
		return err
	}
	if _, err := d.reach(person, g.ID, grants.PhaseClosed); err != nil {
		return err
	}
	_, err = person.Claim(d.ctx, d.one, g.ID, rand.Text(), "", false)
	d.check(err != nil && issuedBy(w) == issued, "nothing is issued: %v", err)
	d.check(d.wasAlerted("nobody but tac merges grants"), "somebody is woken: nobody but tac merges grants")
	return d.checkEnded(g.ID, grants.OutcomeRefused)
}

func issuedBy(w *World) (n int) {
	for _, e := range w.Vault.Events() {
		if e.Kind == "lease-created" || e.Kind == "certificate-signed" {
			n++
		}
	}
	return n
}

// killed is a crash at the worst moment: the credential exists, and nothing
// that was written down knows its name.
func (d *telling) killed() error {
	w := d.world
	alice, err := w.Person("alice")
	if err != nil {
		return err
	}
	a, err := alice.Request(d.ctx, d.one, Ask{Resource: "postgres-prod", Duration: "1h", Reason: "Check the hotfix"})
	if err != nil {
		return err
	}
	if _, err := d.reach(alice, a.ID, grants.PhaseApproved); err != nil {
		return err
	}
	// Vault does what it is asked; its answer never arrives, because the
	// bot is killed at that very moment.
	killed := make(chan struct{})
	w.Vault.Order(sandbox.Fault{Path: "database/creds/", When: sandbox.LostReply, Do: func(*http.Request) { close(killed) }})
	d.say("alice takes her credential; the bot dies after Vault has made it and before anything is written down")
	ctx, cancel := context.WithCancel(d.ctx)
	go func() {
		<-killed
		cancel()
	}()
	_, err = alice.Claim(ctx, d.one, a.ID, rand.Text(), "", false)
	cancel()
	w.Stop(d.one)
	d.check(err != nil && len(w.Postgres.Users()) == 1, "left behind: a database user that nobody holds the password of")

	if err := d.start("two"); err != nil {
		return err
	}
	two := d.one
	d.say("another replica takes over; two minutes pass, until no call of the dead one can still be under way")
	w.Clock.Advance(grants.RetireAfter + time.Second)
	err = d.until("the orphan is gone", func() (bool, error) { return len(w.Postgres.Users()) == 0 && len(w.Vault.Leases()) == 0, nil })
	d.check(err == nil, "the orphan was found by the token that was recorded before it, and proved dead")

	var c Credential
	err = d.until("the grant can be claimed again", func() (bool, error) {
		c, err = alice.Claim(d.ctx, two, a.ID, rand.Text(), "", false)
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	session, err := pgx.Connect(d.ctx, d.dsn(c))
	d.check(err == nil && len(w.Postgres.Users()) == 1, "the grant still completes: alice is in, with the one credential that lives")
	if err == nil {
		_ = session.Close(d.ctx)
	}
	if _, err := alice.Drop(d.ctx, two, a.ID); err != nil {
		return err
	}
	if _, err := d.reach(alice, a.ID, grants.PhaseClosed); err != nil {
		return err
	}
	return d.checkEnded(a.ID, grants.OutcomeDropped)
}

// reach waits until a grant is in a phase.
func (d *telling) reach(p *Person, id grants.ID, phase grants.Phase) (v bot.View, err error) {
	err = d.until(fmt.Sprintf("%s is %s", id, phase), func() (bool, error) {
		v, err = p.Show(d.ctx, d.one, id)
		var refusal *Refusal
		if errors.As(err, &refusal) && refusal.Status == 404 {
			return false, nil
		}
		return v.Phase == phase, err
	})
	return v, err
}

// quiet waits until tac is up and GitHub's events have arrived.
func (d *telling) quiet() error {
	if err := d.world.GitHub.Drain(d.ctx); err != nil {
		return err
	}
	return d.one.Bot.Sync(d.ctx)
}

// checkEnded looks at git: the file is gone, and the commit says why.
func (d *telling) checkEnded(id grants.ID, outcome grants.Outcome) error {
	commits, err := d.world.GitHub.Commits(Repository, "main")
	if err != nil {
		return err
	}
	for _, c := range commits {
		if strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\nTac-Ended: "+string(outcome)) {
			d.check(true, "the commit that removed the file: %s", subject(c))
			return nil
		}
	}
	d.check(false, "no commit says that %s was %s", id, outcome)
	return nil
}

func (d *telling) onMain(path string) (bool, error) {
	files, err := d.world.GitHub.Files(Repository, "main")
	_, there := files[path]
	return there, err
}

func (d *telling) dsn(c Credential) string {
	return fmt.Sprintf("postgres://%s:%s@%s/payments?sslmode=disable&connect_timeout=5", c.Username, c.Password, d.world.Postgres.Addr())
}

// lastClause is the end of an error, which is what the server said.
func lastClause(err error) string {
	if err == nil {
		return "no error"
	}
	text := err.Error()
	if i := strings.Index(text, "FATAL"); i >= 0 {
		return text[i:]
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// runOverSSH opens a session with a certificate and runs one command.
func (d *telling) runOverSSH(private ed25519.PrivateKey, signed, command string) (string, error) {
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return "", err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(signed))
	if err != nil {
		return "", err
	}
	certificate, ok := parsed.(*ssh.Certificate)
	if !ok {
		return "", errors.New("what Vault signed is no certificate")
	}
	if signer, err = ssh.NewCertSigner(certificate, signer); err != nil {
		return "", err
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(d.world.SSH.HostKey()))
	if err != nil {
		return "", err
	}
	client, err := ssh.Dial("tcp", d.world.SSH.Addr(), &ssh.ClientConfig{
		User: "deploy", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(host), Timeout: 10 * time.Second,
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	out, err := session.Output(command)
	return strings.TrimSpace(string(out)), err
}
