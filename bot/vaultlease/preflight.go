package vaultlease

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Wanted is one resource that policies name.
type Wanted struct {
	Resource string
	Target   grants.Target
	Longest  time.Duration // for which it may be granted
}

// Examine tries, as the bot, what the life of a grant needs, and returns what
// it found, the good with the bad. It leaves nothing behind, unless writes
// without compare-and-swap are taken: then one document that nobody reads.
//
// Reading is here; preflightjudge.go and preflightroles.go hold what is right
// and what is wrong, and call nobody.
func (c *Client) Examine(ctx context.Context, wanted []Wanted) []world.Finding {
	r := reading{cfg: c.cfg, plan: c.plan(wanted), now: c.now()}
	if r.health, r.healthErr = c.lookAtHealth(ctx); r.awake() {
		if r.identityErr = c.readSelf(ctx, &r); r.identityErr == nil {
			c.readOwn(ctx, &r)
			r.targets = c.readTargets(ctx, wanted)
		}
	}
	return r.judge()
}

// plan is the plan that set-up would have followed for this client.
func (c *Client) plan(wanted []Wanted) Plan {
	p := Plan{
		Mount: c.cfg.Mount, Transit: c.cfg.Transit, TransitKey: c.cfg.TransitKey, TokenRole: c.cfg.TokenRole, AppRole: c.cfg.AppRole,
		LongestToken: longestOf(wanted), Engines: true,
	}
	for _, w := range wanted {
		p.Targets = append(p.Targets, w.Target)
	}
	p.setDefaults()
	return p
}

func longestOf(wanted []Wanted) time.Duration {
	longest := time.Duration(0)
	for _, w := range wanted {
		longest = max(longest, w.Longest)
	}
	return longest
}

// reading is everything that was read, before anything is made of it. Of each
// pair either the value or the error holds.
type reading struct {
	cfg  Config
	plan Plan
	now  time.Time

	health    *health
	healthErr error

	self        ownToken
	identityErr error

	recordsErr error // of reading what the bot keeps
	unguarded  error // what a write without compare-and-swap was answered; nil: it was taken
	signErr    error // of signing and verifying

	key          transitKey
	keyErr       error
	tokenRole    tokenRole
	tokenRoleErr error
	powers       map[string][]string // what the bot may do, by path
	powersErr    error

	targets []targetReading
}

type ownToken struct {
	Policies []string `json:"policies"`
	Type     string   `json:"type"`
	Path     string   `json:"path"`
}

type transitKey struct {
	Type       string `json:"type"`
	Exportable bool   `json:"exportable"`
}

type tokenRole struct {
	Orphan          bool     `json:"orphan"`
	Renewable       bool     `json:"renewable"`
	Type            string   `json:"token_type"`
	NoDefaultPolicy bool     `json:"token_no_default_policy"`
	Allowed         []string `json:"allowed_policies"`
	AllowedGlob     []string `json:"allowed_policies_glob"`
	ExplicitMaxTTL  int64    `json:"token_explicit_max_ttl"`
	Period          int64    `json:"token_period"`
	NumUses         int      `json:"token_num_uses"`
}

// targetReading is what was read of one target.
type targetReading struct {
	Wanted
	mintErr   error  // of a token as Issue would mint it, which was revoked at once
	policy    string // the text; empty: Vault has none
	policyErr error
	role      *answer // nil: there is none
	roleErr   error
}

func (r *reading) awake() bool {
	return r.healthErr == nil && r.health.Initialized && !r.health.Sealed && r.health.Seconds > 0
}

func (c *Client) readSelf(ctx context.Context, r *reading) error {
	a, err := c.call(ctx, request{path: "auth/token/lookup-self"})
	if err != nil {
		return err
	}
	if err := a.into(&r.self); err != nil {
		return err
	}
	if len(r.self.Policies) == 1 {
		r.plan.BotPolicyName = r.self.Policies[0] // whoever wrote it may have named it otherwise
	}
	return nil
}

// readOwn reads what is tac's own.
func (c *Client) readOwn(ctx context.Context, r *reading) {
	_, r.recordsErr = c.HighWater(ctx)
	if r.recordsErr == nil {
		r.unguarded = c.writeUnguarded(ctx)
	}
	r.signErr = c.tryKey(ctx)
	r.keyErr = c.readInto(ctx, c.cfg.Transit+"/keys/"+c.cfg.TransitKey, &r.key)
	r.tokenRoleErr = c.readInto(ctx, "auth/token/roles/"+c.cfg.TokenRole, &r.tokenRole)
	r.powers, r.powersErr = c.readPowers(ctx, r.plan)
}

func (c *Client) readInto(ctx context.Context, path string, v any) error {
	a, err := c.call(ctx, request{path: path})
	if err != nil {
		return err
	}
	return a.into(v)
}

// probeDocument is where a write without compare-and-swap is tried: beside
// the records, where nobody looks.
const probeDocument = "doctor"

// writeUnguarded writes without compare-and-swap, which has to be refused. To
// read the mount's configuration would prove less: any key's own metadata can
// say otherwise.
func (c *Client) writeUnguarded(ctx context.Context) error {
	_, err := c.call(ctx, request{
		path: c.cfg.Mount + "/data/" + probeDocument, effect: true,
		body: map[string]any{"data": map[string]string{"by": "tac doctor", "why": "this write should have been refused: set cas_required"}},
	})
	return err
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

// readPowers asks what the bot may do on every path that matters.
func (c *Client) readPowers(ctx context.Context, p Plan) (map[string][]string, error) {
	var paths []string
	for _, e := range p.powers() {
		paths = append(paths, e.path)
	}
	a, err := c.call(ctx, request{path: "sys/capabilities-self", body: map[string]any{"paths": paths}})
	if err != nil {
		return nil, err
	}
	var found map[string][]string
	return found, a.into(&found)
}

// atATime is how many targets are read at once: there may be hundreds.
const atATime = 8

func (c *Client) readTargets(ctx context.Context, wanted []Wanted) []targetReading {
	all := make([]targetReading, len(wanted))
	var reading sync.WaitGroup
	turn := make(chan struct{}, atATime)
	for i, w := range wanted {
		turn <- struct{}{}
		reading.Go(func() {
			defer func() { <-turn }()
			all[i] = c.readTarget(ctx, w)
		})
	}
	reading.Wait()
	return all
}

func (c *Client) readTarget(ctx context.Context, w Wanted) targetReading {
	t := targetReading{Wanted: w}
	if t.mintErr = checkTarget(w.Target); t.mintErr == nil {
		t.mintErr = c.tryMint(ctx, w)
	}
	var kept struct {
		Policy string `json:"policy"`
	}
	t.policyErr = c.readInto(ctx, "sys/policies/acl/"+strings.ToLower(w.Target.Policy), &kept)
	t.policy = kept.Policy
	if hasStatus(t.policyErr, 404) {
		t.policyErr = nil
	}
	if mount, role, ok := roleOf(w.Target); ok {
		if t.role, t.roleErr = c.call(ctx, request{path: mount + "/roles/" + role}); hasStatus(t.roleErr, 404) {
			t.role, t.roleErr = nil, nil
		}
	}
	return t
}

// tryMint mints a token as Issue would and revokes it at once, which tries the
// token role and the target's policy by what they do.
func (c *Client) tryMint(ctx context.Context, w Wanted) error {
	probe := &issue{c: c, rec: grants.Record{Target: w.Target, Grant: grants.Grant{ID: "preflight"}}}
	if err := probe.mint(ctx, grants.LeastLeft); err != nil {
		return err
	}
	c.discard(ctx, probe.rec.Accessor)
	return nil
}
