package client

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tigeraccess/tac/grants"
)

// Held is the folder of what is kept of one grant:
//
//	claim                 the claim key: whoever knows it is the same claimant
//	credential.json       the credential, until a day after its end
//	id_ed25519            the SSH key made for this grant alone
//	id_ed25519-cert.pub   its certificate
//	key.pem               the key for X.509 made for this grant alone
//	cert.pem, ca.pem      its certificate, and the authorities
type Held struct{ dir string }

// Held returns the folder of a grant, which need not exist.
func (s Store) Held(server Server, id grants.ID) (Held, error) {
	if _, err := grants.ParseID(string(id)); err != nil {
		return Held{}, err // an id from elsewhere must not name another folder
	}
	return Held{dir: filepath.Join(s.folder(server), string(id))}, nil
}

func (h Held) claimFile() string      { return filepath.Join(h.dir, "claim") }
func (h Held) credentialFile() string { return filepath.Join(h.dir, "credential.json") }

// KeyFile is where the SSH key is.
func (h Held) KeyFile() string { return filepath.Join(h.dir, "id_ed25519") }

// CertFile is where the SSH certificate is.
func (h Held) CertFile() string { return h.KeyFile() + "-cert.pub" }

// Remove deletes everything that is kept of the grant.
func (h Held) Remove() error {
	if err := os.RemoveAll(h.dir); err != nil {
		return fmt.Errorf("delete what is kept of a grant: %w", err)
	}
	return nil
}

// claimKey returns the key by which the server knows this claimant. It is
// kept before it is first sent: an answer lost on the way can be asked for
// again, also by another run.
func (h Held) claimKey() (string, error) {
	data, err := readPrivate(h.claimFile())
	if err == nil {
		return strings.TrimSpace(string(data)), nil
	}
	if !errors.Is(err, errNotThere) {
		return "", err
	}
	key := rand.Text()
	return key, writePrivate(h.claimFile(), []byte(key+"\n"))
}

// kept is credential.json.
type kept struct {
	Grant      Grant
	Credential Credential
}

type writtenKept struct {
	Grant      Grant    `json:"grant"`
	Credential Revealed `json:"credential"`
}

// afterEnd is how long a credential is kept past the end that is known here:
// the grant may have been extended from elsewhere, and then it lives on. One
// that has ended is a secret no more.
const afterEnd = 24 * time.Hour

// kept returns the credential that is kept and lives, as far as is known here;
// nil where none does. What has surely ended is deleted: everything once the
// grant is over, and before that a credential alone. A certificate stays until
// the grant is over, for the program that found it in its place needs the next
// one there.
func (h Held) kept(now time.Time) (*kept, error) {
	k, err := h.read()
	if k == nil || err != nil {
		return nil, err
	}
	end, until := k.Grant.EndsAt, k.Credential.Until
	switch {
	case end != nil && !now.Before(end.Add(afterEnd)):
		return nil, h.Remove()
	case !k.Credential.Signed() && !now.Before(until.Add(afterEnd)):
		return nil, h.forgetCredential()
	case end != nil && !now.Before(*end), !now.Before(until):
		return nil, nil
	}
	return k, nil
}

// read returns what is kept, whether it lives or not; nil where nothing is.
func (h Held) read() (*kept, error) {
	data, err := readPrivate(h.credentialFile())
	if errors.Is(err, errNotThere) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var k kept
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, h.forgetCredential() // damaged: the claim key brings a new one
	}
	return &k, nil
}

// follow brings what is kept in step with what the server says of the grant,
// and returns what of it lives.
func (h Held) follow(g Grant, now time.Time) (*kept, error) {
	if g.Phase != grants.PhaseActive {
		return nil, h.forgetCredential() // it was retired: the server says what comes next
	}
	if err := h.extended(g); err != nil {
		return nil, err
	}
	return h.kept(now)
}

// extended notes that a grant lasts longer than was known here. Its credential
// lasts as long as it does, unless that is a certificate or ended before it.
func (h Held) extended(g Grant) error {
	k, err := h.read()
	if k == nil || err != nil || g.EndsAt == nil || k.Grant.EndsAt == nil || !k.Grant.EndsAt.Before(*g.EndsAt) {
		return err
	}
	if !k.Credential.Signed() && !k.Credential.Until.Before(*k.Grant.EndsAt) {
		k.Credential.Until = *g.EndsAt
	}
	k.Grant = g
	return h.keep(*k)
}

func (h Held) forgetCredential() error {
	_, cert, authorities := h.TLSFiles()
	for _, path := range []string{h.credentialFile(), h.CertFile(), cert, authorities} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("delete an ended credential: %w", err)
		}
	}
	return nil
}

func (h Held) keep(k kept) error {
	data, err := json.MarshalIndent(writtenKept{k.Grant, k.Credential.Reveal()}, "", "  ")
	if err != nil {
		return fmt.Errorf("write the credential: %w", err)
	}
	switch {
	case k.Credential.Engine == EnginePKI:
		err = h.keepCertificate(k.Credential)
	case k.Credential.SignedKey != "":
		err = writePrivate(h.CertFile(), []byte(strings.TrimSpace(k.Credential.SignedKey)+"\n"))
	}
	if err != nil {
		return err
	}
	return writePrivate(h.credentialFile(), append(data, '\n'))
}

// publicKey returns the public half of this grant's own SSH key, as in
// authorized_keys. The private half never leaves this machine.
func (h Held) publicKey() (string, error) {
	data, err := readPrivate(h.KeyFile())
	if err == nil {
		if signer, err := ssh.ParsePrivateKey(data); err == nil {
			return authorized(signer.PublicKey()), nil
		}
	} else if !errors.Is(err, errNotThere) {
		return "", err
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", fmt.Errorf("make an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "tac "+filepath.Base(h.dir))
	if err != nil {
		return "", fmt.Errorf("make an SSH key: %w", err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("make an SSH key: %w", err)
	}
	return authorized(key), writePrivate(h.KeyFile(), pem.EncodeToMemory(block))
}

func authorized(key ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}
