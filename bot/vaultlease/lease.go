package vaultlease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// leaseSlack is by how much two answers of Vault about one lease may differ:
// they round, and time passes between them.
const leaseSlack = 5 * time.Second

// Renew moves the end of the record's lease to the grant's end, reads it back,
// and writes the record. Where Vault gives less than was asked for, or the
// token ends earlier, LeaseCapped says so and LeaseExpires is the true end.
//
// Within the last minute of lease or grant it refuses: Vault once made leases
// immortal that were renewed in their last second (CVE-2021-32923).
func (c *Client) Renew(ctx context.Context, r *grants.Record, now time.Time) error {
	next, now := *r, latest(c.now(), now.UTC())
	err := c.renew(ctx, &next, now)
	if err == nil {
		err = c.PutRecord(ctx, &next)
		if errors.Is(err, world.ErrLost) {
			err = errors.Join(err, c.renewAgain(ctx, &next, now))
		}
	}
	if err != nil {
		return fmt.Errorf("renew %s: %w", r.Grant.ID, err)
	}
	*r = next
	return nil
}

// renewAgain has a lease end with its grant where somebody else wrote the
// record while we renewed. They may have made the grant shorter and its lease
// with it, before our call made that one longer again; and by their record
// nobody would ever look.
func (c *Client) renewAgain(ctx context.Context, renewed *grants.Record, now time.Time) error {
	r, err := c.Record(ctx, renewed.Grant.ID)
	if err != nil {
		return err
	}
	alive := r != nil && (r.State == grants.Issued || r.State == grants.Delivered)
	if !alive || r.LeaseID != renewed.LeaseID || renewed.LeaseExpires.Sub(r.EndsAt) <= leaseSlack {
		return nil // what is being ended loses its lease as well
	}
	if err := c.renew(ctx, r, latest(c.now(), now)); err != nil {
		return err
	}
	return c.PutRecord(ctx, r)
}

func (c *Client) renew(ctx context.Context, r *grants.Record, now time.Time) error {
	end := earliest(r.EndsAt, r.TokenExpires)
	switch {
	case r.State != grants.Issued && r.State != grants.Delivered:
		return fmt.Errorf("the record is %s: there is no lease to renew", r.State)
	case !leaseOf(r.Target, r.LeaseID):
		return errors.New("the record's lease is not one of its target: somebody changed the record")
	case end.Sub(now) < grants.LeastLeft || r.LeaseExpires.Sub(now) < grants.LeastLeft:
		return fmt.Errorf("less than %s are left", grants.LeastLeft)
	}
	increment := wholeSeconds(end.Sub(now))
	a, err := c.call(ctx, request{
		path: "sys/leases/renew", effect: true,
		body: map[string]any{"lease_id": r.LeaseID, "increment": increment},
	})
	if err != nil {
		return err
	}
	given := time.Duration(a.LeaseDuration) * time.Second
	left, err := c.leaseLeft(ctx, r.LeaseID)
	if err != nil {
		return fmt.Errorf("read the lease back: %w", err)
	}
	switch {
	case given <= 0 || a.LeaseDuration > increment || left > given+leaseSlack:
		return fmt.Errorf("the lease is to live %s (looked up: %s) where %d s were asked for", given, left, increment)
	case left < given-leaseSlack:
		given = left
	}
	r.LeaseExpires = now.Add(given)
	r.LeaseCapped = r.LeaseExpires.Before(r.EndsAt)
	return nil
}

// leaseLeft returns what Vault itself says is left of a lease. It compares
// Vault's clock with nothing but itself.
func (c *Client) leaseLeft(ctx context.Context, leaseID string) (time.Duration, error) {
	var lease struct {
		ExpireTime *time.Time `json:"expire_time"`
		TTL        int64      `json:"ttl"`
	}
	a, err := c.call(ctx, request{path: "sys/leases/lookup", body: map[string]any{"lease_id": leaseID}})
	if err == nil {
		err = a.into(&lease)
	}
	switch {
	case err != nil:
		return 0, err
	case lease.ExpireTime == nil || lease.ExpireTime.IsZero():
		return 0, errors.New("the lease has no end")
	case lease.TTL <= 0:
		return 0, errors.New("the lease is over")
	}
	return time.Duration(lease.TTL) * time.Second, nil
}

// Taken reports whether the wrapped credential has been opened. Vault forgets
// a wrapping token when it is used and when it ends, so only its absence
// before its end proves a use; without proof the answer is no.
func (c *Client) Taken(ctx context.Context, r *grants.Record) (bool, error) {
	if r.WrapAccessor == "" {
		return false, fmt.Errorf("look whether %s was taken: nothing was wrapped", r.Grant.ID)
	}
	token, err := c.lookupAccessor(ctx, r.WrapAccessor)
	if err != nil {
		return false, fmt.Errorf("look whether %s was taken: %w", r.Grant.ID, err)
	}
	if token != nil {
		return false, nil
	}
	vaultNow, err := c.Time(ctx)
	if err != nil {
		return false, fmt.Errorf("look whether %s was taken: %w", r.Grant.ID, err)
	}
	return latest(vaultNow, c.now()).Before(r.WrapExpires), nil
}

// Unwrap opens a single-use token that Issue wrapped. A second time is an
// error.
func (c *Client) Unwrap(ctx context.Context, wrapped world.Secret) (*world.Credential, error) {
	if wrapped.Empty() {
		return nil, errors.New("unwrap: there is no wrapping token")
	}
	a, err := c.call(ctx, request{
		path: "sys/wrapping/unwrap", auth: asGiven, token: wrapped, effect: true, body: struct{}{},
	})
	if err != nil {
		return nil, fmt.Errorf("unwrap: %w", err)
	}
	credential, err := readCredential("", a)
	if err != nil {
		return nil, fmt.Errorf("unwrap: %w", err)
	}
	return credential, nil
}

// tokenInfo is what lookup-accessor tells.
type tokenInfo struct {
	Path     string            `json:"path"`
	Policies []string          `json:"policies"`
	Meta     map[string]string `json:"meta"`
	Expire   *time.Time        `json:"expire_time"`
}

// lookupAccessor returns the token with an accessor, nil where Vault says in
// so many words that there is none.
func (c *Client) lookupAccessor(ctx context.Context, accessor string) (*tokenInfo, error) {
	a, err := c.call(ctx, request{path: "auth/token/lookup-accessor", body: map[string]any{"accessor": accessor}})
	if says(err, 400, "invalid accessor") {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	token := &tokenInfo{}
	if err := json.Unmarshal(a.Data, token); err != nil || token.Path == "" {
		return nil, errors.New("the answer does not describe a token")
	}
	return token, nil
}
