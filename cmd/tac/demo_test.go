package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
)

// TestADemoWhoseReaderOrTerminalGoesEndsInItsOwnWay: killed by the signal, it
// would leave all that it made in a Vault of somebody else's.
func TestADemoWhoseReaderOrTerminalGoesEndsInItsOwnWay(t *testing.T) {
	// Under nohup, what we start would ignore the terminal's end as we do. A
	// signal that somebody waits for is nobody's to ignore, and starts out
	// with its own meaning in every process that is started from here.
	heard := make(chan os.Signal, 1)
	signal.Notify(heard, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(heard) }) // once the parallel ones are done
	for name, goes := range map[string]func(*exec.Cmd, io.Closer) error{
		"the reader":   func(_ *exec.Cmd, out io.Closer) error { return out.Close() },
		"the terminal": func(c *exec.Cmd, _ io.Closer) error { return c.Process.Signal(syscall.SIGHUP) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said strings.Builder
			c := exec.CommandContext(t.Context(), "tac", "demo")
			c.Stderr = &said
			out, err := c.StdoutPipe()
			if err == nil {
				err = c.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			// A reader goes before anything was said: later, all may have
			// been written already, and nobody writes to find out.
			if name == "the terminal" {
				if _, err := lines.ReadString('\n'); err != nil {
					t.Error(err)
				}
			}
			if err := goes(c, out); err != nil {
				t.Error(err)
			}
			_, _ = io.Copy(io.Discard, lines) // to its end, or it waits for us
			err = c.Wait()
			if code := c.ProcessState.ExitCode(); code != exitFailed || said.String() != "tac: interrupted\n" {
				t.Errorf("it ended with %v and said %q", err, said.String())
			}
		})
	}
}
