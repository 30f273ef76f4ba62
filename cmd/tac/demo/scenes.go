package demo

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/ssh"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// onCall is the everyday life of a grant.
func (d *telling) onCall() (*pause, error) {
	w := d.world
	alice, err := w.Person("alice")
	if err != nil {
		return nil, err
	}
	if err := d.quiet(); err != nil {
		return nil, err
	}
	w.GitHub.ResetCalls()
	duration := grants.FormatDuration(d.ground.tempo().grant)
	ask := Ask{Resource: "postgres-prod", Duration: duration, Reason: "Deploy hotfix for payment processing bug", Ticket: "INC-789"}
	d.say(`alice: tac access request postgres-prod --duration %s --ticket INC-789 --reason "%s"`, duration, ask.Reason)
	a, err := alice.Request(d.ctx, d.one, ask)
	if err != nil {
		return nil, err
	}
	d.check(a.Decision.Decision == "allow", "policy says %s by the rule %s: she is on call", a.Decision.Decision, a.Decision.Rule)
	v, err := d.reach(alice, a.ID, grants.PhaseApproved)
	if err != nil {
		return nil, err
	}
	d.say("pull request #%d added one file, %s, and was merged", v.PullRequest, grants.Path(v.Resource, a.ID))
	n := w.GitHub.Counts()
	calls, changes := callsForOne(w)
	d.check(changes <= 4, "that took %d calls of GitHub's REST API (and %d for tokens, %d for lists of teams and members)", calls, n.Tokens, n.Teams)
	now, err := d.alive()
	if err != nil {
		return nil, err
	}
	d.check(now.none(), "nothing is issued before she takes it: the database has no user for her, and Vault no lease")
	return d.useDatabase(alice, a.ID)
}

// useDatabase is the life of a credential, to its end by the clock.
func (d *telling) useDatabase(alice *Person, id grants.ID) (*pause, error) {
	d.say("alice: tac access get %s", id)
	c, err := alice.Claim(d.ctx, d.one, id, rand.Text(), "", false)
	if err != nil {
		return nil, err
	}
	session, err := pgx.Connect(d.ctx, d.dsn(c))
	if err != nil {
		return nil, fmt.Errorf("log in to the database: %w", err)
	}
	var user string
	err = session.QueryRow(d.ctx, "SELECT current_user", pgx.QueryExecModeSimpleProtocol).Scan(&user)
	d.check(err == nil && user == c.Username, "the credential logs in over the PostgreSQL protocol as %s", c.Username)
	over := func() (*pause, error) {
		if _, err := d.reach(alice, id, grants.PhaseClosed); err != nil {
			return nil, err
		}
		_, err := pgx.Connect(d.ctx, d.dsn(c))
		d.check(err != nil, "the login is refused: %s", lastClause(err))
		_, err = session.Exec(d.ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
		d.check(err != nil, "the open session was cut: %s", lastClause(err))
		if err := d.checkForgotten(id, "Vault knows neither the lease nor the token behind it, and pg_roles no such user"); err != nil {
			return nil, err
		}
		return nil, d.checkEnded(id, grants.OutcomeExpired)
	}
	return &pause{d.ground.tempo().grantOver + "; her session is still open", d.ground.tempo().grant + time.Second, over}, nil
}

// callsForOne counts what the one pull request cost, and how many of these
// calls changed something: a sweep that happens to look at the same moment
// reads it once more, and changes nothing. A sweep's look at the list of open
// ones is for all grants together and, unchanged, free.
func callsForOne(w *World) (calls, changes int) {
	for _, c := range w.GitHub.RESTCalls() {
		list := c.Method == "GET" && strings.HasSuffix(c.Path, "/pulls")
		if !strings.HasPrefix(c.Path, "/repos/") || list {
			continue
		}
		calls++
		if c.Method != "GET" {
			changes++
		}
	}
	return calls, changes
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
func (d *telling) reviewed() (*pause, error) {
	w := d.world
	bob, err := w.Person("bob")
	if err != nil {
		return nil, err
	}
	ask := Ask{Resource: "bastion", Duration: "4h", Reason: "Look at the stuck batch job on the bastion"}
	d.say(`bob: tac access request bastion --duration 4h --reason "%s"`, ask.Reason)
	a, err := bob.Request(d.ctx, d.one, ask)
	if err != nil {
		return nil, err
	}
	d.check(a.Decision.Decision == "review", "policy says %s: %s", a.Decision.Decision, a.Decision.Nearest)
	var v bot.View
	err = d.until("people are asked", func() (bool, error) {
		v, err = bob.Show(d.ctx, d.one, a.ID)
		return len(v.WaitingFor) > 0, err
	})
	if err != nil {
		return nil, err
	}
	d.say("pull request #%d waits for one of %s", v.PullRequest, strings.Join(v.WaitingFor, ", "))

	if _, err := w.GitHub.Review(Repository, v.PullRequest, "bob", "APPROVE", ""); err != nil {
		return nil, err
	}
	d.say("bob approves it himself; GitHub lets him, since the pull request is the bot's")
	if err := d.quiet(); err != nil {
		return nil, err
	}
	v, err = bob.Show(d.ctx, d.one, a.ID)
	if err != nil {
		return nil, err
	}
	d.check(v.Phase == grants.PhaseRequested, "his own approval does not count: the request still waits")
	if _, err := w.GitHub.Review(Repository, v.PullRequest, "dana", "APPROVE", ""); err != nil {
		return nil, err
	}
	d.say("dana, his team lead, approves it")
	if v, err = d.reach(bob, a.ID, grants.PhaseApproved); err != nil {
		return nil, err
	}
	d.check(len(v.Approvers) == 1 && v.Approvers[0] == "dana", "hers does: merged, with dana as the only approver on record")
	return d.sshSession(bob, a.ID)
}

func (d *telling) sshSession(bob *Person, id grants.ID) (*pause, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, err
	}
	d.say("bob: tac access exec %s -- whoami", id)
	c, err := bob.Claim(d.ctx, d.one, id, rand.Text(), string(ssh.MarshalAuthorizedKey(key)), false)
	if err != nil {
		return nil, err
	}
	who, err := d.runOverSSH(private, c.SignedKey, "whoami")
	d.check(err == nil && who == "deploy", "a certificate of %s opens an SSH session as %q", d.ground.tempo().slice, who)

	d.say("bob is done early: tac access drop %s", id)
	if _, err := bob.Drop(d.ctx, d.one, id); err != nil {
		return nil, err
	}
	_, err = bob.Claim(d.ctx, d.one, id, rand.Text(), string(ssh.MarshalAuthorizedKey(key)), false)
	d.check(err != nil, "no further certificate is signed: %v", err)
	v, err := bob.Show(d.ctx, d.one, id)
	if err != nil {
		return nil, err
	}
	d.check(v.Phase == grants.PhaseEnded, "the file stays while the last certificate lives: nothing is called dead before it is")
	over := func() (*pause, error) {
		if _, err := d.reach(bob, id, grants.PhaseClosed); err != nil {
			return nil, err
		}
		_, err := d.runOverSSH(private, c.SignedKey, "whoami")
		d.check(err != nil, "the certificate opens nothing any more")
		if err := d.checkForgotten(id, "and Vault has forgotten the token that had it signed"); err != nil {
			return nil, err
		}
		return nil, d.checkEnded(id, grants.OutcomeDropped)
	}
	told := d.ground.tempo().sliceOver + ": the life of one certificate, and half a minute for clocks that differ"
	return &pause{told, d.ground.tempo().afterSlice, over}, nil
}

// stranger is somebody whom policy does not know.
func (d *telling) stranger() (*pause, error) {
	mallory, err := d.world.Person("mallory")
	if err != nil {
		return nil, err
	}
	if err := d.quiet(); err != nil { // what other stories left to be done is written by now
		return nil, err
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
		return nil, err
	}
	d.say(`carol: tac access request postgres-prd --duration 1h --reason "slow query"`)
	_, err = carol.Request(d.ctx, d.one, Ask{Resource: "postgres-prd", Duration: "1h", Reason: "slow query"})
	d.check(err != nil && strings.Contains(err.Error(), "postgres-prod"), "a slip of the finger is answered with what was meant: %v", err)

	_, err = (&Person{Login: "mallory", world: d.world, token: "ghp_" + strings.Repeat("x", 36)}).List(d.ctx, d.one)
	d.check(errors.As(err, &refusal) && refusal.Status == 401, "a personal access token is no way in: %v", err)
	return nil, nil
}

// around is what people try who do not want to ask.
func (d *telling) around() (*pause, error) {
	if err := d.pushAfterApproval(); err != nil {
		return nil, err
	}
	return nil, d.straightToMain()
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
		return err == nil, notYetThere(err)
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
	before, err := d.alive()
	if err != nil {
		return err
	}
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
	_, refused := person.Claim(d.ctx, d.one, g.ID, rand.Text(), "", false)
	after, err := d.alive()
	if err != nil {
		return err
	}
	d.check(refused != nil && after.since(before).none(), "nothing is issued: %v", refused)
	d.check(d.wasAlerted("nobody but tac merges grants"), "somebody is woken: nobody but tac merges grants")
	return d.checkEnded(g.ID, grants.OutcomeRefused)
}

// killed is a crash at the worst moment: the credential exists, and nothing
// that was written down knows its name.
func (d *telling) killed() (*pause, error) {
	w := d.world
	alice, err := w.Person("alice")
	if err != nil {
		return nil, err
	}
	a, err := alice.Request(d.ctx, d.one, Ask{Resource: "postgres-prod", Duration: "1h", Reason: "Check the hotfix"})
	if err != nil {
		return nil, err
	}
	if _, err := d.reach(alice, a.ID, grants.PhaseApproved); err != nil {
		return nil, err
	}
	before, err := d.alive()
	if err != nil {
		return nil, err
	}
	// Vault does what it is asked; its answer never arrives, because the
	// bot is killed at that very moment.
	killed := make(chan struct{})
	d.ground.loseAnswer(func() { close(killed) })
	d.say("alice takes her credential; the bot dies after Vault has made it and before anything is written down")
	ctx, cancel := context.WithCancel(d.ctx)
	go func() {
		<-killed
		cancel()
	}()
	_, refused := alice.Claim(ctx, d.one, a.ID, rand.Text(), "", false)
	cancel()
	w.Stop(d.one)
	now, err := d.alive()
	if err != nil {
		return nil, err
	}
	orphan := now.since(before)
	d.check(refused != nil && len(orphan.users) == 1, "left behind: a database user that nobody holds the password of")

	if err := d.start("two"); err != nil {
		return nil, err
	}
	over := func() (*pause, error) { return nil, d.takenOver(alice, a.ID, before, orphan) }
	return &pause{"another replica takes over; two minutes pass, until no call of the dead one can still be under way", grants.RetireAfter + time.Second, over}, nil
}

// takenOver is what another replica makes of it.
func (d *telling) takenOver(alice *Person, id grants.ID, before, orphan alive) error {
	err := d.until("the orphan is gone", func() (bool, error) {
		now, err := d.alive()
		return now.and(orphan).none(), err
	})
	d.check(err == nil, "the orphan was found by the token that was recorded before it, and proved dead")

	var c Credential
	err = d.until("the grant can be claimed again", func() (bool, error) {
		c, err = alice.Claim(d.ctx, d.one, id, rand.Text(), "", false)
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return err
	}
	now, err := d.alive()
	if err != nil {
		return err
	}
	session, err := pgx.Connect(d.ctx, d.dsn(c))
	d.check(err == nil && len(now.since(before).users) == 1, "the grant still completes: alice is in, with the one credential that lives")
	if err == nil {
		_ = session.Close(d.ctx)
	}
	if _, err := alice.Drop(d.ctx, d.one, id); err != nil {
		return err
	}
	if _, err := d.reach(alice, id, grants.PhaseClosed); err != nil {
		return err
	}
	if err := d.checkForgotten(id, "given back early: Vault and the database know nothing of it any more"); err != nil {
		return err
	}
	return d.checkEnded(id, grants.OutcomeDropped)
}

// reach waits until a grant is in a phase.
func (d *telling) reach(p *Person, id grants.ID, phase grants.Phase) (v bot.View, err error) {
	err = d.until(fmt.Sprintf("%s is %s", id, phase), func() (bool, error) {
		v, err = p.Show(d.ctx, d.one, id)
		return v.Phase == phase, notYetThere(err)
	})
	return v, err
}

// notYetThere is nil where somebody does not see a grant so far.
func notYetThere(err error) error {
	var refusal *Refusal
	if errors.As(err, &refusal) && refusal.Status == 404 {
		return nil
	}
	return err
}

// quiet waits until tac is up and GitHub's events have arrived.
func (d *telling) quiet() error {
	if err := d.world.GitHub.Drain(d.ctx); err != nil {
		return err
	}
	err := d.one.Bot.Sync(d.ctx)
	if errors.Is(err, world.ErrStillAlive) {
		return nil // bob's certificate, which another story waits for
	}
	return err
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
