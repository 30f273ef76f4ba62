package grants

import "time"

// Request is what tac remembers of a wish before it is consented: kept in
// Vault's key-value store and written with compare-and-swap. It carries what
// has been said about the wish, so that no replica says anything twice.
type Request struct {
	Version int // of the stored value, for compare-and-swap; 0: not stored yet

	Grant Grant
	Key   string // full intent key in hexadecimal; empty for a hand-written grant
	Pull  int    // number of the pull request; 0: none yet
	Shown string // what the check run says: digest of head and verdict
	Body  string // what the body says: its digest
	Check int64  // id of the check run
	Head  string // the head that the check run is on
	// Unasked are approvers whom chat would not let us tell yet, by their
	// user ids there.
	Unasked []string
	Closed  Outcome
	By      string // who took it back; only a person sets this
	Why     string // why it was closed, in a sentence
	Chat    Chat
}

// Chat is where a grant's message stands, so that it can be edited in place.
type Chat struct {
	Channel string // where it was asked for; empty: nowhere
	Message string // the message's timestamp; empty: not posted
	Posting bool   // somebody is about to post: look for it before posting again
	Said    string // digest of what the message says now
}

// State is where a record stands. The words are those stored in Vault.
type State string

// The states of a record, in the order of an uneventful life.
const (
	Approved  State = "APPROVED"  // the gate said yes; nothing was issued
	Reserved  State = "RESERVED"  // a token was minted and is recorded; a credential may exist
	Issued    State = "ISSUED"    // a credential exists; its holder may not have it yet
	Delivered State = "DELIVERED" // its holder has it
	Revoking  State = "REVOKING"  // being ended; a credential may still live
	Retired   State = "RETIRED"   // this generation is proved dead, the grant goes on
	Revoked   State = "REVOKED"   // proved dead, for ever
	Failed    State = "FAILED"    // five issues failed; nothing lives
)

// Outcome says how a grant ended. The zero value: it has not.
type Outcome string

// How grants end. The first four end a grant that was merged (trailer
// Tac-Ended); the others end a request.
const (
	OutcomeExpired   Outcome = "expired"
	OutcomeDropped   Outcome = "dropped"
	OutcomeRevoked   Outcome = "revoked"
	OutcomeRefused   Outcome = "refused"
	OutcomeDenied    Outcome = "denied"
	OutcomeLapsed    Outcome = "lapsed"
	OutcomeWithdrawn Outcome = "withdrawn"
)

// The engines of Vault that a target may be of. Those of ssh and pki sign
// certificates, which have no lease and so come in slices. A generic one is
// any path whose read answers with a lease.
const (
	EngineDatabase = "database"
	EngineSSH      = "ssh"
	EnginePKI      = "pki"
	EngineGeneric  = "generic"
)

// Target is what Vault needs in order to open a resource. It is copied into
// the record at the consent, so that ending a grant never depends on what
// policy says later.
type Target struct {
	Engine     string        // one of the Engine constants
	Path       string        // mount, verb and role, as in database/creds/postgres-prod
	Policy     string        // the Vault policy that may use the path and nothing else
	Principals []string      // ssh: the users that the certificate names; pki: its names, the common name first
	Slice      time.Duration // longest life of one certificate; 0: the engine gives leases
}

// Approver is one counted approval.
type Approver struct {
	Principal
	Review int64
	Commit string
}

// Record is what tac remembers of a grant from the gate's decision on: kept
// in Vault and written with compare-and-swap only. Nothing in it is secret.
type Record struct {
	Version int // of the stored value, for compare-and-swap; 0: not stored yet

	State State
	Grant Grant

	// What was consented to.
	Commit     string // the merge on the default branch
	Blob       string // of the grant file
	Pull       int
	Rule       string
	Approvers  []Approver
	Target     Target
	StartsAt   time.Time
	EndsAt     time.Time
	TokenUntil time.Time // the latest end that extensions could reach
	Started    bool      // a scheduled start was judged again and held

	// The present generation. At most one is alive at any time.
	Gen          int
	FailedIssues int
	Retiring     bool      // REVOKING ends this generation only, not the grant
	ReservedAt   time.Time // when the token was recorded
	Nonce        string    // who reserved: two replicas never share one
	Cluster      string    // Vault's cluster id at the issue
	Accessor     string    // of the token that owns the lease
	TokenExpires time.Time
	IssuedAt     time.Time
	LeaseID      string
	LeaseExpires time.Time
	LeaseCapped  bool // Vault will not renew further: it ends before the grant does
	WrapAccessor string
	WrapExpires  time.Time
	Sent         bool // the wrapped credential went out by direct message
	Username     string
	Holder       string    // hash of the claimant's own key
	NotAfter     time.Time // ssh, pki: no certificate of this grant is valid after it
	Warned       bool

	// How it ended.
	Outcome  Outcome
	EndedBy  string // a login, or tac
	EndedWhy string
	EndedAt  time.Time // when the end began; proof may come later
}

// EffectiveEnd returns when access really ends: the grant's end, or earlier
// where Vault caps the lease.
func (r *Record) EffectiveEnd() time.Time {
	if r.LeaseCapped && r.LeaseExpires.Before(r.EndsAt) {
		return r.LeaseExpires
	}
	return r.EndsAt
}
