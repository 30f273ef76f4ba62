// Package vaultclaims says what Vault does, in a form that both the real Vault
// 1.21.0 and the sandbox's are held to.
//
// A claim is a passage of a script in scripts/: calls in order, each followed
// by the answer that the real Vault gave, with its status, its exact error
// texts and warnings, and every key of its JSON. What differs from one server
// to the next (tokens, times, ids) is replaced by a word for it, and what an
// earlier answer gave by the name that it was kept under, so that "the
// accessor" means that accessor. Commands between the calls let time pass, stop
// the database or make it wait, and look at what became of its users.
//
//	scripts are played by Play, on a Ground, which is a server and what a test
//	may do to it from outside; two plays are held against each other by Compare.
//
//	bot/sandbox/vault                 plays them on the sandbox, and compares
//	                                  with the recorded answers: an ordinary test
//	bot/realtest/vaultparity          plays them on the real Vault and the
//	                                  sandbox, and compares all three ways
//	bot/realtest/vaultparity -update  records the real Vault's answers anew
//
// Besides, Random writes scripts by chance, for the real Vault and the sandbox
// side by side.
//
// Where the two differ the sandbox is wrong. The exceptions are the list
// Differences, which scripts refer to at the very values concerned. Apart from
// them, the sandbox does not have at all:
//
//   - namespaces, identity, audit devices, quotas, batch tokens, entities that
//     can be asked for, leases of tokens in sys/leases/lookup, other
//     engines and auth methods than its package comment names, and version 1
//     of kv;
//   - TTLs on mounts, templated policies, and parameters in policies, which it
//     refuses to be given, so that nothing seems to be enforced that is not;
//   - PATCH with a body that is one, which it answers with 405;
//   - statements that are run as they are written: users are made and dropped
//     by the database behind it, whatever a role's statements say.
//
// A claim that one ground alone can show says so, with the reason, and is
// counted by Comparison.OneSided. One takes ten minutes (Vault giving a lease
// up); it is played on the real Vault with -patient, and was when it was
// recorded.
package vaultclaims
