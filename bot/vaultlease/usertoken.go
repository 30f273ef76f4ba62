package vaultlease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// usersDir holds what people left with tac, by their number at GitHub.
const usersDir = "users/"

// storedUserToken is the one stored form that holds secrets. Vault seals them
// at rest and logs who reads them; nothing else of ours writes them anywhere.
type storedUserToken struct {
	By           string          `json:"by"`
	Person       storedPrincipal `json:"person"`
	Access       string          `json:"access_token,omitempty"`
	AccessUntil  time.Time       `json:"access_until,omitzero"`
	Refresh      string          `json:"refresh_token,omitempty"`
	RefreshUntil time.Time       `json:"refresh_until,omitzero"`
}

// UserToken returns what a person left with tac; nil: never anything. One
// whose tokens are empty was taken back, by the person or by somebody who
// deleted it in Vault; it still carries the version to write over.
func (c *Client) UserToken(ctx context.Context, person int64) (*world.UserToken, error) {
	if person <= 0 {
		return nil, fmt.Errorf("read user token: %d is no person", person)
	}
	subject := fmt.Sprintf("read user token of %d", person)
	doc, version, err := c.getOrGone(ctx, usersDir+strconv.FormatInt(person, 10))
	if err != nil || version == 0 {
		return nil, wrap(subject, err)
	}
	t := &world.UserToken{Version: version, Person: grants.Principal{ID: person}}
	if doc == nil {
		return t, nil
	}
	var s storedUserToken
	if err := decodeStrictly(doc, &s); err != nil {
		return nil, wrap(subject, err)
	}
	if s.Person.ID != person {
		// Moved there it would let one person answer as another.
		return nil, fmt.Errorf("%s: it is about person %d; somebody moved it", subject, s.Person.ID)
	}
	t.Person = grants.Principal(s.Person)
	t.Access, t.AccessUntil = world.NewSecret(s.Access), utc(s.AccessUntil)
	t.Refresh, t.RefreshUntil = world.NewSecret(s.Refresh), utc(s.RefreshUntil)
	return t, nil
}

// PutUserToken writes t over exactly the version it carries. Empty tokens
// forget what was there: the versions before are only as good as GitHub takes
// them, so whoever forgets a token revokes it first.
func (c *Client) PutUserToken(ctx context.Context, t *world.UserToken) error {
	if t.Person.ID <= 0 {
		return fmt.Errorf("write user token: %d is no person", t.Person.ID)
	}
	version, err := c.put(ctx, usersDir+strconv.FormatInt(t.Person.ID, 10), t.Version, func(by string) any {
		return storedUserToken{
			By: by, Person: storedPrincipal(t.Person),
			Access: t.Access.Reveal(), AccessUntil: utc(t.AccessUntil),
			Refresh: t.Refresh.Reveal(), RefreshUntil: utc(t.RefreshUntil),
		}
	})
	if err != nil {
		return wrap(fmt.Sprintf("write user token of %d", t.Person.ID), err)
	}
	t.Version = version
	return nil
}

// getOrGone reads the current version of what may be lost without harm to any
// grant. Unlike get it takes a deletion for what it says, and returns the
// version that a new document is to be written over; 0: nothing was ever there.
func (c *Client) getOrGone(ctx context.Context, path string) (doc json.RawMessage, version int, err error) {
	a, err := c.call(ctx, request{path: c.cfg.Mount + "/data/" + path})
	missing := hasStatus(err, http.StatusNotFound)
	if missing {
		if err := notOurPlace(a, err); err != nil {
			return nil, 0, err
		}
		if isNull(a.Data) {
			return nil, 0, nil
		}
	} else if err != nil {
		return nil, 0, err
	}
	var kv struct {
		Data     json.RawMessage `json:"data"`
		Metadata struct {
			Version int `json:"version"`
		} `json:"metadata"`
	}
	if err := a.into(&kv); err != nil {
		return nil, 0, err
	}
	if kv.Metadata.Version < 1 || isNull(kv.Data) != missing {
		return nil, 0, errors.New("the answer has no document or no version")
	}
	if missing {
		return nil, kv.Metadata.Version, nil
	}
	return kv.Data, kv.Metadata.Version, nil
}
