package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/cmd/tac/starter"
	"github.com/tigeraccess/tac/grants"
)

// Options are the flags of `tac demo`.
type Options struct {
	Once   bool      // play the stories and end; else stay up afterwards
	Dir    string    // where files for trying further go; empty: a temporary folder
	Listen string    // where tac listens; empty: a free port of this machine
	Vault  *OwnVault // a Vault that the person runs; nil: the sandbox's
	Out    io.Writer
	Log    io.Writer // nil: nowhere

	rehearsal *rehearsal
}

// rehearsal is what a test of --vault changes: a clock that its own Vault
// shares, and how time passes.
type rehearsal struct {
	name  string
	clock *sandbox.Clock
	sleep func(context.Context, time.Duration) error
	met   func(*World)
}

// ErrFailed says that a claim the demo made did not hold.
var ErrFailed = errors.New("a claim of the demo did not hold")

// Run plays the demo. It ends with ErrFailed unless every claim held, and
// with ErrVault where the person's own Vault cannot be used.
func Run(ctx context.Context, o Options) (err error) {
	d := &telling{out: o.Out, ctx: ctx, listen: o.Listen}
	log := slog.New(slog.DiscardHandler)
	if o.Log != nil {
		log = slog.New(slog.NewTextHandler(o.Log, nil))
	}
	setting, err := d.setting(o)
	if err != nil {
		return err
	}
	setting.Log = log
	// Whatever happens, somebody else's Vault is left as it was found, while
	// the database is still there to have its users removed.
	defer func() {
		err = errors.Join(err, d.leave())
		if d.world != nil {
			d.world.Close()
		}
	}()
	w, err := NewWorld(ctx, setting)
	var unusable *vaultError
	if errors.As(err, &unusable) {
		return unusable
	}
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	d.world = w
	if d.ground == nil {
		if d.ground, err = newPlayground(w); err != nil {
			return fmt.Errorf("start the demo: %w", err)
		}
	}
	w.Alerts = d.alerted
	d.opening()
	return d.perform(o)
}

// setting chooses the ground and the time of the demo.
func (d *telling) setting(o Options) (Setting, error) {
	if o.Vault == nil {
		start := night
		if !o.Once {
			// Whoever goes on trying afterwards should find today's date.
			start = time.Now().Add(-moved).UTC()
		}
		return Setting{Clock: sandbox.NewRunningClock(start), Files: rulesFrom(start)}, nil
	}
	r := o.rehearsal
	if r == nil {
		r = &rehearsal{clock: sandbox.NewRunningClock(time.Now()), sleep: sleep}
	}
	g, err := newGuest(d.ctx, *o.Vault, r.name)
	if err != nil {
		return Setting{}, err
	}
	g.sleep, g.met = r.sleep, r.met
	commands, err := g.byHand()
	if err != nil {
		return Setting{}, err
	}
	d.printf("The demo leaves your Vault as it was found, also after Ctrl-C. Should it be killed outright\n(kill -9, a power cut), this takes away what it made:\n\n  %s\n\n", strings.Join(commands, "\n  "))
	d.guest, d.ground = g, g
	all, err := starter.Files()
	if err != nil {
		return Setting{}, err
	}
	files := rulesFrom(r.clock.Now())
	maps.Copy(files, g.files(all))
	return Setting{Clock: r.clock, Files: files, Vault: g.setUp}, nil
}

func (d *telling) perform(o Options) error {
	if err := d.playAll(); err != nil {
		return err
	}
	if err := d.log(); err != nil {
		return err
	}
	if o.Once {
		if err := d.leave(); err != nil {
			d.printf("%v\n", err)
		}
	}
	d.printf("\ndemo: %d checks passed, %d failed\n", d.passed, d.failed)
	if d.failed > 0 {
		return ErrFailed
	}
	if o.Once {
		return nil
	}
	return d.stay(o)
}

// leaveWithin bounds, in wall time, how long the leaving may take.
const leaveWithin = time.Minute

// leave takes everything of the demo out of the person's Vault, once.
func (d *telling) leave() error {
	g := d.guest
	if g == nil {
		return nil
	}
	d.guest = nil
	d.printf("\nLeaving your Vault as it was found\n")
	if d.world != nil {
		for _, r := range d.world.Replicas() {
			d.world.Stop(r)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), leaveWithin)
	defer cancel()
	left, err := g.leave(ctx)
	d.check(err == nil, "nothing with the name %s is left in the Vault at %s", g.name, g.Address)
	if len(left) > 0 {
		d.printf("\nThis could not be removed; please do it yourself:\n  %s\n", strings.Join(left, "\n  "))
	}
	if err != nil {
		return fmt.Errorf("%w: the Vault at %s is not as it was found: %w", ErrFailed, g.Address, err)
	}
	return nil
}

// telling is the narration: what is said, and what was claimed and held.
type telling struct {
	ctx            context.Context // of the one Run that made it
	out            io.Writer
	world          *World
	ground         ground
	guest          *guest // nil: no Vault but the sandbox's, or left already
	one            *Replica
	listen         string
	passed, failed int
	alerts         []string
}

func (d *telling) printf(format string, args ...any) {
	fmt.Fprintf(d.out, format, args...) // a reader who went away is no failure of the demo
}

// say tells what happens, stamped with the demo's own time.
func (d *telling) say(format string, args ...any) {
	d.printf("  %s  %s\n", d.world.Clock.Now().Format(d.ground.tempo().stamp), fmt.Sprintf(format, args...))
}

// clock writes a moment as say does.
func (d *telling) clock(t time.Time) string { return t.UTC().Format(d.ground.tempo().stamp) }

// check states a claim and whether it held.
func (d *telling) check(held bool, format string, args ...any) {
	mark := "ok"
	if held {
		d.passed++
	} else {
		d.failed++
		mark = "FAILED"
	}
	d.printf("         %-6s %s\n", mark, fmt.Sprintf(format, args...))
}

func (d *telling) alerted(_ string, _ grants.ID, why string) {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	d.alerts = append(d.alerts, why)
}

func (d *telling) wasAlerted(words string) bool {
	d.world.mu.Lock()
	defer d.world.mu.Unlock()
	for _, a := range d.alerts {
		if strings.Contains(a, words) {
			return true
		}
	}
	return false
}

// patience is how long, by the wall clock, the demo waits for what tac does
// by itself.
const patience = time.Minute

// until waits for something that tac does by itself.
func (d *telling) until(what string, holds func() (bool, error)) error {
	limit := time.Now().Add(patience)
	for {
		ok, err := holds()
		if err != nil {
			return fmt.Errorf("wait until %s: %w", what, err)
		}
		if ok {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("waited %s in vain until %s", patience, what)
		}
		select {
		case <-d.ctx.Done():
			return d.ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (d *telling) opening() {
	w := d.world
	place, vault := "in this one process, each part", "(tokens, KV v2, wrapping, transit, database, ssh)"
	address := d.ground.vault().Address()
	if g := d.guest; g != nil {
		place, vault = "in this one process but Vault, which is yours, each part", "(yours: what the demo makes there is named "+g.name+" and goes with it)"
	}
	d.printf(`tac: just-in-time access by pull request.

Everything below runs %s behind its real protocol:
  GitHub      %s   (REST, git over HTTP, device sign-in, webhooks)
  Vault       %s   %s
  Slack       %s
  PostgreSQL  %s          the thing that alice needs
  SSH         %s          the way that bob needs
tac itself is the real one: only these addresses differ from production. `,
		place, w.GitHub.URL(), address, vault, w.Slack.URL(), w.Postgres.Addr(), w.SSH.Addr())
	if d.ground.sideBySide() {
		d.printf("The\ntime is real, so stories that wait do so side by side; it takes about three minutes.\n")
		return
	}
	d.printf("The\ndemo's clock starts on %s and is moved forward where a story says so.\n", w.Clock.Now().Format("Monday, 2 January 2006, 15:04 MST"))
}

// night is when `demo --once` begins: alice is on call and nobody else is up.
var night = Start.Add(-11*time.Hour + 7*time.Minute)

// moved is how far the stories move the clock.
const moved = 2*time.Hour + 11*time.Minute + (2*time.Hour + time.Minute) + grants.RetireAfter

// rulesFrom puts alice on call in the week of start, and lets developers break
// the glass: whoever is on call needs no such thing.
func rulesFrom(start time.Time) map[string]string {
	const roles, database = "policies/roles.yaml", "policies/production-database.yaml"
	all, err := starter.Files()
	if err != nil {
		return nil // NewWorld meets the same error and reports it
	}
	week := start.AddDate(0, 0, -1).Format("2006-01-02") + "T09:00:00"
	return map[string]string{
		roles:    strings.Replace(all[roles], "2026-01-05T09:00:00", week, 1),
		database: strings.Replace(all[database], "break_glass:\n    roles: [on-call]", "break_glass:\n    roles: [on-call, developer]", 1),
	}
}

// pause is a time that a story waits for; it goes on with then.
type pause struct {
	told   string
	length time.Duration
	then   func() (*pause, error)
}

// scene is a story. One that was begun may wait.
type scene struct {
	title string
	play  func() (*pause, error)
	due   time.Time // of a story that waits
}

func (d *telling) playAll() error {
	if err := d.start("one"); err != nil {
		return err
	}
	var waiting []scene
	for _, s := range []scene{
		{title: "a. On call: access at once, and gone when its time is over", play: d.onCall},
		{title: "b. More than policy gives at once: people decide, and the one who asked does not count", play: d.reviewed},
		{title: "c. An approver gives less than was asked for", play: d.narrowed},
		{title: "d. An approver says no, and why", play: d.denied},
		{title: "e. It takes longer: more time for a grant that is in use", play: d.extended},
		{title: "f. Break-glass: nobody is up to approve, so everybody is told", play: d.broken},
		{title: "g. A stranger is refused, and told what would have worked", play: d.stranger},
		{title: "h. Going around the rules: a push after the approval, a grant pushed straight to main", play: d.around},
		{title: "i. The bot is killed in the middle of an issue", play: d.killed},
	} {
		d.printf("\n%s\n", s.title)
		rest, err := d.play(s)
		if err != nil {
			return err
		}
		waiting = append(waiting, rest...)
	}
	for len(waiting) > 0 {
		slices.SortStableFunc(waiting, func(a, b scene) int { return a.due.Compare(b.due) })
		next := waiting[0]
		if left := next.due.Sub(d.world.Clock.Now()); left > 0 {
			d.printf("\n  ... %s pass ...\n", left.Round(time.Second))
			if err := d.ground.pass(d.ctx, left); err != nil {
				return err
			}
		}
		d.printf("\n%s (continued)\n", next.title)
		rest, err := d.play(next)
		if err != nil {
			return err
		}
		waiting = append(waiting[1:], rest...)
	}
	return nil
}

// play tells a story, to its end or to where it has to wait: then it is
// returned. Time that can be moved is moved instead.
func (d *telling) play(s scene) ([]scene, error) {
	p, err := s.play()
	for err == nil && p != nil {
		if d.ground.sideBySide() {
			due := d.world.Clock.Now().Add(p.length)
			d.say("... %s; this story goes on at %s ...", p.told, due.Format(d.ground.tempo().stamp))
			return []scene{{title: s.title, play: p.then, due: due}}, nil
		}
		d.say("... %s ...", p.told)
		if err = d.ground.pass(d.ctx, p.length); err == nil {
			p, err = p.then()
		}
	}
	if err == nil {
		return nil, nil
	}
	if d.ctx.Err() != nil {
		return nil, d.ctx.Err() // somebody pressed Ctrl-C, which disproves nothing
	}
	d.check(false, "the story could not be told to its end: %v", err)
	return nil, fmt.Errorf("%w: %w", ErrFailed, err)
}

// start runs a replica, which the stories go on with.
func (d *telling) start(name string) error {
	r, err := d.world.NewReplica(name, func(c *server.Config, o *server.Options) {
		o.Unchecked = false
		if d.listen != "" {
			c.Listen = d.listen
		}
		c.Slack.AlarmChannels = []string{Channel, AlarmChannel}
		d.ground.dress(c)
	})
	if err != nil {
		return err
	}
	d.world.Run(d.ctx, r)
	d.one = r
	return d.until("tac has looked at its set-up and is ready", func() (bool, error) { return r.Ready(d.ctx) })
}

// log shows the grants repository's own history, newest last.
func (d *telling) log() error {
	commits, err := d.world.GitHub.Commits(Repository, "main")
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	d.printf("\nThe audit trail: git log --reverse of %s\n", d.world.GitHub.CloneURL(Repository))
	for i := len(commits) - 1; i >= 0; i-- {
		d.printf("  %.8s %s  %s\n", commits[i].SHA, commits[i].When.UTC().Format("15:04:05"), subject(commits[i]))
	}
	d.printf("\nOne of them in full:\n")
	for i := len(commits) - 1; i >= 0; i-- {
		if strings.Contains(commits[i].Message, "Tac-Approver") {
			d.printf("    %s\n", strings.ReplaceAll(strings.TrimSpace(commits[i].Message), "\n", "\n    "))
			break
		}
	}
	return nil
}

func subject(c github.Commit) string {
	line, _, _ := strings.Cut(c.Message, "\n")
	return line
}
