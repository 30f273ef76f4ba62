package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
)

// requestFlags is what `access request` is told.
type requestFlags struct {
	duration, reason, ticket, start, timeout string
	wait, get, dryRun, breakGlass            bool
}

// wish is a request as it was checked here.
type wish struct {
	client.Ask
	start   time.Time // zero: at once
	timeout time.Duration
}

func (p *program) request() *cobra.Command {
	var f requestFlags
	c := &cobra.Command{
		Use:   "request RESOURCE --reason R --duration D [--ticket T] [--start TIME] [--wait [--timeout D] [--get]] [--break-glass] [--dry-run]",
		Short: "Ask for access",
		Long: "Ask for access to a resource. Policy decides at once, or asks people to review;\n" +
			"exit code 3 means that it was denied.\n\n" +
			"--break-glass is for emergencies, where policy has it: nobody is asked before, the alarm\n" +
			"goes out at once, and somebody else looks at what was done afterwards.",
		Example: `  tac access request postgres-prod --reason "Deploy hotfix" --duration 2h --ticket INC-789 --wait
  eval "$(tac access request postgres-prod --reason "Deploy hotfix" --duration 2h --get)"`,
		Args: takes("RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := p.wish(cmd, args[0], f)
			if err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			if f.dryRun {
				return p.dryRun(cmd.Context(), c, w)
			}
			return p.ask(cmd.Context(), c, w, f)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.reason, "reason", "", "why, in one line; whoever reviews reads it, and it is kept for ever")
	flags.StringVar(&f.duration, "duration", "", "for how long, as in 30m, 2h or 1h30m")
	flags.StringVar(&f.ticket, "ticket", "", "the ticket it belongs to")
	flags.StringVar(&f.start, "start", "", `when it starts, as in 2026-11-22T18:00:00Z, or "2026-11-22 18:00" or 18:00 in your own zone; else at once`)
	flags.BoolVar(&f.wait, "wait", false, "wait until it is decided")
	flags.StringVar(&f.timeout, "timeout", "1h", "how long to wait; exit code 4 when it is over")
	flags.BoolVar(&f.get, "get", false, "wait, then take the credential as tac access get does")
	flags.BoolVar(&f.breakGlass, "break-glass", false, "an emergency: ask nobody, sound the alarm, be looked at afterwards")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would be decided")
	return c
}

// wish checks what needs no server to be checked.
func (p *program) wish(c *cobra.Command, resource string, f requestFlags) (wish, error) {
	w := wish{Ask: client.Ask{Resource: resource, Reason: strings.TrimSpace(f.reason), Ticket: f.ticket, BreakGlass: f.breakGlass}}
	var err error
	if w.Duration, err = durationFlag(c, f.duration); err != nil {
		return w, err
	}
	problem := grants.CheckName(resource)
	if problem == nil {
		problem = grants.CheckReason(w.Reason)
	}
	if problem == nil && f.ticket != "" {
		problem = grants.CheckTicket(f.ticket)
	}
	if problem != nil {
		return w, wrongUsage(c, "%v", problem)
	}
	if w.timeout, err = grants.ParseDuration(f.timeout); err != nil {
		return w, wrongUsage(c, "--timeout: %v", err)
	}
	switch waits := f.wait || f.get; {
	case f.dryRun && waits:
		return w, wrongUsage(c, "--dry-run has nothing to wait for; leave out --wait and --get")
	case c.Flags().Changed("timeout") && !waits:
		return w, wrongUsage(c, "--timeout goes with --wait")
	case f.breakGlass && f.start != "":
		return w, wrongUsage(c, "--break-glass is for what cannot wait; leave out --start")
	case f.get && f.start != "":
		return w, wrongUsage(c, "before its start a grant has no credential; leave out --get, and run `tac access get` then")
	case f.start == "":
		return w, nil
	}
	if w.start, err = p.parseTime(f.start); err != nil {
		return w, wrongUsage(c, "--start: %v", err)
	}
	if w.start.Before(p.now().Add(-time.Minute)) {
		return w, wrongUsage(c, "--start: %s is over; leave it out to start at once", stamp(w.start))
	}
	w.Start = w.start.Format(grants.TimeLayout)
	return w, nil
}

// durationFlag reads --duration and returns it in canonical form.
func durationFlag(c *cobra.Command, text string) (string, error) {
	if text == "" && !c.Flags().Changed("duration") {
		return "", wrongUsage(c, "say for how long, as in --duration 2h")
	}
	d, err := grants.ParseDuration(text)
	if err == nil {
		err = grants.CheckDuration(d)
	}
	if err != nil {
		return "", wrongUsage(c, "--duration: %v", err)
	}
	return grants.FormatDuration(d), nil
}

// dryRun shows what would be decided; a denial is an error, as without it.
func (p *program) dryRun(ctx context.Context, c *client.Client, w wish) error {
	d, denied, err := p.judged(ctx, c, w)
	if d != nil && (denied == nil || !p.json()) {
		p.printDecision(d, client.Length(d.Duration, "", w.BreakGlass), nil)
	}
	if err != nil {
		return err
	}
	return denied
}

// judged asks the server to decide and to write nothing. A denial comes back
// as denied, together with the decision.
func (p *program) judged(ctx context.Context, c *client.Client, w wish) (d *client.Decision, denied, err error) {
	w.DryRun = true
	return dryDecision(c.Request(ctx, w.Ask, ""))
}

// dryDecision takes the answer to a dry run apart.
func dryDecision(answer client.Answer, err error) (d *client.Decision, denied, failed error) {
	var refusal *client.Error
	switch {
	case errors.As(err, &refusal) && refusal.Code == client.CodeDenied && refusal.Decision != nil:
		return refusal.Decision, err, nil
	case err != nil:
		return nil, nil, err
	case answer.Decision == nil:
		return nil, nil, errors.New("the server says no decision; is it a newer one?")
	}
	return answer.Decision, nil, nil
}

// asked is the answer to `access request -o json`.
type asked struct {
	ID       grants.ID `json:"id"`
	Existing bool      `json:"existing"`
	*client.Decision
	Grant      *client.Grant    `json:"grant,omitempty"`      // with --wait
	Credential *client.Revealed `json:"credential,omitempty"` // with --get
}

// ask makes the request and goes on as far as it was told to.
func (p *program) ask(ctx context.Context, c *client.Client, w wish, f requestFlags) error {
	// The key is this run's own: however often the request is sent, it is
	// one request.
	answer, err := c.Request(ctx, w.Ask, "cli-"+rand.Text())
	if err != nil {
		return unsure(err, "whether the request arrived is not known: `tac access list` tells")
	}
	// With --get stdout is for the credential alone, with -o json for JSON.
	say := p.sayer(f.get || p.json())
	p.sayAnswer(say, answer, w)
	out := asked{ID: answer.ID, Existing: answer.Existing, Decision: answer.Decision}
	if f.wait || f.get {
		g, err := p.await(ctx, c, answer.ID, w.timeout, say)
		if err != nil {
			return err
		}
		out.Grant = &g
	}
	switch {
	case f.get:
		return p.takeAsked(ctx, c, out)
	case p.json():
		p.printJSON(out)
	case !f.wait && !answer.Existing && answer.Decision != nil && answer.Decision.Decision == "review":
		say("once it is approved: tac access get %s", answer.ID)
	case !f.wait:
		say("next: tac access get %s", answer.ID)
	}
	return nil
}

// unsure adds to an error after which nobody knows whether anything was done
// where to look.
func unsure(err error, look string) error {
	var unreachable *client.UnreachableError
	if errors.As(err, &unreachable) {
		return fmt.Errorf("%w; %s", err, look)
	}
	return err
}

// sayer tells how things go: beside stdout where that is for something else.
func (p *program) sayer(quiet bool) func(format string, args ...any) {
	out := p.stdout
	if quiet {
		out = p.stderr
	}
	return func(format string, args ...any) { fmt.Fprintln(out, plain(fmt.Sprintf(format, args...))) }
}

func (p *program) takeAsked(ctx context.Context, c *client.Client, out asked) error {
	t, err := c.Take(ctx, out.ID, false)
	if err != nil {
		return err
	}
	if !p.json() {
		return p.printCredential(t, "")
	}
	revealed := t.Credential.Reveal()
	out.Grant, out.Credential = &t.Grant, &revealed
	p.printJSON(out)
	return nil
}

func (p *program) sayAnswer(say func(string, ...any), a client.Answer, w wish) {
	say("%s: %s for %s", a.ID, w.Resource, w.Duration)
	if !w.start.IsZero() {
		say("starts: %s (in %s)", stamp(w.start), p.distance(w.start))
	}
	p.sayDecision(say, a)
	if w.BreakGlass && !a.Existing {
		say("the glass is broken: the alarm goes out now, and somebody else looks at this afterwards")
	}
}

// sayDecision says what policy decided, and who is waited for.
func (p *program) sayDecision(say func(string, ...any), a client.Answer) {
	switch d := a.Decision; {
	case a.Existing || d == nil:
		say("known already: the same request was made before")
	case d.Decision == "review":
		say("decision: review, by %s", d.Rule)
		for _, need := range d.Needs {
			say("waits for: %s", needText(need))
		}
		if d.Nearest != "" {
			say("without review: %s", d.Nearest)
		}
	default:
		say("decision: %s, by %s", d.Decision, d.Rule)
	}
}

const (
	firstPoll = time.Second
	lastPoll  = 5 * time.Second
)

// await polls until the request is decided, and says every change once.
func (p *program) await(ctx context.Context, c *client.Client, id grants.ID, timeout time.Duration, say func(string, ...any)) (client.Grant, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	said := ""
	var last client.Grant // as it was seen last
	for every := firstPoll; ; every = min(every*3/2, lastPoll) {
		g, err := c.Show(limited, id)
		line := ""
		switch {
		case err == nil:
			last, line = g, p.standing(g)
		case client.IsPassing(err):
			line = err.Error() // it may come back
		case ctx.Err() == nil && limited.Err() == nil:
			return g, err
		}
		if line != said && line != "" && limited.Err() == nil {
			say("%s", line)
			said = line
		}
		if decided, end := decision(g); decided && err == nil {
			return g, end
		}
		if client.Sleep(limited, every) == nil {
			continue
		}
		if ctx.Err() != nil {
			return last, &endError{exitFailed, "interrupted", fmt.Sprintf("interrupted; the request goes on: tac access show %s", id), known(last)}
		}
		return last, &endError{exitTimeout, "timeout", fmt.Sprintf(
			"not decided within %s; the request goes on: `tac access show %s` tells what it waits for, `tac access drop %s` takes it back",
			grants.FormatDuration(timeout), id, id), known(last)}
	}
}

func known(g client.Grant) *client.Grant {
	if g.ID == "" {
		return nil
	}
	return &g
}

// decision reports whether a request has its answer, and the error that a no
// is.
func decision(g client.Grant) (decided bool, end error) {
	switch g.Phase {
	case grants.PhaseApproved, grants.PhaseActive, grants.PhaseScheduled:
		return true, nil
	case grants.PhaseRequested, grants.PhaseNone:
		return false, nil
	}
	e := &endError{exitDenied, string(g.Phase), fmt.Sprintf("the request is %s", g.Phase), &g}
	switch g.Outcome {
	case grants.OutcomeExpired, grants.OutcomeDropped, grants.OutcomeRevoked:
		e.exit = exitFailed
	}
	if g.Phase == grants.PhaseFailed {
		e.exit = exitFailed
	}
	if g.Outcome != "" && string(g.Outcome) != string(g.Phase) {
		e.message += " (" + string(g.Outcome) + ")"
	}
	if g.Why != "" {
		e.message += ": " + g.Why
	}
	return true, e
}

// standing says in one line where a grant stands.
func (p *program) standing(g client.Grant) string {
	line := string(g.Phase)
	switch {
	case g.Phase == grants.PhaseRequested && len(g.WaitingFor) > 0:
		line += ", waits for " + mentions(g.WaitingFor)
		if len(g.Approvers) > 0 {
			line += "; approved so far by " + mentions(g.Approvers)
		}
		return line
	case g.Phase == grants.PhaseScheduled && g.StartsAt != nil:
		line += ", starts " + stamp(*g.StartsAt)
	case g.EndsAt != nil && !g.Over() && g.Phase != grants.PhaseRequested:
		line += ", ends " + stamp(*g.EndsAt)
	case g.Outcome != "" && string(g.Outcome) != line:
		line += " (" + string(g.Outcome) + ")"
	}
	if len(g.Approvers) > 0 {
		line += ", approved by " + mentions(g.Approvers)
	}
	return line
}
