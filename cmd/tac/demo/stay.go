package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants/world"
)

// stay keeps everything up until the context ends, with alice signed in so
// that one can be her.
func (d *telling) stay(o Options) error {
	dir := o.Dir
	if dir == "" {
		temporary, err := os.MkdirTemp("", "tac-demo-")
		if err != nil {
			return fmt.Errorf("make a folder for trying further: %w", err)
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	alice := filepath.Join(dir, "alice")
	if err := d.signIn("alice", alice); err != nil {
		return err
	}
	tac := "TAC_CONFIG_DIR=" + alice + " " + command()
	d.printf(`
Everything stays up until you press Ctrl-C. Be alice, in another terminal:

  %[1]s access request postgres-prod --duration 1h --reason "try it out" --wait
  %[1]s access exec ID            # the id that the first one printed: opens psql
  git clone %[2]s && git -C access log

Anybody else signs in with: %[3]s login --server %[4]s
`, tac, d.world.GitHub.CloneURL(Repository), command(), d.one.URL())
	<-d.ctx.Done()
	return nil
}

// command is how this very program was started.
func command() string {
	if path, err := os.Executable(); err == nil && strings.Contains(path, "go-build") {
		return "go run ./cmd/tac"
	}
	return "tac"
}

func (d *telling) signIn(login, dir string) error {
	server, err := client.ParseServer(d.one.URL())
	if err != nil {
		return err
	}
	token, err := d.world.GitHub.UserToken(login, d.world.App)
	if err != nil {
		return fmt.Errorf("sign %s in: %w", login, err)
	}
	store := client.Store{Dir: dir}
	if err := store.Save(client.Login{
		Server: server, ClientID: d.world.App.ClientID, GitHubURL: d.world.GitHub.URL(),
		Person: client.Person{GitHub: login, ID: people[login]}, Access: world.NewSecret(token),
	}); err != nil {
		return err
	}
	return store.Remember(server)
}
