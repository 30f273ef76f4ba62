package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/starter"
)

func (p *program) init() *cobra.Command {
	return &cobra.Command{
		Use: "init DIR", Short: "Write a new grants repository, with working examples", Args: takes("DIR"),
		RunE: func(_ *cobra.Command, args []string) error {
			names, err := writeStarter(args[0])
			if err != nil {
				return err
			}
			p.printStarted(args[0], names)
			return nil
		},
	}
}

// writeStarter writes the starting files and returns their names. Where any
// of them exists already it writes nothing at all.
func writeStarter(dir string) ([]string, error) {
	files, err := starter.Files()
	if err != nil {
		return nil, err
	}
	pinAction(files, build())
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	defer root.Close()
	names := sortedKeys(files)
	var there []string
	for _, name := range names {
		if _, err := root.Lstat(name); err == nil {
			there = append(there, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for %s: %w", name, err)
		}
	}
	if len(there) > 0 {
		return nil, fmt.Errorf("nothing was written, since these exist in %s already:\n  %s", dir, strings.Join(there, "\n  "))
	}
	for _, name := range names {
		if err := writeNew(root, name, files[name]); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
	}
	return names, nil
}

// pinAction ties the workflow to the tac that writes it: by its commit, or by
// its release where the commit is not known. A build that is neither leaves
// the branch, and the comment that says to pin it.
func pinAction(files map[string]string, b buildInfo) {
	const name, floating = ".github/workflows/policy.yml", "/actions/policy@main # pin this to a commit, which then is tac's version too"
	ref := ""
	switch {
	case b.Commit != "" && !b.Dirty:
		ref = b.Commit + " # " + b.Version
	case releaseForm.MatchString(b.Version):
		ref = b.Version
	default:
		return
	}
	files[name] = strings.Replace(files[name], floating, "/actions/policy@"+ref, 1)
}

var releaseForm = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`)

// writeNew writes a file that must not exist.
func writeNew(root *os.Root, name, content string) error {
	if err := root.MkdirAll(path.Dir(name), 0o777); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(content); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

func (p *program) printStarted(dir string, names []string) {
	if p.json() {
		p.printJSON(struct {
			Dir   string   `json:"dir"`
			Files []string `json:"files"`
		}{dir, names})
		return
	}
	p.print("Wrote %s to %s:\n", counted(len(names), "file"), plain(dir))
	for _, name := range names {
		p.print("  %s\n", name)
	}
	p.print(`
Next:
  1. Put your own people and resources into policies/people.yaml and policies/resources.yaml.
  2. Check them, and try them out:
       tac policy lint %[1]s
       tac policy test %[1]s
       tac policy explain --requester alice --resource postgres-prod --duration 2h --reason "Deploy hotfix" %[1]s
  3. Push it to GitHub, and start the bot there: tac serve --config tac.yaml
`, shellQuote(plain(dir)))
}
