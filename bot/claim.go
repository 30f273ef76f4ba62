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
	"github.com/tigeraccess/tac/grants/world"
)

// ClaimAsk is the requester asking for the credential.
type ClaimAsk struct {
	Key       string // the claimant's own: claiming again with it replaces what was lost on the way
	Replace   bool   // retire what is live elsewhere
	PublicKey string // ssh: authorized_keys form
	CSR       string // pki: a PEM certificate request that names nothing
}

// A claim waits this long in all for the grant to be free, and no longer: a
// queue of claims is a way to keep others from the grant.
const (
	claimPause = 50 * time.Millisecond
	mostTries  = 40
)

// Claim issues the credential to the requester, or says why not.
func (b *Bot) Claim(ctx context.Context, who grants.Principal, id grants.ID, a ClaimAsk) (*world.Credential, View, error) {
	if len(a.Key) < 16 || len(a.Key) > 200 {
		return nil, View{}, refuse(CodeInvalid, "a claim carries a key of 16 to 200 characters")
	}
	unlock, free := b.locks.tryLock(string(id))
	for range mostTries {
		if free {
			break
		}
		// The reconciler looks at it this moment; another claim takes longer.
		select {
		case <-ctx.Done():
			return nil, View{}, unavailable("tac", ctx.Err())
		case <-time.After(claimPause):
		}
		unlock, free = b.locks.tryLock(string(id))
	}
	if !free {
		return nil, View{}, refuse(CodeConflict, "another claim of this grant is under way; please try again")
	}
	defer unlock()
	b.main.expire() // a file deleted a second ago must not be issued on
	claim := &claimAsk{holder: hashed(a.Key), replace: a.Replace, publicKey: a.PublicKey, csr: a.CSR}
	for range mostSteps {
		s, err := b.observe(ctx, id, claim)
		if err != nil {
			return nil, View{}, unavailable("Vault or GitHub", err)
		}
		if err := mayClaim(who, s, a); err != nil {
			return nil, View{}, err
		}
		phase, step := grants.Next(s.Observed)
		if step.Kind == grants.Issue || step.Kind == grants.Retire || step.Kind == grants.Extend { // who gets nothing new keeps what they have
			if err := b.refuseHeld(s.grant.Resource, s.target()); err != nil {
				return nil, View{}, err
			}
		}
		switch step.Kind {
		case grants.Issue:
			credential, err := b.issueToClaimant(ctx, s)
			if errors.Is(err, world.ErrLost) {
				continue
			}
			b.Steps(id, step, err)
			if bad := (*world.ClaimError)(nil); errors.As(err, &bad) {
				return nil, View{}, &Error{Code: CodeInvalid, Message: bad.Message, Cause: err}
			}
			if err != nil {
				b.Alert(id, "Vault did not issue: "+err.Error())
				b.Wake(id)
				return nil, View{}, issueFailed(err)
			}
			b.Wake(id)
			return credential, b.view(id, grants.PhaseActive, s), nil
		case grants.Retire, grants.Renew, grants.ConfirmTake, grants.Warn, grants.Start, grants.Extend:
			later, err := b.step(ctx, id, step, s)
			if err != nil {
				b.Wake(id)
				return nil, View{}, &Error{Code: CodeConflict, Message: notYet(phase, s), Cause: err}
			}
			if later { // a warning that chat does not hear: there is nothing else to do
				return nil, View{}, refuse(CodeConflict, "%s", cannotClaim(phase, step, s))
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
	case s.Record == nil:
		return nil
	}
	switch engine := s.Record.Target.Engine; {
	case engine == grants.EngineSSH && strings.TrimSpace(a.PublicKey) == "":
		return refuse(CodeInvalid, "%s is reached by SSH: a claim sends a public key", s.grant.Resource)
	case engine == grants.EnginePKI && strings.TrimSpace(a.CSR) == "":
		return refuse(CodeInvalid, "%s is reached by a certificate: a claim sends a request for one, as csr", s.grant.Resource)
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
