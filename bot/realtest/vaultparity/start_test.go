package vaultparity

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/bot/sandbox/vault/vaultclaims"
)

// startWithin bounds, in wall time, how long a server takes to start.
const startWithin = 90 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// realVault starts a Vault of the kind, with a database where it is ready.
func realVault(db *postgres) vaultclaims.Start {
	return func(t *testing.T, kind vaultclaims.Kind) vaultclaims.Ground {
		t.Helper()
		switch kind {
		case vaultclaims.Uninitialised:
			return emptyVault(t)
		case vaultclaims.Standby:
			return standbyVault(t)
		}
		must(t, db.forgetUsers())
		return readyVault(t, db)
	}
}

// readyVault is a Vault on its own, in memory, set up as in production: dev
// mode would make a root token of another kind.
func readyVault(t *testing.T, db *postgres) vaultclaims.Ground {
	t.Helper()
	g := emptyVault(t)
	key, root := initialise(t, g.Address)
	g.RootToken, g.Database, g.Patient = root, db, *patient
	g.Unseal = func() error { return unseal(g.Address, key) }
	must(t, g.Unseal())
	waitForStatus(t, g.Address, http.StatusOK)
	return g
}

// emptyVault is a Vault that nobody has initialised.
func emptyVault(t *testing.T) vaultclaims.Ground {
	t.Helper()
	port := freePort(t)
	config := filepath.Join(t.TempDir(), "vault.hcl")
	must(t, os.WriteFile(config, fmt.Appendf(nil, `
storage "inmem" {}
listener "tcp" {
  address = "127.0.0.1:%s"
  tls_disable = true
}
disable_mlock = true
api_addr = "http://127.0.0.1:%s"
`, port, port), 0o600))
	serve(t, config)
	g := vaultclaims.Ground{Name: "real", Address: "http://127.0.0.1:" + port, Wait: time.Sleep}
	waitForStatus(t, g.Address, http.StatusNotImplemented)
	return g
}

// standbyVault is one of three nodes with a common Raft log, and not the active
// one.
func standbyVault(t *testing.T) vaultclaims.Ground {
	t.Helper()
	nodes, err := parts.StartVaults(t.Context(), t.TempDir())
	t.Cleanup(func() {
		for _, v := range nodes {
			v.Kill()
		}
	})
	must(t, err)
	leader, err := parts.Leader(t.Context(), nodes)
	must(t, err)
	other := nodes[slices.IndexFunc(nodes, func(v *parts.Vault) bool { return v != leader })]
	waitForStatus(t, other.Address, http.StatusTooManyRequests)
	return vaultclaims.Ground{Name: "real", Address: other.Address, RootToken: other.Root, Wait: time.Sleep}
}

func initialise(t *testing.T, address string) (key, root string) {
	t.Helper()
	var out struct {
		Keys []string `json:"keys"`
		Root string   `json:"root_token"`
	}
	must(t, post(address+"/v1/sys/init", `{"secret_shares":1,"secret_threshold":1}`, &out))
	if len(out.Keys) != 1 {
		t.Fatal("sys/init gave no key")
	}
	return out.Keys[0], out.Root
}

func unseal(address, key string) error {
	return post(address+"/v1/sys/unseal", fmt.Sprintf(`{"key":%q}`, key), nil)
}

func post(url, body string, into any) error {
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read below
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, text)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	return err
}

func healthStatus(address string) int {
	resp, err := http.Get(address + "/v1/sys/health")
	if err != nil {
		return 0
	}
	_ = resp.Body.Close() // its status is all that is wanted
	return resp.StatusCode
}

func waitForStatus(t *testing.T, address string, want ...int) {
	t.Helper()
	until(t, fmt.Sprintf("%s answers %v", address, want), func() bool {
		got := healthStatus(address)
		for _, w := range want {
			if got == w {
				return true
			}
		}
		return false
	})
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for begin := time.Now(); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > startWithin {
			t.Fatalf("it never happened: %s", what)
		}
	}
}

// serve runs Vault until the test ends.
func serve(t *testing.T, config string) {
	t.Helper()
	binary, err := parts.VaultBinary()
	must(t, err)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "server", "-config="+config)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone already
		_ = cmd.Wait()         // it was killed, and says so
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { must(t, l.Close()) }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}
