package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// guard is one guard: where it stands, what the code is without it, and which
// tests have to notice.
type guard struct {
	row, what string
	place     string // in the table: file and line
	edits     []edit
	pkg       string // package whose tests are run
	pattern   string // of the tests
	hangs     bool   // without it a test may wait for ever, and that is noticed too
}

// edit takes some lines of a file away and puts others in their place. Lines
// are compared without the blanks around them, so that a block may be indented
// otherwise tomorrow.
type edit struct {
	file     string
	old, new []string
}

var (
	guardLine = regexp.MustCompile(`^guard ([A-D][0-9]+): (.+)$`)
	testLine  = regexp.MustCompile(`^test (\./\S+)(?: (\S+))?$`)
)

// parse reads a table. Each guard is a paragraph:
//
//	guard ROW: one sentence that says what the guard is
//	file PATH
//	-the lines of the guard
//	+what stands there without it
//	 a line that stays, where the others alone are not found exactly once
//	test ./PACKAGE PATTERN
//
// There may be several files, where two guards stop the same and only without
// both anybody gets further. The pattern is "^Test<ROW>_" where none is given,
// and begins so in any case. "hangs" says that without the guard a test may
// never end, which is noticed as well. Lines with # are remarks.
func parse(name, text string) (guards []*guard, err error) {
	var g *guard
	var at *edit
	for i, line := range strings.Split(text, "\n") {
		place := fmt.Sprintf("%s:%d", name, i+1)
		key, rest, _ := strings.Cut(line, " ")
		switch m := guardLine.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			at = nil
		case m != nil:
			g, at = &guard{row: m[1], what: m[2], place: place}, nil
			guards = append(guards, g)
		case g == nil:
			return nil, fmt.Errorf("%s: expected `guard ROW: what it is`", place)
		case key == "file":
			g.edits = append(g.edits, edit{file: strings.TrimSpace(rest)})
			at = &g.edits[len(g.edits)-1]
		case key == "hangs":
			g.hangs = true
		case testLine.MatchString(line):
			m := testLine.FindStringSubmatch(line)
			g.pkg, g.pattern = m[1], m[2]
			at = nil
		case at == nil || !at.add(line):
			return nil, fmt.Errorf("%s: cannot read %q", place, line)
		}
	}
	for _, g := range guards {
		if err := g.complete(); err != nil {
			return nil, fmt.Errorf("%s: the guard of %s %w", g.place, g.row, err)
		}
	}
	return guards, nil
}

// add takes one line of an edit; false: it is none.
func (e *edit) add(line string) bool {
	content := strings.TrimSpace(line[1:])
	switch line[0] {
	case '-':
		e.old = append(e.old, content)
	case '+':
		e.new = append(e.new, line[1:])
	case ' ', '\t':
		e.old, e.new = append(e.old, content), append(e.new, line[1:])
	default:
		return false
	}
	return true
}

func (g *guard) complete() error {
	own := "^Test" + g.row + "_"
	if g.pattern == "" {
		g.pattern = own
	}
	switch {
	case g.pkg == "":
		return fmt.Errorf("names no test")
	case !strings.HasPrefix(g.pattern, own):
		return fmt.Errorf("is to be noticed by %s, which is not of its row (%s)", g.pattern, own)
	case len(g.edits) == 0:
		return fmt.Errorf("names no file")
	}
	for _, e := range g.edits {
		if len(e.old) == 0 || strings.Join(e.old, "\n") == strings.Join(e.new, "\n") {
			return fmt.Errorf("takes nothing away from %s", e.file)
		}
	}
	return nil
}

// texts returns the files that the guard stands in, without it.
func (g *guard) texts() (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range g.edits {
		text, edited := texts[e.file]
		if !edited {
			content, err := os.ReadFile(e.file)
			if err != nil {
				return nil, err
			}
			text = string(content)
		}
		without, found := e.apply(strings.Split(text, "\n"))
		if found != 1 {
			return nil, fmt.Errorf("in %s these lines stand %d times, and not once:\n%s", e.file, found, strings.Join(e.old, "\n"))
		}
		texts[e.file] = strings.Join(without, "\n")
	}
	return texts, nil
}

// apply returns the lines after the edit, and how often it could be made.
func (e *edit) apply(lines []string) (without []string, found int) {
	for i := 0; i < len(lines); i++ {
		if !e.standsAt(lines[i:]) {
			without = append(without, lines[i])
			continue
		}
		found++
		without = append(without, e.new...)
		i += len(e.old) - 1
	}
	return without, found
}

func (e *edit) standsAt(lines []string) bool {
	if len(lines) < len(e.old) {
		return false
	}
	for i, old := range e.old {
		if strings.TrimSpace(lines[i]) != old {
			return false
		}
	}
	return true
}
