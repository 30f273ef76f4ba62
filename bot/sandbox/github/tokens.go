package github

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// token is a credential. Its life is judged by the wall clock.
type token struct {
	id          int64
	secret      string
	kind        string // "installation", "user" (of an App), "pat" or "refresh"
	user        *User
	app         *App
	install     *Installation
	repos       map[int64]bool // what an installation token is narrowed to; nil for all
	permissions map[string]string
	created     time.Time
	expires     time.Time // zero for never
	partner     string    // the refresh token that came with a user token, and the reverse
	device      bool      // a user token out of the device flow, or its refresh token
}

// actor is who makes a call. The zero value is nobody.
type actor struct {
	user    *User         // the person, or the bot of an App
	app     *App          // set for Apps and for people acting through one
	install *Installation // set for installation tokens only
	token   *token
	jwt     bool // authenticated as the App itself
}

// keyVerifier is the public half of an App's key.
type keyVerifier struct{ public *rsa.PublicKey }

// credentialError is why a credential is refused, in GitHub's words.
type credentialError string

func (e credentialError) Error() string { return string(e) }

const (
	errBadCredentials credentialError = "Bad credentials"
	errBadJWT         credentialError = "A JSON web token could not be decoded"
	errJWTExpired     credentialError = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
	errJWTFar         credentialError = "'Expiration time' claim ('exp') is too far in the future"
	errJWTIssued      credentialError = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
)

// actorOf finds out whose secret this is.
func (s *Server) actorOf(secret string) (actor, error) {
	t := s.tokens[secret]
	if t == nil && strings.HasPrefix(secret, "eyJ") && strings.Count(secret, ".") == 2 {
		app, err := s.verifyJWT(secret)
		return actor{app: app, jwt: true}, err
	}
	if t == nil || t.kind == "refresh" || t.expired() {
		return actor{}, errBadCredentials
	}
	return actor{user: t.user, app: t.app, install: t.install, token: t}, nil
}

func (t *token) expired() bool { return !t.expires.IsZero() && !time.Now().Before(t.expires) }

// verifyJWT checks an App's own assertion: RS256 by its key, issued by it,
// and alive for at most ten minutes of the wall clock.
func (s *Server) verifyJWT(raw string) (*App, error) {
	parts := strings.Split(raw, ".")
	var header struct{ Alg string }
	var claims struct {
		Iss any
		Iat float64
		Exp float64
	}
	if decodeSegment(parts[0], &header) != nil || decodeSegment(parts[1], &claims) != nil || header.Alg != "RS256" {
		return nil, errBadJWT
	}
	app := s.appByIssuer(claims.Iss)
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if app == nil || err != nil {
		return nil, errBadJWT
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(app.key.public, crypto.SHA256, digest[:], signature) != nil {
		return nil, errBadJWT
	}
	now := float64(time.Now().Unix())
	switch {
	case claims.Exp <= now:
		return nil, errJWTExpired
	case claims.Exp > now+600+60: // GitHub allows for some drift
		return nil, errJWTFar
	case claims.Iat > now+60:
		return nil, errJWTIssued
	}
	return app, nil
}

func decodeSegment(segment string, v any) error {
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func (s *Server) appByIssuer(iss any) *App {
	name := ""
	switch v := iss.(type) {
	case string:
		name = v
	case float64:
		name = strconv.FormatInt(int64(v), 10)
	}
	for _, a := range s.apps {
		if a.ClientID == name || strconv.FormatInt(a.ID, 10) == name {
			return a
		}
	}
	return nil
}

// issue makes a token of the given prefix and keeps it.
func (s *Server) issue(prefix string, t token) *token {
	t.id = s.nextID()
	t.secret = prefix + randomHex(18)
	t.created = s.now()
	s.tokens[t.secret] = &t
	return &t
}

// UseLongTokens makes installation tokens of the form that GitHub is moving to
// (ghs_APPID_ and a JWT, several hundred characters) instead of the 40
// characters of old. Clients must not care, and redaction must know both.
func (s *Server) UseLongTokens(long bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.long = long
}

// installationPrefix begins an installation token; what follows is random.
func (s *Server) installationPrefix(app *App) string {
	if !s.long {
		return "ghs_"
	}
	segment := func(n int) string { return base64.RawURLEncoding.EncodeToString([]byte(randomHex(n))) }
	return "ghs_" + strconv.FormatInt(app.ID, 10) + "_" + segment(18) + "." + segment(90) + "."
}

// Levels of access, in their order.
func rank(level string) int {
	switch level {
	case "read":
		return 1
	case "write":
		return 2
	case "admin":
		return 3
	}
	return 0
}

// grants reports whether permissions hold one of the wanted, written as
// "contents:write" or "issues|pull_requests:write"; empty wants nothing.
func grants(permissions map[string]string, wanted string) bool {
	if wanted == "" {
		return true
	}
	names, level, _ := strings.Cut(wanted, ":")
	for _, name := range strings.Split(names, "|") {
		if rank(permissions[name]) >= rank(level) {
			return true
		}
	}
	return false
}

// level is what a person may do with a repository.
func (s *Server) level(u *User, repo *Repo) string {
	switch {
	case u == nil:
	case u == repo.owner:
		return "admin"
	case repo.grants[u.ID] != "":
		return repo.grants[u.ID]
	default:
		org := s.live.orgs[strings.ToLower(repo.owner.Login)]
		if org != nil && org.members[u.ID] != nil {
			return "read"
		}
	}
	if repo.public {
		return "read"
	}
	return ""
}

// mayRepo reports whether an actor has a permission on a repository at the
// level: an App by its token, a person by what was granted to them, and a
// person who acts through an App by both.
func (s *Server) mayRepo(who actor, repo *Repo, permission, level string) bool {
	if repo.public && level == "read" {
		return true
	}
	if who.user == nil || who.app != nil && !s.appMay(who, repo, permission+":"+level) {
		return false
	}
	return who.install != nil || rank(s.level(who.user, repo)) >= rank(level)
}

func (s *Server) appMay(who actor, repo *Repo, wanted string) bool {
	if who.install == nil {
		return s.installedWith(who.app, repo.owner, wanted)
	}
	t := who.token
	return who.install.account == repo.owner && (t.repos == nil || t.repos[repo.id]) && grants(t.permissions, wanted)
}

// installedWith reports whether the App is on the account with a permission.
func (s *Server) installedWith(app *App, account *User, wanted string) bool {
	for _, i := range s.installs {
		if i.App == app && i.account == account && grants(i.permissions, wanted) {
			return true
		}
	}
	return false
}

// ExpireTokens ends every installation token now, as time does in the middle
// of a long job. Clients get 401 "Bad credentials" until they ask for new ones.
func (s *Server) ExpireTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endTokens(func(t *token) bool { return t.kind == "installation" })
}

// ExpireUserTokens ends the access tokens that login has given to Apps, as
// eight hours do. The refresh tokens live on.
func (s *Server) ExpireUserTokens(login string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endTokens(func(t *token) bool { return t.kind == "user" && strings.EqualFold(t.user.Login, login) })
}

// TokenLives reports whether a token, of whatever kind, still works.
func (s *Server) TokenLives(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokens[secret]
	return t != nil && !t.expired()
}

// LiveUserTokens counts the access tokens that login has out.
func (s *Server) LiveUserTokens(login string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		if t.kind == "user" && strings.EqualFold(t.user.Login, login) && !t.expired() {
			n++
		}
	}
	return n
}

func (s *Server) endTokens(which func(*token) bool) {
	for secret, t := range s.tokens {
		if which(t) {
			delete(s.tokens, secret)
		}
	}
}

// UserToken returns a token of login as the device flow of the App would
// have issued it (ghu_...), good for eight hours.
func (s *Server) UserToken(login string, app *App) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(login)
	if err != nil {
		return "", err
	}
	t, _ := s.issueUserToken(u, app, true)
	return t.secret, nil
}

// UserTokens is UserToken with the refresh token that came with it.
func (s *Server) UserTokens(login string, app *App) (access, refresh string, err error) {
	access, err = s.UserToken(login, app)
	if err != nil {
		return "", "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return access, s.tokens[access].partner, nil
}

// issueUserToken makes a user token and the refresh token that goes with it.
func (s *Server) issueUserToken(u *User, app *App, device bool) (access, refresh *token) {
	access = s.issue("ghu_", token{kind: "user", user: u, app: app, device: device, expires: time.Now().Add(8 * time.Hour)})
	refresh = s.issue("ghr_", token{kind: "refresh", user: u, app: app, device: device, expires: time.Now().AddDate(0, 6, 0)})
	access.partner, refresh.partner = refresh.secret, access.secret
	return access, refresh
}

// PAT returns a personal access token of login (ghp_...), which acts with all
// that login may do and belongs to no App.
func (s *Server) PAT(login string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(login)
	if err != nil {
		return "", err
	}
	return s.issue("ghp_", token{kind: "pat", user: u}).secret, nil
}
