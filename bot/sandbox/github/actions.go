package github

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
)

// Commit is what a log shows of a commit.
type Commit struct {
	SHA       string
	Tree      string
	Parents   []string
	Author    string // name
	Committer string // name
	When      time.Time
	Message   string
}

// Seed commits files (content by path) on top of a branch, creating it where
// needed, past all rules: it is how a test's history begins.
func (s *Server) Seed(repo, branch string, files map[string]string, author, message string) (sha string, err error) {
	err = s.withRepo(repo, func(r *Repo) error {
		u, err := s.user(author)
		if err != nil {
			return err
		}
		h, err := s.commitOn(r, r.refs[branchRef(branch)], changesOf(files), u, message)
		if err != nil {
			return err
		}
		sha = h.String()
		s.setRef(r, actor{user: u}, refUpdate{name: branchRef(branch), old: r.refs[branchRef(branch)], new: h}, false)
		return nil
	})
	return sha, err
}

func changesOf(files map[string]string) map[string]*string {
	changes := map[string]*string{}
	for path, content := range files {
		changes[path] = &content
	}
	return changes
}

// commitOn makes a commit on a parent (zero for none) without moving any ref.
func (s *Server) commitOn(r *Repo, parent plumbing.Hash, changes map[string]*string, author *User, message string) (plumbing.Hash, error) {
	var tree plumbing.Hash
	var parents []plumbing.Hash
	if !parent.IsZero() {
		n, err := r.git.node(parent)
		if err != nil {
			return plumbing.ZeroHash, err
		}
		tree, parents = n.tree, []plumbing.Hash{parent}
	}
	next, err := r.git.rooted(r.git.edit(tree, changes))
	if err != nil {
		return plumbing.ZeroHash, err
	}
	who := signature(author.Name, author.Email, s.now())
	return r.git.newCommit(next, parents, who, who, message)
}

// Push is a commit that somebody makes and pushes.
type Push struct {
	Repo    string // "owner/name"
	Login   string
	Branch  string
	From    string            // branch, ref or SHA to commit on; default: Branch where it exists, else the default branch
	Files   map[string]string // content by path
	Delete  []string          // paths
	Message string
	Force   bool // the branch may be moved to where From is not an ancestor
	Amend   bool // the new commit takes the place of From's tip; implies Force
}

// Push makes the commit and pushes it by the rules that a git push meets. It
// returns the new commit's SHA.
func (s *Server) Push(p Push) (sha string, err error) {
	err = s.withRepo(p.Repo, func(r *Repo) error {
		who, err := s.person(r, p.Login, "write")
		if err != nil {
			return err
		}
		old := r.refs[branchRef(p.Branch)]
		parent, err := r.pushBase(p, old)
		if err != nil {
			return err
		}
		changes := changesOf(p.Files)
		for _, path := range p.Delete {
			changes[path] = nil
		}
		h, err := s.pushCommit(r, parent, changes, who.user, p)
		if err != nil {
			return err
		}
		sha = h.String()
		return s.changeRef(r, who, refUpdate{branchRef(p.Branch), old, h, p.Force || p.Amend})
	})
	if err != nil {
		return "", fmt.Errorf("push to %s of %s: %w", p.Branch, p.Repo, err)
	}
	return sha, nil
}

func (r *Repo) pushBase(p Push, old plumbing.Hash) (plumbing.Hash, error) {
	switch {
	case p.From != "":
		h, found := r.resolve(p.From)
		if !found {
			return h, fmt.Errorf("%s names no commit", p.From)
		}
		return h, nil
	case !old.IsZero():
		return old, nil
	}
	return r.refs[r.defaultRef()], nil
}

func (s *Server) pushCommit(r *Repo, parent plumbing.Hash, changes map[string]*string, author *User, p Push) (plumbing.Hash, error) {
	if !p.Amend {
		return s.commitOn(r, parent, changes, author, p.Message)
	}
	n, err := r.git.node(parent)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	tree, err := r.git.rooted(r.git.edit(n.tree, changes))
	if err != nil {
		return plumbing.ZeroHash, err
	}
	who := signature(author.Name, author.Email, s.now())
	return r.git.newCommit(tree, n.parents, who, who, p.Message)
}

// MoveBranch pushes an existing commit to a branch, by force where needed.
func (s *Server) MoveBranch(repo, login, branch, sha string) error {
	return s.withRepo(repo, func(r *Repo) error {
		who, err := s.person(r, login, "write")
		if err != nil {
			return err
		}
		return s.changeRef(r, who, refUpdate{branchRef(branch), r.refs[branchRef(branch)], plumbing.NewHash(sha), true})
	})
}

// DeleteBranch deletes a branch as somebody.
func (s *Server) DeleteBranch(repo, login, branch string) error {
	return s.withRepo(repo, func(r *Repo) error {
		who, err := s.person(r, login, "write")
		if err != nil {
			return err
		}
		return s.changeRef(r, who, refUpdate{name: branchRef(branch), old: r.refs[branchRef(branch)]})
	})
}

// person is somebody who acts for themselves, if they have the level.
func (s *Server) person(r *Repo, login, level string) (actor, error) {
	u, err := s.user(login)
	if err != nil {
		return actor{}, err
	}
	if rank(s.level(u, r)) < rank(level) {
		return actor{}, fmt.Errorf("%s has no %s access to %s", login, level, r.fullName())
	}
	return actor{user: u}, nil
}

// withPull runs f on a pull request as somebody who has a level on it.
func (s *Server) withPull(repo string, number int, login, level string, f func(*pull, actor) error) error {
	err := s.withRepo(repo, func(r *Repo) error {
		p, err := r.pull(number)
		if err != nil {
			return err
		}
		who, err := s.person(r, login, level)
		if err != nil {
			return err
		}
		return f(p, who)
	})
	if err != nil {
		return fmt.Errorf("%s#%d as %s: %w", repo, number, login, err)
	}
	return nil
}

// OpenPull opens a pull request as somebody and returns its number. Head is a
// branch, or "owner:branch" for one of a fork.
func (s *Server) OpenPull(repo, login, head, base, title, body string) (number int, err error) {
	err = s.withRepo(repo, func(r *Repo) error {
		who, err := s.person(r, login, "read")
		if err != nil {
			return err
		}
		p, err := s.openPull(r, who, title, head, base, body, false)
		if err != nil {
			return err
		}
		number = p.number
		return nil
	})
	return number, err
}

// Review reviews a pull request as somebody; event is APPROVE,
// REQUEST_CHANGES or COMMENT, and an empty commit means the present head.
func (s *Server) Review(repo string, number int, login, event, commit string) (id int64, err error) {
	err = s.withPull(repo, number, login, "read", func(p *pull, who actor) error {
		body := ""
		if event != "APPROVE" {
			body = "See above."
		}
		r, err := s.addReview(p, who, event, body, commit)
		if err != nil {
			return err
		}
		id = r.id
		return nil
	})
	return id, err
}

// Dismiss dismisses a review as somebody who may write.
func (s *Server) Dismiss(repo string, number int, review int64, login, message string) error {
	return s.withPull(repo, number, login, "write", func(p *pull, who actor) error {
		for _, r := range p.reviews {
			if r.id == review {
				return s.dismiss(p, r, who, message)
			}
		}
		return fmt.Errorf("review %d does not exist", review)
	})
}

// DismissedBy returns who dismissed a review, empty where nobody did.
func (s *Server) DismissedBy(repo string, number int, review int64) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live.repo(repo)
	if err != nil {
		return "", err
	}
	p, err := r.pull(number)
	if err != nil {
		return "", err
	}
	for _, v := range p.reviews {
		if v.id == review && v.dismissedBy != nil {
			return v.dismissedBy.Login, nil
		}
	}
	return "", nil
}

// ClosePull closes a pull request without merging it.
func (s *Server) ClosePull(repo string, number int, login string) error {
	return s.withPull(repo, number, login, "read", func(p *pull, who actor) error {
		if !p.open {
			return errors.New("already closed")
		}
		s.closePull(p, who)
		return nil
	})
}

// ReopenPull opens a closed pull request again.
func (s *Server) ReopenPull(repo string, number int, login string) error {
	return s.withPull(repo, number, login, "read", s.reopenPull)
}

// Rebase gives a pull request another base branch.
func (s *Server) Rebase(repo string, number int, login, base string) error {
	return s.withPull(repo, number, login, "read", func(p *pull, who actor) error {
		return s.changePull(p, who, nil, nil, &base)
	})
}

// SetDraft makes a pull request a draft, or ready for review.
func (s *Server) SetDraft(repo string, number int, login string, draft bool) error {
	return s.withPull(repo, number, login, "read", func(p *pull, who actor) error {
		p.draft, p.updated = draft, s.now()
		action := "ready_for_review"
		if draft {
			action = "converted_to_draft"
		}
		s.emitPull(p, who, action, nil)
		return nil
	})
}

// Merge squashes a pull request as somebody who may write, by all the rules.
func (s *Server) Merge(repo string, number int, login string) (sha string, err error) {
	return s.mergeAs(repo, number, login, "write", false)
}

// MergeAsAdmin merges although the required check is missing or failing, as
// an administrator could who has switched the rule off for a moment.
func (s *Server) MergeAsAdmin(repo string, number int, login string) (sha string, err error) {
	return s.mergeAs(repo, number, login, "admin", true)
}

func (s *Server) mergeAs(repo string, number int, login, level string, force bool) (sha string, err error) {
	err = s.withPull(repo, number, login, level, func(p *pull, who actor) error {
		if err := s.merge(p, who, mergeRequest{Method: "squash", force: force}); err != nil {
			return err
		}
		sha = p.mergeSHA.String()
		return nil
	})
	return sha, err
}

// Commits returns the first-parent log of a branch, newest first.
func (s *Server) Commits(repo, branch string) ([]Commit, error) {
	var log []Commit
	err := s.withRepo(repo, func(r *Repo) error {
		at, found := r.refs[branchRef(branch)]
		if !found {
			return fmt.Errorf("branch %s of %s does not exist", branch, repo)
		}
		for !at.IsZero() {
			c, err := r.git.commit(at)
			if err != nil {
				return err
			}
			shown := Commit{
				SHA: at.String(), Tree: c.TreeHash.String(), Author: c.Author.Name, Committer: c.Committer.Name,
				When: c.Committer.When.UTC(), Message: c.Message,
			}
			at = plumbing.ZeroHash
			for i, p := range c.ParentHashes {
				if i == 0 {
					at = p
				}
				shown.Parents = append(shown.Parents, p.String())
			}
			log = append(log, shown)
		}
		return nil
	})
	return log, err
}

// Files returns the files of a branch, ref or commit: content by path.
func (s *Server) Files(repo, ref string) (map[string]string, error) {
	files := map[string]string{}
	err := s.withRepo(repo, func(r *Repo) error {
		h, found := r.resolve(ref)
		if !found {
			return fmt.Errorf("%s of %s names no commit", ref, repo)
		}
		n, err := r.git.node(h)
		if err != nil {
			return err
		}
		changes, err := r.git.diff(plumbing.ZeroHash, n.tree)
		if err != nil {
			return err
		}
		for _, c := range changes {
			if content, err := r.git.blob(c.after.Hash); err == nil { // a submodule has none
				files[c.path] = string(content)
			}
		}
		return nil
	})
	return files, err
}
