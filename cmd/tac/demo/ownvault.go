package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/tigeraccess/tac/grants/world"
)

// OwnVault is a Vault that the person runs, and what lets the demo set itself
// up in it.
type OwnVault struct {
	Address string
	Token   world.Secret
	From    string // where the token came from, for errors
	CACert  []byte // PEM; empty: the system's authorities
}

// ErrVault says that the person's Vault cannot be used, and what would have
// worked.
var ErrVault = errors.New("your Vault cannot be used")

func cannot(format string, args ...any) error {
	return &vaultError{message: fmt.Sprintf(format, args...)}
}

type vaultError struct{ message string }

func (e *vaultError) Error() string        { return e.message }
func (e *vaultError) Is(target error) bool { return target == ErrVault }

// isRoot is what would have worked in most cases.
const isRoot = "the root token that `vault server -dev` prints is one"

// openTimeout bounds, in wall time, the wait for an answer at the start.
const openTimeout = 10 * time.Second

// open connects to the Vault and makes sure that it is up and that the token
// is good, before anything is changed there.
func (v OwnVault) open(ctx context.Context) (*api.Client, *http.Transport, error) {
	u, err := url.Parse(v.Address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, nil, cannot("%q is not the address of a Vault: write it as `vault server -dev` prints it, as in http://127.0.0.1:8200", v.Address)
	}
	if v.Token.Empty() {
		return nil, nil, cannot("a token is needed that may set up engines in the Vault at %s: set VAULT_TOKEN, run `vault login`, or name a file with --vault-token-file; %s", v.Address, isRoot)
	}
	c := api.DefaultConfig()
	if c.Error != nil {
		return nil, nil, fmt.Errorf("make a Vault client: %w", c.Error)
	}
	c.Address, c.MaxRetries, c.Timeout = strings.TrimRight(v.Address, "/"), 0, time.Minute
	if len(v.CACert) > 0 {
		if err := c.ConfigureTLS(&api.TLSConfig{CACertBytes: v.CACert}); err != nil {
			return nil, nil, cannot("the certificate in VAULT_CACERT cannot be read (%v): it must be the PEM file of the authority behind %s", err, v.Address)
		}
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, nil, fmt.Errorf("make a Vault client: %w", err)
	}
	client.ClearNamespace()
	client.SetToken(v.Token.Reveal())
	transport, ok := c.HttpClient.Transport.(*http.Transport)
	if !ok {
		return nil, nil, errors.New("make a Vault client: it has no transport of the usual kind")
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := v.isUp(ctx, client); err != nil {
		return nil, nil, err
	}
	return client, transport, v.isGood(ctx, client)
}

func (v OwnVault) isUp(ctx context.Context, client *api.Client) error {
	h, err := client.Sys().HealthWithContext(ctx)
	switch {
	case err != nil:
		return v.unreachable(err)
	case !h.Initialized:
		return cannot("the Vault at %s is not initialised: run `vault operator init`, or start one with `vault server -dev`", v.Address)
	case h.Sealed:
		return cannot("the Vault at %s is sealed: run `vault operator unseal` first", v.Address)
	}
	return nil
}

func (v OwnVault) unreachable(err error) error {
	text := err.Error()
	other := "https" + strings.TrimPrefix(v.Address, "http")
	switch {
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return cannot("the Vault at %s speaks plain http: http%s would have worked", v.Address, strings.TrimPrefix(v.Address, "https"))
	case strings.Contains(text, "HTTP request to an HTTPS server"):
		return cannot("the Vault at %s speaks https: %s would have worked, with VAULT_CACERT set to its authority's certificate", v.Address, other)
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return cannot("the certificate of %s is not trusted (%s): set VAULT_CACERT to the PEM file of its authority", v.Address, lastClause(err))
	}
	var refused *api.ResponseError
	var network *url.Error
	if errors.As(err, &network) && !errors.As(err, &refused) {
		return cannot("no Vault answers at %s (%s): start one with `vault server -dev`, which prints its address", v.Address, lastClause(err))
	}
	what := "its answer is not one of Vault's"
	var cut *net.OpError
	switch {
	case errors.As(err, &cut) && strings.HasPrefix(v.Address, "http:"):
		// A TLS server may hang up on plain http before it is heard out.
		return cannot("what answers at %s hangs up on plain http (%s): %s may work, or the address that `vault server -dev` prints", v.Address, lastClause(err), other)
	case refused != nil:
		what = fmt.Sprintf("status %d", refused.StatusCode)
	}
	return cannot("what answers at %s is no Vault (%s): give the address that `vault server -dev` prints", v.Address, what)
}

func (v OwnVault) isGood(ctx context.Context, client *api.Client) error {
	_, err := client.Auth().Token().LookupSelfWithContext(ctx)
	var refused *api.ResponseError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.StatusCode == http.StatusForbidden && !strings.Contains(err.Error(), "invalid token"):
		return nil // it may not look at itself; what it may do is found out next
	case errors.As(err, &refused) && refused.StatusCode == http.StatusForbidden:
		return cannot("the Vault at %s does not take the token from %s: one of that very Vault would have worked; %s", v.Address, v.From, isRoot)
	}
	return fmt.Errorf("look up the token at %s: %w", v.Address, err)
}

// right is something that set-up does.
type right struct{ path, capability string }

// lacks returns the rights that a token does not have. A Vault that cannot
// tell leaves it to the attempt.
func lacks(ctx context.Context, client *api.Client, rights []right) ([]right, error) {
	var paths []string
	for _, r := range rights {
		paths = append(paths, r.path)
	}
	secret, err := client.Logical().WriteWithContext(ctx, "sys/capabilities-self", map[string]any{"paths": paths})
	var refused *api.ResponseError
	if errors.As(err, &refused) && refused.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	if refused != nil && refused.StatusCode == http.StatusForbidden {
		return []right{{"sys/capabilities-self", "update"}}, nil
	}
	if err == nil && secret == nil {
		err = errors.New("there is no answer")
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the token's capabilities: %w", err)
	}
	var missing []right
	for _, r := range rights {
		var has []string
		if err := decode(secret.Data[r.path], &has); err != nil {
			return nil, fmt.Errorf("read the token's capabilities on %s: %w", r.path, err)
		}
		if text := " " + strings.Join(has, " ") + " "; !strings.Contains(text, " root ") && !strings.Contains(text, " "+r.capability+" ") {
			missing = append(missing, r)
		}
	}
	return missing, nil
}
