package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
)

func (p *program) list() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "list [--all]", Short: "List the grants that you may see", Args: takes(),
		Long: "List your own grants, those that you may approve, and those on resources that you own.\n" +
			"What waits for your answer says so.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.session()
			if err != nil {
				return err
			}
			found, err := c.List(cmd.Context(), all)
			if err != nil {
				return err
			}
			p.printList(found, all)
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "also those that are over")
	return c
}

func (p *program) printList(found []client.Grant, all bool) {
	if p.json() {
		if found == nil {
			found = []client.Grant{}
		}
		p.printJSON(struct {
			Grants []client.Grant `json:"grants"`
		}{found})
		return
	}
	if len(found) == 0 {
		hint := "; --all shows those that are over"
		if all {
			hint = ""
		}
		p.print("There are no grants that you may see%s.\n", hint)
		return
	}
	waiting := false
	rows := [][]string{{"ID", "RESOURCE", "REQUESTER", "DURATION", "PHASE", "ENDS IN", "REASON"}}
	for _, g := range found {
		phase := string(g.Phase)
		switch {
		case g.MayAnswer:
			phase, waiting = "waits for you", true
		case g.Outcome != "" && string(g.Outcome) != phase:
			phase += " (" + string(g.Outcome) + ")"
		}
		ends := "-"
		if g.EndsAt != nil && !g.Over() && g.Phase != grants.PhaseRequested {
			ends = p.distance(*g.EndsAt)
		}
		rows = append(rows, []string{string(g.ID), g.Resource, g.Requester, g.Length(), phase, ends, g.Reason})
	}
	table(p.stdout, p.width(), rows)
	if waiting {
		p.print("To answer: tac access approve ID, or tac access deny ID --reason \"...\"\n")
	}
}

func (p *program) show() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show one grant", Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			g, err := c.Show(cmd.Context(), id)
			if err != nil {
				return err
			}
			p.printGrant(g)
			return nil
		},
	}
}

func (p *program) printGrant(g client.Grant) {
	if p.json() {
		p.printJSON(g)
		return
	}
	line := func(name, value string) {
		if value != "" {
			p.print("%-12s %s\n", name, plain(value))
		}
	}
	line("id", string(g.ID))
	line("phase", p.standing(g))
	line("resource", g.Resource)
	line("requester", "@"+g.Requester)
	line("duration", g.Length())
	line("asked for", g.Asked)
	line("whole length", wholeLength(g))
	if g.StartsAt != nil {
		line("starts", stamp(*g.StartsAt))
	}
	if g.EndsAt != nil && g.Phase != grants.PhaseRequested { // what is asked for ends nothing yet
		when := stamp(*g.EndsAt)
		if !g.Over() {
			when += " (in " + p.distance(*g.EndsAt) + ")"
		}
		line("ends", when)
	}
	line("reason", g.Reason)
	line("ticket", g.Ticket)
	if g.BreakGlass {
		line("break-glass", aftermath(g.Aftermath))
	}
	line("extends", string(g.Extends))
	line("extended by", idList(g.Extensions))
	line("rule", g.Rule)
	if len(g.Approvers) > 0 {
		line("approved by", mentions(g.Approvers))
	}
	if len(g.Denied) > 0 {
		line("denied by", mentions(g.Denied))
	}
	line("why", g.Why)
	switch {
	case g.URL != "":
		line("pull request", g.URL)
	case g.PullRequest != 0:
		line("pull request", fmt.Sprintf("#%d", g.PullRequest))
	}
	line("head", g.Head)
	if g.Taken {
		line("credential", "taken")
	}
	line("connect", g.Connect)
	switch {
	case g.MayAnswer && notFromHere(g):
		line("to answer", "an approving review on "+g.URL)
	case g.MayAnswer:
		line("to answer", fmt.Sprintf("tac access approve %s, or tac access deny %s --reason \"...\"", g.ID, g.ID))
	}
}

// wholeLength is what an extension makes of the grant that it is for.
func wholeLength(g client.Grant) string {
	if g.Total == "" || g.EndsAt == nil {
		return g.Total
	}
	return g.Total + ", until " + stamp(*g.EndsAt)
}

// aftermath says how far the look at a broken glass has come.
func aftermath(a *client.Aftermath) string {
	said := "nobody was asked; somebody else looks at it afterwards"
	switch {
	case a == nil:
		return said
	case a.By != "":
		return "looked at by @" + strings.TrimPrefix(a.By, "@")
	case a.Overdue:
		said = "OVERDUE since " + stamp(a.Due)
	case !a.Due.IsZero():
		said = "nobody was asked; to be looked at by " + stamp(a.Due)
	}
	if a.URL != "" {
		said += ": " + a.URL
	}
	return said
}

// notFromHere reports whether policy wants approvals from elsewhere only.
func notFromHere(g client.Grant) bool {
	return len(g.ApproveFrom) > 0 && !slices.Contains(g.ApproveFrom, "cli")
}

func idList(ids []grants.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	return strings.Join(names, ", ")
}

func (p *program) drop() *cobra.Command {
	return &cobra.Command{
		Use: "drop ID", Short: "End your own grant, or take your request back", Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			g, err := c.Drop(cmd.Context(), id)
			if err != nil {
				return err
			}
			if err := c.End(id); err != nil {
				p.note("%v", err)
			}
			p.printEnd(g)
			return nil
		},
	}
}

func (p *program) revoke() *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use: "revoke ID --reason R", Short: "End somebody's grant, as an owner of its resource or as security", Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			reason = strings.TrimSpace(reason)
			if reason == "" {
				return wrongUsage(cmd, `say why, as in --reason "Laptop was stolen"`)
			}
			if err := grants.CheckReason(reason); err != nil {
				return wrongUsage(cmd, "%v", err)
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			g, err := c.Revoke(cmd.Context(), id, reason)
			if err != nil {
				return err
			}
			p.printEnd(g)
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, in one line; it is kept for ever")
	return c
}

// printEnd says how far the end of a grant has come, and never more.
func (p *program) printEnd(g client.Grant) {
	if p.json() {
		p.printJSON(g)
		return
	}
	if g.Extends != "" && !g.Taken && (g.Phase == grants.PhaseWithdrawn || g.Outcome == grants.OutcomeDropped) {
		p.print("%s is taken back: %s ends as before; what is open stays open.\n", g.ID, g.Extends)
		return
	}
	switch g.Phase {
	case grants.PhaseWithdrawn:
		p.print("%s is taken back.\n", g.ID)
	case grants.PhaseClosed:
		p.print("%s is over (%s): nothing of it lives any more.\n", g.ID, plain(string(g.Outcome)))
	default:
		p.print("%s is %s: its end is noted and cannot be undone; `tac access show %s` says closed once it is proved.\n",
			g.ID, plain(p.standing(g)), g.ID)
	}
}

// explained is the answer to `access explain ID -o json`.
type explained struct {
	*client.Decision
	Grant   client.Grant `json:"grant"`
	Ignored []string     `json:"ignored"`
}

func (p *program) accessExplain() *cobra.Command {
	var f requestFlags
	c := &cobra.Command{
		Use:   "explain ID|RESOURCE [--duration D] [--reason R] [--ticket T] [--start TIME]",
		Short: "Say why a grant stands where it stands, or what would be decided on a request",
		Args:  takes("ID|RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if id, err := grants.ParseID(args[0]); err == nil {
				return p.explainGrant(cmd, id)
			}
			f.timeout = "1h" // nothing waits here
			w, err := p.wish(cmd, args[0], f)
			if err != nil {
				return err
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			d, _, err := p.judged(cmd.Context(), c, w)
			if err != nil {
				return err
			}
			p.printDecision(d, d.Duration, nil)
			return nil
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.duration, "duration", "", "of a RESOURCE: for how long")
	flags.StringVar(&f.reason, "reason", "", "of a RESOURCE: why")
	flags.StringVar(&f.ticket, "ticket", "", "of a RESOURCE: the ticket")
	flags.StringVar(&f.start, "start", "", "of a RESOURCE: when it would start")
	return c
}

func (p *program) explainGrant(cmd *cobra.Command, id grants.ID) error {
	c, err := p.session()
	if err != nil {
		return err
	}
	e, err := c.Explain(cmd.Context(), id)
	if err != nil {
		return err
	}
	if p.json() {
		p.printJSON(explained{e.Decision, e.Grant, append([]string{}, e.Ignored...)})
		return nil
	}
	p.printGrant(e.Grant)
	if e.Decision != nil {
		p.print("\n")
		p.printDecision(e.Decision, client.Length(e.Decision.Duration, e.Grant.Extends, e.Grant.BreakGlass), e.Ignored)
	}
	return nil
}
