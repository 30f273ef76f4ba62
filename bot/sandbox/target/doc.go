// Package target holds the things one gets access to, in process: a
// PostgreSQL-protocol endpoint and an SSH server. Both listen on real sockets
// of the loopback interface, so psql, pgx, ssh and any other client can prove
// that a credential opens a session, and that it does not once it has ended.
//
// They keep to what the real servers do where it matters to access: a role
// whose VALID UNTIL is over cannot log in but keeps the sessions it has, a
// dropped role loses its sessions only because the drop ends them, and a
// certificate is judged at the login and never again. Time is the sandbox
// clock's.
package target
