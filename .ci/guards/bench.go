package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds on one guard. The tests of a row take seconds.
const (
	buildWithin = 5 * time.Minute
	testWithin  = 2 * time.Minute
)

// bench compiles and runs tests; everything it writes is below folder.
type bench struct{ folder string }

// outcome is what became of one guard. The zero value: nobody noticed.
type outcome struct {
	broken string // why it says nothing about the tests
	by     string // the test that failed
	said   string // by the tests
	took   time.Duration
}

// asItIs demands that all tests pass that are to notice something, and that
// each pattern names one.
func (b *bench) asItIs(ctx context.Context, guards []*guard, workers int) error {
	patterns := map[string][]string{} // by package
	for _, g := range guards {
		if !slices.Contains(patterns[g.pkg], g.pattern) {
			patterns[g.pkg] = append(patterns[g.pkg], g.pattern)
		}
	}
	var packages []string
	for pkg := range patterns {
		packages = append(packages, pkg)
	}
	slices.Sort(packages)
	var mu sync.Mutex
	var problems []error
	inParallel(workers, packages, func(pkg string) {
		err := b.passes(ctx, pkg, patterns[pkg])
		mu.Lock()
		defer mu.Unlock()
		problems = append(problems, err)
	})
	return errors.Join(problems...)
}

func (b *bench) passes(ctx context.Context, pkg string, patterns []string) error {
	binary := filepath.Join(b.folder, "as-it-is"+strings.ReplaceAll(pkg, "/", "-"))
	if said, err := compile(ctx, pkg, binary, ""); err != nil {
		return fmt.Errorf("%s does not compile: %w\n%s", pkg, err, said)
	}
	defer os.Remove(binary)
	for _, pattern := range patterns {
		listed, err := runTests(ctx, pkg, binary, testWithin, "-test.list", pattern)
		if err != nil || !strings.HasPrefix(listed, "Test") {
			return fmt.Errorf("%s has no test %s (%v)", pkg, pattern, err)
		}
	}
	said, err := runTests(ctx, pkg, binary, 2*testWithin, "-test.run", strings.Join(patterns, "|"))
	if err != nil {
		return fmt.Errorf("the tests of %s fail with every guard in its place: %w\n%s", pkg, err, said)
	}
	return nil
}

// without takes a guard out, and has the tests run of each row that it is a
// guard of: all of the guards are the same edits of one code.
func (b *bench) without(ctx context.Context, same []*guard, add func(*guard, outcome)) {
	began := time.Now()
	folder, err := os.MkdirTemp(b.folder, same[0].row+"-")
	if err == nil {
		defer os.RemoveAll(folder)
		var said string
		if said, err = mutate(ctx, folder, same[0]); said != "" {
			err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(said))
		}
	}
	for _, g := range same {
		o := outcome{}
		if err != nil {
			o.broken = err.Error()
		} else {
			said, err := runTests(ctx, g.pkg, mutant(folder), testWithin, "-test.run", g.pattern, "-test.failfast")
			o = judge(g, said, err)
		}
		o.took = time.Since(began)
		add(g, o)
	}
}

// mutant is the compiled test without the guard.
func mutant(folder string) string { return filepath.Join(folder, "tests") }

func mutate(ctx context.Context, folder string, g *guard) (said string, err error) {
	texts, err := g.texts()
	if err != nil {
		return "", err
	}
	overlay, err := write(folder, texts)
	if err != nil {
		return "", err
	}
	if said, err = compile(ctx, g.pkg, mutant(folder), overlay); err != nil {
		return said, fmt.Errorf("without it the code does not compile: %w", err)
	}
	return "", nil
}

// judge tells a test that failed from one that could not be run to its end.
func judge(g *guard, said string, err error) outcome {
	o := outcome{said: said}
	failed := regexp.MustCompile(`(?m)^--- FAIL: (Test` + g.row + `_\w+)`).FindStringSubmatch(said)
	switch {
	case err == nil:
	case errors.Is(err, context.DeadlineExceeded) && g.hangs:
		o.by = "a test that never ends"
	case errors.Is(err, context.DeadlineExceeded):
		o.broken = fmt.Sprintf("without it the tests do not end within %s", testWithin)
	case failed != nil:
		o.by = failed[1]
	default:
		o.broken = fmt.Sprintf("without it no test of the row fails, and yet: %v", err)
	}
	return o
}

// write puts the edited files into folder, and says so to the compiler.
func write(folder string, texts map[string]string) (overlay string, err error) {
	replace := map[string]string{}
	for file, text := range texts {
		original, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		edited := filepath.Join(folder, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(edited, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[original] = edited
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(folder, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}

func compile(ctx context.Context, pkg, binary, overlay string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, buildWithin)
	defer cancel()
	args := []string{"test", "-c", "-ldflags=-s -w", "-o", binary}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	out, err := exec.CommandContext(ctx, "go", append(args, pkg)...).CombinedOutput()
	return string(out), err
}

// runTests runs a compiled test once, in the folder of its package as `go test`
// does. Past its time it is ended, and that is the error.
func runTests(ctx context.Context, pkg, binary string, within time.Duration, args ...string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	c := exec.CommandContext(ctx, binary, args...)
	c.Dir = filepath.FromSlash(pkg)
	c.WaitDelay = 5 * time.Second // whatever it started may hold its output open
	out, err := c.CombinedOutput()
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}
