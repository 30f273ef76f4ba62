package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Place is where the tokens of a sign-in are kept.
type Place string

// The places.
const (
	// InFile is login.json, since no keyring was to be tried.
	InFile Place = ""
	// InKeyring is the keyring; login.json says the rest.
	InKeyring Place = "keyring"
	// InFileOnly is login.json, since the keyring did not take them. It is
	// tried again when the tokens change, and not at every command.
	InFileOnly Place = "file"
)

// String says it as people do.
func (p Place) String() string {
	if p == InKeyring {
		return "the keyring of this machine"
	}
	return "a file that only you can read"
}

// writtenTokens stand in login.json or in the keyring. They are one value
// with their ends: a new token with an old one's end would be worse than either.
type writtenTokens struct {
	AccessToken  string    `json:"access_token"`
	AccessUntil  time.Time `json:"access_until,omitzero"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	RefreshUntil time.Time `json:"refresh_until,omitzero"`
}

// secretName is under which name the keyring has the tokens for a server. The
// folder belongs to it: two of them are two sign-ins.
func (s Store) secretName(server Server) string { return string(server) + " in " + s.Dir }

func (s Store) note(format string, args ...any) {
	if s.Note != nil {
		s.Note(fmt.Sprintf(format, args...))
	}
}

// toKeyring keeps tokens in the keyring, if it takes them, and says where they
// are to be kept. What it says it has taken is read back: not every system's
// keyring tells that it has not.
func (s Store) toKeyring(server Server, t *writtenTokens) Place {
	if s.Keyring == nil {
		return InFile
	}
	text, err := json.Marshal(t)
	if err != nil {
		return InFileOnly
	}
	name := s.secretName(server)
	if err = s.Keyring.Set(name, string(text)); err == nil {
		var back string
		if back, err = s.Keyring.Get(name); err == nil && back == string(text) {
			return InKeyring
		}
	}
	if errors.Is(err, ErrSilentKeyring) {
		s.note("%v; the tokens are kept in a file that only you can read", err)
	}
	return InFileOnly
}

// fromKeyring returns the tokens that login.json says are in the keyring; nil:
// it has lost them.
func (s Store) fromKeyring(server Server) (*writtenTokens, error) {
	if s.Keyring == nil {
		return nil, fmt.Errorf("your login at %s is in the keyring, which TAC_KEYRING keeps tac from using; unset it, or run `tac login` again", server)
	}
	text, err := s.Keyring.Get(s.secretName(server))
	if errors.Is(err, ErrNoSecret) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("your login at %s is in the keyring: %w; unlock it and try again, or run `TAC_KEYRING=file tac login`", server, err)
	}
	var t writtenTokens
	if json.Unmarshal([]byte(text), &t) != nil {
		return nil, fmt.Errorf("the keyring holds something else under %q; run `tac login` again", s.secretName(server))
	}
	return &t, nil
}

// outOfKeyring deletes the tokens that login.json says are in the keyring.
func (s Store) outOfKeyring(server Server) error {
	name := s.secretName(server)
	if s.Keyring == nil {
		return fmt.Errorf("the tokens stay in the keyring, which TAC_KEYRING keeps tac from using; delete them there, under %q", name)
	}
	if err := s.Keyring.Delete(name); err != nil {
		return fmt.Errorf("the tokens stay in the keyring: %w; delete them there, under %q", err, name)
	}
	return nil
}
