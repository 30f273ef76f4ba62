package vaultlease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// cleanUpDeadline bounds what is done only to leave less behind; nothing
// depends on it.
const cleanUpDeadline = 10 * time.Second

// issue is one play of the issue sequence. It works on a copy of the record,
// which replaces the caller's each time that Vault has taken it.
type issue struct {
	c     *Client
	into  *grants.Record
	rec   grants.Record
	claim world.IssueClaim
	own   world.Secret // the grant's token; it never leaves this struct
	// ahead is how far the latest of the other clocks is ahead of ours.
	ahead time.Duration
}

// Issue plays the issue sequence: mint the grant's token, reserve (the record
// names its accessor from here on), ask for the credential, wrap it, record
// it, and move the lease's end to the grant's. An error leaves the record
// where Next cleans up: nothing at all, or RESERVED, or ISSUED.
//
// The record must be APPROVED or RETIRED, and a new generation begins; or, for
// an engine with slices, alive, and the next slice joins its generation.
//
// The credential comes both plain and wrapped. Whoever hands out one of them
// must not hand out the other.
func (c *Client) Issue(ctx context.Context, r *grants.Record, claim world.IssueClaim) (*world.Credential, error) {
	i := &issue{c: c, into: r, rec: *r, claim: claim}
	credential, err := i.play(ctx)
	if err != nil {
		return nil, fmt.Errorf("issue %s: %w", r.Grant.ID, err)
	}
	return credential, nil
}

func (i *issue) play(ctx context.Context) (*world.Credential, error) {
	if err := i.begin(ctx); err != nil {
		return nil, err
	}
	if i.rec.Target.Slice > 0 {
		return i.slice(ctx)
	}
	if err := i.mint(ctx, i.untilToken()); err != nil {
		return nil, fmt.Errorf("mint: %w", err)
	}
	if err := i.reserve(ctx); err != nil {
		return nil, fmt.Errorf("reserve: %w", err)
	}
	credential, err := i.ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask for the credential: %w", err)
	}
	if err := i.wrap(ctx, credential); err != nil {
		return nil, fmt.Errorf("wrap: %w", err)
	}
	if err := i.record(ctx); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := i.extend(ctx); err != nil {
		return nil, fmt.Errorf("extend: %w", err)
	}
	credential.Until = earliest(i.rec.EndsAt, i.rec.LeaseExpires)
	return credential, nil
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// now is the latest of the clocks we know of: what is issued ends by it.
func (i *issue) now() time.Time { return i.c.now().Add(i.ahead) }

// meet takes notice of what another clock says now.
func (i *issue) meet(now time.Time) { i.ahead = max(i.ahead, now.Sub(i.c.now())) }

// left is how much of the grant is left.
func (i *issue) left() time.Duration { return i.rec.EndsAt.Sub(i.now()) }

// begin checks everything that can be checked before anything exists.
func (i *issue) begin(ctx context.Context) error {
	r := &i.rec
	if err := checkTarget(r.Target); err != nil {
		return err
	}
	switch {
	case r.State == grants.Approved || r.State == grants.Retired:
		i.newGeneration()
	case r.Target.Slice > 0 && (r.State == grants.Reserved || r.State == grants.Issued || r.State == grants.Delivered):
		// The next slice of the same generation.
	default:
		return fmt.Errorf("the record is %s: nothing can be issued for it", r.State)
	}
	h, err := i.c.health(ctx)
	if err != nil {
		return err
	}
	if h.ClusterID == "" {
		return errors.New("vault does not say which cluster it is")
	}
	if skew := h.time().Sub(i.c.now()).Abs(); skew > mostSkew {
		return fmt.Errorf("our clock and vault's differ by %s", skew.Round(time.Second))
	}
	i.meet(i.claim.Now)
	i.meet(h.time())
	if left := i.left(); left < grants.LeastLeft {
		return fmt.Errorf("%s are left, less than %s", left.Round(time.Second), grants.LeastLeft)
	}
	r.Cluster = h.ClusterID
	return nil
}

// signs reports whether an engine signs certificates, which come in slices.
func signs(engine string) bool { return engine == grants.EngineSSH || engine == grants.EnginePKI }

// signPathForm is the path on which a role signs a key of somebody else's. A
// grant's token that could reach another, as sign-verbatim, would leave the
// limits of the role behind.
var signPathForm = regexp.MustCompile(`^.+/sign/[^/]+$`)

func checkTarget(t grants.Target) error {
	switch {
	case !pathForm.MatchString(t.Path) || !strings.Contains(t.Path, "/"):
		return fmt.Errorf("%.80q is not a path of an engine", t.Path)
	case t.Policy == "":
		return errors.New("the target names no policy")
	case signs(t.Engine) != (t.Slice > 0):
		return errors.New("ssh and pki need a slice, and no other engine may have one")
	case signs(t.Engine) && len(t.Principals) == 0:
		// A certificate of ssh that names nobody is valid for everybody.
		return fmt.Errorf("%s needs principals", t.Engine)
	case signs(t.Engine) && !signPathForm.MatchString(t.Path):
		return fmt.Errorf("%.80q is not where a role signs: write MOUNT/sign/ROLE", t.Path)
	}
	return nil
}

func (i *issue) newGeneration() {
	r := &i.rec
	r.Gen++
	r.Retiring = false
	r.ReservedAt, r.Nonce, r.Cluster = time.Time{}, "", ""
	r.Accessor, r.TokenExpires = "", time.Time{}
	r.IssuedAt, r.LeaseID, r.LeaseExpires, r.LeaseCapped = time.Time{}, "", time.Time{}, false
	r.WrapAccessor, r.WrapExpires = "", time.Time{}
	r.Username, r.Holder = "", ""
}

// untilToken is how long the grant's token has to live: as long as the grant
// could ever be extended to, since Vault ends a lease with its token.
func (i *issue) untilToken() time.Duration {
	return latest(i.rec.TokenUntil, i.rec.EndsAt).Sub(i.now())
}

// mint makes the grant's token and checks that it is what was asked for. One
// that is not is revoked at once: nothing hangs on it yet.
func (i *issue) mint(ctx context.Context, life time.Duration) error {
	r, asked := &i.rec, i.now()
	ttl := wholeSeconds(life)
	a, err := i.c.call(ctx, request{
		path: "auth/token/create/" + i.c.cfg.TokenRole, effect: true,
		body: map[string]any{
			"policies": []string{r.Target.Policy}, "no_default_policy": true, "type": "service",
			"ttl": seconds(ttl), "explicit_max_ttl": seconds(ttl), "renewable": false,
			"display_name": "tac-" + string(r.Grant.ID),
			"meta": map[string]string{
				"grant": string(r.Grant.ID), "gen": strconv.Itoa(r.Gen),
				"requester_id": strconv.FormatInt(r.Grant.Requester.ID, 10),
				"pull":         strconv.Itoa(r.Pull), "commit": r.Commit,
			},
		},
	})
	if err != nil {
		return err
	}
	for _, w := range a.Warnings {
		if !strings.HasPrefix(w, "Explicit max TTL specified both") {
			i.c.log.WarnContext(ctx, "vault warned about a grant's token", "grant", r.Grant.ID, "warning", w)
		}
	}
	if err := i.checkMinted(a, ttl); err != nil {
		if a.Auth != nil && a.Auth.Accessor != "" {
			i.c.discard(ctx, a.Auth.Accessor)
		}
		return err
	}
	i.own = world.NewSecret(a.Auth.ClientToken)
	r.Accessor = a.Auth.Accessor
	r.TokenExpires = asked.Add(time.Duration(a.Auth.LeaseDuration) * time.Second)
	return nil
}

func seconds(n int64) string { return strconv.FormatInt(n, 10) + "s" }

func (i *issue) checkMinted(a *answer, ttl int64) error {
	t, policy := a.Auth, strings.ToLower(i.rec.Target.Policy)
	if t == nil || t.ClientToken == "" || t.Accessor == "" {
		return errors.New("the answer has no token with an accessor")
	}
	missing := func(w string) bool { return strings.Contains(w, "does not exist") }
	switch {
	case !t.Orphan:
		return errors.New("the token is no orphan: it would die with ours; set orphan=true on the token role")
	case t.Renewable:
		return errors.New("the token is renewable; set renewable=false on the token role")
	case t.LeaseDuration <= 0 || t.LeaseDuration > ttl:
		return fmt.Errorf("the token lives %d s where %d s were asked for", t.LeaseDuration, ttl)
	case t.TokenType != "service" || t.NumUses != 0:
		return errors.New("the token cannot own leases; set token_type=service and token_num_uses=0 on the token role")
	case !slices.Equal(t.Policies, []string{policy}):
		return fmt.Errorf("the token has the policies %q and not just %q", t.Policies, policy)
	case slices.ContainsFunc(a.Warnings, missing):
		return fmt.Errorf("the policy %q does not exist in vault", policy)
	case t.Metadata["grant"] != string(i.rec.Grant.ID):
		return errors.New("the token does not say which grant it is for")
	}
	return nil
}

// reserve is the decision: of several replicas one writes the record, and
// from then on everybody knows the token on which a credential may hang.
func (i *issue) reserve(ctx context.Context) error {
	nonce, err := i.c.nonce()
	if err == nil {
		i.rec.State, i.rec.Nonce, i.rec.ReservedAt = grants.Reserved, nonce, i.now()
		err = i.c.PutRecord(ctx, &i.rec)
	}
	if err != nil {
		// Nothing hangs on the token and nothing will.
		i.c.discard(ctx, i.rec.Accessor)
		return err
	}
	*i.into = i.rec
	return nil
}

// stillOurs refuses to start a call that a retirement would no longer wait
// for: a process may have slept for any time since it reserved.
func (i *issue) stillOurs() error {
	if since := i.c.now().Sub(i.rec.ReservedAt); since > callDeadline {
		return fmt.Errorf("the reservation is %s old; leaving it to the retirement", since.Round(time.Second))
	}
	return nil
}

// ask has the engine make the credential. Whatever goes wrong, it is not asked
// again: the generation is retired, which ends what may have come about.
func (i *issue) ask(ctx context.Context) (*world.Credential, error) {
	if err := i.stillOurs(); err != nil {
		return nil, err
	}
	r, asked := &i.rec, i.now()
	a, err := i.c.call(ctx, request{path: r.Target.Path, auth: asGiven, token: i.own, effect: true})
	if err != nil {
		return nil, err
	}
	if !leaseOf(r.Target, a.LeaseID) || a.LeaseDuration <= 0 {
		return nil, errors.New("the answer has no lease of this path: nothing could end the credential early")
	}
	credential, err := readCredential(r.Target.Engine, a)
	if err != nil {
		return nil, err
	}
	r.LeaseID, r.LeaseExpires = a.LeaseID, asked.Add(time.Duration(a.LeaseDuration)*time.Second)
	if !a.Renewable {
		if r.LeaseExpires.After(r.EndsAt.Add(time.Second)) {
			return nil, fmt.Errorf("the lease cannot be renewed and would outlive the grant by %s", r.LeaseExpires.Sub(r.EndsAt).Round(time.Second))
		}
		r.LeaseCapped = true
	}
	r.Username = credential.Username
	return credential, nil
}

// leaseOf reports whether the lease comes from the target's own path.
func leaseOf(t grants.Target, leaseID string) bool {
	rest, ok := strings.CutPrefix(leaseID, t.Path+"/")
	return ok && rest != ""
}

func readCredential(engine string, a *answer) (*world.Credential, error) {
	var fields map[string]json.RawMessage
	if err := a.into(&fields); err != nil {
		return nil, err
	}
	credential := &world.Credential{Engine: engine, Fields: map[string]world.Secret{}}
	for name, raw := range fields {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw) // a number, a list: as JSON has it
		}
		switch name {
		case "username":
			credential.Username = text
		case "password":
			credential.Password = world.NewSecret(text)
		default:
			credential.Fields[name] = world.NewSecret(text)
		}
	}
	if engine == "database" && (credential.Username == "" || credential.Password.Empty()) {
		return nil, errors.New("the answer has no username and password")
	}
	return credential, nil
}

// wrap puts the credential behind a token that opens it once.
func (i *issue) wrap(ctx context.Context, credential *world.Credential) error {
	inside := map[string]string{"username": credential.Username, "password": credential.Password.Reveal()}
	for name, value := range credential.Fields {
		inside[name] = value.Reveal()
	}
	ttl := max(min(i.c.cfg.WrapTTL, i.left().Truncate(time.Second)), shortestWrap)
	asked := i.now()
	a, err := i.c.call(ctx, request{path: "sys/wrapping/wrap", effect: true, wrap: ttl, body: inside})
	if err != nil {
		return err
	}
	if a.WrapInfo == nil || a.WrapInfo.Token == "" || a.WrapInfo.Accessor == "" || a.WrapInfo.TTL <= 0 {
		return errors.New("the answer has no wrapping token")
	}
	i.rec.WrapAccessor = a.WrapInfo.Accessor
	i.rec.WrapExpires = asked.Add(time.Duration(a.WrapInfo.TTL) * time.Second)
	credential.Wrapped, credential.WrappedUntil = world.NewSecret(a.WrapInfo.Token), i.rec.WrapExpires
	return nil
}

// record says that the credential exists. Where somebody retired or ended the
// grant meanwhile, the credential goes to nobody, and what they could not know
// of is ended here too.
func (i *issue) record(ctx context.Context) error {
	i.rec.State, i.rec.IssuedAt, i.rec.Holder = grants.Issued, i.now(), i.claim.Holder
	err := i.c.PutRecord(ctx, &i.rec)
	if errors.Is(err, world.ErrLost) {
		i.c.discard(ctx, i.rec.Accessor)
		i.c.discardLease(ctx, i.rec.LeaseID)
	}
	if err != nil {
		return err
	}
	*i.into = i.rec
	return nil
}

// extend moves the lease's end to the grant's. Where that fails the credential
// is good but short, and Next has it renewed; only a lost write matters, since
// it means that the grant was ended.
func (i *issue) extend(ctx context.Context) error {
	if i.rec.LeaseCapped {
		return nil
	}
	err := i.c.Renew(ctx, &i.rec, i.now())
	if errors.Is(err, world.ErrLost) {
		return err
	}
	if err != nil {
		i.c.log.WarnContext(ctx, "the credential is issued but short", "grant", i.rec.Grant.ID, "until", i.rec.LeaseExpires, "error", err)
		return nil
	}
	*i.into = i.rec
	return nil
}

// discard revokes a token that we minted and nobody needs. It ends by itself
// where this fails, so the failure is only logged.
func (c *Client) discard(ctx context.Context, accessor string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpDeadline)
	defer cancel()
	if err := c.revokeAccessor(ctx, accessor); err != nil {
		c.log.WarnContext(ctx, "a token that nobody needs stays until its end", "error", err)
	}
}

// discardLease has Vault end a lease in its own time, which needs no answer
// from the database now.
func (c *Client) discardLease(ctx context.Context, leaseID string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpDeadline)
	defer cancel()
	_, err := c.call(ctx, request{path: "sys/leases/revoke", effect: true, body: map[string]any{"lease_id": leaseID, "sync": false}})
	if err != nil {
		c.log.WarnContext(ctx, "a lease that nobody needs stays until its end", "error", err)
	}
}
