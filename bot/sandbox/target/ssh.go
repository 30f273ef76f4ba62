package target

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// handshakeLimit bounds a login in wall time, as sshd's LoginGraceTime does.
const handshakeLimit = 20 * time.Second

// SSH is an SSH server that lets in whoever holds a user certificate by a
// trusted authority, and nobody else. It is safe for concurrent use.
type SSH struct {
	clock    *sandbox.Clock
	listener net.Listener
	hostKey  ssh.PublicKey
	config   *ssh.ServerConfig
	serving  sync.WaitGroup

	mu          sync.Mutex
	authorities []ssh.PublicKey
	logins      []Login
	conns       map[net.Conn]struct{}
	closed      bool
}

// Login is one key that somebody offered to log in with. A client that offers
// several keys leaves a record for each; the accepted one is recorded once the
// client has proved that it holds the key. A refusal for the source address
// alone, which the library finds later, leaves none.
type Login struct {
	User     string // the login name asked for
	KeyID    string // of the certificate; empty for a plain key
	Serial   uint64
	At       time.Time // sandbox time
	Accepted bool
	Refused  string // why, where not accepted
}

// NewSSH starts a server with a fresh host key on a free port of 127.0.0.1. It
// trusts no authority yet. Certificates are judged at clock's time. Close ends
// it.
func NewSSH(clock *sandbox.Clock) (*SSH, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make host key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("use host key: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for ssh: %w", err)
	}
	s := &SSH{clock: clock, listener: listener, hostKey: signer.PublicKey(), conns: map[net.Conn]struct{}{}}
	s.config = &ssh.ServerConfig{PublicKeyCallback: s.judge, VerifiedPublicKeyCallback: s.admit}
	s.config.AddHostKey(signer)
	s.serving.Go(s.accept)
	return s, nil
}

// Addr returns host:port of the server.
func (s *SSH) Addr() string { return s.listener.Addr().String() }

// Host returns the address without the port.
func (s *SSH) Host() string { return "127.0.0.1" }

// Port returns the TCP port.
func (s *SSH) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// HostKey returns the host's public key as one line in authorized_keys form.
func (s *SSH) HostKey() string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.hostKey)))
}

// KnownHosts returns the line for a known_hosts file that names this server.
func (s *SSH) KnownHosts() string { return knownhosts.Line([]string{s.Addr()}, s.hostKey) }

// TrustCA adds an authority, in authorized_keys form, whose user certificates
// are accepted from now on: sshd's TrustedUserCAKeys.
func (s *SSH) TrustCA(authorizedKey []byte) error {
	key, _, _, _, err := ssh.ParseAuthorizedKey(authorizedKey)
	if err != nil {
		return fmt.Errorf("parse authority key: %w", err)
	}
	if _, isCert := key.(*ssh.Certificate); isCert {
		return errors.New("parse authority key: a certificate cannot be an authority")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authorities = append(s.authorities, key)
	return nil
}

// Logins returns a copy of the record, oldest first.
func (s *SSH) Logins() []Login {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.logins)
}

// Close cuts every connection and returns when all of them are gone.
func (s *SSH) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close() // it may have ended by itself
	}
	s.mu.Unlock()
	err := s.listener.Close()
	s.serving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *SSH) record(l Login) {
	l.At = s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins = append(s.logins, l)
}

// judge decides about an offered key. The client has not proved yet that it
// holds the key, so only refusals are recorded here.
func (s *SSH) judge(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	login := Login{User: conn.User()}
	cert, isCert := key.(*ssh.Certificate)
	if isCert {
		login.KeyID, login.Serial = cert.KeyId, cert.Serial
	}
	err := errors.New("a plain key, not a certificate")
	if isCert {
		err = s.check(conn, cert)
	}
	if err != nil {
		login.Refused = err.Error()
		s.record(login)
		return nil, fmt.Errorf("log in %q: %w", conn.User(), err)
	}
	return &ssh.Permissions{
		CriticalOptions: cert.CriticalOptions, // source-address is enforced by the library
		Extensions:      cert.Extensions,
		ExtraData:       map[any]any{loginKey{}: login},
	}, nil
}

type loginKey struct{}

// admit records a login whose client has proved that it holds the key, before
// the client hears that it is in.
func (s *SSH) admit(_ ssh.ConnMetadata, _ ssh.PublicKey, p *ssh.Permissions, _ string) (*ssh.Permissions, error) {
	login, ok := p.ExtraData[loginKey{}].(Login)
	if !ok {
		return nil, errors.New("a key that was never judged")
	}
	login.Accepted = true
	s.record(login)
	return p, nil
}

func (s *SSH) check(conn ssh.ConnMetadata, cert *ssh.Certificate) error {
	// The library lets a certificate without principals in as anybody; sshd
	// lets it in as nobody, and so must this.
	if cert.CertType == ssh.UserCert && len(cert.ValidPrincipals) == 0 {
		return errors.New("a certificate without principals")
	}
	checker := ssh.CertChecker{IsUserAuthority: s.trusts, Clock: s.clock.Now}
	_, err := checker.Authenticate(conn, cert)
	return err
}

func (s *SSH) trusts(authority ssh.PublicKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.authorities, func(k ssh.PublicKey) bool {
		return bytes.Equal(k.Marshal(), authority.Marshal())
	})
}
