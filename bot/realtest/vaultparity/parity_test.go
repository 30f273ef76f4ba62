// Package vaultparity tries the claims of bot/sandbox/vault/vaultclaims on the
// real Vault, and on the sandbox at the same time, and lets no difference
// pass that is not on the list there.
//
// With -update it records the real Vault's answers in the scripts, which the
// sandbox is then held against everywhere, without a real one.
package vaultparity

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/bot/sandbox/vault/vaultclaims"
)

var (
	update  = flag.Bool("update", false, "record the real Vault's answers in the scripts")
	patient = flag.Bool("patient", false, "try the claims that take ten minutes too")

	firstSeed = flag.Uint64("seed", 1, "the first of the calls by chance")
	seeds     = flag.Uint64("seeds", 25, "how many")
)

var compared, differences, checks, oneSided atomic.Int64

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Printf("tally: vault-comparisons %d\n", compared.Load())
	fmt.Printf("tally: vault-checks %d\n", checks.Load())
	fmt.Printf("tally: vault-one-sided %d\n", oneSided.Load())
	fmt.Printf("tally: vault-differences %d\n", differences.Load())
	os.Exit(code)
}

const scriptsDir = "../../sandbox/vault/vaultclaims/scripts"

func TestTheRealVaultAndTheSandboxAnswerAlike(t *testing.T) {
	scripts, err := vaultclaims.Scripts()
	must(t, err)
	db := startPostgres(t)
	for _, s := range scripts {
		t.Run(s.Name, func(t *testing.T) {
			real := vaultclaims.Play(t, realVault(db)(t, s.Kind), s)
			sandbox := vaultclaims.Play(t, vaultclaims.Sandbox(t, s.Kind), s)
			checks.Add(int64(real.Checks + sandbox.Checks))
			if *update {
				must(t, os.WriteFile(filepath.Join(scriptsDir, s.Name+".txt"), []byte(s.Format(real, sandbox)), 0o644))
			} else {
				count(t, vaultclaims.Compare(s.Recorded(), real, false))
			}
			count(t, vaultclaims.Compare(real, sandbox, true))
		})
	}
}

// TestCallsByChanceAreAnsweredAlike looks for differences where nobody has
// thought of looking.
func TestCallsByChanceAreAnsweredAlike(t *testing.T) {
	db := startPostgres(t)
	for seed := *firstSeed; seed < *firstSeed+*seeds; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			s, err := vaultclaims.Random(seed, 150)
			must(t, err)
			real := vaultclaims.Play(t, realVault(db)(t, s.Kind), s)
			sandbox := vaultclaims.Play(t, vaultclaims.Sandbox(t, s.Kind), s)
			count(t, vaultclaims.Compare(real, sandbox, true))
			if t.Failed() {
				t.Logf("as it was played on the real Vault:\n%s", s.Format(real, real))
			}
		})
	}
}

func count(t *testing.T, c vaultclaims.Comparison) {
	t.Helper()
	compared.Add(int64(c.Compared))
	differences.Add(int64(len(c.Differences)))
	oneSided.Add(int64(c.OneSided))
	c.Report(t)
}

// TestARecordsMountThatIsBeingConvertedSaysSo sees the answer that waits in
// tac's set-up are made for. A new mount of this version of Vault is ready at
// once; the sandbox, which has no version 1 of kv, gives the answer only where
// it is told to (SlowMounts).
func TestARecordsMountThatIsBeingConvertedSaysSo(t *testing.T) {
	v, err := parts.StartVault(t.Context(), t.TempDir()) // on disk: in memory it is over too soon
	if v != nil {
		t.Cleanup(v.Kill)
	}
	must(t, err)
	do := func(path, body string) (int, string) { return call(t, v.Address+"/v1/"+path, v.Root, body) }
	done := func(path, body string) {
		t.Helper()
		if status, text := do(path, body); status != http.StatusNoContent && status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, text)
		}
	}
	for i := range 20 {
		path := fmt.Sprintf("new%d", i)
		done("sys/mounts/"+path, `{"type":"kv","options":{"version":"2"}}`)
		done(path+"/config", `{"cas_required":true}`)
		compared.Add(1)
	}
	done("sys/mounts/old", `{"type":"kv","options":{"version":"1"}}`)
	for i := range 500 {
		done(fmt.Sprintf("old/%d", i), `{"a":"b"}`)
	}
	done("sys/mounts/old/tune", `{"options":{"version":"2"}}`)
	const want = `{"errors":["Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly."]}`
	refused := 0
	for begin := time.Now(); time.Since(begin) < startWithin; refused++ {
		status, text := do("old/config", `{"cas_required":true}`)
		if status == http.StatusNoContent {
			break
		}
		if status != http.StatusBadRequest || text != want {
			differences.Add(1)
			t.Fatalf("got %d %s, want 400 %s", status, text, want)
		}
	}
	if refused == 0 {
		t.Fatal("it was ready at once")
	}
	compared.Add(1)
}

func call(t *testing.T, url, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	must(t, err)
	req.Header.Set("X-Vault-Token", token)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer func() { _ = resp.Body.Close() }() // read below
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, strings.TrimSpace(string(text))
}
