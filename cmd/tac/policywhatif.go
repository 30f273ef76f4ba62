package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/clone"
	"github.com/tigeraccess/tac/cmd/tac/whatif"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/policies"
)

const formatMarkdown = "markdown"

func (p *program) whatif() *cobra.Command {
	var base, since string
	format := choice{allowed: []string{formatText, formatMarkdown, formatJSON}}
	c := &cobra.Command{
		Use: "whatif --base REV [--since 90d] [--format text|markdown|json] [DIR]", Short: "Replay past grants through changed policies",
		Long: "Replay the grants that a clone's history tells of through the policies of REV and through\n" +
			"those of DIR as they stand, and say what would have been decided otherwise. Nothing is asked\n" +
			"of any server: the facts are those that were recorded with each grant.",
		Args: takes("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.json() && format.value != "" && format.value != formatJSON {
				return wrongUsage(cmd, "-o json and --format %s cannot both be; leave one out", format.value)
			}
			if format.value == formatJSON {
				p.format.value = formatJSON // errors too are to be JSON
			}
			if base == "" {
				return wrongUsage(cmd, "the base is missing, as in --base origin/main")
			}
			from, err := p.sinceFlag(since)
			if err != nil {
				return wrongUsage(cmd, "--since: %v", err)
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			return p.whatifIn(cmd.Context(), dir, base, from, format.value)
		},
	}
	c.Flags().StringVar(&base, "base", "", "the policies to compare with: a branch, tag or commit, as in origin/main")
	c.Flags().StringVar(&since, "since", "90d", "how far to look back: a length such as 90d, or a day such as 2026-09-01")
	c.Flags().Var(&format, "format", "how to print the report")
	return c
}

// sinceFlag reads how far to look back.
func (p *program) sinceFlag(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		if day.After(p.now()) {
			return time.Time{}, fmt.Errorf("%s is yet to come", text)
		}
		return day, nil
	}
	if weeks, err := strconv.Atoi(strings.TrimSuffix(text, "w")); err == nil && strings.HasSuffix(text, "w") && weeks > 0 && weeks < 1000 {
		return time.Time{}, fmt.Errorf("weeks are not known; write %dd", 7*weeks)
	}
	length, err := grants.ParseDuration(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is neither a length of time nor a day; write 90d, or 2026-09-01", strictyaml.Quote(text))
	}
	return p.now().UTC().Add(-length).Truncate(time.Second), nil
}

func (p *program) whatifIn(ctx context.Context, dir, base string, since time.Time, format string) error {
	c, err := clone.Open(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	hash, err := c.Revision(base)
	if err != nil {
		return fmt.Errorf("find the base: %w", err)
	}
	now, name, err := p.policiesAsTheyStand(c, dir)
	if err != nil {
		return err
	}
	before, err := policiesOf(c, hash, "the base "+base)
	if err != nil {
		return err
	}
	history, err := c.GrantsSince(ctx, since)
	if err != nil {
		return err
	}
	past := make([]whatif.Past, len(history.Grants))
	for i, g := range history.Grants {
		past[i] = whatif.Past{
			Grant: g.Grant, Commit: g.Commit, MergedAt: g.MergedAt, Pull: g.Pull,
			Decision: g.Decision, Rule: g.Rule, Facts: g.Facts,
		}
	}
	report := whatif.Printed{
		Base: whatif.Revision{Name: base, Commit: hash}, Now: name, Since: since,
		Report:     whatif.Compare(before, now, past),
		Unreadable: append([]string{}, history.Unreadable...), Note: whatif.Blind,
	}
	if !history.CutOff.IsZero() {
		report.CutOff = &history.CutOff
	}
	switch {
	case p.json():
		p.printJSON(report)
		return nil
	case format == formatMarkdown:
		return report.WriteMarkdown(p.stdout)
	}
	var text strings.Builder
	if err := report.WriteText(&text); err != nil {
		return err
	}
	p.printFolded(text.String())
	return nil
}

// printFolded prints lines, each of which is folded where it is too wide,
// with what follows further in.
func (p *program) printFolded(text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		before := line[:len(line)-len(strings.TrimLeft(line, " "))]
		folded := wrapped(line[len(before):], p.width()-len(before)-2)
		for i, part := range folded {
			if i == 1 {
				before += "  "
			}
			p.print("%s%s\n", before, part)
		}
	}
}

// policiesAsTheyStand loads the work tree, or HEAD where there is none.
func (p *program) policiesAsTheyStand(c *clone.Clone, dir string) (*policies.Set, whatif.Revision, error) {
	if c.Bare {
		hash, err := c.Revision("HEAD")
		if err != nil {
			return nil, whatif.Revision{}, fmt.Errorf("find the newest commit: %w", err)
		}
		set, err := policiesOf(c, hash, "HEAD")
		return set, whatif.Revision{Name: "HEAD", Commit: hash}, err
	}
	r, err := readRepository(dir)
	if err != nil {
		return nil, whatif.Revision{}, err
	}
	set, findings, err := r.load()
	if err != nil {
		return nil, whatif.Revision{}, err
	}
	if err := set.Err(); err != nil {
		return nil, whatif.Revision{}, fmt.Errorf("the policies of %s do not load: %w; tac policy lint tells all", dir, err)
	}
	for _, f := range findings {
		if f.Severity == policies.SeverityError {
			return nil, whatif.Revision{}, fmt.Errorf("the policies of %s do not load: %s; tac policy lint tells all", dir, f)
		}
	}
	return set, whatif.Revision{Name: "the work tree"}, nil
}

// policiesOf loads the policies of a commit.
func policiesOf(c *clone.Clone, hash, called string) (*policies.Set, error) {
	files, err := c.Policies(hash)
	if err != nil {
		return nil, fmt.Errorf("read the policies of %s: %w", called, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s: %w", called, errNoPolicies)
	}
	set, _ := policies.Load(files, time.LoadLocation)
	if err := set.Err(); err != nil {
		return nil, fmt.Errorf("the policies of %s do not load, so there is nothing to compare with: %w", called, err)
	}
	return set, nil
}
