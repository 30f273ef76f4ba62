package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// mainline is what is known of the default branch. It is a cache of one
// fetch; expire makes the next look fetch again.
type mainline struct {
	looking chan struct{} // one token: whoever holds it looks, the others wait

	mu     sync.Mutex
	seen   *mainSight
	last   *mainSight // the newest look there ever was; expire keeps it
	failed error      // why the latest look failed, and when
	at     time.Time

	setsMu sync.Mutex               // not mu: policies are read while main is looked at
	sets   map[string]*policies.Set // by the digest of all policy files
}

// mainSight is the default branch at one moment.
type mainSight struct {
	tip   string
	at    time.Time
	files map[string]world.Entry // below grants/
	paths map[grants.ID][]string // of the grant files among them, sorted
	set   *policies.Set
	// landed holds the commits above the high-water mark that brought a
	// grant: the gate has to judge them.
	landed map[grants.ID]world.Commit
	recent []world.Commit // above the high-water mark, oldest first
	high   *world.HighWater
	frozen bool
	strays []string // paths below grants/ that are no grant files
}

// mainFresh is how old a look at the default branch may be. Decisions that
// give access expire it first.
const mainFresh = 2 * time.Second

// lookWithin bounds one look at the default branch. A forge that hangs must
// not hold up what needs Vault alone.
const lookWithin = 15 * time.Second

func newMainline() mainline {
	return mainline{looking: make(chan struct{}, 1), sets: map[string]*policies.Set{}}
}

// expire makes the next look fetch again.
func (m *mainline) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen, m.failed = nil, nil
}

// fresh returns the latest look, or the latest failure, where it is young
// enough to serve: many grants ask at the same time.
func (m *mainline) fresh(now time.Time) (*mainSight, error, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		age := now.Sub(m.at)
		return nil, m.failed, age >= 0 && age < mainFresh
	}
	if m.seen == nil {
		return nil, nil, false
	}
	age := now.Sub(m.seen.at)
	return m.seen, nil, age >= 0 && age < mainFresh
}

func (m *mainline) keepLook(s *mainSight, err error, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen, m.failed, m.at = s, err, now
	if s != nil {
		m.last = s
	}
}

// lastSeen returns the newest look there ever was, nil where there is none. It
// serves where access is taken away, never where it is given.
func (m *mainline) lastSeen() *mainSight {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (b *Bot) mainNow(ctx context.Context) (*mainSight, error) {
	if s, err, ok := b.main.fresh(b.Now()); ok {
		return s, err
	}
	select {
	case b.main.looking <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("look at the default branch: %w", ctx.Err())
	}
	defer func() { <-b.main.looking }()
	if s, err, ok := b.main.fresh(b.Now()); ok {
		return s, err
	}
	looking, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	s, err := b.lookAtMain(looking)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look at the default branch: %w", ctx.Err())
	}
	b.main.keepLook(s, err, b.Now())
	return s, err
}

func (b *Bot) lookAtMain(ctx context.Context) (*mainSight, error) {
	// The mark is read before the branch: another replica may move both in
	// between, and only a branch read later is bound to contain the mark.
	high, err := b.Vault.HighWater(ctx)
	if err != nil {
		b.unreadable(ctx, "", func() error { _, err := b.Vault.HighWater(ctx); return err })
		return nil, fmt.Errorf("read the high-water mark: %w", err)
	}
	tip, err := b.Repository.Fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetch the default branch: %w", err)
	}
	s := &mainSight{tip: tip, at: b.Now(), paths: map[grants.ID][]string{}, high: high, landed: map[grants.ID]world.Commit{}}
	if s.files, err = b.Repository.Tree(ctx, tip, "grants"); err != nil {
		return nil, fmt.Errorf("read grants/: %w", err)
	}
	if s.set, err = b.policySet(ctx, tip); err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(s.files)) {
		if _, id, ok := grants.ParsePath(path); ok {
			s.paths[id] = append(s.paths[id], path)
		} else if !tolerated(path) {
			s.strays = append(s.strays, path)
		}
	}
	if err := b.lookAboveHighWater(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// tolerated names the files below grants/ that are no grants and do no harm.
func tolerated(path string) bool { return path == "grants/README.md" || path == "grants/.gitkeep" }

func (b *Bot) lookAboveHighWater(ctx context.Context, s *mainSight) (err error) {
	if s.high == nil {
		if s.high, err = b.firstHighWater(ctx, s); err != nil {
			return fmt.Errorf("make the high-water mark: %w", err)
		}
	}
	if s.high == nil {
		s.frozen = true
		return nil
	}
	s.recent, err = b.Repository.History(ctx, s.high.Commit, s.tip)
	if errors.Is(err, world.ErrRewritten) {
		s.frozen = true
		b.Alert("", "the default branch no longer contains "+s.high.Commit+"; nothing is issued until an operator has looked")
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the history since %s: %w", s.high.Commit, err)
	}
	for _, c := range s.recent {
		for _, id := range added(c) {
			if _, before := s.landed[id]; !before {
				s.landed[id] = c
			}
		}
	}
	return nil
}

// firstHighWater makes the mark where tac has never worked here. A mark that
// is missing beside records was taken away: nil.
func (b *Bot) firstHighWater(ctx context.Context, s *mainSight) (*world.HighWater, error) {
	ids, err := b.Vault.Records(ctx)
	if err != nil {
		return nil, err
	}
	if len(ids) > 0 {
		b.Alert("", "Vault holds records of grants but no high-water mark: somebody removed it; nothing is issued")
		return nil, nil
	}
	// Lost to another replica, whose mark may be newer than our look: look again.
	if err := b.Vault.PutHighWater(ctx, &world.HighWater{Commit: s.tip}); err != nil {
		return nil, err
	}
	return b.Vault.HighWater(ctx)
}

func added(c world.Commit) (ids []grants.ID) {
	for _, change := range c.Changes {
		if change.New == nil || change.Old != nil {
			continue
		}
		if _, id, ok := grants.ParsePath(change.Path); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// touched returns the grants that the recent commits name, and all on main.
func (s *mainSight) touched() []grants.ID {
	ids := map[grants.ID]bool{}
	for _, c := range s.recent {
		for _, change := range c.Changes {
			if _, id, ok := grants.ParsePath(change.Path); ok {
				ids[id] = true
			}
		}
	}
	for path := range s.files {
		if _, id, ok := grants.ParsePath(path); ok {
			ids[id] = true
		}
	}
	return sorted(ids)
}

func sorted(ids map[grants.ID]bool) []grants.ID {
	list := make([]grants.ID, 0, len(ids))
	for id := range ids {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// path returns where the grant's file stands on main; empty: nowhere.
func (s *mainSight) path(id grants.ID) string {
	if len(s.paths[id]) == 0 {
		return ""
	}
	return s.paths[id][0]
}

const submodule = 0o160000 // git's mode

// policySet compiles the policies of one commit, once for each content.
func (b *Bot) policySet(ctx context.Context, commit string) (*policies.Set, error) {
	tree, paths, err := policyTree(ctx, b.Repository, commit)
	if err != nil {
		return nil, err
	}
	digest := sha256.New()
	for _, path := range paths {
		fmt.Fprintf(digest, "%s %s\n", path, tree[path].Blob)
	}
	key := hex.EncodeToString(digest.Sum(nil))
	if set := b.main.cached(key); set != nil {
		return set, nil
	}
	files, err := policyFiles(ctx, b.Repository, tree, paths)
	if err != nil {
		return nil, err
	}
	set, _ := policies.Load(files, b.Zones)
	if err := set.Err(); err != nil {
		b.Log.Error("policies do not load; everything is denied", "commit", commit, "error", err)
	}
	b.main.keep(key, set)
	return set, nil
}

// Policies returns the policy files of a commit, as the bot reads them.
func Policies(ctx context.Context, r Repository, commit string) ([]policies.File, error) {
	tree, paths, err := policyTree(ctx, r, commit)
	if err != nil {
		return nil, err
	}
	return policyFiles(ctx, r, tree, paths)
}

func policyTree(ctx context.Context, r Repository, commit string) (tree map[string]world.Entry, paths []string, err error) {
	tree, err = r.Tree(ctx, commit, "policies")
	if err != nil {
		return nil, nil, fmt.Errorf("read policies/ at %s: %w", commit, err)
	}
	paths = make([]string, 0, len(tree))
	for path, entry := range tree {
		// A file is its bytes, whatever its mode: one marked as executable
		// must not vanish, and a link is never followed but refused for
		// what it says. A submodule has no bytes here. Lint wants .yaml,
		// but a restriction in a .yml must not be overlooked.
		yaml := strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml")
		if yaml && entry.Mode != submodule {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return tree, paths, nil
}

func policyFiles(ctx context.Context, r Repository, tree map[string]world.Entry, paths []string) ([]policies.File, error) {
	files := make([]policies.File, 0, len(paths))
	for _, path := range paths {
		data, err := r.Blob(ctx, tree[path].Blob)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		files = append(files, policies.File{Path: path, Data: data})
	}
	return files, nil
}

// mostSets is how many compiled policies are kept: those of the tip, and of
// the merges that are being judged.
const mostSets = 16

func (m *mainline) cached(key string) *policies.Set {
	m.setsMu.Lock()
	defer m.setsMu.Unlock()
	return m.sets[key]
}

func (m *mainline) keep(key string, set *policies.Set) {
	m.setsMu.Lock()
	defer m.setsMu.Unlock()
	if len(m.sets) >= mostSets {
		clear(m.sets)
	}
	m.sets[key] = set
}

// raiseHighWater moves the mark past every commit whose grants have records.
func (b *Bot) raiseHighWater(ctx context.Context) error {
	s, err := b.mainNow(ctx)
	if err != nil || s.frozen || s.high == nil {
		return err
	}
	target := s.high.Commit
	for _, c := range s.recent {
		settled, err := b.settled(ctx, c)
		if err != nil {
			return err
		}
		if !settled {
			break
		}
		target = c.Hash
	}
	if target == s.high.Commit {
		return nil
	}
	err = b.Vault.PutHighWater(ctx, &world.HighWater{Version: s.high.Version, Commit: target})
	if err != nil && !errors.Is(err, world.ErrLost) {
		return fmt.Errorf("raise the high-water mark: %w", err)
	}
	b.main.expire()
	return nil
}

func (b *Bot) settled(ctx context.Context, c world.Commit) (bool, error) {
	for _, id := range added(c) {
		record, err := b.Vault.Record(ctx, id)
		if err != nil {
			return false, fmt.Errorf("read the record of %s: %w", id, err)
		}
		if record == nil {
			return false, nil
		}
	}
	return true, nil
}

// removals are files that may go: their grants are proved dead.
type removals struct {
	mu   sync.Mutex
	due  map[string]removal // by path
	last time.Time
}

type removal struct {
	grant   grants.Grant // zero ID: the file was never a grant
	outcome grants.Outcome
	by, why string
}

func (b *Bot) remove(path string, r removal) {
	b.removals.mu.Lock()
	b.removals.due[path] = r
	b.removals.mu.Unlock()
	b.queue.Add(item{flush: true})
}

// Flush commits the removals that are due, now.
func (b *Bot) Flush(ctx context.Context) error {
	_, err := b.flushRemovals(ctx)
	return err
}

// flushRemovals commits all removals that are due, in one commit and one
// push. They are never lost: whoever looks at the grant again finds the file.
func (b *Bot) flushRemovals(ctx context.Context) (again time.Time, err error) {
	b.removals.mu.Lock()
	defer b.removals.mu.Unlock()
	s, err := b.mainNow(ctx)
	if err != nil {
		return time.Time{}, err
	}
	for _, path := range s.strays {
		if _, known := b.removals.due[path]; !known {
			b.Alert("", "somebody went past the rules: main holds "+printable(path)+", which is no grant")
		}
		b.removals.due[path] = removal{outcome: grants.OutcomeRefused, by: grants.Tac, why: "not the file of a grant: " + path}
	}
	if len(b.removals.due) == 0 {
		return time.Time{}, nil
	}
	// Before the last removal is now only for a clock that stepped back.
	if since := b.Now().Sub(b.removals.last); since >= 0 && since < b.RemoveEvery {
		return b.removals.last.Add(b.RemoveEvery), nil
	}
	paths := make([]string, 0, len(b.removals.due))
	for path := range b.removals.due {
		if _, there := s.files[path]; there {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	if len(paths) > 0 {
		message := removalMessage(paths, b.removals.due)
		_, err = b.Repository.Remove(ctx, s.tip, paths, message, b.Now())
		b.main.expire()
		if err != nil {
			return time.Time{}, fmt.Errorf("commit the removal of %d files: %w", len(paths), err)
		}
		b.removals.last = b.Now()
		b.Log.Info("removed", "files", len(paths))
	}
	for path, r := range b.removals.due {
		if r.grant.ID != "" {
			b.Wake(r.grant.ID)
		}
		delete(b.removals.due, path)
	}
	return time.Time{}, nil
}
