// Command guards takes every guard against the attacks in .github/SECURITY.md
// out of the code, one at a time, and demands that a test named after the
// attack notices. Run it from the top of the tree:
//
//	go run ./.ci/guards            every row A1 to D7
//	go run ./.ci/guards -row B,D4  those of one section, and of one row
//	go run ./.ci/guards -row B10   those of one row, with what the tests said
//
// The tables beside this file (*.guards) say what each guard is. The tree is
// never changed: the edited file goes to the compiler as an overlay. A guard
// is killed where a test of its row's name fails. Everything else fails the
// run: a guard that nobody missed SURVIVED, and one is BROKEN whose text is no
// longer in the code, or without which the code does not compile, or panics
// where no test can say so, or hangs. A row without any guard is missing.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "guards:", err)
		os.Exit(1)
	}
}

const (
	tables   = ".ci/guards/*.guards"
	security = ".github/SECURITY.md"
)

var errNoticed = errors.New("not every guard is missed by a test of its row")

func run(ctx context.Context, args []string, out io.Writer) error {
	began := time.Now()
	flags := flag.NewFlagSet("guards", flag.ContinueOnError)
	only := flags.String("row", "", "the guards of these `rows` alone, as in B10 or C,D4; of one, with what the tests said")
	workers := flags.Int("j", max(1, runtime.NumCPU()), "how many guards are taken out at the same time, each by itself")
	if err := flags.Parse(args); err != nil {
		return err
	}
	rows, guards, err := read(*only)
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "guards-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	b := bench{folder: folder}
	fmt.Fprintf(out, "%d rows, %d guards\n", len(rows), len(guards))
	if err := b.asItIs(ctx, guards, *workers); err != nil {
		return err
	}
	fmt.Fprintf(out, "with every guard in its place all their tests pass (%s)\n", since(began))
	report := report{out: out, verbose: len(rows) == 1, fallen: map[string]bool{}}
	inParallel(*workers, mutants(guards), func(m []*guard) { b.without(ctx, m, report.add) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return report.end(rows, guards, began)
}

// read returns the rows of the table of attacks and the guards of them.
func read(only string) (rows []string, guards []*guard, err error) {
	text, err := os.ReadFile(security)
	if err != nil {
		return nil, nil, fmt.Errorf("%w (run this from the top of the tree)", err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\| ([A-D][0-9]+) \|`).FindAllStringSubmatch(string(text), -1) {
		rows = append(rows, m[1])
	}
	files, err := filepath.Glob(tables)
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		some, err := parse(file, string(content))
		if err != nil {
			return nil, nil, err
		}
		guards = append(guards, some...)
	}
	for _, g := range guards {
		if !slices.Contains(rows, g.row) {
			return nil, nil, fmt.Errorf("%s: %s has no row %s", g.place, security, g.row)
		}
	}
	if only != "" {
		asked := strings.Split(only, ",")
		other := func(row string) bool { return !slices.Contains(asked, row) && !slices.Contains(asked, row[:1]) }
		rows = slices.DeleteFunc(rows, other)
		guards = slices.DeleteFunc(guards, func(g *guard) bool { return other(g.row) })
	}
	if len(rows) == 0 {
		return nil, nil, fmt.Errorf("%s has no row %s from A to D", security, only)
	}
	slices.SortStableFunc(guards, func(a, b *guard) int {
		return cmp.Or(strings.Compare(a.row[:1], b.row[:1]), cmp.Compare(number(a.row), number(b.row)))
	})
	return rows, guards, nil
}

func number(row string) int {
	n, _ := strconv.Atoi(row[1:]) // what is no number was refused as no row
	return n
}

// mutants puts guards together that are the same lines of the code, so that
// the code without them is compiled once.
func mutants(guards []*guard) (groups [][]*guard) {
	at := map[string]int{}
	for _, g := range guards {
		key := fmt.Sprintf("%s %q", g.pkg, g.edits)
		if i, known := at[key]; known {
			groups[i] = append(groups[i], g)
			continue
		}
		at[key] = len(groups)
		groups = append(groups, []*guard{g})
	}
	return groups
}

func inParallel[T any](workers int, items []T, do func(T)) {
	queue := make(chan T)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for item := range queue {
				do(item)
			}
		})
	}
	for _, item := range items {
		queue <- item
	}
	close(queue)
	all.Wait()
}

// report prints one line for every guard as it comes, and counts rows.
type report struct {
	out     io.Writer
	verbose bool

	mu     sync.Mutex
	fallen map[string]bool // rows with a guard that was not killed
	killed int
}

func (r *report) add(g *guard, o outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case o.broken != "":
		r.fallen[g.row] = true
		fmt.Fprintf(r.out, "%-3s BROKEN   %s (%s): %s\n", g.row, g.what, g.place, o.broken)
	case o.by == "":
		r.fallen[g.row] = true
		fmt.Fprintf(r.out, "%-3s SURVIVED %s (%s): %s in %s pass without it\n", g.row, g.what, g.place, g.pattern, g.pkg)
	default:
		r.killed++
		fmt.Fprintf(r.out, "%-3s killed   %s: by %s in %s\n", g.row, g.what, o.by, o.took.Round(100*time.Millisecond))
	}
	if r.verbose && o.said != "" {
		said := strings.Split(strings.TrimSpace(o.said), "\n")
		fmt.Fprintln(r.out, strings.Join(said[:min(len(said), mostSaid)], "\n"))
	}
}

// mostSaid is how many lines of a test are shown.
const mostSaid = 30

func (r *report) end(rows []string, guards []*guard, began time.Time) error {
	well := 0
	for _, row := range rows {
		switch {
		case !slices.ContainsFunc(guards, func(g *guard) bool { return g.row == row }):
			fmt.Fprintf(r.out, "%-3s MISSING  no table in %s has a guard of this row\n", row, tables)
		case !r.fallen[row]:
			well++
		}
	}
	fmt.Fprintf(r.out, "%d of %d single guards killed, in %s\nguards: %d of %d killed\n", r.killed, len(guards), since(began), well, len(rows))
	if well < len(rows) || r.killed < len(guards) {
		return errNoticed
	}
	return nil
}

func since(began time.Time) time.Duration { return time.Since(began).Round(time.Second) }
