package github

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// refUpdate is one wanted change of a ref. A zero hash stands for "does not
// exist", as on the wire.
type refUpdate struct {
	name     plumbing.ReferenceName
	old, new plumbing.Hash
	force    bool // a change that is no fast-forward is meant
}

var errNotFastForward = errors.New("non-fast-forward")

// ruleViolation is a change that the branch rules forbid to this actor.
type ruleViolation string

func (v ruleViolation) Error() string { return "protected branch hook declined: " + string(v) }

// judgeRef says why an update may not be done, or nil. It compares the old
// hash first: that is what makes a push a compare-and-swap.
func (s *Server) judgeRef(repo *Repo, who actor, u refUpdate) error {
	current := repo.refs[u.name]
	switch {
	case current != u.old && current.IsZero():
		return errors.New("reference does not exist")
	case current != u.old && u.old.IsZero():
		return errors.New("reference already exists")
	case current != u.old:
		return errors.New("fetch first: the reference has moved")
	case !strings.HasPrefix(u.name.String(), "refs/") || u.name.Validate() != nil:
		return errors.New("funny refname")
	case strings.HasPrefix(u.name.String(), "refs/pull/"):
		return errors.New("deny updating a hidden ref")
	case u.old.IsZero() && u.new.IsZero():
		return errors.New("reference does not exist")
	}
	if u.new.IsZero() {
		if u.name == repo.defaultRef() {
			return errors.New("refusing to delete the current branch: " + u.name.String())
		}
		return repo.judgeRules(who, u, true)
	}
	if u.old.IsZero() {
		if other, ok := repo.nameClash(u.name); ok {
			return fmt.Errorf("cannot lock ref: %s exists", other)
		}
	}
	if err := repo.git.checkComplete(u.new); err != nil {
		return errors.New("missing necessary objects")
	}
	forward, err := repo.fastForward(u)
	if err != nil {
		return err
	}
	if !forward && !u.force {
		return errNotFastForward
	}
	return repo.judgeRules(who, u, forward)
}

func (r *Repo) fastForward(u refUpdate) (bool, error) {
	if !u.name.IsBranch() {
		return true, nil
	}
	if _, err := r.git.commit(u.new); err != nil {
		return false, errors.New("a branch must name a commit")
	}
	if u.old.IsZero() {
		return true, nil
	}
	return r.git.isAncestor(u.old, u.new)
}

// nameClash finds a ref that makes name impossible, as a directory cannot
// have the name of a file.
func (r *Repo) nameClash(name plumbing.ReferenceName) (plumbing.ReferenceName, bool) {
	for other := range r.refs {
		if strings.HasPrefix(other.String(), name.String()+"/") || strings.HasPrefix(name.String(), other.String()+"/") {
			return other, true
		}
	}
	return "", false
}

// judgeRules applies the branch rules of Protect (design: the default branch
// moves forward only and by pull request, the App excepted; grant branches
// are the App's).
func (r *Repo) judgeRules(who actor, u refUpdate, forward bool) error {
	if r.rules == nil {
		return nil
	}
	theApp := who.install != nil && who.app == r.rules.app
	switch {
	case u.name == r.defaultRef() && !forward:
		return ruleViolation("Cannot force-push to this branch")
	case u.name == r.defaultRef() && !u.old.IsZero() && !theApp && !r.rules.bypass[who.user.ID]:
		return ruleViolation("Changes must be made through a pull request.")
	case isGrantBranch(u.name.String()) && !theApp:
		return ruleViolation("Cannot update this protected ref.")
	}
	return nil
}

func isGrantBranch(ref string) bool { return strings.HasPrefix(ref, "refs/heads/grant/") }

// changeRef judges one update, carries it out, and lets pull requests and
// webhooks follow.
func (s *Server) changeRef(repo *Repo, who actor, u refUpdate) error {
	if err := s.judgeRef(repo, who, u); err != nil {
		return err
	}
	forced := false
	if !u.old.IsZero() && !u.new.IsZero() && u.name.IsBranch() {
		forward, err := repo.fastForward(u)
		if err != nil {
			return err
		}
		forced = !forward
	}
	s.setRef(repo, who, u, forced)
	return nil
}

// setRef moves a ref without asking whether that is allowed: merges come
// here after judgements of their own.
func (s *Server) setRef(repo *Repo, who actor, u refUpdate, forced bool) {
	if u.new.IsZero() {
		delete(repo.refs, u.name)
	} else {
		repo.refs[u.name] = u.new
	}
	repo.pushed = s.now()
	s.emitPush(repo, who, u, forced)
	if !u.name.IsBranch() {
		return
	}
	branch := u.name.Short()
	for _, owner := range s.live.repos {
		for _, p := range owner.pulls {
			if !p.open {
				continue
			}
			if p.headRepo == repo && p.headRef == branch {
				s.headMoved(p, who, u.new)
			}
			if p.open && p.repo == repo && p.baseRef == branch {
				s.baseMoved(p, who, u)
			}
		}
	}
}

// headMoved follows a push to the branch of an open pull request. One whose
// branch is gone, or has nothing more to offer, is closed, as GitHub does.
func (s *Server) headMoved(p *pull, who actor, to plumbing.Hash) {
	if to.IsZero() {
		s.closePull(p, who)
		return
	}
	from := p.headSHA
	p.headSHA, p.judged, p.updated = to, false, s.now()
	p.repo.refs[p.refName()] = to
	s.emitPull(p, who, "synchronize", object{"before": from.String(), "after": to.String()})
	base := p.repo.refs[branchRef(p.baseRef)]
	if inside, err := p.repo.git.isAncestor(to, base); err == nil && inside {
		s.closePull(p, who)
	}
}

// baseMoved follows a push to the base of an open pull request: where it
// brought the head in, the pull request counts as merged, by whoever pushed.
func (s *Server) baseMoved(p *pull, who actor, u refUpdate) {
	p.judged = false
	if u.new.IsZero() {
		s.closePull(p, who)
		return
	}
	inside, err := p.repo.git.isAncestor(p.headSHA, u.new)
	if err != nil || !inside {
		return
	}
	p.mergeSHA = p.repo.broughtIn(p.headSHA, u)
	p.merged, p.mergedBy = s.now(), who.user
	s.closePull(p, who)
}

// broughtIn finds the first commit of the base branch that contains head.
func (r *Repo) broughtIn(head plumbing.Hash, u refUpdate) plumbing.Hash {
	at := u.new
	for at != u.old {
		n, err := r.git.node(at)
		if err != nil || len(n.parents) == 0 {
			return at
		}
		if inside, err := r.git.isAncestor(head, n.parents[0]); err != nil || !inside {
			return at
		}
		at = n.parents[0]
	}
	return at
}

func (p *pull) refName() plumbing.ReferenceName {
	return plumbing.ReferenceName(fmt.Sprintf("refs/pull/%d/head", p.number))
}
