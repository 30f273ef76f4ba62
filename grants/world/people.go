package world

import (
	"time"

	"github.com/tigeraccess/tac/grants"
)

// NewReview is a review to be submitted in the name of a person, with that
// person's own token: GitHub shows it as theirs, and tac reads it back from
// GitHub like any other (threats.md E14).
type NewReview struct {
	Pull    int
	Head    string // the commit that the person was shown, in full
	Approve bool   // false: request changes, which is a denial
	Body    string // Markdown
}

// UserToken is what GitHub gave a person for our App: an access token for
// some hours, and a refresh token for some months that is good once.
type UserToken struct {
	Person       grants.Principal
	Access       Secret
	AccessUntil  time.Time // zero: it does not end
	Refresh      Secret
	RefreshUntil time.Time // zero: it does not end
	Version      int       // of the stored value, for compare-and-swap; 0: not stored yet
}

// NewIssue is an issue to be opened in the grants repository.
type NewIssue struct {
	Key    string // stands in the body, so that it is found again and not opened twice
	Title  string
	Body   string // Markdown
	Labels []string
}

// Issue is an issue of the grants repository.
type Issue struct {
	Number    int
	URL       string
	Open      bool
	ClosedBy  grants.Principal // zero while it is open, or where GitHub does not say
	ClosedBot bool             // whoever closed it is no human being
	ClosedAt  time.Time
	Completed bool // closed as done, and not as unwanted
}

// Suggestion is a change of one line that a reviewer proposes in a review
// comment on the grant's file.
type Suggestion struct {
	Review int64
	User   grants.Principal
	Commit string // the head that it is about
	Path   string
	Line   int // 1-based, in the file at that commit
	Text   string
}

// Amendment is one more commit on a grant's branch, which replaces its file.
type Amendment struct {
	Branch  string
	Head    string // the branch as it stands; anything else is ErrLost
	Path    string
	Content []byte
	Message string
	At      time.Time
}

// Note is a small value that all replicas share and that may be lost without
// harm to any grant: how much somebody asked for today, whom we asked last.
type Note struct {
	Version int // of the stored value, for compare-and-swap; 0: not stored yet
	Data    []byte
}
