package clone

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// Grant is one grant as the commit that brought it tells.
type Grant struct {
	grants.Grant
	Commit   string
	MergedAt time.Time // the commit's committer time
	Decision string    // allow or review, as it was decided then
	Rule     string
	Pull     int // zero: the commit names none
	Facts    policies.Facts
}

// History is the grants of a time.
type History struct {
	Head   string  // the commit that it ends with
	Grants []Grant // newest first
	// CutOff is the committer time of the oldest commit that is here, where
	// the clone is shallow and that is not old enough; zero: nothing is
	// missing.
	CutOff time.Time
	// Unreadable says of commits that claim to bring a grant why they were
	// left out.
	Unreadable []string
}

// patience is how many commits older than wanted are looked at before the
// walk ends: one clock that was wrong must not end it.
const patience = 100

// GrantsSince returns the grants that commits of HEAD's first-parent history
// brought since a time. A commit counts where its trailers name a grant
// (Tac-Grant) and all that it does is to add that grant's file.
func (c *Clone) GrantsSince(ctx context.Context, since time.Time) (History, error) {
	head, err := c.named("HEAD")
	if err != nil {
		return History{}, errors.New("the clone has no commits yet")
	}
	h := History{Head: head.String()}
	commit, err := c.commit(head)
	if err != nil {
		return History{}, fmt.Errorf("read the history: %w", err)
	}
	for old := 0; old < patience; {
		if err := ctx.Err(); err != nil {
			return History{}, err
		}
		when := commit.Committer.When.UTC()
		if when.Before(since) {
			old++
		}
		if c.shallow[commit.Hash] {
			// What it added cannot be told from what came before it.
			if when.After(since) {
				h.CutOff = when
			}
			break
		}
		before := plumbing.ZeroHash
		var parent *object.Commit
		if len(commit.ParentHashes) > 0 {
			if parent, err = c.commit(commit.ParentHashes[0]); err != nil {
				return History{}, fmt.Errorf("read the history: %w", err)
			}
			before = parent.TreeHash
		}
		if !when.Before(since) {
			if err := c.read(&h, commit, before); err != nil {
				return History{}, fmt.Errorf("read the history at %s: %w", short(commit.Hash), err)
			}
		}
		if parent == nil {
			break
		}
		commit = parent
	}
	return h, nil
}

// read takes the grant of a commit, if it brought one. An error is one of
// reading the clone; what the commit says wrongly is noted.
func (c *Clone) read(h *History, commit *object.Commit, before plumbing.Hash) error {
	if !strings.Contains(commit.Message, "Tac-Grant: ") {
		return nil
	}
	said := map[string]string{}
	for _, t := range bot.Trailers(commit.Message) {
		said[t.Name] = t.Value
	}
	if said["Tac-Grant"] == "" || said["Tac-Ended"] != "" || said["Tac-Facts"] == "" {
		return nil // the end of a grant, or a proposal
	}
	name, blob, ok, err := c.addedGrant(before, commit.TreeHash)
	if err != nil {
		return err
	}
	fault := func(err error) {
		h.Unreadable = append(h.Unreadable, fmt.Sprintf("%s (%s): %v", short(commit.Hash), firstLine(commit.Message), err))
	}
	if !ok {
		fault(errors.New("it does something else than to add one grant"))
		return nil
	}
	data, err := c.blob(blob, mostFile)
	if err != nil {
		return err
	}
	g, err := parse(name, data, said)
	if err != nil {
		fault(err)
		return nil
	}
	g.Commit, g.MergedAt = commit.Hash.String(), commit.Committer.When.UTC()
	h.Grants = append(h.Grants, g)
	return nil
}

func parse(name string, data []byte, said map[string]string) (Grant, error) {
	g, err := grants.Parse(name, data)
	if err != nil {
		return Grant{}, fmt.Errorf("its grant cannot be read: %w", err)
	}
	if string(g.ID) != said["Tac-Grant"] {
		return Grant{}, fmt.Errorf("it names the grant %.40q and adds %s", said["Tac-Grant"], g.ID)
	}
	facts, err := policies.ParseFacts(said["Tac-Facts"])
	if err != nil {
		return Grant{}, err
	}
	pull, err := strconv.Atoi(said["Tac-Pull"])
	if err != nil || pull < 0 {
		pull = 0
	}
	return Grant{Grant: g, Decision: said["Tac-Decision"], Rule: said["Tac-Rule"], Pull: pull, Facts: facts}, nil
}
