// Package ownvault plays `tac demo --vault` against a real Vault.
package ownvault

import (
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/bot/realtest/parts"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants/world"
)

var checks int

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Printf("tally: demo-checks %d\n", checks)
	os.Exit(code)
}

var sum = regexp.MustCompile(`\ndemo: ([0-9]+) checks passed, 0 failed\n$`)

func TestDemoHoldsInARealVaultAndLeavesItAsItWas(t *testing.T) {
	v, err := parts.StartVault(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Kill)
	admin, err := v.Admin()
	if err != nil {
		t.Fatal(err)
	}
	// What somebody has there already, under the names that tac has elsewhere.
	for path, data := range map[string]map[string]any{
		"sys/mounts/tac":             {"type": "kv", "options": map[string]any{"version": "2"}},
		"sys/mounts/database":        {"type": "database"},
		"sys/auth/approle":           {"type": "approle"},
		"sys/policies/acl/tac-other": {"policy": `path "tac/*" { capabilities = ["read"] }`},
		"sys/policies/acl/bot-tac":   {"policy": `path "tac/*" { capabilities = ["read"] }`},
		"auth/token/roles/tac":       {"orphan": true},
	} {
		if err := v.Write(t.Context(), path, data); err != nil {
			t.Fatal(err)
		}
	}
	before := inventory(t, admin)
	var out strings.Builder
	err = demo.Run(t.Context(), demo.Options{Once: true, Out: &out, Vault: &demo.OwnVault{Address: v.Address, Token: world.NewSecret(v.Root), From: "the test"}})
	t.Log(out.String())
	if err != nil {
		t.Fatal(err)
	}
	if after := inventory(t, admin); !maps.Equal(before, after) {
		t.Errorf("the Vault was\n%v\nand is\n%v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
	}
	match := sum.FindStringSubmatch(out.String())
	if match == nil {
		t.Fatal("the last line is not the sum")
	}
	if checks, err = strconv.Atoi(match[1]); err != nil {
		t.Fatal(err)
	}
}

// inventory is everything in a Vault that the demo could add to.
func inventory(t *testing.T, admin *api.Client) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, path := range []string{"sys/mounts", "sys/auth"} {
		table, err := admin.Logical().ReadWithContext(context.Background(), path)
		if err != nil || table == nil {
			t.Fatalf("read %s: %v", path, err)
		}
		for name := range table.Data {
			all[path+" "+name] = true
		}
	}
	for _, path := range []string{"sys/policies/acl", "auth/token/roles", "auth/token/accessors", "identity/entity/id", "identity/entity-alias/id", "sys/leases/lookup/"} {
		list, err := admin.Logical().ListWithContext(context.Background(), path)
		if err != nil {
			t.Fatalf("list %s: %v", path, err)
		}
		if list == nil {
			continue
		}
		keys, _ := list.Data["keys"].([]any)
		for _, key := range keys {
			all[fmt.Sprint(path, " ", key)] = true
		}
	}
	return all
}
