package vaultlease

import (
	"context"
	"fmt"
	"regexp"

	"github.com/tigeraccess/tac/grants/world"
)

// notesDir holds what replicas tell each other and may lose.
const notesDir = "notes/"

// mostNote bounds a note in bytes: Vault is no database.
const mostNote = 256 << 10

var noteForm = regexp.MustCompile(`^[a-z0-9-]+(/[a-z0-9-]+)*$`)

type storedNote struct {
	By   string `json:"by"`
	Data []byte `json:"data,omitempty"`
}

// Note returns a small shared value, an empty one with Version 0 where none
// was ever written. One that somebody deleted is empty, with its version.
func (c *Client) Note(ctx context.Context, key string) (world.Note, error) {
	if err := checkNoteKey(key); err != nil {
		return world.Note{}, fmt.Errorf("read note: %w", err)
	}
	doc, version, err := c.getOrGone(ctx, notesDir+key)
	if err != nil || doc == nil {
		return world.Note{Version: version}, wrap("read note "+key, err)
	}
	var s storedNote
	if err := decodeStrictly(doc, &s); err != nil {
		return world.Note{}, wrap("read note "+key, err)
	}
	return world.Note{Version: version, Data: s.Data}, nil
}

// PutNote writes n over exactly the version it carries.
func (c *Client) PutNote(ctx context.Context, key string, n *world.Note) error {
	if err := checkNoteKey(key); err != nil {
		return fmt.Errorf("write note: %w", err)
	}
	if len(n.Data) > mostNote {
		return fmt.Errorf("write note %s: it has %d bytes; at most %d fit", key, len(n.Data), mostNote)
	}
	version, err := c.put(ctx, notesDir+key, n.Version, func(by string) any { return storedNote{By: by, Data: n.Data} })
	if err != nil {
		return wrap("write note "+key, err)
	}
	n.Version = version
	return nil
}

func checkNoteKey(key string) error {
	if len(key) > 200 || !noteForm.MatchString(key) {
		return fmt.Errorf("%.40q is not the key of a note", key)
	}
	return nil
}
