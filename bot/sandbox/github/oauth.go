package github

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// device is one run of the device flow. It expires by the sandbox clock; the
// pace of polling is judged by the wall clock, by which clients wait.
type device struct {
	code     string
	userCode string
	app      *App
	expires  time.Time
	user     *User // who has entered the code
	denied   bool
	polled   time.Time
	interval time.Duration
}

// signInCode is one run of the web sign-in, between the page and the token.
type signInCode struct {
	app       *App
	user      *User
	redirect  string
	challenge string // PKCE, S256; empty for none
	expires   time.Time
}

func (s *Server) oauthRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /login/device/code", s.startDevice)
	mux.HandleFunc("POST /login/oauth/access_token", s.exchange)
	mux.HandleFunc("GET /login/device", s.devicePage)
	mux.HandleFunc("POST /login/device", s.enterDevice)
	mux.HandleFunc("GET /login/oauth/authorize", s.authorizePage)
	mux.HandleFunc("POST /login/oauth/authorize", s.authorize)
	mux.HandleFunc("POST /applications/{client}/token", s.handle(route{app: "client", do: (*call).checkToken}))
	mux.HandleFunc("DELETE /applications/{client}/token", s.handle(route{app: "client", do: (*call).deleteToken}))
	mux.HandleFunc("DELETE /applications/{client}/grant", s.handle(route{app: "client", do: (*call).deleteGrant}))
}

// SetPolling sets how long clients must wait between two polls of a device
// code. GitHub's five seconds are the default; a test has less patience.
func (s *Server) SetPolling(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polling = d
}

// AuthorizeDevice enters a user code as login, as a person does on the page
// /login/device.
func (s *Server) AuthorizeDevice(userCode, login string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(login)
	if err != nil {
		return err
	}
	return s.decideDevice(userCode, func(d *device) { d.user = u })
}

// DenyDevice refuses a user code, as the Cancel button does.
func (s *Server) DenyDevice(userCode string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.decideDevice(userCode, func(d *device) { d.denied = true })
}

func (s *Server) decideDevice(userCode string, decide func(*device)) error {
	for _, d := range s.devices {
		if strings.EqualFold(d.userCode, strings.TrimSpace(userCode)) && s.clock.Now().Before(d.expires) {
			decide(d)
			return nil
		}
	}
	return errors.New("the code is unknown or has expired")
}

// parameters reads a form or JSON body, as the OAuth endpoints take both.
func parameters(r *http.Request) url.Values {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/json" {
		var in map[string]any
		values := url.Values{}
		if json.NewDecoder(http.MaxBytesReader(nil, r.Body, 1<<20)).Decode(&in) == nil {
			for k, v := range in {
				if text, is := v.(string); is {
					values.Set(k, text)
				}
			}
		}
		return values
	}
	r.Body = http.MaxBytesReader(nil, r.Body, 1<<20)
	if r.ParseForm() != nil {
		return url.Values{}
	}
	return r.Form
}

// reply answers as a form unless the client asks for JSON, with status 200
// for errors too, as GitHub does.
func reply(w http.ResponseWriter, r *http.Request, values object) {
	if strings.Contains(r.Header.Get("Accept"), "json") {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(values) // the client may already be gone
		return
	}
	form := url.Values{}
	for k, v := range values {
		switch v := v.(type) {
		case string:
			form.Set(k, v)
		case int:
			form.Set(k, strconv.Itoa(v))
		}
	}
	w.Header().Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	_, _ = w.Write([]byte(form.Encode()))
}

func oauthError(code, description string) object {
	return object{"error": code, "error_description": description, "error_uri": "https://docs.github.com/developers/apps/authorizing-oauth-apps"}
}

func (s *Server) appByClient(id string) *App {
	for _, a := range s.apps {
		if a.ClientID == id {
			return a
		}
	}
	return nil
}

func (s *Server) startDevice(w http.ResponseWriter, r *http.Request) {
	in := parameters(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.appByClient(in.Get("client_id"))
	if app == nil {
		w.WriteHeader(http.StatusNotFound)
		reply(w, r, object{"error": "Not Found"})
		return
	}
	code := strings.ToUpper(randomHex(4))
	d := &device{
		code: randomHex(20), userCode: code[:4] + "-" + code[4:], app: app,
		expires: s.clock.Now().Add(15 * time.Minute), interval: s.polling,
	}
	s.devices[d.code] = d
	reply(w, r, object{
		"device_code": d.code, "user_code": d.userCode, "verification_uri": s.url + "/login/device",
		"expires_in": 900, "interval": int((d.interval + time.Second - 1) / time.Second),
	})
}

// exchange is the token endpoint of the device flow, the web sign-in and the
// refresh of tokens.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	in := parameters(r)
	if id, secret, ok := r.BasicAuth(); ok && in.Get("client_id") == "" {
		in.Set("client_id", id)
		in.Set("client_secret", secret)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app := s.appByClient(in.Get("client_id"))
	given := in.Get("client_secret")
	secretOK := app != nil && given == app.ClientSecret
	wrongSecret := oauthError("incorrect_client_credentials", "The client_id and/or client_secret passed are incorrect.")
	switch grant := in.Get("grant_type"); {
	case app == nil:
		reply(w, r, wrongSecret)
	case grant == "urn:ietf:params:oauth:grant-type:device_code":
		reply(w, r, s.pollDevice(app, in.Get("device_code")))
	case grant == "refresh_token" && given == "" && s.fromDevice(in.Get("refresh_token")):
		// The refresh of a token from the device flow needs no secret.
		reply(w, r, s.refresh(app, in.Get("refresh_token")))
	case !secretOK:
		reply(w, r, wrongSecret)
	case grant == "refresh_token":
		reply(w, r, s.refresh(app, in.Get("refresh_token")))
	case grant == "" || grant == "authorization_code":
		reply(w, r, s.redeem(app, in))
	default:
		reply(w, r, oauthError("unsupported_grant_type", "The grant type is not supported."))
	}
}

func (s *Server) pollDevice(app *App, code string) object {
	d := s.devices[code]
	if d == nil || d.app != app {
		return oauthError("incorrect_device_code", "The device_code provided is not valid.")
	}
	now := time.Now()
	early := !d.polled.IsZero() && now.Sub(d.polled) < d.interval-100*time.Millisecond
	d.polled = now
	switch {
	case !s.clock.Now().Before(d.expires):
		return oauthError("expired_token", "This 'device_code' has expired.")
	case d.denied:
		return oauthError("access_denied", "The authorization request was denied.")
	case early:
		d.interval += 5 * time.Second
		e := oauthError("slow_down", "Too many requests have been made in the same timeframe.")
		e["interval"] = int(d.interval / time.Second)
		return e
	case d.user == nil:
		return oauthError("authorization_pending", "The authorization request is still pending.")
	}
	delete(s.devices, code)
	return s.tokenAnswer(d.user, app, true)
}

func (s *Server) tokenAnswer(u *User, app *App, device bool) object {
	access, refresh := s.issueUserToken(u, app, device)
	return object{
		"access_token": access.secret, "token_type": "bearer", "scope": "",
		"expires_in": int(time.Until(access.expires).Round(time.Second) / time.Second), "refresh_token": refresh.secret,
		"refresh_token_expires_in": int(time.Until(refresh.expires) / time.Second),
	}
}

// refresh trades a refresh token for a new pair; the old pair is dead at once.
func (s *Server) refresh(app *App, secret string) object {
	t := s.tokens[secret]
	if t == nil || t.kind != "refresh" || t.app != app || t.expired() {
		return oauthError("bad_refresh_token", "The refresh token passed is incorrect or expired.")
	}
	delete(s.tokens, secret)
	delete(s.tokens, t.partner)
	return s.tokenAnswer(t.user, app, t.device)
}

// fromDevice reports whether a refresh token came out of the device flow; one
// that is not known gets the answer of those that are over.
func (s *Server) fromDevice(secret string) bool {
	t := s.tokens[secret]
	return t == nil || t.device
}

func (s *Server) redeem(app *App, in url.Values) object {
	c := s.codes[in.Get("code")]
	delete(s.codes, in.Get("code"))
	verifier := sha256.Sum256([]byte(in.Get("code_verifier")))
	switch {
	case c == nil || c.app != app || !time.Now().Before(c.expires),
		c.challenge != "" && c.challenge != base64.RawURLEncoding.EncodeToString(verifier[:]):
		return oauthError("bad_verification_code", "The code passed is incorrect or expired.")
	case in.Get("redirect_uri") != "" && in.Get("redirect_uri") != c.redirect:
		return oauthError("redirect_uri_mismatch", "The redirect_uri MUST match the registered callback URL for this application.")
	}
	return s.tokenAnswer(c.user, app, false)
}

// application authenticates the App by its client id and secret, which must
// be those of the path.
func (c *call) application() (*App, error) {
	id, secret, given := c.r.BasicAuth()
	app := c.s.appByClient(c.r.PathValue("client"))
	if !given || app == nil || id != app.ClientID || secret != app.ClientSecret {
		return nil, notFound()
	}
	return app, nil
}

// tokenOf finds the user token that a body names. A token of another App, of
// no App, or of an App itself does not exist as far as this one can see.
func (c *call) tokenOf(app *App) (*token, error) {
	var in struct {
		AccessToken string `json:"access_token"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	t := c.s.tokens[in.AccessToken]
	if t == nil || t.kind != "user" || t.app != app || t.expired() {
		return nil, notFound()
	}
	return t, nil
}

func (c *call) checkToken() (answer, error) {
	app, err := c.application()
	if err != nil {
		return answer{}, err
	}
	t, err := c.tokenOf(app)
	if err != nil {
		return answer{}, err
	}
	sum := sha256.Sum256([]byte(t.secret))
	return ok(object{
		"id": t.id, "url": c.s.url + "/authorizations/" + strconv.FormatInt(t.id, 10), "scopes": []string{},
		"token": t.secret, "token_last_eight": t.secret[len(t.secret)-8:], "hashed_token": base64.StdEncoding.EncodeToString(sum[:]),
		"app":  object{"client_id": app.ClientID, "name": app.Slug, "url": c.s.url + "/apps/" + app.Slug},
		"note": nil, "note_url": nil, "fingerprint": nil, "user": c.s.userJSON(t.user),
		"created_at": stamp(t.created), "updated_at": stamp(t.created), "expires_at": stamp(t.expires),
	})
}

// deleteToken ends one token. What becomes of the refresh token that came with
// it GitHub does not say; here it lives on, which is the worse of the two, so
// that nobody relies on more than is promised.
func (c *call) deleteToken() (answer, error) {
	app, err := c.application()
	if err != nil {
		return answer{}, err
	}
	t, err := c.tokenOf(app)
	if err != nil {
		return answer{}, err
	}
	delete(c.s.tokens, t.secret)
	return empty()
}

// deleteGrant ends all that the person has given the App, refresh tokens and
// other sign-ins included.
func (c *call) deleteGrant() (answer, error) {
	app, err := c.application()
	if err != nil {
		return answer{}, err
	}
	t, err := c.tokenOf(app)
	if err != nil {
		return answer{}, err
	}
	c.s.endTokens(func(other *token) bool { return other.user == t.user && other.app == app })
	return empty()
}

// signInPage lets whoever sits at the demo choose who to be: this forge has
// no passwords.
var signInPage = template.Must(template.New("sign-in").Parse(`<!doctype html><html lang="en"><meta charset="utf-8">
<title>{{.Title}}</title><h1>{{.Title}}</h1>{{with .Note}}<p role="status">{{.}}</p>{{end}}
{{if .Logins}}<form method="post">
{{if .AskCode}}<p><label>Code <input name="user_code" value="{{.Code}}" required></label></p>{{end}}
<p><label>Continue as <select name="login">{{range .Logins}}<option>{{.}}</option>{{end}}</select></label></p>
<p><button name="choice" value="allow">Authorize</button> <button name="choice" value="deny">Cancel</button></p>
</form>{{end}}</html>
`))
