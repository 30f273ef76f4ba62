package github

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/go-git/go-git/v5/plumbing"
)

// policyCheck is the check run that Protect requires.
const policyCheck = "tac/policy"

// mergeRequest is what a caller may say about a merge.
type mergeRequest struct {
	Title   string `json:"commit_title"`
	Message string `json:"commit_message"`
	SHA     string `json:"sha"`
	Method  string `json:"merge_method"`

	force bool // pass over the required check, as an admin who bypasses rules
}

func (c *call) mergePull() (answer, error) {
	p, err := c.pull()
	if err != nil {
		return answer{}, err
	}
	var in mergeRequest
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	if err := c.s.merge(p, c.who, in); err != nil {
		return answer{}, err
	}
	return ok(object{"sha": p.mergeSHA.String(), "merged": true, "message": "Pull Request successfully merged"})
}

func notMergeable(message string) *apiError { return failure(http.StatusMethodNotAllowed, message) }

// merge squashes a pull request onto its base. The head's SHA, where the
// caller names it, is compared under the same lock: nothing can be pushed
// between the comparison and the merge.
func (s *Server) merge(p *pull, who actor, in mergeRequest) error {
	switch {
	case !p.open:
		return notMergeable("Pull Request is not mergeable")
	case in.Method == "" || in.Method == "merge":
		return notMergeable("Merge commits are not allowed on this repository.")
	case in.Method == "rebase":
		return notMergeable("Rebase merges are not allowed on this repository.")
	case in.Method != "squash":
		return invalid("PullRequest", "merge_method", "invalid", "")
	case p.draft:
		return notMergeable("Pull Request is still a draft")
	case in.SHA != "" && in.SHA != p.headSHA.String():
		return failure(http.StatusConflict, "Head branch was modified. Review and try the merge again.")
	}
	tree, err := p.repo.mergedTree(p)
	if errors.Is(err, errConflict) {
		return notMergeable("Pull Request is not mergeable")
	}
	if err != nil {
		return err
	}
	if unmet := p.repo.unmetCheck(p); unmet != "" && !in.force {
		return notMergeable("Repository rule violations found\n\n" + unmet + "\n\n")
	}
	return s.squash(p, who, in, tree)
}

func (s *Server) squash(p *pull, who actor, in mergeRequest, tree plumbing.Hash) error {
	base := p.repo.refs[branchRef(p.baseRef)]
	message := in.Title
	if message == "" {
		message = fmt.Sprintf("%s (#%d)", p.title, p.number)
	}
	if in.Message != "" {
		message += "\n\n" + in.Message
	}
	now := s.now()
	author := signature(p.author.Name, p.author.Email, now)
	committer := signature("GitHub", "noreply@github.com", now)
	sha, err := p.repo.git.newCommit(tree, []plumbing.Hash{base}, author, committer, message)
	if err != nil {
		return err
	}
	if err := p.repo.git.checkComplete(sha); err != nil {
		return err
	}
	p.repo.git.web[sha] = true
	p.baseSHA, p.mergeSHA, p.merged, p.mergedBy = base, sha, now, who.user
	p.open, p.closed, p.updated = false, now, now
	s.setRef(p.repo, who, refUpdate{name: branchRef(p.baseRef), old: base, new: sha}, false)
	s.emitPull(p, who, "closed", nil)
	return nil
}

// mergedTree is the tree that merging p now would give, errConflict where
// there is none.
func (r *Repo) mergedTree(p *pull) (plumbing.Hash, error) {
	baseTip := r.refs[branchRef(p.baseRef)]
	base, err := r.git.node(baseTip)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	head, err := r.git.node(p.headSHA)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	fork, err := r.git.mergeBase(p.headSHA, baseTip)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if fork.IsZero() {
		return plumbing.ZeroHash, errConflict
	}
	from, err := r.git.node(fork)
	if err != nil {
		return plumbing.ZeroHash, err
	}
	return r.git.rooted(r.git.mergeTrees(from.tree, base.tree, head.tree))
}

// unmetCheck says what the required check still lacks, in GitHub's words;
// empty when nothing is required or all is well. Only a check run of the
// expected App counts: anybody who may write can set one by another.
func (r *Repo) unmetCheck(p *pull) string {
	if r.rules == nil || p.baseRef != r.defaultBranch {
		return ""
	}
	var latest *checkRun
	for _, run := range r.checks {
		if run.head == p.headSHA && run.name == policyCheck && run.app == r.rules.app {
			latest = run
		}
	}
	switch {
	case latest == nil:
		return fmt.Sprintf("Required status check %q is expected.", policyCheck)
	case latest.status != "completed":
		return fmt.Sprintf("Required status check %q is in progress.", policyCheck)
	case latest.conclusion == "success", latest.conclusion == "neutral", latest.conclusion == "skipped":
		return ""
	}
	return fmt.Sprintf("Required status check %q is failing.", policyCheck)
}
