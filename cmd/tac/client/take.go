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
	KeyFile    string // ssh: the private key
	CertFile   string // ssh: its certificate
	Reused     bool   // it was kept from before
	// Unsure is set where the server could not be asked whether the kept
	// credential still lives.
	Unsure error
}

// EngineSSH is the engine whose credential is a certificate for a key of the
// claimant's own.
const EngineSSH = "ssh"

// sliceLeft is the least life of an SSH certificate that is used again:
// connecting takes a moment, and the next slice is a claim away.
const sliceLeft = 30 * time.Second

// Take returns the credential of a grant: the one kept here while it lives,
// else a new one. replace retires whatever lives and claims anew.
func (c *Client) Take(ctx context.Context, id grants.ID, replace bool) (Taken, error) {
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
	case g.Phase != grants.PhaseActive:
		// Whatever is kept was retired: the server says what comes next.
		if old, err = nil, held.forgetCredential(); err != nil {
			return Taken{}, err
		}
	case old != nil && !replace && old.lasts(c.Now()):
		return held.taken(kept{Grant: g, Credential: old.Credential}, nil), nil
	}
	return c.take(ctx, held, id, g, old, replace)
}

func isNotFound(err error) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Code == CodeNotFound
}

func (k kept) lasts(now time.Time) bool {
	return k.Credential.Engine != EngineSSH || k.Credential.Until.Sub(now) > sliceLeft
}

func (h Held) taken(k kept, unsure error) Taken {
	t := Taken{Grant: k.Grant, Credential: k.Credential, Reused: true, Unsure: unsure}
	if k.Credential.Engine == EngineSSH {
		t.KeyFile, t.CertFile = h.KeyFile(), h.CertFile()
	}
	return t
}

// take claims and keeps what comes.
func (c *Client) take(ctx context.Context, held Held, id grants.ID, g Grant, old *kept, replace bool) (Taken, error) {
	key, err := held.claimKey()
	if err != nil {
		return Taken{}, err
	}
	public := ""
	if g.Engine == EngineSSH {
		if public, err = held.publicKey(); err != nil {
			return Taken{}, err
		}
	}
	claimed, credential, err := c.claim(ctx, id, key, public, replace)
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

// End deletes what is kept of a grant that was ended here.
func (c *Client) End(id grants.ID) error {
	held, err := c.Store.Held(c.Server, id)
	if err != nil {
		return err
	}
	return held.Remove()
}
