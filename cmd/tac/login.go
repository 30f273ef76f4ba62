package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// store returns the place of what is kept between two runs.
func (p *program) store() (client.Store, error) {
	s := client.Store{Note: func(sentence string) { p.note("%s", sentence) }}
	switch choice := p.lookup("TAC_KEYRING"); choice {
	case "", "on":
		s.Keyring = client.SystemKeyring(client.KeyringPatience)
	case "off", "file":
	default:
		return s, &usageError{message: fmt.Sprintf("TAC_KEYRING: expected on, off or file, found %s", strictyaml.Quote(choice))}
	}
	if dir := p.lookup("TAC_CONFIG_DIR"); dir != "" {
		absolute, err := filepath.Abs(dir)
		s.Dir = absolute
		return s, err
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return client.Store{}, fmt.Errorf("find a place for the login (TAC_CONFIG_DIR would name one): %w", err)
	}
	s.Dir = filepath.Join(dir, "tac")
	return s, nil
}

// client returns the client for the server that the command line, the
// environment or the last login names, in this order.
func (p *program) client(named string) (*client.Client, error) {
	store, err := p.store()
	if err != nil {
		return nil, err
	}
	c := &client.Client{Store: store, Now: p.now, UserAgent: "tac/" + build().Version}
	for _, source := range []struct{ name, value string }{{"--server", named}, {"TAC_SERVER", p.lookup("TAC_SERVER")}} {
		if source.value == "" {
			continue
		}
		if c.Server, err = client.ParseServer(source.value); err != nil {
			return nil, &usageError{message: fmt.Sprintf("%s: %v", source.name, err)}
		}
		return c, nil
	}
	if c.Server, err = store.Remembered(); err != nil {
		return nil, err
	}
	if c.Server == "" {
		return nil, &usageError{message: "no server is known; run `tac login --server https://tac.example.com`, or set TAC_SERVER"}
	}
	return c, nil
}

// session is client for commands about grants. What has ended meanwhile is
// deleted on the way.
func (p *program) session() (*client.Client, error) {
	c, err := p.client("")
	if err != nil {
		return nil, err
	}
	if err := c.Store.Sweep(p.now()); err != nil {
		p.note("%v", err) // no reason to refuse what was asked for
	}
	return c, nil
}

func (p *program) login() *cobra.Command {
	var server string
	var slack bool
	c := &cobra.Command{
		Use: "login [--server URL] [--slack]", Short: "Sign in by GitHub", Args: takes(),
		Long: "Sign in by GitHub, with a code that you enter in a browser. tac keeps the token in\n" +
			"the keyring of this machine, or where there is none (or TAC_KEYRING is file) in a\n" +
			"file that only you can read, and sends it to this one server only.\n\n" +
			"With --slack you sign in once more and leave that token with the server, which\n" +
			"keeps it in Vault: what you press in Slack then becomes a review of yours on\n" +
			"GitHub. `tac logout --slack` takes it back.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client(server)
			if err != nil {
				return err
			}
			if slack {
				return p.leaveToken(cmd, c)
			}
			l, err := c.Login(cmd.Context(), p.showCode)
			if err != nil {
				return err
			}
			if server != "" {
				if err := c.Store.Remember(c.Server); err != nil {
					return err
				}
			}
			if p.json() {
				p.printJSON(identityOf(l.Person, c.Server, l.Kept))
				return nil
			}
			p.print("Logged in to %s as @%s.\nThe tokens are in %s.\n", c.Server, plain(l.Person.GitHub), l.Kept)
			return nil
		},
	}
	c.Flags().StringVar(&server, "server", "", "address of the tac server; it is remembered")
	c.Flags().BoolVar(&slack, "slack", false, "leave a token with the server, to approve and deny in Slack")
	return c
}

func (p *program) showCode(w client.Prompt) {
	fmt.Fprintf(p.stderr, "Open %s and enter the code %s\n(it is valid until %s)\n", plain(w.URL), plain(w.Code), stamp(w.Until))
}

func (p *program) leaveToken(cmd *cobra.Command, c *client.Client) error {
	who, err := c.LeaveToken(cmd.Context(), p.showCode)
	if err != nil {
		return err
	}
	if p.json() {
		p.printJSON(struct {
			client.Person
			Server client.Server `json:"server"`
			Slack  bool          `json:"slack"`
		}{who, c.Server, true})
		return nil
	}
	p.print("%s now keeps a token of @%s, in Vault: what you press in Slack becomes your review on GitHub.\nTo take it back: tac logout --slack\n",
		c.Server, plain(who.GitHub))
	return nil
}

// identity is who one is where, and where the tokens for that are kept.
type identity struct {
	client.Person
	Server client.Server `json:"server"`
	Kept   string        `json:"kept_in"` // keyring or file
}

func identityOf(who client.Person, server client.Server, kept client.Place) identity {
	if kept != client.InKeyring {
		kept = client.InFileOnly
	}
	return identity{who, server, string(kept)}
}

func (p *program) logout() *cobra.Command {
	var slack bool
	c := &cobra.Command{
		Use: "logout [--slack]", Short: "Revoke the tokens, and delete them and the credentials kept here", Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client("")
			if err != nil {
				return err
			}
			if slack {
				return p.takeTokenBack(cmd, c)
			}
			out, err := c.Logout(cmd.Context())
			if err != nil {
				return err
			}
			if p.json() {
				p.printJSON(struct {
					Server  client.Server `json:"server"`
					Was     bool          `json:"was_logged_in"`
					Revoked bool          `json:"revoked"`
				}{c.Server, out.Was, out.Revoked})
				return nil
			}
			p.sayLoggedOut(c.Server, out)
			return nil
		},
	}
	c.Flags().BoolVar(&slack, "slack", false, "take back the token that tac login --slack left with the server, and nothing else")
	return c
}

func (p *program) sayLoggedOut(server client.Server, out client.SignedOut) {
	switch {
	case !out.Was:
		p.print("You were not logged in to %s; nothing is kept for it here.\n", server)
	case out.Revoked:
		p.print("The tokens for %s are revoked, and they and the credentials are deleted from this machine.\n", server)
	default:
		p.print("The tokens and credentials for %s are deleted from this machine.\n", server)
		if out.Kept != nil {
			p.note("they were not revoked: %v", out.Kept)
		}
		if out.GitHubURL != "" {
			p.print("GitHub still knows the tokens until they expire; to revoke them now: %s/settings/apps/authorizations\n", out.GitHubURL)
		}
	}
}

func (p *program) takeTokenBack(cmd *cobra.Command, c *client.Client) error {
	was, err := c.TakeTokenBack(cmd.Context())
	if err != nil {
		return err
	}
	switch {
	case p.json():
		p.printJSON(struct {
			Server client.Server `json:"server"`
			Was    bool          `json:"was_kept"`
		}{c.Server, was})
	case was:
		p.print("The token that you left with %s is revoked and forgotten. You are still logged in here.\n", c.Server)
	default:
		p.print("%s kept no token of yours. You are still logged in here.\n", c.Server)
	}
	return nil
}

func (p *program) whoami() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Say who you are to the server", Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client("")
			if err != nil {
				return err
			}
			person, err := c.Whoami(cmd.Context())
			if err != nil {
				return err
			}
			if person.ID <= 0 {
				return errors.New("the server does not say who you are")
			}
			l, _, err := c.Store.Login(c.Server)
			if err != nil {
				return err
			}
			if p.json() {
				p.printJSON(identityOf(person, c.Server, l.Kept))
				return nil
			}
			p.print("@%s (GitHub id %d) at %s\nThe tokens are in %s.\n", plain(person.GitHub), person.ID, c.Server, l.Kept)
			return nil
		},
	}
}

// link links a Slack account with one's own. The code alone does not say
// whose account it was shown to, and a code that somebody else sent is how they
// would make their Slack account act in one's name: so both accounts are shown
// first, and the answer is no unless it is yes.
func (p *program) link() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "link CODE [--yes]", Short: "Link your Slack account, with the code that `/tac link` shows there", Args: takes("CODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.client("")
			if err != nil {
				return err
			}
			a, err := c.Link(cmd.Context(), args[0], false)
			if err != nil {
				return err
			}
			if !a.Linked {
				if err := p.confirmLink(a, yes); err != nil {
					return err
				}
				if a, err = c.Link(cmd.Context(), args[0], true); err != nil {
					return err
				}
			}
			switch {
			case p.json():
				p.printJSON(a)
			case a.Linked:
				p.print("Slack account %s is linked with @%s already.\n", plain(a.User), plain(a.GitHub))
			default:
				p.print("Whoever reviews policies/ is asked to add `%s` to @%s: %s\nOnce that is merged, /tac works for you.\n", plain(a.Line), plain(a.GitHub), plain(a.Issue))
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask; for a code that you got yourself a moment ago")
	return c
}

func (p *program) confirmLink(a client.LinkAnswer, yes bool) error {
	fmt.Fprintf(p.stderr, "This asks to link\n  Slack account  %s of workspace %s\n  GitHub account @%s (id %d)\n"+
		"so that whoever uses that Slack account acts as this person.\n", plain(a.User), plain(a.Team), plain(a.GitHub), a.ID)
	if yes {
		return nil
	}
	fmt.Fprint(p.stderr, "Did you type `/tac link` in that account yourself? [y/N] ")
	line, err := bufio.NewReader(io.LimitReader(p.stdin, 1<<10)).ReadString('\n')
	if err != nil && line == "" {
		fmt.Fprintln(p.stderr)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return &endError{exit: exitFailed, code: "not_confirmed", message: "nothing was linked"}
}
