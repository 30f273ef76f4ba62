package vaultlease

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Where things are kept, below the KV v2 mount.
const (
	intentsDir = "intents/"
	grantsDir  = "grants/"
	highWater  = "hwm"
)

// casMismatch is how Vault says that the version is not the one we read.
const casMismatch = "check-and-set parameter did not match the current version"

// Request returns the request with the ten-character key, nil where none was
// ever written. One that somebody deleted is an error, never absence.
func (c *Client) Request(ctx context.Context, key string) (*grants.Request, error) {
	if err := checkKey(key); err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	doc, version, err := c.get(ctx, intentsDir+key)
	if err != nil || doc == nil {
		return nil, wrap("read request "+key, err)
	}
	r, err := decodeRequest(doc)
	if err != nil {
		return nil, wrap("read request "+key, err)
	}
	if r.Grant.ID.Key() != key {
		return nil, fmt.Errorf("read request %s: it is about grant %s; somebody moved it", key, r.Grant.ID)
	}
	r.Version = version
	return r, nil
}

// PutRequest writes r over exactly the version it carries.
func (c *Client) PutRequest(ctx context.Context, r *grants.Request) error {
	if _, err := grants.ParseID(string(r.Grant.ID)); err != nil {
		return fmt.Errorf("write request: %w", err)
	}
	version, err := c.put(ctx, intentsDir+r.Grant.ID.Key(), r.Version, func(by string) any {
		return storeRequest(r, by)
	})
	if err != nil {
		return wrap("write request "+string(r.Grant.ID), err)
	}
	r.Version = version
	return nil
}

// Requests returns the keys of all requests, those that somebody deleted
// among them: reading one of these is an error.
func (c *Client) Requests(ctx context.Context) ([]string, error) {
	return c.list(ctx, intentsDir, checkKey)
}

// Record returns the record of a grant, nil where none was ever written. One
// that somebody deleted is an error, never absence.
func (c *Client) Record(ctx context.Context, id grants.ID) (*grants.Record, error) {
	if _, err := grants.ParseID(string(id)); err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	doc, version, err := c.get(ctx, grantsDir+string(id))
	if err != nil || doc == nil {
		return nil, wrap("read record "+string(id), err)
	}
	r, err := decodeRecord(doc)
	if err != nil {
		return nil, wrap("read record "+string(id), err)
	}
	if r.Grant.ID != id {
		return nil, fmt.Errorf("read record %s: it is about grant %s; somebody moved it", id, r.Grant.ID)
	}
	r.Version = version
	return r, nil
}

// PutRecord writes r over exactly the version it carries.
func (c *Client) PutRecord(ctx context.Context, r *grants.Record) error {
	if _, err := grants.ParseID(string(r.Grant.ID)); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	version, err := c.put(ctx, grantsDir+string(r.Grant.ID), r.Version, func(by string) any {
		return storeRecord(r, by)
	})
	if err != nil {
		return wrap("write record "+string(r.Grant.ID), err)
	}
	r.Version = version
	return nil
}

// Records returns the ids of all records, those that somebody deleted among
// them: reading one of these is an error.
func (c *Client) Records(ctx context.Context) ([]grants.ID, error) {
	keys, err := c.list(ctx, grantsDir, func(key string) error {
		_, err := grants.ParseID(key)
		return err
	})
	if err != nil {
		return nil, err
	}
	ids := make([]grants.ID, len(keys))
	for i, key := range keys {
		ids[i] = grants.ID(key)
	}
	return ids, nil
}

// HighWater returns the high-water mark, nil where none was ever written.
func (c *Client) HighWater(ctx context.Context) (*world.HighWater, error) {
	doc, version, err := c.get(ctx, highWater)
	if err != nil || doc == nil {
		return nil, wrap("read high-water mark", err)
	}
	var stored storedHighWater
	if err := decodeStrictly(doc, &stored); err != nil {
		return nil, wrap("read high-water mark", err)
	}
	return &world.HighWater{Version: version, Commit: stored.Commit}, nil
}

// PutHighWater writes h over exactly the version it carries.
func (c *Client) PutHighWater(ctx context.Context, h *world.HighWater) error {
	version, err := c.put(ctx, highWater, h.Version, func(by string) any {
		return storedHighWater{By: by, Commit: h.Commit}
	})
	if err != nil {
		return wrap("write high-water mark", err)
	}
	h.Version = version
	return nil
}

func wrap(subject string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", subject, err)
}

func checkKey(key string) error {
	if _, err := grants.ParseID("20000101-" + key); err != nil {
		return fmt.Errorf("%.20q is not the key of a request", key)
	}
	return nil
}

// get reads the current version. No document and no error means that nothing
// was ever written there.
func (c *Client) get(ctx context.Context, path string) (doc json.RawMessage, version int, err error) {
	a, err := c.call(ctx, request{path: c.cfg.Mount + "/data/" + path})
	if hasStatus(err, http.StatusNotFound) {
		if err := notOurPlace(a, err); err != nil {
			return nil, 0, err
		}
		if isNull(a.Data) {
			return nil, 0, nil
		}
		// Vault keeps the metadata of what was deleted. The bot may not
		// delete, so this is tampering, and no reason to start anew.
		return nil, 0, errors.New("somebody deleted it; undelete the version in vault")
	}
	if err != nil {
		return nil, 0, err
	}
	var kv struct {
		Data     json.RawMessage `json:"data"`
		Metadata struct {
			Version   int  `json:"version"`
			Destroyed bool `json:"destroyed"`
		} `json:"metadata"`
	}
	if err := a.into(&kv); err != nil {
		return nil, 0, err
	}
	if isNull(kv.Data) || kv.Metadata.Version < 1 || kv.Metadata.Destroyed {
		return nil, 0, errors.New("the answer has no document or no version")
	}
	return kv.Data, kv.Metadata.Version, nil
}

// notOurPlace tells the 404 that means that nothing was written from those
// that mean that we look in the wrong place: with errors the engine is not
// there ("no handler for route"), with warnings the path is not one of a KV v2
// engine. Only the first is absence, and nil.
func notOurPlace(a *answer, err error) error {
	switch {
	case a == nil || len(a.Errors) > 0:
		return err
	case len(a.Warnings) > 0:
		return fmt.Errorf("%w: %.200s", err, a.Warnings[0])
	}
	return nil
}

func isNull(raw json.RawMessage) bool {
	return len(raw) == 0 || bytes.Equal(bytes.TrimSpace(raw), []byte("null"))
}

// put writes over exactly version and returns the new one. encode is given a
// nonce that the document carries, by which a write whose answer was lost is
// recognised as ours.
func (c *Client) put(ctx context.Context, path string, version int, encode func(by string) any) (int, error) {
	by, err := c.nonce()
	if err != nil {
		return 0, err
	}
	doc, err := json.Marshal(encode(by))
	if err != nil {
		return 0, fmt.Errorf("encode: %w", err)
	}
	a, err := c.call(ctx, request{
		path: c.cfg.Mount + "/data/" + path, effect: true,
		body: map[string]any{"options": map[string]int{"cas": version}, "data": json.RawMessage(doc)},
	})
	lost := says(err, http.StatusBadRequest, casMismatch)
	switch {
	case err == nil:
		var written struct {
			Version int `json:"version"`
		}
		if a.into(&written) == nil && written.Version == version+1 {
			return written.Version, nil
		}
		err = fmt.Errorf("%w: the answer has no version", world.ErrAmbiguous)
	case !lost && !errors.Is(err, world.ErrAmbiguous):
		return 0, err
	}
	return c.whoWrote(ctx, path, version, doc, lost, err)
}

// whoWrote finds out what became of a write over version that was refused as
// too late, or whose answer was lost. Even a refusal may hide our own success:
// something between us and Vault may have sent the write twice.
func (c *Client) whoWrote(ctx context.Context, path string, version int, doc []byte, lost bool, cause error) (int, error) {
	stored, now, err := c.get(ctx, path)
	if err == nil && now > version && sameDocument(stored, doc) {
		return now, nil
	}
	switch {
	case lost:
		return 0, fmt.Errorf("%w: version %d is no longer the newest", world.ErrLost, version)
	case err != nil:
		return 0, fmt.Errorf("%w; reading it again: %w", cause, err)
	case now == version:
		// It may still be under way.
		return 0, cause
	}
	return 0, fmt.Errorf("%w: version %d is no longer the newest", world.ErrLost, version)
}

func sameDocument(a, b []byte) bool {
	if isNull(a) {
		return false
	}
	left, err := compact(a)
	if err != nil {
		return false
	}
	right, err := compact(b)
	return err == nil && bytes.Equal(left, right)
}

// list returns the keys below dir, sorted. Strangers among them are left out
// with a warning: they must not stop what concerns everybody.
func (c *Client) list(ctx context.Context, dir string, check func(string) error) ([]string, error) {
	a, err := c.call(ctx, request{path: c.cfg.Mount + "/metadata/" + strings.TrimSuffix(dir, "/"), list: true})
	if hasStatus(err, http.StatusNotFound) {
		return nil, wrap("list "+dir, notOurPlace(a, err))
	}
	if err != nil {
		return nil, wrap("list "+dir, err)
	}
	var listing struct {
		Keys []string `json:"keys"`
	}
	if err := a.into(&listing); err != nil {
		return nil, wrap("list "+dir, err)
	}
	keys := map[string]bool{}
	for _, key := range listing.Keys {
		if err := check(key); err != nil {
			c.log.WarnContext(ctx, "vault holds something that is not ours", "dir", dir, "error", err)
			continue
		}
		keys[key] = true
	}
	return slices.Sorted(maps.Keys(keys)), nil
}
