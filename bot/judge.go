package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// judgement is a verdict with everything it rests on: what the check run and
// the merge message say, and what the record keeps.
type judgement struct {
	verdict  grants.Verdict
	grant    grants.Grant // zero where the file could not be read
	path     string
	blob     string
	noGrant  bool // the pull request touches no grant at all
	theirs   bool // who proposes the grant is who asks for it
	decision policies.Decision
	count    policies.Count
	facts    policies.Facts
	set      *policies.Set // that was asked
	policy   string        // commit whose policies were asked
	target   grants.Target
	pull     world.Pull
	commits  []string // of the pull request, oldest first
	earlier  []string // those of them whose file holds all that the head's does
}

// digest changes whenever people should be told something new.
func (j *judgement) digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %s %s\n", j.pull.Head, j.verdict.Ruling, j.verdict.Rule, j.verdict.Why)
	for _, a := range j.count.Approvers {
		fmt.Fprintf(h, "%d %d\n", a.Person.ID, a.Review)
	}
	if base := j.facts.Base; base != nil { // another extension was merged
		fmt.Fprintf(h, "%s\n", base.Total)
	}
	for _, need := range j.count.Missing { // an escalation adds a role
		fmt.Fprintf(h, "%s %q\n", need.Policy, need.Roles)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func (j *judgement) no(rule, format string, args ...any) *judgement {
	j.verdict = grants.Verdict{Ruling: grants.No, Rule: rule, Why: fmt.Sprintf(format, args...)}
	return j
}

// judgeHead judges an open pull request at its head, by the policies of the
// default branch as they are now. Nothing of the head is read but the one
// grant file (threats.md I9). Teams may have been read as long ago as fresh.
func (b *Bot) judgeHead(ctx context.Context, m *mainSight, pull world.Pull, own bool, fresh time.Duration) (*judgement, error) {
	j := &judgement{pull: pull}
	if pull.Base != b.Branch {
		return j.no("pull/base", "the pull request is for the branch %s; grants go to %s", printable(pull.Base), b.Branch), nil
	}
	m, proposal, err := b.proposalOf(ctx, m, pull)
	if err != nil {
		return nil, err
	}
	j.policy = m.tip
	j.commits = proposal.Commits
	touches := func(c world.Change) bool { return strings.HasPrefix(strings.ToLower(c.Path), "grants/") }
	if !slices.ContainsFunc(proposal.Changes, touches) {
		j.noGrant = true
		return j.no("pull/not-a-grant", "the pull request touches no grant"), nil
	}
	if !pull.SameRepo {
		return j.no("pull/fork", "the pull request comes from a fork; push a branch to the grants repository itself"), nil
	}
	if err := b.readGrant(ctx, j, proposal.Changes); err != nil || j.verdict.Ruling == grants.No {
		return j, err
	}
	if paths := m.paths[j.grant.ID]; len(paths) > 0 {
		return j.no("pull/exists", "a grant of this id is on the default branch already: %s", paths[0]), nil
	}
	if err := b.checkAuthor(ctx, j, pull); err != nil || j.verdict.Ruling == grants.No {
		return j, err
	}
	j.theirs = true
	if late := b.checkAge(j, pull.CreatedAt); late {
		return j, nil
	}
	if pull.Draft {
		j.verdict = grants.Verdict{Ruling: grants.Ask, Rule: "pull/draft", Why: "the pull request is a draft: mark it ready for review"}
		return j, nil
	}
	var reviews []policies.Review
	if !own {
		if reviews, err = b.Forge.Reviews(ctx, pull.Number); err != nil {
			return nil, fmt.Errorf("read the reviews: %w", err)
		}
	}
	return j, b.decide(ctx, j, m.set, b.Now(), fresh, reviews)
}

// proposalOf returns what a pull request would change, and the look at main
// that this holds for. More than one file may mean that the branch stands on a
// newer main than was seen: nothing is denied before a new look.
func (b *Bot) proposalOf(ctx context.Context, m *mainSight, pull world.Pull) (*mainSight, world.Proposal, error) {
	proposal, err := b.Repository.Proposal(ctx, pull.Number, pull.Head)
	if err != nil || len(proposal.Changes) == 1 && len(proposal.Commits) == 1 {
		return m, proposal, err
	}
	b.main.expire()
	if m, err = b.mainNow(ctx); err != nil {
		return nil, world.Proposal{}, err
	}
	proposal, err = b.Repository.Proposal(ctx, pull.Number, pull.Head)
	return m, proposal, err
}

// readGrant demands that the changes are exactly one plain file, added at
// its canonical path in canonical form (threats.md C1 to C6).
func (b *Bot) readGrant(ctx context.Context, j *judgement, changes []world.Change) error {
	if len(changes) != 1 {
		paths := make([]string, 0, len(changes))
		for _, c := range changes {
			paths = append(paths, c.Path)
		}
		slices.Sort(paths)
		j.no("pull/one-file", "a grant is exactly one added file; this changes %d: %s", len(changes), list(paths, 5))
		return nil
	}
	c := changes[0]
	resource, id, ok := grants.ParsePath(c.Path)
	switch {
	case c.Old != nil && c.New != nil:
		j.no("pull/added", "%s is changed; grants are never changed, ask for a new one", printable(c.Path))
	case c.New == nil:
		j.no("pull/added", "%s is deleted; to end a grant use `tac access drop` or `revoke`", printable(c.Path))
	case !ok:
		j.no("pull/path", "%s is not where a grant can be; grants are grants/<resource>/<id>.yaml", printable(c.Path))
	case c.New.Mode != world.PlainFile:
		j.no("pull/mode", "%s has the git mode %06o; a grant is a plain file (100644)", c.Path, c.New.Mode)
	}
	if j.verdict.Ruling == grants.No {
		return nil
	}
	j.path, j.blob = c.Path, c.New.Blob
	data, err := b.Repository.Blob(ctx, c.New.Blob)
	if err != nil {
		return fmt.Errorf("read %s: %w", c.Path, err)
	}
	g, err := grants.Parse(c.Path, data)
	if err != nil {
		j.no("grant/form", "%v", err)
		return nil
	}
	j.grant = g
	if g.Resource != resource || g.ID != id {
		j.no("grant/path", "the file says %s %s, its path says %s %s", g.Resource, g.ID, resource, id)
	}
	return nil
}

// checkAuthor establishes who asks (threats.md B9, C8): either the bot
// proposed the file and Vault's signature covers it, or the requester did so
// alone and by hand.
func (b *Bot) checkAuthor(ctx context.Context, j *judgement, pull world.Pull) error {
	bot, err := b.Forge.Bot(ctx)
	if err != nil {
		return fmt.Errorf("find out who we are: %w", err)
	}
	g := j.grant
	if pull.Author.ID == bot {
		return b.checkAttestation(ctx, j, pull)
	}
	switch {
	case strings.HasPrefix(pull.Branch, grants.BranchPrefix):
		j.no("pull/branch", "branches %s* are the bot's own; push your grant to another branch", grants.BranchPrefix)
	case g.Attestation != "":
		j.no("grant/attestation", "a hand-written grant carries no attestation; take the line away")
	case g.Narrows != "":
		j.no("grant/narrows", "only tac narrows a grant that somebody reviewed; take the line away")
	case g.Via != grants.ViaGit:
		j.no("grant/via", "a hand-written grant says `via: git`, not %s", g.Via)
	case pull.AuthorBot || !g.Requester.Same(pull.Author):
		j.no("pull/author", "the grant is for %s (%d) but %s (%d) opened the pull request; everybody asks for themselves",
			g.Requester, g.Requester.ID, pull.Author, pull.Author.ID)
	case g.Requester.GitHub != pull.Author.GitHub:
		// The number decides, but people read the name.
		j.no("pull/author", "the account %d is called %s and not %s; write its login as GitHub does", g.Requester.ID, pull.Author, g.Requester)
	}
	if j.verdict.Ruling == grants.No {
		return nil
	}
	committers, err := b.Forge.Committers(ctx, pull.Number)
	if err != nil {
		return fmt.Errorf("read who committed: %w", err)
	}
	for _, id := range committers {
		if id != g.Requester.ID {
			j.no("pull/committers", "every commit of a hand-written grant is the requester's own; one here is by the account %d", id)
		}
	}
	return nil
}

func (b *Bot) checkAttestation(ctx context.Context, j *judgement, pull world.Pull) error {
	g := j.grant
	if pull.Branch != g.Branch() {
		j.no("pull/branch", "the bot proposes this grant on %s, not on %s", g.Branch(), printable(pull.Branch))
		return nil
	}
	if err := b.attested(ctx, j, g); err != nil || j.verdict.Ruling == grants.No {
		return err
	}
	return b.checkNarrowings(ctx, j)
}

// attested refuses a file that Vault did not sign for us.
func (b *Bot) attested(ctx context.Context, j *judgement, g grants.Grant) error {
	if g.Attestation == "" {
		j.no("grant/attestation", "the grant carries no attestation though the bot's account proposed it")
		return nil
	}
	ours, err := b.Vault.Verify(ctx, g.SignedBytes(), g.Attestation)
	if err != nil {
		return fmt.Errorf("verify the attestation: %w", err)
	}
	if !ours {
		j.no("grant/attestation", "the attestation does not cover these bytes: the file was altered")
	}
	return nil
}

// checkAge refuses a replay of an old file (threats.md C9).
func (b *Bot) checkAge(j *judgement, proposed time.Time) (refused bool) {
	age := proposed.Sub(j.grant.RequestedAt)
	switch {
	case age > requestTTL:
		j.no("grant/age", "requested_at is %s before the pull request; ask anew", grants.FormatDuration(age.Round(time.Minute)))
		return true
	case age < -5*time.Minute:
		j.no("grant/age", "requested_at lies in the future")
		return true
	case j.grant.Start.Sub(j.grant.RequestedAt) > mostAhead:
		j.no("grant/start", "%s", tooFarAhead)
		return true
	}
	return false
}

// mostAhead is how far ahead a start may lie. Consent grows stale: who is in
// which role next year is nobody's to say today.
const mostAhead = 30 * 24 * time.Hour

const tooFarAhead = "the start is more than 30 days ahead; ask nearer to the time"

// decide asks policy and counts the reviews. What others were given without
// review counts up to the commit whose policies are asked.
func (b *Bot) decide(ctx context.Context, j *judgement, set *policies.Set, at time.Time, fresh time.Duration, reviews []policies.Review) error {
	facts, err := b.gather(ctx, set, question{grant: j.grant, at: at, fresh: fresh, upTo: j.policy, since: j.since()})
	if err != nil {
		return err
	}
	if reviews, err = b.ofMembers(ctx, reviews, fresh); err != nil {
		return err
	}
	if reviews, err = b.ofThisLength(ctx, j, reviews); err != nil {
		return err
	}
	j.facts, j.set = facts, set
	j.decision = set.Evaluate(policies.RequestOf(j.grant), facts)
	if r, ok := set.Resource(j.grant.Resource); ok {
		j.target = r.Vault
	}
	j.count = set.CountApprovals(j.decision, policies.Proposal{
		Head: j.pull.Head, Earlier: j.earlier, Requester: j.grant.Requester, Banned: b.banned(j.pull),
	}, reviews, facts)
	j.verdict = ruling(j.decision, j.count)
	return nil
}

// since is when people could first answer. Of a pull request that somebody
// opened by hand it is not known: as a draft, or with other content, it may
// have stood there for long before anybody was asked.
func (j *judgement) since() time.Time {
	if !j.pull.AuthorBot {
		return time.Time{}
	}
	return j.pull.CreatedAt
}

// sinceOf is the same of what was consented to.
func sinceOf(r *grants.Record) time.Time {
	if r.Grant.Via == grants.ViaGit {
		return time.Time{}
	}
	return r.Grant.RequestedAt
}

// banned lists who may not approve besides the requester: whoever pushed.
// Only the bot can push to its branches, and all commits of a hand-written
// grant are the requester's own, so the author is all there is.
func (b *Bot) banned(pull world.Pull) []int64 { return []int64{pull.Author.ID} }

// ofMembers leaves out approvals of people who have left the organisation: a
// role that names them may not have heard of it yet (threats.md B7). Their
// denials stand.
func (b *Bot) ofMembers(ctx context.Context, reviews []policies.Review, fresh time.Duration) ([]policies.Review, error) {
	kept := make([]policies.Review, 0, len(reviews))
	for _, r := range reviews {
		if r.State == policies.ReviewApproved {
			member, err := b.member(ctx, r.User.ID, fresh)
			if err != nil {
				return nil, err
			}
			if !member {
				continue
			}
			fresh = max(fresh, factFresh) // one look is enough for all
		}
		kept = append(kept, r)
	}
	return kept, nil
}

func ruling(d policies.Decision, count policies.Count) grants.Verdict {
	v := grants.Verdict{Rule: d.Rule, Why: d.Nearest}
	switch {
	case d.Outcome == policies.Deny:
		v.Ruling = grants.No
	case len(count.Blocked) > 0:
		v.Ruling = grants.Ask
		v.Why = fmt.Sprintf("%s denied it; only their own approval lifts that", count.Blocked[0].Person)
	case d.Outcome == policies.Allow:
		v.Ruling = grants.Yes
	case d.Outcome == policies.NeedsReview && count.Satisfied:
		v.Ruling = grants.Yes
	case d.Outcome == policies.NeedsReview:
		v.Ruling = grants.Ask
	}
	return v
}

// judgeHolder asks whether requester and resource still exist. No ends the
// grant; not knowing neither ends nor gives anything.
func (b *Bot) judgeHolder(ctx context.Context, m *mainSight, r *grants.Record) grants.Verdict {
	if m == nil || m.set.Err() != nil {
		return grants.Verdict{Why: "the policies cannot be read now"}
	}
	who := r.Grant.Requester
	if _, known := m.set.Person(who.ID); !known {
		return grants.Verdict{Ruling: grants.No, Rule: "people/unknown", Why: fmt.Sprintf("%s is no longer among the people", who)}
	}
	if _, known := m.set.Resource(r.Grant.Resource); !known {
		return grants.Verdict{Ruling: grants.No, Rule: "resource/unknown", Why: fmt.Sprintf("the resource %s no longer exists", r.Grant.Resource)}
	}
	member, err := b.member(ctx, who.ID, factFresh)
	if err != nil {
		return grants.Verdict{Why: err.Error()}
	}
	if !member {
		return grants.Verdict{Ruling: grants.No, Rule: "people/left", Why: fmt.Sprintf("%s is no longer in the organisation", who)}
	}
	return grants.Verdict{Ruling: grants.Yes}
}

// judgeClaim asks whether consent still stands at a claim: the approvers that
// were counted must still be who they were (threats.md B7).
func (b *Bot) judgeClaim(ctx context.Context, m *mainSight, r *grants.Record) (grants.Verdict, error) {
	if m == nil {
		return grants.Verdict{Why: "GitHub cannot be reached, and nothing is issued on what cannot be checked"}, nil
	}
	// The time that an extension added is claimed with the rest.
	for _, e := range r.Extensions {
		extension, err := b.Vault.Record(ctx, e.ID)
		if err != nil || extension == nil {
			return grants.Verdict{Why: fmt.Sprintf("the record of %s, which extends this, cannot be read", e.ID)}, err
		}
		if v, err := b.judgeClaim(ctx, m, extension); err != nil || v.Ruling != grants.Yes {
			return v, err
		}
	}
	if len(r.Approvers) == 0 {
		return grants.Verdict{Ruling: grants.Yes, Rule: r.Rule}, nil
	}
	consented, err := b.mergedAt(ctx, m, r)
	if err != nil {
		return grants.Verdict{}, err
	}
	// Memberships are those of now, duties those of the consent: whoever was
	// on duty then is not asked to be so for ever. What was given without
	// review since counts as well, so that nothing is allowed by its absence.
	facts, err := b.gather(ctx, m.set, question{grant: r.Grant, at: consented, upTo: m.tip, since: sinceOf(r), settled: true})
	if err != nil {
		return grants.Verdict{}, err
	}
	d := m.set.Evaluate(policies.RequestOf(r.Grant), facts)
	if d.Outcome == policies.Allow {
		return grants.Verdict{Ruling: grants.Yes, Rule: d.Rule}, nil
	}
	reviews := make([]policies.Review, 0, len(r.Approvers))
	for _, a := range r.Approvers {
		reviews = append(reviews, policies.Review{ID: a.Review, User: a.Principal, UserType: "User", State: policies.ReviewApproved, CommitID: a.Commit})
	}
	if reviews, err = b.ofMembers(ctx, reviews, 0); err != nil {
		return grants.Verdict{}, err
	}
	// The gate has seen that each of these commits held all that was merged.
	proposal := policies.Proposal{Head: r.Approvers[0].Commit, Requester: r.Grant.Requester}
	for _, a := range r.Approvers[1:] {
		proposal.Earlier = append(proposal.Earlier, a.Commit)
	}
	if m.set.CountApprovals(d, proposal, reviews, facts).Satisfied {
		return grants.Verdict{Ruling: grants.Yes, Rule: r.Rule}, nil
	}
	if why := silentSources(facts); why != "" {
		return grants.Verdict{Why: why + ", and nothing is issued on what cannot be checked"}, nil
	}
	return grants.Verdict{Ruling: grants.No, Rule: r.Rule, Why: "somebody who approved this may no longer approve it; ask anew"}, nil
}

// mergedAt returns when a grant was merged. One without a start begins then.
func (b *Bot) mergedAt(ctx context.Context, m *mainSight, r *grants.Record) (time.Time, error) {
	if r.Grant.Start.IsZero() {
		return r.StartsAt, nil
	}
	b.given.mu.Lock()
	defer b.given.mu.Unlock()
	if _, read := b.given.merged[r.Commit]; !read {
		if err := b.readUses(ctx, m.tip); err != nil {
			return time.Time{}, err
		}
	}
	at, read := b.given.merged[r.Commit]
	if !read {
		return time.Time{}, fmt.Errorf("find the merge of %s: the default branch does not hold %s", r.Grant.ID, r.Commit)
	}
	return at, nil
}

// judgeStart judges clock facts again when a scheduled grant starts.
func (b *Bot) judgeStart(ctx context.Context, r *grants.Record) (grants.Verdict, error) {
	set, err := b.policySet(ctx, r.Commit)
	if err != nil {
		return grants.Verdict{}, err
	}
	facts, err := b.gather(ctx, set, question{grant: r.Grant, at: r.StartsAt, since: sinceOf(r), settled: true})
	if err != nil {
		return grants.Verdict{}, err
	}
	d := set.Evaluate(policies.RequestOf(r.Grant), facts)
	v := grants.Verdict{Rule: d.Rule, Why: d.Nearest}
	switch {
	case d.Outcome == policies.Allow, d.Outcome == policies.NeedsReview && len(r.Approvers) > 0:
		v.Ruling = grants.Yes
	case len(d.Silent) > 0:
		return grants.Verdict{}, fmt.Errorf("judge %s at its start: %s", r.Grant.ID, strings.Join(d.Silent, "; "))
	default:
		v.Ruling = grants.No
	}
	return v, nil
}
