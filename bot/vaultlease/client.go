// Package vaultlease is tac's side of HashiCorp Vault: the records of grants
// under compare-and-swap, the attestation key, and the life of credentials.
//
// A credential hangs on a token of its own, made for one generation of one
// grant (below: the grant's token). Issue mints that token, writes its
// accessor into the record, and only then lets it ask for a credential; so
// whatever a crash leaves behind can be named and ended by Kill. The token
// itself never leaves the memory of Issue, and the record holds no secret.
//
// Three rules hold for every call:
//
//   - nothing is ever sent twice. Neither the API client nor net/http may
//     repeat a call or follow a redirect, because a repeated creds call is a
//     second credential. A write whose answer was lost (no answer, 3xx, 5xx)
//     is world.ErrAmbiguous, and who wants to know reads again;
//   - only the very words in which Vault says that something is gone are taken
//     for its death. A 403, a sealed or silent Vault proves nothing;
//   - every call has a deadline of its own, so that one that hangs (a
//     revocation behind a stopped database) does not take the rest with it.
//
// Files: client.go and wire.go speak to Vault, session.go holds the bot's own
// token, kv.go and stored.go the records, issue.go and slice.go the way in,
// lease.go what happens to a live credential, kill.go the way out, setup.go
// and policy.go what a Vault has to look like, preflight.go whether it does.
package vaultlease

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tigeraccess/tac/grants/world"
)

// Defaults of Config.
const (
	DefaultMount      = "tac"
	DefaultTransit    = "transit"
	DefaultTransitKey = "tac-attest"
	DefaultTokenRole  = "tac"
	DefaultAppRole    = "approle"
	DefaultWrapTTL    = 5 * time.Minute
)

// Bounds on how long a wrapped credential waits, as the bot's policy has them:
// Vault answers 403 outside.
const (
	shortestWrap = 30 * time.Second
	longestWrap  = 10 * time.Minute
)

const (
	callDeadline = 30 * time.Second // of one exchange, in wall time
	mostSkew     = 30 * time.Second // between our clock and Vault's
)

// Config says which Vault to use and as whom. Either RoleID and SecretID
// (AppRole, production) or Token (development) must be set.
type Config struct {
	Address   string // as in https://vault.internal:8200
	Namespace string // Vault Enterprise; empty: none
	CACert    []byte // PEM; empty: the system's authorities

	RoleID   string
	SecretID world.Secret
	AppRole  string // path of the AppRole method; default approle
	Token    world.Secret

	Mount      string        // of the KV v2 engine; default tac
	Transit    string        // path of the transit engine; default transit
	TransitKey string        // default tac-attest
	TokenRole  string        // default tac
	WrapTTL    time.Duration // default 5 minutes; from 30 seconds to 10 minutes

	// ForwardToActive asks a performance standby to hand every call to the
	// active node. Such standbys, which only Vault Enterprise has, answer from
	// a copy that may lag, and a token that the copy does not know yet looks
	// dead. The server must have allow_forwarding_via_header set. Elsewhere
	// it must stay off: Vault Community answers 400 to the header, and its
	// standbys forward everything unasked.
	ForwardToActive bool

	Replica string // names this process in records; must not be empty
	Now     func() time.Time
	Rand    io.Reader // default crypto/rand
	Log     *slog.Logger
}

// Client implements the bot's port to Vault. It is safe for concurrent use.
// Use New.
type Client struct {
	cfg     Config
	vault   *api.Client // never used directly: see exchange
	once    *api.Client // the same without connections that are used again
	session *session
	log     *slog.Logger
}

// New checks the configuration and returns a client. It does not talk to
// Vault: the first call logs in.
func New(cfg Config) (*Client, error) {
	cfg.setDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("configure vault: %w", err)
	}
	c := &Client{cfg: cfg, log: cfg.Log}
	var err error
	if c.vault, err = newAPIClient(cfg, false); err != nil {
		return nil, fmt.Errorf("configure vault: %w", err)
	}
	if c.once, err = newAPIClient(cfg, true); err != nil {
		return nil, fmt.Errorf("configure vault: %w", err)
	}
	c.session = newSession(c)
	return c, nil
}

func (cfg *Config) setDefaults() {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&cfg.Mount, DefaultMount}, {&cfg.Transit, DefaultTransit}, {&cfg.TransitKey, DefaultTransitKey},
		{&cfg.TokenRole, DefaultTokenRole}, {&cfg.AppRole, DefaultAppRole},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if cfg.WrapTTL == 0 {
		cfg.WrapTTL = DefaultWrapTTL
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
}

// pathForm keeps dots and encodings out of paths: the API client cleans
// paths, so that "a/../b" would be asked as "b".
var pathForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)

func (cfg *Config) validate() error {
	var problems []error
	check := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, errors.New(problem))
		}
	}
	check(strings.HasPrefix(cfg.Address, "https://") || strings.HasPrefix(cfg.Address, "http://"),
		"the address must be a URL such as https://vault.internal:8200")
	appRole := cfg.RoleID != "" && !cfg.SecretID.Empty()
	check(appRole != !cfg.Token.Empty(), "set either role id and secret id, or a token")
	check(cfg.WrapTTL >= shortestWrap && cfg.WrapTTL <= longestWrap, "the wrap ttl must be from 30s to 10m")
	check(cfg.Replica != "", "the replica needs a name")
	check(cfg.Now != nil, "the clock is missing")
	for _, path := range []string{cfg.Mount, cfg.Transit, cfg.AppRole, cfg.TransitKey, cfg.TokenRole} {
		check(pathForm.MatchString(path), fmt.Sprintf("%.60q cannot be part of a path", path))
	}
	return errors.Join(problems...)
}

// newAPIClient builds a client that owes nothing to the environment (VAULT_TOKEN
// and the like) and repeats nothing.
//
// With once set it uses every connection for one call only and speaks plain
// HTTP/1.1: net/http resends a GET by itself when a connection that was used
// before breaks under it, and a creds call is a GET.
func newAPIClient(cfg Config, once bool) (*api.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(cfg.CACert) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(cfg.CACert) {
			return nil, errors.New("the CA certificate is not PEM")
		}
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: tlsConfig,
		TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
		MaxIdleConnsPerHost: 16, ForceAttemptHTTP2: !once, DisableKeepAlives: once,
	}
	if once {
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	client, err := api.NewClient(&api.Config{
		Address: cfg.Address, MaxRetries: 0, DisableRedirects: true,
		HttpClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	})
	if err != nil {
		return nil, err
	}
	client.SetMaxRetries(0)
	client.ClearToken()
	client.ClearNamespace()
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

// health is what sys/health answers.
type health struct {
	Initialized bool   `json:"initialized"`
	Sealed      bool   `json:"sealed"`
	Enterprise  bool   `json:"enterprise"`
	Version     string `json:"version"`
	ClusterID   string `json:"cluster_id"`
	Seconds     int64  `json:"server_time_utc"`
}

func (h *health) time() time.Time { return time.Unix(h.Seconds, 0).UTC() }

// health needs no token. Standbys are alive too, and say so with statuses that
// are errors elsewhere.
func (c *Client) health(ctx context.Context) (*health, error) {
	a, err := c.call(ctx, request{path: "sys/health", auth: anonymous})
	if err != nil && !hasStatus(err, http.StatusTooManyRequests, 472, 473) {
		return nil, fmt.Errorf("read vault health: %w", err)
	}
	h := &health{}
	if a == nil || json.Unmarshal(a.body, h) != nil {
		return nil, errors.New("read vault health: the answer is not what sys/health says")
	}
	if !h.Initialized || h.Sealed || h.Seconds <= 0 {
		return nil, errors.New("read vault health: vault is sealed or not initialised")
	}
	return h, nil
}

// Time returns Vault's clock, to the second.
func (c *Client) Time(ctx context.Context) (time.Time, error) {
	h, err := c.health(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return h.time(), nil
}

// nonce returns a text that no other write carries.
func (c *Client) nonce() (string, error) {
	var raw [16]byte
	if _, err := io.ReadFull(c.cfg.Rand, raw[:]); err != nil {
		return "", fmt.Errorf("read randomness: %w", err)
	}
	return c.cfg.Replica + "/" + hex.EncodeToString(raw[:]), nil
}

func (c *Client) now() time.Time { return c.cfg.Now().UTC() }

func latest(times ...time.Time) time.Time {
	var last time.Time
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// wholeSeconds rounds up: what is asked for must not end before it should.
func wholeSeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// compact rewrites JSON so that equal values are equal bytes.
func compact(raw []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}
