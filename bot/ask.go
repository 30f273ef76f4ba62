package bot

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// Code tells machines what kind of refusal this is; people read the message.
type Code string

// The codes.
const (
	CodeInvalid     Code = "invalid"     // what was asked makes no sense
	CodeDenied      Code = "denied"      // policy or person says no
	CodeNotFound    Code = "not_found"   // no such grant, or not yours to see
	CodeConflict    Code = "conflict"    // not now, or not in this state
	CodeUnavailable Code = "unavailable" // something we need does not answer
)

// Error is a refusal with a sentence that is safe to show. The cause, where
// there is one, is for the log alone.
type Error struct {
	Code    Code
	Message string
	Cause   error
	// Decision is set where policy refused.
	Decision *policies.Decision
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Cause }

func refuse(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Ask is somebody asking for access.
type Ask struct {
	Requester grants.Principal
	Resource  string
	Duration  time.Duration
	Start     time.Time
	Reason    string
	Ticket    string
	Via       grants.Via
	// Key makes the ask idempotent: the same key is the same wish.
	Key string
	// Channel is the chat channel it was asked in.
	Channel string
	// DryRun judges and writes nothing.
	DryRun bool
}

// Answer is what came of an Ask.
type Answer struct {
	ID       grants.ID // empty for a dry run
	Decision policies.Decision
	Existing bool // the wish was known already
}

// Request judges an ask and, unless it is denied, makes it durable: once it
// returns an id the grant will be worked on even if this process dies now.
// A denied ask writes nothing anywhere.
func (b *Bot) Request(ctx context.Context, a Ask) (Answer, error) {
	a.Reason = strings.TrimSpace(a.Reason)
	if err := checkAsk(a); err != nil {
		return Answer{}, err
	}
	key := grants.NewIntentKey(a.Requester, a.Resource, a.Key)
	if !a.DryRun {
		if known, err := b.known(ctx, key, a); err != nil || known.ID != "" {
			return known, err
		}
	}
	decision, err := b.judgeAsk(ctx, a)
	if err != nil {
		return Answer{}, err
	}
	if decision.Outcome == policies.Deny {
		b.Log.Info("denied", "requester", a.Requester.ID, "resource", a.Resource, "rule", decision.Rule, "why", decision.Nearest)
		return Answer{Decision: decision}, &Error{Code: CodeDenied, Message: decision.Nearest, Decision: &decision}
	}
	if a.DryRun {
		return Answer{Decision: decision}, nil
	}
	return b.accept(ctx, key, a, decision)
}

func checkAsk(a Ask) error {
	switch {
	case a.Key == "" && !a.DryRun:
		return refuse(CodeInvalid, "the request carries no idempotency key")
	case len(a.Key) > 200:
		return refuse(CodeInvalid, "the idempotency key has %d characters; at most 200 fit", len(a.Key))
	}
	problems := []error{
		grants.CheckName(a.Resource),
		grants.CheckDuration(a.Duration),
		grants.CheckReason(a.Reason),
	}
	if a.Ticket != "" {
		problems = append(problems, grants.CheckTicket(a.Ticket))
	}
	if err := errors.Join(problems...); err != nil {
		return refuse(CodeInvalid, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// known returns the answer to a wish that was accepted before.
func (b *Bot) known(ctx context.Context, key grants.IntentKey, a Ask) (Answer, error) {
	r, err := b.Vault.Request(ctx, key.Short())
	if err != nil {
		return Answer{}, unavailable("Vault", err)
	}
	switch {
	case r == nil:
		return Answer{}, nil
	case r.Key != key.String():
		return Answer{}, refuse(CodeConflict, "by chance the id of this request is taken; please ask again")
	case r.Grant.Duration != a.Duration || r.Grant.Reason != a.Reason || r.Grant.Ticket != a.Ticket:
		return Answer{}, refuse(CodeConflict, "the same idempotency key was used for another request (%s)", r.Grant.ID)
	}
	b.Wake(r.Grant.ID)
	return Answer{ID: r.Grant.ID, Existing: true, Decision: policies.Decision{}}, nil
}

func (b *Bot) judgeAsk(ctx context.Context, a Ask) (policies.Decision, error) {
	m, err := b.mainNow(ctx)
	if err != nil {
		return policies.Decision{}, unavailable("GitHub", err)
	}
	now := b.Now()
	if !a.Start.IsZero() && a.Start.Before(now.Add(-time.Minute)) {
		return policies.Decision{}, refuse(CodeInvalid, "the start %s is in the past; leave it out to start at once", a.Start.UTC().Format(time.RFC3339))
	}
	if a.Start.Sub(now) > mostAhead {
		return policies.Decision{}, refuse(CodeInvalid, "%s", tooFarAhead)
	}
	facts, err := b.gather(ctx, m.set, a.Resource, now, factFresh)
	if err != nil {
		return policies.Decision{}, unavailable("GitHub", err)
	}
	return m.set.Evaluate(policies.Request{
		Requester: a.Requester, Resource: a.Resource, Duration: a.Duration, Start: a.Start, Reason: a.Reason, Ticket: a.Ticket,
	}, facts), nil
}

// accept makes the wish durable. Its first write fixes requested_at, and so
// the id: whoever delivers the same wish again finds it.
func (b *Bot) accept(ctx context.Context, key grants.IntentKey, a Ask, decision policies.Decision) (Answer, error) {
	at := b.Now().UTC().Truncate(time.Second)
	start := a.Start.UTC().Truncate(time.Second)
	if a.Start.IsZero() || start.Before(at) {
		start = time.Time{}
	}
	requester := a.Requester
	if m, err := b.mainNow(ctx); err == nil {
		if p, ok := m.set.Person(requester.ID); ok {
			requester = p.Principal
		}
	}
	channel := a.Channel
	if channel == "" {
		channel = b.Channel
	}
	r := &grants.Request{
		Key:  key.String(),
		Chat: grants.Chat{Channel: channel},
		Grant: grants.Grant{
			ID: key.ID(at), Resource: a.Resource, Requester: requester, Duration: a.Duration, Start: start,
			Reason: a.Reason, Ticket: a.Ticket, RequestedAt: at, Via: a.Via,
		},
	}
	err := b.Vault.PutRequest(ctx, r)
	if errors.Is(err, world.ErrLost) {
		answer, err := b.known(ctx, key, a)
		answer.Decision = decision
		return answer, err
	}
	if err != nil {
		return Answer{}, unavailable("Vault", err)
	}
	b.index.put(b.view(r.Grant.ID, grants.PhaseRequested, &sight{grant: r.Grant, Observed: grants.Observed{Request: r}}), false)
	b.Log.Info("accepted", "grant", r.Grant.ID, "requester", requester.ID, "resource", a.Resource, "decision", decision.Outcome)
	b.Wake(r.Grant.ID)
	return Answer{ID: r.Grant.ID, Decision: decision}, nil
}

func unavailable(what string, err error) *Error {
	return &Error{Code: CodeUnavailable, Message: what + " does not answer as it should; nothing was done, please try again", Cause: err}
}

// ClaimAsk is the requester asking for the credential.
type ClaimAsk struct {
	Key       string // the claimant's own: claiming again with it replaces what was lost on the way
	Replace   bool   // retire what is live elsewhere
	PublicKey string // ssh: authorized_keys form
}

// Claim issues the credential to the requester, or says why not.
func (b *Bot) Claim(ctx context.Context, who grants.Principal, id grants.ID, a ClaimAsk) (*world.Credential, View, error) {
	if len(a.Key) < 16 || len(a.Key) > 200 {
		return nil, View{}, refuse(CodeInvalid, "a claim carries a key of 16 to 200 characters")
	}
	defer b.locks.lock(string(id))()
	b.main.expire() // a file deleted a second ago must not be issued on
	claim := &claimAsk{holder: hashed(a.Key), replace: a.Replace, publicKey: a.PublicKey}
	for range mostSteps {
		s, err := b.observe(ctx, id, claim)
		if err != nil {
			return nil, View{}, unavailable("Vault or GitHub", err)
		}
		if err := mayClaim(who, s, a); err != nil {
			return nil, View{}, err
		}
		phase, step := grants.Next(s.Observed)
		switch step.Kind {
		case grants.Issue:
			credential, err := b.issueToClaimant(ctx, s)
			if errors.Is(err, world.ErrLost) {
				continue
			}
			b.Steps(id, step, err)
			if err != nil {
				b.Wake(id)
				return nil, View{}, issueFailed(err)
			}
			b.Wake(id)
			return credential, b.view(id, grants.PhaseActive, s), nil
		case grants.Retire, grants.Renew, grants.ConfirmTake, grants.Warn, grants.Start:
			if _, err := b.step(ctx, id, step, s); err != nil {
				b.Wake(id)
				return nil, View{}, &Error{Code: CodeConflict, Message: notYet(phase, s), Cause: err}
			}
		default:
			b.Wake(id)
			return nil, View{}, refuse(CodeConflict, "%s", cannotClaim(phase, step, s))
		}
	}
	return nil, View{}, refuse(CodeConflict, "the grant does not come to rest; please try again")
}

func mayClaim(who grants.Principal, s *sight, a ClaimAsk) error {
	switch {
	case s.Record == nil && s.Request == nil && s.Landing == nil,
		!s.grant.Requester.Same(who):
		return refuse(CodeNotFound, "there is no such grant of yours")
	case s.Record != nil && s.Record.Target.Slice > 0 && strings.TrimSpace(a.PublicKey) == "":
		return refuse(CodeInvalid, "%s is reached by SSH: a claim sends a public key", s.grant.Resource)
	}
	return nil
}

// issueToClaimant issues and opens the wrapping in the same breath: the
// credential leaves in the answer to the claim and nowhere else. A crash in
// between leaves a wrapped credential that nobody has, which is retired.
func (b *Bot) issueToClaimant(ctx context.Context, s *sight) (*world.Credential, error) {
	credential, err := b.issue(ctx, s)
	if err != nil {
		return nil, err
	}
	if s.Record.State == grants.Delivered {
		return credential, nil // a certificate is public: nothing was wrapped
	}
	opened, err := b.Vault.Unwrap(ctx, credential.Wrapped)
	if err != nil {
		return nil, fmt.Errorf("open the wrapped credential: %w", err)
	}
	opened.Engine, opened.Until = credential.Engine, credential.Until
	s.Record.State = grants.Delivered
	if err := b.Vault.PutRecord(ctx, s.Record); err != nil {
		return nil, fmt.Errorf("note the delivery: %w", err)
	}
	return opened, nil
}

func issueFailed(err error) *Error {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal // nothing was asked of Vault
	}
	return &Error{Code: CodeUnavailable, Cause: err,
		Message: "Vault did not issue the credential; what may have come of it is being retired, please try again in two minutes"}
}

func hashed(key string) string {
	sum := sha256.Sum256([]byte("tac/holder/v1\n" + key))
	return hex.EncodeToString(sum[:16])
}

// Drop is the requester ending their own grant or taking back their request.
func (b *Bot) Drop(ctx context.Context, who grants.Principal, id grants.ID) (View, error) {
	return b.endFor(ctx, id, func(s *sight) (grants.Outcome, string, error) {
		if !s.grant.Requester.Same(who) {
			return "", "", refuse(CodeNotFound, "there is no such grant of yours")
		}
		return grants.OutcomeDropped, "dropped by the requester", nil
	}, who)
}

// Revoke is an owner of the resource, or security, ending somebody's grant.
func (b *Bot) Revoke(ctx context.Context, who grants.Principal, id grants.ID, reason string) (View, error) {
	if strings.TrimSpace(reason) == "" {
		return View{}, refuse(CodeInvalid, "say why: --reason \"...\"")
	}
	if err := grants.CheckReason(reason); err != nil {
		return View{}, refuse(CodeInvalid, "%v", err)
	}
	return b.endFor(ctx, id, func(s *sight) (grants.Outcome, string, error) {
		may, err := b.mayRevoke(ctx, who, s)
		if err != nil {
			return "", "", unavailable("GitHub", err)
		}
		if !may {
			return "", "", refuse(CodeDenied, "only the owners of %s and security may revoke this grant; its requester may drop it", s.grant.Resource)
		}
		return grants.OutcomeRevoked, reason, nil
	}, who)
}

func (b *Bot) mayRevoke(ctx context.Context, who grants.Principal, s *sight) (bool, error) {
	owns, err := b.owns(ctx, who, s.main, s.grant.Resource)
	return owns.owner || owns.security, err
}

// endFor writes the end as a compare-and-swap, then goes on as far as it
// gets at once. From that write on the grant ends even if this process dies.
func (b *Bot) endFor(ctx context.Context, id grants.ID, allowed func(*sight) (grants.Outcome, string, error), who grants.Principal) (View, error) {
	err := b.writeEnd(ctx, id, allowed, who)
	if err != nil {
		return View{}, err
	}
	if _, err := b.Reconcile(ctx, id); err != nil {
		b.Log.Warn("the end is noted and goes on", "grant", id, "error", err)
		b.queue.AddRateLimited(item{grant: id})
	}
	return b.Look(ctx, id)
}

func (b *Bot) writeEnd(ctx context.Context, id grants.ID, allowed func(*sight) (grants.Outcome, string, error), who grants.Principal) error {
	defer b.locks.lock(string(id))()
	for range mostSteps {
		s, err := b.observe(ctx, id, nil)
		if err != nil {
			return b.cannotEnd(id, err)
		}
		if s.Record == nil && s.Request == nil {
			return refuse(CodeNotFound, "there is no such grant of yours")
		}
		outcome, why, err := allowed(s)
		if err != nil {
			return err
		}
		err = b.writeEndOf(ctx, s, outcome, who, why)
		if !errors.Is(err, world.ErrLost) {
			return err
		}
	}
	return refuse(CodeConflict, "the grant does not come to rest; please try again")
}

// cannotEnd is the refusal where the end could not be written: it says when
// access ends by itself.
func (b *Bot) cannotEnd(id grants.ID, cause error) *Error {
	v, ok := b.index.get(id)
	if !ok || v.EndsAt == nil {
		return unavailable("Vault or GitHub", cause)
	}
	return &Error{Code: CodeUnavailable, Cause: cause,
		Message: "Vault does not answer, so nothing could be revoked; the credential dies by itself at " + v.EndsAt.Format(time.RFC3339)}
}

func (b *Bot) writeEndOf(ctx context.Context, s *sight, outcome grants.Outcome, who grants.Principal, why string) error {
	switch r := s.Record; {
	case r != nil && (r.State == grants.Revoked || r.State == grants.Revoking && !r.Retiring):
		return nil // over, or ending: saying so twice changes nothing
	case r != nil:
		err := b.end(ctx, r, outcome, who.GitHub, why, s.Clocks.Latest)
		if err == nil || errors.Is(err, world.ErrLost) {
			return err
		}
		return b.cannotEnd(r.Grant.ID, err)
	case s.Landing != nil:
		return refuse(CodeConflict, "the grant was merged this very moment; please try again")
	case s.Request.Closed != "":
		return nil
	case s.pull != nil && s.pull.Open:
		step := grants.Step{Kind: grants.Close, Outcome: grants.OutcomeWithdrawn, By: who.GitHub, Why: why}
		s.Request.By = who.GitHub
		err := b.close(ctx, step, s)
		if err == nil || errors.Is(err, world.ErrLost) {
			return err
		}
		return unavailable("GitHub", err)
	}
	s.Request.Closed, s.Request.By, s.Request.Why = grants.OutcomeWithdrawn, who.GitHub, why
	if err := b.Vault.PutRequest(ctx, s.Request); err != nil && !errors.Is(err, world.ErrLost) {
		return unavailable("Vault", err)
	} else if err != nil {
		return err
	}
	return nil
}

// PersonOfChat returns the person behind a chat account, from the reviewed
// People document and never from what chat says of itself.
func (b *Bot) PersonOfChat(ctx context.Context, user string) (grants.Principal, error) {
	m, err := b.mainNow(ctx)
	if err != nil {
		return grants.Principal{}, unavailable("GitHub", err)
	}
	p, ok := m.set.PersonBySlack(user)
	if !ok {
		return grants.Principal{}, refuse(CodeDenied, "your Slack account %s is not linked to anybody among the people; ask whoever reviews policies/ to add `slack: %s` to you", strictyaml.Quote(user), user)
	}
	return p.Principal, nil
}
