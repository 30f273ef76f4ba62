package client

import (
	"context"
	"errors"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// Taken is a credential at hand.
type Taken struct {
	Grant      Grant
	Credential Credential
	KeyFile    string // ssh, pki: the private key
	CertFile   string // ssh, pki: its certificate
	CAFile     string // pki: the authorities
	Reused     bool   // it was kept from before
	// Unsure is set where the server could not be asked whether the kept
	// credential still lives.
	Unsure error
}

// The engines whose credential is a certificate for a key of the claimant's
// own. It comes in slices, each of which is a claim away.
const (
	EngineSSH = grants.EngineSSH
	EnginePKI = grants.EnginePKI
)

// Signed reports whether the credential is a certificate.
func (c Credential) Signed() bool { return c.Engine == EngineSSH || c.Engine == EnginePKI }

// sliceLeft is the least life of a certificate that is used again: connecting
// takes a moment.
const sliceLeft = 30 * time.Second

// wholeSlice is more than is left of any slice: it is not used again.
const wholeSlice = 24 * time.Hour

// Take returns the credential of a grant: the one kept here while it lives,
// else a new one. replace retires whatever lives and claims anew.
func (c *Client) Take(ctx context.Context, id grants.ID, replace bool) (Taken, error) {
	return c.takeLasting(ctx, id, replace, sliceLeft)
}

// Resign has the certificate of a grant signed again, whatever is left of the
// present one. Its files keep their names. Where the server does not answer,
// what is there is returned, with Unsure set.
func (c *Client) Resign(ctx context.Context, id grants.ID) (Taken, error) {
	return c.takeLasting(ctx, id, false, wholeSlice)
}

// takeLasting is Take; a certificate of which less than least is left is not
// used again.
func (c *Client) takeLasting(ctx context.Context, id grants.ID, replace bool, least time.Duration) (Taken, error) {
	held, err := c.Store.Held(c.Server, id)
	if err != nil {
		return Taken{}, err
	}
	unlock, err := lock(held.dir)
	if err != nil {
		return Taken{}, err
	}
	defer unlock()
	old, err := held.kept(c.Now())
	if err != nil {
		return Taken{}, err
	}
	g, err := c.Show(ctx, id)
	switch {
	case err != nil && IsPassing(err) && old != nil && !replace:
		return held.taken(*old, err), nil
	case isNotFound(err):
		_ = held.Remove() // nothing of it is of use; the refusal matters more
		return Taken{}, err
	case err != nil:
		return Taken{}, err
	}
	if old, err = held.follow(g, c.Now()); err != nil {
		return Taken{}, err
	}
	if old != nil && !replace && held.lasts(*old, c.Now(), least) {
		return held.taken(kept{Grant: g, Credential: old.Credential}, nil), nil
	}
	return c.take(ctx, held, id, g, old, replace)
}

func isNotFound(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Code == CodeNotFound
}

// lasts reports whether what is kept can be used again.
func (h Held) lasts(k kept, now time.Time, least time.Duration) bool {
	if k.Credential.Signed() && k.Credential.Until.Sub(now) <= least {
		return false
	}
	return k.Credential.Engine != EnginePKI || h.fits()
}

func (h Held) taken(k kept, unsure error) Taken {
	t := Taken{Grant: k.Grant, Credential: k.Credential, Reused: true, Unsure: unsure}
	switch k.Credential.Engine {
	case EngineSSH:
		t.KeyFile, t.CertFile = h.KeyFile(), h.CertFile()
	case EnginePKI:
		t.KeyFile, t.CertFile, t.CAFile = h.TLSFiles()
	}
	return t
}

// take claims and keeps what comes.
func (c *Client) take(ctx context.Context, held Held, id grants.ID, g Grant, old *kept, replace bool) (Taken, error) {
	key, err := held.claimKey()
	if err != nil {
		return Taken{}, err
	}
	ask := claimAsk{Key: key, Replace: replace}
	switch g.Engine {
	case EngineSSH:
		ask.PublicKey, err = held.publicKey()
	case EnginePKI:
		ask.CSR, err = held.csr()
	}
	if err != nil {
		return Taken{}, err
	}
	claimed, credential, err := c.claim(ctx, id, ask)
	switch {
	case err == nil:
	case g.Over():
		_ = held.Remove() // as above: the refusal says how it ended
		return Taken{}, err
	case old != nil && !replace:
		return held.taken(*old, err), nil // the last seconds of a slice are better than nothing
	default:
		return Taken{}, err
	}
	k := kept{Grant: claimed, Credential: credential}
	if err := held.keep(k); err != nil {
		return Taken{}, err
	}
	t := held.taken(k, nil)
	t.Reused = false
	return t, nil
}

// Renewed returns one grant of one's own. Where it lasts longer than was known
// here, what is kept of it does too.
func (c *Client) Renewed(ctx context.Context, id grants.ID) (Grant, error) {
	g, err := c.Show(ctx, id)
	if err != nil || g.Phase != grants.PhaseActive {
		return g, err
	}
	held, err := c.Store.Held(c.Server, id)
	if err != nil {
		return g, err
	}
	if k, err := held.read(); k == nil || err != nil {
		return g, err // nothing was taken here
	}
	unlock, err := lock(held.dir)
	if err != nil {
		return g, err
	}
	defer unlock()
	return g, held.extended(g)
}

// End deletes what is kept of a grant that was ended here.
func (c *Client) End(id grants.ID) error {
	held, err := c.Store.Held(c.Server, id)
	if err != nil {
		return err
	}
	return held.Remove()
}
