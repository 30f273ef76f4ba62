package github

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// User is an account: a person, an organisation or the bot of an App. The
// fields are set when it is added; only RenameUser changes the login.
type User struct {
	Login string
	ID    int64
	Type  string // "User", "Organization" or "Bot"
	Name  string // as in commits
	Email string // as in commits
}

// Org is an organisation with its members and teams.
type Org struct {
	account *User
	members map[int64]*User
	teams   map[string]*Team // by slug
}

// Team is a team of an organisation.
type Team struct {
	ID      int64
	Slug    string
	org     *User
	parent  string           // slug of the parent team; empty for none
	states  map[int64]string // "active" or "pending", by user id
	created time.Time
}

// App is a GitHub App. Permissions may be changed before it is installed.
type App struct {
	Slug          string
	ID            int64
	ClientID      string
	ClientSecret  string
	PrivateKeyPEM []byte // PKCS #1, as GitHub hands it out
	Permissions   map[string]string
	Bot           *User // who the App is when it acts: slug[bot]

	key        keyVerifier
	created    time.Time
	hookURL    string
	hookSecret string
}

// Installation is an App on an account, for all of its repositories.
type Installation struct {
	ID          int64
	App         *App
	account     *User
	permissions map[string]string
	created     time.Time
}

// Repo is a repository. Forks share the objects of their parent, as they do
// on GitHub, and have refs of their own.
type Repo struct {
	id            int64
	owner         *User
	name          string
	defaultBranch string
	public        bool
	fork          bool
	created       time.Time
	pushed        time.Time
	git           *objects
	refs          map[plumbing.ReferenceName]plumbing.Hash
	grants        map[int64]string // "read", "write" or "admin", by user id
	rules         *rules
	lastNumber    int // pull requests and issues share their numbers
	pulls         []*pull
	issues        []*issue
	comments      []*comment
	checks        []*checkRun
}

// rules are the branch rules that Protect switches on.
type rules struct {
	app    *App
	bypass map[int64]bool // people who may push straight to the default branch
}

type pull struct {
	repo      *Repo
	headRepo  *Repo
	id        int64
	number    int
	title     string
	body      string
	author    *User
	headRef   string // short branch name
	headSHA   plumbing.Hash
	baseRef   string
	baseSHA   plumbing.Hash // the base as it was when last looked at
	open      bool
	draft     bool
	created   time.Time
	updated   time.Time
	closed    time.Time
	merged    time.Time
	mergedBy  *User
	mergeSHA  plumbing.Hash
	judged    bool // whether mergeability has been worked out since the last change
	requested []*User
	reviews   []*review
	lines     []*lineComment
	comments  int
}

type review struct {
	id          int64
	author      *User
	state       string // APPROVED, CHANGES_REQUESTED, COMMENTED, PENDING, DISMISSED
	body        string
	commit      plumbing.Hash
	submitted   time.Time
	dismissedBy *User
	dismissal   string
}

type issue struct {
	id       int64
	number   int
	title    string
	body     string
	author   *User
	labels   []string
	created  time.Time
	updated  time.Time
	comments int
	work     issueWork
}

type comment struct {
	id      int64
	number  int // of the issue or pull request
	body    string
	author  *User
	created time.Time
	updated time.Time
}

type checkRun struct {
	id         int64
	suite      int64
	app        *App
	name       string
	head       plumbing.Hash
	status     string
	conclusion string
	started    time.Time
	completed  time.Time
	externalID string
	details    string
	title      string
	summary    string
	text       string
}

// randomHex returns n random bytes in hexadecimal. crypto/rand.Read never
// fails on the platforms Go supports.
func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// uuid returns a random UUID, as GitHub uses for webhook deliveries.
func uuid() string {
	h := randomHex(16)
	return fmt.Sprintf("%s-%s-4%s-8%s-%s", h[:8], h[8:12], h[13:16], h[17:20], h[20:])
}

// nodeID makes the opaque global id that every REST object also has.
func nodeID(kind string, id int64) string {
	return base64.StdEncoding.EncodeToString([]byte(fmt.Sprintf("%03d:%s%d", len(kind), kind, id)))
}

func (r *Repo) fullName() string { return r.owner.Login + "/" + r.name }

func repoKey(owner, name string) string { return strings.ToLower(owner + "/" + name) }

func branchRef(branch string) plumbing.ReferenceName { return plumbing.NewBranchReferenceName(branch) }

func (r *Repo) defaultRef() plumbing.ReferenceName { return branchRef(r.defaultBranch) }

func (w *world) repo(fullName string) (*Repo, error) {
	r, ok := w.repos[strings.ToLower(fullName)]
	if !ok {
		return nil, fmt.Errorf("repository %s does not exist", fullName)
	}
	return r, nil
}

func (r *Repo) pull(number int) (*pull, error) {
	for _, p := range r.pulls {
		if p.number == number {
			return p, nil
		}
	}
	return nil, fmt.Errorf("pull request %s#%d does not exist", r.fullName(), number)
}

func (s *Server) user(login string) (*User, error) {
	u, ok := s.users[strings.ToLower(login)]
	if !ok {
		return nil, fmt.Errorf("account %s does not exist", login)
	}
	return u, nil
}
