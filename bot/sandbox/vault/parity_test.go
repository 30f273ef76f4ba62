package vault_test

import (
	"testing"

	"github.com/tigeraccess/tac/bot/sandbox/vault/vaultclaims"
)

// TestTheSandboxAnswersAsTheRealVaultDid holds the sandbox against what Vault
// 1.21.0 answered when bot/realtest/vaultparity recorded it.
func TestTheSandboxAnswersAsTheRealVaultDid(t *testing.T) { vaultclaims.Run(t, vaultclaims.Sandbox) }
