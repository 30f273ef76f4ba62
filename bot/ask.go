package bot

import (
	"context"
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
	// BreakGlass asks for access without anybody's approval, in an emergency.
	BreakGlass bool

	extends grants.ID // set by Extend
}

// Answer is what came of an Ask.
type Answer struct {
	ID       grants.ID // empty for a dry run
	Decision policies.Decision
	Existing bool      // the wish was known already
	Extends  grants.ID // of an extension: the grant that it makes longer
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
	m, err := b.mainNow(ctx)
	if err != nil {
		return Answer{}, unavailable("GitHub", err)
	}
	if err := b.refuseHeld(a.Resource, m.target(a.Resource)); err != nil {
		return Answer{}, err
	}
	wanted := grants.Grant{Requester: a.Requester, Resource: a.Resource, BreakGlass: a.BreakGlass, Extends: a.extends}
	if err := b.admit(ctx, key.Short(), wanted, b.Now()); err != nil {
		return Answer{}, err
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
	case r.Grant.BreakGlass != a.BreakGlass || r.Grant.Extends != a.extends,
		r.Grant.Duration != a.Duration || r.Grant.Reason != a.Reason || r.Grant.Ticket != a.Ticket,
		!r.Grant.Start.Equal(startOf(a, r.Grant.RequestedAt)):
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
	g := grants.Grant{
		Requester: a.Requester, Resource: a.Resource, Duration: a.Duration, Start: a.Start, Reason: a.Reason, Ticket: a.Ticket,
		BreakGlass: a.BreakGlass, Extends: a.extends,
	}
	facts, err := b.gather(ctx, m.set, question{grant: g, at: now, fresh: factFresh, upTo: m.tip})
	if err != nil {
		return policies.Decision{}, unavailable("GitHub", err)
	}
	return m.set.Evaluate(policies.RequestOf(g), facts), nil
}

// accept makes the wish durable. Its first write fixes requested_at, and so
// the id: whoever delivers the same wish again finds it.
func (b *Bot) accept(ctx context.Context, key grants.IntentKey, a Ask, decision policies.Decision) (Answer, error) {
	at := b.Now().UTC().Truncate(time.Second)
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
			ID: key.ID(at), Resource: a.Resource, Requester: requester, Duration: a.Duration, Start: startOf(a, at),
			Reason: a.Reason, Ticket: a.Ticket, RequestedAt: at, Via: a.Via,
			BreakGlass: a.BreakGlass, Extends: a.extends,
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

// startOf returns the start of what was asked for at a moment; zero: at once.
func startOf(a Ask, at time.Time) time.Time {
	if start := a.Start.UTC().Truncate(time.Second); start.After(at) {
		return start
	}
	return time.Time{}
}

func unavailable(what string, err error) *Error {
	return &Error{Code: CodeUnavailable, Message: what + " does not answer as it should; nothing was done, please try again", Cause: err}
}

// PersonOfChat returns the person behind a chat account, from the reviewed
// People document and never from what chat says of itself.
func (b *Bot) PersonOfChat(ctx context.Context, user string) (grants.Principal, error) {
	m, err := b.mainNow(ctx)
	if err != nil {
		// Whoever is known may still give access back while GitHub is
		// down; asking for it and taking it look at GitHub themselves.
		m = b.main.lastSeen()
	}
	if m == nil {
		return grants.Principal{}, unavailable("GitHub", err)
	}
	p, ok := m.set.PersonBySlack(user)
	if !ok {
		return grants.Principal{}, refuse(CodeDenied, "your Slack account %s is not linked to anybody among the people; ask whoever reviews policies/ to add `slack: %s` to you", strictyaml.Quote(user), user)
	}
	return p.Principal, nil
}
