package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

type explainFlags struct {
	requester, resource, duration, reason, ticket, start, at, facts, extends string
	assume                                                                   []string
	breakGlass                                                               bool
}

func (p *program) policyExplain() *cobra.Command {
	var f explainFlags
	c := &cobra.Command{
		Use:   "explain --requester P --resource R --duration D [--reason R] [--ticket T] [--start TIME] [--break-glass] [--extends ID] [--at TIME] [--assume-role R]... [--facts LINE|@FILE] [DIR]",
		Short: "Say what policy would decide, and why",
		Long: "Say what the policies of a clone would decide on a request, and why. No server is\n" +
			"asked: roles that rest on GitHub teams or a pager are unknown here; --assume-role sets\n" +
			"them. Nor is it known who owes a review of earlier break-glass access: --break-glass\n" +
			"supposes that nobody does. With --facts the decision rests on what was known when a\n" +
			"grant was decided: its commit says so in the line Tac-Facts. In a clone at the commit\n" +
			"that Tac-Policy names, the decision of that day comes out again. The exit code is 0\n" +
			"whatever is decided.",
		Example: "  git log -1 --format=%B COMMIT | tac policy explain --requester alice --resource postgres-prod --duration 2h --facts @-",
		Args:    takes("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, facts, err := p.question(cmd, f)
			if err != nil {
				return err
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return p.explainIn(cmd, dir, request, facts)
		},
	}
	flags := c.Flags()
	flags.StringVar(&f.requester, "requester", "", "who asks: a GitHub login")
	flags.StringVar(&f.resource, "resource", "", "for what")
	flags.StringVar(&f.duration, "duration", "", "for how long, as in 30m, 2h or 1h30m")
	flags.StringVar(&f.reason, "reason", "", "why")
	flags.StringVar(&f.ticket, "ticket", "", "the ticket it belongs to")
	flags.StringVar(&f.start, "start", "", "when it would start, if not at once; written as for --at")
	flags.BoolVar(&f.breakGlass, "break-glass", false, "ask for it as an emergency, without review")
	flags.StringVar(&f.extends, "extends", "", "the grant that it makes longer; what is known of that comes from --facts")
	flags.StringVar(&f.at, "at", "", `when, as in 2026-11-22T18:00:00Z, or "2026-11-22 18:00" or 18:00 in your own zone; else now`)
	flags.StringVar(&f.facts, "facts", "", "what was known: the line Tac-Facts of a commit, or @ and a file (@- for the standard input) that holds it")
	flags.StringArrayVar(&f.assume, "assume-role", nil, "suppose that the requester has this role; may be repeated")
	return c
}

// question checks what was asked. Unknown people and resources are for the
// policies to answer.
func (p *program) question(c *cobra.Command, f explainFlags) (policies.Request, policies.Facts, error) {
	for _, need := range []struct{ flag, value, example string }{
		{"requester", f.requester, "--requester alice"}, {"resource", f.resource, "--resource postgres-prod"},
	} {
		if need.value == "" {
			return policies.Request{}, policies.Facts{}, wrongUsage(c, "the %s is missing, as in %s", need.flag, need.example)
		}
	}
	text, err := durationFlag(c, f.duration)
	if err != nil {
		return policies.Request{}, policies.Facts{}, err
	}
	duration, err := grants.ParseDuration(text)
	if err != nil {
		return policies.Request{}, policies.Facts{}, wrongUsage(c, "--duration: %v", err)
	}
	facts, err := p.known(c, f)
	if err != nil {
		return policies.Request{}, facts, err
	}
	var start time.Time
	if f.start != "" {
		if start, err = p.parseTime(f.start); err != nil {
			return policies.Request{}, facts, wrongUsage(c, "--start: %v", err)
		}
	}
	var extends grants.ID
	if f.extends != "" {
		if extends, err = grants.ParseID(f.extends); err != nil {
			return policies.Request{}, facts, wrongUsage(c, "--extends: %v", err)
		}
	}
	return policies.Request{
		Requester: grants.Principal{GitHub: strings.TrimPrefix(f.requester, "@")},
		Resource:  f.resource, Duration: duration, Start: start, Reason: strings.TrimSpace(f.reason), Ticket: f.ticket,
		BreakGlass: f.breakGlass, Extends: extends,
	}, facts, nil
}

// known is what the decision is to rest on: what was recorded or, without
// that, the time alone.
func (p *program) known(c *cobra.Command, f explainFlags) (facts policies.Facts, err error) {
	facts = policies.Facts{At: p.now().UTC(), Offline: true}
	switch {
	case f.facts != "" && f.at != "":
		return facts, wrongUsage(c, "--facts says when it was; leave --at out")
	case f.facts != "":
		facts, err = p.factsGiven(f.facts)
		var missing *fs.PathError
		switch {
		case errors.As(err, &missing):
			return facts, fmt.Errorf("read the facts: %w", err)
		case err != nil:
			return facts, wrongUsage(c, "--facts: %v", err)
		}
	case f.at != "":
		if facts.At, err = p.parseTime(f.at); err != nil {
			return facts, wrongUsage(c, "--at: %v", err)
		}
	}
	if f.facts == "" && f.breakGlass {
		// A clone does not know who owes a review. The trace says that this is supposed.
		facts.Overdue = &policies.Overdue{ReadAt: facts.At, Source: "supposed"}
	}
	facts.Assumed = f.assume
	return facts, nil
}

// factsTrailer begins the line of a commit message that holds the facts.
const factsTrailer = "Tac-Facts:"

// mostFacts bounds what is read as facts: teams of ten thousand fit.
const mostFacts = 4 << 20

// factsGiven reads the facts of a decision that was recorded: a line, or a
// file with one; a whole commit message will do.
func (p *program) factsGiven(text string) (policies.Facts, error) {
	if name, isFile := strings.CutPrefix(text, "@"); isFile {
		from := p.stdin
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return policies.Facts{}, err
			}
			defer f.Close()
			from = f
		}
		data, err := io.ReadAll(io.LimitReader(from, mostFacts))
		if err != nil {
			return policies.Facts{}, fmt.Errorf("read %s: %w", name, err)
		}
		text = string(data)
	}
	for line := range strings.Lines(text) {
		if after, found := strings.CutPrefix(line, factsTrailer); found {
			text = after
		}
	}
	if text = strings.TrimSpace(text); !strings.HasPrefix(text, "{") {
		return policies.Facts{}, errors.New("that is no line Tac-Facts; git log -1 --format=%B COMMIT prints it")
	}
	return policies.ParseFacts(text)
}

func (p *program) explainIn(c *cobra.Command, dir string, request policies.Request, facts policies.Facts) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	set, _, err := r.load()
	if err != nil {
		return err
	}
	if set.Err() == nil { // else everything is denied, and the mistake is told
		for _, role := range facts.Assumed {
			if err := set.CheckRole(role); err != nil {
				return wrongUsage(c, "--assume-role: %v", err)
			}
		}
	}
	person, known := set.PersonByLogin(request.Requester.GitHub)
	if known {
		request.Requester = person.Principal
	}
	d := set.Evaluate(request, facts)
	if login, like := set.LoginMeant(request.Requester.GitHub); like && !known && d.Rule == "people/unknown" {
		d.Nearest += "; did you mean " + login + "?"
	}
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
	p.printDecision(shown, shown.Duration, nil)
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
