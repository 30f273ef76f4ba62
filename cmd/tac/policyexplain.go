package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

type explainFlags struct {
	requester, resource, duration, reason, ticket, at string
	assume                                            []string
}

func (p *program) policyExplain() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain --requester P --resource R --duration D [--reason R] [--ticket T] [--at TIME] [--assume-role R]... [DIR]",
		Short: "Say what policy would decide, and why",
		Long: "Say what the policies of a clone would decide on a request, and why. No server is\n" +
			"asked: roles that rest on GitHub teams are unknown here; --assume-role sets them.\n" +
			"The exit code is 0 whatever is decided.",
		Args: takes("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, facts, err := p.question(cmd, f)
			if err != nil {
				return err
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return p.explainIn(dir, request, facts)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.requester, "requester", "", "who asks: a GitHub login")
	flags.StringVar(&f.resource, "resource", "", "for what")
	flags.StringVar(&f.duration, "duration", "", "for how long, as in 30m, 2h or 1h30m")
	flags.StringVar(&f.reason, "reason", "", "why")
	flags.StringVar(&f.ticket, "ticket", "", "the ticket it belongs to")
	flags.StringVar(&f.at, "at", "", `when, as in 2026-11-22T18:00:00Z, or "2026-11-22 18:00" or 18:00 in your own zone; else now`)
	flags.StringArrayVar(&f.assume, "assume-role", nil, "suppose that the requester has this role; may be repeated")
	return c
}

// question checks what was asked. Unknown people and resources are for the
// policies to answer.
func (p *program) question(c *cobra.Command, f explainFlags) (policies.Request, policies.Facts, error) {
	facts := policies.Facts{At: p.now().UTC(), Assumed: f.assume, Offline: true}
	for _, need := range []struct{ flag, value, example string }{
		{"requester", f.requester, "--requester alice"}, {"resource", f.resource, "--resource postgres-prod"},
	} {
		if need.value == "" {
			return policies.Request{}, facts, wrongUsage(c, "the %s is missing, as in %s", need.flag, need.example)
		}
	}
	text, err := durationFlag(c, f.duration)
	if err != nil {
		return policies.Request{}, facts, err
	}
	duration, err := grants.ParseDuration(text)
	if err != nil {
		return policies.Request{}, facts, wrongUsage(c, "--duration: %v", err)
	}
	if f.at != "" {
		if facts.At, err = p.parseTime(f.at); err != nil {
			return policies.Request{}, facts, wrongUsage(c, "--at: %v", err)
		}
	}
	return policies.Request{
		Requester: grants.Principal{GitHub: strings.TrimPrefix(f.requester, "@")},
		Resource:  f.resource, Duration: duration, Reason: strings.TrimSpace(f.reason), Ticket: f.ticket,
	}, facts, nil
}

func (p *program) explainIn(dir string, request policies.Request, facts policies.Facts) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	set, _, err := r.load()
	if err != nil {
		return err
	}
	if person, ok := set.PersonByLogin(request.Requester.GitHub); ok {
		request.Requester = person.Principal
	}
	d := set.Evaluate(request, facts)
	if request.Requester.ID == 0 { // a clone knows only the numbers of its own people
		forgetNumber(&d)
	}
	if p.json() {
		p.printJSON(d)
		return nil
	}
	// The text is made from the same form that the server sends: one printer
	// shows both.
	shown, err := decisionOf(d)
	if err != nil {
		return err
	}
	p.printDecision(shown, nil)
	return nil
}

func forgetNumber(d *policies.Decision) {
	const number = " (GitHub id 0)"
	d.Nearest = strings.Replace(d.Nearest, number, "", 1)
	for i := range d.Reasons {
		d.Reasons[i].Observed = strings.Replace(d.Reasons[i].Observed, number, "", 1)
	}
}

func decisionOf(d policies.Decision) (*client.Decision, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("write the decision: %w", err)
	}
	shown := &client.Decision{}
	if err := json.Unmarshal(data, shown); err != nil {
		return nil, fmt.Errorf("read the decision: %w", err)
	}
	return shown, nil
}
