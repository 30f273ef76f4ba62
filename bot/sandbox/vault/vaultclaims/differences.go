package vaultclaims

// Differences are the places where the sandbox is known not to answer as the
// real Vault does, and may stay so, each with the reason. Scripts name them at
// the very values they concern; nothing else may differ.
var Differences = map[string]string{
	"when-given-up": "the pauses between Vault's six attempts are random by half, and the sandbox's are not",
	"policy-syntax": "a policy that cannot be parsed is refused in other words: the real ones come from HCL's own parser",
}
