package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// setupFlags are what `tac vault setup` was asked for.
type setupFlags struct {
	plan     vaultlease.Plan
	print    bool
	address  string
	longest  string
	cidrs    []string
	secretID string // where the secret id goes; "-": standard output
}

func (p *program) vaultSetup() *cobra.Command {
	var f setupFlags
	c := &cobra.Command{
		Use: "setup [DIR] [--print] [--secret-id-file FILE]", Short: "Set Vault up for the resources of a grants repository",
		Long: "Make in Vault what the bot needs and what the resources in DIR/policies/ name: policies, the\n" +
			"token role, the mounts, the bot's login, and each resource's engine and role where there is\n" +
			"nothing yet. It may be run again at any time, and changes nothing that is not tac's own.\n\n" +
			"It works as the administrator that VAULT_ADDR and VAULT_TOKEN say; with --print it talks to\n" +
			"nobody and prints a shell script that does the very same.",
		Args: takes("[DIR]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			if err := p.planFor(cmd, dir, &f); err != nil {
				return err
			}
			if f.print {
				return p.printSetup(f)
			}
			return p.applySetup(cmd, f)
		},
	}
	fl := c.Flags()
	fl.BoolVar(&f.print, "print", false, "print a shell script instead of doing it")
	fl.StringVar(&f.address, "address", "", "Vault's address, in place of VAULT_ADDR")
	fl.StringVar(&f.longest, "longest", "", "the longest grant that there will ever be; default 24h, or what the policies allow where that is more")
	fl.StringVar(&f.secretID, "secret-id-file", "", "where to put the bot's secret id, readable by you alone; - for standard output")
	fl.StringSliceVar(&f.cidrs, "bound-cidr", nil, "addresses that the bot calls from; may be repeated")
	fl.StringVar(&f.plan.Mount, "mount", vaultlease.DefaultMount, "path of the key-value engine for the bot's records")
	fl.StringVar(&f.plan.Transit, "transit", vaultlease.DefaultTransit, "path of the transit engine")
	fl.StringVar(&f.plan.TransitKey, "transit-key", vaultlease.DefaultTransitKey, "name of the attestation key")
	fl.StringVar(&f.plan.TokenRole, "token-role", vaultlease.DefaultTokenRole, "name of the token role, and of what else is the bot's alone: its login and its policies; another bot in this Vault needs another")
	fl.StringVar(&f.plan.AppRole, "approle", vaultlease.DefaultAppRole, "path of the AppRole method")
	return c
}

const leastLongest = 24 * time.Hour

// planFor reads the resources in DIR and completes the plan.
func (p *program) planFor(cmd *cobra.Command, dir string, f *setupFlags) error {
	r, err := readRepository(dir)
	if err != nil {
		return err
	}
	set, _, err := r.load()
	if err != nil {
		return err
	}
	if err := set.Err(); err != nil {
		return fmt.Errorf("the policies do not load; `tac policy lint` says more: %w", err)
	}
	longest := time.Duration(0)
	for _, w := range server.WantedOf(set) {
		f.plan.Targets = append(f.plan.Targets, w.Target)
		longest = max(longest, w.Longest)
	}
	f.plan.Engines, f.plan.BoundCIDRs = true, f.cidrs
	f.plan.LongestToken = max(longest, leastLongest)
	if f.longest == "" {
		return nil
	}
	asked, err := grants.ParseDuration(f.longest)
	switch {
	case err != nil:
		return wrongUsage(cmd, "--longest: %v", err)
	case asked < longest:
		return wrongUsage(cmd, "--longest %s is less than the %s that the policies allow", f.longest, grants.FormatDuration(longest))
	}
	f.plan.LongestToken = asked
	return nil
}

func (p *program) printSetup(f setupFlags) error {
	script, err := f.plan.Script()
	if err != nil {
		return err
	}
	if p.json() {
		p.printJSON(struct {
			Script string `json:"script"`
		}{script})
		return nil
	}
	p.print("%s", script)
	return nil
}

// setupAnswer is what `tac vault setup` did.
type setupAnswer struct {
	Done         []string `json:"done"`
	LeftAlone    []string `json:"left_alone"` // was there already, and may not be ours
	Todo         []string `json:"todo"`
	RoleID       string   `json:"role_id"`
	SecretID     string   `json:"secret_id,omitempty"` // only where it was asked for
	SecretIDFile string   `json:"secret_id_file,omitempty"`
}

func (p *program) applySetup(cmd *cobra.Command, f setupFlags) error {
	address, token := cmp.Or(f.address, p.lookup("VAULT_ADDR")), p.lookup("VAULT_TOKEN")
	if address == "" || token == "" {
		return wrongUsage(cmd, "set VAULT_ADDR and VAULT_TOKEN to those of an administrator, or use --print")
	}
	admin, err := vaultAdmin(address, token)
	if err != nil {
		return err
	}
	steps, err := f.plan.Steps()
	if err != nil {
		return err
	}
	done, err := vaultlease.Apply(cmd.Context(), admin, steps, p.lookup)
	answer := answerOf(done)
	if err == nil {
		err = p.identity(cmd.Context(), admin, f, &answer)
	}
	switch {
	case !p.json():
		p.printAnswer(answer)
	case err == nil:
		p.printJSON(answer)
	}
	return err
}

// vaultAdmin is an administrator's client. The library takes VAULT_CACERT,
// VAULT_NAMESPACE and the like from the environment, as the vault command does.
func vaultAdmin(address, token string) (*api.Client, error) {
	c := api.DefaultConfig()
	if c.Error != nil {
		return nil, fmt.Errorf("set up vault: %w", c.Error)
	}
	c.Address, c.MaxRetries = address, 0
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("set up vault: %w", err)
	}
	client.SetToken(token)
	return client, nil
}

func answerOf(done []vaultlease.Done) setupAnswer {
	a := setupAnswer{Done: []string{}, LeftAlone: []string{}, Todo: []string{}}
	for _, d := range done {
		switch {
		case d.Left != "":
			a.Todo = append(a.Todo, d.Left)
		case d.Step.Deed == vaultlease.OwnRecords, d.Step.Deed == vaultlease.OwnPolicy:
		case d.There && d.Step.Deed == vaultlease.Write:
			a.LeftAlone = append(a.LeftAlone, d.Step.Path)
		case d.There:
		default:
			a.Done = append(a.Done, deedText(d.Step))
		}
	}
	return a
}

func deedText(s vaultlease.Step) string {
	switch s.Deed {
	case vaultlease.EnableSecrets, vaultlease.EnableAuth:
		return "enabled " + s.Engine + " at " + s.Path
	case vaultlease.WritePolicy:
		return "wrote the policy " + s.Path
	}
	return "wrote " + s.Path
}

// identity makes a new secret id, where it was said where to put it. Each one
// is a way in until somebody destroys it.
func (p *program) identity(ctx context.Context, admin *api.Client, f setupFlags, a *setupAnswer) error {
	if f.secretID == "" {
		roleID, err := vaultlease.RoleID(ctx, admin, f.plan)
		a.RoleID = roleID
		a.Todo = append(a.Todo, "give the bot a secret id: run this again with --secret-id-file /etc/tac/secret-id")
		return err
	}
	newID := func() (world.Secret, error) {
		id, err := vaultlease.NewIdentity(ctx, admin, f.plan)
		a.RoleID = id.RoleID
		return id.SecretID, err
	}
	if f.secretID == "-" {
		secret, err := newID()
		a.SecretID = secret.Reveal()
		return err
	}
	if err := writeSecret(f.secretID, newID); err != nil {
		return err
	}
	a.SecretIDFile = f.secretID
	return nil
}

// writeSecret puts a secret into a file that nobody else may read, and that
// is either the old one or the new one, whole. The secret is made once there
// is a file to put it into, so that none is made and lost.
func writeSecret(path string, newID func() (world.Secret, error)) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("write the secret id: %s is a folder; name a file in it", path)
	}
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // readable by its owner alone
	if err != nil {
		return fmt.Errorf("write the secret id: %w", err)
	}
	defer func() { _ = os.Remove(next.Name()) }() // after the rename nothing is there
	secret, err := newID()
	if err == nil {
		_, err = next.WriteString(secret.Reveal() + "\n")
	}
	if err = errors.Join(err, next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the secret id: %w", err)
	}
	return nil
}

func (p *program) printAnswer(a setupAnswer) {
	for _, d := range a.Done {
		p.print("%s\n", plain(d))
	}
	for _, d := range a.LeftAlone {
		p.print("left %s as it is; `tac doctor` says whether it will do\n", plain(d))
	}
	if a.RoleID != "" {
		p.print("role_id: %s\n", plain(a.RoleID))
	}
	if a.SecretID != "" {
		p.print("secret_id: %s\n", plain(a.SecretID))
	}
	if a.SecretIDFile != "" {
		p.print("secret_id: in %s\n", plain(a.SecretIDFile))
	}
	if len(a.Todo) > 0 {
		p.print("left for you:\n  %s\n", plainLines(strings.Join(a.Todo, "\n  ")))
	}
}
