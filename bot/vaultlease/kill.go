package vaultlease

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Kill revokes whatever the record's generation may have left alive and proves
// it dead; nil means proved. The record must be REVOKING, so that no sleeping
// replica can still finish an issue. Kill writes nothing, every step of it can
// be done again, and it goes as far as it can: what one step could not do does
// not keep the others from ending access.
//
// The token goes first. It is quick, and it stops whatever the token could
// still ask for; a synchronous revocation of the lease hangs as long as its
// database does and would hold the token up.
//
// For a reservation without a known lease, the token's death is the proof.
// Vault then ends the leases on it by itself; one that came about in the very
// moment of the revocation is found by nobody, belongs to nobody, and dies
// with the engine's default TTL, which set-up bounds (grants.StrayLife).
func (c *Client) Kill(ctx context.Context, r *grants.Record, now time.Time) error {
	if r.State != grants.Revoking {
		return fmt.Errorf("kill %s: the record is %s and not %s", r.Grant.ID, r.State, grants.Revoking)
	}
	k := &kill{c: c, rec: r}
	// A certificate's death is a matter of time alone, and is proved only when
	// the slowest clock has reached it.
	if err := k.run(ctx, earliest(c.now(), now.UTC())); err != nil {
		return fmt.Errorf("kill %s: %w", r.Grant.ID, err)
	}
	return nil
}

type kill struct {
	c   *Client
	rec *grants.Record
}

func (k *kill) run(ctx context.Context, now time.Time) error {
	r := k.rec
	if r.Accessor == "" && r.LeaseID == "" && r.WrapAccessor == "" && r.NotAfter.IsZero() {
		return nil // nothing was ever issued
	}
	if r.LeaseID != "" && !leaseOf(r.Target, r.LeaseID) {
		return fmt.Errorf("the record's lease is not one of %s: somebody changed the record", r.Target.Path)
	}
	own, wrapping, err := k.look(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(own.end(ctx, k.c), wrapping.end(ctx, k.c), k.endLease(ctx)); err != nil {
		return err
	}
	return k.prove(ctx, now)
}

// suspect is a token that may be alive.
type suspect struct {
	accessor string
	alive    bool
	err      error // it could not be looked at, and so must not be touched
}

// look finds out what lives, and that it is this grant's. The bot may revoke
// any token by its accessor; so a record that names somebody else's stops
// everything here.
func (k *kill) look(ctx context.Context) (own, wrapping suspect, err error) {
	own.accessor, wrapping.accessor = k.rec.Accessor, k.rec.WrapAccessor
	for _, s := range []struct {
		*suspect
		check func(*tokenInfo) error
	}{
		{&own, func(t *tokenInfo) error { return k.c.checkOurs(t, k.rec.Grant.ID) }},
		{&wrapping, checkWrapping},
	} {
		if s.accessor == "" {
			continue
		}
		token, err := k.c.lookupAccessor(ctx, s.accessor)
		if err != nil {
			s.err = fmt.Errorf("look up the token: %w", err)
			continue
		}
		if token == nil {
			continue
		}
		if err := s.check(token); err != nil {
			return own, wrapping, err
		}
		s.alive = true
	}
	return own, wrapping, nil
}

// checkOurs returns an error unless a token was made for the grant.
func (c *Client) checkOurs(t *tokenInfo, id grants.ID) error {
	if t.Path != "auth/token/create/"+c.cfg.TokenRole || t.Meta["grant"] != string(id) {
		return errors.New("the record's token was not made for this grant: somebody changed the record")
	}
	return nil
}

// checkWrapping returns an error unless a token holds a wrapped answer: such
// tokens carry no metadata, so this is all that can be told.
func checkWrapping(t *tokenInfo) error {
	if t.Path != "sys/wrapping/wrap" || !slices.Equal(t.Policies, []string{"response-wrapping"}) {
		return errors.New("the record's wrapping token is another kind of token: somebody changed the record")
	}
	return nil
}

func (s suspect) end(ctx context.Context, c *Client) error {
	if s.err != nil || !s.alive {
		return s.err
	}
	return c.revokeAccessor(ctx, s.accessor)
}

// revokeAccessor revokes a token that was seen to be ours. One that is gone
// already is fine: Vault says so with a warning.
func (c *Client) revokeAccessor(ctx context.Context, accessor string) error {
	_, err := c.call(ctx, request{
		path: "auth/token/revoke-accessor", effect: true, body: map[string]any{"accessor": accessor},
	})
	if err != nil && !says(err, http.StatusBadRequest, "invalid accessor") {
		return fmt.Errorf("revoke the token: %w", err)
	}
	return nil
}

// endLease has Vault end the lease now and wait for the database. A database
// that refuses or is down comes back as a 400, which means anything but that
// there is nothing more to do.
func (k *kill) endLease(ctx context.Context) error {
	if k.rec.LeaseID == "" {
		return nil
	}
	_, err := k.c.call(ctx, request{
		path: "sys/leases/revoke", effect: true,
		body: map[string]any{"lease_id": k.rec.LeaseID, "sync": true},
	})
	if hasStatus(err, http.StatusBadRequest) {
		return fmt.Errorf("%w: revoke the lease: %w", world.ErrStillAlive, err)
	}
	if err != nil {
		return fmt.Errorf("revoke the lease: %w", err)
	}
	return nil
}

// prove accepts only Vault's own words for the absence of token and lease,
// from the very cluster that issued them: any other has never heard of them.
func (k *kill) prove(ctx context.Context, now time.Time) error {
	r := k.rec
	h, err := k.c.health(ctx)
	if err != nil {
		return err
	}
	if h.ClusterID != r.Cluster {
		return fmt.Errorf("%w: this is vault cluster %.40q and not %.40q, which issued it", world.ErrStillAlive, h.ClusterID, r.Cluster)
	}
	if r.Accessor != "" {
		token, err := k.c.lookupAccessor(ctx, r.Accessor)
		if err != nil {
			return fmt.Errorf("look up the token: %w", err)
		}
		if token != nil {
			return fmt.Errorf("%w: vault still knows its token", world.ErrStillAlive)
		}
	}
	if r.LeaseID != "" {
		if err := k.proveLeaseGone(ctx); err != nil {
			return err
		}
	}
	if earliest(now, h.time()).Before(r.NotAfter) {
		return fmt.Errorf("%w: a certificate cannot be called back; the last one ends at %s",
			world.ErrStillAlive, r.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

func (k *kill) proveLeaseGone(ctx context.Context) error {
	_, err := k.c.call(ctx, request{path: "sys/leases/lookup", body: map[string]any{"lease_id": k.rec.LeaseID}})
	if says(err, http.StatusBadRequest, "invalid lease") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the lease: %w", err)
	}
	return fmt.Errorf("%w: vault still knows its lease", world.ErrStillAlive)
}
