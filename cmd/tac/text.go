package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tigeraccess/tac/grants"
)

// plain returns s with everything escaped that a terminal could act on or
// that reads differently from what it says. Names, reasons and messages are
// other people's texts.
func plain(s string) string { return escaped(s, false) }

// plainLines is plain for texts of several lines.
func plainLines(s string) string { return escaped(s, true) }

func escaped(s string, lines bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\n' && lines, r == ' ':
			b.WriteRune(r)
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(r), unicode.Is(unicode.Bidi_Control, r):
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// clip cuts s to width characters.
func clip(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}

// pad fills s up to width characters.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-utf8.RuneCountInString(s), 0))
}

// table prints rows with their columns aligned. The last column is cut so
// that lines fit into width.
func table(w io.Writer, width int, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i := range row {
			row[i] = plain(row[i])
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		used := 0
		for i, cell := range row {
			if i == len(row)-1 {
				line.WriteString(clip(cell, max(width-used, 10)))
				break
			}
			line.WriteString(pad(cell, widths[i]) + "  ")
			used += widths[i] + 2
		}
		fmt.Fprintln(w, strings.TrimRight(line.String(), " "))
	}
}

// width returns how wide lines may be: what the terminal says, else 100.
func (p *program) width() int {
	if n, err := strconv.Atoi(p.lookup("COLUMNS")); err == nil && n >= 40 && n <= 1000 {
		return n
	}
	return 100
}

// stamp is an instant as people read it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// distance is how long it is until t, in whole minutes, or in seconds where
// it is less.
func (p *program) distance(t time.Time) string {
	d := t.Sub(p.now())
	switch {
	case d <= 0:
		return "0m"
	case d < time.Minute:
		return grants.FormatDuration(max(d.Truncate(time.Second), time.Second))
	}
	return grants.FormatDuration(d.Truncate(time.Minute))
}

func mentions(logins []string) string {
	if len(logins) == 0 {
		return "nobody known"
	}
	return "@" + strings.Join(logins, ", @")
}

// parseTime reads a moment as people write it: RFC 3339, or a time in the
// local zone.
func (p *program) parseTime(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t.UTC(), nil
	}
	today := p.now().In(p.local).Format(time.DateOnly)
	for _, try := range []struct{ layout, prefix string }{
		{"2006-01-02 15:04", ""}, {"2006-01-02T15:04", ""}, {"2006-01-02 15:04", today + " "},
	} {
		t, err := time.ParseInLocation(try.layout, try.prefix+text, p.local)
		if err != nil {
			continue
		}
		if t.Format(try.layout) != try.prefix+text {
			return time.Time{}, fmt.Errorf("%q does not exist in %s: clocks are put forward then", text, p.local)
		}
		return t.UTC(), nil
	}
	return time.Time{}, fmt.Errorf("%.40q is not a time; write 2026-11-22T18:00:00Z, or \"2026-11-22 18:00\" or 18:00 in your own zone", text)
}
