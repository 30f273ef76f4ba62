// Package contract holds the traffic of the whole test suite against what
// GitHub publishes about itself: the OpenAPI description of its REST API, the
// schemas of its webhooks, and real payloads of them.
//
// The sandbox's GitHub server writes down what passes over it wherever
// TAC_RECORD_GITHUB names a folder. This package reads that folder and judges
// each request (would GitHub take it?), each answer (could GitHub have given
// it?) and each webhook. So neither our client nor our sandbox is measured by
// our own idea of GitHub.
//
//	recording.go   what was recorded, and how often
//	rest.go        requests and answers against the description
//	gaps.go        what GitHub does and does not describe, each with the reason
//	hooks.go       webhooks against their schemas; the example payloads
package contract

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/bot/sandbox/github"
)

// Seen is a form of exchange or webhook, and how often it was seen.
type Seen struct {
	github.Record
	Times int
}

// Subject names what was seen, as in "GET /user".
func (s Seen) Subject() string {
	if s.Event != "" {
		return "webhook " + s.Event
	}
	return s.Method + " " + s.Path
}

// ReadRecording reads all files of a folder that the sandbox has recorded
// to. A folder without any traffic is an error: that nothing was found wrong
// with nothing must never look like a pass.
func ReadRecording(dir string) ([]Seen, error) {
	files, err := filepath.Glob(filepath.Join(dir, "github-*.jsonl"))
	if err != nil {
		return nil, fmt.Errorf("look for recordings in %s: %w", dir, err)
	}
	all := map[string]*Seen{}
	for _, name := range files {
		if err := readFile(name, all); err != nil {
			return nil, fmt.Errorf("read the recording %s: %w", name, err)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%q holds no recording: run the tests with %s naming it first", dir, github.RecordVariable)
	}
	list := make([]Seen, 0, len(all))
	for _, s := range all {
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b Seen) int {
		return strings.Compare(a.Subject()+"\n"+a.Key, b.Subject()+"\n"+b.Key)
	})
	return list, nil
}

func readFile(name string, all map[string]*Seen) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	lines := json.NewDecoder(bufio.NewReaderSize(file, 1<<20))
	for {
		var r github.Record
		err := lines.Decode(&r)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case r.Again != "" && all[r.Again] == nil:
			return fmt.Errorf("it repeats %s, which is not in it", r.Again)
		case r.Again != "":
			all[r.Again].Times++
		case r.Method == "" && r.Event == "" || r.Key == "":
			return errors.New("a line is neither an exchange nor a webhook")
		case all[r.Key] != nil: // another process has seen it too
			all[r.Key].Times++
		default:
			all[r.Key] = &Seen{Record: r, Times: 1}
		}
	}
}

// Finding is one way in which traffic differs from what GitHub describes.
type Finding struct {
	Subject string // operation or event
	What    string
	Times   int
	Example github.Record
}

func (f Finding) String() string {
	if f.Example.Event != "" {
		return fmt.Sprintf("%s (%d times): %s", f.Subject, f.Times, f.What)
	}
	example := f.Example.Path
	if f.Example.Query != "" {
		example += "?" + f.Example.Query
	}
	return fmt.Sprintf("%s (%d times, as in %s -> %d by %s): %s", f.Subject, f.Times, example, f.Example.Status, f.Example.Agent, f.What)
}

// findings gathers equal findings into one.
type findings struct {
	list  []Finding
	index map[string]int
}

func (f *findings) add(subject, what string, s Seen) {
	if f.index == nil {
		f.index = map[string]int{}
	}
	key := subject + "\n" + what
	if i, known := f.index[key]; known {
		f.list[i].Times += s.Times
		return
	}
	f.index[key] = len(f.list)
	f.list = append(f.list, Finding{Subject: subject, What: what, Times: s.Times, Example: s.Record})
}
