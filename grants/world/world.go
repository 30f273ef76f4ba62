// Package world names what tac sees of the world outside and does to it: the
// values that cross between the bot and its adapters. It has no behaviour and
// no rules. It stands below both, so that adapters need not know the bot.
package world

import (
	"errors"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// ErrLost says that a compare-and-swap found something newer: look again.
var ErrLost = errors.New("somebody else was first; look again")

// ErrAmbiguous says that a write may or may not have happened: look again,
// and never repeat it blindly.
var ErrAmbiguous = errors.New("the outcome of the write is not known; look again")

// ErrRewritten says that the default branch no longer contains what it did.
var ErrRewritten = errors.New("the default branch was rewritten")

// Entry is one file of a tree.
type Entry struct {
	Blob string
	Mode uint32 // git's mode; only 0100644 is a plain file
	Size int64  // -1: not known
}

// PlainFile is git's mode of a regular file that cannot be executed.
const PlainFile = 0o100644

// Commit is one commit of the default branch and what it changed against its
// first parent.
type Commit struct {
	Hash    string
	Parents []string
	Time    time.Time // committer time
	Author  string    // name as written: for people, never for decisions
	Message string
	Changes []Change
}

// Parent returns the first parent, empty for a root.
func (c Commit) Parent() string {
	if len(c.Parents) == 0 {
		return ""
	}
	return c.Parents[0]
}

// Change is one path that differs. A nil side means that it has none.
type Change struct {
	Path     string
	Old, New *Entry
}

// Proposal is what a pull request would bring.
type Proposal struct {
	Head    string
	Base    string   // where it branched off the default branch
	Commits []string // not on the default branch, oldest first
	Changes []Change
}

// NewBranch is a branch to be made for one grant.
type NewBranch struct {
	Name    string // grant/<id>
	Base    string // commit
	Path    string
	Content []byte
	Message string
	At      time.Time // author and committer time: the same wish makes the same commit
}

// Pull is a pull request as the forge describes it.
type Pull struct {
	Number    int
	Title     string
	Head      string // commit
	Branch    string // of the head
	Base      string // name of the base branch
	SameRepo  bool   // the head is in the grants repository itself, not in a fork
	Author    grants.Principal
	AuthorBot bool
	Draft     bool
	Open      bool
	Merged    bool
	MergedBy  int64
	MergedAt  time.Time
	Commit    string // merge commit, once merged
	CreatedAt time.Time
	URL       string
}

// NewPull is a pull request to open.
type NewPull struct{ Branch, Title, Body string }

// Check is what the check run tac/policy says about one head.
type Check struct {
	Head       string
	Conclusion string // success, failure, or empty while waiting
	Title      string
	Summary    string // Markdown
}

// ErrStillAlive says that a credential could not be proved dead yet.
var ErrStillAlive = errors.New("not proved dead yet")

// HighWater is the newest commit of the default branch of which every grant
// has been dealt with.
type HighWater struct {
	Version int
	Commit  string
}

// IssueClaim is what the claimant brings.
type IssueClaim struct {
	Holder    string // hash of the claimant's own key
	PublicKey string // ssh: authorized_keys form
	CSR       string // pki: a PEM certificate request that names nothing
	Now       time.Time
}

// ClaimError says that what the claimant brought cannot be signed. Nothing was
// asked of Vault, and the message is for the claimant.
type ClaimError struct{ Message string }

func (e *ClaimError) Error() string { return e.Message }

// Credential is what a claimant gets. It is never written anywhere.
type Credential struct {
	Engine   string
	Username string
	Password Secret
	// Fields are further values: what a generic engine answered with; or, of
	// pki, issuing_ca and ca_chain, in PEM and not secret.
	Fields map[string]Secret
	// SignedKey is the certificate for the claimant's key: ssh's own form, or
	// PEM of pki. It is public, but of use only with the private key.
	SignedKey string
	// Wrapped is the single-use token that holds the same; it dies after
	// WrappedUntil.
	Wrapped      Secret
	WrappedUntil time.Time
	Until        time.Time // when the credential itself ends
}

// Notice is what people are told in chat. All texts are plain; the adapter
// escapes them.
type Notice struct {
	Title  string
	Lines  []string
	Facts  []Fact // short pairs
	Link   string // of the pull request
	Secret Secret // only ever in a direct message
	// SecretHint says what to do with it.
	SecretHint string
	Buttons    []Button
}

// Fact is a short pair of a name and a value.
type Fact struct{ Name, Value string }

// Button asks the bot for something. Pressing it proves nothing but who
// pressed it: what follows is judged anew.
type Button struct{ Action, Value, Label string }

// ErrNotFound says that the forge was asked and has no such thing (a team
// that was renamed or deleted). It is an answer, unlike every other error.
var ErrNotFound = errors.New("there is no such thing")

// ErrNotOurs says that GitHub does not take a person's token for what it was
// to do: it has ended, or is not of our App, or the person may not do that.
var ErrNotOurs = errors.New("GitHub does not take this token for that")
