package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
)

// extendFlags is what `access extend` is told.
type extendFlags struct {
	reason, ticket, timeout string
	wait, dryRun            bool
}

func (p *program) extend() *cobra.Command {
	var f extendFlags
	c := &cobra.Command{
		Use: "extend ID D [--reason R] [--ticket T] [--wait [--timeout D]] [--dry-run]", Short: "Ask for your grant to last longer by D", Args: takes("ID", "D"),
		Long: "Ask for your grant to last longer by D. It is judged anew, on the whole length; exit code 3\n" +
			"means that it was denied. What is open stays open: the credential that you have goes on.",
		Example: `  tac access extend 20261122-k3v9q2m4tz 1h --wait`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, err := grants.ParseDuration(args[0]); err == nil {
				return wrongUsage(cmd, "the ID comes first, then the length")
			}
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			m, timeout, err := more(cmd, args[1], f)
			if err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			if f.dryRun {
				return p.dryExtend(cmd.Context(), c, id, m)
			}
			return p.extendBy(cmd.Context(), c, id, m, f.wait, timeout)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.reason, "reason", "", "why, in one line; else that of the grant")
	flags.StringVar(&f.ticket, "ticket", "", "the ticket it belongs to; else that of the grant")
	flags.BoolVar(&f.wait, "wait", false, "wait until it is decided")
	flags.StringVar(&f.timeout, "timeout", "1h", "how long to wait; exit code 4 when it is over")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would be decided")
	return c
}

// more checks what needs no server to be checked.
func more(c *cobra.Command, by string, f extendFlags) (m client.More, timeout time.Duration, err error) {
	d, err := grants.ParseDuration(by)
	if err == nil {
		err = grants.CheckDuration(d)
	}
	if err != nil {
		return m, 0, wrongUsage(c, "D: %v", err)
	}
	m = client.More{Duration: grants.FormatDuration(d), Reason: strings.TrimSpace(f.reason), Ticket: f.ticket, DryRun: f.dryRun}
	problem := grants.CheckReason(m.Reason)
	if problem == nil && m.Ticket != "" {
		problem = grants.CheckTicket(m.Ticket)
	}
	if problem != nil {
		return m, 0, wrongUsage(c, "%v", problem)
	}
	if timeout, err = grants.ParseDuration(f.timeout); err != nil {
		return m, 0, wrongUsage(c, "--timeout: %v", err)
	}
	switch {
	case f.dryRun && f.wait:
		return m, 0, wrongUsage(c, "--dry-run has nothing to wait for; leave out --wait")
	case c.Flags().Changed("timeout") && !f.wait:
		return m, 0, wrongUsage(c, "--timeout goes with --wait")
	}
	return m, timeout, nil
}

func (p *program) dryExtend(ctx context.Context, c *client.Client, id grants.ID, m client.More) error {
	answer, err := c.Extend(ctx, id, m, "")
	d, denied, err := dryDecision(answer, err)
	if d != nil && (denied == nil || !p.json()) {
		p.printDecision(d, client.Length(d.Duration, id, false), nil)
	}
	if err != nil {
		return err
	}
	return denied
}

// extended is the answer to `access extend -o json`.
type extended struct {
	ID       grants.ID `json:"id"`
	Extends  grants.ID `json:"extends"`
	Existing bool      `json:"existing"`
	*client.Decision
	Grant *client.Grant `json:"grant,omitempty"` // with --wait: the one that is extended
}

func (p *program) extendBy(ctx context.Context, c *client.Client, id grants.ID, m client.More, wait bool, timeout time.Duration) error {
	answer, err := c.Extend(ctx, id, m, "cli-"+rand.Text())
	if err != nil {
		return unsure(err, fmt.Sprintf("whether it arrived is not known: `tac access show %s` tells", id))
	}
	base := id
	if answer.Extends != "" { // an extension was named, and what it extends lasts longer
		base = answer.Extends
	}
	say := p.sayer(p.json())
	say("%s: %s more for %s", answer.ID, m.Duration, base)
	p.sayDecision(say, answer)
	out := extended{ID: answer.ID, Extends: base, Existing: answer.Existing, Decision: answer.Decision}
	if wait {
		g, err := p.awaitExtension(ctx, c, base, answer.ID, timeout, say)
		if err != nil {
			return err
		}
		out.Grant = &g
	}
	if p.json() {
		p.printJSON(out)
	}
	return nil
}

// ownLooks is how often an extension is seen approved, and carried by nothing,
// before it is taken for one that has a credential of its own.
const ownLooks = 4

// awaitExtension waits until an extension is decided and in force, and returns
// the grant whose credential lasts longer by it: the one that it is for, or,
// where that one's credential cannot last so long, the extension itself.
func (p *program) awaitExtension(ctx context.Context, c *client.Client, base, extension grants.ID, timeout time.Duration, say func(string, ...any)) (client.Grant, error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	g, err := p.await(ctx, c, extension, timeout, say)
	if err != nil {
		return g, err
	}
	looks := 0
	for every := firstPoll; ; every = min(every*3/2, lastPoll) {
		b, err := c.Renewed(limited, base)
		switch {
		case err == nil && slices.Contains(b.Extensions, extension) && b.EndsAt != nil:
			say("%s ends %s (in %s); what is open stays open", b.ID, stamp(*b.EndsAt), p.distance(*b.EndsAt))
			return b, nil
		case err == nil && looks == ownLooks && g.Phase == grants.PhaseApproved:
			say("the credential of %s cannot last so long, so this has one of its own; take it before the other ends: tac access get %s", base, g.ID)
			return g, nil
		case err != nil && !client.IsPassing(err) && limited.Err() == nil:
			return b, err
		}
		if client.Sleep(limited, every) != nil {
			return g, lateExtension(ctx, g, base)
		}
		if next, err := c.Show(limited, extension); err == nil {
			g = next
			if _, end := decision(g); end != nil {
				return g, end
			}
		}
		looks++
	}
}

func lateExtension(ctx context.Context, g client.Grant, base grants.ID) error {
	if ctx.Err() != nil {
		return &endError{exitFailed, "interrupted", fmt.Sprintf("interrupted; it goes on: tac access show %s", base), known(g)}
	}
	return &endError{exitTimeout, "timeout", fmt.Sprintf("approved, but %s does not last longer yet; `tac access show %s` tells", base, base), known(g)}
}
