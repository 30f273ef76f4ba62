package whatif

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// Marker is the first line of the Markdown form. Whoever posts the report
// finds the comment of the last time by it, and edits that one.
const Marker = "<!-- tac-whatif -->"

// mostMarkdown bounds the Markdown form, in bytes: GitHub takes comments of
// 65,536 characters.
const mostMarkdown = 60_000

// mostOpen is how many grants of a group are shown without a click.
const mostOpen = 5

// WriteMarkdown writes the report as a comment on a pull request. It mentions
// nobody, links nowhere, and holds no markup that comes out of a grant, a
// commit or a policy.
func (p *Printed) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n### What this change of policies would have meant\n\n", Marker)
	fmt.Fprintf(&b, "Replayed %s since %s: once by the policies of %s, once by those of %s.\n\n",
		grantsText(p.Replayed), day(p.Since), code(p.Base.String()), code(p.Now.String()))
	if p.Replayed == 0 {
		b.WriteString(p.nothing() + "\n\n")
	} else {
		p.summary(&b)
	}
	for i := range p.Groups {
		p.group(&b, &p.Groups[i])
	}
	for _, warning := range p.warnings() {
		fmt.Fprintf(&b, "> [!WARNING]\n> %s\n\n", inert(warning))
	}
	fmt.Fprintf(&b, "%s\n", Blind)
	_, err := io.WriteString(w, b.String())
	return err
}

func (p *Printed) summary(b *strings.Builder) {
	for i := range p.Groups {
		if g := &p.Groups[i]; len(g.Grants) > 0 {
			fmt.Fprintf(b, "- %s\n", boldNumber(inert(g.title(p.Missing))))
		}
	}
	fmt.Fprintf(b, "- %s\n\n", inert(p.unchangedText()))
}

// boldNumber sets the first word of a sentence off.
func boldNumber(s string) string {
	first, rest, _ := strings.Cut(s, " ")
	return "**" + first + "** " + rest
}

// group writes the grants of a group: a few as they are, many behind a click.
func (p *Printed) group(b *strings.Builder, g *Changes) {
	if len(g.Grants) == 0 {
		return
	}
	folded := len(g.Grants) > mostOpen
	if folded {
		fmt.Fprintf(b, "<details><summary>%s</summary>\n\n", inertHTML(g.title(p.Missing)))
	} else {
		fmt.Fprintf(b, "#### %s\n\n", inert(g.title(p.Missing)))
	}
	b.WriteString("| grant | given | who | what | how long | base → now | why |\n|---|---|---|---|---|---|---|\n")
	shown := 0
	for i := range g.Grants[:min(mostListed, len(g.Grants))] {
		row := g.Grants[i].row()
		// Room for the sentences that close the report.
		if b.Len()+len(row) > mostMarkdown-4000 {
			break
		}
		b.WriteString(row)
		shown++
	}
	b.WriteByte('\n')
	if rest := len(g.Grants) - shown; rest > 0 {
		fmt.Fprintf(b, "and %d more; `tac policy whatif --format json` has all.\n\n", rest)
	}
	if folded {
		b.WriteString("</details>\n\n")
	}
}

func (c *Change) row() string {
	var told []string
	for _, why := range c.told(2) {
		told = append(told, inert(why))
	}
	step := code(c.Now.String())
	if was := code(c.Base.String()); was != step {
		step = was + " → " + step
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |\n", code(string(c.ID)), day(c.MergedAt), code(c.Requester), code(c.Resource),
		code(c.Duration), step, strings.Join(told, "<br>"))
}

// code shows a text as code, in a table too: GitHub pings nobody there and
// renders nothing.
func code(s string) string {
	s = strings.ReplaceAll(printable(s), "|", `\|`)
	longest, run := 0, 0
	for _, r := range s {
		if r == '`' {
			run++
			longest = max(longest, run)
			continue
		}
		run = 0
	}
	fence, space := strings.Repeat("`", longest+1), ""
	if longest > 0 || s == "" || strings.TrimSpace(s) != s {
		space = " " // which is not shown, and keeps the text off the fence
	}
	return fence + space + s + space + fence
}

// inertHTML is inert where HTML stands. Markdown is not to be read there, but
// is of no effect if it is.
func inertHTML(s string) string {
	return strings.NewReplacer("[", "&#91;", "]", "&#93;", "`", "&#96;", "*", "&#42;", "_", "&#95;").Replace(html.EscapeString(unlinked(s)))
}

// unlinked breaks mentions, references and bare links, and nothing that is
// seen.
func unlinked(s string) string {
	return strings.NewReplacer("@", "@\u200b", "#", "#\u200b", "://", ":\u200b//", "www.", "www\u200b.").Replace(printable(s))
}

// inert keeps Markdown from acting on a text: no mentions, links, references
// or markup.
func inert(s string) string {
	var b strings.Builder
	for _, r := range unlinked(s) {
		switch r {
		case '*', '_', '`', '[', ']', '<', '>', '\\', '|', '~', '!', '(', ')', '&', '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
