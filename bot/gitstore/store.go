// Package gitstore reads and writes the grants repository over git's smart
// HTTP protocol. It is plumbing only: there is no work tree and no checkout,
// so nothing that a repository contains (a symbolic link, a submodule, a
// filter, a file name) can touch the machine.
//
// Git on the server is the truth and the Store is a cache of it in memory:
//
//   - store.go: the Store, and how it is brought up to date;
//   - history.go: History and Proposal, the two questions about commits;
//   - tree.go: walks over trees, which skip what has the same hash;
//   - write.go: Propose and Remove, each one commit and one request;
//   - amend.go: Amend, one more commit on a proposal's branch;
//   - object.go: our own reader of commits and trees. It is strict where git
//     is lenient: a tree that two programs could read differently is an error;
//   - pack.go: packs, unpacked within a budget and taken over only when
//     nothing is missing from them;
//   - protocol.go: refs, packs and pushes in git's words;
//   - wire.go: the requests that carry them. It follows no redirect, because a
//     credential must not follow one, and no error of it contains a credential.
//
// Every method is safe for concurrent use.
package gitstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/storer"
	"github.com/go-git/go-git/v5/storage/memory"

	"github.com/tigeraccess/tac/grants/world"
)

// Bounds on what a repository may make us hold. A pull request is written by
// anybody who may fork, so its bound is far below that of the default branch.
const (
	mostBranchBytes = 1 << 30   // one fetch of the default branch, inflated
	mostPullBytes   = 32 << 20  // one fetch of a pull request, inflated
	mostSideBytes   = 128 << 20 // all that is held of pull requests
	mostBlobBytes   = 1 << 20   // one blob that is read
)

// Config says where the repository is and who writes to it.
type Config struct {
	// URL is https://host/owner/repo.git, without credentials. Plain http is
	// accepted on the loopback interface only.
	URL string
	// Branch is the short name of the default branch.
	Branch string
	// Token returns the secret for HTTP Basic authentication as
	// x-access-token; it is asked for each exchange with the server anew, so
	// it may return a fresh one. Nil means anonymous.
	Token func(ctx context.Context) (world.Secret, error)
	// AuthorName and AuthorEmail are author and committer of our commits.
	AuthorName, AuthorEmail string
	// HTTP makes the requests; nil means a client with a two-minute timeout.
	// Its cookie jar and redirect policy are not used.
	HTTP *http.Client
}

// Store is the grants repository. Create it with New.
type Store struct {
	wire        *wire
	branch      plumbing.ReferenceName
	authorName  string
	authorEmail string

	// fetching holds one token: one fetch of the default branch at a time.
	fetching chan struct{}

	mu sync.RWMutex // guards everything below
	// main holds what the default branch reaches. It is closed: whatever
	// one of its objects names is in it too.
	main *memory.Storage
	// side holds what proposals add to that. It is closed together with
	// main, and emptied when it grows too large: it can be had again.
	side      *memory.Storage
	sideBytes int64
	tip       plumbing.Hash              // of the default branch as last fetched
	onMain    map[plumbing.Hash]struct{} // every commit that tip reaches
}

// New returns a Store that has not talked to the server yet.
func New(c Config) (*Store, error) {
	w, err := newWire(c.URL, c.Token, c.HTTP)
	if err != nil {
		return nil, fmt.Errorf("open the grants repository: %w", err)
	}
	branch := plumbing.NewBranchReferenceName(c.Branch)
	if err := branch.Validate(); err != nil || c.Branch == "" {
		return nil, fmt.Errorf("open the grants repository: %q is not the name of a branch", c.Branch)
	}
	for _, s := range []string{c.AuthorName, c.AuthorEmail} {
		if s == "" || s != strings.TrimSpace(s) || strings.ContainsAny(s, "<>\n\x00") {
			return nil, fmt.Errorf("open the grants repository: %q cannot stand in a commit as the author's name or address", s)
		}
	}
	s := &Store{
		wire: w, branch: branch, authorName: c.AuthorName, authorEmail: c.AuthorEmail,
		fetching: make(chan struct{}, 1),
		main:     memory.NewStorage(), side: memory.NewStorage(),
		onMain: map[plumbing.Hash]struct{}{},
	}
	return s, nil
}

// Fetch brings the default branch up to date and returns its tip as the
// server said it; all that the tip reaches can be read afterwards. Where the
// tip is known no objects are transferred. A branch without commits is an
// error.
func (s *Store) Fetch(ctx context.Context) (string, error) {
	select {
	case s.fetching <- struct{}{}:
		defer func() { <-s.fetching }()
	case <-ctx.Done():
		return "", fmt.Errorf("fetch %s: %w", s.branch.Short(), ctx.Err())
	}
	// A tip that moves on between the two requests may no longer be had by
	// its hash, so we ask again. A busy branch does not do that often.
	const attempts = 3
	var failed error
	for range attempts {
		tip, err := s.fetchTip(ctx)
		if err == nil {
			return tip.String(), nil
		}
		failed = err
		if !errors.Is(err, errNotOurRef) {
			break
		}
	}
	return "", fmt.Errorf("fetch %s: %w", s.branch.Short(), failed)
}

func (s *Store) fetchTip(ctx context.Context) (plumbing.Hash, error) {
	tip, ok, err := s.wire.ref(ctx, s.branch)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if !ok {
		return plumbing.ZeroHash, errors.New("the branch does not exist or has no commit")
	}
	s.mu.RLock()
	known := s.main.HasEncodedObject(tip) == nil
	have := s.tip
	s.mu.RUnlock()
	if !known {
		staged, err := s.download(ctx, tip, have, mostBranchBytes)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		s.mu.Lock()
		err = takeOver(s.main, staged)
		s.mu.Unlock()
		if err != nil {
			return plumbing.ZeroHash, err
		}
	}
	return tip, s.moveTip(tip)
}

// download fetches what want needs beyond the default branch as we have it.
func (s *Store) download(ctx context.Context, want, have plumbing.Hash, most int64) (*memory.Storage, error) {
	pack, err := s.wire.fetch(ctx, want, have, most)
	if err != nil {
		return nil, err
	}
	staged, err := unpack(pack, most)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", want, err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := checkClosed(want, staged, s.main); err != nil {
		return nil, fmt.Errorf("unpack %s: %w", want, err)
	}
	return staged, nil
}

// moveTip notes the tip and every commit that it reaches. A branch that was
// rewritten is walked anew from its beginning.
func (s *Store) moveTip(tip plumbing.Hash) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tip == s.tip {
		return nil
	}
	fresh, edge, err := s.reader().beyond(tip, s.onMain)
	if err != nil {
		return err
	}
	if _, descends := edge[s.tip]; !descends && s.tip != plumbing.ZeroHash {
		s.onMain = map[plumbing.Hash]struct{}{}
		if fresh, _, err = s.reader().beyond(tip, s.onMain); err != nil {
			s.tip = plumbing.ZeroHash
			return err
		}
	}
	for _, h := range fresh {
		s.onMain[h] = struct{}{}
	}
	s.tip = tip
	return nil
}

// keepAside remembers objects of a proposal, which are closed together with
// main.
func (s *Store) keepAside(objects *memory.Storage) error {
	var size int64
	for _, o := range objects.Objects {
		size += o.Size()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sideBytes+size > mostSideBytes {
		s.side, s.sideBytes = memory.NewStorage(), 0
	}
	s.sideBytes += size
	return takeOver(s.side, objects)
}

// takeOver adds objects to a store that they are known to fit.
func takeOver(store, objects *memory.Storage) error {
	for h, o := range objects.Objects {
		if store.HasEncodedObject(h) == nil {
			continue
		}
		if _, err := store.SetEncodedObject(o); err != nil {
			return fmt.Errorf("keep object %s: %w", h, err)
		}
	}
	return nil
}

// reader returns a reader of everything we hold. The caller holds s.mu for as
// long as it uses the reader.
func (s *Store) reader() *reader {
	return &reader{stores: []storer.EncodedObjectStorer{s.main, s.side}}
}

// builder returns a builder on what the default branch reaches: what is made
// must not rest on objects that can be forgotten. The caller holds s.mu.
func (s *Store) builder() builder {
	return builder{reader: &reader{stores: []storer.EncodedObjectStorer{s.main}}, made: memory.NewStorage()}
}

// Tree returns what commit holds below dir: full path to entry, of every kind
// and with the mode as it is written in the tree. Nothing is followed: a
// submodule is an entry with its commit's hash, a symbolic link one with the
// hash of the blob that holds its target. The empty dir is the whole tree, a
// missing dir an empty answer. Where dir is not a directory the answer is
// that one entry, under dir itself.
func (s *Store) Tree(ctx context.Context, commit, dir string) (map[string]world.Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := s.reader()
	c, err := r.commitNamed(commit)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	files, err := r.list(ctx, c.tree, strings.Trim(dir, "/"))
	if err != nil {
		return nil, fmt.Errorf("list %s of %s: %w", dir, commit, err)
	}
	return files, nil
}

// Blob returns the bytes of a blob that Tree, History or Proposal named. More
// than 1 MiB is an error: no grant and no policy is that long, and everything
// read is held in memory.
func (s *Store) Blob(_ context.Context, hash string) ([]byte, error) {
	h, err := parseHash(hash)
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, err := s.reader().object(plumbing.BlobObject, h)
	if err != nil {
		return nil, fmt.Errorf("read blob: %w", err)
	}
	if o.Size() > mostBlobBytes {
		return nil, fmt.Errorf("read blob %s: it has %d bytes; at most %d are read", h, o.Size(), mostBlobBytes)
	}
	return content(o)
}
