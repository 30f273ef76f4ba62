package vaultlease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// A certificate has no lease and cannot be called back, so a grant gets it in
// slices: each is short, each is signed with a token of its own, and ending
// the grant refuses the next one. NotAfter in the record is the moment after
// which no certificate of the grant is valid, whatever was lost on the way.
const (
	// signWithin is how long a slice's token lives. It signs once, at once;
	// the shorter it lives, the sooner a certificate whose signing was lost
	// is known not to come about any more.
	signWithin = 60 * time.Second
	// sliceMargin is how much later than asked a slice may end: its signing
	// can start in the last moment of the token and takes 90 s at most
	// (Vault's max_request_duration), and clocks may differ.
	sliceMargin = signWithin + 90*time.Second + mostSkew
)

// signer is what the engines differ in that sign: what they are asked, and
// what counts as the answer. It is made from a claim, whose key it has checked.
type signer interface {
	// body is the body of the call that signs for a life of so long.
	body(r *grants.Record, life time.Duration) map[string]any
	// read takes the certificate out of the answer. It is an error unless the
	// certificate is, to the letter, what was asked for.
	read(a *answer, r *grants.Record, asked window) (signed, error)
}

// window is a time for which a certificate was asked for.
type window struct {
	now  time.Time // just before it was asked for, by the latest of the clocks we know of
	life time.Duration
	ends time.Time // of the grant
}

// clockGrain is how finely Vault tells its time: by whole seconds.
const clockGrain = time.Second

// check returns an error unless a certificate that ends then is one of the
// window. Vault counts the life from when it signs: one that was slow to, or
// whose clock is further ahead than it said, may have gone beyond the grant.
func (w window) check(end time.Time) error {
	if end.After(w.now.Add(w.life + mostSkew)) {
		return errors.New("it is valid for longer than was asked for")
	}
	if beyond := end.Sub(w.ends); beyond > clockGrain {
		return fmt.Errorf("it would outlive the grant by %s", beyond.Round(time.Second))
	}
	return nil
}

// signed is a certificate that was found to be what was asked for.
type signed struct {
	certificate string
	fields      map[string]world.Secret
	until       time.Time
}

func newSigner(t grants.Target, claim world.IssueClaim) (signer, error) {
	switch t.Engine {
	case grants.EngineSSH:
		return newSSHSigner(claim.PublicKey)
	case grants.EnginePKI:
		return newPKISigner(claim.CSR)
	}
	return nil, fmt.Errorf("the engine %.20q signs nothing", t.Engine)
}

// slice plays the sequence for one certificate. The certificate is public, so
// it is not wrapped, and the record goes straight to DELIVERED.
func (i *issue) slice(ctx context.Context) (*world.Credential, error) {
	signer, err := newSigner(i.rec.Target, i.claim)
	if err != nil {
		return nil, &world.ClaimError{Message: err.Error()}
	}
	if err := i.endPrevious(ctx); err != nil {
		return nil, fmt.Errorf("end the previous slice's token: %w", err)
	}
	if err := i.mint(ctx, min(i.life(), signWithin)); err != nil {
		return nil, fmt.Errorf("mint: %w", err)
	}
	known := i.rec.NotAfter
	i.rec.NotAfter = latest(known, i.now().Add(i.life()+sliceMargin))
	if err := i.reserve(ctx); err != nil {
		return nil, fmt.Errorf("reserve: %w", err)
	}
	signed, err := i.sign(ctx, signer)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	r := &i.rec
	r.State, r.IssuedAt, r.Holder = grants.Delivered, i.now(), i.claim.Holder
	r.Username = r.Target.Principals[0]
	// What was signed is known now, so the bound can be drawn closer.
	r.NotAfter = latest(known, signed.until.Add(mostSkew))
	if err := i.c.PutRecord(ctx, r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	*i.into = *r
	return &world.Credential{
		Engine: r.Target.Engine, Username: r.Username, Fields: signed.fields,
		SignedKey: signed.certificate, Until: earliest(r.EndsAt, signed.until),
	}, nil
}

// endPrevious ends the token of the slice before, if it lives: at most one
// token of a grant may.
func (i *issue) endPrevious(ctx context.Context) error {
	if i.rec.Accessor == "" {
		return nil
	}
	token, err := i.c.lookupAccessor(ctx, i.rec.Accessor)
	if err != nil || token == nil {
		return err
	}
	if err := i.c.checkOurs(token, i.rec.Grant.ID); err != nil {
		return err
	}
	return i.c.revokeAccessor(ctx, i.rec.Accessor)
}

// life is how long a certificate may be valid that is asked for now.
func (i *issue) life() time.Duration {
	return min(i.rec.Target.Slice, i.left()).Truncate(time.Second)
}

// sign asks for the certificate once and checks it before anybody gets it.
func (i *issue) sign(ctx context.Context, s signer) (none signed, err error) {
	if err := i.stillOurs(); err != nil {
		return none, err
	}
	// Reckoned here and no earlier: whatever the calls before this one took
	// would be added to the end of the grant.
	asked := window{now: i.now(), life: i.life(), ends: i.rec.EndsAt}
	if asked.life < time.Second {
		return none, errors.New("the grant has ended meanwhile")
	}
	a, err := i.c.call(ctx, request{
		path: i.rec.Target.Path, auth: asGiven, token: i.own, effect: true, body: s.body(&i.rec, asked.life),
	})
	if err != nil {
		return none, err
	}
	if a.LeaseID != "" {
		// The lease would end with this slice's token, a minute from now,
		// and by then nobody could say whether the certificate was to go.
		return none, errors.New("the answer has a lease: certificates end by themselves; set generate_lease=false on the role")
	}
	out, err := s.read(a, &i.rec, asked)
	if err != nil {
		return none, fmt.Errorf("the certificate is refused: %w", err)
	}
	return out, nil
}
