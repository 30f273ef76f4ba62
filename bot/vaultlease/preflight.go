package vaultlease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// shortestLease is the least default_ttl that a role may have: a lease must
// have a minute left when its end is moved to the grant's.
const shortestLease = 2 * time.Minute

// longestStray is the most: a credential that was lost lives that long.
const longestStray = grants.StrayLife - 5*time.Second

// Preflight tries, as the bot, what the life of a grant needs, and returns
// what is wrong in sentences for an operator. longest is the longest time for
// which anything may be granted. It leaves nothing behind.
func (c *Client) Preflight(ctx context.Context, targets []grants.Target, longest time.Duration) []string {
	var problems []string
	report := func(what string, err error) {
		if err != nil {
			problems = append(problems, what+": "+err.Error())
		}
	}
	h, err := c.health(ctx)
	report("vault does not answer", err)
	if err != nil {
		return problems
	}
	if skew := h.time().Sub(c.now()).Abs(); skew > mostSkew {
		report("clocks", fmt.Errorf("ours and vault's differ by %s", skew.Round(time.Second)))
	}
	if h.Enterprise && !c.cfg.ForwardToActive {
		report("performance standbys", errors.New("this is vault enterprise: have calls forwarded to the active node, and set allow_forwarding_via_header on the servers"))
	}
	_, err = c.call(ctx, request{path: "auth/token/lookup-self"})
	report("the bot's token", err)
	if err != nil {
		return problems
	}
	_, err = c.HighWater(ctx)
	report("records", err)
	report("attestation key", c.tryKey(ctx))
	for _, t := range targets {
		report(t.Path, c.tryTarget(ctx, t, longest))
	}
	return problems
}

func (c *Client) tryKey(ctx context.Context) error {
	message := []byte("tac/preflight\n")
	signature, err := c.Sign(ctx, message)
	if err != nil {
		return err
	}
	ok, err := c.Verify(ctx, message, signature)
	if err == nil && !ok {
		err = errors.New("it does not verify what it signs")
	}
	return err
}

// tryTarget mints a token as Issue would and revokes it at once, which checks
// the token role and the target's policy; and it reads the role's bounds.
func (c *Client) tryTarget(ctx context.Context, t grants.Target, longest time.Duration) error {
	if err := checkTarget(t); err != nil {
		return err
	}
	probe := &issue{c: c, rec: grants.Record{Target: t, Grant: grants.Grant{ID: "preflight"}}}
	if err := probe.mint(ctx, grants.LeastLeft); err != nil {
		return fmt.Errorf("mint: %w", err)
	}
	c.discard(ctx, probe.rec.Accessor)
	mount, name, ok := strings.Cut(t.Path, "/creds/")
	if t.Engine != grants.EngineDatabase || !ok {
		return nil
	}
	a, err := c.call(ctx, request{path: mount + "/roles/" + name})
	if err != nil {
		return fmt.Errorf("read the role: %w", err)
	}
	return checkDatabaseRole(a, longest)
}

func checkDatabaseRole(a *answer, longest time.Duration) error {
	var role struct {
		DefaultTTL int64    `json:"default_ttl"`
		MaxTTL     int64    `json:"max_ttl"`
		Creation   []string `json:"creation_statements"`
	}
	if err := a.into(&role); err != nil {
		return err
	}
	first, most := time.Duration(role.DefaultTTL)*time.Second, time.Duration(role.MaxTTL)*time.Second
	switch {
	case first < shortestLease || first > longestStray:
		return fmt.Errorf("default_ttl is %s: set it from %s to %s", first, shortestLease, longestStray)
	case most > 0 && most < longest:
		return fmt.Errorf("max_ttl is %s: grants may last %s", most, longest)
	case !strings.Contains(strings.Join(role.Creation, "\n"), "{{expiration}}"):
		return errors.New("the creation statements name no {{expiration}}: only vault itself would end a login")
	}
	return nil
}
