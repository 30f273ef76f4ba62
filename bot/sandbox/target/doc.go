// Package target holds the things one gets access to, in process: a
// PostgreSQL-protocol endpoint and an SSH server. Both listen on real sockets
// of the loopback interface, so psql, pgx, ssh and any other client can prove
// that a credential opens a session, and that it does not once it has ended.
//
// The PostgreSQL endpoint's roles are made by its methods, or by statements
// of its administrator, which is how a real Vault drives it; it understands
// what Vault's plugin sends and says of everything else that it does not.
//
// They keep to what the real servers do where it matters to access: a role
// whose VALID UNTIL is over cannot log in but keeps the sessions it has, a
// dropped role loses its sessions only because whoever drops it ends them (the
// method does; of statements, pg_terminate_backend), and a
// certificate is judged at the login and never again. Time is the sandbox
// clock's.
package target
