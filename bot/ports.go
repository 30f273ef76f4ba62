package bot

import (
	"context"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// The ports: what the reconciler needs of the world, in its own words. The
// adapters in the folders below implement them; none knows of another.
//
// Two rules hold for every method. An error means that nothing was learned:
// absence is reported as a value, never as an error. A write is idempotent or
// a compare-and-swap, and one that was lost to somebody else answers world.ErrLost.

// Repository is the grants repository as git shows it.
type Repository interface {
	// Fetch brings the default branch up to date and returns its tip.
	Fetch(ctx context.Context) (tip string, err error)
	// Tree returns what commit holds below dir ("grants", "policies"):
	// path to entry. A missing dir is an empty answer.
	Tree(ctx context.Context, commit, dir string) (map[string]world.Entry, error)
	// Blob returns the bytes of a blob that a Tree or Change named.
	Blob(ctx context.Context, hash string) ([]byte, error)
	// History returns the first-parent commits after from up to to, oldest
	// first. Where from is not on to's first-parent chain it returns
	// world.ErrRewritten. An empty from means everything.
	History(ctx context.Context, from, to string) ([]world.Commit, error)
	// Proposal returns what a pull request's head would change: its commits
	// that the default branch does not have, and its difference from where
	// they branched off. It fetches the head if need be.
	Proposal(ctx context.Context, pull int, head string) (world.Proposal, error)
	// Propose makes branch with one commit on top of base that adds one
	// file, and returns the branch's head. Where the branch exists already
	// its head is returned as it stands.
	Propose(ctx context.Context, p world.NewBranch) (head string, err error)
	// Amend adds to a grant's branch one commit that replaces its file, as a
	// compare-and-swap on the branch: world.ErrLost where that is elsewhere.
	// The same amendment makes the same commit, so repeating it is safe.
	Amend(ctx context.Context, a world.Amendment) (head string, err error)
	// Remove commits, on top of tip, one commit without the given paths and
	// pushes it as a compare-and-swap on the default branch: world.ErrLost where
	// that has moved on.
	Remove(ctx context.Context, tip string, paths []string, message string, at time.Time) (commit string, err error)
}

// Forge is GitHub beyond git: pull requests, reviews, checks, teams.
type Forge interface {
	// Bot returns the numeric user id under which our App acts.
	Bot(ctx context.Context) (int64, error)
	// OpenPulls returns all open pull requests to the default branch.
	OpenPulls(ctx context.Context) ([]world.Pull, error)
	// Pull returns one pull request.
	Pull(ctx context.Context, number int) (world.Pull, error)
	// Reviews returns all reviews of a pull request, oldest first.
	Reviews(ctx context.Context, number int) ([]policies.Review, error)
	// Committers returns the numeric ids of everybody who authored or
	// committed on the pull request; 0 stands for one GitHub does not know.
	Committers(ctx context.Context, number int) ([]int64, error)
	// Open opens a pull request, or returns the one that is open for the
	// branch already.
	Open(ctx context.Context, p world.NewPull) (world.Pull, error)
	// Describe replaces a pull request's body.
	Describe(ctx context.Context, number int, body string) error
	// Check says the verdict on a head: creates the check run, or updates
	// the one with the given id, and returns its id.
	Check(ctx context.Context, id int64, c world.Check) (int64, error)
	// Passed reports whether what GitHub has as our verdict on a head is
	// success: whoever merges goes by that, and not by what was said last.
	Passed(ctx context.Context, head string) (bool, error)
	// AskReview requests reviews. People whom GitHub will not ask (not a
	// collaborator) are left out silently: the body names them all.
	AskReview(ctx context.Context, number int, logins []string) error
	// Review submits a review as the person whose token it is, on exactly the
	// head that they were shown, and returns its id. world.ErrLost where the
	// pull request has another head by now; world.ErrNotOurs where GitHub does
	// not take the token, or does not let this person review.
	Review(ctx context.Context, token world.Secret, r world.NewReview) (id int64, err error)
	// Suggestions returns the changes of lines that reviewers proposed on the
	// pull request, oldest first.
	Suggestions(ctx context.Context, number int) ([]world.Suggestion, error)
	// OpenIssue opens an issue, or returns the one that our App opened with
	// the same key.
	OpenIssue(ctx context.Context, i world.NewIssue) (world.Issue, error)
	// Issue returns one issue.
	Issue(ctx context.Context, number int) (world.Issue, error)
	// Merge squashes exactly head. world.ErrLost where the head has moved or
	// GitHub will not merge now; world.ErrAmbiguous where the answer was lost.
	Merge(ctx context.Context, number int, head, subject, message string) (commit string, err error)
	// Close closes a pull request with a comment that says why.
	Close(ctx context.Context, number int, comment string) error
	// Team returns a team's members by number.
	Team(ctx context.Context, ref policies.TeamRef) (policies.Team, error)
	// Members returns the numbers of the organisation's members; ok is
	// false where the repository belongs to a person and not to an
	// organisation.
	Members(ctx context.Context) (members map[int64]bool, ok bool, err error)
	// Skew returns how far GitHub's clock was ahead of ours at its latest
	// answer; false before the first one.
	Skew() (ahead time.Duration, known bool)
}

// Pagers is whoever knows who is on call. A pager that does not answer is no
// error but a Duty that says so: see policies.Duty.Silent.
type Pagers interface {
	// OnCall returns who is, was or will be on call at a time.
	OnCall(ctx context.Context, s policies.Schedule, at time.Time) (policies.Duty, error)
}

// Tickets is whoever keeps tickets. A tracker that does not answer is no
// error but a Ticket that says so: see policies.Ticket.Silent.
type Tickets interface {
	Ticket(ctx context.Context, ref policies.TicketRef) (policies.Ticket, error)
}

// Vault is HashiCorp Vault: records under compare-and-swap, the attestation
// key, and credentials.
type Vault interface {
	// Time returns Vault's clock.
	Time(ctx context.Context) (time.Time, error)

	// Request and Record return nil where there is none; PutRequest and
	// PutRecord write over exactly the version they carry (0: none yet) and
	// set the new version in place. A lost write is world.ErrLost.
	Request(ctx context.Context, key string) (*grants.Request, error)
	PutRequest(ctx context.Context, r *grants.Request) error
	Requests(ctx context.Context) (keys []string, err error)
	Record(ctx context.Context, id grants.ID) (*grants.Record, error)
	PutRecord(ctx context.Context, r *grants.Record) error
	Records(ctx context.Context) ([]grants.ID, error)
	// UserToken returns what a person left with tac so that a press of theirs
	// in chat becomes a review of theirs; nil: nothing. PutUserToken writes
	// over exactly the version it carries; empty tokens forget it.
	UserToken(ctx context.Context, person int64) (*world.UserToken, error)
	PutUserToken(ctx context.Context, t *world.UserToken) error
	// Note returns a small shared value; its Version is 0 where there is none.
	// PutNote writes over exactly the version it carries. Keys are made of
	// a-z, 0-9, - and /.
	Note(ctx context.Context, key string) (world.Note, error)
	PutNote(ctx context.Context, key string, n *world.Note) error
	// HighWater is the commit up to which every grant has its record.
	HighWater(ctx context.Context) (*world.HighWater, error)
	PutHighWater(ctx context.Context, h *world.HighWater) error

	// Sign attests bytes; Verify reports whether an attestation is ours.
	Sign(ctx context.Context, message []byte) (string, error)
	Verify(ctx context.Context, message []byte, attestation string) (bool, error)

	// Issue plays the issue sequence for a record that Next allowed to be
	// issued: mint, reserve, issue, wrap, record, extend. Each write goes to
	// the record in place. Any error leaves what Next will clean up.
	Issue(ctx context.Context, r *grants.Record, claim world.IssueClaim) (*world.Credential, error)
	// Unwrap opens a single-use token that Issue wrapped.
	Unwrap(ctx context.Context, wrapped world.Secret) (*world.Credential, error)
	// Renew moves the lease's end to the grant's and records it.
	Renew(ctx context.Context, r *grants.Record, now time.Time) error
	// Taken reports whether the wrapped credential has been opened.
	Taken(ctx context.Context, r *grants.Record) (bool, error)
	// Kill revokes whatever the record's generation may have left alive and
	// proves it dead: nil means proved. The record must be REVOKING. It
	// writes nothing.
	Kill(ctx context.Context, r *grants.Record, now time.Time) error
}

// Tokens are what people leave with us at GitHub.
type Tokens interface {
	// Refresh trades a stale token for a new one: the old one is dead at
	// once. world.ErrNotOurs where it is not good any more.
	Refresh(ctx context.Context, t world.UserToken) (world.UserToken, error)
	// Revoke ends a token, and the refresh token that came with it.
	Revoke(ctx context.Context, access world.Secret) error
	// User tells whose token it is.
	User(ctx context.Context, access world.Secret) (grants.Principal, error)
}

// Chat is where people talk. An error that has a method RetryAfter, without
// world.ErrAmbiguous, says that nothing was said and when to say it again.
type Chat interface {
	// Post says a notice in a channel and returns its timestamp. Where look
	// is set an earlier post with the same key is searched first, so that a
	// crash between posting and noting it does not say it twice.
	Post(ctx context.Context, channel, key string, n world.Notice, look bool) (ts string, err error)
	// Update replaces the notice.
	Update(ctx context.Context, channel, ts string, n world.Notice) error
	// Direct says a notice to one person, by chat user id, in private.
	Direct(ctx context.Context, user string, n world.Notice) error
}
