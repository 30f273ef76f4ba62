package vaultclaims

import (
	"testing"
	"time"
)

// Ground is a server on which claims are tried, with what a test may do to it
// from outside.
type Ground struct {
	Name      string // in messages
	Address   string // base URL, without a slash at its end
	RootToken string // empty where there is none yet

	// Patient grounds show the claims that take many minutes too.
	Patient bool
	// Wait lets this much time pass for the server.
	Wait func(d time.Duration)
	// Unseal undoes sys/seal.
	Unseal func() error
	// Database is the database that the scripts' roles are about.
	Database Database
}

// Start starts a server of a kind, for as long as the test runs.
type Start func(t *testing.T, kind Kind) Ground

// Database is a PostgreSQL, or what a sandbox has in its place.
type Database interface {
	// URL is the connection_url for its config, with {{username}} and
	// {{password}} to be filled in by Vault.
	URL() string
	// Users returns the logins that Vault has made, by name, each with its
	// VALID UNTIL; the zero time where it has none.
	Users() (map[string]time.Time, error)
	// Stop refuses connections from now on; Start takes them again.
	Stop() error
	Start() error
	// Hold makes every statement about users wait, until Release.
	Hold() error
	Release() error
	// Waiting returns how many statements wait because of Hold.
	Waiting() (int, error)
}

// What the scripts' database config says of its administrator.
const (
	AdminName     = "vaultadmin"
	AdminPassword = "of the test database only"
	// ReadersRole is what the credentials are members of.
	ReadersRole = "orders_ro"
)
