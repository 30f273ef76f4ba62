package client

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/zalando/go-keyring"
)

// Keyring keeps secrets by name, for whoever uses this machine: the login
// keychain, the secret service of the desktop, the credential manager.
type Keyring interface {
	// Get returns ErrNoSecret where there is none by that name.
	Get(name string) (string, error)
	Set(name, secret string) error
	// Delete of what is not there is no error.
	Delete(name string) error
}

var (
	// ErrNoSecret says that the keyring answers and has no such secret.
	ErrNoSecret = errors.New("the keyring has no such secret")
	// ErrNoKeyring says that this machine, or this session, has no keyring.
	ErrNoKeyring = errors.New("there is no keyring here")
	// ErrSilentKeyring says that the keyring does not answer; most often it
	// is locked, and asks for its password on a screen that nobody sees.
	ErrSilentKeyring = errors.New("the keyring does not answer; it may be locked")
)

// KeyringPatience is how long a keyring may take. It is too short to type a
// password in, and meant to be: whoever is called out at night and comes in by
// ssh must not hang on a dialog that another screen shows.
const KeyringPatience = 4 * time.Second

// keyringService is the name that keyrings show beside our secrets.
const keyringService = "tac"

// SystemKeyring returns the keyring of this machine. It is not asked anything
// before it is used.
func SystemKeyring(patience time.Duration) Keyring {
	return &systemKeyring{patience: patience, here: hasKeyring}
}

// systemKeyring asks the system's keyring with bounded patience. The library
// offers no way to cancel a call, so one that hangs is left behind; it ends
// with this process, which is short. After that nothing more is asked: one wait
// is enough for one command.
type systemKeyring struct {
	patience time.Duration
	here     func() bool

	mu     sync.Mutex
	silent bool
}

func (k *systemKeyring) Get(name string) (string, error) {
	secret, err := k.ask(func() (string, error) { return keyring.Get(keyringService, name) })
	if errors.Is(err, keyring.ErrNotFound) {
		return "", ErrNoSecret
	}
	return secret, said("read from", err)
}

func (k *systemKeyring) Set(name, secret string) error {
	_, err := k.ask(func() (string, error) { return "", keyring.Set(keyringService, name, secret) })
	if err != nil && !errors.Is(err, ErrNoKeyring) && !errors.Is(err, ErrSilentKeyring) {
		// Some systems are told by a command line of theirs; whatever they
		// answer is not repeated, since what they were told is a secret.
		return errors.New("the keyring does not take a secret")
	}
	return err
}

func (k *systemKeyring) Delete(name string) error {
	_, err := k.ask(func() (string, error) { return "", keyring.Delete(keyringService, name) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return said("delete from", err)
}

func said(doing string, err error) error {
	if err == nil || errors.Is(err, ErrNoKeyring) || errors.Is(err, ErrSilentKeyring) {
		return err
	}
	return fmt.Errorf("%s the keyring: %w", doing, err)
}

func (k *systemKeyring) ask(call func() (string, error)) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case !k.here():
		return "", ErrNoKeyring
	case k.silent:
		return "", ErrSilentKeyring
	}
	type answer struct {
		secret string
		err    error
	}
	answered := make(chan answer, 1)
	go func() {
		secret, err := call()
		answered <- answer{secret, err}
	}()
	patience := time.NewTimer(k.patience)
	defer patience.Stop()
	select {
	case a := <-answered:
		if errors.Is(a.err, keyring.ErrUnsupportedPlatform) {
			return "", ErrNoKeyring
		}
		return a.secret, a.err
	case <-patience.C:
		k.silent = true
		return "", ErrSilentKeyring
	}
}

// hasKeyring reports whether it is worth asking. Where a desktop's bus is not
// running, the library would start one, which then stays behind; a server in
// a container or behind ssh has none.
func hasKeyring() bool {
	switch runtime.GOOS {
	case "darwin", "windows":
		return true
	}
	if address := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); address != "" && !strings.HasPrefix(address, "autolaunch:") {
		return true
	}
	_, err := os.Stat(fmt.Sprintf("/run/user/%d/bus", os.Getuid()))
	return err == nil
}
