package githubpr

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// PublicSite is where people sign in to github.com.
const PublicSite = "https://github.com"

var refreshTokenForm = regexp.MustCompile(`^ghr_[A-Za-z0-9_.\-]+$`)

func newSite(lane http.RoundTripper) *http.Client {
	return &http.Client{
		Transport: lane, Timeout: callTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Refresh trades a person's refresh token for a new pair. Both old tokens are
// dead at once, so whoever loses the answer has lost the person's leave, and
// whoever comes second is told world.ErrNotOurs. The new pair is said to be
// of the same person; User proves it.
func (c *Client) Refresh(ctx context.Context, t world.UserToken) (world.UserToken, error) {
	const doing = "refresh a person's token"
	refresh := t.Refresh.Reveal()
	if len(refresh) > maxToken || !refreshTokenForm.MatchString(refresh) {
		return world.UserToken{}, fmt.Errorf("%s: %w", doing, world.ErrNotOurs)
	}
	if c.cfg.ClientID == "" || c.cfg.ClientSecret.Empty() {
		return world.UserToken{}, errors.New(doing + ": the App's client id and secret are not configured")
	}
	asked := c.cfg.Now()
	a, err := c.exchange(ctx, url.Values{
		"client_id": {c.cfg.ClientID}, "client_secret": {c.cfg.ClientSecret.Reveal()},
		"grant_type": {"refresh_token"}, "refresh_token": {refresh},
	})
	switch {
	case err != nil:
		return world.UserToken{}, fmt.Errorf("%s: %w", doing, err)
	case a.Error == "bad_refresh_token":
		return world.UserToken{}, fmt.Errorf("%s: %w", doing, world.ErrNotOurs)
	case a.Error != "":
		return world.UserToken{}, fmt.Errorf("%s: github refuses: %s", doing, c.scrub(a.Error+" "+a.Description))
	case !userTokenForm.MatchString(a.Access) || a.Refresh != "" && !refreshTokenForm.MatchString(a.Refresh):
		return world.UserToken{}, errors.New(doing + ": the answer has no token")
	}
	until := func(seconds int64) time.Time {
		if seconds <= 0 {
			return time.Time{}
		}
		return asked.Add(time.Duration(seconds) * time.Second).UTC().Truncate(time.Second)
	}
	t.Access, t.AccessUntil = world.NewSecret(a.Access), until(a.AccessFor)
	t.Refresh, t.RefreshUntil = world.NewSecret(a.Refresh), until(a.RefreshFor)
	return t, nil
}

// exchanged is the answer of GitHub's token endpoint, which tells its errors
// with status 200.
type exchanged struct {
	Access      string `json:"access_token"`
	AccessFor   int64  `json:"expires_in"` // seconds; 0: for ever
	Refresh     string `json:"refresh_token"`
	RefreshFor  int64  `json:"refresh_token_expires_in"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (c *Client) exchange(ctx context.Context, values url.Values) (a exchanged, err error) {
	site := strings.TrimRight(c.cfg.URL, "/")
	if site == "" {
		site = PublicSite
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, site+"/login/oauth/access_token", strings.NewReader(values.Encode()))
	if err != nil {
		return a, errors.New("the site's address is none")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "tac")
	resp, err := c.site.Do(req)
	if err != nil {
		return a, c.translate(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return a, c.lost(err)
	}
	if resp.StatusCode != http.StatusOK {
		// The body is not repeated: a proxy may have put our own words in it.
		return a, &answerError{status: resp.StatusCode, sentence: http.StatusText(resp.StatusCode)}
	}
	if json.Unmarshal(body, &a) != nil {
		return exchanged{}, errors.New("the answer is not JSON") // not quoted: it may hold the tokens
	}
	return a, nil
}

// Revoke ends a person's token; one that GitHub does not know any more has
// ended already. This client forgets at once that it ever proved anybody, and
// other replicas within proofLife.
//
// What becomes of the refresh token that came with it GitHub does not say
// (its documents promise the end of "a single token"; only the removal of the
// whole authorisation, which would also end the person's other sign-ins,
// promises the end of all). So whoever wants both dead trades the refresh
// token in first, by Refresh, which kills the old pair for certain, and
// revokes what comes of that without keeping it.
func (c *Client) Revoke(ctx context.Context, userToken world.Secret) error {
	const doing = "revoke a person's token"
	token := userToken.Reveal()
	if len(token) > maxToken || !userTokenForm.MatchString(token) {
		return fmt.Errorf("%s: %w", doing, world.ErrNotOurs)
	}
	if c.cfg.ClientID == "" || c.cfg.ClientSecret.Empty() {
		return errors.New(doing + ": the App's client id and secret are not configured")
	}
	if _, err := c.identity.Authorizations.Revoke(ctx, c.cfg.ClientID, token); err != nil {
		failure := c.failed(doing, err)
		if !answered(failure, 404) && !answered(failure, 422) {
			return failure
		}
	}
	c.proved.kill(sha256.Sum256([]byte(token)))
	return nil
}
