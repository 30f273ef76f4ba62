package whatif

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Printed is a report, and what has to be said with it.
type Printed struct {
	Base Revision `json:"base"`
	// Now says what the base was compared with.
	Now   Revision  `json:"now"`
	Since time.Time `json:"since"`
	Report
	// CutOff is where the history of a shallow clone ends, if that is within
	// the time asked for.
	CutOff *time.Time `json:"cut_off,omitempty"`
	// Unreadable tells of commits that claim to bring a grant and could not
	// be replayed.
	Unreadable []string `json:"unreadable"`
	Note       string   `json:"note"`
}

// Revision is a state of the policies.
type Revision struct {
	Name   string `json:"name"`
	Commit string `json:"commit,omitempty"` // empty: files as they stand
}

func (r Revision) String() string {
	if r.Commit == "" || r.Name == r.Commit {
		return r.Name
	}
	return r.Name + " (" + r.Commit[:min(10, len(r.Commit))] + ")"
}

// Blind is what no replay can see; the last line of every report.
const Blind = "Requests that were denied leave no trace in git, so this shows nothing of whom the change would newly let in among them."

// mostListed is how many grants of a group are listed for people.
const mostListed = 20

// title says how many grants are in a group, as a sentence. An empty one has
// a sentence too.
func (c *Changes) title(missing []string) string {
	n, one := len(c.Grants), len(c.Grants) == 1
	verb := func(plural, singular string) string {
		if one {
			return singular
		}
		return plural
	}
	switch c.Group {
	case PassesNow:
		return fmt.Sprintf("%d that waited for review would now pass at once", n)
	case PossibleNow:
		return fmt.Sprintf("%d that the base refuses would now be possible", n)
	case Refused:
		return fmt.Sprintf("%d would be refused", n)
	case WaitsNow:
		return fmt.Sprintf("%d that passed at once would now wait for review", n)
	case Approvers:
		return fmt.Sprintf("%d would need other approvers", n)
	}
	if n == 0 {
		return "0 depend on facts that were not recorded"
	}
	return fmt.Sprintf("%d %s on facts that were not recorded: %s", n, verb("depend", "depends"), strings.Join(missing, ", "))
}

func (p *Printed) unchangedText() string {
	if p.Unchanged == p.Replayed {
		return fmt.Sprintf("%s would be decided as before", allOf(p.Replayed))
	}
	return fmt.Sprintf("%d would be decided as before", p.Unchanged)
}

func allOf(n int) string {
	if n == 1 {
		return "the one grant"
	}
	return fmt.Sprintf("all %d", n)
}

// warnings are what keeps the replay from being whole.
func (p *Printed) warnings() []string {
	var out []string
	if p.CutOff != nil {
		out = append(out, fmt.Sprintf("The history is cut off: this clone is shallow and ends at %s, so grants between %s and then are not replayed. Fetch the rest (git fetch --unshallow, or fetch-depth: 0 in a workflow).",
			p.CutOff.UTC().Format(time.RFC3339), day(p.Since)))
	}
	if n := len(p.Unreadable); n > 0 {
		out = append(out, fmt.Sprintf("Left out, since it could not be read: %s%s", p.Unreadable[0], andMore(n-1)))
	}
	return out
}

func andMore(n int) string {
	if n < 1 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

func (p *Printed) nothing() string {
	return fmt.Sprintf("No grants were given since %s, so there is nothing to replay.", day(p.Since))
}

func grantsText(n int) string {
	if n == 1 {
		return "1 grant"
	}
	return fmt.Sprintf("%d grants", n)
}

// WriteText writes the report for a terminal.
func (p *Printed) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { b.WriteString(printable(fmt.Sprintf(format, args...)) + "\n") }
	line("What if %s stood in the place of %s: %s since %s", p.Now, p.Base, grantsText(p.Replayed), day(p.Since))
	if p.Replayed == 0 {
		line("%s", p.nothing())
	}
	for i := range p.Groups {
		group := &p.Groups[i]
		if len(group.Grants) == 0 {
			continue
		}
		line("")
		line("%s", group.title(p.Missing))
		for _, c := range group.Grants[:min(mostListed, len(group.Grants))] {
			line("  %s  %s  %s  %s  %s  %s", c.ID, day(c.MergedAt), c.Requester, c.Resource, c.Duration, c.step(" -> "))
			for _, why := range c.told(mostWhy) {
				line("      %s", why)
			}
		}
		if rest := len(group.Grants) - mostListed; rest > 0 {
			line("  and %d more; --format json has all", rest)
		}
	}
	if p.Replayed > 0 {
		line("")
		line("%s", p.unchangedText())
	}
	for _, warning := range p.warnings() {
		line("%s", warning)
	}
	line("%s", Blind)
	_, err := io.WriteString(w, b.String())
	return err
}

// step is the way from one decision to the other: by which rules. Where only
// the approvers are others there is none.
func (c *Change) step(arrow string) string {
	if c.Base.String() == c.Now.String() {
		return c.Now.String()
	}
	return c.Base.String() + arrow + c.Now.String()
}

func (j Judged) String() string {
	text := j.Decision.String()
	if j.Best != nil {
		text += " or " + j.Best.String()
	}
	return text + " " + j.Rule
}

// mostSentence is how long a reason may be where people read it.
const mostSentence = 300

// told is the reasons, each bounded, and the facts that are missing.
func (c *Change) told(most int) []string {
	var out []string
	if len(c.Missing) > 0 {
		out = append(out, "not recorded: "+strings.Join(c.Missing, ", "))
	}
	for _, why := range c.Why[:min(most, len(c.Why))] {
		if utf8.RuneCountInString(why) > mostSentence {
			why = string([]rune(why)[:mostSentence]) + "…"
		}
		out = append(out, why)
	}
	return out
}

// printable puts a text on one line without anything that a terminal or a
// page could act on.
func printable(s string) string {
	quoted := strconv.QuoteToGraphic(strings.ReplaceAll(s, "\n", " "))
	inner := quoted[1 : len(quoted)-1]
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(inner)
}
