package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// usageError is a command line that cannot be meant. The message says what
// would have worked; line is the command's usage line.
type usageError struct {
	message string
	line    string
}

func (e *usageError) Error() string { return e.message }

func wrongUsage(c *cobra.Command, format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...), line: c.UseLine()}
}

// group is a command that only has others below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
	}
	for _, c := range below {
		c.DisableFlagsInUseLine = true // the usage lines name them, as the manual does
	}
	g.AddCommand(below...)
	return g
}

func unknownCommand(c *cobra.Command, word string) error {
	var names []string
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	hint := "there are " + strings.Join(names, ", ")
	if nearest, ok := strictyaml.Nearest(word, names); ok {
		hint = "did you mean " + nearest + "?"
	}
	return &usageError{
		message: fmt.Sprintf("there is no command %s; %s", strictyaml.Quote(strings.TrimPrefix(c.CommandPath()+" "+word, "")), hint),
		line:    c.CommandPath() + " COMMAND",
	}
}

// flagError turns what the flag parser says into usage.
func (p *program) flagError(c *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		return wrongUsage(c, "--%s: %v", invalid.GetFlag().Name, invalid.Unwrap())
	}
	var noValue *pflag.ValueRequiredError
	if errors.As(err, &noValue) && len(noValue.GetSpecifiedName()) > 1 {
		return wrongUsage(c, "--%s wants a value after it", noValue.GetSpecifiedName())
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return wrongUsage(c, "%v", err)
	}
	// A mistyped command leaves its flags to its parent.
	if word, ok := p.wordAfter(c); ok && c.HasSubCommands() {
		return unknownCommand(c, word)
	}
	name := unknown.GetSpecifiedName()
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	if len(name) < 2 {
		return wrongUsage(c, "%v", err)
	}
	if instead, ok := otherwise[c.Name()+" --"+name]; ok {
		return wrongUsage(c, "%s", instead)
	}
	hint := ""
	if nearest, ok := strictyaml.Nearest(name, names); ok {
		hint = "; did you mean --" + nearest + "?"
	} else if c.Name() == "exec" {
		hint = "; put -- before the command to run"
	}
	return wrongUsage(c, "there is no flag --%s%s", name, hint)
}

// otherwise is what people type who know another command, and how it is said
// here.
var otherwise = map[string]string{
	"deny --duration":   "to give less, approve with --duration 1h",
	"extend --duration": "the length follows the ID: extend ID 1h",
}

// wordAfter returns the first word that follows the command's own name.
func (p *program) wordAfter(c *cobra.Command) (string, bool) {
	depth := strings.Count(c.CommandPath(), " ")
	for i, arg := range p.args {
		if strings.HasPrefix(arg, "-") || i > 0 && (p.args[i-1] == "-o" || p.args[i-1] == "--output") {
			continue
		}
		if depth == 0 {
			return arg, true
		}
		depth--
	}
	return "", false
}

// takes accepts exactly the named arguments; one in brackets may be left out.
func takes(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		least := len(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasPrefix(n, "[") }))
		switch {
		case len(args) < least:
			return wrongUsage(c, "%s is missing", names[len(args)])
		case len(args) > len(names) && len(names) == 0:
			return wrongUsage(c, "%s is too much here", strictyaml.Quote(args[0]))
		case len(args) > len(names):
			return wrongUsage(c, "%s is too much here; texts of several words stand in quotes", strictyaml.Quote(args[len(names)]))
		}
		return nil
	}
}

// grantID reads an id that somebody typed.
func grantID(c *cobra.Command, text string) (grants.ID, error) {
	id, err := grants.ParseID(text)
	if err != nil {
		return "", wrongUsage(c, "%s is not the id of a grant, which looks like 20261122-k3v9q2m4tz; `tac access list` shows yours", strictyaml.Quote(text))
	}
	return id, nil
}

const (
	formatText = "text"
	formatJSON = "json"
)

// choice is a flag with a few values.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }
func (c *choice) Type() string   { return strings.Join(c.allowed, "|") }

// Set takes one of the allowed values.
func (c *choice) Set(text string) error {
	if !slices.Contains(c.allowed, text) {
		last := len(c.allowed) - 1
		return fmt.Errorf("expected %s or %s, found %s", strings.Join(c.allowed[:last], ", "), c.allowed[last], strictyaml.Quote(text))
	}
	c.value = text
	return nil
}

func (p *program) help() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "Tell more about a command", DisableFlagsInUseLine: true,
		RunE: func(c *cobra.Command, args []string) error {
			about, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(about, strings.Join(rest, " "))
			}
			return about.Help()
		},
	}
}

func (p *program) completion() *cobra.Command {
	shells := []string{"bash", "fish", "powershell", "zsh"}
	return &cobra.Command{
		Use: "completion SHELL", Short: "Print a script that completes commands in bash, zsh, fish or powershell",
		Example: "  source <(tac completion bash)",
		Args:    takes("SHELL"), ValidArgs: shells,
		RunE: func(c *cobra.Command, args []string) error {
			switch root := c.Root(); args[0] {
			case "bash":
				return root.GenBashCompletionV2(p.stdout, true)
			case "fish":
				return root.GenFishCompletion(p.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(p.stdout)
			case "zsh":
				return root.GenZshCompletion(p.stdout)
			}
			return wrongUsage(c, "there is no completion for %s; there is for %s", strictyaml.Quote(args[0]), strings.Join(shells, ", "))
		},
	}
}
