package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
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
	Once   bool   // play the stories and end; else stay up afterwards
	Dir    string // where files for trying further go; empty: a temporary folder
	Listen string // where tac listens; empty: a free port of this machine
	Out    io.Writer
	Log    io.Writer // nil: nowhere
}

// ErrFailed says that a claim the demo made did not hold.
var ErrFailed = errors.New("a claim of the demo did not hold")

// Run plays the demo. It ends with ErrFailed unless every claim held.
func Run(ctx context.Context, o Options) error {
	d := &telling{out: o.Out, ctx: ctx, listen: o.Listen}
	log := slog.New(slog.DiscardHandler)
	if o.Log != nil {
		log = slog.New(slog.NewTextHandler(o.Log, nil))
	}
	start := night
	if !o.Once {
		// Whoever goes on trying afterwards should find today's date.
		start = time.Now().Add(-moved).UTC()
	}
	w, err := NewWorld(ctx, Setting{Clock: sandbox.NewRunningClock(start), Log: log, Files: rotaFrom(start)})
	if err != nil {
		return fmt.Errorf("start the demo: %w", err)
	}
	defer w.Close()
	d.world = w
	w.Alerts = d.alerted
	d.opening(start)
	if err := d.playAll(); err != nil {
		return err
	}
	if err := d.log(); err != nil {
		return err
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

// telling is the narration: what is said, and what was claimed and held.
type telling struct {
	ctx            context.Context // of the one Run that made it
	out            io.Writer
	world          *World
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
	d.printf("  %s  %s\n", d.world.Clock.Now().Format("15:04"), fmt.Sprintf(format, args...))
}

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

func (d *telling) opening(start time.Time) {
	w := d.world
	d.printf(`tac: just-in-time access by pull request.

Everything below runs in this one process, each part behind its real protocol:
  GitHub      %s   (REST, git over HTTP, device sign-in, webhooks)
  Vault       %s   (tokens, KV v2, wrapping, transit, database, ssh)
  Slack       %s
  PostgreSQL  %s          the thing that alice needs
  SSH         %s          the way that bob needs
tac itself is the real one: only these addresses differ from production. The
demo's clock starts on %s and is moved forward where a story says so.
`, w.GitHub.URL(), w.Vault.URL(), w.Slack.URL(), w.Postgres.Addr(), w.SSH.Addr(), start.Format("Monday, 2 January 2006, 15:04 MST"))
}

// night is when `demo --once` begins: alice is on call and nobody else is up.
var night = Start.Add(-11*time.Hour + 7*time.Minute)

// moved is how far the stories move the clock.
const moved = 2*time.Hour + 11*time.Minute + grants.RetireAfter

// rotaFrom puts alice on call in the week of start.
func rotaFrom(start time.Time) map[string]string {
	const roles = "policies/roles.yaml"
	all, err := starter.Files()
	if err != nil {
		return nil // NewWorld meets the same error and reports it
	}
	week := "start: " + start.AddDate(0, 0, -1).Format("2006-01-02") + "T09:00:00"
	return map[string]string{roles: strings.Replace(all[roles], "start: 2026-01-05T09:00:00", week, 1)}
}

func (d *telling) playAll() error {
	if err := d.start("one"); err != nil {
		return err
	}
	scenes := []struct {
		title string
		play  func() error
	}{
		{"a. On call: access at once, and gone when its time is over", d.onCall},
		{"b. More than policy gives at once: people decide, and the one who asked does not count", d.reviewed},
		{"c. A stranger is refused, and told what would have worked", d.stranger},
		{"d. Going around the rules: a push after the approval, a grant pushed straight to main", d.around},
		{"e. The bot is killed in the middle of an issue", d.killed},
	}
	for _, s := range scenes {
		d.printf("\n%s\n", s.title)
		if err := s.play(); err != nil {
			d.check(false, "the story could not be told to its end: %v", err)
			return fmt.Errorf("%w: %w", ErrFailed, err)
		}
	}
	return nil
}

// start runs a replica, which the stories go on with.
func (d *telling) start(name string) error {
	r, err := d.world.NewReplica(name, func(c *server.Config, _ *server.Options) {
		if d.listen != "" {
			c.Listen = d.listen
		}
	})
	if err != nil {
		return err
	}
	d.world.Run(d.ctx, r)
	d.one = r
	return nil
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
