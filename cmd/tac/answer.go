package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
)

// This file is how people answer what others ask for. The answer becomes a
// review on GitHub in their name, and it is about one commit: the one that
// they were shown here, or that a script names because somebody looked at it.
// There is no flag that approves whatever happens to be there.

// headForm is a commit, in full: an abbreviation could be made to fit another.
var headForm = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (p *program) approve() *cobra.Command {
	var head, duration, reason string
	c := &cobra.Command{
		Use: "approve ID [--duration D] [--reason R] [--head COMMIT]", Short: "Approve what somebody asks for, or less of it", Args: takesApproval,
		Long: "Approve what somebody asks for. What it is is shown first, and you are asked; then tac\n" +
			"submits a review on GitHub in your name, on the very commit that you were shown.\n\n" +
			"A script, which nobody can ask, names with --head the commit that somebody looked at:\n" +
			"`tac access show ID -o json` tells it. If the request has changed since, nothing is done.",
		Example: `  tac access approve 20261122-k3v9q2m4tz
  tac access approve 20261122-k3v9q2m4tz --duration 1h --reason "an hour will do"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			a := client.Approval{Head: head, Reason: strings.TrimSpace(reason)}
			if cmd.Flags().Changed("duration") {
				if a.Duration, err = durationFlag(cmd, duration); err != nil {
					return err
				}
			}
			if err := checkAnswer(cmd, head, a.Reason); err != nil {
				return err
			}
			return p.approveAs(cmd, id, a)
		},
	}
	flags := c.Flags()
	flags.StringVar(&duration, "duration", "", "give less than was asked for, as in 1h")
	flags.StringVar(&reason, "reason", "", "one line for the pull request")
	flags.StringVar(&head, "head", "", "the commit that was looked at, in full; nothing is asked then")
	return c
}

// takesApproval knows how people say that they give less.
func takesApproval(c *cobra.Command, args []string) error {
	if len(args) == 2 {
		if d, err := grants.ParseDuration(args[1]); err == nil {
			return wrongUsage(c, "to give less: --duration %s", grants.FormatDuration(d))
		}
	}
	return takes("ID")(c, args)
}

// checkAnswer checks what needs no server to be checked.
func checkAnswer(cmd *cobra.Command, head, reason string) error {
	if cmd.Flags().Changed("head") && !headForm.MatchString(head) {
		return wrongUsage(cmd, "--head: name the commit by all its 40 characters; `tac access show ID -o json` tells it")
	}
	if err := grants.CheckReason(reason); err != nil {
		return wrongUsage(cmd, "%v", err)
	}
	return nil
}

func (p *program) approveAs(cmd *cobra.Command, id grants.ID, a client.Approval) error {
	c, err := p.session()
	if err != nil {
		return err
	}
	if a.Head == "" && !p.interactive() {
		return wrongUsage(cmd, "nobody can be asked here; name the commit that somebody looked at with --head: `tac access show %s -o json` tells it", id)
	}
	if a.Head == "" {
		g, err := open(cmd, c, id)
		if err != nil {
			return err
		}
		if g.MayAnswer && notFromHere(g) {
			return &endError{exitDenied, "denied", fmt.Sprintf("policy takes no approvals from the command line for %s; what counts: an approving review on %s", g.Resource, g.URL), &g}
		}
		p.present(g, a.Duration)
		// Whoever may not answer gets the server's refusal, not a question.
		// Whoever denied may lift that, so where somebody did, all are asked.
		if g.MayAnswer || len(g.Denied) > 0 {
			if yes, err := p.confirmed("Approve this? [y/N] "); err != nil || !yes {
				return notAnswered(g, err)
			}
		}
		a.Head = g.Head
	}
	g, err := c.Approve(cmd.Context(), id, a)
	if err != nil {
		return answerUnsure(err, id)
	}
	p.printApproved(g)
	return nil
}

// open returns a request that can be answered, as it stands.
func open(cmd *cobra.Command, c *client.Client, id grants.ID) (client.Grant, error) {
	g, err := c.Show(cmd.Context(), id)
	switch {
	case err != nil:
		return g, err
	case g.Phase != grants.PhaseRequested:
		return g, &endError{exitFailed, "conflict", fmt.Sprintf("%s is %s: nothing waits for an answer any more", id, g.Phase), &g}
	case g.Head == "":
		return g, &endError{exitFailed, "conflict", fmt.Sprintf("%s is not open for answers at this moment; please try again", id), &g}
	}
	return g, nil
}

// present shows what an approval would be of. All of it is other people's
// text, and goes where the question goes.
func (p *program) present(g client.Grant, duration string) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(p.stderr, "%-12s %s\n", name, plain(value))
		}
	}
	line("requester", "@"+g.Requester)
	line("resource", g.Resource)
	less := duration != "" && duration != g.Duration
	length := g.Length()
	if less {
		length = fmt.Sprintf("%s, of the %s that they ask for", duration, length)
	}
	if g.Extends != "" {
		length += ", on top of what " + string(g.Extends) + " has"
	}
	line("duration", length)
	if !less {
		line("whole length", wholeLength(g))
	}
	if g.StartsAt != nil {
		line("starts", stamp(*g.StartsAt))
	}
	line("reason", g.Reason)
	line("ticket", g.Ticket)
	line("rule", g.Rule)
	line("pull request", g.URL)
	line("commit", g.Head)
}

// interactive reports whether somebody sits at a terminal who can be asked.
func (p *program) interactive() bool {
	f, ok := p.stdin.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&fs.ModeCharDevice == 0 {
		return false
	}
	nothing, err := os.Stat(os.DevNull) // a device, and nobody sits at it
	return err != nil || !os.SameFile(info, nothing)
}

// confirmed asks, and takes nothing for a yes but yes.
func (p *program) confirmed(question string) (bool, error) {
	fmt.Fprint(p.stderr, question)
	text, err := bufio.NewReader(io.LimitReader(p.stdin, 1024)).ReadString('\n')
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	if err == io.EOF { // nobody pressed return
		fmt.Fprintln(p.stderr)
	}
	text = strings.ToLower(strings.TrimSpace(text))
	return text == "y" || text == "yes", nil
}

func notAnswered(g client.Grant, err error) error {
	if err != nil {
		return err
	}
	return &endError{exitFailed, "not_answered", fmt.Sprintf(
		"nothing was done; to deny it: tac access deny %s --reason \"...\"", g.ID), &g}
}

func answerUnsure(err error, id grants.ID) error {
	return unsure(err, fmt.Sprintf("whether your answer arrived is not known: `tac access show %s` tells", id))
}

// printApproved says that an approval stands and what came of it. It may be
// one of two that are needed, and somebody may have denied.
func (p *program) printApproved(g client.Grant) {
	if p.json() {
		p.printJSON(g)
		return
	}
	p.print("Your approval of %s stands on GitHub: %s for @%s, %s.\n", g.ID, plain(g.Resource), plain(g.Requester), g.Length())
	switch {
	case g.Phase != grants.PhaseRequested:
		p.print("It is %s.\n", plain(p.standing(g)))
	case len(g.WaitingFor) > 0:
		p.print("It still waits for %s.\n", plain(mentions(g.WaitingFor)))
	case g.Why != "":
		p.print("It is not given yet: %s\n", plain(g.Why))
	default:
		p.print("It is on its way.\n")
	}
}

func (p *program) printDenied(g client.Grant) {
	if p.json() {
		p.printJSON(g)
		return
	}
	p.print("Your denial of %s stands on GitHub: %s for @%s, %s.\nOnly a new approval of yours lifts it.\n",
		g.ID, plain(g.Resource), plain(g.Requester), g.Length())
}

func (p *program) deny() *cobra.Command {
	var head, reason string
	c := &cobra.Command{
		Use: "deny ID --reason R [--head COMMIT]", Short: "Deny what somebody asks for", Args: takes("ID"),
		Long: "Deny what somebody asks for. tac submits a review that requests changes on GitHub, in your\n" +
			"name. It stands until you approve yourself; nobody else can lift it.",
		Example: `  tac access deny 20261122-k3v9q2m4tz --reason "Use the replica"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			d := client.Denial{Head: head, Reason: strings.TrimSpace(reason)}
			if d.Reason == "" {
				return wrongUsage(cmd, `say why, as in --reason "Use the replica": the requester reads it`)
			}
			if err := checkAnswer(cmd, head, d.Reason); err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			// A no gives nothing away, so it needs no question; it is about
			// what is there now, unless the caller says what they looked at.
			if d.Head == "" {
				g, err := open(cmd, c, id)
				if err != nil {
					return err
				}
				d.Head = g.Head
			}
			g, err := c.Deny(cmd.Context(), id, d)
			if err != nil {
				return answerUnsure(err, id)
			}
			p.printDenied(g)
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, in one line; the requester reads it")
	c.Flags().StringVar(&head, "head", "", "the commit that was looked at, in full; else the one that is there")
	return c
}
