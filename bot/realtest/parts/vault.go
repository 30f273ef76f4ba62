package parts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// VaultBinary returns the path of the Vault server, which bot/realtest/run
// builds from Vault's own source.
func VaultBinary() (string, error) {
	path := os.Getenv("TAC_VAULT")
	if path == "" {
		return "", errors.New("TAC_VAULT names no Vault server: run bot/realtest/run, which builds one")
	}
	return path, nil
}

// Vault is one Vault server with a storage of its own: Raft on disk, so that
// it survives being killed.
type Vault struct {
	*Process
	Address string
	Root    string // the root token

	dir    string
	name   string
	unseal string
}

// StartVault makes a new Vault, starts and unseals it.
func StartVault(ctx context.Context, dir string) (*Vault, error) {
	v, err := newVault(dir, "one")
	if err != nil {
		return nil, err
	}
	if err := v.Start(ctx); err != nil {
		return nil, err
	}
	if err := v.initialise(ctx); err != nil {
		return nil, err
	}
	return v, v.Unseal(ctx)
}

// ForeignVault is a server that somebody else started; it can be asked, and
// neither stopped nor started. The folder is for Vault's command line.
func ForeignVault(address, root, dir string) *Vault {
	return &Vault{Address: address, Root: root, dir: dir, name: "foreign"}
}

// StartVaults makes three servers with one Raft log, the first of them its
// leader for now.
func StartVaults(ctx context.Context, dir string) ([]*Vault, error) {
	var all []*Vault
	for _, name := range []string{"one", "two", "three"} {
		v, err := newVault(filepath.Join(dir, name), name)
		if err != nil {
			return all, err
		}
		if err := v.Start(ctx); err != nil {
			return all, err
		}
		all = append(all, v)
	}
	first := all[0]
	if err := first.initialise(ctx); err != nil {
		return all, err
	}
	if err := first.Unseal(ctx); err != nil {
		return all, err
	}
	for _, v := range all[1:] {
		v.Root, v.unseal = first.Root, first.unseal
		if err := v.join(ctx, first); err != nil {
			return all, err
		}
	}
	return all, nil
}

func newVault(dir, name string) (*Vault, error) {
	if err := os.MkdirAll(filepath.Join(dir, "raft"), 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of Vault: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cluster, err := freePort()
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`disable_mlock = true
api_addr      = "http://127.0.0.1:%[1]d"
cluster_addr  = "https://127.0.0.1:%[2]d"
listener "tcp" {
  address         = "127.0.0.1:%[1]d"
  cluster_address = "127.0.0.1:%[2]d"
  tls_disable     = true
}
storage "raft" {
  path    = %[3]q
  node_id = %[4]q
}
`, port, cluster, filepath.Join(dir, "raft"), name)
	if err := os.WriteFile(filepath.Join(dir, "vault.hcl"), []byte(config), 0o600); err != nil {
		return nil, fmt.Errorf("write the configuration of Vault: %w", err)
	}
	return &Vault{Address: fmt.Sprintf("http://127.0.0.1:%d", port), dir: dir, name: name}, nil
}

// Start starts a server that was stopped or killed. It is sealed.
func (v *Vault) Start(ctx context.Context) error {
	binary, err := VaultBinary()
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "server", "-config", filepath.Join(v.dir, "vault.hcl"), "-log-level=info")
	cmd.Dir = v.dir
	cmd.Env = append(os.Environ(), "HOME="+v.dir)
	if v.Process, err = start(cmd, filepath.Join(v.dir, "log")); err != nil {
		return err
	}
	return v.until(ctx, "start Vault", func() error {
		client, err := v.client()
		if err != nil {
			return err
		}
		_, err = client.Sys().SealStatusWithContext(ctx)
		return err
	})
}

func (v *Vault) client() (*api.Client, error) {
	c := api.DefaultConfig()
	c.Address, c.MaxRetries = v.Address, 0
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("make a Vault client: %w", err)
	}
	client.SetToken(v.Root)
	client.ClearNamespace()
	return client, nil
}

// Admin returns a client with the root token.
func (v *Vault) Admin() (*api.Client, error) { return v.client() }

func (v *Vault) initialise(ctx context.Context) error {
	client, err := v.client()
	if err != nil {
		return err
	}
	made, err := client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("initialise Vault: %w", err)
	}
	v.Root, v.unseal = made.RootToken, made.Keys[0]
	return nil
}

// Seal seals the server.
func (v *Vault) Seal(ctx context.Context) error {
	client, err := v.client()
	if err != nil {
		return err
	}
	return client.Sys().SealWithContext(ctx)
}

// Unseal unseals the server and waits until it, or another, leads.
func (v *Vault) Unseal(ctx context.Context) error {
	client, err := v.client()
	if err != nil {
		return err
	}
	if _, err := client.Sys().UnsealWithContext(ctx, v.unseal); err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	return v.until(ctx, "wait for Vault's leader", func() error { return v.leads(ctx, client) })
}

func (v *Vault) leads(ctx context.Context, client *api.Client) error {
	_, err := client.Auth().Token().LookupSelfWithContext(ctx)
	return err
}

func (v *Vault) join(ctx context.Context, leader *Vault) error {
	client, err := v.client()
	if err != nil {
		return err
	}
	if _, err := client.Sys().RaftJoinWithContext(ctx, &api.RaftJoinRequest{LeaderAPIAddr: leader.Address}); err != nil {
		return fmt.Errorf("join Vault's Raft: %w", err)
	}
	if _, err := client.Sys().UnsealWithContext(ctx, v.unseal); err != nil {
		return fmt.Errorf("unseal Vault: %w", err)
	}
	// A node that has only just joined does not vote yet, and three are
	// needed for one to be killed.
	return v.until(ctx, "join Vault's Raft", func() error {
		admin, err := leader.Admin()
		if err != nil {
			return err
		}
		state, err := admin.Sys().RaftAutopilotStateWithContext(ctx)
		switch {
		case err != nil:
			return err
		case state == nil || state.Servers[v.name] == nil:
			return errors.New("the leader does not know of it")
		case state.Servers[v.name].Status != "voter":
			return errors.New("it does not vote yet")
		}
		return v.leads(ctx, client)
	})
}

// Leader returns the one that leads, as the others see it.
func Leader(ctx context.Context, all []*Vault) (*Vault, error) {
	for _, v := range all {
		if !v.Alive() {
			continue
		}
		client, err := v.client()
		if err != nil {
			return nil, err
		}
		status, err := client.Sys().LeaderWithContext(ctx)
		if err == nil && status.IsSelf {
			return v, nil
		}
	}
	return nil, errors.New("no Vault server leads")
}

// CLI runs Vault's own command line as root and returns what it printed.
func (v *Vault) CLI(ctx context.Context, args ...string) (string, error) {
	cmd, err := v.Command(ctx, args...)
	if err != nil {
		return "", err
	}
	return run(cmd)
}

// Command is Vault's own command line, as root.
func (v *Vault) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	binary, err := VaultBinary()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "HOME="+v.dir, "VAULT_ADDR="+v.Address, "VAULT_TOKEN="+v.Root)
	return cmd, nil
}

// Leases returns every lease below a path, such as database/creds.
func (v *Vault) Leases(ctx context.Context, prefix string) ([]string, error) {
	client, err := v.client()
	if err != nil {
		return nil, err
	}
	secret, err := client.Logical().ListWithContext(ctx, "sys/leases/lookup/"+prefix)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	if secret == nil {
		return nil, nil
	}
	var all []string
	keys, _ := secret.Data["keys"].([]any)
	for _, k := range keys {
		key := fmt.Sprint(k)
		if !strings.HasSuffix(key, "/") {
			all = append(all, prefix+"/"+key)
			continue
		}
		below, err := v.Leases(ctx, prefix+"/"+strings.TrimSuffix(key, "/"))
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return all, nil
}

// LeaseEnd returns when a lease ends, as Vault itself has it.
func (v *Vault) LeaseEnd(ctx context.Context, lease string) (time.Time, error) {
	client, err := v.client()
	if err != nil {
		return time.Time{}, err
	}
	found, err := client.Sys().LookupWithContext(ctx, lease)
	if err != nil {
		return time.Time{}, fmt.Errorf("look up the lease %s: %w", lease, err)
	}
	text, _ := found.Data["expire_time"].(string)
	end, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the end of the lease %s: %w", lease, err)
	}
	return end, nil
}

// Record returns what a KV v2 mount holds at a path, nil where nothing.
func (v *Vault) Record(ctx context.Context, mount, path string) (map[string]any, error) {
	client, err := v.client()
	if err != nil {
		return nil, err
	}
	secret, err := client.Logical().ReadWithContext(ctx, mount+"/data/"+path)
	if err != nil || secret == nil {
		return nil, err
	}
	data, _ := secret.Data["data"].(map[string]any)
	return data, nil
}

// Write writes as root; a value that is not a map is JSON.
func (v *Vault) Write(ctx context.Context, path string, data any) error {
	client, err := v.client()
	if err != nil {
		return err
	}
	body, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := client.Logical().WriteBytesWithContext(ctx, path, body); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
