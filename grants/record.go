package grants

import (
	"slices"
	"time"
)

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
	// Asked is whom we asked for a review so far, each once, in that order.
	Asked []Asked
	// Narrowing is what an approver cut the request down to, until the
	// branch says so too; nil: nothing waits.
	Narrowing *Narrowing
	Denial    *Denial // why somebody said no, in their words; nil: nobody told us
	Closed    Outcome
	By        string // who took it back; only a person sets this
	Why       string // why it was closed, in a sentence
	Chat      Chat
}

// Asked is one person who was asked for a review.
type Asked struct {
	ID       int64 // GitHub's number
	At       time.Time
	Answered bool // told that somebody else has answered meanwhile
}

// Narrowing is a shorter duration that an approver consents to.
type Narrowing struct {
	Duration time.Duration
	By       Principal
	Head     string // the head that the approver was shown
}

// Denial is what somebody said who denied a request. Whether the denial stands
// is the forge's to say.
type Denial struct {
	By  Principal
	Why string
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
	// Extensions is what moved EndsAt on, in that order: other grants, each
	// with a file and a record of its own.
	Extensions []Extension
	// Carried says that this is such an extension: what it gives is the
	// longer life of the other grant's credential, and it has none itself.
	Carried   bool
	Aftermath Aftermath // of a break-glass grant

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

// Extension is a grant that moved the end of another one on, and by how much.
type Extension struct {
	ID ID
	By time.Duration
}

// Aftermath is what follows a break-glass grant: somebody else has to look at
// it. Until then, once it is due, its requester breaks no other glass.
type Aftermath struct {
	Due     time.Time // zero: nothing follows
	Issue   int       // number of the issue; 0: not opened yet
	Alarmed bool      // every channel was told
	By      string    // who reviewed it; empty: nobody yet
	At      time.Time
}

// Carries reports whether the record's end was moved on by an extension.
func (r *Record) Carries(id ID) bool {
	return slices.ContainsFunc(r.Extensions, func(e Extension) bool { return e.ID == id })
}

// Ending reports whether the grant is over, or is being ended.
func (r *Record) Ending() bool {
	return r.State == Revoked || r.State == Revoking && !r.Retiring || r.State == Failed
}

// tooLong reports whether a credential would outlive the grant: an extension
// was taken back after Vault had been told of it.
func (r *Record) tooLong() bool {
	alive := r.State == Issued || r.State == Delivered
	return alive && r.Target.Slice == 0 && r.LeaseExpires.Sub(r.EndsAt) > time.Minute
}

// Extend moves the record's end on.
func (r *Record) Extend(id ID, by time.Duration) {
	if r.Carries(id) || by <= 0 {
		return
	}
	r.Extensions = append(slices.Clone(r.Extensions), Extension{id, by})
	// What Vault would not give before it may give now.
	r.EndsAt, r.LeaseCapped, r.Warned = r.EndsAt.Add(by), false, false
	r.TokenUntil = later(r.TokenUntil, r.EndsAt)
}

// Shorten takes an extension out again: the others stay as long as they are.
func (r *Record) Shorten(id ID) {
	i := slices.IndexFunc(r.Extensions, func(e Extension) bool { return e.ID == id })
	if i < 0 {
		return
	}
	if alive := r.State == Issued || r.State == Delivered; alive && r.Target.Slice == 0 {
		// Vault may have been told of the later end and we not have heard of
		// it: until it is asked the lease counts as that long.
		r.LeaseExpires = later(r.LeaseExpires, r.EndsAt)
	}
	r.EndsAt = r.EndsAt.Add(-r.Extensions[i].By)
	r.Extensions = slices.Delete(slices.Clone(r.Extensions), i, i+1)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Pending reports whether a review is owed.
func (a Aftermath) Pending() bool { return !a.Due.IsZero() && a.By == "" }

// Overdue reports whether a review is owed and late.
func (a Aftermath) Overdue(now time.Time) bool { return a.Pending() && !now.Before(a.Due) }

// EffectiveEnd returns when access really ends: the grant's end, or earlier
// where Vault caps the lease.
func (r *Record) EffectiveEnd() time.Time {
	if r.LeaseCapped && r.LeaseExpires.Before(r.EndsAt) {
		return r.LeaseExpires
	}
	return r.EndsAt
}
