package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Store is a folder that holds what the command line keeps between two runs:
//
//	server                     the server that `tac login --server` named
//	servers/HOST/login.json    the sign-in at one server
//	servers/HOST/ID/           what is kept of one grant (held.go)
//
// Files are for their owner alone, and are replaced whole or not at all. The
// tokens of a sign-in are in the keyring where there is one (kept.go), else in
// login.json as well.
type Store struct {
	Dir     string
	Keyring Keyring // nil: tokens are kept in files
	// Note hears, in a sentence, what somebody should know who had to wait
	// for a keyring; nil: nobody does.
	Note func(sentence string)
}

// Login is a sign-in at one server.
type Login struct {
	Server    Server
	ClientID  string // of the GitHub App
	GitHubURL string // where its tokens are refreshed
	Person    Person // zero: not asked yet

	Access       world.Secret
	AccessUntil  time.Time // zero: it does not end
	Refresh      world.Secret
	RefreshUntil time.Time // zero: it does not end

	Kept Place // where the tokens are; Save decides it anew
}

// writtenLogin is login.json.
type writtenLogin struct {
	Server    Server `json:"server"`
	ClientID  string `json:"client_id"`
	GitHubURL string `json:"github_url"`
	GitHub    string `json:"github,omitempty"`
	ID        int64  `json:"id,omitempty"`
	Kept      Place  `json:"kept_in,omitempty"` // empty: in this file, and no keyring was tried
	*writtenTokens
}

// errNotThere says that a file does not exist, which is no mistake.
var errNotThere = errors.New("no such file")

// Remembered returns the server that a login named; empty: none did.
func (s Store) Remembered() (Server, error) {
	data, err := readPrivate(filepath.Join(s.Dir, "server"))
	if errors.Is(err, errNotThere) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return ParseServer(string(data))
}

// Remember keeps the server for commands that name none.
func (s Store) Remember(server Server) error {
	return writePrivate(filepath.Join(s.Dir, "server"), []byte(string(server)+"\n"))
}

func (s Store) folder(server Server) string { return filepath.Join(s.Dir, "servers", server.folder()) }

func (s Store) loginFile(server Server) string { return filepath.Join(s.folder(server), "login.json") }

// Login returns the sign-in at a server; false where there is none.
func (s Store) Login(server Server) (Login, bool, error) {
	file := s.loginFile(server)
	data, err := readPrivate(file)
	if errors.Is(err, errNotThere) {
		return Login{}, false, nil
	}
	if err != nil {
		return Login{}, false, err
	}
	w := writtenLogin{writtenTokens: &writtenTokens{}}
	if err := json.Unmarshal(data, &w); err != nil {
		return Login{}, false, fmt.Errorf("%s is damaged; run `tac login` again", file) // not quoted: it may hold tokens
	}
	if w.Server != server {
		return Login{}, false, nil // of another server, which must not get this token
	}
	if w.Kept == InKeyring {
		if w.writtenTokens, err = s.fromKeyring(server); err != nil {
			return Login{}, false, err
		}
	}
	if w.writtenTokens == nil || w.AccessToken == "" {
		return Login{}, false, nil
	}
	return Login{
		Server: w.Server, ClientID: w.ClientID, GitHubURL: w.GitHubURL, Person: Person{w.GitHub, w.ID},
		Access: world.NewSecret(w.AccessToken), AccessUntil: w.AccessUntil,
		Refresh: world.NewSecret(w.RefreshToken), RefreshUntil: w.RefreshUntil,
		Kept: w.Kept,
	}, true, nil
}

// Save keeps a sign-in, in the keyring where that takes it.
func (s Store) Save(l Login) error {
	_, err := s.keep(l)
	return err
}

// keep is Save, and returns the sign-in with the place that was found for it.
func (s Store) keep(l Login) (Login, error) {
	w := writtenLogin{
		Server: l.Server, ClientID: l.ClientID, GitHubURL: l.GitHubURL, GitHub: l.Person.GitHub, ID: l.Person.ID,
		writtenTokens: &writtenTokens{
			AccessToken: l.Access.Reveal(), AccessUntil: l.AccessUntil,
			RefreshToken: l.Refresh.Reveal(), RefreshUntil: l.RefreshUntil,
		},
	}
	w.Kept = s.toKeyring(l.Server, w.writtenTokens)
	if w.Kept == InKeyring {
		w.writtenTokens = nil
	}
	l.Kept = w.Kept
	data, err := json.MarshalIndent(w, "", "  ")
	if err != nil {
		return l, fmt.Errorf("write the login: %w", err)
	}
	return l, writePrivate(s.loginFile(l.Server), append(data, '\n'))
}

// Forget deletes everything that is kept for a server: the tokens, and all
// credentials. It returns whether there were tokens.
func (s Store) Forget(server Server) (was bool, err error) {
	var w writtenLogin
	data, err := readPrivate(s.loginFile(server))
	if was = !errors.Is(err, errNotThere); was {
		w.writtenTokens = &writtenTokens{}
		if err != nil || json.Unmarshal(data, &w) != nil {
			w.Kept = InKeyring // who knows
		}
	}
	if err := os.RemoveAll(s.folder(server)); err != nil {
		return was, fmt.Errorf("delete what is kept for %s: %w", server, err)
	}
	if w.Kept == InKeyring {
		return was, s.outOfKeyring(server)
	}
	return was, nil
}

// keptAtMost is how long the remains of a grant are kept whose end is not
// known: several times as long as any grant can live.
const keptAtMost = 30 * 24 * time.Hour

// Sweep deletes credentials that have ended, of every server.
func (s Store) Sweep(now time.Time) error {
	names, err := fs.Glob(os.DirFS(s.Dir), "servers/*/*")
	if err != nil {
		return fmt.Errorf("look for ended credentials: %w", err)
	}
	var errs []error
	for _, name := range names {
		if _, err := grants.ParseID(path.Base(name)); err != nil {
			continue
		}
		h := Held{dir: filepath.Join(s.Dir, filepath.FromSlash(name))}
		if _, err := h.kept(now); err != nil {
			errs = append(errs, err)
			continue
		}
		if info, err := os.Stat(h.claimFile()); err == nil && now.Sub(info.ModTime()) > keptAtMost {
			errs = append(errs, h.Remove())
		}
	}
	return errors.Join(errs...)
}

// mostPrivate bounds what is read of a file of ours.
const mostPrivate = 1 << 20

// readPrivate reads a file of ours. One that others can read may have been
// read, and it is for its owner to know that: it is refused.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotThere
	}
	if err != nil {
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a plain file; take it away", path)
	}
	// Windows has no such bits; there the profile folder is private.
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others, so it is not used; run: chmod 600 %s", path, path)
	}
	data, err := io.ReadAll(io.LimitReader(f, mostPrivate))
	if err != nil {
		return nil, fmt.Errorf("read what was kept: %w", err)
	}
	return data, nil
}

// writePrivate replaces a file of ours as a whole: whoever reads it sees the
// old content or the new one, also after a crash.
func writePrivate(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(path), err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-") // mode 0600
	if err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep %s: %w", filepath.Base(path), err)
			_ = os.Remove(f.Name()) // it may hold secrets; the error above matters more
		}
	}()
	if _, err := f.Write(data); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// lock keeps other processes of ours out of a folder until unlock is called:
// two that claim at once would retire each other's credential, and two that
// refresh at once would burn each other's token.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	unlock, err = lockedfile.MutexAt(filepath.Join(dir, ".lock")).Lock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return unlock, nil
}
