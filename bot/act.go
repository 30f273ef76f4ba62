package bot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// act does one step. Each is idempotent or a compare-and-swap, so doing it
// twice, or in two replicas, does it once.
func (b *Bot) act(ctx context.Context, id grants.ID, step grants.Step, s *sight) error {
	switch step.Kind {
	case grants.Propose:
		return b.propose(ctx, s)
	case grants.Narrow:
		return b.narrow(ctx, s)
	case grants.Show:
		return b.show(ctx, s)
	case grants.Merge:
		return b.merge(ctx, step, s)
	case grants.Close:
		return b.close(ctx, step, s)
	case grants.Finish:
		return b.finish(ctx, step, s)
	case grants.Consent:
		return b.consent(ctx, s)
	case grants.Refuse:
		return b.refuse(ctx, step, s)
	case grants.Remove:
		b.remove(s.path, removal{grant: s.grant, outcome: step.Outcome, by: step.By, why: step.Why})
		return errLater
	case grants.Issue:
		return b.issueForChat(ctx, s)
	case grants.Extend:
		return b.extend(ctx, s)
	case grants.Alarm:
		return b.alarm(ctx, s)
	}
	if step.Kind == grants.Shorten && s.Record.Carried {
		return b.shorten(ctx, s)
	}
	return b.actOnRecord(ctx, id, step, s)
}

// actOnRecord does the steps that need nothing but Vault.
func (b *Bot) actOnRecord(ctx context.Context, id grants.ID, step grants.Step, s *sight) error {
	r := s.Record
	switch step.Kind {
	case grants.Shorten:
		r.Shorten(s.Withdrawn)
		return b.Vault.PutRecord(ctx, r)
	case grants.Start:
		r.Started = true
		return b.Vault.PutRecord(ctx, r)
	case grants.Renew:
		return b.Vault.Renew(ctx, r, s.Clocks.Latest)
	case grants.ConfirmTake:
		r.State = grants.Delivered
		return b.Vault.PutRecord(ctx, r)
	case grants.Retire:
		return b.retire(ctx, r, s.Clocks.Latest)
	case grants.Warn:
		if wait, unsaid := b.warn(ctx, s); unsaid {
			// The next look is at the end, if that comes first.
			b.queue.AddAfter(item{grant: id}, min(wait, b.later(r.EndsAt)))
			return errLater
		}
		r.Warned = true
		return b.Vault.PutRecord(ctx, r)
	case grants.Reviewed:
		r.Aftermath.By, r.Aftermath.At = step.By, s.Clocks.Latest
		return b.Vault.PutRecord(ctx, r)
	case grants.Fail:
		r.State = grants.Failed
		return b.Vault.PutRecord(ctx, r)
	case grants.End:
		return b.end(ctx, r, step.Outcome, step.By, step.Why, s.Clocks.Latest)
	case grants.Revoke:
		return b.revoke(ctx, r, s.Clocks.Latest)
	}
	return fmt.Errorf("the step %q is unknown", step.Kind)
}

// propose makes the request visible: a branch with the one file, attested,
// and a pull request that says everything.
func (b *Bot) propose(ctx context.Context, s *sight) error {
	r := s.Request
	g := r.Grant
	signature, err := b.Vault.Sign(ctx, g.SignedBytes())
	if err != nil {
		return fmt.Errorf("attest: %w", err)
	}
	g.Attestation = signature
	head, err := b.Repository.Propose(ctx, world.NewBranch{
		Name:    g.Branch(),
		Base:    s.main.tip,
		Path:    g.Path(),
		Content: g.Encode(),
		Message: proposalMessage(g),
		At:      g.RequestedAt,
	})
	if err != nil {
		return fmt.Errorf("push %s: %w", g.Branch(), err)
	}
	// Who may approve later on counts from now: the body says so at once.
	j := &judgement{grant: g, policy: s.main.tip, pull: world.Pull{CreatedAt: b.Now(), AuthorBot: true}}
	if err := b.decide(ctx, j, s.main.set, b.Now(), factFresh, nil); err != nil {
		return err
	}
	body := pullBody(j, s.main.set)
	pull, err := b.Forge.Open(ctx, world.NewPull{Branch: g.Branch(), Title: pullTitle(g), Body: body})
	if err != nil {
		return fmt.Errorf("open the pull request: %w", err)
	}
	b.pulls.put(pull, pull.Head == head, b.Now())
	r.Pull, r.Body = pull.Number, digest(body)
	return b.Vault.PutRequest(ctx, r)
}

// show tells the verdict: the check run that the branch rule waits for, the
// body, and the people who are asked to review.
func (b *Bot) show(ctx context.Context, s *sight) error {
	r, err := b.requestFor(ctx, s)
	if err != nil {
		return err
	}
	j := s.judgement
	check := checkOf(j, s.main.set)
	previous := r.Check
	if r.Head != j.pull.Head {
		previous = 0 // a check run belongs to one commit
	}
	number, err := b.Forge.Check(ctx, previous, check)
	if err != nil {
		return fmt.Errorf("say the verdict: %w", err)
	}
	if body := pullBody(j, s.main.set); j.pull.AuthorBot && digest(body) != r.Body {
		if err := b.Forge.Describe(ctx, j.pull.Number, body); err != nil {
			return fmt.Errorf("describe the pull request: %w", err)
		}
		r.Body = digest(body)
	}
	b.askFew(ctx, s)
	r.Check, r.Head, r.Shown = number, j.pull.Head, j.digest()
	return b.Vault.PutRequest(ctx, r)
}

// requestFor returns what is remembered of the request; for one written by
// hand it starts remembering.
func (b *Bot) requestFor(ctx context.Context, s *sight) (*grants.Request, error) {
	if s.Request != nil {
		return s.Request, nil
	}
	r := &grants.Request{Grant: s.grant, Pull: s.pull.Number, Chat: grants.Chat{Channel: b.Channel}}
	if s.grant.ID == "" {
		return nil, errors.New("the pull request names no grant")
	}
	if err := b.Vault.PutRequest(ctx, r); err != nil {
		return nil, fmt.Errorf("remember the request: %w", err)
	}
	s.Request = r
	return r, nil
}

func (b *Bot) merge(ctx context.Context, step grants.Step, s *sight) error {
	subject, message := mergeMessage(s.judgement)
	_, err := b.Forge.Merge(ctx, s.pull.Number, step.Head, subject, message)
	b.pulls.forget(s.pull.Number)
	b.main.expire()
	switch {
	case errors.Is(err, world.ErrLost):
		return fmt.Errorf("merge pull request %d: %w", s.pull.Number, err)
	case err != nil && !errors.Is(err, world.ErrAmbiguous):
		return errors.Join(err, b.sayAgain(ctx, s))
	}
	return err
}

// saidOver is no verdict's digest: what was shown has to be shown again.
const saidOver = "over"

// sayAgain has the verdict shown once more where GitHub refused to merge, and
// what it has as our verdict is not the one that was shown. Replicas share one
// check run, and one that looked earlier may have written over it last; what
// is remembered would never tell.
func (b *Bot) sayAgain(ctx context.Context, s *sight) error {
	if s.Request == nil {
		return nil
	}
	passed, err := b.Forge.Passed(ctx, s.pull.Head)
	if err != nil || passed {
		return err
	}
	// A new check run, for the other one may be a second of the same name:
	// GitHub goes by the latest.
	s.Request.Shown, s.Request.Check = saidOver, 0
	if err := b.Vault.PutRequest(ctx, s.Request); err != nil && !errors.Is(err, world.ErrLost) {
		return fmt.Errorf("have the verdict shown again: %w", err)
	}
	return nil
}

func (b *Bot) close(ctx context.Context, step grants.Step, s *sight) error {
	if err := b.Forge.Close(ctx, s.pull.Number, closingWords(step, s)); err != nil {
		return fmt.Errorf("close pull request %d: %w", s.pull.Number, err)
	}
	b.pulls.forget(s.pull.Number)
	if s.Request != nil && s.Request.Closed != "" {
		return nil
	}
	return b.finish(ctx, step, s)
}

func (b *Bot) finish(ctx context.Context, step grants.Step, s *sight) error {
	r, err := b.requestFor(ctx, s)
	if err != nil {
		return err
	}
	r.Closed, r.Why = step.Outcome, step.Why
	return b.Vault.PutRequest(ctx, r)
}

// consent writes the record that everything after rests on.
func (b *Bot) consent(ctx context.Context, s *sight) error {
	j, c := s.judgement, s.landed
	w, err := b.windowOf(ctx, j, c.Time)
	if err != nil {
		return err
	}
	r := &grants.Record{
		State: grants.Approved, Grant: j.grant, Commit: c.Hash, Blob: j.blob, Pull: j.pull.Number,
		Rule: j.verdict.Rule, Target: j.target, StartsAt: w.starts, EndsAt: w.ends, TokenUntil: w.tokenUntil, Carried: w.carried,
	}
	if j.grant.BreakGlass {
		r.Aftermath.Due = c.Time.UTC().Add(max(j.decision.ReviewWithin, time.Minute))
	}
	for _, a := range j.count.Approvers {
		r.Approvers = append(r.Approvers, grants.Approver{Principal: a.Person.Principal, Review: a.Review, Commit: a.Commit})
	}
	return b.Vault.PutRecord(ctx, r)
}

// refuse writes a tombstone: this id never issues, whatever is pushed later.
func (b *Bot) refuse(ctx context.Context, step grants.Step, s *sight) error {
	g := s.grant
	if g.Resource == "" {
		g.Resource, _, _ = grants.ParsePath(s.path)
	}
	return b.Vault.PutRecord(ctx, &grants.Record{
		State: grants.Revoked, Grant: g, Commit: s.landed.Hash, Blob: s.main.files[s.path].Blob,
		Outcome: grants.OutcomeRefused, EndedBy: grants.Tac, EndedWhy: step.Why, EndedAt: s.Clocks.Latest,
	})
}

func (b *Bot) end(ctx context.Context, r *grants.Record, outcome grants.Outcome, by, why string, now time.Time) error {
	r.State, r.Retiring = grants.Revoking, false
	r.Outcome, r.EndedBy, r.EndedWhy, r.EndedAt = outcome, by, why, now
	return b.Vault.PutRecord(ctx, r)
}

// alertAfter is how long a revocation may take before somebody is woken.
const alertAfter = 15 * time.Minute

func (b *Bot) revoke(ctx context.Context, r *grants.Record, now time.Time) error {
	if err := b.prove(ctx, r, now); err != nil {
		return err
	}
	r.State = grants.Revoked
	return b.Vault.PutRecord(ctx, r)
}

// prove kills what the record names and returns nil once that is proved; when
// it takes too long, somebody is woken.
func (b *Bot) prove(ctx context.Context, r *grants.Record, now time.Time) error {
	err := b.Vault.Kill(ctx, r, now)
	if err != nil && now.Sub(r.EndedAt) >= alertAfter {
		b.Alert(r.Grant.ID, "the credential cannot be proved dead: "+err.Error())
	}
	return err
}

// retire ends one generation. What was reserved and never recorded as issued
// counts as a failed issue; what merely changed hands does not.
func (b *Bot) retire(ctx context.Context, r *grants.Record, now time.Time) error {
	if r.State != grants.Revoking {
		if r.State == grants.Reserved {
			r.FailedIssues++
		}
		r.State, r.Retiring, r.EndedAt = grants.Revoking, true, now
		if err := b.Vault.PutRecord(ctx, r); err != nil {
			return err
		}
	}
	if err := b.prove(ctx, r, now); err != nil {
		return err
	}
	r.State, r.Retiring, r.EndedAt = grants.Retired, false, time.Time{}
	return b.Vault.PutRecord(ctx, r)
}

// issue has Vault issue a credential for a claim that Next allowed.
func (b *Bot) issue(ctx context.Context, s *sight) (*world.Credential, error) {
	if apart := s.Clocks.Latest.Sub(s.Clocks.Earliest); apart > forgeSkew {
		why := fmt.Sprintf("the clocks of the bot, Vault and GitHub are %s apart; nothing is issued until they agree", apart.Round(time.Second))
		b.Alert(s.grant.ID, why)
		return nil, refuse(CodeUnavailable, "%s", why)
	}
	return b.Vault.Issue(ctx, s.Record, world.IssueClaim{Holder: s.claim.holder, PublicKey: s.claim.publicKey, CSR: s.claim.csr, Now: s.Clocks.Latest})
}

// issueForChat claims on behalf of somebody who asked in chat, and sends the
// single-use token to them alone.
func (b *Bot) issueForChat(ctx context.Context, s *sight) error {
	credential, err := b.issue(ctx, s)
	if err != nil {
		return err
	}
	if err := b.Chat.Direct(ctx, b.chatUser(s), credentialNotice(s, credential)); err != nil {
		return fmt.Errorf("send the credential: %w", err)
	}
	s.Record.Sent = true
	return b.Vault.PutRecord(ctx, s.Record)
}

// reconcilePull looks at one pull request and hands it to its grant; one that
// touches no grant, or not only a grant, is told so by the check run.
func (b *Bot) reconcilePull(ctx context.Context, number int) (id grants.ID, err error) {
	defer b.survive("", &err)
	if id, known := b.pulls.grant(number); known {
		return id, b.reconcileNow(ctx, id)
	}
	pull, _, ok := b.pulls.get(number, b.Now())
	if !ok {
		if pull, err = b.readPull(ctx, number); err != nil {
			return "", err
		}
	}
	if id, ours := b.pulls.grant(number); ours {
		return id, b.reconcileNow(ctx, id)
	}
	if !pull.Open || pull.Base != b.Branch {
		return "", nil
	}
	return b.reconcileHandWritten(ctx, pull)
}

// reconcileHandWritten finds out which grant, if any, somebody proposes by
// hand, and hands the pull request to it.
func (b *Bot) reconcileHandWritten(ctx context.Context, pull world.Pull) (grants.ID, error) {
	unlock, err := b.locks.lock(ctx, fmt.Sprintf("pull %d", pull.Number))
	if err != nil {
		return "", err
	}
	defer unlock()
	if b.stillHeld(ctx, pull) {
		return "", nil
	}
	m, err := b.mainNow(ctx)
	if err != nil || m.frozen {
		return "", err // against rewritten history every pull request looks wrong
	}
	j, err := b.judgeHead(ctx, m, pull, false, factFresh)
	if err != nil {
		return "", err
	}
	if !j.theirs { // nobody takes an id in somebody else's name
		return "", b.answerPull(ctx, m, j)
	}
	free, err := b.idIsFree(ctx, j.grant.ID, pull.Number)
	if err != nil {
		return "", err
	}
	if !free {
		j.no("grant/id", "the id %s was used before; take another one", j.grant.ID)
		return "", b.answerPull(ctx, m, j)
	}
	if held, err := b.remember(ctx, j, pull); held || err != nil {
		return "", err
	}
	return j.grant.ID, b.reconcileNow(ctx, j.grant.ID)
}

func (b *Bot) reconcileNow(ctx context.Context, id grants.ID) error {
	again, err := b.Reconcile(ctx, id)
	if err == nil && !again.IsZero() {
		b.queue.AddAfter(item{grant: id}, b.later(again))
	}
	return err
}

// idIsFree reports whether a hand-written id belongs to this pull request or
// to nobody yet.
func (b *Bot) idIsFree(ctx context.Context, id grants.ID, number int) (bool, error) {
	record, err := b.Vault.Record(ctx, id)
	if err != nil || record != nil {
		return false, err
	}
	r, err := b.Vault.Request(ctx, id.Key())
	if err != nil || r == nil {
		return err == nil, err
	}
	return r.Grant.ID == id && r.Pull == number, nil
}

// remember starts what is remembered of a hand-written request, unless it is
// one too many for now.
func (b *Bot) remember(ctx context.Context, j *judgement, pull world.Pull) (held bool, err error) {
	r, err := b.Vault.Request(ctx, j.grant.ID.Key())
	if err != nil || r != nil {
		return false, err
	}
	if held, err := b.heldBack(ctx, j.grant, pull); held || err != nil {
		return held, err
	}
	err = b.Vault.PutRequest(ctx, &grants.Request{Grant: j.grant, Pull: pull.Number, Chat: grants.Chat{Channel: b.Channel}})
	if errors.Is(err, world.ErrLost) {
		return false, nil // another replica remembers it
	}
	return false, err
}

// answerPull says to a pull request that is no grant of ours what it is. The
// answer is said once per head and process: repeating it harms nobody.
func (b *Bot) answerPull(ctx context.Context, m *mainSight, j *judgement) error {
	if !b.index.answered(j.pull.Number, j.digest()) {
		if _, err := b.Forge.Check(ctx, 0, checkOf(j, m.set)); err != nil {
			return fmt.Errorf("answer pull request %d: %w", j.pull.Number, err)
		}
	}
	if !j.noGrant {
		why := grants.Step{Outcome: grants.OutcomeDenied, Why: j.verdict.Why}
		if err := b.Forge.Close(ctx, j.pull.Number, closingWords(why, &sight{judgement: j, pull: &j.pull})); err != nil {
			return fmt.Errorf("close pull request %d: %w", j.pull.Number, err)
		}
	}
	b.index.answer(j.pull.Number, j.digest())
	return nil
}
