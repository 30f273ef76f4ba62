package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

// store returns the folder of what is kept between two runs.
func (p *program) store() (client.Store, error) {
	if dir := p.lookup("TAC_CONFIG_DIR"); dir != "" {
		absolute, err := filepath.Abs(dir)
		return client.Store{Dir: absolute}, err
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return client.Store{}, fmt.Errorf("find a place for the login (TAC_CONFIG_DIR would name one): %w", err)
	}
	return client.Store{Dir: filepath.Join(dir, "tac")}, nil
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
	c := &cobra.Command{
		Use: "login [--server URL]", Short: "Sign in by GitHub", Args: takes(),
		Long: "Sign in by GitHub, with a code that you enter in a browser. tac keeps the token in\n" +
			"a file that only you can read, and sends it to this one server only.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := p.client(server)
			if err != nil {
				return err
			}
			l, err := c.Login(cmd.Context(), func(w client.Prompt) {
				fmt.Fprintf(p.stderr, "Open %s and enter the code %s\n(it is valid until %s)\n", plain(w.URL), plain(w.Code), stamp(w.Until))
			})
			if err != nil {
				return err
			}
			if server != "" {
				if err := c.Store.Remember(c.Server); err != nil {
					return err
				}
			}
			if p.json() {
				p.printJSON(identity{l.Person, c.Server})
				return nil
			}
			p.print("Logged in to %s as @%s.\n", c.Server, plain(l.Person.GitHub))
			return nil
		},
	}
	c.Flags().StringVar(&server, "server", "", "address of the tac server; it is remembered")
	return c
}

// identity is who one is where.
type identity struct {
	client.Person
	Server client.Server `json:"server"`
}

func (p *program) logout() *cobra.Command {
	return &cobra.Command{
		Use: "logout", Short: "Delete the tokens and credentials kept here", Args: takes(),
		RunE: func(*cobra.Command, []string) error {
			c, err := p.client("")
			if err != nil {
				return err
			}
			// Where the tokens can be revoked; without it logout still works.
			login, _, _ := c.Store.Login(c.Server)
			was, err := c.Store.Forget(c.Server)
			if err != nil {
				return err
			}
			if p.json() {
				p.printJSON(struct {
					Server client.Server `json:"server"`
					Was    bool          `json:"was_logged_in"`
				}{c.Server, was})
				return nil
			}
			if !was {
				p.print("You were not logged in to %s; nothing is kept for it here.\n", c.Server)
				return nil
			}
			p.print("The tokens and credentials for %s are deleted from this machine.\n", c.Server)
			if login.GitHubURL != "" {
				p.print("GitHub still knows the tokens until they expire; to revoke them now: %s/settings/apps/authorizations\n", login.GitHubURL)
			}
			return nil
		},
	}
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
			if p.json() {
				p.printJSON(identity{person, c.Server})
				return nil
			}
			p.print("@%s (GitHub id %d) at %s\n", plain(person.GitHub), person.ID, c.Server)
			return nil
		},
	}
}
