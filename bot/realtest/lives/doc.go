// Package lives plays whole lives of grants through real servers: Vault,
// PostgreSQL, OpenSSH and OpenLDAP as processes, tac itself as `tac serve` and
// the command line that people use. GitHub alone is the sandbox's, since there
// is no other that can run here.
//
//	main_test.go      the servers that all lives share
//	stage_test.go     the world of one life: a repository, replicas, people
//	database_test.go, ssh_test.go, pki_test.go, generic_test.go
//	                  one life for each kind of resource
//	extension_test.go one credential that lives longer than it was to, or
//	                  less long
//	glass_test.go     access that nobody consented to before
//	crash_test.go     a replica is killed at every call that it makes to Vault
//	outage_test.go    Vault or PostgreSQL is away when it is needed
//	raft_test.go      the leader of three Vault servers is killed
//
// The proof that nothing is left is never taken from tac's own records: users
// are looked for in pg_roles, leases in Vault as root, files in the
// repository.
package lives
